//! Within one account: MOVE, and what stands in for it.

use std::collections::BTreeMap;

use crate::crash::bench::{full, in_parallel, say};
use crate::dovecot_user;
use crate::support::dovecot::{Dovecot, Options, Plant, Seen, User};
use crate::support::imapd::{Behaviour, CommandFault, Imapd, Stored};
use crate::support::mail::{self, multiset};
use crate::support::names::{texts, typed};
use crate::support::tool::Tool;

const KILLED: i32 = -9;

fn tool(user: &User) -> Tool {
    let tool = Tool::new();
    tool.account("work", user);
    tool
}

fn planted(count: u64) -> Vec<Plant> {
    (0..count)
        .map(|number| {
            let plant = Plant::new(mail::plain(number, 300)).date(1_000_000_000 + i64::try_from(number).unwrap() * 86_400);
            if number % 2 == 0 { plant.flag("\\Seen") } else { plant.flag("\\Flagged").flag("\\Answered") }
        })
        .collect()
}

/// What a message is, wherever it lies.
fn facts(messages: &[Seen]) -> Vec<(String, Vec<String>, i64)> {
    let mut facts: Vec<_> = messages
        .iter()
        .map(|message| {
            let mut flags = message.flags.clone();
            flags.sort();
            (mail::content_digest(&message.body), flags, message.internal_date)
        })
        .collect();
    facts.sort();
    facts
}

/// Every message the document names lies under its new UID, as it was.
fn assert_told(document: &serde_json::Value, before: &[Seen], after: &[Seen]) {
    for message in document["messages"].as_array().unwrap() {
        let was = before.iter().find(|seen| message["uid"] == seen.uid).unwrap();
        let is = after.iter().find(|seen| message["new_uid"] == seen.uid).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(facts(std::slice::from_ref(was)), facts(std::slice::from_ref(is)));
    }
}

#[test]
fn messages_move_and_are_copied_with_dates_flags_and_new_uids() {
    let user = dovecot_user!("move-plain");
    user.plant("INBOX", &planted(9));
    user.append("INBOX", &mail::plain(9, 300), &["$Work"]);
    user.deliver("Archive", &mail::many(3, 100));
    let tool = tool(&user);
    let before = user.messages("INBOX");

    let copied = tool.run(&["copy", "work", "work/Archive", "1:3", "--json"]).expect_code(0).json();
    assert_eq!((&copied["selected"], &copied["changed"]), (&3.into(), &3.into()), "{copied}");
    assert_eq!(copied["schema"], "mailhaul.copy/1");
    assert_told(&copied, &before, &user.messages("Archive"));
    assert_eq!(facts(&user.messages("INBOX")), facts(&before));

    let moved = tool.run(&["move", "work", "work/Archive", "4:*", "--json"]).expect_code(0).json();
    assert_eq!((&moved["selected"], &moved["changed"]), (&7.into(), &7.into()), "{moved}");
    assert_told(&moved, &before, &user.messages("Archive"));
    assert_eq!(facts(&user.messages("INBOX")), facts(&before[..3]));
    assert_eq!(user.messages("Archive").len(), 13);

    // Selecting nothing that is there is no error; naming what is not there is.
    assert_eq!(tool.run(&["move", "work", "work/Archive", "4:9", "--json"]).expect_code(0).json()["selected"], 0);
    tool.run(&["move", "work", "work/Archive", "4", "1"]).expect_code(3).expect_stderr("there is no such message");
    assert_eq!(user.messages("INBOX").len(), 2);
    let states = std::fs::read_dir(tool.state_dir()).map_or(0, Iterator::count);
    assert_eq!(states, 0, "a server with MOVE needs no record");
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_touched() {
    let user = dovecot_user!("move-wrong");
    user.plant("INBOX", &planted(4));
    let tool = tool(&user);
    let before = facts(&user.messages("INBOX"));
    tool.run(&["move", "work", "work/Archive"]).expect_code(2).expect_stderr("--all");
    tool.run(&["copy", "work", "work/INBOX", "1"]).expect_code(2).expect_stderr("same folder");
    tool.run(&["move", "work", "work/inbox", "1"]).expect_code(2).expect_stderr("same folder");
    for verb in ["move", "copy"] {
        tool.run(&[verb, "work", "work/Nowhere", "1"]).expect_code(2).expect_stderr("--create makes it");
        tool.run(&[verb, "work/Nowhere", "work", "1"]).expect_code(2).expect_stderr("there is no folder Nowhere");
        let dry = tool.run(&[verb, "work", "work/Nowhere", "--all", "--create", "--dry-run", "--json"]).expect_code(0).json();
        assert_eq!((&dry["dry_run"], &dry["changed"], dry["messages"].as_array().unwrap().len()), (&true.into(), &4.into(), 4), "{dry}");
        let named = tool.run(&[verb, "work", "work/Nowhere", "2,3", "--create", "-n"]).expect_code(0);
        assert_eq!(named.text().lines().filter(|line| line.contains("INBOX")).count(), 2, "{named}");
    }
    assert_eq!(facts(&user.messages("INBOX")), before);
    assert_eq!(user.folders(), ["INBOX"]);
    let made = tool.run(&["move", "work", "work/New/Below", "--all", "--create", "--json"]).expect_code(0).json();
    assert_eq!(made["changed"], 4);
    assert_eq!(facts(&user.messages("New/Below")), before);
    assert!(user.subscribed().contains(&"New/Below".to_owned()));
    assert!(user.messages("INBOX").is_empty());
}

/// A Dovecot that announces these capabilities alone.
fn announcing(capabilities: &str) -> Option<Dovecot> {
    Dovecot::start(Options { imap_capability: Some(capabilities.to_owned()), ..Options::default() })
}

#[test]
fn without_move_messages_are_copied_and_just_they_are_removed() {
    let Some(dovecot) = announcing("IMAP4rev1 SASL-IR LITERAL+ ID NAMESPACE UIDPLUS LIST-EXTENDED ESEARCH") else { return };
    let user = dovecot.user("move-fallback");
    user.plant("INBOX", &planted(10));
    // Somebody else's, marked and not to be touched.
    user.append("INBOX", &mail::plain(77, 100), &["\\Deleted"]);
    user.deliver("Archive", &mail::many(3, 100));
    let tool = tool(&user);
    let before = user.messages("INBOX");
    let moved = tool.run(&["move", "work", "work/Archive", "2:5", "--json"]).expect_code(0).json();
    assert_eq!(moved["changed"], 4);
    assert_told(&moved, &before, &user.messages("Archive"));
    let left: Vec<u32> = user.messages("INBOX").iter().map(|message| message.uid).collect();
    assert_eq!(left, [1, 6, 7, 8, 9, 10, 11]);
    assert!(user.messages("Archive").iter().all(|message| !message.flags.contains(&"\\Deleted".to_owned())));
}

#[test]
fn without_uidplus_messages_stay_marked_and_are_never_copied_twice() {
    let Some(dovecot) = announcing("IMAP4rev1 SASL-IR LITERAL+ ID NAMESPACE") else { return };
    let user = dovecot.user("move-no-uidplus");
    user.plant("INBOX", &planted(4));
    user.append("INBOX", &mail::plain(77, 100), &["\\Deleted"]);
    user.create("Archive");
    let tool = tool(&user);
    for round in 1..=3 {
        let moved = tool.run(&["move", "work", "work/Archive", "1:2", "--json"]).expect_code(3).expect_stderr("no UIDPLUS");
        assert_eq!(moved.json()["changed"], 2, "{moved}");
        assert_eq!(user.messages("Archive").len(), 2, "round {round}");
        assert_eq!(user.messages("INBOX").len(), 5, "nothing was expunged");
    }
    let deleted = |uid| user.messages("INBOX").iter().any(|message| message.uid == uid && message.flags.contains(&"\\Deleted".to_owned()));
    assert_eq!([1, 2, 3, 4, 5].map(deleted), [true, true, false, false, true]);
    // A person takes the mark back: to move it again is a new wish.
    let mut client = user.client();
    client.select("INBOX").unwrap();
    client.uid_store("1", "-FLAGS (\\Deleted)").unwrap();
    tool.run(&["move", "work", "work/Archive", "1"]).expect_code(3);
    assert_eq!(user.messages("Archive").len(), 3);
    // Somebody expunges, and nothing is left to remember.
    client.expunge().unwrap();
    tool.run(&["move", "work", "work/Archive", "3"]).expect_code(3);
    assert_eq!(user.messages("Archive").len(), 4);
}

fn stored(server: &Imapd, folder: &str) -> Vec<Vec<u8>> {
    server.mailbox(folder).messages.iter().map(|message: &Stored| message.body.clone()).collect()
}

/// Three of the messages to be moved are identical, one twin stays in the source, one lies at the destination.
struct Case {
    tool: Tool,
    server: Imapd,
    all: BTreeMap<String, usize>,
}

impl Case {
    fn new(behaviour: Behaviour) -> Self {
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let server = Imapd::start(Behaviour { clock: Some(clock), ..behaviour });
        let bodies = [0, 7, 7, 1, 7, 2, 7].map(|number| mail::plain(number, 200));
        server.fill("INBOX", &bodies);
        server.fill("Archive", &[mail::plain(7, 200), mail::plain(50, 100)]);
        server.change("INBOX", |mailbox| mailbox.reflag(4, "\\Deleted"));
        tool.server("work", Some(&server.url()), None);
        let mut all = multiset(&bodies);
        for (digest, count) in multiset(&[mail::plain(7, 200), mail::plain(50, 100)]) {
            *all.entry(digest).or_default() += count;
        }
        Self { tool, server, all }
    }

    const COMMAND: [&'static str; 5] = ["move", "work", "work/Archive", "1:3,5:6", "--json"];

    fn killed_at(&mut self, step: &str) -> i32 {
        self.tool.set_env("MAILHAUL_TEST_CRASH", step);
        let code = self.tool.run(&Self::COMMAND).code;
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        self.server.wait_until_quiet();
        code
    }

    /// Nothing lost, nothing doubled, everything asked for where it should be, and nobody else's touched.
    fn assert_moved(&self, case: &str) {
        let (here, there) = (stored(&self.server, "INBOX"), stored(&self.server, "Archive"));
        if multiset(here.iter().chain(&there)) != self.all {
            panic!("{case}: {} here, {} there\n{}", here.len(), there.len(), self.server.log().join("\n"));
        }
        let uids: Vec<u32> = self.server.mailbox("INBOX").messages.iter().map(|message| message.uid).collect();
        assert_eq!(uids, [4, 7], "{case}");
        assert_eq!(there.len(), 7, "{case}");
    }
}

#[test]
fn a_move_killed_at_any_step_is_finished_by_the_next_and_leaves_no_second_copy() {
    let mut counting = Case::new(Behaviour::default());
    let file = counting.tool.path("steps");
    assert_eq!(counting.killed_at(&format!("count:{}", file.display())), 0);
    counting.assert_moved("not killed");
    let kinds = std::fs::read_to_string(file).unwrap();
    for kind in ["imap.copy", "imap.store", "imap.expunge", "journal.after-commit"] {
        assert!(kinds.contains(kind), "{kinds}");
    }
    let steps: Vec<usize> = (1..=kinds.lines().count()).collect();
    in_parallel(&steps, |step| {
        let mut case = Case::new(Behaviour::default());
        let name = format!("killed at {step} ({})", kinds.lines().nth(step - 1).unwrap());
        assert_eq!(case.killed_at(&step.to_string()), KILLED, "{name}");
        case.tool.run(&["move", "work", "work/Archive", "1:3,5:6"]).expect_code(0);
        case.assert_moved(&name);
        let (before, log) = (case.server.mailbox("Archive").messages.len(), case.server.log().len());
        case.tool.run(&["move", "work", "work/Archive", "1:3,5:6"]).expect_code(0);
        case.assert_moved(&name);
        assert_eq!(case.server.mailbox("Archive").messages.len(), before);
        let changing = ["UID COPY", "UID STORE", "UID EXPUNGE"];
        let third = case.server.log().split_off(log);
        assert!(!third.iter().any(|line| changing.iter().any(|verb| line.contains(verb))), "{name}: {third:?}");
    });
    say(&format!("moves survived kills: {0}/{0}", steps.len()));
}

#[test]
fn a_move_killed_again_and_again_arrives_in_the_end() {
    let seeds: Vec<u64> = (0..if full() { 20 } else { 4 }).collect();
    in_parallel(&seeds, |&seed| {
        let mut random = mail::Random::new(seed + 5);
        let mut case = Case::new(Behaviour::default());
        for _ in 0..6 {
            case.killed_at(&(1 + random.below(40)).to_string());
        }
        case.tool.run(&["move", "work", "work/Archive", "1:3,5:6"]).expect_code(0);
        case.assert_moved(&format!("seed {seed}"));
    });
}

#[test]
fn an_answer_that_gets_lost_is_found_out_about_by_contents() {
    for (verb, fault) in [
        ("UID COPY", CommandFault::HangUpAfter),
        ("UID COPY", CommandFault::HangUpBefore),
        ("UID STORE", CommandFault::HangUpAfter),
        ("UID EXPUNGE", CommandFault::HangUpBefore),
        ("UID EXPUNGE", CommandFault::HangUpAfter),
    ] {
        let case = Case::new(Behaviour::default().fault(verb, 1, fault.clone()));
        let name = format!("{verb} {fault:?}");
        let first = case.tool.run(&Case::COMMAND);
        assert_eq!(first.code, 5, "{name}: {first}");
        case.tool.run(&Case::COMMAND).expect_code(0);
        // The finished ones belong to what was asked for.
        case.assert_moved(&name);
    }
}

#[test]
fn without_uidplus_a_kill_leaves_no_second_copy_either() {
    let behaviour = || Behaviour::default().without(&["UIDPLUS"]);
    let steps: Vec<usize> = (1..=40).collect();
    in_parallel(&steps, |step| {
        let mut case = Case::new(behaviour());
        let name = format!("killed at {step}");
        if case.killed_at(&step.to_string()) != KILLED {
            return;
        }
        case.tool.run(&Case::COMMAND).expect_code(3);
        assert_eq!(stored(&case.server, "INBOX").len(), 7, "{name}");
        assert_eq!(stored(&case.server, "Archive").len(), 7, "{name}: {}", case.server.log().join("\n"));
        case.tool.run(&Case::COMMAND).expect_code(3);
        assert_eq!(stored(&case.server, "Archive").len(), 7, "{name}");
        // The server learns UIDPLUS: what is marked and proved goes, what others marked stays.
        case.server.behave(|behaviour| behaviour.capabilities.push("UIDPLUS".to_owned()));
        case.tool.run(&Case::COMMAND).expect_code(0);
        case.assert_moved(&name);
    });
}

#[test]
fn under_another_uidvalidity_a_half_done_move_is_given_up_and_nothing_is_removed() {
    for folder in ["INBOX", "Archive"] {
        let case = Case::new(Behaviour::default().fault("UID COPY", 1, CommandFault::HangUpAfter));
        case.tool.run(&Case::COMMAND).expect_code(5);
        case.server.change(folder, crate::support::imapd::Mailbox::renumber);
        let second = case.tool.run(&["move", "work", "work/Archive", "4000"]).expect_code(3);
        assert!(second.stderr.contains("is given up: the UIDVALIDITY of"), "{second}");
        assert_eq!(stored(&case.server, "INBOX").len(), 7, "{folder}");
        assert_eq!(stored(&case.server, "Archive").len(), 7, "{folder}");
    }
}

#[test]
fn a_refused_copy_moves_nothing_and_says_why() {
    let case = Case::new(Behaviour::default().fault("UID COPY", 1, CommandFault::Refuse("NO [OVERQUOTA] full".to_owned())));
    let output = case.tool.run(&Case::COMMAND);
    assert!([6, 11].contains(&output.code), "{output}");
    assert!(output.stderr.contains("full"), "{output}");
    assert_eq!((stored(&case.server, "INBOX").len(), stored(&case.server, "Archive").len()), (7, 2));
    case.tool.run(&Case::COMMAND).expect_code(0);
    case.assert_moved("refused once");
}

#[test]
fn two_moves_at_once_do_not_race() {
    let case = Case::new(Behaviour::default());
    let dir = case.tool.path("state");
    let holder = mailhaul::state::Journal::open(
        &dir,
        &format!("imap://ann@127.0.0.1:{}", case.server.port()),
        &mailhaul::context::Context::from_environment(),
    )
    .unwrap();
    let state = dir.display().to_string();
    case.tool.run(&["move", "work", "work/Archive", "1:3,5:6", "--state", &state]).expect_code(9);
    assert_eq!(stored(&case.server, "Archive").len(), 2);
    drop(holder);
    case.tool.run(&["move", "work", "work/Archive", "1:3,5:6", "--state", &state]).expect_code(0);
    case.assert_moved("after the other");
}

#[test]
fn folders_with_hostile_names_take_messages() {
    let user = dovecot_user!("move-hostile-names");
    let names = [
        "..%2F..%2Fetc",
        "a b",
        "\"quoted\" \\back",
        "(paren) {5}",
        "Entwürfe & Söhne",
        "日本語",
        "-rf",
        "*",
        "%25",
        "a'b;c|d",
        "~root",
        "&AOk-",
    ];
    user.deliver("INBOX", &mail::many(names.len() as u64, 100));
    let tool = tool(&user);
    for (index, name) in names.iter().enumerate() {
        let (place, uid) = (format!("work/{name}"), (index + 1).to_string());
        let output = tool.run(&["move", "work", &place, &uid, "--create"]);
        if output.code == 2 || output.code == 6 {
            // A name this server cannot have: nothing happened to the message.
            assert!(user.messages("INBOX").iter().any(|message| message.uid.to_string() == uid), "{name}: {output}");
            continue;
        }
        output.expect_code(0);
        let back = tool.run(&["copy", &place, "work/INBOX", "1", "--json"]).expect_code(0).json();
        assert_eq!(back["changed"], 1, "{name}");
    }
}

#[test]
fn hostile_names_as_destinations_lose_nothing_and_touch_nothing_else() {
    let user = dovecot_user!("copy-hostile-corpus");
    user.deliver("INBOX", &[mail::plain(1, 100)]);
    // A server in memory is tried with every name, for all verbs alike; this one has rules of its own.
    let names: Vec<String> = texts().iter().step_by(if full() { 1 } else { 5 }).map(|name| typed(name)).collect();
    let tool = tool(&user);
    let count = |user: &User| -> usize { user.folders().iter().filter(|folder| *folder != "INBOX").count() };
    let mut taken = 0;
    for (index, name) in names.iter().enumerate() {
        let place = format!("work/{name}");
        // Looking closely at each takes its time: at every eighth, unless all is asked for.
        let closely = full() || index % 8 == 0;
        let before = if closely { count(&user) } else { 0 };
        let output = tool.run(&["copy", "work", &place, "1", "--create", "--json"]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
        assert!(!shown.chars().any(|letter| letter.is_control() && letter != '\n'), "{name:?}: {output}");
        assert!([0, 2, 6].contains(&output.code), "{name:?}: {output}");
        if output.code == 0 {
            taken += 1;
            // What was made is found again under the very name, and holds the message.
            if closely {
                let listed = tool.run(&["list", &place, "-o", "tsv", "--fields", "uid"]).expect_code(0);
                assert!(listed.text().contains('1'), "{name:?}: {listed}");
            }
        } else if closely {
            assert_eq!(count(&user), before, "{name:?}: {output}");
        }
    }
    say(&format!("hostile names: {} tried, {taken} taken", names.len()));
    assert!(taken * 5 > names.len(), "{taken} of {}", names.len());
    assert_eq!(user.messages("INBOX").len(), 1);
}
