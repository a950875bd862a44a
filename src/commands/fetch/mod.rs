//! `mailhaul fetch`: the messages themselves, byte for byte, or what is in them: to standard output, into files, or taken
//! apart. It changes nothing at the place and marks nothing as read unless asked to (some POP3 servers do so by themselves
//! on RETR).

mod attachments;
mod files;
mod stdout;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;

use super::App;
use super::deliver::Target;
use super::reading::{Choice, Chosen, NO_SUCH, Purpose, Reader, folder_of, numbered, with_reader};
use crate::account::{Place, Protocol};
use crate::cli::{Credentials, FetchSelection, OutputArgs, Uids};
use crate::error::{Error, Result, Scope};
use crate::exit::ExitCode;
use crate::message::{Body, Message};
use crate::output::Progress;
use crate::report::{Event, Format, Problem, Report};
use crate::store::Listed;

const NOT_WHOLE: &str = "it has more parts, or deeper ones, than are taken apart; what is beyond is not shown";
/// A message is taken apart in memory, and only up to this size.
const PARSED_OCTETS: u64 = 40 * 1024 * 1024;

/// The arguments of `fetch`.
#[derive(clap::Args)]
pub struct Args {
    /// An account, URL or local place, with or without a folder (INBOX); without it, the config file's default account
    pub place: Option<String>,
    /// UIDs (POP3 and local places: message numbers): 17 20:40 100:*; - reads them from standard input
    #[arg(value_name = "UID")]
    pub uids: Vec<Uids>,
    /// Selection.
    #[command(flatten)]
    pub selection: FetchSelection,
    /// Write the messages as files below DIR (all of them, where none are selected) instead of to standard output
    #[arg(long, help_heading = "Output", value_name = "DIR", value_hint = clap::ValueHint::DirPath, group = "what")]
    pub to: Option<String>,
    /// What --to makes: eml (the default), a file UID.eml each; maildir; or mbox, one file
    #[arg(long, help_heading = "Output", value_name = "FORMAT", value_enum, requires = "to")]
    pub format: Option<Files>,
    /// Write only the headers, as they are
    #[arg(long, help_heading = "Output", group = "what")]
    pub headers: bool,
    /// Write one part of one message, decoded: 1, 2.1 and so on, as IMAP counts them and -o json lists them
    #[arg(long, help_heading = "Output", value_name = "NUMBER", group = "what", value_parser = part_number)]
    pub part: Option<String>,
    /// Write the text a person reads, as UTF-8; HTML is made plain where there is nothing else
    #[arg(long, help_heading = "Output", group = "what")]
    pub text: bool,
    /// Save the attachments of the messages (all of them, where none are selected) below DIR, under harmless names, replacing nothing
    #[arg(long, help_heading = "Output", value_name = "DIR", value_hint = clap::ValueHint::DirPath, group = "what")]
    pub attachments: Option<PathBuf>,
    /// Only attachments whose file name is of this form, as in '*.pdf' (may be given several times)
    #[arg(long, help_heading = "Output", value_name = "GLOB", requires = "attachments")]
    pub name: Vec<String>,
    /// Only attachments of this type, as in application/pdf or 'image/*' (may be given several times)
    #[arg(long = "type", help_heading = "Output", value_name = "TYPE", requires = "attachments")]
    pub types: Vec<String>,
    /// Mark what was fetched as read, once it is safe (IMAP only)
    #[arg(long)]
    pub mark_seen: bool,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// The kinds of files `--to` makes.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// One file a message
    Eml,
    /// A Maildir, with flags
    Maildir,
    /// One mbox file (or, in a directory, its INBOX.mbox)
    Mbox,
}

fn part_number(text: &str) -> Result<String> {
    let fits = text.split('.').all(|level| !level.is_empty() && !level.starts_with('0') && level.bytes().all(|byte| byte.is_ascii_digit()));
    if fits { Ok(text.to_owned()) } else { Err(Error::usage("a part is named by numbers from 1 up with dots between them, as in 2.1")) }
}

/// Runs `fetch`.
///
/// # Errors
/// Wrong arguments, or what ended the run; with `--to` the summary of what was done until then is written all the same.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let (place, uids) = place_and_uids(args, app)?;
    let place = app.place(place, &args.credentials.overrides(&app.global)?)?;
    if args.mark_seen && place.server().is_none_or(|server| server.protocol != Protocol::Imap) {
        return Err(Error::usage("only messages on an IMAP server can be marked as read").at(&place.shown).hint("leave --mark-seen away"));
    }
    if let Some(to) = args.to.as_deref().filter(|to| *to != "-") {
        let target = Target::new(to, args.format, app)?;
        return files::into_files(args, &place, &uids, target, app);
    }
    let format = match (&args.attachments, args.output.format()) {
        (None, Some(Format::Table | Format::Tsv)) => {
            return Err(Error::usage("a message is no row: -o json and -o jsonl take it apart").hint("rows are what `list` writes"));
        }
        (None, Some(_)) if args.format.is_some() => {
            return Err(Error::usage("--format says how messages are written, and -o takes them apart"));
        }
        (_, format) => format,
    };
    stdout::check(args)?;
    let choice = Choice::new(&args.selection, &uids)?;
    choice.suits(&place)?;
    if choice.is_all() && !args.selection.all && args.attachments.is_none() && place.server().is_some() {
        return Err(Error::usage("which message? none is named").hint("name its UID, or get all of them with --to DIR or --all"));
    }
    if args.part.is_some() && choice.names_several() {
        return Err(stdout::one_message());
    }
    let progress = super::progress_beside(app, std::io::stdout().is_terminal() || args.attachments.is_none());
    let fetch = Fetch {
        place: &place,
        folder: folder_of(&place).to_string(),
        numbered: numbered(&place),
        named: choice.named(),
        app,
        progress: &progress,
    };
    let purpose = Purpose { writable: args.mark_seen, headers: args.headers, again: false };
    let problems = with_reader(&place, &choice, purpose, app, |reader| {
        let chosen = reader.choose(&choice)?;
        let mut come = match (&args.attachments, &args.part, format) {
            (Some(dir), _, _) => {
                let filter = attachments::Filter { names: &args.name, types: &args.types };
                attachments::save(&fetch, reader, &chosen, dir, &filter, super::format(&args.output))
            }
            (_, Some(number), _) => stdout::part(&fetch, reader, &chosen, number),
            (_, _, Some(format)) => stdout::parsed(&fetch, reader, &chosen, format),
            _ if args.headers => stdout::headers(&fetch, reader, &chosen),
            _ if args.text => stdout::text(&fetch, reader, &chosen),
            _ => stdout::raw(&fetch, reader, &chosen, args.format),
        }?;
        if args.mark_seen && !come.delivered.is_empty() {
            let delivered = std::mem::take(&mut come.delivered);
            reader.mark_seen(&delivered)?.into_iter().for_each(|(uid, reason)| come.problem(&fetch, uid, reason));
        }
        Ok(come.problems)
    })?;
    progress.event(Event::Finished);
    let code = if problems.is_empty() { ExitCode::Success } else { ExitCode::Partial };
    problems.into_iter().for_each(|problem| progress.event(Event::Problem(problem)));
    Ok(code)
}

/// The place and the UIDs. A first word that can only be UIDs is one of them, and the default account is meant.
fn place_and_uids<'a>(args: &'a Args, app: &'a App) -> Result<(&'a str, Vec<Uids>)> {
    let uids = || args.uids.iter().cloned();
    match &args.place {
        None => Ok((app.default_place()?, Vec::new())),
        Some(word) => match word.parse() {
            Ok(Uids::Set(set)) if app.config.account(word).is_none() && app.config.default_account().is_some() => {
                Ok((app.default_place()?, std::iter::once(Uids::Set(set)).chain(uids()).collect()))
            }
            _ => Ok((word, uids().collect())),
        },
    }
}

/// A run that does not write files of messages.
struct Fetch<'a> {
    place: &'a Place,
    folder: String,
    /// Whether messages have numbers in place of UIDs.
    numbered: bool,
    /// Those somebody expects to be there.
    named: BTreeSet<u32>,
    app: &'a App,
    progress: &'a Progress,
}

/// What came of it.
#[derive(Default)]
struct Come {
    /// Messages that were written whole.
    delivered: BTreeSet<u32>,
    problems: Vec<Problem>,
}

impl Come {
    fn problem(&mut self, fetch: &Fetch<'_>, id: u32, reason: String) {
        self.problems.push(Problem { folder: fetch.folder.clone(), uid: Some(id), reason });
    }

    /// Takes note of a message, unless it ended the run.
    fn note(&mut self, fetch: &Fetch<'_>, id: u32, bytes: u64, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => {
                self.delivered.insert(id);
                fetch.progress.event(Event::Copied { folder: fetch.folder.clone(), bytes });
            }
            Err(error) if error.scope() == Scope::Message => self.problem(fetch, id, error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Fetch<'_> {
    /// Reads the chosen messages and hands each over; one that cannot be had, or that `work` finds wrong, is a problem and hides
    /// no other.
    fn each(&self, reader: &mut dyn Reader, chosen: &Chosen, work: &mut dyn FnMut(&Listed, Message) -> Result<()>) -> Result<Come> {
        let mut come = self.begin(chosen);
        let mut left = ids(chosen);
        reader.read(&chosen.wanted, &mut |index, message| {
            self.app.context.check()?;
            let Some(listed) = chosen.wanted.get(index) else { return Ok(()) };
            left.remove(&listed.id);
            let bytes = message.as_ref().map_or(0, |message| message.body.len());
            let outcome = message.and_then(|message| work(listed, message));
            come.note(self, listed.id, bytes, outcome)
        })?;
        self.end(chosen, &left, &mut come);
        Ok(come)
    }

    /// The same for headers.
    fn each_header(&self, reader: &mut dyn Reader, chosen: &Chosen, work: &mut dyn FnMut(&Listed, Vec<u8>) -> Result<()>) -> Result<Come> {
        let mut come = self.begin(chosen);
        let mut left = ids(chosen);
        reader.headers(&chosen.wanted, &mut |index, header| {
            self.app.context.check()?;
            let Some(listed) = chosen.wanted.get(index) else { return Ok(()) };
            left.remove(&listed.id);
            let bytes = header.as_ref().map_or(0, |header| header.len() as u64);
            let outcome = header.and_then(|header| work(listed, header));
            come.note(self, listed.id, bytes, outcome)
        })?;
        self.end(chosen, &left, &mut come);
        Ok(come)
    }

    fn begin(&self, chosen: &Chosen) -> Come {
        let bytes = chosen.wanted.iter().filter_map(|listed| listed.size).fold(0, u64::saturating_add);
        self.progress.event(Event::Planned { folder: self.folder.clone(), messages: chosen.wanted.len() as u64, bytes });
        Come::default()
    }

    /// Never there, or listed and gone: what somebody named, or the only one, was expected to come. Others that went away while
    /// this ran are simply no longer among those that were asked for.
    fn end(&self, chosen: &Chosen, left: &BTreeSet<u32>, come: &mut Come) {
        let expected = left.iter().filter(|id| self.named.contains(id) || chosen.wanted.len() == 1).chain(&chosen.missing);
        expected.for_each(|id| come.problem(self, *id, NO_SUCH.to_owned()));
    }
}

fn ids(chosen: &Chosen) -> BTreeSet<u32> {
    chosen.wanted.iter().map(|listed| listed.id).collect()
}

/// A message's octets in one piece.
fn whole(body: &Body) -> Result<Cow<'_, [u8]>> {
    if let Some(bytes) = body.in_memory() {
        return Ok(Cow::Borrowed(bytes));
    }
    if body.len() > PARSED_OCTETS {
        let most = PARSED_OCTETS / (1024 * 1024);
        return Err(Error::local(format!("it is larger than {most} MiB, more than is taken apart"))
            .hint("get it whole with --to DIR")
            .scoped(Scope::Message));
    }
    body.prefix(usize::try_from(PARSED_OCTETS).unwrap_or(usize::MAX)).map(Cow::Owned)
}
