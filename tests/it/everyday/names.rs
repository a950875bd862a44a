//! Every verb in, from and into folders and files with names that nobody should have given them: what was asked for happens
//! to just the folder that was named, nothing lands elsewhere, and nothing harmful is shown.

use std::ffi::{OsStr, OsString};

use super::{Mailboxes, mailboxes};
use crate::crash::bench::{full, in_parallel};
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail::{self, assert_same_mail};
use crate::support::names::{files, texts, typed, wire};
use crate::support::terminal::harm;
use crate::support::tool::{Output, Tool};

fn tool_of(server: &Imapd) -> Tool {
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool
}

#[track_caller]
fn assert_harmless(output: &Output, mail: bool) {
    assert_eq!(harm(output.stderr.as_bytes()), None, "{output}");
    assert!(mail || harm(&output.stdout).is_none(), "{output}");
}

/// Wire names with what they are shown as.
fn shown(server: &Imapd, tool: &Tool) -> Vec<(String, String)> {
    let document = tool.run(&["folders", "work", "--json"]).expect_code(0).json();
    let wire = server.folders();
    let of = |uid_validity: u64| wire.iter().find(|name| u64::from(server.mailbox(name).uid_validity) == uid_validity).unwrap().clone();
    let rows = document["folders"].as_array().unwrap().iter();
    rows.map(|row| (of(row["uidvalidity"].as_u64().unwrap()), row["name"].as_str().unwrap().to_owned())).collect()
}

const VERBS: [&str; 9] = ["list", "fetch", "flag", "copy from", "move from", "copy to", "upload", "delete", "delete permanently"];

/// What one verb does in one folder, to the program and to what is expected to be there.
fn do_in(verb: &str, server: &Imapd, tool: &Tool, (folder, place): (&str, &str), expected: &mut Mailboxes) {
    let (_, flags, body) = expected[folder].last().unwrap().clone();
    let number = server.mailbox(folder).messages.last().unwrap().uid.to_string();
    let removed = |expected: &mut Mailboxes| drop(expected.get_mut(folder).unwrap().pop());
    let added = |expected: &mut Mailboxes, to: &str, flags: &str, body: &[u8]| {
        let there = expected.get_mut(to).unwrap();
        // UIDs are looked at by other tests.
        there.push((0, flags.to_owned(), body.to_vec()));
    };
    let run = |args: &[&str], mail: bool| {
        let output = tool.run(args).expect_code(0);
        assert_harmless(&output, mail);
        output
    };
    match verb {
        "list" => {
            let format = ["tsv", "table", "json"][folder.len() % 3];
            let listed = run(&["list", place, "-o", format, "--fields", "uid,folder,subject"], false).text();
            assert!(listed.contains("message"), "{folder:?}: {listed}");
        }
        "fetch" => assert_eq!(run(&["fetch", place, &number], true).stdout, body, "{folder:?}"),
        "flag" => {
            let rows = run(&["flag", place, "--add", "flagged", &number, "-o", "tsv"], false).text();
            assert_eq!(rows.lines().count(), 1, "{folder:?}: {rows}");
            expected.get_mut(folder).unwrap().last_mut().unwrap().1 = format!("{flags} \\Flagged").trim().to_owned();
        }
        "copy from" => {
            run(&["copy", place, "work/Sink", &number], false);
            added(expected, "Sink", &flags, &body);
        }
        "move from" => {
            run(&["move", place, "work/Sink", &number, "-o", "tsv"], false);
            removed(expected);
            added(expected, "Sink", &flags, &body);
        }
        "copy to" => {
            run(&["copy", "work/Source", place, "1", "-o", "table"], false);
            let (_, flags, body) = expected["Source"][0].clone();
            added(expected, folder, &flags, &body);
        }
        "upload" => {
            run(&["upload", "x.eml", place], false);
            let body = std::fs::read(tool.path("x.eml")).unwrap();
            added(expected, folder, "", &body);
        }
        "delete" => {
            run(&["delete", place, &number, "--trash", "Sink"], false);
            removed(expected);
            added(expected, "Sink", &flags, &body);
        }
        _ => {
            run(&["delete", place, &number, "--permanently", "-o", "tsv"], false);
            removed(expected);
        }
    }
}

fn without_uids(mut mailboxes: Mailboxes) -> Mailboxes {
    mailboxes.values_mut().flatten().for_each(|message| message.0 = 0);
    mailboxes.get_mut("Sink").unwrap().sort();
    mailboxes
}

#[test]
fn every_verb_works_in_just_the_folder_that_was_named() {
    // Servers with MOVE, and some where a record is kept of each step; small ones, for every run asks for all names.
    let names: Vec<(usize, String)> = wire().into_iter().enumerate().collect();
    let cases: Vec<(Behaviour, &[(usize, String)])> = names
        .chunks(60)
        .enumerate()
        .map(|(number, names)| (if number % 2 == 0 { Behaviour::default().with("MOVE") } else { Behaviour::default() }, names))
        .collect();
    let tried = std::sync::Mutex::new([0; VERBS.len()]);
    in_parallel(&cases, |(behaviour, names)| {
        let server = Imapd::start(behaviour.clone());
        for (index, name) in *names {
            // Different in each, so that no mix-up goes unnoticed.
            let number = 10 * *index as u64 + 10;
            server.fill(name, &[0, 1, 2, 3, 4].map(|more| mail::plain(number + more, 20)));
        }
        server.fill("Sink", &[]);
        server.fill("Source", &[mail::plain(1, 20)]);
        let tool = tool_of(&server);
        std::fs::write(tool.path("x.eml"), mail::plain(2, 20)).unwrap();
        let mut expected = mailboxes(&server);
        let all = shown(&server, &tool);
        assert_eq!(all.len(), names.len() + 3);
        for (at, (name, shown)) in all.iter().filter(|(name, _)| !["INBOX", "Sink", "Source"].contains(&name.as_str())).enumerate() {
            for (number, verb) in VERBS.iter().enumerate() {
                // Every verb with 200 names at least, and every name with several verbs.
                if full() || (at + number * 2) % 5 < 2 {
                    do_in(verb, &server, &tool, (name, &format!("work/{shown}")), &mut expected);
                    tried.lock().unwrap()[number] += 1;
                    let now: Vec<_> =
                        server.mailbox(name).messages.into_iter().map(|message| (message.flags.join(" "), message.body)).collect();
                    let wanted: Vec<_> = expected[name].iter().map(|(_, flags, body)| (flags.clone(), body.clone())).collect();
                    assert!(now == wanted, "{verb} in {name:?}, shown as {shown:?}");
                }
            }
        }
        let (now, wanted) = (without_uids(mailboxes(&server)), without_uids(expected));
        for (folder, messages) in &wanted {
            assert!(now.get(folder) == Some(messages), "{folder:?} is not what it should be");
        }
        assert_eq!(now.len(), wanted.len());
    });
    let tried = tried.into_inner().unwrap();
    assert!(tried.iter().all(|count| *count >= 200), "{tried:?}");
}

#[test]
fn a_folder_is_renamed_from_and_to_any_name_or_left_alone() {
    let (names, texts) = (wire(), texts());
    let cases: Vec<(&[String], &[String])> = names.chunks(40).zip(texts.chunks(texts.len() / (names.len() / 40))).collect();
    let counts = std::sync::Mutex::new((0, 0));
    in_parallel(&cases, |(names, texts)| {
        let server = Imapd::start(Behaviour::default());
        for (index, name) in names.iter().enumerate() {
            server.fill(name, &[mail::plain(index as u64, 20)]);
        }
        let tool = tool_of(&server);
        // From the bottom up, so that none goes along with another.
        let all: Vec<_> = shown(&server, &tool).into_iter().rev().filter(|(name, _)| name != "INBOX").collect();
        let some: Vec<_> = all.iter().step_by(if full() { 1 } else { 2 }).collect();
        for (index, (name, shown)) in some.iter().enumerate() {
            let body = server.bodies(name);
            let below = server.folders().iter().filter(|other| other.starts_with(&format!("{name}/"))).count();
            let output = tool.run(&["folders", "rename", &format!("work/{shown}"), &format!("Plain {index}")]).expect_code(0);
            assert_harmless(&output, false);
            assert_eq!(server.bodies(&format!("Plain {index}")), body, "{shown:?}: {output}");
            assert!(!server.folders().contains(name), "{shown:?}");
            assert_eq!(server.folders().iter().filter(|other| other.starts_with(&format!("Plain {index}/"))).count(), below);
        }
        let total = || -> usize { server.folders().iter().map(|name| server.bodies(name).len()).sum() };
        let before = (server.folders().len(), total());
        let mut taken = 0;
        for (index, text) in texts.iter().take(if full() { texts.len() } else { some.len() }).enumerate() {
            let from = server.folders().into_iter().find(|name| name.starts_with("Plain ")).unwrap_or_else(|| {
                server.fill(&format!("Plain more {index}"), &[]);
                format!("Plain more {index}")
            });
            let folders = server.folders().len();
            let output = tool.run(&["folders", "rename", &format!("work/{from}"), &typed(text)]);
            assert!([0, 2].contains(&output.code), "{text:?}: {output}");
            assert_harmless(&output, false);
            assert_eq!(server.folders().contains(&from), output.code != 0, "{text:?}: {output}");
            taken += usize::from(output.code == 0);
            assert_eq!((server.folders().len(), total()), (folders, before.1), "{text:?}: {output}");
        }
        let ours = |name: &String| name.is_ascii() || names.contains(name);
        assert!(server.folders().iter().all(ours), "a new name is written correctly: {:?}", server.folders());
        let mut counts = counts.lock().unwrap();
        *counts = (counts.0 + some.len(), counts.1 + taken);
    });
    let (renamed, taken) = counts.into_inner().unwrap();
    assert!(renamed >= 200 && taken > 80, "{renamed} renamed, {taken} names taken");
}

#[test]
fn local_stores_take_a_folder_of_any_name_and_nothing_lies_beside_them() {
    let server = Imapd::start(Behaviour::default());
    // No name at all means the INBOX of the store; a level more or less is the same folder.
    let names: Vec<String> = texts().into_iter().filter(|name| !format!("/{name}/").contains("//")).collect();
    server.fill("INBOX", &(0..names.len() as u64).map(|number| mail::plain(number, 20)).collect::<Vec<_>>());
    let all = server.bodies("INBOX");
    let kinds = [("maildir", 0), ("mbox", 1), ("eml", 2)];
    in_parallel(&kinds, |(kind, turn)| {
        let tool = tool_of(&server);
        std::fs::create_dir_all(tool.path("deep/er")).unwrap();
        std::fs::write(tool.path("deep/precious"), "precious").unwrap();
        std::fs::create_dir(tool.path("deep/er/store")).unwrap();
        let store = format!("{kind}:deep/er/store");
        let mut taken = Vec::new();
        for (index, name) in names.iter().enumerate().filter(|(index, _)| full() || index % 6 == *turn) {
            let place = format!("{store}//{}", typed(name));
            let output = tool.run(&["copy", "work", &place, &(index + 1).to_string(), "--create"]);
            // 3: levels too deep to be read back; 7: too long for a file.
            assert!([0, 2, 3, 7].contains(&output.code), "{kind} {name:?}: {output}");
            assert_harmless(&output, false);
            if output.code == 0 {
                taken.push((name, place, all[index].clone()));
            }
        }
        assert!(taken.len() > 40, "{kind}: {}", taken.len());
        // Whatever was made lies in the store.
        let entries = |dir: &str| {
            let mut names: Vec<_> = std::fs::read_dir(tool.path(dir)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!((entries("deep"), entries("deep/er")), (vec![OsString::from("er"), "precious".into()], vec!["store".into()]), "{kind}");
        assert_eq!(entries(""), ["deep"], "{kind}");
        assert_eq!(std::fs::read(tool.path("deep/precious")).unwrap(), b"precious");
        let folders = tool.run(&["folders", &store, "--json"]).expect_code(0);
        assert_harmless(&folders, false);
        // Each is found again by the name it was made under, and holds what was put there and no other's.
        for (name, place, body) in taken.iter().step_by(if full() { 1 } else { 2 }) {
            // INBOX is one folder however it is written: it (and what is below it) holds what went there under each of its names.
            if name.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case("INBOX")) {
                continue;
            }
            let output = tool.run(&["fetch", place, "1"]).expect_code(0);
            assert!(output.stdout == *body, "{kind} {name:?}: {output}");
        }
        // And on: each message once.
        let to = Imapd::start(Behaviour::default());
        tool.server("to", Some(&to.url()), None);
        let on = tool.run(&["migrate", &store, "to", "--json"]);
        assert!([0, 3].contains(&on.code), "{on}");
        assert_harmless(&on, false);
        let there: Vec<Vec<u8>> = to.folders().iter().flat_map(|name| to.bodies(name)).collect();
        let missing = taken.iter().filter(|(.., body)| !there.contains(body)).count();
        assert!(missing <= on.json()["problems"].as_array().unwrap().len(), "{kind}: {missing} are missing: {on}");
        let known = mail::multiset(taken.iter().map(|(.., body)| body));
        assert!(mail::multiset(&there).iter().all(|(digest, count)| *count == 1 && known.contains_key(digest)), "{kind}");
    });
}

#[test]
fn files_with_any_name_are_uploaded_and_shown_harmless() {
    let server = Imapd::start(Behaviour::default());
    let tool = tool_of(&server);
    std::fs::create_dir(tool.path("in")).unwrap();
    let names: Vec<OsString> = files().into_iter().map(OsString::from).collect();
    assert!(names.len() >= 300, "{}", names.len());
    let mut bodies = Vec::new();
    for (number, name) in (0..).zip(&names) {
        bodies.push(mail::plain(number, 20));
        std::fs::write(tool.path("in").join(name), &bodies[bodies.len() - 1]).unwrap();
    }
    let paths: Vec<OsString> = names.iter().map(|name| [OsStr::new("./in/"), name].into_iter().collect()).collect();
    let upload = |more: &[&str]| {
        let mut args = vec![OsString::from("upload")];
        args.extend(paths.iter().cloned());
        args.extend(["work"].iter().chain(more).map(OsString::from));
        let output = tool.run(&args).expect_code(0);
        assert_harmless(&output, false);
        output
    };
    for format in ["tsv", "table", "json"] {
        let plan = upload(&["--dry-run", "-o", format]).text();
        assert!(plan.lines().count() > names.len() || format == "tsv" && plan.lines().count() == names.len() || format == "json", "{plan}");
    }
    assert!(server.bodies("INBOX").is_empty());
    upload(&[]);
    assert_same_mail(&bodies, &server.bodies("INBOX"));
    // Refused, each is named, and harmlessly so.
    let refuse = vec![(b"Subject".to_vec(), "NO [CANNOT] \u{1b}[2Jno".to_owned())];
    server.behave(|behaviour| behaviour.refuse = refuse);
    for paths in paths.chunks(40).take(if full() { 100 } else { 6 }) {
        let mut args = vec![OsString::from("upload")];
        args.extend(paths.iter().cloned());
        args.extend(["work", "--settle", "1ms"].map(OsString::from));
        let output = tool.run(&args).expect_code(3);
        assert_harmless(&output, false);
        assert!(output.stderr.lines().count() >= paths.len(), "{output}");
    }
}
