//! A store of backups as a source of messages, with the flags and dates its archive knows.
