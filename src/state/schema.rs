//! The tables of the journal of copies, and what is said about it.

use std::path::Path;

use super::database::{Scheme, fault};
use crate::error::{Error, Kind};

/// The schema this build writes, kept in `user_version`.
const VERSION: i64 = 3;
/// `application_id`: "mhJ1".
const APPLICATION: i64 = 0x6d68_4a31;

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

/// What version 3 added.
const LEAVING: &str = "
    CREATE TABLE IF NOT EXISTS leaving (
        copy INTEGER PRIMARY KEY REFERENCES copy (id) ON DELETE CASCADE
    ) STRICT;
    CREATE TABLE IF NOT EXISTS adopted (
        copy INTEGER PRIMARY KEY REFERENCES copy (id) ON DELETE CASCADE
    ) STRICT;
    CREATE TABLE IF NOT EXISTS ignored (
        origin INTEGER NOT NULL REFERENCES origin (id),
        key TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (origin, key)
    ) STRICT, WITHOUT ROWID;
";

/// The journal of copies to a destination.
pub(super) static JOURNAL: Scheme = Scheme {
    application: APPLICATION,
    version: VERSION,
    owner: "destination",
    create: |transaction, destination| {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(RELOCATIONS)?;
        transaction.execute_batch(LEAVING)?;
        transaction.execute("INSERT INTO meta VALUES (1, ?1, 0)", [destination]).map(drop)
    },
    migrate: |transaction, from| {
        if from < 2 {
            transaction.execute_batch(RELOCATIONS)?;
        }
        transaction.execute_batch(LEAVING)?;
        // What was sent lies behind the end that the folder had before.
        transaction.execute_batch("INSERT OR IGNORE INTO adopted SELECT id FROM copy WHERE state = 2 AND uid < floor")
    },
    remedy: |_| {
        "put back a copy of its directory from a backup, or move the directory away: a run without a journal compares contents and copies only what is missing".to_owned()
    },
    elsewhere: "name another directory with --state DIR",
    rival: "another run to the same destination",
    foreign: |path, found, wanted| {
        Error::new(Kind::Safety, format!("the journal {} belongs to {found}, not to {wanted}", path.display()))
            .hint("each destination needs a state directory of its own")
    },
    trusted: None,
};

/// What SQLite reports, in our words.
pub(super) fn error(path: &Path, error: rusqlite::Error) -> Error {
    fault(&JOURNAL, path, error)
}
