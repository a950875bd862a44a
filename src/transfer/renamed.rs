//! Messages that the source calls by another name than before: a folder under a new UIDVALIDITY, a maildrop with new
//! unique-ids, or with none. Nothing but their content tells that they were copied already.

use std::collections::{HashMap, HashSet};

use super::named::Name;
use super::pass::name_of;
use crate::message::{Digest, Key};
use crate::state::{CopyId, CopyRow, State};
use crate::store::Listing;

/// Copies whose messages are not listed under the key they had, each to be found once.
#[derive(Default)]
pub(super) struct Renamed {
    by_content: HashMap<Digest, Vec<(CopyId, State)>>,
    taken: HashSet<CopyId>,
}

impl Renamed {
    /// Those of `copies` that nothing in `listing` accounts for. What has gone from a folder whose UIDs still hold was deleted,
    /// and a message like it that came later is another one.
    pub(super) fn new(listing: &Listing, copies: &HashMap<String, CopyRow>) -> Self {
        if copies.is_empty() {
            return Self::default();
        }
        let listed: HashSet<Name> = listing.messages.iter().map(|listed| Name::of(&name_of(listed))).collect();
        let same_generation = listing.generation.map(Key::uid_prefix);
        let mut by_content: HashMap<Digest, Vec<(CopyId, State)>> = HashMap::new();
        for (name, row) in copies {
            let holds = same_generation.as_ref().is_some_and(|prefix| name.starts_with(prefix));
            if !holds && !listed.contains(&Name::of(name)) && !matches!(row.state, State::Pending | State::Refused) {
                by_content.entry(row.content).or_default().push((row.id, row.state));
            }
        }
        // The oldest go first, and of those that are there before those of which nobody knows.
        for rows in by_content.values_mut() {
            rows.sort_by_key(|(id, state)| (matches!(state, State::Done | State::Merged), std::cmp::Reverse(*id)));
        }
        Self { by_content, taken: HashSet::new() }
    }

    /// A copy of the same content, which no other message gets then.
    pub(super) fn claim(&mut self, content: Digest) -> Option<(CopyId, State)> {
        let rows = self.by_content.get_mut(&content)?;
        let found = std::iter::from_fn(|| rows.pop()).find(|(id, _)| !self.taken.contains(id))?;
        self.taken.insert(found.0);
        Some(found)
    }

    /// Takes a copy that a message has found under its own key; `false` when another message has claimed it.
    pub(super) fn keep(&mut self, copy: CopyId) -> bool {
        self.taken.insert(copy)
    }
}
