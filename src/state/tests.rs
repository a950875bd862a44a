//! The journal against kills, losses, strangers and mistakes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::context::Context;
use crate::error::Kind;

const DESTINATION: &str = "imaps://ann@mail.example";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }

    fn open(&self) -> crate::error::Result<Journal> {
        Journal::open(&self.dir(), DESTINATION, &Context::from_environment())
    }

    fn refused(&self) -> crate::error::Error {
        self.open().err().expect("the journal was opened")
    }
}

fn inbox(journal: &mut Journal) -> (MailboxId, GenerationId) {
    let mailbox = journal.mailbox(&Folder::inbox()).unwrap();
    (mailbox, journal.add_generation(mailbox, 7).unwrap())
}

fn intent((mailbox, generation): (MailboxId, GenerationId), uid: u32) -> NewIntent {
    let digest = Digest::of(&uid.to_be_bytes());
    NewIntent {
        source: "imaps://old".to_owned(),
        folder: Folder::parse("a/b%2Fc").unwrap(),
        key: Key::Uid { generation: 1, uid },
        mailbox,
        generation,
        exact: digest,
        content: digest,
        header: None,
        body: Some(digest),
        length: 10,
        floor: 5,
        at: i64::from(uid),
        again: false,
    }
}

fn one(journal: &mut Journal, change: Change) -> crate::error::Result<Vec<CopyId>> {
    journal.commit(&Batch(vec![change]))
}

fn state_of(journal: &Journal, mailbox: MailboxId, uid: u32) -> CopyRow {
    let folder = Folder::parse("a/b%2Fc").unwrap();
    journal.copies("imaps://old", &folder, mailbox).unwrap()[&Key::Uid { generation: 1, uid }.to_string()].clone()
}

#[test]
fn the_lock_keeps_a_second_run_out_and_names_the_first() {
    let place = Place::new();
    let first = place.open().unwrap();
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Locked);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert_eq!(holder(&place.dir()), Some(Some(std::process::id())));
    drop(first);
    assert_eq!(holder(&place.dir()), None);
    place.open().unwrap();
}

#[test]
fn a_newer_schema_and_another_destination_are_refused() {
    let place = Place::new();
    drop(place.open().unwrap());
    let other = Journal::open(&place.dir(), "imaps://bob@mail.example", &Context::from_environment()).err().unwrap();
    assert_eq!(other.kind(), Kind::Safety);
    Connection::open(place.dir().join("journal.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Local);
    assert!(error.to_string().contains("newer"), "{error}");
}

#[test]
fn a_lost_log_is_noticed_even_after_the_counter_reached_the_database() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    journal.begin_run().unwrap();
    let at = inbox(&mut journal);
    journal.finish_run(true).unwrap();
    one(&mut journal, Change::Intend(intent(at, 1))).unwrap();
    // What a kill and the loss of the log leave: the database file alone.
    let old = std::fs::read(place.dir().join("journal.db")).unwrap();
    drop(journal);
    drop(place.open().unwrap());
    std::fs::write(place.dir().join("journal.db"), &old).unwrap();
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Local);
    assert!(error.to_string().contains("older state"), "{error}");
    assert!(Journal::read_only(&place.dir(), DESTINATION).is_err());
    assert_eq!(std::fs::read(place.dir().join("journal.db")).unwrap(), old);
    std::fs::remove_file(place.dir().join("journal.db")).unwrap();
    assert!(place.refused().to_string().contains("older state"));
}

#[test]
fn a_kill_between_the_two_counters_is_no_alarm() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    journal.begin_run().unwrap();
    let counter = place.dir().join("runs");
    let before = std::fs::read(&counter).unwrap();
    journal.finish_run(true).unwrap();
    journal.begin_run().unwrap();
    assert_ne!(std::fs::read(&counter).unwrap(), before);
    drop(journal);
    // The database was raised and the file was not yet.
    std::fs::write(&counter, &before).unwrap();
    place.open().unwrap().begin_run().unwrap();
    // The other order, which we never write, is what a loss looks like.
    std::fs::write(&counter, "100\n").unwrap();
    assert!(place.refused().to_string().contains("older state"));
}

#[test]
fn a_failing_change_undoes_its_whole_batch() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    let ids = one(&mut journal, Change::Intend(intent(at, 1))).unwrap();
    let batch = Batch(vec![
        Change::Done { copy: ids[0], uid: Some((at.1, 9)), altered: false },
        Change::Intend(intent(at, 2)),
        Change::Intend(intent(at, 2)),
    ]);
    assert_eq!(journal.commit(&batch).unwrap_err().kind(), Kind::Safety);
    assert_eq!(journal.outstanding(at.0).unwrap().len(), 1);
    assert!(journal.claimed_uids(at.1).unwrap().is_empty());
    let found = &journal.outstanding(at.0).unwrap()[0];
    assert_eq!(
        (found.key.as_str(), found.floor, found.length, found.body),
        ("uid:1:1", Some(5), 10, Some(Digest::of(&1u32.to_be_bytes())))
    );
    assert_eq!(found.folder, Folder::parse("a/b%2Fc").unwrap());
}

#[test]
fn nothing_open_or_done_is_sent_again_but_what_is_pending_or_refused_is() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    let id = one(&mut journal, Change::Intend(intent(at, 1))).unwrap()[0];
    let again = Change::Intend(intent(at, 1));
    assert_eq!(one(&mut journal, again.clone()).unwrap_err().kind(), Kind::Safety);
    one(&mut journal, Change::Unknown { copy: id, at: 0, altered: false }).unwrap();
    one(&mut journal, Change::Lost { copy: id }).unwrap();
    let error = one(&mut journal, again.clone()).unwrap_err();
    assert_eq!(error.kind(), Kind::Safety);
    assert!(error.to_string().contains("uid:1:1 is unknown"), "{error}");
    one(&mut journal, Change::Pending { copy: id }).unwrap();
    assert_eq!(one(&mut journal, again.clone()).unwrap(), [id]);
    assert_eq!(journal.outstanding(at.0).unwrap()[0].tries, 1);
    one(&mut journal, Change::Refused { copy: id, reason: "NO [TOOBIG]".to_owned() }).unwrap();
    assert_eq!(one(&mut journal, again.clone()).unwrap(), [id]);
    one(&mut journal, Change::Done { copy: id, uid: Some((at.1, 9)), altered: false }).unwrap();
    assert_eq!(one(&mut journal, again).unwrap_err().kind(), Kind::Safety);
    for change in [
        Change::Pending { copy: id },
        Change::Unknown { copy: id, at: 0, altered: false },
        Change::Done { copy: id, uid: Some((at.1, 8)), altered: false },
    ] {
        assert_eq!(one(&mut journal, change).unwrap_err().kind(), Kind::Safety);
    }
    journal.set_baseline(at.1, &[]).unwrap();
    assert_eq!(one(&mut journal, Change::Intend(NewIntent { again: true, ..intent(at, 1) })).unwrap(), [id]);
    assert_eq!(journal.baseline(at.1).unwrap(), Some(vec![9]), "the earlier copy may not be taken for the new one");
}

#[test]
fn one_destination_uid_belongs_to_one_copy() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    let ids = journal.commit(&Batch(vec![Change::Intend(intent(at, 1)), Change::Intend(intent(at, 2))])).unwrap();
    let uid = Some((at.1, 9));
    one(&mut journal, Change::Done { copy: ids[0], uid, altered: false }).unwrap();
    let error = one(&mut journal, Change::Done { copy: ids[1], uid, altered: false }).unwrap_err();
    assert_eq!(error.kind(), Kind::Protocol);
    assert!(error.to_string().contains("uid:1:1") && error.to_string().contains("uid:1:2"), "{error}");
    assert_eq!(one(&mut journal, Change::Adopted { copy: intent(at, 3), uid }).unwrap_err().kind(), Kind::Protocol);
    let other = journal.add_generation(at.0, 8).unwrap();
    one(&mut journal, Change::Done { copy: ids[1], uid: Some((other, 9)), altered: true }).unwrap();
    one(&mut journal, Change::Adopted { copy: intent(at, 3), uid: Some((at.1, 10)) }).unwrap();
    let row = state_of(&journal, at.0, 3);
    assert_eq!((row.state, row.uid, row.generation), (State::Done, Some(10), Some(at.1)));
    assert_eq!(journal.claimed_uids(at.1).unwrap(), [9, 10].into());
}

#[test]
fn a_baseline_tells_empty_from_never_recorded() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let (mailbox, generation) = inbox(&mut journal);
    assert_eq!(journal.generation(mailbox, 7).unwrap(), Some(generation));
    assert_eq!(journal.generation(mailbox, 8).unwrap(), None);
    assert_eq!(journal.baseline(generation).unwrap(), None);
    journal.set_baseline(generation, &[]).unwrap();
    assert_eq!(journal.baseline(generation).unwrap(), Some(Vec::new()));
    assert!(journal.set_baseline(generation, &[]).is_err());
    let next = journal.add_generation(mailbox, u32::MAX).unwrap();
    journal.set_baseline(next, &[Baseline { uid: u32::MAX, size: Some(u64::MAX), internal_date: None }]).unwrap();
    assert_eq!(journal.baseline(next).unwrap(), Some(vec![u32::MAX]));
}

#[test]
fn a_damaged_journal_is_refused_and_left_alone() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    let batch = Batch((1..2000).map(|uid| Change::Intend(intent(at, uid))).collect());
    journal.commit(&batch).unwrap();
    drop(journal);
    let path = place.dir().join("journal.db");
    let sound = std::fs::read(&path).unwrap();
    let mut torn = sound.clone();
    torn[4096 * 20..4096 * 60].fill(0x55);
    for bytes in [torn, b"not a database at all, but long enough to look like one".repeat(100)] {
        std::fs::write(&path, &bytes).unwrap();
        let error = place.refused();
        assert_eq!(error.kind(), Kind::Local);
        assert!(error.to_string().contains("damaged") && error.remedy().is_some(), "{error}");
        assert!(Journal::read_only(&place.dir(), DESTINATION).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(place.open().unwrap().outstanding(at.0).unwrap().len(), 1999);
}

#[test]
fn a_dry_run_reads_without_a_lock_and_makes_no_file() {
    let names = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let place = Place::new();
    assert!(Journal::read_only(&place.dir(), DESTINATION).unwrap().is_none());
    assert!(!place.dir().exists());
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    one(&mut journal, Change::Intend(intent(at, 1))).unwrap();
    let look = |dir: &Path| {
        let before = names(dir);
        let mut reader = Journal::read_only(dir, DESTINATION).unwrap().unwrap();
        assert_eq!(reader.outstanding(at.0).unwrap().len(), 1);
        assert_eq!(reader.mailbox(&Folder::inbox()).unwrap(), at.0);
        let unseen = reader.mailbox(&Folder::parse("new").unwrap()).unwrap();
        assert!(reader.copies("imaps://old", &Folder::inbox(), unseen).unwrap().is_empty());
        assert!(one(&mut reader, Change::Intend(intent(at, 2))).is_err());
        assert_eq!(names(dir), before);
    };
    look(&place.dir());
    // What a kill leaves: everything but the lock.
    let killed = Place::new();
    std::fs::create_dir(killed.dir()).unwrap();
    std::fs::set_permissions(killed.dir(), std::fs::Permissions::from_mode(0o700)).unwrap();
    for name in names(&place.dir()) {
        std::fs::copy(place.dir().join(&name), killed.dir().join(&name)).unwrap();
    }
    look(&killed.dir());
    assert_eq!(killed.open().unwrap().outstanding(at.0).unwrap().len(), 1);
    journal.finish_run(true).unwrap();
    drop(journal);
    look(&place.dir());
}

#[test]
fn quarantine_counts_tries_and_lets_go() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let (source, folder) = ("pop3s://old".to_owned(), Folder::inbox());
    let aside = |key, reason: &str| Change::Quarantine {
        source: source.clone(),
        folder: folder.clone(),
        key,
        uid: Some(4),
        reason: reason.to_owned(),
    };
    let key = Key::Uidl { uidl: "x".into() };
    journal.commit(&Batch(vec![aside(Some(key.clone()), "one"), aside(Some(key), "two"), aside(None, "three")])).unwrap();
    let found = journal.quarantine(&source, &folder).unwrap();
    assert_eq!(found["uidl:x"], Quarantined { reason: "two".to_owned(), tries: 2, uid: Some(4) });
    assert_eq!(found["number:4"].tries, 1);
    one(&mut journal, Change::Release { source: source.clone(), folder: folder.clone(), key: "number:4".to_owned() }).unwrap();
    assert_eq!(journal.quarantine(&source, &folder).unwrap().len(), 1);
}

#[test]
fn everything_is_private_and_nothing_is_reached_through_a_link() {
    let place = Place::new();
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let mut journal = place.open().unwrap();
    journal.begin_run().unwrap();
    journal.progress(&serde_json::json!({ "copied": 1 }));
    rustix::process::umask(before);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.dir()), 0o700);
    let mut seen = 0;
    for entry in std::fs::read_dir(place.dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 4);
    journal.finish_run(true).unwrap();
    assert_eq!(journal.last_run(true).unwrap().map(|run| run.complete), Some(true));
    drop(journal);
    let path = place.dir().join("journal.db");
    std::fs::rename(&path, place.dir().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert_eq!(place.refused().kind(), Kind::Local);
}

#[test]
fn a_directory_others_may_write_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.dir()).unwrap();
    std::fs::set_permissions(place.dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(place.refused().kind(), Kind::Local);
}

#[test]
fn the_default_directory_is_readable_and_unmistakable() {
    let below = |state: Option<&str>, home: Option<&str>, to: &str| files::dir_below(state.map(Into::into), home.map(Into::into), to);
    let dir = below(Some("/s"), Some("/h"), DESTINATION).unwrap();
    let name = dir.file_name().unwrap().to_str().unwrap();
    assert_eq!(dir.parent().unwrap(), Path::new("/s/mailhaul"));
    assert_eq!(name, format!("imaps-ann-mail.example-{}", Digest::of(DESTINATION.as_bytes()).to_string().get(..16).unwrap()));
    assert!(below(Some("relative"), Some("/h"), "../..").unwrap().starts_with("/h/.local/state/mailhaul"));
    assert!(!below(None, Some("/h"), "../..").unwrap().to_str().unwrap().contains(".."));
    assert!(below(None, None, DESTINATION).is_err());
}

#[test]
fn a_long_run_keeps_its_log_small_and_its_counter_ahead() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    for batch in 0..40u32 {
        let intents = (0..1000).map(|index| Change::Intend(intent(at, batch * 1000 + index + 1))).collect();
        let ids = journal.commit(&Batch(intents)).unwrap();
        let done =
            ids.iter().zip(1..).map(|(id, index)| Change::Done { copy: *id, uid: Some((at.1, batch * 1000 + index)), altered: false });
        journal.commit(&Batch(done.collect())).unwrap();
    }
    let log = place.dir().join("journal.db-wal").metadata().unwrap().len();
    assert!(log < 16 * 1024 * 1024, "{log}");
    let counter: i64 = std::fs::read_to_string(place.dir().join("runs")).unwrap().trim().parse().unwrap();
    assert!(counter > 1, "the log was never worked in");
    assert_eq!(journal.claimed_uids(at.1).unwrap().len(), 40_000);
}

#[test]
fn a_journal_may_move_to_another_thread() {
    fn moves<T: Send>() {}
    moves::<Journal>();
}

fn route(source_validity: u32) -> Route {
    Route { source: Folder::inbox(), source_validity, destination: Folder::parse("Archive").unwrap(), destination_validity: 9 }
}

#[test]
fn moves_are_open_until_they_are_forgotten_and_a_file_tells_so() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    assert!(!has_open_moves(&place.dir()).unwrap());
    journal.intend_moves(&route(1), [3, 5].into_iter(), 40, 1000).unwrap();
    journal.intend_moves(&route(2), [3].into_iter(), 41, 1000).unwrap();
    assert!(has_open_moves(&place.dir()).unwrap());
    journal.moves_copied(&route(1), [(3, Some(40)), (5, None)].into_iter()).unwrap();
    journal.moves_marked(&route(1), [5].into_iter()).unwrap();
    drop(journal);
    let mut journal = place.open().unwrap();
    let open: Vec<_> =
        journal.open_moves().unwrap().into_iter().map(|one| (one.route.source_validity, one.uid, one.stage, one.new_uid)).collect();
    assert_eq!(open, [(1, 3, Stage::Copied, Some(40)), (1, 5, Stage::Marked, None), (2, 3, Stage::Intended, None)]);
    journal.forget_moves(&route(1), [3, 5].into_iter()).unwrap();
    journal.finish_moves().unwrap();
    assert!(has_open_moves(&place.dir()).unwrap());
    journal.forget_moves(&route(2), [3].into_iter()).unwrap();
    journal.finish_moves().unwrap();
    assert!(!has_open_moves(&place.dir()).unwrap());
}

#[test]
fn a_copy_stays_claimed_while_one_of_a_twin_is_looked_for() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let to = route(1);
    journal.intend_moves(&to, [3, 4, 5].into_iter(), 40, 1000).unwrap();
    assert_eq!(journal.moves_floor(&to.destination, to.destination_validity).unwrap(), Some(40));
    journal.moves_copied(&to, [(3, Some(40)), (4, Some(41))].into_iter()).unwrap();
    journal.forget_moves(&to, [3].into_iter()).unwrap();
    assert_eq!(journal.claimed_by_moves(&to).unwrap(), [40, 41].into());
    let open = |journal: &Journal| journal.open_moves().unwrap().iter().map(|one| one.uid).collect::<Vec<_>>();
    assert_eq!(open(&journal), [4, 5]);
    let mailbox = journal.mailbox(&to.destination).unwrap();
    let generation = journal.add_generation(mailbox, to.destination_validity).unwrap();
    assert_eq!(journal.claimed_uids(generation).unwrap(), [41].into(), "what is gone from where it was is one message again");
    drop(journal);
    let mut journal = place.open().unwrap();
    assert_eq!(journal.claimed_by_moves(&to).unwrap(), [40, 41].into());
    journal.forget_moves(&to, [5].into_iter()).unwrap();
    assert_eq!((journal.claimed_by_moves(&to).unwrap(), open(&journal)), ([41].into(), vec![4]));
    assert_eq!(journal.moves_floor(&to.destination, to.destination_validity).unwrap(), None);
}

#[test]
fn a_journal_of_the_first_version_learns_of_moves_and_keeps_its_copies() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    one(&mut journal, Change::Intend(intent(at, 1))).unwrap();
    journal.finish_run(true).unwrap();
    drop(journal);
    let old = Connection::open(place.dir().join("journal.db")).unwrap();
    old.execute_batch("DROP TABLE relocation; PRAGMA user_version = 1").unwrap();
    drop(old);
    assert!(Journal::read_only(&place.dir(), DESTINATION).unwrap().is_some());
    let mut journal = place.open().unwrap();
    assert_eq!(state_of(&journal, at.0, 1).state, State::Intent);
    journal.intend_moves(&route(1), [3].into_iter(), 40, 1000).unwrap();
    assert_eq!(journal.open_moves().unwrap().len(), 1);
}

#[test]
fn a_copy_whose_source_was_removed_is_nobodys_and_its_key_is_free() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    let copy = one(&mut journal, Change::Intend(intent(at, 1))).unwrap()[0];
    assert_eq!(one(&mut journal, Change::Released { copy }).unwrap_err().kind(), Kind::Safety);
    one(&mut journal, Change::Done { copy, uid: Some((at.1, 70)), altered: false }).unwrap();
    journal.set_baseline(at.1, &[]).unwrap();
    one(&mut journal, Change::Released { copy }).unwrap();
    assert_eq!(journal.baseline(at.1).unwrap().unwrap(), [70]);
    assert!(journal.claimed_uids(at.1).unwrap().is_empty());
    one(&mut journal, Change::Intend(intent(at, 1))).unwrap();
}

#[test]
fn the_overview_counts_what_is_done_open_refused_and_put_aside() {
    let place = Place::new();
    let mut journal = place.open().unwrap();
    let at = inbox(&mut journal);
    let ids = journal.commit(&Batch((1..=4).map(|uid| Change::Intend(intent(at, uid))).collect())).unwrap();
    journal
        .commit(&Batch(vec![
            Change::Done { copy: ids[0], uid: None, altered: false },
            Change::Merged { copy: ids[1] },
            Change::Refused { copy: ids[2], reason: "NO [TOOBIG]".to_owned() },
            Change::Quarantine {
                source: "imaps://old".to_owned(),
                folder: Folder::inbox(),
                key: None,
                uid: Some(9),
                reason: "lost".to_owned(),
            },
        ]))
        .unwrap();
    let found = journal.progressed().unwrap();
    let figures: Vec<_> = found.iter().map(|one| (one.folder.to_string(), one.done, one.open, one.refused, one.put_aside)).collect();
    assert_eq!(figures, [("INBOX".to_owned(), 0, 0, 0, 1), ("a/b%2Fc".to_owned(), 2, 1, 1, 0)]);
    let failed = journal.failed().unwrap();
    let words: Vec<_> = failed.iter().map(|one| (one.key.as_str(), one.uid, one.reason.as_str(), one.refused)).collect();
    assert_eq!(words, [("number:9", Some(9), "lost", false), ("uid:1:3", Some(3), "NO [TOOBIG]", true)]);
}
