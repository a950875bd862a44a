//! `mailhaul problems`: what was put aside or refused, and what a person decides about it. It lists unless it is told to do
//! something; nothing here fetches mail but `--export --source`, read-only.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::App;
use super::subject::{Subject, moment};
use crate::account::Place;
use crate::cli::{Credentials, OutputArgs};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::message::{Digest, Message};
use crate::output::{Head, ProblemRow, Rows, terminal_width, typed_folder};
use crate::report::{Format, counted};
use crate::state::archive::{Archive, ArchiveChange, ArchiveFolderId};
use crate::state::{Batch, Change, Journal};
use crate::store::Source;
use crate::store::open::{self, Opener};
use crate::store::vault::STATE_DIR;

const SCHEMA: &str = "mailhaul.problems/1";
/// Digits of the short name of a problem.
const ID_DIGITS: usize = 10;
/// So many sessions are lost in a row before the rest is written without its messages.
const LOSSES: u32 = 3;

/// The arguments of `problems`.
#[derive(clap::Args)]
pub struct Args {
    /// The store, or the account that mail is migrated to
    #[arg(value_name = "STORE|DEST")]
    pub store: String,
    /// Only these: the names in the first column of the list, or the beginnings of them
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Forget what is known of them (all, unless some are named), so that the next run tries them again
    #[arg(long, group = "action")]
    pub retry: bool,
    /// Keep the named ones as a record only: they are not tried again, and no run ends with 3 because of them
    #[arg(long, group = "action")]
    pub ignore: bool,
    /// With --ignore: all of them
    #[arg(long, requires = "ignore", conflicts_with = "ids")]
    pub all: bool,
    /// Write what is known of each into files in DIR and, with --source, the message itself if it can be had now
    #[arg(long, value_name = "DIR", group = "action", value_hint = clap::ValueHint::DirPath)]
    pub export: Option<PathBuf>,
    /// With --export: the account that the messages are on
    #[arg(long, value_name = "PLACE", requires = "export")]
    pub source: Option<String>,
    /// Where the journal of a migration lies, if it was kept elsewhere (as with migrate)
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// A problem, and what is needed to do something about it.
struct Known {
    row: ProblemRow,
    /// What the account is, whatever it is called.
    identity: String,
    folder: Folder,
    /// The folder in the archive; `None` of a migration.
    of: Option<ArchiveFolderId>,
    /// The destination refused it: each run tries it anyway.
    refused: bool,
}

/// Runs `problems`.
///
/// # Errors
/// Wrong arguments, or a store or journal that cannot be read or written.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    if args.ignore && !args.all && args.ids.is_empty() {
        return Err(Error::usage("--ignore needs to be told which messages").hint("name them, or add --all"));
    }
    let subject = Subject::find(&args.store, args.state.as_deref(), app)?;
    let shown = subject.shown().to_owned();
    let at = |error: Error| error.at(&shown);
    let mut exit = ExitCode::Success;
    let known = if args.retry || args.ignore {
        decide(args, &subject, app).map_err(at)?
    } else {
        let mut known = chosen(read(&subject).map_err(at)?, &args.ids)?;
        if let Some(dir) = &args.export {
            exit = export(args, dir, &mut known, app)?;
        }
        known
    };
    let format = super::format(&args.output);
    let count = known.len() as u64;
    if format != Format::Table || (count > 0 && !args.retry && !args.ignore) {
        let head = Head { schema: SCHEMA, members: vec![("place", Value::from(shown.clone()))], rows: "messages" };
        let width = terminal_width(std::io::stdout());
        let mut rows = Rows::new::<ProblemRow>(std::io::stdout().lock(), format, &head, None, ProblemRow::DEFAULT, width)?;
        known.iter().try_for_each(|one| rows.row(&one.row))?;
        rows.finish()?;
    }
    if args.retry {
        app.note(&format!("the next run tries {} again", counted(count, "message")));
    } else if args.ignore {
        app.note(&format!("{} ignored from now on", counted(count, "message")));
    } else if count == 0 && format == Format::Table {
        app.note("no message is put aside");
    }
    Ok(exit)
}

/// What a store or journal knows.
fn read(subject: &Subject) -> Result<Vec<Known>> {
    match subject {
        Subject::Store { root, card, .. } => {
            Archive::read_only(&root.join(STATE_DIR), &card.id)?.map_or_else(|| Ok(Vec::new()), |archive| of_archive(&archive))
        }
        Subject::Journal { dir, destination, .. } => {
            Journal::read_only(dir, destination)?.map_or_else(|| Ok(Vec::new()), |journal| of_journal(&journal))
        }
    }
}

fn of_archive(archive: &Archive) -> Result<Vec<Known>> {
    let mut found = Vec::new();
    for account in archive.accounts()? {
        let names: BTreeMap<ArchiveFolderId, Folder> =
            archive.folders(account.id)?.into_iter().map(|folder| (folder.id, folder.folder)).collect();
        for aside in archive.put_aside(account.id)? {
            let Some(folder) = names.get(&aside.folder) else { continue };
            found.push(Known {
                row: ProblemRow {
                    id: id_of(&account.identity, folder, &aside.key),
                    account: account.name.clone(),
                    folder: typed_folder(folder),
                    uid: aside.uid,
                    key: aside.key,
                    reason: aside.reason,
                    tries: aside.tries,
                    tried: moment(aside.at),
                    ignored: aside.ignored,
                    ..ProblemRow::default()
                },
                identity: account.identity.clone(),
                folder: folder.clone(),
                of: Some(aside.folder),
                refused: false,
            });
        }
    }
    Ok(found)
}

fn of_journal(journal: &Journal) -> Result<Vec<Known>> {
    let failed = journal.failed()?.into_iter().map(|one| Known {
        row: ProblemRow {
            id: id_of(&one.source, &one.folder, &one.key),
            account: one.source.clone(),
            folder: typed_folder(&one.folder),
            uid: one.uid,
            key: one.key,
            reason: one.reason,
            tries: one.tries,
            ignored: one.ignored,
            ..ProblemRow::default()
        },
        identity: one.source,
        folder: one.folder,
        of: None,
        refused: one.refused,
    });
    Ok(failed.collect())
}

/// A name for a problem that is short, and the same in each listing.
fn id_of(identity: &str, folder: &Folder, key: &str) -> String {
    let digest = Digest::of(format!("{identity}\0{folder}\0{key}").as_bytes()).to_string();
    digest.get(..ID_DIGITS).unwrap_or(&digest).to_owned()
}

/// Those that were named, or all.
fn chosen(known: Vec<Known>, ids: &[String]) -> Result<Vec<Known>> {
    if ids.is_empty() {
        return Ok(known);
    }
    let means = |id: &String, one: &Known| one.row.key == *id || (!id.is_empty() && one.row.id.starts_with(id.as_str()));
    for id in ids {
        let exact: Vec<&Known> = known.iter().filter(|one| means(id, one)).collect();
        match exact.as_slice() {
            [_] => {}
            [] => {
                return Err(Error::usage(format!("no message {id:?} is put aside")).hint("the names are in the first column of the list"));
            }
            several => {
                return Err(
                    Error::usage(format!("{id:?} means {} messages", several.len())).hint("write out more of the name in the first column")
                );
            }
        }
    }
    Ok(known.into_iter().filter(|one| ids.iter().any(|id| means(id, one))).collect())
}

/// `--retry` and `--ignore`, under the lock.
fn decide(args: &Args, subject: &Subject, app: &App) -> Result<Vec<Known>> {
    let result = |known: &mut Vec<Known>| {
        let word = if args.retry { "retry" } else { "ignored" };
        for one in known {
            one.row.result = Some(word.to_owned());
            one.row.ignored = args.ignore;
        }
    };
    match subject {
        Subject::Store { root, card, .. } => {
            let dir = root.join(STATE_DIR);
            if Archive::read_only(&dir, &card.id)?.is_none() {
                return chosen(Vec::new(), &args.ids);
            }
            let mut archive = Archive::open(&dir, &card.id, &app.context)?;
            let mut known = chosen(of_archive(&archive)?, &args.ids)?;
            let changes = known.iter().filter_map(|one| {
                let (folder, key) = (one.of?, one.row.key.clone());
                Some(if args.retry { ArchiveChange::Retry { folder, key } } else { ArchiveChange::Ignored { folder, key } })
            });
            archive.commit(&changes.collect::<Vec<_>>())?;
            archive.close()?;
            result(&mut known);
            Ok(known)
        }
        Subject::Journal { dir, destination, .. } => {
            if Journal::read_only(dir, destination)?.is_none() {
                return chosen(Vec::new(), &args.ids);
            }
            let mut journal = Journal::open(dir, destination, &app.context)?;
            let mut known = chosen(of_journal(&journal)?, &args.ids)?;
            if let Some(one) = known.iter().find(|one| args.ignore && one.row.key.starts_with("number:")) {
                return Err(Error::usage(format!("{} cannot be ignored: its server gives it no lasting name, only a number", one.row.id))
                    .hint("leave it out with the query that names the rest"));
            }
            let changes = known.iter().filter(|one| args.ignore || !one.refused || one.row.ignored).map(|one| {
                let (source, folder, key) = (one.identity.clone(), one.folder.clone(), one.row.key.clone());
                if args.ignore {
                    Change::Ignored { source, folder, key, reason: one.row.reason.clone() }
                } else {
                    Change::Release { source, folder, key }
                }
            });
            journal.commit(&Batch(changes.collect()))?;
            journal.finish_run(false)?;
            result(&mut known);
            Ok(known)
        }
    }
}

/// Writes a text about each and, as far as it can be had, the message.
fn export(args: &Args, dir: &Path, known: &mut [Known], app: &App) -> Result<ExitCode> {
    let place = match &args.source {
        Some(source) => Some(app.place(source, &args.credentials.overrides(&app.global)?)?),
        None => None,
    };
    let mut reader = place.as_ref().map(|place| Reader::new(place, app)).transpose()?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| Error::io(dir.display(), error))?;
    let mut whole = true;
    for one in known {
        app.context.check()?;
        let mut text = format!(
            "account: {}\nfolder: {}\nkey: {}\ntries: {}\n{}reason: {}\n",
            one.row.account,
            one.row.folder,
            one.row.key,
            one.row.tries,
            one.row.tried.as_ref().map(|tried| format!("last tried: {tried}\n")).unwrap_or_default(),
            one.row.reason
        );
        if let Some(reader) = &mut reader {
            match reader.message(one) {
                Ok(message) => {
                    let name = format!("{}.eml", one.row.id);
                    write(dir, &name, |file| {
                        message.body.each_chunk(|chunk| file.write_all(chunk).map_err(|error| Error::io(&name, error)))
                    })?;
                    text.push_str(&format!("message: {name}\n"));
                    one.row.files.push(name);
                }
                Err(error) if matches!(error.kind(), Kind::Local | Kind::Interrupted(_)) => return Err(error),
                Err(error) => {
                    whole = false;
                    text.push_str(&format!("now: {error}\n"));
                }
            }
        }
        let name = format!("{}.txt", one.row.id);
        write(dir, &name, |file| file.write_all(text.as_bytes()).map_err(|error| Error::io(&name, error)))?;
        one.row.files.push(name);
        one.row.result = Some("exported".to_owned());
    }
    if let Some(reader) = reader {
        reader.finish();
    }
    Ok(if whole { ExitCode::Success } else { ExitCode::Partial })
}

/// Writes a private file whole or not at all, in the place of an earlier one.
fn write(dir: &Path, name: &str, fill: impl FnOnce(&mut std::fs::File) -> Result<()>) -> Result<()> {
    let at = |error: std::io::Error| Error::io(dir.join(name).display(), error);
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(at)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(dir.join(name)).map_err(|error| at(error.error))?;
    Ok(())
}

/// Reads single messages of one account, in a new session after each that was lost.
struct Reader<'a> {
    opener: Opener<'a>,
    identity: String,
    source: Option<Box<dyn Source>>,
    /// The folder that was listed last in this session, with what was there by key.
    listed: Option<(Folder, BTreeMap<String, crate::store::Listed>)>,
    losses: u32,
}

impl<'a> Reader<'a> {
    fn new(place: &'a Place, app: &'a App) -> Result<Self> {
        let identity = open::identity(place)?;
        Ok(Self { opener: Opener::new(place, &app.context, &app.trace), identity, source: None, listed: None, losses: 0 })
    }

    /// The message, or why it cannot be had.
    fn message(&mut self, one: &Known) -> Result<Message> {
        if one.identity != self.identity {
            return Err(Error::refused("it is of another account than the one of --source"));
        }
        if self.losses >= LOSSES {
            return Err(Error::new(Kind::Network, format!("not asked for after {LOSSES} sessions were lost in a row")));
        }
        match self.attempt(one) {
            Ok(message) => {
                self.losses = 0;
                Ok(message)
            }
            Err(error) => {
                if error.scope() >= crate::error::Scope::Session {
                    self.losses += 1;
                    self.source = None;
                    self.listed = None;
                }
                Err(error)
            }
        }
    }

    fn attempt(&mut self, one: &Known) -> Result<Message> {
        let source = match &mut self.source {
            Some(source) => source,
            None => self.source.insert(self.opener.source()?),
        };
        if self.listed.as_ref().is_none_or(|(folder, _)| *folder != one.folder) {
            self.listed = None;
            let listing = source.list(&one.folder)?;
            let by_key = listing.messages.into_iter().filter_map(|listed| Some((listed.key.as_ref()?.to_string(), listed))).collect();
            self.listed = Some((one.folder.clone(), by_key));
        }
        let found = self.listed.as_ref().and_then(|(_, by_key)| by_key.get(&one.row.key)).cloned();
        let gone = || Error::refused("it is not on the server any more");
        let wanted = [found.ok_or_else(gone)?];
        let mut read = None;
        source.read(&wanted, &mut |_, message| {
            read = Some(message);
            Ok(())
        })?;
        read.ok_or_else(gone)?
    }

    fn finish(self) {
        if let Some(mut source) = self.source {
            // All that was wanted is written.
            let _ = source.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(key: &str) -> Known {
        let folder = Folder::inbox();
        let row = ProblemRow { id: id_of("imap://a", &folder, key), key: key.to_owned(), ..ProblemRow::default() };
        Known { row, identity: "imap://a".to_owned(), folder, of: None, refused: false }
    }

    #[test]
    fn a_problem_is_named_by_its_id_the_beginning_of_it_or_its_key_and_never_by_what_means_two() {
        let all = || vec![known("uid:1:1"), known("uid:1:2"), known("uidl:x")];
        let ids = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            chosen(all(), &named).map(|found| found.into_iter().map(|one| one.row.key).collect::<Vec<_>>())
        };
        let first = all()[0].row.id.clone();
        assert_eq!(first.len(), ID_DIGITS);
        assert_eq!(ids(&[first.get(..6).unwrap(), "uidl:x"]).unwrap(), ["uid:1:1", "uidl:x"]);
        assert_eq!(ids(&[]).unwrap().len(), 3);
        for wrong in ["", "zz", "uid:1:3"] {
            assert_eq!(ids(&[wrong]).unwrap_err().kind(), Kind::Usage);
        }
        let twice = vec![known("uid:1:1"), known("uid:1:1")];
        assert_eq!(chosen(twice, &["uid:1:1".to_owned()]).err().unwrap().kind(), Kind::Usage);
    }
}
