//! An archive made anew beside the old one and put into its place at the end, so that a run that dies half way leaves the old one,
//! or a refusal, but never half a journal; and the stillness in which a store is looked at.

use std::path::{Path, PathBuf};

use super::schema::ARCHIVE;
use super::{Account, Archive};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::state::files::{self, Stillness};

/// Where it is made, beside the old one.
const ANEW: &str = "anew";
/// How the identity of an account begins whose server is not known any more.
const UNPROVED: &str = "rebuilt:";

/// While it lives, no run writes to the store.
pub struct Still {
    _lock: Stillness,
}

impl Account {
    /// What an account is called whose server is not known any more. The first backup under this name takes it over.
    pub fn unproved(name: &str) -> String {
        format!("{UNPROVED}{name}")
    }

    /// Whether its server is not known any more, because the journal was made anew from the files alone.
    pub fn is_unproved(&self) -> bool {
        self.identity.starts_with(UNPROVED)
    }
}

impl Archive {
    /// Keeps writers out while a store is looked at; needs no right to write there.
    ///
    /// # Errors
    /// [`Kind::Locked`] when one is at work, [`Kind::Local`] when the lock cannot be opened.
    pub fn hold_still(dir: &Path) -> Result<Still> {
        match files::hold_still(dir)? {
            Some(lock) => Ok(Still { _lock: lock }),
            None => {
                let words = match files::holder(dir).flatten() {
                    Some(pid) => format!("a run over this store is going on (process {pid}), so its files are changing"),
                    None => "a run over this store is going on, or a copy of it is being made".to_owned(),
                };
                Err(Error::new(Kind::Locked, words).hint("wait for it to end"))
            }
        }
    }

    /// Opens the archive of `dir` whatever store it says it belongs to and whatever the counter beside it says, for what can still be
    /// read of it. `None` when nothing can.
    pub fn salvage(dir: &Path) -> Option<Self> {
        Self::salvaged(dir)
    }

    /// Makes the archive of the store in `dir` anew: `fill` gets an empty one, which takes the place of the old one when it returns.
    /// The old one is kept; its name is returned. The lock is held all the while.
    ///
    /// # Errors
    /// [`Kind::Locked`], [`Kind::Local`] when the disk fails, or what `fill` returned: then the old one is where it was.
    pub fn make_anew(
        dir: &Path,
        store_id: &str,
        context: &Context,
        fill: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<Option<PathBuf>> {
        let dir =
            files::existing_dir(dir, ARCHIVE.elsewhere)?.ok_or_else(|| Error::local(format!("{}: there is no store", dir.display())))?;
        let _lock = files::lock(&dir, ARCHIVE.rival, context)?;
        let beside = dir.join(ANEW);
        let at = |error| Error::io(beside.display(), error);
        // What a run left here that died is half a journal of ours.
        match std::fs::remove_dir_all(&beside) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        let mut archive = Self::open(&beside, store_id, context)?;
        let filled = fill(&mut archive).and_then(|()| archive.close());
        drop(archive);
        let old = filled.and_then(|()| files::exchange_database(&dir, &beside, context));
        let removed = std::fs::remove_dir_all(&beside).map_err(at);
        let old = old?;
        removed?;
        Ok(old)
    }
}
