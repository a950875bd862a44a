//! The files of a store of backups: a Maildir tree, mbox files or `.eml` files, one directory an account, readable without this
//! program. It makes messages durable under names that follow from what they are, and must never know the archive.

mod card;
mod home;
mod manifest;
mod mbox;
mod mend;
mod names;
mod put;
mod syncing;
mod tree;

use std::path::Path;

use crate::context::Context;
use crate::error::Result;
use crate::folder::Folder;
use crate::message::{Digest, Flag, InternalDate, Message};

pub use card::{card, establish, is_store, of_form, would_be};
pub use manifest::{Manifest, manifest};
pub use mbox::MboxVault;
pub use mend::{found_layout, key_digits, key_of, new_card, promises, set_aside, settle_file, uid_of};
pub use tree::TreeVault;

/// How messages lie in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Maildir++: a file a message.
    Maildir,
    /// An mbox a folder, appended to.
    Mbox,
    /// `.eml` files in nested directories.
    Eml,
}

/// What a store says of itself in its file `.mailhaul/store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCard {
    /// Its random identity, 32 hexadecimal digits.
    pub id: String,
    /// How messages lie in it.
    pub layout: Layout,
    /// Whether line ends stay as the server gave them (`--line-ends as-received`).
    pub as_received: bool,
}

/// Under which UID or unique-id a message gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKey<'a> {
    /// IMAP.
    Uid {
        /// UIDVALIDITY.
        uid_validity: u32,
        /// UID.
        uid: u32,
    },
    /// POP3: the text of its key, of which a digest stands in the name.
    Key(&'a str),
}

/// A message that was made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laid {
    /// The caller's number for it.
    pub ticket: u64,
    /// The unique part of its name.
    pub stem: String,
    /// Whether its line ends are LF now.
    pub line_feeds: bool,
    /// Octets of its file.
    pub octets: u64,
    /// Digest of its file.
    pub digest: Digest,
    /// What could not be kept, in words (a date the file system cannot hold).
    pub altered: Vec<String>,
}

/// A file as it lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lying {
    /// The unique part of its name.
    pub stem: String,
    /// Its path below the root of the store, as the manifest names it.
    pub path: String,
    /// Octets.
    pub octets: u64,
    /// Its time of last change, which stands for INTERNALDATE.
    pub modified: InternalDate,
    /// Flags and keywords, as far as the layout has them.
    pub flags: Vec<Flag>,
    /// (UIDVALIDITY, UID) as its name tells, where this program named it so.
    pub uid: Option<(u32, u32)>,
    /// The digest of its POP3 key as its name tells.
    pub key: Option<String>,
}

/// The files of a store. One folder at a time is written to.
pub trait Vault: Send {
    /// How messages lie in it.
    fn layout(&self) -> Layout;

    /// Removes the temporary files of runs that died, never another program's.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails; so for all here.
    fn sweep(&mut self, account: &str) -> Result<()>;

    /// Says that the archive may lack files that are here (rows were lost, it was made anew): each folder of the account is
    /// looked through once before a file is added to it, so that a message never gets a second one.
    fn distrust(&mut self, account: &str);

    /// Says that a folder was dealt with completely and that all of it is in the archive. Until then the folder keeps word that a
    /// run did not come to its end, and the next run looks through it once before it adds a file.
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn complete(&mut self, account: &str, folder: &Folder) -> Result<()>;

    /// Whether a run left word that files of the folder may not be in the archive; not every layout keeps such word.
    fn is_unrecorded(&self, account: &str, folder: &Folder) -> bool {
        let _ = (account, folder);
        false
    }

    /// Makes the directory of a folder, durably.
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn make_folder(&mut self, account: &str, folder: &Folder) -> Result<()>;

    /// Renames the directory of a folder, durably; done already is no error. `false` when the new name is taken.
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn rename_folder(&mut self, account: &str, from: &Folder, to: &Folder) -> Result<bool>;

    /// The folders that stand in an account's directory.
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn folders(&mut self, account: &str) -> Result<Vec<Folder>>;

    /// The accounts whose directories stand in the store.
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn accounts(&mut self) -> Result<Vec<String>>;

    /// Writes a message to a temporary file (at most 256 may wait); nothing is durable before [`Vault::settle`]. The name follows from `key` and the
    /// message, so that a run that died and its successor give the same one.
    ///
    /// # Errors
    /// As [`Vault::sweep`]; what is not settled is dropped then.
    fn lay(&mut self, account: &str, folder: &Folder, ticket: u64, key: NameKey<'_>, message: &Message) -> Result<()>;

    /// How many messages and octets wait for [`Vault::settle`], those not counted with which it was begun.
    fn waiting(&self) -> (usize, u64);

    /// Begins to make what was laid durable, where that can go on beside the laying of more. [`Vault::settle`] ends it then, and
    /// leaves what was laid since. `false` where nothing was begun.
    ///
    /// # Errors
    /// As [`Vault::lay`].
    fn begin(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Whether [`Vault::settle`] would wait for nothing that was begun.
    fn is_ready(&self) -> bool {
        true
    }

    /// Makes everything laid (or what was begun) durable: files, names, directories. A file that stands under the name already and holds the same
    /// octets is the message (a run died before it could record it).
    ///
    /// # Errors
    /// As [`Vault::lay`]: nothing of the batch counts then.
    fn settle(&mut self) -> Result<Vec<Laid>>;

    /// Gives files the flags that they shall show, where the layout shows flags; durable when it returns. Those that are not there
    /// any more are returned.
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn reflag(&mut self, account: &str, folder: &Folder, files: &[(String, Vec<Flag>)]) -> Result<Vec<String>>;

    /// Removes files, durably; one that is not there is no error.
    ///
    /// # Errors
    /// As [`Vault::sweep`]; [`crate::error::Kind::Usage`] where the layout cannot (mbox).
    fn remove(&mut self, account: &str, folder: &Folder, stems: &[String]) -> Result<()>;

    /// Reads a file back as the message the server gave (`line_feeds`: its LFs were CRLFs), with the flags its name shows and
    /// its date. `None` when it is not there.
    ///
    /// # Errors
    /// As [`Vault::sweep`], with [`crate::error::Scope::Message`] when just this file cannot be read.
    fn read(&mut self, account: &str, folder: &Folder, stem: &str, line_feeds: bool) -> Result<Option<Message>>;

    /// Octets, digest and path (below the root of the store) of a file. `None` when it is not there.
    ///
    /// # Errors
    /// As [`Vault::read`].
    fn check(&mut self, account: &str, folder: &Folder, stem: &str) -> Result<Option<(u64, Digest, String)>>;

    /// Path of a file (below the root of the store), as the manifest names it; nothing is read. `None` when it is not there, or
    /// has no file of its own ([`Vault::whole`]).
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn path(&mut self, account: &str, folder: &Folder, stem: &str) -> Result<Option<String>>;

    /// Reads the names of all files of a folder, for [`Vault::path_as_listed`].
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn look_through(&mut self, account: &str, folder: &Folder) -> Result<()> {
        let _ = (account, folder);
        Ok(())
    }

    /// As [`Vault::path`], where it was when [`Vault::look_through`] was called just before.
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn path_as_listed(&mut self, account: &str, folder: &Folder, stem: &str) -> Result<Option<String>> {
        self.path(account, folder, stem)
    }

    /// Digest and path of the one file that is the folder, where the layout has that (mbox).
    ///
    /// # Errors
    /// As [`Vault::sweep`].
    fn whole(&mut self, account: &str, folder: &Folder) -> Result<Option<(Digest, String)>> {
        let _ = (account, folder);
        Ok(None)
    }

    /// All that lies in a folder, one at a time, by name.
    ///
    /// # Errors
    /// As [`Vault::sweep`], or what `each` returned.
    fn scan(&mut self, account: &str, folder: &Folder, each: &mut dyn FnMut(Lying) -> Result<()>) -> Result<()>;
}

/// Opens the files of a store.
///
/// # Errors
/// [`crate::error::Kind::Local`] when its directories cannot be opened.
pub fn open(root: &Path, card: &StoreCard, context: &Context) -> Result<Box<dyn Vault>> {
    match card.layout {
        Layout::Maildir | Layout::Eml => Ok(Box::new(TreeVault::open(root, card, context)?)),
        Layout::Mbox => Ok(Box::new(MboxVault::open(root, card, context)?)),
    }
}

/// Where the archive, the lock and the card lie.
pub const STATE_DIR: &str = ".mailhaul";
