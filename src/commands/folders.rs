//! `mailhaul folders`: one row a folder, with as few round trips as the server allows, over a session that cannot change
//! anything. What changes folders is in `change`.

mod change;

use std::io::IsTerminal;

use serde_json::Value;

use super::App;
use super::complete::Cache;
use super::reading::{farewell, local_source};
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs};
use crate::error::{Error, Kind, Result, Scope};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::mailboxes::is_missing;
use crate::imap::session::{Access, Mailbox, Session};
use crate::imap::types::MailboxStatus;
use crate::message::Flag;
use crate::output::{FolderRow, Format, Head, Rows, bytes_for_people, terminal_width, typed_folder};
use crate::pop3;
use crate::report::{Event, Problem, Report, counted};
use crate::store::imap::special_use;

const SCHEMA: &str = "mailhaul.folders/1";

/// The arguments of `folders`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Args {
    /// An account, URL or local place; with a folder: just that folder and those below it. Without any, the config file's
    /// default account
    #[arg(value_name = "PLACE")]
    pub place: Option<String>,
    /// What stands behind it by mistake.
    #[arg(hide = true)]
    pub more: Vec<String>,
    /// Add up the sizes of all messages where the server does not tell the size of a folder (opens every folder)
    #[arg(long)]
    pub size: bool,
    /// Only these fields of each row, in this order: name, special_use, messages, unseen, recent, size, subscribed,
    /// selectable, uidvalidity, uidnext
    #[arg(long, help_heading = "Output", value_name = "A,B,C", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
    /// What is to be changed.
    #[command(subcommand)]
    pub change: Option<change::Change>,
}

/// Runs `folders`.
///
/// # Errors
/// Wrong arguments, or what ended the run.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    if let Some(change) = &args.change {
        return change.run(app);
    }
    let overrides = args.credentials.overrides(&app.global)?;
    let text = match (&args.place, args.more.first()) {
        (None, _) => app.default_place()?,
        // As many programs have it.
        (Some(word), place) if word == "list" && app.config.account(word).is_none() => {
            let place = place.map(|place| format!(" {place}")).unwrap_or_default();
            return Err(Error::usage("folders are listed without a word for it").hint(format!("mailhaul folders{place}")));
        }
        (Some(place), None) => place.as_str(),
        (Some(_), Some(_)) => return Err(Error::usage("the folders of one place are listed at a time, and two are named")),
    };
    let place = app.place(text, &overrides)?;
    let format = super::format(&args.output);
    let head = Head { schema: SCHEMA, members: vec![("place", Value::from(place.shown.clone()))], rows: "folders" };
    let chosen = (!args.fields.is_empty()).then_some(args.fields.as_slice());
    let begin = |out: Box<dyn std::io::Write>| {
        Rows::new::<FolderRow>(out, format, &head, chosen, FolderRow::DEFAULT, terminal_width(std::io::stdout()))
    };
    // A wrong field is told before anything is connected to.
    begin(Box::new(std::io::sink()))?;
    let mut found = match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => of_imap(server, place.folder.as_ref(), args.size, app)?,
        Location::Server(server) => of_pop3(server, app)?,
        _ => of_store(&place, app)?,
    };
    if let Some(only) = &place.folder
        && found.rows.is_empty()
    {
        return Err(Error::usage(format!("there is no folder {}", typed_folder(only))).at(&place.shown));
    }
    let mut rows = begin(Box::new(std::io::stdout().lock()))?;
    found.rows.iter().try_for_each(|row| rows.row(row))?;
    rows.finish_with(&found.problems)?;
    if format == Format::Table && std::io::stdout().is_terminal() && found.rows.len() > 1 {
        app.note(&total(&found.rows));
    }
    let complete = found.problems.is_empty();
    let progress = super::progress_beside(app, true);
    found.problems.drain(..).for_each(|problem| progress.event(Event::Problem(problem)));
    Ok(if complete { ExitCode::Success } else { ExitCode::Partial })
}

/// What a look at a place found.
#[derive(Default)]
struct Found {
    rows: Vec<FolderRow>,
    problems: Vec<Problem>,
}

impl Found {
    fn problem(&mut self, folder: &Folder, error: &Error) {
        // Where it happened stands beside it already.
        let said = error.server_said().map(|words| format!("; the server said: {words}")).unwrap_or_default();
        self.problems.push(Problem { folder: typed_folder(folder), uid: None, reason: format!("{}{said}", error.message()) });
    }
}

fn total(rows: &[FolderRow]) -> String {
    let sum = |figure: fn(&FolderRow) -> Option<u64>| rows.iter().filter_map(figure).fold(0, u64::saturating_add);
    let mut text = format!(
        "{}, {}, {} unseen",
        counted(rows.len() as u64, "folder"),
        counted(sum(|row| row.messages), "message"),
        sum(|row| row.unseen)
    );
    if rows.iter().filter(|row| row.selectable).all(|row| row.size.is_some()) {
        text.push_str(&format!(", {}B", bytes_for_people(sum(|row| row.size))));
    }
    text
}

/// Whether `folder` is `top` or lies below it.
fn is_within(folder: &Folder, top: &Folder) -> bool {
    folder.levels().starts_with(top.levels())
}

fn of_imap(server: &Server, only: Option<&Folder>, sizes: bool, app: &App) -> Result<Found> {
    let mut session = Session::connect(server, Access::ReadOnly, &app.context, &app.trace)?;
    let mailboxes = match only {
        None => session.overview()?,
        // A pattern could not name a folder with a `*` in it; a list of all costs little, figures of all may not.
        Some(top) => {
            let mailboxes: Vec<Mailbox> = session.list()?.into_iter().filter(|mailbox| is_within(&mailbox.folder, top)).collect();
            let (can, cannot): (Vec<_>, Vec<_>) = mailboxes.into_iter().partition(|mailbox| mailbox.selectable);
            let names: Vec<&[u8]> = can.iter().map(|mailbox| mailbox.wire_name.as_slice()).collect();
            let figures = session.figures(&names)?.into_iter().map(Some);
            let mut all: Vec<_> = can.into_iter().zip(figures).chain(cannot.into_iter().map(|mailbox| (mailbox, None))).collect();
            all.sort_by(|(a, _), (b, _)| (!a.folder.is_inbox(), &a.folder).cmp(&(!b.folder.is_inbox(), &b.folder)));
            all
        }
    };
    if only.is_none() {
        Cache::of(server, &app.context).write(mailboxes.iter().map(|(mailbox, _)| &mailbox.folder));
    }
    let mut found = Found::default();
    for (mailbox, figures) in mailboxes {
        app.context.check()?;
        let mut row = FolderRow {
            name: typed_folder(&mailbox.folder),
            special_use: special_use(&mailbox).map(|special| special.to_string()),
            subscribed: Some(mailbox.subscribed),
            selectable: mailbox.selectable,
            ..FolderRow::default()
        };
        match figures {
            None => {}
            Some(Ok(figures)) => row = with_figures(row, &figures),
            // Dovecot lists a deleted one that others lie below as if it were still there.
            Some(Err(error)) if is_missing(&error) => row.selectable = false,
            Some(Err(error)) => found.problem(&mailbox.folder, &error),
        }
        if sizes && row.selectable && row.size.is_none() && row.messages.is_some() {
            match session.sum_of_sizes(&mailbox.wire_name) {
                Ok(size) => row.size = Some(size),
                Err(error) if error.scope() <= Scope::Mailbox => found.problem(&mailbox.folder, &error),
                Err(error) => return Err(error),
            }
        }
        found.rows.push(row);
    }
    farewell(session.logout())?;
    Ok(found)
}

fn with_figures(row: FolderRow, figures: &MailboxStatus) -> FolderRow {
    FolderRow {
        messages: figures.messages,
        unseen: figures.unseen,
        recent: figures.recent,
        size: figures.size,
        uidvalidity: figures.uid_validity,
        uidnext: figures.uid_next,
        ..row
    }
}

fn of_pop3(server: &Server, app: &App) -> Result<Found> {
    let mut session = pop3::Session::connect(server, &app.context, &app.trace, pop3::Options::default())?;
    let stat = session.stat()?;
    let row = FolderRow {
        name: Folder::inbox().to_string(),
        messages: Some(u64::from(stat.messages)),
        size: Some(stat.octets),
        selectable: true,
        ..FolderRow::default()
    };
    farewell(session.quit())?;
    Ok(Found { rows: vec![row], problems: Vec::new() })
}

fn of_store(place: &Place, app: &App) -> Result<Found> {
    let mut source = local_source(place)?;
    let mut found = Found::default();
    for info in source.folders()? {
        app.context.check()?;
        if place.folder.as_ref().is_some_and(|top| !is_within(&info.folder, top)) {
            continue;
        }
        let mut row = FolderRow { name: typed_folder(&info.folder), selectable: info.selectable, ..FolderRow::default() };
        let listed = source.list(&info.folder).and_then(|listing| {
            let messages = listing.messages;
            let mut unseen = None;
            // Single files know no flags.
            if !matches!(place.location, Location::Eml(_)) {
                let mut count = 0;
                source.read(&messages, &mut |_, message| {
                    app.context.check()?;
                    count += u64::from(message.is_ok_and(|message| !message.flags.contains(&Flag::seen())));
                    Ok(())
                })?;
                unseen = Some(count);
            }
            Ok((messages.len() as u64, unseen, messages.iter().map(|listed| listed.size).sum::<Option<u64>>()))
        });
        match listed {
            Ok((messages, unseen, size)) => (row.messages, row.unseen, row.size) = (Some(messages), unseen, size),
            Err(error) if error.scope() <= Scope::Mailbox && !matches!(error.kind(), Kind::Interrupted(_)) => {
                found.problem(&info.folder, &error);
            }
            Err(error) => return Err(error),
        }
        found.rows.push(row);
    }
    source.finish()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_within_itself_and_what_is_above_it() {
        let folder = |typed| Folder::parse(typed).unwrap();
        assert!(is_within(&folder("a/b"), &folder("a")) && is_within(&folder("a"), &folder("a")));
        assert!(!is_within(&folder("ab"), &folder("a")) && !is_within(&folder("a"), &folder("a/b")));
    }

    #[test]
    fn a_total_tells_a_size_only_where_all_are_known() {
        let row = |messages, size| FolderRow { messages: Some(messages), size, selectable: true, ..FolderRow::default() };
        assert_eq!(total(&[row(2, Some(1024)), row(1, Some(1024))]), "2 folders, 3 messages, 0 unseen, 2.0kB");
        assert_eq!(total(&[row(2, Some(1024)), row(1, None)]), "2 folders, 3 messages, 0 unseen");
        // A server may say anything.
        assert!(total(&[row(u64::MAX, Some(u64::MAX)), row(1, Some(1))]).starts_with("2 folders, 18446744073709551615 messages"));
    }
}
