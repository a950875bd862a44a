//! `fetch`: the bytes of messages, to standard output and into files, as an independent client sees them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::imapd::{self, Imapd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};
use crate::support::{canary, mail, tls};

fn arguments(tool: &Tool, args: &[&str]) -> Vec<String> {
    let (password, ca) = (tool.password_file(), tls::identity().ca_file());
    let fixed = ["fetch", "--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()];
    fixed.iter().chain(args).map(|arg| (*arg).to_owned()).collect()
}

/// Runs `fetch` with what every server of these tests needs.
fn fetch(tool: &Tool, args: &[&str]) -> Output {
    tool.run(&arguments(tool, args))
}

/// File name → content, of a directory and nothing below.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

/// What a client of the plainest sort gets for RETR: every octet up to the line that holds but a dot, unstuffed.
fn retr_all(user: &User) -> Vec<Vec<u8>> {
    let stream = TcpStream::connect(("127.0.0.1", user.dovecot().ports().pop3s)).unwrap();
    let mut stream = BufReader::new(tls::identity().connector().connect("localhost", stream).unwrap());
    let line = |stream: &mut BufReader<native_tls::TlsStream<TcpStream>>| {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).unwrap();
        line
    };
    let mut command = |text: &str| {
        if !text.is_empty() {
            stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).unwrap();
        }
        let status = line(&mut stream);
        if !status.starts_with(b"+OK") {
            return None;
        }
        let mut body = Vec::new();
        while text.starts_with("RETR") {
            let line = line(&mut stream);
            if line == b".\r\n" {
                break;
            }
            body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        Some(body)
    };
    command("").unwrap();
    command(&format!("USER {}", user.name())).unwrap();
    command(&format!("PASS {}", canary())).unwrap();
    (1..).map_while(|number| command(&format!("RETR {number}"))).collect()
}

#[test]
fn every_nasty_message_goes_to_standard_output_as_an_independent_client_sees_it() {
    let user = dovecot_user!("fetch-stdout");
    let nasty = mail::nasty();
    user.deliver("INBOX", &nasty.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>());
    let tool = Tool::new();
    let over_imap = user.messages("INBOX");
    assert_eq!(over_imap.len(), nasty.len());
    for ((name, _), seen) in nasty.iter().zip(&over_imap) {
        let output = fetch(&tool, &[&user.imaps(), &seen.uid.to_string()]).expect_code(0);
        assert!(output.stdout == seen.body && output.stderr.is_empty(), "{name} over IMAP: {output}");
    }
    assert_eq!(fetch(&tool, &[&user.imap(), "--limit", "1"]).expect_code(0).stdout, over_imap.last().unwrap().body);
    assert!(user.messages("INBOX").iter().all(|message| message.flags.is_empty()), "nothing was marked as read");

    // Dovecot itself marks as read what POP3 gives.
    let over_pop3 = retr_all(&user);
    assert_eq!(over_pop3.len(), nasty.len());
    for (index, (name, _)) in nasty.iter().enumerate() {
        let output = fetch(&tool, &[&user.pop3s(), "--uid", &(index + 1).to_string()]).expect_code(0);
        assert!(output.stdout == over_pop3[index] && output.stderr.is_empty(), "{name} over POP3: {output}");
    }
    assert_eq!(fetch(&tool, &[&user.pop3(), "--limit", "1", "--to", "-"]).expect_code(0).stdout, *over_pop3.last().unwrap());
}

#[test]
fn eml_files_hold_the_bytes_under_their_uids_and_a_second_run_finds_them_there() {
    let user = dovecot_user!("fetch-eml");
    user.deliver("Höhe/Tief", &mail::nasty().into_iter().map(|(_, body)| body).collect::<Vec<_>>());
    let messages = user.messages("Höhe/Tief");
    let expected: BTreeMap<String, Vec<u8>> =
        messages.iter().map(|message| (format!("{:06}.eml", message.uid), message.body.clone())).collect();
    let tool = Tool::new();
    let place = format!("{}/Höhe/Tief", user.imaps());
    let run = || fetch(&tool, &[&place, "--to", "mails", "-o", "json"]).expect_code(0).json();
    let summary = run();
    assert!(files(&tool.path("mails")) == expected);
    let count = messages.len();
    assert_eq!(
        (&summary["schema"], &summary["listed"], &summary["copied"]),
        (&Value::from("mailhaul.fetch/1"), &count.into(), &count.into())
    );
    assert_eq!((&summary["balanced"], &summary["folders"][0]["name"]), (&Value::from(true), &Value::from("Höhe/Tief")));
    let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
    assert_eq!((&summary["bytes"], &summary["source"]), (&Value::from(bytes), &Value::from(place.as_str())));
    let again = run();
    assert_eq!((&again["copied"], &again["already_there"], &again["bytes"]), (&0.into(), &count.into(), &0.into()));
    assert!(files(&tool.path("mails")) == expected);
    let modified = std::fs::metadata(tool.path("mails/000001.eml")).unwrap().modified().unwrap();
    let seconds = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(i64::try_from(seconds).unwrap(), messages[0].internal_date);
}

#[test]
fn a_maildir_holds_bytes_and_flags_and_a_second_run_doubles_nothing() {
    let user = dovecot_user!("fetch-maildir");
    let mut plants: Vec<Plant> = mail::nasty().into_iter().map(|(_, body)| Plant::new(body)).collect();
    plants[0] = plants[0].clone().flag("\\Seen").flag("\\Flagged");
    // The same mail twice is two messages.
    plants.push(Plant::new(mail::plain(1, 20)));
    plants.push(Plant::new(mail::plain(1, 20)));
    user.plant("INBOX", &plants);
    let bodies = user.bodies("INBOX");
    let tool = Tool::new();
    for (url, first) in [(user.imaps(), true), (user.imaps(), false), (user.pop3s(), false)] {
        let summary = fetch(&tool, &[&url, "--to", "m", "--format", "maildir", "--json"]).expect_code(0).json();
        assert_eq!(summary[if first { "copied" } else { "already_there" }], bodies.len(), "{summary}");
        assert_eq!(summary["balanced"], true);
    }
    let (cur, new) = (files(&tool.path("m/cur")), files(&tool.path("m/new")));
    assert_eq!(cur.len(), 1);
    assert!(cur.iter().all(|(name, body)| name.ends_with(":2,FS") && *body == bodies[0]));
    let mut there: Vec<&Vec<u8>> = cur.values().chain(new.values()).collect();
    let mut expected: Vec<&Vec<u8>> = bodies.iter().collect();
    there.sort();
    expected.sort();
    assert!(there == expected);
    assert!(files(&tool.path("m/tmp")).is_empty());
}

#[test]
fn pop3_numbers_may_shift_between_runs_without_doubling_a_file() {
    let server = Pop3d::start(pop3d::Behaviour::default(), &mail::many(4, 20));
    let tool = Tool::new();
    let run = || fetch(&tool, &[&server.url(), "--to", "mails", "-o", "json"]).expect_code(0).json();
    assert_eq!(run()["copied"], 4);
    server.maildrop(|maildrop| drop(maildrop.remove(0)));
    server.maildrop(|maildrop| maildrop.push(pop3d::Entry { uidl: "new".to_owned(), body: mail::plain(9, 20) }));
    let summary = run();
    assert_eq!((&summary["copied"], &summary["already_there"]), (&1.into(), &3.into()));
    let there: Vec<Vec<u8>> = files(&tool.path("mails")).into_values().collect();
    let mut expected = mail::many(4, 20);
    expected.push(mail::plain(9, 20));
    mail::assert_same_mail(&there, &expected);
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_is_connected_to() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(3, 20));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &mail::many(3, 20));
    let tool = Tool::new();
    let url = server.url();
    fetch(&tool, &[&url]).expect_code(2).expect_stderr("--to DIR");
    for args in [
        &["1", "-o", "table"][..],
        &["1", "-o", "json", "--headers"],
        &["1", "-o", "jsonl", "--part", "1"],
        &["1", "--json", "--text"],
        &["1", "--format", "eml"],
        &["1", "--to", "mbox:x", "--format", "eml"],
        &["1", "--headers", "--text"],
        &["1", "--part", "1", "--to", "x"],
        &["1", "--attachments", "x", "--headers"],
        &["1", "--name", "*.pdf"],
        &["1", "--type", "image/*"],
        &["1", "--part", "0"],
        &["1", "--part", "1..2"],
        &["1", "--part", "TEXT"],
        &["1", "2", "--part", "1"],
        &["--headers"],
        &["--text"],
        &["x"],
    ] {
        fetch(&tool, &[&[url.as_str()], args].concat()).expect_code(2);
    }
    fetch(&tool, &[&pop3.url(), "1", "--mark-seen"]).expect_code(2).expect_stderr("IMAP");
    assert_eq!((server.connections(), pop3.connections()), (0, 0));
    let output = fetch(&tool, &[&url, "1:*", "--part", "1"]).expect_code(2).expect_stderr("one message");
    assert!(output.stdout.is_empty());
}

#[test]
fn several_messages_go_to_standard_output_as_an_mbox_that_gives_them_back() {
    let server = Imapd::start(imapd::Behaviour::default());
    let bodies = [mail::many(3, 20), vec![b"Subject: x\r\n\r\nFrom here\r\n>From there\r\n".to_vec()]].concat();
    server.fill("INBOX", &bodies);
    let tool = Tool::new();
    let output = fetch(&tool, &[&server.url(), "1:*"]).expect_code(0);
    assert!(output.stdout.starts_with(b"From ann@example.org ") && output.stderr.is_empty(), "{output}");
    let fence = b"\nFrom ";
    assert_eq!(output.stdout.windows(fence.len()).filter(|window| window == fence).count(), 3);
    std::fs::write(tool.path("all.mbox"), &output.stdout).unwrap();
    fetch(&tool, &[&format!("mbox:{}", tool.text("all.mbox")), "--to", "back"]).expect_code(0);
    mail::assert_same_mail(&files(&tool.path("back")).into_values().collect::<Vec<_>>(), &bodies);
    let one = fetch(&tool, &[&server.url(), "1", "--to", "-", "--format", "mbox"]).expect_code(0);
    assert!(one.stdout.starts_with(b"From ann@example.org "));
    assert_eq!(fetch(&tool, &[&server.url(), "--all"]).expect_code(0).stdout, output.stdout);
}

#[test]
fn a_uid_that_is_not_there_is_named_and_ends_with_3() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(3, 20));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &mail::many(3, 20));
    let tool = Tool::new();
    for url in [server.url(), pop3.url()] {
        let output = fetch(&tool, &[&url, "77"]).expect_code(3).expect_stderr("INBOX 77: there is no such message");
        assert!(output.stdout.is_empty());
        let output = fetch(&tool, &[&url, "2", "77", "78", "--to", "some", "-o", "json"]).expect_code(3);
        let summary = output.json();
        assert_eq!((&summary["listed"], &summary["copied"], &summary["balanced"]), (&1.into(), &1.into(), &true.into()), "{summary}");
        let named: Vec<&Value> = summary["problems"].as_array().unwrap().iter().map(|problem| &problem["uid"]).collect();
        assert_eq!(named, [77, 78]);
        assert!(output.stderr.contains("INBOX 78: "), "{output}");
        assert_eq!(files(&tool.path("some")).len(), 1);
        std::fs::remove_dir_all(tool.path("some")).unwrap();
        // A range that holds nothing is an answer, not a failure.
        assert!(fetch(&tool, &[&url, "50:60"]).expect_code(0).stdout.is_empty());
        let output = fetch(&tool, &[&url, "77", "--to", "some", "-o", "json"]).expect_code(3);
        assert_eq!((&output.json()["listed"], &output.json()["balanced"]), (&0.into(), &true.into()), "{output}");
    }
}

#[test]
fn one_message_that_cannot_be_had_stops_no_other() {
    let behaviour = pop3d::Behaviour { refuse: vec![(2, "\u{1b}[2Jno longer".to_owned())], ..pop3d::Behaviour::default() };
    let server = Pop3d::start(behaviour, &mail::many(3, 20));
    let tool = Tool::new();
    let output = fetch(&tool, &[&server.url(), "--to", "mails", "-o", "json"]).expect_code(3).expect_stderr("INBOX 2: ");
    assert!(output.stderr.contains("no longer") && !output.stderr.contains('\u{1b}'), "{output}");
    let summary = output.json();
    assert_eq!((&summary["copied"], &summary["quarantined"], &summary["balanced"]), (&2.into(), &1.into(), &true.into()));
    assert_eq!(files(&tool.path("mails")).into_keys().collect::<Vec<_>>(), ["000001.eml", "000003.eml"]);
    let output = fetch(&tool, &[&server.url(), "2"]).expect_code(3).expect_stderr("no longer");
    assert!(output.stdout.is_empty());
}

#[test]
fn uids_come_from_standard_input_and_limits_hold() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(9, 20));
    let tool = Tool::new();
    let args = arguments(&tool, &[&server.url(), "-", "--to", "mails", "--limit", "2"]);
    let output = tool.run_with_input(&args, b"1\n3:5\n").expect_code(0);
    assert_eq!(output.stderr, "");
    assert!(output.text().contains("listed 2 = copied 2 + already there 0"), "{output}");
    assert_eq!(files(&tool.path("mails")).into_keys().collect::<Vec<_>>(), ["000004.eml", "000005.eml"]);
    assert_eq!(fetch(&tool, &[&server.url(), "--to", "mails", "-q"]).expect_code(0).text(), "");
    assert_eq!(files(&tool.path("mails")).len(), 9);
    assert!(server.mailbox("INBOX").messages.iter().all(|message| message.flags.is_empty()));
    assert!(server.log().iter().all(|line| !line.contains("SELECT") && !line.contains(" BODY[]")), "{:?}", server.log());
}

#[test]
fn one_message_costs_no_search_and_no_listing() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(9, 20));
    fetch(&Tool::new(), &[&server.url(), "5"]).expect_code(0);
    let log = server.log();
    let after_login: Vec<&str> = log.iter().skip_while(|line| !line.contains("EXAMINE")).map(String::as_str).collect();
    assert_eq!(after_login, ["1 EXAMINE INBOX", "1 UID FETCH 5 (UID FLAGS INTERNALDATE BODY.PEEK[])", "1 LOGOUT"]);
}

#[test]
fn local_places_are_sources_too() {
    let tool = Tool::new();
    std::fs::create_dir_all(tool.path("from")).unwrap();
    let body = b"Subject: x\n\nbare\0\n".to_vec();
    std::fs::write(tool.path("from/000003.eml"), &body).unwrap();
    let place = format!("eml:{}", tool.text("from"));
    assert_eq!(fetch(&tool, &[&place]).expect_code(0).stdout, body);
    assert_eq!(fetch(&tool, &[&place, "1"]).expect_code(0).stdout, body);
    fetch(&tool, &[&place, "--to", "maildir:to"]).expect_code(0);
    assert_eq!(fetch(&tool, &[&format!("maildir:{}", tool.text("to")), "1"]).expect_code(0).stdout, body);
}

/// Runs `fetch` under a limit of file sizes, in blocks of 512 octets: a write beyond fails as on a full disk.
fn fetch_limited(tool: &Tool, blocks: u32, args: &[&str]) -> std::process::Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = tool.command("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_mailhaul")]).args(arguments(tool, args));
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_disk_that_takes_no_more_ends_with_7_and_leaves_only_whole_files() {
    let server = Imapd::start(imapd::Behaviour::default());
    let bodies = [mail::plain(0, 100), mail::plain(1, 300_000), mail::plain(2, 100)];
    server.fill("INBOX", &bodies);
    for (format, sub) in [("eml", "mails"), ("maildir", "mails/new")] {
        let tool = Tool::new();
        let args = [&server.url(), "--to", "mails", "--format", format];
        let output = fetch_limited(&tool, 64, &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{stderr}");
        assert!(stderr.contains("mails"), "{stderr}");
        let left = files(&tool.path(sub));
        assert!(left.iter().all(|(name, body)| !name.starts_with('.') && bodies.contains(body)), "{:?}", left.keys());
        assert!(files(&tool.path("mails/tmp")).is_empty());
        fetch(&tool, &args).expect_code(0);
        mail::assert_same_mail(&files(&tool.path(sub)).into_values().collect::<Vec<_>>(), &bodies);
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_success_and_a_full_standard_output_is_not() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &[mail::plain(0, 300_000)]);
    let tool = Tool::new();
    let run = |stdout: Stdio| {
        let mut command = tool.command(env!("CARGO_BIN_EXE_mailhaul"));
        command.args(arguments(&tool, &[&server.url(), "1"])).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    assert_eq!((closed.status.code(), closed.stderr.len()), (Some(0), 0));
    let full = run(std::fs::File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&full.stderr).contains("standard output"));
}

#[test]
fn a_signal_keeps_what_came_and_the_next_run_goes_on() {
    let bodies = mail::many(5, 2000);
    let server = Pop3d::start(pop3d::Behaviour { stall_at: Some(4), ..pop3d::Behaviour::default() }, &bodies);
    let tool = Tool::new();
    let running = tool.spawn(&arguments(&tool, &[&server.url(), "--to", "mails", "-o", "json"]), None);
    crate::support::wait_for("RETR 4", || server.log().iter().any(|line| line.ends_with("RETR 4")));
    running.signal(rustix::process::Signal::INT);
    let output = running.finish().expect_code(130);
    let error: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["code"], 130);
    // It may have been stopped before it saw what had come.
    let left = files(&tool.path("mails"));
    assert!(left.iter().all(|(name, body)| name.ends_with(".eml") && bodies.contains(body)), "{:?}", left.keys());
    server.behave(|behaviour| behaviour.stall_at = None);
    let summary = fetch(&tool, &[&server.url(), "--to", "mails", "-o", "json"]).expect_code(0).json();
    assert_eq!(summary["already_there"], left.len());
    mail::assert_same_mail(&files(&tool.path("mails")).into_values().collect::<Vec<_>>(), &bodies);
}

#[test]
fn progress_lines_for_programs_count_messages_and_octets() {
    let server = Imapd::start(imapd::Behaviour::default());
    let bodies = mail::many(4, 500);
    server.fill("INBOX", &bodies);
    let output = fetch(&Tool::new(), &[&server.url(), "--to", "mails", "--progress", "json"]).expect_code(0);
    let last: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
    let octets: usize = bodies.iter().map(Vec::len).sum();
    assert_eq!((&last["messages_done"], &last["bytes_done"], &last["bytes_total"]), (&4.into(), &octets.into(), &octets.into()));
}

#[test]
fn a_lost_connection_is_made_again_and_what_is_missing_comes() {
    let server = Imapd::start(imapd::Behaviour { hang_up_at_uid: Some(4), ..imapd::Behaviour::default() });
    let bodies = mail::many(6, 3000);
    server.fill("INBOX", &bodies);
    let mut tool = Tool::new();
    tool.use_clock();
    // A message that always breaks the connection is given up after a few times; what came stays.
    fetch(&tool, &[&server.url(), "--to", "stuck"]).expect_code(5);
    assert!((2..=12).contains(&server.connections()), "{}", server.connections());
    server.behave(|behaviour| behaviour.hang_up_at_uid = None);
    fetch(&tool, &[&server.url(), "--to", "stuck"]).expect_code(0);
    mail::assert_same_mail(&files(&tool.path("stuck")).into_values().collect::<Vec<_>>(), &bodies);
}

#[test]
fn what_came_before_a_loss_is_not_asked_for_again() {
    // One command each, of which the second body's is lost.
    let faults = vec![("UID FETCH".to_owned(), 3, imapd::CommandFault::HangUpBefore)];
    let server = Imapd::start(imapd::Behaviour { faults, ..imapd::Behaviour::default() });
    let bodies: Vec<Vec<u8>> = (0..3).map(|number| [mail::plain(number, 20), b"0123456789\r\n".repeat(250_000)].concat()).collect();
    server.fill("INBOX", &bodies);
    let mut tool = Tool::new();
    tool.use_clock();
    let summary = fetch(&tool, &[&server.url(), "--to", "mails", "-o", "json"]).expect_code(0).json();
    assert_eq!((&summary["listed"], &summary["copied"], &summary["balanced"]), (&3.into(), &3.into(), &true.into()), "{summary}");
    assert_eq!(server.connections(), 2);
    mail::assert_same_mail(&files(&tool.path("mails")).into_values().collect::<Vec<_>>(), &bodies);
}

#[test]
fn keywords_go_along_into_a_maildir_and_a_server_knows_them_there() {
    let user = dovecot_user!("fetch-keywords");
    for (number, flags) in [&["\\Seen", "Work"][..], &["Todo", "Work"], &[], &["Other"]].into_iter().enumerate() {
        user.append("INBOX", &mail::plain(number as u64, 20), flags);
    }
    let other = user.dovecot().user("fetch-keywords-other");
    other.append("INBOX", &mail::plain(9, 20), &["Theirs", "work"]);
    let maildir = other.home().join("Maildir");
    let tool = Tool::new();
    let to = format!("maildir:{}", maildir.display());
    fetch(&tool, &[&user.imaps(), "--to", &to]).expect_code(0);
    // The server runs as somebody else.
    let reference = format!("--reference={}", other.home().display());
    let given = std::process::Command::new("chown").args(["-R", &reference, maildir.to_str().unwrap()]).status().unwrap();
    assert!(given.success());
    let sorted = |user: &User| {
        let mut all: Vec<(Vec<u8>, Vec<String>)> = user
            .messages("INBOX")
            .into_iter()
            .map(|message| {
                let mut flags: Vec<String> = message.flags.iter().map(|flag| flag.to_ascii_lowercase()).collect();
                flags.sort();
                (message.body, flags)
            })
            .collect();
        all.sort();
        all
    };
    let mut expected = sorted(&user);
    expected.push((mail::plain(9, 20), vec!["theirs".to_owned(), "work".to_owned()]));
    expected.sort();
    assert!(sorted(&other) == expected, "{:?}", sorted(&other).into_iter().map(|(_, flags)| flags).collect::<Vec<_>>());
}
