//! `mailhaul delete`: moves messages to the Trash, or removes just the named for ever. On POP3 nothing is gone before the
//! whole run went well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::App;
use super::changing::{
    Checked, Done, DryRun, HEADER_BYTES, LocalChoice, MaxDelete, Reflag, Reflagged, check, is_loss, local_choice, local_rows, preview,
    problem, reflag, select,
};
use super::choice::{Choice, Picked, Store, pop3_headers};
use super::reading::{NO_SUCH, farewell, folder_of};
use super::relocate::{MARKED, Mailfolder, Moved, Relocator, deleted, find};
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs, Selection, Uids, duration};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::UidSet;
use crate::imap::selected::Selected;
use crate::imap::session::{Access, Mailbox, Session};
use crate::output::ChangedRow;
use crate::plan::use_by_name;
use crate::pop3::Session as Pop3Session;
use crate::report::{Event, Report};
use crate::store::maildir::MaildirSource;
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source, SpecialUse};
use crate::summary::Summary;

const SCHEMA: &str = "mailhaul.delete/1";
/// What becomes of messages without a Trash.
const FOR_EVER: &str = "removed for ever";

/// The arguments of `delete`.
#[derive(clap::Args)]
pub struct Args {
    /// An account, URL or Maildir, with or without a folder (INBOX)
    pub place: String,
    /// UIDs (POP3 and Maildirs: message numbers), as in 17 20:40 100:*; - reads them from standard input
    #[arg(value_name = "UID")]
    pub uids: Vec<Uids>,
    /// Remove the messages for ever, in place of moving them to the Trash
    #[arg(long, conflicts_with = "trash")]
    pub permanently: bool,
    /// The folder that takes deleted messages, where the server does not say which one does
    #[arg(long, value_name = "FOLDER")]
    pub trash: Option<String>,
    /// POP3: the message with this unique-id, which unlike its number means the same message next time
    #[arg(long, value_name = "ID", help_heading = crate::cli::SELECTION)]
    pub uidl: Vec<String>,
    /// Selection.
    #[command(flatten)]
    pub selection: Selection,
    /// The ceiling.
    #[command(flatten)]
    pub max_delete: MaxDelete,
    /// Trying out.
    #[command(flatten)]
    pub dry_run: DryRun,
    /// How long a copy whose answer got lost is looked for, on servers that cannot move: they may store late
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub settle: Duration,
    /// Keep the account's journal in DIR instead of $XDG_STATE_HOME/mailhaul
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// Runs `delete`.
///
/// # Errors
/// Wrong arguments, or what ended the run.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let place = app.place(&args.place, &args.credentials.overrides(&app.global)?)?;
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => {
            if !args.uidl.is_empty() {
                return Err(Error::usage("--uidl is for POP3; IMAP has UIDs").at(&place.shown));
            }
            let choice = Choice::changing(&args.selection, &args.uids)?;
            delete_imap(args, &place, server, &choice, app)
        }
        Location::Server(server) => {
            if args.trash.is_some() {
                return Err(Error::usage("POP3 has no Trash: what is deleted is gone").at(&place.shown));
            }
            delete_pop3(args, &place, server, app)
        }
        Location::Maildir(path) => {
            if !args.permanently {
                return Err(Error::usage("a Maildir has no Trash that all programs know").at(&place.shown).hint("say --permanently"));
            }
            delete_maildir(args, &place, path, app)
        }
        _ => Err(Error::usage("this version deletes on servers and in Maildirs only").at(&place.shown)),
    }
}

fn delete_maildir(args: &Args, place: &Place, path: &Path, app: &App) -> Result<ExitCode> {
    let choice = Choice::changing(&args.selection, &args.uids)?;
    choice.suits(place)?;
    let folder = folder_of(place);
    let mut source = MaildirSource::new(path);
    let LocalChoice { wanted, mut problems } = local_choice(&mut source, &folder, &choice)?;
    let mut marker = source.marker()?;
    let exists = marker.messages() as u64;
    let allowed = args.max_delete.check(wanted.len() as u64, exists, &folder).map_err(|error| error.at(&place.shown));
    let dry_run = args.dry_run.dry_run;
    if !dry_run && let Err(error) = allowed {
        return Err(error);
    }
    let mut rows = Vec::new();
    for listed in &wanted {
        app.context.check()?;
        let number = listed.id.saturating_add(1);
        match if dry_run { Ok(true) } else { marker.remove(listed) } {
            Ok(true) => {
                let row = ChangedRow { folder: folder.to_string(), number: Some(number), ..ChangedRow::default() };
                rows.push((listed.clone(), row));
            }
            Ok(false) => problems.push(problem(&folder, number, "it is gone already")),
            Err(error) => problems.push(problem(&folder, number, error.to_string())),
        }
    }
    marker.sync()?;
    let (selected, changed) = (wanted.len() as u64, rows.len() as u64);
    let done = Done { schema: SCHEMA, did: FOR_EVER.to_owned(), place: &place.shown, selected, changed, dry_run, numbered: true, problems };
    let code = done.write(app, &args.output, |row| local_rows(&mut source, &rows, dry_run, row))?;
    if dry_run { allowed.map(|()| code) } else { Ok(code) }
}

fn delete_imap(args: &Args, place: &Place, server: &Server, choice: &Choice, app: &App) -> Result<ExitCode> {
    let folder = folder_of(place);
    let dry_run = args.dry_run.dry_run;
    let access = if dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let mut session = Session::connect(server, access, &app.context, &app.trace)?;
    let mut problems = Vec::new();
    let mut relocator = Relocator::new(app, server, args.state.as_deref(), args.settle)?;
    let trash = if args.permanently { None } else { Some(trash(&mut session, args.trash.as_deref(), &folder)?) };
    if trash.is_some() && !dry_run {
        relocator.finish_open(&mut session)?;
        let unfinished = std::mem::take(&mut relocator.problems);
        problems.extend(unfinished.into_iter().map(|(folder, uid, reason)| problem(&folder, uid, reason)));
    }
    let mut selected = if dry_run { session.open_folder(&folder, false)? } else { select(&mut session, &folder)? };
    let Checked { messages, missing } = check(&mut selected, choice, app)?;
    // What this run finished for one that died was chosen then, and is no longer here to be chosen.
    let finished: BTreeMap<u32, Moved> = match &trash {
        Some(trash) => {
            let here = relocator.finished.iter().filter(|(from, to, _)| *from == folder && *to == trash.folder);
            here.map(|(.., one)| (one.uid, *one)).collect()
        }
        None => BTreeMap::new(),
    };
    problems.extend(missing.into_iter().filter(|uid| !finished.contains_key(uid)).map(|uid| problem(&folder, uid, NO_SUCH)));
    let (selected_count, exists) = (messages.len() as u64, selected.state().exists);
    let allowed = args.max_delete.check(selected_count, exists.max(selected_count), &folder).map_err(|error| error.at(&place.shown));
    let all_selected = selected_count + finished.len() as u64;
    let done = |changed: usize, problems| Done {
        schema: SCHEMA,
        did: trash.as_ref().map_or_else(|| FOR_EVER.to_owned(), |trash| format!("moved to {}", trash.folder)),
        place: &place.shown,
        selected: all_selected,
        changed: changed as u64,
        dry_run,
        numbered: false,
        problems,
    };
    if dry_run {
        let code = done(messages.len(), problems)
            .write(app, &args.output, |row| preview(&mut selected, &folder, &messages, &|flags| flags.to_vec(), row))?;
        farewell(session.logout())?;
        return allowed.map(|()| code);
    }
    allowed?;
    let outcome = match &trash {
        None => remove(&mut selected, choice, &messages, &folder)?,
        Some(trash) => to_trash(&mut relocator, &mut selected, &folder, trash, &messages)?,
    };
    if outcome.gone.is_empty()
        && outcome.marked.is_empty()
        && finished.is_empty()
        && let Some(error) = outcome.error
    {
        // The error speaks for what was chosen; what else went wrong is named.
        let progress = super::progress(app);
        problems.into_iter().for_each(|problem| progress.event(Event::Problem(problem)));
        return Err(error);
    }
    problems.extend(outcome.problems.into_iter().map(|(uid, reason)| problem(&folder, uid, reason)));
    let gone: Vec<Moved> = finished.into_values().chain(outcome.gone).chain(outcome.marked.iter().copied()).collect();
    let flags: BTreeMap<u32, _> = messages.iter().map(|candidate| (candidate.uid, &candidate.flags)).collect();
    let marked: BTreeSet<u32> = outcome.marked.iter().map(|one| one.uid).collect();
    let code = done(gone.len(), problems).write(app, &args.output, |row| {
        gone.iter().try_for_each(|one| {
            let blank = ChangedRow { folder: folder.to_string(), uid: Some(one.uid), new_uid: one.new_uid, ..ChangedRow::default() };
            let mut now = flags.get(&one.uid).map(|flags| flags.to_vec()).unwrap_or_default();
            if marked.contains(&one.uid) && !now.contains(&deleted()) {
                now.push(deleted());
            }
            row(&blank.with_flags(&now))
        })
    })?;
    if let Some(error) = outcome.error.filter(is_loss) {
        return Err(error);
    }
    relocator.finish()?;
    farewell(session.logout())?;
    Ok(code)
}

/// What became of messages that were to go.
#[derive(Default)]
struct Outcome {
    gone: Vec<Moved>,
    /// They only carry the mark: the server cannot remove just them.
    marked: Vec<Moved>,
    problems: Vec<(u32, String)>,
    error: Option<Error>,
}

/// The folder that takes what is deleted.
fn trash(session: &mut Session, named: Option<&str>, folder: &Folder) -> Result<Mailfolder> {
    let mailboxes = session.list()?;
    let place = session.place().to_owned();
    let trash = match named {
        Some(name) => {
            let wanted = Folder::parse(name).ok_or_else(|| Error::usage(format!("{name:?} is no folder's name")))?;
            find(session, &mailboxes, &wanted, "name the Trash with --trash FOLDER, or make it first")?
        }
        None => {
            let selectable = || mailboxes.iter().filter(|mailbox| mailbox.selectable);
            let by_name = |mailbox: &&Mailbox| use_by_name(&mailbox.folder) == Some(SpecialUse::Trash);
            let found = selectable().find(|mailbox| mailbox.has("\\Trash")).or_else(|| selectable().find(by_name)).ok_or_else(|| {
                Error::usage("no folder of the account is known to be the Trash")
                    .at(&place)
                    .hint("name it with --trash FOLDER, or remove the messages for ever with --permanently")
            })?;
            Mailfolder { folder: found.folder.clone(), wire_name: found.wire_name.clone() }
        }
    };
    if trash.folder == *folder || session.find(&mailboxes, folder)?.0 == trash.wire_name {
        return Err(Error::usage(format!("the messages are in the Trash ({folder}) already"))
            .at(place)
            .hint("remove them for ever with --permanently"));
    }
    Ok(trash)
}

fn to_trash(
    relocator: &mut Relocator<'_>,
    selected: &mut Selected<'_>,
    folder: &Folder,
    trash: &Mailfolder,
    messages: &[super::changing::Candidate],
) -> Result<Outcome> {
    let uids: UidSet = messages.iter().map(|candidate| candidate.uid).collect();
    if uids.is_empty() {
        return Ok(Outcome::default());
    }
    let relocated = relocator.relocate(selected, folder, trash, &uids)?;
    let mut outcome = Outcome { gone: relocated.moved, marked: relocated.marked, ..Outcome::default() };
    outcome.problems.extend(relocated.problems);
    outcome.problems.extend(outcome.marked.iter().map(|one| (one.uid, MARKED.to_owned())));
    outcome.problems.extend(
        relocated
            .gone
            .iter()
            .map(|uid| (uid, "the server does not say that it took it: it was gone by then, or the answer is incomplete".to_owned())),
    );
    let reason = relocated.error.as_ref().map_or_else(|| "it was left where it is".to_owned(), ToString::to_string);
    outcome.problems.extend(relocated.left.iter().map(|uid| (uid, reason.clone())));
    outcome.error = relocated.error;
    Ok(outcome)
}

/// Marks messages and removes just those, whatever else in the folder carries the mark.
fn remove(selected: &mut Selected<'_>, choice: &Choice, messages: &[super::changing::Candidate], folder: &Folder) -> Result<Outcome> {
    let mark = [deleted()];
    if selected.state().permitted(&mark).0.is_empty() {
        return Err(Error::refused(format!("the folder {folder} lets nobody delete messages")));
    }
    let Reflagged { changed, problems, lost, refused } =
        reflag(selected, choice, messages, &Reflag { add: mark.to_vec(), confirm: true, ..Reflag::default() })?;
    let mut outcome = Outcome { problems, ..Outcome::default() };
    // Those that carried the mark before need no other, and with a condition they are among the changed.
    let marked_before =
        messages.iter().filter(|candidate| !candidate.conditional() && candidate.flags.contains(&deleted())).map(|candidate| candidate.uid);
    let uids: UidSet = changed.iter().map(|candidate| candidate.uid).chain(marked_before).collect();
    let moved = |uid| Moved { uid, new_uid: None };
    if lost.is_some() {
        outcome.marked = changed.iter().map(|candidate| moved(candidate.uid)).collect();
        outcome.problems.extend(changed.iter().map(|one| (one.uid, "marked as deleted, and not removed".to_owned())));
        outcome.error = lost;
        return Ok(outcome);
    }
    outcome.error = refused;
    if uids.is_empty() {
        return Ok(outcome);
    }
    let Some(expunged) = selected.expunge(&uids)? else {
        outcome.marked = uids.iter().map(moved).collect();
        let why = "marked as deleted, and not removed: the server cannot remove just the named messages (no UIDPLUS); \
                   expunge the folder to be rid of all that carry the mark";
        outcome.problems.extend(uids.iter().map(|uid| (uid, why.to_owned())));
        return Ok(outcome);
    };
    let mut gone = expunged.done;
    let mut left = expunged.rest.refused;
    if expunged.rest.error.as_ref().is_none_or(|error| !is_loss(error)) && !gone.is_empty() {
        // An OK is not yet an empty place: some servers keep what they were told to remove.
        let still: UidSet = selected.flags_now(&gone)?.into_keys().collect();
        gone = gone.difference(&still);
        left.extend(still.iter().collect::<Vec<_>>());
    }
    let reason =
        expunged.rest.error.as_ref().map_or_else(|| "the server says it is gone, and still has it".to_owned(), ToString::to_string);
    outcome.problems.extend(left.iter().map(|uid| (uid, format!("marked as deleted, and not removed: {reason}"))));
    outcome.problems.extend(expunged.rest.unknown.iter().map(|uid| (uid, format!("not known whether it is gone: {reason}"))));
    outcome.marked = left.iter().map(moved).collect();
    outcome.gone = gone.iter().map(moved).collect();
    outcome.error = expunged.rest.error.or(outcome.error);
    Ok(outcome)
}

fn delete_pop3(args: &Args, place: &Place, server: &Server, app: &App) -> Result<ExitCode> {
    let folder = folder_of(place);
    let choice =
        if args.uidl.is_empty() { Choice::changing(&args.selection, &args.uids)? } else { Choice::new(&args.selection, &args.uids)? };
    choice.suits(place)?;
    let mut source = if args.dry_run.dry_run {
        Pop3Source::connect(server, &app.context, &app.trace)?
    } else {
        Pop3Source::connect_to_delete(server, &app.context, &app.trace)?
    };
    let messages = source.list(&folder)?.messages;
    let exists = messages.len() as u64;
    let there: BTreeSet<u32> = messages.iter().map(|listed| listed.id).collect();
    let missing = choice.missing(|number| there.contains(&number));
    let Picked { mut wanted, unreadable } = choice.of_listing(&mut Store::Pop3(&mut source), messages, 0)?;
    if !missing.is_empty() {
        let numbers: Vec<String> = missing.iter().map(u32::to_string).collect();
        return Err(Error::new(
            Kind::Safety,
            format!("there is no message {} in the maildrop, so the numbers are not of today", numbers.join(", ")),
        )
        .at(&place.shown)
        .hint("nothing was deleted; numbers hold for one session, --uidl ID names a message for good"));
    }
    // What cannot be looked into cannot be known to be meant.
    let mut problems: Vec<_> = unreadable.iter().map(|(listed, error)| problem(&folder, listed.id, error.to_string())).collect();
    if !args.uidl.is_empty() {
        let asked: BTreeSet<&str> = args.uidl.iter().map(String::as_str).collect();
        let mut found: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
        for listed in wanted {
            if let Some(uidl) = source.unique_id(&listed).filter(|uidl| asked.contains(uidl.as_str())) {
                found.entry(uidl).or_default().push(listed);
            }
        }
        if let Some((uidl, _)) = found.iter().find(|(_, listed)| listed.len() > 1) {
            return Err(Error::new(Kind::Safety, format!("several messages have the unique-id {uidl}"))
                .at(&place.shown)
                .hint("nothing was deleted"));
        }
        for uidl in asked.iter().filter(|uidl| !found.contains_key(**uidl)) {
            let reason = format!("there is no message with the unique-id {uidl}");
            problems.push(crate::report::Problem { folder: folder.to_string(), uid: None, reason });
        }
        wanted = found.into_values().flatten().collect();
        wanted.sort_by_key(|listed| listed.id);
    }
    let allowed = args.max_delete.check(wanted.len() as u64, exists, &folder).map_err(|error| error.at(&place.shown));
    let rows: Vec<ChangedRow> = wanted
        .iter()
        .map(|listed| ChangedRow {
            folder: folder.to_string(),
            number: Some(listed.id),
            uidl: source.unique_id(listed),
            ..ChangedRow::default()
        })
        .collect();
    let numbers: Vec<u32> = wanted.iter().map(|listed| listed.id).collect();
    let mut done = Done {
        schema: SCHEMA,
        did: FOR_EVER.to_owned(),
        place: &place.shown,
        selected: numbers.len() as u64,
        changed: numbers.len() as u64,
        dry_run: args.dry_run.dry_run,
        numbered: true,
        problems,
    };
    if args.dry_run.dry_run {
        let code = done.write(app, &args.output, |row| preview_pop3(&mut source, &wanted, &rows, row))?;
        farewell(source.session().quit())?;
        return allowed.map(|()| code);
    }
    allowed?;
    let session = source.session();
    mark_pop3(session, &numbers, app)?;
    // Only now anything is gone: what was marked goes with the end of the session.
    app.context.check()?;
    app.context.step("pop3.quit");
    let ended = session.commit();
    if let Err(error) = &ended {
        done.changed = 0;
        done.problems.extend(numbers.iter().map(|number| problem(&folder, *number, format!("not known whether it is gone: {error}"))));
    }
    let rows = if ended.is_ok() { rows } else { Vec::new() };
    let code = done.write(app, &args.output, |row| rows.iter().try_for_each(row))?;
    ended.map_err(|error| error.hint("list the maildrop to see which messages are gone"))?;
    Ok(code)
}

/// Marks messages to go; unless every mark was taken, all are taken back and nothing goes.
fn mark_pop3(session: &mut Pop3Session, numbers: &[u32], app: &App) -> Result<()> {
    let mut refused = None;
    session.delete(numbers, &mut |_, outcome| {
        app.context.check()?;
        if let Err(error) = outcome {
            refused.get_or_insert(error);
        }
        Ok(())
    })?;
    let Some(error) = refused else { return Ok(()) };
    // A session that is dropped without QUIT deletes nothing either (RFC 1939 section 6).
    if session.rset().is_ok() {
        let _ = session.quit();
    }
    Err(error.hint("nothing was deleted"))
}

fn preview_pop3(
    source: &mut Pop3Source,
    wanted: &[Listed],
    rows: &[ChangedRow],
    row: &mut dyn FnMut(&ChangedRow) -> Result<()>,
) -> Result<()> {
    pop3_headers(source, wanted, &mut |index, outcome| match (rows.get(index), outcome) {
        (Some(blank), Ok(body)) => row(&blank.clone().with_summary(Summary::of(&body.prefix(HEADER_BYTES)?))),
        // Named all the same.
        (Some(blank), Err(_)) => row(blank),
        (None, _) => Ok(()),
    })
}
