//! Backups from servers that lie about what they have, and of stores that somebody else prepared: nothing is taken for kept that is
//! not, nothing outside the store is touched, memory stays bounded.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

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
    server.change("INBOX", crate::support::imapd::Mailbox::renumber);
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

/// A store of two accounts' worth of folders.
fn kept_store(tool: &Tool) -> Imapd {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &alike(0..4));
    server.fill("A", &alike(10..13));
    tool.server("work", Some(&server.url()), None);
    tool.run(&["backup", "work", "store"]).expect_code(0);
    server
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All that can be done around a store, none of it destructive on purpose.
const VERBS: [&[&str]; 6] = [
    &["backup", "work", "store"],
    &["status", "store", "--json"],
    &["verify", "store"],
    &["restore", "store", "maildir:out", "--dry-run"],
    &["verify", "store", "work", "--repair"],
    &["rebuild", "store", "work"],
];

#[test]
fn whatever_is_planted_in_a_store_is_neither_followed_nor_waited_for() {
    let mut tool = Tool::new();
    tool.set_deadline(Duration::from_secs(60));
    let server = kept_store(&tool);
    // What has come since has to be written somewhere.
    server.fill("INBOX", &alike(20..21));
    server.fill("A", &alike(30..31));
    fs::rename(tool.path("store"), tool.path("sound")).unwrap();
    let (file, dir) = (tool.path("victim"), tool.path("victims"));
    fs::write(&file, "precious").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(&dir).unwrap();
    // One kind of thing for each name; the others are as good.
    let names = [
        "work",
        "work/cur",
        "work/tmp",
        "work/.A",
        "work/.A/tmp",
        "work/dovecot-keywords",
        "work.sha256",
        ".mailhaul/store",
        ".mailhaul/lock",
        ".mailhaul/journal.db",
        ".mailhaul/runs",
        ".mailhaul/runs.tmp",
        ".mailhaul/progress.json",
        ".mailhaul/anew",
    ];
    for (at, name) in names.into_iter().enumerate() {
        for kind in [["file", "directory", "nothing"][at % 3], "fifo"] {
            copy_tree(&tool.path("sound"), &tool.path("store"));
            let place = tool.path("store").join(name);
            let _ = fs::remove_dir_all(&place).or_else(|_| fs::remove_file(&place));
            match kind {
                "fifo" => assert!(std::process::Command::new("mkfifo").arg(&place).status().unwrap().success()),
                "file" => symlink(&file, &place).unwrap(),
                "directory" => symlink(&dir, &place).unwrap(),
                _ => symlink(tool.path("nowhere"), &place).unwrap(),
            }
            for verb in VERBS {
                let output = tool.run(verb);
                assert!([0, 1, 2, 3, 7, 10].contains(&output.code), "{name} {kind} {verb:?}: {output}");
                assert!(output.code == 0 || !output.stderr.is_empty(), "{name} {kind} {verb:?}: {output}");
            }
            let untouched = fs::read(&file).unwrap() == b"precious" && fs::metadata(&file).unwrap().permissions().mode() & 0o777 == 0o644;
            assert!(untouched && fs::read_dir(&dir).unwrap().next().is_none() && !tool.path("nowhere").exists(), "{name} {kind}");
            fs::remove_dir_all(tool.path("store")).unwrap();
        }
    }
}

#[test]
fn a_journal_with_impossible_rows_ends_verbs_with_an_error_and_no_terminal_is_steered() {
    let tool = Tool::new();
    let _server = kept_store(&tool);
    fs::rename(tool.path("store"), tool.path("sound")).unwrap();
    let evil = "'evil\u{1b}]0;x\u{7}\u{1b}[2J'";
    let columns = [
        ("folder", "messages"),
        ("folder", "gone"),
        ("folder", "mark_messages"),
        ("folder", "name"),
        ("file", "octets"),
        ("file", "length"),
        ("file", "stem"),
        ("file", "date_seconds"),
        ("entry", "uid"),
        ("entry", "flags"),
        ("entry", "gone_at"),
        ("run", "started"),
        ("run", "error"),
        ("account", "name"),
        ("meta", "store"),
    ];
    for (table, column) in columns {
        for value in ["9223372036854775807", "-1", evil] {
            copy_tree(&tool.path("sound"), &tool.path("store"));
            let db = rusqlite::Connection::open(tool.path("store/.mailhaul/journal.db")).unwrap();
            db.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").unwrap();
            let one = format!("UPDATE {table} SET {column} = {value} WHERE rowid = (SELECT min(rowid) FROM {table})");
            // A column of numbers takes no text.
            let done = db.execute_batch(&one);
            drop(db);
            let prune: &[&str] = &["prune", "store", "--gone-for", "1d"];
            for verb in [prune].iter().chain(&VERBS).filter(|verb| done.is_ok() && verb[0] != "rebuild") {
                let output = tool.run(verb);
                assert!([0, 1, 2, 3, 5, 7, 10].contains(&output.code), "{table}.{column} = {value}, {verb:?}: {output}");
                let escaped = output.stderr.contains('\u{1b}') || output.stdout.contains(&0x1b);
                assert!(!escaped && !output.stderr.contains("panicked"), "{table}.{column} = {value}, {verb:?}: {output}");
            }
            assert!(!tool.path("x").exists());
            fs::remove_dir_all(tool.path("store")).unwrap();
            let _ = fs::remove_dir_all(tool.path("out"));
        }
    }
}

#[test]
fn a_journal_made_anew_of_no_files_at_all_can_be_used() {
    let tool = Tool::new();
    let _server = kept_store(&tool);
    fs::remove_dir_all(tool.path("store/work")).unwrap();
    tool.run(&["rebuild", "store"]).expect_code(0);
    tool.run(&["status", "store"]).expect_code(0);
    tool.run(&["backup", "work", "store"]).expect_code(0);
    tool.run(&["verify", "store"]).expect_code(0);
}

#[test]
fn a_hook_after_a_restore_into_files_inherits_no_password() {
    let mut tool = Tool::new();
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &alike(0..1));
    tool.set_env("PASS_VARIABLE", crate::support::canary());
    tool.config(&format!("[accounts.work]\nimap = \"{}\"\npassword-env = \"PASS_VARIABLE\"\n", server.url()));
    tool.run(&["backup", "work", "store"]).expect_code(0);
    tool.run(&["restore", "store", "maildir:out", "--on-success", "env > told"]).expect_code(0);
    let environment = fs::read_to_string(tool.path("told")).unwrap();
    assert!(environment.contains("MAILHAUL_VERB=restore") && !environment.contains("PASS_VARIABLE"), "{environment}");
}

/// Answers to a mailbox that claims to be enormous, or to change without end.
#[test]
fn a_backup_believes_no_server_so_far_that_it_walks_or_holds_four_thousand_million_messages() {
    type Twist = fn(&str, &str) -> Option<String>;
    let vast: Twist = |verb, _| match verb {
        "EXAMINE" => Some("* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 4294967295] ok\r\n$tag OK\r\n".to_owned()),
        "UID SEARCH" => Some("* ESEARCH UID ALL 1:4294967295\r\n$tag OK\r\n".to_owned()),
        _ => None,
    };
    // The count fits the range, and no listing tells of any of them.
    let claimed: Twist = |verb, _| match verb {
        "EXAMINE" => Some("* 60000 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 60001] ok\r\n$tag OK\r\n".to_owned()),
        "UID SEARCH" => Some("* ESEARCH UID ALL 1:60000\r\n$tag OK\r\n".to_owned()),
        "UID FETCH" => Some("$tag OK\r\n".to_owned()),
        _ => None,
    };
    let vanished: Twist = |verb, _| match verb {
        "EXAMINE" => Some(format!(
            "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n{}$tag OK\r\n",
            "* VANISHED (EARLIER) 1:4294967295\r\n* VANISHED 1:4294967295\r\n".repeat(5000)
        )),
        "UID SEARCH" => Some("* VANISHED 1:4294967295\r\n* ESEARCH UID ALL 1:2\r\n$tag OK\r\n".to_owned()),
        _ => None,
    };
    let folders: Twist = |verb, _| match verb {
        "STATUS" => Some(
            "* STATUS INBOX (MESSAGES 18446744073709551615 UIDNEXT 4294967295 UIDVALIDITY 4294967295)\r\n".repeat(1000) + "$tag OK\r\n",
        ),
        _ => None,
    };
    for (name, twist) in [("vast", vast), ("claimed", claimed), ("vanished", vanished), ("folders", folders)] {
        let server = Odd::start("ESEARCH ENABLE QRESYNC CONDSTORE", &alike(0..2), move |asked| {
            twist(asked.verb, asked.rest).map_or(Answer::Usual, |text| Answer::send(&text))
        });
        let mut tool = Tool::new();
        // Between the sessions of a server that keeps failing.
        tool.use_clock();
        let (url, password) = (server.url_with("timeout=20s"), tool.password_file());
        for round in 0..2 {
            let running = tool.spawn(&["backup", &url, "store", "--password-file", password.to_str().unwrap(), "--json"], None);
            let peak = peak_memory(running.id());
            let output = running.finish();
            let peak = peak.join().unwrap();
            assert!(peak > 0 && peak < MEMORY, "{name}: {peak} KiB, {output}");
            let code = if name == "vast" { 6 } else { output.code };
            assert!(output.code == code && [0, 3, 6, 10].contains(&code), "{name} {round}: {output}");
        }
        tool.run(&["status", "store", "--json"]);
    }
}

#[test]
fn a_maildir_full_of_strange_names_is_verified_in_bounded_memory_and_its_own_files_are_told_apart() {
    use std::os::unix::ffi::OsStrExt;
    let tool = Tool::new();
    let _server = kept_store(&tool);
    let cur = tool.path("store").join("work/cur");
    for number in 0..20_000 {
        let name = [format!("{number}.").as_bytes(), b"\xff\xfe\x1b[2J:2,S"].concat();
        fs::write(cur.join(std::ffi::OsStr::from_bytes(&name)), "").unwrap();
    }
    // A name as ours, of a message that nobody knows.
    fs::write(cur.join("1600000000.V7U99.0123456789abcdef,S=3:2,"), "odd").unwrap();
    let running = tool.spawn(&["verify", "store", "--json"], None);
    let peak = peak_memory(running.id());
    let output = running.finish().expect_code(1);
    let peak = peak.join().unwrap();
    assert!(peak > 0 && peak < MEMORY, "{peak} KiB");
    let told = output.json();
    assert_eq!((&told["extra"], &told["ok"], &told["missing"]), (&20_001.into(), &7.into(), &0.into()), "{}", &output.text()[..500]);
    let findings = told["problems"].as_array().unwrap();
    assert!(findings.len() < 1100 && findings.iter().any(|finding| finding["path"].as_str().is_some_and(|path| path.contains("V7U99"))));
    tool.run(&["backup", "work", "store"]).expect_code(0);
}

#[test]
fn a_manifest_without_an_end_takes_no_memory() {
    let tool = Tool::new();
    let _server = kept_store(&tool);
    let manifest = fs::File::create(tool.path("store/work.sha256")).unwrap();
    manifest.set_len(1 << 34).unwrap();
    let running = tool.spawn(&["verify", "store"], None);
    let peak = peak_memory(running.id());
    running.finish().expect_code(1).expect_stderr("manifest");
    let peak = peak.join().unwrap();
    assert!(peak > 0 && peak < MEMORY, "{peak} KiB");
}
