//! Several sessions that read messages of one account side by side: what is to be read waits in one queue, whatever was read
//! goes to the one thread that writes. A session that is lost gives its work back; a message that costs one session after the
//! other is put aside. It never sees the store.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::super::budget::Budget;
use super::super::Limits;
use super::line::{MAX_LOSSES, is_loss, pause_after, uid_validity_changed};
use crate::account::Server;
use crate::context::{Context, Moment};
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::Message;
use crate::net::Trace;
use crate::report::{Event, Report};
use crate::store::origin::{Arrival, Names, Origin};

/// A message at which so many sessions were lost is put aside; one that was put aside before gets one try.
const MAX_LOSSES_OF_ONE: u32 = 3;
/// How long a session without work waits before it looks for signals.
const WAIT: Duration = Duration::from_millis(100);

/// A folder to read from.
pub(super) struct Target {
    pub(super) folder: Folder,
    pub(super) uid_validity: u32,
    /// UIDs that earlier runs put aside.
    pub(super) tried: UidSet,
}

/// Messages of one folder to read in one go.
pub(super) struct Job {
    pub(super) work: usize,
    pub(super) uids: UidSet,
}

/// What the reading sessions tell.
pub(super) enum News {
    /// A message, whole; so many octets of the budget are to be given back.
    Read { work: usize, arrival: Box<Arrival>, message: Message, octets: usize },
    /// A message that cannot be had.
    Poor { work: usize, uid: u32, error: Error },
    /// So many octets are about to be read.
    Expected { work: usize, octets: u64 },
    /// Messages that were listed and are gone.
    Vanished { work: usize, messages: u64 },
    /// A folder that cannot be read.
    Failed { work: usize, error: Error },
    /// What must end the run.
    Fatal(Error),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Messages at which a session was lost: one at a time, so that they do not stall the others.
    alone: VecDeque<Job>,
    alone_at_work: bool,
    at_work: usize,
    /// Sessions that are open.
    sessions: usize,
    /// Losses in a row without a message getting through.
    losses: u32,
    losses_at: HashMap<(usize, u32), u32>,
    closed: bool,
}

/// What was read in this run, against the limits the user set.
#[derive(Default)]
pub(super) struct Spent {
    pub(super) messages: u64,
    pub(super) octets: u64,
    pace: Option<Moment>,
}

/// The sessions and their queue.
pub(super) struct Pool<'a> {
    pub(super) context: &'a Context,
    pub(super) report: &'a dyn Report,
    pub(super) server: &'a Server,
    pub(super) trace: &'a Trace,
    pub(super) names: Names,
    pub(super) limits: Limits,
    pub(super) targets: HashMap<usize, Target>,
    pub(super) budget: Budget,
    queue: Mutex<Queue>,
    changed: Condvar,
    spent: Mutex<Spent>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Pool<'a> {
    pub(super) fn new(
        (context, report, server, trace): (&'a Context, &'a dyn Report, &'a Server, &'a Trace),
        names: Names,
        limits: Limits,
        spent: Spent,
        targets: HashMap<usize, Target>,
        jobs: Vec<Job>,
    ) -> Self {
        let mut queue = Queue::default();
        for job in jobs {
            // What was put aside before may cost the session again: it goes last, and alone.
            let tried = targets.get(&job.work).map(|target| job.uids.difference(&job.uids.difference(&target.tried))).unwrap_or_default();
            let flowing = job.uids.difference(&tried);
            if !flowing.is_empty() {
                queue.jobs.push_back(Job { work: job.work, uids: flowing });
            }
            queue.alone.extend(tried.iter().map(|uid| Job { work: job.work, uids: UidSet::range(uid, uid) }));
        }
        Self {
            context,
            report,
            server,
            trace,
            names,
            limits,
            targets,
            budget: Budget::flowing(),
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            spent: Mutex::new(spent),
        }
    }

    /// What was read so far.
    pub(super) fn into_spent(self) -> Spent {
        self.spent.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads everything over `sessions` sessions, the first of which may be open already and is given back; `write` gets the news
    /// until there is no more, or it returns an error.
    pub(super) fn run<T>(
        &self,
        first: Option<Origin>,
        sessions: usize,
        write: impl FnOnce(&Receiver<News>) -> Result<T>,
    ) -> (Option<Origin>, Result<T>) {
        locked(&self.queue).sessions = usize::from(first.is_some());
        thread::scope(|scope| {
            let (news, inbox) = mpsc::channel();
            let mut workers = Vec::new();
            let mut first = first;
            for number in 0..sessions.max(1) {
                let (news, origin) = (news.clone(), first.take());
                workers.push(scope.spawn(move || Worker { pool: self, number, origin, open: None, news }.run()));
            }
            drop(news);
            let outcome = write(&inbox);
            drop(inbox);
            self.close();
            let mut origins = workers.into_iter().map(|worker| worker.join().ok().flatten());
            let back = origins.next().flatten();
            for mut other in origins.flatten() {
                // Everything it read is settled: a farewell that fails takes nothing back.
                let _ = other.finish();
            }
            (back, outcome)
        })
    }

    fn close(&self) {
        locked(&self.queue).closed = true;
        self.changed.notify_all();
        self.budget.close();
    }

    /// The next job, once there is one; `None` when all is done.
    fn take(&self) -> Result<Option<Job>> {
        let mut queue = locked(&self.queue);
        loop {
            if queue.closed {
                return Ok(None);
            }
            if let Some(job) = queue.jobs.pop_front() {
                queue.at_work += 1;
                return Ok(Some(job));
            }
            if !queue.alone_at_work
                && let Some(job) = queue.alone.pop_front()
            {
                queue.alone_at_work = true;
                queue.at_work += 1;
                return Ok(Some(job));
            }
            if queue.at_work == 0 {
                self.changed.notify_all();
                return Ok(None);
            }
            self.context.check()?;
            queue = self.changed.wait_timeout(queue, WAIT).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether another session would find something to do now.
    fn has_work(&self) -> bool {
        let queue = locked(&self.queue);
        !queue.closed && (!queue.jobs.is_empty() || queue.sessions == 0 && !queue.alone.is_empty())
    }

    fn done(&self, is_alone: bool) {
        let mut queue = locked(&self.queue);
        queue.at_work -= 1;
        if is_alone {
            queue.alone_at_work = false;
        }
        self.changed.notify_all();
    }

    /// Whether the limits let a message of so many octets through, which counts from now on.
    fn permit(&self, octets: u64) -> Result<()> {
        let limit = |what: &str| {
            Err(Error::new(Kind::Limit, format!("the limit of {what} was reached; what was read until then is in the store"))
                .hint("run the same command again to go on"))
        };
        let mut spent = locked(&self.spent);
        if self.limits.until.is_some_and(|until| self.context.now() >= until) {
            return limit("time");
        }
        if self.limits.messages.is_some_and(|most| spent.messages >= most) {
            return limit("messages");
        }
        if self.limits.octets.is_some_and(|most| spent.octets > 0 && spent.octets.saturating_add(octets) > most) {
            return limit("octets");
        }
        spent.messages += 1;
        spent.octets += octets;
        Ok(())
    }

    /// Waits until so many octets fit the rate the user set.
    fn pace(&self, octets: u64) {
        let Some(rate) = self.limits.octets_a_second.filter(|rate| *rate > 0) else { return };
        let now = self.context.now();
        let wait = {
            let mut spent = locked(&self.spent);
            let from = spent.pace.unwrap_or(now).max(now);
            let until = from.after(Duration::from_millis(octets.saturating_mul(1000) / rate));
            spent.pace = Some(until);
            until.since(now)
        };
        self.context.pause(wait);
    }

    /// A message got through.
    fn progress(&self) {
        locked(&self.queue).losses = 0;
    }
}

/// One session and its thread.
struct Worker<'p> {
    pool: &'p Pool<'p>,
    number: usize,
    origin: Option<Origin>,
    /// The folder that is open, by its number.
    open: Option<usize>,
    news: Sender<News>,
}

impl Worker<'_> {
    fn run(mut self) -> Option<Origin> {
        if let Err(error) = self.work() {
            let _ = self.news.send(News::Fatal(error));
            self.pool.close();
        }
        self.origin
    }

    fn work(&mut self) -> Result<()> {
        loop {
            self.pool.context.check()?;
            if self.origin.is_none() {
                if !self.pool.has_work() && self.number > 0 {
                    return Ok(());
                }
                if !self.connect()? {
                    return Ok(());
                }
                if self.origin.is_none() {
                    continue;
                }
            }
            let Some(job) = self.pool.take()? else { return Ok(()) };
            let is_alone = job.uids.len() == 1;
            let outcome = self.serve(&job);
            self.pool.done(is_alone);
            outcome?;
        }
    }

    /// Opens a session. `false` when this one is not needed: the server takes no more, and others are at work.
    fn connect(&mut self) -> Result<bool> {
        let pool = self.pool;
        let error = match Origin::connect_knowing(pool.server, pool.names.clone(), pool.context, pool.trace) {
            Ok(origin) => {
                self.origin = Some(origin);
                self.open = None;
                locked(&pool.queue).sessions += 1;
                return Ok(true);
            }
            Err(error) => error,
        };
        let (sessions, losses) = {
            let mut queue = locked(&pool.queue);
            if queue.sessions == 0 {
                queue.losses += 1;
            }
            (queue.sessions, queue.losses)
        };
        if matches!(error.kind(), Kind::Interrupted(_)) {
            return Err(error);
        }
        if sessions > 0 {
            let text = format!("{error}; going on with {}", crate::report::counted(sessions as u64, "connection"));
            pool.report.event(Event::Note(text));
            return Ok(false);
        }
        if !is_loss(&error) || losses > MAX_LOSSES {
            return Err(error);
        }
        self.pause(&error, losses)?;
        Ok(true)
    }

    fn pause(&self, error: &Error, losses: u32) -> Result<()> {
        let pause = pause_after(losses);
        self.pool.report.event(Event::Note(format!("{error}; connecting again in {} s", pause.as_secs())));
        self.pool.context.pause(pause);
        self.pool.context.check()
    }

    /// Reads a job; what a lost session left of it goes back to the queue.
    fn serve(&mut self, job: &Job) -> Result<()> {
        let mut through = Vec::new();
        let Err(error) = self.read(job, &mut through) else { return Ok(()) };
        self.open = None;
        let error = match pool_folder(self.pool, job.work) {
            Some(folder) if error.kind() == Kind::Safety => uid_validity_changed(folder),
            _ => error,
        };
        if is_loss(&error) {
            let through: UidSet = through.into_iter().collect();
            return self.lost(job.work, &job.uids.difference(&through), error);
        }
        if error.scope() <= Scope::Mailbox {
            locked(&self.pool.queue).jobs.retain(|other| other.work != job.work);
            locked(&self.pool.queue).alone.retain(|other| other.work != job.work);
            let _ = self.news.send(News::Failed { work: job.work, error });
            return Ok(());
        }
        // Answers are still on their way: the session is of no use any more.
        self.drop_session();
        if locked(&self.pool.queue).closed {
            return Ok(());
        }
        Err(error)
    }

    fn drop_session(&mut self) {
        if self.origin.take().is_some() {
            locked(&self.pool.queue).sessions -= 1;
        }
        self.open = None;
    }

    fn lost(&mut self, work: usize, left: &UidSet, error: Error) -> Result<()> {
        let pool = self.pool;
        let stuck = self.origin.as_ref().and_then(Origin::stuck_at).filter(|uid| left.contains(*uid));
        let stuck = stuck.or_else(|| left.first().filter(|_| left.len() == 1));
        self.drop_session();
        let tried = stuck.is_some_and(|uid| pool.targets.get(&work).is_some_and(|target| target.tried.contains(uid)));
        let mut put_aside = None;
        let losses = {
            let mut queue = locked(&pool.queue);
            queue.losses += 1;
            match stuck {
                Some(uid) => {
                    let times = queue.losses_at.entry((work, uid)).or_insert(0);
                    *times += 1;
                    let times = *times;
                    let alone = UidSet::range(uid, uid);
                    let others = left.difference(&alone);
                    if times >= if tried { 1 } else { MAX_LOSSES_OF_ONE } {
                        queue.losses = 0;
                        put_aside = Some((uid, times));
                    } else {
                        queue.alone.push_front(Job { work, uids: alone });
                    }
                    if !others.is_empty() {
                        queue.jobs.push_front(Job { work, uids: others });
                    }
                }
                None => {
                    let half = u32::try_from(left.len().div_ceil(2)).unwrap_or(u32::MAX);
                    for uids in left.split_by_count(half).into_iter().rev() {
                        queue.jobs.push_front(Job { work, uids });
                    }
                }
            }
            queue.losses
        };
        pool.changed.notify_all();
        if let Some((uid, times)) = put_aside {
            let mut why =
                Error::network(format!("the connection was lost {} while it was read: {}", times_in_words(times), error.message()))
                    .scoped(Scope::Message);
            if let Some(words) = error.server_said() {
                why = why.said(words);
            }
            let _ = self.news.send(News::Poor { work, uid, error: why });
        }
        if losses > MAX_LOSSES {
            return Err(error);
        }
        self.pause(&error, losses.max(1))
    }

    fn read(&mut self, job: &Job, through: &mut Vec<u32>) -> Result<()> {
        let pool = self.pool;
        let Some(target) = pool.targets.get(&job.work) else { return Ok(()) };
        let Some(origin) = &mut self.origin else { return Err(Error::network("the connection is gone")) };
        if self.open != Some(job.work) {
            let figures = origin.open(&target.folder)?;
            if figures.uid_validity != Some(target.uid_validity) {
                return Err(uid_validity_changed(&target.folder));
            }
            self.open = Some(job.work);
        }
        let mut wanted: Vec<Arrival> = Vec::new();
        origin.arrivals(&job.uids, &mut |arrival| {
            if job.uids.contains(arrival.uid) {
                wanted.push(arrival);
            }
            Ok(())
        })?;
        wanted.sort_by_key(|arrival| arrival.uid);
        wanted.dedup_by_key(|arrival| arrival.uid);
        let octets = wanted.iter().filter_map(|arrival| arrival.size).sum();
        let _ = self.news.send(News::Expected { work: job.work, octets });
        let news = &self.news;
        origin.read(&wanted, &mut |index, outcome| {
            let Some(arrival) = wanted.get(index) else { return Ok(()) };
            match outcome {
                Ok(message) => {
                    let length = message.body.len();
                    pool.permit(length)?;
                    let octets = pool.budget.weight(&message.body);
                    let stopped = || Error::new(Kind::Local, "reading was broken off");
                    if !pool.budget.take(octets, pool.context)? {
                        return Err(stopped());
                    }
                    let arrival = Box::new(arrival.clone());
                    through.push(arrival.uid);
                    news.send(News::Read { work: job.work, arrival, message, octets }).map_err(|_| stopped())?;
                    pool.progress();
                    pool.pace(length);
                }
                Err(error) => {
                    through.push(arrival.uid);
                    let _ = news.send(News::Poor { work: job.work, uid: arrival.uid, error });
                }
            }
            Ok(())
        })?;
        let vanished = job.uids.len().saturating_sub(through.len() as u64);
        if vanished > 0 {
            let _ = self.news.send(News::Vanished { work: job.work, messages: vanished });
        }
        Ok(())
    }
}

fn pool_folder<'p>(pool: &'p Pool<'_>, work: usize) -> Option<&'p Folder> {
    pool.targets.get(&work).map(|target| &target.folder)
}

fn times_in_words(times: u32) -> String {
    match times {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{times} times"),
    }
}
