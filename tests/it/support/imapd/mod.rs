//! A small IMAP server in memory, plain TCP on loopback. Its mailboxes outlive the connections, so that a test can
//! compare multisets at the end; and it fails in the ways it is told to, above all around APPEND.

mod changed;
mod grammar;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use self::session::Session;
use super::server::Server;

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

/// What goes wrong at a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandFault {
    /// Refused with these words, nothing done: `NO [LIMIT] too much`.
    Refuse(String),
    /// The connection ends, nothing done.
    HangUpBefore,
    /// Done, then the connection ends without an answer.
    HangUpAfter,
}

/// How the server behaves; may be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The capabilities, announced before and after login.
    pub capabilities: Vec<String>,
    /// Faults by the number of the APPEND command, from 1, over all connections.
    pub appends: BTreeMap<u64, AppendFault>,
    /// Faults of the n-th command of a name, from 1 over all connections: `("UID STORE", 2, …)`.
    pub faults: Vec<(String, u64, CommandFault)>,
    /// Just before a UID STORE is done the first of these happens, once: somebody else gives the message with this UID this
    /// flag (`-` before it: takes it away).
    pub meddling: Vec<(u32, String)>,
    /// What COPY and MOVE tell in place of the right COPYUID: `COPYUID 9 1:2 3:4`, or nothing at all where it is empty.
    pub copy_uid: Option<String>,
    /// Just before the first command of a name somebody else removes the message with this UID from the mailbox.
    pub vanish: Option<(String, u32)>,
    /// What SELECT says can be changed for ever, in place of everything.
    pub permanent_flags: Option<String>,
    /// SELECT and EXAMINE of these mailboxes are refused with these words.
    pub closed: BTreeMap<String, String>,
    /// SELECT opens mailboxes to be read.
    pub read_only: bool,
    /// Attributes of mailboxes in LIST: `("Bin", "\\Trash")`.
    pub special_use: BTreeMap<String, String>,
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
    /// Left out of the answer to every FETCH, which ends with OK all the same; SEARCH finds them.
    pub withheld: Vec<u32>,
    /// The answer to a right password, in place of OK: `NO [UNAVAILABLE] later`.
    pub login: Option<String>,
    /// Passwords and tokens that are right in place of the canary.
    pub secrets: Option<Vec<String>>,
    /// So many connections may be logged in at a time; more are answered with these words in place of OK.
    pub max_connections: Option<(usize, String)>,
    /// Each connection fetches or appends so many messages and no more: then it is told these words (`BYE …`) and ends.
    pub bye_after: Option<(usize, String)>,
    /// What is right from the first [`Self::bye_after`] on, in place of `secrets`.
    pub secrets_after_bye: Option<Vec<String>>,
    /// What it says first, in place of its own words: `* BYE too many connections`. Then it hangs up.
    pub greeting: Option<String>,
    /// Octets travel alone.
    pub drip: bool,
    /// The next connection made is never read again once so many octets were.
    pub deaf_after: Option<u64>,
    /// The next connection made gets no more once so many octets were sent.
    pub mute_after: Option<u64>,
    /// Socket buffers of about a kilobyte (only at the start): answers block while the client does not read.
    pub small_buffers: bool,
    /// EXAMINE and SELECT leave HIGHESTMODSEQ out, as Dovecot's sometimes do.
    pub hides_mod_seq: bool,
    /// CHANGEDSINCE and QRESYNC bring every message.
    pub tells_everything: bool,
    /// What was expunged is not remembered: VANISHED (EARLIER) names all UIDs that are not there.
    pub forgets_expunges: bool,
    /// QRESYNC names no expunged messages at all.
    pub denies_expunges: bool,
    /// Every message has the same EMAILID.
    pub same_email_ids: bool,
    /// LIST-STATUS tells nothing of these mailboxes, and STATUS refuses them with these words.
    pub no_status: BTreeMap<String, String>,
    /// What stands behind the agreement to COMPRESS, uncompressed, in place of a compressed stream.
    pub compresses_not: Option<String>,
    /// The personal namespace, as in `INBOX.`: no other names are made but below it.
    pub prefix: String,
    /// What separates levels.
    pub delimiter: char,
    /// A name is taken where one is there that differs in case alone.
    pub case_blind: bool,
    /// The resources of the one quota root: name, usage, limit. Announced by the capability QUOTA.
    pub quota: Vec<(String, u64, u64)>,
    /// What STATUS (APPENDLIMIT) tells of mailboxes.
    pub append_limits: BTreeMap<String, usize>,
    /// The test clock by which [`AppendFault::StoreLate`] counts.
    pub clock: Option<PathBuf>,
}

impl Default for Behaviour {
    fn default() -> Self {
        let capabilities = ["IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "ID", "NAMESPACE", "UIDPLUS", "MULTIAPPEND", "LITERAL+"];
        Self {
            capabilities: capabilities.map(str::to_owned).to_vec(),
            appends: BTreeMap::new(),
            faults: Vec::new(),
            closed: BTreeMap::new(),
            meddling: Vec::new(),
            copy_uid: None,
            vanish: None,
            permanent_flags: None,
            read_only: false,
            special_use: BTreeMap::new(),
            refuse: Vec::new(),
            hang_up_on: Vec::new(),
            max_literal: None,
            hang_up_at_uid: None,
            unlisted: Vec::new(),
            withheld: Vec::new(),
            login: None,
            secrets: None,
            max_connections: None,
            bye_after: None,
            secrets_after_bye: None,
            greeting: None,
            drip: false,
            deaf_after: None,
            mute_after: None,
            small_buffers: false,
            hides_mod_seq: false,
            tells_everything: false,
            forgets_expunges: false,
            denies_expunges: false,
            same_email_ids: false,
            no_status: BTreeMap::new(),
            compresses_not: None,
            prefix: String::new(),
            delimiter: '/',
            case_blind: false,
            quota: Vec::new(),
            append_limits: BTreeMap::new(),
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

    /// With a fault at the n-th command of this name, from 1.
    pub fn fault(mut self, verb: &str, number: u64, fault: CommandFault) -> Self {
        self.faults.push((verb.to_owned(), number, fault));
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
    /// MODSEQ.
    pub mod_seq: u64,
}

/// A mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// In the order of UIDs.
    pub messages: Vec<Stored>,
    /// HIGHESTMODSEQ.
    pub mod_seq: u64,
    /// It keeps no MODSEQs (NOMODSEQ).
    pub no_mod_seqs: bool,
    /// MAILBOXID: stays when it is renamed.
    pub id: String,
    /// UIDs that were expunged, and the MODSEQ of that.
    pub expunged: Vec<(u64, u32)>,
}

impl Mailbox {
    /// Removes a message as somebody would, who needs no flag for it.
    pub fn expunge(&mut self, uid: u32) {
        self.mod_seq += 1;
        self.messages.retain(|message| message.uid != uid);
        self.expunged.push((self.mod_seq, uid));
    }

    /// Changes a message's flags as somebody would: its MODSEQ rises above all others. What is done with `-` or `+` before
    /// the flag follows; without either it is given.
    pub fn reflag(&mut self, uid: u32, how: &str) {
        self.mod_seq += 1;
        for message in self.messages.iter_mut().filter(|message| message.uid == uid) {
            message.mod_seq = self.mod_seq;
            let flag = how.trim_start_matches(['+', '-']);
            message.flags.retain(|there| !there.eq_ignore_ascii_case(flag));
            if !how.starts_with('-') {
                message.flags.push(flag.to_owned());
            }
        }
    }

    /// Gives it another UIDVALIDITY, and all messages other UIDs in the same order.
    pub fn renumber(&mut self) {
        self.uid_validity += 1000;
        self.expunged.clear();
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
    /// Bodies sent whole.
    fetched: u64,
    /// Connections that are logged in, and the most there ever were at once.
    logged_in: usize,
    most_at_once: usize,
    /// How many commands of each name came.
    commands: BTreeMap<String, u64>,
    next_uid_validity: u32,
    late: Vec<Late>,
}

impl World {
    fn create(&mut self, name: &str) {
        self.next_uid_validity += 1;
        let id = format!("F{:08x}", self.next_uid_validity);
        let mailbox = Mailbox { uid_validity: self.next_uid_validity, uid_next: 1, mod_seq: 1, id, ..Mailbox::default() };
        self.mailboxes.entry(name.to_owned()).or_insert(mailbox);
    }

    /// Stores messages and gives their UIDs; `None` where the mailbox is missing.
    fn store(&mut self, folder: &str, messages: Vec<Stored>) -> Option<(u32, Vec<u32>)> {
        if self.behaviour.has("X-GM-EXT-1") {
            self.relabel(folder, &messages);
        }
        let mailbox = self.mailboxes.get_mut(folder)?;
        let mut uids = Vec::new();
        for mut message in messages {
            message.uid = mailbox.uid_next;
            mailbox.uid_next += 1;
            mailbox.mod_seq += 1;
            message.mod_seq = mailbox.mod_seq;
            uids.push(message.uid);
            mailbox.messages.push(message);
        }
        Some((mailbox.uid_validity, uids))
    }

    /// Gmail: whatever gets into another folder has a label more wherever it lies.
    fn relabel(&mut self, folder: &str, messages: &[Stored]) {
        for (_, mailbox) in self.mailboxes.iter_mut().filter(|(name, _)| *name != folder) {
            for message in &mut mailbox.messages {
                if messages.iter().any(|other| other.body == message.body) {
                    mailbox.mod_seq += 1;
                    message.mod_seq = mailbox.mod_seq;
                }
            }
        }
    }

    /// Gmail's labels of a message as seen in a folder: the other folders it lies in, All Mail aside.
    fn labels(&self, folder: &str, body: &[u8]) -> String {
        let all = |name: &str| self.behaviour.special_use.get(name).is_some_and(|attribute| attribute.contains("\\All"));
        let holds = |mailbox: &Mailbox| mailbox.messages.iter().any(|message| message.body == body);
        let others = self.mailboxes.iter().filter(|(name, mailbox)| *name != folder && !all(name) && holds(mailbox));
        // Gmail's own folders are told by the words of the system, whatever they are called.
        let told = |name: &str| match self.behaviour.special_use.get(name).map(String::as_str) {
            _ if name == "INBOX" => "\"\\\\Inbox\"".to_owned(),
            Some("\\Sent") => "\"\\\\Sent\"".to_owned(),
            Some("\\Drafts") => "\"\\\\Draft\"".to_owned(),
            Some("\\Flagged") => "\"\\\\Starred\"".to_owned(),
            Some("\\Important") => "\"\\\\Important\"".to_owned(),
            _ => grammar::quoted(name),
        };
        let labels: Vec<String> = others.map(|(name, _)| told(name)).collect();
        labels.join(" ")
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
            fetched: 0,
            logged_in: 0,
            most_at_once: 0,
            commands: BTreeMap::new(),
            next_uid_validity: 1000,
            late: Vec::new(),
        };
        world.create("INBOX");
        let world = Arc::new(Mutex::new(world));
        let shared = Arc::clone(&world);
        Self {
            server: Server::start(small, move |wire| {
                let mut session = Session { wire, world: &shared, logged_in: false, selected: None, qresync: false, served: 0 };
                let outcome = session.run();
                if session.logged_in {
                    shared.lock().unwrap().logged_in -= 1;
                }
                outcome
            }),
            world,
        }
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

    /// Renames a folder (wire form) as somebody would.
    pub fn rename(&self, from: &str, to: &str) {
        let mut world = self.world();
        let mailbox = world.mailboxes.remove(from).unwrap();
        world.mailboxes.insert(to.to_owned(), mailbox);
    }

    /// Removes a folder (wire form) as somebody would.
    pub fn remove(&self, folder: &str) {
        self.world().mailboxes.remove(folder).unwrap();
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

    /// How many messages were sent whole.
    pub fn fetched(&self) -> u64 {
        self.world().fetched
    }

    /// How many connections were logged in at once at most.
    pub fn most_at_once(&self) -> usize {
        self.world().most_at_once
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
    /// X-GM-MSGID.
    pub fn gmail_id(&self) -> u64 {
        changed::identity(&self.body)
    }

    /// Unflagged, arrived at a fixed date.
    pub fn new(body: Vec<u8>) -> Self {
        Self { uid: 0, flags: Vec::new(), internal_date: "13-Sep-2020 12:26:40 +0000".to_owned(), body, mod_seq: 0 }
    }
}
