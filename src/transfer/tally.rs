//! The tally of a run: what became of each message, folder by folder, and the outcome that it adds up to. It asks neither
//! end nor the journal.

use std::collections::{HashMap, HashSet};

use super::named::{ByName, Name};
use super::pass::{Adoptable, name_of};
use crate::error::Error;
use crate::message::Message;
use crate::plan::Pair;
use crate::report::{Counts, FolderCounts, Outcome, Problem};
use crate::store::Listed;

/// What became of one message in this run.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Copied {
        id: u32,
        bytes: u64,
        altered: Vec<String>,
    },
    AlreadyThere,
    Refused {
        id: u32,
        reason: String,
    },
    Quarantined {
        id: u32,
        reason: String,
    },
    Unknown {
        id: u32,
    },
    Vanished,
    /// Left out because the user asked so.
    Filtered,
}

/// What stays in mind of a message that was listed.
pub(super) struct Noted {
    name: Name,
    /// Whether that name stays the same from one listing to the next.
    keyed: bool,
}

impl From<&Listed> for Noted {
    fn from(listed: &Listed) -> Self {
        Self { name: Name::of(&name_of(listed)), keyed: listed.key.is_some() }
    }
}

/// A pair of folders and how far it is.
pub(super) struct Work {
    pub(super) pair: Pair,
    pub(super) tally: ByName<Fate>,
    /// Sessions lost at a message.
    pub(super) losses: HashMap<String, u32>,
    /// Messages that the destination refused because it wants more time: how often, and how many messages of the run it had taken
    /// when that began.
    pub(super) slowed: HashMap<String, (u32, u64)>,
    /// Keys of messages that were put aside while nobody knows whether they are there: this run waits for them no more.
    pub(super) given_up: HashSet<String>,
    /// What the destination made us change of messages whose fate is open, by key.
    pub(super) altered: HashMap<String, Vec<String>>,
    pub(super) listed: Vec<Noted>,
    /// Listed messages that were done before this run.
    pub(super) done_before: ByName<()>,
    pub(super) failed: Option<Error>,
    /// Whether a query holds for messages that were looked into, by their keys.
    pub(super) meant: HashMap<String, bool>,
    /// Copies of other sources that are at the destination and count for none of these messages yet.
    pub(super) brought: Option<Adoptable>,
    /// Messages that were read and not sent because the destination was lost, by key.
    pub(super) shelf: HashMap<String, Message>,
    /// All that was listed, where whoever started the run wants it.
    pub(super) kept: Option<Vec<Listed>>,
}

impl Work {
    pub(super) fn new(pair: Pair, keeps_listing: bool) -> Self {
        Self {
            pair,
            tally: ByName::default(),
            losses: HashMap::new(),
            slowed: HashMap::new(),
            given_up: HashSet::new(),
            altered: HashMap::new(),
            listed: Vec::new(),
            done_before: ByName::default(),
            failed: None,
            meant: HashMap::new(),
            brought: None,
            shelf: HashMap::new(),
            kept: keeps_listing.then(Vec::new),
        }
    }

    /// Whether nobody knows of some message whether it arrived.
    pub(super) fn any_unknown(&self) -> bool {
        self.tally.values().any(|fate| matches!(fate, Fate::Unknown { .. }))
    }

    /// Whether messages that may have been read did not arrive; those left out were read where they were `looked_into`.
    pub(super) fn leaves_behind(&self, looked_into: bool) -> bool {
        let is_left = |fate: &Fate| match fate {
            Fate::Refused { .. } | Fate::Quarantined { .. } | Fate::Unknown { .. } => true,
            Fate::Filtered => looked_into,
            Fate::Copied { .. } | Fate::AlreadyThere | Fate::Vanished => false,
        };
        self.failed.is_some() || self.tally.values().any(is_left)
    }

    /// Whether messages of the folder were left out.
    pub(super) fn leaves_out(&self) -> bool {
        self.tally.values().any(|fate| matches!(fate, Fate::Filtered))
    }

    /// Accounts for a listing. A later one of the same run may lack messages that were listed before, and bring new ones.
    pub(super) fn note_listing(&mut self, messages: &[Listed]) {
        if let Some(kept) = &mut self.kept {
            let before: HashSet<Name> = self.listed.iter().map(|noted| noted.name).collect();
            kept.extend(messages.iter().filter(|listed| !before.contains(&Name::of(&name_of(listed)))).cloned());
        }
        if self.listed.is_empty() {
            self.listed = messages.iter().map(Noted::from).collect();
            return;
        }
        let now: HashSet<Name> = messages.iter().map(|listed| Name::of(&name_of(listed))).collect();
        let before: HashSet<Name> = self.listed.iter().map(|noted| noted.name).collect();
        for gone in self.listed.iter().filter(|noted| !now.contains(&noted.name)) {
            // Without a key nothing tells whether it was read before it went.
            if gone.keyed && !self.done_before.knows(gone.name) {
                self.tally.entry_of(gone.name).or_insert(Fate::Vanished);
            }
        }
        self.listed.extend(messages.iter().map(Noted::from).filter(|noted| !before.contains(&noted.name)));
    }
}

/// What the tallies add up to, with every problem by name.
pub(super) fn outcome(works: &[Work]) -> Outcome {
    let mut outcome = Outcome::default();
    for work in works {
        let mut counts = Counts { listed: work.listed.len() as u64, already_there: work.done_before.len() as u64, ..Counts::default() };
        let folder = work.pair.source.folder.to_string();
        let mut problems: Vec<(u32, String)> = Vec::new();
        let mut altered_here: Vec<(u32, String)> = Vec::new();
        for fate in work.tally.values() {
            match fate {
                Fate::Copied { id, bytes, altered } => {
                    counts.copied += 1;
                    counts.bytes += bytes;
                    if !altered.is_empty() {
                        counts.altered += 1;
                        altered_here.push((*id, altered.join("; ")));
                    }
                }
                Fate::AlreadyThere => counts.already_there += 1,
                Fate::Refused { id, reason } => {
                    counts.refused += 1;
                    problems.push((*id, reason.clone()));
                }
                Fate::Quarantined { id, reason } => {
                    counts.quarantined += 1;
                    problems.push((*id, reason.clone()));
                }
                Fate::Unknown { id } => {
                    counts.unknown += 1;
                    problems.push((*id, "it was sent, and no answer tells whether it arrived; the next run finds out".to_owned()));
                }
                Fate::Vanished => counts.vanished += 1,
                Fate::Filtered => counts.filtered += 1,
            }
        }
        problems.sort();
        altered_here.sort();
        let named = |(uid, reason): (u32, String)| Problem { folder: folder.clone(), uid: Some(uid), reason };
        outcome.problems.extend(problems.into_iter().map(named));
        outcome.altered.extend(altered_here.into_iter().map(named));
        if let Some(error) = &work.failed {
            outcome.problems.push(Problem { folder: folder.clone(), uid: None, reason: error.to_string() });
        }
        outcome.counts.add(&counts);
        outcome.folders.push(FolderCounts { name: folder, counts });
    }
    outcome
}
