//! `mailhaul list`: one row a message, written as they come, so that a mailbox of any size costs no memory and as few
//! round trips as its server allows; rows in an order that no server gives wait in memory, within a bound. It reads headers
//! only where a field that was asked for needs them.

use std::collections::BTreeSet;
use std::io::{IsTerminal, StdoutLock};

use serde_json::Value;

use super::complete::Cache;
use super::reading::{Choice, NO_SUCH, Store, farewell, folder_of, numbered, offset};
use super::sorting::{By, Order, Sorter};
use super::{App, sorting};
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs, Selection, Uids};
use crate::error::{Error, Kind, Result, Scope};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::UidSet;
use crate::imap::listing::{Meta, NEWEST};
use crate::imap::opening::{First, Opening};
use crate::imap::selected::Selected;
use crate::imap::session::{Access, Session};
use crate::imap::sort::SortBy;
use crate::message::{Body, Flag, InternalDate, Key};
use crate::output::{Format, Head, MessageRow, Progress, Rows, terminal_width, write_error};
use crate::pop3::What;
use crate::query::{Facts, Query};
use crate::report::{Event, Problem, Report};
use crate::store::open::Opener;
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};
use crate::summary::{Summary, delivery_date};

const SCHEMA: &str = "mailhaul.list/1";
/// Fields that only the header of a message tells.
const HEADER_FIELDS: [&str; 6] = ["date", "from", "to", "cc", "subject", "message_id"];
/// So much of a message is looked at for its header.
const HEADER_BYTES: usize = 1024 * 1024;
/// So much of it is searched for texts.
const WHOLE_BYTES: usize = 64 * 1024 * 1024;
/// The messages of a POP3 listing that show whether the server can do TOP; each it refuses is asked for with RETR.
const TOP_TRIAL: usize = 50;

/// The arguments of `list`.
#[derive(clap::Args)]
pub struct Args {
    /// Accounts, URLs or local places, with or without a folder (INBOX); without any, the config file's default account
    #[arg(value_name = "PLACE")]
    pub places: Vec<String>,
    /// Selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Every folder of the places; --limit then counts in each
    #[arg(long)]
    pub all_folders: bool,
    /// In this order, several folders and places together: the first key decides, the next where it is equal, at last the
    /// UID. With --limit N these are the first N of that order
    #[arg(long, help_heading = "Output", value_name = "KEY[,KEY]", value_delimiter = ',', value_enum, ignore_case = true)]
    pub sort: Vec<By>,
    /// The other way round: each key of --sort falling; without it by falling UID
    #[arg(long, help_heading = "Output")]
    pub reverse: bool,
    /// Only these fields of each row, in this order: place, folder, uidvalidity, uid, number, uidl, size, flags,
    /// internal_date, date, from, to, cc, subject, message_id
    #[arg(long, help_heading = "Output", value_name = "A,B,C", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// Runs `list`.
///
/// # Errors
/// Wrong arguments; what kept the one place from being listed; with several places only what ends the run as a whole,
/// because one that cannot be listed does not hide the others.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let overrides = args.credentials.overrides(&app.global)?;
    let places = match args.places.as_slice() {
        [] => vec![app.place(app.default_place()?, &overrides)?],
        named => named.iter().map(|text| app.place(text, &overrides)).collect::<Result<_>>()?,
    };
    let format = super::format(&args.output);
    let chosen = (!args.fields.is_empty()).then_some(args.fields.as_slice());
    let table = Table { places: &places, format, chosen, all_folders: args.all_folders };
    // A wrong field or kind of place is told before anything is connected to.
    table.begin(std::io::sink())?;
    if places.iter().filter(|place| matches!(place.location, Location::Stdio)).count() > 1 {
        return Err(Error::usage("standard input is named twice"));
    }
    let choice = Choice::new(&args.selection, [])?;
    places.iter().try_for_each(|place| check(place, args, &choice))?;
    let asked = Asked {
        order: Order::new(&args.sort, args.reverse),
        headers: chosen.is_none_or(|fields| fields.iter().any(|field| HEADER_FIELDS.contains(&field.trim()))),
        single: places.len() == 1 && !args.all_folders,
        all_folders: args.all_folders,
        choice,
    };
    let progress = super::progress_beside(app, std::io::stdout().is_terminal());
    let sorter = (!asked.order.keys.is_empty()).then(|| Sorter::new(asked.order.clone(), asked.choice.limit()));
    let mut listing = Listing {
        table,
        rows: None,
        closed: false,
        order: asked.order.clone(),
        sorter,
        progress: &progress,
        place: String::new(),
        problems: Vec::new(),
    };
    let mut failures: Vec<Error> = Vec::new();
    for place in &places {
        if places.len() > 1 {
            listing.place = place.shown.clone();
        }
        match list(place, &asked, &mut listing, app) {
            Ok(()) => {}
            Err(error) if places.len() == 1 || ends_all(&error) => return Err(error),
            Err(error) => {
                let error = error.at(&place.shown);
                write_error(&mut std::io::stderr(), &error, format.is_json())?;
                listing.problems.push(Problem { folder: place.shown.clone(), uid: None, reason: error.to_string() });
                failures.push(error);
            }
        }
    }
    progress.event(Event::Finished);
    if failures.len() == places.len()
        && let Some(first) = failures.first()
    {
        return Ok(first.kind().into());
    }
    listing.close()?;
    let complete = failures.is_empty() && listing.problems.is_empty();
    Ok(if complete { ExitCode::Success } else { ExitCode::Partial })
}

/// What makes no sense of a place is told before anything is connected to.
fn check(place: &Place, args: &Args, choice: &Choice) -> Result<()> {
    let stdin = |uids: &Uids| *uids == Uids::Stdin;
    if matches!(place.location, Location::Stdio) && args.selection.uid.iter().chain(&args.selection.not_uid).any(stdin) {
        return Err(Error::usage("standard input cannot be both the messages and their numbers"));
    }
    choice.suits(place)?;
    if args.all_folders && place.folder.is_some() {
        return Err(Error::usage("--all-folders lists all of a place, and this one names a folder").at(&place.shown));
    }
    if args.all_folders && !choice.named().is_empty() {
        return Err(Error::usage("UIDs mean something in one folder only, so they do not go with --all-folders"));
    }
    Ok(())
}

/// Whether an error is none of the place's own.
fn ends_all(error: &Error) -> bool {
    matches!(error.kind(), Kind::Interrupted(_) | Kind::BrokenPipe | Kind::Local)
}

/// What is to be listed, and how.
struct Asked {
    choice: Choice,
    order: Order,
    /// Whether a field asked for needs headers.
    headers: bool,
    /// Whether it is one folder of one place, so that a server's order is the order of all.
    single: bool,
    all_folders: bool,
}

impl Asked {
    /// Whether the server may put the messages in order.
    fn by_server(&self) -> bool {
        self.single && !self.order.keys.is_empty() && !self.order.falling
    }

    /// What an IMAP server will be asked first of a mailbox.
    fn first<'a>(&'a self, direct: Option<&'a UidSet>) -> First<'a> {
        match direct {
            Some(uids) => First::Summaries { uids, headers: self.imap_headers() },
            None if self.newest().is_some() => First::Nothing,
            None if self.by_server() && self.choice.unlimited().is_all() => First::Sort(&self.order.keys),
            None => First::Search(self.choice.query()),
        }
    }

    /// How many of the newest messages are wanted, where nothing else is said and they are not too many.
    fn newest(&self) -> Option<u64> {
        let plain = self.order.keys.is_empty() && self.choice.is_newest();
        self.choice.limit().filter(|limit| plain && *limit <= NEWEST)
    }

    fn imap_headers(&self) -> bool {
        self.headers || self.order.needs_header()
    }
}

struct Table<'a> {
    places: &'a [Place],
    format: Format,
    chosen: Option<&'a [String]>,
    all_folders: bool,
}

impl Table<'_> {
    fn begin<W: std::io::Write>(&self, out: W) -> Result<Rows<W>> {
        let shown: Vec<Value> = self.places.iter().map(|place| Value::from(place.shown.clone())).collect();
        let head = Head { schema: SCHEMA, members: vec![("places", Value::from(shown))], rows: "messages" };
        let with_numbers = self.places.iter().any(numbered);
        let mut default = MessageRow::default_fields(with_numbers, self.places.len() > 1, self.all_folders);
        if with_numbers
            && !self.places.iter().all(numbered)
            && let Some(at) = default.iter().position(|field| *field == "number")
        {
            default.insert(at, "uid");
        }
        Rows::new::<MessageRow>(out, self.format, &head, self.chosen, &default, terminal_width(std::io::stdout()))
    }
}

struct Listing<'a> {
    table: Table<'a>,
    /// Begun with the first row, so that a place that cannot be opened leaves nothing on standard output.
    rows: Option<Rows<StdoutLock<'static>>>,
    closed: bool,
    order: Order,
    /// Rows that wait to be put in order.
    sorter: Option<Sorter>,
    progress: &'a Progress,
    /// The place that is being listed, where there are several.
    place: String,
    /// What could not be listed.
    problems: Vec<Problem>,
}

impl Listing<'_> {
    fn rows(&mut self) -> Result<&mut Rows<StdoutLock<'static>>> {
        match &mut self.rows {
            Some(rows) => Ok(rows),
            none => Ok(none.insert(self.table.begin(std::io::stdout().lock())?)),
        }
    }

    fn planned(&self, folder: &Folder, messages: u64) {
        self.progress.event(Event::Planned { folder: folder.to_string(), messages, bytes: 0 });
    }

    /// Takes a row, and what it may be sorted by.
    fn row(&mut self, row: MessageRow, key: impl FnOnce(&Order) -> Vec<sorting::Value>) -> Result<()> {
        let Some(sorter) = &mut self.sorter else { return self.write(&row) };
        self.progress.event(Event::Copied { folder: row.folder.clone(), bytes: 0 });
        sorter.push(row, key(&self.order))
    }

    /// Writes a row whose turn it is.
    fn write(&mut self, row: &MessageRow) -> Result<()> {
        self.rows()?.row(row)?;
        self.progress.event(Event::Copied { folder: row.folder.clone(), bytes: 0 });
        Ok(())
    }

    fn problem(&mut self, folder: &str, uid: Option<u32>, reason: String) {
        // As it would be typed, so that nobody takes one INBOX for the other.
        let folder = match self.place.as_str() {
            "" => folder.to_owned(),
            place if place.ends_with(&format!("/{folder}")) => place.to_owned(),
            place if ["maildir:", "mbox:", "eml:"].iter().any(|kind| place.starts_with(kind)) => format!("{place}//{folder}"),
            place => format!("{place}/{folder}"),
        };
        let problem = Problem { folder, uid, reason };
        self.problems.push(problem.clone());
        self.progress.event(Event::Problem(problem));
    }

    /// Messages that somebody named and that are not there.
    fn missing(&mut self, folder: &str, uids: impl IntoIterator<Item = u32>) {
        uids.into_iter().for_each(|uid| self.problem(folder, Some(uid), NO_SUCH.to_owned()));
    }

    /// What is known by now goes out before the goodbye to a server, all of it where nothing comes behind.
    fn flush(&mut self, is_all: bool) -> Result<()> {
        if is_all { self.close() } else { self.rows.as_mut().map_or(Ok(()), Rows::flush) }
    }

    fn close(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        for row in self.sorter.take().map(Sorter::finish).unwrap_or_default() {
            self.rows()?.row(&row)?;
        }
        self.rows()?;
        let problems = &self.problems;
        self.rows.take().map_or(Ok(()), |rows| rows.finish_with(problems))
    }
}

fn list(place: &Place, asked: &Asked, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let blank = MessageRow { place: place.shown.clone(), ..MessageRow::default() };
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap && asked.all_folders => {
            list_account(server, &blank, asked, listing, app)
        }
        Location::Server(server) if server.protocol == Protocol::Imap => list_imap(server, &folder_of(place), &blank, asked, listing, app),
        Location::Server(server) => list_pop3(server, &folder_of(place), &blank, asked, listing, app),
        _ => list_local(place, &blank, asked, listing, app),
    }
}

fn list_imap(server: &Server, folder: &Folder, blank: &MessageRow, asked: &Asked, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let direct = asked.choice.direct_set();
    let opening = Opening { folder, writable: false, first: asked.first(direct.as_ref()) };
    let mut session = Session::connect_at(server, Access::ReadOnly, &app.context, &app.trace, &opening)?;
    let mut selected = session.open_folder(folder, false)?;
    list_mailbox(&mut selected, folder, blank, asked, listing, app)?;
    listing.flush(asked.single)?;
    farewell(session.logout())
}

/// All folders of an account. One that cannot be opened hides no other.
fn list_account(server: &Server, blank: &MessageRow, asked: &Asked, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let mut session = Session::connect(server, Access::ReadOnly, &app.context, &app.trace)?;
    let mailboxes = session.list()?;
    Cache::of(server, &app.context).write(mailboxes.iter().map(|mailbox| &mailbox.folder));
    for mailbox in mailboxes.into_iter().filter(|mailbox| mailbox.selectable) {
        app.context.check()?;
        session.announce(&mailbox.wire_name, false, asked.first(None))?;
        let outcome = session
            .examine(&mailbox.wire_name)
            .and_then(|mut selected| list_mailbox(&mut selected, &mailbox.folder, blank, asked, listing, app));
        match outcome {
            Err(error) if error.scope() <= Scope::Mailbox => {
                listing.problem(&mailbox.folder.to_string(), None, error.to_string());
            }
            outcome => outcome?,
        }
    }
    listing.flush(false)?;
    farewell(session.logout())
}

fn list_mailbox(
    selected: &mut Selected<'_>,
    folder: &Folder,
    blank: &MessageRow,
    asked: &Asked,
    listing: &mut Listing<'_>,
    app: &App,
) -> Result<()> {
    let uidvalidity = selected.state().uid_validity;
    let blank = MessageRow { uidvalidity, folder: folder.to_string(), ..blank.clone() };
    let (choice, headers) = (&asked.choice, asked.imap_headers());
    // Sorting wants them as they stand.
    let falling = asked.order.falling && asked.order.keys.is_empty();
    if let Some(limit) = asked.newest()
        && let Some(mut metas) = selected.newest(limit, headers)?
    {
        listing.planned(folder, metas.len() as u64);
        if falling {
            metas.reverse();
        }
        return metas.into_iter().try_for_each(|meta| imap_row(&blank, &meta, listing));
    }
    if asked.by_server() && choice.unlimited().is_all() {
        let sorted = if selected.state().exists == 0 { Some(Vec::new()) } else { selected.sort_all(&asked.order.keys)? };
        if let Some(sorted) = sorted {
            return in_order(selected, &sorted, folder, &blank, asked, listing, app);
        }
    }
    // Whoever puts them in order counts them afterwards.
    let unlimited = choice.unlimited();
    let looked = if asked.order.keys.is_empty() { choice } else { &unlimited };
    let (uids, missing) = looked.uids(selected)?;
    listing.missing(&blank.folder, missing);
    if asked.by_server()
        && looked.direct_set().is_none()
        && let Some(sorted) = selected.sort(&asked.order.keys, &uids)?
    {
        return in_order(selected, &sorted, folder, &blank, asked, listing, app);
    }
    listing.planned(folder, uids.len());
    let mut untold: BTreeSet<u32> = if looked.direct_set().is_some() { uids.iter().collect() } else { BTreeSet::new() };
    let mut each = |meta: Meta| {
        app.context.check()?;
        untold.remove(&meta.uid);
        imap_row(&blank, &meta, listing)
    };
    if falling {
        let all: Vec<u32> = uids.iter().collect();
        selected.summaries_in_order(&mut all.into_iter().rev(), headers, &mut each)?;
    } else {
        selected.summaries(&uids, headers, &mut each)?;
    }
    listing.missing(&blank.folder, untold);
    Ok(())
}

/// Rows in the order a server gave, which are written as they come.
fn in_order(
    selected: &mut Selected<'_>,
    sorted: &[u32],
    folder: &Folder,
    blank: &MessageRow,
    asked: &Asked,
    listing: &mut Listing<'_>,
    app: &App,
) -> Result<()> {
    let limit = asked.choice.limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let wanted = sorted.get(..limit).unwrap_or(sorted);
    listing.planned(folder, wanted.len() as u64);
    // This order stands.
    listing.sorter = None;
    selected.summaries_in_order(&mut wanted.iter().copied(), asked.imap_headers(), &mut |meta| {
        app.context.check()?;
        listing.write(&row_of(blank, &meta))
    })
}

/// Takes a message of an IMAP mailbox.
fn imap_row(blank: &MessageRow, meta: &Meta, listing: &mut Listing<'_>) -> Result<()> {
    let summary = || meta.header.as_deref().map(Summary::of).unwrap_or_default();
    listing.row(row_of(blank, meta), |order| order.key(meta.size, meta.internal_date, &summary()))
}

fn row_of(blank: &MessageRow, meta: &Meta) -> MessageRow {
    let row = MessageRow {
        uid: Some(meta.uid),
        size: meta.size,
        internal_date: meta.internal_date.and_then(InternalDate::rfc3339),
        ..blank.clone()
    };
    row.with_flags(&meta.flags).with_summary(meta.header.as_deref().map(Summary::of).unwrap_or_default())
}

/// What a message that had to be read for its row came to.
struct Read {
    summary: Summary,
    flags: Vec<Flag>,
    arrival: Option<InternalDate>,
    /// Whether the query holds for it.
    holds: bool,
}

impl Read {
    fn new(
        body: &Body,
        flags: Vec<Flag>,
        arrived: impl FnOnce(&[u8]) -> Option<InternalDate>,
        listed: &Listed,
        query: &Query,
    ) -> Result<Self> {
        let whole = body.len() <= HEADER_BYTES as u64 || query.needs().whole;
        let spilled;
        let read = match body.in_memory() {
            Some(bytes) => bytes,
            None => {
                spilled = body.prefix(if whole { WHOLE_BYTES } else { HEADER_BYTES })?;
                &spilled
            }
        };
        let arrival = listed.internal_date.or_else(|| arrived(read));
        let facts = Facts {
            flags: Some(&flags),
            size: listed.size.or(Some(body.len())),
            internal_date: arrival,
            header: Some(read),
            whole: whole.then_some(read),
        };
        let holds = query.is_empty() || query.holds(&facts) == Some(true);
        Ok(Self { summary: Summary::of(read), arrival, holds, flags })
    }
}

/// Rows of a folder whose messages this program numbers and chooses among itself.
struct Numbering<'a> {
    blank: MessageRow,
    offset: u32,
    asked: &'a Asked,
    /// What is asked of the messages that are read for their rows.
    query: Query,
    /// Rows wait where the last comes first.
    falling: Option<Sorter>,
}

impl<'a> Numbering<'a> {
    fn new(blank: &MessageRow, folder: &Folder, offset: u32, asked: &'a Asked) -> Self {
        let falling = asked.order.keys.is_empty() && asked.order.falling;
        Self {
            blank: MessageRow { folder: folder.to_string(), ..blank.clone() },
            offset,
            asked,
            query: asked.choice.query().clone(),
            falling: falling.then(|| Sorter::new(asked.order.clone(), None)),
        }
    }

    /// Those of a listing that have to be looked at; the others that were named are named again.
    fn pick(&mut self, mut store: Store<'_>, messages: Vec<Listed>, listing: &mut Listing<'_>) -> Result<Vec<Listed>> {
        let choice = &self.asked.choice;
        let there: BTreeSet<u32> = messages.iter().map(|listed| listed.id.saturating_add(self.offset)).collect();
        if choice.query().is_empty() {
            // Among those that match nobody is missed.
            listing.missing(&self.blank.folder, choice.missing(|number| there.contains(&number)));
        }
        if !self.asked.order.keys.is_empty() || choice.limit().is_none() {
            let named = choice.by_number().of_listing(&mut store, messages, self.offset)?.wanted;
            let (left, decided) = store.sift(named, &self.query);
            if decided {
                self.query = Query::default();
            }
            // Each is read for its row: that is when the query is asked.
            return Ok(left);
        }
        // From the newest on, until there are enough.
        self.query = Query::default();
        let picked = choice.of_listing(&mut store, messages, self.offset)?;
        for (listed, error) in picked.unreadable {
            listing.problem(&self.blank.folder, Some(listed.id.saturating_add(self.offset)), error.to_string());
        }
        Ok(picked.wanted)
    }

    fn row(&mut self, listed: &Listed, read: Option<Result<Read>>, listing: &mut Listing<'_>) -> Result<()> {
        let uidl = match &listed.key {
            Some(Key::Uidl { uidl }) => Some(uidl.to_string()),
            _ => None,
        };
        let number = listed.id.saturating_add(self.offset);
        let mut row = MessageRow {
            number: Some(number),
            uidl,
            size: listed.size,
            internal_date: listed.internal_date.and_then(InternalDate::rfc3339),
            ..self.blank.clone()
        };
        let mut arrival = listed.internal_date;
        let mut summary = Summary::default();
        match read {
            None => {}
            Some(Ok(read)) if !read.holds => return Ok(()),
            Some(Ok(read)) => {
                (arrival, summary) = (read.arrival, read.summary.clone());
                row = row.with_summary(read.summary).with_flags(&read.flags);
            }
            Some(Err(error)) => {
                listing.problem(&self.blank.folder, Some(number), error.to_string());
                if !self.query.is_empty() {
                    // Nobody knows whether it is wanted.
                    return Ok(());
                }
                // The row stands all the same, with what the listings say.
            }
        }
        match &mut self.falling {
            Some(falling) => falling.push(row, Vec::new()),
            None => listing.row(row, |order| order.key(listed.size, arrival, &summary)),
        }
    }

    fn finish(&mut self, listing: &mut Listing<'_>) -> Result<()> {
        let rows = self.falling.take().map(Sorter::finish).unwrap_or_default();
        rows.iter().try_for_each(|row| listing.write(row))
    }
}

fn list_pop3(server: &Server, folder: &Folder, blank: &MessageRow, asked: &Asked, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let mut source = Pop3Source::connect(server, &app.context, &app.trace)?;
    let mut rows = Numbering::new(blank, folder, 0, asked);
    let messages = source.list(folder)?.messages;
    let mut wanted = rows.pick(Store::Pop3(&mut source), messages, listing)?;
    for listed in &mut wanted {
        // A row shows the unique-id even where others have the same one.
        listed.key = source.unique_id(listed).map(|uidl| Key::Uidl { uidl: uidl.into() });
    }
    listing.planned(folder, wanted.len() as u64);
    let needs = rows.query.needs();
    let by_header = asked.order.keys.iter().any(|key| key.by != SortBy::Size);
    if asked.headers || by_header || !rows.query.is_empty() {
        pop3_headers(&mut source, &wanted, &mut rows, needs.whole, listing, app)?;
    } else {
        wanted.iter().try_for_each(|listed| rows.row(listed, None, listing))?;
    }
    rows.finish(listing)?;
    listing.flush(listing.table.places.len() == 1)?;
    farewell(source.finish())
}

/// Rows of POP3 messages whose headers have to be fetched: with TOP, pipelined, or with RETR where TOP is missing or the whole
/// message decides.
fn pop3_headers(
    source: &mut Pop3Source,
    wanted: &[Listed],
    rows: &mut Numbering<'_>,
    whole: bool,
    listing: &mut Listing<'_>,
    app: &App,
) -> Result<()> {
    let query = rows.query.clone();
    let session = source.session();
    let capabilities = session.capabilities();
    let mut what = if whole || capabilities.known && !capabilities.top { What::Whole } else { What::Top(0) };
    let numbers: Vec<u32> = wanted.iter().map(|listed| listed.id).collect();
    let trial = if what == What::Whole { 0 } else { TOP_TRIAL.min(numbers.len()) };
    let (first, rest) = numbers.split_at_checked(trial).unwrap_or_default();
    let read = |at: Option<&Listed>, outcome: Result<Body>| match at {
        Some(listed) => outcome.and_then(|body| Read::new(&body, Vec::new(), delivery_date, listed, &query)),
        None => Err(Error::protocol("the server gave a message that was not asked for")),
    };

    let mut tried: Vec<Result<Read>> = Vec::with_capacity(first.len());
    session.retrieve(first, what, &mut |index, outcome| {
        tried.push(read(wanted.get(index), outcome.map(|(body, _)| body)));
        app.context.check()
    })?;
    let refused: Vec<usize> = tried.iter().enumerate().filter(|(_, one)| one.is_err()).map(|(index, _)| index).collect();
    if !refused.is_empty() {
        if refused.len() == tried.len() {
            what = What::Whole;
        }
        let again: Vec<u32> = refused.iter().filter_map(|index| first.get(*index).copied()).collect();
        session.retrieve(&again, What::Whole, &mut |index, outcome| {
            if let Some(at) = refused.get(index)
                && let Some(slot) = tried.get_mut(*at)
            {
                *slot = read(wanted.get(*at), outcome.map(|(body, _)| body));
            }
            app.context.check()
        })?;
    }
    wanted.iter().zip(tried).try_for_each(|(listed, outcome)| rows.row(listed, Some(outcome), listing))?;
    session.retrieve(rest, what, &mut |index, outcome| {
        app.context.check()?;
        match wanted.get(first.len() + index) {
            Some(listed) => rows.row(listed, Some(read(Some(listed), outcome.map(|(body, _)| body))), listing),
            None => Ok(()),
        }
    })
}

fn list_local(place: &Place, blank: &MessageRow, asked: &Asked, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let opener = Opener::new(place, &app.context, &app.trace);
    let mut source = opener.source()?;
    let folders = if asked.all_folders {
        source.folders()?.into_iter().filter(|info| info.selectable).map(|info| info.folder).collect()
    } else {
        vec![folder_of(place)]
    };
    for folder in folders {
        let messages = match source.list(&folder) {
            Ok(found) => found.messages,
            Err(error) if asked.all_folders && !matches!(error.kind(), Kind::Interrupted(_)) => {
                listing.problem(&folder.to_string(), None, error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut rows = Numbering::new(blank, &folder, offset(place), asked);
        let wanted = rows.pick(Store::Local(source.as_mut()), messages, listing)?;
        let query = rows.query.clone();
        listing.planned(&folder, wanted.len() as u64);
        source.read(&wanted, &mut |index, message| {
            app.context.check()?;
            let Some(listed) = wanted.get(index) else { return Ok(()) };
            let read = message.and_then(|message| Read::new(&message.body, message.flags, |_| message.internal_date, listed, &query));
            rows.row(listed, Some(read), listing)
        })?;
        rows.finish(listing)?;
    }
    source.finish()
}
