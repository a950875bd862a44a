//! An authenticated session and the commands that need no selected mailbox. Fallbacks live inside the verb, so that no
//! caller ever asks for a capability. It knows nothing of messages on their way (`bulk`) or of journals.

use std::collections::HashSet;

use super::compress::Pace;
use super::encode::Command;
use super::opening::Ahead;
use super::selected::{MailboxState, Selected};
use super::types::{ListEntry, MailboxStatus, Namespaces, Response, StatusLine, Untagged};
use super::utf7;
use super::wire::{LiteralForm, Received, Wire};
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::net::Phase;

pub use super::wire::Access;

/// Mailboxes one account may list, and the octets of their names and attributes.
const MAX_MAILBOXES: usize = 100_000;
const MAX_MAILBOX_OCTETS: usize = 8 * 1024 * 1024;

/// What a server said it can do; names are compared without case.
#[derive(Debug, Clone, Default)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// From the names as the server wrote them.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_uppercase()).collect())
    }

    /// Whether `name` (upper case) is among them.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }

    /// The number behind a name and `=`: `APPENDLIMIT=35651584`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.iter().find_map(|own| own.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }

    /// All names, in capitals.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether nothing was announced at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A mailbox as LIST shows it.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// Its name for people.
    pub folder: Folder,
    /// Its name for the server.
    pub wire_name: Vec<u8>,
    /// Attributes as written, special uses among them.
    pub attributes: Vec<String>,
    /// Whether it can be selected.
    pub selectable: bool,
    /// Whether it is subscribed.
    pub subscribed: bool,
}

impl Mailbox {
    /// Whether it has this attribute, case aside.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|own| own.eq_ignore_ascii_case(attribute))
    }
}

/// An authenticated IMAP session.
pub struct Session {
    pub(super) wire: Wire,
    pub(super) capabilities: Capabilities,
    /// What was announced before the login, under TLS where that was asked for.
    pub(super) offered: Capabilities,
    /// UTF8=ACCEPT is enabled: strings are UTF-8, and searches name no charset (RFC 6855 section 3).
    pub(super) utf8_accepted: bool,
    /// How messages and errors name the place.
    pub(super) place: String,
    /// The personal namespace's prefix in wire octets, its delimiter included (`INBOX.`); empty for most.
    pub(super) prefix: Vec<u8>,
    pub(super) delimiter: Option<char>,
    pub(super) delimiter_known: bool,
    /// The UID at which reading bodies was lost.
    pub(super) stuck_at: Option<u32>,
    /// Messages one command asks for at most, where the server is known to hang up.
    pub(super) set_messages: Option<usize>,
    /// The mailbox that is examined still, and what EXAMINE told of it.
    pub(super) examined: Option<(Vec<u8>, MailboxState)>,
    owing: Owing,
    /// Whether QRESYNC is on.
    pub(super) qresync: Qresync,
    pub(super) pace: Pace,
}

/// Whether a session tells by UID what went (RFC 7162).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qresync {
    /// Nobody asked yet.
    Unasked,
    /// It does.
    On,
    /// It will not.
    Off,
}

/// What was put off because something more urgent went ahead.
#[derive(Debug, Clone, Copy, Default)]
struct Owing {
    id: bool,
    namespace: bool,
}

/// What the first answers after login tell.
#[derive(Default)]
struct Told {
    capabilities: Vec<String>,
    spaces: Option<Namespaces>,
    /// As LIST says it.
    delimiter: Option<Option<char>>,
    /// An answer to a later command came among them.
    too_much: bool,
    /// Mailboxes are being listed behind this, so that a line of LIST belongs to that.
    lists_ahead: bool,
}

impl Told {
    fn take(&mut self, received: &Received) -> Result<()> {
        match &received.response {
            Response::Untagged(Untagged::Capability(found)) => self.capabilities.clone_from(found),
            Response::Untagged(Untagged::Namespace(found)) => self.spaces = Some(found.clone()),
            Response::Untagged(Untagged::List(_) | Untagged::Lsub(_) | Untagged::MailboxStatus { .. }) if self.lists_ahead => {
                self.too_much = true;
            }
            Response::Untagged(Untagged::List(entry)) => self.delimiter = Some(entry.delimiter),
            Response::Untagged(
                Untagged::Exists(_) | Untagged::Search(_) | Untagged::ESearch(_) | Untagged::Sort(_) | Untagged::Fetch(_),
            ) => self.too_much = true,
            _ => {}
        }
        Ok(())
    }
}

impl Session {
    /// Asks for so many messages at most by one command from now on: what a session is lost in the middle of is read again.
    pub fn ask_for_few(&mut self, messages: usize) {
        self.set_messages = Some(messages.max(1));
    }

    /// The UID of the message that was next to come when the session was lost while bodies were read.
    pub fn stuck_at(&self) -> Option<u32> {
        self.stuck_at
    }

    /// Made by `login::connect` when authentication is through: asks for capabilities anew, says who we are, learns the
    /// namespace and sends what will be wanted first, all in one round trip where `known` tells enough.
    pub(super) fn begin(wire: Wire, place: String, known: Capabilities, pace: Pace, ahead: Ahead<'_>) -> Result<Self> {
        let mut session = Self {
            wire,
            capabilities: Capabilities::default(),
            offered: Capabilities::default(),
            place,
            utf8_accepted: false,
            prefix: Vec::new(),
            delimiter: None,
            delimiter_known: false,
            stuck_at: None,
            set_messages: None,
            examined: None,
            owing: Owing::default(),
            qresync: Qresync::Unasked,
            pace,
        };
        session.wire.conn.deadline(Phase::Login);
        let capability = session.wire.send(&Command::new("CAPABILITY"))?;
        let mut tags = Vec::new();
        if known.has("ID") {
            tags.push(session.wire.send(&identification()?)?);
        }
        if known.has("NAMESPACE") {
            tags.push(session.wire.send(&Command::new("NAMESPACE"))?);
        } else if ahead.wants_delimiter() {
            tags.push(session.wire.send(&delimiter_query())?);
        }
        let asked = (known.has("ID"), known.has("NAMESPACE"));
        session.learn(known);
        // Nothing may stand behind COMPRESS until it is answered.
        let compresses = session.pace.compresses_at_once();
        let guess = if compresses { None } else { session.go_ahead(ahead)? };
        let mut told = Told { lists_ahead: matches!(ahead, Ahead::Mailboxes), ..Told::default() };
        session.wire.finish(&capability, "CAPABILITY was refused", &mut |received| told.take(&received))?;
        session.learn(Capabilities::new(&told.capabilities));
        for tag in tags {
            // None is needed: a server that refuses them only tells us less.
            session.wire.finish_any(&tag, &mut |received| told.take(&received))?;
        }
        if told.too_much {
            session.wire.spoil_ahead();
        }
        session.place_names(told);
        session.owing =
            Owing { id: !asked.0 && session.capabilities.has("ID"), namespace: !asked.1 && session.capabilities.has("NAMESPACE") };
        // INBOX has no prefix, and a server that lets us look at it does not mind who we are: what went ahead goes first.
        if !ahead.is_inbox() || !session.wire.has_ahead() {
            session.catch_up()?;
        }
        if compresses {
            session.compress()?;
        }
        session.correct(ahead, guess.as_deref())?;
        Ok(session)
    }

    /// Believes these capabilities.
    fn learn(&mut self, capabilities: Capabilities) {
        self.wire.literals = if capabilities.has("LITERAL+") {
            LiteralForm::Any
        } else if capabilities.has("LITERAL-") || capabilities.has("IMAP4REV2") {
            LiteralForm::Short
        } else {
            LiteralForm::Synchronising
        };
        self.capabilities = capabilities;
    }

    fn place_names(&mut self, told: Told) {
        if let Some((prefix, delimiter)) = told.spaces.and_then(|spaces: Namespaces| spaces.personal.into_iter().next()) {
            self.prefix = prefix;
            self.delimiter = delimiter;
            self.delimiter_known = true;
        } else if let Some(delimiter) = told.delimiter {
            self.delimiter = delimiter;
            self.delimiter_known = true;
        }
    }

    /// Says and asks what only the capabilities after login told to be possible.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let owing = std::mem::take(&mut self.owing);
        let mut tags = Vec::new();
        if owing.id {
            tags.push(self.wire.send(&identification()?)?);
        }
        if owing.namespace {
            tags.push(self.wire.send(&Command::new("NAMESPACE"))?);
        }
        let mut told = Told::default();
        for tag in tags {
            self.wire.conn.deadline(Phase::Login);
            self.wire.finish_any(&tag, &mut |received| told.take(&received))?;
        }
        self.place_names(told);
        Ok(())
    }

    pub(super) fn knows_delimiter(&self) -> bool {
        self.delimiter_known
    }

    /// How messages and errors name the place.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What the server can do, as asked after login.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the server announced before the login: afterwards many announce no way to log in any more.
    pub fn offered(&self) -> &Capabilities {
        &self.offered
    }

    /// The round trips so far, those of TCP and TLS aside.
    pub fn round_trips(&self) -> u64 {
        self.wire.conn.round_trips()
    }

    /// Octets received and sent so far, as they went over the wire.
    pub fn octets(&self) -> (u64, u64) {
        self.wire.conn.on_wire()
    }

    pub(super) fn run(
        &mut self,
        command: &Command,
        phase: Phase,
        what: &str,
        each: &mut dyn FnMut(Received) -> Result<()>,
    ) -> Result<StatusLine> {
        self.run_any(command, phase, what, each).map_err(|error| error.at(&self.place))
    }

    fn run_any(&mut self, command: &Command, phase: Phase, what: &str, each: &mut dyn FnMut(Received) -> Result<()>) -> Result<StatusLine> {
        let (mut tag, ahead) = self.wire.ask(command)?;
        self.wire.conn.deadline(phase);
        if ahead {
            let status = self.wire.finish_any(&tag, each)?;
            if status.is_ok() {
                return Ok(status);
            }
            // Too soon for this server, perhaps: once more, in its turn.
            self.wire.drop_ahead()?;
            self.catch_up()?;
            tag = self.wire.send(command)?;
            self.wire.conn.deadline(phase);
        }
        self.wire.finish(&tag, what, each)
    }

    pub(super) fn simple(&mut self, command: &Command, what: &str) -> Result<StatusLine> {
        self.run(command, Phase::Command, what, &mut |_| Ok(()))
    }

    /// NOOP: keeps the connection alive.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn noop(&mut self) -> Result<()> {
        self.simple(&Command::new("NOOP"), "NOOP was refused").map(|_| ())
    }

    /// ENABLE (RFC 5161): turns on those of `names` that the server has; returns what it says it turned on.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn enable(&mut self, names: &[&str]) -> Result<Vec<String>> {
        let offered: Vec<&&str> = names.iter().filter(|name| self.capabilities.has(&name.to_ascii_uppercase())).collect();
        if offered.is_empty() || !self.capabilities.has("ENABLE") {
            return Ok(Vec::new());
        }
        let mut command = Command::new("ENABLE");
        for name in offered {
            command = command.sp().atom(name)?;
        }
        let mut enabled = Vec::new();
        self.run(&command, Phase::Command, "ENABLE was refused", &mut |received| {
            if let Response::Untagged(Untagged::Enabled(names)) = received.response {
                enabled.extend(names);
            }
            Ok(())
        })?;
        self.utf8_accepted |= enabled.iter().any(|name: &String| name.eq_ignore_ascii_case("UTF8=ACCEPT"));
        Ok(enabled)
    }

    /// Every mailbox, INBOX among them even where a server forgets it, sorted by name.
    ///
    /// # Errors
    /// Refusal or loss of the connection; an incomplete listing is never returned.
    pub fn list(&mut self) -> Result<Vec<Mailbox>> {
        self.catch_up().map_err(|error| error.at(&self.place))?;
        let mut entries: Vec<(ListEntry, bool)> = Vec::new();
        // IMAP4rev2 has no LSUB, and extended LIST in its place (RFC 9051 appendix E).
        if let Some(command) = self.extended_list_command() {
            let listed = match self.list_with(&command, &mut |_, _| {}) {
                // Proton's bridge does not know SPECIAL-USE here (MailKit#674).
                Err(error) if error.kind() == Kind::Refused => Vec::new(),
                other => other?,
            };
            entries = listed
                .into_iter()
                .map(|entry| {
                    let subscribed = entry.has("\\Subscribed");
                    (entry, subscribed)
                })
                .collect();
        }
        // Strato's extended LIST returns nothing (MailKit#1957).
        if entries.is_empty() {
            let [list, lsub] = plain_list_commands();
            let plain = self.list_with(&list, &mut |_, _| {})?;
            let subscribed = self.list_with(&lsub, &mut |_, _| {})?;
            let subscribed: HashSet<Vec<u8>> = subscribed.into_iter().map(|entry| entry.name).collect();
            entries = plain
                .into_iter()
                .map(|entry| {
                    let is = subscribed.contains(&entry.name);
                    (entry, is)
                })
                .collect();
        }
        Ok(self.name_mailboxes(entries))
    }

    /// The listing that tells subscriptions as well, where the server has it.
    pub(super) fn extended_list_command(&self) -> Option<Command> {
        let offered = self.capabilities.has("LIST-EXTENDED") || self.capabilities.has("IMAP4REV2");
        let special = if self.capabilities.has("SPECIAL-USE") { " RETURN (SUBSCRIBED SPECIAL-USE)" } else { " RETURN (SUBSCRIBED)" };
        offered.then(|| Command::new("LIST").raw(" \"\" \"*\"").raw(special))
    }

    /// Runs a LIST or LSUB; `told` gets the figures that LIST-STATUS brings along.
    pub(super) fn list_with(&mut self, command: &Command, told: &mut dyn FnMut(Vec<u8>, MailboxStatus)) -> Result<Vec<ListEntry>> {
        let mut entries = Vec::new();
        let mut octets = 0;
        let mut figures = 0;
        self.run(command, Phase::Listing, "listing the mailboxes was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::List(entry) | Untagged::Lsub(entry)) => {
                    octets += entry.name.len() + entry.attributes.iter().map(|attribute| attribute.len() + 24).sum::<usize>();
                    entries.push(entry);
                }
                Response::Untagged(Untagged::MailboxStatus { mailbox, items }) => {
                    octets += mailbox.len();
                    figures += 1;
                    told(mailbox, items);
                }
                _ => {}
            }
            if entries.len().max(figures) > MAX_MAILBOXES || octets > MAX_MAILBOX_OCTETS {
                return Err(Error::protocol("the server lists more mailboxes than any account has"));
            }
            Ok(())
        })?;
        Ok(entries)
    }

    /// The wire name of a folder: the server's delimiter and prefix, modified UTF-7.
    ///
    /// # Errors
    /// Usage: the name cannot be written on this server.
    pub fn wire_name(&mut self, folder: &Folder) -> Result<Vec<u8>> {
        if folder.is_inbox() {
            return utf7::folder_to_mailbox(folder, None, false);
        }
        self.catch_up().map_err(|error| error.at(&self.place))?;
        if !self.delimiter_known {
            let entries = self.list_with(&delimiter_query(), &mut |_, _| {})?;
            self.delimiter = entries.into_iter().find_map(|entry| entry.delimiter);
            self.delimiter_known = true;
        }
        self.written(folder)
    }

    /// The wire name of a folder with what is known of delimiter and prefix.
    pub(super) fn written(&self, folder: &Folder) -> Result<Vec<u8>> {
        let name = utf7::folder_to_mailbox(folder, self.delimiter, false).map_err(|error| error.at(&self.place))?;
        if folder.is_inbox() || name.starts_with(&self.prefix) {
            return Ok(name);
        }
        Ok([self.prefix.as_slice(), &name].concat())
    }

    /// STATUS of a mailbox.
    ///
    /// # Errors
    /// Refusal (the mailbox is missing, say) or loss of the connection.
    pub fn status(&mut self, wire_name: &[u8]) -> Result<MailboxStatus> {
        let command = Command::new("STATUS").sp().mailbox(wire_name)?.raw(" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)");
        let mut found = MailboxStatus::default();
        self.run(&command, Phase::Command, "STATUS was refused", &mut |received| {
            if let Response::Untagged(Untagged::MailboxStatus { items, .. }) = received.response {
                found = items;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// STATUS of several mailboxes, pipelined; a refused one (`\Noselect`, say) comes back empty.
    ///
    /// # Errors
    /// Loss of the connection.
    pub fn statuses(&mut self, wire_names: &[&[u8]]) -> Result<Vec<MailboxStatus>> {
        let mut found = Vec::with_capacity(wire_names.len());
        for chunk in wire_names.chunks(64) {
            let mut tags = Vec::with_capacity(chunk.len());
            for name in chunk {
                let command = Command::new("STATUS").sp().mailbox(name)?.raw(" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)");
                tags.push(self.wire.send(&command).map_err(|error| error.at(&self.place))?);
            }
            let start = found.len();
            found.resize(start + chunk.len(), MailboxStatus::default());
            for (tag, _) in tags.iter().zip(chunk) {
                self.wire.conn.deadline(Phase::Command);
                let outcome = self.wire.finish_any(tag, &mut |received| {
                    if let Response::Untagged(Untagged::MailboxStatus { mailbox, items }) = received.response
                        && let Some(at) = chunk.iter().position(|name| **name == *mailbox)
                        && let Some(slot) = found.get_mut(start + at)
                    {
                        *slot = items;
                    }
                    Ok(())
                });
                outcome.map_err(|error| error.at(&self.place))?;
            }
        }
        Ok(found)
    }

    /// Creates a mailbox; one that exists already is as good.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn create(&mut self, wire_name: &[u8]) -> Result<()> {
        self.make(wire_name, None).map(|_| ())
    }

    /// Subscribes to a mailbox.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn subscribe(&mut self, wire_name: &[u8]) -> Result<()> {
        self.simple(&Command::new("SUBSCRIBE").sp().mailbox(wire_name)?, "subscribing was refused").map(|_| ())
    }

    /// EXAMINE: selects without the right to change anything.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn examine(&mut self, wire_name: &[u8]) -> Result<Selected<'_>> {
        Selected::open(self, wire_name, false)
    }

    /// Opens a folder, with SELECT where it is to be changed.
    ///
    /// # Errors
    /// Usage where the server has no such folder; refusal or loss of the connection.
    pub fn open_folder(&mut self, folder: &Folder, writable: bool) -> Result<Selected<'_>> {
        let (wire_name, error) = match self.wire_name(folder) {
            Ok(wire_name) => match Selected::look(self, &wire_name, writable) {
                Ok(state) => return Ok(Selected::opened(self, &wire_name, state, writable)),
                Err(error) if error.kind() == Kind::Refused => {
                    let error = self.cannot_open(folder, &wire_name, &error);
                    (wire_name, error)
                }
                Err(error) => return Err(error),
            },
            Err(error) => (Vec::new(), error),
        };
        // It may be shown otherwise than it is written: a name that is no correct one, or one outside our own namespace.
        if error.kind() == Kind::Usage
            && let Some(other) = self.list()?.into_iter().find(|mailbox| mailbox.folder == *folder && mailbox.wire_name != wire_name)
        {
            return if writable { self.select(&other.wire_name) } else { self.examine(&other.wire_name) };
        }
        Err(error)
    }

    /// Why a folder that was refused cannot be opened: most often because there is none.
    fn cannot_open(&mut self, folder: &Folder, wire_name: &[u8], error: &Error) -> Error {
        let said = error.server_said().unwrap_or_default();
        // RFC 5530 has a code for it; of a server without codes a listing tells.
        let missing = said.contains("[NONEXISTENT]") || !self.is_listed(wire_name).unwrap_or(true);
        let refused = if missing {
            Error::usage(format!("there is no folder {folder}")).hint("check its name: mailhaul folders PLACE shows them all")
        } else {
            Error::refused(format!("the folder {folder} cannot be opened"))
        };
        refused.at(&self.place).said(said).scoped(Scope::Mailbox)
    }

    /// Whether LIST knows a mailbox that may be selected by this very name.
    fn is_listed(&mut self, wire_name: &[u8]) -> Result<bool> {
        // `*` and `%` are no more than wildcards in a name: they can only find too much.
        let entries = self.list_with(&Command::new("LIST").raw(" \"\" ").mailbox(wire_name)?, &mut |_, _| {})?;
        Ok(entries.iter().any(|entry| entry.name == wire_name && !entry.has("\\NonExistent")))
    }

    /// The mailbox as it was examined last, without a further look at it, where nothing was opened since; else EXAMINE.
    ///
    /// # Errors
    /// As [`Self::examine`].
    pub fn examined(&mut self, wire_name: &[u8]) -> Result<Selected<'_>> {
        match self.examined.take_if(|(name, _)| name == wire_name) {
            Some((_, state)) => Ok(Selected::still_open(self, wire_name, state)),
            None => self.examine(wire_name),
        }
    }

    /// Has [`Self::examined`] look again: an examined mailbox may not show what another session has seen since.
    pub fn look_anew(&mut self) {
        self.examined = None;
    }

    /// SELECT.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn select(&mut self, wire_name: &[u8]) -> Result<Selected<'_>> {
        Selected::open(self, wire_name, true)
    }

    /// LOGOUT. A server that closes without its farewell is forgiven; where nothing could be changed, its farewell is not waited
    /// for, which would cost a round trip.
    ///
    /// # Errors
    /// Only what is worse than a closed connection.
    pub fn logout(&mut self) -> Result<()> {
        let outcome = self.wire.send(&Command::new("LOGOUT")).and_then(|tag| {
            if self.wire.is_read_only() {
                return self.wire.conn.flush();
            }
            self.wire.conn.deadline(Phase::Logout);
            self.wire.finish_any(&tag, &mut |_| Ok(())).map(drop)
        });
        match outcome {
            Err(error) if !matches!(error.kind(), Kind::Network | Kind::Timeout) => Err(error.at(&self.place)),
            _ => Ok(()),
        }
    }
}

/// The two listings that every server has.
pub(super) fn plain_list_commands() -> [Command; 2] {
    [Command::new("LIST").raw(" \"\" \"*\""), Command::new("LSUB").raw(" \"\" \"*\"")]
}

fn identification() -> Result<Command> {
    // NetEase refuses every SELECT until a client says who it is (himalaya#651).
    Ok(Command::new("ID").raw(" (\"name\" \"mailhaul\" \"version\" ").string(env!("CARGO_PKG_VERSION").as_bytes())?.raw(")"))
}

/// RFC 9051 section 6.3.9: an empty pattern asks for the delimiter alone.
fn delimiter_query() -> Command {
    Command::new("LIST").raw(" \"\" \"\"")
}
