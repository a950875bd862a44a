//! Deadlines: what a connection waits for, how long it may, and the wait itself, which looks at signals on the way. It polls
//! a socket and never reads or writes one.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::context::{Context, Moment};
use crate::error::{Error, Result};

/// How long answers on their way are still awaited after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// What is being waited for; each has its own deadline, which covers the whole phase and not one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The look-up and TCP, all addresses (30 s).
    Connect,
    /// The TLS handshake (30 s).
    Tls,
    /// The server's first line (60 s).
    Greeting,
    /// Login, each exchange of it (60 s).
    Login,
    /// An ordinary command (120 s).
    Command,
    /// A command whose answer may be long in coming: SELECT, SEARCH, LIST, UIDL (300 s); renewed as octets come.
    Listing,
    /// Message bodies (120 s), renewed as octets come.
    Body,
    /// The answer to a command that changes mail (600 s), renewed as octets come; it is worth a moment after a signal.
    Change,
    /// The answer to an APPEND of so many octets whose literal went out whole (600 s + 1 s per 100 KB, never less).
    AppendReply(u64),
    /// Our own octets on their way out (120 s), renewed as they go.
    Write,
    /// LOGOUT, QUIT (10 s).
    Logout,
}

impl Phase {
    fn default_timeout(self) -> Duration {
        Duration::from_secs(match self {
            Self::Connect | Self::Tls => 30,
            Self::Greeting | Self::Login => 60,
            Self::Command | Self::Body | Self::Write => 120,
            Self::Listing => 300,
            Self::Change => 600,
            Self::AppendReply(octets) => 600 + octets / 100_000,
            Self::Logout => 10,
        })
    }

    fn timeout(self, asked: Option<Duration>) -> Duration {
        match (self, asked) {
            (Self::AppendReply(_), _) | (_, None) => self.default_timeout(),
            (Self::Logout, Some(asked)) => asked.min(self.default_timeout()),
            (_, Some(asked)) => asked,
        }
    }

    /// Whether octets that move renew it.
    pub(super) fn is_renewed(self) -> bool {
        matches!(self, Self::Listing | Self::Body | Self::Change | Self::Write)
    }

    fn words(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Greeting => "waiting for the server's greeting",
            Self::Login => "logging in",
            Self::Command | Self::Listing | Self::Change => "waiting for the server's answer",
            Self::Body => "waiting for message bodies",
            Self::AppendReply(_) => "waiting for the answer to an upload",
            Self::Write => "sending (the server stopped reading)",
            Self::Logout => "logging out",
        }
    }
}

/// Waits on a socket until one deadline; the only caller of poll.
pub(super) struct Waiter {
    context: Context,
    pub(super) phase: Phase,
    timeout: Duration,
    deadline: Moment,
    interrupted: bool,
}

impl Waiter {
    pub(super) fn new(context: &Context, phase: Phase, asked: Option<Duration>) -> Self {
        let timeout = phase.timeout(asked);
        Self { context: context.clone(), phase, timeout, deadline: context.now().after(timeout), interrupted: false }
    }

    /// Time left.
    pub(super) fn left(&self) -> Duration {
        self.deadline.since(self.context.now())
    }

    /// The same wait with less time.
    pub(super) fn within(&self, share: Duration) -> Self {
        let deadline = self.deadline.min(self.context.now().after(share));
        Self { context: self.context.clone(), phase: self.phase, timeout: self.timeout, deadline, interrupted: self.interrupted }
    }

    /// Counts the deadline from now.
    pub(super) fn renew(&mut self) {
        if !self.interrupted {
            self.deadline = self.context.now().after(self.timeout);
        }
    }

    /// How long to wait before looking at clock and signals again.
    pub(super) fn next_slice(&mut self) -> Result<Duration> {
        if self.context.interrupted().is_some() && !self.interrupted {
            // The rest of an upload and its answer are worth a moment: they save the next run from having to look for it.
            if !matches!(self.phase, Phase::Write | Phase::Change | Phase::AppendReply(_) | Phase::Logout) {
                self.context.check()?;
            }
            self.interrupted = true;
            self.deadline = self.deadline.min(self.context.now().after(GRACE));
        }
        let left = self.left();
        if left.is_zero() {
            self.context.check()?;
            let silent = matches!(self.phase, Phase::Greeting);
            return Err(Error::timeout(format!("timed out after {} s {}", self.timeout.as_secs_f32(), self.phase.words())).hint(
                if silent {
                    "check the port (one that speaks TLS from the first octet is named imaps:// or pop3s://), or try again later"
                } else {
                    "try again later, or allow more time with ?timeout=…"
                },
            ));
        }
        Ok(self.context.slice(left))
    }

    /// Waits until `events` (or an error) show on the socket; returns what showed.
    pub(super) fn wait(&mut self, socket: &impl AsFd, events: PollFlags) -> Result<PollFlags> {
        loop {
            let slice = self.next_slice()?;
            let timeout = Timespec { tv_sec: i64::try_from(slice.as_secs()).unwrap_or(1), tv_nsec: i64::from(slice.subsec_nanos()) };
            let mut fds = [PollFd::new(socket, events)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(fds.first().map_or(PollFlags::empty(), PollFd::revents)),
                Err(errno) => return Err(Error::network(format!("poll: {errno}"))),
            }
        }
    }
}
