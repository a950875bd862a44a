//! Name to connection: every address tried under one deadline, one clear error at the end.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::PollFlags;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::deadline::Waiter;
use super::tls::TlsOptions;
use crate::error::{Error, Kind, Result};

/// Octets in a TCP segment to this machine itself.
const LOOPBACK_SEGMENT: u32 = 4096;

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

impl Endpoint {
    /// Begins to read what is trusted, where TLS will be spoken: it takes about as long as the connection.
    pub fn prepare(&self) {
        if self.security != Security::None {
            self.tls.prepare();
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Little is sent.
    Down,
    /// Whole messages may be sent.
    Up,
}

/// Opens a non-blocking TCP connection to the first address that answers.
pub(super) fn connect(endpoint: &Endpoint, load: Load, waiter: &mut Waiter) -> Result<TcpStream> {
    let addresses = resolve(endpoint, waiter)?;
    if endpoint.security == Security::None && !endpoint.allow_plaintext && !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(Error::usage(format!("a plain connection to {} would show the password to the network", endpoint.host))
            .hint("drop tls=none, or add --allow-plaintext if that is really wanted"));
    }
    let mut failures = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        // A dead first address must leave time for the others.
        let share = waiter.left() / u32::try_from(addresses.len() - index).unwrap_or(1);
        match connect_one(address, load, &mut waiter.within(share)) {
            Ok(stream) => return Ok(stream),
            Err(error) if matches!(error.kind(), Kind::Interrupted(_)) => return Err(error),
            Err(error) => failures.push(format!("{address}: {}", error.message())),
        }
    }
    Err(Error::network(format!("no connection to {} port {} ({})", endpoint.host, endpoint.port, failures.join("; ")))
        .hint("check the host name and port, and that the server is up"))
}

fn connect_one(address: &SocketAddr, load: Load, waiter: &mut Waiter) -> Result<TcpStream> {
    let words = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::network("connection refused"),
        _ => Error::network(error.to_string()),
    };
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP)).map_err(words)?;
    socket.set_nonblocking(true).map_err(words)?;
    socket.set_tcp_nodelay(true).map_err(words)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive).map_err(words)?;
    if load == Load::Up && address.ip().is_loopback() {
        // Loopback's 64 KB segments do not fit the window of a server that reads slowly: the kernel then waits 200 ms for
        // each, and an upload to a server on this machine takes ten times as long. What only comes down is quicker in large ones.
        let _ = socket.set_tcp_mss(LOOPBACK_SEGMENT);
    }
    match socket.connect(&SockAddr::from(*address)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            waiter.wait(&socket, PollFlags::OUT)?;
            if let Some(error) = socket.take_error().map_err(words)? {
                return Err(words(error));
            }
        }
        Err(error) => return Err(words(error)),
    }
    Ok(socket.into())
}

/// Looks the name up on a thread of its own, because the system's resolver knows no deadline.
fn resolve(endpoint: &Endpoint, waiter: &mut Waiter) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = endpoint.host.parse() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let name = (endpoint.host.clone(), endpoint.port);
    std::thread::spawn(move || {
        let _ = sender.send(name.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    });
    loop {
        match receiver.recv_timeout(waiter.next_slice()?) {
            Ok(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
            Ok(answer) => {
                let reason = answer.err().map_or_else(|| "no address".to_owned(), |error| error.to_string());
                return Err(
                    Error::network(format!("the host name {} cannot be looked up: {reason}", endpoint.host)).hint("check its spelling")
                );
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Error::network("the host name look-up ended without an answer")),
        }
    }
}
