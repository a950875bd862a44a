//! Messages under a new UIDVALIDITY (or after the journal was lost) that are in the store already: proved by what names their
//! octets, or by header, date and size together with a sample that is read in full; else by what is read. Each file stands for one
//! message at most, so that two equal messages stay two.

use std::collections::{HashMap, HashSet};

use super::renames::spread;
use super::{Run, Visited, tidy};
use crate::error::Result;
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::{Digest, Flag, header_digest};
use crate::state::archive::{Archive, ArchiveChange, ArchiveFolderId, EraId, FileId, NewEntry};
use crate::store::origin::Arrival;
use crate::store::vault::uid_of;

/// Messages that are read in full before headers or identities are believed.
const SAMPLE: usize = 20;
/// Messages recorded in one transaction.
const BATCH: u32 = 256;

/// A file that no message of the generation has yet.
struct Free {
    id: FileId,
    stem: Box<str>,
    content: Digest,
    header: Digest,
    seconds: Option<i64>,
    length: u64,
    listed: Option<u64>,
    object: Option<Digest>,
    taken: bool,
}

/// Files of a folder that no message of its generation has yet.
#[derive(Default)]
pub(super) struct Spare {
    files: Vec<Free>,
    /// Places in `files`, ordered by what they are looked for.
    by_content: Vec<u32>,
    by_header: Vec<u32>,
    by_object: Vec<u32>,
    /// Places in `files` by the message they are named after.
    by_name: HashMap<(u32, u32), u32>,
    /// How many of those with a content are taken for sure: a folder of equal messages must not cost the square of them.
    passed: HashMap<Digest, usize>,
}

/// A message as the server lists it.
struct Candidate {
    uid: u32,
    size: Option<u64>,
    seconds: Option<i64>,
    object: Option<Digest>,
    header: Option<Digest>,
}

impl Spare {
    pub(super) fn of(archive: &Archive, folder: ArchiveFolderId, era: EraId) -> Result<Self> {
        let mut files = Vec::new();
        archive.files(folder, &mut |file, entries| {
            if entries.iter().any(|entry| entry.era == era && entry.uid.is_some()) {
                return Ok(());
            }
            files.push(Free {
                id: file.id,
                stem: file.stem.into_boxed_str(),
                content: file.content,
                header: file.header,
                seconds: file.internal_date.map(|date| date.seconds),
                length: file.length,
                listed: entries.iter().rev().find_map(|entry| entry.listed_size),
                object: file.object_id.map(|id| Digest::of(id.as_bytes())),
                taken: false,
            });
            Ok(())
        })?;
        let order = |key: &dyn Fn(&Free) -> (Digest, Option<i64>)| {
            let mut order: Vec<u32> = (0..u32::try_from(files.len()).unwrap_or(u32::MAX)).collect();
            order.sort_by_key(|&at| files.get(at as usize).map(key));
            order
        };
        let by_content = order(&|file| (file.content, None));
        let by_header = order(&|file| (file.header, file.seconds));
        let mut by_object = order(&|file| (file.object.unwrap_or(Digest([0; 32])), None));
        by_object.retain(|&at| files.get(at as usize).is_some_and(|file| file.object.is_some()));
        let by_name = (0..).zip(&files).filter_map(|(at, file)| Some((uid_of(&file.stem)?, at))).collect();
        Ok(Self { files, by_content, by_header, by_object, by_name, passed: HashMap::new() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn range<'s, K: Ord>(&self, order: &'s [u32], key: impl Fn(&Free) -> K, wanted: &K) -> &'s [u32] {
        let before = |at: &u32, least: bool| {
            self.files.get(*at as usize).is_some_and(|file| if least { key(file) < *wanted } else { key(file) <= *wanted })
        };
        let start = order.partition_point(|at| before(at, true));
        let end = order.partition_point(|at| before(at, false));
        order.get(start..end).unwrap_or_default()
    }

    /// Takes a file with this content for the message `own` (UIDVALIDITY, UID), if one is left: its number and the unique part of
    /// its name. One that is named after another message that is `there` waits for that: its name is the one that message gets,
    /// and so they would come to share a file.
    pub(super) fn claim(&mut self, content: Digest, own: (u32, u32), there: &UidSet) -> Option<(FileId, String)> {
        if self.files.is_empty() {
            return None;
        }
        if let Some(file) = self.by_name.get(&own).and_then(|&at| self.files.get_mut(at as usize))
            && !file.taken
            && file.content == content
        {
            file.taken = true;
            return Some((file.id, file.stem.to_string()));
        }
        let passed = self.passed.get(&content).copied().unwrap_or_default();
        let alike = self.range(&self.by_content, |file| file.content, &content);
        let waits = |file: &Free| uid_of(&file.stem).is_some_and(|(uid_validity, uid)| uid_validity == own.0 && there.contains(uid));
        let is_free = |at: &u32| self.files.get(*at as usize).is_some_and(|file| !file.taken && !waits(file));
        let next = (passed..alike.len()).find(|&at| alike.get(at).is_some_and(is_free));
        let place = next.and_then(|at| alike.get(at).copied());
        self.passed.insert(content, next.map_or(alike.len(), |at| at + 1));
        let file = self.files.get_mut(place? as usize)?;
        file.taken = true;
        Some((file.id, file.stem.to_string()))
    }

    fn take(&mut self, at: u32, taken: bool) {
        if let Some(file) = self.files.get_mut(at as usize) {
            file.taken = taken;
        }
    }

    /// Pairs messages with files whose EMAILID or X-GM-MSGID is theirs. One that stands for different contents, or for a message
    /// of another size, says nothing: there are servers that number from one again, and others that give all the same.
    fn pair_by_object(&mut self, candidates: &[Candidate]) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        let mut passed: HashMap<Digest, (usize, bool)> = HashMap::new();
        for candidate in candidates {
            let Some(object) = candidate.object else { continue };
            let alike = self.range(&self.by_object, |file| file.object, &Some(object));
            let content = |at: &u32| self.files.get(*at as usize).map(|file| file.content);
            let (from, one_content) = passed
                .entry(object)
                .or_insert_with(|| (0, alike.windows(2).all(|pair| pair.first().map(content) == pair.last().map(content))));
            let Some(&at) = alike.get(*from).filter(|_| *one_content) else { continue };
            let fits = |file: &Free| candidate.size.is_none_or(|size| file.length == size || file.listed == Some(size));
            if !self.files.get(at as usize).is_some_and(fits) {
                continue;
            }
            *from += 1;
            self.take(at, true);
            pairs.push((candidate.uid, at));
        }
        pairs
    }

    /// Pairs messages with files by header, date and size, where that is unambiguous on both sides.
    fn pair_by_header(&mut self, candidates: &mut [Candidate]) -> Vec<(u32, u32)> {
        let key = |candidate: &Candidate| (candidate.header, candidate.seconds);
        candidates.sort_by_key(|candidate| (candidate.header, candidate.seconds, candidate.uid));
        let mut pairs = Vec::new();
        for group in candidates.chunk_by(|one, other| key(one) == key(other)) {
            let Some((Some(header), Some(seconds))) = group.first().map(key) else { continue };
            let alike = self.range(&self.by_header, |file| (file.header, file.seconds), &(header, Some(seconds)));
            let free: Vec<u32> = alike.iter().copied().filter(|&at| self.files.get(at as usize).is_some_and(|file| !file.taken)).collect();
            let files: Vec<&Free> = free.iter().filter_map(|&at| self.files.get(at as usize)).collect();
            let one_content = files.windows(2).all(|pair| matches!(pair, [one, other] if one.content == other.content));
            let fits =
                |size: Option<u64>| size.is_some_and(|size| files.iter().any(|file| file.length == size || file.listed == Some(size)));
            if group.len() > free.len() || !one_content || !group.iter().all(|candidate| fits(candidate.size)) {
                continue;
            }
            pairs.extend(group.iter().map(|candidate| candidate.uid).zip(free));
        }
        for &(_, at) in &pairs {
            self.take(at, true);
        }
        pairs
    }

    /// Whether a message of one of these dates is here: others need not be looked at.
    fn has_date(&self) -> HashSet<i64> {
        self.files.iter().filter(|file| !file.taken).filter_map(|file| file.seconds).collect()
    }
}

impl Run<'_> {
    /// Records messages that are in the store already, without reading them; they leave `visited.missing`.
    pub(super) fn recognise(&mut self, index: usize, folder: &Folder, visited: &mut Visited) -> Result<()> {
        let missing = visited.missing.difference(&visited.tried);
        let mut candidates: Vec<Candidate> = Vec::new();
        self.line.ask_in(folder, visited.uid_validity, |origin| {
            candidates.clear();
            origin.arrivals(&missing, &mut |arrival| {
                candidates.push(Candidate {
                    uid: arrival.uid,
                    size: arrival.size,
                    seconds: arrival.internal_date.map(|date| date.seconds),
                    object: arrival.object_id.map(|id| Digest::of(id.as_bytes())),
                    header: None,
                });
                Ok(())
            })
        })?;
        candidates.retain(|candidate| missing.contains(candidate.uid));
        candidates.sort_by_key(|candidate| candidate.uid);
        candidates.dedup_by_key(|candidate| candidate.uid);
        let named = visited.spare.pair_by_object(&candidates);
        let mut pairs = self.prove(folder, visited, named)?;
        let sure: UidSet = pairs.iter().map(|(uid, _)| *uid).collect();
        let dates = visited.spare.has_date();
        candidates.retain(|candidate| !sure.contains(candidate.uid) && candidate.seconds.is_some_and(|seconds| dates.contains(&seconds)));
        self.learn_headers(folder, visited.uid_validity, &mut candidates)?;
        let likely = visited.spare.pair_by_header(&mut candidates);
        pairs.extend(self.prove(folder, visited, likely)?);
        drop(candidates);
        pairs.sort_unstable();
        self.record_pairs(index, folder, visited, &pairs)
    }

    fn learn_headers(&mut self, folder: &Folder, uid_validity: u32, candidates: &mut [Candidate]) -> Result<()> {
        let uids: UidSet = candidates.iter().map(|candidate| candidate.uid).collect();
        if uids.is_empty() {
            return Ok(());
        }
        self.line.ask_in(folder, uid_validity, |origin| {
            origin.headers(&uids, &mut |uid, header| {
                if let Ok(header) = header
                    && let Ok(place) = candidates.binary_search_by_key(&uid, |candidate| candidate.uid)
                    && let Some(candidate) = candidates.get_mut(place)
                {
                    candidate.header = Some(header_digest(&header));
                }
                Ok(())
            })
        })
    }

    /// Reads a sample in full: one that is not what its header or its identity promised, and none of them counts.
    fn prove(&mut self, folder: &Folder, visited: &mut Visited, pairs: Vec<(u32, u32)>) -> Result<Vec<(u32, u32)>> {
        let uids: UidSet = pairs.iter().map(|(uid, _)| *uid).collect();
        let sample = spread(&uids, SAMPLE);
        let expected: HashMap<u32, Digest> = pairs
            .iter()
            .filter(|(uid, _)| sample.contains(*uid))
            .filter_map(|(uid, at)| Some((*uid, visited.spare.files.get(*at as usize)?.content)))
            .collect();
        let mut read: HashMap<u32, bool> = HashMap::new();
        if !sample.is_empty() {
            self.line.ask_in(folder, visited.uid_validity, |origin| {
                let mut wanted: Vec<Arrival> = Vec::new();
                origin.arrivals(&sample, &mut |arrival| {
                    if sample.contains(arrival.uid) {
                        wanted.push(arrival);
                    }
                    Ok(())
                })?;
                origin.read(&wanted, &mut |place, message| {
                    if let (Some(arrival), Ok(message)) = (wanted.get(place), message) {
                        read.insert(arrival.uid, expected.get(&arrival.uid) == Some(&message.digests.content));
                    }
                    Ok(())
                })
            })?;
        }
        let believed = read.values().all(|agrees| *agrees) && !read.is_empty();
        if believed && read.len() as u64 == sample.len() {
            return Ok(pairs);
        }
        let (kept, dropped): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(uid, _)| {
            // What could not be read now is told apart later, by what is read then.
            read.get(uid).map_or(believed && !sample.contains(*uid), |agrees| *agrees)
        });
        for (_, at) in dropped {
            visited.spare.take(at, false);
        }
        Ok(kept)
    }

    fn record_pairs(&mut self, index: usize, folder: &Folder, visited: &mut Visited, pairs: &[(u32, u32)]) -> Result<()> {
        let uids: UidSet = pairs.iter().map(|(uid, _)| *uid).collect();
        let mut recorded = Vec::new();
        for set in uids.split_by_count(BATCH) {
            let mut arrivals: Vec<Arrival> = Vec::new();
            self.line.ask_in(folder, visited.uid_validity, |origin| {
                arrivals.clear();
                origin.arrivals(&set, &mut |arrival| {
                    arrivals.push(arrival);
                    Ok(())
                })
            })?;
            arrivals.sort_by_key(|arrival| arrival.uid);
            arrivals.dedup_by_key(|arrival| arrival.uid);
            let (mut changes, mut names) = (Vec::new(), Vec::new());
            for arrival in arrivals {
                let Ok(place) = pairs.binary_search_by_key(&arrival.uid, |(uid, _)| *uid) else { continue };
                let Some(file) = pairs.get(place).and_then(|(_, at)| visited.spare.files.get(*at as usize)) else { continue };
                let flags = tidy(arrival.flags);
                names.push((file.stem.to_string(), flags.clone()));
                let entry = entry(&self.job, visited.era, arrival.uid, flags, arrival.labels, arrival.size);
                changes.push((arrival.uid, ArchiveChange::Recognised { entry, file: file.id }));
            }
            self.job.context.step("backup.reflag");
            // A file that somebody removed stands for no message: that one is read again.
            let lost = self.job.store.vault.reflag(&self.job.account.name, folder, &names)?;
            let lost: HashSet<&String> = lost.iter().collect();
            let there = changes.into_iter().zip(&names).filter(|(_, (stem, _))| !lost.contains(stem));
            let (uids, changes): (Vec<u32>, Vec<ArchiveChange>) = there.map(|(change, _)| change).unzip();
            recorded.extend(uids);
            self.job.context.step("backup.commit");
            self.job.store.archive.commit(&changes)?;
            self.job.context.step("backup.recognised");
        }
        let recorded: UidSet = recorded.into_iter().collect();
        visited.missing = visited.missing.difference(&recorded);
        if let Some(work) = self.works.get_mut(index) {
            work.counts.already_there += recorded.len();
        }
        Ok(())
    }
}

/// A message as the archive gets it.
pub(super) fn entry(
    job: &super::super::Backup<'_>,
    era: EraId,
    uid: u32,
    flags: Vec<Flag>,
    labels: Vec<String>,
    listed_size: Option<u64>,
) -> NewEntry {
    NewEntry { era, uid: Some(uid), key: None, flags, labels, listed_size, at: job.context.unix_time() }
}
