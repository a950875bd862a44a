//! What putting a store right needs of its files: what names tell, damaged files moved out of the way (never removed), and a lost
//! card made anew for what lies there.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

use rustix::fs::FileType;

use super::{Layout, STATE_DIR, StoreCard, card, names};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::message::Digest;
use crate::store::files::{self, Dir};
use crate::store::mbox::Traits;

/// Where damaged files go, below [`STATE_DIR`].
const DAMAGED: &str = "damaged";
/// So many directories are gone through to find out how messages lie in a store.
const MAX_ENTRIES: usize = 10_000;
/// So many files are read to find out how line ends lie in a store.
const MAX_READ: usize = 64;

/// (UIDVALIDITY, UID) as the unique part of a name tells, where this program named it.
pub fn uid_of(stem: &str) -> Option<(u32, u32)> {
    names::parse(stem).uid
}

/// The beginning of the POP3 key's digest as the unique part of a name tells.
pub fn key_of(stem: &str) -> Option<String> {
    names::parse(stem).key
}

/// Whether the name of a file promises this content; `None` for names that promise nothing.
pub fn promises(stem: &str, content: Digest) -> Option<bool> {
    let parsed = names::parse(stem);
    if parsed.uid.is_none() && parsed.key.is_none() {
        return None;
    }
    let base = stem.split_once(",S=").map_or(stem, |(base, _)| base);
    let told = base.rsplit('.').next()?;
    let told = told.split_once('-').map_or(told, |(told, _)| told);
    Some(content.to_string().starts_with(told))
}

/// How the beginning of a key's digest stands in names.
pub fn key_digits(key: &str) -> String {
    names::digits(Digest::of(key.as_bytes()))
}

/// Moves a damaged file (its path below the store, as the manifest names it) to `.mailhaul/damaged`, durably, under a name
/// that no other has. Returns where it is, below the store.
///
/// # Errors
/// [`crate::error::Kind::Local`] when it is not there, or the disk fails.
pub fn set_aside(root: &Path, path: &str, context: &Context) -> Result<String> {
    let top = Dir::open(root)?.ok_or_else(|| Error::local(format!("{}: there is no such directory", root.display())))?;
    let (way, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut from = top.again()?;
    for component in way.split('/').filter(|component| !component.is_empty() && *component != "." && *component != "..") {
        from = from.child(OsStr::new(component))?.ok_or_else(|| Error::local(format!("{}/{path}: it is not there", root.display())))?;
    }
    let damaged = top.make_child(OsStr::new(STATE_DIR))?.make_child(OsStr::new(DAMAGED))?;
    let flat = files::fit_within(path.replace('/', "_"), 200);
    context.step("vault.before-damaged");
    for number in 1..1_000_000_u32 {
        let to = if number == 1 { flat.clone() } else { format!("{flat}.{number}") };
        if from.publish(OsStr::new(name), &damaged, OsStr::new(&to))? {
            damaged.sync()?;
            from.sync()?;
            context.step("vault.after-damaged");
            return Ok(format!("{STATE_DIR}/{DAMAGED}/{to}"));
        }
    }
    Err(Error::local(format!("{}: too many files of one name", damaged.path().display())))
}

/// Makes a file that was found (its path below the store) as durable as one that was written: itself, and its name.
///
/// # Errors
/// [`crate::error::Kind::Local`] when the disk fails.
pub fn settle_file(root: &Path, path: &str) -> Result<()> {
    let Some(top) = Dir::open(root)? else { return Ok(()) };
    let (way, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut dir = top;
    for component in way.split('/').filter(|component| !component.is_empty() && *component != "." && *component != "..") {
        let Some(child) = dir.child(OsStr::new(component))? else { return Ok(()) };
        dir = child;
    }
    if let Some((file, _)) = dir.file(OsStr::new(name))? {
        file.sync_all().map_err(|error| Error::io(dir.path().join(name).display(), error))?;
    }
    dir.sync()
}

/// How messages lie at `root`, found out by looking, and whether their line ends are as received; `None` where no mail is found.
///
/// # Errors
/// [`crate::error::Kind::Local`] when it cannot be read.
pub fn found_layout(root: &Path) -> Result<Option<(Layout, bool)>> {
    let Some(top) = Dir::open(root)? else { return Ok(None) };
    // A Maildir itself: a store has a directory for each account, and its own holds no mail.
    if ["cur", "new", "tmp"].iter().all(|name| root.join(name).is_dir()) {
        return Ok(None);
    }
    let mut layout = None;
    let (mut looked, mut read, mut as_received) = (0, 0, false);
    let mut waiting = vec![(top, 0)];
    while let Some((dir, depth)) = waiting.pop() {
        let name = dir.path().file_name().map(OsStr::to_owned).unwrap_or_default();
        let half = depth > 1 && (name == "cur" || name == "new");
        for entry in dir.entries()? {
            looked += 1;
            if looked > MAX_ENTRIES || read >= MAX_READ {
                return Ok(layout.map(|layout| (layout, as_received)));
            }
            let text = files::text(&entry.name);
            if entry.kind == FileType::Directory {
                if text == "cur" && depth > 0 {
                    layout = Some(Layout::Maildir);
                }
                if depth < files::MAX_DEPTH
                    && text != STATE_DIR
                    && text != "tmp"
                    && let Some(child) = dir.child(&entry.name)?
                {
                    waiting.push((child, depth + 1));
                }
                continue;
            }
            let ours = uid_of(stem_of(&text)).is_some() || key_of(stem_of(&text)).is_some();
            let eml = text.ends_with(".eml");
            if depth > 0 && eml && layout.is_none() {
                layout = Some(Layout::Eml);
            }
            if ours
                && (half || eml)
                && let Some((file, stat)) = dir.file(&entry.name)?
            {
                read += 1;
                let message = files::message(&file, &stat, dir.path())?;
                as_received = as_received || Traits::of(&message.body)?.all_crlf();
            } else if depth > 0 && layout.is_none() && !half && is_mbox(&dir, &entry.name)? {
                layout = Some(Layout::Mbox);
            }
        }
    }
    Ok(layout.map(|layout| (layout, as_received)))
}

fn stem_of(name: &str) -> &str {
    let name = name.split_once(":2,").map_or(name, |(stem, _)| stem);
    name.strip_suffix(".eml").unwrap_or(name)
}

fn is_mbox(dir: &Dir, name: &OsStr) -> Result<bool> {
    use std::io::Read;
    let Some((mut file, _)) = dir.file(name)? else { return Ok(false) };
    let mut start = [0; 5];
    Ok(file.read_exact(&mut start).is_ok() && &start == b"From ")
}

/// Makes a card for a store that has lost its own, under a new identity; a damaged one is kept beside it. `counter` is what the
/// file `runs` says until there is a journal: whoever looks for one must not take the store for a new one.
///
/// # Errors
/// [`crate::error::Kind::Local`] when the disk fails, or the card was made by a newer version.
pub fn new_card(root: &Path, layout: Layout, as_received: bool, context: &Context) -> Result<StoreCard> {
    let top = Dir::open(root)?.ok_or_else(|| Error::local(format!("{}: there is no such directory", root.display())))?;
    card::closed(&top)?;
    let state = top.make_child(OsStr::new(STATE_DIR))?;
    context.step("vault.before-new-card");
    if state.stat(OsStr::new("runs"))?.is_none() {
        let temporary = OsString::from(format!("runs.{}", files::nonce()));
        let mut file = state.create(&temporary)?;
        file.write_all(b"1\n").and_then(|()| file.sync_all()).map_err(|error| Error::io(state.path().display(), error))?;
        state.replace(&temporary, OsStr::new("runs"))?;
        state.sync()?;
    }
    top.sync()?;
    let card = card::put_new(&state, layout, as_received)?;
    context.step("vault.after-new-card");
    Ok(card)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_promises_its_content() {
        let content = Digest::of(b"a");
        let digits = names::digits(content);
        for stem in [format!("1.V1U2.{digits},S=3"), format!("1.V1U2.{digits}-2,S=3"), format!("1.V1U2.{digits}")] {
            assert_eq!(promises(&stem, content), Some(true), "{stem}");
            assert_eq!(promises(&stem, Digest::of(b"b")), Some(false), "{stem}");
        }
        assert_eq!(promises("1700000000.M1P2.host", content), None);
    }

    #[test]
    fn a_damaged_file_is_moved_and_never_replaces_another() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::from_environment();
        let mut places = Vec::new();
        for body in ["a", "b"] {
            std::fs::create_dir_all(root.path().join("work/cur")).unwrap();
            std::fs::write(root.path().join("work/cur/x:2,S"), body).unwrap();
            places.push(set_aside(root.path(), "work/cur/x:2,S", &context).unwrap());
        }
        let bodies: Vec<String> = places.iter().map(|place| std::fs::read_to_string(root.path().join(place)).unwrap()).collect();
        assert_eq!(bodies, ["a", "b"]);
        assert!(set_aside(root.path(), "work/cur/x:2,S", &context).is_err());
    }

    #[test]
    fn a_layout_is_found_by_looking() {
        let digits = "0123456789abcdef";
        let look = |path: &str, bytes: &[u8]| {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
            found_layout(root.path()).unwrap()
        };
        assert_eq!(look(&format!("work/.A/cur/1.V1U1.{digits},S=3:2,S"), b"A: b\n\nc\n"), Some((Layout::Maildir, false)));
        assert_eq!(look(&format!("work/cur/1.V1U1.{digits},S=3:2,S"), b"A: b\r\n\r\nc\r\n"), Some((Layout::Maildir, true)));
        assert_eq!(look(&format!("work/A/1.V1U1.{digits}.eml"), b"A: b\n\nc\n"), Some((Layout::Eml, false)));
        assert_eq!(look("work/INBOX", b"From a Thu Jan  1 00:00:00 1970\nA: b\n\nc\n"), Some((Layout::Mbox, false)));
        assert_eq!(look("thesis.tex", b"x"), None);
    }
}
