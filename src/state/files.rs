//! The files around the database: the directory, the lock, the counter and the progress file. All private to their
//! owner whatever the umask says, none reached through a symbolic link.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::message::Digest;

pub(super) const DATABASE: &str = "journal.db";
const LOCK: &str = "lock";
pub(super) const MOVES: &str = "moves";
const COUNTER: &str = "runs";
const PROGRESS: &str = "progress.json";
/// A list of paths is read up to here.
const LIST_BYTES: u64 = 64 * 1024 * 1024;
/// What belongs to a database, in the order in which it is put aside: a log must never lie beside a database it is not of.
const PARTS: [&str; 5] = ["journal.db-wal", "journal.db-shm", "journal.db-journal", DATABASE, COUNTER];

/// The lock is asked for this often, because a dry run holds it for the moment it takes to copy the database.
const LOCK_TRIES: u32 = 4;
/// The same where only readers have it: the copy of a database of gigabytes takes a while.
const READER_TRIES: u32 = 1200;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Where this program keeps what it remembers.
pub(super) fn state_home() -> Result<PathBuf> {
    home_below(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

/// Where the journal of `destination` lies: below `$XDG_STATE_HOME` or `~/.local/state`.
///
/// # Errors
/// [`Kind::Usage`] when neither variable names an absolute path.
pub fn default_dir(destination: &str) -> Result<PathBuf> {
    dir_below(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"), destination)
}

pub(super) fn dir_below(state_home: Option<OsString>, home: Option<OsString>, destination: &str) -> Result<PathBuf> {
    Ok(home_below(state_home, home)?.join(id(destination)))
}

fn home_below(state_home: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(state_home).or_else(|| absolute(home).map(|home| home.join(".local/state"))).ok_or_else(|| {
        Error::usage("no place for the journal: neither XDG_STATE_HOME nor HOME is an absolute path")
            .hint("name a directory with --state DIR")
    })?;
    Ok(base.join("mailhaul"))
}

/// A readable beginning for people, and enough of a digest that no two destinations meet.
fn id(destination: &str) -> String {
    let mut name = String::new();
    for character in destination.chars() {
        if name.len() >= 40 {
            break;
        }
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '_') && !name.is_empty() {
            name.push(character.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let digest = Digest::of(destination.as_bytes()).to_string();
    let digest = digest.get(..16).unwrap_or(&digest);
    match name.trim_end_matches('-') {
        "" => digest.to_owned(),
        name => format!("{name}-{digest}"),
    }
}

/// The process that holds the lock of `dir` now, for whoever watches: `None` when nobody does, `Some(None)` when it left
/// no number.
pub fn holder(dir: &Path) -> Option<Option<u32>> {
    let mut file = open_private(&dir.join(LOCK), OFlags::RDONLY).ok()?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(read_pid(&mut file)),
        _ => None,
    }
}

/// Makes `dir` (and what is missing above it), private; checks one that is there. The path comes back without symbolic
/// links, because SQLite is told to refuse them in all of the path.
pub(super) fn make_dir(dir: &Path, elsewhere: &str) -> Result<PathBuf> {
    let at = |error| Error::io(dir.display(), error);
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(at)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(at)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent)?;
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(at(error)),
    }
    existing_dir(dir, elsewhere)?.ok_or_else(|| Error::local(format!("{} vanished", dir.display())))
}

/// The real path of `dir`, or `None` where there is none.
pub(super) fn existing_dir(dir: &Path, elsewhere: &str) -> Result<Option<PathBuf>> {
    let at = |error| Error::io(dir.display(), error);
    let real = match std::fs::canonicalize(dir) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let found = std::fs::metadata(&real).map_err(at)?;
    if !found.is_dir() {
        return Err(Error::local(format!("{} is not a directory", dir.display())).hint(elsewhere));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::local(format!("{} belongs to another user", dir.display())).hint(elsewhere));
    }
    if found.mode() & 0o022 != 0 {
        return Err(Error::local(format!("{} may be written by other users", dir.display()))
            .hint(format!("close it with chmod go-w {}", real.display())));
    }
    Ok(Some(real))
}

/// Takes the lock for as long as the file lives, and leaves our number in it. `rival` is what another one that has it is called.
pub(super) fn lock(dir: &Path, rival: &str, context: &Context) -> Result<File> {
    let path = dir.join(LOCK);
    let at = |error| Error::io(path.display(), error);
    let mut file = open_private(&path, OFlags::RDWR | OFlags::CREATE).map_err(at)?;
    let mut tries = (LOCK_TRIES, READER_TRIES);
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(at)?;
                return Ok(file);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                // What lets others share it only reads, and is over soon.
                let reader = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok()
                    && rustix::fs::flock(&file, FlockOperation::Unlock).is_ok();
                let left = if reader { &mut tries.1 } else { &mut tries.0 };
                *left -= 1;
                if *left == 0 {
                    break;
                }
                context.check()?;
                context.pause(LOCK_PAUSE);
            }
            Err(error) => return Err(at(error.into())),
        }
    }
    let words = match read_pid(&mut file) {
        Some(pid) => format!("{rival} is going on (process {pid}); it holds {}", path.display()),
        None => format!("{rival} is going on, or a copy is being made: something holds {}", path.display()),
    };
    Err(Error::new(Kind::Locked, words).hint("wait for it to end"))
}

/// Keeps writers out while a dry run copies the database. `Ok(None)` when one is at work.
pub(super) fn hold_still(dir: &Path) -> Result<Option<Stillness>> {
    let path = dir.join(LOCK);
    let file = match open_private(&path, OFlags::RDONLY) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(Stillness { _lock: None })),
        Err(error) => return Err(Error::io(path.display(), error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(Stillness { _lock: Some(file) })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(Error::io(path.display(), error.into())),
    }
}

/// While it lives, no other process writes.
pub(super) struct Stillness {
    _lock: Option<File>,
}

/// The process that left its number, if there is one of that number: whoever holds a lock without leaving one (flock(1) while a copy
/// is made) is not to be taken for a run that ended long ago.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    let number: i32 = text.trim().parse().ok()?;
    let alive = rustix::process::test_kill_process(rustix::process::Pid::from_raw(number)?);
    if matches!(alive, Err(rustix::io::Errno::SRCH)) { None } else { u32::try_from(number).ok() }
}

/// The counter of the last transaction that opened a new stretch of the write-ahead log; 0 where there was none.
pub(super) fn read_counter(dir: &Path) -> Result<i64> {
    let path = dir.join(COUNTER);
    let mut text = String::new();
    match open_private(&path, OFlags::RDONLY).and_then(|file| file.take(64).read_to_string(&mut text)) {
        Ok(_) => text.trim().parse().ok().filter(|counter| *counter >= 0).ok_or_else(|| {
            Error::local(format!("the run counter {} holds no number", path.display()))
                .hint("the disk may be damaged; remove that one file only when you know that journal.db is the newest one")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(path.display(), error)),
    }
}

/// Replaces the counter durably.
pub(super) fn write_counter(dir: &Path, counter: i64, context: &Context) -> Result<()> {
    context.step("journal.before-counter");
    replace(dir, COUNTER, format!("{counter}\n").as_bytes(), true).map_err(|error| Error::io(dir.join(COUNTER).display(), error))?;
    context.step("journal.after-counter");
    Ok(())
}

/// Leaves word, durably, that there are moves to be finished.
pub(super) fn mark_moves(dir: &Path) -> Result<()> {
    let path = dir.join(MOVES);
    if path.try_exists().map_err(|error| Error::io(path.display(), error))? {
        return Ok(());
    }
    replace(dir, MOVES, b"", true).map_err(|error| Error::io(path.display(), error))
}

/// Takes it back. One that stays behind only costs a look into the journal.
pub(super) fn unmark_moves(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(MOVES));
}

/// Replaces the progress file; nothing depends on it.
pub(super) fn write_progress(dir: &Path, json: &serde_json::Value) {
    // A watcher without news is no reason to stop a run.
    let _ = replace(dir, PROGRESS, json.to_string().as_bytes(), false);
}

/// Removes the progress file: nothing is going on any more.
pub(super) fn remove_progress(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(PROGRESS));
}

/// Opens the progress file.
pub(super) fn open_progress(dir: &Path) -> std::io::Result<File> {
    open_private(&dir.join(PROGRESS), OFlags::RDONLY)
}

/// Whether anything has this name, a link that leads nowhere too.
fn is_there(path: &Path) -> std::io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// How names begin that none of the database's parts has yet.
fn free_names(dir: &Path) -> std::io::Result<String> {
    let mut stem = String::new();
    for number in 1..u32::MAX {
        stem = format!("aside-{number}-");
        let mut taken = false;
        for name in PARTS {
            taken |= is_there(&dir.join(format!("{stem}{name}")))?;
        }
        if !taken {
            break;
        }
    }
    Ok(stem)
}

/// Gives the database, its companions and the counter names that nobody looks for. The counter goes last: as long as it is
/// there, what a kill leaves is refused like the whole was.
pub(super) fn set_database_aside(dir: &Path, context: &Context) -> Result<Option<PathBuf>> {
    let at = |error| Error::io(dir.display(), error);
    let aside = free_names(dir).map_err(at)?;
    let mut database = None;
    for name in PARTS {
        if is_there(&dir.join(name)).map_err(at)? {
            let to = dir.join(format!("{aside}{name}"));
            context.step("journal.before-aside");
            std::fs::rename(dir.join(name), &to).map_err(at)?;
            sync_dir(dir)?;
            context.step("journal.after-aside");
            if name == DATABASE {
                database = Some(to);
            }
        }
    }
    Ok(database)
}

/// Puts a database that was made in `new` into the place of the one in `dir`, which is kept under names that nobody looks for.
/// At no moment is there neither a database nor a counter that says that there was one. Returns the old one's new name.
pub(super) fn exchange_database(dir: &Path, new: &Path, context: &Context) -> Result<Option<PathBuf>> {
    let at = |error| Error::io(dir.display(), error);
    let aside = free_names(dir).map_err(at)?;
    if !is_there(&dir.join(COUNTER)).map_err(at)? {
        replace(dir, COUNTER, b"1\n", true).map_err(at)?;
    }
    let mut old = None;
    for name in PARTS {
        let (from, to) = (dir.join(name), dir.join(format!("{aside}{name}")));
        if !is_there(&from).map_err(at)? {
            continue;
        }
        context.step("journal.before-aside");
        if name == COUNTER {
            keep_counter(&from, &to).map_err(at)?;
        } else {
            std::fs::rename(&from, &to).map_err(at)?;
        }
        if name == DATABASE {
            old = Some(to);
        }
        sync_dir(dir)?;
        context.step("journal.after-aside");
    }
    let counted = is_there(&new.join(COUNTER)).map_err(at)?;
    if counted {
        std::fs::rename(new.join(COUNTER), dir.join(COUNTER)).map_err(at)?;
        sync_dir(dir)?;
    }
    context.step("journal.before-exchange");
    std::fs::rename(new.join(DATABASE), dir.join(DATABASE)).map_err(at)?;
    sync_dir(dir)?;
    context.step("journal.after-exchange");
    if !counted {
        // Nothing was written to the new one yet, which the old one's counter would take for a loss.
        std::fs::remove_file(dir.join(COUNTER)).map_err(at)?;
        sync_dir(dir)?;
    }
    Ok(old)
}

/// A copy of the counter, as far as it is one: what stands in its place may be no file at all.
fn keep_counter(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut text = Vec::new();
    let read = open_private(from, OFlags::RDONLY).and_then(|file| match file.metadata()?.is_file() {
        true => file.take(64).read_to_end(&mut text),
        false => Ok(0),
    });
    // A symbolic link, say: it held no counter.
    if read.is_err() {
        text.clear();
    }
    let mut file = open_private(to, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    file.write_all(&text)?;
    file.sync_all()
}

/// Makes the database file private before SQLite opens it; its companions inherit the mode.
pub(super) fn make_database(dir: &Path) -> Result<()> {
    let path = dir.join(DATABASE);
    let new = !path.try_exists().map_err(|error| Error::io(path.display(), error))?;
    open_private(&path, OFlags::RDWR | OFlags::CREATE).map_err(|error| Error::io(path.display(), error))?;
    if new { sync_dir(dir) } else { Ok(()) }
}

/// Whether whoever wrote the database last ended in good order: neither a log nor a rollback journal waits to be worked in.
pub(super) fn closed_tidily(dir: &Path) -> bool {
    ["-wal", "-journal"].iter().all(|companion| match std::fs::symlink_metadata(dir.join(format!("{DATABASE}{companion}"))) {
        Ok(found) => found.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    })
}

/// Copies the database and its companions to the private directory `to`; `false` when there is no database, or only the
/// empty file of a run that died at once.
pub(super) fn copy_database(from: &Path, to: &Path) -> Result<bool> {
    for companion in ["", "-wal", "-journal"] {
        let name = format!("{DATABASE}{companion}");
        let path = from.join(&name);
        let at = |error| Error::io(path.display(), error);
        let mut file = match open_private(&path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && companion.is_empty() => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(error)),
        };
        let mut copy = open_private(&to.join(&name), OFlags::WRONLY | OFlags::CREATE).map_err(at)?;
        if std::io::copy(&mut file, &mut copy).map_err(at)? == 0 && companion.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A lock beside a list that several processes add to, for as long as the file lives. It is held for moments.
pub(super) fn list_lock(dir: &Path, name: &str) -> Result<File> {
    let path = dir.join(format!("{name}.lock"));
    let at = |error: std::io::Error| Error::io(path.display(), error);
    let file = open_private(&path, OFlags::RDWR | OFlags::CREATE).map_err(at)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|error| at(error.into()))?;
    Ok(file)
}

/// The octets of a list, of which a missing one has none.
pub(super) fn read_list(dir: &Path, name: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    let mut text = Vec::new();
    match open_private(&path, OFlags::RDONLY).and_then(|file| file.take(LIST_BYTES).read_to_end(&mut text)) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(text),
        Err(error) => Err(Error::io(path.display(), error)),
    }
}

/// Replaces a list durably.
pub(super) fn replace_list(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    replace(dir, name, bytes, true).map_err(|error| Error::io(dir.join(name).display(), error))
}

fn replace(dir: &Path, name: &str, bytes: &[u8], durable: bool) -> std::io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = open_private(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
    let written = file.write_all(bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
    let replaced = written.and_then(|()| std::fs::rename(&temporary, dir.join(name)));
    if replaced.is_err() {
        // A full disk has no room for what is of no use.
        let _ = std::fs::remove_file(&temporary);
    }
    replaced?;
    if durable {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::io(dir.display(), error))
}

/// Opens a file that only we may read, without following a symbolic link at its end.
fn open_private(path: &Path, flags: OFlags) -> std::io::Result<File> {
    let file = File::from(rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::RUSR | Mode::WUSR)?);
    if flags.contains(OFlags::CREATE) && file.metadata()?.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Whether shared memory and locks work as SQLite's write-ahead log needs them: not over a network, and not through a
/// file system in user space, which may well be one.
#[cfg(target_os = "linux")]
pub(super) fn on_local_disk(dir: &Path) -> bool {
    // Magic numbers of linux/magic.h and the out-of-tree file systems: nfs, cifs, smb2, smb, fuse, 9p, afs, coda, ncp, ceph,
    // gfs2, ocfs2, lustre, gpfs, vboxsf.
    const ELSEWHERE: [u64; 15] = [
        0x6969,
        0xff53_4d42,
        0xfe53_4d42,
        0x517b,
        0x6573_5546,
        0x0102_1997,
        0x5346_414f,
        0x7375_7245,
        0x564c,
        0x00c3_6400,
        0x0116_1970,
        0x7461_636f,
        0x0bd0_0bd0,
        0x4750_4653,
        0x786f_4256,
    ];
    match rustix::fs::statfs(dir) {
        // Only the low half carries the number; it is sign-extended on some machines.
        #[allow(clippy::cast_sign_loss)]
        Ok(found) => !ELSEWHERE.contains(&(found.f_type as u64 & 0xffff_ffff)),
        Err(_) => false,
    }
}

/// Elsewhere the rollback journal is always right.
#[cfg(not(target_os = "linux"))]
pub(super) fn on_local_disk(_dir: &Path) -> bool {
    false
}
