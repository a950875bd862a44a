//! A power cut at any moment takes nothing that the journal tells of: the system calls of whole runs are read, and every file and
//! every name is found synced before the page of the journal that tells of it was written. The judge itself is shown to be able
//! to say no, on traces with syncs taken out.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::scene::{Change, EVERYTHING, Kind, Scene, all_of};
use crate::crash::bench::say;
use crate::support::store::{self, Layout};
use crate::support::strace::{self, Call, Store, Verdict};

/// Whether system calls can be watched; a machine where they cannot is a failure that says what to do.
pub fn can_watch() -> bool {
    if std::env::var_os("MAILHAUL_TEST_NO_STRACE").is_some_and(|value| value == "1") {
        say("left out as told: the order of syncs and commits is not proved on this machine");
        return false;
    }
    let watched = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let works = watched.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        works,
        "strace cannot watch a program here: scripts/setup installs it, and ptrace must be allowed (in a container: \
         --cap-add=SYS_PTRACE); MAILHAUL_TEST_NO_STRACE=1 leaves the proof of durability out. It said: {watched:?}"
    );
    true
}

/// A run under strace, which must end with 0; its calls.
pub fn watch(scene: &Scene) -> String {
    let file = scene.tool.path("calls");
    let wrapper = ["strace", "-f", "-y", "-s", strace::OCTETS, "-o", file.to_str().unwrap(), "-e", strace::CALLS];
    let output = scene.tool.run_under(&wrapper, &scene.arguments());
    assert_eq!(output.code, 0, "{output}");
    let text = std::fs::read(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

fn judge(text: &str, root: &Path, fresh: bool) -> Verdict {
    let allowed = strace::syncfs_allowed(root);
    strace::judge(&strace::parse(text), &Store { root: root.to_str().unwrap(), syncfs_allowed: allowed, fresh })
}

#[track_caller]
fn clean(verdict: &Verdict, case: &str) {
    let shown = &verdict.faults[..verdict.faults.len().min(20)];
    assert!(verdict.faults.is_empty(), "{case}: {} faults: {shown:#?}", verdict.faults.len());
}

#[derive(Debug)]
struct Case {
    name: &'static str,
    kind: Kind,
    layout: Layout,
    options: &'static [&'static str],
    changes: &'static [Change],
}

const CASES: &[Case] = &[
    Case { name: "plain", kind: Kind::Plain, layout: Layout::Maildir, options: &[], changes: EVERYTHING },
    Case { name: "modern, mirror", kind: Kind::Modern, layout: Layout::Maildir, options: &["--mirror"], changes: EVERYTHING },
    Case { name: "flags", kind: Kind::Condstore, layout: Layout::Maildir, options: &[], changes: &[Change::Flags] },
    Case { name: "eml", kind: Kind::Plain, layout: Layout::Eml, options: &[], changes: &[Change::Arrivals, Change::Renumbered] },
    Case { name: "three connections", kind: Kind::Modern, layout: Layout::Maildir, options: &["&connections=3"], changes: EVERYTHING },
    Case {
        name: "maildrop",
        kind: Kind::Pop3,
        layout: Layout::Maildir,
        options: &["--mirror"],
        changes: &[Change::Arrivals, Change::Departures],
    },
];

#[test]
fn whatever_the_journal_tells_of_was_synced_before() {
    if !can_watch() {
        return;
    }
    all_of(CASES, |case| {
        let mut scene = Scene::new(case.kind, case.layout, 40, 300);
        scene.choose(case.options);
        let first = watch(&scene);
        let root = scene.root().canonicalize().unwrap();
        let name = format!("{}, first run", case.name);
        let verdict = judge(&first, &root, true);
        clean(&verdict, &name);
        let stems = |scene: &Scene| {
            store::lying(&scene.root(), &scene.account(), case.layout)
                .into_iter()
                .map(|lying| lying.stem)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let there = stems(&scene);
        assert_eq!(verdict.named, there, "{name}: the judge saw the journal name every file");
        assert!(verdict.commits > 2 && verdict.manifests >= 1, "{name}: {verdict:?}");
        assert!(verdict.syncs + verdict.whole_syncs > 2, "{name}: {verdict:?}");
        say(&format!(
            "durability, {name}: {} names told after they were synced, {} commits, {} single syncs, {} of the file system",
            verdict.named.len(),
            verdict.commits,
            verdict.syncs,
            verdict.whole_syncs
        ));
        doctored(&first, &root, true, &name);
        for change in case.changes {
            scene.change(*change);
        }
        let second = watch(&scene);
        let name = format!("{}, second run", case.name);
        let verdict = judge(&second, &root, false);
        clean(&verdict, &name);
        let new: Vec<String> = stems(&scene).difference(&there).cloned().collect();
        assert!(new.iter().all(|stem| verdict.named.contains(stem)), "{name}: {new:?} against {:?}", verdict.named);
        if case.changes.contains(&Change::Flags) {
            // The other changes take some of the messages away that have new flags.
            assert!(verdict.reflagged >= if case.changes.len() == 1 { 4 } else { 3 }, "{name}: {verdict:?}");
        }
        if case.options.contains(&"--mirror") {
            assert!(verdict.removed >= 2, "{name}: {verdict:?}");
        }
        if case.changes != [Change::Flags] {
            assert_eq!(verdict.manifests, 1, "{name}: {verdict:?}");
        }
        doctored(&second, &root, false, &name);
        scene.expect_right(&name);
    });
}

#[test]
fn batches_that_are_synced_beside_the_writing_of_the_next_are_told_of_only_then() {
    if !can_watch() {
        return;
    }
    all_of(&[(Kind::Modern, 1120), (Kind::Pop3, 560)], |&(kind, count)| {
        let scene = Scene::new(kind, Layout::Maildir, count, 300);
        let text = watch(&scene);
        let root = scene.root().canonicalize().unwrap();
        let name = format!("many, {kind:?}");
        let verdict = judge(&text, &root, true);
        clean(&verdict, &name);
        assert_eq!(verdict.named.len(), usize::try_from(count).unwrap(), "{name}");
        if strace::syncfs_allowed(&root) {
            assert!(verdict.whole_syncs >= 2, "{name}: {verdict:?}");
        }
        // What the judge sees in smaller runs is shown there; here that it looks at all.
        let without: Vec<Call> = strace::parse(&text).into_iter().filter(|call| !is_sync(call, &root)).collect();
        let store = Store { root: root.to_str().unwrap(), syncfs_allowed: strace::syncfs_allowed(&root), fresh: true };
        assert!(!strace::judge(&without, &store).faults.is_empty(), "{name}: no sync at all is no fault");
        scene.expect_right(&name);
    });
}

/// A sync of the store that is not the journal's own.
fn is_sync(call: &Call, root: &Path) -> bool {
    let ours = call.arguments.contains(&format!("<{}", root.display())) && !call.arguments.contains("/journal.db");
    matches!(call.name.as_str(), "fsync" | "fdatasync" | "syncfs") && ours
}

/// The same trace, spoilt in ways that the judge must notice.
fn doctored(text: &str, root: &Path, fresh: bool, case: &str) {
    let allowed = strace::syncfs_allowed(root);
    let store = Store { root: root.to_str().unwrap(), syncfs_allowed: allowed, fresh };
    let calls = strace::parse(text);
    let without: Vec<Call> = calls.iter().filter(|call| !is_sync(call, root)).cloned().collect();
    assert!(!strace::judge(&without, &store).faults.is_empty(), "{case}: no sync at all is no fault");
    let mut places = std::collections::BTreeMap::new();
    for index in (0..calls.len()).filter(|&index| is_sync(&calls[index], root)) {
        let mut failed = calls.clone();
        failed[index].result = "-1 EIO (Input/output error)".to_owned();
        assert!(!strace::judge(&failed, &store).faults.is_empty(), "{case}: a sync that failed is no fault");
        let what = if calls[index].name == "syncfs" { "all".to_owned() } else { calls[index].descriptor().unwrap() };
        places.entry(what).or_insert_with(Vec::new).push(index);
    }
    // One sync may be one too many, what a dead run may have left unsynced is synced again: but a file or directory that is never
    // synced is a fault, unless a sync of the whole file system is behind it.
    let whole = calls.iter().rposition(|call| call.name == "syncfs").unwrap_or(0);
    // Nothing stays in these.
    let passing = |what: &str| what.ends_with("/tmp") || what.ends_with("/new");
    places.retain(|what, indices| what == "all" || indices.iter().any(|&index| index > whole) && !passing(what));
    let mut needless = Vec::new();
    for (what, indices) in &places {
        let fewer: Vec<Call> = (0..calls.len()).filter(|index| !indices.contains(index)).map(|index| calls[index].clone()).collect();
        if strace::judge(&fewer, &store).faults.is_empty() {
            needless.push(what);
        }
    }
    say(&format!("durability, {case}: {} of {} synced places are needed", places.len() - needless.len(), places.len()));
    assert!(needless.len() * 3 <= places.len(), "{case}: the judge would not miss the syncs of {needless:#?} among {places:#?}");
    // Every sync a little too late: behind the page that follows it.
    let mut late = calls.clone();
    for index in (0..late.len()).rev() {
        if is_sync(&late[index], root)
            && let Some(page) = (index..late.len()).find(|&at| late[at].name == "pwrite64" && late[at].arguments.contains("journal.db-wal"))
        {
            let behind = late[page].returned;
            late[index].entered = behind;
            late[index].returned = behind;
            let call = late.remove(index);
            late.insert(page, call);
        }
    }
    assert!(!strace::judge(&late, &store).faults.is_empty(), "{case}: syncs behind the commit are no fault");
    if allowed && calls.iter().any(|call| call.name == "syncfs") {
        let elsewhere = Store { syncfs_allowed: false, ..store };
        assert!(!strace::judge(&calls, &elsewhere).faults.is_empty(), "{case}: syncfs where it is not allowed is no fault");
    }
}

/// A file system in memory, where `syncfs` is not allowed to stand for anything; `None` where the machine has none at hand.
fn memory() -> Option<PathBuf> {
    let directory = PathBuf::from("/dev/shm");
    let probe = directory.join(format!("mh-{}", crate::support::random_token()));
    std::fs::create_dir(&probe).ok()?;
    (!strace::syncfs_allowed(&probe)).then_some(probe)
}

#[test]
fn where_syncfs_may_hide_errors_every_file_is_synced_by_itself() {
    if !can_watch() {
        return;
    }
    let Some(directory) = memory() else {
        say("left out: no file system in memory is mounted at /dev/shm");
        return;
    };
    let mut scene = Scene::new(Kind::Modern, Layout::Maildir, 40, 300);
    let at = directory.join("store").to_str().unwrap().to_owned();
    scene.at = Box::leak(at.into_boxed_str());
    for (run, changes) in [&[][..], EVERYTHING].into_iter().enumerate() {
        for change in changes {
            scene.change(*change);
        }
        let text = watch(&scene);
        let root = scene.root().canonicalize().unwrap();
        let name = format!("in memory, run {run}");
        let verdict = judge(&text, &root, run == 0);
        clean(&verdict, &name);
        assert_eq!(verdict.whole_syncs, 0, "{name}");
        assert!(run > 0 || verdict.syncs > 40, "{name}: {verdict:?}");
        doctored(&text, &root, run == 0, &name);
    }
    scene.expect_right("in memory");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_judge_knows_what_a_sync_covers() {
    let root = "/s";
    let before = "1 mkdirat(AT_FDCWD</>, \"/s/post\", 0700) = 0\n\
        1 fsync(3</s>) = 0\n\
        1 mkdirat(3</s/post>, \"cur\", 0700) = 0\n\
        1 fsync(3</s/post>) = 0\n\
        1 openat(4</s/post/tmp>, \"x\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 5</s/post/tmp/x>\n\
        1 write(5</s/post/tmp/x>, \"hello\", 5) = 5\n\
        1 utimensat(5</s/post/tmp/x>, NULL, [{tv_sec=1, tv_nsec=0}], 0) = 0\n";
    let page = "1 pwrite64(9</s/.mailhaul/journal.db-wal>, \"\\0\\7\\3171.V1U1.abc,S=5\\1\", 4096, 56) = 4096\n\
        1 fdatasync(9</s/.mailhaul/journal.db-wal>) = 0\n";
    let file = "1 fsync(5</s/post/tmp/x>) = 0\n";
    let rename = "1 renameat2(4</s/post/tmp>, \"x\", 6</s/post/cur>, \"1.V1U1.abc,S=5:2,S\", RENAME_NOREPLACE) = 0\n";
    let cur = "1 fsync(6</s/post/cur>) = 0\n";
    let all = "1 syncfs(6</s/post/cur>) = 0\n";
    let faults = |parts: &[&str]| {
        let text = parts.concat();
        strace::judge(&strace::parse(&text), &Store { root, syncfs_allowed: true, fresh: false }).faults
    };
    assert_eq!(faults(&[before, file, rename, cur, page]), [""; 0]);
    assert_eq!(faults(&[before, rename, all, page]), [""; 0]);
    assert!(faults(&[before, rename, cur, page])[0].contains("octets"));
    assert!(faults(&[before, file, rename, page])[0].contains("the entry"));
    assert!(faults(&[before, file, rename, page, cur])[0].contains("the entry"));
    assert!(!faults(&[before, all, rename, page]).is_empty());
    // fdatasync keeps no times.
    let half = file.replace("fsync", "fdatasync");
    assert!(faults(&[before, &half, rename, cur, page])[0].contains("times"));
    // Written again behind the sync.
    let more = "1 write(5</s/post/tmp/x>, \"more\", 4) = 4\n";
    assert!(faults(&[before, file, more, rename, cur, page])[0].contains("octets"));
    // A sync that began before the rename was done, on another thread.
    let begun = "2 fsync(6</s/post/cur> <unfinished ...>\n";
    let done = "2 <... fsync resumed>) = 0\n";
    assert!(faults(&[before, file, begun, rename, done, page])[0].contains("the entry"));
    assert_eq!(faults(&[before, file, rename, begun, done, page]), [""; 0]);
    // A sync that failed.
    let failed = "1 fsync(5</s/post/tmp/x>) = -1 EIO (Input/output error)\n";
    assert!(faults(&[before, failed, rename, cur, page])[0].contains("EIO"));
    // A new name for flags, and a removal, behind which the journal goes on too soon.
    let reflag = "1 renameat2(6</s/post/cur>, \"1.V1U1.abc,S=5:2,S\", 6</s/post/cur>, \"1.V1U1.abc,S=5:2,FS\", RENAME_NOREPLACE) = 0\n";
    let other = "1 pwrite64(9</s/.mailhaul/journal.db-wal>, \"flags\", 5, 56) = 5\n1 fdatasync(9</s/.mailhaul/journal.db-wal>) = 0\n";
    let whole = [before, file, rename, cur, page];
    assert_eq!(faults(&[&whole[..], &[reflag, cur, other]].concat()), [""; 0]);
    assert!(!faults(&[&whole[..], &[reflag, other, cur]].concat()).is_empty());
    let unlink = "1 unlinkat(6</s/post/cur>, \"1.V1U1.abc,S=5:2,S\", 0) = 0\n";
    assert_eq!(faults(&[&whole[..], &[other, unlink, cur, other]].concat()), [""; 0]);
    assert!(!faults(&[&whole[..], &[other, unlink, other, cur]].concat()).is_empty());
    // Removed before what says so is on the disk.
    let unsynced = "1 pwrite64(9</s/.mailhaul/journal.db-wal>, \"intent\", 6, 56) = 6\n";
    assert!(!faults(&[&whole[..], &[unsynced, unlink, cur, other]].concat()).is_empty());
    // The log is emptied once what it said is in the database, and synced there; not before.
    let database = "1 pwrite64(8</s/.mailhaul/journal.db>, \"page\", 4, 0) = 4\n";
    let put = "1 fdatasync(8</s/.mailhaul/journal.db>) = 0\n";
    let emptied = "1 ftruncate(9</s/.mailhaul/journal.db-wal>, 0) = 0\n";
    assert_eq!(faults(&[&whole[..], &[database, put, emptied]].concat()), [""; 0]);
    assert!(faults(&[&whole[..], &[database, emptied, put]].concat())[0].contains("emptied"));
    // The store's own name.
    let deep = |text: &str| strace::judge(&strace::parse(text), &Store { root: "/t/s", syncfs_allowed: false, fresh: true }).faults;
    let made = "1 mkdir(\"/t/s\", 0700) = 0\n";
    assert!(deep(made)[0].contains("the entry of /t/s"));
    assert_eq!(deep(&format!("{made}1 fsync(3</t>) = 0\n")), [""; 0]);
    // A manifest in the old one's place before it is whole.
    let manifest = "1 openat(3</s>, \".work.sha256.new\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 7</s/.work.sha256.new>\n\
        1 write(7</s/.work.sha256.new>, \"x\", 1) = 1\n";
    let replace = "1 renameat(3</s>, \".work.sha256.new\", 3</s>, \"work.sha256\") = 0\n1 fsync(3</s>) = 0\n";
    let synced = "1 fsync(7</s/.work.sha256.new>) = 0\n";
    assert_eq!(faults(&[&whole[..], &[manifest, synced, replace, other]].concat()), [""; 0]);
    assert!(!faults(&[&whole[..], &[manifest, replace, other]].concat()).is_empty());
}

#[test]
fn every_level_above_a_new_store_is_synced_as_well() {
    if !can_watch() {
        return;
    }
    let mut scene = Scene::new(Kind::Plain, Layout::Maildir, 1, 30);
    scene.at = "deep/er/store";
    let calls = strace::parse(&watch(&scene));
    let work = scene.tool.path("").canonicalize().unwrap();
    for level in ["", "deep", "deep/er", "deep/er/store"] {
        let path = work.join(level);
        let shown = format!("<{}>", path.to_str().unwrap().trim_end_matches('/'));
        assert!(calls.iter().any(|call| call.name == "fsync" && call.arguments.ends_with(&shown)), "{shown} is never synced");
    }
}
