//! `mailhaul status`: how stores and migrations stand, by account and folder, and what a run is doing now. It takes no lock and
//! changes nothing, so that a monitor may ask at any time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::App;
use super::subject::{Subject, moment};
use crate::cli::{OutputArgs, age};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::output::{Head, Rows, Running, StatusPlace, StatusRow, age_for_people, terminal_width, typed_folder, write_error};
use crate::report::Format;
use crate::state::archive::{Account, Archive, ArchiveFolderId, ArchiveRun};
use crate::state::{Journal, registry};
use crate::store::vault::{STATE_DIR, StoreCard};

const SCHEMA: &str = "mailhaul.status/1";

/// The arguments of `status`.
#[derive(clap::Args)]
pub struct Args {
    /// The store, or the account that mail is migrated to; without it, all stores that were used from here
    #[arg(value_name = "STORE|DEST")]
    pub store: Option<String>,
    /// Exit with 1 if the last complete run over an account is longer ago than this (26h, 2d), or there was none
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub max_age: Option<Duration>,
    /// Where the journal of a migration lies, if it was kept elsewhere (as with migrate)
    #[arg(long, value_name = "DIR", requires = "store", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs `status`.
///
/// # Errors
/// Nothing is there to be asked, or standard output is gone. A store that cannot be read is named on standard error, and picked for
/// the exit code.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let subjects = subjects(args, app)?;
    let format = super::format(&args.output);
    let asker = Asker { now: app.context.unix_time(), max_age: args.max_age.map(|age| age.as_secs()) };
    let (mut places, mut rows, mut failed) = (Vec::new(), Vec::new(), None);
    for (shown, subject) in subjects {
        let (mut place, told) = asker.ask(&shown, subject);
        match told {
            Ok(told) => rows.extend(told),
            Err(error) => {
                let error = error.at(&shown);
                place.error = Some(error.to_string());
                // Standard error may be closed: the document and the exit code tell the same.
                let _ = write_error(&mut std::io::stderr().lock(), &error, format.is_json());
                failed = failed.or(Some(ExitCode::from(error.kind())));
            }
        }
        places.push(place);
    }
    let late: Vec<&StatusRow> = rows.iter().filter(|row| row.late == Some(true)).collect();
    let is_late = !late.is_empty();
    if is_late && !format.is_json() {
        for row in &late {
            app.note(&belated(row));
        }
    }
    let told = serde_json::to_value(&places).map_err(|error| Error::local("cannot write JSON").because(error))?;
    let head = Head { schema: SCHEMA, members: vec![("late", Value::from(is_late)), ("places", told)], rows: "rows" };
    let fields = if places.len() > 1 { StatusRow::SEVERAL } else { StatusRow::DEFAULT };
    // People are spared columns without a word in them; programs find each where it always is.
    let said = |field: &str| match field {
        "doing" => rows.iter().any(|row| row.doing.is_some()),
        "note" => rows.iter().any(|row| row.note.is_some()),
        _ => true,
    };
    let fields: Vec<&str> = fields.iter().copied().filter(|field| format != Format::Table || said(field)).collect();
    let mut out = Rows::new::<StatusRow>(std::io::stdout().lock(), format, &head, None, &fields, terminal_width(std::io::stdout()))?;
    rows.iter().try_for_each(|row| out.row(row))?;
    out.finish()?;
    if format == Format::Table {
        for place in &places {
            if let Some(words) = place.running.as_ref().map(|running| at_work(running, None)) {
                app.note(&format!("{}: a run is at work: {words}", place.place));
            }
        }
    }
    Ok(failed.unwrap_or(if is_late { ExitCode::Differences } else { ExitCode::Success }))
}

/// What has to be asked: as it is shown, and what it is or why that is not known.
type Subjects = Vec<(String, Result<Subject>)>;

fn subjects(args: &Args, app: &App) -> Result<Subjects> {
    if let Some(store) = &args.store {
        let found = Subject::find(store, args.state.as_deref(), app);
        return match found {
            // What is wrong with the command line ends it; what is wrong with a store is a finding.
            Err(error) if error.kind() == Kind::Usage => Err(error),
            Err(error) => Ok(vec![(store.clone(), Err(error))]),
            Ok(subject) => Ok(vec![(subject.shown().to_owned(), Ok(subject))]),
        };
    }
    let known = registry::known()?;
    if known.is_empty() {
        return Err(Error::usage("no store is named, and none was used from here so far").hint("name one, as in mailhaul status ~/backup"));
    }
    Ok(known.into_iter().map(|root| (root.display().to_string(), known_store(&root))).collect())
}

fn known_store(root: &Path) -> Result<Subject> {
    let shown = root.display().to_string();
    Subject::store(&shown, root)?.ok_or_else(|| {
        Error::local("the store that was used here is not there")
            .hint("mount its disk; if it is gone for good, take its line out of mailhaul/stores in $XDG_STATE_HOME or ~/.local/state")
    })
}

/// Why an account is late.
fn belated(row: &StatusRow) -> String {
    let whose = row.account.as_ref().map_or_else(|| row.place.clone(), |account| format!("{}: {account}", row.place));
    match row.age {
        Some(age) => format!("{whose}: the last complete run was {} ago", age_for_people(age)),
        None => format!("{whose}: no run was completed so far"),
    }
}

struct Asker {
    /// In seconds since 1970 UTC.
    now: i64,
    /// In seconds.
    max_age: Option<u64>,
}

impl Asker {
    fn ask(&self, shown: &str, subject: Result<Subject>) -> (StatusPlace, Result<Vec<StatusRow>>) {
        let mut place = StatusPlace { place: shown.to_owned(), layout: None, running: None, error: None };
        let told = subject.and_then(|subject| match subject {
            Subject::Store { shown, root, card } => {
                place.layout = Some(card.layout.name().to_owned());
                let dir = root.join(STATE_DIR);
                place.running = running(&dir);
                self.store(&shown, &dir, &card, place.running.as_ref())
            }
            Subject::Journal { shown, dir, destination } => {
                place.running = running(&dir);
                self.journal(&shown, &dir, &destination, place.running.as_ref())
            }
        });
        (place, told)
    }

    fn store(&self, shown: &str, dir: &Path, card: &StoreCard, running: Option<&Running>) -> Result<Vec<StatusRow>> {
        let Some(archive) = Archive::read_only(dir, &card.id)? else { return Ok(vec![self.none(shown)]) };
        let mut rows = Vec::new();
        for account in archive.accounts()? {
            rows.extend(self.account(shown, &archive, &account, running)?);
        }
        if rows.is_empty() {
            rows.push(self.none(shown));
        }
        Ok(rows)
    }

    /// The row of a place nothing was completed for.
    fn none(&self, shown: &str) -> StatusRow {
        StatusRow {
            place: shown.to_owned(),
            late: self.max_age.map(|_| true),
            note: Some("no run so far".to_owned()),
            ..StatusRow::default()
        }
    }

    /// An account, then its folders.
    fn account(&self, shown: &str, archive: &Archive, account: &Account, running: Option<&Running>) -> Result<Vec<StatusRow>> {
        let complete = archive.last_run(account.id, true)?.and_then(|run| run.finished);
        let last = archive.last_run(account.id, false)?;
        let doing = running.filter(|running| concerns(running, &account.name)).map(|running| at_work(running, Some(&account.name)));
        let mut problems: HashMap<ArchiveFolderId, (u64, u64)> = HashMap::new();
        for aside in archive.put_aside(account.id)? {
            let (open, ignored) = problems.entry(aside.folder).or_default();
            *(if aside.ignored { ignored } else { open }) += 1;
        }
        let mut rows = Vec::new();
        for folder in archive.folders(account.id)? {
            let (problems, ignored) = problems.get(&folder.id).copied().unwrap_or_default();
            // A run that completed the account found nothing to be done in folders it does not mention.
            let seen = folder.complete_at.map(|at| if folder.gone_at.is_none() { at.max(complete.unwrap_or(at)) } else { at });
            rows.push(StatusRow {
                place: shown.to_owned(),
                account: Some(account.name.clone()),
                folder: Some(typed_folder(&folder.folder)),
                last_complete: seen.and_then(moment),
                age: seen.map(|at| self.since(at)),
                messages: folder.messages,
                gone: Some(folder.gone),
                bytes: Some(folder.octets),
                problems,
                ignored,
                note: folder.gone_at.map(|_| "not on the server any more".to_owned()),
                ..StatusRow::default()
            });
        }
        let sum = |figure: fn(&StatusRow) -> u64| rows.iter().map(figure).fold(0, u64::saturating_add);
        let whole = StatusRow {
            place: shown.to_owned(),
            account: Some(account.name.clone()),
            last_complete: complete.and_then(moment),
            age: complete.map(|at| self.since(at)),
            late: self.late(complete),
            messages: sum(|row| row.messages),
            gone: Some(sum(|row| row.gone.unwrap_or(0))),
            bytes: Some(sum(|row| row.bytes.unwrap_or(0))),
            problems: sum(|row| row.problems),
            ignored: sum(|row| row.ignored),
            note: last.and_then(|run| ended(&run, running.is_some())),
            doing,
            ..StatusRow::default()
        };
        rows.insert(0, whole);
        Ok(rows)
    }

    /// The whole destination, then what comes from each folder of each source.
    fn journal(&self, shown: &str, dir: &Path, destination: &str, running: Option<&Running>) -> Result<Vec<StatusRow>> {
        let Some(journal) = Journal::read_only(dir, destination)? else { return Ok(vec![self.none(shown)]) };
        let complete = journal.last_run(true)?.and_then(|run| run.finished);
        let last = journal.last_run(false)?;
        let mut rows: Vec<StatusRow> = journal
            .progressed()?
            .into_iter()
            .map(|one| StatusRow {
                place: shown.to_owned(),
                account: Some(one.source),
                folder: Some(typed_folder(&one.folder)),
                messages: one.done,
                problems: one.put_aside.saturating_add(one.refused),
                ignored: one.ignored,
                unsettled: Some(one.open),
                ..StatusRow::default()
            })
            .collect();
        let sum = |figure: fn(&StatusRow) -> u64| rows.iter().map(figure).fold(0, u64::saturating_add);
        let died = last.is_some_and(|run| run.finished.is_none()) && running.is_none();
        let unsettled = sum(|row| row.unsettled.unwrap_or(0));
        let words = match (died, last.is_some_and(|run| run.finished.is_some() && !run.complete), unsettled) {
            (true, ..) => Some("the last run died".to_owned()),
            (_, true, _) => Some("the last run was not complete".to_owned()),
            (.., 1) => Some("1 copy not settled".to_owned()),
            (.., 2..) => Some(format!("{unsettled} copies not settled")),
            _ => None,
        };
        let whole = StatusRow {
            place: shown.to_owned(),
            last_complete: complete.and_then(moment),
            age: complete.map(|at| self.since(at)),
            late: self.late(complete),
            messages: sum(|row| row.messages),
            problems: sum(|row| row.problems),
            ignored: sum(|row| row.ignored),
            unsettled: Some(unsettled),
            doing: running.map(|running| at_work(running, None)),
            note: words,
            ..StatusRow::default()
        };
        rows.insert(0, whole);
        Ok(rows)
    }

    fn since(&self, at: i64) -> u64 {
        u64::try_from(self.now.saturating_sub(at)).unwrap_or(0)
    }

    fn late(&self, complete: Option<i64>) -> Option<bool> {
        self.max_age.map(|most| complete.is_none_or(|at| self.since(at) > most))
    }
}

fn running(dir: &Path) -> Option<Running> {
    Archive::watch(dir).map(|(process, progress)| Running { process, progress })
}

/// Whether the run at work is over this account, as far as it says.
fn concerns(running: &Running, account: &str) -> bool {
    let named = running.progress.as_ref().and_then(|progress| progress.get("account")).and_then(Value::as_str);
    named.is_none_or(|named| named == account)
}

/// What a run is doing, in a few words.
fn at_work(running: &Running, account: Option<&str>) -> String {
    let process = running.process.map_or_else(|| "a run, or a copy being made".to_owned(), |number| format!("process {number}"));
    let Some(progress) = &running.progress else { return process };
    let word = |name: &str| progress.get(name).and_then(Value::as_str);
    let number = |names: [&str; 2]| names.iter().find_map(|name| progress.get(*name).and_then(Value::as_u64));
    let mut words = vec![process];
    words.extend(word("account").filter(|named| account != Some(*named)).map(str::to_owned));
    words.extend(word("folder").map(str::to_owned));
    if let Some(done) = number(["messages_done", "settled"]) {
        let of = number(["messages_total", "of"]).map_or_else(String::new, |total| format!(" of {total}"));
        words.push(format!("{done}{of} messages"));
    }
    words.join(", ")
}

/// How the last run ended, where that was not as it should be.
fn ended(run: &ArchiveRun, running: bool) -> Option<String> {
    match (run.finished, &run.suspicious, &run.error) {
        (None, ..) if running => None,
        (None, ..) => Some("the last run died".to_owned()),
        (Some(_), Some(words), _) => Some(format!("the last run was not believed: {words}")),
        (Some(_), None, Some(words)) => Some(format!("the last run ended early: {words}")),
        (Some(_), None, None) if !run.complete => Some("the last run was not complete".to_owned()),
        _ => None,
    }
}
