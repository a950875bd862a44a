//! Accounts and places: the config file, URLs, and where credentials come from.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::net::Endpoint;
use crate::sasl::Mechanism;
use crate::secret::Secret;

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
    /// Whether a PREAUTH greeting over TLS is accepted.
    pub allow_preauth: bool,
}

/// How to log in, where the user said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// The protocol's own command: LOGIN, or USER and PASS.
    Command,
    /// A SASL mechanism.
    Sasl(Mechanism),
}

/// Where a password or token comes from.
#[derive(Clone)]
pub enum Credential {}

/// What a credential turned out to be.
pub enum Login {
    /// A password.
    Password(Secret),
    /// An OAuth 2.0 access token.
    Token(Secret),
}

#[allow(unused_variables)]
impl Server {
    /// Fetches the password or token. Asked again at each reconnect: tokens expire.
    pub fn login(&self, context: &Context) -> Result<Login> {
        Err(Error::auth("not written"))
    }
}
