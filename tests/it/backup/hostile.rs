//! Backups from servers that lie about what they have, and of stores that somebody else prepared: nothing is taken for kept that is
//! not, nothing outside the store is touched, memory stays bounded.

use std::collections::BTreeSet;

use super::imap::Scene;
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Odd, peak_memory};
use crate::support::tool::Tool;

/// KiB; these are debug builds.
const MEMORY: u64 = 64 * 1024;

/// A server that gives ids to mailboxes and messages.
fn with_ids() -> Behaviour {
    let mut behaviour = Behaviour::default();
    behaviour.capabilities.push("OBJECTID".to_owned());
    behaviour
}

/// Messages of one size and, on the server in memory, of one date.
fn alike(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("Subject: number {number:06}\r\n\r\nbody of {number:06}\r\n").into_bytes()).collect()
}

/// The contents that lie in a folder of the store.
fn kept(scene: &Scene, folder: &str) -> BTreeSet<String> {
    scene.mail().get(folder).into_iter().flatten().map(|(letter, _)| format!("{:?}", letter.content)).collect()
}

fn expect_all_kept(scene: &Scene, server: &Imapd, folder: &str, case: &str) {
    let kept = kept(scene, folder);
    let missing: Vec<_> =
        server.bodies(folder).into_iter().filter(|body| !kept.contains(&format!("{:?}", mail::content_digest(body)))).collect();
    assert!(missing.is_empty(), "{case}: {} messages are in no file, such as {:?}", missing.len(), String::from_utf8_lossy(&missing[0]));
}

#[test]
fn an_emailid_that_all_messages_have_stands_for_none_of_them() {
    // Whether the sizes agree, and whether the store could tell that the id says nothing.
    for (first, other) in
        [(1, "Subject: another\r\n\r\nlonger than the others by far\r\n".to_owned()), (1, String::new()), (40, String::new())]
    {
        let server = Imapd::start(with_ids());
        server.behave(|behaviour| behaviour.same_email_ids = true);
        server.fill("INBOX", &alike(0..first));
        let scene = Scene::at(&server);
        scene.ok();
        let bodies = if other.is_empty() { alike(100..150) } else { vec![other.clone().into_bytes()] };
        server.change("INBOX", |mailbox| {
            mailbox.messages.clear();
            mailbox.renumber();
        });
        server.fill("INBOX", &bodies);
        scene.ok();
        expect_all_kept(&scene, &server, "INBOX", &format!("{first} and {other:?}"));
    }
}

#[test]
fn under_a_new_uidvalidity_emailids_save_all_but_a_sample() {
    let server = Imapd::start(with_ids());
    server.fill("INBOX", &alike(0..100));
    let scene = Scene::at(&server);
    scene.ok();
    server.change("INBOX", |mailbox| mailbox.renumber());
    std::fs::remove_file(scene.tool.trace()).unwrap();
    let summary = scene.ok();
    assert_eq!((&summary["copied"], scene.downloads() <= 20), (&0.into(), true), "{} downloads", scene.downloads());
    expect_all_kept(&scene, &server, "INBOX", "renumbered");
}

#[test]
fn a_mailboxid_that_another_folder_got_renames_nothing_whose_messages_are_others() {
    let server = Imapd::start(with_ids());
    server.fill("INBOX", &alike(0..3));
    server.fill("A", &alike(10..20));
    let scene = Scene::at(&server);
    scene.ok();
    let old = server.mailbox("A");
    server.remove("A");
    server.fill("B", &alike(30..40));
    server.change("B", |mailbox| {
        mailbox.uid_validity = old.uid_validity;
        mailbox.id = old.id;
    });
    scene.run(&[]);
    expect_all_kept(&scene, &server, "B", "another folder");
}
