//! Bulk work on one connection: windows, not threads. Several commands are in flight, replies are matched by UID (FETCH)
//! or tag (APPEND), never by order of arrival.

mod append;
mod fetch;

pub use append::{Appender, Fate, Upload};
pub(super) use fetch::bodies_command;
pub use fetch::{Fetched, Wanted};
