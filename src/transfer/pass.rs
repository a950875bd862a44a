//! One pass over messages of one folder: a thread reads the source ahead, a thread owns the sink, and the caller's thread
//! stands between them with the journal, so that no message goes out before its intent is durable.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::{Fate, Options, SourceFlags};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::message::{Digest, Digests, Flag, InternalDate, Key, Message};
use crate::report::{Event, Problem, Report};
use crate::state::{Batch, Change, CopyId, CopyRow, GenerationId, Journal, MailboxId, NewIntent, State};
use crate::store::{Listed, Outcome, Outgoing, Placement, Sink, Source, Wait};
use crate::summary;

/// Messages and octets that share one transaction of intents at most.
const GROUP_MESSAGES: usize = 1000;
const GROUP_OCTETS: usize = 6 * 1024 * 1024;
/// How long a group waits to become worth a transaction of its own.
const LINGER: Duration = Duration::from_millis(8);
/// A group of this many octets is.
const GROUP_WORTH: usize = 1024 * 1024;
/// How much of a message is looked at for its date.
const HEADER_OCTETS: usize = 256 * 1024;

/// Where the messages of a pass go.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) mailbox: MailboxId,
    pub(super) generation: GenerationId,
    pub(super) uid_validity: Option<u32>,
    /// UIDNEXT when the folder was opened, or any older one.
    pub(super) floor: u32,
}

/// Messages at the destination that nobody sent and that may be what a source message is looking for.
#[derive(Default)]
pub(super) struct Adoptable {
    by_content: HashMap<Digest, VecDeque<u32>>,
    by_parts: HashMap<(Digest, Digest), VecDeque<u32>>,
    taken: std::collections::HashSet<u32>,
}

impl Adoptable {
    /// Adds a message; call in rising order of UIDs.
    pub(super) fn add(&mut self, uid: u32, content: Digest, parts: (Digest, Digest)) {
        self.by_content.entry(content).or_default().push_back(uid);
        self.by_parts.entry(parts).or_default().push_back(uid);
    }

    /// The lowest UID that is the same message, which nobody else gets then.
    fn claim(&mut self, content: Digest, parts: impl FnOnce() -> Result<(Digest, Digest)>) -> Result<Option<u32>> {
        if self.by_content.is_empty() {
            return Ok(None);
        }
        let first = |queue: Option<&mut VecDeque<u32>>, taken: &mut std::collections::HashSet<u32>| {
            queue.and_then(|queue| {
                std::iter::from_fn(|| queue.pop_front()).find(|uid| taken.insert(*uid))
            })
        };
        if let Some(uid) = first(self.by_content.get_mut(&content), &mut self.taken) {
            return Ok(Some(uid));
        }
        Ok(first(self.by_parts.get_mut(&parts()?), &mut self.taken))
    }
}

/// What one pass works with.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) report: &'a dyn Report,
    pub(super) options: &'a Options,
    pub(super) journal: &'a mut Journal,
    pub(super) source_name: &'a str,
    pub(super) folder: &'a Folder,
    pub(super) target: Target,
    /// What the journal knows of this folder's messages.
    pub(super) copies: &'a HashMap<String, CopyRow>,
    pub(super) adoptable: &'a mut Adoptable,
    /// Fates by key, of this run.
    pub(super) tally: &'a mut HashMap<String, Fate>,
}

/// How a pass ended.
#[derive(Default)]
pub(super) struct End {
    /// Why reading broke off.
    pub(super) source: Option<Error>,
    /// Why the sink's session is lost.
    pub(super) sink: Option<Error>,
    /// Messages settled in this pass.
    pub(super) settled: u64,
    /// Keys of the messages that were on their way when the sink's session was lost.
    pub(super) lost: Vec<String>,
    /// Index of the first message that was asked for and not read.
    pub(super) unread: Option<usize>,
}

enum News {
    Read(usize, Result<Message>),
    ReadingEnded(Option<Error>),
    Facts(Vec<Placement>),
    SinkLost(Error),
    SinkFailed(Error),
}

/// A message between its intent and its fate.
struct Sent {
    copy: CopyId,
    key: String,
    id: u32,
    octets: usize,
    length: u64,
}

impl Pass<'_> {
    /// Reads `todo` and brings it to the sink. What happened to each message is in the journal and in the tally.
    ///
    /// # Errors
    /// What must end the run: local trouble, a signal, a quota, a UIDVALIDITY that changed. Losses of a session are in
    /// the returned [`End`].
    pub(super) fn run(&mut self, source: &mut dyn Source, sink: &mut dyn Sink, todo: &[Listed]) -> Result<End> {
        let budget = Budget::new();
        let (news, inbox) = mpsc::channel();
        let (outgoing, to_send) = mpsc::channel();
        let context = self.context;
        thread::scope(|scope| {
            let (budget, for_reader, for_sender) = (&budget, news.clone(), news);
            scope.spawn(move || {
                let ended = read(source, todo, budget, context, &for_reader);
                let _ = for_reader.send(News::ReadingEnded(ended));
            });
            scope.spawn(move || send(sink, &to_send, &for_sender));
            let outcome = Between { pass: self, todo, budget, sent: HashMap::new(), next_ticket: 0, end: End::default(), stop: None, occurrences: HashMap::new() }
                .run(&inbox, outgoing);
            budget.close();
            outcome
        })
    }
}

fn read(source: &mut dyn Source, todo: &[Listed], budget: &Budget, context: &Context, news: &Sender<News>) -> Option<Error> {
    let outcome = source.read(todo, &mut |index, message| {
        let octets = message.as_ref().map_or(0, |message| message.body.memory_bytes());
        if !budget.take(octets, context)? || news.send(News::Read(index, message)).is_err() {
            return Err(Error::network("reading was broken off because the destination is lost"));
        }
        Ok(())
    });
    outcome.err()
}

fn send(sink: &mut dyn Sink, to_send: &Receiver<Vec<Outgoing>>, news: &Sender<News>) {
    if let Err(error) = send_all(sink, to_send, news) {
        let _ = news.send(News::SinkFailed(error));
    }
}

fn send_all(sink: &mut dyn Sink, to_send: &Receiver<Vec<Outgoing>>, news: &Sender<News>) -> Result<()> {
    let mut outstanding: usize = 0;
    let mut lost = false;
    loop {
        let next = if outstanding == 0 { to_send.recv().map_err(|_| RecvTimeoutError::Disconnected) } else { to_send.recv_timeout(Duration::from_millis(2)) };
        let facts = match next {
            Ok(group) if lost => group.into_iter().map(|outgoing| Placement { ticket: outgoing.ticket, outcome: Outcome::NotSent }).collect(),
            Ok(group) => {
                for message in group {
                    outstanding += 1;
                    sink.append(message)?;
                }
                sink.settle(Wait::No)?
            }
            // Nothing more to send just now: what is queued goes out, and the oldest answer is waited for under its deadline.
            Err(RecvTimeoutError::Timeout) => sink.settle(Wait::One)?,
            Err(RecvTimeoutError::Disconnected) => {
                let facts = sink.settle(Wait::All)?;
                tell(&facts, &mut outstanding);
                let _ = news.send(News::Facts(facts));
                if let Some(error) = sink.lost().filter(|_| !lost) {
                    let _ = news.send(News::SinkLost(copy_of(error)));
                }
                return Ok(());
            }
        };
        if !lost {
            tell(&facts, &mut outstanding);
        }
        if !facts.is_empty() {
            let _ = news.send(News::Facts(facts));
        }
        if !lost && let Some(error) = sink.lost() {
            lost = true;
            // All that was taken has its fate now.
            let facts = sink.settle(Wait::All)?;
            tell(&facts, &mut outstanding);
            let _ = news.send(News::Facts(facts));
            let _ = news.send(News::SinkLost(copy_of(sink.lost().unwrap_or(&Error::network("the session is lost")))));
        }
    }
}

fn tell(facts: &[Placement], outstanding: &mut usize) {
    *outstanding = outstanding.saturating_sub(facts.len());
}

fn copy_of(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message()).scoped(error.scope());
    let copy = match error.server_said() {
        Some(words) => copy.said(words),
        None => copy,
    };
    match error.place() {
        Some(place) => copy.at(place),
        None => copy,
    }
}
