//! Proving that a store is whole: every file against its digest, the archive against the files.
