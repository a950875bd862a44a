//! The polling facade over one socket: blocking to its callers, non-blocking underneath.

use crate::context::Context;
use crate::error::{Error, Result};

use super::dial::Endpoint;
use super::trace::Trace;

/// What is being waited for; each has its own deadline, which covers the whole phase and not one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// TCP, all addresses (30 s).
    Connect,
    /// The TLS handshake (30 s).
    Tls,
    /// The server's first line (60 s).
    Greeting,
    /// Login, each exchange of it (60 s).
    Login,
    /// An ordinary command (120 s).
    Command,
    /// A command whose answer may be long in coming: SELECT, SEARCH, LIST, UIDL (300 s); renewed as octets come.
    Listing,
    /// Message bodies (120 s, renewed as octets come).
    Body,
    /// The answer to an APPEND of so many octets whose literal went out whole (600 s + 1 s per 100 KB, never less).
    AppendReply(u64),
    /// LOGOUT, QUIT (10 s).
    Logout,
}

/// One connection.
pub struct Conn {}

#[allow(unused_variables)]
impl Conn {
    /// Connects; with [`super::Security::Implicit`] TLS stands when this returns.
    ///
    /// # Errors
    /// [`crate::error::Kind::Network`] or `Timeout`; `Usage` for a plain connection that may not be.
    pub fn dial(endpoint: &Endpoint, context: &Context, trace: &Trace) -> Result<Self> {
        Err(Error::network("not written"))
    }
    /// Upgrades to TLS after the server agreed. Fatal when an octet is already buffered.
    pub fn start_tls(&mut self) -> Result<()> {
        Ok(())
    }
    /// Whether TLS stands.
    pub fn is_encrypted(&self) -> bool {
        false
    }
    /// Starts a phase: its deadline counts from now.
    pub fn deadline(&mut self, phase: Phase) {}
    /// Reads one line into `line` (cleared first), without its CRLF or LF. Traced.
    pub fn read_line(&mut self, max: usize, line: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
    /// Hands exactly `count` octets to `sink`. Not traced but for their count.
    pub fn read_exact_into(&mut self, count: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        Ok(())
    }
    /// What is buffered, after waiting for at least one octet.
    pub fn fill(&mut self) -> Result<&[u8]> {
        Ok(&[])
    }
    /// Takes `count` octets of what [`Self::fill`] showed.
    pub fn consume(&mut self, count: usize) {}
    /// Whether an octet can be read without waiting.
    pub fn readable(&mut self) -> Result<bool> {
        Ok(false)
    }
    /// Queues a command (with its line end), shown in the trace as it is.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Queues octets that hold a secret; the trace shows `shown` instead.
    pub fn write_secret(&mut self, bytes: &[u8], shown: &str) -> Result<()> {
        Ok(())
    }
    /// Queues octets of a message; the trace shows their count only.
    pub fn write_body(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Sends all that is queued.
    pub fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    /// Writes a remark into the trace.
    pub fn note(&self, text: &str) {}
    /// Makes every later call fail with a network error.
    pub fn poison(&mut self) {}
    /// Octets received so far, after TLS.
    pub fn received(&self) -> u64 {
        0
    }
    /// Octets sent so far, before TLS.
    pub fn sent(&self) -> u64 {
        0
    }
}
