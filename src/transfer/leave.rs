//! Leaving a source: reading copies back from the destination as the proof that a message may go (`TRANSFER.md`, Migrate, 10),
//! and finding out what a run took away that ended in the middle of it. It takes nothing away itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::pass::name_of;
use super::tally::{Fate, Work};
use super::{Open, Transfer, locate};
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::message::{Digest, Key, Message};
use crate::report::{Event, Report};
use crate::state::{Batch, Change, CopyId, CopyRow, Journal, Leaver, MailboxId, State};
use crate::store::{FolderInfo, Listed, Listing, Sink, Source};

/// How the text of keys begins that are contents.
const CONTENT: &str = "content:";
/// Sessions that may be lost in a row without a copy being read.
const MAX_LOSSES: u32 = 4;
/// The first pause before connecting again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A folder that a run dealt with.
pub struct Dealt {
    /// On the source.
    pub source: Folder,
    /// At the destination.
    pub destination: FolderInfo,
    /// What the source listed; empty unless the options ask for it.
    pub listed: Vec<Listed>,
    /// Names of the messages that this run copied.
    pub copied: HashSet<String>,
    /// Whether the folder itself failed.
    pub failed: bool,
}

impl From<Work> for Dealt {
    fn from(work: Work) -> Self {
        let listed = work.kept.unwrap_or_default();
        let copied = listed.iter().map(name_of).filter(|name| matches!(work.tally.get(name), Some(Fate::Copied { .. }))).collect();
        Self { copied, source: work.pair.source.folder, destination: work.pair.destination, listed, failed: work.failed.is_some() }
    }
}

/// Whether a message is the one that was copied: by its content, or by its header and the content of its body.
fn is_same(row: &CopyRow, message: &Message) -> Result<bool> {
    if message.digests.content == row.content {
        return Ok(true);
    }
    row.parts.as_deref().map_or(Ok(false), |parts| Ok(*parts == message.body.split_digests()?))
}

impl Transfer<'_> {
    /// Finds out which messages a run took away from the source that ended before it could write that down: their copies are
    /// nobody's from now on, so that new mail under the same name is copied.
    pub(super) fn settle_leaving(&mut self, source: &mut dyn Source, folder: &Folder, listing: &Listing, mailbox: MailboxId) -> Result<()> {
        let leavers = self.journal.leaving(&self.source_name, folder, mailbox)?;
        if leavers.is_empty() || !self.asked.lists_all() {
            return Ok(());
        }
        let rows: HashMap<CopyId, CopyRow> =
            self.journal.copies_in_full(&self.source_name, folder, mailbox)?.into_values().map(|row| (row.id, row)).collect();
        let keys: HashSet<&str> = leavers.iter().map(|one| one.key.as_str()).collect();
        let by_content = leavers.iter().any(|one| one.key.starts_with(CONTENT));
        // A unique-id may be another message's by now, and without one only the content tells.
        let read: Vec<Listed> = listing
            .messages
            .iter()
            .filter(|listed| match &listed.key {
                Some(Key::Uidl { .. }) => keys.contains(name_of(listed).as_str()),
                Some(_) => false,
                None => by_content,
            })
            .cloned()
            .collect();
        let listed: HashSet<String> = listing.messages.iter().map(name_of).collect();
        // By name: the content, and whether it is what was copied under this key.
        let mut contents: HashMap<String, (Digest, bool)> = HashMap::new();
        let by_key: HashMap<&str, &CopyRow> = leavers.iter().filter_map(|one| Some((one.key.as_str(), rows.get(&one.id)?))).collect();
        if !read.is_empty() {
            source.read(&read, &mut |index, message| {
                if let (Some(listed), Ok(message)) = (read.get(index), message) {
                    let name = name_of(listed);
                    let same = by_key.get(name.as_str()).map_or(Ok(false), |row| is_same(row, &message))?;
                    contents.insert(name, (message.digests.content, same));
                }
                Ok(())
            })?;
        }
        let mut still: HashMap<Digest, u64> = HashMap::new();
        let mut complete = true;
        for one in &listing.messages {
            match (&one.key, contents.get(&name_of(one))) {
                (Some(Key::Content { digest, .. }), _) => *still.entry(*digest).or_default() += 1,
                (None, Some((content, _))) => *still.entry(*content).or_default() += 1,
                (None, None) => complete = false,
                _ => {}
            }
        }
        let mut missing: HashMap<Digest, u64> = HashMap::new();
        for row in rows.values().filter(|row| matches!(row.state, State::Done | State::Merged)) {
            *missing.entry(row.content).or_default() += 1;
        }
        for (digest, count) in &mut missing {
            *count = count.saturating_sub(still.get(digest).copied().unwrap_or(0));
        }
        // Of equal messages the numbers of the last are free once some went.
        let mut leavers: Vec<&Leaver> = leavers.iter().collect();
        leavers.sort_by_key(|one| listed.contains(&one.key));
        let mut changes = Vec::new();
        for one in leavers {
            let went = if one.key.starts_with(CONTENT) {
                if !complete {
                    continue;
                }
                missing.get_mut(&one.content).filter(|count| **count > 0).map(|count| *count -= 1).is_some()
            } else if !listed.contains(&one.key) {
                true
            } else if one.key.starts_with("uidl:") {
                match contents.get(&one.key) {
                    Some((_, same)) => !same,
                    None => continue,
                }
            } else {
                false
            };
            changes.push(if went { Change::Released { copy: one.id } } else { Change::Stays { copy: one.id } });
        }
        self.journal.commit(&Batch(changes)).map(drop)
    }
}

/// A folder of a source and where its copies lie.
#[derive(Clone, Copy)]
pub struct Spot<'a> {
    /// The source's name in the journal.
    pub source: &'a str,
    /// The folder on the source.
    pub folder: &'a Folder,
    /// The folder at the destination.
    pub destination: &'a FolderInfo,
}

/// Which copies are looked for.
type Wanted<'a> = dyn Fn(&str, &CopyRow) -> bool + 'a;

/// A copy that lies at the destination.
#[derive(Clone)]
pub struct Found {
    /// What the journal knows of it.
    pub row: CopyRow,
    /// As the destination lists it.
    pub listed: Listed,
}

/// What a copy turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The message that was sent.
    Same,
    /// Another one.
    Different,
    /// It cannot be read.
    Unreadable(String),
}

/// Reads copies back from the destination, in a session of its own, which is opened again after a loss.
pub struct Proofs<'a> {
    open: Open<'a, dyn Sink>,
    context: &'a Context,
    report: &'a dyn Report,
    sink: Option<Box<dyn Sink>>,
    losses: u32,
}

impl<'a> Proofs<'a> {
    /// Opens nothing yet; `open` opens the destination read-only.
    pub fn new(open: Open<'a, dyn Sink>, context: &'a Context, report: &'a dyn Report) -> Self {
        Self { open, context, report, sink: None, losses: 0 }
    }

    /// Which of the copies `wanted` (told by key and row) lie in the destination folder, under the UIDVALIDITY of now; the others are not there.
    ///
    /// # Errors
    /// The destination is lost for good; local trouble.
    pub fn look(&mut self, journal: &mut Journal, spot: Spot<'_>, wanted: &Wanted<'_>) -> Result<HashMap<String, Found>> {
        let mailbox = journal.mailbox(&spot.destination.folder)?;
        self.again(&mut |sink, _| {
            let generation = locate(sink, journal, spot.destination)?;
            let rows = journal.copies_in_full(spot.source, spot.folder, mailbox)?;
            let lies = |row: &CopyRow| if row.state == State::Done && row.generation == generation { row.uid } else { None };
            let mut by_uid: HashMap<u32, (String, CopyRow)> = rows
                .into_iter()
                .filter(|(key, row)| wanted(key, row))
                .filter_map(|(key, row)| Some((lies(&row).filter(|_| generation.is_some())?, (key, row))))
                .collect();
            let Some(first) = by_uid.keys().min().copied() else { return Ok(HashMap::new()) };
            let mut found = HashMap::new();
            for listed in sink.look(first)?.messages {
                if let Some((key, row)) = by_uid.remove(&listed.id) {
                    found.insert(key, Found { row, listed });
                }
            }
            Ok(found)
        })
    }

    /// Reads copies that were found, and compares each with what was sent.
    ///
    /// # Errors
    /// As [`Proofs::look`]; [`Kind::Safety`] when the UIDVALIDITY changes meanwhile.
    pub fn read(&mut self, spot: Spot<'_>, found: &HashMap<String, Found>) -> Result<HashMap<CopyId, Proof>> {
        let by_uid: HashMap<u32, &CopyRow> = found.values().map(|one| (one.listed.id, &one.row)).collect();
        let mut proofs: HashMap<CopyId, Proof> = HashMap::new();
        let context = self.context;
        self.again(&mut |sink, losses| {
            let mut left: Vec<Listed> =
                found.values().filter(|one| !proofs.contains_key(&one.row.id)).map(|one| one.listed.clone()).collect();
            left.sort_by_key(|listed| listed.id);
            if left.is_empty() {
                return Ok(());
            }
            // A loss may have brought another session, in which nothing is open.
            let opened = sink.open(spot.destination, false)?;
            let generation = left.iter().find_map(|listed| match &listed.key {
                Some(Key::Uid { generation, .. }) => Some(*generation),
                _ => None,
            });
            if opened.and_then(|opened| opened.generation) != generation {
                return Err(Error::new(Kind::Safety, "the destination folder's UIDVALIDITY changed during the run")
                    .hint("run the same command again"));
            }
            sink.read(&left, &mut |index, message| {
                context.check()?;
                let Some(row) = left.get(index).and_then(|listed| by_uid.get(&listed.id)) else { return Ok(()) };
                *losses = 0;
                let proof = match message {
                    Ok(message) if is_same(row, &message)? => Proof::Same,
                    Ok(_) => Proof::Different,
                    Err(error) => Proof::Unreadable(error.to_string()),
                };
                proofs.insert(row.id, proof);
                Ok(())
            })
        })?;
        Ok(proofs)
    }

    /// Ends the session.
    pub fn finish(&mut self) {
        if let Some(Err(error)) = self.sink.take().map(|mut sink| sink.finish()) {
            // Everything is known: a farewell that fails takes nothing back.
            self.report.event(Event::Note(error.to_string()));
        }
    }

    /// Does something in the session, once more in another one after a loss.
    fn again<T>(&mut self, work: &mut dyn FnMut(&mut dyn Sink, &mut u32) -> Result<T>) -> Result<T> {
        loop {
            self.context.check()?;
            let outcome = match &mut self.sink {
                Some(sink) => work(sink.as_mut(), &mut self.losses),
                None => (self.open)().and_then(|mut sink| {
                    // It has to know its folders before it turns to one.
                    sink.folders()?;
                    work(self.sink.insert(sink).as_mut(), &mut self.losses)
                }),
            };
            match outcome {
                Err(error) if error.scope() == Scope::Session && !matches!(error.kind(), Kind::Interrupted(_)) => {
                    self.sink = None;
                    self.losses += 1;
                    if self.losses > MAX_LOSSES {
                        return Err(error);
                    }
                    let pause = FIRST_PAUSE.saturating_mul(1 << (self.losses - 1).min(8));
                    self.report.event(Event::Note(format!("{error}; connecting again in {} s", pause.as_secs())));
                    self.context.pause(pause);
                }
                other => return other,
            }
        }
    }
}
