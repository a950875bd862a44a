//! TLS through native-tls: trust, pin, names. Every refusal is one sentence that names the host and the way out.

use std::net::TcpStream;
use std::path::PathBuf;

use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};
use rustix::event::PollFlags;

use super::conn::Waiter;
use super::dial::Endpoint;
use crate::error::{Error, Result};
use crate::message::Digest;

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

/// Does the handshake on a non-blocking socket, within the waiter's deadline, and checks the pin before any octet of ours.
pub(super) fn handshake(tcp: TcpStream, endpoint: &Endpoint, waiter: &mut Waiter) -> Result<TlsStream<TcpStream>> {
    let connector = connector(&endpoint.tls)?;
    let mut attempt = connector.connect(&endpoint.host, tcp);
    let stream = loop {
        match attempt {
            Ok(stream) => break stream,
            Err(HandshakeError::WouldBlock(middle)) => {
                // The client's flights are small; what a handshake waits for is the server.
                waiter.wait(middle.get_ref(), PollFlags::IN)?;
                attempt = middle.handshake();
            }
            Err(HandshakeError::Failure(error)) => return Err(refusal(&error)),
        }
    };
    if let Some(pin) = endpoint.tls.pin {
        let certificate = stream.peer_certificate().ok().flatten().and_then(|certificate| certificate.to_der().ok());
        let seen = certificate.map(|der| Digest::of(&der));
        if seen != Some(Digest(pin)) {
            let shown = seen.map_or_else(|| "no certificate".to_owned(), |digest| format!("sha256:{digest}"));
            return Err(Error::network(format!("the server's certificate ({shown}) is not the pinned one"))
                .hint("if the server's certificate was renewed on purpose, change --tls-pin (or tls-pin in the config file)"));
        }
    }
    Ok(stream)
}

fn connector(options: &TlsOptions) -> Result<TlsConnector> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if options.insecure || options.pin.is_some() {
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    }
    if let Some(path) = &options.ca_file {
        let pem = std::fs::read(path).map_err(|error| Error::usage(format!("the CA file {}: {error}", path.display())))?;
        let certificates = Certificate::stack_from_pem(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| Error::usage(format!("the CA file {} holds no PEM certificate", path.display())))?;
        for certificate in certificates {
            builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|error| Error::local(format!("TLS cannot be set up: {error}")).because(error))
}

fn refusal(error: &native_tls::Error) -> Error {
    let text = error.to_string();
    // OpenSSL's words are a chain of library codes; people need the reason at its end.
    let reason = match text.rsplit_once("verify failed") {
        Some((_, "")) => "certificate verify failed".to_owned(),
        Some((_, reason)) => {
            format!("its certificate is not trusted:{}", reason.trim_end_matches(')').replace(['(', ':'], " ").replace("  ", " "))
        }
        None => text,
    };
    let is_certificate = reason.contains("certificate");
    let error = Error::network(format!("no TLS connection: {reason}"));
    if is_certificate {
        error.hint("check the host name, or trust it with --ca-file PEM or --tls-pin sha256:HEX")
    } else {
        error.hint("check that this port speaks TLS from the first octet; STARTTLS ports are named imap:// and pop3://")
    }
}
