//! What a look at a store of backups found.

use serde::Serialize;

/// What is wrong with an item of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A file does not have the digest that was recorded.
    Damaged,
    /// A file is not there.
    Missing,
    /// A file that the journal does not know.
    Extra,
    /// The journal contradicts itself or the files.
    Contradiction,
    /// The manifest does not list the files as they are.
    Manifest,
    /// A message of the server is not in the store, though a complete run passed it.
    NotStored,
    /// A message of the server came after the last complete run.
    NotYetBackedUp,
    /// The server's message is another than the one in the store.
    Different,
}

/// An item that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Finding {
    /// What is wrong.
    pub kind: Fault,
    /// The account's directory in the store.
    pub account: Option<String>,
    /// The folder.
    pub folder: Option<String>,
    /// UID, where the item is one message of IMAP.
    pub uid: Option<u32>,
    /// Its file, below the store.
    pub path: Option<String>,
    /// What was found, and what to do, in one sentence.
    pub reason: String,
    /// Whether it is put right now.
    pub repaired: bool,
}

/// How much of a store was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Sampled {
    /// Files that were read, picked at random.
    pub files: u64,
    /// Of so many.
    pub of: u64,
}

/// The sums of a look at a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Sums {
    /// Files looked for.
    pub checked: u64,
    /// Of these as they should be.
    pub ok: u64,
    /// Files with another digest than recorded.
    pub damaged: u64,
    /// Files that are not there, and messages of the server that a complete run should have brought.
    pub missing: u64,
    /// Files that the journal does not know.
    pub extra: u64,
    /// Contradictions within the journal, and manifests that are not the store's.
    pub contradictions: u64,
    /// Messages of the server that are other messages than those in the store.
    pub different: u64,
    /// Messages of the server that came after the last complete run.
    pub not_yet_backed_up: u64,
    /// Findings that were put right.
    pub repaired: u64,
    /// Messages that the server listed; null where it was not asked.
    pub on_server: Option<u64>,
}

/// What a look at a store came to.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The sums.
    pub sums: Sums,
    /// Octets read.
    pub octets: u64,
    /// How much was read, where not everything was.
    pub sample: Option<Sampled>,
    /// Each finding.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Adds a finding that stands for `messages`.
    pub fn found(&mut self, finding: Finding, messages: u64) {
        let count = match finding.kind {
            Fault::Damaged => &mut self.sums.damaged,
            Fault::Missing | Fault::NotStored => &mut self.sums.missing,
            Fault::Extra => &mut self.sums.extra,
            Fault::Contradiction | Fault::Manifest => &mut self.sums.contradictions,
            Fault::NotYetBackedUp => &mut self.sums.not_yet_backed_up,
            Fault::Different => &mut self.sums.different,
        };
        *count += messages;
        self.findings.push(finding);
    }

    /// Whether nothing is wrong, or all of it was put right.
    pub fn whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired)
    }
}
