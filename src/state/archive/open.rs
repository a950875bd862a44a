//! Opening an archive, reading it and committing to it.

use std::path::Path;

use super::{Account, AccountId, ArchiveChange, ArchiveFolder, ArchiveFolderId, ArchiveRun, EntryId, Era, EraId, FileId, Held, PutAside};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::Digest;

/// The journal of a store. Facts in it are durable when a call returns.
pub struct Archive {}

fn unbuilt<T>() -> Result<T> {
    Err(Error::local("not built"))
}

#[allow(unused_variables, clippy::unused_self, clippy::needless_pass_by_ref_mut)]
impl Archive {
    /// Opens the archive in `dir` (`STORE/.mailhaul`) for the one writing process, making what is missing. `store_id` is the
    /// random identity of the store, which the archive must have too.
    ///
    /// # Errors
    /// [`crate::error::Kind::Locked`] when another process has it; [`crate::error::Kind::Safety`] when it belongs to another store;
    /// [`crate::error::Kind::Local`] when it is damaged, newer than this build, or older than the last run left it: then the hint
    /// names `rebuild`. Whatever is refused is left as it is.
    pub fn open(dir: &Path, store_id: &str, context: &Context) -> Result<Self> {
        unbuilt()
    }

    /// Opens the archive for reading alone, also while a run goes on. `None` when there is none.
    ///
    /// # Errors
    /// As [`Archive::open`], but never [`crate::error::Kind::Locked`].
    pub fn read_only(dir: &Path, store_id: &str) -> Result<Option<Self>> {
        unbuilt()
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read; so for all that read here.
    pub fn accounts(&self) -> Result<Vec<Account>> {
        unbuilt()
    }

    /// The account with this identity, made at first sight with the name `wanted`, or that with `-2` and so on behind it where
    /// another account has it (names that differ only in case count as equal).
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn account(&mut self, identity: &str, wanted: &str) -> Result<Account> {
        unbuilt()
    }

    /// The folders of an account, by name, also those gone from the server.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn folders(&self, account: AccountId) -> Result<Vec<ArchiveFolder>> {
        unbuilt()
    }

    /// One folder by name, made at first sight.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn folder(&mut self, account: AccountId, folder: &Folder) -> Result<ArchiveFolder> {
        unbuilt()
    }

    /// The generations of a folder, oldest first.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn eras(&self, folder: ArchiveFolderId) -> Result<Vec<Era>> {
        unbuilt()
    }

    /// The generation under `uid_validity`, made at first sight; it is the folder's newest from now on.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn era(&mut self, folder: ArchiveFolderId, uid_validity: u32, at: i64) -> Result<Era> {
        unbuilt()
    }

    /// The UIDs of a generation: those on the server by the last visit, or (`gone`) those gone from it.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn uids(&self, era: EraId, gone: bool) -> Result<UidSet> {
        unbuilt()
    }

    /// The keys of a POP3 generation, with their entries and whether they are gone.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn keys(&self, era: EraId) -> Result<std::collections::HashMap<String, (EntryId, bool)>> {
        unbuilt()
    }

    /// The entries of a generation with their files, by rising UID, handed over one at a time: those in `uids` (all, also on POP3,
    /// where `None`), those gone as well.
    ///
    /// # Errors
    /// As [`Archive::accounts`], or what `each` returned.
    pub fn entries(&self, era: EraId, uids: Option<&UidSet>, each: &mut dyn FnMut(Held) -> Result<()>) -> Result<()> {
        unbuilt()
    }

    /// The files of a folder with the entries that name them (none for one found by `rebuild` that the server has not confirmed),
    /// by name, handed over one at a time. Files being removed are left out.
    ///
    /// # Errors
    /// As [`Archive::entries`].
    pub fn files(&self, folder: ArchiveFolderId, each: &mut dyn FnMut(super::ArchiveFile, Vec<super::Entry>) -> Result<()>) -> Result<()> {
        unbuilt()
    }

    /// Files of the account with this object id, or with this header digest, for recognising what is here already.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn files_like(&self, account: AccountId, object_id: Option<&str>, header: Option<Digest>) -> Result<Vec<super::ArchiveFile>> {
        unbuilt()
    }

    /// Files about to be removed when a run died.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn removing(&self, account: AccountId) -> Result<Vec<super::ArchiveFile>> {
        unbuilt()
    }

    /// Messages put aside.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn put_aside(&self, account: AccountId) -> Result<Vec<PutAside>> {
        unbuilt()
    }

    /// Makes a batch durable, all of it or nothing. Returns the numbers of the entries that [`ArchiveChange::Kept`] and
    /// [`ArchiveChange::Recognised`] made, in their order.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails, or a change contradicts what is there.
    pub fn commit(&mut self, batch: &[ArchiveChange]) -> Result<Vec<(EntryId, FileId)>> {
        unbuilt()
    }

    /// Notes that a run over an account begins.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn begin_run(&mut self, account: AccountId) -> Result<()> {
        unbuilt()
    }

    /// Notes how the run over an account ended.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn finish_run(&mut self, account: AccountId, complete: bool, suspicious: Option<&str>, error: Option<&str>) -> Result<()> {
        unbuilt()
    }

    /// Whether the last run over the account died before it could say how it ended.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn died(&self, account: AccountId) -> Result<bool> {
        unbuilt()
    }

    /// The last run over an account, or the last that was complete.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn last_run(&self, account: AccountId, complete: bool) -> Result<Option<ArchiveRun>> {
        unbuilt()
    }

    /// Works the write-ahead log into the database and removes the progress file: all runs of this process are over.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn close(&mut self) -> Result<()> {
        unbuilt()
    }

    /// Leaves word of what the run is doing, at most once a second, for whoever watches.
    pub fn progress(&self, json: &serde_json::Value) {}

    /// What a run is doing now: its process and the word it left; `None` when none is at work.
    pub fn watch(dir: &Path) -> Option<(Option<u32>, Option<serde_json::Value>)> {
        None
    }

    /// Puts a damaged or outdated database (with its log and counter) aside, never deleting it, under the lock. Returns the name
    /// it has now, if there was one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Locked`], or [`crate::error::Kind::Local`].
    pub fn set_aside(dir: &Path, context: &Context) -> Result<Option<std::path::PathBuf>> {
        unbuilt()
    }
}
