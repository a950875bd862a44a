//! `backup --mirror`: what is gone from the server goes here too, under the ceiling and never on a doubt.

use super::imap::{Scene, counts};
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::store::{self, Layout};

fn server(count: u64) -> Imapd {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(count, 200));
    server.fill("Old", &[mail::plain(900, 100), mail::plain(901, 100)]);
    server.fill("Work", &[mail::plain(902, 100)]);
    server
}

#[test]
fn what_is_gone_is_removed_and_the_store_is_what_the_server_is() {
    let server = server(60);
    let scene = Scene::at(&server);
    scene.ok();
    server.change("INBOX", |mailbox| (10..20).for_each(|uid| mailbox.expunge(uid)));
    let kept = scene.ok();
    assert_eq!(counts(&kept, &["gone"]), [10]);
    assert_eq!(scene.mail()["INBOX"].values().sum::<usize>(), 60, "without --mirror it stays");
    scene.run(&["--mirror"]).expect_code(0);
    assert_eq!(store::served(&server), scene.mail(), "also what went in earlier runs goes");
    store::sound(&scene.root, Layout::Maildir, "after --mirror");
    let before = store::untouched(&scene.root);
    scene.run(&["--mirror"]).expect_code(0);
    assert_eq!(store::untouched(&scene.root), before);
}

#[test]
fn above_the_ceiling_nothing_is_removed_anywhere() {
    let server = server(200);
    let scene = Scene::at(&server);
    scene.ok();
    server.change("INBOX", |mailbox| (1..=70).for_each(|uid| mailbox.expunge(uid)));
    server.change("Old", |mailbox| mailbox.expunge(1));
    server.fill("Work", &[mail::plain(950, 100)]);
    let output = scene.run(&["--mirror"]).expect_code(10).expect_stderr("71 of the 204 messages");
    assert_eq!(counts(&output.json(), &["copied", "gone"]), [1, 71]);
    assert_eq!(scene.mail()["INBOX"].values().sum::<usize>(), 200);
    assert_eq!(scene.mail()["Old"].values().sum::<usize>(), 2);
    store::sound(&scene.root, Layout::Maildir, "above the ceiling");
    scene.run(&["--mirror", "--max-delete", "71"]).expect_code(0);
    assert_eq!(store::served(&server), scene.mail());
}

#[test]
fn a_list_of_folders_that_is_not_believed_removes_nothing() {
    let server = server(20);
    let scene = Scene::at(&server);
    scene.ok();
    server.remove("Old");
    server.change("INBOX", |mailbox| mailbox.expunge(1));
    scene.run(&["--mirror", "--max-delete", "100%"]).expect_code(10).expect_stderr("nothing was marked as gone");
    assert_eq!(scene.mail().values().flat_map(|letters| letters.values()).sum::<usize>(), 23);
}

#[test]
fn a_folder_that_goes_is_removed_with_its_mail() {
    let server = server(20);
    for number in 0..6 {
        server.fill(&format!("More {number}"), &[mail::plain(910 + number, 100)]);
    }
    let scene = Scene::at(&server);
    scene.ok();
    server.remove("Old");
    scene.run(&["--mirror"]).expect_code(0);
    assert_eq!(store::served(&server), scene.mail());
}

#[test]
fn a_new_uidvalidity_removes_only_what_is_not_under_it() {
    let server = server(60);
    let scene = Scene::at(&server);
    scene.ok();
    server.change("INBOX", |mailbox| {
        mailbox.expunge(3);
        mailbox.renumber();
    });
    scene.run(&["--mirror"]).expect_code(0);
    assert_eq!(store::served(&server), scene.mail());
    assert_eq!(store::live(&scene.root), store::live_served(&server));
    store::sound(&scene.root, Layout::Maildir, "after a new UIDVALIDITY");
}

#[test]
fn an_mbox_store_refuses_to_mirror() {
    let server = server(1);
    let scene = Scene::at(&server);
    let store = format!("mbox:{}", scene.root.display());
    scene.tool.run(&["backup", "work", &store, "--mirror"]).expect_code(2).expect_stderr("only grows");
}

#[test]
fn while_something_on_the_server_cannot_be_read_nothing_is_removed() {
    let server = server(60);
    let scene = Scene::at(&server);
    scene.ok();
    // Moved, and where it is now it cannot be had.
    let moved = server.bodies("INBOX").remove(4);
    server.change("INBOX", |mailbox| mailbox.expunge(5));
    server.fill("Work", &[moved]);
    let uid = server.mailbox("Work").messages.last().unwrap().uid;
    server.behave(|behaviour| behaviour.withheld = vec![uid]);
    // Other folders have a message of that UID as well.
    scene.run(&["--mirror"]).expect_code(3).expect_stderr("nothing was removed");
    assert_eq!(scene.mail()["INBOX"].values().sum::<usize>(), 60);
    server.behave(|behaviour| behaviour.withheld.clear());
    scene.run(&["--mirror"]).expect_code(0);
    assert_eq!(store::served(&server), scene.mail());
}
