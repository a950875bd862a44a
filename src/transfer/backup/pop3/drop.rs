//! A maildrop against the archive: which of its messages are here, which are to be read, and what is gone. It decides by unique-ids
//! where these can be trusted, else by content, and leaves the reading to its neighbour.

use std::collections::{HashMap, HashSet};

use super::super::{Backup, manifest, prune};
use super::reading::Spent;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, InternalDate, Key, Twins, header_digest};
use crate::report::{Counts, Event, FolderCounts, Outcome, Problem, counted};
use crate::state::archive::{ArchiveChange, ArchiveFolder, EntryId, EraId, FileId, Mark, PutAside};
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};

/// A message at which so many sessions were lost is put aside; one that was put aside before gets one try a run.
const MAX_LOSSES_OF_ONE: u32 = 3;
/// Changes that share one transaction.
const CHANGES: usize = 1000;

/// An entry of the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) entry: EntryId,
    pub(super) file: FileId,
    pub(super) gone: bool,
    size: Option<u64>,
}

/// What became of a message in this run.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Copied { octets: u64, number: u32, altered: Vec<String> },
    AlreadyThere,
    Quarantined,
    Filtered,
}

/// A message that is to be read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) listed: Listed,
    /// What this run calls it: its key, or its number in this session where it has none.
    pub(super) name: String,
    /// The content on file under its key, where that may be another message's: the server may have given its unique-id again.
    pub(super) doubt: Option<(Known, Digest)>,
}

/// One run over a maildrop.
pub(super) struct Maildrop<'b> {
    pub(super) backup: Backup<'b>,
    pub(super) folder: ArchiveFolder,
    pub(super) era: EraId,
    pub(super) spent: Spent,
    /// The server shows a part of the mail at a time: what it does not list is not gone.
    pub(super) partial: bool,
    /// No answer is outstanding although the session ended early.
    pub(super) at_rest: bool,
    /// Entries by key.
    pub(super) known: HashMap<String, Known>,
    /// Keys that were found on the server in this run, content keys too.
    pub(super) listed: HashSet<String>,
    /// Unique-ids that mean another message now.
    pub(super) reused: HashSet<String>,
    /// Contents that got a content key although they have a unique-id.
    pub(super) doubted: Vec<Digest>,
    pub(super) fates: HashMap<String, Fate>,
    /// Names without a key, of the session at hand.
    loose: HashSet<String>,
    losses: HashMap<String, u32>,
    /// Messages that were put aside in this run for the sessions they cost: without a unique-id they are listed as new each time.
    given_up: HashSet<String>,
    pub(super) aside: HashMap<String, PutAside>,
    /// Keys stored in this run.
    pub(super) copied: HashSet<String>,
    /// Files no listed message has claimed, by content.
    pub(super) spare: Option<HashMap<Digest, Vec<FileId>>>,
    /// Files that were recognised under another key.
    pub(super) recognised: HashSet<FileId>,
    /// Dates in the names of files that a run left behind that died, by the digest of their keys.
    pub(super) dates: HashMap<String, InternalDate>,
    pub(super) problems: Vec<Problem>,
    /// Messages that are not durable yet, by number: what this run calls them, and their keys.
    pub(super) pending: HashMap<u64, (String, String)>,
    handed_over: u64,
    /// Messages to be read, those of earlier sessions included.
    pub(super) planned: u64,
    gone: u64,
    /// How many messages the last complete listing had, once everything in it was dealt with.
    done: Option<u64>,
}

impl<'b> Maildrop<'b> {
    /// Reads what the archive knows, and notes that a run begins.
    pub(super) fn open(backup: Backup<'b>) -> Result<Self> {
        let account = backup.account.id;
        let archive = &mut backup.store.archive;
        let died = archive.died(account)?;
        archive.begin_run(account)?;
        prune::finish(backup.store, &backup.account, backup.context)?;
        let archive = &mut backup.store.archive;
        let folder = archive.folder(account, &Folder::inbox())?;
        let era = archive.era(folder.id, 0, backup.context.unix_time())?.id;
        let mut known = HashMap::new();
        archive.entries(era, None, &mut |held| {
            let entry = held.entry;
            if let Some(key) = entry.key {
                let gone = entry.gone_at.is_some();
                known.insert(key, Known { entry: entry.id, file: held.file.id, gone, size: entry.listed_size });
            }
            Ok(())
        })?;
        let aside = archive.put_aside(account)?.into_iter().filter(|one| one.folder == folder.id);
        let aside = aside.map(|one| (one.key.clone(), one)).collect();
        backup.store.vault.make_folder(&backup.account.name, &Folder::inbox())?;
        let mut dates = HashMap::new();
        if died {
            backup.store.vault.scan(&backup.account.name, &Folder::inbox(), &mut |lying| {
                if let Some(key) = lying.key {
                    dates.insert(key, lying.modified);
                }
                Ok(())
            })?;
            // Whatever key a message has by now, its content tells that it is here.
            super::super::orphans::take_in(backup.store, &backup.account, &folder, backup.context, &|_, _| false)?;
        }
        Ok(Self {
            backup,
            folder,
            era,
            spent: Spent::default(),
            partial: false,
            at_rest: false,
            known,
            listed: HashSet::new(),
            reused: HashSet::new(),
            doubted: Vec::new(),
            fates: HashMap::new(),
            loose: HashSet::new(),
            losses: HashMap::new(),
            given_up: HashSet::new(),
            aside,
            copied: HashSet::new(),
            spare: None,
            recognised: HashSet::new(),
            dates,
            problems: Vec::new(),
            pending: HashMap::new(),
            handed_over: 0,
            planned: 0,
            gone: 0,
            done: None,
        })
    }

    /// Messages that got through so far.
    pub(super) fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// How much this run found out or kept so far. What a session has to read again because nothing names it is no gain, or a
    /// server that always hangs up at the same place would be called for ever.
    pub(super) fn gained(&self) -> usize {
        self.fates.len() + self.copied.len()
    }

    /// Lists the maildrop and reads what is missing; says how many messages were new. Everything read is durable when it returns.
    pub(super) fn session(&mut self, source: &mut Pop3Source) -> Result<u64> {
        self.at_rest = false;
        self.spare = None;
        let before = self.copied.len();
        let listing = source.list(&Folder::inbox())?.messages;
        let count = listing.len() as u64;
        let (keyed, mut loose, mut suspects) = self.sort(source, listing)?;
        // Numbers mean something in one session only.
        for name in std::mem::take(&mut self.loose) {
            self.fates.remove(&name);
        }
        self.loose = loose.iter().map(|wanted| wanted.name.clone()).collect();
        loose.retain(|wanted| !self.given_up.contains(&wanted.name));
        for name in self.given_up.iter().filter(|name| self.loose.contains(*name)) {
            self.fates.insert(name.clone(), Fate::Quarantined);
        }
        let (bad, flowing): (Vec<Wanted>, Vec<Wanted>) = loose.drain(..).partition(|wanted| self.losses.contains_key(&wanted.name));
        suspects.extend(bad);
        let mut twins = Twins::default();
        for content in &self.doubted {
            twins.key(*content);
        }
        let all = keyed.iter().chain(&flowing).chain(&suspects);
        let (messages, bytes) = all.fold((0, 0), |(count, octets), one| (count + 1, octets + one.listed.size.unwrap_or(0)));
        self.planned = self.handed_over + messages;
        if messages > 0 {
            self.backup.report.event(Event::Planned { folder: self.folder.folder.to_string(), messages, bytes });
        }
        let cut = self.within_limits(&keyed);
        let within = keyed.get(..cut).unwrap_or_default();
        self.read(source, within, &mut twins)?;
        if cut < keyed.len() {
            self.at_rest = true;
            return Err(Spent::reached());
        }
        self.read(source, &flowing, &mut twins)?;
        // Those that cost a session before, alone and last.
        for suspect in &suspects {
            self.read(source, std::slice::from_ref(suspect), &mut twins)?;
        }
        self.done = Some(count);
        Ok((self.copied.len() - before) as u64)
    }

    /// What of a listing is to be read: messages with a unique-id, those without, and those that were trouble before.
    fn sort(&mut self, source: &mut Pop3Source, listing: Vec<Listed>) -> Result<(Vec<Wanted>, Vec<Wanted>, Vec<Wanted>)> {
        let (mut keyed, mut loose, mut suspects) = (Vec::new(), Vec::new(), Vec::new());
        let mut doubtful = Vec::new();
        for listed in listing {
            let Some(name) = listed.key.as_ref().map(Key::to_string) else {
                let name = format!("number:{}", listed.id);
                loose.push(Wanted { listed, name, doubt: None });
                continue;
            };
            self.listed.insert(name.clone());
            if self.fates.contains_key(&name) {
                continue;
            }
            if self.aside.get(&name).is_some_and(|one| one.ignored) {
                self.fates.insert(name, Fate::Filtered);
                continue;
            }
            match self.known.get(&name) {
                Some(known) => {
                    let same_size = match (known.size, listed.size) {
                        (Some(then), Some(now)) => then == now,
                        _ => true,
                    };
                    if known.gone || !same_size {
                        doubtful.push(Wanted { doubt: Some((*known, Digest([0; 32]))), listed, name });
                    } else {
                        self.fates.insert(name, Fate::AlreadyThere);
                    }
                }
                None => keyed.push(Wanted { listed, name, doubt: None }),
            }
        }
        if !doubtful.is_empty() {
            keyed.extend(self.settle_doubts(source, doubtful)?);
            keyed.sort_by_key(|wanted| wanted.listed.id);
        }
        keyed.retain(|wanted| {
            let trouble = self.losses.contains_key(&wanted.name) || self.aside.contains_key(&wanted.name);
            if trouble {
                suspects.push(wanted.clone());
            }
            !trouble
        });
        Ok((keyed, loose, suspects))
    }

    /// A unique-id that was gone and is back, or whose message has another size now, may name another message: RFC 1939 forbids
    /// that, and servers do it. Where the header is the one on file, it is the same; the others have to be read.
    fn settle_doubts(&mut self, source: &mut Pop3Source, mut doubtful: Vec<Wanted>) -> Result<Vec<Wanted>> {
        let places: HashMap<&str, usize> = doubtful.iter().enumerate().map(|(index, wanted)| (wanted.name.as_str(), index)).collect();
        let mut digests = vec![None; doubtful.len()];
        self.backup.store.archive.entries(self.era, None, &mut |held| {
            let index = held.entry.key.as_deref().and_then(|key| places.get(key));
            if let Some(digest) = index.and_then(|index| digests.get_mut(*index)) {
                *digest = Some((held.file.header, held.file.content));
            }
            Ok(())
        })?;
        let asked: Vec<Listed> = doubtful.iter().map(|wanted| wanted.listed.clone()).collect();
        let mut same = HashSet::new();
        source.headers(&asked, &mut |index, header| {
            let on_file = digests.get(index).copied().flatten().map(|(header, _)| header);
            // A header that is not given is no error: the message itself is asked for next.
            if header.is_ok_and(|header| Some(header_digest(&header)) == on_file) {
                same.insert(index);
            }
            Ok(())
        })?;
        let mut back = Vec::new();
        let mut unsettled = Vec::new();
        for (index, mut wanted) in doubtful.drain(..).enumerate() {
            if let Some((known, content)) = &mut wanted.doubt {
                if same.contains(&index) {
                    if known.gone {
                        back.push(ArchiveChange::Back { entry: known.entry });
                        self.known.entry(wanted.name.clone()).and_modify(|known| known.gone = false);
                    }
                    self.fates.insert(wanted.name, Fate::AlreadyThere);
                    continue;
                }
                if let Some((_, on_file)) = digests.get(index).copied().flatten() {
                    *content = on_file;
                }
            }
            unsettled.push(wanted);
        }
        if !back.is_empty() {
            self.backup.store.archive.commit(&back)?;
        }
        Ok(unsettled)
    }

    /// How many of these the limits let through, by the sizes the server claims; the first of a run always goes.
    fn within_limits(&self, wanted: &[Wanted]) -> usize {
        let limits = self.backup.options.limits;
        let most =
            limits.messages.map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(self.spent.messages)).unwrap_or(usize::MAX));
        let mut octets = self.spent.octets;
        let mut fit = 0;
        for one in wanted.iter().take(most) {
            octets = octets.saturating_add(one.listed.size.unwrap_or(0));
            if limits.octets.is_some_and(|most| octets > most) && !(fit == 0 && self.spent.octets == 0) {
                break;
            }
            fit += 1;
        }
        fit
    }

    /// Counts a session that was lost at a message, and puts it aside when there were too many.
    pub(super) fn blame(&mut self, wanted: &Wanted, error: &Error) -> Result<()> {
        let losses = self.losses.entry(wanted.name.clone()).or_default();
        *losses += 1;
        let most = if self.aside.contains_key(&wanted.name) { 1 } else { MAX_LOSSES_OF_ONE };
        if *losses < most {
            return Ok(());
        }
        let times = if *losses == 1 { "once".to_owned() } else { format!("{losses} times") };
        let reason = format!("the connection was lost {times} while it was read: {error}");
        self.given_up.insert(wanted.name.clone());
        // It got this far, and the rest goes on without it.
        self.handed_over += 1;
        let change = self.put_aside(wanted, reason);
        self.backup.store.archive.commit(&[change]).map(drop)
    }

    /// Puts a message aside, to be tried again by the next run; gives back what is to be recorded.
    pub(super) fn put_aside(&mut self, wanted: &Wanted, reason: String) -> ArchiveChange {
        let problem = Problem { folder: self.folder.folder.to_string(), uid: Some(wanted.listed.id), reason: reason.clone() };
        self.backup.report.event(Event::Problem(problem.clone()));
        self.problems.push(problem);
        self.fates.insert(wanted.name.clone(), Fate::Quarantined);
        ArchiveChange::Quarantine {
            folder: self.folder.id,
            uid: Some(wanted.listed.id),
            key: wanted.name.clone(),
            reason,
            at: self.backup.context.unix_time(),
        }
    }

    /// A message got through.
    pub(super) fn through(&mut self) {
        self.handed_over += 1;
    }

    /// A file of equal content that no message on the server has a claim to.
    pub(super) fn spare(&mut self, content: Digest) -> Result<Option<FileId>> {
        if self.spare.is_none() {
            let mut spare: HashMap<Digest, Vec<FileId>> = HashMap::new();
            let any_loose = !self.loose.is_empty();
            let (listed, reused) = (&self.listed, &self.reused);
            self.backup.store.archive.files(self.folder.id, &mut |file, entries| {
                let claimed = entries.iter().any(|entry| {
                    let key = entry.key.as_deref().unwrap_or_default();
                    let found = listed.contains(key) && !reused.contains(key);
                    // Messages without a unique-id are found by their content, each its own.
                    let by_content = any_loose && key.starts_with("content:");
                    entry.gone_at.is_none() && (found || by_content)
                });
                if !claimed {
                    spare.entry(file.content).or_default().push(file.id);
                }
                Ok(())
            })?;
            self.spare = Some(spare);
        }
        let Some(files) = self.spare.as_mut().and_then(|spare| spare.get_mut(&content)) else { return Ok(None) };
        let file = files.pop();
        self.recognised.extend(file);
        Ok(file)
    }

    /// What is gone is marked, removed where the user asked for it, and the run is closed. `error` ended it before its time.
    pub(super) fn conclude(&mut self, error: Option<&Error>) -> Result<()> {
        let closed = self.close(error);
        let closed = closed.and(manifest::renew(self.backup.store, self.backup.account.id, self.backup.context));
        let ended = error.or(closed.as_ref().err());
        let complete = ended.is_none() && self.problems.is_empty();
        let words = ended.map(ToString::to_string);
        let account = self.backup.account.id;
        let noted = self.backup.store.archive.finish_run(account, complete, None, words.as_deref());
        closed.and(noted)
    }

    fn close(&mut self, error: Option<&Error>) -> Result<()> {
        let Some(messages) = self.done.filter(|_| error.is_none()) else { return Ok(()) };
        let at = self.backup.context.unix_time();
        let mut changes = Vec::new();
        // A message without a unique-id that could not be read may be any of those that were not found.
        let unread = self.loose.iter().any(|name| matches!(self.fates.get(name), Some(Fate::Quarantined)));
        if !self.partial {
            for (key, known) in &self.known {
                let found = self.listed.contains(key) && !self.reused.contains(key);
                if known.gone || found || (unread && key.starts_with("content:")) {
                    continue;
                }
                changes.push(ArchiveChange::Gone { entry: known.entry, at });
                if !self.recognised.contains(&known.file) {
                    self.gone += 1;
                }
            }
            for key in self.aside.keys() {
                if !self.listed.contains(key) && !matches!(self.fates.get(key), Some(Fate::Quarantined)) {
                    changes.push(ArchiveChange::Released { folder: self.folder.id, key: key.clone() });
                }
            }
        }
        for chunk in changes.chunks(CHANGES) {
            self.backup.context.step("backup.gone");
            self.backup.store.archive.commit(chunk)?;
        }
        let pruned = self.mirror();
        let mark = Mark { uid_validity: 0, uid_next: None, highest_mod_seq: None, messages: Some(messages) };
        self.backup.context.step("backup.visited");
        self.backup.store.archive.commit(&[ArchiveChange::Visited { folder: self.folder.id, mark, at }])?;
        self.backup.store.vault.complete(&self.backup.account.name, &Folder::inbox())?;
        pruned
    }

    /// Removes files that no message on the server has any more.
    fn mirror(&mut self) -> Result<()> {
        let Some(ceiling) = self.backup.options.mirror else { return Ok(()) };
        if let Some(error) = prune::refusal(self.backup.store.card.layout) {
            return Err(error);
        }
        let archive = &self.backup.store.archive;
        let mut goners = Vec::new();
        prune::goners(archive, &self.backup.account, i64::MAX, &mut |goner| {
            goners.push(goner.file.id);
            Ok(())
        })?;
        if goners.is_empty() {
            return Ok(());
        }
        let all = archive.folders(self.backup.account.id)?.iter().map(|record| record.messages + record.gone).sum();
        ceiling.check(goners.len() as u64, all, &format!("the backup of {}", self.backup.account.name))?;
        prune::remove(self.backup.store, &self.backup.account, &goners, self.backup.context, &mut |_| {})?;
        let text = format!("{} that are gone from the server were removed from the store", counted(goners.len() as u64, "message"));
        self.backup.report.event(Event::Note(text));
        Ok(())
    }

    /// What the run did.
    pub(super) fn outcome(&mut self) -> Outcome {
        let name = self.folder.folder.to_string();
        let mut counts = Counts { gone: self.gone, ..Counts::default() };
        let mut altered = Vec::new();
        // Listed and not reached are in the balance as well: it does not come out then.
        let unreached = self.listed.iter().chain(&self.loose).filter(|name| name.starts_with("uidl:") || name.starts_with("number:"));
        counts.listed = unreached.filter(|name| !self.fates.contains_key(*name)).count() as u64 + self.fates.len() as u64;
        for fate in self.fates.values() {
            match fate {
                Fate::Copied { octets, number, altered: words } => {
                    counts.copied += 1;
                    counts.bytes += octets;
                    if !words.is_empty() {
                        counts.altered += 1;
                        altered.push(Problem { folder: name.clone(), uid: Some(*number), reason: words.join("; ") });
                    }
                }
                Fate::AlreadyThere => counts.already_there += 1,
                Fate::Quarantined => counts.quarantined += 1,
                Fate::Filtered => counts.filtered += 1,
            }
        }
        altered.sort_by_key(|problem| problem.uid);
        Outcome { counts, folders: vec![FolderCounts { name, counts }], problems: std::mem::take(&mut self.problems), altered }
    }
}
