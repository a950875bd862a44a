//! Which messages of a folder are wanted, told with as few round trips as can be: by the server's own search on IMAP, by
//! looking into the messages everywhere else. It reads, and never changes anything anywhere.

use std::collections::BTreeSet;
use std::io::Read;

use super::reading::numbered;
use crate::account::Place;
use crate::cli::{Selection, UidSet, Uids};
use crate::error::{Error, Result, Scope};
use crate::imap;
use crate::imap::listing::Meta;
use crate::imap::selected::Selected;
use crate::message::{Body, Flag, Message};
use crate::pop3::What;
use crate::query::{Facts, Query};
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};
use crate::summary::delivery_date;

/// So many UIDs named one by one are asked for directly; for more (and for ranges) a search tells first what is there.
const DIRECT: usize = 500;
/// So many candidates at least are looked at together where only the newest that match are wanted.
const BATCH: usize = 1000;
/// Octets of standard input that are taken for UIDs.
const MAX_STDIN: u64 = 64 * 1024 * 1024;
/// New mail may arrive while a search runs; more than this is not that.
const MORE_THAN_EXISTS: u64 = 100_000;

/// Which messages of a folder are wanted.
pub(super) struct Choice {
    uids: Option<UidSet>,
    not_uids: Option<UidSet>,
    limit: Option<u64>,
    query: Query,
    /// `--all` was given.
    all: bool,
}

impl Choice {
    /// What the arguments say; UIDs on standard input are read here.
    pub(super) fn new<'a>(selection: &'a Selection, arguments: impl IntoIterator<Item = &'a Uids>) -> Result<Self> {
        let mut stdin: Option<UidSet> = None;
        let uids = union(selection.uid.iter().chain(arguments), &mut stdin)?;
        let not_uids = union(&selection.not_uid, &mut stdin)?;
        Ok(Self { uids, not_uids, limit: selection.limit, query: selection.query.clone(), all: selection.all })
    }

    /// As [`Self::new`], for a verb that changes mail: it must be told what to change.
    pub(super) fn changing<'a>(selection: &'a Selection, arguments: impl IntoIterator<Item = &'a Uids>) -> Result<Self> {
        let choice = Self::new(selection, arguments)?;
        // A number of messages says how many, not which.
        let said = choice.uids.is_some() || choice.not_uids.is_some() || !choice.query.is_empty() || choice.all;
        if !said {
            return Err(Error::usage("nothing is selected").hint("name UIDs, give a query, or say --all"));
        }
        Ok(choice)
    }

    /// The conditions beside UIDs and numbers.
    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// Whether nothing was said, so that all messages are meant.
    pub(super) fn is_all(&self) -> bool {
        self.uids.is_none() && self.not_uids.is_none() && self.limit.is_none() && self.query.is_empty()
    }

    /// Whether more than one message is named one by one.
    pub(super) fn names_several(&self) -> bool {
        self.limit != Some(1) && self.named().len() > 1
    }

    /// The same without a limit: whoever puts messages in order counts them himself.
    pub(super) fn unlimited(&self) -> Self {
        Self { uids: self.uids.clone(), not_uids: self.not_uids.clone(), limit: None, query: self.query.clone(), all: self.all }
    }

    /// The same without a query and a limit: whoever reads messages anyway asks the query himself.
    pub(super) fn by_number(&self) -> Self {
        Self { query: Query::default(), ..self.unlimited() }
    }

    /// How many are wanted.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Whether it comes to so many of the newest, whatever they are.
    pub(super) fn is_newest(&self) -> bool {
        self.limit.is_some() && self.unlimited().is_all()
    }

    /// As [`Self::direct`], as a set.
    pub(super) fn direct_set(&self) -> Option<imap::UidSet> {
        self.direct().map(|uids| uids.into_iter().collect())
    }

    /// UIDs that need no look at what is there.
    pub(super) fn direct(&self) -> Option<Vec<u32>> {
        let alone = self.limit.is_none() && self.not_uids.is_none() && self.query.is_empty();
        self.uids.as_ref().filter(|_| alone)?.only_singles(DIRECT)
    }

    /// Those of `there` (ascending, `highest` being the highest of the mailbox) that are wanted.
    fn pick(&self, there: impl DoubleEndedIterator<Item = u32>, highest: u32) -> Vec<u32> {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let mut picked: Vec<u32> = self.pick_all(there, highest).rev().take(limit).collect();
        picked.reverse();
        picked
    }

    /// The same, however many are wanted.
    fn pick_all(&self, there: impl DoubleEndedIterator<Item = u32>, highest: u32) -> impl DoubleEndedIterator<Item = u32> {
        let ranges = |uids: &Option<UidSet>| uids.as_ref().map(|uids| uids.ranges(highest));
        let (named, excluded) = (ranges(&self.uids), ranges(&self.not_uids));
        let within = |ranges: &Vec<(u32, u32)>, uid: u32| {
            let behind = ranges.partition_point(|(first, _)| *first <= uid);
            behind.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, last)| uid <= *last)
        };
        there.filter(move |uid| {
            named.as_ref().is_none_or(|ranges| within(ranges, *uid)) && !excluded.as_ref().is_some_and(|ranges| within(ranges, *uid))
        })
    }

    /// Whether UIDs say which.
    pub(super) fn has_uids(&self) -> bool {
        self.uids.is_some() || self.not_uids.is_some()
    }

    /// Those of `there` (ascending) that the UIDs say.
    pub(super) fn within(&self, there: &[u32]) -> Vec<u32> {
        self.pick_all(there.iter().copied(), there.last().copied().unwrap_or(0)).collect()
    }

    /// Those of a listing (ids, and `offset` more for the numbers people see) that are wanted. What the listing does not tell
    /// of a message is read from the store; POP3 knows no flags (nothing is seen) and no arrival but what the header says.
    pub(super) fn of_listing(&self, store: &mut Store<'_>, messages: Vec<Listed>, offset: u32) -> Result<Picked> {
        if let Some(option) = self.query.server_only() {
            return Err(Error::usage(format!("{option} is for IMAP servers alone")).at(store.source().place()));
        }
        let highest = messages.last().map_or(0, |listed| listed.id.saturating_add(offset));
        let numbers: Vec<u32> = messages.iter().map(|listed| listed.id.saturating_add(offset)).collect();
        let mut picked = self.pick_all(numbers.into_iter(), highest).peekable();
        let mut wanted: Vec<Listed> =
            messages.into_iter().filter(|listed| picked.next_if_eq(&listed.id.saturating_add(offset)).is_some()).collect();
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        if self.query.is_empty() {
            return Ok(Picked { wanted: wanted.split_off(wanted.len().saturating_sub(limit)), unreadable: Vec::new() });
        }
        let mut found = Picked::default();
        for batch in wanted.rchunks(limit.clamp(BATCH, usize::MAX)) {
            let more = store.matching(batch, &self.query)?;
            found.wanted.extend(more.wanted);
            found.unreadable.extend(more.unreadable);
            if found.wanted.len() >= limit {
                break;
            }
        }
        found.wanted.sort_by_key(|listed| listed.id);
        found.wanted = found.wanted.split_off(found.wanted.len().saturating_sub(limit));
        Ok(found)
    }

    /// That the place can tell what is asked of it: keys as typed and Gmail's searches are for an IMAP server.
    pub(super) fn suits(&self, place: &Place) -> Result<()> {
        match self.query.server_only() {
            Some(option) if numbered(place) => Err(Error::usage(format!("{option} is for IMAP servers alone"))
                .at(&place.shown)
                .hint("the other conditions work everywhere")),
            _ => Ok(()),
        }
    }

    /// UIDs of a mailbox that are wanted, as far as is known without fetching anything (some named one by one may not be
    /// there), and those named one by one that are known not to be there. With a query the server searches, and what it was
    /// asked wider than meant is looked at once more.
    pub(super) fn uids(&self, selected: &mut Selected<'_>) -> Result<(imap::UidSet, Vec<u32>)> {
        let exists = selected.state().exists;
        if exists == 0 {
            return Ok((imap::UidSet::new(), self.missing(|_| false)));
        }
        if let Some(uids) = self.direct() {
            return Ok((uids.into_iter().collect(), Vec::new()));
        }
        if !self.query.is_empty() {
            let candidates = self.candidates(selected)?;
            if self.limit.is_none() {
                return Ok((selected.narrowed(candidates, &self.query)?, Vec::new()));
            }
            let found = self.newest(&candidates, |uids| Ok(selected.narrowed(uids, &self.query)?.iter().collect()), |uid| *uid)?;
            return Ok((found.into_iter().collect(), Vec::new()));
        }
        let there = selected.search_all()?;
        if there.len() > exists.saturating_add(MORE_THAN_EXISTS) {
            return Err(Error::protocol("the server finds more messages than the mailbox holds"));
        }
        if self.is_all() {
            return Ok((there, Vec::new()));
        }
        let highest = there.last().unwrap_or_default();
        let picked = match self.limit {
            Some(_) => self.pick(there.iter(), highest).into_iter().collect(),
            None => self.pick_all(there.iter(), highest).collect(),
        };
        Ok((picked, self.missing(|uid| there.contains(uid))))
    }

    /// For verbs that change mail: hands over what is wanted, looked at once more by flags, dates and sizes as they are now,
    /// rising by UID.
    pub(super) fn look(&self, selected: &mut Selected<'_>, each: &mut dyn FnMut(Meta) -> Result<()>) -> Result<Looked> {
        let mut contradicted = 0;
        if self.query.is_empty() || selected.state().exists == 0 {
            let (uids, mut missing) = self.uids(selected)?;
            let mut told = imap::UidSet::new();
            if !uids.is_empty() {
                contradicted = selected.matching(&uids, &self.query, &mut |meta| {
                    told.insert(meta.uid);
                    each(meta)
                })?;
            }
            // Of those nobody looked for it is known only now.
            missing.extend(self.missing(|uid| !uids.contains(uid) || told.contains(uid)));
            missing.sort_unstable();
            return Ok(Looked { missing, contradicted });
        }
        let candidates = self.candidates(selected)?;
        if self.limit.is_none() {
            contradicted = selected.matching(&candidates, &self.query, each)?;
        } else {
            let matching = |uids: imap::UidSet| {
                let mut metas = Vec::new();
                contradicted += selected.matching(&uids, &self.query, &mut |meta| {
                    metas.push(meta);
                    Ok(())
                })?;
                Ok(metas)
            };
            self.newest(&candidates, matching, |meta: &Meta| meta.uid)?.into_iter().try_for_each(each)?;
        }
        Ok(Looked { missing: Vec::new(), contradicted })
    }

    /// What the server finds for the query, of the UIDs named, whatever the limit.
    fn candidates(&self, selected: &mut Selected<'_>) -> Result<imap::UidSet> {
        let found = selected.search(&self.query)?;
        // Only a star needs the highest UID there is.
        let star = [&self.uids, &self.not_uids].into_iter().flatten().any(UidSet::has_star) && !found.is_empty();
        let highest = if star { selected.search_all()?.last().unwrap_or_default() } else { 0 };
        if self.uids.is_none() && self.not_uids.is_none() {
            return Ok(found);
        }
        Ok(self.pick_all(found.iter(), highest).collect())
    }

    /// The newest of `candidates` (ascending) that `check` lets through, as many as are wanted, ascending; no more of them
    /// are checked than is needed.
    fn newest<T>(
        &self,
        candidates: &imap::UidSet,
        mut check: impl FnMut(imap::UidSet) -> Result<Vec<T>>,
        uid: impl Fn(&T) -> u32,
    ) -> Result<Vec<T>> {
        let Some(limit) = self.limit else { return check(candidates.clone()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut kept: Vec<T> = Vec::new();
        let mut left = candidates.iter().rev();
        while kept.len() < limit {
            let batch: imap::UidSet = left.by_ref().take(limit.max(BATCH)).collect();
            if batch.is_empty() {
                break;
            }
            let mut more = check(batch)?;
            more.append(&mut kept);
            kept = more;
        }
        kept.sort_by_key(|one| uid(one));
        Ok(kept.split_off(kept.len().saturating_sub(limit)))
    }

    /// The UIDs named one by one: somebody expects each of them to be there.
    pub(super) fn named(&self) -> BTreeSet<u32> {
        self.uids.iter().flat_map(UidSet::singles).collect()
    }

    /// The UIDs named one by one that are not there, ascending.
    pub(super) fn missing(&self, is_there: impl Fn(u32) -> bool) -> Vec<u32> {
        self.named().into_iter().filter(|uid| !is_there(*uid)).collect()
    }
}

/// All of them together; `None` where there are none.
fn union<'a>(uids: impl IntoIterator<Item = &'a Uids>, stdin: &mut Option<UidSet>) -> Result<Option<UidSet>> {
    let mut all: Option<UidSet> = None;
    for one in uids {
        let more = match (one, &mut *stdin) {
            (Uids::Set(set), _) => set.clone(),
            (Uids::Stdin, Some(set)) => set.clone(),
            (Uids::Stdin, none) => none.insert(from_stdin()?).clone(),
        };
        all = Some(all.unwrap_or_default().union(more));
    }
    Ok(all)
}

fn from_stdin() -> Result<UidSet> {
    read_uids(std::io::stdin().lock())
}

/// Sets of UIDs between blanks or line ends, as `list --fields uid -o tsv` writes them.
fn read_uids(input: impl Read) -> Result<UidSet> {
    let mut text = Vec::new();
    input.take(MAX_STDIN + 1).read_to_end(&mut text).map_err(|error| Error::io("standard input", error))?;
    if text.len() as u64 > MAX_STDIN {
        return Err(Error::usage("standard input holds more UIDs than any mailbox has messages"));
    }
    let mut set = UidSet::default();
    for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        let more = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        set = set.union(more.ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(word).chars().take(40).collect();
            Error::usage(format!("standard input holds {shown:?}, which is no UID"))
                .hint("it may hold UIDs and ranges such as 17 and 20:40, one a line")
        })?);
    }
    Ok(set)
}

/// What [`Choice::look`] saw beside the messages.
pub(super) struct Looked {
    /// Named one by one, and not there; rising.
    pub(super) missing: Vec<u32>,
    /// So many the server's search found although they do not match, or without telling what shows that they do.
    pub(super) contradicted: u64,
}

/// Messages of a listing that are wanted.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// Those that match, in the order of the listing.
    pub(super) wanted: Vec<Listed>,
    /// Those that could not be looked into, and why.
    pub(super) unreadable: Vec<(Listed, Error)>,
}

/// A store whose messages this program looks into itself.
pub(super) enum Store<'a> {
    /// A maildrop: headers come by TOP, and there are no flags.
    Pop3(&'a mut Pop3Source),
    /// Files.
    Local(&'a mut dyn Source),
}

/// The messages of a POP3 listing that show whether the server can do TOP; each it refuses is asked for with RETR.
const TOP_TRIAL: usize = 50;
/// So much of a message is looked at.
const MAX_WHOLE: usize = 64 * 1024 * 1024;

impl Store<'_> {
    /// The store as a source.
    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Pop3(source) => *source,
            Self::Local(source) => *source,
        }
    }

    /// What a listing tells of a message.
    fn told<'a>(&self, listed: &Listed) -> Facts<'a> {
        // Nobody ever flagged anything in a maildrop.
        let flags: Option<&[Flag]> = if matches!(self, Self::Pop3(_)) { Some(&[]) } else { None };
        Facts { flags, size: listed.size, internal_date: listed.internal_date, ..Facts::default() }
    }

    /// Those of a listing for which the query may hold, and whether it does for all of them, without reading any.
    pub(super) fn sift(&self, mut messages: Vec<Listed>, query: &Query) -> (Vec<Listed>, bool) {
        let mut decided = true;
        messages.retain(|listed| {
            let holds = query.holds(&self.told(listed));
            decided &= holds.is_some();
            holds != Some(false)
        });
        (messages, decided)
    }

    /// Those of `messages` for which the query holds for certain.
    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<Picked> {
        let pop3 = matches!(self, Self::Pop3(_));
        let needs = query.needs();
        let mut found = Picked::default();
        let (mut headers, mut wholes): (Vec<Listed>, Vec<Listed>) = (Vec::new(), Vec::new());
        for listed in messages {
            match query.holds(&self.told(listed)) {
                Some(true) => found.wanted.push(listed.clone()),
                Some(false) => {}
                None if needs.whole || (needs.size && listed.size.is_none()) => wholes.push(listed.clone()),
                None => headers.push(listed.clone()),
            }
        }
        for (wanted, whole) in [(headers, false), (wholes, true)] {
            self.read(&wanted, whole, &mut |index, message| {
                let Some(listed) = wanted.get(index) else { return Ok(()) };
                let message = match message {
                    Ok(message) => message,
                    Err(error) if error.scope() == Scope::Message => {
                        found.unreadable.push((listed.clone(), error));
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                if holds_for(&message, listed, pop3, whole, query)? {
                    found.wanted.push(listed.clone());
                }
                Ok(())
            })?;
        }
        found.wanted.sort_by_key(|listed| listed.id);
        Ok(found)
    }

    /// Reads messages, or no more than their headers where that is cheaper.
    fn read(&mut self, wanted: &[Listed], whole: bool, each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        match self {
            Self::Local(source) => source.read(wanted, each),
            Self::Pop3(source) if whole => source.read(wanted, each),
            Self::Pop3(source) => pop3_headers(source, wanted, &mut |index, outcome| each(index, outcome.and_then(bare))),
        }
    }
}

/// Whether a query holds for certain for a message that was read, `whole` or no more of it than the header.
fn holds_for(message: &Message, listed: &Listed, pop3: bool, whole: bool, query: &Query) -> Result<bool> {
    let spilled;
    let bytes = match message.body.in_memory() {
        Some(bytes) => bytes,
        None => {
            spilled = message.body.prefix(MAX_WHOLE)?;
            &spilled
        }
    };
    let arrived = listed.internal_date.or(message.internal_date);
    let facts = Facts {
        flags: Some(&message.flags),
        size: listed.size.or(whole.then(|| message.body.len())),
        internal_date: arrived.or_else(|| if pop3 { delivery_date(bytes) } else { None }),
        header: Some(bytes),
        whole: whole.then_some(bytes),
    };
    Ok(query.holds(&facts) == Some(true))
}

/// Whether a query holds for certain for a message that was read whole.
pub(super) fn holds(message: &Message, listed: &Listed, pop3: bool, query: &Query) -> Result<bool> {
    holds_for(message, listed, pop3, true, query)
}

fn bare(body: Body) -> Result<Message> {
    let digests = body.digests()?;
    Ok(Message { body, digests, internal_date: None, flags: Vec::new() })
}

/// Headers of POP3 messages, by TOP where the server has it: each once, by its index in `wanted`, in any order.
pub(super) fn pop3_headers(
    source: &mut Pop3Source,
    wanted: &[Listed],
    each: &mut dyn FnMut(usize, Result<Body>) -> Result<()>,
) -> Result<()> {
    let session = source.session();
    let capabilities = session.capabilities();
    let mut what = if capabilities.known && !capabilities.top { What::Whole } else { What::Top(0) };
    let numbers: Vec<u32> = wanted.iter().map(|listed| listed.id).collect();
    let trial = if what == What::Whole { 0 } else { TOP_TRIAL.min(numbers.len()) };
    let (first, rest) = numbers.split_at_checked(trial).unwrap_or_default();
    for (part, offset) in [(first, 0), (rest, trial)] {
        let mut refused: Vec<usize> = Vec::new();
        session.retrieve(part, what, &mut |index, outcome| match outcome {
            Err(error) if what != What::Whole && error.scope() == Scope::Message => {
                refused.push(index);
                Ok(())
            }
            outcome => each(offset + index, outcome.map(|(body, _)| body)),
        })?;
        if !part.is_empty() && refused.len() == part.len() {
            what = What::Whole;
        }
        let again: Vec<u32> = refused.iter().filter_map(|index| part.get(*index).copied()).collect();
        session.retrieve(&again, What::Whole, &mut |index, outcome| match refused.get(index) {
            Some(index) => each(offset + index, outcome.map(|(body, _)| body)),
            None => Ok(()),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Term;
    use crate::store::eml::EmlSource;

    fn choice(uids: Option<&str>, limit: Option<u64>) -> Choice {
        Choice { uids: uids.map(|text| text.parse().unwrap()), not_uids: None, limit, query: Query::default(), all: false }
    }

    #[test]
    fn the_newest_of_the_wanted_are_picked_in_rising_order() {
        let there = [1, 3, 5, 7, 9];
        assert_eq!(choice(None, Some(2)).pick(there.into_iter(), 9), [7, 9]);
        assert_eq!(choice(Some("1:6"), Some(2)).pick(there.into_iter(), 9), [3, 5]);
        assert_eq!(choice(Some("100:*,2"), None).pick(there.into_iter(), 9), [9]);
        assert!(choice(Some("2"), None).pick(there.into_iter(), 9).is_empty());
    }

    #[test]
    fn local_listings_count_from_one() {
        let listed = |id| Listed { id, key: None, size: None, internal_date: None };
        let mut empty = EmlSource::new(std::path::Path::new("nowhere"));
        let picked = choice(Some("1,3"), None).of_listing(&mut Store::Local(&mut empty), vec![listed(0), listed(1), listed(2)], 1).unwrap();
        assert_eq!(picked.wanted.iter().map(|listed| listed.id).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn only_numbers_named_one_by_one_can_be_missing() {
        let missing = |choice: Choice| choice.missing(|uid| uid < 3);
        assert_eq!(missing(choice(Some("1,4,7:9,*"), None)), [4]);
        assert_eq!(missing(choice(Some("1,2,4"), Some(1))), [4]);
        assert!(missing(choice(None, Some(3))).is_empty());
        assert!(choice(Some("1,2"), None).names_several() && !choice(Some("1,1,2:9"), None).names_several());
    }

    #[test]
    fn standard_input_may_hold_uids_in_any_lines_and_junk_is_named() {
        let set = read_uids(&b"17\r\n20:40\n\n  100:* 3,4\n"[..]).unwrap();
        assert_eq!(set.to_string(), "17,20:40,100:*,3,4");
        assert_eq!(read_uids(&b" \n"[..]).unwrap(), UidSet::default());
        for (junk, shown) in
            [(&b"1\n\x1b[2Jx\n"[..], "\\u{1b}[2Jx"), (b"\xff", "\u{fffd}"), (b"uid\n1", "uid"), (b"0", "0"), (&[b'x'; 5000], "xxxx")]
        {
            let error = read_uids(junk).unwrap_err().to_string();
            assert!(error.contains(shown) && error.len() < 300, "{error}");
        }
        assert!(read_uids(std::io::repeat(b' ')).is_err());
        let many: String = (1..=200_000).map(|uid| format!("{}\n", uid * 2)).collect();
        assert_eq!(read_uids(many.as_bytes()).unwrap().ranges(0).len(), 200_000);
    }

    #[test]
    fn only_as_many_candidates_are_checked_as_the_limit_needs() {
        let candidates: imap::UidSet = (1..=5000).collect();
        let mut checked = 0;
        let even = |uids: imap::UidSet| {
            checked += uids.len();
            Ok(uids.iter().filter(|uid| uid % 2 == 0).collect())
        };
        assert_eq!(choice(None, Some(3)).newest(&candidates, even, |uid| *uid).unwrap(), [4996, 4998, 5000]);
        assert_eq!(checked, 1000);
        let none = |_| Ok(Vec::new());
        assert!(choice(None, Some(3)).newest(&candidates, none, |uid: &u32| *uid).unwrap().is_empty());
    }

    #[test]
    fn a_verb_that_changes_mail_must_be_told_which_and_not_only_how_many() {
        let selection = |limit, all| Selection { limit, all, ..Selection::default() };
        for refused in [selection(None, false), selection(Some(3), false)] {
            assert!(Choice::changing(&refused, []).is_err());
        }
        assert!(Choice::changing(&selection(Some(3), true), []).is_ok());
        assert!(Choice::changing(&selection(None, false), [&"1".parse().unwrap()]).is_ok());
        let query = Query { terms: vec![Term::Larger(5)] };
        assert!(Choice::changing(&Selection { query, ..Selection::default() }, []).is_ok());
        assert!(Choice::changing(&Selection { not_uid: vec!["1".parse().unwrap()], ..Selection::default() }, []).is_ok());
    }
}
