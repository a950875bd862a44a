//! What may be said about a server at several levels: the command line, a place's options, a side, an account.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::Security;

use super::credential::CredentialSource;
use super::{Authentication, Compress, parse_duration};

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
    pub(super) compress: Option<Compress>,
    pub(super) allow_preauth: Option<bool>,
}

/// The options a place may carry behind `?`; the config file has keys of the same names.
pub(super) const OPTIONS: [&str; 5] = ["tls", "auth", "timeout", "connections", "compress"];

impl Settings {
    /// What this level says, and `weaker` where it says nothing.
    pub(super) fn or(self, weaker: &Self) -> Self {
        Self {
            credential: self.credential.or_else(|| weaker.credential.clone()),
            ca_file: self.ca_file.or_else(|| weaker.ca_file.clone()),
            pin: self.pin.or(weaker.pin),
            insecure: self.insecure.or(weaker.insecure),
            tls: self.tls.or(weaker.tls),
            auth: self.auth.or(weaker.auth),
            timeout: self.timeout.or(weaker.timeout),
            connections: self.connections.or(weaker.connections),
            compress: self.compress.or(weaker.compress),
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
            "compress" => self.compress = Some(Compress::parse(value)?),
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
    pub(super) fn parse_options(query: Option<&str>) -> Result<Self> {
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

/// Reads `sha256:HEX`, the SHA-256 of a certificate; colons between the octets are fine, and so is the line that
/// `openssl x509 -fingerprint -sha256` prints.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when it is not 32 octets in hex.
pub fn parse_pin(text: &str) -> Result<[u8; 32]> {
    let wrong = || Error::usage("a TLS pin is sha256: and 64 hex digits, the SHA-256 of the server's certificate");
    let digits: Vec<u32> = text
        .strip_prefix("sha256:")
        .or_else(|| text.strip_prefix("sha256 Fingerprint="))
        .or_else(|| text.strip_prefix("SHA256 Fingerprint="))
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
