//! Reading what is missing and writing it down: the sessions read side by side, one thread writes files and journal, so that
//! network and disk are busy together.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::pool::{Job, News, Pool, Target};
use super::recognise::entry;
use super::{Run, Work, key_of, tidy};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::Message;
use crate::report::{Event, Problem};
use crate::state::archive::ArchiveChange;
use crate::store::origin::Arrival;
use crate::transfer::backup::Backup;
use crate::transfer::backup::batch::{Batch, Kept};

/// Messages that make another session worth its login.
const WORTH_A_SESSION: u64 = 64;
/// Messages asked for in one go: enough for the window never to drain, and so few that all sessions have some.
const JOB_LEAST: u64 = 64;
const JOB_MOST: u64 = 2500;
const JOBS_A_SESSION: u64 = 4;
/// Octets and messages of other folders that wait for the open batch to fill.
const STASH_OCTETS: usize = 3 * 1024 * 1024;
const STASH_MESSAGES: usize = 1000;
/// How long they wait for more of the open one.
const LINGER: Duration = Duration::from_millis(5);
/// How often the age of a batch is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Messages put aside that share a transaction.
const ASIDE: usize = 256;
/// Messages of one folder at most that are put aside and named in one run.
pub(super) const MOST_NAMED: u64 = 1000;

impl Run<'_> {
    /// Reads what is missing of these folders.
    pub(super) fn copy(&mut self, todo: &[usize]) -> Result<()> {
        let (mut targets, mut amounts) = (HashMap::new(), Vec::new());
        for &index in todo {
            let Some(work) = self.works.get(index).filter(|work| !work.failed) else { continue };
            let Some(visited) = work.visit.as_ref().filter(|visited| !visited.missing.is_empty()) else { continue };
            let (folder, uid_validity, tried) = (work.remote.info.folder.clone(), visited.uid_validity, visited.tried.clone());
            targets.insert(index, Target { folder, uid_validity, tried });
            amounts.push((index, visited.missing.len()));
        }
        let total: u64 = amounts.iter().map(|(_, messages)| messages).sum();
        if total == 0 {
            return Ok(());
        }
        let most = u64::from(self.job.options.connections.clamp(1, 8));
        let sessions = most.min(1 + total / WORTH_A_SESSION);
        let mut jobs = Vec::new();
        for (index, messages) in amounts {
            let share = messages.div_ceil(sessions * JOBS_A_SESSION).clamp(JOB_LEAST, JOB_MOST);
            let missing = self.works.get(index).and_then(|work| work.visit.as_ref()).map(|visited| &visited.missing);
            let sets = missing.map(|missing| missing.split_by_count(u32::try_from(share).unwrap_or(1)));
            jobs.extend(sets.into_iter().flatten().map(|uids| Job { work: index, uids }));
        }
        let sessions = usize::try_from(sessions).unwrap_or(1).min(jobs.len());
        let names: Vec<Folder> = self.works.iter().map(|work| work.remote.info.folder.clone()).collect();
        let around = (self.job.context, self.job.report, self.job.server, self.job.trace);
        let pool = Pool::new(around, self.line.names.clone(), self.job.options.limits, std::mem::take(&mut self.spent), targets, jobs);
        let mut failures = Vec::new();
        let account = self.job.account.name.clone();
        let first = self.line.origin.take();
        self.line.open = None;
        let (back, outcome) = pool.run(first, sessions, |inbox| {
            let mut writer = Writer {
                job: &mut self.job,
                works: &mut self.works,
                problems: &mut self.problems,
                altered: &mut self.altered,
                failures: &mut failures,
                pool: &pool,
                names: &names,
                account: &account,
                open: None,
                stash: Vec::new(),
                stash_octets: 0,
                aside: Vec::new(),
                total,
                done: 0,
                octets: 0,
            };
            writer.all(inbox)
        });
        self.line.origin = back;
        self.spent = pool.into_spent();
        for (index, error) in failures {
            self.folder_failed(index, error)?;
        }
        outcome
    }
}

/// The thread that writes.
struct Writer<'w, 'a> {
    job: &'w mut Backup<'a>,
    works: &'w mut [Work],
    problems: &'w mut Vec<Problem>,
    altered: &'w mut Vec<Problem>,
    failures: &'w mut Vec<(usize, Error)>,
    pool: &'w Pool<'w>,
    names: &'w [Folder],
    account: &'w str,
    /// The batch that is being made, of one folder.
    open: Option<(usize, Batch<'w>)>,
    /// Messages of other folders.
    stash: Vec<(usize, Box<Arrival>, Message, usize)>,
    stash_octets: usize,
    aside: Vec<ArchiveChange>,
    total: u64,
    done: u64,
    octets: u64,
}

impl Writer<'_, '_> {
    fn all(&mut self, inbox: &Receiver<News>) -> Result<()> {
        let mut fatal = None;
        loop {
            match inbox.recv_timeout(if self.stash.is_empty() { TICK } else { LINGER }) {
                Ok(news) => {
                    if let Some(error) = self.take(news)? {
                        fatal.get_or_insert(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.unstash()?;
                    self.end()?;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.turn()?;
        }
        // What was read before something ended the reading is kept all the same.
        self.unstash()?;
        self.settle()?;
        self.put_aside()?;
        fatal.map_or(Ok(()), Err)
    }

    fn take(&mut self, news: News) -> Result<Option<Error>> {
        match news {
            News::Read { work, arrival, message, octets } => {
                let is_open = self.open.as_ref().map(|(open, _)| *open == work);
                if is_open.unwrap_or(self.stash.is_empty()) {
                    self.lay(work, &arrival, message, octets)?;
                } else {
                    self.stash_octets += octets;
                    self.stash.push((work, arrival, message, octets));
                    if self.stash_octets > STASH_OCTETS || self.stash.len() > STASH_MESSAGES {
                        self.unstash()?;
                    }
                }
            }
            News::Poor { work, uid, error } => self.poor(work, uid, &error)?,
            News::Expected { work, octets } => {
                let folder = self.name(work);
                self.job.report.event(Event::Planned { folder, messages: 0, bytes: octets });
            }
            News::Vanished { work, messages } => {
                if let Some(work) = self.works.get_mut(work) {
                    work.counts.vanished += messages;
                }
            }
            News::Failed { work, error } => self.failures.push((work, error)),
            News::Fatal(error) => return Ok(Some(error)),
        }
        Ok(None)
    }

    fn name(&self, work: usize) -> String {
        self.names.get(work).map(ToString::to_string).unwrap_or_default()
    }

    /// Writes the messages that waited for another folder's batch, one folder after the other.
    fn unstash(&mut self) -> Result<()> {
        let mut stash = std::mem::take(&mut self.stash);
        self.stash_octets = 0;
        stash.sort_by_key(|(work, ..)| *work);
        for (work, arrival, message, octets) in stash {
            self.lay(work, &arrival, message, octets)?;
        }
        Ok(())
    }

    fn lay(&mut self, index: usize, arrival: &Arrival, mut message: Message, octets: usize) -> Result<()> {
        let Some(work) = self.works.get_mut(index) else { return Ok(()) };
        let (Some(visited), Some(name)) = (&mut work.visit, self.names.get(index)) else { return Ok(()) };
        message.internal_date = message.internal_date.or(arrival.internal_date);
        message.flags = tidy(std::mem::take(&mut message.flags));
        let released = visited.tried.contains(arrival.uid).then(|| key_of(visited.uid_validity, arrival.uid));
        let entry = entry(self.job, visited.era, arrival.uid, message.flags.clone(), arrival.labels.clone(), arrival.size);
        let folder = visited.folder;
        let release = released.map(|key| ArchiveChange::Released { folder, key });
        let own = (visited.uid_validity, arrival.uid);
        while let Some((file, stem)) = visited.spare.claim(&self.job.store.archive, message.digests.content, own, &visited.there)? {
            // A file that somebody removed stands for no message.
            if !self.job.store.vault.reflag(self.account, name, &[(stem, message.flags.clone())])?.is_empty() {
                continue;
            }
            let changes: Vec<ArchiveChange> = [ArchiveChange::Recognised { entry, file }].into_iter().chain(release).collect();
            self.job.store.archive.commit(&changes)?;
            self.job.context.step("backup.recognised");
            work.counts.already_there += 1;
            self.pool.budget.give(octets);
            self.job.report.event(Event::Copied { folder: name.to_string(), bytes: message.body.len() });
            self.done += 1;
            return Ok(());
        }
        let uid_validity = visited.uid_validity;
        if self.open.as_ref().is_some_and(|(open, _)| *open != index) {
            self.settle()?;
        }
        let (context, report, account) = (self.job.context, self.job.report, self.account);
        let (_, batch) = self.open.get_or_insert_with(|| (index, Batch::new(context, report, account, (folder, name), uid_validity)));
        batch.take(self.job.store, u64::from(arrival.uid), entry, &message, arrival.object_id.clone())?;
        if let Some(change) = release {
            batch.change(change);
        }
        drop(message);
        self.pool.budget.give(octets);
        self.turn()
    }

    /// Lets the open batch become durable while more is taken, once it is large or old enough.
    fn turn(&mut self) -> Result<()> {
        let Some((index, batch)) = &mut self.open else { return Ok(()) };
        let (index, store) = (*index, &mut *self.job.store);
        let kept = if batch.is_due(store) {
            batch.begin(store)?
        } else if batch.is_ready(store) {
            batch.end(store)?
        } else {
            return Ok(());
        };
        self.count(index, kept);
        Ok(())
    }

    /// Ends what was begun.
    fn end(&mut self) -> Result<()> {
        let Some((index, batch)) = &mut self.open else { return Ok(()) };
        let (index, kept) = (*index, batch.end(self.job.store)?);
        self.count(index, kept);
        Ok(())
    }

    /// Makes the open batch durable and counts its messages.
    fn settle(&mut self) -> Result<()> {
        let Some((index, mut batch)) = self.open.take() else { return Ok(()) };
        let kept = batch.settle(self.job.store)?;
        self.count(index, kept);
        Ok(())
    }

    fn count(&mut self, index: usize, kept: Vec<Kept>) {
        if kept.is_empty() {
            return;
        }
        let folder = self.name(index);
        let Some(work) = self.works.get_mut(index) else { return };
        for one in kept {
            work.counts.copied += 1;
            work.counts.bytes += one.length;
            self.done += 1;
            self.octets += one.length;
            if !one.altered.is_empty() {
                work.counts.altered += 1;
                let uid = u32::try_from(one.ticket).ok();
                self.altered.push(Problem { folder: folder.clone(), uid, reason: one.altered.join("; ") });
            }
        }
        self.job.store.archive.progress(&serde_json::json!({
            "account": self.account,
            "folder": folder,
            "messages_done": self.done,
            "messages_total": self.total,
            "bytes_done": self.octets,
        }));
    }

    /// Puts a message aside that cannot be had.
    fn poor(&mut self, index: usize, uid: u32, error: &Error) -> Result<()> {
        let folder = self.name(index);
        let Some(work) = self.works.get_mut(index) else { return Ok(()) };
        let Some(visited) = &mut work.visit else { return Ok(()) };
        work.counts.quarantined += 1;
        if work.counts.quarantined > MOST_NAMED {
            if work.counts.quarantined == MOST_NAMED + 1 {
                let reason = format!("more than {MOST_NAMED} of its messages cannot be read; the others are not named, and tried again");
                self.problem(folder, None, reason);
            }
            return Ok(());
        }
        let key = key_of(visited.uid_validity, uid);
        let reason = error.to_string();
        let at = self.job.context.unix_time();
        self.aside.push(ArchiveChange::Quarantine { folder: visited.folder, uid: Some(uid), key, reason: reason.clone(), at });
        self.problem(folder, Some(uid), reason);
        if self.aside.len() >= ASIDE { self.put_aside() } else { Ok(()) }
    }

    fn problem(&mut self, folder: String, uid: Option<u32>, reason: String) {
        let problem = Problem { folder, uid, reason };
        self.job.report.event(Event::Problem(problem.clone()));
        self.problems.push(problem);
    }

    fn put_aside(&mut self) -> Result<()> {
        if self.aside.is_empty() {
            return Ok(());
        }
        self.job.store.archive.commit(&std::mem::take(&mut self.aside))?;
        self.job.context.step("backup.quarantined");
        Ok(())
    }
}
