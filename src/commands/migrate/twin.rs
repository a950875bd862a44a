//! `migrate --flags-from`: a maildrop keeps no flags, and the IMAP side of the same account does. Messages are matched with it when the
//! first of them is read, so that a run that finds nothing new never opens it. It knows neither journal nor destination.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::account::{Overrides, Place, Protocol, Server};
use crate::commands::App;
use crate::commands::picked::name_of;
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::message::{FlagSet, FlagSets, InternalDate, Message};
use crate::net::Trace;
use crate::query::Query;
use crate::report::{Event, Report, counted};
use crate::store::open::Opener;
use crate::store::pop3::Pop3Source;
use crate::store::sift::Picked;
use crate::store::{FolderInfo, Listed, Listing, Source, copyable};
use crate::transfer::compare::{Comparison, Side};
use crate::transfer::{DateFrom, Seen, SourceFlags, fill_in};

/// The IMAP side of a maildrop, and what was found out there. One serves all the sessions of a run.
pub(super) struct Twin {
    place: Place,
    folder: Folder,
    /// The maildrop.
    server: Server,
    context: Context,
    trace: Trace,
    /// What counts for messages that are not there.
    seen: Seen,
    date_from: DateFrom,
    found: Mutex<Found>,
}

/// What was found out about messages of the maildrop, by name.
#[derive(Default)]
struct Found {
    sets: FlagSets,
    /// The flags of the counterpart, if there is one; and whether the message was read.
    messages: HashMap<String, (Option<FlagSet>, bool)>,
    /// What people should be told.
    remarks: Vec<String>,
}

/// Which messages of the maildrop are looked for there; `None` for all. Those of equal size may be the same, and then each is to meet
/// its own.
type Wanted = Option<(HashSet<String>, HashSet<u64>)>;

impl Twin {
    /// The twin that is named by `text`, of the maildrop `source`.
    ///
    /// # Errors
    /// [`Kind::Usage`] where one is no maildrop, or the other no IMAP account.
    pub(super) fn new(text: &str, source: &Place, (seen, date_from): (Seen, DateFrom), overrides: &Overrides, app: &App) -> Result<Self> {
        let Some(server) = source.server().filter(|server| server.protocol == Protocol::Pop3) else {
            return Err(Error::usage("--flags-from is for POP3: other places keep the flags that they have themselves").at(&source.shown));
        };
        let place = app.place(text, overrides)?;
        if place.server().is_none_or(|twin| twin.protocol != Protocol::Imap) {
            return Err(Error::usage("--flags-from takes an IMAP account, or a folder of one")
                .at(&place.shown)
                .hint("name the IMAP side of the account that the maildrop belongs to"));
        }
        let folder = place.folder.clone().unwrap_or_else(Folder::inbox);
        let (server, context, trace) = (server.clone(), app.context.clone(), app.trace.clone());
        Ok(Self { place, folder, server, context, trace, seen, date_from, found: Mutex::default() })
    }

    /// Asks for the password, before the clock runs.
    pub(super) fn login(&self) -> Result<()> {
        self.place.server().map_or(Ok(()), |server| server.login(&self.context).map(drop))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is known of a message if it has a counterpart. Numbers hold for one session, in which they were looked for or not.
    fn knows(&self, listed: &Listed, in_session: bool) -> bool {
        (listed.key.is_some() || in_session) && self.found().messages.contains_key(&name_of(listed))
    }

    /// How many messages of those that `counts` have flags there, and how many have not.
    fn counts(&self, counts: impl Fn(&str, bool) -> bool) -> (u64, u64) {
        let found = self.found();
        let counted = found.messages.iter().filter(|(name, (_, read))| counts(name, *read));
        counted.fold((0, 0), |(with, without), (_, (flags, _))| if flags.is_some() { (with + 1, without) } else { (with, without + 1) })
    }

    /// How many of the messages that were read got their flags from there; `None` where it was not opened.
    pub(super) fn told(&self) -> Option<String> {
        let (with, without) = self.counts(|_, read| read);
        (with + without > 0).then(|| self.sentence("got", with, without))
    }

    fn sentence(&self, get: &str, with: u64, without: u64) -> String {
        let policy = match without {
            0 => String::new(),
            1 => "; the other one has no counterpart there that is sure, and --count-as-seen says whether it counts as read".to_owned(),
            _ => format!("; the other {without} have no counterpart there that is sure, and --count-as-seen says which count as read"),
        };
        format!("{with} of {} {get} flags from {}{policy}", counted(with + without, "message"), self.place.shown)
    }

    /// Gives a message the flags of its counterpart, and one without the flags that stand in.
    fn mark(&self, listed: &Listed, message: &mut Message) -> Result<()> {
        let flags = {
            let mut found = self.found();
            let entry = found.messages.get_mut(&name_of(listed));
            let set = entry.and_then(|entry| {
                entry.1 = true;
                entry.0
            });
            set.map(|set| copyable(found.sets.get(set)))
        };
        let now = InternalDate { seconds: self.context.unix_time(), offset: 0 };
        match flags {
            Some(flags) => {
                message.flags = flags;
                fill_in(message, SourceFlags::Kept, self.date_from, now)
            }
            None => fill_in(message, SourceFlags::None(self.seen), self.date_from, now),
        }
    }
}

impl Report for Twin {
    fn event(&self, event: Event) {
        if let Event::Note(text) = event {
            self.found().remarks.push(text);
        }
    }
}

/// The session with the maildrop: while messages are matched it is lent.
struct Open {
    source: Option<Box<dyn Source>>,
    /// Sessions after the first.
    again: u32,
}

type Shared = Arc<Mutex<Open>>;

fn session(shared: &Shared) -> MutexGuard<'_, Open> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    fn source(&mut self) -> Result<&mut Box<dyn Source>> {
        self.source.as_mut().ok_or_else(|| Error::network("the connection is gone"))
    }
}

/// A maildrop whose messages have the flags of their counterparts.
pub(super) struct Twinned {
    twin: Arc<Twin>,
    session: Shared,
    /// The folder listed last, and how many messages it held.
    listed: Option<(Folder, usize)>,
    /// Messages were matched in this session.
    matched: bool,
    place: String,
}

impl Twinned {
    /// The maildrop `source`.
    pub(super) fn new(twin: Arc<Twin>, source: Box<dyn Source>) -> Self {
        let place = source.place();
        Self { twin, session: Arc::new(Mutex::new(Open { source: Some(source), again: 0 })), listed: None, matched: false, place }
    }

    /// Says how many of messages of the folder listed last would get flags.
    pub(super) fn foretell(&mut self, wanted: &[Listed]) -> Result<Option<String>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        self.match_up(wanted)?;
        let names: HashSet<String> = wanted.iter().map(name_of).collect();
        let (with, without) = self.twin.counts(|name, _| names.contains(name));
        Ok(Some(self.twin.sentence("would get", with, without)))
    }

    /// Looks for those of `wanted` that were not looked for yet; whether the maildrop was opened anew meanwhile, so that numbers are
    /// others now.
    fn match_up(&mut self, wanted: &[Listed]) -> Result<bool> {
        let Some((_, count)) = self.listed else { return Ok(false) };
        let open: Vec<&Listed> = wanted.iter().filter(|listed| !self.twin.knows(listed, self.matched)).collect();
        if open.is_empty() {
            return Ok(false);
        }
        let chosen: Wanted = (open.len() < count)
            .then(|| (open.iter().map(|listed| name_of(listed)).collect(), open.iter().filter_map(|listed| listed.size).collect()));
        let names: Vec<String> = open.into_iter().map(name_of).collect();
        let chosen = Arc::new(chosen);
        let before = session(&self.session).again;
        let lent = Mutex::new(false);
        let lend = || -> Result<Box<dyn Source>> {
            if std::mem::replace(&mut *lent.lock().unwrap_or_else(PoisonError::into_inner), true) {
                let mut session = session(&self.session);
                // Most servers let one session into a maildrop.
                session.source = None;
                session.again += 1;
                let again = Pop3Source::connect_with(&self.twin.server, &self.twin.context, &self.twin.trace, session.again < 2)?;
                session.source = Some(Box::new(again));
            }
            Ok(Box::new(Lent { session: Arc::clone(&self.session), chosen: Arc::clone(&chosen), place: self.place.clone() }))
        };
        let opener = Opener::new(&self.twin.place, &self.twin.context, &self.twin.trace);
        let twin = &*self.twin;
        let comparison = Comparison {
            context: &twin.context,
            report: twin,
            a: Side { open: &lend, only: None },
            b: Side { open: &|| opener.source(), only: Some(twin.folder.clone()) },
            maildrop: true,
            full: false,
            headers_for_all: false,
            known: Vec::new(),
        };
        let mut flags = HashMap::new();
        let matched = comparison.partners(&mut |listed, told| {
            if let Some(set) = told.and_then(|told| twin.found().sets.add(told)) {
                flags.insert(name_of(listed), set);
            }
        });
        // Without it nothing is copied, whatever is wrong with it.
        matched.map_err(|error| {
            // A folder that is not there is no matter of the maildrop's own folder.
            let error = match error.kind() {
                Kind::Usage => Error::refused(error.message()).at(&twin.place.shown),
                _ => error,
            };
            let error = if error.remedy().is_none() && !matches!(error.kind(), Kind::Interrupted(_)) {
                error.hint(format!("nothing is copied without flags; without --flags-from {} all is", twin.place.shown))
            } else {
                error
            };
            error.scoped(Scope::Run)
        })?;
        let mut found = twin.found();
        for name in names {
            let set = flags.remove(&name);
            found.messages.entry(name).or_insert((None, false)).0 = set;
        }
        drop(found);
        self.matched = true;
        Ok(session(&self.session).again > before)
    }

    /// What messages are called in a session that was opened since they were listed; `None` for those that are gone.
    fn renumbered(&mut self, wanted: &[Listed]) -> Result<Vec<Option<Listed>>> {
        let Some((folder, _)) = &self.listed else { return Ok(Vec::new()) };
        let listing = session(&self.session).source()?.list(folder)?;
        let now: HashMap<String, Listed> = listing.messages.into_iter().map(|listed| (name_of(&listed), listed)).collect();
        wanted
            .iter()
            .map(|listed| match now.get(&name_of(listed)) {
                // A number may be another message's now.
                Some(now) if listed.key.is_some() || now.size == listed.size => Ok(Some(now.clone())),
                None if listed.key.is_some() => Ok(None),
                _ => Err(Error::network("the maildrop changed while its session was lost").at(&self.place)),
            })
            .collect()
    }
}

impl Source for Twinned {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        session(&self.session).source()?.folders()
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        let listing = session(&self.session).source()?.list(folder)?;
        self.listed = Some((folder.clone(), listing.messages.len()));
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let moved = if self.match_up(wanted)? { Some(self.renumbered(wanted)?) } else { None };
        let twin = &*self.twin;
        let mut marked = |index: usize, outcome: Result<Message>| match (wanted.get(index), outcome) {
            (Some(listed), Ok(mut message)) => {
                twin.mark(listed, &mut message)?;
                each(index, Ok(message))
            }
            (_, outcome) => each(index, outcome),
        };
        let mut session = session(&self.session);
        let source = session.source()?;
        let Some(moved) = moved else { return source.read(wanted, &mut marked) };
        let (indexes, now): (Vec<usize>, Vec<Listed>) =
            moved.into_iter().enumerate().filter_map(|(index, listed)| Some((index, listed?))).unzip();
        source.read(&now, &mut |at, outcome| indexes.get(at).map_or(Ok(()), |&index| marked(index, outcome)))
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        session(&self.session).source()?.headers(wanted, each)
    }

    fn unique_id(&self, listed: &Listed) -> Option<String> {
        session(&self.session).source.as_ref()?.unique_id(listed)
    }

    fn end_marks(&self) -> bool {
        session(&self.session).source.as_ref().is_some_and(|source| source.end_marks())
    }

    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<Picked> {
        session(&self.session).source()?.matching(messages, query)
    }

    fn stuck_at(&self) -> Option<u32> {
        session(&self.session).source.as_ref()?.stuck_at()
    }

    fn remarks(&mut self) -> Vec<String> {
        let mut remarks = std::mem::take(&mut self.twin.found().remarks);
        remarks.extend(session(&self.session).source.iter_mut().flat_map(|source| source.remarks()));
        remarks
    }

    fn finish(&mut self) -> Result<()> {
        match &mut session(&self.session).source {
            Some(source) => source.finish(),
            None => Ok(()),
        }
    }
}

/// The maildrop as a comparison sees it: those messages that are looked for, in the session that is open already.
struct Lent {
    session: Shared,
    chosen: Arc<Wanted>,
    place: String,
}

impl Source for Lent {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        session(&self.session).source()?.folders()
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        let mut listing = session(&self.session).source()?.list(folder)?;
        if let Some((names, sizes)) = &*self.chosen {
            listing.messages.retain(|listed| listed.size.is_some_and(|size| sizes.contains(&size)) || names.contains(&name_of(listed)));
        }
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        session(&self.session).source()?.read(wanted, each)
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        session(&self.session).source()?.headers(wanted, each)
    }

    fn unique_id(&self, listed: &Listed) -> Option<String> {
        session(&self.session).source.as_ref()?.unique_id(listed)
    }

    fn end_marks(&self) -> bool {
        session(&self.session).source.as_ref().is_some_and(|source| source.end_marks())
    }

    fn stuck_at(&self) -> Option<u32> {
        session(&self.session).source.as_ref()?.stuck_at()
    }

    /// The session goes on.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
