//! Filled by the suite `plan` of `migrate`.
