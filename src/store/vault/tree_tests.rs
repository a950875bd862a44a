use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::*;
use crate::message::InternalDate;
use crate::store::vault::{self, establish};

struct Store {
    dir: tempfile::TempDir,
    card: StoreCard,
}

impl Store {
    fn new(layout: Layout) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let card = establish(&dir.path().join("s"), layout, false, &Context::from_environment()).unwrap();
        Self { dir, card }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn open(&self) -> Box<dyn Vault> {
        let mut vault = vault::open(&self.root(), &self.card, &Context::from_environment()).unwrap();
        vault.sweep("work").unwrap();
        vault
    }

    /// All regular files below an account's directory, without notes of ours.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.root().join("work"), &mut found);
        let mut names: Vec<String> =
            found.iter().map(|path| path.strip_prefix(self.root()).unwrap().to_str().unwrap().to_owned()).collect();
        names.retain(|name| !name.ends_with("dovecot-keywords") && !name.ends_with(UNRECORDED));
        names.sort();
        names
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() { walk(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

fn message(bytes: &[u8], flags: &[&str]) -> Message {
    let body = Body::from(bytes.to_vec());
    let digests = body.digests().unwrap();
    let flags = flags.iter().map(|flag| Flag::new(*flag)).collect();
    Message { body, digests, internal_date: Some(InternalDate { seconds: 1_700_000_000, offset: 0 }), flags }
}

fn folder(typed: &str) -> Folder {
    Folder::parse(typed).unwrap()
}

fn lay(vault: &mut dyn Vault, to: &str, uid: u32, message: &Message) {
    vault.lay("work", &folder(to), u64::from(uid), NameKey::Uid { uid_validity: 7, uid }, message).unwrap();
}

fn one(vault: &mut dyn Vault, to: &str, uid: u32, message: &Message) -> Laid {
    lay(vault, to, uid, message);
    let mut laid = vault.settle().unwrap();
    assert_eq!(laid.len(), 1);
    laid.remove(0)
}

#[test]
fn a_message_is_laid_with_lf_and_comes_back_as_it_was() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    let wire = b"A: b\r\n\r\nbody\r\n";
    let laid = one(&mut *vault, "INBOX", 1, &message(wire, &["\\Seen", "\\Flagged", "$Work"]));
    assert!(laid.line_feeds && laid.altered.is_empty());
    assert_eq!((laid.octets, laid.digest), (11, Digest::of(b"A: b\n\nbody\n")));
    assert!(laid.stem.starts_with("1700000000.V7U1.") && laid.stem.ends_with(",S=11"), "{}", laid.stem);
    let path = format!("work/cur/{}:2,FSa", laid.stem);
    assert_eq!(store.files(), [path.clone()]);
    let found = fs::metadata(store.root().join(&path)).unwrap();
    assert_eq!((found.mtime(), found.permissions().mode() & 0o777), (1_700_000_000, 0o600));
    assert_eq!(vault.check("work", &Folder::inbox(), &laid.stem).unwrap(), Some((11, laid.digest, path)));
    let back = vault.read("work", &Folder::inbox(), &laid.stem, true).unwrap().unwrap();
    assert_eq!(back.body.prefix(100).unwrap(), wire);
    assert_eq!(back.digests, Body::from(wire.to_vec()).digests().unwrap());
    assert_eq!(back.flags.iter().map(Flag::wire).collect::<Vec<_>>(), ["\\Flagged", "\\Seen", "$Work"]);
}
