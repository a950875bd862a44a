//! The selection language: what it finds on a server, in files and over POP3, and that nothing typed becomes a command.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::dovecot_user;
use crate::support::dovecot::Plant;
use crate::support::imapd::{Behaviour, Imapd};

use crate::support::mail;
use crate::support::odd::{Answer, Odd};
use crate::support::pop3d::{self, Pop3d};

use crate::support::tls;
use crate::support::tool::{Output, Tool};

const DAY: i64 = 86_400;

fn list(tool: &Tool, args: &[&str]) -> Output {
    run(tool, "list", args)
}

pub fn run(tool: &Tool, verb: &str, args: &[&str]) -> Output {
    let (password, ca) = (tool.password_file(), tls::identity().ca_file());
    let mut all = vec![verb, "--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()];
    all.extend(args);
    tool.run(&all)
}

/// The numbers of the rows.
pub fn found(tool: &Tool, place: &str, field: &str, query: &[&str]) -> BTreeSet<u32> {
    let mut args = vec![place, "--fields", field];
    args.extend(query);
    let output = list(tool, &args).expect_code(0);
    assert_eq!(output.stderr, "", "{query:?}");
    output.text().lines().map(|line| line.parse().unwrap()).collect()
}

fn letter(header: &str, body: &str) -> Vec<u8> {
    format!("{header}\r\n\r\n{body}\r\n").replace('\n', "\r\n").replace("\r\r\n", "\r\n").into_bytes()
}

/// Letters that differ in everything a query can ask for.
pub fn letters() -> Vec<Plant> {
    let encoded = "From: =?utf-8?q?J=C3=B6rg_Gr=C3=B6=C3=9Fe?= <joerg@example.org>\nTo: \"Weber, Ann\" <ann@example.org>,\n bob@example.org\n\
                   Cc: =?iso-8859-1?q?M=FCller?= <m@example.com>\nSubject: =?utf-8?b?R3LDvMOfZSBhdXM=?=\n =?utf-8?q?_M=C3=BCnchen?=\n\
                   Date: Tue, 1 Jul 2003 23:52:37 -0500\nMessage-ID: <11@example.org>\nList-Id: Talk <talk.example.org>";
    let quoted = "From: a@example.org\nSubject: quoted\nDate: Wed, 2 Jul 2003 00:10:00 +0900\nMessage-ID: <1@example.org>\n\
                  Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable";
    let base64 = "From: B <b@example.org>\nSubject: base64 (with \"quotes\" and \\backslash)\nDate: Thu, 3 Jul 2003 12:00:00 +0000\n\
                  Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64";
    let multipart = "From: c@example.org\nSubject: parts\nMessage-ID: parts@example.org\n\
                     Content-Type: multipart/mixed; boundary=bb";
    let parts = "preamble\n--bb\nContent-Type: text/html; charset=utf-8\n\n<p>Hyper &amp; text</p>\n--bb\nContent-Type: application/octet-stream\n\
                 Content-Transfer-Encoding: base64\n\nc2VjcmV0IHRleHQ=\n--bb\nContent-Type: message/rfc822\n\nFrom: inner@example.org\n\
                 Subject: inner subject\n\ninner body\n--bb--";
    vec![
        Plant::new(letter(encoded, "plain body")).flag("\\Seen").flag("\\Flagged").date(1_057_100_000),
        Plant::new(letter(quoted, "Stra=DFe und Gr=FC=\n=DFe")).flag("\\Answered").date(1_057_104_000 - 1),
        Plant::new(letter(base64, "w4RwZmVsIHVuZCBCaXJuZW4K")).flag("\\Draft").date(1_057_104_000),
        Plant::new(letter(multipart, parts)).flag("\\Deleted").flag("\\Seen").date(1_700_000_000),
        Plant::new(letter("Subject: no date", &"x".repeat(3000))).date(1_704_067_200 + DAY / 2),
        Plant::new(letter("To: A.Very.Long@example.org\nSubject: 2\nX-Empty:\nDate: nonsense", "y")).date(1_704_067_200 + DAY),
    ]
}

/// The same mail as a Maildir of ours, numbered alike.
pub fn maildir(tool: &Tool, plants: &[Plant]) -> String {
    for sub in ["m/cur", "m/new", "m/tmp"] {
        std::fs::create_dir_all(tool.path(sub)).unwrap();
    }
    for (index, plant) in plants.iter().enumerate() {
        let mut letters: Vec<&str> = plant
            .flags
            .iter()
            .map(|flag| match &flag[1..] {
                "Deleted" => "T",
                other => &other[..1],
            })
            .collect();
        letters.iter_mut().for_each(|letter| {
            if *letter == "A" {
                *letter = "R";
            }
        });
        letters.sort_unstable();
        let path = tool.path(&format!("m/cur/{:010}.x:2,{}", 1_000_000_000 + index, letters.concat()));
        std::fs::write(&path, &plant.body).unwrap();
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(plant.internal_date).unwrap());
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
    }
    format!("maildir:{}", tool.text("m"))
}

const QUERIES: &[&[&str]] = &[
    &["--unseen"],
    &["--seen"],
    &["--flagged"],
    &["--answered"],
    &["--draft"],
    &["--deleted"],
    &["--from", "example.org"],
    &["--from", "GRÖSSE"],
    &["--from", "jörg GRÖ"],
    &["--to", "weber, ann"],
    &["--to", "bob"],
    &["--cc", "MÜLLER"],
    &["--cc", "ann"],
    &["--subject", "Grüße aus München"],
    &["--subject", "grüsse"],
    &["--subject", "with \"quotes\" and \\back"],
    &["--subject", "2"],
    &["--subject", "looks-like"],
    &["--header", "List-Id: talk"],
    &["--header", "list-id:"],
    &["--header", "X-Empty:"],
    &["--header", "X-Nothing:"],
    &["--header", "Message-ID: example"],
    &["--message-id", "<1@example.org>"],
    &["--message-id", "11@example.org"],
    &["--message-id", "@example.org"],
    &["--message-id", "parts@example.org"],
    &["--body", "straße"],
    &["--body", "GRÜßE"],
    &["--body", "äpfel"],
    &["--body", "hyper"],
    &["--body", "secret text"],
    &["--body", "inner body"],
    &["--body", "hello"],
    &["--body", "quotes"],
    &["--text", "joerg@"],
    &["--text", "inner subject"],
    &["--text", "birnen"],
    &["--since", "2003-07-02"],
    &["--before", "2003-07-02"],
    &["--since", "2024-01-01", "--before", "2024-01-02"],
    &["--sent-since", "2003-07-02"],
    &["--sent-before", "2003-07-02"],
    &["--sent-since", "2003-07-01", "--sent-before", "2003-07-02"],
    &["--larger", "2k"],
    &["--smaller", "150"],
    &["--larger", "5G"],
    &["--smaller", "5G"],
    &["--older-than", "2024-01-01T12:00:00Z"],
    &["--newer-than", "2024-01-01T12:00:00Z"],
    &["--older-than", "2003-07-01T23:59:59Z"],
    &["--newer-than", "100000d"],
    &["--uid", "2:4", "--not", "--uid", "3", "--from", "example"],
    &["--uid", "2:*", "--seen"],
    &["--not", "--uid", "1:3,*"],
    &["--from", "example.org", "--from", "joerg", "--flagged"],
    &["--limit", "2", "--from", "example.org"],
    &["--limit", "2", "--older-than", "2024-01-01T12:00:00Z"],
    &["--limit", "1", "--message-id", "11@example.org"],
];

/// The opposite of a query of one condition.
fn opposite<'a>(query: &[&'a str]) -> Option<Vec<&'a str>> {
    let conditions = query.iter().filter(|word| word.starts_with("--")).count();
    (conditions == 1 && !query[0].starts_with("--not")).then(|| ["--not"].into_iter().chain(query.iter().copied()).collect())
}

#[test]
fn every_option_means_the_same_on_a_server_and_in_files() {
    let user = dovecot_user!("query-same");
    let mut plants = letters();
    plants.extend(mail::nasty().into_iter().filter(|(_, body)| !body.is_empty()).map(|(_, body)| Plant::new(body)));
    // What cannot be read is read differently: an encoding nobody knows (Dovecot searches no such part), a date without an hour.
    let unclear = |body: &[u8]| {
        [&b"Transfer-Encoding: text/html"[..], b"2010    59:10"].iter().any(|text| body.windows(text.len()).any(|own| own == *text))
    };
    plants.extend(mail::corpus().into_iter().filter(|(_, body)| !body.is_empty() && !unclear(body)).map(|(_, body)| Plant::new(body)));
    user.plant("INBOX", &plants);
    let tool = Tool::new();
    let local = maildir(&tool, &plants);
    let (server, all) = (user.imaps(), u32::try_from(plants.len()).unwrap());
    assert_eq!(found(&tool, &server, "uid", &[]), (1..=all).collect());
    let mut differing = Vec::new();
    for query in QUERIES {
        let both = [Some(query.to_vec()), opposite(query)];
        for query in both.into_iter().flatten() {
            let (mut there, mut here) = (found(&tool, &server, "uid", &query), found(&tool, &local, "number", &query));
            if query.contains(&"--sent-before") {
                // What a message without a date was sent before is left open by RFC 9051; Dovecot takes it for 1970.
                let dated =
                    |number: &u32| plants[*number as usize - 1].body.windows(8).any(|text| text == b"\nDate: T" || text == b"\nDate: W");
                there.retain(dated);
                here.retain(dated);
            }
            if there != here {
                let only = |one: &BTreeSet<u32>, other: &BTreeSet<u32>| -> Vec<String> {
                    let body =
                        |number: &u32| String::from_utf8_lossy(&plants[*number as usize - 1].body).chars().take(60).collect::<String>();
                    one.difference(other).take(5).map(|number| format!("{number} {:?}", body(number))).collect()
                };
                differing.push(format!("{query:?}: the server alone {:?}, here alone {:?}", only(&there, &here), only(&here, &there)));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn keywords_and_keys_as_typed_are_for_the_server() {
    let user = dovecot_user!("query-keys");
    user.append("INBOX", &letter("Subject: one", "x"), &["$Junk"]);
    user.append("INBOX", &letter("Subject: two (2) \u{e4}", "x"), &["\\Seen", "Work"]);
    user.append("INBOX", &letter("Subject: three", "x"), &[]);
    let tool = Tool::new();
    let server = user.imaps();
    for (query, expected) in [
        (&["--keyword", "$Junk"][..], &[1][..]),
        (&["--keyword", "$junk"], &[1]),
        (&["--not", "--keyword", "Work"], &[1, 3]),
        (&["--search", "OR KEYWORD Work SUBJECT \"three\""], &[2, 3]),
        (&["--not", "--search", "OR KEYWORD Work SUBJECT \"three\""], &[1]),
        (&["--search", "SUBJECT \"(2) \u{e4}\"", "--seen"], &[2]),
        (&["--search", "SUBJECT \"{2}\""], &[]),
        (&["--subject", "x\r\nA9 LOGOUT\r\n"], &[]),
        (&["--not", "--subject", "x\r\nA9 LOGOUT\r\n"], &[1, 2, 3]),
        (&["--header", "a(b): x"], &[]),
    ] {
        assert_eq!(found(&tool, &server, "uid", query), expected.iter().copied().collect(), "{query:?}");
    }
    let output = list(&tool, &[&server, "--search", "NONSENSE"]).expect_code(6);
    assert!(output.stderr.contains("NONSENSE"), "{output}");
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is_connected_to() {
    let imap = Imapd::start(Behaviour::default());
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &[]);
    let tool = Tool::new();
    std::fs::create_dir(tool.path("e")).unwrap();
    for keys in
        ["", " ", "(", "SEEN)", "\"x", "\"\\x\"", "SUBJECT {4}", "SUBJECT {4+}", "a\r\nA9 LOGOUT", "SUBJECT \"a\nb\"", "SUBJECT ä", "~{3}"]
    {
        list(&tool, &[&imap.url(), &format!("--search={keys}")]).expect_code(2);
    }
    for wrong in
        [&["--since", "yesterday"][..], &["--larger", "big"], &["--keyword", "a b"], &["--not"], &["--older-than", "1"], &["--header", "x"]]
    {
        list(&tool, &[&[imap.url().as_str()], wrong].concat()).expect_code(2);
    }
    for place in [pop3.url(), format!("eml:{}", tool.text("e"))] {
        for option in [&["--search", "SEEN"][..], &["--not", "--gmail", "x"]] {
            list(&tool, &[&[place.as_str()], option].concat()).expect_code(2).expect_stderr(option[option.len() - 2]);
            run(&tool, "fetch", &[&[place.as_str(), "1"], option].concat()).expect_code(2).expect_stderr("IMAP");
        }
    }
    assert_eq!((imap.connections(), pop3.connections()), (0, 0));
}

#[test]
fn gmails_searches_go_to_gmail_alone() {
    let other = Odd::start("", &mail::many(2, 10), |_| Answer::Usual);
    list(&Tool::new(), &[&other.url(), "--gmail", "has:attachment"]).expect_code(2).expect_stderr("X-GM-EXT-1");
    let gmail = Odd::start("X-GM-EXT-1", &mail::many(2, 10), |asked| match asked.verb {
        "UID SEARCH" => Answer::send("* SEARCH 2\r\n$tag OK\r\n"),
        _ => Answer::Usual,
    });
    assert_eq!(found(&Tool::new(), &gmail.url(), "uid", &["--gmail", "has:attachment \"x\""]), [2].into());
    assert!(gmail.log().iter().any(|line| line == "UID SEARCH X-GM-RAW \"has:attachment \\\"x\\\"\""), "{:?}", gmail.log());
}

/// A server that takes nothing but ASCII in a search, in its own words, and finds all messages for anything else.
fn ascii_only(capabilities: &str, refusal: &'static str) -> Odd {
    let messages: Vec<Vec<u8>> = letters().into_iter().map(|plant| plant.body).collect();
    let own = messages.clone();
    Odd::start(capabilities, &messages, move |asked| match asked.verb {
        // The octets of a literal that was sent without waiting.
        _ if asked.connection > 0 && asked.tag != "*" && !asked.tag.starts_with('A') => Answer::Send(Vec::new()),
        "UID SEARCH" if asked.rest.contains("CHARSET") => Answer::send(&format!("$tag {refusal}\r\n")),
        "UID SEARCH" => Answer::send("* SEARCH 1 2 3 4 5 6\r\n$tag OK\r\n"),
        "UID FETCH" if asked.rest.contains("HEADER.FIELDS") => {
            let mut answer = String::new();
            for (uid, body) in (1..).zip(&own).filter(|(uid, _)| asked.names(*uid)) {
                let header = String::from_utf8_lossy(body).split_inclusive("\r\n\r\n").next().unwrap_or_default().to_owned();
                answer.push_str(&format!(
                    "* {uid} FETCH (UID {uid} FLAGS () RFC822.SIZE {} BODY[HEADER.FIELDS (X)] {{{}}}\r\n{header})\r\n",
                    body.len(),
                    header.len()
                ));
            }
            Answer::send(&format!("{answer}$tag OK\r\n"))
        }
        _ => Answer::Usual,
    })
}

#[test]
fn a_server_that_takes_only_ascii_is_searched_here() {
    for (capabilities, refusal) in
        [("", "NO [BADCHARSET (US-ASCII)] no"), ("", "BAD what"), ("LITERAL+", "NO [BADCHARSET] no"), ("LITERAL+", "BAD 8-bit data")]
    {
        for (query, expected) in [
            (&["--subject", "grüße AUS"][..], &[1][..]),
            (&["--from", "jörg", "--not", "--cc", "müller"], &[]),
            (&["--not", "--header", "Cc: müller"], &[2, 3, 4, 5, 6]),
            (&["--body", "äpfel"], &[3]),
            (&["--not", "--text", "straße", "--seen"], &[1, 3, 4, 5, 6]),
        ] {
            let server = ascii_only(capabilities, refusal);
            assert_eq!(found(&Tool::new(), &server.url(), "uid", query), expected.iter().copied().collect(), "{refusal} {query:?}");
            let log = server.log();
            let bodies = log.iter().any(|line| line.contains("BODY.PEEK[]"));
            assert_eq!(bodies, query.contains(&"--body") || query.contains(&"--text"), "{log:?}");
            if query.contains(&"--seen") {
                assert!(log.iter().any(|line| line == "UID SEARCH SEEN"), "{log:?}");
            }
        }
        let server = ascii_only(capabilities, refusal);
        list(&Tool::new(), &[&server.url(), "--search", "SUBJECT \"ä\""]).expect_code(6).expect_stderr(refusal);
    }
}

#[test]
fn a_hundred_thousand_uids_from_standard_input_fit_short_lines() {
    const COUNT: u32 = 100_000;
    let server = Odd::start("ESEARCH LITERAL+", &[], |asked| match asked.verb {
        "EXAMINE" => Answer::send(&format!("* {} EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$tag OK\r\n", 2 * COUNT)),
        "UID SEARCH" => Answer::send(&format!("* ESEARCH (TAG \"$tag\") UID ALL 1:{}\r\n$tag OK\r\n", 2 * COUNT)),
        "UID FETCH" => {
            let mut answer = String::new();
            for uid in asked.rest.split(' ').next().unwrap().split(',') {
                let (first, last) = uid.split_once(':').unwrap_or((uid, uid));
                for uid in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
                    answer.push_str(&format!("* {uid} FETCH (UID {uid} FLAGS () RFC822.SIZE 5)\r\n"));
                }
            }
            Answer::send(&format!("{answer}$tag OK\r\n"))
        }
        _ => Answer::Usual,
    });
    let tool = Tool::new();
    let uids: String = (1..=COUNT).map(|number| format!("{}\n", 2 * number)).collect();
    let password = tool.password_file();
    let url = server.url_with("timeout=60s");
    let args = ["list", &url, "--password-file", password.to_str().unwrap(), "--fields", "uid", "-o", "tsv", "--uid", "-"];
    let output = tool.run_with_input(&args, uids.as_bytes()).expect_code(0);
    assert!(output.text() == uids, "{}", output.text().lines().count());
    let log = server.log();
    assert!(log.iter().all(|line| line.len() <= 8000 - 16), "{:?}", log.iter().map(String::len).max());
    assert!(log.len() < 300, "{}", log.len());
    let junk = tool.run_with_input(&args, b"1\n\x1b[2Jx\n").expect_code(2).expect_stderr("standard input");
    assert!(!junk.stderr.contains('\x1b'), "{junk}");
}

#[test]
fn pop3_is_searched_by_headers_where_they_are_enough() {
    let bodies: Vec<Vec<u8>> = letters().into_iter().map(|plant| plant.body).collect();
    let used = |server: &Pop3d, verb: &str| server.log().iter().filter(|line| line.contains(verb)).count();
    for (query, expected, tops, retrs) in [
        (&["--unseen"][..], &[1, 2, 3, 4, 5, 6][..], 0, 0),
        (&["--flagged"], &[], 0, 0),
        (&["--larger", "2k"], &[5], 0, 0),
        (&["--from", "JÖRG"], &[1], 6, 0),
        (&["--from", "example.org", "--seen"], &[], 0, 0),
        (&["--larger", "2k", "--subject", "no"], &[5], 1, 0),
        (&["--sent-since", "2003-07-02"], &[2, 3], 6, 0),
        // Without a Received field the Date tells when it came; who has neither is left out.
        (&["--before", "2003-07-03"], &[1, 2], 6, 0),
        (&["--not", "--before", "2003-07-03"], &[3], 6, 0),
        (&["--older-than", "2003-07-01T16:00:00Z"], &[2], 6, 0),
        (&["--body", "STRAßE"], &[2], 0, 6),
        (&["--limit", "1", "--from", "example.org"], &[4], 6, 0),
    ] {
        let server = Pop3d::start(pop3d::Behaviour::default(), &bodies);
        assert_eq!(found(&Tool::new(), &server.url(), "number", query), expected.iter().copied().collect(), "{query:?}");
        assert_eq!((used(&server, " TOP "), used(&server, " RETR ")), (tops, retrs), "{query:?}");
    }
    let liar = Pop3d::start(pop3d::Behaviour { no_top: true, ..pop3d::Behaviour::default() }, &bodies);
    assert_eq!(found(&Tool::new(), &liar.url(), "number", &["--from", "jörg"]), [1].into());
    let refusing = pop3d::Behaviour { refuse: vec![(1, "no longer".to_owned())], ..pop3d::Behaviour::default().without("TOP") };
    let server = Pop3d::start(refusing, &bodies);
    let output =
        list(&Tool::new(), &[&server.url(), "--fields", "number", "--from", "example.org"]).expect_code(3).expect_stderr("no longer");
    assert_eq!(output.text(), "2\n3\n4\n");
}

#[test]
fn a_query_chooses_what_fetch_writes() {
    let user = dovecot_user!("query-fetch");
    user.plant("INBOX", &letters());
    let tool = Tool::new();
    let output = run(&tool, "fetch", &[&user.imaps(), "--header", "To: weber"]).expect_code(0);
    assert_eq!(output.stdout, letters()[0].body);
    run(&tool, "fetch", &[&user.imaps(), "--header", "To: nobody"]).expect_code(0);
    let to = tool.text("out");
    run(&tool, "fetch", &[&user.pop3s(), "--from", "example.org", "--not", "--subject", "parts", "--to", &to]).expect_code(0);
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 3);
}

#[test]
fn what_is_deleted_is_what_was_asked_for_and_nothing_like_it() {
    let user = dovecot_user!("query-delete");
    user.plant("INBOX", &letters());
    let tool = Tool::new();
    // The server finds 11@example.org too, and both days of a moment.
    run(&tool, "delete", &[&user.imaps(), "--permanently", "--message-id", "1@example.org"]).expect_code(0);
    run(
        &tool,
        "delete",
        &[&user.imaps(), "--permanently", "--newer-than", "2024-01-02T00:00:00Z", "--not", "--message-id", "11@example.org"],
    )
    .expect_code(0);
    let uids: Vec<u32> = user.messages("INBOX").iter().map(|message| message.uid).collect();
    assert_eq!(uids, [1, 3, 4, 5, 6]);
    run(&tool, "delete", &[&user.imaps(), "--permanently", "--newer-than", "2024-01-01T23:59:59Z"]).expect_code(0);
    run(&tool, "delete", &[&user.imaps(), "--permanently", "--limit", "1", "--older-than", "2003-07-01T23:59:59Z"]).expect_code(0);
    let uids: Vec<u32> = user.messages("INBOX").iter().map(|message| message.uid).collect();
    assert_eq!(uids, [3, 4, 5]);
}

#[test]
fn a_search_that_finds_too_much_changes_nothing_that_does_not_match() {
    for (query, left) in [
        (&["--seen"][..], &[1, 2, 3][..]),
        (&["--not", "--unseen"], &[1, 2, 3]),
        (&["--larger", "1M"], &[1, 2, 3]),
        (&["--before", "1990-01-01"], &[1, 2, 3]),
        (&["--older-than", "100000d"], &[1, 2, 3]),
        (&["--unseen", "--smaller", "1M"], &[]),
    ] {
        let server = Imapd::start(Behaviour::default());
        server.fill("INBOX", &mail::many(3, 10));
        // For a key it does not know it finds everything.
        let url = server.url();
        let _ = run(&Tool::new(), "delete", &[&[url.as_str(), "--permanently", "--max-delete", "100%"], query].concat());
        let mut uids = Vec::new();
        server.change("INBOX", |mailbox| uids = mailbox.messages.iter().map(|message| message.uid).collect());
        assert_eq!(uids, left, "{query:?}");
    }
}

#[test]
fn a_pop3_message_that_cannot_be_looked_into_is_named_and_stays() {
    let refuse = vec![(2, "no longer".to_owned())];
    let server = Pop3d::start(pop3d::Behaviour { refuse, ..pop3d::Behaviour::default() }.without("TOP"), &mail::many(3, 10));
    let output = run(&Tool::new(), "delete", &[&server.url(), "--from", "ann", "--max-delete", "100%"]).expect_code(3);
    assert!(output.stderr.contains("no longer"), "{output}");
    assert!(server.log().iter().all(|line| !line.ends_with("DELE 2")), "{:?}", server.log());
    assert!(server.log().iter().any(|line| line.ends_with("DELE 3")), "{:?}", server.log());
}
