//! The one way messages of an archive change: a batch in one transaction, with the sums of folders kept up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{CachedStatement, OptionalExtension, Params, Transaction};

use super::schema;
use super::{Archive, ArchiveChange, ArchiveFile, ArchiveFolderId, EntryId, FileId, Form, Mark, NewEntry};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::Flag;
use crate::state::database::clamp;

impl Archive {
    /// Makes a batch durable, all of it or nothing. Returns the numbers of the entries that [`ArchiveChange::Kept`] and
    /// [`ArchiveChange::Recognised`] made, in their order.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails, or a change contradicts what is there.
    pub fn commit(&mut self, batch: &[ArchiveChange]) -> Result<Vec<(EntryId, FileId)>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.database.transact(|transaction, path| {
            let mut writing = Writing { transaction, path, sums: BTreeMap::new(), stale: BTreeSet::new(), made: Vec::new() };
            for change in batch {
                writing.apply(change)?;
            }
            writing.finish()
        })
    }
}

/// How the sums of a folder change in a batch.
#[derive(Default)]
struct Sums {
    messages: i64,
    gone: i64,
    octets: i64,
}

struct Writing<'a> {
    transaction: &'a Transaction<'a>,
    path: &'a Path,
    sums: BTreeMap<i64, Sums>,
    /// Folders whose files changed in content or name.
    stale: BTreeSet<i64>,
    made: Vec<(EntryId, FileId)>,
}

/// What has to be known of a file before a change.
#[derive(Clone, Copy)]
struct Standing {
    folder: i64,
    octets: i64,
    named: i64,
    live: i64,
    removing: bool,
}

impl Standing {
    fn gone(self) -> i64 {
        i64::from(self.named > 0 && self.live == 0)
    }
}

impl<'a> Writing<'a> {
    fn apply(&mut self, change: &ArchiveChange) -> Result<()> {
        match change {
            ArchiveChange::Kept { entry, file } => {
                let id = self.add_file(file)?;
                self.add_entry(entry, id)
            }
            ArchiveChange::Recognised { entry, file } => self.add_entry(entry, *file),
            ArchiveChange::Found { file } => self.add_file(file).map(drop),
            ArchiveChange::Flags { entry, flags, labels } => {
                let sql = "UPDATE entry SET flags = ?2, labels = ?3 WHERE id = ?1 RETURNING file";
                let file: Option<i64> = self.query(sql, (entry.0, flag_list(flags), list(labels)), |row| row.get(0))?;
                let file = FileId(file.ok_or_else(|| self.unknown("message", entry.0))?);
                let folder = self.standing(file)?.folder;
                self.stale.insert(folder);
                Ok(())
            }
            ArchiveChange::Gone { entry, at } => self.turn(*entry, Some(*at)),
            ArchiveChange::Back { entry } => self.turn(*entry, None),
            ArchiveChange::Supplanted { entry, at } => {
                self.turn(*entry, Some(*at))?;
                let sql = "UPDATE entry SET uid = NULL, key = 'was:' || uid || ':' || id WHERE id = ?1 AND uid IS NOT NULL";
                self.run(sql, [entry.0]).map(drop)
            }
            ArchiveChange::Removing { file } => {
                let standing = self.standing(*file)?;
                if standing.live > 0 {
                    return Err(self.wrong(format!("the file {} holds a message that is on the server, and cannot be removed", file.0)));
                }
                self.run("UPDATE file SET removing = 1 WHERE id = ?1", [file.0]).map(drop)
            }
            ArchiveChange::Removed { file } => self.removed(*file),
            ArchiveChange::Mended { file } => self.mended(file),
            ArchiveChange::Quarantine { folder, uid, key, reason, at } => {
                let sql = "INSERT INTO quarantine (folder, key, uid, reason, tries, at) VALUES (?1, ?2, ?3, ?4, 1, ?5)
                           ON CONFLICT (folder, key) DO UPDATE SET uid = excluded.uid, reason = excluded.reason, tries = tries + 1, at = excluded.at";
                self.run(sql, (folder.0, key, uid, reason, at)).map(drop)
            }
            ArchiveChange::Released { folder, key } => {
                self.run("DELETE FROM quarantine WHERE folder = ?1 AND key = ?2", (folder.0, key)).map(drop)
            }
            ArchiveChange::Retry { folder, key } => {
                self.run("DELETE FROM quarantine WHERE folder = ?1 AND key = ?2", (folder.0, key))?;
                self.set_mark(*folder, None)
            }
            ArchiveChange::Ignored { folder, key } => {
                match self.run("UPDATE quarantine SET ignored = 1 WHERE folder = ?1 AND key = ?2", (folder.0, key))? {
                    0 => Err(self.wrong(format!("no message {key} is put aside"))),
                    _ => Ok(()),
                }
            }
            ArchiveChange::Visited { folder, mark, at } => {
                self.set_mark(*folder, Some(mark))?;
                self.run("UPDATE folder SET complete_at = ?2 WHERE id = ?1", (folder.0, at)).map(drop)
            }
            ArchiveChange::FolderGone { folder, at } => {
                self.one_folder("UPDATE folder SET gone_at = ?2 WHERE id = ?1", *folder, (folder.0, at))
            }
            ArchiveChange::FolderFacts { folder, mailbox_id, special_use, subscribed } => self.one_folder(
                "UPDATE folder SET mailbox_id = ?2, special_use = ?3, subscribed = ?4 WHERE id = ?1",
                *folder,
                (folder.0, mailbox_id, special_use, subscribed),
            ),
            ArchiveChange::Renaming { folder, to } => {
                self.one_folder("UPDATE folder SET renaming_to = ?2 WHERE id = ?1", *folder, (folder.0, to.to_string()))
            }
            ArchiveChange::Renamed { folder, to } => self.renamed(*folder, to),
            ArchiveChange::ManifestWritten { account } => {
                self.run("UPDATE account SET manifest_stale = 0 WHERE id = ?1", [account.0]).map(drop)
            }
        }
    }

    /// Writes down what the batch did to the sums.
    fn finish(self) -> Result<Vec<(EntryId, FileId)>> {
        for (folder, sums) in &self.sums {
            let sql = "UPDATE folder SET messages = messages + ?2, gone = gone + ?3, octets = octets + ?4 WHERE id = ?1";
            self.run(sql, (folder, sums.messages, sums.gone, sums.octets))?;
        }
        for folder in &self.stale {
            let sql = "UPDATE account SET manifest_stale = 1 WHERE manifest_stale = 0 AND id = (SELECT account FROM folder WHERE id = ?1)";
            self.run(sql, [folder])?;
        }
        Ok(self.made)
    }

    /// The number of a file, new or (after a run that died, or found by a rebuild) known with the same octets.
    fn add_file(&mut self, file: &ArchiveFile) -> Result<FileId> {
        let sql = "SELECT id, exact, removing FROM file WHERE folder = ?1 AND stem = ?2";
        let found: Option<(i64, [u8; 32], bool)> =
            self.query(sql, (file.folder.0, &file.stem), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if let Some((id, exact, removing)) = found {
            if exact != file.exact.0 || removing {
                return Err(self.wrong(format!("another message lies in the file {} already", file.stem)));
            }
            // Where it was found without what a server says of it, that is known now.
            let known = FileId(id);
            self.mended(&ArchiveFile { id: known, ..file.clone() })?;
            return Ok(known);
        }
        let sql =
            "INSERT INTO file (id, folder, stem, form, octets, digest, exact, content, header, length, date_seconds, date_offset, object_id)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        self.put_file(sql, None, file)?;
        let id = FileId(self.transaction.last_insert_rowid());
        self.sums(file.folder.0).octets += clamp(file.octets);
        self.stale.insert(file.folder.0);
        Ok(id)
    }

    /// Runs `sql` with the columns of a file behind its number; SQLite gives one where that is none.
    fn put_file(&self, sql: &str, id: Option<FileId>, file: &ArchiveFile) -> Result<usize> {
        self.run(
            sql,
            (
                id.map(|id| id.0),
                file.folder.0,
                &file.stem,
                file.form == Form::LineFeeds,
                clamp(file.octets),
                file.digest.0,
                file.exact.0,
                file.content.0,
                file.header.0,
                clamp(file.length),
                file.internal_date.map(|date| date.seconds),
                file.internal_date.map(|date| date.offset),
                &file.object_id,
            ),
        )
    }

    fn add_entry(&mut self, entry: &NewEntry, file: FileId) -> Result<()> {
        let sql = "INSERT INTO entry (era, uid, key, file, flags, labels, listed_size, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let key = entry.key.as_ref().map(ToString::to_string);
        self.run(
            sql,
            (entry.era.0, entry.uid, key, file.0, flag_list(&entry.flags), list(&entry.labels), entry.listed_size.map(clamp), entry.at),
        )?;
        self.made.push((EntryId(self.transaction.last_insert_rowid()), file));
        let folder = self.folder_of(entry.era.0)?;
        self.sums(folder).messages += 1;
        self.recount(file, 1, 1)
    }

    fn turn(&mut self, entry: EntryId, gone_at: Option<i64>) -> Result<()> {
        let sql = "SELECT era, file, gone_at IS NOT NULL FROM entry WHERE id = ?1";
        let found = self.query(sql, [entry.0], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, bool>(2)?)))?;
        let (era, file, was_gone) = found.ok_or_else(|| self.unknown("message", entry.0))?;
        if was_gone == gone_at.is_some() {
            // Since when it is gone was known better then.
            return Ok(());
        }
        let file = FileId(file);
        if gone_at.is_none() && self.standing(file)?.removing {
            return Err(self.wrong(format!("the message {} is on the server again while its file is being removed", entry.0)));
        }
        self.run("UPDATE entry SET gone_at = ?2 WHERE id = ?1", (entry.0, gone_at))?;
        let by = if gone_at.is_some() { -1 } else { 1 };
        let folder = self.folder_of(era)?;
        self.sums(folder).messages += by;
        self.recount(file, 0, by)
    }

    fn removed(&mut self, file: FileId) -> Result<()> {
        let standing = self.standing(file)?;
        if !standing.removing {
            return Err(self.wrong(format!("the file {} was removed without a word before", file.0)));
        }
        self.run("DELETE FROM entry WHERE file = ?1", [file.0])?;
        self.run("DELETE FROM file WHERE id = ?1", [file.0])?;
        let sums = self.sums(standing.folder);
        sums.octets -= standing.octets;
        sums.gone -= standing.gone();
        self.stale.insert(standing.folder);
        Ok(())
    }

    fn mended(&mut self, file: &ArchiveFile) -> Result<()> {
        let before = self.standing(file.id)?;
        let sql = "UPDATE file SET folder = ?2, stem = ?3, form = ?4, octets = ?5, digest = ?6, exact = ?7, content = ?8, header = ?9, length = ?10,
                                   date_seconds = coalesce(?11, date_seconds), date_offset = coalesce(?12, date_offset), object_id = coalesce(?13, object_id)
                   WHERE id = ?1";
        self.put_file(sql, Some(file.id), file)?;
        let old = self.sums(before.folder);
        old.octets -= before.octets;
        old.gone -= before.gone();
        let new = self.sums(file.folder.0);
        new.octets += clamp(file.octets);
        new.gone += before.gone();
        self.stale.extend([before.folder, file.folder.0]);
        Ok(())
    }

    /// A folder has another name. One of that name that was noted and holds nothing makes way.
    fn renamed(&mut self, folder: ArchiveFolderId, to: &Folder) -> Result<()> {
        let name = to.to_string();
        let other: Option<i64> = self.query(
            "SELECT other.id FROM folder JOIN folder AS other ON other.account = folder.account
             WHERE folder.id = ?1 AND other.name = ?2 AND other.id <> ?1",
            (folder.0, &name),
            |row| row.get(0),
        )?;
        if let Some(other) = other {
            let sql = "SELECT EXISTS (SELECT 1 FROM file WHERE folder = ?1)
                       OR EXISTS (SELECT 1 FROM entry JOIN era ON era.id = entry.era WHERE era.folder = ?1)";
            if self.query(sql, [other], |row| row.get(0))?.unwrap_or(true) {
                return Err(self.wrong(format!("a folder {to} with mail of its own stands in the store already")));
            }
            self.run("DELETE FROM quarantine WHERE folder = ?1", [other])?;
            self.run("UPDATE folder SET era = NULL WHERE id = ?1", [other])?;
            self.run("DELETE FROM era WHERE folder = ?1", [other])?;
            self.run("DELETE FROM folder WHERE id = ?1", [other])?;
            self.sums.remove(&other);
        }
        self.stale.insert(folder.0);
        self.one_folder("UPDATE folder SET name = ?2, renaming_to = NULL, gone_at = NULL WHERE id = ?1", folder, (folder.0, name))
    }

    fn set_mark(&self, folder: ArchiveFolderId, mark: Option<&Mark>) -> Result<()> {
        self.one_folder(
            "UPDATE folder SET mark_uid_validity = ?2, mark_uid_next = ?3, mark_highest_mod_seq = ?4, mark_messages = ?5 WHERE id = ?1",
            folder,
            (
                folder.0,
                mark.map(|mark| mark.uid_validity),
                mark.and_then(|mark| mark.uid_next),
                mark.and_then(|mark| mark.highest_mod_seq).map(clamp),
                mark.and_then(|mark| mark.messages).map(clamp),
            ),
        )
    }

    /// Changes how many entries name a file, and how many of those are on the server.
    fn recount(&mut self, file: FileId, named: i64, live: i64) -> Result<()> {
        let before = self.standing(file)?;
        if before.removing && live > 0 {
            return Err(self.wrong(format!("the file {} is being removed", file.0)));
        }
        let after = Standing { named: before.named + named, live: before.live + live, ..before };
        self.run("UPDATE file SET named = ?2, live = ?3 WHERE id = ?1", (file.0, after.named, after.live))?;
        if after.gone() != before.gone() {
            self.sums(before.folder).gone += after.gone() - before.gone();
        }
        Ok(())
    }

    fn standing(&self, file: FileId) -> Result<Standing> {
        let sql = "SELECT folder, octets, named, live, removing FROM file WHERE id = ?1";
        let found = self.query(sql, [file.0], |row| {
            Ok(Standing { folder: row.get(0)?, octets: row.get(1)?, named: row.get(2)?, live: row.get(3)?, removing: row.get(4)? })
        })?;
        found.ok_or_else(|| self.unknown("file", file.0))
    }

    fn folder_of(&self, era: i64) -> Result<i64> {
        let found = self.query("SELECT folder FROM era WHERE id = ?1", [era], |row| row.get(0))?;
        found.ok_or_else(|| self.unknown("generation", era))
    }

    fn sums(&mut self, folder: i64) -> &mut Sums {
        self.sums.entry(folder).or_default()
    }

    fn one_folder(&self, sql: &str, folder: ArchiveFolderId, params: impl Params) -> Result<()> {
        match self.run(sql, params)? {
            0 => Err(self.unknown("folder", folder.0)),
            _ => Ok(()),
        }
    }

    fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.statement(sql)?.execute(params).map_err(|error| schema::error(self.path, error))
    }

    fn query<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Result<Option<T>> {
        self.statement(sql)?.query_row(params, read).optional().map_err(|error| schema::error(self.path, error))
    }

    fn statement(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.transaction.prepare_cached(sql).map_err(|error| schema::error(self.path, error))
    }

    fn unknown(&self, what: &str, id: i64) -> Error {
        self.wrong(format!("there is no {what} {id}"))
    }

    fn wrong(&self, words: impl std::fmt::Display) -> Error {
        Error::local(format!("{}: {words}", self.path.display()))
    }
}

/// Flags as the archive keeps them: in one order, each once, without `\Recent`.
fn flag_list(flags: &[Flag]) -> String {
    let mut wires: Vec<&str> = flags.iter().filter(|flag| !flag.is_recent()).map(Flag::wire).collect();
    wires.sort_by_cached_key(|wire| wire.to_ascii_lowercase());
    wires.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
    list(&wires)
}

/// Words as one column: nothing, or a JSON array.
fn list(words: &[impl serde::Serialize]) -> String {
    if words.is_empty() { String::new() } else { serde_json::to_string(words).unwrap_or_default() }
}
