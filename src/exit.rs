//! Exit codes, and the single mapping from error kinds to them (`CLI.md`, table of exits). Nothing else picks a code.

use crate::error::Kind;

/// What a run tells its caller through the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Done, all of it.
    Success,
    /// Done, and the answer is "no".
    Differences,
    /// Usage, config file or place is wrong.
    Usage,
    /// Done in part: some messages or folders failed.
    Partial,
    /// Authentication was refused.
    Auth,
    /// No connection, or worth trying later.
    Unavailable,
    /// The server refused or broke the protocol.
    Server,
    /// Local trouble.
    Local,
    /// A limit that was asked for was reached.
    Limit,
    /// Another run holds the lock.
    Locked,
    /// Safety stop.
    Safety,
    /// The destination is over quota.
    Quota,
    /// A signal stopped the run; its number.
    Signal(i32),
}

impl ExitCode {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Differences => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Auth => 4,
            Self::Unavailable => 5,
            Self::Server => 6,
            Self::Local => 7,
            Self::Limit => 8,
            Self::Locked => 9,
            Self::Safety => 10,
            Self::Quota => 11,
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(255),
        }
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Usage => Self::Usage,
            Kind::Auth => Self::Auth,
            Kind::Network | Kind::Timeout | Kind::Busy => Self::Unavailable,
            Kind::Refused | Kind::Protocol => Self::Server,
            Kind::Local => Self::Local,
            Kind::Limit => Self::Limit,
            Kind::Locked => Self::Locked,
            Kind::Safety => Self::Safety,
            Kind::Quota => Self::Quota,
            Kind::Interrupted(signal) => Self::Signal(signal),
            Kind::BrokenPipe => Self::Success,
        }
    }
}
