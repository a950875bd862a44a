//! How long work tells of itself: events as they happen and counts at the end. Whoever shows them (`output`) and whoever
//! makes them (`transfer`) meet here and nowhere else.

pub mod advice;
mod checked;
pub mod compared;
mod left;

use serde::Serialize;

pub use checked::{Checked, Fault, Finding, Sampled, Sums};
pub use left::{KeptBack, Left, RemovedFrom, Verified};

/// How progress is shown.
#[derive(clap::ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// Bars, on a terminal
    #[default]
    Auto,
    /// Also where standard error is no terminal
    Always,
    /// Not at all
    Never,
    /// A JSON object per line
    Json,
}

/// How data is written to standard output.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line, as they arrive
    Jsonl,
    /// Tab-separated whole values
    Tsv,
}

impl Format {
    /// The format asked for, else a table on a terminal and `tsv` in a pipe.
    pub fn choose(option: Option<Self>, stdout_is_terminal: bool) -> Self {
        option.unwrap_or(if stdout_is_terminal { Self::Table } else { Self::Tsv })
    }

    /// Whether a program reads the output as JSON (errors are then objects too).
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// Something worth showing while a run goes on.
#[derive(Debug, Clone)]
pub enum Event {
    /// A folder was listed and this much of it is to be copied.
    Planned {
        /// The folder on the source.
        folder: String,
        /// Messages to copy.
        messages: u64,
        /// Octets to copy, as far as the source told sizes.
        bytes: u64,
    },
    /// One message arrived durably.
    Copied {
        /// The folder on the source.
        folder: String,
        /// Octets of it.
        bytes: u64,
    },
    /// One message did not; it is named in the summary too.
    Problem(Problem),
    /// The run waits, and why (settling, back-off).
    Waiting(String),
    /// A remark for people, shown once.
    Note(String),
    /// Nothing more will come.
    Finished,
}

/// Receives events; called from several threads.
pub trait Report: Send + Sync {
    /// Takes one event. Must not block for long.
    fn event(&self, event: Event);
}

/// A message (or folder) that did not make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// The folder on the source.
    pub folder: String,
    /// Its UID, or message number on POP3; absent when the folder itself is the problem.
    pub uid: Option<u32>,
    /// Why, in one sentence.
    pub reason: String,
}

/// Counts of one run or one folder; they balance (`TRANSFER.md`, step 11).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Counts {
    /// Messages the source listed.
    pub listed: u64,
    /// Left out because the user asked so.
    pub filtered: u64,
    /// Copied in this run.
    pub copied: u64,
    /// There already, by journal or by content.
    pub already_there: u64,
    /// Accepted by the server and merged with an identical one.
    pub merged: u64,
    /// Refused by the destination.
    pub refused: u64,
    /// Put aside because the source cannot give them or a server hangs up on them.
    pub quarantined: u64,
    /// Sent, and not known whether they arrived.
    pub unknown: u64,
    /// Listed, but gone before they were read.
    pub vanished: u64,
    /// Copied, but the destination made us change something.
    pub altered: u64,
    /// Flags changed on messages that were there already.
    pub flags_changed: u64,
    /// Known from earlier runs and no longer listed by the source.
    pub gone: u64,
    /// Octets copied in this run.
    pub bytes: u64,
}

impl Counts {
    /// Whether every listed message is accounted for.
    pub fn balanced(&self) -> bool {
        self.listed
            == self.copied
                + self.already_there
                + self.merged
                + self.refused
                + self.quarantined
                + self.vanished
                + self.unknown
                + self.filtered
    }

    /// Whether every message that should be at the destination is.
    pub fn complete(&self) -> bool {
        self.balanced() && self.refused == 0 && self.quarantined == 0 && self.unknown == 0
    }

    /// Adds another folder's counts.
    pub fn add(&mut self, other: &Self) {
        self.listed += other.listed;
        self.filtered += other.filtered;
        self.copied += other.copied;
        self.already_there += other.already_there;
        self.merged += other.merged;
        self.refused += other.refused;
        self.quarantined += other.quarantined;
        self.unknown += other.unknown;
        self.vanished += other.vanished;
        self.altered += other.altered;
        self.flags_changed += other.flags_changed;
        self.gone += other.gone;
        self.bytes += other.bytes;
    }
}

/// One folder's counts under its name on the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FolderCounts {
    /// The folder on the source.
    pub name: String,
    /// Its counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What a copying run did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Sums over all folders.
    pub counts: Counts,
    /// The same by folder.
    pub folders: Vec<FolderCounts>,
    /// Each message or folder that failed.
    pub problems: Vec<Problem>,
    /// Messages the destination made us change, and what: (folder, uid, words).
    pub altered: Vec<Problem>,
}
/// A number and what it counts, in a sentence: `1 message`, `3 messages`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
