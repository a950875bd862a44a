//! What `status` and `problems` are asked about: a store of backups, or the journal of what is migrated to a place. It only
//! finds out which of the two is meant and where it lies.

use std::path::{Path, PathBuf};

use super::App;
use super::backup::Target;
use crate::account::{Overrides, Place};
use crate::error::{Error, Result};
use crate::state;
use crate::store::open;
use crate::store::vault::{self, STATE_DIR, StoreCard};

/// What is asked about.
pub(super) enum Subject {
    /// A store of backups.
    Store {
        /// As it was named.
        shown: String,
        /// Its directory.
        root: PathBuf,
        /// What it says of itself.
        card: StoreCard,
    },
    /// The journal of copies to a place.
    Journal {
        /// As the place was named.
        shown: String,
        /// Where the journal lies.
        dir: PathBuf,
        /// Under what the place is known there.
        destination: String,
    },
}

impl Subject {
    /// Finds out what `text` means. `state` is where the journal lies if not in its usual place.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when there is neither; [`crate::error::Kind::Local`] for a store that does not say what it is.
    pub(super) fn find(text: &str, state: Option<&Path>, app: &App) -> Result<Self> {
        let local = ["maildir:", "mbox:", "eml:"].iter().any(|scheme| text.starts_with(scheme));
        let name = text.split(['/', ':', '?']).next().unwrap_or(text);
        if !local && (text.contains("://") || app.config.account(name).is_some()) {
            return Self::journal(&Place::parse(text, &app.config, &Overrides::default())?, state);
        }
        let target = Target::parse(text, &app.config)?;
        if state.is_none()
            && let Some(store) = Self::store(&target.shown, &target.path)?
        {
            return Ok(store);
        }
        let none = || {
            Error::usage("there is no store of backups here, and no journal of mail that was copied to it")
                .at(&target.shown)
                .hint("a store is made by the first backup; name it by its directory, as in ~/backup")
        };
        if !local {
            return Err(none());
        }
        let place = Place::parse(text, &app.config, &Overrides::default())?;
        let found = Self::journal(&place, state).map_err(|_| none())?;
        match &found {
            Self::Journal { dir, .. } if dir.is_dir() => Ok(found),
            _ => Err(none()),
        }
    }

    /// The store at `root`, if there is one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when it does not say what it is.
    pub(super) fn store(shown: &str, root: &Path) -> Result<Option<Self>> {
        match vault::card(root).map_err(|error| error.at(shown))? {
            Some(card) => Ok(Some(Self::Store { shown: shown.to_owned(), root: root.to_owned(), card })),
            None if root.join(STATE_DIR).is_dir() => Err(Error::local(format!(
                "the directory {STATE_DIR} stands here, but not the file `store` in it that says what this store is"
            ))
            .at(shown)
            .hint("put back a copy of that file; without it the store is not touched")),
            None => Ok(None),
        }
    }

    fn journal(place: &Place, state: Option<&Path>) -> Result<Self> {
        let destination = open::identity(place)?;
        let dir = state.map_or_else(|| state::default_dir(&destination), |dir| Ok(dir.to_owned()))?;
        // The journal is the account's, whichever folder of it was named.
        let shown = place.server().map_or_else(|| place.shown.clone(), |server| server.place.clone());
        Ok(Self::Journal { shown, dir, destination })
    }

    /// As it was named.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Store { shown, .. } | Self::Journal { shown, .. } => shown,
        }
    }
}

/// A moment as scripts read it: RFC 3339 in UTC.
pub(super) fn moment(seconds: i64) -> Option<String> {
    crate::message::InternalDate { seconds, offset: 0 }.rfc3339()
}
