//! The manifest of an account against what lies there, compared without holding either in memory.

use std::io::{BufRead, BufReader};
use std::path::Path;

use super::files::{by_folder, short};
use crate::error::Result;
use crate::message::Digest;
use crate::state::archive::Account;
use crate::store::vault::{self, Layout};

/// A sum over lines that does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    lines: u64,
    sum: u128,
}

impl Sum {
    pub(super) fn add(&mut self, digest: Digest, path: &str) {
        self.lines += 1;
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(short(&format!("{digest}  {}", settled(path)))));
    }

    #[cfg(test)]
    fn of(lines: &[(Digest, &str)]) -> Self {
        let mut sum = Self::default();
        lines.iter().for_each(|(digest, path)| sum.add(*digest, path));
        sum
    }
}

/// A path without what mail programs change: flags, and whether the file is new.
fn settled(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    match (directory.rsplit_once('/'), name.split_once(":2,")) {
        (Some((above, "cur" | "new")), Some((stem, _))) => format!("{above}/{stem}"),
        (Some((above, "cur" | "new")), None) => format!("{above}/{name}"),
        _ => path.to_owned(),
    }
}

/// What is wrong with the manifest of an account; `None` when it lists just what lies there as recorded.
pub(super) fn differs(root: &Path, account: &Account, layout: Layout, there: &Sum) -> Result<Option<String>> {
    // A run that died before it could write one leaves word of that; those of mbox files are checked by `whole`.
    if account.manifest_stale || by_folder(layout) {
        return Ok(None);
    }
    let Some(file) = vault::manifest(root, &account.name)? else {
        return Ok((there.lines > 0).then(|| "the manifest is not there".to_owned()));
    };
    let mut listed = Sum::default();
    for line in BufReader::new(file).split(b'\n') {
        let Some((digest, path)) = line.ok().and_then(|line| String::from_utf8(line).ok()).and_then(|line| parse(&line)) else {
            return Ok(Some("the manifest holds lines that are none".to_owned()));
        };
        listed.add(digest, &path);
    }
    if listed == *there {
        return Ok(None);
    }
    let words = if listed.lines == there.lines {
        "the manifest has other digests or names than the journal".to_owned()
    } else {
        format!("the manifest lists {} files, and {} of the journal are there", listed.lines, there.lines)
    };
    Ok(Some(words))
}

fn parse(line: &str) -> Option<(Digest, String)> {
    let (escaped, line) = line.strip_prefix('\\').map_or((false, line), |line| (true, line));
    let (digest, path) = line.split_once("  ")?;
    let path =
        if escaped { path.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace('\0', "\\") } else { path.to_owned() };
    Some((Digest::from_hex(digest)?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_blind_to_order_and_to_what_mail_programs_change() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let sum = Sum::of(&[(a, "work/cur/1:2,S"), (b, "work/.A/cur/2:2,")]);
        assert_eq!(sum, Sum::of(&[(b, "work/.A/cur/2:2,FS"), (a, "work/new/1")]));
        for other in [
            Sum::of(&[(b, "work/cur/1:2,S"), (a, "work/.A/cur/2:2,")]),
            Sum::of(&[(a, "work/cur/1:2,S"), (b, "work/.B/cur/2:2,")]),
            Sum::of(&[(a, "work/cur/1:2,S")]),
            Sum::of(&[(a, "work/cur/1:2,S"), (a, "work/cur/1:2,S"), (b, "work/.A/cur/2:2,")]),
        ] {
            assert_ne!(sum, other);
        }
    }

    #[test]
    fn a_line_is_read_as_sha256sum_writes_it() {
        let digest = Digest::of(b"a");
        assert_eq!(parse(&format!("{digest}  work/a b")), Some((digest, "work/a b".to_owned())));
        assert_eq!(parse(&format!("\\{digest}  a\\nb\\\\n")), Some((digest, "a\nb\\n".to_owned())));
        for line in ["", "x", "0123  a", &format!("{digest} a")] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
