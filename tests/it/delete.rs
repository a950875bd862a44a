//! `delete`: what is gone, what is in the Trash, and above all what is still there.

use std::collections::BTreeMap;

use serde_json::json;

use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};
use crate::support::{mail, tls};

fn delete_with(tool: &Tool, args: &[&str], input: Option<&[u8]>) -> Output {
    let (password, ca) = (tool.password_file(), tls::identity().ca_file());
    let mut all = vec!["delete", "--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()];
    all.extend(args);
    match input {
        Some(input) => tool.run_with_input(&all, input),
        None => tool.run(&all),
    }
}

fn delete(args: &[&str]) -> Output {
    delete_with(&Tool::new(), args, None)
}

fn uids(user: &User, folder: &str) -> Vec<u32> {
    user.messages(folder).into_iter().map(|message| message.uid).collect()
}

/// UID → flags.
fn state(server: &Imapd, folder: &str) -> BTreeMap<u32, String> {
    server.mailbox(folder).messages.into_iter().map(|message| (message.uid, message.flags.join(" "))).collect()
}

fn filled(behaviour: Behaviour, count: u64) -> Imapd {
    let server = Imapd::start(behaviour);
    server.fill("INBOX", &mail::many(count, 20));
    server
}

#[test]
fn messages_go_to_the_trash_whole_and_the_document_says_where() {
    let user = dovecot_user!("delete-trash");
    let bodies = mail::many(4, 50);
    user.plant("INBOX", &bodies.iter().map(|body| Plant::new(body.clone()).flag("\\Flagged").date(1_234_567_890)).collect::<Vec<_>>());
    user.create("Deleted Items");
    let output = delete(&[&user.imaps(), "2:3", "--json"]).expect_code(0).json();
    assert_eq!((&output["schema"], &output["selected"], &output["changed"]), (&json!("mailhaul.delete/1"), &json!(2), &json!(2)));
    let message = &output["messages"][0];
    assert_eq!((&message["uid"], &message["new_uid"], &message["flags"]), (&json!(2), &json!(1), &json!(["flagged"])));
    assert_eq!(uids(&user, "INBOX"), [1, 4]);
    let trash = user.messages("Deleted Items");
    assert_eq!(trash.iter().map(|message| &message.body).collect::<Vec<_>>(), [&bodies[1], &bodies[2]]);
    assert!(trash.iter().all(|message| message.internal_date == 1_234_567_890 && message.flags == ["\\Flagged"]));
}

#[test]
fn the_trash_is_found_by_use_then_by_name_else_it_has_to_be_named() {
    let special = BTreeMap::from([("Bin".to_owned(), "\\Trash".to_owned())]);
    let server = filled(Behaviour { special_use: special, ..Behaviour::default().with("MOVE") }, 3);
    server.fill("Trash", &[]);
    server.fill("Bin", &[]);
    delete(&[&server.url(), "1"]).expect_code(0);
    assert_eq!(server.mailbox("Bin").messages.len(), 1);
    // Without the attribute the name tells.
    server.behave(|behaviour| behaviour.special_use.clear());
    delete(&[&server.url(), "2"]).expect_code(0);
    assert_eq!(server.mailbox("Trash").messages.len(), 1);
    delete(&[&server.url(), "3", "--trash", "Nowhere"]).expect_code(2).expect_stderr("Nowhere");
    delete(&[&server.url(), "3", "--trash", "Bin"]).expect_code(0);
    assert_eq!(server.mailbox("Bin").messages.len(), 2);

    let server = filled(Behaviour::default().with("MOVE"), 1);
    delete(&[&server.url(), "1"]).expect_code(2).expect_stderr("--trash FOLDER");
    assert_eq!(server.mailbox("INBOX").messages.len(), 1);
    // In the Trash itself only one thing can be meant, and it has to be said.
    server.fill("Trash", &mail::many(2, 20));
    delete(&[&server.url_of("Trash"), "1"]).expect_code(2).expect_stderr("--permanently");
    assert_eq!(server.mailbox("Trash").messages.len(), 2);
    delete(&[&server.url_of("Trash"), "1", "--permanently"]).expect_code(0);
    assert_eq!(state(&server, "Trash").into_keys().collect::<Vec<_>>(), [2]);
}

#[test]
fn permanently_takes_just_the_named_whatever_else_is_marked() {
    let user = dovecot_user!("delete-permanently");
    let one = || Plant::new("Subject: x\r\n\r\n");
    user.plant("INBOX", &[one(), one().flag("\\Deleted"), one(), one().flag("\\Deleted"), one()]);
    let output = delete(&[&user.imaps(), "--permanently", "3", "4", "-o", "tsv"]).expect_code(0);
    assert_eq!(output.text().lines().count(), 2);
    assert_eq!(uids(&user, "INBOX"), [1, 2, 5]);
    assert_eq!(user.messages("INBOX")[1].flags, ["\\Deleted"], "somebody else's mark");
}

#[test]
fn a_query_and_standard_input_choose_what_goes() {
    let user = dovecot_user!("delete-choice");
    let one = |from: &str| Plant::new(format!("From: {from}@example.org\r\nSubject: x\r\n\r\n"));
    user.plant("INBOX", &[one("ann"), one("bob"), one("ann"), one("cat"), one("dan")]);
    delete(&[&user.imaps(), "--permanently", "--from", "ann"]).expect_code(0);
    assert_eq!(uids(&user, "INBOX"), [2, 4, 5]);
    delete_with(&Tool::new(), &[&user.imaps(), "--permanently", "-"], Some(b"4\n5\n")).expect_code(0);
    assert_eq!(uids(&user, "INBOX"), [2]);
    delete_with(&Tool::new(), &[&user.imaps(), "--permanently", "-"], Some(b"")).expect_code(0);
    assert_eq!(uids(&user, "INBOX"), [2], "an empty list is no message, and not all");
}

#[test]
fn without_uidplus_messages_stay_marked_and_no_bare_expunge_is_sent() {
    let server = filled(Behaviour::default().without(&["UIDPLUS"]), 3);
    server.change("INBOX", |mailbox| mailbox.messages[0].flags.push("\\Deleted".to_owned()));
    let output = delete(&[&server.url(), "--permanently", "2", "--json"]).expect_code(3).expect_stderr("no UIDPLUS");
    assert_eq!(output.json()["messages"][0]["flags"], json!(["deleted"]));
    assert_eq!(state(&server, "INBOX"), [(1, "\\Deleted"), (2, "\\Deleted"), (3, "")].map(|(uid, flags)| (uid, flags.to_owned())).into());
    assert!(!server.log().iter().any(|line| line.contains("EXPUNGE") || line.contains("CLOSE")), "{:?}", server.log());
}

#[test]
fn a_message_that_got_another_flag_meanwhile_is_not_deleted_for_the_flag_it_had() {
    let behaviour = Behaviour { meddling: vec![(2, "-\\Seen".to_owned())], ..Behaviour::default().with("CONDSTORE") };
    let server = filled(behaviour, 3);
    server.change("INBOX", |mailbox| mailbox.messages.iter_mut().for_each(|message| message.flags.push("\\Seen".to_owned())));
    let output = delete(&[&server.url(), "--permanently", "--seen", "--json"]).expect_code(0).json();
    assert_eq!((&output["selected"], &output["changed"]), (&json!(3), &json!(2)));
    assert_eq!(state(&server, "INBOX"), [(2, String::new())].into());
}

#[test]
fn a_message_that_was_marked_before_is_not_removed_for_a_flag_it_lost_meanwhile() {
    let behaviour = Behaviour { meddling: vec![(2, "-\\Seen".to_owned())], ..Behaviour::default().with("CONDSTORE") };
    let server = filled(behaviour, 3);
    server.change("INBOX", |mailbox| {
        mailbox.messages.iter_mut().for_each(|message| message.flags.extend(["\\Seen".to_owned(), "\\Deleted".to_owned()]));
    });
    delete(&[&server.url(), "--permanently", "--seen"]).expect_code(0);
    assert_eq!(state(&server, "INBOX"), [(2, "\\Deleted".to_owned())].into());
}

#[test]
fn without_move_the_trash_gets_copies_and_just_the_originals_go() {
    let server = filled(Behaviour::default(), 3);
    server.fill("Trash", &[]);
    server.change("INBOX", |mailbox| mailbox.messages[0].flags.push("\\Deleted".to_owned()));
    let output = delete(&[&server.url(), "2:3", "--json"]).expect_code(0).json();
    assert_eq!((&output["changed"], &output["messages"][1]["new_uid"]), (&json!(2), &json!(2)));
    assert_eq!(state(&server, "INBOX"), [(1, "\\Deleted".to_owned())].into());
    assert_eq!(server.mailbox("Trash").messages.len(), 2);
    assert!(!server.log().iter().any(|line| line.ends_with(" EXPUNGE")));
    // A Trash that takes no more: the messages stay.
    server.behave(|behaviour| behaviour.faults = vec![("UID COPY".to_owned(), 2, CommandFault::Refuse("NO [OVERQUOTA] full".to_owned()))]);
    delete(&[&server.url(), "1"]).expect_code(11).expect_stderr("full");
    assert_eq!(server.mailbox("INBOX").messages.len(), 1);
}

#[test]
fn a_dry_run_names_the_messages_and_nothing_is_gone() {
    let user = dovecot_user!("delete-dry");
    user.plant("INBOX", &[Plant::new("Subject: one\r\n\r\n"), Plant::new("Subject: two\r\n\r\n")]);
    user.create("Trash");
    for more in [&["--permanently"][..], &[]] {
        let url = user.imaps();
        let mut args = vec![url.as_str(), "--all", "--dry-run", "--json"];
        args.extend(more);
        let output = delete(&args).expect_code(0).json();
        assert_eq!((&output["dry_run"], &output["changed"]), (&json!(true), &json!(2)));
        assert_eq!(output["messages"][1]["subject"], "two");
        assert_eq!((uids(&user, "INBOX"), uids(&user, "Trash")), (vec![1, 2], Vec::new()));
    }
    let pop3 = delete(&[&user.pop3s(), "2", "-n", "--json"]).expect_code(0).json();
    assert_eq!((&pop3["messages"][0]["number"], &pop3["messages"][0]["subject"]), (&json!(2), &json!("two")));
    assert_eq!(uids(&user, "INBOX"), [1, 2]);
}

#[test]
fn more_than_the_ceiling_is_not_deleted_at_all() {
    let server = filled(Behaviour::default(), 60);
    let url = server.url();
    delete(&[&url, "--permanently", "--all"]).expect_code(10).expect_stderr("--max-delete 60");
    delete(&[&url, "--permanently", "1:3", "--max-delete", "2"]).expect_code(10);
    delete(&[&url, "--permanently", "1:3", "--max-delete", "1%"]).expect_code(10);
    delete(&[&url, "--permanently", "--all", "--dry-run"]).expect_code(10);
    assert_eq!(server.mailbox("INBOX").messages.len(), 60);
    assert!(!server.log().iter().any(|line| line.contains("STORE") || line.contains("EXPUNGE")));
    delete(&[&url, "--permanently", "1:50"]).expect_code(0);
    delete(&[&url, "--permanently", "--all", "--max-delete", "100%"]).expect_code(0);
    assert_eq!(server.mailbox("INBOX").messages.len(), 0);
    let maildrop = Pop3d::start(pop3d::Behaviour::default(), &mail::many(60, 20));
    delete(&[&maildrop.url(), "--all"]).expect_code(10);
    assert_eq!(maildrop.bodies().len(), 60);
}

#[test]
fn nothing_selected_ends_with_2_before_anything_is_connected_to() {
    let server = filled(Behaviour::default(), 1);
    delete(&[&server.url()]).expect_code(2).expect_stderr("--all");
    delete(&[&server.url(), "--permanently"]).expect_code(2).expect_stderr("nothing is selected");
    delete(&[&server.url(), "1", "--max-delete", "x"]).expect_code(2);
    delete(&[&server.url(), "1", "--permanently", "--trash", "Bin"]).expect_code(2);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_refusal_is_told_and_what_stays_is_named() {
    let refused = |verb: &str| filled(Behaviour::default().fault(verb, 1, CommandFault::Refuse("NO [NOPERM] hands off".to_owned())), 2);
    let server = refused("UID STORE");
    delete(&[&server.url(), "--permanently", "1"]).expect_code(6).expect_stderr("hands off");
    assert_eq!(state(&server, "INBOX")[&1], "");
    let server = refused("UID EXPUNGE");
    delete(&[&server.url(), "--permanently", "1"])
        .expect_code(3)
        .expect_stderr("marked as deleted, and not removed")
        .expect_stderr("hands off");
    assert_eq!(state(&server, "INBOX")[&1], "\\Deleted");
    let server = filled(Behaviour { permanent_flags: Some("\\Seen".to_owned()), ..Behaviour::default() }, 2);
    delete(&[&server.url(), "--permanently", "1"]).expect_code(6).expect_stderr("lets nobody delete");
    let server = filled(Behaviour { read_only: true, ..Behaviour::default() }, 2);
    delete(&[&server.url(), "--permanently", "1"]).expect_code(6).expect_stderr("can only be read");
}

#[test]
fn a_connection_lost_at_the_last_step_is_not_called_done() {
    for (fault, left) in [(CommandFault::HangUpBefore, 2), (CommandFault::HangUpAfter, 1)] {
        let server = filled(Behaviour::default().fault("UID EXPUNGE", 1, fault), 2);
        let output = delete(&[&server.url(), "--permanently", "1", "--json"]).expect_code(5);
        server.wait_until_quiet();
        assert_eq!(server.mailbox("INBOX").messages.len(), left);
        // The next run ends it, or finds nothing left to do.
        delete(&[&server.url(), "--permanently", "1", "--json"]).expect_code(if left == 2 { 0 } else { 3 });
        assert_eq!(state(&server, "INBOX").into_keys().collect::<Vec<_>>(), [2]);
        drop(output);
    }
}

#[test]
fn pop3_removes_what_was_named_at_the_end_of_the_session() {
    let user = dovecot_user!("delete-pop3");
    let bodies = mail::many(5, 30);
    user.deliver("INBOX", &bodies);
    let output = delete(&[&user.pop3s(), "2", "4:5", "--json"]).expect_code(0).json();
    assert_eq!((&output["changed"], &output["messages"][0]["number"], &output["messages"][0]["uid"]), (&json!(3), &json!(2), &json!(null)));
    mail::assert_same_mail(&user.bodies("INBOX"), [&bodies[0], &bodies[2]]);
    delete(&[&user.pop3s(), "--permanently", "1"]).expect_code(0);
    assert_eq!(user.bodies("INBOX").len(), 1);
    delete(&[&user.pop3s(), "--trash", "Trash", "1"]).expect_code(2).expect_stderr("POP3 has no Trash");
}

#[test]
fn pop3_deletes_by_unique_id_and_never_by_one_that_several_share() {
    let maildrop = Pop3d::start(pop3d::Behaviour::default(), &mail::many(4, 20));
    maildrop.maildrop(|entries| {
        for (entry, uidl) in entries.iter_mut().zip(["a", "b", "twin", "twin"]) {
            entry.uidl = uidl.to_owned();
        }
    });
    delete(&[&maildrop.url(), "--uidl", "twin"]).expect_code(10).expect_stderr("several messages");
    assert_eq!(maildrop.bodies().len(), 4);
    delete(&[&maildrop.url(), "--uidl", "b", "--uidl", "gone"]).expect_code(3).expect_stderr("gone");
    let mut left = Vec::new();
    maildrop.maildrop(|entries| left = entries.iter().map(|entry| entry.uidl.clone()).collect());
    assert_eq!(left, ["a", "twin", "twin"]);
}

#[test]
fn pop3_deletes_nothing_unless_all_went_well() {
    let all = mail::many(4, 20);
    let cases = [
        (pop3d::Behaviour { refuse_dele: vec![3], ..pop3d::Behaviour::default() }, 6, "nothing was deleted"),
        (pop3d::Behaviour { refuse_dele: vec![3], ..pop3d::Behaviour::default().without("PIPELINING") }, 6, "not this one"),
        (pop3d::Behaviour { hang_up_at_dele: Some(4), ..pop3d::Behaviour::default() }, 5, ""),
        (pop3d::Behaviour { quit: Some(false), ..pop3d::Behaviour::default() }, 5, "not known"),
    ];
    for (behaviour, code, words) in cases {
        let maildrop = Pop3d::start(behaviour, &all);
        delete(&[&maildrop.url(), "1:4"]).expect_code(code).expect_stderr(words);
        maildrop.wait_until_quiet();
        assert_eq!(maildrop.bodies().len(), 4, "{words}");
    }
    // A number that is not there: the others are not those that were meant either.
    let maildrop = Pop3d::start(pop3d::Behaviour::default(), &all);
    delete(&[&maildrop.url(), "1", "9"]).expect_code(10).expect_stderr("no message 9");
    assert_eq!(maildrop.bodies().len(), 4);
}

#[test]
fn pop3_that_ends_badly_leaves_no_certainty_and_says_so() {
    let maildrop = Pop3d::start(pop3d::Behaviour { refuse_quit: true, ..pop3d::Behaviour::default() }, &mail::many(3, 20));
    let output = delete(&[&maildrop.url(), "1:3", "--json"]).expect_code(6).expect_stderr("some are still there");
    assert_eq!((&output.json()["changed"], &output.json()["problems"][2]["uid"]), (&json!(0), &json!(3)));
    assert_eq!(maildrop.bodies().len(), 2);
}

#[test]
fn a_maildir_loses_just_the_named_files_and_only_for_ever() {
    let tool = Tool::new();
    let root = tool.path("mail");
    for half in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(root.join(half)).unwrap();
    }
    for name in ["new/1.a", "cur/2.b:2,S", "cur/3.c:2,T", "cur/4.d:2,"] {
        std::fs::write(root.join(name), format!("Subject: {name}\r\n\r\n")).unwrap();
    }
    let place = format!("maildir:{}", root.display());
    let left = || ["new/1.a", "cur/2.b:2,S", "cur/3.c:2,T", "cur/4.d:2,"].iter().filter(|name| root.join(name).exists()).count();
    delete_with(&tool, &[&place, "1"], None).expect_code(2).expect_stderr("--permanently");
    delete_with(&tool, &[&place, "--permanently"], None).expect_code(2);
    delete_with(&tool, &[&place, "--permanently", "--all", "--max-delete", "3"], None).expect_code(10);
    let dry = delete_with(&tool, &[&place, "--permanently", "--seen", "-n", "--json"], None).expect_code(0).json();
    assert_eq!(dry["messages"][0]["subject"], "cur/2.b:2,S");
    assert_eq!(left(), 4);
    delete_with(&tool, &[&place, "--permanently", "--seen"], None).expect_code(0);
    assert!(!root.join("cur/2.b:2,S").exists());
    delete_with(&tool, &[&place, "--permanently", "1", "9"], None).expect_code(3).expect_stderr("9");
    assert_eq!(left(), 2);
    assert!(root.join("cur/3.c:2,T").exists());
}
