//! The one copy loop: set difference decides what is missing, intents go before the act, facts after it, and a lost
//! connection is found out about before anything is sent again. It sees sources, sinks and the journal through their
//! seams and never a protocol.

mod asked;
pub mod backup;
mod budget;
mod ends;
mod exactly;
mod pass;
mod preview;
mod renamed;
mod settle;

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::message::{InternalDate, Twins};
use crate::plan::{self, Pair};
use crate::report::{Counts, Event, FolderCounts, Outcome, Problem, Report, counted};
use crate::state::{Baseline, Batch, Change, CopyRow, GenerationId, Horizon, Journal, MailboxId, State};
use crate::store::{FolderInfo, Listed, Sink, SinkState, Source};
use crate::summary;
pub use asked::Asked;
use ends::Ends;
pub use exactly::locate;
use pass::{Adoptable, End, Pass, Suspect, Target, name_of};
pub use preview::{Preview, preview};
use renamed::Renamed;
use settle::SeenByUid;

/// A message at which so many sessions were lost is put aside.
const MAX_LOSSES_OF_ONE: u32 = 3;
/// How often an open copy is looked for while the run waits for it.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// Which mail of a source without flags is to count as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    All,
    /// None of it.
    None,
    /// What is older than this.
    OlderThan(Duration),
}

impl Seen {
    /// Whether a message of this date counts as read.
    pub fn is_seen(self, date: InternalDate, now: InternalDate) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::OlderThan(age) => date.seconds < now.seconds.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

/// Where flags come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFlags {
    /// The source keeps them.
    Kept,
    /// The source has none (POP3): this policy stands in.
    None(Seen),
}

/// Where the date of a message comes from whose source keeps none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DateFrom {
    /// The topmost Received field, else Date, else now
    Received,
    /// The Date field, else now
    Date,
    /// Now
    Now,
}

impl DateFrom {
    fn date(self, header: &[u8], now: InternalDate) -> InternalDate {
        match self {
            Self::Received => summary::delivery_date_before(header, now.seconds).unwrap_or(now),
            Self::Date => {
                summary::Summary::of(header).date.filter(|date| (0..=now.seconds + 86_400).contains(&date.seconds)).unwrap_or(now)
            }
            Self::Now => now,
        }
    }
}

/// What the user chose.
#[derive(Debug, Clone)]
pub struct Options {
    /// Flags of a source that has none.
    pub flags: SourceFlags,
    /// Dates of a source that has none.
    pub date_from: DateFrom,
    /// How long after its intent a message that cannot be found counts as not arrived.
    pub settle: Duration,
    /// Whether mail that is at the destination before the first visit counts as copied where it is the same.
    pub adopt: bool,
    /// Whether folders that are not there are made.
    pub create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { flags: SourceFlags::Kept, date_from: DateFrom::Received, settle: Duration::from_mins(10), adopt: true, create: true }
    }
}

/// Opens one end of the transfer, again after each loss.
pub type Open<'a, T> = &'a (dyn Fn() -> Result<Box<T>> + Sync);

/// One run from one source to one destination.
pub struct Transfer<'a> {
    /// Time and signals.
    pub context: &'a Context,
    /// Who is told.
    pub report: &'a dyn Report,
    /// The destination's journal.
    pub journal: &'a mut Journal,
    /// What the user chose.
    pub options: Options,
    /// The source's name in the journal: it stays the same whatever the user calls the place.
    pub source_name: String,
    /// Opens the source.
    pub open_source: Open<'a, dyn Source>,
    /// Opens the destination.
    pub open_sink: Open<'a, dyn Sink>,
    /// The one folder of the source to copy; `None` for all.
    pub only: Option<Folder>,
    /// The folder at the destination that was named.
    pub into: Option<Folder>,
    /// What the source's listings are.
    pub asked: Asked,
}

/// What became of one message in this run.
#[derive(Debug, Clone)]
enum Fate {
    Copied { id: u32, bytes: u64, altered: Vec<String> },
    AlreadyThere,
    Refused { id: u32, reason: String },
    Quarantined { id: u32, reason: String },
    Unknown { id: u32 },
    Vanished,
}

/// A pair of folders and how far it is.
struct Work {
    pair: Pair,
    tally: HashMap<String, Fate>,
    /// Sessions lost at a message.
    losses: HashMap<String, u32>,
    listed: Vec<Listed>,
    /// Listed messages that were done before this run.
    done_before: HashSet<String>,
    failed: Option<Error>,
    /// Copies of other sources that are at the destination and count for none of these messages yet.
    brought: Option<Adoptable>,
}

impl Work {
    /// Accounts for a listing. A later one of the same run may lack messages that were listed before, and bring new ones.
    fn note_listing(&mut self, messages: Vec<Listed>) {
        if self.listed.is_empty() {
            self.listed = messages;
            return;
        }
        let now: HashSet<String> = messages.iter().map(name_of).collect();
        let before: HashSet<String> = self.listed.iter().map(name_of).collect();
        for gone in before.difference(&now) {
            // Without a key nothing tells whether it was read before it went.
            if !gone.starts_with("number:") && !self.done_before.contains(gone) {
                self.tally.entry(gone.clone()).or_insert(Fate::Vanished);
            }
        }
        self.listed.extend(messages.into_iter().filter(|listed| !before.contains(&name_of(listed))));
    }
}

impl Transfer<'_> {
    /// Copies everything that is missing. The counts are true whatever ended the run, which is the second value.
    pub fn run(mut self) -> (Outcome, Option<Error>) {
        let mut works = Vec::new();
        let error = self.run_all(&mut works).err();
        self.report.event(Event::Finished);
        let outcome = self.outcome(&works);
        let complete = error.is_none() && outcome.counts.complete() && outcome.problems.is_empty();
        let closed = self.journal.finish_run(complete).err();
        (outcome, error.or(closed))
    }

    fn run_all(&mut self, works: &mut Vec<Work>) -> Result<()> {
        // Wrong passwords and wrong names end the run here, before anything is touched.
        let (source, sink) = both(self.open_source, self.open_sink);
        let mut ends = Ends { source: Some(source?), sink: Some(sink?), losses: 0 };
        self.journal.begin_run()?;
        let pairs = self.pairs(&mut ends)?;
        works.extend(pairs.into_iter().map(|pair| Work {
            pair,
            tally: HashMap::new(),
            losses: HashMap::new(),
            listed: Vec::new(),
            done_before: HashSet::new(),
            failed: None,
            brought: None,
        }));
        let mut seen = SeenByUid::new();
        for work in works.iter_mut() {
            self.folder_or_problem(&mut ends, work, &mut seen)?;
        }
        self.wait_for_open_copies(&mut ends, works, &mut seen)?;
        let Ends { source, sink, .. } = ends;
        let farewells = both(|| source.map(|mut source| source.finish()), || sink.map(|mut sink| sink.finish()));
        for farewell in [farewells.0, farewells.1].into_iter().flatten() {
            // Everything is settled: a farewell that fails takes nothing back.
            if let Err(error) = farewell {
                self.report.event(Event::Note(error.to_string()));
            }
        }
        Ok(())
    }

    fn pairs(&mut self, ends: &mut Ends) -> Result<Vec<Pair>> {
        loop {
            let settled = self.journal.unsettled()?.is_empty();
            let listed = ends.open(self).and_then(|(source, sink)| {
                let (folders, there) = both(
                    || source.folders(),
                    || sink.folders().and_then(|there| Ok((there, if settled { Some(sink.horizons()?) } else { None }))),
                );
                let (mut folders, (there, horizons)) = (folders?, there?);
                if let Some(only) = &self.only {
                    folders.retain(|info| info.folder == *only);
                    if folders.is_empty() {
                        return Err(Error::usage(format!("there is no folder {only}")).at(source.place()));
                    }
                }
                let horizons = horizons.map(|all| {
                    all.into_iter().map(|(folder, uid_validity, uid_next)| (folder, Horizon { uid_validity, uid_next })).collect::<Vec<_>>()
                });
                Ok((folders, there, horizons, sink.place()))
            });
            match listed {
                Ok((folders, there, horizons, place)) => {
                    if let Some(horizons) = horizons {
                        self.journal.set_horizons(&horizons)?;
                    }
                    if self.asked == Asked::Named {
                        return self.exact_pairs(folders, &there).map_err(|error| error.at(place));
                    }
                    let known = self.journal.pairings(&self.source_name, self.into.as_ref())?;
                    return Ok(plan::pair_folders(&folders, &there, self.into.as_ref(), &known));
                }
                Err(error) => ends.lose_both(self, error)?,
            }
        }
    }

    /// Copies one folder; a failure that ruins only this folder is kept for the summary.
    fn folder_or_problem(&mut self, ends: &mut Ends, work: &mut Work, seen: &mut SeenByUid) -> Result<()> {
        let outcome = self.folder(ends, work, seen);
        self.problem_of(work, outcome).map(drop)
    }

    /// Keeps a failure that ruins only this folder; anything else goes on up.
    fn problem_of<T>(&self, work: &mut Work, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            // A name that cannot be written at the destination is the user's mistake only where the user chose it.
            Err(error) if error.scope() <= Scope::Mailbox || (error.kind() == Kind::Usage && self.into.is_none()) => {
                self.report.event(Event::Problem(Problem {
                    folder: work.pair.source.folder.to_string(),
                    uid: None,
                    reason: error.to_string(),
                }));
                work.failed = Some(error);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Settles leftovers, then copies what is missing, until nothing is left that may be sent now.
    fn folder(&mut self, ends: &mut Ends, work: &mut Work, seen: &mut SeenByUid) -> Result<()> {
        loop {
            self.context.check()?;
            match self.folder_once(ends, work, seen) {
                Ok(true) => return Ok(()),
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
        let mut copies = self.journal.copies(&self.source_name, &folder, target.mailbox)?;
        let mut again = HashSet::new();
        if !self.asked.lists_all() {
            let asked: HashSet<String> = listing.messages.iter().map(name_of).collect();
            // A message without a key may be any of them that has none either.
            let keyless = listing.messages.iter().any(|listed| listed.key.is_none());
            copies.retain(|key, _| asked.contains(key) || keyless);
            again = self.stale(sink, &target, &copies, seen)?;
            copies.iter_mut().filter(|(key, _)| again.contains(*key)).for_each(|(_, row)| row.state = State::Pending);
        }
        let (flowing, suspects) = self.missing(&listing.messages, &copies, work);
        // What was not named is not missing from the source.
        let mut renamed = if self.asked.lists_all() { Renamed::new(&listing, &copies) } else { Renamed::default() };
        for listed in &listing.messages {
            let name = name_of(listed);
            if work.tally.contains_key(&name) {
                continue;
            }
            match copies.get(&name).map(|row| row.state) {
                Some(State::Done | State::Merged) => {
                    work.done_before.insert(name);
                }
                Some(State::Intent | State::Unknown) => {
                    work.tally.insert(name, Fate::Unknown { id: listed.id });
                }
                _ => {}
            }
        }
        work.note_listing(listing.messages);
        if flowing.is_empty() && suspects.is_empty() {
            self.visited(&folder, target.generation, ends)?;
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
            let wanted: Vec<Listed> = flowing.iter().chain(&suspects).cloned().collect();
            settle::adoptable(sink, self.journal, &target, seen, source.header_digests(&wanted).as_ref())?
        };
        if self.asked == Asked::Back && self.options.adopt && work.brought.is_none() {
            // Once in a run: what counts for one message counts for no other after a loss either.
            work.brought = Some(settle::brought_by_others(sink, self.journal, &target, &self.source_name, &folder)?);
        }
        // Suspects go last and alone, so that a message that makes a server hang up does not stall the others.
        let mut groups: Vec<Vec<Listed>> = if flowing.is_empty() { Vec::new() } else { vec![flowing] };
        groups.extend(suspects.into_iter().map(|suspect| vec![suspect]));
        let quarantined: HashSet<String> = self.journal.quarantine(&self.source_name, &folder)?.into_keys().collect();
        // Keys of messages without one count their twins over all groups.
        let mut twins = Twins::default();
        let mut settled = 0;
        for group in groups {
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
                tally: &mut work.tally,
                twins: &mut twins,
            }
            .run(&mut *source, &mut *sink, &group)?;
            if end.source.is_some() || end.sink.is_some() {
                if settled > 0 {
                    ends.losses = 0;
                }
                return self.pass_lost(ends, work, &group, end).map(|()| false);
            }
            settled += end.settled;
            if !end.lost.is_empty() {
                // The server said that it does not know what it did.
                let error = Error::refused("it stumbled over the message and does not say whether it took it");
                self.blame(work, &folder, &group, &end.lost, &error, "the destination gave no clear answer")?;
            }
        }
        // Without keys only a further listing could tell what is missing, and that has just been read whole.
        self.visited(&folder, target.generation, ends)?;
        Ok(true)
    }

    /// Records what was in a folder of the destination, just opened, before us.
    fn target(&mut self, sink: &mut dyn Sink, into: &FolderInfo, opened: Option<SinkState>) -> Result<Target> {
        let Some(opened) = opened else {
            if !self.options.create {
                return Err(Error::usage(format!("there is no folder {}", into.folder)).at(sink.place()).hint("--create makes it"));
            }
            return Err(Error::refused(format!("the folder {} cannot be made", into.folder)).at(sink.place()).scoped(Scope::Mailbox));
        };
        let Some(uid_validity) = opened.generation else {
            return Err(Error::refused(format!("the folder {} has no UIDVALIDITY, so copies in it cannot be proved", into.folder))
                .at(sink.place())
                .scoped(Scope::Mailbox));
        };
        let mailbox = self.journal.mailbox(&into.folder)?;
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

    /// Looks once more for the open copies of a folder; `true` when some are free to be sent again.
    fn look_again(&mut self, ends: &mut Ends, work: &mut Work, seen: &mut SeenByUid) -> Result<bool> {
        loop {
            self.context.check()?;
            let looked = ends.open(self).and_then(|(_, sink)| {
                let opened = sink.open(&work.pair.destination, self.options.create)?;
                let target = self.target(sink, &work.pair.destination, opened)?;
                self.settle(sink, &target, work, seen)
            });
            match looked {
                Err(error) if error.scope() == Scope::Session => ends.lose_both(self, error)?,
                other => return other,
            }
        }
    }

    fn visited(&mut self, folder: &Folder, generation: GenerationId, ends: &mut Ends) -> Result<()> {
        ends.losses = 0;
        // Not everything of the folder was dealt with, only what was named.
        if !self.asked.lists_all() || self.journal.has_visited(&self.source_name, folder, generation)? {
            return Ok(());
        }
        self.journal.commit(&Batch(vec![Change::Visited { source: self.source_name.clone(), folder: folder.clone(), generation }]))?;
        Ok(())
    }

    /// What is listed and neither done, nor open, nor put aside in this run: those that may flow, and those at which
    /// sessions were lost.
    fn missing(&self, listed: &[Listed], copies: &HashMap<String, CopyRow>, work: &Work) -> (Vec<Listed>, Vec<Listed>) {
        let mut flowing = Vec::new();
        let mut suspects = Vec::new();
        for listed in listed {
            let name = name_of(listed);
            let free = match copies.get(&name) {
                Some(row) => matches!(row.state, State::Pending | State::Refused),
                None => true,
            };
            let decided = matches!(
                work.tally.get(&name),
                Some(Fate::Refused { .. } | Fate::Quarantined { .. } | Fate::Vanished | Fate::AlreadyThere)
            );
            if !free || decided {
                continue;
            }
            let losses = work.losses.get(&name).copied().unwrap_or(0).max(copies.get(&name).map_or(0, |row| row.tries));
            if losses == 0 { flowing.push(listed.clone()) } else { suspects.push(listed.clone()) }
        }
        (flowing, suspects)
    }

    /// A session was lost in a pass: who is to blame, what is put aside, and both ends anew.
    fn pass_lost(&mut self, ends: &mut Ends, work: &mut Work, group: &[Listed], end: End) -> Result<()> {
        if end.settled > 0 {
            ends.losses = 0;
        }
        let folder = work.pair.source.folder.clone();
        if let Some(error) = end.sink {
            // A server may hang up in the middle of a message, too.
            let lost = if end.lost.is_empty() { end.begun } else { end.lost };
            if self.blame(work, &folder, group, &lost, &error, "the destination hung up on it")? {
                ends.losses = 0;
            }
            // The source stopped in the middle of its answers.
            ends.source = None;
            return ends.lose_sink(self, error);
        }
        if let Some(error) = end.source {
            if error.scope() != Scope::Session {
                return Err(error);
            }
            if let Some(listed) = end.unread.and_then(|index| group.get(index)) {
                let lost = Suspect { name: name_of(listed), key: name_of(listed) };
                if self.blame(work, &folder, group, &[lost], &error, "the source hung up on it")? {
                    ends.losses = 0;
                }
            }
            return ends.lose_source(self, error);
        }
        Ok(())
    }

    /// Counts a loss at each of `suspects`, and puts those aside at which there were too many; whether there was one.
    fn blame(
        &mut self,
        work: &mut Work,
        folder: &Folder,
        group: &[Listed],
        suspects: &[Suspect],
        error: &Error,
        why: &str,
    ) -> Result<bool> {
        let mut any = false;
        let suspects: HashMap<&str, &Suspect> = suspects.iter().map(|suspect| (suspect.name.as_str(), suspect)).collect();
        for listed in group {
            let name = name_of(listed);
            let Some(suspect) = suspects.get(name.as_str()) else { continue };
            let losses = work.losses.entry(name.clone()).or_insert(0);
            *losses += 1;
            if *losses < MAX_LOSSES_OF_ONE {
                continue;
            }
            any = true;
            if suspect.key != name {
                work.tally.remove(&suspect.key);
            }
            let reason = format!("{why} {MAX_LOSSES_OF_ONE} times: {error}");
            self.journal.commit(&Batch(vec![Change::Quarantine {
                source: self.source_name.clone(),
                folder: folder.clone(),
                key: listed.key.clone(),
                uid: Some(listed.id),
                reason: reason.clone(),
            }]))?;
            self.report.event(Event::Problem(Problem { folder: folder.to_string(), uid: Some(listed.id), reason: reason.clone() }));
            work.tally.insert(name, Fate::Quarantined { id: listed.id, reason });
        }
        Ok(any)
    }

    /// Settles the open copies into the sink's folder and takes what was found out into the tally. `true` when some of this
    /// source folder's are free to be sent again.
    fn settle(&mut self, sink: &mut dyn Sink, target: &Target, work: &mut Work, seen: &mut SeenByUid) -> Result<bool> {
        let settled = settle::settle(sink, self.journal, target, &work.pair.destination, seen, self.options.settle, self.context)?;
        let mut freed = false;
        for one in settled {
            if one.source != self.source_name || one.folder != work.pair.source.folder {
                continue;
            }
            freed |= !one.arrived;
            if one.tries > 0 {
                work.losses.entry(one.key.clone()).or_insert(one.tries);
            }
            match (one.arrived, work.tally.get(&one.key)) {
                (true, Some(Fate::Unknown { id })) => {
                    let copied = Fate::Copied { id: *id, bytes: one.length, altered: Vec::new() };
                    self.report.event(Event::Copied { folder: one.folder.to_string(), bytes: one.length });
                    work.tally.insert(one.key, copied);
                }
                (true, Some(Fate::Quarantined { .. })) => {
                    work.tally.insert(one.key, Fate::AlreadyThere);
                }
                // Left over from an earlier run: it counts as there already, if the source still lists it.
                (false, Some(Fate::Unknown { .. })) => {
                    work.tally.remove(&one.key);
                }
                _ => {}
            }
        }
        Ok(freed)
    }

    /// Waits, at the end of the run, for what may still arrive; what then counts as not arrived is sent again.
    fn wait_for_open_copies(&mut self, ends: &mut Ends, works: &mut [Work], seen: &mut SeenByUid) -> Result<()> {
        let mut told = false;
        let mut before = None;
        loop {
            let mut open = Vec::new();
            for work in works.iter_mut().filter(|work| work.failed.is_none()) {
                let mailbox = self.journal.mailbox(&work.pair.destination.folder)?;
                let intents = self.journal.outstanding(mailbox)?;
                let ours = intents.iter().filter(|intent| intent.source == self.source_name && intent.folder == work.pair.source.folder);
                let count = ours.count();
                if count > 0 {
                    open.push((count, intents.iter().map(|intent| intent.intended_at).max().unwrap_or(0), work));
                }
            }
            let Some(last) = open.iter().map(|(_, at, _)| *at).max() else { return Ok(()) };
            let until = last.saturating_add(i64::try_from(self.options.settle.as_secs()).unwrap_or(i64::MAX));
            let left = Duration::from_secs(u64::try_from(until.saturating_sub(self.context.unix_time())).unwrap_or(0));
            let count: usize = open.iter().map(|(count, _, _)| count).sum();
            // Their time is over, and still nothing proves them there or not there: they stay unknown, by name.
            if left.is_zero() && before.replace((until, count)) == Some((until, count)) {
                return Ok(());
            }
            if !told {
                told = true;
                self.report.event(Event::Waiting(format!(
                    "the answer to the upload of {} got lost: looking there for up to {} s, because a server may store late",
                    counted(count as u64, "message"),
                    left.as_secs()
                )));
            }
            self.context.pause(LOOK_AGAIN.min(left.max(Duration::from_secs(1))));
            self.context.check()?;
            for (_, _, work) in open {
                // Only what is free again is worth asking the source for.
                let looked = self.look_again(ends, work, seen);
                if self.problem_of(work, looked)? == Some(true) {
                    self.folder_or_problem(ends, work, seen)?;
                }
            }
        }
    }

    fn outcome(&self, works: &[Work]) -> Outcome {
        let mut outcome = Outcome::default();
        for work in works {
            let mut counts = Counts { listed: work.listed.len() as u64, already_there: work.done_before.len() as u64, ..Counts::default() };
            let folder = work.pair.source.folder.to_string();
            let mut problems: Vec<(u32, String)> = Vec::new();
            let mut altered_here: Vec<(u32, String)> = Vec::new();
            for fate in work.tally.values() {
                match fate {
                    Fate::Copied { id, bytes, altered } => {
                        counts.copied += 1;
                        counts.bytes += bytes;
                        if !altered.is_empty() {
                            counts.altered += 1;
                            altered_here.push((*id, altered.join("; ")));
                        }
                    }
                    Fate::AlreadyThere => counts.already_there += 1,
                    Fate::Refused { id, reason } => {
                        counts.refused += 1;
                        problems.push((*id, reason.clone()));
                    }
                    Fate::Quarantined { id, reason } => {
                        counts.quarantined += 1;
                        problems.push((*id, reason.clone()));
                    }
                    Fate::Unknown { id } => {
                        counts.unknown += 1;
                        problems.push((*id, "it was sent, and no answer tells whether it arrived; the next run finds out".to_owned()));
                    }
                    Fate::Vanished => counts.vanished += 1,
                }
            }
            problems.sort();
            altered_here.sort();
            let named = |(uid, reason): (u32, String)| Problem { folder: folder.clone(), uid: Some(uid), reason };
            outcome.problems.extend(problems.into_iter().map(named));
            outcome.altered.extend(altered_here.into_iter().map(named));
            if let Some(error) = &work.failed {
                outcome.problems.push(Problem { folder: folder.clone(), uid: None, reason: error.to_string() });
            }
            outcome.counts.add(&counts);
            outcome.folders.push(FolderCounts { name: folder, counts });
        }
        outcome
    }
}

/// Does two things at once: two servers far away answer in the time of one.
fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        // A panic of one thread is a panic of the other.
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}
