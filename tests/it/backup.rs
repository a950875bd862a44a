//! Backups: the verbs around a store, against real and scripted servers.

mod accounts;
mod archive_files;
mod bad_network;
mod crash;
mod disk;
mod durability;
mod figures;
mod folders;
mod hostile;
mod imap;
mod limits;
mod mirror;
mod pop3;
mod recipes;
mod restore;
mod scene;
mod status;
mod stranger;
mod trouble;
mod uids;
mod verify;
