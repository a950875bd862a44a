//! A small read-only IMAP server that answers as any would, unless the test puts an answer of its own in place of the usual
//! one; and a peer that follows a script of raw octets and tells what it overheard.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::server::{Server, Wire};

/// A command as it came.
pub struct Asked<'a> {
    /// The connection, from 1.
    pub connection: u64,
    /// Its tag.
    pub tag: &'a str,
    /// `GREETING` (which nobody asked for), `CAPABILITY`, `UID FETCH`, …; capitals.
    pub verb: &'a str,
    /// What follows the verb.
    pub rest: &'a str,
}

impl Asked<'_> {
    /// Whether whole messages are asked for, not a listing.
    pub fn wants_bodies(&self) -> bool {
        self.verb == "UID FETCH" && self.rest.contains("BODY.PEEK[]")
    }

    /// Whether a listing of messages is asked for.
    pub fn wants_listing(&self) -> bool {
        self.verb == "UID FETCH" && self.rest.contains("RFC822.SIZE")
    }

    /// Whether the set of UIDs names this one.
    pub fn names(&self, uid: u32) -> bool {
        let set = self.rest.split(' ').next().unwrap_or_default();
        set.split(',').any(|range| {
            let number = |text: &str| if text == "*" { u32::MAX } else { text.parse().unwrap_or(0) };
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            (number(first)..=number(last)).contains(&uid)
        })
    }
}

/// What to do in place of the usual answer.
pub enum Answer {
    /// Nothing: as usual.
    Usual,
    /// These octets (`$tag` stands for the tag), then go on.
    Send(Vec<u8>),
    /// These octets, then silence without an end.
    Stall(Vec<u8>),
    /// These octets, then the connection ends.
    Close(Vec<u8>),
    /// These octets, then the connection is reset.
    Reset(Vec<u8>),
    /// These octets, then the other ones one by one, a few milliseconds apart, for ever.
    Drip(Vec<u8>, Vec<u8>),
    /// The first octets, then the others again and again, as fast as they go.
    Flood(Vec<u8>, Vec<u8>),
}

impl Answer {
    /// Octets in place of the usual answer.
    pub fn send(text: &str) -> Self {
        Self::Send(text.as_bytes().to_vec())
    }
}

type Twist = dyn Fn(&Asked<'_>) -> Answer + Send + Sync;

/// The server.
pub struct Odd {
    server: Server,
    log: Arc<Mutex<Vec<String>>>,
}

impl Odd {
    /// Serves one folder, INBOX, with these messages under the UIDs 1, 2, …, and these capabilities beside `IMAP4rev1`.
    pub fn start(capabilities: &str, messages: &[Vec<u8>], twist: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::build(false, capabilities, messages, twist)
    }

    /// The same under TLS from the first octet.
    pub fn with_tls(capabilities: &str, messages: &[Vec<u8>], twist: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::build(true, capabilities, messages, twist)
    }

    fn build(tls: bool, capabilities: &str, messages: &[Vec<u8>], twist: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (shared, messages) = (Arc::clone(&log), messages.to_vec());
        let capabilities = format!("CAPABILITY IMAP4rev1 {capabilities}").trim_end().to_owned();
        let server = Server::start(false, move |wire| {
            if tls {
                wire.start_tls()?;
            }
            serve(wire, &capabilities, &messages, &shared, &twist)
        });
        Self { server, log }
    }

    /// `imap://ann@127.0.0.1:port?tls=none&timeout=500ms`.
    pub fn url(&self) -> String {
        self.url_with("timeout=500ms")
    }

    /// The same with other options.
    pub fn url_with(&self, options: &str) -> String {
        format!("imap://ann@127.0.0.1:{}?tls=none&{options}", self.server.port())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// All command lines so far without their tags, secrets and all.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn serve(wire: &mut Wire, capabilities: &str, messages: &[Vec<u8>], log: &Mutex<Vec<String>>, twist: &Twist) -> io::Result<()> {
    let connection = wire.number();
    let greeting = Asked { connection, tag: "*", verb: "GREETING", rest: "" };
    match twist(&greeting) {
        Answer::Usual => wire.line(&format!("* OK [{capabilities}] odd"))?,
        answer => act(wire, "*", answer)?,
    }
    while let Some(line) = wire.read_line()? {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (tag, command) = line.split_once(' ').unwrap_or((&line, ""));
        log.lock().unwrap().push(command.to_owned());
        let words: Vec<&str> = command.splitn(3, ' ').collect();
        let (verb, rest) = match words.as_slice() {
            ["UID", verb, rest] => (format!("UID {verb}"), (*rest).to_owned()),
            [verb, rest @ ..] => ((*verb).to_ascii_uppercase(), rest.join(" ")),
            [] => (String::new(), String::new()),
        };
        let asked = Asked { connection, tag, verb: &verb, rest: &rest };
        match twist(&asked) {
            Answer::Usual => wire.write(&usual(&asked, capabilities, messages))?,
            answer => act(wire, tag, answer)?,
        }
        if verb == "LOGOUT" {
            return Ok(());
        }
    }
    Ok(())
}

fn act(wire: &mut Wire, tag: &str, answer: Answer) -> io::Result<()> {
    let filled = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => text.replace("$tag", tag).into_bytes(),
        Err(error) => error.into_bytes(),
    };
    match answer {
        Answer::Usual => Ok(()),
        Answer::Send(bytes) => wire.write(&filled(bytes)),
        Answer::Stall(bytes) => {
            wire.write(&filled(bytes))?;
            wire.stall();
            Err(io::ErrorKind::NotConnected.into())
        }
        Answer::Close(bytes) => {
            wire.write(&filled(bytes))?;
            wire.hang_up();
            Err(io::ErrorKind::NotConnected.into())
        }
        Answer::Reset(bytes) => {
            wire.write(&filled(bytes))?;
            wire.reset();
            Err(io::ErrorKind::NotConnected.into())
        }
        Answer::Drip(bytes, drops) => {
            wire.write(&filled(bytes))?;
            wire.drip = Some(Duration::from_millis(20));
            // Ends when the client hangs up.
            loop {
                wire.write(&drops)?;
            }
        }
        Answer::Flood(bytes, drops) => {
            wire.write(&filled(bytes))?;
            let piece = drops.repeat((64 * 1024 / drops.len()).max(1));
            loop {
                wire.write(&piece)?;
            }
        }
    }
}

/// A FETCH response with a whole message.
pub fn body_response(uid: u32, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("* {uid} FETCH (UID {uid} FLAGS () INTERNALDATE \"13-Sep-2020 12:26:40 +0000\" BODY[] {{{}}}\r\n", body.len());
    answer.push_str(&String::from_utf8_lossy(body));
    answer.push_str(")\r\n");
    answer.into_bytes()
}

fn usual(asked: &Asked<'_>, capabilities: &str, messages: &[Vec<u8>]) -> Vec<u8> {
    let tag = asked.tag;
    let mut answer = match asked.verb {
        "CAPABILITY" => format!("* {capabilities}\r\n"),
        "LIST" | "LSUB" => format!("* {} () \"/\" INBOX\r\n", asked.verb),
        "EXAMINE" | "SELECT" => format!(
            "* {} EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT {}] ok\r\n* FLAGS (\\Seen)\r\n",
            messages.len(),
            messages.len() + 1
        ),
        "LOGOUT" => "* BYE bye\r\n".to_owned(),
        _ => String::new(),
    }
    .into_bytes();
    for (uid, body) in (1..).zip(messages).filter(|(uid, _)| asked.verb == "UID FETCH" && asked.names(*uid)) {
        if asked.wants_bodies() {
            answer.extend(body_response(uid, body));
        } else {
            answer.extend_from_slice(format!("* {uid} FETCH (UID {uid} FLAGS () RFC822.SIZE {})\r\n", body.len()).as_bytes());
        }
    }
    answer.extend_from_slice(format!("{tag} OK done\r\n").as_bytes());
    answer
}

/// Speaks first, then answers the client's lines one after the other with what is written (`$tag` stands for the line's
/// first word), then only listens. What the client sent, all of it, comes through the channel once it has hung up.
pub fn overhear(rounds: &[&str]) -> (u16, Receiver<Vec<u8>>) {
    overhear_slowly(rounds, Duration::ZERO)
}

/// The same; under a pause each octet travels alone.
pub fn overhear_slowly(rounds: &[&str], pause: Duration) -> (u16, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let rounds: Vec<String> = rounds.iter().map(|&round| round.to_owned()).collect();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let Ok((mut tcp, _)) = listener.accept() else { return };
        let _ = tcp.set_nodelay(true);
        let mut heard = Vec::new();
        for (index, round) in rounds.iter().enumerate() {
            let mut line = Vec::new();
            if index > 0 && !hear_line(&mut tcp, &mut line) {
                heard.extend(line);
                break;
            }
            let tag = String::from_utf8_lossy(&line).split(' ').next().unwrap_or_default().to_owned();
            heard.extend(line);
            let bytes = round.replace("$tag", &tag).into_bytes();
            let step = if pause.is_zero() { bytes.len().max(1) } else { 1 };
            for piece in bytes.chunks(step) {
                if tcp.write_all(piece).is_err() {
                    break;
                }
                std::thread::sleep(pause);
            }
        }
        let _ = tcp.read_to_end(&mut heard);
        let _ = sender.send(heard);
    });
    (port, receiver)
}

fn hear_line(tcp: &mut TcpStream, line: &mut Vec<u8>) -> bool {
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        match tcp.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            _ => return false,
        }
    }
    true
}

/// The most memory a process ever had resident, in KiB, watched until it is gone.
pub fn peak_memory(id: u32) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(kib) = std::fs::read_to_string(format!("/proc/{id}/status")).ok().and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        }) {
            peak = peak.max(kib);
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    })
}
