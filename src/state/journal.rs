//! Opening a journal and reading it. What changes copies is in `commit`.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row, Transaction, TransactionBehavior};

use crate::context::{Context, Moment};
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::message::Digest;

use super::files::DATABASE;
use super::{Baseline, CopyId, CopyRow, GenerationId, Horizon, Intent, MailboxId, Quarantined, Run, State, files, schema};

/// How long a reader of the database (a `status`, say) may make us wait.
const BUSY: Duration = Duration::from_secs(5);
/// A write-ahead log of this many bytes is worked into the database.
const LOG_BYTES: u64 = 8 * 1024 * 1024;
/// The progress file is replaced no more often than this.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The journal of copies to one destination. Facts in it are durable when a call returns.
pub struct Journal {
    // The order of the fields is the order in which they are dropped: the lock outlives the connection.
    connection: Connection,
    path: PathBuf,
    writer: Option<Writer>,
    _copy: Option<tempfile::TempDir>,
}

/// What only the one writing process has.
struct Writer {
    context: Context,
    dir: PathBuf,
    wal: bool,
    /// The counter in the database.
    counter: i64,
    /// Whether this stretch of the write-ahead log has raised the counter.
    stamped: bool,
    /// The length of the write-ahead log at which it is worked into the database.
    checkpoint_at: u64,
    run: Option<i64>,
    progress: Cell<Option<Moment>>,
    _lock: File,
}

/// What a database says of itself.
enum Found {
    /// No tables yet.
    Blank,
    /// A sound journal with this counter, of this version.
    Journal(i64, i64),
}

impl Journal {
    /// Opens the journal in `dir` for the one writing process of `destination`, making what is missing.
    ///
    /// # Errors
    /// [`Kind::Locked`] when another process has it; [`Kind::Safety`] when it belongs to another destination;
    /// [`Kind::Local`] when it is damaged, newer than this build, older than the last run left it, not ours to write, or
    /// the disk fails. Whatever is refused is left as it is.
    pub fn open(dir: &Path, destination: &str, context: &Context) -> Result<Self> {
        let dir = files::make_dir(dir)?;
        context.step("journal.before-lock");
        let lock = files::lock(&dir, context)?;
        context.step("journal.after-lock");
        let seen = files::read_counter(&dir)?;
        files::make_database(&dir)?;
        let path = dir.join(DATABASE);
        let sql = |error| schema::error(&path, error);

        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(sql)?;
        // Closing a refused journal must not work its log into it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
        prepare(&connection).map_err(sql)?;
        let found = inspect(&connection, &path, destination)?;
        let counter = match found {
            Found::Blank => 0,
            Found::Journal(counter, _) => counter,
        };
        if counter < seen {
            return Err(schema::behind(&path, counter, seen));
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(sql)?;
        let wanted = if files::on_local_disk(&dir) { "WAL" } else { "DELETE" };
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", wanted, |row| row.get(0)).map_err(sql)?;
        // Working the log into the database is ours to time: the counter rises right after it.
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(())).map_err(sql)?;
        match found {
            Found::Blank => {
                context.step("journal.before-commit");
                schema::create(&mut connection, destination).map_err(sql)?;
                context.step("journal.after-commit");
            }
            Found::Journal(_, version) if version < schema::VERSION => {
                context.step("journal.before-commit");
                schema::migrate(&mut connection, version).map_err(sql)?;
                context.step("journal.after-commit");
            }
            Found::Journal(..) => {}
        }
        let writer = Writer {
            context: context.clone(),
            dir,
            wal: mode.eq_ignore_ascii_case("wal"),
            counter,
            stamped: false,
            checkpoint_at: LOG_BYTES,
            run: None,
            progress: Cell::new(None),
            _lock: lock,
        };
        Ok(Self { connection, path, writer: Some(writer), _copy: None })
    }

    /// Opens the journal in `dir` for reading alone, as `--dry-run` and `status` do: makes no file there and needs no
    /// lock. `None` when there is no journal.
    ///
    /// # Errors
    /// As [`Journal::open`], but never [`Kind::Locked`].
    pub fn read_only(dir: &Path, destination: &str) -> Result<Option<Self>> {
        let Some(dir) = files::existing_dir(dir)? else { return Ok(None) };
        let path = dir.join(DATABASE);
        let sql = |error| schema::error(&path, error);
        // Read before the database, which a running writer keeps ahead of it.
        let seen = files::read_counter(&dir)?;
        // SQLite cannot read a write-ahead log without making files beside it, so it gets a copy; under a running writer
        // those files are there.
        let (copy, opened) = match files::hold_still(&dir)? {
            Some(_still) => {
                let copy = tempfile::Builder::new()
                    .prefix("mailhaul-journal-")
                    .permissions(std::fs::Permissions::from_mode(0o700))
                    .tempdir()
                    .map_err(|error| Error::io("a temporary directory for a copy of the journal", error))?;
                if !files::copy_database(&dir, copy.path())? {
                    return if seen > 0 { Err(schema::behind(&path, 0, seen)) } else { Ok(None) };
                }
                let opened = Connection::open_with_flags(
                    copy.path().join(DATABASE),
                    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                );
                (Some(copy), opened)
            }
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                (None, Connection::open_with_flags(&path, flags))
            }
        };
        let connection = opened.map_err(sql)?;
        prepare(&connection).map_err(sql)?;
        let found = inspect(&connection, &path, destination)?;
        connection.pragma_update(None, "query_only", true).map_err(sql)?;
        match found {
            Found::Blank if seen > 0 => Err(schema::behind(&path, 0, seen)),
            Found::Blank => Ok(None),
            Found::Journal(counter, _) if counter < seen => Err(schema::behind(&path, counter, seen)),
            Found::Journal(..) => Ok(Some(Self { connection, path, writer: None, _copy: copy })),
        }
    }

    /// Notes that a run begins.
    ///
    /// # Errors
    /// [`Kind::Local`] when the disk fails.
    pub fn begin_run(&mut self) -> Result<()> {
        let now = self.writer()?.context.unix_time();
        let run = self.transact(|transaction, path| {
            transaction
                .prepare_cached("INSERT INTO run (started) VALUES (?1)")
                .and_then(|mut insert| insert.insert([now]))
                .map_err(|error| schema::error(path, error))
        })?;
        self.writer()?.run = Some(run);
        Ok(())
    }

    /// Notes that the run ended, works the write-ahead log into the database and removes the progress file.
    ///
    /// # Errors
    /// [`Kind::Local`] when the disk fails.
    pub fn finish_run(&mut self, complete: bool) -> Result<()> {
        let writer = self.writer()?;
        let now = writer.context.unix_time();
        if let Some(run) = writer.run.take() {
            self.transact(|transaction, path| {
                transaction
                    .execute("UPDATE run SET finished = ?2, complete = ?3 WHERE id = ?1", (run, now, complete))
                    .map_err(|error| schema::error(path, error))
            })?;
        }
        self.checkpoint()?;
        files::remove_progress(&self.writer()?.dir);
        Ok(())
    }

    /// The last run, or the last that was complete.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
    pub fn last_run(&self, complete: bool) -> Result<Option<Run>> {
        self.one("SELECT started, finished, complete FROM run WHERE complete >= ?1 ORDER BY id DESC LIMIT 1", [complete], |row| {
            Ok(Run { started: row.get(0)?, finished: row.get(1)?, complete: row.get(2)? })
        })
    }

    /// The number of a destination folder, given at first sight. Of a folder never seen, a read-only journal gives one under
    /// which nothing is recorded.
    ///
    /// # Errors
    /// [`Kind::Local`] when the disk fails.
    pub fn mailbox(&mut self, folder: &Folder) -> Result<MailboxId> {
        let name = folder.to_string();
        if let Some(id) = self.one("SELECT id FROM mailbox WHERE name = ?1", [&name], |row| row.get(0))? {
            return Ok(MailboxId(id));
        }
        if self.writer.is_none() {
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
    /// [`Kind::Local`] when the database cannot be read.
    pub fn generation(&self, mailbox: MailboxId, uid_validity: u32) -> Result<Option<GenerationId>> {
        let sql = "SELECT id FROM generation WHERE mailbox = ?1 AND uid_validity = ?2";
        self.one(sql, (mailbox.0, uid_validity), |row| row.get(0).map(GenerationId))
    }

    /// Notes a generation; the same again gives the same number.
    ///
    /// # Errors
    /// [`Kind::Local`] when the disk fails.
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
    /// [`Kind::Local`] when the database cannot be read.
    pub fn uid_validity(&self, generation: GenerationId) -> Result<Option<u32>> {
        self.one("SELECT uid_validity FROM generation WHERE id = ?1", [generation.0], |row| row.get(0))
    }

    /// The UIDs that are not ours in `generation`, ascending; `None` when they were never recorded.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
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
    /// [`Kind::Safety`] when it was recorded already; [`Kind::Local`] when the disk fails.
    pub fn set_baseline(&mut self, generation: GenerationId, messages: &[Baseline]) -> Result<()> {
        self.transact(|transaction, path| {
            let sql = |error| schema::error(path, error);
            let marked = transaction
                .execute("UPDATE generation SET has_baseline = 1 WHERE id = ?1 AND has_baseline = 0", [generation.0])
                .map_err(sql)?;
            if marked == 0 {
                return Err(schema::misuse("what was in the folder before the first copy is recorded already".to_owned()));
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
    /// [`Kind::Local`] when the disk fails.
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
    /// [`Kind::Local`] when the database cannot be read.
    pub fn horizon(&self, folder: &Folder) -> Result<Option<Horizon>> {
        self.one("SELECT uid_validity, uid_next FROM horizon WHERE folder = ?1", [folder.to_string()], |row| {
            Ok(Horizon { uid_validity: row.get(0)?, uid_next: row.get(1)? })
        })
    }

    /// Whether everything of a source folder was once dealt with at `generation`, so that what lies there and is no copy of
    /// ours cannot be what is missing.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
    pub fn has_visited(&self, source: &str, folder: &Folder, generation: GenerationId) -> Result<bool> {
        let sql = "SELECT 1 FROM visit JOIN origin ON origin.id = visit.origin WHERE origin.source = ?1 AND origin.folder = ?2 AND visit.generation = ?3";
        Ok(self.one(sql, (source, folder.to_string(), generation.0), |row| row.get::<_, i64>(0))?.is_some())
    }

    /// Where folders of a source went in earlier runs that named the same folder (or none) at the destination.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
    pub fn pairings(&self, source: &str, into: Option<&Folder>) -> Result<HashMap<Folder, Folder>> {
        let sql = "SELECT origin.folder, mailbox.name FROM pairing JOIN origin ON origin.id = pairing.origin JOIN mailbox ON mailbox.id = pairing.mailbox
                   WHERE origin.source = ?1 AND pairing.below = ?2";
        let folder = |name: String| Folder::parse(&name).ok_or(rusqlite::Error::InvalidQuery);
        self.all(sql, (source, named(into)), |row| Ok((folder(row.get(0)?)?, folder(row.get(1)?)?)))
    }

    /// Every copy of a source folder into `mailbox`, under the text of its key.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
    pub fn copies(&self, source: &str, folder: &Folder, mailbox: MailboxId) -> Result<HashMap<String, CopyRow>> {
        let sql =
            "SELECT copy.key, copy.id, copy.state, copy.content, copy.uid, copy.generation, copy.tries, copy.altered FROM copy JOIN origin ON origin.id = copy.origin
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
            };
            Ok((row.get(0)?, copy))
        })
    }

    /// The copies into `mailbox` whose fate is open, oldest first.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
    pub fn outstanding(&self, mailbox: MailboxId) -> Result<Vec<Intent>> {
        self.looked_for("copy.mailbox = ?1 AND copy.state IN (1, 3)", [mailbox.0])
    }

    /// The copies in `mailbox` that are done, but not known under which UID of `generation`: the server did not tell it, or
    /// it is of an earlier generation. Oldest first.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
    pub fn unplaced(&self, mailbox: MailboxId, generation: GenerationId) -> Result<Vec<Intent>> {
        // One that was found in another folder has its place there.
        let condition = "copy.mailbox = ?1 AND copy.state = 2 AND (copy.uid IS NULL OR copy.generation IS NOT ?2)
                         AND (copy.generation IS NULL OR copy.generation IN (SELECT id FROM generation WHERE mailbox = ?1))";
        self.looked_for(condition, (mailbox.0, generation.0))
    }

    /// The copies in `mailbox` that are done and lie at one of `uids` of `generation`.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
    pub fn placed(&self, mailbox: MailboxId, generation: GenerationId, uids: &[u32]) -> Result<Vec<Intent>> {
        let mut found = Vec::new();
        for uid in uids {
            let condition = "copy.mailbox = ?1 AND copy.state = 2 AND copy.generation = ?2 AND copy.uid = ?3";
            found.extend(self.looked_for(condition, (mailbox.0, generation.0, uid))?);
        }
        Ok(found)
    }

    /// Whether copies were sent into `mailbox` under another UIDVALIDITY than that of `generation`.
    ///
    /// # Errors
    /// [`Kind::Local`] when the database cannot be read.
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
                length: row.get::<_, i64>(8)?.unsigned_abs(),
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
    /// [`Kind::Local`] when the database cannot be read.
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
    /// [`Kind::Local`] when the database cannot be read.
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
    /// [`Kind::Local`] when the database cannot be read.
    pub fn quarantine(&self, source: &str, folder: &Folder) -> Result<HashMap<String, Quarantined>> {
        let sql = "SELECT quarantine.key, quarantine.reason, quarantine.tries, quarantine.uid FROM quarantine JOIN origin ON origin.id = quarantine.origin
                   WHERE origin.source = ?1 AND origin.folder = ?2";
        self.all(sql, (source, folder.to_string()), |row| {
            Ok((row.get(0)?, Quarantined { reason: row.get(1)?, tries: row.get(2)?, uid: row.get(3)? }))
        })
    }

    /// Shows whoever watches how far the run is: `progress.json` beside the database, replaced at most once a second.
    pub fn progress(&self, json: &serde_json::Value) {
        let Some(writer) = &self.writer else { return };
        let now = writer.context.now();
        if writer.progress.get().is_some_and(|last| now.since(last) < PROGRESS_EVERY) {
            return;
        }
        writer.progress.set(Some(now));
        files::write_progress(&writer.dir, json);
    }

    /// The directory of the one who writes.
    pub(super) fn dir(&self) -> Result<&Path> {
        self.writer.as_ref().map(|writer| writer.dir.as_path()).ok_or_else(read_only)
    }

    fn writer(&mut self) -> Result<&mut Writer> {
        self.writer.as_mut().ok_or_else(read_only)
    }

    /// Does `work` in one transaction that is durable on return, and undone when `work` fails.
    pub(super) fn transact<T>(&mut self, work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T>) -> Result<T> {
        let path = &self.path;
        let sql = |error| schema::error(path, error);
        let writer = self.writer.as_mut().ok_or_else(read_only)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        let value = work(&transaction, path)?;
        let next = writer.counter.saturating_add(1);
        if !writer.stamped {
            transaction.execute("UPDATE meta SET counter = ?1", [next]).map_err(sql)?;
        }
        writer.context.step("journal.before-commit");
        transaction.commit().map_err(sql)?;
        writer.context.step("journal.after-commit");
        if !writer.stamped {
            // The file follows the database, never the other way round: a kill in between must not look like a loss. The
            // caller acts only after both.
            writer.counter = next;
            files::write_counter(&writer.dir, next, &writer.context)?;
            writer.stamped = true;
        }
        let log = if writer.wal { std::fs::metadata(log_path(path)).map_or(0, |found| found.len()) } else { 0 };
        if log >= writer.checkpoint_at {
            // All is durable in the log: a reader that keeps it from being emptied is no trouble, it only grows.
            let done = self.checkpoint().unwrap_or(false);
            self.writer()?.checkpoint_at = if done { LOG_BYTES } else { log.saturating_add(LOG_BYTES) };
        }
        Ok(value)
    }

    /// Works the write-ahead log into the database; `false` when a reader kept it from being emptied.
    fn checkpoint(&mut self) -> Result<bool> {
        let path = &self.path;
        let writer = self.writer.as_mut().ok_or_else(read_only)?;
        if !writer.wal {
            return Ok(true);
        }
        writer.context.step("journal.before-checkpoint");
        writer.stamped = false;
        let busy: bool = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| schema::error(path, error))?;
        writer.context.step("journal.after-checkpoint");
        Ok(!busy)
    }

    pub(super) fn one<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Result<Option<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(|error| schema::error(&self.path, error))
    }

    pub(super) fn all<T, C: FromIterator<T>>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<C> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(params, read)?.collect())
            .map_err(|error| schema::error(&self.path, error))
    }
}

/// The folder that was named at the destination, as a pairing keeps it.
pub(super) fn named(into: Option<&Folder>) -> String {
    into.map_or_else(String::new, ToString::to_string)
}

/// A number of a peer that SQLite's signed integers may not hold.
pub(super) fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read_only() -> Error {
    schema::misuse("this journal was opened for reading alone".to_owned())
}

fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}

/// Settings of a connection that change nothing in the file.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Whether the database is sound, ours, of a version we know and for `destination`.
fn inspect(connection: &Connection, path: &Path, destination: &str) -> Result<Found> {
    let sql = |error| schema::error(path, error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sql);
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    if tables == 0 && application == 0 && version == 0 {
        return Ok(Found::Blank);
    }
    if application != schema::APPLICATION {
        return Err(
            Error::local(format!("{} is a database of another program", path.display())).hint("name another directory with --state DIR")
        );
    }
    if version > schema::VERSION {
        return Err(Error::local(format!(
            "the journal {} was written by a newer mailhaul (its version is {version}, this one knows {})",
            path.display(),
            schema::VERSION
        ))
        .hint("use the newer mailhaul; nothing was changed"));
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
    if verdict != "ok" {
        return Err(schema::damaged(path, &verdict));
    }
    let meta = connection.query_row("SELECT destination, counter FROM meta", [], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
    let (owner, counter) = meta.optional().map_err(sql)?.ok_or_else(|| schema::damaged(path, "its first table is empty"))?;
    if owner != destination {
        return Err(Error::new(Kind::Safety, format!("the journal {} belongs to {owner}, not to {destination}", path.display()))
            .hint("each destination needs a state directory of its own"));
    }
    Ok(Found::Journal(counter, version))
}

impl FromSql for State {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        let code = value.as_i64()?;
        Self::from_code(code).ok_or(rusqlite::types::FromSqlError::OutOfRange(code))
    }
}

impl FromSql for Digest {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        <[u8; 32]>::column_result(value).map(Self)
    }
}
