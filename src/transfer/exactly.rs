//! Messages that were named, as against a house that is moved: to just the folder named, and once more when somebody removed
//! them there.

use std::collections::{HashMap, HashSet};

use super::Transfer;
use super::pass::Target;
use super::settle::{self, SeenByUid};
use crate::error::{Error, Result};
use crate::plan::Pair;
use crate::state::{CopyId, CopyRow, GenerationId, Journal, State};
use crate::store::{FolderInfo, Sink, SinkState};

impl Transfer<'_> {
    /// The one folder of the source to the one named, whatever either is called and went to before.
    pub(super) fn exact_pairs(&self, folders: Vec<FolderInfo>, there: &[FolderInfo]) -> Result<Vec<Pair>> {
        let pair = |source: FolderInfo| {
            let folder = self.into.clone().unwrap_or_else(|| source.folder.clone());
            let destination = match there.iter().find(|info| info.folder == folder) {
                Some(info) if info.selectable => info.clone(),
                Some(_) => return Err(Error::usage(format!("the folder {folder} holds other folders and no messages"))),
                None if self.options.create || folder.is_inbox() => {
                    FolderInfo { folder, special_use: None, subscribed: true, selectable: true }
                }
                None => return Err(Error::usage(format!("there is no folder {folder}")).hint("--create makes it")),
            };
            Ok(Pair { source, destination })
        };
        folders.into_iter().map(pair).collect()
    }

    /// The keys of copies that are done and not at the destination any more: somebody removed them, and now they are asked for
    /// again.
    pub(super) fn stale(
        &mut self,
        sink: &mut dyn Sink,
        target: &Target,
        copies: &HashMap<String, CopyRow>,
        seen: &mut SeenByUid,
    ) -> Result<HashSet<String>> {
        let done = || copies.iter().filter(|(_, row)| row.state == State::Done);
        if done().next().is_none() {
            return Ok(HashSet::new());
        }
        settle::place(sink, self.journal, target, seen)?;
        let lost: HashSet<CopyId> = self.journal.unplaced(target.mailbox, target.generation)?.into_iter().map(|copy| copy.id).collect();
        let there: HashSet<u32> = sink.look(1)?.messages.into_iter().map(|listed| listed.id).collect();
        let is_stale = |row: &CopyRow| match (row.generation, row.uid) {
            (Some(generation), Some(uid)) if generation == target.generation => !there.contains(&uid),
            // One that was just placed was just seen; one that a filter took to another folder is there still.
            _ => lost.contains(&row.id),
        };
        Ok(done().filter(|(_, row)| is_stale(row)).map(|(key, _)| key.clone()).collect())
    }
}

/// Opens a folder of the destination to look into it, and finds out under which UIDs copies lie of which the server did not
/// tell. `None` when the folder, or its UIDVALIDITY, is none that copies went to.
///
/// # Errors
/// What ended the session; local trouble.
pub fn locate(sink: &mut dyn Sink, journal: &mut Journal, folder: &FolderInfo) -> Result<Option<GenerationId>> {
    let Some(SinkState { generation: Some(uid_validity), uid_next, .. }) = sink.open(folder, false)? else { return Ok(None) };
    let mailbox = journal.mailbox(&folder.folder)?;
    let Some(generation) = journal.generation(mailbox, uid_validity)? else { return Ok(None) };
    let target = Target { mailbox, generation, uid_validity: Some(uid_validity), floor: uid_next.unwrap_or(1) };
    settle::place(sink, journal, &target, &mut SeenByUid::new())?;
    Ok(Some(generation))
}
