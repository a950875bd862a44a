//! `mailhaul flag`: adds, removes or sets flags and keywords, of just those messages that need it, so that a second run
//! changes nothing.

use std::path::Path;

use super::App;
use super::changing::{
    Checked, Done, DryRun, LocalChoice, Reflag, Reflagged, check, local_choice, local_rows, preview, problem, reflag, select,
};
use super::reading::{Choice, NO_SUCH, farewell, folder_of};
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs, Selection, Uids};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::encode::can_send_flag;
use crate::imap::selected::MailboxState;
use crate::imap::session::{Access, Session};
use crate::message::Flag;
use crate::output::ChangedRow;
use crate::report::Problem;
use crate::store::maildir::MaildirSource;

const SCHEMA: &str = "mailhaul.flag/1";

/// Flags of a folder that nobody may change.
const MAX_FIXED: usize = 1000;

/// The arguments of `flag`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("change").args(["add", "remove", "set"]).required(true).multiple(true))]
pub struct Args {
    /// An account, URL or Maildir, with or without a folder (INBOX)
    pub place: String,
    /// UIDs (Maildirs: message numbers), as in 17 20:40 100:*; - reads them from standard input
    #[arg(value_name = "UID")]
    pub uids: Vec<Uids>,
    /// Add these flags: seen, answered, flagged, draft, deleted, or any keyword
    #[arg(long, value_name = "F[,F]", value_delimiter = ',', help_heading = "Change")]
    pub add: Vec<String>,
    /// Take these flags away
    #[arg(long, value_name = "F[,F]", value_delimiter = ',', help_heading = "Change")]
    pub remove: Vec<String>,
    /// Make these all the flags there are; '' for none
    #[arg(long, value_name = "F[,F]", value_delimiter = ',', help_heading = "Change", conflicts_with_all = ["add", "remove"])]
    pub set: Option<Vec<String>>,
    /// Selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Trying out.
    #[command(flatten)]
    pub dry_run: DryRun,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

impl Args {
    /// The change asked for, in the words of the protocol.
    fn change(&self) -> Result<Reflag> {
        let flags = |names: &[String]| names.iter().map(|name| flag(name)).collect::<Result<Vec<_>>>();
        let set = match self.set.as_deref() {
            Some([only]) if only.is_empty() => Some(Vec::new()),
            Some(names) => Some(flags(names)?),
            None => None,
        };
        let change = Reflag { add: flags(&self.add)?, remove: flags(&self.remove)?, set, ..Reflag::default() };
        if let Some(both) = change.add.iter().find(|flag| change.remove.contains(flag)) {
            return Err(Error::usage(format!("the flag {both} cannot be added and removed at once")));
        }
        Ok(change)
    }
}

/// A flag as people write it.
fn flag(name: &str) -> Result<Flag> {
    let name = name.trim();
    let bare = name.strip_prefix('\\').unwrap_or(name);
    let system = ["Seen", "Answered", "Flagged", "Draft", "Deleted"].into_iter().find(|system| system.eq_ignore_ascii_case(bare));
    if let Some(system) = system {
        return Ok(Flag::new(format!("\\{system}")));
    }
    if bare.eq_ignore_ascii_case("recent") {
        return Err(Error::usage("the flag recent belongs to the server: nobody can change it"));
    }
    let keyword = Flag::new(name);
    if bare != name || !can_send_flag(&keyword) {
        return Err(Error::usage(format!("{name:?} is no flag")).hint(
            "flags are seen, answered, flagged, draft and deleted, and keywords of ASCII without blanks, quotes and ( ) { % * \\ ]",
        ));
    }
    Ok(keyword)
}

/// Runs `flag`.
///
/// # Errors
/// Wrong arguments, or what ended the run.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let change = args.change()?;
    let place = app.place(&args.place, &args.credentials.overrides(&app.global)?)?;
    let server = match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => server,
        Location::Server(_) => return Err(Error::usage("POP3 has no flags").at(&place.shown)),
        Location::Maildir(path) => {
            let choice = Choice::changing(&args.selection, &args.uids)?;
            return run_maildir(args, &place, path, change, &choice, app);
        }
        _ => return Err(Error::usage("only IMAP places and Maildirs keep flags").at(&place.shown)),
    };
    let choice = Choice::changing(&args.selection, &args.uids)?;
    run_imap(args, &place, server, change, &choice, app)
}

fn run_imap(args: &Args, place: &Place, server: &Server, change: Reflag, choice: &Choice, app: &App) -> Result<ExitCode> {
    let folder = folder_of(place);
    let dry_run = args.dry_run.dry_run;
    let access = if dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let mut session = Session::connect(server, access, &app.context, &app.trace)?;
    let mut selected = if dry_run { session.open_folder(&folder, false)? } else { select(&mut session, &folder)? };
    // Of a mailbox that is opened to be read servers say that it keeps no flag at all, which tells nothing.
    let tells = !dry_run || selected.state().permanent_flags.as_ref().is_some_and(|flags| !flags.is_empty());
    let keeps = |state: &MailboxState, flags: &[Flag]| if tells { state.permitted(flags) } else { (flags.to_vec(), Vec::new()) };
    let (mut change, denied) = permitted(change, |flags| keeps(selected.state(), flags));
    let mut problems = Vec::new();
    left_out(&change, &denied, &folder, place, &mut problems)?;
    let Checked { messages, missing } = check(&mut selected, choice, app)?;
    if change.set.is_some() {
        for candidate in &messages {
            let (_, fixed) = keeps(selected.state(), &candidate.flags);
            let new: Vec<Flag> = fixed.into_iter().filter(|flag| !change.fixed.contains(flag)).collect();
            change.fixed.extend(new);
            if change.fixed.len() > MAX_FIXED {
                return Err(Error::protocol("the server shows more flags that nobody may change than any mailbox has").at(&place.shown));
            }
        }
    }
    problems.extend(missing.into_iter().map(|uid| problem(&folder, uid, NO_SUCH)));
    let done = |changed: usize, problems| Done {
        schema: SCHEMA,
        did: "changed".to_owned(),
        place: &place.shown,
        selected: messages.len() as u64,
        changed: changed as u64,
        dry_run,
        numbered: false,
        problems,
    };
    if dry_run {
        let would: Vec<_> = messages.iter().filter(|candidate| change.changes(&candidate.flags)).cloned().collect();
        let code = done(would.len(), problems)
            .write(app, &args.output, |row| preview(&mut selected, &folder, &would, &|flags| change.after(flags), row))?;
        farewell(session.logout())?;
        return Ok(code);
    }
    let mut outcome = reflag(&mut selected, choice, &messages, &change)?;
    outcome.refused_all()?;
    let Reflagged { changed, problems: more, lost, .. } = outcome;
    problems.extend(more.into_iter().map(|(uid, reason)| problem(&folder, uid, reason)));
    let code = done(changed.len(), problems).write(app, &args.output, |row| {
        changed.iter().try_for_each(|candidate| {
            let blank = ChangedRow { folder: folder.to_string(), uid: Some(candidate.uid), ..ChangedRow::default() };
            row(&blank.with_flags(&change.after(&candidate.flags)))
        })
    })?;
    // What was done is told by now.
    if let Some(lost) = lost {
        return Err(lost);
    }
    farewell(session.logout())?;
    Ok(code)
}

fn run_maildir(args: &Args, place: &Place, path: &Path, change: Reflag, choice: &Choice, app: &App) -> Result<ExitCode> {
    choice.suits(place)?;
    let folder = folder_of(place);
    let mut source = MaildirSource::new(path);
    let LocalChoice { wanted, mut problems } = local_choice(&mut source, &folder, choice)?;
    let mut rows = Vec::new();
    let mut marker = source.marker()?;
    let (change, denied) = permitted(change, |flags| marker.permitted(flags));
    left_out(&change, &denied, &folder, place, &mut problems)?;
    if !args.dry_run.dry_run && !wanted.is_empty() {
        marker.learn(change.set.as_ref().unwrap_or(&change.add), &app.context)?;
    }
    for listed in &wanted {
        app.context.check()?;
        let number = listed.id.saturating_add(1);
        let outcome = match marker.flags(listed) {
            Ok(Some(flags)) if !change.changes(&flags) => continue,
            Ok(Some(flags)) if args.dry_run.dry_run => Ok(Some(change.after(&flags))),
            Ok(Some(_)) => marker.reflag(listed, &|flags| change.after(flags)),
            other => other,
        };
        match outcome {
            Ok(Some(flags)) => {
                let row = ChangedRow { folder: folder.to_string(), number: Some(number), ..ChangedRow::default() };
                rows.push((listed.clone(), row.with_flags(&flags)));
            }
            Ok(None) => problems.push(problem(&folder, number, "it is gone")),
            Err(error) => problems.push(problem(&folder, number, error.to_string())),
        }
    }
    marker.sync()?;
    let done = Done {
        schema: SCHEMA,
        did: "changed".to_owned(),
        place: &place.shown,
        selected: wanted.len() as u64,
        changed: rows.len() as u64,
        dry_run: args.dry_run.dry_run,
        numbered: true,
        problems,
    };
    done.write(app, &args.output, |row| local_rows(&mut source, &rows, args.dry_run.dry_run, row))
}

/// Names the flags that are not kept; where they were all there was to do, nothing is done.
fn left_out(change: &Reflag, denied: &[Flag], folder: &Folder, place: &Place, problems: &mut Vec<Problem>) -> Result<()> {
    if denied.is_empty() {
        return Ok(());
    }
    if change.add.is_empty() && change.remove.is_empty() && change.set.as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::refused(format!("{folder} does not keep the flag {}", names(denied))).at(&place.shown));
    }
    let reason = format!("the folder does not keep the flag {}; it was left out", names(denied));
    problems.push(Problem { folder: folder.to_string(), uid: None, reason });
    Ok(())
}

/// The part of a change that the mailbox lets anybody make, and the flags it does not keep.
fn permitted(mut change: Reflag, keeps: impl Fn(&[Flag]) -> (Vec<Flag>, Vec<Flag>)) -> (Reflag, Vec<Flag>) {
    let mut denied = Vec::new();
    let mut keep = |flags: &mut Vec<Flag>| {
        let (kept, not) = keeps(flags);
        *flags = kept;
        denied.extend(not);
    };
    keep(&mut change.add);
    keep(&mut change.remove);
    if let Some(set) = &mut change.set {
        keep(set);
    }
    (change, denied)
}

fn names(flags: &[Flag]) -> String {
    flags.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_by_name_or_as_the_protocol_does() {
        for (text, wire) in
            [("seen", "\\Seen"), ("\\Flagged", "\\Flagged"), (" DRAFT", "\\Draft"), ("$Forwarded", "$Forwarded"), ("Junk", "Junk")]
        {
            assert_eq!(flag(text).unwrap().wire(), wire);
        }
        for text in ["", "recent", "\\Recent", "\\Junk", "a b", "ä", "a\r\nb", "(", "*", "\\", "\\*"] {
            assert!(flag(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_the_mailbox_does_not_keep_is_left_out_and_named() {
        let flags = |names: &[&str]| names.iter().map(|name| Flag::new(*name)).collect::<Vec<_>>();
        let state = MailboxState { permanent_flags: Some(flags(&["\\Seen", "Work"])), ..MailboxState::default() };
        let change = Reflag { add: flags(&["\\seen", "other"]), remove: flags(&["work", "\\Draft"]), ..Reflag::default() };
        let (change, denied) = permitted(change, |flags| state.permitted(flags));
        assert_eq!((change.add, change.remove, denied), (flags(&["\\Seen"]), flags(&["Work"]), flags(&["other", "\\Draft"])));
    }
}
