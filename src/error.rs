//! The one error type: what happened, where, what the server said, what to do next, and how much it ruined.
//! This room knows nothing of exit codes (`exit` maps kinds to them) and never holds a secret.

use std::fmt;
use std::time::Duration;

use crate::backoff::{self, Ask};

/// What failed, as far as the caller (and the exit code) has to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line, the config file or a place is wrong.
    Usage,
    /// Authentication was refused, or the login needs a person.
    Auth,
    /// No connection: DNS, TCP, TLS, certificate, a cut connection. Worth trying later.
    Network,
    /// A deadline ran out. Worth trying later.
    Timeout,
    /// The mailbox is in use, or the server is busy for now. Worth trying later.
    Busy,
    /// The server refused a command (`NO`, `BAD`, `-ERR`).
    Refused,
    /// The server broke the protocol.
    Protocol,
    /// Local trouble: disk full, permission, damaged store.
    Local,
    /// A limit that was asked for was reached.
    Limit,
    /// Another run holds the lock.
    Locked,
    /// A safety stop: UIDVALIDITY changed during a run, another store identity, a deletion ceiling.
    Safety,
    /// The destination is over quota.
    Quota,
    /// A signal (its number) asked the run to stop.
    Interrupted(i32),
    /// The reader of our standard output went away.
    BrokenPipe,
}

/// How much a failure ruined, so that the caller knows what can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One message: skip it, count it, go on.
    Message,
    /// The mailbox: leave it, go on with the next.
    Mailbox,
    /// The session: reconnect and resume.
    Session,
    /// The whole run.
    Run,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    scope: Scope,
    place: Option<String>,
    message: String,
    server_said: Option<String>,
    hint: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An error of ours. Its text is one lower-case sentence: the place, what was tried, what the server said, what to do.
#[derive(Debug)]
pub struct Error(Box<Inner>);

/// The result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A new error of `kind`; `message` is lower case, without a final full stop and without the place.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let scope = match kind {
            Kind::Refused => Scope::Mailbox,
            Kind::Network | Kind::Timeout | Kind::Busy | Kind::Protocol => Scope::Session,
            _ => Scope::Run,
        };
        Self(Box::new(Inner {
            kind,
            scope,
            place: None,
            message: message.into(),
            server_said: None,
            hint: None,
            retry_after: None,
            source: None,
        }))
    }

    /// The command line, config file or place is wrong (exit 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Authentication was refused (exit 4).
    pub fn auth(message: impl Into<String>) -> Self {
        Self::new(Kind::Auth, message)
    }

    /// DNS, TCP, TLS or a cut connection (exit 5).
    pub fn network(message: impl Into<String>) -> Self {
        Self::new(Kind::Network, message)
    }

    /// A deadline ran out (exit 5).
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(Kind::Timeout, message)
    }

    /// The server refused a command (exit 6).
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// The server broke the protocol (exit 6).
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(Kind::Protocol, message)
    }

    /// Local trouble (exit 7).
    pub fn local(message: impl Into<String>) -> Self {
        Self::new(Kind::Local, message)
    }

    /// Local trouble made of an I/O error on `what` (a path, say); a full disk gets its own words.
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Kind::BrokenPipe, format!("{what}: {}", io_words(&error))).because(error);
        }
        let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let wrapped = Self::local(format!("{what}: {}", io_words(&error))).because(error);
        if full { wrapped.hint("make room on the disk and run the same command again; nothing was lost") } else { wrapped }
    }

    /// Names the place (an account, URL or path) unless an inner layer already did.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        if self.0.place.is_none() {
            self.0.place = Some(place.to_string());
        }
        self
    }

    /// Keeps the server's own words, word for word.
    #[must_use]
    pub fn said(mut self, words: impl Into<String>) -> Self {
        self.0.server_said = Some(words.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says what this failure ruined, where the kind's usual scope is wrong.
    #[must_use]
    pub fn scoped(mut self, scope: Scope) -> Self {
        self.0.scope = scope;
        self
    }

    /// Says how long the server wants to be left alone, where its words do not tell.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// What failed.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What it ruined.
    pub fn scope(&self) -> Scope {
        self.0.scope
    }

    /// The place it happened at, where known.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// Our own words, without place, server's words and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The server's own words.
    pub fn server_said(&self) -> Option<&str> {
        self.0.server_said.as_deref()
    }

    /// What to do next.
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What the server asks for in its own words: to be left alone for a while, or to be asked over fewer connections.
    pub fn asked(&self) -> Option<Ask> {
        self.server_said().and_then(backoff::read)
    }

    /// How long the server wants to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after.or_else(|| self.asked().and_then(|ask| ask.wait))
    }

    /// The same error once more, without what caused it: for a second one who has to know.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = &self.0;
        Self(Box::new(Inner {
            kind: inner.kind,
            scope: inner.scope,
            place: inner.place.clone(),
            message: inner.message.clone(),
            server_said: inner.server_said.clone(),
            hint: inner.hint.clone(),
            retry_after: inner.retry_after,
            source: None,
        }))
    }

    /// Whether the same call may go through later: a connection, a time-out, a busy mailbox.
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, Kind::Network | Kind::Timeout | Kind::Busy)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(place) = &inner.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(words) = &inner.server_said {
            // Within a sentence its full stop would be one too many.
            let words = if inner.hint.is_some() { words.trim_end_matches('.') } else { words };
            write!(f, "; the server said: {words}")?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// An I/O error as a sentence goes on: in lower case, without the system's number for it.
pub fn io_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.rsplit_once(" (os error ").map_or(text.as_str(), |(words, _)| words);
    let mut characters = words.chars();
    match (characters.next(), characters.next()) {
        // An abbreviation stays as it is.
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain([second]).chain(characters).collect(),
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_full_stop_does_not_end_the_sentence_before_the_remedy() {
        let error = Error::refused("no").said("NO Gone (0.1 secs).").hint("go on");
        assert_eq!(
            (error.to_string().as_str(), error.server_said()),
            ("no; the server said: NO Gone (0.1 secs); go on", Some("NO Gone (0.1 secs)."))
        );
    }

    #[test]
    fn an_io_error_reads_as_part_of_a_sentence() {
        let missing = std::io::Error::from_raw_os_error(2);
        assert_eq!(Error::io("the file x", missing).to_string(), "the file x: no such file or directory");
        assert_eq!(io_words(&std::io::Error::other("TLS is odd")), "TLS is odd");
    }

    #[test]
    fn an_error_reads_place_attempt_server_words_and_remedy_in_one_sentence() {
        let error =
            Error::auth("login as ann was refused").said("NO [AUTHENTICATIONFAILED] no").hint("check the password").at("work").at("outer");
        assert_eq!(error.to_string(), "work: login as ann was refused; the server said: NO [AUTHENTICATIONFAILED] no; check the password");
    }
}
