//! Pairing two listings: which message here is which message there. Pure: it sees digests, sizes, UIDs and unique-ids, never a
//! session, a file or the journal.

mod content;
pub mod formula;
pub mod header;
pub mod ladder;
mod md5;

pub use content::pair_by_content;
