//! Disks that take no more: a file system of a few MiB filled to the brim at any page, with a kill at any step on top, files that
//! may not grow, and system calls that fail on order. The run says 7 and leaves nothing of its own behind; with room again the
//! next one makes it whole.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::scene::{Change, KILLED, Kind, Scene, all_of};
use crate::crash::bench::{full, say};
use crate::support::store::Layout;

/// What makes a private name space in which file systems can be mounted: by an ordinary user where the kernel lets them, else by
/// root; `None` where neither works.
fn private() -> Option<&'static [&'static str]> {
    static FOUND: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let ways: [&[&str]; 2] = [&["unshare", "-rm"], &["unshare", "-m"]];
        ways.into_iter().find(|way| {
            let probe = Command::new(way[0]).args(&way[1..]).args(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]).output();
            probe.is_ok_and(|output| output.status.success())
        })
    })
}

/// Runs the program on a small file system again and again: (perhaps killed), still full, with room, and once more.
/// What it said each time is in `out.1` … `err.4`; the store is copied out to `copy`.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=$SIZE,mode=700 tmpfs small || exit 99
go() { "$program" "$@" > "out.$n" 2> "err.$n"; echo $? > "code.$n"; }
program="$0"
n=1; MAILHAUL_TEST_CRASH="$CRASH" go "$@"
n=2; go "$@"
find small -name '*tmp*' -type f > left
# With its source named, none of the options it has is repeated: among them are owners that a name space of an ordinary user lacks.
mount -t tmpfs -o remount,size=64m tmpfs "$PWD/small" || exit 98
n=3; go "$@"
n=4; go "$@"
cp -a small/store copy
cat out.4
"#;

#[derive(Debug)]
struct Tight {
    kind: Kind,
    layout: Layout,
    changes: &'static [Change],
}

const TIGHT: &[Tight] = &[
    Tight { kind: Kind::Plain, layout: Layout::Maildir, changes: &[] },
    Tight { kind: Kind::Modern, layout: Layout::Eml, changes: &[] },
    Tight { kind: Kind::Plain, layout: Layout::Mbox, changes: &[] },
    Tight { kind: Kind::Pop3, layout: Layout::Maildir, changes: &[] },
];

struct Ran {
    codes: [i32; 4],
    scene: Scene,
    steps: Vec<String>,
}

impl Tight {
    /// So many KiB, dying at a step, or counting them.
    fn run(&self, size: u64, crash: Option<u64>) -> Ran {
        let case = format!("{:?} {:?} on {size} KiB, killed at {crash:?}", self.kind, self.layout);
        // Near 1.3 MB of mail.
        let mut scene = Scene::new(self.kind, self.layout, 30, 40_000);
        scene.at = "small/store";
        fs::create_dir(scene.tool.path("small")).unwrap();
        let steps = scene.tool.path("steps");
        let crash_text = crash.map_or_else(|| format!("count:{}", steps.display()), |step| step.to_string());
        scene.tool.set_env("SIZE", format!("{size}k")).set_env("CRASH", crash_text);
        let wrapper = [private().unwrap(), &["sh", "-c", SCRIPT]].concat();
        let output = scene.tool.run_under(&wrapper, &scene.arguments());
        let read = |name: &str| fs::read_to_string(scene.tool.path(name)).unwrap_or_default();
        assert_eq!(output.code, 0, "{case}: {output}\n{}\n{}", read("err.3"), read("err.4"));
        let codes = [1, 2, 3, 4].map(|run| read(&format!("code.{run}")).trim().parse::<i32>().unwrap());
        let said: String = (1..=4).map(|run| format!("{run}: {}", read(&format!("err.{run}")))).collect();
        let killed = crash.is_some() && codes[0] == 128 + 9;
        assert!(killed || [0, 7].contains(&codes[0]), "{case}: {codes:?}\n{said}");
        // A file system that is full cannot always make the place in which a run finds out what the last one did.
        assert!([0, 7].contains(&codes[1]), "{case}: {codes:?}\n{said}");
        assert_eq!(codes[2..], [0, 0], "{case}: {codes:?}\n{said}");
        for (run, code) in codes.iter().enumerate().take(2) {
            if *code == 7 {
                let words = read(&format!("err.{}", run + 1));
                // What helps is said as well.
                assert!(told(&words).contains("space") && words.contains("make room"), "{case}: {words}");
            }
        }
        assert_eq!(read("left"), "", "{case}: temporary files were left by a run that could remove them");
        let steps = read("steps").lines().map(str::to_owned).collect();
        scene.at = "copy";
        scene.tool.unset_env("SIZE");
        scene.tool.unset_env("CRASH");
        let again: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(again["copied"], 0, "{case}: {again}");
        scene.expect_right(&case);
        Ran { codes, scene, steps }
    }
}

/// The words of the errors on standard error, each an object with `--json`; there is one of a run that ends with 7.
#[track_caller]
fn told(stderr: &str) -> String {
    let errors: Vec<serde_json::Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(errors.iter().any(|error| error["code"] == 7), "no error that ends with 7: {stderr}");
    errors.iter().filter_map(|error| error["message"].as_str()).collect::<Vec<_>>().join("; ")
}

fn no_room_to_mount() -> bool {
    let none = private().is_none();
    if none {
        say("no file system can be mounted here, not even in a name space of our own: only files that may not grow are tried");
    }
    none
}

#[test]
fn a_file_system_full_at_any_page_ends_with_7_and_with_room_all_is_there() {
    if no_room_to_mount() {
        return;
    }
    let stride = if full() { 12 } else { 232 };
    let mut jobs = Vec::new();
    for (index, tight) in TIGHT.iter().enumerate() {
        jobs.extend((60 + index as u64 * 52..1900).step_by(stride).map(|size| (tight, size)));
    }
    let filled = AtomicUsize::new(0);
    all_of(&jobs, |&(tight, size)| {
        let ran = tight.run(size, None);
        filled.fetch_add(usize::from(ran.codes[0] == 7), Ordering::Relaxed);
        drop(ran.scene);
    });
    let filled = filled.into_inner();
    say(&format!("full disks survived, backup: {filled}/{filled} of {} sizes", jobs.len()));
    assert!(filled * 2 > jobs.len() && filled < jobs.len(), "{filled} of {} were full", jobs.len());
}

#[test]
fn a_backup_killed_at_any_step_on_a_nearly_full_disk_is_made_good_with_room() {
    if no_room_to_mount() {
        return;
    }
    let sizes: &[(usize, u64)] = &[(0, 700), (0, 1200), (1, 900), (2, 1100), (3, 800)];
    let jobs = Mutex::new(Vec::new());
    all_of(sizes, |&(index, size)| {
        let counted = TIGHT[index].run(size, None);
        assert_eq!(counted.codes[0], 7, "{size} KiB are enough");
        let steps = counted.steps.len() as u64;
        let stride = if full() { 1 } else { steps.div_ceil(3) };
        let first = if full() { 0 } else { index as u64 % stride };
        jobs.lock().unwrap().extend((1..=steps).filter(|step| step % stride == first).map(|step| (index, size, step, steps)));
    });
    let jobs = jobs.into_inner().unwrap();
    let killed = AtomicUsize::new(0);
    all_of(&jobs, |&(index, size, step, _)| {
        let ran = TIGHT[index].run(size, Some(step));
        killed.fetch_add(usize::from(ran.codes[0] == 128 - KILLED), Ordering::Relaxed);
    });
    let killed = killed.into_inner();
    say(&format!("crash points survived, backup on a nearly full disk: {killed}/{killed}"));
    assert!(killed * 10 >= jobs.len() * 7, "{killed} of {} kills came before the end", jobs.len());
}

#[test]
fn files_that_may_not_grow_end_with_7_and_the_next_run_makes_it_whole() {
    let bounds: Vec<u64> = (1..if full() { 400 } else { 120 }).step_by(if full() { 4 } else { 17 }).collect();
    let stopped = AtomicUsize::new(0);
    all_of(&bounds, |bound| {
        for tight in TIGHT {
            let case = format!("{:?} {:?}, no file over {bound} blocks", tight.kind, tight.layout);
            let mut scene = Scene::new(tight.kind, tight.layout, 10, 30_000);
            for change in tight.changes {
                scene.change(*change);
            }
            let script = format!("trap '' XFSZ; ulimit -f {bound}; exec \"$0\" \"$@\"");
            let first = scene.tool.run_under(&["sh", "-c", &script], &scene.arguments());
            assert!([0, 7].contains(&first.code), "{case}: {first}");
            stopped.fetch_add(usize::from(first.code == 7), Ordering::Relaxed);
            if first.code == 0 {
                scene.expect_kept(&case);
            } else {
                told(&first.stderr);
            }
            let second = scene.run();
            assert_eq!(second.code, 0, "{case}: {second}");
            scene.expect_right(&case);
        }
    });
    let stopped = stopped.into_inner();
    say(&format!("runs stopped by a bound on files and made good: {stopped}"));
    assert!(stopped > bounds.len(), "{stopped}");
}

/// System calls of the disk, and how each may fail.
const CALLS: &[(&str, &[&str])] = &[
    ("fsync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("syncfs", &["EIO", "ENOSPC"]),
    ("pwrite64", &["ENOSPC", "EIO", "EDQUOT", "EFBIG"]),
    ("rename", &["EIO", "ENOSPC", "EROFS"]),
    ("renameat", &["EIO", "ENOSPC", "EROFS"]),
    ("renameat2", &["EIO", "ENOSPC", "EROFS", "EDQUOT"]),
    ("linkat", &["EIO", "ENOSPC"]),
    ("mkdir", &["ENOSPC", "EROFS"]),
    ("mkdirat", &["ENOSPC", "EROFS", "EDQUOT"]),
    ("unlinkat", &["EIO", "EROFS"]),
    ("unlink", &["EIO", "EROFS"]),
    ("utimensat", &["EIO"]),
    ("ftruncate", &["EIO", "ENOSPC"]),
];

#[test]
fn a_system_call_that_fails_ends_with_7_and_the_next_run_makes_it_whole() {
    if !super::durability::can_watch() {
        return;
    }
    let most = if full() { 400 } else { 3 };
    let mut jobs = Vec::new();
    for (call, errors) in CALLS {
        for error in *errors {
            for mirror in [false, true] {
                jobs.push((*call, *error, mirror));
            }
        }
    }
    let (failed, unnoticed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    all_of(&jobs, |&(call, error, mirror)| {
        // The first ones, and then here and there.
        for turn in 0..most {
            let when = if full() { turn + 1 } else { 1 + turn * 5 };
            let case = format!("{call} number {when} fails with {error}, mirror: {mirror}");
            let mut scene = Scene::new(Kind::Modern, Layout::Maildir, 20, 300);
            if mirror {
                scene.options = vec!["--mirror"];
                scene.run().expect_code(0);
                for change in [Change::Renamed, Change::Flags, Change::Departures, Change::Arrivals] {
                    scene.change(change);
                }
            }
            let calls = scene.tool.path("calls");
            let inject = format!("inject={call}:error={error}:when={when}");
            let wrapper = ["strace", "-f", "-y", "-o", calls.to_str().unwrap(), "-e", &format!("trace={call}"), "-e", &inject];
            let output = scene.tool.run_under(&wrapper, &scene.arguments());
            let trace = String::from_utf8_lossy(&fs::read(&calls).unwrap()).into_owned();
            let Some(injected) = trace.lines().find(|line| line.contains("(INJECTED)")).map(str::to_owned) else {
                assert_eq!(output.code, 0, "{case}: {output}");
                break;
            };
            failed.fetch_add(1, Ordering::Relaxed);
            // What only watches the run may fail without a word.
            assert!([0, 7].contains(&output.code), "{case}: {injected}\n{output}");
            if output.code == 0 {
                unnoticed.lock().unwrap().push(injected.clone());
                scene.expect_kept(&case);
            } else {
                told(&output.stderr);
            }
            let next = scene.run();
            assert_eq!(next.code, 0, "{case}: {injected}\n{output}\n{next}");
            scene.expect_right(&case);
        }
    });
    let (failed, unnoticed) = (failed.into_inner(), unnoticed.into_inner().unwrap());
    say(&format!("storage faults survived, backup: {failed}/{failed}, of which {} without harm to the run", unnoticed.len()));
    for line in &unnoticed {
        let harmless = ["progress", "/lock", "unlink", "journal.db-shm", "dovecot-keywords.lock"];
        assert!(harmless.iter().any(|word| line.contains(word)), "0 in spite of {line}");
    }
}
