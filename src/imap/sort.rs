//! SORT (RFC 5256): the keys by which a server puts a mailbox in order, and the order it answers. What the keys mean when the
//! server has no SORT is for whoever asks.

use super::encode::Command;
use super::selected::{MAX_SET, Selected};
use super::session::Capabilities;
use super::types::{Response, Untagged};
use super::uid_set::{Gathered, UidSet};
use crate::error::{Error, Kind, Result};
use crate::net::Phase;

/// What a mailbox is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// What is compared.
    pub by: SortBy,
    /// Whether the greatest comes first.
    pub reverse: bool,
}

/// What two messages are compared by (RFC 5256 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// INTERNALDATE.
    Arrival,
    /// The local part of the first address of `Cc`.
    Cc,
    /// `Date`, else INTERNALDATE.
    Date,
    /// The local part of the first address of `From`.
    From,
    /// Octets.
    Size,
    /// The base subject: without `Re:` and the like.
    Subject,
    /// The local part of the first address of `To`.
    To,
}

impl SortBy {
    fn wire(self) -> &'static str {
        match self {
            Self::Arrival => "ARRIVAL",
            Self::Cc => "CC",
            Self::Date => "DATE",
            Self::From => "FROM",
            Self::Size => "SIZE",
            Self::Subject => "SUBJECT",
            Self::To => "TO",
        }
    }
}

/// Whether the server sorts.
pub(super) fn is_offered(capabilities: &Capabilities) -> bool {
    capabilities.has("SORT")
}

fn sort_command(keys: &[SortKey]) -> Command {
    let mut command = Command::new("UID SORT").raw(" (");
    for (index, key) in keys.iter().enumerate() {
        command = command.raw(if index > 0 { " " } else { "" }).raw(if key.reverse { "REVERSE " } else { "" }).raw(key.by.wire());
    }
    command.raw(") UTF-8 ")
}

pub(super) fn sort_all_command(keys: &[SortKey]) -> Command {
    sort_command(keys).raw("ALL")
}

impl Selected<'_> {
    /// All UIDs in the order of `keys`, of which there is one at least. `None` where the server does not sort, refuses to,
    /// leaves messages out or tells of one twice.
    ///
    /// # Errors
    /// Loss of the connection; more messages than the mailbox can hold.
    pub fn sort_all(&mut self, keys: &[SortKey]) -> Result<Option<Vec<u32>>> {
        let exists = self.state().exists;
        // One that leaves messages out would hide them.
        Ok(self.sorted(&sort_all_command(keys))?.filter(|order| order.len() as u64 >= exists))
    }

    /// As [`Self::sort_all`] of the messages `uids`.
    ///
    /// # Errors
    /// As [`Self::sort_all`].
    pub fn sort(&mut self, keys: &[SortKey], uids: &UidSet) -> Result<Option<Vec<u32>>> {
        if uids.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let sets = uids.split(MAX_SET);
        let found = match sets.as_slice() {
            [set] => self.sorted(&sort_command(keys).raw("UID ").uid_set(set)?)?,
            // A set too long for a line: the order of all holds the order of each.
            _ => self.sort_all(keys)?,
        };
        let only = |mut order: Vec<u32>| {
            order.retain(|uid| uids.contains(*uid));
            order
        };
        Ok(found.map(only).filter(|order| order.len() as u64 >= uids.len()))
    }

    fn sorted(&mut self, command: &Command) -> Result<Option<Vec<u32>>> {
        if !is_offered(&self.session.capabilities) {
            return Ok(None);
        }
        let most = self.most_messages();
        let mut order = Vec::new();
        self.session.wire.expect_long_lines(true);
        let outcome = self.session.run(command, Phase::Listing, "SORT was refused", &mut |received| {
            if let Response::Untagged(Untagged::Sort(uids)) = received.response {
                if order.is_empty() {
                    order = uids;
                } else {
                    order.extend(uids);
                }
            }
            if order.len() as u64 > most { Err(Error::protocol("the server lists more than the mailbox can hold")) } else { Ok(()) }
        });
        self.session.wire.expect_long_lines(false);
        match outcome {
            Ok(_) => {
                let mut different = Gathered::default();
                for uid in &order {
                    different.extend([*uid]);
                    if different.is_too_much() {
                        return Ok(None);
                    }
                }
                // A message that comes twice would be shown twice: that is no order.
                Ok((different.finish().len() == order.len() as u64).then_some(order))
            }
            Err(error) if error.kind() == Kind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }
}
