//! Filled by the suite `leave` of `migrate`.
