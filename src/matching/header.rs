//! What differs between two headers, in words. It knows fields by their names and no message.

use std::collections::BTreeMap;

use crate::message::{Digest, header_digest, header_len};

/// So many fields are named.
const NAMED: usize = 5;

/// The fields of a header that count, in order: name, digest as written, digest without regard to blanks.
fn fields(header: &[u8]) -> Vec<(String, Digest, Digest)> {
    let header = header_len(header).and_then(|end| header.get(..end)).unwrap_or(header);
    let nothing = header_digest(b"");
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for line in header.split_inclusive(|&byte| byte == b'\n') {
        match fields.last_mut() {
            Some(field) if matches!(line.first(), Some(b' ' | b'\t')) => field.extend_from_slice(line),
            _ => fields.push(line.to_vec()),
        }
    }
    let counted = fields.into_iter().filter_map(|field| {
        let digest = header_digest(&field);
        let name = field.split(|&byte| byte == b':').next().unwrap_or_default();
        let blanks: Vec<u8> = field.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        (digest != nothing).then(|| (String::from_utf8_lossy(name).trim().to_owned(), digest, Digest::of(&blanks)))
    });
    counted.collect()
}

/// How often and how a field is written on both sides, each as it stands and without regard to blanks.
#[derive(Default)]
struct Uses {
    name: String,
    a: (Vec<Digest>, Vec<Digest>),
    b: (Vec<Digest>, Vec<Digest>),
}

/// Says what differs between two headers whose digests differ; `None` where nothing does that counts.
pub fn difference(a: &[u8], b: &[u8]) -> Option<String> {
    let (a, b) = (fields(a), fields(b));
    let mut names: BTreeMap<String, Uses> = BTreeMap::new();
    for (list, first) in [(&a, true), (&b, false)] {
        for (name, digest, bare) in list {
            let uses = names.entry(name.to_ascii_lowercase()).or_insert_with(|| Uses { name: name.clone(), ..Uses::default() });
            let side = if first { &mut uses.a } else { &mut uses.b };
            side.0.push(*digest);
            side.1.push(*bare);
        }
    }
    let mut found = Vec::new();
    for Uses { name, a: (mut a, mut bare_a), b: (mut b, mut bare_b) } in names.into_values() {
        for digests in [&mut a, &mut b, &mut bare_a, &mut bare_b] {
            digests.sort_unstable();
        }
        if a == b {
            continue;
        }
        found.push(match (a.len(), b.len()) {
            (_, 0) => format!("{name} is missing on the second side"),
            (0, _) => format!("{name} is missing on the first side"),
            (one, other) if one != other => format!("{name} stands {one} times and {other} times"),
            _ if bare_a == bare_b => format!("{name} has its blanks or folds elsewhere"),
            _ => format!("{name} differs"),
        });
    }
    let more = found.len().saturating_sub(NAMED);
    found.truncate(NAMED);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    if found.is_empty() {
        let order = |list: &[(String, Digest, Digest)]| list.iter().map(|field| field.1).collect::<Vec<_>>();
        return (order(&a) != order(&b)).then(|| "the header's fields stand in another order".to_owned());
    }
    Some(format!("in the header {}", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_differs_is_named() {
        let one = b"Subject: a\r\nTo: b@c\r\nX-Same: 1\r\n\r\nbody";
        for (other, words) in [
            (&b"Subject: b\r\nTo: b@c\r\nX-Same: 1\r\n\r\n"[..], Some("in the header Subject differs")),
            (b"subject: a\nTo: b@c\nX-Same: 1\n\n", Some("in the header Subject differs")),
            (b"Subject:\n a\nTo: b@c\nX-Same: 1\n\n", Some("in the header Subject has its blanks or folds elsewhere")),
            (b"To: b@c\nX-Same: 1\n\nSubject: a", Some("in the header Subject is missing on the second side")),
            (b"Subject: a\nTo: b@c\nX-Same: 1\nX-New: 1\n\n", Some("in the header X-New is missing on the first side")),
            (b"Subject: a\nTo: b@c\nTo: b@c\nX-Same: 1\n\n", Some("in the header To stands 1 times and 2 times")),
            (b"To: b@c\nSubject: a\nX-Same: 1\n\n", Some("the header's fields stand in another order")),
            (b"Subject: a\nStatus: RO\nTo: b@c\nX-Same: 1\n\n", None),
        ] {
            assert_eq!(difference(one, other).as_deref(), words, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn many_differences_are_counted() {
        let header = |value: u32| (0..9).map(|name| format!("X-{name}: {value}\r\n")).collect::<String>();
        let words = difference(header(1).as_bytes(), header(2).as_bytes()).unwrap();
        assert!(words.ends_with("X-4 differs, 4 more"), "{words}");
    }
}
