//! Opening an archive; its accounts, folders, generations and runs.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rusqlite::{Params, Row};

use super::schema::{self, ARCHIVE};
use super::{Account, AccountId, ArchiveFolder, ArchiveFolderId, ArchiveRun, Era, EraId, Mark};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::state::database::{Database, misuse};
use crate::state::files;

/// The finished runs of an account that are remembered, beside the last complete one.
const RUNS_KEPT: u32 = 500;
/// A progress file is a few lines; whatever is longer is not ours.
const PROGRESS_BYTES: u64 = 1024 * 1024;

const FOLDER: &str =
    "SELECT folder.id, folder.account, folder.name, folder.mailbox_id, folder.special_use, folder.subscribed, folder.gone_at,
    folder.renaming_to, folder.era, folder.mark_uid_validity, folder.mark_uid_next, folder.mark_highest_mod_seq, folder.mark_messages,
    folder.complete_at, folder.messages, folder.gone, folder.octets FROM folder";

/// The journal of a store. Facts in it are durable when a call returns.
pub struct Archive {
    pub(super) database: Database,
    /// The runs of this process, by account.
    runs: HashMap<AccountId, i64>,
}

impl Archive {
    /// Opens the archive in `dir` (`STORE/.mailhaul`) for the one writing process, making what is missing. `store_id` is the
    /// random identity of the store, which the archive must have too.
    ///
    /// The database is read whole when a run died over it or a week has passed, so that a run costs the same whatever the size
    /// of the store; [`Archive::check`] does it at any time.
    ///
    /// # Errors
    /// [`crate::error::Kind::Locked`] when another process has it; [`crate::error::Kind::Safety`] when it belongs to another store;
    /// [`crate::error::Kind::Local`] when it is damaged, missing although runs wrote to it, newer than this build, or older than
    /// the last run left it: then the hint names `rebuild`. Whatever is refused is left as it is.
    pub fn open(dir: &Path, store_id: &str, context: &Context) -> Result<Self> {
        Ok(Self { database: Database::open(dir, &ARCHIVE, store_id, context)?, runs: HashMap::new() })
    }

    /// Opens the archive for reading alone, also while a run goes on. `None` when there is none.
    ///
    /// # Errors
    /// As [`Archive::open`], but never [`crate::error::Kind::Locked`].
    pub fn read_only(dir: &Path, store_id: &str) -> Result<Option<Self>> {
        Ok(Database::read_only(dir, &ARCHIVE, store_id)?.map(|database| Self { database, runs: HashMap::new() }))
    }

    pub(super) fn salvaged(dir: &Path) -> Option<Self> {
        Some(Self { database: Database::salvage(dir, &ARCHIVE)?, runs: HashMap::new() })
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read; so for all that read here.
    pub fn accounts(&self) -> Result<Vec<Account>> {
        self.database.all("SELECT id, identity, name, manifest_stale FROM account ORDER BY name", [], |row| {
            Ok(Account { id: AccountId(row.get(0)?), identity: row.get(1)?, name: row.get(2)?, manifest_stale: row.get(3)? })
        })
    }

    /// The account with this identity, made at first sight with the name `wanted`, or that with `-2` and so on behind it where
    /// another account has it (names that differ only in case count as equal).
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn account(&mut self, identity: &str, wanted: &str) -> Result<Account> {
        let all = self.accounts()?;
        if let Some(found) = all.iter().find(|account| account.identity == identity) {
            return Ok(found.clone());
        }
        if let Some(rebuilt) = all.iter().find(|account| account.name == wanted && account.is_unproved()) {
            // Files without entries: whose they are is proved by their content when the account is read.
            self.database.transact(|transaction, path| {
                let update = "UPDATE account SET identity = ?2 WHERE id = ?1";
                transaction.execute(update, (rebuilt.id.0, identity)).map(drop).map_err(|error| schema::error(path, error))
            })?;
            return Ok(Account { identity: identity.to_owned(), ..rebuilt.clone() });
        }
        // The manifest of an account lies beside its directory, under a name that another account might have.
        let manifest = |name: &str| format!("{name}.sha256");
        let taken = |name: &str| {
            let name = name.to_lowercase();
            let others = all.iter().map(|account| account.name.to_lowercase());
            others.into_iter().any(|other| other == name || other == manifest(&name) || manifest(&other) == name)
        };
        let numbered = (2..).map(|number: u32| format!("{wanted}-{number}"));
        let name = std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_else(|| wanted.to_owned());
        let id = self.database.transact(|transaction, path| {
            transaction
                .execute("INSERT INTO account (identity, name) VALUES (?1, ?2)", (identity, &name))
                .map(|_| AccountId(transaction.last_insert_rowid()))
                .map_err(|error| schema::error(path, error))
        })?;
        Ok(Account { id, identity: identity.to_owned(), name, manifest_stale: false })
    }

    /// The folders of an account, by name, also those gone from the server.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn folders(&self, account: AccountId) -> Result<Vec<ArchiveFolder>> {
        self.database.all(&format!("{FOLDER} WHERE folder.account = ?1 ORDER BY folder.name"), [account.0], folder_of)
    }

    /// One folder by name, made at first sight.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn folder(&mut self, account: AccountId, folder: &Folder) -> Result<ArchiveFolder> {
        if let Some(found) = self.find_folder(account, folder)? {
            return Ok(found);
        }
        self.database.transact(|transaction, path| {
            transaction
                .execute("INSERT INTO folder (account, name) VALUES (?1, ?2)", (account.0, folder.to_string()))
                .map(drop)
                .map_err(|error| schema::error(path, error))
        })?;
        self.find_folder(account, folder)?.ok_or_else(|| Error::local(format!("the journal lost the folder {folder} at once")))
    }

    /// One folder by name, if it is known.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn find_folder(&self, account: AccountId, folder: &Folder) -> Result<Option<ArchiveFolder>> {
        self.one(&format!("{FOLDER} WHERE folder.account = ?1 AND folder.name = ?2"), (account.0, folder.to_string()), folder_of)
    }

    /// The generations of a folder, oldest first.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn eras(&self, folder: ArchiveFolderId) -> Result<Vec<Era>> {
        self.database.all("SELECT id, uid_validity, since FROM era WHERE folder = ?1 ORDER BY id", [folder.0], era_of)
    }

    /// The generation under `uid_validity`, made at first sight; it is the folder's newest from now on, and a mark under another
    /// UIDVALIDITY is forgotten.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn era(&mut self, folder: ArchiveFolderId, uid_validity: u32, at: i64) -> Result<Era> {
        let sql = "SELECT id, uid_validity, since FROM era WHERE folder = ?1 AND uid_validity = ?2";
        let found = self.one(sql, (folder.0, uid_validity), era_of)?;
        let newest: Option<Option<i64>> = self.one("SELECT era FROM folder WHERE id = ?1", [folder.0], |row| row.get(0))?;
        if let (Some(era), Some(Some(newest))) = (found, newest)
            && era.id.0 == newest
        {
            return Ok(era);
        }
        self.database.transact(|transaction, path| {
            let sql = |error| schema::error(path, error);
            let era = match found {
                Some(era) => era,
                None => {
                    let insert = "INSERT INTO era (folder, uid_validity, since) VALUES (?1, ?2, ?3)";
                    transaction.execute(insert, (folder.0, uid_validity, at)).map_err(sql)?;
                    Era { id: EraId(transaction.last_insert_rowid()), uid_validity, since: at }
                }
            };
            let update = "UPDATE folder SET era = ?2,
                mark_uid_validity = CASE WHEN mark_uid_validity = ?3 THEN mark_uid_validity END,
                mark_uid_next = CASE WHEN mark_uid_validity = ?3 THEN mark_uid_next END,
                mark_highest_mod_seq = CASE WHEN mark_uid_validity = ?3 THEN mark_highest_mod_seq END,
                mark_messages = CASE WHEN mark_uid_validity = ?3 THEN mark_messages END
                WHERE id = ?1";
            transaction.execute(update, (folder.0, era.id.0, uid_validity)).map_err(sql)?;
            Ok(era)
        })
    }

    /// Notes that a run over an account begins.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn begin_run(&mut self, account: AccountId) -> Result<()> {
        let now = self.database.writer()?.context.unix_time();
        let run = self.database.transact(|transaction, path| {
            let sql = |error| schema::error(path, error);
            transaction.execute("INSERT INTO run (account, started) VALUES (?1, ?2)", (account.0, now)).map_err(sql)?;
            let run = transaction.last_insert_rowid();
            let forget = "DELETE FROM run WHERE account = ?1
                AND id < (SELECT id FROM run WHERE account = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
                AND id <> coalesce((SELECT max(id) FROM run WHERE account = ?1 AND complete = 1), 0)";
            transaction.execute(forget, (account.0, RUNS_KEPT)).map_err(sql)?;
            Ok(run)
        })?;
        self.runs.insert(account, run);
        Ok(())
    }

    /// Notes how the run over an account ended.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn finish_run(&mut self, account: AccountId, complete: bool, suspicious: Option<&str>, error: Option<&str>) -> Result<()> {
        let now = self.database.writer()?.context.unix_time();
        let run = *self.runs.get(&account).ok_or_else(|| misuse("no run over this account was begun".to_owned()))?;
        self.database.transact(|transaction, path| {
            let update = "UPDATE run SET finished = ?2, complete = ?3, suspicious = ?4, error = ?5 WHERE id = ?1";
            transaction.execute(update, (run, now, complete, suspicious, error)).map(drop).map_err(|error| schema::error(path, error))
        })?;
        self.runs.remove(&account);
        Ok(())
    }

    /// Whether the last run over the account, other than one that this process has begun, died before it could say how it ended.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn died(&self, account: AccountId) -> Result<bool> {
        let own = self.runs.get(&account).copied().unwrap_or(i64::MAX);
        let sql = "SELECT finished IS NULL FROM run WHERE account = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1";
        Ok(self.one(sql, (account.0, own), |row| row.get(0))?.unwrap_or(false))
    }

    /// The last run over an account, or the last that was complete.
    ///
    /// # Errors
    /// As [`Archive::accounts`].
    pub fn last_run(&self, account: AccountId, complete: bool) -> Result<Option<ArchiveRun>> {
        let condition = if complete { "AND complete = 1" } else { "" };
        let sql = format!(
            "SELECT started, finished, complete, suspicious, error FROM run WHERE account = ?1 {condition} ORDER BY id DESC LIMIT 1"
        );
        self.one(&sql, [account.0], |row| {
            Ok(ArchiveRun {
                account,
                started: row.get(0)?,
                finished: row.get(1)?,
                complete: row.get(2)?,
                suspicious: row.get(3)?,
                error: row.get(4)?,
            })
        })
    }

    /// Works the write-ahead log into the database and removes the progress file: all runs of this process are over.
    ///
    /// # Errors
    /// As [`Archive::account`].
    pub fn close(&mut self) -> Result<()> {
        self.database.finish()
    }

    /// Leaves word of what the run is doing, at most once a second, for whoever watches.
    pub fn progress(&self, json: &serde_json::Value) {
        self.database.progress(json);
    }

    /// What a run is doing now: its process and the word it left; `None` when none is at work.
    pub fn watch(dir: &Path) -> Option<(Option<u32>, Option<serde_json::Value>)> {
        let pid = files::holder(dir)?;
        let mut text = Vec::new();
        let read = files::open_progress(dir).and_then(|file| file.take(PROGRESS_BYTES).read_to_end(&mut text));
        Some((pid, read.ok().and_then(|_| serde_json::from_slice(&text).ok())))
    }

    /// Puts a damaged or outdated database (with its log and counter) aside, never deleting it, under the lock. Returns the name
    /// it has now, if there was one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Locked`], or [`crate::error::Kind::Local`].
    pub fn set_aside(dir: &Path, context: &Context) -> Result<Option<PathBuf>> {
        let Some(dir) = files::existing_dir(dir, ARCHIVE.elsewhere)? else { return Ok(None) };
        let _lock = files::lock(&dir, ARCHIVE.rival, context)?;
        files::set_database_aside(&dir, context)
    }

    pub(super) fn one<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Result<Option<T>> {
        self.database.one(sql, params, read)
    }
}

fn era_of(row: &Row<'_>) -> rusqlite::Result<Era> {
    Ok(Era { id: EraId(row.get(0)?), uid_validity: row.get(1)?, since: row.get(2)? })
}

fn folder_of(row: &Row<'_>) -> rusqlite::Result<ArchiveFolder> {
    let number = |index: usize| row.get::<_, Option<i64>>(index).map(|found| found.map(i64::unsigned_abs));
    let renaming_to: Option<String> = row.get(7)?;
    let mark = match row.get::<_, Option<u32>>(9)? {
        Some(uid_validity) => Some(Mark { uid_validity, uid_next: row.get(10)?, highest_mod_seq: number(11)?, messages: number(12)? }),
        None => None,
    };
    Ok(ArchiveFolder {
        id: ArchiveFolderId(row.get(0)?),
        account: AccountId(row.get(1)?),
        folder: name_of(&row.get::<_, String>(2)?)?,
        mailbox_id: row.get(3)?,
        special_use: row.get(4)?,
        subscribed: row.get(5)?,
        gone_at: row.get(6)?,
        renaming_to: renaming_to.map(|name| name_of(&name)).transpose()?,
        era: row.get::<_, Option<i64>>(8)?.map(EraId),
        mark,
        complete_at: row.get(13)?,
        messages: number(14)?.unwrap_or(0),
        gone: number(15)?.unwrap_or(0),
        octets: number(16)?.unwrap_or(0),
    })
}

fn name_of(name: &str) -> rusqlite::Result<Folder> {
    Folder::parse(name).ok_or(rusqlite::Error::InvalidQuery)
}
