//! What every verb does when things go wrong around it: a wrong password, a connection that is cut, a disk that takes no
//! more, and a folder of a hundred thousand messages.

use std::fs;

use super::mailboxes;
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::mail;
use crate::support::odd::peak_memory;
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::Tool;

/// A call of every verb that talks to the account `work`; `x.eml` is a message.
const VERBS: &[&[&str]] = &[
    &["list", "work", "--from", "x"],
    &["fetch", "work", "1"],
    &["fetch", "work", "--attachments", "out"],
    &["folders", "work"],
    &["folders", "create", "work/New"],
    &["folders", "rename", "work/Other", "Renamed"],
    &["folders", "delete", "work/Other"],
    &["folders", "subscribe", "work/Other"],
    &["flag", "work", "--add", "seen", "--unseen"],
    &["move", "work", "work/Other", "1"],
    &["copy", "work", "work/Other", "1"],
    &["copy", "work", "maildir:out", "1"],
    &["delete", "work", "1", "--trash", "Other"],
    &["delete", "work", "1", "--permanently"],
    &["upload", "x.eml", "work"],
    &["compare", "work", "eml:mail"],
    &["compare", "eml:mail", "work", "--full"],
    &["compare", "work:pop3", "work:imap"],
    &["compare-pop3", "work"],
];

/// The account `work`, of two servers with the same mail.
fn server(behaviour: Behaviour) -> (Imapd, Pop3d, Tool) {
    let bodies = mail::many(3, 20);
    let (server, maildrop) = (Imapd::start(behaviour), Pop3d::start(pop3d::Behaviour::default(), &bodies));
    server.fill("INBOX", &bodies);
    server.fill("Other", &[]);
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), Some(&maildrop.url()));
    fs::write(tool.path("x.eml"), mail::plain(7, 20)).unwrap();
    fs::create_dir(tool.path("mail")).unwrap();
    for (number, body) in bodies.iter().enumerate() {
        fs::write(tool.path("mail").join(format!("{number}.eml")), body).unwrap();
    }
    (server, maildrop, tool)
}

/// How many logins were tried.
fn logins(log: &[String]) -> usize {
    log.iter().filter(|line| ["LOGIN", "AUTH ", "AUTHENTICATE", "PASS "].iter().any(|word| line.contains(word))).count()
}

#[test]
fn a_wrong_password_ends_every_verb_with_4_and_one_sentence() {
    for verb in VERBS {
        let (server, maildrop, tool) = server(Behaviour::default().with("MOVE"));
        fs::write(tool.password_file(), "not the password\n").unwrap();
        let before = mailboxes(&server);
        let output = tool.run(verb).expect_code(4);
        assert_eq!((output.stderr.lines().count(), output.text().as_str()), (1, ""), "{output}");
        assert!(
            output.stderr.starts_with("mailhaul: work")
                && (output.stderr.contains("NO [AUTHENTICATIONFAILED]") || output.stderr.contains("-ERR [AUTH]")),
            "{output}"
        );
        assert_eq!(mailboxes(&server), before);
        let tries = [logins(&server.log()), logins(&maildrop.log())];
        assert!(
            tries.iter().sum::<usize>() > 0 && tries.iter().all(|tries| *tries <= 1),
            "more would lock the account: {verb:?} {tries:?}"
        );
    }
}

#[test]
fn a_connection_cut_at_any_command_ends_every_verb_truthfully() {
    for verb in VERBS {
        // Which commands it sends, to be cut at each in turn.
        let (whole, _maildrop, tool) = server(Behaviour::default().with("MOVE"));
        tool.run(verb).expect_code(0);
        let after = mailboxes(&whole);
        let sent = whole.log();
        let sends = |name: &str| sent.iter().any(|line| line.split_once(' ').is_some_and(|(_, command)| command.starts_with(name)));
        let names = [
            "EXAMINE",
            "SELECT",
            "UID SEARCH",
            "UID FETCH",
            "FETCH",
            "LIST",
            "STATUS",
            "UID STORE",
            "UID MOVE",
            "UID COPY",
            "UID EXPUNGE",
            "CREATE",
            "RENAME",
            "DELETE",
            "SUBSCRIBE",
            "APPEND",
            "NAMESPACE",
            "LSUB",
        ];
        let commands: Vec<&str> = names.into_iter().filter(|name| sends(name)).collect();
        assert!(!commands.is_empty(), "{verb:?}: {sent:?}");
        for command in commands {
            let (server, _maildrop, mut tool) = server(Behaviour::default().with("MOVE").fault(command, 1, CommandFault::HangUpBefore));
            // An upload whose answer is lost is looked for until it can be late no more.
            tool.use_clock();
            let before = mailboxes(&server);
            let output = tool.run(verb);
            // Reading of files goes on by itself; what changes mail says that it does not know.
            assert!([0, 3, 5].contains(&output.code), "{command}: {output}");
            assert!(output.code == 0 || !output.stderr.is_empty(), "{command}: {output}");
            let now = mailboxes(&server);
            assert!(output.code != 0 || now == after, "{command}: 0 and not done: {output}");
            if verb[0].starts_with("compare") {
                // No half comparison: neither is said that mail is missing, nor are there rows without an end.
                assert!([0, 5].contains(&output.code) && (output.code == 0) != output.stdout.is_empty(), "{command}: {output}");
            }
            // Nothing but the whole, nothing, or (a message marked and not yet removed) the way there.
            let bodies = |all: &super::Mailboxes| mail::multiset(all.values().flatten().map(|(.., body)| body));
            let kept = [bodies(&before), bodies(&after)];
            assert!(kept.contains(&bodies(&now)), "{command}: {output}");
        }
    }
}

#[test]
fn a_disk_that_takes_no_more_ends_with_7_and_the_next_run_makes_it_whole() {
    let big = mail::plain(1, 300_000);
    let part =
        b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment\r\n\r\n";
    let bodies = [mail::plain(0, 100), [part.as_slice(), &big].concat(), mail::plain(2, 100)];
    for verb in [
        &["fetch", "work", "--attachments", "out"][..],
        &["fetch", "work", "--to", "out", "--format", "mbox"],
        &["copy", "work", "maildir:out", "--all"],
        &["copy", "work", "mbox:out", "--all"],
        &["copy", "work", "eml:out", "--all"],
    ] {
        let server = Imapd::start(Behaviour::default());
        server.fill("INBOX", &bodies);
        let tool = Tool::new();
        tool.server("work", Some(&server.url()), None);
        let script = "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\"";
        let first = tool.run_under(&["sh", "-c", script], verb);
        assert_eq!(first.code, 7, "{first}");
        let before = mailboxes(&server);
        tool.run(verb).expect_code(0);
        assert_eq!(mailboxes(&server), before);
        // And once more: nothing twice.
        tool.run(verb).expect_code(0);
        if verb.contains(&"--attachments") {
            let saved: Vec<_> = fs::read_dir(tool.path("out")).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(saved.len(), 1, "{saved:?}");
            assert_eq!(fs::read(&saved[0]).unwrap().len(), big.len());
        } else {
            let kind = verb.iter().find_map(|word| word.split_once(":out").map(|(kind, _)| kind)).unwrap_or("mbox");
            let listed = tool.run(&["list", &format!("{kind}:out"), "--fields", "subject"]).expect_code(0).text();
            assert_eq!(listed.lines().count(), 3, "{verb:?}: {listed}");
        }
    }
}

#[test]
fn a_hundred_thousand_messages_are_changed_in_bounded_memory() {
    // KiB; these are debug builds.
    const MEMORY: u64 = 96 * 1024;
    const COUNT: u64 = 100_000;
    let server = Imapd::start(Behaviour::default().with("MOVE"));
    let bodies: Vec<Vec<u8>> = (0..COUNT).map(|number| format!("Subject: {number}\r\n\r\n").into_bytes()).collect();
    server.fill("INBOX", &bodies);
    server.fill("Other", &[]);
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    let run = |args: &[&str]| {
        let running = tool.spawn(&[args, &["-o", "jsonl"]].concat(), None);
        let peak = peak_memory(running.id());
        let output = running.finish().expect_code(0);
        let peak = peak.join().unwrap();
        assert!(peak > 0 && peak < MEMORY, "{args:?}: {peak} KiB");
        output.text().lines().count() as u64
    };
    assert_eq!(run(&["flag", "work", "--add", "seen", "--unseen"]), COUNT);
    assert_eq!(run(&["flag", "work", "--add", "seen", "--unseen"]), 0);
    assert_eq!(run(&["move", "work", "work/Other", "--seen"]), COUNT);
    assert_eq!(run(&["delete", "work/Other", "--all", "--permanently", "--max-delete", "100%"]), COUNT);
    assert!(server.bodies("INBOX").is_empty() && server.bodies("Other").is_empty());
}

#[test]
fn a_locked_list_of_keywords_is_waited_for_and_costs_no_keyword() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(1, 20));
    let mut tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool.run(&["flag", "work", "--add", "Todo", "1"]).expect_code(0);
    tool.run(&["copy", "work", "maildir:out", "--all", "--dry-run"]).expect_code(0);
    for half in ["cur", "new", "tmp"] {
        fs::create_dir_all(tool.path("out").join(half)).unwrap();
    }
    // Somebody took the lock just now and died.
    let lock = tool.path("out/dovecot-keywords.lock");
    fs::write(&lock, "").unwrap();
    tool.use_clock();
    tool.run(&["copy", "work", "maildir:out", "--all"]).expect_code(0);
    assert!(tool.clock() > 100_000, "{}", tool.clock());
    assert!(!lock.exists());
    assert_eq!(fs::read_to_string(tool.path("out/dovecot-keywords")).unwrap(), "0 Todo\n");
    assert_eq!(tool.run(&["list", "maildir:out", "--fields", "flags"]).expect_code(0).text(), "Todo\n");
}
