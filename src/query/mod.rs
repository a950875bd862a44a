//! The selection language: its terms and what they mean, evaluated on what is known of a message. The meaning is that of
//! IMAP SEARCH (RFC 9051 section 6.4.4) wherever IMAP has the term; it knows no server, no socket and no file.

mod day;
mod evaluate;

use crate::message::{Flag, InternalDate};

pub use day::Day;
use evaluate::Seen;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// The message has this flag or keyword.
    Flag(Flag),
    /// `From` holds this text, case aside.
    From(String),
    /// `To` holds this text.
    To(String),
    /// `Cc` holds this text.
    Cc(String),
    /// `Subject`, decoded, holds this text.
    Subject(String),
    /// Header or text holds this text.
    Text(String),
    /// The text, decoded, holds this text.
    Body(String),
    /// A field of this name holds this text (empty: is there at all).
    Header {
        /// The field's name.
        name: String,
        /// The text.
        text: String,
    },
    /// `Message-ID` is this, angle brackets aside.
    MessageId(String),
    /// INTERNALDATE is on this day or later.
    Since(Day),
    /// INTERNALDATE is before this day.
    Before(Day),
    /// `Date` is on this day or later.
    SentSince(Day),
    /// `Date` is before this day.
    SentBefore(Day),
    /// INTERNALDATE is at or before this moment, in seconds since 1970 UTC.
    OlderThan(i64),
    /// INTERNALDATE is after this moment, in seconds since 1970 UTC.
    NewerThan(i64),
    /// More octets than this.
    Larger(u64),
    /// Fewer octets than this.
    Smaller(u64),
    /// IMAP SEARCH keys as typed; an IMAP server alone knows what they mean.
    Raw(String),
    /// Gmail's own search language (X-GM-RAW); Gmail alone knows what it means.
    Gmail(String),
    /// The opposite.
    Not(Box<Self>),
}

/// Conditions that must all hold; none at all holds for every message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The conditions.
    pub terms: Vec<Term>,
}

/// What is known of a message when a query is evaluated; what is `None` is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Flags and keywords.
    pub flags: Option<&'a [Flag]>,
    /// Size in octets.
    pub size: Option<u64>,
    /// INTERNALDATE.
    pub internal_date: Option<InternalDate>,
    /// The header's octets (or a whole message, of which the header is looked at). Fields that were left out are taken for
    /// missing, so at least [`Query::fields`] must be there.
    pub header: Option<&'a [u8]>,
    /// The whole message's octets.
    pub whole: Option<&'a [u8]>,
}

/// What has to be known of messages for a query to be evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Their flags.
    pub flags: bool,
    /// Their sizes.
    pub size: bool,
    /// Their INTERNALDATEs.
    pub internal_date: bool,
    /// Their headers.
    pub header: bool,
    /// The messages themselves.
    pub whole: bool,
}

impl Needs {
    fn and(self, other: Self) -> Self {
        Self {
            flags: self.flags || other.flags,
            size: self.size || other.size,
            internal_date: self.internal_date || other.internal_date,
            header: self.header || other.header,
            whole: self.whole || other.whole,
        }
    }
}

impl Term {
    /// The opposite of this term, with no opposite in an opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Not(term) => *term,
            term => Self::Not(Box::new(term)),
        }
    }

    /// The term itself, out of all its opposites.
    fn inner(&self) -> &Self {
        let mut term = self;
        while let Self::Not(inner) = term {
            term = inner;
        }
        term
    }

    /// What has to be known to tell.
    fn needs(&self) -> Needs {
        let none = Needs::default();
        match self.inner() {
            Self::Flag(_) => Needs { flags: true, ..none },
            Self::Since(_) | Self::Before(_) | Self::OlderThan(_) | Self::NewerThan(_) => Needs { internal_date: true, ..none },
            Self::Larger(_) | Self::Smaller(_) => Needs { size: true, ..none },
            Self::Text(_) | Self::Body(_) => Needs { whole: true, ..none },
            Self::Raw(_) | Self::Gmail(_) | Self::Not(_) => none,
            Self::From(_)
            | Self::To(_)
            | Self::Cc(_)
            | Self::Subject(_)
            | Self::Header { .. }
            | Self::MessageId(_)
            | Self::SentSince(_)
            | Self::SentBefore(_) => Needs { header: true, ..none },
        }
    }
}

impl Query {
    /// Whether it chooses nothing, that is, every message.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it holds for a message; `None` where `facts` cannot tell.
    pub fn holds(&self, facts: &Facts<'_>) -> Option<bool> {
        let mut message = Seen::new(facts);
        let mut unknown = false;
        for term in &self.terms {
            match message.holds(term) {
                Some(false) => return Some(false),
                Some(true) => {}
                None => unknown = true,
            }
        }
        if unknown { None } else { Some(true) }
    }

    /// What has to be known to tell for every message.
    pub fn needs(&self) -> Needs {
        self.terms.iter().fold(Needs::default(), |needs, term| needs.and(term.needs()))
    }

    /// The names of the header fields that are looked at, as far as single fields are enough: `None` where the whole header
    /// counts.
    pub fn fields(&self) -> Option<Vec<&str>> {
        let mut names: Vec<&str> = Vec::new();
        for term in &self.terms {
            match term.inner() {
                Term::From(_) => names.push("From"),
                Term::To(_) => names.push("To"),
                Term::Cc(_) => names.push("Cc"),
                Term::Subject(_) => names.push("Subject"),
                Term::Header { name, .. } => names.push(name),
                Term::MessageId(_) => names.push("Message-ID"),
                Term::SentSince(_) | Term::SentBefore(_) => names.push("Date"),
                Term::Text(_) | Term::Body(_) => return None,
                _ => {}
            }
        }
        Some(names)
    }

    /// The option that only an IMAP server understands (`--search`, `--gmail`), if one is there.
    pub fn server_only(&self) -> Option<&'static str> {
        self.terms.iter().find_map(|term| match term.inner() {
            Term::Raw(_) => Some("--search"),
            Term::Gmail(_) => Some("--gmail"),
            _ => None,
        })
    }

    /// Whether flags are among the conditions, so that a change by somebody else in between could matter.
    pub fn by_flags(&self) -> bool {
        self.needs().flags
    }
}

#[cfg(test)]
pub(crate) mod tests;
