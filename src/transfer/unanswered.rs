//! Uploads whose answer never came, as the run goes: what settling finds out goes into the tally, and at the end the run waits
//! for what a server may store late. How they are recognised at the destination is `settle`'s.

use std::collections::HashMap;
use std::time::Duration;

use super::Transfer;
use super::ends::Ends;
use super::pass::Target;
use super::settle::{self, SeenByUid};
use super::tally::{Fate, Work};
use crate::error::{Result, Scope};
use crate::folder::Folder;
use crate::report::{Event, counted};
use crate::state::State;
use crate::store::Sink;

/// How often an open copy is looked for while the run waits for it.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

impl Transfer<'_> {
    /// Settles the open copies into the sink's folder and takes what was found out into the tally. `true` when some of this
    /// source folder's are free to be sent again.
    pub(super) fn settle(&mut self, sink: &mut dyn Sink, target: &Target, work: &mut Work, seen: &mut SeenByUid) -> Result<bool> {
        let settled = settle::settle(sink, self.journal, target, &work.pair.destination, seen, self.options.settle, self.context)?;
        let mut freed = false;
        for one in settled {
            if one.source != self.source_name || one.folder != work.pair.source.folder {
                continue;
            }
            freed |= !one.arrived;
            if one.tries > 0 {
                work.losses.entry(one.key.clone()).or_insert(one.tries);
            }
            match (one.arrived, work.tally.get(&one.key)) {
                (true, Some(Fate::Unknown { id })) => {
                    let altered = work.altered.remove(&one.key).unwrap_or_default();
                    let copied = Fate::Copied { id: *id, bytes: one.length, altered };
                    self.report.event(Event::Copied { folder: one.folder.to_string(), bytes: one.length });
                    work.tally.insert(one.key, copied);
                }
                (true, Some(Fate::Quarantined { .. })) => {
                    work.tally.insert(one.key, Fate::AlreadyThere);
                }
                // Left over from an earlier run: it counts as there already, if the source still lists it.
                (false, Some(Fate::Unknown { .. })) => {
                    work.tally.remove(&one.key);
                }
                _ => {}
            }
        }
        Ok(freed)
    }

    /// Waits, at the end of the run, for what may still arrive; what then counts as not arrived is sent again.
    pub(super) fn wait_for_open_copies(&mut self, ends: &mut Ends, works: &mut [Work], seen: &mut SeenByUid) -> Result<()> {
        let mut told = false;
        let mut before = None;
        loop {
            let mut open = Vec::new();
            for work in works.iter_mut().filter(|work| work.failed.is_none()) {
                let mailbox = self.journal.mailbox(&work.pair.destination.folder)?;
                let intents = self.journal.outstanding(mailbox)?;
                let ours = intents.iter().filter(|intent| {
                    // One that was put aside is not sent again in this run: whether it came late is for the next one to find out.
                    let is_quarantined = matches!(work.tally.get(&intent.key), Some(Fate::Quarantined { .. }));
                    let aside = is_quarantined || work.given_up.contains(&intent.key);
                    !aside && intent.source == self.source_name && intent.folder == work.pair.source.folder
                });
                let (count, last) = ours.fold((0, 0), |(count, last), intent| (count + 1, intent.intended_at.max(last)));
                if count > 0 {
                    open.push((count, last, work));
                }
            }
            let Some(last) = open.iter().map(|(_, at, _)| *at).max() else { return Ok(()) };
            let until = last.saturating_add(i64::try_from(self.options.settle.as_secs()).unwrap_or(i64::MAX));
            let left = Duration::from_secs(u64::try_from(until.saturating_sub(self.context.unix_time())).unwrap_or(0));
            let count: usize = open.iter().map(|(count, _, _)| count).sum();
            // Their time is over, and still nothing proves them there or not there: they stay unknown, by name.
            if left.is_zero() && before.replace((until, count)) == Some((until, count)) {
                return Ok(());
            }
            if !told {
                told = true;
                self.report.event(Event::Waiting(format!(
                    "the answer to the upload of {} got lost: looking there for up to {} s, because a server may store late",
                    counted(count as u64, "message"),
                    left.as_secs()
                )));
            }
            self.context.pause(LOOK_AGAIN.min(left.max(Duration::from_secs(1))));
            self.context.check()?;
            for (_, _, work) in open {
                // Only what is free again is worth asking the source for.
                let looked = self.look_again(ends, work, seen);
                if self.problem_of(work, looked)? == Some(true) {
                    self.folder_or_problem(ends, work, seen)?;
                }
            }
        }
    }

    /// Takes into the tally what was found out of a folder's open copies while another folder that shares its destination was
    /// looked at. `true` when some were free and were sent again.
    pub(super) fn reconcile(&mut self, ends: &mut Ends, works: &mut [Work], seen: &mut SeenByUid) -> Result<bool> {
        let mut targets: HashMap<Folder, u32> = HashMap::new();
        for work in works.iter() {
            *targets.entry(work.pair.destination.folder.clone()).or_default() += 1;
        }
        let mut again = false;
        for work in works.iter_mut().filter(|work| targets.get(&work.pair.destination.folder).is_some_and(|count| *count > 1)) {
            if work.failed.is_some() || !work.any_unknown() {
                continue;
            }
            let mailbox = self.journal.mailbox(&work.pair.destination.folder)?;
            let copies = self.journal.copies(&self.source_name, &work.pair.source.folder, mailbox)?;
            let mut freed = false;
            for (key, row) in copies {
                let Some(Fate::Unknown { id }) = work.tally.get(&key) else { continue };
                let id = *id;
                match row.state {
                    State::Done | State::Merged => {
                        let altered = work.altered.remove(&key).unwrap_or_default();
                        work.tally.insert(key, Fate::Copied { id, bytes: row.length, altered });
                    }
                    State::Pending => {
                        work.tally.remove(&key);
                        freed = true;
                    }
                    _ => {}
                }
            }
            if freed {
                self.folder_or_problem(ends, work, seen)?;
                again = true;
            }
        }
        Ok(again)
    }

    /// Looks once more for the open copies of a folder; `true` when some are free to be sent again.
    fn look_again(&mut self, ends: &mut Ends, work: &mut Work, seen: &mut SeenByUid) -> Result<bool> {
        loop {
            self.context.check()?;
            let looked = ends.open(self).and_then(|(_, sink)| {
                let opened = sink.open(&work.pair.destination, self.options.create)?;
                let target = self.target(sink, &work.pair.destination, opened)?;
                self.settle(sink, &target, work, seen)
            });
            match looked {
                Err(error) if error.scope() == Scope::Session => ends.lose_both(self, error)?,
                other => return other,
            }
        }
    }
}
