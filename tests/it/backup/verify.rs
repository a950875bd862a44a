//! The damage zoo: every kind of damage to a store is named, and what can be put right is, so that the next backup copies nothing and a
//! further look finds nothing. Judged by the files, the server and the journal as SQLite shows it.

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

type Damage = (&'static str, fn(&mut Scene), Named);

/// What can be put right whole.
fn mendable() -> Vec<Damage> {
    vec![
        ("missing file", |scene| std::fs::remove_file(one(scene)).unwrap(), found("missing")),
        (
            "flipped bit",
            |scene| {
                rewrite(&one(scene), |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                });
            },
            found("damaged"),
        ),
        ("truncated", |scene| rewrite(&one(scene), |bytes| bytes.truncate(bytes.len() / 2)), found("damaged")),
        ("emptied", |scene| rewrite(&one(scene), Vec::clear), found("damaged")),
        (
            "every file of a folder missing",
            |scene| {
                for file in files(scene, if scene.layout == Layout::Maildir { ".Work" } else { "Work" }) {
                    std::fs::remove_file(file).unwrap();
                }
            },
            Named { code: 1, finding: "missing", count: 3 },
        ),
        (
            "lost row",
            |scene| {
                sql(
                    scene,
                    "CREATE TEMP TABLE victim AS SELECT file, era FROM entry ORDER BY id LIMIT 1 OFFSET 5;
                     DELETE FROM entry WHERE file IN (SELECT file FROM victim);
                     DELETE FROM file WHERE id IN (SELECT file FROM victim);",
                );
                recount(scene);
            },
            found("extra"),
        ),
        ("lost rows and wrong sums", |scene| sql(scene, "DELETE FROM entry WHERE id % 7 = 3"), found("contradiction")),
        (
            "doubled row",
            |scene| {
                sql(
                    scene,
                    "DROP INDEX IF EXISTS entry_uid; DROP INDEX IF EXISTS entry_key;
                INSERT INTO entry (era, uid, key, file, flags, labels, listed_size, since, gone_at)
                SELECT era, uid, key, file, flags, labels, listed_size, since, gone_at FROM entry ORDER BY id LIMIT 3",
                )
            },
            found("contradiction"),
        ),
        (
            "file under two rows",
            |scene| {
                sql(
                    scene,
                    "INSERT INTO entry (era, uid, key, file, flags, labels, listed_size, since, gone_at)
                SELECT era, uid + 70000, key || 'x', file, flags, labels, listed_size, since, gone_at FROM entry ORDER BY id LIMIT 1",
                );
            },
            found("contradiction"),
        ),
        ("row of a missing row", |scene| sql(scene, "DELETE FROM file WHERE id = 4"), found("contradiction")),
        ("wrong store id", |scene| sql(scene, "UPDATE meta SET store = 'ffffffffffffffffffffffffffffffff'"), refused(10, "rebuild")),
        ("journal deleted", |scene| std::fs::remove_file(state(scene, "journal.db")).unwrap(), refused(7, "rebuild")),
        (
            "journal and counter deleted",
            |scene| {
                for name in ["journal.db", "runs"] {
                    std::fs::remove_file(state(scene, name)).unwrap();
                }
            },
            refused(7, "rebuild"),
        ),
        ("all of .mailhaul deleted", |scene| std::fs::remove_dir_all(state(scene, "")).unwrap(), refused(7, "rebuild")),
        (
            "garbage in the journal",
            |scene| {
                rewrite(&state(scene, "journal.db"), |bytes| {
                    bytes.iter_mut().skip(100).for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0x5a)
                });
            },
            refused(7, "rebuild"),
        ),
        (
            "a page of garbage in the journal",
            |scene| {
                rewrite(&state(scene, "journal.db"), |bytes| bytes.iter_mut().skip(4096 * 3).take(4096).for_each(|byte| *byte = 0xa5));
            },
            refused(7, "rebuild"),
        ),
        (
            "journal is text",
            |scene| std::fs::write(state(scene, "journal.db"), "not a database at all, but long enough").unwrap(),
            refused(7, "rebuild"),
        ),
        ("journal truncated", |scene| rewrite(&state(scene, "journal.db"), |bytes| bytes.truncate(bytes.len() / 3)), refused(7, "rebuild")),
        (
            "old journal put back",
            |scene| {
                let old = std::fs::read(state(scene, "journal.db")).unwrap();
                arrive(scene);
                scene.run().expect_code(0);
                std::fs::write(state(scene, "journal.db"), old).unwrap();
            },
            refused(7, "rebuild"),
        ),
        (
            "lost log",
            |scene| {
                arrive(scene);
                lose_log(scene);
            },
            refused(7, "rebuild"),
        ),
        ("manifest deleted", |scene| std::fs::remove_file(scene.root().join("work.sha256")).unwrap(), found("manifest")),
        ("manifest cut", |scene| rewrite(&scene.root().join("work.sha256"), |bytes| bytes.truncate(bytes.len() / 2)), found("manifest")),
        (
            "manifest with another digest",
            |scene| {
                rewrite(&scene.root().join("work.sha256"), |bytes| {
                    bytes[0] = if bytes[0] == b'a' { b'b' } else { b'a' };
                })
            },
            found("manifest"),
        ),
        ("manifest is garbage", |scene| std::fs::write(scene.root().join("work.sha256"), [0xff, 0, b'\n', 1]).unwrap(), found("manifest")),
    ]
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

/// Kills runs until one leaves a log that the counter knows of, and deletes that.
fn lose_log(scene: &mut Scene) {
    let log = state(scene, "journal.db-wal");
    for step in (8..).step_by(3) {
        let killed = scene.run_killed_at(step).code;
        let counter: i64 = std::fs::read_to_string(state(scene, "runs")).unwrap().trim().parse().unwrap();
        let lost = std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) && {
            let bare = tempfile::tempdir().unwrap();
            std::fs::copy(state(scene, "journal.db"), bare.path().join("j")).unwrap();
            let db = rusqlite::Connection::open(bare.path().join("j")).unwrap();
            let inside: i64 = db.query_row("SELECT counter FROM meta", [], |row| row.get(0)).unwrap();
            inside < counter
        };
        if lost {
            std::fs::remove_file(log).unwrap();
            let _ = std::fs::remove_file(state(scene, "journal.db-shm"));
            return;
        }
        assert_ne!(killed, 0, "no step of the run leaves a log");
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

fn zoo(kind: Kind, layout: Layout) {
    for (case, damage, named) in mendable() {
        let case = format!("{case} ({kind:?}, {layout:?})");
        let mut scene = made(kind, layout);
        expect_clean(&scene, &format!("{case}, before"));
        damage(&mut scene);
        expect_named(&scene, named, &case);
        let wrong = verify(&scene, &["work", "--repair"]);
        assert!(matches!(wrong.code, 0 | 1), "{case}: {wrong}");
        // Mail that a killed run did not bring is the backup's.
        let json = wrong.json();
        assert_eq!(
            json["problems"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["repaired"] == false && one["kind"] != "not_yet_backed_up")
                .count(),
            0,
            "{case}: {json:#}"
        );
        if json["not_yet_backed_up"] == 0 {
            assert_eq!(wrong.code, 0, "{case}: {wrong}");
            scene.expect_idle_or_proved(&case);
        }
        scene.run().expect_code(0);
        expect_clean(&scene, &format!("{case}, after"));
        scene.expect_right(&case);
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
fn every_damage_to_a_maildir_store_is_named_and_put_right() {
    zoo(Kind::Modern, Layout::Maildir);
}

#[test]
fn every_damage_to_a_store_of_eml_files_is_named_and_put_right() {
    zoo(Kind::Plain, Layout::Eml);
}

#[test]
fn every_damage_to_the_backup_of_a_maildrop_is_named_and_put_right() {
    for (case, damage, named) in mendable() {
        if case.contains("every file of a folder") {
            continue;
        }
        let case = format!("{case} (POP3)");
        let mut scene = made(Kind::Pop3, Layout::Maildir);
        expect_clean(&scene, &format!("{case}, before"));
        damage(&mut scene);
        expect_named(&scene, named, &case);
        let output = verify(&scene, &["work", "--repair"]);
        let json = output.json();
        assert_eq!(
            json["problems"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["repaired"] == false && one["kind"] != "not_yet_backed_up")
                .count(),
            0,
            "{case}: {json:#}"
        );
        if json["not_yet_backed_up"] == 0 {
            assert_eq!(output.code, 0, "{case}: {output}");
            scene.expect_idle_or_proved(&case);
        }
        scene.run().expect_code(0);
        expect_clean(&scene, &format!("{case}, after"));
        scene.expect_right(&case);
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
fn a_rebuilt_journal_downloads_nothing_that_is_there_and_keeps_the_old_one() {
    for (kind, layout) in
        [(Kind::Modern, Layout::Maildir), (Kind::Plain, Layout::Eml), (Kind::Plain, Layout::Mbox), (Kind::Pop3, Layout::Maildir)]
    {
        for place in [None, Some("work")] {
            let case = format!("{kind:?} {layout:?} {place:?}");
            let scene = made(kind, layout);
            let old = std::fs::read(state(&scene, "journal.db")).unwrap();
            let mut args = vec!["rebuild", scene.at, "--json"];
            args.extend(place);
            let json = scene.tool.run(&args).expect_code(0).json();
            assert_eq!((json["files"].as_u64(), json["gone"].as_u64()), (Some(40), Some(0)), "{case}: {json:#}");
            if place.is_some() && layout != Layout::Mbox {
                assert_eq!(json["confirmed"], 40, "{case}: {json:#}");
            }
            assert_eq!(std::fs::read(json["old_journal"].as_str().map(|path| scene.tool.path(path)).unwrap()).unwrap(), old, "{case}");
            let asked = scene.bodies_asked();
            let summary = scene.run().expect_code(0).json();
            assert_eq!(summary["copied"], 0, "{case}: {summary:#}");
            assert!(scene.bodies_asked() - asked <= 40, "{case}");
            scene.expect_right(&case);
            expect_clean(&scene, &case);
        }
    }
}

#[test]
fn a_rebuild_against_the_server_marks_what_is_gone_and_refuses_another_account() {
    let mut scene = made(Kind::Modern, Layout::Maildir);
    scene.change(super::scene::Change::Departures);
    let json = scene.tool.run(&["rebuild", scene.at, "work", "--json"]).expect_code(0).json();
    assert_eq!((json["confirmed"].as_u64(), json["gone"].as_u64()), (Some(37), Some(3)), "{json:#}");
    scene.expect_idle_or_proved("gone");
    scene.expect_right("gone");
    // Another server with the same UIDVALIDITYs and UIDs.
    scene.imapd().change("INBOX", |mailbox| {
        for (number, message) in mailbox.messages.iter_mut().enumerate() {
            message.body = format!("Subject: {number}\r\n\r\nof somebody else\r\n").into_bytes();
        }
    });
    let before = std::fs::read(state(&scene, "journal.db")).unwrap();
    let output = scene.tool.run(&["rebuild", scene.at, "work"]);
    assert_eq!(output.code, 10, "{output}");
    assert_eq!(std::fs::read(state(&scene, "journal.db")).unwrap(), before);
}

/// Damages a file, loses the journal, and goes on as a user would.
fn damaged_without_journal(layout: Layout, file: &dyn Fn(&Scene) -> PathBuf) {
    let scene = made(Kind::Modern, layout);
    rewrite(&file(&scene), |bytes| *bytes.last_mut().unwrap() ^= 1);
    std::fs::remove_file(state(&scene, "journal.db")).unwrap();
    let json = scene.tool.run(&["rebuild", scene.at, "--json"]).expect_code(1).json();
    assert_eq!((json["files"].as_u64(), json["problems"][0]["kind"].as_str()), (Some(39), Some("damaged")), "{json:#}");
    assert_eq!(scene.run().expect_code(0).json()["copied"], 1);
    scene.expect_idle_or_proved("damaged while the journal was lost");
    let json = verify(&scene, &["work", "--repair"]).expect_code(0).json();
    assert_eq!((json["extra"].as_u64(), json["repaired"].as_u64()), (Some(1), Some(1)), "{json:#}");
    expect_clean(&scene, "damaged while the journal was lost");
    scene.expect_right("damaged while the journal was lost");
}

/// The file of a message by its UID in INBOX.
fn of_uid(scene: &Scene, uid: u32) -> PathBuf {
    let inbox = scene.imapd().mailbox("INBOX").uid_validity;
    files(scene, "").into_iter().find(|file| file.to_str().unwrap().contains(&format!(".V{inbox}U{uid}."))).unwrap()
}

#[test]
fn a_file_damaged_while_the_journal_is_lost_is_not_believed() {
    for layout in [Layout::Maildir, Layout::Eml] {
        damaged_without_journal(layout, &|scene| of_uid(scene, 9));
    }
}

#[test]
fn one_of_three_identical_files_damaged_while_the_journal_is_lost_stays_three() {
    for uid in 1..=3 {
        damaged_without_journal(Layout::Maildir, &|scene| of_uid(scene, uid));
    }
}

#[test]
fn a_rebuild_killed_at_any_step_can_be_run_again() {
    for lose in [false, true] {
        let mut scene = made(Kind::Modern, Layout::Maildir);
        let file = scene.tool.path("steps");
        scene.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
        scene.tool.run(&["rebuild", scene.at, "work"]).expect_code(0);
        let steps = std::fs::read_to_string(&file).unwrap().lines().count() as u64;
        scene.tool.unset_env("MAILHAUL_TEST_CRASH");
        // Neighbouring steps differ little; those at the end are where the journals change places.
        for step in (1..steps.saturating_sub(16)).step_by(9).chain(steps.saturating_sub(16)..=steps + 1) {
            let case = format!("lost {lose}, killed at step {step}");
            if lose {
                std::fs::remove_dir_all(state(&scene, "")).unwrap();
            }
            scene.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
            scene.tool.run(&["rebuild", scene.at, "work"]);
            scene.tool.unset_env("MAILHAUL_TEST_CRASH");
            // A backup in between either finds a whole journal or refuses; it never begins a new store over the files.
            let between = scene.run();
            assert!(between.code == 0 && between.json()["copied"] == 0 || matches!(between.code, 2 | 7 | 10), "{case}: {between}");
            let again = scene.tool.run(&["rebuild", scene.at, "work"]);
            assert_eq!(again.code, 0, "{case}: {again}");
            let summary = scene.run().expect_code(0).json();
            assert_eq!(summary["copied"], 0, "{case}: {summary:#}");
        }
        scene.expect_right("after all kills");
        expect_clean(&scene, "after all kills");
    }
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
