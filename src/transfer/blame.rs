//! Blame for lost sessions: which message each was lost at, and which of them is put aside because it happened there too
//! often. It sends nothing and opens nothing itself.

use std::collections::{HashMap, HashSet};

use super::Transfer;
use super::ends::Ends;
use super::pass::{End, Suspect, name_of};
use super::tally::{Fate, Work};
use crate::backoff::Cause;
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::report::{Event, Problem};
use crate::state::{Batch, Change};
use crate::store::Listed;

/// A message at which so many sessions were lost is put aside.
const MAX_LOSSES_OF_ONE: u32 = 3;
/// One that went alone, over a session of its own, is put aside when so often nobody knew afterwards whether it is there: each time
/// costs as long as a server may store late, and no other message could have been the reason.
const MAX_UNKNOWN_ALONE: u32 = 2;
/// A message that a destination which takes others refused so often because it wants more time is put aside.
const MAX_SLOWED: u32 = 3;

/// What went into a pass.
pub(super) struct Lot<'a> {
    pub(super) group: &'a [Listed],
    /// Nothing was appended before over the session.
    pub(super) is_fresh: bool,
    /// Nothing else of the folder waits.
    pub(super) is_last: bool,
    /// Names of messages that earlier runs put aside.
    pub(super) quarantined: &'a HashSet<String>,
}

impl Transfer<'_> {
    /// A session was lost in a pass: who is to blame, what is put aside, and both ends anew.
    pub(super) fn pass_lost(&mut self, ends: &mut Ends, work: &mut Work, lot: &Lot<'_>, end: End) -> Result<()> {
        let group = lot.group;
        if end.settled > 0 {
            ends.losses = 0;
        }
        let folder = work.pair.source.folder.clone();
        // A server that is slow with all of us is so at no message.
        let innocent = |error: &Error| error.asked().is_some_and(|ask| ask.slows() || ask.cause == Cause::Connections);
        if let Some(error) = end.sink {
            if self.slow(ends, work, &folder, lot, &end.slowed, &error)? {
                ends.losses = 0;
            }
            // A server may hang up in the middle of a message, too.
            let lost = if end.lost.is_empty() { end.begun } else { end.lost };
            if !innocent(&error) && self.blame(work, &folder, lot, &lost, &error, "the destination hung up on it")? {
                ends.losses = 0;
            }
            // The source stopped in the middle of its answers.
            ends.source = None;
            return ends.lose_sink(self, error);
        }
        if let Some(error) = end.source {
            if error.scope() != Scope::Session {
                return Err(error);
            }
            if let Some(listed) = end.unread.and_then(|index| group.get(index)).filter(|_| !innocent(&error)) {
                let lost = Suspect { name: name_of(listed), key: name_of(listed), unknown: 0 };
                if self.blame(work, &folder, lot, &[lost], &error, "the source hung up on it")? {
                    ends.losses = 0;
                }
            }
            return ends.lose_source(self, error);
        }
        Ok(())
    }

    /// Counts a loss at each of `suspects`, and puts those aside at which there were too many; whether there was one.
    pub(super) fn blame(
        &mut self,
        work: &mut Work,
        folder: &Folder,
        lot: &Lot<'_>,
        suspects: &[Suspect],
        error: &Error,
        why: &str,
    ) -> Result<bool> {
        let mut any = false;
        let suspects: HashMap<&str, &Suspect> = suspects.iter().map(|suspect| (suspect.name.as_str(), suspect)).collect();
        for listed in lot.group {
            let name = name_of(listed);
            let Some(suspect) = suspects.get(name.as_str()) else { continue };
            let losses = work.losses.entry(name.clone()).or_insert(0);
            *losses += 1;
            let times = (*losses).max(suspect.unknown);
            let alone = lot.group.len() == 1;
            let is_proved = alone && lot.is_fresh && suspect.unknown >= MAX_UNKNOWN_ALONE;
            if *losses < MAX_LOSSES_OF_ONE && !is_proved {
                continue;
            }
            any = true;
            let alone = if alone { ", the last time alone" } else { "" };
            let open = if suspect.unknown > 0 { "; it is looked for there before it is sent again" } else { "" };
            self.put_aside(work, folder, listed, suspect, format!("{why} {times} times{alone}: {error}{open}"))?;
        }
        Ok(any)
    }

    /// Puts a message aside for this run; the next one tries it again.
    fn put_aside(&mut self, work: &mut Work, folder: &Folder, listed: &Listed, suspect: &Suspect, reason: String) -> Result<()> {
        let name = name_of(listed);
        if suspect.unknown > 0 {
            work.given_up.insert(suspect.key.clone());
        }
        if suspect.key != name {
            work.tally.remove(&suspect.key);
        }
        self.journal.commit(&Batch(vec![Change::Quarantine {
            source: self.source_name.clone(),
            folder: folder.clone(),
            key: listed.key.clone(),
            uid: Some(listed.id),
            reason: reason.clone(),
        }]))?;
        self.report.event(Event::Problem(Problem { folder: folder.to_string(), uid: Some(listed.id), reason: reason.clone() }));
        work.tally.insert(name, Fate::Quarantined { id: listed.id, reason });
        Ok(())
    }

    /// Counts for each of `suspects` that the destination refused it because it wants more time, and puts those aside of which it
    /// does so while it takes others; whether there was one. With nothing to compare it with that is done for one message in a run.
    fn slow(
        &mut self,
        ends: &mut Ends,
        work: &mut Work,
        folder: &Folder,
        lot: &Lot<'_>,
        suspects: &[Suspect],
        error: &Error,
    ) -> Result<bool> {
        let mut any = false;
        let suspects: HashMap<&str, &Suspect> = suspects.iter().map(|suspect| (suspect.name.as_str(), suspect)).collect();
        for listed in lot.group {
            let name = name_of(listed);
            let Some(suspect) = suspects.get(name.as_str()) else { continue };
            let (times, before) = work.slowed.entry(name.clone()).or_insert((0, ends.taken));
            *times += 1;
            let alone = lot.group.len() == 1 && *times >= MAX_SLOWED;
            let takes_others = ends.taken > *before;
            if !(alone && takes_others || lot.is_last && !ends.doubtful && (alone || lot.quarantined.contains(&name))) {
                continue;
            }
            ends.doubtful |= !takes_others;
            any = true;
            let times = *times;
            self.put_aside(work, folder, listed, suspect, format!("the destination asked for more time at it {times} times: {error}"))?;
        }
        Ok(any)
    }
}
