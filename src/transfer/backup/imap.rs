//! A backup of one account over IMAP.

use super::Backup;
use crate::error::Error;
use crate::report::Outcome;

pub(super) fn run(_backup: Backup<'_>) -> (Outcome, Option<Error>) {
    (Outcome::default(), Some(Error::local("not built")))
}
