//! Adding to an mbox file so that a kill at any moment leaves whole messages only. What is to be added is first written
//! durably beside the file, with the length the file had; whoever comes next sees from that what is missing or in excess.
//! Locks are those of mail programs: `FILE.lock`, `flock` and `fcntl`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock, flock};

use super::super::files::{self, Dir};
use super::format::{self, Bytes};
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};

/// How long a lock of another program is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The first line of the note beside the file: `mailhaul append`, the file's length before, and how many line ends come first.
const HEAD_BYTES: usize = 64;
const HEAD: &str = "mailhaul append ";
const PIECE: usize = 64 * 1024;
/// How the files of batches are called: this, the process and a random number.
const STAGED: &str = ".mailhaul-";

/// The note that an append to `name` is under way.
fn note_name(name: &OsStr) -> OsString {
    let mut note = OsString::from(".");
    note.push(name);
    note.push(".mailhaul-append");
    note
}

/// What a note says, and the bytes it holds.
struct Note {
    file: File,
    /// The length of the mbox file before.
    before: u64,
    gap: u64,
    /// What was to be added, the gap included.
    adds: u64,
}

impl Note {
    fn open(dir: &Dir, name: &OsStr) -> Result<Option<Self>> {
        let note = note_name(name);
        let Some((file, stat)) = dir.file(&note).map_err(|error| error.scoped(Scope::Mailbox))? else { return Ok(None) };
        // In a directory of many people, nobody else's note may say what of a file is worthless.
        let owner = dir.file(name).ok().flatten().map(|(_, mbox)| mbox.st_uid);
        if stat.st_uid != rustix::process::geteuid().as_raw() && Some(stat.st_uid) != owner {
            return Err(Error::local(format!("{}: it belongs to somebody else", dir.path().join(&note).display())).scoped(Scope::Mailbox));
        }
        let mut head = [0; HEAD_BYTES];
        let damaged = || Error::local(format!("{}: it is damaged", dir.path().join(&note).display())).scoped(Scope::Mailbox);
        let count = Bytes::read_at(&file, &mut head, 0).map_err(|error| Error::io(dir.path().join(&note).display(), error))?;
        let text = std::str::from_utf8(head.get(..count).unwrap_or_default()).map_err(|_| damaged())?;
        let mut words = text.strip_prefix(HEAD).ok_or_else(damaged)?.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(before)), Some(Ok(gap))) = (words.next(), words.next()) else { return Err(damaged()) };
        let len = file.metadata().map_err(|error| Error::io(dir.path().join(&note).display(), error))?.len();
        let adds = len.checked_sub(HEAD_BYTES as u64).ok_or_else(damaged)? + gap;
        Ok(Some(Self { file, before, gap, adds }))
    }

    /// What was to stand at `offset` behind the old end.
    fn wanted(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let gap = usize::try_from(self.gap.saturating_sub(offset)).unwrap_or(0).min(buffer.len());
        let (first, rest) = buffer.split_at_mut(gap);
        first.fill(b'\n');
        let from = (offset + gap as u64).saturating_sub(self.gap) + HEAD_BYTES as u64;
        Ok(gap + Bytes::read_at(&self.file, rest, from)?)
    }
}

/// What became of an append that was begun.
enum Fate {
    /// All of it stands there.
    Whole,
    /// The file ends within it: what stands behind this length is worthless.
    Torn(u64),
    /// Nothing of it stands there, or somebody rewrote the file since.
    Foreign,
}

/// Compares the end of the file with what was to be there. A crash of the system may leave zeros where bytes were to be.
fn fate(note: &Note, file: &File, len: u64) -> Result<Fate> {
    let io = |error| Error::io("the mbox file", error);
    if len == note.before {
        return Ok(Fate::Torn(note.before));
    }
    if len < note.before {
        return Ok(Fate::Foreign);
    }
    let there = (len - note.before).min(note.adds);
    let (mut is, mut wanted) = (vec![0; PIECE], vec![0; PIECE]);
    let (mut at, mut same, mut torn) = (0, true, true);
    while at < there {
        let most = usize::try_from(there - at).unwrap_or(PIECE).min(PIECE);
        let (is, wanted) = (is.get_mut(..most).unwrap_or_default(), wanted.get_mut(..most).unwrap_or_default());
        let (read, known) = (Bytes::read_at(file, is, note.before + at).map_err(io)?, note.wanted(wanted, at).map_err(io)?);
        if read < most || known < most {
            return Ok(Fate::Foreign);
        }
        same &= is == wanted;
        torn &= is.iter().zip(wanted.iter()).all(|(is, wanted)| is == wanted || *is == 0);
        at += most as u64;
    }
    Ok(match (same, torn) {
        (true, _) if there == note.adds => Fate::Whole,
        (_, true) if len <= note.before + note.adds => Fate::Torn(note.before),
        _ => Fate::Foreign,
    })
}

fn mixed_up(dir: &Dir, name: &OsStr) -> Error {
    let (file, note) = (dir.path().join(name), dir.path().join(note_name(name)));
    Error::local("an append to the file was cut off, and the file was changed since, so it cannot be told what of it is there")
        .at(file.display())
        .hint(format!("look at its last messages, then remove {}", note.display()))
        .scoped(Scope::Mailbox)
}

/// How much of a file is whole messages: all of it, unless an append to it is under way or was cut off.
pub(in crate::store) fn whole(dir: &Dir, name: &OsStr, file: &File, len: u64) -> Result<u64> {
    let Some(note) = Note::open(dir, name)? else { return Ok(len) };
    match fate(&note, file, len)? {
        Fate::Whole => Ok(len),
        Fate::Torn(whole) => Ok(whole),
        Fate::Foreign => Err(mixed_up(dir, name)),
    }
}

/// The locks of a mail program on a file.
struct Locks<'a> {
    dir: &'a Dir,
    dotlock: Option<OsString>,
}

impl<'a> Locks<'a> {
    fn take(dir: &'a Dir, name: &OsStr, file: &File, context: &Context) -> Result<Self> {
        let deadline = context.now().after(PATIENCE);
        let mut locks = Self { dir, dotlock: None };
        let mut lock = name.to_owned();
        lock.push(".lock");
        loop {
            context.check()?;
            if (locks.dotlock.is_some() || locks.dotlock(&lock)?) && lock_file(file) {
                return Ok(locks);
            }
            if context.now() >= deadline {
                return Err(Error::new(Kind::Busy, "the mbox file is locked by another program")
                    .at(dir.path().join(name).display())
                    .hint(format!("if no program uses it, remove {}", dir.path().join(&lock).display())));
            }
            context.pause(LOOK_AGAIN);
        }
    }

    /// Makes `FILE.lock`, or finds that the directory takes none; `false` when another program holds it.
    fn dotlock(&mut self, lock: &OsStr) -> Result<bool> {
        match self.dir.create_new(lock) {
            Ok(Some(mut file)) => {
                let _ = write!(file, "{}", std::process::id());
                self.dotlock = Some(lock.to_owned());
                Ok(true)
            }
            Ok(None) => {
                if self.is_stale(lock) {
                    self.dir.remove(lock);
                }
                Ok(false)
            }
            // A spool directory that lets us make no file: the other locks must do.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(true),
            Err(error) => Err(Error::io(self.dir.path().join(lock).display(), error)),
        }
    }

    /// Whether the program that made a lock file is gone: it names a process that is no more, or nobody touched it for long.
    fn is_stale(&self, lock: &OsStr) -> bool {
        let Some(text) = lock.to_str().and_then(|lock| self.dir.small_text(lock, 64)) else { return false };
        match text.trim().parse::<i32>().ok().filter(|id| *id > 0) {
            Some(id) => is_gone(id),
            None => self.dir.file(lock).ok().flatten().is_some_and(|(_, stat)| {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
                files::date(&stat).seconds < i64::try_from(now).unwrap_or(0) - 300
            }),
        }
    }
}

impl Drop for Locks<'_> {
    fn drop(&mut self) {
        if let Some(lock) = &self.dotlock {
            self.dir.remove(lock);
        }
    }
}

/// Both kinds of kernel locks; they go when the file is closed. A file system without them has the lock file.
fn lock_file(file: &File) -> bool {
    let busy = |result: std::result::Result<(), rustix::io::Errno>| {
        matches!(result, Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS | rustix::io::Errno::INTR))
    };
    !busy(flock(file, FlockOperation::NonBlockingLockExclusive)) && !busy(fcntl_lock(file, FlockOperation::NonBlockingLockExclusive))
}

/// Bytes that will be added to an mbox file in one go.
pub(in crate::store) struct Batch {
    /// Its file; `None` once that must stay.
    name: Option<OsString>,
    file: File,
    pub(in crate::store) bytes: u64,
}

impl Batch {
    /// An empty one, beside the mbox file.
    pub(in crate::store) fn new(dir: &Dir, mbox: &OsStr) -> Result<Self> {
        let name = OsString::from(format!("{STAGED}{}-{}", std::process::id(), files::nonce()));
        let mut file = dir.create_both(&name)?;
        let path = dir.path().join(mbox);
        file.write_all(&[b' '; HEAD_BYTES]).map_err(|error| Error::io(path.display(), error))?;
        Ok(Self { name: Some(name), file, bytes: 0 })
    }

    pub(in crate::store) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| Error::io("the file of what is to be added to an mbox", error))
    }

    /// Removes it.
    pub(in crate::store) fn discard(self, dir: &Dir) {
        if let Some(name) = &self.name {
            dir.remove(name);
        }
    }

    /// Adds it to the mbox file `name`, durably, or not at all; tells where it begins there.
    pub(in crate::store) fn commit(mut self, dir: &Dir, name: &OsStr, context: &Context) -> Result<u64> {
        let result = self.add(dir, name, context);
        self.discard(dir);
        result
    }

    fn add(&mut self, dir: &Dir, name: &OsStr, context: &Context) -> Result<u64> {
        let path = dir.path().join(name);
        let io = |error| Error::io(path.display(), error);
        let (mbox, _locks) = open_locked(dir, name, context)?;
        recover(dir, name, &mbox)?;
        let len = mbox.metadata().map_err(io)?.len();
        let mut tail = [0; 3];
        let count = Bytes::read_at(&mbox, &mut tail, len.saturating_sub(3)).map_err(io)?;
        let gap = format::gap(len, tail.get(..count).unwrap_or_default());
        let head = format!("{HEAD}{len} {}", gap.len());
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(format!("{head:<width$}\n", width = HEAD_BYTES - 1).as_bytes()))
            .map_err(io)?;
        context.step("mbox.note");
        self.file.sync_all().map_err(io)?;
        let note = note_name(name);
        let staged = self.name.clone().unwrap_or_default();
        if !dir.publish(&staged, dir, &note)? {
            return Err(Error::new(Kind::Locked, "another run adds to the file").at(path.display()));
        }
        self.name = Some(note);
        dir.sync()?;
        let added = self.copy(&mbox, len, gap, context, &path).and_then(|()| match stands(dir, name, &mbox)? {
            true => Ok(()),
            false => Err(Error::new(Kind::Busy, "another program put another file in its place").at(path.display())),
        });
        if let Err(error) = added {
            // Back to what it was; where even that fails the note stays, and with it the proof.
            if mbox.set_len(len).and_then(|()| mbox.sync_all()).is_err() {
                self.name = None;
            }
            return Err(error);
        }
        context.step("mbox.added");
        // All of it stands there: a note that comes back after a crash says just that.
        self.name = None;
        dir.remove(&note_name(name));
        let _ = dir.sync();
        Ok(len + gap.len() as u64)
    }

    fn copy(&self, mbox: &File, len: u64, gap: &[u8], context: &Context, path: &std::path::Path) -> Result<()> {
        let io = |error| Error::io(path.display(), error);
        context.step("mbox.append");
        mbox.write_all_at(gap, len).map_err(io)?;
        let mut at = len + gap.len() as u64;
        let mut from = HEAD_BYTES as u64;
        let mut buffer = vec![0; PIECE];
        loop {
            let count = Bytes::read_at(&self.file, &mut buffer, from).map_err(io)?;
            if count == 0 {
                break;
            }
            mbox.write_all_at(buffer.get(..count).unwrap_or_default(), at).map_err(io)?;
            context.step("mbox.appending");
            at += count as u64;
            from += count as u64;
        }
        context.step("mbox.sync");
        mbox.sync_all().map_err(io)
    }
}

/// Opens the mbox file to write to, making it where it is missing.
fn open_mbox(dir: &Dir, name: &OsStr) -> Result<File> {
    if let Some(file) = dir.file_to_change(name)? {
        return Ok(file);
    }
    if dir.create_new(name).map_err(|error| Error::io(dir.path().join(name).display(), error))?.is_some() {
        dir.sync()?;
    }
    dir.file_to_change(name)?
        .ok_or_else(|| Error::local(format!("{}: it vanished as soon as it was made", dir.path().join(name).display())))
}

/// Whether the file still is the one of that name.
fn stands(dir: &Dir, name: &OsStr, mbox: &File) -> Result<bool> {
    let own = rustix::fs::fstat(mbox).map_err(|error| Error::io(dir.path().join(name).display(), error.into()))?;
    Ok(dir.stat(name)?.is_some_and(|stat| files::identity(&stat) == files::identity(&own)))
}

/// The mbox file and its locks. While they are waited for a mail program may put another file in its place, and what is added to the
/// old one nobody would ever find.
fn open_locked<'d>(dir: &'d Dir, name: &OsStr, context: &Context) -> Result<(File, Locks<'d>)> {
    loop {
        let mbox = open_mbox(dir, name)?;
        let locks = Locks::take(dir, name, &mbox, context)?;
        if stands(dir, name, &mbox)? {
            return Ok((mbox, locks));
        }
    }
}

/// Cuts off what an append left that did not come to its end. The file must be locked.
fn recover(dir: &Dir, name: &OsStr, mbox: &File) -> Result<()> {
    let path = dir.path().join(name);
    let io = |error| Error::io(path.display(), error);
    let Some(note) = Note::open(dir, name)? else { return Ok(()) };
    match fate(&note, mbox, mbox.metadata().map_err(io)?.len())? {
        Fate::Whole => {}
        Fate::Torn(len) => mbox.set_len(len).map_err(io)?,
        Fate::Foreign => return Err(mixed_up(dir, name)),
    }
    mbox.sync_all().map_err(io)?;
    dir.remove(&note_name(name));
    dir.sync()
}

/// Removes what killed runs staged and never added.
fn sweep(dir: &Dir) -> Result<()> {
    for entry in dir.entries()? {
        let name = files::text(&entry.name);
        let owner = name.strip_prefix(STAGED).and_then(|rest| rest.split_once('-')).and_then(|(pid, _)| pid.parse().ok());
        if owner.is_some_and(is_gone) {
            dir.remove(&entry.name);
        }
    }
    Ok(())
}

/// Whether no process has this id.
pub(in crate::store) fn is_gone(id: i32) -> bool {
    rustix::process::Pid::from_raw(id).is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// Mends the file after an append that was cut off, where there is one, and makes it where it is missing.
///
/// # Errors
/// It is locked for long, cannot be written, or is no mbox.
pub(in crate::store) fn prepare(dir: &Dir, name: &OsStr, create: bool, context: &Context) -> Result<bool> {
    let mbox = match dir.file_to_change(name)? {
        Some(mbox) => mbox,
        None if create => open_mbox(dir, name)?,
        None => return Ok(false),
    };
    let mut head = [0; 512];
    let path: PathBuf = dir.path().join(name);
    let count = Bytes::read_at(&mbox, &mut head, 0).map_err(|error| Error::io(path.display(), error))?;
    let head = head.get(..count).unwrap_or_default();
    if !head.is_empty() && !super::is_mbox(head) {
        return Err(Error::usage("the file is no mbox, so nothing was added to it").at(path.display()));
    }
    sweep(dir)?;
    mend(dir, name, context)?;
    Ok(true)
}

/// Mends the file after an append that was cut off, where there is one: also after one of which all stands there, whose note would
/// say that it is under way until the next one.
///
/// # Errors
/// It is locked for long or cannot be written, or somebody changed it since.
pub(in crate::store) fn mend(dir: &Dir, name: &OsStr, context: &Context) -> Result<()> {
    if Note::open(dir, name)?.is_some() {
        let (mbox, _locks) = open_locked(dir, name, context)?;
        recover(dir, name, &mbox)?;
    }
    Ok(())
}
