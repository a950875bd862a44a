//! Which messages of a store are meant: by folder, query, moment, generation, and whether gone ones count. It reads the archive
//! (and files, where a query asks for what stands in them) and changes nothing; where the messages go it never knows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::context::Context;
use crate::error::Result;
use crate::folder::Folder;
use crate::message::{Digest, Flag, InternalDate, Key, Message, Twins};
use crate::plan;
use crate::query::{Facts, Query};
use crate::state::archive::{Account, Archive, ArchiveFile, ArchiveFolder, ArchiveFolderId, Era, FileId, Form};
use crate::store::vault::Vault;
use crate::store::{FolderInfo, SpecialUse};

/// So much of a message is looked at for a query.
const MAX_WHOLE: usize = 64 * 1024 * 1024;

/// Whether messages count that are gone from the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gone {
    /// Only what was on the server at the last look.
    #[default]
    No,
    /// These as well.
    Also,
    /// Only these.
    Only,
}

/// Picks those of ascending UIDs (or numbers) that are wanted.
pub type Pick<'a> = &'a (dyn Fn(&[u32]) -> Vec<u32> + Sync);

/// What a person asked for; all that is said must hold.
#[derive(Default)]
pub struct Selection<'a> {
    /// The one folder that was named with the store.
    pub only: Option<Folder>,
    /// Folders that match one of these patterns; empty for all.
    pub include: Vec<String>,
    /// No folder that matches one of these.
    pub exclude: Vec<String>,
    /// What was on the server at this moment, in seconds since 1970 UTC, as the backups saw it.
    pub as_of: Option<i64>,
    /// Only this UIDVALIDITY.
    pub generation: Option<u32>,
    /// Whether what is gone counts.
    pub gone: Gone,
    /// Conditions.
    pub query: Query,
    /// UIDs; POP3: numbers in the order in which messages came.
    pub pick: Option<Pick<'a>>,
    /// Only the newest so many of each folder.
    pub limit: Option<u64>,
    /// Messages with labels of Gmail go into a folder for each of them, in place of the one they are in.
    pub labels_as_folders: bool,
}

impl Selection<'_> {
    /// Whether single messages are chosen, so that a folder of which none is has nothing to do.
    fn chooses_messages(&self) -> bool {
        !self.query.is_empty() || self.pick.is_some() || self.limit.is_some() || self.generation.is_some() || self.gone == Gone::Only
    }

    fn wants(&self, folder: &Folder) -> bool {
        self.only.as_ref().is_none_or(|only| only == folder) && plan::chosen(folder, &self.include, &self.exclude)
    }
}

/// A message that is meant.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Its key: its content, and which of the folder's equal messages it is. It outlives UIDVALIDITY and the store's path.
    pub key: Key,
    /// UID; `None` on POP3.
    pub uid: Option<u32>,
    /// Its file's number.
    pub file: FileId,
    /// The folder in whose directory the file lies.
    pub home: Arc<Folder>,
    /// The unique part of its file's name.
    pub stem: String,
    /// How the file relates to the message.
    pub form: Form,
    /// Digest of the message as the server gave it.
    pub exact: Digest,
    /// Header digest.
    pub header: Digest,
    /// Length as the server gave it.
    pub length: u64,
    /// INTERNALDATE.
    pub internal_date: Option<InternalDate>,
    /// Flags and keywords; `None` where only the file's name tells them (a journal that was made anew).
    pub flags: Option<Vec<Flag>>,
    /// Gmail's labels.
    pub labels: Vec<String>,
}

/// A folder with what is meant of it.
#[derive(Debug, Clone)]
pub struct ChosenFolder {
    /// The folder.
    pub info: FolderInfo,
    /// Its messages, by rising UID.
    pub messages: Vec<Chosen>,
}

/// What a selection came to.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Folders that have something to do, by name.
    pub folders: Vec<ChosenFolder>,
    /// Messages that were left out for no other reason than that they are gone from the server.
    pub gone_left_out: u64,
    /// Messages of the folders, whatever was asked.
    pub messages: u64,
}

/// One line of the archive.
struct Row {
    era: usize,
    uid: Option<u32>,
    file: FileId,
    since: i64,
    gone_at: Option<i64>,
    flags: Option<Vec<Flag>>,
    labels: Vec<String>,
    /// Which of its generation's messages with this file it is.
    rank: u32,
}

impl Row {
    fn was_there(&self, at: i64) -> bool {
        self.since <= at && self.gone_at.is_none_or(|gone| at < gone)
    }
}

/// Chooses messages of an account.
///
/// # Errors
/// [`crate::error::Kind::Local`] when the archive cannot be read; a signal. A file that cannot be looked into counts as meant: its
/// reading will name it.
pub fn choose(archive: &Archive, vault: &mut dyn Vault, account: &Account, selection: &Selection<'_>, context: &Context) -> Result<Choice> {
    let folders = archive.folders(account.id)?;
    let homes: HashMap<ArchiveFolderId, Arc<Folder>> = folders.iter().map(|one| (one.id, Arc::new(one.folder.clone()))).collect();
    let mut choice = Choice::default();
    for folder in folders.iter().filter(|one| selection.wants(&one.folder)) {
        context.check()?;
        let mut chosen = Chooser { archive, vault: &mut *vault, account, selection, context, homes: &homes };
        let Some((messages, gone)) = chosen.folder(folder, &mut choice.messages)? else { continue };
        choice.gone_left_out += gone;
        let is_there = match selection.as_of {
            Some(at) => folder.gone_at.is_none_or(|gone| at < gone),
            None => folder.gone_at.is_none() || selection.gone == Gone::Also,
        };
        if !messages.is_empty() || (is_there && !selection.chooses_messages()) {
            choice.folders.push(ChosenFolder { info: info(folder), messages });
        }
    }
    if selection.labels_as_folders {
        choice.folders = by_label(choice.folders);
    }
    Ok(choice)
}

/// Takes messages with labels out of their folders and into one for each label.
fn by_label(folders: Vec<ChosenFolder>) -> Vec<ChosenFolder> {
    let mut found: BTreeMap<Folder, (ChosenFolder, HashSet<Key>)> = BTreeMap::new();
    for mut folder in folders {
        let all = std::mem::take(&mut folder.messages);
        let was_empty = all.is_empty();
        let mut stay = Vec::new();
        for one in all {
            let labels: Vec<FolderInfo> = one.labels.iter().filter_map(|label| folder_of(label)).collect();
            if labels.is_empty() {
                stay.push(one);
                continue;
            }
            for info in labels {
                let place =
                    found.entry(info.folder.clone()).or_insert_with(|| (ChosenFolder { info, messages: Vec::new() }, HashSet::new()));
                put(place, one.clone());
            }
        }
        if was_empty || !stay.is_empty() {
            let place = found.entry(folder.info.folder.clone()).or_insert_with(|| (folder, HashSet::new()));
            stay.into_iter().for_each(|one| put(place, one));
        }
    }
    found.into_values().map(|(folder, _)| folder).collect()
}

/// Adds a message under a key that no other of the folder has: equal ones may come from several folders.
fn put((folder, keys): &mut (ChosenFolder, HashSet<Key>), mut one: Chosen) {
    while !keys.insert(one.key.clone()) {
        match &mut one.key {
            Key::Content { occurrence, .. } => *occurrence += 1,
            Key::Uid { .. } | Key::Uidl { .. } => return,
        }
    }
    folder.messages.push(one);
}

/// The folder that a label of Gmail stands for; `None` for those that are no folder anywhere (`\Starred` is a flag).
fn folder_of(label: &str) -> Option<FolderInfo> {
    let info = |name: &str, special_use| {
        let folder = Folder::from_levels(name.split('/').filter(|level| !level.is_empty()))?;
        Some(FolderInfo { folder, special_use, subscribed: true, selectable: true })
    };
    match label.strip_prefix('\\') {
        None => info(label, None),
        Some("Inbox") => info("INBOX", None),
        Some("Sent") => info("Sent", Some(SpecialUse::Sent)),
        Some("Draft" | "Drafts") => info("Drafts", Some(SpecialUse::Drafts)),
        Some("Trash") => info("Trash", Some(SpecialUse::Trash)),
        Some("Junk" | "Spam") => info("Junk", Some(SpecialUse::Junk)),
        Some(_) => None,
    }
}

fn info(folder: &ArchiveFolder) -> FolderInfo {
    let uses = [
        SpecialUse::All,
        SpecialUse::Archive,
        SpecialUse::Drafts,
        SpecialUse::Flagged,
        SpecialUse::Junk,
        SpecialUse::Sent,
        SpecialUse::Trash,
    ];
    let special_use = uses.into_iter().find(|one| folder.special_use.as_deref() == Some(one.to_string().as_str()));
    FolderInfo { folder: folder.folder.clone(), special_use, subscribed: folder.subscribed, selectable: true }
}

struct Chooser<'a> {
    archive: &'a Archive,
    vault: &'a mut dyn Vault,
    account: &'a Account,
    selection: &'a Selection<'a>,
    context: &'a Context,
    homes: &'a HashMap<ArchiveFolderId, Arc<Folder>>,
}

impl Chooser<'_> {
    /// What is meant of a folder, and how many were left out because they are gone; `None` for a folder that was not there yet.
    fn folder(&mut self, folder: &ArchiveFolder, messages: &mut u64) -> Result<Option<(Vec<Chosen>, u64)>> {
        let eras = self.archive.eras(folder.id)?;
        if let Some(at) = self.selection.as_of
            && !eras.iter().any(|era| era.since <= at)
        {
            return Ok(None);
        }
        let (mut rows, files) = self.rows(folder, &eras)?;
        let slots = Slots::of(&mut rows);
        *messages += slots.count();
        let keys = slots.keys(&files);
        let gone_left_out = if self.leaves_out_gone() { slots.gone() } else { 0 };
        let mut meant: Vec<Row> = self.by_presence(rows, &eras, &slots);
        if let Some(pick) = self.selection.pick {
            let numbers: Vec<u32> = numbers(&meant);
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let picked: HashSet<u32> = pick(&sorted).into_iter().collect();
            meant = meant.into_iter().zip(numbers).filter(|(_, number)| picked.contains(number)).map(|(row, _)| row).collect();
        }
        let mut chosen = Vec::with_capacity(meant.len());
        for row in meant {
            let (Some(file), Some(key)) = (files.get(&row.file), keys.get(&(row.file, row.rank))) else { continue };
            let Some(home) = self.homes.get(&file.folder) else { continue };
            let one = Chosen {
                key: key.clone(),
                uid: row.uid,
                file: file.id,
                home: Arc::clone(home),
                stem: file.stem.clone(),
                form: file.form,
                exact: file.exact,
                header: file.header,
                length: file.length,
                internal_date: file.internal_date,
                flags: row.flags,
                labels: row.labels,
            };
            chosen.push(one);
        }
        let limit = self.selection.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        if !self.selection.query.is_empty() {
            // From the newest on, and no more of them are looked into than are wanted.
            let mut kept = Vec::new();
            for one in chosen.into_iter().rev() {
                if kept.len() >= limit {
                    break;
                }
                self.context.check()?;
                if self.holds(&one)? {
                    kept.push(one);
                }
            }
            kept.reverse();
            chosen = kept;
        }
        let chosen = chosen.split_off(chosen.len().saturating_sub(limit));
        Ok(Some((chosen, gone_left_out)))
    }

    fn leaves_out_gone(&self) -> bool {
        self.selection.gone == Gone::No && self.selection.as_of.is_none()
    }

    /// All that the archive has of a folder, oldest generation first.
    fn rows(&self, folder: &ArchiveFolder, eras: &[Era]) -> Result<(Vec<Row>, HashMap<FileId, ArchiveFile>)> {
        let mut rows = Vec::new();
        let mut files: HashMap<FileId, ArchiveFile> = HashMap::new();
        for (index, era) in eras.iter().enumerate() {
            self.archive.entries(era.id, None, &mut |held| {
                let entry = held.entry;
                // A folder that is gone took its messages with it.
                let gone_at = match (entry.gone_at, folder.gone_at) {
                    (Some(own), Some(all)) => Some(own.min(all)),
                    (own, all) => own.or(all),
                };
                rows.push(Row {
                    era: index,
                    uid: entry.uid,
                    file: held.file.id,
                    since: entry.since,
                    gone_at,
                    flags: Some(entry.flags),
                    labels: entry.labels,
                    rank: 0,
                });
                files.entry(held.file.id).or_insert(held.file);
                Ok(())
            })?;
            self.context.check()?;
        }
        // Messages without UIDs come in the order in which they were kept.
        rows.sort_by_key(|row| (row.era, row.uid, if row.uid.is_none() { (row.since, row.file) } else { (0, FileId::default()) }));
        // Files that a journal made anew knows of, and no look at the server has confirmed: as long as there was none, they count
        // as there.
        self.archive.files(folder.id, &mut |file, entries| {
            if entries.is_empty() {
                rows.push(Row {
                    era: eras.len(),
                    uid: None,
                    file: file.id,
                    since: i64::MIN,
                    gone_at: folder.complete_at,
                    flags: None,
                    labels: Vec::new(),
                    rank: 0,
                });
                files.entry(file.id).or_insert(file);
            }
            Ok(())
        })?;
        Ok((rows, files))
    }

    /// Rows that are meant by moment, generation and presence: each message once, under its newest generation.
    fn by_presence(&self, rows: Vec<Row>, eras: &[Era], slots: &Slots) -> Vec<Row> {
        let Selection { as_of, generation, gone, .. } = self.selection;
        let ended = |era: usize| eras.get(era + 1).map(|next| next.since);
        let validity = |era: usize| eras.get(era).map(|era| era.uid_validity);
        let is_meant = |row: &Row| {
            if generation.is_some() && *generation != validity(row.era) {
                return false;
            }
            if let Some(at) = as_of {
                return row.was_there(*at);
            }
            // A generation's messages are those that were there when it ended.
            let is_there = match (generation, ended(row.era)) {
                (Some(_), Some(end)) => row.gone_at.is_none_or(|gone| gone >= end),
                _ => row.gone_at.is_none(),
            };
            match gone {
                Gone::No => is_there,
                Gone::Also => true,
                Gone::Only => !is_there,
            }
        };
        // Files may be named by several generations: the one that names it most often counts, the newest of them.
        let mut by_file: HashMap<FileId, BTreeMap<usize, u32>> = HashMap::new();
        for row in rows.iter().filter(|row| is_meant(row)) {
            *by_file.entry(row.file).or_default().entry(row.era).or_default() += 1;
        }
        let mut left: HashMap<(FileId, usize), u32> = HashMap::new();
        for (file, counts) in by_file {
            let Some((era, count)) = counts.into_iter().max_by_key(|(era, count)| (*count, *era)) else { continue };
            // What is there under a newer generation is not gone.
            let newer = if *gone == Gone::Only && generation.is_none() && as_of.is_none() { slots.gone_of(file) } else { count };
            left.insert((file, era), count.min(newer));
        }
        let mut meant: Vec<Row> = Vec::new();
        for row in rows.into_iter().rev() {
            if is_meant(&row)
                && let Some(left) = left.get_mut(&(row.file, row.era))
                && *left > 0
            {
                *left -= 1;
                meant.push(row);
            }
        }
        meant.reverse();
        meant
    }

    /// Whether the query holds for a message; one that cannot be looked into is named when it is read.
    fn holds(&mut self, one: &Chosen) -> Result<bool> {
        let query = &self.selection.query;
        let told = Facts { flags: one.flags.as_deref(), size: Some(one.length), internal_date: one.internal_date, ..Facts::default() };
        if let Some(holds) = query.holds(&told) {
            return Ok(holds);
        }
        let read = self.vault.read(&self.account.name, &one.home, &one.stem, one.form == Form::LineFeeds);
        let Ok(Some(message)) = read else { return Ok(true) };
        if message.digests.exact != one.exact {
            return Ok(true);
        }
        held_by(&message, told, query)
    }
}

/// How often each file stands for a message, whatever became of those.
struct Slots {
    /// Messages of a file, and how many of them are on the server.
    of: BTreeMap<FileId, (u32, u32)>,
}

impl Slots {
    /// Counts, and ranks the rows of each generation.
    fn of(rows: &mut [Row]) -> Self {
        let mut counts: HashMap<(FileId, usize), (u32, u32)> = HashMap::new();
        let mut of: BTreeMap<FileId, (u32, u32)> = BTreeMap::new();
        for row in rows {
            let (all, there) = counts.entry((row.file, row.era)).or_default();
            row.rank = *all;
            *all += 1;
            *there += u32::from(row.gone_at.is_none());
            let most = of.entry(row.file).or_default();
            *most = (most.0.max(*all), most.1.max(*there));
        }
        Self { of }
    }

    fn count(&self) -> u64 {
        self.of.values().map(|(all, _)| u64::from(*all)).sum()
    }

    fn gone(&self) -> u64 {
        self.of.values().map(|(all, there)| u64::from(all.saturating_sub(*there))).sum()
    }

    fn gone_of(&self, file: FileId) -> u32 {
        self.of.get(&file).map_or(0, |(all, there)| all.saturating_sub(*there))
    }

    /// The keys of all messages of the folder: equal ones are told apart by the order in which they were kept.
    fn keys(&self, files: &HashMap<FileId, ArchiveFile>) -> HashMap<(FileId, u32), Key> {
        let mut twins = Twins::default();
        let mut keys = HashMap::new();
        for (id, (all, _)) in &self.of {
            let Some(file) = files.get(id) else { continue };
            keys.extend((0..*all).map(|rank| ((*id, rank), twins.key(file.content))));
        }
        keys
    }
}

/// UIDs, or numbers in the order of the rows where there are none.
fn numbers(rows: &[Row]) -> Vec<u32> {
    (1..).zip(rows).map(|(number, row)| row.uid.unwrap_or(number)).collect()
}

/// Whether a query holds for a message that was read.
fn held_by(message: &Message, told: Facts<'_>, query: &Query) -> Result<bool> {
    let spilled;
    let bytes = match message.body.in_memory() {
        Some(bytes) => bytes,
        None => {
            spilled = message.body.prefix(MAX_WHOLE)?;
            &spilled
        }
    };
    let flags = told.flags.or(Some(&message.flags));
    Ok(query.holds(&Facts { flags, header: Some(bytes), whole: Some(bytes), ..told }) == Some(true))
}

#[cfg(test)]
mod tests;
