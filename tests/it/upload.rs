//! `upload` into a real Dovecot and into servers that misbehave: every kind of file, each byte as it was, each time or once.

use std::fs;

use crate::dovecot_user;
use crate::support::dovecot::User;
use crate::support::imapd::{AppendFault, Behaviour, Imapd};
use crate::support::mail::{self, assert_same_mail};
use crate::support::tool::Tool;

fn tool(to: &User) -> Tool {
    let tool = Tool::new();
    tool.account("to", to);
    tool
}

fn into(server: &Imapd) -> Tool {
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("to", Some(&server.url()), None);
    tool
}

/// Messages as an mbox file of another program would hold them.
fn mboxo(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for body in bodies {
        file.extend(b"From ann@example.org Thu Jan  1 12:00:00 2004\n");
        let text = String::from_utf8(body.clone()).unwrap().replace("\r\n", "\n").replace("\nFrom ", "\n>From ");
        file.extend(text.as_bytes());
        file.extend(b"\n");
    }
    file
}

#[test]
fn each_kind_of_file_arrives_byte_for_byte() {
    let to = dovecot_user!("upload-kinds");
    let tool = tool(&to);
    let bodies = mail::many(8, 300);
    fs::write(tool.path("one.eml"), &bodies[0]).unwrap();
    fs::write(tool.path("odd name.txt"), &bodies[1]).unwrap();
    fs::write(tool.path("two.mbox"), mboxo(&bodies[2..4])).unwrap();
    for half in ["new", "cur", "tmp"] {
        fs::create_dir_all(tool.path("md").join(half)).unwrap();
    }
    fs::write(tool.path("md/cur/1.a.h:2,FS"), &bodies[4]).unwrap();
    fs::write(tool.path("md/new/2.a.h"), &bodies[5]).unwrap();
    fs::create_dir(tool.path("emls")).unwrap();
    fs::write(tool.path("emls/x.eml"), &bodies[6]).unwrap();
    let args = ["upload", "one.eml", "odd name.txt", "two.mbox", "md", "emls", "-", "to", "--json"];
    let summary = tool.run_with_input(&args, &bodies[7]).expect_code(0).json();
    assert_eq!((&summary["schema"], &summary["copied"]), (&"mailhaul.upload/1".into(), &8.into()));
    assert_eq!((&summary["balanced"], &summary["altered"]), (&true.into(), &0.into()));
    assert_eq!(to.bodies("INBOX"), bodies);
    let there = to.messages("INBOX");
    assert_eq!(there[2].internal_date, 1_072_958_400, "the envelope line's date");
    let mut flags = there[4].flags.clone();
    flags.sort();
    assert_eq!(flags, ["\\Flagged", "\\Seen"]);
    assert!(there[0].flags.is_empty());
}

#[test]
fn what_append_carries_arrives_unchanged_and_the_rest_is_named() {
    let to = dovecot_user!("upload-nasty");
    let tool = tool(&to);
    let mut args = vec!["upload".to_owned()];
    let mut bodies = Vec::new();
    for (name, body) in mail::nasty() {
        if body.is_empty() {
            continue;
        }
        fs::write(tool.path(&format!("{name}.eml")), &body).unwrap();
        args.push(format!("eml:{name}.eml"));
        bodies.push(body);
    }
    for (number, (_, body)) in mail::corpus().into_iter().filter(|(_, body)| !body.is_empty()).enumerate() {
        fs::write(tool.path(&format!("corpus{number}.eml")), &body).unwrap();
        args.push(format!("eml:corpus{number}.eml"));
        bodies.push(body);
    }
    args.extend(["to".to_owned(), "--json".to_owned()]);
    let summary = tool.run(&args).expect_code(0).json();
    let there = to.bodies("INBOX");
    assert_same_mail(&bodies, &there);
    let unchanged = bodies.iter().filter(|body| mail::is_appendable(body)).count();
    assert!(bodies.iter().filter(|body| mail::is_appendable(body)).all(|body| there.contains(body)));
    assert_eq!(summary["altered"], bodies.len() - unchanged);
    let altered = summary["altered_messages"].to_string();
    assert!(altered.contains("bare-lf.eml") && altered.contains("bare line feeds became CRLF"), "{altered}");
}

#[test]
fn a_round_trip_through_an_mbox_file_gives_the_same_bytes() {
    let (from, to) = (dovecot_user!("upload-mbox-from"), dovecot_user!("upload-mbox-to"));
    let tool = Tool::new();
    tool.account("from", &from).account("to", &to);
    let mut bodies: Vec<Vec<u8>> = mail::nasty_for_append();
    bodies.extend(mail::corpus().into_iter().map(|(_, body)| body).filter(|body| mail::is_appendable(body)));
    bodies.push(mail::huge());
    bodies.extend(vec![mail::plain(7, 100); 3]);
    from.deliver("INBOX", &bodies);
    let shown = from.bodies("INBOX");
    tool.run(&["fetch", "from", "--to", "all.mbox", "--format", "mbox"]).expect_code(0);
    tool.run(&["fetch", "from", "--to", "mbox:all.mbox"]).expect_code(0);
    let summary = tool.run(&["upload", "all.mbox", "to", "--json"]).expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["altered"]), (&shown.len().into(), &0.into()), "{summary}");
    assert_eq!(to.bodies("INBOX"), shown);
    let dates = |user: &User| user.messages("INBOX").iter().map(|message| message.internal_date).collect::<Vec<_>>();
    assert_eq!(dates(&from), dates(&to));
}

#[test]
fn flags_dates_and_the_folder_are_as_asked_for() {
    let to = dovecot_user!("upload-options");
    let tool = tool(&to);
    fs::write(tool.path("a.eml"), b"Date: Thu, 01 Jan 2004 12:00:00 +0000\r\nSubject: x\r\n\r\nx\r\n").unwrap();
    let output = tool.run(&["upload", "a.eml", "to/New/Folder"]).expect_code(2);
    assert!(output.stderr.contains("there is no folder New/Folder") && output.stderr.contains("--create"), "{output}");
    assert!(!to.folders().iter().any(|folder| folder.starts_with("New")));
    tool.run(&["upload", "a.eml", "to/New/Folder", "--create", "--flag", "seen,flagged", "--flag", "$Work"]).expect_code(0);
    tool.run(&["upload", "a.eml", "to/New/Folder", "--date", "2010-02-03T04:05:06+01:00"]).expect_code(0);
    tool.run(&["upload", "a.eml", "to/New/Folder", "--date", "now"]).expect_code(0);
    let there = to.messages("New/Folder");
    let mut flags = there[0].flags.clone();
    flags.sort();
    assert_eq!(flags, ["$Work", "\\Flagged", "\\Seen"]);
    assert_eq!((there[0].internal_date, there[1].internal_date), (1_072_958_400, 1_265_166_306));
    assert!(there[2].internal_date > 1_700_000_000);
}

#[test]
fn wrong_inputs_are_told_before_anything_is_sent() {
    let to = dovecot_user!("upload-wrong");
    let tool = tool(&to);
    fs::write(tool.path("a.eml"), mail::plain(1, 100)).unwrap();
    fs::write(tool.path("empty.eml"), b"").unwrap();
    fs::create_dir(tool.path("nothing")).unwrap();
    for (args, words) in [
        (&["upload", "a.eml", "none.eml", "to"][..], "none.eml: no such file"),
        (&["upload", "a.eml", "empty.eml", "to"], "empty.eml: it is empty"),
        (&["upload", "a.eml", "nothing", "to"], "neither a Maildir nor"),
        (&["upload", "a.eml", "maildir:nowhere", "to"], "nowhere: no such file"),
        (&["upload", "a.eml", "mbox:a.eml//x", "to"], "there is no folder x"),
        (&["upload", "a.eml", "to:pop3"], "POP3 cannot take mail"),
        (&["upload", "a.eml", "maildir:x"], "upload puts mail into IMAP accounts"),
        (&["upload", "to"], "FILE"),
        (&["upload", "a.eml", "to", "--flag", "a b"], "no flag"),
        (&["upload", "a.eml", "to", "--date", "someday"], "expected header"),
        (&["upload", "-", "a.eml", "to"], "standard input: it is empty"),
    ] {
        tool.run(args).expect_code(2).expect_stderr(words);
    }
    assert!(to.bodies("INBOX").is_empty());
}

#[test]
fn a_dry_run_names_each_message_and_sends_none() {
    let to = dovecot_user!("upload-dry");
    let tool = tool(&to);
    fs::write(tool.path("a.eml"), mail::plain(1, 100)).unwrap();
    fs::write(tool.path("b.mbox"), mboxo(&mail::many(2, 100))).unwrap();
    let plan = tool.run(&["upload", "a.eml", "b.mbox", "to", "--dry-run", "--json"]).expect_code(0).json();
    let rows: Vec<(String, u64)> = plan["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["folder"].as_str().unwrap().to_owned(), row["uid"].as_u64().unwrap()))
        .collect();
    assert_eq!(rows, [("a.eml".to_owned(), 1), ("b.mbox".to_owned(), 1), ("b.mbox".to_owned(), 2)]);
    assert_eq!(tool.run(&["upload", "a.eml", "b.mbox", "to", "--dry-run"]).expect_code(0).text().lines().count(), 3);
    tool.run(&["upload", "a.eml", "to/Nowhere", "--dry-run"]).expect_code(2).expect_stderr("--create");
    assert!(to.bodies("INBOX").is_empty());
}

#[test]
fn what_is_named_is_sent_each_time_and_with_once_one_time() {
    let to = dovecot_user!("upload-once");
    let tool = tool(&to);
    for (name, number) in [("a.eml", 1), ("b.eml", 2), ("twin.eml", 1)] {
        fs::write(tool.path(name), mail::plain(number, 100)).unwrap();
    }
    for _ in 0..2 {
        tool.run(&["upload", "a.eml", "to"]).expect_code(0);
    }
    assert_eq!(to.bodies("INBOX").len(), 2);
    to.create("Once");
    let once = |args: &[&str]| {
        let args: Vec<&str> = ["upload"].iter().chain(args).chain(&["to/Once", "--once", "--json"]).copied().collect();
        let summary = tool.run(&args).expect_code(0).json();
        (summary["copied"].as_u64().unwrap(), summary["already_there"].as_u64().unwrap())
    };
    assert_eq!(once(&["a.eml", "b.eml"]), (2, 0));
    assert_eq!(once(&["a.eml", "b.eml"]), (0, 2));
    // Another file with the same content: one more of it at the same time, but none for it alone.
    assert_eq!(once(&["twin.eml"]), (0, 1));
    assert_eq!(once(&["twin.eml", "a.eml"]), (1, 1));
    assert_same_mail(&[mail::plain(1, 100), mail::plain(1, 100), mail::plain(2, 100)], &to.bodies("Once"));
}

#[test]
fn a_refused_message_is_named_by_its_file_and_the_others_go_on() {
    let refuse = vec![(b"poison".to_vec(), "NO [CANNOT] not this one".to_owned())];
    let server = Imapd::start(Behaviour { refuse, ..Behaviour::default() });
    let tool = into(&server);
    let poison = b"Subject: x\r\n\r\npoison\r\n".to_vec();
    fs::write(tool.path("bad.eml"), &poison).unwrap();
    let good = mail::many(3, 100);
    fs::write(tool.path("all.mbox"), mboxo(&[good[0].clone(), poison, good[1].clone(), good[2].clone()])).unwrap();
    let output = tool.run(&["upload", "all.mbox", "bad.eml", "to", "--json"]).expect_code(3);
    assert!(
        output.stderr.contains("bad.eml: ") && output.stderr.contains("all.mbox 2: ") && output.stderr.contains("not this one"),
        "{output}"
    );
    let summary = output.json();
    assert_eq!((&summary["copied"], &summary["refused"], &summary["balanced"]), (&3.into(), &2.into(), &true.into()));
    assert_same_mail(&good, &server.bodies("INBOX"));
    let next = server.appends() + 1;
    server.behave(|behaviour| {
        behaviour.refuse.clear();
        behaviour.appends.insert(next, AppendFault::No("[OVERQUOTA] full".to_owned()));
    });
    tool.run(&["upload", "bad.eml", "to"]).expect_code(11).expect_stderr("full");
}

#[test]
fn a_lost_answer_is_looked_for_in_the_same_run_even_without_a_journal() {
    for fault in [AppendFault::HangUpAfterStoring, AppendFault::HangUpBeforeStoring] {
        let server = Imapd::start(Behaviour::default().append_fault(1, fault));
        // What is there already is no proof: it is another copy of the same message.
        let bodies = mail::many(3, 100);
        server.fill("INBOX", &bodies[..1]);
        let tool = into(&server);
        fs::write(tool.path("all.mbox"), mboxo(&bodies)).unwrap();
        let summary = tool.run(&["upload", "all.mbox", "to", "--json"]).expect_code(0).json();
        assert_eq!(summary["copied"], 3, "{summary}");
        assert_same_mail(&[bodies[..1].to_vec(), bodies].concat(), &server.bodies("INBOX"));
    }
}

#[test]
fn once_holds_wherever_a_run_is_killed() {
    let steps = {
        let server = Imapd::start(Behaviour::default());
        let mut tool = into(&server);
        fs::write(tool.path("all.mbox"), mboxo(&mail::many(4, 100))).unwrap();
        let file = tool.path("steps");
        tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
        tool.run(&["upload", "--once", "all.mbox", "to"]).expect_code(0);
        fs::read_to_string(file).unwrap().lines().count() as u64
    };
    assert!(steps > 10, "{steps}");
    let twin = mail::plain(1, 100);
    let bodies = [twin.clone(), mail::plain(2, 100), twin, mail::plain(3, 100)];
    for step in 1..=steps {
        let server = Imapd::start(Behaviour::default());
        let mut tool = into(&server);
        fs::write(tool.path("all.mbox"), mboxo(&bodies)).unwrap();
        tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let first = tool.run(&["upload", "--once", "all.mbox", "to"]);
        assert!(first.code != 0 || step + 3 > steps, "{step}: {first}");
        tool.unset_env("MAILHAUL_TEST_CRASH");
        server.wait_until_quiet();
        let second = tool.run(&["upload", "--once", "all.mbox", "to", "--json"]).expect_code(0).json();
        assert_eq!(second["balanced"], true, "killed at {step}: {second}");
        assert_same_mail(&bodies, &server.bodies("INBOX"));
    }
}

#[test]
fn standard_input_may_be_an_mbox_and_hostile_file_names_are_shown_harmless() {
    let to = dovecot_user!("upload-stdin");
    let tool = tool(&to);
    let bodies = mail::many(3, 100);
    tool.run_with_input(&["upload", "-", "to"], &mboxo(&bodies)).expect_code(0);
    assert_eq!(to.bodies("INBOX"), bodies);
    for name in ["\u{1b}[2J.eml", "-x.eml", "$(id).eml", "a\nb.eml", "\u{202e}x.eml", "to", "x'\".eml"] {
        fs::write(tool.path(name), mail::plain(9, 100)).unwrap();
        let named = format!("./{name}");
        for args in [vec!["upload", &named, "to"], vec!["upload", &named, "to", "--dry-run", "-o", "table"]] {
            let output = tool.run(&args).expect_code(0);
            let shown = format!("{}{}", output.text(), output.stderr);
            assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
        }
    }
    assert_eq!(to.bodies("INBOX").len(), bodies.len() + 7);
}
