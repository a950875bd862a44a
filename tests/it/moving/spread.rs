//! `migrate` over several connections: everything arrives once, whatever becomes of one of them.

use std::sync::Mutex;

use crate::crash::bench::{Bench, full, in_parallel, say};
use crate::dovecot_user;
use crate::support::dovecot::{Dovecot, Options};
use crate::support::imapd::{AppendFault, Behaviour, CommandFault, Imapd};
use crate::support::mail::{self, assert_same_mail};
use crate::support::pop3d;
use crate::support::tool::{Output, Tool};

const KILLED: i32 = -9;
const SEVERAL: [&str; 4] = ["migrate", "from?connections=3", "to?connections=4", "--json"];

/// A server that has to be waited for before each message.
fn waiting() -> Behaviour {
    Behaviour::default().without(&["MULTIAPPEND", "LITERAL+"])
}

#[track_caller]
fn expect_balance(output: &Output, listed: usize) {
    let summary = output.json();
    assert_eq!((&summary["balanced"], &summary["listed"]), (&true.into(), &listed.into()), "{output}");
}

#[test]
fn several_connections_are_opened_where_a_server_must_be_waited_for_and_one_where_not() {
    let bodies = mail::many(300, 300);
    let bench = Bench::imap(&bodies, Behaviour::default(), waiting());
    let first = bench.run().expect_code(0);
    expect_balance(&first, 300);
    assert!((3..=8).contains(&bench.to.most_at_once()), "{} at once", bench.to.most_at_once());
    assert_eq!(bench.imapd().most_at_once(), 1);
    bench.expect_all_once("several");

    let bench = Bench::imap(&bodies, Behaviour::default(), Behaviour::default());
    expect_balance(&bench.run().expect_code(0), 300);
    assert_eq!((bench.to.most_at_once(), bench.imapd().most_at_once()), (1, 1));
    bench.expect_all_once("one");
}

#[test]
fn both_sides_use_as_many_connections_as_the_user_says_and_keep_no_message_twice() {
    for destination in [Behaviour::default(), Behaviour::default().without(&["MULTIAPPEND"]), waiting(), waiting().without(&["UIDPLUS"])] {
        let mut bodies = mail::many(2500, 200);
        bodies.extend(vec![mail::plain(7, 100); 40]);
        bodies.push(mail::plain(3000, 3_000_000));
        let bench = Bench::imap(&bodies, Behaviour::default(), destination.clone());
        let output = bench.tool.run(&SEVERAL).expect_code(0);
        expect_balance(&output, bodies.len());
        let case = format!("{:?}", destination.capabilities);
        assert!((2..=3).contains(&bench.imapd().most_at_once()), "{case}: {}", bench.imapd().most_at_once());
        assert!((2..=4).contains(&bench.to.most_at_once()), "{case}: {}", bench.to.most_at_once());
        assert_eq!(bench.imapd().fetched(), bodies.len() as u64, "{case}");
        bench.expect_all_once(&case);
    }
}

#[test]
fn a_folder_of_few_messages_is_worth_one_connection() {
    let bodies = mail::many(2, 100);
    let bench = Bench::imap(&bodies, Behaviour::default(), waiting());
    bench.run().expect_code(0);
    assert_eq!(bench.to.connections(), 1);
    bench.expect_all_once("few");
}

#[test]
fn the_first_message_of_a_folder_goes_alone() {
    let bodies = mail::many(50, 100);
    let bench = Bench::imap(&bodies, Behaviour::default(), waiting().append_fault(1, AppendFault::No("[CANNOT] never".to_owned())));
    let output = bench.run().expect_code(3);
    expect_balance(&output, 50);
    let log = bench.to.log();
    let appends: Vec<&String> = log.iter().filter(|line| line.contains(" APPEND ")).collect();
    // Nothing was taken until the second one was answered.
    assert!(appends[0].starts_with("1 ") && appends[1].starts_with("1 "), "{log:?}");
}

#[test]
fn a_server_that_refuses_further_connections_is_served_over_fewer_and_it_is_told_once() {
    for words in [
        "NO [ALERT] Too many simultaneous connections. (Failure)",
        "NO [LIMIT] enough",
        "NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded",
        "BAD Too many sessions",
    ] {
        let bodies = mail::many(200, 300);
        let destination = Behaviour { max_connections: Some((3, words.to_owned())), ..waiting() };
        let bench = Bench::imap(&bodies, Behaviour::default(), destination);
        let output = bench.run().expect_code(0);
        expect_balance(&output, 200);
        assert_eq!(output.stderr.matches("going on with fewer connections").count(), 1, "{output}");
        assert!(bench.to.most_at_once() <= 3);
        bench.expect_all_once(words);
    }
    // The source as well.
    let bodies = mail::many(2000, 100);
    let source = Behaviour { max_connections: Some((1, "NO [LIMIT] enough".to_owned())), ..Behaviour::default() };
    let bench = Bench::imap(&bodies, source, Behaviour::default());
    let output = bench.tool.run(&SEVERAL).expect_code(0);
    assert!(output.stderr.contains("going on with fewer connections"), "{output}");
    assert_eq!(bench.imapd().fetched(), 2000);
    bench.expect_all_once("source");
}

#[test]
fn a_lost_connection_beside_others_loses_and_doubles_nothing() {
    let faults = [
        AppendFault::HangUpAfterStoring,
        AppendFault::HangUpBeforeStoring,
        AppendFault::NoAfterStoring("[SERVERBUG] oops".to_owned()),
        AppendFault::StoreLate(Some(60_000)),
        AppendFault::No("[LIMIT] not so many".to_owned()),
    ];
    let cases: Vec<(AppendFault, bool, bool)> = faults
        .into_iter()
        .flat_map(|fault| {
            [(true, true), (true, false), (false, false), (false, true)].map(|(uidplus, multi)| (fault.clone(), uidplus, multi))
        })
        .collect();
    in_parallel(&cases, |(fault, uidplus, multi)| {
        let mut bodies = mail::many(120, 300);
        bodies.extend(vec![mail::plain(7, 100); 5]);
        let mut behaviour = if *multi { Behaviour::default() } else { waiting() };
        if !uidplus {
            behaviour = behaviour.without(&["UIDPLUS"]);
        }
        let number = if *multi { 3 } else { 30 };
        let behaviour = behaviour.append_fault(number, fault.clone());
        let bench = Bench::imap(&bodies, Behaviour::default(), behaviour);
        let case = format!("{fault:?}, UIDPLUS {uidplus}, MULTIAPPEND {multi}");
        let output = bench.tool.run(&SEVERAL);
        assert_eq!(output.code, 0, "{case}: {output}");
        expect_balance(&output, bodies.len());
        bench.expect_all_once(&case);
    });
}

#[test]
fn a_message_that_makes_the_server_hang_up_is_put_aside_and_all_others_arrive() {
    let bodies = mail::many(100, 200);
    let poison = b"Subject: message 50\r\n".to_vec();
    assert_eq!(bodies.iter().filter(|body| body.windows(poison.len()).any(|window| window == poison)).count(), 1);
    let bench = Bench::imap(&bodies, Behaviour::default(), Behaviour { hang_up_on: vec![poison.clone()], ..waiting() });
    let output = bench.run().expect_code(3);
    expect_balance(&output, 100);
    assert_eq!((&output.json()["copied"], &output.json()["quarantined"]), (&99.into(), &1.into()), "{output}");
    let others: Vec<Vec<u8>> = bodies.into_iter().filter(|body| !body.windows(poison.len()).any(|window| window == poison)).collect();
    assert_same_mail(&others, &bench.there());
}

#[test]
fn another_uidvalidity_on_one_of_them_stops_the_run() {
    let bodies = mail::many(100, 200);
    let bench = Bench::imap(&bodies, Behaviour::default(), waiting().append_fault(20, AppendFault::Renumber));
    let output = bench.run();
    assert_eq!(output.code, 10, "{output}");
    bench.run().expect_code(0);
    bench.expect_all_once("renumbered");
}

#[test]
fn a_reading_connection_that_is_lost_costs_no_message() {
    for (number, fault) in
        [(2, CommandFault::HangUpBefore), (3, CommandFault::HangUpAfter), (4, CommandFault::Refuse("NO [THROTTLED] slow".to_owned()))]
    {
        let bodies = mail::many(2200, 200);
        let case = format!("{number} {fault:?}");
        let bench = Bench::imap(&bodies, Behaviour::default().fault("UID FETCH", number, fault), Behaviour::default());
        let output = bench.tool.run(&SEVERAL).expect_code(0);
        expect_balance(&output, bodies.len());
        bench.expect_all_once(&case);
    }
}

#[test]
fn a_run_over_several_connections_killed_at_any_step_is_made_good_by_the_next() {
    let benches = |uidplus: bool, multi: bool| {
        let mut bodies = mail::many(40, 300);
        bodies.extend(vec![mail::plain(7, 100); 3]);
        let mut behaviour = if multi { Behaviour::default() } else { waiting() };
        if !uidplus {
            behaviour = behaviour.without(&["UIDPLUS"]);
        }
        Bench::imap(&bodies, Behaviour::default(), behaviour)
    };
    let mut points = Vec::new();
    for (uidplus, multi) in [(true, false), (false, false), (false, true)] {
        let mut bench = benches(uidplus, multi);
        let steps = {
            let file = bench.tool.path("steps");
            bench.tool.set_env("MAILHAUL_TEST_CRASH", format!("count:{}", file.display()));
            bench.tool.run(&SEVERAL).expect_code(0);
            std::fs::read_to_string(file).unwrap().lines().count()
        };
        let stride = if full() { 1 } else { steps.div_ceil(14) };
        points.extend((1..=steps).step_by(stride).map(|step| (uidplus, multi, step)));
    }
    let killed = Mutex::new(0);
    in_parallel(&points, |&(uidplus, multi, step)| {
        let case = format!("UIDPLUS {uidplus}, MULTIAPPEND {multi}, killed at {step}");
        let mut bench = benches(uidplus, multi);
        bench.tool.set_env("MAILHAUL_TEST_CRASH", step.to_string());
        let first = bench.tool.run(&SEVERAL);
        bench.tool.unset_env("MAILHAUL_TEST_CRASH");
        bench.to.wait_until_quiet();
        assert!(first.code == KILLED || first.code == 0, "{case}: {first}");
        *killed.lock().unwrap() += u32::from(first.code == KILLED);
        let second = bench.tool.run(&SEVERAL);
        assert_eq!(second.code, 0, "{case}: {second}");
        expect_balance(&second, bench.bodies.len());
        bench.expect_all_once(&case);
    });
    let killed = killed.into_inner().unwrap();
    say(&format!("crash points survived with several connections: {killed}/{killed}"));
    assert!(killed as usize * 10 >= points.len() * 8, "most kills should have come before the end");
}

#[test]
fn a_real_server_gets_everything_over_several_connections() {
    let (from, to) = (dovecot_user!("spread-from"), dovecot_user!("spread-to"));
    from.deliver("INBOX", &mail::many(1500, 1000));
    from.deliver("Archive/2024", &mail::many(300, 500));
    let tool = Tool::new();
    tool.account("from", &from).account("to", &to);
    let output = tool.run(&SEVERAL).expect_code(0);
    expect_balance(&output, 1800);
    for folder in ["INBOX", "Archive/2024"] {
        assert_same_mail(&from.bodies(folder), &to.bodies(folder));
    }
    assert_eq!(tool.run(&SEVERAL).expect_code(0).json()["copied"], 0);
}

#[test]
fn a_real_server_that_allows_two_connections_gets_everything_over_two() {
    let capability = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE AUTH=PLAIN NAMESPACE UIDPLUS LIST-EXTENDED SPECIAL-USE UNSELECT";
    let options = Options { max_userip: 2, imap_capability: Some(capability.to_owned()), ..Options::default() };
    let Some(dovecot) = Dovecot::start(options) else { return };
    let to = dovecot.user("few");
    let source = Imapd::start(Behaviour::default());
    let bodies = mail::many(200, 300);
    source.fill("INBOX", &bodies);
    let tool = Tool::new();
    tool.server("from", Some(&source.url()), None).account("to", &to);
    let output = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0);
    expect_balance(&output, 200);
    // The server takes its time to refuse a login; two connections may have brought everything by then.
    assert!(output.stderr.matches("going on with fewer connections").count() <= 1, "{output}");
    assert_same_mail(&bodies, &to.bodies("INBOX"));
}

#[test]
fn a_maildrop_is_read_over_one_connection_whatever_is_asked_for() {
    let bodies = mail::many(300, 300);
    let bench = Bench::pop3(&bodies, pop3d::Behaviour::default(), waiting());
    let output = bench.tool.run(&SEVERAL).expect_code(0);
    expect_balance(&output, 300);
    assert_eq!(bench.pop3d().connections(), 1);
    bench.expect_all_once("pop3");
}

#[test]
fn conditions_that_only_a_server_knows_hold_over_several_connections_too() {
    let bodies = mail::many(5, 300);
    let bench = Bench::imap(&bodies, Behaviour::default(), Behaviour::default());
    let output = bench.tool.run(&[&SEVERAL[..], &["--search", "ALL"]].concat()).expect_code(0);
    assert_eq!((&output.json()["copied"], &output.json()["filtered"]), (&5.into(), &0.into()), "{output}");
    bench.expect_all_once("a search");
}

#[test]
fn names_and_limits_of_the_destination_are_known_over_several_connections_too() {
    let quota = vec![("STORAGE".into(), 0, 1)];
    let destination = Behaviour { prefix: "INBOX.".into(), delimiter: '.', quota, ..waiting() }.with("QUOTA");
    let bench = Bench::imap(&[mail::plain(0, 900)], Behaviour::default(), destination);
    for (number, folder) in (1..).zip(["INBOX/x", "x"]) {
        bench.imapd().fill(folder, &[mail::plain(number, 900)]);
    }
    let output = bench.run().expect_code(0);
    // Both would be INBOX.x there.
    output.expect_stderr("x (2)").expect_stderr("too many");
    assert_eq!(bench.to.bodies("INBOX.x"), [mail::plain(2, 900)]);
    assert_eq!(bench.to.bodies("INBOX.x (2)"), [mail::plain(1, 900)]);
}
