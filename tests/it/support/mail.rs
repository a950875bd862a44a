//! Mail as bad as mail gets, made from a seed, and an independent judge of sameness.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Pseudo-random numbers that are the same in every run (xorshift*, enough for filling mail).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Printable text in lines of up to 76 characters and CRLF, about `bytes` long.
    pub fn text(&mut self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes + 80);
        while text.len() < bytes {
            for _ in 0..=self.below(76) {
                text.push(b' ' + u8::try_from(self.below(95)).unwrap());
            }
            text.extend_from_slice(b"\r\n");
        }
        text
    }
}

/// An ordinary message: different for every number, CRLF, about `bytes` of text.
pub fn plain(number: u64, bytes: usize) -> Vec<u8> {
    let mut message = format!(
        "From: Ann <ann@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: message {number}\r\n\
         Date: Tue, 1 Sep 2020 12:{:02}:{:02} +0000\r\nMessage-ID: <{number}@example.org>\r\n\r\n",
        number / 60 % 60,
        number % 60
    )
    .into_bytes();
    message.extend(Random::new(number + 1).text(bytes));
    message
}

/// So many ordinary messages.
pub fn many(count: u64, bytes: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| plain(number, bytes)).collect()
}

/// The nasty ones, each with its name; those with the octets IMAP cannot carry included, the 30 MB one not.
pub fn nasty() -> Vec<(&'static str, Vec<u8>)> {
    let head = |name: &str| format!("From: a@example.org\r\nSubject: {name}\r\nMessage-ID: <{name}@example.org>\r\n\r\n").into_bytes();
    let with = |name: &str, body: &[u8]| [head(name).as_slice(), body].concat();
    let mut long_line = with("long-line", &b"x".repeat(100 * 1024));
    long_line.extend_from_slice(b"\r\n");
    let mut all_octets = head("all-octets");
    all_octets.extend((1..=255_u8).filter(|byte| !b"\r\n".contains(byte)));
    all_octets.extend_from_slice(b"\r\n");
    let mut long_header = b"Subject: ".to_vec();
    long_header.extend(b"folded\r\n ".repeat(20_000));
    long_header.extend_from_slice(b"end\r\n\r\nbody\r\n");
    vec![
        ("plain", with("plain", b"hello\r\n")),
        ("bare-lf", b"From: a@example.org\nSubject: bare-lf\n\nhello\nworld\n".to_vec()),
        ("mixed-ends", with("mixed-ends", b"one\r\ntwo\nthree\r\n")),
        ("nul", with("nul", b"a\0b\r\n\0\r\n")),
        ("eight-bit", with("eight-bit", b"gr\xc3\xbc\xdfe\xff\xfe\r\n")),
        ("all-octets", all_octets),
        ("long-line", long_line),
        ("long-header", long_header),
        ("no-header", b"\r\nonly a body\r\n".to_vec()),
        ("not-a-header", b"this is no header at all\r\nnor this\r\n".to_vec()),
        ("no-message-id", b"Subject: no-message-id\r\n\r\nbody\r\n".to_vec()),
        ("from-line", b"From ann@example.org Tue Sep  1 12:00:00 2020\r\nSubject: from-line\r\n\r\nFrom here\r\n>From there\r\n".to_vec()),
        ("dots", with("dots", b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n")),
        (
            "broken-mime",
            b"Subject: broken-mime\r\nContent-Type: multipart/mixed; boundary=\"x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\na\r\n--y--\r\n".to_vec(),
        ),
        ("empty", Vec::new()),
        ("only-line-ends", b"\r\n\r\n\r\n".to_vec()),
        ("only-header", b"Subject: only-header\r\n".to_vec()),
        ("header-and-empty-line", b"Subject: header-and-empty-line\r\n\r\n".to_vec()),
        ("no-final-newline", with("no-final-newline", b"the end")),
        ("trailing-empty-lines", with("trailing-empty-lines", b"the end\r\n\r\n\r\n")),
        ("cr-cr-lf", with("cr-cr-lf", b"one\r\r\ntwo\r\r\n")),
        ("lone-cr", with("lone-cr", b"one\rtwo\r\nthree\r")),
        ("looks-like-imap", with("looks-like-imap", b"A1 OK done\r\n* BYE {100}\r\n+ go\r\n)\r\n{5}\r\n")),
        ("escape-sequences", with("escape-sequences", b"\x1b[2J\x1b]0;x\x07\xe2\x80\xae\r\n")),
        ("same-message-id", b"From: b@example.org\r\nSubject: other\r\nMessage-ID: <plain@example.org>\r\n\r\nother\r\n".to_vec()),
    ]
}

/// The nasty ones that IMAP's APPEND carries unchanged: lines end in CRLF alone, no NUL, not empty.
pub fn nasty_for_append() -> Vec<Vec<u8>> {
    nasty().into_iter().map(|(_, body)| body).filter(|body| is_appendable(body)).collect()
}

/// Whether APPEND carries these bytes as they are.
pub fn is_appendable(body: &[u8]) -> bool {
    let bare_lf = body.iter().enumerate().any(|(at, &byte)| byte == b'\n' && (at == 0 || body[at - 1] != b'\r'));
    !body.is_empty() && !body.contains(&0) && !bare_lf
}

/// A message of 30 MB in lines.
pub fn huge() -> Vec<u8> {
    let mut message = b"From: a@example.org\r\nSubject: huge\r\nMessage-ID: <huge@example.org>\r\n\r\n".to_vec();
    let block = Random::new(30).text(64 * 1024);
    while message.len() < 30 * 1000 * 1000 {
        message.extend_from_slice(&block);
    }
    message
}

/// The checked-in and the shared corpus of real-world oddities, every file of them, by path; empty where there is none.
pub fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for place in ["tests/data", "../shared/corpus/eml"] {
        collect(&root.join(place), &mut found);
    }
    if let Some(place) = std::env::var_os("MAILHAUL_CORPUS") {
        collect(Path::new(&place), &mut found);
    }
    found.sort();
    found
}

fn collect(directory: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
}

/// The content digest (hex) as the specification words it, step by step and without regard to speed: an oracle for the
/// program's own.
pub fn content_digest(bytes: &[u8]) -> String {
    let mut canonical: Vec<u8> = Vec::new();
    let mut rest = bytes;
    loop {
        let Some(at) = rest.iter().position(|&byte| byte == b'\n') else {
            canonical.extend_from_slice(rest);
            break;
        };
        let mut line = &rest[..at];
        while let Some(shorter) = line.strip_suffix(b"\r") {
            line = shorter;
        }
        canonical.extend_from_slice(line);
        canonical.extend_from_slice(b"\r\n");
        rest = &rest[at + 1..];
    }
    for byte in &mut canonical {
        if *byte == 0 {
            *byte = 0x80;
        }
    }
    while canonical.ends_with(b"\r") || canonical.ends_with(b"\n") {
        canonical.pop();
    }
    Sha256::digest(&canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How often each content stands in a listing: two mailboxes hold the same mail when these are equal.
pub fn multiset<'a>(bodies: impl IntoIterator<Item = &'a Vec<u8>>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for body in bodies {
        *counted.entry(content_digest(body)).or_default() += 1;
    }
    counted
}

/// Insists that two listings hold the same messages equally often, and shows the first lines of what differs.
#[track_caller]
pub fn assert_same_mail<'a>(left: impl IntoIterator<Item = &'a Vec<u8>>, right: impl IntoIterator<Item = &'a Vec<u8>>) {
    let (left, right): (Vec<_>, Vec<_>) = (left.into_iter().collect(), right.into_iter().collect());
    let (a, b) = (multiset(left.iter().copied()), multiset(right.iter().copied()));
    let mut differing = Vec::new();
    for body in left.iter().chain(&right) {
        let digest = content_digest(body);
        let (here, there) = (a.get(&digest).copied().unwrap_or(0), b.get(&digest).copied().unwrap_or(0));
        if here != there {
            differing.push(format!("{here} against {there}: {}", body[..body.len().min(120)].escape_ascii()));
        }
    }
    differing.sort();
    differing.dedup();
    assert!(differing.is_empty(), "{} against {} messages; not equally often there:\n{}", left.len(), right.len(), differing.join("\n"));
}
