//! `migrate` into files, and out of a store of backups: from every kind of source into every kind of files, judged by reading
//! the files with code of our own; again and again, killed at steps, and on disks that take no more.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::crash::bench::{full, in_parallel, say};
use crate::support::imapd::{self, Imapd, Stored};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::store::{self, Layout, Mail};
use crate::support::tool::{Output, Tool};

const KILLED: i32 = -9;
const LAYOUTS: [Layout; 3] = [Layout::Maildir, Layout::Mbox, Layout::Eml];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Imap,
    Pop3,
    /// POP3 without unique-ids.
    Pop3Bare,
    Maildir,
    Mbox,
    Eml,
    Store,
}

impl Source {
    const ALL: [Self; 7] = [Self::Imap, Self::Pop3, Self::Pop3Bare, Self::Maildir, Self::Mbox, Self::Eml, Self::Store];

    fn has_flags(self) -> bool {
        matches!(self, Self::Imap | Self::Maildir | Self::Store)
    }
}

/// A message with a date of its own and, now and then, flags.
fn letter(number: u64, body: Vec<u8>) -> Stored {
    let mut stored = Stored::new(body);
    stored.internal_date = format!("{:02}-Sep-2020 12:{:02}:40 +0000", 1 + number % 28, number % 60);
    match number % 5 {
        1 => stored.flags = vec!["\\Seen".to_owned()],
        2 => stored.flags = vec!["\\Flagged".to_owned(), "\\Answered".to_owned()],
        3 => stored.flags = vec!["Work".to_owned(), "\\Seen".to_owned()],
        _ => {}
    }
    stored
}

fn put(server: &Imapd, folder: &str, letters: Vec<Stored>) {
    server.fill(folder, &letters.iter().map(|letter| letter.body.clone()).collect::<Vec<_>>());
    server.change(folder, |mailbox| {
        let first = mailbox.messages.len() - letters.len();
        for (message, letter) in mailbox.messages.iter_mut().skip(first).zip(letters) {
            message.flags = letter.flags;
            message.internal_date = letter.internal_date;
        }
    });
}

/// What the source held and holds, and what is known to be at the destination besides.
struct Bench {
    tool: Tool,
    source: Source,
    layout: Layout,
    imap: Imapd,
    pop3: Pop3d,
    /// Mail of the maildrop or of the files, which only grows.
    letters: BTreeMap<String, Vec<Stored>>,
}

impl Bench {
    fn new(source: Source, layout: Layout) -> Self {
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let imap = Imapd::start(imapd::Behaviour { clock: Some(clock), ..imapd::Behaviour::default() });
        let behaviour = pop3d::Behaviour::default();
        let behaviour = if source == Source::Pop3Bare { behaviour.without("UIDL") } else { behaviour };
        let pop3 = Pop3d::start(behaviour, &[]);
        match source {
            Source::Pop3 | Source::Pop3Bare => tool.server("from", None, Some(&pop3.url())),
            _ => tool.server("from", Some(&imap.url()), None),
        };
        Self { tool, source, layout, imap, pop3, letters: BTreeMap::new() }
    }

    /// More mail at the source; folders other than INBOX are left out where it has none.
    fn add(&mut self, mail: &[(&str, Vec<Stored>)]) {
        for (folder, letters) in mail {
            let one = matches!(self.source, Source::Pop3 | Source::Pop3Bare | Source::Mbox);
            if one && *folder != "INBOX" {
                continue;
            }
            self.letters.entry((*folder).to_owned()).or_default().extend(letters.clone());
            if matches!(self.source, Source::Imap | Source::Store) {
                put(&self.imap, folder, letters.clone());
            }
        }
        self.lay();
    }

    /// Lays the source down anew, with all that it holds now.
    fn lay(&mut self) {
        let inbox = self.letters.get("INBOX").cloned().unwrap_or_default();
        let bodies: Vec<Vec<u8>> = inbox.iter().map(|letter| letter.body.clone()).collect();
        match self.source {
            Source::Imap => {}
            Source::Pop3 | Source::Pop3Bare => {
                let entry = |(index, body)| pop3d::Entry { uidl: format!("u{index}"), body };
                self.pop3.maildrop(|maildrop| *maildrop = bodies.into_iter().enumerate().map(entry).collect());
            }
            Source::Store => {
                self.tool.run(&["backup", "from", "store"]).expect_code(0);
            }
            Source::Mbox => {
                let mut bytes = Vec::new();
                for body in &bodies {
                    bytes.extend_from_slice(b"From a@b Thu Jan  1 00:00:00 2004\n");
                    for line in body.split_inclusive(|&byte| byte == b'\n') {
                        if line.iter().skip_while(|&&byte| byte == b'>').take(5).copied().eq(*b"From ") {
                            bytes.push(b'>');
                        }
                        bytes.extend_from_slice(line);
                    }
                    bytes.extend_from_slice(if body.ends_with(b"\n") || body.is_empty() { b"\n" } else { b"\n\n" });
                }
                fs::write(self.tool.path("source"), bytes).unwrap();
            }
            Source::Maildir | Source::Eml => {
                let root = self.tool.path("source");
                for (folder, letters) in &self.letters {
                    for (number, letter) in letters.iter().enumerate() {
                        let path = if self.source == Source::Eml {
                            let dir = if folder == "INBOX" { root.clone() } else { root.join(folder) };
                            fs::create_dir_all(&dir).unwrap();
                            dir.join(format!("{number}.eml"))
                        } else {
                            let dir = if folder == "INBOX" { root.clone() } else { root.join(format!(".{}", folder.replace('/', "."))) };
                            ["cur", "new", "tmp"].iter().for_each(|half| fs::create_dir_all(dir.join(half)).unwrap());
                            fs::write(dir.join("dovecot-keywords"), "0 Work\n").unwrap();
                            let mut flags: Vec<char> = letter.flags.iter().map(|flag| mark(flag)).collect();
                            flags.sort_unstable();
                            dir.join("cur").join(format!("{}.{number}.host:2,{}", 1_000_000 + number, flags.iter().collect::<String>()))
                        };
                        fs::write(&path, &letter.body).unwrap();
                        let date = u64::try_from(store::seconds(&letter.internal_date)).unwrap();
                        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(date);
                        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
                    }
                }
            }
        }
    }

    fn place(&self) -> &'static str {
        match self.source {
            Source::Imap | Source::Pop3 | Source::Pop3Bare => "from",
            Source::Maildir => "maildir:source",
            Source::Mbox => "mbox:source",
            Source::Eml => "eml:source",
            Source::Store => "store",
        }
    }

    fn destination(&self) -> String {
        if self.layout == Layout::Mbox { "mbox:dest/".to_owned() } else { self.layout.place("dest") }
    }

    fn arguments(&self) -> Vec<String> {
        vec!["migrate".to_owned(), self.place().to_owned(), self.destination(), "--json".to_owned()]
    }

    fn run(&self) -> Output {
        self.tool.run(&self.arguments())
    }

    fn run_killed_at(&mut self, step: u64) -> Output {
        self.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let output = self.run();
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        output
    }

    fn run_counting_steps(&mut self) -> u64 {
        let file = self.tool.path("steps");
        self.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
        self.run().expect_code(0);
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        fs::read_to_string(file).unwrap().lines().count() as u64
    }

    /// What must be there: dates only where the source keeps them.
    fn expected(&self) -> Mail {
        let mut mail = Mail::new();
        for (folder, letters) in &self.letters {
            for letter in letters {
                let flags = if self.source.has_flags() { letter.flags.iter().cloned().collect() } else { Default::default() };
                let date = store::seconds(&letter.internal_date);
                let letter = store::Letter { content: mail::content_digest(&letter.body), flags, date };
                *mail.entry(folder.clone()).or_default().entry(letter).or_default() += 1;
            }
        }
        self.comparable(store::as_kept(&mail, self.layout))
    }

    fn there_in(&self, root: &Path) -> Mail {
        let mail = if root.join("dest").exists() { store::mail(root, "dest", self.layout) } else { Mail::new() };
        self.comparable(mail)
    }

    fn there(&self) -> Mail {
        self.there_in(&self.tool.path(""))
    }

    fn comparable(&self, mail: Mail) -> Mail {
        if matches!(self.source, Source::Pop3 | Source::Pop3Bare | Source::Mbox) { dateless(&mail) } else { mail }
    }

    /// Insists on the source's mail at the destination, equally often, and on a further run that does nothing.
    #[track_caller]
    fn expect_all_once(&self, case: &str) {
        assert_eq!(self.there(), self.expected(), "{case}");
        let before = store::untouched(&self.tool.path("dest"));
        let again = self.run().expect_code(0).json();
        assert_eq!((&again["copied"], &again["balanced"]), (&0.into(), &true.into()), "{case}: {again}");
        assert_eq!(again["listed"], again["already_there"], "{case}: {again}");
        assert_eq!(store::untouched(&self.tool.path("dest")), before, "{case}: the further run changed something");
    }
}

/// The letter of a flag in the name of a Maildir's file.
fn mark(flag: &str) -> char {
    match flag {
        "\\Seen" => 'S',
        "\\Answered" => 'R',
        "\\Flagged" => 'F',
        _ => 'a',
    }
}

fn dateless(mail: &Mail) -> Mail {
    let mut plain = Mail::new();
    for (folder, letters) in mail {
        for (letter, count) in letters {
            let letter = store::Letter { date: 0, ..letter.clone() };
            *plain.entry(folder.clone()).or_default().entry(letter).or_default() += count;
        }
    }
    plain
}

/// Nasty mail with three identical ones, and mail in other folders.
fn house(source: Source) -> Vec<(&'static str, Vec<Stored>)> {
    let whole = matches!(source, Source::Maildir | Source::Eml);
    let mut inbox = if whole { mail::nasty().into_iter().map(|(_, body)| body).collect() } else { mail::nasty_for_append() };
    inbox.extend(mail::corpus().into_iter().map(|(_, body)| body).filter(|body| mail::is_appendable(body)).take(40));
    inbox.extend(vec![mail::plain(7, 100); 3]);
    let inbox = (0..).zip(inbox).map(|(number, body)| letter(number, body)).collect();
    let some = |from: u64| (from..from + 4).map(|number| letter(number, mail::plain(number, 300))).collect::<Vec<_>>();
    vec![("INBOX", inbox), ("Archive/2019", some(100)), ("Sent", some(200)), ("Entwürfe", some(300))]
}

fn small(numbers: &[u64]) -> Vec<(&'static str, Vec<Stored>)> {
    vec![("INBOX", numbers.iter().map(|&number| letter(number, mail::plain(number, 200))).collect())]
}

#[test]
fn every_kind_of_source_arrives_whole_in_every_kind_of_files_and_a_second_run_copies_nothing() {
    let jobs: Vec<(Source, Layout)> = Source::ALL.iter().flat_map(|&source| LAYOUTS.map(|layout| (source, layout))).collect();
    in_parallel(&jobs, |&(source, layout)| {
        let case = format!("{source:?} into {layout:?}");
        let mut bench = Bench::new(source, layout);
        bench.add(&house(source));
        let plan: serde_json::Value = bench.tool.run(&[&bench.arguments()[..], &["--dry-run".to_owned()]].concat()).expect_code(0).json();
        assert!(!bench.tool.path("dest").exists(), "{case}: a dry run made something");
        let first = bench.run().expect_code(0).json();
        let listed: usize = bench.letters.values().map(Vec::len).sum();
        assert_eq!((&first["copied"], &first["balanced"]), (&listed.into(), &true.into()), "{case}: {first}");
        assert_eq!(plan["copied"], first["copied"], "{case}");
        let flagged = bench.letters.values().flatten().filter(|letter| !letter.flags.is_empty()).count();
        let lost_flags = if source.has_flags() && layout != Layout::Maildir { flagged } else { 0 };
        assert_eq!(first["altered"], lost_flags, "{case}: what has no room is told of, {first}");
        bench.expect_all_once(&case);
        let mode = fs::metadata(bench.tool.path("dest")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{case}");
        // New mail, one like what is there already.
        bench.add(&[("INBOX", vec![letter(7, mail::plain(7, 100)), letter(500, mail::plain(500, 100))])]);
        let third = bench.run().expect_code(0).json();
        assert_eq!(third["copied"], 2, "{case}: {third}");
        bench.expect_all_once(&case);
    });
}

#[test]
fn mail_that_is_there_already_is_adopted_once_and_the_rest_is_left_alone() {
    in_parallel(&LAYOUTS, |&layout| {
        let case = format!("{layout:?}");
        let mut bench = Bench::new(Source::Pop3, layout);
        bench.add(&small(&[1, 7, 7, 2]));
        bench.run().expect_code(0);
        // Without its journal the program knows nothing of what it did.
        fs::remove_dir_all(bench.tool.state_dir()).unwrap();
        bench.add(&small(&[7, 3]));
        let summary = bench.run().expect_code(0).json();
        assert_eq!((&summary["copied"], &summary["already_there"]), (&2.into(), &4.into()), "{case}: {summary}");
        bench.expect_all_once(&case);
    });
}

#[test]
fn a_run_with_nothing_new_reads_nothing_of_what_is_there() {
    in_parallel(&LAYOUTS, |&layout| {
        let mut bench = Bench::new(Source::Pop3, layout);
        bench.add(&small(&[1, 2, 3]));
        bench.run().expect_code(0);
        let files = store::untouched(&bench.tool.path("dest"));
        let strace = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", "trace=openat,read,pread64", "-o", "calls"];
        bench.tool.run_under(&strace, &bench.arguments()).expect_code(0);
        let calls = fs::read_to_string(bench.tool.path("calls")).unwrap();
        for line in calls.lines().filter(|line| line.contains("/dest/")) {
            let count = line.rsplit_once("= ").and_then(|(_, count)| count.trim().parse::<i64>().ok()).unwrap_or(0);
            let is_mail = line.contains(".mbox") || line.contains(".eml") || line.contains("/new/") || line.contains("/cur/");
            // A look at how an mbox file begins is none at its mail.
            assert!(!is_mail || line.contains("openat") && layout == Layout::Mbox || count <= 512, "{layout:?}: {line}");
        }
        assert_eq!(store::untouched(&bench.tool.path("dest")), files);
    });
}

#[test]
fn mail_removed_there_does_not_come_back_and_another_spelling_of_the_path_is_the_same_place() {
    let mut bench = Bench::new(Source::Imap, Layout::Maildir);
    bench.add(&small(&[1, 2, 3]));
    bench.run().expect_code(0);
    let lying = store::lying(&bench.tool.path(""), "dest", Layout::Maildir);
    let gone = fs::read_dir(bench.tool.path("dest").join("cur")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(gone).unwrap();
    std::os::unix::fs::symlink("dest", bench.tool.path("link")).unwrap();
    for place in ["maildir:./dest/".to_owned(), "maildir:link".to_owned(), format!("maildir:{}", bench.tool.path("dest").display())] {
        let again = bench.tool.run(&["migrate", "from", &place, "--json"]).expect_code(0).json();
        assert_eq!((&again["copied"], &again["already_there"]), (&0.into(), &3.into()), "{place}");
    }
    assert_eq!(store::lying(&bench.tool.path(""), "dest", Layout::Maildir).len(), lying.len() - 1);
}

#[test]
fn what_cannot_be_a_destination_is_refused_before_anything_is_touched() {
    let mut bench = Bench::new(Source::Maildir, Layout::Maildir);
    bench.add(&small(&[1, 2]));
    bench.add(&[("Sent", vec![letter(3, mail::plain(3, 100))])]);
    let before = store::untouched(&bench.tool.path("source"));
    let refused = |source: &str, place: &str, words: &str| {
        bench.tool.run(&["migrate", source, place]).expect_code(2).expect_stderr(words);
    };
    refused("maildir:source", "maildir:source", "the source and the destination are the same");
    refused("maildir:source", "maildir:./source/../source", "the same");
    refused("maildir:source", "eml:source", "the same");
    refused("maildir:source", "maildir:source/deep/er", "lies in the source");
    refused("maildir:source", "eml:source/eml", "lies in the source");
    refused("maildir:source/.Sent", "maildir:source", "the source lies in the destination");
    refused("maildir:source", "-", "standard output makes no sense");
    assert_eq!(store::untouched(&bench.tool.path("source")), before);
    put(&bench.imap, "INBOX", vec![letter(1, mail::plain(1, 100))]);
    bench.tool.run(&["backup", "from", "store"]).expect_code(0);
    for place in ["maildir:store", "maildir:store/more", "eml:store/x/y"] {
        refused("maildir:source", place, "store of backups");
        refused("store", place, "store of backups");
    }
    // A folder of it to another one of it.
    bench.tool.run(&["migrate", "maildir:source//Sent", "maildir:source//Old"]).expect_code(0);
    assert_eq!(store::mail(&bench.tool.path(""), "source", Layout::Maildir)["Old"].len(), 1);
}

#[test]
fn of_a_store_one_account_goes_with_flags_and_dates_and_several_must_be_named() {
    let mut bench = Bench::new(Source::Store, Layout::Maildir);
    bench.add(&small(&[1, 2, 3]));
    bench.imap.change("INBOX", |mailbox| mailbox.expunge(1));
    bench.tool.run(&["backup", "from", "store"]).expect_code(0);
    // What is gone from the server does not go.
    let summary = bench.run().expect_code(0).json();
    assert_eq!(summary["copied"], 2, "{summary}");
    let other = Imapd::start(imapd::Behaviour::default());
    put(&other, "INBOX", vec![letter(50, mail::plain(50, 100))]);
    bench.tool.server("other", Some(&other.url()), None);
    bench.tool.run(&["backup", "other", "store"]).expect_code(0);
    let error = bench.run().expect_code(2);
    assert!(error.stderr.contains("several accounts"), "{error}");
    let names: Vec<String> = fs::read_dir(bench.tool.path("store"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && bench.tool.path("store").join(name).is_dir())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let mut copied: Vec<u64> = Vec::new();
    for name in &names {
        for place in [format!("maildir:store//{name}"), format!("store//{name}")] {
            let summary = bench.tool.run(&["migrate", &place, "maildir:both", "--json"]).expect_code(0).json();
            copied.push(summary["copied"].as_u64().unwrap());
        }
    }
    copied.sort_unstable();
    assert_eq!(copied, [0, 0, 1, 2]);
    bench.tool.run(&["migrate", "store//nobody", "maildir:both"]).expect_code(2).expect_stderr("no account");
    bench.tool.run(&["migrate", &format!("mbox:store//{}", names[0]), "maildir:both"]).expect_code(2).expect_stderr("another kind");
}

#[test]
fn a_store_restored_and_migrated_to_one_account_goes_there_once_in_either_order() {
    for verbs in [["restore", "migrate"], ["migrate", "restore"]] {
        let (from, to) = (Imapd::start(imapd::Behaviour::default()), Imapd::start(imapd::Behaviour::default()));
        put(&from, "INBOX", [7, 7, 7, 1, 2].map(|number| letter(number, mail::plain(number, 100))).to_vec());
        let tool = Tool::new();
        tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
        let tool = tool;
        tool.run(&["backup", "from", "store"]).expect_code(0);
        tool.run(&[verbs[0], "store", "to"]).expect_code(0);
        let second = tool.run(&[verbs[1], "store", "to", "--json"]).expect_code(0).json();
        assert_eq!(second["copied"], 0, "{verbs:?}: {second}");
        assert_eq!(store::served(&to), store::served(&from), "{verbs:?}");
        // A twin that arrives later is one more message.
        put(&from, "INBOX", vec![letter(7, mail::plain(7, 100))]);
        tool.run(&["backup", "from", "store"]).expect_code(0);
        for verb in verbs {
            tool.run(&[verb, "store", "to"]).expect_code(0);
        }
        assert_eq!(store::served(&to), store::served(&from), "{verbs:?}");
    }
}

#[test]
fn an_account_and_the_store_that_backs_it_up_hold_the_same_mail_for_files_too() {
    in_parallel(&LAYOUTS, |&layout| {
        for first in ["store", "from"] {
            let mut bench = Bench::new(Source::Store, layout);
            bench.add(&small(&[7, 7, 1, 2]));
            let second = if first == "store" { "from" } else { "store" };
            let migrate =
                |bench: &Bench, place: &str| bench.tool.run(&["migrate", place, &bench.destination(), "--json"]).expect_code(0).json();
            assert_eq!(migrate(&bench, first)["copied"], 4);
            let summary = migrate(&bench, second);
            assert_eq!((&summary["copied"], &summary["already_there"]), (&0.into(), &4.into()), "{layout:?}, {first} first: {summary}");
            assert_eq!(migrate(&bench, second)["copied"], 0);
            bench.add(&small(&[7]));
            assert_eq!(migrate(&bench, second)["copied"], 1, "{layout:?}, {first} first");
            assert_eq!(migrate(&bench, first)["copied"], 0, "{layout:?}, {first} first");
            assert_eq!(bench.there(), bench.expected());
        }
    });
}

/// Mail that was there before the run that is killed, and mail that it is to bring: twins on both sides.
const BEFORE: [u64; 4] = [0, 7, 7, 1];
const THEN: [u64; 5] = [7, 2, 7, 3, 4];

#[test]
fn a_run_killed_at_any_step_is_made_good_by_the_next() {
    let scenarios: Vec<(Source, Layout)> = [Source::Imap, Source::Pop3, Source::Pop3Bare, Source::Maildir, Source::Store]
        .iter()
        .flat_map(|&source| LAYOUTS.map(|layout| (source, layout)))
        .collect();
    let bench = |(source, layout): (Source, Layout)| {
        let mut bench = Bench::new(source, layout);
        bench.add(&small(&BEFORE));
        bench.run().expect_code(0);
        bench.add(&small(&THEN));
        bench
    };
    let points = Mutex::new(Vec::new());
    in_parallel(&scenarios, |&scenario| {
        let steps = bench(scenario).run_counting_steps();
        let index = scenarios.iter().position(|one| *one == scenario).unwrap() as u64;
        let stride = if full() { 1 } else { steps.div_ceil(5) };
        let first = if full() { 0 } else { index % stride };
        points.lock().unwrap().extend((1..=steps).filter(|step| step % stride == first).map(|step| (scenario, step)));
    });
    let points = points.into_inner().unwrap();
    let survived = AtomicUsize::new(0);
    in_parallel(&points, |&(scenario, step)| {
        let case = format!("{scenario:?} killed at {step}");
        let mut bench = bench(scenario);
        let killed = bench.run_killed_at(step);
        if killed.code == KILLED {
            survived.fetch_add(1, Ordering::Relaxed);
            let second = bench.run();
            assert_eq!(second.code, 0, "{case}: {second}");
            assert_eq!(second.json()["balanced"], true, "{case}: {second}");
        } else {
            killed.expect_code(0);
        }
        bench.expect_all_once(&case);
    });
    let survived = survived.into_inner();
    say(&format!("crash points survived, migrate into files: {survived}/{survived} of {} tried", points.len()));
    assert!(survived * 10 >= points.len() * 7, "most kills should have come before the end");
}

#[test]
fn files_that_may_not_grow_end_with_7_and_the_next_run_makes_it_whole() {
    let jobs: Vec<(Layout, u64)> = LAYOUTS.iter().flat_map(|&layout| [40, 130, 300, 500].map(|bound| (layout, bound))).collect();
    let stopped = AtomicUsize::new(0);
    in_parallel(&jobs, |&(layout, bound)| {
        let case = format!("{layout:?}, no file over {bound} blocks");
        let mut bench = Bench::new(Source::Imap, layout);
        bench.add(&[("INBOX", (0..10).map(|number| letter(number, mail::plain(number, 40_000))).collect())]);
        let script = format!("trap '' XFSZ; ulimit -f {bound}; exec \"$0\" \"$@\"");
        let first = bench.tool.run_under(&["sh", "-c", &script], &bench.arguments());
        assert!([0, 7].contains(&first.code), "{case}: {first}");
        stopped.fetch_add(usize::from(first.code == 7), Ordering::Relaxed);
        bench.run().expect_code(0);
        bench.expect_all_once(&case);
    });
    assert!(stopped.into_inner() > 3, "most bounds should have stopped a run");
}

/// What makes a private name space in which file systems can be mounted, where one can be had.
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

/// A run on a small disk, one more that is as full, one with room; what is there in the end is copied out.
const SCRIPT: &str = r#"
mkdir dest copy
mount -t tmpfs -o size=$SIZE,mode=700 tmpfs dest || exit 99
"$0" "$@" > out.1 2> err.1; echo $? > code.1
"$0" "$@" > out.2 2> err.2; echo $? > code.2
mount -o remount,size=64m dest || exit 98
"$0" "$@" > out.3 2> err.3; echo $? > code.3
"$0" "$@"
code=$?
cp -a dest copy/dest
exit $code
"#;

#[test]
fn a_full_disk_ends_with_7_and_with_room_all_is_there_once() {
    let Some(private) = private() else {
        say("no file system can be mounted here: only files that may not grow are tried");
        return;
    };
    let stride = if full() { 20 } else { 150 };
    let jobs: Vec<(Layout, u64)> = LAYOUTS.iter().flat_map(|&layout| (16..700).step_by(stride).map(move |size| (layout, size))).collect();
    let filled = AtomicUsize::new(0);
    in_parallel(&jobs, |&(layout, size)| {
        let case = format!("{layout:?} on {size} KiB");
        let mut bench = Bench::new(Source::Imap, layout);
        let twins = [0, 7, 1, 7, 2, 3, 7, 4, 5, 6];
        bench.add(&[("INBOX", twins.map(|number| letter(number, mail::plain(number, 40_000))).to_vec())]);
        bench.tool.set_env("SIZE", format!("{size}k"));
        let output = bench.tool.run_under(&[private, &["sh", "-c", SCRIPT]].concat(), &bench.arguments());
        let read = |name: &str| fs::read_to_string(bench.tool.path(name)).unwrap_or_default();
        let said = [1, 2, 3].map(|run| read(&format!("err.{run}")));
        let codes = [1, 2, 3].map(|run| read(&format!("code.{run}")).trim().parse::<i32>().unwrap());
        assert!([0, 7].contains(&codes[0]) && [0, 7].contains(&codes[1]) && codes[2] == 0, "{case}: {codes:?}\n{said:?}");
        assert_eq!(output.code, 0, "{case}: {output}");
        assert_eq!(output.json()["copied"], 0, "{case}: {output}");
        assert_eq!(bench.there_in(&bench.tool.path("copy")), bench.expected(), "{case}");
        filled.fetch_add(usize::from(codes[0] == 7), Ordering::Relaxed);
    });
    let filled = filled.into_inner();
    say(&format!("full disks survived, migrate into files: {filled}/{filled} of {} sizes", jobs.len()));
    assert!(filled > 3, "{filled} of {} were full", jobs.len());
}
