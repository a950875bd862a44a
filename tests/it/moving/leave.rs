//! Leaving a source: what was read back goes and nothing else, wherever a run dies; what stays is counted with its reason. Copies
//! are read back, and come again, on demand; from cron a run that finds nothing is silent and cheap.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::crash::bench::{full, in_parallel, say};
use crate::dovecot_user;
use crate::support::dovecot::Plant;
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::mail::{self, assert_same_mail, multiset};
use crate::support::pop3d::{self, Entry, Pop3d};
use crate::support::tool::{Output, Tool};
use crate::support::wait_for;

const KILLED: i32 = -9;

/// Two IMAP servers in memory, and a tool that knows them as `from` and `to`.
struct Scene {
    from: Imapd,
    to: Imapd,
    tool: Tool,
}

fn scene(bodies: &[Vec<u8>]) -> Scene {
    let (from, to) = (Imapd::start(Behaviour::default()), Imapd::start(Behaviour::default()));
    from.fill("INBOX", bodies);
    let tool = Tool::new();
    tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
    Scene { from, to, tool }
}

impl Scene {
    fn run(&self, args: &[&str]) -> Output {
        run(&self.tool, args)
    }

    /// A run in which nothing fails.
    fn good(&self, args: &[&str]) -> Value {
        balanced(&self.run(args).expect_code(0))
    }
}

/// A maildrop and an IMAP server in memory.
struct Drop {
    from: Pop3d,
    to: Imapd,
    tool: Tool,
}

fn maildrop(behaviour: pop3d::Behaviour, bodies: &[Vec<u8>]) -> Drop {
    let (from, to) = (Pop3d::start(behaviour, bodies), Imapd::start(Behaviour::default()));
    let tool = Tool::new();
    tool.server("from", None, Some(&from.url())).server("to", Some(&to.url()), None);
    Drop { from, to, tool }
}

impl Drop {
    fn run(&self, args: &[&str]) -> Output {
        let output = run(&self.tool, args);
        self.from.wait_until_quiet();
        output
    }

    fn good(&self, args: &[&str]) -> Value {
        balanced(&self.run(args).expect_code(0))
    }
}

fn run(tool: &Tool, args: &[&str]) -> Output {
    tool.run(&[&["migrate", "from", "to", "--json"], args].concat())
}

fn balanced(output: &Output) -> Value {
    let summary = output.json();
    assert_eq!(summary["balanced"], true, "{output}");
    summary
}

/// How many messages stay for a reason that holds these words.
fn kept(summary: &Value, words: &str) -> u64 {
    let all = summary["kept_back"].as_array().unwrap();
    all.iter().filter(|one| one["reason"].as_str().unwrap().contains(words)).map(|one| one["messages"].as_u64().unwrap()).sum()
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[test]
fn what_was_read_back_is_removed_from_every_folder_and_nothing_else_ever_is() {
    let bodies = mail::many(6, 300);
    let Scene { from, to, tool } = &scene(&bodies);
    from.fill("Archive", &mail::many(3, 200));
    let first = balanced(&run(tool, &[]).expect_code(0));
    assert_eq!((&first["removed"], &first["kept_back"]), (&Value::Null, &Value::Null));
    // Two of earlier runs and two of this one; somebody else marked what came since.
    from.fill("INBOX", &[mail::plain(70, 200)]);
    let summary = balanced(&run(tool, &["--delete-source"]).expect_code(0));
    assert_eq!((&summary["copied"], &summary["removed"]), (&1.into(), &10.into()), "{summary}");
    let mut folders = summary["removed_from"].as_array().unwrap().clone();
    folders.sort_by_key(|one| one["folder"].as_str().unwrap().to_owned());
    assert_eq!(folders, [json!({"folder": "Archive", "messages": 3}), json!({"folder": "INBOX", "messages": 7})]);
    assert!(from.bodies("INBOX").is_empty() && from.bodies("Archive").is_empty());
    assert_eq!((to.bodies("INBOX").len(), to.bodies("Archive").len()), (7, 3));
    assert!(!from.log().iter().any(|line| line.ends_with(" EXPUNGE") || line.contains(" CLOSE")), "{:?}", from.log());
    // What comes later is copied and goes, and nothing comes twice.
    from.fill("INBOX", &[bodies[0].clone()]);
    let summary = balanced(&run(tool, &["--delete-source"]).expect_code(0));
    assert_eq!((&summary["copied"], &summary["removed"]), (&1.into(), &1.into()), "{summary}");
    assert_eq!((from.bodies("INBOX").len(), to.bodies("INBOX").len()), (0, 8));
}

#[test]
fn more_than_the_ceiling_allows_is_copied_and_stays() {
    let scene = scene(&mail::many(60, 200));
    let output = scene.run(&["--delete-source"]).expect_code(10).expect_stderr("--max-delete 60");
    let summary = balanced(&output);
    assert_eq!((&summary["copied"], &summary["removed"], kept(&summary, "--max-delete")), (&60.into(), &0.into(), 60));
    assert_eq!((scene.from.bodies("INBOX").len(), scene.to.bodies("INBOX").len()), (60, 60));
    scene.run(&["--delete-source", "--max-delete", "99%"]).expect_code(10);
    assert!(!scene.from.log().iter().any(|line| line.contains("STORE") || line.contains("EXPUNGE")));
    let summary = scene.good(&["--delete-source", "--max-delete", "60"]);
    assert_eq!(summary["removed"], 60);
    assert!(scene.from.bodies("INBOX").is_empty());
}

#[test]
fn young_mail_stays_by_the_date_the_source_or_the_copy_has() {
    let scene = scene(&mail::many(4, 200));
    let today = now().strftime("%d-%b-%Y %H:%M:%S +0000").to_string();
    scene.from.change("INBOX", |mailbox| mailbox.messages.iter_mut().skip(2).for_each(|one| one.internal_date.clone_from(&today)));
    let summary = scene.good(&["--delete-source", "--older-than", "7d"]);
    assert_eq!((&summary["removed"], kept(&summary, "--older-than")), (&2.into(), 2), "{summary}");
    assert_eq!(scene.from.mailbox("INBOX").messages.iter().map(|one| one.uid).collect::<Vec<_>>(), [3, 4]);
    // Nothing is old enough: the destination is not asked for anything.
    let before = scene.to.log().len();
    scene.good(&["--delete-source", "--older-than", "7d"]);
    assert!(!scene.to.log().iter().skip(before).any(|line| line.contains("FETCH")), "{:?}", &scene.to.log()[before..]);

    let dated = |number: u64, date: &str| [format!("Received: from a by b; {date}\r\n").into_bytes(), mail::plain(number, 200)].concat();
    let young = now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
    let bodies = [dated(1, "Thu, 01 Jan 2004 00:00:00 +0000"), dated(2, &young), dated(3, "Fri, 02 Jan 2004 00:00:00 +0000")];
    let drop = maildrop(pop3d::Behaviour::default(), &bodies);
    for round in 0..2 {
        let summary = drop.good(&["--delete-source", "--older-than", "7d"]);
        assert_eq!((&summary["removed"], kept(&summary, "--older-than")), (&if round == 0 { 2 } else { 0 }.into(), 1), "{summary}");
        assert_same_mail(&bodies[1..2], &drop.from.bodies());
        assert_same_mail(&bodies, &drop.to.bodies("INBOX"));
    }
}

#[test]
fn a_copy_that_is_not_what_was_sent_keeps_its_message_at_the_source() {
    let bodies = mail::many(4, 300);
    let scene = scene(&bodies);
    scene.good(&[]);
    scene.to.change("INBOX", |mailbox| mailbox.messages[1].body = mail::plain(99, 300));
    scene.to.change("INBOX", |mailbox| mailbox.expunge(3));
    let verified = scene.run(&["--verify"]).expect_code(3);
    assert!(verified.stderr.contains("not the same when read back") && verified.stderr.contains("--again"), "{verified}");
    let verified = balanced(&verified);
    assert_eq!(verified["verified"], json!({"copies": 4, "same": 2, "different": 1, "missing": 1}));
    assert_eq!(verified["problems"].as_array().unwrap().len(), 2);
    let summary = balanced(&scene.run(&["--delete-source"]).expect_code(3).expect_stderr("not the same when read back"));
    assert_eq!((&summary["removed"], kept(&summary, "not the same"), kept(&summary, "any more")), (&2.into(), 1, 1), "{summary}");
    assert_eq!(scene.from.bodies("INBOX"), [bodies[1].clone(), bodies[2].clone()]);
    // What is gone there comes back when it is asked for, and only then.
    assert_eq!(scene.good(&[])["copied"], 0);
    let summary = balanced(&scene.run(&["--again", "--delete-source"]).expect_code(3));
    assert_eq!((&summary["copied"], &summary["removed"]), (&1.into(), &1.into()), "{summary}");
    assert_eq!(scene.from.bodies("INBOX"), [bodies[1].clone()]);
    assert_eq!(scene.to.bodies("INBOX").iter().filter(|body| **body == bodies[2]).count(), 1);
}

#[test]
fn verify_reads_every_copy_whatever_run_made_it() {
    for without in [&[][..], &["UIDPLUS"][..]] {
        let mut bodies: Vec<Vec<u8>> = mail::nasty_for_append();
        bodies.extend(vec![mail::plain(7, 100); 3]);
        let scene = scene(&bodies);
        scene.to.behave(|behaviour| *behaviour = Behaviour::default().without(without));
        let first = scene.good(&["--verify"]);
        let count = bodies.len();
        assert_eq!(first["verified"], json!({"copies": count, "same": count, "different": 0, "missing": 0}), "{without:?}");
        scene.from.fill("INBOX", &[mail::plain(50, 100)]);
        let second = scene.good(&["--verify"]);
        assert_eq!((&second["copied"], &second["verified"]["same"]), (&1.into(), &(count + 1).into()));
        let text = scene.tool.run(&["migrate", "from", "to", "--verify"]).expect_code(0).text();
        assert!(text.contains(&format!("read back {} copies = the same {}", count + 1, count + 1)), "{text}");
    }
}

#[test]
fn a_folder_with_a_problem_and_mail_that_was_there_before_lose_nothing() {
    let bodies = mail::many(4, 300);
    let drop = maildrop(pop3d::Behaviour { refuse: vec![(2, "broken".to_owned())], ..pop3d::Behaviour::default() }, &bodies);
    let summary = balanced(&drop.run(&["--delete-source"]).expect_code(3));
    assert_eq!((&summary["quarantined"], &summary["removed"], kept(&summary, "not everything")), (&1.into(), &0.into(), 4));
    assert_eq!(drop.from.bodies().len(), 4);
    drop.from.behave(|behaviour| behaviour.refuse.clear());
    assert_eq!(drop.good(&["--delete-source"])["removed"], 4);
    assert!(drop.from.bodies().is_empty());

    // The maildrop may be the very INBOX that it is copied to: what nobody sent there proves nothing.
    let scene = scene(&bodies);
    scene.to.fill("INBOX", &bodies[..2]);
    let summary = scene.good(&["--delete-source"]);
    assert_eq!((&summary["copied"], &summary["removed"], kept(&summary, "before")), (&2.into(), &2.into(), 2), "{summary}");
    assert_eq!(scene.from.bodies("INBOX"), bodies[..2]);
}

#[test]
fn without_uidplus_at_the_source_messages_are_marked_and_named() {
    let scene = scene(&mail::many(3, 200));
    scene.from.behave(|behaviour| *behaviour = Behaviour::default().without(&["UIDPLUS"]));
    for _ in 0..2 {
        let summary = balanced(&scene.run(&["--delete-source"]).expect_code(3).expect_stderr("no UIDPLUS"));
        assert_eq!((&summary["removed"], kept(&summary, "did not let")), (&0.into(), 3));
        assert_eq!((scene.from.bodies("INBOX").len(), scene.to.bodies("INBOX").len()), (3, 3));
    }
    assert!(scene.from.mailbox("INBOX").messages.iter().all(|one| one.flags.iter().any(|flag| flag == "\\Deleted")));
    assert!(!scene.from.log().iter().any(|line| line.contains(" EXPUNGE") || line.contains(" CLOSE")));
}

#[test]
fn a_unique_id_that_is_used_again_costs_no_mail() {
    let bodies = mail::many(3, 300);
    let drop = maildrop(pop3d::Behaviour::default(), &bodies);
    assert_eq!(drop.good(&["--delete-source"])["removed"], 3);
    // The next message gets the first name again.
    let other = mail::plain(40, 300);
    drop.from.maildrop(|all| all.push(Entry { uidl: "u1".to_owned(), body: other.clone() }));
    let summary = drop.good(&[]);
    assert_eq!(summary["copied"], 1, "{summary}");
    assert_same_mail(bodies.iter().chain([&other]), &drop.to.bodies("INBOX"));
    // Somebody else removes that, and its name, its very size even, is used again: it is not ours to remove.
    let mut third = other.clone();
    third.iter_mut().rev().find(|byte| byte.is_ascii_lowercase()).map(|byte| *byte = b'!').unwrap();
    drop.from.maildrop(|all| all[0].body.clone_from(&third));
    let output = drop.run(&["--delete-source"]).expect_code(3);
    assert_eq!(balanced(&output)["removed"], 0);
    assert_eq!(drop.from.bodies(), [third]);
}

#[test]
fn a_maildrop_without_unique_ids_is_left_by_contents() {
    let bodies = [1, 7, 7, 2, 7].map(|number| mail::plain(number, 200));
    let drop = maildrop(pop3d::Behaviour::default().without("UIDL"), &bodies);
    drop.good(&[]);
    let more = [mail::plain(7, 200), mail::plain(9, 200)];
    drop.from.maildrop(|all| all.extend(more.iter().map(|body| Entry { uidl: String::new(), body: body.clone() })));
    let summary = drop.good(&["--delete-source", "--verify"]);
    assert_eq!((&summary["copied"], &summary["removed"]), (&2.into(), &7.into()), "{summary}");
    assert!(drop.from.bodies().is_empty());
    assert_same_mail(bodies.iter().chain(&more), &drop.to.bodies("INBOX"));
    drop.from.maildrop(|all| all.push(Entry { uidl: String::new(), body: bodies[1].clone() }));
    assert_eq!(drop.good(&[])["copied"], 1, "the same mail again is another message");
}

#[test]
fn what_the_maildrop_does_at_quit_is_found_out() {
    let bodies = mail::many(3, 300);
    let drop = maildrop(pop3d::Behaviour { keeps: true, ..pop3d::Behaviour::default() }, &bodies);
    let summary = balanced(&drop.run(&["--delete-source"]).expect_code(3).expect_stderr("still has it"));
    assert_eq!((&summary["removed"], drop.from.bodies().len()), (&0.into(), 3));
    drop.from.behave(|behaviour| *behaviour = pop3d::Behaviour { quit: Some(false), ..pop3d::Behaviour::default() });
    let summary = balanced(&drop.run(&["--delete-source"]).expect_code(5));
    assert_eq!((&summary["removed"], drop.from.bodies().len()), (&0.into(), 3));
    drop.from.behave(|behaviour| *behaviour = pop3d::Behaviour { refuse_dele: vec![2], ..pop3d::Behaviour::default() });
    let summary = balanced(&drop.run(&["--delete-source"]).expect_code(3).expect_stderr("not this one"));
    assert_eq!((&summary["removed"], drop.from.bodies()), (&2.into(), vec![bodies[1].clone()]));
    drop.from.behave(|behaviour| behaviour.refuse_dele.clear());
    assert_eq!(drop.good(&["--delete-source"])["removed"], 1);
    assert_same_mail(&bodies, &drop.to.bodies("INBOX"));
}

fn files(dir: &Path) -> Vec<Vec<u8>> {
    let halves = ["new", "cur"].map(|half| dir.join(half));
    halves
        .iter()
        .flat_map(|half| std::fs::read_dir(half).into_iter().flatten().flatten())
        .map(|one| std::fs::read(one.path()).unwrap())
        .collect()
}

fn maildir(tool: &Tool, bodies: &[Vec<u8>]) -> PathBuf {
    let path = tool.path("source");
    for half in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(path.join(half)).unwrap();
    }
    for (number, body) in bodies.iter().enumerate() {
        std::fs::write(path.join("cur").join(format!("10000{number}.M1P1.host:2,S")), body).unwrap();
    }
    path
}

#[test]
fn a_maildir_is_left_file_by_file_and_other_files_never() {
    let Scene { to, tool, .. } = &scene(&[]);
    let bodies = [1, 7, 7, 2].map(|number| mail::plain(number, 200));
    let path = maildir(tool, &bodies);
    let place = format!("maildir:{}", path.display());
    let run = |args: &[&str]| balanced(&tool.run(&[&["migrate", &place, "to", "--json"], args].concat()).expect_code(0));
    assert_eq!(run(&["--delete-source"])["removed"], 4);
    assert!(files(&path).is_empty());
    // One of the twins again.
    std::fs::write(path.join("new/200000.M1P1.host"), &bodies[1]).unwrap();
    let summary = run(&["--delete-source"]);
    assert_eq!((&summary["copied"], &summary["removed"]), (&1.into(), &1.into()), "{summary}");
    assert_same_mail(bodies.iter().chain([&bodies[1]]), &to.bodies("INBOX"));

    std::fs::create_dir_all(tool.path("files")).unwrap();
    std::fs::write(tool.path("files/a.eml"), &bodies[0]).unwrap();
    std::fs::write(tool.path("a.mbox"), [b"From a Thu Jan  1 00:00:00 1970\n".to_vec(), bodies[0].clone()].concat()).unwrap();
    for place in [format!("eml:{}", tool.text("files")), format!("mbox:{}", tool.text("a.mbox")), "-".to_owned()] {
        let output = tool.run(&["migrate", &place, "to", "--delete-source"]);
        assert_eq!(
            (output.code, output.stderr.contains("--delete-source") || output.stderr.contains("remove")),
            (2, true),
            "{place}: {output}"
        );
    }
    tool.run(&["migrate", "from", "to", "--older-than", "7d"]).expect_code(2);
}

/// Where mail comes from, in one of three kinds.
enum Here {
    Imap(Imapd),
    Pop3(Pop3d),
    Maildir(PathBuf),
}

struct Case {
    tool: Tool,
    from: Here,
    to: Imapd,
    command: Vec<String>,
    all: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Imap,
    Pop3,
    NoUidl,
    Maildir,
}

impl Case {
    fn new(kind: Kind) -> Self {
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let bodies = [0, 7, 7, 1, 7, 2].map(|number| mail::plain(number, 200));
        let (from, source) = match kind {
            Kind::Imap => {
                let server = Imapd::start(Behaviour { clock: Some(clock.clone()), ..Behaviour::default() });
                server.fill("INBOX", &bodies);
                tool.server("from", Some(&server.url()), None);
                (Here::Imap(server), "from".to_owned())
            }
            Kind::Pop3 | Kind::NoUidl => {
                let behaviour = pop3d::Behaviour::default();
                let server = Pop3d::start(if matches!(kind, Kind::Pop3) { behaviour } else { behaviour.without("UIDL") }, &bodies);
                tool.server("from", None, Some(&server.url()));
                (Here::Pop3(server), "from".to_owned())
            }
            Kind::Maildir => {
                let path = maildir(&tool, &bodies);
                let place = format!("maildir:{}", path.display());
                (Here::Maildir(path), place)
            }
        };
        let to = Imapd::start(Behaviour { clock: Some(clock), ..Behaviour::default() });
        tool.server("to", Some(&to.url()), None);
        let command = ["migrate", &source, "to", "--delete-source", "--json"].map(str::to_owned).to_vec();
        Self { tool, from, to, command, all: multiset(&bodies) }
    }

    fn run(&self) -> Output {
        let output = self.tool.run(&self.command);
        self.wait();
        output
    }

    fn wait(&self) {
        match &self.from {
            Here::Imap(server) => server.wait_until_quiet(),
            Here::Pop3(server) => server.wait_until_quiet(),
            Here::Maildir(_) => {}
        }
        self.to.wait_until_quiet();
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        match &self.from {
            Here::Imap(server) => server.bodies("INBOX"),
            Here::Pop3(server) => server.bodies(),
            Here::Maildir(path) => files(path),
        }
    }

    /// A message comes that is called as an earlier one was.
    fn arrive(&self, body: &[u8]) {
        match &self.from {
            Here::Imap(server) => server.fill("INBOX", &[body.to_vec()]),
            Here::Pop3(server) => server.maildrop(|all| {
                let free = (1..).map(|number| format!("u{number}")).find(|uidl| all.iter().all(|one| one.uidl != *uidl)).unwrap();
                all.push(Entry { uidl: free, body: body.to_vec() });
            }),
            Here::Maildir(path) => std::fs::write(path.join("new/300000.M1P1.host"), body).unwrap(),
        }
    }

    fn killed_at(&mut self, step: &str) -> i32 {
        self.tool.set_env("MAILHAUL_TEST_CRASH", step);
        let code = self.run().code;
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        code
    }

    fn assert_nothing_lost(&self, case: &str) {
        let (here, there) = (self.bodies(), self.to.bodies("INBOX"));
        let together = multiset(here.iter().chain(&there));
        assert!(self.all.iter().all(|(digest, count)| together.get(digest).is_some_and(|found| found >= count)), "{case}");
    }
}

#[test]
fn a_run_that_leaves_and_is_killed_at_any_step_is_made_good_by_the_next() {
    let mut points = Vec::new();
    for kind in [Kind::Imap, Kind::Pop3, Kind::NoUidl, Kind::Maildir] {
        let mut counting = Case::new(kind);
        let file = counting.tool.path("steps");
        let code = counting.killed_at(&format!("count:{}", file.display()));
        assert_eq!(code, 0, "{kind:?}");
        assert_eq!((counting.bodies().len(), multiset(&counting.to.bodies("INBOX"))), (0, counting.all.clone()), "{kind:?}");
        let steps = std::fs::read_to_string(file).unwrap().lines().count();
        let stride = if full() { 1 } else { steps.div_ceil(8) };
        // The last ones are where messages are taken away: all of them.
        points.extend((1..=steps).filter(|step| step % stride == 0 || step + 12 > steps).map(|step| (kind, step)));
    }
    in_parallel(&points, |&(kind, step)| {
        let mut case = Case::new(kind);
        let name = format!("{kind:?} killed at {step}");
        let code = case.killed_at(&step.to_string());
        assert!(code == KILLED || code == 0, "{name}: {code}");
        case.assert_nothing_lost(&name);
        // New mail, under a name that was used before, must come over whatever is not written down.
        let new = mail::plain(90, 200);
        case.arrive(&new);
        let second = case.run();
        assert_eq!(second.code, 0, "{name}: {second}");
        balanced(&second);
        let mut all = case.all.clone();
        *all.entry(mail::content_digest(&new)).or_default() += 1;
        assert_eq!((case.bodies().len(), multiset(&case.to.bodies("INBOX"))), (0, all.clone()), "{name}");
        let third = balanced(&case.run().expect_code(0));
        assert_eq!((&third["listed"], &third["removed"]), (&0.into(), &0.into()), "{name}");
        assert_eq!(multiset(&case.to.bodies("INBOX")), all, "{name}");
    });
    say(&format!("leaving survived kills: {0}/{0}", points.len()));
}

#[test]
fn an_answer_that_gets_lost_while_messages_go_is_made_good() {
    for (verb, fault) in
        [("UID STORE", CommandFault::HangUpAfter), ("UID EXPUNGE", CommandFault::HangUpBefore), ("UID EXPUNGE", CommandFault::HangUpAfter)]
    {
        let bodies = mail::many(4, 200);
        let scene = scene(&bodies);
        scene.from.behave(|behaviour| behaviour.faults.push((verb.to_owned(), 1, fault.clone())));
        let first = balanced(&scene.run(&["--delete-source"]).expect_code(5));
        assert_eq!(first["copied"], 4);
        scene.from.wait_until_quiet();
        let summary = scene.good(&["--delete-source"]);
        assert_eq!(summary["copied"], 0, "{verb} {fault:?}");
        assert!(scene.from.bodies("INBOX").is_empty());
        assert_same_mail(&bodies, &scene.to.bodies("INBOX"));
    }
}

#[test]
fn from_cron_a_run_without_news_is_silent_and_cheap() {
    let drop = maildrop(pop3d::Behaviour::default(), &mail::many(40, 200));
    let command = ["migrate", "from", "to"];
    drop.tool.run(&command).expect_code(0);
    drop.from.wait_until_quiet();
    for args in [&["-q"][..], &[][..], &["-q", "--delete-source", "--older-than", "20000d"][..]] {
        let (asked, there) = (drop.from.log().len(), drop.to.log().len());
        let output = drop.tool.run(&[&command, args].concat()).expect_code(0);
        drop.from.wait_until_quiet();
        assert_eq!(output.stderr, "", "{args:?}");
        let lines = output.text().lines().count();
        assert_eq!(lines, usize::from(!args.contains(&"-q")), "{output}");
        let words = |log: Vec<String>, skip: usize| log.into_iter().skip(skip).collect::<Vec<_>>();
        let (source, destination) = (words(drop.from.log(), asked), words(drop.to.log(), there));
        assert!(!source.iter().any(|line| line.contains("RETR") || line.contains("TOP")), "{source:?}");
        if !args.contains(&"--delete-source") {
            assert!(!destination.iter().any(|line| line.contains("FETCH") || line.contains("SEARCH")), "{destination:?}");
        }
    }
    // One that comes costs what one message costs.
    let (asked, there) = (drop.from.log().len(), drop.to.log().len());
    drop.from.maildrop(|all| all.push(Entry { uidl: "new".to_owned(), body: mail::plain(90, 200) }));
    assert_eq!(drop.good(&[])["copied"], 1);
    assert_eq!(drop.from.log().iter().skip(asked).filter(|line| line.contains("RETR")).count(), 1);
    let log = drop.to.log();
    assert!(!log.iter().skip(there).any(|line| line.contains("FETCH") || line.contains("SEARCH")), "{:?}", &log[there..]);
}

#[test]
fn a_second_run_beside_the_first_is_told_so() {
    let drop = maildrop(pop3d::Behaviour { stall_at: Some(2), ..pop3d::Behaviour::default() }, &mail::many(3, 200));
    let running = drop.tool.spawn(&["migrate", "from", "to"], None);
    wait_for("RETR 2", || drop.from.log().iter().any(|line| line.ends_with("RETR 2")));
    let second = drop.tool.run(&["migrate", "-q", "from", "to", "--delete-source"]).expect_code(9);
    assert!(second.stderr.lines().count() == 1 && second.stderr.contains("another run"), "{second}");
    // Another journal is another run.
    running.signal(rustix::process::Signal::TERM);
    running.finish().expect_code(143);
    drop.from.behave(|behaviour| behaviour.stall_at = None);
    let state = drop.tool.text("own");
    assert_eq!(balanced(&run(&drop.tool, &["--state", &state]).expect_code(0))["listed"], 3);
    assert!(drop.tool.path("own/journal.db").exists());
}

#[test]
fn on_a_real_server_an_imap_account_is_left() {
    let (from, to) = (dovecot_user!("leave-imap-from"), dovecot_user!("leave-imap-to"));
    let plants: Vec<Plant> = (0..20).map(|number| Plant::new(mail::plain(number, 400)).date(1_000_000_000)).collect();
    from.plant("INBOX", &plants);
    from.deliver("Lists/a", &mail::many(5, 200));
    from.append("INBOX", &mail::plain(80, 200), &["\\Deleted"]);
    let before = from.bodies("INBOX");
    let tool = Tool::new();
    tool.account("from", &from).account("to", &to);
    // What came today stays, whoever marked it.
    let summary = balanced(&run(&tool, &["--delete-source", "--older-than", "365d", "--verify"]).expect_code(0));
    assert_eq!((&summary["copied"], &summary["removed"], kept(&summary, "--older-than")), (&26.into(), &25.into(), 1), "{summary}");
    assert_same_mail(&[mail::plain(80, 200)], &from.bodies("INBOX"));
    assert_eq!((from.bodies("Lists/a").len(), to.bodies("Lists/a").len()), (0, 5));
    assert_same_mail(&before, &to.bodies("INBOX"));
    let summary = balanced(&run(&tool, &["--delete-source"]).expect_code(0));
    assert_eq!((&summary["copied"], &summary["removed"]), (&0.into(), &1.into()), "{summary}");
    assert!(from.bodies("INBOX").is_empty() && from.bodies("Lists/a").is_empty());
    assert_same_mail(&before, &to.bodies("INBOX"));
}

#[test]
fn on_a_real_server_a_maildrop_is_left_again_and_again() {
    let (from, to) = (dovecot_user!("leave-pop3-from"), dovecot_user!("leave-pop3-to"));
    let mut all = Vec::new();
    let tool = Tool::new();
    tool.account("from", &from).account("to", &to);
    for round in 0..3_u64 {
        let news: Vec<Vec<u8>> = (0..5).map(|number| mail::plain(number % 3 + 10 * round, 300)).collect();
        from.deliver("INBOX", &news);
        all.extend(news);
        let output = tool.run(&["migrate", "from:pop3", "to", "--json", "--delete-source"]).expect_code(0);
        let summary = balanced(&output);
        assert_eq!((&summary["copied"], &summary["removed"]), (&5.into(), &5.into()), "{summary}");
        assert!(from.bodies("INBOX").is_empty());
        assert_same_mail(&all, &to.bodies("INBOX"));
    }
    let quiet = tool.run(&["migrate", "-q", "from:pop3", "to", "--delete-source"]).expect_code(0);
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet}");
}

#[test]
fn what_was_put_aside_is_listed_tried_again_or_ignored() {
    let bodies = mail::many(3, 200);
    let drop = maildrop(pop3d::Behaviour { refuse: vec![(2, "broken beyond repair".to_owned())], ..pop3d::Behaviour::default() }, &bodies);
    drop.run(&[]).expect_code(3);
    let problems = |args: &[&str]| drop.tool.run(&[&["problems", "to", "--json"], args].concat()).expect_code(0).json()["messages"].clone();
    let listed = problems(&[]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["key"], &listed[0]["ignored"]), (1, &"uidl:u2".into(), &false.into()));
    assert!(listed[0]["reason"].as_str().unwrap().contains("broken beyond repair"), "{listed}");
    // Each run tries again; an ignored one is left out, and the run is whole.
    drop.run(&[]).expect_code(3);
    assert_eq!(problems(&["--ignore", "--all"])[0]["result"], "ignored");
    let asked = drop.from.log().len();
    let summary = drop.good(&[]);
    assert_eq!((&summary["filtered"], &summary["already_there"]), (&1.into(), &2.into()));
    assert!(!drop.from.log().iter().skip(asked).any(|line| line.contains("RETR")));
    assert_eq!(problems(&[])[0]["ignored"], true);
    let status = drop.tool.run(&["status", "to", "--json", "--max-age", "1h"]).expect_code(0).json();
    assert_eq!(
        (&status["rows"][0]["problems"], &status["rows"][0]["ignored"], &status["rows"][0]["messages"]),
        (&0.into(), &1.into(), &2.into())
    );
    // It does not keep the others from leaving, and stays itself.
    let summary = drop.good(&["--delete-source"]);
    assert_eq!((&summary["removed"], drop.from.bodies()), (&2.into(), vec![bodies[1].clone()]));
    drop.from.behave(|behaviour| behaviour.refuse.clear());
    assert_eq!(problems(&["--retry"]).as_array().unwrap().len(), 1);
    assert_eq!(drop.good(&["--delete-source"])["removed"], 1);
    assert_eq!(problems(&[]).as_array().unwrap().len(), 0);
    assert_same_mail(&bodies, &drop.to.bodies("INBOX"));
}

#[test]
fn a_dry_run_says_how_many_would_go_and_removes_none() {
    let scene = scene(&mail::many(60, 200));
    let output = scene.tool.run(&["migrate", "from", "to", "--dry-run", "--delete-source"]).expect_code(0);
    assert!(output.stderr.contains("at most 60 would be removed") && output.stderr.contains("at most 50 may be"), "{output}");
    assert_eq!((scene.from.bodies("INBOX").len(), scene.to.bodies("INBOX").len()), (60, 0));
}
