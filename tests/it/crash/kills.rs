//! SIGKILL at every durable or network step of a migration.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::bench::{Bench, Mail, Offers, full, in_parallel, say};
use crate::support::dovecot;
use crate::support::mail::{self, assert_same_mail};
use crate::support::pop3d;
use crate::support::tool::Tool;

/// How many steps of each scenario a run without `MAILHAUL_TEST_FULL=1` tries; more of the one with the least to go by.
const SAMPLE: u64 = 7;
const LARGE_SAMPLE: u64 = 18;
const KILLED: i32 = -9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Pop3,
    Imap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scenario {
    source: Source,
    offers: Offers,
    mail: Mail,
    /// Messages large enough for several transactions of intents.
    large: bool,
}

impl Scenario {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for mail in Mail::ALL {
            for offers in Offers::ALL {
                all.push(Self { source: Source::Pop3, offers, mail, large: false });
            }
        }
        for (offers, mail) in [(Offers::ALL[0], Mail::ThreeIdentical), (Offers::ALL[3], Mail::ThreeIdentical)] {
            all.push(Self { source: Source::Imap, offers, mail, large: false });
        }
        for offers in [Offers::ALL[0], Offers::ALL[3]] {
            all.push(Self { source: Source::Pop3, offers, mail: Mail::WithId, large: true });
        }
        all
    }

    fn sample(self) -> u64 {
        if self.mail == Mail::ThreeIdentical && !self.offers.uidplus && !self.offers.multiappend { LARGE_SAMPLE } else { SAMPLE }
    }

    fn bench(self) -> Bench {
        let bodies = if self.large { mail::many(8, 700_000) } else { self.mail.bodies() };
        match self.source {
            Source::Pop3 => Bench::pop3(&bodies, pop3d::Behaviour::default(), self.offers.behaviour()),
            Source::Imap => Bench::imap(&bodies, crate::support::imapd::Behaviour::default(), self.offers.behaviour()),
        }
    }

    /// Dies at the n-th step, then runs to the end; whether it did die.
    fn survives(self, step: u64) -> bool {
        let case = format!("{self:?} killed at {step}");
        let mut bench = self.bench();
        let killed = bench.run_killed_at(step);
        if killed.code != KILLED {
            killed.expect_code(0);
            bench.expect_all_once(&case);
            return false;
        }
        let second = bench.run();
        assert_eq!(second.code, 0, "{case}: {second}");
        assert_eq!(second.json()["balanced"], true, "{case}: {second}");
        bench.expect_all_once(&case);
        true
    }
}

#[test]
fn a_run_killed_at_any_step_is_made_good_by_the_next() {
    let scenarios = Scenario::all();
    let mut points = Vec::new();
    let mut known: BTreeMap<(usize, String, usize), ()> = BTreeMap::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let kinds = scenario.bench().run_counting_steps();
        let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
        for kind in &kinds {
            let position = positions.entry(kind).or_default();
            known.insert((index, kind.clone(), *position), ());
            *position += 1;
        }
        let steps = kinds.len() as u64;
        // Another phase of the stride in every scenario, so that together they touch every step.
        let stride = if full() { 1 } else { steps.div_ceil(scenario.sample()) };
        let first = if full() { 0 } else { index as u64 % stride };
        points.extend((1..=steps).filter(|step| step % stride == first).map(|step| (index, step)));
        say(&format!("{scenario:?}: {steps} steps"));
    }
    let survived = Mutex::new(BTreeMap::new());
    in_parallel(&points, |&(index, step)| {
        if scenarios[index].survives(step) {
            *survived.lock().unwrap().entry(index).or_insert(0_usize) += 1;
        }
    });
    // Threads do not keep the order of steps: a run may have had a few more than were counted.
    if full() {
        in_parallel(&scenarios, |scenario| {
            let steps = scenario.bench().run_counting_steps().len() as u64;
            let beyond = (steps + 1..steps + 1000).find(|&step| !scenario.survives(step));
            assert!(beyond.is_some(), "{scenario:?} does not end");
        });
    }
    let survived: usize = survived.into_inner().unwrap().values().sum();
    let outlived = points.len() - survived;
    say(&format!("crash points survived: {survived}/{survived} ({outlived} runs ended before their step; {} distinct steps)", known.len()));
    assert!(survived * 10 >= points.len() * 8, "most kills should have come before the end");
}

#[test]
fn a_run_killed_again_and_again_at_random_arrives_in_the_end() {
    let seeds: Vec<u64> = (0..if full() { 20 } else { 4 }).collect();
    in_parallel(&seeds, |&seed| {
        let mut random = mail::Random::new(seed + 77);
        let offers = Offers::ALL[usize::try_from(seed).unwrap() % 4];
        let mut bodies = Mail::ThreeIdentical.bodies();
        bodies.extend(mail::many(30, 3000));
        let mut bench = Bench::pop3(&bodies, pop3d::Behaviour::default(), offers.behaviour());
        for _ in 0..10 {
            let step = 1 + random.below(70) as u64;
            let output = bench.run_killed_at(step);
            assert!(output.code == KILLED || output.code == 0, "{output}");
        }
        let last = bench.run().expect_code(0);
        assert_eq!(last.json()["balanced"], true, "{last}");
        bench.expect_all_once(&format!("random kills, seed {seed}"));
    });
    say(&format!("random kills survived: {0}/{0}", seeds.len() * 10));
}

#[test]
fn a_run_killed_into_a_real_server_is_made_good_by_the_next() {
    let Some(dovecot) = dovecot::shared() else { return };
    let mut bodies = Mail::ThreeIdentical.bodies();
    bodies.extend(mail::many(40, 3000).split_off(8));
    let arguments = ["migrate", "from:pop3", "to", "--json", "--settle", "3s"];
    let steps: Vec<u64> = if full() { (1..=90).collect() } else { (16..=60).step_by(5).collect() };
    let killed = Mutex::new(0);
    in_parallel(&steps, |&step| {
        let (from, to) = (dovecot.user(&format!("crash-from-{step}")), dovecot.user(&format!("crash-to-{step}")));
        from.deliver("INBOX", &bodies);
        let mut tool = Tool::new();
        tool.account("from", &from).account("to", &to);
        tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let first = tool.run(&arguments);
        assert!(first.code == KILLED || first.code == 0, "{first}");
        *killed.lock().unwrap() += u32::from(first.code == KILLED);
        tool.unset_env("MAILHAUL_TEST_CRASH");
        let second = tool.run(&arguments).expect_code(0);
        assert_eq!(second.json()["balanced"], true, "killed at {step}: {second}");
        assert_same_mail(&bodies, &to.bodies("INBOX"));
        let third = tool.run(&arguments).expect_code(0).json();
        assert_eq!((&third["copied"], &third["already_there"]), (&0.into(), &bodies.len().into()), "killed at {step}: {third}");
        assert_eq!(to.bodies("INBOX").len(), bodies.len());
    });
    let killed = killed.into_inner().unwrap();
    say(&format!("crash points survived with a real server: {killed}/{killed}"));
    assert!(killed >= 4, "most kills should have come before the end");
}
