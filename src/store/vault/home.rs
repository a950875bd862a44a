//! One folder of a store, open: its directories, held so that nothing can be swapped behind them, and where its files are now,
//! whatever a mail program did to their names.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::Stat;

use crate::error::Result;
use crate::folder::Folder;
use crate::message::Flag;
use crate::store::files::Dir;
use crate::store::maildir::keywords::Keywords;
use crate::store::maildir::{self, LETTERS};

/// What `.eml` files end with.
pub(super) const EML: &str = ".eml";
pub(super) const NEW: usize = 0;
pub(super) const CUR: usize = 1;

/// A folder, open.
pub(super) struct Home {
    pub(super) account: String,
    pub(super) folder: Folder,
    /// Its path below the root of the store.
    pub(super) path: String,
    pub(super) dir: Dir,
    /// `new` and `cur`; in a folder of `.eml` files it is itself the second.
    pub(super) halves: [Option<Dir>; 2],
    /// Where files are written; `None` before it is written to for the first time.
    pub(super) temporary: Option<Dir>,
    /// Whether one sync of the file system is enough for it.
    pub(super) covered: bool,
    pub(super) eml: bool,
    pub(super) keywords: Keywords,
    /// Keywords that get no letter here.
    pub(super) roomless: Vec<Flag>,
    /// It was made just now, so that nothing can lie in it that the caller does not know of.
    pub(super) fresh: bool,
    /// Files may lie in it that the caller does not know of, under other flags than it would give them.
    pub(super) doubtful: bool,
    /// That this may be so is noted in it, durably.
    pub(super) noted: bool,
    pub(super) known: Option<Known>,
}

/// A listing of a folder, for finding files by the unique part of their names.
pub(super) struct Known {
    /// Sorted by the unique part.
    files: Vec<(usize, OsString)>,
    stamps: Vec<(i64, u64)>,
}

impl Known {
    fn get(&self, stem: &[u8]) -> Option<(usize, &OsStr)> {
        let at = self.files.binary_search_by(|(_, name)| maildir::split_name(name).0.cmp(stem)).ok()?;
        self.files.get(at).map(|(half, name)| (*half, name.as_os_str()))
    }

    fn rename(&mut self, stem: &[u8], half: usize, name: &OsStr) {
        if let Ok(at) = self.files.binary_search_by(|(_, name)| maildir::split_name(name).0.cmp(stem))
            && let Some(slot) = self.files.get_mut(at)
        {
            *slot = (half, name.to_owned());
        }
    }
}

/// A file name out of its unique part and its letters.
pub(super) fn file_name(eml: bool, stem: &str, letters: &str) -> OsString {
    OsString::from(if eml { format!("{stem}{EML}") } else { format!("{stem}:2,{letters}") })
}

/// The unique part of a file name, and its letters.
pub(super) fn split(eml: bool, name: &OsStr) -> (&[u8], &[u8]) {
    if eml { (name.as_bytes().strip_suffix(EML.as_bytes()).unwrap_or(name.as_bytes()), b"") } else { maildir::split_name(name) }
}

impl Home {
    pub(super) fn cur(&self) -> Result<&Dir> {
        self.half(CUR).ok_or_else(|| crate::error::Error::local(format!("{}: its directory is gone", self.path)))
    }

    pub(super) fn half(&self, half: usize) -> Option<&Dir> {
        self.halves.get(half).and_then(Option::as_ref)
    }

    /// The path of a file below the root of the store.
    pub(super) fn path_of(&self, half: usize, name: &OsStr) -> String {
        let name = name.to_string_lossy();
        match (self.eml, half) {
            (true, _) => format!("{}/{name}", self.path),
            (false, NEW) => format!("{}/new/{name}", self.path),
            (false, _) => format!("{}/cur/{name}", self.path),
        }
    }

    pub(super) fn open(&self, half: usize, name: &OsStr) -> Result<Option<(File, Stat)>> {
        self.half(half).map_or(Ok(None), |dir| dir.file(name))
    }

    fn is_there(&self, half: usize, name: &OsStr) -> Result<bool> {
        Ok(self.half(half).map_or(Ok(None), |dir| dir.stat(name))?.is_some())
    }

    /// Where the file with this unique part is; `letters` are those it is likely to have.
    pub(super) fn find(&mut self, stem: &str, letters: &str) -> Result<Option<(usize, OsString)>> {
        if self.eml {
            let name = file_name(true, stem, "");
            return Ok(self.is_there(CUR, &name)?.then_some((CUR, name)));
        }
        if let Some(found) = self.find_known(stem)? {
            return Ok(Some(found));
        }
        if let Some(name) = self.guess(stem, letters)? {
            return Ok(Some((CUR, name)));
        }
        if let Some(known) = &self.known
            && maildir::stamp(&self.halves)? == known.stamps
            && !maildir::recent(&known.stamps)
        {
            return Ok(None);
        }
        self.list()?;
        self.find_known(stem)
    }

    /// As [`Self::find`], by the listing made last alone.
    pub(super) fn find_known(&self, stem: &str) -> Result<Option<(usize, OsString)>> {
        let Some((half, name)) = self.known.as_ref().and_then(|known| known.get(stem.as_bytes())) else { return Ok(None) };
        Ok(self.is_there(half, name)?.then(|| (half, name.to_owned())))
    }

    /// Where the file with this unique part was when the directories were read last.
    pub(super) fn as_listed(&self, stem: &str) -> Option<(usize, &OsStr)> {
        self.known.as_ref().and_then(|known| known.get(stem.as_bytes()))
    }

    /// Looks for a file under letters like these: a directory of 100,000 names is not read for one that got its `S`.
    pub(super) fn guess(&self, stem: &str, letters: &str) -> Result<Option<OsString>> {
        for name in likely(letters).into_iter().map(|letters| file_name(self.eml, stem, &letters)) {
            if self.is_there(CUR, &name)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Reads the directories.
    pub(super) fn list(&mut self) -> Result<()> {
        self.known = None;
        let stamps = maildir::stamp(&self.halves)?;
        let mut files = maildir::names(&self.halves, &self.path)?;
        files.sort_unstable_by(|a, b| maildir::split_name(&a.1).0.cmp(maildir::split_name(&b.1).0));
        self.known = Some(Known { files, stamps });
        Ok(())
    }

    /// Gives a file other letters, as far as these are known; those that nobody explained stay. `None` when it has them.
    pub(super) fn relettered(&self, stem: &str, name: &OsStr, letters: &str) -> OsString {
        let strange = split(self.eml, name).1.iter().filter(|letter| maildir::flags(&[**letter], &self.keywords).is_empty());
        let all: std::collections::BTreeSet<u8> = strange.copied().chain(letters.bytes()).collect();
        let mut name = format!("{stem}:2,").into_bytes();
        name.extend(all);
        OsString::from_vec(name)
    }

    /// Notes that a file has another name now.
    pub(super) fn renamed(&mut self, stem: &str, name: &OsStr) {
        if let Some(known) = &mut self.known {
            known.rename(stem.as_bytes(), CUR, name);
        }
    }
}

/// These letters, none, and these with one more or less.
fn likely(letters: &str) -> Vec<String> {
    let mut all = vec![letters.to_owned(), String::new()];
    for (letter, _) in LETTERS {
        let mut other: Vec<char> = letters.chars().filter(|one| *one != letter).collect();
        if other.len() == letters.chars().count() {
            other.push(letter);
            other.sort_unstable();
        }
        all.push(other.into_iter().collect());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_letters_are_one_change_away() {
        let likely = likely("FSa");
        for letters in ["FSa", "", "Sa", "Fa", "DFSa", "FRSa", "FSTa", "FPSa"] {
            assert!(likely.iter().any(|one| one == letters), "{letters} in {likely:?}");
        }
    }
}
