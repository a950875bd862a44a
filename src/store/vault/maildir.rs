//! A store as Maildir++ trees.

/// The Maildir++ trees of a store.
pub struct MaildirVault {}
