//! Messages from one folder of an IMAP account to another: MOVE where the server has it, else COPY, a mark and UID EXPUNGE
//! with a record of how far it is, so that a run that dies in between is finished by the next and leaves no second copy.
//! It never decides which messages move, and a message whose copy is not proved stays where it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::App;
use crate::account::Server;
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::imap::selected::Selected;
use crate::imap::session::{Mailbox, Session};
use crate::imap::{Change, Placed, UidSet};
use crate::message::Flag;
use crate::state::{self, Journal, Route};

/// A folder of the account.
#[derive(Debug, Clone)]
pub(super) struct Mailfolder {
    /// Its name for people.
    pub(super) folder: Folder,
    /// Its name for the server.
    pub(super) wire_name: Vec<u8>,
}

/// A message that was moved or copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    /// Its UID where it was.
    pub(super) uid: u32,
    /// Its UID in the other folder, where the server tells.
    pub(super) new_uid: Option<u32>,
}

/// What became of messages that were to be moved.
#[derive(Debug, Default)]
pub(super) struct Relocated {
    /// They are in the other folder, and no longer in this one.
    pub(super) moved: Vec<Moved>,
    /// They are in the other folder, and marked as deleted in this one: the server cannot remove just them (no UIDPLUS).
    pub(super) marked: Vec<Moved>,
    /// They were gone before they could be moved.
    pub(super) gone: UidSet,
    /// They stay where they are, or nobody knows yet.
    pub(super) left: UidSet,
    /// Why.
    pub(super) error: Option<Error>,
    /// They stay where they are for reasons of their own.
    pub(super) problems: Vec<(u32, String)>,
}

/// Says that messages stay marked, because more would take other people's messages along.
pub(super) const MARKED: &str = "copied, and marked as deleted where it was: this server cannot remove just the named messages (no UIDPLUS); expunge the folder to be rid of it";

const UNTOLD: &str =
    "the server said that copying went well and left it out of what it told of that; run the same command again: it finds out by contents";

/// Moves messages within one account.
pub(super) struct Relocator<'a> {
    pub(super) app: &'a App,
    pub(super) identity: String,
    pub(super) dir: PathBuf,
    /// How long a copy whose answer got lost is looked for.
    pub(super) settle: Duration,
    /// Open from when something has to be recorded or finished.
    pub(super) journal: Option<Journal>,
    /// What this run finished for runs that died: from, to, and the messages.
    pub(super) finished: Vec<(Folder, Folder, Moved)>,
    /// Those of them that stay marked.
    pub(super) finished_marked: Vec<(Folder, Folder, Moved)>,
    /// Of these nobody knows whether they were copied: they stay.
    pub(super) held: Vec<(Folder, u32)>,
    /// What of theirs could not be finished, in words.
    pub(super) problems: Vec<(Folder, u32, String)>,
}

impl<'a> Relocator<'a> {
    /// `state` is the directory the user named for the account's journal.
    ///
    /// # Errors
    /// [`Kind::Usage`] when there is no place for a journal.
    pub(super) fn new(app: &'a App, server: &Server, state: Option<&Path>, settle: Duration) -> Result<Self> {
        let identity = server.identity();
        let dir = match state {
            Some(dir) => dir.to_owned(),
            None => state::default_dir(&identity)?,
        };
        Ok(Self {
            app,
            identity,
            dir,
            settle,
            journal: None,
            finished: Vec::new(),
            finished_marked: Vec::new(),
            held: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// The journal, locked by us.
    pub(super) fn journal(&mut self) -> Result<&mut Journal> {
        if self.journal.is_none() {
            self.journal = Some(Journal::open(&self.dir, &self.identity, &self.app.context)?);
        }
        self.journal.as_mut().ok_or_else(|| Error::local("the journal is closed"))
    }

    /// Moves `uids` of the selected mailbox (`from`) to `to`.
    ///
    /// # Errors
    /// What kept it from beginning: another run that holds the lock, a server that cannot do it safely. What was refused or
    /// lost on the way is in the answer.
    pub(super) fn relocate(&mut self, selected: &mut Selected<'_>, from: &Folder, to: &Mailfolder, uids: &UidSet) -> Result<Relocated> {
        // What an earlier run copied and could not remove must not be copied once more.
        let here = || self.finished_marked.iter().filter(|(source, _, one)| source == from && uids.contains(one.uid));
        let marked: Vec<Moved> = here().filter(|(_, there, _)| *there == to.folder).map(|(.., one)| *one).collect();
        // Marked on the way to another folder: its copy is there and not where it is wanted now, and a copy of it here would
        // bring back what is deleted.
        let elsewhere: Vec<(u32, String)> =
            here().filter(|(_, there, _)| *there != to.folder).map(|(_, there, one)| (one.uid, marked_for(there))).collect();
        let held: UidSet =
            here().map(|(.., one)| one.uid).chain(self.held.iter().filter(|(source, _)| source == from).map(|(_, uid)| *uid)).collect();
        let free = uids.difference(&held);
        let mut done = if free.is_empty() {
            Relocated::default()
        } else {
            match selected.move_to(&free, &to.wire_name)? {
                Some(placed) => told(&free, placed),
                None => self.by_copying(selected, from, to, &free)?,
            }
        };
        done.marked.extend(marked);
        done.problems.extend(elsewhere);
        Ok(done)
    }

    fn by_copying(&mut self, selected: &mut Selected<'_>, from: &Folder, to: &Mailfolder, uids: &UidSet) -> Result<Relocated> {
        let deleted = [deleted()];
        if selected.state().read_only || selected.state().permitted(&deleted).0.is_empty() {
            return Err(Error::refused(format!("the folder {from} lets nobody remove messages, so they can only be copied")));
        }
        // Asked before the intent, which keeps the end of the folder as it stood before the copies.
        let there = selected.status(&to.wire_name)?;
        let (Some(source_validity), Some(destination_validity), Some(floor)) =
            (selected.state().uid_validity, there.uid_validity, there.uid_next)
        else {
            return Err(Error::refused("the server tells no UIDVALIDITY and UIDNEXT, so a move in several steps could not be proved")
                .hint("copy the messages, then delete them"));
        };
        let route = Route { source: from.clone(), source_validity, destination: to.folder.clone(), destination_validity };
        let now = self.app.context.unix_time();
        self.journal()?.intend_moves(&route, uids.iter(), floor, now)?;
        let mut placed = selected.copy(uids, &to.wire_name)?;
        if placed.uid_validity.is_some_and(|told| told != destination_validity) {
            return Err(Error::new(Kind::Safety, format!("the UIDVALIDITY of {} changed during the run", to.folder))
                .hint("run the same command again: it finds out what was copied"));
        }
        // A UID that stood there before is none that a copy got.
        let believed = |new_uid: Option<u32>| new_uid.filter(|new_uid| *new_uid >= floor);
        placed.placed.iter_mut().for_each(|(_, new_uid)| *new_uid = believed(*new_uid));
        self.journal()?.moves_copied(&route, placed.placed.iter().copied())?;
        let (refused, lost) = (placed.rest.refused.clone(), !placed.rest.unknown.is_empty());
        let mut copied = told(uids, placed);
        if lost {
            // The connection is gone; the next run finds out, and removes what was copied.
            self.journal()?.forget_moves(&route, refused.iter())?;
            return Ok(Relocated { moved: Vec::new(), left: uids.difference(&copied.gone), ..copied });
        }
        // What the server left out of its answer may all the same be there, and copied: that stays an intent to be settled.
        let untold: UidSet = if copied.gone.is_empty() { UidSet::new() } else { selected.flags_now(&copied.gone)?.into_keys().collect() };
        copied.gone = copied.gone.difference(&untold);
        // Known not to be there: free for another try.
        self.journal()?.forget_moves(&route, copied.gone.iter().chain(refused.iter()))?;
        let problems = untold.iter().map(|uid| (uid, UNTOLD.to_owned())).collect();
        let removed = self.remove(selected, &route, &copied.moved)?;
        let left = copied.left.iter().chain(removed.left.iter()).collect();
        Ok(Relocated { gone: copied.gone, left, error: copied.error.or(removed.error), problems, ..removed })
    }

    /// Removes messages whose copies are proved, and forgets them.
    pub(super) fn remove(&mut self, selected: &mut Selected<'_>, route: &Route, copied: &[Moved]) -> Result<Relocated> {
        let uids: UidSet = copied.iter().map(|one| one.uid).collect();
        if uids.is_empty() {
            return Ok(Relocated::default());
        }
        let stored = selected.store(&uids, Change::Add, &[deleted()], None)?;
        let mut left: UidSet = uids.difference(&stored.done);
        let mut error = stored.rest.error;
        if error.as_ref().is_some_and(|error| error.kind() != Kind::Refused) {
            return Ok(Relocated { left: uids, error, ..Relocated::default() });
        }
        let of = |set: &UidSet| copied.iter().filter(|one| set.contains(one.uid)).copied().collect::<Vec<_>>();
        let Some(expunged) = selected.expunge(&stored.done)? else {
            self.journal()?.moves_marked(route, stored.done.iter())?;
            return Ok(Relocated { marked: of(&stored.done), left, error, ..Relocated::default() });
        };
        let mut gone = expunged.done;
        if expunged.rest.error.as_ref().is_none_or(|error| error.kind() == Kind::Refused) && !gone.is_empty() {
            // An OK is not yet an empty place: some servers keep what they were told to remove.
            let mut still = Vec::new();
            selected.summaries(&gone, false, &mut |meta| {
                still.push(meta.uid);
                Ok(())
            })?;
            if !still.is_empty() {
                error.get_or_insert_with(|| Error::refused("the server says that it removed messages, and still has them"));
                gone = gone.difference(&still.into_iter().collect());
            }
        }
        self.journal()?.forget_moves(route, gone.iter())?;
        left.extend(stored.done.difference(&gone).iter().collect::<Vec<_>>());
        Ok(Relocated { moved: of(&gone), left, error: error.or(expunged.rest.error), ..Relocated::default() })
    }

    /// Closes the journal.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.journal.take().map_or(Ok(()), |mut journal| journal.finish_moves())
    }
}

/// What a MOVE or COPY told.
pub(super) fn told(asked: &UidSet, placed: Placed) -> Relocated {
    let moved: Vec<Moved> = placed.placed.iter().map(|&(uid, new_uid)| Moved { uid, new_uid }).collect();
    let left: UidSet = placed.rest.refused.iter().chain(placed.rest.unknown.iter()).collect();
    let done: UidSet = moved.iter().map(|one| one.uid).collect();
    let gone = asked.difference(&left).difference(&done);
    Relocated { gone, moved, left, error: placed.rest.error, ..Relocated::default() }
}

fn marked_for(there: &Folder) -> String {
    format!(
        "an earlier run copied it to {there} and marked it as deleted, so it was not moved; take the mark away first \
         (mailhaul flag --remove deleted) if it is meant to go elsewhere"
    )
}

pub(super) fn deleted() -> Flag {
    Flag::new("\\Deleted")
}

/// Finds a folder among those the server lists; one that it hides is still found where it says so when asked.
///
/// # Errors
/// [`Kind::Usage`] when there is none, or it holds no messages, with a `hint` where the first is the case.
pub(super) fn find(session: &mut Session, mailboxes: &[Mailbox], folder: &Folder, hint: &str) -> Result<Mailfolder> {
    let place = session.place().to_owned();
    if let Some(mailbox) = mailboxes.iter().find(|mailbox| mailbox.folder == *folder) {
        if !mailbox.selectable {
            return Err(Error::usage(format!("the folder {folder} holds other folders and no messages")).at(place));
        }
        return Ok(Mailfolder { folder: folder.clone(), wire_name: mailbox.wire_name.clone() });
    }
    let wire_name = session.wire_name(folder)?;
    match session.status(&wire_name) {
        Ok(_) => Ok(Mailfolder { folder: folder.clone(), wire_name }),
        Err(error) if error.kind() == Kind::Refused => {
            let missing = Error::usage(format!("there is no folder {folder}")).at(place).said(error.server_said().unwrap_or_default());
            Err(if hint.is_empty() { missing } else { missing.hint(hint) })
        }
        Err(error) => Err(error),
    }
}
