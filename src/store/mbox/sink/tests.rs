use std::fs;

use super::*;
use crate::message::Body;

fn info(folder: &str) -> FolderInfo {
    FolderInfo { folder: Folder::parse(folder).unwrap(), special_use: None, subscribed: true, selectable: true }
}

fn outgoing(ticket: u64, bytes: &[u8]) -> Outgoing {
    let body = Body::from(bytes.to_vec());
    let digests = body.digests().unwrap();
    Outgoing { ticket, message: Message { body, digests, internal_date: Some(InternalDate { seconds: 1, offset: 0 }), flags: vec![] } }
}

fn add(path: &Path, folder: &str, messages: &[&[u8]]) -> Result<()> {
    let mut sink = MboxSink::new(path, Context::from_environment());
    sink.open(&info(folder), true)?.unwrap();
    for (ticket, bytes) in (1..).zip(messages) {
        sink.append(outgoing(ticket, bytes))?;
    }
    let placements = sink.settle(Wait::All)?;
    assert_eq!(placements.len(), messages.len());
    assert!(placements.iter().all(|placement| matches!(placement.outcome, Outcome::Stored { .. })));
    Ok(())
}

fn bodies(path: &Path, folder: &str) -> Vec<Vec<u8>> {
    let mut source = MboxSource::new(path);
    let listing = source.list(&Folder::parse(folder).unwrap()).unwrap();
    let mut bodies = Vec::new();
    source
        .read(&listing.messages, &mut |_, message| {
            bodies.push(message?.body.prefix(usize::MAX)?);
            Ok(())
        })
        .unwrap();
    bodies
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn messages_are_added_behind_what_is_there_whatever_its_end() {
    let messages: [&[u8]; 4] = [b"", b"From x\r\n\r\nb", b"a\nb\n", b"c: d\r\n\r\n"];
    for end in ["", "\n", "\n\n", "\r\n\r\n"] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("box");
        fs::write(&path, format!("From a Thu Jan  1 00:00:00 1970\nSubject: x\n\nfirst{end}")).unwrap();
        add(&path, "INBOX", &messages).unwrap();
        add(&path, "INBOX", &messages[..1]).unwrap();
        let there = bodies(&path, "INBOX");
        assert!(there[0].starts_with(b"Subject: x"), "{end:?}");
        assert_eq!(there[1..5], messages.map(<[u8]>::to_vec), "{end:?}");
        assert_eq!(there.len(), 6);
        assert_eq!(names(root.path()), ["box"]);
    }
}

#[test]
fn a_directory_holds_folders_with_any_name() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("store/");
    fs::create_dir(&root).unwrap();
    for folder in ["INBOX", "a", "a/b", "..%2Fx", "a.mbox", "x/%2E%2E/y"] {
        add(&root, folder, &[folder.as_bytes()]).unwrap();
    }
    for folder in ["INBOX", "a", "a/b", "..%2Fx", "a.mbox"] {
        assert_eq!(bodies(&root, folder), [folder.as_bytes()], "{folder}");
    }
    assert_eq!(names(outer.path()), ["store"]);
    // What is there under another program's name is used.
    fs::write(root.join("Sent"), b"From a Thu Jan  1 00:00:00 1970\n\nx\n\n").unwrap();
    add(&root, "Sent", &[b"y\r\n"]).unwrap();
    assert_eq!(bodies(&root, "Sent").len(), 2);
    assert!(!root.join("Sent.mbox").exists());
    assert!(add(&root, &"x".repeat(300), &[b"y"]).is_err());
    assert!(add(&root.join("Sent"), "a", &[b"y"]).is_err());
}

#[test]
fn a_cut_off_append_is_not_read_and_is_mended_by_the_next() {
    let first: &[u8] = b"Subject: first\r\n\r\nx\r\n";
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = root.path().join("box");
    add(&path, "INBOX", &[first]).unwrap();
    let before = fs::read(&path).unwrap();
    add(&path, "INBOX", &[b"Subject: second\r\n\r\ny\r\n", b"third"]).unwrap();
    let whole = fs::read(&path).unwrap();
    let note = [format!("{:<63}\n", format!("mailhaul append {} 0", before.len())).as_bytes(), &whole[before.len()..]].concat();
    let case = |content: &[u8]| {
        let path = other.path().join("box");
        fs::write(&path, content).unwrap();
        fs::write(other.path().join(".box.mailhaul-append"), &note).unwrap();
        path
    };
    for cut in before.len()..whole.len() {
        let path = case(&whole[..cut]);
        assert_eq!(bodies(&path, "INBOX"), [first], "{cut}");
        add(&path, "INBOX", &[]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before, "{cut}");
        // After a crash of the system the file may be longer than what reached it.
        let path = case(&[&whole[..cut], vec![0; whole.len() - cut].as_slice()].concat());
        assert_eq!(bodies(&path, "INBOX"), [first], "{cut}");
    }
    let path = case(&whole);
    assert_eq!(bodies(&path, "INBOX").len(), 3);
    add(&path, "INBOX", &[b"fourth"]).unwrap();
    assert_eq!(bodies(&path, "INBOX").len(), 4);
    assert_eq!(names(other.path()), ["box"]);
    // Delivered by another program behind a whole append.
    let path = case(&[whole.as_slice(), b"From a Thu Jan  1 00:00:00 1970\n\nx\n\n"].concat());
    assert_eq!(bodies(&path, "INBOX").len(), 4);
    // Nobody can tell what of it is there.
    for foreign in [
        &before[..before.len() - 1],
        b"From a Thu Jan  1 00:00:00 1970\nSubject: of another program\n\nand of another length, which is long\n\n",
    ] {
        let path = case(foreign);
        assert!(MboxSource::new(&path).list(&Folder::inbox()).is_err());
        assert!(add(&path, "INBOX", &[b"x"]).is_err());
        assert_eq!(fs::read(&path).unwrap(), foreign);
    }
}

#[test]
fn what_a_dead_run_staged_is_removed_and_what_a_living_one_staged_is_not() {
    let root = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = format!(".mailhaul-{}-x", child.id());
    child.wait().unwrap();
    let living = format!(".mailhaul-{}-x", std::process::id());
    for name in [&dead, &living, &".mailhaul-notes".to_owned()] {
        fs::write(root.path().join(name), b"x").unwrap();
    }
    add(&root.path().join("box"), "INBOX", &[b"x"]).unwrap();
    let mut expected = vec![living, ".mailhaul-notes".to_owned(), "box".to_owned()];
    expected.sort();
    assert_eq!(names(root.path()), expected);
}

#[test]
fn a_message_that_changes_after_the_listing_is_named_and_not_read() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("box");
    add(&path, "INBOX", &[b"aaaa\r\n", b"bbbb\r\n"]).unwrap();
    let mut source = MboxSource::new(&path);
    let listing = source.list(&Folder::inbox()).unwrap();
    let changed = String::from_utf8(fs::read(&path).unwrap()).unwrap().replace("aaaa", "cccc");
    fs::write(&path, changed).unwrap();
    let mut outcomes = Vec::new();
    source
        .read(&listing.messages, &mut |_, message| {
            outcomes.push(message.is_ok());
            Ok(())
        })
        .unwrap();
    assert_eq!(outcomes, [false, true]);
}

#[test]
fn a_file_that_a_mail_program_replaces_while_it_holds_the_lock_gets_the_mail_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("box");
    let (lock, new) = (path.with_extension("lock"), path.with_extension("new"));
    add(&path, "INBOX", &[b"A: 1\r\n\r\nx\r\n", b"A: 2\r\n\r\nx\r\n"]).unwrap();
    // A program that lives, this one, rewrites the file.
    std::fs::write(&lock, std::process::id().to_string()).unwrap();
    let text = std::fs::read(&path).unwrap();
    let second = text.windows(5).rposition(|window| window == b"From ").unwrap();
    std::fs::write(&new, &text[second..]).unwrap();
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| add(&path, "INBOX", &[b"A: 3\r\n\r\nx\r\n"]));
        // It waits for the lock with the old file open, which is open to be looked at before that as well.
        let is_waiting = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == path)).any(|fd| {
                let staged = std::fs::read_dir(folder.path()).unwrap().flatten();
                let staged = staged.filter(|entry| entry.file_name().to_string_lossy().starts_with(".mailhaul-"));
                staged.filter_map(|entry| entry.metadata().ok()).any(|stat| stat.len() > 64) && fd.path().exists()
            })
        };
        while !is_waiting() {
            std::thread::yield_now();
        }
        std::fs::rename(&new, &path).unwrap();
        std::fs::remove_file(&lock).unwrap();
        adding.join().unwrap().unwrap();
    });
    assert_eq!(bodies(&path, "INBOX"), [b"A: 2\r\n\r\nx\r\n".to_vec(), b"A: 3\r\n\r\nx\r\n".to_vec()]);
}
