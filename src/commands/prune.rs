//! `mailhaul prune`: removes from a store what is gone from the server for long. It shows what would go unless it is told to do
//! it, and keeps to the ceiling for deletions; `transfer::backup::prune` does the work.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::App;
use super::subject::{Subject, moment};
use crate::cli::{OutputArgs, age};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Head, PruneFolder, PruneRow, Rows, bytes_for_people, terminal_width, typed_folder};
use crate::plan::Ceiling;
use crate::report::{Format, counted};
use crate::state::archive::{Account, Archive, ArchiveFile, FileId};
use crate::store::vault::{self, STATE_DIR, Vault};
use crate::summary::Summary;
use crate::transfer::backup::{self, prune};

const SCHEMA: &str = "mailhaul.prune/1";
const NOTHING: &str = "nothing has been gone from the server for that long";
/// So much of a file is looked at for its subject.
const HEADER_OCTETS: u64 = 64 * 1024;

/// The arguments of `prune`.
#[derive(clap::Args)]
pub struct Args {
    /// The store
    #[arg(value_name = "STORE")]
    pub store: String,
    /// What is gone from the server for at least this long (90d, 26w)
    #[arg(long, value_name = "AGE", value_parser = age, required = true)]
    pub gone_for: Duration,
    /// Remove it; without this nothing is changed and what would go is listed
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Change nothing; list what would go, as without --yes
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Remove nothing, and exit with 10, if more than N messages (or P percent of the store) would go [default: 50 or 10%,
    /// whichever is more]
    #[arg(long, value_name = "N|P%")]
    pub max_delete: Option<Ceiling>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What goes, before anything does.
#[derive(Default)]
struct Plan {
    accounts: Vec<(Account, Vec<FileId>)>,
    folders: Vec<PruneFolder>,
    messages: u64,
    bytes: u64,
    /// Messages in the store.
    of: u64,
}

/// Runs `prune`.
///
/// # Errors
/// Wrong arguments, a store that cannot be read, the ceiling, or what ended the removal; what went until then is written all the same.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let Subject::Store { shown, root, card } = Subject::find(&args.store, None, app)? else {
        return Err(Error::usage("only a store of backups can be pruned").at(&args.store));
    };
    if let Some(error) = prune::refusal(card.layout) {
        return Err(error.at(shown));
    }
    let age = i64::try_from(args.gone_for.as_secs()).unwrap_or(i64::MAX);
    let before = app.context.unix_time().saturating_sub(age);
    let at = |error: Error| error.at(&shown);
    if !args.yes {
        let mut vault = vault::open(&root, &card, &app.context).map_err(at)?;
        let archive = Archive::read_only(&root.join(STATE_DIR), &card.id).map_err(at)?;
        let plan = archive.as_ref().map_or_else(|| Ok(Plan::default()), |archive| planned(archive, before)).map_err(at)?;
        let mut rows = Writer::begin(args, &shown, &plan, true)?;
        if let Some(archive) = &archive {
            for (account, _) in &plan.accounts {
                prune::goners(archive, account, before, &mut |goner| {
                    let mut row = row(&account.name, typed_folder(&goner.folder), &goner.file, goner.since);
                    row.subject = subject(&root, vault.as_mut(), account, &goner);
                    rows.row(&row)
                })
                .map_err(at)?;
            }
        }
        rows.end()?;
        if super::format(&args.output) == Format::Table && plan.folders.len() > 1 {
            for one in &plan.folders {
                let messages = counted(one.messages, "message");
                app.note(&format!("{}/{}: {messages}, {}B", one.account, one.folder, bytes_for_people(one.bytes)));
            }
        }
        app.note(&match plan.messages {
            0 => NOTHING.to_owned(),
            1 => format!("1 message ({}B) has been gone for that long; it was not removed: --yes removes it", bytes_for_people(plan.bytes)),
            many => format!(
                "{many} messages ({}B) have been gone for that long; none was removed: --yes removes them",
                bytes_for_people(plan.bytes)
            ),
        });
        args.max_delete.unwrap_or_default().check(plan.messages, plan.of, "the store").map_err(at)?;
        return Ok(ExitCode::Success);
    }
    let mut store = backup::open_store(&root, card, &app.context).map_err(at)?;
    for account in store.archive.accounts().map_err(at)? {
        prune::finish(&mut store, &account, &app.context).map_err(at)?;
        // What a dead run removed is in its manifest still.
        prune::renew_manifest(&mut store, &account, &app.context).map_err(at)?;
    }
    let plan = planned(&store.archive, before).map_err(at)?;
    args.max_delete.unwrap_or_default().check(plan.messages, plan.of, "the store").map_err(at)?;
    let mut rows = Writer::begin(args, &shown, &plan, false)?;
    let (mut messages, mut bytes, mut ended) = (0, 0, Ok(()));
    for (account, files) in &plan.accounts {
        let names: HashMap<_, _> =
            store.archive.folders(account.id).map_err(at)?.into_iter().map(|folder| (folder.id, typed_folder(&folder.folder))).collect();
        let mut since = HashMap::new();
        prune::goners(&store.archive, account, before, &mut |goner| {
            since.insert(goner.file.id, goner.since);
            Ok(())
        })
        .map_err(at)?;
        let mut written = Ok(());
        let removed = prune::remove(&mut store, account, files, &app.context, &mut |file| {
            messages += 1;
            bytes += file.octets;
            let folder = names.get(&file.folder).cloned().unwrap_or_default();
            let row = row(&account.name, folder, file, since.get(&file.id).copied().unwrap_or_default());
            if written.is_ok() {
                written = rows.row(&row);
            }
        });
        // The manifest tells of what is there whatever ended the removal.
        let renewed = prune::renew_manifest(&mut store, account, &app.context);
        ended = removed.and(renewed).and(written);
        if ended.is_err() {
            break;
        }
    }
    let closed = store.archive.close();
    let told = rows.end();
    app.note(&match messages {
        0 if ended.is_ok() => NOTHING.to_owned(),
        _ => format!("removed {} ({}B)", counted(messages, "message"), bytes_for_people(bytes)),
    });
    ended.and(closed).map_err(at)?;
    told?;
    Ok(ExitCode::Success)
}

fn planned(archive: &Archive, before: i64) -> Result<Plan> {
    let mut plan = Plan::default();
    for account in archive.accounts()? {
        let mut files = Vec::new();
        for folder in archive.folders(account.id)? {
            plan.of += folder.messages + folder.gone;
            let mut sum = PruneFolder { account: account.name.clone(), folder: typed_folder(&folder.folder), messages: 0, bytes: 0 };
            archive.gone_files(folder.id, before, &mut |file, _| {
                files.push(file.id);
                sum.messages += 1;
                sum.bytes += file.octets;
                Ok(())
            })?;
            if sum.messages > 0 {
                plan.messages += sum.messages;
                plan.bytes += sum.bytes;
                plan.folders.push(sum);
            }
        }
        if !files.is_empty() {
            plan.accounts.push((account, files));
        }
    }
    Ok(plan)
}

fn row(account: &str, folder: String, file: &ArchiveFile, since: i64) -> PruneRow {
    PruneRow {
        account: account.to_owned(),
        folder,
        file: file.stem.clone(),
        gone_since: moment(since),
        internal_date: file.internal_date.and_then(crate::message::InternalDate::rfc3339),
        size: file.octets,
        subject: None,
    }
}

/// What the header says, as far as it can be had: it only helps people to tell messages apart.
fn subject(root: &Path, vault: &mut dyn Vault, account: &Account, goner: &prune::Goner) -> Option<String> {
    let path = vault.path(&account.name, &goner.folder, &goner.file.stem).ok()??;
    let mut head = Vec::new();
    std::fs::File::open(root.join(path)).ok()?.take(HEADER_OCTETS).read_to_end(&mut head).ok()?;
    Summary::of(&head).subject
}

/// Writes the rows, for people only when they are what was asked for.
struct Writer {
    rows: Option<Rows<std::io::StdoutLock<'static>>>,
}

impl Writer {
    fn begin(args: &Args, shown: &str, plan: &Plan, dry_run: bool) -> Result<Self> {
        let format = super::format(&args.output);
        let folders = serde_json::to_value(&plan.folders).map_err(|error| Error::local("cannot write JSON").because(error))?;
        let members = vec![("store", Value::from(shown)), ("dry_run", dry_run.into()), ("folders", folders)];
        let head = Head { schema: SCHEMA, members, rows: "messages" };
        if format == Format::Table && (plan.messages == 0 || !dry_run) {
            return Ok(Self { rows: None });
        }
        let width = terminal_width(std::io::stdout());
        let rows = Rows::new::<PruneRow>(std::io::stdout().lock(), format, &head, None, PruneRow::DEFAULT, width)?;
        Ok(Self { rows: Some(rows) })
    }

    fn row(&mut self, row: &PruneRow) -> Result<()> {
        self.rows.as_mut().map_or(Ok(()), |rows| rows.row(row))
    }

    fn end(self) -> Result<()> {
        self.rows.map_or(Ok(()), Rows::finish)
    }
}
