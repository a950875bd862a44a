//! Attacks before and at login, and servers that say what no server should: nothing secret goes out, nothing foreign comes
//! in, memory stays bounded, and no message gets another's body.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest as _, Sha256};

use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Asked, Odd, body_response, overhear, overhear_slowly, peak_memory};
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

#[track_caller]
fn refused(output: Output, codes: &[i32], what: &str) -> Output {
    assert!(codes.contains(&output.code), "{what}: {output}");
    assert_eq!(output.stderr.lines().count(), 1, "{what}: {output}");
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
    refused(look_at(&server.url()), &[4], "LOGINDISABLED");
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
        let output = refused(look_at(&server.url()), &[code], verb);
        assert!(output.stderr.contains("go there"), "{output}");
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
    assert!(run("127.0.0.1", port, &[]).stderr.contains("speaks TLS"));
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

#[test]
fn terminal_escapes_of_a_server_reach_no_terminal() {
    // S23.
    let evil = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}evil\rx";
    for verb in ["GREETING", "LOGIN", "LIST"] {
        let words = if verb == "GREETING" { format!("* BYE [ALERT] {evil}\r\n") } else { format!("$tag NO [ALERT] {evil}\r\n") };
        let server = Odd::start("", &[], move |asked| if asked.verb == verb { Answer::send(&words) } else { Answer::Usual });
        let output = look_at(&server.url());
        assert!(output.code >= 4, "{output}");
        let shown = output.stderr.trim_end_matches('\n');
        assert!(!shown.chars().any(|character| character.is_control() || character == '\u{202e}'), "{verb}: {shown:?}");
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
        let to = destination();
        let tool = tool(url, &to);
        let path = tool.text("trace.log");
        let mut args = vec!["migrate", "from", "to", "--dry-run"];
        if *trace {
            args.extend(["-vv", "--trace", &path]);
        }
        let running = tool.spawn(&args, None);
        let peak = peak_memory(running.id());
        let output = running.finish();
        let peak = peak.join().unwrap();
        assert!(codes.contains(&output.code), "{what}: {output}");
        assert!(output.stderr.len() < 2000, "{what}: {output}");
        assert!(peak > 0 && peak < MEMORY, "{what}: {peak} KiB");
        // The trace of a flood may be long; it is not what is measured here, and one is enough of the long ones.
        let _ = std::fs::remove_file(&path);
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
            refused(look_at(&server.url()), &[6], &format!("{size} at {verb}"));
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
        let output = look_at(&server.url());
        assert!([0, 6].contains(&output.code), "{exists}: {output}");
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
