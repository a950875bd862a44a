//! `mailhaul fetch`: the messages themselves, byte for byte: one to standard output, any number into a folder of files.
//! It changes nothing at the place and marks nothing as read (some POP3 servers do so by themselves on RETR).

use std::collections::BTreeSet;
use std::io::Write;

use super::App;
use super::deliver::{Delivery, Target};
use super::reading::{Choice, Chosen, Reader, folder_of, numbered, with_reader};
use crate::account::Place;
use crate::cli::{Credentials, FetchSelection, OutputArgs, Uids};
use crate::error::{Error, Result, Scope};
use crate::exit::ExitCode;
use crate::output::{CopySummary, Progress};
use crate::report::{Event, FolderCounts, Outcome, Problem, Report};

const SCHEMA: &str = "mailhaul.fetch/1";
pub(super) const NO_SUCH: &str = "there is no such message";

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
    /// Write the messages as files below DIR (all of them, where none are selected) instead of one to standard output
    #[arg(long, help_heading = "Output", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub to: Option<String>,
    /// What --to makes: eml (the default), a file UID.eml each; or maildir
    #[arg(long, help_heading = "Output", value_name = "FORMAT", value_enum, requires = "to")]
    pub format: Option<Files>,
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
}

/// Runs `fetch`.
///
/// # Errors
/// Wrong arguments, or what ended the run; with `--to` the summary of what was done until then is written all the same.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let (place, uids) = place_and_uids(args, app)?;
    let place = app.place(place, &args.credentials.overrides(&app.global)?)?;
    match args.to.as_deref().filter(|to| *to != "-") {
        Some(to) => {
            let target = Target::new(to, args.format, app)?;
            into_files(args, &place, &uids, target, app)
        }
        None => to_stdout(args, &place, &uids, app),
    }
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

fn to_stdout(args: &Args, place: &Place, uids: &[Uids], app: &App) -> Result<ExitCode> {
    if args.output.format().is_some() || args.format.is_some() {
        return Err(Error::usage("without --to DIR a message is written as it is; -o and --format belong to --to"));
    }
    let choice = Choice::new(&args.selection, uids)?;
    if choice.is_all() && place.server().is_some() {
        return Err(Error::usage("which message? none is named").hint("name its UID, or get all of them with --to DIR"));
    }
    if choice.names_several() {
        return Err(several());
    }
    let progress = super::progress_beside(app, true);
    let folder = folder_of(place).to_string();
    let problems = with_reader(place, app, |reader| {
        let Chosen { wanted, missing } = reader.choose(&choice)?;
        if wanted.len() > 1 {
            return Err(several());
        }
        let mut missing: BTreeSet<u32> = missing.into_iter().chain(wanted.iter().map(|listed| listed.id)).collect();
        let mut problems = Vec::new();
        reader.read(&wanted, &mut |index, message| {
            app.context.check()?;
            let Some(listed) = wanted.get(index) else { return Ok(()) };
            missing.remove(&listed.id);
            match message {
                Ok(message) => {
                    let mut stdout = std::io::stdout().lock();
                    message.body.each_chunk(|chunk| stdout.write_all(chunk).map_err(|error| Error::io("standard output", error)))?;
                    stdout.flush().map_err(|error| Error::io("standard output", error))
                }
                Err(error) => {
                    problems.push(problem(&folder, listed.id, error.to_string()));
                    Ok(())
                }
            }
        })?;
        // Never there, or listed and gone: it was asked for, and it did not come.
        problems.extend(missing.into_iter().map(|uid| problem(&folder, uid, NO_SUCH.to_owned())));
        Ok(problems)
    })?;
    Ok(conclude(problems, &progress))
}

fn several() -> Error {
    Error::usage("several messages cannot go to standard output: this version writes no mbox stream")
        .hint("use --to DIR for files, or select one message")
}

fn problem(folder: &str, uid: u32, reason: String) -> Problem {
    Problem { folder: folder.to_owned(), uid: Some(uid), reason }
}

fn conclude(problems: Vec<Problem>, progress: &Progress) -> ExitCode {
    let code = if problems.is_empty() { ExitCode::Success } else { ExitCode::Partial };
    problems.into_iter().for_each(|problem| progress.event(Event::Problem(problem)));
    code
}

fn into_files(args: &Args, place: &Place, uids: &[Uids], target: Target, app: &App) -> Result<ExitCode> {
    let choice = Choice::new(&args.selection, uids)?;
    let progress = super::progress(app);
    let started = app.context.now();
    let folder = folder_of(place).to_string();
    let destination = target.shown();
    let mut outcome = Outcome::default();
    let result = with_reader(place, app, |reader| {
        let chosen = reader.choose(&choice)?;
        let mut delivery = Delivery::new(target, numbered(place), &folder, &mut outcome, &progress)?;
        copy(reader, &choice, &chosen, &mut delivery, app)
    });
    progress.event(Event::Finished);
    let complete = outcome.problems.is_empty();
    let format = super::format(&args.output);
    if result.is_err() && !format.is_json() {
        // The balance is for runs that came to their end.
        let counts = outcome.counts;
        if counts.listed > 0 {
            let there = counts.copied + counts.already_there;
            app.note(&format!("{there} of {} messages are in {destination}; the next run leaves them as they are", counts.listed));
        }
    } else if format.is_json() || !app.global.quiet {
        outcome.folders = vec![FolderCounts { name: folder, counts: outcome.counts }];
        let seconds = app.context.now().since(started).as_secs_f64();
        let summary = CopySummary::new(SCHEMA, &place.shown, &destination, outcome, seconds);
        if result.is_ok() || summary.counts.listed > 0 {
            summary.write(format, &mut std::io::stdout().lock())?;
        }
        if app.global.verbose > 0 {
            summary.write_altered(&mut std::io::stderr().lock())?;
        }
    }
    result.map(|()| if complete { ExitCode::Success } else { ExitCode::Partial })
}

fn copy(reader: &mut dyn Reader, choice: &Choice, chosen: &Chosen, delivery: &mut Delivery<'_>, app: &App) -> Result<()> {
    let wanted = &chosen.wanted;
    delivery.plan(wanted);
    let read = reader.read(wanted, &mut |index, message| {
        app.context.check()?;
        let Some(listed) = wanted.get(index) else { return Ok(()) };
        match message {
            Ok(message) => delivery.take(listed.id, message),
            Err(error) if error.scope() == Scope::Message => {
                delivery.failed(listed.id, error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    });
    // What was received whole is kept, whatever ended the reading.
    let came = delivery.finish()?;
    read?;
    let named = choice.named();
    for listed in wanted.iter().filter(|listed| !came.contains(&listed.id)) {
        // One named alone was not looked for first: it was never there, as far as anybody can tell.
        if named.contains(&listed.id) { delivery.never_there(listed.id) } else { delivery.vanished() }
    }
    chosen.missing.iter().for_each(|uid| delivery.tell(*uid, NO_SUCH.to_owned()));
    Ok(())
}
