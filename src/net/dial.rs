//! Name to connection: every address tried under one deadline, one clear error at the end.

use std::time::Duration;

use super::tls::TlsOptions;

/// How a connection is secured. Policy comes from here, never from what a server announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first octet.
    Implicit,
    /// STARTTLS or STLS, required.
    StartTls,
    /// Plain: only to loopback, or with `--allow-plaintext`.
    None,
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host name or address literal, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// Trust, pin, and the switch that ignores both.
    pub tls: TlsOptions,
    /// Replaces the default deadline of every phase (`?timeout=30s`), the answer to an APPEND excepted.
    pub timeout: Option<Duration>,
    /// Whether a plain connection may leave this machine.
    pub allow_plaintext: bool,
}
