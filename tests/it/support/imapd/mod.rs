//! A small IMAP server in memory, plain TCP on loopback. Its mailboxes outlive the connections, so that a test can
//! compare multisets at the end; and it fails in the ways it is told to, above all around APPEND.

mod grammar;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;

use self::grammar::{Token, announced, contains, header, in_set, inbox, matches, quoted, section, tokens};
use super::canary;
use super::server::{Server, Wire, advance_clock, read_clock};

/// What goes wrong at one APPEND command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendFault {
    /// Stored, and this one command is never answered; later ones are.
    SwallowReply,
    /// Stored, and the connection answers nothing any more but stays open.
    Stall,
    /// Stored, then the connection ends without an answer.
    HangUpAfterStoring,
    /// The connection ends once all literals were read; nothing is stored.
    HangUpBeforeStoring,
    /// The connection ends without an answer; stored when the test clock has moved on by so many milliseconds, or at
    /// [`Imapd::commit_late`] (`None`: only then).
    StoreLate(Option<u64>),
    /// Refused with these words: `[OVERQUOTA] full`.
    No(String),
    /// Stored, and refused with these words all the same: `[SERVERBUG] oops`.
    NoAfterStoring(String),
    /// Stored, and answered when the test clock has moved on by so many minutes, which the server sees to itself. Then it
    /// hangs up: what was sent behind it does not count.
    AnswerAfterMinutes(u32),
    /// Stored; then the mailbox gets another UIDVALIDITY and other UIDs, and the answer tells the new ones.
    Renumber,
}

/// How the server behaves; may be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The capabilities, announced before and after login.
    pub capabilities: Vec<String>,
    /// Faults by the number of the APPEND command, from 1, over all connections.
    pub appends: BTreeMap<u64, AppendFault>,
    /// An APPEND of a message that holds these octets is refused with these words (MULTIAPPEND: the whole command).
    pub refuse: Vec<(Vec<u8>, String)>,
    /// Hangs up, storing nothing, on an APPEND of a message that holds these octets.
    pub hang_up_on: Vec<Vec<u8>>,
    /// A synchronising literal of more octets gets NO [TOOBIG] in place of the go-ahead.
    pub max_literal: Option<usize>,
    /// Hangs up in the middle of the body when a message with this UID is fetched, every time.
    pub hang_up_at_uid: Option<u32>,
    /// Left out of the answer to every FETCH that asks for no part of the body, which ends with OK all the same.
    pub unlisted: Vec<u32>,
    /// The answer to a right password, in place of OK: `NO [UNAVAILABLE] later`.
    pub login: Option<String>,
    /// Octets travel alone.
    pub drip: bool,
    /// The next connection made is never read again once so many octets were.
    pub deaf_after: Option<u64>,
    /// The next connection made gets no more once so many octets were sent.
    pub mute_after: Option<u64>,
    /// Socket buffers of about a kilobyte (only at the start): answers block while the client does not read.
    pub small_buffers: bool,
    /// The test clock by which [`AppendFault::StoreLate`] counts.
    pub clock: Option<PathBuf>,
}

impl Default for Behaviour {
    fn default() -> Self {
        let capabilities = ["IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "ID", "NAMESPACE", "UIDPLUS", "MULTIAPPEND", "LITERAL+"];
        Self {
            capabilities: capabilities.map(str::to_owned).to_vec(),
            appends: BTreeMap::new(),
            refuse: Vec::new(),
            hang_up_on: Vec::new(),
            max_literal: None,
            hang_up_at_uid: None,
            unlisted: Vec::new(),
            login: None,
            drip: false,
            deaf_after: None,
            mute_after: None,
            small_buffers: false,
            clock: None,
        }
    }
}

impl Behaviour {
    /// Without these capabilities.
    pub fn without(mut self, names: &[&str]) -> Self {
        self.capabilities.retain(|name| !names.contains(&name.as_str()));
        self
    }

    /// With one capability more.
    pub fn with(mut self, name: &str) -> Self {
        self.capabilities.push(name.to_owned());
        self
    }

    /// With a fault at the n-th APPEND command, from 1.
    pub fn append_fault(mut self, number: u64, fault: AppendFault) -> Self {
        self.appends.insert(number, fault);
        self
    }

    fn has(&self, name: &str) -> bool {
        self.capabilities.iter().any(|capability| capability == name)
    }
}

/// A message of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// UID.
    pub uid: u32,
    /// Flags and keywords in wire form.
    pub flags: Vec<String>,
    /// INTERNALDATE in wire form.
    pub internal_date: String,
    /// The bytes.
    pub body: Vec<u8>,
}

/// A mailbox.
#[derive(Debug, Clone, Default)]
pub struct Mailbox {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// In the order of UIDs.
    pub messages: Vec<Stored>,
}

impl Mailbox {
    /// Gives it another UIDVALIDITY, and all messages other UIDs in the same order.
    pub fn renumber(&mut self) {
        self.uid_validity += 1000;
        for (index, message) in self.messages.iter_mut().enumerate() {
            message.uid = u32::try_from(index).unwrap() + 1;
        }
        self.uid_next = u32::try_from(self.messages.len()).unwrap() + 1;
    }
}

struct Late {
    due: Option<u64>,
    folder: String,
    messages: Vec<Stored>,
}

struct World {
    behaviour: Behaviour,
    mailboxes: BTreeMap<String, Mailbox>,
    subscribed: BTreeSet<String>,
    log: Vec<String>,
    appends: u64,
    next_uid_validity: u32,
    late: Vec<Late>,
}

impl World {
    fn create(&mut self, name: &str) {
        self.next_uid_validity += 1;
        let mailbox = Mailbox { uid_validity: self.next_uid_validity, uid_next: 1, messages: Vec::new() };
        self.mailboxes.entry(name.to_owned()).or_insert(mailbox);
    }

    /// Stores messages and gives their UIDs; `None` where the mailbox is missing.
    fn store(&mut self, folder: &str, messages: Vec<Stored>) -> Option<(u32, Vec<u32>)> {
        let mailbox = self.mailboxes.get_mut(folder)?;
        let mut uids = Vec::new();
        for mut message in messages {
            message.uid = mailbox.uid_next;
            mailbox.uid_next += 1;
            uids.push(message.uid);
            mailbox.messages.push(message);
        }
        Some((mailbox.uid_validity, uids))
    }

    fn commit_due(&mut self, now: u64) {
        let (due, rest) = std::mem::take(&mut self.late).into_iter().partition(|late: &Late| late.due.is_some_and(|due| due <= now));
        self.late = rest;
        for late in due {
            self.store(&late.folder, late.messages);
        }
    }
}

/// The server. Any user name is accepted, with the canary as password.
pub struct Imapd {
    server: Server,
    world: Arc<Mutex<World>>,
}

impl Imapd {
    /// Starts it with an empty INBOX.
    pub fn start(behaviour: Behaviour) -> Self {
        let small = behaviour.small_buffers;
        let mut world = World {
            behaviour,
            mailboxes: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            log: Vec::new(),
            appends: 0,
            next_uid_validity: 1000,
            late: Vec::new(),
        };
        world.create("INBOX");
        let world = Arc::new(Mutex::new(world));
        let shared = Arc::clone(&world);
        Self { server: Server::start(small, move |wire| Session { wire, world: &shared, logged_in: false, selected: None }.run()), world }
    }

    /// `imap://ann@127.0.0.1:port?tls=none`.
    pub fn url(&self) -> String {
        self.url_of("")
    }

    /// `imap://ann@127.0.0.1:port/folder?tls=none`.
    pub fn url_of(&self, folder: &str) -> String {
        let slash = if folder.is_empty() { "" } else { "/" };
        format!("imap://ann@127.0.0.1:{}{slash}{folder}?tls=none", self.server.port())
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

    /// Cuts all connections that are open now.
    pub fn cut_all(&self) {
        self.server.cut_all();
    }

    /// Changes the behaviour from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world().behaviour);
    }

    /// Puts messages into a folder (wire form), which is made where it is missing.
    pub fn fill(&self, folder: &str, bodies: &[Vec<u8>]) {
        let mut world = self.world();
        world.create(folder);
        let messages = bodies.iter().map(|body| Stored::new(body.clone())).collect();
        world.store(folder, messages);
    }

    /// Changes a mailbox (wire form): flags, UIDVALIDITY, messages.
    pub fn change(&self, folder: &str, change: impl FnOnce(&mut Mailbox)) {
        change(self.world().mailboxes.get_mut(folder).unwrap());
    }

    /// The mailbox as it stands; empty where it is missing.
    pub fn mailbox(&self, folder: &str) -> Mailbox {
        self.world().mailboxes.get(folder).cloned().unwrap_or_default()
    }

    /// The bodies of a folder in the order of their UIDs.
    pub fn bodies(&self, folder: &str) -> Vec<Vec<u8>> {
        self.mailbox(folder).messages.into_iter().map(|message| message.body).collect()
    }

    /// All folders in wire form.
    pub fn folders(&self) -> Vec<String> {
        self.world().mailboxes.keys().cloned().collect()
    }

    /// The subscribed folders in wire form.
    pub fn subscribed(&self) -> Vec<String> {
        self.world().subscribed.iter().cloned().collect()
    }

    /// Stores all that was to be stored late; says how many messages that were.
    pub fn commit_late(&self) -> usize {
        let mut world = self.world();
        let late = std::mem::take(&mut world.late);
        late.into_iter().filter_map(|late| world.store(&late.folder, late.messages)).map(|(_, uids)| uids.len()).sum()
    }

    /// How many APPEND commands came whole.
    pub fn appends(&self) -> u64 {
        self.world().appends
    }

    /// All commands so far without tags and literals, each with its connection's number before it: `1 UID FETCH 1:* (UID)`;
    /// secrets left out.
    pub fn log(&self) -> Vec<String> {
        self.world().log.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl Stored {
    /// Unflagged, arrived at a fixed date.
    pub fn new(body: Vec<u8>) -> Self {
        Self { uid: 0, flags: Vec::new(), internal_date: "13-Sep-2020 12:26:40 +0000".to_owned(), body }
    }
}

struct Session<'a> {
    wire: &'a mut Wire,
    world: &'a Arc<Mutex<World>>,
    logged_in: bool,
    selected: Option<String>,
}

enum Next {
    Go,
    End,
}

impl Session<'_> {
    fn run(mut self) -> io::Result<()> {
        let greeting = {
            let behaviour = &mut self.world.lock().unwrap().behaviour;
            self.wire.drip = behaviour.drip.then_some(Duration::ZERO);
            self.wire.deaf_after = behaviour.deaf_after.take();
            self.wire.mute_after = behaviour.mute_after.take();
            format!("* OK [CAPABILITY {}] imapd ready", behaviour.capabilities.join(" "))
        };
        self.wire.line(&greeting)?;
        while let Some(mut parts) = self.read_command()? {
            if parts.len() < 2 {
                self.wire.line("* BAD what?")?;
                continue;
            }
            let tag = parts.remove(0).text();
            let mut verb = parts.remove(0).text().to_ascii_uppercase();
            if verb == "UID" && !parts.is_empty() {
                verb = format!("UID {}", parts.remove(0).text().to_ascii_uppercase());
            }
            {
                let mut world = self.world.lock().unwrap();
                let shown: Vec<String> = if verb == "LOGIN" || verb == "AUTHENTICATE" {
                    Vec::new()
                } else {
                    let shown = |part: &Token| if let Token::Literal(bytes) = part { format!("{{{}}}", bytes.len()) } else { part.text() };
                    parts.iter().map(shown).collect()
                };
                let entry = format!("{} {verb} {}", self.wire.number(), shown.join(" "));
                world.log.push(entry.replace("( ", "(").replace(" )", ")").trim_end().to_owned());
                let now = read_clock(world.behaviour.clock.as_ref());
                world.commit_due(now);
            }
            if let Next::End = self.command(&tag, &verb, &parts)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One whole command with its literals; `None` at the end of the connection.
    fn read_command(&mut self) -> io::Result<Option<Vec<Token>>> {
        let mut parts = Vec::new();
        loop {
            let Some(line) = self.wire.read_line()? else { return Ok(None) };
            let Some((count, synchronising, open)) = announced(&line) else {
                tokens(&line, &mut parts);
                return Ok(Some(parts));
            };
            tokens(&line[..open], &mut parts);
            let behaviour = self.world.lock().unwrap().behaviour.clone();
            let tag = parts.first().map(Token::text).unwrap_or_default();
            if synchronising {
                if behaviour.max_literal.is_some_and(|bound| count > bound) {
                    self.world.lock().unwrap().log.push(format!("{} refused literal {count}", self.wire.number()));
                    self.wire.line(&format!("{tag} NO [TOOBIG] too big"))?;
                    parts.clear();
                    continue;
                }
                self.wire.line("+ go ahead")?;
            } else if !(behaviour.has("LITERAL+") || behaviour.has("LITERAL-") && count <= 4096) {
                self.wire.line(&format!("{tag} BAD this literal was not offered"))?;
                return Ok(None);
            }
            parts.push(Token::Literal(self.wire.read_exact(count)?));
        }
    }

    fn capability(&self) -> String {
        format!("CAPABILITY {}", self.world.lock().unwrap().behaviour.capabilities.join(" "))
    }

    fn command(&mut self, tag: &str, verb: &str, parts: &[Token]) -> io::Result<Next> {
        let text = |index: usize| parts.get(index).map(Token::text).unwrap_or_default();
        let folder = inbox(text(0));
        match verb {
            "CAPABILITY" => {
                let line = self.capability();
                self.wire.line(&format!("* {line}"))?;
            }
            "NOOP" | "CHECK" | "ENABLE" => {}
            "ID" => self.wire.line("* ID (\"name\" \"imapd\")")?,
            "LOGOUT" => {
                self.wire.write(format!("* BYE bye\r\n{tag} OK bye\r\n").as_bytes())?;
                return Ok(Next::End);
            }
            "LOGIN" | "AUTHENTICATE" => return self.login(tag, verb, parts),
            _ if !self.logged_in => {
                self.wire.line(&format!("{tag} BAD log in first"))?;
                return Ok(Next::Go);
            }
            "NAMESPACE" => self.wire.line("* NAMESPACE ((\"\" \"/\")) NIL NIL")?,
            "CREATE" => {
                let known = self.world.lock().unwrap().mailboxes.contains_key(&folder);
                if known {
                    self.wire.line(&format!("{tag} NO [ALREADYEXISTS] is there"))?;
                    return Ok(Next::Go);
                }
                self.world.lock().unwrap().create(folder.trim_end_matches('/'));
            }
            "DELETE" => {
                self.world.lock().unwrap().mailboxes.remove(&folder);
            }
            "SUBSCRIBE" => {
                self.world.lock().unwrap().subscribed.insert(folder);
            }
            "UNSUBSCRIBE" => {
                self.world.lock().unwrap().subscribed.remove(&folder);
            }
            "LIST" | "LSUB" => self.list(verb, parts)?,
            "STATUS" => {
                let Some(mailbox) = self.world.lock().unwrap().mailboxes.get(&folder).cloned() else {
                    self.wire.line(&format!("{tag} NO [NONEXISTENT] no such mailbox"))?;
                    return Ok(Next::Go);
                };
                let unseen =
                    mailbox.messages.iter().filter(|message| !message.flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Seen")));
                let unseen = unseen.count();
                let items: Vec<String> = parts[1..]
                    .iter()
                    .filter_map(|item| {
                        let item = item.text().to_ascii_uppercase();
                        let value = match item.as_str() {
                            "MESSAGES" => mailbox.messages.len(),
                            "UIDNEXT" => mailbox.uid_next as usize,
                            "UIDVALIDITY" => mailbox.uid_validity as usize,
                            "UNSEEN" => unseen,
                            "RECENT" => 0,
                            "SIZE" => mailbox.messages.iter().map(|message| message.body.len()).sum(),
                            _ => return None,
                        };
                        Some(format!("{item} {value}"))
                    })
                    .collect();
                self.wire.line(&format!("* STATUS {} ({})", quoted(&folder), items.join(" ")))?;
            }
            "SELECT" | "EXAMINE" => {
                let Some(mailbox) = self.world.lock().unwrap().mailboxes.get(&folder).cloned() else {
                    self.selected = None;
                    self.wire.line(&format!("{tag} NO [NONEXISTENT] no such mailbox"))?;
                    return Ok(Next::Go);
                };
                self.selected = Some(folder);
                let mode = if verb == "SELECT" { "READ-WRITE" } else { "READ-ONLY" };
                let answer = format!(
                    "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n\
                     * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] ok\r\n* {} EXISTS\r\n* 0 RECENT\r\n\
                     * OK [UIDVALIDITY {}] ok\r\n* OK [UIDNEXT {}] ok\r\n{tag} OK [{mode}] done\r\n",
                    mailbox.messages.len(),
                    mailbox.uid_validity,
                    mailbox.uid_next
                );
                self.wire.write(answer.as_bytes())?;
                return Ok(Next::Go);
            }
            "CLOSE" | "UNSELECT" => self.selected = None,
            "APPEND" => return self.append(tag, &folder, &parts[1..]),
            "UID FETCH" => {
                if let Next::End = self.fetch(parts)? {
                    return Ok(Next::End);
                }
            }
            "UID SEARCH" => self.search(parts)?,
            "UID STORE" => self.store_flags(parts)?,
            "UID EXPUNGE" | "EXPUNGE" => self.expunge(&if verb == "EXPUNGE" { "1:*".to_owned() } else { text(0) })?,
            _ => {
                self.wire.line(&format!("{tag} BAD unknown command"))?;
                return Ok(Next::Go);
            }
        }
        self.wire.line(&format!("{tag} OK done"))?;
        Ok(Next::Go)
    }

    fn login(&mut self, tag: &str, verb: &str, parts: &[Token]) -> io::Result<Next> {
        let password = if verb == "LOGIN" {
            parts.get(1).map(Token::text).unwrap_or_default()
        } else {
            let response = match parts.get(1) {
                Some(initial) => initial.text(),
                None => {
                    self.wire.line("+ ")?;
                    String::from_utf8_lossy(&self.wire.read_line()?.unwrap_or_default()).into_owned()
                }
            };
            let frame = base64::engine::general_purpose::STANDARD.decode(response).unwrap_or_default();
            String::from_utf8_lossy(frame.split(|&byte| byte == 0).nth(2).unwrap_or_default()).into_owned()
        };
        let refusal = self.world.lock().unwrap().behaviour.login.clone();
        let answer = match refusal {
            _ if password != canary() => "NO [AUTHENTICATIONFAILED] wrong password".to_owned(),
            Some(refusal) => refusal,
            None => {
                self.logged_in = true;
                format!("OK [{}] logged in", self.capability())
            }
        };
        self.wire.line(&format!("{tag} {answer}"))?;
        Ok(Next::Go)
    }

    fn list(&mut self, verb: &str, parts: &[Token]) -> io::Result<()> {
        // Selection options come first, in parentheses; none is offered, so they are skipped.
        let skipped = if parts.first() == Some(&Token::Open) {
            parts.iter().position(|part| *part == Token::Close).map_or(0, |at| at + 1)
        } else {
            0
        };
        let pattern: String = parts[skipped..].iter().take(2).map(Token::text).collect();
        let mut answer = String::new();
        if pattern.is_empty() {
            answer.push_str("* LIST (\\Noselect) \"/\" \"\"\r\n");
        } else {
            let world = self.world.lock().unwrap();
            let names: Vec<&String> = if verb == "LSUB" { world.subscribed.iter().collect() } else { world.mailboxes.keys().collect() };
            for name in names.into_iter().filter(|name| matches(pattern.as_bytes(), name.as_bytes())) {
                answer.push_str(&format!("* {verb} () \"/\" {}\r\n", quoted(name)));
            }
        }
        self.wire.write(answer.as_bytes())
    }

    fn append(&mut self, tag: &str, folder: &str, parts: &[Token]) -> io::Result<Next> {
        let mut messages = Vec::new();
        let mut message = Stored::new(Vec::new());
        for part in parts {
            match part {
                Token::Open | Token::Close => {}
                Token::Atom(flag) => message.flags.push(flag.clone()),
                Token::Text(date) => message.internal_date = String::from_utf8_lossy(date).into_owned(),
                Token::Literal(body) => {
                    message.body.clone_from(body);
                    messages.push(std::mem::replace(&mut message, Stored::new(Vec::new())));
                }
            }
        }
        let holds = |needle: &[u8]| messages.iter().any(|message| contains(&message.body, needle));
        let mut world = self.world.lock().unwrap();
        world.appends += 1;
        let number = world.appends;
        let fault = world.behaviour.appends.get(&number).cloned();
        let refusal = world.behaviour.refuse.iter().find(|(needle, _)| holds(needle)).map(|(_, words)| words.clone());
        let hangs_up = world.behaviour.hang_up_on.iter().any(|needle| holds(needle));
        let malformed = messages.is_empty() || messages.len() > 1 && !world.behaviour.has("MULTIAPPEND");
        let uidplus = world.behaviour.has("UIDPLUS");
        let refusal = match &fault {
            _ if malformed => Some("BAD one message is wanted".to_owned()),
            Some(AppendFault::No(words)) => Some(format!("NO {words}")),
            _ if !world.mailboxes.contains_key(folder) => Some("NO [TRYCREATE] no such mailbox".to_owned()),
            _ => refusal.map(|words| format!("NO {words}")),
        };
        if hangs_up || fault == Some(AppendFault::HangUpBeforeStoring) {
            return Ok(Next::End);
        }
        if let Some(refusal) = refusal {
            drop(world);
            self.wire.line(&format!("{tag} {refusal}"))?;
            return Ok(Next::Go);
        }
        if let Some(AppendFault::StoreLate(after)) = fault {
            let now = read_clock(world.behaviour.clock.as_ref());
            world.late.push(Late { due: after.map(|after| now + after), folder: folder.to_owned(), messages });
            return Ok(Next::End);
        }
        let (mut uid_validity, mut uids) = world.store(folder, messages).unwrap();
        if fault == Some(AppendFault::Renumber)
            && let Some(mailbox) = world.mailboxes.get_mut(folder)
        {
            mailbox.renumber();
            uid_validity = mailbox.uid_validity;
            uids = mailbox.messages.iter().rev().take(uids.len()).map(|message| message.uid).rev().collect();
        }
        let clock = world.behaviour.clock.clone();
        drop(world);
        match &fault {
            Some(AppendFault::NoAfterStoring(words)) => {
                self.wire.line(&format!("{tag} NO {words}"))?;
                return Ok(Next::Go);
            }
            Some(AppendFault::AnswerAfterMinutes(minutes)) => {
                for _ in 0..*minutes {
                    advance_clock(clock.as_ref().unwrap(), Duration::from_secs(60));
                    // The pace of the clock, so that the client sees it move.
                    std::thread::sleep(Duration::from_millis(15));
                }
            }
            Some(AppendFault::SwallowReply) => return Ok(Next::Go),
            Some(AppendFault::HangUpAfterStoring) => return Ok(Next::End),
            Some(AppendFault::Stall) => {
                self.wire.stall();
                return Ok(Next::End);
            }
            _ => {}
        }
        let code = match (uidplus, uids.as_slice()) {
            (true, [uid]) => format!("[APPENDUID {uid_validity} {uid}] "),
            (true, [first, .., last]) => format!("[APPENDUID {uid_validity} {first}:{last}] "),
            _ => String::new(),
        };
        self.wire.line(&format!("{tag} OK {code}stored"))?;
        if let Some(AppendFault::AnswerAfterMinutes(_)) = fault {
            return Ok(Next::End);
        }
        Ok(Next::Go)
    }

    /// The selected mailbox as it is now, or an empty one.
    fn current(&self) -> Mailbox {
        let world = self.world.lock().unwrap();
        self.selected.as_ref().and_then(|name| world.mailboxes.get(name)).cloned().unwrap_or_default()
    }

    fn fetch(&mut self, parts: &[Token]) -> io::Result<Next> {
        let mailbox = self.current();
        let last = mailbox.messages.last().map_or(0, |message| message.uid);
        let set = parts.first().map(Token::text).unwrap_or_default();
        let (fatal, mut unlisted) = {
            let world = self.world.lock().unwrap();
            (world.behaviour.hang_up_at_uid, world.behaviour.unlisted.clone())
        };
        let items: Vec<String> = parts[1..].iter().filter(|part| matches!(part, Token::Atom(_))).map(Token::text).collect();
        unlisted.retain(|_| !items.iter().any(|item| item.to_ascii_uppercase().starts_with("BODY")));
        for (index, message) in
            mailbox.messages.iter().enumerate().filter(|(_, message)| in_set(&set, message.uid, last) && !unlisted.contains(&message.uid))
        {
            let mut answer = format!("* {} FETCH (UID {}", index + 1, message.uid).into_bytes();
            let mut has_body = false;
            for item in &items {
                let name = item.to_ascii_uppercase();
                let part = match name.as_str() {
                    "FLAGS" => format!(" FLAGS ({})", message.flags.join(" ")).into_bytes(),
                    "INTERNALDATE" => format!(" INTERNALDATE \"{}\"", message.internal_date).into_bytes(),
                    "RFC822.SIZE" => format!(" RFC822.SIZE {}", message.body.len()).into_bytes(),
                    _ => match section(&name, &message.body) {
                        Some((label, bytes)) => {
                            has_body = true;
                            let mut part = format!(" {label} {{{}}}\r\n", bytes.len()).into_bytes();
                            part.extend(bytes);
                            part
                        }
                        None => continue,
                    },
                };
                answer.extend(part);
            }
            answer.extend(b")\r\n");
            if has_body && fatal == Some(message.uid) {
                self.wire.write(&answer[..answer.len() / 2])?;
                return Ok(Next::End);
            }
            self.wire.write(&answer)?;
        }
        Ok(Next::Go)
    }

    fn search(&mut self, parts: &[Token]) -> io::Result<()> {
        let mailbox = self.current();
        let last = mailbox.messages.last().map_or(0, |message| message.uid);
        let words: Vec<String> = parts.iter().map(Token::text).collect();
        let found = mailbox.messages.iter().filter(|message| {
            let flagged = |name: &str| message.flags.iter().any(|flag| flag.eq_ignore_ascii_case(name));
            let mut words = words.iter();
            while let Some(word) = words.next() {
                let holds = match word.to_ascii_uppercase().as_str() {
                    "UID" => words.next().is_some_and(|set| in_set(set, message.uid, last)),
                    "SEEN" => flagged("\\Seen"),
                    "UNSEEN" => !flagged("\\Seen"),
                    "DELETED" => flagged("\\Deleted"),
                    "UNDELETED" => !flagged("\\Deleted"),
                    "HEADER" => {
                        let (name, value) = (words.next().cloned().unwrap_or_default(), words.next().cloned().unwrap_or_default());
                        let header = String::from_utf8_lossy(&header(&message.body)).to_ascii_lowercase();
                        let name = format!("{}:", name.to_ascii_lowercase());
                        header.lines().any(|line| line.starts_with(&name) && line.contains(&value.to_ascii_lowercase()))
                    }
                    _ => true,
                };
                if !holds {
                    return false;
                }
            }
            true
        });
        let uids: String = found.map(|message| format!(" {}", message.uid)).collect();
        self.wire.line(&format!("* SEARCH{uids}"))
    }

    fn store_flags(&mut self, parts: &[Token]) -> io::Result<()> {
        let mut answer = String::new();
        {
            let mut world = self.world.lock().unwrap();
            let Some(mailbox) = self.selected.as_ref().and_then(|name| world.mailboxes.get_mut(name)) else { return Ok(()) };
            let last = mailbox.messages.last().map_or(0, |message| message.uid);
            let set = parts.first().map(Token::text).unwrap_or_default();
            let how = parts.get(1).map(Token::text).unwrap_or_default().to_ascii_uppercase();
            let flags: Vec<String> = parts[2..].iter().filter(|part| matches!(part, Token::Atom(_))).map(Token::text).collect();
            for (index, message) in mailbox.messages.iter_mut().enumerate().filter(|(_, message)| in_set(&set, message.uid, last)) {
                if !how.starts_with('+') {
                    message.flags.retain(|flag| how.starts_with('-') && !flags.iter().any(|gone| gone.eq_ignore_ascii_case(flag)));
                }
                if !how.starts_with('-') {
                    for flag in &flags {
                        if !message.flags.iter().any(|there| there.eq_ignore_ascii_case(flag)) {
                            message.flags.push(flag.clone());
                        }
                    }
                }
                if !how.ends_with(".SILENT") {
                    answer.push_str(&format!("* {} FETCH (UID {} FLAGS ({}))\r\n", index + 1, message.uid, message.flags.join(" ")));
                }
            }
        }
        self.wire.write(answer.as_bytes())
    }

    fn expunge(&mut self, set: &str) -> io::Result<()> {
        let mut answer = String::new();
        {
            let mut world = self.world.lock().unwrap();
            let Some(mailbox) = self.selected.as_ref().and_then(|name| world.mailboxes.get_mut(name)) else { return Ok(()) };
            let last = mailbox.messages.last().map_or(0, |message| message.uid);
            let mut index = 0;
            mailbox.messages.retain(|message| {
                let goes = in_set(set, message.uid, last) && message.flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Deleted"));
                if goes {
                    answer.push_str(&format!("* {} EXPUNGE\r\n", index + 1));
                } else {
                    index += 1;
                }
                !goes
            });
        }
        self.wire.write(answer.as_bytes())
    }
}
