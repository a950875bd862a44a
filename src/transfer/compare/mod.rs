//! Comparing two places message by message with as little reading as proof takes (`TRANSFER.md`, Matching). It sees sources and
//! never a protocol; it changes nothing, and what it makes of two listings is computed in `matching`.

mod leftovers;
mod places;
mod reader;
mod rows;
mod steps;
mod table;

use super::Open;
use crate::context::Context;
use crate::error::Result;
use crate::folder::Folder;
use crate::message::Flag;
use crate::report::Report;
use crate::report::compared::Compared;
use crate::store::{Listed, Source};

/// One side of a comparison.
pub struct Side<'a> {
    /// Opens it read-only, again after each loss.
    pub open: Open<'a, dyn Source>,
    /// The one folder that is meant; `None` for all.
    pub only: Option<Folder>,
}

/// What an earlier run knows: (folder and key text on the first side, folder, UIDVALIDITY and UID on the second).
pub type Known = Vec<((Folder, String), (Folder, u32, u32))>;

/// What is compared, and how closely.
pub struct Comparison<'a> {
    /// Time and signals.
    pub context: &'a Context,
    /// Who is told.
    pub report: &'a dyn Report,
    /// The first side.
    pub a: Side<'a>,
    /// The second side.
    pub b: Side<'a>,
    /// Whether the first side is a maildrop. Its one folder is looked for in INBOX (or the folder that is meant) first, and what is
    /// left over in every other folder of the second side. Of those only what is found counts as listed: mail that never was in
    /// the maildrop is no difference.
    pub maildrop: bool,
    /// Reads every message whole and compares contents.
    pub full: bool,
    /// Reads the header of every message, so that rows of messages that are the same have a date, a Message-ID and a subject too.
    pub headers_for_all: bool,
    /// Pairs that the journal knows.
    pub known: Known,
}

impl Comparison<'_> {
    /// Compares.
    ///
    /// # Errors
    /// What kept a listing from being complete, after retries. A message that cannot be read is a row of the result.
    pub fn run(self) -> Result<Compared> {
        steps::Bench::new(&self).run(&self)
    }

    /// Matches without looking for what differs: hands over each message of the first side that has a counterpart on the second of
    /// which more than a guess tells, and that one's flags, as far as the listing of the second side told them.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn partners(self, each: &mut dyn FnMut(&Listed, Option<&[Flag]>)) -> Result<()> {
        steps::Bench::new(&self).partners(&self, each)
    }
}

#[cfg(test)]
mod tests;
