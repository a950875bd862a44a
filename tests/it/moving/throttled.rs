//! `migrate` with servers that slow it down, let tokens expire and hang up every now and then: it waits as long as they ask, goes
//! on where it stopped, and gives no message up for it.

use std::path::Path;

use crate::crash::bench::Bench;
use crate::support::canary;
use crate::support::imapd::{AppendFault, Behaviour, CommandFault, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};

const BACKOFF: &str = "Request is throttled. Suggested Backoff Time: 299950 Milliseconds";

fn waiting() -> Behaviour {
    Behaviour::default().without(&["MULTIAPPEND", "LITERAL+"])
}

#[track_caller]
fn expect_balance(output: &Output, listed: usize) {
    let summary = output.json();
    assert_eq!((&summary["balanced"], &summary["listed"]), (&true.into(), &listed.into()), "{output}");
    for count in ["refused", "quarantined", "unknown"] {
        assert_eq!(summary[count], 0, "{output}");
    }
}

#[test]
fn an_append_that_is_throttled_waits_as_long_as_the_server_says_and_no_message_is_refused() {
    for (words, least, most) in
        [(BACKOFF, 299_950, 330_000), ("[THROTTLED] slow down", 5_000, 60_000), ("[UNAVAILABLE] backoff 30 s", 30_000, 700_000)]
    {
        for destination in [Behaviour::default(), waiting(), Behaviour::default().without(&["UIDPLUS"])] {
            let bodies = mail::many(150, 200);
            let destination = destination.append_fault(2, AppendFault::No(words.to_owned()));
            let bench = Bench::imap(&bodies, Behaviour::default(), destination);
            let output = bench.run().expect_code(0);
            expect_balance(&output, 150);
            let waited = bench.tool.clock();
            assert!((least..most).contains(&waited), "{words}: waited {waited} ms, {output}");
            bench.expect_all_once(words);
        }
    }
}

#[test]
fn a_wait_is_told_once_with_the_servers_words() {
    let bodies = mail::many(20, 200);
    let bench = Bench::imap(&bodies, Behaviour::default(), waiting().append_fault(3, AppendFault::No(BACKOFF.to_owned())));
    let output = bench.tool.run(&["migrate", "from", "to", "--progress", "json"]).expect_code(0);
    assert_eq!(output.stderr.matches("Suggested Backoff Time").count(), 1, "{output}");
    assert!(output.stderr.contains("300 s"), "{output}");
}

#[test]
fn no_server_makes_a_run_wait_for_longer_than_an_hour_at_a_time() {
    let bodies = mail::many(20, 200);
    let words = "throttled, try again in 900 hours".to_owned();
    let bench = Bench::imap(&bodies, Behaviour::default(), Behaviour::default().append_fault(2, AppendFault::No(words)));
    let output = bench.run().expect_code(0);
    expect_balance(&output, 20);
    assert!((3_600_000..3_700_000).contains(&bench.tool.clock()), "{}", bench.tool.clock());
}

#[test]
fn a_server_that_throttles_without_end_ends_the_run_for_later() {
    let bodies = mail::many(20, 200);
    let mut destination = Behaviour::default();
    for number in 2..40 {
        destination = destination.append_fault(number, AppendFault::No(BACKOFF.to_owned()));
    }
    let bench = Bench::imap(&bodies, Behaviour::default(), destination);
    let output = bench.run().expect_code(5);
    let summary = output.json();
    assert_eq!(summary["refused"], 0, "{output}");
    bench.to.behave(|behaviour| behaviour.appends.clear());
    expect_balance(&bench.run().expect_code(0), 20);
    bench.expect_all_once("without end");
}

#[test]
fn a_message_of_which_the_destination_says_that_it_wants_more_time_again_and_again_is_put_aside_alone() {
    for words in ["[LIMIT] rate limit exceeded for this sender", "throttled: message rejected", "please retry in 5 s"] {
        for destination in [Behaviour::default(), waiting(), Behaviour::default().without(&["MULTIAPPEND"])] {
            for (count, at) in [(100, 40), (3, 0), (3, 2), (1, 0)] {
                let bodies = mail::many(count, 200);
                let needle = format!("Subject: message {at}\r\n").into_bytes();
                let refuse = vec![(needle.clone(), words.to_owned())];
                let bench = Bench::imap(&bodies, Behaviour::default(), Behaviour { refuse, ..destination.clone() });
                let case = format!("{words}, {at} of {count}, {:?}", destination.capabilities);
                let output = bench.run();
                assert_eq!(output.code, 3, "{case}: {output}");
                let summary = output.json();
                assert_eq!(
                    (&summary["copied"], &summary["quarantined"], &summary["balanced"]),
                    (&(count - 1).into(), &1.into(), &true.into()),
                    "{case}: {output}"
                );
                assert!(summary["problems"][0]["reason"].as_str().unwrap().contains(words), "{case}: {output}");
                assert!(bench.tool.clock() < 180_000, "{case}: {}", bench.tool.clock());
                // Tried again by the next run, which says so of it alone.
                let before = (bench.tool.clock(), bench.to.appends());
                bench.run().expect_code(3);
                assert!(bench.tool.clock() < before.0 + 60_000 && bench.to.appends() == before.1 + 1, "{case}");
                bench.to.behave(|behaviour| behaviour.refuse.clear());
                assert_eq!(bench.run().expect_code(0).json()["copied"], 1, "{case}");
                bench.expect_all_once(&case);
                assert_eq!(bench.tool.run(&["problems", "to", "--json"]).expect_code(0).json()["messages"].as_array().unwrap().len(), 0);
            }
        }
    }
}

#[test]
fn reading_that_is_throttled_waits_and_goes_on() {
    let refusals = ["NO [THROTTLED] slow", &format!("BAD {BACKOFF}"), "NO FETCH failed [THROTTLED]"].map(str::to_owned);
    for words in refusals {
        let bodies = mail::many(100, 200);
        let bench =
            Bench::imap(&bodies, Behaviour::default().fault("UID FETCH", 2, CommandFault::Refuse(words.clone())), Behaviour::default());
        let output = bench.run().expect_code(0);
        expect_balance(&output, 100);
        assert!(bench.tool.clock() >= 10_000, "{words}: {}", bench.tool.clock());
        bench.expect_all_once(&words);
    }
    for words in ["[SYS/TEMP] database is busy", "Too fast, retry after 90 s", "[IN-USE] somebody else"] {
        let bodies = mail::many(100, 200);
        let source = pop3d::Behaviour { refuse_once: vec![(40, words.to_owned())], ..pop3d::Behaviour::default() };
        let bench = Bench::pop3(&bodies, source, Behaviour::default());
        let output = bench.run().expect_code(0);
        expect_balance(&output, 100);
        if words.contains("90 s") {
            assert!(bench.tool.clock() >= 90_000);
        }
        bench.expect_all_once(words);
    }
}

#[test]
fn a_farewell_with_a_time_is_obeyed_on_either_side() {
    let bye = |most| Some((most, "BYE Request is throttled. Suggested Backoff Time: 60000 milliseconds".to_owned()));
    let bodies = mail::many(100, 200);
    let bench = Bench::imap(&bodies, Behaviour { bye_after: bye(30), ..Behaviour::default() }, Behaviour::default());
    let output = bench.run().expect_code(0);
    expect_balance(&output, 100);
    assert!(bench.tool.clock() >= 60_000, "{output}");
    mail::assert_same_mail(&bodies, &bench.there());
    let bench = Bench::imap(&bodies, Behaviour::default(), Behaviour { bye_after: bye(8), ..waiting() });
    let output = bench.run().expect_code(0);
    expect_balance(&output, 100);
    assert!(bench.tool.clock() >= 60_000, "{output}");
    bench.expect_all_once("bye");
}

#[test]
fn a_login_that_is_refused_for_the_time_being_is_no_wrong_password() {
    for words in [
        "NO [UNAVAILABLE] later",
        "NO [LIMIT] enough",
        "NO [ALERT] Too many simultaneous connections. (Failure)",
        "NO Rate limit exceeded",
        "BAD Request is throttled. Suggested Backoff Time: 299950 Milliseconds",
        "NO [INUSE] in use",
    ] {
        let source = Imapd::start(Behaviour { login: Some(words.to_owned()), ..Behaviour::default() });
        expect_login(&source.url(), words, 5);
    }
    let wrong = Imapd::start(Behaviour { secrets: Some(Vec::new()), ..Behaviour::default() });
    expect_login(&wrong.url(), "[AUTHENTICATIONFAILED]", 4);
    assert_eq!(wrong.connections(), 1, "a wrong password is shown once");
    for greeting in ["* BYE Too many connections, try again later", "* NO Maximum number of connections exceeded"] {
        let source = Imapd::start(Behaviour { greeting: Some(greeting.to_owned()), ..Behaviour::default() });
        expect_login(&source.url(), &greeting[6..], 5);
    }
    for words in ["-ERR [LOGIN-DELAY] too soon", "-ERR [IN-USE] locked", "-ERR [SYS/TEMP] trouble", "-ERR too many connections"] {
        let source = Pop3d::start(pop3d::Behaviour { login: Some(words.to_owned()), ..pop3d::Behaviour::default() }, &[]);
        expect_login(&source.url(), words, 5);
    }
}

#[track_caller]
fn expect_login(url: &str, words: &str, code: i32) {
    let to = Imapd::start(Behaviour::default());
    let tool = Tool::new();
    tool.server("from", url.starts_with("imap").then_some(url), url.starts_with("pop3").then_some(url));
    tool.server("to", Some(&to.url()), None);
    tool.run(&["migrate", "from", "to"]).expect_code(code).expect_stderr(words.trim_start_matches("* "));
}

/// A command that prints another token each time it is run: the canary with a number behind.
fn tokens(tool: &Tool, script: &str) -> String {
    let (file, count) = (tool.path("tokens.sh"), tool.path("count"));
    std::fs::write(&file, format!("echo x >> {count}\nn=$(wc -l < {count})\n{script}\n", count = count.display())).unwrap();
    format!("sh {}", file.display())
}

fn runs(tool: &Tool) -> usize {
    std::fs::read_to_string(tool.path("count")).unwrap().lines().count()
}

fn bearer() -> Behaviour {
    Behaviour::default().with("AUTH=XOAUTH2")
}

#[test]
fn an_expired_token_is_asked_for_anew_and_a_wrong_one_is_shown_once() {
    let bodies = mail::many(120, 200);
    let (one, two) = (format!("{}-1", canary()), format!("{}-2", canary()));
    let expiring = Behaviour {
        secrets: Some(vec![one.clone()]),
        bye_after: Some((50, "BYE Session expired".to_owned())),
        secrets_after_bye: Some(vec![two.clone()]),
        ..bearer()
    };
    for destination_expires in [false, true] {
        let (from, to) =
            if destination_expires { (Behaviour::default(), expiring.clone()) } else { (expiring.clone(), Behaviour::default()) };
        let bench = Bench::imap(&bodies, from, to.without(&["MULTIAPPEND"]));
        let command = tokens(
            &bench.tool,
            &format!("[ $n -gt 2 ] && n=2; printf '%s-%s\\n' \"$(cat {})\" \"$n\"", bench.tool.password_file().display()),
        );
        let option = if destination_expires { "--to-token-command" } else { "--from-token-command" };
        let trace = bench.tool.trace();
        let output = bench.tool.run(&["migrate", "from", "to", "--json", option, &command, "--trace", &trace.display().to_string()]);
        assert_eq!(output.code, 0, "{output}");
        expect_balance(&output, 120);
        // One at the start and one once it has expired; one more where the run had to wait for longer than a token serves.
        let most = if destination_expires { 3 } else { 2 };
        assert!((2..=most).contains(&runs(&bench.tool)), "{} tokens: {output}", runs(&bench.tool));
        mail::assert_same_mail(&bodies, &bench.there());
        no_token_in(&trace);
    }

    // The second one is no better: that is the end of it, and nobody is locked out.
    let bench = Bench::imap(&bodies, Behaviour { secrets_after_bye: Some(Vec::new()), ..expiring }, Behaviour::default());
    let command =
        tokens(&bench.tool, &format!("[ $n -gt 2 ] && n=2; printf '%s-%s\\n' \"$(cat {})\" \"$n\"", bench.tool.password_file().display()));
    bench.tool.run(&["migrate", "from", "to", "--json", "--from-token-command", &command]).expect_code(4);
    assert_eq!(runs(&bench.tool), 2);
    let logins = bench.imapd().log().iter().filter(|line| line.contains("AUTHENTICATE")).count();
    assert_eq!(logins, 3, "{:?}", bench.imapd().log());
}

fn no_token_in(trace: &Path) {
    let text = std::fs::read(trace).unwrap();
    assert!(!text.is_empty() && !crate::support::tool::holds_canary(&text), "the token stands in the trace");
}

#[test]
fn a_password_that_was_changed_meanwhile_is_asked_for_once_more() {
    let bodies = mail::many(120, 200);
    let two = format!("{}-2", canary());
    let source = Behaviour {
        secrets: Some(vec![format!("{}-1", canary())]),
        bye_after: Some((50, "BYE bye".to_owned())),
        secrets_after_bye: Some(vec![two]),
        ..Behaviour::default()
    };
    let bench = Bench::imap(&bodies, source, Behaviour::default());
    let command =
        tokens(&bench.tool, &format!("[ $n -gt 2 ] && n=2; printf '%s-%s\\n' \"$(cat {})\" \"$n\"", bench.tool.password_file().display()));
    let output = bench.tool.run(&["migrate", "from", "to", "--json", "--from-password-command", &command]).expect_code(0);
    expect_balance(&output, 120);
    assert_eq!(runs(&bench.tool), 2);
    mail::assert_same_mail(&bodies, &bench.there());
}

/// Five thousand messages, and a server that ends every session after seven hundred.
const MANY: u64 = 5000;
const SESSION: usize = 700;

#[test]
fn a_source_that_says_bye_every_700_messages_is_read_about_once() {
    let bodies = mail::many(MANY, 50);
    let source = Behaviour { bye_after: Some((SESSION, "BYE enough".to_owned())), ..Behaviour::default() };
    let bench = Bench::imap(&bodies, source, Behaviour::default());
    let output = bench.run().expect_code(0);
    expect_balance(&output, bodies.len());
    let fetched = bench.imapd().fetched();
    assert!(fetched <= MANY + MANY * 3 / 10, "{fetched} messages were read");
    assert!(bench.tool.clock() < 60_000, "{}", bench.tool.clock());
    mail::assert_same_mail(&bodies, &bench.there());

    let source = pop3d::Behaviour { bye_after: Some(SESSION), ..pop3d::Behaviour::default() };
    let bench = Bench::pop3(&bodies, source, Behaviour::default());
    let output = bench.run().expect_code(0);
    expect_balance(&output, bodies.len());
    mail::assert_same_mail(&bodies, &bench.there());
    assert!(bench.tool.clock() < 60_000, "{}", bench.tool.clock());
}

#[test]
fn a_destination_that_says_bye_every_700_messages_costs_the_source_little() {
    for destination in [Behaviour::default(), Behaviour::default().without(&["UIDPLUS", "MULTIAPPEND"])] {
        let bodies = mail::many(MANY, 50);
        let destination = Behaviour { bye_after: Some((SESSION, "BYE enough".to_owned())), ..destination };
        let bench = Bench::imap(&bodies, Behaviour::default(), destination);
        let output = bench.run().expect_code(0);
        expect_balance(&output, bodies.len());
        let fetched = bench.imapd().fetched();
        // What went out whole and was never answered is read again once it is known not to be there: a window for each farewell.
        assert!(fetched <= MANY + MANY / 2, "{fetched} messages were read");
        mail::assert_same_mail(&bodies, &bench.there());
    }
}
