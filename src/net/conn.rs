//! The polling facade over one socket: blocking to its callers, non-blocking underneath. Whenever a write would block,
//! whatever can be read is drained into the bounded read buffer, so a full window cannot deadlock; a deadline covers a
//! whole phase, so drip-feeding does not outlive it. The one file that reads and writes sockets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use native_tls::TlsStream;
use rustix::event::PollFlags;

use super::ahead::Ahead;
use super::deadline::{Phase, Waiter};
use super::deflate::Deflate;
use super::dial::{self, Endpoint, Load, Security};
use super::tls;
use super::trace::Trace;
use crate::context::{Context, Moment};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Octets of the read buffer: the answers to a full window of requests fit several times.
const INPUT: usize = 256 * 1024;
/// Queued octets above which [`Conn::write`] sends on its own.
const OUTPUT: usize = 64 * 1024;
/// So many octets have to move for a deadline to be renewed: a drip never gets there.
const PROGRESS: u64 = 4096;
/// So many octets of a line are searched for secrets before the trace shows its beginning.
const SEARCHED: usize = 8000;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Ahead>>),
    /// Compressed, inside one of the two above.
    Deflate(Box<(Stream, Deflate)>),
    /// Between two states of an upgrade that failed.
    Gone,
}

impl Stream {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().tcp()),
            Self::Deflate(inner) => inner.0.tcp(),
            Self::Gone => None,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
            Self::Deflate(inner) => {
                let (below, deflate) = inner.as_mut();
                deflate.read(into, &mut |piece| below.read(piece))
            }
            Self::Gone => Ok(0),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
            Self::Deflate(inner) => {
                let (below, deflate) = inner.as_mut();
                deflate.write(bytes, &mut |piece| below.write(piece))
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn deflate(&self) -> Option<&Deflate> {
        match self {
            Self::Deflate(inner) => Some(&inner.1),
            _ => None,
        }
    }

    /// Whether something was taken by [`Self::write`] and is not out yet.
    fn owes(&self) -> bool {
        self.deflate().is_some_and(Deflate::owes)
    }
}

/// What a connection did so far, for whoever wants to know what limits it.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// When this was told.
    pub at: Moment,
    /// How long octets were waited for.
    pub waited: Duration,
    /// Octets received.
    pub received: u64,
}

/// One connection.
pub struct Conn {
    stream: Stream,
    endpoint: Endpoint,
    context: Context,
    trace: Trace,
    number: u64,
    waiter: Waiter,
    /// Octets received when the deadline was last renewed.
    renewed_at: u64,
    input: Vec<u8>,
    /// Unread octets of `input`.
    unread: std::ops::Range<usize>,
    output: Vec<u8>,
    /// Octets of `output` that are out already.
    written: usize,
    received: u64,
    sent: u64,
    /// Octets that went over the wire while it was not compressed.
    plain: (u64, u64),
    /// How long octets were waited for.
    waited: Duration,
    /// Something was sent that nothing came after yet.
    asked: bool,
    /// How often something came after something was sent.
    round_trips: u64,
    /// Why nothing can be had from this connection any more (what is buffered is still good).
    broken: Option<(Kind, String)>,
    /// What the trace must not show even where the server echoes it.
    hidden: Vec<Secret>,
}

impl Conn {
    /// Connects; with [`Security::Implicit`] TLS stands when this returns.
    ///
    /// # Errors
    /// [`Kind::Network`] or `Timeout`; `Usage` for a plain connection that may not be.
    pub fn dial(endpoint: &Endpoint, context: &Context, trace: &Trace) -> Result<Self> {
        Self::dial_for(Load::Up, endpoint, context, trace)
    }

    /// The same for one that sends no message.
    ///
    /// # Errors
    /// As [`Self::dial`].
    pub fn dial_to_read(endpoint: &Endpoint, context: &Context, trace: &Trace) -> Result<Self> {
        Self::dial_for(Load::Down, endpoint, context, trace)
    }

    fn dial_for(load: Load, endpoint: &Endpoint, context: &Context, trace: &Trace) -> Result<Self> {
        let number = trace.next_connection();
        trace.line(number, "--", format!("connecting to {} port {}", endpoint.host, endpoint.port).as_bytes());
        let mut waiter = Waiter::new(context, Phase::Connect, endpoint.timeout);
        endpoint.prepare();
        let tcp = dial::connect(endpoint, load, &mut waiter)?;
        let mut conn = Self {
            stream: Stream::Plain(tcp),
            endpoint: endpoint.clone(),
            context: context.clone(),
            trace: trace.clone(),
            number,
            waiter,
            renewed_at: 0,
            input: vec![0; INPUT],
            unread: 0..0,
            output: Vec::new(),
            written: 0,
            received: 0,
            sent: 0,
            plain: (0, 0),
            waited: Duration::ZERO,
            asked: false,
            round_trips: 0,
            broken: None,
            hidden: Vec::new(),
        };
        if endpoint.security == Security::Implicit {
            conn.handshake()?;
        }
        Ok(conn)
    }

    /// Upgrades to TLS after the server agreed.
    ///
    /// # Errors
    /// [`Kind::Protocol`] when an octet is already there behind the agreement (response injection, CVE-2021-22947's
    /// class); [`Kind::Network`] when TLS does not come to stand. Either way the connection is gone.
    pub fn start_tls(&mut self) -> Result<()> {
        self.flush()?;
        if self.unread.is_empty() {
            self.read_some()?;
        }
        if !self.unread.is_empty() {
            self.poison();
            return Err(Error::protocol(
                "the server sent more before TLS than its agreement to start it (somebody may be tampering with the connection)",
            ));
        }
        self.handshake()
    }

    /// Goes on compressed after the server agreed (RFC 4978).
    ///
    /// # Errors
    /// [`Kind::Protocol`] when an octet is already there behind the agreement; the connection is gone then.
    pub fn start_deflate(&mut self) -> Result<()> {
        self.flush()?;
        if self.unread.is_empty() {
            self.read_some()?;
        }
        if !self.unread.is_empty() {
            self.poison();
            return Err(Error::protocol("the server sent more than its agreement to compress"));
        }
        self.plain = (self.received, self.sent);
        self.stream = match std::mem::replace(&mut self.stream, Stream::Gone) {
            // Twice would be once too often.
            compressed @ (Stream::Deflate(_) | Stream::Gone) => compressed,
            below => Stream::Deflate(Box::new((below, Deflate::new()))),
        };
        self.note("compressed from here on");
        Ok(())
    }

    /// Whether it is compressed.
    pub fn is_compressed(&self) -> bool {
        self.stream.deflate().is_some()
    }

    /// Whether the server's octets could not be expanded.
    pub fn is_garbled(&self) -> bool {
        self.stream.deflate().is_some_and(Deflate::is_garbled)
    }

    /// What it did so far.
    pub fn tally(&self) -> Tally {
        Tally { at: self.context.now(), waited: self.waited, received: self.received }
    }

    fn handshake(&mut self) -> Result<()> {
        self.deadline(Phase::Tls);
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(Error::protocol("TLS stands already"));
        };
        match tls::handshake(tcp, &self.endpoint, &mut self.waiter) {
            Ok(stream) => {
                self.stream = Stream::Tls(Box::new(stream));
                self.note("TLS stands");
                Ok(())
            }
            Err(error) => {
                self.broken = Some((error.kind(), error.message().to_owned()));
                Err(error)
            }
        }
    }

    /// Keeps `secret` out of the trace of what the server says: servers echo what they got.
    pub fn hide(&mut self, secret: Secret) {
        self.hidden.push(secret);
    }

    /// `text` without anything that is to be hidden.
    pub fn redact(&self, text: &str) -> String {
        // The last first: frames are hidden after the secrets they hold.
        self.hidden.iter().rev().fold(text.to_owned(), |text, secret| secret.redact(&text))
    }

    /// Whether TLS stands.
    pub fn is_encrypted(&self) -> bool {
        match &self.stream {
            Stream::Tls(_) => true,
            Stream::Deflate(inner) => matches!(inner.0, Stream::Tls(_)),
            _ => false,
        }
    }

    /// Starts a phase: its deadline counts from now.
    pub fn deadline(&mut self, phase: Phase) {
        self.waiter = Waiter::new(&self.context, phase, self.endpoint.timeout);
        self.renewed_at = self.on_wire().0;
    }

    /// Reads one line of at most `max` octets into `line` (cleared first), without its CRLF or LF.
    ///
    /// # Errors
    /// [`Kind::Network`] at the end of the connection, `Timeout`, `Protocol` for a longer line.
    pub fn read_line(&mut self, max: usize, line: &mut Vec<u8>) -> Result<()> {
        line.clear();
        loop {
            let buffered = self.fill()?;
            let end = memchr::memchr(b'\n', buffered);
            let piece = buffered.get(..end.unwrap_or(buffered.len())).unwrap_or_default();
            let whole = line.len() + piece.len();
            if whole > max + 1 {
                self.poison();
                return Err(Error::protocol(format!("the server sent a line of more than {max} octets")));
            }
            line.extend_from_slice(piece);
            let taken = piece.len() + usize::from(end.is_some());
            self.consume(taken);
            if end.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if self.trace.is_on() && !self.hidden.is_empty() {
                    // Searching is dear, and of a long line only the beginning is shown.
                    let start = line.get(..line.len().min(SEARCHED)).unwrap_or_default();
                    let cut = if line.len() > SEARCHED { format!(" [… {} octets in all]", line.len()) } else { String::new() };
                    let shown = self.redact(&String::from_utf8_lossy(start));
                    self.trace.line(self.number, "S:", format!("{shown}{cut}").as_bytes());
                } else {
                    self.trace.line(self.number, "S:", line);
                }
                return Ok(());
            }
        }
    }

    /// Hands exactly `count` octets to `sink`, in pieces.
    ///
    /// # Errors
    /// As [`Self::read_line`], or what `sink` returned; then the connection is poisoned, because the rest was not read.
    pub fn read_exact_into(&mut self, count: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.trace.is_on() {
            self.trace.line(self.number, "S:", format!("[{count} octets]").as_bytes());
        }
        let mut left = count;
        while left > 0 {
            let buffered = self.fill()?;
            let taken = buffered.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let outcome = sink(buffered.get(..taken).unwrap_or_default());
            self.consume(taken);
            left -= taken as u64;
            if let Err(error) = outcome {
                self.poison();
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is buffered, after waiting for at least one octet.
    ///
    /// # Errors
    /// As [`Self::read_line`].
    pub fn fill(&mut self) -> Result<&[u8]> {
        while self.unread.is_empty() {
            if self.read_some()? == 0 {
                let before = self.context.now();
                let waited = self.wait(PollFlags::IN);
                self.waited += self.context.now().since(before);
                waited?;
            }
        }
        Ok(self.input.get(self.unread.clone()).unwrap_or_default())
    }

    /// Takes `count` octets of what [`Self::fill`] showed.
    pub fn consume(&mut self, count: usize) {
        self.unread.start = (self.unread.start + count).min(self.unread.end);
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
    }

    /// Whether an octet can be read without waiting. An ended connection counts: reading it tells why.
    ///
    /// # Errors
    /// Never today; callers treat it like any read.
    pub fn readable(&mut self) -> Result<bool> {
        Ok(!self.unread.is_empty() || self.broken.is_some() || !matches!(self.read_some(), Ok(0)))
    }

    /// Queues a command (with its line end), shown in the trace as it is.
    ///
    /// # Errors
    /// As [`Self::flush`], when enough is queued to send.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.trace.is_on() {
            for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                self.trace.line(self.number, "C:", line.trim_ascii_end());
            }
        }
        self.queue(bytes)
    }

    /// Queues octets that hold a secret; the trace shows `shown` instead. Refused where TLS was asked for and does not stand.
    ///
    /// # Errors
    /// As [`Self::flush`]; [`Kind::Network`] without TLS.
    pub fn write_secret(&mut self, bytes: &[u8], shown: &str) -> Result<()> {
        if self.endpoint.security != Security::None && !self.is_encrypted() {
            self.poison();
            return Err(Error::network("TLS does not stand, and nothing secret is sent without it"));
        }
        self.trace.line(self.number, "C:", shown.as_bytes());
        self.queue(bytes)
    }

    /// Queues octets of a message; the trace shows their count only.
    ///
    /// # Errors
    /// As [`Self::flush`], when enough is queued to send.
    pub fn write_body(&mut self, bytes: &[u8]) -> Result<()> {
        if self.trace.is_on() {
            self.trace.line(self.number, "C:", format!("[{} octets]", bytes.len()).as_bytes());
        }
        self.queue(bytes)
    }

    fn queue(&mut self, mut bytes: &[u8]) -> Result<()> {
        loop {
            let room = OUTPUT.saturating_sub(self.output.len() - self.written);
            let (now, later) = bytes.split_at_checked(room.min(bytes.len())).unwrap_or((bytes, &[]));
            self.output.extend_from_slice(now);
            if later.is_empty() {
                return Ok(());
            }
            bytes = later;
            self.flush()?;
        }
    }

    /// Sends all that is queued.
    ///
    /// # Errors
    /// [`Kind::Network`] when the connection ended, `Timeout` when the server stopped reading. What the server sent
    /// before that can still be read.
    pub fn flush(&mut self) -> Result<()> {
        if self.output.len() == self.written && !self.stream.owes() {
            return Ok(());
        }
        self.context.step("net.write");
        if let Some(error) = self.broken() {
            return Err(error);
        }
        // Sending has a deadline of its own: an answer is awaited only after its command is out.
        let mut waiter = Waiter::new(&self.context, Phase::Write, self.endpoint.timeout);
        let mut renewed_at = self.sent;
        while self.written < self.output.len() || self.stream.owes() {
            match self.stream.write(self.output.get(self.written..).unwrap_or_default()) {
                Ok(0) if self.written < self.output.len() => return Err(self.break_with(Kind::Network, "the server closed the connection")),
                Ok(count) => {
                    self.written += count;
                    self.sent += count as u64;
                    if self.sent - renewed_at >= PROGRESS {
                        renewed_at = self.sent;
                        waiter.renew();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let drained = self.read_some().unwrap_or(0);
                    if drained == 0 {
                        // With a full read buffer (or none to come) only the way out is left to wait for.
                        let events = if self.broken.is_none() && self.has_room() { PollFlags::IN | PollFlags::OUT } else { PollFlags::OUT };
                        let waited = match self.stream.tcp() {
                            Some(tcp) => waiter.wait(tcp, events),
                            None => Err(Error::network("the connection is gone")),
                        };
                        if let Err(error) = waited {
                            self.broken = Some((error.kind(), error.message().to_owned()));
                            return Err(error);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The server's last words may explain it.
                    while matches!(self.read_some(), Ok(count) if count > 0) {}
                    return Err(self.break_with(Kind::Network, &format!("the connection broke while sending: {error}")));
                }
            }
        }
        self.output.clear();
        self.written = 0;
        self.asked = true;
        Ok(())
    }

    /// Writes a remark into the trace.
    pub fn note(&self, text: &str) {
        self.trace.line(self.number, "--", text.as_bytes());
    }

    /// Makes every later call fail: what follows in the stream can no longer be understood.
    pub fn poison(&mut self) {
        self.unread = 0..0;
        if self.broken.is_none() {
            self.broken = Some((Kind::Network, "the connection was given up after an earlier error".to_owned()));
        }
    }

    /// Octets that came and went over the wire so far, TLS aside: fewer than [`Self::received`] and [`Self::sent`] say where
    /// the connection is compressed.
    pub fn on_wire(&self) -> (u64, u64) {
        match self.stream.deflate() {
            Some(deflate) => {
                let (received, sent) = deflate.octets();
                (self.plain.0 + received, self.plain.1 + sent)
            }
            None => (self.received, self.sent),
        }
    }

    /// How often something was sent and something came after it: the round trips so far, those of TCP and TLS aside.
    pub fn round_trips(&self) -> u64 {
        self.round_trips
    }

    /// Octets received so far, after TLS.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Octets sent so far, before TLS.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Octets queued and not yet sent.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.written
    }

    /// The run's context, for whoever holds only the connection.
    pub fn context(&self) -> &Context {
        &self.context
    }

    fn has_room(&self) -> bool {
        self.unread.len() < self.input.len()
    }

    fn wait(&mut self, events: PollFlags) -> Result<()> {
        let waited = match self.stream.tcp() {
            Some(tcp) => self.waiter.wait(tcp, events).map(|_| ()),
            None => Err(Error::network("the connection is gone")),
        };
        waited.inspect_err(|error| self.broken = Some((error.kind(), error.message().to_owned())))
    }

    /// Reads what is there without waiting; 0 when nothing is (or the buffer is full).
    fn read_some(&mut self) -> Result<usize> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        if self.unread.end == self.input.len() && self.unread.start > 0 {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let room = self.input.get_mut(self.unread.end..).unwrap_or_default();
        if room.is_empty() {
            return Ok(0);
        }
        loop {
            match self.stream.read(room) {
                Ok(0) => return Err(self.break_with(Kind::Network, "the server closed the connection")),
                Ok(count) => {
                    self.unread.end += count;
                    self.received += count as u64;
                    self.round_trips += u64::from(std::mem::take(&mut self.asked));
                    let came = self.on_wire().0;
                    if self.waiter.phase.is_renewed() && came - self.renewed_at >= PROGRESS {
                        self.renewed_at = came;
                        self.waiter.renew();
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.break_with(Kind::Network, "the server closed the connection"));
                }
                Err(error) => return Err(self.break_with(Kind::Network, &format!("the connection broke: {error}"))),
            }
        }
    }

    fn broken(&self) -> Option<Error> {
        self.broken.as_ref().map(|(kind, words)| Error::new(*kind, words.clone()))
    }

    fn break_with(&mut self, kind: Kind, words: &str) -> Error {
        self.broken = Some((kind, words.to_owned()));
        self.note(words);
        Error::new(kind, words)
    }
}

#[cfg(test)]
mod tests;
