//! Accounts and places: the config file, URLs, and where passwords and tokens come from. This room turns what people
//! type into servers and paths; it must never know a protocol's commands, and it never shows, logs or stores a secret.

mod config;
mod credential;
mod netrc;
mod place;
mod server_url;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::net::Endpoint;
use crate::sasl::Mechanism;
use crate::secret::Secret;

pub use config::{Account, Config};
pub use credential::{Credential, CredentialSource, split_words};
pub use place::{Location, Overrides, Place, Sides};
pub use server_url::{is_loopback, redact};
pub use settings::parse_pin;

/// Which protocol a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// IMAP4rev1 or rev2.
    Imap,
    /// POP3.
    Pop3,
}

/// One side of an account: a server and how to log in.
#[derive(Clone)]
pub struct Server {
    /// How messages name it: `work` or `imaps://ann@host`; never a secret.
    pub place: String,
    /// The protocol.
    pub protocol: Protocol,
    /// Where and how to connect.
    pub endpoint: Endpoint,
    /// Login name.
    pub user: String,
    /// The mechanism the user asked for; `None` lets the session choose.
    pub auth: Option<Authentication>,
    /// Where the password or token comes from.
    pub credential: Credential,
    /// How many connections at most.
    pub connections: usize,
    /// Whether the user said so, rather than nobody.
    pub connections_given: bool,
    /// Whether a PREAUTH greeting over TLS is accepted.
    pub allow_preauth: bool,
    /// When the connection is compressed.
    pub compression: Compression,
}

/// When a connection is compressed (IMAP's COMPRESS=DEFLATE, RFC 4978), where the server offers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compress {
    /// Once reading messages has shown that the link is what takes the time.
    #[default]
    Auto,
    /// From the login on.
    Yes,
    /// Never.
    No,
}

impl Compress {
    /// Reads `auto`, `yes` or `no`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "yes" => Ok(Self::Yes),
            "no" => Ok(Self::No),
            _ => Err(Error::usage("`compress` is one of auto, yes and no")),
        }
    }
}

/// When connections to a server are compressed, and whether that went wrong once; clones share the experience.
#[derive(Debug, Clone, Default)]
pub struct Compression {
    /// What was asked for.
    pub wish: Compress,
    broke: Arc<AtomicBool>,
}

impl Compression {
    /// By what was asked for.
    pub fn new(wish: Compress) -> Self {
        Self { wish, broke: Arc::default() }
    }

    /// Whether the server failed at it, so that it is not tried again.
    pub fn broke(&self) -> bool {
        self.broke.load(Ordering::Relaxed)
    }

    /// Remembers that the server failed at it.
    pub fn give_up(&self) {
        self.broke.store(true, Ordering::Relaxed);
    }
}

/// How to log in, where the user said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// The protocol's own command: LOGIN, or USER and PASS.
    Command,
    /// A SASL mechanism.
    Sasl(Mechanism),
}

impl Authentication {
    /// Reads the value of `auth`: a mechanism's name in any case, or `command`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] naming the known ones; the value itself is not repeated.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "command" => Self::Command,
            "plain" => Self::Sasl(Mechanism::Plain),
            "login" => Self::Sasl(Mechanism::Login),
            "xoauth2" => Self::Sasl(Mechanism::XOAuth2),
            "oauthbearer" => Self::Sasl(Mechanism::OAuthBearer),
            _ => {
                return Err(Error::usage(
                    "`auth` is one of plain, login, xoauth2, oauthbearer and command (LOGIN, or USER and PASS) in this version",
                ));
            }
        })
    }

    /// Whether the mechanism carries an access token rather than a password.
    fn wants_token(self) -> bool {
        matches!(self, Self::Sasl(Mechanism::XOAuth2 | Mechanism::OAuthBearer))
    }
}

/// What a credential turned out to be.
pub enum Login {
    /// A password.
    Password(Secret),
    /// An OAuth 2.0 access token.
    Token(Secret),
}

impl Server {
    /// What the account is called in a journal: the same however the user names it, whatever secures the connection.
    pub fn identity(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Imap => "imap",
            Protocol::Pop3 => "pop3",
        };
        // The two ports of a protocol lead to one account: to go from STARTTLS to TLS must not bring all mail once more.
        let port = match (self.protocol, self.endpoint.port) {
            (Protocol::Imap, 143) => 993,
            (Protocol::Pop3, 110) => 995,
            (_, port) => port,
        };
        format!("{protocol}://{}@{}:{port}", self.user, self.endpoint.host.to_ascii_lowercase())
    }

    /// Fetches the password or token. A password is fetched once a run, so that a person is asked once; a token serves for some
    /// minutes, since tokens expire.
    ///
    /// # Errors
    /// [`crate::error::Kind::Auth`] when nothing gives one, or what should give it fails; a signal while waiting.
    pub fn login(&self, context: &Context) -> Result<Login> {
        // With a token mechanism whatever the user named as the source holds the token.
        let wants_token = self.auth.is_some_and(Authentication::wants_token);
        let (secret, token) = self
            .credential
            .fetch(context, &self.place, &self.endpoint.host, &self.user, wants_token)
            .map_err(|error| error.at(&self.place))?;
        Ok(if token { Login::Token(secret) } else { Login::Password(secret) })
    }

    /// Remembers that the server took the password or token: if it is refused later, it has expired.
    pub fn accepted(&self) {
        self.credential.worked();
    }

    /// Fetches the password or token once more, now that the server refused `refused`; `None` where there is nothing new to show.
    ///
    /// # Errors
    /// As [`Self::login`].
    pub fn login_anew(&self, refused: &Login, context: &Context) -> Result<Option<Login>> {
        let (Login::Password(old) | Login::Token(old)) = refused;
        let secret = self
            .credential
            .fetch_anew(old, context, &self.place, &self.endpoint.host, &self.user)
            .map_err(|error| error.at(&self.place))?;
        Ok(secret.map(|secret| if matches!(refused, Login::Token(_)) { Login::Token(secret) } else { Login::Password(secret) }))
    }

    /// What the user must be told at every run before this server is used: switched-off safety.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.endpoint.tls.insecure {
            warnings.push(format!(
                "{}: the server's certificate is not checked (insecure): anyone on the way can read the password and the mail",
                self.place
            ));
        }
        if self.endpoint.security == crate::net::Security::None && !is_loopback(&self.endpoint.host) {
            warnings.push(format!(
                "{}: the connection is not encrypted (tls=none): anyone on the way can read the password and the mail",
                self.place
            ));
        }
        warnings
    }
}

/// Reads a length of time: `30s`, `2m`, `1h`, `500ms`, or a plain number of seconds.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when it is none of these, zero, or more than a day.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let unit = match unit.trim() {
        "" | "s" => 1000,
        "ms" => 1,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err(Error::usage("a time is a number with ms, s, m or h behind it (30s, 2m), more than zero and at most 24h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (text, millis) in [("30s", 30_000), ("2m", 120_000), ("500ms", 500), ("7", 7000), ("24h", 86_400_000)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "s", "0", "-1", "1.5s", "25h", "99999999999999999999", "1 fortnight", "1é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_mechanism_makes_any_source_a_token() {
        let endpoint = Endpoint {
            host: "h".into(),
            port: 993,
            security: crate::net::Security::Implicit,
            tls: crate::net::TlsOptions::default(),
            timeout: None,
            allow_plaintext: false,
        };
        let mut server = Server {
            place: "work".into(),
            protocol: Protocol::Imap,
            endpoint,
            user: "ann".into(),
            auth: Some(Authentication::Sasl(Mechanism::XOAuth2)),
            credential: Credential::known(Secret::new("x")),
            compression: Compression::default(),
            connections: 2,
            connections_given: false,
            allow_preauth: false,
        };
        assert!(matches!(server.login(&Context::from_environment()), Ok(Login::Token(_))));
        server.auth = None;
        assert!(matches!(server.login(&Context::from_environment()), Ok(Login::Password(_))));
    }
}
