//! Filled by the suite `throttled` of `migrate`.
