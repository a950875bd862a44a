//! Reads responses.
use crate::error::Result;

use super::types::{Frame, Response, Untagged};

/// A literal that a line announces at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Length in octets.
    pub octets: u64,
    /// Whether it is the value of `BODY[]`, `BODY[]<n>`, `RFC822` or `BINARY[]` in a FETCH: a message.
    pub body: bool,
    /// Whether it is written `~{n}` and so may hold NUL (RFC 3516).
    pub binary8: bool,
}

/// Not yet written.
///
/// # Errors
/// Never.
pub fn announced_literal(_frame: &[u8], _line_start: usize) -> Result<Option<Announced>> {
    Ok(None)
}

/// Not yet written.
pub fn response(frame: Frame) -> Response {
    Response::Untagged(Untagged::Other(frame.bytes))
}
