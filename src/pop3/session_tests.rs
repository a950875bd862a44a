//! Sessions against a peer that plays a script: it sends what stands behind `S:` and insists on what stands behind `C:`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::message::{Body, Digests};
use crate::net::TlsOptions;
use crate::pop3::What;

enum Step {
    Server(Vec<u8>),
    Client(String),
}

/// A script: lines `S: words` (sent with CRLF), `R: words` (sent raw, escapes `\r \n` resolved), `C: words`.
fn script(text: &str) -> Vec<Step> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_once(": ") {
            Some(("S", words)) => Step::Server(format!("{words}\r\n").into_bytes()),
            Some(("R", words)) => Step::Server(words.replace("\\r", "\r").replace("\\n", "\n").into_bytes()),
            Some(("C", words)) => Step::Client(words.to_owned()),
            _ => panic!("{line}"),
        })
        .collect()
}

/// Plays one script a connection; joining it fails when the client said anything else.
fn peer(scripts: Vec<Vec<Step>>) -> (Endpoint, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = std::thread::spawn(move || {
        for steps in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            for step in steps {
                match step {
                    Step::Server(bytes) => stream.write_all(&bytes).unwrap(),
                    Step::Client(expected) => {
                        let mut line = String::new();
                        lines.read_line(&mut line).unwrap();
                        if let Some(beginning) = expected.strip_suffix("[any]") {
                            assert!(line.starts_with(beginning));
                            continue;
                        }
                        assert_eq!(line, if expected == "[end]" { String::new() } else { format!("{expected}\r\n") });
                    }
                }
            }
        }
    });
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port,
        security: Security::None,
        tls: TlsOptions::default(),
        timeout: Some(Duration::from_secs(20)),
        allow_plaintext: false,
    };
    (endpoint, handle)
}

fn context() -> Context {
    Context::from_environment()
}

fn open(endpoint: &Endpoint, login: &Login, auth: Option<Authentication>, trace: &Trace) -> Result<Session> {
    let target = Target { place: "work", endpoint, user: "ann", auth, login };
    Session::open(&target, &context(), trace, Options::default())
}

/// The error of a login with a password against one script.
fn refused(text: &str) -> Error {
    let (endpoint, peer) = peer(vec![script(text)]);
    let error = open(&endpoint, &Login::Password(Secret::new("hunter2x")), None, &Trace::off()).err().unwrap();
    peer.join().unwrap();
    error
}

/// A session, logged in with USER and PASS, whose peer goes on with `text`.
fn logged_in(capabilities: &str, text: Vec<Step>) -> (Session, JoinHandle<()>) {
    let mut steps = script(&format!(
        "S: +OK hi\nC: CAPA\nS: -ERR what\nC: USER ann\nS: +OK\nC: PASS hunter2x\nS: +OK\nC: CAPA\nS: +OK\n{capabilities}S: ."
    ));
    steps.extend(text);
    let (endpoint, peer) = peer(vec![steps]);
    (open(&endpoint, &Login::Password(Secret::new("hunter2x")), None, &Trace::off()).unwrap(), peer)
}

fn bytes(outcome: Result<(Body, Digests)>) -> Vec<u8> {
    let (body, digests) = outcome.unwrap();
    assert_eq!(body.digests().unwrap(), digests);
    body.in_memory().unwrap().to_vec()
}

const TOKEN_FRAME: &str = "dXNlcj1hbm4BYXV0aD1CZWFyZXIgdG9rAQE=";

#[test]
fn a_greeting_that_is_no_pop3_is_a_protocol_error() {
    for greeting in ["S: * OK IMAP4rev1", "S: 220 smtp ready", "R: \\r\\n"] {
        assert_eq!(refused(greeting).kind(), Kind::Protocol);
    }
    assert_eq!(refused("").kind(), Kind::Network);
}

#[test]
fn a_refusing_greeting_is_busy_only_when_its_code_says_so() {
    let error = refused("S: -ERR [SYS/TEMP] come back later");
    assert_eq!(error.kind(), Kind::Busy);
    assert_eq!(error.server_said(), Some("-ERR [SYS/TEMP] come back later"));
    let error = refused("S: -ERR go away");
    assert_eq!((error.kind(), error.scope()), (Kind::Refused, Scope::Session));
}

#[test]
fn the_code_of_a_refused_login_decides_its_kind() {
    for (words, kind) in [
        ("[IN-USE] locked", Kind::Busy),
        ("[LOGIN-DELAY] slow", Kind::Busy),
        ("[SYS/TEMP] db", Kind::Busy),
        ("[SYS/PERM] gone", Kind::Refused),
        ("[AUTH] wrong", Kind::Auth),
        ("wrong", Kind::Auth),
    ] {
        let error =
            refused(&format!("S: +OK\nC: CAPA\nS: +OK\nS: USER\nS: .\nC: USER ann\nS: +OK\nC: PASS hunter2x\nS: -ERR {words}\nC: [end]"));
        assert_eq!(error.kind(), kind, "{words}");
        assert_eq!(error.server_said(), Some(format!("-ERR {words}").as_str()));
    }
}

#[test]
fn a_password_the_server_echoes_shows_nowhere() {
    let error =
        refused("S: +OK\nC: CAPA\nS: -ERR\nC: USER ann\nS: +OK\nC: PASS hunter2x\nS: -ERR no such command: PASS hunter2x\nC: [end]");
    assert_eq!(error.server_said(), Some("-ERR no such command: PASS ***"));
    let error = refused(
        "S: +OK\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\nC: AUTH PLAIN AGFubgBodW50ZXIyeA==\nS: -ERR [AUTH] bad AGFubgBodW50ZXIyeA==\nC: [end]",
    );
    assert_eq!(error.server_said(), Some("-ERR [AUTH] bad ***"));
}

#[test]
fn a_password_the_server_echoes_is_not_in_the_trace() {
    let (endpoint, peer) = peer(vec![script(
        "S: +OK\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\nC: AUTH PLAIN AGFubgBodW50ZXIyeA==\nS: -ERR [AUTH] hunter2x, AGFubgBodW50ZXIyeA==\nC: [end]",
    )]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let login = Login::Password(Secret::new("hunter2x"));
    assert!(open(&endpoint, &login, None, &Trace::to_file(file.path()).unwrap()).is_err());
    peer.join().unwrap();
    let trace = std::fs::read_to_string(file.path()).unwrap();
    assert!(trace.contains("S: -ERR [AUTH] ***, ***"), "{trace}");
    assert!(!trace.contains("hunter2x") && !trace.contains("AGFubgBodW50ZXIyeA"), "{trace}");
}

#[test]
fn a_server_that_refuses_stls_or_speaks_before_tls_gets_no_secret() {
    for (after, kind) in [("S: -ERR no TLS here\nC: [end]", Kind::Network), ("R: +OK go\\r\\n+OK injected\\r\\n\nC: [end]", Kind::Protocol)]
    {
        let (mut endpoint, peer) = peer(vec![script(&format!("S: +OK\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\nC: STLS\n{after}"))]);
        endpoint.security = Security::StartTls;
        let error = open(&endpoint, &Login::Password(Secret::new("hunter2x")), None, &Trace::off()).err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        peer.join().unwrap();
    }
}

#[test]
fn a_token_goes_on_the_auth_line_or_for_microsoft_on_its_own() {
    let token = Login::Token(Secret::new("tok"));
    for text in [
        format!("S: +OK hi\nC: CAPA\nS: +OK\nS: SASL PLAIN XOAUTH2\nS: .\nC: AUTH XOAUTH2 {TOKEN_FRAME}\nS: +OK\nC: CAPA\nS: -ERR"),
        format!(
            "S: +OK The Microsoft Exchange POP3 service is ready.\nC: CAPA\nS: -ERR\nC: AUTH XOAUTH2\nS: + \nC: {TOKEN_FRAME}\nS: +OK\nC: CAPA\nS: -ERR"
        ),
        format!(
            "S: +OK hi\nC: CAPA\nS: -ERR\nC: AUTH XOAUTH2 {TOKEN_FRAME}\nS: -ERR Protocol error\nC: AUTH XOAUTH2\nS: +\nC: {TOKEN_FRAME}\nS: +OK\nC: CAPA\nS: -ERR"
        ),
    ] {
        let (endpoint, peer) = peer(vec![script(&text)]);
        open(&endpoint, &token, None, &Trace::off()).unwrap();
        peer.join().unwrap();
    }
}

#[test]
fn a_long_initial_response_waits_for_the_servers_go_ahead() {
    let password = "é\"\\".repeat(75);
    let frame = parse::base64_of(format!("\0ann\0{password}").as_bytes());
    let (endpoint, peer) = peer(vec![script(&format!(
        "S: +OK\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\nC: AUTH PLAIN\nS: + \nC: {frame}\nS: +OK\nC: CAPA\nS: +OK\nS: ."
    ))]);
    let file = tempfile::NamedTempFile::new().unwrap();
    open(&endpoint, &Login::Password(Secret::new(password.clone())), None, &Trace::to_file(file.path()).unwrap()).unwrap();
    peer.join().unwrap();
    let trace = std::fs::read_to_string(file.path()).unwrap();
    assert!(trace.contains("C: ***") && !trace.contains(&frame) && !trace.contains(&password));
}

#[test]
fn an_error_challenge_is_answered_so_that_the_refusal_can_be_read() {
    // What OAUTHBEARER sends first names the port, which only the peer knows; `sasl` has its frame under test.
    let challenge = parse::base64_of(br#"{"status":"401"}"#);
    for (mechanism, first, answer) in [(Mechanism::XOAuth2, TOKEN_FRAME, ""), (Mechanism::OAuthBearer, "[any]", "AQ==")] {
        let (endpoint, peer) = peer(vec![script(&format!(
            "S: +OK\nC: CAPA\nS: -ERR\nC: AUTH {} {first}\nS: + {challenge}\nC: {answer}\nS: -ERR [AUTH] denied\nC: [end]",
            mechanism.name()
        ))]);
        let error = open(&endpoint, &Login::Token(Secret::new("tok")), Some(Authentication::Sasl(mechanism)), &Trace::off()).err().unwrap();
        peer.join().unwrap();
        assert_eq!(error.kind(), Kind::Auth);
        assert_eq!(error.server_said(), Some(r#"-ERR [AUTH] denied ({"status":"401"})"#));
    }
}

#[test]
fn what_a_line_cannot_carry_is_never_sent() {
    let (endpoint, _peer) = peer(vec![]);
    for (login, kind) in [
        (Login::Password(Secret::new("a\r\nDELE 1")), Kind::Auth),
        (Login::Token(Secret::new("a\0")), Kind::Auth),
        (Login::Password(Secret::new("")), Kind::Auth),
    ] {
        assert_eq!(open(&endpoint, &login, None, &Trace::off()).err().unwrap().kind(), kind);
    }
    let login = Login::Password(Secret::new("x"));
    let target = Target { place: "work", endpoint: &endpoint, user: "ann\nDELE 1", auth: None, login: &login };
    assert_eq!(Session::open(&target, &context(), &Trace::off(), Options::default()).err().unwrap().kind(), Kind::Usage);
}

#[test]
fn a_server_that_hangs_up_or_hangs_at_capa_is_met_again_without() {
    let without = "S: +OK\nC: USER ann\nS: +OK\nC: PASS hunter2x\nS: +OK";
    for first in ["S: +OK\nC: CAPA", "S: +OK\nC: CAPA\nC: [end]"] {
        let (mut endpoint, peer) = peer(vec![script(first), script(without)]);
        endpoint.timeout = Some(Duration::from_millis(500));
        let session = open(&endpoint, &Login::Password(Secret::new("hunter2x")), None, &Trace::off()).unwrap();
        assert!(!session.capabilities().known && !session.pipelines());
        peer.join().unwrap();
    }
}

#[test]
fn listings_come_in_one_flight_and_survive_missing_answers() {
    let (mut session, peer) = logged_in(
        "S: PIPELINING\nS: UIDL\n",
        script("C: LIST\nC: UIDL\nS: -ERR no sizes\nS: +OK\nS: 2 b\nS: 1 a\nS: 3 \nS: .\nC: STAT\nS: +OK 3 99\nC: QUIT\nS: +OK"),
    );
    let (list, uidl) = session.listings().unwrap();
    assert!(list.is_empty());
    assert_eq!(uidl.unwrap(), [(1, Some("a".into())), (2, Some("b".into())), (3, None)]);
    assert_eq!(session.stat().unwrap(), Stat { messages: 3, octets: 99 });
    session.quit().unwrap();
    peer.join().unwrap();

    let (mut session, peer) = logged_in("", script("C: LIST\nS: +OK\nS: 1 10\nS: .\nC: UIDL\nS: -ERR unknown"));
    assert_eq!(session.listings().unwrap(), (vec![(1, Some(10))], None));
    peer.join().unwrap();

    // A listing that breaks off is never a short one.
    let (mut session, peer) = logged_in("", script("C: UIDL\nS: +OK\nS: 1 a"));
    assert!(session.uidl().unwrap_err().is_transient());
    peer.join().unwrap();
}

#[test]
fn all_that_the_window_takes_is_asked_before_the_first_answer_is_read() {
    let numbers: Vec<u32> = (1..=3000).collect();
    let fits = numbers
        .iter()
        .scan(0, |sum, number| Some(*sum + format!("RETR {number}\r\n").len()).inspect(|next| *sum = *next))
        .take_while(|sum| *sum <= 16 * 1024)
        .count();
    let mut steps: Vec<Step> = numbers[..fits].iter().map(|number| Step::Client(format!("RETR {number}"))).collect();
    let reply = |number: u32| {
        Step::Server(if number == 7 { b"-ERR gone\r\n".to_vec() } else { format!("+OK\r\nN: {number}\r\n\r\n..\r\n.\r\n").into_bytes() })
    };
    steps.extend(numbers[..fits].iter().map(|number| reply(*number)));
    for number in &numbers[fits..] {
        steps.push(Step::Client(format!("RETR {number}")));
        steps.push(reply(*number));
    }
    let (mut session, peer) = logged_in("S: PIPELINING\n", steps);
    let mut count = 0;
    session
        .retrieve(&numbers, What::Whole, &mut |index, outcome| {
            assert_eq!(index, count);
            count += 1;
            if count == 7 {
                let error = outcome.err().unwrap();
                assert_eq!((error.scope(), error.server_said()), (Scope::Message, Some("-ERR gone")));
            } else {
                assert_eq!(bytes(outcome), format!("N: {count}\r\n\r\n.\r\n").into_bytes());
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(count, 3000);
    assert!(fits > 1400);
    peer.join().unwrap();
}

#[test]
fn without_pipelining_each_request_waits_for_its_answer() {
    let mut steps = script("C: TOP 1 5\nS: +OK\nS: a: 1\nS: .\nC: TOP 2 5");
    steps.push(Step::Server(b"+OK\r\nb: \0\xff\r\n\r\n..x\r\nbare\n.\ny\r.\r\r\n.\r\n".to_vec()));
    steps.extend(script("C: DELE 1\nS: +OK\nC: DELE 2\nS: -ERR no\nC: RSET\nS: +OK"));
    let (mut session, peer) = logged_in("", steps);
    let mut bodies = Vec::new();
    session
        .retrieve(&[1, 2], What::Top(5), &mut |_, outcome| {
            bodies.push(bytes(outcome));
            Ok(())
        })
        .unwrap();
    assert_eq!(bodies, [b"a: 1\r\n".to_vec(), b"b: \0\xff\r\n\r\n.x\r\nbare\n.\ny\r.\r\r\n".to_vec()]);
    session.dele(1).unwrap();
    assert_eq!(session.dele(2).unwrap_err().scope(), Scope::Message);
    session.rset().unwrap();
    peer.join().unwrap();
}

#[test]
fn a_message_that_only_seems_to_end_is_never_taken_for_whole() {
    let mut steps = script("C: RETR 1");
    steps.push(Step::Server(b"+OK\r\na\n.\n".to_vec()));
    steps.extend(script("C: NOOP\nR: rest of the message\\n.\\r\\n"));
    let (mut session, peer) = logged_in("", steps);
    assert_eq!(session.retr(1).err().unwrap().kind(), Kind::Protocol);
    peer.join().unwrap();
    let mut steps = script("C: RETR 1");
    steps.push(Step::Server(b"+OK\r\na\n..b\n.\n".to_vec()));
    steps.extend(script("C: NOOP\nS: +OK"));
    let (mut session, peer) = logged_in("", steps);
    assert_eq!(bytes(session.retr(1)), b"a\n.b\n");
    peer.join().unwrap();
}

#[test]
fn a_connection_cut_inside_a_message_gives_no_message() {
    let mut steps = script("C: RETR 1\nC: RETR 2");
    steps.push(Step::Server(b"+OK\r\na: 1\r\n.\r\n+OK\r\nb: 2\r\n.\r".to_vec()));
    let (mut session, peer) = logged_in("S: PIPELINING\n", steps);
    let mut count = 0;
    let error = session
        .retrieve(&[1, 2], What::Whole, &mut |_, outcome| {
            count += 1;
            outcome.map(drop)
        })
        .unwrap_err();
    assert_eq!((count, error.kind(), error.scope()), (1, Kind::Network, Scope::Session));
    assert_eq!(error.place(), Some("work"));
    assert!(session.noop().is_err());
    peer.join().unwrap();
}

#[test]
fn a_consumer_that_stops_early_leaves_no_session_out_of_step() {
    let (mut session, peer) = logged_in("S: PIPELINING\n", script("C: RETR 1\nC: RETR 2\nS: +OK\nS: a\nS: .\nS: +OK\nS: b\nS: ."));
    let stop = session.retrieve(&[1, 2], What::Whole, &mut |_, _| Err(Error::local("disk full"))).unwrap_err();
    assert_eq!(stop.kind(), Kind::Local);
    assert!(session.noop().is_err());
    peer.join().unwrap();
}

#[test]
fn a_read_only_session_deletes_nothing() {
    let (mut session, peer) = logged_in("", script("C: QUIT\nS: +OK"));
    session.options.read_only = true;
    assert_eq!(session.dele(1).unwrap_err().kind(), Kind::Safety);
    session.quit().unwrap();
    peer.join().unwrap();
}
