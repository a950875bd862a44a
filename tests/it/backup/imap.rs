//! `backup` of IMAP accounts: what arrives, what follows, what stays; judged by the files, `sha256sum` and the server itself.

use std::path::PathBuf;

use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::store::{self, Layout, Letter, Mail};
use crate::support::tool::{Output, Tool};

/// A store and the accounts that go into it.
pub(super) struct Scene {
    pub(super) tool: Tool,
    pub(super) root: PathBuf,
}

impl Scene {
    pub(super) fn of(user: &User) -> Self {
        let tool = Tool::new();
        tool.account("work", user);
        Self::with(tool)
    }

    pub(super) fn with(tool: Tool) -> Self {
        let root = tool.path("store");
        Self { tool, root }
    }

    /// The account on a server in memory.
    pub(super) fn at(server: &Imapd) -> Self {
        let scene = Self::with(Tool::new());
        scene.tool.server("work", Some(&server.url()), None);
        scene
    }

    pub(super) fn run(&self, more: &[&str]) -> Output {
        let store = self.root.to_str().unwrap();
        let mut args = vec!["backup", "work", store, "--json", "--trace", "trace.log"];
        args.extend(more);
        self.tool.run(&args)
    }

    pub(super) fn ok(&self) -> serde_json::Value {
        let summary = self.run(&[]).expect_code(0).json();
        assert_eq!(summary["balanced"], true, "{summary:#}");
        store::sound(&self.root, Layout::Maildir, "after a run");
        store::journal_tells_the_truth(&self.root, Layout::Maildir, "after a run");
        summary
    }

    pub(super) fn mail(&self) -> Mail {
        store::mail(&self.root, "work", Layout::Maildir)
    }

    /// How many messages the last run read.
    pub(super) fn downloads(&self) -> usize {
        self.tool.read_trace().lines().filter(|line| line.contains("BODY[]") && !line.contains("PEEK")).count()
    }
}

pub(super) fn served(user: &User, folders: &[&str]) -> Mail {
    let mut mail = Mail::new();
    for &folder in folders {
        for message in user.messages(folder) {
            let flags = message.flags.into_iter().collect();
            let letter = Letter { content: mail::content_digest(&message.body), flags, date: message.internal_date };
            *mail.entry(folder.to_owned()).or_default().entry(letter).or_default() += 1;
        }
    }
    mail
}

pub(super) fn counts(summary: &serde_json::Value, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary:#}"))).collect()
}

#[test]
fn a_first_run_keeps_everything_and_a_second_one_has_nothing_to_do() {
    let user = dovecot_user!("backup-first");
    let mut bodies: Vec<Vec<u8>> = mail::nasty().into_iter().map(|(_, body)| body).collect();
    bodies.extend(mail::many(400, 3000));
    bodies.extend(mail::corpus().into_iter().map(|(_, body)| body));
    bodies.push(mail::huge());
    // Three identical ones are three messages.
    bodies.extend(vec![mail::plain(7, 100); 3]);
    user.deliver("INBOX", &bodies);
    let plants: Vec<Plant> = (0..20)
        .map(|number| Plant::new(mail::plain(number, 500)).flag("\\Seen").date(1_000_000_000 + i64::try_from(number).unwrap()))
        .collect();
    user.plant("Archive/2024", &plants);
    user.deliver("Entwürfe", &mail::many(3, 100));
    user.append("INBOX", &mail::plain(99, 100), &["$Work", "\\Answered"]);
    user.create("Empty");
    let scene = Scene::of(&user);
    let first = scene.ok();
    let folders = ["INBOX", "Archive/2024", "Entwürfe", "Empty"];
    assert_eq!(served(&user, &folders), scene.mail());
    assert_eq!(counts(&first, &["copied", "already_there", "quarantined"]), [bodies.len() as u64 + 24, 0, 0]);
    assert!(scene.root.join("work/.Empty/cur").is_dir());

    let before = store::untouched(&scene.root);
    let second = scene.ok();
    assert_eq!(counts(&second, &["copied", "already_there", "flags_changed", "gone"]), [0, bodies.len() as u64 + 24, 0, 0]);
    assert_eq!(store::untouched(&scene.root), before, "a run that finds nothing changed touches nothing");
    assert!(!scene.tool.read_trace().contains("EXAMINE"), "nothing was asked about folders that did not change");
}

#[test]
fn what_changes_on_the_server_follows_and_what_goes_is_kept() {
    let user = dovecot_user!("backup-incremental");
    user.deliver("INBOX", &mail::many(30, 300));
    user.deliver("Old", &mail::many(5, 300));
    let scene = Scene::of(&user);
    scene.ok();
    let kept = scene.mail();
    let mut client = user.client();
    client.select("INBOX").unwrap();
    client.uid_store("1:3", "+FLAGS (\\Seen $Work)").unwrap();
    client.uid_store("7", "+FLAGS (\\Deleted)").unwrap();
    client.expunge().unwrap();
    user.append("INBOX", &mail::plain(500, 300), &["\\Flagged"]);
    user.deliver("New", &mail::many(2, 200));
    let second = scene.ok();
    assert_eq!(counts(&second, &["copied", "flags_changed", "gone", "listed"]), [3, 3, 1, 30 + 5 + 2]);
    assert_eq!(scene.downloads(), 3, "{}", scene.tool.read_trace());
    let (now, there) = (scene.mail(), served(&user, &["INBOX", "Old", "New"]));
    for (folder, letters) in &there {
        for letter in letters.keys() {
            assert!(now[folder].contains_key(letter), "{folder}: {letter:?}");
        }
    }
    assert_eq!(now["INBOX"].values().sum::<usize>(), 31, "what is gone is kept");
    assert_eq!(now["Old"], kept["Old"]);
    let third = scene.ok();
    assert_eq!(counts(&third, &["copied", "flags_changed", "gone"]), [0, 0, 0]);
}

#[test]
fn servers_with_and_without_extensions_give_the_same_store() {
    let sets: [&[&str]; 4] = [
        &[],
        &["ENABLE", "CONDSTORE"],
        &["ENABLE", "CONDSTORE", "LIST-EXTENDED", "LIST-STATUS", "ESEARCH"],
        &["ENABLE", "CONDSTORE", "QRESYNC", "LIST-EXTENDED", "LIST-STATUS", "ESEARCH", "OBJECTID"],
    ];
    for set in sets {
        let server = Imapd::start(set.iter().fold(Behaviour::default(), |behaviour, name| behaviour.with(name)));
        server.fill("INBOX", &mail::many(300, 200));
        server.fill("Work", &[mail::plain(1, 100), mail::plain(1, 100), mail::plain(2, 100)]);
        let scene = Scene::at(&server);
        let first = scene.ok();
        assert_eq!(counts(&first, &["copied"]), [303], "{set:?}");
        assert_eq!(store::served(&server), scene.mail(), "{set:?}");
        server.change("INBOX", |mailbox| {
            mailbox.reflag(3, "\\Seen");
            mailbox.reflag(4, "$Later");
            (100..110).for_each(|uid| mailbox.expunge(uid));
        });
        server.fill("INBOX", &mail::many(2, 900));
        let second = scene.ok();
        assert_eq!(counts(&second, &["copied", "flags_changed", "gone"]), [2, 2, 10], "{set:?}");
        assert_eq!(store::live(&scene.root), store::live_served(&server), "{set:?}");
        let third = scene.ok();
        assert_eq!(counts(&third, &["copied", "flags_changed", "gone"]), [0, 0, 0], "{set:?}");
    }
}

#[test]
fn a_new_uidvalidity_brings_nothing_twice_and_reads_but_a_sample() {
    let server = Imapd::start(Behaviour::default());
    let mut bodies = mail::many(200, 300);
    bodies.extend(vec![mail::plain(900, 100); 3]);
    server.fill("INBOX", &bodies);
    let scene = Scene::at(&server);
    scene.ok();
    let before = scene.mail();
    server.change("INBOX", |mailbox| {
        mailbox.expunge(5);
        mailbox.renumber();
        mailbox.reflag(1, "\\Answered");
    });
    server.fill("INBOX", &[mail::plain(901, 100)]);
    let second = scene.ok();
    assert_eq!(counts(&second, &["copied", "already_there", "gone"]), [1, 202, 1]);
    assert!(scene.downloads() <= 21 + 1, "{} were read", scene.downloads());
    assert_eq!(scene.mail()["INBOX"].values().sum::<usize>(), before["INBOX"].values().sum::<usize>() + 1);
    assert_eq!(store::live(&scene.root), store::live_served(&server));
    let third = scene.ok();
    assert_eq!(counts(&third, &["copied", "gone"]), [0, 0]);
}

#[test]
fn messages_whose_headers_are_alike_are_told_apart_by_what_is_read() {
    let server = Imapd::start(Behaviour::default());
    // The same header, date and size, and another body: a sample does not show it.
    let bodies: Vec<Vec<u8>> = (0..100_u64).map(|number| format!("Subject: same\r\n\r\nbody {number:03}\r\n").into_bytes()).collect();
    server.fill("INBOX", &bodies);
    let scene = Scene::at(&server);
    scene.ok();
    server.change("INBOX", |mailbox| mailbox.renumber());
    let second = scene.ok();
    assert_eq!(counts(&second, &["copied", "already_there", "gone"]), [0, 100, 0]);
    assert_eq!(store::live(&scene.root), store::live_served(&server));
    assert_eq!(store::served(&server), scene.mail());
}

#[test]
fn a_message_that_vanishes_before_it_is_read_is_counted_and_no_error() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(10, 300));
    let scene = Scene::at(&server);
    server.behave(|behaviour| behaviour.vanish = Some(("UID FETCH".to_owned(), 4)));
    let summary = scene.ok();
    assert_eq!(counts(&summary, &["listed", "copied", "vanished"]), [10, 9, 1]);
}

#[test]
fn a_message_that_kills_the_session_is_put_aside_and_fetched_once_it_can_be() {
    let server = Imapd::start(Behaviour { hang_up_at_uid: Some(40), ..Behaviour::default() });
    server.fill("INBOX", &mail::many(100, 300));
    let mut tool = Tool::new();
    tool.use_clock();
    let scene = Scene::with(tool);
    scene.tool.server("work", Some(&server.url()), None);
    let summary = scene.run(&[]).expect_code(3).json();
    assert_eq!(counts(&summary, &["listed", "copied", "quarantined"]), [100, 99, 1]);
    assert_eq!(summary["problems"][0]["uid"], 40, "{summary:#}");
    store::sound(&scene.root, Layout::Maildir, "with one put aside");
    // Once is enough to see that it still does.
    let connections = server.connections();
    let again = scene.run(&[]).expect_code(3).json();
    assert_eq!(counts(&again, &["copied", "quarantined"]), [0, 1]);
    assert!(server.connections() - connections <= 2);
    server.behave(|behaviour| behaviour.hang_up_at_uid = None);
    let healed = scene.ok();
    assert_eq!(counts(&healed, &["copied", "already_there", "quarantined"]), [1, 99, 0]);
    assert_eq!(store::served(&server), scene.mail());
    assert_eq!(counts(&scene.ok(), &["copied"]), [0]);
}

#[test]
fn several_connections_share_the_work_and_fewer_do_where_the_server_says_so() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(600, 500));
    for number in 0..5 {
        server.fill(&format!("Folder {number}"), &mail::many(80, 200));
    }
    let scene = Scene::with(Tool::new());
    let url = format!("{}&connections=4", server.url());
    scene.tool.server("work", Some(&url), None);
    scene.ok();
    assert_eq!(server.connections(), 4);
    assert_eq!(store::served(&server), scene.mail());
}
