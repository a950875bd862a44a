//! Whether one `syncfs` may stand for the single syncs of a batch: only where it is known to wait for the data and to report
//! what could not be written.

use rustix::fs::{FsWord, Stat, fstatfs, major, minor, syncfs};

use crate::error::{Error, Result};
use crate::store::files::Dir;

const EXT: u64 = 0xEF53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683E;
/// Before Linux 5.8 `syncfs` hid write-back errors.
const KERNEL: (u32, u32) = (5, 8);

/// How files on the file system of a directory are made durable. Made before anything is written there: `syncfs` tells of the
/// errors since its descriptor was opened.
pub(super) struct Syncing {
    dir: Dir,
    /// The device on which `syncfs` may be used.
    device: Option<u64>,
}

impl Syncing {
    pub(super) fn new(dir: Dir) -> Result<Self> {
        let stat = dir.own_stat()?;
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kind = fstatfs(dir.descriptor()).map_or(0, |stat| magic(stat.f_type));
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let known = match kind {
            XFS | BTRFS => true,
            // ext2 and ext3 say the same number.
            EXT => is_ext4(&mounts(), &stat),
            _ => false,
        };
        let device = (cfg!(target_os = "linux") && known && new_enough(&release)).then(|| device(&stat));
        Ok(Self { dir, device })
    }

    /// Whether one sync of the file system is enough for what lies in `dir`.
    pub(super) fn covers(&self, dir: &Dir) -> Result<bool> {
        Ok(match self.device {
            Some(known) => device(&dir.own_stat()?) == known,
            None => false,
        })
    }

    /// Another handle of the same, for another thread: errors are told to whichever of them asks first.
    pub(super) fn apart(&self) -> Result<Self> {
        Ok(Self { dir: self.dir.again()?, device: self.device })
    }

    /// Syncs the whole file system.
    pub(super) fn all(&self) -> Result<()> {
        syncfs(self.dir.descriptor()).map_err(|error| Error::io(self.dir.path().display(), error.into()))
    }
}

#[allow(clippy::useless_conversion, reason = "its type differs between platforms")]
fn device(stat: &Stat) -> u64 {
    u64::try_from(stat.st_dev).unwrap_or(0)
}

#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions, reason = "its type differs between platforms")]
fn magic(kind: FsWord) -> u64 {
    u64::try_from(kind).unwrap_or(0)
}

fn is_ext4(mounts: &str, stat: &Stat) -> bool {
    let device = format!("{}:{}", major(stat.st_dev), minor(stat.st_dev));
    mounts.lines().any(|line| {
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
        line.split(' ').nth(2) == Some(&device) && kind == Some("ext4")
    })
}

/// Whether a release (`6.1.0-18-amd64`) is recent enough.
fn new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(first)), Some(Ok(second))) if (first, second) >= KERNEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_hides_write_errors_is_not_trusted() {
        for (release, good) in
            [("5.7.19", false), ("5.8.0", true), ("6.1.0-18-amd64", true), ("4.19", false), ("10.0", true), ("", false), ("x", false)]
        {
            assert_eq!(new_enough(release), good, "{release}");
        }
    }

    #[test]
    fn only_what_is_mounted_as_ext4_counts_as_ext4() {
        let dir = tempfile::tempdir().unwrap();
        let stat = Dir::open(dir.path()).unwrap().unwrap().own_stat().unwrap();
        let device = format!("{}:{}", major(stat.st_dev), minor(stat.st_dev));
        let line = |device: &str, kind: &str| format!("36 35 {device} / /mnt rw,noatime master:1 - {kind} /dev/root rw\n");
        assert!(is_ext4(&(line("0:1", "proc") + &line(&device, "ext4")), &stat));
        assert!(!is_ext4(&line(&device, "ext2"), &stat));
        assert!(!is_ext4(&line("999:999", "ext4"), &stat));
        assert!(!is_ext4("", &stat));
    }
}
