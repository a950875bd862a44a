//! What the user chose for one transfer, and what stands in for the flags and dates of a source that keeps none. It knows
//! neither ends nor journal.

use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use crate::error::Result;
use crate::message::{Flag, InternalDate, Message};
use crate::plan::Wishes;
use crate::query::Query;
use crate::summary;

/// Which mail of a source without flags is to count as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    All,
    /// None of it.
    None,
    /// What is older than this.
    OlderThan(Duration),
}

impl Seen {
    /// Whether a message of this date counts as read.
    pub fn is_seen(self, date: InternalDate, now: InternalDate) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::OlderThan(age) => date.seconds < now.seconds.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

/// Where flags come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFlags {
    /// The source keeps them.
    Kept,
    /// The source has none (POP3): this policy stands in.
    None(Seen),
}

/// Where the date of a message comes from whose source keeps none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DateFrom {
    /// The topmost Received field, else Date, else now
    Received,
    /// The Date field, else now
    Date,
    /// Now
    Now,
}

impl DateFrom {
    /// The date of a message with this header, read at `now`.
    pub(super) fn date(self, header: &[u8], now: InternalDate) -> InternalDate {
        match self {
            Self::Received => summary::delivery_date_before(header, now.seconds).unwrap_or(now),
            Self::Date => {
                summary::Summary::of(header).date.filter(|date| (0..=now.seconds + 86_400).contains(&date.seconds)).unwrap_or(now)
            }
            Self::Now => now,
        }
    }
}

/// How much of a message is looked at for its date.
const HEADER_OCTETS: usize = 256 * 1024;

/// Gives a message that was read at `now` the date and the flags that stand in, as far as its source keeps none.
///
/// # Errors
/// [`crate::error::Kind::Local`] when its bytes cannot be read.
pub fn fill_in(message: &mut Message, flags: SourceFlags, date_from: DateFrom, now: InternalDate) -> Result<()> {
    if message.internal_date.is_none() {
        let header = message.body.prefix(HEADER_OCTETS)?;
        message.internal_date = Some(date_from.date(&header, now));
    }
    if let SourceFlags::None(seen) = flags
        && message.flags.is_empty()
        && seen.is_seen(message.internal_date.unwrap_or(now), now)
    {
        message.flags.push(Flag::seen());
    }
    Ok(())
}

/// What the user chose.
#[derive(Debug, Clone)]
pub struct Options {
    /// Flags of a source that has none.
    pub flags: SourceFlags,
    /// Dates of a source that has none.
    pub date_from: DateFrom,
    /// How long after its intent a message that cannot be found counts as not arrived.
    pub settle: Duration,
    /// Whether mail that is at the destination before the first visit counts as copied where it is the same.
    pub adopt: bool,
    /// Whether folders that are not there are made.
    pub create: bool,
    /// Whether copies that are done and no longer at the destination are sent once more.
    pub again: bool,
    /// Whether what the source listed is kept for whoever started the run.
    pub keeps_listings: bool,
    /// Which folders go, and where to.
    pub wishes: Wishes,
    /// Which messages go; empty for all.
    pub query: Query,
    /// How much may go.
    pub gate: Arc<Gate>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flags: SourceFlags::Kept,
            date_from: DateFrom::Received,
            settle: Duration::from_mins(10),
            adopt: true,
            create: true,
            again: false,
            keeps_listings: false,
            wishes: Wishes::default(),
            query: Query::default(),
            gate: Arc::default(),
        }
    }
}
