//! The tables of an archive, and what is said about it.

use std::path::Path;

use crate::error::{Error, Kind};
use crate::state::database::{Scheme, fault};

/// The sums of a folder (`messages`, `gone`, `octets`) and the counts of a file (`named`, `live`) are kept up by each commit, so
/// that a run over an unchanged folder of any size reads one row of it.
const TABLES: &str = "
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        store TEXT NOT NULL,
        counter INTEGER NOT NULL,
        checked INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE account (
        id INTEGER PRIMARY KEY,
        identity TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        manifest_stale INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        account INTEGER NOT NULL REFERENCES account (id),
        started INTEGER NOT NULL,
        finished INTEGER,
        complete INTEGER NOT NULL DEFAULT 0,
        suspicious TEXT,
        error TEXT
    ) STRICT;
    CREATE INDEX run_account ON run (account, id);
    CREATE INDEX run_complete ON run (account, id) WHERE complete = 1;
    CREATE TABLE folder (
        id INTEGER PRIMARY KEY,
        account INTEGER NOT NULL REFERENCES account (id),
        name TEXT NOT NULL,
        mailbox_id TEXT,
        special_use TEXT,
        subscribed INTEGER NOT NULL DEFAULT 0,
        gone_at INTEGER,
        renaming_to TEXT,
        era INTEGER REFERENCES era (id),
        mark_uid_validity INTEGER,
        mark_uid_next INTEGER,
        mark_highest_mod_seq INTEGER,
        mark_messages INTEGER,
        complete_at INTEGER,
        messages INTEGER NOT NULL DEFAULT 0,
        gone INTEGER NOT NULL DEFAULT 0,
        octets INTEGER NOT NULL DEFAULT 0,
        UNIQUE (account, name)
    ) STRICT;
    CREATE TABLE era (
        id INTEGER PRIMARY KEY,
        folder INTEGER NOT NULL REFERENCES folder (id),
        uid_validity INTEGER NOT NULL,
        since INTEGER NOT NULL,
        UNIQUE (folder, uid_validity)
    ) STRICT;
    CREATE TABLE file (
        id INTEGER PRIMARY KEY,
        folder INTEGER NOT NULL REFERENCES folder (id),
        stem TEXT NOT NULL,
        form INTEGER NOT NULL CHECK (form IN (0, 1)),
        octets INTEGER NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        exact BLOB NOT NULL CHECK (length(exact) = 32),
        content BLOB NOT NULL CHECK (length(content) = 32),
        header BLOB NOT NULL CHECK (length(header) = 32),
        length INTEGER NOT NULL,
        date_seconds INTEGER,
        date_offset INTEGER,
        object_id TEXT,
        named INTEGER NOT NULL DEFAULT 0,
        live INTEGER NOT NULL DEFAULT 0,
        removing INTEGER NOT NULL DEFAULT 0,
        UNIQUE (folder, stem)
    ) STRICT;
    CREATE INDEX file_header ON file (substr(header, 1, 8));
    CREATE INDEX file_object ON file (object_id) WHERE object_id IS NOT NULL;
    CREATE INDEX file_removing ON file (folder) WHERE removing = 1;
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        era INTEGER NOT NULL REFERENCES era (id),
        uid INTEGER,
        key TEXT,
        file INTEGER NOT NULL REFERENCES file (id),
        flags TEXT NOT NULL,
        labels TEXT NOT NULL,
        listed_size INTEGER,
        since INTEGER NOT NULL,
        gone_at INTEGER,
        CHECK ((uid IS NULL) <> (key IS NULL))
    ) STRICT;
    CREATE UNIQUE INDEX entry_uid ON entry (era, uid) WHERE uid IS NOT NULL;
    CREATE UNIQUE INDEX entry_key ON entry (era, key) WHERE key IS NOT NULL;
    CREATE INDEX entry_gone ON entry (era, uid) WHERE gone_at IS NOT NULL;
    CREATE INDEX entry_file ON entry (file);
    CREATE TABLE quarantine (
        folder INTEGER NOT NULL REFERENCES folder (id),
        key TEXT NOT NULL,
        uid INTEGER,
        reason TEXT NOT NULL,
        tries INTEGER NOT NULL,
        at INTEGER NOT NULL,
        ignored INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (folder, key)
    ) STRICT, WITHOUT ROWID;
";

/// The journal inside a store.
pub(super) static ARCHIVE: Scheme = Scheme {
    // "mhA1"
    application: 0x6d68_4131,
    version: 1,
    owner: "store",
    create: |transaction, store| {
        transaction.execute_batch(TABLES)?;
        transaction.execute("INSERT INTO meta VALUES (1, ?1, 0, 0)", [store]).map(drop)
    },
    migrate: |_, _| Ok(()),
    remedy: |path| format!("build it anew from the files with: mailhaul rebuild {}", store_of(path)),
    elsewhere: "name another store",
    rival: "another run over the same store",
    foreign: |path, found, wanted| {
        // Whatever stands there came from a file.
        let found: String = found.chars().take(64).collect();
        Error::new(Kind::Safety, format!("the journal {} belongs to the store {found}, and this is the store {wanted}", path.display()))
            .hint(format!(
                "put back the files of {} that belong together, or build the journal anew from the files with: mailhaul rebuild {}",
                path.parent().unwrap_or(path).display(),
                store_of(path)
            ))
    },
    trusted: Some(7 * 24 * 3600),
};

/// The root of the store, as a person would type it.
fn store_of(path: &Path) -> String {
    let root = path.parent().and_then(Path::parent).unwrap_or(path).display().to_string();
    if root.contains(|character: char| !character.is_ascii_alphanumeric() && !"/._-+,@%".contains(character)) {
        format!("'{}'", root.replace('\'', r"'\''"))
    } else {
        root
    }
}

/// What SQLite reports, in our words.
pub(super) fn error(path: &Path, error: rusqlite::Error) -> Error {
    fault(&ARCHIVE, path, error)
}
