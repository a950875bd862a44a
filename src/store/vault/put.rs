//! One file of a store: written, given its name without replacing anything, found again under the flags it has by now.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use super::home::{self, CUR, Home};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::message::{Body, Digest, Flag};
use crate::store::delivery::holds;
use crate::store::files::{self, Dir};
use crate::store::maildir::system_letter;

/// What our temporary files are called.
pub(super) const TEMPORARY: &str = "mailhaul-";
/// Stands in `tmp` as long as files of the folder may not be in the journal.
pub(super) const UNRECORDED: &str = "mailhaul-unrecorded";
/// So many names are tried for one message before something else must be wrong.
const NAME_TRIES: u32 = 100_000;
/// A folder that keeps changing is searched so many times in one call.
pub(super) const SEARCHES: usize = 16;
const PIECE: usize = 64 * 1024;
const MAILDIR: [&str; 3] = ["cur", "new", "tmp"];

/// A message in a temporary file.
pub(super) struct Staged {
    pub(super) ticket: u64,
    pub(super) home: usize,
    /// Open as long as it may have to be synced by itself.
    pub(super) file: Option<File>,
    pub(super) temporary: OsString,
    pub(super) base: String,
    pub(super) letters: String,
    pub(super) line_feeds: bool,
    pub(super) octets: u64,
    pub(super) digest: Digest,
    pub(super) altered: Vec<String>,
}

/// Opens a directory, or makes it; whether it was made. Not synced yet.
pub(super) fn make_child(dir: &Dir, name: &OsStr) -> Result<(Dir, bool)> {
    let made = dir.mkdir(name)?;
    let child = dir.child(name)?.ok_or_else(|| files::no_directory(&dir.path().join(name)))?;
    Ok((child, made))
}

/// Makes the three directories of a Maildir; whether `cur` was missing.
pub(super) fn make_halves(dir: &Dir) -> Result<bool> {
    let [cur, new, tmp] = MAILDIR.map(|name| dir.mkdir(OsStr::new(name)));
    new.and(tmp).and(cur)
}

/// Leaves word that files of the folder may not be in the journal.
pub(super) fn note_unrecorded(dir: &Dir) -> Result<()> {
    let path = dir.path().join(UNRECORDED);
    dir.create_new(OsStr::new(UNRECORDED)).map(drop).map_err(|error| Error::io(path.display(), error))
}

/// Writes a message; gives the octets written, and their digest unless they are the message's own.
pub(super) fn write_body(file: &mut File, body: &Body, line_feeds: bool, path: &Path) -> Result<(u64, Option<Digest>)> {
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(|error| Error::io(path.display(), error));
    if !line_feeds {
        body.each_chunk(put)?;
        return Ok((body.len(), None));
    }
    let (mut octets, mut hash, mut out) = (0, Sha256::new(), Vec::with_capacity(PIECE));
    body.each_chunk(|chunk| {
        for piece in chunk.chunks(PIECE) {
            out.clear();
            // Every CR stands before an LF here.
            let mut start = 0;
            for at in memchr::memchr_iter(b'\r', piece) {
                out.extend_from_slice(piece.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            out.extend_from_slice(piece.get(start..).unwrap_or_default());
            octets += out.len() as u64;
            hash.update(&out);
            put(&out)?;
        }
        Ok(())
    })?;
    Ok((octets, Some(Digest(hash.finalize().into()))))
}

/// The letters of flags in a folder, new keywords being noted there. What gets no letter stands in the journal alone.
pub(super) fn letters(home: &mut Home, flags: &[Flag], context: &Context) -> Result<String> {
    if home.eml {
        return Ok(String::new());
    }
    let keywords: Vec<Flag> = flags.iter().filter(|flag| !flag.is_recent() && system_letter(flag).is_none()).cloned().collect();
    let wanted: Vec<Flag> = keywords.iter().filter(|keyword| !home.roomless.contains(keyword)).cloned().collect();
    if !wanted.is_empty() {
        match home.keywords.add(&home.dir, &wanted, context) {
            Err(error) if error.kind() == Kind::Busy => {}
            other => other?,
        }
        let left: Vec<Flag> = wanted.into_iter().filter(|keyword| home.keywords.letter(keyword).is_none()).collect();
        home.roomless.extend(left);
    }
    let letters: std::collections::BTreeSet<u8> =
        flags.iter().filter_map(|flag| system_letter(flag).or_else(|| home.keywords.letter(flag))).collect();
    Ok(letters.into_iter().map(char::from).collect())
}

/// The `number`-th unique part that is tried.
pub(super) fn stem(eml: bool, staged: &Staged, number: u32) -> String {
    let further = if number == 1 { String::new() } else { format!("-{number}") };
    if eml { format!("{}{further}", staged.base) } else { format!("{}{further},S={}", staged.base, staged.octets) }
}

/// Gives a synced file its name, or finds the message there already; gives the unique part of the name.
pub(super) fn publish(home: &mut Home, staged: &Staged, published: &mut Vec<(usize, OsString)>) -> Result<String> {
    let gone = || Error::local("a folder that is not open to write");
    for number in 1..=NAME_TRIES {
        let stem = stem(home.eml, staged, number);
        let name = home::file_name(home.eml, &stem, &staged.letters);
        if let Some((half, found)) = elsewhere(home, &stem, &staged.letters)? {
            let dir = home.half(half).ok_or_else(gone)?;
            if !holds(dir, &found, staged.digest) {
                continue;
            }
            // A run that died had given it the flags of that time.
            if (half != CUR || found != name) && dir.publish(&found, home.cur()?, &name)? {
                home.renamed(&stem, &name);
            }
            home.temporary.as_ref().ok_or_else(gone)?.remove(&staged.temporary);
            return Ok(stem);
        }
        let temporary = home.temporary.as_ref().ok_or_else(gone)?;
        if temporary.publish(&staged.temporary, home.cur()?, &name)? {
            published.push((staged.home, name));
            return Ok(stem);
        }
        if holds(home.cur()?, &name, staged.digest) {
            temporary.remove(&staged.temporary);
            return Ok(stem);
        }
    }
    Err(Error::local(format!("{}: no free name for {}", home.path, staged.base)))
}

/// Where a file with this unique part lies under other flags: one that no journal knows, or that a mail program marked.
pub(super) fn elsewhere(home: &mut Home, stem: &str, letters: &str) -> Result<Option<(usize, OsString)>> {
    if home.eml || home.fresh {
        return Ok(None);
    }
    if home.doubtful {
        if home.known.is_none() {
            home.list()?;
        }
        if let Some(found) = home.find_known(stem)? {
            return Ok(Some(found));
        }
    }
    Ok(home.guess(stem, letters)?.map(|name| (CUR, name)))
}

/// Gives a file other letters; whether it had others, `None` when it is not there.
pub(super) fn reletter(home: &mut Home, stem: &str, letters: &str, context: &Context) -> Result<Option<bool>> {
    for _ in 0..SEARCHES {
        let Some((half, name)) = home.find(stem, letters)? else { return Ok(None) };
        let wanted = home.relettered(stem, &name, letters);
        if half == CUR && name == wanted {
            return Ok(Some(false));
        }
        let Some(from) = home.half(half) else { return Ok(None) };
        context.step("vault.before-reflag");
        match from.publish(&name, home.cur()?, &wanted) {
            Ok(true) => {
                home.renamed(stem, &wanted);
                return Ok(Some(true));
            }
            // A file with these flags is there as well: two names of one, or two copies, of which verify tells.
            Ok(false) => return Ok(Some(false)),
            // Somebody was quicker: it has another name by now.
            Err(_) if home.open(half, &name)?.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Removes our temporary files; whether a run left word that it had not come to its end.
pub(super) fn sweep(dir: &Dir) -> Result<bool> {
    let mut unrecorded = false;
    for entry in dir.entries()? {
        if entry.name == UNRECORDED {
            unrecorded = true;
        } else if entry.kind == FileType::RegularFile && files::text(&entry.name).starts_with(TEMPORARY) {
            dir.remove(&entry.name);
        }
    }
    Ok(unrecorded)
}
