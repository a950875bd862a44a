//! Messages of a store into local files: what stands there already, by content and number, is not written again, so that a run
//! that died is made good by the next without a record of its own.

use std::collections::HashMap;

use super::super::deliver::date;
use super::Job;
use crate::account::Location;
use crate::error::{Error, Result, Scope};
use crate::imap::session::Access;
use crate::message::{Digest, Flag, InternalDate, Key, Message};
use crate::plan::{self, Pair};
use crate::report::{Counts, Event, FolderCounts, Outcome, Problem, Report};
use crate::store::{FolderInfo, Listed, Outcome as Placed, Outgoing, Sink, Source, Wait, open};
use crate::transfer::backup::Limits;
use crate::transfer::{Preview, SourceFlags};

/// Messages and octets that are written together at most.
const GROUP_MESSAGES: usize = 256;
const GROUP_OCTETS: u64 = 8 * 1024 * 1024;

/// Copies everything that is missing. The counts are true whatever ended the run, which is the second value.
pub(super) fn run(job: &Job<'_>, report: &dyn Report, limits: Limits) -> (Outcome, Option<Error>) {
    let mut outcome = Outcome::default();
    let error = all(job, report, limits, &mut outcome).err();
    report.event(Event::Finished);
    (outcome, error)
}

/// What a run would do.
pub(super) fn preview(job: &Job<'_>) -> Result<Vec<Preview>> {
    let (mut sink, there) = destination(job, Access::ReadOnly)?;
    let mut source = job.source(Limits::default())?;
    let mut previews = Vec::new();
    for pair in pairs(job, &mut source, &there)? {
        let create = !there.iter().any(|info| info.folder == pair.destination.folder);
        let mut standing =
            if !create && sink.open(&pair.destination, false)?.is_some() { contents(sink.as_mut())? } else { HashMap::new() };
        let listed = source.list(&pair.source.folder)?.messages;
        let all = listed.len() as u64;
        let to_copy: Vec<Listed> = listed.into_iter().filter(|one| !take(&mut standing, one)).collect();
        let already_there = all - to_copy.len() as u64;
        let (folder, destination) = (pair.source.folder, pair.destination.folder);
        previews.push(Preview { listed: all, already_there, to_copy, ..Preview::new(folder, destination, create) });
    }
    sink.finish()?;
    Ok(previews)
}

fn destination(job: &Job<'_>, access: Access) -> Result<(Box<dyn Sink>, Vec<FolderInfo>)> {
    let mut sink = open::sink(job.destination, access, &job.app.context, &job.app.trace)?;
    // What is not there yet holds no folders.
    let is_there = match &job.destination.location {
        Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path) => path.exists(),
        _ => true,
    };
    let there = if is_there { sink.folders()? } else { Vec::new() };
    Ok((sink, there))
}

fn pairs(job: &Job<'_>, source: &mut dyn Source, there: &[FolderInfo]) -> Result<Vec<Pair>> {
    Ok(plan::pair_folders(&source.folders()?, there, job.destination.folder.as_ref(), &HashMap::new()))
}

/// How often each content stands in the sink's open folder.
fn contents(sink: &mut dyn Sink) -> Result<HashMap<Digest, u32>> {
    let mut there: HashMap<Digest, u32> = HashMap::new();
    for listed in sink.look(1)?.messages {
        if let Some(Key::Content { digest, .. }) = listed.key {
            *there.entry(digest).or_default() += 1;
        }
    }
    Ok(there)
}

/// Whether one more of this content stands there, which counts for no other message then.
fn take(there: &mut HashMap<Digest, u32>, listed: &Listed) -> bool {
    let Some(Key::Content { digest, .. }) = &listed.key else { return false };
    there.get_mut(digest).filter(|count| **count > 0).map(|count| *count -= 1).is_some()
}

fn all(job: &Job<'_>, report: &dyn Report, limits: Limits, outcome: &mut Outcome) -> Result<()> {
    let (mut sink, there) = destination(job, Access::ReadWrite)?;
    let mut source = job.source(limits)?;
    for pair in pairs(job, &mut source, &there)? {
        job.app.context.check()?;
        let name = pair.source.folder.to_string();
        let listed = source.list(&pair.source.folder)?.messages;
        let mut folder =
            Folder { job, report, name: &name, counts: Counts::default(), outcome: &mut *outcome, waiting: Vec::new(), octets: 0 };
        folder.counts.listed = listed.len() as u64;
        let done = folder.run(sink.as_mut(), &mut source, &pair, listed);
        let counts = folder.counts;
        outcome.counts.add(&counts);
        outcome.folders.push(FolderCounts { name: name.clone(), counts });
        match done {
            Err(error) if error.scope() <= Scope::Mailbox => {
                let problem = Problem { folder: name, uid: None, reason: error.to_string() };
                report.event(Event::Problem(problem.clone()));
                outcome.problems.push(problem);
            }
            other => other?,
        }
    }
    source.finish()?;
    sink.finish()
}

/// One folder under way.
struct Folder<'a> {
    job: &'a Job<'a>,
    report: &'a dyn Report,
    name: &'a str,
    counts: Counts,
    outcome: &'a mut Outcome,
    waiting: Vec<(Listed, Message)>,
    octets: u64,
}

impl Folder<'_> {
    fn run(&mut self, sink: &mut dyn Sink, source: &mut dyn Source, pair: &Pair, listed: Vec<Listed>) -> Result<()> {
        if sink.open(&pair.destination, true)?.is_none() {
            return Err(Error::local(format!("the folder {} cannot be made", pair.destination.folder)).scoped(Scope::Mailbox));
        }
        let mut there = contents(sink)?;
        let mut tickets = Tickets::new(self.job, &there);
        let missing: Vec<Listed> = listed.into_iter().filter(|one| !take(&mut there, one)).collect();
        self.counts.already_there = self.counts.listed - missing.len() as u64;
        let bytes = missing.iter().filter_map(|listed| listed.size).fold(0, u64::saturating_add);
        self.report.event(Event::Planned { folder: self.name.to_owned(), messages: missing.len() as u64, bytes });
        let flags = self.job.flags();
        let mut handed = 0;
        let read = source.read(&missing, &mut |index, message| {
            self.job.app.context.check()?;
            let Some(listed) = missing.get(index) else { return Ok(()) };
            handed += 1;
            let mut message = match message {
                Ok(message) => message,
                Err(error) => {
                    self.counts.quarantined += 1;
                    self.problem(listed.id, error.message().to_owned());
                    return Ok(());
                }
            };
            date(&mut message)?;
            let now = InternalDate { seconds: self.job.app.context.unix_time(), offset: 0 };
            if let SourceFlags::None(seen) = flags
                && seen.is_seen(message.internal_date.unwrap_or(now), now)
            {
                message.flags.push(Flag::seen());
            }
            self.octets += message.body.len();
            self.waiting.push((listed.clone(), message));
            if self.waiting.len() >= GROUP_MESSAGES || self.octets >= GROUP_OCTETS {
                self.flush(sink, &mut tickets)?;
            }
            Ok(())
        });
        // What was read whole is kept, whatever ended the reading.
        self.flush(sink, &mut tickets)?;
        read?;
        self.counts.vanished = missing.len() as u64 - handed;
        Ok(())
    }

    fn problem(&mut self, id: u32, reason: String) {
        let problem = Problem { folder: self.name.to_owned(), uid: Some(id), reason };
        self.report.event(Event::Problem(problem.clone()));
        self.outcome.problems.push(problem);
    }

    /// Makes all that waits durable.
    fn flush(&mut self, sink: &mut dyn Sink, tickets: &mut Tickets) -> Result<()> {
        self.octets = 0;
        let mut sent: HashMap<u64, (u32, u64)> = HashMap::new();
        for (listed, message) in std::mem::take(&mut self.waiting) {
            let ticket = tickets.next(&listed);
            sent.insert(ticket, (listed.id, message.body.len()));
            sink.append(Outgoing { ticket, message })?;
        }
        if sent.is_empty() {
            return Ok(());
        }
        for placement in sink.settle(Wait::All)? {
            let Some((id, bytes)) = sent.remove(&placement.ticket) else { continue };
            match placement.outcome {
                Placed::Stored { altered, .. } => {
                    self.counts.copied += 1;
                    self.counts.bytes += bytes;
                    self.report.event(Event::Copied { folder: self.name.to_owned(), bytes });
                    if !altered.is_empty() {
                        self.counts.altered += 1;
                        self.outcome.altered.push(Problem { folder: self.name.to_owned(), uid: Some(id), reason: altered.join("; ") });
                    }
                }
                Placed::Refused(error) => {
                    self.counts.refused += 1;
                    self.problem(id, error.to_string());
                }
                Placed::Unknown { .. } | Placed::NotSent { .. } => {
                    self.counts.refused += 1;
                    self.problem(id, "it could not be written".to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Numbers that name files: those of the messages while nothing stands there, and such as nothing can be called by else.
struct Tickets {
    base: u64,
    count: u64,
}

impl Tickets {
    fn new(job: &Job<'_>, there: &HashMap<Digest, u32>) -> Self {
        let now = u64::try_from(job.app.context.unix_time()).unwrap_or(0);
        let base = if there.is_empty() { 0 } else { (now << 24) + (u64::from(std::process::id()) & 0xff_ffff) };
        Self { base, count: 0 }
    }

    fn next(&mut self, listed: &Listed) -> u64 {
        if self.base == 0 {
            return u64::from(listed.id);
        }
        self.count += 1;
        self.base + self.count
    }
}
