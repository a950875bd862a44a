//! The journal of copies: which source messages are at a destination, which were on their way when a run died, and what
//! was put aside. It records facts and intents that others established, one transaction a batch, and must never know
//! how they were established: no store, no server, no file of mail.
//!
//! A small file `runs` beside the database holds a counter. The first transaction after the write-ahead log was worked into
//! the database raises the counter in the database (so, in the new log), and then in that file, before anyone acts on it. A
//! database whose counter is behind the file has therefore lost a log, and with it facts that this tool acted upon.

pub mod archive;
mod commit;
mod database;
mod files;
mod journal;
mod leaving;
mod moves;
mod overview;
pub mod registry;
mod schema;
#[cfg(test)]
mod tests;

use crate::folder::Folder;
use crate::message::{Digest, Key};

/// The one generation of all that a folder of files ever held: files have no UIDVALIDITY.
pub const OF_FILES: u32 = 1;

pub use files::{default_dir, holder};
pub use journal::{Journal, Whereabouts};
pub use leaving::Leaver;
pub use moves::{Relocation, Route, Stage, has_open_moves};
pub use overview::{Failed, Progressed};

/// A folder of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxId(pub(in crate::state) i64);

/// A folder of the destination under one UIDVALIDITY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GenerationId(pub(in crate::state) i64);

/// Where a folder of the destination ended at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// Its UIDNEXT.
    pub uid_next: u32,
}

/// One source message on its way to one folder of the destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyId(pub(in crate::state) i64);

/// Where a copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Known not to be there: free to be sent.
    Pending,
    /// About to be sent, or sent and not yet answered.
    Intent,
    /// There, as the destination said.
    Done,
    /// Sent, and not known whether it arrived.
    Unknown,
    /// Known not to be there: the destination refused it.
    Refused,
    /// Accepted by the destination, which merged it with an identical one.
    Merged,
}

impl State {
    fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Intent => 1,
            Self::Done => 2,
            Self::Unknown => 3,
            Self::Refused => 4,
            Self::Merged => 5,
        }
    }

    fn from_code(code: i64) -> Option<Self> {
        [Self::Pending, Self::Intent, Self::Done, Self::Unknown, Self::Refused, Self::Merged].into_iter().find(|state| state.code() == code)
    }

    /// As an error names it.
    fn words(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Intent => "intent",
            Self::Done => "done",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Merged => "merged",
        }
    }
}

/// A message of the destination that was there before our first copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baseline {
    /// Its UID.
    pub uid: u32,
    /// Its size in octets, as listed.
    pub size: Option<u64>,
    /// Its INTERNALDATE in seconds since 1970 UTC.
    pub internal_date: Option<i64>,
}

/// What the journal knows of one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRow {
    /// Its number.
    pub id: CopyId,
    /// Where it stands.
    pub state: State,
    /// Content digest.
    pub content: Digest,
    /// Its UID at the destination, where known.
    pub uid: Option<u32>,
    /// The generation of that UID, or the one it was sent into.
    pub generation: Option<GenerationId>,
    /// How many connections were lost at it.
    pub tries: u32,
    /// Whether the destination made us change something.
    pub altered: bool,
    /// Digests of the header and of the body alone, where both were taken and asked for ([`Journal::copies_in_full`]).
    pub parts: Option<Box<(Digest, Digest)>>,
    /// Length in octets as the source gave it.
    pub length: u64,
}

/// A copy that has to be looked for: its fate is open (state [`State::Intent`] or [`State::Unknown`]), or it is done and where
/// it lies is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its number.
    pub id: CopyId,
    /// The source's place.
    pub source: String,
    /// The folder on the source.
    pub folder: Folder,
    /// Text of the source message's [`Key`].
    pub key: String,
    /// Digest of the bytes as the source gave them.
    pub exact: Digest,
    /// Content digest.
    pub content: Digest,
    /// Header digest, where it was taken.
    pub header: Option<Digest>,
    /// Content digest of the body alone, where it was taken.
    pub body: Option<Digest>,
    /// Length in octets as the source gave it.
    pub length: u64,
    /// UIDNEXT of the destination folder at some moment before the sending: no UID below it is this copy.
    pub floor: Option<u32>,
    /// The generation it was sent into.
    pub generation: Option<GenerationId>,
    /// When the intent was made, or when it was given up to wait for its answer, in seconds since 1970 UTC.
    pub intended_at: i64,
    /// How many connections were lost at it.
    pub tries: u32,
    /// [`State::Intent`], [`State::Unknown`] or [`State::Done`].
    pub state: State,
}

/// A copy that is done, by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brought {
    /// Its UID.
    pub uid: u32,
    /// Content digest.
    pub content: Digest,
    /// Header digest, where it was taken.
    pub header: Option<Digest>,
    /// Content digest of the body alone, where it was taken.
    pub body: Option<Digest>,
}

/// All that is written down before a message is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIntent {
    /// The source's place.
    pub source: String,
    /// The folder on the source.
    pub folder: Folder,
    /// The source message.
    pub key: Key,
    /// The destination folder.
    pub mailbox: MailboxId,
    /// Its generation.
    pub generation: GenerationId,
    /// Digest of the bytes as the source gave them.
    pub exact: Digest,
    /// Content digest.
    pub content: Digest,
    /// Header digest, where taken.
    pub header: Option<Digest>,
    /// Content digest of the body alone, where taken.
    pub body: Option<Digest>,
    /// Length in octets.
    pub length: u64,
    /// UIDNEXT of the destination folder, or any older one.
    pub floor: u32,
    /// Now, in seconds since 1970 UTC.
    pub at: i64,
    /// Send it although the journal says it is done or merged; its former UID then joins the baseline.
    pub again: bool,
}

/// One change of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The message is about to be sent. Fails on a copy that is an intent, unknown, or (without `again`) done or merged.
    Intend(NewIntent),
    /// The message is at the destination already; it becomes done without having been sent. Fails as [`Change::Intend`].
    Adopted {
        /// What it would have been.
        copy: NewIntent,
        /// Its UID, where known.
        uid: Option<(GenerationId, u32)>,
    },
    /// An intent or unknown is there.
    Done {
        /// Which.
        copy: CopyId,
        /// Its UID, where known.
        uid: Option<(GenerationId, u32)>,
        /// Whether the destination made us change something.
        altered: bool,
    },
    /// Where a copy lies that is done: its UID was not told, or the folder has another UIDVALIDITY now.
    Placed {
        /// Which.
        copy: CopyId,
        /// Its UID.
        uid: (GenerationId, u32),
    },
    /// The source calls the message of a copy by another key now.
    Renamed {
        /// Which.
        copy: CopyId,
        /// What it is called; no other copy of the folder may have it.
        key: Key,
    },
    /// The answer to an intent never came.
    Unknown {
        /// Which.
        copy: CopyId,
        /// Now, in seconds since 1970 UTC: until then it may have been on its way, so the time it is looked for begins anew.
        at: i64,
        /// Whether the destination made us change something.
        altered: bool,
    },
    /// The destination refused an intent.
    Refused {
        /// Which.
        copy: CopyId,
        /// Its words.
        reason: String,
    },
    /// An intent or unknown is known not to be there.
    Pending {
        /// Which.
        copy: CopyId,
    },
    /// The destination accepted an intent and merged it with an identical message.
    Merged {
        /// Which.
        copy: CopyId,
    },
    /// The source's message of a copy that is done was removed by us: the copy is nobody's from now on, and a message that
    /// is called the same later is another one.
    Released {
        /// Which.
        copy: CopyId,
    },
    /// The source's message of a copy that is done is about to be removed by us.
    Leaving {
        /// Which.
        copy: CopyId,
    },
    /// It was not removed.
    Stays {
        /// Which.
        copy: CopyId,
    },
    /// A message that did not make it is not to be tried any more, because a person said so.
    Ignored {
        /// The source's place.
        source: String,
        /// The folder on the source.
        folder: Folder,
        /// Text of its key.
        key: String,
        /// Why it did not make it.
        reason: String,
    },
    /// The message is there already, brought by another source whose copy stays that one's: it counts as merged with it.
    Counted {
        /// What would have been sent.
        copy: NewIntent,
    },
    /// A connection was lost at an intent or unknown: its tries go up by one.
    Lost {
        /// Which.
        copy: CopyId,
    },
    /// A source message is put aside, or was so again: its tries go up by one.
    Quarantine {
        /// The source's place.
        source: String,
        /// The folder on the source.
        folder: Folder,
        /// Its key, where known.
        key: Option<Key>,
        /// Its UID or message number.
        uid: Option<u32>,
        /// Why.
        reason: String,
    },
    /// Everything of a source folder was dealt with at a generation of the destination.
    Visited {
        /// The source's place.
        source: String,
        /// The folder on the source.
        folder: Folder,
        /// Where it went.
        generation: GenerationId,
    },
    /// A source folder goes to a folder of the destination, from now on whenever the same folder (or none) is named there.
    Paired {
        /// The source's place.
        source: String,
        /// The folder on the source.
        folder: Folder,
        /// The folder that was named at the destination.
        into: Option<Folder>,
        /// Where it goes.
        mailbox: MailboxId,
    },
    /// A message leaves the quarantine, and is no longer ignored.
    Release {
        /// The source's place.
        source: String,
        /// The folder on the source.
        folder: Folder,
        /// As [`Journal::quarantine`] keyed it.
        key: String,
    },
}

/// Changes that become durable together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch(pub Vec<Change>);

/// A source message put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// Its UID or message number.
    pub uid: Option<u32>,
}

/// One run as the journal remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it began, in seconds since 1970 UTC.
    pub started: i64,
    /// When it ended; `None` for one that still runs or died.
    pub finished: Option<i64>,
    /// Whether it did all it was asked to.
    pub complete: bool,
}
