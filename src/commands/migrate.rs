//! `mailhaul migrate`: any place into any other that takes mail, exactly once, whatever happens on the way. It chooses the two ends
//! and says what came of it; `transfer` does the work.

mod ends;
mod leaving;
pub(super) mod plan;
mod twin;
mod what;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::ends::From;
use self::plan::Plan;
use self::twin::{Twin, Twinned};
use super::copying::{Copying, Over};
use super::{App, dry_run};
use crate::account::{Place, Protocol};
use crate::cli::{OutputArgs, TwoPlaceCredentials, age};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::imap::session::Access;
use crate::report::Format;
use crate::state::{self, Journal};
use crate::store::labels::Labels;
use crate::store::open::{self, Opener};
use crate::store::{Listed, Source};
use crate::transfer::{Asked, Look, Options, Preview, Seen, Transfer, preview};

const SCHEMA: &str = "mailhaul.migrate/1";

/// The arguments of `migrate`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the mail is: an account or URL (IMAP or POP3), maildir:PATH, mbox:PATH, eml:PATH or a store of backups (PATH, or
    /// PATH//ACCOUNT where it holds several)
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where it goes: an IMAP account or URL, maildir:PATH, mbox:PATH (PATH/ for a directory of files) or eml:PATH; a folder named
    /// here takes what arrives in it
    #[arg(value_name = "DEST")]
    pub destination: String,
    /// Change nothing; say what would be copied, by count and by message
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// What of a source without flags (POP3, eml, mbox) counts as read: all, none, or older-than:AGE (as in older-than:30d)
    #[arg(long, alias = "seen", value_name = "WHICH", default_value = "none", value_parser = seen)]
    pub count_as_seen: Seen,
    /// Take the flags of mail from a POP3 source from PLACE, the IMAP side of that account (INBOX, or the folder that PLACE names),
    /// by comparing the two. --count-as-seen is for what is not there. PLACE is logged in to as the source is (--from-…)
    #[arg(long, value_name = "PLACE")]
    pub flags_from: Option<String>,
    /// What becomes of Gmail's labels, where SOURCE is a whole account at Gmail or the mbox file of a Google Takeout
    #[arg(long, value_name = "HOW", value_enum, default_value = "keywords")]
    pub labels: Labels,
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
    let source = From::new(ends::source_place(&args.source, app, &sides.from)?, args.count_as_seen, args.labels, app)?
        .leaving(args.leaving.delete_source);
    let source = match &args.flags_from {
        Some(text) => {
            let twin = Twin::new(text, &source.place, (args.count_as_seen, args.copying.date_from), &sides.from, app)?;
            source.with_flags_of(twin)
        }
        None => source,
    };
    let destination = app.place(&args.destination, &sides.to)?;
    let destination_name = ends::destination(&destination, &source)?;
    ends::not_doubled((&args.source, &args.destination), &source, &destination, &args.what.map, app)?;
    let dir = match &args.copying.state {
        Some(dir) => dir.clone(),
        None => state::default_dir(&destination_name)?,
    };
    args.what.suits(&source.place, &destination, source.place.server().is_some_and(|server| server.protocol == Protocol::Imap))?;
    args.leaving.suits(&source.place, &destination)?;
    if args.dry_run {
        return preview_only(args, app, &source, &destination, &destination_name, &dir);
    }
    // Asked for one after the other, and before the clock runs: both ends are opened at once.
    for place in [&source.place, &destination] {
        if let Some(server) = place.server() {
            server.login(&app.context)?;
        }
    }
    source.twin.iter().try_for_each(|twin| twin.login())?;
    let opener = Opener::new(&source.place, &app.context, &app.trace);
    let allowance = open::allowance(&destination);
    let progress = super::progress(app);
    let started = app.context.now();
    let mut journal = Journal::open(&dir, &destination_name, &app.context).map_err(|error| error.at(&destination.shown))?;
    if ends::is_missing(&destination) && !journal.pairings(&source.name, destination.folder.as_ref())?.is_empty() {
        app.note(&format!(
            "what was copied to {} is not there any more, and does not come back; --state with a new DIR copies it anew",
            destination.shown
        ));
    }
    let (outcome, dealt, error) = Transfer {
        context: &app.context,
        report: &progress,
        journal: &mut journal,
        options: Options {
            flags: source.flags,
            date_from: args.copying.date_from,
            // What is on this disk is not there later than at once.
            settle: if destination.server().is_some() { args.copying.settle } else { Duration::ZERO },
            keeps_listings: args.leaving.asks(),
            wishes: args.what.wishes(),
            query: args.what.query(),
            gate: Arc::new(args.what.gate(started)),
            again: args.leaving.again,
            ..Options::default()
        },
        source_name: source.name.clone(),
        open_source: &|| source.source(&opener, app),
        open_sink: &|| match &allowance {
            Some(allowance) => open::spread_sink(&destination, Some(allowance), &app.context, &app.trace),
            None => open::house(&destination, Access::ReadWrite, &app.context, &app.trace),
        },
        only: source.only.clone(),
        into: destination.folder.clone(),
        asked: Asked::House,
    }
    .run_through();
    source.twin.iter().filter_map(|twin| twin.told()).for_each(|words| app.note(&words));
    let pass = leaving::Pass {
        app,
        leaving: &args.leaving,
        source: &source.place,
        source_name: &source.name,
        destination: &destination,
        query: args.what.query(),
        report: &progress,
    };
    let after = pass.run(&mut journal, &outcome, &dealt, error.is_some());
    Over { schema: SCHEMA, source: &source.shown, destination: &destination.shown, started, outcome, error }.conclude_after(
        after,
        &args.output,
        app,
    )
}

fn preview_only(args: &Args, app: &App, from: &From, destination: &Place, destination_name: &str, dir: &Path) -> Result<ExitCode> {
    let journal = Journal::read_only(dir, destination_name).map_err(|error| error.at(&destination.shown))?;
    // Where it has to be looked into, for a query or for its flags, mail counts for fetched no more than before.
    let opener = Opener::new(&from.place, &app.context, &app.trace).leaving_no_trace();
    let mut twinned = from.twin.as_ref().map(|twin| Ok(Twinned::new(Arc::clone(twin), opener.source()?))).transpose()?;
    let mut plain = if twinned.is_none() { Some(from.source(&opener, app)?) } else { None };
    let source: &mut dyn Source = match (&mut twinned, &mut plain) {
        (Some(twinned), _) => twinned,
        (None, Some(plain)) => plain.as_mut(),
        (None, None) => return Err(Error::local("there is no source")),
    };
    let mut sink = open::house(destination, Access::ReadOnly, &app.context, &app.trace)?;
    let look = Look::new(&from.name, from.only.as_ref(), destination.folder.as_ref(), Asked::House);
    let look = Look { wishes: args.what.wishes(), query: args.what.query(), ..look };
    let forecast = preview(source, sink.as_mut(), journal, &look)?;
    // A maildrop has one folder.
    let flags = match (&mut twinned, forecast.folders.first()) {
        (Some(twinned), Some(folder)) => twinned.foretell(&folder.to_copy)?,
        _ => None,
    };
    for source in twinned.iter_mut().map(|source| source as &mut dyn Source).chain(plain.iter_mut().map(|source| source.as_mut() as _)) {
        source.finish()?;
    }
    sink.finish()?;
    flags.iter().for_each(|words| app.note(words));
    args.leaving.foretell(app, &from.place, &forecast.folders);
    let named = |preview: &Preview, listed: &Listed| (preview.folder.to_string(), listed.id);
    let format = super::format(&args.output);
    let plan = Plan::new(&forecast, args.what.bwlimit);
    let (renamings, sentences) = (plan.renamings(), plan.sentences());
    dry_run::write(SCHEMA, &from.shown, &destination.shown, &forecast.folders, Some(plan), format, &named)?;
    let code = if forecast.folders.iter().all(|preview| preview.problems.is_empty()) { ExitCode::Success } else { ExitCode::Partial };
    if format.is_json() {
        return Ok(code);
    }
    if format != Format::Table {
        dry_run::tell(app, &forecast.folders, "listed", format);
        renamings.iter().for_each(|words| app.note(words));
    }
    for problem in forecast.folders.iter().flat_map(|preview| &preview.problems) {
        app.note(&format!("{}: {}", problem.folder, problem.reason));
    }
    sentences.iter().for_each(|words| app.note(words));
    Ok(code)
}
