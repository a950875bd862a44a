//! Filled by the suite `local` of `migrate`.
