//! What the journal of copies knows of leaving a source: which messages a run was about to take away there when it ended, and
//! which a person said are no problem. It never knows how they are taken away.

use std::collections::{HashMap, HashSet};

use super::{CopyId, Journal, MailboxId};
use crate::error::Result;
use crate::folder::Folder;
use crate::message::Digest;

/// A copy whose message was about to be taken away at the source, and nobody wrote down whether it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaver {
    /// Which.
    pub id: CopyId,
    /// Text of the source message's key.
    pub key: String,
    /// Content digest.
    pub content: Digest,
}

impl Journal {
    /// The copies of a source folder in `mailbox` whose messages a run was about to take away at the source when it ended.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn leaving(&self, source: &str, folder: &Folder, mailbox: MailboxId) -> Result<Vec<Leaver>> {
        if !self.has_table("leaving")? {
            return Ok(Vec::new());
        }
        let sql =
            "SELECT copy.id, copy.key, copy.content FROM leaving JOIN copy ON copy.id = leaving.copy JOIN origin ON origin.id = copy.origin
                   WHERE copy.mailbox = ?1 AND origin.source = ?2 AND origin.folder = ?3 ORDER BY copy.id";
        self.all(sql, (mailbox.0, source, folder.to_string()), |row| {
            Ok(Leaver { id: CopyId(row.get(0)?), key: row.get(1)?, content: row.get(2)? })
        })
    }

    /// The copies in `mailbox` that nobody sent: the message was at the destination before.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn adopted(&self, mailbox: MailboxId) -> Result<HashSet<CopyId>> {
        if !self.has_table("adopted")? {
            return Ok(HashSet::new());
        }
        let sql = "SELECT copy.id FROM adopted JOIN copy ON copy.id = adopted.copy WHERE copy.mailbox = ?1";
        self.all(sql, [mailbox.0], |row| row.get(0).map(CopyId))
    }

    /// Messages of a source folder that are not to be tried any more, under the text of their keys, and why that was said.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn ignored(&self, source: &str, folder: &Folder) -> Result<HashMap<String, String>> {
        if !self.has_table("ignored")? {
            return Ok(HashMap::new());
        }
        let sql = "SELECT ignored.key, ignored.reason FROM ignored JOIN origin ON origin.id = ignored.origin
                   WHERE origin.source = ?1 AND origin.folder = ?2";
        self.all(sql, (source, folder.to_string()), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Whether there is such a table: a journal that is only read may be of an earlier version.
    pub(super) fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        Ok(self.one(sql, [name], |row| row.get::<_, i64>(0))?.is_some())
    }
}
