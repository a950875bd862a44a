//! Killed at any step and run again: as if nothing had happened, and nobody else's messages touched.

use super::mailboxes;
use crate::crash::bench::in_parallel;
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::Tool;

const KILLED: i32 = -9;

fn imapd(behaviour: &Behaviour) -> (Tool, Imapd) {
    let mut tool = Tool::new();
    let clock = tool.use_clock();
    let server = Imapd::start(Behaviour { clock: Some(clock), ..behaviour.clone() });
    // Twins among them, and somebody else's mark.
    server.fill("INBOX", &[0, 1, 1, 2, 3, 1].map(|number| mail::plain(number, 50)));
    server.fill("Trash", &[mail::plain(1, 50)]);
    server.change("INBOX", |mailbox| {
        mailbox.reflag(1, "\\Deleted");
        mailbox.reflag(4, "\\Seen");
    });
    tool.server("work", Some(&server.url()), None);
    (tool, server)
}

fn killed(tool: &mut Tool, args: &[&str], at: &str) -> i32 {
    tool.set_env("MAILHAUL_TEST_CRASH", at);
    let code = tool.run(args).code;
    tool.unset_env("MAILHAUL_TEST_CRASH");
    code
}

fn steps(tool: &mut Tool, args: &[&str], code: i32) -> Vec<String> {
    let file = tool.path("steps");
    assert_eq!(killed(tool, args, &format!("count:{}", file.display())), code);
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn flag_and_delete_killed_at_any_step_come_to_the_same_end_when_run_again() {
    let with_move = Behaviour::default().with("MOVE");
    for (args, behaviour, code, wanted) in [
        (&["flag", "work", "--add", "flagged,Work", "--remove", "seen", "2:4"][..], &Behaviour::default(), 0, "imap.store"),
        (&["flag", "work", "--set", "draft", "--unseen"], &Behaviour::default().with("CONDSTORE"), 0, "imap.store"),
        (&["delete", "work", "2,3,4:5"], &with_move, 0, "imap.move"),
        (&["delete", "work", "2,3,4:5"], &Behaviour::default(), 0, "imap.expunge"),
        (&["delete", "work", "2,3,4:5", "--permanently"], &with_move, 0, "imap.expunge"),
        (&["delete", "work", "2,3,4:5", "--permanently"], &Behaviour::default().without(&["UIDPLUS"]), 3, "imap.store"),
        (&["delete", "work", "2,3,4:5"], &Behaviour::default().without(&["UIDPLUS"]), 3, "imap.copy"),
    ] {
        let (mut tool, server) = imapd(behaviour);
        let before = mailboxes(&server);
        let kinds = steps(&mut tool, args, code);
        assert!(kinds.iter().any(|kind| kind == wanted), "{args:?}: {kinds:?}");
        let after = mailboxes(&server);
        assert_ne!(before, after);
        let all: Vec<usize> = (1..=kinds.len()).collect();
        in_parallel(&all, |step| {
            let (mut tool, server) = imapd(behaviour);
            let name = format!("{args:?} killed at {step} ({})", kinds[step - 1]);
            assert_eq!(killed(&mut tool, args, &step.to_string()), KILLED, "{name}");
            server.wait_until_quiet();
            // Named one by one and gone since: told, and the rest done all the same.
            let again = tool.run(args);
            assert!([code, 3].contains(&again.code), "{name}: {again}");
            server.wait_until_quiet();
            assert!(mailboxes(&server) == after, "{name}: {again}\n{}", server.log().join("\n"));
        });
    }
}

#[test]
fn a_pop3_deletion_killed_at_any_step_takes_just_the_named_in_the_end() {
    let args = ["delete", "old", "--uidl", "u2", "--uidl", "u4", "--uidl", "u5"];
    let start = |behaviour: &pop3d::Behaviour| {
        let maildrop = Pop3d::start(behaviour.clone(), &[0, 1, 1, 2, 3, 1].map(|number| mail::plain(number, 50)));
        let tool = Tool::new();
        tool.server("old", None, Some(&maildrop.url()));
        (tool, maildrop)
    };
    let left = |maildrop: &Pop3d| {
        let mut left = Vec::new();
        maildrop.maildrop(|entries| left = entries.iter().map(|entry| entry.uidl.clone()).collect());
        left
    };
    for behaviour in [pop3d::Behaviour::default(), pop3d::Behaviour::default().without("PIPELINING")] {
        let (mut tool, maildrop) = start(&behaviour);
        let kinds = steps(&mut tool, &args, 0);
        assert!(kinds.iter().any(|kind| kind == "pop3.quit"), "{kinds:?}");
        assert_eq!(left(&maildrop), ["u1", "u3", "u6"]);
        for step in 1..=kinds.len() {
            let (mut tool, maildrop) = start(&behaviour);
            let name = format!("killed at {step} ({})", kinds[step - 1]);
            assert_eq!(killed(&mut tool, &args, &step.to_string()), KILLED, "{name}");
            maildrop.wait_until_quiet();
            let now = left(&maildrop);
            // All or nothing: only QUIT commits.
            assert!(now.len() == 6 || now == ["u1", "u3", "u6"], "{name}: {now:?}");
            let again = tool.run(&args);
            assert!(again.code == if now.len() == 6 { 0 } else { 3 }, "{name}: {again}");
            assert_eq!(left(&maildrop), ["u1", "u3", "u6"], "{name}");
        }
    }
}
