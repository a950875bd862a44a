use super::*;
use crate::report::advice::{Choice, UniqueIds};
use crate::report::compared::Formula;

fn offer(imap: bool) -> Offer {
    let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    Offer {
        place: if imap { "work:imap" } else { "work:pop3" }.to_owned(),
        host: if imap { "imap.example.org" } else { "pop.example.org" }.to_owned(),
        port: if imap { 143 } else { 995 },
        security: if imap { Secured::StartTls } else { Secured::ImplicitTls },
        tls: Some("1.2 or newer"),
        tls_offered: imap,
        unmeasured: None,
        authentication: names(if imap { "PLAIN XOAUTH2 LOGIN" } else { "PLAIN USER" }),
        folders: Some(if imap { 5 } else { 1 }),
        messages: Some(if imap { 612 } else { 500 }),
        octets: Some(if imap { 50_000_000 } else { 42_000_000 }),
        keeps_flags: Some(imap),
        keeps_keywords: Some(imap),
        search: imap,
        push: Some(imap),
        partial_fetch: Some(if imap { Partial::Any } else { Partial::FirstLines }),
        pipelining: Some(true),
        extensions: names(if imap { "IDLE CONDSTORE QRESYNC UIDPLUS MOVE" } else { "TOP UIDL PIPELINING" }),
        reading: if imap { Reading::NoTrace } else { Reading::Marks },
        login: Some(Effort { round_trips: 3, seconds: 0.042 }),
        listing: Some(Effort { round_trips: if imap { 2 } else { 1 }, seconds: 0.1 }),
        listed: Some(500),
    }
}

fn advice() -> Advice {
    let formula = Some(Formula { name: "dovecot".to_owned(), explains: 500, of: 500, used: true });
    Advice {
        verdict: Choice::Imap,
        reason: "IMAP: it has everything that POP3 shows, and 112 messages more, and keeps folders and marks".to_owned(),
        next: "mailhaul backup work:imap maildir:Mail".to_owned(),
        moving: false,
        pop3: offer(false),
        imap: offer(true),
        unique_ids: UniqueIds { first: 500, again: Some(500), stable: Some(true), formula },
        notes: vec![
            "Dovecot marks a message as read on IMAP when a program fetches it whole by POP3, unless it is set up otherwise.".to_owned(),
        ],
        forecast: None,
    }
}

fn forecast() -> Forecast {
    Forecast {
        place: "new:pop3".to_owned(),
        unknown: None,
        old: 500,
        new: 510,
        kept: 0,
        checked: 0,
        other_mail: 0,
        again: 500,
        octets: 43_000_000,
    }
}

#[test]
fn the_block_reads_as_it_always_did() {
    let whole = Advice { forecast: Some(forecast()), ..advice() };
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/output/advice_golden.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(golden, text(&whole)).unwrap();
    }
    assert_eq!(text(&whole), std::fs::read_to_string(golden).unwrap());
}

#[test]
fn no_line_but_the_command_is_wider_than_a_terminal_whatever_servers_say() {
    let mut wide = Advice { forecast: Some(forecast()), ..advice() };
    wide.pop3.place = "x".repeat(300);
    wide.imap.host = "漢字".repeat(60);
    wide.imap.authentication.push("Y".repeat(200));
    wide.notes.push("z ".repeat(200) + &"w".repeat(200));
    wide.pop3.unmeasured = Some("q".repeat(500));
    for line in text(&wide).lines().filter(|line| !line.starts_with("Next: ")) {
        assert!(line.width() <= LINE, "{} cells: {line}", line.width());
    }
}

#[test]
fn nothing_that_a_server_said_reaches_a_terminal_raw() {
    let evil = "\u{1b}[2J\u{202e}\r\nx";
    let mut bad = Advice { forecast: Some(Forecast { unknown: Some(evil.to_owned()), ..forecast() }), ..advice() };
    bad.pop3.authentication = vec![evil.to_owned()];
    bad.imap.unmeasured = Some(evil.to_owned());
    bad.notes = vec![evil.to_owned()];
    bad.next = evil.to_owned();
    bad.unique_ids.formula = Some(Formula { name: evil.to_owned(), explains: 1, of: 1, used: true });
    let text = text(&bad);
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    assert!(brief(&bad).iter().all(|line| !line.contains('\n')));
}

#[test]
fn what_was_not_measured_is_said_and_never_guessed() {
    let mut lost = advice();
    lost.pop3 = Offer {
        unmeasured: Some("the server has the mailbox locked".to_owned()),
        messages: None,
        octets: None,
        login: None,
        listing: None,
        listed: None,
        partial_fetch: None,
        ..lost.pop3
    };
    lost.unique_ids = UniqueIds { first: 500, ..UniqueIds::default() };
    let text = text(&lost);
    assert!(text.contains("POP3 was not measured to the end: the server has the mailbox locked."), "{text}");
    assert!(text.contains("not measured") && !text.contains("equal in two sessions"), "{text}");
}

#[test]
fn a_forecast_says_yes_no_in_part_and_worse() {
    let said = |forecast: &Forecast| foretold(forecast).join(" ");
    assert!(said(&forecast()).starts_with("Yes: 0 of 500 messages keep their id (UIDL) at new:pop3."));
    assert!(said(&forecast()).contains("download 500 messages again"));
    let part = Forecast { kept: 200, again: 300, checked: 20, ..forecast() };
    assert!(said(&part).starts_with("In part: 200 of 500") && said(&part).contains("download 300 messages again"));
    let all = Forecast { kept: 500, again: 0, checked: 20, ..forecast() };
    assert!(said(&all).starts_with("No: 500 of 500 messages keep their id"), "{}", said(&all));
    let worse = Forecast { kept: 500, again: 0, checked: 20, other_mail: 19, ..forecast() };
    assert!(said(&worse).starts_with("WORSE: ") && said(&worse).contains("never download it"), "{}", said(&worse));
    let unknown = Forecast { unknown: Some("the new maildrop is empty as yet".to_owned()), ..forecast() };
    assert!(said(&unknown).starts_with("That cannot be told: the new maildrop is empty as yet"));
}
