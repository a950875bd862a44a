//! A journal made anew from the files: it downloads nothing that is there, believes nothing that is damaged, and may be killed
//! at any step.

use super::super::scene::Change;
use super::*;

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
    scene.change(Change::Departures);
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
