//! What a run would do, found out without changing anything anywhere: `--dry-run`.

use std::collections::{HashMap, HashSet};

use super::Asked;
use super::pass::name_of;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, Key};
use crate::plan;
use crate::state::{CopyRow, Journal, State};
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

/// Keys of copies that are done and known not to be at the destination any more.
fn removed(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    pair: &plan::Pair,
    create: bool,
    copies: &HashMap<String, CopyRow>,
) -> Result<HashSet<String>> {
    let opened = if create { None } else { sink.open(&pair.destination, false)? };
    let mailbox = journal.mailbox(&pair.destination.folder)?;
    let generation =
        opened.and_then(|opened| opened.generation).map(|validity| journal.generation(mailbox, validity)).transpose()?.flatten();
    let uids: HashSet<u32> =
        if opened.is_some() { sink.look(1)?.messages.iter().map(|listed| listed.id).collect() } else { HashSet::new() };
    let is_removed = |row: &CopyRow| match (row.generation, row.uid) {
        _ if row.state != State::Done => false,
        _ if opened.is_none() => true,
        (own, Some(uid)) if own.is_some() && own == generation => !uids.contains(&uid),
        _ => false,
    };
    Ok(copies.iter().filter(|(_, row)| is_removed(row)).map(|(key, _)| key.clone()).collect())
}

/// How often each content is at the destination that other sources brought.
fn brought(sink: &mut dyn Sink, journal: &mut Journal, pair: &plan::Pair, source_name: &str) -> Result<HashMap<Digest, u32>> {
    let mut contents = HashMap::new();
    let Some(validity) = sink.open(&pair.destination, false)?.and_then(|opened| opened.generation) else { return Ok(contents) };
    let mailbox = journal.mailbox(&pair.destination.folder)?;
    let Some(generation) = journal.generation(mailbox, validity)? else { return Ok(contents) };
    let brought = journal.brought_by_others(source_name, &pair.source.folder, mailbox, generation)?;
    if !brought.is_empty() {
        let there: HashSet<u32> = sink.look(1)?.messages.iter().map(|listed| listed.id).collect();
        for one in brought.into_iter().filter(|one| there.contains(&one.uid)) {
            *contents.entry(one.content).or_default() += 1;
        }
    }
    Ok(contents)
}

fn take(contents: &mut HashMap<Digest, u32>, content: Digest) -> bool {
    contents.get_mut(&content).filter(|count| **count > 0).map(|count| *count -= 1).is_some()
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
    asked: Asked,
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
        let create = !there.iter().any(|info| info.folder == pair.destination.folder);
        let mut copies = match &mut journal {
            Some(journal) => {
                let mailbox = journal.mailbox(&pair.destination.folder)?;
                journal.copies(source_name, &pair.source.folder, mailbox)?
            }
            None => HashMap::new(),
        };
        if let Some(journal) = journal.as_mut().filter(|_| asked == Asked::Back && !copies.is_empty()) {
            let removed = removed(sink, journal, &pair, create, &copies)?;
            copies.retain(|key, _| !removed.contains(key));
        }
        let mut brought = match journal.as_mut().filter(|_| asked == Asked::Back && !create) {
            Some(journal) => brought(sink, journal, &pair, source_name)?,
            None => HashMap::new(),
        };
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
                Some(State::Pending | State::Refused) | None => match listed.key {
                    Some(Key::Content { digest, .. }) if take(&mut brought, digest) => preview.already_there += 1,
                    _ => preview.to_copy.push(listed),
                },
            }
        }
        previews.push(preview);
    }
    Ok(previews)
}
