//! A backup of one account over IMAP: which folders there are, what changed in each, what is missing, what is gone. It decides by
//! set difference alone, asks nothing about folders that did not change, and marks a folder as seen only after everything of it
//! was dealt with.

mod choose;
mod copy;
mod finish;
mod line;
mod pool;
mod recognise;
mod renames;
mod visit;

use std::collections::{HashMap, HashSet};

use super::Backup;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::{Flag, Key};
use crate::report::{Counts, Event, FolderCounts, Outcome, Problem};
use crate::state::archive::{ArchiveFolder, ArchiveFolderId, EraId, Mark, PutAside};
use crate::store::origin::Remote;
pub(in crate::transfer::backup) use choose::once_on_gmail;
use line::Line;
use pool::Spent;
use recognise::Spare;

/// Visits of a folder in one run at most: what arrived meanwhile is fetched once more, not for ever.
const ROUNDS: usize = 2;

pub(super) fn run(backup: Backup<'_>) -> (Outcome, Option<Error>) {
    let line = Line::new(backup.server, backup.context, backup.trace, backup.report);
    let account = backup.account.id;
    let died = backup.store.archive.died(account);
    let mut run = Run {
        job: backup,
        died: died.as_ref().is_ok_and(|died| *died),
        line,
        works: Vec::new(),
        known: Vec::new(),
        left_out: HashSet::new(),
        aside: HashMap::new(),
        problems: Vec::new(),
        altered: Vec::new(),
        lost_folders: Vec::new(),
        suspicious: None,
        safety: None,
        is_gmail: false,
        spent: Spent::default(),
    };
    let began = died.and_then(|_| run.job.store.archive.begin_run(account));
    let error = began.and_then(|()| run.all()).err();
    run.job.report.event(Event::Finished);
    let error = error.or(run.safety.take());
    let outcome = run.outcome();
    let complete = error.is_none() && outcome.counts.complete() && outcome.problems.is_empty() && run.covers_all();
    let words = error.as_ref().map(ToString::to_string);
    let finished = run.job.store.archive.finish_run(account, complete, run.suspicious.as_deref(), words.as_deref()).err();
    (outcome, error.or(finished))
}

/// A folder of the server and how far it is.
struct Work {
    remote: Remote,
    /// What the archive knew of it when the run began.
    record: Option<ArchiveFolder>,
    /// As it was opened; `None` for one that did not change.
    visit: Option<Visited>,
    counts: Counts,
    failed: bool,
}

impl Work {
    fn name(&self) -> String {
        self.remote.info.folder.to_string()
    }
}

/// A folder as its visit found it.
struct Visited {
    folder: ArchiveFolderId,
    era: EraId,
    uid_validity: u32,
    /// Where it stood before its listing began.
    mark: Mark,
    /// All UIDs that were listed in this run.
    seen: UidSet,
    /// Those listed last.
    there: UidSet,
    /// Those to be read.
    missing: UidSet,
    /// Those of the archive that are not listed any more.
    gone: UidSet,
    /// Those that earlier runs put aside and that are tried again.
    tried: UidSet,
    /// Keys in quarantine that mean nothing any more.
    stale: Vec<String>,
    /// Files of the folder that no message of this generation has yet.
    spare: Spare,
    /// Whether the folder has earlier generations with messages.
    has_older: bool,
}

struct Run<'a> {
    job: Backup<'a>,
    /// Whether the run before this one did not come to its end.
    died: bool,
    line: Line<'a>,
    works: Vec<Work>,
    /// The account's folders in the archive.
    known: Vec<ArchiveFolder>,
    /// Folders that the server lists and the user did not mean: nothing is asked about them, and they are not gone.
    left_out: HashSet<Folder>,
    aside: HashMap<ArchiveFolderId, Vec<PutAside>>,
    problems: Vec<Problem>,
    altered: Vec<Problem>,
    /// Folders that are not on the server any more, with the messages kept of them.
    lost_folders: Vec<FolderCounts>,
    suspicious: Option<String>,
    /// A safety stop that ended part of the run.
    safety: Option<Error>,
    is_gmail: bool,
    spent: Spent,
}

impl Run<'_> {
    fn all(&mut self) -> Result<()> {
        self.leftovers()?;
        self.line.connect()?;
        self.choose()?;
        self.renames()?;
        self.lost_folders()?;
        for aside in self.job.store.archive.put_aside(self.job.account.id)? {
            self.aside.entry(aside.folder).or_default().push(aside);
        }
        let mut todo: Vec<usize> = (0..self.works.len()).filter(|&index| !self.is_unchanged(index)).collect();
        let mut stopped = None;
        for round in 0..ROUNDS {
            if todo.is_empty() {
                break;
            }
            if let Err(error) = self.round(&todo, round) {
                if error.kind() != Kind::Limit {
                    return Err(error);
                }
                stopped = Some(error);
            }
            todo = self.finish(&todo, stopped.is_some() || round + 1 == ROUNDS)?;
            if stopped.is_some() {
                break;
            }
        }
        let pruned = self.mirror(stopped.is_some());
        self.manifest()?;
        if let Some(mut origin) = self.line.origin.take()
            && let Err(error) = origin.finish()
        {
            // Everything is settled: a farewell that fails takes nothing back.
            self.job.report.event(Event::Note(error.to_string()));
        }
        match stopped {
            Some(error) => Err(error),
            None => pruned,
        }
    }

    /// Visits folders and reads what they lack.
    fn round(&mut self, todo: &[usize], round: usize) -> Result<()> {
        for &index in todo {
            self.check_limits()?;
            self.of_folder(index, |run| run.visit(index, round))?;
        }
        self.copy(todo)
    }

    /// Runs a part that is about one folder; what ruins only this folder is kept for the summary.
    fn of_folder<T>(&mut self, index: usize, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match act(self) {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.folder_failed(index, error).map(|()| None),
        }
    }

    /// Notes that a folder could not be dealt with, unless the error ruins more than that.
    fn folder_failed(&mut self, index: usize, error: Error) -> Result<()> {
        if error.scope() > Scope::Mailbox {
            return Err(error);
        }
        let Some(work) = self.works.get_mut(index) else { return Err(error) };
        if work.failed {
            return Ok(());
        }
        work.failed = true;
        let name = work.name();
        self.problem(name, None, error.to_string());
        if error.kind() == Kind::Safety && self.safety.is_none() {
            self.safety = Some(error);
        }
        Ok(())
    }

    fn problem(&mut self, folder: String, uid: Option<u32>, reason: String) {
        let problem = Problem { folder, uid, reason };
        self.job.report.event(Event::Problem(problem.clone()));
        self.problems.push(problem);
    }

    fn check_limits(&self) -> Result<()> {
        self.job.context.check()?;
        if self.job.options.limits.until.is_some_and(|until| self.job.context.now() >= until) {
            return Err(Error::new(Kind::Limit, "the limit of time was reached; what was read until then is in the store")
                .hint("run the same command again to go on"));
        }
        Ok(())
    }

    /// Whether nothing has to be asked about a folder, because it stands where the last complete visit left it.
    fn is_unchanged(&mut self, index: usize) -> bool {
        let Some(work) = self.works.get_mut(index) else { return true };
        let (Some(record), Ok(figures)) = (&work.record, &work.remote.figures) else { return false };
        let now = Mark {
            uid_validity: figures.uid_validity.unwrap_or_default(),
            uid_next: figures.uid_next,
            highest_mod_seq: figures.highest_mod_seq,
            messages: figures.messages,
        };
        let (Some(mark), Some(messages)) = (record.mark, figures.messages) else { return false };
        let told = now.uid_validity > 0 && now.uid_next.is_some() && now.highest_mod_seq.is_some();
        if !told || mark != now || record.gone_at.is_some() || record.renaming_to.is_some() || !visit::same_facts(record, &work.remote) {
            return false;
        }
        let aside = self.aside.get(&record.id).map_or(&[][..], Vec::as_slice);
        if aside.iter().any(|aside| !aside.ignored) {
            return false;
        }
        // What the journal lacks although it was taken for complete would never be missed again.
        if record.messages + aside.len() as u64 != messages {
            return false;
        }
        let ignored = (aside.len() as u64).min(messages);
        work.counts = Counts { listed: messages, filtered: ignored, already_there: messages - ignored, ..Counts::default() };
        true
    }

    /// Whether the run covered every folder that the archive has of the account and that is still on the server.
    fn covers_all(&self) -> bool {
        match &self.job.only {
            None => true,
            Some(only) => self.known.iter().all(|record| record.gone_at.is_some() || record.folder == *only),
        }
    }

    fn outcome(&mut self) -> Outcome {
        let mut folders: Vec<FolderCounts> =
            self.works.iter().map(|work| FolderCounts { name: work.name(), counts: work.counts }).collect();
        folders.append(&mut self.lost_folders);
        let mut counts = Counts::default();
        for folder in &folders {
            counts.add(&folder.counts);
        }
        Outcome { counts, folders, problems: std::mem::take(&mut self.problems), altered: std::mem::take(&mut self.altered) }
    }
}

/// The key under which a message is put aside.
fn key_of(uid_validity: u32, uid: u32) -> String {
    Key::Uid { generation: uid_validity, uid }.to_string()
}

/// Flags as the archive keeps them: without `\Recent`, sorted, each once.
fn tidy(flags: Vec<Flag>) -> Vec<Flag> {
    let mut flags: Vec<Flag> = flags.into_iter().filter(|flag| !flag.is_recent()).collect();
    flags.sort_by_cached_key(|flag| flag.wire().to_ascii_lowercase());
    flags.dedup();
    flags
}

/// What is in both.
fn both(one: &UidSet, other: &UidSet) -> UidSet {
    one.difference(&one.difference(other))
}
