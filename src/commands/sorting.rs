//! Rows in another order than they come in, put there by this program: with the meaning SORT has on a server (RFC 5256), so
//! that it makes no difference who does it. Rows wait in memory; how much they may take is bounded.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::imap::sort::{SortBy, SortKey};
use crate::message::InternalDate;
use crate::output::MessageRow;
use crate::summary::{Address, Summary};

/// Octets of rows and keys that wait.
const MAX_OCTETS: usize = 256 * 1024 * 1024;
/// Octets of a text that are compared.
const KEY_OCTETS: usize = 1024;
/// Rows beyond the limit that gather before they are thrown out.
const SLACK: usize = 1000;
/// A subject is taken apart so often at most; every turn takes something away.
const TURNS: usize = 1000;

/// What `--sort` names.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The Date field; where there is none, when the mailbox got it
    Date,
    /// When the mailbox got it
    #[value(alias = "internal_date", alias = "internal-date")]
    Arrival,
    /// Size
    Size,
    /// The first sender's address up to its @
    From,
    /// The first recipient's address up to its @
    To,
    /// The same of Cc
    Cc,
    /// Subject without Re:, Fwd: and list tags
    Subject,
    /// UID, or message number
    #[value(alias = "number")]
    Uid,
}

/// The order asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// Compared one after the other.
    pub(super) keys: Vec<SortKey>,
    /// Whether of equal rows the one that came last goes first.
    pub(super) falling: bool,
}

impl Order {
    /// What `--sort` and `--reverse` say. Nothing behind `uid` matters: no two messages share one.
    pub(super) fn new(by: &[By], reverse: bool) -> Self {
        let mut keys = Vec::new();
        let mut falling = reverse && by.is_empty();
        for by in by {
            let by = match by {
                By::Date => SortBy::Date,
                By::Arrival => SortBy::Arrival,
                By::Size => SortBy::Size,
                By::From => SortBy::From,
                By::To => SortBy::To,
                By::Cc => SortBy::Cc,
                By::Subject => SortBy::Subject,
                By::Uid => {
                    falling = reverse;
                    break;
                }
            };
            // Once compared is compared.
            if !keys.iter().any(|key: &SortKey| key.by == by) {
                keys.push(SortKey { by, reverse });
            }
        }
        Self { keys, falling }
    }

    /// Whether the key needs a header.
    pub(super) fn needs_header(&self) -> bool {
        self.keys.iter().any(|key| !matches!(key.by, SortBy::Arrival | SortBy::Size))
    }

    /// What is compared of one message.
    pub(super) fn key(&self, size: Option<u64>, arrival: Option<InternalDate>, summary: &Summary) -> Vec<Value> {
        let number = |number: Option<i64>| Value::Number(number.unwrap_or(i64::MIN));
        let value = |key: &SortKey| match key.by {
            SortBy::Arrival => number(arrival.map(|date| date.seconds)),
            SortBy::Date => number(summary.date.or(arrival).map(|date| date.seconds)),
            SortBy::Size => number(size.and_then(|size| i64::try_from(size).ok())),
            SortBy::From => Value::Text(local_part(&summary.from)),
            SortBy::To => Value::Text(local_part(&summary.to)),
            SortBy::Cc => Value::Text(local_part(&summary.cc)),
            SortBy::Subject => Value::Text(folded(&base_subject(summary.subject.as_deref().unwrap_or_default()))),
        };
        self.keys.iter().map(value).collect()
    }

    fn compare(&self, a: &Waiting, b: &Waiting) -> Ordering {
        let keys = self.keys.iter().zip(a.key.iter().zip(&b.key));
        let by_key = keys.map(|(key, (a, b))| if key.reverse { b.cmp(a) } else { a.cmp(b) }).find(|order| order.is_ne());
        by_key.unwrap_or_else(|| if self.falling { b.came.cmp(&a.came) } else { a.came.cmp(&b.came) })
    }
}

/// One thing compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Number(i64),
    Text(String),
}

struct Waiting {
    key: Vec<Value>,
    /// The how manieth it was.
    came: u64,
    octets: usize,
    row: MessageRow,
}

/// Rows that wait to be put in order.
pub(super) struct Sorter {
    order: Order,
    /// So many of the first are wanted.
    limit: usize,
    rows: Vec<Waiting>,
    octets: usize,
    came: u64,
}

impl Sorter {
    /// Keeps the first `limit` rows in this order, or all.
    pub(super) fn new(order: Order, limit: Option<u64>) -> Self {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Self { order, limit, rows: Vec::new(), octets: 0, came: 0 }
    }

    /// Takes a row; rows that are equal keep the order in which they come.
    ///
    /// # Errors
    /// Local: they take more memory than sorting may.
    pub(super) fn push(&mut self, row: MessageRow, key: Vec<Value>) -> Result<()> {
        let octets = weight(&row) + key.iter().map(|value| if let Value::Text(text) = value { text.len() } else { 16 }).sum::<usize>();
        self.came += 1;
        self.octets += octets;
        self.rows.push(Waiting { key, came: self.came, octets, row });
        if self.rows.len() > self.limit.saturating_add(self.limit.max(SLACK)) || self.octets > MAX_OCTETS {
            self.settle();
        }
        if self.octets > MAX_OCTETS {
            return Err(Error::local("sorting so many messages takes more memory than it may")
                .hint("list fewer: with a query, with --limit N, or folder by folder"));
        }
        Ok(())
    }

    fn settle(&mut self) {
        let order = &self.order;
        self.rows.sort_by(|a, b| order.compare(a, b));
        self.rows.truncate(self.limit);
        self.octets = self.rows.iter().map(|waiting| waiting.octets).sum();
    }

    /// The rows in order.
    pub(super) fn finish(mut self) -> Vec<MessageRow> {
        self.settle();
        self.rows.into_iter().map(|waiting| waiting.row).collect()
    }
}

/// About how many octets a row takes.
fn weight(row: &MessageRow) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let addresses = |list: &[Address]| list.iter().map(|one| 48 + text(&one.name) + text(&one.address)).sum::<usize>();
    let texts = [&row.uidl, &row.internal_date, &row.date, &row.subject, &row.message_id];
    512 + row.place.len()
        + row.folder.len()
        + texts.into_iter().map(text).sum::<usize>()
        + row.flags.iter().map(|flag| 24 + flag.len()).sum::<usize>()
        + addresses(&row.from)
        + addresses(&row.to)
        + addresses(&row.cc)
}

/// What stands before the `@` of the first address, as RFC 5256 compares addresses.
fn local_part(list: &[Address]) -> String {
    let address = list.first().and_then(|first| first.address.as_deref()).unwrap_or_default();
    folded(address.rsplit_once('@').map_or(address, |(local, _)| local))
}

/// Case aside, as `i;unicode-casemap` (RFC 5051) has it, but that letters with accents are not taken apart: they stand behind
/// all plain ones.
fn folded(text: &str) -> String {
    let mut folded = String::new();
    for character in text.chars().flat_map(char::to_uppercase) {
        if folded.len() + character.len_utf8() > KEY_OCTETS {
            break;
        }
        folded.push(character);
    }
    folded
}

/// The subject without what replies, forwards and mailing lists put around it (RFC 5256 section 2.1).
fn base_subject(subject: &str) -> String {
    let subject: Vec<&str> = subject.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    let whole = subject.join(" ");
    let mut rest = whole.as_str();
    for _ in 0..TURNS {
        let before = rest;
        rest = rest.trim();
        while let Some(shorter) = strip_end(rest, "(fwd)") {
            rest = shorter.trim_end();
        }
        rest = strip_leaders(rest);
        if let Some(inner) =
            rest.get(..5).filter(|start| start.eq_ignore_ascii_case("[fwd:")).and_then(|_| rest.get(5..)?.strip_suffix(']'))
        {
            rest = inner;
        }
        if rest == before {
            break;
        }
    }
    rest.to_owned()
}

fn strip_end<'a>(text: &'a str, end: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(end.len())?;
    let (before, tail) = text.split_at_checked(at)?;
    tail.eq_ignore_ascii_case(end).then_some(before)
}

/// Without any `Re:`, `Fwd [list]:` or `[list]` at the start, as long as something is left.
fn strip_leaders(mut text: &str) -> &str {
    for _ in 0..TURNS {
        text = text.trim_start();
        let mut behind_blobs = text;
        while let Some(shorter) = strip_blob(behind_blobs) {
            behind_blobs = shorter;
        }
        if let Some(shorter) = strip_reply(behind_blobs) {
            text = shorter;
        } else if let Some(shorter) = strip_blob(text).filter(|shorter| !base_is_empty(shorter)) {
            text = shorter;
        } else {
            return text;
        }
    }
    text
}

/// `[…]` and the blanks behind it.
fn strip_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    Some(inner.get(end..)?.strip_prefix(']')?.trim_start())
}

/// `Re:`, `Fw:` or `Fwd:`, perhaps with blanks and a `[…]` before the colon.
fn strip_reply(text: &str) -> Option<&str> {
    let behind = ["fwd", "fw", "re"].into_iter().find_map(|word| {
        let (start, rest) = text.split_at_checked(word.len())?;
        start.eq_ignore_ascii_case(word).then_some(rest)
    })?;
    let behind = behind.trim_start();
    strip_blob(behind).unwrap_or(behind).strip_prefix(':')
}

fn base_is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_subject_is_what_a_thread_has_in_common() {
        for (subject, base) in [
            ("hello", "hello"),
            ("Re: hello", "hello"),
            ("RE : [x] fwd: hello (fwd) (FWD)", "hello"),
            ("[list] Re: [list] hello  there", "hello there"),
            ("Re[2]: hello", "hello"),
            ("Fwd [a]: hello", "hello"),
            ("[Fwd: Re: hello]", "hello"),
            ("[only]", "[only]"),
            ("[a] [b]", "[b]"),
            ("Re:", ""),
            ("(fwd)", ""),
            ("Rest: is", "Rest: is"),
            ("[a[b] c", "[a[b] c"),
            ("", ""),
            ("Ré: x", "Ré: x"),
        ] {
            assert_eq!(base_subject(subject), base, "{subject}");
        }
        // Bounded whatever comes.
        base_subject(&"Re: ".repeat(100_000));
        base_subject(&"[".repeat(100_000));
        base_subject(&"[fwd:".repeat(10_000));
    }

    fn row(uid: u32) -> MessageRow {
        MessageRow { uid: Some(uid), ..MessageRow::default() }
    }

    fn sorted(order: &Order, limit: Option<u64>, messages: &[(u64, &str)]) -> Vec<u32> {
        let mut sorter = Sorter::new(order.clone(), limit);
        for (uid, (size, subject)) in (1..).zip(messages) {
            let summary = Summary { subject: Some((*subject).to_owned()), ..Summary::default() };
            sorter.push(row(uid), order.key(Some(*size), None, &summary)).unwrap();
        }
        sorter.finish().into_iter().filter_map(|row| row.uid).collect()
    }

    #[test]
    fn equal_rows_keep_their_order_unless_uid_is_asked_to_fall() {
        let messages = [(5, "b"), (7, "Re: a"), (5, "A"), (7, "c")];
        assert_eq!(sorted(&Order::new(&[By::Size], false), None, &messages), [1, 3, 2, 4]);
        assert_eq!(sorted(&Order::new(&[By::Size], true), None, &messages), [2, 4, 1, 3]);
        assert_eq!(sorted(&Order::new(&[By::Size, By::Uid, By::Subject], true), None, &messages), [4, 2, 3, 1]);
        assert_eq!(sorted(&Order::new(&[By::Subject, By::Size], false), None, &messages), [3, 2, 1, 4]);
        assert_eq!(sorted(&Order::new(&[], true), None, &messages), [4, 3, 2, 1]);
        assert_eq!(sorted(&Order::new(&[By::Uid], true), Some(2), &messages), [4, 3]);
        // The command that says it to a server stays short.
        assert_eq!(Order::new(&[By::Size, By::Date].repeat(1000), false).keys.len(), 2);
    }

    #[test]
    fn a_limit_keeps_the_first_of_many_and_little_memory() {
        let order = Order::new(&[By::Size], true);
        let mut sorter = Sorter::new(order.clone(), Some(3));
        for uid in 1..=10_000_u32 {
            let size = u64::from(uid.wrapping_mul(7919) % 10_007);
            sorter.push(row(uid), order.key(Some(size), None, &Summary::default())).unwrap();
            assert!(sorter.rows.len() <= 2 * SLACK);
        }
        let sizes: Vec<u32> = sorter.finish().iter().filter_map(|row| Some(row.uid?.wrapping_mul(7919) % 10_007)).collect();
        assert_eq!(sizes.len(), 3);
        assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]) && sizes[2] > 9990, "{sizes:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_subject_panics(subject in "(Re|[Ff]wd?|\\[|\\]|:| |é|\\(fwd\\)|\\PC)*") {
            base_subject(&subject);
        }
    }
}
