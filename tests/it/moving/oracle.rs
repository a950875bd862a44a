//! Filled by the suite `oracle` of `migrate`.
