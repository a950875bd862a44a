//! What leaving a source came to: what was read back, what was taken away there, and what stayed and why.

use std::collections::BTreeMap;

use serde::Serialize;

/// What became of messages at the source that were to be removed (`--delete-source`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Left {
    /// Messages removed from the source in this run.
    pub removed: u64,
    /// The same by folder of the source.
    pub removed_from: Vec<RemovedFrom>,
    /// Messages that the source listed and that stay there, by folder and reason.
    pub kept_back: Vec<KeptBack>,
}

/// How many messages of a folder were removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RemovedFrom {
    /// The folder on the source.
    pub folder: String,
    /// Messages.
    pub messages: u64,
}

/// How many messages of a folder stay, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct KeptBack {
    /// The folder on the source.
    pub folder: String,
    /// Why.
    pub reason: String,
    /// Messages.
    pub messages: u64,
}

impl Left {
    /// Counts messages that went.
    pub fn remove(&mut self, folder: &str, messages: u64) {
        if messages > 0 {
            self.removed += messages;
            self.removed_from.push(RemovedFrom { folder: folder.to_owned(), messages });
        }
    }

    /// Counts messages that stay.
    pub fn keep(&mut self, folder: &str, reason: &str, messages: u64) {
        if messages == 0 {
            return;
        }
        match self.kept_back.iter_mut().find(|one| one.folder == folder && one.reason == reason) {
            Some(one) => one.messages += messages,
            None => self.kept_back.push(KeptBack { folder: folder.to_owned(), reason: reason.to_owned(), messages }),
        }
    }

    /// How many stay for each reason, over all folders.
    pub fn reasons(&self) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for one in &self.kept_back {
            *sums.entry(one.reason.as_str()).or_default() += one.messages;
        }
        sums
    }
}

/// What reading copies back came to (`--verify`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Verified {
    /// Copies that were looked for: those of all messages that the source lists, also of earlier runs.
    pub copies: u64,
    /// They are what was sent.
    pub same: u64,
    /// They are something else, or cannot be read.
    pub different: u64,
    /// They are not where they were put any more.
    pub missing: u64,
}
