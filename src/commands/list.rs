//! `mailhaul list`.

use crate::error::{Error, Result};
use crate::exit::ExitCode;

use super::App;

/// The arguments of `list`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs `list`.
///
/// # Errors
/// Always, until it is written.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::usage("not written"))
}
