//! Blame for lost sessions: which message each was lost at, and which of them is put aside because it happened there too
//! often. It sends nothing and opens nothing itself.

use std::collections::HashMap;

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

impl Transfer<'_> {
    /// A session was lost in a pass: who is to blame, what is put aside, and both ends anew.
    pub(super) fn pass_lost(&mut self, ends: &mut Ends, work: &mut Work, group: &[Listed], end: End) -> Result<()> {
        if end.settled > 0 {
            ends.losses = 0;
        }
        let folder = work.pair.source.folder.clone();
        // A server that is slow with all of us is so at no message.
        let innocent = |error: &Error| error.asked().is_some_and(|ask| ask.slows() || ask.cause == Cause::Connections);
        if let Some(error) = end.sink {
            // A server may hang up in the middle of a message, too.
            let lost = if end.lost.is_empty() { end.begun } else { end.lost };
            if !innocent(&error) && self.blame(work, &folder, group, &lost, &error, "the destination hung up on it")? {
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
                let lost = Suspect { name: name_of(listed), key: name_of(listed) };
                if self.blame(work, &folder, group, &[lost], &error, "the source hung up on it")? {
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
        group: &[Listed],
        suspects: &[Suspect],
        error: &Error,
        why: &str,
    ) -> Result<bool> {
        let mut any = false;
        let suspects: HashMap<&str, &Suspect> = suspects.iter().map(|suspect| (suspect.name.as_str(), suspect)).collect();
        for listed in group {
            let name = name_of(listed);
            let Some(suspect) = suspects.get(name.as_str()) else { continue };
            let losses = work.losses.entry(name.clone()).or_insert(0);
            *losses += 1;
            if *losses < MAX_LOSSES_OF_ONE {
                continue;
            }
            any = true;
            if suspect.key != name {
                work.tally.remove(&suspect.key);
            }
            let reason = format!("{why} {MAX_LOSSES_OF_ONE} times: {error}");
            self.journal.commit(&Batch(vec![Change::Quarantine {
                source: self.source_name.clone(),
                folder: folder.clone(),
                key: listed.key.clone(),
                uid: Some(listed.id),
                reason: reason.clone(),
            }]))?;
            self.report.event(Event::Problem(Problem { folder: folder.to_string(), uid: Some(listed.id), reason: reason.clone() }));
            work.tally.insert(name, Fate::Quarantined { id: listed.id, reason });
        }
        Ok(any)
    }
}
