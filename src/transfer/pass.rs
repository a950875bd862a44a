//! One pass over messages of one folder: a thread reads the source ahead, a thread owns the sink, and the caller's thread
//! stands between them with the journal, so that no message goes out before its intent is durable.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::budget::{Budget, weight};
use super::gate::Gate;
use super::named::ByName;
use super::renamed::Renamed;
use super::tally::Fate;
use super::{Options, SourceFlags, fill_in};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::message::{Digest, Digests, InternalDate, Message, Twins};
use crate::report::{Event, Problem, Report};
use crate::state::{Batch, Change, CopyId, CopyRow, GenerationId, Journal, MailboxId, NewIntent, State};
use crate::store::{Listed, Outcome, Outgoing, Placement, Sink, Source, Wait};

/// Messages and octets that share one transaction of intents at most.
const GROUP_MESSAGES: usize = 1000;
const GROUP_OCTETS: usize = 6 * 1024 * 1024;
/// How long a group waits to become worth a transaction of its own.
const LINGER: Duration = Duration::from_millis(8);
/// A group of this many octets is.
const GROUP_WORTH: usize = 1024 * 1024;
/// For how long what the source is sending is still taken once the destination is lost.
const READ_ON: Duration = Duration::from_secs(1);

/// Where the messages of a pass go.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) mailbox: MailboxId,
    pub(super) generation: GenerationId,
    /// `None` where messages keep no number ([`Sink::is_numbered`]): then nothing is recorded of where a copy lies.
    pub(super) uid_validity: Option<u32>,
    /// UIDNEXT when the folder was opened, or any older one.
    pub(super) floor: u32,
}

impl Target {
    pub(super) fn is_numbered(&self) -> bool {
        self.uid_validity.is_some()
    }

    /// What the journal may keep of a message that lies there under `id`.
    pub(super) fn lasting(&self, id: u32) -> Option<(GenerationId, u32)> {
        self.is_numbered().then_some((self.generation, id))
    }
}

/// Messages at the destination that nobody sent and that may be what a source message is looking for.
#[derive(Default)]
pub(super) struct Adoptable {
    by_content: HashMap<Digest, VecDeque<u32>>,
    by_parts: HashMap<(Digest, Digest), VecDeque<u32>>,
    taken: HashSet<u32>,
}

impl Adoptable {
    /// Adds a message; call in rising order of UIDs.
    pub(super) fn add(&mut self, uid: u32, content: Digest, parts: (Digest, Digest)) {
        self.by_content.entry(content).or_default().push_back(uid);
        self.by_parts.entry(parts).or_default().push_back(uid);
    }

    /// Takes a message out.
    pub(super) fn take(&mut self, uid: u32) {
        self.taken.insert(uid);
    }

    /// The lowest UID that is the same message, which nobody else gets then.
    pub(super) fn claim(&mut self, content: Digest, parts: impl FnOnce() -> Result<(Digest, Digest)>) -> Result<Option<u32>> {
        if self.by_content.is_empty() {
            return Ok(None);
        }
        let first = |queue: Option<&mut VecDeque<u32>>, taken: &mut HashSet<u32>| {
            queue.and_then(|queue| std::iter::from_fn(|| queue.pop_front()).find(|uid| taken.insert(*uid)))
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
    /// Names of messages that earlier runs put aside.
    pub(super) quarantined: &'a HashSet<String>,
    /// Copies whose messages may be listed under other keys now.
    pub(super) renamed: &'a mut Renamed,
    /// Keys of copies that are done and to be sent once more all the same.
    pub(super) again: &'a HashSet<String>,
    pub(super) adoptable: &'a mut Adoptable,
    /// Copies of other sources that are there. One that counts for a message of this one stays the other's in the journal.
    pub(super) brought: &'a mut Adoptable,
    /// That they count is recorded, so that it does for ever.
    pub(super) counts_for_ever: bool,
    /// Fates by key, of this run.
    pub(super) tally: &'a mut ByName<Fate>,
    /// How often a content digest was met among messages that have no other key.
    pub(super) twins: &'a mut Twins,
    /// Messages that were read before and not sent, by key: they are not asked for again.
    pub(super) shelf: &'a mut HashMap<String, Message>,
    /// What the destination made us change of messages whose fate is open, by key.
    pub(super) altered: &'a mut HashMap<String, Vec<String>>,
}

/// A message at which something went wrong that may be its fault.
pub(super) struct Suspect {
    /// As [`name_of`] names it in the listing.
    pub(super) name: String,
    /// Its key.
    pub(super) key: String,
    /// How often it went out whole and no answer told whether it is there, in this run and before.
    pub(super) unknown: u32,
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
    /// Those of them that the destination took.
    pub(super) taken: u64,
    /// Messages that the destination refused because it wants more time.
    pub(super) slowed: Vec<Suspect>,
    /// Messages that were on their way when the sink's session was lost, or over which the server stumbled.
    pub(super) lost: Vec<Suspect>,
    /// The message in the middle of which the sink's session was lost.
    pub(super) begun: Vec<Suspect>,
    /// Index of the first message that was asked for and not read.
    pub(super) unread: Option<usize>,
}

enum News {
    Read(usize, Result<Message>),
    ReadingEnded(Option<Error>),
    Facts(Vec<Placement>),
    /// Messages that were not sent, as they came.
    Unsent(Vec<Outgoing>),
    Remarks(Vec<String>),
    SinkLost(Error),
    SinkFailed(Error),
}

/// A message between its intent and its fate.
struct Sent {
    copy: CopyId,
    key: String,
    /// As the listing names it.
    name: String,
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
        let (context, gate) = (self.context, &*self.options.gate);
        let mut shelf: HashMap<String, Message> = HashMap::new();
        if !self.shelf.is_empty() {
            shelf = todo.iter().filter_map(|listed| self.shelf.remove_entry(&name_of(listed))).collect();
        }
        let (outcome, left) = thread::scope(|scope| {
            let (budget, for_reader, for_sender, reading) = (&budget, news.clone(), news, &mut *source);
            let reader = scope.spawn(move || {
                let ended = read(&mut *reading, todo, &mut shelf, (budget, gate), context, &for_reader);
                let _ = for_reader.send(News::Remarks(reading.remarks()));
                let _ = for_reader.send(News::ReadingEnded(ended));
                shelf
            });
            scope.spawn(move || send(sink, &to_send, context, &for_sender));
            let between = Between {
                pass: &mut *self,
                todo,
                budget,
                sent: HashMap::new(),
                shelved: HashSet::new(),
                next_ticket: 0,
                end: End::default(),
                stop: None,
            };
            let outcome = between.run(&inbox, outgoing);
            budget.close();
            // A panic of one thread is a panic of the other.
            (outcome, reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        self.shelf.extend(left);
        outcome.map(|mut end| {
            // The source knows better at which message it was lost, where it answers many at once.
            if let Some(stuck) = source.stuck_at().filter(|_| end.source.is_some()) {
                end.unread = todo.iter().position(|listed| listed.id == stuck).or(end.unread);
            }
            end
        })
    }
}

fn read(
    source: &mut dyn Source,
    todo: &[Listed],
    shelf: &mut HashMap<String, Message>,
    (budget, gate): (&Budget, &Gate),
    context: &Context,
    news: &Sender<News>,
) -> Option<Error> {
    let hand_over = |index: usize, message: Result<Message>| {
        let octets = message.as_ref().map_or(0, |message| weight(&message.body));
        if !budget.take(octets, context)? || news.send(News::Read(index, message)).is_err() {
            return Err(Error::network("reading was broken off because the destination is lost"));
        }
        Ok(())
    };
    let mut left = Vec::new();
    for (index, listed) in todo.iter().enumerate() {
        let message = if listed.key.is_some() && !shelf.is_empty() { shelf.remove(&name_of(listed)) } else { None };
        match message {
            Some(message) => {
                if let Err(error) = hand_over(index, Ok(message)) {
                    return Some(error);
                }
            }
            None => left.push(index),
        }
    }
    // What lay on the shelf was counted when it came.
    let mut hand_over = |index: usize, message: Result<Message>| {
        gate.pace(message.as_ref().map_or(0, |message| message.body.len()), context);
        hand_over(index, message)
    };
    if left.len() == todo.len() {
        return source.read(todo, &mut hand_over).err();
    }
    let wanted: Vec<Listed> = left.iter().filter_map(|&index| todo.get(index)).cloned().collect();
    source.read(&wanted, &mut |at, message| left.get(at).map_or(Ok(()), |&index| hand_over(index, message))).err()
}

fn send(sink: &mut dyn Sink, to_send: &Receiver<Vec<Outgoing>>, context: &Context, news: &Sender<News>) {
    if let Err(error) = send_all(sink, to_send, context, news) {
        let _ = news.send(News::SinkFailed(error));
    }
}

fn send_all(sink: &mut dyn Sink, to_send: &Receiver<Vec<Outgoing>>, context: &Context, news: &Sender<News>) -> Result<()> {
    let mut outstanding: usize = 0;
    let mut lost = false;
    loop {
        let next = if outstanding == 0 {
            to_send.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            to_send.recv_timeout(Duration::from_millis(2))
        };
        let facts = match next {
            // After a loss, or a signal, nothing more is begun.
            Ok(group) if lost || context.interrupted().is_some() => {
                let unsent = group.iter().map(|outgoing| Placement { ticket: outgoing.ticket, outcome: Outcome::UNTOUCHED });
                let unsent = unsent.collect();
                let _ = news.send(News::Unsent(group));
                let _ = news.send(News::Facts(unsent));
                continue;
            }
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
                let _ = news.send(News::Unsent(sink.unsent()));
                let _ = news.send(News::Facts(facts));
                remark(sink, news);
                if let Some(error) = sink.lost().filter(|_| !lost) {
                    let _ = news.send(News::SinkLost(error.copy()));
                }
                return Ok(());
            }
        };
        if !lost {
            tell(&facts, &mut outstanding);
        }
        remark(sink, news);
        if !lost && sink.lost().is_some() {
            let _ = news.send(News::Unsent(sink.unsent()));
        }
        if !facts.is_empty() {
            let _ = news.send(News::Facts(facts));
        }
        if !lost && sink.lost().is_some() {
            lost = true;
            // All that was taken has its fate now.
            let facts = sink.settle(Wait::All)?;
            tell(&facts, &mut outstanding);
            let _ = news.send(News::Unsent(sink.unsent()));
            let _ = news.send(News::Facts(facts));
            let error = sink.lost().map_or_else(|| Error::network("the session is lost"), Error::copy);
            let _ = news.send(News::SinkLost(error));
        }
    }
}

fn tell(facts: &[Placement], outstanding: &mut usize) {
    *outstanding = outstanding.saturating_sub(facts.len());
}

fn remark(sink: &mut dyn Sink, news: &Sender<News>) {
    let remarks = sink.remarks();
    if !remarks.is_empty() {
        let _ = news.send(News::Remarks(remarks));
    }
}

/// The caller's side of a pass: the only one that writes the journal.
struct Between<'p, 'a> {
    pass: &'p mut Pass<'a>,
    todo: &'p [Listed],
    budget: &'p Budget,
    sent: HashMap<u64, Sent>,
    /// Tickets of messages on the shelf.
    shelved: HashSet<u64>,
    next_ticket: u64,
    end: End,
    /// What ends the run once everything on its way is settled.
    stop: Option<Error>,
}

/// News gathered for one transaction.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    /// Tickets of settled messages, and what became of them once the transaction stands.
    fates: Vec<(String, Fate)>,
    /// Messages whose intents are in `changes`, in their order among the changes that make a copy.
    messages: Vec<(Option<Message>, Sent)>,
    octets: usize,
}

impl Between<'_, '_> {
    fn run(mut self, inbox: &Receiver<News>, outgoing: Sender<Vec<Outgoing>>) -> Result<End> {
        let mut outgoing = Some(outgoing);
        let mut reading = true;
        let mut delivered = vec![false; self.todo.len()];
        // Ends when both threads have gone, which is when nobody can send news any more.
        loop {
            let Ok(first) = inbox.recv() else { break };
            let mut group = Group::default();
            let started = Instant::now();
            let mut next = Some(first);
            loop {
                if let Some(news) = next.take() {
                    match news {
                        News::Read(index, message) => {
                            if let Some(seen) = delivered.get_mut(index) {
                                *seen = true;
                            }
                            self.read(index, message, &mut group)?;
                        }
                        News::ReadingEnded(error) => {
                            reading = false;
                            self.end.source = error;
                        }
                        News::Facts(facts) => self.facts(facts, &mut group),
                        News::Unsent(messages) => self.keep(messages),
                        News::Remarks(remarks) => remarks.into_iter().for_each(|text| self.pass.report.event(Event::Note(text))),
                        News::SinkLost(error) => {
                            self.end.sink = Some(error);
                            // What the source has on its way already need not be asked for again.
                            self.budget.end_by(self.pass.context.now().after(READ_ON));
                        }
                        News::SinkFailed(error) => return Err(error),
                    }
                }
                if group.messages.len() >= GROUP_MESSAGES || group.octets >= GROUP_OCTETS {
                    break;
                }
                let linger = if group.messages.is_empty() || group.octets >= GROUP_WORTH || !reading { Duration::ZERO } else { LINGER };
                match inbox.recv_timeout(linger.saturating_sub(started.elapsed())) {
                    Ok(news) => next = Some(news),
                    Err(_) => break,
                }
            }
            let to_send = self.commit(group)?;
            if let Some(channel) = &outgoing
                && !to_send.is_empty()
            {
                // A sink that is gone is news of its own.
                let _ = channel.send(to_send);
            }
            if self.stop.is_some() {
                self.budget.close();
                outgoing = None;
            }
            if !reading {
                outgoing = None;
            }
        }
        if let Some(error) = self.stop {
            return Err(error);
        }
        self.end.unread = delivered.iter().position(|seen| !seen);
        if self.end.source.is_none() && self.end.sink.is_none() {
            for (listed, _) in self.todo.iter().zip(&delivered).filter(|(_, seen)| !**seen) {
                self.pass.tally.insert(name_of(listed), Fate::Vanished);
            }
        }
        self.pass.context.check()?;
        Ok(self.end)
    }

    fn read(&mut self, index: usize, message: Result<Message>, group: &mut Group) -> Result<()> {
        let Some(listed) = self.todo.get(index) else { return Ok(()) };
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                self.budget.give(0);
                self.end.settled += 1;
                let reason = one_sentence(&error);
                group.changes.push(Change::Quarantine {
                    source: self.pass.source_name.to_owned(),
                    folder: self.pass.folder.clone(),
                    key: listed.key.clone(),
                    uid: Some(listed.id),
                    reason: reason.clone(),
                });
                group.fates.push((name_of(listed), Fate::Quarantined { id: listed.id, reason }));
                return Ok(());
            }
        };
        if self.end.sink.is_some() && listed.key.is_some() {
            self.pass.shelf.insert(name_of(listed), message);
            return Ok(());
        }
        let octets = weight(&message.body);
        if self.stop.is_some() {
            // Nothing more begins: an intent without its message would be looked for in vain.
            self.budget.give(octets);
            return Ok(());
        }
        let Digests { exact, content } = message.digests;
        let key = match &listed.key {
            Some(key) => key.clone(),
            None => self.pass.twins.key(content),
        };
        let name = key.to_string();
        let fate_of = |state| match state {
            State::Done | State::Merged => Fate::AlreadyThere,
            _ => Fate::Unknown { id: listed.id },
        };
        let row = self.pass.copies.get(&name);
        if listed.key.is_none()
            && let Some(row) = row
            && !matches!(row.state, State::Pending | State::Refused)
            && self.pass.renamed.keep(row.id)
        {
            self.budget.give(octets);
            self.pass.tally.entry(name).or_insert(fate_of(row.state));
            return Ok(());
        }
        // A key that the journal has is no new one.
        let is_new = row.is_none_or(|row| !matches!(row.state, State::Pending | State::Refused));
        if is_new && let Some((copy, state)) = self.pass.renamed.claim(content) {
            self.budget.give(octets);
            self.end.settled += 1;
            group.changes.push(Change::Renamed { copy, key });
            group.fates.push((name, fate_of(state)));
            return Ok(());
        }
        if listed.key.is_none() && matches!(self.pass.tally.get(&name), Some(Fate::Refused { .. })) {
            // Refused in this run, and read again only because its number tells nothing.
            self.budget.give(octets);
            return Ok(());
        }
        let mut message = message;
        let (header, body) = message.body.split_digests()?;
        let intent = NewIntent {
            source: self.pass.source_name.to_owned(),
            folder: self.pass.folder.clone(),
            key,
            mailbox: self.pass.target.mailbox,
            generation: self.pass.target.generation,
            exact,
            content,
            header: Some(header),
            body: Some(body),
            length: message.body.len(),
            floor: self.pass.target.floor,
            at: self.pass.context.unix_time(),
            again: self.pass.again.contains(&name),
        };
        let length = message.body.len();
        let sent = |copy| Sent { copy, key: name.clone(), name: name_of(listed), id: listed.id, octets, length };
        if let Some(uid) = self.pass.adoptable.claim(content, || Ok((header, body)))? {
            self.budget.give(octets);
            self.end.settled += 1;
            group.changes.push(Change::Adopted { copy: intent, uid: self.pass.target.lasting(uid) });
            group.messages.push((None, sent(CopyId::default())));
            group.fates.push((name, Fate::AlreadyThere));
            return Ok(());
        }
        if self.pass.brought.claim(content, || Ok((header, body)))?.is_some() {
            self.budget.give(octets);
            self.end.settled += 1;
            if self.pass.counts_for_ever {
                group.changes.push(Change::Counted { copy: intent });
                group.messages.push((None, sent(CopyId::default())));
            }
            group.fates.push((name, Fate::AlreadyThere));
            return Ok(());
        }
        if matches!(self.pass.options.flags, SourceFlags::None(_)) || message.internal_date.is_none() {
            let now = InternalDate { seconds: self.pass.context.unix_time(), offset: 0 };
            fill_in(&mut message, self.pass.options.flags, self.pass.options.date_from, now)?;
        }
        if let Err(error) = self.pass.options.gate.begin(length, self.pass.context) {
            self.budget.give(octets);
            self.stop.get_or_insert(error);
            return Ok(());
        }
        group.octets += octets;
        group.changes.push(Change::Intend(intent));
        group.messages.push((Some(message), sent(CopyId::default())));
        Ok(())
    }

    /// Keeps what was read for the next pass. A message that has no key cannot be told from others then.
    fn keep(&mut self, messages: Vec<Outgoing>) {
        for Outgoing { ticket, message } in messages {
            if let Some(sent) = self.sent.get(&ticket).filter(|sent| sent.key == sent.name) {
                self.pass.shelf.insert(sent.name.clone(), message);
                self.shelved.insert(ticket);
            }
        }
    }

    fn facts(&mut self, facts: Vec<Placement>, group: &mut Group) {
        for Placement { ticket, outcome } in facts {
            let Some(sent) = self.sent.remove(&ticket) else { continue };
            // What lies on the shelf counts on.
            if !self.shelved.remove(&ticket) {
                self.budget.give(sent.octets);
            }
            let copy = sent.copy;
            match outcome {
                Outcome::Stored { append_uid, altered } => {
                    self.end.settled += 1;
                    self.end.taken += 1;
                    if let (Some((uid_validity, _)), Some(expected)) = (append_uid, self.pass.target.uid_validity)
                        && uid_validity != expected
                    {
                        self.stop.get_or_insert_with(|| {
                            Error::new(Kind::Safety, "the destination folder's UIDVALIDITY changed during the run")
                                .hint("run the same command again: it finds out what arrived")
                        });
                        group.changes.push(Change::Unknown { copy, at: self.pass.context.unix_time(), altered: !altered.is_empty() });
                        group.fates.push((sent.key, Fate::Unknown { id: sent.id }));
                        continue;
                    }
                    let uid = append_uid.map(|(_, uid)| (self.pass.target.generation, uid));
                    if self.pass.quarantined.contains(&sent.name) {
                        group.changes.push(Change::Release {
                            source: self.pass.source_name.to_owned(),
                            folder: self.pass.folder.clone(),
                            key: sent.name.clone(),
                        });
                    }
                    group.changes.push(Change::Done { copy, uid, altered: !altered.is_empty() });
                    group.fates.push((sent.key, Fate::Copied { id: sent.id, bytes: sent.length, altered }));
                }
                Outcome::Refused(error) => {
                    self.end.settled += 1;
                    let reason = one_sentence(&error);
                    group.changes.push(Change::Refused { copy, reason: reason.clone() });
                    group.fates.push((sent.key, Fate::Refused { id: sent.id, reason }));
                    if error.kind() == Kind::Quota {
                        self.stop.get_or_insert_with(|| {
                            error
                                .copy()
                                .hint("make room there, then run the same command again: it goes on where it stopped")
                                .scoped(crate::error::Scope::Run)
                        });
                    }
                }
                Outcome::Unknown { altered } => {
                    group.changes.push(Change::Unknown { copy, at: self.pass.context.unix_time(), altered: !altered.is_empty() });
                    group.changes.push(Change::Lost { copy });
                    if !altered.is_empty() {
                        self.pass.altered.insert(sent.key.clone(), altered);
                    }
                    let unknown = self.pass.copies.get(&sent.key).map_or(0, |row| row.tries) + 1;
                    self.end.lost.push(Suspect { name: sent.name, key: sent.key.clone(), unknown });
                    group.fates.push((sent.key, Fate::Unknown { id: sent.id }));
                }
                Outcome::NotSent { begun, slowed } => {
                    self.pass.options.gate.take_back(sent.length);
                    group.changes.push(Change::Pending { copy });
                    let suspect = Suspect { name: sent.name, key: sent.key, unknown: 0 };
                    if begun {
                        self.end.begun.push(suspect);
                    } else if slowed {
                        self.end.slowed.push(suspect);
                    }
                }
            }
        }
    }

    /// Makes a group durable, tells of it, and returns what may be sent now.
    fn commit(&mut self, group: Group) -> Result<Vec<Outgoing>> {
        let copies = self.pass.journal.commit(&Batch(group.changes))?;
        for (key, fate) in group.fates {
            match &fate {
                Fate::Copied { bytes, .. } => self.pass.report.event(Event::Copied { folder: self.pass.folder.to_string(), bytes: *bytes }),
                Fate::Refused { id, reason } | Fate::Quarantined { id, reason } => self.pass.report.event(Event::Problem(Problem {
                    folder: self.pass.folder.to_string(),
                    uid: Some(*id),
                    reason: reason.clone(),
                })),
                _ => {}
            }
            self.pass.tally.insert(key, fate);
        }
        self.pass.journal.progress(&serde_json::json!({
            "source": self.pass.source_name,
            "folder": self.pass.folder.to_string(),
            "settled": self.end.settled,
            "of": self.todo.len(),
            "under_way": self.sent.len(),
        }));
        let mut to_send = Vec::new();
        for ((message, mut sent), copy) in group.messages.into_iter().zip(copies) {
            if let Some(message) = message {
                sent.copy = copy;
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.sent.insert(ticket, sent);
                to_send.push(Outgoing { ticket, message });
            }
        }
        Ok(to_send)
    }
}

/// Under what the tally keeps a message: its key, or its number where only reading it would tell a key.
pub(super) fn name_of(listed: &Listed) -> String {
    listed.key.as_ref().map_or_else(|| format!("number:{}", listed.id), ToString::to_string)
}

fn one_sentence(error: &Error) -> String {
    match error.server_said() {
        Some(words) => format!("{}; the server said: {words}", error.message()),
        None => error.message().to_owned(),
    }
}
