//! From place to place: servers of both protocols, and files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::crash::bench::{full, in_parallel, say};
use crate::dovecot_user;
use crate::support::dovecot::{Plant, Seen, User};
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::mail::{self, multiset};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};

const KILLED: i32 = -9;

fn tool(from: &User, to: &User) -> Tool {
    let tool = Tool::new();
    tool.account("from", from).account("to", to);
    tool
}

fn planted(count: u64) -> Vec<Plant> {
    (0..count)
        .map(|number| {
            let plant = Plant::new(mail::plain(number, 300)).date(1_000_000_000 + i64::try_from(number).unwrap() * 86_400);
            if number % 2 == 0 { plant.flag("\\Seen") } else { plant.flag("\\Flagged") }
        })
        .collect()
}

fn facts<'a>(messages: impl IntoIterator<Item = &'a Seen>) -> Vec<(String, Vec<String>, i64)> {
    let mut facts: Vec<_> = messages
        .into_iter()
        .map(|message| {
            let mut flags = message.flags.clone();
            flags.sort();
            (mail::content_digest(&message.body), flags, message.internal_date)
        })
        .collect();
    facts.sort();
    facts
}

fn uids(messages: &[Seen]) -> Vec<u32> {
    messages.iter().map(|message| message.uid).collect()
}

#[test]
fn named_messages_are_copied_once_to_just_the_folder_named() {
    let (from, to) = (dovecot_user!("copy-across-from"), dovecot_user!("copy-across-to"));
    from.plant("INBOX", &planted(8));
    from.deliver("Other", &mail::many(2, 400));
    // What lies there already is somebody's own, even when it is the same.
    to.deliver("Archive", &[mail::plain(2, 300)]);
    let tool = tool(&from, &to);
    let before = from.messages("INBOX");
    let copy = ["copy", "from", "to/Archive", "2:4", "--json"];
    let copied = tool.run(&copy).expect_code(0).json();
    assert_eq!((&copied["selected"], &copied["changed"]), (&3.into(), &3.into()), "{copied}");
    let there = to.messages("Archive");
    assert_eq!(there.len(), 4);
    for message in copied["messages"].as_array().unwrap() {
        let was = before.iter().find(|seen| message["uid"] == seen.uid).unwrap();
        let is = there.iter().find(|seen| message["new_uid"] == seen.uid).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(facts([was]), facts([is]));
    }
    // Again: each once. Another folder's mail goes to the same folder, not beside it.
    assert_eq!(tool.run(&copy).expect_code(0).json()["changed"], 3);
    tool.run(&["copy", "from/Other", "to/Archive", "--all"]).expect_code(0);
    assert_eq!(to.messages("Archive").len(), 6);
    assert_eq!(to.folders(), ["Archive", "INBOX"]);
    assert_eq!(facts(&from.messages("INBOX")), facts(&before));
    // One that was deleted there is copied when it is asked for again, and nothing else is.
    let mut client = to.client();
    client.select("Archive").unwrap();
    client.uid_store(copied["messages"][1]["new_uid"].to_string(), "+FLAGS (\\Deleted)").unwrap();
    client.expunge().unwrap();
    assert_eq!(to.messages("Archive").len(), 5);
    tool.run(&copy).expect_code(0);
    assert_eq!(to.messages("Archive").len(), 6);
    assert_eq!(multiset(&to.bodies("Archive")).values().sum::<usize>(), 6);
    // A migration afterwards finds its own way, and what was copied by name is no reason to leave the rest.
    tool.run(&["migrate", "from", "to"]).expect_code(0);
    assert_eq!(facts(&to.messages("INBOX")), facts(&before));
}

#[test]
fn a_move_takes_away_what_it_read_back_and_nothing_else() {
    let (from, to) = (dovecot_user!("move-across-from"), dovecot_user!("move-across-to"));
    from.plant("INBOX", &planted(8));
    from.append("INBOX", &mail::plain(77, 100), &["\\Deleted"]);
    let tool = tool(&from, &to);
    let before = from.messages("INBOX");
    tool.run(&["move", "from", "to/Archive", "2:4"])
        .expect_code(2)
        .expect_stderr("mailhaul: to: there is no folder Archive; --create makes it");
    tool.run(&["move", "from", "to/Archive", "--all", "--max-delete", "3", "--create"]).expect_code(10);
    let dry = tool.run(&["move", "from", "to/Archive", "2:4", "--create", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!((&dry["selected"], &dry["dry_run"]), (&3.into(), &true.into()));
    assert_eq!((from.messages("INBOX").len(), to.folders()), (9, vec!["INBOX".to_owned()]));
    let moved = tool.run(&["move", "from", "to/Archive", "2:4", "--create", "--json"]).expect_code(0).json();
    assert_eq!(moved["changed"], 3, "{moved}");
    assert_eq!(uids(&from.messages("INBOX")), [1, 5, 6, 7, 8, 9]);
    assert_eq!(facts(&to.messages("Archive")), facts(&before[1..4]));
    assert!(to.subscribed().contains(&"Archive".to_owned()));
    tool.run(&["move", "from", "to/Archive", "--seen"]).expect_code(0);
    assert_eq!(from.messages("INBOX").len(), 3);
    assert_eq!(to.messages("Archive").len(), 6);
    // And back.
    tool.run(&["move", "to/Archive", "from", "--all"]).expect_code(0);
    assert!(to.messages("Archive").is_empty());
    assert_eq!(facts(&from.messages("INBOX")), facts(&before));
}

fn files(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What a dead run left half written is no message, for no mail program.
        if entry.path().is_dir() && name != "tmp" {
            found.extend(files(&entry.path()));
        } else if entry.path().is_file() && !name.starts_with('.') && !name.starts_with("mailhaul") {
            found.push(std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn mail_moves_between_servers_and_files() {
    let (from, to) = (dovecot_user!("move-files-from"), dovecot_user!("move-files-to"));
    from.plant("INBOX", &planted(6));
    let tool = tool(&from, &to);
    let before = from.messages("INBOX");
    let bodies: Vec<Vec<u8>> = before.iter().map(|message| message.body.clone()).collect();
    let maildir = format!("maildir:{}", tool.path("local").display());
    let eml = format!("eml:{}", tool.path("files").display());

    tool.run(&["move", "from", &format!("{maildir}//Archive/Old"), "--all"]).expect_code(2).expect_stderr("--create");
    tool.run(&["copy", "from", &maildir, "1:2"]).expect_code(0);
    tool.run(&["copy", "from", &maildir, "1:2"]).expect_code(0);
    assert_eq!(files(&tool.path("local")).len(), 2);
    // Those that are there count as moved: the rest joins them.
    tool.run(&["move", "from", &maildir, "--all"]).expect_code(0);
    assert!(from.messages("INBOX").is_empty());
    assert_eq!(multiset(&files(&tool.path("local"))), multiset(&bodies));

    let moved = tool.run(&["move", &maildir, "to/Kept", "--all", "--create", "--json"]).expect_code(0).json();
    assert_eq!(moved["changed"], 6, "{moved}");
    assert_eq!((files(&tool.path("local")).len(), facts(&to.messages("Kept"))), (0, facts(&before)));

    tool.run(&["move", "to/Kept", &eml, "2:4"]).expect_code(0);
    assert_eq!((files(&tool.path("files")).len(), to.messages("Kept").len()), (3, 3));
    tool.run(&["move", &eml, &maildir, "--all"]).expect_code(0);
    assert_eq!((files(&tool.path("files")).len(), files(&tool.path("local")).len()), (0, 3));
    tool.run(&["move", &maildir, "to/Kept", "2"]).expect_code(0);
    assert_eq!((files(&tool.path("local")).len(), to.messages("Kept").len()), (2, 4));
    // The same file again, later, is another message.
    let twin = bodies[0].clone();
    for round in 0..2 {
        std::fs::write(tool.path("files").join(format!("again{round}.eml")), &twin).unwrap();
        tool.run(&["move", &eml, "to/Twins", "--all", "--create"]).expect_code(0);
        assert_eq!((files(&tool.path("files")).len(), to.messages("Twins").len()), (0, round + 1));
    }
}

#[test]
fn a_maildrop_is_emptied_of_just_what_was_asked_for() {
    let user = dovecot_user!("move-pop3-to");
    for no_uidl in [false, true] {
        let bodies = [1, 7, 7, 2, 3].map(|number| mail::plain(number, 200));
        let server = Pop3d::start(pop3d::Behaviour { no_uidl, ..pop3d::Behaviour::default() }, &bodies);
        let tool = Tool::new();
        tool.account("to", &user).server("from", None, Some(&server.url()));
        let place = format!("to/Mail{no_uidl}");
        let moved = tool.run(&["move", "from", &place, "2", "4:5", "--create", "--json"]).expect_code(0).json();
        assert_eq!((&moved["changed"], &moved["messages"][0]["number"]), (&3.into(), &2.into()), "{moved}");
        server.wait_until_quiet();
        assert_eq!(multiset(&server.bodies()), multiset(&bodies[..2]), "no_uidl {no_uidl}");
        let folder = place.trim_start_matches("to/");
        assert_eq!(multiset(&user.bodies(folder)), multiset(&bodies[2..]));
        tool.run(&["move", "from", &place, "--all"]).expect_code(0);
        server.wait_until_quiet();
        assert!(server.bodies().is_empty());
        assert_eq!(multiset(&user.bodies(folder)), multiset(&bodies), "no_uidl {no_uidl}");
    }
}

#[test]
fn what_is_refused_or_altered_stays_where_it_is() {
    let from = Imapd::start(Behaviour::default());
    let bodies = mail::many(4, 200);
    from.fill("INBOX", &bodies);
    from.change("INBOX", |mailbox| mailbox.reflag(4, "$Work"));
    let marker = mail::plain(1, 200);
    let needle = marker.windows(12).position(|window| window == b"Message-ID: ").map(|at| marker[at..at + 40].to_vec()).unwrap();
    let to = Imapd::start(Behaviour {
        refuse: vec![(needle, "[CANNOT] not this one".to_owned())],
        permanent_flags: Some("\\Seen \\Deleted".to_owned()),
        ..Behaviour::default()
    });
    let tool = Tool::new();
    tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
    for round in 0..2 {
        let output = tool.run(&["move", "from", "to", "--all", "--json"]).expect_code(3);
        assert!(output.stderr.contains("not this one") && output.stderr.contains("altered on the way"), "{output}");
        let left: Vec<u32> = from.mailbox("INBOX").messages.iter().map(|message| message.uid).collect();
        assert_eq!((left, to.bodies("INBOX").len()), (vec![2, 4], 3), "round {round}: {output}");
    }
}

#[test]
fn without_uidplus_at_the_source_copies_stay_single() {
    let from = Imapd::start(Behaviour::default().without(&["UIDPLUS"]));
    from.fill("INBOX", &mail::many(4, 200));
    let to = Imapd::start(Behaviour::default().without(&["UIDPLUS"]));
    to.fill("INBOX", &mail::many(2, 200));
    let tool = Tool::new();
    tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
    for _ in 0..2 {
        tool.run(&["move", "from", "to", "1:3"]).expect_code(3).expect_stderr("no UIDPLUS");
        assert_eq!((from.bodies("INBOX").len(), to.bodies("INBOX").len()), (4, 5));
    }
    let marked = from.mailbox("INBOX").messages.iter().filter(|message| message.flags.iter().any(|flag| flag == "\\Deleted")).count();
    assert_eq!(marked, 3);
    // Nothing but just the named is ever removed.
    assert!(!from.log().iter().any(|line| line.contains(" EXPUNGE") || line.contains(" CLOSE")));
}

/// Two places, and all mail in both.
enum Here {
    Imap(Imapd),
    Pop3(Pop3d),
    Maildir(PathBuf),
}

impl Here {
    fn bodies(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Imap(server) => server.bodies("INBOX"),
            Self::Pop3(server) => server.bodies(),
            Self::Maildir(path) => files(path),
        }
    }

    fn wait(&self) {
        match self {
            Self::Imap(server) => server.wait_until_quiet(),
            Self::Pop3(server) => server.wait_until_quiet(),
            Self::Maildir(_) => {}
        }
    }
}

struct Case {
    tool: Tool,
    from: Here,
    to: Here,
    command: Vec<String>,
    all: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Imap,
    Pop3,
    Maildir,
}

impl Case {
    fn new(from: Kind, to: Kind) -> Self {
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let bodies = [0, 7, 7, 1, 7, 2].map(|number| mail::plain(number, 200));
        let (here, source) = match from {
            Kind::Imap => {
                let server = Imapd::start(Behaviour { clock: Some(clock.clone()), ..Behaviour::default() });
                server.fill("INBOX", &bodies);
                tool.server("from", Some(&server.url()), None);
                (Here::Imap(server), "from".to_owned())
            }
            Kind::Pop3 => {
                let server = Pop3d::start(pop3d::Behaviour::default(), &bodies);
                tool.server("from", None, Some(&server.url()));
                (Here::Pop3(server), "from".to_owned())
            }
            Kind::Maildir => {
                let path = tool.path("source");
                for half in ["tmp", "new", "cur"] {
                    std::fs::create_dir_all(path.join(half)).unwrap();
                }
                for (number, body) in bodies.iter().enumerate() {
                    std::fs::write(path.join("cur").join(format!("10000{number}.M1P1.host:2,S")), body).unwrap();
                }
                let place = format!("maildir:{}", path.display());
                (Here::Maildir(path), place)
            }
        };
        let (there, destination) = match to {
            Kind::Maildir => {
                let path = tool.path("destination");
                std::fs::create_dir_all(path.join("cur")).unwrap();
                let place = format!("maildir:{}", path.display());
                (Here::Maildir(path), place)
            }
            _ => {
                let server = Imapd::start(Behaviour { clock: Some(clock), ..Behaviour::default() });
                tool.server("to", Some(&server.url()), None);
                (Here::Imap(server), "to".to_owned())
            }
        };
        let command = ["move", &source, &destination, "--all", "--json"].map(str::to_owned).to_vec();
        Self { tool, from: here, to: there, command, all: multiset(&bodies) }
    }

    fn run(&self) -> Output {
        self.tool.run(&self.command)
    }

    fn killed_at(&mut self, step: &str) -> i32 {
        self.tool.set_env("MAILHAUL_TEST_CRASH", step);
        let code = self.run().code;
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        self.from.wait();
        self.to.wait();
        code
    }

    fn assert_moved(&self, case: &str) {
        self.from.wait();
        assert_eq!(self.from.bodies().len(), 0, "{case}");
        assert_eq!(multiset(&self.to.bodies()), self.all, "{case}");
    }

    /// Whatever happened, every message is somewhere.
    fn assert_nothing_lost(&self, case: &str) {
        let (here, there) = (self.from.bodies(), self.to.bodies());
        let together = multiset(here.iter().chain(&there));
        assert!(self.all.iter().all(|(digest, count)| together.get(digest).is_some_and(|found| found >= count)), "{case}");
    }
}

#[test]
fn a_move_between_places_killed_at_any_step_is_made_good_by_the_next() {
    let ways = [
        (Kind::Imap, Kind::Imap),
        (Kind::Pop3, Kind::Imap),
        (Kind::Maildir, Kind::Imap),
        (Kind::Imap, Kind::Maildir),
        (Kind::Maildir, Kind::Maildir),
    ];
    let mut points = Vec::new();
    for (from, to) in ways {
        let mut counting = Case::new(from, to);
        let file = counting.tool.path("steps");
        let code = counting.killed_at(&format!("count:{}", file.display()));
        assert_eq!(code, 0, "{from:?} {to:?}");
        counting.assert_moved("not killed");
        let steps = std::fs::read_to_string(file).unwrap().lines().count();
        let stride = if full() { 1 } else { steps.div_ceil(14) };
        // The last ones are where messages are taken away: all of them.
        points.extend((1..=steps).filter(|step| step % stride == 0 || step + 6 > steps).map(|step| (from, to, step)));
    }
    in_parallel(&points, |&(from, to, step)| {
        let mut case = Case::new(from, to);
        let name = format!("{from:?} to {to:?} killed at {step}");
        if case.killed_at(&step.to_string()) == KILLED {
            case.assert_nothing_lost(&name);
            let second = case.run();
            assert_eq!(second.code, 0, "{name}: {second}");
        }
        case.assert_moved(&name);
        let third = case.run().expect_code(0).json();
        assert_eq!((&third["selected"], &third["changed"]), (&0.into(), &0.into()), "{name}");
        case.assert_moved(&name);
    });
    say(&format!("moves between places survived kills: {0}/{0}", points.len()));
}

#[test]
fn an_answer_that_gets_lost_on_the_way_out_is_made_good() {
    for (verb, fault) in
        [("UID STORE", CommandFault::HangUpAfter), ("UID EXPUNGE", CommandFault::HangUpBefore), ("UID EXPUNGE", CommandFault::HangUpAfter)]
    {
        let case = Case::new(Kind::Imap, Kind::Imap);
        let Here::Imap(server) = &case.from else { unreachable!() };
        server.behave(|behaviour| behaviour.faults.push((verb.to_owned(), 1, fault.clone())));
        let first = case.run();
        assert_eq!(first.code, 5, "{verb} {fault:?}: {first}");
        case.assert_nothing_lost("lost");
        case.run().expect_code(0);
        case.assert_moved(&format!("{verb} {fault:?}"));
    }
}

#[test]
fn files_that_are_the_very_store_the_messages_leave_lose_nothing() {
    let tool = Tool::new();
    // One file of a folder moves into that folder; and a folder moves into itself under another name.
    let dir = tool.path("files");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    let bodies = [1, 2, 2].map(|number| mail::plain(number, 200));
    for (number, body) in bodies.iter().enumerate() {
        std::fs::write(dir.join(format!("00000{number}.eml")), body).unwrap();
    }
    let (one, all) = (format!("eml:{}/000001.eml", dir.display()), format!("eml:{}", dir.display()));
    for _ in 0..2 {
        tool.run(&["move", &one, &all, "--all"]);
        assert_eq!(multiset(&files(&dir)), multiset(&bodies));
    }
    tool.run(&["move", &all, &all, "--all"]).expect_code(2);
    std::os::unix::fs::symlink(&dir, tool.path("link")).unwrap();
    tool.run(&["move", &all, &format!("eml:{}", tool.path("link").display()), "--all"]).expect_code(2);
    std::fs::write(dir.join("sub/000001.eml"), &bodies[0]).unwrap();
    let (inner, outer) = (format!("eml:{}/sub", dir.display()), format!("eml:{}//sub", dir.display()));
    tool.run(&["move", &inner, &outer, "--all"]);
    assert_eq!(files(&dir.join("sub")).len(), 1);
}

#[test]
fn a_server_whose_own_maildir_is_the_destination_loses_nothing_wherever_the_run_dies() {
    let user = dovecot_user!("move-own-maildir");
    let bodies = [1, 2, 2, 3].map(|number| mail::plain(number, 200));
    user.deliver("INBOX", &bodies);
    let root = ["mail", "Maildir", "."].map(|name| user.home().join(name)).into_iter().find(|path| path.join("cur").is_dir());
    let Some(root) = root else { panic!("no Maildir in {:?}", std::fs::read_dir(user.home()).unwrap().collect::<Vec<_>>()) };
    let destination = format!("maildir:{}", root.display());
    let mut tool = Tool::new();
    tool.account("work", &user);
    for step in (1..60).step_by(2) {
        tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        tool.run(&["move", "work", &destination, "--all"]);
        tool.unset_env("MAILHAUL_TEST_CRASH");
        let there: Vec<Vec<u8>> = ["new", "cur"].iter().flat_map(|half| files(&root.join(half))).collect();
        let there = multiset(&there);
        for (digest, count) in multiset(&bodies) {
            assert!(there.get(&digest).is_some_and(|found| *found >= count), "killed at {step}");
        }
    }
}
