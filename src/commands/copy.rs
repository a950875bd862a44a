//! `mailhaul copy`: copies messages to another folder, server or store.

use super::App;
use super::transport::{self, Verb};
use crate::error::Result;
use crate::exit::ExitCode;

pub use super::transport::Args;

/// Runs `copy`.
///
/// # Errors
/// Wrong arguments, or what ended the run.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    transport::run(Verb::Copy, args, app)
}
