//! Reading mbox files: a place that is one, or a folder of them. A file that another program changes meanwhile is never read
//! as if it were whole: each message proves itself by the digest it had when it was listed.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::super::files::{self, Dir, MAX_DEPTH};
use super::super::{FolderInfo, Listed, Listing, Source};
use super::append;
use super::format::{self, Scanner, Stored};
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::message::{Body, Digest, Digester, Message, Twins};

/// While other programs write to a file, a listing starts over so many times before it is given up.
const LISTING_TRIES: usize = 5;

/// Messages out of an mbox file, or out of a folder of them.
pub struct MboxSource {
    path: PathBuf,
    open: Option<Open>,
}

/// The file listed last.
struct Open {
    file: File,
    path: PathBuf,
    messages: Vec<(Stored, Digest)>,
}

/// A file that is a folder.
pub(super) struct Found {
    pub(super) folder: Folder,
    pub(super) dir: Dir,
    pub(super) name: OsString,
}

impl MboxSource {
    /// The file or folder at `path`; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), open: None }
    }

    /// The first `most` octets of a message of the folder listed last, or fewer.
    ///
    /// # Errors
    /// The file cannot be read, or the message was not listed.
    pub(in crate::store) fn head(&self, listed: &Listed, most: u64) -> Result<Vec<u8>> {
        let open = self.open.as_ref().zip(usize::try_from(listed.id).ok());
        let found = open.and_then(|(open, id)| Some((open, open.messages.get(id)?)));
        let (open, (stored, _)) = found.ok_or_else(|| Error::local(format!("no message {} was listed", listed.id)).at(self.place()))?;
        head(&open.file, *stored, most).map_err(|error| named(error, &open.path))
    }

    /// The first `most` octets of the first message in the file at `path`, or fewer; `None` where it holds no message.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(in crate::store) fn first_head(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
        let (dir, name) = place_of(path)?;
        let Some((file, stat)) = dir.file(&name)? else { return Ok(None) };
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        let mut begin = [0; 512];
        let count = format::Bytes::read_at(&file, &mut begin, 0).map_err(|error| Error::io(path.display(), error))?;
        if !super::is_mbox(begin.get(..count).unwrap_or_default()) {
            return Ok(None);
        }
        let first = Scanner::new(&file, len)?.message()?;
        first.map(|stored| head(&file, stored, most)).transpose()
    }
}

/// The folders at a path.
///
/// # Errors
/// There is nothing, or it cannot be read.
pub(super) fn look(path: &Path) -> Result<Vec<Found>> {
    let kind = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::usage(format!("{}: there is no such file or directory", path.display())),
        _ => Error::io(path.display(), error),
    })?;
    if !kind.is_dir() {
        let (dir, name) = place_of(path)?;
        return Ok(vec![Found { folder: Folder::inbox(), dir, name }]);
    }
    let root = Dir::open(path)?.ok_or_else(|| Error::usage(format!("{}: there is no such directory", path.display())))?;
    let mut found = Vec::new();
    walk(&root, &[], &[], &mut found, &mut HashSet::new())?;
    Ok(found)
}

/// The directory a file stands in, and its name there. The path is the user's, so a link at its end is followed, once.
pub(super) fn place_of(path: &Path) -> Result<(Dir, OsString)> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or_else(|| Error::usage(format!("{}: not a file", path.display())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = Dir::open(parent)?.ok_or_else(|| Error::usage(format!("{}: there is no such directory", parent.display())))?;
    Ok((dir, name.to_owned()))
}

fn without<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    name.strip_suffix(ending).filter(|stem| !stem.is_empty())
}

fn walk(dir: &Dir, way: &[OsString], levels: &[String], found: &mut Vec<Found>, taken: &mut HashSet<Folder>) -> Result<()> {
    for entry in dir.entries()? {
        let name = files::text(&entry.name);
        if name.starts_with('.') {
            continue;
        }
        let mut below = levels.to_vec();
        match entry.kind {
            FileType::Directory if way.len() < MAX_DEPTH => {
                let Some(child) = dir.child(&entry.name)? else { continue };
                // `X.sbd` is how Thunderbird, `X.mbox` how Apple Mail names the directory of a folder X.
                let stem = without(&name, ".sbd").or_else(|| without(&name, ".mbox")).unwrap_or(&name);
                below.push(files::decode_level(stem));
                let mut way = way.to_vec();
                way.push(entry.name);
                walk(&child, &way, &below, found, taken)?;
            }
            FileType::RegularFile if is_folder(dir, &entry.name, &name)? => {
                let inside = name == "mbox" && way.last().is_some_and(|last| files::text(last).ends_with(".mbox"));
                if !inside {
                    below.push(files::decode_level(without(&name, ".mbox").unwrap_or(&name)));
                }
                if let Some(folder) = Folder::from_levels(below) {
                    let folder = files::unique(&folder, taken);
                    found.push(Found { folder, dir: dir.again()?, name: entry.name });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What begins with an envelope line is a folder, whatever its name. What does not is one where its name says so (or says
/// nothing): listing it names the trouble, and mail in a damaged file is not passed over in silence.
fn is_folder(dir: &Dir, name: &OsStr, text: &str) -> Result<bool> {
    if text.ends_with(".lock") || text.ends_with(".msf") {
        return Ok(false);
    }
    let named = text.ends_with(".mbox") || !text.contains('.');
    match dir.file(name) {
        Ok(None) => Ok(false),
        Ok(Some((file, _))) => {
            let mut head = [0; 512];
            let count = format::Bytes::read_at(&file, &mut head, 0).unwrap_or(0);
            Ok(named || super::is_mbox(head.get(..count).unwrap_or_default()))
        }
        Err(error) if error.scope() == Scope::Message => Ok(named),
        Err(error) => Err(error),
    }
}

/// What must be equal before and after a file is read.
fn stamp(file: &File, path: &Path) -> Result<(u64, std::time::SystemTime)> {
    let metadata = file.metadata().map_err(|error| Error::io(path.display(), error))?;
    Ok((metadata.len(), metadata.modified().unwrap_or(std::time::UNIX_EPOCH)))
}

impl Open {
    fn list(found: &Found) -> Result<Option<(Self, Listing)>> {
        let path = found.dir.path().join(&found.name);
        let Some((file, _)) = found.dir.file(&found.name).map_err(|error| error.scoped(Scope::Mailbox))? else { return Ok(None) };
        for _ in 0..LISTING_TRIES {
            let before = stamp(&file, &path)?;
            let listed = append::whole(&found.dir, &found.name, &file, before.0).and_then(|len| scan(&file, len));
            if stamp(&file, &path)? != before {
                continue;
            }
            let (messages, listing) = listed.map_err(|error| named(error, &path))?;
            return Ok(Some((Self { file, path, messages }, listing)));
        }
        Err(Error::new(Kind::Busy, "the file changes all the time, so it cannot be listed").at(path.display()).scoped(Scope::Mailbox))
    }

    fn read(&self, stored: &Stored, digest: Digest) -> Result<Message> {
        let mut digester = Digester::default();
        let mut body = Body::new();
        let read = format::read(&self.file, stored, &mut |piece| {
            digester.update(piece);
            body.push(piece)
        });
        read.map_err(|error| match error.scope() {
            Scope::Mailbox => files::changed(&self.path),
            _ => named(error, &self.path),
        })?;
        let digests = digester.finish();
        if digests.content != digest {
            return Err(files::changed(&self.path));
        }
        let flags = format::flags(&body)?;
        Ok(Message { body, digests, internal_date: stored.date, flags })
    }
}

fn head(file: &File, mut stored: Stored, most: u64) -> Result<Vec<u8>> {
    stored.end = stored.end.min(stored.start.saturating_add(most));
    let mut head = Vec::new();
    format::read(file, &stored, &mut |piece| {
        head.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(head)
}

fn named(error: Error, path: &Path) -> Error {
    error.at(path.display())
}

fn scan(file: &File, len: u64) -> Result<(Vec<(Stored, Digest)>, Listing)> {
    let mut messages = Vec::new();
    let mut listing = Listing::default();
    let mut twins = Twins::default();
    let mut scanner = Scanner::new(file, len)?;
    while let Some(stored) = scanner.message()? {
        let mut digester = Digester::default();
        let mut size = 0;
        format::read(file, &stored, &mut |piece| {
            size += piece.len() as u64;
            digester.update(piece);
            Ok(())
        })?;
        let digest = digester.finish().content;
        let id = u32::try_from(messages.len()).map_err(|_| Error::local("more messages than can be counted"))?;
        listing.messages.push(Listed { id, key: Some(twins.key(digest)), size: Some(size), internal_date: stored.date });
        messages.push((stored, digest));
    }
    Ok((messages, listing))
}

impl Source for MboxSource {
    fn place(&self) -> String {
        format!("mbox:{}", self.path.display())
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        let found = look(&self.path)?.into_iter();
        Ok(found.map(|one| FolderInfo { folder: one.folder, special_use: None, subscribed: true, selectable: true }).collect())
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.open = None;
        let found = look(&self.path)?.into_iter().find(|one| one.folder == *folder);
        let none = || Error::usage(format!("there is no folder {folder}")).at(self.place());
        let (open, listing) = Open::list(&found.ok_or_else(none)?)?.ok_or_else(none)?;
        self.open = Some(open);
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let place = self.place();
        let open = self.open.as_ref().ok_or_else(|| Error::local("no folder was listed").at(&place))?;
        for (index, listed) in wanted.iter().enumerate() {
            let entry = usize::try_from(listed.id).ok().and_then(|id| open.messages.get(id));
            let (stored, digest) = entry.ok_or_else(|| Error::local(format!("no message {} was listed", listed.id)).at(&place))?;
            match open.read(stored, *digest) {
                Ok(message) => each(index, Ok(message))?,
                Err(error) if error.scope() == Scope::Message => each(index, Err(error))?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.open = None;
        Ok(())
    }
}

/// The directories above the file of a folder below `levels`.
pub(in crate::store) fn directory_names(levels: &[String]) -> Vec<OsString> {
    files::nested(levels)
}

/// The name of the file of a level.
pub(super) fn file_name(level: &str) -> Result<OsString> {
    let name = format!("{}.mbox", files::encode_level(level));
    let name = OsString::from(name);
    // A cut name would come back as another folder; there is no directory of its own to note the whole name in.
    if name.as_bytes().len() > 200 {
        return Err(Error::local(format!("the folder name `{}…` is too long for a file", level.chars().take(40).collect::<String>()))
            .scoped(Scope::Mailbox));
    }
    Ok(name)
}
