//! `mailhaul status`.

use super::App;
use crate::cli::OutputArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `status`.
#[derive(clap::Args)]
pub struct Args {
    /// The store, or the account that mail is migrated to; without it, all that were used from here
    #[arg(value_name = "STORE")]
    pub store: Option<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs `status`.
///
/// # Errors
/// What ended it.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::local("not built"))
}
