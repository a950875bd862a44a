//! Status responses and their codes.

use crate::imap::types::{Code, Status, StatusLine};
use crate::imap::uid_set::UidSet;
use crate::message::Flag;

use super::cursor::{Cursor, number};

/// `tag SP (OK|NO|BAD) …`
pub(super) fn tagged(cursor: &mut Cursor) -> Option<(String, StatusLine)> {
    let start = cursor.position();
    let tag = std::str::from_utf8(cursor.word()).ok()?.to_owned();
    cursor.skip_blanks();
    let status = status(cursor.word()).filter(|status| matches!(status, Status::Ok | Status::No | Status::Bad));
    let Some(status) = status.filter(|_| !tag.is_empty()) else {
        cursor.rewind(start);
        return None;
    };
    Some((tag, line(status, cursor.rest())))
}

pub(super) fn status(word: &[u8]) -> Option<Status> {
    [Status::Ok, Status::No, Status::Bad, Status::Bye, Status::Preauth]
        .into_iter()
        .find(|status| status.wire().as_bytes().eq_ignore_ascii_case(word))
}

/// What follows the first word.
pub(super) fn line(status: Status, rest: &[u8]) -> StatusLine {
    let rest = rest.trim_ascii_start();
    let (code, text) = match rest.strip_prefix(b"[").and_then(|inner| Some((inner, code_end(inner)?))) {
        Some((inner, end)) => (inner.get(..end), inner.get(end + 1..).unwrap_or_default()),
        None => (None, rest),
    };
    StatusLine { status, code: code.map(self::code), code_text: code.map(lossy), text: lossy(text.strip_prefix(b" ").unwrap_or(text)) }
}

/// Where the `]` is: outside parentheses and quotes if they close, else the first.
fn code_end(inner: &[u8]) -> Option<usize> {
    let first = inner.iter().position(|byte| *byte == b']')?;
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for (at, byte) in inner.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth = depth.saturating_add(1),
            b')' if !quoted => depth = depth.saturating_sub(1),
            b']' if !quoted && depth == 0 => return Some(at),
            _ => {}
        }
    }
    Some(first)
}

/// A response code, without its brackets.
pub(super) fn code(inner: &[u8]) -> Code {
    let inner = inner.trim_ascii();
    let split = inner.iter().position(|byte| b" \t(".contains(byte)).unwrap_or(inner.len());
    let (name, args) = inner.split_at(split);
    let args = args.trim_ascii();
    let name = lossy(name).to_ascii_uppercase();
    known(&name, args).unwrap_or_else(|| Code::Other { name, args: lossy(args) })
}

fn known(name: &str, args: &[u8]) -> Option<Code> {
    Some(match name {
        "ALERT" => Code::Alert,
        "BADCHARSET" => Code::BadCharset,
        "CAPABILITY" => Code::Capability(words(args)),
        "PARSE" => Code::Parse,
        "PERMANENTFLAGS" => Code::PermanentFlags(flags(args)),
        "READ-ONLY" => Code::ReadOnly,
        "READ-WRITE" => Code::ReadWrite,
        "TRYCREATE" => Code::TryCreate,
        "UIDNEXT" => Code::UidNext(positive(args)?),
        "UIDVALIDITY" => Code::UidValidity(positive(args)?),
        "UNSEEN" => Code::Unseen(positive(args)?),
        "APPENDUID" => {
            let [uid_validity, uids] = fields(args)?;
            Code::AppendUid { uid_validity: positive(uid_validity)?, uids: UidSet::parse_ascending(uids)? }
        }
        "COPYUID" => {
            let [uid_validity, source, destination] = fields(args)?;
            let (source, destination) = (UidSet::parse_ascending(source)?, UidSet::parse_ascending(destination)?);
            if source.len() != destination.len() {
                return None;
            }
            Code::CopyUid { uid_validity: positive(uid_validity)?, source, destination }
        }
        "UIDNOTSTICKY" => Code::UidNotSticky,
        "HIGHESTMODSEQ" => Code::HighestModSeq(number(args).filter(|value| *value > 0)?),
        "NOMODSEQ" => Code::NoModSeq,
        "MODIFIED" => Code::Modified(UidSet::parse(args)?),
        "CLOSED" => Code::Closed,
        "OVERQUOTA" => Code::OverQuota,
        "TOOBIG" => Code::TooBig,
        "LIMIT" => Code::Limit,
        "SERVERBUG" => Code::ServerBug,
        "UNAVAILABLE" => Code::Unavailable,
        "INUSE" => Code::InUse,
        "CANNOT" => Code::Cannot,
        "CLIENTBUG" => Code::ClientBug,
        "CORRUPTION" => Code::Corruption,
        "EXPUNGEISSUED" => Code::ExpungeIssued,
        "AUTHENTICATIONFAILED" => Code::AuthenticationFailed,
        "AUTHORIZATIONFAILED" => Code::AuthorizationFailed,
        "EXPIRED" => Code::Expired,
        "PRIVACYREQUIRED" => Code::PrivacyRequired,
        "NONEXISTENT" => Code::NonExistent,
        "ALREADYEXISTS" => Code::AlreadyExists,
        "CONTACTADMIN" => Code::ContactAdmin,
        "NOPERM" => Code::NoPerm,
        "HASCHILDREN" => Code::HasChildren,
        "UNKNOWN-CTE" => Code::UnknownCte,
        "NOTSAVED" => Code::NotSaved,
        "COMPRESSIONACTIVE" => Code::CompressionActive,
        "USEATTR" => Code::UseAttr,
        "REFERRAL" => Code::Referral(lossy(args)),
        "BADURL" => Code::BadUrl(lossy(args)),
        "MAILBOXID" => {
            let inner = args.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).unwrap_or(args);
            Code::MailboxId(super::fetch::object_id(inner.trim_ascii())?)
        }
        "THROTTLED" => Code::Throttled,
        _ => return None,
    })
}

/// Words between blanks; `LITERAL +` is what some servers make of `LITERAL+`.
pub(super) fn words(args: &[u8]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in args.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        match words.last_mut() {
            Some(last) if word == b"+" || word == b"-" => last.push_str(&lossy(word)),
            _ => words.push(lossy(word)),
        }
    }
    words
}

/// Flags between parentheses (or without them).
pub(super) fn flags(args: &[u8]) -> Vec<Flag> {
    args.split(|byte| b" \t()".contains(byte)).filter(|word| !word.is_empty()).map(|word| Flag::new(lossy(word))).collect()
}

pub(super) fn lossy(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn positive(digits: &[u8]) -> Option<u32> {
    number(digits).and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

fn fields<const N: usize>(args: &[u8]) -> Option<[&[u8]; N]> {
    let mut words = args.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut fields = [&b""[..]; N];
    for field in &mut fields {
        *field = words.next()?;
    }
    if words.next().is_some() { None } else { Some(fields) }
}
