//! Servers that lie, other sessions that interfere, one mailbox under two names: mail moves once or stays.

use crate::crash::bench::{full, in_parallel};
use crate::support::imapd::{AppendFault, Behaviour, CommandFault, Imapd};
use crate::support::mail::{self, multiset};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::Tool;

/// Six messages in INBOX of a server without MOVE, two in Archive, none in Trash.
fn server(behaviour: Behaviour) -> (Tool, Imapd) {
    let mut tool = Tool::new();
    let clock = tool.use_clock();
    let server = Imapd::start(Behaviour { clock: Some(clock), ..behaviour });
    server.fill("INBOX", &mail::many(6, 200));
    server.fill("Archive", &[mail::plain(70, 200), mail::plain(71, 100)]);
    server.fill("Trash", &[]);
    tool.server("work", Some(&server.url()), None);
    (tool, server)
}

fn uids(server: &Imapd, folder: &str) -> Vec<u32> {
    server.mailbox(folder).messages.iter().map(|message| message.uid).collect()
}

fn all(server: &Imapd) -> Vec<Vec<u8>> {
    ["INBOX", "Archive", "Trash"].iter().flat_map(|folder| server.bodies(folder)).collect()
}

#[test]
fn what_waits_marked_for_the_trash_is_not_called_moved_to_another_folder() {
    let (tool, server) = server(Behaviour::default().without(&["UIDPLUS"]));
    tool.run(&["delete", "work", "1:2"]).expect_code(3).expect_stderr("no UIDPLUS");
    assert_eq!(server.bodies("Trash").len(), 2);
    let moved = tool.run(&["move", "work", "work/Archive", "1,3", "--json"]).expect_code(3).expect_stderr("copied it to Trash");
    let document = moved.json();
    assert_eq!(
        (&document["selected"], &document["changed"], &document["messages"][0]["uid"]),
        (&2.into(), &1.into(), &3.into()),
        "{moved}"
    );
    assert_eq!((server.bodies("Archive").len(), server.bodies("Trash").len()), (3, 2));
    // The other way round: what waits marked for the Archive did not go to the Trash.
    let deleted = tool.run(&["delete", "work", "3", "--json"]).expect_code(3).expect_stderr("copied it to Archive");
    assert_eq!(deleted.json()["changed"], 0, "{deleted}");
    assert_eq!(server.bodies("Trash").len(), 2);
    // The mark taken back, it is a new wish.
    tool.run(&["flag", "work", "--remove", "deleted", "1"]).expect_code(0);
    tool.run(&["move", "work", "work/Archive", "1"]).expect_code(3).expect_stderr("no UIDPLUS");
    assert_eq!(server.bodies("Archive").len(), 4);
}

#[test]
fn out_of_a_folder_that_can_only_be_read_nothing_is_copied_for_a_move() {
    let (tool, server) = server(Behaviour { read_only: true, ..Behaviour::default() });
    for _ in 0..2 {
        tool.run(&["move", "work", "work/Archive", "1:3"]).expect_code(6);
        tool.run(&["delete", "work", "1:3"]).expect_code(6);
    }
    assert_eq!((server.bodies("INBOX").len(), all(&server).len()), (6, 8));
    assert!(!server.log().iter().any(|line| line.contains("UID STORE") || line.contains("EXPUNGE")));
}

#[test]
fn an_interrupted_move_that_cannot_be_finished_does_not_stop_all_others() {
    let (tool, server) = server(Behaviour::default().fault("UID STORE", 1, CommandFault::HangUpBefore));
    server.fill("Other", &[mail::plain(90, 100)]);
    tool.run(&["move", "work", "work/Archive", "1:2"]).expect_code(5);
    server.behave(|behaviour| {
        behaviour.faults =
            (2..9).map(|number| ("UID STORE".to_owned(), number, CommandFault::Refuse("NO [NOPERM] not you".to_owned()))).collect();
    });
    // Not copied once more either, whether asked for again or not.
    tool.run(&["move", "work", "work/Archive", "1:2"]).expect_code(3).expect_stderr("not you");
    assert_eq!(server.bodies("Archive").len(), 4);
    server.behave(|behaviour| behaviour.faults.clear());
    tool.run(&["move", "work", "work/Archive", "1:2"]).expect_code(0);
    assert_eq!((uids(&server, "INBOX"), server.bodies("Archive").len()), (vec![3, 4, 5, 6], 4));
}

#[test]
fn a_copyuid_that_lies_neither_loses_nor_doubles_a_message() {
    let before = multiset(&{
        let (_, server) = server(Behaviour::default());
        all(&server)
    });
    let lies = [
        "",
        "COPYUID 4711 1:3 3:5",
        "COPYUID 1 1:3 3:4",
        "COPYUID 1 1:300 3:302",
        "COPYUID 1 4:6 3:5",
        "COPYUID 1 1:3 1:3",
        "COPYUID 1 1 3",
        "COPYUID 1 2:3 100:101",
        "COPYUID 0 1:3 3:5",
        "COPYUID 1 * *",
        "COPYUID",
    ];
    for moves in [false, true] {
        for lie in lies {
            let behaviour = if moves { Behaviour::default().with("MOVE") } else { Behaviour::default() };
            let (tool, server) = server(Behaviour { copy_uid: Some(lie.to_owned()), ..behaviour });
            let (now, name) = (server.mailbox("Archive").uid_validity, format!("{lie:?} with MOVE: {moves}"));
            server.behave(|behaviour| behaviour.copy_uid = Some(lie.replace("COPYUID 1 ", &format!("COPYUID {now} "))));
            let first = tool.run(&["move", "work", "work/Archive", "1:3", "--json"]);
            let together = multiset(&all(&server));
            assert!(before.iter().all(|(digest, count)| together.get(digest).is_some_and(|found| found >= count)), "{name}: {first}");
            if first.code == 0 {
                assert_eq!(first.json()["changed"], 3, "{name}: {first}");
            }
            // Whatever it took: the same again brings it about, once.
            server.behave(|behaviour| behaviour.copy_uid = None);
            let second = tool.run(&["move", "work", "work/Archive", "1:3", "--json"]);
            server.wait_until_quiet();
            assert!([0, 3].contains(&second.code), "{name}: {second}");
            assert_eq!(multiset(&all(&server)), before, "{name}: {first} {second}");
            assert_eq!(uids(&server, "INBOX"), [4, 5, 6], "{name}: {first} {second}");
        }
    }
}

#[test]
fn a_message_that_somebody_removes_in_between_is_named_and_the_others_move() {
    for (verb, lie) in [("UID COPY", None), ("UID COPY", Some("")), ("UID STORE", None), ("UID EXPUNGE", None)] {
        let (tool, server) =
            server(Behaviour { vanish: Some((verb.to_owned(), 2)), copy_uid: lie.map(str::to_owned), ..Behaviour::default() });
        let moved = tool.run(&["move", "work", "work/Archive", "1:3", "--json"]);
        assert_eq!(uids(&server, "INBOX"), [4, 5, 6], "{verb} {lie:?}: {moved}");
        let expected = if verb == "UID COPY" { 4 } else { 5 };
        assert_eq!(server.bodies("Archive").len(), expected, "{verb}: {moved}");
        if verb == "UID COPY" && lie.is_none() {
            assert_eq!((moved.code, &moved.json()["changed"]), (3, &2.into()), "{moved}");
        }
    }
}

#[test]
fn one_server_under_two_names_is_the_same_place() {
    let (tool, server) = server(Behaviour::default());
    let url = server.url();
    let inbox = url.replace("?tls=none", "/INBOX?tls=none");
    let loud = inbox.replace("127.0.0.1", "LOCALHOST");
    let quiet = inbox.replace("127.0.0.1", "localhost");
    let password = tool.password_file().display().to_string();
    let run = |verb: &str, from: &str, to: &str| {
        tool.run(&[verb, from, to, "1:2", "--from-password-file", &password, "--to-password-file", &password])
    };
    for verb in ["move", "copy"] {
        run(verb, "work", &inbox).expect_code(2).expect_stderr("same folder");
        run(verb, "work:imap/INBOX", &url).expect_code(2).expect_stderr("same folder");
        run(verb, &loud, &quiet).expect_code(2).expect_stderr("same folder");
    }
    assert_eq!(server.bodies("INBOX").len(), 6);
}

#[test]
fn a_folder_that_moves_into_itself_under_a_name_nobody_can_know_loses_nothing_wherever_the_run_dies() {
    let steps: Vec<usize> = (1..=60).step_by(2).collect();
    in_parallel(&steps, |step| {
        let (mut tool, server) = server(Behaviour::default());
        let before = multiset(&all(&server));
        let alias = server.url().replace("127.0.0.1", "localhost");
        let password = tool.password_file().display().to_string();
        let command = ["move", "work", &alias, "--all", "--from-password-file", &password, "--to-password-file", &password];
        tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        tool.run(&command);
        tool.unset_env("MAILHAUL_TEST_CRASH");
        server.wait_until_quiet();
        let there = multiset(&all(&server));
        assert!(before.iter().all(|(digest, count)| there.get(digest).is_some_and(|found| found >= count)), "killed at {step}");
        let second = tool.run(&command);
        assert_eq!(second.code, 0, "{step}: {second}");
        assert_eq!(multiset(&all(&server)), before, "killed at {step}: {second}");
    });
}

#[test]
fn a_maildrop_that_uses_unique_ids_again_loses_nothing() {
    // The connections of a run: the choice, the copying, the reading back, the removal.
    for connection in 1..=4 {
        let bodies: Vec<Vec<u8>> = (0..5).map(|number| mail::plain(number, 200 + 30 * usize::try_from(number).unwrap())).collect();
        let source = Pop3d::start(pop3d::Behaviour { renumbered_at: Some(connection), ..pop3d::Behaviour::default() }, &bodies);
        let (tool, server) = server(Behaviour::default());
        tool.server("from", None, Some(&source.url()));
        let before = server.bodies("Archive").len();
        let moved = tool.run(&["move", "from", "work/Archive", "2:3", "--json"]);
        source.wait_until_quiet();
        let together: Vec<Vec<u8>> = source.bodies().into_iter().chain(server.bodies("Archive")).collect();
        for body in &bodies[1..] {
            assert!(together.iter().any(|kept| multiset([kept]) == multiset([body])), "{connection}: {moved}\n{}", source.log().join("\n"));
        }
        let changed = moved.json()["changed"].as_u64().unwrap();
        assert!(changed <= 2 && server.bodies("Archive").len() - before >= usize::try_from(changed).unwrap(), "{connection}: {moved}");
    }
}

#[test]
fn a_maildrop_that_keeps_what_it_said_is_gone_is_found_out() {
    let bodies = mail::many(4, 200);
    let source = Pop3d::start(pop3d::Behaviour { keeps: true, ..pop3d::Behaviour::default() }, &bodies);
    let (tool, server) = server(Behaviour::default());
    tool.server("from", None, Some(&source.url()));
    for _ in 0..2 {
        let moved = tool.run(&["move", "from", "work/Archive", "2:3", "--json"]).expect_code(3).expect_stderr("still has it");
        assert_eq!((&moved.json()["selected"], &moved.json()["changed"]), (&2.into(), &0.into()), "{moved}");
        assert_eq!(server.bodies("Archive").len(), 4, "copied once");
    }
    source.behave(|behaviour| behaviour.keeps = false);
    tool.run(&["move", "from", "work/Archive", "2:3"]).expect_code(0);
    source.wait_until_quiet();
    assert_eq!((source.bodies().len(), server.bodies("Archive").len()), (2, 4));
}

/// Of twins whose copying was cut off one is there: what proves it proves nothing of the other, neither while the run looks again
/// nor after a kill at any step of finding out.
#[test]
fn of_twins_one_copy_proves_one() {
    let all_steps: Vec<usize> = (0..=40).collect();
    for uidplus in [true, false] {
        in_parallel(&all_steps, |&step| {
            let mut tool = Tool::new();
            let clock = tool.use_clock();
            let behaviour = Behaviour { clock: Some(clock), ..Behaviour::default() }.fault("UID COPY", 1, CommandFault::HangUpAfter);
            let server = Imapd::start(if uidplus { behaviour } else { behaviour.without(&["UIDPLUS"]) });
            let bodies = [7, 7, 7, 1].map(|number| mail::plain(number, 200));
            server.fill("INBOX", &bodies);
            server.fill("Archive", &[mail::plain(7, 200)]);
            tool.server("work", Some(&server.url()), None);
            let command = ["move", "work", "work/Archive", "1:4"];
            tool.run(&command).expect_code(5);
            // The server died while it copied: one of the three twins arrived.
            server.change("Archive", |mailbox| mailbox.messages.truncate(2));
            if step > 0 {
                tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
                tool.run(&command);
                tool.unset_env("MAILHAUL_TEST_CRASH");
                server.wait_until_quiet();
            }
            let last = tool.run(&command);
            let name = format!("killed at {step}, UIDPLUS {uidplus}: {last}\n{}", server.log().join("\n"));
            assert_eq!(last.code, if uidplus { 0 } else { 3 }, "{name}");
            let twins = |folder: &str| server.bodies(folder).iter().filter(|body| multiset([*body]) == multiset([&bodies[0]])).count();
            assert_eq!((twins("Archive"), server.bodies("Archive").len()), (4, 5), "{name}");
            assert_eq!(server.bodies("INBOX").len(), if uidplus { 0 } else { 4 }, "{name}");
        });
    }
}

#[test]
fn what_was_copied_and_not_yet_removed_is_not_called_moved() {
    let to = Imapd::start(Behaviour::default().without(&["MULTIAPPEND"]).append_fault(4, AppendFault::No("[OVERQUOTA] full".to_owned())));
    let (tool, from) = server(Behaviour::default());
    tool.server("to", Some(&to.url()), None);
    let moved = tool.run(&["move", "work", "to", "--all", "--json"]).expect_code(11);
    assert_eq!((from.bodies("INBOX").len(), to.bodies("INBOX").len()), (6, 5), "{moved}");
    assert!(moved.text().is_empty() && moved.stderr.contains("not yet removed where it was"), "{moved}");
    tool.run(&["move", "work", "to", "--all"]).expect_code(0);
    assert_eq!((from.bodies("INBOX").len(), to.bodies("INBOX").len()), (0, 6));
}

#[test]
fn what_else_went_wrong_is_named_beside_a_refusal() {
    let (tool, _server) = server(Behaviour::default().fault("UID COPY", 1, CommandFault::Refuse("NO [CANNOT] not now".to_owned())));
    let deleted = tool.run(&["delete", "work", "1", "99"]).expect_code(6).expect_stderr("not now");
    assert!(deleted.stderr.contains("99: there is no such message"), "{deleted}");
}

#[test]
fn a_dry_run_of_every_verb_that_changes_mail_opens_nothing_to_change_it() {
    let (tool, server) = server(Behaviour::default().with("MOVE"));
    let maildrop = Pop3d::start(pop3d::Behaviour::default(), &mail::many(3, 100));
    let other = Imapd::start(Behaviour::default());
    other.fill("INBOX", &mail::many(2, 90));
    tool.server("drop", None, Some(&maildrop.url())).server("other", Some(&other.url()), None);
    let maildir = tool.path("maildir");
    for half in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(maildir.join(half)).unwrap();
    }
    std::fs::write(maildir.join("cur/1.a.b:2,"), mail::plain(3, 100)).unwrap();
    std::fs::write(tool.path("one.eml"), mail::plain(4, 100)).unwrap();
    let (local, file) = (format!("maildir:{}", maildir.display()), tool.path("one.eml").display().to_string());
    let mbox = format!("mbox:{}", tool.path("new.mbox").display());
    let (before, there) = (all(&server), other.bodies("INBOX"));
    let commands: Vec<Vec<&str>> = vec![
        vec!["flag", "work", "--all", "--add", "seen"],
        vec!["flag", &local, "--all", "--add", "seen"],
        vec!["delete", "work", "--all"],
        vec!["delete", "work", "--all", "--permanently"],
        vec!["delete", "drop", "--all"],
        vec!["delete", &local, "--all", "--permanently"],
        vec!["move", "work", "work/Archive", "--all"],
        vec!["copy", "work", "work/Archive", "--all"],
        vec!["move", "work", "work/New", "--all", "--create"],
        vec!["move", "work", "other", "--all"],
        vec!["copy", "work", "other/New", "--all", "--create"],
        vec!["move", "drop", "other", "--all"],
        vec!["move", &local, "other", "--all"],
        vec!["move", "work", &local, "--all"],
        vec!["copy", "work", &mbox, "--all"],
        vec!["upload", &file, "work"],
        vec!["upload", &file, "work/New", "--create", "--once"],
        vec!["folders", "create", "work/New"],
        vec!["folders", "rename", "work/Archive", "Old"],
        vec!["folders", "delete", "work/Archive", "--force"],
        vec!["folders", "subscribe", "work/Archive"],
        vec!["folders", "unsubscribe", "work/Archive"],
        vec!["migrate", "drop", "work"],
        vec!["migrate", "other", "work"],
    ];
    for mut command in commands {
        command.push("--dry-run");
        let before = server.log().len();
        let output = tool.run(&command);
        assert!([0, 3].contains(&output.code), "{output}");
        assert!(!server.log().split_off(before).iter().any(|line| line.contains(" SELECT ")), "{output}");
    }
    maildrop.wait_until_quiet();
    assert_eq!((all(&server), other.bodies("INBOX"), maildrop.bodies().len()), (before, there, 3));
    let reading =
        ["AUTHENTICATE", "LOGIN", "CAPABILITY", "ID", "NAMESPACE", "LIST", "LSUB", "EXAMINE", "STATUS", "SEARCH", "FETCH", "LOGOUT"];
    let reading = [&reading[..], &["NOOP", "CAPA", "USER", "PASS", "AUTH", "STAT", "UIDL", "TOP", "RETR", "QUIT", "ENABLE"]].concat();
    for line in server.log().into_iter().chain(other.log()).chain(maildrop.log()) {
        let verb = line.split(' ').skip(1).find(|word| *word != "UID").unwrap_or_default();
        assert!(reading.contains(&verb), "{line}");
    }
    let files: Vec<_> = std::fs::read_dir(maildir.join("cur")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((files, tool.path("new.mbox").exists()), (vec!["1.a.b:2,".into()], false));
    assert!(std::fs::read_dir(tool.state_dir()).map_or(0, Iterator::count) == 0, "a dry run keeps no record");
}

/// A disk that takes no more than so many octets of a file, whichever file that is: what was begun is made good by the next run.
#[test]
fn a_full_disk_at_the_journal_loses_and_doubles_nothing() {
    let limits: Vec<u64> = (0..40).map(|step| step * 4).collect();
    in_parallel(&limits, |&kib| {
        let (tool, server) = server(Behaviour::default());
        let to = Imapd::start(Behaviour::default());
        tool.server("to", Some(&to.url()), None);
        let before = multiset(&all(&server));
        let limit = format!("--fsize={}", kib * 1024);
        for command in [["move", "work", "work/Archive", "1:3"], ["move", "work", "to", "4:6"]] {
            let first = tool.run_under(&["prlimit", &limit, "--"], &command);
            assert!([0, 7, -25].contains(&first.code), "{kib} KiB: {first}");
            server.wait_until_quiet();
            tool.run(&command).expect_code(0);
        }
        let together: Vec<Vec<u8>> = all(&server).into_iter().chain(to.bodies("INBOX")).collect();
        assert_eq!(multiset(&together), before, "{kib} KiB");
        assert_eq!((server.bodies("INBOX").len(), to.bodies("INBOX").len()), (0, 3), "{kib} KiB");
    });
}

/// `migrate`, `upload --once` and moves inside the destination share its journal: killed at random, in any order, each message of
/// both sources is there in the end, and those that have no twins once.
#[test]
fn verbs_that_share_a_journal_do_not_mistake_each_others_copies() {
    let seeds: Vec<u64> = (0..if full() { 300 } else { 16 }).collect();
    in_parallel(&seeds, |&seed| {
        let mut random = mail::Random::new(seed + 77);
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let behaviour = Behaviour { clock: Some(clock.clone()), ..Behaviour::default() };
        let behaviour = if seed % 2 == 0 { behaviour } else { behaviour.without(&["UIDPLUS"]) };
        let server = Imapd::start(behaviour.with(if seed % 4 < 2 { "X-NOTHING" } else { "MOVE" }));
        server.fill("Archive", &[]);
        let from = Imapd::start(Behaviour { clock: Some(clock), ..Behaviour::default() });
        let twins = seed % 3 == 0;
        let bodies = if twins { [1, 2, 2, 3] } else { [1, 2, 5, 3] }.map(|number| mail::plain(number, 150));
        from.fill("INBOX", &bodies);
        let files = if twins { [2, 2, 3, 4] } else { [6, 7, 8, 4] }.map(|number| mail::plain(number, 150));
        let names: Vec<String> = files
            .iter()
            .enumerate()
            .map(|(number, body)| {
                let path = tool.path(&format!("{number}.eml"));
                std::fs::write(&path, body).unwrap();
                path.display().to_string()
            })
            .collect();
        tool.server("to", Some(&server.url()), None).server("from", Some(&from.url()), None);
        let mut upload: Vec<&str> = vec!["upload", "--once"];
        upload.extend(names.iter().map(String::as_str));
        upload.push("to");
        let commands = [vec!["migrate", "from", "to"], upload, vec!["move", "to", "to/Archive", "--all"]];
        let mut told = String::new();
        for _ in 0..6 {
            let command = &commands[random.below(3)];
            let step = (1 + random.below(60)).to_string();
            tool.set_env("MAILHAUL_TEST_CRASH", &step);
            let output = tool.run(command);
            tool.unset_env("MAILHAUL_TEST_CRASH");
            server.wait_until_quiet();
            told.push_str(&format!("at {step}: {output}\n"));
        }
        for command in &commands[..2] {
            let output = tool.run(command);
            told.push_str(&format!("{output}\n"));
            assert_eq!(output.code, 0, "seed {seed}: {told}");
        }
        let moved = tool.run(&commands[2]);
        told.push_str(&format!("{moved}\n"));
        // Without UIDPLUS what is marked counts as gone.
        let left = |folder: &str| -> Vec<Vec<u8>> {
            let messages = server.mailbox(folder).messages.into_iter();
            messages.filter(|message| !message.flags.iter().any(|flag| flag == "\\Deleted")).map(|message| message.body).collect()
        };
        let there: Vec<Vec<u8>> = ["INBOX", "Archive"].iter().flat_map(|folder| left(folder)).collect();
        let all: Vec<Vec<u8>> = bodies.iter().chain(&files).cloned().collect();
        let (there, all) = (multiset(&there), multiset(&all));
        let name = format!("seed {seed}: {told}\n{}", server.log().join("\n"));
        // Where twins of both sources move about, nothing tells one that was done from one that arrived; then better one too many.
        assert!(all.iter().all(|(digest, count)| there.get(digest).is_some_and(|found| found >= count)), "{name}");
        assert!(twins || there == all, "{name}");
    });
}
