//! FETCH: items in any order, with or without values, known or not.

use crate::imap::date::parse_date_time;
use crate::imap::types::{BodyValue, Fetch, LiteralData};
use crate::message::Flag;

use super::cursor::{Cursor, Token, number, quoted_end};
use super::literal::is_body_item;
use super::status::lossy;

/// What follows `* n FETCH`; `None` where that is no list.
pub(super) fn fetch(cursor: &mut Cursor, seq: u64) -> Option<Fetch> {
    let mut fetch = Fetch { seq, ..Fetch::default() };
    cursor.skip_blanks();
    if !cursor.take(b'(') {
        return None;
    }
    loop {
        cursor.skip_blanks();
        match cursor.peek() {
            None => {
                fetch.torn |= has_body(&fetch);
                return Some(fetch);
            }
            Some(b')') => {
                cursor.skip(1);
                cursor.skip_blanks();
                fetch.torn |= has_body(&fetch) && cursor.peek().is_some();
                return Some(fetch);
            }
            Some(b'(' | b'"' | b'{' | b'~') => cursor.skip_value(),
            Some(_) => {
                let name = item_name(cursor);
                cursor.skip_blanks();
                value(cursor, &name, &mut fetch);
            }
        }
    }
}

fn has_body(fetch: &Fetch) -> bool {
    matches!(fetch.body, Some(BodyValue::Streamed(_) | BodyValue::Inline(_)))
}

/// The name of an item with its section and origin, upper case: `BODY[HEADER.FIELDS (SUBJECT)]`.
fn item_name(cursor: &mut Cursor) -> Vec<u8> {
    let rest = cursor.rest();
    let mut at = 0;
    while rest.get(at).is_some_and(|byte| !b" \t()[{\"".contains(byte)) {
        at += 1;
    }
    if rest.get(at) == Some(&b'[') {
        while let Some(byte) = rest.get(at) {
            match byte {
                b'"' => at = quoted_end(rest, at).unwrap_or(rest.len()),
                b']' => break,
                _ => {}
            }
            at += 1;
        }
        at += 1;
        if rest.get(at) == Some(&b'<') {
            let digits = rest.iter().skip(at + 1).take_while(|byte| byte.is_ascii_digit()).count();
            if rest.get(at + 1 + digits) == Some(&b'>') {
                at += digits + 2;
            }
        }
    }
    // Always forward, whatever stands there.
    let at = at.clamp(1, rest.len().max(1));
    let name = rest.get(..at).unwrap_or_default().to_ascii_uppercase();
    cursor.skip(at);
    name
}

fn value(cursor: &mut Cursor, name: &[u8], fetch: &mut Fetch) {
    let missing = matches!(cursor.peek(), None | Some(b')'));
    if let Some(origin) = is_body_item(name) {
        fetch.body = Some(if missing { BodyValue::Nil } else { body(cursor) });
        fetch.origin = origin;
        fetch.torn |= has_body(fetch) && !matches!(cursor.peek(), None | Some(b' ' | b'\t' | b')'));
        return;
    }
    if missing {
        return;
    }
    match name {
        b"UID" => fetch.uid = small(cursor.number()).or(fetch.uid),
        b"FLAGS" => match cursor.strings() {
            Some(flags) => fetch.flags = Some(known_flags(&flags)),
            None => cursor.skip_value(),
        },
        b"INTERNALDATE" => {
            let start = cursor.position();
            match cursor.token() {
                Token::Open => {
                    cursor.rewind(start);
                    cursor.skip_value();
                }
                token => fetch.internal_date = token.string().and_then(|text| parse_date_time(&text)),
            }
        }
        b"RFC822.SIZE" => fetch.size = cursor.number(),
        b"MODSEQ" => fetch.mod_seq = cursor.number().filter(|value| *value > 0),
        b"EMAILID" => match cursor.strings() {
            Some(ids) => fetch.email_id = ids.first().and_then(|id| object_id(id)),
            None => cursor.skip_value(),
        },
        b"X-GM-MSGID" => fetch.gm_msgid = cursor.number(),
        b"X-GM-LABELS" => match cursor.strings() {
            Some(labels) => fetch.gm_labels = Some(labels),
            None => cursor.skip_value(),
        },
        b"RFC822.HEADER" => fetch.header = header(cursor),
        _ if name.starts_with(b"BODY[HEADER") => fetch.header = header(cursor),
        _ => cursor.skip_value(),
    }
}

fn body(cursor: &mut Cursor) -> BodyValue {
    let start = cursor.position();
    match cursor.token() {
        Token::Literal(LiteralData::Streamed(octets)) => BodyValue::Streamed(octets),
        Token::Literal(LiteralData::Inline(octets)) | Token::Quoted(octets) => BodyValue::Inline(octets),
        Token::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL") => BodyValue::Nil,
        // The value was left out and the next item follows, or a list stands where none belongs.
        Token::Atom(_) => {
            cursor.rewind(start);
            BodyValue::Nil
        }
        _ => {
            cursor.rewind(start);
            cursor.skip_value();
            BodyValue::Nil
        }
    }
}

fn header(cursor: &mut Cursor) -> Option<Vec<u8>> {
    match body(cursor) {
        BodyValue::Inline(octets) => Some(octets),
        _ => None,
    }
}

/// An identifier of RFC 8474, which has 255 octets at most; what is none of these identifies nothing.
pub(super) fn object_id(octets: &[u8]) -> Option<String> {
    let fits = (1..=255).contains(&octets.len()) && octets.iter().all(u8::is_ascii_graphic);
    fits.then(|| lossy(octets))
}

pub(super) fn small(value: Option<u64>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

/// Flags without `\*`, which Zoho puts where it has no meaning.
pub(super) fn known_flags(flags: &[Vec<u8>]) -> Vec<Flag> {
    flags.iter().filter(|flag| !flag.is_empty() && flag.as_slice() != b"\\*").map(|flag| Flag::new(lossy(flag))).collect()
}

/// A sequence number before a word.
pub(super) fn sequence(word: &[u8]) -> Option<u64> {
    if word.is_empty() { None } else { number(word) }
}
