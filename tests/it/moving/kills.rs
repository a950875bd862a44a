//! Filled by the suite `kills` of `migrate`.
