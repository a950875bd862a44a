//! Stores of backups for completions: those that were used from here, and the accounts of one. They are only looked at, and what
//! cannot be read has no names to offer.

use std::path::Path;

use super::walk::Candidate;
use crate::state::archive::Archive;
use crate::state::registry;
use crate::store::vault::{self, STATE_DIR};

/// Stores as `current` may go on: with `//` behind a store its accounts.
pub(super) fn named(current: &str) -> Vec<Candidate> {
    if let Some((store, _)) = current.rsplit_once("//") {
        return names(store).into_iter().map(|name| Candidate::new(format!("{store}//{name}"))).collect();
    }
    let known = registry::known().unwrap_or_default();
    known.iter().filter(|path| path.is_dir()).filter_map(|path| Some(Candidate::new(path.to_str()?.to_owned()))).collect()
}

/// The accounts of a store as it was typed.
pub(super) fn accounts(store: &str) -> Vec<Candidate> {
    names(store).into_iter().map(Candidate::new).collect()
}

fn names(store: &str) -> Vec<String> {
    let path = ["maildir:", "mbox:", "eml:"].iter().find_map(|scheme| store.strip_prefix(scheme)).unwrap_or(store);
    let path = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(below), Some(home)) => Path::new(&home).join(below),
        _ => Path::new(path).to_owned(),
    };
    let Ok(Some(card)) = vault::card(&path) else { return Vec::new() };
    let Ok(Some(archive)) = Archive::read_only(&path.join(STATE_DIR), &card.id) else { return Vec::new() };
    archive.accounts().unwrap_or_default().into_iter().map(|account| account.name).collect()
}
