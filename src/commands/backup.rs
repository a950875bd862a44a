//! `mailhaul backup`.

use super::App;
use crate::cli::OutputArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `backup`.
#[derive(clap::Args)]
pub struct Args {
    /// One or more accounts or URLs, then the store: PATH or maildir:PATH, mbox:PATH, eml:PATH
    #[arg(value_name = "PLACE", required = true, num_args = 2..)]
    pub places: Vec<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs `backup`.
///
/// # Errors
/// What ended it.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::local("not built"))
}
