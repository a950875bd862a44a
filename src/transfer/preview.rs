//! What a run would do, found out without changing anything anywhere: `--dry-run`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Asked;
use super::pass::name_of;
use super::sift::is_too_large;
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Digest, Key};
use crate::plan::{Pair, Planned, Sides, Why, Wishes, case_twins};
use crate::query::Query;
use crate::report::Problem;
use crate::state::{CopyRow, Journal, State};
use crate::store::{Listed, Room, Sink, Source};

/// What would become of one folder.
pub struct Preview {
    /// The folder on the source.
    pub folder: Folder,
    /// Where it would go.
    pub destination: Folder,
    /// Why it is called otherwise there.
    pub why: Why,
    /// Whether that folder would have to be made.
    pub create: bool,
    /// Whether it is subscribed, or would be.
    pub subscribed: bool,
    /// Messages the source lists.
    pub listed: u64,
    /// Messages the journal knows as copied.
    pub already_there: u64,
    /// Messages whose fate an earlier run left open; they would be looked for first.
    pub open: u64,
    /// Messages left out by a query.
    pub filtered: u64,
    /// Messages that would be sent, unless their content is found at the destination.
    pub to_copy: Vec<Listed>,
    /// The most octets of one message there (RFC 7889).
    pub largest: Option<u64>,
    /// What would go wrong with the folder itself, or with messages that cannot be looked into.
    pub problems: Vec<Problem>,
}

impl Preview {
    /// A folder of which nothing is known yet.
    pub fn new(folder: Folder, destination: Folder, create: bool) -> Self {
        Self {
            folder,
            destination,
            why: Why::Same,
            create,
            subscribed: true,
            listed: 0,
            already_there: 0,
            open: 0,
            filtered: 0,
            to_copy: Vec::new(),
            largest: None,
            problems: Vec::new(),
        }
    }

    /// Octets that would be sent, as the source claims.
    pub fn octets(&self) -> u64 {
        self.to_copy.iter().filter_map(|listed| listed.size).sum()
    }

    /// Messages that would be sent and are larger than the destination says that it takes.
    pub fn too_large(&self) -> impl Iterator<Item = &Listed> {
        self.to_copy.iter().filter(|listed| is_too_large(listed, self.largest))
    }
}

/// What is looked at.
#[derive(Clone)]
pub struct Look<'a> {
    /// The source's name in the journal.
    pub source_name: &'a str,
    /// The one folder of the source that is meant.
    pub only: Option<&'a Folder>,
    /// The folder at the destination that was named.
    pub into: Option<&'a Folder>,
    /// What the source's listings are.
    pub asked: Asked,
    /// Which folders go, and where to.
    pub wishes: Wishes,
    /// Which messages go.
    pub query: Query,
}

impl<'a> Look<'a> {
    /// Without wishes.
    pub fn new(source_name: &'a str, only: Option<&'a Folder>, into: Option<&'a Folder>, asked: Asked) -> Self {
        Self { source_name, only, into, asked, wishes: Wishes::default(), query: Query::default() }
    }
}

/// What a run would do, and what the destination says to it.
pub struct Forecast {
    /// By folder.
    pub folders: Vec<Preview>,
    /// What the destination takes; its `largest` are those of the folders.
    pub room: Room,
    /// How long a question to the destination and its answer took.
    pub round_trip: Option<Duration>,
    /// Folders to be made whose names differ only in case from another's.
    pub twins: Vec<(Folder, Folder)>,
}

/// Keys of copies that are done and known not to be at the destination any more.
fn removed(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    pair: &Pair,
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
fn brought(sink: &mut dyn Sink, journal: &mut Journal, pair: &Pair, source_name: &str) -> Result<HashMap<Digest, u32>> {
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

/// Computes the preview from listings, the journal and what the destination says of itself. Both ends must be opened read-only.
///
/// # Errors
/// What kept the listings of all folders from being complete; wishes that cannot be.
pub fn preview(source: &mut dyn Source, sink: &mut dyn Sink, mut journal: Option<Journal>, look: &Look<'_>) -> Result<Forecast> {
    let Look { source_name, only, into, asked, .. } = *look;
    let mut folders = source.folders()?;
    if let Some(only) = only {
        folders.retain(|info| info.folder == *only);
        if folders.is_empty() {
            return Err(Error::usage(format!("there is no folder {only}")).at(source.place()));
        }
    }
    let there = sink.folders()?;
    let known = journal.as_ref().map(|journal| journal.pairings(source_name, into)).transpose()?.unwrap_or_default();
    let sides = Sides { source: &folders, destination: &there, into, known: &known };
    let planned = look.wishes.pair(sides, &mut |folder| sink.called(folder))?;
    let twins = case_twins(&planned, &there);
    let targets: Vec<Folder> = planned.iter().map(|one| one.pair.destination.folder.clone()).collect();
    let room = sink.room(&targets)?;
    let round_trip = sink.round_trip()?;
    let mut previews = Vec::new();
    let mut unlisted = Vec::new();
    for (Planned { pair, why }, largest) in planned.into_iter().zip(&room.largest) {
        let create = !there.iter().any(|info| info.folder == pair.destination.folder);
        let mut preview = Preview::new(pair.source.folder.clone(), pair.destination.folder.clone(), create);
        (preview.why, preview.subscribed, preview.largest) = (why, pair.destination.subscribed, *largest);
        let messages = match source.list(&pair.source.folder) {
            Ok(listing) => listing.messages,
            Err(error) if error.scope() <= Scope::Mailbox => {
                preview.problem(None, &error);
                previews.push(preview);
                unlisted.push(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if create && let Err(error) = sink.called(&pair.destination.folder) {
            preview.problem(None, &error);
        }
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
        preview.listed = messages.len() as u64;
        for listed in messages {
            match copies.get(&name_of(&listed)).map(|row| row.state) {
                Some(State::Done | State::Merged) => preview.already_there += 1,
                Some(State::Intent | State::Unknown) => preview.open += 1,
                Some(State::Pending | State::Refused) | None => match listed.key {
                    Some(Key::Content { digest, .. }) if take(&mut brought, digest) => preview.already_there += 1,
                    _ => preview.to_copy.push(listed),
                },
            }
        }
        if !look.query.is_empty() && !preview.to_copy.is_empty() {
            let before = preview.to_copy.len();
            let picked = source.matching(&preview.to_copy, &look.query)?;
            preview.filtered = (before - picked.wanted.len() - picked.unreadable.len()) as u64;
            preview.to_copy = picked.wanted;
            for (listed, error) in &picked.unreadable {
                preview.problem(Some(listed.id), error);
            }
        }
        previews.push(preview);
    }
    // A plan of which not one folder is known is none.
    if unlisted.len() == previews.len()
        && let Some(error) = unlisted.into_iter().next()
    {
        return Err(error);
    }
    Ok(Forecast { folders: previews, room, round_trip, twins })
}

impl Preview {
    fn problem(&mut self, uid: Option<u32>, error: &Error) {
        self.problems.push(Problem { folder: self.folder.to_string(), uid, reason: error.to_string() });
    }
}
