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

struct Scene {
    dovecot: Dovecot,
    proxy: Proxy,
    /// On the disk of the build. Deleted at the very end: ext4 makes files several times more slowly where many have just gone.
    homes: TempDir,
    made: u32,
}

/// Prints the table.
pub(crate) fn bench(asked: &Asked) {
    let dovecot = Dovecot::start(Options::default()).expect("the bench needs Dovecot");
    let homes = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let password = homes.path().join("password");
    fs::write(&password, format!("{}\n", canary())).unwrap();
    fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let proxy = Proxy::start(dovecot.ports().imaps, Weather { delay: ROUND_TRIP / 2, ..Weather::default() });
    let mut scene = Scene { dovecot, proxy, homes, made: 0 };
    let version = Command::new("mbsync").arg("--version").stderr(Stdio::null()).output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!(
        "\nbackups into Maildir: medians of {} alternating runs, into a fresh directory each; peer: {}",
        asked.runs,
        version.as_deref().unwrap_or("none (no mbsync)")
    );
    println!(
        "{:<6} {:>8} {:>6} {:>8} {:>8} {:>9} {:>9} {:>8} {:>10} {:>9} {:>11} {:>8} {:>8} {:>8}",
        "job",
        "messages",
        "delay",
        "fetch s",
        "write s",
        "mbsync s",
        "unsynced",
        "ours s",
        "÷ mbsync",
        "÷ floor",
        "messages/s",
        "our cpu",
        "mb cpu",
        "peak MiB"
    );
    for job in jobs(asked.quick) {
        let user = scene.plant(&job);
        // The first look makes the indexes.
        for _ in 0..2 {
            scene.run(Who::Floor(Mode::Fetch), &job, &user, false, None);
        }
        for delayed in if asked.quick { vec![false] } else { vec![false, true] } {
            scene.table(&job, &user, delayed, version.is_some(), asked);
        }
    }
    println!("floor: the longer of fetching to nowhere and writing with one sync; no-op: login and EXAMINE; all its flags under write");
}

impl Scene {
    fn plant(&self, job: &Job) -> User {
        let user = self.dovecot.user(&format!("backup-{}", job.name));
        let numbers: Vec<u64> = (0..job.count as u64).collect();
        for numbers in numbers.chunks(500) {
            let plants: Vec<Plant> = numbers.iter().map(|number| Plant::new(sized(*number, job.octets)).flag("\\Seen")).collect();
            user.plant("INBOX", &plants);
        }
        user
    }

    fn table(&mut self, job: &Job, user: &User, delayed: bool, peer: bool, asked: &Asked) {
        let (first, second) = if job.idle { (Mode::Look, Mode::Flags) } else { (Mode::Fetch, Mode::Write) };
        let mut all = vec![Who::Floor(first), Who::Floor(second)];
        if peer {
            all.extend([Who::Mbsync { syncs: true }, Who::Mbsync { syncs: false }]);
        }
        if !asked.floor_only {
            all.push(Who::Ours);
        }
        // What a run over unchanged mail finds from before.
        let kept: Vec<Option<PathBuf>> = all
            .iter()
            .map(|who| {
                let wants = job.idle && !matches!(who, Who::Floor(_));
                wants.then(|| {
                    let directory = self.fresh();
                    self.run(*who, job, user, delayed, Some(&directory));
                    directory
                })
            })
            .collect();
        let mut costs: Vec<Vec<Cost>> = all.iter().map(|_| Vec::new()).collect();
        for _ in 0..asked.runs {
            for (index, who) in all.iter().enumerate() {
                costs[index].push(self.run(*who, job, user, delayed, kept[index].as_deref()));
            }
        }
        let of = |who: Who, what: fn(&Cost) -> f64| {
            let index = all.iter().position(|there| *there == who)?;
            Some(median(costs[index].iter().map(what).collect()))
        };
        let wall = |who| of(who, |cost| cost.wall);
        let cpu = |who| of(who, |cost| cost.cpu);
        let (synced, unsynced) = (Who::Mbsync { syncs: true }, Who::Mbsync { syncs: false });
        let floor = if job.idle { wall(all[0]) } else { wall(all[0]).zip(wall(all[1])).map(|(one, other)| one.max(other)) };
        let peak = all
            .iter()
            .position(|who| *who == Who::Ours)
            .and_then(|index| costs[index].iter().filter_map(|cost| cost.peak).reduce(f64::max));
        let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let ratio = |other: Option<f64>| show(wall(Who::Ours).zip(other).map(|(ours, other)| ours / other));
        #[allow(clippy::cast_precision_loss)] // for people
        let rate = wall(Who::Ours).map_or_else(|| "-".to_owned(), |ours| format!("{:.0}", job.count as f64 / ours));
        println!(
            "{:<6} {:>8} {:>6} {:>8} {:>8} {:>9} {:>9} {:>8} {:>10} {:>9} {:>11} {:>8} {:>8} {:>8}",
            job.name,
            job.count,
            delay(delayed),
            show(wall(all[0])),
            show(wall(all[1])),
            show(wall(synced)),
            show(wall(unsynced)),
            show(wall(Who::Ours)),
            ratio(wall(synced)),
            ratio(floor),
            rate,
            show(cpu(Who::Ours)),
            show(cpu(synced)),
            peak.map_or_else(|| "-".to_owned(), |peak| format!("{peak:.0}"))
        );
    }

    fn fresh(&mut self) -> PathBuf {
        self.made += 1;
        let directory = self.homes.path().join(format!("run-{}", self.made));
        fs::create_dir(&directory).unwrap();
        directory
    }

    /// One run, into a fresh directory or one from before.
    fn run(&mut self, who: Who, job: &Job, user: &User, delayed: bool, kept: Option<&Path>) -> Cost {
        let port = if delayed { self.proxy.port() } else { self.dovecot.ports().imaps };
        let directory = kept.map_or_else(|| self.fresh(), Path::to_owned);
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let password = self.homes.path().join("password");
        let mut command = match who {
            Who::Floor(mode) => {
                let mut plan = Plan::new(mode, self.dovecot.ca_file().to_owned(), password);
                plan.from = (port, user.name().to_owned());
                plan.count = job.count;
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
        let cost = timed(self.homes.path(), &mut command, &name);
        let there = match who {
            Who::Floor(Mode::Write) => Some(files(&directory.join("files"))),
            Who::Floor(_) => None,
            Who::Ours => {
                let accounts = fs::read_dir(directory.join("store")).unwrap().map(|entry| entry.unwrap().path());
                Some(accounts.filter(|path| path.join("cur").is_dir()).map(|path| files(&path)).sum())
            }
            Who::Mbsync { .. } => Some(files(&directory.join("mail/INBOX"))),
        };
        assert!(
            there.is_none_or(|there| there == job.count),
            "{who:?} left {there:?} of {} messages in {}",
            job.count,
            directory.display()
        );
        cost
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
    body.extend_from_slice(b"\r\n");
    body
}
