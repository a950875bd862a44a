//! Settling: finding out at the destination what became of messages whose answer never came (`TRANSFER.md`, Migrate, 6),
//! and finding there what was brought by others. It needs neither UIDPLUS nor Message-IDs nor SEARCH.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::pass::{Adoptable, Target};
use crate::context::Context;
use crate::error::Result;
use crate::folder::Folder;
use crate::matching::pair_by_content;
use crate::message::Digest;
use crate::state::{Batch, Change, GenerationId, Intent, Journal};
use crate::store::{FolderInfo, Listed, Sink};

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
    // Under another UIDVALIDITY a floor means nothing: then the whole folder is matched.
    let floor_of = |intent: &Intent| if intent.generation == Some(target.generation) { intent.floor.unwrap_or(1) } else { 1 };
    let floor = open.iter().map(floor_of).min().unwrap_or(1);
    let mut free = free_messages(sink, journal, target.generation, floor)?;
    let mut changes = Vec::new();
    let mut settled = Vec::new();
    let mut left: Vec<&Intent> = open.iter().collect();
    read_digests(sink, &free, target.generation, seen)?;
    for by_parts in [false, true] {
        let there: Vec<(u32, Digest)> = free
            .iter()
            .filter_map(|listed| Some((listed.id, seen.get(&(target.generation, listed.id))?)))
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
        for (index, intent) in left.into_iter().enumerate() {
            match pairs.get(&index) {
                Some(&uid) => {
                    changes.push(Change::Done { copy: intent.id, uid: Some((target.generation, uid)), altered: false });
                    settled.push(told(intent, true));
                }
                None => open.push(intent),
            }
        }
        left = open;
    }
    if !left.is_empty() {
        // A filter, or a person, may have moved it: its content in another folder is proof enough that it arrived.
        let elsewhere = find_elsewhere(sink, journal, opened, &left)?;
        left.retain(|intent| {
            let found = elsewhere.contains(&intent.id);
            if found {
                changes.push(Change::Done { copy: intent.id, uid: None, altered: false });
                settled.push(told(intent, true));
            }
            !found
        });
    }
    for intent in left {
        if context.unix_time() >= intent.intended_at.saturating_add(i64::try_from(patience.as_secs()).unwrap_or(i64::MAX)) {
            changes.push(Change::Pending { copy: intent.id });
            settled.push(told(intent, false));
        }
    }
    journal.commit(&Batch(changes))?;
    Ok(settled)
}

/// Reads what is at the destination and nobody's copy, so that a run without a journal can adopt it.
pub(super) fn adoptable(sink: &mut dyn Sink, journal: &Journal, target: &Target, seen: &mut SeenByUid) -> Result<Adoptable> {
    let claimed = journal.claimed_uids(target.generation)?;
    let mut there: Vec<Listed> = sink.look(1)?.messages;
    there.retain(|listed| !claimed.contains(&listed.id) && listed.id < target.floor);
    there.sort_by_key(|listed| listed.id);
    read_digests(sink, &there, target.generation, seen)?;
    let mut found = Adoptable::default();
    for listed in &there {
        if let Some(seen) = seen.get(&(target.generation, listed.id)) {
            found.add(listed.id, seen.content, seen.parts);
        }
    }
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

/// Messages from `floor` on that no copy claims and that were not there before we came.
fn free_messages(sink: &mut dyn Sink, journal: &Journal, generation: GenerationId, floor: u32) -> Result<Vec<Listed>> {
    let claimed = journal.claimed_uids(generation)?;
    let baseline: HashSet<u32> = journal.baseline(generation)?.unwrap_or_default().into_iter().collect();
    let mut free = sink.look(floor)?.messages;
    // `floor:*` names the last message even when its UID is lower (RFC 9051 section 9, seq-range).
    free.retain(|listed| listed.id >= floor && !claimed.contains(&listed.id) && !baseline.contains(&listed.id));
    free.sort_by_key(|listed| listed.id);
    Ok(free)
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

/// Which of `intents` lie in other folders that grew since the run began.
fn find_elsewhere(
    sink: &mut dyn Sink,
    journal: &mut Journal,
    opened: &FolderInfo,
    intents: &[&Intent],
) -> Result<HashSet<crate::state::CopyId>> {
    let mut found = HashSet::new();
    let mut left: Vec<&Intent> = intents.to_vec();
    for info in sink.folders()? {
        if left.is_empty() || info.folder == opened.folder || !info.selectable {
            continue;
        }
        let Some(horizon) = journal.horizon(&info.folder)? else { continue };
        let Ok(Some(state)) = sink.open(&info, false) else { continue };
        if state.generation != Some(horizon.uid_validity) || state.uid_next.is_some_and(|next| next <= horizon.uid_next) {
            continue;
        }
        let mailbox = journal.mailbox(&info.folder)?;
        let generation = journal.add_generation(mailbox, horizon.uid_validity)?;
        let free = free_messages(sink, journal, generation, horizon.uid_next)?;
        let mut seen = SeenByUid::new();
        read_digests(sink, &free, generation, &mut seen)?;
        let there: Vec<(u32, Digest)> = seen.iter().map(|((_, uid), seen)| (*uid, seen.content)).collect();
        let wanted: Vec<(usize, Digest)> = left.iter().enumerate().map(|(index, intent)| (index, intent.content)).collect();
        let pairs: HashSet<usize> = pair_by_content(&there, &wanted).into_iter().map(|(index, _)| index).collect();
        let mut open = Vec::new();
        for (index, intent) in left.into_iter().enumerate() {
            if pairs.contains(&index) {
                found.insert(intent.id);
            } else {
                open.push(intent);
            }
        }
        left = open;
    }
    // The caller goes on with the folder it had open.
    sink.open(opened, false)?;
    Ok(found)
}
