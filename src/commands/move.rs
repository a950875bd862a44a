//! `mailhaul move`: moves messages to another folder, server or store.

use super::App;
use super::changing::MaxDelete;
use super::transport::{self, Verb};
use crate::error::Result;
use crate::exit::ExitCode;

/// The arguments of `move`.
#[derive(clap::Args)]
pub struct Args {
    /// What `copy` takes too.
    #[command(flatten)]
    pub transport: transport::Args,
    /// The ceiling.
    #[command(flatten)]
    pub max_delete: MaxDelete,
}

/// Runs `move`.
///
/// # Errors
/// Wrong arguments, or what ended the run.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    transport::run(Verb::Move, &args.transport, args.max_delete, app)
}
