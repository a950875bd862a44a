//! `mailhaul verify`: proves that a store of backups is whole and, with a place, that nothing on the server is missing from it; with
//! `--repair` it puts right what can be. The work is `transfer::backup::verify`'s.

use std::path::Path;

use super::backup::{Target, directory};
use super::rebuild::{RebuildArgs, rebuild};
use super::{App, warn};
use crate::account::Server;
use crate::cli::{Credentials, OutputArgs};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::output::{VerifyDocument, finding_line};
use crate::plan::chosen;
use crate::report::{Fault, Finding};
use crate::state::archive::{Account, Archive};
use crate::store::vault::{self, STATE_DIR, StoreCard};
use crate::transfer::backup::rebuild::Named;
use crate::transfer::backup::verify::{FOREIGN, Found, Look, Reading, Repair, Sample, compare, look};
use crate::transfer::backup::{self};

const SCHEMA: &str = "mailhaul.verify/1";

/// The arguments of `verify`.
#[derive(clap::Args)]
pub struct Args {
    /// The store: a directory, as it was named to backup
    #[arg(value_name = "STORE")]
    pub store: String,
    /// Compare with this account (or a folder of it) too: is every message of the server in the store
    #[arg(value_name = "PLACE")]
    pub place: Option<String>,
    /// Read every message of the server and compare it, instead of the listing alone
    #[arg(long, requires = "place")]
    pub full: bool,
    /// Read a random part of the files only, N% or N files; the others are only looked for
    #[arg(long, value_name = "N%|N", value_parser = sample, conflicts_with = "repair")]
    pub sample: Option<Sample>,
    /// Put right what can be: fetch damaged and missing files again (with PLACE), take in files the journal has lost, make a lost
    /// or damaged journal anew. Nothing is removed
    #[arg(long)]
    pub repair: bool,
    /// With PLACE: only folders that match PATTERN, as for backup; may be repeated
    #[arg(long, value_name = "PATTERN", requires = "place")]
    pub include: Vec<String>,
    /// With PLACE: no folder that matches PATTERN, as for backup; may be repeated
    #[arg(long, value_name = "PATTERN", requires = "place")]
    pub exclude: Vec<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

fn sample(text: &str) -> Result<Sample> {
    let wrong = || Error::usage("a sample is a number of files or a share of them, as in 100, 5% or 0.5%");
    let Some(share) = text.strip_suffix('%') else {
        return text.parse().ok().filter(|files| *files > 0).map(Sample::Files).ok_or_else(wrong);
    };
    let (whole, part) = share.split_once('.').unwrap_or((share, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 {
        return Err(wrong());
    }
    let hundredths = format!("{whole}{part:0<2}").parse::<u32>().ok().filter(|share| (1..=10_000).contains(share));
    hundredths.map(Sample::Share).ok_or_else(wrong)
}

/// The account of a command, and what its directory in a store is called.
pub(super) struct Whose {
    pub(super) shown: String,
    pub(super) server: Server,
    pub(super) only: Option<Folder>,
    pub(super) directory: String,
}

impl Whose {
    /// Reads the place of a command, if there is one.
    pub(super) fn parse(text: Option<&str>, credentials: &Credentials, app: &App) -> Result<Option<Self>> {
        let Some(text) = text else { return Ok(None) };
        let place = app.place(text, &credentials.overrides(&app.global)?)?;
        let Some(server) = place.server().cloned() else {
            return Err(Error::usage("a store is compared with an account on a server, and this lies on this machine").at(place.shown));
        };
        let directory = directory(&server, &app.config);
        Ok(Some(Self { shown: place.shown, server, only: place.folder, directory }))
    }

    /// The account as a store has it.
    pub(super) fn known(&self, archive: &Archive, store: &str) -> Result<Account> {
        let accounts = archive.accounts()?;
        let identity = self.server.identity();
        let unproved = |account: &&Account| account.is_unproved() && account.name == self.directory;
        let found = accounts.iter().find(|account| account.identity == identity).or_else(|| accounts.iter().find(unproved));
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = accounts.iter().map(|account| account.name.as_str()).collect();
            let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            Error::usage(format!("the store {store} has no backup of this account; {has}")).at(&self.shown)
        })
    }
}

/// The card of the store that was typed.
pub(super) fn card_of(target: &Target) -> Result<Option<StoreCard>> {
    vault::of_form(&target.path, target.layout)
}

/// Runs `verify`.
///
/// # Errors
/// What kept it from looking.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let target = Target::parse(&args.store, &app.config)?;
    let whose = Whose::parse(args.place.as_deref(), &args.credentials, app)?;
    let started = app.context.now();
    let verify = Verify { args, app, target: &target, whose: whose.as_ref() };
    let looked = if args.repair { verify.repair() } else { verify.look().map(|found| (found, None)) };
    let (found, old_journal) = looked.map_err(|error| error.at(&target.shown))?;
    let seconds = app.context.now().since(started).as_secs_f64();
    let whole = found.checked.whole();
    let shown = whose.as_ref().map(|whose| whose.shown.as_str());
    let mut document = VerifyDocument::new(SCHEMA, &target.shown, shown, found.checked, seconds);
    document.old_journal = old_journal;
    let format = super::format(&args.output);
    if !format.is_json() {
        document.problems.iter().for_each(|finding| warn(&finding_line(finding)));
    }
    if format.is_json() || !app.global.quiet {
        document.write(format, &mut std::io::stdout().lock())?;
    }
    if !whole && !args.repair {
        app.note(&advice(&document.problems, &args.store, args.place.as_deref().unwrap_or("PLACE")));
    }
    Ok(if whole { ExitCode::Success } else { ExitCode::Differences })
}

/// What to do about what was found.
fn advice(findings: &[Finding], store: &str, place: &str) -> String {
    let mut ways = Vec::new();
    let is_foreign = |finding: &Finding| finding.kind == Fault::Extra && finding.reason == FOREIGN;
    let is_new = |finding: &Finding| finding.kind == Fault::NotYetBackedUp;
    if findings.iter().any(|finding| !is_foreign(finding) && !is_new(finding)) {
        ways.push(format!("mailhaul verify --repair {store} {place} puts right what can be"));
    }
    if findings.iter().any(is_new) {
        ways.push(format!("mailhaul backup {place} {store} brings what is not here yet"));
    }
    if findings.iter().any(is_foreign) {
        ways.push(format!("move files of another program out of the store, or let mailhaul rebuild {store} take them in"));
    }
    ways.join("; ")
}

struct Verify<'a> {
    args: &'a Args,
    app: &'a App,
    target: &'a Target,
    whose: Option<&'a Whose>,
}

impl Verify<'_> {
    fn root(&self) -> &Path {
        &self.target.path
    }

    fn no_store(&self) -> Error {
        let root = self.root();
        match vault::found_layout(root) {
            Ok(Some(_)) => Error::local("the card and the journal of the store are gone (its directory .mailhaul)")
                .at(&self.target.shown)
                .hint(format!("build them anew from the files with: mailhaul rebuild {}", self.args.store)),
            _ => Error::usage("there is no store of backups").at(&self.target.shown),
        }
    }

    /// A look that changes nothing.
    fn look(&self) -> Result<Found> {
        let card = card_of(self.target)?.ok_or_else(|| self.no_store())?;
        let dir = self.root().join(STATE_DIR);
        let _still = Archive::hold_still(&dir)?;
        let archive = Archive::read_only(&dir, &card.id)?.ok_or_else(|| {
            Error::local("the journal of the store is gone")
                .at(&self.target.shown)
                .hint(format!("build it anew from the files with: mailhaul rebuild {}", self.args.store))
        })?;
        let mut vault = vault::open(self.root(), &card, &self.app.context)?;
        // Before anything is read: a wrong place is told at once.
        let account = self.whose.map(|whose| whose.known(&archive, &self.target.shown)).transpose()?;
        self.log_in()?;
        let progress = super::progress(self.app);
        let looking = self.looking(&progress, self.args.sample);
        let mut found = look(&looking, &archive, vault.as_mut())?;
        if let (Some(whose), Some(account)) = (self.whose, &account) {
            self.compare(&looking, &archive, vault.as_mut(), account, whose, &mut found)?;
        }
        Ok(found)
    }

    /// A password is asked for before hours of reading, not after.
    fn log_in(&self) -> Result<()> {
        match self.whose {
            Some(whose) => whose.server.login(&self.app.context).map(drop).map_err(|error| error.at(&whose.shown)),
            None => Ok(()),
        }
    }

    fn looking<'b>(&'b self, progress: &'b crate::output::Progress, sample: Option<Sample>) -> Look<'b> {
        Look { context: &self.app.context, report: progress, trace: &self.app.trace, root: self.root(), sample, mend: self.args.repair }
    }

    fn compare(
        &self,
        looking: &Look<'_>,
        archive: &Archive,
        vault: &mut dyn vault::Vault,
        account: &Account,
        whose: &Whose,
        found: &mut Found,
    ) -> Result<()> {
        let is_meant = |folder: &Folder| {
            whose.only.as_ref().is_none_or(|only| only == folder) && chosen(folder, &self.args.include, &self.args.exclude)
        };
        let reading = if self.args.full { Reading::Full } else { Reading::Listing };
        compare(looking, archive, vault, (account, &whose.server), &is_meant, reading, found)
    }

    /// Puts right what can be, and looks again at what was not.
    fn repair(&self) -> Result<(Found, Option<String>)> {
        self.log_in()?;
        let context = &self.app.context;
        let mut old_journal = None;
        let mut rebuilt = None;
        let mut store = match self.open() {
            Ok(store) => store,
            Err(error) if is_about_the_journal(&error) => {
                warn(&format!("{error}; it is made anew now"));
                rebuilt = Some(self.rebuild()?);
                self.open()?
            }
            Err(error) => return Err(error),
        };
        let progress = super::progress(self.app);
        let looking = self.looking(&progress, None);
        // Damage within a database may show only where it is read.
        let first = match look(&looking, &store.archive, store.vault.as_mut()) {
            Err(error) if rebuilt.is_none() && is_about_the_journal(&error) => {
                warn(&format!("{error}; it is made anew now"));
                None
            }
            other => Some(other?),
        };
        let mut found = match first {
            Some(found) if !found.needs_rebuild() => found,
            first => {
                // The lock is taken again by whoever makes it anew.
                drop(store);
                rebuilt = Some(self.rebuild()?);
                store = self.open()?;
                let before = first.map(|first| first.contradictions()).unwrap_or_default();
                let mut found = look(&looking, &store.archive, store.vault.as_mut())?;
                found.settled(before);
                found
            }
        };
        if let Some(rebuilt) = rebuilt {
            old_journal = rebuilt.old_journal.map(|path| path.display().to_string());
        }
        let account = self.whose.map(|whose| whose.known(&store.archive, &self.target.shown)).transpose()?;
        let server = self.whose.zip(account.as_ref()).map(|(whose, account)| (account, &whose.server));
        Repair { look: &looking, store: &mut store, server }.run(&mut found)?;
        if let (Some(whose), Some(account)) = (self.whose, &account) {
            let backup::OpenStore { archive, vault, .. } = &mut store;
            self.compare(&looking, archive, vault.as_mut(), account, whose, &mut found)?;
        }
        store.archive.close()?;
        context.check()?;
        Ok((found, old_journal))
    }

    fn open(&self) -> Result<backup::OpenStore> {
        let card = card_of(self.target).map_err(|error| if error.kind() == Kind::Usage { error } else { gone(error) })?;
        let card = card.ok_or_else(|| gone(self.no_store()))?;
        let dir = self.root().join(STATE_DIR);
        // Opening to write would make a new one in its place.
        if !dir.join("journal.db").exists() {
            return Err(gone(Error::local("the journal of the store is gone").at(&self.target.shown)));
        }
        backup::open_store(self.root(), card, &self.app.context)
    }

    fn rebuild(&self) -> Result<backup::rebuild::Rebuilt> {
        let named = self.whose.map(|whose| Named { server: &whose.server, directory: &whose.directory });
        rebuild(&RebuildArgs { target: self.target, named }, self.app)
    }
}

/// Marks an error as one that a new journal mends.
fn gone(error: Error) -> Error {
    if error.kind() == Kind::Local { error.hint(REBUILD) } else { error }
}

const REBUILD: &str = "mailhaul rebuild makes it anew from the files";

/// Whether what kept the store from being opened is what `rebuild` is for: a journal lost, damaged, behind, or of another store.
fn is_about_the_journal(error: &Error) -> bool {
    matches!(error.kind(), Kind::Local | Kind::Safety) && error.remedy().is_some_and(|remedy| remedy.contains("mailhaul rebuild"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_share_or_a_number_and_never_nothing() {
        assert_eq!(sample("5%").unwrap(), Sample::Share(500));
        assert_eq!(sample("0.5%").unwrap(), Sample::Share(50));
        assert_eq!(sample("100%").unwrap(), Sample::Share(10_000));
        assert_eq!(sample("7").unwrap(), Sample::Files(7));
        for text in ["", "%", "0", "0%", "101%", "-1", "5 %", "1.234%", "x%", "٣%", "99999999999999999999%"] {
            assert!(sample(text).is_err(), "{text}");
        }
    }
}
