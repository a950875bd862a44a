//! IMAP4rev1/rev2 as a client speaks it. The grammar (`types`, `uid_set`, `date`, `utf7`, `encode`, `parse`) is pure and
//! total over bytes; everything that waits for a server sits above it. This room knows nothing of stores or journals.

pub mod date;
pub mod encode;
pub mod parse;
pub mod types;
pub mod uid_set;
pub mod utf7;

pub use encode::{Command, Part};
pub use uid_set::UidSet;
