//! Filled by the suite `takeout` of `migrate`.
