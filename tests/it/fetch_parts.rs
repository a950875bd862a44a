//! `fetch` takes messages apart: headers, parts, text, JSON; what a server says of the same messages is the judge. What reaches a
//! terminal can do no harm, and nothing is marked as read unless asked for.

use std::collections::BTreeMap;

use mailhaul::summary::parts::{Holds, Parts};
use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::{Client, User};
use crate::support::imapd::{self, Imapd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};
use crate::support::{mail, terminal, tls};

fn arguments(tool: &Tool, args: &[&str]) -> Vec<String> {
    let (password, ca) = (tool.password_file(), tls::identity().ca_file());
    let fixed = ["--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()];
    args.iter().take(1).chain(&fixed).chain(args.iter().skip(1)).map(|arg| (*arg).to_owned()).collect()
}

fn fetch(tool: &Tool, args: &[&str]) -> Output {
    tool.run(&arguments(tool, &[&["fetch"], args].concat()))
}

/// A letter with everything: two texts, a picture, a PDF, a letter inside.
fn letter() -> Vec<u8> {
    "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\r\nTo: Bob <bob@example.org>\r\nBcc: hidden@example.org\r\nSubject: =?utf-8?b?w6TDtg==?=\r\n\
     Date: Tue, 1 Jul 2003 10:52:37 +0200\r\nMessage-ID: <letter@example.org>\r\nReferences: <a@x> <b@x>\r\n\
     Content-Type: multipart/mixed; boundary=m\r\n\r\npreamble\r\n--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
     --a\r\nContent-Type: text/html\r\n\r\n<p>in HTML</p>\r\n--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
     Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe=1B[2J\r\n--a--\r\n--m\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\n\
     Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\nJVBERi0=\r\n--m\r\nContent-Type: message/rfc822\r\n\r\n\
     Subject: inner\r\nContent-Type: text/plain\r\n\r\ninner text\r\n--m--\r\n"
        .into()
}

#[test]
fn parts_come_decoded_by_number_and_text_in_utf8() {
    let user = dovecot_user!("fetch-parts");
    user.deliver("INBOX", &[letter(), mail::plain(2, 50)]);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &[letter(), mail::plain(2, 50)]);
    let tool = Tool::new();
    std::fs::create_dir(tool.path("local")).unwrap();
    std::fs::write(tool.path("local/1.eml"), letter()).unwrap();
    std::fs::write(tool.path("local/2.eml"), mail::plain(2, 50)).unwrap();
    for place in [user.imaps(), pop3.url(), "eml:local".to_owned()] {
        let part = |number: &str| fetch(&tool, &[&place, "1", "--part", number]).expect_code(0).stdout;
        assert_eq!(part("1.1"), b"<p>in HTML</p>");
        assert_eq!(part("1.2"), b"Gr\xfc\xdfe\x1b[2J");
        assert_eq!(part("2"), b"%PDF-");
        assert_eq!(part("3"), b"Subject: inner\r\nContent-Type: text/plain\r\n\r\ninner text");
        assert_eq!(part("3.1"), b"inner text");
        let missing =
            fetch(&tool, &[&place, "1", "--part", "4"]).expect_code(3).expect_stderr("no part 4; its parts are 1, 1.1, 1.2, 2, 3, 3.1");
        assert!(missing.stdout.is_empty());
        assert_eq!(fetch(&tool, &[&place, "1", "--text"]).expect_code(0).text(), "Grüße\u{FFFD}[2J\n");
        let both = fetch(&tool, &[&place, "1:2", "--text"]).expect_code(0).text();
        assert!(both.starts_with("From: Jörg <j@example.org>\nDate: 2003-07-01T10:52:37+02:00\nSubject: äö\n\nGrüße"), "{both}");
        assert!(both.contains("\n\nFrom: Ann <ann@example.org>\n"), "{both}");
    }
}

#[test]
fn a_parsed_message_has_the_fields_of_a_row_and_everything_in_it() {
    let user = dovecot_user!("fetch-parsed");
    user.deliver("INBOX", &[letter(), mail::plain(2, 50)]);
    let tool = Tool::new();
    let place = user.imaps();
    let document = fetch(&tool, &[&place, "1", "-o", "json"]).expect_code(0).json();
    assert_eq!((&document["schema"], &document["place"]), (&"mailhaul.fetch-parsed/1".into(), &place.as_str().into()));
    let message = &document["messages"][0];
    let row = tool.run(&arguments(&tool, &["list", &place, "--uid", "1", "--json"])).expect_code(0).json();
    for (name, value) in row["messages"][0].as_object().unwrap() {
        assert_eq!(&message[name], value, "{name}");
    }
    let seen = &user.messages("INBOX")[0];
    assert_eq!(message["size"], seen.body.len());
    assert_eq!(message["uidvalidity"], user.uid_validity("INBOX"));
    assert_eq!(message["bcc"][0]["address"], "hidden@example.org");
    assert_eq!(message["references"], serde_json::json!(["a@x", "b@x"]));
    assert_eq!(message["headers"][3], serde_json::json!({"name": "Subject", "value": "äö"}));
    assert_eq!((&message["text"], &message["text_cut"]), (&"Grüße\u{1b}[2J\n".into(), &false.into()));
    let parts: Vec<(&Value, &Value, &Value)> =
        message["parts"].as_array().unwrap().iter().map(|part| (&part["part"], &part["content_type"], &part["size"])).collect();
    assert_eq!(parts[0], (&Value::Null, &"multipart/mixed".into(), &parts[0].2.clone()));
    assert_eq!(parts[4], (&"2".into(), &"application/pdf".into(), &5.into()));
    let attachments: Vec<&Value> = message["attachments"].as_array().unwrap().iter().map(|part| &part["part"]).collect();
    assert_eq!(attachments, ["2", "3"]);
    let lines = fetch(&tool, &[&place, "--all", "-o", "jsonl"]).expect_code(0).text();
    let uids: Vec<Value> = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["uid"].clone()).collect();
    assert_eq!(uids, [1, 2]);
    let over_pop3 = fetch(&tool, &[&user.pop3s(), "2", "-o", "json"]).expect_code(0).json();
    assert_eq!((&over_pop3["messages"][0]["number"], &over_pop3["messages"][0]["uid"]), (&2.into(), &Value::Null));
    assert!(over_pop3["messages"][0]["uidl"].is_string());
}

/// What the server answers for a section: `None` for NIL and for no answer at all.
fn section(client: &mut Client, uid: u32, section: &str) -> Option<Vec<u8>> {
    let answer = client.run_command_and_read_response(format!("UID FETCH {uid} BODY.PEEK[{section}]")).ok()?;
    let at = answer.windows(2).position(|pair| pair == b"] ")? + 2;
    let value = &answer[at..];
    if let Some(quoted) = value.strip_prefix(b"\"") {
        return Some(quoted[..quoted.iter().position(|byte| *byte == b'"')?].to_vec());
    }
    let value = value.strip_prefix(b"{")?;
    let end = value.windows(3).position(|three| three == b"}\r\n")?;
    let length: usize = std::str::from_utf8(&value[..end]).ok()?.parse().ok()?;
    Some(value[end + 3..][..length].to_vec())
}

/// The octets of every message there is, by name.
fn everything() -> Vec<(String, Vec<u8>)> {
    let nasty = mail::nasty().into_iter().map(|(name, body)| (name.to_owned(), body));
    let corpus = mail::corpus().into_iter().map(|(path, body)| (path.display().to_string(), body));
    nasty.chain(corpus).chain([("letter".to_owned(), letter())]).collect()
}

#[test]
fn part_numbers_mean_what_the_server_means_by_them() {
    let user = dovecot_user!("fetch-numbers");
    let all = everything();
    user.deliver("INBOX", &all.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>());
    let messages = user.messages("INBOX");
    assert_eq!(messages.len(), all.len());
    let mut client = user.client();
    client.examine("INBOX").unwrap();
    let (mut compared, mut differing) = (0, Vec::new());
    for ((name, _), message) in all.iter().zip(&messages) {
        let parts = Parts::of(&message.body);
        // The quote around its boundary is never closed; the server gives up where we still find the part.
        if name == "broken-mime" {
            continue;
        }
        for part in parts.list() {
            let Some(number) = &part.number else { continue };
            // A multipart without a single boundary: the server gives its octets no number, and we do, lest anybody miss them.
            if part.holds == Holds::Content && part.content_type.starts_with("multipart/") {
                continue;
            }
            compared += 1;
            let server = section(&mut client, message.uid, number).unwrap_or_default();
            if server != parts.raw(part) {
                differing.push(format!("{name} {number}: {} octets, the server {}", parts.raw(part).len(), server.len()));
            }
        }
        let top = parts.list().iter().filter(|part| part.number.as_ref().is_some_and(|number| !number.contains('.'))).count();
        if section(&mut client, message.uid, &(top + 1).to_string()).is_some_and(|more| !more.is_empty()) {
            differing.push(format!("{name}: the server has a part {}", top + 1));
        }
    }
    assert!(compared >= 25 && differing.is_empty(), "{compared} compared\n{}", differing.join("\n"));
}

#[test]
fn headers_come_byte_for_byte_without_bodies() {
    let user = dovecot_user!("fetch-headers");
    let nasty = mail::nasty();
    user.deliver("INBOX", &nasty.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>());
    let tool = Tool::new();
    let mut client = user.client();
    client.examine("INBOX").unwrap();
    for ((name, _), message) in nasty.iter().zip(user.messages("INBOX")) {
        let output = fetch(&tool, &[&user.imaps(), &message.uid.to_string(), "--headers"]).expect_code(0);
        let server = section(&mut client, message.uid, "HEADER").unwrap_or_default();
        assert!(output.stdout == server && message.body.starts_with(&server), "{name}: {output}");
    }
    assert!(user.messages("INBOX").iter().all(|message| message.flags.is_empty()));
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(450, 20));
    let headers = fetch(&tool, &[&server.url(), "--all", "--headers"]).expect_code(0).stdout;
    let expected: Vec<u8> = mail::many(450, 20)
        .iter()
        .flat_map(|body| body[..body.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4].to_vec())
        .collect();
    assert!(headers == expected);
    assert!(server.log().iter().all(|line| !line.contains("BODY.PEEK[]")), "{:?}", server.log());
}

#[test]
fn pop3_headers_come_by_top_or_by_retr_where_top_is_missing() {
    let bodies = mail::many(4, 2000);
    let header = |body: &[u8]| body[..body.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4].to_vec();
    let expected: Vec<u8> = bodies.iter().flat_map(|body| header(body)).collect();
    let tool = Tool::new();
    for (behaviour, top) in [(pop3d::Behaviour::default(), true), (pop3d::Behaviour::default().without("TOP"), false)] {
        let server = Pop3d::start(behaviour, &bodies);
        assert!(fetch(&tool, &[&server.url(), "--all", "--headers"]).expect_code(0).stdout == expected);
        assert_eq!(server.log().iter().any(|line| line.contains("RETR")), !top, "{:?}", server.log());
        assert_eq!(fetch(&tool, &[&server.url(), "3", "--headers"]).expect_code(0).stdout, header(&bodies[2]));
    }
}

fn seen(user: &User) -> Vec<u32> {
    let messages = user.messages("INBOX");
    messages.iter().filter(|message| message.flags.iter().any(|flag| flag == "\\Seen")).map(|message| message.uid).collect()
}

#[test]
fn mark_seen_marks_just_what_was_fetched_and_nothing_else_marks_anything() {
    let user = dovecot_user!("fetch-seen");
    user.deliver("INBOX", &[vec![letter()], mail::many(9, 50)].concat());
    let tool = Tool::new();
    let place = user.imaps();
    let before = user.messages("INBOX");
    for args in [
        &["1:3"][..],
        &["1", "--headers"],
        &["1", "--part", "1"],
        &["1:2", "--text"],
        &["1:2", "-o", "json"],
        &["1", "--attachments", "files"],
        &["--to", "plain"],
        &["--to", "box", "--format", "mbox"],
    ] {
        fetch(&tool, &[&[place.as_str()], args].concat()).expect_code(0);
    }
    assert!(user.messages("INBOX") == before);
    let mut expected = Vec::new();
    for (args, more) in [
        (&["2:3"][..], &[2, 3][..]),
        (&["4", "--headers"], &[4]),
        (&["1", "--part", "1.1"], &[1]),
        (&["5", "--text"], &[5]),
        (&["6", "-o", "json"], &[6]),
        (&["7", "--attachments", "files"], &[7]),
        (&["8", "--to", "marked"], &[8]),
        (&["8:9", "--to", "marked"], &[9]),
    ] {
        fetch(&tool, &[&[place.as_str(), "--mark-seen"], args].concat()).expect_code(0);
        expected.extend_from_slice(more);
        expected.sort_unstable();
        assert_eq!(seen(&user), expected, "{args:?}");
    }
    // What did not come is not marked.
    fetch(&tool, &[&place, "10", "--mark-seen", "--part", "7"]).expect_code(3);
    assert_eq!(seen(&user), expected);
    let after: Vec<_> = user.messages("INBOX").into_iter().map(|message| (message.uid, message.body)).collect();
    assert!(after == before.into_iter().map(|message| (message.uid, message.body)).collect::<Vec<_>>());
}

#[test]
fn nothing_that_steers_a_terminal_reaches_one_or_a_pipe() {
    let user = dovecot_user!("fetch-terminal");
    let mut all = everything();
    for (number, hostile) in
        ["\x1b]0;x\x07", "\x1b[2J", "\u{9b}2J", "\u{202e}abc", "a\rb", "\u{200f}\u{2066}", "=?utf-8?q?=1B[2J=C2=9B=0D=E2=80=AE?="]
            .iter()
            .enumerate()
    {
        let message = format!(
            "From: {hostile} <{hostile}@example.org>\r\nSubject: {hostile}\r\nTo: \"{hostile}\" <a@b.c>\r\nMessage-ID: <{hostile}>\r\nX-{number}: {hostile}\r\n\
             Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{hostile}&#27;[2J&#x9b;</p>\r\n\
             --x\r\nContent-Type: application/{hostile}; name=\"{hostile}.pdf\"\r\nContent-ID: <{hostile}>\r\n\r\n{hostile}\r\n--x--\r\n"
        );
        all.push((format!("hostile {number}"), message.into_bytes()));
    }
    user.deliver("INBOX", &all.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>());
    let tool = Tool::new();
    let place = user.imaps();
    for args in [
        &["fetch", &place, "--all"][..],
        &["fetch", &place, "--all", "--headers"],
        &["fetch", &place, "--all", "--text"],
        &["fetch", &place, "--all", "-o", "json"],
        &["fetch", &place, "--all", "-o", "jsonl"],
        &["fetch", &place, "--all", "--attachments", "files"],
        &["fetch", &place, "--all", "--attachments", "files", "--json"],
        &["list", &place],
        &["list", &place, "-o", "tsv", "--fields", "subject,from,to,message_id"],
        &["list", &place, "--json"],
    ] {
        let (shown, code) = terminal::run(&tool, &arguments(&tool, args));
        assert!(code == 0 && !shown.is_empty(), "{args:?} ended with {code}");
        assert_eq!(terminal::harm(&shown), None, "{args:?} on a terminal");
        // Into a pipe mail itself goes as it is; all else is harmless there too.
        let is_mail = args.contains(&"--headers") || (args.len() == 3 && args[0] == "fetch");
        if !is_mail {
            let output = tool.run(&arguments(&tool, args)).expect_code(0);
            assert_eq!(terminal::harm(&output.stdout), None, "{args:?} into a pipe");
            assert_eq!(terminal::harm(output.stderr.as_bytes()), None, "{args:?} on standard error");
        }
    }
    for (message, (name, _)) in user.messages("INBOX").iter().zip(&all) {
        let numbers: Vec<String> = Parts::of(&message.body).list().iter().filter_map(|part| part.number.clone()).take(2).collect();
        for number in numbers.iter().filter(|_| name.starts_with("hostile") || name == "escape-sequences" || name == "all-octets") {
            let (shown, code) = terminal::run(&tool, &arguments(&tool, &["fetch", &place, &message.uid.to_string(), "--part", number]));
            assert_eq!((code, terminal::harm(&shown)), (0, None), "{name} {number}");
        }
    }
}

#[test]
fn a_large_message_is_taken_apart_and_a_larger_one_is_named() {
    let tool = Tool::new();
    std::fs::create_dir(tool.path("big")).unwrap();
    let with = |octets: usize| {
        let mut message = b"Subject: big\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\nContent-Type: application/zip\r\n\r\n".to_vec();
        message.extend(mail::Random::new(9).text(64 * 1024).repeat(octets / (64 * 1024)));
        message.extend_from_slice(b"\r\n--x--\r\n");
        message
    };
    std::fs::write(tool.path("big/1.eml"), with(30_000_000)).unwrap();
    std::fs::write(tool.path("big/2.eml"), with(50_000_000)).unwrap();
    std::fs::write(tool.path("big/3.eml"), letter()).unwrap();
    let output = fetch(&tool, &["eml:big", "-o", "jsonl"]).expect_code(3).expect_stderr("INBOX 2: it is larger than 40 MiB");
    let lines: BTreeMap<u64, Value> = output
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|value: Value| (value["number"].as_u64().unwrap(), value))
        .collect();
    assert_eq!(lines.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(lines[&1]["text"], "text\n");
    let output = fetch(&tool, &["eml:big", "1", "--attachments", "files", "--json"]).expect_code(0).json();
    assert!(output["attachments"][0]["size"].as_u64().unwrap() > 29_000_000);
}
