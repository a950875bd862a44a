//! Round trips, counted: what is known to be wanted goes out at once, and a guess that was wrong costs time and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dovecot_user;
use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Asked, Odd};
use crate::support::proxy::{Proxy, Weather};
use crate::support::tls;
use crate::support::tool::{Output, Tool};

/// Runs a command with what every server of these tests needs and with a trace; returns the trace as well.
fn run(tool: &Tool, args: &[&str]) -> (Output, String) {
    let (password, ca, trace) = (tool.password_file(), tls::identity().ca_file(), tool.path("trace"));
    let mut all = args.to_vec();
    all.extend(["--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap(), "--trace", trace.to_str().unwrap()]);
    let output = tool.run(&all);
    (output, std::fs::read_to_string(&trace).unwrap_or_default())
}

/// The runs of lines that the program sent without waiting in between, LOGOUT last.
fn flights(trace: &str) -> Vec<Vec<String>> {
    let mut flights: Vec<Vec<String>> = Vec::new();
    let mut speaking = false;
    for line in trace.lines() {
        let (_, line) = line.split_once(' ').unwrap();
        match line.strip_prefix("C: ") {
            // The line end that goes out behind a command.
            Some("") => {}
            Some(sent) => {
                if !std::mem::replace(&mut speaking, true) {
                    flights.push(Vec::new());
                }
                flights.last_mut().unwrap().push(sent.to_owned());
            }
            None => speaking = false,
        }
    }
    assert!(flights.last().unwrap().len() == 1 && flights.last().unwrap()[0].ends_with("LOGOUT"), "{flights:#?}");
    flights
}

/// What TCP and TLS cost before the first command: TCP one, TLS 1.3 one, its end and the greeting one; STARTTLS gets the
/// greeting first, and the program's last step of TLS goes out together with its next command.
#[derive(Clone, Copy)]
enum Tls {
    Implicit,
    StartTls,
}

/// Round trips from the first octet of TCP to the last octet of the answer, before LOGOUT.
fn trips(proxy: &Proxy, before: u64, tls: Tls, trace: &str) -> u64 {
    let turns = proxy.turns() - before;
    let flights = flights(trace).len() as u64;
    match tls {
        Tls::Implicit => {
            // The hello and the end of TLS; somebody may say goodbye to TLS after LOGOUT.
            assert!((flights + 2..=flights + 3).contains(&turns), "{turns} turns\n{trace}");
            1 + 2 + flights - 1
        }
        Tls::StartTls => {
            assert!((flights + 1..=flights + 2).contains(&turns), "{turns} turns\n{trace}");
            2 + 1 + flights - 1
        }
    }
}

#[test]
fn a_listing_takes_six_round_trips_and_one_message_five() {
    let user = dovecot_user!("trips");
    user.deliver("INBOX", &mail::many(120, 200));
    user.create("Archive/2024");
    user.deliver("Archive/2024", &mail::many(70, 200));
    let ports = user.dovecot().ports();
    let weather = || Weather { delay: Duration::from_millis(10), ..Weather::default() };
    let (implicit, starttls) = (Proxy::start(ports.imaps, weather()), Proxy::start(ports.imap, weather()));
    let inbox = format!("imaps://{}@localhost:{}", user.name(), implicit.port());
    let archive = format!("{inbox}/Archive/2024");
    let plain = format!("imap://{}@localhost:{}", user.name(), starttls.port());
    let tool = Tool::new();
    for (args, proxy, tls, most, lines) in [
        (vec!["list", &inbox, "--limit", "50"], &implicit, Tls::Implicit, 6, 50),
        (vec!["list", &inbox, "--limit", "50", "--sort", "date", "--reverse"], &implicit, Tls::Implicit, 6, 50),
        (vec!["list", &inbox], &implicit, Tls::Implicit, 6, 120),
        (vec!["list", &inbox, "--uid", "5:10", "--limit", "50"], &implicit, Tls::Implicit, 6, 6),
        (vec!["list", &inbox, "--unseen", "--limit", "50"], &implicit, Tls::Implicit, 6, 50),
        (vec!["list", &inbox, "--subject", "message 11", "--limit", "50"], &implicit, Tls::Implicit, 6, 11),
        (vec!["list", &archive, "--not", "--subject", "gr\u{fc}n", "--limit", "50"], &implicit, Tls::Implicit, 6, 50),
        (vec!["list", &inbox, "--uid", "5,7"], &implicit, Tls::Implicit, 5, 2),
        (vec!["list", &archive, "--limit", "50", "-o", "json"], &implicit, Tls::Implicit, 6, 52),
        (vec!["fetch", &inbox, "17"], &implicit, Tls::Implicit, 5, 0),
        (vec!["fetch", &archive, "17"], &implicit, Tls::Implicit, 5, 0),
        (vec!["list", &plain, "--limit", "50"], &starttls, Tls::StartTls, 8, 50),
        (vec!["fetch", &plain, "17"], &starttls, Tls::StartTls, 7, 0),
    ] {
        let before = proxy.turns();
        let (output, trace) = run(&tool, &args);
        let output = output.expect_code(0);
        let taken = trips(proxy, before, tls, &trace);
        assert_eq!(taken, most, "{args:?}\n{trace}");
        if lines > 0 {
            assert_eq!(output.text().lines().count(), lines, "{output}");
        } else {
            assert_eq!(output.stdout, mail::plain(16, 200));
        }
    }
}

/// A server of three mailboxes: `INBOX`, and `Archive` and `INBOX.Archive`, which hold different mail.
struct Twins {
    server: Odd,
}

const OWN: &str = "From: own@example.org\r\nSubject: own\r\n\r\nown\r\n";
const OTHERS: &str = "From: secret@example.org\r\nSubject: secret\r\n\r\nsecret\r\n";

impl Twins {
    fn start(capabilities: &str, twist: impl Fn(&Asked<'_>) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let selected: Arc<Mutex<String>> = Arc::default();
        let server = Odd::start(capabilities, &[OWN.as_bytes().to_vec()], move |asked| {
            if let Some(answer) = twist(asked) {
                return answer;
            }
            let mut selected = selected.lock().unwrap();
            match asked.verb {
                "GREETING" => selected.clear(),
                "EXAMINE" => {
                    let name = asked.rest.trim_matches('"');
                    if !["INBOX", "Archive", "INBOX.Archive"].contains(&name) {
                        selected.clear();
                        return Answer::send("$tag NO no such thing\r\n");
                    }
                    name.clone_into(&mut selected);
                }
                "NAMESPACE" => return Answer::send("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n$tag OK done\r\n"),
                "LIST" => {
                    let name = if asked.rest == "\"\" \"\"" { "" } else { "INBOX.Archive" };
                    return Answer::send(&format!("* LIST () \".\" \"{name}\"\r\n$tag OK done\r\n"));
                }
                "UID SEARCH" | "UID FETCH" | "FETCH" if selected.is_empty() => return Answer::send("$tag BAD no mailbox\r\n"),
                "UID SEARCH" => return Answer::send("* SEARCH 1\r\n$tag OK done\r\n"),
                "UID FETCH" | "FETCH" => {
                    let mail = if *selected == "Archive" { OTHERS } else { OWN };
                    let part = if asked.rest.contains("BODY.PEEK[]") { "BODY[]" } else { "BODY[HEADER.FIELDS (FROM)]" };
                    return Answer::send(&format!(
                        "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE {} {part} {{{}}}\r\n{mail})\r\n$tag OK done\r\n",
                        mail.len(),
                        mail.len()
                    ));
                }
                _ => {}
            }
            Answer::Usual
        });
        Self { server }
    }

    fn url(&self, folder: &str) -> String {
        format!("imap://ann@127.0.0.1:{}/{folder}?tls=none", self.server.port())
    }
}

const MODERN: &str = "AUTH=PLAIN SASL-IR ID NAMESPACE";

/// All ways to look at a folder see its own mail.
fn sees_its_own(twins: &Twins, folder: &str) {
    let tool = Tool::new();
    let url = twins.url(folder);
    for args in [vec!["--limit", "5"], vec![], vec!["--uid", "1"], vec!["--sort", "subject"], vec!["--uid", "1:*", "--reverse"]] {
        let mut all = vec!["list", &url, "--fields", "uid,subject"];
        all.extend(&args);
        let (output, trace) = run(&tool, &all);
        assert_eq!(output.expect_code(0).text(), "1\town\n", "{args:?}\n{trace}");
    }
    assert_eq!(run(&tool, &["fetch", &url, "1"]).0.expect_code(0).stdout, OWN.as_bytes());
}

#[test]
fn a_wrong_guess_of_a_name_never_shows_another_mailboxs_mail() {
    let twins = Twins::start(MODERN, |_| None);
    sees_its_own(&twins, "Archive");
    sees_its_own(&twins, "INBOX/Archive");
    // The guess was made, and made good in one round trip more.
    let (_, trace) = run(&Tool::new(), &["list", &twins.url("Archive")]);
    let flights = flights(&trace);
    assert!(flights[1].iter().any(|line| line.ends_with("EXAMINE \"Archive\"")), "{flights:#?}");
    assert!(flights[2][0].ends_with("EXAMINE \"INBOX.Archive\"") && flights[2][1].contains("UID SEARCH"), "{flights:#?}");
    assert_eq!(flights.len(), 5, "{flights:#?}");
    // The same where the server says its delimiter in a listing only.
    let old =
        Twins::start("AUTH=PLAIN SASL-IR", |asked| (asked.verb == "LIST").then(|| Answer::send("* LIST () \".\" \"\"\r\n$tag OK\r\n")));
    sees_its_own(&old, "INBOX/Archive");
    // And where only the capabilities after login tell of NAMESPACE.
    let late = Twins::start("AUTH=PLAIN SASL-IR", |asked| {
        (asked.verb == "CAPABILITY").then(|| Answer::send("* CAPABILITY IMAP4rev1 NAMESPACE ID\r\n$tag OK\r\n"))
    });
    sees_its_own(&late, "Archive");
    sees_its_own(&late, "INBOX");
}

#[test]
fn what_a_server_refuses_too_soon_is_asked_again_in_its_turn() {
    // Once, whatever comes first.
    for verb in ["EXAMINE", "UID SEARCH", "UID FETCH"] {
        let refused = Mutex::new(0);
        let twins = Twins::start(MODERN, move |asked| {
            let mut refused = refused.lock().unwrap();
            if asked.verb == verb && *refused != asked.connection {
                *refused = asked.connection;
                return Some(Answer::send("$tag BAD one thing at a time\r\n"));
            }
            None
        });
        let tool = Tool::new();
        for (args, code) in [(vec!["list"], 0), (vec!["list", "--uid", "1"], 0)] {
            if verb == "UID FETCH" && args.len() == 1 {
                continue;
            }
            let url = twins.url("INBOX");
            let mut all = args.clone();
            all.extend([url.as_str(), "--fields", "uid,subject"]);
            let (output, trace) = run(&tool, &all);
            assert_eq!(output.expect_code(code).text(), "1\town\n", "{verb} {args:?}\n{trace}");
        }
        assert_eq!(run(&tool, &["fetch", &twins.url("INBOX"), "1"]).0.expect_code(0).stdout, OWN.as_bytes(), "{verb}");
    }
}

#[test]
fn a_server_that_wants_to_know_who_we_are_is_told_before_it_opens_a_mailbox() {
    for capabilities in [MODERN, "AUTH=PLAIN SASL-IR"] {
        let known = Mutex::new(0);
        let twins = Twins::start(capabilities, move |asked| {
            let mut known = known.lock().unwrap();
            match asked.verb {
                "ID" => *known = asked.connection,
                "CAPABILITY" => return Some(Answer::send("* CAPABILITY IMAP4rev1 ID NAMESPACE\r\n$tag OK\r\n")),
                "EXAMINE" if *known != asked.connection => return Some(Answer::send("$tag NO EXAMINE Unsafe Login\r\n")),
                _ => {}
            }
            None
        });
        sees_its_own(&twins, "INBOX");
        sees_its_own(&twins, "Archive");
    }
}

#[test]
fn answers_out_of_turn_are_not_believed_and_asked_for_again() {
    // EXAMINE's answer comes before NAMESPACE's.
    let twins = Twins::start(MODERN, |asked| match asked.verb {
        "NAMESPACE" => Some(Answer::send("* 0 EXISTS\r\n* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n$tag OK done\r\n")),
        _ => None,
    });
    sees_its_own(&twins, "INBOX");
    sees_its_own(&twins, "Archive");
}

#[test]
fn a_name_that_has_to_wait_for_the_server_is_not_sent_on_suspicion() {
    let server = Imapd::start(imapd::Behaviour::default().without(&["LITERAL+"]));
    let name = "x".repeat(1100);
    server.fill(&name, &mail::many(3, 10));
    let (output, trace) = run(&Tool::new(), &["list", &server.url_of(&name), "--limit", "2", "--fields", "uid"]);
    assert_eq!(output.expect_code(0).text(), "2\n3\n", "{trace}");
}

#[test]
fn a_folder_that_is_not_there_is_a_wrong_place_and_one_that_is_refused_is_not() {
    let twins = Twins::start(MODERN, |_| None);
    let tool = Tool::new();
    for verb in [["list"].as_slice(), &["fetch", "1"]] {
        let url = twins.url("Nowhere");
        let mut args = verb.to_vec();
        args.insert(1, &url);
        let output = run(&tool, &args).0.expect_code(2).expect_stderr("there is no folder Nowhere");
        assert!(output.stderr.contains("NO no such thing") && output.stdout.is_empty(), "{output}");
    }
    let shut = Twins::start(MODERN, |asked| (asked.verb == "EXAMINE").then(|| Answer::send("$tag NO [NOPERM] not yours\r\n")));
    run(&tool, &["list", &shut.url("Archive")]).0.expect_code(6).expect_stderr("not yours");
}
