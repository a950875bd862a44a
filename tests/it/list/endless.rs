//! A mailbox with as many messages as it is told to have: listed in constant memory, and let go of at a signal.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

use crate::support::server::{Server, Wire};
use crate::support::tool::Tool;

/// An IMAP server that makes up as many messages as it is told to, and says when it is asked to say goodbye.
struct Endless {
    server: Server,
    at_end: Receiver<()>,
    go: Sender<()>,
}

impl Endless {
    fn start(count: u32, stall_at: Option<&'static str>) -> Self {
        let (reached, at_end) = channel();
        let (go, wait) = channel();
        let ends = Mutex::new((reached, wait));
        let server = Server::start(false, move |wire| serve(wire, count, stall_at, &ends));
        Self { server, at_end, go }
    }

    fn url(&self) -> String {
        format!("imap://ann@127.0.0.1:{}?tls=none", self.server.port())
    }
}

fn serve(wire: &mut Wire, count: u32, stall_at: Option<&str>, ends: &Mutex<(Sender<()>, Receiver<()>)>) -> io::Result<()> {
    wire.line("* OK [CAPABILITY IMAP4rev1 ESEARCH] hello")?;
    while let Some(line) = wire.read_line()? {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (tag, command) = line.split_once(' ').unwrap();
        if stall_at.is_some_and(|verb| command.starts_with(verb)) {
            let _ = ends.lock().unwrap().0.send(());
            wire.stall();
        }
        let mut answer = String::new();
        if command == "CAPABILITY" {
            answer.push_str("* CAPABILITY IMAP4rev1 ESEARCH\r\n");
        } else if command.starts_with("EXAMINE") {
            answer.push_str(&format!("* {count} EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n"));
        } else if command.starts_with("UID SEARCH") {
            answer.push_str(&format!("* ESEARCH (TAG \"{tag}\") UID ALL 1:{count}\r\n"));
        } else if let Some(rest) = command.strip_prefix("UID FETCH ") {
            for range in rest.split(' ').next().unwrap().split(',') {
                let (first, last) = range.split_once(':').unwrap_or((range, range));
                for uid in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
                    let header = format!(
                        "From: Ann <ann@example.org>\r\nSubject: the message with the number {uid}\r\nMessage-ID: <{uid}@example.org>\r\n\r\n"
                    );
                    answer.push_str(&format!(
                        "* {uid} FETCH (UID {uid} FLAGS (\\Seen) INTERNALDATE \"13-Sep-2020 12:26:40 +0000\" RFC822.SIZE 1000 \
                         BODY[HEADER.FIELDS (DATE FROM TO CC SUBJECT MESSAGE-ID)] {{{}}}\r\n{header})\r\n",
                        header.len()
                    ));
                }
            }
        } else if command == "LOGOUT" {
            let ends = ends.lock().unwrap();
            let _ = ends.0.send(());
            let _ = ends.1.recv();
            return wire.write(format!("* BYE\r\n{tag} OK\r\n").as_bytes());
        }
        wire.write(format!("{answer}{tag} OK done\r\n").as_bytes())?;
    }
    Ok(())
}

/// Lists the endless mailbox with a look at the memory it takes.
fn listed_in_64_mib(server: &Endless, args: &[&str]) -> String {
    let tool = Tool::new();
    let (url, password) = (server.url(), tool.password_file());
    let mut all = vec!["list", "--password-file", password.to_str().unwrap(), &url];
    all.extend(args);
    let running = tool.spawn(&all, None);
    // The program waits for the answer to its LOGOUT: everything is listed, and it still lives.
    server.at_end.recv().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap_or_default();
    server.go.send(()).unwrap();
    if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 64 * 1024, "{kib} KiB");
    }
    running.finish().expect_code(0).text()
}

#[test]
fn a_hundred_thousand_messages_are_listed_in_less_than_64_mib() {
    let text = listed_in_64_mib(&Endless::start(100_000, None), &["-o", "jsonl"]);
    assert_eq!(text.lines().count(), 100_000);
    for (line, uid) in [(text.lines().next(), 1), (text.lines().last(), 100_000)] {
        let row: Value = serde_json::from_str(line.unwrap()).unwrap();
        assert_eq!((&row["uid"], &row["subject"]), (&Value::from(uid), &Value::from(format!("the message with the number {uid}"))));
    }
}

#[test]
fn the_first_of_a_hundred_thousand_that_are_sorted_here_are_found_in_less_than_64_mib() {
    let args = ["--sort", "subject", "--reverse", "--limit", "3", "--fields", "uid"];
    assert_eq!(listed_in_64_mib(&Endless::start(100_000, None), &args), "99999\n99998\n99997\n");
}

#[test]
fn a_signal_ends_a_listing_with_its_code() {
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143), (rustix::process::Signal::HUP, 129)] {
        let server = Endless::start(10, Some("UID FETCH"));
        let tool = Tool::new();
        let running = tool.spawn(&["list", "--password-file", tool.password_file().to_str().unwrap(), &server.url(), "-o", "json"], None);
        server.at_end.recv().unwrap();
        running.signal(signal);
        let output = running.finish().expect_code(code);
        let error: Value = serde_json::from_str(&output.stderr).unwrap();
        assert_eq!(error["code"], code);
        assert!(output.stdout.is_empty(), "{output}");
    }
}
