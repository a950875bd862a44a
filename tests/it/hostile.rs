//! Attacks before and at login: nothing secret goes out, nothing foreign comes in. What comes later is in `data`.

mod data;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest as _, Sha256};

use crate::support::imapd::{self, Imapd};
use crate::support::odd::{Answer, Odd, overhear, overhear_slowly};
use crate::support::script::Script;
use crate::support::tls::{self, Identity};
use crate::support::tool::{Output, Tool, holds_canary};
use crate::support::{canary, pop3d};

fn destination() -> Imapd {
    Imapd::start(imapd::Behaviour::default())
}

/// A tool that knows the places `from` and `to`.
fn tool(from: &str, to: &Imapd) -> Tool {
    let tool = Tool::new();
    if from.starts_with("pop3") {
        tool.server("from", None, Some(from))
    } else {
        tool.server("from", Some(from), None)
    };
    tool.server("to", Some(&to.url()), None);
    tool
}

/// A dry run from `from`, as noisy as it goes and with a trace; the tool searches all of it for the password.
fn look_at(from: &str) -> Output {
    let to = destination();
    let tool = tool(from, &to);
    let trace = tool.text("trace.log");
    tool.run(&["migrate", "from", "to", "--dry-run", "-vv", "--trace", &trace])
}

/// As [`look_at`], of a server that serves many connections: each verb that looks at it, with what it ended in.
fn looks_at(from: &str) -> Vec<Output> {
    let honest = honest();
    let (mut tool, to) = (tool(from, &destination()), destination());
    tool.use_clock();
    tool.server("drop", None, Some(&honest.url())).server("there", Some(&to.url()), None);
    let trace = tool.text("trace.log");
    let mut outputs = vec![look_at(from)];
    for verb in comparisons(from) {
        outputs.push(tool.run(&[verb, &["-vv", "--trace", &trace]].concat()));
    }
    outputs
}

/// A maildrop of two messages that tells the truth.
fn honest() -> pop3d::Pop3d {
    pop3d::Pop3d::start(pop3d::Behaviour::default(), &crate::support::mail::many(2, 10))
}

/// Comparisons with `from` on either side; `there` is an empty account, `drop` a maildrop.
fn comparisons(from: &str) -> [&'static [&'static str]; 3] {
    let pop3 = from.starts_with("pop3");
    [
        &["compare", "from", "there"],
        &["compare", "there", "from", "--full"],
        if pop3 { &["compare-pop3", "from", "there"] } else { &["compare-pop3", "drop", "from"] },
    ]
}

#[track_caller]
fn refused(output: Output, codes: &[i32], what: &str) -> Output {
    assert!(codes.contains(&output.code), "{what}: {output}");
    let errors = output.stderr.lines().filter(|line| !line.contains("; connecting again in "));
    assert_eq!(errors.count(), 1, "{what}: {output}");
    output
}

fn text(heard: &Receiver<Vec<u8>>) -> String {
    let heard = heard.recv_timeout(Duration::from_secs(30)).expect("the client never hung up");
    assert!(!holds_canary(&heard), "the password went out");
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn before_tls_at_most_the_wish_for_it_goes_out() {
    // S1 to S4, S8: what the server says before TLS decides nothing.
    let cases: &[(&str, &[&str], &str, &[i32])] = &[
        ("imap", &["* PREAUTH [CAPABILITY IMAP4rev1] you are known\r\n"], "", &[5]),
        ("imap", &["* OK hi\r\n", "$tag BAD Not implemented\r\n"], "A1 STARTTLS\r\n", &[5]),
        ("imap", &["* OK hi\r\n", "$tag NO not now\r\n"], "A1 STARTTLS\r\n", &[5]),
        ("imap", &["* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n", "$tag NO no\r\n"], "A1 STARTTLS\r\n", &[5]),
        ("imap", &["* OK hi\r\n", "* BYE no\r\n$tag NO no\r\n"], "A1 STARTTLS\r\n", &[5]),
        ("imap", &["HTTP/1.1 400 Bad Request\r\n"], "", &[6]),
        ("imap", &["A1 OK hi\r\n"], "", &[6]),
        ("imap", &["* NO\r\n"], "", &[6]),
        ("imap", &["\r\n"], "", &[6]),
        ("imap", &["+ \r\n"], "", &[6]),
        ("pop3", &["+OK hi\r\n", "-ERR Not implemented\r\n", "-ERR no STLS\r\n"], "CAPA\r\nSTLS\r\n", &[5]),
        ("pop3", &["+OK hi\r\n", "+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n", "-ERR no STLS\r\n"], "CAPA\r\nSTLS\r\n", &[5]),
        ("pop3", &["+OK hi\r\n", "+OK\r\n.\r\n", "+WAT\r\n"], "CAPA\r\nSTLS\r\n", &[6]),
        ("pop3", &["* OK hi\r\n"], "", &[6]),
        ("pop3", &["-ERR hi\r\n"], "", &[6]),
    ];
    for (scheme, rounds, expected, codes) in cases {
        let (port, heard) = overhear(rounds);
        refused(look_at(&format!("{scheme}://ann@127.0.0.1:{port}?timeout=2s")), codes, &format!("{rounds:?}"));
        assert_eq!(text(&heard), *expected, "{rounds:?}");
    }
}

#[test]
fn octets_injected_behind_the_agreement_to_start_tls_end_the_connection() {
    // S5: in the same segment, and each octet in one of its own.
    for (scheme, rounds, wish) in [
        ("imap", &["* OK hi\r\n", "$tag OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nA2 OK in\r\nA3 OK in\r\n"][..], "A1 STARTTLS\r\n"),
        ("pop3", &["+OK hi\r\n", "+OK\r\nSTLS\r\n.\r\n", "+OK go\r\n+OK\r\n+OK logged in\r\n"], "CAPA\r\nSTLS\r\n"),
    ] {
        let (port, heard) = overhear(rounds);
        let output = refused(look_at(&format!("{scheme}://ann@127.0.0.1:{port}?timeout=2s")), &[6], scheme);
        assert!(output.stderr.contains("tampering"), "{output}");
        assert_eq!(text(&heard), wish);

        let (port, heard) = overhear_slowly(rounds, Duration::from_millis(2));
        refused(look_at(&format!("{scheme}://ann@127.0.0.1:{port}?timeout=2s")), &[5, 6], scheme);
        let heard = text(&heard);
        let rest = heard.strip_prefix(wish).unwrap();
        assert!(!["LOGIN", "AUTH", "USER", "PASS", "CAPA"].iter().any(|word| rest.contains(word)), "{rest:?}");
    }
}

#[test]
fn what_was_said_before_tls_is_forgotten() {
    // S6.
    let evil = "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=EVIL] hi\nC: $t STARTTLS\nS: * LIST () \"/\" Evil\nS: * 99 EXISTS\n\
                S: * SEARCH 1 2 3\nS: * STATUS Evil (MESSAGES 5)\nS: * NAMESPACE ((\"Evil/\" \"/\")) NIL NIL\n\
                S: * CAPABILITY IMAP4rev1 LOGINDISABLED NAMESPACE ID\nS: * 1 FETCH (UID 666 RFC822.SIZE 1)\nS: $t OK go\n!starttls\n";
    let honest = "C: $t CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: $t OK\nC: $t LOGIN …\nS: $t OK\nC: $t CAPABILITY\n\
                  S: * CAPABILITY IMAP4rev1\nS: $t OK\nC: $t LIST …\nS: * LIST () \"/\" INBOX\nS: $t OK\nC: $t LSUB …\nS: $t OK\n\
                  C: $t EXAMINE *\nS: * 1 EXISTS\nS: * OK [UIDVALIDITY 7]\nS: $t OK\nC: $t UID …\n\
                  S: * 1 FETCH (UID 5 RFC822.SIZE 10)\nS: $t OK\nC: $t LOGOUT\nS: $t OK";
    let server = Script::start(&[&format!("S: {evil}{honest}")]);
    let to = destination();
    let tool = tool(&format!("imap://ann@127.0.0.1:{}", server.port()), &to);
    let output = tool.run(&["migrate", "from", "to", "--dry-run", "--json"]).expect_code(0);
    assert!(!output.text().contains("Evil") && !output.text().contains("666"), "{output}");
    assert_eq!(output.json()["copied"], 1);
    server.finish();
}

#[test]
fn preauth_over_tls_is_refused_unless_it_is_allowed() {
    let script = |rest: &str| format!("!tls\nS: * PREAUTH [CAPABILITY IMAP4rev1] you are known\n{rest}");
    let server = Script::every(&script("C: *\nS: x"));
    let output = refused(look_at(&format!("imaps://ann@127.0.0.1:{}", server.port())), &[5], "PREAUTH");
    assert!(output.stderr.contains("--allow-preauth"), "{output}");
    assert!(server.received().is_empty(), "{:?}", server.received());

    let rest = "C: $t CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: $t OK\nC: $t LIST …\nS: $t OK\nC: $t LSUB …\nS: $t OK\n\
                C: $t EXAMINE *\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7]\nS: $t OK\nC: $t LOGOUT\nS: $t OK";
    let server = Script::start(&[&script(rest)]);
    let to = destination();
    let tool = tool(&format!("imaps://ann@127.0.0.1:{}", server.port()), &to);
    tool.run(&["migrate", "from", "to", "--dry-run", "--allow-preauth"]).expect_code(0);
    server.finish();

    // Without TLS it is refused as well: nobody knows whose mail that is.
    let server = Script::every("S: * PREAUTH hi\n!stall");
    refused(look_at(&server.imap()), &[5], "PREAUTH without TLS");
}

#[test]
fn a_server_that_disables_login_gets_no_password() {
    let server = Odd::start("LOGINDISABLED", &[], |_| Answer::Usual);
    for output in looks_at(&server.url()) {
        refused(output, &[4], "LOGINDISABLED");
    }
    assert!(server.log().iter().all(|line| !line.starts_with("LOGIN") && !line.starts_with("AUTH")), "{:?}", server.log());
}

#[test]
fn a_referral_is_shown_and_never_followed() {
    // S7.
    let attacker = TcpListener::bind("127.0.0.1:0").unwrap();
    attacker.set_nonblocking(true).unwrap();
    let url = format!("imap://ann@127.0.0.1:{}/", attacker.local_addr().unwrap().port());
    for verb in ["GREETING", "LOGIN", "EXAMINE", "LIST"] {
        let words = if verb == "GREETING" {
            format!("* BYE [REFERRAL {url}] go there\r\n")
        } else {
            format!("$tag NO [REFERRAL {url}] go there\r\n")
        };
        let server = Odd::start("", &[], move |asked| if asked.verb == verb { Answer::send(&words) } else { Answer::Usual });
        let code = match verb {
            "GREETING" => 5,
            "LOGIN" => 4,
            _ => 6,
        };
        for output in looks_at(&server.url()) {
            let output = refused(output, &[code], verb);
            assert!(output.stderr.contains("go there") && output.stdout.is_empty(), "{output}");
        }
        assert_eq!(attacker.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "{verb}");
    }
}

/// The base64 of a text.
fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn an_error_challenge_is_answered_and_the_refusal_read() {
    // S13: the error comes as a challenge; the answer to it differs by mechanism; never another mechanism.
    let challenge = base64("{\"status\":\"400\",\"schemes\":\"Bearer\"}");
    for (auth, answer) in [("xoauth2", ""), ("oauthbearer", "AQ==")] {
        let mechanism = auth.to_uppercase();
        for initial in [true, false] {
            let begin = if initial {
                format!("S: * OK [CAPABILITY IMAP4rev1 AUTH={mechanism} AUTH=PLAIN SASL-IR] hi\nC: $t AUTHENTICATE {mechanism} *")
            } else {
                format!("S: * OK [CAPABILITY IMAP4rev1 AUTH={mechanism} AUTH=PLAIN] hi\nC: $t AUTHENTICATE {mechanism}\nS: + \nC: *")
            };
            let server = Script::start(&[&format!("{begin}\nS: + {challenge}\nC: *\nS: $t NO [AUTHENTICATIONFAILED] no\n!close")]);
            let output = look_at(&format!("{}&auth={auth}", server.imap())).expect_code(4);
            assert!(output.stderr.contains("AUTHENTICATIONFAILED"), "{output}");
            let heard = server.finish();
            assert_eq!(heard.last().unwrap(), answer, "{auth}");
            assert!(heard.iter().all(|line| !line.contains("LOGIN") && !line.contains("PLAIN")), "{heard:?}");
        }
        let begin = format!("S: +OK hi\nC: CAPA\nS: +OK\nS: SASL {mechanism} PLAIN\nS: .\nC: AUTH {mechanism} *");
        let server = Script::start(&[&format!("{begin}\nS: + {challenge}\nC: *\nS: -ERR [AUTH] no\n!close")]);
        look_at(&format!("{}&auth={auth}", server.pop3())).expect_code(4);
        assert_eq!(server.finish().last().unwrap(), answer, "{auth}");
    }
}

#[test]
fn a_token_command_gives_a_token_to_a_token_mechanism() {
    let server = Odd::start("AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR", &[], |_| Answer::Usual);
    let to = destination();
    let tool = Tool::new();
    tool.server("to", Some(&to.url()), None);
    let command = format!("cat '{}'", tool.password_file().display());
    tool.run(&["migrate", "--dry-run", &server.url(), "to", "--from-token-command", &command]).expect_code(0);
    let frame = base64(&format!("user=ann\u{1}auth=Bearer {}\u{1}\u{1}", canary()));
    assert!(server.log().contains(&format!("AUTHENTICATE XOAUTH2 {frame}")), "{:?}", server.log());

    // A challenge without end is no dialogue.
    let server = Script::every("S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nC: $t AUTHENTICATE PLAIN\n!repeat 0\nS: + \nC: *\n!end");
    let output = look_at(&server.imap());
    assert!([4, 6].contains(&output.code), "{output}");
}

#[test]
fn a_server_that_echoes_the_password_does_not_bring_it_out() {
    let frame = base64(&format!("\0ann\0{}", canary()));
    let echoes = [canary().to_owned(), format!("\"{}\"", canary()), frame.clone(), base64(canary()), canary()[..12].to_owned()];
    for echo in &echoes {
        for (capabilities, verb, answer) in [
            ("", "LOGIN", format!("$tag NO wrong: LOGIN ann {echo}\r\n")),
            ("", "LOGIN", format!("$tag BAD [PARSE {echo}] what?\r\n")),
            ("", "LOGIN", format!("* BYE you said {echo}\r\n")),
            ("", "LOGIN", format!("{echo} OK that was it\r\n")),
            ("", "LOGIN", format!("* NO you said {echo}\r\n* {echo}\r\n$tag OK in\r\n")),
            ("", "LIST", format!("$tag NO [ALERT] {echo} is weak\r\n")),
            ("", "EXAMINE", format!("* BYE [ALERT] {echo} is weak\r\n")),
            ("AUTH=PLAIN SASL-IR", "AUTHENTICATE", format!("$tag NO wrong: AUTHENTICATE PLAIN {echo}\r\n")),
            ("AUTH=PLAIN SASL-IR", "AUTHENTICATE", format!("+ {}\r\n", base64(echo))),
            ("AUTH=PLAIN SASL-IR", "AUTHENTICATE", format!("+ {echo}\r\n")),
        ] {
            let (sent, closes) = (answer.clone(), answer.starts_with("* BYE"));
            let server = Odd::start(capabilities, &[], move |asked| match (asked.verb == verb, closes) {
                (false, _) => Answer::Usual,
                (true, false) => Answer::send(&sent),
                (true, true) => Answer::Close(sent.clone().into_bytes()),
            });
            let output = look_at(&server.url());
            assert!([0, 4, 5, 6].contains(&output.code), "{output}");
            // A beginning of it that a server cut short gives it away too.
            assert!(!output.stderr.contains(&canary()[..12]), "{answer}: {output}");
        }
        for answer in [format!("-ERR wrong: PASS {echo}"), format!("-ERR [AUTH] {echo}"), echo.clone()] {
            let begin = "S: +OK hi\nC: CAPA\nS: -ERR no\nC: USER ann\nS: +OK\nC: PASS *";
            let server = Script::every(&format!("{begin}\nS: {answer}\n!close"));
            let output = look_at(&server.pop3());
            assert!([4, 6].contains(&output.code), "{output}");
            assert!(!output.stderr.contains(&canary()[..12]), "{answer}: {output}");
        }
    }
}

/// A peer that speaks TLS with this certificate, greets, and tells what came through TLS (`None`: no handshake).
fn tls_peer(cert_pem: &str, key_pem: &str) -> (u16, Receiver<Option<Vec<u8>>>) {
    let identity = native_tls::Identity::from_pkcs8(cert_pem.as_bytes(), key_pem.as_bytes()).unwrap();
    let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok((tcp, _)) = listener.accept() {
            let heard = acceptor.accept(tcp).ok().map(|mut stream| {
                let mut heard = Vec::new();
                if stream.write_all(b"* BYE that is all\r\n").is_ok() {
                    let _ = stream.read_to_end(&mut heard);
                }
                heard
            });
            if sender.send(heard).is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

/// A self-signed certificate, its key and its pin.
fn self_signed(names: &[&str], expired: bool) -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let cert = params.self_signed(&key).unwrap();
    let pin = Sha256::digest(cert.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    (cert.pem(), key.serialize_pem(), pin)
}

#[test]
fn certificates_are_checked_and_a_pin_replaces_the_check() {
    // S11. A server that is accepted says BYE, which is exit 5 too, in other words.
    let to = destination();
    let tool = Tool::new();
    tool.server("to", Some(&to.url()), None);
    let file = tool.password_file().display().to_string();
    let run = |host: &str, port: u16, extra: &[&str]| {
        let url = format!("imaps://ann@{host}:{port}?timeout=5s");
        let mut args = vec!["migrate", "--dry-run", url.as_str(), "to", "--from-password-file", file.as_str()];
        args.extend_from_slice(extra);
        tool.run(&args).expect_code(5)
    };
    let rejected = |output: Output, receiver: &Receiver<Option<Vec<u8>>>, what: &str| {
        assert!(output.stderr.contains("no TLS connection") || output.stderr.contains("pinned"), "{what}: {output}");
        assert!(!output.stderr.contains("that is all"), "{what}: {output}");
        let heard = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(heard.is_none_or(|heard| heard.is_empty()), "{what}");
    };
    let accepted = |output: Output, receiver: &Receiver<Option<Vec<u8>>>, what: &str| {
        assert!(output.stderr.contains("that is all"), "{what}: {output}");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)).unwrap(), Some(Vec::new()), "{what}");
    };

    let good = tls::identity();
    let ca = good.ca_file().to_str().unwrap();
    let (port, heard) = tls_peer(&good.cert_pem, &good.key_pem);
    rejected(run("127.0.0.1", port, &[]), &heard, "an authority nobody trusts");
    accepted(run("127.0.0.1", port, &["--from-ca-file", ca]), &heard, "an authority that is trusted");
    accepted(run("localhost", port, &["--ca-file", ca]), &heard, "its other name");
    let wrong_pin = format!("sha256:{}", "0".repeat(64));
    rejected(run("127.0.0.1", port, &["--from-ca-file", ca, "--from-tls-pin", &wrong_pin]), &heard, "a wrong pin, a right authority");
    for _ in 0..2 {
        let output = run("127.0.0.1", port, &["--from-insecure", "-q"]);
        assert!(output.stderr.lines().next().unwrap().contains("insecure"), "warned about at every run: {output}");
        accepted(output, &heard, "no check at all");
    }

    let other = Identity::of(&["mail.example.org", "*.0.0.1", "127.0.0.2"]);
    let (port, heard) = tls_peer(&other.cert_pem, &other.key_pem);
    let ca = other.ca_file().to_str().unwrap();
    rejected(run("127.0.0.1", port, &["--from-ca-file", ca]), &heard, "another name and another address");
    rejected(run("localhost", port, &["--from-ca-file", ca]), &heard, "another name");
    accepted(run("127.0.0.1", port, &["--from-tls-pin", &format!("sha256:{}", other.pin)]), &heard, "a pin replaces the name");

    for (what, names, expired) in [("self-signed", &["127.0.0.1"], false), ("expired", &["127.0.0.1"], true)] {
        let (cert, key, pin) = self_signed(names, expired);
        let (port, heard) = tls_peer(&cert, &key);
        rejected(run("127.0.0.1", port, &[]), &heard, what);
        rejected(run("127.0.0.1", port, &["--from-tls-pin", &wrong_pin]), &heard, what);
        accepted(run("127.0.0.1", port, &["--from-tls-pin", &format!("sha256:{pin}")]), &heard, what);
        if expired {
            // Trusted itself, it is still out of date.
            let file = tool.text("expired.pem");
            std::fs::write(&file, &cert).unwrap();
            rejected(run("127.0.0.1", port, &["--from-ca-file", &file]), &heard, what);
        }
    }

    // Plain text where TLS is expected.
    let (port, _heard) = overhear(&["* OK hello\r\n"]);
    assert!(run("127.0.0.1", port, &[]).stderr.contains("not TLS"));
}

#[test]
fn line_ends_in_what_we_send_never_become_commands() {
    // S24: refused before anything is sent.
    let to = destination();
    let server = Odd::start("", &[], |_| Answer::Usual);
    let pop3 = pop3d::Pop3d::start(pop3d::Behaviour::default(), &[]);
    let tool = Tool::new();
    tool.server("to", Some(&to.url()), None);
    let file = tool.password_file().display().to_string();
    for evil in ["%0d%0aA9%20DELETE%20INBOX", "%0a", "%0d", "%00"] {
        for url in [
            format!("imap://ann{evil}@127.0.0.1:{}?tls=none", server.port()),
            format!("imap://ann@127.0.0.1:{}/A{evil}?tls=none", server.port()),
            format!("pop3://ann{evil}@127.0.0.1:{}?tls=none", pop3.port()),
        ] {
            tool.run(&["migrate", "--dry-run", &url, "to", "--from-password-file", &file]).expect_code(2);
        }
    }
    assert_eq!((server.connections(), pop3.connections()), (0, 0));
    // A password with a line end is its first line; NUL no login can carry.
    let evil = tool.text("evil");
    std::fs::write(&evil, b"pass\0word\r\nA9 DELETE INBOX\r\n").unwrap();
    std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = tool.run(&["migrate", "--dry-run", &server.url(), "to", "--from-password-file", &evil]);
    assert!([2, 4].contains(&output.code), "{output}");
    let output = tool.run(&["migrate", "--dry-run", &format!("{}&timeout=2s", pop3.url()), "to", "--from-password-file", &evil]);
    assert!([2, 4].contains(&output.code), "{output}");
    assert!(server.log().iter().all(|line| !line.contains("DELETE")), "{:?}", server.log());
    assert!(pop3.log().iter().all(|line| !line.contains("DELETE")), "{:?}", pop3.log());
}
