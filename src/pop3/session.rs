//! One POP3 session from greeting to QUIT: security, capabilities, login, and the commands that fetch no bodies (`bulk`
//! does those). It must never know what the messages are for.

use std::time::Duration;

use crate::account::{Authentication, Login, Server};
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::net::{Conn, Endpoint, Phase, Security, Trace};
use crate::sasl::{Exchange, Mechanism};
use crate::secret::Secret;

use super::parse::{self, Capabilities, Reply, Stat};

/// The longest status line that is read, in octets; RFC 2449 section 4 allows 512.
pub(super) const STATUS_LINE: usize = 8 * 1024;
/// The longest line of a listing, in octets.
const LISTING_LINE: usize = 1024;
/// The most entries of a listing.
const LISTING_ENTRIES: u64 = 5_000_000;
/// Lines of a listing that are out of order; a listing of more goes in circles.
const LISTING_DISORDER: u64 = 100_000;
/// The most octets of a listing.
const LISTING_OCTETS: u64 = 512 * 1024 * 1024;
/// The most lines of CAPA.
const CAPA_LINES: u64 = 1000;
/// The longest command line of RFC 2449 section 4, with its CRLF.
const COMMAND_LINE: usize = 255;
/// What is asked for first, where a wrong port shows.
const GREETING: &str = "the greeting";
/// No mechanism needs more exchanges.
const SASL_ROUNDS: usize = 8;

/// Message numbers, ascending, each with the size the server claims.
pub type Sizes = Vec<(u32, Option<u64>)>;
/// Message numbers, ascending, each with its unique-id unless that is blank.
pub type UniqueIds = Vec<(u32, Option<Box<str>>)>;

/// How a session is to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Refuses DELE.
    pub read_only: bool,
    /// Sends several requests at once where the server announces PIPELINING.
    pub pipelining: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { read_only: false, pipelining: true }
    }
}

/// An authenticated session.
pub struct Session {
    pub(super) conn: Conn,
    place: String,
    /// What the server said first.
    hello: String,
    capabilities: Capabilities,
    /// What the server announced before the login, under TLS where that was asked for.
    offered: Capabilities,
    options: Options,
    secrets: Vec<Secret>,
    line: Vec<u8>,
}

/// What connecting needs to know of an account.
struct Target<'a> {
    place: &'a str,
    endpoint: &'a Endpoint,
    user: &'a str,
    auth: Option<Authentication>,
    login: &'a Login,
}

impl Session {
    /// Connects and logs in, once: a refused login is never tried again, because servers lock accounts.
    ///
    /// # Errors
    /// `Network`, `Timeout`, `Busy` (worth trying later), `Auth`, `Protocol`, `Refused`, `Usage`.
    pub fn connect(server: &Server, context: &Context, trace: &Trace, options: Options) -> Result<Self> {
        let login = server.login(context).map_err(|error| error.at(&server.place))?;
        let open = |login: &Login| {
            let target = Target { place: &server.place, endpoint: &server.endpoint, user: &server.user, auth: server.auth, login };
            Self::open(&target, context, trace, options)
        };
        let session = match open(&login) {
            // A token lives an hour, and passwords change.
            Err(error) if error.kind() == Kind::Auth => match server.login_anew(&login, context)? {
                Some(login) => open(&login),
                None => Err(error),
            },
            other => other,
        };
        session.inspect(|_| server.accepted()).map_err(|error| error.at(&server.place))
    }

    fn open(target: &Target<'_>, context: &Context, trace: &Trace, options: Options) -> Result<Self> {
        check_credentials(target)?;
        match Self::attempt(target, context, trace, options, true)? {
            Some(session) => Ok(session),
            // The server hung, or hung up, at CAPA. Its answer might still come, so that connection is of no use.
            None => Self::attempt(target, context, trace, options, false)?
                .ok_or_else(|| Error::network("the server does not answer CAPA and does not do without it")),
        }
    }

    /// `None` when the server did not survive CAPA.
    fn attempt(target: &Target<'_>, context: &Context, trace: &Trace, options: Options, ask: bool) -> Result<Option<Self>> {
        let mut conn = Conn::dial_to_read(target.endpoint, context, trace)?;
        let secret = match target.login {
            Login::Password(secret) | Login::Token(secret) => secret.clone(),
        };
        conn.hide(secret.clone());
        let mut session = Self {
            conn,
            place: target.place.to_owned(),
            hello: String::new(),
            capabilities: Capabilities::default(),
            offered: Capabilities::default(),
            options,
            secrets: vec![secret.clone()],
            line: Vec::new(),
        };
        let greeting = session.greet()?;
        session.hello.clone_from(&greeting.text);
        if ask && !session.ask_capabilities()? {
            return Ok(None);
        }
        if target.endpoint.security == Security::StartTls {
            session.start_tls()?;
            if ask && !session.ask_capabilities()? {
                return Ok(None);
            }
        }
        if target.endpoint.security != Security::None && !session.conn.is_encrypted() {
            return Err(Error::network("TLS was asked for and does not stand"));
        }
        session.offered.clone_from(&session.capabilities);
        session.log_in(target, &secret, &greeting)?;
        if ask && !session.ask_capabilities()? {
            return Ok(None);
        }
        Ok(Some(session))
    }

    fn greet(&mut self) -> Result<Reply> {
        self.conn.deadline(Phase::Greeting);
        let greeting = self.status(GREETING)?;
        if greeting.ok {
            return Ok(greeting);
        }
        Err(self.refusal("the server refuses the connection", &greeting).scoped(Scope::Session))
    }

    /// Asks CAPA; whatever was known before is forgotten (RFC 2449 section 5 and RFC 2595 section 4: it may differ now).
    /// False when the connection did not survive.
    fn ask_capabilities(&mut self) -> Result<bool> {
        self.capabilities = Capabilities::default();
        let mut capabilities = Capabilities { known: true, ..Capabilities::default() };
        self.conn.deadline(Phase::Login);
        let answer = self.command("CAPA").and_then(|reply| {
            if reply.ok {
                self.lines(CAPA_LINES, &mut |line| {
                    capabilities.add(line);
                    Ok(())
                })?;
                self.capabilities = capabilities;
            }
            Ok(())
        });
        match answer {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), Kind::Timeout | Kind::Network) => {
                self.conn.note("no answer to CAPA; trying again without it");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn start_tls(&mut self) -> Result<()> {
        self.conn.deadline(Phase::Command);
        let reply = self.command("STLS")?;
        if !reply.ok {
            self.conn.poison();
            return Err(Error::network("TLS was asked for, and the server refuses STLS; nothing secret was sent")
                .said(self.redact(&reply.words()))
                .hint("use pop3s:// if the server has TLS on its own port (995)"));
        }
        self.conn.start_tls()
    }

    fn log_in(&mut self, target: &Target<'_>, secret: &Secret, greeting: &Reply) -> Result<()> {
        match target.auth.unwrap_or_else(|| self.choose(target.login)) {
            Authentication::Command => self.user_pass(target, secret),
            Authentication::Sasl(mechanism) => self.auth(mechanism, target, secret, greeting),
        }
    }

    fn choose(&self, login: &Login) -> Authentication {
        let offers = |mechanism: Mechanism| self.capabilities.offers(mechanism.name());
        match login {
            Login::Token(_) if offers(Mechanism::OAuthBearer) && !offers(Mechanism::XOAuth2) => {
                Authentication::Sasl(Mechanism::OAuthBearer)
            }
            Login::Token(_) => Authentication::Sasl(Mechanism::XOAuth2),
            Login::Password(_) if offers(Mechanism::Plain) => Authentication::Sasl(Mechanism::Plain),
            Login::Password(_) if offers(Mechanism::Login) && !self.capabilities.user => Authentication::Sasl(Mechanism::Login),
            Login::Password(_) => Authentication::Command,
        }
    }

    fn user_pass(&mut self, target: &Target<'_>, secret: &Secret) -> Result<()> {
        self.conn.deadline(Phase::Login);
        let reply = self.command(&format!("USER {}", target.user))?;
        if !reply.ok {
            return Err(self.login_refused(target, &reply, None));
        }
        self.conn.deadline(Phase::Login);
        self.conn.write_secret(format!("PASS {}\r\n", secret.expose()).as_bytes(), "PASS ***")?;
        self.conn.flush()?;
        let reply = self.status("PASS")?;
        if reply.ok { Ok(()) } else { Err(self.login_refused(target, &reply, None)) }
    }

    /// AUTH (RFC 5034): the initial response goes along where the line stays within 255 octets; Microsoft's servers take
    /// it only on a line of its own.
    fn auth(&mut self, mechanism: Mechanism, target: &Target<'_>, secret: &Secret, greeting: &Reply) -> Result<()> {
        let begin = || Exchange::start(mechanism, target.user, secret, &target.endpoint.host, target.endpoint.port);
        let (exchange, initial) = begin()?;
        let name = mechanism.name();
        let fits = |initial: &[u8]| "AUTH ".len() + name.len() + 1 + initial.len().div_ceil(3) * 4 + 2 <= COMMAND_LINE;
        let one_line = initial.as_deref().is_some_and(fits) && !is_microsoft(target, greeting);
        let (reply, challenged) = self.exchange(mechanism, exchange, initial, one_line)?;
        if reply.ok {
            return Ok(());
        }
        // A refusal of the one-line form, before any challenge and without a word on the credential, may be one of its
        // form. A token costs nothing to show twice; a password might lock the account.
        if one_line && challenged.is_none() && mechanism.takes_token() && reply.code.is_none() {
            let (exchange, initial) = begin()?;
            let (reply, challenged) = self.exchange(mechanism, exchange, initial, false)?;
            return if reply.ok { Ok(()) } else { Err(self.login_refused(target, &reply, challenged.as_deref())) };
        }
        Err(self.login_refused(target, &reply, challenged.as_deref()))
    }

    /// The dialogue of one AUTH; also gives back the error challenge of a token mechanism.
    fn exchange(
        &mut self,
        mechanism: Mechanism,
        mut exchange: Exchange,
        initial: Option<Vec<u8>>,
        one_line: bool,
    ) -> Result<(Reply, Option<String>)> {
        let name = mechanism.name();
        self.conn.deadline(Phase::Login);
        let mut pending = initial;
        match pending.take() {
            Some(initial) if one_line => {
                let line = self.framed(&initial);
                self.conn.write_secret(format!("AUTH {name} {line}\r\n").as_bytes(), &format!("AUTH {name} ***"))?;
            }
            later => {
                pending = later;
                self.conn.write(format!("AUTH {name}\r\n").as_bytes())?;
            }
        }
        self.conn.flush()?;
        let mut error_challenge = None;
        for _ in 0..SASL_ROUNDS {
            self.conn.read_line(STATUS_LINE, &mut self.line)?;
            if let Some(reply) = parse::status(&self.line) {
                return Ok((reply, error_challenge));
            }
            let Some(challenge) = parse::challenge(&self.line) else { return Err(self.garbage("AUTH")) };
            let answer = match pending.take() {
                Some(initial) => initial,
                None => {
                    if mechanism.takes_token() {
                        error_challenge = Some(self.redact(&String::from_utf8_lossy(&challenge)));
                    }
                    exchange.step(&challenge)?
                }
            };
            let line = self.framed(&answer);
            self.conn.deadline(Phase::Login);
            self.conn.write_secret(format!("{line}\r\n").as_bytes(), "***")?;
            self.conn.flush()?;
        }
        self.conn.poison();
        Err(Error::protocol("the server never ends the AUTH exchange"))
    }

    /// Base64 of an answer, from now on hidden in whatever the server says.
    fn framed(&mut self, answer: &[u8]) -> String {
        let line = parse::base64_of(answer);
        if line.len() >= 8 {
            self.secrets.push(Secret::new(line.clone()));
            self.conn.hide(Secret::new(line.clone()));
        }
        line
    }

    fn login_refused(&self, target: &Target<'_>, reply: &Reply, challenge: Option<&str>) -> Error {
        let mut words = self.redact(&reply.words());
        if let Some(challenge) = challenge.filter(|challenge| !challenge.is_empty()) {
            words = format!("{words} ({challenge})");
        }
        let message = format!("login as {} was refused", target.user);
        match reply.code.as_deref() {
            _ if reply.is_temporary() || reply.slows() => self.refusal(&message, reply),
            Some("SYS/PERM") => {
                Error::refused(message).said(words).scoped(Scope::Run).hint("the trouble is the server's; its operator has to mend it")
            }
            _ => Error::auth(message).said(words).hint(match target.login {
                Login::Password(_) => {
                    "check user name and password, whether POP3 is allowed for the account, and whether it needs an app password"
                }
                Login::Token(_) => "get a new token, and check that it is meant for POP3 and for this user",
            }),
        }
    }

    /// An error for a `-ERR`: `Busy` where its code says that it may go through later.
    pub(super) fn refusal(&self, what: &str, reply: &Reply) -> Error {
        let words = self.redact(&reply.words());
        if !reply.is_temporary() && !reply.slows() {
            return Error::refused(what).said(words);
        }
        let hint = match (reply.code.as_deref(), self.capabilities.login_delay) {
            (Some("IN-USE"), _) => "another program has the mailbox open; close it or try again later".to_owned(),
            (Some("LOGIN-DELAY"), Some(seconds)) => format!("the server wants {seconds} s between two logins"),
            (Some("LOGIN-DELAY"), None) => "the server wants more time between two logins".to_owned(),
            _ => "try again later".to_owned(),
        };
        let error = Error::new(Kind::Busy, what).said(words).hint(hint);
        match self.capabilities.login_delay.filter(|_| reply.code.as_deref() == Some("LOGIN-DELAY")) {
            Some(seconds) => error.after(Duration::from_secs(seconds)),
            None => error,
        }
    }

    /// An error for what is no status line. The connection is out of step and of no more use.
    pub(super) fn garbage(&mut self, what: &str) -> Error {
        self.conn.poison();
        let shown: Vec<u8> = self.line.iter().copied().take(200).collect();
        let error = if what == GREETING {
            Error::protocol("the server's greeting is not POP3's").hint("check the port")
        } else {
            Error::protocol(format!("the answer to {what} is not POP3"))
        };
        error.said(self.redact(&String::from_utf8_lossy(&shown)))
    }

    /// `text` without anything secret that was sent.
    pub(super) fn redact(&self, text: &str) -> String {
        // The frames first: they hold the password and more.
        self.secrets.iter().rev().fold(text.to_owned(), |text, secret| secret.redact(&text))
    }

    /// Reads a status line.
    pub(super) fn status(&mut self, what: &str) -> Result<Reply> {
        self.conn.read_line(STATUS_LINE, &mut self.line)?;
        match parse::status(&self.line) {
            Some(reply) => Ok(reply),
            None => Err(self.garbage(what)),
        }
    }

    /// Sends a command without secrets and reads its status line.
    pub(super) fn command(&mut self, command: &str) -> Result<Reply> {
        self.conn.write(format!("{command}\r\n").as_bytes())?;
        self.conn.flush()?;
        self.status(command.split(' ').next().unwrap_or(command))
    }

    /// Sends a command that must succeed.
    fn must(&mut self, command: &str) -> Result<Reply> {
        self.conn.deadline(Phase::Command);
        let reply = self.command(command).map_err(|error| error.at(&self.place))?;
        if reply.ok { Ok(reply) } else { Err(self.refusal(&format!("{command} was refused"), &reply).at(&self.place)) }
    }

    /// Reads the lines of a multi-line answer up to its dot.
    fn lines(&mut self, most: u64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (mut count, mut octets) = (0, 0);
        loop {
            self.conn.read_line(LISTING_LINE, &mut self.line)?;
            if self.line == b"." {
                return Ok(());
            }
            count += 1;
            octets += self.line.len() as u64;
            if count > most || octets > LISTING_OCTETS {
                self.conn.poison();
                return Err(Error::protocol(format!("the server's listing does not end ({count} lines)")));
            }
            let line = self.line.strip_prefix(b".").unwrap_or(&self.line);
            if let Err(error) = each(line) {
                self.conn.poison();
                return Err(error);
            }
        }
    }

    /// What the server announced after login.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the server announced before the login: afterwards many announce no way to log in any more.
    pub fn offered(&self) -> &Capabilities {
        &self.offered
    }

    /// The round trips so far, those of TCP and TLS aside.
    pub fn round_trips(&self) -> u64 {
        self.conn.round_trips()
    }

    /// What the server said first, behind its `+OK`.
    pub fn greeting(&self) -> &str {
        &self.hello
    }

    /// How messages and errors name the account.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether several requests may be out at once.
    pub fn pipelines(&self) -> bool {
        self.options.pipelining && self.capabilities.pipelining
    }

    /// Count and size of the maildrop.
    ///
    /// # Errors
    /// What the connection or the server says.
    pub fn stat(&mut self) -> Result<Stat> {
        let reply = self.must("STAT")?;
        Stat::parse(&reply.text).ok_or_else(|| self.garbage("STAT").at(&self.place))
    }

    /// Numbers and sizes of all messages.
    ///
    /// # Errors
    /// As [`Self::stat`]; a listing without its final dot is none.
    pub fn list(&mut self) -> Result<Sizes> {
        self.start_listing("LIST")?;
        self.finish_list().map_err(|error| error.at(&self.place))
    }

    /// Numbers and unique-ids of all messages; `None` from a server without UIDL.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn uidl(&mut self) -> Result<Option<UniqueIds>> {
        self.start_listing("UIDL")?;
        self.finish_uidl().map_err(|error| error.at(&self.place))
    }

    /// [`Self::list`] and [`Self::uidl`], both asked for at once where the server pipelines. LIST goes first: a number
    /// only LIST has lacks its unique-id, one only UIDL has is new mail. With UIDL, LIST may be refused: sizes are hints.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn listings(&mut self) -> Result<(Sizes, Option<UniqueIds>)> {
        let together = self.pipelines();
        self.start_listing(if together { "LIST\r\nUIDL" } else { "LIST" })?;
        let list = match self.finish_list() {
            Err(error) if !matches!(error.kind(), Kind::Refused | Kind::Busy) => return Err(error.at(&self.place)),
            list => list,
        };
        if !together {
            self.start_listing("UIDL")?;
        }
        let uidl = self.finish_uidl().map_err(|error| error.at(&self.place))?;
        match list {
            Err(error) if uidl.is_none() => Err(error.at(&self.place)),
            list => Ok((list.unwrap_or_default(), uidl)),
        }
    }

    fn start_listing(&mut self, commands: &str) -> Result<()> {
        self.conn.deadline(Phase::Listing);
        self.conn.write(format!("{commands}\r\n").as_bytes()).and_then(|()| self.conn.flush()).map_err(|error| error.at(&self.place))
    }

    fn finish_list(&mut self) -> Result<Sizes> {
        let reply = self.status("LIST")?;
        if !reply.ok {
            return Err(self.refusal("LIST was refused", &reply));
        }
        let mut entries = Vec::new();
        let mut disorder = 0;
        self.lines(LISTING_ENTRIES, &mut |line| {
            let entry = parse::list_line(line).ok_or_else(|| unreadable("LIST", line))?;
            add(&mut entries, entry, &mut disorder)
        })?;
        Ok(in_order(entries))
    }

    fn finish_uidl(&mut self) -> Result<Option<UniqueIds>> {
        let reply = self.status("UIDL")?;
        if !reply.ok {
            return if reply.is_temporary() { Err(self.refusal("UIDL was refused", &reply)) } else { Ok(None) };
        }
        let mut entries = Vec::new();
        let mut disorder = 0;
        self.lines(LISTING_ENTRIES, &mut |line| {
            let (number, unique_id) = parse::uidl_line(line).ok_or_else(|| unreadable("UIDL", line))?;
            // A maildrop may have a hundred thousand of them.
            add(&mut entries, (number, unique_id.map(String::into_boxed_str)), &mut disorder)
        })?;
        Ok(Some(in_order(entries)))
    }

    /// The only way to DELE: refuses on a read-only session.
    pub(super) fn may_delete(&self) -> Result<()> {
        if self.options.read_only {
            return Err(Error::new(Kind::Safety, "this session only reads, and deletes nothing").at(&self.place));
        }
        Ok(())
    }

    /// Takes back every DELE of this session.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn rset(&mut self) -> Result<()> {
        self.must("RSET").map(drop)
    }

    /// Does nothing, and proves the connection alive.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn noop(&mut self) -> Result<()> {
        self.must("NOOP").map(drop)
    }

    /// Ends the session; only now the server removes what was marked with DELE. To leave without removing, drop it.
    ///
    /// # Errors
    /// As [`Self::stat`]: after a refusal some marked messages may be there still (RFC 1939 section 6).
    pub fn quit(&mut self) -> Result<()> {
        self.end(Phase::Logout)
    }

    /// As [`Self::quit`], where messages are marked: removing them may take the server a while.
    ///
    /// # Errors
    /// As [`Self::quit`].
    pub fn commit(&mut self) -> Result<()> {
        self.end(Phase::Change)
    }

    fn end(&mut self, phase: Phase) -> Result<()> {
        self.conn.deadline(phase);
        let reply = self.command("QUIT").map_err(|error| error.at(&self.place))?;
        self.conn.poison();
        if reply.ok { Ok(()) } else { Err(self.refusal("the server could not end the session well", &reply).at(&self.place)) }
    }
}

/// Nothing that a command line cannot carry is ever sent.
fn check_credentials(target: &Target<'_>) -> Result<()> {
    let unfit = |text: &str| text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if unfit(target.user) {
        return Err(Error::usage("the user name holds a line break or NUL"));
    }
    let (Login::Password(secret) | Login::Token(secret)) = target.login;
    if unfit(secret.expose()) {
        return Err(Error::auth("the password or token holds a line break or NUL, which no POP3 login can carry"));
    }
    if secret.expose().is_empty() {
        return Err(Error::auth("the password or token is empty"));
    }
    Ok(())
}

fn is_microsoft(target: &Target<'_>, greeting: &Reply) -> bool {
    let host = target.endpoint.host.to_ascii_lowercase();
    ["office365.com", "outlook.com", "office.com", "office365.us", "partner.outlook.cn"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        || greeting.text.contains("Microsoft Exchange")
}

fn unreadable(what: &str, line: &[u8]) -> Error {
    Error::protocol(format!("the server's {what} holds a line that is none")).said(String::from_utf8_lossy(line.get(..100).unwrap_or(line)))
}

/// Takes an entry of a listing in.
fn add<T>(entries: &mut Vec<(u32, T)>, entry: (u32, T), disorder: &mut u64) -> Result<()> {
    *disorder += u64::from(entries.last().is_some_and(|last| last.0 >= entry.0));
    if *disorder > LISTING_DISORDER {
        return Err(Error::protocol("the server's listing names the same messages again and again"));
    }
    entries.push(entry);
    Ok(())
}

/// Ascending and each number once (the first line of a number counts).
fn in_order<T>(mut entries: Vec<(u32, T)>) -> Vec<(u32, T)> {
    if !entries.is_sorted_by(|earlier, later| earlier.0 < later.0) {
        entries.sort_by_key(|entry| entry.0);
        entries.dedup_by_key(|entry| entry.0);
    }
    entries
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
