//! Hangs, drips and broken connections in every phase: each run ends by itself, with the right exit code and one clear
//! sentence. That it ends at all is half of each assertion; the tool's own deadline turns a hang into a failure.

use std::path::Path;
use std::process::Command;

use crate::support::imapd::{self, AppendFault, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Asked, Odd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::script::Script;
use crate::support::tool::{Output, Tool, holds_canary};
use crate::support::{canary, tls};

/// Ways in which a server fails at one point of the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Silence,
    Drip,
    Close,
    Reset,
}

const FAULTS: [Fault; 4] = [Fault::Silence, Fault::Drip, Fault::Close, Fault::Reset];

impl Fault {
    fn answer(self, begun: &str) -> Answer {
        let begun = begun.as_bytes().to_vec();
        match self {
            Self::Silence => Answer::Stall(begun),
            Self::Drip => Answer::Drip(begun, b"* OK [X".to_vec()),
            Self::Close => Answer::Close(begun),
            Self::Reset => Answer::Reset(begun),
        }
    }

    /// The same as steps of a transcript.
    fn steps(self) -> &'static str {
        match self {
            Self::Silence => "!stall",
            Self::Drip => "!slow 20\n!literal 100000",
            Self::Close => "!close",
            Self::Reset => "!reset",
        }
    }
}

/// A tool that knows the places `from` and `to`.
fn tool(from: &str, to: &str) -> Tool {
    let tool = Tool::new();
    let side = |url: &str| if url.starts_with("pop3") { (None, Some(url.to_owned())) } else { (Some(url.to_owned()), None) };
    for (name, url) in [("from", from), ("to", to)] {
        let (imap, pop3) = side(url);
        tool.server(name, imap.as_deref(), pop3.as_deref());
    }
    tool
}

/// A destination that works.
fn destination() -> Imapd {
    Imapd::start(imapd::Behaviour::default())
}

/// A dry run from `from`, which is the one that misbehaves.
fn look_at(from: &str) -> Output {
    let to = destination();
    tool(from, &to.url()).run(&["migrate", "from", "to", "--dry-run"])
}

/// Insists on the code and on exactly one sentence that names the place.
#[track_caller]
fn one_sentence(output: &Output, code: i32, what: &str) {
    assert_eq!(output.code, code, "{what}: {output}");
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{what}: {output}");
    assert!(lines[0].starts_with("mailhaul: from: ") && lines[0].len() > 40 && lines[0].len() < 500, "{what}: {output}");
    assert!(output.stdout.is_empty(), "{what}: {output}");
}

fn at_phase(phase: &'static str, begun: &'static str, fault: Fault) -> impl Fn(&Asked<'_>) -> Answer {
    move |asked| {
        let here = match phase {
            "listing" => asked.wants_listing(),
            "body" => asked.wants_bodies(),
            verb => asked.verb == verb,
        };
        if here { fault.answer(begun) } else { Answer::Usual }
    }
}

fn imap_phases(fault: Fault) {
    let cases: &[(&str, &str, &str)] = &[
        ("GREETING", "", ""),
        ("GREETING", "", "* OK [CAPABILITY IMAP4rev1"),
        ("CAPABILITY", "", ""),
        ("LOGIN", "", ""),
        ("AUTHENTICATE", "AUTH=PLAIN", ""),
        ("AUTHENTICATE", "AUTH=PLAIN", "+ \r\n"),
        ("AUTHENTICATE", "AUTH=PLAIN SASL-IR", ""),
        ("ID", "ID", "* ID ("),
        ("NAMESPACE", "NAMESPACE", ""),
        ("LIST", "", "* LIST () \"/\" INBOX\r\n"),
        ("EXAMINE", "", "* 2 EXISTS\r\n"),
        ("listing", "", "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 10)\r\n"),
    ];
    for &(phase, capabilities, begun) in cases {
        let server = Odd::start(capabilities, &mail::many(2, 100), at_phase(phase, begun, fault));
        one_sentence(&look_at(&server.url()), 5, &format!("{fault:?} at {phase} of {capabilities:?} behind {begun:?}"));
    }
}

#[test]
fn imap_silence_in_any_phase_ends_the_run() {
    imap_phases(Fault::Silence);
}

#[test]
fn imap_a_drip_in_any_phase_ends_the_run() {
    imap_phases(Fault::Drip);
}

#[test]
fn imap_the_end_of_the_connection_in_any_phase_ends_the_run() {
    imap_phases(Fault::Close);
    imap_phases(Fault::Reset);
}

#[test]
fn a_logout_that_goes_wrong_takes_nothing_back() {
    for fault in FAULTS {
        let server = Odd::start("", &mail::many(2, 100), at_phase("LOGOUT", "* BYE", fault));
        let to = destination();
        let tool = tool(&server.url(), &to.url());
        tool.run(&["migrate", "from", "to", "--dry-run"]).expect_code(0);
        tool.run(&["migrate", "from", "to"]).expect_code(0);
        assert_eq!(to.bodies("INBOX").len(), 2, "{fault:?}");
    }
}

const POP3_PHASES: &[(&str, &str)] = &[
    ("greeting", ""),
    ("half a greeting", "!send \"+O\""),
    ("USER", "S: +OK hi\nC: CAPA\nS: -ERR no\nC: USER ann"),
    ("PASS", "S: +OK hi\nC: CAPA\nS: -ERR no\nC: USER ann\nS: +OK\nC: PASS *"),
    ("AUTH", "S: +OK hi\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\nC: AUTH PLAIN *"),
    ("LIST", "S: +OK hi\nC: CAPA\nS: -ERR no\nC: USER ann\nS: +OK\nC: PASS *\nS: +OK\nC: CAPA\nS: -ERR no\nC: LIST\nS: +OK\nS: 1 10"),
    (
        "UIDL",
        "S: +OK hi\nC: CAPA\nS: -ERR no\nC: USER ann\nS: +OK\nC: PASS *\nS: +OK\nC: CAPA\nS: -ERR no\nC: LIST\nS: +OK\nS: 1 10\nS: .\nC: UIDL",
    ),
];

fn pop3_phases(fault: Fault) {
    for (phase, steps) in POP3_PHASES {
        let server = Script::every(&format!("{steps}\n{}", fault.steps()));
        one_sentence(&look_at(&format!("{}&timeout=500ms", server.pop3())), 5, &format!("{fault:?} at {phase}"));
    }
}

#[test]
fn pop3_silence_in_any_phase_ends_the_run() {
    pop3_phases(Fault::Silence);
}

#[test]
fn pop3_a_drip_in_any_phase_ends_the_run() {
    pop3_phases(Fault::Drip);
}

#[test]
fn pop3_the_end_of_the_connection_in_any_phase_ends_the_run() {
    pop3_phases(Fault::Close);
    pop3_phases(Fault::Reset);
}

#[test]
fn a_server_that_hangs_at_capa_is_asked_without_it() {
    for fault in FAULTS {
        let first = format!("S: +OK hi\nC: CAPA\n{}", fault.steps());
        let second = "S: +OK hi\nC: USER ann\nS: +OK\nC: PASS *\nS: +OK\nC: LIST\nS: +OK\nS: .\nC: UIDL\nS: +OK\nS: .\nC: QUIT\nS: +OK";
        let server = Script::start(&[&first, second]);
        let output = look_at(&format!("{}&timeout=500ms", server.pop3()));
        assert_eq!(output.code, 0, "{fault:?}: {output}");
    }
    // One that never says anything behind CAPA is given up.
    let server = Script::every("S: +OK hi\nC: *\n!stall");
    one_sentence(&look_at(&format!("{}&timeout=500ms", server.pop3())), 5, "CAPA for ever");
}

#[test]
fn a_quit_that_goes_wrong_takes_nothing_back() {
    for quit in [true, false] {
        let from = Pop3d::start(pop3d::Behaviour { quit: Some(quit), ..pop3d::Behaviour::default() }, &mail::many(2, 100));
        let to = destination();
        let tool = tool(&format!("{}&timeout=500ms", from.url()), &to.url());
        tool.run(&["migrate", "from", "to", "--dry-run"]).expect_code(0);
        tool.run(&["migrate", "from", "to"]).expect_code(0);
        assert_eq!((to.bodies("INBOX").len(), from.bodies().len()), (2, 2), "quit {quit}");
    }
}

/// The beginning of a TLS record that is long in coming: a ServerHello of some eight thousand octets.
const TLS_DRIP: &str = "!delay 100\n!slow 20\n!send \"\\x16\\x03\\x03\\x20\\x00\\x02\\x00\\x1f\\xfc\\x03\\x03\"\n!literal 8000";

#[test]
fn a_tls_handshake_that_does_not_come_to_an_end_ends_the_run() {
    let starttls = "S: * OK hi\nC: $t STARTTLS\n";
    let stls = "S: +OK hi\nC: CAPA\nS: -ERR no\nC: STLS\n";
    for (scheme, before, agreed) in
        [("imaps", "", ""), ("pop3s", "", ""), ("imap", starttls, "S: $t OK go\n"), ("pop3", stls, "S: +OK go\n")]
    {
        let mut cases = vec![("silence", "!stall"), ("drip", TLS_DRIP), ("end", "!close"), ("reset", "!reset")];
        if !before.is_empty() {
            cases.push(("no agreement", ""));
        }
        for (what, steps) in cases {
            let script = if steps.is_empty() { format!("{before}!stall") } else { format!("{before}{agreed}{steps}") };
            let server = Script::every(&script);
            let url = format!("{scheme}://ann@127.0.0.1:{}?timeout=500ms", server.port());
            let output = look_at(&url);
            // Octets that come before the client's hello are taken for injected ones.
            let code = if what == "drip" && output.code == 6 && !before.is_empty() { 6 } else { 5 };
            one_sentence(&output, code, &format!("{what} in the handshake of {scheme}"));
            assert!(server.received().iter().all(|line| !line.contains("LOGIN") && !holds_canary(line.as_bytes())));
        }
    }
}

#[test]
fn a_body_that_never_ends_is_put_aside_and_the_others_arrive() {
    for fault in FAULTS {
        let bodies = mail::many(5, 100);
        let server = Odd::start("", &bodies, move |asked| {
            if asked.wants_bodies() && asked.names(3) {
                fault.answer("* 3 FETCH (UID 3 FLAGS () BODY[] {1000}\r\nSubject: half")
            } else {
                Answer::Usual
            }
        });
        let to = destination();
        let mut tool = tool(&server.url(), &to.url());
        tool.use_clock();
        let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(3).json();
        assert_eq!((&summary["quarantined"], &summary["balanced"]), (&1.into(), &true.into()), "{fault:?}");
        let expected: Vec<_> = bodies.iter().enumerate().filter(|(index, _)| *index != 2).map(|(_, body)| body.clone()).collect();
        mail::assert_same_mail(&expected, &to.bodies("INBOX"));
    }
}

#[test]
fn a_retr_that_never_ends_is_put_aside_and_the_others_arrive() {
    let bodies = mail::many(5, 100);
    let cases = [
        pop3d::Behaviour { stall_at: Some(3), ..pop3d::Behaviour::default() },
        pop3d::Behaviour { hang_up_at: vec![3; 20], ..pop3d::Behaviour::default() },
        pop3d::Behaviour { stall_at: Some(3), ..pop3d::Behaviour::default() }.without("PIPELINING"),
    ];
    for behaviour in cases {
        let from = Pop3d::start(behaviour, &bodies);
        let to = destination();
        let mut tool = tool(&format!("{}&timeout=500ms", from.url()), &to.url());
        tool.use_clock();
        let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(3).json();
        assert_eq!((&summary["quarantined"], &summary["copied"]), (&1.into(), &4.into()));
        assert_eq!(from.bodies().len(), 5);
    }
}

#[test]
fn a_destination_that_never_says_go_ahead_ends_the_run() {
    // Literals wait, because LITERAL+ is not offered.
    let to = Odd::start("", &[], |asked| if asked.verb == "APPEND" { Answer::Stall(Vec::new()) } else { Answer::Usual });
    let from = Pop3d::start(pop3d::Behaviour::default(), &mail::many(3, 100));
    let mut tool = tool(&from.url(), &to.url());
    tool.use_clock();
    let output = tool.run(&["migrate", "from", "to", "--json"]);
    // No message went out whole, so none is unknown; each is put aside after three tries, or the run gives up.
    assert!([3, 5].contains(&output.code), "{output}");
    let summary = output.json();
    assert_eq!((&summary["copied"], &summary["unknown"]), (&0.into(), &0.into()));
}

#[test]
fn a_destination_that_stops_reading_ends_the_run() {
    // Deaf in the middle of one large message, on the first connection only: a later one brings it over.
    let to = Imapd::start(imapd::Behaviour { deaf_after: Some(200_000), ..imapd::Behaviour::default() });
    let from = Pop3d::start(pop3d::Behaviour::default(), &[mail::plain(1, 20_000_000), mail::plain(2, 100)]);
    let mut tool = tool(&from.url(), &format!("{}&timeout=500ms", to.url()));
    tool.use_clock();
    tool.run(&["migrate", "from", "to", "--json"]).expect_code(0);
    assert_eq!(to.bodies("INBOX").len(), 2);
}

#[test]
fn the_answer_to_an_upload_is_waited_for_for_ten_minutes_whatever_the_timeout_says() {
    let to = Imapd::start(imapd::Behaviour::default().append_fault(1, AppendFault::Stall));
    let from = Pop3d::start(pop3d::Behaviour::default(), &mail::many(1, 100));
    let mut tool = tool(&from.url(), &format!("{}&timeout=500ms", to.url()));
    let clock = tool.use_clock();
    let running = tool.spawn(&["migrate", "from", "to", "--json"], None);
    while to.appends() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Nine minutes and fifty seconds are not enough for it to give up: it still waits on its first connection.
    crate::support::server::advance_clock(&clock, std::time::Duration::from_secs(590));
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(to.connections(), 1);
    // Enough in any case, also where its patience began only behind the first step of the clock.
    crate::support::server::advance_clock(&clock, std::time::Duration::from_secs(700));
    let summary = running.finish().expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["unknown"]), (&1.into(), &0.into()));
    assert_eq!((to.bodies("INBOX").len(), to.connections()), (1, 2));
}

#[test]
fn a_window_of_appends_does_not_deadlock_against_tiny_socket_buffers() {
    for capabilities in [&["MULTIAPPEND"][..], &["MULTIAPPEND", "LITERAL+"], &[]] {
        let behaviour = imapd::Behaviour { small_buffers: true, ..imapd::Behaviour::default() }.without(capabilities);
        let to = Imapd::start(behaviour);
        let bodies = mail::many(200, 3000);
        let from = Pop3d::start(pop3d::Behaviour::default(), &bodies);
        let summary = tool(&from.url(), &to.url()).run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
        assert_eq!(summary["copied"], 200);
        mail::assert_same_mail(&bodies, &to.bodies("INBOX"));
    }
}

#[test]
fn windows_of_fetches_and_retrs_do_not_deadlock_against_tiny_socket_buffers() {
    let bodies = mail::many(300, 3000);
    let behaviour = || imapd::Behaviour { small_buffers: true, ..imapd::Behaviour::default() };
    let from = Imapd::start(behaviour());
    from.fill("INBOX", &bodies);
    let to = Imapd::start(behaviour());
    tool(&from.url(), &to.url()).run(&["migrate", "from", "to"]).expect_code(0);
    mail::assert_same_mail(&bodies, &to.bodies("INBOX"));
}

#[test]
fn the_window_of_fetches_is_two_deep_and_its_requests_stay_below_16_kib() {
    // Every other UID, so that the sets are long; several sets.
    let from = destination();
    from.fill("INBOX", &mail::many(7000, 10));
    from.change("INBOX", |mailbox| {
        for message in &mut mailbox.messages {
            message.uid = 2 * message.uid + 100_000;
        }
        mailbox.uid_next = 200_000;
    });
    let to = destination();
    let tool = tool(&from.url(), &to.url());
    let trace = tool.text("trace.log");
    tool.run(&["migrate", "from", "to", "--trace", &trace]).expect_code(0);
    let log = from.log();
    let requests: Vec<&String> = log.iter().filter(|line| line.contains("BODY.PEEK[]")).collect();
    assert!(requests.len() > 4, "{}", requests.len());
    assert!(requests.iter().all(|line| line.len() < 8000));
    let (mut out, mut most, mut octets, mut most_octets) = (std::collections::HashMap::new(), 0, 0, 0);
    for line in tool.read_trace().lines() {
        let mut words = line.splitn(4, ' ');
        let (connection, mark, tag, rest) = (words.next(), words.next(), words.next(), words.next());
        let (Some(connection), Some(mark), Some(tag), Some(rest)) = (connection, mark, tag, rest) else { continue };
        if mark == "C:" && rest.starts_with("UID FETCH") && !rest.contains("RFC822.SIZE") {
            // The trace cuts long lines and says how long they were.
            let length = rest.rsplit_once("[… ").and_then(|(_, tail)| tail.split(' ').next()?.parse().ok()).unwrap_or(line.len());
            out.insert((connection.to_owned(), tag.to_owned()), length);
            octets += length + 2;
        } else if mark == "S:"
            && let Some(length) = out.remove(&(connection.to_owned(), tag.to_owned()))
        {
            octets -= length + 2;
        }
        most = most.max(out.len());
        most_octets = most_octets.max(octets);
    }
    assert!((2..=4).contains(&most), "{most} commands out");
    assert!(most_octets < 16 * 1024, "{most_octets} octets out");
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_one_sentence() {
    let to = destination();
    // A wrong password, by both ways to log in and both protocols.
    for capabilities in [&["X"][..], &["AUTH=PLAIN"], &["SASL-IR"]] {
        let from = Imapd::start(imapd::Behaviour::default().without(capabilities));
        let tool = Tool::new();
        let wrong = tool.text("wrong");
        std::fs::write(&wrong, "not the password\n").unwrap();
        std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        tool.server("to", Some(&to.url()), None);
        let output = tool.run(&["migrate", &from.url(), "to", "--from-password-file", &wrong]).expect_code(4);
        assert!(output.stderr.contains("was refused; the server said: NO [AUTHENTICATIONFAILED] wrong password; check"), "{output}");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        // One try only: more would lock the account.
        assert_eq!(from.log().iter().filter(|line| line.contains("LOGIN") || line.contains("AUTHENTICATE")).count(), 1);
    }
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["imap", "pop3", "imaps", "pop3s"] {
        let options = if scheme.ends_with('s') { "" } else { "?tls=none" };
        one_sentence(&look_at(&format!("{scheme}://ann@127.0.0.1:{refused}{options}")), 5, scheme);
    }
    for greeting in ["HTTP/1.1 400 Bad Request", "SSH-2.0-OpenSSH_9.6", "220 mail ESMTP", "* NO go away", "* BAD", "A1 OK hi", "+ x"] {
        let from = Script::every(&format!("S: {greeting}\n!stall"));
        one_sentence(&look_at(&from.imap()), 6, greeting);
        let from = Script::every(&format!("S: {greeting}\n!stall"));
        if !greeting.starts_with('+') {
            one_sentence(&look_at(&from.pop3()), 6, greeting);
        }
    }
    let from = Script::every("S: * BYE too busy\n!close");
    one_sentence(&look_at(&from.imap()), 5, "BYE");
    one_sentence(&look_at("imap://ann@no-such-host.invalid?timeout=5s"), 5, "a name that is none");
}

#[test]
fn a_full_disk_is_local_trouble_and_the_next_run_goes_on() {
    let from = Pop3d::start(pop3d::Behaviour::default(), &mail::many(50, 1000));
    let to = destination();
    let tool = tool(&from.url(), &to.url());
    // A limit on the size of files stands in for a full disk where nobody may mount one. XFSZ is ignored so that the
    // program sees the error in place of the signal.
    for blocks in ["0", "16", "64"] {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let output = tool.run_under(&["sh", "-c", &script], &["migrate", "from", "to"]);
        assert!([0, 7].contains(&output.code), "{blocks}: {output}");
        if blocks == "0" {
            assert_eq!(output.code, 7, "{output}");
        }
        if output.code == 7 {
            let last = output.stderr.lines().last().unwrap_or_default();
            assert!(last.starts_with("mailhaul: ") && last.len() > 30, "{output}");
        }
    }
    let summary = tool.run(&["migrate", "from", "to", "--json"]).expect_code(0).json();
    assert_eq!(summary["balanced"], true);
    assert_eq!(to.bodies("INBOX").len(), 50, "once each, whatever the full disk cut short");
}

#[test]
fn a_disk_that_is_really_full_is_local_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=200k", "tmpfs"]).arg(dir.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: nothing can be mounted here; the limit on the size of files stands in for it");
        return;
    }
    let outcome = std::panic::catch_unwind(|| full_disk(dir.path()));
    let unmounted = Command::new("umount").arg(dir.path()).status();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    assert!(unmounted.is_ok_and(|status| status.success()));
}

fn full_disk(dir: &Path) {
    let from = Pop3d::start(pop3d::Behaviour::default(), &mail::many(2000, 100));
    let to = destination();
    let tool = tool(&from.url(), &to.url());
    let state = dir.join("state");
    let arguments = ["migrate", "from", "to", "--state", state.to_str().unwrap()];
    let output = tool.run(&arguments).expect_code(7);
    assert!(output.stderr.contains("make room") || output.stderr.contains("full"), "{output}");
    assert!(!holds_canary(&std::fs::read(state.join("journal.sqlite3")).unwrap_or_default()));
}

#[test]
fn a_running_process_shows_the_password_nowhere() {
    let from = Odd::start("", &[], |asked| if asked.verb == "LIST" { Answer::Stall(Vec::new()) } else { Answer::Usual });
    let to = destination();
    let tool = Tool::new();
    tool.server("to", Some(&to.url()), None);
    let url = from.url_with("timeout=3s");
    let file = tool.password_file();
    let ways: [(&str, String); 3] = [
        ("--from-password-file", file.display().to_string()),
        ("--from-password-command", format!("cat '{}'", file.display())),
        // Still there while the program runs, and what it inherited can be read.
        ("--from-password-command", format!("sh -c 'head -n 1 \"$0\"; exec sleep 1' '{}'", file.display())),
    ];
    for (option, value) in ways {
        let before = from.log().len();
        let running = tool.spawn(&["migrate", "--dry-run", &url, "to", option, &value, "-vv"], None);
        let mut looked = 0;
        while !from.log()[before..].iter().any(|line| line.starts_with("LIST")) {
            looked += look_into(running.id());
        }
        looked += look_into(running.id());
        assert!(looked > 0);
        running.finish().expect_code(5);
    }
    assert!(from.log().iter().any(|line| line.contains(canary())), "the server did get it");
}

/// Searches what the system shows of a process and of its children; says how many files that were.
fn look_into(id: u32) -> usize {
    let proc = Path::new("/proc").join(id.to_string());
    let mut looked = 0;
    for name in ["cmdline", "environ", "status", "comm"] {
        if let Ok(bytes) = std::fs::read(proc.join(name)) {
            assert!(!holds_canary(&bytes), "the password stands in {name}");
            looked += 1;
        }
    }
    let children = std::fs::read_to_string(proc.join(format!("task/{id}/children"))).unwrap_or_default();
    looked + children.split_whitespace().filter_map(|id| id.parse().ok()).map(look_into).sum::<usize>()
}

#[test]
fn tls_servers_that_work_are_worked_with() {
    // What the tests above show of broken ones means something only if a sound one goes through.
    let from = Odd::with_tls("AUTH=PLAIN SASL-IR", &mail::many(2, 100), |_| Answer::Usual);
    let to = destination();
    let tool = tool(&format!("imaps://ann@127.0.0.1:{}", from.port()), &to.url());
    tool.run(&["migrate", "from", "to"]).expect_code(0);
    assert_eq!(to.bodies("INBOX").len(), 2);
    assert_eq!(tls::identity().pin.len(), 64);
}
