//! `mailhaul migrate`: any place into an IMAP account, exactly once, whatever happens on the way. It chooses the two ends
//! and says what came of it; `transfer` does the work.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::App;
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{OutputArgs, TwoPlaceCredentials, age, duration};
use crate::error::{Error, Result, io_words};
use crate::exit::ExitCode;
use crate::imap::session::Access;
use crate::output::{Column, CopySummary, Head, Row, Rows, bytes_for_people, terminal_width, write_document};
use crate::report::{Counts, FolderCounts, Outcome};
use crate::state::{self, Journal};
use crate::store::eml::EmlSource;
use crate::store::imap::{ImapSink, ImapSource};
use crate::store::maildir::MaildirSource;
use crate::store::pop3::Pop3Source;
use crate::store::{Sink, Source};
use crate::transfer::{DateFrom, Options, Preview, Seen, SourceFlags, Transfer, preview};

const SCHEMA: &str = "mailhaul.migrate/1";

/// The arguments of `migrate`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the mail is: an account or URL (IMAP or POP3), maildir:PATH or eml:PATH
    pub source: String,
    /// The IMAP account it goes to; a folder named here takes what arrives in it
    pub destination: String,
    /// Say what would be copied, by count and by message, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What of a source without flags (POP3, eml) counts as read: all, none, or older-than:AGE (as in older-than:30d)
    #[arg(long, value_name = "WHICH", default_value = "none", value_parser = seen)]
    pub seen: Seen,
    /// Where the date of a message comes from when its source keeps none (POP3)
    #[arg(long, value_name = "FIELD", value_enum, default_value = "received")]
    pub date_from: DateFrom,
    /// How long a message whose answer got lost is looked for before it counts as not arrived: servers may store late
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub settle: Duration,
    /// Keep the journal in DIR instead of $XDG_STATE_HOME/mailhaul
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: TwoPlaceCredentials,
}

pub(super) fn seen(text: &str) -> Result<Seen> {
    match text.split_once(':') {
        None if text == "all" => Ok(Seen::All),
        None if text == "none" => Ok(Seen::None),
        Some(("older-than", text)) => age(text).map(Seen::OlderThan),
        _ => Err(Error::usage("expected all, none or older-than:AGE")),
    }
}

/// Runs `migrate`.
///
/// # Errors
/// What ended the run; the summary of what was done until then is written all the same.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let sides = args.credentials.sides(&app.global)?;
    let source = app.place(&args.source, &sides.from)?;
    let destination = app.place(&args.destination, &sides.to)?;
    let server = destination_server(&destination)?;
    let source_name = identity(&source)?;
    let destination_name = server.identity();
    if source_name == destination_name && (source.folder.is_none() || source.folder == destination.folder) {
        return Err(Error::usage("the source and the destination are the same").at(&destination.shown));
    }
    let dir = match &args.state {
        Some(dir) => dir.clone(),
        None => state::default_dir(&destination_name)?,
    };
    let ends = Ends { app, source: &source, server, opened: AtomicU32::new(0) };
    if args.dry_run {
        return dry_run(args, app, &ends, &destination, &source_name, &destination_name, &dir);
    }
    let has_flags = matches!(&source.location, Location::Server(server) if server.protocol == Protocol::Imap)
        || matches!(source.location, Location::Maildir(_));
    // Asked for one after the other, and before the clock runs: both ends are opened at once.
    for place in [&source, &destination] {
        if let Some(server) = place.server() {
            server.login(&app.context)?;
        }
    }
    let progress = super::progress(app);
    let started = app.context.now();
    let mut journal = Journal::open(&dir, &destination_name, &app.context).map_err(|error| error.at(&destination.shown))?;
    let (outcome, error) = Transfer {
        context: &app.context,
        report: &progress,
        journal: &mut journal,
        options: Options {
            flags: if has_flags { SourceFlags::Kept } else { SourceFlags::None(args.seen) },
            date_from: args.date_from,
            settle: args.settle,
        },
        source_name,
        open_source: &|| ends.open_source(),
        open_sink: &|| ends.open_sink(Access::ReadWrite),
        only: source.folder.clone(),
        into: destination.folder.clone(),
    }
    .run();
    let complete = outcome.counts.complete() && outcome.problems.is_empty();
    // A run that ended before it listed anything has nothing to sum up.
    if error.is_none() || outcome.counts.listed > 0 {
        let seconds = app.context.now().since(started).as_secs_f64();
        let summary = CopySummary::new(SCHEMA, &source.shown, &destination.shown, outcome, seconds).stopped(error.is_some());
        let format = super::format(&args.output);
        if format.is_json() || !app.global.quiet {
            summary.write(format, &mut std::io::stdout().lock())?;
        }
        if app.global.verbose > 0 {
            summary.write_altered(&mut std::io::stderr().lock())?;
        }
    }
    match error {
        Some(error) => Err(error),
        None if complete => Ok(ExitCode::Success),
        None => Ok(ExitCode::Partial),
    }
}

struct Ends<'a> {
    app: &'a App,
    source: &'a Place,
    server: &'a Server,
    /// How often the source was opened.
    opened: AtomicU32,
}

impl Ends<'_> {
    fn open_source(&self) -> Result<Box<dyn Source>> {
        let (context, trace) = (&self.app.context, &self.app.trace);
        // A POP3 server that announces PIPELINING and cannot do it (wildduck#950, MailKit#174) loses the session again and
        // again: after the second loss it is asked for one message at a time.
        let pipelining = self.opened.fetch_add(1, Ordering::Relaxed) < 2;
        Ok(match &self.source.location {
            Location::Server(server) if server.protocol == Protocol::Imap => Box::new(ImapSource::connect(server, context, trace)?),
            Location::Server(server) => Box::new(Pop3Source::connect_with(server, context, trace, pipelining)?),
            Location::Maildir(path) => Box::new(MaildirSource::new(path)),
            Location::Eml(path) => Box::new(EmlSource::new(path)),
            Location::Mbox(_) | Location::Stdio => return Err(unsupported_source(self.source)),
        })
    }

    fn open_sink(&self, access: Access) -> Result<Box<dyn Sink>> {
        Ok(Box::new(ImapSink::connect(self.server, access, &self.app.context, &self.app.trace)?))
    }
}

fn unsupported_source(place: &Place) -> Error {
    Error::usage("this version migrates from IMAP, POP3, maildir: and eml: places only").at(&place.shown)
}

fn destination_server(place: &Place) -> Result<&Server> {
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => Ok(server),
        Location::Server(_) => Err(Error::usage("POP3 cannot take mail; name the account's IMAP side").at(&place.shown)),
        _ => Err(Error::usage("this version migrates into IMAP accounts only")
            .at(&place.shown)
            .hint("mailhaul fetch --to DIR copies messages into local files")),
    }
}

/// Under what the journal keeps the source, whatever the user calls it.
fn identity(place: &Place) -> Result<String> {
    let local = |kind: &str, path: &Path| {
        let path = path.canonicalize().map_err(|error| Error::usage(format!("{}: {}", path.display(), io_words(&error))))?;
        Ok(format!("{kind}:{}", path.display()))
    };
    match &place.location {
        Location::Server(server) => Ok(server.identity()),
        Location::Maildir(path) => local("maildir", path),
        Location::Eml(path) => local("eml", path),
        Location::Mbox(_) | Location::Stdio => Err(unsupported_source(place)),
    }
}

/// What `--dry-run` says: the summary's fields as they would be, and each message.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct DryRun {
    /// `mailhaul.migrate/1`.
    schema: &'static str,
    /// Always true: nothing was changed.
    dry_run: bool,
    /// The source as the user named it.
    source: String,
    /// The destination as the user named it.
    destination: String,
    #[serde(flatten)]
    counts: Counts,
    /// Whether every listed message is accounted for.
    balanced: bool,
    /// The same counts by folder.
    folders: Vec<FolderCounts>,
    /// Each message that would be copied.
    messages: Vec<WouldCopy>,
}

/// A message that would be copied.
#[derive(Serialize, schemars::JsonSchema)]
struct WouldCopy {
    /// The folder on the source.
    folder: String,
    /// Its UID or message number there.
    uid: u32,
    /// Its size in octets as the source claims it.
    size: Option<u64>,
    /// The folder on the destination.
    to: String,
}

impl Row for WouldCopy {
    const COLUMNS: &'static [Column] =
        &[Column::cut("folder", 40), Column::number("uid"), Column::number("size"), Column::cut("to", usize::MAX)];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "folder" => self.folder.clone(),
            "uid" => self.uid.to_string(),
            "size" if for_people => self.size.map(bytes_for_people).unwrap_or_default(),
            "size" => self.size.map(|size| size.to_string()).unwrap_or_default(),
            _ => self.to.clone(),
        }
    }
}

fn dry_run(
    args: &Args,
    app: &App,
    ends: &Ends<'_>,
    destination: &Place,
    source_name: &str,
    destination_name: &str,
    dir: &Path,
) -> Result<ExitCode> {
    let journal = Journal::read_only(dir, destination_name).map_err(|error| error.at(&destination.shown))?;
    let (mut source, mut sink) = (ends.open_source()?, ends.open_sink(Access::ReadOnly)?);
    let previews = preview(source.as_mut(), sink.as_mut(), journal, source_name, ends.source.folder.as_ref(), destination.folder.as_ref())?;
    source.finish()?;
    sink.finish()?;
    let report = DryRun::new(&ends.source.shown, &destination.shown, &previews);
    let mut stdout = std::io::stdout().lock();
    let format = super::format(&args.output);
    if format.is_json() {
        write_document(&mut stdout, &report)?;
        return Ok(ExitCode::Success);
    }
    if !report.messages.is_empty() {
        let head = Head { schema: SCHEMA, members: Vec::new(), rows: "messages" };
        let width = terminal_width(std::io::stdout());
        let mut rows = Rows::new::<WouldCopy>(&mut stdout, format, &head, None, &["folder", "uid", "size", "to"], width)?;
        report.messages.iter().try_for_each(|message| rows.row(message))?;
        rows.finish()?;
    }
    for preview in &previews {
        let make = if preview.create { " (to be made)" } else { "" };
        let open = if preview.open > 0 { format!(", {} to be looked for first", preview.open) } else { String::new() };
        app.note(&format!(
            "{} → {}{make}: {} listed, {} already there, {} to copy{open}",
            preview.folder,
            preview.destination,
            preview.listed,
            preview.already_there,
            preview.to_copy.len()
        ));
    }
    Ok(ExitCode::Success)
}

impl DryRun {
    fn new(source: &str, destination: &str, previews: &[Preview]) -> Self {
        let mut outcome = Outcome::default();
        let mut messages = Vec::new();
        for preview in previews {
            let counts = Counts {
                listed: preview.listed,
                already_there: preview.already_there,
                unknown: preview.open,
                copied: preview.to_copy.len() as u64,
                bytes: preview.to_copy.iter().filter_map(|listed| listed.size).sum(),
                ..Counts::default()
            };
            outcome.counts.add(&counts);
            outcome.folders.push(FolderCounts { name: preview.folder.to_string(), counts });
            messages.extend(preview.to_copy.iter().map(|listed| WouldCopy {
                folder: preview.folder.to_string(),
                uid: listed.id,
                size: listed.size,
                to: preview.destination.to_string(),
            }));
        }
        Self {
            schema: SCHEMA,
            dry_run: true,
            source: source.to_owned(),
            destination: destination.to_owned(),
            counts: outcome.counts,
            balanced: outcome.counts.balanced(),
            folders: outcome.folders,
            messages,
        }
    }
}
