//! What is known of the messages of one side: what its listings said, and what was read since. Compact, for there may be hundreds
//! of thousands.

use std::num::NonZeroU32;
use std::ops::Range;

use super::reader::{Reader, Told};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Digest, Flag, FlagSet, FlagSets, InternalDate, Key, header_digest};
use crate::report::compared::Half;
use crate::store::Listed;
use crate::summary::Summary;

/// What a row shows of a header.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) date: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) subject: Option<String>,
}

/// Messages that a source is asked for together: enough that waiting for it counts for nothing, and few enough to name them again.
const AT_ONCE: usize = 5000;
/// Characters of a field that are kept: RFC 5322 section 2.1.1 allows a line no more octets than that.
const FIELD: usize = 998;

impl Facts {
    pub(super) fn of(header: &[u8]) -> Self {
        let summary = Summary::of(header);
        let kept =
            |text: String| text.char_indices().nth(FIELD).and_then(|(at, _)| text.get(..at)).map_or_else(|| text.clone(), str::to_owned);
        Self {
            date: summary.date.and_then(InternalDate::rfc3339),
            message_id: summary.message_id.map(kept),
            subject: summary.subject.map(kept),
        }
    }
}

/// What reading a message whole told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// Content digest of all of it.
    pub(super) content: Digest,
    /// Content digest of its body.
    pub(super) body: Digest,
}

/// A message. Of a hundred thousand each octet here is a tenth of a megabyte.
#[derive(Debug)]
pub(super) struct Entry {
    name: Name,
    /// [`NO_SIZE`] where none was told.
    size: u64,
    /// INTERNALDATE: [`NO_DATE`] where there is none.
    seconds: i64,
    offset: i32,
    /// How to ask the source for it.
    id: u32,
    folder: u32,
    flags: Option<FlagSet>,
    /// One more than the header digest's place in the table.
    header: Option<NonZeroU32>,
    more: Option<Box<More>>,
}

const NO_SIZE: u64 = u64::MAX;
const NO_DATE: i64 = i64::MIN;

/// What a message is known by.
#[derive(Debug)]
enum Name {
    /// Only reading it would tell.
    None,
    /// The UID, which is its id, under its folder's UIDVALIDITY.
    Uid,
    /// The unique-id.
    Uidl(Box<str>),
    /// Nothing, and it has a unique-id that others have too.
    Shared(Box<str>),
    /// Its content.
    Content(Box<(Digest, u32)>),
    /// A key of another kind.
    Other(Box<Key>),
}

/// What few messages have.
#[derive(Debug, Default)]
struct More {
    whole: Option<Box<Whole>>,
    facts: Option<Box<Facts>>,
    /// Why it could not be read.
    trouble: Option<Box<str>>,
}

impl Entry {
    fn new(folder: usize, generation: Option<u32>, listed: Listed, shared: Option<String>, flags: Option<FlagSet>) -> Self {
        let Listed { id, key, size, internal_date } = listed;
        let name = match (key, shared) {
            (Some(Key::Uid { generation: own, uid }), _) if uid == id && Some(own) == generation => Name::Uid,
            (Some(Key::Uidl { uidl }), _) => Name::Uidl(uidl),
            (Some(Key::Content { digest, occurrence }), _) => Name::Content(Box::new((digest, occurrence))),
            (Some(key), _) => Name::Other(Box::new(key)),
            (None, Some(uidl)) => Name::Shared(uidl.into_boxed_str()),
            (None, None) => Name::None,
        };
        let date = internal_date.unwrap_or(InternalDate { seconds: NO_DATE, offset: 0 });
        Self {
            name,
            size: size.unwrap_or(NO_SIZE),
            seconds: date.seconds,
            offset: date.offset,
            id,
            folder: u32::try_from(folder).unwrap_or(u32::MAX),
            flags,
            header: None,
            more: None,
        }
    }

    /// Its folder's place in the table.
    pub(super) fn folder(&self) -> usize {
        usize::try_from(self.folder).unwrap_or(usize::MAX)
    }

    /// How to ask the source for it.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Its size as its side claims it.
    pub(super) fn size(&self) -> Option<u64> {
        Some(self.size).filter(|size| *size != NO_SIZE)
    }

    pub(super) fn internal_date(&self) -> Option<InternalDate> {
        (self.seconds != NO_DATE).then_some(InternalDate { seconds: self.seconds, offset: self.offset })
    }

    /// The unique-id by which POP3 lists it.
    pub(super) fn uidl(&self) -> Option<&str> {
        match &self.name {
            Name::Uidl(uidl) | Name::Shared(uidl) => Some(uidl),
            _ => None,
        }
    }

    /// Whether its key may come to be another message's.
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.name, Name::Uidl(_))
    }

    /// The UID, on IMAP.
    pub(super) fn uid(&self) -> Option<u32> {
        match &self.name {
            Name::Uid => Some(self.id),
            Name::Other(key) => match **key {
                Key::Uid { uid, .. } => Some(uid),
                _ => None,
            },
            _ => None,
        }
    }

    /// Its number for people: local stores count from 0.
    fn number(&self) -> u32 {
        self.id.saturating_add(u32::from(matches!(self.name, Name::Content(_))))
    }

    pub(super) fn whole(&self) -> Option<Whole> {
        self.more.as_ref()?.whole.as_deref().copied()
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        self.more.as_ref()?.facts.as_deref()
    }

    /// Why it could not be read.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.more.as_ref()?.trouble.as_deref()
    }

    /// Whether its header digest is known.
    pub(super) fn has_header(&self) -> bool {
        self.header.is_some()
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The content digest, as far as it is known.
    pub(super) fn content(&self) -> Option<Digest> {
        match (self.whole(), &self.name) {
            (Some(whole), _) => Some(whole.content),
            (None, Name::Content(content)) => Some(content.0),
            _ => None,
        }
    }
}

/// The messages of a side, folder by folder in the order of its listings.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Folders and their UIDVALIDITYs.
    pub(super) folders: Vec<(Folder, Option<u32>)>,
    pub(super) entries: Vec<Entry>,
    /// Header digests of those messages whose headers were read.
    headers: Vec<Digest>,
    sets: FlagSets,
}

impl Table {
    /// Takes in the listing of a folder; its messages' places.
    pub(super) fn add(&mut self, folder: &Folder, listed: Told) -> Range<usize> {
        let Told { listing, uidls, flags } = listed;
        let start = self.entries.len();
        let place = self.folders.len();
        self.folders.push((folder.clone(), listing.generation));
        self.entries.reserve_exact(listing.messages.len());
        let mut uidls = uidls.into_iter().peekable();
        for (at, listed) in listing.messages.into_iter().enumerate() {
            let shared = uidls.next_if(|(place, _)| *place == at).map(|(_, uidl)| uidl);
            let flags = flags.of(at).and_then(|flags| self.sets.add(flags));
            self.entries.push(Entry::new(place, listing.generation, listed, shared, flags));
        }
        start..self.entries.len()
    }

    /// Takes in those messages of another table; their places here.
    pub(super) fn adopt(&mut self, other: Self, chosen: &[usize]) -> Range<usize> {
        let start = self.entries.len();
        let first = self.folders.len();
        let Self { folders, entries, headers, sets } = other;
        let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
        self.folders.extend(folders);
        for mut entry in chosen.iter().filter_map(|&index| entries.get_mut(index).and_then(Option::take)) {
            entry.folder = u32::try_from(first + entry.folder()).unwrap_or(u32::MAX);
            entry.flags = entry.flags.and_then(|flags| self.sets.add(sets.get(flags)));
            let header = entry.header.take().and_then(|place| digest_at(&headers, place).copied());
            self.entries.push(entry);
            if let Some(header) = header {
                self.set_header(self.entries.len() - 1, header);
            }
        }
        start..self.entries.len()
    }

    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    pub(super) fn header(&self, index: usize) -> Option<&Digest> {
        self.entry(index)?.header.and_then(|place| digest_at(&self.headers, place))
    }

    fn set_header(&mut self, index: usize, digest: Digest) {
        let next = u32::try_from(self.headers.len() + 1).ok().and_then(NonZeroU32::new);
        if let Some(entry) = self.entries.get_mut(index)
            && next.is_some()
        {
            entry.header = next;
            self.headers.push(digest);
        }
    }

    pub(super) fn folder(&self, index: usize) -> Option<&Folder> {
        self.folders.get(self.entry(index)?.folder()).map(|(folder, _)| folder)
    }

    /// The flags, where the listing told them.
    pub(super) fn flags(&self, index: usize) -> Option<&[Flag]> {
        self.entry(index)?.flags.map(|set| self.sets.get(set))
    }

    /// As the listing named it.
    pub(super) fn listed(&self, index: usize) -> Option<Listed> {
        let entry = self.entry(index)?;
        let key = match &entry.name {
            Name::None | Name::Shared(_) => None,
            Name::Uid => self.folders.get(entry.folder())?.1.map(|generation| Key::Uid { generation, uid: entry.id }),
            Name::Uidl(uidl) => Some(Key::Uidl { uidl: uidl.clone() }),
            Name::Content(content) => Some(Key::Content { digest: content.0, occurrence: content.1 }),
            Name::Other(key) => Some((**key).clone()),
        };
        Some(Listed { id: entry.id, key, size: entry.size(), internal_date: entry.internal_date() })
    }

    /// As rows show it.
    pub(super) fn half(&self, index: usize) -> Option<Half> {
        let entry = self.entry(index)?;
        let (folder, generation) = self.folders.get(entry.folder())?;
        let uid = entry.uid();
        Some(Half {
            folder: folder.to_string(),
            uidvalidity: *generation,
            uid,
            number: uid.is_none().then_some(entry.number()),
            uidl: entry.uidl().map(str::to_owned),
            size: entry.size(),
        })
    }

    /// How a sentence calls it.
    pub(super) fn name(&self, index: usize) -> String {
        let Some(half) = self.half(index) else { return String::new() };
        match (half.uid, half.number) {
            (Some(uid), _) => format!("{} UID {uid}", half.folder),
            (None, Some(number)) => format!("{} number {number}", half.folder),
            (None, None) => half.folder,
        }
    }

    /// Reads the headers of `wanted` that are not known yet: their digests, and with `facts` what rows show. What cannot be read is
    /// marked, where `trouble` says that it matters.
    pub(super) fn learn(&mut self, reader: &mut Reader<'_>, wanted: &[usize], facts: bool, trouble: bool) -> Result<()> {
        let missing = |entry: &Entry| entry.trouble().is_none() && (!entry.has_header() || (facts && entry.facts().is_none()));
        for (folder, places) in self.asked(wanted, missing) {
            let listed = self.all_listed(&places);
            let read = reader.headers(&folder, &listed, &mut |at, outcome| {
                let Some(&place) = places.get(at) else { return Ok(()) };
                match outcome {
                    Ok(header) => {
                        if self.header(place).is_none() {
                            self.set_header(place, header_digest(&header));
                        }
                        if let Some(entry) = self.entries.get_mut(place).filter(|_| facts) {
                            entry.more().facts = Some(Box::new(Facts::of(&header)));
                        }
                    }
                    Err(error) => self.fail(place, &error, trouble),
                }
                Ok(())
            });
            self.closed(read, &places, missing, trouble)?;
        }
        Ok(())
    }

    /// Reads the messages `wanted` whole, those that were not yet.
    pub(super) fn learn_whole(&mut self, reader: &mut Reader<'_>, wanted: &[usize], facts: bool) -> Result<()> {
        let missing = |entry: &Entry| entry.trouble().is_none() && entry.whole().is_none();
        for (folder, places) in self.asked(wanted, missing) {
            let listed = self.all_listed(&places);
            let read = reader.whole(&folder, &listed, &mut |at, outcome| {
                let Some(&place) = places.get(at) else { return Ok(()) };
                let read = outcome.and_then(|message| {
                    let (header, body) = message.body.split_digests()?;
                    let shown = if facts { Some(Box::new(Facts::of(&crate::store::header_of(&message.body)?))) } else { None };
                    if self.header(place).is_none() {
                        self.set_header(place, header);
                    }
                    if let Some(entry) = self.entries.get_mut(place) {
                        let more = entry.more();
                        more.facts = shown.or_else(|| more.facts.take());
                        more.whole = Some(Box::new(Whole { content: message.digests.content, body }));
                    }
                    Ok(())
                });
                if let Err(error) = read {
                    self.fail(place, &error, true);
                }
                Ok(())
            });
            self.closed(read, &places, missing, true)?;
        }
        Ok(())
    }

    /// Hands over the headers of `wanted` as they are, of those that can be had.
    pub(super) fn each_header(&self, reader: &mut Reader<'_>, wanted: &[usize], each: &mut dyn FnMut(usize, Vec<u8>)) -> Result<()> {
        for (folder, places) in self.asked(wanted, |entry| entry.trouble().is_none()) {
            let listed = self.all_listed(&places);
            let read = reader.headers(&folder, &listed, &mut |at, outcome| {
                if let (Some(&place), Ok(header)) = (places.get(at), outcome) {
                    each(place, header);
                }
                Ok(())
            });
            match read {
                Err(error) if error.scope() <= Scope::Mailbox => {}
                read => read?,
            }
        }
        Ok(())
    }

    /// A folder that cannot be opened any more is the trouble of the messages in it that were still to be read, and of no others.
    fn closed(&mut self, read: Result<()>, places: &[usize], missing: impl Fn(&Entry) -> bool, matters: bool) -> Result<()> {
        match read {
            Err(error) if error.scope() <= Scope::Mailbox => {
                let open: Vec<usize> = places.iter().copied().filter(|&place| self.entry(place).is_some_and(&missing)).collect();
                open.into_iter().for_each(|place| self.fail(place, &error, matters));
                Ok(())
            }
            read => read,
        }
    }

    /// Those of `wanted` that `chosen` says, by folder and at most [`AT_ONCE`] together: the folder and their places.
    fn asked(&self, wanted: &[usize], chosen: impl Fn(&Entry) -> bool) -> Vec<(Folder, Vec<usize>)> {
        let mut places: Vec<(usize, usize)> = wanted
            .iter()
            .filter_map(|&place| self.entry(place).map(|entry| (place, entry)))
            .filter(|(_, entry)| chosen(entry))
            .map(|(place, entry)| (entry.folder(), place))
            .collect();
        places.sort_unstable();
        places.dedup();
        let groups = places.chunk_by(|one, other| one.0 == other.0).flat_map(|group| group.chunks(AT_ONCE));
        let named = groups.filter_map(|group| Some((&self.folders.get(group.first()?.0)?.0, group)));
        named.map(|(folder, group)| (folder.clone(), group.iter().map(|(_, place)| *place).collect())).collect()
    }

    fn all_listed(&self, places: &[usize]) -> Vec<Listed> {
        places.iter().filter_map(|&place| self.listed(place)).collect()
    }

    fn fail(&mut self, place: usize, error: &Error, matters: bool) {
        if let Some(entry) = self.entries.get_mut(place).filter(|_| matters) {
            entry.more().trouble = Some(error.to_string().into());
        }
    }
}

fn digest_at(headers: &[Digest], place: NonZeroU32) -> Option<&Digest> {
    usize::try_from(place.get() - 1).ok().and_then(|at| headers.get(at))
}
