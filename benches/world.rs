//! The servers, their mailboxes and the directories of all runs. Mailboxes are planted when they are first needed.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::floor::{Mode, Plan};
use crate::support::canary;
use crate::support::dovecot::{Dovecot, Options, Plant, User};
use crate::support::proxy::{Proxy, Weather};
use crate::timing::{Cost, timed};
use crate::{Asked, ROUND_TRIP, message};

/// A Dovecot and the slow ways to it.
pub struct Server {
    pub dovecot: Dovecot,
    pub imap: Proxy,
    pub pop3: Proxy,
}

/// A planted INBOX.
#[derive(Clone)]
pub struct Mailbox {
    pub user: User,
    pub count: usize,
    /// Of all its messages.
    pub octets: u64,
    /// Of one, where all are alike.
    pub each: Option<usize>,
}

/// What mailboxes hold: how many messages of how many octets (`None`: about 6 KB).
pub const S: (usize, Option<usize>) = (20_000, None);
pub const L: (usize, Option<usize>) = (1_000, Some(500_000));

pub struct World {
    source: Server,
    destination: OnceCell<Server>,
    plain: OnceCell<Server>,
    mailboxes: RefCell<HashMap<(usize, Option<usize>), Mailbox>>,
    /// On the disk of the build, so that syncs are real even where temporary files live in memory. Deleted at the very end: ext4
    /// makes files several times more slowly where many have just gone.
    homes: TempDir,
    made: Cell<u32>,
}

impl Server {
    fn start(options: Options) -> Self {
        let dovecot = Dovecot::start(options).expect("the bench needs Dovecot");
        let weather = || Weather { delay: ROUND_TRIP / 2, ..Weather::default() };
        let ports = dovecot.ports();
        Self { dovecot, imap: Proxy::start(ports.imaps, weather()), pop3: Proxy::start(ports.pop3s, weather()) }
    }

    pub fn imap_port(&self, delayed: bool) -> u16 {
        if delayed { self.imap.port() } else { self.dovecot.ports().imaps }
    }

    pub fn pop3_port(&self, delayed: bool) -> u16 {
        if delayed { self.pop3.port() } else { self.dovecot.ports().pop3s }
    }
}

impl World {
    pub fn new() -> Self {
        let homes = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let password = homes.path().join("password");
        fs::write(&password, format!("{}\n", canary())).unwrap();
        fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self {
            source: Server::start(Options::default()),
            destination: OnceCell::new(),
            plain: OnceCell::new(),
            mailboxes: RefCell::default(),
            homes,
            made: Cell::new(0),
        }
    }

    pub fn source(&self) -> &Server {
        &self.source
    }

    /// Where mail is appended.
    pub fn destination(&self) -> &Server {
        self.destination.get_or_init(|| Server::start(Options { sdbox: true, ..Options::default() }))
    }

    /// The same without MULTIAPPEND and LITERAL+.
    pub fn plain(&self) -> &Server {
        let left = "IMAP4rev1 SASL-IR ID ENABLE IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS ESEARCH CONDSTORE QRESYNC LIST-STATUS SPECIAL-USE \
                    AUTH=PLAIN AUTH=LOGIN";
        let options = || Options { sdbox: true, imap_capability: Some(left.to_owned()), ..Options::default() };
        self.plain.get_or_init(|| Server::start(options()))
    }

    /// An INBOX with so many messages of so many octets, all seen, its indexes made.
    pub fn mailbox(&self, count: usize, each: Option<usize>) -> Mailbox {
        if let Some(mailbox) = self.mailboxes.borrow().get(&(count, each)) {
            return mailbox.clone();
        }
        let user = self.source.dovecot.user(&format!("box-{count}-{}", each.unwrap_or(6144)));
        let mut octets = 0;
        let numbers: Vec<u64> = (0..count as u64).collect();
        for numbers in numbers.chunks(500) {
            let plants: Vec<Plant> = numbers.iter().map(|number| Plant::new(sized(*number, each)).flag("\\Seen")).collect();
            octets += plants.iter().map(|plant| plant.body.len() as u64).sum::<u64>();
            user.plant("INBOX", &plants);
        }
        let mailbox = Mailbox { user, count, octets, each };
        for mode in [Mode::Fetch, Mode::Retr, Mode::Fetch] {
            self.floor(mode, &mailbox, false, |_| ()).unwrap_or_else(|trouble| panic!("{trouble}"));
        }
        self.mailboxes.borrow_mut().insert((count, each), mailbox.clone());
        mailbox
    }

    pub fn fresh(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        let directory = self.homes.path().join(format!("run-{}", self.made.get()));
        fs::create_dir(&directory).unwrap();
        directory
    }

    pub fn homes(&self) -> &Path {
        self.homes.path()
    }

    pub fn password(&self) -> PathBuf {
        self.homes.path().join("password")
    }

    pub fn ca_file(&self) -> &'static Path {
        self.source.dovecot.ca_file()
    }

    /// The floor of a job; `more` says where to.
    pub fn floor(&self, mode: Mode, mailbox: &Mailbox, delayed: bool, more: impl FnOnce(&mut Plan)) -> Result<Cost, String> {
        let mut plan = Plan::new(mode, self.ca_file().to_owned(), self.password());
        let port =
            if matches!(mode, Mode::Retr | Mode::Pop3Imap) { self.source.pop3_port(delayed) } else { self.source.imap_port(delayed) };
        plan.from = (port, mailbox.user.name().to_owned());
        (plan.count, plan.octets) = (mailbox.count, mailbox.octets);
        plan.files = (self.fresh().join("files"), mailbox.each.unwrap_or(6_144));
        more(&mut plan);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(plan.to_args());
        timed(self.homes(), &mut command, &format!("floor-{}", mode.name()))
    }

    /// The program with a home of its own in `directory`.
    pub fn ours(&self, directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaul"));
        command.env_clear().env("LANG", "C.UTF-8");
        for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"] {
            let home = directory.join(variable);
            fs::create_dir_all(&home).unwrap();
            command.env(variable, home);
        }
        command
    }

    /// Runs a command and names it after its directory.
    pub fn time(&self, directory: &Path, command: &mut Command) -> Result<Cost, String> {
        let name = directory.file_name().unwrap().to_str().unwrap();
        timed(self.homes(), command, name)
    }
}

impl Asked {
    /// The mailboxes of a job, with their names.
    pub fn sizes(&self) -> [(&'static str, usize, Option<usize>); 2] {
        [("S", self.count(S.0), S.1), ("L", self.count(L.0), L.1)]
    }
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
