//! Listing a selected mailbox: flags, sizes, dates and header fields of many messages, asked for in chunks and held within
//! bounds whatever the server tells. Which UIDs there are is `selected`'s to find out; bodies are `bulk`'s.

use std::collections::{BTreeMap, VecDeque};

use super::encode::Command;
use super::selected::{Selected, too_many};
use super::types::{Fetch, Response, Untagged};
use super::uid_set::UidSet;
use super::wire::{Received, refusal};
use crate::error::{Kind, Result};
use crate::message::{Flag, FlagSet, FlagSets, InternalDate};
use crate::net::Phase;
use crate::query::Facts;

/// Octets of requests of a listing that may be unanswered.
const LISTING_OCTETS: usize = 16 * 1024 - 512;
/// Messages one command asks a summary of: named one by one they still fit [`MAX_SET`](super::selected::MAX_SET) octets.
const CHUNK: usize = 500;
/// Without headers so many, while their text is no longer than that: runs of UIDs take little room.
const SHORT_CHUNK: usize = 4000;
const SHORT_SET: usize = 1000;
/// The most messages [`Selected::newest`] asks for.
pub const NEWEST: u64 = 500;
/// The largest message a size may speak of.
const MAX_SIZE: u64 = 1 << 40;
/// Flags of one message that are looked at; more would only cost time, for flags are compared one by one.
const MAX_FLAGS: usize = 1000;
/// Octets of headers of one pair of chunks that are kept whole; later ones are cut to [`CUT_HEADER`] octets.
const MAX_HEADER_OCTETS: usize = 32 * 1024 * 1024;
const CUT_HEADER: usize = 4096;

/// What is asked of messages beside flags, date and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// Nothing.
    Numbers,
    /// The fields that a summary shows.
    Summary,
    /// Just these fields, at least one.
    Fields(&'a [&'a str]),
    /// What stays the same of a message in whatever folder it lies, and Gmail's labels.
    Marks(Extras),
    /// Flags alone, and Gmail's labels.
    Flags(Extras),
}

/// What only some servers have to tell of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// EMAILID (RFC 8474).
    pub object_ids: bool,
    /// Gmail's X-GM-MSGID and X-GM-LABELS.
    pub gmail: bool,
}

impl Ask<'_> {
    /// Whether answers are short, so that many messages fit a command.
    fn is_short(self) -> bool {
        matches!(self, Self::Numbers | Self::Marks(_) | Self::Flags(_))
    }
}

/// What servers with extensions know a message by, and how Gmail files it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// EMAILID.
    pub email_id: Option<String>,
    /// X-GM-MSGID.
    pub gm_msgid: Option<u64>,
    /// X-GM-LABELS in wire octets.
    pub gm_labels: Option<Vec<Vec<u8>>>,
}

/// What a listing tells of a message.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// UID.
    pub uid: u32,
    /// RFC822.SIZE: a hint, some servers estimate it.
    pub size: Option<u64>,
    /// INTERNALDATE.
    pub internal_date: Option<InternalDate>,
    /// Flags.
    pub flags: Vec<Flag>,
    /// Whether the server told them: else none are known, which is not the same as none.
    pub flags_told: bool,
    /// The header, where it was asked for.
    pub header: Option<Vec<u8>>,
    /// What extensions tell, where it was asked for.
    pub marks: Option<Box<Marks>>,
}

/// What a listing of a hundred thousand messages keeps of each.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    uid: u32,
    flags: Option<FlagSet>,
    /// [`NO_SIZE`] where none was told.
    size: u64,
    /// [`NO_DATE`] where none was told.
    seconds: i64,
    offset: i32,
}

const NO_SIZE: u64 = u64::MAX;
const NO_DATE: i64 = i64::MIN;

impl Numbers {
    fn of(meta: &Meta, flags: Option<FlagSet>) -> Self {
        let date = meta.internal_date.unwrap_or(InternalDate { seconds: NO_DATE, offset: 0 });
        Self { uid: meta.uid, flags, size: meta.size.unwrap_or(NO_SIZE), seconds: date.seconds, offset: date.offset }
    }

    /// Takes in what was said later of the same message.
    fn merge(&mut self, later: &Self) {
        if later.size != NO_SIZE {
            self.size = later.size;
        }
        if later.seconds != NO_DATE {
            (self.seconds, self.offset) = (later.seconds, later.offset);
        }
        self.flags = later.flags.or(self.flags);
    }

    fn meta(self) -> Meta {
        let internal_date = (self.seconds != NO_DATE).then_some(InternalDate { seconds: self.seconds, offset: self.offset });
        Meta { uid: self.uid, size: Some(self.size).filter(|size| *size != NO_SIZE), internal_date, ..Meta::default() }
    }
}

/// Rising by UID, each once, the last word on it counting.
fn in_order(mut found: Vec<Numbers>) -> Vec<Numbers> {
    if !found.is_sorted_by(|one, other| one.uid < other.uid) {
        // Stable: of one message what was said first stays first.
        found.sort_by_key(|one| one.uid);
        found.dedup_by(|later, one| {
            let same = later.uid == one.uid;
            if same {
                one.merge(later);
            }
            same
        });
    }
    found
}

impl Meta {
    /// What it says for a query: flags, size and date. The header is left out, for it holds but a few fields.
    pub fn facts(&self) -> Facts<'_> {
        let flags = self.flags_told.then_some(self.flags.as_slice());
        Facts { flags, size: self.size, internal_date: self.internal_date, header: None, whole: None }
    }
}

impl Selected<'_> {
    /// UID, size and date of the messages from UID `first` on, rising by UID and complete.
    ///
    /// # Errors
    /// Refusal or loss of the connection; more messages than the mailbox can hold.
    pub fn list_from(&mut self, first: u32) -> Result<impl Iterator<Item = Meta> + use<>> {
        // Of a hundred thousand messages just what was asked for is kept.
        Ok(self.numbers_from(first, None)?.into_iter().map(Numbers::meta))
    }

    /// The same of all messages, and the flags of each, which go into `sets`; `None` of whose flags nothing was told.
    ///
    /// # Errors
    /// As [`Self::list_from`].
    pub fn list_flagged(&mut self, sets: &mut FlagSets) -> Result<impl Iterator<Item = (Meta, Option<FlagSet>)> + use<>> {
        Ok(self.numbers_from(1, Some(sets))?.into_iter().map(|one| (one.meta(), one.flags)))
    }

    fn numbers_from(&mut self, first: u32, mut sets: Option<&mut FlagSets>) -> Result<Vec<Numbers>> {
        let mut found = Vec::new();
        if self.state.exists == 0 {
            return Ok(found);
        }
        let asked = if sets.is_some() { ":* (UID FLAGS INTERNALDATE RFC822.SIZE)" } else { ":* (UID INTERNALDATE RFC822.SIZE)" };
        let command = Command::new("UID FETCH ").number(u64::from(first.max(1))).raw(asked);
        let limit = self.most_messages();
        let mut responses = 0;
        self.session.wire.expected = 2 * limit;
        let outcome = self.session.run(&command, Phase::Listing, "listing the messages was refused", &mut |received| {
            if let Response::Untagged(Untagged::Fetch(fetch)) = received.response {
                responses += 1;
                if responses > 2 * limit {
                    return Err(too_many());
                }
                // Flags that a server adds unasked would only fill memory.
                let fetch = if sets.is_some() { fetch } else { Fetch { flags: None, ..fetch } };
                if let Some(meta) = meta(fetch)
                    && meta.uid >= first
                {
                    found.push(numbers(&meta, sets.as_deref_mut()));
                }
            }
            Ok(())
        });
        self.session.wire.expected = 0;
        outcome?;
        let mut found = in_order(found);
        if first <= 1 && (found.len() as u64) < self.state.exists {
            found = self.complete(found, sets)?;
        }
        Ok(found)
    }

    /// Adds what a listing left out although its command ended with OK (Yahoo does that): whatever SEARCH still finds is there,
    /// told of or not, and mail that nobody lists would be mail that nobody copies.
    fn complete(&mut self, mut found: Vec<Numbers>, mut sets: Option<&mut FlagSets>) -> Result<Vec<Numbers>> {
        let listed = |uid: u32| found.binary_search_by_key(&uid, |one| one.uid).is_ok();
        let left_out: UidSet = self.search_all()?.iter().filter(|uid| !listed(*uid)).collect();
        found.extend(left_out.iter().map(|uid| Numbers::of(&Meta { uid, ..Meta::default() }, None)));
        self.summaries(&left_out, false, &mut |meta| {
            found.push(numbers(&meta, sets.as_deref_mut()));
            Ok(())
        })?;
        Ok(in_order(found))
    }

    /// The newest `count` messages (at most [`NEWEST`]) as [`Self::summaries`] tells of them, rising by UID, without a search:
    /// asked for by where they stand. `None` where the answer is not complete, so that only a search tells what is there.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn newest(&mut self, count: u64, headers: bool) -> Result<Option<Vec<Meta>>> {
        let count = count.min(NEWEST).min(self.state.exists);
        if count == 0 {
            return Ok(Some(Vec::new()));
        }
        let first = self.state.exists - count + 1;
        let command = Command::new("FETCH ").number(first).raw(":*").raw(items(headers));
        let mut found: BTreeMap<u32, Meta> = BTreeMap::new();
        let mut octets = 0;
        let outcome = self.session.run(&command, Phase::Listing, "listing the messages was refused", &mut |received| {
            if let Response::Untagged(Untagged::Fetch(fetch)) = received.response
                && fetch.seq >= first
                && let Some(mut meta) = meta(fetch)
            {
                octets += cut(&mut meta, octets);
                merge(&mut found, meta);
                // The oldest goes when new mail comes in, and whatever a server invents.
                while found.len() as u64 > count {
                    found.pop_first();
                }
            }
            Ok(())
        });
        match outcome {
            // A message that went meanwhile has no size any more, or is left out; so is one that Yahoo forgets.
            Ok(_) => {
                let whole = found.len() as u64 == count && found.values().all(|meta| meta.size.is_some());
                Ok(whole.then(|| found.into_values().collect()))
            }
            Err(error) if error.kind() == Kind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands over, in chunks of a few hundred and in rising order, what `list` shows of `uids`: flags, size, date and the
    /// header fields that [`crate::summary`] reads. Two chunks are in flight (without headers some thousands of messages);
    /// memory does not grow with the mailbox.
    ///
    /// # Errors
    /// Refusal or loss of the connection, or what `each` returned.
    pub fn summaries(&mut self, uids: &UidSet, headers: bool, each: &mut dyn FnMut(Meta) -> Result<()>) -> Result<()> {
        self.metas(uids, if headers { Ask::Summary } else { Ask::Numbers }, each)
    }

    /// As [`Self::summaries`], with the header fields that are asked for; without any the chunks are larger.
    pub(super) fn metas(&mut self, uids: &UidSet, ask: Ask<'_>, each: &mut dyn FnMut(Meta) -> Result<()>) -> Result<()> {
        self.chunks(&mut uids.iter(), ask, each)
    }

    /// As [`Self::summaries`], in the order given.
    ///
    /// # Errors
    /// As [`Self::summaries`].
    pub fn summaries_in_order(
        &mut self,
        order: &mut dyn Iterator<Item = u32>,
        headers: bool,
        each: &mut dyn FnMut(Meta) -> Result<()>,
    ) -> Result<()> {
        self.chunks(order, if headers { Ask::Summary } else { Ask::Numbers }, each)
    }

    /// Asks for chunks of UIDs, several at once, and hands over what came of each in the order given.
    fn chunks(&mut self, order: &mut dyn Iterator<Item = u32>, ask: Ask<'_>, each: &mut dyn FnMut(Meta) -> Result<()>) -> Result<()> {
        // Without headers answers are short, and a few round trips tell of ten thousand messages: commands go out together,
        // and again when little is left unanswered.
        let (commands, low) = if ask.is_short() { (8, LISTING_OCTETS / 16) } else { (2, LISTING_OCTETS) };
        let mut in_flight: VecDeque<Chunk> = VecDeque::new();
        let mut unanswered = 0;
        let mut ready: Option<(Vec<u32>, UidSet, Command)> = None;
        let mut found: BTreeMap<u32, Meta> = BTreeMap::new();
        let mut octets = 0;
        loop {
            let refill = unanswered <= low;
            while refill && in_flight.len() < commands {
                let (order, uids, command) = match ready.take() {
                    Some(ready) => ready,
                    None => {
                        let (chunk, uids) = next_chunk(order, ask.is_short());
                        if chunk.is_empty() {
                            break;
                        }
                        let command = metas_command(&uids, ask)?;
                        (chunk, uids, command)
                    }
                };
                let length = command.to_string().len();
                if unanswered > 0 && unanswered + length > LISTING_OCTETS {
                    ready = Some((order, uids, command));
                    break;
                }
                unanswered += length;
                let (tag, early) = self.session.wire.ask(&command).map_err(|error| error.at(&self.session.place))?;
                in_flight.push_back(Chunk { tag, early, uids, order, length });
            }
            let Some(chunk) = in_flight.pop_front() else { return Ok(()) };
            unanswered -= chunk.length;
            let place = &self.session.place;
            let wire = &mut self.session.wire;
            let mut each_response = |received: Received| {
                if let Response::Untagged(Untagged::Fetch(fetch)) = received.response
                    && let Some(mut meta) = meta(fetch)
                    && (chunk.uids.contains(meta.uid) || in_flight.iter().any(|other| other.uids.contains(meta.uid)))
                {
                    octets += cut(&mut meta, octets);
                    merge(&mut found, meta);
                }
                Ok(())
            };
            wire.conn.deadline(Phase::Listing);
            let mut status = wire.finish_any(&chunk.tag, &mut each_response);
            if chunk.early && status.as_ref().is_ok_and(|status| !status.is_ok()) {
                // Too soon for this server, perhaps.
                status = wire.send(&metas_command(&chunk.uids, ask)?).and_then(|tag| {
                    wire.conn.deadline(Phase::Listing);
                    wire.finish_any(&tag, &mut each_response)
                });
            }
            let status = status.map_err(|error| error.at(place))?;
            if !status.is_ok() {
                return Err(refusal("listing the messages was refused", &status).at(place));
            }
            for uid in chunk.order {
                if let Some(meta) = found.remove(&uid) {
                    octets = octets.saturating_sub(weight(&meta));
                    each(meta)?;
                }
            }
        }
    }
}

/// Messages whose summaries are on their way.
struct Chunk {
    tag: String,
    /// Whether the command went ahead of its time.
    early: bool,
    uids: UidSet,
    /// In which they are handed over.
    order: Vec<u32>,
    /// Octets of the command.
    length: usize,
}

/// The UIDs of one command, in the order given and as a set; none where no more are left.
fn next_chunk(order: &mut dyn Iterator<Item = u32>, short: bool) -> (Vec<u32>, UidSet) {
    // Any order fits a line: UIDs one by one take eleven octets at most.
    let mut chunk: Vec<u32> = (&mut *order).take(CHUNK).collect();
    let mut uids: UidSet = chunk.iter().copied().collect();
    while short && !chunk.is_empty() && chunk.len() < SHORT_CHUNK && uids.to_string().len() < SHORT_SET {
        let more: Vec<u32> = (&mut *order).take(CHUNK).collect();
        if more.is_empty() {
            break;
        }
        uids.extend(more.iter().copied());
        chunk.extend(more);
    }
    (chunk, uids)
}

/// What [`Selected::summaries`] asks of a few messages.
pub(super) fn summaries_command(uids: &UidSet, headers: bool) -> Result<Command> {
    metas_command(uids, if headers { Ask::Summary } else { Ask::Numbers })
}

fn metas_command(uids: &UidSet, ask: Ask<'_>) -> Result<Command> {
    let command = Command::new("UID FETCH").sp().uid_set(uids)?;
    let names = match ask {
        Ask::Fields(names) => names,
        Ask::Numbers | Ask::Summary => return Ok(command.raw(items(ask == Ask::Summary))),
        Ask::Marks(extras) => {
            return Ok(command.raw(match (extras.object_ids, extras.gmail) {
                (false, false) => " (UID FLAGS INTERNALDATE RFC822.SIZE)",
                (true, false) => " (UID FLAGS INTERNALDATE RFC822.SIZE EMAILID)",
                (false, true) => " (UID FLAGS INTERNALDATE RFC822.SIZE X-GM-MSGID X-GM-LABELS)",
                (true, true) => " (UID FLAGS INTERNALDATE RFC822.SIZE EMAILID X-GM-MSGID X-GM-LABELS)",
            }));
        }
        Ask::Flags(extras) => return Ok(command.raw(flag_items(extras))),
    };
    let mut command = command.raw(" (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (");
    for (index, name) in names.iter().enumerate() {
        command = if index > 0 { command.sp() } else { command }.astring(name.as_bytes())?;
    }
    Ok(command.raw(")])"))
}

/// What is asked of a message whose flags alone are wanted.
pub(super) fn flag_items(extras: Extras) -> &'static str {
    if extras.gmail { " (UID FLAGS X-GM-LABELS)" } else { " (UID FLAGS)" }
}

fn items(headers: bool) -> &'static str {
    if headers {
        " (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM TO CC SUBJECT MESSAGE-ID)])"
    } else {
        " (UID FLAGS INTERNALDATE RFC822.SIZE)"
    }
}

/// Octets that count for the bound on what is held.
fn weight(meta: &Meta) -> usize {
    let labels = meta.marks.iter().flat_map(|marks| &marks.gm_labels).flatten().map(|label| label.len() + 24).sum::<usize>();
    meta.header.as_ref().map_or(0, Vec::len) + meta.flags.iter().map(|flag| flag.wire().len() + 24).sum::<usize>() + labels
}

/// Cuts what a message brings where `held` octets are held already; returns what is left of it.
fn cut(meta: &mut Meta, held: usize) -> usize {
    if held + weight(meta) - meta.header.as_ref().map_or(0, Vec::len) > MAX_HEADER_OCTETS {
        meta.flags.truncate(100);
        if let Some(labels) = meta.marks.as_mut().and_then(|marks| marks.gm_labels.as_mut()) {
            labels.truncate(100);
        }
        if let Some(header) = &mut meta.header {
            header.truncate(CUT_HEADER);
            header.shrink_to_fit();
        }
    }
    weight(meta)
}

/// Several FETCH responses may speak of one message; each may bring something.
fn merge(found: &mut BTreeMap<u32, Meta>, meta: Meta) {
    match found.entry(meta.uid) {
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(meta);
        }
        std::collections::btree_map::Entry::Occupied(mut entry) => {
            let own = entry.get_mut();
            own.size = meta.size.or(own.size);
            own.internal_date = meta.internal_date.or(own.internal_date);
            if meta.flags_told {
                own.flags = meta.flags;
                own.flags_told = true;
            }
            own.header = meta.header.or(own.header.take());
            own.marks = match (own.marks.take(), meta.marks) {
                (Some(old), Some(new)) => Some(Box::new(Marks {
                    email_id: new.email_id.or(old.email_id),
                    gm_msgid: new.gm_msgid.or(old.gm_msgid),
                    gm_labels: new.gm_labels.or(old.gm_labels),
                })),
                (old, new) => new.or(old),
            };
        }
    }
}

fn numbers(meta: &Meta, sets: Option<&mut FlagSets>) -> Numbers {
    Numbers::of(meta, sets.filter(|_| meta.flags_told).and_then(|sets| sets.add(&meta.flags)))
}

fn meta(mut fetch: Fetch) -> Option<Meta> {
    let marks = Marks { email_id: fetch.email_id.take(), gm_msgid: fetch.gm_msgid, gm_labels: fetch.gm_labels.take() };
    Some(Meta {
        uid: fetch.uid?,
        // A size beyond all mail is none; sums of what is left cannot overflow.
        size: fetch.size.filter(|size| *size <= MAX_SIZE),
        internal_date: fetch.internal_date,
        flags_told: fetch.flags.is_some(),
        flags: fetch.flags.unwrap_or_default().into_iter().filter(|flag| !flag.is_recent()).take(MAX_FLAGS).collect(),
        header: fetch.header,
        marks: (marks != Marks::default()).then(|| Box::new(marks)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_late_and_twice_is_one_message_in_its_place() {
        let one = |uid: u32, size: Option<u64>| Numbers::of(&Meta { uid, size, ..Meta::default() }, None);
        let found = in_order(vec![one(3, Some(1)), one(1, None), one(3, None), one(2, Some(7)), one(3, Some(9))]);
        let shown: Vec<_> = found.into_iter().map(Numbers::meta).map(|meta| (meta.uid, meta.size, meta.internal_date)).collect();
        assert_eq!(shown, [(1, None, None), (2, Some(7), None), (3, Some(9), None)]);
    }
}
