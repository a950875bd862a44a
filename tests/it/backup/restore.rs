//! `restore`: what was backed up comes back, once, with its flags, keywords and dates; what is there already is left alone; what
//! is damaged is named. Judged by the independent client and by files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::crash::bench::{Mail, Offers, full, in_parallel, say};
use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::imapd::{AppendFault, Behaviour, Imapd};
use crate::support::mail::{self, assert_same_mail, content_digest};
use crate::support::proxy::{Cut, Direction, Proxy, Weather};
use crate::support::tool::{Output, Tool};
use crate::support::{self, dovecot};

const KILLED: i32 = -9;
const NAMES: [&str; 5] = ["INBOX", "Archive/2024", "Entwürfe & Mehr", "日本/語", "Empty"];

/// A tool that knows `from` and `to`.
fn tool(from: &User, to: &User) -> Tool {
    let tool = Tool::new();
    tool.account("from", from).account("to", to);
    tool
}

/// All that must come back: folder, content, flags and date of every message.
fn facts(user: &User, folders: &[&str]) -> Vec<(String, String, Vec<String>, i64)> {
    let mut facts: Vec<_> = folders
        .iter()
        .flat_map(|folder| {
            user.messages(folder).into_iter().map(|one| ((*folder).to_owned(), content_digest(&one.body), one.flags, one.internal_date))
        })
        .collect();
    facts.sort();
    facts
}

/// Folders of all kinds with nasty mail, triplets, flags, keywords and dates.
fn furnish(user: &User) -> usize {
    let mut plants: Vec<Plant> = mail::nasty().into_iter().map(|(_, body)| Plant::new(body)).collect();
    plants.extend((0..20).map(|number| {
        let plant = Plant::new(mail::plain(number, 500)).date(1_000_000_000 + i64::try_from(number).unwrap() * 3601);
        match number % 3 {
            0 => plant.flag("\\Seen"),
            1 => plant.flag("\\Flagged").flag("\\Answered"),
            _ => plant,
        }
    }));
    // Three identical ones, not alike in their flags and dates.
    let twin = mail::plain(77, 100);
    plants.extend([Plant::new(twin.clone()), Plant::new(twin.clone()).flag("\\Seen").date(1_500_000_000), Plant::new(twin)]);
    user.plant("INBOX", &plants);
    for (number, folder) in NAMES.iter().enumerate().skip(1).take(3) {
        user.deliver(folder, &mail::many(3 + number as u64, 300));
    }
    user.deliver("Empty", &[]);
    user.append("INBOX", &mail::plain(90, 100), &["$Work", "\\Answered"]);
    user.append("Archive/2024", &mail::plain(91, 100), &["$Work", "Wichtig", "$Forwarded"]);
    plants.len() + 4 + 5 + 6 + 2
}

fn backup(tool: &Tool, place: &str) -> Output {
    tool.run(&["backup", place, "store", "--json"]).expect_code(0)
}

/// Removes messages by UID for good.
fn expunge(user: &User, folder: &str, uids: &str) {
    let mut client = user.client();
    client.select(support::modified_utf7(folder)).unwrap();
    client.uid_store(uids, "+FLAGS (\\Deleted)").unwrap();
    client.expunge().unwrap();
    client.logout().unwrap();
}

/// The message files of a Maildir folder of the store.
fn message_files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["new", "cur"]
        .iter()
        .flat_map(|half| fs::read_dir(directory.join(half)).into_iter().flatten().map(|entry| entry.unwrap().path()))
        .collect();
    files.sort();
    files
}

fn counts(summary: &serde_json::Value) -> (u64, u64, u64) {
    let count = |name: &str| summary[name].as_u64().unwrap();
    (count("listed"), count("copied"), count("already_there"))
}

#[test]
fn an_account_comes_back_whole_with_folders_flags_keywords_and_dates() {
    let (from, to) = (dovecot_user!("restore-whole-from"), dovecot_user!("restore-whole-to"));
    let count = furnish(&from) as u64;
    let tool = tool(&from, &to);
    backup(&tool, "from");
    let first = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!((first["schema"].as_str(), counts(&first)), (Some("mailhaul.restore/1"), (count, count, 0)), "{first}");
    assert_eq!(first["balanced"], true);
    assert_eq!(facts(&from, &NAMES), facts(&to, &NAMES));
    assert_eq!(from.folders(), to.folders());
    let second = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&second), (count, 0, count));
    // The store may be moved: it is the same one.
    fs::rename(tool.path("store"), tool.path("elsewhere")).unwrap();
    let third = tool.run(&["restore", "elsewhere//from", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&third), (count, 0, count));
    assert_eq!(facts(&from, &NAMES), facts(&to, &NAMES));
}

#[test]
fn what_is_there_already_is_not_doubled_and_what_was_deleted_comes_back() {
    let user = dovecot_user!("restore-same");
    let twin = mail::plain(1, 100);
    let bodies = [twin.clone(), mail::plain(2, 100), twin.clone(), mail::plain(3, 100), twin.clone()];
    user.deliver("INBOX", &bodies);
    user.deliver("Work", &mail::many(3, 200));
    let tool = Tool::new();
    tool.account("work", &user);
    backup(&tool, "work");
    // Into the very account it is from, with nothing missing there.
    let none = tool.run(&["restore", "store", "work", "--json"]).expect_code(0).json();
    assert_eq!(counts(&none), (8, 0, 8));
    let uids: Vec<u32> = user.messages("INBOX").iter().filter(|one| one.body == twin).map(|one| one.uid).collect();
    expunge(&user, "INBOX", &format!("{},{}", uids[0], uids[2]));
    let plan = tool.run(&["restore", "store", "work", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!(counts(&plan), (8, 2, 6));
    let again = tool.run(&["restore", "store", "work", "--json"]).expect_code(0).json();
    assert_eq!(counts(&again), (8, 2, 6));
    assert_same_mail(&bodies, &user.bodies("INBOX"));
    // A whole folder.
    let mut client = user.client();
    client.delete("Work").unwrap();
    client.logout().unwrap();
    let folder = tool.run(&["restore", "store", "work", "--json"]).expect_code(0).json();
    assert_eq!(counts(&folder), (8, 3, 5));
    assert_same_mail(&mail::many(3, 200), &user.bodies("Work"));
}

#[test]
fn without_a_journal_only_what_is_missing_is_sent_and_strangers_are_left_alone() {
    let (from, to) = (dovecot_user!("restore-adopt-from"), dovecot_user!("restore-adopt-to"));
    let twin = mail::plain(1, 100);
    from.deliver("INBOX", &[twin.clone(), mail::plain(2, 100), twin.clone(), mail::plain(3, 100), twin.clone()]);
    let mut there: Vec<Vec<u8>> = mail::many(60, 300).split_off(50);
    there.extend([twin.clone(), mail::plain(3, 100)]);
    to.deliver("INBOX", &there);
    let tool = tool(&from, &to);
    backup(&tool, "from");
    // A part first: what it did not ask for is adopted all the same when it is asked for later.
    let part = tool.run(&["restore", "store", "to", "--subject", "message 2", "--json"]).expect_code(0).json();
    assert_eq!(counts(&part), (1, 1, 0));
    let trace = tool.trace();
    let summary = tool.run(&["restore", "store", "to", "--json", "--trace", trace.to_str().unwrap()]).expect_code(0).json();
    assert_eq!(counts(&summary), (5, 2, 3));
    there.extend([twin.clone(), twin, mail::plain(2, 100)]);
    assert_same_mail(&there, &to.bodies("INBOX"));
    // Strangers are told by their headers, and only what may be the same is read whole.
    let bodies: Vec<String> =
        tool.read_trace().lines().filter(|line| line.contains("C: ") && line.contains("BODY.PEEK[]")).map(str::to_owned).collect();
    assert!(!bodies.is_empty() && bodies.iter().all(|line| !line.contains(" 1:")), "{bodies:?}");
}

#[test]
fn folders_and_messages_are_chosen_as_they_are_anywhere() {
    let (from, to) = (dovecot_user!("restore-choose-from"), dovecot_user!("restore-choose-to"));
    let plants: Vec<Plant> =
        (0..10).map(|number| Plant::new(mail::plain(number, 200)).date(1_700_000_000 + i64::try_from(number).unwrap() * 86_400)).collect();
    from.plant("INBOX", &plants);
    for folder in ["Archive/2023", "Archive/2024", "Work"] {
        from.deliver(folder, &mail::many(2, 100));
    }
    from.append("Work", b"Subject: said\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVuIG5lZWRsZQ==\r\n", &["\\Seen", "$Todo"]);
    let tool = tool(&from, &to);
    backup(&tool, "from");
    let plan = |arguments: &[&str]| {
        let plan = tool.run(&[&["restore", "store", "to", "--dry-run", "--json"], arguments].concat()).expect_code(0).json();
        let mut rows: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for row in plan["messages"].as_array().unwrap() {
            rows.entry(row["folder"].as_str().unwrap().to_owned()).or_default().push(row["uid"].as_u64().unwrap());
        }
        rows.into_iter().map(|(folder, uids)| format!("{folder} {uids:?}")).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(plan(&["--folder", "Archive/*"]), "Archive/2023 [1, 2]; Archive/2024 [1, 2]");
    assert_eq!(plan(&["--folder", "Archive/*", "--folder", "Work", "--exclude", "*/2023"]), "Archive/2024 [1, 2]; Work [1, 2, 3]");
    assert_eq!(plan(&["--text", "hidden needle"]), "Work [3]");
    assert_eq!(plan(&["--keyword", "$Todo", "--seen"]), "Work [3]");
    assert_eq!(plan(&["--folder", "inbox", "--since", "2023-11-20"]), "INBOX [7, 8, 9, 10]");
    assert_eq!(plan(&["--folder", "INBOX", "--uid", "2:4", "--not", "--uid", "3"]), "INBOX [2, 4]");
    assert_eq!(plan(&["--folder", "INBOX", "--limit", "2"]), "INBOX [9, 10]");
    assert_eq!(plan(&["--subject", "message 7"]), "INBOX [8]");
    assert_eq!(plan(&["--not", "--unseen"]), "Work [3]");
    let error = tool.run(&["restore", "store", "to", "--folder", "Nowhere"]).expect_code(2);
    assert!(error.stderr.contains("Archive/2023"), "{error}");
    tool.run(&["restore", "store", "to", "--search", "SEEN"]).expect_code(2);
    // One folder goes into the folder that is named.
    let one = tool.run(&["restore", "store//from/Archive/2024", "to/Old", "--json"]).expect_code(0).json();
    assert_eq!((&one["copied"], one["folders"].as_array().unwrap().len()), (&2.into(), 1));
    assert_same_mail(&mail::many(2, 100), &to.bodies("Old"));
    // A UID that is not there is named.
    let missing = tool.run(&["restore", "store", "to", "--folder", "Work", "--uid", "3,99", "--json"]).expect_code(3).json();
    assert_eq!((&missing["copied"], &missing["problems"][0]["uid"]), (&1.into(), &99.into()));
}

#[test]
fn what_is_gone_from_the_server_comes_back_when_it_is_asked_for() {
    let (from, to) = (dovecot_user!("restore-gone-from"), dovecot_user!("restore-gone-to"));
    from.deliver("INBOX", &mail::many(4, 100));
    from.deliver("Old", &[mail::plain(20, 100)]);
    let mut tool = tool(&from, &to);
    let clock = tool.use_clock();
    let ahead = |days: u64| fs::write(&clock, (days * 86_400_000).to_string()).unwrap();
    let day = |days: i64| jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + days * 86_400).unwrap().to_string();
    backup(&tool, "from");
    ahead(10);
    expunge(&from, "INBOX", "2,3");
    from.append("INBOX", &mail::plain(30, 100), &[]);
    let mut client = from.client();
    client.delete("Old").unwrap();
    client.logout().unwrap();
    for folder in ["a", "b", "c", "d", "e", "f"] {
        from.deliver(folder, &[]);
    }
    tool.run(&["backup", "from", "store"]);
    ahead(20);
    let selected = |arguments: &[&str]| {
        let plan = tool.run(&[&["restore", "store", "to", "--dry-run", "--json"], arguments].concat()).expect_code(0).json();
        plan["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| format!("{} {}", row["folder"].as_str().unwrap(), row["uid"]))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(selected(&["--folder", "INBOX"]), "INBOX 1, INBOX 4, INBOX 5");
    assert_eq!(selected(&["--only-gone", "--folder", "INBOX"]), "INBOX 2, INBOX 3");
    assert_eq!(selected(&["--gone", "--folder", "INBOX"]), "INBOX 1, INBOX 2, INBOX 3, INBOX 4, INBOX 5");
    assert_eq!(selected(&["--as-of", &day(5)]), "INBOX 1, INBOX 2, INBOX 3, INBOX 4, Old 1");
    assert_eq!(selected(&["--as-of", &day(12), "--folder", "INBOX"]), "INBOX 1, INBOX 4, INBOX 5");
    assert_eq!(selected(&["--as-of", "2001-01-01"]), "");
    assert_eq!(selected(&["--gone", "--uid", "3", "--folder", "INBOX"]), "INBOX 3");
    let summary = tool.run(&["restore", "store", "to", "--only-gone", "--json"]).expect_code(0).json();
    assert_eq!(summary["balanced"], true);
    assert_same_mail(&[mail::plain(1, 100), mail::plain(2, 100)], &to.bodies("INBOX"));
    // When nothing of what was asked for is left there, it is said where it is.
    expunge(&from, "INBOX", "1,4,5");
    from.append("b", &mail::plain(1, 10), &[]);
    tool.run(&["backup", "from", "store"]);
    let output = tool.run(&["restore", "store", "to", "--folder", "INBOX"]).expect_code(0);
    assert!(output.stderr.contains("--gone") && output.stderr.contains("--as-of"), "{output}");
}

#[test]
fn a_new_uidvalidity_doubles_nothing_and_names_a_generation() {
    let from = Imapd::start(Behaviour::default());
    let twin = mail::plain(1, 100);
    let bodies = vec![twin.clone(), mail::plain(2, 100), twin, mail::plain(3, 100)];
    from.fill("INBOX", &bodies);
    let to = Imapd::start(Behaviour::default());
    let mut tool = Tool::new();
    let clock = tool.use_clock();
    tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
    backup(&tool, "from");
    tool.run(&["restore", "store", "to"]).expect_code(0);
    let before = from.mailbox("INBOX").uid_validity;
    from.change("INBOX", |mailbox| {
        mailbox.messages.remove(1);
        mailbox.renumber();
    });
    from.fill("INBOX", &[mail::plain(4, 100)]);
    fs::write(&clock, "86400000").unwrap();
    backup(&tool, "from");
    let summary = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&summary), (4, 1, 3), "{summary}");
    let all = tool.run(&["restore", "store", "to", "--gone", "--json"]).expect_code(0).json();
    assert_eq!(counts(&all), (5, 0, 5));
    let gone = tool.run(&["restore", "store", "to", "--only-gone", "--json"]).expect_code(0).json();
    assert_eq!(counts(&gone), (1, 0, 1));
    let old = tool.run(&["restore", "store", "to", "--generation", &before.to_string(), "--json"]).expect_code(0).json();
    assert_eq!(counts(&old), (4, 0, 4));
    assert_same_mail(&[bodies, vec![mail::plain(4, 100)]].concat(), &to.bodies("INBOX"));
}

#[test]
fn a_damaged_or_missing_file_is_named_and_the_others_come_back() {
    let (from, to) = (dovecot_user!("restore-damaged-from"), dovecot_user!("restore-damaged-to"));
    let bodies = mail::many(5, 300);
    from.deliver("INBOX", &bodies);
    let tool = tool(&from, &to);
    backup(&tool, "from");
    let files = message_files(&tool.path("store/from"));
    assert_eq!(files.len(), 5);
    let mut bytes = fs::read(&files[1]).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&files[1], bytes).unwrap();
    fs::remove_file(&files[3]).unwrap();
    for _ in 0..2 {
        let output = tool.run(&["restore", "store", "to", "--json"]).expect_code(3);
        let summary = output.json();
        assert_eq!((&summary["quarantined"], &summary["balanced"]), (&2.into(), &true.into()), "{summary}");
        let mut named: Vec<u64> = summary["problems"].as_array().unwrap().iter().map(|one| one["uid"].as_u64().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named.len(), 2);
        assert!(output.stderr.contains("is damaged") && output.stderr.contains("is missing"), "{output}");
        assert!(output.stderr.contains("verify --repair"), "{output}");
        assert_eq!(to.bodies("INBOX").len(), 3);
    }
    // A condition that looks into it does not hide it.
    let output = tool.run(&["restore", "store", "to", "--text", "no such words anywhere", "--json"]).expect_code(3);
    assert_eq!(output.json()["quarantined"], 2, "{output}");
}

#[test]
fn one_of_several_accounts_is_named_or_asked_for() {
    let (from, other, to) = (dovecot_user!("restore-two-from"), dovecot_user!("restore-two-other"), dovecot_user!("restore-two-to"));
    from.deliver("INBOX", &mail::many(2, 100));
    other.deliver("INBOX", &[mail::plain(50, 100)]);
    let tool = tool(&from, &to);
    tool.account("other", &other);
    tool.run(&["backup", "from", "other", "store"]).expect_code(0);
    let refused = tool.run(&["restore", "store", "to"]).expect_code(2);
    assert!(refused.stderr.contains("from") && refused.stderr.contains("other"), "{refused}");
    tool.run(&["restore", "store//third", "to"]).expect_code(2).expect_stderr("other");
    tool.run(&["restore", "store", "to", "--account", "other"]).expect_code(0);
    assert_same_mail(&[mail::plain(50, 100)], &to.bodies("INBOX"));
    tool.run(&["restore", "store//from", "to/From"]).expect_code(0);
    assert_same_mail(&mail::many(2, 100), &to.bodies("From"));
}

#[test]
fn a_maildrop_that_was_backed_up_goes_into_an_imap_account() {
    let (from, to) = (dovecot_user!("restore-pop3-from"), dovecot_user!("restore-pop3-to"));
    let body = b"Received: from a by b; Fri, 02 Jan 2004 03:04:05 +0100\r\nSubject: x\r\n\r\nx\r\n".to_vec();
    let mut bodies = vec![body; 2];
    bodies.extend(mail::many(5, 200));
    from.deliver("INBOX", &bodies);
    let tool = tool(&from, &to);
    backup(&tool, "from:pop3");
    tool.run(&["restore", "store", "to", "--count-as-seen", "older-than:365d"]).expect_code(0);
    assert_same_mail(&bodies, &to.bodies("INBOX"));
    let old: Vec<_> = to.messages("INBOX").into_iter().filter(|one| one.internal_date == 1_073_009_045).collect();
    assert_eq!(old.len(), 2);
    assert!(old.iter().all(|one| one.flags == ["\\Seen"]), "{old:?}");
    let again = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&again), (7, 0, 7));
}

#[test]
fn a_restore_into_local_files_is_whole_and_a_second_one_writes_nothing() {
    let from = dovecot_user!("restore-local-from");
    let count = furnish(&from) as u64;
    let tool = Tool::new();
    tool.account("from", &from);
    backup(&tool, "from");
    for place in ["maildir:out", "mbox:boxes/", "eml:files"] {
        let plan = tool.run(&["restore", "store", place, "--dry-run", "--json"]).expect_code(0).json();
        assert_eq!(counts(&plan), (count, count, 0), "{place}");
        let first = tool.run(&["restore", "store", place, "--json"]).expect_code(0).json();
        assert_eq!(counts(&first), (count, count, 0), "{place}: {first}");
        let second = tool.run(&["restore", "store", place, "--json"]).expect_code(0).json();
        assert_eq!(counts(&second), (count, 0, count), "{place}: {second}");
    }
    // A Maildir keeps flags, keywords and dates: what goes from it into an account is what was there.
    let to = dovecot_user!("restore-local-to");
    tool.account("to", &to);
    tool.run(&["migrate", "maildir:out", "to"]).expect_code(0);
    assert_eq!(facts(&from, &NAMES), facts(&to, &NAMES));
    tool.run(&["restore", "store", "maildir:store/from"]).expect_code(2);
}

#[test]
fn a_store_is_a_maildir_that_migrate_reads_without_its_journal() {
    let (from, to) = (dovecot_user!("restore-plain-from"), dovecot_user!("restore-plain-to"));
    furnish(&from);
    let tool = tool(&from, &to);
    backup(&tool, "from");
    tool.run(&["migrate", "mbox:store", "to"]).expect_code(2).expect_stderr("another kind");
    fs::remove_dir_all(tool.path("store/.mailhaul")).unwrap();
    tool.run(&["restore", "store", "to"]).expect_code(2).expect_stderr("migrate maildir:");
    tool.run(&["migrate", "maildir:store/from", "to"]).expect_code(0);
    assert_eq!(facts(&from, &NAMES), facts(&to, &NAMES));
}

#[test]
fn a_lost_journal_is_an_error_that_says_what_helps() {
    let (from, to) = (dovecot_user!("restore-lost-from"), dovecot_user!("restore-lost-to"));
    from.deliver("INBOX", &mail::many(2, 100));
    let tool = tool(&from, &to);
    backup(&tool, "from");
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(tool.path("store/.mailhaul").join(name));
    }
    let output = tool.run(&["restore", "store", "to"]).expect_code(7);
    assert!(output.stderr.contains("mailhaul rebuild store") && output.stderr.contains("migrate maildir:store/ACCOUNT"), "{output}");
    assert!(to.bodies("INBOX").is_empty());
    tool.run(&["restore", "nowhere", "to"]).expect_code(2);
}

#[test]
fn wrong_passwords_full_accounts_limits_and_lost_lines_lose_nothing() {
    let from = Imapd::start(Behaviour::default());
    let bodies = mail::many(12, 2000);
    from.fill("INBOX", &bodies);
    let appends = (4..100).map(|number| (number, AppendFault::No("[OVERQUOTA] full".to_owned()))).collect();
    let to = Imapd::start(Behaviour { appends, ..Behaviour::default().without(&["MULTIAPPEND"]) });
    let proxy = Proxy::start(to.port(), Weather::default());
    let mut tool = Tool::new();
    tool.use_clock();
    let through = format!("imap://ann@127.0.0.1:{}?tls=none", proxy.port());
    tool.server("from", Some(&from.url()), None).server("to", Some(&through), None);
    backup(&tool, "from");
    fs::write(tool.path("wrong"), "no\n").unwrap();
    fs::set_permissions(tool.path("wrong"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    tool.run(&["restore", "store", "to", "--password-file", "wrong"]).expect_code(4);
    tool.run(&["restore", "store", "to"]).expect_code(11).expect_stderr("full");
    to.behave(|behaviour| behaviour.appends.clear());
    let limited = tool.run(&["restore", "store", "to", "--max-messages", "2", "--json"]).expect_code(8);
    let there = to.bodies("INBOX").len();
    assert_eq!(there, 5, "{limited}");
    // The line is cut in the middle of an upload, twice; the run connects again.
    proxy.set(Weather { cut: Some((Direction::ToServer, 6000, Cut::Reset)), cuts: 2, ..Weather::default() });
    let summary = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(summary["balanced"], true);
    assert_same_mail(&bodies, &to.bodies("INBOX"));
    let again = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&again), (12, 0, 12));
}

#[test]
fn a_restore_that_is_killed_is_made_good_by_the_next() {
    let Some(dovecot) = dovecot::shared() else { return };
    let from = dovecot.user("restore-kill-from");
    let twin = mail::plain(1, 100);
    let mut bodies = vec![twin.clone(), twin.clone(), twin];
    bodies.extend(mail::many(30, 3000).split_off(8));
    from.deliver("INBOX", &bodies);
    from.deliver("Work", &mail::many(3, 100));
    let store = Tool::new();
    store.account("from", &from);
    backup(&store, "from");
    let store = store.text("store");
    let arguments = ["restore", &store, "to", "--json", "--settle", "3s"];
    let steps: Vec<u64> = if full() { (1..=90).collect() } else { (4..=60).step_by(6).collect() };
    let killed = Mutex::new(0);
    in_parallel(&steps, |&step| {
        let to = dovecot.user(&format!("restore-kill-to-{step}"));
        let mut tool = Tool::new();
        tool.account("to", &to);
        tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let first = tool.run(&arguments);
        assert!(first.code == KILLED || first.code == 0, "{first}");
        *killed.lock().unwrap() += u32::from(first.code == KILLED);
        tool.unset_env("MAILHAUL_TEST_CRASH");
        let second = tool.run(&arguments).expect_code(0);
        assert_eq!(second.json()["balanced"], true, "killed at {step}: {second}");
        assert_same_mail(&bodies, &to.bodies("INBOX"));
        assert_same_mail(&mail::many(3, 100), &to.bodies("Work"));
        let third = tool.run(&arguments).expect_code(0).json();
        assert_eq!(counts(&third), (bodies.len() as u64 + 3, 0, bodies.len() as u64 + 3), "killed at {step}: {third}");
    });
    let killed = killed.into_inner().unwrap();
    say(&format!("restore: crash points survived with a real server: {killed}/{killed}"));
    assert!(killed >= 4, "most kills should have come before the end");
}

#[test]
fn a_restore_into_files_that_is_killed_is_made_good_by_the_next() {
    let from = Imapd::start(Behaviour::default());
    let twin = mail::plain(1, 100);
    let mut bodies = vec![twin.clone(), twin.clone(), twin];
    bodies.extend(mail::many(6, 300).split_off(2));
    from.fill("INBOX", &bodies);
    let store = Tool::new();
    store.server("from", Some(&from.url()), None);
    backup(&store, "from");
    let store = store.text("store");
    for place in ["maildir:out", "mbox:boxes", "eml:files"] {
        let steps = {
            let mut tool = Tool::new();
            tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", tool.path("steps").display()));
            tool.run(&["restore", &store, place]).expect_code(0);
            fs::read_to_string(tool.path("steps")).unwrap().lines().count() as u64
        };
        for step in 1..=steps {
            let mut tool = Tool::new();
            tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
            assert_eq!(tool.run(&["restore", &store, place]).code, KILLED);
            tool.unset_env("MAILHAUL_TEST_CRASH");
            tool.run(&["restore", &store, place]).expect_code(0);
            let third = tool.run(&["restore", &store, place, "--json"]).expect_code(0).json();
            assert_eq!(counts(&third), (7, 0, 7), "{place} killed at {step}");
            let listed = tool.run(&["list", place, "--json"]).expect_code(0).json();
            assert_eq!(listed["messages"].as_array().unwrap().len(), 7, "{place} killed at {step}");
        }
    }
}

#[test]
fn what_other_runs_brought_is_not_brought_again() {
    let (from, to) = (dovecot_user!("restore-other-from"), dovecot_user!("restore-other-to"));
    let twin = mail::plain(1, 100);
    let bodies = [twin.clone(), mail::plain(2, 100), twin.clone(), twin.clone()];
    from.deliver("INBOX", &bodies);
    let tool = tool(&from, &to);
    tool.run(&["migrate", "from", "to"]).expect_code(0);
    from.deliver("INBOX", &[mail::plain(3, 100)]);
    backup(&tool, "from");
    let plan = tool.run(&["restore", "store", "to", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!(counts(&plan), (5, 1, 4));
    let first = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&first), (5, 1, 4));
    // Another store of the same account, and one twin less at the destination.
    tool.run(&["backup", "from", "second"]).expect_code(0);
    let uid = to.messages("INBOX").iter().find(|one| one.body == twin).map(|one| one.uid).unwrap();
    expunge(&to, "INBOX", &uid.to_string());
    let second = tool.run(&["restore", "second", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&second), (5, 1, 4));
    let third = tool.run(&["restore", "second", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&third), (5, 0, 5));
    assert_same_mail(&[bodies.to_vec(), vec![mail::plain(3, 100)]].concat(), &to.bodies("INBOX"));
}

#[test]
fn a_store_of_any_kind_comes_back_whole() {
    for scheme in ["eml", "mbox"] {
        let (from, to) = (dovecot_user!(&format!("restore-{scheme}-from")), dovecot_user!(&format!("restore-{scheme}-to")));
        let count = furnish(&from) as u64;
        let tool = tool(&from, &to);
        let store = format!("{scheme}:store");
        tool.run(&["backup", "from", &store]).expect_code(0);
        let first = tool.run(&["restore", &store, "to", "--json"]).expect_code(0).json();
        assert_eq!(counts(&first), (count, count, 0), "{scheme}: {first}");
        assert_eq!(facts(&from, &NAMES), facts(&to, &NAMES), "{scheme}");
        tool.run(&["restore", "maildir:store", "to"]).expect_code(2);
        let second = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
        assert_eq!(counts(&second), (count, 0, count), "{scheme}");
    }
}

#[test]
fn a_run_that_writes_to_the_store_is_not_in_the_way() {
    let from = Imapd::start(Behaviour::default());
    from.fill("INBOX", &mail::many(3, 100));
    let tool = Tool::new();
    tool.server("from", Some(&from.url()), None);
    backup(&tool, "from");
    let state = tool.path("store/.mailhaul");
    let card = mailhaul::store::vault::card(&tool.path("store")).unwrap().unwrap();
    let held = mailhaul::state::archive::Archive::open(&state, &card.id, &mailhaul::context::Context::from_environment()).unwrap();
    let summary = tool.run(&["restore", "store", "maildir:out", "--json"]).expect_code(0).json();
    assert_eq!(counts(&summary), (3, 3, 0));
    drop(held);
}

/// A store with three twins among its messages, and a destination that offers what it offers.
struct Case {
    tool: Tool,
    to: Imapd,
    bodies: Vec<Vec<u8>>,
}

impl Case {
    fn new(store: &str, bodies: &[Vec<u8>], offers: Offers) -> Self {
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let to = Imapd::start(Behaviour { clock: Some(clock), ..offers.behaviour() });
        tool.server("to", Some(&to.url()), None);
        let status = std::process::Command::new("cp").args(["-a", store, &tool.text("store")]).status().unwrap();
        assert!(status.success());
        Self { tool, to, bodies: bodies.to_vec() }
    }

    fn run(&self) -> Output {
        self.tool.run(&["restore", "store", "to", "--json"])
    }

    /// Somebody removes two messages, one of them a twin.
    fn remove_two(&self) {
        self.to.change("INBOX", |mailbox| {
            mailbox.messages.remove(4);
            mailbox.messages.remove(1);
        });
    }

    /// A run with a kill at `step`, and those behind it until all is there.
    fn killed_at(&mut self, step: u64, told: &str) -> bool {
        self.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let first = self.run();
        assert!(first.code == KILLED || first.code == 0, "{first}");
        self.tool.unset_env("MAILHAUL_TEST_CRASH");
        let second = self.run().expect_code(0);
        assert_eq!(second.json()["balanced"], true, "{told} killed at {step}: {second}");
        assert_same_mail(&self.bodies, &self.to.bodies("INBOX"));
        let third = self.run().expect_code(0).json();
        let all = self.bodies.len() as u64;
        assert_eq!(counts(&third), (all, 0, all), "{told} killed at {step}: {third}");
        first.code == KILLED
    }
}

#[test]
fn a_restore_loses_and_doubles_nothing_wherever_it_is_killed_whatever_the_server_offers() {
    let bodies = Mail::ThreeIdentical.bodies();
    let from = Imapd::start(Behaviour::default());
    from.fill("INBOX", &bodies);
    let home = Tool::new();
    home.server("from", Some(&from.url()), None);
    backup(&home, "from");
    let store = home.text("store");
    let scenarios: Vec<(Offers, bool)> = Offers::ALL.into_iter().flat_map(|offers| [(offers, false), (offers, true)]).collect();
    let mut points = Vec::new();
    for &(offers, again) in &scenarios {
        let mut case = Case::new(&store, &bodies, offers);
        if again {
            case.run().expect_code(0);
            case.remove_two();
        }
        let file = case.tool.path("steps");
        case.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
        case.run().expect_code(0);
        let steps = fs::read_to_string(file).unwrap().lines().count() as u64;
        assert_same_mail(&bodies, &case.to.bodies("INBOX"));
        let stride = if full() { 1 } else { steps.div_ceil(8) };
        points.extend((1..=steps).filter(|step| step % stride == 0).map(|step| (offers, again, step)));
    }
    let killed = Mutex::new(0);
    in_parallel(&points, |&(offers, again, step)| {
        let mut case = Case::new(&store, &bodies, offers);
        if again {
            case.run().expect_code(0);
            case.remove_two();
        }
        *killed.lock().unwrap() += usize::from(case.killed_at(step, &format!("{offers:?} again: {again}")));
    });
    let killed = killed.into_inner().unwrap();
    say(&format!("restore: crash points survived: {killed}/{killed} of {}", points.len()));
    assert!(killed * 10 >= points.len() * 8, "most kills should have come before the end");
}

#[test]
fn a_store_whose_journal_was_made_anew_without_the_server_comes_back_whole() {
    let (from, to) = (dovecot_user!("restore-rebuilt-from"), dovecot_user!("restore-rebuilt-to"));
    furnish(&from);
    let tool = tool(&from, &to);
    backup(&tool, "from");
    for entry in fs::read_dir(tool.path("store/.mailhaul")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("journal.db") || path.ends_with("runs") {
            fs::remove_file(path).unwrap();
        }
    }
    tool.run(&["rebuild", "store"]).expect_code(0);
    let first = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(first["balanced"], true);
    assert_eq!(facts(&from, &NAMES), facts(&to, &NAMES));
    let second = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(second["copied"], 0);
}

#[test]
fn what_a_restore_brought_is_not_brought_again_by_a_migration() {
    let (from, to) = (dovecot_user!("restore-then-from"), dovecot_user!("restore-then-to"));
    let twin = mail::plain(1, 100);
    from.deliver("INBOX", &[twin.clone(), mail::plain(2, 100), twin.clone()]);
    let tool = tool(&from, &to);
    backup(&tool, "from");
    tool.run(&["restore", "store", "to", "--json"]).expect_code(0);
    // A third twin is one more, and so is what came since.
    from.deliver("INBOX", &[twin.clone(), mail::plain(3, 100)]);
    let first = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&first), (5, 2, 3));
    from.deliver("INBOX", std::slice::from_ref(&twin));
    let second = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&second), (6, 1, 5), "a copy that counts for one message counts for no other");
    // What was migrated once does not come back.
    let uid = to.messages("INBOX").iter().find(|one| one.body == mail::plain(2, 100)).map(|one| one.uid).unwrap();
    expunge(&to, "INBOX", &uid.to_string());
    let third = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&third), (6, 0, 6));
    // A restore after it brings nothing twice either.
    backup(&tool, "from");
    let back = tool.run(&["restore", "store", "to", "--json"]).expect_code(0).json();
    assert_eq!(counts(&back), (6, 1, 5));
    assert_same_mail(&from.bodies("INBOX"), &to.bodies("INBOX"));
}
