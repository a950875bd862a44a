//! mbox files: one, or a folder of them. Reading takes mboxo, mboxrd and mboxcl2; what is written is mboxrd that gives back
//! every byte. It knows files and their locks, and must never know what its messages are for.

pub(super) mod append;
pub(super) mod format;
mod sink;
mod source;

pub(super) use format::{Traits, wire};
pub(super) use sink::write_keyed;
pub use sink::{MboxSink, write_message};
pub use source::MboxSource;
pub(super) use source::directory_names;

/// Whether a file that begins with these bytes is an mbox (and not a single message).
pub fn is_mbox(head: &[u8]) -> bool {
    let at = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    head.get(at..).is_some_and(|rest| rest.starts_with(b"From "))
}
