//! Settling: finding out at the destination what became of messages whose answer never came (`TRANSFER.md`, Migrate, 6),
//! and finding there what was brought by others. It needs neither UIDPLUS nor Message-IDs nor SEARCH.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::pass::{Adoptable, Target};
use crate::context::Context;
use crate::error::Result;
use crate::folder::Folder;
use crate::matching::pair_by_content;
use crate::message::{Digest, header_digest, header_len};
use crate::state::{Batch, Brought, Change, CopyId, GenerationId, Intent, Journal};
use crate::store::{FolderInfo, Listed, Sink, SpecialUse};

/// How the names of stores of backups begin, as sources.
const STORES: &str = "store:";

/// The digests by which a message at the destination is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    content: Digest,
    parts: (Digest, Digest),
}

/// Digests of messages read back from the destination, so that looking again costs only what is new.
pub(super) type SeenByUid = HashMap<(GenerationId, u32), Seen>;

/// What settling found out of one open copy.
pub(super) struct Settled {
    pub(super) source: String,
    pub(super) folder: Folder,
    pub(super) key: String,
    pub(super) length: u64,
    pub(super) tries: u32,
    /// There, or free to be sent again.
    pub(super) arrived: bool,
}

/// Settles what can be settled now of the copies into the sink's open folder. What is not found stays open until `patience`
/// has passed since its intent: a server may commit late.
pub(super) fn settle(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    target: &Target,
    opened: &FolderInfo,
    seen: &mut SeenByUid,
    patience: Duration,
    context: &Context,
) -> Result<Vec<Settled>> {
    let open = journal.outstanding(target.mailbox)?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let mut free = free_messages(sink, journal, target, &open, None, seen)?.free;
    let mut changes = Vec::new();
    let mut settled = Vec::new();
    let mut arrived = |intent: &Intent, uid| {
        changes.push(Change::Done { copy: intent.id, uid, altered: false });
        // It may have been put aside because nobody knew.
        let (source, folder, key) = (intent.source.clone(), intent.folder.clone(), intent.key.clone());
        changes.push(Change::Release { source, folder, key });
        settled.push(told(intent, true));
    };
    let mut left: Vec<&Intent> = open.iter().collect();
    for (intent, uid) in take_pairs(&mut left, &mut free, target.generation, seen) {
        arrived(intent, target.lasting(uid));
    }
    if !left.is_empty() {
        // A filter, or a person, may have moved it: its content in another folder is proof enough that it arrived.
        let elsewhere = find_elsewhere(sink, journal, target, opened, &left, seen)?;
        left.retain(|intent| {
            let found = elsewhere.get(&intent.id);
            if let Some(uid) = found {
                arrived(intent, Some(*uid));
            }
            found.is_none()
        });
    }
    // A message that cannot be read may be one of them: nothing is proved then.
    let provable = free.iter().all(|listed| seen.contains_key(&(target.generation, listed.id)));
    for intent in left {
        if provable && context.unix_time() >= intent.intended_at.saturating_add(i64::try_from(patience.as_secs()).unwrap_or(i64::MAX)) {
            changes.push(Change::Pending { copy: intent.id });
            settled.push(told(intent, false));
        }
    }
    journal.commit(&Batch(changes))?;
    Ok(settled)
}

/// Finds out under which UIDs copies lie that are done and of which the server did not tell.
pub(super) fn place(sink: &mut dyn Sink, journal: &mut Journal, target: &Target, seen: &mut SeenByUid) -> Result<()> {
    free_messages(sink, journal, target, &[], None, seen).map(drop)
}

/// Reads what is at the destination and nobody's copy, so that a run without a journal can adopt it. Where the header digests
/// of what is looked for are known (`headers`), only messages with one of them are read: the same message has the same.
pub(super) fn adoptable(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    target: &Target,
    seen: &mut SeenByUid,
    headers: Option<&HashSet<Digest>>,
) -> Result<Adoptable> {
    let mut there: Vec<Listed>;
    if target.is_numbered() {
        // What is ours without our knowing under which UID must not be taken for somebody else's.
        free_messages(sink, journal, target, &[], None, seen)?;
        let claimed = journal.claimed_uids(target.generation)?;
        there = sink.look(1)?.messages;
        there.retain(|listed| !claimed.contains(&listed.id) && listed.id < target.floor);
        there.sort_by_key(|listed| listed.id);
    } else {
        there = free_messages(sink, journal, target, &[], Some(0), seen)?.free;
    }
    if let Some(headers) = headers.filter(|_| target.is_numbered()) {
        let mut alike = HashSet::new();
        sink.headers(&there, &mut |index, header| {
            // One whose header cannot be had, or has no end, is read whole: servers do not agree what a header is then.
            let alike_or_odd = |header: Vec<u8>| header_len(&header).is_none() || headers.contains(&header_digest(&header));
            if let Some(listed) = there.get(index)
                && header.map_or(true, alike_or_odd)
            {
                alike.insert(listed.id);
            }
            Ok(())
        })?;
        there.retain(|listed| alike.contains(&listed.id));
    }
    read_digests(sink, &there, target.generation, seen)?;
    let mut found = Adoptable::default();
    for listed in &there {
        if let Some(seen) = seen.get(&(target.generation, listed.id)) {
            found.add(listed.id, seen.content, seen.parts);
        }
    }
    Ok(found)
}

/// What other sources brought to the destination and is there still. It is told by the journal alone: a copy's content was proved
/// when it was sent.
pub(super) fn brought_by_others(
    sink: &mut dyn Sink,
    journal: &Journal,
    target: &Target,
    source: &str,
    folder: &Folder,
) -> Result<Adoptable> {
    let mut found = Adoptable::default();
    let brought = journal.brought_by_others(source, folder, target.mailbox, target.generation)?;
    if brought.is_empty() {
        return Ok(found);
    }
    let there: HashSet<u32> = sink.look(1)?.messages.into_iter().map(|listed| listed.id).collect();
    for one in brought.into_iter().filter(|one| there.contains(&one.uid)) {
        // One whose parts were not taken is found by its content alone.
        found.add(one.uid, one.content, (one.header.unwrap_or(one.content), one.body.unwrap_or(one.content)));
    }
    Ok(found)
}

/// What came to the destination out of stores of backups (or, for a `source` that is one, out of any other source), is there still,
/// and counts for no message of any source yet: a store and the account that it backs up hold the same mail.
pub(super) fn brought_before(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    target: &Target,
    source: &str,
    seen: &mut SeenByUid,
) -> Result<Adoptable> {
    let mut found = Adoptable::default();
    let from = if source.starts_with(STORES) { "" } else { STORES };
    let is_twin = |copy: &Intent| copy.source.starts_with(from) && copy.source != source;
    let unplaced = journal.unplaced(target.mailbox, target.generation)?.iter().any(is_twin);
    let merged = journal.merged(target.mailbox)?;
    let mut others: Vec<Brought> = Vec::new();
    let mut own: Vec<Brought> = Vec::new();
    if !target.is_numbered() {
        if !unplaced {
            return Ok(found);
        }
        for (copy, uid) in free_messages(sink, journal, target, &[], Some(0), seen)?.placed {
            let brought = Brought { uid, content: copy.content, header: copy.header, body: copy.body };
            if is_twin(&copy) {
                others.push(brought);
            } else if copy.source == source {
                own.push(brought);
            }
        }
    } else {
        if unplaced {
            place(sink, journal, target, seen)?;
        }
        others = journal.brought_from(from, (source, false), target.mailbox, target.generation)?;
        if others.is_empty() {
            return Ok(found);
        }
        if merged.iter().any(|(by, _, _)| by != source) {
            own = journal.brought_from("", (source, true), target.mailbox, target.generation)?;
        }
        let there: HashSet<u32> = sink.look(1)?.messages.into_iter().map(|listed| listed.id).collect();
        others.retain(|one| there.contains(&one.uid));
        own.retain(|one| there.contains(&one.uid));
    }
    // A message may be in several stores, or have been restored twice: each UID is one message there.
    for one in own.iter().chain(&others) {
        found.add(one.uid, one.content, (one.header.unwrap_or(one.content), one.body.unwrap_or(one.content)));
    }
    // What counts for others already counts for none of these; of equal ones, that is a copy of this source first.
    let claim = |found: &mut Adoptable, own: bool| -> Result<()> {
        for (_, content, parts) in merged.iter().filter(|(by, _, _)| (by == source) == own) {
            found.claim(*content, || Ok(parts.unwrap_or((*content, *content))))?;
        }
        Ok(())
    };
    claim(&mut found, false)?;
    own.iter().for_each(|one| found.take(one.uid));
    claim(&mut found, true)?;
    Ok(found)
}

fn told(intent: &Intent, arrived: bool) -> Settled {
    Settled {
        source: intent.source.clone(),
        folder: intent.folder.clone(),
        key: intent.key.clone(),
        length: intent.length,
        tries: intent.tries,
        arrived,
    }
}

fn joined((header, body): (Digest, Digest)) -> Digest {
    Digest::of(&[header.0, body.0].concat())
}

/// A folder of the destination, with what of it is ours.
#[derive(Default)]
struct Matched {
    /// Copies that are done and had no place yet, each with the number of its message.
    placed: Vec<(Intent, u32)>,
    /// Messages that are nobody's copy.
    free: Vec<Listed>,
}

/// Messages that may be one of `open`: from the lowest of their floors (and `from`) on, there after we came, and nobody's copy. For
/// that, copies that are done get the UIDs which the server did not tell (no UIDPLUS), or which it changed (UIDVALIDITY):
/// of identical messages, one that is done must not be taken for one whose fate is open. Where messages keep no number, no copy
/// that is done has a place, and all are matched each time.
fn free_messages(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    target: &Target,
    open: &[Intent],
    from: Option<u32>,
    seen: &mut SeenByUid,
) -> Result<Matched> {
    let generation = target.generation;
    if !target.is_numbered() {
        // What a number meant at the last look it need not mean now.
        seen.retain(|(of, _), _| *of != generation);
    }
    let placeless = journal.unplaced(target.mailbox, generation)?;
    // Under another UIDVALIDITY a floor means nothing: then the whole folder is matched.
    let floor_of = |intent: &Intent| match (target.is_numbered(), intent.generation == Some(generation)) {
        (false, _) => 0,
        (true, true) => intent.floor.unwrap_or(1),
        (true, false) => 1,
    };
    let Some(floor) = open.iter().chain(&placeless).map(floor_of).chain(from).min() else { return Ok(Matched::default()) };
    let claimed = journal.claimed_uids(generation)?;
    let baseline: HashSet<u32> = journal.baseline(generation)?.unwrap_or_default().into_iter().collect();
    let mut free = sink.look(floor)?.messages;
    // `floor:*` names the last message even when its UID is lower (RFC 9051 section 9, seq-range).
    free.retain(|listed| listed.id >= floor && !claimed.contains(&listed.id) && !baseline.contains(&listed.id));
    free.sort_by_key(|listed| listed.id);
    read_digests(sink, &free, generation, seen)?;
    let mut left: Vec<&Intent> = placeless.iter().collect();
    let pairs = take_pairs(&mut left, &mut free, generation, seen);
    let changes = pairs.iter().filter_map(|(copy, id)| Some(Change::Placed { copy: copy.id, uid: target.lasting(*id)? }));
    journal.commit(&Batch(changes.collect()))?;
    let placed = pairs.into_iter().map(|(copy, id)| (copy.clone(), id)).collect();
    Ok(Matched { placed, free })
}

/// Takes what is the same message out of both lists: the oldest copy gets the lowest UID. Equal contents go first, then
/// equal headers with equal bodies, for servers that change header fields.
fn take_pairs<'a>(
    left: &mut Vec<&'a Intent>,
    free: &mut Vec<Listed>,
    generation: GenerationId,
    seen: &SeenByUid,
) -> Vec<(&'a Intent, u32)> {
    let mut taken = Vec::new();
    for by_parts in [false, true] {
        let there: Vec<(u32, Digest)> = free
            .iter()
            .filter_map(|listed| Some((listed.id, seen.get(&(generation, listed.id))?)))
            .map(|(uid, seen)| (uid, if by_parts { joined(seen.parts) } else { seen.content }))
            .collect();
        let wanted: Vec<(usize, Digest)> = left
            .iter()
            .enumerate()
            .filter_map(|(index, intent)| {
                let digest = if by_parts { joined((intent.header?, intent.body?)) } else { intent.content };
                Some((index, digest))
            })
            .collect();
        let pairs: HashMap<usize, u32> = pair_by_content(&there, &wanted).into_iter().collect();
        let claimed: HashSet<u32> = pairs.values().copied().collect();
        free.retain(|listed| !claimed.contains(&listed.id));
        let mut open = Vec::new();
        for (index, intent) in left.drain(..).enumerate() {
            match pairs.get(&index) {
                Some(&uid) => taken.push((intent, uid)),
                None => open.push(intent),
            }
        }
        *left = open;
    }
    taken
}

fn read_digests(sink: &mut dyn Sink, listed: &[Listed], generation: GenerationId, seen: &mut SeenByUid) -> Result<()> {
    let unread: Vec<Listed> = listed.iter().filter(|listed| !seen.contains_key(&(generation, listed.id))).cloned().collect();
    if unread.is_empty() {
        return Ok(());
    }
    sink.read(&unread, &mut |index, message| {
        // One that cannot be read cannot be recognised; what it may be stays open.
        if let (Some(listed), Ok(message)) = (unread.get(index), message) {
            let parts = message.body.split_digests()?;
            seen.insert((generation, listed.id), Seen { content: message.digests.content, parts });
        }
        Ok(())
    })
}

/// Which of `intents` lie in other folders that grew since the run began, and where.
fn find_elsewhere(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    home: &Target,
    opened: &FolderInfo,
    intents: &[&Intent],
    seen: &mut SeenByUid,
) -> Result<HashMap<CopyId, (GenerationId, u32)>> {
    let mut found = HashMap::new();
    let mut left: Vec<&Intent> = intents.to_vec();
    let mut gone: Option<Vec<Intent>> = None;
    let mut followed: HashSet<CopyId> = HashSet::new();
    for info in sink.folders()? {
        // Folders that show what lies in others prove nothing.
        let shows_others = matches!(info.special_use, Some(SpecialUse::All | SpecialUse::Flagged));
        if left.is_empty() || info.folder == opened.folder || !info.selectable || shows_others {
            continue;
        }
        let Some(horizon) = journal.horizon(&info.folder)? else { continue };
        let Ok(Some(state)) = sink.open(&info, false) else { continue };
        if state.generation != Some(horizon.uid_validity) || state.uid_next.is_some_and(|next| next <= horizon.uid_next) {
            continue;
        }
        let mailbox = journal.mailbox(&info.folder)?;
        let generation = journal.add_generation(mailbox, horizon.uid_validity)?;
        let target = Target { mailbox, generation, uid_validity: state.generation, floor: horizon.uid_next };
        // Its own copies come first: what was sent there is no proof for a twin that was sent elsewhere.
        let own = journal.outstanding(mailbox)?;
        let mut free = free_messages(sink, journal, &target, &own, Some(horizon.uid_next), seen)?.free;
        take_pairs(&mut own.iter().collect(), &mut free, generation, seen);
        // Nor is what may be on its way there from another folder: it is one message with the one that it leaves.
        let moving = journal.moves_floor(&info.folder, horizon.uid_validity)?;
        free.retain(|listed| listed.id >= horizon.uid_next && moving.is_none_or(|floor| listed.id < floor));
        if take_pairs(&mut left.clone(), &mut free.clone(), generation, seen).is_empty() {
            continue;
        }
        // A twin that is done may have been moved as well, and then it is the one that is found here.
        let gone = match &gone {
            Some(gone) => gone,
            None => {
                sink.open(opened, false)?;
                let listed: HashSet<u32> = sink.look(1)?.messages.into_iter().map(|listed| listed.id).collect();
                let uids: Vec<u32> = journal.claimed_uids(home.generation)?.difference(&listed).copied().collect();
                let mut twins = journal.placed(home.mailbox, home.generation, &uids)?;
                twins.extend(journal.unplaced(home.mailbox, home.generation)?);
                gone.insert(twins)
            }
        };
        let mut twins: Vec<&Intent> = gone.iter().filter(|copy| !followed.contains(&copy.id)).collect();
        followed.extend(take_pairs(&mut twins, &mut free, generation, seen).into_iter().map(|(copy, _)| copy.id));
        found.extend(take_pairs(&mut left, &mut free, generation, seen).into_iter().map(|(intent, uid)| (intent.id, (generation, uid))));
    }
    // The caller goes on with the folder it had open.
    sink.open(opened, false)?;
    Ok(found)
}
