use std::collections::HashMap;

use super::*;
use crate::query::Term;
use crate::state::archive::{ArchiveChange, EntryId, EraId, NewEntry};
use crate::store::vault::{Laid, Layout, Lying, NameKey};

/// Files that are held in memory, by stem.
#[derive(Default)]
struct Shelf(HashMap<String, Vec<u8>>);

/// What these tests have no use for: to choose from a store is to read.
fn never(what: &str) -> ! {
    panic!("`{what}` is never asked of a vault here")
}

impl Vault for Shelf {
    fn layout(&self) -> Layout {
        Layout::Maildir
    }
    fn sweep(&mut self, _: &str) -> Result<()> {
        never("sweep")
    }
    fn make_folder(&mut self, _: &str, _: &Folder) -> Result<()> {
        never("make_folder")
    }
    fn rename_folder(&mut self, _: &str, _: &Folder, _: &Folder) -> Result<bool> {
        never("rename_folder")
    }
    fn folders(&mut self, _: &str) -> Result<Vec<Folder>> {
        never("folders")
    }
    fn accounts(&mut self) -> Result<Vec<String>> {
        never("accounts")
    }
    fn lay(&mut self, _: &str, _: &Folder, _: u64, _: NameKey<'_>, _: &Message) -> Result<()> {
        never("lay")
    }
    fn waiting(&self) -> (usize, u64) {
        (0, 0)
    }
    fn settle(&mut self) -> Result<Vec<Laid>> {
        never("settle")
    }
    fn reflag(&mut self, _: &str, _: &Folder, _: &[(String, Vec<Flag>)]) -> Result<Vec<String>> {
        never("reflag")
    }
    fn remove(&mut self, _: &str, _: &Folder, _: &[String]) -> Result<()> {
        never("remove")
    }
    fn read(&mut self, _: &str, _: &Folder, stem: &str, _: bool) -> Result<Option<Message>> {
        let Some(bytes) = self.0.get(stem) else { return Ok(None) };
        let body = crate::message::Body::from(bytes.clone());
        let digests = body.digests()?;
        Ok(Some(Message { body, digests, internal_date: None, flags: vec![Flag::seen()] }))
    }
    fn distrust(&mut self, _: &str) {}
    fn complete(&mut self, _: &str, _: &Folder) -> Result<()> {
        never("complete")
    }
    fn path(&mut self, _: &str, _: &Folder, _: &str) -> Result<Option<String>> {
        never("path")
    }
    fn check(&mut self, _: &str, _: &Folder, _: &str) -> Result<Option<(u64, Digest, String)>> {
        never("check")
    }
    fn scan(&mut self, _: &str, _: &Folder, _: &mut dyn FnMut(Lying) -> Result<()>) -> Result<()> {
        never("scan")
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    archive: Archive,
    shelf: Shelf,
    account: Account,
    folder: ArchiveFolderId,
    stems: u32,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(&dir.path().join(".mailhaul"), "store", &Context::from_environment()).unwrap();
        let account = archive.account("imap:ann@h", "work").unwrap();
        let folder = archive.folder(account.id, &Folder::inbox()).unwrap().id;
        Self { _dir: dir, archive, shelf: Shelf::default(), account, folder, stems: 0 }
    }

    fn era(&mut self, uid_validity: u32, at: i64) -> EraId {
        self.archive.era(self.folder, uid_validity, at).unwrap().id
    }

    fn file(&mut self, text: &str) -> ArchiveFile {
        self.stems += 1;
        let stem = format!("stem{}", self.stems);
        let bytes = format!("Subject: {text}\r\n\r\n{text}\r\n").into_bytes();
        let body = crate::message::Body::from(bytes.clone());
        let digests = body.digests().unwrap();
        self.shelf.0.insert(stem.clone(), bytes);
        ArchiveFile {
            id: FileId::default(),
            folder: self.folder,
            stem,
            form: Form::AsReceived,
            octets: body.len(),
            digest: digests.exact,
            exact: digests.exact,
            content: digests.content,
            header: body.split_digests().unwrap().0,
            length: body.len(),
            internal_date: Some(InternalDate { seconds: 1000, offset: 0 }),
            object_id: None,
        }
    }

    fn entry(era: EraId, uid: u32, at: i64) -> NewEntry {
        NewEntry { era, uid: Some(uid), key: None, flags: Vec::new(), labels: Vec::new(), listed_size: None, at }
    }

    fn keep(&mut self, era: EraId, uid: u32, text: &str, at: i64) -> (EntryId, FileId) {
        let file = self.file(text);
        self.archive.commit(&[ArchiveChange::Kept { entry: Self::entry(era, uid, at), file }]).unwrap()[0]
    }

    fn recognise(&mut self, era: EraId, uid: u32, file: FileId, at: i64) -> EntryId {
        self.archive.commit(&[ArchiveChange::Recognised { entry: Self::entry(era, uid, at), file }]).unwrap()[0].0
    }

    fn gone(&mut self, entry: EntryId, at: i64) {
        self.archive.commit(&[ArchiveChange::Gone { entry, at }]).unwrap();
    }

    fn choose(&mut self, selection: &Selection<'_>) -> Choice {
        choose(&self.archive, &mut self.shelf, &self.account, selection, &Context::from_environment()).unwrap()
    }

    fn uids(&mut self, selection: &Selection<'_>) -> Vec<u32> {
        self.choose(selection).folders.iter().flat_map(|folder| &folder.messages).map(|one| one.uid.unwrap_or(0)).collect()
    }

    fn keys(&mut self, selection: &Selection<'_>) -> Vec<String> {
        let mut keys: Vec<String> =
            self.choose(selection).folders.iter().flat_map(|folder| &folder.messages).map(|one| one.key.to_string()).collect();
        keys.sort();
        keys
    }
}

#[test]
fn a_moment_and_presence_choose_among_the_same_messages() {
    let mut bench = Bench::new();
    let era = bench.era(7, 100);
    let entries: Vec<EntryId> = (1..=4).map(|uid| bench.keep(era, uid, &uid.to_string(), 100 * i64::from(uid)).0).collect();
    bench.gone(entries[1], 350);
    let with = |gone| Selection { gone, ..Selection::default() };
    assert_eq!(bench.uids(&with(Gone::No)), [1, 3, 4]);
    assert_eq!(bench.uids(&with(Gone::Also)), [1, 2, 3, 4]);
    assert_eq!(bench.uids(&with(Gone::Only)), [2]);
    for (at, there) in [(99, &[][..]), (100, &[1]), (349, &[1, 2, 3]), (350, &[1, 3]), (9999, &[1, 3, 4])] {
        assert_eq!(bench.uids(&Selection { as_of: Some(at), ..Selection::default() }), there, "{at}");
    }
    let choice = bench.choose(&Selection::default());
    assert_eq!((choice.gone_left_out, choice.messages), (1, 4));
}

#[test]
fn a_message_under_a_new_uidvalidity_is_the_one_it_was() {
    let mut bench = Bench::new();
    let old = bench.era(7, 100);
    let kept: Vec<(EntryId, FileId)> =
        ["a", "twin", "twin", "b"].iter().zip(1..).map(|(text, uid)| bench.keep(old, uid, text, 100)).collect();
    let before = bench.keys(&Selection::default());
    assert_eq!(before.len(), 4);
    bench.gone(kept[3].0, 150);
    let new = bench.era(8, 200);
    for (index, (_, file)) in kept.iter().take(3).enumerate() {
        bench.recognise(new, u32::try_from(index).unwrap() + 11, *file, 200);
    }
    for (entry, _) in kept.iter().take(3) {
        bench.gone(*entry, 201);
    }
    assert_eq!(bench.uids(&Selection::default()), [11, 12, 13]);
    assert_eq!(bench.keys(&Selection { gone: Gone::Also, ..Selection::default() }), before);
    // Between the two moments both generations seem to be there, and each message is one all the same.
    assert_eq!(bench.uids(&Selection { as_of: Some(200), ..Selection::default() }), [11, 12, 13]);
    assert_eq!(bench.uids(&Selection { as_of: Some(149), ..Selection::default() }), [1, 2, 3, 4]);
    assert_eq!(bench.uids(&Selection { gone: Gone::Only, ..Selection::default() }), [4]);
    assert_eq!(bench.uids(&Selection { generation: Some(7), ..Selection::default() }), [1, 2, 3]);
    assert_eq!(bench.uids(&Selection { generation: Some(7), gone: Gone::Also, ..Selection::default() }), [1, 2, 3, 4]);
    assert_eq!(bench.uids(&Selection { generation: Some(8), ..Selection::default() }), [11, 12, 13]);
    assert!(bench.uids(&Selection { generation: Some(9), ..Selection::default() }).is_empty());
}

#[test]
fn two_messages_that_share_a_file_are_two() {
    let mut bench = Bench::new();
    let era = bench.era(7, 100);
    let (first, file) = bench.keep(era, 1, "a", 100);
    bench.recognise(era, 2, file, 100);
    assert_eq!(bench.keys(&Selection::default()).len(), 2);
    assert_ne!(bench.keys(&Selection::default())[0], bench.keys(&Selection::default())[1]);
    bench.gone(first, 200);
    assert_eq!(bench.uids(&Selection::default()), [2]);
    assert_eq!(bench.uids(&Selection { gone: Gone::Only, ..Selection::default() }), [1]);
    assert_eq!(bench.uids(&Selection { gone: Gone::Also, ..Selection::default() }), [1, 2]);
}

#[test]
fn a_folder_that_is_gone_took_its_messages_with_it() {
    let mut bench = Bench::new();
    let era = bench.era(7, 100);
    bench.keep(era, 1, "a", 100);
    bench.archive.commit(&[ArchiveChange::FolderGone { folder: bench.folder, at: Some(300) }]).unwrap();
    let choice = bench.choose(&Selection::default());
    assert!(choice.folders.is_empty());
    assert_eq!(choice.gone_left_out, 1);
    assert_eq!(bench.uids(&Selection { as_of: Some(299), ..Selection::default() }), [1]);
    assert!(bench.choose(&Selection { as_of: Some(300), ..Selection::default() }).folders.is_empty());
    assert_eq!(bench.uids(&Selection { gone: Gone::Also, ..Selection::default() }), [1]);
}

#[test]
fn an_empty_folder_counts_unless_messages_are_chosen() {
    let mut bench = Bench::new();
    bench.era(7, 100);
    assert_eq!(bench.choose(&Selection::default()).folders.len(), 1);
    let query = Query { terms: vec![Term::Larger(1)] };
    assert!(bench.choose(&Selection { query, ..Selection::default() }).folders.is_empty());
    assert!(bench.choose(&Selection { as_of: Some(99), ..Selection::default() }).folders.is_empty());
}

#[test]
fn a_query_looks_into_files_and_keeps_what_it_cannot_look_into() {
    let mut bench = Bench::new();
    let era = bench.era(7, 100);
    for (uid, text) in [(1, "hay"), (2, "needle"), (3, "hay"), (4, "more needles")] {
        bench.keep(era, uid, text, 100);
    }
    let needle = || Selection { query: Query { terms: vec![Term::Body("needle".to_owned())] }, ..Selection::default() };
    assert_eq!(bench.uids(&needle()), [2, 4]);
    assert_eq!(bench.uids(&Selection { limit: Some(1), ..needle() }), [4]);
    bench.shelf.0.remove("stem1");
    bench.shelf.0.insert("stem3".to_owned(), b"other".to_vec());
    assert_eq!(bench.uids(&needle()), [1, 2, 3, 4]);
}

#[test]
fn numbers_choose_by_uid() {
    let mut bench = Bench::new();
    let era = bench.era(7, 100);
    for uid in [3, 5, 8] {
        bench.keep(era, uid, "a", 100);
    }
    let pick = |there: &[u32]| {
        assert_eq!(there, [3, 5, 8]);
        vec![3, 8]
    };
    assert_eq!(bench.uids(&Selection { pick: Some(&pick), ..Selection::default() }), [3, 8]);
}

#[test]
fn files_that_only_a_rebuilt_journal_knows_count_until_the_server_was_looked_at() {
    let mut bench = Bench::new();
    let file = bench.file("a");
    bench.archive.commit(&[ArchiveChange::Found { file }]).unwrap();
    let choice = bench.choose(&Selection::default());
    assert_eq!(choice.folders[0].messages.len(), 1);
    assert_eq!(choice.folders[0].messages[0].flags, None);
    let seen = Query { terms: vec![Term::Flag(Flag::seen())] };
    assert_eq!(bench.uids(&Selection { query: seen, ..Selection::default() }).len(), 1);
    let mark = crate::state::archive::Mark { uid_validity: 7, ..Default::default() };
    bench.era(7, 100);
    bench.archive.commit(&[ArchiveChange::Visited { folder: bench.folder, mark, at: 200 }]).unwrap();
    assert!(bench.uids(&Selection::default()).is_empty());
    assert_eq!(bench.uids(&Selection { gone: Gone::Only, ..Selection::default() }).len(), 1);
}

#[test]
fn labels_become_folders_where_that_is_asked() {
    let mut bench = Bench::new();
    let era = bench.era(7, 100);
    let labels: [&[&str]; 5] = [&["\\Inbox", "Work/Old"], &["\\Sent", "\\Important"], &["\\Starred"], &[], &["Work/Old"]];
    for (uid, labels) in (1..).zip(labels) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let file = bench.file("twin");
        let entry = NewEntry { labels, ..Bench::entry(era, uid, 100) };
        bench.archive.commit(&[ArchiveChange::Kept { entry, file }]).unwrap();
    }
    bench.archive.commit(&[ArchiveChange::Renaming { folder: bench.folder, to: Folder::parse("All").unwrap() }]).unwrap();
    bench.archive.commit(&[ArchiveChange::Renamed { folder: bench.folder, to: Folder::parse("All").unwrap() }]).unwrap();
    let choice = bench.choose(&Selection { labels_as_folders: true, ..Selection::default() });
    let shown: Vec<(String, Vec<u32>)> = choice
        .folders
        .iter()
        .map(|folder| (folder.info.folder.to_string(), folder.messages.iter().filter_map(|one| one.uid).collect()))
        .collect();
    let expected = [("All", vec![3, 4]), ("INBOX", vec![1]), ("Sent", vec![2]), ("Work/Old", vec![1, 5])];
    assert_eq!(shown, expected.map(|(name, uids)| (name.to_owned(), uids)));
    assert_eq!(choice.folders[2].info.special_use, Some(SpecialUse::Sent));
    for folder in &choice.folders {
        let keys: HashSet<&Key> = folder.messages.iter().map(|one| &one.key).collect();
        assert_eq!(keys.len(), folder.messages.len());
    }
    assert_eq!(bench.choose(&Selection::default()).folders.len(), 1);
}
