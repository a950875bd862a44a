//! The tables, and the one translation of SQLite's errors into ours.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::error::{Error, Kind};

/// The schema this build writes, kept in `user_version`.
pub(super) const VERSION: i64 = 2;
/// `application_id`: "mhJ1".
pub(super) const APPLICATION: i64 = 0x6d68_4a31;

const TABLES: &str = "
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        destination TEXT NOT NULL,
        counter INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        started INTEGER NOT NULL,
        finished INTEGER,
        complete INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE mailbox (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE generation (
        id INTEGER PRIMARY KEY,
        mailbox INTEGER NOT NULL REFERENCES mailbox (id),
        uid_validity INTEGER NOT NULL,
        has_baseline INTEGER NOT NULL DEFAULT 0,
        UNIQUE (mailbox, uid_validity)
    ) STRICT;
    CREATE TABLE baseline (
        generation INTEGER NOT NULL REFERENCES generation (id),
        uid INTEGER NOT NULL,
        size INTEGER,
        internal_date INTEGER,
        PRIMARY KEY (generation, uid)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE origin (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        folder TEXT NOT NULL,
        UNIQUE (source, folder)
    ) STRICT;
    CREATE TABLE pairing (
        origin INTEGER NOT NULL REFERENCES origin (id),
        below TEXT NOT NULL,
        mailbox INTEGER NOT NULL REFERENCES mailbox (id),
        PRIMARY KEY (origin, below)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE horizon (
        folder TEXT PRIMARY KEY,
        uid_validity INTEGER NOT NULL,
        uid_next INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE visit (
        origin INTEGER NOT NULL REFERENCES origin (id),
        generation INTEGER NOT NULL REFERENCES generation (id),
        PRIMARY KEY (origin, generation)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE copy (
        id INTEGER PRIMARY KEY,
        mailbox INTEGER NOT NULL REFERENCES mailbox (id),
        origin INTEGER NOT NULL REFERENCES origin (id),
        key TEXT NOT NULL,
        state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),
        exact BLOB NOT NULL CHECK (length(exact) = 32),
        content BLOB NOT NULL CHECK (length(content) = 32),
        header BLOB,
        body BLOB,
        length INTEGER NOT NULL,
        generation INTEGER REFERENCES generation (id),
        floor INTEGER,
        uid INTEGER,
        intended INTEGER NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        altered INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        UNIQUE (mailbox, origin, key),
        CHECK (uid IS NULL OR generation IS NOT NULL)
    ) STRICT;
    CREATE UNIQUE INDEX copy_uid ON copy (generation, uid) WHERE uid IS NOT NULL;
    CREATE INDEX copy_open ON copy (mailbox, intended, id) WHERE state IN (1, 3);
    CREATE TABLE quarantine (
        origin INTEGER NOT NULL REFERENCES origin (id),
        key TEXT NOT NULL,
        uid INTEGER,
        reason TEXT NOT NULL,
        tries INTEGER NOT NULL,
        PRIMARY KEY (origin, key)
    ) STRICT, WITHOUT ROWID;
";

/// What version 2 added.
const RELOCATIONS: &str = "
    CREATE TABLE relocation (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        source_validity INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        destination TEXT NOT NULL,
        destination_validity INTEGER NOT NULL,
        floor INTEGER NOT NULL,
        intended INTEGER NOT NULL,
        stage INTEGER NOT NULL CHECK (stage BETWEEN 0 AND 3),
        new_uid INTEGER,
        UNIQUE (source, source_validity, uid)
    ) STRICT;
";

/// Brings a journal of an older version to this one, in one transaction.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if from < 2 {
        transaction.execute_batch(RELOCATIONS)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Makes the tables of a new journal in one transaction.
pub(super) fn create(connection: &mut Connection, destination: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(RELOCATIONS)?;
    transaction.execute("INSERT INTO meta VALUES (1, ?1, 0)", [destination])?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// What SQLite reports, in our words.
pub(super) fn error(path: &Path, error: rusqlite::Error) -> Error {
    let what = path.display();
    let ours = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::local(format!("{what}: no space left on the disk"))
            .hint("make room on the disk and run the same command again; nothing was lost"),
        Some(ErrorCode::SystemIoFailure) => Error::local(format!("{what}: {error}"))
            .hint("check that the disk is sound and has room (quota too), then run the same command again; nothing was lost"),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Error::local(format!("{what}: {error}"))
            .hint("the journal must be a plain file that you may write; name another directory with --state DIR"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::local(format!("{what}: another program holds the journal open")).hint("close it and run the same command again")
        }
        _ => Error::local(format!("{what}: {error}")),
    };
    ours.because(error)
}

/// A journal that cannot be trusted. It stays as it is.
pub(super) fn damaged(path: &Path, words: &str) -> Error {
    Error::local(format!("the journal {} is damaged ({words}); it was left as it is", path.display())).hint(
        "put back a copy of its directory from a backup, or move the directory away: a run without a journal compares contents and copies only what is missing",
    )
}

/// A journal older than what was done with it.
pub(super) fn behind(path: &Path, database: i64, file: i64) -> Error {
    Error::local(format!(
        "the journal {} shows an older state than the last run left (run counter {database}, the file beside it says {file}): \
         its write-ahead log was lost, or an old copy was put back",
        path.display()
    ))
    .hint(
        "put back journal.db together with journal.db-wal and runs, or move the directory away: a run without a journal compares contents and copies only what is missing",
    )
}

/// A step that the rules of copying forbid: a mistake of ours, stopped before it can double or lose a message.
pub(super) fn misuse(words: String) -> Error {
    Error::new(Kind::Safety, words)
}
