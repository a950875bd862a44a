//! The manifest of an account: a line for each file, as `sha256sum` writes it, so that `sha256sum -c` checks the store.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::names;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::message::Digest;
use crate::store::files::{self, Dir};

/// What is being written, in the root of the store.
pub(super) const TEMPORARY: &str = ".mailhaul-manifest-";

/// A manifest being written: lines that `sha256sum -c` checks from the root of the store.
pub struct Manifest {
    root: Dir,
    name: OsString,
    temporary: OsString,
    file: Option<BufWriter<File>>,
}

impl Manifest {
    /// Begins the manifest of an account (`ACCOUNT.sha256` in the root of the store), replacing the old one only at its end.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails; so for the rest.
    pub fn begin(root: &Path, account: &str) -> Result<Self> {
        let root = Dir::open(root)?.ok_or_else(|| Error::local(format!("{}: there is no such directory", root.display())))?;
        let temporary = OsString::from(format!("{TEMPORARY}{}", files::nonce()));
        let file = Some(BufWriter::with_capacity(64 * 1024, root.create(&temporary)?));
        Ok(Self { root, name: file_name(account), temporary, file })
    }

    fn trouble(&self, error: std::io::Error) -> Error {
        Error::io(self.root.path().join(&self.name).display(), error)
    }

    /// One file more.
    ///
    /// # Errors
    /// As [`Manifest::begin`].
    pub fn add(&mut self, digest: Digest, path: &str) -> Result<()> {
        let line = line(digest, path);
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(line.as_bytes()).map_err(|error| self.trouble(error))
    }

    /// Makes it durable in the place of the old one.
    ///
    /// # Errors
    /// As [`Manifest::begin`].
    pub fn finish(mut self, context: &Context) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let result = self.put(file, context);
        if result.is_err() {
            self.root.remove(&self.temporary);
        }
        result
    }

    fn put(&self, file: BufWriter<File>, context: &Context) -> Result<()> {
        let file = file.into_inner().map_err(|error| self.trouble(error.into_error()))?;
        context.step("vault.before-manifest");
        file.sync_all().map_err(|error| self.trouble(error))?;
        self.root.replace(&self.temporary, &self.name)?;
        context.step("vault.after-manifest");
        self.root.sync()
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.root.remove(&self.temporary);
        }
    }
}

/// Opens the manifest of an account to be read; `None` where there is none.
///
/// # Errors
/// [`crate::error::Kind::Local`] when it cannot be.
pub fn manifest(root: &Path, account: &str) -> Result<Option<File>> {
    let Some(root) = Dir::open(root)? else { return Ok(None) };
    Ok(root.file(&file_name(account))?.map(|(file, _)| file))
}

/// The file name of the manifest of an account.
fn file_name(account: &str) -> OsString {
    OsString::from(format!("{}{}", names::account(account), names::MANIFEST))
}

/// Removes what a run that died was writing.
pub(super) fn sweep(root: &Dir) -> Result<()> {
    for entry in root.entries()? {
        if files::text(&entry.name).starts_with(TEMPORARY) {
            root.remove(OsStr::new(&entry.name));
        }
    }
    Ok(())
}

/// As `sha256sum` writes it: a name with a backslash or a line end is escaped, and a backslash before the digest says so.
fn line(digest: Digest, path: &str) -> String {
    if path.contains(['\\', '\n']) {
        return format!("\\{digest}  {}\n", path.replace('\\', "\\\\").replace('\n', "\\n"));
    }
    format!("{digest}  {path}\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn sha256sum_checks_a_manifest_whatever_the_names() {
        let root = tempfile::tempdir().unwrap();
        let names = ["plain", "with space", "back\\slash", "line\nend", " leading", "*star", "é:2,S"];
        let mut manifest = Manifest::begin(root.path(), "ann@example.org").unwrap();
        for name in names {
            std::fs::write(root.path().join(name), name).unwrap();
            manifest.add(Digest::of(name.as_bytes()), name).unwrap();
        }
        assert!(!root.path().join("ann@example.org.sha256").exists());
        manifest.finish(&Context::from_environment()).unwrap();
        let check =
            || std::process::Command::new("sha256sum").args(["-c", "--strict", "ann@example.org.sha256"]).current_dir(root.path()).output();
        let good = check().unwrap();
        assert!(good.status.success(), "{good:?}");
        assert_eq!(String::from_utf8_lossy(&good.stdout).lines().count(), names.len());
        assert_eq!(std::fs::metadata(root.path().join("ann@example.org.sha256")).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(root.path().join("line\nend"), "other").unwrap();
        assert!(!check().unwrap().status.success());
    }

    #[test]
    fn a_manifest_that_is_given_up_leaves_the_old_one_and_no_trace() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.sha256"), "old").unwrap();
        let mut manifest = Manifest::begin(root.path(), "a").unwrap();
        manifest.add(Digest::of(b""), "x").unwrap();
        drop(manifest);
        assert_eq!(std::fs::read_to_string(root.path().join("a.sha256")).unwrap(), "old");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
