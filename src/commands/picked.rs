//! A source that shows only chosen messages of its folder, and remembers what it read of them. It never chooses.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::message::{Digest, Key, Message};
use crate::store::{FolderInfo, Listed, Listing, Source};

/// Content digests of what was read, by [`name_of`].
pub(super) type Read = Arc<Mutex<HashMap<String, Digest>>>;

/// A message's key, or its number where only reading it would tell a key.
pub(super) fn name_of(listed: &Listed) -> String {
    listed.key.as_ref().map_or_else(|| format!("number:{}", listed.id), ToString::to_string)
}

/// Which messages those are, so that they are found again in another session.
#[derive(Debug, Default)]
pub(super) struct Picked {
    generation: Option<u32>,
    names: HashSet<String>,
    /// Those without a key: their sizes, by number.
    keyless: HashMap<u32, Option<u64>>,
    /// Sizes by name, where a listing told them.
    sizes: HashMap<String, u64>,
}

impl Picked {
    /// Messages with UIDs.
    pub(super) fn of_generation(generation: u32, names: impl Iterator<Item = String>) -> Self {
        Self { generation: Some(generation), names: names.collect(), ..Self::default() }
    }

    /// One more.
    pub(super) fn add(&mut self, listed: &Listed) {
        if listed.key.is_none() {
            self.keyless.insert(listed.id, listed.size);
        }
        self.names.insert(name_of(listed));
        self.sizes.extend(listed.size.map(|size| (name_of(listed), size)));
    }

    /// Whether a maildrop's message may be another than the one that was picked under its name: it has no name of its own, its
    /// name is just its number, or its size is another one by now. Unique-ids must never be used again; some servers do.
    pub(super) fn doubtful(&self, listed: &Listed) -> bool {
        let Some(Key::Uidl { uidl }) = &listed.key else { return true };
        let before = self.sizes.get(&name_of(listed));
        **uidl == *listed.id.to_string() || listed.size.is_none_or(|size| before.is_none_or(|before| *before != size))
    }

    /// Those of a listing that are picked.
    ///
    /// # Errors
    /// [`Kind::Safety`] when UIDs or numbers mean other messages now.
    pub(super) fn of(&self, mut listing: Listing) -> Result<Listing> {
        if self.generation.is_some() && listing.generation != self.generation {
            return Err(Error::new(Kind::Safety, "the folder's UIDVALIDITY changed during the run, so its UIDs mean something else now")
                .hint("run the same command again"));
        }
        listing.messages.retain(|listed| self.names.contains(&name_of(listed)));
        let other = |listed: &&Listed| listed.key.is_none() && self.keyless.get(&listed.id).is_some_and(|size| *size != listed.size);
        if listing.messages.iter().find(other).is_some() {
            return Err(Error::new(
                Kind::Safety,
                "the maildrop changed during the run, and its server gives messages no lasting names (no UIDL)",
            )
            .hint("run the same command again with the numbers of now"));
        }
        Ok(listing)
    }
}

/// The source.
pub(super) struct PickedSource {
    inner: Box<dyn Source>,
    picked: Arc<Picked>,
    read: Read,
}

impl PickedSource {
    pub(super) fn new(inner: Box<dyn Source>, picked: Arc<Picked>, read: Read) -> Self {
        Self { inner, picked, read }
    }
}

impl Source for PickedSource {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        self.inner.folders()
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        let listing = self.inner.list(folder)?;
        self.picked.of(listing).map_err(|error| error.at(self.inner.place()))
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let read = &self.read;
        self.inner.read(wanted, &mut |index, message| {
            if let (Some(listed), Ok(message)) = (wanted.get(index), &message) {
                read.lock().unwrap_or_else(PoisonError::into_inner).insert(name_of(listed), message.digests.content);
            }
            each(index, message)
        })
    }

    fn end_marks(&self) -> bool {
        self.inner.end_marks()
    }

    fn stuck_at(&self) -> Option<u32> {
        self.inner.stuck_at()
    }

    fn remarks(&mut self) -> Vec<String> {
        self.inner.remarks()
    }

    fn finish(&mut self) -> Result<()> {
        self.inner.finish()
    }
}
