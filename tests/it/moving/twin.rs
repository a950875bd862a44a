//! `migrate --flags-from`: the flags of a maildrop from the IMAP side of the same account.

use std::collections::BTreeMap;
use std::fs;

use crate::dovecot_user;
use crate::support::dovecot::User;
use crate::support::imapd::{self, CommandFault, Imapd};
use crate::support::mail::{self, assert_same_mail};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::Tool;

/// Flags of each message of a user's INBOX by its body.
fn flags(user: &User) -> BTreeMap<Vec<u8>, Vec<String>> {
    user.messages("INBOX").into_iter().map(|message| (message.body, message.flags)).collect()
}

fn tool(accounts: &[(&str, &User)]) -> Tool {
    let tool = Tool::new();
    for (name, user) in accounts {
        tool.account(name, user);
    }
    tool
}

/// A message for each kind of flag, the last without any.
const FLAGGED: &[&[&str]] =
    &[&["\\Seen"], &["\\Answered", "\\Seen"], &["\\Flagged"], &["\\Draft"], &["$Forwarded", "Work", "\\Seen"], &["\\Deleted"], &[]];

/// A server in memory that holds the messages with these flags.
fn imap(bodies: &[Vec<u8>], flags: impl Fn(usize) -> Vec<String>) -> Imapd {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", bodies);
    server.change("INBOX", |mailbox| {
        mailbox.messages.iter_mut().enumerate().for_each(|(at, message)| message.flags = flags(at));
    });
    server
}

/// What lies in a server's INBOX, with its flags.
fn arrived(server: &Imapd) -> BTreeMap<Vec<u8>, Vec<String>> {
    server.mailbox("INBOX").messages.into_iter().map(|message| (message.body, message.flags)).collect()
}

#[test]
fn flags_and_keywords_come_from_the_same_account_over_imap_and_nothing_is_changed_there() {
    let (from, to) = (dovecot_user!("twin-from"), dovecot_user!("twin-to"));
    for (number, flags) in (0..).zip(FLAGGED) {
        from.append("INBOX", &mail::plain(number, 300), flags);
    }
    // Three of one message are three, each with flags of its own.
    for flags in [&["\\Seen"][..], &[], &["\\Flagged"]] {
        from.append("INBOX", &mail::plain(50, 100), flags);
    }
    let before = from.messages("INBOX");
    let tool = tool(&[("from", &from), ("to", &to)]);
    let plan = tool.run(&["migrate", "from:pop3", "to", "--flags-from", "from:imap", "--dry-run"]).expect_code(0);
    assert!(plan.stderr.contains("10 of 10 messages would get flags from from:imap"), "{plan}");
    assert_eq!(from.messages("INBOX"), before, "a plan changes nothing");
    assert!(to.bodies("INBOX").is_empty());

    // What --seen says is for what is not there.
    let trace = tool.trace();
    let args = ["migrate", "from:pop3", "to", "--flags-from", "from:imap", "--seen", "all", "--trace", trace.to_str().unwrap()];
    let run = tool.run(&args).expect_code(0);
    assert!(run.stderr.contains("10 of 10 messages got flags from from:imap\n"), "{run}");
    let of = |messages: Vec<crate::support::dovecot::Seen>| {
        let mut list: Vec<_> = messages.into_iter().map(|message| (message.body, message.flags)).collect();
        list.sort();
        list
    };
    assert_eq!(of(to.messages("INBOX")), of(before));
    let trace = tool.read_trace();
    assert!(trace.contains(" EXAMINE ") && !trace.contains("BODY[]") && !trace.contains(" STORE "), "the twin is only looked at");
}

#[test]
fn what_the_twin_lacks_counts_as_read_as_was_said_and_headers_tell_the_rest() {
    let (from, twin, to) = (dovecot_user!("twin-lack-from"), dovecot_user!("twin-lack-twin"), dovecot_user!("twin-lack-to"));
    let bodies = mail::many(8, 200);
    from.deliver("INBOX", &bodies);
    // Under other UIDs, in another order, in a folder of its own.
    twin.create("Old mail");
    for (number, body) in bodies.iter().enumerate().rev().filter(|(number, _)| *number != 2 && *number != 5) {
        twin.append("Old mail", body, if number % 2 == 0 { &["\\Flagged"] } else { &[] });
    }
    let tool = tool(&[("from", &from), ("twin", &twin), ("to", &to)]);
    let run = tool.run(&["migrate", "from:pop3", "to", "--flags-from", "twin/Old mail", "--count-as-seen", "all", "--json"]).expect_code(0);
    assert_eq!((&run.json()["copied"], &run.json()["altered"]), (&8.into(), &0.into()));
    assert!(run.stderr.contains("6 of 8 messages got flags from twin/Old mail; the other 2 have no counterpart"), "{run}");
    let there = flags(&to);
    for (number, body) in bodies.iter().enumerate() {
        let wanted = match number {
            2 | 5 => vec!["\\Seen".to_owned()],
            number if number % 2 == 0 => vec!["\\Flagged".to_owned()],
            _ => Vec::new(),
        };
        assert_eq!(there[body], wanted, "{number}");
    }
}

#[test]
fn a_guess_takes_no_flags_along() {
    let bodies = mail::many(4, 100);
    let drop = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    // The header of the third stands over something else there.
    let mut there = bodies.clone();
    there[2].extend(b"and more\r\n".repeat(2000));
    let twin = imap(&there, |_| vec!["\\Flagged".to_owned()]);
    let to = Imapd::start(imapd::Behaviour::default());
    let tool = Tool::new();
    tool.server("from", Some(&twin.url()), Some(&drop.url())).server("to", Some(&to.url()), None);
    tool.run(&["migrate", "from:pop3", "to", "--flags-from", "from"]).expect_code(0);
    let there = arrived(&to);
    for (number, body) in bodies.iter().enumerate() {
        assert_eq!(there[body].is_empty(), number == 2, "{number}: {:?}", there[body]);
    }
}

#[test]
fn a_run_with_nothing_new_does_not_open_the_twin_and_a_new_message_is_looked_for_alone() {
    let bodies = mail::many(30, 100);
    let drop = Pop3d::start(pop3d::Behaviour::default(), &bodies[..29]);
    let twin = imap(&bodies, |at| if at == 29 { vec!["\\Answered".to_owned()] } else { vec!["\\Seen".to_owned()] });
    let to = Imapd::start(imapd::Behaviour::default());
    let tool = Tool::new();
    tool.server("from", Some(&twin.url()), Some(&drop.url())).server("to", Some(&to.url()), None);
    let args = ["migrate", "from:pop3", "to", "--flags-from", "from:imap", "--json"];
    assert_eq!(tool.run(&args).expect_code(0).json()["copied"], 29);
    assert_eq!(twin.connections(), 1);
    let run = tool.run(&args).expect_code(0);
    assert_eq!((&run.json()["copied"], twin.connections()), (&0.into(), 1), "{run}");
    tool.run(&["migrate", "from:pop3", "to", "--flags-from", "from:imap", "--dry-run"]).expect_code(0);
    assert_eq!(twin.connections(), 1);
    drop.maildrop(|maildrop| maildrop.push(pop3d::Entry { uidl: "new".to_owned(), body: bodies[29].clone() }));
    let asked = drop.log().iter().filter(|line| line.contains("TOP ")).count();
    assert_eq!(tool.run(&args).expect_code(0).json()["copied"], 1);
    // Those of its size are looked at beside it.
    assert!(drop.log().iter().filter(|line| line.contains("TOP ")).count() - asked < 5, "{:?}", drop.log());
    let there = arrived(&to);
    assert_eq!((&there[&bodies[29]], &there[&bodies[3]]), (&vec!["\\Answered".to_owned()], &vec!["\\Seen".to_owned()]));
    let writes = |line: &String| ["SELECT", "STORE", "APPEND", "BODY[", "EXPUNGE"].iter().any(|word| line.contains(word));
    assert!(!twin.log().iter().any(writes), "{:?}", twin.log());
}

#[test]
fn a_twin_that_cannot_be_opened_ends_the_run_before_anything_is_copied() {
    let bodies = mail::many(3, 100);
    let drop = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let twin = imap(&bodies, |_| vec!["\\Seen".to_owned()]);
    let to = Imapd::start(imapd::Behaviour::default());
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("from", Some(&twin.url()), Some(&drop.url())).server("to", Some(&to.url()), None);
    tool.server("gone", Some("imap://ann@127.0.0.1:1?tls=none"), None);
    fs::write(tool.path("wrong"), "not it\n").unwrap();
    fs::set_permissions(tool.path("wrong"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let refused = |tool: &Tool, place: &str, code: i32, words: &str| {
        for dry in [&[][..], &["--dry-run"]] {
            let run = tool.run(&[&["migrate", "from:pop3", "to", "--flags-from", place], dry].concat()).expect_code(code);
            assert_eq!(run.stderr.matches("mailhaul: ").count(), 1, "{run}");
            assert!(run.stderr.contains(words), "{run}");
        }
        assert_eq!((to.appends(), to.bodies("INBOX").len()), (0, 0), "{place}");
    };
    refused(&tool, "gone", 5, "gone");
    refused(&tool, "from:imap/Nowhere", 6, "there is no folder Nowhere");
    twin.behave(|behaviour| behaviour.closed = BTreeMap::from([("INBOX".to_owned(), "[NOPERM] not for you".to_owned())]));
    refused(&tool, "from:imap", 6, "[NOPERM] not for you");
    twin.behave(|behaviour| behaviour.closed.clear());
    twin.behave(|behaviour| behaviour.login = Some("NO [AUTHENTICATIONFAILED] no".to_owned()));
    refused(&tool, "from:imap", 4, "AUTHENTICATIONFAILED");
    twin.behave(|behaviour| behaviour.login = None);
    // And all is well again.
    tool.run(&["migrate", "from:pop3", "to", "--flags-from", "from:imap"]).expect_code(0);
    assert_same_mail(&bodies, &to.bodies("INBOX"));
    assert!(arrived(&to).values().all(|flags| flags == &["\\Seen"]));
}

#[test]
fn a_wrong_password_of_the_twin_is_4_on_a_real_server() {
    let (from, to) = (dovecot_user!("twin-password-from"), dovecot_user!("twin-password-to"));
    from.deliver("INBOX", &mail::many(3, 100));
    let tool = tool(&[("from", &from), ("to", &to)]);
    fs::write(tool.path("wrong"), "not it\n").unwrap();
    fs::set_permissions(tool.path("wrong"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = fs::read_to_string(tool.config_file()).unwrap();
    let password = format!("password-file = \"{}\"", tool.password_file().display());
    let ca = config.lines().find(|line| line.starts_with("ca-file")).unwrap();
    let wrong = format!("password-file = \"{}\"", tool.path("wrong").display());
    assert!(config.contains(&password));
    tool.config(&format!("{config}[accounts.locked]\nimap = \"{}\"\n{wrong}\n{ca}\n", from.imaps()));
    let run = tool.run(&["migrate", "from:pop3", "to", "--flags-from", "locked"]).expect_code(4);
    assert!(run.stderr.contains("locked"), "{run}");
    assert!(to.bodies("INBOX").is_empty());
}

#[test]
fn only_a_maildrop_has_an_imap_twin() {
    let user = dovecot_user!("twin-usage");
    let tool = tool(&[("from", &user), ("to", &user)]);
    fs::create_dir_all(tool.path("mail/cur")).unwrap();
    for args in [
        ["from:imap", "maildir:new", "from:imap"],
        ["maildir:mail", "to", "from:imap"],
        ["from:pop3", "to", "from:pop3"],
        ["from:pop3", "to", "maildir:mail"],
        ["from:pop3", "to", "nobody"],
    ] {
        let run = tool.run(&["migrate", args[0], args[1], "--flags-from", args[2]]).expect_code(2);
        assert!(run.stderr.contains("--flags-from") || run.stderr.contains("nobody"), "{run}");
    }
}

#[test]
fn what_the_destination_does_not_keep_is_told_of_as_with_any_other_source() {
    let bodies = mail::many(3, 100);
    let drop = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let twin = imap(&bodies, |_| vec!["\\Seen".to_owned(), "Work".to_owned()]);
    let to = Imapd::start(imapd::Behaviour { permanent_flags: Some("\\Seen \\Flagged".to_owned()), ..imapd::Behaviour::default() });
    let tool = Tool::new();
    tool.server("from", Some(&twin.url()), Some(&drop.url())).server("to", Some(&to.url()), None);
    let summary = tool.run(&["migrate", "from:pop3", "to", "--flags-from", "from:imap", "--json"]).expect_code(0).json();
    assert_eq!(summary["altered"], 3, "{summary}");
    assert!(arrived(&to).values().all(|flags| flags == &["\\Seen"]), "{:?}", arrived(&to));
}

#[test]
fn lost_sessions_on_either_side_cost_no_message_and_no_flag() {
    for unique_ids in [true, false] {
        let bodies = mail::many(40, 100);
        let behaviour =
            pop3d::Behaviour { no_uidl: !unique_ids, hang_up_at_top: vec![7], hang_up_at: vec![20], ..pop3d::Behaviour::default() };
        let drop = Pop3d::start(behaviour, &bodies);
        let twin = imap(&bodies, |at| if at % 2 == 0 { vec!["\\Flagged".to_owned()] } else { Vec::new() });
        twin.behave(|behaviour| behaviour.faults.push(("UID FETCH".to_owned(), 2, CommandFault::HangUpBefore)));
        let to = Imapd::start(imapd::Behaviour::default());
        let mut tool = Tool::new();
        tool.use_clock();
        tool.server("from", Some(&twin.url()), Some(&drop.url())).server("to", Some(&to.url()), None);
        let args = ["migrate", "from:pop3", "to", "--flags-from", "from:imap", "--seen", "all", "--json"];
        let summary = tool.run(&args).expect_code(0).json();
        assert_eq!((&summary["copied"], &summary["balanced"]), (&40.into(), &true.into()), "{summary}");
        assert_same_mail(&bodies, &to.bodies("INBOX"));
        let there = arrived(&to);
        for (at, body) in bodies.iter().enumerate() {
            assert_eq!(there[body], if at % 2 == 0 { vec!["\\Flagged".to_owned()] } else { Vec::new() }, "{at}, unique-ids {unique_ids}");
        }
    }
}
