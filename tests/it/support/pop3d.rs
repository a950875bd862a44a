//! A small POP3 server in memory: it serves its messages byte for byte (dot-stuffed, even NUL and bare LF), and fails in
//! the ways it is told to. Its maildrop outlives the connections, so that a test can compare what is left.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;

use super::canary;
use super::server::{Server, Wire};

/// How the server behaves; may be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// What CAPA lists; empty: CAPA is refused.
    pub capabilities: Vec<String>,
    /// UIDL is refused.
    pub no_uidl: bool,
    /// TOP is refused.
    pub no_top: bool,
    /// The answer to a right password, in place of `+OK` (`-ERR [IN-USE] …`).
    pub login: Option<String>,
    /// The first connection (from 1) to which that answer is given; 0: every one.
    pub login_from: u64,
    /// Hangs up in the middle of RETR of this message (number from 1), once for each time it stands here.
    pub hang_up_at: Vec<usize>,
    /// Hangs up at TOP of this message, once for each time it stands here.
    pub hang_up_at_top: Vec<usize>,
    /// Answers RETR of this message with `-ERR` and these words.
    pub refuse: Vec<(usize, String)>,
    /// Answers TOP of these messages with `-ERR`.
    pub refuse_top: Vec<usize>,
    /// Answers RETR of this message with `-ERR` and these words, once for each time it stands here.
    pub refuse_once: Vec<(usize, String)>,
    /// Each connection hangs up after so many messages.
    pub bye_after: Option<usize>,
    /// Answers DELE of these messages with `-ERR`.
    pub refuse_dele: Vec<usize>,
    /// Hangs up at DELE of this message.
    pub hang_up_at_dele: Option<usize>,
    /// Answers QUIT with `-ERR`, dropping the first of what was marked only.
    pub refuse_quit: bool,
    /// Never answers RETR of this message.
    pub stall_at: Option<usize>,
    /// Never answers QUIT but drops what was marked (`true`), or hangs up before dropping anything (`false`).
    pub quit: Option<bool>,
    /// QUIT says +OK, and what was marked stays.
    pub keeps: bool,
    /// Just before this login (from 1) somebody else removes the first message, and the unique-ids are given anew.
    pub renumbered_at: Option<u64>,
    /// What it says first behind `+OK`, in place of its own words.
    pub greeting: Option<String>,
    /// Like Gmail: a session shows so many of the messages at most that no session before fetched and ended with QUIT.
    pub page: Option<usize>,
    /// LIST says so many octets more than there are.
    pub sizes_off_by: usize,
    /// Octets travel alone.
    pub drip: bool,
    /// No reading once so many octets were read, on every connection.
    pub deaf_after: Option<u64>,
}

impl Default for Behaviour {
    fn default() -> Self {
        let capabilities = ["USER", "UIDL", "TOP", "PIPELINING", "SASL PLAIN", "RESP-CODES", "AUTH-RESP-CODE"];
        Self {
            capabilities: capabilities.map(str::to_owned).to_vec(),
            no_uidl: false,
            no_top: false,
            login: None,
            login_from: 0,
            hang_up_at: Vec::new(),
            hang_up_at_top: Vec::new(),
            refuse: Vec::new(),
            refuse_top: Vec::new(),
            refuse_once: Vec::new(),
            bye_after: None,
            refuse_dele: Vec::new(),
            hang_up_at_dele: None,
            refuse_quit: false,
            stall_at: None,
            quit: None,
            keeps: false,
            renumbered_at: None,
            greeting: None,
            page: None,
            sizes_off_by: 0,
            drip: false,
            deaf_after: None,
        }
    }
}

impl Behaviour {
    /// Without a capability (the first word counts); without UIDL or TOP the command is refused as well.
    pub fn without(mut self, capability: &str) -> Self {
        self.capabilities.retain(|line| line.split(' ').next() != Some(capability));
        self.no_uidl |= capability == "UIDL";
        self.no_top |= capability == "TOP";
        self
    }
}

/// A message of the maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unique-id; may be made equal to another's.
    pub uidl: String,
    /// The bytes.
    pub body: Vec<u8>,
}

struct World {
    behaviour: Behaviour,
    maildrop: Vec<Entry>,
    /// Unique-ids of messages that were fetched, where that hides them.
    fetched: Vec<String>,
    log: Vec<String>,
}

/// The server. Any user name is accepted, with the canary as password.
pub struct Pop3d {
    server: Server,
    world: Arc<Mutex<World>>,
}

impl Pop3d {
    /// Starts it with these unique-ids and messages.
    pub fn with_uidls(behaviour: Behaviour, entries: &[(String, Vec<u8>)]) -> Self {
        let pop3d = Self::start(behaviour, &[]);
        pop3d.maildrop(|maildrop| {
            *maildrop = entries.iter().map(|(uidl, body)| Entry { uidl: uidl.clone(), body: body.clone() }).collect();
        });
        pop3d
    }

    /// Starts it with these messages, UIDLs `u1`, `u2`, ….
    pub fn start(behaviour: Behaviour, messages: &[Vec<u8>]) -> Self {
        let maildrop =
            messages.iter().enumerate().map(|(index, body)| Entry { uidl: format!("u{}", index + 1), body: body.clone() }).collect();
        let world = Arc::new(Mutex::new(World { behaviour, maildrop, fetched: Vec::new(), log: Vec::new() }));
        let shared = Arc::clone(&world);
        Self { server: Server::start(false, move |wire| serve(wire, &shared)), world }
    }

    /// `pop3://ann@127.0.0.1:port?tls=none`.
    pub fn url(&self) -> String {
        format!("pop3://ann@127.0.0.1:{}?tls=none", self.server.port())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// Waits until the server is done with every connection.
    pub fn wait_until_quiet(&self) {
        self.server.wait_until_quiet();
    }

    /// Changes the behaviour from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world().behaviour);
    }

    /// Changes the maildrop; sessions that are open keep theirs.
    pub fn maildrop(&self, change: impl FnOnce(&mut Vec<Entry>)) {
        change(&mut self.world().maildrop);
    }

    /// The bodies in the maildrop now.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.world().maildrop.iter().map(|entry| entry.body.clone()).collect()
    }

    /// All command lines so far, each with its connection's number before it: `1 RETR 3`; secrets left out.
    pub fn log(&self) -> Vec<String> {
        self.world().log.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

fn stuffed(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(body.len() + 64);
    // A bare LF does not start a line on the wire, so a dot after it is data like any other; but servers differ, and
    // most stuff after any LF. So do we: a client unstuffs by lines ending in LF or CRLF alike.
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !body.is_empty() && !body.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

fn header_and(body: &[u8], lines: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut left: Option<usize> = None;
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        match left {
            None => {
                if line == b"\r\n" || line == b"\n" {
                    left = Some(lines);
                }
            }
            Some(0) => break,
            Some(count) => left = Some(count - 1),
        }
        kept.extend_from_slice(line);
    }
    kept
}

fn serve(wire: &mut Wire, world: &Arc<Mutex<World>>) -> io::Result<()> {
    let greeting = {
        let world = world.lock().unwrap();
        wire.drip = world.behaviour.drip.then_some(Duration::ZERO);
        wire.deaf_after = world.behaviour.deaf_after;
        world.behaviour.greeting.clone()
    };
    wire.line(&format!("+OK {}", greeting.as_deref().unwrap_or("pop3d ready")))?;
    let mut fetched: Vec<String> = Vec::new();
    let mut entries: Option<Vec<Entry>> = None;
    let mut dropped: Vec<bool> = Vec::new();
    while let Some(line) = wire.read_line()? {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let words: Vec<&str> = words.collect();
        let shown = if verb == "PASS" || verb == "AUTH" { verb.clone() } else { line.clone() };
        world.lock().unwrap().log.push(format!("{} {shown}", wire.number()));
        let behaviour = world.lock().unwrap().behaviour.clone();
        let number = words.first().and_then(|word| word.parse::<usize>().ok());
        let entry = number.and_then(|number| {
            let index = number.checked_sub(1)?;
            (!*dropped.get(index)?).then_some(())?;
            entries.as_ref()?.get(index)
        });
        match (verb.as_str(), entries.is_some()) {
            ("CAPA", _) if !behaviour.capabilities.is_empty() => {
                let lines: String = behaviour.capabilities.iter().map(|line| format!("{line}\r\n")).collect();
                wire.write(format!("+OK\r\n{lines}.\r\n").as_bytes())?;
            }
            ("USER", false) => wire.line("+OK")?,
            ("PASS" | "AUTH", false) => {
                let right = if verb == "PASS" {
                    line.get(5..) == Some(canary())
                } else {
                    let response = if let Some(initial) = words.get(1) {
                        (*initial).to_owned()
                    } else {
                        wire.line("+ ")?;
                        String::from_utf8_lossy(&wire.read_line()?.unwrap_or_default()).into_owned()
                    };
                    let frame = base64::engine::general_purpose::STANDARD.decode(response).unwrap_or_default();
                    frame.split(|&byte| byte == 0).nth(2) == Some(canary().as_bytes())
                };
                match (right, behaviour.login.as_ref().filter(|_| wire.number() >= behaviour.login_from)) {
                    (true, None) => {
                        if behaviour.renumbered_at == Some(wire.number()) {
                            let maildrop = &mut world.lock().unwrap().maildrop;
                            maildrop.remove(0);
                            (1..).zip(maildrop).for_each(|(number, entry)| entry.uidl = format!("u{number}"));
                        }
                        let mut listed = world.lock().unwrap().maildrop.clone();
                        if let Some(page) = behaviour.page {
                            let hidden = world.lock().unwrap().fetched.clone();
                            listed.retain(|entry| !hidden.contains(&entry.uidl));
                            listed.truncate(page);
                        }
                        dropped = vec![false; listed.len()];
                        entries = Some(listed);
                        wire.line("+OK logged in")?;
                    }
                    (true, Some(words)) => wire.line(words)?,
                    (false, _) => wire.line("-ERR [AUTH] wrong password")?,
                }
            }
            ("NOOP", true) => wire.line("+OK")?,
            ("RSET", true) => {
                dropped.fill(false);
                wire.line("+OK")?;
            }
            ("STAT", true) => {
                let left = entries.iter().flatten().zip(&dropped).filter(|(_, dropped)| !**dropped);
                let (count, size) = left.fold((0, 0), |(count, size), (entry, _)| (count + 1, size + entry.body.len()));
                wire.line(&format!("+OK {count} {size}"))?;
            }
            ("UIDL", true) if behaviour.no_uidl => wire.line("-ERR unknown command")?,
            ("LIST" | "UIDL", true) => {
                let shown = |entry: &Entry| {
                    if verb == "LIST" { (entry.body.len() + behaviour.sizes_off_by).to_string() } else { entry.uidl.clone() }
                };
                if words.is_empty() {
                    let listed = entries.iter().flatten().zip(&dropped).enumerate().filter(|(_, (_, dropped))| !**dropped);
                    let lines: String = listed.map(|(index, (entry, _))| format!("{} {}\r\n", index + 1, shown(entry))).collect();
                    wire.write(format!("+OK\r\n{lines}.\r\n").as_bytes())?;
                } else if let (Some(number), Some(entry)) = (number, entry) {
                    wire.line(&format!("+OK {number} {}", shown(entry)))?;
                } else {
                    wire.line("-ERR no such message")?;
                }
            }
            ("RETR", true) => {
                let Some((number, entry)) = number.zip(entry) else {
                    wire.line("-ERR no such message")?;
                    continue;
                };
                if let Some((_, words)) = behaviour.refuse.iter().find(|(refused, _)| *refused == number) {
                    wire.line(&format!("-ERR {words}"))?;
                    continue;
                }
                let once = {
                    let refuse_once = &mut world.lock().unwrap().behaviour.refuse_once;
                    refuse_once.iter().position(|(refused, _)| *refused == number).map(|index| refuse_once.remove(index))
                };
                if let Some((_, words)) = once {
                    wire.line(&format!("-ERR {words}"))?;
                    continue;
                }
                if behaviour.bye_after.is_some_and(|most| fetched.len() >= most) {
                    return Ok(());
                }
                if behaviour.stall_at == Some(number) {
                    wire.stall();
                    return Ok(());
                }
                let mut answer = format!("+OK {} octets\r\n", entry.body.len()).into_bytes();
                answer.extend(stuffed(&entry.body));
                let hang_up = {
                    let hang_up_at = &mut world.lock().unwrap().behaviour.hang_up_at;
                    hang_up_at.iter().position(|&at| at == number).map(|index| hang_up_at.remove(index))
                };
                if hang_up.is_some() {
                    wire.write(&answer[..answer.len() - 4])?;
                    return Ok(());
                }
                wire.write(&answer)?;
                fetched.push(entry.uidl.clone());
            }
            ("TOP", true) if number.is_some_and(|number| behaviour.refuse_top.contains(&number)) => wire.line("-ERR cannot")?,
            ("TOP", true) if !behaviour.no_top => {
                let hang_up = {
                    let hang_up_at = &mut world.lock().unwrap().behaviour.hang_up_at_top;
                    hang_up_at.iter().position(|&at| Some(at) == number).map(|index| hang_up_at.remove(index))
                };
                if hang_up.is_some() {
                    return Ok(());
                }
                let lines = words.get(1).and_then(|word| word.parse().ok());
                if let (Some(entry), Some(lines)) = (entry, lines) {
                    let mut answer = b"+OK\r\n".to_vec();
                    answer.extend(stuffed(&header_and(&entry.body, lines)));
                    wire.write(&answer)?;
                } else {
                    wire.line("-ERR no such message")?;
                }
            }
            ("DELE", true) => match number.zip(entry).map(|(number, _)| number) {
                Some(number) if behaviour.hang_up_at_dele == Some(number) => return Ok(()),
                Some(number) if behaviour.refuse_dele.contains(&number) => wire.line("-ERR not this one")?,
                Some(number) => {
                    dropped[number - 1] = true;
                    wire.line("+OK")?;
                }
                None => wire.line("-ERR no such message")?,
            },
            ("QUIT", _) => {
                if behaviour.quit == Some(false) {
                    return Ok(());
                }
                // By content, because another session may have changed the maildrop meanwhile.
                let mut world = world.lock().unwrap();
                world.fetched.append(&mut fetched);
                let most = if behaviour.keeps {
                    0
                } else if behaviour.refuse_quit {
                    1
                } else {
                    usize::MAX
                };
                for entry in entries.iter().flatten().zip(&dropped).filter_map(|(entry, dropped)| dropped.then_some(entry)).take(most) {
                    if let Some(index) = world.maildrop.iter().position(|kept| kept == entry) {
                        world.maildrop.remove(index);
                    }
                }
                drop(world);
                if behaviour.quit == Some(true) {
                    wire.stall();
                }
                wire.line(if behaviour.refuse_quit { "-ERR some are still there" } else { "+OK bye" })?;
                return Ok(());
            }
            _ => wire.line("-ERR unknown command")?,
        }
    }
    Ok(())
}
