//! The damage zoo: every kind of damage to a store is named, and what can be put right is, so that the next backup copies
//! nothing and a further look finds nothing.

use super::*;

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
                );
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
                    bytes.iter_mut().skip(100).for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0x5a);
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
                });
            },
            found("manifest"),
        ),
        ("manifest is garbage", |scene| std::fs::write(scene.root().join("work.sha256"), [0xff, 0, b'\n', 1]).unwrap(), found("manifest")),
    ]
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

/// Names the damage, puts it right, and goes on as if nothing had been.
fn name_and_mend((case, damage, named): Damage, kind: Kind, layout: Layout) {
    let case = format!("{case} ({kind:?}, {layout:?})");
    let mut scene = made(kind, layout);
    expect_clean(&scene, &format!("{case}, before"));
    damage(&mut scene);
    expect_named(&scene, named, &case);
    let output = verify(&scene, &["work", "--repair"]);
    assert!(matches!(output.code, 0 | 1), "{case}: {output}");
    // Mail that a killed run did not bring is the backup's.
    let json = output.json();
    let left = |one: &&Value| one["repaired"] == false && one["kind"] != "not_yet_backed_up";
    assert_eq!(json["problems"].as_array().unwrap().iter().filter(left).count(), 0, "{case}: {json:#}");
    if json["not_yet_backed_up"] == 0 {
        assert_eq!(output.code, 0, "{case}: {output}");
        scene.expect_idle_or_proved(&case);
    }
    scene.run().expect_code(0);
    expect_clean(&scene, &format!("{case}, after"));
    scene.expect_right(&case);
}

#[test]
fn every_damage_to_a_maildir_store_is_named_and_put_right() {
    for damage in mendable() {
        name_and_mend(damage, Kind::Modern, Layout::Maildir);
    }
}

#[test]
fn every_damage_to_a_store_of_eml_files_is_named_and_put_right() {
    for damage in mendable() {
        name_and_mend(damage, Kind::Plain, Layout::Eml);
    }
}

#[test]
fn every_damage_to_the_backup_of_a_maildrop_is_named_and_put_right() {
    for damage in mendable() {
        // A maildrop has no folders.
        if !damage.0.contains("every file of a folder") {
            name_and_mend(damage, Kind::Pop3, Layout::Maildir);
        }
    }
}
