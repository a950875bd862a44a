//! Writing mbox files: one, or a folder of them. Messages wait beside the file and are added in batches; the locks that keep
//! mail programs out are held for the moment of the adding only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::files::Dir;
use super::super::{FolderInfo, Listed, Listing, Outcome, Outgoing, Placement, Sink, SinkState, Source, Wait, flags_left_out};
use super::append::{self, Batch};
use super::format;
use super::source::{self, MboxSource};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{InternalDate, Message};
use crate::summary::Summary;

/// A batch is added at the latest when it holds this much.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// So much of a message is looked at for its sender.
const HEADER_BYTES: usize = 64 * 1024;

/// Messages into an mbox file, or into a folder of them. Flags have no room there: writing them would change the message.
pub struct MboxSink {
    path: PathBuf,
    context: Context,
    tree: bool,
    /// Whether flags count as altered.
    names_flags: bool,
    open: Option<Target>,
    batch: Option<Batch>,
    staged: Vec<(u64, Vec<String>)>,
    done: Vec<Placement>,
    back: Option<MboxSource>,
}

struct Target {
    folder: Folder,
    dir: Dir,
    name: OsString,
}

impl MboxSink {
    /// The file or folder at `path`. Where nothing is yet, a path that ends in `/` becomes a folder, any other a file.
    pub fn new(path: impl Into<PathBuf>, context: Context) -> Self {
        let path = path.into();
        let tree = path.as_os_str().to_string_lossy().ends_with('/') || path.is_dir();
        Self { path, context, tree, names_flags: false, open: None, batch: None, staged: Vec::new(), done: Vec::new(), back: None }
    }

    /// As [`Self::new`], and a folder of files where nothing is yet.
    pub fn tree(path: impl Into<PathBuf>, context: Context) -> Self {
        let mut sink = Self::new(path, context);
        sink.tree = !sink.path.is_file();
        sink
    }

    /// The same, which tells of each message that flags of it were left out.
    #[must_use]
    pub fn naming_flags(mut self) -> Self {
        self.names_flags = true;
        self
    }

    fn target(&self, folder: &Folder, create: bool) -> Result<Option<(Dir, OsString)>> {
        if !self.tree {
            if !folder.is_inbox() {
                return Err(Error::usage(format!("one mbox file has no folder {folder}"))
                    .at(self.place())
                    .hint("name a directory (with / at its end where there is none yet)"));
            }
            if create && let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Dir::make(parent)?;
            }
            return source::place_of(&self.path).map(Some);
        }
        let root = if create { Some(Dir::make(&self.path)?) } else { Dir::open(&self.path)? };
        let Some(root) = root else { return Ok(None) };
        // What is there keeps its name, whatever program gave it.
        if let Some(found) = source::look(&self.path)?.into_iter().find(|found| found.folder == *folder) {
            return Ok(Some((found.dir, found.name)));
        }
        let Some((last, above)) = folder.levels().split_last() else { return Ok(None) };
        let mut dir = root;
        for name in source::directory_names(above) {
            let child = if create { Some(dir.make_child(&name)?) } else { dir.child(&name)? };
            let Some(child) = child else { return Ok(None) };
            dir = child;
        }
        Ok(Some((dir, source::file_name(last)?)))
    }

    /// Adds what is staged to the file, durably.
    fn commit(&mut self) -> Result<()> {
        let Some(batch) = self.batch.take() else { return Ok(()) };
        let staged = std::mem::take(&mut self.staged);
        let target = self.open.as_ref().ok_or_else(|| Error::local("no folder is open"))?;
        match batch.commit(&target.dir, &target.name, &self.context) {
            Ok(_) => {
                let stored = staged.into_iter();
                self.done
                    .extend(stored.map(|(ticket, altered)| Placement { ticket, outcome: Outcome::Stored { append_uid: None, altered } }));
                Ok(())
            }
            Err(error) => {
                self.not_sent(staged);
                Err(error)
            }
        }
    }

    fn not_sent(&mut self, staged: Vec<(u64, Vec<String>)>) {
        let unsent = staged.into_iter().map(|(ticket, _)| Placement { ticket, outcome: Outcome::UNTOUCHED });
        self.done.extend(unsent);
    }

    fn drop_staged(&mut self) {
        if let (Some(batch), Some(target)) = (self.batch.take(), &self.open) {
            batch.discard(&target.dir);
        }
        let staged = std::mem::take(&mut self.staged);
        self.not_sent(staged);
    }

    fn stage(&mut self, outgoing: &Outgoing) -> Result<()> {
        let target = self.open.as_ref().ok_or_else(|| Error::local("no folder is open"))?;
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => Batch::new(&target.dir, &target.name)?,
        };
        let now = InternalDate { seconds: self.context.unix_time(), offset: 0 };
        let written = write_message(&outgoing.message, now, &mut |bytes| batch.push(bytes));
        self.batch = Some(batch);
        let mut altered = if written? { Vec::new() } else { vec!["an mbox cannot hold its date".to_owned()] };
        if self.names_flags {
            altered.extend(flags_left_out(&outgoing.message));
        }
        self.staged.push((outgoing.ticket, altered));
        Ok(())
    }
}

/// Writes a message as mboxrd, for a stream of them; `now` stands for a date it does not have. `false` when its date could
/// not be written.
///
/// # Errors
/// What `each` returned, or [`crate::error::Kind::Local`] when its body cannot be read.
pub fn write_message(message: &Message, now: InternalDate, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
    write_keyed(message, now, None, each)
}

/// As [`write_message`], with the word that a store knows it by in its envelope line.
///
/// # Errors
/// As [`write_message`].
pub(in crate::store) fn write_keyed(
    message: &Message,
    now: InternalDate,
    key: Option<&str>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<bool> {
    let head = Summary::of(&message.body.prefix(HEADER_BYTES)?);
    let from = head.from.into_iter().find_map(|from| from.address).unwrap_or_default();
    format::write(&message.body, &from, message.internal_date.unwrap_or(now), key, each)
}

impl Sink for MboxSink {
    fn place(&self) -> String {
        format!("mbox:{}", self.path.display())
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        if !Path::new(&self.path).exists() {
            return Ok(Vec::new());
        }
        MboxSource::new(&self.path).folders()
    }

    fn is_numbered(&self) -> bool {
        false
    }

    fn open(&mut self, info: &FolderInfo, create: bool) -> Result<Option<SinkState>> {
        self.commit()?;
        self.open = None;
        let Some((dir, name)) = self.target(&info.folder, create)? else { return Ok(None) };
        if !append::prepare(&dir, &name, create, &self.context)? {
            return Ok(None);
        }
        self.open = Some(Target { folder: info.folder.clone(), dir, name });
        Ok(Some(SinkState::default()))
    }

    fn append(&mut self, outgoing: Outgoing) -> Result<()> {
        if let Err(error) = self.stage(&outgoing) {
            self.drop_staged();
            self.done.push(Placement { ticket: outgoing.ticket, outcome: Outcome::UNTOUCHED });
            return Err(error);
        }
        let full = self.staged.len() >= BATCH_MESSAGES || self.batch.as_ref().is_some_and(|batch| batch.bytes >= BATCH_BYTES);
        if full { self.commit() } else { Ok(()) }
    }

    fn look(&mut self, _first: u32) -> Result<Listing> {
        let Some(target) = &self.open else { return Ok(Listing::default()) };
        let mut source = MboxSource::new(&self.path);
        let listing = source.list(&target.folder)?;
        self.back = Some(source);
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        self.back.as_mut().map_or(Ok(()), |source| source.read(wanted, each))
    }

    fn settle(&mut self, wait: Wait) -> Result<Vec<Placement>> {
        if wait != Wait::No {
            self.commit()?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn finish(&mut self) -> Result<()> {
        self.drop_staged();
        Ok(())
    }
}

impl Drop for MboxSink {
    fn drop(&mut self) {
        self.drop_staged();
    }
}

#[cfg(test)]
mod tests;
