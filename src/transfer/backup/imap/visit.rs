//! The visit of one folder: what is there, what is missing, what is gone, and flags that changed.

use std::collections::HashMap;

use super::super::orphans;
use super::line::uid_validity_changed;
use super::recognise::Spare;
use super::{Run, Visited, both, key_of, tidy};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::{Digest, Flag, header_digest};
use crate::report::Event;
use crate::state::archive::{ArchiveChange, ArchiveFolder, EntryId, EraId, Mark};
use crate::store::origin::{Flagged, Remote, Since, Visit};

/// Flags told of by the visit that are kept until it is over; where there are more, all are asked for and compared as they come.
const FLAGS_KEPT: usize = 20_000;
/// Octets that they may take: a server can give every message a thousand keywords.
const FLAGS_OCTETS: usize = 8 * 1024 * 1024;
/// Flags compared with the archive at once.
const CHUNK: usize = 2000;
/// Changes in one transaction.
const BATCH: usize = 256;

/// Whether what the server tells of a folder besides its figures is what the archive has.
pub(super) fn same_facts(record: &ArchiveFolder, remote: &Remote) -> bool {
    let mailbox_id = remote.figures.as_ref().ok().and_then(|figures| figures.mailbox_id.as_ref());
    (mailbox_id.is_none() || record.mailbox_id.as_ref() == mailbox_id)
        && record.special_use == remote.info.special_use.map(|special| special.to_string())
        && record.subscribed == remote.info.subscribed
}

/// Whether a folder under its old UIDVALIDITY may be another one all the same: it was away, it has another identity, or counters went
/// back that only rise. Servers restored from somewhere do that, and those that give every folder the same UIDVALIDITY.
fn is_doubtful(record: &ArchiveFolder, then: Mark, now: Mark, mailbox_id: Option<&String>) -> bool {
    let fell = |then: Option<u64>, now: Option<u64>| then.zip(now).is_some_and(|(then, now)| now < then);
    record.gone_at.is_some()
        || mailbox_id.is_some_and(|now| record.mailbox_id.as_ref().is_some_and(|then| then != now))
        || fell(then.uid_next.map(u64::from), now.uid_next.map(u64::from))
        || fell(then.highest_mod_seq, now.highest_mod_seq)
}

impl Run<'_> {
    /// Opens a folder and finds out what is to be done. In later rounds only what came since counts as listed.
    pub(super) fn visit(&mut self, index: usize, round: usize) -> Result<()> {
        let Some(work) = self.works.get_mut(index) else { return Ok(()) };
        if work.failed {
            return Ok(());
        }
        let before = work.visit.take();
        let folder = work.remote.info.folder.clone();
        let listed = work.remote.figures.as_ref().ok().cloned().unwrap_or_default();
        let record = self.record(index, &folder)?;
        let last = match (&before, record.mark, record.era) {
            (Some(before), _, _) => Some((before.mark, before.era)),
            (None, Some(mark), Some(era)) => Some((mark, era)),
            _ => None,
        };
        let last = last.filter(|(mark, _)| listed.uid_validity.is_none_or(|now| now == mark.uid_validity));
        let (since, known_era) = match last {
            Some((mark, era)) => (Some(self.since(&record, mark, era)?), Some(era)),
            None => (None, None),
        };
        let (visit, flags) = self.look(&folder, since.as_ref())?;
        let Some(uid_validity) = visit.figures.uid_validity.or(listed.uid_validity).filter(|value| *value > 0) else {
            return Err(Error::refused(format!(
                "the folder {folder}: the server gives it no UIDVALIDITY, so its messages cannot be told apart"
            ))
            .scoped(Scope::Mailbox));
        };
        let expected = before.as_ref().map(|before| before.uid_validity).or(listed.uid_validity);
        if expected.is_some_and(|expected| expected != uid_validity) {
            return Err(uid_validity_changed(&folder));
        }
        self.line.open = Some((folder.clone(), uid_validity));
        // Where STATUS told nothing, opening it is the first to show that its UIDs mean something else now.
        let last = last.filter(|(mark, _)| mark.uid_validity == uid_validity);
        let known_era = known_era.filter(|_| last.is_some());
        let era = match known_era {
            Some(era) => era,
            None => self.job.store.archive.era(record.id, uid_validity, self.job.context.unix_time())?.id,
        };
        let mark = Mark {
            uid_validity,
            uid_next: visit.figures.uid_next.or(listed.uid_next),
            highest_mod_seq: visit.figures.highest_mod_seq.or(listed.highest_mod_seq),
            messages: visit.figures.messages.or(listed.messages),
        };
        let mut here = self.job.store.archive.uids(era, false)?;
        let mut back = both(&visit.there, &self.job.store.archive.uids(era, true)?);
        let doubted = before.is_none() && last.is_some_and(|(then, _)| is_doubtful(&record, then, mark, visit.figures.mailbox_id.as_ref()));
        let supplanted = self.supplanted(&folder, (uid_validity, era), &both(&visit.there, &here), &back, doubted)?;
        if let Some(work) = self.works.get_mut(index) {
            work.counts.gone += both(&here, &supplanted).len();
        }
        here = here.difference(&supplanted);
        back = back.difference(&supplanted);
        let mut visited = Visited {
            folder: record.id,
            era,
            uid_validity,
            mark,
            seen: UidSet::new(),
            missing: visit.there.difference(&here).difference(&back),
            gone: here.difference(&visit.there),
            there: visit.there,
            tried: UidSet::new(),
            stale: Vec::new(),
            spare: Spare::default(),
            has_older: false,
        };
        let ignored = self.sort_put_aside(&mut visited);
        let fresh = match &before {
            Some(before) => {
                visited.missing = visited.missing.difference(&before.seen);
                visited.there.difference(&before.seen)
            }
            None => visited.there.clone(),
        };
        if let Some(work) = self.works.get_mut(index) {
            let ignored = both(&fresh, &ignored).len();
            let missing = both(&fresh, &visited.missing).len();
            work.counts.listed += fresh.len();
            work.counts.filtered += ignored;
            work.counts.already_there += fresh.len().saturating_sub(missing + ignored);
        }
        visited.seen = match before {
            Some(mut before) => {
                before.seen.extend(fresh.iter());
                visited.spare = before.spare;
                visited.has_older = before.has_older;
                before.seen
            }
            None => fresh,
        };
        self.back(&folder, &visited, &back)?;
        self.follow_flags(index, &folder, &visited, known_era.is_some() && visit.flags_told, flags, &here)?;
        let orphans = round == 0 && self.orphans(&record, &visited)?;
        if round == 0 && (record.mark.is_none_or(|mark| mark.uid_validity != uid_validity) || !supplanted.is_empty()) {
            visited.has_older = self.job.store.archive.eras(record.id)?.len() > 1;
            if orphans || record.octets > 0 || visited.has_older {
                let (spare, keys) = Spare::of(&self.job.store.archive, record.id, era)?;
                visited.spare = spare;
                if !visited.spare.is_empty() && !visited.missing.is_empty() {
                    self.recognise(index, &folder, &mut visited, keys)?;
                }
            }
        }
        let messages = visited.missing.len();
        if messages > 0 {
            self.job.report.event(Event::Planned { folder: folder.to_string(), messages, bytes: 0 });
        }
        if let Some(work) = self.works.get_mut(index) {
            work.visit = Some(visited);
        }
        Ok(())
    }

    /// Takes files into the journal that a run laid here and died before it recorded them; whether there were any.
    fn orphans(&mut self, record: &ArchiveFolder, visited: &Visited) -> Result<bool> {
        let (store, account) = (&mut *self.job.store, &self.job.account);
        if !self.died && !store.vault.is_unrecorded(&account.name, &record.folder) {
            return Ok(false);
        }
        let gone = |uid_validity, uid| uid_validity != visited.uid_validity || !visited.there.contains(uid);
        orphans::take_in(store, account, record, self.job.context, &gone)
    }

    /// Messages whose UID belonged to another one before, which a server must never do and which shows in what it lists of them:
    /// the ones kept give up their UIDs, so that these are read. Messages that were gone and are back are looked at always,
    /// those that are `here` only where the folder is `doubted`, and then down to their headers.
    fn supplanted(
        &mut self,
        folder: &Folder,
        (uid_validity, era): (u32, EraId),
        here: &UidSet,
        back: &UidSet,
        doubted: bool,
    ) -> Result<UidSet> {
        let mut suspects = back.clone();
        if doubted {
            suspects.extend(here.iter());
        }
        let mut found = UidSet::new();
        for set in suspects.split_by_count(u32::try_from(CHUNK).unwrap_or(u32::MAX)) {
            let mut now: HashMap<u32, Looks> = HashMap::new();
            self.line.ask_in(folder, uid_validity, |origin| {
                now.clear();
                origin.arrivals(&set, &mut |arrival| {
                    now.insert(arrival.uid, (arrival.size, arrival.internal_date.map(|date| date.seconds), None));
                    Ok(())
                })?;
                let listed: UidSet = now.keys().copied().filter(|_| doubted).collect();
                if listed.is_empty() {
                    return Ok(());
                }
                origin.headers(&listed, &mut |uid, header| {
                    if let (Ok(header), Some(now)) = (header, now.get_mut(&uid)) {
                        now.2 = Some(header_digest(&header));
                    }
                    Ok(())
                })
            })?;
            let at = self.job.context.unix_time();
            let mut changes = Vec::new();
            self.job.store.archive.entries(era, Some(&set), &mut |held| {
                let Some(uid) = held.entry.uid else { return Ok(()) };
                let Some((size, seconds, header)) = now.get(&uid) else { return Ok(()) };
                let differs = |one: Option<u64>, other: Option<u64>| one.zip(other).is_some_and(|(one, other)| one != other);
                let other_size = differs(*size, held.entry.listed_size) && *size != Some(held.file.length);
                let then = held.file.internal_date.map(|date| date.seconds);
                let other_date = seconds.zip(then).is_some_and(|(now, then)| now != then);
                if other_size || other_date || header.is_some_and(|header| header != held.file.header) {
                    found.insert(uid);
                    changes.push(ArchiveChange::Supplanted { entry: held.entry.id, at });
                }
                Ok(())
            })?;
            self.job.context.step("backup.supplanted");
            self.job.store.archive.commit(&changes)?;
        }
        if !found.is_empty() {
            let text = format!(
                "the folder {folder}: the server gave the UIDs of {} to others; they are kept as gone, and the others are read",
                crate::report::counted(found.len(), "message")
            );
            self.job.report.event(Event::Note(text));
        }
        Ok(found)
    }

    /// The folder in the archive, made at first sight with its directory.
    fn record(&mut self, index: usize, folder: &Folder) -> Result<ArchiveFolder> {
        if let Some(record) = self.works.get(index).and_then(|work| work.record.clone()) {
            return Ok(record);
        }
        self.job.store.vault.make_folder(&self.job.account.name, folder)?;
        let record = self.job.store.archive.folder(self.job.account.id, folder)?;
        self.job.context.step("backup.folder");
        if let Some(work) = self.works.get_mut(index) {
            work.record = Some(record.clone());
        }
        Ok(record)
    }

    /// How far the last visit got: the UIDs that were there are those kept and those put aside.
    fn since(&self, record: &ArchiveFolder, mark: Mark, era: EraId) -> Result<Since> {
        let mut known = self.job.store.archive.uids(era, false)?;
        let prefix = crate::message::Key::uid_prefix(mark.uid_validity);
        let aside = self.aside.get(&record.id).into_iter().flatten();
        known.extend(aside.filter(|aside| aside.key.starts_with(&prefix)).filter_map(|aside| aside.uid));
        Ok(Since { uid_validity: mark.uid_validity, uid_next: mark.uid_next, highest_mod_seq: mark.highest_mod_seq, known })
    }

    /// Asks what is there; the flags told of are `None` when they were too many to keep.
    fn look(&mut self, folder: &Folder, since: Option<&Since>) -> Result<(Visit, Option<Vec<Flagged>>)> {
        let mut ask = |since: Option<&Since>| {
            self.line.ask(|origin| {
                let (mut flags, mut octets) = (Some(Vec::new()), 0);
                let visit = origin.visit(folder, since, &mut |flagged| {
                    octets += weight(&flagged);
                    match &mut flags {
                        Some(kept) if kept.len() < FLAGS_KEPT && octets <= FLAGS_OCTETS => kept.push(flagged),
                        many => *many = None,
                    }
                    Ok(())
                })?;
                Ok((visit, flags))
            })
        };
        let (visit, flags) = ask(since)?;
        if since.is_some() && visit.figures.messages.is_some_and(|messages| messages != visit.there.len()) {
            // What was there before and what changed do not add up to what is there now.
            return ask(None);
        }
        Ok((visit, flags))
    }

    /// Looks at the messages put aside: those to be tried again, those a person said to leave (which are returned and not missing
    /// any more), those that are gone.
    fn sort_put_aside(&self, visited: &mut Visited) -> UidSet {
        let (mut ignored, mut tried) = (Vec::new(), Vec::new());
        for aside in self.aside.get(&visited.folder).into_iter().flatten() {
            let uid = aside.uid.filter(|uid| aside.key == key_of(visited.uid_validity, *uid) && visited.there.contains(*uid));
            match uid {
                Some(uid) if !visited.missing.contains(uid) => visited.stale.push(key_of(visited.uid_validity, uid)),
                Some(uid) if aside.ignored => ignored.push(uid),
                Some(uid) => tried.push(uid),
                None => visited.stale.push(aside.key.clone()),
            }
        }
        visited.tried = tried.into_iter().collect();
        let ignored: UidSet = ignored.into_iter().collect();
        visited.missing = visited.missing.difference(&ignored);
        ignored
    }

    /// Messages that were taken for gone and are there.
    fn back(&mut self, folder: &Folder, visited: &Visited, back: &UidSet) -> Result<()> {
        for set in back.split_by_count(u32::try_from(CHUNK).unwrap_or(u32::MAX)) {
            let mut now = Vec::new();
            self.line.ask_in(folder, visited.uid_validity, |origin| {
                now.clear();
                origin.arrivals(&set, &mut |arrival| {
                    now.push(Flagged { uid: arrival.uid, flags: arrival.flags, labels: arrival.labels });
                    Ok(())
                })
            })?;
            let mut changes = Vec::new();
            self.job.store.archive.entries(visited.era, Some(&set), &mut |held| {
                if held.entry.gone_at.is_some() {
                    changes.push(ArchiveChange::Back { entry: held.entry.id });
                }
                Ok(())
            })?;
            self.job.store.archive.commit(&changes)?;
            self.job.context.step("backup.back");
            self.compare(folder, visited.era, now)?;
        }
        Ok(())
    }

    /// Brings the flags of messages that were there already up to date.
    fn follow_flags(
        &mut self,
        index: usize,
        folder: &Folder,
        visited: &Visited,
        told: bool,
        flags: Option<Vec<Flagged>>,
        here: &UidSet,
    ) -> Result<()> {
        let mut changed = 0;
        match flags.filter(|_| told) {
            Some(mut flags) => {
                while !flags.is_empty() {
                    let rest = flags.split_off(CHUNK.min(flags.len()));
                    changed += self.compare(folder, visited.era, flags)?;
                    flags = rest;
                }
            }
            // Nothing here whose flags could have changed.
            None if both(here, &visited.there).is_empty() => {}
            None => changed = self.all_flags(folder, visited, &both(here, &visited.there))?,
        }
        if let Some(work) = self.works.get_mut(index) {
            work.counts.flags_changed += changed;
        }
        Ok(())
    }

    /// Compares the flags of all messages as they come in.
    fn all_flags(&mut self, folder: &Folder, visited: &Visited, of: &UidSet) -> Result<u64> {
        let mut changed = 0;
        let mut chunk = Vec::new();
        let Self { job, line, is_gmail, problems, .. } = self;
        line.ask_in(folder, visited.uid_validity, |origin| {
            chunk.clear();
            let mut take = |chunk: &mut Vec<Flagged>| {
                changed += compare(job, *is_gmail, problems, folder, visited.era, std::mem::take(chunk))?;
                Ok(())
            };
            origin.flags(of, &mut |flagged| {
                chunk.push(flagged);
                if chunk.len() >= CHUNK { take(&mut chunk) } else { Ok(()) }
            })?;
            take(&mut chunk)
        })?;
        Ok(changed)
    }

    fn compare(&mut self, folder: &Folder, era: EraId, now: Vec<Flagged>) -> Result<u64> {
        compare(&mut self.job, self.is_gmail, &mut self.problems, folder, era, now)
    }
}

/// What a server tells of a message: size, date in seconds since 1970 UTC, header digest.
type Looks = (Option<u64>, Option<i64>, Option<Digest>);

/// Octets that it takes, roughly.
fn weight(flagged: &Flagged) -> usize {
    let words = flagged.flags.iter().map(|flag| flag.wire().len()).chain(flagged.labels.iter().map(String::len));
    size_of::<Flagged>() + words.map(|octets| octets + size_of::<String>()).sum::<usize>()
}

/// A message whose flags or labels changed.
struct Changed {
    entry: EntryId,
    stem: String,
    flags: Vec<Flag>,
    labels: Vec<String>,
}

/// Compares flags with the archive's, gives files the ones that changed and records that. Returns how many did.
fn compare(
    job: &mut super::super::Backup<'_>,
    is_gmail: bool,
    problems: &mut Vec<crate::report::Problem>,
    folder: &Folder,
    era: EraId,
    mut now: Vec<Flagged>,
) -> Result<u64> {
    if now.is_empty() {
        return Ok(0);
    }
    // Told of twice: the last one holds.
    now.reverse();
    now.sort_by_key(|flagged| flagged.uid);
    now.dedup_by_key(|flagged| flagged.uid);
    let uids: UidSet = now.iter().map(|flagged| flagged.uid).collect();
    let mut changed = Vec::new();
    job.store.archive.entries(era, Some(&uids), &mut |held| {
        let Some(uid) = held.entry.uid.filter(|_| held.entry.gone_at.is_none()) else { return Ok(()) };
        let Ok(place) = now.binary_search_by_key(&uid, |flagged| flagged.uid) else { return Ok(()) };
        let Some(flagged) = now.get_mut(place) else { return Ok(()) };
        let (flags, labels) = (tidy(std::mem::take(&mut flagged.flags)), std::mem::take(&mut flagged.labels));
        let labels = if is_gmail { labels } else { held.entry.labels.clone() };
        if flags != tidy(held.entry.flags) || labels != held.entry.labels {
            changed.push(Changed { entry: held.entry.id, stem: held.file.stem, flags, labels });
        }
        Ok(())
    })?;
    let mut count = 0;
    while !changed.is_empty() {
        let rest = changed.split_off(BATCH.min(changed.len()));
        count += changed.len() as u64;
        let files: Vec<(String, Vec<Flag>)> = changed.iter().map(|one| (one.stem.clone(), one.flags.clone())).collect();
        job.context.step("backup.reflag");
        for stem in job.store.vault.reflag(&job.account.name, folder, &files)? {
            let reason =
                format!("the file {stem} of a message kept before is not in the store any more; mailhaul verify --repair fetches it again");
            let problem = crate::report::Problem { folder: folder.to_string(), uid: None, reason };
            job.report.event(Event::Problem(problem.clone()));
            problems.push(problem);
        }
        job.context.step("backup.commit");
        let changes: Vec<ArchiveChange> =
            changed.into_iter().map(|one| ArchiveChange::Flags { entry: one.entry, flags: one.flags, labels: one.labels }).collect();
        job.store.archive.commit(&changes)?;
        job.context.step("backup.committed");
        changed = rest;
    }
    Ok(count)
}
