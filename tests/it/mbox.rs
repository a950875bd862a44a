//! mbox files as places: read by every verb that reads, written by `fetch`, whole whatever happens meanwhile.

use std::fs;

use crate::dovecot_user;
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail::{self, assert_same_mail};
use crate::support::tool::Tool;

/// Reads an mboxrd file the plain way: an oracle for what the program wrote. Messages come with LF.
fn read_mboxrd(file: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for line in file.split_inclusive(|&byte| byte == b'\n') {
        let bare = &line[line.iter().take_while(|&&byte| byte == b'>').count()..];
        if line.starts_with(b"From ") {
            messages.push(Vec::new());
        } else {
            let line = if bare.starts_with(b"From ") { &line[1..] } else { line };
            messages.last_mut().expect("an envelope line first").extend(line);
        }
    }
    for message in &mut messages {
        assert_eq!(message.pop(), Some(b'\n'), "a blank line behind each message");
    }
    messages
}

fn with_lf(body: &[u8]) -> Vec<u8> {
    String::from_utf8(body.to_vec()).unwrap().replace("\r\n", "\n").into_bytes()
}

#[test]
fn fetched_mail_is_an_mbox_that_other_programs_read() {
    let from = dovecot_user!("mbox-fetch");
    let mut bodies = mail::many(20, 300);
    bodies.push(b"Subject: x\r\n\r\nFrom here\r\n>From there\r\nContent-Length: 3\r\n".to_vec());
    from.deliver("INBOX", &bodies);
    let tool = Tool::new();
    tool.account("from", &from);
    let summary = tool.run(&["fetch", "from", "--to", "mbox:out.mbox", "--json"]).expect_code(0).json();
    assert_eq!(summary["copied"], bodies.len());
    let file = fs::read(tool.path("out.mbox")).unwrap();
    assert_eq!(read_mboxrd(&file), bodies.iter().map(|body| with_lf(body)).collect::<Vec<_>>());
    // Again: nothing twice, and only what is new.
    from.deliver("INBOX", &[mail::plain(99, 100)]);
    let summary = tool.run(&["fetch", "from", "--to", "mbox:out.mbox", "--json"]).expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["already_there"]), (&1.into(), &bodies.len().into()));
    assert!(fs::read(tool.path("out.mbox")).unwrap().starts_with(&file));
    let list = tool.run(&["list", "mbox:out.mbox", "--json"]).expect_code(0).json();
    assert_eq!(list["messages"].as_array().unwrap().len(), bodies.len() + 1);
    let one = tool.run(&["fetch", "mbox:out.mbox", "21"]).expect_code(0);
    assert_eq!(one.stdout, bodies[20]);
    let one = tool.run_with_input(&["fetch", "-", "2"], &file).expect_code(0);
    assert_eq!(one.stdout, bodies[1], "the stream on standard input is a place too");
    let left: Vec<_> = fs::read_dir(tool.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["out.mbox"], "no lock and no note is left");
}

#[test]
fn a_tree_of_mbox_files_migrates_with_its_folders() {
    let to = dovecot_user!("mbox-migrate");
    let tool = Tool::new();
    tool.account("to", &to);
    let bodies = mail::many(6, 200);
    let mbox = |body: &[u8]| [b"From a Thu Jan  1 12:00:00 2004\n", with_lf(body).as_slice(), b"\n"].concat();
    for dir in ["m/Archive", "m/Old.sbd", "m/Apple.mbox"] {
        fs::create_dir_all(tool.path(dir)).unwrap();
    }
    for (name, body) in ["INBOX", "Archive.mbox", "Archive/2024.mbox", "Old", "Old.sbd/sub", "Apple.mbox/mbox"].iter().zip(&bodies) {
        fs::write(tool.path("m").join(name), mbox(body)).unwrap();
    }
    fs::write(tool.path("m/Old.msf"), b"index").unwrap();
    fs::write(tool.path("m/notes.txt"), b"no mail").unwrap();
    let summary = tool.run(&["migrate", "mbox:m", "to", "--json"]).expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["altered"]), (&6.into(), &0.into()), "{summary}");
    for (folder, body) in ["INBOX", "Archive", "Archive/2024", "Old", "Old/sub", "Apple"].iter().zip(&bodies) {
        assert_eq!(to.bodies(folder), std::slice::from_ref(body), "{folder}");
    }
    assert_eq!(tool.run(&["migrate", "mbox:m", "to", "--json"]).expect_code(0).json()["copied"], 0);
    // A folder is named behind two slashes.
    assert_eq!(tool.run(&["fetch", "mbox:m//Archive/2024", "1"]).expect_code(0).stdout, bodies[2]);
    // A file that should be an mbox and is none is named, and the others go on.
    fs::write(tool.path("m/Broken.mbox"), b"\0\0\0\0").unwrap();
    let output = tool.run(&["migrate", "mbox:m", "to"]).expect_code(3);
    assert!(output.stderr.contains("Broken") && output.stderr.contains("not an mbox file"), "{output}");
}

#[test]
fn standard_input_migrates_once() {
    let to = dovecot_user!("mbox-stdin");
    let tool = Tool::new();
    tool.account("to", &to);
    let bodies = mail::many(3, 200);
    let stream: Vec<u8> =
        bodies.iter().flat_map(|body| [b"From a Thu Jan  1 12:00:00 2004\n", with_lf(body).as_slice(), b"\n"].concat()).collect();
    for copied in [3, 0] {
        let summary = tool.run_with_input(&["migrate", "-", "to/In", "--json"], &stream).expect_code(0).json();
        assert_eq!(summary["copied"], copied);
    }
    assert_eq!(to.bodies("In"), bodies);
}

#[test]
fn a_run_killed_while_it_adds_leaves_whole_messages_only() {
    let bodies: Vec<Vec<u8>> = mail::many(6, 70_000);
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &bodies);
    let before = b"From a Thu Jan  1 12:00:00 2004\nSubject: first\n\nfirst, without an empty line behind\n".to_vec();
    let run = |crash: Option<String>, tool: &mut Tool| {
        match crash {
            Some(crash) => tool.set_env("MAILHAUL_TEST_CRASH", crash),
            None => tool.unset_env("MAILHAUL_TEST_CRASH"),
        };
        tool.run(&["fetch", "from", "--to", "mbox:out"])
    };
    let fresh = || {
        let tool = Tool::new();
        tool.server("from", Some(&server.url()), None);
        fs::write(tool.path("out"), &before).unwrap();
        tool
    };
    let mut tool = fresh();
    let file = tool.path("steps");
    run(Some(format!("count:{}", file.display())), &mut tool).expect_code(0);
    let steps: Vec<String> = fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    assert!(steps.iter().filter(|step| *step == "mbox.appending").count() >= 6, "{steps:?}");
    for (number, step) in (1..).zip(&steps).filter(|(_, step)| step.starts_with("mbox")) {
        let mut tool = fresh();
        let first = run(Some(number.to_string()), &mut tool);
        assert_ne!(first.code, 0, "{step}");
        tool.unset_env("MAILHAUL_TEST_CRASH");
        // Whoever looks before anything was mended sees no half message.
        let seen = tool.run(&["list", "mbox:out", "--json"]).expect_code(0).json();
        let seen = seen["messages"].as_array().unwrap().len();
        assert!(seen == 1 || seen == 7, "{step}: {seen}");
        run(None, &mut tool).expect_code(0);
        let there = read_mboxrd(&fs::read(tool.path("out")).unwrap());
        assert!(there[0].starts_with(b"Subject: first"));
        assert_eq!(there[1..], bodies.iter().map(|body| with_lf(body)).collect::<Vec<_>>(), "{step}");
    }
}

#[test]
fn a_file_changed_by_others_after_a_cut_off_append_is_left_alone() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(3, 70_000));
    let mut tool = Tool::new();
    tool.server("from", Some(&server.url()), None);
    let file = tool.path("steps");
    tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
    tool.run(&["fetch", "from", "--to", "mbox:whole"]).expect_code(0);
    let at = fs::read_to_string(&file).unwrap().lines().position(|step| step == "mbox.appending").unwrap() + 1;
    tool.set_env("MAILHAUL_TEST_CRASH", at.to_string());
    assert_ne!(tool.run(&["fetch", "from", "--to", "mbox:out"]).code, 0);
    tool.unset_env("MAILHAUL_TEST_CRASH");
    let torn = fs::read(tool.path("out")).unwrap();
    assert!(!torn.is_empty());
    let changed = [torn.as_slice(), b"\nFrom a Thu Jan  1 12:00:00 2004\nSubject: from elsewhere\n\nx\n\n"].concat();
    fs::write(tool.path("out"), &changed).unwrap();
    tool.run(&["fetch", "from", "--to", "mbox:out"]).expect_code(7).expect_stderr("cut off");
    assert_eq!(fs::read(tool.path("out")).unwrap(), changed);
}

#[test]
fn a_locked_file_is_waited_for_and_a_dead_programs_lock_is_none() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &mail::many(1, 100));
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("from", Some(&server.url()), None);
    fs::write(tool.path("out.lock"), std::process::id().to_string()).unwrap();
    tool.run(&["fetch", "from", "--to", "mbox:out"]).expect_code(5).expect_stderr("locked by another program");
    assert!(tool.path("out.lock").exists());
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    fs::write(tool.path("out.lock"), dead.to_string()).unwrap();
    tool.run(&["fetch", "from", "--to", "mbox:out"]).expect_code(0);
    assert!(!tool.path("out.lock").exists());
    // What is no mbox is not added to.
    fs::write(tool.path("other"), b"a letter\n").unwrap();
    tool.run(&["fetch", "from", "--to", "mbox:other"]).expect_code(2).expect_stderr("no mbox");
    assert_eq!(fs::read(tool.path("other")).unwrap(), b"a letter\n");
}

#[test]
fn hostile_names_stay_in_the_tree_and_links_are_not_followed() {
    let to = Imapd::start(Behaviour::default());
    let tool = Tool::new();
    tool.server("to", Some(&to.url()), None);
    let mbox = |number| [b"From a Thu Jan  1 12:00:00 2004\n", with_lf(&mail::plain(number, 100)).as_slice(), b"\n"].concat();
    fs::create_dir_all(tool.path("m")).unwrap();
    fs::write(tool.path("secret"), mbox(0)).unwrap();
    std::os::unix::fs::symlink(tool.path("secret"), tool.path("m/link")).unwrap();
    std::os::unix::fs::symlink(tool.path(""), tool.path("m/up")).unwrap();
    let names = ["%2E%2E%2Fx", "\u{1b}[2Jx", "a\nb", "INBOX", "inbox", "x", "x.mbox", ".hidden", "&AC8-", "%", "世界"];
    let mut bodies = Vec::new();
    for (number, name) in (1..).zip(names) {
        fs::write(tool.path("m").join(name), mbox(number)).unwrap();
        if !name.starts_with('.') {
            bodies.push(mail::plain(number, 100));
        }
    }
    let output = tool.run(&["migrate", "mbox:m", "to"]).expect_code(3);
    assert!(!output.stderr.contains('\u{1b}'), "{output}");
    // Names that this server cannot carry (controls, its delimiter) are told, each as a problem of its own; everything else is there once.
    let there: Vec<Vec<u8>> = to.folders().iter().flat_map(|folder| to.bodies(folder)).collect();
    let missing = bodies.iter().filter(|body| !there.contains(body)).count();
    assert_eq!(there.len() + missing, bodies.len());
    assert_eq!(missing, 3, "{output}");
    assert_same_mail(&there, bodies.iter().filter(|body| there.contains(body)));
}
