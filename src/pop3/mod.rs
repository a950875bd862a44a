//! The POP3 client: grammar, session, windowed transfer of bodies. It knows nothing of IMAP, of stores or of journals.

mod bulk;
mod parse;
mod session;

pub use bulk::What;
pub use parse::{Capabilities, Reply, Stat, Unstuffer, base64_of, challenge, list_line, status, uidl_line};
pub use session::{Options, Session, Sizes, UniqueIds};
