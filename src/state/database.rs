//! A SQLite database that one process writes and others read: opened under the lock of its directory, durable at each commit,
//! with the run counter that exposes a lost log. It must never know which tables are in it.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, Transaction, TransactionBehavior};

use super::files::{self, DATABASE};
use crate::context::{Context, Moment};
use crate::error::{Error, Kind, Result};
use crate::message::Digest;

/// How long a reader of the database (a `status`, say) may make us wait.
const BUSY: Duration = Duration::from_secs(5);
/// A write-ahead log of this many bytes is worked into the database.
const LOG_BYTES: u64 = 8 * 1024 * 1024;
/// The progress file is replaced no more often than this.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What tells one kind of database from another. `meta` is the table of one row that all have, with the columns `counter` and
/// whose it is.
pub(super) struct Scheme {
    /// `application_id`.
    pub(super) application: i64,
    /// The schema this build writes, kept in `user_version`.
    pub(super) version: i64,
    /// The column of `meta` that says whose it is.
    pub(super) owner: &'static str,
    /// Makes the tables and the row of `meta`.
    pub(super) create: fn(&Transaction<'_>, owner: &str) -> rusqlite::Result<()>,
    /// Brings the tables of an older version to this one.
    pub(super) migrate: fn(&Transaction<'_>, from: i64) -> rusqlite::Result<()>,
    /// What to do about one that is damaged or behind.
    pub(super) remedy: fn(&Path) -> String,
    /// What to do about a file or directory that cannot be used.
    pub(super) elsewhere: &'static str,
    /// Which run holds the lock.
    pub(super) rival: &'static str,
    /// The words for one that belongs to another.
    pub(super) foreign: fn(&Path, found: &str, wanted: &str) -> Error,
    /// Seconds for which a database that was closed in good order is taken for sound without being read whole.
    pub(super) trusted: Option<i64>,
}

/// An open database.
pub(super) struct Database {
    // The order of the fields is the order in which they are dropped: the lock outlives the connection.
    connection: Connection,
    path: PathBuf,
    scheme: &'static Scheme,
    writer: Option<Writer>,
    _copy: Option<tempfile::TempDir>,
}

/// What only the one writing process has.
pub(super) struct Writer {
    pub(super) context: Context,
    pub(super) dir: PathBuf,
    wal: bool,
    /// The counter in the database.
    counter: i64,
    /// Whether this stretch of the write-ahead log has raised the counter.
    stamped: bool,
    /// The length of the write-ahead log at which it is worked into the database.
    checkpoint_at: u64,
    progress: Cell<Option<Moment>>,
    _lock: File,
}

/// What a database says of itself.
enum Found {
    /// No tables yet.
    Blank,
    /// A sound one with this counter, of this version.
    Ours(i64, i64),
}

impl Database {
    /// Opens the database in `dir` for the one writing process, making what is missing.
    ///
    /// # Errors
    /// [`Kind::Locked`] when another process has it; [`Kind::Safety`] when it belongs to another `owner`; [`Kind::Local`] when it is
    /// damaged, newer than this build, older than the last run left it, not ours to write, or the disk fails. Whatever is refused
    /// is left as it is.
    pub(super) fn open(dir: &Path, scheme: &'static Scheme, owner: &str, context: &Context) -> Result<Self> {
        let dir = files::make_dir(dir, scheme.elsewhere)?;
        context.step("journal.before-lock");
        let lock = files::lock(&dir, scheme.rival, context)?;
        context.step("journal.after-lock");
        let seen = files::read_counter(&dir)?;
        let path = dir.join(DATABASE);
        // Before anything is made: a refused database stays as it is, also one that is not there.
        if seen > 0 && !path.try_exists().map_err(|error| Error::io(path.display(), error))? {
            return Err(missing(scheme, &path));
        }
        let tidy = files::closed_tidily(&dir);
        files::make_database(&dir)?;
        let sql = |error| fault(scheme, &path, error);

        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(sql)?;
        // Closing a refused database must not work its log into it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
        prepare(&connection).map_err(sql)?;
        let now = context.unix_time();
        let trusted = if tidy { scheme.trusted.map(|seconds| now.saturating_sub(seconds)..=now) } else { None };
        let (found, read) = inspect(&connection, &path, scheme, owner, trusted)?;
        let counter = match found {
            Found::Blank => 0,
            Found::Ours(counter, _) => counter,
        };
        if counter < seen {
            return Err(behind(scheme, &path, counter, seen));
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(sql)?;
        let wanted = if files::on_local_disk(&dir) { "WAL" } else { "DELETE" };
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", wanted, |row| row.get(0)).map_err(sql)?;
        // Working the log into the database is ours to time: the counter rises right after it.
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(())).map_err(sql)?;
        let change = match found {
            Found::Blank => Some(None),
            Found::Ours(_, version) if version < scheme.version => Some(Some(version)),
            Found::Ours(..) => None,
        };
        if let Some(from) = change {
            context.step("journal.before-commit");
            let done = connection.transaction().and_then(|transaction| {
                match from {
                    None => {
                        (scheme.create)(&transaction, owner)?;
                        transaction.pragma_update(None, "application_id", scheme.application)?;
                    }
                    Some(version) => (scheme.migrate)(&transaction, version)?,
                }
                transaction.pragma_update(None, "user_version", scheme.version)?;
                transaction.commit()
            });
            done.map_err(sql)?;
            context.step("journal.after-commit");
        }
        let writer = Writer {
            context: context.clone(),
            dir,
            wal: mode.eq_ignore_ascii_case("wal"),
            counter,
            stamped: false,
            checkpoint_at: LOG_BYTES,
            progress: Cell::new(None),
            _lock: lock,
        };
        let mut database = Self { connection, path, scheme, writer: Some(writer), _copy: None };
        if read && scheme.trusted.is_some() {
            database.transact(|transaction, path| {
                transaction.execute("UPDATE meta SET checked = ?1", [now]).map(drop).map_err(|error| fault(scheme, path, error))
            })?;
        }
        Ok(database)
    }

    /// Opens the database in `dir` for reading alone: makes no file there and needs no lock. `None` when there is none.
    ///
    /// # Errors
    /// As [`Database::open`], but never [`Kind::Locked`].
    pub(super) fn read_only(dir: &Path, scheme: &'static Scheme, owner: &str) -> Result<Option<Self>> {
        let Some(dir) = files::existing_dir(dir, scheme.elsewhere)? else { return Ok(None) };
        let path = dir.join(DATABASE);
        let sql = |error| fault(scheme, &path, error);
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
                    return if seen > 0 { Err(missing(scheme, &path)) } else { Ok(None) };
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
        let (found, _) = inspect(&connection, &path, scheme, owner, None)?;
        connection.pragma_update(None, "query_only", true).map_err(sql)?;
        match found {
            Found::Blank if seen > 0 => Err(behind(scheme, &path, 0, seen)),
            Found::Blank => Ok(None),
            Found::Ours(counter, _) if counter < seen => Err(behind(scheme, &path, counter, seen)),
            Found::Ours(..) => Ok(Some(Self { connection, path, scheme, writer: None, _copy: copy })),
        }
    }

    /// Opens a copy of the database in `dir` for what can still be read of it, whoever's it is and however old. `None` when nothing can.
    pub(super) fn salvage(dir: &Path, scheme: &'static Scheme) -> Option<Self> {
        let dir = files::existing_dir(dir, scheme.elsewhere).ok()??;
        let copy = tempfile::Builder::new().prefix("mailhaul-journal-").tempdir().ok()?;
        if !files::copy_database(&dir, copy.path()).ok()? {
            return None;
        }
        let path = copy.path().join(DATABASE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).ok()?;
        prepare(&connection).ok()?;
        let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).ok()?;
        connection.pragma_update(None, "query_only", true).ok()?;
        (application == scheme.application).then_some(Self { connection, path, scheme, writer: None, _copy: Some(copy) })
    }

    /// What only the writing process has.
    pub(super) fn writer(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(read_only)
    }

    /// Whether this is the writing process.
    pub(super) fn writes(&self) -> bool {
        self.writer.is_some()
    }

    /// Shows whoever watches how far the run is: `progress.json` beside the database, replaced at most once a second.
    pub(super) fn progress(&self, json: &serde_json::Value) {
        let Some(writer) = &self.writer else { return };
        let now = writer.context.now();
        if writer.progress.get().is_some_and(|last| now.since(last) < PROGRESS_EVERY) {
            return;
        }
        writer.progress.set(Some(now));
        files::write_progress(&writer.dir, json);
    }

    /// Works the write-ahead log into the database and removes the progress file.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.checkpoint()?;
        files::remove_progress(&self.writer()?.dir);
        Ok(())
    }

    /// Does `work` in one transaction that is durable on return, and undone when `work` fails.
    pub(super) fn transact<T>(&mut self, work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T>) -> Result<T> {
        let (path, scheme) = (&self.path, self.scheme);
        let sql = |error| fault(scheme, path, error);
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
            if let Some(writer) = &mut self.writer {
                writer.checkpoint_at = if done { LOG_BYTES } else { log.saturating_add(LOG_BYTES) };
            }
        }
        Ok(value)
    }

    /// Works the write-ahead log into the database; `false` when a reader kept it from being emptied.
    fn checkpoint(&mut self) -> Result<bool> {
        let writer = self.writer.as_mut().ok_or_else(read_only)?;
        if !writer.wal {
            return Ok(true);
        }
        writer.context.step("journal.before-checkpoint");
        writer.stamped = false;
        let busy: bool = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| fault(self.scheme, &self.path, error))?;
        writer.context.step("journal.after-checkpoint");
        Ok(!busy)
    }

    pub(super) fn one<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Result<Option<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(|error| self.fault(error))
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
            .map_err(|error| self.fault(error))
    }

    /// Hands rows over one at a time, as they are read.
    pub(super) fn each<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        each: &mut dyn FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.fault(error))?;
        let mut rows = statement.query(params).map_err(|error| self.fault(error))?;
        while let Some(row) = rows.next().map_err(|error| self.fault(error))? {
            each(read(row).map_err(|error| self.fault(error))?)?;
        }
        Ok(())
    }

    fn fault(&self, error: rusqlite::Error) -> Error {
        fault(self.scheme, &self.path, error)
    }
}

/// What SQLite reports, in our words.
pub(super) fn fault(scheme: &Scheme, path: &Path, error: rusqlite::Error) -> Error {
    let what = path.display();
    let ours = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::local(format!("{what}: no space left on the disk"))
            .hint("make room on the disk and run the same command again; nothing was lost"),
        Some(ErrorCode::SystemIoFailure) => Error::local(format!("{what}: {error}"))
            .hint("check that the disk is sound and has room (quota too), then run the same command again; nothing was lost"),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Error::local(format!("{what}: {error}"))
            .hint(format!("the journal must be a plain file that you may write; {}", scheme.elsewhere)),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(scheme, path, &error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::local(format!("{what}: another program holds the journal open")).hint("close it and run the same command again")
        }
        // Rows that SQLite reads and nobody could have written.
        None => match error {
            rusqlite::Error::InvalidQuery => damaged(scheme, path, "a row in it makes no sense"),
            _ => damaged(scheme, path, &error.to_string()),
        },
        _ => Error::local(format!("{what}: {error}")),
    };
    ours.because(error)
}

/// A database that cannot be trusted. It stays as it is.
pub(super) fn damaged(scheme: &Scheme, path: &Path, words: &str) -> Error {
    Error::local(format!("the journal {} is damaged ({words}); it was left as it is", path.display())).hint((scheme.remedy)(path))
}

/// A database older than what was done with it.
fn behind(scheme: &Scheme, path: &Path, database: i64, file: i64) -> Error {
    Error::local(format!(
        "the journal {} shows an older state than the last run left (run counter {database}, the file beside it says {file}): \
         its write-ahead log was lost, or an old copy was put back",
        path.display()
    ))
    .hint(format!("put back journal.db together with journal.db-wal and runs, or {}", (scheme.remedy)(path)))
}

/// A database that runs wrote to, and that is gone: the oldest of all states.
fn missing(scheme: &Scheme, path: &Path) -> Error {
    Error::local(format!(
        "the journal {} is missing, although the run counter beside it says that runs wrote to it: that is an older state than the last run left",
        path.display()
    ))
    .hint(format!("put back journal.db together with journal.db-wal and runs, or {}", (scheme.remedy)(path)))
}

/// A number of a peer that SQLite's signed integers may not hold.
pub(super) fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A step that the rules of copying forbid: a mistake of ours, stopped before it can double or lose a message.
pub(super) fn misuse(words: String) -> Error {
    Error::new(Kind::Safety, words)
}

fn read_only() -> Error {
    misuse("this journal was opened for reading alone".to_owned())
}

fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}

/// Settings of a connection that change nothing in the file.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // Plans do not hang on the values bound, so that no statement is prepared anew for every message.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Whether the database is sound, ours, of a version we know and for `owner`; and whether it was read whole for that, which one
/// that was read whole at a moment within `trusted` is not again.
fn inspect(
    connection: &Connection,
    path: &Path,
    scheme: &Scheme,
    owner: &str,
    trusted: Option<std::ops::RangeInclusive<i64>>,
) -> Result<(Found, bool)> {
    let sql = |error| fault(scheme, path, error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sql);
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    if tables == 0 && application == 0 && version == 0 {
        return Ok((Found::Blank, false));
    }
    if application != scheme.application {
        return Err(Error::local(format!("{} is a database of another program", path.display())).hint(scheme.elsewhere));
    }
    if version > scheme.version {
        return Err(Error::local(format!(
            "the journal {} was written by a newer mailhaul (its version is {version}, this one knows {})",
            path.display(),
            scheme.version
        ))
        .hint("use the newer mailhaul; nothing was changed"));
    }
    let checked = match &trusted {
        Some(_) => connection.query_row("SELECT checked FROM meta", [], |row| row.get::<_, i64>(0)).optional().map_err(sql)?,
        None => None,
    };
    let read = !checked.zip(trusted).is_some_and(|(checked, trusted)| trusted.contains(&checked));
    if read {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
        if verdict != "ok" {
            return Err(damaged(scheme, path, &verdict));
        }
    }
    let meta = format!("SELECT {}, counter FROM meta", scheme.owner);
    let meta = connection.query_row(&meta, [], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
    let (found, counter) = meta.optional().map_err(sql)?.ok_or_else(|| damaged(scheme, path, "its first table is empty"))?;
    if found != owner {
        return Err((scheme.foreign)(path, &found, owner));
    }
    Ok((Found::Ours(counter, version), read))
}

impl FromSql for Digest {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        <[u8; 32]>::column_result(value).map(Self)
    }
}
