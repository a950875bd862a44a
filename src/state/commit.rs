//! The one way copies change: a batch in one transaction, every step checked against the states of `TRANSFER.md`.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{CachedStatement, ErrorCode, OptionalExtension, Transaction};

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::Digest;

use super::database::{clamp, misuse};
use super::journal::named;
use super::{Batch, Change, CopyId, GenerationId, Journal, NewIntent, State, schema};

impl Journal {
    /// Makes a batch durable, all of it or nothing. Returns the numbers of the copies that [`Change::Intend`],
    /// [`Change::Adopted`] and [`Change::Counted`] name, in their order.
    ///
    /// # Errors
    /// [`crate::error::Kind::Safety`] for a change the copy's state forbids (an intent or unknown is never sent again before it is
    /// settled); [`crate::error::Kind::Protocol`] when a destination UID belongs to another copy already;
    /// [`crate::error::Kind::Local`] when the disk fails.
    pub fn commit(&mut self, batch: &Batch) -> Result<Vec<CopyId>> {
        if batch.0.is_empty() {
            return Ok(Vec::new());
        }
        self.transact(|transaction, path| {
            let mut writing = Writing { transaction, path, origins: HashMap::new() };
            let mut begun = Vec::new();
            for change in &batch.0 {
                writing.apply(change, &mut begun)?;
            }
            Ok(begun)
        })
    }
}

/// A batch on its way; folder numbers learnt in it die with it, as they may be undone.
struct Writing<'a> {
    transaction: &'a Transaction<'a>,
    path: &'a Path,
    origins: HashMap<(&'a str, &'a Folder), i64>,
}

impl<'a> Writing<'a> {
    fn apply(&mut self, change: &'a Change, begun: &mut Vec<CopyId>) -> Result<()> {
        match change {
            Change::Intend(copy) => begun.push(self.begin(copy, State::Intent, None)?),
            Change::Adopted { copy, uid } => {
                let id = self.begin(copy, State::Done, *uid)?;
                self.statement("INSERT OR IGNORE INTO adopted VALUES (?1)")?.execute([id.0]).map_err(|error| self.error(error))?;
                begun.push(id);
            }
            Change::Counted { copy } => begun.push(self.begin(copy, State::Merged, None)?),
            Change::Done { copy, uid, altered } => self.done(*copy, *uid, *altered)?,
            Change::Placed { copy, uid } => self.placed(*copy, *uid)?,
            Change::Renamed { copy, key } => {
                let changed = self
                    .statement("UPDATE copy SET key = ?2 WHERE id = ?1")?
                    .execute((copy.0, key.to_string()))
                    .map_err(|error| self.error(error))?;
                if changed == 0 {
                    return Err(self.forbidden(*copy, "be renamed"));
                }
            }
            Change::Unknown { copy, at, altered } => {
                self.turn(*copy, State::Unknown, None)?;
                let sql = "UPDATE copy SET intended = max(intended, ?2), altered = altered OR ?3 WHERE id = ?1";
                self.statement(sql)?.execute((copy.0, at, altered)).map_err(|error| self.error(error))?;
            }
            Change::Refused { copy, reason } => self.turn(*copy, State::Refused, Some(reason))?,
            Change::Pending { copy } => self.turn(*copy, State::Pending, None)?,
            Change::Merged { copy } => self.turn(*copy, State::Merged, None)?,
            Change::Released { copy } => {
                let sql = "INSERT OR IGNORE INTO baseline (generation, uid)
                           SELECT generation, uid FROM copy WHERE id = ?1 AND uid IS NOT NULL AND state = 2";
                self.statement(sql)?.execute([copy.0]).map_err(|error| self.error(error))?;
                let changed = self
                    .statement("DELETE FROM copy WHERE id = ?1 AND state IN (2, 5)")?
                    .execute([copy.0])
                    .map_err(|error| self.error(error))?;
                if changed == 0 {
                    return Err(self.forbidden(*copy, "be released"));
                }
            }
            Change::Leaving { copy } => {
                let sql = "INSERT OR REPLACE INTO leaving SELECT id FROM copy WHERE id = ?1 AND state IN (2, 5)";
                let changed = self.statement(sql)?.execute([copy.0]).map_err(|error| self.error(error))?;
                if changed == 0 {
                    return Err(self.forbidden(*copy, "leave its source"));
                }
            }
            Change::Stays { copy } => {
                self.statement("DELETE FROM leaving WHERE copy = ?1")?.execute([copy.0]).map_err(|error| self.error(error))?;
            }
            Change::Ignored { source, folder, key, reason } => {
                let origin = self.origin(source, folder)?;
                let sql = "INSERT OR REPLACE INTO ignored VALUES (?1, ?2, ?3)";
                self.statement(sql)?.execute((origin, key, reason)).map_err(|error| self.error(error))?;
            }
            Change::Lost { copy } => {
                let sql = "UPDATE copy SET tries = tries + 1 WHERE id = ?1 AND state IN (1, 3)";
                let changed = self.statement(sql)?.execute([copy.0]).map_err(|error| self.error(error))?;
                if changed == 0 {
                    return Err(self.forbidden(*copy, "count as lost"));
                }
            }
            Change::Quarantine { source, folder, key, uid, reason } => {
                let origin = self.origin(source, folder)?;
                let key = match (key, uid) {
                    (Some(key), _) => key.to_string(),
                    (None, Some(uid)) => format!("number:{uid}"),
                    (None, None) => return Err(misuse("a message without key and number cannot be put aside".to_owned())),
                };
                let sql = "INSERT INTO quarantine (origin, key, uid, reason, tries) VALUES (?1, ?2, ?3, ?4, 1)
                           ON CONFLICT (origin, key) DO UPDATE SET uid = excluded.uid, reason = excluded.reason, tries = tries + 1";
                self.statement(sql)?.execute((origin, key, uid, reason)).map_err(|error| self.error(error))?;
            }
            Change::Visited { source, folder, generation } => {
                let origin = self.origin(source, folder)?;
                let sql = "INSERT OR IGNORE INTO visit VALUES (?1, ?2)";
                self.statement(sql)?.execute((origin, generation.0)).map_err(|error| self.error(error))?;
            }
            Change::Paired { source, folder, into, mailbox } => {
                let origin = self.origin(source, folder)?;
                let sql = "INSERT OR IGNORE INTO pairing VALUES (?1, ?2, ?3)";
                self.statement(sql)?.execute((origin, named(into.as_ref()), mailbox.0)).map_err(|error| self.error(error))?;
            }
            Change::Release { source, folder, key } => {
                let origin = self.origin(source, folder)?;
                for sql in ["DELETE FROM quarantine WHERE origin = ?1 AND key = ?2", "DELETE FROM ignored WHERE origin = ?1 AND key = ?2"] {
                    self.statement(sql)?.execute((origin, key)).map_err(|error| self.error(error))?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, copy: &'a NewIntent, state: State, uid: Option<(GenerationId, u32)>) -> Result<CopyId> {
        let origin = self.origin(&copy.source, &copy.folder)?;
        let key = copy.key.to_string();
        let found: Option<(i64, State, Option<i64>, Option<u32>)> = self
            .statement("SELECT id, state, generation, uid FROM copy WHERE mailbox = ?1 AND origin = ?2 AND key = ?3")?
            .query_row((copy.mailbox.0, origin, &key), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()
            .map_err(|error| self.error(error))?;
        if let Some((id, now, generation, old)) = found {
            let free = matches!(now, State::Pending | State::Refused) || copy.again && matches!(now, State::Done | State::Merged);
            if !free {
                return Err(self.forbidden(CopyId(id), if state == State::Intent { "be sent" } else { "be adopted" }));
            }
            self.statement("DELETE FROM adopted WHERE copy = ?1")?.execute([id]).map_err(|error| self.error(error))?;
            if let (Some(generation), Some(old)) = (generation, old) {
                // The earlier copy is nobody's now, and must not be taken for the new one.
                self.statement("INSERT OR IGNORE INTO baseline (generation, uid) VALUES (?1, ?2)")?
                    .execute((generation, old))
                    .map_err(|error| self.error(error))?;
            }
        }
        let generation = uid.map_or(copy.generation, |(generation, _)| generation);
        let number = uid.map(|(_, number)| number);
        let sql = if found.is_some() {
            "UPDATE copy SET state = ?4, exact = ?5, content = ?6, header = ?7, body = ?8, length = ?9, generation = ?10, floor = ?11, uid = ?12,
                             intended = ?13, altered = 0, reason = NULL WHERE mailbox = ?1 AND origin = ?2 AND key = ?3"
        } else {
            "INSERT INTO copy (mailbox, origin, key, state, exact, content, header, body, length, generation, floor, uid, intended)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        };
        let result = self.statement(sql)?.execute((
            copy.mailbox.0,
            origin,
            &key,
            state.code(),
            copy.exact.0,
            copy.content.0,
            copy.header.map(|Digest(bytes)| bytes),
            copy.body.map(|Digest(bytes)| bytes),
            clamp(copy.length),
            generation.0,
            copy.floor,
            number,
            copy.at,
        ));
        if let Err(error) = result {
            return Err(self.claimed(uid, &format!("{} {} {key}", copy.source, copy.folder), error));
        }
        Ok(CopyId(found.map_or_else(|| self.transaction.last_insert_rowid(), |(id, ..)| id)))
    }

    fn done(&self, copy: CopyId, uid: Option<(GenerationId, u32)>, altered: bool) -> Result<()> {
        let (generation, number) = (uid.map(|(generation, _)| generation.0), uid.map(|(_, number)| number));
        // A copy that is done may still learn its UID, but never change it.
        let sql = "UPDATE copy SET state = 2, altered = altered OR ?4, reason = NULL, generation = coalesce(?2, generation), uid = coalesce(?3, uid)
                   WHERE id = ?1 AND (state IN (1, 3) OR state = 2 AND (uid IS NULL OR ?3 IS NULL OR uid = ?3 AND generation = ?2))";
        match self.statement(sql)?.execute((copy.0, generation, number, altered)) {
            Ok(0) => Err(self.forbidden(copy, "become done")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.claimed(uid, &self.name(copy), error)),
        }
    }

    fn placed(&self, copy: CopyId, uid: (GenerationId, u32)) -> Result<()> {
        let sql = "UPDATE copy SET generation = ?2, uid = ?3 WHERE id = ?1 AND state = 2 AND (uid IS NULL OR generation IS NOT ?2)";
        match self.statement(sql)?.execute((copy.0, uid.0.0, uid.1)) {
            Ok(0) => Err(self.forbidden(copy, "be found at another uid")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.claimed(Some(uid), &self.name(copy), error)),
        }
    }

    fn turn(&self, copy: CopyId, state: State, reason: Option<&String>) -> Result<()> {
        let sql = "UPDATE copy SET state = ?2, reason = ?3, uid = NULL WHERE id = ?1 AND state IN (1, 3)";
        match self.statement(sql)?.execute((copy.0, state.code(), reason)).map_err(|error| self.error(error))? {
            0 => Err(self.forbidden(copy, &format!("become {}", state.words()))),
            _ => Ok(()),
        }
    }

    fn origin(&mut self, source: &'a str, folder: &'a Folder) -> Result<i64> {
        if let Some(id) = self.origins.get(&(source, folder)) {
            return Ok(*id);
        }
        let name = folder.to_string();
        let found = self
            .statement("SELECT id FROM origin WHERE source = ?1 AND folder = ?2")?
            .query_row((source, &name), |row| row.get(0))
            .optional()
            .map_err(|error| self.error(error))?;
        let id = match found {
            Some(id) => id,
            None => self
                .statement("INSERT INTO origin (source, folder) VALUES (?1, ?2)")?
                .insert((source, &name))
                .map_err(|error| self.error(error))?,
        };
        self.origins.insert((source, folder), id);
        Ok(id)
    }

    fn statement(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.transaction.prepare_cached(sql).map_err(|error| self.error(error))
    }

    fn error(&self, error: rusqlite::Error) -> Error {
        schema::error(self.path, error)
    }

    /// Source, folder and key of a copy, as far as they are known.
    fn name(&self, copy: CopyId) -> String {
        let sql = "SELECT origin.source || ' ' || origin.folder || ' ' || copy.key FROM copy JOIN origin ON origin.id = copy.origin WHERE copy.id = ?1";
        self.transaction.query_row(sql, [copy.0], |row| row.get(0)).unwrap_or_else(|_| format!("copy {}", copy.0))
    }

    fn forbidden(&self, copy: CopyId, act: &str) -> Error {
        let state = self.transaction.query_row("SELECT state FROM copy WHERE id = ?1", [copy.0], |row| row.get::<_, State>(0));
        let state = state.map_or("not in the journal", State::words);
        misuse(format!("{} is {state} and cannot {act}", self.name(copy)))
    }

    /// Tells a destination UID that two copies claim from other trouble.
    fn claimed(&self, uid: Option<(GenerationId, u32)>, claimant: &str, error: rusqlite::Error) -> Error {
        let (Some((generation, number)), Some(ErrorCode::ConstraintViolation)) = (uid, error.sqlite_error_code()) else {
            return self.error(error);
        };
        let owner =
            self.transaction.query_row("SELECT id FROM copy WHERE generation = ?1 AND uid = ?2", (generation.0, number), |row| row.get(0));
        let Ok(owner) = owner else { return self.error(error) };
        Error::protocol(format!("the server gave uid {number} to two messages: {} and {claimant}", self.name(CopyId(owner)))).because(error)
    }
}
