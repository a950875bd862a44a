//! Taking messages away from where they were, after their copies were proved elsewhere: just the named, each only while it
//! is still the message it was. It proves nothing itself.

use std::collections::{HashMap, HashSet};

use super::App;
use super::changing::{is_loss, select};
use super::picked::{Picked, name_of};
use super::reading::farewell;
use super::relocate::{MARKED, deleted};
use crate::account::{Location, Place, Protocol, Server};
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::imap::session::{Access, Session};
use crate::imap::{Change, UidSet};
use crate::message::Digest;
use crate::pop3::What;
use crate::store::eml::EmlSource;
use crate::store::maildir::MaildirSource;
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};

/// A message whose copy is proved.
pub(super) struct Leaving {
    /// As people see it: UID or number.
    pub(super) shown: u32,
    /// Its key, or its number where it has none.
    pub(super) name: String,
    /// Its content.
    pub(super) content: Digest,
}

/// What went.
#[derive(Default)]
pub(super) struct Vacated {
    /// They are gone, by what people see.
    pub(super) gone: HashSet<u32>,
    /// The others, and why they are still there.
    pub(super) problems: Vec<(u32, String)>,
    /// What ended it before its time.
    pub(super) error: Option<Error>,
}

/// Takes `leaving` out of a folder.
///
/// # Errors
/// What kept it from beginning.
pub(super) fn vacate(app: &App, place: &Place, folder: &Folder, picked: &Picked, leaving: &[Leaving]) -> Result<Vacated> {
    if leaving.is_empty() {
        return Ok(Vacated::default());
    }
    app.context.check()?;
    match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => imap(app, server, folder, picked, leaving),
        Location::Server(server) => pop3(app, server, folder, picked, leaving),
        Location::Maildir(path) => {
            let mut source = MaildirSource::new(path);
            let ids = ids(&mut source, folder, picked, leaving)?;
            local(leaving, &ids, |wanted, each| source.remove(wanted, &app.context, each))
        }
        Location::Eml(path) => {
            let mut source = EmlSource::new(path);
            let ids = ids(&mut source, folder, picked, leaving)?;
            local(leaving, &ids, |wanted, each| source.remove(wanted, &app.context, each))
        }
        Location::Mbox(_) | Location::Stdio => Err(Error::usage("this version takes no messages out of this place").at(&place.shown)),
    }
}

fn imap(app: &App, server: &Server, folder: &Folder, picked: &Picked, leaving: &[Leaving]) -> Result<Vacated> {
    let mut session = Session::connect(server, Access::ReadWrite, &app.context, &app.trace)?;
    let mut selected = select(&mut session, folder)?;
    // The same UIDs must mean the same messages.
    picked.of(crate::store::Listing { generation: selected.state().uid_validity, messages: Vec::new() })?;
    if selected.state().permitted(&[deleted()]).0.is_empty() {
        return Err(Error::refused(format!("the messages were copied, but the folder {folder} lets nobody remove any")).at(session.place()));
    }
    let uids: UidSet = leaving.iter().map(|one| one.shown).collect();
    let stored = selected.store(&uids, Change::Add, &[deleted()], None)?;
    let mut vacated = Vacated::default();
    let tell = |vacated: &mut Vacated, uids: &UidSet, why: &str| vacated.problems.extend(uids.iter().map(|uid| (uid, why.to_owned())));
    if let Some(error) = stored.rest.error {
        let why = format!("copied, and not removed where it was: {error}");
        tell(&mut vacated, &uids.difference(&stored.done), &why);
        if is_loss(&error) {
            tell(&mut vacated, &stored.done, &why);
            vacated.error = Some(error);
            return Ok(vacated);
        }
    }
    let Some(expunged) = selected.expunge(&stored.done)? else {
        tell(&mut vacated, &stored.done, MARKED);
        farewell(session.logout())?;
        return Ok(vacated);
    };
    let mut gone = expunged.done;
    let lost = expunged.rest.error.as_ref().is_some_and(is_loss);
    if !lost && !gone.is_empty() {
        let still: UidSet = selected.flags_now(&gone)?.into_keys().collect();
        gone = gone.difference(&still);
    }
    let why = expunged.rest.error.as_ref().map_or_else(|| "the server says it is gone, and still has it".to_owned(), ToString::to_string);
    tell(&mut vacated, &stored.done.difference(&gone), &format!("copied, marked as deleted, and not removed where it was: {why}"));
    vacated.gone = gone.iter().collect();
    if lost {
        vacated.error = expunged.rest.error;
    } else {
        farewell(session.logout())?;
    }
    Ok(vacated)
}

/// The ids of a fresh listing for those that are leaving, by name.
fn ids(source: &mut dyn Source, folder: &Folder, picked: &Picked, leaving: &[Leaving]) -> Result<HashMap<String, u32>> {
    source.folders()?;
    let listing = picked.of(source.list(folder)?)?;
    let names: HashSet<&str> = leaving.iter().map(|one| one.name.as_str()).collect();
    let named = |listed: &Listed| Some((name_of(listed), listed.id)).filter(|(name, _)| names.contains(name.as_str()));
    Ok(listing.messages.iter().filter_map(named).collect())
}

fn local(
    leaving: &[Leaving],
    ids: &HashMap<String, u32>,
    remove: impl FnOnce(&[(u32, Digest)], &mut dyn FnMut(usize, Result<()>)) -> Result<()>,
) -> Result<Vacated> {
    let mut vacated = Vacated::default();
    let mut wanted = Vec::new();
    for one in leaving {
        match ids.get(&one.name) {
            Some(id) => wanted.push((one, (*id, one.content))),
            // Somebody else took it away.
            None => drop(vacated.gone.insert(one.shown)),
        }
    }
    let files: Vec<(u32, Digest)> = wanted.iter().map(|(_, file)| *file).collect();
    let outcome = remove(&files, &mut |index, outcome| {
        let Some((one, _)) = wanted.get(index) else { return };
        match outcome {
            Ok(()) => drop(vacated.gone.insert(one.shown)),
            Err(error) => vacated.problems.push((one.shown, format!("copied, and not removed where it was: {error}"))),
        }
    });
    vacated.error = outcome.err();
    Ok(vacated)
}

fn pop3(app: &App, server: &Server, folder: &Folder, picked: &Picked, leaving: &[Leaving]) -> Result<Vacated> {
    let mut source = Pop3Source::connect_to_delete(server, &app.context, &app.trace)?;
    let listing = picked.of(source.list(folder)?)?;
    let there: HashMap<String, &Listed> = listing.messages.iter().map(|listed| (name_of(listed), listed)).collect();
    let mut vacated = Vacated::default();
    let session = source.session();
    let mut numbers: Vec<(u32, &Leaving)> = Vec::new();
    let mut doubtful: Vec<(u32, &Leaving)> = Vec::new();
    for one in leaving {
        match there.get(&one.name) {
            Some(listed) if picked.doubtful(listed) => doubtful.push((listed.id, one)),
            Some(listed) => numbers.push((listed.id, one)),
            None => drop(vacated.gone.insert(one.shown)),
        }
    }
    // A number tells nothing, nor does a name that may have been used again: only the message itself says that it is the one
    // that was copied.
    let asked: Vec<u32> = doubtful.iter().map(|(number, _)| *number).collect();
    session.retrieve(&asked, What::Whole, &mut |index, outcome| {
        app.context.check()?;
        let Some((number, one)) = doubtful.get(index) else { return Ok(()) };
        match outcome {
            Ok((_, digests)) if digests.content == one.content => numbers.push((*number, *one)),
            _ => vacated.problems.push((one.shown, "copied, and not removed: its number means another message now".to_owned())),
        }
        Ok(())
    })?;
    numbers.sort_unstable_by_key(|(number, _)| *number);
    let to_mark: Vec<u32> = numbers.iter().map(|(number, _)| *number).collect();
    let mut marked: Vec<&Leaving> = Vec::new();
    session.delete(&to_mark, &mut |index, outcome| {
        app.context.check()?;
        let Some((_, one)) = numbers.get(index) else { return Ok(()) };
        match outcome {
            Ok(()) => marked.push(one),
            Err(error) => vacated.problems.push((one.shown, format!("copied, and not removed where it was: {error}"))),
        }
        Ok(())
    })?;
    app.context.check()?;
    app.context.step("pop3.quit");
    match session.commit() {
        Ok(()) => {
            let still = if marked.is_empty() { HashSet::new() } else { still_there(app, server, folder, &marked) };
            for one in marked {
                if still.contains(one.name.as_str()) {
                    vacated.problems.push((one.shown, "copied; the server says it is gone, and still has it".to_owned()));
                } else {
                    vacated.gone.insert(one.shown);
                }
            }
        }
        // RFC 1939 section 6: what was marked may or may not be gone.
        Err(error) => {
            let why = format!("copied, and not known whether it is gone: {error}");
            vacated.problems.extend(marked.into_iter().map(|one| (one.shown, why.clone())));
            vacated.error = Some(error).filter(|error| error.kind() != Kind::Refused);
        }
    }
    Ok(vacated)
}

/// Which of the messages a next login still shows (`TRANSFER.md`, Migrate, 10). Where it cannot be had, the server's word at
/// QUIT stands; messages without unique-ids cannot be told apart.
fn still_there<'l>(app: &App, server: &Server, folder: &Folder, marked: &[&'l Leaving]) -> HashSet<&'l str> {
    let listing = Pop3Source::connect(server, &app.context, &app.trace).and_then(|mut source| {
        let listing = source.list(folder)?;
        source.finish()?;
        Ok(listing)
    });
    let there: HashSet<String> =
        listing.map(|listing| listing.messages.iter().filter(|listed| listed.key.is_some()).map(name_of).collect()).unwrap_or_default();
    marked.iter().map(|one| one.name.as_str()).filter(|name| there.contains(*name)).collect()
}
