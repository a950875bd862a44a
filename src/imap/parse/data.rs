//! Untagged responses other than FETCH and status.

use crate::imap::types::{ESearch, ListEntry, MailboxStatus, Namespaces, Status, Untagged};
use crate::imap::uid_set::UidSet;

use super::cursor::{Cursor, Token, number};
use super::literal::is_backslash_delimiter;
use super::status::lossy;
use super::{fetch, status};

/// A whole response that begins with `*`.
pub(super) fn untagged(mut cursor: Cursor) -> Untagged {
    known(&mut cursor).unwrap_or_else(|| Untagged::Other(cursor.into_bytes()))
}

fn known(cursor: &mut Cursor) -> Option<Untagged> {
    cursor.skip(1);
    cursor.skip_blanks();
    if cursor.peek() == Some(b'[') {
        return Some(Untagged::Status(status::line(Status::Ok, cursor.rest())));
    }
    let start = cursor.position();
    let word = cursor.word().to_ascii_uppercase();
    if let Some(status) = status::status(&word) {
        return Some(Untagged::Status(status::line(status, cursor.rest())));
    }
    if let Some(seq) = fetch::sequence(&word) {
        cursor.skip_blanks();
        return match cursor.word().to_ascii_uppercase().as_slice() {
            b"FETCH" => fetch::fetch(cursor, seq).map(Untagged::Fetch),
            b"EXISTS" => Some(Untagged::Exists(seq)),
            b"RECENT" => Some(Untagged::Recent(seq)),
            b"EXPUNGE" => (seq > 0).then_some(Untagged::Expunge(seq)),
            _ => None,
        };
    }
    match word.as_slice() {
        b"CAPABILITY" => Some(Untagged::Capability(status::words(cursor.rest()))),
        b"ENABLED" => Some(Untagged::Enabled(status::words(cursor.rest()))),
        b"LIST" | b"XLIST" => list(cursor).map(Untagged::List),
        b"LSUB" => list(cursor).map(Untagged::Lsub),
        b"STATUS" => mailbox_status(cursor),
        b"SEARCH" => Some(Untagged::Search(numbers(cursor.rest()))),
        b"SORT" => Some(Untagged::Sort(numbers(cursor.rest()))),
        b"ESEARCH" => esearch(cursor).map(Untagged::ESearch),
        b"VANISHED" => vanished(cursor),
        b"FLAGS" => cursor.strings().map(|flags| Untagged::Flags(fetch::known_flags(&flags))),
        b"NAMESPACE" => {
            Some(Untagged::Namespace(Namespaces { personal: namespaces(cursor), other: namespaces(cursor), shared: namespaces(cursor) }))
        }
        b"QUOTA" => quota(cursor),
        b"ID" => id(cursor),
        // Codes that some servers send as responses of their own.
        b"COPYUID" | b"APPENDUID" | b"UIDVALIDITY" | b"UIDNEXT" | b"HIGHESTMODSEQ" | b"NOMODSEQ" | b"PERMANENTFLAGS" | b"READ-ONLY"
        | b"READ-WRITE" => {
            let mut line = b"[".to_vec();
            line.extend_from_slice(cursor.whole().get(start..).unwrap_or_default());
            line.push(b']');
            Some(Untagged::Status(status::line(Status::Ok, &line)))
        }
        _ => None,
    }
}

fn list(cursor: &mut Cursor) -> Option<ListEntry> {
    let attributes = cursor.strings()?.iter().map(|attribute| lossy(attribute)).collect();
    cursor.skip_blanks();
    let delimiter = if is_backslash_delimiter(cursor.rest()) {
        cursor.skip(3);
        Some('\\')
    } else {
        delimiter(cursor.token())
    };
    let name = name(cursor)?;
    Some(ListEntry { attributes, delimiter, name })
}

/// A mailbox name. One without quotes reaches to the end, or to a list that follows: some servers quote no blanks.
fn name(cursor: &mut Cursor) -> Option<Vec<u8>> {
    cursor.skip_blanks();
    let start = cursor.position();
    match cursor.token() {
        Token::Quoted(name) => Some(name),
        // An atom may be called NIL here, so `string` would be wrong.
        Token::Atom(_) => {
            cursor.rewind(start);
            let rest = cursor.rest();
            let end = rest.windows(2).position(|pair| pair == b" (").unwrap_or(rest.len());
            let name = rest.get(..end).unwrap_or_default().trim_ascii_end().to_vec();
            cursor.skip(end);
            Some(name)
        }
        token @ Token::Literal(_) => token.string(),
        _ => None,
    }
}

fn delimiter(token: Token) -> Option<char> {
    std::str::from_utf8(&token.string()?).ok()?.chars().next()
}

fn mailbox_status(cursor: &mut Cursor) -> Option<Untagged> {
    let mailbox = name(cursor)?;
    cursor.skip_blanks();
    if !cursor.take(b'(') {
        return None;
    }
    let mut items = MailboxStatus::default();
    loop {
        let name = match cursor.token() {
            Token::Close | Token::End => return Some(Untagged::MailboxStatus { mailbox, items }),
            Token::Atom(name) => name.to_ascii_uppercase(),
            _ => continue,
        };
        cursor.skip_blanks();
        if matches!(cursor.peek(), None | Some(b')')) {
            continue;
        }
        match name.as_slice() {
            b"MESSAGES" => items.messages = cursor.number(),
            b"RECENT" => items.recent = cursor.number(),
            b"UIDNEXT" => items.uid_next = fetch::small(cursor.number()),
            b"UIDVALIDITY" => items.uid_validity = fetch::small(cursor.number()),
            b"UNSEEN" => items.unseen = cursor.number(),
            b"SIZE" => items.size = cursor.number(),
            b"APPENDLIMIT" => items.append_limit = cursor.number(),
            b"HIGHESTMODSEQ" => items.highest_mod_seq = cursor.number().filter(|value| *value > 0),
            b"MAILBOXID" => match cursor.strings() {
                Some(ids) => items.mailbox_id = ids.first().and_then(|id| fetch::object_id(id)),
                None => cursor.skip_value(),
            },
            _ => cursor.skip_value(),
        }
    }
}

/// `QUOTA root (STORAGE 10 512 MESSAGE 3 100)`
fn quota(cursor: &mut Cursor) -> Option<Untagged> {
    let root = cursor.token().string()?;
    let words = cursor.strings()?;
    let resource = |triplet: &[Vec<u8>]| match triplet {
        [name, used, limit] => Some((lossy(name).to_ascii_uppercase(), number(used)?, number(limit)?)),
        _ => None,
    };
    Some(Untagged::Quota { root, resources: words.chunks(3).filter_map(resource).collect() })
}

fn numbers(rest: &[u8]) -> Vec<u32> {
    // `(MODSEQ n)` may follow (RFC 7162).
    let numbers = rest.split(|byte| *byte == b'(').next().unwrap_or_default();
    numbers.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).filter_map(|word| fetch::small(number(word))).collect()
}

/// `None` where `ALL` cannot be read: an empty result would be a lie.
fn esearch(cursor: &mut Cursor) -> Option<ESearch> {
    let mut result = ESearch::default();
    cursor.skip_blanks();
    if cursor.peek() == Some(b'(') {
        result.tag = cursor.strings()?.into_iter().nth(1).map(|tag| lossy(&tag));
    }
    loop {
        let name = match cursor.token() {
            Token::End => return Some(result),
            Token::Atom(name) => name.to_ascii_uppercase(),
            _ => continue,
        };
        match name.as_slice() {
            b"UID" => result.uid = true,
            b"ALL" => {
                cursor.skip_blanks();
                let set = cursor.word();
                if !set.is_empty() {
                    result.all = Some(UidSet::parse(set)?);
                }
            }
            b"COUNT" => result.count = cursor.number(),
            b"MIN" => result.min = fetch::small(cursor.number()),
            b"MAX" => result.max = fetch::small(cursor.number()),
            b"MODSEQ" => result.mod_seq = cursor.number().filter(|value| *value > 0),
            _ => cursor.skip_value(),
        }
    }
}

fn vanished(cursor: &mut Cursor) -> Option<Untagged> {
    let earlier = cursor.strings().is_some_and(|words| words.iter().any(|word| word.eq_ignore_ascii_case(b"EARLIER")));
    cursor.skip_blanks();
    Some(Untagged::Vanished { earlier, uids: UidSet::parse(cursor.rest())? })
}

/// One of NAMESPACE's three lists.
fn namespaces(cursor: &mut Cursor) -> Vec<(Vec<u8>, Option<char>)> {
    let mut spaces = Vec::new();
    if cursor.token() != Token::Open {
        return spaces;
    }
    loop {
        match cursor.token() {
            Token::Close | Token::End => return spaces,
            Token::Open => {
                let prefix = cursor.token().string();
                cursor.skip_blanks();
                let delimiter = if cursor.rest().starts_with(b"\"\\\")") {
                    cursor.skip(3);
                    Some('\\')
                } else if cursor.peek() == Some(b')') {
                    None
                } else {
                    delimiter(cursor.token())
                };
                spaces.extend(prefix.map(|prefix| (prefix, delimiter)));
                // Extensions, up to the end of this one.
                loop {
                    cursor.skip_blanks();
                    match cursor.peek() {
                        None => return spaces,
                        Some(b')') => break,
                        Some(_) => cursor.skip_value(),
                    }
                }
                cursor.skip(1);
            }
            _ => {}
        }
    }
}

fn id(cursor: &mut Cursor) -> Option<Untagged> {
    let mut pairs = Vec::new();
    match cursor.token() {
        Token::Open => {}
        Token::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL") => return Some(Untagged::Id(pairs)),
        _ => return None,
    }
    loop {
        let name = match cursor.token() {
            Token::Close | Token::End => return Some(Untagged::Id(pairs)),
            token => token.string(),
        };
        cursor.skip_blanks();
        let value = match cursor.peek() {
            None | Some(b')') => None,
            Some(_) => cursor.token().string().map(|value| lossy(&value)),
        };
        pairs.extend(name.map(|name| (lossy(&name), value)));
    }
}
