//! How files of a store are called. A name follows from the message alone, so that a run that died and its successor give the
//! same one; names of accounts, which may be anything, stay one component below the root.

use super::NameKey;
use crate::message::{Digest, Message};
use crate::store::files;

/// Digests stand in names with so many hexadecimal digits.
const DIGITS: usize = 16;
/// Longer names of accounts are cut: `.sha256` has to fit behind them.
const ACCOUNT_BYTES: usize = 200;
/// How manifests end.
pub(super) const MANIFEST: &str = ".sha256";

/// A digest as it stands in names.
pub(super) fn digits(digest: Digest) -> String {
    digest.to_string().chars().take(DIGITS).collect()
}

/// What the name of a message's file begins with: date, key, content.
pub(super) fn base(key: NameKey<'_>, message: &Message) -> String {
    let seconds = message.internal_date.map_or(0, |date| date.seconds);
    format!("{seconds}.{}.{}", word(key), digits(message.digests.content))
}

/// A key as one word: `V…U…`, or `P` and a digest.
pub(super) fn word(key: NameKey<'_>) -> String {
    match key {
        NameKey::Uid { uid_validity, uid } => format!("V{uid_validity}U{uid}"),
        NameKey::Key(text) => format!("P{}", digits(Digest::of(text.as_bytes()))),
    }
}

/// What the unique part of a name tells of a message's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) uid: Option<(u32, u32)>,
    pub(super) key: Option<String>,
}

/// Reads back what [`base`] wrote; nothing from a name that it would never write.
pub(super) fn parse(stem: &str) -> Parsed {
    parse_strictly(stem).unwrap_or_default()
}

fn parse_strictly(stem: &str) -> Option<Parsed> {
    let base = stem.split_once(",S=").map_or(Some(stem), |(base, octets)| number::<u64>(octets).map(|_| base))?;
    let mut parts = base.split('.');
    let (seconds, key, content) = (parts.next()?, parts.next()?, parts.next()?);
    number::<u64>(seconds.strip_prefix('-').unwrap_or(seconds))?;
    let (content, further) = content.split_once('-').map_or((content, None), |(content, further)| (content, Some(further)));
    if parts.next().is_some() || !hex(content) || further.is_some_and(|further| number::<u32>(further).is_none()) {
        return None;
    }
    parse_word(key)
}

/// What [`word`] wrote.
pub(super) fn parse_word(word: &str) -> Option<Parsed> {
    if let Some(key) = word.strip_prefix('P') {
        return hex(key).then(|| Parsed { uid: None, key: Some(key.to_owned()) });
    }
    let (uid_validity, uid) = word.strip_prefix('V')?.split_once('U')?;
    Some(Parsed { uid: Some((number(uid_validity)?, number(uid)?)), key: None })
}

fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn hex(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The directory of an account: its name, where that can stand. Never hidden, never ending as manifests do.
pub(super) fn account(name: &str) -> String {
    files::fit_within(encode_account(name), ACCOUNT_BYTES)
}

fn encode_account(name: &str) -> String {
    // Here alone a dot parts nothing.
    let mut out = files::encode_level(name).replace("%2E", ".");
    if let Some(rest) = out.strip_prefix('.') {
        out = format!("%2E{rest}");
    }
    if let Some(start) = out.strip_suffix(MANIFEST) {
        out = format!("{start}%2Esha256");
    }
    out
}

/// The account of a directory.
pub(super) fn account_of(directory: &str) -> String {
    files::decode_level_of(directory, encode_account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Body, InternalDate};

    fn message(bytes: &[u8], seconds: Option<i64>) -> Message {
        let body = Body::from(bytes.to_vec());
        let digests = body.digests().unwrap();
        Message { body, digests, internal_date: seconds.map(|seconds| InternalDate { seconds, offset: 3600 }), flags: vec![] }
    }

    #[test]
    fn a_name_tells_date_uid_and_content_and_is_read_back() {
        let name = base(NameKey::Uid { uid_validity: 7, uid: 42 }, &message(b"a\r\n", Some(1_700_000_000)));
        assert_eq!(name, format!("1700000000.V7U42.{}", digits(Digest::of(b"a"))));
        for stem in [name.clone(), format!("{name},S=2"), format!("{name}-2,S=2"), format!("{name}-2")] {
            assert_eq!(parse(&stem), Parsed { uid: Some((7, 42)), key: None }, "{stem}");
        }
        let pop3 = base(NameKey::Key("uidl:x"), &message(b"a", Some(-5)));
        assert!(pop3.starts_with("-5.P"), "{pop3}");
        assert_eq!(parse(&pop3).key.unwrap(), digits(Digest::of(b"uidl:x")));
        assert!(base(NameKey::Key("k"), &message(b"a", None)).starts_with("0.P"));
    }

    #[test]
    fn names_of_other_programs_tell_nothing() {
        let content = "0123456789abcdef";
        for stem in [
            "1700000000.M1P2.host",
            "1700000000.V7U42.short",
            "1700000000.V7U4294967296.0123456789abcdef",
            "1700000000.V07U1.0123456789abcdef",
            "1700000000.V7U+1.0123456789abcdef",
            "x.V7U42.0123456789abcdef",
            "1.V7U42.0123456789abcdef.x",
            "1.V7U42.0123456789abcdef,S=x",
            "1.V7U42.0123456789ABCDEF",
            "",
        ] {
            assert_eq!(parse(stem), Parsed::default(), "{stem}");
        }
        assert!(parse(&format!("1.V1U1.{content}")).uid.is_some());
    }

    #[test]
    fn hostile_accounts_stay_one_visible_component_and_come_back() {
        let mut seen = std::collections::HashSet::new();
        for name in ["work", "ann@example.org", "..", ".", ".mailhaul", "a/../../b", "/etc", "x.sha256", "x", "", "a\nb", "\0", "..sha256"]
        {
            let directory = account(name);
            assert!(
                !directory.is_empty() && !directory.starts_with('.') && !directory.contains(['/', '\0', '\n']),
                "{name:?} → {directory}"
            );
            assert!(!directory.ends_with(MANIFEST), "{name:?} → {directory}");
            assert!(name.is_empty() || account_of(&directory) == name, "{name:?} → {directory}");
            assert!(seen.insert(directory));
        }
        assert_eq!(account("ann@example.org"), "ann@example.org");
        assert_ne!(account(&"x".repeat(300)), account(&"x".repeat(301)));
        assert!(account(&"x".repeat(300)).len() <= ACCOUNT_BYTES);
    }

    proptest::proptest! {
        #[test]
        fn accounts_are_told_apart(a in "(.|[%./@]|\\.sha256|%2E){1,40}", b in "(.|[%./@]|\\.sha256|%2E){1,40}") {
            proptest::prop_assert_eq!(a == b, account(&a) == account(&b));
            for name in [a, b] {
                let directory = account(&name);
                proptest::prop_assert!(!directory.starts_with('.') && !directory.contains('/') && !directory.ends_with(MANIFEST));
                proptest::prop_assert_eq!(account_of(&encode_account(&name)), name);
            }
        }

        #[test]
        fn what_a_name_tells_is_what_it_was_made_of(uid_validity: u32, uid: u32, seconds: i64, bytes: Vec<u8>, octets: u64, again in 2_u32..) {
            let base = base(NameKey::Uid { uid_validity, uid }, &message(&bytes, Some(seconds)));
            proptest::prop_assert_eq!(parse(&format!("{base}-{again},S={octets}")).uid, Some((uid_validity, uid)));
        }

        #[test]
        fn no_name_upsets_the_parser(stem in ".{0,60}|[0-9]{1,3}\\.[VUP0-9]{1,12}\\.[0-9a-f-]{14,20}(,S=[0-9x]{0,4})?") {
            let _ = parse(&stem);
        }
    }
}
