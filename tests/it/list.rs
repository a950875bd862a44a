//! `list`: rows of IMAP and POP3 mailboxes and of local stores, in every format, in constant memory.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::Plant;
use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::server::{Server, Wire};
use crate::support::tls;
use crate::support::tool::{Output, Tool};

/// Runs `list` with what every server of these tests needs.
fn list(tool: &Tool, args: &[&str]) -> Output {
    let (password, ca) = (tool.password_file(), tls::identity().ca_file());
    let mut all = vec!["list", "--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()];
    all.extend(args);
    tool.run(&all)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const LETTER: &str = "From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nTo: Bob <bob@example.org>, c@example.org\r\n\
                      Cc: d@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 1 Jul 2003 10:52:37 +0200\r\n\
                      Message-ID: <1@example.org>\r\n\r\nbody\r\n";

#[test]
fn json_over_every_transport_has_the_promised_fields_and_values() {
    let user = dovecot_user!("list-transports");
    let second = Plant::new("Subject: two\r\n\r\n");
    user.plant("INBOX", &[Plant::new(LETTER).flag("\\Seen").flag("\\Flagged").date(1_234_567_890), second]);
    let common =
        ["place", "folder", "uidvalidity", "uid", "size", "flags", "internal_date", "date", "from", "to", "cc", "subject", "message_id"];
    for (url, pop3) in [(user.imaps(), false), (user.imap(), false), (user.pop3s(), true), (user.pop3(), true)] {
        let tool = Tool::new();
        let output = list(&tool, &[&url, "-o", "json"]).expect_code(0);
        assert_eq!(output.stderr, "", "{url}");
        let document = output.json();
        assert_eq!(keys(&document), BTreeSet::from(["schema", "places", "messages"]));
        assert_eq!((&document["schema"], &document["places"][0]), (&Value::from("mailhaul.list/1"), &Value::from(url.as_str())));
        let messages = document["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2);
        let mut expected = BTreeSet::from(common);
        if pop3 {
            expected.extend(["number", "uidl"]);
        }
        let one = &messages[0];
        assert_eq!(keys(one), expected, "{url}");
        assert_eq!((&one["folder"], &one["subject"]), (&Value::from("INBOX"), &Value::from("Grüße")));
        assert_eq!(one["from"], serde_json::json!([{"name": "Jörg", "address": "joerg@example.org"}]));
        assert_eq!(one["to"][1], serde_json::json!({"name": null, "address": "c@example.org"}));
        assert_eq!(one["cc"][0]["address"], "d@example.org");
        assert_eq!((&one["date"], &one["message_id"]), (&Value::from("2003-07-01T10:52:37+02:00"), &Value::from("1@example.org")));
        assert_eq!(one["size"], LETTER.len());
        if pop3 {
            assert_eq!((&one["number"], &one["uid"], &messages[1]["number"]), (&Value::from(1), &Value::Null, &Value::from(2)));
            assert!(one["uidl"].is_string());
        } else {
            assert_eq!(one["uidvalidity"], user.uid_validity("INBOX"));
            assert_eq!((&one["uid"], &one["flags"]), (&Value::from(1), &serde_json::json!(["flagged", "seen"])), "{one}");
            let seconds = one["internal_date"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
            assert_eq!(seconds, 1_234_567_890);
        }
    }
    assert!(user.messages("INBOX")[1].flags.is_empty(), "listing marks nothing as read");
}

#[test]
fn uid_limit_and_fields_choose_rows_and_columns_over_both_protocols() {
    let user = dovecot_user!("list-choice");
    user.deliver("INBOX", &mail::many(9, 20));
    let tool = Tool::new();
    for (url, field) in [(user.imaps(), "uid"), (user.pop3s(), "number")] {
        let rows = |args: &[&str]| {
            let mut all = vec![url.as_str(), "--fields", field];
            all.extend(args);
            list(&tool, &all).expect_code(0).text()
        };
        assert_eq!(rows(&["--limit", "3"]), "7\n8\n9\n");
        assert_eq!(rows(&["--limit", "100"]).lines().count(), 9);
        assert_eq!(rows(&["--uid", "2 5:4,100:*"]), "2\n4\n5\n9\n");
        assert_eq!(rows(&["--uid", "1:6", "--limit", "2"]), "5\n6\n");
        assert_eq!(rows(&["--uid", "3", "--uid", "1,77"]), "1\n3\n");
        assert_eq!(rows(&["--uid", "50:60"]), "");
        let fields = format!("subject,{field}");
        assert_eq!(list(&tool, &[&url, "--uid", "2", "--fields", &fields]).text(), "message 1\t2\n");
        let object = list(&tool, &[&url, "--uid", "2", "--fields", &fields, "-o", "jsonl"]).text();
        assert_eq!(object, format!("{{\"subject\":\"message 1\",\"{field}\":2}}\n"));
        let password = tool.password_file();
        let ca = tls::identity().ca_file().to_str().unwrap();
        let args = ["list", &url, "--password-file", password.to_str().unwrap(), "--ca-file", ca, "--fields", field, "--uid", "-"];
        assert_eq!(tool.run_with_input(&args, b"3\n7:8\n").expect_code(0).text(), "3\n7\n8\n");
    }
}

#[test]
fn a_wrong_field_or_place_ends_with_2_before_anything_is_connected_to() {
    let server = Imapd::start(imapd::Behaviour::default());
    let output = list(&Tool::new(), &[&server.url(), "--fields", "uid,colour", "--json"]).expect_code(2);
    let error: Value = serde_json::from_str(&output.stderr).unwrap();
    assert!(error["message"].as_str().unwrap().contains("colour") && error["hint"].as_str().unwrap().contains("subject"), "{error}");
    assert!(output.stdout.is_empty());
    list(&Tool::new(), &[&server.url(), "-"]).expect_code(2).expect_stderr("standard input");
    assert_eq!(server.connections(), 0);
}

#[test]
fn hostile_headers_reach_no_terminal_raw_and_scripts_whole() {
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}gpj\u{9b}31m\u{2066}x";
    let body = format!("From: {hostile} <a@example.org>\r\nSubject: {hostile}\r\nMessage-ID: <{hostile}>\r\n\r\n").into_bytes();
    let imap = Imapd::start(imapd::Behaviour::default());
    imap.fill("INBOX", std::slice::from_ref(&body));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &[body]);
    let tool = Tool::new();
    for url in [imap.url(), pop3.url()] {
        for (format, lines) in [("table", 2), ("tsv", 1), ("jsonl", 1), ("json", 3)] {
            let text = list(&tool, &[&url, "-o", format, "--fields", "from,subject,message_id"]).expect_code(0).text();
            assert!(text.contains("gpj"), "{text}");
            let harmful =
                |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!text.contains(harmful), "{format}: {}", text.escape_debug());
            assert_eq!(text.lines().count(), lines, "{format}: {text}");
        }
        let row: Value = serde_json::from_str(&list(&tool, &[&url, "-o", "jsonl"]).text()).unwrap();
        assert!(row["subject"].as_str().unwrap().contains("\u{1b}[2J\u{202e}gpj"), "{row}");
    }
}

#[test]
fn the_newest_are_asked_for_by_uid_and_nothing_else_is_asked() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(30, 10));
    server.change("INBOX", |mailbox| mailbox.messages.iter_mut().for_each(|message| message.uid *= 10));
    let output = list(&Tool::new(), &[&server.url(), "--limit", "3", "--fields", "uid,subject"]).expect_code(0);
    assert_eq!(output.text(), "280\tmessage 27\n290\tmessage 28\n300\tmessage 29\n");
    let log = server.log();
    let after_login: Vec<&str> = log.iter().skip_while(|line| !line.contains("EXAMINE")).map(String::as_str).collect();
    assert_eq!(after_login.len(), 4, "{log:?}");
    assert!(after_login[1].starts_with("1 UID SEARCH") && after_login[2].starts_with("1 UID FETCH 280,290,300 "), "{log:?}");
    assert_eq!(after_login[3], "1 LOGOUT");
}

#[test]
fn headers_are_left_alone_where_no_field_needs_them() {
    let imap = Imapd::start(imapd::Behaviour::default());
    imap.fill("INBOX", &mail::many(2, 10));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &mail::many(2, 10));
    let tool = Tool::new();
    assert_eq!(list(&tool, &[&imap.url(), "--fields", "uid,size,flags"]).expect_code(0).text().lines().count(), 2);
    assert_eq!(list(&tool, &[&pop3.url(), "--fields", "number,uidl"]).expect_code(0).text(), "1\tu1\n2\tu2\n");
    assert!(!imap.log().iter().any(|line| line.contains("HEADER")), "{:?}", imap.log());
    assert!(!pop3.log().iter().any(|line| line.contains("TOP") || line.contains("RETR")), "{:?}", pop3.log());
}

#[test]
fn pop3_headers_come_from_top_or_from_retr_where_top_is_missing() {
    let subjects = |server: &Pop3d| list(&Tool::new(), &[&server.url(), "--fields", "number,subject"]).expect_code(0).text();
    let many = mail::many(70, 10);
    let expected: String = (0..70).map(|number| format!("{}\tmessage {number}\n", number + 1)).collect();
    let used = |server: &Pop3d, verb: &str| server.log().iter().filter(|line| line.contains(verb)).count();

    let with_top = Pop3d::start(pop3d::Behaviour::default(), &many);
    assert_eq!(subjects(&with_top), expected);
    assert_eq!((used(&with_top, " TOP "), used(&with_top, " RETR ")), (70, 0));

    let without = Pop3d::start(pop3d::Behaviour::default().without("TOP"), &many);
    assert_eq!(subjects(&without), expected);
    assert_eq!((used(&without, " TOP "), used(&without, " RETR ")), (0, 70));

    let liar = Pop3d::start(pop3d::Behaviour { no_top: true, ..pop3d::Behaviour::default() }, &many);
    assert_eq!(subjects(&liar), expected);
    assert_eq!((used(&liar, " TOP "), used(&liar, " RETR ")), (50, 70));

    let old =
        Pop3d::start(pop3d::Behaviour { capabilities: Vec::new(), no_top: true, no_uidl: true, ..pop3d::Behaviour::default() }, &many);
    assert_eq!(subjects(&old), expected);
}

#[test]
fn a_message_pop3_does_not_give_is_named_and_its_row_stands() {
    let behaviour = pop3d::Behaviour { refuse: vec![(2, "no longer".to_owned())], ..pop3d::Behaviour::default().without("TOP") };
    let server = Pop3d::start(behaviour, &mail::many(3, 10));
    let output = list(&Tool::new(), &[&server.url(), "--fields", "number,subject"]).expect_code(3).expect_stderr("INBOX 2: ");
    assert_eq!(output.text(), "1\tmessage 0\n2\t\n3\tmessage 2\n");
    assert!(output.stderr.contains("no longer"), "{output}");
}

#[test]
fn rows_of_several_places_come_by_place_and_one_that_fails_hides_no_other() {
    let imap = Imapd::start(imapd::Behaviour::default());
    imap.fill("INBOX", &mail::many(2, 10));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &mail::many(1, 10));
    let shut =
        Imapd::start(imapd::Behaviour { login: Some("NO [AUTHENTICATIONFAILED] go away".to_owned()), ..imapd::Behaviour::default() });
    let tool = Tool::new();
    let fields = "uid,number,subject";
    let both = list(&tool, &[&pop3.url(), &imap.url(), "--fields", fields]).expect_code(0).text();
    assert_eq!(both, "\t1\tmessage 0\n1\t\tmessage 0\n2\t\tmessage 1\n");
    let output = list(&tool, &[&shut.url(), &imap.url(), "-o", "json"]).expect_code(3);
    assert_eq!(output.json()["messages"].as_array().unwrap().len(), 2);
    assert_eq!(output.json()["places"].as_array().unwrap().len(), 2);
    let error: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!((&error["code"], error["server_said"].as_str().unwrap().contains("go away")), (&Value::from(4), true));
    let default = list(&tool, &[&imap.url(), &pop3.url(), "-o", "table"]).expect_code(0).text();
    let header: Vec<&str> = default.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["PLACE", "UID", "NUMBER", "FLAGS", "DATE", "SIZE", "FROM", "SUBJECT"]);
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_leaves_standard_output_empty() {
    let shut = Imapd::start(imapd::Behaviour { login: Some("NO [AUTHENTICATIONFAILED] no".to_owned()), ..imapd::Behaviour::default() });
    let open = Imapd::start(imapd::Behaviour::default());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tool = Tool::new();
    let nobody = format!("imap://ann@127.0.0.1:{free}?tls=none");
    let cases =
        [(shut.url(), 4), (nobody, 5), (open.url_of("Missing"), 6), ("mbox:x".to_owned(), 2), (format!("maildir:{}", tool.text("no")), 2)];
    for (place, code) in cases {
        let output = list(&tool, &[&place, "-o", "json"]).expect_code(code);
        assert!(output.stdout.is_empty(), "{output}");
        let error: Value = serde_json::from_str(&output.stderr).unwrap();
        assert_eq!(error["code"], code, "{error}");
    }
}

#[test]
fn local_places_are_listed_by_number_with_their_flags() {
    let tool = Tool::new();
    for sub in ["m/cur", "m/new", "m/tmp", "e"] {
        std::fs::create_dir_all(tool.path(sub)).unwrap();
    }
    std::fs::write(tool.path("m/cur/1.a:2,FS"), "Subject: one\n\n").unwrap();
    std::fs::write(tool.path("m/new/2.b"), "Subject: two\n\n").unwrap();
    std::fs::write(tool.path("e/000007.eml"), "Subject: seven\n\n").unwrap();
    let maildir = format!("maildir:{}", tool.text("m"));
    let rows = |args: &[&str]| list(&tool, args).expect_code(0).text();
    assert_eq!(rows(&[&maildir, "--fields", "number,flags,subject"]), "1\tflagged,seen\tone\n2\t\ttwo\n");
    assert_eq!(rows(&[&maildir, "--fields", "number", "--limit", "1"]), "2\n");
    assert_eq!(rows(&[&format!("eml:{}", tool.text("e")), "--fields", "number,subject,size"]), "1\tseven\t16\n");
}

/// An IMAP server that makes up as many messages as it is told to, and says when it is asked to say goodbye.
struct Endless {
    server: Server,
    at_end: Receiver<()>,
    go: Sender<()>,
}

impl Endless {
    fn start(count: u32, stall_at: Option<&'static str>) -> Self {
        let (reached, at_end) = channel();
        let (go, wait) = channel();
        let ends = Mutex::new((reached, wait));
        let server = Server::start(false, move |wire| serve(wire, count, stall_at, &ends));
        Self { server, at_end, go }
    }

    fn url(&self) -> String {
        format!("imap://ann@127.0.0.1:{}?tls=none", self.server.port())
    }
}

fn serve(wire: &mut Wire, count: u32, stall_at: Option<&str>, ends: &Mutex<(Sender<()>, Receiver<()>)>) -> io::Result<()> {
    wire.line("* OK [CAPABILITY IMAP4rev1 ESEARCH] hello")?;
    while let Some(line) = wire.read_line()? {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (tag, command) = line.split_once(' ').unwrap();
        if stall_at.is_some_and(|verb| command.starts_with(verb)) {
            let _ = ends.lock().unwrap().0.send(());
            wire.stall();
        }
        let mut answer = String::new();
        if command == "CAPABILITY" {
            answer.push_str("* CAPABILITY IMAP4rev1 ESEARCH\r\n");
        } else if command.starts_with("EXAMINE") {
            answer.push_str(&format!("* {count} EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n"));
        } else if command.starts_with("UID SEARCH") {
            answer.push_str(&format!("* ESEARCH (TAG \"{tag}\") UID ALL 1:{count}\r\n"));
        } else if let Some(rest) = command.strip_prefix("UID FETCH ") {
            for range in rest.split(' ').next().unwrap().split(',') {
                let (first, last) = range.split_once(':').unwrap_or((range, range));
                for uid in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
                    let header = format!(
                        "From: Ann <ann@example.org>\r\nSubject: the message with the number {uid}\r\nMessage-ID: <{uid}@example.org>\r\n\r\n"
                    );
                    answer.push_str(&format!(
                        "* {uid} FETCH (UID {uid} FLAGS (\\Seen) INTERNALDATE \"13-Sep-2020 12:26:40 +0000\" RFC822.SIZE 1000 \
                         BODY[HEADER.FIELDS (DATE FROM TO CC SUBJECT MESSAGE-ID)] {{{}}}\r\n{header})\r\n",
                        header.len()
                    ));
                }
            }
        } else if command == "LOGOUT" {
            let ends = ends.lock().unwrap();
            let _ = ends.0.send(());
            let _ = ends.1.recv();
            return wire.write(format!("* BYE\r\n{tag} OK\r\n").as_bytes());
        }
        wire.write(format!("{answer}{tag} OK done\r\n").as_bytes())?;
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_messages_are_listed_in_less_than_64_mib() {
    let server = Endless::start(100_000, None);
    let tool = Tool::new();
    let running = tool.spawn(&["list", "--password-file", tool.password_file().to_str().unwrap(), &server.url(), "-o", "jsonl"], None);
    // The program waits for the answer to its LOGOUT: everything is listed, and it still lives.
    server.at_end.recv().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap_or_default();
    server.go.send(()).unwrap();
    let output = running.finish().expect_code(0);
    let text = output.text();
    assert_eq!(text.lines().count(), 100_000);
    for (line, uid) in [(text.lines().next(), 1), (text.lines().last(), 100_000)] {
        let row: Value = serde_json::from_str(line.unwrap()).unwrap();
        assert_eq!((&row["uid"], &row["subject"]), (&Value::from(uid), &Value::from(format!("the message with the number {uid}"))));
    }
    if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 64 * 1024, "{kib} KiB");
    }
}

#[test]
fn a_signal_ends_a_listing_with_its_code() {
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143), (rustix::process::Signal::HUP, 129)] {
        let server = Endless::start(10, Some("UID FETCH"));
        let tool = Tool::new();
        let running = tool.spawn(&["list", "--password-file", tool.password_file().to_str().unwrap(), &server.url(), "-o", "json"], None);
        server.at_end.recv().unwrap();
        running.signal(signal);
        let output = running.finish().expect_code(code);
        let error: Value = serde_json::from_str(&output.stderr).unwrap();
        assert_eq!(error["code"], code);
        assert!(output.stdout.is_empty(), "{output}");
    }
}

#[test]
fn progress_lines_for_programs_go_to_standard_error() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(4, 10));
    let output = list(&Tool::new(), &[&server.url(), "--progress", "json"]).expect_code(0);
    let last: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&last["messages_done"], &last["messages_total"]), (&Value::from(4), &Value::from(4)));
    assert_eq!(output.text().lines().count(), 4);
    assert_eq!(list(&Tool::new(), &[&server.url()]).stderr, "");
}
