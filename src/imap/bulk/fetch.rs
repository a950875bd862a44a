//! Pipelined reading of whole messages: two or more `UID FETCH` out, cut by size, so that the link never idles.

use std::collections::{HashMap, VecDeque};

use super::super::encode::Command;
use super::super::selected::{MAX_SET, Selected};
use super::super::types::{BodyValue, Fetch, Response, StatusLine, Untagged};
use super::super::uid_set::UidSet;
use super::super::wire::{MAX_IDLE_RESPONSES, Streamed, refusal};
use crate::error::{Error, Kind, Result, Scope};
use crate::message::{Body, Digester, Digests, Flag, InternalDate};
use crate::net::Phase;

/// Octets of messages asked for by one command: what is held back until its OK.
const SET_OCTETS: u64 = 1024 * 1024;
/// While the link is measured, so many sets are of so many octets: what is in flight when compression is decided on still comes
/// without it.
const SMALL_SETS: usize = 6;
const SMALL_OCTETS: u64 = 1024 * 1024;
/// What a message counts whose size nobody told.
const UNKNOWN_OCTETS: u64 = 64 * 1024;
/// UIDs in one command, where sizes are tiny or wrong.
const SET_MESSAGES: usize = 5000;
/// Commands in flight.
const COMMANDS: usize = 4;
/// Octets of unanswered requests.
const REQUEST_OCTETS: usize = 16 * 1024;
/// Octets of bodies held in memory, and bodies held in files, until their commands' ends: far more than is asked for, so
/// that only a server whose sizes are wrong gets there. What is beyond is asked for again, by sizes learned meanwhile.
const HELD_OCTETS: usize = 64 * 1024 * 1024;
const HELD_FILES: usize = 64;
/// Octets of flags of one message.
const FLAG_OCTETS: usize = 8 * 1024;
/// So many messages in a row are asked for one by one and not given; the others are not asked for so.
const IN_VAIN: u32 = 64;
/// What a message is put aside for.
const NO_BODY: &str = "the server answered without the message's body";
/// What follows would be a message's octets taken for answers, so the session ends there.
const TORN: &str = "the server gave the message another length than it has";
/// A body in vain counts as so many responses that bring nothing.
const VAIN_BODY: u64 = 1000;
/// Exchange answers with a made-up mail in place of one it cannot render (offlineimap#62, MailKit#1451).
const EXCHANGE_PLACEHOLDER: &[u8] = b"Retrieval using the IMAP4 protocol failed for the following message";
/// It stands in so many octets of it.
const PLACEHOLDER_WITHIN: usize = 16 * 1024;

/// A message to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// UID.
    pub uid: u32,
    /// RFC822.SIZE as listed: decides how sets are cut, and whether an empty body is believed.
    pub size: Option<u64>,
}

/// A message as it was read.
pub struct Fetched {
    /// Its bytes.
    pub body: Body,
    /// Their digests.
    pub digests: Digests,
    /// INTERNALDATE.
    pub internal_date: Option<InternalDate>,
    /// Flags.
    pub flags: Vec<Flag>,
}

/// A message whose answers are still coming in: a server may tell of it in several responses.
#[derive(Default)]
struct Partial {
    body: Option<(Body, Digests)>,
    internal_date: Option<InternalDate>,
    flags: Option<Vec<Flag>>,
    /// Why what came is not to be trusted.
    broken: Option<&'static str>,
}

struct Request {
    tag: String,
    uids: UidSet,
    octets: usize,
    partial: HashMap<u32, Partial>,
}

impl Request {
    /// Octets of bodies in memory, and bodies in files.
    fn held(&self) -> (usize, usize) {
        let bodies = self.partial.values().filter_map(|partial| partial.body.as_ref());
        bodies.fold((0, 0), |(octets, files), (body, _)| {
            let memory = body.memory_bytes();
            (octets + memory, files + usize::from(memory == 0 && !body.is_empty()))
        })
    }
}

/// What is held at the moment, all commands together.
#[derive(Default)]
struct Held {
    octets: usize,
    files: usize,
    /// Sizes of bodies for which there was no room.
    learned: HashMap<u32, u64>,
}

impl Held {
    fn has_room(&self) -> bool {
        self.octets < HELD_OCTETS && self.files < HELD_FILES
    }
}

impl Selected<'_> {
    /// Reads the messages `wanted` and hands each over once: its place in `wanted`, and the message, or why just this one
    /// cannot be had. A message that is gone from the mailbox is not handed over.
    ///
    /// A body counts only with every octet, the right UID and its command's OK; what an OK left out is asked for again,
    /// first together, then one by one.
    ///
    /// # Errors
    /// What ended the session, or what `each` returned.
    pub fn fetch(&mut self, wanted: &[Wanted], each: &mut dyn FnMut(usize, Result<Fetched>) -> Result<()>) -> Result<()> {
        let places: HashMap<u32, usize> = wanted.iter().enumerate().map(|(place, wanted)| (wanted.uid, place)).collect();
        let sizes = |uid: u32| places.get(&uid).and_then(|&place| wanted.get(place)).and_then(|wanted| wanted.size);
        let outcome = self.fetch_all(wanted, &places, &sizes, each);
        outcome.map_err(|error| error.at(&self.session.place))
    }

    fn fetch_all(
        &mut self,
        wanted: &[Wanted],
        places: &HashMap<u32, usize>,
        sizes: &dyn Fn(u32) -> Option<u64>,
        each: &mut dyn FnMut(usize, Result<Fetched>) -> Result<()>,
    ) -> Result<()> {
        let mut left = Vec::new();
        let mut held = Held::default();
        self.window(wanted, places, sizes, &mut held, each, &mut |uid, _| left.push(uid))?;
        if left.is_empty() {
            return Ok(());
        }
        // Yahoo answers OK to ranges it did not deliver whole; what is really gone is not asked for again.
        let there = self.which_exist(&left)?;
        let learned = std::mem::take(&mut held.learned);
        let size = |uid: u32| learned.get(&uid).copied().or_else(|| sizes(uid));
        let again: Vec<Wanted> = left.iter().filter(|uid| there.contains(**uid)).map(|&uid| Wanted { uid, size: size(uid) }).collect();
        let mut singles = Vec::new();
        self.window(&again, places, sizes, &mut held, each, &mut |uid, _| singles.push(uid))?;
        let mut in_vain = 0;
        for uid in singles {
            if in_vain == IN_VAIN {
                // A server that gives none of so many would cost a round trip or two for each of the others as well.
                if let Some(&place) = places.get(&uid) {
                    each(place, Err(Error::protocol(NO_BODY).scoped(Scope::Message)))?;
                }
                continue;
            }
            let mut reason = None;
            self.window(&[Wanted { uid, size: sizes(uid) }], places, sizes, &mut held, each, &mut |_, why| reason = Some(why))?;
            let Some(error) = reason else {
                in_vain = 0;
                continue;
            };
            if self.which_exist(&[uid])?.contains(uid)
                && let Some(&place) = places.get(&uid)
            {
                in_vain += 1;
                each(place, Err(error))?;
            }
        }
        Ok(())
    }

    fn which_exist(&mut self, uids: &[u32]) -> Result<UidSet> {
        let asked: UidSet = uids.iter().copied().collect();
        let mut there = UidSet::new();
        self.summaries(&asked, false, &mut |meta| {
            there.insert(meta.uid);
            Ok(())
        })?;
        // A server that leaves a message out of one answer leaves it out of the other: it is gone only when SEARCH says so too.
        let left = asked.difference(&there);
        for set in left.split(MAX_SET) {
            there.extend(self.still_there(&set)?.iter().filter(|uid| set.contains(*uid)));
        }
        Ok(there)
    }

    /// One pass over `wanted`; what a command's end left without a trustworthy body goes to `missed`, with the reason.
    fn window(
        &mut self,
        wanted: &[Wanted],
        places: &HashMap<u32, usize>,
        sizes: &dyn Fn(u32) -> Option<u64>,
        held: &mut Held,
        each: &mut dyn FnMut(usize, Result<Fetched>) -> Result<()>,
        missed: &mut dyn FnMut(u32, Error),
    ) -> Result<()> {
        let mut idle = 0;
        let mut in_flight: VecDeque<Request> = VecDeque::new();
        let mut measure = self.session.measure();
        let most = self.session.set_messages.unwrap_or(SET_MESSAGES);
        let mut sets = cut(wanted, if measure.is_some() { SMALL_SETS } else { 0 }, most).into_iter().peekable();
        // What is in flight comes in, and then the connection is compressed.
        let mut draining = false;
        loop {
            if sets.peek().is_some() && self.session.compression_pays(&mut measure) {
                draining = true;
            }
            if draining && in_flight.is_empty() {
                self.session.compress()?;
                draining = false;
            }
            while !draining
                && in_flight.len() < COMMANDS
                && let Some(set) = sets.next_if(|set| {
                    in_flight.is_empty()
                        || in_flight.iter().map(|request| request.octets).sum::<usize>() + set.to_string().len() + 64 < REQUEST_OCTETS
                })
            {
                let command = bodies_command(&set)?;
                let before = self.session.wire.conn.sent() + self.session.wire.conn.unsent() as u64;
                let tag = self.session.wire.send(&command)?;
                let after = self.session.wire.conn.sent() + self.session.wire.conn.unsent() as u64;
                in_flight.push_back(Request {
                    tag,
                    uids: set,
                    octets: usize::try_from(after - before).unwrap_or(0),
                    partial: HashMap::new(),
                });
            }
            if in_flight.is_empty() {
                self.session.add_measure(measure);
                return Ok(());
            }
            self.session.wire.conn.deadline(Phase::Body);
            // Each command has a phase of its own, which ends with it.
            loop {
                let received = match self.session.wire.receive() {
                    Ok(received) => received,
                    Err(error) => {
                        self.session.stuck_at = next_to_come(&in_flight);
                        return Err(error);
                    }
                };
                match received.response {
                    Response::Tagged { tag, status } => {
                        let Some(at) = in_flight.iter().position(|request| request.tag == tag) else {
                            self.session.wire.end(tag, status)?;
                            continue;
                        };
                        self.session.wire.end(tag.clone(), status)?;
                        let status = self.session.wire.take_end(&tag);
                        if let (Some(request), Some(status)) = (in_flight.remove(at), status) {
                            let (octets, files) = request.held();
                            (held.octets, held.files) = (held.octets.saturating_sub(octets), held.files.saturating_sub(files));
                            idle = 0;
                            conclude(request, &status, places, sizes, each, missed)?;
                        }
                        break;
                    }
                    Response::Untagged(Untagged::Fetch(fetch)) => {
                        if fetch.torn {
                            self.session.stuck_at = fetch.uid.or_else(|| next_to_come(&in_flight));
                            return Err(Error::protocol(TORN).scoped(Scope::Session));
                        }
                        let body = received.body.is_some();
                        if !take(fetch, received.body, &mut in_flight, held) {
                            idle += if body { VAIN_BODY } else { 1 };
                        }
                    }
                    _ => idle += 1,
                }
                if idle > MAX_IDLE_RESPONSES {
                    return Err(self.session.wire.flooded());
                }
            }
        }
    }
}

/// What [`Selected::fetch`] asks of a set of messages.
pub(in crate::imap) fn bodies_command(uids: &UidSet) -> Result<Command> {
    Ok(Command::new("UID FETCH").sp().uid_set(uids)?.raw(" (UID FLAGS INTERNALDATE BODY.PEEK[])"))
}

/// The first message that was asked for and whose body did not come whole: the one a lost session is to blame on.
fn next_to_come(in_flight: &VecDeque<Request>) -> Option<u32> {
    let came = |request: &Request, uid| request.partial.get(&uid).is_some_and(|partial| partial.body.is_some());
    in_flight.iter().find_map(|request| request.uids.iter().find(|&uid| !came(request, uid)))
}

/// Cuts `wanted` into sets of about [`SET_OCTETS`] whose text fits a command line; the first `small` ones are smaller.
fn cut(wanted: &[Wanted], small: usize, most_messages: usize) -> Vec<UidSet> {
    let mut sets: Vec<UidSet> = Vec::new();
    let mut octets = 0;
    let mut messages = 0;
    for wanted in wanted {
        let size = wanted.size.unwrap_or(UNKNOWN_OCTETS);
        let most = if sets.len() <= small { SMALL_OCTETS } else { SET_OCTETS };
        let full = messages >= most_messages || (messages > 0 && octets + size > most);
        if full || sets.is_empty() {
            sets.push(UidSet::new());
            (octets, messages) = (0, 0);
        }
        if let Some(set) = sets.last_mut() {
            set.insert(wanted.uid);
        }
        octets = octets.saturating_add(size);
        messages += 1;
    }
    sets.into_iter().flat_map(|set| set.split(MAX_SET)).collect()
}

/// Puts what a FETCH response brought to its message; says whether that was its body. Messages that nobody asked for are
/// left aside.
fn take(fetch: Fetch, streamed: Option<Streamed>, in_flight: &mut VecDeque<Request>, held: &mut Held) -> bool {
    let Some(uid) = fetch.uid else { return false };
    let Some(request) = in_flight.iter_mut().find(|request| request.uids.contains(uid)) else { return false };
    let partial = request.partial.entry(uid).or_default();
    if fetch.flags.iter().flatten().map(|flag| flag.wire().len()).sum::<usize>() > FLAG_OCTETS {
        partial.broken = Some("the server gives the message more flags than any server keeps");
    } else if fetch.flags.is_some() {
        partial.flags = fetch.flags;
    }
    partial.internal_date = fetch.internal_date.or(partial.internal_date);
    let body = match (fetch.body, streamed) {
        (Some(BodyValue::Streamed(octets)), Some(streamed))
            if streamed.alone && streamed.body.len() == octets && fetch.origin.is_none() =>
        {
            Some((streamed.body, streamed.digests))
        }
        (Some(BodyValue::Inline(bytes)), None) => {
            let mut digester = Digester::default();
            digester.update(&bytes);
            Some((Body::from(bytes), digester.finish()))
        }
        (Some(BodyValue::Nil) | None, None) => None,
        _ => {
            partial.broken = Some("the server's answer holds several bodies, or a part in place of the whole");
            None
        }
    };
    let Some((body, digests)) = body else { return false };
    match &partial.body {
        // The same message twice in one answer is the server's slip; two different ones under one UID are not to be trusted.
        Some((_, first)) => {
            if *first != digests {
                partial.broken = Some("the server gave two different bodies for one UID");
            }
            false
        }
        None if held.has_room() => {
            let memory = body.memory_bytes();
            held.octets += memory;
            held.files += usize::from(memory == 0 && !body.is_empty());
            partial.body = Some((body, digests));
            true
        }
        None => held.learned.insert(uid, body.len()).is_none(),
    }
}

/// Hands over what a command brought, now that its end is known, in rising order.
fn conclude(
    mut request: Request,
    status: &StatusLine,
    places: &HashMap<u32, usize>,
    sizes: &dyn Fn(u32) -> Option<u64>,
    each: &mut dyn FnMut(usize, Result<Fetched>) -> Result<()>,
    missed: &mut dyn FnMut(u32, Error),
) -> Result<()> {
    if status.slows() {
        return Err(refusal("the server slows us down", status));
    }
    for uid in request.uids.iter() {
        let partial = request.partial.remove(&uid).unwrap_or_default();
        let why = if !status.is_ok() {
            "reading the message was refused"
        } else if let Some(broken) = partial.broken {
            broken
        } else {
            match partial.body {
                None => NO_BODY,
                // A listed size is no gate, but an empty answer for a message that has one is no answer.
                Some((body, _)) if body.is_empty() && sizes(uid).unwrap_or(0) > 2 => {
                    "the server gave an empty body for a message that has one"
                }
                Some((body, _)) if is_placeholder(&body) => "the server gave a placeholder in place of the message",
                Some((body, digests)) => {
                    if let Some(&place) = places.get(&uid) {
                        let flags = partial.flags.unwrap_or_default().into_iter().filter(|flag| !flag.is_recent()).collect();
                        each(place, Ok(Fetched { body, digests, internal_date: partial.internal_date, flags }))?;
                    }
                    continue;
                }
            }
        };
        let kind = if status.is_ok() { Kind::Protocol } else { Kind::Refused };
        missed(uid, Error::new(kind, why).scoped(Scope::Message).said(status.words()));
    }
    Ok(())
}

fn is_placeholder(body: &Body) -> bool {
    body.len() < 64 * 1024
        && body
            .in_memory()
            .is_some_and(|bytes| memchr::memmem::find(bytes.get(..PLACEHOLDER_WITHIN).unwrap_or(bytes), EXCHANGE_PLACEHOLDER).is_some())
}
