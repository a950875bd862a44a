//! Which messages a verb takes: the same ones as every other verb, whatever a server makes of SEARCH, and none that nobody
//! can be sure of where something is changed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::query::{found, letters, maildir, run};
use crate::dovecot_user;
use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Odd, peak_memory};
use crate::support::tool::Tool;

const QUERIES: &[&[&str]] = &[
    &["--all"],
    &["--unseen"],
    &["--not", "--flagged"],
    &["--from", "example.org"],
    &["--from", "jörg GRÖ"],
    &["--not", "--header", "Cc: müller"],
    &["--header", "X-Empty:"],
    &["--message-id", "1@example.org"],
    &["--not", "--message-id", "1@example.org"],
    &["--body", "straße"],
    &["--since", "2003-07-02", "--before", "2024-01-02"],
    &["--not", "--sent-since", "2003-07-02"],
    &["--larger", "2k"],
    &["--not", "--smaller", "5G"],
    &["--older-than", "2024-01-01T12:00:00Z"],
    &["--not", "--older-than", "2003-07-01T23:59:59Z"],
    &["--not", "--newer-than", "2024-01-01T12:00:00Z", "--limit", "3"],
    &["--uid", "2:*", "--not", "--uid", "3", "--from", "example"],
    &["--not", "--uid", "1:3,*"],
    &["--uid", "4:*", "--limit", "2"],
    &["--limit", "2", "--from", "example.org"],
    &["--limit", "1", "--message-id", "11@example.org"],
    &["--limit", "3", "--all"],
];

/// The numbers in a document's messages.
fn numbers(document: &Value, field: &str) -> BTreeSet<u32> {
    let messages = document["messages"].as_array().unwrap_or_else(|| panic!("no messages in {document}"));
    messages.iter().map(|message| u32::try_from(message[field].as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn every_verb_takes_the_same_messages_for_the_same_query() {
    let user = dovecot_user!("choosing-same");
    let plants = letters();
    user.plant("INBOX", &plants);
    user.create("Elsewhere");
    let tool = Tool::new();
    // To read over POP3 is to have seen, on this server.
    let drop = dovecot_user!("choosing-drop");
    drop.plant("INBOX", &plants);
    tool.account("work", &user).account("drop", &drop);
    let (server, local) = ("work".to_owned(), maildir(&tool, &plants));
    let elsewhere = "work/Elsewhere".to_owned();
    let other = format!("maildir:{}", tool.text("other"));
    for query in QUERIES {
        let expected = found(&tool, &server, "uid", query);
        assert_eq!(found(&tool, &local, "number", query), expected, "list {query:?}");
        for (place, field) in [(&server, "uid"), (&local, "number")] {
            let verbs: &[&[&str]] = &[
                &["fetch", place],
                &["flag", place, "--add", "$New", "--dry-run"],
                &["delete", place, "--permanently", "--max-delete", "100%", "--dry-run"],
                &["copy", place, &other, "--dry-run"],
                &["move", place, &other, "--max-delete", "100%", "--dry-run"],
                &["copy", &server, &elsewhere, "--dry-run"],
                &["move", &server, &elsewhere, "--max-delete", "100%", "--dry-run"],
            ];
            for verb in verbs {
                let mut args = verb[1..].to_vec();
                args.push("--json");
                args.extend(*query);
                let output = tool.run(&[&verb[..1], &args].concat());
                assert!(output.code == 0, "{verb:?} {query:?}: {output}");
                let field = if args[0] == server { "uid" } else { field };
                assert_eq!(numbers(&output.json(), field), expected, "{verb:?} {query:?}");
            }
        }
        // A maildrop knows no flags and no arrival but what the header says, so it is its own measure.
        let pop3 = "drop:pop3";
        let expected = found(&tool, pop3, "number", query);
        for verb in [
            &["fetch", pop3][..],
            &["delete", pop3, "--max-delete", "100%", "--dry-run"],
            &["copy", pop3, &other, "--dry-run"],
            &["move", pop3, &other, "--max-delete", "100%", "--dry-run"],
        ] {
            let output = tool.run(&[verb, &["--json"], query].concat()).expect_code(0);
            assert_eq!(numbers(&output.json(), "number"), expected, "{verb:?} {query:?}");
        }
    }
}

#[test]
fn an_answer_that_came_before_its_turn_is_asked_for_again() {
    let searches = AtomicU32::new(0);
    let server = Odd::start("AUTH=PLAIN SASL-IR ID NAMESPACE", &mail::many(3, 10), move |asked| match asked.verb {
        "EXAMINE" => Answer::send("* 3 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* SEARCH 1 3\r\n$tag OK\r\n"),
        "UID SEARCH" if searches.fetch_add(1, Ordering::Relaxed) > 0 => Answer::send("* SEARCH 1 3\r\n$tag OK\r\n"),
        "UID SEARCH" => Answer::send("$tag OK\r\n"),
        _ => Answer::Usual,
    });
    assert_eq!(found(&Tool::new(), &server.url(), "uid", &["--from", "x"]), [1, 3].into());
}

#[test]
fn all_means_all_even_where_search_finds_nothing_or_not_all_or_is_not_there() {
    for answer in ["* SEARCH\r\n$tag OK\r\n", "* SEARCH 2\r\n$tag OK\r\n", "$tag OK\r\n", "$tag BAD what\r\n"] {
        let server = Odd::start("", &mail::many(3, 10), move |asked| match asked.verb {
            "UID SEARCH" => Answer::send(answer),
            _ => Answer::Usual,
        });
        let tool = Tool::new();
        assert_eq!(found(&tool, &server.url(), "uid", &[]), [1, 2, 3].into(), "{answer}");
        assert_eq!(found(&tool, &server.url(), "uid", &["--uid", "2:*"]), [2, 3].into(), "{answer}");
        run(&tool, "flag", &[&server.url(), "--add", "seen", "--all"]).expect_code(0);
        assert!(server.log().iter().any(|line| line.starts_with("UID STORE 1:3 ")), "{:?}", server.log());
    }
}

#[test]
fn a_server_that_cannot_search_is_searched_here() {
    let behaviour = (1..=50).fold(imapd::Behaviour::default(), |behaviour, number| {
        behaviour.fault("UID SEARCH", number, imapd::CommandFault::Refuse("BAD what".to_owned()))
    });
    let server = Imapd::start(behaviour);
    server.fill("INBOX", &mail::many(4, 10));
    let tool = Tool::new();
    let uids = |query: &[&str]| found(&tool, &server.url(), "uid", query);
    assert_eq!(uids(&["--subject", "message 2"]), [3].into());
    assert_eq!(uids(&["--unseen", "--not", "--subject", "message 2"]), [1, 2, 4].into());
    assert_eq!(uids(&["--body", "jörg", "--seen"]), [].into());
    assert_eq!(uids(&["--larger", "1", "--subject", "jörg"]), [].into());
    assert_eq!(uids(&["--not", "--body", "jörg", "--limit", "2"]), [3, 4].into());
    run(&tool, "flag", &[&server.url(), "--add", "seen", "--subject", "message 2"]).expect_code(0);
    let flags: Vec<String> = server.mailbox("INBOX").messages.into_iter().map(|message| message.flags.join(" ")).collect();
    assert_eq!(flags, ["", "", "\\Seen", ""]);
    // What is for the server alone cannot be told without it.
    run(&tool, "list", &[&server.url(), "--search", "SUBJECT x"]).expect_code(6).expect_stderr("--search");
}

#[test]
fn what_goes_while_a_search_runs_is_not_missed() {
    for gone in ["* 2 EXPUNGE", "* VANISHED 2"] {
        let server = Odd::start("", &mail::many(3, 10), move |asked| match asked.verb {
            "UID SEARCH" => Answer::send(&format!("{gone}\r\n* SEARCH 1 3\r\n$tag OK\r\n")),
            _ => Answer::Usual,
        });
        assert_eq!(found(&Tool::new(), &server.url(), "uid", &[]), [1, 3].into());
        assert!(!server.log().iter().any(|line| line.contains("1:*")), "{:?}", server.log());
    }
}

#[test]
fn an_extended_answer_that_cannot_be_read_is_no_answer() {
    for answer in ["* ESEARCH (TAG \"$tag\") UID ALL 2:x\r\n$tag OK\r\n", "$tag OK\r\n"] {
        let server = Odd::start("ESEARCH", &mail::many(3, 10), move |asked| match asked.verb {
            "UID SEARCH" if asked.rest.contains("RETURN") => Answer::send(answer),
            "UID SEARCH" => Answer::send("* SEARCH 2\r\n$tag OK\r\n"),
            _ => Answer::Usual,
        });
        assert_eq!(found(&Tool::new(), &server.url(), "uid", &["--from", "x"]), [2].into(), "{answer:?}");
    }
}

#[test]
fn flags_that_are_not_told_are_not_taken_for_none() {
    for query in [&["--unseen"][..], &["--not", "--flagged"], &["--not", "--keyword", "Keep"]] {
        let server = Odd::start("UIDPLUS", &mail::many(2, 10), |asked| match asked.verb {
            "UID SEARCH" => Answer::send("* SEARCH 1 2\r\n$tag OK\r\n"),
            "UID FETCH" => Answer::send("* 1 FETCH (UID 1 RFC822.SIZE 10)\r\n* 2 FETCH (UID 2 RFC822.SIZE 10)\r\n$tag OK\r\n"),
            _ => Answer::Usual,
        });
        let url = server.url();
        let output = run(&Tool::new(), "delete", &[&[url.as_str(), "--permanently", "--max-delete", "100%", "--json"], query].concat());
        assert_eq!(output.expect_code(0).json()["changed"], 0);
        assert!(!server.log().iter().any(|line| line.contains("STORE") || line.contains("EXPUNGE")), "{:?}", server.log());
    }
}

#[test]
fn a_header_that_is_not_told_lacks_nothing() {
    let server = Odd::start("UIDPLUS", &mail::many(2, 10), |asked| match asked.verb {
        "UID SEARCH" if asked.rest.contains("CHARSET") => Answer::send("$tag NO [BADCHARSET] no\r\n"),
        "UID SEARCH" => Answer::send("* SEARCH 1 2\r\n$tag OK\r\n"),
        _ => Answer::Usual,
    });
    let args = [&server.url(), "--permanently", "--max-delete", "100%", "--json", "--not", "--from", "jörg"];
    let output = run(&Tool::new(), "delete", &args).expect_code(0);
    assert_eq!(output.json()["changed"], 0);
    assert!(!server.log().iter().any(|line| line.contains("STORE") || line.contains("EXPUNGE")), "{:?}", server.log());
}

#[test]
fn many_long_names_of_fields_make_no_long_line() {
    let all: String = (1..=500).map(|number| format!(" {}", 4_000_000_000_u32 + 2 * number)).collect();
    let server = Odd::start("LITERAL+", &mail::many(1, 10), move |asked| match asked.verb {
        _ if !asked.tag.starts_with('A') && asked.tag != "*" => Answer::Send(Vec::new()),
        "EXAMINE" => Answer::send("* 500 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$tag OK\r\n"),
        "UID SEARCH" if asked.rest.contains("CHARSET") => Answer::send("$tag NO [BADCHARSET] no\r\n"),
        "UID SEARCH" => Answer::send(&format!("* SEARCH{all}\r\n$tag OK\r\n")),
        _ => Answer::Usual,
    });
    let conditions: Vec<String> = (0..10).map(|number| format!("--header={}{number}: ä", "X".repeat(450))).collect();
    let url = server.url();
    let mut args = vec![url.as_str()];
    args.extend(conditions.iter().map(String::as_str));
    run(&Tool::new(), "list", &args).expect_code(0);
    assert!(server.log().iter().all(|line| line.len() < 7990), "{:?}", server.log().iter().map(String::len).max());
}

#[test]
fn a_server_of_imap4rev2_alone_is_not_asked_for_what_rev2_left_out() {
    let server = Odd::start("", &mail::many(1, 10), |asked| match asked.verb {
        "GREETING" => Answer::send("* OK [CAPABILITY IMAP4rev2] hello\r\n"),
        "CAPABILITY" => Answer::send("* CAPABILITY IMAP4rev2\r\n$tag OK\r\n"),
        "LSUB" => Answer::send("$tag BAD what\r\n"),
        "LIST" => Answer::send("* LIST (\\Subscribed) \"/\" INBOX\r\n$tag OK\r\n"),
        "UID SEARCH" => Answer::send("* ESEARCH (TAG \"$tag\") UID ALL 1\r\n$tag OK\r\n"),
        _ => Answer::Usual,
    });
    assert_eq!(found(&Tool::new(), &server.url(), "uid", &["--all-folders"]), [1].into());
}

/// The memory that the program may have used at most, in KiB: 64 MiB and what a debug build and its windows add.
const MEMORY: u64 = 96 * 1024;

#[test]
fn what_a_server_claims_to_find_takes_little_memory() {
    let sparse = |first: u32, count: u32| (0..count).map(|number| format!(" {}", first + 2 * number)).collect::<String>();
    let dense = " 2".repeat(7_900_000);
    let long = sparse(1_000_000_000, 1_400_000);
    let many: String = (0..20).map(|line| format!("* VERB{}\r\n", sparse(1_000_000_000 + line * 1_000_000, 500_000))).collect();
    let ranges = (0..1_400_000_u32).map(|number| format!(",{}", 1_000_000_000 + 2 * number)).collect::<String>();
    let extended = format!("* ESEARCH UID ALL 1{ranges}\r\n");
    for (what, verb, answer) in [
        ("dense", "SEARCH", format!("* SEARCH{dense}\r\n")),
        ("long", "SEARCH", format!("* SEARCH{long}\r\n")),
        ("many", "SEARCH", many.replace("VERB", "SEARCH")),
        ("extended", "SEARCH", extended),
        ("sort dense", "SORT", format!("* SORT{dense}\r\n")),
        ("sort long", "SORT", format!("* SORT{long}\r\n")),
        ("sort many", "SORT", many.replace("VERB", "SORT")),
    ] {
        let server = Odd::start(if verb == "SORT" { "SORT ESEARCH" } else { "ESEARCH" }, &[], move |asked| match asked.verb {
            "EXAMINE" | "SELECT" => Answer::send("* 4000000000 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$tag OK\r\n"),
            "UID SEARCH" | "UID SORT" if asked.verb.ends_with(verb) => Answer::Send(format!("{answer}{} OK\r\n", asked.tag).into_bytes()),
            "UID FETCH" | "UID SEARCH" => Answer::send("$tag BAD no\r\n"),
            _ => Answer::Usual,
        });
        let tool = Tool::new();
        let (url, password) = (server.url_with("timeout=60s"), tool.password_file());
        let password = password.to_str().unwrap();
        let to = tool.text("to");
        let all: &[&[&str]] = match verb {
            "SORT" => &[&["list", "--sort", "date"]],
            _ => &[&["list", "--limit", "2", "--from", "x"], &["flag", "--add", "seen", "--unseen"], &["fetch", "--to", &to]],
        };
        for args in all {
            let running = tool.spawn(&[&args[..1], &[&url, "--password-file", password], &args[1..]].concat(), None);
            let peak = peak_memory(running.id());
            let output = running.finish().expect_code(6);
            let peak = peak.join().unwrap();
            assert!(peak > 0 && peak < MEMORY, "{what} {args:?}: {peak} KiB, {output}");
        }
    }
}

/// The most memory that a run took, which ends with this code.
#[track_caller]
fn peak(tool: &Tool, args: &[&str], code: i32) -> u64 {
    let running = tool.spawn(args, None);
    let peak = peak_memory(running.id());
    running.finish().expect_code(code);
    peak.join().unwrap()
}

#[test]
fn mailboxes_that_a_server_claims_to_have_take_little_memory() {
    for (count, name, code) in [(40_000, "a".repeat(120), 0), (70_000, "&bad".into(), 0), (200_000, "a".repeat(80), 6)] {
        let names: String = (0..count).map(|number| format!("* LIST (\\HasNoChildren \\Noselect) \"/\" \"{name}{number}\"\r\n")).collect();
        let server = Odd::start("LIST-EXTENDED LIST-STATUS", &[], move |asked| match asked.verb {
            "LIST" if !asked.rest.starts_with("\"\" \"\"") => Answer::Send(format!("{names}{} OK\r\n", asked.tag).into_bytes()),
            "STATUS" => Answer::send("* STATUS INBOX (MESSAGES 0 UNSEEN 0 UIDNEXT 1 UIDVALIDITY 7)\r\n$tag OK\r\n"),
            _ => Answer::Usual,
        });
        let tool = Tool::new();
        let (url, password) = (server.url_with("timeout=60s"), tool.password_file());
        let peak = peak(&tool, &["folders", &url, "--password-file", password.to_str().unwrap()], code);
        assert!(peak > 0 && peak < MEMORY, "{name}: {peak} KiB");
    }
}

#[test]
fn a_large_message_is_searched_without_copies_of_it() {
    const SIZE: usize = 60_000_000;
    let tool = Tool::new();
    std::fs::create_dir(tool.path("e")).unwrap();
    let mut body = letter_of_text();
    while body.len() < SIZE {
        body.extend_from_slice("here and there a line of text \u{e4}\r\n".repeat(10_000).as_bytes());
    }
    std::fs::write(tool.path("e/1.eml"), &body).unwrap();
    let place = format!("eml:{}", tool.text("e"));
    // The message itself, and what any run takes.
    let peak = peak(&tool, &["list", &place, "--body", "nothing", "--not", "--text", "everything"], 0);
    assert!(peak > 0 && peak < MEMORY, "{peak} KiB");
}

fn letter_of_text() -> Vec<u8> {
    b"From: a@example.org\r\nSubject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n".to_vec()
}
