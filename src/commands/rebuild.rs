//! `mailhaul rebuild`: the journal of a store, lost or damaged, made anew from the files and, with a place, the server. The work is
//! `transfer::backup::rebuild`'s.

use super::backup::Target;
use super::verify::{Whose, card_of};
use super::{App, warn};
use crate::cli::{Credentials, OutputArgs};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::output::{RebuildDocument, finding_line};
use crate::transfer::backup::rebuild::{self as work, Named, Rebuilt};

const SCHEMA: &str = "mailhaul.rebuild/1";

/// The arguments of `rebuild`.
#[derive(clap::Args)]
pub struct Args {
    /// The store: a directory, as it was named to backup
    #[arg(value_name = "STORE")]
    pub store: String,
    /// The account it is a backup of: its server confirms which messages the files are, without sending them again
    #[arg(value_name = "PLACE")]
    pub place: Option<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// What is made anew, for `verify --repair` too.
pub(super) struct RebuildArgs<'a> {
    pub(super) target: &'a Target,
    pub(super) named: Option<Named<'a>>,
}

/// Makes the journal anew.
pub(super) fn rebuild(args: &RebuildArgs<'_>, app: &App) -> Result<Rebuilt> {
    let root = &args.target.path;
    match card_of(args.target) {
        Err(error) if error.kind() == Kind::Usage => return Err(error),
        _ => {}
    }
    let card = work::card(root, args.target.layout, &app.context)?;
    let progress = super::progress(app);
    work::run(root, &card, args.named, &app.context, &app.trace, &progress)
}

/// Runs `rebuild`.
///
/// # Errors
/// What kept it from its end: then the old journal is where it was.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let target = Target::parse(&args.store, &app.config)?;
    let whose = Whose::parse(args.place.as_deref(), &args.credentials, app)?;
    if let Some(whose) = &whose {
        if let Some(only) = &whose.only {
            return Err(
                Error::usage(format!("a journal is made anew for a whole account, and the folder {only} is named")).at(&whose.shown)
            );
        }
        whose.server.login(&app.context).map_err(|error| error.at(&whose.shown))?;
    }
    let started = app.context.now();
    let named = whose.as_ref().map(|whose| Named { server: &whose.server, directory: &whose.directory });
    let rebuilt = rebuild(&RebuildArgs { target: &target, named }, app).map_err(|error| error.at(&target.shown))?;
    let document = RebuildDocument {
        schema: SCHEMA,
        store: target.shown.clone(),
        place: whose.as_ref().map(|whose| whose.shown.clone()),
        old_journal: rebuilt.old_journal.as_ref().map(|path| path.display().to_string()),
        accounts: rebuilt.accounts,
        folders: rebuilt.folders,
        files: rebuilt.files,
        messages: rebuilt.messages,
        confirmed: rebuilt.confirmed,
        gone: rebuilt.gone,
        bytes: rebuilt.octets,
        seconds: app.context.now().since(started).as_secs_f64(),
        problems: rebuilt.findings,
    };
    let format = super::format(&args.output);
    if !format.is_json() {
        document.problems.iter().for_each(|finding| warn(&finding_line(finding)));
    }
    if format.is_json() || !app.global.quiet {
        document.write(format, &mut std::io::stdout().lock())?;
    }
    Ok(if document.problems.is_empty() { ExitCode::Success } else { ExitCode::Differences })
}
