//! IMAP4rev1/rev2 as a client speaks it. The grammar (`types`, `uid_set`, `date`, `utf7`, `encode`, `parse`) is pure and
//! total over bytes; `wire`, `login`, `session`, `selected`, `listing` and `bulk` wait for a server. This room knows nothing of stores
//! or journals.

pub mod bulk;
pub mod changing;
mod compress;
pub mod date;
pub mod encode;
pub mod listing;
mod login;
pub mod mailboxes;
pub mod opening;
pub mod parse;
pub mod resync;
mod search;
pub mod selected;
pub mod session;
pub mod sort;
pub mod types;
pub mod uid_set;
pub mod utf7;
mod wire;

pub use changing::{Change, Placed, Rest, Stored};
pub use encode::{Command, Part};
pub use uid_set::UidSet;
