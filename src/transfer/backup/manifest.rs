//! The manifest of an account, which `sha256sum -c` checks: written anew from the archive when its mail changed since.

use std::path::Path;

use super::OpenStore;
use crate::context::Context;
use crate::error::Result;
use crate::state::archive::{Account, AccountId, Archive, ArchiveChange};
use crate::store::vault::{Layout, Manifest, Vault};

/// A folder of at most so many files is listed once, and not searched for each: its names fit into memory.
const LISTED: u64 = 50_000;

/// Writes the manifest of an account, if it is not current.
///
/// # Errors
/// [`crate::error::Kind::Local`] when the disk fails; the old one stays then, and so does the word that it is not current.
pub(super) fn renew(store: &mut OpenStore, account: AccountId, context: &Context) -> Result<()> {
    let Some(account) = store.archive.accounts()?.into_iter().find(|known| known.id == account && known.manifest_stale) else {
        return Ok(());
    };
    let OpenStore { root, vault, archive, .. } = store;
    write(root, archive, vault.as_mut(), &account, context)
}

/// Writes the manifest of an account from the archive, current or not.
///
/// # Errors
/// As [`renew`].
pub(super) fn write(root: &Path, archive: &mut Archive, vault: &mut dyn Vault, account: &Account, context: &Context) -> Result<()> {
    let mut manifest = Manifest::begin(root, &account.name)?;
    for record in archive.folders(account.id)? {
        context.check()?;
        if vault.layout() == Layout::Mbox {
            if let Some((digest, path)) = vault.whole(&account.name, &record.folder)? {
                manifest.add(digest, &path)?;
            }
            continue;
        }
        if record.messages.saturating_add(record.gone) <= LISTED {
            vault.look_through(&account.name, &record.folder)?;
        }
        archive.sums(record.id, &mut |(stem, digest)| {
            // One that is missing would make every check fail that it is not there: `verify` names it.
            match vault.path_as_listed(&account.name, &record.folder, &stem)? {
                Some(path) => manifest.add(digest, &path),
                None => Ok(()),
            }
        })?;
    }
    manifest.finish(context)?;
    context.step("backup.manifest");
    archive.commit(&[ArchiveChange::ManifestWritten { account: account.id }]).map(drop)
}
