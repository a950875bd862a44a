//! How long a backup takes: the built program, mbsync as it comes and with its syncs off, and the floor (all octets fetched to
//! nowhere; the same files written with one sync of the file system), in turn on the same Dovecot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::floor::{Mode, Plan};
use crate::message;
use crate::support::canary;
use crate::support::dovecot::{Dovecot, Options, Plant, User};
use crate::support::proxy::{Proxy, Weather};
use crate::{Asked, Cost, ROUND_TRIP, delay, median, timed};

/// A job: its name, how many messages of how many octets (`None`: about 6 KB), and whether nothing has changed since the last run.
struct Job {
    name: &'static str,
    count: usize,
    octets: Option<usize>,
    idle: bool,
}

fn jobs(quick: bool) -> [Job; 3] {
    let small = |full, few| if quick { few } else { full };
    [
        Job { name: "S", count: small(20_000, 2_000), octets: None, idle: false },
        Job { name: "L", count: small(1_000, 100), octets: Some(500_000), idle: false },
        Job { name: "no-op", count: small(100_000, 10_000), octets: Some(1_000), idle: true },
    ]
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Floor(Mode),
    Ours,
    Mbsync { syncs: bool },
}

/// A planted INBOX.
struct Mailbox {
    user: User,
    /// Of all its messages.
    octets: u64,
}

struct Scene {
    dovecot: Dovecot,
    proxy: Proxy,
    /// On the disk of the build. Deleted at the very end: ext4 makes files several times more slowly where many have just gone.
    homes: TempDir,
    made: u32,
}

/// What one client did in one job.
struct Racer {
    who: Who,
    /// What a run over unchanged mail finds from before.
    kept: Option<PathBuf>,
    costs: Vec<Cost>,
    failed: bool,
}

/// Prints the table; whether all but the peers came to their end.
pub(crate) fn bench(asked: &Asked) -> bool {
    let dovecot = Dovecot::start(Options::default()).expect("the bench needs Dovecot");
    let homes = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let password = homes.path().join("password");
    fs::write(&password, format!("{}\n", canary())).unwrap();
    fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let proxy = Proxy::start(dovecot.ports().imaps, Weather { delay: ROUND_TRIP / 2, ..Weather::default() });
    let mut scene = Scene { dovecot, proxy, homes, made: 0 };
    let version = Command::new("mbsync").arg("--version").stderr(Stdio::null()).output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if version.is_none() {
        eprintln!("bench: no mbsync to compare with: its columns stay empty");
    }
    println!(
        "\nbackups into Maildir: medians of {} alternating runs, into a fresh directory each; peer: {}",
        asked.runs,
        version.as_deref().unwrap_or("none (no mbsync)")
    );
    row(&[
        "job",
        "messages",
        "delay",
        "fetch s",
        "write s",
        "mbsync s",
        "unsynced",
        "ours s",
        "÷ mbsync",
        "÷ unsynced",
        "÷ floor",
        "messages/s",
        "our cpu",
        "mb cpu",
        "peak MiB",
        "mb MiB",
    ]);
    let mut good = true;
    for job in jobs(asked.quick) {
        let mailbox = scene.plant(&job);
        // The first look makes the indexes.
        let looked = (0..2).try_for_each(|_| scene.run(Who::Floor(Mode::Fetch), &job, &mailbox, false, None).map(drop));
        if let Err(trouble) = looked {
            eprintln!("bench: {}: {trouble}", job.name);
            good = false;
        }
        for delayed in if asked.quick { vec![false] } else { vec![false, true] } {
            good &= scene.table(&job, &mailbox, delayed, version.is_some(), asked);
        }
    }
    println!("floor: the longer of fetching to nowhere and writing with one sync; no-op: login and EXAMINE; all its flags under write");
    println!("÷: ours by theirs; unsynced is mbsync with FSync no; cpu in seconds");
    good
}

fn row(cells: &[&str; 16]) {
    let widths = [6, 8, 6, 8, 8, 9, 9, 8, 9, 11, 8, 11, 8, 7, 9, 7];
    let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
    println!("{}", cells.join(" "));
}

impl Scene {
    fn plant(&self, job: &Job) -> Mailbox {
        // Lower case, as Dovecot makes every name at login.
        let user = self.dovecot.user(&format!("backup-{}", job.name.to_lowercase()));
        let mut octets = 0;
        let numbers: Vec<u64> = (0..job.count as u64).collect();
        for numbers in numbers.chunks(500) {
            let plants: Vec<Plant> = numbers.iter().map(|number| Plant::new(sized(*number, job.octets)).flag("\\Seen")).collect();
            octets += plants.iter().map(|plant| plant.body.len() as u64).sum::<u64>();
            user.plant("INBOX", &plants);
        }
        Mailbox { user, octets }
    }

    /// Prints a line; whether all but the peers came to their end.
    fn table(&mut self, job: &Job, mailbox: &Mailbox, delayed: bool, peer: bool, asked: &Asked) -> bool {
        let (first, second) = if job.idle { (Mode::Look, Mode::Flags) } else { (Mode::Fetch, Mode::Write) };
        let (synced, unsynced) = (Who::Mbsync { syncs: true }, Who::Mbsync { syncs: false });
        let mut all = vec![Who::Floor(first), Who::Floor(second)];
        if peer {
            all.extend([synced, unsynced]);
        }
        if !asked.floor_only {
            all.push(Who::Ours);
        }
        let mut racers: Vec<Racer> = all.into_iter().map(|who| Racer { who, kept: None, costs: Vec::new(), failed: false }).collect();
        if job.idle {
            self.keep(&mut racers, job, mailbox, delayed);
        }
        for _ in 0..asked.runs {
            for racer in racers.iter_mut().filter(|racer| !racer.failed) {
                match self.run(racer.who, job, mailbox, delayed, racer.kept.as_deref()) {
                    Ok(cost) => racer.costs.push(cost),
                    Err(trouble) => racer.fail(job, &trouble),
                }
            }
        }
        let of = |who: Who, what: fn(&Cost) -> f64| {
            let racer = racers.iter().find(|racer| racer.who == who && !racer.failed)?;
            Some(median(racer.costs.iter().map(what).collect()))
        };
        let peak = |who: Who| {
            let racer = racers.iter().find(|racer| racer.who == who && !racer.failed)?;
            racer.costs.iter().filter_map(|cost| cost.peak).reduce(f64::max)
        };
        let wall = |who| of(who, |cost| cost.wall);
        let cpu = |who| of(who, |cost| cost.cpu);
        let (one, other, ours) = (wall(Who::Floor(first)), wall(Who::Floor(second)), wall(Who::Ours));
        let floor = if job.idle { one } else { one.zip(other).map(|(one, other)| one.max(other)) };
        let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let whole = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        let ratio = |other: Option<f64>| show(ours.zip(other).map(|(ours, other)| ours / other));
        #[allow(clippy::cast_precision_loss)] // for people
        let rate = ours.map(|ours| job.count as f64 / ours);
        row(&[
            job.name,
            &job.count.to_string(),
            &delay(delayed),
            &show(one),
            &show(other),
            &show(wall(synced)),
            &show(wall(unsynced)),
            &show(ours),
            &ratio(wall(synced)),
            &ratio(wall(unsynced)),
            &ratio(floor),
            &whole(rate),
            &show(cpu(Who::Ours)),
            &show(cpu(synced)),
            &whole(peak(Who::Ours)),
            &whole(peak(synced)),
        ]);
        racers.iter().all(|racer| !racer.failed || matches!(racer.who, Who::Mbsync { .. }))
    }

    /// Makes the backups that a run over unchanged mail finds; those of mbsync are one, made without its syncs. Each is run
    /// once more, so that the first run that is timed is not the first that finds nothing to do.
    fn keep(&mut self, racers: &mut [Racer], job: &Job, mailbox: &Mailbox, delayed: bool) {
        let mut of_peer: Option<PathBuf> = None;
        for racer in racers {
            let who = match racer.who {
                Who::Floor(_) => continue,
                Who::Ours => Who::Ours,
                Who::Mbsync { .. } => Who::Mbsync { syncs: false },
            };
            if let (Who::Mbsync { .. }, Some(directory)) = (who, &of_peer) {
                racer.kept = Some(directory.clone());
                continue;
            }
            let directory = self.fresh();
            match (0..2).try_for_each(|_| self.run(who, job, mailbox, delayed, Some(&directory)).map(drop)) {
                Ok(()) => {
                    if who != Who::Ours {
                        of_peer = Some(directory.clone());
                    }
                    racer.kept = Some(directory);
                }
                Err(trouble) => racer.fail(job, &trouble),
            }
        }
    }

    fn fresh(&mut self) -> PathBuf {
        self.made += 1;
        let directory = self.homes.path().join(format!("run-{}", self.made));
        fs::create_dir(&directory).unwrap();
        directory
    }

    /// One run, into a fresh directory or one from before; what went wrong, if it failed or did not leave all messages.
    fn run(&mut self, who: Who, job: &Job, mailbox: &Mailbox, delayed: bool, kept: Option<&Path>) -> Result<Cost, String> {
        let user = &mailbox.user;
        let port = if delayed { self.proxy.port() } else { self.dovecot.ports().imaps };
        let directory = kept.map_or_else(|| self.fresh(), Path::to_owned);
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let password = self.homes.path().join("password");
        let mut command = match who {
            Who::Floor(mode) => {
                let mut plan = Plan::new(mode, self.dovecot.ca_file().to_owned(), password);
                plan.from = (port, user.name().to_owned());
                (plan.count, plan.octets) = (job.count, mailbox.octets);
                plan.files = (directory.join("files"), job.octets.unwrap_or(6_144));
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(plan.to_args());
                command
            }
            Who::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaul"));
                command.args(["backup", &format!("imaps://{}@localhost:{port}", user.name())]).arg(directory.join("store"));
                command.arg("--ca-file").arg(self.dovecot.ca_file()).arg("--password-file").arg(&password);
                command.env_clear().env("LANG", "C.UTF-8");
                for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"] {
                    let home = directory.join(variable);
                    fs::create_dir_all(&home).unwrap();
                    command.env(variable, home);
                }
                command
            }
            Who::Mbsync { syncs } => {
                let file = directory.join("mbsyncrc");
                fs::create_dir_all(directory.join("mail")).unwrap();
                fs::write(&file, self.mbsyncrc(user, port, &directory, syncs)).unwrap();
                let mut command = Command::new("mbsync");
                command.arg("-c").arg(file).arg("all").env("HOME", &directory);
                command
            }
        };
        let cost = timed(self.homes.path(), &mut command, &name)?;
        let there = match who {
            Who::Floor(Mode::Write) => Some(files(&directory.join("files"))),
            Who::Floor(_) => None,
            Who::Ours => {
                let accounts = fs::read_dir(directory.join("store")).into_iter().flatten().map(|entry| entry.unwrap().path());
                Some(accounts.filter(|path| path.join("cur").is_dir()).map(|path| files(&path)).sum())
            }
            Who::Mbsync { .. } => Some(files(&directory.join("mail/INBOX"))),
        };
        match there {
            Some(there) if there != job.count => Err(format!("left {there} of {} messages in {}", job.count, directory.display())),
            _ => Ok(cost),
        }
    }

    fn mbsyncrc(&self, user: &User, port: u16, directory: &Path, syncs: bool) -> String {
        format!(
            "{}IMAPStore far\nHost localhost\nPort {port}\nUser {}\nPassCmd \"cat {}\"\nSSLType IMAPS\nAuthMechs LOGIN\nSystemCertificates no\n\
             CertificateFile {}\n\nMaildirStore near\nPath {near}/\nInbox {near}/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\nCopyArrivalDate yes\n",
            if syncs { "" } else { "FSync no\n" },
            user.name(),
            self.homes.path().join("password").display(),
            self.dovecot.ca_file().display(),
            near = directory.join("mail").display(),
        )
    }
}

impl Racer {
    /// Takes part no more in this job.
    fn fail(&mut self, job: &Job, trouble: &str) {
        let name = match self.who {
            Who::Floor(mode) => format!("floor {}", mode.name()),
            Who::Ours => "mailhaul".to_owned(),
            Who::Mbsync { syncs: true } => "mbsync".to_owned(),
            Who::Mbsync { syncs: false } => "mbsync without syncs".to_owned(),
        };
        eprintln!("bench: {}: {name}: {trouble}", job.name);
        self.failed = true;
    }
}

fn files(maildir: &Path) -> usize {
    ["cur", "new"].iter().map(|half| fs::read_dir(maildir.join(half)).map_or(0, Iterator::count)).sum()
}

/// The message of this number, as long as it is or repeated to a length.
fn sized(number: u64, octets: Option<usize>) -> Vec<u8> {
    let mut body = message::message(number);
    let Some(octets) = octets else { return body };
    let tail = body.clone();
    while body.len() < octets {
        body.extend_from_slice(&tail);
    }
    body.truncate(octets - 2);
    // Half a line end is no line end.
    if body.last() == Some(&b'\r') {
        body.pop();
        body.push(b'.');
    }
    body.extend_from_slice(b"\r\n");
    body
}
