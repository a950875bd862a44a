//! What verbs share that read messages of one folder: opening a place read-only, choosing among its messages with as few
//! round trips as can be, and reading those. It never changes anything anywhere.

use std::collections::{BTreeSet, HashMap};

use super::App;
use super::choice::holds;
pub(super) use super::choice::{Choice, Store};
use crate::account::{Location, Place, Protocol};
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::imap;
use crate::imap::bulk::Wanted;
use crate::imap::changing::Change;
use crate::imap::opening::{First, Opening};
use crate::imap::selected::Selected;
use crate::imap::session::{Access, Session};
use crate::message::{Flag, Message};
use crate::query::Query;
use crate::store::open::Opener;
pub(super) use crate::store::open::local_source;
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};

/// What is said of a message named one by one that is not there.
pub(super) const NO_SUCH: &str = "there is no such message";

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

    /// As [`Source::headers`].
    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()>;

    /// UIDVALIDITY, where the folder has one.
    fn generation(&self) -> Option<u32> {
        None
    }

    /// Marks messages of a folder opened to be changed as read; gives those that are not, and why.
    fn mark_seen(&mut self, _ids: &BTreeSet<u32>) -> Result<Vec<(u32, String)>> {
        Err(Error::usage("only an IMAP server can mark messages as read here"))
    }
}

/// What a folder is opened for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Purpose {
    /// Flags will be changed.
    pub(super) writable: bool,
    /// Headers are wanted and no bodies.
    pub(super) headers: bool,
    /// It was chosen from before; what is wanted is known.
    pub(super) again: bool,
}

/// Opens a place of any kind (read-only, unless `purpose` says otherwise), lets `work` read the messages of `choice` in its folder, and says goodbye. What
/// `choice` will ask an IMAP server first, and the body of a message named alone, is asked with the login.
pub(super) fn with_reader<T>(
    place: &Place,
    choice: &Choice,
    purpose: Purpose,
    app: &App,
    work: impl FnOnce(&mut dyn Reader) -> Result<T>,
) -> Result<T> {
    let folder = folder_of(place);
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => {
            let direct = choice.direct_set();
            let first = match &direct {
                _ if purpose.again => First::Nothing,
                Some(uids) if uids.len() == 1 && purpose.headers => First::Nothing,
                Some(uids) if uids.len() == 1 => First::Bodies(uids),
                Some(uids) => First::Summaries { uids, headers: false },
                None => First::Search(choice.query()),
            };
            let opening = Opening { folder: &folder, writable: purpose.writable, first };
            let access = if purpose.writable { Access::ReadWrite } else { Access::ReadOnly };
            let mut session = Session::connect_at(server, access, &app.context, &app.trace, &opening)?;
            let result = work(&mut ImapFolder(session.open_folder(&folder, purpose.writable)?))?;
            farewell(session.logout())?;
            Ok(result)
        }
        Location::Server(server) => {
            let mut source = Pop3Source::connect(server, &app.context, &app.trace)?;
            let result = work(&mut Numbered::new(Store::Pop3(&mut source), folder, offset(place)))?;
            farewell(source.finish())?;
            Ok(result)
        }
        Location::Stdio => {
            let opener = Opener::new(place, &app.context, &app.trace);
            let mut source = opener.source()?;
            work(&mut Numbered::new(Store::Local(source.as_mut()), folder, offset(place)))
        }
        _ => {
            let mut source = local_source(place)?;
            work(&mut Numbered::new(Store::Local(source.as_mut()), folder, offset(place)))
        }
    }
}

/// All that was asked for is done: a server that takes offence at the goodbye changes nothing about that.
pub(super) fn farewell(goodbye: Result<()>) -> Result<()> {
    goodbye.or_else(|error| if matches!(error.kind(), Kind::Interrupted(_)) { Err(error) } else { Ok(()) })
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

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        let places: HashMap<u32, usize> = wanted.iter().enumerate().map(|(index, listed)| (listed.id, index)).collect();
        let uids = wanted.iter().map(|listed| listed.id).collect();
        self.0.headers(&uids, &mut |uid, header| places.get(&uid).map_or(Ok(()), |index| each(*index, header)))
    }

    fn generation(&self) -> Option<u32> {
        self.0.state().uid_validity
    }

    fn mark_seen(&mut self, ids: &BTreeSet<u32>) -> Result<Vec<(u32, String)>> {
        let (_, refused) = self.0.state().permitted(&[Flag::seen()]);
        if !refused.is_empty() {
            let reason = "the folder keeps no \\Seen flag, so it was not marked as read";
            return Ok(ids.iter().map(|uid| (*uid, reason.to_owned())).collect());
        }
        let stored = self.0.store(&ids.iter().copied().collect(), Change::Add, &[Flag::seen()], None)?;
        let reason =
            stored.rest.error.map_or_else(|| "it was not marked as read".to_owned(), |error| format!("it was not marked as read: {error}"));
        Ok(stored.rest.refused.iter().chain(stored.rest.unknown.iter()).map(|uid| (uid, reason.clone())).collect())
    }
}

/// A place whose messages have numbers.
pub(super) struct Numbered<'a> {
    /// Where they are.
    pub(super) store: Store<'a>,
    /// Its folder.
    pub(super) folder: Folder,
    /// As [`offset`] says.
    pub(super) offset: u32,
    /// Messages that could not be looked into, and what is to hold for them once they can.
    doubtful: BTreeSet<u32>,
    query: Query,
}

impl<'a> Numbered<'a> {
    /// A folder of a store.
    pub(super) fn new(store: Store<'a>, folder: Folder, offset: u32) -> Self {
        Self { store, folder, offset, doubtful: BTreeSet::new(), query: Query::default() }
    }
}

impl Reader for Numbered<'_> {
    fn choose(&mut self, choice: &Choice) -> Result<Chosen> {
        let messages = self.store.source().list(&self.folder)?.messages;
        let there: BTreeSet<u32> = messages.iter().map(|listed| listed.id.saturating_add(self.offset)).collect();
        let missing = choice.missing(|number| there.contains(&number));
        let picked = choice.of_listing(&mut self.store, messages, self.offset)?;
        // Reading says what is wrong with those that could not be looked into.
        self.doubtful = picked.unreadable.iter().map(|(listed, _)| listed.id).collect();
        self.query = choice.query().clone();
        let mut chosen = picked.wanted;
        chosen.extend(picked.unreadable.into_iter().map(|(listed, _)| listed));
        chosen.sort_by_key(|listed| listed.id);
        let chosen = chosen.into_iter();
        let wanted = chosen.map(|listed| Listed { id: listed.id.saturating_add(self.offset), ..listed }).collect();
        Ok(Chosen { wanted, missing })
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let own: Vec<Listed> = wanted.iter().map(|listed| Listed { id: listed.id.saturating_sub(self.offset), ..listed.clone() }).collect();
        if self.doubtful.is_empty() {
            return self.store.source().read(&own, each);
        }
        let pop3 = matches!(self.store, Store::Pop3(_));
        let (doubtful, query) = (&self.doubtful, &self.query);
        self.store.source().read(&own, &mut |index, message| match (own.get(index), &message) {
            // Now it can be read, and nobody asked for it.
            (Some(listed), Ok(read)) if doubtful.contains(&listed.id) && !holds(read, listed, pop3, query)? => Ok(()),
            _ => each(index, message),
        })
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        let own: Vec<Listed> = wanted.iter().map(|listed| Listed { id: listed.id.saturating_sub(self.offset), ..listed.clone() }).collect();
        self.store.source().headers(&own, each)
    }
}
