//! Filled by the suite `spread` of `migrate`.
