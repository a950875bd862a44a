//! Removing files from a store whose messages are gone from the server: `prune`, and what `--mirror` does at the end of a run. The
//! intent is durable before a file goes and the fact after it went, so that no check takes a removal for damage. What may go
//! is decided elsewhere; a message that is on the server never does.

use std::collections::{BTreeMap, HashMap};

use super::OpenStore;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::state::archive::{Account, Archive, ArchiveChange, ArchiveFile, ArchiveFolderId, FileId};
use crate::store::vault::Layout;

/// Files in one transaction.
const BATCH: usize = 256;

/// A file that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goner {
    /// The folder.
    pub folder: Folder,
    /// The file.
    pub file: ArchiveFile,
    /// Since when its message is gone from the server, in seconds since 1970 UTC.
    pub since: i64,
}

/// Why nothing can be removed from a store of this layout, where that is so.
pub fn refusal(layout: Layout) -> Option<Error> {
    (layout == Layout::Mbox).then(|| {
        Error::usage("an mbox store only grows: taking one message out would mean writing the whole folder anew")
            .hint("keep the messages, or begin a store of its own with maildir:PATH or eml:PATH")
    })
}

/// Hands over the files of an account whose messages are gone from the server since `before` at the latest, by folder and name.
///
/// # Errors
/// [`Kind::Local`] when the archive cannot be read, or what `each` returned.
pub fn goners(archive: &Archive, account: &Account, before: i64, each: &mut dyn FnMut(Goner) -> Result<()>) -> Result<()> {
    for folder in archive.folders(account.id)? {
        archive.gone_files(folder.id, before, &mut |file, since| each(Goner { folder: folder.folder.clone(), file, since }))?;
    }
    Ok(())
}

/// Removes files of an account, a batch after the other; those that are not known any more are passed over. `each` is told of
/// every file that is gone for good. A signal stops it between two batches.
///
/// # Errors
/// [`Kind::Usage`] where the layout cannot; [`Kind::Local`] when the disk fails, or when the message of one of them is on the
/// server: then none of its batch is touched; [`Kind::Interrupted`].
pub fn remove(
    store: &mut OpenStore,
    account: &Account,
    files: &[FileId],
    context: &Context,
    each: &mut dyn FnMut(&ArchiveFile),
) -> Result<()> {
    if let Some(error) = refusal(store.card.layout) {
        return Err(error);
    }
    let names = names(&store.archive, account)?;
    for ids in files.chunks(BATCH) {
        context.check()?;
        let mut batch = Vec::new();
        for id in ids {
            batch.extend(store.archive.file(*id)?);
        }
        context.step("backup.before-removing");
        store.archive.commit(&batch.iter().map(|file| ArchiveChange::Removing { file: file.id }).collect::<Vec<_>>())?;
        context.step("backup.removing");
        unlink(store, account, &names, &batch, context)?;
        batch.iter().for_each(&mut *each);
    }
    Ok(())
}

/// Finishes what a dead run was about to remove. Returns how many files that were.
///
/// # Errors
/// As [`remove`].
pub fn finish(store: &mut OpenStore, account: &Account, context: &Context) -> Result<u64> {
    let left = store.archive.removing(account.id)?;
    if left.is_empty() {
        return Ok(0);
    }
    let names = names(&store.archive, account)?;
    for batch in left.chunks(BATCH) {
        unlink(store, account, &names, batch, context)?;
    }
    Ok(left.len() as u64)
}

/// Writes the manifest of an account anew, if it is not current.
///
/// # Errors
/// [`Kind::Local`] when the disk fails.
pub fn renew_manifest(store: &mut OpenStore, account: &Account, context: &Context) -> Result<()> {
    super::manifest::renew(store, account.id, context)
}

/// Removes files that are recorded as being removed, and records that they are.
fn unlink(
    store: &mut OpenStore,
    account: &Account,
    names: &HashMap<ArchiveFolderId, Folder>,
    batch: &[ArchiveFile],
    context: &Context,
) -> Result<()> {
    let mut folders: BTreeMap<ArchiveFolderId, Vec<String>> = BTreeMap::new();
    for file in batch {
        folders.entry(file.folder).or_default().push(file.stem.clone());
    }
    for (folder, stems) in folders {
        let name = names.get(&folder).ok_or_else(|| Error::new(Kind::Local, "a file of the journal lies in no folder of its account"))?;
        store.vault.remove(&account.name, name, &stems)?;
    }
    context.step("backup.unlinked");
    store.archive.commit(&batch.iter().map(|file| ArchiveChange::Removed { file: file.id }).collect::<Vec<_>>())?;
    context.step("backup.removed");
    Ok(())
}

fn names(archive: &Archive, account: &Account) -> Result<HashMap<ArchiveFolderId, Folder>> {
    Ok(archive.folders(account.id)?.into_iter().map(|folder| (folder.id, folder.folder)).collect())
}
