//! `flag`: what becomes of flags on a real server, and what is done where a server has less, refuses, or where somebody
//! else changes the same messages at the same moment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::proxy::{Proxy, Weather};
use crate::support::tool::{Output, Tool};
use crate::support::{mail, tls};

/// Runs a verb with what every server of these tests needs.
fn run(tool: &Tool, args: &[&str], input: Option<&[u8]>) -> Output {
    let (password, ca) = (tool.password_file(), tls::identity().ca_file());
    let mut all = vec![args[0], "--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()];
    all.extend(&args[1..]);
    match input {
        Some(input) => tool.run_with_input(&all, input),
        None => tool.run(&all),
    }
}

fn flag(args: &[&str]) -> Output {
    let mut all = vec!["flag"];
    all.extend(args);
    run(&Tool::new(), &all, None)
}

/// UID → flags, as the independent client sees them.
fn flags(user: &User) -> BTreeMap<u32, String> {
    user.messages("INBOX").into_iter().map(|message| (message.uid, message.flags.join(" "))).collect()
}

fn server_flags(server: &Imapd) -> BTreeMap<u32, String> {
    server.mailbox("INBOX").messages.into_iter().map(|message| (message.uid, message.flags.join(" "))).collect()
}

fn filled(behaviour: Behaviour, count: u64) -> Imapd {
    let server = Imapd::start(behaviour);
    server.fill("INBOX", &mail::many(count, 20));
    server
}

#[test]
fn flags_are_added_removed_and_set_and_a_second_run_changes_nothing() {
    let user = dovecot_user!("flag-verbs");
    user.deliver("INBOX", &mail::many(4, 20));
    let url = user.imaps();
    let output = flag(&[&url, "--add", "seen,Work", "1", "2:3", "--json"]).expect_code(0);
    let document = output.json();
    assert_eq!(document["schema"], "mailhaul.flag/1");
    assert_eq!((&document["place"], &document["selected"], &document["changed"]), (&json!(url), &json!(3), &json!(3)));
    assert_eq!(document["messages"][0], json!({"folder": "INBOX", "uid": 1, "new_uid": null, "flags": ["seen", "Work"]}));
    assert_eq!(
        flags(&user).values().collect::<Vec<_>>(),
        ["Work \\Seen", "Work \\Seen", "Work \\Seen", ""].map(str::to_owned).iter().collect::<Vec<_>>()
    );
    let again = flag(&[&url, "--add", "SEEN,work", "1:3", "--json"]).expect_code(0).json();
    assert_eq!((&again["selected"], &again["changed"], &again["messages"]), (&json!(3), &json!(0), &json!([])));
    // Both at once, of all.
    flag(&[&url, "--add", "flagged", "--remove", "Work", "--all"]).expect_code(0);
    flag(&[&url, "--set", "draft,deleted", "2"]).expect_code(0);
    flag(&[&url, "--set", "", "3"]).expect_code(0);
    let expected = [(1, "\\Flagged \\Seen"), (2, "\\Deleted \\Draft"), (3, ""), (4, "\\Flagged")];
    assert_eq!(flags(&user), expected.map(|(uid, flags)| (uid, flags.to_owned())).into());
}

#[test]
fn a_list_is_piped_into_flag() {
    let user = dovecot_user!("flag-pipe");
    user.plant(
        "INBOX",
        &[Plant::new("Subject: 1\r\n\r\n").flag("\\Flagged"), Plant::new("Subject: 2\r\n\r\n"), Plant::new("Subject: 3\r\n\r\n")],
    );
    let tool = Tool::new();
    let uids = run(&tool, &["list", &user.imaps(), "--limit", "2", "--fields", "uid", "-o", "tsv"], None).expect_code(0).stdout;
    let output = run(&tool, &["flag", &user.imaps(), "--add", "seen", "-"], Some(&uids)).expect_code(0);
    assert_eq!(output.text(), "INBOX\t2\t\tseen\nINBOX\t3\t\tseen\n");
    assert_eq!(flags(&user).into_values().collect::<Vec<_>>(), ["\\Flagged", "\\Seen", "\\Seen"]);
}

#[test]
fn wrong_words_end_with_2_before_anything_is_connected_to() {
    let server = filled(Behaviour::default(), 1);
    let url = server.url();
    for args in [
        &["--add", "recent", "1"][..],
        &["--add", "a b", "1"],
        &["--add", "\\Junk", "1"],
        &["--set", "seen", "--add", "draft", "1"],
        &["--add", "seen", "--remove", "seen", "1"],
        &["1"],
        &["--add", "seen"],
    ] {
        let mut all = vec![url.as_str()];
        all.extend(args);
        flag(&all).expect_code(2);
    }
    flag(&[&url, "--add", "seen"]).expect_code(2).expect_stderr("nothing is selected").expect_stderr("--all");
    assert_eq!(server.connections(), 0);
    flag(&["pop3://ann@127.0.0.1:1?tls=none", "--add", "seen", "1"]).expect_code(2).expect_stderr("POP3 has no flags");
}

#[test]
fn a_dry_run_names_each_message_and_changes_nothing() {
    let user = dovecot_user!("flag-dry");
    user.plant(
        "INBOX",
        &[Plant::new("From: Ann <ann@example.org>\r\nSubject: one\r\n\r\n"), Plant::new("Subject: two\r\n\r\n").flag("\\Seen")],
    );
    let before = flags(&user);
    let document = flag(&[&user.imaps(), "--add", "seen", "--all", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!((&document["dry_run"], &document["selected"], &document["changed"]), (&json!(true), &json!(2), &json!(1)));
    let message = &document["messages"][0];
    assert_eq!((&message["uid"], &message["subject"], &message["flags"]), (&json!(1), &json!("one"), &json!(["seen"])));
    assert_eq!(message["from"][0]["address"], "ann@example.org");
    assert_eq!(document["messages"].as_array().unwrap().len(), 1);
    assert_eq!(flags(&user), before);
}

#[test]
fn a_message_that_is_not_there_is_named() {
    let user = dovecot_user!("flag-missing");
    user.deliver("INBOX", &mail::many(2, 20));
    let output = flag(&[&user.imaps(), "--add", "seen", "2", "77", "--json"]).expect_code(3).expect_stderr("77");
    let document = output.json();
    assert_eq!((&document["changed"], &document["problems"][0]["uid"]), (&json!(1), &json!(77)));
    assert_eq!(flags(&user)[&2], "\\Seen");
}

#[test]
fn flags_the_folder_does_not_keep_are_named_and_the_others_stored() {
    let server = filled(Behaviour { permanent_flags: Some("\\Seen \\Flagged".to_owned()), ..Behaviour::default() }, 2);
    flag(&[&server.url(), "--add", "seen,Work,draft", "1"]).expect_code(3).expect_stderr("does not keep the flag Work, draft");
    assert_eq!(server_flags(&server)[&1], "\\Seen");
    flag(&[&server.url(), "--set", "Work", "1"]).expect_code(6).expect_stderr("Work");
    assert_eq!(server_flags(&server)[&1], "\\Seen", "nothing is left of what was to be set, so nothing is taken away");
}

#[test]
fn a_folder_that_can_only_be_read_is_refused_clearly() {
    let server = filled(Behaviour { read_only: true, ..Behaviour::default() }, 2);
    flag(&[&server.url(), "--add", "seen", "1"]).expect_code(6).expect_stderr("can only be read");
    assert!(!server.log().iter().any(|line| line.contains("STORE")));
}

#[test]
fn what_somebody_else_changed_meanwhile_is_looked_at_once_more() {
    // Still chosen: done at the second look.
    let behaviour = Behaviour { meddling: vec![(2, "+Other".to_owned())], ..Behaviour::default().with("CONDSTORE") };
    let server = filled(behaviour, 3);
    let output = flag(&[&server.url(), "--add", "seen", "--unseen", "--json"]).expect_code(0);
    assert_eq!(output.json()["changed"], 3);
    assert_eq!(server_flags(&server)[&2], "Other \\Seen");
    assert!(server.log().iter().any(|line| line.contains("UNCHANGEDSINCE")));

    // No longer chosen: left alone, and nothing to complain about.
    let behaviour = Behaviour { meddling: vec![(2, "-\\Flagged".to_owned())], ..Behaviour::default().with("CONDSTORE") };
    let server = filled(behaviour, 3);
    server.change("INBOX", |mailbox| mailbox.messages.iter_mut().for_each(|message| message.flags.push("\\Flagged".to_owned())));
    let output = flag(&[&server.url(), "--add", "deleted", "--flagged", "--json"]).expect_code(0);
    assert_eq!(output.json()["changed"], 2);
    assert_eq!(server_flags(&server)[&2], "");

    // Changed again and again: named.
    let meddling = vec![(2, "+One".to_owned()), (2, "+Two".to_owned()), (2, "+Three".to_owned())];
    let server = filled(Behaviour { meddling, ..Behaviour::default().with("CONDSTORE") }, 3);
    let output = flag(&[&server.url(), "--add", "seen", "--unseen", "--json"]).expect_code(3).expect_stderr("INBOX 2: somebody else");
    assert_eq!((&output.json()["changed"], &output.json()["problems"][0]["uid"]), (&json!(2), &json!(2)));
    assert!(!server_flags(&server)[&2].contains("Seen"));
}

#[test]
fn without_condstore_or_when_uids_chose_no_condition_is_sent() {
    for (behaviour, choice) in [(Behaviour::default(), "--unseen"), (Behaviour::default().with("CONDSTORE"), "1:3")] {
        let server = filled(Behaviour { meddling: vec![(2, "+Other".to_owned())], ..behaviour }, 3);
        assert_eq!(flag(&[&server.url(), "--add", "seen", choice, "--json"]).expect_code(0).json()["changed"], 3);
        assert!(!server.log().iter().any(|line| line.contains("UNCHANGEDSINCE")));
    }
}

#[test]
fn a_refused_store_is_an_error_with_the_servers_words() {
    let fault = CommandFault::Refuse("NO [LIMIT] not now".to_owned());
    let server = filled(Behaviour::default().fault("UID STORE", 1, fault.clone()), 3);
    flag(&[&server.url(), "--add", "seen", "--all"]).expect_code(6).expect_stderr("[LIMIT] not now");
    // Done in part: what was done is told, the rest is named.
    let server = filled(Behaviour::default().fault("UID STORE", 2, fault), 3);
    server.change("INBOX", |mailbox| mailbox.messages[0].flags.push("Old".to_owned()));
    let output = flag(&[&server.url(), "--add", "seen", "--remove", "Old", "--all", "--json"]).expect_code(3);
    let document = output.json();
    assert_eq!((&document["changed"], &document["problems"][0]["uid"]), (&json!(2), &json!(1)));
    assert!(document["problems"][0]["reason"].as_str().unwrap().contains("not now"));
}

#[test]
fn a_lost_connection_is_told_for_what_it_is() {
    for fault in [CommandFault::HangUpBefore, CommandFault::HangUpAfter] {
        let server = filled(Behaviour::default().fault("UID STORE", 1, fault), 2);
        let output = flag(&[&server.url(), "--add", "seen", "--all", "--json"]).expect_code(5);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["changed"], 0);
        assert!(document["problems"][1]["reason"].as_str().unwrap().contains("not known"), "{document}");
        // Run again it comes to the same end either way.
        flag(&[&server.url(), "--add", "seen", "--all"]).expect_code(0);
        assert_eq!(server_flags(&server).into_values().collect::<Vec<_>>(), ["\\Seen", "\\Seen"]);
    }
}

#[test]
fn what_was_done_is_told_although_the_connection_is_lost_over_a_look_at_what_was_not() {
    let behaviour = Behaviour::default().fault("UID STORE", 2, CommandFault::Refuse("NO not that".to_owned())).fault(
        "UID FETCH",
        2,
        CommandFault::HangUpBefore,
    );
    let server = filled(behaviour, 2);
    server.change("INBOX", |mailbox| mailbox.messages[0].flags = vec!["\\Flagged".into()]);
    let output = flag(&[&server.url(), "--add", "seen", "--remove", "flagged", "--all", "--json"]).expect_code(5);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["changed"], &document["messages"][0]["uid"]), (&1.into(), &2.into()), "{document}");
    assert_eq!(document["problems"].as_array().unwrap().len(), 1, "{document}");
}

#[test]
fn ten_thousand_scattered_messages_take_few_round_trips() {
    let user = dovecot_user!("flag-many");
    let one = |flagged: bool| {
        let plant = Plant::new("Subject: x\r\n\r\n");
        if flagged { plant.flag("\\Flagged") } else { plant }
    };
    let messages: Vec<Plant> = (0..20_000).map(|number| one(number % 2 == 0)).collect();
    user.plant("INBOX", &messages);
    // The server takes them in before the clock, so to speak, starts.
    assert_eq!(user.client().examine("INBOX").unwrap().exists, 20_000);
    let proxy = Proxy::start(user.dovecot().ports().imaps, Weather { delay: Duration::from_millis(20), ..Weather::default() });
    let url = format!("imaps://{}@localhost:{}", user.name(), proxy.port());
    let tool = Tool::new();
    let trace = tool.trace();
    let output =
        run(&tool, &["flag", &url, "--add", "seen", "--flagged", "--json", "--trace", trace.to_str().unwrap()], None).expect_code(0);
    assert_eq!(output.json()["changed"], 10_000);
    let trace = tool.read_trace();
    let after_login = trace.lines().skip_while(|line| !line.contains("S: A1 OK")).skip(1);
    let mut trips = 0;
    let mut server_spoke = true;
    for line in after_login {
        let client = line.split(' ').nth(1) == Some("C:");
        trips += u32::from(client && server_spoke);
        server_spoke = !client;
    }
    assert!(trips > 3, "{trips} round trips: the trace is not what this test takes it for");
    assert!(trips <= 12, "{trips} round trips");
    let mut client = user.client();
    client.examine("INBOX").unwrap();
    assert_eq!(client.uid_search("SEEN FLAGGED").unwrap().len(), 10_000);
    assert_eq!(client.uid_search("SEEN").unwrap().len(), 10_000);
    client.logout().unwrap();
}

#[test]
fn flags_of_a_maildir_are_letters_in_its_file_names() {
    let tool = Tool::new();
    let root = tool.path("mail");
    for half in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(root.join(half)).unwrap();
    }
    std::fs::write(root.join("dovecot-keywords"), "0 Work\n").unwrap();
    std::fs::write(root.join("new/1.a"), "Subject: one\r\n\r\n").unwrap();
    std::fs::write(root.join("cur/2.b:2,FZ"), "Subject: two\r\n\r\n").unwrap();
    std::fs::write(root.join("cur/3.c:2,S"), "Subject: three\r\n\r\n").unwrap();
    let names = || {
        let mut names: Vec<String> = Vec::new();
        for half in ["new", "cur"] {
            names.extend(
                std::fs::read_dir(root.join(half))
                    .unwrap()
                    .map(|entry| format!("{half}/{}", entry.unwrap().file_name().into_string().unwrap())),
            );
        }
        names.sort();
        names
    };
    let place = format!("maildir:{}", root.display());
    let before = names();
    let dry = run(&tool, &["flag", &place, "--add", "seen", "--all", "--dry-run", "--json"], None).expect_code(0).json();
    assert_eq!((&dry["changed"], &dry["messages"][1]["subject"], &dry["messages"][1]["number"]), (&json!(2), &json!("two"), &json!(2)));
    assert_eq!(names(), before);
    let done = run(&tool, &["flag", &place, "--add", "seen,Work", "--unseen", "--json"], None).expect_code(0).json();
    assert_eq!((&done["selected"], &done["changed"]), (&json!(2), &json!(2)));
    assert_eq!(names(), ["cur/1.a:2,Sa", "cur/2.b:2,FSZa", "cur/3.c:2,S"], "a letter nobody knows stays");
    assert_eq!(run(&tool, &["flag", &place, "--add", "seen,Work", "1:2", "--json"], None).expect_code(0).json()["changed"], 0);
    run(&tool, &["flag", &place, "--set", "draft,Other", "2", "9"], None).expect_code(3).expect_stderr("9: there is no such");
    assert_eq!(std::fs::read_to_string(root.join("dovecot-keywords")).unwrap(), "0 Work\n1 Other\n");
    run(&tool, &["flag", &place, "--remove", "seen", "3"], None).expect_code(0);
    assert_eq!(names(), ["cur/1.a:2,Sa", "cur/2.b:2,DZb", "cur/3.c:2,"]);
    assert_eq!(std::fs::read(root.join("cur/2.b:2,DZb")).unwrap(), b"Subject: two\r\n\r\n");
    // Nothing stands in the way of another file.
    std::fs::write(root.join("cur/3.c:2,F"), "Subject: other\r\n\r\n").unwrap();
    run(&tool, &["flag", &place, "--add", "flagged", "--subject", "three"], None).expect_code(3).expect_stderr("another file");
    assert!(names().contains(&"cur/3.c:2,".to_owned()) && names().contains(&"cur/3.c:2,F".to_owned()));
}

#[test]
fn a_hundred_thousand_uids_from_standard_input_are_taken() {
    let user = dovecot_user!("flag-stdin");
    let messages: Vec<Plant> = (0..3000).map(|_| Plant::new("Subject: x\r\n\r\n")).collect();
    user.plant("INBOX", &messages);
    let input: String = (0..100_000).map(|number| format!("{}\n", 2 * number + 1)).collect();
    let tool = Tool::new();
    let trace = tool.trace();
    let output = run(
        &tool,
        &["flag", &user.imaps(), "--add", "seen,Work", "-", "--trace", trace.to_str().unwrap(), "-o", "json"],
        Some(input.as_bytes()),
    );
    // Each of them was named, so each that is not there is.
    let document = output.expect_code(3).json();
    assert_eq!((&document["changed"], document["problems"].as_array().unwrap().len()), (&json!(1500), 98_500));
    let long = |line: &str| line.split_once("[… ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    let trace = tool.read_trace();
    let lengths: Vec<u32> = trace.lines().filter(|line| line.contains("C: ")).filter_map(long).collect();
    assert!(lengths.len() > 1 && lengths.iter().all(|octets| *octets <= 8000), "{lengths:?}");
    let mut client = user.client();
    client.examine("INBOX").unwrap();
    assert_eq!(client.uid_search("SEEN KEYWORD Work").unwrap().len(), 1500);
    client.logout().unwrap();
}
