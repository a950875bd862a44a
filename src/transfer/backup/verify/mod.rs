//! Proving a store of backups whole: its files against the journal, the journal against itself, and both against the server.
//! Looking changes nothing anywhere; what is put right is in `repair`, and files come from the server only when their content is
//! the one on record.

mod files;
mod manifest;
mod repair;
mod server;

use std::path::Path;
use std::sync::Arc;

use crate::context::Context;
use crate::error::Result;
use crate::net::Trace;
use crate::report::{Checked, Fault, Finding, Report};
use crate::state::archive::{Account, Archive, ArchiveFile, ArchiveFolder, Entry};
use crate::store::vault::{Lying, Vault};

pub use files::FOREIGN;
pub(super) use files::short;
pub use repair::Repair;
pub use server::{Reading, compare};

/// How many of the files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// So many hundredths of a percent, but at least one file.
    Share(u32),
    /// So many files.
    Files(u64),
}

impl Sample {
    /// How many of `all` files that is.
    pub fn of(self, all: u64) -> u64 {
        let wanted = match self {
            Self::Share(share) => u64::try_from((u128::from(all) * u128::from(share)).div_ceil(10_000)).unwrap_or(all).max(1),
            Self::Files(files) => files.max(1),
        };
        wanted.min(all)
    }
}

/// A look at a store.
pub struct Look<'a> {
    /// Time and signals.
    pub context: &'a Context,
    /// Who is told.
    pub report: &'a dyn Report,
    /// The protocol trace.
    pub trace: &'a Trace,
    /// The directory of the store.
    pub root: &'a Path,
    /// How many files are read; `None` for all.
    pub sample: Option<Sample>,
    /// Whether what is wrong is to be put right, and so more is kept of it than words.
    pub mend: bool,
}

/// A file that is not as the journal has it.
pub(super) struct Suspect {
    pub(super) account: Arc<Account>,
    pub(super) folder: Arc<ArchiveFolder>,
    pub(super) file: ArchiveFile,
    pub(super) entries: Vec<Entry>,
    /// Its path below the store; `None` for one that is not there.
    pub(super) path: Option<String>,
    /// Its finding.
    pub(super) finding: usize,
}

/// A file that the journal does not have.
pub(super) struct Stray {
    pub(super) account: Arc<Account>,
    pub(super) folder: Arc<ArchiveFolder>,
    pub(super) lying: Lying,
    /// Whether another file of the folder has the same name but for its flags.
    pub(super) twin: bool,
    /// Its finding.
    pub(super) finding: usize,
}

/// What is wrong, and where [`Look::mend`] asks for it all that is needed to put it right.
#[derive(Default)]
pub struct Found {
    /// The counts and findings.
    pub checked: Checked,
    pub(super) suspects: Vec<Suspect>,
    pub(super) strays: Vec<Stray>,
    /// Whether the journal contradicts itself or the names of files: it has to be made anew.
    pub(super) contradicts: bool,
    /// Accounts whose manifest is not right.
    pub(super) manifests: Vec<(Account, usize)>,
}

impl Found {
    pub(super) fn note(
        &mut self,
        kind: Fault,
        account: Option<&Account>,
        folder: Option<&ArchiveFolder>,
        reason: impl Into<String>,
    ) -> usize {
        self.notes(kind, account, folder, reason, 1)
    }

    /// One finding that stands for several.
    pub(super) fn notes(
        &mut self,
        kind: Fault,
        account: Option<&Account>,
        folder: Option<&ArchiveFolder>,
        reason: impl Into<String>,
        count: u64,
    ) -> usize {
        self.checked.found(
            Finding {
                kind,
                account: account.map(|account| account.name.clone()),
                folder: folder.map(|folder| folder.folder.to_string()),
                uid: None,
                path: None,
                reason: reason.into(),
                repaired: false,
            },
            count,
        );
        self.checked.findings.len() - 1
    }

    pub(super) fn name(&mut self, finding: usize, uid: Option<u32>, path: Option<String>) {
        if let Some(finding) = self.checked.findings.get_mut(finding) {
            finding.uid = uid;
            finding.path = path;
        }
    }

    /// Whether the journal has to be made anew before anything else can be put right.
    pub fn needs_rebuild(&self) -> bool {
        self.contradicts
    }

    /// What the journal says against itself.
    pub fn contradictions(&self) -> Vec<Finding> {
        self.checked.findings.iter().filter(|finding| finding.kind == Fault::Contradiction).cloned().collect()
    }

    /// Takes over findings that a new journal has put right.
    pub fn settled(&mut self, findings: Vec<Finding>) {
        if self.contradicts {
            return;
        }
        for finding in findings {
            self.checked.found(finding, 1);
            self.mended(self.checked.findings.len() - 1);
        }
    }

    /// A finding is put right.
    pub(super) fn mended(&mut self, finding: usize) {
        if let Some(finding) = self.checked.findings.get_mut(finding).filter(|finding| !finding.repaired) {
            finding.repaired = true;
            self.checked.sums.repaired += 1;
        }
    }

    /// A finding cannot be put right, and why.
    pub(super) fn beyond(&mut self, finding: usize, why: &str) {
        if let Some(finding) = self.checked.findings.get_mut(finding) {
            finding.reason.push_str("; ");
            finding.reason.push_str(why);
        }
    }
}

/// Looks at the journal and the files of a store.
///
/// # Errors
/// The journal or the directories cannot be read; a signal. What is wrong with single files is a finding.
pub fn look(look: &Look<'_>, archive: &Archive, vault: &mut dyn Vault) -> Result<Found> {
    let mut found = Found::default();
    for words in archive.check()? {
        found.note(Fault::Contradiction, None, None, words);
        found.contradicts = true;
    }
    if found.contradicts {
        // What its tables say of files is not worth a comparison.
        return Ok(found);
    }
    files::check(look, archive, vault, &mut found)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_at_least_one_file_and_never_more_than_there_are() {
        assert_eq!((Sample::Share(500).of(1000), Sample::Share(500).of(3), Sample::Share(1).of(0)), (50, 1, 0));
        assert_eq!((Sample::Files(7).of(1000), Sample::Files(7).of(3), Sample::Files(0).of(3)), (7, 3, 1));
        assert_eq!(Sample::Share(10_000).of(u64::MAX), u64::MAX);
    }
}
