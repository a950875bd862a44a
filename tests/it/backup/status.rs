//! `status`, `problems` and `prune`: what they tell of a store, when, and what they leave alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::imap::Scene;
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::store::{self, Layout};
use crate::support::tool::{Output, Tool};

const DAY: u64 = 86_400_000;

fn server(count: u64) -> Imapd {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(count, 200));
    server.fill("Work/a", &[mail::plain(902, 100)]);
    server
}

/// A store made by one run, under a clock that tests move.
fn kept(server: &Imapd) -> Scene {
    let mut tool = Tool::new();
    tool.use_clock();
    let scene = Scene::with(tool);
    scene.tool.server("work", Some(&server.url()), None);
    scene.run(&[]).expect_code(0);
    scene
}

fn later(scene: &Scene, milliseconds: u64) {
    let clock = scene.tool.clock() + milliseconds;
    fs::write(scene.tool.path("../clock"), clock.to_string()).unwrap();
}

fn ask(scene: &Scene, verb: &str, more: &[&str]) -> Output {
    let mut args = vec![verb, scene.root.to_str().unwrap(), "--json"];
    args.extend(more);
    scene.tool.run(&args)
}

fn row<'a>(document: &'a Value, folder: Option<&str>) -> &'a Value {
    let rows = document["rows"].as_array().unwrap();
    rows.iter().find(|row| row["folder"].as_str() == folder).unwrap_or_else(|| panic!("{folder:?} in {document:#}"))
}

/// Everything below a directory: names, sizes, modes and times of change.
fn everything(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        found.push(format!("{} {} {:?} {:o}", entry.path().display(), about.len(), about.modified().unwrap(), about.permissions().mode()));
        if about.is_dir() {
            found.extend(everything(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_store_tells_of_accounts_and_folders_and_stays_as_it_is() {
    let server = server(30);
    let scene = kept(&server);
    server.change("INBOX", |mailbox| mailbox.expunge(3));
    scene.run(&[]).expect_code(0);
    let before = everything(&scene.root);
    let told = ask(&scene, "status", &[]).expect_code(0).json();
    assert_eq!(everything(&scene.root), before);
    let whole = row(&told, None);
    assert_eq!((whole["account"].as_str(), whole["messages"].as_u64(), whole["gone"].as_u64()), (Some("work"), Some(30), Some(1)));
    assert!(whole["last_complete"].as_str().unwrap().ends_with('Z') || whole["last_complete"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!((whole["late"].clone(), whole["problems"].as_u64(), whole["note"].clone()), (Value::Null, Some(0), Value::Null));
    let octets: u64 =
        store::lying(&scene.root, "work", Layout::Maildir).iter().map(|lying| scene.root.join(&lying.path).metadata().unwrap().len()).sum();
    assert_eq!(whole["bytes"].as_u64(), Some(octets));
    let inbox = row(&told, Some("INBOX"));
    assert_eq!((inbox["messages"].as_u64(), inbox["gone"].as_u64()), (Some(29), Some(1)));
    assert_eq!(row(&told, Some("Work/a"))["messages"].as_u64(), Some(1));
    assert_eq!((told["late"].clone(), told["places"][0]["layout"].as_str()), (Value::Bool(false), Some("maildir")));
}

#[test]
fn an_account_that_is_older_than_allowed_ends_with_1_and_a_no_op_run_makes_it_young() {
    let server = server(3);
    let scene = kept(&server);
    ask(&scene, "status", &["--max-age", "26h"]).expect_code(0);
    later(&scene, DAY + 3 * 3_600_000);
    let told = ask(&scene, "status", &["--max-age", "26h"]).expect_code(1).json();
    assert_eq!((told["late"].as_bool(), row(&told, None)["late"].as_bool()), (Some(true), Some(true)));
    assert!(row(&told, Some("INBOX"))["age"].as_u64().unwrap() >= 27 * 3600);
    let people = scene.tool.run(&["status", scene.root.to_str().unwrap(), "-o", "table", "--max-age", "26h"]).expect_code(1);
    assert!(!people.text().contains("DOING"), "columns without a word in them are left out for people");
    people.expect_stderr("the last complete run was 1d 3h ago");
    ask(&scene, "status", &["--max-age", "2d"]).expect_code(0);
    scene.run(&[]).expect_code(0);
    let told = ask(&scene, "status", &["--max-age", "26h"]).expect_code(0).json();
    assert!(row(&told, Some("INBOX"))["age"].as_u64().unwrap() < 3600, "a complete run looked at each folder");
}

#[test]
fn without_a_store_all_that_were_used_are_asked_and_one_that_is_gone_is_named() {
    let server = server(3);
    let scene = kept(&server);
    let other = scene.tool.path("other");
    let empty = Tool::new();
    empty.run(&["status"]).expect_code(2).expect_stderr("no store is named");
    scene.tool.run(&["backup", "work", other.to_str().unwrap()]).expect_code(0);
    let told = scene.tool.run(&["status", "--json", "--max-age", "1h"]).expect_code(0).json();
    assert_eq!(told["places"].as_array().unwrap().len(), 2);
    fs::rename(&other, scene.tool.path("moved")).unwrap();
    let output = scene.tool.run(&["status", "--json"]).expect_code(7);
    let told = output.json();
    assert!(told["places"][1]["error"].as_str().unwrap().contains("not there"), "{told:#}");
    assert_eq!(row(&told, None)["messages"].as_u64(), Some(4), "the other one is told of all the same");
}

#[test]
fn a_damaged_a_lost_and_a_read_only_store_are_told_apart() {
    let server = server(200);
    let scene = kept(&server);
    let database = scene.root.join(".mailhaul/journal.db");
    let sound = fs::read(&database).unwrap();
    let mut torn = sound.clone();
    let end = torn.len();
    torn[4096 * 3..end].fill(0x55);
    fs::write(&database, &torn).unwrap();
    ask(&scene, "status", &[]).expect_code(7).expect_stderr("damaged").expect_stderr("mailhaul rebuild");
    assert_eq!(fs::read(&database).unwrap(), torn);
    fs::remove_file(&database).unwrap();
    ask(&scene, "status", &["--max-age", "1d"]).expect_code(7).expect_stderr("missing");
    scene.run(&[]).expect_code(7).expect_stderr("mailhaul rebuild");
    assert!(!database.exists());
    fs::write(&database, &sound).unwrap();
    let closed = |mode| fs::set_permissions(scene.root.join(".mailhaul"), fs::Permissions::from_mode(mode)).unwrap();
    closed(0o500);
    let told = ask(&scene, "status", &["--max-age", "1d"]).expect_code(0).json();
    closed(0o700);
    assert_eq!(row(&told, None)["messages"].as_u64(), Some(201));
    let card = scene.root.join(".mailhaul/store");
    let text = fs::read_to_string(&card).unwrap();
    let id = text.lines().find_map(|line| line.strip_prefix("id ")).unwrap().to_owned();
    fs::write(&card, text.replace(&id, &"0".repeat(id.len()))).unwrap();
    ask(&scene, "status", &[]).expect_code(10);
    scene.run(&[]).expect_code(10);
    scene.tool.run(&["status", "nowhere"]).expect_code(2).expect_stderr("no store of backups");
}

#[test]
fn a_run_at_work_is_told_of_and_not_disturbed() {
    let server = server(40);
    let scene = kept(&server);
    server.fill("INBOX", &mail::many(20, 400));
    server.behave(|behaviour| behaviour.mute_after = Some(3000));
    let running = scene.tool.spawn(&["backup", "work", scene.root.to_str().unwrap(), "--json"], None);
    let lock = scene.root.join(".mailhaul/lock");
    while fs::read_to_string(&lock).unwrap_or_default().trim() != running.id().to_string() {
        std::thread::yield_now();
    }
    let told = ask(&scene, "status", &["--max-age", "1d"]).expect_code(0).json();
    assert_eq!(told["places"][0]["running"]["process"].as_u64(), Some(u64::from(running.id())), "{told:#}");
    assert!(row(&told, None)["doing"].as_str().unwrap().contains(&format!("process {}", running.id())));
    assert_eq!(row(&told, None)["note"], Value::Null);
    scene.tool.run(&["prune", scene.root.to_str().unwrap(), "--gone-for", "0d", "--yes"]).expect_code(9);
    running.signal(rustix::process::Signal::KILL);
    running.finish();
    let told = ask(&scene, "status", &[]).expect_code(0).json();
    assert_eq!((told["places"][0]["running"].clone(), row(&told, None)["note"].as_str()), (Value::Null, Some("the last run died")));
}

#[test]
fn a_migration_tells_how_far_it_is_and_what_was_put_aside() {
    let (from, to) = (server(5), Imapd::start(Behaviour::default()));
    to.behave(|behaviour| behaviour.refuse.push((b"Subject".to_vec(), "NO [TOOBIG] no".to_owned())));
    from.fill("Odd", &[b"no header\n".to_vec()]);
    let tool = Tool::new();
    tool.server("old", Some(&from.url()), None);
    tool.server("new", Some(&to.url()), None);
    let never = tool.run(&["status", "new", "--json", "--max-age", "1d"]).expect_code(1).json();
    assert_eq!(row(&never, None)["note"].as_str(), Some("no run so far"));
    tool.run(&["migrate", "old", "new"]).expect_code(3);
    let told = tool.run(&["status", "new", "--json"]).expect_code(0).json();
    let whole = row(&told, None);
    assert_eq!((whole["messages"].as_u64(), whole["problems"].as_u64()), (Some(1), Some(6)), "{told:#}");
    assert_eq!(whole["note"].as_str(), Some("the last run was not complete"));
    let listed = tool.run(&["problems", "new", "--json"]).expect_code(0).json();
    assert_eq!(listed["messages"].as_array().unwrap().len(), 6);
    assert!(listed["messages"][0]["reason"].as_str().unwrap().contains("TOOBIG"));
    tool.run(&["problems", "new", "--ignore", "--all"]).expect_code(0);
    let ignored = tool.run(&["status", "new", "--json"]).expect_code(0).json();
    assert_eq!((row(&ignored, None)["problems"].as_u64(), row(&ignored, None)["ignored"].as_u64()), (Some(0), Some(6)), "{ignored:#}");
    tool.run(&["problems", "new", "--retry"]).expect_code(0);
    tool.run(&["prune", "new", "--gone-for", "1d"]).expect_code(2);
}

#[test]
fn what_was_put_aside_is_listed_ignored_tried_again_and_exported() {
    let server = server(5);
    server.behave(|behaviour| behaviour.hang_up_at_uid = Some(3));
    let mut tool = Tool::new();
    tool.use_clock();
    let scene = Scene::with(tool);
    scene.tool.server("work", Some(&server.url()), None);
    scene.run(&[]).expect_code(3);
    let listed = ask(&scene, "problems", &[]).expect_code(0).json();
    let [problem] = listed["messages"].as_array().unwrap().as_slice() else { panic!("{listed:#}") };
    assert_eq!((problem["uid"].as_u64(), problem["folder"].as_str(), problem["ignored"].as_bool()), (Some(3), Some("INBOX"), Some(false)));
    let id = problem["id"].as_str().unwrap();
    assert_eq!(row(&ask(&scene, "status", &[]).json(), None)["problems"].as_u64(), Some(1));

    ask(&scene, "problems", &["--ignore"]).expect_code(2).expect_stderr("--all");
    ask(&scene, "problems", &["ffffffffffff", "--ignore"]).expect_code(2);
    ask(&scene, "problems", &[&id[..8], "--ignore"]).expect_code(0);
    scene.run(&[]).expect_code(0);
    let told = ask(&scene, "status", &[]).json();
    assert_eq!((row(&told, None)["problems"].as_u64(), row(&told, None)["ignored"].as_u64()), (Some(0), Some(1)));

    let to = scene.tool.text("out");
    ask(&scene, "problems", &["--export", &to, "--source", "work"]).expect_code(3);
    let text = fs::read_to_string(scene.tool.path("out").join(format!("{id}.txt"))).unwrap();
    assert!(text.contains("folder: INBOX\n") && text.contains("reason: ") && text.contains("now: "), "{text}");
    server.behave(|behaviour| behaviour.hang_up_at_uid = None);
    ask(&scene, "problems", &["--export", &to, "--source", "work"]).expect_code(0);
    let path = scene.tool.path("out").join(format!("{id}.eml"));
    let body = server.mailbox("INBOX").messages.iter().find(|message| message.uid == 3).unwrap().body.clone();
    assert_eq!((fs::read(&path).unwrap(), path.metadata().unwrap().permissions().mode() & 0o777), (body, 0o600));

    ask(&scene, "problems", &["--retry"]).expect_code(0);
    assert!(ask(&scene, "problems", &[]).json()["messages"].as_array().unwrap().is_empty());
    scene.run(&[]).expect_code(0);
    assert_eq!(store::served(&server), scene.mail());
}

#[test]
fn prune_shows_first_keeps_to_the_ceiling_and_removes_just_what_is_gone_for_long() {
    let server = server(100);
    let scene = kept(&server);
    server.change("INBOX", |mailbox| (1..=60).for_each(|uid| mailbox.expunge(uid)));
    scene.run(&[]).expect_code(0);
    later(&scene, 50 * DAY);
    server.change("INBOX", |mailbox| (61..=65).for_each(|uid| mailbox.expunge(uid)));
    scene.run(&[]).expect_code(0);
    later(&scene, 45 * DAY);
    let before = everything(&scene.root);
    let shown = ask(&scene, "prune", &["--gone-for", "90d", "--max-delete", "60"]).expect_code(0).json();
    assert_eq!((shown["dry_run"].as_bool(), shown["messages"].as_array().unwrap().len()), (Some(true), 60));
    assert_eq!((shown["folders"][0]["folder"].as_str(), shown["folders"][0]["messages"].as_u64()), (Some("INBOX"), Some(60)));
    assert!(shown["messages"][0]["subject"].is_string() && shown["messages"][0]["gone_since"].is_string(), "{shown:#}");
    ask(&scene, "prune", &["--gone-for", "90d"]).expect_code(10).expect_stderr("60 of the 101 messages");
    ask(&scene, "prune", &["--gone-for", "90d", "--yes"]).expect_code(10);
    ask(&scene, "prune", &["--gone-for", "90d", "--yes", "--dry-run"]).expect_code(2);
    assert_eq!(everything(&scene.root).len(), before.len());
    assert_eq!(scene.mail()["INBOX"].values().sum::<usize>(), 100);

    let done = ask(&scene, "prune", &["--gone-for", "90d", "--yes", "--max-delete", "60"]).expect_code(0).json();
    assert_eq!((done["dry_run"].as_bool(), done["messages"].as_array().unwrap().len()), (Some(false), 60));
    assert_eq!(scene.mail()["INBOX"].values().sum::<usize>(), 40);
    store::sound(&scene.root, Layout::Maildir, "after prune");
    store::journal_tells_the_truth(&scene.root, Layout::Maildir, "after prune");
    let again = ask(&scene, "prune", &["--gone-for", "90d", "--yes"]).expect_code(0).json();
    assert!(again["messages"].as_array().unwrap().is_empty());
    scene.run(&[]).expect_code(0);
    assert_eq!(row(&ask(&scene, "status", &[]).json(), Some("INBOX"))["gone"].as_u64(), Some(5));
}

#[test]
fn prune_survives_a_kill_at_each_of_its_steps() {
    let server = server(60);
    let count = |scene: &mut Scene| {
        let steps = scene.tool.path("steps");
        scene.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", steps.display()));
        ask(scene, "prune", &["--gone-for", "0d", "--yes"]).expect_code(0);
        scene.tool.unset_env("MAILHAUL_TEST_CRASH");
        fs::read_to_string(&steps).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let prepared = || {
        let scene = kept(&server);
        server.change("INBOX", |mailbox| mailbox.expunge(mailbox.messages[0].uid));
        scene.run(&[]).expect_code(0);
        scene
    };
    let steps = count(&mut prepared());
    for name in ["backup.removing", "backup.unlinked", "backup.removed"] {
        assert!(steps.iter().any(|step| step == name), "{steps:?}");
    }
    for step in 1..=steps.len() {
        let mut scene = prepared();
        let left = scene.mail()["INBOX"].values().sum::<usize>() - 1;
        scene.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        ask(&scene, "prune", &["--gone-for", "0d", "--yes"]).expect_code(-9);
        scene.tool.unset_env("MAILHAUL_TEST_CRASH");
        ask(&scene, "prune", &["--gone-for", "0d", "--yes"]).expect_code(0);
        let name = format!("killed at step {step}, {}", steps[step - 1]);
        assert_eq!(scene.mail()["INBOX"].values().sum::<usize>(), left, "{name}");
        store::sound(&scene.root, Layout::Maildir, &name);
        store::journal_tells_the_truth(&scene.root, Layout::Maildir, &name);
    }
}
