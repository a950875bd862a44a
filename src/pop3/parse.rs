//! The grammar of POP3 (RFC 1939, 2449, 3206, 5034): status lines, listings, capabilities and the dot-stuffed bodies.
//! Pure and total: octets in, values out; it must never touch a socket.

use crate::backoff;
use crate::error::Result;

/// A status line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `+OK`, not `-ERR`.
    pub ok: bool,
    /// The response code (RFC 2449 section 8) in capitals, without its brackets: `IN-USE`, `SYS/TEMP`.
    pub code: Option<String>,
    /// The words after status and code; octets that are not UTF-8 are replaced.
    pub text: String,
}

impl Reply {
    /// The line as the server wrote it, but for white space.
    pub fn words(&self) -> String {
        let mut words = if self.ok { "+OK".to_owned() } else { "-ERR".to_owned() };
        if let Some(code) = &self.code {
            words.push_str(&format!(" [{code}]"));
        }
        if !self.text.is_empty() {
            words.push(' ');
            words.push_str(&self.text);
        }
        words
    }

    /// Whether a refusal says that the same may go through later (RFC 2449 section 8.1, RFC 3206).
    pub fn is_temporary(&self) -> bool {
        !self.ok && self.code.as_deref().is_some_and(|code| ["IN-USE", "LOGIN-DELAY", "SYS/TEMP"].contains(&code))
    }

    /// Whether a refusal without a code that says so asks for more time or fewer connections all the same.
    pub fn slows(&self) -> bool {
        let ask = backoff::read(&self.text).filter(|_| !self.ok && self.code.as_deref() != Some("AUTH"));
        ask.is_some_and(|ask| ask.slows() || ask.cause == backoff::Cause::Connections)
    }
}

/// Reads a status line; `None` when it is none.
pub fn status(line: &[u8]) -> Option<Reply> {
    let (ok, rest) = if line.get(..3)?.eq_ignore_ascii_case(b"+OK") {
        (true, line.get(3..)?)
    } else if line.get(..4)?.eq_ignore_ascii_case(b"-ERR") {
        (false, line.get(4..)?)
    } else {
        return None;
    };
    let text = String::from_utf8_lossy(rest.trim_ascii()).into_owned();
    let (code, text) = response_code(&text);
    Some(Reply { ok, code, text })
}

/// Splits a response code off; what is not shaped like one stays text (`[pop3.example.org]`, say, is no code).
fn response_code(text: &str) -> (Option<String>, String) {
    let code = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match code {
        Some((code, rest))
            if !code.is_empty()
                && code.len() <= 64
                && code.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'/' | b'_')) =>
        {
            (Some(code.to_ascii_uppercase()), rest.trim_start().to_owned())
        }
        _ => (None, text.to_owned()),
    }
}

/// Reads a continuation `+ base64` (RFC 5034 section 4): the decoded challenge. What is not base64 counts as it is, since
/// some servers send words there; `None` when the line is no continuation.
pub fn challenge(line: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine;
    let rest = line.strip_prefix(b"+")?;
    if !rest.is_empty() && !rest.starts_with(b" ") {
        return None;
    }
    let text = rest.trim_ascii();
    Some(base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_else(|_| text.to_vec()))
}

/// Base64 as SASL frames it.
pub fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What the server said it can do (CAPA, RFC 2449).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether CAPA was answered at all; when not, nothing below means anything.
    pub known: bool,
    /// TOP.
    pub top: bool,
    /// UIDL.
    pub uidl: bool,
    /// USER and PASS.
    pub user: bool,
    /// SASL mechanisms, in capitals.
    pub sasl: Vec<String>,
    /// STLS.
    pub stls: bool,
    /// PIPELINING.
    pub pipelining: bool,
    /// RESP-CODES.
    pub resp_codes: bool,
    /// AUTH-RESP-CODE (RFC 3206).
    pub auth_resp_code: bool,
    /// EXPIRE, as written (`0`, `30 USER`, `NEVER`).
    pub expire: Option<String>,
    /// LOGIN-DELAY in seconds.
    pub login_delay: Option<u64>,
    /// IMPLEMENTATION.
    pub implementation: Option<String>,
    /// UTF8 (RFC 6856).
    pub utf8: bool,
    /// Every other line, as written.
    pub other: Vec<String>,
}

impl Capabilities {
    /// Takes one line of the answer.
    pub fn add(&mut self, line: &[u8]) {
        self.known = true;
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match name.to_ascii_uppercase().as_str() {
            "" => {}
            "TOP" => self.top = true,
            "UIDL" => self.uidl = true,
            "USER" => self.user = true,
            "SASL" => self.sasl.extend(rest.split_whitespace().map(str::to_ascii_uppercase)),
            "STLS" => self.stls = true,
            "PIPELINING" => self.pipelining = true,
            "RESP-CODES" => self.resp_codes = true,
            "AUTH-RESP-CODE" => self.auth_resp_code = true,
            "EXPIRE" => self.expire = Some(rest.to_owned()),
            "LOGIN-DELAY" => self.login_delay = rest.split_whitespace().next().and_then(|seconds| seconds.parse().ok()),
            "IMPLEMENTATION" => self.implementation = Some(rest.to_owned()),
            "UTF8" => self.utf8 = true,
            _ => self.other.push(text.to_owned()),
        }
    }

    /// Whether the server offers this SASL mechanism.
    pub fn offers(&self, mechanism: &str) -> bool {
        self.sasl.iter().any(|offered| offered == mechanism)
    }
}

/// The answer to STAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Messages in the maildrop.
    pub messages: u32,
    /// Octets, as the server claims.
    pub octets: u64,
}

impl Stat {
    /// Reads the words of a `+OK`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        Some(Self { messages: words.next()?.parse().ok()?, octets: words.next()?.parse().ok()? })
    }
}

/// Splits `number rest`; numbers start at 1.
fn numbered(line: &[u8]) -> Option<(u32, &[u8])> {
    let line = line.trim_ascii();
    let end = line.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at_checked(end)?;
    if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number > 0).then(|| (number, rest.trim_ascii()))
}

/// The largest message a size may speak of: one beyond all mail is none, and sums of what is left cannot overflow.
const MAX_SIZE: u64 = 1 << 40;

/// Reads a line of LIST: message number and size. A size that makes no sense is `None`: it is only a hint.
pub fn list_line(line: &[u8]) -> Option<(u32, Option<u64>)> {
    let (number, rest) = numbered(line)?;
    let word = rest.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    Some((number, std::str::from_utf8(word).ok().and_then(|size| size.parse().ok()).filter(|size| *size <= MAX_SIZE)))
}

/// Reads a line of UIDL: message number and unique-id; `None` for a blank one. RFC 1939 section 7 allows 1 to 70 octets
/// from 0x21 to 0x7E; more and others are kept as they are. One that is not UTF-8 becomes its hex digits behind a blank,
/// with which no other unique-id can begin, so that different ones stay different.
pub fn uidl_line(line: &[u8]) -> Option<(u32, Option<String>)> {
    let (number, rest) = numbered(line)?;
    if rest.is_empty() {
        return Some((number, None));
    }
    let uidl = match std::str::from_utf8(rest) {
        Ok(text) => text.to_owned(),
        Err(_) => rest.iter().fold(" ".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    };
    Some((number, Some(uidl)))
}

/// Takes the dot-stuffing off a multi-line response (RFC 1939 section 3), byte-exact and fed in pieces of any size.
///
/// Lines end with CRLF, and then only: behind a bare LF a dot is data. A server that writes bare LFs throughout is met as
/// well: as long as the body has not had a single CRLF, LF counts as a line end, and `LF . LF` or `LF . CRLF` ends it.
#[derive(Debug, Default)]
pub struct Unstuffer {
    state: State,
    /// A CRLF was seen in this body.
    had_crlf: bool,
    /// A bare LF ended a line of it before any CRLF did.
    had_bare: bool,
    ended_bare: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the start of a line.
    #[default]
    Start,
    /// Inside a line; whether the last octet was CR.
    Inside(bool),
    /// Behind a dot at the start of a line, which is held back.
    Dot,
    /// Behind such a dot and a CR, both held back.
    DotCr,
    Done,
}

impl Unstuffer {
    /// Whether the end of the response was met.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the response ended with bare LFs, which a message could hold by chance: what follows must be a status line.
    pub fn ended_bare(&self) -> bool {
        self.ended_bare
    }

    /// Takes the next octets, hands the message's own to `sink`, and tells how many belong to this response: all of them
    /// until it is done.
    ///
    /// # Errors
    /// What `sink` returns.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        // Octets from `kept` to `at` are known to be the message's and not handed over yet.
        let (mut kept, mut at) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            match self.state {
                State::Done => break,
                State::Start => {
                    if byte == b'.' {
                        hand_over(chunk, kept, at, sink)?;
                        kept = at + 1;
                        at += 1;
                        self.state = State::Dot;
                    } else {
                        self.state = State::Inside(false);
                    }
                }
                State::Inside(last_was_cr) => {
                    let rest = chunk.get(at..).unwrap_or_default();
                    let Some(offset) = memchr::memchr(b'\n', rest) else {
                        self.state = State::Inside(rest.last() == Some(&b'\r'));
                        at = chunk.len();
                        continue;
                    };
                    let crlf = match offset.checked_sub(1) {
                        Some(before) => rest.get(before) == Some(&b'\r'),
                        None => last_was_cr,
                    };
                    self.had_crlf |= crlf;
                    self.had_bare |= !self.had_crlf;
                    self.state = if crlf || !self.had_crlf { State::Start } else { State::Inside(false) };
                    at += offset + 1;
                }
                State::Dot => match byte {
                    b'\r' => {
                        at += 1;
                        kept = at;
                        self.state = State::DotCr;
                    }
                    b'\n' if !self.had_crlf => {
                        at += 1;
                        kept = at;
                        self.ended_bare = true;
                        self.state = State::Done;
                    }
                    // The dot stood for itself or was stuffed: either way it is not the message's.
                    _ => self.state = State::Inside(false),
                },
                State::DotCr => {
                    if byte == b'\n' {
                        at += 1;
                        kept = at;
                        self.ended_bare = self.had_bare && !self.had_crlf;
                        self.state = State::Done;
                    } else {
                        sink(b"\r")?;
                        self.state = State::Inside(true);
                    }
                }
            }
        }
        hand_over(chunk, kept, at, sink)?;
        Ok(at)
    }
}

fn hand_over(chunk: &[u8], from: usize, to: usize, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match chunk.get(from..to) {
        Some(piece) if !piece.is_empty() => sink(piece),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a server that ends lines with CRLF sends for `message`.
    fn stuff(message: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (index, &byte) in message.iter().enumerate() {
            if byte == b'.' && (index == 0 || message[..index].ends_with(b"\r\n")) {
                wire.push(b'.');
            }
            wire.push(byte);
        }
        if !message.is_empty() && !message.ends_with(b"\r\n") {
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }

    /// The message and how many octets of `wire` were its response, fed in the pieces that `cuts` make.
    fn unstuff(wire: &[u8], cuts: &[usize]) -> Option<(Vec<u8>, usize)> {
        let mut unstuffer = Unstuffer::default();
        let mut message = Vec::new();
        let mut used = 0;
        let mut from = 0;
        for &to in cuts.iter().chain([&wire.len()]) {
            used += unstuffer
                .feed(&wire[from..to], &mut |piece| {
                    message.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            from = to;
        }
        unstuffer.is_done().then_some((message, used))
    }

    #[test]
    fn every_cut_of_a_response_gives_the_same_message() {
        for (wire, message) in [
            (&b"A: b\r\n\r\n..x\r\n...\r\n.\r\n+OK next\r\n"[..], &b"A: b\r\n\r\n.x\r\n..\r\n"[..]),
            (b".\r\n+OK", b""),
            (b"..\r\n.\r\n+OK", b".\r\n"),
            (b"a\r\nb\n.\nc\n..d\r\n.\r\n+OK", b"a\r\nb\n.\nc\n..d\r\n"),
            (b"a\r\nb\r.\rc\r\r\n..\r\r\n.\r\n+OK", b"a\r\nb\r.\rc\r\r\n.\r\r\n"),
            (b"a\r\n.\rx\r\n.\r\n+OK", b"a\r\n\rx\r\n"),
            (b"a\r\n\0\xff\n\r\n.\r\n+OK", b"a\r\n\0\xff\n\r\n"),
            (b"a\n..b\n.\n+OK", b"a\n.b\n"),
            (b"a\nb\n.\r\n+OK", b"a\nb\n"),
        ] {
            let expected = Some((message.to_vec(), wire.iter().rposition(|&byte| byte == b'+').unwrap()));
            for first in 0..=wire.len() {
                for second in first..=wire.len() {
                    assert_eq!(unstuff(wire, &[first, second]), expected, "{:?} at {first}, {second}", wire.escape_ascii().to_string());
                }
            }
        }
    }

    #[test]
    fn a_dot_that_is_not_alone_on_its_line_never_ends_a_response() {
        for wire in
            [&b"a\r\n."[..], b"a\r\n.\r", b"a\r\n. \r\n", b"a\r\nb.\r\n", b"a\r\n.\n", b"a\r\nb\n.\r\n", b"a\r\nb\r.\r\n", b"a\r\n..\r\n"]
        {
            assert_eq!(unstuff(wire, &[]), None, "{:?}", wire.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_long_line_comes_out_whole() {
        let mut message = vec![b'.'; 300_000];
        message.extend_from_slice(b"\r\n");
        let wire = stuff(&message);
        assert_eq!(unstuff(&wire, &[1, 100_000]), Some((message, wire.len())));
    }

    proptest! {
        #[test]
        fn stuffing_and_unstuffing_is_identity(
            parts in prop::collection::vec(prop::sample::select(vec![&b"\r\n"[..], b"\n", b"\r", b".", b"..", b"\0", b"\xff", b"x", b"\r\n.\r", b"\n.\n"]), 0..40),
            cuts in prop::collection::vec(0_usize..400, 0..6),
        ) {
            // A message begins with a header, hence with a CRLF before any bare LF.
            let message = [&b"A: b\r\n"[..], &parts.concat(), b"\r\n"].concat();
            let wire = stuff(&message);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.sort_unstable();
            prop_assert_eq!(unstuff(&wire, &cuts), Some((message, wire.len())));
        }

        #[test]
        fn any_octets_give_the_same_however_they_are_cut(wire in prop::collection::vec(prop::sample::select(b"\r\n.xy".to_vec()), 0..60), cut in 0_usize..60) {
            prop_assert_eq!(unstuff(&wire, &[cut.min(wire.len())]), unstuff(&wire, &[]));
        }

        #[test]
        fn the_line_grammars_are_total(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (status(&line), challenge(&line), list_line(&line), uidl_line(&line));
            Capabilities::default().add(&line);
        }
    }

    #[test]
    fn a_status_line_splits_into_status_code_and_words() {
        let reply = status(b"-ERR [IN-USE] maildrop locked").unwrap();
        assert_eq!(reply, Reply { ok: false, code: Some("IN-USE".into()), text: "maildrop locked".into() });
        assert!(reply.is_temporary());
        assert_eq!(reply.words(), "-ERR [IN-USE] maildrop locked");
        assert_eq!(status(b"-err [sys/temp]").unwrap().code.unwrap(), "SYS/TEMP");
        assert_eq!(status(b"+OK [host.example.org] hi").unwrap(), Reply { ok: true, code: None, text: "[host.example.org] hi".into() });
        assert_eq!(status(b"+OK").unwrap().words(), "+OK");
        assert!(!status(b"-ERR [AUTH] no").unwrap().is_temporary());
        for junk in [&b""[..], b"+", b"* OK IMAP", b"220 smtp", b"-ER", b"OK"] {
            assert!(status(junk).is_none());
        }
    }

    #[test]
    fn capabilities_are_read_whatever_their_case() {
        let mut capabilities = Capabilities::default();
        for line in [
            "top",
            "UIDL",
            "SASL PLAIN xoauth2",
            "STLS",
            "PIPELINING",
            "RESP-CODES",
            "EXPIRE 30 USER",
            "LOGIN-DELAY 60 USER",
            "X-NEW 1",
            "IMPLEMENTATION a b",
            "UTF8 USER",
        ] {
            capabilities.add(line.as_bytes());
        }
        assert!(capabilities.known && capabilities.top && capabilities.uidl && capabilities.stls && capabilities.pipelining);
        assert!(!capabilities.user && capabilities.utf8 && capabilities.resp_codes);
        assert!(capabilities.offers("XOAUTH2"));
        assert_eq!(capabilities.login_delay, Some(60));
        assert_eq!(capabilities.expire.as_deref(), Some("30 USER"));
        assert_eq!(capabilities.implementation.as_deref(), Some("a b"));
        assert_eq!(capabilities.other, ["X-NEW 1"]);
    }

    #[test]
    fn listings_tolerate_what_servers_write() {
        assert_eq!(list_line(b" 2  200 extra"), Some((2, Some(200))));
        assert_eq!(list_line(b"2"), Some((2, None)));
        assert_eq!(list_line(b"2 -1"), Some((2, None)));
        for junk in [&b""[..], b"x", b"0 1", b"-1 1", b"2x 1", b"4294967296 1"] {
            assert_eq!(list_line(junk), None);
        }
        assert_eq!(uidl_line(b"1 a b "), Some((1, Some("a b".into()))));
        assert_eq!(uidl_line(b"1 "), Some((1, None)));
        assert_eq!(uidl_line(b"1 \xff\x01"), Some((1, Some(" ff01".into()))));
        assert_eq!(Stat::parse("2 320 more"), Some(Stat { messages: 2, octets: 320 }));
        assert_eq!(Stat::parse("two"), None);
    }

    #[test]
    fn a_challenge_is_decoded_where_it_is_base64() {
        assert_eq!(challenge(b"+ ").unwrap(), b"");
        assert_eq!(challenge(b"+").unwrap(), b"");
        assert_eq!(challenge(b"+ VXNlcm5hbWU6").unwrap(), b"Username:");
        assert_eq!(challenge(b"+ go ahead!").unwrap(), b"go ahead!");
        assert_eq!(challenge(b"+OK"), None);
    }
}
