//! `mailhaul fetch`.

use crate::error::{Error, Result};
use crate::exit::ExitCode;

use super::App;

/// The arguments of `fetch`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs `fetch`.
///
/// # Errors
/// Always, until it is written.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::usage("not written"))
}
