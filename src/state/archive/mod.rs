//! The journal inside a store of backups: which file holds which message of which account, under which UID, with which flags,
//! and since when it is gone from the server. It records only facts that are already true outside, one transaction a batch, and
//! must never know how files are written or a server is asked.

mod anew;
mod commit;
mod open;
mod read;
mod schema;
#[cfg(test)]
mod tests;

use crate::folder::Folder;
use crate::message::{Digest, Flag, InternalDate, Key};

pub use anew::Still;
pub use open::Archive;

/// An account of the store: one folder of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub(in crate::state) i64);

/// A folder of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchiveFolderId(pub(in crate::state) i64);

/// A folder under one UIDVALIDITY (POP3: its one generation, 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EraId(pub(in crate::state) i64);

/// A message's file (or its stretch of an mbox).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub(in crate::state) i64);

/// A message under its UID or unique-id in one generation; several may share a file when UIDVALIDITY changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(in crate::state) i64);

/// An account as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// What it is whatever the user calls it: [`crate::account::Server::identity`].
    pub identity: String,
    /// Its folder in the store, one level.
    pub name: String,
    /// Whether its mail changed since the manifest was last written.
    pub manifest_stale: bool,
}

/// Where a folder stood when its last complete visit ended; unchanged means that nothing has to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// UIDVALIDITY; 0 on POP3.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: Option<u32>,
    /// HIGHESTMODSEQ.
    pub highest_mod_seq: Option<u64>,
    /// MESSAGES.
    pub messages: Option<u64>,
}

/// A folder of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFolder {
    /// Its number.
    pub id: ArchiveFolderId,
    /// Its account.
    pub account: AccountId,
    /// Its name on the server, and in the store.
    pub folder: Folder,
    /// MAILBOXID (RFC 8474), where the server has it.
    pub mailbox_id: Option<String>,
    /// Special use as `sent`, `trash` …
    pub special_use: Option<String>,
    /// Whether it was subscribed.
    pub subscribed: bool,
    /// Since when it is not on the server any more, in seconds since 1970 UTC.
    pub gone_at: Option<i64>,
    /// The name it is about to be given here, because it was renamed on the server: a run that died in between finishes that.
    pub renaming_to: Option<Folder>,
    /// Its newest generation.
    pub era: Option<EraId>,
    /// Where its last complete visit ended; `None` before the first, or under a new UIDVALIDITY.
    pub mark: Option<Mark>,
    /// When its last complete visit ended, in seconds since 1970 UTC.
    pub complete_at: Option<i64>,
    /// Messages that are on the server, by the last visit.
    pub messages: u64,
    /// Messages kept that are gone from the server.
    pub gone: u64,
    /// Octets of the files.
    pub octets: u64,
}

/// A generation of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Era {
    /// Its number.
    pub id: EraId,
    /// UIDVALIDITY; 0 on POP3.
    pub uid_validity: u32,
    /// When it was first seen, in seconds since 1970 UTC.
    pub since: i64,
}

/// How a file relates to the message as the server gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The very octets.
    AsReceived,
    /// All line ends were CRLF and are LF here.
    LineFeeds,
}

/// A message's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its number; ignored in a new one.
    pub id: FileId,
    /// The folder it lies in.
    pub folder: ArchiveFolderId,
    /// The unique part of its name (Maildir: before `:2,`; eml: before `.eml`; mbox: `OFFSET+OCTETS`).
    pub stem: String,
    /// How it relates to the message.
    pub form: Form,
    /// Octets of the file (mbox: of the stretch, envelope line included).
    pub octets: u64,
    /// Digest of those octets.
    pub digest: Digest,
    /// Digest of the message as the server gave it.
    pub exact: Digest,
    /// Content digest.
    pub content: Digest,
    /// Header digest (`TRANSFER.md`, Matching).
    pub header: Digest,
    /// Length of the message in octets as the server gave it.
    pub length: u64,
    /// INTERNALDATE.
    pub internal_date: Option<InternalDate>,
    /// EMAILID (RFC 8474) or X-GM-MSGID, with its kind before it (`emailid:`, `gmail:`): equal means the same octets.
    pub object_id: Option<String>,
}

/// What recognises a message's file when its message is listed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LooseFile {
    /// Its number.
    pub id: FileId,
    /// The unique part of its name.
    pub stem: String,
    /// Content digest.
    pub content: Digest,
    /// Header digest.
    pub header: Digest,
    /// INTERNALDATE in seconds since 1970 UTC.
    pub seconds: Option<i64>,
    /// Length of the message in octets as the server gave it.
    pub length: u64,
    /// EMAILID or X-GM-MSGID, as [`ArchiveFile::object_id`].
    pub object_id: Option<String>,
    /// The size in octets by which the server listed it last.
    pub listed_size: Option<u64>,
}

/// A message of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: EntryId,
    /// Its generation.
    pub era: EraId,
    /// UID; `None` on POP3.
    pub uid: Option<u32>,
    /// Text of the [`Key`] on POP3; `None` on IMAP.
    pub key: Option<String>,
    /// Its file.
    pub file: FileId,
    /// Flags and keywords as last seen, sorted, without `\Recent`.
    pub flags: Vec<Flag>,
    /// Gmail's labels as text; empty elsewhere.
    pub labels: Vec<String>,
    /// RFC822.SIZE or POP3's size as listed: a hint.
    pub listed_size: Option<u64>,
    /// When it was first seen here, in seconds since 1970 UTC.
    pub since: i64,
    /// Since when it is gone from the server.
    pub gone_at: Option<i64>,
}

/// An entry with its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The message.
    pub entry: Entry,
    /// Its file.
    pub file: ArchiveFile,
}

/// A new entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its generation.
    pub era: EraId,
    /// UID; `None` on POP3.
    pub uid: Option<u32>,
    /// Its key on POP3.
    pub key: Option<Key>,
    /// Flags and keywords.
    pub flags: Vec<Flag>,
    /// Gmail's labels.
    pub labels: Vec<String>,
    /// Size as listed.
    pub listed_size: Option<u64>,
    /// Now, in seconds since 1970 UTC.
    pub at: i64,
}

/// One change of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveChange {
    /// A message's file is durable. The same (generation, uid) or (generation, key) again is an error; a file that is known in
    /// its folder under that name with the same octets is that one.
    Kept {
        /// The message.
        entry: NewEntry,
        /// Its file.
        file: ArchiveFile,
    },
    /// A message is the one of a file that is here already (new UIDVALIDITY, equal object id).
    Recognised {
        /// The message.
        entry: NewEntry,
        /// The file.
        file: FileId,
    },
    /// A file was found that no message of the archive names (`rebuild`). A name that is taken by the same message is no error.
    Found {
        /// How it is.
        file: ArchiveFile,
    },
    /// Flags or labels on the server are these now, and the file's name says so.
    Flags {
        /// Which.
        entry: EntryId,
        /// Flags and keywords.
        flags: Vec<Flag>,
        /// Labels.
        labels: Vec<String>,
    },
    /// Not on the server any more.
    Gone {
        /// Which.
        entry: EntryId,
        /// Now.
        at: i64,
    },
    /// Not on the server any more, and its UID is another message's: it is known by a key of its own from now on.
    Supplanted {
        /// Which.
        entry: EntryId,
        /// Now.
        at: i64,
    },
    /// On the server again (POP3: listed again).
    Back {
        /// Which.
        entry: EntryId,
    },
    /// A file is about to be removed, with all entries that name it: committed before the act, so that no check takes it for damage.
    /// An error while one of them is on the server: that becomes [`ArchiveChange::Gone`] before, if need be in the same batch.
    Removing {
        /// Which.
        file: FileId,
    },
    /// It is removed, durably; its entries go too.
    Removed {
        /// Which.
        file: FileId,
    },
    /// A file was written anew, or lies elsewhere (repair, a rename found out about). A date or object id that is not given stays.
    Mended {
        /// Its number and how it is now.
        file: ArchiveFile,
    },
    /// A message is put aside, or was so again: its tries go up by one.
    Quarantine {
        /// Its folder.
        folder: ArchiveFolderId,
        /// UID or message number.
        uid: Option<u32>,
        /// Key: `uid:…`, `uidl:…`.
        key: String,
        /// Why.
        reason: String,
        /// Now.
        at: i64,
    },
    /// A message leaves the quarantine: it was kept, or is gone from the server.
    Released {
        /// Its folder.
        folder: ArchiveFolderId,
        /// Its key.
        key: String,
    },
    /// A person says that a message put aside shall be tried again: it leaves the quarantine, and the mark of its folder is
    /// forgotten, so that the next run looks even where nothing changed.
    Retry {
        /// Its folder.
        folder: ArchiveFolderId,
        /// Its key.
        key: String,
    },
    /// A person says that a message put aside shall not be tried again and is no problem any more.
    Ignored {
        /// Its folder.
        folder: ArchiveFolderId,
        /// Its key.
        key: String,
    },
    /// A folder was dealt with completely.
    Visited {
        /// Which.
        folder: ArchiveFolderId,
        /// Where it stood.
        mark: Mark,
        /// Now.
        at: i64,
    },
    /// A folder is not on the server any more (`Some`), or is there again (`None`).
    FolderGone {
        /// Which.
        folder: ArchiveFolderId,
        /// Since when.
        at: Option<i64>,
    },
    /// What the server tells of a folder.
    FolderFacts {
        /// Which.
        folder: ArchiveFolderId,
        /// MAILBOXID.
        mailbox_id: Option<String>,
        /// Special use.
        special_use: Option<String>,
        /// Whether it is subscribed.
        subscribed: bool,
    },
    /// A folder is about to be renamed here (intent).
    Renaming {
        /// Which.
        folder: ArchiveFolderId,
        /// Its new name.
        to: Folder,
    },
    /// It was, and its directory is durable under the new name.
    Renamed {
        /// Which.
        folder: ArchiveFolderId,
        /// Its new name.
        to: Folder,
    },
    /// The manifest of an account is durable and current.
    ManifestWritten {
        /// Which.
        account: AccountId,
    },
}

/// A message put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAside {
    /// Its folder.
    pub folder: ArchiveFolderId,
    /// Its key.
    pub key: String,
    /// UID or message number.
    pub uid: Option<u32>,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was tried last, in seconds since 1970 UTC.
    pub at: i64,
    /// Whether a person said to leave it.
    pub ignored: bool,
}

/// A run over one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRun {
    /// The account.
    pub account: AccountId,
    /// When it began, in seconds since 1970 UTC.
    pub started: i64,
    /// When it ended; `None` for one that still runs or died.
    pub finished: Option<i64>,
    /// Whether it did all it was asked to, over all folders of the account.
    pub complete: bool,
    /// Why its findings were not believed (folders missing), if they were not.
    pub suspicious: Option<String>,
    /// The error that ended it before its time.
    pub error: Option<String>,
}
