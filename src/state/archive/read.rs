//! Reading an archive. Whatever grows with a folder is handed over one at a time.

use std::collections::HashMap;

use rusqlite::Row;

use super::open::amount;
use super::{AccountId, Archive, ArchiveFile, ArchiveFolderId, Entry, EntryId, EraId, FileId, Form, Held, LooseFile, PutAside};
use crate::error::Result;
use crate::imap::uid_set::UidSet;
use crate::message::{Digest, Flag, InternalDate};

const FILE: &str =
    "file.id, file.folder, file.stem, file.form, file.octets, file.digest, file.exact, file.content, file.header, file.length,
    file.date_seconds, file.date_offset, file.object_id";
const ENTRY: &str =
    "entry.id, entry.era, entry.uid, entry.key, entry.file, entry.flags, entry.labels, entry.listed_size, entry.since, entry.gone_at";
/// How many columns [`FILE`] has.
const FILE_COLUMNS: usize = 13;

impl Archive {
    /// The UIDs of a generation: those on the server by the last visit, or (`gone`) those gone from it.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn uids(&self, era: EraId, gone: bool) -> Result<UidSet> {
        let uid = |row: &Row<'_>| row.get::<_, u32>(0);
        // Each of the two is read from an index alone.
        let without: UidSet = self.database.all(
            "SELECT uid FROM entry WHERE era = ?1 AND gone_at IS NOT NULL AND uid IS NOT NULL ORDER BY uid",
            [era.0],
            uid,
        )?;
        if gone {
            return Ok(without);
        }
        let all: UidSet = self.database.all("SELECT uid FROM entry WHERE era = ?1 AND uid IS NOT NULL ORDER BY uid", [era.0], uid)?;
        Ok(all.difference(&without))
    }

    /// The keys of a POP3 generation, with their entries and whether they are gone.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn keys(&self, era: EraId) -> Result<HashMap<String, (EntryId, bool)>> {
        self.database.all("SELECT key, id, gone_at IS NOT NULL FROM entry WHERE era = ?1 AND key IS NOT NULL", [era.0], |row| {
            Ok((row.get(0)?, (EntryId(row.get(1)?), row.get(2)?)))
        })
    }

    /// The entries of a generation with their files, by rising UID, handed over one at a time: those in `uids` (all, also on POP3,
    /// where `None`), those gone as well. Those whose file is being removed are left out.
    ///
    /// # Errors
    /// As [`Archive::accounts`], or what `each` returned.
    pub fn entries(&self, era: EraId, uids: Option<&UidSet>, each: &mut dyn FnMut(Held) -> Result<()>) -> Result<()> {
        let select = |rest: &str| {
            format!(
                "SELECT {FILE}, {ENTRY} FROM entry CROSS JOIN file ON file.id = entry.file WHERE entry.era = ?1 AND file.removing = 0 AND {rest}"
            )
        };
        let held = |row: &Row<'_>| Ok(Held { file: file_of(row)?, entry: entry_of(row, FILE_COLUMNS)? });
        match uids {
            Some(uids) => {
                let sql = select("entry.uid IS NOT NULL AND entry.uid BETWEEN ?2 AND ?3 ORDER BY entry.uid");
                for (first, last) in uids.ranges() {
                    self.database.each(&sql, (era.0, first, last), held, each)?;
                }
                Ok(())
            }
            None => {
                self.database.each(&select("entry.uid IS NOT NULL ORDER BY entry.uid"), [era.0], held, each)?;
                self.database.each(&select("entry.key IS NOT NULL ORDER BY entry.key"), [era.0], held, each)
            }
        }
    }

    /// The files of a folder with the entries that name them (none for one found by `rebuild` that the server has not confirmed),
    /// by name, handed over one at a time. Files being removed are left out.
    ///
    /// # Errors
    /// As [`Archive::entries`].
    pub fn files(&self, folder: ArchiveFolderId, each: &mut dyn FnMut(ArchiveFile, Vec<Entry>) -> Result<()>) -> Result<()> {
        let sql = format!("SELECT {FILE} FROM file WHERE file.folder = ?1 AND file.removing = 0 ORDER BY file.stem");
        self.database.each(&sql, [folder.0], file_of, &mut |file| {
            let entries = self.entries_of(file.id)?;
            each(file, entries)
        })
    }

    /// Names and digests of the files of a folder, by name, handed over one at a time. Files being removed are left out.
    ///
    /// # Errors
    /// As [`Archive::entries`].
    pub fn sums(&self, folder: ArchiveFolderId, each: &mut dyn FnMut((String, Digest)) -> Result<()>) -> Result<()> {
        let sql = "SELECT stem, digest FROM file WHERE folder = ?1 AND removing = 0 ORDER BY stem";
        self.database.each(sql, [folder.0], |row| Ok((row.get(0)?, row.get(1)?)), each)
    }

    /// The files of a folder that no IMAP message of a generation has, by name, handed over one at a time. Files being removed are
    /// left out.
    ///
    /// # Errors
    /// As [`Archive::entries`].
    pub fn loose_files(&self, folder: ArchiveFolderId, era: EraId, each: &mut dyn FnMut(LooseFile) -> Result<()>) -> Result<()> {
        // The plus keeps SQLite from walking through the generation for every file.
        let sql = "SELECT file.id, file.stem, file.content, file.header, file.date_seconds, file.length, file.object_id,
                (SELECT entry.listed_size FROM entry WHERE entry.file = file.id AND entry.listed_size IS NOT NULL ORDER BY +entry.id DESC LIMIT 1)
             FROM file WHERE file.folder = ?1 AND file.removing = 0 AND NOT EXISTS
                (SELECT 1 FROM entry WHERE entry.file = file.id AND +entry.era = ?2 AND entry.uid IS NOT NULL)
             ORDER BY file.stem";
        let read = |row: &Row<'_>| {
            Ok(LooseFile {
                id: FileId(row.get(0)?),
                stem: row.get(1)?,
                content: row.get(2)?,
                header: row.get(3)?,
                seconds: row.get(4)?,
                length: amount(row, 5)?,
                object_id: row.get(6)?,
                listed_size: row.get::<_, Option<i64>>(7)?.map(i64::unsigned_abs),
            })
        };
        self.database.each(sql, (folder.0, era.0), read, each)
    }

    /// The files of a folder whose message is gone from the server everywhere, since `before` at the latest, with the moment it
    /// went, by name, handed over one at a time. Files being removed, and those that no entry names, are left out.
    ///
    /// # Errors
    /// As [`Archive::entries`].
    pub fn gone_files(&self, folder: ArchiveFolderId, before: i64, each: &mut dyn FnMut(ArchiveFile, i64) -> Result<()>) -> Result<()> {
        let sql = format!(
            "SELECT {FILE}, (SELECT max(entry.gone_at) FROM entry WHERE entry.file = file.id) AS since FROM file
             WHERE file.folder = ?1 AND file.removing = 0 AND file.named > 0 AND file.live = 0 AND since <= ?2 ORDER BY file.stem"
        );
        let read = |row: &Row<'_>| Ok((file_of(row)?, row.get(FILE_COLUMNS)?));
        self.database.each(&sql, (folder.0, before), read, &mut |(file, since)| each(file, since))
    }

    /// A file by its number.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn file(&self, file: FileId) -> Result<Option<ArchiveFile>> {
        self.one(&format!("SELECT {FILE} FROM file WHERE file.id = ?1"), [file.0], file_of)
    }

    /// A file by its folder and the unique part of its name.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn file_named(&self, folder: ArchiveFolderId, stem: &str) -> Result<Option<ArchiveFile>> {
        self.one(&format!("SELECT {FILE} FROM file WHERE file.folder = ?1 AND file.stem = ?2"), (folder.0, stem), file_of)
    }

    /// The entries that name a file.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn entries_of(&self, file: FileId) -> Result<Vec<Entry>> {
        self.database.all(&format!("SELECT {ENTRY} FROM entry WHERE entry.file = ?1 ORDER BY entry.id"), [file.0], |row| entry_of(row, 0))
    }

    /// Files of the account with this object id, or with this header digest, for recognising what is here already. Those being
    /// removed are left out.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn files_like(&self, account: AccountId, object_id: Option<&str>, header: Option<Digest>) -> Result<Vec<ArchiveFile>> {
        let select = |condition: &str| {
            format!(
                "SELECT {FILE} FROM file WHERE {condition} AND file.removing = 0 AND file.folder IN (SELECT id FROM folder WHERE account = ?1) ORDER BY file.id"
            )
        };
        let mut found: Vec<ArchiveFile> = match object_id {
            Some(object_id) => {
                self.database.all(&select("file.object_id IS NOT NULL AND file.object_id = ?2"), (account.0, object_id), file_of)?
            }
            None => Vec::new(),
        };
        if let Some(header) = header {
            let sql = select("substr(file.header, 1, 8) = substr(?2, 1, 8) AND file.header = ?2");
            let alike: Vec<ArchiveFile> = self.database.all(&sql, (account.0, header.0), file_of)?;
            found.extend(alike);
            found.sort_by_key(|file| file.id);
            found.dedup_by_key(|file| file.id);
        }
        Ok(found)
    }

    /// Files about to be removed when a run died.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn removing(&self, account: AccountId) -> Result<Vec<ArchiveFile>> {
        let sql = format!(
            "SELECT {FILE} FROM file WHERE file.removing = 1 AND file.folder IN (SELECT id FROM folder WHERE account = ?1) ORDER BY file.id"
        );
        self.database.all(&sql, [account.0], file_of)
    }

    /// Messages put aside.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn put_aside(&self, account: AccountId) -> Result<Vec<PutAside>> {
        let sql = "SELECT quarantine.folder, quarantine.key, quarantine.uid, quarantine.reason, quarantine.tries, quarantine.at, quarantine.ignored
                   FROM quarantine JOIN folder ON folder.id = quarantine.folder WHERE folder.account = ?1
                   ORDER BY folder.name, quarantine.uid, quarantine.key";
        self.database.all(sql, [account.0], |row| {
            Ok(PutAside {
                folder: ArchiveFolderId(row.get(0)?),
                key: row.get(1)?,
                uid: row.get(2)?,
                reason: row.get(3)?,
                tries: row.get(4)?,
                at: row.get(5)?,
                ignored: row.get(6)?,
            })
        })
    }

    /// Reads the whole database and returns what does not agree in it, in words; empty when it is sound. Sums are counted anew.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn check(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = self.database.all("PRAGMA integrity_check(20)", [], |row| row.get(0))?;
        found.retain(|words| words != "ok");
        let strays: Vec<String> = self.database.all(
            "SELECT 'a row of ' || \"table\" || ' names a missing row of ' || parent FROM pragma_foreign_key_check LIMIT 20",
            [],
            |row| row.get(0),
        )?;
        found.extend(strays);
        let counts: Vec<String> = self.database.all(
            "SELECT 'the counts of the file ' || file.stem || ' are wrong' FROM file
             LEFT JOIN (SELECT file, count(*) AS named, sum(gone_at IS NULL) AS live FROM entry GROUP BY file) AS counted ON counted.file = file.id
             WHERE file.named <> coalesce(counted.named, 0) OR file.live <> coalesce(counted.live, 0) LIMIT 20",
            [],
            |row| row.get(0),
        )?;
        found.extend(counts);
        let sums: Vec<String> = self.database.all(
            "SELECT 'the sums of the folder ' || name || ' are wrong' FROM folder WHERE
             messages <> (SELECT count(*) FROM entry JOIN era ON era.id = entry.era WHERE era.folder = folder.id AND entry.gone_at IS NULL)
             OR gone <> (SELECT count(*) FROM file WHERE file.folder = folder.id AND named > 0 AND live = 0)
             OR octets <> (SELECT coalesce(sum(octets), 0) FROM file WHERE file.folder = folder.id) LIMIT 20",
            [],
            |row| row.get(0),
        )?;
        found.extend(sums);
        Ok(found)
    }
}

fn file_of(row: &Row<'_>) -> rusqlite::Result<ArchiveFile> {
    let internal_date = match (row.get(10)?, row.get(11)?) {
        (Some(seconds), Some(offset)) => Some(InternalDate { seconds, offset }),
        _ => None,
    };
    Ok(ArchiveFile {
        id: FileId(row.get(0)?),
        folder: ArchiveFolderId(row.get(1)?),
        stem: row.get(2)?,
        form: if row.get(3)? { Form::LineFeeds } else { Form::AsReceived },
        octets: amount(row, 4)?,
        digest: row.get(5)?,
        exact: row.get(6)?,
        content: row.get(7)?,
        header: row.get(8)?,
        length: amount(row, 9)?,
        internal_date,
        object_id: row.get(12)?,
    })
}

/// An entry whose columns begin at `first`.
fn entry_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: EntryId(row.get(first)?),
        era: EraId(row.get(first + 1)?),
        uid: row.get(first + 2)?,
        key: row.get(first + 3)?,
        file: FileId(row.get(first + 4)?),
        flags: list(&row.get::<_, String>(first + 5)?)?.into_iter().map(Flag::new).collect(),
        labels: list(&row.get::<_, String>(first + 6)?)?,
        listed_size: row.get::<_, Option<i64>>(first + 7)?.map(i64::unsigned_abs),
        since: row.get(first + 8)?,
        gone_at: row.get(first + 9)?,
    })
}

/// The words of a column, which is empty or a JSON array.
fn list(text: &str) -> rusqlite::Result<Vec<String>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).map_err(|_| rusqlite::Error::InvalidQuery)
}
