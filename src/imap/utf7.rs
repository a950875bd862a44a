//! Mailbox names between wire octets (modified UTF-7, RFC 3501 section 5.1.3, or UTF-8) and folders as people see them.
//! Pure; it knows no server.
use crate::error::{Error, Result};
use crate::folder::Folder;

/// Not yet written.
pub fn mailbox_to_folder(_name: &[u8], _delimiter: Option<char>) -> Option<Folder> {
    None
}

/// Not yet written.
///
/// # Errors
/// Always.
pub fn folder_to_mailbox(_folder: &Folder, _delimiter: Option<char>, _utf8: bool) -> Result<Vec<u8>> {
    Err(Error::usage("not written"))
}
