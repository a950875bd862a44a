//! The floor: a client that only moves the bytes. It asks for everything at once, sends as fast as the server takes it,
//! keeps no journal, takes no digest, syncs no file and believes every answer; it only counts what it got, so that a
//! mailbox that is not the planted one fails it. What a careful program takes beyond this is the price of its care. It
//! shares no code with the program it is held against.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use native_tls::{Certificate, TlsConnector, TlsStream};
use rustix::event::{PollFd, PollFlags, poll};

use crate::message::message;

/// Octets of RETR commands out at once: what a server surely takes in while it is busy writing.
const RETR_WINDOW: usize = 16 * 1024;

/// Octets of unread input kept.
const INPUT: usize = 256 * 1024;

/// Distinct messages sent where nothing is read.
const DISTINCT: u64 = 64;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One FETCH of everything, to nowhere.
    Fetch,
    /// Pipelined RETRs, to nowhere.
    Retr,
    /// Single APPENDs of made-up messages.
    Append,
    /// The same through MULTIAPPEND.
    MultiAppend,
    /// RETR in one thread, MULTIAPPEND in the other.
    Pop3Imap,
    /// FETCH in one thread, MULTIAPPEND in the other.
    ImapImap,
    /// Login and EXAMINE, which tells whether anything changed.
    Look,
    /// The flags of everything.
    Flags,
    /// Files of a Maildir, written and renamed, and one sync of their file system.
    Write,
}

impl Mode {
    /// All, with the names they have on the command line.
    pub const NAMES: [(&str, Self); 9] = [
        ("fetch", Self::Fetch),
        ("retr", Self::Retr),
        ("append", Self::Append),
        ("multiappend", Self::MultiAppend),
        ("pop3-imap", Self::Pop3Imap),
        ("imap-imap", Self::ImapImap),
        ("look", Self::Look),
        ("flags", Self::Flags),
        ("write", Self::Write),
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).unwrap().0
    }
}

/// What `floor MODE NAME=VALUE…` says.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What to do.
    pub mode: Mode,
    /// The authority to trust, PEM.
    pub ca: PathBuf,
    /// The password of both users.
    pub password: PathBuf,
    /// Port on 127.0.0.1 and user to read from.
    pub from: (u16, String),
    /// Port on 127.0.0.1 and user to append to.
    pub to: (u16, String),
    /// Messages to write or, where something is read, that must be there.
    pub count: usize,
    /// Octets of all messages that must come where their bodies are read.
    pub octets: u64,
    /// Messages in one MULTIAPPEND.
    pub chunk: usize,
    /// Messages sent and not answered yet, at most.
    pub window: usize,
    /// Where files are written, and octets of each.
    pub files: (PathBuf, usize),
}

impl Plan {
    /// Sixty-four messages a MULTIAPPEND, 1,024 messages out.
    pub fn new(mode: Mode, ca: PathBuf, password: PathBuf) -> Self {
        let nobody = (0, String::new());
        Self {
            mode,
            ca,
            password,
            from: nobody.clone(),
            to: nobody,
            count: 0,
            octets: 0,
            chunk: 64,
            window: 1024,
            files: (PathBuf::new(), 0),
        }
    }

    /// As arguments.
    pub fn to_args(&self) -> Vec<String> {
        vec![
            "floor".to_owned(),
            self.mode.name().to_owned(),
            self.ca.display().to_string(),
            self.password.display().to_string(),
            format!("{}@{}", self.from.1, self.from.0),
            format!("{}@{}", self.to.1, self.to.0),
            self.count.to_string(),
            self.octets.to_string(),
            self.chunk.to_string(),
            self.window.to_string(),
            self.files.0.display().to_string(),
            self.files.1.to_string(),
        ]
    }

    /// The way back; `args` begin after the word `floor`.
    pub fn from_args(args: &[String]) -> Option<Self> {
        let [mode, ca, password, from, to, count, octets, chunk, window, directory, size] = args else { return None };
        let place = |text: &str| text.split_once('@').and_then(|(user, port)| Some((port.parse().ok()?, user.to_owned())));
        Some(Self {
            mode: Mode::NAMES.iter().find(|(name, _)| name == mode)?.1,
            ca: ca.into(),
            password: password.into(),
            from: place(from)?,
            to: place(to)?,
            count: count.parse().ok()?,
            octets: octets.parse().ok()?,
            chunk: chunk.parse().ok()?,
            window: window.parse().ok()?,
            files: (directory.into(), size.parse().ok()?),
        })
    }

    /// Whether what came is what was planted.
    fn check(&self, messages: usize, octets: u64) -> io::Result<()> {
        if (messages, octets) == (self.count, self.octets) {
            return Ok(());
        }
        let Self { count, octets: planted, .. } = self;
        Err(io::Error::other(format!("{messages} messages of {octets} octets came in place of {count} of {planted}")))
    }
}

/// Does it.
///
/// # Errors
/// What the network or a server had against it, and where other mail came than was planted.
pub fn run(plan: &Plan) -> io::Result<()> {
    let password = std::fs::read_to_string(&plan.password)?;
    let login = Login { ca: std::fs::read(&plan.ca)?, password: password.trim_end().to_owned() };
    match plan.mode {
        Mode::Fetch => fetch(&login, plan, &mut Nowhere),
        Mode::Retr => retr(&login, plan, &mut Nowhere),
        Mode::Look => look(&login, plan).map(drop),
        Mode::Flags => flags(&login, plan),
        Mode::Write => write_files(plan),
        Mode::Append | Mode::MultiAppend => {
            let messages: Vec<Vec<u8>> = (0..DISTINCT).map(message).collect();
            let mut appender = Appender::connect(&login, plan)?;
            let mut maker = Maker::new(if plan.mode == Mode::Append { 1 } else { plan.chunk });
            for message in messages.iter().cycle().take(plan.count) {
                maker.octets(message);
                if let Some(command) = maker.end() {
                    appender.send(&command)?;
                }
            }
            if let Some(command) = maker.finish() {
                appender.send(&command)?;
            }
            appender.finish()
        }
        Mode::Pop3Imap | Mode::ImapImap => std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(8);
            let writer = scope.spawn(|| append_all(&login, plan, receiver));
            let read = read_all(&login, plan, sender);
            writer.join().map_err(|_| io::Error::other("the writing half panicked"))?.and(read)
        }),
    }
}

/// Where messages go that were read.
trait Taker {
    /// A piece of the message under way.
    fn octets(&mut self, octets: &[u8]) -> io::Result<()>;
    /// The message is whole.
    fn end(&mut self) -> io::Result<()>;
}

struct Nowhere;

impl Taker for Nowhere {
    fn octets(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Over to the thread that appends.
struct Across {
    maker: Maker,
    sender: SyncSender<Command>,
}

impl Across {
    fn send(&self, command: Option<Command>) -> io::Result<()> {
        let Some(command) = command else { return Ok(()) };
        self.sender.send(command).map_err(|_| io::Error::other("the writing half is gone"))
    }
}

impl Taker for Across {
    fn octets(&mut self, octets: &[u8]) -> io::Result<()> {
        self.maker.octets(octets);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let command = self.maker.end();
        self.send(command)
    }
}

fn read_all(login: &Login, plan: &Plan, sender: SyncSender<Command>) -> io::Result<()> {
    let mut across = Across { maker: Maker::new(plan.chunk), sender };
    if plan.mode == Mode::Pop3Imap { retr(login, plan, &mut across) } else { fetch(login, plan, &mut across) }?;
    let last = across.maker.finish();
    across.send(last)
}

fn append_all(login: &Login, plan: &Plan, receiver: Receiver<Command>) -> io::Result<()> {
    let mut appender = Appender::connect(login, plan)?;
    for command in receiver {
        appender.send(&command)?;
    }
    appender.finish()
}

/// An APPEND of one or several messages, without its tag.
struct Command {
    messages: usize,
    octets: Vec<u8>,
}

/// Makes APPENDs from messages. The length stands before the message and is known after it, so it is written padded with
/// zeros, which `number` of the grammar allows.
#[derive(Default)]
struct Maker {
    chunk: usize,
    messages: usize,
    octets: Vec<u8>,
    /// Where the message under way begins.
    start: Option<usize>,
}

impl Maker {
    fn new(chunk: usize) -> Self {
        Self { chunk, ..Self::default() }
    }

    fn start(&mut self) -> usize {
        *self.start.get_or_insert_with(|| {
            if self.octets.is_empty() {
                self.octets.extend_from_slice(b" APPEND INBOX");
            }
            self.octets.extend_from_slice(b" {0000000000+}\r\n");
            self.octets.len()
        })
    }

    fn octets(&mut self, octets: &[u8]) {
        self.start();
        self.octets.extend_from_slice(octets);
    }

    fn end(&mut self) -> Option<Command> {
        let start = self.start();
        let length = format!("{:010}", self.octets.len() - start);
        let at = start - "0000000000+}\r\n".len();
        self.octets[at..at + length.len()].copy_from_slice(length.as_bytes());
        self.start = None;
        self.messages += 1;
        if self.messages == self.chunk { self.finish() } else { None }
    }

    /// The command so far.
    fn finish(&mut self) -> Option<Command> {
        if self.messages == 0 {
            return None;
        }
        self.octets.extend_from_slice(b"\r\n");
        let next = Vec::with_capacity(self.octets.capacity());
        Some(Command { messages: std::mem::take(&mut self.messages), octets: std::mem::replace(&mut self.octets, next) })
    }
}

/// An IMAP connection that appends.
struct Appender {
    wire: Wire,
    window: usize,
    sent: u64,
    /// Messages in each command out, the oldest first.
    out: std::collections::VecDeque<usize>,
    messages: usize,
}

impl Appender {
    fn connect(login: &Login, plan: &Plan) -> io::Result<Self> {
        let wire = login.imap_to_append(&plan.to)?;
        Ok(Self { wire, window: plan.window, sent: 0, out: std::collections::VecDeque::new(), messages: 0 })
    }

    fn send(&mut self, command: &Command) -> io::Result<()> {
        while !self.out.is_empty() && self.messages + command.messages > self.window {
            self.answer()?;
        }
        self.wire.queue(format!("a{}", self.sent).as_bytes());
        self.wire.queue(&command.octets);
        self.sent += 1;
        self.out.push_back(command.messages);
        self.messages += command.messages;
        self.wire.flush()
    }

    fn answer(&mut self) -> io::Result<()> {
        let tag = format!("a{}", self.sent - self.out.len() as u64);
        self.wire.tagged(&tag)?;
        self.messages -= self.out.pop_front().unwrap_or(0);
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            self.answer()?;
        }
        Ok(())
    }
}

fn fetch(login: &Login, plan: &Plan, taker: &mut dyn Taker) -> io::Result<()> {
    let mut wire = login.imap(&plan.from)?;
    wire.queue(b"e EXAMINE INBOX\r\nf UID FETCH 1:* BODY.PEEK[]\r\n");
    wire.tagged("e")?;
    let (mut messages, mut octets) = (0, 0);
    loop {
        let line = wire.line()?;
        let line = wire.bytes(line);
        let length: Option<usize> = line.strip_suffix(b"}\r\n").and_then(|line| {
            let digits = line.rsplit(|&byte| byte == b'{').next()?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        });
        match length {
            Some(length) => {
                wire.take(length, taker)?;
                taker.end()?;
                wire.line()?;
                messages += 1;
                octets += length as u64;
            }
            None if line.starts_with(b"f OK") => return plan.check(messages, octets),
            None if line.starts_with(b"* ") => {}
            None => return Err(refused(line)),
        }
    }
}

/// Login and EXAMINE, which must tell of as many messages as were planted.
fn look(login: &Login, plan: &Plan) -> io::Result<Wire> {
    let mut wire = login.imap(&plan.from)?;
    wire.queue(b"e EXAMINE INBOX\r\n");
    let exists = format!("* {} EXISTS\r\n", plan.count);
    let mut found = false;
    wire.answers("e", |line| found |= line == exists.as_bytes())?;
    if found { Ok(wire) } else { Err(io::Error::other(format!("INBOX does not hold {} messages", plan.count))) }
}

fn flags(login: &Login, plan: &Plan) -> io::Result<()> {
    let mut wire = look(login, plan)?;
    wire.queue(b"f UID FETCH 1:* (FLAGS)\r\n");
    let mut messages = 0;
    wire.answers("f", |line| messages += usize::from(line.windows(8).any(|part| part == b" FETCH (")))?;
    if messages == plan.count {
        Ok(())
    } else {
        Err(io::Error::other(format!("flags of {messages} messages came in place of {}", plan.count)))
    }
}

fn write_files(plan: &Plan) -> io::Result<()> {
    let (top, octets) = &plan.files;
    for half in ["tmp", "cur", "new"] {
        std::fs::create_dir_all(top.join(half))?;
    }
    let messages: Vec<Vec<u8>> = (0..DISTINCT).map(|number| message(number).into_iter().cycle().take(*octets).collect()).collect();
    for (number, message) in messages.iter().cycle().take(plan.count).enumerate() {
        let name = number.to_string();
        std::fs::write(top.join("tmp").join(&name), message)?;
        std::fs::rename(top.join("tmp").join(&name), top.join("cur").join(&name))?;
    }
    rustix::fs::syncfs(std::fs::File::open(top)?)?;
    Ok(())
}

fn retr(login: &Login, plan: &Plan, taker: &mut dyn Taker) -> io::Result<()> {
    let (port, user) = &plan.from;
    let mut wire = login.connect(*port, false)?;
    wire.queue(format!("USER {user}\r\nPASS {}\r\n", login.password).as_bytes());
    for _ in 0..3 {
        wire.ok()?;
    }
    wire.queue(b"STAT\r\n");
    let stat = wire.line()?;
    let stat = String::from_utf8_lossy(wire.bytes(stat)).into_owned();
    let count: u64 = stat.split(' ').nth(1).and_then(|count| count.parse().ok()).ok_or_else(|| refused(stat.as_bytes()))?;
    let request = |number: u64| format!("RETR {number}\r\n");
    let (mut asked, mut out) = (0, 0);
    let mut octets = 0;
    for number in 1..=count {
        // In one go, so that a request does not cost a packet each.
        if out < RETR_WINDOW / 2 {
            while asked < count && out < RETR_WINDOW {
                asked += 1;
                out += request(asked).len();
                wire.queue(request(asked).as_bytes());
            }
            wire.flush()?;
        }
        wire.ok()?;
        loop {
            let line = wire.line()?;
            match wire.bytes(line) {
                b".\r\n" => break,
                [b'.', line @ ..] | line => {
                    octets += line.len() as u64;
                    taker.octets(line)?;
                }
            }
        }
        out -= request(number).len();
        taker.end()?;
    }
    wire.queue(b"QUIT\r\n");
    wire.ok()?;
    plan.check(usize::try_from(count).unwrap_or(usize::MAX), octets)
}

fn refused(line: &[u8]) -> io::Error {
    io::Error::other(format!("the server says {:?}", String::from_utf8_lossy(line)))
}

struct Login {
    ca: Vec<u8>,
    password: String,
}

impl Login {
    fn connect(&self, port: u16, appends: bool) -> io::Result<Wire> {
        let connector = TlsConnector::builder()
            .disable_built_in_roots(true)
            .add_root_certificate(Certificate::from_pem(&self.ca).map_err(io::Error::other)?)
            .build()
            .map_err(io::Error::other)?;
        // As mailhaul does: the window of a server that reads slowly falls below loopback's 64 KB segments.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        if appends {
            socket.set_tcp_mss(4096)?;
        }
        socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let stream = connector.connect("localhost", stream).map_err(io::Error::other)?;
        stream.get_ref().set_nonblocking(true)?;
        Ok(Wire { stream, input: vec![0; INPUT], start: 0, end: 0, output: Vec::new(), written: 0 })
    }

    fn imap(&self, place: &(u16, String)) -> io::Result<Wire> {
        self.login(place, false)
    }

    fn imap_to_append(&self, place: &(u16, String)) -> io::Result<Wire> {
        self.login(place, true)
    }

    fn login(&self, (port, user): &(u16, String), appends: bool) -> io::Result<Wire> {
        let mut wire = self.connect(*port, appends)?;
        wire.queue(format!("l LOGIN {user} {}\r\n", self.password).as_bytes());
        wire.tagged("l")?;
        Ok(wire)
    }
}

/// A TLS connection that reads while it writes, so that neither side waits for the other for ever.
struct Wire {
    stream: TlsStream<TcpStream>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    written: usize,
}

impl Wire {
    fn queue(&mut self, octets: &[u8]) {
        self.output.extend_from_slice(octets);
    }

    /// Writes all that was queued, and reads what comes meanwhile.
    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    /// Moves something in either direction, or waits until something can be moved.
    fn step(&mut self) -> io::Result<()> {
        let wrote = self.write()?;
        let read = self.read()?;
        if !wrote && !read {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, !self.output.is_empty());
            poll(&mut [PollFd::new(self.stream.get_ref(), events)], None)?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<bool> {
        if self.output.is_empty() {
            return Ok(false);
        }
        let Some(count) = unless_blocked(self.stream.write(&self.output[self.written..]))? else { return Ok(false) };
        self.written += count;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(true)
    }

    fn read(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.input.len() - self.end < INPUT / 4 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() {
            return Err(io::Error::other("a line too long, or answers that nobody reads"));
        }
        match unless_blocked(self.stream.read(&mut self.input[self.end..]))? {
            None => Ok(false),
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(count) => {
                self.end += count;
                Ok(true)
            }
        }
    }

    /// Waits for more input.
    fn fill(&mut self) -> io::Result<()> {
        let unread = self.end - self.start;
        while self.end - self.start == unread {
            self.step()?;
        }
        Ok(())
    }

    /// One line with its line end, as places for `bytes`.
    fn line(&mut self) -> io::Result<(usize, usize)> {
        let mut searched = 0;
        loop {
            let unread = &self.input[self.start + searched..self.end];
            if let Some(index) = unread.iter().position(|&byte| byte == b'\n') {
                let line = (self.start, self.start + searched + index + 1);
                self.start = line.1;
                return Ok(line);
            }
            searched += unread.len();
            self.fill()?;
        }
    }

    /// What `line` found; good until the next call that reads.
    fn bytes(&self, (start, end): (usize, usize)) -> &[u8] {
        &self.input[start..end]
    }

    fn take(&mut self, mut count: usize, taker: &mut dyn Taker) -> io::Result<()> {
        while count > 0 {
            if self.start == self.end {
                self.fill()?;
            }
            let taken = count.min(self.end - self.start);
            taker.octets(&self.input[self.start..self.start + taken])?;
            self.start += taken;
            count -= taken;
        }
        Ok(())
    }

    /// A positive answer of POP3.
    fn ok(&mut self) -> io::Result<()> {
        let line = self.line()?;
        if self.bytes(line).starts_with(b"+OK") { Ok(()) } else { Err(refused(self.bytes(line))) }
    }

    /// The OK of this tag; what comes before it is passed over.
    fn tagged(&mut self, tag: &str) -> io::Result<()> {
        self.answers(tag, |_| ())
    }

    /// The OK of this tag, and every untagged line before it.
    fn answers(&mut self, tag: &str, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let line = self.line()?;
            match self.bytes(line) {
                line @ [b'*', ..] => each(line),
                answer if answer.strip_prefix(tag.as_bytes()).is_some_and(|rest| rest.starts_with(b" OK")) => return Ok(()),
                other => return Err(refused(other)),
            }
        }
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
