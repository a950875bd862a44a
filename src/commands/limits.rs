//! Options that end a run before all is done: by time, octets or messages. They say when; that nothing half done is left
//! behind is up to whoever copies.

use std::time::Duration;

use crate::cli::{duration, size};
use crate::context::Moment;
use crate::transfer::backup::Limits;

/// `--max-duration`, `--max-transfer` and `--max-messages`.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct LimitArgs {
    /// Begin no message after this time, and exit with 8
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    pub max_duration: Option<Duration>,
    /// Copy at most this many octets (500M, 2G; one message in any case), and exit with 8
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub max_transfer: Option<u64>,
    /// Copy at most N messages, and exit with 8
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_messages: Option<u64>,
}

impl LimitArgs {
    /// The limits of a run that began at `start`, as fast as it goes.
    pub fn from(self, start: Moment) -> Limits {
        Limits {
            until: self.max_duration.map(|time| start.after(time)),
            octets: self.max_transfer,
            messages: self.max_messages,
            octets_a_second: None,
        }
    }
}
