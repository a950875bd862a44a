//! `migrate` on a real Dovecot: everything arrives, once, with its date and flags, and a second run does nothing.

use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::mail::{self, assert_same_mail};
use crate::support::tool::Tool;
use crate::support::{imapd, pop3d, wait_for};

/// A tool that knows `from` and `to`.
fn tool(from: &User, to: &User) -> Tool {
    let tool = Tool::new();
    tool.account("from", from).account("to", to);
    tool
}

fn exact(bodies: &[Vec<u8>]) -> Vec<String> {
    let mut digests: Vec<String> = bodies.iter().map(|body| mailhaul::message::Digest::of(body).to_string()).collect();
    digests.sort();
    digests
}

#[test]
fn a_maildrop_with_nasty_mail_arrives_whole_and_a_second_run_copies_nothing() {
    let (from, to) = (dovecot_user!("migrate-pop3-from"), dovecot_user!("migrate-pop3-to"));
    let mut bodies: Vec<Vec<u8>> = mail::nasty().into_iter().map(|(_, body)| body).collect();
    bodies.extend(mail::many(300, 3000));
    bodies.extend(mail::corpus().into_iter().map(|(_, body)| body));
    bodies.push(mail::huge());
    // Three identical ones are three messages.
    bodies.extend(vec![mail::plain(7, 100); 3]);
    from.deliver("INBOX", &bodies);
    let tool = tool(&from, &to);

    let first = tool.run(&["migrate", "from:pop3", "to", "--json"]).expect_code(0).json();
    // What the POP3 server shows is what there is to copy: Dovecot hides a message of no octets from nobody.
    let there = to.bodies("INBOX");
    assert_same_mail(&from.bodies("INBOX"), &there);
    assert_eq!(first["copied"], there.len());
    assert_eq!(first["balanced"], true);
    assert!(to.messages("INBOX").iter().all(|message| message.internal_date > 0));

    let second = tool.run(&["migrate", "from:pop3", "to", "--json"]).expect_code(0).json();
    assert_eq!((&second["copied"], &second["already_there"]), (&0.into(), &there.len().into()));
    assert_eq!(to.bodies("INBOX").len(), there.len());
}

#[test]
fn an_imap_account_arrives_with_folders_flags_and_dates() {
    let (from, to) = (dovecot_user!("migrate-imap-from"), dovecot_user!("migrate-imap-to"));
    let plants: Vec<Plant> = (0..50)
        .map(|number| {
            let plant = Plant::new(mail::plain(number, 500)).date(1_000_000_000 + i64::try_from(number).unwrap() * 3600);
            if number % 2 == 0 { plant.flag("\\Seen") } else { plant.flag("\\Flagged") }
        })
        .collect();
    from.plant("INBOX", &plants);
    for folder in ["Archive/2024", "Entwürfe", "a&b", "Sent Items"] {
        from.deliver(folder, &mail::many(5, 200));
    }
    from.deliver("Empty", &[]);
    from.append("INBOX", &mail::plain(99, 100), &["$Work", "\\Answered"]);
    let tool = tool(&from, &to);
    let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!(summary["copied"], 71);
    assert_eq!(from.folders(), to.folders());
    for folder in ["INBOX", "Archive/2024", "Entwürfe", "a&b", "Sent Items", "Empty"] {
        let facts = |user: &User| {
            let mut facts: Vec<_> = user
                .messages(folder)
                .into_iter()
                .map(|message| (mail::content_digest(&message.body), message.flags, message.internal_date))
                .collect();
            facts.sort();
            facts
        };
        assert_eq!(facts(&from), facts(&to), "{folder}");
    }
    let again = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!(again["copied"], 0);
}

#[test]
fn only_what_is_declared_altered_differs_in_its_bytes() {
    let (from, to) = (dovecot_user!("migrate-altered-from"), dovecot_user!("migrate-altered-to"));
    let bodies: Vec<Vec<u8>> = mail::nasty().into_iter().map(|(_, body)| body).collect();
    from.deliver("INBOX", &bodies);
    let tool = tool(&from, &to);
    let store = format!("maildir:{}", from.home().join("Maildir").display());
    let summary = tool.run(&["migrate", &store, "to", "--json"]).expect_code(0).json();
    let altered = summary["altered"].as_u64().unwrap();
    let (before, after) = (exact(&bodies), exact(&to.bodies("INBOX")));
    let there = to.bodies("INBOX");
    let differing: Vec<&str> = mail::nasty().iter().filter(|(_, body)| !there.contains(body)).map(|(name, _)| *name).collect();
    assert_eq!(differing, ["bare-lf", "mixed-ends", "nul", "empty"]);
    let same = before.iter().filter(|digest| after.contains(digest)).count() as u64;
    assert_eq!(altered, bodies.len() as u64 - same);
    assert!(altered >= 4, "bare line feeds, NUL and the empty message are altered");
    assert_eq!(summary["altered_messages"].as_array().unwrap().len() as u64, altered);
    assert_same_mail(&bodies, &to.bodies("INBOX"));
}

#[test]
fn a_message_from_pop3_gets_the_date_of_its_topmost_received_field() {
    let (from, to) = (dovecot_user!("migrate-date-from"), dovecot_user!("migrate-date-to"));
    let body = b"Received: from a by b; Fri, 02 Jan 2004 03:04:05 +0100\r\nReceived: from c by a; Thu, 01 Jan 2004 00:00:00 +0000\r\n\
                 Date: Wed, 31 Dec 2003 00:00:00 +0000\r\nSubject: x\r\n\r\nx\r\n";
    from.deliver("INBOX", &[body.to_vec()]);
    let tool = tool(&from, &to);
    tool.run(&["migrate", "from:pop3", "to", "--seen", "older-than:30d"]).expect_code(0);
    let there = to.messages("INBOX");
    assert_eq!((there[0].internal_date, there[0].flags.as_slice()), (1_073_009_045, ["\\Seen".to_owned()].as_slice()));
}

#[test]
fn a_dry_run_names_each_message_and_changes_nothing() {
    let (from, to) = (dovecot_user!("migrate-dry-from"), dovecot_user!("migrate-dry-to"));
    from.deliver("INBOX", &mail::many(3, 100));
    from.deliver("Work", &mail::many(2, 100));
    let tool = tool(&from, &to);
    let plan = tool.run(&["migrate", "from", "to", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!((&plan["dry_run"], &plan["copied"]), (&true.into(), &5.into()));
    assert_eq!(plan["messages"].as_array().unwrap().len(), 5);
    assert!(to.bodies("INBOX").is_empty());
    assert!(!to.folders().contains(&"Work".to_owned()));
    let lines = tool.run(&["migrate", "from", "to", "--dry-run"]).expect_code(0).text();
    assert_eq!(lines.lines().count(), 5);
    tool.run(&["migrate", "from", "to"]).expect_code(0);
    let plan = tool.run(&["migrate", "from", "to", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!((&plan["copied"], &plan["already_there"]), (&0.into(), &5.into()));
}

#[test]
fn without_a_journal_mail_that_is_there_already_is_adopted_one_for_one() {
    let (from, to) = (dovecot_user!("migrate-adopt-from"), dovecot_user!("migrate-adopt-to"));
    let twin = mail::plain(1, 100);
    from.deliver("INBOX", &[twin.clone(), mail::plain(2, 100), twin.clone(), mail::plain(3, 100)]);
    // One of the twins is there, and something of somebody else's.
    to.deliver("INBOX", &[mail::plain(50, 100), twin.clone(), mail::plain(3, 100)]);
    let tool = tool(&from, &to);
    let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["already_there"]), (&2.into(), &2.into()));
    assert_same_mail(&[twin.clone(), twin, mail::plain(2, 100), mail::plain(3, 100), mail::plain(50, 100)], &to.bodies("INBOX"));
}

#[test]
fn mail_deleted_at_the_destination_later_does_not_come_back() {
    let (from, to) = (dovecot_user!("migrate-deleted-from"), dovecot_user!("migrate-deleted-to"));
    from.deliver("INBOX", &mail::many(3, 100));
    let tool = tool(&from, &to);
    tool.run(&["migrate", "from", "to"]).expect_code(0);
    let mut client = to.client();
    client.select("INBOX").unwrap();
    client.uid_store("1", "+FLAGS (\\Deleted)").unwrap();
    client.expunge().unwrap();
    client.logout().unwrap();
    from.deliver("INBOX", &[mail::plain(9, 100)]);
    let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["already_there"]), (&1.into(), &3.into()));
    assert_eq!(to.bodies("INBOX").len(), 3);
}

#[test]
fn the_window_of_appends_and_the_window_of_retrs_are_deep() {
    let (from, to) = (dovecot_user!("migrate-window-from"), dovecot_user!("migrate-window-to"));
    from.deliver("INBOX", &mail::many(400, 2000));
    let tool = tool(&from, &to);
    let trace = tool.trace();
    tool.run(&["migrate", "from:pop3", "to", "--trace", trace.to_str().unwrap()]).expect_code(0);
    let text = tool.read_trace();
    assert_eq!(deepest(&text, |line| line.starts_with("RETR "), |line| line.starts_with("+OK")), 400);
    assert!(deepest(&text, |line| line.contains(" APPEND "), |line| line.contains(" OK [APPENDUID")) >= 2);
}

#[test]
fn a_maildrop_that_is_lost_twice_is_asked_for_one_message_at_a_time() {
    let to = dovecot_user!("migrate-flaky-to");
    let bodies = mail::many(6, 100);
    let maildrop = pop3d::Pop3d::start(pop3d::Behaviour { hang_up_at: vec![2, 4], ..pop3d::Behaviour::default() }, &bodies);
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("from", None, Some(&maildrop.url())).account("to", &to);
    let trace = tool.trace();
    tool.run(&["migrate", "from", "to", "--trace", trace.to_str().unwrap()]).expect_code(0);
    assert_same_mail(&bodies, &to.bodies("INBOX"));
    let depths: Vec<usize> = (1..=10)
        .map(|number| {
            let lines: Vec<String> =
                tool.read_trace().lines().filter(|line| line.starts_with(&format!("#{number} "))).map(ToOwned::to_owned).collect();
            deepest(&lines.join("\n"), |line| line.starts_with("RETR "), |line| line.starts_with("+OK"))
        })
        .filter(|depth| *depth > 0)
        .collect();
    assert!(depths[0] > 1, "{depths:?}");
    assert_eq!(depths.last(), Some(&1), "{depths:?}");
}

#[test]
fn a_signal_stops_a_migration_at_a_safe_point_and_the_next_run_goes_on() {
    let to = dovecot_user!("migrate-signal-to");
    let bodies = mail::many(8, 500);
    let maildrop = pop3d::Pop3d::start(pop3d::Behaviour { stall_at: Some(6), ..pop3d::Behaviour::default() }, &bodies);
    let tool = Tool::new();
    tool.server("from", None, Some(&maildrop.url())).account("to", &to);
    for (signal, code) in [(rustix::process::Signal::TERM, 143), (rustix::process::Signal::HUP, 129)] {
        let already = maildrop.log().len();
        let running = tool.spawn(&["migrate", "from", "to"], None);
        wait_for("RETR 6", || maildrop.log().iter().skip(already).any(|line| line.ends_with("RETR 6")));
        running.signal(signal);
        let output = running.finish().expect_code(code);
        assert!(output.stderr.contains("run the same command again"), "{output}");
        assert!(output.text().contains("stopped before the end"), "{output}");
        assert!(!output.text().contains("BALANCE"), "{output}");
    }
    maildrop.behave(|behaviour| behaviour.stall_at = None);
    let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!((&summary["listed"], &summary["balanced"]), (&8.into(), &true.into()));
    assert_same_mail(&bodies, &to.bodies("INBOX"));
}

#[test]
fn a_signal_amid_uploads_leaves_nothing_to_be_looked_for() {
    let to = imapd::Imapd::start(imapd::Behaviour { small_buffers: true, ..imapd::Behaviour::default() });
    let bodies = mail::many(120, 100_000);
    let maildrop = pop3d::Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("from", None, Some(&maildrop.url())).server("to", Some(&to.url()), None);
    let running = tool.spawn(&["migrate", "from", "to"], None);
    wait_for("a second APPEND", || to.appends() >= 2);
    running.signal(rustix::process::Signal::INT);
    running.finish().expect_code(130);
    assert!(to.bodies("INBOX").len() < bodies.len(), "it stopped before the end");
    let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!(summary["balanced"], true);
    assert_eq!(tool.clock(), 0, "nothing was waited for");
    assert_same_mail(&bodies, &to.bodies("INBOX"));
}

/// The most requests that were out at one moment, by the trace of the connection that made them.
fn deepest(trace: &str, request: impl Fn(&str) -> bool, answer: impl Fn(&str) -> bool) -> usize {
    let (mut out, mut most) = (0_usize, 0);
    for line in trace.lines() {
        let Some((_, line)) = line.split_once(' ') else { continue };
        if line.strip_prefix("C: ").is_some_and(&request) {
            out += 1;
        } else if line.strip_prefix("S: ").is_some_and(&answer) {
            out = out.saturating_sub(1);
        }
        most = most.max(out);
    }
    most
}
