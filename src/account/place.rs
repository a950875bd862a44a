//! Places as people type them: an account of the config file, a URL, a path, or `-`. No error here repeats what may hold
//! a password.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::net::{Endpoint, Security, TlsOptions};

use super::credential::{CredentialSource, no_keyring};
use super::{Authentication, Config, Credential, Protocol, Server, netrc, parse_duration};

/// A place: where mail is.
#[derive(Clone)]
pub struct Place {
    /// How messages name it, with the folder and without options; never a secret.
    pub shown: String,
    /// What it is.
    pub location: Location,
    /// The folder, where one was named.
    pub folder: Option<Folder>,
}

/// The closed set of things a place can be.
#[derive(Clone)]
pub enum Location {
    /// An IMAP or POP3 server.
    Server(Box<Server>),
    /// A Maildir, or a tree of them.
    Maildir(PathBuf),
    /// An mbox file, or a folder of them.
    Mbox(PathBuf),
    /// A folder of `.eml` files, or one of them.
    Eml(PathBuf),
    /// Standard input or output.
    Stdio,
}

/// What the command line says about one place; it wins over the place's own options and the config file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Where the password or token comes from.
    pub credential: Option<CredentialSource>,
    /// `--ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--tls-pin`.
    pub pin: Option<[u8; 32]>,
    /// `--insecure`.
    pub insecure: bool,
    /// `--allow-plaintext`.
    pub allow_plaintext: bool,
    /// `--allow-preauth`.
    pub allow_preauth: bool,
    /// `--no-input`.
    pub no_input: bool,
    /// Environment variables that hold secrets of this command, of either side: no child inherits them.
    pub hidden_env: Vec<String>,
}

/// [`Overrides`] for a command with two places.
#[derive(Debug, Clone, Default)]
pub struct Sides {
    /// For the place mail comes from.
    pub from: Overrides,
    /// For the place mail goes to.
    pub to: Overrides,
}

/// What may be said about a server at several levels; `None` leaves it to the level below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) credential: Option<CredentialSource>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) pin: Option<[u8; 32]>,
    pub(super) insecure: Option<bool>,
    pub(super) tls: Option<Security>,
    pub(super) auth: Option<Authentication>,
    pub(super) timeout: Option<Duration>,
    pub(super) connections: Option<usize>,
    pub(super) allow_preauth: Option<bool>,
}

/// The options a place may carry behind `?`; the config file has keys of the same names.
pub(super) const OPTIONS: [&str; 4] = ["tls", "auth", "timeout", "connections"];

impl Settings {
    /// What this level says, and `weaker` where it says nothing.
    fn or(self, weaker: &Self) -> Self {
        Self {
            credential: self.credential.or_else(|| weaker.credential.clone()),
            ca_file: self.ca_file.or_else(|| weaker.ca_file.clone()),
            pin: self.pin.or(weaker.pin),
            insecure: self.insecure.or(weaker.insecure),
            tls: self.tls.or(weaker.tls),
            auth: self.auth.or(weaker.auth),
            timeout: self.timeout.or(weaker.timeout),
            connections: self.connections.or(weaker.connections),
            allow_preauth: self.allow_preauth.or(weaker.allow_preauth),
        }
    }

    /// Sets one of [`OPTIONS`] from its text.
    pub(super) fn set(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "tls" => {
                self.tls = Some(match value {
                    "implicit" => Security::Implicit,
                    "starttls" => Security::StartTls,
                    "none" => Security::None,
                    _ => return Err(Error::usage("`tls` is one of implicit, starttls and none")),
                });
            }
            "auth" => self.auth = Some(Authentication::parse(value)?),
            "timeout" => self.timeout = Some(parse_duration(value)?),
            "connections" => match value.parse() {
                Ok(number @ 1..=8) => self.connections = Some(number),
                _ => return Err(Error::usage("`connections` is a number from 1 to 8")),
            },
            _ => {
                let known = OPTIONS.join(", ");
                let shown: String =
                    option.chars().filter(|character| character.is_ascii_alphanumeric() || *character == '-').take(30).collect();
                return Err(Error::usage(format!("a place has no option `{shown}`; the options are {known}"))
                    .hint("write a question mark in a folder's name as %3F"));
            }
        }
        Ok(())
    }

    /// Reads what stands behind `?`.
    fn parse_options(query: Option<&str>) -> Result<Self> {
        let mut settings = Self::default();
        let mut seen = Vec::new();
        for option in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            settings.set(name, value)?;
            if seen.contains(&name) {
                return Err(Error::usage(format!("the option `{name}` is given twice")));
            }
            seen.push(name);
        }
        Ok(settings)
    }
}

/// A server's URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerUrl {
    pub(super) protocol: Protocol,
    security: Security,
    pub(super) user: Option<String>,
    host: String,
    port: Option<u16>,
    pub(super) folder: Option<Folder>,
    pub(super) settings: Settings,
}

impl Place {
    /// Reads a place in any of its forms. Touches netrc only, and that only for a URL that names no user.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] with a sentence that repeats nothing that could be a password.
    pub fn parse(text: &str, config: &Config, overrides: &Overrides) -> Result<Self> {
        let place = if text == "-" {
            Self { shown: "-".to_owned(), location: Location::Stdio, folder: None }
        } else if let Some(path) = text.strip_prefix("maildir:") {
            let (path, folder) = split_maildir(path)?;
            let shown = folder.as_ref().map_or_else(|| format!("maildir:{path}"), |folder| format!("maildir:{path}//{folder}"));
            Self { shown, location: Location::Maildir(local_path(path)?), folder }
        } else if let Some(path) = text.strip_prefix("mbox:") {
            Self { shown: text.to_owned(), location: Location::Mbox(local_path(path)?), folder: None }
        } else if let Some(path) = text.strip_prefix("eml:") {
            Self { shown: text.to_owned(), location: Location::Eml(local_path(path)?), folder: None }
        } else if text.contains("://") {
            Self::of_url(text, config, overrides)?
        } else {
            Self::of_account(text, config, overrides)?
        };
        Ok(place)
    }

    /// The server, where the place is one.
    pub fn server(&self) -> Option<&Server> {
        match &self.location {
            Location::Server(server) => Some(server),
            _ => None,
        }
    }

    fn of_url(text: &str, config: &Config, overrides: &Overrides) -> Result<Self> {
        let mut url = ServerUrl::parse(text)?;
        let settings = overrides.settings().or(&url.settings);
        let folder = url.folder.take();
        if url.user.is_none() && matches!(settings.credential, None | Some(CredentialSource::Netrc)) {
            url.user = user_from_netrc(&url.host)?;
        }
        let server = url.into_server(None, None, settings, config, overrides)?;
        Ok(Self::of_server(server, folder))
    }

    fn of_account(text: &str, config: &Config, overrides: &Overrides) -> Result<Self> {
        let (path, query) = split_query(text);
        let (word, folder) = path.split_once('/').map_or((path, None), |(word, folder)| (word, Some(folder)));
        let (name, side) = word.split_once(':').map_or((word, None), |(name, side)| (name, Some(side)));
        let Some(account) = config.account(name) else { return Err(no_such_account(text, name, side.is_some(), config)) };
        let protocol = match side {
            None => None,
            Some("imap") => Some(Protocol::Imap),
            Some("pop3" | "pop") => Some(Protocol::Pop3),
            Some(_) => return Err(Error::usage(format!("an account has the sides {name}:imap and {name}:pop3, no other"))),
        };
        let side = match protocol {
            None => account.imap.as_ref().or(account.pop3.as_ref()),
            Some(Protocol::Imap) => account.imap.as_ref(),
            Some(Protocol::Pop3) => account.pop3.as_ref(),
        };
        let Some(side) = side else {
            let missing = if protocol == Some(Protocol::Pop3) { "pop3" } else { "imap" };
            return Err(Error::usage(format!("the account {name} has no {missing} side in the config file")));
        };
        let folder = folder.map_or(Ok(None), parse_folder)?.or_else(|| side.url.folder.clone());
        let options = Settings::parse_options(query).map_err(|error| error.at(word))?;
        let settings = overrides.settings().or(&options).or(&side.settings).or(&side.url.settings).or(&account.settings);
        let fallback = account.email.as_deref();
        let server = side.url.clone().into_server(Some(word), fallback, settings, config, overrides)?;
        if server.protocol == Protocol::Pop3 && folder.as_ref().is_some_and(|folder| !folder.is_inbox()) {
            return Err(no_pop3_folder().at(&server.place));
        }
        Ok(Self::of_server(server, folder))
    }

    fn of_server(server: Server, folder: Option<Folder>) -> Self {
        let shown = folder.as_ref().map_or_else(|| server.place.clone(), |folder| format!("{}/{folder}", server.place));
        Self { shown, location: Location::Server(Box::new(server)), folder }
    }
}

impl Overrides {
    fn settings(&self) -> Settings {
        Settings {
            credential: self.credential.clone(),
            ca_file: self.ca_file.clone(),
            pin: self.pin,
            insecure: self.insecure.then_some(true),
            allow_preauth: self.allow_preauth.then_some(true),
            ..Settings::default()
        }
    }
}

impl ServerUrl {
    /// Takes a URL apart. No part of it is repeated in an error: a mistyped one may hold a password anywhere.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| Error::usage("a URL begins with a scheme, as in imaps://ann@host"))?;
        let (protocol, security) = match scheme.to_ascii_lowercase().as_str() {
            "imaps" => (Protocol::Imap, Security::Implicit),
            "imap" => (Protocol::Imap, Security::StartTls),
            "pop3s" | "pops" => (Protocol::Pop3, Security::Implicit),
            "pop3" | "pop" => (Protocol::Pop3, Security::StartTls),
            _ => {
                return Err(Error::usage("the scheme of a URL is one of imaps, imap, pop3s and pop3")
                    .hint("local mail is maildir:PATH, mbox:PATH or eml:PATH"));
            }
        };
        if password_in(rest).is_some() {
            return Err(Error::usage("a password does not belong in a URL, where other programs and the shell's history see it").hint(
                "leave it out and use --password-command, --password-file, --password-env, ~/.netrc or the config file; a colon in a user name is %3A",
            ));
        }
        let (path, query) = split_query(rest);
        let (authority, folder) = path.split_once('/').map_or((path, ""), |(authority, folder)| (authority, folder));
        let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, address)| (Some(user), address));
        let user = user.map(decode_user).transpose()?;
        let (host, port) = split_port(address)?;
        let folder = parse_folder(folder)?;
        if protocol == Protocol::Pop3 && folder.as_ref().is_some_and(|folder| !folder.is_inbox()) {
            return Err(no_pop3_folder());
        }
        Ok(Self { protocol, security, user, host: parse_host(host)?, port, folder, settings: Settings::parse_options(query)? })
    }

    /// The server, named `name` (an account as typed) or by its URL.
    fn into_server(
        self,
        name: Option<&str>,
        email: Option<&str>,
        settings: Settings,
        config: &Config,
        overrides: &Overrides,
    ) -> Result<Server> {
        let security = settings.tls.unwrap_or(self.security);
        let (scheme, standard) = match (self.protocol, security) {
            (Protocol::Imap, Security::Implicit) => ("imaps", 993),
            (Protocol::Imap, _) => ("imap", 143),
            (Protocol::Pop3, Security::Implicit) => ("pop3s", 995),
            (Protocol::Pop3, _) => ("pop3", 110),
        };
        let port = self.port.unwrap_or(standard);
        let user = self.user.or_else(|| email.map(ToOwned::to_owned));
        let place = name.map_or_else(
            || {
                let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
                let user = user.as_deref().map(|user| format!("{}@", encode_user(user))).unwrap_or_default();
                let port = if port == standard { String::new() } else { format!(":{port}") };
                format!("{scheme}://{user}{host}{port}")
            },
            ToOwned::to_owned,
        );
        let Some(user) = user else {
            let hint = format!("write {scheme}://USER@{}, or add a login for the host to ~/.netrc", self.host);
            return Err(Error::usage("no user is named").at(place).hint(hint));
        };
        if security == Security::None && !overrides.allow_plaintext && !is_loopback(&self.host) {
            return Err(Error::usage("tls=none would send the password and the mail readable by anyone on the way, so it is refused for a host that is not this machine")
                .at(place)
                .hint("leave tls=none out, or add --allow-plaintext if you mean it"));
        }
        let source = settings.credential.unwrap_or(CredentialSource::Unspecified);
        if source == CredentialSource::Keyring {
            return Err(no_keyring().at(place));
        }
        let mut hidden_env = overrides.hidden_env.clone();
        hidden_env.extend(config.secret_variables());
        Ok(Server {
            place,
            protocol: self.protocol,
            endpoint: Endpoint {
                host: self.host,
                port,
                security,
                tls: TlsOptions { ca_file: settings.ca_file, pin: settings.pin, insecure: settings.insecure.unwrap_or(false) },
                timeout: settings.timeout,
                allow_plaintext: overrides.allow_plaintext,
            },
            user,
            auth: settings.auth,
            credential: Credential::new(source, overrides.no_input, hidden_env),
            connections: settings.connections.unwrap_or(2),
            allow_preauth: settings.allow_preauth.unwrap_or(false),
        })
    }
}

/// Whether a host is this machine, whatever the resolver says: 127.0.0.0/8, `::1`, `localhost`.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Reads `sha256:HEX`, the SHA-256 of a certificate; colons between the octets are fine.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when it is not 32 octets in hex.
pub fn parse_pin(text: &str) -> Result<[u8; 32]> {
    let wrong = || Error::usage("a TLS pin is sha256: and 64 hex digits, the SHA-256 of the server's certificate");
    let digits: Vec<u32> = text
        .strip_prefix("sha256:")
        .ok_or_else(wrong)?
        .chars()
        .filter(|character| *character != ':')
        .map(|character| character.to_digit(16).ok_or_else(wrong))
        .collect::<Result<_>>()?;
    let octets = digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit));
    let octets: Vec<u8> = octets.map(|octet| u8::try_from(octet).map_err(|_| wrong())).collect::<Result<_>>()?;
    if digits.len() != 64 {
        return Err(wrong());
    }
    octets.try_into().map_err(|_| wrong())
}

/// An argument as it may be shown: what could be a password between `user:` and `@` is left out.
pub fn redact(argument: &str) -> Cow<'_, str> {
    let start = argument.find("://").map_or(0, |index| index + 3);
    let (scheme, rest) = argument.split_at_checked(start).unwrap_or(("", argument));
    match rest.rsplit_once('@').and_then(|(before, after)| before.split_once(':').map(|(user, _)| (user, after))) {
        Some((user, after)) => Cow::Owned(format!("{scheme}{user}:…@{after}")),
        None => Cow::Borrowed(argument),
    }
}

/// The `user:password` part of what follows a scheme. An `@` or `/` may stand in a password that was not encoded, so the
/// look goes over the whole of it; only `host:port/folder@x` is no password.
fn password_in(rest: &str) -> Option<&str> {
    let (before, _) = rest.split_once('@')?;
    let (_, after_colon) = before.split_once(':')?;
    let is_port = after_colon.split_once('/').is_some_and(|(port, _)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    (!is_port).then_some(after_colon)
}

/// Cuts at the first `?` outside brackets; a literal one in a folder's name is `%3F`.
fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

fn split_port(address: &str) -> Result<(&str, Option<u16>)> {
    let (host, port) = match address.find(']') {
        Some(end) => address.split_at_checked(end + 1).unwrap_or((address, "")),
        None => address.find(':').and_then(|colon| address.split_at_checked(colon)).unwrap_or((address, "")),
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    match port.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).and_then(|digits| digits.parse().ok()) {
        Some(number @ 1..) => Ok((host, Some(number))),
        _ => Err(Error::usage("the port behind the host is not a number from 1 to 65535")
            .hint("an IPv6 address stands in brackets: imaps://ann@[::1]")),
    }
}

/// A host as the resolver gets it: ASCII, an address literal in its usual form and without brackets.
fn parse_host(host: &str) -> Result<String> {
    match url::Host::parse(host) {
        Ok(url::Host::Domain(name)) if name.len() <= 255 => Ok(name),
        Ok(url::Host::Ipv4(address)) => Ok(Ipv4Addr::to_string(&address)),
        Ok(url::Host::Ipv6(address)) => Ok(Ipv6Addr::to_string(&address)),
        _ => Err(Error::usage("the URL names no host, or one with a character that no host name has")),
    }
}

fn decode_user(encoded: &str) -> Result<String> {
    if encoded.contains(";AUTH=") || encoded.contains(";auth=") {
        return Err(Error::usage("a mechanism is chosen with ?auth=…, not with ;AUTH= in the user's name"));
    }
    let user = percent_decode(encoded).filter(|user| !user.is_empty());
    let user =
        user.ok_or_else(|| Error::usage("the user's name is empty, or holds a % that is no code of UTF-8 text").hint("% itself is %25"))?;
    check_user(&user)?;
    Ok(user)
}

/// A user name goes into commands as it is.
pub(super) fn check_user(user: &str) -> Result<()> {
    if user.is_empty() || user.chars().any(char::is_control) {
        return Err(Error::usage("the user's name is empty or holds a control character"));
    }
    Ok(())
}

/// The inverse of [`decode_user`] for showing.
fn encode_user(user: &str) -> String {
    let mut encoded = String::new();
    for character in user.chars() {
        if character.is_alphanumeric() || "-._~+!$".contains(character) {
            encoded.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A folder as typed; nothing, or only `/`, names none.
fn parse_folder(typed: &str) -> Result<Option<Folder>> {
    if typed.trim_matches('/').is_empty() {
        return Ok(None);
    }
    let folder = Folder::parse(typed).ok_or_else(|| {
        Error::usage("the folder has an empty level, or a % that is no code of UTF-8 text")
            .hint("write % as %25 and a / inside a name as %2F")
    })?;
    if folder.levels().iter().any(|level| level.contains(['\0', '\r', '\n'])) {
        return Err(Error::usage("the folder's name holds a line end or NUL"));
    }
    Ok(Some(folder))
}

/// `PATH//FOLDER`, cut at the last `//` that does not begin the path.
fn split_maildir(text: &str) -> Result<(&str, Option<Folder>)> {
    let leading = text.len() - text.trim_start_matches('/').len();
    let cut = text.rfind("//").filter(|cut| *cut >= leading);
    match cut.and_then(|cut| text.split_at_checked(cut)) {
        Some((path, folder)) => Ok((path.trim_end_matches('/'), parse_folder(folder)?)),
        None => Ok((text, None)),
    }
}

/// A local path; the shell leaves `~/` behind a colon alone, so it is read here.
pub(super) fn local_path(text: &str) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(Error::usage("the path is empty").hint("as in maildir:/home/ann/Mail or mbox:old.mbox"));
    }
    if text.contains('\0') {
        return Err(Error::usage("the path holds NUL"));
    }
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(below), Some(home)) => Ok(home.join(below)),
        _ => Ok(PathBuf::from(text)),
    }
}

fn user_from_netrc(host: &str) -> Result<Option<String>> {
    let Some(path) = netrc::path() else { return Ok(None) };
    let Some(entries) = netrc::read(&path)? else { return Ok(None) };
    let user = netrc::find(&entries, host, None).and_then(|entry| entry.login.clone());
    user.map(|user| check_user(&user).map(|()| user)).transpose()
}

fn no_pop3_folder() -> Error {
    Error::usage("POP3 has one folder, INBOX, and no other")
}

fn no_such_account(text: &str, name: &str, colon: bool, config: &Config) -> Error {
    let known = config.account_names().collect::<Vec<_>>().join(", ");
    // `ann:secret@host` without a scheme ends up here.
    if text.contains('@') && (colon || text.contains(':')) {
        return Error::usage("what stands for a place is neither an account nor a URL")
            .hint("a server is imaps://USER@HOST, without a password");
    }
    let error = Error::usage(format!("`{name}` is neither an account nor a URL"));
    if name.is_empty() || name.starts_with(['.', '~']) {
        let path = if text.is_empty() { "PATH" } else { text };
        return Error::usage("a path needs to say what kind of store it is").hint(format!("maildir:{path}, mbox:{path} or eml:{path}"));
    }
    if matches!(name, "imap" | "imaps" | "pop" | "pops" | "pop3" | "pop3s") {
        return error.hint(format!("a URL has two slashes: {name}://USER@HOST"));
    }
    if known.is_empty() {
        return error.hint("the config file names no account; a server is imaps://USER@HOST, a folder of mail maildir:PATH");
    }
    error.hint(format!("the accounts are: {known}; a server is imaps://USER@HOST, a folder of mail maildir:PATH"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Kind;
    use crate::sasl::Mechanism;

    fn config() -> Config {
        let text = r#"
            [accounts.work]
            email = "ann@example.org"
            imap = { url = "imaps://imap.example.org", connections = 4, insecure = true }
            pop3 = "pop3s://bob@pop.example.org?timeout=5"
            timeout = "30s"
            password-env = "WORK_PASSWORD"
            [accounts.old]
            pop3 = "pop3://bob@pop.example.org"
            netrc = true
            [accounts.ring]
            imap = "imaps://ann@h"
            keyring = true
        "#;
        Config::parse(text, Path::new("/etc/config.toml")).unwrap()
    }

    fn parse(text: &str) -> Result<Place> {
        // A chosen source, so that no test looks into the netrc of whoever runs it.
        let overrides = Overrides { credential: Some(CredentialSource::Env("P".into())), ..Overrides::default() };
        Place::parse(text, &config(), &overrides)
    }

    fn server(text: &str) -> Server {
        parse(text).unwrap().server().unwrap().clone()
    }

    fn refusal(text: &str) -> String {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert_eq!(error.kind(), Kind::Usage, "{text}");
        format!("{error} {}", error.remedy().unwrap_or_default())
    }

    #[test]
    fn a_scheme_decides_protocol_security_and_port() {
        for (text, protocol, security, port) in [
            ("imaps://ann@h", Protocol::Imap, Security::Implicit, 993),
            ("imap://ann@h", Protocol::Imap, Security::StartTls, 143),
            ("pop3s://ann@h", Protocol::Pop3, Security::Implicit, 995),
            ("pops://ann@h", Protocol::Pop3, Security::Implicit, 995),
            ("pop://ann@h", Protocol::Pop3, Security::StartTls, 110),
            ("POP3://ann@h", Protocol::Pop3, Security::StartTls, 110),
            ("imap://ann@h:1143", Protocol::Imap, Security::StartTls, 1143),
            ("imap://ann@h?tls=implicit", Protocol::Imap, Security::Implicit, 993),
        ] {
            let server = server(text);
            assert_eq!((server.protocol, server.endpoint.security, server.endpoint.port), (protocol, security, port), "{text}");
        }
    }

    #[test]
    fn a_url_shows_without_options_and_its_folder_is_split_at_slashes() {
        let place = parse("imaps://ann%40example.org@Host.Example:9993/Archive/a%2Fb/?timeout=2m&auth=PLAIN&connections=8").unwrap();
        assert_eq!(place.shown, "imaps://ann%40example.org@host.example:9993/Archive/a%2Fb");
        assert_eq!(place.folder.as_ref().unwrap().levels(), ["Archive", "a/b"]);
        let server = place.server().unwrap();
        assert_eq!((server.user.as_str(), server.endpoint.host.as_str(), server.connections), ("ann@example.org", "host.example", 8));
        assert_eq!(server.endpoint.timeout, Some(Duration::from_mins(2)));
        assert_eq!(server.auth, Some(Authentication::Sasl(Mechanism::Plain)));
        assert!(parse("imaps://ann@h/").unwrap().folder.is_none());
    }

    #[test]
    fn a_user_may_be_an_address_with_a_plain_at_sign() {
        assert_eq!(server("imaps://ann@example.org@imap.example.org").user, "ann@example.org");
    }

    #[test]
    fn an_ipv6_host_stands_in_brackets_and_is_shown_so() {
        let server = server("imap://ann@[0:0::1]:1143?tls=none");
        assert_eq!((server.endpoint.host.as_str(), server.endpoint.port), ("::1", 1143));
        assert_eq!(server.place, "imap://ann@[::1]:1143");
        refusal("imap://ann@::1");
        refusal("imap://ann@[::1");
        refusal("imap://ann@[::1]x");
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_never_repeated() {
        for text in [
            "imaps://ann:canary@host",
            "imaps://ann:can/canary@host/x",
            "imaps://ann:c@nary/canary@host",
            "imaps://ann:993canary@host",
            "imaps://ann:canary?x@host",
            "imaps://ann:#canary@host",
            "imaps://:canary@host",
            "https://ann:canary@host",
            "imaps://ann:canary",
            "ann:canary@host",
            "imaps:ann:canary@host",
            "imaps://ann@ho%00st:canary",
            "imaps://ann@host:canary",
        ] {
            let said = refusal(text);
            assert!(!said.contains("canary") && !said.contains("nary"), "{text}: {said}");
        }
        assert!(refusal("imaps://ann:canary@host").contains("--password-command"));
        assert!(parse("imaps://ann@host:993/a@b").is_ok());
        assert!(refusal("imaps://host:993/a@b").contains("no user is named"));
    }

    #[test]
    fn redacting_leaves_out_what_may_be_a_password() {
        assert_eq!(redact("imaps://ann:p@ss@host/x"), "imaps://ann:…@host/x");
        assert_eq!(redact("ann:secret@host"), "ann:…@host");
        for text in ["imaps://ann@host:993/x", "maildir:/a/b", "work:pop3", "--limit"] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn line_ends_and_nul_are_refused_in_users_hosts_and_folders() {
        for text in [
            "imaps://an%0d%0an@h",
            "imaps://an\r\nn@h",
            "imaps://ann%00@h",
            "imaps://ann%1b@h",
            "imaps://ann@h\r\n",
            "imaps://ann@h%0a",
            "imaps://ann@h\0",
            "imaps://ann@h/a%0d%0ab",
            "imaps://ann@h/a\nb",
            "work/a%00b",
            "imaps://ann%ff@h",
            "imaps://ann%4@h",
            "imaps://@h",
            "imaps://ann@",
            "imaps://ann@a b",
            "maildir:a\0",
            "imaps://ann;AUTH=PLAIN@h",
            "imaps://ann@h:0",
            "imaps://ann@h:65536",
            "imaps://ann@h:+5",
            "imaps://ann@h/a//b",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn a_plain_connection_stays_on_this_machine_unless_allowed() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert_eq!(server(&format!("imap://ann@{host}?tls=none")).endpoint.security, Security::None);
        }
        for host in ["h", "127.0.0.1.example.org", "localhost.example.org", "10.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(refusal(&format!("imap://ann@{host}?tls=none")).contains("--allow-plaintext"), "{host}");
        }
        let overrides = Overrides { allow_plaintext: true, credential: Some(CredentialSource::Env("P".into())), ..Overrides::default() };
        let place = Place::parse("imap://ann@h?tls=none", &Config::default(), &overrides).unwrap();
        assert!(place.server().unwrap().endpoint.allow_plaintext);
        assert!(place.server().unwrap().warnings()[0].contains("not encrypted"));
    }

    #[test]
    fn an_unknown_option_names_the_known_ones() {
        let said = refusal("imaps://ann@h?colour=red");
        assert!(said.contains("`colour`") && said.contains("tls, auth, timeout, connections"), "{said}");
        for text in [
            "imaps://ann@h?tls=maybe",
            "work?connections=9",
            "work?timeout=0",
            "work?auth=scram-sha-256",
            "work?tls=none&tls=none",
            "work?",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn an_account_is_its_imap_side_else_its_pop3_side() {
        let work = server("work");
        assert_eq!((work.place.as_str(), work.protocol, work.user.as_str()), ("work", Protocol::Imap, "ann@example.org"));
        assert_eq!(server("old").protocol, Protocol::Pop3);
        assert_eq!(server("work:pop3").user, "bob");
        let place = parse("work/Archive/2024").unwrap();
        assert_eq!((place.shown.as_str(), place.folder.unwrap().levels().len()), ("work/Archive/2024", 2));
        assert_eq!(parse("work:imap/A").unwrap().shown, "work:imap/A");
        assert!(refusal("old:imap").contains("no imap side"));
        assert!(refusal("work:smtp").contains("work:pop3"));
        assert!(refusal("work:pop3/Archive").contains("INBOX"));
        assert!(refusal("pop3s://ann@h/Archive").contains("INBOX"));
        assert!(parse("pop3s://ann@h/inbox").is_ok());
    }

    #[test]
    fn nearer_levels_win_the_command_line_first() {
        let work = server("work");
        assert_eq!((work.connections, work.endpoint.timeout, work.endpoint.tls.insecure), (4, Some(Duration::from_secs(30)), true));
        assert!(work.warnings()[0].contains("certificate"));
        assert_eq!(server("work?connections=1").connections, 1);
        assert_eq!(server("work:pop3").endpoint.timeout, Some(Duration::from_secs(5)));
        assert_eq!(work.credential.source(), &CredentialSource::Env("P".into()));
        let plain = Place::parse("work", &config(), &Overrides::default()).unwrap();
        assert_eq!(plain.server().unwrap().credential.source(), &CredentialSource::Env("WORK_PASSWORD".into()));
        assert_eq!(server("imaps://ann@h").connections, 2);
    }

    #[test]
    fn a_keyring_is_refused_in_words_unless_the_command_line_names_another_source() {
        let error = Place::parse("ring", &config(), &Overrides::default()).err().unwrap();
        assert!(error.message().contains("not available in this version"));
        assert!(parse("ring").is_ok());
    }

    #[test]
    fn local_places_are_paths() {
        let place = parse("maildir:/home/ann//Mail//Archive/2024").unwrap();
        let Location::Maildir(path) = &place.location else { panic!() };
        assert_eq!(path, Path::new("/home/ann//Mail"));
        assert_eq!(
            (place.folder.unwrap().to_string().as_str(), place.shown.as_str()),
            ("Archive/2024", "maildir:/home/ann//Mail//Archive/2024")
        );
        assert!(matches!(parse("maildir:///srv/mail").unwrap(), Place { folder: None, .. }));
        assert!(matches!(parse("mbox:a?b").unwrap().location, Location::Mbox(path) if path == Path::new("a?b")));
        assert!(matches!(parse("eml:x").unwrap().location, Location::Eml(_)));
        assert!(matches!(parse("-").unwrap().location, Location::Stdio));
        refusal("maildir:");
        refusal("eml:");
    }

    #[test]
    fn a_word_that_is_nothing_names_the_accounts_or_the_form_of_a_path() {
        assert!(refusal("home").contains("old, ring, work"));
        assert!(refusal("./mail").contains("maildir:./mail"));
        assert!(refusal("/srv/mail").contains("maildir:/srv/mail"));
        assert!(refusal("").contains("maildir:PATH"));
        assert!(refusal("imaps:h").contains("imaps://"));
    }

    #[test]
    fn a_pin_is_64_hex_digits() {
        assert_eq!(parse_pin(&format!("sha256:{}", "0f".repeat(32))).unwrap(), [15; 32]);
        assert_eq!(parse_pin(&format!("sha256:AB{}", ":cd".repeat(31))).unwrap()[1], 0xcd);
        for text in
            ["", "sha256:", "sha1:00", &format!("sha256:{}", "0".repeat(63)), &"0".repeat(64), &format!("sha256:{}x", "0".repeat(63))]
        {
            assert!(parse_pin(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_parsing_panic(text in "(imaps?://|work|maildir:|)[@:/?%\\[\\]a-z0-9=\\PC]{0,40}") {
            let _ = parse(&text);
            let _ = redact(&text);
        }

        #[test]
        fn no_text_behind_a_password_brings_it_out(tail in "\\PC{0,30}") {
            let text = format!("imaps://ann:CANARY{tail}");
            if let Err(error) = parse(&text) {
                let said = format!("{error:?}");
                proptest::prop_assert!(!said.contains("CANARY"), "{}", said);
            } else {
                // Only a port number may follow the colon.
                proptest::prop_assert!(false, "taken: {}", text);
            }
        }
    }
}
