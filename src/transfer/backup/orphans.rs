//! Files that a run made durable and died before it could record them. A later run finds most of them by their names when it reads
//! the same messages again; those whose messages have other names by then (a new UIDVALIDITY), or are gone, it would store a
//! second time or never account for. So they are taken into the journal first. It knows no server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::OpenStore;
use super::rebuild::file_of;
use crate::context::Context;
use crate::error::{Result, Scope};
use crate::imap::uid_set::UidSet;
use crate::state::archive::{Account, ArchiveChange, ArchiveFolder, EraId, NewEntry};
use crate::store::vault::Lying;

/// Files recorded in one transaction.
const BATCH: usize = 256;

/// Records the files of a folder that this program named and the journal lacks. Where `gone` says that the message which a file is
/// named after is not on the server, it is recorded as gone in its own generation. Returns whether there were any.
///
/// # Errors
/// [`crate::error::Kind::Local`] when the disk fails. A file that cannot be read, or is not what its name promises, is left to
/// `verify`.
pub(super) fn take_in(
    store: &mut OpenStore,
    account: &Account,
    folder: &ArchiveFolder,
    context: &Context,
    gone: &dyn Fn(u32, u32) -> bool,
) -> Result<bool> {
    let mut orphans: Vec<Lying> = Vec::new();
    let (archive, vault) = (&store.archive, &mut store.vault);
    vault.scan(&account.name, &folder.folder, &mut |lying| {
        let ours = lying.uid.is_some() || lying.key.is_some();
        // One that a mail program copied within the folder is there once.
        let twin = orphans.last().is_some_and(|last| last.stem == lying.stem);
        if ours && !twin && archive.file_named(folder.id, &lying.stem)?.is_none() {
            orphans.push(lying);
        }
        Ok(())
    })?;
    let eras = store.archive.eras(folder.id)?;
    // UIDs of a generation that are taken already.
    let mut taken: HashMap<EraId, UidSet> = HashMap::new();
    for some in orphans.chunks(BATCH) {
        let mut changes = Vec::new();
        for lying in some {
            context.check()?;
            let file = match file_of(store.vault.as_mut(), &store.card, &account.name, folder, lying) {
                Ok(Some((file, Ok(())))) => file,
                Ok(_) => continue,
                Err(error) if error.scope() == Scope::Message => continue,
                Err(error) => return Err(error),
            };
            let lost = lying.uid.filter(|(uid_validity, uid)| gone(*uid_validity, *uid));
            let era = lost.and_then(|(uid_validity, _)| eras.iter().find(|era| era.uid_validity == uid_validity));
            let (Some((_, uid)), Some(era)) = (lost, era) else {
                changes.push(ArchiveChange::Found { file });
                continue;
            };
            let taken = match taken.entry(era.id) {
                Entry::Occupied(taken) => taken.into_mut(),
                Entry::Vacant(slot) => {
                    let mut uids = store.archive.uids(era.id, false)?;
                    uids.extend(store.archive.uids(era.id, true)?.iter());
                    slot.insert(uids)
                }
            };
            if taken.contains(uid) {
                changes.push(ArchiveChange::Found { file });
                continue;
            }
            taken.insert(uid);
            let (flags, at) = (lying.flags.clone(), context.unix_time());
            let entry = NewEntry { era: era.id, uid: Some(uid), key: None, flags, labels: Vec::new(), listed_size: None, at };
            changes.push(ArchiveChange::Kept { entry, file });
        }
        context.step("backup.orphans");
        let made = store.archive.commit(&changes)?;
        let at = context.unix_time();
        let lost: Vec<ArchiveChange> = made.into_iter().map(|(entry, _)| ArchiveChange::Gone { entry, at }).collect();
        store.archive.commit(&lost)?;
    }
    Ok(!orphans.is_empty())
}
