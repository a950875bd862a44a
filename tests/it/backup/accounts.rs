//! The verb around the engine: which places go where, several accounts in one run, hooks, the lock, quiet runs, dry runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::store::{self, Layout};
use crate::support::tool::Tool;

/// A port nobody listens at.
fn nowhere() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn imapd(messages: &[Vec<u8>]) -> Imapd {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", messages);
    server
}

fn folders(summary: &Value) -> Vec<String> {
    summary["folders"].as_array().unwrap().iter().map(|folder| folder["name"].as_str().unwrap().to_owned()).collect()
}

/// A shell script in the tool's home.
fn script(tool: &Tool, name: &str, text: &str) -> String {
    let path = tool.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_account_that_fails_does_not_stop_the_others_and_is_named() {
    let (one, other) = (imapd(&mail::many(3, 200)), Pop3d::start(pop3d::Behaviour::default(), &mail::many(2, 200)));
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("a", Some(&one.url()), None);
    tool.server("b", Some(&format!("imap://ann@127.0.0.1:{}?tls=none", nowhere())), None);
    tool.server("c", None, Some(&other.url()));
    let output = tool.run(&["backup", "a", "b", "c", "store", "--json"]).expect_code(5);
    assert!(output.stderr.contains("\"place\":\"b\""), "{output}");
    let summary = output.json();
    assert_eq!((&summary["source"], &summary["copied"], &summary["exit"]), (&"a, b, c".into(), &5.into(), &5.into()));
    assert_eq!(folders(&summary), ["a/INBOX", "c/INBOX"]);
    let accounts = summary["accounts"].as_array().unwrap();
    let of = |index: usize| (accounts[index]["copied"].as_u64().unwrap(), accounts[index]["exit"].as_u64().unwrap());
    assert_eq!((of(0), of(1), of(2)), ((3, 0), (0, 5), (2, 0)));
    assert_eq!(accounts[1]["error"]["code"], 5);
    assert_eq!(folders(&accounts[2]), ["INBOX"]);
    let kept = |account: &str| store::lying(&tool.path("store"), account, Layout::Maildir).len();
    assert_eq!((kept("a"), kept("c")), (3, 2));
    // For people each is named with its place, too.
    let output = tool.run(&["backup", "a", "b", "c", "store"]).expect_code(5).expect_stderr("mailhaul: b: ");
    assert!(output.text().contains("a → store") && output.text().contains("a, b, c → store"), "{output}");
}

#[test]
fn a_wrong_password_counts_for_more_than_a_server_that_is_away() {
    let server = imapd(&mail::many(2, 200));
    let tool = Tool::new();
    let wrong = script(&tool, "wrong", "echo nonsense");
    tool.server("away", Some(&format!("imap://ann@127.0.0.1:{}?tls=none", nowhere())), None);
    let config = fs::read_to_string(tool.config_file()).unwrap();
    tool.config(&format!("{config}[accounts.wrong]\nimap = \"{}\"\npassword-command = [\"{wrong}\"]\n", server.url()));
    let output = tool.run(&["backup", "wrong", "away", "store"]).expect_code(4);
    assert!(output.stderr.contains("mailhaul: wrong: ") && output.stderr.contains("mailhaul: away: "), "{output}");
}

#[test]
fn nothing_is_made_where_no_account_can_be_logged_in_to() {
    let tool = Tool::new();
    tool.config("[accounts.a]\nimap = \"imap://ann@127.0.0.1:1?tls=none\"\npassword-env = \"NO_SUCH_VARIABLE\"\n");
    tool.run(&["backup", "a", "store"]).expect_code(4).expect_stderr("NO_SUCH_VARIABLE");
    assert!(!tool.path("store").exists());
}

#[test]
fn a_second_run_ends_at_once_and_asks_for_no_password() {
    let server = imapd(&mail::many(1, 200));
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool.run(&["backup", "work", "store"]).expect_code(0);
    let command = script(&tool, "ask", &format!("touch {}; cat {}", tool.text("asked"), tool.password_file().display()));
    let config = format!("[accounts.work]\nimap = \"{}\"\npassword-command = [\"{command}\"]\n", server.url());
    tool.config(&config);
    let connections = server.connections();
    let lock = fs::File::open(tool.path("store/.mailhaul/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let hook = format!("printf %s \"$MAILHAUL_EXIT\" > {}", tool.text("told"));
    tool.run(&["backup", "work", "store", "--on-failure", &hook]).expect_code(9).expect_stderr("store");
    assert_eq!(fs::read_to_string(tool.path("told")).unwrap(), "9");
    assert!(!tool.path("asked").exists());
    assert_eq!(server.connections(), connections);
    // Looking does not need the lock.
    tool.run(&["backup", "work", "store", "--dry-run"]).expect_code(0);
    drop(lock);
    tool.run(&["backup", "work", "store"]).expect_code(0);
}

#[test]
fn the_store_and_the_sources_are_told_apart_and_mistakes_are_explained() {
    let tool = Tool::new();
    tool.server("work", Some("imaps://ann@127.0.0.1:1"), Some("pop3s://ann@127.0.0.1:1"));
    for (arguments, words) in [
        (&["work", "imaps://bob@127.0.0.1:1"][..], "not to a server"),
        (&["work", "work:pop3"], "is an account"),
        (&["work", "-"], "standard output"),
        (&["work", "maildir:store//INBOX"], "without a folder"),
        (&["maildir:mail", "store"], "lies on this machine"),
        (&["mbox:mail", "store"], "rsync"),
        (&["work", "work", "store"], "named twice"),
        (&["work", "work:pop3", "store", "--password-env", "X"], "config file"),
        (&["nobody", "store"], "neither an account nor a URL"),
        (&["work", "mbox:store", "--mirror"], "only grows"),
        (&["work", "store", "--max-delete", "3"], "--mirror"),
        (&["work"], "no store is named"),
    ] {
        tool.run(&[&["backup"], arguments].concat()).expect_code(2).expect_stderr(words);
    }
    assert!(!tool.path("store").exists());
}

#[test]
fn both_sides_of_an_account_have_directories_of_their_own() {
    let (imap, pop3) = (imapd(&mail::many(2, 200)), Pop3d::start(pop3d::Behaviour::default(), &mail::many(3, 200)));
    let tool = Tool::new();
    tool.server("work", Some(&imap.url()), Some(&pop3.url()));
    let summary = tool.run(&["backup", "work", "work:pop3", "store", "--json"]).expect_code(0).json();
    let names: Vec<&str> = summary["accounts"].as_array().unwrap().iter().map(|one| one["account"].as_str().unwrap()).collect();
    assert_eq!(names, ["work", "work-pop3"]);
    let kept = |account: &str| store::lying(&tool.path("store"), account, Layout::Maildir).len();
    assert_eq!((kept("work"), kept("work-pop3")), (2, 3));
    store::sound(&tool.path("store"), Layout::Maildir, "both sides");
    // A status that names no store knows of this one.
    let noted = fs::read_to_string(tool.state_dir().join("mailhaul/stores")).unwrap();
    assert!(noted.contains(tool.path("store").canonicalize().unwrap().to_str().unwrap()), "{noted}");
}

#[test]
fn a_store_that_is_there_says_itself_how_messages_lie_in_it() {
    let server = imapd(&mail::many(2, 200));
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool.run(&["backup", "work", "eml:store", "--line-ends", "as-received"]).expect_code(0);
    tool.run(&["backup", "work", "store"]).expect_code(0);
    tool.run(&["backup", "work", "maildir:store"]).expect_code(2);
    tool.run(&["backup", "work", "store", "--line-ends", "lf"]).expect_code(2);
    assert_eq!(store::lying(&tool.path("store"), "work", Layout::Eml).len(), 2);
}

#[test]
fn a_quiet_run_says_nothing_unless_something_is_wrong() {
    let server = imapd(&mail::many(2, 200));
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    for _ in 0..2 {
        let output = tool.run(&["backup", "-q", "--no-input", "work", "store"]).expect_code(0);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output}");
    }
    let output = tool.run(&["backup", "-q", "work/None", "store"]);
    assert!(output.code != 0 && !output.stderr.is_empty(), "{output}");
}

#[test]
fn a_hook_is_told_everything_and_gets_no_secret() {
    let server = imapd(&mail::many(2, 200));
    let mut tool = Tool::new();
    tool.set_env("PASS_VARIABLE", crate::support::canary());
    tool.config(&format!("[accounts.work]\nimap = \"{}\"\npassword-env = \"PASS_VARIABLE\"\n", server.url()));
    // The search for the password in all that a run leaves covers what the hook writes.
    let hook = "cat > told.json; env > told.env; flock -n \"$MAILHAUL_STORE/.mailhaul/lock\" touch free; echo said";
    let output = tool.run(&["backup", "work", "store", "--json", "--on-success", hook, "--on-failure", "touch wrong"]).expect_code(0);
    let told: Value = serde_json::from_slice(&fs::read(tool.path("told.json")).unwrap()).unwrap();
    assert_eq!((&told["copied"], &told["schema"]), (&2.into(), &"mailhaul.backup/1".into()));
    assert_eq!(told, output.json());
    let environment = fs::read_to_string(tool.path("told.env")).unwrap();
    for line in ["MAILHAUL_EXIT=0", &format!("MAILHAUL_STORE={}", tool.text("store")), "MAILHAUL_VERB=backup"] {
        assert!(environment.lines().any(|has| has == line), "{line}: {environment}");
    }
    assert!(!environment.contains("PASS_VARIABLE"));
    assert!(tool.path("free").exists() && !tool.path("wrong").exists());
    assert!(output.stderr.contains("said"), "{output}");
}

#[test]
fn a_hook_that_fails_makes_a_success_partial_and_leaves_a_failure_what_it_is() {
    let server = imapd(&mail::many(2, 200));
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool.server("away", Some(&format!("imap://ann@127.0.0.1:{}?tls=none", nowhere())), None);
    tool.run(&["backup", "work", "store", "--on-success", "exit 4"]).expect_code(3).expect_stderr("--on-success");
    tool.run(&["backup", "away", "store", "--on-failure", "exit 4"]).expect_code(5).expect_stderr("--on-failure");
    // One that reads nothing of a long summary, and leaves something running, is no trouble.
    tool.run(&["backup", "work", "store", "-q", "--on-success", "exec <&-; sleep 60 >/dev/null 2>&1 & true"]).expect_code(0);
}

#[test]
fn a_run_that_a_signal_stops_says_what_it_did_and_tells_its_hook() {
    let server = Pop3d::start(pop3d::Behaviour { stall_at: Some(3), ..pop3d::Behaviour::default() }, &mail::many(5, 200));
    let tool = Tool::new();
    tool.server("work", None, Some(&server.url()));
    let hook = format!("printf %s \"$MAILHAUL_EXIT\" > {}", tool.text("told"));
    let running = tool.spawn(&["backup", "work", "store", "--json", "--on-failure", &hook], None);
    // The server has stopped answering once the store holds what it gave.
    crate::support::wait_for("the second message", || store::recorded_by_now(&tool.path("store")) >= 2);
    running.signal(rustix::process::Signal::TERM);
    let output = running.finish().expect_code(143);
    assert_eq!(output.json()["copied"], 2);
    assert_eq!(output.json()["balanced"], false);
    assert_eq!(fs::read_to_string(tool.path("told")).unwrap(), "143");
    server.behave(|behaviour| behaviour.stall_at = None);
    assert_eq!(tool.run(&["backup", "work", "store", "--json"]).expect_code(0).json()["copied"], 3);
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_be_done() {
    let imap = imapd(&mail::many(4, 200));
    imap.fill("Archive/2024", &mail::many(2, 200));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &mail::many(3, 200));
    let tool = Tool::new();
    tool.server("a", Some(&imap.url()), None);
    tool.server("b", None, Some(&pop3.url()));
    let look = |more: &[&str]| tool.run(&[&["backup", "a", "b", "store", "--dry-run"], more].concat()).expect_code(0);
    let would = look(&["--json"]).json();
    assert_eq!((&would["dry_run"], &would["copied"], &would["listed"]), (&true.into(), &9.into(), &9.into()));
    assert_eq!(would["messages"].as_array().unwrap().len(), 9);
    assert!(!tool.path("store").exists());
    assert!(!pop3.log().iter().any(|line| line.contains("RETR") || line.contains("TOP")));
    assert!(look(&[]).stderr.contains("a/INBOX: 4 messages listed, 0 here already, 4 to fetch"));

    tool.run(&["backup", "a", "b", "store"]).expect_code(0);
    let before = store::untouched(&tool.path("store"));
    let would = look(&["--json"]).json();
    assert_eq!((&would["copied"], &would["already_there"], &would["gone"]), (&0.into(), &9.into(), &0.into()));
    assert!(look(&[]).stderr.contains("a: nothing to do"));

    imap.change("INBOX", |mailbox| drop(mailbox.messages.remove(0)));
    pop3.maildrop(|maildrop| drop(maildrop.remove(0)));
    imap.fill("Archive/2024", &[mail::plain(50, 100)]);
    let would = look(&["--json"]).json();
    assert_eq!(
        (&would["copied"], &would["already_there"], &would["gone"], &would["removed"]),
        (&1.into(), &7.into(), &2.into(), &0.into())
    );
    let would = look(&["--json", "--mirror"]).json();
    assert_eq!((&would["gone"], &would["removed"]), (&2.into(), &2.into()));
    let actions: Vec<&str> = would["messages"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "remove").count(), 2);
    assert!(look(&["--mirror", "--max-delete", "0"]).stderr.contains("would stop"));
    assert_eq!(store::untouched(&tool.path("store")), before);

    // The run does what was said.
    let summary = tool.run(&["backup", "a", "b", "store", "--json"]).expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["already_there"], &summary["gone"]), (&1.into(), &7.into(), &2.into()));
}

#[test]
fn one_connection_is_one_where_the_place_says_so() {
    let server = imapd(&mail::many(200, 2000));
    let tool = Tool::new();
    let url = format!("{}&connections=1", server.url());
    tool.server("work", Some(&url), None);
    let summary = tool.run(&["backup", "work", "store", "--json"]).expect_code(0).json();
    assert_eq!(summary["copied"], 200);
    assert_eq!(server.connections(), 1);
}
