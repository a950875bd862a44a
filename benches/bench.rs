//! What the jobs of the program cost beside those who do the same: the built program, a client that only moves the bytes (the
//! floor) and the clients that Debian has, in turn, on the same Dovecot, at no delay and through a proxy that adds 40 ms round
//! trip. The servers share the processors with all of them, which is why the ratios are what counts. `scripts/bench` runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, dead_code)]

mod backup;
mod floor;
mod maildrop;
mod message;
mod migrate;
mod peers;
mod race;
mod short;
#[path = "../tests/it/support/mod.rs"]
mod support;
mod timing;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use floor::Plan;
use race::Verdict;
use world::World;

/// Both ways together.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// The jobs, by the name that `--only` takes.
type Bench = fn(&World, &Asked) -> Verdict;
const JOBS: [(&str, Bench); 7] = [
    ("start", short::start),
    ("verbs", short::verbs),
    ("noop", backup::noop),
    ("backup", backup::fresh),
    ("pop3", maildrop::bench),
    ("migrate", migrate::bench),
    ("thousand", migrate::thousand),
];

const USAGE: &str = "scripts/bench [--quick] [--only JOB]... [--runs N] [--floor-only] [--chunk MESSAGES]

Times the jobs of mailhaul beside a client that only moves the bytes (the floor) and the peers that are installed, in alternating
runs, at no delay and at 40 ms round trip: medians of wall clock and processor time of the client, its peak memory, messages a
second, ours ÷ theirs, and what that shall be at most. A peer that is missing or fails leaves its row empty, with a note on standard
error. Exit code 1 where mailhaul fails, or where a whole run is over a limit.

JOB: start     --version, and a listing of an empty store
     verbs     fetch of a message and list --limit 50 at 40 ms, in round trips, beside curl
     noop      a backup of 1,000, 10,000 and 100,000 messages that did not change, beside mbsync
     backup    IMAP into Maildir: S 20,000 messages of 6 KB, L 1,000 of 0.5 MB, beside mbsync with its syncs and without
     pop3      the same over POP3, beside mpop, getmail and fetchmail
     migrate   POP3 and IMAP into IMAP, S, beside mbsync
     thousand  IMAP into IMAP, 1,000 messages at 40 ms, into a server without MULTIAPPEND and LITERAL+ too, beside mbsync and what 3.3
               round trips a message come to (imapsync)

--quick       a tenth of the messages and one run: in under two minutes, and no limit counts
--runs N      runs of each (5)
--floor-only  the floor alone
--chunk N     messages in one MULTIAPPEND of the floor (64)";

/// What was asked for.
#[derive(Clone)]
struct Asked {
    quick: bool,
    only: Vec<String>,
    runs: usize,
    floor_only: bool,
    chunk: usize,
}

impl Asked {
    fn read(args: &[String]) -> Option<Self> {
        let mut asked = Self { quick: false, only: Vec::new(), runs: 5, floor_only: false, chunk: 64 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--only" {
                asked.only.push(args.next().filter(|job| JOBS.iter().any(|(name, _)| name == job))?.clone());
                continue;
            }
            let mut number = || args.next()?.parse().ok().filter(|number| *number > 0);
            match arg.as_str() {
                "--quick" => (asked.quick, asked.runs) = (true, 1),
                "--runs" => asked.runs = number()?,
                "--chunk" => asked.chunk = number()?,
                "--floor-only" => asked.floor_only = true,
                _ => return None,
            }
        }
        Some(asked)
    }

    /// So many messages, or a tenth of them.
    fn count(&self, whole: usize) -> usize {
        if self.quick { whole / 10 } else { whole }
    }
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "floor") {
        let Some(plan) = Plan::from_args(&args[1..]) else {
            eprintln!("floor: started by the bench, which knows the arguments");
            return ExitCode::from(2);
        };
        return match floor::run(&plan) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("floor {}: {error}", plan.mode.name());
                ExitCode::FAILURE
            }
        };
    }
    // What cargo tells every bench.
    args.retain(|arg| arg != "--bench");
    let Some(asked) = Asked::read(&args) else {
        let wanted = args.iter().any(|arg| arg == "--help" || arg == "-h");
        println!("{USAGE}");
        return if wanted { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    let world = World::new();
    println!(
        "mailhaul {} ({} build), Dovecot {}, {}; {} processors; medians of {} alternating runs",
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        support::dovecot::version().unwrap_or_default(),
        peers::versions(),
        std::thread::available_parallelism().map_or(0, usize::from),
        asked.runs,
    );
    let mut verdict = Verdict::default();
    for (name, bench) in JOBS {
        if asked.only.is_empty() || asked.only.iter().any(|only| only == name) {
            verdict.add(bench(&world, &asked));
        }
    }
    println!("\n{} runs of mailhaul failed, {} figures are over their limits", verdict.failed, verdict.over);
    if verdict.failed > 0 || verdict.over > 0 && !asked.quick { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
