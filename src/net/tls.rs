//! TLS through native-tls: trust, pin, names. Every refusal is one sentence that names the host and the way out.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};
use rustix::event::PollFlags;

use super::ahead::Ahead;
use super::deadline::Waiter;
use super::dial::Endpoint;
use crate::error::{Error, Result, io_words};
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
    /// Made of the rest when it is first needed.
    pub trust: Trust,
}

/// What the system trusts and these options add, read once for all connections: hundreds of certificates.
#[derive(Clone, Default)]
pub struct Trust(Arc<Mutex<Option<TlsConnector>>>);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}

/// It follows from the other options, so two of them do not differ.
impl PartialEq for Trust {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Trust {}

impl TlsOptions {
    /// Begins to read what is trusted, on a thread of its own; whatever is wrong with it shows when a connection needs it.
    pub fn prepare(&self) {
        let options = self.clone();
        // Without a thread it is read when it is needed.
        let _ = std::thread::Builder::new().spawn(move || options.connector().map(drop));
    }

    fn connector(&self) -> Result<TlsConnector> {
        let mut trust = self.trust.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*trust {
            Some(connector) => Ok(connector.clone()),
            None => Ok(trust.insert(connector(self)?).clone()),
        }
    }
}

/// Does the handshake on a non-blocking socket, within the waiter's deadline, and checks the pin before any octet of ours.
pub(super) fn handshake(tcp: TcpStream, endpoint: &Endpoint, waiter: &mut Waiter) -> Result<TlsStream<Ahead>> {
    let connector = endpoint.tls.connector()?;
    let mut attempt = connector.connect(&endpoint.host, Ahead::new(tcp));
    let stream = loop {
        match attempt {
            Ok(stream) => break stream,
            Err(HandshakeError::WouldBlock(middle)) => {
                // The client's flights are small; what a handshake waits for is the server.
                waiter.wait(middle.get_ref().tcp(), PollFlags::IN)?;
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
        let pem = std::fs::read(path).map_err(|error| Error::usage(format!("the CA file {}: {}", path.display(), io_words(&error))))?;
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
    refusal_of(&error.to_string())
}

/// OpenSSL's words are a chain of library codes, source files and lines; people need the reason at its end.
fn refusal_of(text: &str) -> Error {
    let no_tls = |reason: &str| Error::network(format!("no TLS connection: {reason}"));
    if let Some((_, tail)) = text.rsplit_once("verify failed") {
        let reason = tail.rsplit_once('(').map_or("certificate verify failed", |(_, reason)| reason.trim_end_matches(')').trim());
        return no_tls(&format!("its certificate is not trusted: {reason}"))
            .hint("check the host name, or trust it with --ca-file PEM or --tls-pin sha256:HEX");
    }
    if ["wrong version number", "record layer failure", "packet length too long", "http request"].iter().any(|code| text.contains(code)) {
        return no_tls("what the server sends is not TLS")
            .hint("check the port: one that begins without TLS and changes to it is named imap:// or pop3://");
    }
    // `error:0A000410:SSL routines:function:reason:file.c:123:`
    let reason = match text.split(':').collect::<Vec<_>>().as_slice() {
        ["error", _, _, _, reason, ..] if !reason.trim().is_empty() => reason.trim().to_owned(),
        _ => text.to_owned(),
    };
    no_tls(&reason).hint("check that this port speaks TLS from the first octet; STARTTLS ports are named imap:// and pop3://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_gives_the_reason_and_none_of_the_librarys_insides() {
        let wrong = "error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../ssl/record/ssl3_record.c:350:";
        let untrusted = "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:\
                         ../ssl/statem/statem_clnt.c:1889: (unable to get local issuer certificate)";
        let alert = "error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:../ssl/record/rec_layer_s3.c:1586:SSL alert number 40";
        for (text, reason) in [
            (wrong, "no TLS connection: what the server sends is not TLS"),
            (untrusted, "no TLS connection: its certificate is not trusted: unable to get local issuer certificate"),
            (alert, "no TLS connection: sslv3 alert handshake failure"),
            ("unexpected EOF", "no TLS connection: unexpected EOF"),
        ] {
            assert_eq!(refusal_of(text).message(), reason);
        }
    }
}
