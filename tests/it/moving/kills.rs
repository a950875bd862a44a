//! SIGKILL while a house is moved: at each kind of step and each of its positions, where the server commits at once and where it
//! commits late and without an answer; and again and again at moments that nobody chose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::crash::bench::{Bench, Mail, Offers, full, in_parallel, say};
use crate::support::imapd::{self, AppendFault};
use crate::support::mail::{self, Random};
use crate::support::pop3d;

const KILLED: i32 = -9;
/// How many steps of each scenario a run without `MAILHAUL_TEST_FULL=1` tries.
const SAMPLE: usize = 7;
/// How late a server commits what it did not answer, in milliseconds.
const LATE: u64 = 90_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Scenario {
    pop3: bool,
    uidplus: bool,
    /// All different and each with its Message-ID, or none with one and three identical ones among them.
    ids: bool,
    /// Two commands are stored late and the connection ends without an answer.
    late: bool,
}

impl Scenario {
    fn all() -> Vec<Self> {
        let both = [true, false];
        let mut all = Vec::new();
        for pop3 in both {
            for uidplus in both {
                for ids in both {
                    all.extend(both.map(|late| Self { pop3, uidplus, ids, late }));
                }
            }
        }
        all
    }

    fn bodies(self) -> Vec<Vec<u8>> {
        if self.ids {
            return Mail::WithId.bodies();
        }
        let mut bodies = Mail::WithoutId.bodies();
        let twin = bodies[3].clone();
        bodies[1].clone_from(&twin);
        bodies[6] = twin;
        bodies
    }

    fn bench(self) -> Bench {
        // The more different commands there are, the more steps: MULTIAPPEND is in every other scenario.
        let mut destination = Offers { uidplus: self.uidplus, multiappend: self.pop3 == self.ids }.behaviour();
        if self.late {
            for number in [2, 3] {
                destination = destination.append_fault(number, AppendFault::StoreLate(Some(LATE)));
            }
        }
        if self.pop3 {
            Bench::pop3(&self.bodies(), pop3d::Behaviour::default(), destination)
        } else {
            Bench::imap(&self.bodies(), imapd::Behaviour::default(), destination)
        }
    }

    /// How a run may end. A message that was alone on its way when the server hung up the second time is put aside, though it is stored
    /// late after all.
    fn codes(self) -> &'static [i32] {
        if self.late { &[0, 3] } else { &[0] }
    }

    /// Runs it, once more where a message was put aside, and insists on the end of all.
    fn finish(self, bench: &Bench, case: &str) {
        for turn in 0..2 {
            let output = bench.run();
            let summary = output.json();
            assert!(self.codes().contains(&output.code), "{case}: {output}");
            assert_eq!(
                (&summary["balanced"], &summary["unknown"], &summary["refused"]),
                (&true.into(), &0.into(), &0.into()),
                "{case}: {output}"
            );
            assert_eq!(output.code == 3, summary["quarantined"] == 1, "{case}: {output}");
            if output.code == 0 {
                return;
            }
            assert_eq!(turn, 0, "{case}: {output}");
        }
    }

    /// The steps of a run: each kind, and how many there are of it.
    fn steps(self) -> BTreeMap<String, u64> {
        let mut steps = BTreeMap::new();
        for kind in self.bench().run_counting_steps_to(self.codes()) {
            *steps.entry(kind).or_default() += 1;
        }
        steps
    }

    /// Dies at the n-th step of a kind, then runs to the end; whether it did die.
    fn survives(self, kind: &str, position: u64) -> bool {
        let case = format!("{self:?} killed at {kind} {position}");
        let mut bench = self.bench();
        bench.tool.set_env("MAILHAUL_TEST_CRASH", format!("{kind}#{position}"));
        let first = bench.run();
        bench.tool.unset_env("MAILHAUL_TEST_CRASH");
        bench.to.wait_until_quiet();
        assert!(first.code == KILLED || self.codes().contains(&first.code), "{case}: {first}");
        if first.code != 0 {
            self.finish(&bench, &case);
        }
        bench.expect_all_once(&case);
        first.code == KILLED
    }
}

#[test]
fn a_move_killed_at_each_kind_of_step_and_position_is_made_good_by_the_next_run() {
    let scenarios = Scenario::all();
    let known = Mutex::new(BTreeMap::new());
    in_parallel(&scenarios, |&scenario| {
        let steps = scenario.steps();
        known.lock().unwrap().insert(scenario, steps);
    });
    let mut points = Vec::new();
    let mut distinct = 0;
    for (index, (scenario, steps)) in known.into_inner().unwrap().into_iter().enumerate() {
        let all: Vec<(Scenario, String, u64)> =
            steps.into_iter().flat_map(|(kind, count)| (1..=count).map(move |position| (scenario, kind.clone(), position))).collect();
        distinct += all.len();
        // Another phase in every scenario, so that together they touch every kind.
        let stride = if full() { 1 } else { all.len().div_ceil(SAMPLE) };
        points.extend(all.into_iter().skip(index % stride).step_by(stride));
    }
    let died = Mutex::new(BTreeSet::new());
    in_parallel(&points, |(scenario, kind, position)| {
        if scenario.survives(kind, *position) {
            died.lock().unwrap().insert((*scenario, kind.clone(), *position));
        }
    });
    let died = died.into_inner().unwrap();
    let kinds: BTreeSet<&String> = died.iter().map(|(_, kind, _)| kind).collect();
    say(&format!(
        "migrate, crash steps survived: {0}/{0} of distinct (scenario, kind of step, position); {distinct} known in {1} scenarios, {2} tried, \
         {3} ended before their step; kinds: {kinds:?}",
        died.len(),
        scenarios.len(),
        points.len(),
        points.len() - died.len()
    ));
    assert!(died.len() * 10 >= points.len() * 8, "most kills should have come before the end");
}

/// Runs and is killed at a moment of chance, so many times; new mail comes in between. Lost and doubled must be nothing in the end.
fn killed_at_random(pop3: bool, offers: Offers, seed: u64, kills: u64) -> u64 {
    let mut random = Random::new(seed + 4711);
    let mut bodies = Mail::ThreeIdentical.bodies();
    bodies.extend(mail::many(60, 2000));
    let mut bench = if pop3 {
        Bench::pop3(&bodies, pop3d::Behaviour::default(), offers.behaviour())
    } else {
        Bench::imap(&bodies, imapd::Behaviour::default(), offers.behaviour())
    };
    let mut killed = 0;
    // How long a run takes, learned from those that came to their end.
    let mut whole = Duration::from_millis(150);
    for round in 0..kills * 3 {
        if killed == kills {
            break;
        }
        let started = Instant::now();
        let running = bench.tool.spawn(&bench.arguments(), None);
        let moment = whole.mul_f64(f64::from(u32::try_from(random.below(1000)).unwrap()) / 1000.0);
        // The moment of the kill, nothing waits for it.
        std::thread::sleep(moment);
        running.signal(Signal::KILL);
        let output = running.finish();
        assert!([0, KILLED].contains(&output.code), "{output}");
        if output.code == KILLED {
            killed += 1;
        } else {
            whole = started.elapsed();
        }
        // Something to do for every run: two that are new, one like an earlier one.
        if round % 2 == 0 {
            let new = [mail::plain(1000 + round, 500), mail::plain(2000 + round, 3000), mail::plain(7, 200)];
            match &bench.from {
                crate::crash::bench::From::Imap(server) => server.fill("INBOX", &new),
                crate::crash::bench::From::Pop3(server) => server.maildrop(|maildrop| {
                    let entry = |(index, body): (usize, &Vec<u8>)| pop3d::Entry { uidl: format!("n{round}-{index}"), body: body.clone() };
                    maildrop.extend(new.iter().enumerate().map(entry));
                }),
            }
            bench.bodies.extend(new);
        }
    }
    bench.to.wait_until_quiet();
    let last = bench.run().expect_code(0);
    assert_eq!(last.json()["balanced"], true, "{last}");
    bench.expect_all_once(&format!("random kills, POP3 {pop3}, {offers:?}, seed {seed}"));
    killed
}

#[test]
fn a_move_killed_at_random_moments_again_and_again_loses_and_doubles_nothing() {
    // Two sources by four destinations, 25 kills each.
    let jobs: Vec<(bool, Offers, u64, u64)> = if full() {
        let pairs = [true, false].into_iter().flat_map(|pop3| Offers::ALL.map(|offers| (pop3, offers)));
        (0..).zip(pairs).map(|(seed, (pop3, offers))| (pop3, offers, seed, 25)).collect()
    } else {
        vec![(true, Offers::ALL[3], 100, 5), (false, Offers::ALL[0], 101, 5)]
    };
    let killed = Mutex::new(0);
    in_parallel(&jobs, |&(pop3, offers, seed, kills)| {
        let count = killed_at_random(pop3, offers, seed, kills);
        *killed.lock().unwrap() += count;
    });
    let (killed, wanted) = (killed.into_inner().unwrap(), jobs.iter().map(|job| job.3).sum::<u64>());
    say(&format!("migrate, SIGKILLs at random moments: {killed}, lost 0, doubled 0"));
    assert!(killed * 10 >= wanted * 8, "{killed} of {wanted}: most kills should have come before the end");
}
