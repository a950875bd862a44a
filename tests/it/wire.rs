//! The dialogue itself: cut anywhere, it means the same; and it is exactly what it should be, line by line.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailhaul::account::{Config, CredentialSource, Overrides, Place, Server};
use mailhaul::context::Context;
use mailhaul::folder::Folder;
use mailhaul::imap::bulk::Wanted;
use mailhaul::imap::opening::{First, Opening};
use mailhaul::imap::session::{Access, Session};
use mailhaul::message::Digests;
use mailhaul::net::Trace;
use mailhaul::pop3;
use mailhaul::query::Query;

use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Odd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::proxy::{Proxy, Weather};
use crate::support::script::Script;
use crate::support::tool::Tool;

/// How the octets from the server are cut into segments.
#[derive(Debug, Clone, Copy)]
enum Cuts {
    None,
    /// Once, behind so many octets.
    At(usize),
    /// Behind each octet.
    Everywhere,
}

/// A proxy for one connection; says how many octets came from the server.
fn cutting(target: u16, cuts: Cuts) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", target)).unwrap();
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let mut piece = [0; 16 * 1024];
        while let Ok(read @ 1..) = server.read(&mut piece) {
            let before = counted.fetch_add(read, Ordering::SeqCst);
            let bytes = &piece[..read];
            let parts: Vec<&[u8]> = match cuts {
                Cuts::At(at) if (before + 1..before + read).contains(&at) => vec![&bytes[..at - before], &bytes[at - before..]],
                Cuts::Everywhere => bytes.chunks(1).collect(),
                _ => vec![bytes],
            };
            for (index, part) in parts.iter().enumerate() {
                if index > 0 && matches!(cuts, Cuts::At(_)) {
                    // Gives the client time to see the first part alone; what is asserted holds either way.
                    std::thread::sleep(Duration::from_micros(500));
                }
                if client.write_all(part).is_err() {
                    return;
                }
            }
        }
        let _ = client.shutdown(Shutdown::Write);
    });
    (port, count)
}

fn server(tool: &Tool, url: &str) -> Server {
    let config = Config::parse("", Path::new("config.toml")).unwrap();
    let overrides = Overrides { credential: Some(CredentialSource::File(tool.password_file())), ..Overrides::default() };
    Place::parse(url, &config, &overrides).unwrap().server().unwrap().clone()
}

fn told(outcome: &mut String, index: usize, digests: &Digests, rest: &str) {
    writeln!(outcome, "{index} {} {} {rest}", digests.exact, digests.content).unwrap();
}

/// Everything a session brings, as text.
fn imap_outcome(tool: &Tool, port: u16) -> String {
    let server = server(tool, &format!("imap://ann@127.0.0.1:{port}?tls=none&timeout=60s"));
    let mut session = Session::connect(&server, Access::ReadOnly, &Context::from_environment(), &Trace::off()).unwrap();
    let mut outcome = format!("{:?}\n", session.list().unwrap());
    let mut selected = session.examine(b"INBOX").unwrap();
    writeln!(outcome, "{:?}", selected.state()).unwrap();
    writeln!(outcome, "{:?}", selected.list_from(1).unwrap().collect::<Vec<_>>()).unwrap();
    let wanted: Vec<Wanted> = (1..=3).map(|uid| Wanted { uid, size: None }).collect();
    selected
        .fetch(&wanted, &mut |index, fetched| {
            match fetched {
                Ok(fetched) => told(&mut outcome, index, &fetched.digests, &format!("{:?} {:?}", fetched.internal_date, fetched.flags)),
                Err(error) => writeln!(outcome, "{index} {error}").unwrap(),
            }
            Ok(())
        })
        .unwrap();
    session.logout().unwrap();
    outcome
}

/// The same of a session whose first questions go out with the login.
fn opening_outcome(tool: &Tool, port: u16) -> String {
    let server = server(tool, &format!("imap://ann@127.0.0.1:{port}?tls=none&timeout=60s"));
    let (folder, query) = (Folder::parse("Archive/a").unwrap(), Query::default());
    let opening = Opening { folder: &folder, writable: false, first: First::Search(&query) };
    let context = Context::from_environment();
    let mut session = Session::connect_at(&server, Access::ReadOnly, &context, &Trace::off(), &opening).unwrap();
    let mut selected = session.open_folder(&folder, false).unwrap();
    let mut outcome = format!("{:?}\n", selected.state());
    writeln!(outcome, "{:?}", selected.search_all().unwrap()).unwrap();
    writeln!(outcome, "{:?}", selected.newest(2, false).unwrap()).unwrap();
    let uids = [2, 3].into_iter().collect();
    selected
        .summaries(&uids, false, &mut |meta| {
            writeln!(outcome, "{meta:?}").unwrap();
            Ok(())
        })
        .unwrap();
    session.logout().unwrap();
    outcome
}

fn pop3_outcome(tool: &Tool, port: u16) -> String {
    let server = server(tool, &format!("pop3://ann@127.0.0.1:{port}?tls=none&timeout=60s"));
    let mut session = pop3::Session::connect(&server, &Context::from_environment(), &Trace::off(), pop3::Options::default()).unwrap();
    let mut outcome = format!("{:?}\n", session.capabilities());
    writeln!(outcome, "{:?}", session.stat().unwrap()).unwrap();
    writeln!(outcome, "{:?}", session.listings().unwrap()).unwrap();
    session
        .retrieve(&[1, 2, 3, 4, 9], pop3::What::Whole, &mut |index, message| {
            match message {
                Ok((_, digests)) => told(&mut outcome, index, &digests, ""),
                Err(error) => writeln!(outcome, "{index} {error}").unwrap(),
            }
            Ok(())
        })
        .unwrap();
    session.quit().unwrap();
    // The place holds the port, which differs.
    // With its colon: the digits alone may stand in a digest.
    outcome.replace(&format!(":{port}"), ":PORT")
}

/// Cuts everywhere at once, then once at each place (every so many by default, all with MAILHAUL_TEST_FULL=1).
fn invariant(target: u16, outcome: &dyn Fn(u16) -> String) {
    let (port, count) = cutting(target, Cuts::None);
    let whole = outcome(port);
    let octets = count.load(Ordering::SeqCst);
    assert!((300..8000).contains(&octets), "{octets} octets");
    assert_eq!(outcome(cutting(target, Cuts::Everywhere).0), whole, "each octet alone");
    let step = if std::env::var_os("MAILHAUL_TEST_FULL").is_some() { 1 } else { 5 };
    for at in (1..octets).step_by(step) {
        assert_eq!(outcome(cutting(target, Cuts::At(at)).0), whole, "cut at {at}");
    }
}

#[test]
fn an_imap_session_means_the_same_wherever_it_is_cut() {
    let list = "* LIST (\\HasNoChildren) \"/\" {7}\r\nA \"{5}\"\r\n* LIST (\\Noselect) \"/\" \"{5}\"\r\n* LIST () NIL &AMQ-\r\n\
                * LIST () \"/\" INBOX\r\n$tag OK [ALERT] all {3}\r\n";
    let examine = "* FLAGS (\\Seen \\Answered)\r\n* 3 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 4]\r\n\
                   * OK [PERMANENTFLAGS (\\Seen \\*)] {5}\r\n$tag OK [READ-ONLY] done\r\n";
    let listing = "* 1 FETCH (FLAGS (\\Seen) UID 1 INTERNALDATE {26}\r\n13-Sep-2020 12:26:40 +0000 RFC822.SIZE 5)\r\n\
                   * 2 FETCH (UID 2)\r\n* 2 FETCH (UID 2 FLAGS ($A b) RFC822.SIZE 9)\r\n* 3 FETCH (UID 3 RFC822.SIZE 2)\n$tag OK done\r\n";
    let bodies = "* 2 FETCH (UID 2 FLAGS () BODY[] {9}\r\n{3}\r\nab)\r)\r\n* OK noise {5}\r\n\
                  * 1 FETCH (BODY[] \"a\\\"b{2}\" INTERNALDATE \"13-Sep-2020 12:26:40 +0000\" UID 1)\r\n* 1 FETCH (FLAGS (\\Seen) UID 1)\r\n\
                  * 3 FETCH (BODY[] {0}\r\n UID 3)\r\n$tag OK done\r\n";
    let odd = Odd::start("AUTH=PLAIN SASL-IR ID NAMESPACE UNSELECT", &[], move |asked| match asked.verb {
        "LIST" => Answer::send(list),
        "EXAMINE" => Answer::send(examine),
        _ if asked.wants_listing() => Answer::send(listing),
        _ if asked.wants_bodies() => Answer::send(bodies),
        "NAMESPACE" => Answer::send("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n$tag OK done\r\n"),
        "ID" => Answer::send("* ID (\"name\" {4}\r\na)b) \"x\" NIL)\r\n$tag OK\r\n"),
        _ => Answer::Usual,
    });
    let tool = Tool::new();
    invariant(odd.port(), &|port| imap_outcome(&tool, port));
}

#[test]
fn what_goes_ahead_means_the_same_wherever_it_is_cut_and_whether_the_guess_was_right() {
    let tool = Tool::new();
    let mut outcomes = Vec::new();
    for prefix in ["", "INBOX."] {
        let own = format!("\"{prefix}Archive{}a\"", if prefix.is_empty() { "/" } else { "." });
        let selected = Mutex::new(false);
        let odd = Odd::start("AUTH=PLAIN SASL-IR ID NAMESPACE ESEARCH", &[], move |asked| {
            let mut selected = selected.lock().unwrap();
            match asked.verb {
                "NAMESPACE" if prefix.is_empty() => Answer::send("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n$tag OK done\r\n"),
                "NAMESPACE" => Answer::send("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n$tag OK done\r\n"),
                "EXAMINE" => {
                    *selected = asked.rest == own;
                    let count = if *selected { 3 } else { 99 };
                    Answer::send(&format!("* {count} EXISTS\r\n* OK [UIDVALIDITY {count}] ok\r\n$tag OK done\r\n"))
                }
                "UID SEARCH" if *selected => Answer::send("* ESEARCH (TAG \"$tag\") UID ALL 1:3\r\n$tag OK done\r\n"),
                "UID SEARCH" => Answer::send("* ESEARCH (TAG \"$tag\") UID ALL 1:99\r\n$tag OK done\r\n"),
                "UID FETCH" | "FETCH" => Answer::send(
                    "* 2 FETCH (UID 2 FLAGS ({3}\r\n$Ax) RFC822.SIZE 5)\r\n* 3 FETCH (UID 3 FLAGS () RFC822.SIZE 6)\r\n$tag OK done\r\n",
                ),
                _ => Answer::Usual,
            }
        });
        invariant(odd.port(), &|port| opening_outcome(&tool, port));
        outcomes.push(opening_outcome(&tool, odd.port()));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert!(outcomes[0].contains("exists: 3") && !outcomes[0].contains("99"), "{}", outcomes[0]);
}

#[test]
fn a_pop3_session_means_the_same_wherever_it_is_cut() {
    let bodies: Vec<Vec<u8>> = ["Subject: a\r\n\r\n.\r\n..\r\n.x\r\n", "\r\n\r\r\n.\r.\n\r\n", "", "b\nc\r\n"]
        .iter()
        .map(|body| body.as_bytes().to_vec())
        .collect();
    for behaviour in [pop3d::Behaviour::default(), pop3d::Behaviour::default().without("PIPELINING")] {
        let pop3d = Pop3d::start(behaviour, &bodies);
        let tool = Tool::new();
        invariant(pop3d.port(), &|port| pop3_outcome(&tool, port));
    }
}

#[test]
fn a_migration_comes_out_the_same_when_every_octet_travels_alone() {
    let bodies: Vec<Vec<u8>> =
        mail::many(4, 300).into_iter().chain(mail::nasty_for_append().into_iter().filter(|body| body.len() < 3000)).collect();
    let from_imap = Imapd::start(imapd::Behaviour::default());
    from_imap.fill("INBOX", &bodies);
    let from_pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    for (scheme, port) in [("imap", from_imap.port()), ("pop3", from_pop3.port())] {
        let to = Imapd::start(imapd::Behaviour::default());
        let weather = || Weather { one_byte: true, ..Weather::default() };
        let (near, far) = (Proxy::start(port, weather()), Proxy::start(to.port(), weather()));
        let tool = Tool::new();
        let from = format!("{scheme}://ann@127.0.0.1:{}?tls=none", near.port());
        if scheme == "imap" {
            tool.server("from", Some(&from), None)
        } else {
            tool.server("from", None, Some(&from))
        };
        tool.server("to", Some(&format!("imap://ann@127.0.0.1:{}?tls=none", far.port())), None);
        let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
        assert_eq!(summary["copied"], bodies.len());
        mail::assert_same_mail(&bodies, &to.bodies("INBOX"));
    }
}

/// A dry run from a scripted server, whose transcript must be followed to the letter.
fn follows(transcript: &str, scheme: &str) {
    let script = Script::start(&[transcript]);
    let to = Imapd::start(imapd::Behaviour::default());
    let tool = Tool::new();
    if scheme == "imap" {
        tool.server("from", Some(&script.imap()), None)
    } else {
        tool.server("from", None, Some(&script.pop3()))
    };
    tool.server("to", Some(&to.url()), None);
    let output = tool.run(&["migrate", "from", "to", "--dry-run", "--json"]);
    script.finish();
    assert_eq!(output.expect_code(0).json()["copied"], 1);
}

#[test]
fn a_bare_imap_server_is_asked_for_nothing_it_lacks() {
    follows(
        "S: * OK hi
         C: A1 CAPABILITY
         S: * CAPABILITY IMAP4rev1
         S: A1 OK
         C: A2 LOGIN …
         S: A2 OK
         C: A3 CAPABILITY
         S: * CAPABILITY IMAP4rev1
         S: A3 OK
         C: A4 LIST \"\" \"*\"
         S: * LIST () \"/\" INBOX
         S: A4 OK
         C: A5 LSUB \"\" \"*\"
         S: A5 OK
         C: A6 EXAMINE \"INBOX\"
         S: * 1 EXISTS
         S: * OK [UIDVALIDITY 7]
         S: A6 OK
         C: A7 UID FETCH 1:* (UID INTERNALDATE RFC822.SIZE)
         S: * 1 FETCH (UID 4 RFC822.SIZE 10)
         S: A7 OK
         C: A8 LOGOUT
         S: * BYE
         S: A8 OK",
        "imap",
    );
}

#[test]
fn a_modern_imap_server_is_asked_in_few_round_trips() {
    follows(
        "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR ID NAMESPACE] hi
         C: A1 AUTHENTICATE PLAIN *
         S: A1 OK [CAPABILITY IMAP4rev1 ID NAMESPACE LIST-EXTENDED SPECIAL-USE] in
         # Three at once.
         C: A2 CAPABILITY
         C: A3 ID …
         C: A4 NAMESPACE
         S: * CAPABILITY IMAP4rev1 ID NAMESPACE LIST-EXTENDED SPECIAL-USE
         S: A2 OK
         S: * ID NIL
         S: A3 OK
         S: * NAMESPACE ((\"INBOX.\" \".\")) NIL NIL
         S: A4 OK
         C: A5 LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE)
         S: * LIST (\\Subscribed) \".\" INBOX
         S: A5 OK
         C: A6 EXAMINE \"INBOX\"
         S: * 1 EXISTS
         S: * OK [UIDVALIDITY 7]
         S: A6 OK
         C: A7 UID FETCH 1:* (UID INTERNALDATE RFC822.SIZE)
         S: * 1 FETCH (UID 4 RFC822.SIZE 10)
         S: A7 OK
         C: A8 LOGOUT
         S: * BYE
         S: A8 OK",
        "imap",
    );
}

#[test]
fn a_bare_pop3_server_and_a_modern_one_are_asked_for_what_they_have() {
    follows(
        "S: +OK hi
         C: CAPA
         S: -ERR what?
         C: USER ann
         S: +OK
         C: PASS *
         S: +OK
         C: CAPA
         S: -ERR what?
         C: LIST
         S: +OK
         S: 1 10
         S: .
         C: UIDL
         S: -ERR what?
         C: QUIT
         S: +OK",
        "pop3",
    );
    follows(
        "S: +OK hi
         C: CAPA
         S: +OK
         S: SASL PLAIN
         S: UIDL
         S: PIPELINING
         S: .
         C: AUTH PLAIN *
         S: +OK
         C: CAPA
         S: +OK
         S: UIDL
         S: PIPELINING
         S: .
         # Two at once.
         C: LIST
         C: UIDL
         S: +OK
         S: 1 10
         S: .
         S: +OK
         S: 1 u1
         S: .
         C: QUIT
         S: +OK",
        "pop3",
    );
}
