//! Bringing messages durably into a directory: written to temporary files, synced, renamed without replacing, the
//! directories synced, and only then told as stored. It knows names and batches, never what a store calls its folders.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::files::{self, Dir, each_piece};
use super::{Listed, Listing, Outcome, Outgoing, Placement, Source, Wait};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, Message};

/// A batch is made durable at the latest when it holds this much; files stay open until then.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// So many names are tried for one message before something else must be wrong.
const NAME_TRIES: u32 = 100_000;

/// What a delivery calls its durable steps in crash tests.
pub(super) struct Steps {
    pub(super) sync: &'static str,
    pub(super) rename: &'static str,
}

/// Messages written to temporary files and not yet durable under their final names.
pub(super) struct Delivery {
    context: Context,
    steps: Steps,
    temporary: Dir,
    targets: Vec<Dir>,
    /// Whether a file that holds the very same bytes under the wanted name already stands for the message.
    accept_identical: bool,
    staged: Vec<Staged>,
    bytes: u64,
    /// Names given in this delivery: they never stand for another message of it.
    given: HashSet<OsString>,
    done: Vec<Placement>,
}

struct Staged {
    ticket: u64,
    file: File,
    temporary: OsString,
    target: usize,
    stem: String,
    ending: String,
    exact: Digest,
    altered: Vec<String>,
}

/// Where a staged message shall stand: `stem` + `ending`, with `-2` and so on between them where that is taken.
pub(super) struct Destination {
    pub(super) temporary: String,
    pub(super) target: usize,
    pub(super) stem: String,
    pub(super) ending: String,
    pub(super) altered: Vec<String>,
}

/// The folder that a local sink is turned to: where its messages go, the facts not told yet, and the source that looks
/// into it.
pub(super) struct Filling<S> {
    folder: Option<Folder>,
    delivery: Option<Delivery>,
    /// Facts of folders turned away from.
    done: Vec<Placement>,
    back: Option<S>,
}

impl<S> Default for Filling<S> {
    fn default() -> Self {
        Self { folder: None, delivery: None, done: Vec::new(), back: None }
    }
}

impl<S: Source> Filling<S> {
    /// Makes what is staged durable and turns away.
    pub(super) fn close(&mut self) -> Result<()> {
        let Some(mut delivery) = self.delivery.take() else { return Ok(()) };
        let committed = delivery.commit();
        self.done.append(&mut delivery.take_done());
        committed
    }

    /// Turns to a folder.
    pub(super) fn turn(&mut self, folder: Folder, delivery: Delivery) {
        self.folder = Some(folder);
        self.delivery = Some(delivery);
    }

    /// Drops what is staged and not durable.
    pub(super) fn abandon(&mut self) {
        self.delivery = None;
    }

    pub(super) fn delivery(&mut self) -> Result<&mut Delivery> {
        self.delivery.as_mut().ok_or_else(no_folder)
    }

    /// As [`Delivery::holds`].
    pub(super) fn holds(&self, stem: &str, ending: &str, exact: Digest) -> Result<bool> {
        self.delivery.as_ref().ok_or_else(no_folder)?.holds(stem, ending, exact)
    }

    pub(super) fn look(&mut self, mut source: S) -> Result<Listing> {
        let Some(folder) = &self.folder else { return Ok(Listing::default()) };
        let there = source.folders()?.iter().any(|info| info.folder == *folder);
        let listing = if there { source.list(folder)? } else { Listing::default() };
        self.back = Some(source);
        Ok(listing)
    }

    pub(super) fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        self.back.as_mut().map_or(Ok(()), |source| source.read(wanted, each))
    }

    pub(super) fn settle(&mut self, wait: Wait) -> Result<Vec<Placement>> {
        if let Some(delivery) = &mut self.delivery {
            let committed = if wait == Wait::No { Ok(()) } else { delivery.commit() };
            self.done.append(&mut delivery.take_done());
            committed?;
        }
        Ok(std::mem::take(&mut self.done))
    }
}

fn no_folder() -> Error {
    Error::local("no folder is open")
}

impl Delivery {
    pub(super) fn new(context: Context, steps: Steps, temporary: Dir, targets: Vec<Dir>, accept_identical: bool) -> Self {
        Self { context, steps, temporary, targets, accept_identical, staged: Vec::new(), bytes: 0, given: HashSet::new(), done: Vec::new() }
    }

    /// Writes a message to its temporary file; makes the batch durable when it is large enough.
    pub(super) fn stage(&mut self, outgoing: &Outgoing, destination: Destination) -> Result<()> {
        let name = OsString::from(destination.temporary);
        let written = self.write(&name, &outgoing.message);
        let mut altered = destination.altered;
        let file = match written {
            Ok((file, dated)) => {
                if !dated {
                    altered.push("the file system cannot hold its date".to_owned());
                }
                file
            }
            Err(error) => {
                self.done.push(Placement { ticket: outgoing.ticket, outcome: Outcome::UNTOUCHED });
                self.drop_staged();
                return Err(error);
            }
        };
        self.staged.push(Staged {
            ticket: outgoing.ticket,
            file,
            temporary: name,
            target: destination.target,
            stem: destination.stem,
            ending: destination.ending,
            exact: outgoing.message.digests.exact,
            altered,
        });
        self.bytes += outgoing.message.body.len();
        if self.staged.len() >= BATCH_MESSAGES || self.bytes >= BATCH_BYTES { self.commit() } else { Ok(()) }
    }

    /// Gives the file, and whether it could be dated.
    fn write(&self, name: &OsStr, message: &Message) -> Result<(File, bool)> {
        let path = self.temporary.path().join(name);
        let mut file = self.temporary.create(name)?;
        // Only a file that this very call made may be removed: another's would have been an error above.
        let written = message.body.each_chunk(|chunk| file.write_all(chunk).map_err(|error| Error::io(path.display(), error)));
        let dated = written.and_then(|()| {
            let Some(date) = message.internal_date else { return Ok(true) };
            files::set_date(&file, &path, date)
        });
        dated.inspect_err(|_| self.temporary.remove(name)).map(|dated| (file, dated))
    }

    /// Makes everything staged durable: each file, then its name, then the directories.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.bytes = 0;
        if self.staged.is_empty() {
            return Ok(());
        }
        self.context.step(self.steps.sync);
        for staged in &self.staged {
            // After an error here the kernel may have dropped the bytes: the file is written anew, never synced again.
            if let Err(error) = staged.file.sync_all() {
                let error = Error::io(self.temporary.path().join(&staged.temporary).display(), error);
                self.drop_staged();
                return Err(error);
            }
        }
        self.context.step(self.steps.rename);
        let mut published = Vec::with_capacity(self.staged.len());
        let result = self.publish_all(&mut published);
        match result {
            Ok(()) => {
                for staged in self.staged.drain(..) {
                    let outcome = Outcome::Stored { append_uid: None, altered: staged.altered };
                    self.done.push(Placement { ticket: staged.ticket, outcome });
                }
                Ok(())
            }
            Err(error) => {
                // These names are ours (nothing was replaced) and not durable: nobody shall count on them.
                for (target, name) in published {
                    if let Some(dir) = self.targets.get(target) {
                        dir.remove(&name);
                    }
                }
                self.drop_staged();
                Err(error)
            }
        }
    }

    fn publish_all(&mut self, published: &mut Vec<(usize, OsString)>) -> Result<()> {
        for staged in &self.staged {
            let dir = self.targets.get(staged.target).ok_or_else(|| Error::local("a message without a directory"))?;
            let mut number = 1_u32;
            loop {
                let name = numbered(&staged.stem, number, &staged.ending);
                if self.temporary.publish(&staged.temporary, dir, &name)? {
                    self.given.insert(name.clone());
                    published.push((staged.target, name));
                    break;
                }
                if self.accept_identical && !self.given.contains(&name) && holds(dir, &name, staged.exact) {
                    self.temporary.remove(&staged.temporary);
                    self.given.insert(name);
                    break;
                }
                number += 1;
                if number > NAME_TRIES {
                    return Err(Error::local(format!("{}: no free name for {}", dir.path().display(), staged.stem)));
                }
            }
        }
        self.targets.iter().try_for_each(Dir::sync)?;
        self.temporary.sync()
    }

    /// Whether a file under `stem` and `ending` holds just these bytes, durably. Looks at the names in the order in which
    /// they are given, up to the first free one.
    pub(super) fn holds(&self, stem: &str, ending: &str, exact: Digest) -> Result<bool> {
        let Some(dir) = self.targets.first() else { return Ok(false) };
        for number in 1..=NAME_TRIES {
            let name = numbered(stem, number, ending);
            if holds(dir, &name, exact) {
                return Ok(true);
            }
            // What is there and is no plain file takes its name all the same.
            if matches!(dir.file(&name), Ok(None)) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Gives up what is not durable.
    fn drop_staged(&mut self) {
        self.bytes = 0;
        for staged in self.staged.drain(..) {
            self.temporary.remove(&staged.temporary);
            self.done.push(Placement { ticket: staged.ticket, outcome: Outcome::UNTOUCHED });
        }
    }

    /// The facts known by now.
    pub(super) fn take_done(&mut self) -> Vec<Placement> {
        std::mem::take(&mut self.done)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.drop_staged();
    }
}

/// The `number`-th name that is tried.
fn numbered(stem: &str, number: u32, ending: &str) -> OsString {
    OsString::from(if number == 1 { format!("{stem}{ending}") } else { format!("{stem}-{number}{ending}") })
}

/// Whether the file holds just these bytes, durably.
pub(super) fn holds(dir: &Dir, name: &OsStr, exact: Digest) -> bool {
    let Ok(Some((file, _))) = dir.file(name) else { return false };
    let mut hash = Sha256::new();
    let read = each_piece(&file, &dir.path().display(), |piece| {
        hash.update(piece);
        Ok(())
    });
    read.is_ok() && Digest(hash.finalize().into()) == exact && file.sync_all().is_ok()
}
