//! Which folders of the server a backup is about, and whether their list can be believed.

use std::collections::{HashMap, HashSet};

use super::{Run, Work};
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::plan;
use crate::report::{Counts, Event, FolderCounts, counted};
use crate::state::archive::{ArchiveChange, ArchiveFolder};
use crate::store::SpecialUse;
use crate::store::origin::{Origin, Remote};

/// Changes in one transaction.
const BATCH: usize = 1000;

impl Run<'_> {
    /// Lists the folders and takes those that are meant.
    pub(super) fn choose(&mut self) -> Result<()> {
        let (mut remotes, is_gmail, place) =
            self.line.ask(|origin| origin.folders().map(|remotes| (remotes, origin.is_gmail(), origin.place())))?;
        self.line.names = self.line.origin.as_ref().map(Origin::names).unwrap_or_default();
        self.is_gmail = is_gmail;
        self.known = self.job.store.archive.folders(self.job.account.id)?;
        remotes.retain(|remote| remote.info.selectable);
        // A server may name a folder twice.
        let mut names = HashSet::new();
        remotes.retain(|remote| names.insert(remote.info.folder.clone()));
        if is_gmail && self.job.only.is_none() {
            remotes = once_on_gmail(remotes, &mut |note| self.job.report.event(Event::Note(note)));
        }
        let any = !remotes.is_empty();
        self.left_out = remotes.iter().map(|remote| &remote.info.folder).filter(|folder| !self.is_meant(folder)).cloned().collect();
        remotes.retain(|remote| self.is_meant(&remote.info.folder));
        if remotes.is_empty() && any {
            return Err(match &self.job.only {
                Some(only) => Error::usage(format!("there is no folder {only}")).at(place),
                None => Error::usage("no folder of the account is chosen by --include and --exclude").at(place),
            });
        }
        let mut known: HashMap<Folder, ArchiveFolder> = self.known.iter().map(|record| (record.folder.clone(), record.clone())).collect();
        self.works = remotes
            .into_iter()
            .map(|remote| {
                let record = known.remove(&remote.info.folder);
                Work { remote, record, visit: None, counts: Counts::default(), failed: false }
            })
            .collect();
        self.weigh(&place);
        Ok(())
    }

    /// Whether the user's choice of folders holds this one.
    pub(super) fn is_meant(&self, folder: &Folder) -> bool {
        match &self.job.only {
            Some(only) => only == folder,
            None => plan::chosen(folder, &self.job.options.include, &self.job.options.exclude),
        }
    }

    /// Whether the list of folders can be believed: one that is empty, or much shorter than before, is more likely to be a fault of
    /// the server than what the user did.
    fn weigh(&mut self, place: &str) {
        let before = self.known.iter().filter(|record| record.gone_at.is_none() && self.is_meant(&record.folder)).count();
        let now = self.works.len();
        if now > 0 && (self.job.options.fewer_folders || now * 5 >= before * 4) {
            return;
        }
        let names: Vec<String> = self.vanished().map(|record| record.folder.to_string()).take(5).collect();
        let words = if now == 0 {
            "the server listed no folder".to_owned()
        } else {
            format!("the server lists {} where there were {before}", counted(now as u64, "folder"))
        };
        let mut error = Error::new(Kind::Safety, format!("{words}, so nothing was marked as gone")).at(place);
        if now > 0 {
            error = error.hint(format!("if these were deleted on purpose, say so once with --fewer-folders: {}", names.join(", ")));
        }
        self.suspicious = Some(error.message().to_owned());
        self.safety = Some(error);
    }

    /// Folders of the archive that are meant and that the server does not list any more.
    pub(super) fn vanished(&self) -> impl Iterator<Item = &ArchiveFolder> {
        let listed: HashSet<&Folder> = self.works.iter().map(|work| &work.remote.info.folder).collect();
        self.known
            .iter()
            .filter(move |record| record.gone_at.is_none() && self.is_meant(&record.folder) && !listed.contains(&record.folder))
    }

    /// Marks folders, and all messages kept of them, that are not on the server any more.
    pub(super) fn lost_folders(&mut self) -> Result<()> {
        if self.suspicious.is_some() {
            return Ok(());
        }
        let vanished: Vec<ArchiveFolder> = self.vanished().cloned().collect();
        let at = self.job.context.unix_time();
        for record in vanished {
            let archive = &mut self.job.store.archive;
            let mut gone = 0;
            for era in archive.eras(record.id)? {
                let uids = archive.uids(era.id, false)?;
                for set in uids.split_by_count(u32::try_from(BATCH).unwrap_or(u32::MAX)) {
                    let mut changes = Vec::new();
                    archive.entries(era.id, Some(&set), &mut |held| {
                        if held.entry.gone_at.is_none() {
                            changes.push(ArchiveChange::Gone { entry: held.entry.id, at });
                        }
                        Ok(())
                    })?;
                    gone += changes.len() as u64;
                    self.job.context.step("backup.gone");
                    archive.commit(&changes)?;
                }
            }
            archive.commit(&[ArchiveChange::FolderGone { folder: record.id, at: Some(at) }])?;
            self.job.context.step("backup.folder-gone");
            self.lost_folders.push(FolderCounts { name: record.folder.to_string(), counts: Counts { gone, ..Counts::default() } });
        }
        Ok(())
    }
}

/// Gmail shows each label as a folder, and every message again in All Mail: that one, and the two whose messages it lacks.
pub(in crate::transfer::backup) fn once_on_gmail(remotes: Vec<Remote>, note: &mut dyn FnMut(String)) -> Vec<Remote> {
    if !remotes.iter().any(|remote| remote.info.special_use == Some(SpecialUse::All)) {
        note(
            "Gmail does not show All Mail over IMAP (Settings, Labels): every label is backed up as a folder, and a message with \
             several labels several times"
                .to_owned(),
        );
        return remotes;
    }
    let takes = |remote: &Remote| matches!(remote.info.special_use, Some(SpecialUse::All | SpecialUse::Junk | SpecialUse::Trash));
    remotes.into_iter().filter(takes).collect()
}
