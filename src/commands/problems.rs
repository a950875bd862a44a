//! `mailhaul problems`.

use super::App;
use crate::cli::OutputArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `problems`.
#[derive(clap::Args)]
pub struct Args {
    /// The store, or the account that mail is migrated to
    #[arg(value_name = "STORE")]
    pub store: String,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs `problems`.
///
/// # Errors
/// What ended it.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::local("not built"))
}
