//! Every change of an archive, its sums, and what is refused.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::*;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::imap::uid_set::UidSet;

const STORE: &str = "0123456789abcdef0123456789abcdef";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("store/.mailhaul")
    }

    fn open(&self) -> Result<Archive> {
        Archive::open(&self.dir(), STORE, &Context::from_environment())
    }

    fn refused(&self) -> Error {
        self.open().err().expect("the archive was opened")
    }
}

/// An archive with one account, its INBOX and a generation.
fn begun(place: &Place) -> (Archive, AccountId, ArchiveFolderId, EraId) {
    let mut archive = place.open().unwrap();
    let account = archive.account("imap://ann@mail.example", "work").unwrap().id;
    let folder = archive.folder(account, &Folder::inbox()).unwrap().id;
    let era = archive.era(folder, 7, 100).unwrap().id;
    (archive, account, folder, era)
}

fn file(folder: ArchiveFolderId, number: u32) -> ArchiveFile {
    let digest = Digest::of(&number.to_be_bytes());
    ArchiveFile {
        id: FileId(0),
        folder,
        stem: format!("1.V7U{number:06},S=10"),
        form: Form::LineFeeds,
        octets: 10,
        digest,
        exact: digest,
        content: digest,
        header: digest,
        length: 12,
        internal_date: Some(InternalDate { seconds: 5, offset: 3600 }),
        object_id: Some(format!("emailid:M{number}")),
    }
}

fn entry(era: EraId, uid: u32) -> NewEntry {
    NewEntry {
        era,
        uid: Some(uid),
        key: None,
        flags: vec![Flag::new("Work"), Flag::seen(), Flag::new("\\Recent"), Flag::new("work")],
        labels: vec!["a \"b\"".to_owned()],
        listed_size: Some(12),
        at: 100,
    }
}

fn kept(folder: ArchiveFolderId, era: EraId, uid: u32) -> ArchiveChange {
    ArchiveChange::Kept { entry: entry(era, uid), file: file(folder, uid) }
}

fn sums(archive: &Archive, account: AccountId) -> (u64, u64, u64) {
    assert_eq!(archive.check().unwrap(), Vec::<String>::new());
    let folder = archive.folders(account).unwrap().remove(0);
    (folder.messages, folder.gone, folder.octets)
}

fn held(archive: &Archive, era: EraId, uids: Option<&UidSet>) -> Vec<Held> {
    let mut all = Vec::new();
    archive
        .entries(era, uids, &mut |held| {
            all.push(held);
            Ok(())
        })
        .unwrap();
    all
}

fn files_of(archive: &Archive, folder: ArchiveFolderId) -> Vec<(ArchiveFile, usize)> {
    let mut all = Vec::new();
    archive
        .files(folder, &mut |file, entries| {
            all.push((file, entries.len()));
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn what_was_kept_reads_back_as_it_was() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let ids = archive.commit(&[kept(folder, era, 3), kept(folder, era, 1)]).unwrap();
    drop(archive);
    let archive = place.open().unwrap();
    let all = held(&archive, era, None);
    assert_eq!(all.iter().map(|held| held.entry.uid).collect::<Vec<_>>(), [Some(1), Some(3)]);
    let last = &all[1];
    assert_eq!((last.entry.id, last.file.id), ids[0]);
    assert_eq!(last.file, ArchiveFile { id: ids[0].1, ..file(folder, 3) });
    assert_eq!(last.entry.flags, [Flag::seen(), Flag::new("Work")]);
    assert_eq!((last.entry.labels.as_slice(), last.entry.listed_size), (["a \"b\"".to_owned()].as_slice(), Some(12)));
    assert_eq!(held(&archive, era, Some(&UidSet::range(2, 9))).len(), 1);
    assert_eq!(archive.uids(era, false).unwrap().to_string(), "1,3");
    assert_eq!(archive.file(ids[1].1).unwrap().map(|file| file.stem), Some(file(folder, 1).stem));
    assert_eq!(sums(&archive, account), (2, 0, 20));
    assert!(archive.accounts().unwrap()[0].manifest_stale);
}

#[test]
fn files_that_no_message_of_a_generation_has_are_told_with_the_size_listed_last() {
    let place = Place::new();
    let (mut archive, _, folder, era) = begun(&place);
    let ids = archive.commit(&[kept(folder, era, 2), kept(folder, era, 1), kept(folder, era, 3)]).unwrap();
    let next = archive.era(folder, 8, 200).unwrap().id;
    let gone = ArchiveChange::Gone { entry: ids[2].0, at: 300 };
    let again = NewEntry { listed_size: Some(14), ..entry(next, 40) };
    archive.commit(&[ArchiveChange::Recognised { entry: again, file: ids[0].1 }, gone]).unwrap();
    archive.commit(&[ArchiveChange::Removing { file: ids[2].1 }]).unwrap();
    let third = archive.era(folder, 9, 300).unwrap().id;
    let loose = |era: EraId| {
        let mut all = Vec::new();
        archive
            .loose_files(folder, era, &mut |file| {
                all.push(file);
                Ok(())
            })
            .unwrap();
        all
    };
    let kept = file(folder, 1);
    let wanted = LooseFile {
        id: ids[1].1,
        stem: kept.stem,
        content: kept.content,
        header: kept.header,
        seconds: Some(5),
        length: 12,
        object_id: kept.object_id,
        listed_size: Some(12),
    };
    assert_eq!(loose(next), [wanted]);
    assert_eq!(loose(era), []);
    assert_eq!(
        loose(third).iter().map(|file| (file.id, file.listed_size)).collect::<Vec<_>>(),
        [(ids[1].1, Some(12)), (ids[0].1, Some(14))]
    );
}

#[test]
fn the_same_uid_or_key_twice_is_refused_with_its_whole_batch() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    archive.commit(&[kept(folder, era, 1)]).unwrap();
    let twice = ArchiveChange::Kept { entry: entry(era, 1), file: file(folder, 9) };
    assert_eq!(archive.commit(&[kept(folder, era, 2), twice]).unwrap_err().kind(), Kind::Local);
    let pop3 = archive.era(folder, 0, 100).unwrap().id;
    let keyed = |number: u32| ArchiveChange::Kept {
        entry: NewEntry { uid: None, key: Some(Key::Uidl { uidl: "x".into() }), ..entry(pop3, 1) },
        file: file(folder, number),
    };
    let ids = archive.commit(&[keyed(20)]).unwrap();
    assert!(archive.commit(&[keyed(21)]).is_err());
    assert_eq!(archive.keys(pop3).unwrap(), [("uidl:x".to_owned(), (ids[0].0, false))].into());
    assert_eq!(held(&archive, pop3, None).len(), 1);
    assert_eq!(sums(&archive, account), (2, 0, 20));
}

#[test]
fn a_file_that_is_known_under_its_name_is_that_one_and_another_message_there_is_refused() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let found = ArchiveFile { object_id: None, ..file(folder, 1) };
    archive.commit(&[ArchiveChange::Found { file: found.clone() }, ArchiveChange::Found { file: found }]).unwrap();
    assert_eq!((files_of(&archive, folder)[0].1, sums(&archive, account)), (0, (0, 0, 10)));
    archive.commit(&[kept(folder, era, 1)]).unwrap();
    assert_eq!(files_of(&archive, folder).len(), 1);
    assert_eq!(archive.files_like(account, Some("emailid:M1"), None).unwrap().len(), 1);
    assert_eq!(sums(&archive, account), (1, 0, 10));
    let other = ArchiveFile { stem: file(folder, 1).stem, ..file(folder, 2) };
    assert_eq!(archive.commit(&[ArchiveChange::Kept { entry: entry(era, 2), file: other }]).unwrap_err().kind(), Kind::Local);
}

#[test]
fn a_message_is_recognised_under_a_new_uidvalidity_and_counts_once() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let mark = Mark { uid_validity: 7, uid_next: Some(2), highest_mod_seq: Some(u64::MAX), messages: Some(1) };
    let ids = archive.commit(&[kept(folder, era, 1), ArchiveChange::Visited { folder, mark, at: 900 }]).unwrap();
    let seen = archive.folder(account, &Folder::inbox()).unwrap();
    assert_eq!(seen.mark.map(|mark| (mark.uid_next, mark.highest_mod_seq)), Some((Some(2), Some(i64::MAX as u64))));
    assert_eq!(seen.complete_at, Some(900));
    let next = archive.era(folder, 8, 1000).unwrap();
    let seen = archive.folder(account, &Folder::inbox()).unwrap();
    assert_eq!((seen.mark, seen.era, seen.complete_at), (None, Some(next.id), Some(900)));
    assert_eq!(archive.eras(folder).unwrap().iter().map(|era| (era.uid_validity, era.since)).collect::<Vec<_>>(), [(7, 100), (8, 1000)]);
    archive
        .commit(&[
            ArchiveChange::Recognised { entry: entry(next.id, 40), file: ids[0].1 },
            ArchiveChange::Gone { entry: ids[0].0, at: 1000 },
        ])
        .unwrap();
    assert_eq!(sums(&archive, account), (1, 0, 10), "the old entry is gone, the message is not");
    assert_eq!(files_of(&archive, folder)[0].1, 2);
    assert_eq!(held(&archive, next.id, None)[0].file.id, ids[0].1);
}

#[test]
fn messages_go_and_come_back_and_the_moment_they_went_stays() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let ids = archive.commit(&[kept(folder, era, 1), kept(folder, era, 2)]).unwrap();
    archive.commit(&[ArchiveChange::Gone { entry: ids[0].0, at: 500 }]).unwrap();
    archive.commit(&[ArchiveChange::Gone { entry: ids[0].0, at: 900 }]).unwrap();
    assert_eq!(sums(&archive, account), (1, 1, 20));
    assert_eq!(
        (archive.uids(era, false).unwrap().to_string(), archive.uids(era, true).unwrap().to_string()),
        ("2".to_owned(), "1".to_owned())
    );
    let gone = |archive: &Archive, before| {
        let mut found = Vec::new();
        archive
            .gone_files(folder, before, &mut |file, since| {
                found.push((file.id, since));
                Ok(())
            })
            .unwrap();
        found
    };
    assert_eq!((gone(&archive, 499), gone(&archive, 500)), (Vec::new(), vec![(ids[0].1, 500)]));
    archive.commit(&[ArchiveChange::Back { entry: ids[0].0 }]).unwrap();
    assert_eq!((sums(&archive, account), gone(&archive, 9999)), ((2, 0, 20), Vec::new()));
}

#[test]
fn flags_replace_flags_and_the_manifest_is_stale_from_then_on() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let ids = archive.commit(&[kept(folder, era, 1), ArchiveChange::ManifestWritten { account }]).unwrap();
    assert!(archive.accounts().unwrap()[0].manifest_stale, "mail of the same batch is not in it");
    archive.commit(&[ArchiveChange::ManifestWritten { account }]).unwrap();
    assert!(!archive.accounts().unwrap()[0].manifest_stale);
    archive.commit(&[ArchiveChange::Flags { entry: ids[0].0, flags: vec![Flag::new("$Junk")], labels: Vec::new() }]).unwrap();
    let now = held(&archive, era, None).remove(0).entry;
    assert_eq!((now.flags, now.labels), (vec![Flag::new("$Junk")], Vec::new()));
    assert!(archive.accounts().unwrap()[0].manifest_stale);
    let stranger = ArchiveChange::Flags { entry: EntryId(99), flags: Vec::new(), labels: Vec::new() };
    assert_eq!(archive.commit(&[stranger]).unwrap_err().kind(), Kind::Local);
}

#[test]
fn a_file_is_removed_in_two_steps_and_never_while_its_message_is_on_the_server() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let (entry, file) = archive.commit(&[kept(folder, era, 1), kept(folder, era, 2)]).unwrap()[0];
    assert!(archive.commit(&[ArchiveChange::Removing { file }]).is_err());
    assert!(archive.commit(&[ArchiveChange::Removed { file }]).is_err());
    archive.commit(&[ArchiveChange::Gone { entry, at: 5 }, ArchiveChange::Removing { file }]).unwrap();
    drop(archive);
    let mut archive = place.open().unwrap();
    assert_eq!(archive.removing(account).unwrap().iter().map(|file| file.id).collect::<Vec<_>>(), [file]);
    assert_eq!((held(&archive, era, None).len(), files_of(&archive, folder).len()), (1, 1));
    assert!(archive.files_like(account, Some("emailid:M1"), None).unwrap().is_empty());
    assert!(archive.commit(&[ArchiveChange::Back { entry }]).is_err());
    archive.commit(&[ArchiveChange::Removed { file }]).unwrap();
    assert_eq!((sums(&archive, account), archive.removing(account).unwrap().len()), ((1, 0, 10), 0));
    assert_eq!(archive.uids(era, true).unwrap(), UidSet::new());
}

#[test]
fn a_mended_file_keeps_its_entries_in_another_folder_and_under_another_name() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let (gone, first) = archive.commit(&[kept(folder, era, 1), kept(folder, era, 2)]).unwrap()[0];
    archive.commit(&[ArchiveChange::Gone { entry: gone, at: 5 }]).unwrap();
    let other = archive.folder(account, &Folder::parse("Other").unwrap()).unwrap().id;
    let mended = ArchiveFile { id: first, folder: other, stem: "new".to_owned(), octets: 30, ..file(folder, 1) };
    archive.commit(&[ArchiveChange::Mended { file: mended.clone() }]).unwrap();
    assert_eq!(sums(&archive, account), (1, 0, 10));
    assert_eq!(files_of(&archive, other), [(mended, 1)]);
    assert_eq!(archive.folders(account).unwrap().iter().map(|folder| (folder.gone, folder.octets)).collect::<Vec<_>>(), [(0, 10), (1, 30)]);
}

#[test]
fn what_is_put_aside_counts_tries_is_ignored_released_or_tried_again() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    let aside = |key: &str, reason: &str, at| ArchiveChange::Quarantine {
        folder,
        uid: Some(4),
        key: key.to_owned(),
        reason: reason.to_owned(),
        at,
    };
    let mark = Mark { uid_validity: 7, ..Mark::default() };
    archive.commit(&[aside("uid:7:4", "one", 1), aside("uid:7:5", "other", 1), ArchiveChange::Visited { folder, mark, at: 1 }]).unwrap();
    archive.commit(&[ArchiveChange::Ignored { folder, key: "uid:7:4".to_owned() }, aside("uid:7:4", "two", 2)]).unwrap();
    let found = archive.put_aside(account).unwrap();
    let expected = PutAside { folder, key: "uid:7:4".to_owned(), uid: Some(4), reason: "two".to_owned(), tries: 2, at: 2, ignored: true };
    assert_eq!((found.len(), &found[0]), (2, &expected));
    assert!(archive.commit(&[ArchiveChange::Ignored { folder, key: "uid:7:9".to_owned() }]).is_err());
    archive.commit(&[ArchiveChange::Released { folder, key: "uid:7:4".to_owned() }]).unwrap();
    assert!(archive.folders(account).unwrap()[0].mark.is_some());
    archive.commit(&[ArchiveChange::Retry { folder, key: "uid:7:5".to_owned() }]).unwrap();
    assert!(archive.put_aside(account).unwrap().is_empty());
    assert_eq!((archive.folders(account).unwrap()[0].mark, era), (None, archive.folders(account).unwrap()[0].era.unwrap()));
}

#[test]
fn folders_are_renamed_by_an_intent_first_and_an_empty_one_of_that_name_makes_way() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    archive.commit(&[kept(folder, era, 1)]).unwrap();
    let to = Folder::parse("New/Näme").unwrap();
    let other = archive.folder(account, &to).unwrap().id;
    archive.era(other, 3, 1).unwrap();
    archive.commit(&[ArchiveChange::Renaming { folder, to: to.clone() }]).unwrap();
    assert_eq!(archive.folder(account, &Folder::inbox()).unwrap().renaming_to, Some(to.clone()));
    archive
        .commit(&[
            ArchiveChange::Renamed { folder, to: to.clone() },
            ArchiveChange::FolderFacts {
                folder,
                mailbox_id: Some("F1".to_owned()),
                special_use: Some("sent".to_owned()),
                subscribed: true,
            },
        ])
        .unwrap();
    let now = archive.folders(account).unwrap();
    assert_eq!(now.len(), 1);
    assert_eq!((&now[0].folder, now[0].id, &now[0].renaming_to, now[0].messages), (&to, folder, &None, 1));
    assert_eq!((now[0].mailbox_id.as_deref(), now[0].special_use.as_deref(), now[0].subscribed), (Some("F1"), Some("sent"), true));
    archive.commit(&[ArchiveChange::FolderGone { folder, at: Some(77) }]).unwrap();
    assert_eq!(archive.find_folder(account, &to).unwrap().unwrap().gone_at, Some(77));
    let inbox = archive.folder(account, &Folder::inbox()).unwrap().id;
    assert!(archive.commit(&[ArchiveChange::Renamed { folder: inbox, to }]).is_err(), "one with mail does not make way");
    assert!(archive.commit(&[ArchiveChange::FolderGone { folder: ArchiveFolderId(99), at: None }]).is_err());
}

#[test]
fn accounts_get_names_that_no_other_has_in_any_case_nor_as_a_manifest() {
    let place = Place::new();
    let mut archive = place.open().unwrap();
    let mut name = |identity: &str, wanted: &str| archive.account(identity, wanted).unwrap().name;
    assert_eq!(name("imap://a", "Work"), "Work");
    assert_eq!(name("imap://b", "work"), "work-2");
    assert_eq!(name("imap://a", "other"), "Work");
    assert_eq!(name("imap://c", "work"), "work-3");
    assert_eq!(name("imap://d", "WORK.sha256"), "WORK.sha256-2");
}

#[test]
fn runs_tell_how_they_ended_and_which_died() {
    let place = Place::new();
    let (mut archive, account, ..) = begun(&place);
    assert!(!archive.died(account).unwrap());
    archive.begin_run(account).unwrap();
    assert!(!archive.died(account).unwrap(), "the one that goes on did not die");
    archive.finish_run(account, true, None, None).unwrap();
    archive.begin_run(account).unwrap();
    archive.finish_run(account, false, Some("folders are missing"), Some("no connection")).unwrap();
    assert!(archive.finish_run(account, true, None, None).is_err());
    let last = archive.last_run(account, false).unwrap().unwrap();
    assert_eq!(
        (last.complete, last.suspicious.as_deref(), last.error.as_deref()),
        (false, Some("folders are missing"), Some("no connection"))
    );
    assert!(archive.last_run(account, true).unwrap().unwrap().finished.is_some());
    archive.begin_run(account).unwrap();
    drop(archive);
    let mut archive = place.open().unwrap();
    assert!(archive.died(account).unwrap());
    for _ in 0..600 {
        archive.begin_run(account).unwrap();
        archive.finish_run(account, false, None, None).unwrap();
    }
    assert!(archive.last_run(account, true).unwrap().unwrap().complete, "the last complete one is never forgotten");
    let rows: Option<i64> = archive.one("SELECT count(*) FROM run", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, Some(502));
}

#[test]
fn another_store_a_newer_version_and_another_journal_are_refused() {
    let place = Place::new();
    drop(begun(&place));
    let context = Context::from_environment();
    let other = Archive::open(&place.dir(), "ffff", &context).err().unwrap();
    assert_eq!(other.kind(), Kind::Safety);
    assert!(other.to_string().contains("mailhaul rebuild"), "{other}");
    assert_eq!(Archive::read_only(&place.dir(), "ffff").err().unwrap().kind(), Kind::Safety);
    assert!(crate::state::Journal::open(&place.dir(), STORE, &context).is_err());
    Connection::open(place.dir().join("journal.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(place.refused().to_string().contains("newer"));
}

/// What was done to a database, and which words the refusal has to contain.
fn refused_with(place: &Place, words: &str) {
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Local, "{error}");
    let store = place.dir().parent().unwrap().display().to_string();
    assert!(error.to_string().contains(words) && error.to_string().contains(&format!("mailhaul rebuild {store}")), "{error}");
    let reader = Archive::read_only(&place.dir(), STORE).err().expect("the archive was read");
    assert!(reader.to_string().contains(words), "{reader}");
}

#[test]
fn a_lost_database_a_lost_log_and_a_damaged_one_name_rebuild_and_stay_as_they_are() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    archive.begin_run(account).unwrap();
    archive.commit(&(1..500).map(|uid| kept(folder, era, uid)).collect::<Vec<_>>()).unwrap();
    archive.finish_run(account, true, None, None).unwrap();
    archive.close().unwrap();
    let path = place.dir().join("journal.db");
    let old = std::fs::read(&path).unwrap();
    archive.commit(&[kept(folder, era, 500)]).unwrap();
    let log = std::fs::read(place.dir().join("journal.db-wal")).unwrap();
    drop(archive);
    let sound = std::fs::read(&path).unwrap();
    std::fs::write(&path, &old).unwrap();
    refused_with(&place, "older state");
    assert_eq!(std::fs::read(&path).unwrap(), old);
    std::fs::write(place.dir().join("journal.db-wal"), &log).unwrap();
    assert!(place.open().unwrap().uids(era, false).unwrap().contains(500), "with its log it is whole");
    let mut torn = sound.clone();
    torn[4096 * 8..4096 * 30].fill(0x55);
    std::fs::write(&path, &torn).unwrap();
    let reader = Archive::read_only(&place.dir(), STORE).err().unwrap();
    assert!(reader.to_string().contains("damaged"), "{reader}");
    // After a run that died all is read, else only after a week.
    std::fs::write(place.dir().join("journal.db-wal"), b"x").unwrap();
    refused_with(&place, "damaged");
    assert_eq!(std::fs::read(&path).unwrap(), torn);
    std::fs::remove_file(place.dir().join("journal.db-wal")).unwrap();
    std::fs::remove_file(&path).unwrap();
    refused_with(&place, "missing");
    assert!(!path.exists());
}

#[test]
fn a_database_is_put_aside_whole_and_a_new_one_begins() {
    let place = Place::new();
    assert_eq!(Archive::set_aside(&place.dir(), &Context::from_environment()).unwrap(), None);
    let (archive, ..) = begun(&place);
    assert_eq!(Archive::set_aside(&place.dir(), &Context::from_environment()).unwrap_err().kind(), Kind::Locked);
    let log = std::fs::read(place.dir().join("journal.db-wal")).unwrap();
    drop(archive);
    std::fs::write(place.dir().join("journal.db-wal"), log).unwrap();
    let aside = Archive::set_aside(&place.dir(), &Context::from_environment()).unwrap().unwrap();
    assert!(aside.exists() && aside.with_file_name("aside-1-journal.db-wal").exists() && aside.with_file_name("aside-1-runs").exists());
    assert!(place.open().unwrap().accounts().unwrap().is_empty());
    let again = Archive::set_aside(&place.dir(), &Context::from_environment()).unwrap().unwrap();
    assert_ne!(aside, again);
    // What a kill between the steps leaves is refused until it is put aside as well.
    std::fs::write(place.dir().join("runs"), "3\n").unwrap();
    refused_with(&place, "missing");
    assert_eq!(Archive::set_aside(&place.dir(), &Context::from_environment()).unwrap(), None);
    place.open().unwrap();
}

#[test]
fn a_reader_reads_while_a_run_writes_and_makes_no_file() {
    let names = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let place = Place::new();
    assert!(Archive::read_only(&place.dir(), STORE).unwrap().is_none());
    let (mut archive, account, folder, era) = begun(&place);
    archive.commit(&[kept(folder, era, 1)]).unwrap();
    let before = names(&place.dir());
    let reader = Archive::read_only(&place.dir(), STORE).unwrap().unwrap();
    assert_eq!(reader.uids(era, false).unwrap().len(), 1);
    archive.commit(&[kept(folder, era, 2)]).unwrap();
    assert_eq!(reader.uids(era, false).unwrap().len(), 2);
    assert_eq!(names(&place.dir()), before);
    drop(reader);
    assert_eq!(Archive::watch(&place.dir()), Some((Some(std::process::id()), None)));
    archive.progress(&serde_json::json!({ "copied": 1 }));
    assert_eq!(Archive::watch(&place.dir()).unwrap().1.unwrap()["copied"], 1);
    archive.close().unwrap();
    drop(archive);
    assert_eq!(Archive::watch(&place.dir()), None);
    let before = names(&place.dir());
    let mut reader = Archive::read_only(&place.dir(), STORE).unwrap().unwrap();
    assert_eq!(sums(&reader, account), (2, 0, 20));
    assert!(reader.commit(&[kept(folder, era, 3)]).is_err() && reader.begin_run(account).is_err());
    assert!(reader.folder(account, &Folder::parse("new").unwrap()).is_err());
    assert_eq!(names(&place.dir()), before);
}

#[test]
fn a_hundred_thousand_messages_are_read_one_at_a_time_and_cost_a_run_nothing() {
    let place = Place::new();
    let (mut archive, account, folder, era) = begun(&place);
    for batch in 0..400u32 {
        archive.commit(&(1..=250).map(|index| kept(folder, era, batch * 250 + index)).collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(archive.uids(era, false).unwrap().to_string(), "1:100000");
    assert_eq!(sums(&archive, account), (100_000, 0, 1_000_000));
    assert_eq!(archive.files_like(account, None, Some(file(folder, 77_777).header)).unwrap().len(), 1);
    let mut seen = 0;
    archive
        .entries(era, None, &mut |held| {
            seen += 1;
            assert_eq!(held.entry.uid, Some(seen));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 100_000);
    // No statement of a run that finds nothing changed may walk through messages.
    for sql in [
        "SELECT messages FROM folder WHERE account = 1 ORDER BY name",
        "SELECT id FROM file WHERE removing = 1 AND folder IN (SELECT id FROM folder WHERE account = 1)",
        "SELECT id FROM run WHERE account = 1 AND complete = 1 ORDER BY id DESC LIMIT 1",
        "SELECT uid FROM entry WHERE era = 1 AND gone_at IS NOT NULL AND uid IS NOT NULL ORDER BY uid",
        "SELECT id FROM file WHERE substr(header, 1, 8) = x'00' AND header = x'00'",
    ] {
        let plan: Vec<String> = archive.database.all(&format!("EXPLAIN QUERY PLAN {sql}"), [], |row| row.get(3)).unwrap();
        assert!(!plan.iter().any(|step| step.starts_with("SCAN") || step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
    }
}

#[test]
fn a_kill_between_the_two_counters_is_no_alarm_and_the_other_order_is() {
    let place = Place::new();
    let (mut archive, _, folder, era) = begun(&place);
    let counter = place.dir().join("runs");
    let before = std::fs::read_to_string(&counter).unwrap();
    archive.close().unwrap();
    archive.commit(&[kept(folder, era, 1)]).unwrap();
    let after = std::fs::read_to_string(&counter).unwrap();
    assert_ne!(before, after);
    drop(archive);
    std::fs::write(&counter, &before).unwrap();
    let mut archive = place.open().unwrap();
    assert_eq!(archive.uids(era, false).unwrap().len(), 1);
    archive.commit(&[kept(folder, era, 2)]).unwrap();
    drop(archive);
    std::fs::write(&counter, "100\n").unwrap();
    refused_with(&place, "older state");
    std::fs::write(&counter, "x\n").unwrap();
    assert_eq!(place.refused().kind(), Kind::Local);
}

#[test]
fn an_archive_that_was_closed_in_order_is_not_read_whole_again_within_a_week() {
    let place = Place::new();
    let (mut archive, ..) = begun(&place);
    archive.close().unwrap();
    drop(archive);
    let checked = |archive: &Archive| archive.one("SELECT checked FROM meta", [], |row| row.get::<_, i64>(0)).unwrap().unwrap();
    let set = |at: i64| {
        let database = Connection::open(place.dir().join("journal.db")).unwrap();
        database.execute("UPDATE meta SET checked = ?1", [at]).unwrap();
    };
    let now = checked(&place.open().unwrap());
    assert!(now > 0);
    set(now - 100_000);
    assert_eq!(checked(&place.open().unwrap()), now - 100_000, "a day ago is good enough");
    for wrong in [now - 700_000, now + 100_000] {
        set(wrong);
        assert!((now..now + 1000).contains(&checked(&place.open().unwrap())));
    }
    set(now - 100_000);
    std::fs::write(place.dir().join("journal.db-wal"), b"a run died").unwrap();
    assert!(checked(&place.open().unwrap()) >= now, "after a death all is read");
}
