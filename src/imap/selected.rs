//! A selected mailbox: it borrows the session, so the compiler forbids asking a UID of the wrong mailbox. It owns every
//! verb that speaks of UIDs but for bulk reading, which is `bulk`'s.

use std::collections::{BTreeMap, VecDeque};

use super::encode::Command;
use super::session::{Capabilities, Session};
use super::types::{Code, Fetch, Response, Untagged};
use super::uid_set::{Gathered, UidSet};
use super::wire::{Received, refusal};
use crate::error::{Error, Kind, Result};
use crate::message::{Flag, InternalDate};
use crate::net::Phase;
use crate::query::Facts;

/// Octets of UIDs in one command; some servers cut lines at 8192.
pub(super) const MAX_SET: usize = 7000;

/// Octets of requests of a listing that may be unanswered.
const LISTING_OCTETS: usize = 16 * 1024 - 512;
/// Messages one command asks a summary of: named one by one they still fit [`MAX_SET`] octets.
const CHUNK: usize = 500;
/// Without headers so many, while their text is no longer than that: runs of UIDs take little room.
const SHORT_CHUNK: usize = 4000;
const SHORT_SET: usize = 1000;
/// The most messages [`Selected::newest`] asks for.
pub const NEWEST: u64 = 500;

/// Messages one mailbox may list.
const MAX_MESSAGES: u64 = 10_000_000;
/// The largest message a size may speak of.
const MAX_SIZE: u64 = 1 << 40;
/// New mail may arrive while a list runs; so many more is not that.
const MAX_NEW: u64 = 100_000;
/// Flags of one message that are looked at; more would only cost time, for flags are compared one by one.
const MAX_FLAGS: usize = 1000;
/// Octets of headers of one pair of chunks that are kept whole; later ones are cut to [`CUT_HEADER`] octets.
const MAX_HEADER_OCTETS: usize = 32 * 1024 * 1024;
const CUT_HEADER: usize = 4096;

/// What SELECT or EXAMINE told.
#[derive(Debug, Clone, Default)]
pub struct MailboxState {
    /// UIDVALIDITY; `None` where the server has none (UIDs mean nothing then).
    pub uid_validity: Option<u32>,
    /// UIDNEXT.
    pub uid_next: Option<u32>,
    /// HIGHESTMODSEQ.
    pub highest_mod_seq: Option<u64>,
    /// How many messages.
    pub exists: u64,
    /// MAILBOXID (RFC 8474).
    pub mailbox_id: Option<String>,
    /// The server said that it keeps no MODSEQs here (NOMODSEQ).
    pub no_mod_seqs: bool,
    /// Flags that can be changed for ever; `None` where the server did not say (then all can, RFC 3501 section 7.1).
    pub permanent_flags: Option<Vec<Flag>>,
    /// SELECT was answered with READ-ONLY: nothing here can be changed.
    pub read_only: bool,
}

impl MailboxState {
    /// Takes in what SELECT or EXAMINE tells in an untagged response.
    pub(super) fn learn(&mut self, told: &Untagged) {
        match told {
            Untagged::Exists(count) => self.exists = *count,
            Untagged::Status(status) => match &status.code {
                Some(Code::UidValidity(value)) => self.uid_validity = Some(*value),
                Some(Code::UidNext(value)) => self.uid_next = Some(*value),
                Some(Code::HighestModSeq(value)) => self.highest_mod_seq = Some(*value),
                Some(Code::NoModSeq) => self.no_mod_seqs = true,
                Some(Code::MailboxId(id)) => self.mailbox_id = Some(id.clone()),
                Some(Code::PermanentFlags(flags)) => self.permanent_flags = Some(flags.clone()),
                _ => {}
            },
            _ => {}
        }
    }

    /// Those of `flags` that the mailbox keeps, and those it does not.
    pub fn permitted(&self, flags: &[Flag]) -> (Vec<Flag>, Vec<Flag>) {
        let Some(permanent) = &self.permanent_flags else { return (flags.to_vec(), Vec::new()) };
        let any_keyword = permanent.iter().any(|flag| flag.wire() == "\\*");
        flags.iter().cloned().partition(|flag| permanent.contains(flag) || (any_keyword && !flag.wire().starts_with('\\')))
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Meta {
    /// What it says for a query: flags, size and date. The header is left out, for it holds but a few fields.
    pub fn facts(&self) -> Facts<'_> {
        let flags = self.flags_told.then_some(self.flags.as_slice());
        Facts { flags, size: self.size, internal_date: self.internal_date, header: None, whole: None }
    }
}

/// A mailbox selected in a session.
pub struct Selected<'a> {
    pub(super) session: &'a mut Session,
    pub(super) state: MailboxState,
    pub(super) wire_name: Vec<u8>,
    /// Opened with SELECT, so that CLOSE would expunge.
    pub(super) writable: bool,
    /// EXISTS as a search heard it last, where mail came in meanwhile.
    pub(super) arrived: Option<u64>,
}

impl<'a> Selected<'a> {
    pub(super) fn open(session: &'a mut Session, wire_name: &[u8], writable: bool) -> Result<Self> {
        let state = Self::look(session, wire_name, writable)?;
        Ok(Self::opened(session, wire_name, state, writable))
    }

    /// SELECT or EXAMINE: makes the mailbox the session's.
    pub(super) fn look(session: &mut Session, wire_name: &[u8], writable: bool) -> Result<MailboxState> {
        let command = open_command(wire_name, writable)?;
        session.examined = None;
        let mut state = MailboxState::default();
        let mut too_much = false;
        let status = session.run(&command, Phase::Listing, "opening the mailbox was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Search(_) | Untagged::ESearch(_) | Untagged::Sort(_) | Untagged::Fetch(_)) => too_much = true,
                Response::Untagged(told) => state.learn(&told),
                _ => {}
            }
            Ok(())
        })?;
        if too_much {
            // It belongs to the question that went ahead, which has to be asked once more.
            session.wire.spoil_ahead();
        }
        state.read_only = status.code == Some(Code::ReadOnly);
        // Some servers put it into the tagged line only.
        if let Some(Code::UidValidity(value)) = status.code {
            state.uid_validity.get_or_insert(value);
        }
        if !writable {
            // They say what this session may change, which is nothing, not what the mailbox keeps.
            state.permanent_flags = None;
        }
        Ok(state)
    }

    /// The mailbox that [`Self::look`] made the session's.
    pub(super) fn opened(session: &'a mut Session, wire_name: &[u8], state: MailboxState, writable: bool) -> Self {
        if !writable {
            session.examined = Some((wire_name.to_vec(), state.clone()));
        }
        Self { session, state, wire_name: wire_name.to_vec(), writable, arrived: None }
    }

    pub(super) fn still_open(session: &'a mut Session, wire_name: &[u8], state: MailboxState) -> Self {
        session.examined = Some((wire_name.to_vec(), state.clone()));
        Self { session, state, wire_name: wire_name.to_vec(), writable: false, arrived: None }
    }

    /// What SELECT or EXAMINE told.
    pub fn state(&self) -> &MailboxState {
        &self.state
    }

    /// Leaves the mailbox without changing it: by UNSELECT, else by CLOSE out of a read-only look at it, because CLOSE
    /// expunges what SELECT opened.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn leave(self) -> Result<()> {
        self.session.examined = None;
        if self.session.capabilities.has("UNSELECT") {
            return self.session.simple(&Command::new("UNSELECT"), "UNSELECT was refused").map(|_| ());
        }
        if self.writable {
            self.session.simple(&Command::new("EXAMINE").sp().mailbox(&self.wire_name)?, "EXAMINE was refused")?;
        }
        self.session.simple(&Command::new("CLOSE"), "CLOSE was refused").map(|_| ())
    }

    /// More messages than the mailbox can be told to hold.
    pub(super) fn most_messages(&self) -> u64 {
        self.state.exists.min(MAX_MESSAGES) + MAX_NEW
    }

    /// All UIDs, by ESEARCH where it is offered, else SEARCH.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn search_all(&mut self) -> Result<UidSet> {
        let simple = Command::new("UID SEARCH").raw(" ALL");
        // What is under way already is as good.
        let command = if self.session.wire.is_next_ahead(&simple) { simple } else { search_all_command(&self.session.capabilities) };
        let found = match self.run_search(&command) {
            Ok(found) => found.unwrap_or_default(),
            // QQ refuses any SEARCH (MailKit#1143).
            Err(error) if error.kind() == Kind::Refused => UidSet::new(),
            Err(error) => return Err(error),
        };
        // Domino finds nothing, and Yahoo not all. Only what has gone meanwhile may be missing.
        if found.len() >= self.state.exists { Ok(found) } else { self.fetch_uids(&found) }
    }

    /// Those found and all that FETCH tells of.
    fn fetch_uids(&mut self, found: &UidSet) -> Result<UidSet> {
        let mut all = Gathered::default();
        let most = self.most_messages();
        let mut told = 0;
        let mut news = News::default();
        self.session.wire.expected = 2 * most;
        let command = Command::new("UID FETCH").raw(" 1:* (UID)");
        let outcome = self.session.run(&command, Phase::Listing, "listing the messages was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Fetch(fetch)) => {
                    told += 1;
                    all.extend(fetch.uid);
                    if told > 2 * most || all.is_too_much() {
                        return Err(too_many());
                    }
                }
                Response::Untagged(told) => news.hear(&told),
                _ => {}
            }
            Ok(())
        });
        self.session.wire.expected = 0;
        self.take_news(&news);
        outcome?;
        all.extend(found.iter());
        Ok(all.finish())
    }

    /// Asks a search of any kind and takes in as many UIDs as the mailbox can hold. `None` where the server says that it
    /// searched and not what it found.
    pub(super) fn run_search(&mut self, command: &Command) -> Result<Option<UidSet>> {
        let mut found = Gathered::default();
        let most = self.most_messages();
        let mut listed = 0;
        let mut answered = false;
        let mut news = News::default();
        let mut fetched = false;
        self.session.wire.expect_long_lines(true);
        let outcome = self.session.run(command, Phase::Listing, "SEARCH was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Search(uids)) => {
                    answered = true;
                    listed += uids.len() as u64;
                    // Checked before it is taken in: the set could grow with every line.
                    if listed <= most {
                        found.extend(uids);
                    }
                    if found.is_too_much() {
                        return Err(too_many());
                    }
                }
                Response::Untagged(Untagged::ESearch(answer)) => {
                    answered = true;
                    if let Some(uids) = answer.all {
                        listed = uids.len();
                        if listed <= most {
                            found = Gathered::from(uids);
                        }
                    }
                }
                Response::Untagged(Untagged::Fetch(_)) => fetched = true,
                Response::Untagged(told) => news.hear(&told),
                _ => {}
            }
            if listed > most { Err(too_many()) } else { Ok(()) }
        });
        self.session.wire.expect_long_lines(false);
        self.take_news(&news);
        if fetched {
            // It may belong to a FETCH that went ahead, which has to be asked once more.
            self.session.wire.spoil_ahead();
        }
        outcome.map(|_| answered.then(|| found.finish()))
    }

    pub(super) fn take_news(&mut self, news: &News) {
        // They are not missing from what was found.
        self.state.exists = self.state.exists.saturating_sub(news.gone);
        self.arrived = news.exists.or(self.arrived.map(|exists| exists.saturating_sub(news.gone)));
    }

    /// UID, size and date of the messages from UID `first` on, rising by UID and complete.
    ///
    /// # Errors
    /// Refusal or loss of the connection; more messages than the mailbox can hold.
    pub fn list_from(&mut self, first: u32) -> Result<Vec<Meta>> {
        if self.state.exists == 0 {
            return Ok(Vec::new());
        }
        let command = Command::new("UID FETCH ").number(u64::from(first.max(1))).raw(":* (UID INTERNALDATE RFC822.SIZE)");
        let limit = self.state.exists.min(MAX_MESSAGES) + MAX_NEW;
        let mut found: BTreeMap<u32, Meta> = BTreeMap::new();
        let mut responses = 0;
        self.session.wire.expected = 2 * limit;
        let outcome = self.session.run(&command, Phase::Listing, "listing the messages was refused", &mut |received| {
            if let Response::Untagged(Untagged::Fetch(fetch)) = received.response {
                responses += 1;
                if responses > 2 * limit {
                    return Err(too_many());
                }
                // Flags come with the bodies; those a server adds unasked would only fill memory.
                if let Some(meta) = meta(Fetch { flags: None, ..fetch })
                    && meta.uid >= first
                {
                    merge(&mut found, meta);
                }
            }
            Ok(())
        });
        self.session.wire.expected = 0;
        outcome?;
        if first <= 1 && (found.len() as u64) < self.state.exists {
            self.complete(&mut found)?;
        }
        Ok(found.into_values().collect())
    }

    /// Adds what a listing left out although its command ended with OK (Yahoo does that): whatever SEARCH still finds is there,
    /// told of or not, and mail that nobody lists would be mail that nobody copies.
    fn complete(&mut self, found: &mut BTreeMap<u32, Meta>) -> Result<()> {
        let left_out: UidSet = self.search_all()?.iter().filter(|uid| !found.contains_key(uid)).collect();
        let mut more = Vec::new();
        self.summaries(&left_out, false, &mut |meta| {
            more.push(meta);
            Ok(())
        })?;
        for uid in left_out.iter() {
            found.entry(uid).or_insert(Meta {
                uid,
                size: None,
                internal_date: None,
                flags: Vec::new(),
                flags_told: false,
                header: None,
                marks: None,
            });
        }
        found.extend(more.into_iter().map(|meta| (meta.uid, meta)));
        Ok(())
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

/// What a server says of the mailbox while it answers something else.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Messages that went.
    pub(super) gone: u64,
    /// How many there are, where more came.
    pub(super) exists: Option<u64>,
}

impl News {
    /// Takes in what concerns it.
    pub(super) fn hear(&mut self, told: &Untagged) {
        let went = match told {
            Untagged::Exists(count) => {
                self.exists = Some(*count);
                0
            }
            Untagged::Expunge(_) => 1,
            Untagged::Vanished { earlier: false, uids } => uids.len(),
            _ => 0,
        };
        self.gone = self.gone.saturating_add(went);
        self.exists = self.exists.map(|exists| exists.saturating_sub(went));
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

pub(super) fn open_command(wire_name: &[u8], writable: bool) -> Result<Command> {
    Command::new(if writable { "SELECT" } else { "EXAMINE" }).sp().mailbox(wire_name)
}

pub(super) fn search_all_command(capabilities: &Capabilities) -> Command {
    let extended = capabilities.has("ESEARCH") || capabilities.has("IMAP4REV2");
    Command::new("UID SEARCH").raw(if extended { " RETURN (ALL) ALL" } else { " ALL" })
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

fn too_many() -> Error {
    Error::protocol("the server lists more than the mailbox can hold")
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
