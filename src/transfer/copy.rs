//! The copy loop of one folder: list, settle, take the difference, send it in passes, and again after a loss until nothing is
//! left that may be sent. It sees a source, a sink and the journal through their seams and never a protocol.

use std::collections::{HashMap, HashSet};

use super::blame::Lot;
use super::ends::Ends;
use super::pass::{Adoptable, Pass, Target, name_of};
use super::renamed::Renamed;
use super::settle::{self, SeenByUid};
use super::tally::{Fate, Work};
use super::{Asked, Transfer, both};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::Twins;
use crate::report::{Event, Problem};
use crate::state::{Baseline, Batch, Change, CopyRow, GenerationId, MailboxId, OF_FILES, State};
use crate::store::{FolderInfo, Listed, Sink, SinkState};

impl Transfer<'_> {
    /// Settles leftovers, then copies what is missing, until nothing is left that may be sent now.
    pub(super) fn folder(&mut self, ends: &mut Ends, work: &mut Work, seen: &mut SeenByUid) -> Result<()> {
        loop {
            self.context.check()?;
            match self.folder_once(ends, work, seen) {
                Ok(true) => {
                    work.shelf = HashMap::new();
                    return Ok(());
                }
                Ok(false) => {}
                // Which end was lost is not known here: opening both again is cheap against losing mail.
                Err(error) if error.scope() == Scope::Session => ends.lose_both(self, error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// One round: `true` when nothing is left to send.
    fn folder_once(&mut self, ends: &mut Ends, work: &mut Work, seen: &mut SeenByUid) -> Result<bool> {
        let (source, sink) = ends.open(self)?;
        let (listing, opened) = both(|| source.list(&work.pair.source.folder), || sink.open(&work.pair.destination, self.options.create));
        let listing = listing?;
        let target = self.target(sink, &work.pair.destination, opened?)?;
        if self.asked != Asked::Named {
            self.paired(&work.pair.source.folder, target.mailbox)?;
        }
        self.settle(sink, &target, work, seen)?;

        let folder = work.pair.source.folder.clone();
        self.settle_leaving(source, &folder, &listing, target.mailbox)?;
        let mut copies = self.journal.copies(&self.source_name, &folder, target.mailbox)?;
        let mut again = HashSet::new();
        if self.options.again {
            again = self.stale(sink, &target, &copies, seen)?;
            copies.iter_mut().filter(|(key, _)| again.contains(*key)).for_each(|(_, row)| row.state = State::Pending);
        }
        if !self.asked.lists_all() {
            let asked: HashSet<String> = listing.messages.iter().map(name_of).collect();
            // A message without a key may be any of them that has none either.
            let keyless = listing.messages.iter().any(|listed| listed.key.is_none());
            copies.retain(|key, _| asked.contains(key) || keyless);
            again = self.stale(sink, &target, &copies, seen)?;
            copies.iter_mut().filter(|(key, _)| again.contains(*key)).for_each(|(_, row)| row.state = State::Pending);
        }
        // What was not named is not missing from the source.
        let mut renamed = if self.asked.lists_all() { Renamed::new(&listing, &copies) } else { Renamed::default() };
        let quarantine = self.journal.quarantine(&self.source_name, &folder)?;
        for listed in &listing.messages {
            let name = name_of(listed);
            if work.tally.contains_key(&name) {
                continue;
            }
            match copies.get(&name).map(|row| row.state) {
                Some(State::Done | State::Merged) => {
                    work.done_before.insert(name, ());
                }
                Some(State::Intent | State::Unknown) => {
                    let fate = match quarantine.get(&name) {
                        // Put aside again and again: that it cannot be sent again yet keeps no run waiting.
                        Some(aside) if aside.tries > 1 => {
                            let reason = aside.reason.clone();
                            let problem = Problem { folder: folder.to_string(), uid: Some(listed.id), reason: reason.clone() };
                            self.report.event(Event::Problem(problem));
                            Fate::Quarantined { id: listed.id, reason }
                        }
                        _ => Fate::Unknown { id: listed.id },
                    };
                    work.tally.insert(name, fate);
                }
                _ => {}
            }
        }
        work.note_listing(&listing.messages);
        let (flowing, suspects) = missing(listing.messages, &copies, work);
        let (flowing, suspects) = self.without_ignored(work, flowing, suspects)?;
        let (flowing, suspects) = self.sift(source, work, flowing, suspects)?;
        if flowing.is_empty() && suspects.is_empty() {
            self.visited(&folder, target.generation, ends, work)?;
            return Ok(true);
        }
        self.report.event(Event::Planned {
            folder: folder.to_string(),
            messages: (flowing.len() + suspects.len()) as u64,
            bytes: flowing.iter().chain(&suspects).filter_map(|listed| listed.size).sum(),
        });
        let (source, sink) = ends.open(self)?;
        // Whoever names messages wants them there, whatever else is.
        let fresh = !self.options.adopt || !self.asked.adopts();
        let mut adoptable = if fresh || self.journal.has_visited(&self.source_name, &folder, target.generation)? {
            Adoptable::default()
        } else {
            let headers = if suspects.is_empty() {
                source.header_digests(&flowing)
            } else {
                let wanted: Vec<Listed> = flowing.iter().chain(&suspects).cloned().collect();
                source.header_digests(&wanted)
            };
            settle::adoptable(sink, self.journal, &target, seen, headers.as_ref())?
        };
        if self.asked.adopts() && self.options.adopt && work.brought.is_none() {
            // Once in a run: what counts for one message counts for no other after a loss either.
            work.brought = Some(match self.asked {
                Asked::Back => settle::brought_by_others(sink, self.journal, &target, &self.source_name, &folder)?,
                _ => settle::brought_before(sink, self.journal, &target, &self.source_name, seen)?,
            });
        }
        // Suspects go last and alone, those of which least is known first, so that a message that makes a server hang up does not
        // stall the others.
        let mut groups: Vec<Vec<Listed>> = if flowing.is_empty() { Vec::new() } else { vec![flowing] };
        groups.extend(suspects.into_iter().map(|suspect| vec![suspect]));
        let quarantined: HashSet<String> = quarantine.into_keys().collect();
        // Keys of messages without one count their twins over all groups.
        let mut twins = Twins::default();
        let (mut settled, mut taken) = (0, 0);
        let mut waiting: usize = groups.iter().map(Vec::len).sum();
        for group in groups {
            // Where nobody knows whether it is there, the next loss must tell whether it is this message that ends sessions: one that
            // carried others may end for their sake.
            let is_open = |listed: &Listed| copies.get(&name_of(listed)).is_some_and(|row| row.tries > 0);
            if let [suspect] = group.as_slice()
                && (is_open(suspect) || suspect.key.is_none() && work.losses.contains_key(&name_of(suspect)))
                && ends.renew_sink()
            {
                ends.losses = if settled > 0 { 0 } else { ends.losses };
                let (_, sink) = ends.open(self)?;
                let opened = sink.open(&work.pair.destination, false)?;
                if opened.and_then(|opened| opened.generation) != target.uid_validity {
                    return Ok(false);
                }
            }
            let is_fresh = !ends.appended;
            let (source, sink) = ends.open(self)?;
            let end = Pass {
                context: self.context,
                report: self.report,
                options: &self.options,
                journal: &mut *self.journal,
                source_name: &self.source_name,
                folder: &folder,
                target,
                copies: &copies,
                quarantined: &quarantined,
                renamed: &mut renamed,
                again: &again,
                adoptable: &mut adoptable,
                brought: work.brought.get_or_insert_default(),
                counts_for_ever: self.asked.lists_all(),
                tally: &mut work.tally,
                twins: &mut twins,
                shelf: &mut work.shelf,
                altered: &mut work.altered,
            }
            .run(source, sink, &group)?;
            taken += end.taken;
            ends.appended = true;
            if end.source.is_some() || end.sink.is_some() {
                if settled > 0 {
                    ends.losses = 0;
                }
                ends.taken += taken;
                let lot = Lot { group: &group, is_fresh, is_last: waiting == group.len(), quarantined: &quarantined };
                return self.pass_lost(ends, work, &lot, end).map(|()| false);
            }
            waiting -= group.len();
            settled += end.settled;
            if !end.lost.is_empty() {
                // The server said that it does not know what it did.
                let error = Error::refused("it stumbled over the message and does not say whether it took it");
                let lot = Lot { group: &group, is_fresh: true, is_last: false, quarantined: &quarantined };
                self.blame(work, &folder, &lot, &end.lost, &error, "the destination gave no clear answer")?;
            }
        }
        ends.taken += taken;
        // Without keys only a further listing could tell what is missing, and that has just been read whole.
        self.visited(&folder, target.generation, ends, work)?;
        Ok(true)
    }

    /// Records what was in a folder of the destination, just opened, before us.
    pub(super) fn target(&mut self, sink: &mut dyn Sink, into: &FolderInfo, opened: Option<SinkState>) -> Result<Target> {
        let Some(opened) = opened else {
            if !self.options.create {
                return Err(Error::usage(format!("there is no folder {}", into.folder)).at(sink.place()).hint("--create makes it"));
            }
            return Err(Error::refused(format!("the folder {} cannot be made", into.folder)).at(sink.place()).scoped(Scope::Mailbox));
        };
        let mailbox = self.journal.mailbox(&into.folder)?;
        if !sink.is_numbered() {
            let generation = self.journal.add_generation(mailbox, OF_FILES)?;
            return Ok(Target { mailbox, generation, uid_validity: None, floor: 0 });
        }
        let Some(uid_validity) = opened.generation else {
            return Err(Error::refused(format!("the folder {} has no UIDVALIDITY, so copies in it cannot be proved", into.folder))
                .at(sink.place())
                .scoped(Scope::Mailbox));
        };
        let generation = self.journal.add_generation(mailbox, uid_validity)?;
        let first_visit = self.journal.baseline(generation)?.is_none();
        if first_visit {
            // Under a new UIDVALIDITY, what is there may well be ours.
            let ours = self.journal.has_earlier_copies(mailbox, generation)?;
            // Whoever adopts nothing needs no list of it: what is sent comes behind the present end.
            let ends = !self.options.adopt && opened.uid_next.is_some();
            let there = if ours || ends || opened.messages == 0 { Vec::new() } else { sink.look(1)?.messages };
            let baseline: Vec<Baseline> = there
                .iter()
                .map(|listed| Baseline { uid: listed.id, size: listed.size, internal_date: listed.internal_date.map(|date| date.seconds) })
                .collect();
            self.journal.set_baseline(generation, &baseline)?;
        }
        let floor = opened.uid_next.unwrap_or(1);
        Ok(Target { mailbox, generation, uid_validity: Some(uid_validity), floor })
    }

    /// Records where a folder of the source goes, before anything of it does.
    fn paired(&mut self, folder: &Folder, mailbox: MailboxId) -> Result<()> {
        if self.journal.pairings(&self.source_name, self.into.as_ref())?.contains_key(folder) {
            return Ok(());
        }
        let (source, into) = (self.source_name.clone(), self.into.clone());
        self.journal.commit(&Batch(vec![Change::Paired { source, folder: folder.clone(), into, mailbox }])).map(drop)
    }

    fn visited(&mut self, folder: &Folder, generation: GenerationId, ends: &mut Ends, work: &Work) -> Result<()> {
        ends.losses = 0;
        // Not everything of the folder was dealt with, only what was named, or what a query let through.
        if !self.asked.lists_all() || work.leaves_out() || self.journal.has_visited(&self.source_name, folder, generation)? {
            return Ok(());
        }
        self.journal.commit(&Batch(vec![Change::Visited { source: self.source_name.clone(), folder: folder.clone(), generation }]))?;
        Ok(())
    }
}

/// What is listed and neither done, nor open, nor put aside in this run: those that may flow, and those at which sessions were lost.
/// The first are what is left of `listed`, for there may be hundreds of thousands.
fn missing(mut listed: Vec<Listed>, copies: &HashMap<String, CopyRow>, work: &Work) -> (Vec<Listed>, Vec<Listed>) {
    let mut suspects = Vec::new();
    listed.retain(|listed| {
        let name = name_of(listed);
        let free = match copies.get(&name) {
            Some(row) => matches!(row.state, State::Pending | State::Refused),
            None => true,
        };
        let decided = match work.tally.get(&name) {
            Some(Fate::Refused { .. } | Fate::Quarantined { .. } | Fate::Vanished | Fate::AlreadyThere) => true,
            Some(Fate::Filtered) => listed.key.is_some(),
            _ => false,
        };
        if !free || decided {
            return false;
        }
        let losses = work.losses.get(&name).copied().unwrap_or(0).max(copies.get(&name).map_or(0, |row| row.tries));
        // A server that wants more time does so at whatever comes: one time says nothing about the message.
        let slowed = work.slowed.get(&name).map_or(0, |(times, _)| times.saturating_sub(1));
        if losses + slowed > 0 {
            suspects.push((losses + slowed, listed.clone()));
        }
        losses + slowed == 0
    });
    suspects.sort_by_key(|(times, _)| *times);
    (listed, suspects.into_iter().map(|(_, suspect)| suspect).collect())
}
