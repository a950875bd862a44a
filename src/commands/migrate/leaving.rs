//! Leaving the source: `--delete-source`, the separate pass after the copy that removes only what was read back.

/// Whether and what is removed from the source.
#[derive(clap::Args)]
pub struct Leaving {}
