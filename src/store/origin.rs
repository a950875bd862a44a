//! An IMAP account as a backup asks it: what changed in each folder since the last visit, in as few answers as the server's
//! extensions allow (LIST-STATUS, CONDSTORE, QRESYNC, ESEARCH, OBJECTID, Gmail's). Its session is read-only. It must never know
//! the archive.

use crate::account::Server;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::{Flag, InternalDate, Message};
use crate::net::Trace;

use super::FolderInfo;

/// What STATUS, LIST-STATUS or EXAMINE told of a folder; `None` for what was not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// UIDVALIDITY.
    pub uid_validity: Option<u32>,
    /// UIDNEXT.
    pub uid_next: Option<u32>,
    /// MESSAGES.
    pub messages: Option<u64>,
    /// HIGHESTMODSEQ, where the folder keeps MODSEQs.
    pub highest_mod_seq: Option<u64>,
    /// MAILBOXID (RFC 8474).
    pub mailbox_id: Option<String>,
}

/// A folder of the server.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Its name and use.
    pub info: FolderInfo,
    /// Its figures, or why it would not tell them.
    pub figures: std::result::Result<Figures, String>,
}

/// How far the last complete visit of a folder got.
#[derive(Debug, Clone, Default)]
pub struct Since {
    /// UIDVALIDITY then.
    pub uid_validity: u32,
    /// UIDNEXT then.
    pub uid_next: Option<u32>,
    /// HIGHESTMODSEQ then.
    pub highest_mod_seq: Option<u64>,
    /// UIDs that were there then.
    pub known: UidSet,
}

/// Flags of one message as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flagged {
    /// UID.
    pub uid: u32,
    /// Flags and keywords, without `\Recent`, sorted.
    pub flags: Vec<Flag>,
    /// Gmail's labels as text, where asked for.
    pub labels: Vec<String>,
}

/// A folder as EXAMINE showed it.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Its figures when it was opened.
    pub figures: Figures,
    /// All UIDs there now, exactly: told whole, or known from before with what arrived and what went.
    pub there: UidSet,
    /// Whether flags were told of every message that may have changed; else [`Origin::flags`] has to be asked.
    pub flags_told: bool,
}

/// A message that is to be read, as the server lists it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// UID.
    pub uid: u32,
    /// RFC822.SIZE: a hint.
    pub size: Option<u64>,
    /// INTERNALDATE.
    pub internal_date: Option<InternalDate>,
    /// EMAILID or X-GM-MSGID with its kind before it (`emailid:…`, `gmail:…`).
    pub object_id: Option<String>,
    /// Gmail's labels.
    pub labels: Vec<String>,
    /// Flags.
    pub flags: Vec<Flag>,
}

/// A session with the account.
pub struct Origin {}

#[allow(unused_variables, clippy::unused_self, clippy::needless_pass_by_ref_mut)]
impl Origin {
    /// Connects and logs in; what will be asked first ([`Origin::folders`]) goes out behind the login.
    ///
    /// # Errors
    /// As [`crate::imap::session::Session::connect`].
    pub fn connect(server: &Server, context: &Context, trace: &Trace) -> Result<Self> {
        Err(Error::local("not built"))
    }

    /// How errors name it.
    pub fn place(&self) -> String {
        String::new()
    }

    /// Whether it is Gmail (X-GM-EXT-1): every message once, in its `\All` folder, `\Junk` and `\Trash`.
    pub fn is_gmail(&self) -> bool {
        false
    }

    /// All folders with their figures, to the tagged OK: one LIST-STATUS, or LIST and STATUS in flight together.
    ///
    /// # Errors
    /// Whatever kept the listing from being complete.
    pub fn folders(&mut self) -> Result<Vec<Remote>> {
        Err(Error::local("not built"))
    }

    /// Opens a folder read-only without asking what is in it.
    ///
    /// # Errors
    /// As [`Origin::visit`].
    pub fn open(&mut self, folder: &Folder) -> Result<Figures> {
        Err(Error::local("not built"))
    }

    /// Opens a folder read-only and tells what is there; with `since` and QRESYNC or CONDSTORE only what changed goes over the
    /// wire, and `each` gets the flags of what may have changed.
    ///
    /// # Errors
    /// The folder cannot be opened, or the session was lost.
    pub fn visit(&mut self, folder: &Folder, since: Option<&Since>, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<Visit> {
        Err(Error::local("not built"))
    }

    /// The flags of all messages of the open folder, by rising UID.
    ///
    /// # Errors
    /// As [`Origin::visit`], or what `each` returned.
    pub fn flags(&mut self, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<()> {
        Err(Error::local("not built"))
    }

    /// Sizes, dates and identities of messages of the open folder, by rising UID; one that vanished is left out.
    ///
    /// # Errors
    /// As [`Origin::flags`].
    pub fn arrivals(&mut self, uids: &UidSet, each: &mut dyn FnMut(Arrival) -> Result<()>) -> Result<()> {
        Err(Error::local("not built"))
    }

    /// The headers of messages of the open folder, in any order.
    ///
    /// # Errors
    /// As [`Origin::flags`].
    pub fn headers(&mut self, uids: &UidSet, each: &mut dyn FnMut(u32, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        Err(Error::local("not built"))
    }

    /// Messages of the open folder, pipelined, in any order: each with its index in `wanted`, or why just this one cannot be had
    /// ([`crate::error::Scope::Message`]). One that vanished is not handed over.
    ///
    /// # Errors
    /// As [`Origin::flags`]. What was handed over before stays good.
    pub fn read(&mut self, wanted: &[Arrival], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        Err(Error::local("not built"))
    }

    /// The figures of folders as they are now, in as few round trips as possible, in the order of `folders`.
    ///
    /// # Errors
    /// As [`Origin::folders`].
    pub fn figures(&mut self, folders: &[Folder]) -> Result<Vec<std::result::Result<Figures, String>>> {
        Err(Error::local("not built"))
    }

    /// The UID that was being read when the session was lost, where that is known.
    pub fn stuck_at(&self) -> Option<u32> {
        None
    }

    /// Octets read from and written to the wire so far.
    pub fn octets(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Ends the session politely.
    ///
    /// # Errors
    /// Reported, but what was read stays read.
    pub fn finish(&mut self) -> Result<()> {
        Err(Error::local("not built"))
    }
}
