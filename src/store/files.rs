//! What stores of files share: directories held open so that nobody can swap a part of a path for a symbolic link, files
//! read without following one, and batches that are made durable without ever replacing a file. It knows no mail format.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Body, Digest, Digester, Digests, InternalDate, Message};

/// Folders are looked for this many levels deep.
pub(super) const MAX_DEPTH: usize = 10;
/// A directory entry has at most this many bytes on the file systems we know.
const NAME_BYTES: usize = 255;
/// Records the folder's whole name inside a directory whose own name had to be cut.
const NAME_FILE: &str = "mailhaul-folder";

/// An open directory, and the path by which errors name it.
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What stands under a name in a directory.
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: FileType,
}

pub(super) fn io(path: &Path, error: Errno) -> Error {
    Error::io(path.display(), error.into())
}

impl Dir {
    /// Opens the directory the user named; here alone a symbolic link is followed. `None` when there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        match fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(io(path, error)),
        }
    }

    /// Opens the directory the user named, making it (and its parents) private where it is missing.
    pub(super) fn make(path: &Path) -> Result<Self> {
        if let Some(dir) = Self::open(path)? {
            return Ok(dir);
        }
        let missing: Vec<&Path> = path.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).collect();
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(path).map_err(|error| Error::io(path.display(), error))?;
        for made in missing {
            // A power cut must not take a level above, and everything with it; a lone name stands in the working directory.
            let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if let Some(parent) = Self::open(parent)? {
                parent.sync()?;
            }
        }
        Self::open(path)?.ok_or_else(|| Error::local(format!("{}: it vanished as soon as it was made", path.display())))
    }

    /// Opens a directory in this one, following no symbolic link. `None` when there is nothing, or something else.
    pub(super) fn child(&self, name: &OsStr) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(io(&path, error)),
        }
    }

    /// Opens a directory in this one, making it private where it is missing.
    pub(super) fn make_child(&self, name: &OsStr) -> Result<Self> {
        let path = self.path.join(name);
        match fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(io(&path, error)),
        }
        self.child(name)?.ok_or_else(|| no_directory(&path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle of the same directory.
    pub(super) fn again(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|error| Error::io(self.path.display(), error))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Everything in it but `.` and `..`, sorted by name.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::Dir::read_from(&self.fd).map_err(|error| io(&self.path, error))? {
            let entry = entry.map_err(|error| io(&self.path, error))?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not tell the kind in the listing.
                FileType::Unknown => match fs::statat(&self.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(io(&self.path.join(&name), error)),
                },
                kind => kind,
            };
            entries.push(Entry { name, kind });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Makes a directory in this one, private, where nothing stands under the name; whether it did. Not synced yet.
    pub(super) fn mkdir(&self, name: &OsStr) -> Result<bool> {
        match fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(io(&self.path.join(name), error)),
        }
    }

    /// What stands under a name, no symbolic link followed. `None` when nothing does.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Option<Stat>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(io(&self.path.join(name), error)),
        }
    }

    /// What the directory itself is.
    pub(super) fn own_stat(&self) -> Result<Stat> {
        fs::fstat(&self.fd).map_err(|error| io(&self.path, error))
    }

    /// Closes the directory to everybody else.
    pub(super) fn make_private(&self) -> Result<()> {
        fs::fchmod(&self.fd, Mode::RWXU).map_err(|error| io(&self.path, error))
    }

    /// The descriptor, for what concerns the whole file system.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    /// What the directory's own time stamp says: equal before and after a listing, the listing is whole.
    #[allow(clippy::useless_conversion, reason = "the types of a stat differ between platforms")]
    pub(super) fn stamp(&self) -> Result<(i64, u64)> {
        let stat = fs::fstat(&self.fd).map_err(|error| io(&self.path, error))?;
        Ok((modified(&stat), u64::try_from(stat.st_mtime_nsec).unwrap_or(0)))
    }

    /// Opens a regular file, following no symbolic link and waiting for no FIFO. `None` when it is not there.
    pub(super) fn file(&self, name: &OsStr) -> Result<Option<(File, Stat)>> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(not_regular(&path)),
            // These say nothing about this file.
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(io(&path, error)),
            Err(error) => return Err(io(&path, error).scoped(Scope::Message)),
        };
        let stat = fs::fstat(&fd).map_err(|error| io(&path, error).scoped(Scope::Message))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_regular(&path));
        }
        Ok(Some((File::from(fd), stat)))
    }

    /// Reads a small text file; `None` when it is missing, strange or longer than `limit`.
    pub(super) fn small_text(&self, name: &str, limit: u64) -> Option<String> {
        let (file, _) = self.file(OsStr::new(name)).ok()??;
        let mut text = String::new();
        file.take(limit + 1).read_to_string(&mut text).ok()?;
        (text.len() as u64 <= limit).then_some(text)
    }

    pub(super) fn create(&self, name: &OsStr) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        made.map(File::from).map_err(|error| io(&self.path.join(name), error))
    }

    /// As [`Self::create`], to read it back as well.
    pub(super) fn create_both(&self, name: &OsStr) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        made.map(File::from).map_err(|error| io(&self.path.join(name), error))
    }

    /// As [`Self::create`]; `None` when something stands there already.
    pub(super) fn create_new(&self, name: &OsStr) -> std::io::Result<Option<File>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file to read and write, following no symbolic link and waiting for no FIFO. `None` when it is not there.
    pub(super) fn file_to_change(&self, name: &OsStr) -> Result<Option<File>> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(not_regular(&path).scoped(Scope::Run)),
            Err(error) => return Err(io(&path, error)),
        };
        let stat = fs::fstat(&fd).map_err(|error| io(&path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_regular(&path).scoped(Scope::Run));
        }
        Ok(Some(File::from(fd)))
    }

    /// Gives the file `name` of this directory the name `to` in `target`; `false` when something stands there already.
    pub(super) fn publish(&self, name: &OsStr, target: &Self, to: &OsStr) -> Result<bool> {
        match fs::renameat_with(&self.fd, name, &target.fd, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => return Ok(false),
            // The file system cannot rename without replacing; a second link can.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(io(&target.path.join(to), error)),
        }
        match fs::linkat(&self.fd, name, &target.fd, to, AtFlags::empty()) {
            Ok(()) => {
                self.remove(name);
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(io(&target.path.join(to), error)),
        }
    }

    /// Gives the file `name` the name `to`, in place of what has it.
    pub(super) fn replace(&self, name: &OsStr, to: &OsStr) -> Result<()> {
        fs::renameat(&self.fd, name, &self.fd, to).map_err(|error| io(&self.path.join(to), error))
    }

    /// Removes a file of ours. What cannot be removed stays: harmless, and the first error matters more.
    pub(super) fn remove(&self, name: &OsStr) {
        let _ = fs::unlinkat(&self.fd, name, AtFlags::empty());
    }

    /// Takes a message's file away; one that is gone already is as good.
    pub(super) fn unlink(&self, name: &OsStr) -> Result<()> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io(&self.path.join(name), error)),
        }
    }

    /// Makes what happened to the names in it durable.
    pub(super) fn sync(&self) -> Result<()> {
        fs::fsync(&self.fd).map_err(|error| io(&self.path, error))
    }
}

pub(super) fn no_directory(path: &Path) -> Error {
    Error::local(format!("{}: something that is no directory stands there (a symbolic link is not followed)", path.display()))
}

fn not_regular(path: &Path) -> Error {
    Error::local(format!("{}: not a regular file, so it was not read", path.display())).scoped(Scope::Message)
}

fn modified(stat: &Stat) -> i64 {
    #[allow(clippy::useless_conversion, reason = "its type differs between platforms")]
    i64::try_from(stat.st_mtime).unwrap_or(i64::MAX)
}

/// The time of last change, which stands for INTERNALDATE.
pub(super) fn date(stat: &Stat) -> InternalDate {
    InternalDate { seconds: modified(stat), offset: 0 }
}

/// Gives a file its time of last change; `false` when the file system cannot hold it.
pub(super) fn set_date(file: &File, path: &Path, date: InternalDate) -> Result<bool> {
    let stamp = Timespec { tv_sec: date.seconds, tv_nsec: 0 };
    match fs::futimens(file, &Timestamps { last_access: stamp, last_modification: stamp }) {
        // Some file systems take a date and keep the nearest one that they can hold.
        Ok(()) => Ok(modified(&fs::fstat(file).map_err(|error| io(path, error))?) == date.seconds),
        Err(Errno::INVAL | Errno::OVERFLOW | Errno::RANGE) => Ok(false),
        Err(error) => Err(io(path, error)),
    }
}

/// The file's identity, by which two names of one file are told from two files.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    #[allow(clippy::useless_conversion, reason = "their types differ between platforms")]
    (u64::try_from(stat.st_dev).unwrap_or(0), u64::try_from(stat.st_ino).unwrap_or(0))
}

/// Hands over a file's bytes in pieces.
pub(super) fn each_piece(mut file: &File, path: &dyn fmt::Display, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(path, error).scoped(Scope::Message)),
        }
    }
}

/// Reads a file through for its digests.
pub(super) fn digests(file: &File, path: &Path) -> Result<Digests> {
    let mut digester = Digester::default();
    each_piece(file, &path.display(), |piece| {
        digester.update(piece);
        Ok(())
    })?;
    Ok(digester.finish())
}

/// Reads a file into a message without flags.
pub(super) fn message(file: &File, stat: &Stat, path: &Path) -> Result<Message> {
    let mut digester = Digester::default();
    let mut body = Body::new();
    each_piece(file, &path.display(), |piece| {
        digester.update(piece);
        body.push(piece)
    })?;
    Ok(Message { body, digests: digester.finish(), internal_date: Some(date(stat)), flags: Vec::new() })
}

/// What `each` makes of a message that is not the one listed any more.
pub(super) fn changed(path: &Path) -> Error {
    Error::local(format!("{}: it changed after it was listed", path.display())).scoped(Scope::Message)
}

/// One level of a folder's name as (part of) a file name: whatever could leave the directory, part levels or steer a
/// terminal stands as `%XX`. Never empty, `.`, `..`, `cur`, `new` or `tmp`, without `/`, `.` and NUL; different for different levels.
pub(super) fn encode_level(level: &str) -> String {
    let reserved = matches!(level, "cur" | "new" | "tmp");
    let mut out = String::with_capacity(level.len());
    for (index, c) in level.chars().enumerate() {
        let escape = matches!(c, '%' | '.' | '/' | '\\')
            || c.is_control()
            || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
            || (reserved && index == 0);
        if escape {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        } else {
            out.push(c);
        }
    }
    // An empty level names no folder; should one come all the same, no other level is written so.
    if out.is_empty() { "%".to_owned() } else { out }
}

/// The level that [`encode_level`] wrote as `name`; a name it would never write is a level as it stands.
pub(super) fn decode_level(name: &str) -> String {
    decode_level_of(name, encode_level)
}

/// The same for another writer, of which `name` must be the very spelling.
pub(super) fn decode_level_of(name: &str, encode: impl Fn(&str) -> String) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|&byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    let decoded = String::from_utf8(bytes).ok().filter(|level| encode(level) == name);
    decoded.unwrap_or_else(|| name.to_owned())
}

/// `name`, or where it is too long for a directory entry its beginning and a digest of all of it. `%~` stands in no
/// encoded name, so that a cut name equals no whole one.
pub(super) fn fit(name: String) -> String {
    fit_within(name, NAME_BYTES)
}

/// The same for less room (at least 40 octets), where something is to follow the name.
pub(super) fn fit_within(name: String, most: usize) -> String {
    if name.len() <= most {
        return name;
    }
    let digest: String = Digest::of(name.as_bytes()).to_string().chars().take(32).collect();
    let room = most.saturating_sub(digest.len() + 2);
    let kept = name.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c).collect::<String>();
    format!("{kept}%~{digest}")
}

/// Whether [`fit`] had to cut.
pub(super) fn was_cut(name: &str) -> bool {
    name.contains("%~")
}

/// Records the whole name of `folder` in its directory, whose own name was cut.
pub(super) fn record_name(dir: &Dir, folder: &Folder) -> Result<()> {
    if dir.small_text(NAME_FILE, 64 * 1024).is_some() {
        return Ok(());
    }
    let temporary = OsString::from(format!(".{NAME_FILE}.{}.{}", std::process::id(), nonce()));
    let mut file = dir.create(&temporary)?;
    let written = write!(file, "{folder}").and_then(|()| file.sync_all());
    let result = written
        .map_err(|error| Error::io(dir.path.join(NAME_FILE).display(), error))
        .and_then(|()| dir.publish(&temporary, dir, OsStr::new(NAME_FILE)));
    // Where another run was faster its record says the same.
    if !matches!(result, Ok(true)) {
        dir.remove(&temporary);
    }
    result?;
    dir.sync()
}

/// Takes back what [`record_name`] noted, of a directory that gets another name.
pub(super) fn forget_name(dir: &Dir) -> Result<()> {
    dir.unlink(OsStr::new(NAME_FILE))
}

/// The whole name of the folder in a directory whose own name was cut.
pub(super) fn recorded_name(dir: &Dir) -> Option<Folder> {
    Folder::parse(&dir.small_text(NAME_FILE, 64 * 1024)?)
}

/// `folder`, or where it is taken the same with a number, so that two directories never share a name.
pub(super) fn unique(folder: &Folder, taken: &mut HashSet<Folder>) -> Folder {
    let mut candidate = folder.clone();
    let mut number = 2_u32;
    while !taken.insert(candidate.clone()) {
        let mut levels = folder.levels().to_vec();
        if let Some(last) = levels.last_mut() {
            *last = format!("{last} ({number})");
        }
        candidate = Folder::from_levels(levels).unwrap_or_else(Folder::inbox);
        number = number.saturating_add(1);
    }
    candidate
}

/// A piece of a name, for sorting.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    /// Digits, by their value.
    Number(u64),
    /// Anything else.
    Text(Vec<u8>),
}

/// What names are sorted by: numbers in them count by their value, so that `9.eml` stands before `10.eml`.
pub(super) fn natural(name: &[u8]) -> Vec<Piece> {
    name.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .map(|piece| match std::str::from_utf8(piece).ok().and_then(|text| text.parse().ok()) {
            Some(number) => Piece::Number(number),
            None => Piece::Text(piece.to_vec()),
        })
        .collect()
}

/// A number nobody else draws.
pub(super) fn nonce() -> String {
    use std::hash::{BuildHasher, Hasher};
    format!("{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

/// A name as text; bytes that are no UTF-8 show as replacements.
pub(super) fn text(name: &OsStr) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(name: &str) -> bool {
        !name.is_empty() && name.len() <= NAME_BYTES && !name.contains(['/', '\0']) && !matches!(name, "." | ".." | "cur" | "new" | "tmp")
    }

    #[test]
    fn hostile_levels_stay_one_component_and_come_back() {
        let mut seen = HashSet::new();
        let long = |length| "x".repeat(length);
        let levels = [
            "../x",
            "a/../../b",
            "/abs",
            ".",
            "..",
            "...",
            "\0",
            "a\0b",
            "\\",
            "a\\b",
            "C:",
            "CON",
            "x.",
            "x ",
            " x",
            "%",
            "%2F",
            "%2f",
            "%%",
            "cur",
            "new",
            "tmp",
            "%63ur",
            "Cur",
            "cuR",
            "INBOX",
            "a\nb",
            "a\rb",
            "\x1b[2J",
            "\u{202e}x",
            "é",
            "e\u{301}",
            "A",
            "a",
            "&AC8-",
            "~",
            "%~",
            "x%~y",
            "\u{7f}",
            "\u{85}",
            "世界",
        ];
        for level in levels {
            let name = fit(encode_level(level));
            assert!(safe(&name), "{level:?} → {name:?}");
            assert!(!name.contains('.'), "{level:?} → {name:?}");
            assert_eq!(decode_level(&name), level);
            assert!(seen.insert(name), "{level:?}");
        }
        for level in [long(255), long(256), long(4096), long(4095) + "y", "世".repeat(200), "%".repeat(100), "世".repeat(201)] {
            let name = fit(encode_level(&level));
            assert!(safe(&name) && seen.insert(name), "{level:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn names_are_safe_injective_and_reversible(a in "(.|[%./\\\\\\x00-\\x1f~]|cur|tmp){1,300}", b in "(.|[%./~]|%2E|%~){1,300}") {
            for level in [&a, &b] {
                let name = encode_level(level);
                proptest::prop_assert_eq!(&decode_level(&name), level);
                proptest::prop_assert!(safe(&fit(name)));
            }
            proptest::prop_assert_eq!(a == b, fit(encode_level(&a)) == fit(encode_level(&b)));
        }

        #[test]
        fn a_foreign_name_is_read_as_one_level_that_is_written_back_the_same_or_escaped(name in "[^/\\x00]{1,40}") {
            let level = decode_level(&name);
            proptest::prop_assert_eq!(decode_level(&encode_level(&level)), level);
        }
    }
}
