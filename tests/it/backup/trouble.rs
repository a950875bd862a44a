//! What every verb around a store does when things go wrong: a wrong password, a connection that is cut, a disk that takes no
//! more, a death at any step, and folders named by somebody who means harm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::scene::{Change, KILLED, Kind, Scene, all_of, expunge};
use crate::crash::bench::{full, say};
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::mail::{self, content_digest};
use crate::support::names::wire;
use crate::support::store::{self, Layout};
use crate::support::terminal::harm;
use crate::support::tool::Tool;

/// A verb: its name, its arguments, whether it asks the server, whether it writes to it.
#[derive(Debug)]
struct Verb {
    name: &'static str,
    arguments: &'static [&'static str],
    asks: bool,
    restores: bool,
}

const VERBS: &[Verb] = &[
    Verb { name: "backup", arguments: &["backup", "work", "store"], asks: true, restores: false },
    Verb { name: "restore", arguments: &["restore", "store", "new"], asks: true, restores: true },
    Verb { name: "verify", arguments: &["verify", "store", "work"], asks: true, restores: false },
    Verb { name: "verify --repair", arguments: &["verify", "store", "work", "--repair"], asks: true, restores: false },
    Verb { name: "prune", arguments: &["prune", "store", "--gone-for", "0d", "--yes"], asks: false, restores: false },
    Verb { name: "rebuild", arguments: &["rebuild", "store", "work"], asks: true, restores: false },
    Verb { name: "status", arguments: &["status", "store"], asks: false, restores: false },
    Verb { name: "problems", arguments: &["problems", "store"], asks: false, restores: false },
];

/// A store with a past, a server that has changed since, damage for those who mend, and an empty account `new`.
struct Case {
    scene: Scene,
    to: Imapd,
}

fn case(verb: &Verb) -> Case {
    let mut scene = Scene::new(Kind::Plain, Layout::Maildir, 20, 300);
    scene.run().expect_code(0);
    scene.change(Change::Departures);
    if verb.name != "backup" {
        scene.run().expect_code(0);
    } else {
        scene.change(Change::Arrivals);
    }
    let to = Imapd::start(Behaviour { clock: Some(scene.tool.path("../clock")), ..Behaviour::default() });
    scene.tool.server("new", Some(&to.url()), None);
    let first = store::lying(&scene.root(), "work", Layout::Maildir).into_iter().find(|lying| lying.folder == "Work").unwrap();
    match verb.name {
        // What went is in the store before, and from then on nothing but what is on the server may be.
        "prune" => {
            scene.expect_kept("before prune");
            let gone = std::mem::take(&mut scene.gone);
            assert_eq!(gone.values().flat_map(BTreeMap::values).sum::<usize>(), 3, "{gone:?}");
        }
        "verify --repair" => fs::write(scene.root().join(first.path), "damage\n").unwrap(),
        "rebuild" => {
            for name in ["journal.db", "journal.db-wal", "journal.db-shm", "runs"] {
                let _ = fs::remove_file(scene.root().join(".mailhaul").join(name));
            }
        }
        _ => {}
    }
    Case { scene, to }
}

impl Case {
    fn run(&self, verb: &Verb) -> crate::support::tool::Output {
        self.scene.tool.run(verb.arguments)
    }

    /// Insists on the end that the verb comes to when nothing goes wrong.
    #[track_caller]
    fn expect_done(&self, verb: &Verb, case: &str) {
        match verb.name {
            "restore" => {
                for folder in self.scene.imapd().folders() {
                    let there = self.to.bodies(&folder);
                    let kept = store::mail(&self.scene.root(), "work", Layout::Maildir).remove(&folder).unwrap_or_default();
                    let kept: BTreeMap<String, usize> = kept.into_iter().fold(BTreeMap::new(), |mut all, (letter, count)| {
                        *all.entry(letter.content).or_default() += count;
                        all
                    });
                    let counted = mail::multiset(&there);
                    for (content, count) in &counted {
                        assert!(kept.get(content).copied().unwrap_or(0) >= *count, "{case}: {folder}: restored more often than kept");
                    }
                    let served = mail::multiset(&self.scene.imapd().bodies(&folder));
                    for (content, count) in &served {
                        assert!(counted.get(content).copied().unwrap_or(0) >= *count, "{case}: {folder}: not restored");
                    }
                }
            }
            "status" | "problems" | "backup" | "verify" => {
                self.scene.expect_kept(case);
                store::sound(&self.scene.root(), Layout::Maildir, case);
            }
            _ => {
                let verified = self.scene.tool.run(&["verify", "store"]);
                assert_eq!(verified.code, 0, "{case}: {verified}");
                self.scene.expect_right(case);
            }
        }
    }
}

#[test]
fn every_verb_around_a_store_comes_to_its_end() {
    all_of(VERBS, |verb| {
        let done = case(verb);
        let output = done.run(verb);
        assert_eq!(output.code, 0, "{output}");
        done.expect_done(verb, verb.name);
    });
}

#[test]
fn a_wrong_password_ends_every_verb_around_a_store_with_4_and_one_sentence() {
    all_of(VERBS, |verb| {
        if !verb.asks {
            return;
        }
        let case = case(verb);
        let right = fs::read(case.scene.tool.password_file()).unwrap();
        fs::write(case.scene.tool.password_file(), "not the password\n").unwrap();
        let (before, log) = (store::tree(&case.scene.root(), Layout::Maildir), case.scene.log().len() + case.to.log().len());
        let output = case.run(verb).expect_code(4);
        let last = output.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("mailhaul: ") && last.contains("NO [AUTHENTICATIONFAILED]"), "{output}");
        assert_eq!(store::tree(&case.scene.root(), Layout::Maildir), before, "{}", verb.name);
        let all = [case.scene.log(), case.to.log()].concat();
        let tries = all[log.min(all.len())..].iter().filter(|line| line.contains("LOGIN") || line.contains("AUTHENTICATE")).count();
        assert!(tries <= 1, "more would lock the account: {}", verb.name);
        fs::write(case.scene.tool.password_file(), right).unwrap();
        let output = case.run(verb);
        assert_eq!(output.code, 0, "{output}");
        case.expect_done(verb, verb.name);
    });
}

#[test]
fn a_connection_cut_at_any_command_ends_every_verb_around_a_store_truthfully() {
    let cut = AtomicUsize::new(0);
    let asking: Vec<&Verb> = VERBS.iter().filter(|verb| verb.asks).collect();
    all_of(&asking, |verb| {
        let whole = case(verb);
        let before = (whole.scene.log().len(), whole.to.log().len());
        whole.run(verb).expect_code(0);
        let sent = if verb.restores { whole.to.log().split_off(before.1) } else { whole.scene.log().split_off(before.0) };
        let mut commands: Vec<String> = sent
            .iter()
            .filter_map(|line| {
                let words: Vec<&str> = line.split(' ').skip(1).collect();
                Some(if words.first() == Some(&"UID") { words.get(..2)?.join(" ") } else { (*words.first()?).to_owned() })
            })
            .filter(|command| {
                !["LOGIN", "AUTHENTICATE", "LOGOUT", "ID", "NAMESPACE", "CAPABILITY", "ENABLE", "NOOP"].contains(&command.as_str())
            })
            .collect();
        commands.sort();
        commands.dedup();
        assert!(!commands.is_empty(), "{}: {sent:?}", verb.name);
        for command in commands {
            for fault in [CommandFault::HangUpBefore, CommandFault::HangUpAfter] {
                let name = format!("{} cut at {command}, {fault:?}", verb.name);
                let case = case(verb);
                let server = if verb.restores { &case.to } else { case.scene.imapd() };
                // Counted from the start of the server, and only the next one counts.
                let nth = 1 + server
                    .log()
                    .iter()
                    .filter(|line| {
                        line.split_once(' ').is_some_and(|(_, said)| said == command || said.starts_with(&format!("{command} ")))
                    })
                    .count() as u64;
                server.behave(|behaviour| behaviour.faults.push((command.clone(), nth, fault.clone())));
                let output = case.run(verb);
                assert!([0, 1, 3, 5].contains(&output.code), "{name}: {output}");
                assert!(output.code == 0 || !output.stderr.is_empty(), "{name}: {output}");
                if output.code == 0 {
                    case.expect_done(verb, &name);
                }
                let again = case.run(verb);
                assert_eq!(again.code, 0, "{name}: first {output}\nthen {again}");
                case.expect_done(verb, &name);
                cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    say(&format!("cuts at a command survived by the verbs around a store: {0}/{0}", cut.into_inner()));
}

#[test]
fn a_disk_that_takes_no_more_ends_every_verb_around_a_store_truthfully() {
    all_of(VERBS, |verb| {
        for bound in if full() { (0..64).collect() } else { vec![0, 1, 9, 40] } {
            let name = format!("{}, no file over {bound} blocks", verb.name);
            let case = case(verb);
            let script = format!("trap '' XFSZ; ulimit -f {bound}; exec \"$0\" \"$@\"");
            let output = case.scene.tool.run_under(&["sh", "-c", &script], verb.arguments);
            assert!([0, 7].contains(&output.code), "{name}: {output}");
            if output.code == 0 {
                case.expect_done(verb, &name);
            }
            let again = case.run(verb);
            assert_eq!(again.code, 0, "{name}: first {output}\nthen {again}");
            case.expect_done(verb, &name);
        }
    });
}

#[test]
fn a_verb_around_a_store_killed_at_any_step_comes_to_the_same_end_when_run_again() {
    let counted = AtomicUsize::new(0);
    all_of(VERBS, |verb| {
        let mut whole = case(verb);
        let file = whole.scene.tool.path("steps");
        whole.scene.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
        whole.run(verb).expect_code(0);
        let steps = fs::read_to_string(&file).unwrap_or_default().lines().count();
        // What was removed from a store cannot be had again.
        let stride = if full() || verb.name == "prune" { 1 } else { steps.div_ceil(8).max(1) };
        for step in (1..=steps).step_by(stride) {
            let name = format!("{} killed at {step} of {steps}", verb.name);
            let mut case = case(verb);
            case.scene.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
            let output = case.run(verb);
            case.scene.tool.unset_env("MAILHAUL_TEST_CRASH");
            assert!([0, KILLED].contains(&output.code), "{name}: {output}");
            case.scene.wait_until_quiet();
            case.to.wait_until_quiet();
            let again = case.run(verb);
            assert_eq!(again.code, 0, "{name}: {again}");
            case.expect_done(verb, &name);
            counted.fetch_add(1, Ordering::Relaxed);
        }
        say(&format!("{}: {steps} steps", verb.name));
    });
    say(&format!("crash points survived by the verbs around a store: {0}/{0}", counted.into_inner()));
}

/// Every path below a directory.
fn paths(top: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            found.insert(entry.path().strip_prefix(top).unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

/// Empties every seventh folder on the server and removes from the store what was in them: returns the names of the others.
fn pruned(tool: &Tool, server: &Imapd, layout: Layout, corpus: Vec<String>) -> Vec<String> {
    for (_, name) in corpus.iter().enumerate().filter(|(at, _)| at % 7 == 0) {
        server.change(name, |mailbox| expunge(mailbox, 1));
    }
    let gone = corpus.len().div_ceil(7);
    let seen = tool.run(&["backup", "work", &layout.place("store"), "--json"]).expect_code(0).json();
    assert_eq!(seen["gone"], gone, "{layout:?}: {seen}");
    let before = paths(&tool.path(".."));
    let arguments = ["prune", "store", "--gone-for", "0d", "--yes", "--max-delete", "100%"];
    let told = tool.run(&arguments);
    assert_eq!(told.code, 0, "{layout:?}: {told}");
    assert!(harm(told.stderr.as_bytes()).is_none() && harm(&told.stdout).is_none(), "{told}");
    let after = paths(&tool.path(".."));
    let removed: Vec<_> = before.difference(&after).filter(|path| !path.contains("/.mailhaul/")).collect();
    assert!(removed.iter().all(|path| path.starts_with("work/store/work/")), "{layout:?}: {removed:?}");
    assert_eq!(removed.len(), gone, "{layout:?}: {removed:?}");
    store::sound(&tool.path("store"), layout, "hostile names after prune");
    let lying = store::lying(&tool.path("store"), "work", layout);
    let left: BTreeSet<String> = lying.iter().map(|lying| lying.letter.content.clone()).collect();
    let served: Vec<Vec<u8>> = server.folders().iter().flat_map(|folder| server.bodies(folder)).collect();
    assert_eq!(lying.len(), served.len(), "{layout:?}");
    assert_eq!(left, served.iter().map(|body| content_digest(body)).collect(), "{layout:?}: not just what is on the server is left");
    corpus.into_iter().enumerate().filter(|(at, _)| at % 7 != 0).map(|(_, name)| name).collect()
}

#[test]
fn folders_with_hostile_names_stay_under_the_root_and_apart_and_go_back_as_they_were() {
    for layout in [Layout::Maildir, Layout::Eml, Layout::Mbox] {
        let server = Imapd::start(Behaviour::default());
        let mut corpus = wire();
        assert!(corpus.len() >= 400, "{}", corpus.len());
        if !full() && layout != Layout::Maildir {
            // Other names in each.
            corpus = corpus.into_iter().skip(usize::from(layout == Layout::Mbox)).step_by(5).collect();
        }
        let mut bodies = BTreeMap::new();
        for (number, name) in corpus.iter().enumerate() {
            let body = mail::plain(number as u64, 40);
            bodies.insert(content_digest(&body), name.clone());
            server.fill(name, &[body]);
        }
        let mut tool = Tool::new();
        tool.set_deadline(std::time::Duration::from_secs(600));
        tool.server("work", Some(&server.url()), None);
        let home = tool.path("..");
        let before = paths(&home);
        let output = tool.run(&["backup", "work", &layout.place("store")]);
        assert_eq!(output.code, 0, "{layout:?}: {output}");
        assert_eq!(harm(output.stderr.as_bytes()), None, "{output}");
        assert_eq!(harm(&output.stdout), None, "{output}");
        // Nothing outside the store but the program's own state.
        let outside: Vec<String> = paths(&home)
            .difference(&before)
            .filter(|path| !path.starts_with("work/store") && !path.starts_with("state/"))
            .cloned()
            .collect();
        assert!(outside.is_empty(), "{layout:?}: {outside:?}");
        let root = tool.path("store");
        let inside: BTreeSet<String> =
            fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(inside, [".mailhaul", "work", "work.sha256"].map(str::to_owned).into(), "{layout:?}");
        store::sound(&root, layout, "hostile names");
        // One message a folder: no two share a place, and none is missing.
        let lying = store::lying(&root, "work", layout);
        let places: BTreeMap<&str, &str> = lying.iter().map(|lying| (lying.folder.as_str(), lying.letter.content.as_str())).collect();
        assert_eq!((lying.len(), places.len()), (corpus.len(), corpus.len()), "{layout:?}");
        assert!(lying.iter().all(|lying| bodies.contains_key(&lying.letter.content)), "{layout:?}");
        // Nothing to do the second time, and the names are told harmlessly.
        let again = tool.run(&["backup", "work", &layout.place("store"), "--json"]).expect_code(0).json();
        assert_eq!((&again["copied"], &again["gone"]), (&0.into(), &0.into()), "{layout:?}: {again}");
        for verb in ["status", "verify", "problems"] {
            let told = tool.run(&[verb, "store"]);
            assert_eq!(told.code, 0, "{told}");
            assert!(harm(told.stderr.as_bytes()).is_none() && harm(&told.stdout).is_none(), "{told}");
        }
        let corpus = if layout == Layout::Mbox { corpus } else { pruned(&tool, &server, layout, corpus) };
        // Back to a server that takes any name.
        let to = Imapd::start(Behaviour::default());
        tool.server("new", Some(&to.url()), None);
        let restored = tool.run(&["restore", "store", "new", "--json"]);
        assert!([0, 3].contains(&restored.code), "{layout:?}: {restored}");
        let all: Vec<Vec<u8>> = to.folders().iter().flat_map(|folder| to.bodies(folder)).collect();
        let once: BTreeSet<String> = all.iter().map(|body| content_digest(body)).collect();
        assert_eq!(once.len(), all.len(), "{layout:?}: restored twice");
        if restored.code == 0 {
            assert_eq!(all.len(), corpus.len(), "{layout:?}");
        }
        say(&format!("hostile names, {layout:?}: {} folders kept apart, {} of them restored", places.len(), all.len()));
    }
}
