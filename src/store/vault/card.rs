//! The card of a store, `.mailhaul/store`: what it is and who it is. It is written once and never changed.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use super::{Layout, STATE_DIR, StoreCard};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::store::files::{self, Dir};

const CARD: &str = "store";
const FIRST_LINE: &str = "mailhaul store ";
/// The one form of store there is.
const VERSION: &str = "1";
const CARD_BYTES: u64 = 4096;

impl Layout {
    /// As the card and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maildir => "maildir",
            Self::Mbox => "mbox",
            Self::Eml => "eml",
        }
    }
}

fn line_ends(as_received: bool) -> &'static str {
    if as_received { "as-received" } else { "lf" }
}

fn text(card: &StoreCard) -> String {
    format!("{FIRST_LINE}{VERSION}\nid {}\nlayout {}\nline-ends {}\n", card.id, card.layout.name(), line_ends(card.as_received))
}

fn parse(text: &str) -> std::result::Result<StoreCard, &'static str> {
    let mut lines = text.lines();
    match lines.next().and_then(|line| line.strip_prefix(FIRST_LINE)) {
        Some(VERSION) => {}
        Some(_) => return Err("it was made by a newer mailhaul"),
        None => return Err("it is no card of a store"),
    }
    let (mut id, mut layout, mut as_received) = (None, None, None);
    for line in lines {
        match line.split_once(' ') {
            Some(("id", value)) => id = Some(value).filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
            Some(("layout", value)) => layout = [Layout::Maildir, Layout::Mbox, Layout::Eml].into_iter().find(|one| one.name() == value),
            Some(("line-ends", value)) => as_received = [false, true].into_iter().find(|one| line_ends(*one) == value),
            _ => {}
        }
    }
    match (id, layout, as_received) {
        (Some(id), Some(layout), Some(as_received)) => Ok(StoreCard { id: id.to_owned(), layout, as_received }),
        _ => Err("it is damaged"),
    }
}

/// Reads the card of the store at `root`; `None` where there is no store.
///
/// # Errors
/// [`crate::error::Kind::Local`] when it cannot be read or makes no sense.
pub fn card(root: &Path) -> Result<Option<StoreCard>> {
    let Some(state) = Dir::open(root)?.map(|root| root.child(OsStr::new(STATE_DIR))).transpose()?.flatten() else { return Ok(None) };
    read(&state)
}

/// Whether a store lies at `root`, damaged or not.
pub fn is_store(root: &Path) -> bool {
    root.join(STATE_DIR).join(CARD).symlink_metadata().is_ok()
}

fn read(state: &Dir) -> Result<Option<StoreCard>> {
    let path = state.path().join(CARD);
    if state.stat(OsStr::new(CARD))?.is_none() {
        return Ok(None);
    }
    let damaged = |words: &str| {
        Error::local(format!("{}: {words}", path.display())).hint("bring the file back from a copy of the store; nothing was touched")
    };
    let text = state.small_text(CARD, CARD_BYTES).ok_or_else(|| damaged("it cannot be read"))?;
    parse(&text).map(Some).map_err(damaged)
}

/// Makes a store at `root`, or finds one of the same layout there: private directories, and its card.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when it has another layout or line ends, or `root` holds other things; [`crate::error::Kind::Local`]
/// when the disk fails, or others may write there.
pub fn establish(root: &Path, layout: Layout, as_received: bool, context: &Context) -> Result<StoreCard> {
    if as_received && layout == Layout::Mbox {
        return Err(Error::usage("an mbox has line ends of its own, so they cannot stay as received").hint("leave out --line-ends"));
    }
    if let Some(card) = card(root)? {
        return same(card, layout, as_received);
    }
    apart(root)?;
    let dir = Dir::make(root)?;
    empty(&dir)?;
    ours(&dir)?;
    // Nothing lies in it yet, so nobody can miss the access that is taken away.
    dir.make_private()?;
    let state = dir.make_child(OsStr::new(STATE_DIR))?;
    if state.stat(OsStr::new("journal.db"))?.is_some() {
        return Err(Error::local(format!("{}: the journal of a store is there, but its card is not", state.path().display()))
            .hint("bring the file `store` back from a copy of the store; nothing was touched"));
    }
    let card = StoreCard { id: format!("{}{}", files::nonce(), files::nonce()), layout, as_received };
    let temporary = format!("{CARD}.{}", files::nonce());
    let temporary = OsStr::new(&temporary);
    let mut file = state.create(temporary)?;
    context.step("vault.before-card");
    let written = file.write_all(text(&card).as_bytes()).and_then(|()| file.sync_all());
    let published = written
        .map_err(|error| Error::io(state.path().join(CARD).display(), error))
        .and_then(|()| state.publish(temporary, &state, OsStr::new(CARD)));
    if !matches!(published, Ok(true)) {
        state.remove(temporary);
    }
    let made = published?;
    state.sync()?;
    dir.sync()?;
    context.step("vault.after-card");
    if made {
        return Ok(card);
    }
    // Another process was quicker.
    let there = read(&state)?.ok_or_else(|| Error::local(format!("{}: its card vanished", root.display())))?;
    same(there, layout, as_received)
}

/// Puts a card under a new identity into the place of one that is lost or damaged; a damaged one is kept beside it.
pub(super) fn put_new(state: &Dir, layout: Layout, as_received: bool) -> Result<StoreCard> {
    if let Some(old) = state.small_text(CARD, CARD_BYTES)
        && parse(&old).is_err_and(|words| words.contains("newer"))
    {
        return Err(Error::local(format!("{}: it was made by a newer mailhaul", state.path().join(CARD).display())));
    }
    if state.stat(OsStr::new(CARD))?.is_some() {
        let aside = format!("aside-{}-{CARD}", files::nonce());
        state.publish(OsStr::new(CARD), state, OsStr::new(&aside))?;
    }
    let card = StoreCard { id: format!("{}{}", files::nonce(), files::nonce()), layout, as_received };
    let temporary = format!("{CARD}.{}", files::nonce());
    let temporary = OsStr::new(&temporary);
    let mut file = state.create(temporary)?;
    file.write_all(text(&card).as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Error::io(state.path().join(CARD).display(), error))?;
    state.publish(temporary, state, OsStr::new(CARD))?;
    state.sync()?;
    Ok(card)
}

/// The card of the store at `root`, if there is one.
///
/// # Errors
/// As [`card`]; [`crate::error::Kind::Usage`] when the store has another layout than the one that was named.
pub fn of_form(root: &Path, layout: Option<Layout>) -> Result<Option<StoreCard>> {
    match (card(root)?, layout) {
        (Some(card), Some(layout)) if layout != card.layout => Err(another_form(&card, layout)),
        (card, _) => Ok(card),
    }
}

/// The card of the store at `root`, or `None` where [`establish`] would make one; changes nothing.
///
/// # Errors
/// As [`establish`].
pub fn would_be(root: &Path, layout: Option<Layout>) -> Result<Option<StoreCard>> {
    if let Some(card) = of_form(root, layout)? {
        return Ok(Some(card));
    }
    apart(root)?;
    Dir::open(root)?.map_or(Ok(()), |dir| empty(&dir))?;
    Ok(None)
}

fn empty(dir: &Dir) -> Result<()> {
    match dir.entries()?.into_iter().find(|entry| entry.name != STATE_DIR && entry.name != "lost+found") {
        None => Ok(()),
        Some(other) => Err(Error::usage(format!("it is no store of backups, and not empty ({} lies there)", files::text(&other.name)))
            .hint("name a directory that is empty or not there yet")),
    }
}

/// Refuses a new store that would lie within another one or within a Maildir: whoever reads those would take it for mail of theirs.
fn apart(root: &Path) -> Result<()> {
    let real = root.ancestors().find_map(|above| above.canonicalize().ok()).or_else(|| std::env::current_dir().ok());
    for above in real.iter().flat_map(|real| real.ancestors()) {
        let within = if above.join(STATE_DIR).join(CARD).is_file() {
            "store of backups"
        } else if ["cur", "new", "tmp"].iter().all(|name| above.join(name).is_dir()) {
            "Maildir"
        } else {
            continue;
        };
        return Err(Error::usage(format!(
            "a store cannot lie in the {within} {}, whose readers would take it for mail of theirs",
            above.display()
        ))
        .hint("name a directory elsewhere"));
    }
    Ok(())
}

fn another_form(card: &StoreCard, layout: Layout) -> Error {
    let words = |layout: Layout| match layout {
        Layout::Maildir => "Maildir trees",
        Layout::Mbox => "mbox files",
        Layout::Eml => "eml files",
    };
    Error::usage(format!("the store holds {}, not {}", words(card.layout), words(layout)))
        .hint(format!("leave out `{}:` to go on with it, or name another directory", layout.name()))
}

fn same(card: StoreCard, layout: Layout, as_received: bool) -> Result<StoreCard> {
    if card.layout != layout {
        return Err(another_form(&card, layout));
    }
    if card.as_received != as_received {
        return Err(Error::usage(format!("the store keeps line ends {}", line_ends(card.as_received)))
            .hint(format!("say --line-ends {}, or name another directory", line_ends(card.as_received))));
    }
    Ok(card)
}

/// Refuses a root in which others could put something in our way.
///
/// # Errors
/// [`crate::error::Kind::Local`].
pub(super) fn closed(dir: &Dir) -> Result<()> {
    ours(dir)?;
    if dir.own_stat()?.st_mode & 0o022 != 0 {
        return Err(Error::local(format!("{}: other users may write there", dir.path().display()))
            .hint(format!("close it with chmod go-w {}", dir.path().display())));
    }
    Ok(())
}

fn ours(dir: &Dir) -> Result<()> {
    if dir.own_stat()?.st_uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::local(format!("{}: it belongs to another user", dir.path().display())).hint("name a directory of your own"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::error::Kind;

    fn made(root: &Path) -> Result<StoreCard> {
        establish(root, Layout::Maildir, false, &Context::from_environment())
    }

    #[test]
    fn a_store_is_made_once_private_and_found_again() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("a/store");
        assert_eq!(card(&root).unwrap(), None);
        let first = made(&root).unwrap();
        assert_eq!((first.id.len(), first.layout, first.as_received), (32, Layout::Maildir, false));
        assert_eq!(made(&root).unwrap(), first);
        assert_eq!(card(&root).unwrap(), Some(first));
        for (path, mode) in [("", 0o700), (".mailhaul", 0o700), (".mailhaul/store", 0o600)] {
            assert_eq!(std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777, mode, "{path}");
        }
        assert_eq!(std::fs::read_dir(root.join(".mailhaul")).unwrap().count(), 1);
    }

    #[test]
    fn two_stores_are_never_one() {
        let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        assert_ne!(made(a.path()).unwrap().id, made(b.path()).unwrap().id);
    }

    #[test]
    fn another_form_and_a_directory_of_other_things_are_refused() {
        let root = tempfile::tempdir().unwrap();
        made(root.path()).unwrap();
        let context = Context::from_environment();
        for (layout, as_received) in [(Layout::Mbox, false), (Layout::Maildir, true)] {
            assert_eq!(establish(root.path(), layout, as_received, &context).unwrap_err().kind(), Kind::Usage);
        }
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("thesis.tex"), "x").unwrap();
        assert_eq!(made(other.path()).unwrap_err().kind(), Kind::Usage);
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_card_that_makes_no_sense_is_named_and_left() {
        let root = tempfile::tempdir().unwrap();
        made(root.path()).unwrap();
        let path = root.path().join(".mailhaul/store");
        for text in ["", "mailhaul store 2\nid x\n", "mailhaul store 1\nid 12\nlayout maildir\nline-ends lf\n", "\u{0}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(card(root.path()).unwrap_err().kind(), Kind::Local, "{text:?}");
            assert!(made(root.path()).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_lost_card_beside_a_journal_is_not_made_anew() {
        let root = tempfile::tempdir().unwrap();
        made(root.path()).unwrap();
        std::fs::remove_file(root.path().join(".mailhaul/store")).unwrap();
        std::fs::write(root.path().join(".mailhaul/journal.db"), "").unwrap();
        assert_eq!(made(root.path()).unwrap_err().kind(), Kind::Local);
    }
}
