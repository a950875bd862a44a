//! Filled by the suite `adversary` of `migrate`.
