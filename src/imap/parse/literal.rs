//! Tells whether a line ends by announcing a literal. This is what keeps the stream in step, so text that only looks
//! like an announcement (in a status text, in quotes) must not be taken for one.

use crate::error::{Error, Result};

use super::cursor::quoted_end;

/// A literal that a line announces at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Length in octets.
    pub octets: u64,
    /// Whether it is the value of `BODY[]`, `BODY[]<n>`, `RFC822` or `BINARY[]` in a FETCH: a message, or a piece of it.
    pub body: bool,
    /// Whether it is written `~{n}` and so may hold NUL (RFC 3516).
    pub binary8: bool,
}

/// What a frame is, as far as literals go.
#[derive(PartialEq, Eq)]
enum Kind {
    /// No literal can be in it: a status text, a continuation, numbers.
    Text,
    List,
    Fetch,
    Other,
}

/// So many octets of a frame are enough to tell its kind.
const KIND_BYTES: usize = 64;

/// So many octets before an announcement are enough to hold the name of a body item.
const ITEM_BYTES: usize = 48;

/// Says whether the line that begins at `line_start` of `frame` (the response so far, this line included, without CRLF)
/// ends by announcing a literal: `{n}`, `{n+}` or `~{n}`. Looks at the line once, and at the first few octets of the frame.
///
/// # Errors
/// Protocol: it announces more octets than 64 bits can count.
pub fn announced_literal(frame: &[u8], line_start: usize) -> Result<Option<Announced>> {
    let line = frame.get(line_start..).unwrap_or_default();
    let Some(inner) = line.strip_suffix(b"}") else { return Ok(None) };
    let inner = inner.strip_suffix(b"+").unwrap_or(inner);
    let count = inner.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = inner.split_at(inner.len() - count);
    let Some(before) = before.strip_suffix(b"{") else { return Ok(None) };
    let (before, binary8) = before.strip_suffix(b"~").map_or((before, false), |before| (before, true));
    // Elsewhere a brace is part of a word that a server did not quote.
    if digits.is_empty() || !matches!(before.last(), None | Some(b' ' | b'\t' | b'(' | b']' | b'>')) {
        return Ok(None);
    }
    let kind = kind(frame);
    if kind == Kind::Text || ends_in_quotes(before, kind == Kind::List && line_start == 0) {
        return Ok(None);
    }
    let octets = if digits.len() > 20 { None } else { super::cursor::number(digits) };
    let Some(octets) = octets else {
        return Err(Error::protocol("the server announced a literal too large to count"));
    };
    Ok(Some(Announced { octets, body: kind == Kind::Fetch && ends_in_body_item(before), binary8 }))
}

fn kind(frame: &[u8]) -> Kind {
    let head = frame.get(..KIND_BYTES).unwrap_or(frame);
    let Some(head) = head.strip_prefix(b"*") else { return Kind::Text };
    let mut words = head.split(|byte| b" \t()".contains(byte)).filter(|word| !word.is_empty());
    let Some(first) = words.next() else { return Kind::Text };
    if first.iter().all(u8::is_ascii_digit) {
        return if words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"FETCH")) { Kind::Fetch } else { Kind::Text };
    }
    match first.to_ascii_uppercase().as_slice() {
        b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH" | b"CAPABILITY" | b"ENABLED" | b"SEARCH" | b"SORT" | b"VANISHED" | b"FLAGS" => {
            Kind::Text
        }
        b"LIST" | b"LSUB" | b"XLIST" => Kind::List,
        // A code whose `OK` the server left out.
        [b'[', ..] => Kind::Text,
        _ => Kind::Other,
    }
}

/// Whether the end of `text` lies within a quoted string; `list` says that this is the first line of a LIST.
fn ends_in_quotes(text: &[u8], list: bool) -> bool {
    let mut at = 0;
    let mut previous = b' ';
    while let Some(&byte) = text.get(at) {
        if byte == b'"' && b" \t()[]>".contains(&previous) {
            let unescaped_backslash = list && is_backslash_delimiter(text.get(at..).unwrap_or_default());
            match if unescaped_backslash { Some(at + 2) } else { quoted_end(text, at) } {
                Some(end) => at = end,
                None => return true,
            }
        }
        previous = byte;
        at += 1;
    }
    false
}

/// Whether a LIST goes on with `"\" `: Domino's delimiter, which it does not escape.
pub(super) fn is_backslash_delimiter(rest: &[u8]) -> bool {
    rest.starts_with(b"\"\\\" ")
}

fn ends_in_body_item(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    let text = text.get(text.len().saturating_sub(ITEM_BYTES)..).unwrap_or(text);
    let item = text.rsplit(|byte| b" \t(".contains(byte)).next().unwrap_or_default();
    is_body_item(item).is_some()
}

/// Whether an item means the whole message; gives the `n` of `BODY[]<n>`, if it has one.
pub(super) fn is_body_item(item: &[u8]) -> Option<Option<u64>> {
    let (name, origin) = match item.strip_suffix(b">") {
        Some(open) => {
            let at = open.iter().rposition(|byte| *byte == b'<')?;
            (open.get(..at)?, Some(super::cursor::number(open.get(at + 1..)?)?))
        }
        None => (item, None),
    };
    let whole = [&b"BODY[]"[..], b"RFC822", b"BINARY[]"].iter().any(|each| each.eq_ignore_ascii_case(name));
    whole.then_some(origin)
}
