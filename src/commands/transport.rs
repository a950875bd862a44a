//! What `move` and `copy` share: their arguments, the choice of messages, and the document that says what was done. Whether
//! one server does it or mail goes from place to place is decided here; how, in `relocate` and `across`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::reading::{Choice, farewell, folder_of};
use super::relocate::{Mailfolder, Moved, Relocated, Relocator, find, told};
use super::{App, across};
use crate::account::{Place, Protocol, Server};
use crate::cli::{OutputArgs, Selection, TwoPlaceCredentials, Uids, duration};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::UidSet;
use crate::imap::selected::{Meta, Selected};
use crate::imap::session::{Access, Session};
use crate::output::{Column, Head, Row, Rows, terminal_width, write_document};
use crate::query::Facts;
use crate::transfer::{DateFrom, Seen};

/// What `move` and `copy` are told.
#[derive(clap::Args)]
pub struct Args {
    /// Where the messages are: an account, URL or local place, with or without a folder (INBOX)
    pub place: String,
    /// The folder they go to, of the same account or of any other place (without a folder: INBOX)
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
    /// Say what would be done, by count and by message, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// What of a source without flags (POP3, eml) counts as read at another place: all, none, or older-than:AGE
    #[arg(long, value_name = "WHICH", default_value = "none", value_parser = super::migrate::seen)]
    pub seen_there: Seen,
    /// Where the date of a message comes from when its source keeps none (POP3)
    #[arg(long, value_name = "FIELD", value_enum, default_value = "received")]
    pub date_from: DateFrom,
    /// How long a message whose answer got lost is looked for before it counts as not arrived: servers may store late
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub settle: Duration,
    /// Keep the destination's journal in DIR instead of $XDG_STATE_HOME/mailhaul
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
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

    /// As notes say it.
    fn done(self) -> &'static str {
        match self {
            Self::Move => "moved",
            Self::Copy => "copied",
        }
    }
}

/// Runs either verb.
///
/// # Errors
/// Wrong arguments, or what ended the run; what was done until then is written all the same.
pub(super) fn run(verb: Verb, args: &Args, app: &App) -> Result<ExitCode> {
    let sides = args.credentials.sides(&app.global)?;
    let place = app.place(&args.place, &sides.from)?;
    let destination = app.place(&args.destination, &sides.to)?;
    let choice = Choice::changing(&args.selection, &args.uids)?;
    let (from, to) = (folder_of(&place), folder_of(&destination));
    let mut done = Done::new(place.shown.clone(), from.clone());
    let outcome = match same_server(&place, &destination) {
        Some(server) => {
            if from == to {
                return Err(Error::usage("the source and the destination are the same folder").at(&destination.shown));
            }
            on_one_server(verb, args, app, server, &choice, (&from, &to), &mut done)
        }
        None => across::run(verb, args, app, &place, &destination, &choice, &mut done),
    };
    done.messages.sort_by_key(|message| message.uid);
    if outcome.is_ok() || !done.messages.is_empty() {
        done.write(verb, args, app, &to)?;
    }
    outcome.map(|()| if done.problems == 0 { ExitCode::Success } else { ExitCode::Partial })
}

fn same_server<'a>(place: &'a Place, destination: &Place) -> Option<&'a Server> {
    let (server, other) = (place.server()?, destination.server()?);
    (server.protocol == Protocol::Imap && server.identity() == other.identity()).then_some(server)
}

/// What was done so far.
pub(super) struct Done {
    place: String,
    folder: Folder,
    /// How many messages the choice came to.
    pub(super) selected: u64,
    /// What was done with each, or would be.
    pub(super) messages: Vec<Message>,
    /// How many messages failed; each was named.
    problems: u64,
}

/// A message that was moved or copied, as the document says it.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    folder: String,
    uid: u32,
    new_uid: Option<u32>,
    flags: Option<Vec<String>>,
}

impl Row for Message {
    const COLUMNS: &'static [Column] = &[Column::cut("folder", 40), Column::number("uid"), Column::number("new_uid")];

    fn cell(&self, field: &str, _for_people: bool) -> String {
        match field {
            "folder" => self.folder.clone(),
            "uid" => self.uid.to_string(),
            _ => self.new_uid.map(|uid| uid.to_string()).unwrap_or_default(),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    place: &'a str,
    selected: u64,
    changed: u64,
    messages: &'a [Message],
}

impl Done {
    fn new(place: String, folder: Folder) -> Self {
        Self { place, folder, selected: 0, messages: Vec::new(), problems: 0 }
    }

    /// A message is where it should be, or would be.
    pub(super) fn add(&mut self, one: Moved, flags: Option<&[crate::message::Flag]>) {
        self.messages.push(Message {
            folder: self.folder.to_string(),
            uid: one.uid,
            new_uid: one.new_uid,
            flags: flags.map(|flags| flags.iter().map(ToString::to_string).collect()),
        });
    }

    /// A message is not, or not quite, where it should be: it is named.
    pub(super) fn problem(&mut self, uid: u32, reason: &str) {
        self.problem_in(&self.folder.clone(), uid, reason);
    }

    fn problem_in(&mut self, folder: &Folder, uid: u32, reason: &str) {
        self.problems += 1;
        super::warn(&format!("{folder}: message {uid}: {reason}"));
    }

    fn write(&self, verb: Verb, args: &Args, app: &App, to: &Folder) -> Result<()> {
        let format = super::format(&args.output);
        let changed = self.messages.len() as u64;
        let mut stdout = std::io::stdout().lock();
        if format.is_json() {
            let document = Document {
                schema: verb.schema(),
                dry_run: args.dry_run,
                place: &self.place,
                selected: self.selected,
                changed: if args.dry_run { 0 } else { changed },
                messages: &self.messages,
            };
            return write_document(&mut stdout, &document);
        }
        if (args.dry_run || args.output.format().is_some()) && !self.messages.is_empty() {
            let head = Head { schema: verb.schema(), members: Vec::new(), rows: "messages" };
            let width = terminal_width(std::io::stdout());
            let mut rows = Rows::new::<Message>(&mut stdout, format, &head, None, &["folder", "uid", "new_uid"], width)?;
            self.messages.iter().try_for_each(|message| rows.row(message))?;
            rows.finish()?;
        }
        let would = if args.dry_run { "would be " } else { "" };
        app.note(&format!("{changed} of {} selected message(s) {would}{} to {to}", self.selected, verb.done()));
        Ok(())
    }
}

/// The chosen messages of a folder as they are now, and those named one by one that are not there. What a server's SEARCH
/// found is checked again on what it says of each message.
pub(super) fn choose(choice: &Choice, selected: &mut Selected<'_>) -> Result<(Vec<Meta>, Vec<u32>)> {
    let (uids, mut missing) = choice.uids(selected)?;
    let mut metas = Vec::new();
    selected.summaries(&uids, false, &mut |meta| {
        let facts = Facts { flags: Some(&meta.flags), size: meta.size, internal_date: meta.internal_date, header: None, whole: None };
        if choice.query().holds(&facts) != Some(false) {
            metas.push(meta);
        }
        Ok(())
    })?;
    let there: BTreeSet<u32> = metas.iter().map(|meta| meta.uid).collect();
    missing.extend(choice.named().into_iter().filter(|uid| uids.contains(*uid) && !there.contains(uid)));
    missing.sort_unstable();
    missing.dedup();
    Ok((metas, missing))
}

fn on_one_server(
    verb: Verb,
    args: &Args,
    app: &App,
    server: &Server,
    choice: &Choice,
    (from, to): (&Folder, &Folder),
    done: &mut Done,
) -> Result<()> {
    let access = if args.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let mut session = Session::connect(server, access, &app.context, &app.trace)?;
    let mut relocator = Relocator::new(app, server, args.state.as_deref(), args.settle)?;
    if verb == Verb::Move && !args.dry_run {
        relocator.finish_open(&mut session)?;
        for (folder, uid, reason) in std::mem::take(&mut relocator.problems) {
            done.problem_in(&folder, uid, &reason);
        }
    }
    let mailboxes = session.list()?;
    let source = find(&mut session, &mailboxes, from, "")?;
    let target = match find(&mut session, &mailboxes, to, "--create makes it") {
        Err(error) if error.kind() == Kind::Usage && error.remedy().is_some() && args.create => {
            let wire_name = session.wire_name(to)?;
            if !args.dry_run {
                session.create(&wire_name)?;
                // A folder nobody subscribed to still holds its mail.
                let _ = session.subscribe(&wire_name);
            }
            Mailfolder { folder: to.clone(), wire_name }
        }
        other => other?,
    };
    if source.wire_name == target.wire_name {
        return Err(Error::usage("the source and the destination are the same folder").at(session.place()));
    }
    let mut selected = if args.dry_run { session.examine(&source.wire_name)? } else { session.select(&source.wire_name)? };
    let (metas, missing) = choose(choice, &mut selected)?;
    // What this run finished for one that died was chosen then, and is no longer here to be chosen.
    let finished: BTreeMap<u32, Moved> = relocator
        .finished
        .iter()
        .filter(|(source, destination, _)| source == from && destination == to)
        .map(|(_, _, one)| (one.uid, *one))
        .collect();
    done.selected = (metas.len() + finished.len()) as u64;
    finished.values().for_each(|one| done.add(*one, None));
    let uids: UidSet = metas.iter().map(|meta| meta.uid).collect();
    let relocated = if args.dry_run {
        let moved = metas.iter().map(|meta| Moved { uid: meta.uid, new_uid: None }).collect();
        Relocated { moved, ..Relocated::default() }
    } else if uids.is_empty() {
        Relocated::default()
    } else {
        match verb {
            Verb::Move => relocator.relocate(&mut selected, from, &target, &uids)?,
            Verb::Copy => told(&uids, selected.copy(&uids, &target.wire_name)?),
        }
    };
    let flags: BTreeMap<u32, &Meta> = metas.iter().map(|meta| (meta.uid, meta)).collect();
    for one in relocated.moved.iter().chain(&relocated.marked) {
        done.add(*one, flags.get(&one.uid).map(|meta| meta.flags.as_slice()));
    }
    relocated.marked.iter().for_each(|one| done.problem(one.uid, super::relocate::MARKED));
    missing.iter().filter(|uid| !finished.contains_key(uid)).for_each(|uid| done.problem(*uid, super::fetch::NO_SUCH));
    relocated.gone.iter().for_each(|uid| done.problem(uid, "it was gone before it could be had"));
    match relocated.error {
        // Nothing at all was done: that is no success in part.
        Some(error) if error.kind() != Kind::Refused || done.messages.is_empty() => return Err(error),
        Some(error) => relocated.left.iter().for_each(|uid| done.problem(uid, &error.to_string())),
        None => {}
    }
    relocator.finish()?;
    farewell(session.logout())
}
