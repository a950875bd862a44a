//! What people want to see of a message: who, to whom, about what, when. The one user of mail-parser; tolerant of
//! anything a header may hold, and never the judge of what a message *is* (digests are). It touches no socket and no file.

mod decode;
mod details;
mod html;
pub mod parts;
mod readable;
mod words;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mail_parser::{DateTime, MessageParser};
use serde::Serialize;

use crate::message::InternalDate;

pub use decode::Encoding;
pub use details::{Details, Header};
pub use readable::Readable;
pub use words::{Words, field_texts, folded, header_texts};

/// A header is looked at up to this many bytes; what stands beyond is not shown.
const HEADER_BYTES: usize = 1024 * 1024;
/// A field's text is shown up to this many bytes, and a list of addresses up to this many entries.
const FIELD_BYTES: usize = 64 * 1024;
const ADDRESSES: usize = 10_000;
/// A delivery date may lie this far ahead of our own clock (seconds): zones written wrongly, clocks that go wrong.
const AHEAD: i64 = 2 * 86_400;
/// An offset from UTC beyond this (seconds) is nonsense; the farthest zone in use is 14 hours away.
const MAX_OFFSET: i32 = 15 * 3600;

/// One address of a field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Address {
    /// The display name, decoded.
    pub name: Option<String>,
    /// `local@domain` as written.
    pub address: Option<String>,
}

/// What a header says, as far as it could be made out; everything may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// `From`.
    pub from: Vec<Address>,
    /// `To`.
    pub to: Vec<Address>,
    /// `Cc`.
    pub cc: Vec<Address>,
    /// `Subject`, decoded and unfolded.
    pub subject: Option<String>,
    /// `Date`.
    pub date: Option<InternalDate>,
    /// `Message-ID` without the angle brackets.
    pub message_id: Option<String>,
}

impl Summary {
    /// Reads the header at the start of `message` (a whole message, or a header alone). Never fails and never panics:
    /// mail-parser has panicked on corrupt mail, and that may cost a field of one message and nothing else.
    pub fn of(message: &[u8]) -> Self {
        let mut summary = Self::default();
        for (name, value) in fields(message) {
            let value = value.get(..FIELD_BYTES).unwrap_or(&value);
            match Known::of(name) {
                Some(Known::Date) if summary.date.is_none() => summary.date = date(value),
                Some(Known::MessageId) if summary.message_id.is_none() => summary.message_id = message_id(value),
                Some(Known::Subject) if summary.subject.is_none() => summary.subject = decoded(value),
                Some(Known::From) => addresses(&mut summary.from, value),
                Some(Known::To) => addresses(&mut summary.to, value),
                Some(Known::Cc) => addresses(&mut summary.cc, value),
                _ => {}
            }
        }
        summary
    }
}

/// When a message reached the mailbox, for stores that do not say so (POP3): the date of the topmost `Received`, else of
/// `Date`. `None` where neither makes sense: before 1970 or clearly after now.
pub fn delivery_date(header: &[u8]) -> Option<InternalDate> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    delivery_date_before(header, i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// [`delivery_date`] for a clock that shows `now`, in seconds since 1970 UTC.
pub fn delivery_date_before(header: &[u8], now: i64) -> Option<InternalDate> {
    let sane = |found: &InternalDate| found.seconds >= 0 && found.seconds <= now.saturating_add(AHEAD);
    let mut topmost_seen = false;
    let mut written = None;
    for (name, value) in fields(header) {
        if name.eq_ignore_ascii_case(b"received") && !topmost_seen {
            topmost_seen = true;
            let stamp = value.iter().rposition(|&byte| byte == b';').and_then(|at| value.get(at + 1..)).and_then(date);
            if stamp.as_ref().is_some_and(sane) {
                return stamp;
            }
        } else if name.eq_ignore_ascii_case(b"date") && written.is_none() {
            written = date(&value).filter(sane);
        }
    }
    written
}

#[derive(Clone, Copy)]
enum Known {
    From,
    To,
    Cc,
    Subject,
    Date,
    MessageId,
}

impl Known {
    fn of(name: &[u8]) -> Option<Self> {
        let known: [(&[u8], Self); 6] = [
            (b"from", Self::From),
            (b"to", Self::To),
            (b"cc", Self::Cc),
            (b"subject", Self::Subject),
            (b"date", Self::Date),
            (b"message-id", Self::MessageId),
        ];
        known.into_iter().find(|(text, _)| name.eq_ignore_ascii_case(text)).map(|(_, field)| field)
    }
}

/// The fields of a header in order, unfolded, whatever its line ends: (name, value). Lines that are no field are skipped.
fn fields(message: &[u8]) -> impl Iterator<Item = (&[u8], Cow<'_, [u8]>)> {
    let mut lines = header_lines(message).peekable();
    std::iter::from_fn(move || {
        loop {
            let line = lines.next()?;
            let mut more = Vec::new();
            let mut folded = false;
            while let Some(next) = lines.next_if(|next| matches!(next.first(), Some(b' ' | b'\t'))) {
                folded = true;
                more.push(b' ');
                more.extend_from_slice(next.trim_ascii_start());
            }
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, value) = (line.get(..colon)?.trim_ascii_end(), line.get(colon + 1..)?.trim_ascii());
            if name.is_empty() || name.iter().any(|byte| !byte.is_ascii_graphic()) {
                continue;
            }
            let whole = if folded || value.contains(&0) {
                let mut whole = value.to_vec();
                whole.append(&mut more);
                // NUL may not stand in a header, and C libraries end strings at it: people see a space.
                whole.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
                Cow::Owned(whole)
            } else {
                Cow::Borrowed(value)
            };
            return Some((name, whole));
        }
    })
}

/// The lines of the header without their line ends (LF with any number of CR before it), up to the first empty one.
fn header_lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let message = message.get(..HEADER_BYTES).unwrap_or(message);
    let lines = message.split(|&byte| byte == b'\n').map(|line| {
        let kept = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
        line.get(..kept).unwrap_or_default()
    });
    let mut first = true;
    lines
        .skip_while(move |line| {
            // An mbox separator that a store left at the top, quoted or not, is no field.
            let skip = first && (line.starts_with(b"From ") || line.starts_with(b">From "));
            first = false;
            skip
        })
        .take_while(|line| !line.is_empty())
}

/// Runs mail-parser, whose panic must cost no more than this value.
fn guarded<T>(parse: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten()
}

fn field(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", value, b"\r\n\r\n"].concat()
}

fn non_empty(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Unstructured text with its encoded words decoded.
fn decoded(value: &[u8]) -> Option<String> {
    guarded(|| {
        let raw = field("Subject", value);
        let parsed = MessageParser::new().header_text("Subject").parse_headers(&raw)?;
        non_empty(parsed.subject()?)
    })
}

fn addresses(into: &mut Vec<Address>, value: &[u8]) {
    let found = guarded(|| {
        let raw = field("To", value);
        let parsed = MessageParser::new().header_address("To").parse_headers(&raw)?;
        let list = parsed.to()?.iter().take(ADDRESSES);
        let list = list.map(|one| Address { name: one.name().and_then(non_empty), address: one.address().and_then(non_empty) });
        Some(list.filter(|one| one.name.is_some() || one.address.is_some()).collect::<Vec<_>>())
    });
    into.extend(found.unwrap_or_default());
    into.truncate(ADDRESSES);
}

/// What a `Message-ID` field says, without the angle brackets.
pub fn message_id(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let inner = text.split_once('<').map(|(_, rest)| rest.split_once('>').map_or(rest, |(inner, _)| inner));
    inner.and_then(non_empty).or_else(|| non_empty(text.split_whitespace().next()?))
}

/// What a `Date` field says, in the zone it was written in.
fn date(value: &[u8]) -> Option<InternalDate> {
    guarded(|| {
        let text = String::from_utf8_lossy(value);
        let parsed = DateTime::parse_rfc822(text.trim())?;
        if !parsed.is_valid() {
            return None;
        }
        let east = i32::from(parsed.tz_hour) * 3600 + i32::from(parsed.tz_minute) * 60;
        let offset = if parsed.tz_before_gmt { -east } else { east };
        let seconds = parsed.to_timestamp();
        Some(InternalDate { seconds, offset: if offset.abs() > MAX_OFFSET { 0 } else { offset } })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn address(name: Option<&str>, address: &str) -> Address {
        Address { name: name.map(str::to_owned), address: Some(address.to_owned()) }
    }

    #[test]
    fn a_header_gives_people_subject_date_and_id() {
        let summary = Summary::of(
            b"From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\r\nTo: a@b.c,\r\n \"D, E\" <d@e.f>\r\nCC: Team: x@y.z, w@y.z;\r\n\
              Subject: =?utf-8?b?w6TDtg==?=\r\n folded\r\nDate: Tue, 1 Jul 2003 10:52:37 +0200\r\nMessage-Id: <1@x>\r\n\r\nSubject: body",
        );
        assert_eq!(summary.from, [address(Some("Jörg"), "j@example.org")]);
        assert_eq!(summary.to, [address(None, "a@b.c"), address(Some("D, E"), "d@e.f")]);
        assert_eq!(summary.cc.len(), 2);
        assert_eq!(summary.subject.as_deref(), Some("äö folded"));
        assert_eq!(summary.date.unwrap().rfc3339().unwrap(), "2003-07-01T10:52:37+02:00");
        assert_eq!(summary.message_id.as_deref(), Some("1@x"));
    }

    #[test]
    fn odd_line_ends_and_an_mbox_separator_do_not_hide_the_header() {
        for message in [
            &b"From a@b Thu Jan  1 00:00:00 1970\nSubject: x\n y\nTo: a@b.c\n\nbody"[..],
            b"Subject: x\r\r\n y\r\r\nTo: a@b.c\r\r\n\r\r\nTo: body@b.c",
            b">From a@b x\r\nno field here\r\nSubject:x\0y\r\nTo: a@b.c",
            b"\xff\xfe: x\nSubject : x y\nTo:a@b.c",
        ] {
            let summary = Summary::of(message);
            assert_eq!(summary.subject.as_deref(), Some("x y"), "{}", message.escape_ascii());
            assert_eq!(summary.to, [address(None, "a@b.c")], "{}", message.escape_ascii());
        }
    }

    #[test]
    fn a_message_without_header_has_an_empty_summary() {
        for message in [&b""[..], b"\r\n\r\nFrom: x", b"\n", b"\0\0\0", b"just text", b":::\n: x"] {
            assert_eq!(Summary::of(message), Summary::default(), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn a_line_of_100_kilobytes_is_cut_and_the_rest_is_read() {
        let message =
            [b"To: ".to_vec(), b"a@b.c, ".repeat(15_000), b"\nSubject: ".to_vec(), vec![b'x'; 100_000], b"\nCc: d@e.f\n".to_vec()];
        let summary = Summary::of(&message.concat());
        assert!(summary.to.len() > 1000);
        assert!(summary.subject.unwrap().len() <= FIELD_BYTES);
        assert_eq!(summary.cc, [address(None, "d@e.f")]);
    }

    #[test]
    fn delivery_is_dated_by_the_topmost_received_field() {
        let header =
            b"Received: from a by b; id x;\r\n Wed, 2 Jul 2003 00:00:00 +0000\r\nReceived: from c; Tue, 1 Jul 2003 00:00:00 +0000\r\n\
            Date: Mon, 30 Jun 2003 00:00:00 +0000\r\n\r\n";
        assert_eq!(delivery_date_before(header, NOW).unwrap().rfc3339().unwrap(), "2003-07-02T00:00:00+00:00");
        let header = b"Received: from a by b\r\nDate: Mon, 30 Jun 2003 00:00:00 +0000\r\n\r\n";
        assert_eq!(delivery_date_before(header, NOW).unwrap().rfc3339().unwrap(), "2003-06-30T00:00:00+00:00");
    }

    #[test]
    fn dates_before_1970_and_far_ahead_date_nothing() {
        for date in ["Mon, 1 Jan 1900 00:00:00 +0000", "Mon, 1 Jan 2199 00:00:00 +0000", "yesterday", "", "99 Foo 2003 99:99:99"] {
            assert_eq!(delivery_date_before(format!("Date: {date}\r\n\r\n").as_bytes(), NOW), None, "{date}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_whatever_the_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            Summary::of(&bytes);
            delivery_date_before(&bytes, NOW);
            for name in ["From: ", "Subject: =?", "Date: ", "To: \"", "Message-ID: <", "Received: ; "] {
                let message = [name.as_bytes(), &bytes].concat();
                Summary::of(&message);
                delivery_date_before(&message, NOW);
            }
        }
    }

    /// Real and damaged mail, where the checkout has the shared corpus beside it.
    #[test]
    fn every_file_of_the_corpus_parses() {
        let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
        let mut folders = vec![std::env::var_os("MAILHAUL_CORPUS").map_or(beside, Into::into)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let bytes = std::fs::read(entry.path()).unwrap();
                    Summary::of(&bytes);
                    delivery_date_before(&bytes, NOW);
                    Details::of(&bytes);
                    Readable::of(&parts::Parts::of(&bytes));
                }
            }
        }
    }
}
