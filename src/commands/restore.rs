//! `mailhaul restore`: messages of a store of backups back into an account, or into local files. It chooses what is meant and
//! where it goes, and says what came of it; `transfer` does the work.

mod files;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::choice::Choice;
use super::copying::Copying;
use super::hooks::{Ended, Hooks};
use super::limits::LimitArgs;
use super::reading::NO_SUCH;
use super::{App, dry_run};
use crate::account::{Config, Location, Overrides, Place, Protocol};
use crate::cli::{Credentials, OutputArgs, Selection};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::session::Access;
use crate::output::{CopySummary, Progress, write_document};
use crate::report::{Event, Outcome, Problem, Report, counted};
use crate::state::archive::Account;
use crate::state::{self, Journal};
use crate::store::open;
use crate::store::vault::Layout;
use crate::transfer::backup::Limits;
use crate::transfer::backup::selection::{self, ChosenFolder, Gone};
use crate::transfer::backup::source::{ReadStore, Site, Spent, StoreSource};
use crate::transfer::{Asked, Options, Preview, Seen, SourceFlags, Transfer, preview};

const SCHEMA: &str = "mailhaul.restore/1";
/// So many accounts are named in an error.
const MAX_NAMED: usize = 20;
/// A day may end later here than in UTC, in seconds.
const DAY: i64 = 24 * 3600;

/// The arguments of `restore`.
#[derive(clap::Args)]
pub struct Args {
    /// The store: PATH or maildir:PATH, mbox:PATH, eml:PATH; //ACCOUNT behind it names an account of it, //ACCOUNT/FOLDER a folder
    #[arg(value_name = "STORE", value_hint = clap::ValueHint::DirPath)]
    pub store: String,
    /// The IMAP account they go to, or maildir:PATH, mbox:PATH, eml:PATH; a folder named here takes what arrives in it
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// The account of the store, where it holds several
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Only folders that match PATTERN, in which * stands for anything, / too; may be repeated
    #[arg(long, alias = "include", value_name = "PATTERN")]
    pub folder: Vec<String>,
    /// No folder that matches PATTERN; may be repeated, and wins over --folder
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// What was on the server at this date, as the backups saw it: 2024-05-17 (the end of that day, UTC) or
    /// 2024-05-17T10:30:00+02:00. Flags are those last seen
    #[arg(long, value_name = "DATE", value_parser = moment, conflicts_with_all = ["gone", "only_gone", "generation"])]
    pub as_of: Option<i64>,
    /// Only messages that folders held under this UIDVALIDITY, when it ended
    #[arg(long, value_name = "UIDVALIDITY")]
    pub generation: Option<u32>,
    /// Also messages and folders that are gone from the server
    #[arg(long, conflicts_with = "only_gone")]
    pub gone: bool,
    /// Only messages that are gone from the server
    #[arg(long)]
    pub only_gone: bool,
    /// Put messages that had labels at Gmail into a folder for each label, in place of All Mail
    #[arg(long)]
    pub labels_as_folders: bool,
    /// Which messages.
    #[command(flatten)]
    pub selection: Selection,
    /// Change nothing; say what would be copied, by count and by message
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// What of an account that was backed up over POP3, which has no flags, counts as read: all, none, or older-than:AGE
    #[arg(long, value_name = "WHICH", default_value = "none", value_parser = super::migrate::seen)]
    pub count_as_seen: Seen,
    /// How it is copied.
    #[command(flatten)]
    pub copying: Copying,
    /// When it ends early.
    #[command(flatten)]
    pub limits: LimitArgs,
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

fn moment(text: &str) -> Result<i64> {
    let whole = if text.len() == 10 { format!("{text}T23:59:59Z") } else { text.to_owned() };
    let parsed = whole.parse::<jiff::Timestamp>();
    parsed.map(jiff::Timestamp::as_second).map_err(|_| Error::usage("expected a date as in 2024-05-17 or 2024-05-17T10:30:00Z"))
}

/// A store as it was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// How messages name it, without account and folder.
    pub(super) shown: String,
    pub(super) path: PathBuf,
    /// How messages lie in it, where that was said.
    layout: Option<Layout>,
    pub(super) account: Option<String>,
    pub(super) folder: Option<Folder>,
}

impl Named {
    fn parse(text: &str) -> Result<Self> {
        const FORMS: &str = "the store stands first: a directory, as in ~/backup, maildir:PATH, mbox:PATH or eml:PATH";
        if text.contains("://") || text == "-" {
            return Err(Error::usage("what is restored comes out of a store of backups").hint(FORMS));
        }
        let bare = !["maildir:", "mbox:", "eml:"].iter().any(|scheme| text.starts_with(scheme));
        let typed = if bare { format!("maildir:{text}") } else { text.to_owned() };
        let mut named = Self::of(&Place::parse(&typed, &Config::default(), &Overrides::default())?)?;
        if bare {
            named.shown = named.shown.strip_prefix("maildir:").map(str::to_owned).unwrap_or(named.shown);
            named.layout = None;
        }
        Ok(named)
    }

    /// The store at a place.
    pub(super) fn of(place: &Place) -> Result<Self> {
        let (layout, path) = match &place.location {
            Location::Maildir(path) => (Layout::Maildir, path),
            Location::Mbox(path) => (Layout::Mbox, path),
            Location::Eml(path) => (Layout::Eml, path),
            Location::Server(_) | Location::Stdio => return Err(Error::usage("not a store").at(&place.shown)),
        };
        let (account, folder) = match &place.folder {
            Some(named) => match named.levels().split_first() {
                Some((account, below)) => (Some(account.clone()), Folder::from_levels(below.iter().cloned())),
                None => (None, None),
            },
            None => (None, None),
        };
        let shown = place
            .folder
            .as_ref()
            .map_or(place.shown.as_str(), |folder| place.shown.strip_suffix(&format!("//{folder}")).unwrap_or(&place.shown));
        Ok(Self { shown: shown.to_owned(), path: path.clone(), layout: Some(layout), account, folder })
    }

    /// That the store is of the kind that was said.
    pub(super) fn must_be(&self, store: &ReadStore) -> Result<()> {
        if self.layout.is_some_and(|layout| layout != store.site.card.layout) {
            return Err(Error::usage("the store is of another kind").at(&self.shown).hint("a bare path takes whatever lies there"));
        }
        Ok(())
    }
}

/// Runs `restore`.
///
/// # Errors
/// What ended the run; the summary of what was done until then is written all the same.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let named = Named::parse(&args.store)?;
    if app.config.account(&args.store).is_some() && !named.path.exists() {
        return Err(Error::usage(format!("`{}` is an account, and the store is to stand first", args.store))
            .hint(format!("perhaps mailhaul restore {} {} is meant", args.place, args.store)));
    }
    let destination = app.place(&args.place, &args.credentials.overrides(&app.global)?)?;
    match &destination.location {
        Location::Server(server) if server.protocol == Protocol::Pop3 => {
            return Err(Error::usage("POP3 cannot take mail; name the account's IMAP side").at(&destination.shown));
        }
        Location::Stdio => {
            return Err(Error::usage("standard output makes no sense here; mailhaul fetch writes to it").at(&destination.shown));
        }
        _ => {}
    }
    let choice = Choice::new(&args.selection, [])?;
    if let Some(option) = choice.query().server_only() {
        return Err(Error::usage(format!("{option} is for IMAP servers alone")).hint("the other conditions work everywhere"));
    }
    let store = ReadStore::open(named.path.clone()).map_err(|error| match app.config.account(&args.store) {
        Some(_) if error.kind() == Kind::Usage => error.hint("the store stands first, then the place"),
        _ => error,
    })?;
    named.must_be(&store)?;
    outside(&destination, &store)?;
    let account = account(&store, args.account.as_deref().or(named.account.as_deref()), &named.shown, " or by --account")?;
    if args.account.is_some() && named.account.is_some() && args.account != named.account {
        return Err(Error::usage("two accounts are named"));
    }
    let pick = |numbers: &[u32]| choice.within(numbers);
    let selection = selection::Selection {
        only: named.folder.clone(),
        include: args.folder.clone(),
        exclude: args.exclude.clone(),
        as_of: args.as_of,
        generation: args.generation,
        gone: if args.only_gone {
            Gone::Only
        } else if args.gone {
            Gone::Also
        } else {
            Gone::No
        },
        query: choice.query().clone(),
        pick: choice.has_uids().then_some(&pick),
        limit: choice.limit(),
        labels_as_folders: args.labels_as_folders,
    };
    let mut vault = store.site.vault(&app.context)?;
    let chosen = selection::choose(&store.archive, vault.as_mut(), &account, &selection, &app.context)?;
    let source = format!("{}//{}", named.shown, account.name);
    if chosen.folders.is_empty() && (selection.only.is_some() || !args.folder.is_empty()) && chosen.messages == 0 {
        return Err(Error::usage("no folder of the store is called so").at(&source).hint(folders_there(&store, &account)));
    }
    let count: u64 = chosen.folders.iter().map(|folder| folder.messages.len() as u64).sum();
    say_what_is_left_out(args, app, &chosen, count);
    let job = Job {
        args,
        app,
        named: &named,
        site: &store.site,
        account: &account,
        source,
        destination: &destination,
        chosen: Arc::new(chosen.folders),
        spent: Arc::default(),
        missing: choice.named(),
    };
    if args.dry_run { job.preview() } else { job.run() }
}

/// That nothing is written into the store that is read.
fn outside(destination: &Place, store: &ReadStore) -> Result<()> {
    let (Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path)) = &destination.location else { return Ok(()) };
    // What is not there yet lies where the nearest directory above it does.
    let real = path.ancestors().find_map(|above| above.canonicalize().ok()).or_else(|| std::env::current_dir().ok());
    match (real, store.site.root.canonicalize()) {
        (Some(real), Ok(root)) if real.starts_with(&root) => {
            Err(Error::usage("the destination lies in the store").at(&destination.shown).hint("name another directory"))
        }
        _ => Ok(()),
    }
}

/// The account that is meant; `or_by` says how else one can be named.
pub(super) fn account(store: &ReadStore, wanted: Option<&str>, shown: &str, or_by: &str) -> Result<Account> {
    let accounts = store.archive.accounts()?;
    let names = || {
        let more = if accounts.len() > MAX_NAMED { " …" } else { "" };
        format!("{}{more}", accounts.iter().take(MAX_NAMED).map(|one| one.name.as_str()).collect::<Vec<_>>().join(", "))
    };
    let found = match (wanted, accounts.as_slice()) {
        (_, []) => return Err(Error::usage("nothing was backed up into the store yet").at(shown)),
        (None, [only]) => Some(only),
        (None, [first, ..]) => {
            return Err(Error::usage("the store holds several accounts, and none is named").at(shown).hint(format!(
                "they are: {}; name one as in {shown}//{}{or_by}",
                names(),
                first.name
            )));
        }
        // Names that differ in nothing but case are one.
        (Some(wanted), all) => {
            all.iter().find(|one| one.name == wanted).or_else(|| all.iter().find(|one| one.name.eq_ignore_ascii_case(wanted)))
        }
    };
    found.cloned().ok_or_else(|| {
        Error::usage(format!("the store holds no account {}", wanted.unwrap_or_default())).at(shown).hint(format!("they are: {}", names()))
    })
}

fn folders_there(store: &ReadStore, account: &Account) -> String {
    let folders = store.archive.folders(account.id).unwrap_or_default();
    let more = if folders.len() > MAX_NAMED { " …" } else { "" };
    let names: Vec<String> = folders.iter().take(MAX_NAMED).map(|one| one.folder.to_string()).collect();
    format!("it holds: {}{more}", names.join(", "))
}

fn say_what_is_left_out(args: &Args, app: &App, chosen: &selection::Choice, count: u64) {
    if count == 0 && chosen.gone_left_out > 0 {
        app.note(&format!(
            "nothing is selected of what is on the server; {} gone from it: --gone selects those too, --as-of DATE what was there then",
            match chosen.gone_left_out {
                1 => "1 message is".to_owned(),
                many => format!("{many} messages are"),
            }
        ));
    } else if let (0, Some(_)) = (count, args.as_of) {
        app.note("no backup had seen such a message by that date: --as-of goes by when backups ran, --before by when messages arrived");
    }
    if args.as_of.is_some_and(|at| at > app.context.unix_time().saturating_add(DAY)) {
        app.note("--as-of is in the future: what the last backup saw is meant");
    }
    let labelled = chosen.folders.iter().flat_map(|folder| &folder.messages).filter(|one| !one.labels.is_empty()).count();
    if labelled > 0 && !args.labels_as_folders {
        app.note(&format!(
            "{} had labels at Gmail, which are not put back; --labels-as-folders makes folders of them",
            counted(labelled as u64, "message")
        ));
    }
}

/// One run, once it is known what is meant.
struct Job<'a> {
    args: &'a Args,
    app: &'a App,
    named: &'a Named,
    site: &'a Site,
    account: &'a Account,
    /// How summaries name the source.
    source: String,
    destination: &'a Place,
    chosen: Arc<Vec<ChosenFolder>>,
    spent: Arc<Spent>,
    /// UIDs that were named one by one.
    missing: BTreeSet<u32>,
}

impl Job<'_> {
    fn limits(&self) -> Limits {
        self.args.limits.from(self.app.context.now())
    }

    fn source(&self, limits: Limits) -> Result<StoreSource> {
        let source =
            StoreSource::new(self.source.clone(), self.site.clone(), self.account.clone(), Arc::clone(&self.chosen), &self.app.context)?;
        Ok(source.limited(limits, Arc::clone(&self.spent)))
    }

    /// Flags of an account over POP3 are what the user says.
    fn flags(&self) -> SourceFlags {
        let by_uid = self.chosen.iter().flat_map(|folder| &folder.messages).all(|one| one.uid.is_some());
        if by_uid { SourceFlags::Kept } else { SourceFlags::None(self.args.count_as_seen) }
    }

    fn run(&self) -> Result<ExitCode> {
        let (args, app) = (self.args, self.app);
        if let Some(server) = self.destination.server() {
            server.login(&app.context)?;
        }
        let progress = super::progress(app);
        let naming = Naming { job: self, by_name: self.by_name(), progress: &progress };
        let started = app.context.now();
        let limits = self.limits();
        let (mut outcome, error) = match self.destination.server() {
            Some(server) => {
                let identity = server.identity();
                let dir = args.copying.state.clone().map_or_else(|| state::default_dir(&identity), Ok)?;
                let allowance = open::allowance(self.destination);
                let mut journal = Journal::open(&dir, &identity, &app.context).map_err(|error| error.at(&self.destination.shown))?;
                Transfer {
                    context: &app.context,
                    report: &naming,
                    journal: &mut journal,
                    options: Options {
                        flags: self.flags(),
                        date_from: args.copying.date_from,
                        settle: args.copying.settle,
                        ..Options::default()
                    },
                    source_name: self.site.source_name(self.account),
                    open_source: &|| Ok(Box::new(self.source(limits)?)),
                    open_sink: &|| open::spread_sink(self.destination, allowance.as_ref(), &app.context, &app.trace),
                    only: None,
                    into: self.destination.folder.clone(),
                    asked: Asked::Back,
                }
                .run()
            }
            None => files::run(self, &naming, limits),
        };
        for problem in outcome.problems.iter_mut().chain(&mut outcome.altered) {
            naming.name(problem);
        }
        if error.is_none() {
            self.tell_missing(&mut outcome, &progress);
        }
        let damaged = self.spent.damaged();
        if damaged > 0 {
            app.note(&format!(
                "{} of the store could not be restored: mailhaul verify --repair {} PLACE fetches what is damaged from there, as long as it has it",
                counted(damaged, "file"),
                self.named.shown
            ));
        }
        self.conclude(outcome, error, app.context.now().since(started))
    }

    /// UIDs named one by one of which no chosen message is.
    fn tell_missing(&self, outcome: &mut Outcome, progress: &Progress) {
        let there: BTreeSet<u32> = self.chosen.iter().flat_map(|folder| &folder.messages).filter_map(|one| one.uid).collect();
        if there.is_empty() && !self.chosen.is_empty() {
            return;
        }
        let folder = match self.chosen.as_slice() {
            [one] => one.info.folder.to_string(),
            _ => self.args.folder.first().cloned().unwrap_or_default(),
        };
        for uid in self.missing.difference(&there) {
            let problem = Problem { folder: folder.clone(), uid: Some(*uid), reason: NO_SUCH.to_owned() };
            progress.event(Event::Problem(problem.clone()));
            outcome.problems.push(problem);
        }
    }

    fn conclude(&self, outcome: Outcome, error: Option<Error>, time: Duration) -> Result<ExitCode> {
        let (args, app) = (self.args, self.app);
        let complete = outcome.counts.complete() && outcome.problems.is_empty();
        let exit = match &error {
            Some(error) => error.kind().into(),
            None if complete => ExitCode::Success,
            None => ExitCode::Partial,
        };
        let tell = error.is_none() || outcome.counts.listed > 0;
        let summary = CopySummary::new(SCHEMA, &self.source, &self.destination.shown, outcome, time.as_secs_f64()).stopped(error.is_some());
        let mut text = Vec::new();
        write_document(&mut text, &summary)?;
        let mut written = Ok(());
        if tell {
            let format = super::format(&args.output);
            if format.is_json() || !app.global.quiet {
                written = summary.write(format, &mut std::io::stdout().lock());
            }
            if app.global.verbose > 0 {
                // Standard error may be closed; the hook runs all the same.
                let _ = summary.write_altered(&mut std::io::stderr().lock());
            }
        }
        let hidden = self.destination.server().map_or(&[][..], |server| server.credential.hidden_env());
        let exit = args.hooks.run(Ended { verb: "restore", store: &self.named.path, exit, summary: text, hidden }, app);
        written?;
        match error {
            Some(error) => Err(error),
            None => Ok(exit),
        }
    }

    fn preview(&self) -> Result<ExitCode> {
        let (args, app) = (self.args, self.app);
        let previews = match self.destination.server() {
            Some(server) => {
                let identity = server.identity();
                let dir = args.copying.state.clone().map_or_else(|| state::default_dir(&identity), Ok)?;
                let journal = Journal::read_only(&dir, &identity).map_err(|error| error.at(&self.destination.shown))?;
                let mut source = self.source(Limits::default())?;
                let mut sink = open::sink(self.destination, Access::ReadOnly, &app.context, &app.trace)?;
                let name = self.site.source_name(self.account);
                let into = self.destination.folder.as_ref();
                let previews = preview(&mut source, sink.as_mut(), journal, &name, None, into, Asked::Back)?;
                sink.finish()?;
                previews
            }
            None => files::preview(self)?,
        };
        let by_name = self.by_name();
        let named = |preview: &Preview, listed: &crate::store::Listed| {
            let folder = preview.folder.to_string();
            let uid = uid_of(&self.chosen, &by_name, &folder, listed.id).unwrap_or(listed.id);
            (folder, uid)
        };
        let format = super::format(&args.output);
        dry_run::write(SCHEMA, &self.source, &self.destination.shown, &previews, format, &named)?;
        dry_run::tell(app, &previews, "selected", format);
        Ok(ExitCode::Success)
    }

    /// Where each folder stands among the chosen, by its name in reports.
    fn by_name(&self) -> HashMap<String, usize> {
        self.chosen.iter().enumerate().map(|(index, folder)| (folder.info.folder.to_string(), index)).collect()
    }
}

/// The UID of a message by its number in the listing; `None` for those that have none.
fn uid_of(chosen: &[ChosenFolder], by_name: &HashMap<String, usize>, folder: &str, id: u32) -> Option<u32> {
    let folder = by_name.get(folder).and_then(|index| chosen.get(*index))?;
    folder.messages.get(usize::try_from(id).ok()?.checked_sub(1)?)?.uid
}

/// Tells of problems by the UIDs that messages had on the server.
struct Naming<'a> {
    job: &'a Job<'a>,
    by_name: HashMap<String, usize>,
    progress: &'a Progress,
}

impl Naming<'_> {
    fn name(&self, problem: &mut Problem) {
        problem.uid = problem.uid.and_then(|id| uid_of(&self.job.chosen, &self.by_name, &problem.folder, id).or(Some(id)));
    }
}

impl Report for Naming<'_> {
    fn event(&self, event: Event) {
        self.progress.event(match event {
            Event::Problem(mut problem) => {
                self.name(&mut problem);
                Event::Problem(problem)
            }
            event => event,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_store_may_name_an_account_and_a_folder_behind_two_slashes() {
        let parse = |text: &str| Named::parse(text).unwrap();
        let whole = parse("backup/mail");
        assert_eq!(
            (whole.shown.as_str(), whole.path.as_path(), whole.layout, &whole.account),
            ("backup/mail", Path::new("backup/mail"), None, &None)
        );
        let account = parse("/b//ann@h");
        assert_eq!((account.shown.as_str(), account.account.as_deref(), account.folder), ("/b", Some("ann@h"), None));
        let folder = parse("mbox:/b//post/Archive/a%2Fb");
        assert_eq!((folder.shown.as_str(), folder.layout, folder.account.as_deref()), ("mbox:/b", Some(Layout::Mbox), Some("post")));
        assert_eq!(folder.folder.unwrap().levels(), ["Archive", "a/b"]);
        assert!(Named::parse("imaps://ann@h").is_err() && Named::parse("-").is_err());
    }

    #[test]
    fn a_date_alone_is_the_end_of_its_day() {
        assert_eq!(moment("1970-01-01").unwrap(), 86_399);
        assert_eq!(moment("1970-01-01T01:00:00+01:00").unwrap(), 0);
        assert!(moment("yesterday").is_err() && moment("1970-13-01").is_err());
    }
}
