//! Folders that have another name on the server now: their directory gets it too, so that nothing is read again. A MAILBOXID proves
//! it; else the UIDVALIDITY together with a sample of the messages does.

use std::collections::HashMap;

use super::{Run, both};
use crate::error::Result;
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::{Digest, header_digest};
use crate::report::Event;
use crate::state::archive::{ArchiveChange, ArchiveFolder, ArchiveFolderId, EraId};
use crate::store::origin::Arrival;
use crate::transfer::backup::prune;

/// Messages compared to tell whether a folder is the one that had another name.
const SAMPLE: usize = 20;
/// Folders that are compared with a new one, where a server gives many the same UIDVALIDITY.
const CANDIDATES: usize = 8;

/// A folder of the archive that gets another name.
struct Plan {
    record: ArchiveFolder,
    to: Folder,
}

impl Run<'_> {
    /// Finishes what a run that died had begun: renamed directories, files about to be removed.
    pub(super) fn leftovers(&mut self) -> Result<()> {
        for record in self.job.store.archive.folders(self.job.account.id)? {
            if let Some(to) = record.renaming_to.clone() {
                self.rename(&record, &to)?;
            }
        }
        prune::finish(self.job.store, &self.job.account, self.job.context)?;
        Ok(())
    }

    /// Finds folders that were renamed on the server, and renames them here.
    pub(super) fn renames(&mut self) -> Result<()> {
        let mut plans = self.renamed_by_id()?;
        self.renamed_by_content(&mut plans)?;
        // The new name has to be free, or to become so.
        loop {
            let leaving: Vec<Folder> = plans.iter().map(|plan| plan.record.folder.clone()).collect();
            let taken = |to: &Folder| self.known.iter().any(|record| record.folder == *to) && !leaving.contains(to);
            let count = plans.len();
            plans.retain(|plan| !taken(&plan.to));
            if plans.len() == count {
                break;
            }
        }
        if plans.is_empty() {
            return Ok(());
        }
        plans.sort_by(|one, other| one.record.folder.cmp(&other.record.folder));
        while !plans.is_empty() {
            let free = plans.iter().position(|plan| !plans.iter().any(|other| other.record.folder == plan.to));
            if let Some(next) = free {
                let plan = plans.remove(next);
                self.rename(&plan.record, &plan.to)?;
                continue;
            }
            // Names that go round in a circle: one steps aside.
            let Some(plan) = plans.first_mut() else { break };
            let Some(aside) = stepping_aside(&plan.record.folder, &self.known) else { break };
            let mut record = plan.record.clone();
            record.folder.clone_from(&aside);
            let from = std::mem::replace(&mut plan.record, record);
            if !self.rename(&from, &aside)? {
                break;
            }
        }
        self.known = self.job.store.archive.folders(self.job.account.id)?;
        for work in &mut self.works {
            work.record = self.known.iter().find(|record| record.folder == work.remote.info.folder).cloned();
        }
        Ok(())
    }

    /// Folders whose MAILBOXID stands at another name now. Where UIDVALIDITY is the same too, every UID would count as the message
    /// kept under it, which no word of the server's alone proves: a sample of them has to agree.
    fn renamed_by_id(&mut self) -> Result<Vec<Plan>> {
        let mut plans = Vec::new();
        for (plan, now) in self.moved_ids() {
            let own = plan.record.mark.map(|mark| mark.uid_validity);
            let proved = match plan.record.era.filter(|_| plan.record.messages > 0) {
                Some(era) if own.is_none() || own == now => {
                    let Some(uid_validity) = now.or(own) else { continue };
                    self.is_the_same(&plan.to, uid_validity, era)?
                }
                _ => true,
            };
            if proved {
                plans.push(plan);
            }
        }
        Ok(plans)
    }

    /// Folders of the archive whose MAILBOXID another name has now, and its UIDVALIDITY.
    fn moved_ids(&self) -> Vec<(Plan, Option<u32>)> {
        let mut by_id: HashMap<&str, Option<&ArchiveFolder>> = HashMap::new();
        for record in self.known.iter().filter(|record| record.gone_at.is_none()) {
            if let Some(id) = &record.mailbox_id {
                // An id that two folders have tells nothing.
                by_id.entry(id).and_modify(|both| *both = None).or_insert(Some(record));
            }
        }
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let id_of = |index: usize| {
            let figures = self.works.get(index).and_then(|work| work.remote.figures.as_ref().ok());
            figures.and_then(|figures| figures.mailbox_id.as_deref())
        };
        for id in (0..self.works.len()).filter_map(id_of) {
            *seen.entry(id).or_default() += 1;
        }
        let mut plans = Vec::new();
        for (index, work) in self.works.iter().enumerate() {
            let Some(id) = id_of(index).filter(|id| seen.get(id) == Some(&1)) else { continue };
            let Some(Some(record)) = by_id.get(id) else { continue };
            let to = &work.remote.info.folder;
            // Its old name is still there: two folders that have one id, of which just one was meant.
            if self.left_out.contains(&record.folder) {
                continue;
            }
            if record.folder != *to && !record.folder.is_inbox() && !to.is_inbox() {
                let now = work.remote.figures.as_ref().ok().and_then(|figures| figures.uid_validity);
                plans.push((Plan { record: (*record).clone(), to: to.clone() }, now));
            }
        }
        plans
    }

    /// Folders whose UIDVALIDITY and messages stand at another name now.
    fn renamed_by_content(&mut self, plans: &mut Vec<Plan>) -> Result<()> {
        let mut validity = HashMap::new();
        let mut candidates: Vec<(ArchiveFolder, EraId, u32)> = Vec::new();
        for work in &self.works {
            if let Ok(figures) = &work.remote.figures {
                validity.insert(work.remote.info.folder.clone(), (figures.uid_validity, figures.mailbox_id.clone()));
            }
        }
        let planned = |plans: &[Plan], record: &ArchiveFolder| plans.iter().any(|plan| plan.record.id == record.id);
        for record in self.known.iter().filter(|record| record.gone_at.is_none() && !record.folder.is_inbox() && record.messages > 0) {
            let Some(era) = record.era.filter(|_| !planned(plans, record)) else { continue };
            let own = match record.mark {
                Some(mark) => mark.uid_validity,
                None => {
                    let eras = self.job.store.archive.eras(record.id)?;
                    let Some(last) = eras.iter().find(|one| one.id == era) else { continue };
                    last.uid_validity
                }
            };
            let now = validity.get(&record.folder);
            if self.left_out.contains(&record.folder) {
                continue;
            }
            if now.is_none_or(|(now, _)| now.is_some_and(|now| now != own)) {
                candidates.push((record.clone(), era, own));
            }
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let adrift: Vec<ArchiveFolderId> = candidates.iter().map(|(record, ..)| record.id).collect();
        for index in 0..self.works.len() {
            let Some(work) = self.works.get(index) else { continue };
            let to = work.remote.info.folder.clone();
            let Some((Some(now), id)) = validity.get(&to).cloned() else { continue };
            let own = self.known.iter().find(|record| record.folder == to);
            let is_itself = own.is_some_and(|own| !adrift.contains(&own.id));
            if is_itself || to.is_inbox() || plans.iter().any(|plan| plan.to == to) {
                continue;
            }
            let fits =
                |record: &ArchiveFolder| record.folder != to && (id.is_none() || record.mailbox_id.is_none() || record.mailbox_id == id);
            let alike: Vec<usize> = (0..candidates.len())
                .filter(|&at| candidates.get(at).is_some_and(|(record, _, validity)| *validity == now && fits(record)))
                .take(CANDIDATES)
                .collect();
            for at in alike {
                let Some((record, era, _)) = candidates.get(at).cloned() else { continue };
                if self.is_the_same(&to, now, era)? {
                    candidates.remove(at);
                    plans.push(Plan { record, to });
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether the messages of a folder of the server are those kept of a generation: a sample of them agrees in UID, header,
    /// size and date, and not less than half of it is there.
    fn is_the_same(&mut self, folder: &Folder, uid_validity: u32, era: EraId) -> Result<bool> {
        let uids = self.job.store.archive.uids(era, false)?;
        let sample = spread(&uids, SAMPLE);
        let mut here: HashMap<u32, (Digest, Option<i64>, u64, Option<u64>)> = HashMap::new();
        self.job.store.archive.entries(era, Some(&sample), &mut |held| {
            if let Some(uid) = held.entry.uid {
                let date = held.file.internal_date.map(|date| date.seconds);
                here.insert(uid, (held.file.header, date, held.file.length, held.entry.listed_size));
            }
            Ok(())
        })?;
        let asked = self.line.ask_in(folder, uid_validity, |origin| {
            let mut there: HashMap<u32, Arrival> = HashMap::new();
            origin.arrivals(&sample, &mut |arrival| {
                there.insert(arrival.uid, arrival);
                Ok(())
            })?;
            let mut headers = HashMap::new();
            let listed: UidSet = there.keys().copied().collect();
            if !listed.is_empty() {
                origin.headers(&both(&listed, &sample), &mut |uid, header| {
                    if let Ok(header) = header {
                        headers.insert(uid, header_digest(&header));
                    }
                    Ok(())
                })?;
            }
            Ok((there, headers))
        });
        let (there, headers) = match asked {
            Ok(asked) => asked,
            // A folder that cannot be opened is nobody's new name; its own visit will tell.
            Err(error) if error.scope() <= crate::error::Scope::Mailbox => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut agree = 0;
        for (uid, arrival) in &there {
            let (Some((header, date, length, listed)), Some(now)) = (here.get(uid), headers.get(uid)) else { return Ok(false) };
            let same_date = arrival.internal_date.map(|date| date.seconds) == *date;
            let same_size = arrival.size.is_none_or(|size| size == *length || Some(size) == *listed);
            if header != now || !same_date || !same_size {
                return Ok(false);
            }
            agree += 1;
        }
        Ok(agree > 0 && agree * 2 >= here.len())
    }

    /// Renames a folder here: the intent first, then its directory, then the fact. `false` when the name is taken.
    fn rename(&mut self, record: &ArchiveFolder, to: &Folder) -> Result<bool> {
        let archive = &mut self.job.store.archive;
        if record.renaming_to.as_ref() != Some(to) {
            archive.commit(&[ArchiveChange::Renaming { folder: record.id, to: to.clone() }])?;
            self.job.context.step("backup.renaming");
        }
        let done = self.job.store.vault.rename_folder(&self.job.account.name, &record.folder, to)?;
        self.job.context.step("backup.renamed");
        let name = if done { to.clone() } else { record.folder.clone() };
        self.job.store.archive.commit(&[ArchiveChange::Renamed { folder: record.id, to: name }])?;
        if !done {
            let text = format!("the folder {} is called {to} on the server now, and that name is taken in the store", record.folder);
            self.job.report.event(Event::Note(text));
        }
        Ok(done)
    }
}

/// A name for a folder whose new name is not free yet.
fn stepping_aside(folder: &Folder, known: &[ArchiveFolder]) -> Option<Folder> {
    (0..1000)
        .filter_map(|number| {
            let mut levels = folder.levels().to_vec();
            levels.last_mut()?.push_str(&format!(" (being renamed {number})"));
            Folder::from_levels(levels)
        })
        .find(|name| known.iter().all(|record| record.folder != *name))
}

/// So many of the UIDs, spread over all of them.
pub(super) fn spread(uids: &UidSet, count: usize) -> UidSet {
    let total = usize::try_from(uids.len()).unwrap_or(usize::MAX);
    if total <= count {
        return uids.clone();
    }
    let mut wanted = (0..count).map(|at| at * (total - 1) / (count - 1).max(1)).peekable();
    let mut set = UidSet::new();
    let mut passed = 0;
    for &(first, last) in uids.ranges() {
        let length = (last - first) as usize + 1;
        while let Some(at) = wanted.next_if(|at| *at < passed + length) {
            set.insert(first + u32::try_from(at - passed).unwrap_or_default());
        }
        passed += length;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_from_the_first_to_the_last() {
        let uids: UidSet = (1..=1000).chain(5000..=5999).collect();
        let sample = spread(&uids, 20);
        assert_eq!((sample.len(), sample.first(), sample.last()), (20, Some(1), Some(5999)));
        assert!(sample.iter().all(|uid| uids.contains(uid)));
        assert_eq!(spread(&UidSet::range(3, 9), 20), UidSet::range(3, 9));
    }
}
