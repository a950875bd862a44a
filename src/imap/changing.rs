//! The verbs of a selected mailbox that change it: flags, copies, moves, expunging just the named. Fallbacks live inside
//! the verb; sets are cut so that no command exceeds 8,000 octets and the commands are pipelined. It never decides what to
//! change and keeps no record.

use super::selected::Selected;
use super::uid_set::UidSet;
use crate::error::{Error, Result};
use crate::message::Flag;

/// What is done with flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Set,
}

/// What a STORE did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Left alone because somebody changed them meanwhile (MODIFIED, RFC 7162 section 3.1.3).
    pub modified: UidSet,
}

impl Selected<'_> {
    /// UID STORE, silent, split and pipelined; with `unchanged_since` only of messages that nobody changed after that MODSEQ
    /// (needs CONDSTORE; without it the condition is left out).
    ///
    /// # Errors
    /// Refusal (what was stored before it stays stored) or loss of the connection.
    pub fn store(&mut self, _uids: &UidSet, _change: Change, _flags: &[Flag], _unchanged_since: Option<u64>) -> Result<Stored> {
        Err(Error::usage("seam"))
    }

    /// UID COPY into another mailbox of the server, split and pipelined: each UID and its UID there, where the server tells
    /// (COPYUID); UIDs the server left out (gone meanwhile) are absent only where it tells.
    ///
    /// # Errors
    /// Refusal (TRYCREATE keeps its code in the server's words) or loss of the connection.
    pub fn copy(&mut self, _uids: &UidSet, _to: &[u8]) -> Result<Vec<(u32, Option<u32>)>> {
        Err(Error::usage("seam"))
    }

    /// UID MOVE (RFC 6851). `None` where the server has no MOVE, and nothing was sent.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn move_to(&mut self, _uids: &UidSet, _to: &[u8]) -> Result<Option<Vec<(u32, Option<u32>)>>> {
        Err(Error::usage("seam"))
    }

    /// UID EXPUNGE of just these, which carry `\\Deleted` already. `false` where the server has no UIDPLUS, and nothing was
    /// sent: a plain EXPUNGE could take other messages along.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn expunge(&mut self, _uids: &UidSet) -> Result<bool> {
        Err(Error::usage("seam"))
    }
}
