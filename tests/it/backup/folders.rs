//! Folders under `backup`: chosen by patterns, renamed, swapped, gone, back again, and lists of them that cannot be believed.

use super::imap::{Scene, counts};
use crate::dovecot_user;
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::store::{self, Layout};
use crate::support::terminal;
use crate::support::tool::Tool;

fn modern() -> Behaviour {
    let more = ["ENABLE", "CONDSTORE", "QRESYNC", "LIST-EXTENDED", "LIST-STATUS", "ESEARCH", "OBJECTID"];
    more.iter().fold(Behaviour::default(), |behaviour, name| behaviour.with(name))
}

fn with_folders(behaviour: Behaviour, folders: &[(&str, u64)]) -> Imapd {
    let server = Imapd::start(behaviour);
    for (at, (folder, count)) in folders.iter().enumerate() {
        let first = at as u64 * 1000;
        server.fill(folder, &(first..first + count).map(|number| mail::plain(number, 200)).collect::<Vec<_>>());
    }
    server
}

const SIX: [(&str, u64); 6] = [("INBOX", 3), ("A", 30), ("A/Sub", 4), ("B", 25), ("C", 2), ("Empty", 0)];

#[test]
fn a_renamed_folder_is_renamed_here_and_nothing_is_read_again() {
    for behaviour in [Behaviour::default(), modern()] {
        let server = with_folders(behaviour, &SIX);
        let scene = Scene::at(&server);
        scene.ok();
        server.rename("B", "Archive/B");
        let second = scene.ok();
        assert_eq!(counts(&second, &["copied", "gone", "already_there"]), [0, 0, 64]);
        assert_eq!(scene.downloads(), 0);
        assert_eq!(store::served(&server), scene.mail());
        assert_eq!(store::live(&scene.root), store::live_served(&server));
        assert!(!scene.root.join("work/.B").exists());
        assert_eq!(counts(&scene.ok(), &["copied", "gone"]), [0, 0]);
    }
}

#[test]
fn a_tree_that_is_renamed_moves_as_one() {
    let server = with_folders(modern(), &SIX);
    let scene = Scene::at(&server);
    scene.ok();
    server.rename("A", "Old");
    server.rename("A/Sub", "Old/Sub");
    server.rename("Empty", "Old/Empty");
    scene.ok();
    assert_eq!(scene.downloads(), 0);
    assert_eq!(store::served(&server), scene.mail());
}

#[test]
fn on_a_terminal_each_connection_has_a_line_of_its_own() {
    let server = with_folders(Behaviour::default(), &[("INBOX", 300), ("Above", 300), ("Below", 300), ("Late", 300)]);
    let tool = Tool::new();
    tool.server("work", Some(&format!("{}&connections=3", server.url())), None);
    let args = ["backup", "work", &tool.text("store")].map(str::to_owned);
    let (drawn, code) = terminal::run_drawing(&tool, &args);
    let drawn = String::from_utf8_lossy(&drawn);
    assert_eq!(code, 0, "{drawn}");
    assert!(drawn.contains(" connections"), "{drawn}");
    let lines = ["INBOX", "Above", "Below", "Late"].into_iter().filter(|folder| drawn.contains(&format!("  {folder}: "))).count();
    assert!(lines >= 2, "{drawn}");
}

#[test]
fn names_that_are_swapped_are_swapped_here() {
    for behaviour in [Behaviour::default(), modern()] {
        let server = with_folders(behaviour, &SIX);
        let scene = Scene::at(&server);
        scene.ok();
        server.rename("A", "T");
        server.rename("B", "A");
        server.rename("T", "B");
        let second = scene.ok();
        assert_eq!(counts(&second, &["copied", "gone"]), [0, 0]);
        assert_eq!(scene.downloads(), 0);
        assert_eq!(store::served(&server), scene.mail());
        assert_eq!(store::live(&scene.root), store::live_served(&server));
    }
}

#[test]
fn another_folder_of_the_same_uidvalidity_is_not_taken_for_a_renamed_one() {
    let server = with_folders(Behaviour::default(), &SIX);
    let scene = Scene::at(&server);
    scene.ok();
    let uid_validity = server.mailbox("B").uid_validity;
    server.remove("B");
    server.fill("New", &(5000..5025).map(|number| mail::plain(number, 200)).collect::<Vec<_>>());
    server.change("New", |mailbox| mailbox.uid_validity = uid_validity);
    let second = scene.ok();
    assert_eq!(counts(&second, &["copied", "gone"]), [25, 25]);
    assert_eq!(scene.mail()["B"].values().sum::<usize>(), 25, "what is gone is kept");
}

#[test]
fn a_folder_that_goes_is_kept_and_known_again_when_it_is_back() {
    let server = with_folders(modern(), &SIX);
    let scene = Scene::at(&server);
    scene.ok();
    let mailbox = server.mailbox("B");
    server.remove("B");
    let second = scene.ok();
    assert_eq!(counts(&second, &["listed", "gone", "copied"]), [39, 25, 0]);
    assert_eq!(scene.mail()["B"].values().sum::<usize>(), 25);
    assert_eq!(counts(&scene.ok(), &["gone"]), [0], "what is gone is told of once");
    server.fill("B", &[]);
    server.change("B", |empty| *empty = mailbox);
    let back = scene.ok();
    assert_eq!(counts(&back, &["listed", "already_there", "copied"]), [64, 64, 0]);
    assert_eq!(store::live(&scene.root), store::live_served(&server));
}

#[test]
fn a_list_much_shorter_than_before_is_not_believed() {
    let server = with_folders(modern(), &SIX);
    let scene = Scene::at(&server);
    scene.ok();
    let mailboxes = [("A", server.mailbox("A")), ("B", server.mailbox("B"))];
    mailboxes.iter().for_each(|(name, _)| server.remove(name));
    server.fill("INBOX", &[mail::plain(7000, 100)]);
    server.change("INBOX", |mailbox| mailbox.expunge(1));
    let output = scene.run(&[]).expect_code(10).expect_stderr("nothing was marked as gone").expect_stderr("A, B");
    // Everything else was done.
    assert_eq!(counts(&output.json(), &["copied", "gone"]), [1, 0]);
    store::sound(&scene.root, Layout::Maildir, "after a suspicious run");
    for (name, mailbox) in mailboxes {
        server.fill(name, &[]);
        server.change(name, |empty| *empty = mailbox);
    }
    let after = scene.ok();
    assert_eq!(counts(&after, &["copied", "gone"]), [0, 1], "the one that went from INBOX is marked now");
}

#[test]
fn a_list_that_a_person_made_shorter_is_believed_when_told_so() {
    let server = with_folders(modern(), &SIX);
    let scene = Scene::at(&server);
    scene.ok();
    ["A", "B"].iter().for_each(|name| server.remove(name));
    scene.run(&[]).expect_code(10).expect_stderr("--fewer-folders: A, B");
    let told = scene.run(&["--fewer-folders"]).expect_code(0).json();
    assert_eq!(counts(&told, &["copied", "gone"]), [0, 55]);
    scene.ok();
}

#[test]
fn folders_are_chosen_by_name_and_a_choice_of_none_is_an_error() {
    let server = with_folders(Behaviour::default(), &SIX);
    let scene = Scene::at(&server);
    let some = scene.run(&["--include", "A*", "--include", "inbox", "--exclude", "*/Sub"]).expect_code(0).json();
    assert_eq!(counts(&some, &["listed", "copied"]), [33, 33]);
    assert_eq!(scene.mail().keys().cloned().collect::<Vec<_>>(), ["A", "INBOX"]);
    scene.run(&["--include", "Nothing"]).expect_code(2);
    // What was left out is no loss.
    let rest = scene.ok();
    assert_eq!(counts(&rest, &["copied", "already_there", "gone"]), [31, 33, 0]);
}

#[test]
fn one_folder_can_be_named_and_the_others_are_left_alone() {
    let server = with_folders(Behaviour::default(), &SIX);
    let scene = Scene::at(&server);
    scene.ok();
    server.fill("A", &[mail::plain(8000, 100)]);
    server.fill("B", &[mail::plain(8001, 100)]);
    let store = scene.root.to_str().unwrap();
    let one = scene.tool.run(&["backup", "work/A", store, "--json"]).expect_code(0).json();
    assert_eq!(counts(&one, &["listed", "copied", "gone"]), [31, 1, 0]);
    scene.tool.run(&["backup", "work/Nowhere", store, "--json"]).expect_code(2).expect_stderr("there is no folder Nowhere");
    assert_eq!(counts(&scene.ok(), &["copied"]), [1]);
}

#[test]
fn gmail_is_kept_once_with_its_labels() {
    let mut behaviour = Behaviour::default().with("X-GM-EXT-1");
    for (name, attribute) in [("[Gmail]/All Mail", "\\All"), ("[Gmail]/Spam", "\\Junk"), ("[Gmail]/Trash", "\\Trash")] {
        behaviour.special_use.insert(name.to_owned(), attribute.to_owned());
    }
    let bodies = mail::many(4, 100);
    let server = Imapd::start(behaviour);
    server.fill("INBOX", &bodies[..2]);
    server.fill("Work", &bodies[1..3]);
    server.fill("[Gmail]/All Mail", &bodies);
    server.fill("[Gmail]/Spam", &[mail::plain(50, 100)]);
    server.fill("[Gmail]/Trash", &[mail::plain(51, 100)]);
    let scene = Scene::at(&server);
    let first = scene.ok();
    assert_eq!(counts(&first, &["listed", "copied"]), [6, 6]);
    let labels = |root: &std::path::Path| {
        let journal = store::journal(root);
        let mut rows = journal.prepare("SELECT labels FROM entry WHERE labels <> '' ORDER BY id").unwrap();
        let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    assert!(labels(&scene.root).iter().any(|labels| labels.contains("Work")), "{:?}", labels(&scene.root));
    assert_eq!(counts(&scene.ok(), &["copied"]), [0]);
}

#[test]
fn a_folder_renamed_on_a_real_server_follows() {
    let user = dovecot_user!("backup-rename");
    user.deliver("INBOX", &mail::many(2, 100));
    user.deliver("Before", &mail::many(40, 300));
    user.deliver("Other", &mail::many(3, 100));
    let scene = Scene::of(&user);
    scene.ok();
    let mut client = user.client();
    client.rename("Before", "After").unwrap();
    client.logout().unwrap();
    let second = scene.ok();
    assert_eq!(counts(&second, &["copied", "gone"]), [0, 0]);
    assert_eq!(scene.downloads(), 0);
    assert_eq!(super::imap::served(&user, &["INBOX", "After", "Other"]), scene.mail());
}

#[test]
fn a_copy_of_a_folder_that_was_not_meant_is_not_taken_for_its_new_name() {
    let server = with_folders(Behaviour::default(), &SIX);
    let scene = Scene::at(&server);
    scene.ok();
    // Servers that give every folder the same UIDVALIDITY exist, and copies keep dates.
    let copy = server.mailbox("A");
    server.fill("Copy", &[]);
    server.change("Copy", |mailbox| *mailbox = copy);
    let second = scene.run(&["--include", "Copy"]).expect_code(0).json();
    assert_eq!(counts(&second, &["listed", "copied"]), [30, 30]);
    assert!(scene.root.join("work/.A").exists() && scene.root.join("work/.Copy").exists());
    assert_eq!(counts(&scene.ok(), &["copied", "gone"]), [0, 0]);
    assert_eq!(store::served(&server), scene.mail());
}
