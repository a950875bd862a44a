//! A source over several sessions: what is wanted is cut into parts, each session reads one part after the other, and they are
//! handed over in the order of what was wanted, so that the destination gets it in that order. The first session does all else.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::super::imap::{ImapSource, Standing};
use super::super::sift::Picked;
use super::super::{FolderInfo, Listed, Listing, Source};
use super::Allowance;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::Message;
use crate::query::Query;

/// Octets and messages of one part.
const PART_OCTETS: u64 = 2 * 1024 * 1024;
const PART_MESSAGES: usize = 500;
/// What a message counts whose size nobody told.
const UNKNOWN_OCTETS: u64 = 64 * 1024;
/// Octets that were read before their turn.
const AHEAD: usize = 8 * 1024 * 1024;
/// What a message counts whose octets lie in a temporary file: sessions that read ahead must not fill the disk with them, nor use
/// up all file handles.
const IN_FILE: usize = AHEAD / 4;
/// Messages on their way from the sessions to whoever takes them: those whose turn it is are held back by nothing else.
const NEWS: usize = 16;

/// Opens a further session.
type Connect = Box<dyn Fn() -> Result<ImapSource> + Send + Sync>;

/// An IMAP account to read from, over several sessions.
pub struct SpreadSource {
    first: ImapSource,
    others: Vec<ImapSource>,
    allowance: Arc<Allowance>,
    connect: Connect,
    stuck: Option<u32>,
    remarks: Vec<String>,
}

impl SpreadSource {
    /// Over the session `first` and as many more from `connect` as the allowance has and as there is work for.
    pub fn over(first: ImapSource, allowance: Arc<Allowance>, connect: impl Fn() -> Result<ImapSource> + Send + Sync + 'static) -> Self {
        Self { first, others: Vec::new(), allowance, connect: Box::new(connect), stuck: None, remarks: Vec::new() }
    }
}

fn cut(wanted: &[Listed]) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut octets = 0;
    for (index, listed) in wanted.iter().enumerate() {
        let size = listed.size.unwrap_or(UNKNOWN_OCTETS);
        match parts.last_mut() {
            Some(part) if part.len() < PART_MESSAGES && octets + size <= PART_OCTETS => {
                part.end = index + 1;
                octets += size;
            }
            _ => {
                parts.push(index..index + 1);
                octets = size;
            }
        }
    }
    parts
}

/// What the reading threads share.
struct Turn {
    state: Mutex<TurnState>,
    changed: Condvar,
}

#[derive(Default)]
struct TurnState {
    /// The part that no session has taken yet.
    next: usize,
    /// The part that is handed over now.
    head: usize,
    /// Octets that were read before their turn.
    ahead: usize,
    /// No part is begun any more.
    ending: bool,
    /// Nothing is wanted any more.
    closed: bool,
    sessions: usize,
}

enum News {
    /// A message: its part, its index, and so many octets that were let through before their turn.
    Read(usize, usize, Result<Message>, usize),
    Ended(usize),
    Lost(Error, Option<u32>),
    Remark(Option<String>),
}

impl Turn {
    fn state(&self) -> std::sync::MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, parts: usize) -> Option<usize> {
        let mut state = self.state();
        if state.ending || state.closed || state.next >= parts {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    /// Waits until octets of a part may be handed in; gives back how many of them came before their turn.
    fn gate(&self, part: usize, octets: usize) -> Result<usize> {
        let mut state = self.state();
        loop {
            if state.closed {
                return Err(Error::network("reading was broken off"));
            }
            if part == state.head {
                return Ok(0);
            }
            if state.ending || state.ahead + octets <= AHEAD {
                state.ahead += octets;
                return Ok(octets);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change(&self, change: impl FnOnce(&mut TurnState)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

fn weight(message: &Result<Message>) -> usize {
    message.as_ref().map_or(0, |message| message.body.in_memory().map_or(IN_FILE, <[u8]>::len))
}

/// Lets nobody wait for ever for a part whose session panicked: the panic goes on where the threads are joined.
struct Ending<'t>(&'t Turn);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.change(|state| state.ending = true);
        }
    }
}

/// Reads parts over one session until there are none.
fn work(source: &mut ImapSource, turn: &Turn, wanted: &[Listed], parts: &[Range<usize>], news: &SyncSender<News>) {
    let _ending = Ending(turn);
    while let Some(number) = turn.take(parts.len()) {
        let Some(part) = parts.get(number) else { return };
        let listed = wanted.get(part.clone()).unwrap_or_default();
        let outcome = source.read(listed, &mut |index, message| {
            let ahead = turn.gate(number, weight(&message))?;
            let _ = news.send(News::Read(number, part.start + index, message, ahead));
            Ok(())
        });
        let _ = news.send(match outcome {
            Ok(()) => News::Ended(number),
            Err(error) => {
                turn.change(|state| state.ending = true);
                News::Lost(error, source.stuck_at())
            }
        });
    }
}

/// Opens a further session and reads parts over it.
fn further(
    connect: &Connect,
    standing: &Standing,
    allowance: &Allowance,
    turn: &Turn,
    job: (&[Listed], &[Range<usize>], &SyncSender<News>),
) -> Option<ImapSource> {
    let (wanted, parts, news) = job;
    match connect() {
        Ok(mut source) => {
            source.stand(standing);
            work(&mut source, turn, wanted, parts, news);
            Some(source)
        }
        Err(error) => {
            let mut left = 0;
            turn.change(|state| {
                state.sessions -= 1;
                left = state.sessions;
            });
            let _ = news.send(News::Remark(allowance.refused(&error, left)));
            None
        }
    }
}

impl Source for SpreadSource {
    fn place(&self) -> String {
        self.first.place()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        self.first.folders()
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.first.list(folder)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let parts = cut(wanted);
        let sessions = self.allowance.most().min(parts.len());
        let Some(standing) = self.first.standing().filter(|_| sessions > 1) else { return self.first.read(wanted, each) };
        let turn = Turn { state: Mutex::new(TurnState { sessions, ..TurnState::default() }), changed: Condvar::new() };
        let (news, inbox) = mpsc::sync_channel(NEWS);
        let Self { first, others, allowance, connect, stuck, remarks } = self;
        let mut handing = Handing { each, waiting: BTreeMap::new(), ended: Vec::new(), head: 0, outcome: Ok(()) };
        thread::scope(|scope| {
            let (turn, parts, standing) = (&turn, &parts, &standing);
            let (connect, allowance): (&Connect, &Allowance) = (connect, allowance);
            let mut known: Vec<ImapSource> = std::mem::take(others);
            let for_first = news.clone();
            scope.spawn(move || work(first, turn, wanted, parts, &for_first));
            let workers: Vec<_> = (1..sessions)
                .map(|_| {
                    let (news, source) = (news.clone(), known.pop());
                    scope.spawn(move || match source {
                        Some(mut source) => {
                            source.stand(standing);
                            work(&mut source, turn, wanted, parts, &news);
                            Some(source)
                        }
                        None => further(connect, standing, allowance, turn, (wanted, parts, &news)),
                    })
                })
                .collect();
            drop(news);
            let mut lost = None;
            for news in inbox {
                match news {
                    News::Read(part, index, message, ahead) => handing.take(part, (index, message, ahead), turn),
                    News::Ended(part) => handing.ended(part, turn),
                    News::Remark(remark) => remarks.extend(remark),
                    News::Lost(error, at) => {
                        allowance.heed(&error);
                        if lost.is_none() {
                            *stuck = at;
                            lost = Some(error);
                        }
                    }
                }
            }
            handing.rest();
            others.append(&mut known);
            others.extend(workers.into_iter().filter_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
            match (handing.outcome, lost) {
                (Err(error), _) | (Ok(()), Some(error)) => {
                    // Answers are still on their way there.
                    others.clear();
                    Err(error)
                }
                (Ok(()), None) => Ok(()),
            }
        })
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.first.headers(wanted, each)
    }

    // The server's own search: looking into the messages would not do for what only a server knows.
    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<Picked> {
        self.first.matching(messages, query)
    }

    fn gmail_ids(&mut self, wanted: &[Listed]) -> Result<HashMap<u32, u64>> {
        self.first.gmail_ids(wanted)
    }

    fn has_labels(&self) -> bool {
        self.first.has_labels()
    }

    fn labels(&mut self, wanted: &[Listed], each: &mut dyn FnMut(u32, Vec<Vec<u8>>)) -> Result<()> {
        self.first.labels(wanted, each)
    }

    fn stuck_at(&self) -> Option<u32> {
        self.stuck.or_else(|| self.first.stuck_at())
    }

    fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    fn finish(&mut self) -> Result<()> {
        for mut other in self.others.drain(..) {
            // Everything was read: a farewell that fails takes nothing back.
            let _ = other.finish();
        }
        self.first.finish()
    }
}

/// A message before its turn: its index, and how many octets it counts.
type Waiting = (usize, Result<Message>, usize);

/// Puts what comes into the order of the parts.
struct Handing<'e> {
    each: &'e mut dyn FnMut(usize, Result<Message>) -> Result<()>,
    waiting: BTreeMap<usize, Vec<Waiting>>,
    ended: Vec<usize>,
    head: usize,
    outcome: Result<()>,
}

impl Handing<'_> {
    fn hand(&mut self, index: usize, message: Result<Message>) {
        if self.outcome.is_ok() {
            self.outcome = (self.each)(index, message);
        }
    }

    fn take(&mut self, part: usize, (index, message, ahead): Waiting, turn: &Turn) {
        if part != self.head {
            self.waiting.entry(part).or_default().push((index, message, ahead));
            return;
        }
        self.hand(index, message);
        if ahead > 0 {
            turn.change(|state| state.ahead = state.ahead.saturating_sub(ahead));
        }
        self.close_if_refused(turn);
    }

    fn close_if_refused(&self, turn: &Turn) {
        if self.outcome.is_err() {
            turn.change(|state| state.closed = true);
        }
    }

    fn ended(&mut self, part: usize, turn: &Turn) {
        self.ended.push(part);
        while let Some(at) = self.ended.iter().position(|&ended| ended == self.head) {
            self.ended.swap_remove(at);
            self.head += 1;
            let messages = self.waiting.remove(&self.head).unwrap_or_default();
            let octets: usize = messages.iter().map(|(_, _, ahead)| ahead).sum();
            for (index, message, _) in messages {
                self.hand(index, message);
            }
            self.close_if_refused(turn);
            let head = self.head;
            turn.change(|state| {
                state.head = head;
                state.ahead = state.ahead.saturating_sub(octets);
            });
        }
    }

    /// What came before its turn and never got it, because a session was lost.
    fn rest(&mut self) {
        for (index, message, _) in std::mem::take(&mut self.waiting).into_values().flatten() {
            self.hand(index, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Body, SPILL_BYTES};

    #[test]
    fn few_messages_that_lie_in_files_are_read_before_their_turn() {
        let mut body = Body::new();
        body.push(&vec![b'x'; SPILL_BYTES + 1]).unwrap();
        let digests = body.digests().unwrap();
        let message = Ok(Message { body, digests, internal_date: None, flags: Vec::new() });
        assert!((2..8).contains(&(AHEAD / weight(&message).max(1))), "{}", weight(&message));
    }

    #[test]
    fn a_session_that_panics_leaves_no_other_waiting() {
        let turn = Turn { state: Mutex::new(TurnState { ahead: AHEAD, ..TurnState::default() }), changed: Condvar::new() };
        thread::scope(|scope| {
            let waiting = scope.spawn(|| turn.gate(1, 1).map_err(|error| error.to_string()));
            let panicking = scope.spawn(|| {
                let _ending = Ending(&turn);
                panic!("of this test");
            });
            assert!(panicking.join().is_err());
            assert_eq!(waiting.join().unwrap(), Ok(1));
        });
    }

    #[test]
    fn parts_hold_everything_once_and_in_order() {
        let listed = |size| Listed { id: 1, key: None, size, internal_date: None };
        let wanted: Vec<Listed> =
            (0..1200).map(|_| listed(Some(100))).chain([listed(Some(PART_OCTETS * 3)), listed(None), listed(Some(0))]).collect();
        let parts = cut(&wanted);
        assert_eq!(parts.iter().cloned().flatten().collect::<Vec<_>>(), (0..wanted.len()).collect::<Vec<_>>());
        assert_eq!(parts.iter().map(ExactSizeIterator::len).collect::<Vec<_>>(), [500, 500, 200, 1, 2]);
        assert!(cut(&[]).is_empty());
    }
}
