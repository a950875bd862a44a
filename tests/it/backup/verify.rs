//! Looks at a store, repairs and rebuilds: what is wrong is named, and nothing that is right is touched. Judged by the files,
//! the server and the journal as SQLite shows it.

mod rebuild;
mod zoo;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::scene::{From, Kind, Scene};
use crate::support::store::Layout;
use crate::support::tool::Output;

/// How a kind of damage shows.
#[derive(Debug, Clone, Copy)]
struct Named {
    /// The exit code of a look.
    code: i32,
    /// The kind of each finding, or (where a look cannot begin) words of the error.
    finding: &'static str,
    /// How many findings at least.
    count: usize,
}

fn found(finding: &'static str) -> Named {
    Named { code: 1, finding, count: 1 }
}

fn refused(code: i32, words: &'static str) -> Named {
    Named { code, finding: words, count: 0 }
}

fn made(kind: Kind, layout: Layout) -> Scene {
    let scene = Scene::new(kind, layout, 40, 300);
    scene.run().expect_code(0);
    // A second run, so that every folder was passed by a complete one.
    scene.run().expect_code(0);
    scene
}

fn verify(scene: &Scene, more: &[&str]) -> Output {
    let mut args = vec!["verify", scene.at];
    args.extend(more);
    args.push("--json");
    scene.tool.run(&args)
}

#[track_caller]
fn expect_clean(scene: &Scene, case: &str) {
    for more in [&[][..], &["work"], &["work", "--full"]] {
        let output = verify(scene, more);
        assert_eq!(output.code, 0, "{case}: verify {more:?}: {output}");
        let json = output.json();
        assert_eq!(json["checked"], json["ok"], "{case}: {json:#}");
        assert_eq!(json["problems"].as_array().unwrap().len(), 0, "{case}: {json:#}");
    }
}

/// All files of messages below a directory of the account.
fn files(scene: &Scene, below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&scene.root().join("work").join(below), &mut found);
    found.sort();
    found
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            if name != "tmp" && name != ".mailhaul-tmp" {
                walk(&entry.path(), found);
            }
        } else if name.contains(".V") || name.contains(".P") {
            found.push(entry.path());
        }
    }
}

/// A file in the middle, away from the ends of all lists.
fn one(scene: &Scene) -> PathBuf {
    let all = files(scene, "");
    all[all.len() / 2].clone()
}

fn sql(scene: &Scene, text: &str) {
    let path = scene.root().join(".mailhaul/journal.db");
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    db.execute_batch(text).unwrap();
}

fn state(scene: &Scene, name: &str) -> PathBuf {
    scene.root().join(".mailhaul").join(name)
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Makes the sums of the journal fit again after rows were taken away, so that nothing but the row is missed.
fn recount(scene: &Scene) {
    sql(
        scene,
        "UPDATE folder SET
         messages = (SELECT count(*) FROM entry JOIN era ON era.id = entry.era WHERE era.folder = folder.id AND entry.gone_at IS NULL),
         octets = (SELECT coalesce(sum(octets), 0) FROM file WHERE file.folder = folder.id)",
    );
}

fn arrive(scene: &mut Scene) {
    match &scene.from {
        From::Imap(_) => super::scene::put(scene.imapd(), "INBOX", (500..504).map(|number| super::scene::letter(number, 200)).collect()),
        From::Pop3(server) => server.maildrop(|maildrop| {
            for number in 0..3 {
                let body = crate::support::mail::plain(500 + number, 200);
                maildrop.push(crate::support::pop3d::Entry { uidl: format!("late{number}"), body });
            }
        }),
    }
}

#[track_caller]
fn expect_named(scene: &Scene, named: Named, case: &str) {
    let output = verify(scene, &[]);
    assert_eq!(output.code, named.code, "{case}: {output}");
    if named.code != 1 {
        assert!(format!("{output}").contains(named.finding), "{case}: {output}");
        return;
    }
    let json = output.json();
    let findings: Vec<&Value> = json["problems"].as_array().unwrap().iter().filter(|one| one["kind"] == named.finding).collect();
    assert!(findings.len() >= named.count, "{case}: {json:#}");
    for finding in findings {
        assert_eq!(finding["repaired"], false, "{case}");
        assert!(!finding["reason"].as_str().unwrap().is_empty(), "{case}");
        if matches!(named.finding, "missing" | "damaged") {
            assert_eq!(finding["account"], "work", "{case}: {finding}");
            assert!(finding["folder"].is_string(), "{case}: {finding}");
            assert!(!matches!(scene.from, From::Imap(_)) || finding["uid"].is_u64(), "{case}: {finding}");
        }
    }
}

impl Scene {
    /// A run after a repair copies nothing; a journal made anew may cost a sample that is read for proof.
    #[track_caller]
    fn expect_idle_or_proved(&self, case: &str) {
        let summary = self.run().expect_code(0).json();
        for count in ["copied", "gone", "quarantined", "refused", "unknown"] {
            assert_eq!(summary[count], 0, "{case}: {count}: {summary:#}");
        }
    }
}

#[test]
fn a_wrong_uidvalidity_in_the_journal_is_named_and_the_files_names_win() {
    for layout in [Layout::Maildir, Layout::Eml] {
        let scene = made(Kind::Modern, layout);
        sql(
            &scene,
            "UPDATE era SET uid_validity = uid_validity + 1000 WHERE id = (SELECT min(id) FROM era); UPDATE folder SET mark_uid_validity = mark_uid_validity + 1000 WHERE era = (SELECT min(id) FROM era)",
        );
        expect_named(&scene, found("contradiction"), "wrong UIDVALIDITY");
        verify(&scene, &["work", "--repair"]).expect_code(0);
        scene.expect_idle_or_proved("wrong UIDVALIDITY");
        expect_clean(&scene, "wrong UIDVALIDITY");
        scene.expect_right("wrong UIDVALIDITY");
    }
}

#[test]
fn what_mail_programs_do_to_a_maildir_is_no_damage() {
    let scene = made(Kind::Modern, Layout::Maildir);
    let (first, second) = (files(&scene, "cur").remove(0), files(&scene, "cur").remove(1));
    let name = first.file_name().unwrap().to_str().unwrap();
    let stem = name.split(":2,").next().unwrap();
    std::fs::rename(&first, first.with_file_name(format!("{stem}:2,FRS"))).unwrap();
    let name = second.file_name().unwrap().to_str().unwrap();
    let stem = name.split(":2,").next().unwrap();
    std::fs::rename(&second, scene.root().join("work/new").join(stem)).unwrap();
    expect_clean(&scene, "re-flagged and moved to new");
}

#[test]
fn a_file_moved_to_another_folder_is_named_and_followed() {
    for layout in [Layout::Maildir, Layout::Eml] {
        let scene = made(Kind::Modern, layout);
        let below = |folder: &str| if layout == Layout::Maildir { format!("work/.{folder}/cur") } else { format!("work/{folder}") };
        let file = files(&scene, if layout == Layout::Maildir { ".Work" } else { "Work" }).remove(0);
        std::fs::rename(&file, scene.root().join(below("Sent")).join(file.file_name().unwrap())).unwrap();
        expect_named(&scene, found("missing"), "moved");
        expect_named(&scene, found("extra"), "moved");
        let json = verify(&scene, &["work", "--repair"]).expect_code(0).json();
        assert_eq!(json["repaired"], 2, "{json:#}");
        expect_clean(&scene, "moved");
        scene.expect_idle_or_proved("moved");
        expect_clean(&scene, "moved, and a run later");
    }
}

#[test]
fn a_file_of_another_program_is_named_and_left() {
    let scene = made(Kind::Modern, Layout::Maildir);
    let strange = scene.root().join("work/new/1700000000.M1P2.host");
    std::fs::write(&strange, "Subject: hello\n\nworld\n").unwrap();
    for more in [&[][..], &["work", "--repair"]] {
        let json = verify(&scene, more).expect_code(1).json();
        assert_eq!((json["extra"].as_u64(), json["damaged"].as_u64(), json["missing"].as_u64()), (Some(1), Some(0), Some(0)), "{json:#}");
        assert_eq!(json["problems"][0]["path"], "work/new/1700000000.M1P2.host");
    }
    assert!(strange.exists());
}

#[test]
fn a_damaged_file_is_moved_aside_and_never_replaced_by_another_message() {
    let scene = made(Kind::Modern, Layout::Maildir);
    let file = files(&scene, "cur").remove(3);
    rewrite(&file, |bytes| bytes[10] ^= 1);
    let damaged = std::fs::read(&file).unwrap();
    // Without the account there is nothing to fetch from.
    let json = verify(&scene, &["--repair"]).expect_code(1).json();
    assert!(json["problems"][0]["reason"].as_str().unwrap().contains("name the account"), "{json:#}");
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
    // The server has another message under that UID now: the file stays as it is.
    let uid = json["problems"][0]["uid"].as_u64().unwrap();
    let keep = scene.imapd().mailbox("INBOX");
    scene.imapd().change("INBOX", |mailbox| {
        mailbox
            .messages
            .iter_mut()
            .filter(|message| u64::from(message.uid) == uid)
            .for_each(|message| message.body = b"A: b\r\n\r\nother\r\n".to_vec());
    });
    let json = verify(&scene, &["work", "--repair"]).expect_code(1).json();
    assert!(json["problems"][0]["reason"].as_str().unwrap().contains("another message"), "{json:#}");
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
    // Nor is it when the server has it no more.
    scene.imapd().change("INBOX", |mailbox| mailbox.messages.retain(|message| u64::from(message.uid) != uid));
    let json = verify(&scene, &["work", "--repair"]).expect_code(1).json();
    assert!(json["problems"][0]["reason"].as_str().unwrap().contains("no more"), "{json:#}");
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
    scene.imapd().change("INBOX", |mailbox| *mailbox = keep);
    verify(&scene, &["work", "--repair"]).expect_code(0);
    let aside = std::fs::read_dir(state(&scene, "damaged")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(aside).unwrap(), damaged);
    expect_clean(&scene, "after");
}

#[test]
fn a_sample_reads_what_it_says_and_looks_for_all() {
    let scene = made(Kind::Modern, Layout::Maildir);
    let json = verify(&scene, &["--sample", "5%"]).expect_code(0).json();
    assert_eq!((json["sample"]["files"].as_u64(), json["sample"]["of"].as_u64(), json["checked"].as_u64()), (Some(2), Some(40), Some(40)));
    std::fs::remove_file(one(&scene)).unwrap();
    verify(&scene, &["--sample", "1"]).expect_code(1);
    // Every file read, a sample is the whole.
    rewrite(&files(&scene, "cur")[0].clone(), |bytes| bytes[5] ^= 4);
    assert_eq!(verify(&scene, &["--sample", "100%"]).expect_code(1).json()["damaged"], 1);
}

#[test]
fn mail_that_came_since_is_not_yet_backed_up_and_mail_that_was_passed_is_missing() {
    let mut scene = made(Kind::Modern, Layout::Maildir);
    arrive(&mut scene);
    let json = verify(&scene, &["work"]).expect_code(1).json();
    assert_eq!(
        (json["not_yet_backed_up"].as_u64(), json["missing"].as_u64(), json["on_server"].as_u64()),
        (Some(4), Some(0), Some(44)),
        "{json:#}"
    );
    scene.run().expect_code(0);
    expect_clean(&scene, "after the backup");
    // A row and its file are gone, and a complete run passed the message.
    let file = files(&scene, "cur").remove(0);
    let uid: u32 = file.to_str().unwrap().split('U').next_back().unwrap().split('.').next().unwrap().parse().unwrap();
    std::fs::remove_file(&file).unwrap();
    sql(
        &scene,
        &format!(
            "CREATE TEMP TABLE victim AS SELECT entry.file FROM entry JOIN era ON era.id = entry.era JOIN folder ON folder.id = era.folder
        WHERE folder.name = 'INBOX' AND uid = {uid};
        DELETE FROM entry WHERE file IN (SELECT file FROM victim); DELETE FROM file WHERE id IN (SELECT file FROM victim)"
        ),
    );
    recount(&scene);
    let json = verify(&scene, &["work"]).expect_code(1).json();
    assert_eq!(json["missing"], 1, "{json:#}");
    let finding = json["problems"].as_array().unwrap().iter().find(|one| one["kind"] == "not_stored").unwrap();
    assert_eq!((finding["folder"].as_str(), finding["uid"].as_u64()), (Some("INBOX"), Some(u64::from(uid))));
}

#[test]
fn a_full_comparison_tells_another_message_under_the_same_uid() {
    let scene = made(Kind::Plain, Layout::Maildir);
    scene.imapd().change("Sent", |mailbox| mailbox.messages[0].body = b"Subject: x\r\n\r\nanother\r\n".to_vec());
    verify(&scene, &["work"]).expect_code(0);
    let json = verify(&scene, &["work", "--full"]).expect_code(1).json();
    assert_eq!((json["different"].as_u64(), json["problems"][0]["folder"].as_str()), (Some(1), Some("Sent")), "{json:#}");
}

#[test]
fn an_account_that_the_store_does_not_have_is_a_usage_error_naming_those_it_has() {
    let scene = made(Kind::Plain, Layout::Maildir);
    let output = scene.tool.run(&["verify", scene.at, "imap://bob@127.0.0.1:1?tls=none"]);
    assert_eq!(output.code, 2, "{output}");
    assert!(format!("{output}").contains("it has work"), "{output}");
    for args in [&["verify", "nothing-here"][..], &["rebuild", "nothing-here"]] {
        assert_eq!(scene.tool.run(args).code, 2);
    }
}

#[test]
fn a_look_changes_nothing_and_needs_no_right_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let scene = made(Kind::Modern, Layout::Maildir);
    let before = crate::support::store::untouched(&scene.root());
    let close = |mode: u32| {
        for dir in [scene.root(), state(&scene, "")] {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    verify(&scene, &["work"]).expect_code(0);
    assert_eq!(crate::support::store::untouched(&scene.root()), before);
    close(0o500);
    let output = verify(&scene, &[]);
    close(0o700);
    output.expect_code(0);
}

#[test]
fn a_look_during_a_run_says_so_and_exits_with_9() {
    let scene = made(Kind::Plain, Layout::Maildir);
    let lock = std::fs::File::open(state(&scene, "lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    for more in [&[][..], &["--repair"]] {
        let output = verify(&scene, more);
        assert_eq!(output.code, 9, "{output}");
    }
    assert_eq!(scene.tool.run(&["rebuild", scene.at]).code, 9);
}

#[test]
fn damage_to_an_mbox_store_is_named_and_its_messages_are_fetched_again() {
    let flip: fn(&Path) = |path| {
        rewrite(path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    };
    let cut: fn(&Path) = |path| rewrite(path, |bytes| bytes.truncate(bytes.len() - 40));
    let lose: fn(&Path) = |path| std::fs::remove_file(path).unwrap();
    for (case, damage) in [("flipped bit", flip), ("truncated", cut), ("missing file", lose)] {
        let scene = made(Kind::Plain, Layout::Mbox);
        expect_clean(&scene, case);
        let lying = crate::support::store::lying(&scene.root(), "work", Layout::Mbox);
        let path = lying.iter().find(|one| one.folder == "INBOX").unwrap().path.clone();
        damage(&scene.root().join(path.split("//").next().unwrap().split('#').next().unwrap()));
        let json = verify(&scene, &[]).expect_code(1).json();
        assert!(json["damaged"].as_u64().unwrap() + json["missing"].as_u64().unwrap() > 0, "{case}: {json:#}");
        verify(&scene, &["work", "--repair"]);
        let json = verify(&scene, &["work", "--full"]).json();
        assert_eq!(
            (json["damaged"].as_u64(), json["missing"].as_u64(), json["different"].as_u64()),
            (Some(0), Some(0), Some(0)),
            "{case}: {json:#}"
        );
        scene.expect_idle_or_proved(case);
    }
}
