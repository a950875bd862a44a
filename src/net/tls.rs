//! TLS through native-tls: trust, pin, names.

use std::path::PathBuf;

/// What makes a server's certificate acceptable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file of further trusted authorities.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the certificate (DER). It replaces the checks of authority and name.
    pub pin: Option<[u8; 32]>,
    /// No check at all; warned about at every run.
    pub insecure: bool,
}
