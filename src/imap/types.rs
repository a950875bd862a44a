//! What a server's responses mean, as plain values. Nothing here reads a byte from anywhere or decides what to do.

use crate::backoff;
use crate::folder::Folder;
use crate::message::{Flag, InternalDate};

use super::uid_set::UidSet;

/// One whole response as the framer cut it.
///
/// `bytes` are the response's lines joined, without any CRLF. Where a line announced a literal, the announcement (`{n}`)
/// stays in `bytes`, its octets do not: they are in `literals`, at the position just behind the announcement.
/// Text that looks like an announcement and is not registered in `literals` is text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The lines.
    pub bytes: Vec<u8>,
    /// The literals, in ascending order of position.
    pub literals: Vec<Literal>,
}

/// A literal of a [`Frame`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// Index in [`Frame::bytes`] just behind the `}` that announced it.
    pub at: usize,
    /// Its octets, or what became of them.
    pub data: LiteralData,
}

/// The octets of a literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiteralData {
    /// In memory.
    Inline(Vec<u8>),
    /// A message body: so many octets went to the consumer while the response was still coming in.
    Streamed(u64),
}

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// The end of a command.
    Tagged {
        /// The command's tag as the server gave it back.
        tag: String,
        /// How it ended.
        status: StatusLine,
    },
    /// Anything that starts with `*`, and any line that is nothing we know.
    Untagged(Untagged),
    /// A `+` line: the bytes behind the `+ `.
    Continuation(Vec<u8>),
}

/// The first word of a status response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `OK`
    Ok,
    /// `NO`: the server understood and refused.
    No,
    /// `BAD`: the server did not understand, or lost track.
    Bad,
    /// `BYE`: the connection is about to end.
    Bye,
    /// `PREAUTH`: a greeting that needs no login.
    Preauth,
}

impl Status {
    /// The word on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
            Self::Preauth => "PREAUTH",
        }
    }
}

/// A status response, tagged or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusLine {
    /// Its first word.
    pub status: Status,
    /// The response code in brackets.
    pub code: Option<Code>,
    /// The code in brackets as the server wrote it, without the brackets; what is no UTF-8 is replaced.
    pub code_text: Option<String>,
    /// The text for people; what is no UTF-8 is replaced. May hold control characters.
    pub text: String,
}

impl StatusLine {
    /// The server's own words, as in `NO [OVERQUOTA] mailbox is full`. May hold control characters.
    pub fn words(&self) -> String {
        let mut words = self.status.wire().to_owned();
        if let Some(code) = &self.code_text {
            words.push_str(" [");
            words.push_str(code);
            words.push(']');
        }
        if !self.text.is_empty() {
            words.push(' ');
            words.push_str(&self.text);
        }
        words
    }

    /// Whether this is `OK`.
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// Whether the server says it is slowing us down; Gmail writes `[THROTTLED]` at the *end* of the text.
    pub fn throttled(&self) -> bool {
        self.code == Some(Code::Throttled) || self.text.trim_end().to_ascii_uppercase().ends_with("[THROTTLED]")
    }

    /// Whether the server only wants more time before it does what was asked for.
    pub fn slows(&self) -> bool {
        self.throttled() || !self.is_ok() && backoff::read(&self.words()).is_some_and(|ask| ask.slows())
    }
}

/// A response code (RFC 3501 section 7.1, RFC 5530, RFC 4315, RFC 7162 and others).
///
/// A code whose arguments make no sense (`UIDVALIDITY 0`, `HIGHESTMODSEQ -1`, `COPYUID` with sets of different length) is
/// kept as [`Code::Other`]: it says nothing that may be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// `ALERT`: people must see the text.
    Alert,
    /// `BADCHARSET`
    BadCharset,
    /// `CAPABILITY`
    Capability(Vec<String>),
    /// `PARSE`
    Parse,
    /// `PERMANENTFLAGS`; `\*` stays in the list, for new keywords may be made where it is.
    PermanentFlags(Vec<Flag>),
    /// `READ-ONLY`
    ReadOnly,
    /// `READ-WRITE`
    ReadWrite,
    /// `TRYCREATE`
    TryCreate,
    /// `UIDNEXT`, at least 1.
    UidNext(u32),
    /// `UIDVALIDITY`, at least 1.
    UidValidity(u32),
    /// `UNSEEN`: a sequence number, at least 1.
    Unseen(u32),
    /// `APPENDUID`. Only lists in ascending order are taken, so the n-th UID is the n-th message (RFC 4315 section 3).
    AppendUid {
        /// UIDVALIDITY of the destination.
        uid_validity: u32,
        /// The UIDs given, not empty.
        uids: UidSet,
    },
    /// `COPYUID`. Only lists of equal length and in ascending order are taken, so the n-th of one became the n-th of the other.
    CopyUid {
        /// UIDVALIDITY of the destination.
        uid_validity: u32,
        /// The UIDs in the source mailbox.
        source: UidSet,
        /// The UIDs in the destination.
        destination: UidSet,
    },
    /// `UIDNOTSTICKY`
    UidNotSticky,
    /// `HIGHESTMODSEQ`, at least 1.
    HighestModSeq(u64),
    /// `NOMODSEQ`
    NoModSeq,
    /// `MODIFIED`: the UIDs (or sequence numbers) that a conditional STORE left alone.
    Modified(UidSet),
    /// `CLOSED`: what follows belongs to the newly selected mailbox.
    Closed,
    /// `OVERQUOTA`
    OverQuota,
    /// `TOOBIG` (RFC 4469, and Gmail's refusals)
    TooBig,
    /// `LIMIT`
    Limit,
    /// `SERVERBUG`
    ServerBug,
    /// `UNAVAILABLE`
    Unavailable,
    /// `INUSE`
    InUse,
    /// `CANNOT`
    Cannot,
    /// `CLIENTBUG`
    ClientBug,
    /// `CORRUPTION`
    Corruption,
    /// `EXPUNGEISSUED`
    ExpungeIssued,
    /// `AUTHENTICATIONFAILED`
    AuthenticationFailed,
    /// `AUTHORIZATIONFAILED`
    AuthorizationFailed,
    /// `EXPIRED`
    Expired,
    /// `PRIVACYREQUIRED`: TLS is needed first.
    PrivacyRequired,
    /// `NONEXISTENT`
    NonExistent,
    /// `ALREADYEXISTS`
    AlreadyExists,
    /// `CONTACTADMIN`
    ContactAdmin,
    /// `NOPERM`
    NoPerm,
    /// `HASCHILDREN`
    HasChildren,
    /// `UNKNOWN-CTE`
    UnknownCte,
    /// `NOTSAVED`
    NotSaved,
    /// `COMPRESSIONACTIVE`
    CompressionActive,
    /// `USEATTR`: the special use asked for cannot be had (RFC 6154).
    UseAttr,
    /// `REFERRAL` and its URL.
    Referral(String),
    /// `BADURL` and its URL.
    BadUrl(String),
    /// `MAILBOXID` (RFC 8474) without its parentheses.
    MailboxId(String),
    /// `THROTTLED`
    Throttled,
    /// Anything else.
    Other {
        /// The code's name, upper case.
        name: String,
        /// What follows it; what is no UTF-8 is replaced.
        args: String,
    },
}

/// An untagged response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untagged {
    /// `OK`, `NO`, `BAD`, `BYE`, `PREAUTH`. Some servers leave out the `OK` before a code; that is mended here.
    Status(StatusLine),
    /// `CAPABILITY`, as written by the server but for blanks (`LITERAL +` is made `LITERAL+`).
    Capability(Vec<String>),
    /// `LIST` and `XLIST`
    List(ListEntry),
    /// `LSUB`
    Lsub(ListEntry),
    /// `STATUS`
    MailboxStatus {
        /// Name in wire octets.
        mailbox: Vec<u8>,
        /// The figures.
        items: MailboxStatus,
    },
    /// `SEARCH`, in the server's order; zeros are left out.
    Search(Vec<u32>),
    /// `SORT` (RFC 5256), in the server's order; zeros are left out.
    Sort(Vec<u32>),
    /// `ESEARCH` (RFC 4731)
    ESearch(ESearch),
    /// `FETCH`
    Fetch(Fetch),
    /// `EXISTS`
    Exists(u64),
    /// `RECENT`
    Recent(u64),
    /// `EXPUNGE` of a sequence number, at least 1.
    Expunge(u64),
    /// `VANISHED` (RFC 7162)
    Vanished {
        /// Whether it tells of the time before this session looked.
        earlier: bool,
        /// The UIDs that are gone.
        uids: UidSet,
    },
    /// `FLAGS`
    Flags(Vec<Flag>),
    /// `NAMESPACE`
    Namespace(Namespaces),
    /// `QUOTA` (RFC 9208)
    Quota {
        /// What the limits are set to; often empty.
        root: Vec<u8>,
        /// What is counted (`STORAGE`, in units of 1024 octets), how much of it is there, and how much may be.
        resources: Vec<(String, u64, u64)>,
    },
    /// `ID`: names as written, `None` for NIL values.
    Id(Vec<(String, Option<String>)>),
    /// `ENABLED`
    Enabled(Vec<String>),
    /// Anything else, or something that could not be read: the frame's bytes, for the trace.
    Other(Vec<u8>),
}

/// A line of LIST or LSUB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Attributes as written (`\Noselect`); compare them without case.
    pub attributes: Vec<String>,
    /// Hierarchy delimiter; `None` for a flat name.
    pub delimiter: Option<char>,
    /// Name in wire octets: what has to be sent back to mean this mailbox.
    pub name: Vec<u8>,
}

impl ListEntry {
    /// Whether an attribute is there, without regard to case.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|each| each.eq_ignore_ascii_case(attribute))
    }

    /// Whether it can be selected: neither `\Noselect` nor `\NonExistent` (RFC 5258).
    pub fn selectable(&self) -> bool {
        !self.has("\\Noselect") && !self.has("\\NonExistent")
    }

    /// The folder that people see; see [`super::utf7::mailbox_to_folder`].
    pub fn folder(&self) -> Option<Folder> {
        super::utf7::mailbox_to_folder(&self.name, self.delimiter)
    }
}

/// The figures of a STATUS response; `None` for what was not said, or made no sense.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailboxStatus {
    /// `MESSAGES`
    pub messages: Option<u64>,
    /// `RECENT`
    pub recent: Option<u64>,
    /// `UIDNEXT`
    pub uid_next: Option<u32>,
    /// `UIDVALIDITY`
    pub uid_validity: Option<u32>,
    /// `UNSEEN`
    pub unseen: Option<u64>,
    /// `SIZE` in octets (RFC 8438)
    pub size: Option<u64>,
    /// `HIGHESTMODSEQ`
    pub highest_mod_seq: Option<u64>,
    /// `APPENDLIMIT` in octets (RFC 7889)
    pub append_limit: Option<u64>,
    /// `MAILBOXID` (RFC 8474)
    pub mailbox_id: Option<String>,
}

/// An ESEARCH response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ESearch {
    /// Tag of the command that asked.
    pub tag: Option<String>,
    /// Whether the numbers are UIDs.
    pub uid: bool,
    /// `ALL`; absent where nothing was found.
    pub all: Option<UidSet>,
    /// `COUNT`
    pub count: Option<u64>,
    /// `MIN`
    pub min: Option<u32>,
    /// `MAX`
    pub max: Option<u32>,
    /// `MODSEQ`
    pub mod_seq: Option<u64>,
}

/// A FETCH response: whatever the server cared to say, asked or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Sequence number; not to be trusted for anything once messages were expunged.
    pub seq: u64,
    /// `UID`, at least 1.
    pub uid: Option<u32>,
    /// `FLAGS`, without `\*`.
    pub flags: Option<Vec<Flag>>,
    /// `INTERNALDATE`
    pub internal_date: Option<InternalDate>,
    /// `RFC822.SIZE`: a hint.
    pub size: Option<u64>,
    /// `MODSEQ`, at least 1.
    pub mod_seq: Option<u64>,
    /// `EMAILID` (RFC 8474) without its parentheses.
    pub email_id: Option<String>,
    /// `X-GM-MSGID`
    pub gm_msgid: Option<u64>,
    /// `X-GM-LABELS`, in wire octets (modified UTF-7).
    pub gm_labels: Option<Vec<Vec<u8>>>,
    /// `BODY[]`, `RFC822` or `BINARY[]`: the whole message, or a piece of it (then see `origin`).
    pub body: Option<BodyValue>,
    /// The `n` of `BODY[]<n>`.
    pub origin: Option<u64>,
    /// The body is followed by what cannot follow it, or the closing parenthesis is missing: its length was not what was said, and
    /// octets of a message are about to be read as answers.
    pub torn: bool,
    /// `BODY[HEADER]`, `BODY[HEADER.FIELDS (...)]` or `RFC822.HEADER`; absent for NIL.
    pub header: Option<Vec<u8>>,
}

/// The value of a body item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyValue {
    /// NIL, or nothing at all where a value belongs.
    Nil,
    /// A literal whose octets the consumer has.
    Streamed(u64),
    /// A quoted string, or a literal kept in memory.
    Inline(Vec<u8>),
}

/// A NAMESPACE response (RFC 2342): prefixes in wire octets, and their delimiters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The user's own.
    pub personal: Vec<(Vec<u8>, Option<char>)>,
    /// Other users'.
    pub other: Vec<(Vec<u8>, Option<char>)>,
    /// Shared by all.
    pub shared: Vec<(Vec<u8>, Option<char>)>,
}
