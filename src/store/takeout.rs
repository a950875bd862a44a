//! The mail of a Google Takeout: one mbox file of all messages, whose labels stand in a field of each. It shows the file as the
//! folders that the labels make, each message in one, and gives its bytes as they are. It must never know who takes them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::labels::{self, Labels, Language, Placed};
use super::mbox::MboxSource;
use super::{FolderInfo, Listed, Listing, Source};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Key, Message, Twins};

/// So much of a message is looked at for its labels, and so much where its header goes on: Takeout writes them first.
const HEAD: u64 = 8 * 1024;
const LONG_HEAD: u64 = 1024 * 1024;

/// Whether the mbox file at `path` is of a Takeout: its first message says so.
///
/// # Errors
/// It cannot be read.
pub fn is_takeout(path: &Path) -> Result<bool> {
    Ok(path.is_file() && MboxSource::first_head(path, HEAD)?.is_some_and(|head| labels::of(&head).is_some()))
}

/// A Takeout as a source.
pub struct TakeoutSource {
    path: PathBuf,
    inner: MboxSource,
    labels: Labels,
    sorted: Option<Sorted>,
    /// Which messages of the file the folder listed last holds.
    open: Vec<u32>,
}

/// What the file holds, by folder.
struct Sorted {
    /// As the file lists them.
    messages: Vec<Listed>,
    /// Which labels each has, as numbers of `names`.
    labels: Vec<Option<Box<[u32]>>>,
    names: Vec<String>,
    language: Language,
    folders: BTreeMap<String, (FolderInfo, Vec<u32>)>,
}

impl Sorted {
    /// What is said of a message; `None` where it has no labels.
    fn placed(&self, message: u32) -> Option<Placed> {
        let labels = self.labels.get(usize::try_from(message).ok()?)?.as_ref()?;
        let names = labels.iter().filter_map(|number| self.names.get(usize::try_from(*number).ok()?)).map(String::as_str);
        Some(labels::place(names, self.language))
    }
}

impl TakeoutSource {
    /// The file at `path`; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>, labels: Labels) -> Self {
        let path = path.into();
        Self { inner: MboxSource::new(&path), path, labels, sorted: None, open: Vec::new() }
    }

    fn sort(&mut self) -> Result<&Sorted> {
        let messages = self.inner.list(&Folder::inbox())?.messages;
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut names: Vec<String> = Vec::new();
        let mut counts: Vec<u64> = Vec::new();
        let mut labels = Vec::with_capacity(messages.len());
        for listed in &messages {
            let mut found = labels::of(&self.inner.head(listed, HEAD)?);
            if found.is_none() && listed.size.is_some_and(|size| size > HEAD) {
                found = labels::of(&self.inner.head(listed, LONG_HEAD)?);
            }
            let number = |label: String| {
                let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
                let number = *numbers.entry(label).or_insert_with_key(|label| {
                    names.push(label.clone());
                    counts.push(0);
                    next
                });
                if let Some(count) = usize::try_from(number).ok().and_then(|number| counts.get_mut(number)) {
                    *count += 1;
                }
                number
            };
            labels.push(found.map(|found| found.into_iter().map(number).collect::<Box<[u32]>>()));
        }
        let language = Language::of(names.iter().map(String::as_str).zip(counts));
        let mut sorted = Sorted { messages, labels, names, language, folders: BTreeMap::new() };
        for message in 0..u32::try_from(sorted.messages.len()).unwrap_or(u32::MAX) {
            let mut folders = match sorted.placed(message) {
                Some(placed) => placed.folders,
                None => labels::archive().into_iter().collect(),
            };
            if self.labels != Labels::Folders {
                folders.truncate(1);
            }
            for (folder, special_use) in folders {
                let new = || (FolderInfo { folder: folder.clone(), special_use, subscribed: true, selectable: true }, Vec::new());
                let (_, messages) = sorted.folders.entry(folder.to_string()).or_insert_with(new);
                // Two labels may make one folder.
                if messages.last() != Some(&message) {
                    messages.push(message);
                }
            }
        }
        Ok(self.sorted.insert(sorted))
    }
}

impl Source for TakeoutSource {
    fn place(&self) -> String {
        format!("mbox:{}", self.path.display())
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        Ok(self.sort()?.folders.values().map(|(info, _)| info.clone()).collect())
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.open.clear();
        if self.sorted.is_none() {
            self.sort()?;
        }
        let Some(sorted) = &self.sorted else { return Ok(Listing::default()) };
        let (_, open) = sorted
            .folders
            .get(&folder.to_string())
            .ok_or_else(|| Error::usage(format!("there is no folder {folder}")).at(format!("mbox:{}", self.path.display())))?;
        let mut listing = Listing::default();
        // Which of several equal messages one is, is counted folder by folder.
        let mut twins = Twins::default();
        for (id, message) in (0..).zip(open) {
            let Some(listed) = usize::try_from(*message).ok().and_then(|message| sorted.messages.get(message)) else { continue };
            let key = match &listed.key {
                Some(Key::Content { digest, .. }) => Some(twins.key(*digest)),
                other => other.clone(),
            };
            listing.messages.push(Listed { id, key, ..listed.clone() });
        }
        self.open.clone_from(open);
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let place = self.place();
        let Some(sorted) = &self.sorted else { return Err(Error::local("no folder was listed").at(place)) };
        let mut inner = Vec::with_capacity(wanted.len());
        for listed in wanted {
            let message = usize::try_from(listed.id).ok().and_then(|id| self.open.get(id));
            let message = message.ok_or_else(|| Error::local(format!("no message {} was listed", listed.id)).at(&place))?;
            inner.push(Listed { id: *message, ..listed.clone() });
        }
        let labels = self.labels;
        self.inner.read(&inner, &mut |index, message| {
            let message = message.map(|mut message| {
                if let Some(placed) = inner.get(index).and_then(|listed| sorted.placed(listed.id)) {
                    labels::add(&mut message.flags, placed.flags);
                    if labels == Labels::Keywords {
                        labels::add(&mut message.flags, placed.keywords);
                    }
                }
                message
            });
            each(index, message)
        })
    }

    fn finish(&mut self) -> Result<()> {
        self.open.clear();
        self.sorted = None;
        self.inner.finish()
    }
}
