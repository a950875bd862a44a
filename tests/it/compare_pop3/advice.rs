//! The block "IMAP or POP3 for this account?" and the forecast of what POP3 programs download again, judged by what the servers were
//! given and by the independent client.

use serde_json::Value;

use super::tool;
use crate::dovecot_user;
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool, holds_canary};
use crate::support::{canary, mail};

const LINE: usize = 80;

fn advice(output: &Output) -> Value {
    let document = output.json();
    assert!(!holds_canary(document.to_string().as_bytes()), "{document}");
    document["advice"].clone()
}

/// The block in the words for people.
#[track_caller]
fn block(output: &Output) -> String {
    let text = output.text();
    assert!(!holds_canary(text.as_bytes()), "{text}");
    let at = text.find("IMAP or POP3 for this account?").or_else(|| text.find("Stay with POP3, or move to IMAP?"));
    let block = text[at.unwrap_or_else(|| panic!("no block: {text}"))..].to_owned();
    for line in block.lines().filter(|line| !line.starts_with("Next: ")) {
        assert!(line.chars().count() <= LINE, "{line}");
    }
    assert_eq!(block.lines().filter(|line| line.starts_with("Next: mailhaul ")).count(), 1, "{block}");
    block
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn a_real_server_is_told_as_it_is_and_nothing_is_changed() {
    let user = dovecot_user!("compare-pop3-advice");
    let bodies = mail::many(40, 300);
    user.deliver("INBOX", &bodies);
    user.deliver("Old", &mail::many(50, 300)[40..]);
    let before = (user.messages("INBOX"), user.uidls());
    let tool = Tool::new();
    tool.account("work", &user);
    let advice = advice(&tool.run(&["compare-pop3", "work", "--json"]).expect_code(0));
    let (pop3, imap) = (&advice["pop3"], &advice["imap"]);
    let octets: usize = before.0.iter().map(|seen| seen.body.len()).sum();
    assert_eq!((&pop3["messages"], &pop3["octets"], &pop3["folders"]), (&40.into(), &octets.into(), &1.into()), "{pop3}");
    assert_eq!((&imap["messages"], &imap["folders"]), (&50.into(), &user.folders().len().into()), "{imap}");
    let ports = user.dovecot().ports();
    assert_eq!((&pop3["port"], &imap["port"]), (&ports.pop3s.into(), &ports.imaps.into()));
    for side in [pop3, imap] {
        assert_eq!((&side["security"], &side["tls"], &side["unmeasured"]), (&"implicit_tls".into(), &"1.2 or newer".into(), &Value::Null));
        assert!(strings(&side["authentication"]).contains(&"PLAIN"), "{side}");
        assert!(side["login"]["round_trips"].as_u64().unwrap() >= 1 && side["listed"] == 40, "{side}");
    }
    assert_eq!(pop3["listing"]["round_trips"], 1, "LIST and UIDL go together: {pop3}");
    assert_eq!(
        (&imap["push"], &imap["search"], &pop3["push"], &pop3["search"]),
        (&true.into(), &true.into(), &false.into(), &false.into())
    );
    assert_eq!((&pop3["partial_fetch"], &imap["partial_fetch"]), (&"first_lines".into(), &"any".into()));
    assert_eq!((&pop3["reading"], &imap["reading"]), (&"marks".into(), &"no_trace".into()));
    assert!(strings(&imap["extensions"]).contains(&"UIDPLUS") && strings(&pop3["extensions"]).contains(&"UIDL"));
    let ids = &advice["unique_ids"];
    assert_eq!(
        (&ids["first"], &ids["again"], &ids["stable"], &ids["formula"]["name"]),
        (&40.into(), &40.into(), &true.into(), &"dovecot".into())
    );
    assert_eq!((&advice["verdict"], &advice["moving"], &advice["forecast"]), (&"imap".into(), &false.into(), &Value::Null));
    assert_eq!(advice["next"], "mailhaul backup work:imap maildir:Mail");

    let text = block(&tool.run(&["compare-pop3", "work", "-o", "table"]).expect_code(0));
    for words in ["40 messages, ", "50 messages, ", "40 ids (UIDL), equal in two", "told at once (IDLE)", "and 10 messages more"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!((user.messages("INBOX"), user.uidls()), before);
}

#[test]
fn starttls_is_told_and_so_is_a_connection_without_tls() {
    let user = dovecot_user!("compare-pop3-starttls");
    user.deliver("INBOX", &mail::many(2, 100));
    let tool = Tool::new();
    tool.server("work", Some(&user.imap()), Some(&user.pop3()));
    let found = advice(&tool.run(&["compare-pop3", "work", "--json"]).expect_code(0));
    assert_eq!((&found["pop3"]["security"], &found["imap"]["security"]), (&"start_tls".into(), &"start_tls".into()), "{found}");
    let imap = Imapd::start(Behaviour::default());
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &[]);
    let found = advice(&super::tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0));
    assert_eq!((&found["pop3"]["security"], &found["imap"]["tls"]), (&"none".into(), &Value::Null), "{found}");
    assert_eq!(strings(&found["notes"]).iter().filter(|note| note.contains("not encrypted")).count(), 2, "{found}");
}

#[test]
fn servers_that_can_little_are_told_so() {
    let bodies = mail::many(6, 100);
    let imap = Imapd::start(Behaviour { capabilities: vec!["IMAP4rev1".to_owned()], ..Behaviour::default() });
    imap.fill("INBOX", &bodies);
    let behaviour = pop3d::Behaviour { capabilities: Vec::new(), no_uidl: true, no_top: true, ..pop3d::Behaviour::default() };
    let pop3 = Pop3d::start(behaviour, &bodies);
    let tool = tool(&imap, &pop3);
    let found = advice(&tool.run(&["compare-pop3", "work", "--json"]).expect_code(0));
    assert_eq!((&found["pop3"]["partial_fetch"], &found["pop3"]["pipelining"]), (&Value::Null, &Value::Null), "{found}");
    assert_eq!((strings(&found["pop3"]["authentication"]), strings(&found["imap"]["authentication"])), (vec![], vec!["LOGIN"]), "{found}");
    assert_eq!((&found["imap"]["push"], strings(&found["imap"]["extensions"])), (&false.into(), vec![]), "{found}");
    // LIST, then UIDL, which is refused.
    assert_eq!((&found["pop3"]["listing"]["round_trips"], &found["unique_ids"]["first"]), (&2.into(), &0.into()), "{found}");
    assert_eq!((&found["unique_ids"]["stable"], &found["pop3"]["reading"]), (&Value::Null, &"not_tried".into()), "{found}");
    let octets: usize = bodies.iter().map(Vec::len).sum();
    assert_eq!((&found["imap"]["octets"], &found["pop3"]["octets"]), (&octets.into(), &octets.into()), "{found}");
    let text = block(&tool.run(&["compare-pop3", "work", "-o", "table"]).expect_code(0));
    assert!(text.contains("none (no UIDL)") && text.contains("by asking again and again") && text.contains("not tried"), "{text}");
}

#[test]
fn what_pop3_announces_of_deleting_and_waiting_is_passed_on() {
    let mut behaviour = pop3d::Behaviour::default();
    behaviour.capabilities.extend(["EXPIRE 0".to_owned(), "LOGIN-DELAY 300".to_owned()]);
    let pop3 = Pop3d::start(behaviour, &mail::many(1, 10));
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &mail::many(1, 10));
    let found = advice(&tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0));
    let notes = strings(&found["notes"]).join("\n");
    assert!(notes.contains("may be deleted at once (EXPIRE 0)") && notes.contains("300 seconds between two logins"), "{notes}");
    assert!(strings(&found["pop3"]["extensions"]).contains(&"LOGIN-DELAY 300"), "{found}");
}

#[test]
fn unique_ids_that_change_from_session_to_session_are_noticed() {
    let bodies = mail::many(5, 100);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let pop3 = Pop3d::start(pop3d::Behaviour { renumbered_at: Some(2), ..pop3d::Behaviour::default() }, &bodies);
    let found = advice(&tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0));
    let ids = &found["unique_ids"];
    assert_eq!((&ids["first"], &ids["again"], &ids["stable"]), (&5.into(), &4.into(), &false.into()), "{found}");
}

#[test]
fn a_session_that_is_refused_later_takes_nothing_from_the_comparison_and_tells_no_secret() {
    let bodies = mail::many(5, 100);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let behaviour = pop3d::Behaviour {
        login: Some(format!("-ERR [LOGIN-DELAY] too soon, {}", canary())),
        login_from: 2,
        ..pop3d::Behaviour::default()
    };
    let pop3 = Pop3d::start(behaviour, &bodies);
    let tool = tool(&imap, &pop3);
    let output = tool.run(&["compare-pop3", "work", "--json"]).expect_code(0);
    assert_eq!(output.json()["same"], 5);
    let found = advice(&output);
    assert!(found["pop3"]["unmeasured"].as_str().unwrap().contains("[LOGIN-DELAY] too soon"), "{found}");
    assert_eq!((&found["imap"]["unmeasured"], &found["unique_ids"]["stable"]), (&Value::Null, &Value::Null), "{found}");
    let pop3 = Pop3d::start(
        pop3d::Behaviour { login: Some("-ERR [IN-USE] locked".to_owned()), login_from: 2, ..pop3d::Behaviour::default() },
        &bodies,
    );
    let text = block(&super::tool(&imap, &pop3).run(&["compare-pop3", "work", "-o", "table"]).expect_code(0));
    assert!(text.contains("POP3 was not measured to the end") && text.contains("[IN-USE] locked"), "{text}");
}

#[test]
fn gmail_is_known_by_its_greeting_and_its_rules_are_told() {
    let bodies = mail::many(30, 100);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let gmail = pop3d::Behaviour {
        greeting: Some("Gpop ready for requests from 127.0.0.1 ab1cd2".to_owned()),
        page: Some(10),
        ..pop3d::Behaviour::default()
    };
    let pop3 = Pop3d::start(gmail, &bodies);
    let tool = tool(&imap, &pop3);
    let found = advice(&tool.run(&["compare-pop3", "work", "--json"]).expect_code(0));
    let notes = strings(&found["notes"]).join("\n");
    assert!(notes.contains("about the 250 oldest messages") && notes.contains("`recent:`"), "{notes}");
    assert_eq!((&found["verdict"], &found["pop3"]["reading"]), (&"imap".into(), &"marks".into()), "{found}");
    assert_eq!((&found["pop3"]["messages"], &found["imap"]["messages"]), (&10.into(), &30.into()), "{found}");
    // Nothing was fetched, so nothing is hidden now.
    assert!(pop3.log().iter().all(|line| !line.contains("RETR")), "{:?}", pop3.log());
    let text = block(&tool.run(&["compare-pop3", "work", "-o", "table"]).expect_code(0));
    assert!(text.contains("leaves marks: see below"), "{text}");
    assert!(text.contains("Use IMAP: Gmail shows only part of the mail over POP3"), "{text}");
}

/// An old maildrop, an IMAP side that has all of it, and the POP3 side of that.
fn moved(old: &[(String, Vec<u8>)], new: &[(String, Vec<u8>)]) -> (Tool, Imapd, Pop3d, Pop3d) {
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &old.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>());
    let before = Pop3d::with_uidls(pop3d::Behaviour::default(), old);
    let after = Pop3d::with_uidls(pop3d::Behaviour::default(), new);
    let tool = Tool::new();
    tool.server("old", None, Some(&before.url()));
    tool.server("new", Some(&imap.url()), Some(&after.url()));
    (tool, imap, before, after)
}

fn named(prefix: &str, bodies: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    bodies.iter().enumerate().map(|(index, body)| (format!("{prefix}{index}"), body.clone())).collect()
}

#[test]
fn programs_download_everything_again_where_the_ids_are_others() {
    let bodies = mail::many(30, 200);
    let (tool, _imap, old, new) = moved(&named("a", &bodies), &named("b", &bodies));
    let before = (old.bodies(), new.bodies());
    let found = advice(&tool.run(&["compare-pop3", "old", "new", "--json"]).expect_code(0));
    let octets: usize = bodies.iter().map(Vec::len).sum();
    let forecast = &found["forecast"];
    assert_eq!(
        (&forecast["old"], &forecast["new"], &forecast["kept"], &forecast["again"]),
        (&30.into(), &30.into(), &0.into(), &30.into())
    );
    assert_eq!((&forecast["octets"], &forecast["place"], &found["moving"]), (&octets.into(), &"new:pop3".into(), &true.into()), "{found}");
    assert_eq!(found["next"], "mailhaul migrate old new");
    let text = block(&tool.run(&["compare-pop3", "old", "new", "-o", "table"]).expect_code(0));
    assert!(text.contains("Will POP3 programs download everything again after the move?"), "{text}");
    assert!(
        text.contains("Yes: 0 of 30 messages keep their id (UIDL) at new:pop3.") && text.contains("download 30 messages again"),
        "{text}"
    );
    assert_eq!((old.bodies(), new.bodies()), before);
    assert!(old.log().iter().chain(&new.log()).all(|line| !line.contains("RETR") && !line.contains("DELE")));
}

#[test]
fn programs_download_nothing_again_where_the_ids_were_kept() {
    let bodies = mail::many(30, 200);
    let (tool, _imap, _old, _new) = moved(&named("a", &bodies), &named("a", &bodies));
    let forecast = advice(&tool.run(&["compare-pop3", "old", "new", "--json"]).expect_code(0))["forecast"].clone();
    assert_eq!((&forecast["kept"], &forecast["again"], &forecast["octets"]), (&30.into(), &0.into(), &0.into()), "{forecast}");
    assert_eq!((&forecast["checked"], &forecast["other_mail"]), (&20.into(), &0.into()), "{forecast}");
    let text = block(&tool.run(&["compare-pop3", "old", "new", "-o", "table"]).expect_code(0));
    assert!(text.contains("No: 30 of 30 messages keep their id"), "{text}");
}

#[test]
fn some_ids_kept_and_new_mail_beside_them_are_told_apart() {
    let bodies = mail::many(45, 200);
    let old = named("a", &bodies[..30]);
    let mut new = old[..10].to_vec();
    new.extend(named("b", &bodies[10..45]));
    let (tool, _imap, _old, _new) = moved(&old, &new);
    let forecast = advice(&tool.run(&["compare-pop3", "old", "new", "--json"]).expect_code(0))["forecast"].clone();
    assert_eq!((&forecast["kept"], &forecast["again"], &forecast["new"]), (&10.into(), &20.into(), &45.into()), "{forecast}");
}

#[test]
fn ids_that_name_other_mail_are_worse_than_other_ids() {
    let bodies = mail::many(30, 200);
    let turned: Vec<Vec<u8>> = bodies.iter().rev().cloned().collect();
    let (tool, _imap, _old, _new) = moved(&named("", &bodies), &named("", &turned));
    let forecast = advice(&tool.run(&["compare-pop3", "old", "new", "--json"]).expect_code(0))["forecast"].clone();
    assert_eq!((&forecast["kept"], &forecast["checked"], &forecast["other_mail"]), (&30.into(), &20.into(), &20.into()), "{forecast}");
    let text = block(&tool.run(&["compare-pop3", "old", "new", "-o", "table"]).expect_code(0));
    assert!(text.contains("WORSE: ") && text.contains("never download it"), "{text}");
}

#[test]
fn the_maildrop_programs_change_to_can_be_named() {
    let bodies = mail::many(5, 100);
    let (tool, imap, _old, new) = moved(&named("a", &bodies), &named("b", &bodies));
    tool.server("there", Some(&imap.url()), None);
    let run = |forecast: &[&str]| tool.run(&[&["compare-pop3", "old", "there", "--json"], forecast].concat());
    assert_eq!(advice(&run(&[]).expect_code(0))["forecast"], Value::Null);
    for name in ["new", "new:pop3"] {
        assert_eq!(advice(&run(&["--forecast", name]).expect_code(0))["forecast"]["again"], 5, "{name}");
    }
    run(&["--forecast", "there"]).expect_code(2).expect_stderr("--forecast takes the POP3 side");
    run(&["--forecast", "old:pop3"]).expect_code(2).expect_stderr("--forecast names the maildrop that is compared");
    let text = block(&tool.run(&["compare-pop3", "old", "there", "-o", "table"]).expect_code(0));
    assert!(text.contains("--forecast"), "{text}");
    // One account compared with itself foretells nothing, unless it is asked to.
    assert_eq!(advice(&tool.run(&["compare-pop3", "new", "--json"]).expect_code(0))["forecast"], Value::Null);
    assert_eq!(advice(&tool.run(&["compare-pop3", "new", "--forecast", "old", "--json"]).expect_code(0))["forecast"]["again"], 5);
    // A maildrop that is empty or not there tells nothing, and takes nothing from the comparison.
    new.maildrop(Vec::clear);
    let forecast = advice(&run(&["--forecast", "new"]).expect_code(0))["forecast"].clone();
    assert_eq!(forecast["unknown"], "the new maildrop is empty as yet", "{forecast}");
    let document = run(&["--forecast", "pop3://ann@127.0.0.1:1?tls=none", "--to-password-file", tool.password_file().to_str().unwrap()]);
    let document = document.expect_code(0);
    assert!(advice(&document)["forecast"]["unknown"].as_str().unwrap().contains("no connection to 127.0.0.1 port 1"), "{document}");
}

#[test]
fn mail_that_is_missing_on_imap_decides_the_verdict() {
    let bodies = mail::many(10, 100);
    let (tool, imap, _old, _new) = moved(&named("a", &bodies), &named("b", &bodies));
    imap.change("INBOX", |mailbox| mailbox.expunge(3));
    let found = advice(&tool.run(&["compare-pop3", "old", "new", "--json"]).expect_code(1));
    assert_eq!((&found["verdict"], &found["next"]), (&"imap".into(), &"mailhaul migrate old new".into()), "{found}");
    assert!(found["reason"].as_str().unwrap().contains("1 of the 10 in the maildrop is not there yet"), "{found}");
    let found = advice(&tool.run(&["compare-pop3", "new", "--json"]).expect_code(1));
    assert_eq!((&found["verdict"], &found["next"]), (&"both".into(), &"mailhaul backup new:pop3 maildir:Mail".into()), "{found}");
    imap.change("INBOX", |mailbox| mailbox.messages.clear());
    let found = advice(&tool.run(&["compare-pop3", "new", "--json"]).expect_code(1));
    assert_eq!(found["verdict"], "pop3", "{found}");
}

#[test]
fn scripts_get_the_verdict_on_stderr_and_the_quiet_ones_nothing() {
    let bodies = mail::many(3, 100);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let tool = tool(&imap, &pop3);
    let output = tool.run(&["compare-pop3", "work", "-o", "tsv"]).expect_code(0);
    assert_eq!(output.text().lines().count(), 3, "{output}");
    assert!(output.stderr.contains("Use IMAP: ") && output.stderr.contains("Next: mailhaul backup work:imap"), "{output}");
    let lines = tool.run(&["compare-pop3", "work", "-o", "jsonl"]).expect_code(0).text();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["advice"]["verdict"], "imap", "{last}");
    let before = (imap.connections(), pop3.connections());
    for format in ["table", "tsv"] {
        let output = tool.run(&["compare-pop3", "work", "-q", "-o", format]).expect_code(0);
        assert!(!output.stderr.contains("Next"), "{output}");
    }
    assert_eq!((imap.connections(), pop3.connections()), (before.0 + 2, before.1 + 2), "nothing is measured that nobody sees");
}
