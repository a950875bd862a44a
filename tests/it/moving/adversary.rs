//! What servers, networks and mail do to a move: answers that lie, mail that looks like other mail, messages that end sessions,
//! wrong passwords, cuts anywhere, hostile names, and a house of a hundred thousand messages.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::crash::bench::{Bench, From, Offers, full, in_parallel, say};
use crate::support::imapd::{self, AppendFault, Behaviour, Imapd};
use crate::support::mail::{self, content_digest};
use crate::support::names;
use crate::support::odd::{Answer, Odd, peak_memory};
use crate::support::pop3d::{self, Pop3d};
use crate::support::proxy::{Cut, Direction, Proxy, Weather};
use crate::support::server::{advance_clock, read_clock};
use crate::support::terminal::harm;
use crate::support::tool::{Output, Tool};

/// Both kinds of source with these messages.
fn both_sources(bodies: &[Vec<u8>], destination: &imapd::Behaviour) -> [(&'static str, Bench); 2] {
    [
        ("POP3", Bench::pop3(bodies, pop3d::Behaviour::default(), destination.clone())),
        ("IMAP", Bench::imap(bodies, imapd::Behaviour::default(), destination.clone())),
    ]
}

fn with_header(id: &str, subject: &str, text: &str) -> Vec<u8> {
    format!(
        "From: Ann <ann@example.org>\r\nSubject: {subject}\r\nDate: Tue, 1 Sep 2020 12:00:00 +0000\r\nMessage-ID: <{id}@example.org>\r\n\r\n{text}\r\n"
    )
    .into_bytes()
}

#[test]
fn different_messages_under_one_message_id_arrive_each_once_whichever_is_lost_on_the_way() {
    // The same field alone, and the whole header, octet for octet.
    let pairs = [
        [with_header("x", "one", "first"), with_header("x", "two", "second")],
        [with_header("x", "one", "first"), with_header("x", "one", "second")],
    ];
    let faults = [
        AppendFault::HangUpBeforeStoring,
        AppendFault::HangUpAfterStoring,
        AppendFault::StoreLate(Some(200_000)),
        AppendFault::NoAfterStoring("[SERVERBUG] oops".to_owned()),
        AppendFault::No("[UNAVAILABLE] later".to_owned()),
    ];
    let mut cases = Vec::new();
    for (alike, pair) in pairs.iter().enumerate() {
        for fault in &faults {
            for offers in Offers::ALL {
                for place in 1..=3 {
                    cases.push((alike, pair, fault, offers, place));
                }
            }
        }
    }
    let cases: Vec<_> = cases.into_iter().enumerate().filter(|(index, _)| full() || index % 5 == 0).map(|(_, case)| case).collect();
    in_parallel(&cases, |&(alike, pair, fault, offers, place)| {
        let bodies = [vec![mail::plain(1, 100)], pair.to_vec(), vec![mail::plain(2, 100)]].concat();
        for (source, bench) in both_sources(&bodies, &offers.behaviour().append_fault(place, fault.clone())) {
            let case = format!("{source}, {fault:?} at {place}, {offers:?}, pair {alike}");
            let output = bench.run();
            assert_eq!(output.code, 0, "{case}: {output}");
            assert_eq!(output.json()["balanced"], true, "{case}: {output}");
            bench.expect_all_once(&case);
        }
    });
    say(&format!("pairs under one Message-ID, one of them lost on the way: {0}/{0} cases", cases.len() * 2));
}

#[test]
fn an_edited_draft_joins_the_one_with_its_message_id_that_is_there() {
    let (old, new) = (with_header("draft", "plan", "first thoughts"), with_header("draft", "plan", "second thoughts"));
    for offers in Offers::ALL {
        // There before the first run, which knows nothing of it.
        for (source, bench) in both_sources(&[new.clone(), mail::plain(1, 100)], &offers.behaviour()) {
            let case = format!("{source}, {offers:?}, before");
            bench.to.fill("INBOX", std::slice::from_ref(&old));
            assert_eq!(bench.run().expect_code(0).json()["copied"], 2, "{case}");
            bench.expect_there(&case, &[old.clone(), new.clone(), mail::plain(1, 100)]);
        }
        // Brought by a run, then edited at the source.
        for (source, mut bench) in both_sources(&[old.clone(), mail::plain(1, 100)], &offers.behaviour()) {
            let case = format!("{source}, {offers:?}, edited");
            bench.run().expect_code(0);
            match &bench.from {
                From::Imap(server) => {
                    server.change("INBOX", |mailbox| mailbox.expunge(1));
                    server.fill("INBOX", std::slice::from_ref(&new));
                }
                From::Pop3(server) => server.maildrop(|maildrop| {
                    maildrop.remove(0);
                    maildrop.push(pop3d::Entry { uidl: "edited".to_owned(), body: new.clone() });
                }),
            }
            assert_eq!(bench.run().expect_code(0).json()["copied"], 1, "{case}");
            bench.bodies = vec![new.clone(), mail::plain(1, 100)];
            bench.expect_there(&case, &[old.clone(), new.clone(), mail::plain(1, 100)]);
        }
    }
}

/// Where the session ends at one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The destination, having read it whole.
    Destination,
    Pop3,
    Imap,
}

#[test]
fn a_message_that_ends_sessions_is_put_aside_shown_and_tried_again_and_costs_no_settling_time_for_each_window() {
    const BAD: usize = 41;
    let needle = format!("Subject: message {BAD}\r\n").into_bytes();
    let mut jobs = Vec::new();
    for offers in Offers::ALL {
        jobs.extend([(Ends::Destination, true, offers), (Ends::Destination, false, offers)]);
    }
    jobs.extend([(Ends::Pop3, true, Offers::ALL[0]), (Ends::Imap, false, Offers::ALL[0])]);
    let slowest = Mutex::new((0, String::new()));
    in_parallel(&jobs, |&(ends, pop3, offers)| {
        let case = format!("{ends:?} ends, POP3 {pop3}, {offers:?}");
        let bodies = mail::many(150, 200);
        let mut destination = offers.behaviour();
        let (mut maildrop, mut source) = (pop3d::Behaviour::default(), imapd::Behaviour::default());
        match ends {
            Ends::Destination => destination.hang_up_on = vec![needle.clone()],
            Ends::Pop3 => maildrop.hang_up_at = vec![BAD + 1; 50],
            Ends::Imap => source.hang_up_at_uid = Some(u32::try_from(BAD + 1).unwrap()),
        }
        let bench = if pop3 { Bench::pop3(&bodies, maildrop, destination) } else { Bench::imap(&bodies, source, destination) };
        let without: Vec<Vec<u8>> = bodies.iter().enumerate().filter(|(index, _)| *index != BAD).map(|(_, body)| body.clone()).collect();
        let output = bench.run();
        assert_eq!(output.code, 3, "{case}: {output}");
        let summary = output.json();
        assert_eq!(
            (&summary["quarantined"], &summary["copied"], &summary["balanced"]),
            (&1.into(), &149.into(), &true.into()),
            "{case}: {output}"
        );
        assert_eq!(summary["problems"][0]["uid"], BAD + 1, "{case}: {output}");
        mail::assert_same_mail(&without, &bench.there());
        let waited = read_clock(Some(&bench.clock)) / 1000;
        {
            let mut slowest = slowest.lock().unwrap();
            if waited >= slowest.0 {
                *slowest = (waited, case.clone());
            }
        }
        say(&format!("  {case}: {waited} s of waiting"));
        // All pauses of the run together. What went out whole behind the message was not answered either, and no client can prove
        // sooner that none of it is stored: its octets are in the server's hands, commands may be done in any order and late
        // (RFC 9051 section 5.5), and a BYE tells of the session alone. So these wait once, together and at the end of the run, until
        // a server may store late no more (`--settle`, ten minutes), and each goes out alone then. The one that ends the session
        // again is put aside without such a time. A source that hangs up costs none.
        let most = if ends == Ends::Destination { 600 + 30 } else { 60 };
        assert!(waited < most, "{case}: {waited} s were waited\n{output}");

        let shown = bench.tool.run(&["problems", "to", "--json"]).expect_code(0).json();
        let rows = shown["messages"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{case}: {shown}");
        assert_eq!((&rows[0]["uid"], &rows[0]["folder"]), (&(BAD + 1).into(), &"INBOX".into()), "{case}: {shown}");
        assert!(rows[0]["reason"].as_str().unwrap().contains("hung up on it"), "{case}: {shown}");

        // As bad as ever: tried again, put aside again, nothing else touched.
        bench.run().expect_code(3);
        mail::assert_same_mail(&without, &bench.there());
        if ends == Ends::Destination {
            // From now on no run waits until it may be sent again; one that comes later does.
            let (before, appends) = (read_clock(Some(&bench.clock)), bench.to.appends());
            let soon = bench.run().expect_code(3).json();
            assert_eq!((&soon["quarantined"], &soon["copied"], &soon["balanced"]), (&1.into(), &0.into(), &true.into()), "{case}: {soon}");
            assert_eq!((read_clock(Some(&bench.clock)), bench.to.appends()), (before, appends), "{case}");
            advance_clock(&bench.clock, Duration::from_secs(601));
            bench.run().expect_code(3);
            assert_eq!(bench.to.appends(), appends + 1, "{case}");
            mail::assert_same_mail(&without, &bench.there());
        }
        bench.tool.run(&["problems", "to", "--retry"]).expect_code(0);
        let shown = bench.tool.run(&["problems", "to", "--json"]).expect_code(0).json();
        assert_eq!(shown["messages"].as_array().unwrap().len(), 0, "{case}: {shown}");
        bench.to.behave(|behaviour| behaviour.hang_up_on.clear());
        match &bench.from {
            From::Pop3(server) => server.behave(|behaviour| behaviour.hang_up_at.clear()),
            From::Imap(server) => server.behave(|behaviour| behaviour.hang_up_at_uid = None),
        }
        let last = bench.run().expect_code(0).json();
        assert_eq!((&last["copied"], &last["balanced"]), (&1.into(), &true.into()), "{case}: {last}");
        bench.expect_all_once(&case);
        let shown = bench.tool.run(&["problems", "to", "--json"]).expect_code(0).json();
        assert_eq!(shown["messages"].as_array().unwrap().len(), 0, "{case}: {shown}");
    });
    let (seconds, case) = slowest.into_inner().unwrap();
    say(&format!("a message that ends sessions costs {seconds} s of waiting at most, {} cases ({case})", jobs.len()));
}

#[test]
fn messages_that_end_sessions_in_several_folders_cost_one_settling_time_together() {
    for offers in Offers::ALL {
        let case = format!("{offers:?}");
        let bodies = mail::many(150, 200);
        let bad = [10, 12, 60, 61, 120];
        let needles: Vec<Vec<u8>> = bad.iter().map(|number| format!("Subject: message {number}\r\n").into_bytes()).collect();
        let destination = Behaviour { hang_up_on: needles, ..offers.behaviour() };
        let mut bench = Bench::imap(&bodies[..50], Behaviour::default(), destination);
        bench.imapd().fill("Work", &bodies[50..100]);
        bench.imapd().fill("Archive", &bodies[100..]);
        bench.bodies.clone_from(&bodies);
        let output = bench.run().expect_code(3);
        let summary = output.json();
        assert_eq!(
            (&summary["quarantined"], &summary["copied"], &summary["balanced"]),
            (&bad.len().into(), &(150 - bad.len()).into(), &true.into()),
            "{case}: {output}"
        );
        let waited = read_clock(Some(&bench.clock)) / 1000;
        say(&format!("  five messages that end sessions, {case}: {waited} s of waiting"));
        assert!(waited < 600 + 60, "{case}: {waited} s were waited\n{output}");
        bench.to.behave(|behaviour| behaviour.hang_up_on.clear());
        assert_eq!(bench.run().expect_code(0).json()["copied"], bad.len(), "{case}");
        bench.expect_all_once(&case);
    }
}

#[test]
fn what_had_to_be_altered_is_told_though_the_answer_was_lost() {
    let bodies = vec![mail::plain(1, 100), b"Subject: bare\n\nline\n".to_vec(), mail::plain(2, 100)];
    for offers in Offers::ALL {
        for fault in [AppendFault::HangUpAfterStoring, AppendFault::NoAfterStoring("[SERVERBUG] oops".to_owned())] {
            for place in 1..=3 {
                for (source, bench) in both_sources(&bodies, &offers.behaviour().append_fault(place, fault.clone())) {
                    let case = format!("{source}, {fault:?} at {place}, {offers:?}");
                    let output = bench.run().expect_code(0);
                    let summary = output.json();
                    assert_eq!((&summary["copied"], &summary["altered"]), (&3.into(), &1.into()), "{case}: {output}");
                }
            }
        }
    }
}

/// Six messages that differ in everything: body, flags and date.
struct Lot(Vec<Vec<u8>>);

impl Lot {
    const FLAGS: [&'static str; 6] = ["\\Seen", "\\Flagged", "\\Answered \\Seen", "", "Work", "\\Draft"];

    /// How message 3 ends: with what reads like an answer about message 5.
    const TAIL: &'static str =
        "* 5 FETCH (UID 5 FLAGS (\\Deleted) INTERNALDATE \"01-Jan-1999 00:00:00 +0000\" BODY[] {8}\r\nX: y\r\n\r\n)\r\nend\r\n";

    fn new() -> Self {
        let mut bodies: Vec<Vec<u8>> = (0..6).map(|number| mail::plain(number + 30, 100 + usize::try_from(number).unwrap() * 7)).collect();
        bodies[2].extend_from_slice(Self::TAIL.as_bytes());
        Self(bodies)
    }

    fn date(uid: u32) -> String {
        format!("{:02}-Sep-2020 1{uid}:26:40 +0000", uid * 3)
    }

    fn body(&self, uid: u32) -> &[u8] {
        &self.0[uid as usize - 1]
    }

    fn flags(uid: u32) -> &'static str {
        Self::FLAGS[uid as usize - 1]
    }

    /// FLAGS and INTERNALDATE of a message.
    fn facts(uid: u32) -> String {
        format!("FLAGS ({}) INTERNALDATE \"{}\"", Self::flags(uid), Self::date(uid))
    }

    fn literal(&self, uid: u32) -> String {
        format!("{{{}}}\r\n{}", self.body(uid).len(), String::from_utf8_lossy(self.body(uid)))
    }

    fn whole(&self, uid: u32) -> String {
        format!("* {uid} FETCH (UID {uid} {} BODY[] {})\r\n", Self::facts(uid), self.literal(uid))
    }
}

/// How a FETCH of bodies is answered: the messages asked for, and what is said of them.
type Lie = fn(&Lot, &[u32]) -> String;

/// The usual answers, but another one about message 3.
fn but(lot: &Lot, asked: &[u32], three: impl Fn() -> String) -> String {
    asked.iter().map(|&uid| if uid == 3 { three() } else { lot.whole(uid) }).collect()
}

const LIES: &[(&str, Lie)] = &[
    ("no body", |lot, asked| but(lot, asked, || format!("* 3 FETCH (UID 3 {})\r\n", Lot::facts(3)))),
    ("not a word of it", |lot, asked| but(lot, asked, String::new)),
    ("NIL", |lot, asked| but(lot, asked, || format!("* 3 FETCH (UID 3 {} BODY[] NIL)\r\n", Lot::facts(3)))),
    ("an empty string", |lot, asked| but(lot, asked, || format!("* 3 FETCH (UID 3 {} BODY[] \"\")\r\n", Lot::facts(3)))),
    ("an empty literal", |lot, asked| but(lot, asked, || format!("* 3 FETCH (UID 3 {} BODY[] {{0}}\r\n)\r\n", Lot::facts(3)))),
    ("nothing but OK", |_, _| String::new()),
    ("no body of any", |_, asked| asked.iter().map(|uid| format!("* {uid} FETCH (UID {uid} {})\r\n", Lot::facts(*uid))).collect()),
    ("backwards", |lot, asked| asked.iter().rev().map(|&uid| lot.whole(uid)).collect()),
    ("shuffled", |lot, asked| {
        let mut asked = asked.to_vec();
        asked.sort_by_key(|uid| uid * 5 % 7);
        asked.iter().map(|&uid| lot.whole(uid)).collect()
    }),
    ("one twice", |lot, asked| but(lot, asked, || lot.whole(3).repeat(2))),
    ("all twice", |lot, asked| asked.iter().map(|&uid| lot.whole(uid)).collect::<String>().repeat(2)),
    ("NIL, then the body", |lot, asked| but(lot, asked, || format!("* 3 FETCH (UID 3 {} BODY[] NIL)\r\n{}", Lot::facts(3), lot.whole(3)))),
    ("the body, then NIL", |lot, asked| but(lot, asked, || format!("{}* 3 FETCH (UID 3 BODY[] NIL)\r\n", lot.whole(3)))),
    ("facts and body apart", |lot, asked| {
        but(lot, asked, || format!("* 3 FETCH (UID 3 {})\r\n* 3 FETCH (UID 3 BODY[] {})\r\n", Lot::facts(3), lot.literal(3)))
    }),
    ("flags of others in between", |lot, asked| {
        let others = |uid: u32| -> String {
            (1..=6).filter(|other| *other != uid).map(|other| format!("* {other} FETCH (FLAGS ({}))\r\n", Lot::flags(other))).collect()
        };
        asked.iter().map(|&uid| format!("{}{}{}", others(uid), lot.whole(uid), others(uid))).collect()
    }),
    ("flags of others in between, by UID", |lot, asked| {
        let others = |uid: u32| -> String {
            let told = |other: u32| format!("* {other} FETCH (UID {other} FLAGS ({}))\r\n", Lot::flags(other));
            (1..=6).filter(|other| *other != uid).map(told).collect()
        };
        asked.iter().map(|&uid| format!("{}{}{}", others(uid), lot.whole(uid), others(uid))).collect()
    }),
    ("bodies nobody asked for", |lot, asked| {
        let stranger = "* 99 FETCH (UID 99 FLAGS (\\Deleted) INTERNALDATE \"01-Jan-1999 00:00:00 +0000\" BODY[] {7}\r\nX: y\r\n\r)\r\n";
        asked.iter().map(|&uid| format!("{stranger}{}", lot.whole(uid))).collect()
    }),
    ("the next one's body in between", |lot, asked| {
        asked.iter().map(|&uid| format!("{}{}", lot.whole(uid % 6 + 1), lot.whole(uid))).collect()
    }),
    ("a body without a UID", |lot, asked| but(lot, asked, || format!("* 3 FETCH ({} BODY[] {})\r\n", Lot::facts(3), lot.literal(3)))),
    ("a body of UID 0", |lot, asked| but(lot, asked, || format!("* 3 FETCH (UID 0 {} BODY[] {})\r\n", Lot::facts(3), lot.literal(3)))),
    ("another number", |lot, asked| but(lot, asked, || format!("* 77 FETCH (UID 3 {} BODY[] {})\r\n", Lot::facts(3), lot.literal(3)))),
    ("the UID last", |lot, asked| but(lot, asked, || format!("* 3 FETCH (BODY[] {} {} UID 3)\r\n", lot.literal(3), Lot::facts(3)))),
    ("two UIDs", |lot, asked| but(lot, asked, || format!("* 3 FETCH (UID 4 {} BODY[] {} UID 3)\r\n", Lot::facts(3), lot.literal(3)))),
    ("only its beginning", |lot, asked| {
        but(lot, asked, || {
            let some = String::from_utf8_lossy(&lot.body(3)[..20]).into_owned();
            format!("* 3 FETCH (UID 3 {} BODY[]<0> {{20}}\r\n{some})\r\n", Lot::facts(3))
        })
    }),
    ("only its header", |lot, asked| {
        but(lot, asked, || format!("* 3 FETCH (UID 3 {} BODY[HEADER] {{13}}\r\nSubject: x\r\n\r)\r\n", Lot::facts(3)))
    }),
    ("a literal said shorter", |lot, asked| {
        but(lot, asked, || lot.whole(3).replace(&format!("{{{}}}", lot.body(3).len()), &format!("{{{}}}", lot.body(3).len() - 3)))
    }),
    ("a literal said shorter by what reads like an answer", |lot, asked| {
        let length = lot.body(3).len();
        but(lot, asked, || lot.whole(3).replace(&format!("{{{length}}}"), &format!("{{{}}}", length - Lot::TAIL.len())))
    }),
    ("a literal said shorter by a line end and what reads like an answer", |lot, asked| {
        let length = lot.body(3).len();
        but(lot, asked, || lot.whole(3).replace(&format!("{{{length}}}"), &format!("{{{}}}", length - Lot::TAIL.len() - 2)))
    }),
    ("a literal said longer by the parenthesis", |lot, asked| {
        but(lot, asked, || lot.whole(3).replace(&format!("{{{}}}", lot.body(3).len()), &format!("{{{}}}", lot.body(3).len() + 3)))
    }),
    ("a literal said longer by far", |lot, asked| {
        but(lot, asked, || lot.whole(3).replace(&format!("{{{}}}", lot.body(3).len()), &format!("{{{}}}", lot.body(3).len() + 90)))
    }),
    ("a literal without a length", |lot, asked| but(lot, asked, || lot.whole(3).replace(&format!("{{{}}}", lot.body(3).len()), "{}"))),
    ("messages that come and go meanwhile", |lot, asked| {
        asked.iter().map(|&uid| format!("* 7 EXISTS\r\n{}* 7 EXISTS\r\n* 1 RECENT\r\n", lot.whole(uid))).collect()
    }),
    ("small letters and other spaces", |lot, asked| {
        but(lot, asked, || {
            format!(
                "* 3 fetch (uid 3 {} body[] {})\r\n",
                Lot::facts(3).replace("FLAGS", "flags").replace("INTERNALDATE", "internaldate"),
                lot.literal(3)
            )
        })
    }),
];

/// What a source that lies leads to, and what it does when it has become honest.
fn lied_to(name: &str, lie: Lie) -> Output {
    let lot = Arc::new(Lot::new());
    let honest = Arc::new(AtomicBool::new(false));
    let (told, now_honest) = (Arc::clone(&lot), Arc::clone(&honest));
    let source = Odd::start("", &lot.0, move |asked| {
        if asked.verb != "UID FETCH" {
            return Answer::Usual;
        }
        let wanted: Vec<u32> = (1..=6).filter(|&uid| asked.names(uid)).collect();
        let mut answer: String = if !asked.wants_bodies() {
            let told = &told;
            wanted
                .iter()
                .map(|&uid| format!("* {uid} FETCH (UID {uid} {} RFC822.SIZE {})\r\n", Lot::facts(uid), told.body(uid).len()))
                .collect()
        } else if now_honest.load(Ordering::Relaxed) {
            wanted.iter().map(|&uid| told.whole(uid)).collect()
        } else {
            lie(&told, &wanted)
        };
        answer.push_str("$tag OK done\r\n");
        Answer::Send(answer.into_bytes())
    });
    let to = Imapd::start(imapd::Behaviour::default());
    let mut tool = Tool::new();
    tool.use_clock();
    // Silence is the end of what a literal promised too much: a second stands for the minute that people wait.
    tool.server("from", Some(&source.url_with("timeout=1s")), None).server("to", Some(&to.url()), None);
    let sorted = |flags: Vec<&str>| flags.into_iter().filter(|flag| !flag.is_empty()).map(str::to_owned).collect::<BTreeSet<String>>();
    let there = || -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        for message in to.mailbox("INBOX").messages {
            let uid = (1..=6).find(|&uid| lot.body(uid) == message.body);
            let uid = uid.unwrap_or_else(|| panic!("{name}: no message of the source: {}", message.body.escape_ascii()));
            let flags = sorted(message.flags.iter().map(String::as_str).collect());
            assert_eq!(flags, sorted(Lot::flags(uid).split(' ').collect()), "{name}: flags of {uid}");
            assert_eq!(
                crate::support::store::seconds(&message.internal_date),
                crate::support::store::seconds(&Lot::date(uid)),
                "{name}: {uid}"
            );
            assert!(found.insert(uid), "{name}: {uid} is there twice");
        }
        found
    };
    let first = tool.run(&["migrate", "from", "to", "--json"]);
    let arrived = there();
    assert!([0, 3, 5, 6].contains(&first.code), "{name}: {first}");
    assert_eq!(first.code == 0, arrived.len() == 6, "{name}: {} of 6 are there: {first}", arrived.len());
    let summary: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap_or_default();
    if first.code == 0 || first.code == 3 {
        assert_eq!((&summary["balanced"], &summary["copied"]), (&true.into(), &arrived.len().into()), "{name}: {first}");
    }
    honest.store(true, Ordering::Relaxed);
    let second = tool.run(&["migrate", "from", "to", "--json"]);
    assert_eq!(second.code, 0, "{name}: {second}");
    assert_eq!(there().len(), 6, "{name}: {first} {second}");
    assert_eq!(tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json()["copied"], 0, "{name}");
    assert_eq!(there().len(), 6, "{name}");
    first
}

#[test]
fn answers_about_bodies_that_lie_give_no_message_anothers_flags_date_or_body() {
    let told = Mutex::new(Vec::new());
    in_parallel(LIES, |&(name, lie)| {
        let first = lied_to(name, lie);
        let summary: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap_or_default();
        told.lock().unwrap().push(format!("{name}: {} with {} copied", first.code, summary["copied"]));
    });
    let mut told = told.into_inner().unwrap();
    told.sort();
    say(&format!("lying answers survived: {0}/{0}\n  {1}", LIES.len(), told.join("\n  ")));
}

#[test]
fn a_wrong_password_on_either_side_ends_with_4_and_touches_nothing() {
    for wrong in ["from", "to"] {
        for pop3 in [true, false] {
            let bodies = mail::many(3, 100);
            let from = if pop3 {
                From::Pop3(Pop3d::start(pop3d::Behaviour::default(), &bodies))
            } else {
                From::Imap(Imapd::start(imapd::Behaviour::default()))
            };
            if let From::Imap(server) = &from {
                server.fill("INBOX", &bodies);
            }
            let to = Imapd::start(imapd::Behaviour::default());
            let tool = Tool::new();
            match &from {
                From::Pop3(server) => tool.server("from", None, Some(&server.url())),
                From::Imap(server) => tool.server("from", Some(&server.url()), None),
            };
            tool.server("to", Some(&to.url()), None);
            fs::write(tool.path("wrong"), "not the password\n").unwrap();
            fs::set_permissions(tool.path("wrong"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            let option = format!("--{wrong}-password-file");
            for dry_run in [&[][..], &["--dry-run"]] {
                let output = tool.run(&[&["migrate", "from", "to", &option, "wrong"], dry_run].concat()).expect_code(4);
                assert!(output.stderr.starts_with(&format!("mailhaul: {wrong}")) && output.stderr.lines().count() == 1, "{output}");
                assert!(!output.text().contains("BALANCE"), "{output}");
            }
            assert!(to.bodies("INBOX").is_empty() && to.appends() == 0);
            let tries = match &from {
                _ if wrong == "to" => to.connections(),
                From::Pop3(server) => server.connections(),
                From::Imap(server) => server.connections(),
            };
            assert_eq!(tries, 2, "one in each run, for more would lock the account");
            let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
            assert_eq!(summary["copied"], 3, "{summary}");
        }
    }
}

/// A bench whose both ends are behind proxies.
fn behind_proxies(pop3: bool, offers: Offers) -> (Bench, Proxy, Proxy) {
    let mut bodies = mail::many(12, 700);
    bodies.extend([mail::plain(7, 700), mail::plain(7, 700)]);
    let mut tool = Tool::new();
    let clock = tool.use_clock();
    let from = if pop3 {
        From::Pop3(Pop3d::start(pop3d::Behaviour::default(), &bodies))
    } else {
        From::Imap(Imapd::start(imapd::Behaviour::default()))
    };
    let port = match &from {
        From::Pop3(server) => server.port(),
        From::Imap(server) => {
            server.fill("INBOX", &bodies[..9]);
            server.fill("Work", &bodies[9..]);
            server.port()
        }
    };
    let to = Imapd::start(imapd::Behaviour { clock: Some(clock.clone()), ..offers.behaviour() });
    let proxies = (Proxy::start(port, Weather::default()), Proxy::start(to.port(), Weather::default()));
    let url = |scheme: &str, proxy: &Proxy| format!("{scheme}://ann@127.0.0.1:{}?tls=none", proxy.port());
    match pop3 {
        true => tool.server("from", None, Some(&url("pop3", &proxies.0))),
        false => tool.server("from", Some(&url("imap", &proxies.0)), None),
    };
    tool.server("to", Some(&url("imap", &proxies.1)), None);
    (Bench { tool, from, to, clock, bodies }, proxies.0, proxies.1)
}

#[test]
fn a_connection_cut_at_any_octet_of_either_side_loses_and_doubles_nothing() {
    let ways = [Direction::ToServer, Direction::ToClient];
    let mut jobs = Vec::new();
    for (index, (pop3, offers)) in [(true, Offers::ALL[0]), (false, Offers::ALL[3])].into_iter().enumerate() {
        let (bench, source, destination) = behind_proxies(pop3, offers);
        bench.run().expect_code(0);
        for (side, proxy) in [source, destination].iter().enumerate() {
            for (way, direction) in ways.into_iter().enumerate() {
                let total = proxy.octets(direction);
                let stride = total.div_ceil(if full() { 400 } else { 9 });
                let first = 1 + (index as u64 * 7 + side as u64 * 5 + way as u64 * 3) % stride;
                let places = (first..=total).step_by(usize::try_from(stride).unwrap()).chain([total.saturating_sub(2), total]);
                for (turn, at) in places.enumerate() {
                    let cut = if turn % 2 == 0 { Cut::Fin } else { Cut::Reset };
                    jobs.push((pop3, offers, side, direction, at, cut, turn % 5 == 4));
                }
            }
        }
    }
    let finished = AtomicUsize::new(0);
    in_parallel(&jobs, |&(pop3, offers, side, direction, at, cut, all)| {
        let case = format!("POP3 {pop3}, {offers:?}: side {side} cut by {cut:?} {direction:?} at {at}, all: {all}");
        let (bench, source, destination) = behind_proxies(pop3, offers);
        let proxy = if side == 0 { &source } else { &destination };
        proxy.set(Weather { cut: Some((direction, at, cut)), cuts: u64::from(!all), ..Weather::default() });
        let rainy = bench.run();
        assert!([0, 3, 5].contains(&rainy.code), "{case}: {rainy}");
        let missing = mail::multiset(&bench.there()) != mail::multiset(&bench.bodies);
        assert!(!(rainy.code == 0 && missing), "{case}: 0 and not all there: {rainy}");
        assert!(rainy.code == 0 || !rainy.stderr.is_empty(), "{case}: {rainy}");
        finished.fetch_add(usize::from(rainy.code == 0), Ordering::Relaxed);
        proxy.set(Weather::default());
        bench.to.wait_until_quiet();
        let clean = bench.run();
        assert_eq!(clean.code, 0, "{case}: {rainy} {clean}");
        assert_eq!(clean.json()["balanced"], true, "{case}: {clean}");
        bench.expect_all_once(&case);
    });
    say(&format!("migrate, cuts survived: {0}/{0}; {1} runs came to their end all the same", jobs.len(), finished.into_inner()));
}

#[test]
fn folders_with_hostile_names_are_moved_each_to_its_own_and_no_message_twice() {
    let corpus: Vec<String> = names::wire().into_iter().step_by(if full() { 1 } else { 4 }).collect();
    let from = Imapd::start(imapd::Behaviour::default());
    let mut bodies = Vec::new();
    for (number, name) in (0..).zip(&corpus) {
        let body = mail::plain(number, 40);
        from.fill(name, std::slice::from_ref(&body));
        bodies.push(body);
    }
    let to = Imapd::start(imapd::Behaviour::default());
    let mut tool = Tool::new();
    tool.set_deadline(std::time::Duration::from_secs(600));
    tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
    let there = || -> Vec<Vec<u8>> { to.folders().iter().flat_map(|folder| to.bodies(folder)).collect() };
    let output = tool.run(&["migrate", "from", "to", "--json"]);
    assert!([0, 3].contains(&output.code), "{output}");
    assert!(harm(output.stderr.as_bytes()).is_none() && harm(&output.stdout).is_none(), "{output}");
    assert!(!to.log().iter().any(|line| line.contains("unknown command")), "a name became a command");
    let arrived: Vec<String> = there().iter().map(|body| content_digest(body)).collect();
    let once: BTreeSet<&String> = arrived.iter().collect();
    assert_eq!(once.len(), arrived.len(), "something is there twice");
    assert_eq!(output.code == 0, arrived.len() == bodies.len(), "{output}");
    // No two folders became one.
    let full_folders = to.folders().iter().filter(|folder| to.bodies(folder).len() > 1).count();
    assert_eq!(full_folders, 0, "{:?}", to.folders());
    let again = tool.run(&["migrate", "from", "to", "--json"]);
    assert_eq!((again.code, &again.json()["copied"]), (output.code, &0.into()), "{again}");
    assert_eq!(there().len(), arrived.len());
    say(&format!("migrate, hostile names: {} of {} folders moved, the others told of (exit {})", arrived.len(), corpus.len(), output.code));
}

#[test]
fn a_hundred_thousand_messages_are_moved_in_bounded_memory() {
    // KiB; these are debug builds.
    const MEMORY: u64 = 64 * 1024;
    let count: u64 = std::env::var("MAILHAUL_TEST_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let bodies: Vec<Vec<u8>> = (0..count).map(|number| format!("Subject: {number}\r\n\r\nbody of {number}\r\n").into_bytes()).collect();
    for pop3 in [false, true] {
        let to = Imapd::start(imapd::Behaviour::default());
        let mut tool = Tool::new();
        tool.set_deadline(std::time::Duration::from_secs(900));
        let from = if pop3 {
            From::Pop3(Pop3d::start(pop3d::Behaviour::default(), &bodies))
        } else {
            From::Imap(Imapd::start(imapd::Behaviour::default()))
        };
        match &from {
            From::Pop3(server) => tool.server("from", None, Some(&server.url())),
            From::Imap(server) => {
                server.fill("INBOX", &bodies);
                tool.server("from", Some(&server.url()), None)
            }
        };
        tool.server("to", Some(&to.url()), None);
        for copied in [count, 0] {
            let running = tool.spawn(&["migrate", "from", "to", "--json"], None);
            let peak = peak_memory(running.id());
            let summary = running.finish().expect_code(0).json();
            assert_eq!((&summary["copied"], &summary["balanced"]), (&copied.into(), &true.into()), "{summary}");
            let peak = peak.join().unwrap();
            say(&format!("migrate of {count} messages, POP3 {pop3}, {copied} of them new: peak {peak} KiB"));
            assert!(peak > 0 && peak < MEMORY, "POP3 {pop3}, {copied} new: {peak} KiB");
        }
    }
}
