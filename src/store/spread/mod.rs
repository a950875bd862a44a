//! One end over several sessions of one IMAP account: a source that reads and a sink that appends side by side, behind the same
//! two seams as one session. How many sessions there may be is known here; what for, and what the journal says, never.

mod sink;
mod source;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::account::Server;
use crate::backoff::Cause;
use crate::error::{Error, Kind};

pub use sink::SpreadSink;
pub use source::SpreadSource;

/// How many sessions at most where nobody said and the server has to be waited for before each message: each of them then brings
/// one message a round trip. Below what servers allow (10 to 20), and with fewer where one says so.
const WAITING: usize = 8;

/// How many sessions an account may have at a time; what a server refused once is not asked for again in the run.
pub struct Allowance {
    most: AtomicUsize,
    given: bool,
    told: AtomicBool,
}

impl Allowance {
    /// What the user said, or the default.
    pub fn of(server: &Server) -> Self {
        let given = server.connections_given;
        let most = if given { server.connections.max(1) } else { WAITING };
        Self { most: AtomicUsize::new(most), given, told: AtomicBool::new(false) }
    }

    /// Whether the user wants several.
    pub fn wants_several(&self) -> bool {
        self.given && self.most() > 1
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// No more than these from now on.
    fn lower(&self, to: usize) {
        self.most.fetch_min(to.max(1), Ordering::Relaxed);
    }

    /// Learns from a session that was lost or refused: half as many where the server says that there are too many.
    pub fn heed(&self, error: &Error) {
        let limit = error.server_said().is_some_and(|words| words.contains("[LIMIT]"));
        if limit || error.asked().is_some_and(|ask| ask.cause == Cause::Connections) {
            self.lower(self.most() / 2);
        }
    }

    /// A further session could not be had, and so many are left. What people are told of it, once in a run.
    fn refused(&self, error: &Error, left: usize) -> Option<String> {
        self.lower(left);
        if matches!(error.kind(), Kind::Interrupted(_)) || self.told.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(format!("{error}; going on with fewer connections"))
    }
}
