//! Servers that say what no server should: memory stays bounded, nothing reaches a terminal raw, and no message gets
//! another's body.

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use crate::support::mail;
use crate::support::odd::{Answer, Asked, Odd, body_response, peak_memory};
use crate::support::tool::Output;

use super::{comparisons, destination, honest, look_at, looks_at, refused, tool};

#[test]
fn terminal_escapes_of_a_server_reach_no_terminal() {
    // S23.
    let evil = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}evil\rx";
    for verb in ["GREETING", "LOGIN", "LIST"] {
        let words = if verb == "GREETING" { format!("* BYE [ALERT] {evil}\r\n") } else { format!("$tag NO [ALERT] {evil}\r\n") };
        let server = Odd::start("", &[], move |asked| if asked.verb == verb { Answer::send(&words) } else { Answer::Usual });
        for output in looks_at(&server.url()) {
            assert!(output.code >= 4 && output.stdout.is_empty(), "{output}");
            let shown = output.stderr.trim_end_matches('\n');
            assert!(!shown.chars().any(|character| character.is_control() || character == '\u{202e}'), "{verb}: {shown:?}");
        }
    }
    let name = "A\x1b[2JB";
    let server = Odd::start("", &[], move |asked| match asked.verb {
        "LIST" => Answer::Send(format!("* LIST () \"/\" {{{}}}\r\n{name}\r\n$tag OK\r\n", name.len()).into_bytes()),
        _ => Answer::Usual,
    });
    let output = look_at(&server.url());
    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains('\x1b'), "{output}");
}

/// Whether all cases are asked for, those that take a million responses among them.
fn full() -> bool {
    std::env::var_os("MAILHAUL_TEST_FULL").is_some()
}

/// The memory that the program may have used at most, in KiB: 64 MiB and what a debug build and its windows add.
const MEMORY: u64 = 96 * 1024;

/// Runs against a server that never stops sending; it must end by itself and stay small.
#[track_caller]
fn flooded(url: &str, codes: &[i32], what: &str) {
    // S20, the noise must not be what breaks: a trace of a million lines takes its time, so not by default.
    for trace in if full() { &[false, true][..] } else { &[false] } {
        let (to, there, maildrop) = (destination(), destination(), honest());
        let mut tool = tool(url, &to);
        tool.server("there", Some(&there.url()), None).server("drop", None, Some(&maildrop.url()));
        tool.use_clock();
        let path = tool.text("trace.log");
        for verb in [&["migrate", "from", "to", "--dry-run"][..]].into_iter().chain(comparisons(url)) {
            let mut args = verb.to_vec();
            if *trace {
                args.extend(["-vv", "--trace", &path]);
            }
            // A run that is over before it could be looked at even once is run again.
            let (output, peak) = (0..10)
                .map(|_| {
                    let running = tool.spawn(&args, None);
                    let peak = peak_memory(running.id());
                    (running.finish(), peak.join().unwrap())
                })
                .find(|(_, peak)| *peak > 0)
                .expect("the program was never seen running");
            assert!(codes.contains(&output.code) && output.stdout.is_empty(), "{what}: {output}");
            assert!(output.stderr.len() < 2000, "{what}: {output}");
            assert!(peak < MEMORY, "{what}: {peak} KiB");
            // The trace of a flood may be long; it is not what is measured here, and one is enough of the long ones.
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[test]
fn literals_beyond_measure_are_refused_without_memory() {
    // S18, S19.
    for size in ["4294967295", "18446744073709551615", "18446744073709551616", "99999999999999999999999999", "2147483649"] {
        for (verb, head) in [
            ("LIST", "* LIST () \"/\" "),
            ("listing", "* 1 FETCH (UID 1 BODY[] "),
            ("listing", "* 1 FETCH (UID 1 FLAGS "),
            ("CAPABILITY", "* X "),
        ] {
            let bytes = format!("{head}{{{size}}}\r\n").into_bytes();
            let server = Odd::start("", &mail::many(1, 10), move |asked| {
                if asked.verb == verb || verb == "listing" && asked.wants_listing() { Answer::Stall(bytes.clone()) } else { Answer::Usual }
            });
            for output in looks_at(&server.url()) {
                assert!(output.stdout.is_empty(), "{output}");
                refused(output, &[6], &format!("{size} at {verb}"));
            }
        }
    }
    // Within the limits, but no end of them.
    for (what, head) in [("names", "* LIST () \"/\" {1000000}\r\n"), ("text", "* X {1000000}\r\n")] {
        let mut drops = head.as_bytes().to_vec();
        drops.extend(vec![b'x'; 1_000_000]);
        drops.extend_from_slice(b"\r\n");
        let server =
            Odd::start("", &[], move |asked| if asked.verb == "LIST" { Answer::Flood(Vec::new(), drops.clone()) } else { Answer::Usual });
        if what == "names" {
            flooded(&server.url(), &[6], what);
        }
    }
    // One response of many literals.
    for drop in ["{0}\r\n ", "{1000000}\r\n"] {
        let drops = if drop.starts_with("{0}") { drop.as_bytes().to_vec() } else { [drop.as_bytes(), &[b'x'; 1_000_000], b" "].concat() };
        let server = Odd::start("", &[], move |asked| {
            if asked.verb == "LIST" { Answer::Flood(b"* LIST () \"/\" ".to_vec(), drops.clone()) } else { Answer::Usual }
        });
        flooded(&server.url(), &[6], &format!("one response of {drop:?}"));
    }
    let drops = b" BODY[] {10}\r\n0123456789".to_vec();
    let server = Odd::start("", &mail::many(1, 10), move |asked| {
        if asked.wants_listing() { Answer::Flood(b"* 1 FETCH (UID 1".to_vec(), drops.clone()) } else { Answer::Usual }
    });
    flooded(&server.url(), &[6], "one response of many bodies");
}

#[test]
fn lines_without_end_are_refused_without_memory() {
    for verb in ["GREETING", "CAPABILITY", "LOGIN", "LIST", "EXAMINE"] {
        let server =
            Odd::start(
                "",
                &[],
                move |asked| {
                    if asked.verb == verb { Answer::Flood(b"* OK [".to_vec(), b"x y".to_vec()) } else { Answer::Usual }
                },
            );
        flooded(&server.url(), &[6], verb);
    }
    for begin in ["", "+OK hi\r\n"] {
        let (port, _heard) = flood_plainly(begin, "+OK xxxxxxxx");
        flooded(&format!("pop3://ann@127.0.0.1:{port}?tls=none&timeout=5s"), &[6], begin);
    }
}

#[test]
fn responses_without_end_are_refused_without_memory() {
    // S21. Those behind the third need a million responses to be found out, so one of them has to do by default.
    for (verb, drops) in [
        ("LIST", "* LIST () \"/\" Folder\r\n"),
        ("listing", "* 1 FETCH (UID 1 FLAGS ())\r\n"),
        ("LIST", "* 1 FETCH (FLAGS ())\r\n"),
        ("CAPABILITY", "* OK noise\r\n"),
        ("CAPABILITY", "* CAPABILITY IMAP4rev1\r\n"),
        ("LIST", "* OK noise\r\n"),
        ("EXAMINE", "* 1 EXISTS\r\n"),
        ("listing", "* OK noise\r\n"),
        ("listing", "+ go\r\n"),
    ]
    .into_iter()
    .take(if full() { 100 } else { 3 })
    {
        let server = Odd::start("", &mail::many(1, 10), move |asked| {
            if asked.verb == verb || verb == "listing" && asked.wants_listing() {
                Answer::Flood(Vec::new(), drops.as_bytes().to_vec())
            } else {
                Answer::Usual
            }
        });
        flooded(&server.url_with("timeout=20s"), &[5, 6], &format!("{drops:?} at {verb}"));
    }
}

#[test]
fn listings_without_end_are_refused_without_memory() {
    let login = "+OK hi\r\n-ERR\r\n+OK\r\n+OK\r\n-ERR\r\n+OK\r\n";
    for drops in ["1 10\r\n", "1 \r\n", ".x\r\n"] {
        let (port, _heard) = flood_plainly(login, drops);
        flooded(&format!("pop3://ann@127.0.0.1:{port}?tls=none&timeout=20s"), &[6], drops);
        let (port, _heard) = flood_plainly(&format!("{login}.\r\n+OK\r\n"), drops);
        flooded(&format!("pop3://ann@127.0.0.1:{port}?tls=none&timeout=20s"), &[6], drops);
    }
    let (port, _heard) = flood_plainly("+OK hi\r\n+OK\r\n", "X-WORD word\r\n");
    flooded(&format!("pop3://ann@127.0.0.1:{port}?tls=none&timeout=20s"), &[6], "CAPA");
}

/// Says `begin`, then `drops` again and again, to whoever connects, whatever they say.
fn flood_plainly(begin: &str, drops: &str) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (begin, piece) = (begin.as_bytes().to_vec(), drops.as_bytes().repeat(64 * 1024 / drops.len()));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let Ok(mut tcp) = tcp else { return };
            if tcp.write_all(&begin).is_ok() {
                while tcp.write_all(&piece).is_ok() {}
            }
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

#[test]
fn numbers_beyond_measure_make_nobody_panic() {
    for exists in ["4294967295", "18446744073709551615", "99999999999999999999999", "-1", "0"] {
        let answer = format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 4294967295]\r\n* OK [UIDNEXT 4294967295]\r\n$tag OK\r\n");
        let server =
            Odd::start("", &mail::many(2, 10), move |asked| if asked.verb == "EXAMINE" { Answer::send(&answer) } else { Answer::Usual });
        for output in looks_at(&server.url()) {
            // The comparison with an account that has nothing may find just that out, or that what is listed cannot be had.
            assert!([0, 1, 3, 6].contains(&output.code), "{exists}: {output}");
        }
    }
    for listing in [
        "* 1 FETCH (UID 0 RFC822.SIZE 1)\r\n* 2 FETCH (UID 4294967296 RFC822.SIZE 18446744073709551616)\r\n",
        "* 4294967295 FETCH (UID 4294967295 RFC822.SIZE 18446744073709551615)\r\n* 1 FETCH (UID 1 RFC822.SIZE 18446744073709551615)\r\n",
        "* 1 FETCH (UID -1 RFC822.SIZE -1)\r\n* 0 FETCH (UID 2 RFC822.SIZE 9.3e6)\r\n",
    ] {
        let answer = format!("{listing}$tag OK\r\n");
        let server =
            Odd::start("", &mail::many(2, 10), move |asked| if asked.wants_listing() { Answer::send(&answer) } else { Answer::Usual });
        let to = destination();
        let mut tool = tool(&server.url(), &to);
        tool.use_clock();
        let output = tool.run(&["migrate", "from", "to", "--json"]);
        assert!([0, 3].contains(&output.code), "{listing}: {output}");
        assert_eq!(output.json()["balanced"], true, "{listing}: {output}");
    }
}

/// Copies five messages from a server whose answers to requests for bodies `twist` chooses.
fn copied(twist: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> (Output, Vec<Vec<u8>>) {
    let server = Odd::start("", &five(), twist);
    let to = destination();
    let mut tool = tool(&server.url(), &to);
    tool.use_clock();
    let output = tool.run(&["migrate", "from", "to", "--json", "-v"]);
    // Whatever it said, it did copy by UID and never changed anything.
    assert!(server.log().iter().all(|line| !line.starts_with("SELECT") && !line.starts_with("UID STORE")), "{:?}", server.log());
    (output, to.bodies("INBOX"))
}

fn five() -> Vec<Vec<u8>> {
    mail::many(5, 200)
}

/// All of the five but those with these UIDs.
fn without(uids: &[usize]) -> Vec<Vec<u8>> {
    five().into_iter().enumerate().filter(|(index, _)| !uids.contains(&(index + 1))).map(|(_, body)| body).collect()
}

/// The usual answer to a request for bodies, with one message's response replaced.
fn replaced(asked: &Asked<'_>, uid: u32, response: &str) -> Answer {
    if !asked.wants_bodies() {
        return Answer::Usual;
    }
    let mut answer = Vec::new();
    for (other, body) in (1..).zip(five()).filter(|(other, _)| asked.names(*other)) {
        answer.extend(if other == uid { response.as_bytes().to_vec() } else { body_response(other, &body) });
    }
    answer.extend_from_slice(b"$tag OK done\r\n");
    Answer::Send(answer)
}

#[test]
fn a_body_that_cannot_be_had_is_put_aside_by_name_and_no_message_gets_anothers() {
    let three = five()[2].clone();
    let three = String::from_utf8(three).unwrap();
    let length = three.len();
    let placeholder = "Subject: x\r\n\r\nRetrieval using the IMAP4 protocol failed for the following message: 3\r\n";
    let cases = [
        ("left out", String::new()),
        ("NIL", "* 3 FETCH (UID 3 FLAGS () BODY[] NIL)\r\n".to_owned()),
        ("an empty string", "* 3 FETCH (UID 3 BODY[] \"\")\r\n".to_owned()),
        ("an empty literal", "* 3 FETCH (UID 3 BODY[] {0}\r\n)\r\n".to_owned()),
        ("no value", "* 3 FETCH (UID 3 BODY[])\r\n".to_owned()),
        ("no UID", format!("* 3 FETCH (BODY[] {{{length}}}\r\n{three})\r\n")),
        ("a UID nobody asked for", format!("* 3 FETCH (UID 77 BODY[] {{{length}}}\r\n{three})\r\n")),
        ("another section", format!("* 3 FETCH (UID 3 BODY[TEXT] {{{length}}}\r\n{three})\r\n")),
        ("a part of it", format!("* 3 FETCH (UID 3 BODY[]<0> {{{length}}}\r\n{three})\r\n")),
        ("two in one response", format!("* 3 FETCH (UID 3 BODY[] {{2}}\r\nxx BODY[] {{{length}}}\r\n{three})\r\n")),
        ("two that differ", format!("* 3 FETCH (UID 3 BODY[] {{2}}\r\nxx)\r\n* 3 FETCH (UID 3 BODY[] {{{length}}}\r\n{three})\r\n")),
        ("Exchange's placeholder", format!("* 3 FETCH (UID 3 BODY[] {{{}}}\r\n{placeholder})\r\n", placeholder.len())),
    ];
    for (what, response) in cases {
        let (output, there) = copied(move |asked| replaced(asked, 3, &response));
        let output = output.expect_code(3);
        let summary = output.json();
        assert_eq!(
            (&summary["copied"], &summary["quarantined"], &summary["balanced"]),
            (&4.into(), &1.into(), &true.into()),
            "{what}: {output}"
        );
        assert_eq!(summary["problems"][0]["uid"], 3, "{what}: {output}");
        mail::assert_same_mail(&without(&[3]), &there);
    }
}

#[test]
fn a_refusal_of_one_set_costs_only_the_message_that_is_refused() {
    // Yahoo's way; the whole command is refused for one message in it.
    for words in ["NO [SERVERBUG] UID FETCH Server error", "BAD what?", "NO [UNAVAILABLE] later"] {
        let (output, there) =
            copied(
                move |asked| {
                    if asked.wants_bodies() && asked.names(3) { Answer::send(&format!("$tag {words}\r\n")) } else { Answer::Usual }
                },
            );
        let summary = output.expect_code(3).json();
        assert_eq!((&summary["copied"], &summary["quarantined"]), (&4.into(), &1.into()), "{words}");
        mail::assert_same_mail(&without(&[3]), &there);
    }
}

#[test]
fn answers_in_any_order_twice_and_among_others_go_to_their_messages() {
    let noise = "* 3 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 2 FLAGS (\\Flagged))\r\n* 9 FETCH (UID 99 FLAGS ())\r\n* 6 EXISTS\r\n\
                 * OK [ALERT] noise {5}\r\n* XNOISE \"{5}\"\r\n* OK [APPENDUID 7 1:5] unasked\r\n* OK [COPYUID 7 1 2] unasked\r\n+ what\r\n\
                 * FLAGS (\\Seen)\r\n* BAD noise\r\n* \r\n\r\n* SEARCH 1 2 3\r\n";
    let shuffles: [fn(Vec<u32>) -> Vec<u32>; 3] = [
        |uids| uids.into_iter().rev().collect(),
        |uids| uids.iter().flat_map(|uid| [*uid, *uid]).collect(),
        |uids| uids.iter().chain(&uids).copied().collect(),
    ];
    for shuffle in shuffles {
        let (output, there) = copied(move |asked| {
            if !asked.wants_bodies() {
                return Answer::Usual;
            }
            let mut answer = noise.as_bytes().to_vec();
            for uid in shuffle((1..=5).filter(|uid| asked.names(*uid)).collect()) {
                answer.extend(body_response(uid, &five()[uid as usize - 1]));
                answer.extend_from_slice(noise.as_bytes());
            }
            answer.extend_from_slice(b"$tag OK done\r\n");
            Answer::Send(answer)
        });
        let summary = output.expect_code(0).json();
        assert_eq!(summary["copied"], 5);
        mail::assert_same_mail(&five(), &there);
    }
}

#[test]
fn a_message_that_looks_like_protocol_arrives_as_it_is() {
    let bodies: Vec<Vec<u8>> = [
        "\r\nstarts with an empty line\r\n",
        "Subject: {10}\r\n\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nxyz)\r\nA5 OK done\r\n",
        "Subject: x)\r\n\r\n)\r\nA9 OK done\r\n* BYE\r\n",
        "\")\r\n\r\n\\\" (UID 2)\r\n",
    ]
    .iter()
    .map(|body| body.as_bytes().to_vec())
    .collect();
    let server = Odd::start("", &bodies, |_| Answer::Usual);
    let to = destination();
    tool(&server.url(), &to).run(&["migrate", "from", "to"]).expect_code(0);
    assert_eq!(to.bodies("INBOX"), bodies);
}

#[test]
fn floods_in_place_of_bodies_end_and_stay_small() {
    for drops in [
        "* 1 FETCH (UID 77 BODY[] {10}\r\n0123456789)\r\n",
        "* 1 FETCH (UID 1 BODY[] {10}\r\n0123456789)\r\n",
        "* OK noise\r\n",
        "* 1 FETCH (UID 1 FLAGS ())\r\n",
    ]
    .into_iter()
    .take(if full() { 4 } else { 2 })
    {
        let bytes = drops.as_bytes().to_vec();
        let server = Odd::start("", &mail::many(1, 100), move |asked| {
            if asked.wants_bodies() { Answer::Flood(Vec::new(), bytes.clone()) } else { Answer::Usual }
        });
        let to = destination();
        let mut tool = tool(&server.url_with("timeout=20s"), &to);
        tool.use_clock();
        let running = tool.spawn(&["migrate", "from", "to"], None);
        let peak = peak_memory(running.id());
        let output = running.finish();
        assert!([3, 6].contains(&output.code), "{drops}: {output}");
        let peak = peak.join().unwrap();
        assert!(peak < MEMORY, "{drops}: {peak} KiB");
        assert!(to.bodies("INBOX").is_empty(), "{drops}");
    }
}
