//! A server whose mail changes, a store, and the program with a clock that jumps: made afresh for every case of the crash,
//! network and disk tests. What the store must hold in the end is known from the server alone.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::crash::bench::in_parallel;
use crate::support::canary;
use crate::support::imapd::{self, Imapd, Stored};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::store::{self, Layout, Mail};
use crate::support::tool::{Output, Tool};

pub const KILLED: i32 = -9;

/// What the server is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IMAP4rev1 and no more.
    Plain,
    /// CONDSTORE and LIST-STATUS.
    Condstore,
    /// QRESYNC, OBJECTID and what belongs to them.
    Modern,
    /// POP3 with unique-ids.
    Pop3,
    /// POP3 without.
    Pop3Bare,
}

impl Kind {
    pub fn behaviour(self) -> imapd::Behaviour {
        let more: &[&str] = match self {
            Self::Condstore => &["ENABLE", "CONDSTORE", "LIST-EXTENDED", "LIST-STATUS", "ESEARCH"],
            Self::Modern => &["ENABLE", "CONDSTORE", "QRESYNC", "LIST-EXTENDED", "LIST-STATUS", "ESEARCH", "OBJECTID"],
            _ => &[],
        };
        more.iter().fold(imapd::Behaviour::default(), |behaviour, name| behaviour.with(name))
    }

    pub fn is_pop3(self) -> bool {
        matches!(self, Self::Pop3 | Self::Pop3Bare)
    }
}

/// What happens on the server between the first run and the one that is disturbed; together as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// New mail in two folders and a new folder.
    Arrivals,
    /// Mail removed from two folders.
    Departures,
    /// Flags and keywords given and taken.
    Flags,
    /// Another UIDVALIDITY, other UIDs, mail removed and arrived.
    Renumbered,
    /// A folder has another name.
    Renamed,
}

/// All of them, in an order in which each still finds what it changes.
pub const EVERYTHING: &[Change] = &[Change::Renamed, Change::Flags, Change::Renumbered, Change::Departures, Change::Arrivals];

pub enum From {
    Imap(Imapd),
    Pop3(Pop3d),
}

pub struct Scene {
    pub tool: Tool,
    pub from: From,
    pub kind: Kind,
    pub layout: Layout,
    pub options: Vec<&'static str>,
    /// What is in the store and on the server no more.
    pub gone: Mail,
    /// Where the store lies, below the directory the program runs in.
    pub at: &'static str,
}

pub const FOLDERS: [&str; 6] = ["INBOX", "Archive", "Archive/2019", "Sent", "Lists", "Work"];

/// A message with a date of its own and, now and then, flags.
pub fn letter(number: u64, octets: usize) -> Stored {
    let mut stored = Stored::new(mail::plain(number, octets));
    stored.internal_date = format!("{:02}-Sep-2020 12:{:02}:40 +0000", 1 + number % 28, number % 60);
    match number % 5 {
        1 => stored.flags = vec!["\\Seen".to_owned()],
        2 => stored.flags = vec!["\\Flagged".to_owned(), "\\Answered".to_owned()],
        3 => stored.flags = vec!["Work".to_owned(), "\\Seen".to_owned()],
        _ => {}
    }
    stored
}

/// Puts messages into a folder, which is made where it is missing.
pub fn put(server: &Imapd, folder: &str, letters: Vec<Stored>) {
    server.fill(folder, &letters.iter().map(|letter| letter.body.clone()).collect::<Vec<_>>());
    server.change(folder, |mailbox| {
        let first = mailbox.messages.len() - letters.len();
        for (message, letter) in mailbox.messages.iter_mut().skip(first).zip(letters) {
            message.flags = letter.flags;
            message.internal_date = letter.internal_date;
        }
    });
}

impl Scene {
    /// So many messages of so many octets, spread over the folders, three of them identical.
    pub fn new(kind: Kind, layout: Layout, count: u64, octets: usize) -> Self {
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let number = |index: u64| if index < 3 { 0 } else { index };
        let from = if kind.is_pop3() {
            let behaviour = pop3d::Behaviour::default();
            let behaviour = if kind == Kind::Pop3Bare { behaviour.without("UIDL") } else { behaviour };
            let bodies: Vec<Vec<u8>> = (0..count).map(|index| mail::plain(number(index), octets)).collect();
            From::Pop3(Pop3d::start(behaviour, &bodies))
        } else {
            let server = Imapd::start(imapd::Behaviour { clock: Some(clock), ..kind.behaviour() });
            for (place, folder) in FOLDERS.iter().enumerate() {
                let place = place as u64;
                // The INBOX gets the first half.
                let share = if place == 0 { 0..count / 2 } else { count / 2 + (place - 1) * count / 10..count / 2 + place * count / 10 };
                put(&server, folder, share.map(|index| letter(number(index), octets)).collect());
            }
            From::Imap(server)
        };
        let scene = Self { tool, from, kind, layout, options: Vec::new(), gone: Mail::new(), at: "store" };
        scene.serve_at(scene.port());
        scene
    }

    /// Options of the run; those that begin with `&` are the place's: `&connections=3`.
    pub fn choose(&mut self, options: &[&'static str]) {
        self.options = options.to_vec();
        let place: String = options.iter().filter(|option| option.starts_with('&')).copied().collect();
        self.serve_with(self.port(), &place);
    }

    /// Points the account at a port, that of the server or of a proxy.
    pub fn serve_at(&self, port: u16) {
        self.serve_with(port, "");
    }

    /// The same with further options of the place: `&timeout=1s`.
    pub fn serve_with(&self, port: u16, options: &str) {
        self.tool.config("");
        if self.kind.is_pop3() {
            self.tool.server("work", None, Some(&format!("pop3://ann@127.0.0.1:{port}?tls=none{options}")));
        } else {
            self.tool.server("work", Some(&format!("imap://ann@127.0.0.1:{port}?tls=none{options}")), None);
        }
    }

    pub fn port(&self) -> u16 {
        match &self.from {
            From::Imap(server) => server.port(),
            From::Pop3(server) => server.port(),
        }
    }

    pub fn imapd(&self) -> &Imapd {
        match &self.from {
            From::Imap(server) => server,
            From::Pop3(_) => panic!("the source is POP3"),
        }
    }

    /// Waits until the server has seen the end of all connections.
    pub fn wait_until_quiet(&self) {
        match &self.from {
            From::Imap(server) => server.wait_until_quiet(),
            From::Pop3(server) => server.wait_until_quiet(),
        }
    }

    pub fn log(&self) -> Vec<String> {
        match &self.from {
            From::Imap(server) => server.log(),
            From::Pop3(server) => server.log(),
        }
    }

    /// How many bodies were asked for so far.
    pub fn bodies_asked(&self) -> usize {
        self.log().iter().filter(|line| line.contains("BODY.PEEK[]") || line.contains(" RETR ")).count()
    }

    pub fn root(&self) -> PathBuf {
        self.tool.path(self.at)
    }

    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["backup".to_owned(), "work".to_owned(), self.layout.place(self.at), "--json".to_owned()];
        arguments.extend(self.options.iter().filter(|option| !option.starts_with('&')).map(|option| (*option).to_owned()));
        arguments
    }

    pub fn run(&self) -> Output {
        self.tool.run(&self.arguments())
    }

    pub fn run_killed_at(&mut self, step: u64) -> Output {
        self.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let output = self.run();
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        self.wait_until_quiet();
        output
    }

    /// The kinds of the steps of a run that ends with 0.
    pub fn run_counting_steps(&mut self) -> Vec<String> {
        let file = self.tool.path("steps");
        let _ = std::fs::remove_file(&file);
        self.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
        self.run().expect_code(0);
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
    }

    /// What is on the server.
    pub fn served(&self) -> Mail {
        match &self.from {
            From::Imap(server) => store::served(server),
            From::Pop3(server) => {
                // POP3 knows neither flags nor dates; the dates of the files are compared with another run's instead.
                let mut served = Mail::new();
                for body in server.bodies() {
                    let letter = store::Letter { content: mail::content_digest(&body), flags: std::collections::BTreeSet::new(), date: 0 };
                    *served.entry("INBOX".to_owned()).or_default().entry(letter).or_default() += 1;
                }
                served
            }
        }
    }

    /// What is in the store.
    pub fn kept(&self) -> Mail {
        self.bare(store::mail(&self.root(), &self.account(), self.layout))
    }

    /// The account's directory.
    pub fn account(&self) -> String {
        "work".to_owned()
    }

    fn bare(&self, mail: Mail) -> Mail {
        if !self.kind.is_pop3() {
            return mail;
        }
        let mut bare = Mail::new();
        for (folder, letters) in mail {
            for (letter, count) in letters {
                *bare.entry(folder.clone()).or_default().entry(store::Letter { date: 0, ..letter }).or_default() += count;
            }
        }
        bare
    }

    /// Lets a change happen on the server; what goes is remembered, unless the run mirrors.
    pub fn change(&mut self, change: Change) {
        let mirrors = self.options.contains(&"--mirror");
        let before = self.served();
        match &self.from {
            From::Imap(server) => change_imap(server, change),
            From::Pop3(server) => change_pop3(server, change),
        }
        if change == Change::Renamed {
            let kept = std::mem::take(&mut self.gone);
            self.gone =
                kept.into_iter().map(|(folder, letters)| (if folder == "Lists" { "Rolls".to_owned() } else { folder }, letters)).collect();
        } else if !mirrors && change != Change::Flags {
            let after = self.served();
            for (folder, letters) in before {
                for (letter, count) in letters {
                    let left = after.get(&folder).and_then(|letters| letters.get(&letter)).copied().unwrap_or(0);
                    if count > left {
                        *self.gone.entry(folder.clone()).or_default().entry(letter).or_default() += count - left;
                    }
                }
            }
        }
    }

    /// Insists that the store holds what it must, is sound, and that one more run does nothing at all.
    #[track_caller]
    pub fn expect_right(&self, case: &str) {
        self.expect_kept(case);
        store::sound(&self.root(), self.layout, case);
        store::journal_tells_the_truth(&self.root(), self.layout, case);
        if let From::Imap(server) = &self.from {
            let (told, served) = (store::live(&self.root()), store::live_served(server));
            assert!(told == served, "{case}: the journal against the server: {:?}", told.symmetric_difference(&served));
        }
        self.expect_idle(case);
    }

    /// Insists that the store holds what is on the server, just as it is there, and what went from there; nothing else, and nothing
    /// twice. A file of one that went may stand for an identical one that came.
    #[track_caller]
    pub fn expect_kept(&self, case: &str) {
        let served = self.bare(store::as_kept(&self.served(), self.layout));
        let mut wanted = served.clone();
        let mut kept = self.kept();
        let contents = |mail: &Mail| {
            let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
            for (folder, letters) in mail {
                for (letter, count) in letters {
                    *counts.entry((folder.clone(), letter.content.clone())).or_default() += count;
                }
            }
            counts
        };
        let (here, there, gone) = (contents(&kept), contents(&served), contents(&self.gone));
        for (key, count) in &gone {
            let on_server = there.get(key).copied().unwrap_or(0);
            let most = on_server + count;
            let least = if on_server > 0 { on_server } else { most };
            let found = here.get(key).copied().unwrap_or(0);
            assert!((least..=most).contains(&found), "{case}: {found} in the store of {key:?}, {on_server} on the server, {count} went");
        }
        // What went is counted; with which flags it went nobody can know.
        for mail in [&mut kept, &mut wanted] {
            for (folder, letters) in mail.iter_mut() {
                letters.retain(|letter, _| !gone.contains_key(&(folder.clone(), letter.content.clone())));
            }
            mail.retain(|_, letters| !letters.is_empty());
        }
        assert!(kept == wanted, "{case}: {}", differences(&kept, &wanted));
        let all = self.kept();
        // Of twins of such, those on the server are there with their flags.
        for (folder, letters) in served {
            for (letter, count) in letters {
                let found = all.get(&folder).and_then(|letters| letters.get(&letter)).copied().unwrap_or(0);
                assert!(found >= count, "{case}: {found} in the store, {count} on the server: {folder} {letter:?}");
            }
        }
    }

    /// Insists that a further run reads, writes and renames nothing.
    #[track_caller]
    pub fn expect_idle(&self, case: &str) {
        let (before, asked) = (store::untouched(&self.root()), self.bodies_asked());
        let again = self.run();
        assert_eq!(again.code, 0, "{case}: {again}");
        let summary = again.json();
        for count in ["copied", "flags_changed", "gone", "quarantined", "refused", "unknown"] {
            assert_eq!(summary[count], 0, "{case}: {count}: {again}");
        }
        assert_eq!(summary["balanced"], true, "{case}: {again}");
        // Without unique-ids mail is known by its content alone.
        let read = self.bodies_asked() - asked;
        assert!(read == 0 || self.kind == Kind::Pop3Bare, "{case}: the further run read mail: {again}");
        let after = store::untouched(&self.root());
        let changed: Vec<_> = after.iter().filter(|(path, meta)| before.get(*path) != Some(meta)).map(|(path, _)| path).collect();
        assert!(before == after, "{case}: the further run touched {changed:?}, or removed something");
    }
}

pub fn differences(kept: &Mail, wanted: &Mail) -> String {
    let mut text = String::new();
    for (folder, letters) in kept.iter().chain(wanted) {
        for letter in letters.keys() {
            let count = |mail: &Mail| mail.get(folder).and_then(|letters| letters.get(letter)).copied().unwrap_or(0);
            let (here, there) = (count(kept), count(wanted));
            let line =
                format!("{here} in the store, {there} wanted: {folder} {} {:?} {}\n", &letter.content[..16], letter.flags, letter.date);
            if here != there && !text.contains(&line) {
                text.push_str(&line);
            }
        }
    }
    text
}

fn change_imap(server: &Imapd, change: Change) {
    match change {
        Change::Arrivals => {
            put(server, "INBOX", (200..204).map(|number| letter(number, 200)).collect());
            // A twin of one that is there.
            put(server, "Sent", vec![letter(210, 200), letter(0, 200)]);
            put(server, "New/Deep", (220..222).map(|number| letter(number, 200)).collect());
        }
        Change::Departures => {
            server.change("INBOX", |mailbox| {
                expunge(mailbox, 2);
                expunge(mailbox, 5);
            });
            let lists = if server.folders().iter().any(|name| name == "Rolls") { "Rolls" } else { "Lists" };
            server.change(lists, |mailbox| expunge(mailbox, 1));
        }
        Change::Flags => {
            server.change("INBOX", |mailbox| {
                mailbox.reflag(1, "\\Seen");
                mailbox.reflag(2, "Later");
                mailbox.reflag(3, "-\\Flagged");
                mailbox.reflag(4, "-Work");
                mailbox.reflag(6, "\\Deleted");
            });
            server.change("Sent", |mailbox| mailbox.reflag(1, "+\\Answered"));
        }
        Change::Renumbered => {
            for folder in ["INBOX", "Work"] {
                server.change(folder, |mailbox| {
                    mailbox.messages.remove(1);
                    mailbox.renumber();
                });
            }
            put(server, "INBOX", vec![letter(230, 200), letter(0, 200)]);
        }
        Change::Renamed => rename(server, "Lists", "Rolls"),
    }
}

/// Removes a message as somebody would.
pub fn expunge(mailbox: &mut imapd::Mailbox, uid: u32) {
    mailbox.mod_seq += 1;
    mailbox.messages.retain(|message| message.uid != uid);
}

/// Renames a folder as somebody would, by a command.
pub fn rename(server: &Imapd, from: &str, to: &str) {
    let mut tcp = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    write!(tcp, "a LOGIN ann {}\r\nb RENAME \"{from}\" \"{to}\"\r\nc LOGOUT\r\n", canary()).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("b OK"), "{answer}");
}

fn change_pop3(server: &Pop3d, change: Change) {
    match change {
        Change::Arrivals => server.maildrop(|maildrop| {
            for number in [300, 301, 0, 302] {
                maildrop.push(pop3d::Entry { uidl: format!("n{}", maildrop.len()), body: mail::plain(number, 200) });
            }
        }),
        Change::Departures => server.maildrop(|maildrop| {
            // Not one of the twins: the file of one that went may well stand for one that came.
            maildrop.remove(5);
            maildrop.remove(8);
        }),
        _ => {}
    }
}

/// Does `each` for all of `jobs`, also when some of them fail, and tells of all that failed at the end.
pub fn all_of<T: Sync + std::fmt::Debug>(jobs: &[T], each: impl Fn(&T) + Sync) {
    let failed = Mutex::new(Vec::new());
    in_parallel(jobs, |job| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| each(job)));
        if let Err(panic) = result {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            failed.lock().unwrap().push(format!("{job:?}: {}", text.unwrap_or_default()));
        }
    });
    let failed = failed.into_inner().unwrap();
    let shown: Vec<String> = failed.iter().take(12).map(|text| text.chars().take(3000).collect()).collect();
    assert!(failed.is_empty(), "{} of {} failed:\n\n{}", failed.len(), jobs.len(), shown.join("\n\n"));
}
