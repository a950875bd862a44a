//! The conditions of a query as options: what each is called, what its value has to look like, which term it becomes.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::imap::encode::{can_send_flag, check_raw_keys};
use crate::message::Flag;
use crate::query::{Day, Term};

/// One option.
pub(super) struct Condition {
    pub(super) name: &'static str,
    /// What its value is called; empty where it takes none.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    pub(super) read: fn(&str) -> Result<Term>,
}

const fn flag(name: &'static str, help: &'static str, read: fn(&str) -> Result<Term>) -> Condition {
    Condition { name, value: "", help, read }
}

const fn with(name: &'static str, value: &'static str, help: &'static str, read: fn(&str) -> Result<Term>) -> Condition {
    Condition { name, value, help, read }
}

/// All of them but `--uid`, in the order of the help.
pub(super) const CONDITIONS: &[Condition] = &[
    flag("unseen", "Not read yet", |_| Ok(Term::Not(Box::new(Term::Flag(Flag::seen()))))),
    flag("seen", "Read", |_| Ok(Term::Flag(Flag::seen()))),
    flag("flagged", "Flagged", |_| Ok(system("\\Flagged"))),
    flag("answered", "Answered", |_| Ok(system("\\Answered"))),
    flag("draft", "Marked as a draft", |_| Ok(system("\\Draft"))),
    flag("deleted", "Marked as deleted", |_| Ok(system("\\Deleted"))),
    with("keyword", "K", "With this keyword", keyword),
    with("from", "T", "From holds this text, case aside (names and addresses)", |text| words(text).map(Term::From)),
    with("to", "T", "To holds this text", |text| words(text).map(Term::To)),
    with("cc", "T", "Cc holds this text", |text| words(text).map(Term::Cc)),
    with("subject", "T", "Subject holds this text", |text| words(text).map(Term::Subject)),
    with("text", "T", "Header or text holds this text", |text| words(text).map(Term::Text)),
    with("body", "T", "The text holds this text", |text| words(text).map(Term::Body)),
    with("header", "NAME: T", "The field NAME holds this text; without a text: has such a field", header),
    with("since", "DAY", "Arrived on this day (YYYY-MM-DD) or later", |text| day(text).map(Term::Since)),
    with("before", "DAY", "Arrived before this day", |text| day(text).map(Term::Before)),
    with("sent-since", "DAY", "Its Date field says this day or later", |text| day(text).map(Term::SentSince)),
    with("sent-before", "DAY", "Its Date field says an earlier day", |text| day(text).map(Term::SentBefore)),
    with("larger", "SIZE", "Larger than this: bytes, or 1024 and its powers with k, M or G behind the number", |text| {
        super::size(text).map(Term::Larger)
    }),
    with("smaller", "SIZE", "Smaller than this", |text| super::size(text).map(Term::Smaller)),
    with("message-id", "ID", "Message-ID is this, with or without its angle brackets", message_id),
    with("older-than", "AGE", "Arrived longer ago than this (12h, 30d, 2w), or before this moment (RFC 3339)", |text| {
        moment(text).map(Term::OlderThan)
    }),
    with("newer-than", "AGE", "Arrived less long ago than this, or after this moment", |text| moment(text).map(Term::NewerThan)),
    with("search", "KEYS", "IMAP SEARCH keys as RFC 9051 has them, as in 'OR FROM ann FROM bob' (IMAP only)", |text| {
        check_raw_keys(text).map(|()| Term::Raw(text.to_owned()))
    }),
    with("gmail", "QUERY", "A search in Gmail's own language, as in 'has:attachment' (Gmail only)", |text| words(text).map(Term::Gmail)),
];

fn system(name: &str) -> Term {
    Term::Flag(Flag::new(name))
}

fn keyword(text: &str) -> Result<Term> {
    let flag = Flag::new(text);
    if text.starts_with('\\') || !can_send_flag(&flag) {
        return Err(Error::usage("a keyword is a word of printable ASCII without blanks, quotes, brackets, % * or \\, as in $Forwarded"));
    }
    Ok(Term::Flag(flag))
}

fn words(text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(Error::usage("an empty text looks for nothing; --header 'Name:' finds what has a field at all"));
    }
    Ok(text.to_owned())
}

fn header(text: &str) -> Result<Term> {
    let (name, text) = text.split_once(':').ok_or_else(|| Error::usage("a header is given as 'Name: text', or 'Name:' for any text"))?;
    let name = name.trim();
    if name.is_empty() || name.len() > 500 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::usage("the name of a header field is printable ASCII without blanks"));
    }
    Ok(Term::Header { name: name.to_owned(), text: text.trim().to_owned() })
}

fn message_id(text: &str) -> Result<Term> {
    let text = text.trim();
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text).trim();
    words(inner).map(Term::MessageId)
}

fn day(text: &str) -> Result<Day> {
    Day::parse(text).ok_or_else(|| {
        Error::usage("a day is written YYYY-MM-DD, as in 2024-01-31").hint("for moments and ages there are --older-than and --newer-than")
    })
}

/// The moment that lies an age back, or that is named itself, in seconds since 1970 UTC.
fn moment(text: &str) -> Result<i64> {
    // Only a date with a time and a zone is a moment; what a bare day means depends on where one is.
    if text.contains('-') {
        let moment = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
        return moment
            .map_err(|_| Error::usage("a moment is written as in 2024-01-31T18:00:00Z").hint("for days there are --since and --before"));
    }
    let age = super::age(text)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (now, age) = (i64::try_from(now.as_secs()), i64::try_from(age.as_secs()));
    Ok(now.unwrap_or(i64::MAX).saturating_sub(age.unwrap_or(i64::MAX)))
}
