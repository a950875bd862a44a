//! A Gmail account as its labels make it: Gmail shows each label as a folder over IMAP and every message again in All Mail, so that
//! a copy of all folders would hold each message several times. This source shows All Mail cut into the folders that the labels
//! say, with what All Mail lacks (spam and trash) beside; any other server it shows as it is. It must never know who takes them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::imap::uid_validity_changed;
use super::labels::{self, Labels, Placed};
use super::sift::Picked;
use super::{FolderInfo, Listed, ListedFlags, Listing, Source, SpecialUse};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, Message};
use crate::query::Query;

/// What people are told where All Mail cannot be had.
const HIDDEN: &str = "Gmail does not show All Mail over IMAP (Settings, Labels): every label is taken as a folder, and a message with \
                      several labels several times";

/// A source whose server may be Gmail.
pub struct GmailSource {
    inner: Box<dyn Source>,
    labels: Labels,
    sorted: Option<Sorted>,
    /// The folder that the inner source has listed last.
    stands_at: Option<Folder>,
    /// Whether the folder listed last is one that labels make.
    is_made: bool,
    /// Folders shown under another name than the server's.
    renamed: HashMap<Folder, Folder>,
    /// Why mail must not be sorted by labels.
    refusal: Option<&'static str>,
    remarks: Vec<&'static str>,
}

/// What All Mail holds, by folder.
struct Sorted {
    all: Folder,
    generation: Option<u32>,
    messages: Vec<Listed>,
    /// Which labels each has by UID, as numbers of `names`.
    labels: HashMap<u32, Box<[u32]>>,
    names: Vec<String>,
    folders: BTreeMap<Folder, (FolderInfo, Vec<usize>)>,
}

impl Sorted {
    fn placed(&self, uid: u32) -> Placed {
        let numbers = self.labels.get(&uid).map(AsRef::as_ref).unwrap_or_default();
        let names = numbers.iter().filter_map(|number| self.names.get(usize::try_from(*number).ok()?)).map(String::as_str);
        labels::place_told(names)
    }
}

impl GmailSource {
    /// `inner`, by its `labels` where it has some.
    pub fn new(inner: Box<dyn Source>, labels: Labels) -> Self {
        Self { inner, labels, sorted: None, stands_at: None, is_made: false, renamed: HashMap::new(), refusal: None, remarks: Vec::new() }
    }

    /// Fails for the reason given where labels would make the folders.
    #[must_use]
    pub fn refusing(mut self, reason: Option<&'static str>) -> Self {
        self.refusal = reason;
        self
    }

    /// What All Mail lacks, under names of which nothing says Gmail.
    fn apart(&mut self, shown: Vec<FolderInfo>) -> Vec<FolderInfo> {
        let mut apart: Vec<FolderInfo> = Vec::new();
        for info in shown.into_iter().filter(|info| info.selectable) {
            let Some(name) = (match info.special_use {
                Some(SpecialUse::Junk) => Folder::from_levels(["Junk"]),
                Some(SpecialUse::Trash) => Folder::from_levels(["Trash"]),
                _ => continue,
            }) else {
                continue;
            };
            let name = if apart.iter().any(|other| other.folder == name) { info.folder.clone() } else { name };
            self.renamed.insert(name.clone(), info.folder.clone());
            apart.push(FolderInfo { folder: name, ..info });
        }
        apart
    }

    /// Sorts the mail of `all` into folders that are not called as one of those `apart`.
    fn sort(&mut self, all: Folder, apart: &[FolderInfo]) -> Result<&Sorted> {
        let Listing { generation, messages } = self.inner.list(&all)?;
        self.stands_at = Some(all.clone());
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut names: Vec<String> = Vec::new();
        let mut labels = HashMap::new();
        self.inner.labels(&messages, &mut |uid, told| {
            let number = |label: String| {
                *numbers.entry(label).or_insert_with_key(|label| {
                    names.push(label.clone());
                    u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
                })
            };
            labels.insert(uid, labels::read(&told).into_iter().map(number).collect());
        })?;
        let mut sorted = Sorted { all, generation, messages, labels, names, folders: BTreeMap::new() };
        for index in 0..sorted.messages.len() {
            let Some(listed) = sorted.messages.get(index) else { continue };
            let mut folders = sorted.placed(listed.id).folders;
            folders.retain(|(folder, _)| apart.iter().all(|info| info.folder != *folder));
            if folders.is_empty() {
                folders.extend(labels::archive());
            }
            if self.labels != Labels::Folders {
                folders.truncate(1);
            }
            for (folder, special_use) in folders {
                let info = FolderInfo { folder: folder.clone(), special_use, subscribed: true, selectable: true };
                let (_, messages) = sorted.folders.entry(folder).or_insert_with(|| (info, Vec::new()));
                // Two labels may make one folder.
                if messages.last() != Some(&index) {
                    messages.push(index);
                }
            }
        }
        Ok(self.sorted.insert(sorted))
    }
}

impl Source for GmailSource {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        self.sorted = None;
        self.renamed.clear();
        let shown = self.inner.folders()?;
        if self.labels == Labels::Ignore || !self.inner.has_labels() {
            return Ok(shown);
        }
        let Some(all) = shown.iter().find(|info| info.special_use == Some(SpecialUse::All) && info.selectable) else {
            self.remarks.push(HIDDEN);
            return Ok(shown);
        };
        let all = all.folder.clone();
        if let Some(reason) = self.refusal {
            return Err(Error::usage(reason)
                .at(self.inner.place())
                .hint("--labels ignore takes the folders as Gmail shows them, All Mail too"));
        }
        let mut folders = self.apart(shown);
        let sorted = self.sort(all, &folders)?;
        folders.extend(sorted.folders.values().map(|(info, _)| info.clone()));
        folders.sort_by(|one, other| one.folder.cmp(&other.folder));
        Ok(folders)
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        let made = self.sorted.as_ref().and_then(|sorted| Some((sorted, sorted.folders.get(folder)?)));
        let Some((sorted, (_, open))) = made else {
            self.is_made = false;
            self.stands_at = None;
            let listing = self.inner.list(self.renamed.get(folder).unwrap_or(folder))?;
            self.stands_at = Some(folder.clone());
            return Ok(listing);
        };
        if self.stands_at.as_ref() != Some(&sorted.all) {
            self.stands_at = None;
            if self.inner.list(&sorted.all)?.generation != sorted.generation {
                return Err(uid_validity_changed().at(self.inner.place()));
            }
            self.stands_at = Some(sorted.all.clone());
        }
        self.is_made = true;
        let messages = open.iter().filter_map(|index| sorted.messages.get(*index)).cloned().collect();
        Ok(Listing { generation: sorted.generation, messages })
    }

    /// Of folders that labels make no flags are told.
    fn list_with_flags(&mut self, folder: &Folder) -> Result<(Listing, ListedFlags)> {
        if self.sorted.as_ref().is_some_and(|sorted| sorted.folders.contains_key(folder)) {
            return Ok((self.list(folder)?, ListedFlags::default()));
        }
        self.is_made = false;
        self.stands_at = None;
        let listed = self.inner.list_with_flags(self.renamed.get(folder).unwrap_or(folder))?;
        self.stands_at = Some(folder.clone());
        Ok(listed)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let Some(sorted) = self.sorted.as_ref().filter(|_| self.is_made) else { return self.inner.read(wanted, each) };
        let keywords = self.labels == Labels::Keywords;
        self.inner.read(wanted, &mut |index, message| {
            let message = message.map(|mut message| {
                if let Some(placed) = wanted.get(index).map(|listed| sorted.placed(listed.id)) {
                    labels::add(&mut message.flags, placed.flags);
                    if keywords {
                        labels::add(&mut message.flags, placed.keywords);
                    }
                }
                message
            });
            each(index, message)
        })
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.inner.headers(wanted, each)
    }

    fn header_digests(&mut self, wanted: &[Listed]) -> Option<HashSet<Digest>> {
        self.inner.header_digests(wanted)
    }

    fn unique_id(&self, listed: &Listed) -> Option<String> {
        self.inner.unique_id(listed)
    }

    fn gmail_ids(&mut self, wanted: &[Listed]) -> Result<HashMap<u32, u64>> {
        self.inner.gmail_ids(wanted)
    }

    fn has_labels(&self) -> bool {
        self.inner.has_labels()
    }

    fn labels(&mut self, wanted: &[Listed], each: &mut dyn FnMut(u32, Vec<Vec<u8>>)) -> Result<()> {
        self.inner.labels(wanted, each)
    }

    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<Picked> {
        self.inner.matching(messages, query)
    }

    fn remarks(&mut self) -> Vec<String> {
        let mut remarks: Vec<String> = self.remarks.drain(..).map(str::to_owned).collect();
        remarks.extend(self.inner.remarks());
        remarks
    }

    fn end_marks(&self) -> bool {
        self.inner.end_marks()
    }

    fn stuck_at(&self) -> Option<u32> {
        self.inner.stuck_at()
    }

    fn finish(&mut self) -> Result<()> {
        self.inner.finish()
    }
}
