//! Servers' URLs: taken apart without ever repeating a part that may hold a password, and turned into a [`Server`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Error, Result};
use crate::folder::{Folder, percent_decode};
use crate::net::{Endpoint, Security, TlsOptions};

use super::credential::{CredentialSource, no_keyring};
use super::place::Overrides;
use super::settings::Settings;
use super::{Compression, Config, Credential, Protocol, Server};

/// A server's URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerUrl {
    pub(super) protocol: Protocol,
    security: Security,
    pub(super) user: Option<String>,
    pub(super) host: String,
    port: Option<u16>,
    pub(super) folder: Option<Folder>,
    pub(super) settings: Settings,
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
    pub(super) fn into_server(
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
                tls: TlsOptions {
                    ca_file: settings.ca_file,
                    pin: settings.pin,
                    insecure: settings.insecure.unwrap_or(false),
                    ..TlsOptions::default()
                },
                timeout: settings.timeout,
                allow_plaintext: overrides.allow_plaintext,
            },
            user,
            auth: settings.auth,
            credential: Credential::new(source, overrides.no_input, hidden_env),
            connections: settings.connections.unwrap_or(2),
            connections_given: settings.connections.is_some(),
            compression: Compression::new(settings.compress.unwrap_or_default()),
            allow_preauth: settings.allow_preauth.unwrap_or(false),
        })
    }
}

/// Whether a host is this machine, whatever the resolver says: 127.0.0.0/8, `::1`, `localhost`.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
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

/// Cuts at the first `?`; a literal one in a folder's name is `%3F`.
pub(super) fn split_query(text: &str) -> (&str, Option<&str>) {
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

/// A folder as typed; nothing, or only `/`, names none.
pub(super) fn parse_folder(typed: &str) -> Result<Option<Folder>> {
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

pub(super) fn no_pop3_folder() -> Error {
    Error::usage("POP3 has one folder, INBOX, and no other")
}
