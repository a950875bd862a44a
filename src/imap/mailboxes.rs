//! The verbs of a session that concern mailboxes as such beyond looking at them: figures of all of them at once, renaming,
//! deleting, subscriptions.
