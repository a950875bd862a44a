//! What verbs share that read messages of one folder: opening a place read-only, choosing among its messages with as few
//! round trips as can be, and reading those. It never changes anything anywhere.

use std::collections::BTreeSet;
use std::io::Read;

use super::App;
use crate::account::{Location, Place, Protocol};
use crate::cli::{Selection, UidSet, Uids};
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::imap;
use crate::imap::bulk::Wanted;
use crate::imap::selected::Selected;
use crate::imap::session::{Access, Session};
use crate::message::Message;
use crate::query::Query;
use crate::store::eml::EmlSource;
use crate::store::maildir::MaildirSource;
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};

/// So many UIDs named one by one are asked for directly; for more (and for ranges) a search tells first what is there.
const DIRECT: usize = 500;
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
        if choice.is_all() && !choice.all {
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

    /// UIDs that need no look at what is there.
    fn direct(&self) -> Option<Vec<u32>> {
        let alone = self.limit.is_none() && self.not_uids.is_none() && self.query.is_empty();
        self.uids.as_ref().filter(|_| alone)?.only_singles(DIRECT)
    }

    /// Those of `there` (ascending, the last being `highest`) that are wanted.
    fn pick(&self, there: impl DoubleEndedIterator<Item = u32>, highest: u32) -> Vec<u32> {
        let ranges = |uids: &Option<UidSet>| uids.as_ref().map(|uids| uids.ranges(highest));
        let (named, excluded) = (ranges(&self.uids), ranges(&self.not_uids));
        let within = |ranges: &Vec<(u32, u32)>, uid: u32| {
            let behind = ranges.partition_point(|(first, _)| *first <= uid);
            behind.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, last)| uid <= *last)
        };
        let wanted = |uid: &u32| {
            named.as_ref().is_none_or(|ranges| within(ranges, *uid)) && !excluded.as_ref().is_some_and(|ranges| within(ranges, *uid))
        };
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let mut picked: Vec<u32> = there.rev().filter(wanted).take(limit).collect();
        picked.reverse();
        picked
    }

    /// Those of a listing whose numbers (ids and `offset` more) are wanted.
    pub(super) fn pick_listed(&self, messages: Vec<Listed>, offset: u32) -> Vec<Listed> {
        let highest = messages.last().map_or(0, |listed| listed.id.saturating_add(offset));
        let numbers: Vec<u32> = messages.iter().map(|listed| listed.id.saturating_add(offset)).collect();
        let mut picked = self.pick(numbers.into_iter(), highest).into_iter().peekable();
        messages.into_iter().filter(|listed| picked.next_if_eq(&listed.id.saturating_add(offset)).is_some()).collect()
    }

    /// UIDs of a mailbox that are wanted, as far as is known without fetching anything (some named one by one may not be
    /// there), and those named one by one that are known not to be there.
    pub(super) fn uids(&self, selected: &mut Selected<'_>) -> Result<(imap::UidSet, Vec<u32>)> {
        let exists = selected.state().exists;
        if exists == 0 {
            return Ok((imap::UidSet::new(), self.missing(|_| false)));
        }
        if let Some(uids) = self.direct() {
            return Ok((uids.into_iter().collect(), Vec::new()));
        }
        let there = selected.search_all()?;
        if there.len() > exists.saturating_add(MORE_THAN_EXISTS) {
            return Err(Error::protocol("the server finds more messages than the mailbox holds"));
        }
        if self.is_all() {
            return Ok((there, Vec::new()));
        }
        let all: Vec<u32> = there.iter().collect();
        let picked = self.pick(all.into_iter(), there.last().unwrap_or_default());
        Ok((picked.into_iter().collect(), self.missing(|uid| there.contains(uid))))
    }

    /// The UIDs named one by one: somebody expects each of them to be there.
    pub(super) fn named(&self) -> BTreeSet<u32> {
        self.uids.iter().flat_map(UidSet::singles).collect()
    }

    /// The UIDs named one by one that are not there, ascending.
    fn missing(&self, is_there: impl Fn(u32) -> bool) -> Vec<u32> {
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
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::usage("standard input holds no UIDs"),
        _ => Error::io("standard input", error),
    })?;
    text.split_ascii_whitespace().try_fold(UidSet::default(), |set, word| Ok(set.union(word.parse()?)))
}

/// A place whose messages are numbered from one by where they stand in the listing, POP3 among them.
pub(super) fn numbered(place: &Place) -> bool {
    place.server().is_none_or(|server| server.protocol == Protocol::Pop3)
}

/// What is added to the ids of a listing to get the numbers people see: POP3 numbers its messages itself.
pub(super) fn offset(place: &Place) -> u32 {
    u32::from(place.server().is_none())
}

/// The folder a place means for verbs on messages.
pub(super) fn folder_of(place: &Place) -> Folder {
    place.folder.clone().unwrap_or_else(Folder::inbox)
}

/// What a choice came to.
pub(super) struct Chosen {
    /// The messages that are wanted; ids are what people see. One named alone may turn out not to be there.
    pub(super) wanted: Vec<Listed>,
    /// Named one by one, and not there.
    pub(super) missing: Vec<u32>,
}

/// A folder from which chosen messages can be read.
pub(super) trait Reader {
    /// Looks for the messages that are wanted.
    fn choose(&mut self, choice: &Choice) -> Result<Chosen>;

    /// As [`Source::read`].
    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()>;
}

/// Opens a place of any kind read-only, lets `work` read its folder, and says goodbye.
pub(super) fn with_reader<T>(place: &Place, app: &App, work: impl FnOnce(&mut dyn Reader) -> Result<T>) -> Result<T> {
    let folder = folder_of(place);
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => {
            let mut session = Session::connect(server, Access::ReadOnly, &app.context, &app.trace)?;
            let result = work(&mut ImapFolder(examine(&mut session, &folder)?))?;
            farewell(session.logout())?;
            Ok(result)
        }
        Location::Server(server) => {
            let mut source = Pop3Source::connect(server, &app.context, &app.trace)?;
            let result = work(&mut Numbered { source: &mut source, folder, offset: offset(place) })?;
            farewell(source.finish())?;
            Ok(result)
        }
        _ => {
            let mut source = local_source(place)?;
            work(&mut Numbered { source: source.as_mut(), folder, offset: offset(place) })
        }
    }
}

/// Opens a folder to look at.
pub(super) fn examine<'a>(session: &'a mut Session, folder: &Folder) -> Result<Selected<'a>> {
    session.open_folder(folder, false)
}

/// All that was asked for is done: a server that takes offence at the goodbye changes nothing about that.
pub(super) fn farewell(goodbye: Result<()>) -> Result<()> {
    goodbye.or_else(|error| if matches!(error.kind(), Kind::Interrupted(_)) { Err(error) } else { Ok(()) })
}

/// A place that lies on this machine.
pub(super) fn local_source(place: &Place) -> Result<Box<dyn Source>> {
    Ok(match &place.location {
        Location::Maildir(path) => Box::new(MaildirSource::new(path)),
        Location::Eml(path) => Box::new(EmlSource::new(path)),
        _ => return Err(Error::usage("this version reads from IMAP, POP3, maildir: and eml: places only").at(&place.shown)),
    })
}

struct ImapFolder<'a>(Selected<'a>);

impl Reader for ImapFolder<'_> {
    fn choose(&mut self, choice: &Choice) -> Result<Chosen> {
        let (uids, mut missing) = choice.uids(&mut self.0)?;
        let listed = |id, size| Listed { id, key: None, size, internal_date: None };
        // Sizes decide how bodies are asked for; one alone needs none, and spares the round trip.
        if uids.len() == 1 {
            return Ok(Chosen { wanted: uids.iter().map(|uid| listed(uid, None)).collect(), missing });
        }
        let mut wanted = Vec::new();
        self.0.summaries(&uids, false, &mut |meta| {
            wanted.push(listed(meta.uid, meta.size));
            Ok(())
        })?;
        if choice.direct().is_some() {
            let there: imap::UidSet = wanted.iter().map(|listed| listed.id).collect();
            missing = choice.missing(|uid| there.contains(uid));
        } else {
            // A search found them: a server that does not tell of one here may still give it.
            let told: BTreeSet<u32> = wanted.iter().map(|listed| listed.id).collect();
            wanted.extend(uids.iter().filter(|uid| !told.contains(uid)).map(|uid| listed(uid, None)));
            wanted.sort_by_key(|listed| listed.id);
        }
        Ok(Chosen { wanted, missing })
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let wanted: Vec<Wanted> = wanted.iter().map(|listed| Wanted { uid: listed.id, size: listed.size }).collect();
        self.0.fetch(&wanted, &mut |index, fetched| {
            let message = fetched.map(|fetched| Message {
                body: fetched.body,
                digests: fetched.digests,
                internal_date: fetched.internal_date,
                flags: fetched.flags,
            });
            each(index, message)
        })
    }
}

/// A place whose messages have numbers.
pub(super) struct Numbered<'a> {
    /// Where they are.
    pub(super) source: &'a mut dyn Source,
    /// Its folder.
    pub(super) folder: Folder,
    /// As [`offset`] says.
    pub(super) offset: u32,
}

impl Reader for Numbered<'_> {
    fn choose(&mut self, choice: &Choice) -> Result<Chosen> {
        let messages = self.source.list(&self.folder)?.messages;
        let there: BTreeSet<u32> = messages.iter().map(|listed| listed.id.saturating_add(self.offset)).collect();
        let missing = choice.missing(|number| there.contains(&number));
        let chosen = choice.pick_listed(messages, self.offset).into_iter();
        let wanted = chosen.map(|listed| Listed { id: listed.id.saturating_add(self.offset), ..listed }).collect();
        Ok(Chosen { wanted, missing })
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let own: Vec<Listed> = wanted.iter().map(|listed| Listed { id: listed.id.saturating_sub(self.offset), ..listed.clone() }).collect();
        self.source.read(&own, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let picked = choice(Some("1,3"), None).pick_listed(vec![listed(0), listed(1), listed(2)], 1);
        assert_eq!(picked.iter().map(|listed| listed.id).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn only_numbers_named_one_by_one_can_be_missing() {
        let missing = |choice: Choice| choice.missing(|uid| uid < 3);
        assert_eq!(missing(choice(Some("1,4,7:9,*"), None)), [4]);
        assert_eq!(missing(choice(Some("1,2,4"), Some(1))), [4]);
        assert!(missing(choice(None, Some(3))).is_empty());
        assert!(choice(Some("1,2"), None).names_several() && !choice(Some("1,1,2:9"), None).names_several());
    }
}
