//! What a run would do, found out without changing anything anywhere: `--dry-run`.

use super::pass::name_of;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::plan;
use crate::state::{Journal, State};
use crate::store::{Listed, Sink, Source};

/// What would become of one folder.
pub struct Preview {
    /// The folder on the source.
    pub folder: Folder,
    /// Where it would go.
    pub destination: Folder,
    /// Whether that folder would have to be made.
    pub create: bool,
    /// Messages the source lists.
    pub listed: u64,
    /// Messages the journal knows as copied.
    pub already_there: u64,
    /// Messages whose fate an earlier run left open; they would be looked for first.
    pub open: u64,
    /// Messages that would be sent, unless their content is found at the destination.
    pub to_copy: Vec<Listed>,
}

/// Computes the preview from listings and the journal alone. Both ends must be opened read-only.
///
/// # Errors
/// What kept a listing from being complete.
pub fn preview(
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    mut journal: Option<Journal>,
    source_name: &str,
    only: Option<&Folder>,
    into: Option<&Folder>,
) -> Result<Vec<Preview>> {
    let mut folders = source.folders()?;
    if let Some(only) = only {
        folders.retain(|info| info.folder == *only);
        if folders.is_empty() {
            return Err(Error::usage(format!("there is no folder {only}")).at(source.place()));
        }
    }
    let there = sink.folders()?;
    let known = journal.as_ref().map(|journal| journal.pairings(source_name, into)).transpose()?.unwrap_or_default();
    let mut previews = Vec::new();
    for pair in plan::pair_folders(&folders, &there, into, &known) {
        let listing = source.list(&pair.source.folder)?;
        let copies = match &mut journal {
            Some(journal) => {
                let mailbox = journal.mailbox(&pair.destination.folder)?;
                journal.copies(source_name, &pair.source.folder, mailbox)?
            }
            None => std::collections::HashMap::new(),
        };
        let create = !there.iter().any(|info| info.folder == pair.destination.folder);
        let mut preview = Preview {
            folder: pair.source.folder,
            destination: pair.destination.folder,
            create,
            listed: listing.messages.len() as u64,
            already_there: 0,
            open: 0,
            to_copy: Vec::new(),
        };
        for listed in listing.messages {
            match copies.get(&name_of(&listed)).map(|row| row.state) {
                Some(State::Done | State::Merged) => preview.already_there += 1,
                Some(State::Intent | State::Unknown) => preview.open += 1,
                Some(State::Pending | State::Refused) | None => preview.to_copy.push(listed),
            }
        }
        previews.push(preview);
    }
    Ok(previews)
}
