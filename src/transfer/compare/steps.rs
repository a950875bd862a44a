//! The ladder climbed: which step of `matching` is tried on what is left, and what has to be read for it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::places::{self, Places};
use super::reader::Reader;
use super::table::{Entry, Table};
use super::{Comparison, rows};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::matching::formula::{self, Origin, Recipe};
use crate::matching::ladder::{self, Book};
use crate::message::{Digest, Flag};
use crate::report::Event;
use crate::report::compared::{Compared, Confidence, Formula, Method};
use crate::store::Listed;
use crate::transfer::both;

/// Pairs whose headers prove a formula.
const SAMPLES: usize = 20;
/// So many pairs of unequal sizes are looked into in any case.
const FEW_DOUBTS: usize = 20;
/// Of so few left over all that rows show is kept at once, which spares reading them again.
const FEW: usize = 2000;

/// All there is to know while a comparison goes on.
pub(super) struct Bench<'a> {
    pub(super) readers: [Reader<'a>; 2],
    pub(super) tables: [Table; 2],
    pub(super) book: Book,
    /// The folder of the second side that belongs to one of the first, by their places in the tables.
    pub(super) mates: HashMap<usize, usize>,
    /// The folders of the second side that have one on the first.
    pub(super) mated: HashSet<usize>,
    /// Pairs that differ, by the one of the first side, and how; without words where the headers have to say.
    pub(super) differs: HashMap<usize, Option<String>>,
    /// Remarks on pairs that count as the same, by the one of the first side.
    pub(super) remarks: HashMap<usize, String>,
    /// Messages of each side that are there once more, and of which they are copies.
    pub(super) doubled: [HashMap<usize, usize>; 2],
    pub(super) formula: Option<Formula>,
    pub(super) recipe: Option<Recipe>,
    pub(super) full: bool,
    /// Folders of each side that show mail of others (Gmail's All Mail).
    pub(super) views: [HashSet<Folder>; 2],
    /// Folders of each side that could not be looked into, as sentences name them.
    pub(super) unseen: [Vec<String>; 2],
    /// Folders of either side that could not be opened, and why.
    pub(super) shut: Vec<(usize, Folder, Error)>,
    /// Folders of each side, by their places in the tables, whose counterparts could not be opened, and why.
    pub(super) hidden: [HashMap<usize, String>; 2],
    pub(super) journal: Journalled,
    facts: bool,
}

impl<'a> Bench<'a> {
    pub(super) fn new(comparison: &Comparison<'a>) -> Self {
        let reader = |open| Reader::new(open, comparison.context, comparison.report);
        Self {
            readers: [reader(comparison.a.open), reader(comparison.b.open)],
            tables: [Table::default(), Table::default()],
            book: Book::default(),
            mates: HashMap::new(),
            mated: HashSet::new(),
            differs: HashMap::new(),
            remarks: HashMap::new(),
            doubled: [HashMap::new(), HashMap::new()],
            formula: None,
            recipe: None,
            full: comparison.full,
            views: [HashSet::new(), HashSet::new()],
            unseen: [Vec::new(), Vec::new()],
            shut: Vec::new(),
            hidden: [HashMap::new(), HashMap::new()],
            journal: Journalled::new(comparison),
            facts: comparison.headers_for_all,
        }
    }

    pub(super) fn run(mut self, comparison: &Comparison<'_>) -> Result<Compared> {
        let Places { pairs, others } = self.folders(comparison)?;
        let there_are = [pairs.iter().filter(|pair| pair.0.is_some()).count(), pairs.iter().filter(|pair| pair.1.is_some()).count()];
        for (a, b) in pairs {
            self.folder_pair(comparison, a.as_ref(), b.as_ref())?;
        }
        for (side, count) in there_are.into_iter().enumerate().filter(|(_, count)| *count > 0 && others.is_empty()) {
            let shut = self.shut.iter().filter(|shut| shut.0 == side).count();
            // A side that shows nothing at all is none.
            if shut == count
                && let Some(at) = self.shut.iter().position(|shut| shut.0 == side)
            {
                return Err(self.shut.swap_remove(at).2);
            }
        }
        for folder in others {
            // What could not be read cannot be found either.
            if self.left(0).iter().all(|&index| self.entry(0, index).is_none_or(|entry| entry.trouble().is_some())) {
                break;
            }
            self.other_folder(comparison, &folder)?;
        }
        self.elsewhere()?;
        self.twins()?;
        self.altered()?;
        self.judge(comparison)?;
        let compared = rows::of(&mut self, comparison)?;
        self.part(comparison);
        Ok(compared)
    }

    /// The pairs that are sure, and the flags of their second ones.
    pub(super) fn partners(mut self, comparison: &Comparison<'_>, each: &mut dyn FnMut(&Listed, Option<&[Flag]>)) -> Result<()> {
        let Places { pairs, .. } = self.folders(comparison)?;
        for (a, b) in pairs {
            self.folder_pair(comparison, a.as_ref(), b.as_ref())?;
        }
        self.judge(comparison)?;
        for (a, found) in self.book.pairs() {
            // A strong pair whose headers differ is a mistaken one.
            let sure = match found.confidence {
                Confidence::Exact => true,
                Confidence::Strong => !self.headers_differ(a, found.other),
                Confidence::Weak => false,
            };
            if let Some(listed) = self.tables[0].listed(a).filter(|_| sure) {
                each(&listed, self.tables[1].flags(found.other));
            }
        }
        self.part(comparison);
        Ok(())
    }

    fn part(&mut self, comparison: &Comparison<'_>) {
        let [a, b] = &mut self.readers;
        for farewell in <[_; 2]>::from(both(|| a.finish(), || b.finish())) {
            // Everything is known: a farewell that fails takes nothing back.
            if let Err(error) = farewell {
                comparison.report.event(Event::Note(error.to_string()));
            }
        }
    }

    fn folders(&mut self, comparison: &Comparison<'_>) -> Result<Places> {
        let [a, b] = &mut self.readers;
        let (first, second) = both(|| a.connect().and_then(|()| a.folders()), || b.connect().and_then(|()| b.folders()));
        let (first, second) = (first?, second?);
        self.views = [places::views(&first, comparison.a.only.as_ref()), places::views(&second, comparison.b.only.as_ref())];
        places::of(comparison, [a.place(), b.place()], first, second)
    }

    /// Matches two folders that belong together, as far as they go together.
    fn folder_pair(&mut self, comparison: &Comparison<'_>, a: Option<&Folder>, b: Option<&Folder>) -> Result<()> {
        let ([here, there], whole) = self.list(comparison, a, b)?;
        if let (true, Some(_), Some(_), [first, second]) = (whole, a, b, &self.tables) {
            self.mates.insert(first.folders.len() - 1, second.folders.len() - 1);
            self.mated.insert(second.folders.len() - 1);
        }
        let all = [here.clone().collect::<Vec<_>>(), there.clone().collect()];
        if self.full {
            self.learn_whole([&all[0], &all[1]])?;
        } else if self.facts {
            self.learn([&all[0], &all[1]], [true, false])?;
        }
        self.by_formula(&here, &there)?;
        self.known(comparison, &here, &there)?;
        self.by_content(&here, &there);
        self.by_header(&here, &there)
    }

    /// Lists two folders, and says whether both could be opened: one that cannot be hides what it holds and nothing else.
    fn list(&mut self, comparison: &Comparison<'_>, a: Option<&Folder>, b: Option<&Folder>) -> Result<([Range<usize>; 2], bool)> {
        let [reader_a, reader_b] = &mut self.readers;
        let listed = both(|| a.map(|a| reader_a.list(a)).transpose(), || b.map(|b| reader_b.list(b)).transpose());
        let mut ranges = [0..0, 0..0];
        let mut shut = Vec::new();
        for ((side, folder), told) in [a, b].into_iter().enumerate().zip(<[_; 2]>::from(listed)) {
            let (Some(folder), Some(table), Some(range)) = (folder, self.tables.get_mut(side), ranges.get_mut(side)) else { continue };
            match told {
                Ok(Some(told)) => *range = table.add(folder, told),
                Ok(None) => {}
                // Whoever means one folder wants to hear of no other.
                Err(error) if error.scope() <= Scope::Mailbox && !is_meant(comparison, side) => shut.push((side, folder, error)),
                Err(error) => return Err(error),
            }
            self.book.grow(side, table.entries.len());
        }
        let whole = shut.is_empty();
        for (side, folder, error) in shut {
            // What the other side has in its counterpart may be here all the same.
            let other = 1 - side;
            let hides = (!ranges.get(other).is_none_or(Range::is_empty))
                .then(|| self.tables.get(other).and_then(|table| table.folders.len().checked_sub(1)))
                .flatten();
            if let (Some(hides), Some(hidden)) = (hides, self.hidden.get_mut(other)) {
                hidden.insert(hides, format!("its counterpart could not be looked at: {error}"));
            }
            self.be_blind_to(side, folder);
            self.shut.push((side, folder.clone(), error));
        }
        Ok((ranges, whole))
    }

    pub(super) fn entry(&self, side: usize, index: usize) -> Option<&Entry> {
        self.tables.get(side)?.entry(index)
    }

    /// Whether the headers of two are known to differ.
    pub(super) fn headers_differ(&self, a: usize, b: usize) -> bool {
        self.tables[0].header(a).zip(self.tables[1].header(b)).is_some_and(|(one, other)| one != other)
    }

    pub(super) fn left(&self, side: usize) -> Vec<usize> {
        self.book.left(side, 0..self.tables.get(side).map_or(0, |table| table.entries.len()))
    }

    /// Reads headers on both sides at once; with `facts` what rows show of them.
    pub(super) fn learn(&mut self, wanted: [&[usize]; 2], facts: [bool; 2]) -> Result<()> {
        let [reader_a, reader_b] = &mut self.readers;
        let [table_a, table_b] = &mut self.tables;
        let learnt = both(|| table_a.learn(reader_a, wanted[0], facts[0], true), || table_b.learn(reader_b, wanted[1], facts[1], true));
        learnt.0.and(learnt.1)
    }

    pub(super) fn learn_whole(&mut self, wanted: [&[usize]; 2]) -> Result<()> {
        let facts = self.facts;
        let [reader_a, reader_b] = &mut self.readers;
        let [table_a, table_b] = &mut self.tables;
        let learnt = both(|| table_a.learn_whole(reader_a, wanted[0], facts), || table_b.learn_whole(reader_b, wanted[1], false));
        learnt.0.and(learnt.1)
    }

    /// Step 0, whichever side has the unique-ids.
    fn by_formula(&mut self, here: &Range<usize>, there: &Range<usize>) -> Result<()> {
        for (maildrop, numbered) in [(0, there), (1, here)] {
            if self.formula.is_some() {
                return Ok(());
            }
            let range = if maildrop == 0 { here } else { there };
            let drops: Vec<usize> =
                range.clone().filter(|&index| self.entry(maildrop, index).is_some_and(|entry| entry.uidl().is_some())).collect();
            if drops.is_empty() {
                continue;
            }
            let other = 1 - maildrop;
            let validity = numbered.clone().next().and_then(|index| {
                let table = self.tables.get(other)?;
                table.folders.get(table.entry(index)?.folder())?.1
            });
            let texts: Vec<&str> = drops.iter().filter_map(|&index| self.entry(maildrop, index)?.uidl()).collect();
            let guesses = formula::guesses(&texts, validity);
            let recognised = formula::recognised(&texts);
            drop(texts);
            for guess in &guesses {
                let pairs = self.pairs_by(guess.recipe, maildrop, &drops, numbered, validity)?;
                if self.accept(guess.recipe, maildrop, &pairs)? {
                    self.formula =
                        Some(Formula { name: guess.recipe.name(), explains: guess.explains as u64, of: guess.of as u64, used: true });
                    return Ok(());
                }
            }
            if self.by_message_id(maildrop, &drops, numbered)? {
                return Ok(());
            }
            let first = guesses.first().filter(|guess| guess.recipe.confidence() == Confidence::Exact);
            self.formula = match first {
                Some(guess) => {
                    Some(Formula { name: guess.recipe.name(), explains: guess.explains as u64, of: guess.of as u64, used: false })
                }
                None => recognised,
            };
        }
        Ok(())
    }

    /// The pairs that a recipe makes: (first side, second side).
    fn pairs_by(
        &mut self,
        recipe: Recipe,
        maildrop: usize,
        drops: &[usize],
        numbered: &Range<usize>,
        validity: Option<u32>,
    ) -> Result<Vec<(usize, usize)>> {
        let other = 1 - maildrop;
        let mut places: HashMap<Origin, usize> = HashMap::new();
        if recipe == Recipe::Gmail {
            let (Some(table), Some(reader)) = (self.tables.get(other), self.readers.get_mut(other)) else { return Ok(Vec::new()) };
            places = gmail_places(table, reader, numbered)?;
        } else {
            places.extend(numbered.clone().filter_map(|index| Some((Origin::Uid(self.entry(other, index)?.uid()?), index))));
        }
        let uidl = |index: usize| self.entry(maildrop, index)?.uidl();
        let pairs = drops.iter().filter_map(|&index| Some((index, *places.get(&recipe.origin(uidl(index)?, validity)?)?)));
        Ok(pairs.map(|(index, found)| if maildrop == 0 { (index, found) } else { (found, index) }).collect())
    }

    /// Takes a recipe's pairs if the headers of some of them agree.
    fn accept(&mut self, recipe: Recipe, maildrop: usize, pairs: &[(usize, usize)]) -> Result<bool> {
        let samples: Vec<(usize, usize)> =
            ladder::spread(pairs.len(), SAMPLES).into_iter().filter_map(|at| pairs.get(at).copied()).collect();
        let (a, b): (Vec<usize>, Vec<usize>) = samples.iter().copied().unzip();
        self.learn([&a, &b], [false, false])?;
        let headers: Vec<(Digest, Digest)> =
            samples.iter().filter_map(|&(a, b)| Some((*self.tables[0].header(a)?, *self.tables[1].header(b)?))).collect();
        if headers.is_empty() || headers.iter().any(|(a, b)| a != b) {
            return Ok(false);
        }
        for (a, b) in self.backed(pairs, recipe.confidence() == Confidence::Exact)? {
            self.book.pair(a, b, Method::UidlFormula, recipe.confidence());
        }
        if maildrop == 0 {
            self.recipe = Some(recipe);
        }
        Ok(true)
    }

    /// Pairs without those that their sizes cast doubt on and their headers do not bear out. Where nearly all sizes agree, one that
    /// does not is a sign of another message or of another header. What is `certain` stays a pair whatever its headers say, for they
    /// tell that it was changed; and where its server counts otherwise, sizes are no sign.
    fn backed(&mut self, pairs: &[(usize, usize)], certain: bool) -> Result<Vec<(usize, usize)>> {
        let size = |bench: &Self, side: usize, index: usize| bench.entry(side, index).and_then(Entry::size);
        let alike = |bench: &Self, &(a, b): &(usize, usize)| size(bench, 0, a).is_some_and(|one| size(bench, 1, b) == Some(one));
        let doubtful: Vec<(usize, usize)> = pairs.iter().copied().filter(|pair| !alike(self, pair)).collect();
        if certain && doubtful.len() > pairs.len() / 10 + FEW_DOUBTS {
            return Ok(pairs.to_vec());
        }
        let (a, b): (Vec<usize>, Vec<usize>) = doubtful.iter().copied().unzip();
        self.learn([&a, &b], [false, false])?;
        if certain {
            return Ok(pairs.to_vec());
        }
        let agree = |&(a, b): &(usize, usize)| self.tables[0].header(a).is_some_and(|one| self.tables[1].header(b) == Some(one));
        Ok(pairs.iter().copied().filter(|pair| alike(self, pair) || agree(pair)).collect())
    }

    /// Unique-ids that are made of the Message-ID: the messages' own headers say so.
    fn by_message_id(&mut self, maildrop: usize, drops: &[usize], numbered: &Range<usize>) -> Result<bool> {
        let likely = |uidl: &str| uidl.contains('@') || (uidl.len() == 32 && uidl.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unlikely = drops.iter().filter(|&&index| !self.entry(maildrop, index).and_then(Entry::uidl).is_some_and(likely)).count();
        if (drops.len() - unlikely) * 100 < drops.len() * 99 {
            return Ok(false);
        }
        let uidls: Vec<(usize, String)> =
            drops.iter().filter_map(|&index| Some((index, self.entry(maildrop, index)?.uidl()?.to_owned()))).collect();
        let places: Vec<usize> =
            ladder::spread(uidls.len(), SAMPLES).into_iter().filter_map(|at| uidls.get(at).map(|(index, _)| *index)).collect();
        self.learn_side(maildrop, &places)?;
        let samples: Vec<(String, Option<String>)> = places
            .iter()
            .filter_map(|&index| self.entry(maildrop, index))
            .filter(|entry| entry.trouble().is_none())
            .filter_map(|entry| Some((entry.uidl()?.to_owned(), entry.facts().and_then(|facts| facts.message_id.clone()))))
            .collect();
        let Some(recipe) = Recipe::of_headers(&samples) else { return Ok(false) };
        let other = 1 - maildrop;
        let there: Vec<usize> = numbered.clone().collect();
        self.learn_side(other, &there)?;
        let made: Vec<(usize, String)> =
            there.iter().filter_map(|&index| Some((index, recipe.made_of(self.message_id(other, index)?)?))).collect();
        let wanted = uidls.iter().map(|(index, uidl)| (*index, recipe.normal(uidl)));
        let pairs = ladder::pair_unique(wanted, made);
        // What is not there was made by the same recipe if its own header says so.
        let paired: HashSet<usize> = pairs.iter().map(|(index, _)| *index).collect();
        let rest: Vec<usize> = uidls.iter().map(|(index, _)| *index).filter(|index| !paired.contains(index)).collect();
        self.learn_side(maildrop, &rest)?;
        let mut explains = pairs.len();
        for (index, uidl) in uidls.iter().filter(|(index, _)| !paired.contains(index)) {
            let made = self.message_id(maildrop, *index).and_then(|id| recipe.made_of(id));
            explains += usize::from(made.is_some_and(|made| made == recipe.normal(uidl)));
        }
        let pairs: Vec<(usize, usize)> = pairs.into_iter().map(|(p, n)| if maildrop == 0 { (p, n) } else { (n, p) }).collect();
        if explains * 100 < uidls.len() * 99 || !self.accept(recipe, maildrop, &pairs)? {
            return Ok(false);
        }
        self.formula = Some(Formula { name: recipe.name(), explains: explains as u64, of: uidls.len() as u64, used: true });
        Ok(true)
    }

    fn message_id(&self, side: usize, index: usize) -> Option<&str> {
        self.entry(side, index)?.facts()?.message_id.as_deref()
    }

    fn learn_side(&mut self, side: usize, wanted: &[usize]) -> Result<()> {
        self.learn(if side == 0 { [wanted, &[]] } else { [&[], wanted] }, [true, true])
    }

    /// Step 1.
    fn known(&mut self, comparison: &Comparison<'_>, here: &Range<usize>, there: &Range<usize>) -> Result<()> {
        if comparison.known.is_empty() {
            return Ok(());
        }
        let table = &self.tables[1];
        let first = there.clone().next().and_then(|index| table.folders.get(table.entry(index)?.folder()));
        let Some((folder, validity)) = first else { return Ok(()) };
        let uids: HashMap<u32, usize> = there.clone().filter_map(|index| Some((table.entry(index)?.uid()?, index))).collect();
        let here = self.book.left(0, here.clone());
        let journalled = self.journal.of(comparison, &self.tables[0], &here, folder, *validity);
        let pairs = journalled.into_iter().filter_map(|(a, uid)| Some((a, *uids.get(&uid)?)));
        let (lent, own): (Vec<_>, Vec<_>) = pairs.partition(|&(a, _)| self.entry(0, a).is_some_and(Entry::is_lent));
        // Some servers give a unique-id again once its message is gone.
        let samples: Vec<(usize, usize)> = ladder::spread(lent.len(), SAMPLES).into_iter().filter_map(|at| lent.get(at).copied()).collect();
        let (a, b): (Vec<usize>, Vec<usize>) = samples.iter().copied().unzip();
        self.learn([&a, &b], [false, false])?;
        let agree =
            |bench: &Self, &(a, b): &(usize, usize)| bench.tables[0].header(a).is_some_and(|one| bench.tables[1].header(b) == Some(one));
        let lent = if samples.iter().all(|pair| agree(self, pair)) {
            self.backed(&lent, false)?
        } else {
            let (a, b): (Vec<usize>, Vec<usize>) = lent.iter().copied().unzip();
            self.learn([&a, &b], [false, false])?;
            lent.into_iter().filter(|pair| agree(self, pair)).collect()
        };
        self.take(own, Method::Journal, Confidence::Exact);
        self.take(lent, Method::Journal, Confidence::Exact);
        Ok(())
    }

    /// What is known by its content on both sides: after reading all, and in local stores.
    fn by_content(&mut self, here: &Range<usize>, there: &Range<usize>) {
        self.take_by_content(&[here.clone().collect(), there.clone().collect()]);
    }

    /// Pairs equal contents, then equal headers with equal bodies.
    pub(super) fn take_by_content(&mut self, wanted: &[Vec<usize>; 2]) {
        let pairs = self.equal(wanted, |bench, side, index| bench.entry(side, index)?.content());
        self.take(pairs, Method::Content, Confidence::Exact);
        let pairs = self.equal(wanted, |bench, side, index| Some((bench.header(side, index)?, bench.entry(side, index)?.whole()?.body)));
        self.take(pairs, Method::Content, Confidence::Exact);
    }

    /// Pairs of those of `wanted` that are left and have equal keys.
    fn equal<'s, K: Ord>(&'s self, wanted: &[Vec<usize>; 2], key: impl Fn(&'s Self, usize, usize) -> Option<K>) -> Vec<(usize, usize)> {
        let [a, b] = wanted;
        let (a, b) = (self.book.left(0, a.iter().copied()), self.book.left(1, b.iter().copied()));
        ladder::pair_equal_places(a, b, |side, index| key(self, side, index))
    }

    pub(super) fn header(&self, side: usize, index: usize) -> Option<&Digest> {
        self.tables.get(side)?.header(index)
    }

    pub(super) fn take(&mut self, pairs: Vec<(usize, usize)>, method: Method, confidence: Confidence) {
        for (a, b) in pairs {
            self.book.pair(a, b, method, confidence);
        }
    }

    /// Steps 2 and 3: the headers of all that is left are read, those that order and size put together as well.
    fn by_header(&mut self, here: &Range<usize>, there: &Range<usize>) -> Result<()> {
        let (a, b) = (self.book.left(0, here.clone()), self.book.left(1, there.clone()));
        // What has no counterpart in any case is shown with what its header says.
        self.learn([&a, &b], [b.is_empty() || a.len() <= FEW, a.is_empty() || b.len() <= FEW])?;
        if !self.full {
            let sizes = |side: usize, list: &[usize]| -> Vec<Option<u64>> {
                list.iter().map(|&index| self.entry(side, index).and_then(Entry::size)).collect()
            };
            let walked = ladder::order_and_size(&sizes(0, &a), &sizes(1, &b));
            let walk: Vec<(usize, usize)> = a.iter().copied().zip(b.iter().copied()).take(walked).collect();
            for (a, b) in walk {
                let trouble =
                    [(0, a), (1, b)].iter().any(|&(side, index)| self.entry(side, index).is_some_and(|one| one.trouble().is_some()));
                match (self.tables[0].header(a), self.tables[1].header(b)) {
                    (Some(one), Some(other)) if one == other => self.book.pair(a, b, Method::OrderAndSize, Confidence::Strong),
                    // Nothing else can tell of it.
                    _ if trouble => self.book.pair(a, b, Method::OrderAndSize, Confidence::Weak),
                    // From the first pair on that is none, order tells nothing.
                    _ => break,
                };
            }
        }
        self.take_by_header(&[a, b]);
        Ok(())
    }

    /// Pairs equal headers, first those of messages that are as long as each other: of several under one header each is to meet its own.
    pub(super) fn take_by_header(&mut self, wanted: &[Vec<usize>; 2]) {
        let pairs = self.equal(wanted, |bench, side, index| Some((bench.header(side, index)?, bench.entry(side, index)?.size()?)));
        self.take(pairs, Method::Header, Confidence::Strong);
        let pairs = self.equal(wanted, Self::header);
        self.take(pairs, Method::Header, Confidence::Strong);
    }
}

/// Whether one folder of a side was named, so that without it there is nothing to compare.
fn is_meant(comparison: &Comparison<'_>, side: usize) -> bool {
    let side = if side == 0 { &comparison.a } else { &comparison.b };
    side.only.is_some()
}

/// What the journal knows, by where it lies on the second side: places in [`Comparison::known`] by folder and UIDVALIDITY.
#[derive(Default)]
pub(super) struct Journalled(HashMap<Folder, HashMap<u32, Vec<usize>>>);

impl Journalled {
    fn new(comparison: &Comparison<'_>) -> Self {
        let mut index = Self::default();
        for (at, (_, (to, generation, _))) in comparison.known.iter().enumerate() {
            if !index.0.contains_key(to) {
                index.0.insert(to.clone(), HashMap::new());
            }
            if let Some(generations) = index.0.get_mut(to) {
                generations.entry(*generation).or_default().push(at);
            }
        }
        index
    }

    /// The UIDs in `folder` under which the journal knows those of `wanted`.
    pub(super) fn of(
        &self,
        comparison: &Comparison<'_>,
        table: &Table,
        wanted: &[usize],
        folder: &Folder,
        validity: Option<u32>,
    ) -> Vec<(usize, u32)> {
        let Some(places) = validity.and_then(|validity| self.0.get(folder)?.get(&validity)) else { return Vec::new() };
        let known: HashMap<(&Folder, &str), u32> = places
            .iter()
            .filter_map(|&at| comparison.known.get(at))
            .map(|((from, key), (_, _, uid))| ((from, key.as_str()), *uid))
            .collect();
        let uid = |index: usize| {
            let key = table.listed(index)?.key?.to_string();
            Some((index, *known.get(&(table.folder(index)?, key.as_str()))?))
        };
        wanted.iter().filter_map(|&index| uid(index)).collect()
    }
}

/// Where the message with an X-GM-MSGID is; a folder has each but once.
pub(super) fn gmail_places(table: &Table, reader: &mut Reader<'_>, range: &Range<usize>) -> Result<HashMap<Origin, usize>> {
    let Some(folder) = range.clone().next().and_then(|index| table.folder(index)) else { return Ok(HashMap::new()) };
    let listed: Vec<_> = range.clone().filter_map(|index| table.listed(index)).collect();
    let ids = reader.gmail_ids(folder, &listed)?;
    let place = |index: usize| Some((Origin::Gmail(*ids.get(&table.entry(index)?.id())?), index));
    Ok(range.clone().filter_map(place).collect())
}
