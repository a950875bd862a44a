//! Messages from one place to another that is not on the same server: into an IMAP account through the copy loop and its
//! journal, into local files by comparing contents. A move takes away only messages whose copies were read back in this run
//! (`TRANSFER.md`, Migrate, 10).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::App;
use super::changing::{Checked, MaxDelete, check, preview, problem};
use super::choice::{Choice, Picked as Chosen, Store};
use super::deliver::date;
use super::ledger::Ledger;
use super::picked::{Picked, PickedSource, Read, name_of};
use super::reading::{NO_SUCH, farewell, folder_of, numbered, offset};
use super::transport::{Args, Told, Verb};
use super::vacate::{Leaving, vacate};
use crate::account::{Location, Place, Protocol};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::imap::session::{Access, Session};
use crate::message::{Digest, Flag, Key, Message};
use crate::output::ChangedRow;
use crate::report::{Event, Report, counted};
use crate::state::{self, Batch, Change, CopyRow, Journal, State};
use crate::store::open::{self, Opener};
use crate::store::pop3::Pop3Source;
use crate::store::{FolderInfo, Listed, Outcome, Outgoing, Sink, Source, Wait};
use crate::transfer::{Asked, Options, Proof, Proofs, SourceFlags, Spot, Transfer};

/// Messages and octets that are written to files together at most.
const GROUP_MESSAGES: usize = 256;
const GROUP_OCTETS: u64 = 8 * 1024 * 1024;

/// A chosen message.
struct One {
    /// As people see it: UID or number.
    shown: u32,
    /// Its key, or its number where only reading it tells.
    name: String,
    uidl: Option<String>,
    flags: Vec<Flag>,
}

/// What the choice came to.
struct Choosing {
    messages: Vec<One>,
    picked: Picked,
    /// Messages in the folder.
    exists: u64,
}

/// One run of either verb between two places.
struct Run<'a> {
    verb: Verb,
    args: &'a Args,
    app: &'a App,
    place: &'a Place,
    destination: &'a Place,
    from: Folder,
    to: Folder,
}

pub(super) fn run(
    verb: Verb,
    args: &Args,
    max_delete: MaxDelete,
    app: &App,
    (place, destination): (&Place, &Place),
    choice: &Choice,
    told: &mut Told,
) -> Result<()> {
    let run = Run { verb, args, app, place, destination, from: folder_of(place), to: folder_of(destination) };
    match &destination.location {
        Location::Server(server) if server.protocol == Protocol::Pop3 => {
            return Err(Error::usage("POP3 cannot take mail; name the account's IMAP side").at(&destination.shown));
        }
        Location::Stdio => {
            return Err(Error::usage("standard output makes no sense here; mailhaul fetch writes to it").at(&destination.shown));
        }
        _ => {}
    }
    if matches!(place.location, Location::Stdio) {
        return Err(Error::usage("standard input makes no sense here; mailhaul upload reads it").at(&place.shown));
    }
    if verb == Verb::Move && matches!(place.location, Location::Mbox(_)) {
        return Err(Error::usage("this version takes no messages out of an mbox")
            .at(&place.shown)
            .hint("copy them, and remove the file when all went well"));
    }
    if open::identity(place).ok().is_some_and(|here| open::identity(destination).ok() == Some(here)) && run.from == run.to {
        return Err(Error::usage("the source and the destination are the same folder").at(&destination.shown));
    }
    told.numbered = numbered(place);
    let choosing = run.choose(choice, told)?;
    told.selected = choosing.messages.len() as u64;
    let allowed = if verb == Verb::Move {
        max_delete.check(told.selected, choosing.exists.max(told.selected), &run.from).map_err(|error| error.at(&place.shown))
    } else {
        Ok(())
    };
    if args.dry_run.dry_run {
        run.must_be_there()?;
        if told.rows.is_empty() {
            told.rows = choosing.messages.iter().map(|one| run.row(one, None)).collect();
        }
        told.changed = told.selected;
        return allowed;
    }
    allowed?;
    if choosing.messages.is_empty() {
        return Ok(());
    }
    // Asked for one after the other, and before the clock runs: both ends are opened at once.
    for place in [place, destination] {
        if let Some(server) = place.server() {
            server.login(&app.context)?;
        }
    }
    if destination.server().is_some() { run.to_account(choosing, told) } else { run.to_files(choosing, told) }
}

impl Run<'_> {
    fn row(&self, one: &One, new_uid: Option<u32>) -> ChangedRow {
        let numbered = numbered(self.place);
        ChangedRow {
            folder: self.from.to_string(),
            uid: (!numbered).then_some(one.shown),
            number: numbered.then_some(one.shown),
            uidl: one.uidl.clone(),
            new_uid,
            ..ChangedRow::default()
        }
        .with_flags(&one.flags)
    }

    /// Chooses; with `--dry-run` the rows that tell messages apart are made here.
    fn choose(&self, choice: &Choice, told: &mut Told) -> Result<Choosing> {
        let Some(server) = self.place.server().filter(|server| server.protocol == Protocol::Imap) else {
            let (exists, wanted) = self.choose_numbered(choice, told)?;
            let offset = offset(self.place);
            let mut messages = Vec::new();
            let mut picked = Picked::default();
            for mut listed in wanted {
                let shown = listed.id;
                listed.id = shown.saturating_sub(offset);
                let uidl = match &listed.key {
                    Some(Key::Uidl { uidl }) => Some(uidl.to_string()),
                    _ => None,
                };
                messages.push(One { shown, name: name_of(&listed), uidl, flags: Vec::new() });
                picked.add(&listed);
            }
            return Ok(Choosing { messages, picked, exists });
        };
        let mut session = Session::connect(server, Access::ReadOnly, &self.app.context, &self.app.trace)?;
        let mut selected = session.open_folder(&self.from, false)?;
        let Some(generation) = selected.state().uid_validity else {
            return Err(Error::refused(format!("the folder {} has no UIDVALIDITY, so its messages cannot be told apart", self.from)));
        };
        let Checked { messages, missing } = check(&mut selected, choice, self.app)?;
        told.problems.extend(missing.into_iter().map(|uid| problem(&self.from, uid, NO_SUCH)));
        if self.args.dry_run.dry_run {
            preview(&mut selected, &self.from, &messages, &|flags| flags.to_vec(), &mut |row| {
                told.rows.push(row.clone());
                Ok(())
            })?;
        }
        let exists = selected.state().exists;
        farewell(session.logout())?;
        let name = |uid| Key::Uid { generation, uid }.to_string();
        let picked = Picked::of_generation(generation, messages.iter().map(|one| name(one.uid)));
        let one = |uid, flags: &[Flag]| One { shown: uid, name: name(uid), uidl: None, flags: flags.to_vec() };
        Ok(Choosing { messages: messages.iter().map(|candidate| one(candidate.uid, &candidate.flags)).collect(), picked, exists })
    }

    /// How many messages a place without UIDs holds, and those that are wanted, as people number them. What cannot be looked into
    /// is not chosen on a guess.
    fn choose_numbered(&self, choice: &Choice, told: &mut Told) -> Result<(u64, Vec<Listed>)> {
        let (context, offset) = (&self.app.context, offset(self.place));
        let mut choose = |store: &mut Store<'_>| {
            let messages = store.source().list(&self.from)?.messages;
            let exists = messages.len() as u64;
            let there: HashSet<u32> = messages.iter().map(|listed| listed.id.saturating_add(offset)).collect();
            told.problems
                .extend(choice.missing(|number| there.contains(&number)).into_iter().map(|number| problem(&self.from, number, NO_SUCH)));
            let Chosen { wanted, unreadable } = choice.of_listing(store, messages, offset)?;
            let shown = |id: u32| id.saturating_add(offset);
            told.problems.extend(unreadable.into_iter().map(|(listed, why)| problem(&self.from, shown(listed.id), why.to_string())));
            Ok((exists, wanted.into_iter().map(|listed| Listed { id: shown(listed.id), ..listed }).collect()))
        };
        match &self.place.location {
            Location::Server(server) => {
                let mut source = Pop3Source::connect(server, context, &self.app.trace)?;
                let chosen = choose(&mut Store::Pop3(&mut source))?;
                farewell(source.finish())?;
                Ok(chosen)
            }
            _ => choose(&mut Store::Local(open::local_source(self.place)?.as_mut())),
        }
    }

    /// What a dry run can tell of the destination.
    fn must_be_there(&self) -> Result<()> {
        let mut sink = open::sink(self.destination, Access::ReadOnly, &self.app.context, &self.app.trace)?;
        self.destination_folder(sink.as_mut())?;
        farewell(sink.finish())
    }

    fn destination_folder(&self, sink: &mut dyn Sink) -> Result<FolderInfo> {
        match sink.folders()?.into_iter().find(|info| info.folder == self.to) {
            Some(info) if info.selectable => Ok(info),
            Some(_) => Err(Error::usage(format!("the folder {} holds other folders and no messages", self.to)).at(&self.destination.shown)),
            None if self.args.create || self.to.is_inbox() => {
                Ok(FolderInfo { folder: self.to.clone(), special_use: None, subscribed: true, selectable: true })
            }
            None => Err(Error::usage(format!("there is no folder {}", self.to)).at(&self.destination.shown).hint("--create makes it")),
        }
    }

    fn source_flags(&self) -> SourceFlags {
        if open::keeps_flags(self.place) { SourceFlags::Kept } else { SourceFlags::None(self.args.count_as_seen) }
    }

    fn to_account(&self, choosing: Choosing, told: &mut Told) -> Result<()> {
        let (app, context) = (self.app, &self.app.context);
        let (source_name, destination_name) = (open::identity(self.place)?, open::identity(self.destination)?);
        let dir = match &self.args.copying.state {
            Some(dir) => dir.clone(),
            None => state::default_dir(&destination_name)?,
        };
        let opener = Opener::new(self.place, context, &app.trace);
        let picked = Arc::new(choosing.picked);
        let read: Read = Arc::new(Mutex::new(HashMap::new()));
        let progress = super::progress(app);
        let mut journal = Journal::open(&dir, &destination_name, context).map_err(|error| error.at(&self.destination.shown))?;
        let (outcome, error) = Transfer {
            context,
            report: &progress,
            journal: &mut journal,
            options: Options {
                flags: self.source_flags(),
                date_from: self.args.copying.date_from,
                settle: self.args.copying.settle,
                create: self.args.create,
                ..Options::default()
            },
            source_name: source_name.clone(),
            open_source: &|| Ok(Box::new(PickedSource::new(opener.source()?, Arc::clone(&picked), Arc::clone(&read)))),
            open_sink: &|| open::sink(self.destination, Access::ReadWrite, context, &app.trace),
            only: Some(self.from.clone()),
            into: Some(self.to.clone()),
            asked: Asked::Named,
        }
        .run();
        let shown = offset(self.place);
        let failed: HashSet<u32> = outcome.problems.iter().filter_map(|problem| problem.uid).map(|id| id.saturating_add(shown)).collect();
        told.problems.extend(outcome.problems.into_iter().map(|mut problem| {
            problem.uid = problem.uid.map(|id| id.saturating_add(shown));
            problem
        }));
        let altered = outcome.altered.len();
        if altered > 0 && self.verb == Verb::Copy {
            app.note(&format!(
                "altered on the way, because the destination takes mail in no other form: {}",
                counted(altered as u64, "message")
            ));
        }
        let mailbox = journal.mailbox(&self.to)?;
        let copies = journal.copies(&source_name, &self.from, mailbox)?;
        let digests = std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner));
        let mut there = Vec::new();
        let mut claimed = HashSet::new();
        for one in choosing.messages {
            let row = row_of(&one, &copies, &digests, &mut claimed).filter(|row| matches!(row.state, State::Done | State::Merged));
            match row {
                Some(row) => there.push((one, row.clone())),
                None if failed.contains(&one.shown) || error.is_some() => {}
                None => told.problems.push(problem(&self.from, one.shown, "it was gone before it could be read")),
            }
        }
        if let Some(error) = error {
            if self.verb == Verb::Copy {
                self.told_copies(&there, told);
            } else {
                // Nothing was taken away yet.
                let why = "it was copied, and not yet removed where it was; run the same command again to go on";
                told.problems.extend(there.iter().map(|(one, _)| problem(&self.from, one.shown, why)));
            }
            return Err(error);
        }
        if self.verb == Verb::Copy {
            self.told_copies(&there, told);
            return Ok(());
        }
        let proved = self.proved(&mut journal, there, &digests, &opener, &picked, told)?;
        let leaving: Vec<Leaving> =
            proved.iter().map(|(one, row)| Leaving { shown: one.shown, name: one.name.clone(), content: row.content }).collect();
        let vacated = vacate(self.app, self.place, &self.from, &picked, &leaving)?;
        let gone: Vec<Change> =
            proved.iter().filter(|(one, _)| vacated.gone.contains(&one.shown)).map(|(_, row)| Change::Released { copy: row.id }).collect();
        journal.commit(&Batch(gone))?;
        self.told_left(proved.iter().map(|(one, row)| (one, row.uid)), vacated, told)
    }

    fn told_copies(&self, there: &[(One, CopyRow)], told: &mut Told) {
        told.rows.extend(there.iter().map(|(one, row)| self.row(one, row.uid)));
        told.changed = told.rows.len() as u64;
    }

    fn told_left<'o>(
        &self,
        proved: impl Iterator<Item = (&'o One, Option<u32>)>,
        vacated: super::vacate::Vacated,
        told: &mut Told,
    ) -> Result<()> {
        told.rows.extend(proved.filter(|(one, _)| vacated.gone.contains(&one.shown)).map(|(one, new_uid)| self.row(one, new_uid)));
        told.changed = told.rows.len() as u64;
        told.problems.extend(vacated.problems.into_iter().map(|(uid, reason)| problem(&self.from, uid, reason)));
        vacated.error.map_or(Ok(()), Err)
    }

    /// Those whose copies, read back now, are what the source's messages are.
    fn proved(
        &self,
        journal: &mut Journal,
        there: Vec<(One, CopyRow)>,
        read: &HashMap<String, Digest>,
        opener: &Opener<'_>,
        picked: &Arc<Picked>,
        told: &mut Told,
    ) -> Result<Vec<(One, CopyRow)>> {
        let context = &self.app.context;
        // Messages that earlier runs copied were not read in this one.
        let unread: HashSet<&str> = there.iter().map(|(one, _)| one.name.as_str()).filter(|name| !read.contains_key(*name)).collect();
        let mut digests = read.clone();
        if !unread.is_empty() {
            let late: Read = Arc::default();
            let mut source = PickedSource::new(opener.source()?, Arc::clone(picked), Arc::clone(&late));
            source.folders()?;
            let mut listed = source.list(&self.from)?.messages;
            listed.retain(|listed| unread.contains(name_of(listed).as_str()));
            source.read(&listed, &mut |_, _| context.check())?;
            farewell(source.finish())?;
            digests.extend(std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        let (source, ids) = (open::identity(self.place)?, there.iter().map(|(_, row)| row.id).collect::<HashSet<_>>());
        let destination = FolderInfo { folder: self.to.clone(), special_use: None, subscribed: true, selectable: true };
        let spot = Spot { source: &source, folder: &self.from, destination: &destination };
        let open = || open::sink(self.destination, Access::ReadOnly, context, &self.app.trace);
        let progress = super::progress(self.app);
        let mut proofs = Proofs::new(&open, context, &progress);
        let found = proofs.look(journal, spot, &|_, row| ids.contains(&row.id))?;
        let copies = proofs.read(spot, &found)?;
        proofs.finish();
        let mut placed: HashMap<state::CopyId, CopyRow> = found.into_values().map(|found| (found.row.id, found.row)).collect();
        let mut proved = Vec::new();
        for (one, row) in there {
            let row = placed.remove(&row.id).unwrap_or(row);
            let why = match (copies.get(&row.id), digests.get(&one.name)) {
                _ if row.altered => "it was copied, and altered on the way, so it stays",
                (Some(Proof::Same), Some(own)) if *own == row.content => {
                    proved.push((one, row));
                    continue;
                }
                (_, None) => "it was copied, and cannot be read again to compare it, so it stays",
                (None | Some(Proof::Unreadable(_)), _) => "it was copied, and its copy could not be read back, so it stays",
                _ => "its copy is not the same when read back, so it stays",
            };
            told.problems.push(problem(&self.from, one.shown, why));
        }
        Ok(proved)
    }

    fn to_files(&self, choosing: Choosing, told: &mut Told) -> Result<()> {
        let context = &self.app.context;
        let opener = Opener::new(self.place, context, &self.app.trace);
        let picked = Arc::new(choosing.picked);
        let read: Read = Arc::default();
        let mut source = PickedSource::new(opener.source()?, Arc::clone(&picked), Arc::clone(&read));
        source.folders()?;
        let wanted = source.list(&self.from)?.messages;
        let mut sink = open::sink(self.destination, Access::ReadWrite, context, &self.app.trace)?;
        let info = self.destination_folder(sink.as_mut())?;
        sink.open(&info, true)?;
        let mut there = contents(sink.as_mut())?;
        let identity = open::identity(self.destination)?;
        let dir = match &self.args.copying.state {
            Some(dir) => dir.clone(),
            None => state::default_dir(&identity)?,
        };
        let origin = (open::identity(self.place)?, self.from.clone());
        let mut ledger =
            Ledger::open(&dir, &identity, context, origin, &self.to, &there).map_err(|error| error.at(&self.destination.shown))?;
        let progress = super::progress(self.app);
        let bytes = wanted.iter().filter_map(|listed| listed.size).fold(0, u64::saturating_add);
        progress.event(Event::Planned { folder: self.from.to_string(), messages: wanted.len() as u64, bytes });
        let mut taken: HashMap<String, Digest> = HashMap::new();
        let mut writing = Writing { offset: offset(self.place), ..Writing::default() };
        let flags = self.source_flags();
        let result = source.read(&wanted, &mut |index, message| {
            context.check()?;
            let Some(listed) = wanted.get(index) else { return Ok(()) };
            let name = name_of(listed);
            let mut message = match message {
                Ok(message) => message,
                Err(error) => {
                    writing.refused.insert(name, error.to_string());
                    return Ok(());
                }
            };
            let content = message.digests.content;
            taken.insert(name, content);
            progress.event(Event::Copied { folder: self.from.to_string(), bytes: message.body.len() });
            // A copy leaves out what is there; a move must know that the message there is not the one it takes away.
            let equal = there.get_mut(&content).filter(|count| **count > 0).map(|count| *count -= 1).is_some();
            if ledger.wrote(listed, &message)? || (equal && self.verb == Verb::Copy) {
                return Ok(());
            }
            date(&mut message)?;
            if matches!(flags, SourceFlags::None(crate::transfer::Seen::All)) && message.flags.is_empty() {
                message.flags.push(Flag::seen());
            }
            writing.octets += message.body.len();
            writing.waiting.push((listed.clone(), message));
            if writing.waiting.len() >= GROUP_MESSAGES || writing.octets >= GROUP_OCTETS {
                writing.flush(sink.as_mut(), &mut ledger)?;
            }
            Ok(())
        });
        // What was received whole is kept, whatever ended the reading.
        let written = writing.flush(sink.as_mut(), &mut ledger);
        progress.event(Event::Finished);
        written?;
        result?;
        farewell(source.finish())?;
        // Looked at afresh: what stands there now is what counts.
        let mut there = contents(sink.as_mut())?;
        sink.finish()?;
        let mut proved = Vec::new();
        for one in choosing.messages {
            let reason = match (writing.refused.get(&one.name), taken.get(&one.name)) {
                (Some(reason), _) => reason.clone(),
                (None, None) => "it was gone before it could be read".to_owned(),
                (None, Some(content)) => match there.get_mut(content).filter(|count| **count > 0) {
                    Some(_) if self.verb == Verb::Move && writing.altered.contains(&one.name) => {
                        "it was copied, and altered on the way, so it stays".to_owned()
                    }
                    Some(count) => {
                        *count -= 1;
                        proved.push((one, *content));
                        continue;
                    }
                    None => "its copy is not the same when read back".to_owned(),
                },
            };
            told.problems.push(problem(&self.from, one.shown, reason));
        }
        if self.verb == Verb::Copy {
            ledger.gone(std::iter::empty())?;
            told.rows.extend(proved.iter().map(|(one, _)| self.row(one, None)));
            told.changed = told.rows.len() as u64;
            return Ok(());
        }
        let leaving: Vec<Leaving> =
            proved.iter().map(|(one, content)| Leaving { shown: one.shown, name: one.name.clone(), content: *content }).collect();
        let vacated = vacate(self.app, self.place, &self.from, &picked, &leaving)?;
        ledger.gone(leaving.iter().filter(|one| vacated.gone.contains(&one.shown)).map(|one| one.name.as_str()))?;
        self.told_left(proved.iter().map(|(one, _)| (one, None)), vacated, told)
    }
}

/// Messages on their way into files, in groups.
#[derive(Default)]
struct Writing {
    /// What is added to the ids of a listing to get the numbers people see.
    offset: u32,
    waiting: Vec<(Listed, Message)>,
    octets: u64,
    refused: HashMap<String, String>,
    altered: HashSet<String>,
}

impl Writing {
    /// Makes all that waits durable.
    fn flush(&mut self, sink: &mut dyn Sink, ledger: &mut Ledger) -> Result<()> {
        self.octets = 0;
        let group = std::mem::take(&mut self.waiting);
        if group.is_empty() {
            return Ok(());
        }
        ledger.intend(&group)?;
        let mut names: HashMap<u64, String> = HashMap::new();
        for (listed, message) in group {
            let fresh = ledger.fresh_ticket(message.digests.content);
            let ticket = fresh.unwrap_or_else(|| u64::from(listed.id.saturating_add(self.offset)));
            names.insert(ticket, name_of(&listed));
            sink.append(Outgoing { ticket, message })?;
        }
        let mut settled: Vec<(String, Option<String>)> = Vec::new();
        for placement in sink.settle(Wait::All)? {
            let Some(name) = names.remove(&placement.ticket) else { continue };
            let refused = match placement.outcome {
                Outcome::Stored { altered, .. } => {
                    if !altered.is_empty() {
                        self.altered.insert(name.clone());
                    }
                    None
                }
                Outcome::Refused(error) => Some(error.to_string()),
                Outcome::Unknown { .. } | Outcome::NotSent { .. } => Some("it could not be written".to_owned()),
            };
            if let Some(reason) = &refused {
                self.refused.insert(name.clone(), reason.clone());
            }
            settled.push((name, refused));
        }
        ledger.settled(settled.iter().map(|(name, refused)| (name.as_str(), refused.clone())))
    }
}

/// What the journal knows of a chosen message; one without a key is known by its content, each copy once.
fn row_of<'a>(
    one: &One,
    copies: &'a HashMap<String, CopyRow>,
    read: &HashMap<String, Digest>,
    claimed: &mut HashSet<state::CopyId>,
) -> Option<&'a CopyRow> {
    if let Some(row) = copies.get(&one.name) {
        return Some(row);
    }
    let content = read.get(&one.name).filter(|_| one.name.starts_with("number:"))?;
    let mut rows: Vec<&CopyRow> = copies.values().filter(|row| row.content == *content && !claimed.contains(&row.id)).collect();
    rows.sort_by_key(|row| row.id);
    let row = rows.into_iter().find(|row| row.state == State::Done)?;
    claimed.insert(row.id);
    Some(row)
}

/// How often each content stands in the sink's open folder.
fn contents(sink: &mut dyn Sink) -> Result<HashMap<Digest, u32>> {
    let mut there: HashMap<Digest, u32> = HashMap::new();
    for listed in sink.look(1)?.messages {
        if let Some(Key::Content { digest, .. }) = listed.key {
            *there.entry(digest).or_default() += 1;
        }
    }
    Ok(there)
}
