//! One binary for all tests of the whole tool.

mod generated;
mod usage;
