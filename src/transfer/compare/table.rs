//! What is known of the messages of one side: what its listings said, and what was read since. Compact, for there may be hundreds
//! of thousands.

use std::ops::Range;

use super::reader::Reader;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, InternalDate, Key, header_digest};
use crate::report::compared::Half;
use crate::store::{Listed, Listing};
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

/// A message.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its folder's place in the table.
    pub(super) folder: usize,
    pub(super) listed: Listed,
    /// The unique-id, where it is not the key.
    shared: Option<Box<str>>,
    /// The header digest.
    pub(super) header: Option<Digest>,
    pub(super) whole: Option<Box<Whole>>,
    pub(super) facts: Option<Box<Facts>>,
    /// Why it could not be read.
    pub(super) trouble: Option<Box<str>>,
}

impl Entry {
    /// The unique-id by which POP3 lists it.
    pub(super) fn uidl(&self) -> Option<&str> {
        match &self.listed.key {
            Some(Key::Uidl { uidl }) => Some(uidl),
            _ => self.shared.as_deref(),
        }
    }

    /// Whether its key may come to be another message's.
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.listed.key, Some(Key::Uidl { .. }))
    }

    /// The UID, on IMAP.
    pub(super) fn uid(&self) -> Option<u32> {
        match self.listed.key {
            Some(Key::Uid { uid, .. }) => Some(uid),
            _ => None,
        }
    }

    /// Its number for people: local stores count from 0.
    fn number(&self) -> u32 {
        self.listed.id.saturating_add(u32::from(matches!(self.listed.key, Some(Key::Content { .. }))))
    }

    /// The content digest, as far as it is known.
    pub(super) fn content(&self) -> Option<Digest> {
        match (&self.whole, &self.listed.key) {
            (Some(whole), _) => Some(whole.content),
            (None, Some(Key::Content { digest, .. })) => Some(*digest),
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
}

impl Table {
    /// Takes in the listing of a folder; its messages' places.
    pub(super) fn add(&mut self, folder: &Folder, listing: Listing, uidls: Vec<Option<String>>) -> Range<usize> {
        let start = self.entries.len();
        let place = self.folders.len();
        self.folders.push((folder.clone(), listing.generation));
        self.entries.reserve(listing.messages.len());
        for (listed, uidl) in listing.messages.into_iter().zip(uidls) {
            let shared = uidl.map(String::into_boxed_str);
            self.entries.push(Entry { folder: place, listed, shared, header: None, whole: None, facts: None, trouble: None });
        }
        start..self.entries.len()
    }

    /// Takes in those messages of another table; their places here.
    pub(super) fn adopt(&mut self, other: Self, chosen: &[usize]) -> Range<usize> {
        let start = self.entries.len();
        let first = self.folders.len();
        let mut entries: Vec<Option<Entry>> = other.entries.into_iter().map(Some).collect();
        self.folders.extend(other.folders);
        let taken = chosen.iter().filter_map(|&index| entries.get_mut(index).and_then(Option::take));
        self.entries.extend(taken.map(|entry| Entry { folder: first + entry.folder, ..entry }));
        start..self.entries.len()
    }

    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    pub(super) fn header(&self, index: usize) -> Option<Digest> {
        self.entry(index)?.header
    }

    pub(super) fn folder(&self, index: usize) -> Option<&Folder> {
        self.folders.get(self.entry(index)?.folder).map(|(folder, _)| folder)
    }

    /// As rows show it.
    pub(super) fn half(&self, index: usize) -> Option<Half> {
        let entry = self.entry(index)?;
        let (folder, generation) = self.folders.get(entry.folder)?;
        let uid = entry.uid();
        Some(Half {
            folder: folder.to_string(),
            uidvalidity: *generation,
            uid,
            number: uid.is_none().then_some(entry.number()),
            uidl: entry.uidl().map(str::to_owned),
            size: entry.listed.size,
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
        let missing = |entry: &Entry| entry.trouble.is_none() && (entry.header.is_none() || (facts && entry.facts.is_none()));
        for (folder, places) in self.asked(wanted, missing) {
            let listed = self.listed(&places);
            reader.headers(&folder, &listed, &mut |at, outcome| {
                if let Some(entry) = places.get(at).and_then(|&place| self.entries.get_mut(place)) {
                    match outcome {
                        Ok(header) => {
                            entry.header.get_or_insert_with(|| header_digest(&header));
                            if facts {
                                entry.facts = Some(Box::new(Facts::of(&header)));
                            }
                        }
                        Err(error) => entry.fail(&error, trouble),
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads the messages `wanted` whole, those that were not yet.
    pub(super) fn learn_whole(&mut self, reader: &mut Reader<'_>, wanted: &[usize], facts: bool) -> Result<()> {
        for (folder, places) in self.asked(wanted, |entry| entry.trouble.is_none() && entry.whole.is_none()) {
            let listed = self.listed(&places);
            reader.whole(&folder, &listed, &mut |at, outcome| {
                if let Some(entry) = places.get(at).and_then(|&place| self.entries.get_mut(place)) {
                    let read = outcome.and_then(|message| {
                        let (header, body) = message.body.split_digests()?;
                        if facts {
                            entry.facts = Some(Box::new(Facts::of(&crate::store::header_of(&message.body)?)));
                        }
                        entry.header = Some(header);
                        entry.whole = Some(Box::new(Whole { content: message.digests.content, body }));
                        Ok(())
                    });
                    if let Err(error) = read {
                        entry.fail(&error, true);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Hands over the headers of `wanted` as they are.
    pub(super) fn each_header(&self, reader: &mut Reader<'_>, wanted: &[usize], each: &mut dyn FnMut(usize, Vec<u8>)) -> Result<()> {
        for (folder, places) in self.asked(wanted, |entry| entry.trouble.is_none()) {
            let listed = self.listed(&places);
            reader.headers(&folder, &listed, &mut |at, outcome| {
                if let (Some(&place), Ok(header)) = (places.get(at), outcome) {
                    each(place, header);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Those of `wanted` that `chosen` says, by folder and at most [`AT_ONCE`] together: the folder and their places.
    fn asked(&self, wanted: &[usize], chosen: impl Fn(&Entry) -> bool) -> Vec<(Folder, Vec<usize>)> {
        let mut places: Vec<(usize, usize)> = wanted
            .iter()
            .filter_map(|&place| self.entry(place).map(|entry| (place, entry)))
            .filter(|(_, entry)| chosen(entry))
            .map(|(place, entry)| (entry.folder, place))
            .collect();
        places.sort_unstable();
        places.dedup();
        let groups = places.chunk_by(|one, other| one.0 == other.0).flat_map(|group| group.chunks(AT_ONCE));
        let named = groups.filter_map(|group| Some((&self.folders.get(group.first()?.0)?.0, group)));
        named.map(|(folder, group)| (folder.clone(), group.iter().map(|(_, place)| *place).collect())).collect()
    }

    fn listed(&self, places: &[usize]) -> Vec<Listed> {
        places.iter().filter_map(|&place| self.entry(place)).map(|entry| entry.listed.clone()).collect()
    }
}

impl Entry {
    fn fail(&mut self, error: &Error, matters: bool) {
        if matters {
            self.trouble = Some(error.to_string().into());
        }
    }
}
