//! A sink over several sessions: each has a thread that takes messages from one queue, appends them and brings back the facts.
//! The first session does all else. Where one is lost the others settle what they have, and then all of it counts as lost.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::super::imap::{ImapSink, Manner, Standing};
use super::super::{FolderInfo, Listed, Listing, Outcome, Outgoing, Placement, Room, Sink, SinkState, Wait};
use super::Allowance;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::Message;

/// Octets that wait in the queue at most.
const QUEUED: u64 = 16 * 1024 * 1024;
/// Octets a session takes at a time.
const TAKEN: u64 = 4 * 1024 * 1024;
/// How long anybody waits before looking again.
const TICK: Duration = Duration::from_millis(100);

/// Opens a further session.
type Connect = Box<dyn Fn() -> Result<ImapSink> + Send + Sync>;

/// An IMAP account to append to, over several sessions.
pub struct SpreadSink {
    first: Arc<Mutex<ImapSink>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    place: String,
    lost: Option<Error>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    allowance: Arc<Allowance>,
    connect: Connect,
    /// Messages a session takes at a time.
    batch: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Outgoing>,
    queued: u64,
    /// Where appended messages go, and the how manieth folder that is.
    standing: Option<Standing>,
    turn: u64,
    /// Messages a session has taken and not told the fate of.
    at_work: usize,
    facts: Vec<Placement>,
    unsent: Vec<Outgoing>,
    remarks: Vec<String>,
    /// The folder took a message: until then they go alone.
    warm: bool,
    /// Sessions that are open or about to be.
    sessions: usize,
    lost: Option<Error>,
    failed: Option<Error>,
    closed: bool,
}

impl State {
    fn outstanding(&self) -> usize {
        self.queue.len() + self.at_work
    }

    fn broken(&self) -> bool {
        self.lost.is_some() || self.failed.is_some() || self.closed
    }

    fn take(&mut self, most: usize) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        let mut octets = 0;
        while taken.len() < most
            && let Some(next) = self.queue.front()
            && (taken.is_empty() || octets + next.message.body.len() <= TAKEN)
        {
            octets += next.message.body.len();
            taken.extend(self.queue.pop_front());
        }
        self.queued = self.queued.saturating_sub(octets);
        self.at_work += taken.len();
        taken
    }

    fn give_back(&mut self, messages: Vec<Outgoing>) {
        self.at_work -= messages.len();
        for message in messages.into_iter().rev() {
            self.queued += message.message.body.len();
            self.queue.push_front(message);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells what a session found out, and whether it is lost.
    fn tell(&self, facts: Vec<Placement>, unsent: Vec<Outgoing>, lost: Option<Error>) {
        let mut state = self.state();
        state.at_work = state.at_work.saturating_sub(facts.len());
        state.warm |= facts.iter().any(|placement| matches!(placement.outcome, Outcome::Stored { .. }));
        state.facts.extend(facts);
        state.unsent.extend(unsent);
        if let Some(error) = lost {
            self.allowance.heed(&error);
            state.lost.get_or_insert(error);
        }
        self.changed.notify_all();
    }

    fn fail(&self, error: Error) {
        self.state().failed.get_or_insert(error);
        self.changed.notify_all();
    }
}

/// What a session took has no fate when its thread panics, and nobody may wait for one.
struct Failing<'s>(&'s Shared);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::local("a connection's thread ended without a word"));
        }
    }
}

/// A session at work: what it took and how that stands.
struct Line<'s> {
    shared: &'s Shared,
    first: bool,
    turn: u64,
    /// Messages taken whose fate is open.
    open: usize,
}

enum Task {
    Append(Vec<Outgoing>, Option<Standing>),
    /// Nothing to take: answers are waited for.
    Answers,
    /// A session is lost: everything taken is settled.
    All,
    End,
}

impl Line<'_> {
    fn next(&mut self) -> Task {
        let mut state = self.shared.state();
        loop {
            if state.broken() {
                if self.open > 0 {
                    return Task::All;
                }
                if state.closed || !self.first {
                    return Task::End;
                }
            } else if !state.queue.is_empty() && (state.warm || self.first && self.open == 0) {
                let most = if state.warm { self.shared.batch } else { 1 };
                // All sessions get something of a short queue.
                let share = state.queue.len().div_ceil(state.sessions.max(1)).min(most);
                let messages = state.take(share);
                self.open += messages.len();
                let standing = (self.turn != state.turn && !self.first).then(|| state.standing.clone()).flatten();
                self.turn = state.turn;
                return Task::Append(messages, standing);
            } else if self.open > 0 {
                return Task::Answers;
            }
            state = self.shared.wait(state);
        }
    }

    /// Does one task; `false` at the end.
    fn serve(&mut self, sink: &mut ImapSink, task: Task) -> Result<bool> {
        let facts = match task {
            Task::End => return Ok(false),
            Task::Append(messages, standing) => {
                if let Some(standing) = standing
                    && let Err(error) = sink.stand(&standing)
                {
                    self.open -= messages.len();
                    self.shared.state().give_back(messages);
                    return Err(error);
                }
                for message in messages {
                    sink.append(message)?;
                }
                sink.settle(Wait::No)?
            }
            Task::Answers => sink.settle(Wait::One)?,
            Task::All => sink.settle(Wait::All)?,
        };
        let mut facts = facts;
        let lost = sink.lost().map(Error::copy);
        if lost.is_some() {
            facts.extend(sink.settle(Wait::All)?);
        }
        self.open = self.open.saturating_sub(facts.len());
        let unsent = sink.unsent();
        let goes_on = lost.is_none() || self.first;
        // All in one: whoever sees that nothing is outstanding any more must see why.
        if !facts.is_empty() || !unsent.is_empty() || lost.is_some() {
            self.shared.tell(facts, unsent, lost);
        }
        Ok(goes_on)
    }
}

/// The first session's thread: the session is locked only while it is at work.
fn first(shared: &Shared, sink: &Mutex<ImapSink>) {
    let _failing = Failing(shared);
    let mut line = Line { shared, first: true, turn: 0, open: 0 };
    loop {
        let task = line.next();
        match line.serve(&mut locked(sink), task) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return shared.fail(error),
        }
    }
}

/// The thread of a further session, which opens and closes it.
fn further(shared: &Shared) {
    let _failing = Failing(shared);
    let mut sink = match (shared.connect)() {
        Ok(sink) => sink,
        Err(error) => {
            let mut state = shared.state();
            state.sessions -= 1;
            let left = state.sessions;
            state.remarks.extend(shared.allowance.refused(&error, left));
            return;
        }
    };
    sink.among_several();
    let mut line = Line { shared, first: false, turn: 0, open: 0 };
    loop {
        let task = line.next();
        match line.serve(&mut sink, task) {
            Ok(true) => {}
            Ok(false) => break,
            // It turned to no folder, and has nothing: the others have to do.
            Err(error) if line.open == 0 && error.is_transient() => {
                let mut state = shared.state();
                state.sessions -= 1;
                let left = state.sessions;
                state.remarks.extend(shared.allowance.refused(&error, left));
                shared.changed.notify_all();
                return;
            }
            Err(error) => return shared.fail(error),
        }
    }
    if sink.lost().is_none() {
        // Everything is settled: a farewell that fails takes nothing back.
        let _ = sink.finish();
    }
}

impl SpreadSink {
    /// Over the session `first` and as many more from `connect` as the allowance has and as there is work for. Where nobody said
    /// how many, several are opened only at a server that has to be waited for before each message. Gives `first` back where that
    /// makes one.
    ///
    /// # Errors
    /// The one session, where there is to be one.
    pub fn over(
        mut first: ImapSink,
        allowance: Arc<Allowance>,
        connect: impl Fn() -> Result<ImapSink> + Send + Sync + 'static,
    ) -> std::result::Result<Self, Box<ImapSink>> {
        let manner = first.manner();
        if allowance.most() <= 1 || !allowance.given && manner != Manner::Waiting {
            return Err(Box::new(first));
        }
        let batch = match manner {
            Manner::Together => 64,
            Manner::OneByOne => 8,
            Manner::Waiting => 1,
        };
        first.among_several();
        let place = first.place();
        let state = Mutex::new(State { sessions: 1, ..State::default() });
        let shared = Shared { state, changed: Condvar::new(), allowance, connect: Box::new(connect), batch };
        Ok(Self { first: Arc::new(Mutex::new(first)), shared: Arc::new(shared), threads: Vec::new(), place, lost: None })
    }

    /// Starts threads: the first session's, and one more where the queue has work for it.
    fn recruit(&mut self) {
        let mut state = self.shared.state();
        if self.threads.is_empty() {
            let (shared, sink) = (Arc::clone(&self.shared), Arc::clone(&self.first));
            self.threads.push(thread::spawn(move || first(&shared, &sink)));
        }
        while state.warm
            && !state.broken()
            && state.sessions < self.shared.allowance.most()
            && state.queue.len() > self.shared.batch * state.sessions * 2
        {
            state.sessions += 1;
            let shared = Arc::clone(&self.shared);
            self.threads.push(thread::spawn(move || further(&shared)));
        }
    }
}

impl Sink for SpreadSink {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        locked(&self.first).folders()
    }

    fn horizons(&mut self) -> Result<Vec<(Folder, u32, u32)>> {
        locked(&self.first).horizons()
    }

    fn called(&mut self, folder: &Folder) -> Result<Folder> {
        locked(&self.first).called(folder)
    }

    fn room(&mut self, folders: &[Folder]) -> Result<Room> {
        locked(&self.first).room(folders)
    }

    fn round_trip(&mut self) -> Result<Option<Duration>> {
        locked(&self.first).round_trip()
    }

    fn open(&mut self, folder: &FolderInfo, create: bool) -> Result<Option<SinkState>> {
        let mut first = locked(&self.first);
        let opened = first.open(folder, create)?;
        let mut state = self.shared.state();
        state.standing = first.standing();
        state.turn += 1;
        state.warm = false;
        Ok(opened)
    }

    fn look(&mut self, first: u32) -> Result<Listing> {
        locked(&self.first).look(first)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        locked(&self.first).read(wanted, each)
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        locked(&self.first).headers(wanted, each)
    }

    fn append(&mut self, message: Outgoing) -> Result<()> {
        let mut state = self.shared.state();
        while state.queued > QUEUED && !state.broken() {
            state = self.shared.wait(state);
        }
        state.queued += message.message.body.len();
        state.queue.push_back(message);
        drop(state);
        self.shared.changed.notify_all();
        self.recruit();
        Ok(())
    }

    fn settle(&mut self, wait: Wait) -> Result<Vec<Placement>> {
        loop {
            self.recruit();
            let mut state = self.shared.state();
            if let Some(error) = state.failed.take() {
                state.closed = true;
                return Err(error);
            }
            if let Some(error) = &state.lost {
                if state.at_work == 0 {
                    self.lost = Some(error.copy());
                    let mut facts = std::mem::take(&mut state.facts);
                    let queue = std::mem::take(&mut state.queue);
                    state.queued = 0;
                    facts.extend(queue.iter().map(|one| Placement { ticket: one.ticket, outcome: Outcome::UNTOUCHED }));
                    state.unsent.extend(queue);
                    return Ok(facts);
                }
                if wait == Wait::No {
                    return Ok(Vec::new());
                }
            } else {
                let enough = match wait {
                    Wait::No => true,
                    Wait::One => !state.facts.is_empty() || state.outstanding() == 0,
                    Wait::All => state.outstanding() == 0,
                };
                if enough {
                    return Ok(std::mem::take(&mut state.facts));
                }
            }
            drop(self.shared.wait(state));
        }
    }

    fn unsent(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.shared.state().unsent)
    }

    fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().remarks)
    }

    fn lost(&self) -> Option<&Error> {
        self.lost.as_ref()
    }

    fn finish(&mut self) -> Result<()> {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        let finished = locked(&self.first).finish();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        finished
    }
}

impl Drop for SpreadSink {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_panics_fails_all_instead_of_being_waited_for() {
        let allowance = Arc::new(Allowance { most: 2.into(), given: true, told: false.into() });
        let connect: Connect = Box::new(|| panic!("of this test"));
        let state = Mutex::new(State { sessions: 2, ..State::default() });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), allowance, connect, batch: 1 });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || further(&shared)
        });
        assert!(thread.join().is_err());
        assert!(shared.state().failed.is_some());
    }
}
