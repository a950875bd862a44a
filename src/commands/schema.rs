//! `mailhaul schema`: prints the JSON Schema of a command's JSON output.

use super::App;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `schema`.
#[derive(clap::Args)]
pub struct Args {
    /// The command
    pub command: String,
}

/// Runs `schema`.
///
/// # Errors
/// Wrong arguments, or what ended the run.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::usage("seam"))
}
