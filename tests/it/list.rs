//! `list`: rows of IMAP and POP3 mailboxes and of local stores, in every format.

mod endless;
mod harm;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::Plant;
use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Odd};
use crate::support::pop3d::{self, Pop3d};
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
        assert_eq!(rows(&["--uid", "3", "--uid", "1,1:2"]), "1\n2\n3\n");
        assert_eq!(rows(&["--reverse", "--uid", "2,4:6"]), "6\n5\n4\n2\n");
        assert_eq!(rows(&["--reverse", "--limit", "2"]), "9\n8\n");
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
fn with_several_places_a_problem_says_whose_and_the_document_names_it_too() {
    let tool = Tool::new();
    for (dir, count) in [("one", 1), ("two", 3)] {
        std::fs::create_dir(tool.path(dir)).unwrap();
        for number in 1..=count {
            std::fs::write(tool.path(dir).join(format!("{number}.eml")), format!("Subject: {number}\n\nx\n")).unwrap();
        }
    }
    let output = tool.run(&["list", "eml:one", "eml:two", "--uid", "3", "--fields", "place,number", "--json"]).expect_code(3);
    assert_eq!(output.stderr, "eml:one//INBOX 3: there is no such message\n");
    let document = output.json();
    assert_eq!(document["messages"], serde_json::json!([{"place": "eml:two", "number": 3}]));
    let problem = serde_json::json!({"folder": "eml:one//INBOX", "uid": 3, "reason": "there is no such message"});
    assert_eq!(document["problems"], serde_json::json!([problem]));

    let output = tool.run(&["list", "eml:one", "eml:none", "--json"]).expect_code(3);
    assert_eq!(output.json()["problems"][0]["folder"], "eml:none");
    let output = tool.run(&["list", "eml:one", "--uid", "3", "--json"]).expect_code(3).expect_stderr("INBOX 3: there is no such message");
    assert_eq!(
        output.text(),
        "{\"schema\":\"mailhaul.list/1\",\"places\":[\"eml:one\"],\"messages\":[],\"problems\":[{\"folder\":\"INBOX\",\"uid\":3,\"reason\":\"there is no such message\"}]}\n"
    );
    assert!(tool.run(&["list", "eml:one", "--json"]).expect_code(0).json().get("problems").is_none());
    let fetched = tool.run(&["fetch", "eml:one", "3", "--json"]).expect_code(3).json();
    assert_eq!((fetched["problems"][0]["uid"].as_u64(), fetched["messages"].as_array().map(Vec::len)), (Some(3), Some(0)));
}

#[test]
fn nothing_on_standard_input_is_no_message() {
    let tool = Tool::new();
    assert_eq!(tool.run_with_input(&["list", "-"], b"").expect_code(0).text(), "");
    assert_eq!(tool.run_with_input(&["list", "-", "--fields", "number,subject"], b"Subject: one\n\nx\n").expect_code(0).text(), "1\tone\n");
}

#[test]
fn a_wrong_field_or_place_ends_with_2_before_anything_is_connected_to() {
    let server = Imapd::start(imapd::Behaviour::default());
    let output = list(&Tool::new(), &[&server.url(), "--fields", "uid,colour", "--json"]).expect_code(2);
    let error: Value = serde_json::from_str(&output.stderr).unwrap();
    assert!(error["message"].as_str().unwrap().contains("colour") && error["hint"].as_str().unwrap().contains("subject"), "{error}");
    assert!(output.stdout.is_empty());
    list(&Tool::new(), &[&server.url(), "nowhere"]).expect_code(2).expect_stderr("nowhere");
    list(&Tool::new(), &[&server.url(), "-", "-"]).expect_code(2).expect_stderr("standard input is named twice");
    assert_eq!(server.connections(), 0);
}

#[test]
fn standard_input_holds_a_message_or_an_mbox_or_nothing() {
    let tool = Tool::new();
    let subjects = |input: &[u8]| tool.run_with_input(&["list", "-", "--fields", "subject"], input).expect_code(0).text();
    assert_eq!(subjects(b"Subject: one\r\n\r\nbody\r\n"), "one\n");
    assert_eq!(
        subjects(b"From a@b Thu Jan  1 00:00:00 1970\nSubject: one\n\n\nFrom a@b Thu Jan  1 00:00:00 1970\nSubject: two\n\n\n"),
        "one\ntwo\n"
    );
    assert_eq!(subjects(b""), "");
}

/// What the program asked after EXAMINE, without the number of the connection and LOGOUT.
fn asked(server: &Imapd) -> Vec<String> {
    let log = server.log();
    let behind = log.iter().skip_while(|line| !line.contains("EXAMINE")).skip(1).filter(|line| !line.contains("LOGOUT"));
    behind.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn the_newest_are_asked_for_by_where_they_stand_and_nothing_else_is_asked() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &mail::many(30, 10));
    server.change("INBOX", |mailbox| mailbox.messages.iter_mut().for_each(|message| message.uid *= 10));
    let output = list(&Tool::new(), &[&server.url(), "--limit", "3", "--fields", "uid,subject"]).expect_code(0);
    assert_eq!(output.text(), "280\tmessage 27\n290\tmessage 28\n300\tmessage 29\n");
    let asked = asked(&server);
    assert!(asked.len() == 1 && asked[0].starts_with("FETCH 28:* "), "{asked:?}");
}

#[test]
fn newest_messages_that_a_server_forgets_to_tell_of_are_searched_for() {
    let server = Imapd::start(imapd::Behaviour { unlisted: vec![29], ..imapd::Behaviour::default() });
    server.fill("INBOX", &mail::many(30, 10));
    let output = list(&Tool::new(), &[&server.url(), "--limit", "3", "--fields", "uid"]).expect_code(0);
    // 29 is told of by nothing; whether it is still there only the search says.
    assert_eq!(output.text(), "28\n30\n");
    let asked = asked(&server);
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].starts_with("UID SEARCH") && asked[2].starts_with("UID FETCH 28:30 "), "{asked:?}");
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
        [(shut.url(), 4), (nobody, 5), (open.url_of("Missing"), 2), ("nowhere".to_owned(), 2), (format!("maildir:{}", tool.text("no")), 2)];
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
    let stream = b"From a@b Thu Jan  1 00:00:00 1970\nSubject: b\n\nx\n\nFrom a@b Thu Jan  1 00:00:00 1970\nSubject: a\n\ny\n";
    std::fs::write(tool.path("box.mbox"), stream).unwrap();
    let mbox = format!("mbox:{}", tool.text("box.mbox"));
    assert_eq!(rows(&[&mbox, "--fields", "number,subject", "--sort", "subject"]), "2\ta\n1\tb\n");
    assert_eq!(rows(&[&mbox, "--fields", "number,subject", "--reverse", "--limit", "1"]), "2\ta\n");
    let output = tool.run_with_input(&["list", "-", "--fields", "number,subject"], stream).expect_code(0);
    assert_eq!(output.text(), "1\tb\n2\ta\n");
    tool.run_with_input(&["list", "-", "--uid", "-"], stream).expect_code(2);
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

#[test]
fn a_message_that_was_named_and_is_not_there_is_named_again() {
    let user = dovecot_user!("list-missing");
    user.deliver("INBOX", &mail::many(3, 20));
    let tool = Tool::new();
    let maildir = format!("maildir:{}", user.home().join("Maildir").display());
    for (url, field) in [(user.imaps(), "uid"), (user.pop3s(), "number"), (maildir, "number")] {
        for set in ["2,77", "1:2,77", "77,2,2"] {
            let output =
                list(&tool, &[&url, "--fields", field, "--uid", set]).expect_code(3).expect_stderr("INBOX 77: there is no such message");
            assert!(output.text().ends_with("2\n"), "{output}");
            assert_eq!(output.stderr.lines().count(), 1, "{output}");
        }
        assert_eq!(list(&tool, &[&url, "--fields", field, "--uid", "3:77"]).expect_code(0).text(), "3\n");
    }
}

fn letter(number: usize, from: &str, subject: &str, date: &str) -> String {
    let date = if date.is_empty() { String::new() } else { format!("Date: {date}\r\n") };
    format!(
        "From: {from}\r\nTo: z{} <t{}@example.org>, a@b.c\r\nSubject: {subject}\r\n{date}Message-ID: <{number}@x>\r\n\r\n",
        9 - number % 9,
        number % 4
    )
}

#[test]
fn this_program_and_the_server_sort_alike() {
    let user = dovecot_user!("list-sort");
    let letters = [
        ("Ann <ann@example.org>", "hello", "Tue, 1 Jul 2003 10:52:37 +0200"),
        ("BOB@example.org", "Re: hello", "Tue, 1 Jul 2003 10:52:37 -0200"),
        ("\"Zoe\" <abe@example.org>", "[list] Re: apple (fwd)", "Mon, 30 Jun 2003 23:59:59 +0000"),
        ("ann2@a.example", "Zebra", ""),
        ("ann@b.example", "", "Wed, 2 Jul 2003 00:00:00 +0000"),
        ("", "[only a tag]", "nonsense"),
        ("Bob <bob@example.org>", "=?utf-8?q?Re=3A_=5Bx=5D_banana?=", "Fri, 13 Nov 2020 09:00:00 +0530"),
        ("c@example.org", "Fwd: [x] [y] zebra", "Fri, 13 Nov 2020 03:30:00 GMT"),
        ("d@example.org", "[Fwd: Re: apple]", "1 Jan 1999 00:00:00 +0000"),
        ("D <D@example.org>", "banana  split", "Thu, 01 Jan 2015 12:00:00 -0800"),
        ("eve@example.org", "Re[2]: HELLO", "Tue, 1 Jul 2003 08:52:37 +0000"),
        ("eve@example.org", "Rebanana", "Tue, 1 Jul 2003 08:52:38 +0000"),
    ];
    let plants: Vec<Plant> = (0..)
        .zip(letters)
        .map(|(number, (from, subject, date))| {
            let body = letter(number, from, subject, date) + &"x\r\n".repeat(number * 7 % 5);
            Plant::new(body).date(1_000_000_000 + i64::try_from(number * 5 % 12 / 2).unwrap() * 86_400 * 400)
        })
        .collect();
    user.plant("INBOX", &plants);
    user.create("Empty");
    let tool = Tool::new();
    let url = user.imaps();
    let maildir = format!("maildir:{}", user.home().join("Maildir").display());
    for key in ["date", "arrival", "size", "from", "to", "cc", "subject", "subject,size", "from,date", "to,from,subject"] {
        for more in [vec![], vec!["--reverse"], vec!["--limit", "4"], vec!["--reverse", "--limit", "3"], vec!["--smaller", "100k"]] {
            let rows = |place: &str, extra: &[&str]| {
                let mut args = vec![place, "--sort", key, "--fields", "message_id"];
                args.extend(&more);
                args.extend(extra);
                list(&tool, &args).expect_code(0).text()
            };
            let server = rows(&url, &[]);
            assert!(!server.is_empty());
            // Over several folders it is sorted here.
            assert_eq!(rows(&url, &["--all-folders"]), server, "{key} {more:?} on IMAP, sorted here");
            if !key.contains("arrival") || more.is_empty() {
                assert_eq!(rows(&maildir, &[]), server, "{key} {more:?} in a Maildir");
            }
            if key == "subject" || key == "from" {
                assert_eq!(rows(&user.pop3s(), &[]), server, "{key} {more:?} over POP3");
            }
        }
    }
    let output = list(&tool, &[&url, "--sort", "subject,uid", "--reverse", "--fields", "subject,uid", "--limit", "3"]).expect_code(0);
    assert_eq!(output.text(), "[only a tag]\t6\nFwd: [x] [y] zebra\t8\nZebra\t4\n");
    list(&tool, &[&url, "--sort", "colour"]).expect_code(2);
}

#[test]
fn only_the_rows_that_are_wanted_are_fetched_in_the_servers_order() {
    let user = dovecot_user!("list-sort-limit");
    user.deliver("INBOX", &mail::many(700, 30));
    let tool = Tool::new();
    let trace = tool.path("trace");
    let args = [&user.imaps(), "--sort", "size", "--limit", "5", "--trace", trace.to_str().unwrap(), "--fields", "uid"];
    assert_eq!(list(&tool, &args).expect_code(0).text().lines().count(), 5);
    let trace = std::fs::read_to_string(trace).unwrap();
    assert_eq!(trace.lines().filter(|line| line.contains(" FETCH (")).count(), 5, "{trace}");
}

#[test]
fn a_server_that_refuses_to_sort_leaves_it_to_this_program() {
    let server = Imapd::start(imapd::Behaviour::default().with("SORT"));
    server.fill("INBOX", &[b"Subject: b\r\n\r\n".to_vec(), b"Subject: Re: a\r\n\r\n".to_vec()]);
    assert_eq!(list(&Tool::new(), &[&server.url(), "--sort", "subject", "--fields", "uid"]).expect_code(0).text(), "2\n1\n");
}

#[test]
fn all_folders_are_listed_and_one_that_cannot_be_opened_hides_no_other() {
    let user = dovecot_user!("list-all");
    user.deliver("INBOX", &mail::many(2, 10));
    for folder in ["Archive/2024", "Empty"] {
        user.create(folder);
    }
    user.deliver("Archive/2024", &mail::many(3, 10));
    let tool = Tool::new();
    let rows = |place: &str, args: &[&str]| {
        let mut all = vec![place, "--all-folders", "--fields", "folder,uid,number"];
        all.extend(args);
        list(&tool, &all).expect_code(0).text()
    };
    let imap = rows(&user.imaps(), &[]);
    assert_eq!(imap, "INBOX\t1\t\nINBOX\t2\t\nArchive/2024\t1\t\nArchive/2024\t2\t\nArchive/2024\t3\t\n");
    assert_eq!(rows(&user.imaps(), &["--limit", "1", "--reverse"]), "INBOX\t2\t\nArchive/2024\t3\t\n");
    assert_eq!(rows(&user.pop3s(), &[]), "INBOX\t\t1\nINBOX\t\t2\n");
    let maildir = format!("maildir:{}", user.home().join("Maildir").display());
    let local = rows(&maildir, &[]);
    assert_eq!(local.lines().count(), 5, "{local}");
    assert!(local.contains("Archive/2024\t\t3\n"), "{local}");
    let table = list(&tool, &[&user.imaps(), "--all-folders", "-o", "table"]).expect_code(0).text();
    assert!(table.starts_with("FOLDER "), "{table}");
    list(&tool, &[&user.imaps(), "--all-folders", "--uid", "1"]).expect_code(2);
    list(&tool, &[&format!("{}/INBOX", user.imaps()), "--all-folders"]).expect_code(2);

    let server = Imapd::start(imapd::Behaviour::default());
    for folder in ["A", "Shut", "Z"] {
        server.fill(folder, &mail::many(1, 10));
    }
    let odd = Odd::start("AUTH=PLAIN SASL-IR NAMESPACE", &mail::many(1, 10), |asked| match (asked.verb, asked.rest) {
        ("LIST", _) => {
            Answer::send("* LIST () \"/\" A\r\n* LIST () \"/\" Shut\r\n* LIST (\\Noselect) \"/\" No\r\n* LIST () \"/\" Z\r\n$tag OK\r\n")
        }
        ("EXAMINE", "\"Shut\"") => Answer::send("$tag NO [NOPERM] not for you\r\n"),
        ("EXAMINE", "\"INBOX\"") => Answer::send("$tag NO [NONEXISTENT] gone\r\n"),
        ("UID SEARCH", _) => Answer::send("* SEARCH 1\r\n$tag OK\r\n"),
        _ => Answer::Usual,
    });
    let output = list(&tool, &[&odd.url(), "--all-folders", "--fields", "folder,uid"]).expect_code(3);
    assert_eq!(output.text(), "A\t1\nZ\t1\n");
    assert!(output.stderr.contains("Shut: ") && output.stderr.contains("not for you") && output.stderr.contains("INBOX: "), "{output}");
}

#[test]
fn conditions_choose_rows_everywhere_and_a_limit_counts_those_that_match() {
    let user = dovecot_user!("list-query");
    let plants: Vec<Plant> = (0..9)
        .map(|number| {
            let subject = if number % 3 == 0 { "pear" } else { "plum" };
            Plant::new(letter(number, "a@b.c", subject, "Tue, 1 Jul 2003 10:52:37 +0200"))
                .date(1_700_000_000 + i64::try_from(number).unwrap())
        })
        .collect();
    user.plant("INBOX", &plants);
    let tool = Tool::new();
    let maildir = format!("maildir:{}", user.home().join("Maildir").display());
    for (place, field) in [(user.imaps(), "uid"), (user.pop3s(), "number"), (maildir, "number")] {
        let rows = |args: &[&str]| {
            let mut all = vec![place.as_str(), "--fields", field];
            all.extend(args);
            list(&tool, &all).expect_code(0).text()
        };
        assert_eq!(rows(&["--subject", "PEAR"]), "1\n4\n7\n", "{place}");
        assert_eq!(rows(&["--subject", "pear", "--limit", "2"]), "4\n7\n", "{place}");
        assert_eq!(rows(&["--subject", "pear", "--limit", "2", "--reverse"]), "7\n4\n", "{place}");
        assert_eq!(rows(&["--subject", "pear", "--sort", "uid", "--reverse"]), "7\n4\n1\n", "{place}");
        assert_eq!(rows(&["--subject", "plum", "--sort", "subject", "--limit", "2"]), "2\n3\n", "{place}");
        assert_eq!(rows(&["--subject", "pear", "--uid", "2:8"]), "4\n7\n", "{place}");
        assert_eq!(rows(&["--subject", "pear", "--uid", "3,4,77"]), "4\n", "{place}");
        assert_eq!(rows(&["--subject", "fig"]), "", "{place}");
    }
}
