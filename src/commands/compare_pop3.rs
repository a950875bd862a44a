//! `mailhaul compare-pop3`: says message by message what two places have in common. It is read-only; `transfer` does the work.

use super::App;
use crate::cli::{OutputArgs, TwoPlaceCredentials};
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The arguments of `compare-pop3`.
#[derive(clap::Args)]
pub struct Args {
    /// The first place
    #[arg(value_name = "A")]
    pub a: String,
    /// The second place
    #[arg(value_name = "B")]
    pub b: Option<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: TwoPlaceCredentials,
}

/// Runs `compare-pop3`.
///
/// # Errors
/// What kept a listing from being complete.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let _ = (args, app);
    Err(Error::usage("not there yet"))
}
