//! Which stores were backed up to from here: a list of paths, one a line, in `$XDG_STATE_HOME/mailhaul/stores`. It serves a
//! `status` that names none; nothing else depends on it, and it must never know what a store is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::files;
use crate::error::{Error, Result};

/// The list.
const NAME: &str = "stores";
/// Longer lists are cut: more stores than a machine has are no stores.
const MOST: usize = 10_000;

/// Notes that a store is used from here. The same again is no news, and writes nothing.
///
/// # Errors
/// [`crate::error::Kind::Local`] when the list cannot be written, [`crate::error::Kind::Usage`] when there is no place for it;
/// neither is a reason to stop a run.
pub fn note(store_root: &Path) -> Result<()> {
    note_in(&files::state_home()?, store_root)
}

/// The stores that were noted, in the order of their first use, also those that are gone since.
///
/// # Errors
/// [`crate::error::Kind::Local`] when there is a list that cannot be read.
pub fn known() -> Result<Vec<PathBuf>> {
    match files::state_home() {
        Ok(dir) => known_in(&dir),
        Err(_) => Ok(Vec::new()),
    }
}

fn note_in(dir: &Path, store_root: &Path) -> Result<()> {
    let root = std::fs::canonicalize(store_root).map_err(|error| Error::io(store_root.display(), error))?;
    if root.as_os_str().as_bytes().contains(&b'\n') {
        return Err(Error::local("a store whose path has a line end in it cannot be noted"));
    }
    if known_in(dir)?.contains(&root) {
        return Ok(());
    }
    let dir = files::make_dir(dir, "check XDG_STATE_HOME")?;
    // Two runs may begin at once, and neither may lose the other's line.
    let _lock = files::list_lock(&dir, NAME)?;
    let mut all = known_in(&dir)?;
    if all.contains(&root) || all.len() >= MOST {
        return Ok(());
    }
    all.push(root);
    let mut text = OsString::new();
    for path in all {
        text.push(path);
        text.push("\n");
    }
    files::replace_list(&dir, NAME, text.as_bytes())
}

fn known_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let text = files::read_list(dir, NAME)?;
    let lines = text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"/"));
    Ok(lines.take(MOST).map(|line| PathBuf::from(OsString::from_vec(OsStr::from_bytes(line).as_bytes().to_vec()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_noted_once_and_by_its_real_path() {
        let place = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(place.path()).unwrap();
        let state = place.path().join("state");
        assert_eq!(known_in(&state).unwrap(), Vec::<PathBuf>::new());
        let stores = [real.join("a"), real.join("ü b")];
        for store in &stores {
            std::fs::create_dir(store).unwrap();
            note_in(&state, store).unwrap();
            note_in(&state, &store.join("../").join(store.file_name().unwrap())).unwrap();
        }
        assert_eq!(known_in(&state).unwrap(), stores);
        assert!(note_in(&state, &real.join("none")).is_err());
        let strange = real.join("a\nb");
        std::fs::create_dir(&strange).unwrap();
        assert!(note_in(&state, &strange).is_err());
        assert_eq!(known_in(&state).unwrap(), stores);
    }
}
