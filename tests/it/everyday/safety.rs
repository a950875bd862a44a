//! What no verb does unasked: change what was not chosen, change anything in a dry run, or send lines that servers cut off.

use std::collections::BTreeMap;

use super::mailboxes;
use crate::dovecot_user;
use crate::support::dovecot::{Plant, Seen, User};
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::Tool;

#[test]
fn no_verb_that_changes_mail_takes_no_choice_or_a_limit_alone_for_all() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(3, 20));
    server.fill("Trash", &[]);
    let maildrop = Pop3d::start(pop3d::Behaviour::default(), &mail::many(3, 20));
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None).server("old", None, Some(&maildrop.url()));
    for half in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(tool.path("mail").join(half)).unwrap();
    }
    std::fs::write(tool.path("mail/new/1.a"), "Subject: x\r\n\r\n").unwrap();
    let before = mailboxes(&server);
    let verbs: &[&[&str]] = &[
        &["flag", "work", "--add", "seen"],
        &["flag", "work", "--set", "deleted"],
        &["flag", "maildir:mail", "--add", "seen"],
        &["move", "work", "work/Trash"],
        &["copy", "work", "work/Trash"],
        &["move", "work", "maildir:out"],
        &["copy", "work", "maildir:out"],
        &["move", "old", "work"],
        &["copy", "old", "work"],
        &["move", "maildir:mail", "work"],
        &["delete", "work"],
        &["delete", "work", "--permanently"],
        &["delete", "old"],
        &["delete", "maildir:mail", "--permanently"],
    ];
    for verb in verbs {
        let connections = server.connections();
        for choice in [&[][..], &["--limit", "2"], &["--dry-run"], &["--dry-run", "--limit", "2"]] {
            let output = tool.run(&[verb, choice].concat());
            assert_eq!(output.code, 2, "{output}");
            assert!(output.stderr.contains("--all"), "{output}");
        }
        assert_eq!(server.connections(), connections, "without a choice nobody is called");
        // No message on standard input is none at all.
        let output = tool.run_with_input(&[verb, &["-"][..]].concat(), b"\n").expect_code(0);
        assert!(!output.text().contains("INBOX"), "{output}");
    }
    assert_eq!(mailboxes(&server), before);
    assert_eq!(maildrop.bodies().len(), 3);
    assert!(tool.path("mail/new/1.a").exists() && !tool.path("out").exists());
    assert!(!server.log().iter().any(|line| ["STORE", "COPY", "EXPUNGE", "APPEND"].iter().any(|verb| line.contains(verb))));
}

/// All that a user has, as the independent client sees it.
type Everything = (BTreeMap<String, Vec<Seen>>, Vec<String>);

fn everything(user: &User) -> Everything {
    let folders = user.folders();
    (folders.iter().map(|folder| (folder.clone(), user.messages(folder))).collect(), user.subscribed())
}

#[test]
fn a_dry_run_of_any_verb_names_what_it_would_do_and_does_nothing() {
    let user = dovecot_user!("everyday-dry");
    let one = |number: u64| Plant::new(mail::plain(number, 50));
    user.plant("INBOX", &[one(1).flag("\\Seen"), one(2), one(3).flag("\\Deleted")]);
    user.deliver("Full", &mail::many(2, 20));
    user.deliver("Trash", &mail::many(1, 20));
    user.create("Empty");
    user.client().subscribe("Full").unwrap();
    let tool = Tool::new();
    tool.account("work", &user);
    std::fs::write(tool.path("a.eml"), mail::plain(9, 20)).unwrap();
    for half in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(tool.path("store").join(half)).unwrap();
    }
    std::fs::write(tool.path("store/new/1.a"), mail::plain(8, 20)).unwrap();
    let before = everything(&user);
    let trace = tool.text("trace.log");
    // What it would do, and how many rows name it.
    for (args, rows) in [
        (&["flag", "work", "--add", "flagged", "--all"][..], 3),
        (&["flag", "work", "--set", "", "--seen"], 1),
        (&["move", "work", "work/Full", "--all"], 3),
        (&["move", "work", "work/New/Folder", "1:2", "--create"], 2),
        (&["copy", "work", "work/Full", "--unseen"], 2),
        (&["delete", "work", "1:3"], 3),
        (&["delete", "work", "--permanently", "2"], 1),
        (&["delete", "work:pop3", "1:2"], 2),
        (&["move", "work", "maildir:out", "--all"], 3),
        (&["copy", "work", "eml:out", "2"], 1),
        (&["move", "work:pop3", "mbox:out", "--all"], 3),
        (&["upload", "a.eml", "work"], 1),
        (&["upload", "a.eml", "work/New", "--create"], 1),
        (&["folders", "create", "work/New/Folder", "work/Other"], 2),
        (&["folders", "rename", "work/Full", "Fuller"], 1),
        (&["folders", "delete", "work/Empty"], 1),
        (&["folders", "delete", "work/Full", "--force"], 1),
        (&["folders", "subscribe", "work/Empty"], 1),
        (&["folders", "unsubscribe", "work/Full"], 1),
        (&["migrate", "maildir:store", "work"], 1),
    ] {
        let _ = std::fs::remove_file(&trace);
        let output = tool.run(&[args, &["--dry-run", "-o", "tsv", "--trace", &trace]].concat()).expect_code(0);
        assert_eq!(output.text().lines().count(), rows, "{output}");
        let said = tool.read_trace();
        assert!(said.contains(" C: ") || args[0] == "upload", "{args:?}: no trace");
        for line in said.lines().filter(|line| line.contains(" C: ")) {
            let changes = ["STORE", "COPY", "MOVE", "EXPUNGE", "APPEND", "CREATE", "DELETE ", "RENAME", "SUBSCRIBE ", "DELE ", "CLOSE"];
            let sent = line.split(" C: ").nth(1).unwrap_or_default();
            assert!(
                !changes.iter().any(|verb| sent
                    .split_once(' ')
                    .is_some_and(|(_, rest)| rest.starts_with(verb) || rest.starts_with(&format!("UID {verb}")))),
                "{args:?}: {line}"
            );
        }
        assert!(!tool.path("out").exists(), "{args:?}");
        assert!(everything(&user) == before, "{args:?} changed something: {output}");
    }
}

#[test]
fn no_command_is_longer_than_servers_take_however_many_messages_are_named() {
    const COUNT: u32 = 1500;
    let bodies: Vec<Vec<u8>> = (0..COUNT).map(|_| b"Subject: x\r\n\r\n".to_vec()).collect();
    let uids: String = (1..=COUNT / 2).map(|number| format!("{}\n", 2 * number * 2_500_000)).collect();
    for (behaviour, args, verb) in [
        (Behaviour::default(), &["delete", "work", "--permanently", "-", "--max-delete", "100%"][..], "UID EXPUNGE"),
        (Behaviour::default().with("MOVE"), &["move", "work", "work/To", "-"], "UID MOVE"),
        (Behaviour::default(), &["copy", "work", "work/To", "-"], "UID COPY"),
        (Behaviour::default(), &["move", "work", "work/To", "-"], "UID COPY"),
        (Behaviour::default(), &["flag", "work", "--set", "seen", "-"], "UID STORE"),
        (Behaviour::default(), &["fetch", "work", "-", "--headers"], "UID FETCH"),
    ] {
        let server = Imapd::start(behaviour);
        server.fill("INBOX", &bodies);
        server.fill("To", &[]);
        server.change("INBOX", |mailbox| mailbox.messages.iter_mut().for_each(|message| message.uid *= 2_500_000));
        let tool = Tool::new();
        tool.server("work", Some(&server.url()), None);
        let output = tool.run_with_input(args, uids.as_bytes()).expect_code(0);
        let log = server.log();
        let longest = log.iter().map(String::len).max().unwrap();
        // The log counts the number of the connection in place of the tag, which is no longer.
        assert!((3500..=8000 - 8).contains(&longest), "{args:?}: {longest}");
        assert!(log.iter().filter(|line| line.contains(verb)).count() > 1, "{args:?} sends no {verb}");
        let half = COUNT as usize / 2;
        let (here, there) = (server.mailbox("INBOX").messages, server.mailbox("To").messages.len());
        let left = if ["delete", "move"].contains(&args[0]) { half } else { 2 * half };
        assert_eq!((here.len(), there), (left, if ["move", "copy"].contains(&args[0]) { half } else { 0 }), "{args:?}");
        let touched = here.iter().filter(|message| message.uid % 5_000_000 == 0 && message.flags == ["\\Seen"]).count();
        assert_eq!(touched, if args[0] == "flag" { half } else { 0 }, "{args:?}");
        assert!(
            here.iter().all(|message| message.uid % 5_000_000 == 0 || message.flags.is_empty()),
            "{args:?}: somebody else's is touched"
        );
        assert!(args[0] != "fetch" || !output.stdout.is_empty());
    }
}
