//! Moves inside one account on servers without MOVE: which messages were about to be copied, which were, and which wait only
//! for their removal, so that a run that died in between is finished by the next one. It records what others established.
//!
//! A small file `moves` beside the database says that there is something to finish: who moves mail on a server that needs no
//! record looks at that alone, and never waits for the lock of a journal that has nothing to tell.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{Error, Result};
use crate::folder::Folder;

use super::{Journal, files, schema};

/// How far the move of a message is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// About to be copied, or copied and not yet answered.
    Intended,
    /// The server said that the copy is there.
    Copied,
    /// The copy is there, the message is marked as deleted, and this server cannot remove just that one.
    Marked,
}

/// From where to where messages move.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The folder they leave.
    pub source: Folder,
    /// Its UIDVALIDITY.
    pub source_validity: u32,
    /// The folder they go to.
    pub destination: Folder,
    /// Its UIDVALIDITY.
    pub destination_validity: u32,
}

/// A message on its way from one folder of an account to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    /// From where to where.
    pub route: Route,
    /// Its UID in the folder it leaves.
    pub uid: u32,
    /// UIDNEXT of the destination at some moment before the copying: no UID below it is this copy.
    pub floor: u32,
    /// How far it is.
    pub stage: Stage,
    /// The copy's UID, where the server told.
    pub new_uid: Option<u32>,
    /// When the intent was made, in seconds since 1970 UTC.
    pub intended_at: i64,
}

/// Whether moves in the state directory `dir` wait for being finished.
///
/// # Errors
/// [`crate::error::Kind::Local`] when the directory cannot be read.
pub fn has_open_moves(dir: &Path) -> Result<bool> {
    let path = dir.join(files::MOVES);
    path.try_exists().map_err(|error| Error::io(path.display(), error))
}

impl Journal {
    /// Notes that these messages are about to be copied; a message that had an entry gets this one instead.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn intend_moves(&mut self, route: &Route, uids: impl Iterator<Item = u32>, floor: u32, at: i64) -> Result<()> {
        files::mark_moves(self.dir()?)?;
        self.each_uid(
            "INSERT OR REPLACE INTO relocation (source, source_validity, uid, destination, destination_validity, floor, intended, stage)
             VALUES (?1, ?2, ?5, ?3, ?4, ?6, ?7, 0)",
            route,
            uids.map(|uid| (uid, floor, at)),
        )
    }

    /// Notes that copies of these messages are there, and their UIDs there where the server told.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn moves_copied(&mut self, route: &Route, placed: impl Iterator<Item = (u32, Option<u32>)>) -> Result<()> {
        self.each_uid(
            "UPDATE relocation SET stage = max(stage, 1), new_uid = ?6
             WHERE source = ?1 AND source_validity = ?2 AND destination = ?3 AND destination_validity = ?4 AND uid = ?5 AND ?7 = 0",
            route,
            placed.map(|(uid, new_uid)| (uid, new_uid, 0)),
        )
    }

    /// Notes that these messages are copied and marked as deleted, and that more cannot be done on this server.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn moves_marked(&mut self, route: &Route, uids: impl Iterator<Item = u32>) -> Result<()> {
        self.each_uid(
            "UPDATE relocation SET stage = 2
             WHERE source = ?1 AND source_validity = ?2 AND destination = ?3 AND destination_validity = ?4 AND uid = ?5 AND ?6 = ?7",
            route,
            uids.map(|uid| (uid, 0, 0)),
        )
    }

    /// Forgets these messages: moved, or free to be moved anew. Their copies stay claimed as long as one of another message is
    /// looked for where they lie: of twins, one copy proves one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn forget_moves(&mut self, route: &Route, uids: impl Iterator<Item = u32>) -> Result<()> {
        self.each_uid(
            "UPDATE relocation SET stage = 3
             WHERE source = ?1 AND source_validity = ?2 AND destination = ?3 AND destination_validity = ?4 AND uid = ?5 AND ?6 = ?7",
            route,
            uids.map(|uid| (uid, 0, 0)),
        )?;
        self.transact(|transaction, path| {
            let sql = "DELETE FROM relocation WHERE stage = 3 AND (new_uid IS NULL OR NOT EXISTS (
                           SELECT 1 FROM relocation AS open WHERE open.stage = 0 AND open.destination = relocation.destination
                           AND open.destination_validity = relocation.destination_validity))";
            transaction.execute(sql, []).map(drop).map_err(|error| schema::error(path, error))
        })
    }

    /// UIDs under which copies of other messages lie in the destination of a route: none of them is the copy of one that is
    /// looked for.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn claimed_by_moves(&self, route: &Route) -> Result<HashSet<u32>> {
        let sql = "SELECT new_uid FROM relocation WHERE destination = ?1 AND destination_validity = ?2 AND new_uid IS NOT NULL";
        self.all(sql, (route.destination.to_string(), route.destination_validity), |row| row.get(0))
    }

    /// From which UID on a folder may hold copies, under UIDs that nobody knows, of messages that still stand where they leave;
    /// `None` when there is none.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn moves_floor(&self, destination: &Folder, uid_validity: u32) -> Result<Option<u32>> {
        let sql =
            "SELECT min(floor) FROM relocation WHERE stage < 3 AND new_uid IS NULL AND destination = ?1 AND destination_validity = ?2";
        Ok(self.one(sql, (destination.to_string(), uid_validity), |row| row.get(0))?.flatten())
    }

    /// Everything that is not known to be finished, by route and UID.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn open_moves(&self) -> Result<Vec<Relocation>> {
        let sql = "SELECT source, source_validity, destination, destination_validity, uid, floor, intended, stage, new_uid FROM relocation
                   WHERE stage < 3 ORDER BY source, source_validity, destination, destination_validity, uid";
        let folder = |name: String| Folder::parse(&name).ok_or(rusqlite::Error::InvalidQuery);
        self.all(sql, [], |row| {
            Ok(Relocation {
                route: Route {
                    source: folder(row.get(0)?)?,
                    source_validity: row.get(1)?,
                    destination: folder(row.get(2)?)?,
                    destination_validity: row.get(3)?,
                },
                uid: row.get(4)?,
                floor: row.get(5)?,
                intended_at: row.get(6)?,
                stage: match row.get::<_, i64>(7)? {
                    0 => Stage::Intended,
                    1 => Stage::Copied,
                    _ => Stage::Marked,
                },
                new_uid: row.get(8)?,
            })
        })
    }

    /// Ends what concerns moves: works the write-ahead log into the database, and takes the file away that tells of open ones
    /// when there are none.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn finish_moves(&mut self) -> Result<()> {
        if self.open_moves()?.is_empty() {
            files::unmark_moves(self.dir()?);
        }
        self.finish_run(true)
    }

    /// One statement for each UID, all in one transaction: `?1` to `?4` are the route, `?5` the UID, `?6` and `?7` what comes
    /// with it.
    fn each_uid<A: rusqlite::ToSql, B: rusqlite::ToSql>(
        &mut self,
        sql: &str,
        route: &Route,
        rows: impl Iterator<Item = (u32, A, B)>,
    ) -> Result<()> {
        let (source, destination) = (route.source.to_string(), route.destination.to_string());
        self.transact(|transaction, path| {
            let failed = |error| schema::error(path, error);
            let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
            for (uid, first, second) in rows {
                statement
                    .execute((&source, route.source_validity, &destination, route.destination_validity, uid, first, second))
                    .map_err(failed)?;
            }
            Ok(())
        })
    }
}
