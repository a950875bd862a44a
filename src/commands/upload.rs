//! `mailhaul upload`: puts files into a folder.

use super::App;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `upload`.
#[derive(clap::Args)]
pub struct Args {
    /// An account, URL or local place, with or without a folder
    pub place: String,
}

/// Runs `upload`.
///
/// # Errors
/// Wrong arguments, or what ended the run.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::usage("seam"))
}
