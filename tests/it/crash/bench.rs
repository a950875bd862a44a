//! A source, a destination and the program with a clock that jumps, made afresh for every case.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::imapd::{self, Imapd};
use crate::support::mail::{self, assert_same_mail};
use crate::support::pop3d::{self, Pop3d};
use crate::support::server::advance_clock;
use crate::support::tool::{Output, Running, Tool};

/// What the mail of a case is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    /// All different, each with its Message-ID.
    WithId,
    /// All different, none has one.
    WithoutId,
    /// Three are identical, the others are not.
    ThreeIdentical,
}

impl Mail {
    pub const ALL: [Self; 3] = [Self::WithId, Self::WithoutId, Self::ThreeIdentical];

    /// Eight messages of this kind.
    pub fn bodies(self) -> Vec<Vec<u8>> {
        let without_id = |number| {
            let body = mail::plain(number, 200);
            let at = body.windows(12).position(|window| window == b"Message-ID: ").unwrap();
            let end = at + body[at..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
            [&body[..at], &body[end..]].concat()
        };
        match self {
            Self::WithId => mail::many(8, 200),
            Self::WithoutId => (0..8).map(without_id).collect(),
            Self::ThreeIdentical => [0, 7, 7, 1, 2, 7, 3, 4].map(|number| mail::plain(number, 200)).to_vec(),
        }
    }
}

/// What the destination offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    pub uidplus: bool,
    pub multiappend: bool,
}

impl Offers {
    pub const ALL: [Self; 4] = [
        Self { uidplus: true, multiappend: true },
        Self { uidplus: true, multiappend: false },
        Self { uidplus: false, multiappend: true },
        Self { uidplus: false, multiappend: false },
    ];

    pub fn behaviour(self) -> imapd::Behaviour {
        let mut without = Vec::new();
        if !self.uidplus {
            without.push("UIDPLUS");
        }
        if !self.multiappend {
            without.push("MULTIAPPEND");
        }
        imapd::Behaviour::default().without(&without)
    }
}

/// Where the mail comes from.
pub enum From {
    Pop3(Pop3d),
    Imap(Imapd),
}

/// One source, one destination, one home.
pub struct Bench {
    pub tool: Tool,
    pub from: From,
    pub to: Imapd,
    pub clock: PathBuf,
    pub bodies: Vec<Vec<u8>>,
}

impl Bench {
    /// From a maildrop with these messages.
    pub fn pop3(bodies: &[Vec<u8>], source: pop3d::Behaviour, destination: imapd::Behaviour) -> Self {
        Self::new(From::Pop3(Pop3d::start(source, bodies)), bodies, destination)
    }

    /// From the INBOX of an IMAP account with these messages.
    pub fn imap(bodies: &[Vec<u8>], source: imapd::Behaviour, destination: imapd::Behaviour) -> Self {
        let from = Imapd::start(source);
        from.fill("INBOX", bodies);
        Self::new(From::Imap(from), bodies, destination)
    }

    fn new(from: From, bodies: &[Vec<u8>], destination: imapd::Behaviour) -> Self {
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let to = Imapd::start(imapd::Behaviour { clock: Some(clock.clone()), ..destination });
        match &from {
            From::Pop3(server) => tool.server("from", None, Some(&server.url())),
            From::Imap(server) => tool.server("from", Some(&server.url()), None),
        };
        tool.server("to", Some(&to.url()), None);
        Self { tool, from, to, clock, bodies: bodies.to_vec() }
    }

    pub fn pop3d(&self) -> &Pop3d {
        match &self.from {
            From::Pop3(server) => server,
            From::Imap(_) => panic!("the source is IMAP"),
        }
    }

    pub fn imapd(&self) -> &Imapd {
        match &self.from {
            From::Imap(server) => server,
            From::Pop3(_) => panic!("the source is POP3"),
        }
    }

    pub fn arguments(&self) -> Vec<&'static str> {
        vec!["migrate", "from", "to", "--json"]
    }

    /// Runs it once more, as it is.
    pub fn run(&self) -> Output {
        self.tool.run(&self.arguments())
    }

    /// Runs it while time flies, from the `appends`-th APPEND on until the client gives up and connects again.
    pub fn run_while_time_flies(&self, appends: u64) -> Output {
        let before = self.to.connections();
        let running = self.tool.spawn(&self.arguments(), None);
        while_time_flies(&self.clock, running, || self.to.appends() >= appends && self.to.connections() == before + 1)
    }

    /// Runs it with a death at the n-th step, and waits until the destination has dealt with all the dead one sent.
    pub fn run_killed_at(&mut self, step: u64) -> Output {
        self.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let output = self.tool.run(&self.arguments());
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        self.to.wait_until_quiet();
        output
    }

    /// The kinds of the steps of a run, in their order.
    pub fn run_counting_steps(&mut self) -> Vec<String> {
        self.run_counting_steps_to(&[0])
    }

    /// The same of a run that may end with one of these codes.
    pub fn run_counting_steps_to(&mut self, codes: &[i32]) -> Vec<String> {
        let file = self.tool.path("steps");
        self.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
        let output = self.tool.run(&self.arguments());
        assert!(codes.contains(&output.code), "{output}");
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
    }

    /// All mail of the destination, whatever folder it is in.
    pub fn there(&self) -> Vec<Vec<u8>> {
        self.to.folders().iter().flat_map(|folder| self.to.bodies(folder)).collect()
    }

    /// Insists on the source's mail at the destination, equally often, and on a further run that does nothing.
    #[track_caller]
    pub fn expect_all_once(&self, case: &str) {
        self.expect_there(case, &self.bodies);
    }

    /// Insists on just these messages at the destination, equally often, and on a further run that does nothing.
    #[track_caller]
    pub fn expect_there(&self, case: &str, bodies: &[Vec<u8>]) {
        let there = self.there();
        if mail::multiset(&there) != mail::multiset(bodies) {
            eprintln!("{case}: destination commands:\n{}", self.to.log().join("\n"));
        }
        assert_same_mail(bodies, &there);
        let (before, appends) = (self.stored(), self.to.appends());
        let again = self.run().expect_code(0).json();
        assert_eq!((&again["copied"], &again["balanced"]), (&0.into(), &true.into()), "{case}: {again}");
        assert_eq!(again["listed"], again["already_there"], "{case}: {again}");
        assert_eq!((self.stored(), self.to.appends()), (before, appends), "{case}: the further run changed something");
    }

    fn stored(&self) -> Vec<(String, Vec<u32>)> {
        let uids = |folder: &String| self.to.mailbox(folder).messages.iter().map(|message| message.uid).collect();
        self.to.folders().iter().map(|folder| (folder.clone(), uids(folder))).collect()
    }
}

/// Lets a run come to its end while time flies, whenever `now` says so.
pub fn while_time_flies(clock: &Path, running: Running, now: impl Fn() -> bool + Sync) -> Output {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if now() {
                    advance_clock(clock, Duration::from_secs(30));
                }
                // The pace of the clock, nothing waits for it.
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        let output = running.finish();
        done.store(true, Ordering::Relaxed);
        output
    })
}

/// Whether the run asked for every case and not for a sample.
pub fn full() -> bool {
    std::env::var_os("MAILHAUL_TEST_FULL").is_some_and(|value| value == "1")
}

/// Does `each` for all of `jobs` on as many threads as there are processors.
pub fn in_parallel<T: Sync>(jobs: &[T], each: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(job);
                }
            });
        }
    });
}

/// Tells of a count even where the test passes and its output is captured.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
