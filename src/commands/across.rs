//! Messages from one place to another.

use super::App;
use super::reading::Choice;
use super::transport::{Args, Done, Verb};
use crate::account::Place;
use crate::error::{Error, Result};

pub(super) fn run(
    _verb: Verb,
    _args: &Args,
    _app: &App,
    _place: &Place,
    _destination: &Place,
    _choice: &Choice,
    _done: &mut Done,
) -> Result<()> {
    Err(Error::usage("seam"))
}
