//! Opening a journal and reading it. What changes copies is in `commit`.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Params, Row, Transaction};

use crate::context::Context;
use crate::error::Result;
use crate::folder::Folder;
use crate::message::Digest;

use super::database::{Database, clamp, misuse};
use super::{Baseline, Brought, CopyId, CopyRow, GenerationId, Horizon, Intent, MailboxId, Quarantined, Run, State, schema};

/// Digests of the header and of the body alone, where both were taken.
type Parts = Option<(Digest, Digest)>;

/// A message at its source (folder, text of its key) and its copy at the destination (folder, UIDVALIDITY, UID).
pub type Whereabouts = ((Folder, String), (Folder, u32, u32));

/// The journal of copies to one destination. Facts in it are durable when a call returns.
pub struct Journal {
    database: Database,
    run: Option<i64>,
}

impl Journal {
    /// Opens the journal in `dir` for the one writing process of `destination`, making what is missing.
    ///
    /// # Errors
    /// [`crate::error::Kind::Locked`] when another process has it; [`crate::error::Kind::Safety`] when it belongs to another destination;
    /// [`crate::error::Kind::Local`] when it is damaged, newer than this build, older than the last run left it, not ours to write, or
    /// the disk fails. Whatever is refused is left as it is.
    pub fn open(dir: &Path, destination: &str, context: &Context) -> Result<Self> {
        Ok(Self { database: Database::open(dir, &schema::JOURNAL, destination, context)?, run: None })
    }

    /// Opens the journal in `dir` for reading alone, as `--dry-run` and `status` do: makes no file there and needs no
    /// lock. `None` when there is no journal.
    ///
    /// # Errors
    /// As [`Journal::open`], but never [`crate::error::Kind::Locked`].
    pub fn read_only(dir: &Path, destination: &str) -> Result<Option<Self>> {
        Ok(Database::read_only(dir, &schema::JOURNAL, destination)?.map(|database| Self { database, run: None }))
    }

    /// Notes that a run begins.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn begin_run(&mut self) -> Result<()> {
        let now = self.database.writer()?.context.unix_time();
        let run = self.transact(|transaction, path| {
            transaction
                .prepare_cached("INSERT INTO run (started) VALUES (?1)")
                .and_then(|mut insert| insert.insert([now]))
                .map_err(|error| schema::error(path, error))
        })?;
        self.run = Some(run);
        Ok(())
    }

    /// Notes that the run ended, works the write-ahead log into the database and removes the progress file.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn finish_run(&mut self, complete: bool) -> Result<()> {
        let now = self.database.writer()?.context.unix_time();
        if let Some(run) = self.run.take() {
            self.transact(|transaction, path| {
                transaction
                    .execute("UPDATE run SET finished = ?2, complete = ?3 WHERE id = ?1", (run, now, complete))
                    .map_err(|error| schema::error(path, error))
            })?;
        }
        self.database.finish()
    }

    /// The last run, or the last that was complete.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn last_run(&self, complete: bool) -> Result<Option<Run>> {
        self.one("SELECT started, finished, complete FROM run WHERE complete >= ?1 ORDER BY id DESC LIMIT 1", [complete], |row| {
            Ok(Run { started: row.get(0)?, finished: row.get(1)?, complete: row.get(2)? })
        })
    }

    /// The number of a destination folder, given at first sight. Of a folder never seen, a read-only journal gives one under
    /// which nothing is recorded.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn mailbox(&mut self, folder: &Folder) -> Result<MailboxId> {
        let name = folder.to_string();
        if let Some(id) = self.one("SELECT id FROM mailbox WHERE name = ?1", [&name], |row| row.get(0))? {
            return Ok(MailboxId(id));
        }
        if !self.database.writes() {
            return Ok(MailboxId(0));
        }
        self.transact(|transaction, path| {
            transaction
                .prepare_cached("INSERT INTO mailbox (name) VALUES (?1)")
                .and_then(|mut insert| insert.insert([&name]))
                .map(MailboxId)
                .map_err(|error| schema::error(path, error))
        })
    }

    /// The generation of `mailbox` under `uid_validity`, if it was ever seen.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn generation(&self, mailbox: MailboxId, uid_validity: u32) -> Result<Option<GenerationId>> {
        let sql = "SELECT id FROM generation WHERE mailbox = ?1 AND uid_validity = ?2";
        self.one(sql, (mailbox.0, uid_validity), |row| row.get(0).map(GenerationId))
    }

    /// Notes a generation; the same again gives the same number.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn add_generation(&mut self, mailbox: MailboxId, uid_validity: u32) -> Result<GenerationId> {
        if let Some(id) = self.generation(mailbox, uid_validity)? {
            return Ok(id);
        }
        self.transact(|transaction, path| {
            transaction
                .prepare_cached("INSERT INTO generation (mailbox, uid_validity) VALUES (?1, ?2)")
                .and_then(|mut insert| insert.insert((mailbox.0, uid_validity)))
                .map(GenerationId)
                .map_err(|error| schema::error(path, error))
        })
    }

    /// The UIDVALIDITY of a generation.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn uid_validity(&self, generation: GenerationId) -> Result<Option<u32>> {
        self.one("SELECT uid_validity FROM generation WHERE id = ?1", [generation.0], |row| row.get(0))
    }

    /// The UIDs that are not ours in `generation`, ascending; `None` when they were never recorded.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn baseline(&self, generation: GenerationId) -> Result<Option<Vec<u32>>> {
        let recorded: Option<bool> = self.one("SELECT has_baseline FROM generation WHERE id = ?1", [generation.0], |row| row.get(0))?;
        if recorded != Some(true) {
            return Ok(None);
        }
        self.all("SELECT uid FROM baseline WHERE generation = ?1 ORDER BY uid", [generation.0], |row| row.get(0)).map(Some)
    }

    /// Records what is in `generation` before our first copy; once only.
    ///
    /// # Errors
    /// [`crate::error::Kind::Safety`] when it was recorded already; [`crate::error::Kind::Local`] when the disk fails.
    pub fn set_baseline(&mut self, generation: GenerationId, messages: &[Baseline]) -> Result<()> {
        self.transact(|transaction, path| {
            let sql = |error| schema::error(path, error);
            let marked = transaction
                .execute("UPDATE generation SET has_baseline = 1 WHERE id = ?1 AND has_baseline = 0", [generation.0])
                .map_err(sql)?;
            if marked == 0 {
                return Err(misuse("what was in the folder before the first copy is recorded already".to_owned()));
            }
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO baseline VALUES (?1, ?2, ?3, ?4)").map_err(sql)?;
            for message in messages {
                insert.execute((generation.0, message.uid, message.size.map(clamp), message.internal_date)).map_err(sql)?;
            }
            Ok(())
        })
    }

    /// Notes where folders of the destination end now. Only for a run that finds no copy open: an open one is looked for
    /// behind the ends that were noted before it was sent.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn set_horizons(&mut self, horizons: &[(Folder, Horizon)]) -> Result<()> {
        self.transact(|transaction, path| {
            let sql = |error| schema::error(path, error);
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO horizon VALUES (?1, ?2, ?3)").map_err(sql)?;
            for (folder, horizon) in horizons {
                insert.execute((folder.to_string(), horizon.uid_validity, horizon.uid_next)).map_err(sql)?;
            }
            Ok(())
        })
    }

    /// Where a folder of the destination ended when the last run began that found no copy open.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn horizon(&self, folder: &Folder) -> Result<Option<Horizon>> {
        self.one("SELECT uid_validity, uid_next FROM horizon WHERE folder = ?1", [folder.to_string()], |row| {
            Ok(Horizon { uid_validity: row.get(0)?, uid_next: row.get(1)? })
        })
    }

    /// Whether everything of a source folder was once dealt with at `generation`, so that what lies there and is no copy of
    /// ours cannot be what is missing.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn has_visited(&self, source: &str, folder: &Folder, generation: GenerationId) -> Result<bool> {
        let sql = "SELECT 1 FROM visit JOIN origin ON origin.id = visit.origin WHERE origin.source = ?1 AND origin.folder = ?2 AND visit.generation = ?3";
        Ok(self.one(sql, (source, folder.to_string(), generation.0), |row| row.get::<_, i64>(0))?.is_some())
    }

    /// Where folders of a source went in earlier runs that named the same folder (or none) at the destination.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn pairings(&self, source: &str, into: Option<&Folder>) -> Result<HashMap<Folder, Folder>> {
        let sql = "SELECT origin.folder, mailbox.name FROM pairing JOIN origin ON origin.id = pairing.origin JOIN mailbox ON mailbox.id = pairing.mailbox
                   WHERE origin.source = ?1 AND pairing.below = ?2";
        let folder = |name: String| Folder::parse(&name).ok_or(rusqlite::Error::InvalidQuery);
        self.all(sql, (source, named(into)), |row| Ok((folder(row.get(0)?)?, folder(row.get(1)?)?)))
    }

    /// Every copy of a source folder into `mailbox`, under the text of its key; without the digests of parts, for there may be
    /// hundreds of thousands.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn copies(&self, source: &str, folder: &Folder, mailbox: MailboxId) -> Result<HashMap<String, CopyRow>> {
        self.copies_with(source, folder, mailbox, false)
    }

    /// As [`Self::copies`], with the digests of parts.
    ///
    /// # Errors
    /// As [`Self::copies`].
    pub fn copies_in_full(&self, source: &str, folder: &Folder, mailbox: MailboxId) -> Result<HashMap<String, CopyRow>> {
        self.copies_with(source, folder, mailbox, true)
    }

    fn copies_with(&self, source: &str, folder: &Folder, mailbox: MailboxId, parts: bool) -> Result<HashMap<String, CopyRow>> {
        let sql =
            "SELECT copy.key, copy.id, copy.state, copy.content, copy.uid, copy.generation, copy.tries, copy.altered, copy.header, copy.body, copy.length
                   FROM copy JOIN origin ON origin.id = copy.origin
                   WHERE copy.mailbox = ?1 AND origin.source = ?2 AND origin.folder = ?3";
        self.all(sql, (mailbox.0, source, folder.to_string()), |row| {
            let copy = CopyRow {
                id: CopyId(row.get(1)?),
                state: row.get(2)?,
                content: row.get(3)?,
                uid: row.get(4)?,
                generation: row.get::<_, Option<i64>>(5)?.map(GenerationId),
                tries: row.get(6)?,
                altered: row.get(7)?,
                parts: if parts { row.get::<_, Option<Digest>>(8)?.zip(row.get(9)?).map(Box::new) } else { None },
                length: row.get::<_, i64>(10)?.unsigned_abs(),
            };
            Ok((row.get(0)?, copy))
        })
    }

    /// The copies into `mailbox` whose fate is open, oldest first.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn outstanding(&self, mailbox: MailboxId) -> Result<Vec<Intent>> {
        self.looked_for("copy.mailbox = ?1 AND copy.state IN (1, 3)", [mailbox.0])
    }

    /// The copies in `mailbox` that are done, but not known under which UID of `generation`: the server did not tell it, or
    /// it is of an earlier generation. Oldest first.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn unplaced(&self, mailbox: MailboxId, generation: GenerationId) -> Result<Vec<Intent>> {
        // One that was found in another folder has its place there.
        let condition = "copy.mailbox = ?1 AND copy.state = 2 AND (copy.uid IS NULL OR copy.generation IS NOT ?2)
                         AND (copy.generation IS NULL OR copy.generation IN (SELECT id FROM generation WHERE mailbox = ?1))";
        self.looked_for(condition, (mailbox.0, generation.0))
    }

    /// The copies in `mailbox` that are done and lie at one of `uids` of `generation`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn placed(&self, mailbox: MailboxId, generation: GenerationId, uids: &[u32]) -> Result<Vec<Intent>> {
        let mut found = Vec::new();
        for uid in uids {
            let condition = "copy.mailbox = ?1 AND copy.state = 2 AND copy.generation = ?2 AND copy.uid = ?3";
            found.extend(self.looked_for(condition, (mailbox.0, generation.0, uid))?);
        }
        Ok(found)
    }

    /// Where each copy of anything from a source lies, as far as that is known: its folder and the text of its key there, and its folder,
    /// UIDVALIDITY and UID at the destination.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn whereabouts(&self, source: &str) -> Result<Vec<Whereabouts>> {
        let sql = "SELECT origin.folder, copy.key, mailbox.name, generation.uid_validity, copy.uid FROM copy
                   JOIN origin ON origin.id = copy.origin JOIN generation ON generation.id = copy.generation
                   JOIN mailbox ON mailbox.id = generation.mailbox
                   WHERE origin.source = ?1 AND copy.state = 2 AND copy.uid IS NOT NULL ORDER BY copy.id";
        let folder = |name: String| Folder::parse(&name).ok_or(rusqlite::Error::InvalidQuery);
        self.all(sql, [source], |row| Ok(((folder(row.get(0)?)?, row.get(1)?), (folder(row.get(2)?)?, row.get(3)?, row.get(4)?))))
    }

    /// What others than this source folder brought into `mailbox`, where it lies, by rising UID.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn brought_by_others(&self, source: &str, folder: &Folder, mailbox: MailboxId, generation: GenerationId) -> Result<Vec<Brought>> {
        let sql = "SELECT copy.uid, copy.content, copy.header, copy.body FROM copy JOIN origin ON origin.id = copy.origin
                   WHERE copy.mailbox = ?1 AND copy.generation = ?2 AND copy.state = 2 AND copy.uid IS NOT NULL
                         AND NOT (origin.source = ?3 AND origin.folder = ?4) ORDER BY copy.uid";
        self.all(sql, (mailbox.0, generation.0, source, folder.to_string()), |row| {
            Ok(Brought { uid: row.get(0)?, content: row.get(1)?, header: row.get(2)?, body: row.get(3)? })
        })
    }

    /// What sources whose names begin with `prefix` brought into `mailbox`, where it lies, by rising UID: the one source that is
    /// named, or (`false`) all but that.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn brought_from(
        &self,
        prefix: &str,
        (source, own): (&str, bool),
        mailbox: MailboxId,
        generation: GenerationId,
    ) -> Result<Vec<Brought>> {
        let sql = "SELECT copy.uid, copy.content, copy.header, copy.body FROM copy JOIN origin ON origin.id = copy.origin
                   WHERE copy.mailbox = ?1 AND copy.generation = ?2 AND copy.state = 2 AND copy.uid IS NOT NULL
                         AND substr(origin.source, 1, length(?3)) = ?3 AND (origin.source = ?4) = ?5 ORDER BY copy.uid";
        self.all(sql, (mailbox.0, generation.0, prefix, source, own), |row| {
            Ok(Brought { uid: row.get(0)?, content: row.get(1)?, header: row.get(2)?, body: row.get(3)? })
        })
    }

    /// Sources, contents and parts of what counts as merged in `mailbox`: each stands for one message there that is another's copy.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn merged(&self, mailbox: MailboxId) -> Result<Vec<(String, Digest, Parts)>> {
        let sql = "SELECT origin.source, copy.content, copy.header, copy.body FROM copy JOIN origin ON origin.id = copy.origin
                   WHERE copy.mailbox = ?1 AND copy.state = 5";
        self.all(sql, [mailbox.0], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<Digest>>(2)?.zip(row.get(3)?))))
    }

    /// Whether copies were sent into `mailbox` under another UIDVALIDITY than that of `generation`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn has_earlier_copies(&self, mailbox: MailboxId, generation: GenerationId) -> Result<bool> {
        let sql = "SELECT 1 FROM copy WHERE mailbox = ?1 AND state IN (1, 2, 3) AND generation IS NOT ?2 LIMIT 1";
        Ok(self.one(sql, (mailbox.0, generation.0), |row| row.get::<_, i64>(0))?.is_some())
    }

    fn looked_for(&self, condition: &str, params: impl Params) -> Result<Vec<Intent>> {
        let sql = format!(
            "SELECT copy.id, origin.source, origin.folder, copy.key, copy.exact, copy.content, copy.header, copy.body, copy.length, copy.floor,
                    copy.generation, copy.intended, copy.tries, copy.state
             FROM copy JOIN origin ON origin.id = copy.origin WHERE {condition} ORDER BY copy.intended, copy.id"
        );
        self.all(&sql, params, |row| {
            let folder: String = row.get(2)?;
            Ok(Intent {
                id: CopyId(row.get(0)?),
                source: row.get(1)?,
                folder: Folder::parse(&folder).ok_or(rusqlite::Error::InvalidQuery)?,
                key: row.get(3)?,
                exact: row.get(4)?,
                content: row.get(5)?,
                header: row.get(6)?,
                body: row.get(7)?,
                length: row.get::<_, i64>(8)?.unsigned_abs().min(1 << 47),
                floor: row.get(9)?,
                generation: row.get::<_, Option<i64>>(10)?.map(GenerationId),
                intended_at: row.get(11)?,
                tries: row.get(12)?,
                state: row.get(13)?,
            })
        })
    }

    /// The destination folders with copies whose fate is open.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn unsettled(&self) -> Result<Vec<(MailboxId, Folder)>> {
        let sql = "SELECT id, name FROM mailbox WHERE id IN (SELECT mailbox FROM copy WHERE state IN (1, 3)) ORDER BY id";
        self.all(sql, [], |row| {
            let name: String = row.get(1)?;
            Ok((MailboxId(row.get(0)?), Folder::parse(&name).ok_or(rusqlite::Error::InvalidQuery)?))
        })
    }

    /// The UIDs of `generation` that belong to copies, of other places or of messages that move within the account and
    /// still stand where they leave.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn claimed_uids(&self, generation: GenerationId) -> Result<HashSet<u32>> {
        let sql = "SELECT uid FROM copy WHERE generation = ?1 AND uid IS NOT NULL
                   UNION SELECT relocation.new_uid FROM generation JOIN mailbox ON mailbox.id = generation.mailbox
                   JOIN relocation ON relocation.destination = mailbox.name AND relocation.destination_validity = generation.uid_validity
                   WHERE generation.id = ?1 AND relocation.new_uid IS NOT NULL AND relocation.stage < 3";
        self.all(sql, [generation.0], |row| row.get(0))
    }

    /// What was put aside of a source folder, under the text of the key, or `number:N` where only that is known.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn quarantine(&self, source: &str, folder: &Folder) -> Result<HashMap<String, Quarantined>> {
        let sql = "SELECT quarantine.key, quarantine.reason, quarantine.tries, quarantine.uid FROM quarantine JOIN origin ON origin.id = quarantine.origin
                   WHERE origin.source = ?1 AND origin.folder = ?2";
        self.all(sql, (source, folder.to_string()), |row| {
            Ok((row.get(0)?, Quarantined { reason: row.get(1)?, tries: row.get(2)?, uid: row.get(3)? }))
        })
    }

    /// Shows whoever watches how far the run is: `progress.json` beside the database, replaced at most once a second.
    pub fn progress(&self, json: &serde_json::Value) {
        self.database.progress(json);
    }

    /// The directory of the one who writes.
    pub(super) fn dir(&self) -> Result<&Path> {
        Ok(&self.database.writer()?.dir)
    }

    /// Does `work` in one transaction that is durable on return, and undone when `work` fails.
    pub(super) fn transact<T>(&mut self, work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T>) -> Result<T> {
        self.database.transact(work)
    }

    pub(super) fn one<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Result<Option<T>> {
        self.database.one(sql, params, read)
    }

    pub(super) fn all<T, C: FromIterator<T>>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<C> {
        self.database.all(sql, params, read)
    }
}

/// The folder that was named at the destination, as a pairing keeps it.
pub(super) fn named(into: Option<&Folder>) -> String {
    into.map_or_else(String::new, ToString::to_string)
}

impl FromSql for State {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        let code = value.as_i64()?;
        Self::from_code(code).ok_or(rusqlite::types::FromSqlError::OutOfRange(code))
    }
}
