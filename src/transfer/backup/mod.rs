//! Backups: what a server has and the store lacks is read, made durable and only then recorded; what the server lost is marked,
//! never removed unasked. It joins the account's session, the store's files and the archive, and sees no protocol.

mod batch;
mod imap;
mod manifest;
mod orphans;
mod pop3;
pub mod preview;
pub mod prune;
pub mod rebuild;
pub mod selection;
pub mod source;
pub mod verify;

use std::path::PathBuf;

use crate::account::Server;
use crate::context::{Context, Moment};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::net::Trace;
use crate::report::{Outcome, Report};
use crate::state::archive::{Account, Archive};
use crate::store::vault::{StoreCard, Vault};

pub use crate::plan::Ceiling;

/// A store opened for its one writing process.
pub struct OpenStore {
    /// Its directory.
    pub root: PathBuf,
    /// What it says of itself.
    pub card: StoreCard,
    /// Its files.
    pub vault: Box<dyn Vault>,
    /// Its journal, which holds the lock.
    pub archive: Archive,
}

/// Limits a user sets to a run; reaching one ends it with [`crate::error::Kind::Limit`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// No new message is begun after this moment.
    pub until: Option<Moment>,
    /// Octets of messages.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
    /// Octets a second, over all connections.
    pub octets_a_second: Option<u64>,
}

/// What the user chose.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only folders that match one of these patterns (`*` within and across levels); empty for all.
    pub include: Vec<String>,
    /// No folder that matches one of these.
    pub exclude: Vec<String>,
    /// Local files of messages that are gone from the server are removed, under this ceiling.
    pub mirror: Option<Ceiling>,
    /// Sessions at once.
    pub connections: u32,
    /// Limits of this run.
    pub limits: Limits,
    /// A folder list that is much shorter than before is believed.
    pub fewer_folders: bool,
    /// Go on with a Gmail maildrop over POP3, which shows but a part.
    pub pop3_anyway: bool,
}

/// A backup of one account.
pub struct Backup<'a> {
    /// Time and signals.
    pub context: &'a Context,
    /// Who is told.
    pub report: &'a dyn Report,
    /// The protocol trace.
    pub trace: &'a Trace,
    /// The store.
    pub store: &'a mut OpenStore,
    /// The account as the store knows it.
    pub account: Account,
    /// Its server.
    pub server: &'a Server,
    /// The one folder that was named; `None` for all.
    pub only: Option<Folder>,
    /// What the user chose.
    pub options: Options,
}

impl Backup<'_> {
    /// Brings the store up to date. The counts are true whatever ended the run, which is the second value.
    pub fn run(self) -> (Outcome, Option<Error>) {
        match self.server.protocol {
            crate::account::Protocol::Imap => imap::run(self),
            crate::account::Protocol::Pop3 => pop3::run(self),
        }
    }
}

/// Opens (or with `establish` makes) a store for writing: card, lock, archive, and the temporary files of dead runs removed.
///
/// # Errors
/// As [`crate::store::vault::establish`] and [`Archive::open`].
pub fn open_store(root: &std::path::Path, card: StoreCard, context: &Context) -> Result<OpenStore> {
    let archive = Archive::open(&root.join(crate::store::vault::STATE_DIR), &card.id, context)?;
    let mut vault = crate::store::vault::open(root, &card, context)?;
    for account in archive.accounts()? {
        vault.sweep(&account.name)?;
    }
    Ok(OpenStore { root: root.to_owned(), card, vault, archive })
}
