//! SIGKILL at every durable or network step of a backup, and at random moments while the server's mail changes. After the kill,
//! a plain run: the store holds what the server says it must, it is the very tree an undisturbed run leaves, and one run more
//! does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

use rustix::process::Signal;

use super::scene::{Change, EVERYTHING, KILLED, Kind, Scene, all_of, letter, put};
use crate::crash::bench::{full, say};
use crate::support::imapd::Imapd;
use crate::support::mail;
use crate::support::pop3d;
use crate::support::store::{self, Layout};

/// How many steps of each scenario a run without `MAILHAUL_TEST_FULL=1` tries.
const SAMPLE: u64 = 4;
/// The same of scenarios with much mail.
const SMALL_SAMPLE: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scenario {
    name: &'static str,
    kind: Kind,
    layout: Layout,
    count: u64,
    octets: usize,
    /// What happens between a first run and the one that dies; the first run dies itself where nothing does.
    changes: &'static [Change],
    options: &'static [&'static str],
}

const fn scenario(name: &'static str, kind: Kind, changes: &'static [Change]) -> Scenario {
    Scenario { name, kind, layout: Layout::Maildir, count: 30, octets: 200, changes, options: &[] }
}

const SCENARIOS: &[Scenario] = &[
    scenario("first", Kind::Plain, &[]),
    scenario("first", Kind::Modern, &[]),
    Scenario { layout: Layout::Eml, ..scenario("first", Kind::Condstore, &[]) },
    Scenario { layout: Layout::Mbox, ..scenario("first", Kind::Plain, &[]) },
    // More than one batch, by number and by octets.
    Scenario { count: 1300, octets: 20, ..scenario("first, many", Kind::Modern, &[]) },
    Scenario { count: 24, octets: 2_000_000, ..scenario("first, large", Kind::Plain, &[]) },
    Scenario { options: &["&connections=3"], ..scenario("first, three connections", Kind::Modern, &[]) },
    scenario("incremental", Kind::Plain, &[Change::Arrivals, Change::Departures]),
    scenario("incremental", Kind::Condstore, &[Change::Arrivals, Change::Departures]),
    scenario("incremental", Kind::Modern, &[Change::Arrivals, Change::Departures]),
    Scenario { layout: Layout::Mbox, ..scenario("incremental", Kind::Modern, &[Change::Arrivals, Change::Departures]) },
    Scenario { layout: Layout::Eml, ..scenario("incremental", Kind::Plain, &[Change::Arrivals, Change::Departures]) },
    scenario("flags", Kind::Plain, &[Change::Flags]),
    scenario("flags", Kind::Condstore, &[Change::Flags]),
    scenario("flags", Kind::Modern, &[Change::Flags]),
    scenario("renumbered", Kind::Plain, &[Change::Renumbered]),
    scenario("renumbered", Kind::Condstore, &[Change::Renumbered, Change::Flags]),
    scenario("renumbered", Kind::Modern, &[Change::Renumbered]),
    Scenario { options: &["--mirror"], ..scenario("mirror", Kind::Plain, &[Change::Departures]) },
    Scenario { options: &["--mirror"], ..scenario("mirror", Kind::Modern, &[Change::Departures, Change::Flags, Change::Arrivals]) },
    scenario("renamed", Kind::Plain, &[Change::Renamed]),
    scenario("renamed", Kind::Modern, &[Change::Renamed]),
    scenario("everything", Kind::Plain, EVERYTHING),
    scenario("everything", Kind::Modern, EVERYTHING),
    scenario("first", Kind::Pop3, &[]),
    scenario("first", Kind::Pop3Bare, &[]),
    Scenario { count: 600, octets: 20, ..scenario("first, many", Kind::Pop3, &[]) },
    scenario("incremental", Kind::Pop3, &[Change::Arrivals, Change::Departures]),
    scenario("incremental", Kind::Pop3Bare, &[Change::Arrivals, Change::Departures]),
    Scenario { options: &["--mirror"], ..scenario("mirror", Kind::Pop3, &[Change::Departures]) },
    Scenario { layout: Layout::Mbox, ..scenario("incremental", Kind::Pop3, &[Change::Arrivals, Change::Departures]) },
];

impl Scenario {
    /// The moment before the run that dies.
    fn scene(&self) -> Scene {
        let mut scene = Scene::new(self.kind, self.layout, self.count, self.octets);
        scene.choose(self.options);
        if !self.changes.is_empty() {
            let first = scene.run();
            assert_eq!(first.code, 0, "{self:?}: {first}");
            for change in self.changes {
                scene.change(*change);
            }
        }
        scene
    }

    /// What an undisturbed run leaves, and the kinds of its steps.
    fn undisturbed(&self) -> (BTreeMap<String, String>, Vec<String>) {
        let mut scene = self.scene();
        let kinds = scene.run_counting_steps();
        let case = format!("{self:?} undisturbed");
        scene.expect_right(&case);
        (store::tree(&scene.root(), self.layout), kinds)
    }

    /// Dies at the n-th step, then runs to the end; whether it did die.
    fn survives(&self, step: u64, tree: &BTreeMap<String, String>) -> bool {
        let case = format!("{self:?} killed at {step}");
        let mut scene = self.scene();
        let killed = scene.run_killed_at(step);
        assert!([KILLED, 0].contains(&killed.code), "{case}: {killed}");
        store::journal_tells_the_truth(&scene.root(), self.layout, &case);
        if killed.code == KILLED {
            let second = scene.run();
            assert_eq!(second.code, 0, "{case}: {second}");
            assert_eq!(second.json()["balanced"], true, "{case}: {second}");
        }
        scene.expect_right(&case);
        let left = store::tree(&scene.root(), self.layout);
        let wrong: Vec<_> = left.iter().filter(|pair| tree.get(pair.0) != Some(pair.1)).collect();
        let missing: Vec<_> = tree.keys().filter(|key| !left.contains_key(*key)).collect();
        assert!(wrong.is_empty() && missing.is_empty(), "{case}: not as undisturbed: {wrong:#?} in place of {missing:#?}");
        killed.code == KILLED
    }
}

#[test]
fn a_backup_killed_at_any_step_is_made_good_by_the_next_run() {
    let undisturbed: Mutex<BTreeMap<usize, _>> = Mutex::new(BTreeMap::new());
    let indices: Vec<usize> = (0..SCENARIOS.len()).collect();
    all_of(&indices, |&index| {
        let seen = SCENARIOS[index].undisturbed();
        undisturbed.lock().unwrap().insert(index, seen);
    });
    let undisturbed = undisturbed.into_inner().unwrap();
    let (mut points, mut known) = (Vec::new(), 0);
    let mut all_kinds = BTreeSet::new();
    for (&index, (_, kinds)) in &undisturbed {
        all_kinds.extend(kinds.iter().cloned());
        // Every step of a run is another (scenario, kind, position).
        known += kinds.len();
        let steps = kinds.len() as u64;
        let small = SCENARIOS[index].count > 100 || SCENARIOS[index].octets > 10_000;
        let stride = if full() { 1 } else { steps.div_ceil(if small { SMALL_SAMPLE } else { SAMPLE }) };
        // Another phase of the stride in every scenario, so that together they touch every kind of step.
        let first = if full() { 0 } else { index as u64 % stride };
        points.extend((1..=steps).filter(|step| step % stride == first).map(|step| (index, step)));
        say(&format!("{} {:?} {:?}: {steps} steps", SCENARIOS[index].name, SCENARIOS[index].kind, SCENARIOS[index].layout));
    }
    say(&format!("kinds of steps: {all_kinds:?}"));
    // What takes long comes last.
    points.sort_by_key(|&(index, step)| (SCENARIOS[index].count * SCENARIOS[index].octets as u64 / 100_000, index, step));
    let survived: Mutex<BTreeMap<usize, usize>> = Mutex::default();
    all_of(&points, |&(index, step)| {
        let killed = SCENARIOS[index].survives(step, &undisturbed[&index].0);
        let mut survived = survived.lock().unwrap();
        *survived.entry(index).or_default() += usize::from(killed);
        if full() && survived[&index].is_multiple_of(50) {
            say(&format!("{:?}: {} so far", SCENARIOS[index], survived[&index]));
        }
    });
    let survived = survived.into_inner().unwrap();
    if full() {
        for (&index, (_, kinds)) in &undisturbed {
            say(&format!("{:?}: {}/{}", SCENARIOS[index], survived.get(&index).unwrap_or(&0), kinds.len()));
        }
    }
    let survived: usize = survived.values().sum();
    let outlived = points.len() - survived;
    say(&format!("crash points survived, backup: {survived}/{survived} ({outlived} runs ended before their step; {known} distinct steps)"));
    assert!(known >= 500, "{known} steps are too few to mean anything");
    assert!(survived * 10 >= points.len() * 8, "most kills should have come before the end");
    for kind in ["backup.", "net."] {
        assert!(all_kinds.iter().any(|there| there.starts_with(kind)), "no step is called {kind}…: {all_kinds:?}");
    }
}

/// Somebody at work on the server: mail comes, goes and is marked.
fn meddle(server: &Imapd, random: &mut mail::Random, next: &mut u64) {
    let folders = server.folders();
    let folder = &folders[random.below(folders.len())];
    match random.below(6) {
        0..=2 => {
            let count = 1 + random.below(5) as u64;
            put(server, folder, (*next..*next + count).map(|number| letter(number, 300)).collect());
            *next += count;
        }
        3 => server.change(folder, |mailbox| {
            if mailbox.messages.len() > 4 {
                let uid = mailbox.messages[random.below(mailbox.messages.len())].uid;
                super::scene::expunge(mailbox, uid);
            }
        }),
        4 => server.change(folder, |mailbox| {
            if let Some(index) = mailbox.messages.len().checked_sub(1) {
                let uid = mailbox.messages[index].uid;
                mailbox.reflag(uid, ["\\Seen", "-\\Seen", "Later", "\\Flagged"][random.below(4)]);
            }
        }),
        _ => {
            if random.below(4) == 0 {
                server.change(folder, crate::support::imapd::Mailbox::renumber);
            }
        }
    }
}

#[test]
fn files_that_a_dead_run_could_not_record_are_accounted_for_although_the_server_changed_since() {
    let cases: Vec<_> = [Layout::Maildir, Layout::Eml]
        .into_iter()
        .flat_map(|layout| [(Kind::Plain, layout), (Kind::Modern, layout)])
        .flat_map(|(kind, layout)| [(kind, layout, Change::Renumbered, false), (kind, layout, Change::Departures, true)])
        .collect();
    let hit = Mutex::new(0);
    all_of(&cases, |&(kind, layout, change, mirrors)| {
        let new = || {
            let mut scene = Scene::new(kind, layout, 30, 200);
            scene.choose(if mirrors { &["--mirror", "--max-delete", "100%"] } else { &[] });
            scene
        };
        // Durable and not in the journal: each time the disk was done with a batch.
        let steps = new().run_counting_steps();
        let durable: Vec<u64> = (1..).zip(&steps).filter(|(_, kind)| *kind == "backup.durable").map(|(step, _)| step).collect();
        assert!(!durable.is_empty(), "{steps:?}");
        for step in durable {
            let case = format!("{kind:?} {layout:?} {change:?} killed at {step}");
            let mut scene = new();
            let killed = scene.run_killed_at(step);
            assert_eq!(killed.code, KILLED, "{case}: {killed}");
            scene.change(change);
            // What went before it was recorded need not be kept; it may be, once.
            scene.gone.clear();
            assert_eq!(scene.run().code, 0, "{case}");
            let (kept, served) = (scene.kept(), scene.served());
            let (kept, served) = (bodies(&kept), bodies(&served));
            for (key, count) in &served {
                assert_eq!(kept.get(key), Some(count), "{case}: {key:?}");
            }
            let more: Vec<_> = kept.iter().filter(|(key, count)| !served.contains_key(*key) && (mirrors || **count > 1)).collect();
            assert!(more.is_empty(), "{case}: {more:?}");
            store::sound(&scene.root(), layout, &case);
            scene.expect_idle(&case);
            *hit.lock().unwrap() += 1;
        }
    });
    let hit = hit.into_inner().unwrap();
    say(&format!("runs that died with files unrecorded, and a server that changed: {hit}/{hit}"));
}

/// Kills, in all.
fn kills() -> usize {
    if full() { 200 } else { 16 }
}

#[test]
fn a_backup_killed_at_random_moments_while_mail_changes_loses_and_doubles_nothing() {
    let seeds: Vec<u64> = (0..4).collect();
    let counted = Mutex::new(0);
    all_of(&seeds, |&seed| {
        let mut random = mail::Random::new(seed + 4711);
        let kind = [Kind::Plain, Kind::Condstore, Kind::Modern, Kind::Modern][usize::try_from(seed).unwrap()];
        let mut scene = Scene::new(kind, Layout::Maildir, 300, 400);
        scene.options = if seed == 3 { vec!["--mirror", "--max-delete", "100%"] } else { Vec::new() };
        let mut next = 10_000;
        // How long a run takes here, as the range of the moments; nothing waits for it.
        scene.run().expect_code(0);
        for _ in 0..6 {
            meddle(scene.imapd(), &mut random, &mut next);
        }
        let start = Instant::now();
        scene.run().expect_code(0);
        let usual = start.elapsed();
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut dead = 0;
        for round in 0..kills() / seeds.len() * 2 {
            for _ in 0..6 {
                meddle(scene.imapd(), &mut random, &mut next);
            }
            let before = bodies(&scene.served());
            let running = scene.tool.spawn(&scene.arguments(), None);
            let moment = usual.mul_f64(random.below(1000) as f64 / 900.0);
            // The server goes on changing while the program runs.
            std::thread::sleep(moment / 2);
            meddle(scene.imapd(), &mut random, &mut next);
            std::thread::sleep(moment / 2);
            let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(running.id().cast_signed()).unwrap(), Signal::KILL);
            let output = running.finish();
            // 10: a folder that was renumbered just then.
            assert!([KILLED, 0, 3, 10].contains(&output.code), "seed {seed} round {round}: {output}");
            scene.wait_until_quiet();
            dead += usize::from(output.code == KILLED);
            store::journal_tells_the_truth(&scene.root(), Layout::Maildir, &format!("seed {seed} round {round}"));
            if output.code == 0 && seed != 3 {
                let kept = bodies(&scene.kept());
                for (key, count) in &before {
                    // Removed between two runs, it was never seen; so only what was there before and is there now must be kept.
                    let now = bodies(&scene.served()).get(key).copied().unwrap_or(0).min(*count);
                    assert!(kept.get(key).copied().unwrap_or(0) >= now, "seed {seed} round {round}: {key:?}");
                }
            }
            if seed != 3 {
                let kept = bodies(&scene.kept());
                for (key, count) in &seen {
                    assert!(kept.get(key).copied().unwrap_or(0) >= *count, "seed {seed} round {round}: what was kept is gone: {key:?}");
                }
                seen = kept;
            }
            if dead * seeds.len() >= kills() {
                break;
            }
        }
        *counted.lock().unwrap() += dead;
        // At rest: all there is, once; and what was kept before is kept still.
        let case = format!("seed {seed}");
        scene.run().expect_code(0);
        let (kept, served) = (scene.kept(), scene.served());
        for (folder, letters) in &served {
            for (letter, count) in letters {
                let there = kept.get(folder).and_then(|letters| letters.get(letter)).copied().unwrap_or(0);
                assert!(there >= *count, "{case}: {folder}: {there} in place of {count}: {letter:?}");
            }
        }
        if seed == 3 {
            assert!(kept == served, "{case}: {}", super::scene::differences(&kept, &served));
        } else {
            // Each body was on the server once (the three twins and the one added to them apart): nothing is doubled.
            for (key, count) in bodies(&kept) {
                let twins = bodies(&served).get(&key).copied().unwrap_or(0).max(3);
                let bound = if key.1 == mail::content_digest(&letter(0, 400).body) { twins } else { 1 };
                assert!(count <= bound, "{case}: {count} times {key:?}");
            }
        }
        store::sound(&scene.root(), Layout::Maildir, &case);
        scene.expect_idle(&case);
    });
    let counted = counted.into_inner().unwrap();
    say(&format!("random kills survived, backup: {counted}/{counted}"));
    assert!(counted >= kills() / 3, "only {counted} runs were hit");
}

/// How often each body stands in each folder.
fn bodies(mail: &store::Mail) -> BTreeMap<(String, String), usize> {
    let mut bodies = BTreeMap::new();
    for (folder, letters) in mail {
        for (letter, count) in letters {
            *bodies.entry((folder.clone(), letter.content.clone())).or_default() += count;
        }
    }
    bodies
}

#[test]
fn a_maildrop_killed_at_random_moments_loses_and_doubles_nothing() {
    let seeds: Vec<u64> = (0..if full() { 10 } else { 2 }).collect();
    all_of(&seeds, |&seed| {
        let mut random = mail::Random::new(seed + 99);
        let kind = if seed % 2 == 0 { Kind::Pop3 } else { Kind::Pop3Bare };
        let mut scene = Scene::new(kind, Layout::Maildir, 60, 400);
        for round in 0..10 {
            let step = 1 + random.below(120) as u64;
            let output = scene.run_killed_at(step);
            assert!([KILLED, 0].contains(&output.code), "seed {seed} round {round}: {output}");
            let super::scene::From::Pop3(server) = &scene.from else { unreachable!() };
            server.maildrop(|maildrop| {
                let number = 1000 + seed * 100 + round;
                maildrop.push(pop3d::Entry { uidl: format!("r{number}"), body: mail::plain(number, 300) });
            });
        }
        scene.run().expect_code(0);
        scene.expect_right(&format!("maildrop, seed {seed}"));
    });
}

#[test]
fn a_backup_killed_while_a_batch_is_synced_beside_the_next_is_made_good() {
    let steps =
        ["vault.before-sync", "vault.before-rename", "vault.after-rename", "vault.after-sync", "backup.durable", "backup.committed"];
    let cases: Vec<(Kind, &str, u64)> = [Kind::Modern, Kind::Pop3]
        .into_iter()
        .flat_map(|kind| steps.into_iter().flat_map(move |step| [1, 2].map(|number| (kind, step, number))))
        .collect();
    all_of(&cases, |&(kind, step, number)| {
        // The INBOX gets the half of it: three batches.
        let mut scene = Scene::new(kind, Layout::Maildir, if kind == Kind::Pop3 { 600 } else { 1200 }, 300);
        let case = format!("{kind:?}, {step} {number}");
        scene.tool.set_env("MAILHAUL_TEST_CRASH", format!("{step}#{number}"));
        let output = scene.run();
        scene.tool.unset_env("MAILHAUL_TEST_CRASH");
        assert_eq!(output.code, KILLED, "{case}: {output}");
        scene.wait_until_quiet();
        store::journal_tells_the_truth(&scene.root(), Layout::Maildir, &case);
        scene.run().expect_code(0);
        scene.expect_right(&case);
        scene.expect_idle(&case);
    });
}
