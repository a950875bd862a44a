//! Stores: where messages come from and go to, one implementation a file, behind two small traits. A store knows its own
//! protocol or file format and must never know the journal.

pub mod attachments;
mod delivery;
pub mod eml;
mod files;
pub mod gmail;
pub mod imap;
pub mod labels;
pub mod maildir;
pub mod mbox;
pub mod narrowed;
pub mod open;
pub mod origin;
pub mod pop3;
pub mod several;
pub mod sift;
pub mod spread;
pub mod takeout;
pub mod vault;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Body, Digest, Flag, FlagSet, FlagSets, InternalDate, Key, Message, header_len};
use crate::query::Query;

/// The special uses of RFC 6154 (and INBOX, which needs no attribute).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl fmt::Display for SpecialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Archive => "archive",
            Self::Drafts => "drafts",
            Self::Flagged => "flagged",
            Self::Junk => "junk",
            Self::Sent => "sent",
            Self::Trash => "trash",
        })
    }
}

/// A folder as a source shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderInfo {
    /// Its name.
    pub folder: Folder,
    /// Its special use, if any.
    pub special_use: Option<SpecialUse>,
    /// Whether it is subscribed (true where the store has no such notion).
    pub subscribed: bool,
    /// Whether it can hold messages.
    pub selectable: bool,
}

/// A message as a listing names it. Sizes are hints, never gates.
#[derive(Debug, Clone)]
pub struct Listed {
    /// How to ask this source for it: IMAP UID, POP3 message number, index in a local listing.
    pub id: u32,
    /// Its key; `None` where only reading it tells (POP3 without UIDL).
    pub key: Option<Key>,
    /// Size in octets as the source claims it.
    pub size: Option<u64>,
    /// INTERNALDATE, where the source has one.
    pub internal_date: Option<InternalDate>,
}

/// A complete listing of one folder.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// UIDVALIDITY; `None` where the source has no such notion.
    pub generation: Option<u32>,
    /// Its messages in the source's order.
    pub messages: Vec<Listed>,
}

/// The flags of a listing's messages.
#[derive(Debug, Clone, Default)]
pub struct ListedFlags {
    sets: FlagSets,
    of: Vec<Option<FlagSet>>,
}

impl ListedFlags {
    /// Those of messages in the order of the listing; `None` where nothing is known of them.
    pub fn new(sets: FlagSets, of: Vec<Option<FlagSet>>) -> Self {
        Self { sets, of }
    }

    /// Those of the message at this place of the listing, without `\Recent`.
    pub fn of(&self, place: usize) -> Option<&[Flag]> {
        self.of.get(place).copied().flatten().map(|set| self.sets.get(set))
    }
}

/// Where messages come from. Reading never changes anything there.
pub trait Source: Send {
    /// How messages and errors name it.
    fn place(&self) -> String;

    /// All folders, in a stable order.
    ///
    /// # Errors
    /// Whatever kept the listing from being complete: a lost connection is never "empty".
    fn folders(&mut self) -> Result<Vec<FolderInfo>>;

    /// Everything in `folder` now. The ids stay valid for [`Source::read`] until the next `list`.
    ///
    /// # Errors
    /// As [`Source::folders`].
    fn list(&mut self, folder: &Folder) -> Result<Listing>;

    /// As [`Source::list`], with the flags of the messages as far as the listing tells them without reading those.
    ///
    /// # Errors
    /// As [`Source::folders`].
    fn list_with_flags(&mut self, folder: &Folder) -> Result<(Listing, ListedFlags)> {
        Ok((self.list(folder)?, ListedFlags::default()))
    }

    /// Reads the messages `wanted` (of the folder listed last), in any order the source likes, and hands each over once:
    /// its index in `wanted`, and the message, or why just this one cannot be had (`Scope::Message`).
    /// A message that vanished since the listing is not handed over at all.
    ///
    /// # Errors
    /// What ended the reading as a whole, or what `each` returned. Messages handed over before that stay good.
    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()>;

    /// Reads just the headers of the messages `wanted`, the empty line behind them included; the rest as in [`Source::read`].
    ///
    /// # Errors
    /// As [`Source::read`].
    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.read(wanted, &mut |index, message| each(index, message.and_then(|message| header_of(&message.body))))
    }

    /// The header digests of the messages `wanted`, where the source knows them without reading those.
    fn header_digests(&mut self, wanted: &[Listed]) -> Option<HashSet<Digest>> {
        let _ = wanted;
        None
    }

    /// The unique-id by which POP3 lists a message of the last listing, whether it is the key or shared with others.
    fn unique_id(&self, listed: &Listed) -> Option<String> {
        match &listed.key {
            Some(Key::Uidl { uidl }) => Some(uidl.to_string()),
            _ => None,
        }
    }

    /// X-GM-MSGID of messages of the folder listed last, by id; empty where the source has no such thing.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    fn gmail_ids(&mut self, wanted: &[Listed]) -> Result<HashMap<u32, u64>> {
        let _ = wanted;
        Ok(HashMap::new())
    }

    /// Whether messages carry labels that say where they belong (Gmail's X-GM-EXT-1).
    fn has_labels(&self) -> bool {
        false
    }

    /// The labels of messages of the folder listed last, by id, in the octets of the wire. Of a message that is not there any more
    /// nothing is told.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    fn labels(&mut self, wanted: &[Listed], each: &mut dyn FnMut(u32, Vec<Vec<u8>>)) -> Result<()> {
        let _ = (wanted, each);
        Ok(())
    }

    /// Whether a polite end of the session would mark what was read as fetched (POP3 after RETR: Gmail hides such mail from then
    /// on, others call it seen). Who must leave no trace drops the session instead.
    fn end_marks(&self) -> bool {
        false
    }

    /// Those of `messages` (of the folder listed last) for which `query` holds for certain: by the server's search where it has
    /// one, else by looking into them.
    ///
    /// # Errors
    /// As [`Source::read`]; [`crate::error::Kind::Usage`] for conditions that only a server knows.
    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<sift::Picked> {
        sift::matching(messages, query, false, &mut |wanted, _, each| self.read(wanted, each))
    }

    /// The message (by its id) that was being read when the session was lost, where the source knows better than that it
    /// is the first one not handed over.
    fn stuck_at(&self) -> Option<u32> {
        None
    }

    /// What people should be told since the last call: each remark once.
    fn remarks(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Ends the session politely.
    ///
    /// # Errors
    /// Reported, but what was read stays read.
    fn finish(&mut self) -> Result<()>;
}

/// A message on its way into a sink.
pub struct Outgoing {
    /// The caller's number for it, given back in its [`Placement`].
    pub ticket: u64,
    /// The message.
    pub message: Message,
}

/// What became of one message.
#[derive(Debug)]
pub struct Placement {
    /// The caller's number.
    pub ticket: u64,
    /// The fact.
    pub outcome: Outcome,
}

/// Facts about one message at a sink.
#[derive(Debug)]
pub enum Outcome {
    /// It is there, durably.
    Stored {
        /// (UIDVALIDITY, UID) where the server said so (APPENDUID).
        append_uid: Option<(u32, u32)>,
        /// What the destination made us change, in words; empty for nothing.
        altered: Vec<String>,
    },
    /// It is known not to be there: the server's refusal.
    Refused(Error),
    /// It may or may not be there: the answer never came.
    Unknown {
        /// What the destination made us change, in words; empty for nothing.
        altered: Vec<String>,
    },
    /// It did not go out whole, so it is not there: send it again.
    NotSent {
        /// Whether the session was lost in the middle of it.
        begun: bool,
        /// Whether the destination refused it because it wants more time.
        slowed: bool,
    },
}

impl Outcome {
    /// Nothing of it went out.
    pub const UNTOUCHED: Self = Self::NotSent { begun: false, slowed: false };
}

/// A sink's folder as it stood when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkState {
    /// UIDVALIDITY; `None` where the store has no such notion.
    pub generation: Option<u32>,
    /// UIDNEXT: whatever is appended later gets this UID or a higher one.
    pub uid_next: Option<u32>,
    /// How many messages it held.
    pub messages: u64,
}

/// What a store says that it takes.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The most octets of one message, by folder (RFC 7889); `None` where it does not say.
    pub largest: Vec<Option<u64>>,
    /// What is limited over several folders together (RFC 9208).
    pub quotas: Vec<Quota>,
}

/// A limit to what an account holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// What it is called there; often nothing.
    pub root: String,
    /// What is counted.
    pub resource: Resource,
    /// How much of it is there.
    pub used: u64,
    /// How much of it may be.
    pub limit: u64,
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Octets. Servers count in units of 1024.
    Octets,
    /// Messages.
    Messages,
}

impl Quota {
    /// How much is left.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// How long [`Sink::settle`] waits for facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: what is known already.
    No,
    /// Until at least one more fact is known, if any is outstanding.
    One,
    /// Until every message taken has its fact.
    All,
}

/// Where messages go to: one folder at a time, which can be looked into as well, because what arrived has to be found
/// again when an answer got lost.
pub trait Sink: Send {
    /// How messages and errors name it.
    fn place(&self) -> String;

    /// All folders.
    ///
    /// # Errors
    /// As [`Source::folders`].
    fn folders(&mut self) -> Result<Vec<FolderInfo>>;

    /// Where each folder ends now: (folder, UIDVALIDITY, UIDNEXT), as far as the store knows such things.
    ///
    /// # Errors
    /// As [`Source::folders`].
    fn horizons(&mut self) -> Result<Vec<(Folder, u32, u32)>> {
        Ok(Vec::new())
    }

    /// Whether messages keep a number there (UIDs). Where they do not, ids are positions in the last [`Sink::look`], from 0 on.
    fn is_numbered(&self) -> bool {
        true
    }

    /// What `folder`, which is not there yet, will be listed as once it is: names that differ may be one there.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`]: there cannot be such a name.
    fn called(&mut self, folder: &Folder) -> Result<Folder> {
        Ok(folder.clone())
    }

    /// How much it takes, as far as it tells: for each of `folders` the largest message, and the room there is for all of them.
    ///
    /// # Errors
    /// As [`Source::folders`]. A store that refuses to tell tells nothing.
    fn room(&mut self, folders: &[Folder]) -> Result<Room> {
        Ok(Room { largest: vec![None; folders.len()], ..Room::default() })
    }

    /// How long one question and its answer take; `None` where nobody is asked.
    ///
    /// # Errors
    /// As [`Source::folders`].
    fn round_trip(&mut self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Turns to `folder`; `None` when it is not there and `create` does not ask for it. Nothing may be outstanding.
    ///
    /// # Errors
    /// The folder cannot be opened or made.
    fn open(&mut self, folder: &FolderInfo, create: bool) -> Result<Option<SinkState>>;

    /// What is in the open folder now, from UID `first` on, looked at afresh. Nothing may be outstanding.
    ///
    /// # Errors
    /// As [`Source::list`].
    fn look(&mut self, first: u32) -> Result<Listing>;

    /// Reads messages that [`Sink::look`] listed, as [`Source::read`] does. Nothing may be outstanding.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()>;

    /// Reads just the headers of messages that [`Sink::look`] listed, as [`Source::headers`] does. Nothing may be outstanding.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.read(wanted, &mut |index, message| each(index, message.and_then(|message| header_of(&message.body))))
    }

    /// Takes a message; it may only have been queued when this returns. A lost session shows in [`Sink::lost`].
    ///
    /// # Errors
    /// Local trouble.
    fn append(&mut self, message: Outgoing) -> Result<()>;

    /// Sends what is queued without waiting for answers.
    ///
    /// # Errors
    /// Local trouble.
    fn push(&mut self) -> Result<()> {
        Ok(())
    }

    /// The facts learnt since the last call.
    ///
    /// # Errors
    /// Only local trouble: a lost session shows as `Unknown` and `NotSent`.
    fn settle(&mut self, wait: Wait) -> Result<Vec<Placement>>;

    /// Messages whose fate is [`Outcome::NotSent`] and that were kept as they came, so that nobody has to read them again. To be
    /// asked for before the session is dropped.
    fn unsent(&mut self) -> Vec<Outgoing> {
        Vec::new()
    }

    /// What people should be told since the last call: each remark once.
    fn remarks(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Why the session is lost, if it is: a new sink is needed then.
    fn lost(&self) -> Option<&Error> {
        None
    }

    /// Ends the session politely.
    ///
    /// # Errors
    /// Reported, but what was settled stays settled.
    fn finish(&mut self) -> Result<()>;
}

/// A header is looked for in so many octets.
const HEADER_OCTETS: usize = 1024 * 1024;

/// The header of a message with the empty line behind it; all of it where no empty line comes.
pub(crate) fn header_of(body: &Body) -> Result<Vec<u8>> {
    let mut head = body.prefix(HEADER_OCTETS)?;
    head.truncate(header_len(&head).unwrap_or(head.len()));
    Ok(head)
}

/// What is to be told of a message that goes where flags have no room.
fn flags_left_out(message: &Message) -> Option<String> {
    let flags: Vec<String> = copyable(&message.flags).iter().map(ToString::to_string).collect();
    (!flags.is_empty()).then(|| format!("there is no room for flags: {}", flags.join(" ")))
}

/// Flags a copy takes along: everything but `\Recent`.
pub fn copyable(flags: &[Flag]) -> Vec<Flag> {
    flags.iter().filter(|flag| !flag.is_recent()).cloned().collect()
}
