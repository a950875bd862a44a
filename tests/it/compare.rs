//! `compare`: any two places, judged by what was planted.

use std::fs;

use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::Plant;
use crate::support::imapd::{AppendFault, Behaviour, CommandFault, Imapd};
use crate::support::mail;
use crate::support::odd::peak_memory;
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::Tool;
use crate::support::wait_for;

/// Two servers in memory with the same mail, as `old` and `new`.
fn twins() -> (Imapd, Imapd, Tool) {
    let servers = [(); 2].map(|()| Imapd::start(Behaviour::default()));
    for server in &servers {
        server.fill("INBOX", &mail::many(20, 200));
        server.fill("Archive", &mail::many(40, 200)[20..]);
    }
    let [old, new] = servers;
    let tool = Tool::new();
    tool.server("old", Some(&old.url()), None).server("new", Some(&new.url()), None);
    (old, new, tool)
}

fn with(document: &Value, verdict: &str) -> Vec<Value> {
    document["rows"].as_array().unwrap().iter().filter(|row| row["verdict"] == verdict).cloned().collect()
}

/// Files of an `eml:` place.
fn eml(tool: &Tool, name: &str, bodies: &[Vec<u8>]) -> String {
    fs::create_dir_all(tool.path(name)).unwrap();
    for (index, body) in bodies.iter().enumerate() {
        fs::write(tool.path(name).join(format!("{index:04}.eml")), body).unwrap();
    }
    format!("eml:{name}")
}

#[test]
fn equal_accounts_are_equal_and_each_difference_counts() {
    let (old, new, tool) = twins();
    // Other UIDs, in another order.
    new.change("INBOX", |mailbox| {
        mailbox.messages.reverse();
        (100..).zip(&mut mailbox.messages).for_each(|(uid, message)| message.uid = uid);
        mailbox.uid_next = 200;
    });
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(0).json();
    assert_eq!((&document["same"], &document["balanced"], &document["schema"]), (&40.into(), &true.into(), &"mailhaul.compare/1".into()));
    tool.run(&["compare", "old", "new", "--full"]).expect_code(0);

    new.change("INBOX", |mailbox| mailbox.expunge(100));
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(1).json();
    assert_eq!((&document["only_a"], &document["only_b"], with(&document, "only_a").len()), (&1.into(), &0.into(), 1));
    let document = tool.run(&["compare", "new", "old", "--json"]).expect_code(1).json();
    assert_eq!((&document["only_a"], &document["only_b"]), (&0.into(), &1.into()));

    old.change("INBOX", |mailbox| mailbox.expunge(20));
    tool.run(&["compare", "old", "new"]).expect_code(0);
    new.fill("Elsewhere", &[mail::plain(33, 200)]);
    new.change("Archive", |mailbox| mailbox.messages.retain(|message| message.body != mail::plain(33, 200)));
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(1).json();
    assert_eq!((&document["elsewhere"], &document["only_a"], &document["only_b"]), (&1.into(), &0.into(), &0.into()), "{document}");
    assert_eq!(with(&document, "elsewhere")[0]["b"]["folder"], "Elsewhere");
    for server in [&old, &new] {
        assert!(!server.log().iter().any(|line| ["SELECT", "STORE", "APPEND", "BODY["].iter().any(|word| line.contains(word))));
    }
}

#[test]
fn a_body_that_differs_under_the_same_header_is_seen_when_everything_is_read() {
    let (_old, new, tool) = twins();
    new.change("Archive", |mailbox| {
        // As long as before: neither size nor header tells.
        let body = &mut mailbox.messages[5].body;
        let at = body.len() - 5;
        body[at] = if body[at] == b'x' { b'y' } else { b'x' };
    });
    let document = tool.run(&["compare", "old", "new", "--json", "--full"]).expect_code(1).json();
    assert_eq!((&document["different"], &document["same"]), (&1.into(), &39.into()), "{document}");
    let row = &with(&document, "differs")[0];
    assert_eq!((&row["b"]["uid"], row["reason"].as_str().is_some_and(|reason| !reason.is_empty())), (&6.into(), true), "{row}");
    // Confidence is never claimed that was not earned.
    let document = tool.run(&["compare", "old", "new", "--json"]).json();
    assert!(with(&document, "same").iter().all(|row| row["confidence"] != "exact" || row["method"] == "content"), "{document}");
}

#[test]
fn one_folder_is_compared_with_any_other() {
    let (_old, new, tool) = twins();
    new.fill("Copy", &mail::many(20, 200));
    let document = tool.run(&["compare", "old/INBOX", "new/Copy", "--json"]).expect_code(0).json();
    assert_eq!((&document["same"], &document["listed_b"]), (&20.into(), &20.into()), "{document}");
    // Two folders of one account are two places.
    tool.run(&["compare", "new/INBOX", "new/Copy"]).expect_code(0);
    tool.run(&["compare", "new/Archive", "new/Copy"]).expect_code(1);
    for (a, b) in [("new", "new"), ("new/Copy", "new"), ("new", "new/Copy"), ("new/Copy", "new/Copy")] {
        tool.run(&["compare", a, b]).expect_code(2).expect_stderr("the same");
    }
    tool.run(&["compare", "new/Copy", "old/INBOX", "--include", "x"]).expect_code(2).expect_stderr("a single one");
    tool.run(&["compare", "new/Nowhere", "old/INBOX"]).expect_code(2);
}

#[test]
fn patterns_choose_folders_on_both_sides() {
    let (_old, new, tool) = twins();
    new.fill("Lists/a", &mail::many(3, 10));
    tool.run(&["compare", "old", "new"]).expect_code(1);
    tool.run(&["compare", "old", "new", "--exclude", "Lists*"]).expect_code(0);
    let document = tool.run(&["compare", "old", "new", "--include", "Archive", "--json"]).expect_code(0).json();
    assert_eq!(document["same"], 20);
}

#[test]
fn local_places_are_compared_like_any_other() {
    let (_old, _new, tool) = twins();
    let bodies = mail::many(20, 200);
    let files = eml(&tool, "files", &bodies);
    let document = tool.run(&["compare", &files, "old/INBOX", "--json"]).expect_code(0).json();
    assert_eq!((&document["same"], &document["rows"][0]["a"]["number"]), (&20.into(), &1.into()), "{document}");
    tool.run(&["fetch", "old/INBOX", "--all", "--to", "copy", "--format", "maildir"]).expect_code(0);
    tool.run(&["compare", "old/INBOX", "maildir:copy//INBOX", "--full"]).expect_code(0);
    let mut mbox = Vec::new();
    for body in &bodies[1..] {
        mbox.extend_from_slice(b"From a@example.org Tue Sep  1 12:00:00 2020\n");
        mbox.extend(String::from_utf8(body.clone()).unwrap().replace("\r\n", "\n").into_bytes());
        mbox.extend_from_slice(b"\n");
    }
    let document = tool.run_with_input(&["compare", &files, "-", "--json", "--full"], &mbox);
    let document = document.expect_code(1).json();
    assert_eq!((&document["same"], &document["only_a"]), (&19.into(), &1.into()), "{document}");
    tool.run(&["compare", "maildir:nowhere", "old"]).expect_code(2);
}

#[test]
fn an_account_of_a_store_of_backups_is_a_place() {
    let (_old, _new, tool) = twins();
    tool.run(&["backup", "old", "store"]).expect_code(0);
    let document = tool.run(&["compare", "old", "maildir:store/old", "--json"]).expect_code(0).json();
    assert_eq!(document["same"], 40, "{document}");
    tool.run(&["compare", "old", "maildir:store"]).expect_code(2).expect_stderr("maildir:store/ACCOUNT");
}

#[test]
fn what_migrate_copied_is_known_without_reading_it() {
    let from = Imapd::start(Behaviour::default());
    let to = Imapd::start(Behaviour::default());
    from.fill("INBOX", &mail::many(50, 200));
    // Its header is changed on the way, as servers do: only the journal knows that the two belong together.
    let tool = Tool::new();
    tool.server("old", Some(&from.url()), None).server("new", Some(&to.url()), None);
    tool.run(&["migrate", "old", "new"]).expect_code(0);
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(0).json();
    assert!(with(&document, "same").iter().all(|row| row["method"] == "journal"), "{document}");
    // The other way round as well, and from a maildrop.
    let document = tool.run(&["compare", "new", "old", "--json"]).expect_code(0).json();
    assert!(with(&document, "same").iter().all(|row| row["method"] == "journal"), "{document}");
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &mail::many(50, 333));
    let into = Imapd::start(Behaviour::default());
    tool.server("drop", Some(&into.url()), Some(&pop3.url())).server("before", None, Some(&pop3.url()));
    tool.run(&["migrate", "before", "drop:imap", "--state", "journal"]).expect_code(0);
    let document = tool.run(&["compare-pop3", "drop", "--state", "journal", "--json"]).expect_code(0).json();
    assert!(with(&document, "same").iter().all(|row| row["method"] == "journal"), "{document}");
    // Without it the same comes out in another way.
    let document = tool.run(&["compare-pop3", "drop", "--json"]).expect_code(0).json();
    assert!(with(&document, "same").iter().all(|row| row["method"] != "journal"), "{document}");
    // A journal of something else is no journal of these.
    tool.run(&["compare", "old", "new", "--state", "journal"]).expect_code(0);
    // One that cannot be read is left out, and said so.
    let state = tool.state_dir().join("mailhaul");
    for entry in fs::read_dir(&state).unwrap().flatten() {
        if entry.path().join("journal.db").exists() {
            fs::write(entry.path().join("journal.db"), b"damaged").unwrap();
        }
    }
    tool.run(&["compare", "old", "new"]).expect_code(0).expect_stderr("is left out");
}

#[test]
fn a_migrate_at_work_is_no_hindrance() {
    let (from, to) = (Imapd::start(Behaviour::default()), Imapd::start(Behaviour::default()));
    from.fill("INBOX", &mail::many(50, 200));
    let tool = Tool::new();
    tool.server("old", Some(&from.url()), None).server("new", Some(&to.url()), None);
    tool.run(&["migrate", "old", "new"]).expect_code(0);
    from.fill("INBOX", &[mail::plain(500, 50)]);
    let before = to.appends();
    to.behave(|behaviour| drop(behaviour.appends.insert(before + 1, AppendFault::Stall)));
    let running = tool.spawn(&["migrate", "old", "new"], None);
    wait_for("the upload", || to.appends() > before);
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(0).json();
    running.signal(rustix::process::Signal::KILL);
    running.finish();
    let journal = with(&document, "same").iter().filter(|row| row["method"] == "journal").count();
    assert_eq!((journal, &document["same"]), (50, &51.into()), "{document}");
}

#[test]
fn two_maildrops_are_compared_too() {
    let bodies = mail::many(12, 100);
    let [a, b] = [&bodies[..], &bodies[1..]].map(|bodies| Pop3d::start(pop3d::Behaviour::default(), bodies));
    let tool = Tool::new();
    tool.server("a", None, Some(&a.url())).server("b", None, Some(&b.url()));
    for extra in [&[][..], &["--full"]] {
        let document = tool.run(&[&["compare", "a", "b", "--json"], extra].concat()).expect_code(1).json();
        assert_eq!((&document["same"], &document["only_a"], &document["only_b"]), (&11.into(), &1.into(), &0.into()), "{document}");
        assert_eq!(with(&document, "only_a")[0]["a"]["uidl"], "u1");
    }
    b.maildrop(|maildrop| maildrop.insert(0, pop3d::Entry { uidl: "x".to_owned(), body: bodies[0].clone() }));
    tool.run(&["compare", "a", "b"]).expect_code(0);
}

#[test]
fn nothing_changes_on_a_real_server() {
    let (from, to) = (dovecot_user!("compare-from"), dovecot_user!("compare-to"));
    for user in [&from, &to] {
        let plants: Vec<Plant> = (0..20).map(|number| Plant::new(mail::plain(number, 200))).collect();
        user.plant("INBOX", &plants);
        user.append("INBOX", &mail::plain(77, 100), &[]);
        user.create("Archive");
        user.append("Archive", &mail::plain(78, 100), &["\\Flagged", "Work"]);
    }
    let before = (from.recent("INBOX"), from.messages("INBOX"), from.messages("Archive"), from.uid_validity("INBOX"));
    assert!(before.0 > 0, "nothing is recent, so nothing would be shown");
    let tool = Tool::new();
    tool.account("from", &from).account("to", &to);
    for extra in [&[][..], &["--full"]] {
        let document = tool.run(&[&["compare", "from", "to", "--json"], extra].concat()).expect_code(0).json();
        assert_eq!(document["same"], 22, "{document}");
        let after = (from.recent("INBOX"), from.messages("INBOX"), from.messages("Archive"), from.uid_validity("INBOX"));
        assert_eq!(after, before);
    }
}

#[test]
fn nasty_mail_is_the_same_wherever_it_lies() {
    let user = dovecot_user!("compare-nasty");
    let bodies: Vec<Vec<u8>> =
        mail::nasty().into_iter().map(|(_, body)| body).chain(mail::corpus().into_iter().map(|(_, body)| body)).collect();
    user.deliver("INBOX", &bodies);
    let tool = Tool::new();
    tool.account("work", &user);
    tool.run(&["fetch", "work:imap", "--all", "--to", "copy", "--format", "eml"]).expect_code(0);
    for args in [
        &["compare", "work:imap/INBOX", "eml:copy//INBOX", "--json", "--full"][..],
        &["compare", "work:pop3", "eml:copy//INBOX", "--json", "--full"],
    ] {
        let document = tool.run(args).expect_code(0).json();
        assert_eq!(document["same"], user.bodies("INBOX").len(), "{document}");
    }
}

#[test]
fn what_ends_a_run_has_its_code_and_prints_no_rows() {
    let (_old, new, mut tool) = twins();
    tool.use_clock();
    fs::write(tool.path("wrong"), "not it\n").unwrap();
    fs::set_permissions(tool.path("wrong"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = tool.run(&["compare", "old", "new", "--to-password-file", "wrong", "--json"]).expect_code(4);
    assert_eq!(output.text(), "", "{output}");
    new.behave(|behaviour| {
        for number in 1..200 {
            behaviour.faults.push(("UID FETCH".to_owned(), number, CommandFault::HangUpBefore));
            behaviour.faults.push(("FETCH".to_owned(), number, CommandFault::HangUpBefore));
            behaviour.faults.push(("UID SEARCH".to_owned(), number, CommandFault::HangUpBefore));
        }
    });
    let output = tool.run(&["compare", "old", "new", "--json"]).expect_code(5);
    assert_eq!(output.text(), "", "{output}");
    tool.server("gone", Some("imap://ann@127.0.0.1:1?tls=none"), None);
    tool.run(&["compare", "old", "gone"]).expect_code(5);
}

#[test]
fn three_and_two_of_one_message_are_told_apart() {
    let (old, new, tool) = twins();
    old.fill("INBOX", &vec![mail::plain(500, 50); 3]);
    new.fill("INBOX", &vec![mail::plain(500, 50); 2]);
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(1).json();
    assert_eq!((&document["same"], &document["doubled"], &document["doubled_a"]), (&42.into(), &1.into(), &1.into()), "{document}");
    new.fill("INBOX", &[mail::plain(500, 50)]);
    tool.run(&["compare", "old", "new"]).expect_code(0);
}

#[test]
fn a_folder_that_cannot_be_opened_is_a_row_and_the_others_are_compared() {
    let (old, new, tool) = twins();
    for server in [&old, &new] {
        server.fill("Secret", &mail::many(63, 200)[60..]);
    }
    let closed =
        |server: &Imapd| server.behave(|behaviour| drop(behaviour.closed.insert("Secret".to_owned(), "[NOPERM] not for you".to_owned())));
    closed(&new);
    let run = tool.run(&["compare", "old", "new", "--json"]).expect_code(3);
    let document = run.json();
    let figures =
        ["same", "only_a", "only_b", "errors", "folders_unread", "listed_a", "listed_b", "balanced"].map(|name| document[name].clone());
    assert_eq!(serde_json::json!(figures), serde_json::json!([40, 0, 0, 3, 1, 43, 40, true]), "{document}");
    let rows = with(&document, "error");
    let folder = rows.iter().find(|row| row["a"].is_null()).unwrap();
    assert_eq!((&folder["b"]["folder"], &folder["b"]["uid"]), (&"Secret".into(), &Value::Null), "{folder}");
    assert!(rows.len() == 4 && rows.iter().all(|row| row["reason"].as_str().unwrap().contains("[NOPERM] not for you")), "{document}");
    let text = tool.run(&["compare", "old", "new"]).expect_code(3);
    assert!(text.stderr.contains("no difference was found, but 3 messages and 1 folder could not be read"), "{text}");
    assert!(text.stderr.contains("Secret: ") && text.stderr.contains("[NOPERM] not for you"), "{text}");
    // The other way round, on both sides, and beside a difference.
    assert_eq!(tool.run(&["compare", "new", "old", "--json"]).expect_code(3).json()["folders_unread"], 1);
    closed(&old);
    let document = tool.run(&["compare", "old", "new", "--json", "--full"]).expect_code(3).json();
    assert_eq!((&document["errors"], &document["folders_unread"], &document["same"]), (&0.into(), &2.into(), &40.into()), "{document}");
    new.change("INBOX", |mailbox| mailbox.expunge(3));
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(1).json();
    assert_eq!(with(&document, "only_a")[0]["reason"], "unless it is in Secret, which could not be read");
    // Who means that folder hears of nothing else, and a side that shows nothing is none.
    tool.run(&["compare", "old/Secret", "new/Secret"]).expect_code(6);
    new.behave(|behaviour| {
        ["INBOX", "Archive"].map(|name| behaviour.closed.insert(name.to_owned(), "no".to_owned())).into_iter().for_each(drop);
    });
    assert_eq!(tool.run(&["compare", "old", "new", "--json"]).expect_code(6).text(), "");
}

#[test]
fn rows_show_the_flags_that_a_listing_tells_and_no_verdict_is_made_of_them() {
    let (old, new, tool) = twins();
    let flag = |server: &Imapd, uid: u32, flags: &[&str]| {
        server.change("INBOX", |mailbox| {
            let message = mailbox.messages.iter_mut().find(|message| message.uid == uid).unwrap();
            message.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        });
    };
    flag(&old, 2, &["\\Seen", "Work", "\\Recent"]);
    flag(&new, 3, &["\\Flagged"]);
    let drop = Pop3d::start(pop3d::Behaviour::default(), &mail::many(20, 200));
    tool.server("drop", None, Some(&drop.url()));
    let document = tool.run(&["compare", "old/INBOX", "new/INBOX", "--json"]).expect_code(0).json();
    let of = |document: &Value, at: usize| document["rows"][at]["flags"].clone();
    assert_eq!(of(&document, 1), serde_json::json!(["seen", "Work"]), "{document}");
    assert_eq!((of(&document, 0), of(&document, 2)), (serde_json::json!([]), serde_json::json!([])));
    // A maildrop has none, so they are those of the other side.
    let document = tool.run(&["compare", "drop", "new/INBOX", "--json"]).expect_code(0).json();
    assert_eq!(of(&document, 2), serde_json::json!(["flagged"]), "{document}");
    let rows = tool.run(&["compare", "old/INBOX", "new/INBOX", "-o", "tsv"]).expect_code(0).text();
    assert_eq!(rows.lines().nth(1).unwrap().split('\t').nth(16), Some("seen,Work"), "{rows}");
    fs::create_dir_all(tool.path("mail/cur")).unwrap();
    fs::write(tool.path("mail/cur/1.a.b:2,FS"), &mail::many(20, 200)[1]).unwrap();
    let document = tool.run(&["compare", "maildir:mail", "old/INBOX", "--json"]).expect_code(1).json();
    assert_eq!(of(&document, 0), serde_json::json!(["flagged", "seen"]), "{document}");
}

#[test]
fn a_hundred_thousand_messages_on_each_side_take_bounded_memory() {
    // KiB; these are debug builds.
    const MEMORY: u64 = 64 * 1024;
    const COUNT: u64 = 100_000;
    let text = |number: u64| format!("Subject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n{number}\r\n").into_bytes();
    let bodies: Vec<Vec<u8>> = (0..COUNT).map(text).collect();
    let imap = [(); 2].map(|()| Imapd::start(Behaviour::default()));
    imap[0].fill("INBOX", &bodies);
    imap[1].fill("INBOX", &bodies);
    let validity = imap[0].mailbox("INBOX").uid_validity;
    let entries: Vec<(String, Vec<u8>)> =
        (1..).zip(&bodies).map(|(uid, body)| (format!("{uid:08x}{validity:08x}"), body.clone())).collect();
    let drop = Pop3d::with_uidls(pop3d::Behaviour::default(), &entries);
    let tool = Tool::new();
    tool.server("old", Some(&imap[0].url()), Some(&drop.url())).server("new", Some(&imap[1].url()), None);
    for (args, shuffled) in [(&["compare-pop3", "old"][..], false), (&["compare", "old", "new"], false), (&["compare", "old", "new"], true)]
    {
        if shuffled {
            // Neither order nor unique-ids tell anything.
            imap[1].change("INBOX", |mailbox| {
                let bodies: Vec<Vec<u8>> = mailbox.messages.iter().map(|message| message.body.clone()).collect();
                (0..).zip(&mut mailbox.messages).for_each(|(at, message)| message.body = bodies[at * 7919 % bodies.len()].clone());
            });
        }
        let running = tool.spawn(&[args, &["-o", "jsonl"]].concat(), None);
        let peak = peak_memory(running.id());
        let output = running.finish().expect_code(0);
        let peak = peak.join().unwrap();
        assert_eq!(output.text().lines().count() as u64, COUNT + 1);
        eprintln!("{args:?}, shuffled {shuffled}: {peak} KiB");
        assert!(peak > 0 && peak < MEMORY, "{args:?}, shuffled {shuffled}: {peak} KiB");
    }
}

#[test]
fn thousands_of_folders_are_compared_and_looked_into() {
    let servers = [(); 2].map(|()| Imapd::start(Behaviour::default()));
    for (number, server) in (1..).zip(&servers) {
        for folder in 0..2000 {
            server.fill(&format!("f{folder}"), &[mail::plain(folder, 20)]);
        }
        server.fill("INBOX", &[mail::many(1, 30), vec![mail::plain(7000, 30)]].concat()[..number]);
    }
    let drop = Pop3d::start(pop3d::Behaviour::default(), &[&mail::many(3000, 20)[1990..], &mail::many(1, 30)].concat());
    let tool = Tool::new();
    tool.server("old", Some(&servers[0].url()), Some(&drop.url())).server("new", Some(&servers[1].url()), None);
    let document = tool.run(&["compare", "old", "new", "--json"]).expect_code(1).json();
    assert_eq!((&document["same"], &document["only_b"]), (&2001.into(), &1.into()));
    let document = tool.run(&["compare-pop3", "old", "--json"]).expect_code(1).json();
    assert_eq!((&document["same"], &document["elsewhere"], &document["only_a"]), (&1.into(), &10.into(), &1000.into()));
}

#[test]
fn unique_ids_that_no_server_may_give_are_told_apart_and_harm_no_output() {
    let bodies = mail::many(40, 20);
    let odd = |number: usize| match number % 4 {
        0 => format!("{}{number}", "x".repeat(300)),
        1 => format!("\u{1b}[2J\u{202e}{number}\u{7}"),
        2 => format!("a b\t{number}"),
        _ => "the same".to_owned(),
    };
    let entries: Vec<(String, Vec<u8>)> = bodies.iter().enumerate().map(|(number, body)| (odd(number), body.clone())).collect();
    let drop = Pop3d::with_uidls(pop3d::Behaviour::default(), &entries);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let tool = Tool::new();
    tool.server("work", Some(&imap.url()), Some(&drop.url()));
    for format in ["tsv", "jsonl", "table", "json"] {
        let output = tool.run(&["compare-pop3", "work", "--all", "-o", format]).expect_code(0);
        let text = output.text();
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{format}");
        match format {
            "tsv" => assert!(text.lines().count() == 40 && text.lines().all(|line| line.split('\t').count() == 20), "{text}"),
            "jsonl" => assert_eq!(text.lines().count(), 41),
            _ => {}
        }
    }
}
