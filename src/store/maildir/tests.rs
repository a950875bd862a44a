//! Maildirs on a real file system: layouts, hostile names and files, moves behind our back, durability of placements.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::Outcome;
use super::*;
use crate::message::Key;
use crate::message::{Body, InternalDate};

/// A message's bytes and flags.
type Shown = (Vec<u8>, Vec<String>);

fn maildir(path: &Path) {
    for name in ["tmp", "new", "cur"] {
        fs::create_dir_all(path.join(name)).unwrap();
    }
}

fn info(folder: &Folder) -> FolderInfo {
    FolderInfo { folder: folder.clone(), special_use: None, subscribed: true, selectable: true }
}

fn folder(levels: &[&str]) -> Folder {
    Folder::from_levels(levels.iter().copied()).unwrap()
}

fn outgoing(ticket: u64, bytes: &[u8], flags: &[&str]) -> Outgoing {
    let body = Body::from(bytes.to_vec());
    let digests = body.digests().unwrap();
    let flags = flags.iter().map(|flag| Flag::new(*flag)).collect();
    Outgoing { ticket, message: Message { body, digests, internal_date: Some(InternalDate { seconds: 1_000_000, offset: 0 }), flags } }
}

fn sink(root: &Path) -> MaildirSink {
    MaildirSink::new(root, Context::from_environment())
}

fn folders(root: &Path) -> Vec<String> {
    MaildirSource::new(root).folders().unwrap().iter().map(|info| info.folder.to_string()).collect()
}

/// Everything in a folder: (bytes, flags), and how many could not be read.
fn contents(root: &Path, name: &Folder) -> (Vec<Shown>, usize) {
    let mut source = MaildirSource::new(root);
    let listing = source.list(name).unwrap();
    read(&mut source, &listing)
}

fn read(source: &mut MaildirSource, listing: &Listing) -> (Vec<Shown>, usize) {
    let (mut read, mut failed) = (Vec::new(), 0);
    source
        .read(&listing.messages, &mut |_, message| {
            match message {
                Ok(message) => {
                    let flags = message.flags.iter().map(ToString::to_string).collect();
                    read.push((message.body.prefix(usize::MAX).unwrap(), flags));
                }
                Err(_) => failed += 1,
            }
            Ok(())
        })
        .unwrap();
    (read, failed)
}

fn files(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_delivery_comes_back_byte_for_byte_with_flags_and_date() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = sink(root.path());
    sink.open(&info(&Folder::inbox()), true).unwrap();
    let seen: &[&str] = &["\\Seen", "\\Answered", "$forwarded", "\\Recent"];
    for (ticket, bytes, flags) in [(7, &b"A: b\r\n\r\n\0x\n"[..], seen), (8, b"A: b\n", &[]), (9, b"A: b\n", &["Work"])] {
        sink.append(outgoing(ticket, bytes, flags)).unwrap();
    }
    assert!(sink.settle(Wait::No).unwrap().is_empty(), "nothing is durable yet");
    assert!(files(&root.path().join("new")).is_empty());
    let placements = sink.settle(Wait::All).unwrap();
    assert_eq!(placements.iter().map(|placement| placement.ticket).collect::<Vec<_>>(), [7, 8, 9]);
    assert!(placements.iter().all(|placement| matches!(placement.outcome, Outcome::Stored { append_uid: None, .. })));
    assert!(placements.iter().all(|placement| matches!(&placement.outcome, Outcome::Stored { altered, .. } if altered.is_empty())));
    assert!(files(&root.path().join("tmp")).is_empty());

    let mut source = MaildirSource::new(root.path());
    let listing = source.list(&Folder::inbox()).unwrap();
    assert_eq!(listing.messages[0].internal_date, Some(InternalDate { seconds: 1_000_000, offset: 0 }));
    let occurrence = |index: usize| match listing.messages[index].key {
        Some(Key::Content { occurrence, .. }) => occurrence,
        _ => 99,
    };
    assert_eq!((occurrence(0), occurrence(1), occurrence(2)), (0, 0, 1));
    let (mut messages, failed) = read(&mut source, &listing);
    messages.sort();
    assert_eq!(failed, 0);
    assert_eq!(messages[2].0, b"A: b\r\n\r\n\0x\n");
    assert_eq!(messages[2].1, ["$Forwarded", "answered", "seen"]);
    assert_eq!(messages[0], (b"A: b\n".to_vec(), vec![]));
    let file = fs::read_dir(root.path().join("new")).unwrap().next().unwrap().unwrap().metadata().unwrap();
    assert_eq!((file.permissions().mode() & 0o777, file.mtime()), (0o600, 1_000_000));
    assert_eq!(fs::metadata(root.path().join("cur")).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn each_layout_is_found_by_looking() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    maildir(&root.path().join(".Sent"));
    maildir(&root.path().join(".Archive.2024"));
    fs::create_dir_all(root.path().join(".index/deep")).unwrap();
    assert_eq!(folders(root.path()), ["INBOX", "Archive/2024", "Sent"]);

    let root = tempfile::tempdir().unwrap();
    maildir(&root.path().join("INBOX"));
    maildir(&root.path().join("inbox"));
    maildir(&root.path().join("Archive/2024"));
    maildir(&root.path().join("Archive/2024/Sub"));
    assert_eq!(folders(root.path()), ["Archive/2024", "Archive/2024/Sub", "INBOX", "INBOX (2)"]);
    let mut sink = sink(root.path());
    sink.open(&info(&folder(&["Archive", "a/b"])), true).unwrap();
    assert!(root.path().join("Archive/a%2Fb/cur").is_dir());
    sink.open(&info(&Folder::inbox()), false).unwrap();
}

#[test]
fn a_missing_folder_is_not_made_unasked() {
    let root = tempfile::tempdir().unwrap();
    assert!(MaildirSource::new(root.path().join("none")).folders().is_err());
    let mut sink = sink(root.path());
    assert!(sink.open(&info(&folder(&["x"])), false).unwrap().is_none());
    assert!(files(root.path()).is_empty());
    assert!(MaildirSource::new(root.path()).list(&folder(&["x"])).is_err());
}

#[test]
fn hostile_folder_names_stay_below_the_root_and_come_back() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("store");
    let long = |length| "x".repeat(length);
    let mut names: Vec<String> =
        ["../x", "a/../../b", "/abs", ".", "..", "\0", "\\", "cur", "new", "tmp", "a.b", "a\nb", "%2E", "é", "e\u{301}", "A", "a", "&AC8-"]
            .map(str::to_owned)
            .to_vec();
    names.extend([long(255), long(256), long(4096), long(4095) + "y", "世".repeat(100)]);
    let mut wanted: Vec<Folder> = names.iter().map(|name| folder(&[name])).collect();
    wanted.extend([folder(&["INBOX", ".."]), folder(&["a", "b"]), folder(&["a", "..", "b"])]);
    let mut sink = sink(&root);
    for (ticket, name) in (0..).zip(&wanted) {
        sink.open(&info(name), true).unwrap();
        sink.append(outgoing(ticket, format!("Subject: {ticket}\n").as_bytes(), &[])).unwrap();
    }
    assert_eq!(sink.settle(Wait::All).unwrap().len(), wanted.len());
    assert_eq!(files(outer.path()), ["store"]);
    for entry in fs::read_dir(&root).unwrap() {
        assert!(entry.unwrap().file_name().len() <= 255);
    }
    let mut found: Vec<Folder> = MaildirSource::new(&root).folders().unwrap().into_iter().map(|info| info.folder).collect();
    found.sort();
    let mut sorted = wanted.clone();
    sorted.sort();
    assert_eq!(found, sorted);
    for (ticket, name) in (0..).zip(&wanted) {
        assert_eq!(contents(&root, name).0, [(format!("Subject: {ticket}\n").into_bytes(), vec![])], "{name}");
    }
}

#[test]
fn links_and_fifos_are_neither_followed_nor_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    maildir(outside.path());
    fs::write(outside.path().join("cur/secret"), "secret").unwrap();
    maildir(root.path());
    fs::write(root.path().join("cur/1.a:2,S"), "A: b\n").unwrap();
    symlink(outside.path().join("cur/secret"), root.path().join("cur/2.link")).unwrap();
    symlink(outside.path(), root.path().join(".Linked")).unwrap();
    symlink(root.path(), root.path().join("loop")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("cur/3.fifo"), rustix::fs::Mode::RWXU).unwrap();
    fs::create_dir(root.path().join("cur/4.dir")).unwrap();
    assert_eq!(folders(root.path()), ["INBOX"]);
    assert_eq!(contents(root.path(), &Folder::inbox()), (vec![(b"A: b\n".to_vec(), vec!["seen".to_owned()])], 0));
}

#[test]
fn a_link_planted_where_we_write_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    for planted in [".x", ".x/tmp", ".x/new"] {
        let root = tempfile::tempdir().unwrap();
        maildir(root.path());
        if planted != ".x" {
            fs::create_dir(root.path().join(".x")).unwrap();
        }
        symlink(outside.path(), root.path().join(planted)).unwrap();
        let mut sink = sink(root.path());
        assert!(sink.open(&info(&folder(&["x"])), true).is_err(), "{planted}");
        assert!(files(outside.path()).is_empty());
    }
}

#[test]
fn a_file_swapped_for_a_link_or_a_fifo_after_the_listing_is_a_problem_of_that_message() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    for name in ["1", "2", "3"] {
        fs::write(root.path().join("cur").join(name), format!("A: {name}\n")).unwrap();
    }
    let mut source = MaildirSource::new(root.path());
    let listing = source.list(&Folder::inbox()).unwrap();
    fs::remove_file(root.path().join("cur/1")).unwrap();
    fs::remove_file(root.path().join("cur/2")).unwrap();
    symlink("/etc/hostname", root.path().join("cur/1")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("cur/2"), rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(read(&mut source, &listing), (vec![(b"A: 3\n".to_vec(), vec![])], 2));
}

#[test]
fn what_a_mail_program_moves_is_found_and_what_it_removes_is_not_handed_over() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    for name in ["1.a", "2.b", "3.c"] {
        fs::write(root.path().join("new").join(name), format!("A: {name}\n")).unwrap();
    }
    fs::write(root.path().join("dovecot-keywords"), "0 Work\n1 Home\n").unwrap();
    let mut source = MaildirSource::new(root.path());
    let listing = source.list(&Folder::inbox()).unwrap();
    fs::rename(root.path().join("new/1.a"), root.path().join("cur/1.a:2,FSb")).unwrap();
    fs::remove_file(root.path().join("new/2.b")).unwrap();
    fs::write(root.path().join("new/3.c"), "another message\n").unwrap();
    let flags = ["flagged", "seen", "Home"].map(str::to_owned).to_vec();
    assert_eq!(read(&mut source, &listing), (vec![(b"A: 1.a\n".to_vec(), flags)], 1));
}

#[test]
fn a_file_that_still_has_two_names_is_one_message() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    fs::write(root.path().join("tmp/1.a"), "A: b\n").unwrap();
    fs::hard_link(root.path().join("tmp/1.a"), root.path().join("new/1.a")).unwrap();
    fs::hard_link(root.path().join("tmp/1.a"), root.path().join("cur/1.a:2,S")).unwrap();
    assert_eq!(contents(root.path(), &Folder::inbox()).0.len(), 1);
}

#[test]
fn messages_that_a_server_copied_by_linking_are_as_many_as_their_names() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    fs::write(root.path().join("cur/1.a:2,S"), "A: b\n").unwrap();
    fs::hard_link(root.path().join("cur/1.a:2,S"), root.path().join("cur/2.b:2,S")).unwrap();
    assert_eq!(contents(root.path(), &Folder::inbox()).0.len(), 2);
}

#[test]
fn a_folder_that_another_program_named_its_own_way_is_used_and_not_made_anew() {
    let root = tempfile::tempdir().unwrap();
    for name in ["inbox", "a\\b", "x%41"] {
        maildir(&root.path().join(name));
    }
    let before = files(root.path());
    let mut sink = sink(root.path());
    for name in ["INBOX", "a\\b", "x%41"] {
        sink.open(&info(&folder(&[name])), true).unwrap();
    }
    assert_eq!(files(root.path()), before);
}

#[test]
fn a_batch_that_cannot_be_written_leaves_nothing_behind_and_is_not_sent() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = sink(root.path());
    sink.open(&info(&Folder::inbox()), true).unwrap();
    sink.append(outgoing(1, b"A: b\n", &[])).unwrap();
    // Somebody takes the directory away: neither the second file nor the first one's name can be made.
    fs::write(root.path().join("tmp/another"), "another program's").unwrap();
    fs::rename(root.path().join("tmp"), root.path().join("moved")).unwrap();
    fs::remove_dir(root.path().join("new")).unwrap();
    assert!(sink.settle(Wait::All).is_err());
    let placements = sink.settle(Wait::All).unwrap();
    assert!(matches!(placements.as_slice(), [Placement { ticket: 1, outcome: Outcome::NotSent { .. } }]));
    assert_eq!(files(&root.path().join("moved")), ["another"]);
}

#[test]
fn a_sink_dropped_before_it_settled_takes_its_files_along() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = sink(root.path());
    sink.open(&info(&Folder::inbox()), true).unwrap();
    sink.append(outgoing(1, b"A: b\n", &[])).unwrap();
    assert_eq!(files(&root.path().join("tmp")).len(), 1);
    drop(sink);
    assert!(files(&root.path().join("tmp")).is_empty());
}

#[test]
fn a_large_batch_becomes_durable_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = sink(root.path());
    sink.open(&info(&Folder::inbox()), true).unwrap();
    for ticket in 0..300 {
        sink.append(outgoing(ticket, b"the same\n", &[])).unwrap();
    }
    let early = sink.settle(Wait::No).unwrap().len();
    assert!(early > 0 && early < 300, "{early}");
    assert_eq!(early + sink.settle(Wait::All).unwrap().len(), 300);
    assert_eq!(contents(root.path(), &Folder::inbox()).0.len(), 300);
}

#[test]
fn a_message_too_large_for_memory_goes_through_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = sink(root.path());
    sink.open(&info(&Folder::inbox()), true).unwrap();
    let bytes = b"A: b\r\n\r\n0123456789\r\n".repeat(500_000);
    let mut body = Body::new();
    bytes.chunks(100_000).for_each(|piece| body.push(piece).unwrap());
    let digests = body.digests().unwrap();
    sink.append(Outgoing { ticket: 1, message: Message { body, digests, internal_date: None, flags: vec![] } }).unwrap();
    sink.settle(Wait::All).unwrap();
    let mut source = MaildirSource::new(root.path());
    let listing = source.list(&Folder::inbox()).unwrap();
    let mut exact = None;
    source
        .read(&listing.messages, &mut |_, message| {
            exact = Some(message.unwrap().digests.exact);
            Ok(())
        })
        .unwrap();
    assert_eq!(exact, Some(Digest::of(&bytes)));
}

#[test]
fn names_in_modified_utf7_are_understood_and_ours_are_never_taken_for_such() {
    let root = tempfile::tempdir().unwrap();
    for name in ["cur", ".Entw&APw-rfe.A &- B/cur", ".&AC8-/cur", ".a&b/cur", ".50% &ZeVnLIqe-/cur"] {
        fs::create_dir_all(root.path().join(name)).unwrap();
    }
    let names = |path: &Path| -> Vec<String> {
        let folders = MaildirSource::new(path).folders().unwrap();
        folders.into_iter().map(|info| info.folder.levels().join("|")).collect()
    };
    assert_eq!(names(root.path()), ["INBOX", "&AC8-", "50% 日本語", "Entwürfe|A & B", "a&b"]);
    for level in ["Entw&APw-rfe", "Entwürfe", "A &- B", "&-", "&", "&AC8-", "%26-", "%&-", "日本語"] {
        assert_eq!(decode_level(&plain_level(level)), level);
        assert!(plain_level(level) == level || shifted(&plain_level(level)).is_none());
    }
}

proptest::proptest! {
    #[test]
    fn a_level_comes_back_whatever_it_looks_like(level in "[&A-Za-z0-9+,%~é\\-]{1,12}") {
        proptest::prop_assert_eq!(decode_level(&plain_level(&level)), level);
    }
}

/// Puts one message with these keywords; gives what was altered.
fn put(sink: &mut MaildirSink, ticket: u64, keywords: &[&str]) -> Vec<String> {
    sink.append(outgoing(ticket, format!("A: {ticket}\n\n").as_bytes(), keywords)).unwrap();
    match sink.settle(Wait::All).unwrap().remove(0).outcome {
        Outcome::Stored { altered, .. } => altered,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keywords_get_letters_until_there_are_none_left_and_keep_those_they_have() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    fs::write(root.path().join("dovecot-keywords"), "0 Work\n25 Last\n").unwrap();
    // Somebody's letter without a meaning.
    fs::write(root.path().join("cur/9.z:2,Sb"), "A: z\n\n").unwrap();
    let mut sink = sink(root.path());
    sink.open(&info(&Folder::inbox()), true).unwrap();
    assert!(put(&mut sink, 1, &["\\Seen", "New", "work"]).is_empty());
    let many: Vec<String> = (0..30).map(|number| format!("k{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    // 26 letters, of which Work, Last and New have three and one is somebody's.
    assert_eq!(put(&mut sink, 2, &many).len(), 30 - 22);
    assert_eq!(put(&mut sink, 3, &["k29", "k0"]).len(), 1);
    let text = fs::read_to_string(root.path().join("dovecot-keywords")).unwrap();
    assert!(text.starts_with("0 Work\n2 New\n3 k0\n") && text.ends_with("24 k21\n25 Last\n"), "{text}");
    assert!(!root.path().join("dovecot-keywords.lock").exists());
    let (messages, failed) = contents(root.path(), &Folder::inbox());
    assert_eq!(failed, 0);
    let flags_of = |text: &str| messages.iter().find(|(bytes, _)| bytes.starts_with(text.as_bytes())).unwrap().1.clone();
    assert_eq!(flags_of("A: 1"), ["seen", "Work", "New"]);
    assert_eq!(flags_of("A: z"), ["seen"]);
    assert_eq!((flags_of("A: 2").len(), flags_of("A: 3")), (22, vec!["k0".to_owned()]));
}

#[test]
fn a_lock_that_a_dead_program_left_on_the_keywords_holds_nobody_up() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    let lock = root.path().join("dovecot-keywords.lock");
    fs::write(&lock, "0 Theirs\n").unwrap();
    let mut sink = sink(root.path());
    // One that nobody touched for long is a dead program's.
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(600);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(long_ago).unwrap();
    sink.open(&info(&Folder::inbox()), true).unwrap();
    assert!(put(&mut sink, 2, &["New"]).is_empty());
    assert_eq!(fs::read(root.path().join("dovecot-keywords")).unwrap(), b"0 New\n");
    assert!(!lock.exists());
}

#[test]
fn a_keyword_that_no_line_can_hold_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    let mut sink = sink(root.path());
    sink.open(&info(&Folder::inbox()), true).unwrap();
    assert_eq!(put(&mut sink, 1, &["a b", "a\nb", "\\Odd", &"x".repeat(300)]).len(), 4);
    assert!(!root.path().join("dovecot-keywords").exists());
}

proptest::proptest! {
    #[test]
    fn names_in_modified_utf_7_are_safe_and_come_back(level in "(.|[&%./,~+-]|cur|%2E|&APw-|ü|\\PC){1,60}") {
        let name = standard_level(&level);
        proptest::prop_assert!(name.is_ascii() && !name.contains(['/', '.', '\0']), "{name:?}");
        proptest::prop_assert_eq!(decode_level(&name), level);
    }
}

proptest::proptest! {
    #[test]
    fn a_directory_named_in_either_spelling_is_one_levels_alone(one in "[&A-Za-z0-9+,%é\\-]{1,6}", other in "[&A-Za-z0-9+,%é\\-]{1,6}") {
        proptest::prop_assert!(one == other || plain_level(&one) != standard_level(&other));
        proptest::prop_assert!(one == other || standard_level(&one) != standard_level(&other));
    }
}

#[test]
fn a_new_folder_is_named_in_modified_utf_7_and_one_that_lies_there_in_utf_8_stays() {
    for (old, new) in [(".Entwürfe.Alt", ".&ZeVnLIqe-"), ("Entwürfe/Alt", "&ZeVnLIqe-")] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(old).join("cur")).unwrap();
        let mut sink = sink(root.path());
        for (ticket, name) in [(1, "Entwürfe/Alt"), (2, "日本語"), (3, "日本語")] {
            sink.open(&info(&Folder::parse(name).unwrap()), true).unwrap();
            assert!(put(&mut sink, ticket, &["\\Seen"]).is_empty());
        }
        sink.finish().unwrap();
        let count = |name: &str| fs::read_dir(root.path().join(name).join("cur")).map_or(0, Iterator::count);
        assert_eq!((count(old), count(new)), (1, 2), "{old}");
        let names: Vec<String> = MaildirSource::new(root.path()).folders().unwrap().iter().map(|info| info.folder.to_string()).collect();
        assert!(names.contains(&"Entwürfe/Alt".to_owned()) && names.contains(&"日本語".to_owned()), "{names:?}");
        assert_eq!(names.iter().filter(|name| *name != "INBOX" && *name != "Entwürfe").count(), 2, "{names:?}");
    }
}

#[test]
fn a_name_too_long_for_a_directory_is_cut_and_found_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::parse(&"日".repeat(200)).unwrap();
    for ticket in [1, 2] {
        let mut sink = sink(root.path());
        sink.open(&info(&folder), true).unwrap();
        put(&mut sink, ticket, &[]);
    }
    assert_eq!(contents(root.path(), &folder).0.len(), 2);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}
