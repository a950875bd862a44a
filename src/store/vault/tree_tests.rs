use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::*;
use crate::error::Kind;
use crate::message::Digest;
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
    assert_eq!(store.files(), std::slice::from_ref(&path));
    let found = fs::metadata(store.root().join(&path)).unwrap();
    assert_eq!((found.mtime(), found.permissions().mode() & 0o777), (1_700_000_000, 0o600));
    assert_eq!(vault.check("work", &Folder::inbox(), &laid.stem).unwrap(), Some((11, laid.digest, path)));
    let back = vault.read("work", &Folder::inbox(), &laid.stem, true).unwrap().unwrap();
    assert_eq!(back.body.prefix(100).unwrap(), wire);
    assert_eq!(back.digests, Body::from(wire.to_vec()).digests().unwrap());
    assert_eq!(back.flags.iter().map(Flag::wire).collect::<Vec<_>>(), ["\\Flagged", "\\Seen", "$Work"]);
}

#[test]
fn only_what_loses_nothing_gets_lf() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    let bodies: [&[u8]; 8] = [b"a\r\nb\r\n", b"a\nb\n", b"a\r\nb\n", b"a\rb\r\n", b"a\r\r\n", b"no line end", b"", b"a\r\nb\r"];
    for (uid, body) in (1..).zip(bodies) {
        let laid = one(&mut *vault, "INBOX", uid, &message(body, &[]));
        assert_eq!(laid.line_feeds, uid == 1, "{body:?}");
        let path = vault.path("work", &Folder::inbox(), &laid.stem).unwrap().unwrap();
        let file = fs::read(store.root().join(path)).unwrap();
        assert_eq!((laid.octets, laid.digest), (file.len() as u64, Digest::of(&file)));
        assert_eq!(file, if uid == 1 { b"a\nb\n".to_vec() } else { body.to_vec() });
        let back = vault.read("work", &Folder::inbox(), &laid.stem, laid.line_feeds).unwrap().unwrap();
        assert_eq!(back.body.prefix(100).unwrap(), body);
    }
}

#[test]
fn a_run_that_died_is_recognised_also_under_other_flags() {
    let store = Store::new(Layout::Maildir);
    for flags in [&[][..], &["\\Seen"], &["\\Seen", "\\Flagged", "\\Answered", "$Work"], &["\\Seen"]] {
        // No `complete`: this run dies.
        let laid = one(&mut *store.open(), "A/b", 5, &message(b"x\r\n", flags));
        assert_eq!(store.files().len(), 1, "{flags:?}: {:?}", store.files());
        let letters = match flags.len() {
            0 => "",
            1 => "S",
            _ => "FRSa",
        };
        assert_eq!(store.files(), [format!("work/.A.b/cur/{}:2,{letters}", laid.stem)]);
    }
}

#[test]
fn after_a_complete_visit_no_word_stays_behind() {
    let store = Store::new(Layout::Maildir);
    let word = store.root().join("work/.A/tmp").join(UNRECORDED);
    let mut vault = store.open();
    one(&mut *vault, "A", 1, &message(b"x", &[]));
    assert!(word.exists());
    drop(vault);
    let mut vault = store.open();
    one(&mut *vault, "A", 2, &message(b"y", &[]));
    vault.complete("work", &folder("A")).unwrap();
    assert!(!word.exists());
    // And a folder is only doubted until then.
    one(&mut *vault, "A", 3, &message(b"z", &[]));
    assert!(word.exists());
    vault.complete("work", &folder("A")).unwrap();
    assert!(!word.exists());
    assert_eq!(fs::read_dir(store.root().join("work/.A/tmp")).unwrap().count(), 0);
}

#[test]
fn what_a_run_left_word_of_moves_with_its_folder() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    one(&mut *vault, "A", 1, &message(b"x", &[]));
    assert!(vault.rename_folder("work", &folder("A"), &folder("B")).unwrap());
    drop(vault);
    let mut vault = store.open();
    assert!(vault.rename_folder("work", &folder("B"), &folder("C")).unwrap());
    one(&mut *vault, "C", 1, &message(b"x", &["\\Seen", "\\Flagged", "\\Answered"]));
    assert_eq!(store.files().len(), 1);
    vault.complete("work", &folder("C")).unwrap();
    assert_eq!(fs::read_dir(store.root().join("work/.C/tmp")).unwrap().count(), 0);
}

#[test]
fn rows_that_were_lost_bring_no_second_file() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    one(&mut *vault, "INBOX", 1, &message(b"x", &["\\Seen", "\\Flagged", "\\Answered"]));
    vault.complete("work", &Folder::inbox()).unwrap();
    drop(vault);
    let mut vault = store.open();
    vault.distrust("work");
    one(&mut *vault, "INBOX", 1, &message(b"x", &[]));
    assert_eq!(store.files().len(), 1);
    assert!(store.files()[0].ends_with(":2,"));
}

#[test]
fn a_name_taken_by_other_octets_is_left_and_the_message_gets_a_further_one() {
    let store = Store::new(Layout::Maildir);
    let first = one(&mut *store.open(), "INBOX", 1, &message(b"x\r\n", &[]));
    let path = store.root().join("work/cur").join(format!("{}:2,", first.stem));
    fs::write(&path, "!\n").unwrap();
    let second = one(&mut *store.open(), "INBOX", 1, &message(b"x\r\n", &[]));
    assert_eq!(second.stem, first.stem.replace(",S=", "-2,S="));
    assert_eq!(fs::read(&path).unwrap(), b"!\n");
    // And that one is recognised in its turn.
    assert_eq!(one(&mut *store.open(), "INBOX", 1, &message(b"x\r\n", &["\\Seen"])).stem, second.stem);
    assert_eq!(store.files().len(), 2);
}

#[test]
fn a_link_under_the_wanted_name_or_in_place_of_a_directory_is_never_followed() {
    let store = Store::new(Layout::Maildir);
    let outside = tempfile::tempdir().unwrap();
    let first = one(&mut *store.open(), "INBOX", 1, &message(b"x", &[]));
    let path = store.root().join("work/cur").join(format!("{}:2,", first.stem));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(outside.path().join("planted"), &path).unwrap();
    one(&mut *store.open(), "INBOX", 1, &message(b"x", &[]));
    std::os::unix::fs::symlink(outside.path(), store.root().join("work/.Evil")).unwrap();
    let mut vault = store.open();
    assert!(vault.make_folder("work", &folder("Evil")).is_err());
    assert!(vault.lay("work", &folder("Evil"), 1, NameKey::Key("k"), &message(b"x", &[])).is_err());
    for half in ["cur", "tmp"] {
        let dir = store.root().join(format!("work/.Half-{half}"));
        fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.join(half)).unwrap();
        let laid = vault.lay("work", &folder(&format!("Half-{half}")), 1, NameKey::Key("k"), &message(b"x", &[]));
        assert!(laid.is_err(), "{half}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_batch_over_many_folders_is_told_whole() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    for uid in 1..=300 {
        lay(&mut *vault, &format!("f{}", uid % 40), uid, &message(format!("{uid}\r\n").as_bytes(), &[]));
    }
    assert_eq!(vault.waiting().0, 300);
    let mut tickets: Vec<u64> = vault.settle().unwrap().iter().map(|laid| laid.ticket).collect();
    tickets.sort_unstable();
    assert_eq!(tickets, (1..=300).collect::<Vec<_>>());
    assert_eq!((vault.waiting(), store.files().len()), ((0, 0), 300));
}

#[test]
fn what_was_not_settled_leaves_nothing_and_a_dead_runs_files_are_swept() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    lay(&mut *vault, "A", 1, &message(b"x", &[]));
    drop(vault);
    assert!(store.files().is_empty());
    let temporary = store.root().join("work/.A/tmp");
    fs::write(temporary.join("mailhaul-123-0.7"), "half").unwrap();
    fs::write(temporary.join("1700.M1P1.host"), "another program's").unwrap();
    fs::write(store.root().join(".mailhaul-manifest-1"), "half").unwrap();
    drop(store.open());
    assert_eq!(store.files(), ["work/.A/tmp/1700.M1P1.host"]);
    assert!(!store.root().join(".mailhaul-manifest-1").exists());
}

#[test]
fn flags_follow_whatever_a_mail_program_did_to_the_name() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    let stems: Vec<String> =
        (1..=4).map(|uid| one(&mut *vault, "INBOX", uid, &message(format!("{uid}").as_bytes(), &["$Work"])).stem).collect();
    let cur = store.root().join("work/cur");
    fs::rename(cur.join(format!("{}:2,a", stems[0])), cur.join(format!("{}:2,DPRz", stems[0]))).unwrap();
    fs::rename(cur.join(format!("{}:2,a", stems[1])), store.root().join("work/new").join(&stems[1])).unwrap();
    fs::remove_file(cur.join(format!("{}:2,a", stems[3]))).unwrap();
    let flags = |flags: &[&str]| flags.iter().map(|flag| Flag::new(*flag)).collect::<Vec<_>>();
    let wanted: Vec<(String, Vec<Flag>)> =
        stems.iter().cloned().zip([flags(&["\\Seen"]), flags(&["\\Deleted", "$New"]), flags(&["$Work"]), flags(&[])]).collect();
    assert_eq!(vault.reflag("work", &Folder::inbox(), &wanted).unwrap(), [stems[3].clone()]);
    // A letter that nobody explained stays.
    let mut expected =
        vec![format!("work/cur/{}:2,Sz", stems[0]), format!("work/cur/{}:2,Tb", stems[1]), format!("work/cur/{}:2,a", stems[2])];
    expected.sort();
    assert_eq!(store.files(), expected);
    assert_eq!(vault.check("work", &Folder::inbox(), &stems[0]).unwrap().unwrap().2, format!("work/cur/{}:2,Sz", stems[0]));
    assert!(vault.read("work", &Folder::inbox(), &stems[3], false).unwrap().is_none());
}

#[test]
fn files_are_removed_wherever_they_are_and_what_is_not_there_is_no_error() {
    for layout in [Layout::Maildir, Layout::Eml] {
        let store = Store::new(layout);
        let mut vault = store.open();
        let stems: Vec<String> =
            (1..=3).map(|uid| one(&mut *vault, "A", uid, &message(format!("{uid}").as_bytes(), &["\\Seen", "\\Flagged"])).stem).collect();
        vault.remove("work", &folder("A"), &[stems[0].clone(), "1.V1U1.0123456789abcdef".to_owned(), stems[2].clone()]).unwrap();
        assert_eq!(store.files().len(), 1);
        assert!(store.files()[0].contains(&stems[1]));
        vault.remove("work", &folder("none"), &stems).unwrap();
    }
}

#[test]
fn a_scan_tells_of_everything_in_order_with_what_names_say() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    let laid = one(&mut *vault, "A", 42, &message(b"x\r\n", &["\\Seen"]));
    vault.lay("work", &folder("A"), 2, NameKey::Key("uidl:1"), &message(b"y", &[])).unwrap();
    let pop3 = vault.settle().unwrap().remove(0);
    fs::write(store.root().join("work/.A/new/1.foreign"), "abc").unwrap();
    fs::write(store.root().join("work/.A/cur/.hidden"), "abc").unwrap();
    let mut found = Vec::new();
    vault
        .scan("work", &folder("A"), &mut |lying| {
            found.push(lying);
            Ok(())
        })
        .unwrap();
    let mut sorted = found.iter().map(|lying| lying.stem.clone()).collect::<Vec<_>>();
    sorted.sort();
    assert_eq!(found.iter().map(|lying| lying.stem.clone()).collect::<Vec<_>>(), sorted);
    assert_eq!(found.len(), 3);
    let by = |stem: &str| found.iter().find(|lying| lying.stem == stem).unwrap();
    let mine = by(&laid.stem);
    assert_eq!((mine.uid, mine.octets, mine.modified.seconds), (Some((7, 42)), 2, 1_700_000_000));
    assert_eq!((mine.path.clone(), mine.flags.len()), (format!("work/.A/cur/{}:2,S", laid.stem), 1));
    assert!(by(&pop3.stem).key.as_ref().is_some_and(|key| Digest::of(b"uidl:1").to_string().starts_with(key)));
    let foreign = by("1.foreign");
    assert_eq!((foreign.uid, &foreign.key, foreign.octets, foreign.path.as_str()), (None, &None, 3, "work/.A/new/1.foreign"));
}

#[test]
fn folders_and_accounts_are_found_again_under_their_names_however_hostile() {
    let long = "x".repeat(300);
    let levels: [&[&str]; 17] = [
        &["INBOX"],
        &["A"],
        &["A", "b"],
        &["A.b"],
        &["../x"],
        &["a", "..", "..", "b"],
        &[".."],
        &["."],
        &["/abs"],
        &["a\0b"],
        &["&AC8-"],
        &["new"],
        &["INBOX", "cur"],
        &["a\nb"],
        &["\u{202e}x", "é"],
        &["ü.x", "&APw-", "a&b"],
        &[&long],
    ];
    for layout in [Layout::Maildir, Layout::Eml, Layout::Mbox] {
        let store = Store::new(layout);
        let mut vault = store.open();
        let mut wanted: Vec<Folder> = levels.iter().filter_map(|levels| Folder::from_levels(levels.iter().copied())).collect();
        if layout == Layout::Mbox {
            wanted.pop();
        }
        for account in ["../../evil", ".mailhaul"] {
            for (uid, to) in (1..).zip(&wanted) {
                let text = format!("{account} {to}");
                vault.lay(account, to, 1, NameKey::Uid { uid_validity: 1, uid }, &message(text.as_bytes(), &[])).unwrap();
                let laid = vault.settle().unwrap().remove(0);
                let back = vault.read(account, to, &laid.stem, laid.line_feeds).unwrap().unwrap();
                assert_eq!(back.body.prefix(1000).unwrap(), text.as_bytes());
            }
        }
        // Nothing lies outside, and another session finds the same.
        assert_eq!(fs::read_dir(store.dir.path()).unwrap().count(), 1);
        let mut vault = store.open();
        let mut accounts = vault.accounts().unwrap();
        accounts.sort();
        assert_eq!(accounts, ["../../evil", ".mailhaul"], "{layout:?}");
        for account in accounts {
            let mut found = vault.folders(&account).unwrap();
            found.sort();
            wanted.sort();
            assert_eq!(found, wanted, "{layout:?}");
            for to in &wanted {
                let mut count = 0;
                vault
                    .scan(&account, to, &mut |_| {
                        count += 1;
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(count, 1, "{layout:?} {to}");
            }
        }
    }
}

#[test]
fn a_folder_is_renamed_and_again_is_no_error() {
    let long = format!("B/{}", "y".repeat(300));
    for layout in [Layout::Maildir, Layout::Eml, Layout::Mbox] {
        for (from, to) in [("A", "B/c"), ("A", long.as_str()), (long.as_str(), "A")] {
            if layout == Layout::Mbox && from.len().max(to.len()) > 100 {
                continue;
            }
            let store = Store::new(layout);
            let mut vault = store.open();
            let laid = one(&mut *vault, from, 1, &message(b"x", &["\\Seen"]));
            let below = one(&mut *vault, &format!("{from}/below"), 2, &message(b"y", &[]));
            let (from, to) = (folder(from), folder(to));
            for _ in 0..2 {
                assert!(vault.rename_folder("work", &from, &to).unwrap(), "{layout:?}");
                assert!(vault.read("work", &to, &laid.stem, false).unwrap().is_some(), "{layout:?}");
                assert!(vault.read("work", &from, &laid.stem, false).unwrap().is_none());
                let below_folder = folder(&format!("{from}/below"));
                assert!(vault.read("work", &below_folder, &below.stem, false).unwrap().is_some(), "{layout:?}");
                assert!(vault.folders("work").unwrap().contains(&to), "{layout:?} {:?}", vault.folders("work"));
                vault = store.open();
            }
            one(&mut *vault, &from.to_string(), 3, &message(b"z", &[]));
            assert!(!vault.rename_folder("work", &from, &to).unwrap(), "{layout:?}");
            // What was never made is made under its new name.
            assert!(vault.rename_folder("work", &folder("never"), &folder("ever")).unwrap());
        }
    }
}

#[test]
fn everything_is_private_and_durable_names_are_complete() {
    for layout in [Layout::Maildir, Layout::Eml, Layout::Mbox] {
        let store = Store::new(layout);
        let mut vault = store.open();
        one(&mut *vault, "A/b", 1, &message(b"x", &["$Work"]));
        let mut manifest = super::super::Manifest::begin(&store.root(), "work").unwrap();
        manifest.add(Digest::of(b"x"), "x").unwrap();
        manifest.finish(&Context::from_environment()).unwrap();
        let mut all = vec![store.root()];
        while let Some(path) = all.pop() {
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!(found.permissions().mode() & 0o077, 0, "{}", path.display());
            if found.is_dir() {
                all.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
}

#[test]
fn a_message_larger_than_memory_goes_through_in_pieces() {
    let line = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    let mut body = Body::new();
    for _ in 0..160_000 {
        body.push(line).unwrap();
    }
    assert!(body.in_memory().is_none());
    let digests = body.digests().unwrap();
    let large = Message { body, digests, internal_date: None, flags: vec![] };
    for layout in [Layout::Maildir, Layout::Eml, Layout::Mbox] {
        let store = Store::new(layout);
        let mut vault = store.open();
        let laid = one(&mut *vault, "INBOX", 1, &large);
        assert!(laid.line_feeds);
        let back = vault.read("work", &Folder::inbox(), &laid.stem, true).unwrap().unwrap();
        assert!(back.body.in_memory().is_none());
        assert_eq!(back.digests, large.digests);
        assert_eq!(
            vault.check("work", &Folder::inbox(), &laid.stem).unwrap().map(|(octets, digest, _)| (octets, digest)),
            Some((laid.octets, laid.digest))
        );
    }
}

#[test]
fn a_date_that_no_file_can_have_is_told() {
    let store = Store::new(Layout::Maildir);
    let mut odd = message(b"x", &[]);
    odd.internal_date = Some(InternalDate { seconds: i64::MAX / 2, offset: 0 });
    let laid = one(&mut *store.open(), "INBOX", 1, &odd);
    assert_eq!(laid.altered.len(), 1);
    odd.internal_date = Some(InternalDate { seconds: -1_000_000, offset: 0 });
    let laid = one(&mut *store.open(), "INBOX", 2, &odd);
    assert!(laid.altered.is_empty());
    assert!(store.files().iter().any(|path| path.contains("/-1000000.V7U2.")));
}

#[test]
fn an_mbox_knows_what_a_run_that_died_appended() {
    let store = Store::new(Layout::Mbox);
    let first = one(&mut *store.open(), "A", 1, &message(b"one\r\n", &[]));
    // Dead before it was recorded; the same mail again, with a twin under another UID.
    let mut vault = store.open();
    assert_eq!(one(&mut *vault, "A", 1, &message(b"one\r\n", &[])), first);
    let twin = one(&mut *vault, "A", 2, &message(b"one\r\n", &[]));
    assert_ne!(twin.stem, first.stem);
    vault.complete("work", &folder("A")).unwrap();
    assert_eq!(store.files(), ["work/A.mbox"]);
    let file = fs::read(store.root().join("work/A.mbox")).unwrap();
    assert_eq!(file.len() as u64, first.octets + twin.octets);
    assert_eq!(vault.whole("work", &folder("A")).unwrap(), Some((Digest::of(&file), "work/A.mbox".to_owned())));
    assert_eq!(vault.check("work", &folder("A"), &twin.stem).unwrap(), Some((twin.octets, twin.digest, "work/A.mbox".to_owned())));
    let mut found = Vec::new();
    vault
        .scan("work", &folder("A"), &mut |lying| {
            found.push((lying.stem, lying.uid));
            Ok(())
        })
        .unwrap();
    assert_eq!(found, [(first.stem.clone(), Some((7, 1))), (twin.stem.clone(), Some((7, 2)))]);
    assert_eq!(vault.remove("work", &folder("A"), std::slice::from_ref(&twin.stem)).unwrap_err().kind(), Kind::Usage);
    // A journal that lost its rows.
    drop(vault);
    let mut vault = store.open();
    vault.distrust("work");
    assert_eq!(one(&mut *vault, "A", 2, &message(b"one\r\n", &[])), twin);
    assert_eq!(fs::metadata(store.root().join("work/A.mbox")).unwrap().len(), file.len() as u64);
}

#[test]
fn a_stretch_of_an_mbox_that_is_no_message_any_more_is_named() {
    let store = Store::new(Layout::Mbox);
    let mut vault = store.open();
    let laid = one(&mut *vault, "A", 1, &message(b"one\r\n", &[]));
    let path = store.root().join("work/A.mbox");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, vec![b'x'; whole.len()]).unwrap();
    assert_eq!(vault.read("work", &folder("A"), &laid.stem, true).err().unwrap().scope(), Scope::Message);
    fs::write(&path, &whole[..whole.len() - 2]).unwrap();
    assert!(vault.read("work", &folder("A"), &laid.stem, true).unwrap().is_none());
    assert_ne!(vault.check("work", &folder("A"), &laid.stem).unwrap().unwrap().1, laid.digest);
    for stem in ["", "x+1", "18446744073709551615+2", "1+"] {
        assert!(vault.check("work", &folder("A"), stem).unwrap().is_none());
    }
}

#[test]
fn what_is_begun_ends_without_what_was_laid_since() {
    let store = Store::new(Layout::Maildir);
    let mut vault = store.open();
    assert!(!vault.begin().unwrap(), "there is nothing to begin with");
    let body = |uid: u32| message(format!("A: {uid}\r\n\r\n").as_bytes(), &[]);
    (1..=20).for_each(|uid| lay(&mut *vault, "INBOX", uid, &body(uid)));
    let begun = vault.begin().unwrap();
    (21..=40).for_each(|uid| lay(&mut *vault, "INBOX", uid, &body(uid)));
    let tickets = |laid: Vec<Laid>| laid.into_iter().map(|laid| laid.ticket).collect::<Vec<_>>();
    if begun {
        assert_eq!(vault.waiting().0, 20);
        assert_eq!(tickets(vault.settle().unwrap()), (1..=20).collect::<Vec<_>>());
        assert_eq!(store.files().iter().filter(|name| name.starts_with("work/cur/")).count(), 20);
        assert_eq!(tickets(vault.settle().unwrap()), (21..=40).collect::<Vec<_>>());
    } else {
        assert_eq!(tickets(vault.settle().unwrap()), (1..=40).collect::<Vec<_>>());
    }
    (41..=60).for_each(|uid| lay(&mut *vault, "INBOX", uid, &body(uid)));
    vault.begin().unwrap();
    lay(&mut *vault, "INBOX", 61, &body(61));
    drop(vault);
    let files = store.files();
    assert_eq!((files.len(), files.iter().any(|name| name.contains("/tmp/"))), (40, false), "what did not end leaves nothing behind");
}
