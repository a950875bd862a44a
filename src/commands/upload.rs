//! `mailhaul upload`: puts files into a folder: single messages, mboxes, Maildirs or standard input. It finds out what each
//! input is before anything is sent; `transfer` does the work, with a journal that outlives the run only for `--once`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::copying::Over;
use super::{App, dry_run};
use crate::account::{Config, Location, Overrides, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs, duration};
use crate::error::{Error, Result, io_words};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::session::Access;
use crate::message::{Flag, InternalDate};
use crate::output::Progress;
use crate::report::{Event, Outcome, Problem, Report, counted};
use crate::state::{self, Journal};
use crate::store::eml::EmlSource;
use crate::store::maildir::MaildirSource;
use crate::store::mbox::{MboxSource, is_mbox};
use crate::store::open::{self, Spool};
use crate::store::several::{Dates, Input, Origins, Several};
use crate::store::{Listed, Source};
use crate::transfer::{Asked, DateFrom, Options, Preview, SourceFlags, Transfer, preview};

const SCHEMA: &str = "mailhaul.upload/1";
/// Under this name a journal knows what `--once` sent, wherever the files lay: a message is its content.
const SOURCE_NAME: &str = "upload";
/// So much of a file is looked at to find out what it is.
const HEAD_BYTES: u64 = 4096;

/// The arguments of `upload`.
#[derive(clap::Args)]
pub struct Args {
    /// .eml and mbox files, Maildirs, directories of .eml files (found out by looking; maildir:PATH, mbox:PATH//FOLDER and
    /// eml:PATH say it), - for standard input
    #[arg(value_name = "FILE", required = true, num_args = 1.., value_hint = clap::ValueHint::AnyPath)]
    pub files: Vec<String>,
    /// The IMAP account or URL they go to, with or without a folder (INBOX)
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// Give every message these flags: seen, answered, flagged, draft, deleted, or any keyword
    #[arg(long = "flag", value_name = "F[,F]", value_delimiter = ',', value_parser = flag)]
    pub flags: Vec<Flag>,
    /// The date the server shall keep: header (topmost Received, else Date), file (when it was last changed), now, or a date as
    /// in 2024-05-17 or 2024-05-17T10:30:00+02:00. By default what a Maildir or mbox keeps, else as header
    #[arg(long, value_name = "DATE", value_parser = when)]
    pub date: Option<When>,
    /// Make the folder where it is missing, and subscribe to it
    #[arg(long)]
    pub create: bool,
    /// Send only what no earlier run with --once put into that folder (by content; a journal is kept), whatever happens
    #[arg(long)]
    pub once: bool,
    /// Change nothing; say what would be sent, by count and by message
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// How long a message whose answer got lost is looked for before it counts as not arrived: servers may store late
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub settle: Duration,
    /// Keep the journal of --once in DIR instead of $XDG_STATE_HOME/mailhaul
    #[arg(long, value_name = "DIR", requires = "once", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// What `--date` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// What the header says.
    Header,
    /// When the file was last changed.
    File,
    /// Now.
    Now,
    /// A date.
    At(InternalDate),
}

fn when(text: &str) -> Result<When> {
    match text {
        "header" => return Ok(When::Header),
        "file" => return Ok(When::File),
        "now" => return Ok(When::Now),
        _ => {}
    }
    let wrong = || Error::usage("expected header, file, now, or a date as in 2024-05-17 or 2024-05-17T10:30:00Z");
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let seconds = whole.parse::<jiff::Timestamp>().map_err(|_| wrong())?.as_second();
    if !(0..253_402_300_800).contains(&seconds) {
        return Err(Error::usage("servers keep dates of the years 1970 to 9999 only"));
    }
    let digits = |at: std::ops::Range<usize>| whole.get(at).and_then(|digits| digits.parse::<i32>().ok());
    let zone = whole.len().checked_sub(6).filter(|at| whole.get(*at..).is_some_and(|zone| zone.starts_with(['+', '-'])));
    let offset = zone.and_then(|at| {
        let seconds = digits(at + 1..at + 3)? * 3600 + digits(at + 4..at + 6)? * 60;
        Some(if whole.get(at..at + 1) == Some("-") { -seconds } else { seconds })
    });
    Ok(When::At(InternalDate { seconds, offset: offset.unwrap_or(0) }))
}

fn flag(text: &str) -> Result<Flag> {
    let name = text.strip_prefix('\\').unwrap_or(text);
    let system = ["Seen", "Answered", "Flagged", "Draft", "Deleted"].into_iter().find(|system| system.eq_ignore_ascii_case(name));
    match system {
        Some(system) => Ok(Flag::new(format!("\\{system}"))),
        None if text.is_empty() || text.starts_with('\\') || !crate::imap::encode::can_send_flag(&Flag::new(text)) => {
            Err(Error::usage("no flag: expected seen, answered, flagged, draft, deleted or a keyword"))
        }
        None => Ok(Flag::new(text)),
    }
}

/// Runs `upload`.
///
/// # Errors
/// Wrong arguments or inputs (nothing is sent then), or what ended the run; the summary of what was done until then is
/// written all the same.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let files = args.files.as_slice();
    let destination = app.place(&args.place, &args.credentials.overrides(&app.global)?)?;
    let server = destination_server(&destination)?;
    if files.iter().filter(|file| *file == "-").count() > 1 {
        return Err(Error::usage("standard input can be read only once"));
    }
    let inputs: Vec<FileInput> = files.iter().map(|file| FileInput::of(file)).collect::<Result<_>>()?;
    let job = Job { args, app, destination: &destination, files, inputs, origins: Origins::default() };
    for (input, file) in job.inputs.iter().zip(files) {
        input.others(file, app)?;
    }
    if args.dry_run {
        return job.dry_run(&server.identity());
    }
    server.login(&app.context)?;
    let (_private, dir) = match (&args.state, args.once) {
        (Some(dir), true) => (None, dir.clone()),
        (None, true) => (None, state::default_dir(&server.identity())?),
        (_, false) => {
            let dir = tempfile::Builder::new().prefix("mailhaul").tempdir().map_err(|error| Error::io("a temporary directory", error))?;
            let path = dir.path().join("journal");
            (Some(dir), path)
        }
    };
    let mut journal = Journal::open(&dir, &server.identity(), &app.context).map_err(|error| error.at(&destination.shown))?;
    job.run(&mut journal)
}

fn destination_server(place: &Place) -> Result<&Server> {
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => Ok(server),
        Location::Server(_) => Err(Error::usage("POP3 cannot take mail; name the account's IMAP side").at(&place.shown)),
        _ => Err(Error::usage("upload puts mail into IMAP accounts; the last argument names one")
            .at(&place.shown)
            .hint("between local places mail is copied: mailhaul copy eml:FILE maildir:PATH --all")),
    }
}

/// What an argument turned out to be.
enum FileInput {
    Message(PathBuf),
    Maildir(PathBuf, Folder),
    Mbox(PathBuf, Folder),
    Eml(PathBuf, Folder),
    Stream(Spool),
}

impl FileInput {
    /// Looks at what stands there.
    fn of(file: &str) -> Result<Self> {
        if file == "-" {
            return Self::stream(Spool::of(&mut std::io::stdin().lock())?, "standard input");
        }
        if ["maildir:", "mbox:", "eml:"].iter().any(|scheme| file.starts_with(scheme)) {
            let place = Place::parse(file, &Config::default(), &Overrides::default())?;
            let folder = place.folder.unwrap_or_else(Folder::inbox);
            return match place.location {
                Location::Maildir(path) => Ok(Self::Maildir(there(&path)?, folder)),
                Location::Mbox(path) => Ok(Self::Mbox(there(&path)?, folder)),
                Location::Eml(path) if path.is_dir() => Ok(Self::Eml(path, folder)),
                Location::Eml(path) => Self::message(there(&path)?, file),
                Location::Server(_) | Location::Stdio => Err(Error::usage(format!("{file}: not a file"))),
            };
        }
        let path = PathBuf::from(file);
        let metadata = std::fs::metadata(&path).map_err(|error| missing(&path, &error))?;
        if metadata.is_dir() {
            return Self::directory(path);
        }
        if !metadata.is_file() {
            let mut stream = std::fs::File::open(&path).map_err(|error| Error::io(path.display(), error))?;
            return Self::stream(Spool::of(&mut stream)?, file);
        }
        let mut head = Vec::new();
        let opened = std::fs::File::open(&path).map_err(|error| Error::io(path.display(), error))?;
        std::io::Read::read_to_end(&mut std::io::Read::take(opened, HEAD_BYTES), &mut head)
            .map_err(|error| Error::io(path.display(), error))?;
        if is_mbox(&head) { Ok(Self::Mbox(path, Folder::inbox())) } else { Self::message(path, file) }
    }

    fn message(path: PathBuf, file: &str) -> Result<Self> {
        let len = std::fs::metadata(&path).map_err(|error| missing(&path, &error))?.len();
        if len == 0 { Err(empty(file)) } else { Ok(Self::Message(path)) }
    }

    fn stream(spool: Spool, file: &str) -> Result<Self> {
        if spool.is_empty() { Err(empty(file)) } else { Ok(Self::Stream(spool)) }
    }

    fn directory(path: PathBuf) -> Result<Self> {
        if !MaildirSource::new(&path).folders()?.is_empty() {
            return Ok(Self::Maildir(path, Folder::inbox()));
        }
        let mut source = EmlSource::new(&path);
        let folders = source.folders()?;
        if folders.len() > 1 || folders.iter().any(|info| source.list(&info.folder).is_ok_and(|listing| !listing.messages.is_empty())) {
            return Ok(Self::Eml(path, Folder::inbox()));
        }
        if !MboxSource::new(&path).folders()?.is_empty() {
            return Ok(Self::Mbox(path, Folder::inbox()));
        }
        Err(Error::usage(format!("{}: neither a Maildir nor a directory of .eml files", path.display()))
            .hint("maildir:PATH, mbox:PATH or eml:PATH say what it is"))
    }

    /// Whether the folder is there, and a word on folders beside it that are not sent.
    fn others(&self, file: &str, app: &App) -> Result<()> {
        let (mut source, wanted): (Box<dyn Source>, &Folder) = match self {
            Self::Maildir(path, folder) => (Box::new(MaildirSource::new(path)), folder),
            Self::Mbox(path, folder) => (Box::new(MboxSource::new(path)), folder),
            Self::Eml(path, folder) => (Box::new(EmlSource::new(path)), folder),
            Self::Message(_) | Self::Stream(_) => return Ok(()),
        };
        let folders = source.folders()?;
        let others: Vec<String> =
            folders.iter().map(|info| &info.folder).filter(|folder| *folder != wanted).map(ToString::to_string).collect();
        if others.len() == folders.len() {
            let error = Error::usage(format!("{file}: there is no folder {wanted}"));
            return Err(match others.first() {
                Some(first) => error.hint(format!("its folders are named as in {}//{first}", source.place())),
                None => error,
            });
        }
        if !others.is_empty() {
            let more = others.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
            app.note(&format!(
                "{file}: only {wanted} is sent, not {more}{}; migrate copies whole trees",
                if others.len() > 3 { " …" } else { "" }
            ));
        }
        Ok(())
    }

    fn input(&self) -> Input {
        match self {
            Self::Message(path) => Input::Message(path.clone()),
            Self::Maildir(path, folder) => Input::Folder(Box::new(MaildirSource::new(path)), folder.clone()),
            Self::Mbox(path, folder) => Input::Folder(Box::new(MboxSource::new(path)), folder.clone()),
            Self::Eml(path, folder) => Input::Folder(Box::new(EmlSource::new(path)), folder.clone()),
            Self::Stream(spool) if spool.is_mbox() => Input::Folder(spool.source(), Folder::inbox()),
            Self::Stream(spool) => Input::Message(spool.path().to_owned()),
        }
    }

    /// Whether it is one message.
    fn is_one(&self) -> bool {
        match self {
            Self::Message(_) => true,
            Self::Stream(spool) => !spool.is_mbox(),
            _ => false,
        }
    }
}

fn missing(path: &Path, error: &std::io::Error) -> Error {
    Error::usage(format!("{}: {}", path.display(), io_words(error)))
}

fn there(path: &Path) -> Result<PathBuf> {
    std::fs::metadata(path).map_err(|error| missing(path, &error)).map(|_| path.to_owned())
}

fn empty(file: &str) -> Error {
    Error::usage(format!("{file}: it is empty, and so no message")).hint("nothing was sent")
}

struct Job<'a> {
    args: &'a Args,
    app: &'a App,
    destination: &'a Place,
    files: &'a [String],
    inputs: Vec<FileInput>,
    origins: Origins,
}

impl Job<'_> {
    fn source(&self) -> Several {
        let mut several = Several::new(self.inputs.iter().map(FileInput::input).collect(), Arc::clone(&self.origins));
        several.flags.clone_from(&self.args.flags);
        several.dates = match self.args.date {
            None => Dates::Kept,
            Some(When::Header) => Dates::None,
            Some(When::File) => Dates::File,
            Some(When::Now) => Dates::Fixed(InternalDate { seconds: self.app.context.unix_time(), offset: 0 }),
            Some(When::At(date)) => Dates::Fixed(date),
        };
        several
    }

    fn folder(&self) -> Folder {
        self.destination.folder.clone().unwrap_or_else(Folder::inbox)
    }

    fn run(&self, journal: &mut Journal) -> Result<ExitCode> {
        let app = self.app;
        let progress = super::progress(app);
        let started = app.context.now();
        let (mut outcome, error) = Transfer {
            context: &app.context,
            report: &Naming { job: self, progress: &progress },
            journal,
            options: Options {
                flags: SourceFlags::Kept,
                date_from: DateFrom::Received,
                settle: self.args.settle,
                adopt: false,
                create: self.args.create,
                until: None,
            },
            source_name: SOURCE_NAME.to_owned(),
            open_source: &|| Ok(Box::new(self.source())),
            open_sink: &|| open::sink(self.destination, Access::ReadWrite, &app.context, &app.trace),
            only: None,
            into: Some(self.folder()),
            asked: Asked::House,
        }
        .run();
        self.name(&mut outcome);
        for one in outcome.altered.iter().filter(|one| app.global.verbose == 0 && one.reason.contains("flags not kept")) {
            app.note(&format!("{}: {}", named(&one.folder, one.uid), one.reason));
        }
        let source = self.shown();
        let over = Over { schema: SCHEMA, source: &source, destination: &self.destination.shown, started, outcome, error };
        over.conclude(&self.args.output, app)
    }

    /// What the summary calls the source.
    fn shown(&self) -> String {
        match self.files {
            [one] => one.clone(),
            files => format!("{} files", files.len()),
        }
    }

    /// The file a message is from, and its number there where the file holds several.
    fn origin(&self, id: u32) -> Option<(String, Option<u32>)> {
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, number) = *origins.get(usize::try_from(id.checked_sub(1)?).ok()?)?;
        let one = self.inputs.get(input)?.is_one();
        Some((self.files.get(input)?.clone(), (!one).then_some(number.saturating_add(1))))
    }

    /// Names a problem by its file.
    fn problem(&self, problem: &mut Problem) {
        if let Some((file, number)) = problem.uid.and_then(|id| self.origin(id)) {
            problem.folder = file;
            problem.uid = number;
        }
    }

    fn name(&self, outcome: &mut Outcome) {
        outcome.problems.iter_mut().chain(&mut outcome.altered).for_each(|problem| self.problem(problem));
        let folder = self.folder().to_string();
        outcome.folders.iter_mut().for_each(|one| one.name.clone_from(&folder));
    }

    fn dry_run(&self, destination_name: &str) -> Result<ExitCode> {
        let (args, app) = (self.args, self.app);
        let journal = if args.once {
            let dir = args.state.clone().map_or_else(|| state::default_dir(destination_name), Ok)?;
            Journal::read_only(&dir, destination_name).map_err(|error| error.at(&self.destination.shown))?
        } else {
            None
        };
        let mut source = self.source();
        let mut sink = open::sink(self.destination, Access::ReadOnly, &app.context, &app.trace)?;
        let into = self.folder();
        let previews = preview(&mut source, sink.as_mut(), journal, SOURCE_NAME, None, Some(&into), Asked::House)?;
        sink.finish()?;
        if !args.create && previews.iter().any(|preview| preview.create && !preview.destination.is_inbox()) {
            return Err(Error::usage(format!("there is no folder {into}")).at(&self.destination.shown).hint("--create makes it"));
        }
        let origin = |_: &Preview, listed: &Listed| {
            let (file, number) = self.origin(listed.id).unwrap_or_default();
            (file, number.unwrap_or(1))
        };
        let format = super::format(&args.output);
        dry_run::write(SCHEMA, &self.shown(), &self.destination.shown, &previews, format, &origin)?;
        for preview in previews.iter().filter(|_| !format.is_json()) {
            let make = if preview.create { " (to be made)" } else { "" };
            let sent = if self.args.once { format!(", {} sent before", preview.already_there) } else { String::new() };
            let count = counted(preview.to_copy.len() as u64, "message");
            app.note(&format!("{}{make}: {count} would be sent{sent}; nothing was done", self.destination.shown));
        }
        Ok(ExitCode::Success)
    }
}

fn named(file: &str, number: Option<u32>) -> String {
    number.map_or_else(|| file.to_owned(), |number| format!("{file} {number}"))
}

/// Tells of problems by the names of files.
struct Naming<'a> {
    job: &'a Job<'a>,
    progress: &'a Progress,
}

impl Report for Naming<'_> {
    fn event(&self, event: Event) {
        self.progress.event(match event {
            Event::Problem(mut problem) => {
                self.job.problem(&mut problem);
                Event::Problem(problem)
            }
            event => event,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_word_or_a_day_or_an_instant() {
        let at = |text: &str| match when(text).unwrap() {
            When::At(date) => (date.seconds, date.offset),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("1970-01-02"), (86_400, 0));
        assert_eq!(at("1970-01-02T01:30:00+01:30"), (86_400, 5400));
        assert_eq!(at("1970-01-01T23:00:00-01:00"), (86_400, -3600));
        assert_eq!(at("1970-01-02T00:00:00Z"), (86_400, 0));
        assert_eq!((when("now").unwrap(), when("header").unwrap(), when("file").unwrap()), (When::Now, When::Header, When::File));
        for wrong in ["", "yesterday", "1969-12-31", "2024-13-01", "2024-05-17T10:30:00", "99999-01-01"] {
            assert!(when(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_are_words_or_keywords() {
        assert_eq!(flag("seen").unwrap().wire(), "\\Seen");
        assert_eq!(flag("\\FLAGGED").unwrap().wire(), "\\Flagged");
        assert_eq!(flag("$Work").unwrap().wire(), "$Work");
        for wrong in ["", "\\Recent", "a b", "x)", "é", "\\x"] {
            assert!(flag(wrong).is_err(), "{wrong}");
        }
    }
}
