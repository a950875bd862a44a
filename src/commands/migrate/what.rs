//! What of the source goes, and under which names: the arguments of `migrate` for folders, messages and limits.

/// What goes, and where to.
#[derive(clap::Args)]
pub struct What {}
