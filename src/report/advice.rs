//! IMAP or POP3 for this account: what each of the two was seen to offer, and what a move means for programs that read by POP3
//! (`TRANSFER.md`, Matching). It knows measured facts and never how they were measured.

use serde::Serialize;

use super::compared::Formula;

/// Which protocol to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// IMAP.
    Imap,
    /// POP3: IMAP shows nothing of what is in the maildrop.
    Pop3,
    /// IMAP from day to day, POP3 until what only it shows is copied.
    Both,
}

/// How a connection was secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Secured {
    /// TLS from the first octet.
    ImplicitTls,
    /// TLS by STARTTLS or STLS.
    StartTls,
    /// Not at all.
    #[default]
    None,
}

/// What can be fetched of a message that is not wanted whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Partial {
    /// Any part and any range of octets.
    Any,
    /// The header and the first lines of the text (TOP).
    FirstLines,
    /// Nothing but the whole.
    Whole,
}

/// Whether reading mail changes anything on the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// It can be done without a trace.
    NoTrace,
    /// It marks or hides mail: known of servers of this name, not tried.
    Marks,
    /// Not tried, and not known of this server.
    #[default]
    NotTried,
}

/// What something cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Effort {
    /// How often something was sent and its answer awaited; TCP and TLS are not counted.
    pub round_trips: u64,
    /// Seconds; connecting and TLS are counted.
    pub seconds: f64,
}

/// What one protocol was seen to offer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Offer {
    /// The place as the user named it.
    pub place: String,
    /// Host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection was secured.
    pub security: Secured,
    /// The versions of TLS that were accepted; absent without TLS.
    pub tls: Option<&'static str>,
    /// Whether a connection without TLS could have been secured: the server announces STARTTLS or STLS.
    pub tls_offered: bool,
    /// Why the session that was to measure did not come about, or broke off; what is missing below is missing for that.
    pub unmeasured: Option<String>,
    /// Ways to log in that the server announced before the login: names of SASL, and LOGIN, USER, APOP.
    pub authentication: Vec<String>,
    /// Folders that hold messages or could.
    pub folders: Option<u64>,
    /// Messages in all of them.
    pub messages: Option<u64>,
    /// Octets in all of them, as the server claims.
    pub octets: Option<u64>,
    /// Whether read, answered, flagged and the like are kept.
    pub keeps_flags: Option<bool>,
    /// Whether keywords of one's own are kept.
    pub keeps_keywords: Option<bool>,
    /// Whether the server searches.
    pub search: bool,
    /// Whether the server tells of new mail by itself (IDLE).
    pub push: Option<bool>,
    /// What can be fetched of a message.
    pub partial_fetch: Option<Partial>,
    /// Whether requests may be sent without awaiting the answers to those before.
    pub pipelining: Option<bool>,
    /// Extensions that matter, as announced after the login.
    pub extensions: Vec<String>,
    /// Whether reading changes anything.
    pub reading: Reading,
    /// Logging in.
    pub login: Option<Effort>,
    /// Listing the maildrop, or INBOX, with sizes.
    pub listing: Option<Effort>,
    /// Messages in that listing.
    pub listed: Option<u64>,
}

/// What POP3 calls messages by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct UniqueIds {
    /// Unique-ids seen in the first session.
    pub first: u64,
    /// Of these seen in a second session a moment later; absent where there was none.
    pub again: Option<u64>,
    /// Whether all of them were; absent where there was no second session or nothing to compare.
    pub stable: Option<bool>,
    /// How they are made, where that was found out.
    pub formula: Option<Formula>,
}

/// Whether programs that read by POP3 download everything again when they change to another server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Forecast {
    /// The POP3 side they change to.
    pub place: String,
    /// Why nothing can be told.
    pub unknown: Option<String>,
    /// Messages with a unique-id on the old server.
    pub old: u64,
    /// Messages on the new one.
    pub new: u64,
    /// Unique-ids of the old server that the new one has too.
    pub kept: u64,
    /// Of these so many had their headers compared.
    pub checked: u64,
    /// Of those so many are other mail under an old unique-id.
    pub other_mail: u64,
    /// Messages of the new server, as many as the old one has without their unique-ids, that programs take for new.
    pub again: u64,
    /// Octets of all that programs take for new, as the new server claims.
    pub octets: u64,
}

/// The block that `compare-pop3` ends with.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Advice {
    /// Which to use.
    pub verdict: Choice,
    /// Why, in one sentence.
    pub reason: String,
    /// The command to run next.
    pub next: String,
    /// Whether the two sides are of different accounts, as in a move.
    pub moving: bool,
    /// The POP3 side.
    pub pop3: Offer,
    /// The IMAP side.
    pub imap: Offer,
    /// What POP3 calls messages by.
    pub unique_ids: UniqueIds,
    /// What one should know of these servers, a sentence each.
    pub notes: Vec<String>,
    /// What programs that read by POP3 will do after a move; absent where no other POP3 side is known.
    pub forecast: Option<Forecast>,
}
