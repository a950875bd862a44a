//! `mailhaul folders create`, `rename`, `delete`, `subscribe` and `unsubscribe`: each folder is looked up in the server's own
//! listing first, so that what people see is what is changed. Nothing that holds messages goes without being told so twice.

use serde_json::Value;

use super::super::{App, EXIT_STATUS, format};
use crate::account::{Location, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs};
use crate::commands::changing::MaxDelete;
use crate::commands::complete::Cache;
use crate::commands::reading::farewell;
use crate::error::{Error, Kind, Result, Scope};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::mailboxes::is_missing;
use crate::imap::session::{Access, Mailbox, Session};
use crate::imap::types::MailboxStatus;
use crate::output::{FolderChange, Head, Rows, terminal_width, typed_folder, write_error};
use crate::report::counted;

const SCHEMA: &str = "mailhaul.folders-change/1";

/// What is to be changed. An account of such a name is written with its side: `delete:imap`.
#[derive(clap::Subcommand)]
pub enum Change {
    /// Make folders, and subscribe to them; one that is there already is left as it is
    #[command(after_long_help = EXIT_STATUS)]
    Create(Create),
    /// Give a folder (and all below it) another name, on the same account; subscriptions follow
    #[command(after_long_help = EXIT_STATUS)]
    Rename(Rename),
    /// Delete folders that hold no messages (--force: and those that do); folders below them stay
    #[command(after_long_help = EXIT_STATUS)]
    Delete(Delete),
    /// Subscribe to folders: mail programs show these
    #[command(after_long_help = EXIT_STATUS)]
    Subscribe(Subscribe),
    /// Unsubscribe from folders: mail programs may hide these; nothing is deleted
    #[command(after_long_help = EXIT_STATUS)]
    Unsubscribe(Subscribe),
}

/// What all of them take.
#[derive(clap::Args)]
pub struct Common {
    /// Change nothing; say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// The arguments of `folders create`.
#[derive(clap::Args)]
pub struct Create {
    /// Folders, each with its account or URL: work/Archive/2024
    #[arg(value_name = "PLACE/FOLDER", required = true)]
    pub folders: Vec<String>,
    /// Do not subscribe to them
    #[arg(long)]
    pub no_subscribe: bool,
    /// What they are for, where the server takes that from a client (CREATE-SPECIAL-USE)
    #[arg(long, value_name = "USE", value_enum)]
    pub special_use: Option<Use>,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `folders rename`.
#[derive(clap::Args)]
pub struct Rename {
    /// The folder, with its account or URL: work/Old
    #[arg(value_name = "PLACE/FOLDER")]
    pub from: String,
    /// Its new name on that account, all levels of it, with or without the account before it
    #[arg(value_name = "NEW")]
    pub to: String,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `folders delete`.
#[derive(clap::Args)]
pub struct Delete {
    /// Folders, each with its account or URL: work/Old
    #[arg(value_name = "PLACE/FOLDER", required = true)]
    pub folders: Vec<String>,
    /// Delete also those that hold messages, for ever, and the messages with them
    #[arg(long)]
    pub force: bool,
    /// What may go with --force, in all.
    #[command(flatten)]
    pub max_delete: MaxDelete,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `folders subscribe` and `folders unsubscribe`.
#[derive(clap::Args)]
pub struct Subscribe {
    /// Folders, each with its account or URL: work/Lists
    #[arg(value_name = "PLACE/FOLDER", required = true)]
    pub folders: Vec<String>,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// A special use a folder can be made with (RFC 6154).
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Mail kept
    Archive,
    /// Mail being written
    Drafts,
    /// Unwanted mail
    Junk,
    /// Mail sent
    Sent,
    /// Mail to be deleted
    Trash,
}

impl Use {
    fn attribute(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }
}

impl Change {
    /// Runs it.
    ///
    /// # Errors
    /// Wrong arguments; why the one folder that was named stayed as it was; what ended the run.
    pub fn run(&self, app: &App) -> Result<ExitCode> {
        match self {
            Self::Create(args) => each(&args.folders, &args.common, app, &mut |account, folder| create(account, folder, args, app)),
            Self::Rename(args) => rename(args, app),
            Self::Delete(args) => {
                let mut messages = 0;
                each(&args.folders, &args.common, app, &mut |account, folder| delete(account, folder, args, &mut messages, app))
            }
            Self::Subscribe(args) => {
                each(&args.folders, &args.common, app, &mut |account, folder| subscribe(account, folder, true, args.common.dry_run))
            }
            Self::Unsubscribe(args) => {
                each(&args.folders, &args.common, app, &mut |account, folder| subscribe(account, folder, false, args.common.dry_run))
            }
        }
    }
}

/// An account whose folders are changed.
struct Account {
    session: Session,
    /// Its folders as they were at the beginning.
    mailboxes: Vec<Mailbox>,
    cache: Cache,
}

impl Account {
    fn open(server: &Server, dry_run: bool, app: &App) -> Result<Self> {
        let access = if dry_run { Access::ReadOnly } else { Access::ReadWrite };
        let mut session = Session::connect(server, access, &app.context, &app.trace)?;
        let mailboxes = session.list()?;
        Ok(Self { session, mailboxes, cache: Cache::of(server, &app.context) })
    }

    fn existing(&self, folder: &Folder) -> Result<&Mailbox> {
        let found = self.mailboxes.iter().find(|mailbox| mailbox.folder == *folder);
        found.ok_or_else(|| Error::usage(format!("there is no folder {}", typed_folder(folder))).at(self.session.place()))
    }

    /// Those below `folder`.
    fn below(&self, folder: &Folder) -> impl Iterator<Item = &Mailbox> {
        self.mailboxes.iter().filter(move |mailbox| mailbox.folder != *folder && super::is_within(&mailbox.folder, folder))
    }

    fn change(&self, folder: &Folder, result: &str) -> FolderChange {
        FolderChange {
            place: self.session.place().to_owned(),
            name: typed_folder(folder),
            result: result.to_owned(),
            new_name: None,
            messages: None,
            reason: None,
        }
    }

    /// Names that a completion remembers are out of date now.
    fn finish(mut self, dry_run: bool) -> Result<()> {
        if !dry_run {
            self.cache.forget();
        }
        farewell(self.session.logout())
    }
}

/// The server and the folder that an argument names.
fn target(place: &Place) -> Result<(&Server, &Folder)> {
    match (&place.location, &place.folder) {
        (Location::Server(server), Some(folder)) if server.protocol == Protocol::Imap => Ok((server, folder)),
        (Location::Server(server), None) if server.protocol == Protocol::Imap => {
            Err(Error::usage("which folder? none is named").at(&place.shown).hint(format!("write {}/FOLDER", place.shown)))
        }
        _ => Err(Error::usage("only folders of an IMAP account can be changed").at(&place.shown)),
    }
}

type Work<'a> = dyn FnMut(&mut Account, &Folder) -> Result<FolderChange> + 'a;

/// Does the work on each folder in turn, over one session for each account; one that fails does not hold up the others.
fn each(arguments: &[String], common: &Common, app: &App, work: &mut Work<'_>) -> Result<ExitCode> {
    let overrides = common.credentials.overrides(&app.global)?;
    let places: Vec<Place> = arguments.iter().map(|text| app.place(text, &overrides)).collect::<Result<_>>()?;
    let targets: Vec<(&Server, &Folder)> = places.iter().map(target).collect::<Result<_>>()?;
    let mut accounts: Vec<(String, Account)> = Vec::new();
    let mut report = Report::default();
    let mut ended = None;
    for (server, folder) in &targets {
        if let Err(error) = one(server, folder, common.dry_run, app, &mut accounts, work).and_then(|change| report.done(change, app)) {
            if targets.len() == 1 {
                return Err(error);
            }
            if error.scope() > Scope::Mailbox && error.kind() != Kind::Usage {
                ended = Some(error);
                break;
            }
            report.failed(server, folder, &error, common)?;
        }
    }
    for (_, account) in accounts {
        account.finish(common.dry_run)?;
    }
    report.write(common, app, ended)
}

fn one(
    server: &Server,
    folder: &Folder,
    dry_run: bool,
    app: &App,
    accounts: &mut Vec<(String, Account)>,
    work: &mut Work<'_>,
) -> Result<FolderChange> {
    app.context.check()?;
    let at = match accounts.iter().position(|(name, _)| *name == server.place) {
        Some(at) => at,
        None => {
            accounts.push((server.place.clone(), Account::open(server, dry_run, app)?));
            accounts.len() - 1
        }
    };
    let (_, account) = accounts.get_mut(at).ok_or_else(|| Error::local("the account is gone"))?;
    work(account, folder).map_err(|error| error.at(&server.place))
}

/// What became of all the folders.
#[derive(Default)]
struct Report {
    changes: Vec<FolderChange>,
    first_failure: Option<Kind>,
    failures: usize,
    incomplete: bool,
}

impl Report {
    fn done(&mut self, change: FolderChange, app: &App) -> Result<()> {
        if let Some(reason) = &change.reason {
            self.incomplete = true;
            crate::commands::warn(&format!("{}/{}: {reason}", change.place, change.name));
        }
        self.changes.push(change);
        app.context.check()
    }

    fn failed(&mut self, server: &Server, folder: &Folder, error: &Error, common: &Common) -> Result<()> {
        write_error(&mut std::io::stderr(), error, format(&common.output).is_json())?;
        self.first_failure.get_or_insert(error.kind());
        self.failures += 1;
        self.changes.push(FolderChange {
            place: server.place.clone(),
            name: typed_folder(folder),
            result: "refused".to_owned(),
            new_name: None,
            messages: None,
            reason: Some(error.to_string()),
        });
        Ok(())
    }

    fn write(self, common: &Common, app: &App, ended: Option<Error>) -> Result<ExitCode> {
        let format = format(&common.output);
        if format.is_json() || !app.global.quiet {
            let head = Head { schema: SCHEMA, members: vec![("dry_run", Value::from(common.dry_run))], rows: "folders" };
            let width = terminal_width(std::io::stdout());
            let mut rows = Rows::new::<FolderChange>(std::io::stdout().lock(), format, &head, None, FolderChange::DEFAULT, width)?;
            self.changes.iter().try_for_each(|change| rows.row(change))?;
            rows.finish()?;
        }
        if common.dry_run && !format.is_json() {
            let done = self.changes.iter().filter(|change| !matches!(change.result.as_str(), "exists" | "refused"));
            let did = done.clone().next().map_or("changed", |change| change.result.as_str());
            app.note(&format!("{} would be {did}; nothing was done", counted(done.count() as u64, "folder")));
        }
        match (ended, self.first_failure) {
            (Some(error), _) => Err(error),
            (None, Some(kind)) if self.failures == self.changes.len() => Ok(kind.into()),
            (None, None) if !self.incomplete => Ok(ExitCode::Success),
            _ => Ok(ExitCode::Partial),
        }
    }
}

fn create(account: &mut Account, folder: &Folder, args: &Create, app: &App) -> Result<FolderChange> {
    let (wire_name, exists) = account.session.find(&account.mailboxes, folder)?;
    let special_use = args.special_use.map(Use::attribute);
    let made = match (exists, args.common.dry_run) {
        (true, _) => false,
        (false, true) => true,
        (false, false) => account.session.make(&wire_name, special_use)?,
    };
    if !made {
        app.note(&format!("{}: the folder {} is there already", account.session.place(), typed_folder(folder)));
        return Ok(account.change(folder, "exists"));
    }
    let mut change = account.change(folder, "created");
    if !args.no_subscribe && !args.common.dry_run {
        change.reason = aside(account.session.subscribe(&wire_name))?;
    }
    Ok(change)
}

/// The words of a refusal that does not undo what was done; anything worse is an error.
fn aside(outcome: Result<()>) -> Result<Option<String>> {
    match outcome {
        Ok(()) => Ok(None),
        Err(error) if error.scope() <= Scope::Mailbox => {
            let said = error.server_said().map(|words| format!("; the server said: {words}")).unwrap_or_default();
            Ok(Some(format!("{}{said}", error.message())))
        }
        Err(error) => Err(error),
    }
}

fn rename(args: &Rename, app: &App) -> Result<ExitCode> {
    let place = app.place(&args.from, &args.common.credentials.overrides(&app.global)?)?;
    let (server, folder) = target(&place)?;
    let new = new_name(&args.to, server, app)?;
    if folder.is_inbox() {
        return Err(Error::usage("INBOX keeps its name: to rename it would move its messages and leave it empty")
            .at(&server.place)
            .hint("mailhaul move does that, and says so"));
    }
    if new.is_inbox() || super::is_within(&new, folder) {
        return Err(Error::usage(format!("{} cannot become {}", typed_folder(folder), typed_folder(&new))).at(&server.place));
    }
    each(std::slice::from_ref(&args.from), &args.common, app, &mut |account, folder| {
        let old = account.existing(folder)?.clone();
        let (to, exists) = account.session.find(&account.mailboxes, &new)?;
        if exists {
            return Err(Error::usage(format!("there is a folder {} already", typed_folder(&new))));
        }
        let mut change = FolderChange { new_name: Some(typed_folder(&new)), ..account.change(folder, "renamed") };
        if args.common.dry_run {
            return Ok(change);
        }
        account.session.rename(&old.wire_name, &to)?;
        // RENAME leaves subscriptions with the old names (RFC 9051 section 6.3.6).
        let subscribed: Vec<Vec<u8>> = std::iter::once(&old)
            .chain(account.below(folder))
            .filter(|mailbox| mailbox.subscribed)
            .map(|mailbox| mailbox.wire_name.clone())
            .collect();
        for was in subscribed {
            let Some(rest) = was.strip_prefix(old.wire_name.as_slice()) else { continue };
            let refused = aside(account.session.subscribe(&[to.as_slice(), rest].concat()))?;
            if refused.is_none() {
                // A server that moved the subscription itself may refuse.
                aside(account.session.unsubscribe(&was))?;
            }
            change.reason = change.reason.or(refused);
        }
        Ok(change)
    })
}

/// The second argument of `rename`: a folder of that account, with or without the account before it.
fn new_name(text: &str, server: &Server, app: &App) -> Result<Folder> {
    let own = text.strip_prefix(server.place.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let account = text.split_once('/').map(|(word, _)| word.split_once(':').map_or(word, |(name, _)| name));
    if own.is_none() && (text.contains("://") || account.is_some_and(|name| app.config.account(name).is_some())) {
        return Err(Error::usage("a folder keeps to its account when it is renamed")
            .at(&server.place)
            .hint(format!("mailhaul move takes messages elsewhere; a folder of that name is {}/NAME", server.place)));
    }
    let typed = own.unwrap_or(text);
    let folder = Folder::parse(typed).filter(|folder| !folder.levels().iter().any(|level| level.contains(char::is_control)));
    let folder = folder.filter(|_| !typed.contains('?'));
    folder.ok_or_else(|| {
        Error::usage("the new name has an empty level, a control character, a ?, or a % that is no code of UTF-8 text")
            .at(&server.place)
            .hint("write ? as %3F, % as %25 and a / inside a name as %2F")
    })
}

fn delete(account: &mut Account, folder: &Folder, args: &Delete, sum: &mut u64, app: &App) -> Result<FolderChange> {
    if folder.is_inbox() {
        return Err(Error::usage("INBOX cannot be deleted").hint("mailhaul delete empties it"));
    }
    let mailbox = account.existing(folder)?.clone();
    let shown = typed_folder(folder);
    let below = account.below(folder).count();
    let messages = if mailbox.selectable { messages(account, &mailbox.wire_name)? } else { None };
    if messages.is_none() && below > 0 {
        return Err(Error::usage(format!("{shown} is there only for what lies below it: {}", counted(below as u64, "folder")))
            .hint("delete that first"));
    }
    let messages = messages.unwrap_or_default();
    if messages > 0 && !args.force {
        return Err(Error::new(Kind::Safety, format!("{shown} holds {}", counted(messages, "message")))
            .scoped(Scope::Mailbox)
            .hint("with --force they are deleted with it, for ever; mailhaul move keeps them"));
    }
    let total = sum.saturating_add(messages);
    let most = args.max_delete.most(total);
    if messages > 0 && total > most {
        return Err(Error::new(
            Kind::Safety,
            format!("with {shown} {} would be deleted, and {most} is the most", counted(total, "message")),
        )
        .scoped(Scope::Mailbox)
        .hint(format!("allow it with --max-delete {total}")));
    }
    *sum = total;
    let mut change = FolderChange { messages: Some(messages), ..account.change(folder, "deleted") };
    if !args.common.dry_run {
        account.session.delete(&mailbox.wire_name)?;
        if mailbox.subscribed {
            change.reason = aside(account.session.unsubscribe(&mailbox.wire_name))?;
        }
        account.mailboxes.retain(|other| other.wire_name != mailbox.wire_name);
    }
    if below > 0 {
        app.note(&format!("{}: what lies below {shown} stays: {}", account.session.place(), counted(below as u64, "folder")));
    }
    Ok(change)
}

/// How many messages a mailbox holds at this moment; `None` where it cannot hold any.
fn messages(account: &mut Account, wire_name: &[u8]) -> Result<Option<u64>> {
    let figures = account.session.figures(&[wire_name])?.into_iter().next();
    match figures.transpose() {
        Ok(Some(MailboxStatus { messages: Some(messages), .. })) => Ok(Some(messages)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Err(Error::protocol("the server does not say how many messages the folder holds").scoped(Scope::Mailbox)),
    }
}

fn subscribe(account: &mut Account, folder: &Folder, on: bool, dry_run: bool) -> Result<FolderChange> {
    // Not there any more, and subscribed still: that is how one gets rid of it.
    let (wire_name, _) = account.session.find(&account.mailboxes, folder)?;
    if !dry_run {
        if on { account.session.subscribe(&wire_name)? } else { account.session.unsubscribe(&wire_name)? }
    }
    Ok(account.change(folder, if on { "subscribed" } else { "unsubscribed" }))
}
