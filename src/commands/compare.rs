//! `mailhaul compare`: says message by message what two places have in common. It is read-only; `transfer` does the work. What
//! `compare-pop3` shares with it is here too.

use std::path::PathBuf;

use super::{App, warn};
use crate::account::{Location, Place, Protocol};
use crate::cli::{OutputArgs, TwoPlaceCredentials};
use crate::context::Moment;
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::message::Key;
use crate::output::advice::brief;
use crate::output::{CompareDocument, Shown, terminal_width};
use crate::plan::chosen;
use crate::report::advice::Advice;
use crate::report::compared::{Compared, Pairing, Sums, Verdict};
use crate::report::{Event, Format, Report};
use crate::state::{self, Journal, Whereabouts};
use crate::store::gmail::GmailSource;
use crate::store::labels::Labels;
use crate::store::narrowed::Narrowed;
use crate::store::open::{self, Opener};
use crate::store::{Source, vault};
use crate::transfer::compare::{Comparison, Known, Side};

const SCHEMA: &str = "mailhaul.compare/1";

/// The arguments of `compare`.
#[derive(clap::Args)]
pub struct Args {
    /// The first place: an account, URL, folder of one, maildir:PATH, mbox:PATH, eml:PATH, or - for standard input
    #[arg(value_name = "A")]
    pub a: String,
    /// The second place; what an earlier migrate into it brought is known from its journal
    #[arg(value_name = "B")]
    pub b: String,
    /// How it is compared and shown.
    #[command(flatten)]
    pub looking: Looking,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: TwoPlaceCredentials,
}

/// How mail is compared and shown.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Looking {
    /// Read every message whole and compare contents, instead of as little as tells messages apart
    #[arg(long)]
    pub full: bool,
    /// Show the messages that are the same too in tables, and read every header, so that each row has date, subject and Message-ID
    #[arg(long)]
    pub all: bool,
    /// Only folders that match PATTERN (* stands for anything); may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// No folder that matches PATTERN; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// How a whole Gmail account is taken, as in migrate: each message once (keywords), once for each label (folders), or as the
    /// server shows it (ignore)
    #[arg(long, value_name = "HOW", value_enum)]
    pub labels: Option<Labels>,
    /// Look for the journal of earlier runs in DIR instead of $XDG_STATE_HOME/mailhaul; it is only read
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
}

/// Runs `compare`.
///
/// # Errors
/// Wrong places, or what kept a listing from being complete.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let sides = args.credentials.sides(&app.global)?;
    let a = app.place(&args.a, &sides.from)?;
    let b = app.place(&args.b, &sides.to)?;
    let looking = &args.looking;
    if (!looking.include.is_empty() || !looking.exclude.is_empty()) && a.folder.is_some() && b.folder.is_some() {
        return Err(Error::usage("--include and --exclude choose among folders, and both places name a single one"));
    }
    let pair = Pair { schema: SCHEMA, app, a: &a, b: &b, looking, maildrop: false };
    let started = app.context.now();
    let compared = pair.compare()?;
    pair.conclude(compared, None, started, &args.output)
}

/// Two places that are compared.
pub(super) struct Pair<'a> {
    pub(super) schema: &'static str,
    pub(super) app: &'a App,
    pub(super) a: &'a Place,
    pub(super) b: &'a Place,
    pub(super) looking: &'a Looking,
    /// The first place is a maildrop, and only its mail is looked for.
    pub(super) maildrop: bool,
}

impl Pair<'_> {
    /// Compares them.
    ///
    /// # Errors
    /// As [`run`].
    pub(super) fn compare(&self) -> Result<Compared> {
        let app = self.app;
        for place in [self.a, self.b] {
            not_a_store(place)?;
        }
        let (identity_a, identity_b) = (open::identity(self.a)?, open::identity(self.b)?);
        if identity_a == identity_b && (self.a.folder.is_none() || self.b.folder.is_none() || self.a.folder == self.b.folder) {
            return Err(Error::usage("both places are the same, or one is within the other").at(&self.b.shown));
        }
        let known = self.known(&identity_a, &identity_b)?;
        // Asked for one after the other, and before the clock runs.
        for place in [self.a, self.b] {
            if let Some(server) = place.server() {
                server.login(&app.context)?;
            }
        }
        let progress = super::progress(app);
        let opener_a = Opener::new(self.a, &app.context, &app.trace).leaving_no_trace();
        let opener_b = Opener::new(self.b, &app.context, &app.trace).leaving_no_trace();
        let compared = Comparison {
            context: &app.context,
            report: &progress,
            // A maildrop has one folder, and the patterns mean those that it is looked for in.
            a: Side { open: &|| self.open(&opener_a, self.maildrop || self.a.folder.is_some()), only: self.a.folder.clone() },
            b: Side { open: &|| self.open(&opener_b, self.b.folder.is_some()), only: self.b.folder.clone() },
            maildrop: self.maildrop,
            full: self.looking.full,
            headers_for_all: self.looking.all,
            known,
        }
        .run();
        progress.event(Event::Finished);
        compared
    }

    fn open(&self, opener: &Opener<'_>, whole: bool) -> Result<Box<dyn Source>> {
        let source = opener.source()?;
        // As migrate takes it: what All Mail and each label show again would look like mail that is missing.
        let source: Box<dyn Source> = if whole || self.maildrop {
            source
        } else {
            Box::new(GmailSource::new(source, self.looking.labels.unwrap_or(Labels::Keywords)))
        };
        let Looking { include, exclude, .. } = self.looking;
        if whole || (include.is_empty() && exclude.is_empty()) {
            return Ok(source);
        }
        let (include, exclude) = (include.clone(), exclude.clone());
        Ok(Box::new(Narrowed::new(source, move |folder: &Folder| chosen(folder, &include, &exclude))))
    }

    /// What earlier runs of `migrate` know, from the first place into the second or the other way round.
    fn known(&self, a: &str, b: &str) -> Result<Known> {
        let mut known = self.journal(b, self.b, a)?;
        for ((folder, key), (there, uid_validity, uid)) in self.journal(a, self.a, b)? {
            // Only a place with UIDs of its own can be the second.
            if let Some((generation, number)) = uid_of(&key) {
                known.push(((there, Key::Uid { generation: uid_validity, uid }.to_string()), (folder, generation, number)));
            }
        }
        Ok(known)
    }

    /// What the journal of copies into `place` knows of those from `source`.
    fn journal(&self, destination: &str, place: &Place, source: &str) -> Result<Vec<Whereabouts>> {
        if place.server().is_none_or(|server| server.protocol != Protocol::Imap) {
            return Ok(Vec::new());
        }
        let read =
            |dir: &PathBuf| Journal::read_only(dir, destination)?.map_or_else(|| Ok(Vec::new()), |journal| journal.whereabouts(source));
        match &self.looking.state {
            // One directory is one destination's, so of two places it is at most the journal of one.
            Some(dir) => match read(dir) {
                Err(error) if error.kind() == Kind::Safety && self.a.server().is_some() && self.b.server().is_some() => Ok(Vec::new()),
                other => other,
            },
            // What it knows saves reading, and is no more than that.
            None => Ok(state::default_dir(destination).and_then(|dir| read(&dir)).unwrap_or_else(|error| {
                self.app.note(&format!("the journal of {} is left out: {error}", place.shown));
                Vec::new()
            })),
        }
    }

    /// Writes what was found and says what it comes to.
    ///
    /// # Errors
    /// Standard output is gone.
    pub(super) fn conclude(&self, compared: Compared, advice: Option<Advice>, started: Moment, output: &OutputArgs) -> Result<ExitCode> {
        let seconds = self.app.context.now().since(started).as_secs_f64();
        let code = answer(&compared.sums, self.maildrop);
        let mut document = CompareDocument::new(self.schema, &self.a.shown, &self.b.shown, compared, seconds);
        document.summary.advice = advice;
        document.summary.full = self.looking.full;
        document.summary.against = self.b.folder.as_ref().map(ToString::to_string);
        let format = super::format(output);
        if format != Format::Table {
            document.rows.iter().filter(|row| row.verdict == Verdict::Error).for_each(|row| warn(&unreadable(&row)));
        }
        let stdout = std::io::stdout();
        let shown = Shown {
            all: self.looking.all,
            quiet: self.app.global.quiet,
            maildrop: self.maildrop,
            width: if format == Format::Table { terminal_width(&stdout) } else { None },
        };
        match document.write(format, shown, &mut stdout.lock()) {
            // Whoever stopped reading still gets the answer.
            Err(error) if error.kind() == Kind::BrokenPipe => return Ok(code),
            other => other?,
        }
        if format == Format::Tsv {
            document.summary.text(self.maildrop).lines().for_each(|line| self.app.note(line));
            document.summary.advice.iter().flat_map(brief).for_each(|line| self.app.note(&line));
        }
        Ok(code)
    }
}

/// A row that could not be looked at, for standard error.
fn unreadable(row: &Pairing) -> String {
    let half = row.a.as_ref().or(row.b.as_ref());
    let folder = half.map_or("", |half| half.folder.as_str());
    let number = half.and_then(|half| half.uid.or(half.number)).map(|number| format!(" {number}")).unwrap_or_default();
    format!("{folder}{number}: {}", row.reason.as_deref().unwrap_or("it could not be looked at"))
}

/// What the sums come to. Mail on the second side alone, or in another folder there, is no fault where a maildrop is looked for.
fn answer(sums: &Sums, maildrop: bool) -> ExitCode {
    // What one side cannot give may be what only the other seems to have.
    let errors_b = sums.errors.saturating_sub(sums.errors_a);
    let always = sums.only_a.saturating_sub(errors_b) + sums.different + sums.doubled;
    let faults = if maildrop { always } else { always + sums.only_b.saturating_sub(sums.errors_a) + sums.elsewhere };
    match (faults, sums.errors + sums.folders_unread) {
        _ if !sums.balanced() => ExitCode::Differences,
        (0, 0) => ExitCode::Success,
        (0, _) => ExitCode::Partial,
        _ => ExitCode::Differences,
    }
}

/// The root of a store of backups holds accounts and not folders.
fn not_a_store(place: &Place) -> Result<()> {
    let (Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path)) = &place.location else { return Ok(()) };
    if !path.is_dir() || vault::card(path)?.is_none() {
        return Ok(());
    }
    let shown = &place.shown;
    Err(Error::usage("this is a store of backups, which holds accounts")
        .at(shown)
        .hint(format!("{shown}/ACCOUNT is one of them; mailhaul verify {} PLACE compares by what the store recorded", path.display())))
}

/// UIDVALIDITY and UID in the text of a key.
fn uid_of(key: &str) -> Option<(u32, u32)> {
    let (generation, uid) = key.strip_prefix("uid:")?.split_once(':')?;
    Some((generation.parse().ok()?, uid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definite_no_outweighs_what_could_not_be_read() {
        let sums = Sums { listed_a: 1, listed_b: 1, same: 1, ..Sums::default() };
        assert_eq!(answer(&sums, false), ExitCode::Success);
        let unread = Sums { listed_a: 2, errors: 1, errors_a: 1, ..sums };
        assert_eq!(answer(&unread, false), ExitCode::Partial);
        assert_eq!(answer(&Sums { listed_a: 3, only_a: 1, ..unread }, false), ExitCode::Differences);
        assert_eq!(answer(&Sums { listed_b: 2, only_b: 1, ..unread }, false), ExitCode::Partial, "it may be the one that cannot be read");
        assert_eq!(answer(&Sums { listed_a: 2, ..sums }, false), ExitCode::Differences, "sums that do not balance are no proof");
    }

    #[test]
    fn a_maildrop_misses_only_what_is_nowhere_on_imap() {
        let sums = Sums { listed_a: 2, listed_b: 9, same: 1, elsewhere: 1, only_b: 7, ..Sums::default() };
        assert_eq!((answer(&sums, true), answer(&sums, false)), (ExitCode::Success, ExitCode::Differences));
        let doubled = Sums { listed_b: 10, doubled: 1, ..sums };
        assert_eq!(answer(&doubled, true), ExitCode::Differences);
    }

    #[test]
    fn the_key_of_an_imap_message_is_read_back() {
        let key = Key::Uid { generation: 7, uid: 9 }.to_string();
        assert_eq!(uid_of(&key), Some((7, 9)));
        assert_eq!((uid_of("uidl:7:9"), uid_of("uid:7"), uid_of("uid:x:9")), (None, None, None));
    }
}
