//! How long a migration takes, as a multiple of the floor: the built program and a client that only moves the bytes do
//! the same job in turn, on the same Dovecot, at no delay and through a proxy that adds 40 ms round trip. The servers
//! share the processors with both, which is why the ratio is what counts. `scripts/bench` runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, dead_code)]

mod backup;
mod floor;
mod message;
#[path = "../tests/it/support/mod.rs"]
mod support;
mod thousand;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use floor::{Mode, Plan};
use support::canary;
use support::dovecot::{Dovecot, Options, Plant, User};
use support::proxy::{Proxy, Weather};
use tempfile::TempDir;

/// What ours ÷ floor may be at most.
const LIMIT: f64 = 2.0;

/// Both ways together.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// A run that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(900);

const USAGE: &str =
    "scripts/bench [--quick] [--only migrate|thousand|backup] [--runs N] [--count MESSAGES] [--floor-only] [--chunk MESSAGES] [--maildir]

Prints for POP3 → IMAP and IMAP → IMAP how long mailhaul takes and how long a client that only moves the bytes,
medians of alternating runs; exit code 1 where the ratio is over 2.0. For backups beside that how long mbsync takes,
with its syncs and without, and one that writes the same files with one sync of the file system. A peer that is missing
or fails leaves its columns empty, with a note on standard error; mailhaul failing is exit code 1. thousand: 1,000
messages at 40 ms round trip, beside mbsync and what 3.3 round trips a message come to.

--quick       2,000 messages (backup: 2,000 small, 100 large, 10,000 unchanged), one run; a ratio over 2.0 is only
              shown, as so few messages weigh little against the round trips that every run has
--only JOBS   only these
--runs N      runs of each program and job (3)
--count N     messages of 6 KB (20,000)
--floor-only  the floor and its parts alone
--chunk N     messages in one MULTIAPPEND of the floor (64)
--maildir     the destination keeps a Maildir in place of sdbox";

/// What was asked for.
#[derive(Clone)]
struct Asked {
    quick: bool,
    only: Option<String>,
    runs: usize,
    count: usize,
    floor_only: bool,
    chunk: usize,
    maildir: bool,
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
    match asked(&args) {
        Some(asked) => {
            let wants = |job: &str| asked.only.as_deref().is_none_or(|only| only == job);
            let migrate = !wants("migrate") || bench(&asked);
            let thousand = !wants("thousand") || thousand::bench(&asked);
            let backup = !wants("backup") || backup::bench(&asked);
            if migrate && thousand && backup { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        None => {
            let wanted = args.iter().any(|arg| arg == "--help" || arg == "-h");
            println!("{USAGE}");
            if wanted { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
    }
}

fn asked(args: &[String]) -> Option<Asked> {
    let mut asked = Asked { quick: false, only: None, runs: 3, count: 20_000, floor_only: false, chunk: 64, maildir: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--only" {
            asked.only = Some(args.next().filter(|jobs| ["migrate", "thousand", "backup"].contains(&jobs.as_str()))?.clone());
            continue;
        }
        let mut number = || args.next()?.parse().ok().filter(|number| *number > 0);
        match arg.as_str() {
            "--quick" => (asked.quick, asked.runs, asked.count) = (true, 1, 2_000),
            "--runs" => asked.runs = number()?,
            "--count" => asked.count = number()?,
            "--chunk" => asked.chunk = number()?,
            "--floor-only" => asked.floor_only = true,
            "--maildir" => asked.maildir = true,
            _ => return None,
        }
    }
    Some(asked)
}

/// Servers, mailboxes and directories of this run.
struct Scene {
    source: User,
    octets: u64,
    count: usize,
    destination: Dovecot,
    proxies: Proxies,
    /// Homes of the program, on the disk of the build, so that its syncs are real even where temporary files live in
    /// memory. All is deleted at the very end: file systems are slower where many files have just gone.
    homes: TempDir,
    made: u32,
}

struct Proxies {
    pop3: Proxy,
    from: Proxy,
    to: Proxy,
}

/// Ports on 127.0.0.1.
#[derive(Clone, Copy)]
struct Route {
    pop3: u16,
    from: u16,
    to: u16,
}

/// What one run took.
struct Cost {
    wall: f64,
    cpu: f64,
    peak: Option<f64>,
}

impl Scene {
    fn set(asked: &Asked) -> Self {
        let start = |sdbox| Dovecot::start(Options { sdbox, ..Options::default() }).expect("the bench needs Dovecot");
        let from = start(false);
        let destination = start(!asked.maildir);
        let source = from.user("source");
        let mut octets = 0;
        let numbers: Vec<u64> = (0..asked.count as u64).collect();
        for numbers in numbers.chunks(500) {
            // Seen already, so that the first RETR changes nothing.
            let plants: Vec<Plant> = numbers.iter().map(|number| Plant::new(message::message(*number)).flag("\\Seen")).collect();
            octets += plants.iter().map(|plant| plant.body.len() as u64).sum::<u64>();
            source.plant("INBOX", &plants);
        }
        let weather = || Weather { delay: ROUND_TRIP / 2, ..Weather::default() };
        let proxies = Proxies {
            pop3: Proxy::start(from.ports().pop3s, weather()),
            from: Proxy::start(from.ports().imaps, weather()),
            to: Proxy::start(destination.ports().imaps, weather()),
        };
        let homes = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let password = homes.path().join("password");
        fs::write(&password, format!("{}\n", canary())).unwrap();
        fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self { source, octets, count: asked.count, destination, proxies, homes, made: 0 }
    }

    fn route(&self, delayed: bool) -> Route {
        let Proxies { pop3, from, to } = &self.proxies;
        if delayed {
            Route { pop3: pop3.port(), from: from.port(), to: to.port() }
        } else {
            let ports = self.source.dovecot().ports();
            Route { pop3: ports.pop3s, from: ports.imaps, to: self.destination.ports().imaps }
        }
    }

    fn password(&self) -> PathBuf {
        self.homes.path().join("password")
    }

    /// A user who has nothing yet, and the name of a run.
    fn fresh(&mut self, what: &str) -> User {
        self.made += 1;
        self.destination.user(&format!("{what}-{}", self.made))
    }

    fn floor(&mut self, mode: Mode, route: Route, chunk: usize) -> Cost {
        let user = self.fresh("floor");
        let mut plan = Plan::new(mode, self.destination.ca_file().to_owned(), self.password());
        let port = if matches!(mode, Mode::Retr | Mode::Pop3Imap) { route.pop3 } else { route.from };
        plan.from = (port, self.source.name().to_owned());
        plan.to = (route.to, user.name().to_owned());
        (plan.count, plan.octets) = (self.count, self.octets);
        plan.chunk = chunk;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(plan.to_args());
        let cost = self.run(&mut command, user.name());
        match mode {
            Mode::Fetch | Mode::Retr => {}
            Mode::Append | Mode::MultiAppend => self.check(&user, None),
            Mode::Look | Mode::Flags | Mode::Write => {}
            Mode::Pop3Imap | Mode::ImapImap => self.check(&user, Some(self.octets)),
        }
        cost
    }

    fn ours(&mut self, job: Mode, route: Route) -> Cost {
        let user = self.fresh("ours");
        let home = self.homes.path().join(user.name());
        fs::create_dir(&home).unwrap();
        let name = self.source.name();
        let from = match job {
            Mode::Pop3Imap => format!("pop3s://{name}@localhost:{}", route.pop3),
            _ => format!("imaps://{name}@localhost:{}", route.from),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaul"));
        command
            .args(["migrate", &from, &format!("imaps://{}@localhost:{}", user.name(), route.to)])
            .arg("--ca-file")
            .arg(self.destination.ca_file())
            .arg("--from-password-file")
            .arg(self.password())
            .arg("--to-password-file")
            .arg(self.password())
            .env_clear()
            .env("LANG", "C.UTF-8");
        for (variable, sub) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_DATA_HOME", "data"),
            ("TMPDIR", "tmp"),
        ] {
            fs::create_dir(home.join(sub)).unwrap();
            command.env(variable, home.join(sub));
        }
        let cost = self.run(&mut command, user.name());
        self.check(&user, Some(self.octets));
        cost
    }

    fn run(&self, command: &mut Command, name: &str) -> Cost {
        timed(self.homes.path(), command, name).unwrap_or_else(|trouble| panic!("{trouble}"))
    }

    /// Whether all messages are there, by number and, where that is known, by octets.
    fn check(&self, user: &User, octets: Option<u64>) {
        let mut client = user.client();
        let found = client.examine("INBOX").unwrap().exists as usize;
        assert_eq!(found, self.count, "{} holds {found} messages", user.name());
        if let Some(octets) = octets {
            let sizes = client.fetch("1:*", "RFC822.SIZE").unwrap();
            let sum: u64 = sizes.iter().map(|fetch| u64::from(fetch.size.unwrap())).sum();
            assert_eq!(sum, octets, "{} holds {sum} octets", user.name());
        }
        client.logout().unwrap();
    }
}

/// Runs a client to its end, on a disk that has come to rest; how it failed, if it did.
fn timed(homes: &Path, command: &mut Command, name: &str) -> Result<Cost, String> {
    let log = homes.join(format!("{name}.log"));
    let output = File::create(&log).unwrap();
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    rustix::fs::sync();
    let cpu = children_cpu();
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let status_file = Path::new("/proc").join(child.id().to_string()).join("status");
    let mut peak = None;
    let status = loop {
        // A mark that only rises, so that looking at it now and then is enough.
        peak = peak_memory(&status_file).or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = start.elapsed().as_secs_f64();
    if !status.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        return Err(format!("{name} ended with {status} after {wall:.1} s:\n{said}").trim_end().to_owned());
    }
    Ok(Cost { wall, cpu: children_cpu() - cpu, peak })
}

/// MiB of a process at its peak; `None` where there is no such process or no such file system.
fn peak_memory(status: &Path) -> Option<f64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kib: f64| kib / 1024.0)
}

/// Seconds of processor time that ended children took, in steps of 10 ms; 0 where there is no `/proc`.
fn children_cpu() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything; user and system time of waited-for children are fields 16 and 17.
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Prints the tables of migrations; whether every ratio is within the limit, which is one for the whole jobs.
fn bench(asked: &Asked) -> bool {
    let mut scene = Scene::set(asked);
    #[allow(clippy::cast_precision_loss)] // for people
    let (count, mean) = (asked.count as f64, scene.octets as f64 / asked.count as f64);
    println!(
        "{} messages of {mean:.0} octets; Dovecot {}, mail in {}, from Maildir to {}; {} processors; medians of {} runs",
        asked.count,
        support::dovecot::version().unwrap_or_default(),
        std::env::temp_dir().display(),
        if asked.maildir { "Maildir" } else { "sdbox" },
        std::thread::available_parallelism().map_or(0, usize::from),
        asked.runs,
    );
    // Every later run finds the indexes made and the files in memory.
    for mode in [Mode::Fetch, Mode::Retr, Mode::Fetch, Mode::Retr] {
        scene.floor(mode, scene.route(false), asked.chunk);
    }
    let mut good = true;
    println!("\nparts of the floor, one run each");
    println!("{:<14} {:>6} {:>9} {:>11}", "part", "delay", "seconds", "messages/s");
    for delayed in [false, true] {
        for mode in [Mode::Fetch, Mode::Retr, Mode::Append, Mode::MultiAppend] {
            let cost = scene.floor(mode, scene.route(delayed), asked.chunk);
            println!("{:<14} {:>6} {:>9.2} {:>11.0}", mode.name(), delay(delayed), cost.wall, count / cost.wall);
        }
    }
    println!("\njobs: seconds are from start to end of the program, messages/s, processor time and peak memory are ours");
    println!(
        "{:<10} {:>6} {:>9} {:>9} {:>6} {:>11} {:>10} {:>8} {:>9}",
        "job", "delay", "floor s", "ours s", "ratio", "messages/s", "floor cpu", "our cpu", "peak MiB"
    );
    for delayed in [false, true] {
        for job in [Mode::Pop3Imap, Mode::ImapImap] {
            let (mut floor, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..asked.runs {
                floor.push(scene.floor(job, scene.route(delayed), asked.chunk));
                if !asked.floor_only {
                    ours.push(scene.ours(job, scene.route(delayed)));
                }
            }
            let of = |costs: &[Cost], what: fn(&Cost) -> f64| median(costs.iter().map(what).collect());
            let floor_wall = of(&floor, |cost| cost.wall);
            let floor_cpu = of(&floor, |cost| cost.cpu);
            print!("{:<10} {:>6} {floor_wall:>9.2}", job.name(), delay(delayed));
            if asked.floor_only {
                println!(" {:>9} {:>6} {:>11} {floor_cpu:>10.2}", "-", "-", "-");
                continue;
            }
            let wall = of(&ours, |cost| cost.wall);
            let ratio = wall / floor_wall;
            let peak = ours.iter().filter_map(|cost| cost.peak).reduce(f64::max);
            println!(
                " {wall:>9.2} {ratio:>6.2} {:>11.0} {floor_cpu:>10.2} {:>8.2} {:>9}  {}",
                count / wall,
                of(&ours, |cost| cost.cpu),
                peak.map_or_else(|| "-".to_owned(), |peak| format!("{peak:.0}")),
                if ratio <= LIMIT { "PASS" } else { "OVER" },
            );
            good &= ratio <= LIMIT;
        }
    }
    if !good {
        println!("\nover {LIMIT} times the floor{}", if asked.quick { ", which only a whole run can fail for" } else { "" });
    }
    good || asked.quick
}

fn delay(delayed: bool) -> String {
    if delayed { format!("{} ms", ROUND_TRIP.as_millis()) } else { "none".to_owned() }
}
