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

/// The beginning of a SHA-256 digest. Nobody can make two that agree in it, and a file is claimed by its whole digest alone.
type Short = [u8; 16];

/// No place.
const NOWHERE: u32 = u32::MAX;

/// A file that no message of the generation has yet. A folder has hundreds of thousands of them, so it holds just what tells which
/// message may be its own; its name and digests stay in the archive.
struct Free {
    id: FileId,
    /// Its length, and the size by which the server listed it.
    sizes: [u64; 2],
    /// The message it is named after; (0, 0), which none has, where its name tells of none.
    named: (u32, u32),
    /// Where its content begins in `by_content`: the same for equal ones.
    content: u32,
    taken: bool,
}

/// Files of a folder that no message of its generation has yet.
#[derive(Default)]
pub(super) struct Spare {
    files: Vec<Free>,
    /// Places in `files` by content.
    by_content: Vec<(Short, u32)>,
    /// Places in `files`, ordered by the message they are named after.
    by_name: Vec<u32>,
    /// How many of those with a content are taken for sure: a folder of equal messages must not cost the square of them.
    passed: HashMap<u32, usize>,
}

/// By what files are recognised before anything is read.
pub(super) struct Keys {
    /// Places of files by EMAILID or X-GM-MSGID.
    objects: Vec<(Short, u32)>,
    /// Places of files by header and date.
    headers: Vec<(Short, u32)>,
    /// The dates of files in seconds since 1970 UTC, ascending.
    dates: Vec<i64>,
}

/// A message as the server lists it.
struct Candidate {
    uid: u32,
    /// Where the files begin that have its key; [`NOWHERE`] when there is none.
    place: u32,
    /// `u64::MAX` when it is not known.
    size: u64,
    seconds: i64,
}

fn short(digest: Digest) -> Short {
    digest.0.first_chunk().copied().unwrap_or_default()
}

fn header_key(header: Digest, seconds: i64) -> Short {
    let mut key = [0; 40];
    key.iter_mut().zip(header.0.into_iter().chain(seconds.to_be_bytes())).for_each(|(to, from)| *to = from);
    short(Digest::of(&key))
}

/// Where the first of a key is.
fn first_of(ordered: &[(Short, u32)], key: Short) -> Option<u32> {
    let at = ordered.partition_point(|(other, _)| *other < key);
    ordered.get(at).filter(|(other, _)| *other == key)?;
    u32::try_from(at).ok()
}

/// All of the key whose first is at this place.
fn all_of(ordered: &[(Short, u32)], first: u32) -> &[(Short, u32)] {
    let rest = ordered.get(first as usize..).unwrap_or_default();
    let Some((key, _)) = rest.first() else { return rest };
    rest.get(..rest.partition_point(|(other, _)| other == key)).unwrap_or_default()
}

impl Spare {
    pub(super) fn of(archive: &Archive, folder: ArchiveFolderId, era: EraId) -> Result<(Self, Keys)> {
        let mut spare = Self::default();
        let mut keys = Keys { objects: Vec::new(), headers: Vec::new(), dates: Vec::new() };
        archive.loose_files(folder, era, &mut |file| {
            let Ok(at) = u32::try_from(spare.files.len()) else { return Ok(()) };
            let named = uid_of(&file.stem).unwrap_or_default();
            let sizes = [file.length, file.listed_size.unwrap_or(file.length)];
            spare.files.push(Free { id: file.id, sizes, named, content: NOWHERE, taken: false });
            spare.by_content.push((short(file.content), at));
            if let Some(id) = &file.object_id {
                keys.objects.push((short(Digest::of(id.as_bytes())), at));
            }
            if let Some(seconds) = file.seconds {
                keys.headers.push((header_key(file.header, seconds), at));
                keys.dates.push(seconds);
            }
            if named != (0, 0) {
                spare.by_name.push(at);
            }
            Ok(())
        })?;
        spare.arrange();
        keys.objects.sort_unstable();
        keys.headers.sort_unstable();
        keys.dates.sort_unstable();
        keys.dates.dedup();
        Ok((spare, keys))
    }

    /// Brings the orders into order, and gives files of equal content its number.
    fn arrange(&mut self) {
        let Self { files, by_content, by_name, .. } = self;
        by_content.sort_unstable();
        by_name.sort_unstable_by_key(|&at| (files.get(at as usize).map(|file| file.named), at));
        let mut first = 0;
        for alike in by_content.chunk_by(|(one, _), (other, _)| one == other) {
            for (_, at) in alike {
                if let Some(file) = files.get_mut(*at as usize) {
                    file.content = first;
                }
            }
            first = first.saturating_add(u32::try_from(alike.len()).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn get(&self, at: u32) -> Option<&Free> {
        self.files.get(at as usize)
    }

    /// Takes a file with this content for the message `own` (UIDVALIDITY, UID), if one is left: its number and the unique part of
    /// its name. One that is named after another message that is `there` waits for that: its name is the one that message gets,
    /// and so they would come to share a file.
    pub(super) fn claim(
        &mut self,
        archive: &Archive,
        content: Digest,
        own: (u32, u32),
        there: &UidSet,
    ) -> Result<Option<(FileId, String)>> {
        let Some(at) = self.next(short(content), own, there) else { return Ok(None) };
        let Some(file) = self.get(at) else { return Ok(None) };
        let found = archive.file(file.id)?.filter(|file| file.content == content);
        self.take(at, found.is_some());
        Ok(found.map(|file| (file.id, file.stem)))
    }

    /// The place of the next file with a content.
    fn next(&mut self, content: Short, own: (u32, u32), there: &UidSet) -> Option<u32> {
        let first = first_of(&self.by_content, content)?;
        let named = |at: &u32| self.get(*at).map(|file| file.named);
        let behind = self.by_name.partition_point(|at| named(at) <= Some(own));
        if let Some(&at) = behind.checked_sub(1).and_then(|last| self.by_name.get(last))
            && self.get(at).is_some_and(|file| file.named == own && !file.taken && file.content == first)
        {
            return Some(at);
        }
        let passed = self.passed.get(&first).copied().unwrap_or_default();
        let alike = all_of(&self.by_content, first);
        let waits = |file: &Free| file.named.0 == own.0 && there.contains(file.named.1);
        let is_free = |at: u32| self.get(at).is_some_and(|file| !file.taken && !waits(file));
        let next = (passed..alike.len()).find(|&at| alike.get(at).is_some_and(|(_, at)| is_free(*at)));
        let place = next.and_then(|at| alike.get(at)).map(|(_, at)| *at);
        self.passed.insert(first, next.map_or(alike.len(), |at| at + 1));
        place
    }

    fn take(&mut self, at: u32, taken: bool) {
        if let Some(file) = self.files.get_mut(at as usize) {
            file.taken = taken;
        }
    }

    fn one_content<'s>(&'s self, mut places: impl Iterator<Item = &'s u32>) -> bool {
        let content = |at: &u32| self.get(*at).map(|file| file.content);
        let first = places.next().and_then(content);
        places.all(|at| content(at) == first)
    }

    /// Pairs messages with files whose EMAILID or X-GM-MSGID is theirs. One that stands for different contents, or for a message
    /// of another size, says nothing: there are servers that number from one again, and others that give all the same.
    fn pair_by_object(&mut self, objects: &[(Short, u32)], candidates: &mut [Candidate]) -> Vec<(u32, u32)> {
        candidates.sort_unstable_by_key(|candidate| (candidate.place, candidate.uid));
        let mut pairs = Vec::new();
        for group in candidates.chunk_by(|one, other| one.place == other.place) {
            let Some(first) = group.first().map(|candidate| candidate.place).filter(|place| *place != NOWHERE) else { continue };
            let alike = all_of(objects, first);
            if !self.one_content(alike.iter().map(|(_, at)| at)) {
                continue;
            }
            let mut left = alike.iter().map(|(_, at)| *at).peekable();
            for candidate in group {
                let Some(&at) = left.peek() else { break };
                if candidate.size != u64::MAX && !self.get(at).is_some_and(|file| file.sizes.contains(&candidate.size)) {
                    continue;
                }
                left.next();
                self.take(at, true);
                pairs.push((candidate.uid, at));
            }
        }
        pairs
    }

    /// Pairs messages with files by header, date and size, where that is unambiguous on both sides.
    fn pair_by_header(&mut self, headers: &[(Short, u32)], candidates: &mut [Candidate]) -> Vec<(u32, u32)> {
        candidates.sort_unstable_by_key(|candidate| (candidate.place, candidate.uid));
        let mut pairs = Vec::new();
        for group in candidates.chunk_by(|one, other| one.place == other.place) {
            let Some(first) = group.first().map(|candidate| candidate.place).filter(|place| *place != NOWHERE) else { continue };
            let alike = all_of(headers, first).iter().map(|(_, at)| *at);
            let free: Vec<u32> = alike.filter(|at| self.get(*at).is_some_and(|file| !file.taken)).collect();
            let fits = |size: u64| size != u64::MAX && free.iter().any(|at| self.get(*at).is_some_and(|file| file.sizes.contains(&size)));
            if group.len() > free.len() || !self.one_content(free.iter()) || !group.iter().all(|candidate| fits(candidate.size)) {
                continue;
            }
            pairs.extend(group.iter().map(|candidate| candidate.uid).zip(free));
        }
        for &(_, at) in &pairs {
            self.take(at, true);
        }
        pairs
    }
}

impl Run<'_> {
    /// Records messages that are in the store already, without reading them; they leave `visited.missing`.
    pub(super) fn recognise(&mut self, index: usize, folder: &Folder, visited: &mut Visited, keys: Keys) -> Result<()> {
        let missing = visited.missing.difference(&visited.tried);
        let Keys { objects, headers, dates } = keys;
        let mut candidates: Vec<Candidate> = Vec::new();
        self.line.ask_in(folder, visited.uid_validity, |origin| {
            candidates.clear();
            origin.arrivals(&missing, &mut |arrival| {
                let object = arrival.object_id.and_then(|id| first_of(&objects, short(Digest::of(id.as_bytes()))));
                let seconds = arrival.internal_date.map(|date| date.seconds);
                let is_dated = seconds.is_some_and(|seconds| dates.binary_search(&seconds).is_ok());
                // The others are like nothing that is here.
                if (object.is_some() || is_dated) && missing.contains(arrival.uid) {
                    candidates.push(Candidate {
                        uid: arrival.uid,
                        place: object.unwrap_or(NOWHERE),
                        size: arrival.size.unwrap_or(u64::MAX),
                        seconds: seconds.unwrap_or(i64::MIN),
                    });
                }
                Ok(())
            })
        })?;
        // Told of twice: the first word holds.
        candidates.sort_by_key(|candidate| candidate.uid);
        candidates.dedup_by_key(|candidate| candidate.uid);
        let named = visited.spare.pair_by_object(&objects, &mut candidates);
        drop(objects);
        let mut pairs = self.prove(folder, visited, named)?;
        let sure: UidSet = pairs.iter().map(|(uid, _)| *uid).collect();
        candidates.retain(|candidate| !sure.contains(candidate.uid) && dates.binary_search(&candidate.seconds).is_ok());
        drop((sure, dates));
        candidates.sort_unstable_by_key(|candidate| candidate.uid);
        self.learn_headers(folder, visited.uid_validity, &headers, &mut candidates)?;
        let likely = visited.spare.pair_by_header(&headers, &mut candidates);
        drop((headers, candidates));
        pairs.extend(self.prove(folder, visited, likely)?);
        pairs.sort_unstable();
        self.record_pairs(index, folder, visited, &pairs)
    }

    /// Finds the files that have the header and date of messages, which come by rising UID.
    fn learn_headers(&mut self, folder: &Folder, uid_validity: u32, headers: &[(Short, u32)], candidates: &mut [Candidate]) -> Result<()> {
        candidates.iter_mut().for_each(|candidate| candidate.place = NOWHERE);
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
                    let key = header_key(header_digest(&header), candidate.seconds);
                    candidate.place = first_of(headers, key).unwrap_or(NOWHERE);
                }
                Ok(())
            })
        })
    }

    /// Reads a sample in full: one that is not what its header or its identity promised, and none of them counts.
    fn prove(&mut self, folder: &Folder, visited: &mut Visited, pairs: Vec<(u32, u32)>) -> Result<Vec<(u32, u32)>> {
        let uids: UidSet = pairs.iter().map(|(uid, _)| *uid).collect();
        let sample = spread(&uids, SAMPLE);
        let mut expected: HashMap<u32, Digest> = HashMap::new();
        for (uid, at) in pairs.iter().filter(|(uid, _)| sample.contains(*uid)) {
            if let Some(free) = visited.spare.get(*at)
                && let Some(file) = self.job.store.archive.file(free.id)?
            {
                expected.insert(*uid, file.content);
            }
        }
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
                let Some(free) = pairs.get(place).and_then(|(_, at)| visited.spare.get(*at)) else { continue };
                let Some(file) = self.job.store.archive.file(free.id)? else { continue };
                let flags = tidy(arrival.flags);
                names.push((file.stem, flags.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Files with these contents, each named after a message of the UIDVALIDITY 7, by their order from 1.
    fn spare(contents: &[u8], length: u64) -> Spare {
        let mut spare = Spare::default();
        for (at, content) in (0..).zip(contents) {
            spare.files.push(Free { id: FileId::default(), sizes: [length, length + 1], named: (7, at + 1), content: 0, taken: false });
            spare.by_content.push(([*content; 16], at));
            spare.by_name.push(at);
        }
        spare.arrange();
        spare
    }

    fn candidate(uid: u32, place: u32, size: u64) -> Candidate {
        Candidate { uid, place, size, seconds: 5 }
    }

    fn keys(keys: &[(u8, u32)]) -> Vec<(Short, u32)> {
        keys.iter().map(|(key, at)| ([*key; 16], *at)).collect()
    }

    /// What messages of these contents and UIDs get, one after the other.
    fn claimed(spare: &mut Spare, uid_validity: u32, there: &[u32], messages: &[(u8, u32)]) -> Vec<Option<u32>> {
        let there: UidSet = there.iter().copied().collect();
        let claim = |&(content, uid): &(u8, u32)| {
            let at = spare.next([content; 16], (uid_validity, uid), &there)?;
            spare.take(at, true);
            Some(at)
        };
        messages.iter().map(claim).collect()
    }

    #[test]
    fn a_key_is_found_among_many_with_all_that_have_it() {
        let ordered = keys(&[(1, 4), (3, 0), (3, 2), (3, 9), (8, 1)]);
        assert_eq!(first_of(&ordered, [3; 16]), Some(1));
        assert_eq!(all_of(&ordered, 1), &ordered[1..4]);
        assert_eq!(all_of(&ordered, 4), &ordered[4..]);
        for other in [0, 2, 9] {
            assert_eq!(first_of(&ordered, [other; 16]), None);
        }
        assert!(all_of(&ordered, NOWHERE).is_empty() && all_of(&ordered, 5).is_empty());
    }

    #[test]
    fn a_header_with_another_date_is_another_key() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        assert_eq!(header_key(one, 5), header_key(one, 5));
        assert!(header_key(one, 5) != header_key(one, 6) && header_key(one, 5) != header_key(other, 5));
    }

    #[test]
    fn each_file_goes_to_one_message_of_its_content() {
        let mut files = spare(&[1, 2, 1, 1], 10);
        let all = claimed(&mut files, 9, &[], &[(1, 30), (2, 31), (1, 32), (2, 33), (1, 34), (1, 35), (4, 36)]);
        assert_eq!(all, [Some(0), Some(1), Some(2), None, Some(3), None, None]);
    }

    #[test]
    fn a_message_gets_the_file_named_after_it_and_none_that_waits_for_another() {
        let mut files = spare(&[1, 1, 1], 10);
        // UID 3 comes first and has its own; 9 gets the one whose message is not there.
        assert_eq!(claimed(&mut files, 7, &[2, 3, 9], &[(1, 3), (1, 9), (1, 9), (1, 2)]), [Some(2), Some(0), None, Some(1)]);
        // Its own name with another content is not it.
        assert_eq!(claimed(&mut spare(&[1, 2], 10), 7, &[1], &[(2, 1)]), [Some(1)]);
    }

    #[test]
    fn an_identity_that_stands_for_two_contents_or_another_size_says_nothing() {
        let mut files = spare(&[1, 1, 2, 3], 10);
        let objects = keys(&[(1, 0), (1, 1), (2, 2), (2, 3)]);
        let mut listed = [
            candidate(50, 0, 10),
            candidate(40, 0, 12),
            candidate(41, 0, 11),
            candidate(42, 0, 10),
            candidate(43, 2, 10),
            candidate(44, NOWHERE, 10),
        ];
        assert_eq!(files.pair_by_object(&objects, &mut listed), [(41, 0), (42, 1)]);
        assert!(files.files[0].taken && files.files[1].taken && !files.files[2].taken);
        let mut one = spare(&[1], 10);
        assert_eq!(one.pair_by_object(&keys(&[(1, 0)]), &mut [candidate(1, 0, u64::MAX)]), [(1, 0)]);
    }

    #[test]
    fn a_header_pairs_only_as_many_as_are_free_and_alike_and_of_a_known_size() {
        let headers = keys(&[(1, 0), (1, 1), (2, 2), (2, 3)]);
        let pairs = |taken: &[u32], listed: &mut [Candidate]| {
            let mut files = spare(&[1, 1, 2, 3], 10);
            taken.iter().for_each(|at| files.take(*at, true));
            files.pair_by_header(&headers, listed)
        };
        assert_eq!(pairs(&[], &mut [candidate(9, 0, 10), candidate(8, 0, 11)]), [(8, 0), (9, 1)]);
        assert_eq!(pairs(&[0], &mut [candidate(9, 0, 10)]), [(9, 1)]);
        // More messages than files, contents that differ, a size that differs or is not known, no header like it.
        assert_eq!(pairs(&[0], &mut [candidate(9, 0, 10), candidate(8, 0, 10)]), []);
        assert_eq!(pairs(&[], &mut [candidate(9, 2, 10)]), []);
        assert_eq!(pairs(&[], &mut [candidate(9, 0, 12)]), []);
        assert_eq!(pairs(&[], &mut [candidate(9, 0, u64::MAX)]), []);
        assert_eq!(pairs(&[], &mut [candidate(9, NOWHERE, 10)]), []);
    }

    #[test]
    fn ten_thousand_equal_messages_are_no_square_of_work_and_each_gets_its_own() {
        let mut files = spare(&[1; 10_000], 10);
        let messages: Vec<(u8, u32)> = (1..=10_001).map(|uid| (1, uid)).collect();
        let got = claimed(&mut files, 9, &[], &messages);
        assert_eq!(got, (0..10_000).map(Some).chain([None]).collect::<Vec<_>>());
    }
}
