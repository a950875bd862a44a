//! What the folders' own ladders left over: looked for in other folders, among what is there once more, and among what was changed
//! on the way; and the last word on each pair.

use std::collections::{HashMap, HashSet};

use super::Comparison;
use super::steps::{Bench, gmail_places};
use super::table::{Entry, Table};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::matching::formula::Recipe;
use crate::matching::ladder;
use crate::message::Digest;
use crate::report::compared::{Confidence, Method};
use crate::report::{Event, counted};

/// Octets by which the sizes of twins on one server may differ, whose headers are alike but for fields that do not count.
const TWIN_OCTETS: u64 = 16;
/// Octets that fields which do not count may make.
const UNSTABLE_OCTETS: u64 = 512;
/// Octets that a changed header may make.
const HEADER_OCTETS: u64 = 4096;

/// A message's place, what it is known by (in which folder, where that counts), and its size.
type Clued = (usize, (Option<usize>, Trace), Option<u64>);

/// A message's size and place.
type Weighed = (Option<u64>, usize);

impl Bench<'_> {
    /// Looks in one more folder for what is left of a maildrop.
    pub(super) fn other_folder(&mut self, comparison: &Comparison<'_>, folder: &Folder) -> Result<()> {
        let left = self.left(0);
        let Some(reader) = self.readers.get_mut(1) else { return Ok(()) };
        let listed = reader.list(folder);
        let told = match listed {
            // One that cannot be opened hides what it holds, and the rest is not the worse for it.
            Err(error) if error.scope() <= Scope::Mailbox => {
                comparison.report.event(Event::Note(format!("{error}; it was not looked into")));
                self.be_blind_to(1, folder);
                return Ok(());
            }
            listed => listed?,
        };
        let mut aside = Table::default();
        let range = aside.add(folder, told);
        let wanted: Vec<usize> = range.clone().collect();
        let mut pairs: Vec<(usize, usize, Method, Confidence)> = Vec::new();
        let mut blind = false;
        if self.recipe == Some(Recipe::Gmail) {
            let mut places = gmail_places(&aside, reader, &range)?;
            for &index in &left {
                let origin = self.tables[0].entry(index).and_then(Entry::uidl).and_then(|uidl| Recipe::Gmail.origin(uidl, None));
                if let Some(place) = origin.and_then(|origin| places.remove(&origin)) {
                    pairs.push((index, place, Method::UidlFormula, Confidence::Exact));
                }
            }
        }
        let mut paired: HashSet<usize> = pairs.iter().map(|pair| pair.0).collect();
        let mut taken: HashSet<usize> = pairs.iter().map(|pair| pair.1).collect();
        let there: HashMap<u32, usize> = range.clone().filter_map(|place| Some((aside.entry(place)?.uid()?, place))).collect();
        let validity = aside.folders.first().and_then(|(_, validity)| *validity);
        let known: Vec<(usize, usize)> = self
            .journal
            .of(comparison, &self.tables[0], &left, folder, validity)
            .into_iter()
            .filter_map(|(index, uid)| Some((index, *there.get(&uid)?)))
            .filter(|(index, _)| !paired.contains(index))
            .collect();
        let lent: Vec<usize> =
            known.iter().filter(|(index, _)| self.entry(0, *index).is_some_and(Entry::is_lent)).map(|(_, place)| *place).collect();
        let Some(reader) = self.readers.get_mut(1) else { return Ok(()) };
        aside.learn(reader, &lent, false, true)?;
        for (index, place) in known {
            // Some servers give a unique-id again once its message is gone.
            let own = self.tables[0].entry(index).is_some_and(|entry| !entry.is_lent());
            if (own || self.tables[0].header(index).is_some_and(|header| aside.header(place) == Some(header))) && taken.insert(place) {
                paired.insert(index);
                pairs.push((index, place, Method::Journal, Confidence::Exact));
            }
        }
        let open: Vec<usize> =
            left.iter().copied().filter(|index| !paired.contains(index) && self.tables[0].header(*index).is_some()).collect();
        if !open.is_empty() {
            aside.learn(reader, &wanted, false, true)?;
            // Of several under one header each is to meet its own.
            for sized in [true, false] {
                let key = |table: &Table, index: usize| {
                    Some((*table.header(index)?, if sized { Some(table.entry(index)?.size()?) } else { None }))
                };
                let here = open.iter().filter(|index| !paired.contains(index));
                let here = here.filter_map(|&index| Some((index, key(&self.tables[0], index)?)));
                let there = wanted.iter().filter(|place| !taken.contains(place));
                let there = there.filter_map(|&place| Some((place, key(&aside, place)?)));
                let found = ladder::pair_equal(here, there);
                paired.extend(found.iter().map(|pair| pair.0));
                taken.extend(found.iter().map(|pair| pair.1));
                pairs.extend(found.into_iter().map(|(a, b)| (a, b, Method::Header, Confidence::Strong)));
            }
            let unread = aside.entries.iter().filter(|entry| entry.trouble().is_some()).count();
            if unread > 0 {
                let messages = counted(unread as u64, "message");
                comparison.report.event(Event::Note(format!("{messages} of {folder} could not be read and may be what is missing")));
                blind = true;
            }
        }
        if blind {
            self.be_blind_to(1, folder);
        }
        if pairs.is_empty() {
            return Ok(());
        }
        let Some(table) = self.tables.get_mut(1) else { return Ok(()) };
        let places = table.adopt(aside, &pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
        self.book.grow(1, table.entries.len());
        for (pair, place) in pairs.into_iter().zip(places) {
            self.book.pair(pair.0, place, pair.2, pair.3);
        }
        Ok(())
    }

    pub(super) fn be_blind_to(&mut self, side: usize, folder: &Folder) {
        let Some(unseen) = self.unseen.get_mut(side) else { return };
        // A sentence holds no more.
        match unseen.len() {
            0..3 => unseen.push(folder.to_string()),
            3 => unseen.push("other folders".to_owned()),
            _ => {}
        }
    }

    /// What is left of all folders, whatever folder it is in.
    pub(super) fn elsewhere(&mut self) -> Result<()> {
        let left = [self.left(0), self.left(1)];
        if left.iter().any(Vec::is_empty) {
            return Ok(());
        }
        self.take_by_content(&left);
        self.take_by_header(&left);
        Ok(())
    }

    /// Finds out which of what is left is there once more: a message of the same side that has its counterpart is the same.
    pub(super) fn twins(&mut self) -> Result<()> {
        for side in 0..2 {
            let left = self.left(side);
            if left.is_empty() {
                continue;
            }
            let size = |index: usize| self.entry(side, index).and_then(Entry::size);
            let mut sizes: Vec<u64> = left.iter().filter_map(|&index| size(index)).collect();
            let unknown = sizes.len() < left.len();
            sizes.sort_unstable();
            let near = |size: u64| {
                let at = sizes.partition_point(|&own| own.saturating_add(TWIN_OCTETS) < size);
                sizes.get(at).is_some_and(|&own| own <= size.saturating_add(TWIN_OCTETS))
            };
            let all = 0..self.tables.get(side).map_or(0, |table| table.entries.len());
            let paired: Vec<usize> = all.filter(|&index| !self.book.is_free(side, index)).collect();
            let alike: Vec<usize> = paired
                .into_iter()
                .filter(|&index| unknown || self.entry(side, index).is_some_and(Entry::has_header) || size(index).is_none_or(near))
                .collect();
            self.learn_quietly(side, &alike)?;
            let full = self.full;
            let size = |index: usize| self.entry(side, index).and_then(Entry::size);
            let mark = |index: usize| {
                let body = if full { Some(self.entry(side, index)?.whole()?.body) } else { None };
                Some((self.header(side, index)?, body))
            };
            let mut known: HashMap<(&Digest, Option<Digest>), Vec<Weighed>> =
                left.iter().filter_map(|&index| Some((mark(index)?, Vec::new()))).collect();
            for &index in &alike {
                if let Some(list) = mark(index).and_then(|mark| known.get_mut(&mark)) {
                    list.push((size(index), index));
                }
            }
            known.values_mut().for_each(|list| list.sort_unstable());
            let twin = |index: usize| {
                let list = known.get(&mark(index)?)?;
                // Under one header there may be another body; who is longer is another one.
                let least = size(index).filter(|_| !full).map(|size| size.saturating_sub(TWIN_OCTETS));
                let fits = |other: Option<u64>| match (size(index), other) {
                    (Some(one), Some(other)) => full || one.abs_diff(other) <= TWIN_OCTETS,
                    _ => true,
                };
                let at = list.partition_point(|(size, _)| least.is_some() && *size < least);
                let of_any_size = list.first().filter(|(size, _)| size.is_none());
                list.get(at).filter(|(size, _)| fits(*size)).or(of_any_size).map(|(_, twin)| *twin)
            };
            let found: Vec<(usize, usize)> = left.iter().filter_map(|&index| Some((index, twin(index)?))).collect();
            if let Some(doubled) = self.doubled.get_mut(side) {
                doubled.extend(found);
            }
        }
        Ok(())
    }

    fn learn_quietly(&mut self, side: usize, wanted: &[usize]) -> Result<()> {
        match (self.tables.get_mut(side), self.readers.get_mut(side)) {
            (Some(table), Some(reader)) => table.learn(reader, wanted, false, false),
            _ => Err(Error::usage("there are two sides")),
        }
    }

    /// What is left on both sides may be one message that was changed on the way.
    pub(super) fn altered(&mut self) -> Result<()> {
        let left = |bench: &Self, side: usize| -> Vec<usize> {
            let doubled = bench.doubled.get(side);
            let single = |index: &usize| !doubled.is_some_and(|doubled| doubled.contains_key(index));
            let readable = |index: &usize| bench.entry(side, *index).is_some_and(|entry| entry.trouble().is_none());
            bench.left(side).into_iter().filter(single).filter(readable).collect()
        };
        let (a, b) = (left(self, 0), left(self, 1));
        if a.is_empty() || b.is_empty() {
            return Ok(());
        }
        self.learn([&a, &b], [true, true])?;
        // First in folders that belong together, then in any.
        for anywhere in [false, true] {
            for clue in [Clue::IdAndBody, Clue::Body, Clue::Id, Clue::DateAndSubject] {
                if matches!(clue, Clue::IdAndBody | Clue::Body) && !self.full {
                    continue;
                }
                let (a, b) = (left(self, 0), left(self, 1));
                let place = |side: usize, entry: &Entry| match (anywhere, side) {
                    (true, _) => Some(None),
                    (false, 0) => self.mates.get(&entry.folder()).map(|mate| Some(*mate)),
                    (false, _) => Some(Some(entry.folder())),
                };
                let keys = |side: usize, list: &[usize]| -> Vec<Clued> {
                    let key = |index: usize| {
                        let entry = self.entry(side, index)?;
                        Some((index, (place(side, entry)?, clue.of(entry)?), entry.size()))
                    };
                    list.iter().filter_map(|&index| key(index)).collect()
                };
                let (a, b) = (keys(0, &a), keys(1, &b));
                let pairs = match clue {
                    Clue::Id => ladder::pair_near(a, b, near),
                    Clue::IdAndBody => ladder::pair_near(a, b, |_, _| true),
                    Clue::Body | Clue::DateAndSubject => {
                        let bare = |list: Vec<Clued>| list.into_iter().map(|(index, key, _)| (index, key));
                        ladder::pair_unique(bare(a), bare(b))
                    }
                };
                for (a, b) in pairs {
                    if !self.entry(0, a).zip(self.entry(1, b)).is_some_and(|(one, other)| clue.is_backed(one, other)) {
                        continue;
                    }
                    let (method, confidence) = match clue {
                        Clue::IdAndBody | Clue::Body => (Method::Content, Confidence::Strong),
                        Clue::Id | Clue::DateAndSubject => (Method::Header, Confidence::Weak),
                    };
                    if self.book.pair(a, b, method, confidence) {
                        self.differs.insert(a, None);
                    }
                }
            }
        }
        Ok(())
    }

    /// With everything read, says of each pair whether it is the same.
    pub(super) fn judge(&mut self, comparison: &Comparison<'_>) -> Result<()> {
        let pairs: Vec<(usize, usize)> = self.book.pairs().map(|(a, found)| (a, found.other)).collect();
        if comparison.full {
            let (a, b): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
            self.learn_whole([&a, &b])?;
        } else {
            // Local stores tell contents by themselves; where those differ, what is it that does?
            let content = |side: usize, index: usize| self.entry(side, index).and_then(Entry::content);
            let differ = |&(a, b): &(usize, usize)| content(0, a).zip(content(1, b)).is_some_and(|(one, other)| one != other);
            let (a, b): (Vec<usize>, Vec<usize>) = pairs.iter().copied().filter(differ).unzip();
            self.learn_whole([&a, &b])?;
        }
        for (a, b) in pairs {
            let (Some(one), Some(other)) = (self.entry(0, a), self.entry(1, b)) else { continue };
            if self.differs.contains_key(&a) || one.trouble().is_some() || other.trouble().is_some() {
                continue;
            }
            let contents = one.content().zip(other.content());
            let parts = one.whole().zip(other.whole()).map(|(one, other)| one.body == other.body);
            let headers = self.header(0, a).zip(self.header(1, b)).map(|(one, other)| one == other);
            match (contents.map(|(one, other)| one == other), headers, parts) {
                (Some(true), _, _) | (_, Some(true), Some(true)) => self.book.sure(a, Confidence::Exact),
                (_, Some(true), Some(false)) => {
                    let sizes = match (one.size(), other.size()) {
                        (Some(one), Some(other)) if one != other => format!(": {one} and {other} octets"),
                        _ => String::new(),
                    };
                    self.differs.insert(a, Some(format!("the bodies differ{sizes}")));
                }
                (_, Some(false), _) | (Some(false), _, _) => {
                    self.differs.insert(a, None);
                }
                _ => {
                    if let (Some(one), Some(other)) = (one.size(), other.size())
                        && !(if headers == Some(true) { alike(one, other) } else { near(one, other) })
                    {
                        self.remarks.insert(a, format!("the sizes are far apart ({one} and {other} octets); --full compares the contents"));
                        self.book.sure(a, Confidence::Weak);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What two forms of one message may have in common.
#[derive(Clone, Copy)]
enum Clue {
    IdAndBody,
    Body,
    Id,
    DateAndSubject,
}

#[derive(PartialEq, Eq, Hash)]
struct Trace(Option<String>, Option<String>, Option<Digest>);

impl Clue {
    fn of(self, entry: &Entry) -> Option<Trace> {
        let facts = entry.facts()?;
        let id = || facts.message_id.clone();
        let body = || entry.whole().map(|whole| whole.body);
        match self {
            Self::IdAndBody => Some(Trace(Some(id()?), None, Some(body()?))),
            Self::Body => Some(Trace(None, None, Some(body()?))),
            Self::Id => Some(Trace(Some(id()?), None, None)),
            Self::DateAndSubject => Some(Trace(facts.date.clone().filter(|_| facts.subject.is_some()), facts.subject.clone(), None))
                .filter(|trace| trace.0.is_some()),
        }
    }

    /// Whether two that have it in common can be forms of one message at all: many bodies are alike, and what has another
    /// Message-ID is another message.
    fn is_backed(self, one: &Entry, other: &Entry) -> bool {
        let (Some(one), Some(other)) = (one.facts(), other.facts()) else { return false };
        let alike = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        match self {
            Self::IdAndBody | Self::Id => true,
            Self::Body => alike(&one.message_id, &other.message_id) || alike(&one.subject, &other.subject) || alike(&one.date, &other.date),
            Self::DateAndSubject => one.message_id.is_none() || other.message_id.is_none(),
        }
    }
}

/// Whether line ends and a changed header can make the difference of two sizes.
fn near(one: u64, other: u64) -> bool {
    let (small, large) = (one.min(other), one.max(other));
    large <= small.saturating_add(small / 8).saturating_add(HEADER_OCTETS)
}

/// Whether line ends and fields that do not count can make the difference of two sizes under one header.
fn alike(one: u64, other: u64) -> bool {
    let (small, large) = (one.min(other), one.max(other));
    large <= small.saturating_add(small / 8).saturating_add(UNSTABLE_OCTETS)
}
