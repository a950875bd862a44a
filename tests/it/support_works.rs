//! The support itself works: a test that stands on a broken fixture proves nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::dovecot::{Dovecot, Options, Plant};
use crate::support::imapd::{self, AppendFault, Imapd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::proxy::{Cut, Direction, Proxy, Weather};
use crate::support::script::Script;
use crate::support::tool::{Tool, holds_canary};
use crate::support::{canary, modified_utf7};
use crate::support::{mail, server};
use crate::{dovecot_user, support};

#[test]
fn dovecot_takes_planted_mail_and_gives_it_back() {
    let user = dovecot_user!("support-plant");
    user.plant(
        "INBOX",
        &[Plant::new("Subject: one\n\nbody\n").flag("\\Seen").date(1_234_567_890), Plant::new("Subject: two\r\n\r\n.\r\n")],
    );
    user.deliver("Höhe/Tief", &[b"Subject: three\n\n\xff\n".to_vec()]);
    let inbox = user.messages("INBOX");
    assert_eq!(inbox.len(), 2);
    assert_eq!((inbox[0].body.as_slice(), inbox[0].internal_date), (&b"Subject: one\r\n\r\nbody\r\n"[..], 1_234_567_890));
    assert_eq!(inbox[0].flags, ["\\Seen"]);
    assert_eq!(inbox[1].body, b"Subject: two\r\n\r\n.\r\n");
    assert_eq!(user.bodies("Höhe/Tief"), [b"Subject: three\r\n\r\n\xff\r\n"]);
    assert_eq!(user.folders(), ["H&APY-he", "H&APY-he/Tief", "INBOX"]);
}

#[test]
fn dovecot_takes_appended_mail_with_keywords() {
    let user = dovecot_user!("support-append");
    user.create("Work");
    user.append("Work", b"Subject: a\r\n\r\nb\r\n", &["\\Flagged", "Later"]);
    let work = user.messages("Work");
    assert_eq!(work.len(), 1);
    assert_eq!(work[0].flags, ["Later", "\\Flagged"]);
}

#[test]
fn a_capability_can_be_hidden_and_special_folders_shown() {
    let options = Options {
        imap_capability: Some("IMAP4rev1 LITERAL+ SPECIAL-USE".to_owned()),
        special_use: true,
        sdbox: true,
        ..Options::default()
    };
    let Some(dovecot) = Dovecot::start(options) else { return };
    let user = dovecot.user("ann");
    assert!(!user.client().capabilities().unwrap().has_str("UIDPLUS"));
    assert_eq!(user.folders(), ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
    user.append("INBOX", b"a: b\r\n\r\n", &[]);
    assert_eq!(user.bodies("INBOX"), [b"a: b\r\n\r\n"]);
}

#[test]
fn modified_utf7_is_what_the_rfc_shows() {
    assert_eq!(modified_utf7("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
    assert_eq!(modified_utf7("a&b"), "a&-b");
    assert_eq!(canary(), support::canary());
}

#[test]
fn the_search_for_the_password_finds_it_in_every_sasl_frame() {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text).into_bytes();
    let password = canary();
    for leak in [
        password.as_bytes().to_vec(),
        encode(password.to_owned()),
        encode(format!("\0ann\0{password}")),
        encode(format!("\0anna\0{password}")),
        encode(format!("user=ann\u{1}auth=Bearer {password}\u{1}\u{1}")),
    ] {
        assert!(holds_canary(&leak));
    }
    assert!(!holds_canary(b"nothing of that kind"));
}

#[test]
fn the_tool_runs_in_an_empty_home() {
    let tool = Tool::new();
    let output = tool.run::<&str>(&[]);
    assert!(output.code >= 0, "{output}");
}

/// The independent client on a plain port.
fn client(port: u16) -> imap::Session<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut client = imap::Client::new(stream);
    client.read_greeting().unwrap();
    client.login("ann", canary()).map_err(|(error, _)| error).unwrap()
}

/// Sends all at once and reads to the end of the connection.
fn dialogue(port: u16, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(sent).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn imapd_serves_the_independent_client() {
    let server = Imapd::start(imapd::Behaviour::default());
    server.fill("INBOX", &[b"Subject: one\r\n\r\nbody\r\n".to_vec()]);
    let mut client = client(server.port());
    client.create("Work/Old").unwrap();
    client.subscribe("Work/Old").unwrap();
    client.append("Work/Old", b"Subject: two\r\n\r\n").flag(imap::types::Flag::Seen).finish().unwrap();
    assert_eq!(client.list(None, Some("*")).unwrap().iter().map(|name| name.name().to_owned()).collect::<Vec<_>>(), ["INBOX", "Work/Old"]);
    assert_eq!(client.select("INBOX").unwrap().exists, 1);
    let fetched = client.uid_fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])").unwrap();
    let one = fetched.get(0).unwrap();
    assert_eq!((one.body().unwrap(), one.size.unwrap()), (&b"Subject: one\r\n\r\nbody\r\n"[..], 22));
    assert_eq!(client.uid_search("UNSEEN").unwrap().len(), 1);
    client.uid_store("1", "+FLAGS (\\Deleted)").unwrap();
    client.uid_expunge("1").unwrap();
    client.logout().unwrap();
    assert!(server.bodies("INBOX").is_empty());
    assert_eq!(server.mailbox("Work/Old").messages[0].flags, ["\\Seen"]);
    assert_eq!(server.subscribed(), ["Work/Old"]);
    assert!(server.log().contains(&"1 UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])".to_owned()), "{:?}", server.log());
}

#[test]
fn imapd_takes_several_messages_in_one_append_without_waiting() {
    let server = Imapd::start(imapd::Behaviour::default());
    let login = format!("a LOGIN ann {}\r\n", canary());
    let sent = format!("{login}b APPEND INBOX (\\Seen) {{3+}}\r\none \"01-Feb-2020 00:00:00 +0100\" {{3+}}\r\ntwo\r\nc LOGOUT\r\n");
    let answer = String::from_utf8(dialogue(server.port(), sent.as_bytes())).unwrap();
    assert!(answer.contains("b OK [APPENDUID 1001 1:2] stored\r\n"), "{answer}");
    assert_eq!(server.bodies("INBOX"), [b"one", b"two"]);
    assert_eq!(server.mailbox("INBOX").messages[1].internal_date, "01-Feb-2020 00:00:00 +0100");

    let plain = Imapd::start(imapd::Behaviour::default().without(&["LITERAL+", "MULTIAPPEND"]));
    assert!(String::from_utf8(dialogue(plain.port(), sent.as_bytes())).unwrap().contains("b BAD"));
    assert!(plain.bodies("INBOX").is_empty());
}

#[test]
fn imapd_fails_around_append_as_it_is_told() {
    let behaviour = imapd::Behaviour {
        refuse: vec![(b"refuse me".to_vec(), "[TOOBIG] no".to_owned())],
        ..imapd::Behaviour::default().append_fault(1, AppendFault::SwallowReply).append_fault(4, AppendFault::StoreLate(None))
    };
    let server = Imapd::start(behaviour);
    let mut sent = format!("a LOGIN ann {}\r\n", canary());
    for (tag, body) in [("b", "first one"), ("c", "refuse me"), ("d", "third one"), ("e", "later one")] {
        sent.push_str(&format!("{tag} APPEND INBOX {{9+}}\r\n{body}\r\n"));
    }
    let answer = String::from_utf8(dialogue(server.port(), sent.as_bytes())).unwrap();
    assert!(
        !answer.contains("b OK") && answer.contains("c NO [TOOBIG] no") && answer.contains("d OK") && !answer.contains("e "),
        "{answer}"
    );
    assert_eq!(server.bodies("INBOX"), [b"first one", b"third one"]);
    assert_eq!(server.commit_late(), 1);
    assert_eq!(server.bodies("INBOX").len(), 3);
}

#[test]
fn imapd_stores_late_when_the_test_clock_says_so() {
    let mut tool = Tool::new();
    let clock = tool.use_clock();
    let behaviour = imapd::Behaviour { clock: Some(clock.clone()), ..imapd::Behaviour::default() };
    let server = Imapd::start(behaviour.append_fault(1, AppendFault::StoreLate(Some(5000))));
    let login = format!("a LOGIN ann {}\r\n", canary());
    dialogue(server.port(), format!("{login}b APPEND INBOX {{3+}}\r\none\r\n").as_bytes());
    assert!(server.bodies("INBOX").is_empty());
    server::advance_clock(&clock, Duration::from_secs(6));
    assert_eq!(tool.clock(), 6000);
    dialogue(server.port(), format!("{login}b NOOP\r\nc LOGOUT\r\n").as_bytes());
    assert_eq!(server.bodies("INBOX"), [b"one"]);
}

#[test]
fn pop3d_serves_bytes_as_they_are_and_drops_at_quit_only() {
    let server = Pop3d::start(pop3d::Behaviour::default(), &[b"a: b\r\n\r\n.\r\nx\0\ny".to_vec(), b"two\r\n".to_vec(), b"three".to_vec()]);
    let login = format!("USER ann\r\nPASS {}\r\n", canary());
    let answer = dialogue(server.port(), format!("{login}RETR 1\r\nTOP 1 0\r\nUIDL 2\r\nDELE 2\r\nQUIT\r\n").as_bytes());
    let wanted = b"+OK 15 octets\r\na: b\r\n\r\n..\r\nx\0\ny\r\n.\r\n+OK\r\na: b\r\n\r\n.\r\n+OK 2 u2\r\n+OK\r\n+OK bye\r\n";
    assert!(answer.ends_with(wanted), "{}", answer.escape_ascii());
    assert_eq!(server.bodies().len(), 2);
    server.behave(|behaviour| behaviour.hang_up_at.push(1));
    let answer = dialogue(server.port(), format!("{login}DELE 2\r\nRETR 1\r\nQUIT\r\n").as_bytes());
    assert!(answer.ends_with(b"x\0\ny\r"), "{}", answer.escape_ascii());
    assert_eq!(server.bodies().len(), 2);
}

#[test]
fn the_scripted_server_plays_and_notices_what_is_not_written() {
    let transcript =
        "S: * OK hi\nC: $tag LOGIN ann …\nS: $tag OK in\n!send \"* \\x00\\r\\n\"\nC: $t2 X {3+}\n!read-literal\nC: \n!literal 2\n!close";
    let script = Script::start(&[transcript]);
    assert_eq!(dialogue(script.port(), b"a7 LOGIN ann secret words\r\nb X {3+}\r\nabc\r\n"), b"* OK hi\r\na7 OK in\r\n* \0\r\nxx");
    assert_eq!(script.finish().len(), 3);
    let script = Script::start(&["S: hi\nC: $a NOOP"]);
    dialogue(script.port(), b"1 NOOP now\r\n");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script.finish())).is_err());
}

#[test]
fn the_scripted_server_speaks_tls_and_resets() {
    let script = Script::start(&["!tls\nS: hello\n!reset"]);
    let stream = TcpStream::connect(("127.0.0.1", script.port())).unwrap();
    let mut stream = support::tls::identity().connector().connect("localhost", stream).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\r\n");
    let ended = stream.read(&mut answer).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn the_proxy_delays_cuts_and_resets() {
    let script = Script::every("!literal 1000\n!stall");
    let weather =
        Weather { delay: Duration::from_millis(1), cut: Some((Direction::ToClient, 300, Cut::Fin)), cuts: 1, one_byte: true, rate: None };
    let proxy = Proxy::start(script.port(), weather);
    assert_eq!(dialogue(proxy.port(), b"").len(), 300);
    let mut whole = vec![0; 1000];
    TcpStream::connect(("127.0.0.1", proxy.port())).unwrap().read_exact(&mut whole).unwrap();
    assert_eq!((proxy.connections(), proxy.octets(Direction::ToClient) >= 1300), (2, true));
    proxy.set(Weather { cut: Some((Direction::ToClient, 10, Cut::Reset)), ..Weather::default() });
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let ended = std::iter::repeat_with(|| stream.read(&mut whole)).find_map(|read| match read {
        Ok(0) => Some(None),
        Ok(_) => None,
        Err(error) => Some(Some(error.kind())),
    });
    assert_eq!(ended, Some(Some(std::io::ErrorKind::ConnectionReset)));
}

#[test]
fn the_oracle_and_the_program_agree_on_content_digests() {
    for (name, bytes) in mail::nasty() {
        let ours = mailhaul::message::Body::from(bytes.clone()).digests().unwrap().content.to_string();
        assert_eq!(mail::content_digest(&bytes), ours, "{name}");
    }
    for (path, bytes) in mail::corpus() {
        let ours = mailhaul::message::Body::from(bytes.clone()).digests().unwrap().content.to_string();
        assert_eq!(mail::content_digest(&bytes), ours, "{}", path.display());
    }
    assert!(mail::nasty_for_append().len() > 10);
    assert!(std::panic::catch_unwind(|| mail::assert_same_mail(&mail::many(3, 10), &mail::many(2, 10))).is_err());
}

#[test]
fn a_frozen_connection_stays_open_and_silent_both_ways() {
    let script = Script::every("S: hello\nC: *\nS: never seen\n!stall");
    let proxy = Proxy::start(script.port(), Weather { cut: Some((Direction::ToClient, 7, Cut::Freeze)), ..Weather::default() });
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    stream.write_all(b"anyone?\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let ended = stream.read(&mut answer).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::WouldBlock));
    assert_eq!(script.received().len(), 0);
}
