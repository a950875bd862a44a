//! `mailhaul migrate`: any place into an IMAP account, exactly once, whatever happens on the way. It chooses the two ends
//! and says what came of it; `transfer` does the work.

mod leaving;
mod what;

use std::path::Path;

use super::copying::{Copying, Over};
use super::{App, dry_run};
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{OutputArgs, TwoPlaceCredentials, age};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::imap::session::Access;
use crate::state::{self, Journal};
use crate::store::Listed;
use crate::store::open::{self, Opener};
use crate::store::vault;
use crate::transfer::{Asked, Options, Preview, Seen, SourceFlags, Transfer, preview};

const SCHEMA: &str = "mailhaul.migrate/1";

/// The arguments of `migrate`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the mail is: an account or URL (IMAP or POP3), maildir:PATH, mbox:PATH or eml:PATH
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// The IMAP account it goes to; a folder named here takes what arrives in it
    #[arg(value_name = "DEST")]
    pub destination: String,
    /// Change nothing; say what would be copied, by count and by message
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// What of a source without flags (POP3, eml, mbox) counts as read: all, none, or older-than:AGE (as in older-than:30d)
    #[arg(long, alias = "seen", value_name = "WHICH", default_value = "none", value_parser = seen)]
    pub count_as_seen: Seen,
    /// What goes, and where to.
    #[command(flatten)]
    pub what: what::What,
    /// Leaving the source.
    #[command(flatten)]
    pub leaving: leaving::Leaving,
    /// How it is copied.
    #[command(flatten)]
    pub copying: Copying,
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
    let source_name = open::identity(&source)?;
    not_a_store(&source)?;
    let destination_name = server.identity();
    if source_name == destination_name && (source.folder.is_none() || source.folder == destination.folder) {
        return Err(Error::usage("the source and the destination are the same").at(&destination.shown));
    }
    let dir = match &args.copying.state {
        Some(dir) => dir.clone(),
        None => state::default_dir(&destination_name)?,
    };
    if args.dry_run {
        return preview_only(args, app, &source, &destination, &source_name, &destination_name, &dir);
    }
    // Asked for one after the other, and before the clock runs: both ends are opened at once.
    for place in [&source, &destination] {
        if let Some(server) = place.server() {
            server.login(&app.context)?;
        }
    }
    let opener = Opener::new(&source, &app.context, &app.trace);
    let allowance = open::allowance(&destination);
    let progress = super::progress(app);
    let started = app.context.now();
    let mut journal = Journal::open(&dir, &destination_name, &app.context).map_err(|error| error.at(&destination.shown))?;
    let (outcome, error) = Transfer {
        context: &app.context,
        report: &progress,
        journal: &mut journal,
        options: Options {
            flags: if open::keeps_flags(&source) { SourceFlags::Kept } else { SourceFlags::None(args.count_as_seen) },
            date_from: args.copying.date_from,
            settle: args.copying.settle,
            ..Options::default()
        },
        source_name,
        open_source: &|| opener.spread(),
        open_sink: &|| open::spread_sink(&destination, allowance.as_ref(), &app.context, &app.trace),
        only: source.folder.clone(),
        into: destination.folder.clone(),
        asked: Asked::House,
    }
    .run();
    Over { schema: SCHEMA, source: &source.shown, destination: &destination.shown, started, outcome, error }.conclude(&args.output, app)
}

/// The root of a store of backups holds accounts and not folders, and what is gone from their servers beside what is there.
fn not_a_store(source: &Place) -> Result<()> {
    let (Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path)) = &source.location else { return Ok(()) };
    if !path.is_dir() || vault::card(path)?.is_none() {
        return Ok(());
    }
    let shown = path.display();
    Err(Error::usage("this is a store of backups").at(&source.shown).hint(format!(
        "mailhaul restore {shown} PLACE puts an account of it back, with flags and dates; {}/ACCOUNT in the place of {} takes just its files",
        source.shown, source.shown
    )))
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

fn preview_only(
    args: &Args,
    app: &App,
    from: &Place,
    destination: &Place,
    source_name: &str,
    destination_name: &str,
    dir: &Path,
) -> Result<ExitCode> {
    let journal = Journal::read_only(dir, destination_name).map_err(|error| error.at(&destination.shown))?;
    let opener = Opener::new(from, &app.context, &app.trace);
    let (mut source, mut sink) = (opener.source()?, open::sink(destination, Access::ReadOnly, &app.context, &app.trace)?);
    let previews =
        preview(source.as_mut(), sink.as_mut(), journal, source_name, from.folder.as_ref(), destination.folder.as_ref(), Asked::House)?;
    source.finish()?;
    sink.finish()?;
    let named = |preview: &Preview, listed: &Listed| (preview.folder.to_string(), listed.id);
    let format = super::format(&args.output);
    dry_run::write(SCHEMA, &from.shown, &destination.shown, &previews, format, &named)?;
    dry_run::tell(app, &previews, "listed", format);
    Ok(ExitCode::Success)
}
