//! `mailhaul verify`.

use super::App;
use crate::cli::OutputArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `verify`.
#[derive(clap::Args)]
pub struct Args {
    /// The store
    #[arg(value_name = "STORE")]
    pub store: String,
    /// The account to compare with
    #[arg(value_name = "PLACE")]
    pub place: Option<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs `verify`.
///
/// # Errors
/// What ended it.
pub fn run(_args: &Args, _app: &App) -> Result<ExitCode> {
    Err(Error::local("not built"))
}
