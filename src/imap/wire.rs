//! The wire: cuts the stream into whole responses before any grammar runs, numbers commands, chooses the form of
//! literals, and refuses to write what a read-only session must not. It knows no mailbox and decides nothing.

use std::collections::VecDeque;

use super::encode::{Command, Part};
use super::parse;
use super::types::{Frame, Literal, LiteralData, Response, Status, StatusLine, Untagged};
use crate::error::{Error, Kind, Result, Scope};
use crate::message::{Body, Digester, Digests};
use crate::net::{Conn, Phase};

/// The longest line, in octets.
const MAX_LINE: usize = 1024 * 1024;
/// The longest line of an answer to SEARCH: some two million UIDs.
const MAX_SEARCH_LINE: usize = 16 * 1024 * 1024;
/// The most octets one response may hold beside message bodies.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;
/// The largest literal that is no message body.
const MAX_LITERAL: u64 = 1024 * 1024;
/// The largest message body.
const MAX_BODY: u64 = 2 * 1024 * 1024 * 1024;
/// Literals in one response.
const MAX_LITERALS: usize = 10_000;
/// Message bodies in one response: two are one too many, and more are no slip.
const MAX_BODIES: usize = 16;
/// Responses to one command that bring nothing; more is a flood.
pub(super) const MAX_IDLE_RESPONSES: u64 = 1_000_000;
/// Responses put aside while a `+` is awaited, and the octets they came in.
const MAX_PENDING: usize = 10_000;
const MAX_PENDING_OCTETS: u64 = 16 * 1024 * 1024;

/// Commands that change nothing on a server (FETCH always with PEEK here, CLOSE only behind EXAMINE, for SELECT is none of them).
const READING: &[&str] = &[
    "AUTHENTICATE",
    "CAPABILITY",
    "CLOSE",
    "COMPRESS",
    "ENABLE",
    "EXAMINE",
    "FETCH",
    "GETQUOTAROOT",
    "ID",
    "LIST",
    "LOGIN",
    "LOGOUT",
    "LSUB",
    "NAMESPACE",
    "NOOP",
    "STARTTLS",
    "STATUS",
    "UID FETCH",
    "UID SEARCH",
    "UID SORT",
    "UNSELECT",
];

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only commands that change nothing.
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// How a literal may go out without waiting for the server's `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LiteralForm {
    /// Never.
    Synchronising,
    /// LITERAL-: up to 4096 octets (RFC 7888).
    Short,
    /// LITERAL+.
    Any,
}

impl LiteralForm {
    pub(super) fn waits(self, octets: u64) -> bool {
        match self {
            Self::Synchronising => true,
            Self::Short => octets > 4096,
            Self::Any => false,
        }
    }
}

/// A response and the message body that came inside it, if one did.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) response: Response,
    pub(super) body: Option<Streamed>,
}

/// A message body as it came off the wire.
pub(super) struct Streamed {
    pub(super) body: Body,
    pub(super) digests: Digests,
    /// A response with several bodies cannot be trusted with any.
    pub(super) alone: bool,
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} octets]", self.body.len())
    }
}

/// One connection that speaks in tagged commands.
pub(super) struct Wire {
    pub(super) conn: Conn,
    access: Access,
    pub(super) literals: LiteralForm,
    tags: u64,
    /// Tags whose end has not been seen.
    in_flight: VecDeque<String>,
    /// Ends seen while another command's was awaited.
    ended: VecDeque<(String, StatusLine)>,
    /// Responses put aside while a `+` was awaited.
    pending: VecDeque<Received>,
    line: Vec<u8>,
    pub(super) line_limit: usize,
    /// Responses beyond [`MAX_IDLE_RESPONSES`] that the command under way may bring.
    pub(super) expected: u64,
    /// The server's last untagged BYE.
    farewell: Option<String>,
    /// Commands that went out before anybody asked for them, in order, and their tags.
    ahead: VecDeque<(Command, String)>,
    /// Answers of the commands that went ahead have been read by somebody else, so they are good for nothing.
    spoiled: bool,
}

impl Wire {
    pub(super) fn new(conn: Conn, access: Access) -> Self {
        Self {
            conn,
            access,
            literals: LiteralForm::Synchronising,
            tags: 0,
            in_flight: VecDeque::new(),
            ended: VecDeque::new(),
            pending: VecDeque::new(),
            line: Vec::new(),
            line_limit: MAX_LINE,
            expected: 0,
            farewell: None,
            ahead: VecDeque::new(),
            spoiled: false,
        }
    }

    /// Whether it may send only what changes nothing.
    pub(super) fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    /// Lets lines be as long as an answer to SEARCH may be.
    pub(super) fn expect_long_lines(&mut self, expect: bool) {
        self.line_limit = if expect { MAX_SEARCH_LINE } else { MAX_LINE };
    }

    /// Queues a command; a synchronising literal in it is waited for. Returns its tag. Where just this command went ahead
    /// already, its tag is all there is to do.
    pub(super) fn send(&mut self, command: &Command) -> Result<String> {
        self.ask(command).map(|(tag, _)| tag)
    }

    /// As [`Self::send`]; says whether the command had gone ahead.
    pub(super) fn ask(&mut self, command: &Command) -> Result<(String, bool)> {
        if self.is_next_ahead(command)
            && let Some((_, tag)) = self.ahead.pop_front()
        {
            return Ok((tag, true));
        }
        let tag = self.begin(command)?;
        self.text(b"\r\n")?;
        Ok((tag, false))
    }

    /// Queues a command that somebody will ask for by and by. `false`, and nothing is sent, where it would have to wait for
    /// the server in its middle.
    pub(super) fn send_ahead(&mut self, command: &Command) -> Result<bool> {
        let waits = |part: &Part| match part {
            Part::Literal(bytes) | Part::SecretLiteral(bytes) => self.literals.waits(bytes.len() as u64),
            Part::Text(_) | Part::Secret(_) => false,
        };
        if command.parts().iter().any(waits) {
            return Ok(false);
        }
        let tag = self.start(command)?;
        self.text(b"\r\n")?;
        self.ahead.push_back((command.clone(), tag));
        Ok(true)
    }

    /// Whether something went ahead and has not been asked for.
    pub(super) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether this command is the one that went ahead, and all of its answer is still to be read.
    pub(super) fn is_next_ahead(&self, command: &Command) -> bool {
        let next = self.ahead.front().filter(|_| !self.spoiled);
        next.is_some_and(|(ahead, tag)| ahead == command && self.ended.iter().all(|(ended, _)| ended != tag))
    }

    /// Says that an answer to what went ahead was read too early.
    pub(super) fn spoil_ahead(&mut self) {
        self.spoiled = !self.ahead.is_empty();
    }

    /// Reads and forgets the answers to what went ahead: nobody wants it any more.
    pub(super) fn drop_ahead(&mut self) -> Result<()> {
        if self.ahead.is_empty() {
            return Ok(());
        }
        let limit = std::mem::replace(&mut self.line_limit, MAX_SEARCH_LINE);
        let mut outcome = Ok(());
        while let Some((_, tag)) = self.ahead.pop_front().filter(|_| outcome.is_ok()) {
            self.conn.deadline(Phase::Listing);
            outcome = self.finish_any(&tag, &mut |_| Ok(())).map(drop);
        }
        self.line_limit = limit;
        self.spoiled = false;
        outcome
    }

    /// As [`Self::send`] without the line end: an APPEND goes on.
    pub(super) fn begin(&mut self, command: &Command) -> Result<String> {
        self.drop_ahead()?;
        self.start(command)
    }

    fn start(&mut self, command: &Command) -> Result<String> {
        self.permit(command)?;
        self.tags += 1;
        let tag = format!("A{}", self.tags);
        self.in_flight.push_back(tag.clone());
        let mut line = format!("{tag} ").into_bytes();
        let mut shown: Option<Vec<u8>> = None;
        for part in command.parts() {
            match part {
                Part::Text(text) => {
                    line.extend_from_slice(text);
                    if let Some(shown) = &mut shown {
                        shown.extend_from_slice(text);
                    }
                }
                Part::Secret(secret) => {
                    shown.get_or_insert_with(|| line.clone()).extend_from_slice(b"***");
                    line.extend_from_slice(secret);
                }
                Part::Literal(bytes) | Part::SecretLiteral(bytes) => {
                    let waits = self.literals.waits(bytes.len() as u64);
                    line.extend_from_slice(format!("{{{}{}}}\r\n", bytes.len(), if waits { "" } else { "+" }).as_bytes());
                    let secret = matches!(part, Part::SecretLiteral(_));
                    if let Some(shown) = &mut shown {
                        shown.extend_from_slice(b"{...}");
                    }
                    self.line_out(&line, shown.take().as_deref().or(if secret { Some(b"{...}") } else { None }))?;
                    line.clear();
                    if waits && let Some(status) = self.await_continuation(&tag)? {
                        return Err(refusal("the server refused the command", &status));
                    }
                    if secret {
                        self.conn.write_secret(bytes, "***")?;
                    } else {
                        self.conn.write_body(bytes)?;
                    }
                }
            }
        }
        self.line_out(&line, shown.as_deref())?;
        Ok(tag)
    }

    fn line_out(&mut self, line: &[u8], shown: Option<&[u8]>) -> Result<()> {
        match shown {
            Some(shown) => self.conn.write_secret(line, &String::from_utf8_lossy(shown)),
            None => self.conn.write(line),
        }
    }

    /// Goes on with a command begun: text that our own code made of checked parts.
    pub(super) fn text(&mut self, bytes: &[u8]) -> Result<()> {
        self.conn.write(bytes)
    }

    fn permit(&mut self, command: &Command) -> Result<()> {
        if self.access == Access::ReadWrite {
            return Ok(());
        }
        let reads = match command.parts().first() {
            Some(Part::Text(text)) => {
                READING.iter().any(|name| text.strip_prefix(name.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b' '))))
            }
            _ => false,
        };
        if reads { Ok(()) } else { Err(Error::usage(format!("{command} would change a server that this command must not change"))) }
    }

    /// Waits for the `+` of the command `tag`; what else comes is kept for later. A refusal ends the command instead.
    pub(super) fn await_continuation(&mut self, tag: &str) -> Result<Option<StatusLine>> {
        self.conn.flush().map_err(|error| self.with_farewell(error))?;
        // The phase that was begun last may be long over: an idle session, say.
        self.conn.deadline(Phase::Command);
        let before = self.conn.received();
        loop {
            let received = self.receive_new()?;
            match &received.response {
                Response::Continuation(_) => return Ok(None),
                Response::Tagged { tag: ended, status } if ended == tag => {
                    let status = status.clone();
                    self.forget(tag);
                    return Ok(Some(status));
                }
                _ if self.pending.len() >= MAX_PENDING || self.conn.received() - before > MAX_PENDING_OCTETS => {
                    self.conn.poison();
                    return Err(Error::protocol("the server sent a flood of responses in place of its agreement to go on"));
                }
                _ => self.pending.push_back(received),
            }
        }
    }

    /// The next response, after sending what is queued.
    pub(super) fn receive(&mut self) -> Result<Received> {
        if let Some(received) = self.pending.pop_front() {
            return Ok(received);
        }
        if let Err(error) = self.conn.flush() {
            // What the server said before it hung up still counts.
            return self.receive_new().map_err(|_| self.with_farewell(error));
        }
        self.receive_new()
    }

    fn receive_new(&mut self) -> Result<Received> {
        let mut received = self.frame().map_err(|error| self.with_farewell(error))?;
        if let Response::Untagged(Untagged::Status(status)) | Response::Tagged { status, .. } = &mut received.response {
            // These words get into errors; whatever secret a server quotes in them ends here.
            status.text = self.conn.redact(&status.text);
            status.code_text = status.code_text.take().map(|text| self.conn.redact(&text));
        }
        match &received.response {
            Response::Untagged(Untagged::Status(status)) if status.status == Status::Bye => self.farewell = Some(status.words()),
            Response::Tagged { .. } => self.conn.context().step("net.reply"),
            _ => {}
        }
        Ok(received)
    }

    fn with_farewell(&self, error: Error) -> Error {
        match &self.farewell {
            Some(words) if error.kind() == Kind::Network => error.said(words.clone()),
            _ => error,
        }
    }

    /// Cuts one response off the stream.
    fn frame(&mut self) -> Result<Received> {
        let mut frame = Frame::default();
        let mut streamed: Option<Streamed> = None;
        let mut inline = 0;
        let mut bodies = 0;
        loop {
            let mut line = std::mem::take(&mut self.line);
            let read = self.conn.read_line(self.line_limit, &mut line);
            let start = frame.bytes.len();
            if start == 0 {
                // The first line of a response may be long, and most have no other.
                std::mem::swap(&mut frame.bytes, &mut line);
            } else {
                frame.bytes.extend_from_slice(&line);
            }
            self.line = line;
            read?;
            let announced = match parse::announced_literal(&frame.bytes, start) {
                Ok(Some(announced)) => announced,
                Ok(None) => return Ok(Received { response: parse::response(frame), body: streamed }),
                Err(error) => {
                    self.conn.poison();
                    return Err(error);
                }
            };
            let limit = if announced.body { MAX_BODY } else { MAX_LITERAL };
            if announced.octets > limit || frame.bytes.len() + inline > MAX_RESPONSE {
                self.conn.poison();
                return Err(Error::protocol(format!("the server announced {} octets where at most {limit} make sense", announced.octets)));
            }
            bodies += usize::from(announced.body);
            if frame.literals.len() >= MAX_LITERALS || bodies > MAX_BODIES {
                self.conn.poison();
                return Err(Error::protocol("the server sent a response of more literals than make sense"));
            }
            let at = frame.bytes.len();
            let data = if announced.body {
                let mut body = Body::for_octets(announced.octets);
                let mut digester = Digester::default();
                self.conn.read_exact_into(announced.octets, &mut |bytes| {
                    digester.update(bytes);
                    body.push(bytes)
                })?;
                let alone = streamed.is_none();
                streamed = Some(Streamed { body, digests: digester.finish(), alone });
                LiteralData::Streamed(announced.octets)
            } else {
                let mut octets = Vec::new();
                self.conn.read_exact_into(announced.octets, &mut |bytes| {
                    octets.extend_from_slice(bytes);
                    Ok(())
                })?;
                inline += octets.len();
                LiteralData::Inline(octets)
            };
            frame.literals.push(Literal { at, data });
        }
    }

    /// Reads responses until the command `tag` ends; `each` sees all others. Any end but OK is an error that keeps the
    /// server's words.
    pub(super) fn finish(&mut self, tag: &str, what: &str, each: &mut dyn FnMut(Received) -> Result<()>) -> Result<StatusLine> {
        let status = self.finish_any(tag, each)?;
        if status.is_ok() { Ok(status) } else { Err(refusal(what, &status)) }
    }

    /// As [`Self::finish`], whatever the end.
    pub(super) fn finish_any(&mut self, tag: &str, each: &mut dyn FnMut(Received) -> Result<()>) -> Result<StatusLine> {
        let mut idle = 0;
        loop {
            if let Some(at) = self.ended.iter().position(|(ended, _)| ended == tag)
                && let Some((_, status)) = self.ended.remove(at)
            {
                return Ok(status);
            }
            let received = self.receive()?;
            match received.response {
                Response::Tagged { tag: ended, status } => self.end(ended, status)?,
                response => {
                    idle += 1;
                    if idle > MAX_IDLE_RESPONSES.saturating_add(self.expected) {
                        return Err(self.flooded());
                    }
                    each(Received { response, body: received.body })?;
                }
            }
        }
    }

    /// Gives the connection up over responses without end.
    pub(super) fn flooded(&mut self) -> Error {
        self.conn.poison();
        Error::protocol("the server sent a million responses that bring nothing and no end of the command")
    }

    /// Takes note of a command's end.
    pub(super) fn end(&mut self, tag: String, status: StatusLine) -> Result<()> {
        if !self.in_flight.contains(&tag) {
            self.conn.poison();
            let shown: String = self.conn.redact(&tag).chars().take(40).collect();
            return Err(Error::protocol(format!("the server ended a command that was never sent ({shown:?})")));
        }
        self.forget(&tag);
        self.ended.push_back((tag, status));
        Ok(())
    }

    /// Takes the end of `tag` if it was noted.
    pub(super) fn take_end(&mut self, tag: &str) -> Option<StatusLine> {
        let at = self.ended.iter().position(|(ended, _)| ended == tag)?;
        self.ended.remove(at).map(|(_, status)| status)
    }

    fn forget(&mut self, tag: &str) {
        self.in_flight.retain(|other| other != tag);
    }

    /// Whether all commands are answered, and no response waits to be read.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.pending.is_empty() && self.ahead.is_empty()
    }

    /// Whether a response can be had without waiting.
    pub(super) fn has_response(&mut self) -> Result<bool> {
        Ok(!self.pending.is_empty() || self.conn.readable()?)
    }
}

/// A refusal as an error: what it ruined depends on who asked, the mailbox unless they say otherwise.
pub(super) fn refusal(what: &str, status: &StatusLine) -> Error {
    use super::types::Code;
    let error = match &status.code {
        Some(Code::OverQuota) => Error::new(Kind::Quota, what).scoped(Scope::Message),
        _ if status.slows() => Error::new(Kind::Busy, what),
        Some(Code::Unavailable | Code::InUse | Code::ServerBug) => Error::new(Kind::Busy, what).scoped(Scope::Mailbox),
        _ => Error::refused(what),
    };
    error.said(status.words())
}
