//! `mailhaul list`: one row a message, written as they come, so that a mailbox of any size costs no memory and as few
//! round trips as its server allows. It reads headers only where a field that was asked for needs them.

use std::io::{IsTerminal, StdoutLock};

use serde_json::Value;

use super::App;
use super::reading::{Choice, Store, examine, farewell, folder_of, local_source, numbered, offset};
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs, Selection};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::selected::Meta;
use crate::imap::session::{Access, Session};
use crate::message::{Body, InternalDate, Key};
use crate::output::{Format, Head, MessageRow, Progress, Rows, terminal_width, write_error};
use crate::pop3::What;
use crate::report::{Event, Problem, Report};
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};
use crate::summary::Summary;

const SCHEMA: &str = "mailhaul.list/1";
/// Fields that only the header of a message tells.
const HEADER_FIELDS: [&str; 6] = ["date", "from", "to", "cc", "subject", "message_id"];
/// So much of a message is looked at for its header.
const HEADER_BYTES: usize = 1024 * 1024;
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
    let table = Table { places: &places, format, chosen };
    // A wrong field or kind of place is told before anything is connected to.
    table.begin(std::io::sink())?;
    places.iter().filter(|place| place.server().is_none()).try_for_each(|place| local_source(place).map(drop))?;
    let choice = Choice::new(&args.selection, [])?;
    places.iter().try_for_each(|place| choice.suits(place))?;
    let progress = super::progress_beside(app, std::io::stdout().is_terminal());
    let mut listing = Listing {
        table,
        rows: None,
        headers: chosen.is_none_or(|fields| fields.iter().any(|field| HEADER_FIELDS.contains(&field.trim()))),
        progress: &progress,
        problems: 0,
    };
    let mut failures: Vec<Error> = Vec::new();
    for place in &places {
        match list(place, &choice, &mut listing, app) {
            Ok(()) => {}
            Err(error) if places.len() == 1 || ends_all(&error) => return Err(error),
            Err(error) => {
                let error = error.at(&place.shown);
                write_error(&mut std::io::stderr(), &error, format.is_json())?;
                failures.push(error);
            }
        }
    }
    progress.event(Event::Finished);
    let complete = failures.is_empty() && listing.problems == 0;
    if failures.len() == places.len()
        && let Some(first) = failures.first()
    {
        return Ok(first.kind().into());
    }
    listing.finish()?;
    Ok(if complete { ExitCode::Success } else { ExitCode::Partial })
}

/// Whether an error is none of the place's own.
fn ends_all(error: &Error) -> bool {
    matches!(error.kind(), Kind::Interrupted(_) | Kind::BrokenPipe | Kind::Local)
}

struct Table<'a> {
    places: &'a [Place],
    format: Format,
    chosen: Option<&'a [String]>,
}

impl Table<'_> {
    fn begin<W: std::io::Write>(&self, out: W) -> Result<Rows<W>> {
        let shown: Vec<Value> = self.places.iter().map(|place| Value::from(place.shown.clone())).collect();
        let head = Head { schema: SCHEMA, members: vec![("places", Value::from(shown))], rows: "messages" };
        let with_numbers = self.places.iter().any(numbered);
        let mut default = MessageRow::default_fields(with_numbers, self.places.len() > 1, false);
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
    /// Whether a field asked for needs headers.
    headers: bool,
    progress: &'a Progress,
    problems: u64,
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

    fn row(&mut self, row: &MessageRow) -> Result<()> {
        self.rows()?.row(row)?;
        self.progress.event(Event::Copied { folder: row.folder.clone(), bytes: 0 });
        Ok(())
    }

    fn problem(&mut self, row: &MessageRow, error: &Error) {
        self.problems += 1;
        self.progress.event(Event::Problem(Problem { folder: row.folder.clone(), uid: row.uid.or(row.number), reason: error.to_string() }));
    }

    /// What is known by now goes out before the goodbye to a server.
    fn flush(&mut self) -> Result<()> {
        self.rows.as_mut().map_or(Ok(()), Rows::flush)
    }

    fn finish(mut self) -> Result<()> {
        self.rows()?;
        self.rows.map_or(Ok(()), Rows::finish)
    }
}

fn list(place: &Place, choice: &Choice, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let folder = folder_of(place);
    let blank = MessageRow { place: place.shown.clone(), folder: folder.to_string(), ..MessageRow::default() };
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => list_imap(server, &folder, &blank, choice, listing, app),
        Location::Server(server) => list_pop3(server, &folder, &blank, choice, listing, app),
        _ => list_local(place, &folder, &blank, choice, listing, app),
    }
}

fn list_imap(server: &Server, folder: &Folder, blank: &MessageRow, choice: &Choice, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let mut session = Session::connect(server, Access::ReadOnly, &app.context, &app.trace)?;
    let mut selected = examine(&mut session, folder)?;
    let (uids, _) = choice.uids(&mut selected)?;
    listing.planned(folder, uids.len());
    let blank = MessageRow { uidvalidity: selected.state().uid_validity, ..blank.clone() };
    selected.summaries(&uids, listing.headers, &mut |meta| {
        app.context.check()?;
        listing.row(&imap_row(&blank, &meta))
    })?;
    listing.flush()?;
    farewell(session.logout())
}

fn imap_row(blank: &MessageRow, meta: &Meta) -> MessageRow {
    let row = MessageRow {
        uid: Some(meta.uid),
        size: meta.size,
        internal_date: meta.internal_date.and_then(InternalDate::rfc3339),
        ..blank.clone()
    };
    row.with_flags(&meta.flags).with_summary(meta.header.as_deref().map(Summary::of).unwrap_or_default())
}

fn list_pop3(server: &Server, folder: &Folder, blank: &MessageRow, choice: &Choice, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let mut source = Pop3Source::connect(server, &app.context, &app.trace)?;
    let mut wanted = {
        let messages = source.list(folder)?.messages;
        let picked = choice.of_listing(&mut Store::Pop3(&mut source), messages, 0)?;
        picked.unreadable.iter().for_each(|(listed, error)| listing.problem(&numbered_row(blank, listed, 0), error));
        picked.wanted
    };
    for listed in &mut wanted {
        // A row shows the unique-id even where others have the same one.
        listed.key = source.unique_id(listed).map(|uidl| Key::Uidl { uidl });
    }
    listing.planned(folder, wanted.len() as u64);
    if listing.headers {
        pop3_headers(&mut source, &wanted, blank, listing, app)?;
    } else {
        wanted.iter().try_for_each(|listed| listing.row(&numbered_row(blank, listed, 0)))?;
    }
    listing.flush()?;
    farewell(source.finish())
}

/// Rows of POP3 messages whose headers have to be fetched: with TOP, pipelined, or with RETR where TOP is missing.
fn pop3_headers(source: &mut Pop3Source, wanted: &[Listed], blank: &MessageRow, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let session = source.session();
    let capabilities = session.capabilities();
    let mut what = if capabilities.known && !capabilities.top { What::Whole } else { What::Top(0) };
    let numbers: Vec<u32> = wanted.iter().map(|listed| listed.id).collect();
    let trial = if what == What::Whole { 0 } else { TOP_TRIAL.min(numbers.len()) };
    let (first, rest) = numbers.split_at_checked(trial).unwrap_or_default();

    let mut tried: Vec<Result<Summary>> = Vec::with_capacity(first.len());
    session.retrieve(first, what, &mut |_, outcome| {
        tried.push(outcome.and_then(|(body, _)| summary(&body)));
        app.context.check()
    })?;
    let refused: Vec<usize> = tried.iter().enumerate().filter(|(_, one)| one.is_err()).map(|(index, _)| index).collect();
    if !refused.is_empty() {
        if refused.len() == tried.len() {
            what = What::Whole;
        }
        let again: Vec<u32> = refused.iter().filter_map(|index| first.get(*index).copied()).collect();
        session.retrieve(&again, What::Whole, &mut |index, outcome| {
            if let Some(slot) = refused.get(index).and_then(|index| tried.get_mut(*index)) {
                *slot = outcome.and_then(|(body, _)| summary(&body));
            }
            app.context.check()
        })?;
    }
    let mut row = |listed: &Listed, outcome: Result<Summary>| {
        let mut row = numbered_row(blank, listed, 0);
        match outcome {
            Ok(summary) => row = row.with_summary(summary),
            // The row stands all the same, with what the listings say.
            Err(error) => listing.problem(&row, &error),
        }
        listing.row(&row)
    };
    wanted.iter().zip(tried).try_for_each(|(listed, outcome)| row(listed, outcome))?;
    session.retrieve(rest, what, &mut |index, outcome| {
        app.context.check()?;
        match wanted.get(first.len() + index) {
            Some(listed) => row(listed, outcome.and_then(|(body, _)| summary(&body))),
            None => Ok(()),
        }
    })
}

fn list_local(place: &Place, folder: &Folder, blank: &MessageRow, choice: &Choice, listing: &mut Listing<'_>, app: &App) -> Result<()> {
    let offset = offset(place);
    let mut source = local_source(place)?;
    let wanted = {
        let messages = source.list(folder)?.messages;
        let picked = choice.of_listing(&mut Store::Local(source.as_mut()), messages, offset)?;
        picked.unreadable.iter().for_each(|(listed, error)| listing.problem(&numbered_row(blank, listed, offset), error));
        picked.wanted
    };
    listing.planned(folder, wanted.len() as u64);
    source.read(&wanted, &mut |index, message| {
        app.context.check()?;
        let Some(listed) = wanted.get(index) else { return Ok(()) };
        let row = numbered_row(blank, listed, offset);
        match message.and_then(|message| Ok((summary(&message.body)?, message.flags))) {
            Ok((summary, flags)) => listing.row(&row.with_summary(summary).with_flags(&flags)),
            Err(error) => {
                listing.problem(&row, &error);
                listing.row(&row)
            }
        }
    })?;
    source.finish()
}

fn numbered_row(blank: &MessageRow, listed: &Listed, offset: u32) -> MessageRow {
    let uidl = match &listed.key {
        Some(Key::Uidl { uidl }) => Some(uidl.clone()),
        _ => None,
    };
    MessageRow {
        number: Some(listed.id.saturating_add(offset)),
        uidl,
        size: listed.size,
        internal_date: listed.internal_date.and_then(InternalDate::rfc3339),
        ..blank.clone()
    }
}

fn summary(body: &Body) -> Result<Summary> {
    match body.in_memory() {
        Some(bytes) => Ok(Summary::of(bytes)),
        None => Ok(Summary::of(&body.prefix(HEADER_BYTES)?)),
    }
}
