//! `backup` of servers that break the promises UIDs rest on: none of their mail may be passed over in silence, and what was kept
//! before stays.

use super::imap::{Scene, counts};
use super::scene::{letter, put};
use crate::support::imapd::{Behaviour, Imapd, Stored};
use crate::support::mail;
use crate::support::store::{self, Layout};

fn condstore() -> Behaviour {
    Behaviour::default().with("ENABLE").with("CONDSTORE").with("LIST-EXTENDED").with("LIST-STATUS").with("ESEARCH")
}

fn qresync() -> Behaviour {
    condstore().with("QRESYNC")
}

fn letters(numbers: std::ops::Range<u64>) -> Vec<Stored> {
    numbers.map(|number| letter(number, 200 + usize::try_from(number % 7).unwrap())).collect()
}

/// How many messages lie in a folder of the store.
fn files(scene: &Scene, folder: &str) -> usize {
    scene.mail().get(folder).map_or(0, |letters| letters.values().sum())
}

#[test]
fn a_new_uidvalidity_that_only_opening_the_folder_shows_is_noticed() {
    for behaviour in [Behaviour::default(), condstore()] {
        let mut behaviour = behaviour;
        behaviour.no_status.insert("Odd".to_owned(), "NO not this one".to_owned());
        let server = Imapd::start(behaviour);
        put(&server, "Odd", letters(0..10));
        let scene = Scene::at(&server);
        scene.ok();
        server.change("Odd", |mailbox| {
            mailbox.messages.drain(..4);
            mailbox.renumber();
        });
        put(&server, "Odd", letters(20..22));
        let second = scene.ok();
        assert_eq!(counts(&second, &["copied", "already_there"]), [2, 6]);
        assert_eq!(store::live(&scene.root), store::live_served(&server));
        assert_eq!(files(&scene, "Odd"), 12);
    }
}

#[test]
fn a_folder_made_anew_under_the_old_uidvalidity_is_read_and_the_old_mail_is_kept() {
    for behaviour in [Behaviour::default(), condstore(), qresync(), qresync().with("OBJECTID")] {
        let server = Imapd::start(behaviour);
        put(&server, "Work", letters(0..10));
        let scene = Scene::at(&server);
        scene.ok();
        server.change("Work", |mailbox| {
            mailbox.messages.clear();
            mailbox.expunged.clear();
            (mailbox.uid_next, mailbox.mod_seq) = (1, 1);
            mailbox.id = "another".to_owned();
        });
        // One of them is the same under the same UID, one the same under another.
        put(&server, "Work", letters(0..1));
        put(&server, "Work", letters(50..53));
        put(&server, "Work", letters(3..4));
        let second = scene.ok();
        assert_eq!(store::live(&scene.root), store::live_served(&server), "{second:#}");
        assert_eq!(counts(&second, &["listed", "copied", "already_there"]), [5, 3, 2]);
        assert_eq!(files(&scene, "Work"), 13, "what was kept stays, and nothing is there twice");
        assert_eq!(counts(&scene.ok(), &["copied", "gone", "flags_changed"]), [0, 0, 0]);
        scene.tool.run(&["verify", scene.root.to_str().unwrap()]).expect_code(0);
    }
}

#[test]
fn a_server_put_back_to_an_earlier_day_gives_uids_again_and_loses_nothing_here() {
    for behaviour in [Behaviour::default(), condstore(), qresync()] {
        let server = Imapd::start(behaviour);
        put(&server, "Work", letters(0..6));
        let earlier = server.mailbox("Work");
        put(&server, "Work", letters(6..10));
        let scene = Scene::at(&server);
        scene.ok();
        server.change("Work", |mailbox| *mailbox = earlier);
        put(&server, "Work", letters(70..72));
        scene.ok();
        assert_eq!(store::live(&scene.root), store::live_served(&server));
        assert_eq!(files(&scene, "Work"), 12);
        assert_eq!(counts(&scene.ok(), &["copied", "gone"]), [0, 0]);
    }
}

#[test]
fn a_uid_that_was_gone_and_names_another_message_now_is_read() {
    for behaviour in [Behaviour::default(), qresync()] {
        let server = Imapd::start(behaviour);
        put(&server, "Work", letters(0..6));
        let scene = Scene::at(&server);
        scene.ok();
        server.change("Work", |mailbox| mailbox.expunge(3));
        assert_eq!(counts(&scene.ok(), &["gone"]), [1]);
        server.change("Work", |mailbox| {
            mailbox.mod_seq += 1;
            let other = Stored { uid: 3, mod_seq: mailbox.mod_seq, ..letter(90, 333) };
            mailbox.messages.insert(2, other);
            mailbox.expunged.clear();
        });
        let third = scene.ok();
        assert_eq!(counts(&third, &["copied", "already_there"]), [1, 5]);
        assert_eq!(store::live(&scene.root), store::live_served(&server));
        assert_eq!(files(&scene, "Work"), 7);
        // And it may go in its turn.
        server.change("Work", |mailbox| mailbox.expunge(3));
        assert_eq!(counts(&scene.ok(), &["gone"]), [1]);
        let store = scene.root.to_str().unwrap().to_owned();
        scene.tool.run(&["prune", &store, "--gone-for", "0d", "--yes"]).expect_code(0);
        assert_eq!(files(&scene, "Work"), 5);
    }
}

#[test]
fn a_message_that_search_finds_and_fetch_withholds_is_a_problem_and_read_once_it_can_be() {
    for behaviour in [Behaviour::default(), condstore(), qresync()] {
        let server = Imapd::start(Behaviour { withheld: vec![4], ..behaviour });
        server.fill("INBOX", &mail::many(10, 300));
        let scene = Scene::at(&server);
        let first = scene.run(&[]).expect_code(3).json();
        assert_eq!(counts(&first, &["listed", "copied", "quarantined"]), [10, 9, 1]);
        scene.run(&[]).expect_code(3);
        server.behave(|behaviour| behaviour.withheld.clear());
        assert_eq!(counts(&scene.ok(), &["copied", "already_there"]), [1, 9]);
        assert_eq!(store::live(&scene.root), store::live_served(&server));
    }
}

#[test]
fn a_row_that_the_journal_lost_is_missed_although_nothing_changed_on_the_server() {
    let server = Imapd::start(qresync());
    server.fill("INBOX", &mail::many(10, 300));
    let scene = Scene::at(&server);
    scene.ok();
    let journal = rusqlite::Connection::open(scene.root.join(".mailhaul/journal.db")).unwrap();
    journal.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM entry WHERE uid = 5; UPDATE file SET named = 0, live = 0 WHERE id = 5; UPDATE folder SET messages = 9 WHERE name = 'INBOX';").unwrap();
    drop(journal);
    let second = scene.run(&[]).expect_code(0).json();
    assert_eq!(counts(&second, &["listed", "already_there", "copied"]), [10, 9, 1]);
    assert_eq!(store::live(&scene.root), store::live_served(&server));
    assert_eq!(files(&scene, "INBOX"), 10, "its file was there, and is there once");
}

#[test]
fn under_a_new_uidvalidity_nothing_is_gone_before_all_of_it_was_read() {
    let server = Imapd::start(qresync());
    // Headers that are alike have to be told apart by what is read.
    let bodies: Vec<Vec<u8>> = (0..20).map(|number| format!("Subject: s\r\n\r\nbody {number:02}\r\n").into_bytes()).collect();
    server.fill("Work", &bodies);
    let scene = Scene::at(&server);
    scene.ok();
    server.change("Work", crate::support::imapd::Mailbox::renumber);
    server.fill("Work", &mail::many(5, 300));
    scene.run(&["--max-messages", "3"]).expect_code(8);
    let store = scene.root.to_str().unwrap().to_owned();
    scene.tool.run(&["prune", &store, "--gone-for", "0d", "--yes"]).expect_code(0);
    store::sound(&scene.root, Layout::Maildir, "after a prune in between");
    assert!(files(&scene, "Work") >= 20, "{}", files(&scene, "Work"));
    scene.ok();
    assert_eq!(store::live(&scene.root), store::live_served(&server));
    assert_eq!(files(&scene, "Work"), 25);
}
