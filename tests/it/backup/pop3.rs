//! Maildrops into a store: by unique-id, by content where there is none to trust, over sessions that break, and never a deletion.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::mail::{self, content_digest};
use crate::support::pop3d::{Behaviour, Entry, Pop3d};
use crate::support::store::{self, Layout};
use crate::support::tool::{Output, Tool};

/// A maildrop, a store and the program.
struct Scene {
    server: Pop3d,
    tool: Tool,
}

impl Scene {
    fn new(behaviour: Behaviour, messages: &[Vec<u8>]) -> Self {
        let mut tool = Tool::new();
        tool.use_clock();
        Self { server: Pop3d::start(behaviour, messages), tool }
    }

    fn root(&self) -> PathBuf {
        self.tool.path("store")
    }

    fn run(&self, more: &[&str]) -> Output {
        let password = self.tool.password_file();
        let url = self.server.url();
        let base = ["backup", &url, "store", "--password-file", password.to_str().unwrap(), "--json"];
        self.tool.run(&[&base, more].concat())
    }

    /// A run that does all of it.
    #[track_caller]
    fn good(&self, more: &[&str]) -> Value {
        let summary = self.run(more).expect_code(0).json();
        assert_eq!(summary["balanced"], true, "{summary}");
        store::sound(&self.root(), Layout::Maildir, "pop3");
        summary
    }

    /// What lies in the store, by content.
    fn kept(&self) -> BTreeMap<String, usize> {
        let mut kept = BTreeMap::new();
        for lying in store::lying(&self.root(), "ann@127.0.0.1", Layout::Maildir) {
            *kept.entry(lying.letter.content).or_default() += 1;
        }
        kept
    }

    /// What the server was asked on its last connection.
    fn last_session(&self) -> Vec<String> {
        self.server.wait_until_quiet();
        let last = format!("{} ", self.server.connections());
        self.server.log().iter().filter_map(|line| line.strip_prefix(&last)).map(str::to_owned).collect()
    }

    #[track_caller]
    fn asked_for(&self, verb: &str) -> usize {
        self.last_session().iter().filter(|line| line.starts_with(verb)).count()
    }

    #[track_caller]
    fn never_deleted(&self) {
        assert!(!self.server.log().iter().any(|line| line.contains(" DELE")), "{:?}", self.server.log());
    }
}

#[track_caller]
fn counts(summary: &Value, expected: &[(&str, u64)]) {
    for (name, count) in expected {
        assert_eq!(summary[*name], *count, "{name}: {summary}");
    }
}

#[test]
fn a_maildrop_is_kept_whole_and_the_next_run_reads_nothing() {
    let mut messages = mail::many(40, 700);
    messages.extend(mail::nasty().into_iter().map(|(_, body)| body));
    let scene = Scene::new(Behaviour::default(), &messages);
    let count = messages.len() as u64;
    let summary = scene.good(&[]);
    counts(&summary, &[("listed", count), ("copied", count)]);
    assert_eq!(summary["accounts"][0]["account"], "ann@127.0.0.1");
    assert_eq!(scene.kept(), mail::multiset(&messages));
    assert_eq!(scene.asked_for("QUIT"), 1);
    let before = store::untouched(&scene.root());
    counts(&scene.good(&[]), &[("listed", count), ("copied", 0), ("already_there", count)]);
    assert_eq!((scene.asked_for("RETR"), scene.asked_for("TOP")), (0, 0));
    assert_eq!(store::untouched(&scene.root()), before);
    scene.never_deleted();
}

#[test]
fn what_other_programs_deleted_is_kept_and_what_comes_back_is_not_fetched_again() {
    let messages = mail::many(5, 300);
    let scene = Scene::new(Behaviour::default(), &messages);
    scene.good(&[]);
    let mut taken = None;
    scene.server.maildrop(|maildrop| taken = Some(maildrop.remove(1)));
    counts(&scene.good(&[]), &[("listed", 4), ("already_there", 4), ("gone", 1)]);
    assert_eq!(scene.kept(), mail::multiset(&messages));
    scene.server.maildrop(|maildrop| maildrop.extend(taken));
    counts(&scene.good(&[]), &[("listed", 5), ("already_there", 5), ("gone", 0), ("copied", 0)]);
    // Its unique-id may have been given to another message: the header tells.
    assert_eq!((scene.asked_for("RETR"), scene.asked_for("TOP")), (0, 1));
    counts(&scene.good(&[]), &[("already_there", 5)]);
    assert_eq!(scene.asked_for("TOP"), 0);
}

#[test]
fn a_server_that_calls_everything_by_another_name_costs_reading_and_no_second_file() {
    let mut messages = mail::many(6, 300);
    messages.push(messages[0].clone());
    let scene = Scene::new(Behaviour::default(), &messages);
    scene.good(&[]);
    let before = store::untouched(&scene.root());
    scene.server.maildrop(|maildrop| {
        (0..).zip(maildrop.iter_mut()).for_each(|(number, entry): (u32, _)| entry.uidl = format!("moved-{number}"));
        // A third of the same, and it is new.
        maildrop.push(Entry { uidl: "moved-x".into(), body: messages[0].clone() });
    });
    counts(&scene.good(&[]), &[("listed", 8), ("already_there", 7), ("copied", 1), ("gone", 0)]);
    let mut all = messages.clone();
    all.push(messages[0].clone());
    assert_eq!(scene.kept(), mail::multiset(&all));
    let after = store::untouched(&scene.root());
    let is_mail = |path: &str| path.contains("/cur/") || path.contains("/new/");
    assert!(before.iter().filter(|(path, _)| is_mail(path)).all(|(path, meta)| after.get(path) == Some(meta)));
    counts(&scene.good(&[]), &[("already_there", 8), ("copied", 0)]);
    assert_eq!(scene.asked_for("RETR"), 0);
}

#[test]
fn without_unique_ids_content_counts_and_how_often_it_is_there() {
    let mut messages = mail::many(4, 300);
    messages.extend([messages[1].clone(), messages[1].clone()]);
    let scene = Scene::new(Behaviour::default().without("UIDL"), &messages);
    counts(&scene.good(&[]), &[("listed", 6), ("copied", 6)]);
    counts(&scene.good(&[]), &[("listed", 6), ("copied", 0), ("already_there", 6), ("gone", 0)]);
    assert_eq!(scene.kept(), mail::multiset(&messages));
    let new = mail::plain(99, 200);
    scene.server.maildrop(|maildrop| {
        maildrop.remove(1);
        maildrop.push(Entry { uidl: "x".into(), body: new.clone() });
    });
    counts(&scene.good(&[]), &[("listed", 6), ("copied", 1), ("already_there", 5), ("gone", 1)]);
    messages.push(new);
    assert_eq!(scene.kept(), mail::multiset(&messages));
}

#[test]
fn a_unique_id_that_several_messages_share_is_none() {
    let messages = mail::many(4, 300);
    let scene = Scene::new(Behaviour::default(), &messages);
    scene.server.maildrop(|maildrop| maildrop[..3].iter_mut().for_each(|entry| entry.uidl = "same".into()));
    counts(&scene.good(&[]), &[("copied", 4)]);
    scene.server.maildrop(|maildrop| drop(maildrop.remove(0)));
    counts(&scene.good(&[]), &[("listed", 3), ("already_there", 3), ("gone", 1)]);
    assert_eq!(scene.asked_for("RETR"), 2);
    // Now it is one message's alone, and known by its content.
    scene.server.maildrop(|maildrop| drop(maildrop.remove(0)));
    counts(&scene.good(&[]), &[("listed", 2), ("copied", 0), ("already_there", 2)]);
    assert_eq!(scene.kept(), mail::multiset(&messages));
}

#[test]
fn a_unique_id_that_is_given_again_does_not_hide_the_message_that_has_it_now() {
    let messages = mail::many(3, 300);
    let scene = Scene::new(Behaviour::default(), &messages);
    scene.good(&[]);
    let new = mail::plain(77, 900);
    scene.server.maildrop(|maildrop| maildrop[1].body.clone_from(&new));
    counts(&scene.good(&[]), &[("listed", 3), ("copied", 1), ("already_there", 2), ("gone", 1)]);
    counts(&scene.good(&[]), &[("listed", 3), ("copied", 0), ("already_there", 3), ("gone", 0)]);
    let mut all = messages.clone();
    all.push(new);
    assert_eq!(scene.kept(), mail::multiset(&all));
}

#[test]
fn sizes_are_hints_and_never_gates() {
    let messages = mail::many(5, 300);
    let scene = Scene::new(Behaviour::default(), &messages);
    scene.good(&[]);
    scene.server.behave(|behaviour| behaviour.sizes_off_by = 17);
    counts(&scene.good(&[]), &[("listed", 5), ("already_there", 5), ("copied", 0), ("gone", 0)]);
    assert_eq!((scene.asked_for("RETR"), scene.asked_for("TOP")), (0, 5));
}

#[test]
fn a_mailbox_in_use_is_worth_trying_later_and_leaves_word_of_it() {
    let scene = Scene::new(Behaviour { login: Some("-ERR [IN-USE] locked".into()), ..Behaviour::default() }, &mail::many(2, 100));
    let output = scene.run(&[]).expect_code(5).expect_stderr("[IN-USE] locked");
    assert_eq!(output.json()["accounts"][0]["error"]["code"], 5);
    scene.server.behave(|behaviour| behaviour.login = None);
    counts(&scene.good(&[]), &[("copied", 2)]);
}

#[test]
fn a_connection_that_is_lost_costs_nothing_and_a_message_that_loses_each_is_put_aside() {
    let messages = mail::many(12, 400);
    let scene = Scene::new(Behaviour { hang_up_at: vec![5, 9], ..Behaviour::default() }, &messages[..10]);
    counts(&scene.good(&[]), &[("listed", 10), ("copied", 10)]);
    assert_eq!(scene.kept(), mail::multiset(&messages[..10]));

    scene.server.maildrop(|maildrop| {
        maildrop.extend((10..12).map(|index| Entry { uidl: format!("later-{index}"), body: messages[index].clone() }));
    });
    scene.server.behave(|behaviour| behaviour.hang_up_at = vec![11; 20]);
    let output = scene.run(&[]).expect_code(3);
    let summary = output.json();
    counts(&summary, &[("listed", 12), ("copied", 1), ("quarantined", 1)]);
    assert_eq!((&summary["problems"][0]["folder"], &summary["problems"][0]["uid"]), (&"INBOX".into(), &11.into()));
    assert!(output.stderr.contains("INBOX 11"), "{output}");
    store::sound(&scene.root(), Layout::Maildir, "quarantine");
    // One try a run, once it was put aside.
    scene.server.behave(|behaviour| behaviour.hang_up_at = vec![11; 20]);
    let connections = scene.server.connections();
    counts(&scene.run(&[]).expect_code(3).json(), &[("quarantined", 1), ("already_there", 11)]);
    assert_eq!(scene.server.connections(), connections + 2);

    scene.server.behave(|behaviour| behaviour.hang_up_at.clear());
    counts(&scene.good(&[]), &[("copied", 1), ("already_there", 11), ("quarantined", 0)]);
    assert_eq!(scene.kept(), mail::multiset(&messages));
    counts(&scene.good(&[]), &[("already_there", 12)]);
    scene.never_deleted();
}

#[test]
fn a_message_the_server_does_not_give_is_named_and_tried_again() {
    let messages = mail::many(4, 200);
    let scene = Scene::new(Behaviour { refuse: vec![(2, "cannot read that file".into())], ..Behaviour::default() }, &messages);
    let output = scene.run(&[]).expect_code(3).expect_stderr("cannot read that file");
    counts(&output.json(), &[("listed", 4), ("copied", 3), ("quarantined", 1)]);
    scene.server.behave(|behaviour| behaviour.refuse.clear());
    counts(&scene.good(&[]), &[("copied", 1), ("already_there", 3)]);
}

#[test]
fn a_server_that_cannot_do_what_it_announces_is_asked_for_one_at_a_time() {
    let messages = mail::many(30, 300);
    let scene = Scene::new(Behaviour { hang_up_at: vec![3, 4], ..Behaviour::default() }, &messages);
    counts(&scene.good(&[]), &[("copied", 30)]);
    assert_eq!(scene.server.connections(), 3);
}

#[test]
fn gmail_is_refused_with_a_reason_and_read_page_by_page_on_demand() {
    let messages = mail::many(23, 200);
    let greeting = Some("Gpop ready for requests from 127.0.0.1 x1".to_owned());
    let scene = Scene::new(Behaviour { greeting, page: Some(10), ..Behaviour::default() }, &messages);
    let refused = scene.run(&[]).expect_code(2).expect_stderr("Gmail over POP3");
    assert!(refused.stderr.contains("--pop3-anyway") && refused.stderr.contains("imaps://"), "{refused}");
    assert!(!scene.server.log().iter().any(|line| line.contains(" RETR")));
    counts(&scene.good(&["--pop3-anyway"]), &[("listed", 23), ("copied", 23), ("gone", 0)]);
    assert_eq!(scene.kept(), mail::multiset(&messages));
    // What it does not list any more is hidden, not gone.
    counts(&scene.good(&["--pop3-anyway"]), &[("listed", 0), ("gone", 0)]);
    scene.run(&["--pop3-anyway", "--mirror"]).expect_code(2).expect_stderr("--mirror");
    scene.never_deleted();
}

#[test]
fn a_limit_ends_a_run_and_the_next_goes_on() {
    let messages = mail::many(10, 400);
    let scene = Scene::new(Behaviour::default(), &messages);
    counts(&scene.run(&["--max-messages", "4"]).expect_code(8).json(), &[("copied", 4)]);
    assert_eq!((scene.asked_for("RETR"), scene.asked_for("QUIT")), (4, 1));
    store::journal_tells_the_truth(&scene.root(), Layout::Maildir, "limit");
    let size = (messages[4].len() + messages[5].len()).to_string();
    counts(&scene.run(&["--max-transfer", &size]).expect_code(8).json(), &[("copied", 2), ("already_there", 4)]);
    counts(&scene.good(&["--max-messages", "4"]), &[("copied", 4)]);
    assert_eq!(scene.kept(), mail::multiset(&messages));
}

#[test]
fn the_date_is_that_of_the_topmost_received_else_that_of_date() {
    let body = |header: &str| format!("{header}Subject: x\r\n\r\nbody\r\n").into_bytes();
    let received = body(
        "Received: from a by b; Tue, 02 Jan 2024 10:00:00 +0100\r\nReceived: from c by d; Mon, 01 Jan 2024 10:00:00 +0000\r\n\
         Date: Sun, 31 Dec 2023 10:00:00 +0000\r\n",
    );
    let dated = body("Date: Sun, 31 Dec 2023 10:00:00 +0000\r\n");
    let scene = Scene::new(Behaviour::default(), &[received.clone(), dated.clone()]);
    scene.good(&[]);
    let found: BTreeMap<String, i64> = store::lying(&scene.root(), "ann@127.0.0.1", Layout::Maildir)
        .into_iter()
        .map(|lying| (lying.letter.content, lying.letter.date))
        .collect();
    let expected = [(content_digest(&received), 1_704_186_000), (content_digest(&dated), 1_704_016_800)];
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn a_mirror_loses_what_the_maildrop_lost_under_its_ceiling() {
    let messages = mail::many(10, 200);
    let scene = Scene::new(Behaviour::default(), &messages);
    scene.good(&[]);
    scene.server.maildrop(|maildrop| drop(maildrop.drain(..3)));
    scene.run(&["--mirror", "--max-delete", "2"]).expect_code(10).expect_stderr("--max-delete 3");
    assert_eq!(scene.kept(), mail::multiset(&messages));
    scene.good(&["--mirror", "--max-delete", "3"]);
    assert_eq!(scene.kept(), mail::multiset(&messages[3..]));
    scene.good(&["--mirror"]);
    scene.never_deleted();
}

#[test]
fn on_any_doubt_the_connection_is_dropped_without_a_farewell() {
    let scene = Scene::new(Behaviour { hang_up_at: vec![2], ..Behaviour::default() }, &mail::many(3, 200));
    scene.run(&["--pop3-anyway"]).expect_code(0);
    scene.server.wait_until_quiet();
    let log = scene.server.log();
    assert!(!log.contains(&"1 QUIT".to_owned()) && log.contains(&"2 QUIT".to_owned()), "{log:?}");
}

#[test]
fn without_unique_ids_too_a_message_that_loses_every_connection_is_put_aside_and_the_run_ends() {
    let messages = mail::many(6, 300);
    let scene = Scene::new(Behaviour { hang_up_at: vec![3; 60], ..Behaviour::default() }.without("UIDL"), &messages);
    let first = scene.run(&[]).expect_code(3).json();
    counts(&first, &[("listed", 6), ("copied", 5), ("quarantined", 1)]);
    assert!(scene.server.connections() <= 6, "{}", scene.server.connections());
    scene.server.behave(|behaviour| behaviour.hang_up_at.clear());
    counts(&scene.good(&[]), &[("listed", 6), ("copied", 1), ("already_there", 5)]);
    assert_eq!(scene.kept().values().sum::<usize>(), 6);
}
