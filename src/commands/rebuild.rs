//! `mailhaul rebuild`.

use super::App;
use crate::cli::OutputArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `rebuild`.
#[derive(clap::Args)]
pub struct Args {
    /// The store
    #[arg(value_name = "STORE")]
    pub store: String,
    /// The account it is a backup of
    #[arg(value_name = "PLACE")]
    pub place: Option<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs `rebuild`.
///
/// # Errors
/// What ended it.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::local("not built"))
}
