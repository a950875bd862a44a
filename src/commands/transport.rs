//! What `move` and `copy` share: their arguments, the choice of messages, and the document that says what was done. Whether
//! one server does it or mail goes from place to place is decided here; how, in `relocate` and `across`.

use std::collections::{BTreeMap, BTreeSet};

use super::changing::{Checked, Done, DryRun, MaxDelete, check, is_loss, preview, problem};
use super::copying::Copying;
use super::reading::{Choice, NO_SUCH, farewell, folder_of};
use super::relocate::{MARKED, Mailfolder, Moved, Relocated, Relocator, deleted, find, told as placed};
use super::{App, across};
use crate::account::{Place, Protocol, Server};
use crate::cli::{OutputArgs, Selection, TwoPlaceCredentials, Uids};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::UidSet;
use crate::imap::selected::Selected;
use crate::imap::session::{Access, Session};
use crate::output::ChangedRow;
use crate::report::Problem;
use crate::transfer::Seen;

/// What `move` and `copy` are told.
#[derive(clap::Args)]
#[group(id = "transport")]
pub struct Args {
    /// Where the messages are: an account, URL or local place, with or without a folder (INBOX)
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// The folder they go to, of the same account or of any other place (without a folder: INBOX)
    #[arg(value_name = "DEST")]
    pub destination: String,
    /// UIDs (POP3 and local places: message numbers): 17 20:40 100:*; - reads them from standard input
    #[arg(value_name = "UID")]
    pub uids: Vec<Uids>,
    /// Selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Make the destination folder where it is missing, and subscribe to it
    #[arg(long)]
    pub create: bool,
    /// Trying out.
    #[command(flatten)]
    pub dry_run: DryRun,
    /// What of a source without flags (POP3, eml) counts as read at another place: all, none, or older-than:AGE
    #[arg(long, value_name = "WHICH", default_value = "none", value_parser = super::migrate::seen)]
    pub count_as_seen: Seen,
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

/// Which of the two verbs runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Move,
    Copy,
}

impl Verb {
    fn schema(self) -> &'static str {
        match self {
            Self::Move => "mailhaul.move/1",
            Self::Copy => "mailhaul.copy/1",
        }
    }
}

/// What was done, or would be, gathered until it is told.
#[derive(Default)]
pub(super) struct Told {
    /// Messages that were chosen.
    pub(super) selected: u64,
    /// Messages that are where they should be.
    pub(super) changed: u64,
    /// Those messages.
    pub(super) rows: Vec<ChangedRow>,
    /// Messages that are not, or not quite, where they should be.
    pub(super) problems: Vec<Problem>,
    /// Messages have numbers in place of UIDs.
    pub(super) numbered: bool,
}

/// Runs either verb.
///
/// # Errors
/// Wrong arguments, or what ended the run; what was done until then is written all the same.
pub(super) fn run(verb: Verb, args: &Args, max_delete: MaxDelete, app: &App) -> Result<ExitCode> {
    let sides = args.credentials.sides(&app.global)?;
    let place = app.place(&args.place, &sides.from)?;
    let destination = app.place(&args.destination, &sides.to)?;
    let choice = Choice::changing(&args.selection, &args.uids)?;
    choice.suits(&place)?;
    let mut told = Told::default();
    let outcome = match same_server(&place, &destination) {
        Some(server) => on_one_server(verb, args, app, server, &choice, (&folder_of(&place), &folder_of(&destination)), &mut told),
        None => across::run(verb, args, max_delete, app, (&place, &destination), &choice, &mut told),
    };
    if outcome.is_err() && told.rows.is_empty() {
        let progress = super::progress(app);
        told.problems.into_iter().for_each(|problem| crate::report::Report::event(&progress, crate::report::Event::Problem(problem)));
        return outcome.map(|()| ExitCode::Success);
    }
    told.rows.sort_by_key(|row| row.uid.or(row.number));
    let done = Done {
        schema: verb.schema(),
        did: format!("{} {}", if verb == Verb::Move { "moved to" } else { "copied to" }, destination.shown),
        place: &place.shown,
        selected: told.selected,
        changed: told.changed,
        dry_run: args.dry_run.dry_run,
        numbered: told.numbered,
        problems: told.problems,
    };
    let code = done.write(app, &args.output, |row| told.rows.iter().try_for_each(row))?;
    outcome.map(|()| code)
}

fn same_server<'a>(place: &'a Place, destination: &Place) -> Option<&'a Server> {
    let (server, other) = (place.server()?, destination.server()?);
    (server.protocol == Protocol::Imap && server.identity() == other.identity()).then_some(server)
}

fn open<'a>(session: &'a mut Session, wire_name: &[u8], writable: bool) -> Result<Selected<'a>> {
    if writable { session.select(wire_name) } else { session.examine(wire_name) }
}

fn on_one_server(
    verb: Verb,
    args: &Args,
    app: &App,
    server: &Server,
    choice: &Choice,
    (from, to): (&Folder, &Folder),
    told: &mut Told,
) -> Result<()> {
    let same = || Error::usage("the source and the destination are the same folder").at(&server.place);
    if from == to {
        return Err(same());
    }
    let dry_run = args.dry_run.dry_run;
    let access = if dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let mut session = Session::connect(server, access, &app.context, &app.trace)?;
    let mut relocator = Relocator::new(app, server, args.copying.state.as_deref(), args.copying.settle)?;
    if verb == Verb::Move && !dry_run {
        relocator.finish_open(&mut session)?;
        let unfinished = std::mem::take(&mut relocator.problems);
        told.problems.extend(unfinished.into_iter().map(|(folder, uid, reason)| problem(&folder, uid, reason)));
    }
    let mailboxes = session.list()?;
    let source = find(&mut session, &mailboxes, from, "")?;
    let (target, missing_target) = match find(&mut session, &mailboxes, to, "--create makes it") {
        Err(error) if error.kind() == Kind::Usage && error.remedy().is_some() && args.create => {
            (Mailfolder { folder: to.clone(), wire_name: session.wire_name(to)? }, true)
        }
        other => (other?, false),
    };
    if source.wire_name == target.wire_name {
        return Err(same());
    }
    // A copy changes nothing here.
    let writes = verb == Verb::Move && !dry_run;
    let mut selected = open(&mut session, &source.wire_name, writes)?;
    let Checked { messages, missing } = check(&mut selected, choice, app)?;
    // A folder that nothing goes to is not made.
    if missing_target && !messages.is_empty() && !dry_run {
        let generation = selected.state().uid_validity;
        session.create(&target.wire_name)?;
        // A folder nobody subscribed to still holds its mail.
        let _ = session.subscribe(&target.wire_name);
        selected = open(&mut session, &source.wire_name, writes)?;
        if selected.state().uid_validity != generation {
            return Err(Error::new(Kind::Safety, format!("the UIDVALIDITY of {from} changed meanwhile")).at(&server.place));
        }
    }
    // What this run finished for one that died was chosen then, and is no longer here to be chosen.
    let finished: BTreeMap<u32, Moved> =
        relocator.finished.iter().filter(|(here, there, _)| here == from && there == to).map(|(.., one)| (one.uid, *one)).collect();
    told.selected = (messages.len() + finished.len()) as u64;
    told.problems.extend(missing.into_iter().filter(|uid| !finished.contains_key(uid)).map(|uid| problem(from, uid, NO_SUCH)));
    if dry_run {
        told.changed = told.selected;
        preview(&mut selected, from, &messages, &|flags| flags.to_vec(), &mut |row| {
            told.rows.push(row.clone());
            Ok(())
        })?;
        return farewell(session.logout());
    }
    let uids: UidSet = messages.iter().map(|one| one.uid).collect();
    let flags: BTreeMap<u32, _> = messages.iter().map(|one| (one.uid, &one.flags)).collect();
    let row = |one: &Moved, marked: bool| {
        let mut now = flags.get(&one.uid).map(|flags| flags.to_vec()).unwrap_or_default();
        if marked && !now.contains(&deleted()) {
            now.push(deleted());
        }
        let row = ChangedRow { folder: from.to_string(), uid: Some(one.uid), new_uid: one.new_uid, ..ChangedRow::default() };
        row.with_flags(&now)
    };
    // Told whatever becomes of the others.
    told.rows.extend(finished.values().map(|one| row(one, false)));
    told.changed = told.rows.len() as u64;
    let relocated = match verb {
        _ if uids.is_empty() => Relocated::default(),
        Verb::Move => relocator.relocate(&mut selected, from, &target, &uids)?,
        Verb::Copy => placed(&uids, selected.copy(&uids, &target.wire_name)?),
    };
    let marked: BTreeSet<u32> = relocated.marked.iter().map(|one| one.uid).collect();
    told.rows.extend(relocated.moved.iter().map(|one| row(one, false)));
    told.rows.extend(relocated.marked.iter().map(|one| row(one, true)));
    told.changed = told.rows.len() as u64;
    told.problems.extend(marked.into_iter().map(|uid| problem(from, uid, MARKED)));
    told.problems.extend(relocated.problems.into_iter().map(|(uid, why)| problem(from, uid, why)));
    told.problems.extend(
        relocated
            .gone
            .iter()
            .map(|uid| problem(from, uid, "the server does not say that it took it: it was gone by then, or the answer is incomplete")),
    );
    match relocated.error {
        // Nothing at all was done, or nobody knows: that is no success in part.
        Some(error) if is_loss(&error) || told.rows.is_empty() => return Err(error),
        Some(error) => told.problems.extend(relocated.left.iter().map(|uid| problem(from, uid, error.to_string()))),
        None => told.problems.extend(
            relocated.left.iter().map(|uid| problem(from, uid, "it is not known whether an earlier run copied it, so it was left alone")),
        ),
    }
    relocator.finish()?;
    farewell(session.logout())
}
