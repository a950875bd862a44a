//! `mailhaul backup`: accounts into a store, one after the other. It chooses the ends, keeps one failing account from stopping
//! the others, and says what came of it; `transfer::backup` does the work.

use std::collections::HashSet;
use std::path::PathBuf;

use super::App;
use super::hooks::{Ended, Hooks};
use super::limits::LimitArgs;
use super::would_back_up::{WouldBackUp, sentence};
use crate::account::{Config, Location, Overrides, Place, Protocol, Server};
use crate::cli::{Credentials, OutputArgs, size};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::output::{AccountResult, BackupSummary, Progress, write_document, write_error};
use crate::plan::Ceiling;
use crate::report::{Event, Format, Outcome, Problem, Report, counted};
use crate::state::archive::Archive;
use crate::state::registry;
use crate::store::vault::{self, Layout, StoreCard};
use crate::transfer::backup::preview::Look;
use crate::transfer::backup::{self, Backup, Limits, OpenStore, Options};

const SCHEMA: &str = "mailhaul.backup/1";

/// How line ends lie in the files of a store.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// LF, as programs on this system expect, wherever that loses nothing
    Lf,
    /// As the server gave them
    AsReceived,
}

/// The arguments of `backup`.
#[derive(clap::Args)]
pub struct Args {
    /// One or more accounts or URLs (with a folder: just that; ?connections=4 for more sessions at once), then the store: PATH (a
    /// Maildir tree, or what is there already) or maildir:PATH, mbox:PATH, eml:PATH
    #[arg(value_name = "PLACE", required = true, num_args = 1..)]
    pub places: Vec<String>,
    /// Only folders that match PATTERN, in which * stands for anything, / too; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// No folder that matches PATTERN; may be repeated, and wins over --include
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Remove from the store what is gone from the server, instead of keeping it
    #[arg(long)]
    pub mirror: bool,
    /// With --mirror: remove nothing, and exit with 10, if more than N messages (or P percent) would go [default: 50 or 10%,
    /// whichever is more]
    #[arg(long, value_name = "N|P%", requires = "mirror")]
    pub max_delete: Option<Ceiling>,
    /// Believe a folder list that lost more than a fifth of its folders, for they were deleted on purpose
    #[arg(long)]
    pub fewer_folders: bool,
    /// How line ends lie in the files of a new store [default: lf]
    #[arg(long, value_name = "HOW", value_enum)]
    pub line_ends: Option<LineEnds>,
    /// Go on with Gmail over POP3, which shows a part of the mail at a time and hides what was fetched
    #[arg(long)]
    pub pop3_anyway: bool,
    /// Change nothing; say what would be fetched, marked as gone and removed, by folder, and with --json by message
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// When it ends early.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Fetch at most this many octets a second (500k, 2M), over all connections
    #[arg(long, value_name = "SIZE", value_parser = rate, help_heading = "Limits")]
    pub bwlimit: Option<u64>,
    /// What to run at the end.
    #[command(flatten)]
    pub hooks: Hooks,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

pub(super) fn rate(text: &str) -> Result<u64> {
    match size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err(Error::usage("no octet a second is no rate")),
        octets => Ok(octets),
    }
}

/// The store as it was typed.
#[derive(Debug)]
pub(super) struct Target {
    /// How summaries name it.
    pub(super) shown: String,
    /// Its directory.
    pub(super) path: PathBuf,
    /// How messages lie in it; `None` leaves it to what is there.
    pub(super) layout: Option<Layout>,
}

impl Target {
    /// Reads a store: `maildir:PATH`, `mbox:PATH`, `eml:PATH`, or a bare path, which is the store that is there or a Maildir.
    ///
    /// # Errors
    /// [`Kind::Usage`] for anything else, with the store's forms.
    pub(super) fn parse(text: &str, config: &Config) -> Result<Self> {
        const FORMS: &str = "the store comes last: a directory, as in ~/backup, maildir:PATH, mbox:PATH or eml:PATH";
        if text.contains("://") {
            return Err(Error::usage("a backup goes into files, not to a server").hint(FORMS));
        }
        let name = text.split(['/', ':', '?']).next().unwrap_or(text);
        if config.account(name).is_some() {
            return Err(Error::usage(format!("`{name}` is an account, and no store is named"))
                .hint(format!("{FORMS}; a directory of that name is ./{name}")));
        }
        if text == "-" {
            return Err(Error::usage("a backup does not go to standard output").hint(FORMS));
        }
        let bare = !["maildir:", "mbox:", "eml:"].iter().any(|scheme| text.starts_with(scheme));
        let typed = if bare {
            // Behind a bare path `//` names no folder.
            let mut path = text.to_owned();
            while path.contains("//") {
                path = path.replace("//", "/");
            }
            format!("maildir:{path}")
        } else {
            text.to_owned()
        };
        let place = Place::parse(&typed, &Config::default(), &Overrides::default())?;
        if place.folder.is_some() {
            return Err(Error::usage("a store is named as a whole, without a folder").at(place.shown));
        }
        let (layout, path) = match place.location {
            Location::Maildir(path) => (Layout::Maildir, path),
            Location::Mbox(path) => (Layout::Mbox, path),
            Location::Eml(path) => (Layout::Eml, path),
            Location::Server(_) | Location::Stdio => return Err(Error::usage("not a store").hint(FORMS)),
        };
        Ok(Self { shown: if bare { text.to_owned() } else { place.shown }, path, layout: (!bare).then_some(layout) })
    }
}

/// An account to be backed up.
struct Account {
    shown: String,
    server: Server,
    only: Option<crate::folder::Folder>,
    /// What its directory shall be called.
    wanted: String,
}

/// Runs `backup`.
///
/// # Errors
/// What kept it from beginning; failures of accounts are named on standard error and picked for the exit code.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let (accounts, target) = ends(args, app)?;
    if args.dry_run {
        return preview(args, app, &accounts, &target);
    }
    let started = app.context.now();
    let mut results = Vec::new();
    let begun = all(args, app, &accounts, &target, started, &mut results);
    let failed = match begun {
        Ok(()) => None,
        Err(error) => Some(error.at(&target.shown)),
    };
    let json = args.output.format().is_some_and(Format::is_json);
    let exits = results.iter().map(AccountResult::exit).chain(failed.as_ref().map(|error| error.kind().into()));
    let exit = exits.max_by_key(|exit| weight(*exit)).unwrap_or(ExitCode::Success);
    for error in results.iter().filter_map(|result| result.error.as_ref()).chain(&failed) {
        // Standard error may be closed: the summary and the exit code tell the same.
        let _ = write_error(&mut std::io::stderr().lock(), error, json);
    }
    let seconds = app.context.now().since(started).as_secs_f64();
    let summary = BackupSummary::new(SCHEMA, &target.shown, &results, seconds, exit);
    let mut text = Vec::new();
    write_document(&mut text, &summary)?;
    let mut written = Ok(());
    if failed.is_none() || !results.is_empty() {
        let format = super::format(&args.output);
        if format.is_json() || !app.global.quiet {
            written = summary.write(&results, format, &mut std::io::stdout().lock());
        }
        if app.global.verbose > 0 {
            // Standard error may be closed; the hook runs all the same.
            let _ = summary.total.write_altered(&mut std::io::stderr().lock());
        }
    }
    let aside = summary.total.counts.quarantined;
    if aside > 0 && !json {
        let verb = if aside == 1 { "is" } else { "are" };
        app.note(&format!(
            "{} {verb} put aside and tried again next time; see mailhaul problems {}",
            counted(aside, "message"),
            target.shown
        ));
    }
    let hidden: Vec<String> = accounts.iter().flat_map(|account| account.server.credential.hidden_env().to_vec()).collect();
    let ended = Ended { verb: "backup", store: &target.path, exit, summary: text, hidden: &hidden };
    let exit = args.hooks.run(ended, app);
    written?;
    Ok(exit)
}

/// Which exit code stands for several accounts: the one that needs a person most. A signal ends all; a store or disk in trouble
/// and a safety stop are for a person to look at; so is a login or a place that is wrong, which no later run mends; then a server
/// that refuses, one that cannot be reached (none of that account's mail was fetched), single messages, and a limit that was asked for.
fn weight(exit: ExitCode) -> u8 {
    match exit {
        ExitCode::Success => 0,
        ExitCode::Differences => 1,
        ExitCode::Limit => 2,
        ExitCode::Partial => 3,
        ExitCode::Unavailable => 4,
        ExitCode::Server => 5,
        ExitCode::Quota => 6,
        ExitCode::Usage => 7,
        ExitCode::Auth => 8,
        ExitCode::Safety => 9,
        ExitCode::Local => 10,
        ExitCode::Locked => 11,
        ExitCode::Signal(_) => 12,
    }
}

/// The accounts and the store that were typed.
fn ends(args: &Args, app: &App) -> Result<(Vec<Account>, Target)> {
    let Some((store, sources)) = args.places.split_last() else { return Err(Error::usage("no place is named")) };
    let target = Target::parse(store, &app.config)?;
    if sources.is_empty() {
        return Err(Error::usage("no account is named that this store shall be a backup of")
            .at(&target.shown)
            .hint("the accounts stand first, then the store, as in mailhaul backup work ~/mail-backup"));
    }
    if sources.len() > 1 && one_for_all(&args.credentials) {
        return Err(Error::usage("one password or one certificate cannot be meant for several accounts")
            .hint("put each account's own into the config file, or back them up by a command each"));
    }
    let overrides = args.credentials.overrides(&app.global)?;
    let mut accounts = Vec::new();
    let mut seen = HashSet::new();
    for source in sources {
        let place = app.place(source, &overrides)?;
        let Place { shown, location, folder } = place;
        let Location::Server(server) = location else {
            return Err(Error::usage("a backup is made of accounts on servers, and this lies on this machine already").at(shown).hint(
                "mailhaul migrate copies local mail into an account, mailhaul copy into other files; a store of backups is copied with rsync or restic",
            ));
        };
        if !seen.insert((server.identity(), folder.clone())) {
            return Err(Error::usage("the account is named twice").at(shown));
        }
        accounts.push(Account { wanted: directory(&server, &app.config), shown, server: *server, only: folder });
    }
    if args.mirror && target.layout == Some(Layout::Mbox) {
        return Err(no_mirror().at(&target.shown));
    }
    Ok((accounts, target))
}

fn no_mirror() -> Error {
    Error::usage("an mbox store only grows: taking one message out would mean writing the whole folder anew")
        .hint("leave --mirror out, or begin a store of its own with maildir:PATH or eml:PATH")
}

fn one_for_all(credentials: &Credentials) -> bool {
    credentials.password_command.is_some()
        || credentials.password_file.is_some()
        || credentials.password_env.is_some()
        || credentials.token_command.is_some()
        || credentials.tls_pin.is_some()
}

/// What an account's directory shall be called: its name in the config file (the POP3 side of an account that has an IMAP side is
/// another directory), else user@host; nothing that a file system or a Maildir program takes for something else.
pub(super) fn directory(server: &Server, config: &Config) -> String {
    let name = if server.place.contains("://") {
        format!("{}@{}", server.user, server.endpoint.host)
    } else {
        let name = server.place.split(':').next().unwrap_or(&server.place);
        let twin = server.protocol == Protocol::Pop3 && config.account(name).is_some_and(|account| account.has(Protocol::Imap));
        format!("{name}{}", if twin { "-pop3" } else { "" })
    };
    let mut safe: String =
        name.chars().map(|character| if character.is_alphanumeric() || "-_.@+".contains(character) { character } else { '_' }).collect();
    while safe.len() > 150 {
        safe.pop();
    }
    if safe.starts_with(['.', '-']) || safe.is_empty() {
        safe.insert(0, '_');
    }
    // The manifest of the account before the dot is called so.
    if safe.to_ascii_lowercase().ends_with(".sha256") {
        safe.push('_');
    }
    safe
}

/// Backs up all accounts; `results` tells of those that were reached.
fn all(
    args: &Args,
    app: &App,
    accounts: &[Account],
    target: &Target,
    started: crate::context::Moment,
    results: &mut Vec<AccountResult>,
) -> Result<()> {
    // A run that holds the lock is found before anybody is asked for a password; a new store is made after.
    let mut store = match vault::card(&target.path)? {
        Some(card) => Some(open(args, app, target, Some(&card))?),
        None => None,
    };
    for account in accounts {
        account.server.endpoint.prepare();
    }
    let mut ready = Vec::new();
    for account in accounts {
        let known = account.server.login(&app.context).map(drop);
        app.context.check()?;
        ready.push(known);
    }
    if store.is_none() && ready.iter().any(Result::is_ok) {
        store = Some(open(args, app, target, None)?);
    }
    let mut limits = Limits { octets_a_second: args.bwlimit, ..args.limits.from(started) };
    let mut stop: Option<Kind> = None;
    for (account, known) in accounts.iter().zip(ready) {
        let began = app.context.now();
        let mut result =
            AccountResult { account: None, source: account.shown.clone(), outcome: Outcome::default(), seconds: 0.0, error: None };
        match (stop, known, store.as_mut()) {
            (Some(kind), _, _) => result.error = Some(Error::new(kind, "not begun, because the run was stopped before").at(&account.shown)),
            (None, Err(error), _) => result.error = Some(error.at(&account.shown)),
            (None, Ok(()), None) => result.error = Some(Error::local("the store is not open").at(&account.shown)),
            (None, Ok(()), Some(store)) => {
                if let Err(error) = one(args, app, account, store, limits, &mut result) {
                    result.error = Some(error.at(&account.shown));
                }
            }
        }
        result.seconds = app.context.now().since(began).as_secs_f64();
        let counts = &result.outcome.counts;
        limits.octets = limits.octets.map(|octets| octets.saturating_sub(counts.bytes));
        limits.messages = limits.messages.map(|messages| messages.saturating_sub(counts.copied));
        // One message is let through whatever its size, once: not for each account.
        if limits.octets == Some(0) && counts.bytes > 0 {
            limits.messages = Some(0);
        }
        stop = stop.or(result.error.as_ref().map(Error::kind).filter(|kind| matches!(kind, Kind::Interrupted(_) | Kind::Limit)));
        results.push(result);
    }
    if store.is_some()
        && let Err(error) = registry::note(&target.path)
    {
        app.note(&format!("a status that names no store will not know of this one: {error}"));
    }
    // Closed before the hook runs: it may want the lock.
    store.map_or(Ok(()), |mut store| store.archive.close())
}

/// What a run would do; reads only, and takes no lock.
fn preview(args: &Args, app: &App, accounts: &[Account], target: &Target) -> Result<ExitCode> {
    let at_store = |error: Error| error.at(&target.shown);
    let card = vault::would_be(&target.path, target.layout).map_err(at_store)?;
    if args.mirror && card.as_ref().is_some_and(|card| card.layout == Layout::Mbox) {
        return Err(at_store(no_mirror()));
    }
    let archive = match &card {
        Some(card) => Archive::read_only(&target.path.join(vault::STATE_DIR), &card.id).map_err(at_store)?,
        None => None,
    };
    let known = archive.as_ref().map_or_else(|| Ok(Vec::new()), Archive::accounts).map_err(at_store)?;
    let json = args.output.format().is_some_and(Format::is_json);
    let mut previews = Vec::new();
    let mut exit = ExitCode::Success;
    for account in accounts {
        let identity = account.server.identity();
        let look = Look {
            context: &app.context,
            trace: &app.trace,
            server: &account.server,
            known: archive.as_ref().zip(known.iter().find(|known| known.identity == identity)),
            only: account.only.as_ref(),
            options: &options(args, account, Limits::default()),
        };
        match look.preview() {
            Ok(found) => previews.push((account.shown.clone(), found)),
            Err(error) => {
                app.context.check()?;
                let error = error.at(&account.shown);
                exit = [exit, error.kind().into()].into_iter().max_by_key(|exit| weight(*exit)).unwrap_or(exit);
                let _ = write_error(&mut std::io::stderr().lock(), &error, json);
            }
        }
    }
    WouldBackUp::new(SCHEMA, &target.shown, &previews).write(super::format(&args.output))?;
    for (account, found) in &previews {
        if !json {
            let lines: Vec<String> = found.iter().filter_map(|preview| sentence(account, preview)).collect();
            lines.iter().for_each(|line| app.note(line));
            if lines.is_empty() {
                app.note(&format!("{account}: nothing to do"));
            }
        }
        let (going, all) = found.iter().fold((0, 0), |(going, all), preview| {
            let files = preview.already_there + preview.gone.len() as u64;
            (going + preview.remove.len() as u64, all + files.max(preview.remove.len() as u64))
        });
        if let (true, Err(error)) =
            (args.mirror, args.max_delete.unwrap_or_default().check(going, all, &format!("the backup of {account}")))
        {
            app.note(&format!("a run would stop there: {}", error.message()));
        }
    }
    Ok(exit)
}

fn open(args: &Args, app: &App, target: &Target, card: Option<&StoreCard>) -> Result<OpenStore> {
    let layout = target.layout.or(card.map(|card| card.layout)).unwrap_or(Layout::Maildir);
    let as_received = match args.line_ends {
        Some(chosen) => chosen == LineEnds::AsReceived,
        None => card.is_some_and(|card| card.as_received),
    };
    if args.mirror && layout == Layout::Mbox {
        return Err(no_mirror());
    }
    let card = vault::establish(&target.path, layout, as_received, &app.context)?;
    backup::open_store(&target.path, card, &app.context)
}

/// Progress in which problems name their account: from cron their lines may be all that is read.
struct InAccount {
    account: String,
    progress: Progress,
}

impl Report for InAccount {
    fn event(&self, event: Event) {
        self.progress.event(match event {
            Event::Problem(problem) => {
                let folder = if problem.folder.is_empty() { self.account.clone() } else { format!("{}/{}", self.account, problem.folder) };
                Event::Problem(Problem { folder, ..problem })
            }
            other => other,
        });
    }
}

fn one(args: &Args, app: &App, account: &Account, store: &mut OpenStore, limits: Limits, result: &mut AccountResult) -> Result<()> {
    let known = store.archive.account(&account.server.identity(), &account.wanted)?;
    result.account = Some(known.name.clone());
    let progress = InAccount { account: known.name.clone(), progress: super::progress(app) };
    let (outcome, error) = Backup {
        context: &app.context,
        report: &progress,
        trace: &app.trace,
        store,
        account: known,
        server: &account.server,
        only: account.only.clone(),
        options: options(args, account, limits),
    }
    .run();
    result.outcome = outcome;
    error.map_or(Ok(()), Err)
}

fn options(args: &Args, account: &Account, limits: Limits) -> Options {
    Options {
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        mirror: args.mirror.then(|| args.max_delete.unwrap_or_default()),
        connections: u32::try_from(account.server.connections).unwrap_or(1).max(1),
        limits,
        fewer_folders: args.fewer_folders,
        pop3_anyway: args.pop3_anyway,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let text = "[accounts.work]\nimap = \"imaps://ann@h\"\npop3 = \"pop3s://ann@h\"\n[accounts.old]\npop3 = \"pop3s://bob@h\"\n";
        Config::parse(text, Path::new("c")).unwrap()
    }

    #[test]
    fn a_store_is_a_path_or_says_how_messages_lie_in_it() {
        let parse = |text: &str| Target::parse(text, &config()).unwrap();
        let bare = parse("/srv//mail/");
        assert_eq!((bare.path.as_path(), bare.layout), (Path::new("/srv/mail/"), None));
        assert_eq!(parse("mbox:x").layout, Some(Layout::Mbox));
        assert_eq!(parse("eml:x").layout, Some(Layout::Eml));
        assert_eq!(parse("./work").path, Path::new("./work"));
        for text in ["work", "work/Archive", "work:imap", "imaps://ann@h", "-", "maildir:x//INBOX", "maildir:"] {
            let error = Target::parse(text, &config()).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(!text.contains("work") || error.remedy().is_some_and(|hint| hint.contains("store")), "{text}");
        }
    }

    #[test]
    fn a_directory_is_called_as_the_account_and_is_always_one_level() {
        let called = |text: &str| {
            let place = Place::parse(text, &config(), &Overrides { credential: None, ..Overrides::default() }).unwrap();
            directory(place.server().unwrap(), &config())
        };
        assert_eq!((called("work"), called("work:pop3"), called("work/A")), ("work".into(), "work-pop3".into(), "work".into()));
        assert_eq!(called("old"), "old");
        assert_eq!(called("imaps://ann@mail.example.org"), "ann@mail.example.org");
        assert_eq!(called("imaps://..%2F..%2Fann@h"), "_.._.._ann@h");
        assert_eq!(called("imaps://a@x.sha256"), "a@x.sha256_");
    }

    #[test]
    fn among_several_ends_the_one_that_needs_a_person_most_counts() {
        let order = [
            ExitCode::Success,
            ExitCode::Limit,
            ExitCode::Partial,
            ExitCode::Unavailable,
            ExitCode::Server,
            ExitCode::Usage,
            ExitCode::Auth,
            ExitCode::Safety,
            ExitCode::Local,
            ExitCode::Signal(15),
        ];
        assert!(order.is_sorted_by_key(|exit| weight(*exit)));
    }
}
