//! The end of a run: whether each folder still is the one that was listed, what came meanwhile, what is gone; then the marks that
//! let the next run skip all this, the files `--mirror` removes, and the manifest.

use std::collections::HashSet;

use super::line::uid_validity_changed;
use super::visit::same_facts;
use super::{Run, Visited};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::report::{Event, counted};
use crate::state::archive::{ArchiveChange, FileId, Mark};
use crate::transfer::backup::{manifest, prune};

/// Changes in one transaction.
const BATCH: u32 = 1000;

impl Run<'_> {
    /// Asks how the folders that were visited stand now. Those to which something came are returned; the others are done with.
    /// In the `last` round all are.
    pub(super) fn finish(&mut self, todo: &[usize], last: bool) -> Result<Vec<usize>> {
        let dealt_with = |index: &&usize| {
            let work = self.works.get(**index);
            work.is_some_and(|work| !work.failed && work.visit.is_some())
        };
        let visited: Vec<usize> = todo.iter().filter(dealt_with).copied().collect();
        let folders: Vec<Folder> =
            visited.iter().filter_map(|&index| self.works.get(index)).map(|work| work.remote.info.folder.clone()).collect();
        if folders.is_empty() {
            return Ok(Vec::new());
        }
        let figures = self.line.ask(|origin| origin.figures(&folders))?;
        let mut again = Vec::new();
        for (place, (&index, now)) in visited.iter().zip(figures).enumerate() {
            let more = self.of_folder(index, |run| {
                let Some(folder) = folders.get(place) else { return Ok(false) };
                let now = match now {
                    Ok(now) => now,
                    // One that opens tells the same, whatever STATUS has against it.
                    Err(words) => run.line.ask(|origin| origin.open(folder)).map_err(|error| {
                        if error.scope() > Scope::Mailbox {
                            error
                        } else {
                            Error::refused(format!("the folder {folder}: {words}")).scoped(Scope::Mailbox)
                        }
                    })?,
                };
                let Some(visit) = run.works.get(index).and_then(|work| work.visit.as_ref()) else { return Ok(false) };
                if now.uid_validity.is_some_and(|now| now != visit.uid_validity) {
                    return Err(uid_validity_changed(folder));
                }
                let came = now.uid_next.is_some_and(|next| next > visit.there.last().unwrap_or_default().saturating_add(1))
                    && now.uid_next != visit.mark.uid_next;
                if came && !last {
                    return Ok(true);
                }
                run.close(index).map(|()| false)
            })?;
            if more == Some(true) {
                again.push(index);
            }
        }
        Ok(again)
    }

    /// Records that a folder was dealt with: what is gone, and where it stood.
    fn close(&mut self, index: usize) -> Result<()> {
        let Some(work) = self.works.get_mut(index) else { return Ok(()) };
        let (Some(visit), Some(record)) = (work.visit.take(), work.record.clone()) else { return Ok(()) };
        let remote = work.remote.clone();
        // After a limit was reached some of it was not read.
        let handled = work.counts.balanced();
        // Those that could not be read and were not even named are found by a listing alone.
        let all_named = work.counts.quarantined <= super::copy::MOST_NAMED;
        let counted_vanished = work.counts.vanished;
        let believed = self.suspicious.is_none();
        let mut gone = 0;
        if believed {
            gone = self.mark_gone(&visit, handled)?;
        }
        if let Some(work) = self.works.get_mut(index) {
            work.counts.gone += gone;
        }
        let at = self.job.context.unix_time();
        let folder = visit.folder;
        let mut changes: Vec<ArchiveChange> = visit.stale.iter().map(|key| ArchiveChange::Released { folder, key: key.clone() }).collect();
        if record.gone_at.is_some() {
            changes.push(ArchiveChange::FolderGone { folder, at: None });
        }
        if !same_facts(&record, &remote) {
            let figures = remote.figures.as_ref().ok();
            changes.push(ArchiveChange::FolderFacts {
                folder,
                mailbox_id: figures.and_then(|figures| figures.mailbox_id.clone()).or(record.mailbox_id),
                special_use: remote.info.special_use.map(|special| special.to_string()),
                subscribed: remote.info.subscribed,
            });
        }
        // A folder whose losses were not believed is looked at again next time, and so is one that was not read to its end.
        if handled && all_named && (believed || visit.gone.is_empty() && !visit.has_older) {
            // A message that was listed and could not be found may have vanished, or the server left it out: the next run lists all.
            let mark = if counted_vanished > 0 { Mark { highest_mod_seq: None, ..visit.mark } } else { visit.mark };
            changes.push(ArchiveChange::Visited { folder, mark, at });
        }
        if handled {
            self.job.store.vault.complete(&self.job.account.name, &remote.info.folder)?;
        }
        if !changes.is_empty() {
            self.job.context.step("backup.visit");
            self.job.store.archive.commit(&changes)?;
            self.job.context.step("backup.visited");
        }
        Ok(())
    }

    /// Marks what is not listed any more, and all of earlier generations once all of this one was dealt with (`handled`): until then
    /// their messages may be the ones that were not read yet. Returns how many messages that are.
    fn mark_gone(&mut self, visit: &Visited, handled: bool) -> Result<u64> {
        let mut gone = self.mark_set_gone(visit.era, &visit.gone, &HashSet::new())?;
        if !visit.has_older || !handled {
            return Ok(gone);
        }
        // A file that a message of this generation has is not gone, whatever its old UID.
        let mut alive = HashSet::new();
        self.job.store.archive.entries(visit.era, None, &mut |held| {
            if held.entry.gone_at.is_none() {
                alive.insert(held.file.id);
            }
            Ok(())
        })?;
        for era in self.job.store.archive.eras(visit.folder)? {
            if era.id != visit.era {
                let uids = self.job.store.archive.uids(era.id, false)?;
                gone += self.mark_set_gone(era.id, &uids, &alive)?;
            }
        }
        Ok(gone)
    }

    fn mark_set_gone(&mut self, era: crate::state::archive::EraId, uids: &UidSet, alive: &HashSet<FileId>) -> Result<u64> {
        let at = self.job.context.unix_time();
        let mut gone = 0;
        for set in uids.split_by_count(BATCH) {
            let mut changes = Vec::new();
            self.job.store.archive.entries(era, Some(&set), &mut |held| {
                if held.entry.gone_at.is_none() {
                    gone += u64::from(!alive.contains(&held.file.id));
                    changes.push(ArchiveChange::Gone { entry: held.entry.id, at });
                }
                Ok(())
            })?;
            self.job.context.step("backup.gone");
            self.job.store.archive.commit(&changes)?;
        }
        Ok(gone)
    }

    /// Removes what is gone from the server, where the user asked for that and the run can be believed.
    pub(super) fn mirror(&mut self, stopped: bool) -> Result<()> {
        let Some(ceiling) = self.job.options.mirror else { return Ok(()) };
        if stopped || self.suspicious.is_some() || self.safety.is_some() {
            return Ok(());
        }
        if let Some(error) = prune::refusal(self.job.store.card.layout) {
            return Err(error);
        }
        // What went from one folder may have been moved to another, and where it is now it must have been read.
        if self.works.iter().any(|work| work.failed || work.counts.quarantined > 0) {
            let text = "nothing was removed from the store: not all of the server could be read, and what is gone from one folder may lie in another";
            self.job.report.event(Event::Note(text.to_owned()));
            return Ok(());
        }
        let mut goners = Vec::new();
        prune::goners(&self.job.store.archive, &self.job.account, i64::MAX, &mut |goner| {
            if self.is_meant(&goner.folder) {
                goners.push(goner.file.id);
            }
            Ok(())
        })?;
        if goners.is_empty() {
            return Ok(());
        }
        let folders = self.job.store.archive.folders(self.job.account.id)?;
        let all = folders.iter().filter(|record| self.is_meant(&record.folder)).map(|record| record.messages + record.gone).sum();
        ceiling.check(goners.len() as u64, all, &format!("the backup of {}", self.job.account.name))?;
        prune::remove(self.job.store, &self.job.account, &goners, self.job.context, &mut |_| {})?;
        let text = format!("{} that are gone from the server were removed from the store", counted(goners.len() as u64, "message"));
        self.job.report.event(Event::Note(text));
        Ok(())
    }

    pub(super) fn manifest(&mut self) -> Result<()> {
        manifest::renew(self.job.store, self.job.account.id, self.job.context)
    }
}
