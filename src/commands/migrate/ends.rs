//! The two ends of `migrate`: what a source may be beside a place (an account in a store of backups), and whether mail may go to
//! what is named as the destination. It copies nothing.

use std::sync::Arc;

use super::twin::{Twin, Twinned};
use crate::account::{Location, Overrides, Place, Protocol, is_loopback};
use crate::commands::{App, compare_pop3, restore};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::store::gmail::GmailSource;
use crate::store::labels::Labels;
use crate::store::open::{self, Opener};
use crate::store::takeout::{self, TakeoutSource};
use crate::store::{Source, vault};
use crate::transfer::backup::selection::{self, ChosenFolder};
use crate::transfer::backup::source::{ReadStore, Site, StoreSource};
use crate::transfer::{Seen, SourceFlags};

/// The place that is meant by the source as it was typed: the bare path of a store of backups is one as well.
pub(super) fn source_place(text: &str, app: &App, overrides: &Overrides) -> Result<Place> {
    let is_path = !text.contains("://") && text != "-" && !["maildir:", "mbox:", "eml:"].iter().any(|scheme| text.starts_with(scheme));
    let word = text.split(['/', ':']).next().unwrap_or_default();
    if is_path
        && app.config.account(word).is_none()
        && let Ok(Place { location: Location::Maildir(path), .. }) = Place::parse(&format!("maildir:{text}"), &app.config, overrides)
        && path.is_dir()
        && let Some(card) = vault::card(&path)?
    {
        return app.place(&format!("{}:{text}", card.layout.name()), overrides);
    }
    app.place(text, overrides)
}

/// Where the mail comes from.
pub(super) struct From {
    pub(super) place: Place,
    /// How summaries name it.
    pub(super) shown: String,
    /// Its name in the journal.
    pub(super) name: String,
    /// The one folder of it that goes.
    pub(super) only: Option<Folder>,
    pub(super) flags: SourceFlags,
    /// From where the flags of a maildrop come.
    pub(super) twin: Option<Arc<Twin>>,
    stored: Option<Stored>,
    /// What becomes of Gmail's labels, where it has some and is taken as a whole.
    labels: Option<Labels>,
    /// Whether mail is removed there.
    leaves: bool,
}

/// An account in a store of backups.
struct Stored {
    site: Site,
    account: crate::state::archive::Account,
    chosen: Arc<Vec<ChosenFolder>>,
}

impl From {
    /// # Errors
    /// There is no such place; of a store, that it holds several accounts and none is named.
    pub(super) fn new(place: Place, count_as_seen: Seen, labels: Labels, app: &App) -> Result<Self> {
        if let Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path) = &place.location
            && vault::is_store(path)
        {
            return Self::stored(place, count_as_seen, app);
        }
        let labels = match &place.location {
            Location::Mbox(path) if labels != Labels::Ignore && takeout::is_takeout(path)? => Some(labels),
            Location::Server(server) if server.protocol == Protocol::Imap && place.folder.is_none() => Some(labels),
            _ => None,
        };
        let flags = if open::keeps_flags(&place) || labels.is_some() { SourceFlags::Kept } else { SourceFlags::None(count_as_seen) };
        Ok(Self {
            shown: place.shown.clone(),
            name: open::identity(&place)?,
            only: place.folder.clone(),
            flags,
            twin: None,
            stored: None,
            labels,
            leaves: false,
            place,
        })
    }

    /// Says whether mail is removed there.
    pub(super) fn leaving(mut self, leaves: bool) -> Self {
        self.leaves = leaves;
        self
    }

    fn stored(place: Place, count_as_seen: Seen, app: &App) -> Result<Self> {
        let named = restore::Named::of(&place)?;
        let store = ReadStore::open(named.path.clone())?;
        named.must_be(&store)?;
        let account = restore::account(&store, named.account.as_deref(), &named.shown, "")?;
        let wanted = selection::Selection { only: named.folder.clone(), ..selection::Selection::default() };
        let mut vault = store.site.vault(&app.context)?;
        let chosen = selection::choose(&store.archive, vault.as_mut(), &account, &wanted, &app.context)?;
        let shown = format!("{}//{}", named.shown, account.name);
        if chosen.folders.is_empty()
            && let Some(folder) = &wanted.only
        {
            return Err(Error::usage(format!("there is no folder {folder}")).at(&shown));
        }
        let by_uid = chosen.folders.iter().flat_map(|folder| &folder.messages).all(|one| one.uid.is_some());
        Ok(Self {
            name: store.site.source_name(&account),
            flags: if by_uid { SourceFlags::Kept } else { SourceFlags::None(count_as_seen) },
            // What was named was chosen already.
            only: None,
            twin: None,
            stored: Some(Stored { site: store.site, account, chosen: Arc::new(chosen.folders) }),
            labels: None,
            leaves: false,
            shown,
            place,
        })
    }

    /// With the flags of its IMAP side, which says itself what of the rest counts as read.
    pub(super) fn with_flags_of(self, twin: Twin) -> Self {
        Self { flags: SourceFlags::Kept, twin: Some(Arc::new(twin)), ..self }
    }

    /// The source, opened; `opener` is that of its place.
    pub(super) fn source(&self, opener: &Opener<'_>, app: &App) -> Result<Box<dyn Source>> {
        if let Some(twin) = &self.twin {
            return Ok(Box::new(Twinned::new(Arc::clone(twin), opener.source()?)));
        }
        let Some(stored) = &self.stored else {
            return Ok(match (self.labels, &self.place.location) {
                (Some(labels), Location::Mbox(path)) => Box::new(TakeoutSource::new(path, labels)),
                (Some(labels), _) => Box::new(GmailSource::new(opener.spread()?, labels).refusing(self.leaves.then_some(LABELLED))),
                (None, _) => opener.spread()?,
            });
        };
        let chosen = Arc::clone(&stored.chosen);
        Ok(Box::new(StoreSource::new(self.shown.clone(), stored.site.clone(), stored.account.clone(), chosen, &app.context)?))
    }
}

/// The name of the destination in the journal.
///
/// # Errors
/// No mail may go there.
pub(super) fn destination(place: &Place, from: &From) -> Result<String> {
    let wrong = |words: &str| Error::usage(words).at(&place.shown);
    let path = match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => {
            let name = server.identity();
            return if name == from.name && !differ(place, from) { Err(wrong(SAME)) } else { Ok(name) };
        }
        Location::Server(_) => return Err(wrong("POP3 cannot take mail; name the account's IMAP side")),
        Location::Stdio => return Err(wrong("standard output makes no sense here; mailhaul fetch writes to it")),
        Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path) => open::future_path(path)?,
    };
    if let Some(store) = path.ancestors().find(|above| vault::is_store(above)) {
        return Err(wrong("mail is put into a store of backups by backup alone")
            .hint(format!("name another directory; {} is the store", store.display())));
    }
    let name = open::future_identity(place)?;
    if let Location::Maildir(source) | Location::Mbox(source) | Location::Eml(source) = &from.place.location {
        let source = open::future_path(source)?;
        if path == source && !(name == from.name && differ(place, from)) {
            return Err(wrong(SAME));
        }
        if path != source && path.starts_with(&source) {
            return Err(wrong("the destination lies in the source").hint("name another directory"));
        }
        let is_one_kind = std::mem::discriminant(&place.location) == std::mem::discriminant(&from.place.location);
        if path != source && is_one_kind && source.starts_with(&path) {
            return Err(wrong("the source lies in the destination").hint("name another directory"));
        }
    }
    Ok(name)
}

/// That mail does not go from a maildrop into the mailbox that it shows, where each message would be doubled. Told are the sides of
/// one account of the config file, and places of one user at one host; what leads to one server under several names nobody knows.
///
/// # Errors
/// It does.
pub(super) fn not_doubled(texts: (&str, &str), from: &From, place: &Place, map: &[(Folder, Folder)], app: &App) -> Result<()> {
    let (Some(source), Some(destination)) = (from.place.server(), place.server()) else { return Ok(()) };
    if source.protocol != Protocol::Pop3 || destination.protocol != Protocol::Imap {
        return Ok(());
    }
    let mapped = map.iter().find(|(folder, _)| folder.is_inbox()).map(|(_, into)| into);
    if !mapped.or(place.folder.as_ref()).is_none_or(Folder::is_inbox) {
        return Ok(());
    }
    let configured = compare_pop3::account(app, texts.0);
    let is_one = configured.is_some() && configured == compare_pop3::account(app, texts.1);
    let host = &source.endpoint.host;
    // Behind a port of this machine may be anybody's server.
    let is_alike = source.user == destination.user && host.eq_ignore_ascii_case(&destination.endpoint.host) && !is_loopback(host);
    if !is_one && !is_alike {
        return Ok(());
    }
    Err(Error::usage("the maildrop shows the INBOX of this very account, so each of its messages would be there twice")
        .at(&place.shown)
        .hint("name another account, or another folder of this one; where its two sides are not one mailbox, give them two accounts in the config file"))
}

/// Whether nothing lies at a place on this machine.
pub(super) fn is_missing(place: &Place) -> bool {
    matches!(&place.location, Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path) if !path.exists())
}

const LABELLED: &str = "--delete-source does not take mail out of folders that Gmail's labels make";
const SAME: &str = "the source and the destination are the same";

/// Whether two folders are named that are not one.
fn differ(place: &Place, from: &From) -> bool {
    from.only.is_some() && place.folder.is_some() && from.only != place.folder
}
