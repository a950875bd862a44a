//! Wrong turns that people take with the backup's verbs, and what they are told: each ends with the right exit code, names the
//! place and the remedy, and touches nothing.

use std::fs;

use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::store::{self, Layout};
use crate::support::tool::Tool;

/// A server with three messages, known as `work`, and a tool.
fn scene() -> (Imapd, Tool) {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(3, 200));
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    (server, tool)
}

/// What stands in a directory and below it, by name.
fn tree(tool: &Tool, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![tool.path(name)];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.display().to_string());
            if path.is_dir() {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn an_option_may_stand_between_the_accounts_and_the_store() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work", "--exclude", "Trash", "store"]).expect_code(0);
    assert_eq!(store::lying(&tool.path("store"), "work", Layout::Maildir).len(), 3);
}

#[test]
fn an_account_or_a_store_alone_is_told_what_is_missing() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work"]).expect_code(2).expect_stderr("no store is named");
    tool.run(&["backup", "./store"]).expect_code(2).expect_stderr("the accounts stand first, then the store");
    tool.run(&["restore", "work", "./store"]).expect_code(2).expect_stderr("mailhaul restore ./store work");
}

#[test]
fn a_store_is_not_made_within_another_one_or_a_maildir() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work", "store"]).expect_code(0);
    fs::create_dir_all(tool.path("Mail/cur")).unwrap();
    fs::create_dir_all(tool.path("Mail/new")).unwrap();
    fs::create_dir_all(tool.path("Mail/tmp")).unwrap();
    let before = (tree(&tool, "store"), tree(&tool, "Mail"));
    for (inner, of) in [("store/more", "store of backups"), ("store/work/deep/more", "Maildir"), ("Mail/more", "Maildir")] {
        tool.run(&["backup", "work", inner]).expect_code(2).expect_stderr(&format!("cannot lie in the {of}"));
        tool.run(&["backup", "work", inner, "--dry-run"]).expect_code(2).expect_stderr(&format!("cannot lie in the {of}"));
    }
    assert_eq!((tree(&tool, "store"), tree(&tool, "Mail")), before);
}

#[test]
fn a_maildir_alone_is_no_store_and_nothing_is_made_in_it() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work", "store"]).expect_code(0);
    tool.run(&["restore", "store", "maildir:Mail"]).expect_code(0);
    let before = tree(&tool, "Mail");
    tool.run(&["verify", "Mail"]).expect_code(2).expect_stderr("there is no store of backups");
    tool.run(&["rebuild", "Mail"]).expect_code(2).expect_stderr("a Maildir alone is none");
    assert_eq!(tree(&tool, "Mail"), before);
}

#[test]
fn whoever_holds_the_lock_without_its_number_is_not_taken_for_a_run_that_is_over() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work", "store"]).expect_code(0);
    // As flock(1) holds it while a copy is made: the number in it is that of the run before.
    let lock = fs::File::options().read(true).write(true).open(tool.path("store/.mailhaul/lock")).unwrap();
    lock.lock().unwrap();
    for verb in [&["backup", "work", "store"][..], &["verify", "store"], &["rebuild", "store"]] {
        let output = tool.run(verb).expect_code(9).expect_stderr("mailhaul: store: ").expect_stderr("a copy");
        assert!(!output.stderr.contains("(process"), "{output}");
    }
}

#[test]
fn an_account_that_never_listed_anything_has_its_error_and_no_sum() {
    let (server, tool) = scene();
    tool.run(&["backup", "work", "store"]).expect_code(0);
    drop(server);
    let output = tool.run(&["backup", "work", "store"]).expect_code(5).expect_stderr("mailhaul: work: ");
    assert_eq!(output.text(), "");
}

#[test]
fn a_date_no_backup_knows_and_one_to_come_are_remarked_upon() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work", "store"]).expect_code(0);
    tool.run(&["restore", "store", "maildir:then", "--as-of", "1999-01-01"]).expect_code(0).expect_stderr("no backup had seen");
    tool.run(&["restore", "store", "maildir:soon", "--as-of", "2999-01-01"]).expect_code(0).expect_stderr("in the future");
    assert_eq!(tree(&tool, "soon").iter().filter(|path| path.contains("/cur/") || path.contains("/new/")).count(), 3);
}

#[test]
fn a_file_of_another_program_is_not_promised_a_repair() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work", "store"]).expect_code(0);
    fs::write(tool.path("store").join("work/cur/1.M1P1.host:2,S"), "Subject: a stranger\n\nhello\n").unwrap();
    let output = tool.run(&["verify", "store"]).expect_code(1).expect_stderr("move files of another program out of the store");
    assert!(!output.stderr.contains("--repair"), "{output}");
}

#[test]
fn stores_and_their_accounts_are_completed() {
    let (_server, tool) = scene();
    tool.run(&["backup", "work", "store"]).expect_code(0);
    let answer = |line: &str| {
        let piece = line.rsplit(' ').next().unwrap();
        tool.run(&["__complete", "bash", line, piece]).expect_code(0).text()
    };
    assert!(answer("mailhaul restore store//w").contains("store//work\n"), "{}", answer("mailhaul restore store//w"));
    assert_eq!(answer("mailhaul restore store --account "), "words\nwork\n");
    for verb in ["verify", "rebuild", "prune", "status", "problems", "backup work"] {
        assert!(answer(&format!("mailhaul {verb} ")).contains(&format!("{}\n", tool.text("store"))), "{verb}");
        assert_eq!(answer(&format!("mailhaul {verb} sto")), "files\n", "{verb}");
    }
}
