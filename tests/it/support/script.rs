//! The scripted server: it plays a transcript, line by line, and remembers where the client left it.
//!
//! ```text
//! S: * OK hello                 a line to the client; $name stands for what was bound
//! C: $tag LOGIN ann …           a line from the client: words are equal, `$name` binds a word, `*` is any word, a final
//!                               `…` any rest; `C: *` is any line; quotes and case count
//! !literal 1000                 sends so many octets `x`;  !send "a\r\n\0\xff" sends these octets
//! !read-literal                 reads the literal the last client line announced ({n} or {n+})
//! !tls | !starttls              becomes the server side of TLS now
//! !slow 1000                    from here on a pause of so many milliseconds after each octet;  !slow 0: none, but alone
//! !delay 50                     waits so many milliseconds
//! !clock 600                    moves the test clock by so many seconds (needs `Script::with_clock`)
//! !stall | !stop-reading        neither reads nor writes any more, keeps the connection open
//! !close | !reset               ends with FIN | with RST
//! !repeat 3 … !end              plays the lines between so often (0: for ever, until the client goes)
//! # remark                      and empty lines are skipped
//! ```

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::server::{Server, Wire, advance_clock};

/// A server that plays one transcript for each connection.
pub struct Script {
    server: Server,
    state: Arc<State>,
    expected: usize,
}

#[derive(Default)]
struct State {
    played: Mutex<Played>,
    changed: Condvar,
}

#[derive(Default)]
struct Played {
    ended: usize,
    received: Vec<String>,
    wrong: Vec<String>,
}

#[derive(Debug, Clone)]
enum Step {
    Say(String),
    Hear(String),
    Send(Vec<u8>),
    ReadLiteral,
    Tls,
    Slow(Duration),
    Delay(Duration),
    Clock(Duration),
    Stall,
    Close,
    Reset,
    Repeat(u64, Vec<Step>),
}

impl Script {
    /// The n-th connection plays the n-th transcript; further ones are closed at once.
    pub fn start(transcripts: &[&str]) -> Self {
        Self::build(transcripts, None, false)
    }

    /// Every connection plays this transcript.
    pub fn every(transcript: &str) -> Self {
        Self::build(&[transcript], None, true)
    }

    /// As [`Self::start`], with the test clock that `!clock` moves.
    pub fn with_clock(transcripts: &[&str], clock: PathBuf) -> Self {
        Self::build(transcripts, Some(clock), false)
    }

    fn build(transcripts: &[&str], clock: Option<PathBuf>, every: bool) -> Self {
        let scripts: Vec<Vec<Step>> = transcripts.iter().map(|text| parse(text)).collect();
        let expected = scripts.len();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let server = Server::start(false, move |wire| {
            let index = if every { 0 } else { usize::try_from(wire.number()).unwrap() - 1 };
            let Some(steps) = scripts.get(index) else {
                shared.played.lock().unwrap().wrong.push(format!("connection {} was not expected", wire.number()));
                return Ok(());
            };
            let mut player = Player { wire, state: &shared, clock: clock.as_ref(), bound: HashMap::new(), last: Vec::new() };
            let outcome = player.play(steps);
            let mut played = shared.played.lock().unwrap();
            if let Err(error) = outcome
                && error.kind() == io::ErrorKind::InvalidData
            {
                played.wrong.push(format!("connection {}: {error}", player.wire.number()));
            }
            played.ended += 1;
            shared.changed.notify_all();
            Ok(())
        });
        Self { server, state, expected }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// `imap://ann@127.0.0.1:port?tls=none`.
    pub fn imap(&self) -> String {
        format!("imap://ann@127.0.0.1:{}?tls=none", self.port())
    }

    /// `pop3://ann@127.0.0.1:port?tls=none`.
    pub fn pop3(&self) -> String {
        format!("pop3://ann@127.0.0.1:{}?tls=none", self.port())
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// All lines the clients sent so far.
    pub fn received(&self) -> Vec<String> {
        self.state.played.lock().unwrap().received.clone()
    }

    /// Waits until all transcripts were played to their end and insists that every client line was as written. Not for
    /// transcripts that stall or repeat for ever.
    #[track_caller]
    pub fn finish(self) -> Vec<String> {
        let mut played = self.state.played.lock().unwrap();
        while played.ended < self.expected && played.wrong.is_empty() {
            let (guard, timeout) = self.state.changed.wait_timeout(played, Duration::from_secs(30)).unwrap();
            played = guard;
            assert!(
                !timeout.timed_out(),
                "{} of {} transcripts were played; received: {:#?}",
                played.ended,
                self.expected,
                played.received
            );
        }
        assert!(played.wrong.is_empty(), "{}\nreceived: {:#?}", played.wrong.join("\n"), played.received);
        played.received.clone()
    }

    /// What went otherwise than written so far.
    pub fn wrong(&self) -> Vec<String> {
        self.state.played.lock().unwrap().wrong.clone()
    }
}

fn parse(text: &str) -> Vec<Step> {
    let mut lines = text.lines();
    let steps = parse_until(&mut lines, false);
    assert!(lines.next().is_none(), "an !end without !repeat");
    steps
}

fn parse_until(lines: &mut std::str::Lines<'_>, nested: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(line) = lines.next() {
        // Indented raw strings read better; spaces at the end count.
        let line = line.trim_start();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || rest.trim().parse::<u64>().unwrap_or_else(|_| panic!("a number is missing: {line}"));
        steps.push(match word {
            "" | "#" => continue,
            "S:" => Step::Say(rest.to_owned()),
            "C:" => Step::Hear(rest.to_owned()),
            "!literal" => Step::Send(vec![b'x'; usize::try_from(number()).unwrap()]),
            "!send" => Step::Send(unescape(rest)),
            "!read-literal" => Step::ReadLiteral,
            "!tls" | "!starttls" => Step::Tls,
            "!slow" => Step::Slow(Duration::from_millis(number())),
            "!delay" => Step::Delay(Duration::from_millis(number())),
            "!clock" => Step::Clock(Duration::from_secs(number())),
            "!stall" | "!stop-reading" => Step::Stall,
            "!close" => Step::Close,
            "!reset" => Step::Reset,
            "!repeat" => Step::Repeat(number(), parse_until(lines, true)),
            "!end" if nested => return steps,
            _ => panic!("not a line of a transcript: {line}"),
        });
    }
    assert!(!nested, "a !repeat without !end");
    steps
}

fn unescape(text: &str) -> Vec<u8> {
    let text =
        text.trim().strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_else(|| panic!("!send wants quotes: {text}"));
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&escape, tail) = rest.split_first().expect("an escape at the end");
        rest = tail;
        match escape {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'x' => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                rest = &rest[2..];
            }
            other => bytes.push(other),
        }
    }
    bytes
}

struct Player<'a> {
    wire: &'a mut Wire,
    state: &'a State,
    clock: Option<&'a PathBuf>,
    bound: HashMap<String, String>,
    last: Vec<u8>,
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Player<'_> {
    fn play(&mut self, steps: &[Step]) -> io::Result<()> {
        for step in steps {
            match step {
                Step::Say(text) => {
                    let mut line = text.clone();
                    // Longer names first, so that $tag2 is not taken for $tag.
                    let mut names: Vec<&String> = self.bound.keys().collect();
                    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
                    for name in names {
                        line = line.replace(&format!("${name}"), &self.bound[name]);
                    }
                    self.wire.line(&line)?;
                }
                Step::Hear(pattern) => self.hear(pattern)?,
                Step::Send(bytes) => self.wire.write(bytes)?,
                Step::ReadLiteral => {
                    let line = String::from_utf8_lossy(&self.last).into_owned();
                    let digits = line.trim_end_matches('}').rsplit('{').next().unwrap_or_default().trim_end_matches('+');
                    let count = digits.parse().map_err(|_| wrong(format!("no literal is announced in {line:?}")))?;
                    self.wire.read_exact(count)?;
                }
                Step::Tls => self.wire.start_tls()?,
                Step::Slow(pause) => self.wire.drip = Some(*pause),
                Step::Delay(time) => std::thread::sleep(*time),
                Step::Clock(time) => advance_clock(self.clock.expect("!clock needs Script::with_clock"), *time),
                Step::Stall => {
                    self.wire.stall();
                    return Ok(());
                }
                Step::Close => {
                    self.wire.hang_up();
                    return Ok(());
                }
                Step::Reset => {
                    self.wire.reset();
                    return Ok(());
                }
                Step::Repeat(count, steps) => {
                    let mut left = if *count == 0 { u64::MAX } else { *count };
                    while left > 0 {
                        self.play(steps)?;
                        left -= 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, pattern: &str) -> io::Result<()> {
        let Some(line) = self.wire.read_line()? else { return Err(wrong(format!("the client hung up where {pattern:?} was expected"))) };
        let text = String::from_utf8_lossy(&line).into_owned();
        self.state.played.lock().unwrap().received.push(text.clone());
        self.last = line;
        if pattern == "*" {
            return Ok(());
        }
        let mut heard = text.split(' ');
        for word in pattern.split(' ') {
            if word == "…" {
                return Ok(());
            }
            let got = heard.next();
            let fits = match (word, got) {
                (_, None) => false,
                ("*", Some(_)) => true,
                (name, Some(got)) => match name.strip_prefix('$') {
                    Some(name) => {
                        self.bound.insert(name.to_owned(), got.to_owned());
                        true
                    }
                    None => name == got,
                },
            };
            if !fits {
                return Err(wrong(format!("{pattern:?} was expected, {text:?} came")));
            }
        }
        if heard.next().is_some() { Err(wrong(format!("{pattern:?} was expected, {text:?} came"))) } else { Ok(()) }
    }
}
