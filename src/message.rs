//! Messages as bytes: a body that spills to disk, digests that prove two copies equal, the key under which a journal
//! knows a message, flags and dates. Nothing here knows a protocol or parses a header for people (`summary` does).

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZeroU32;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A body up to this many bytes stays in memory; a larger one goes to a temporary file.
pub const SPILL_BYTES: usize = 8 * 1024 * 1024;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes` as they are.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads the 64 hex digits that [`fmt::Display`] writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digests of one message that prove it the same as another (`TRANSFER.md`, Words).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// Over the bytes as the source gave them.
    pub exact: Digest,
    /// Over the same with every line end (LF and all CRs before it) made CRLF, NUL taken as 0x80, and trailing CRs and LFs cut.
    pub content: Digest,
}

/// Computes [`Digests`] over bytes that come in pieces of any size. As long as all line ends are CRLF and no NUL comes, which is
/// nearly always, the two have the same bytes in common but for the line ends at the end, and are computed as one.
pub struct Digester(Progress);

enum Progress {
    /// What both have in common; line ends are pending.
    Common(ContentDigester),
    /// Exact and content.
    Apart(Sha256, ContentDigester),
}

impl Default for Digester {
    fn default() -> Self {
        Self(Progress::Common(ContentDigester::default()))
    }
}

impl Digester {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Progress::Common(common) = &mut self.0 {
            if common.is_plain(bytes) {
                return common.update_plain(bytes);
            }
            let common = std::mem::take(common);
            self.0 = Progress::Apart(common.exact(), common);
        }
        if let Progress::Apart(exact, content) = &mut self.0 {
            exact.update(bytes);
            content.update(bytes);
        }
    }

    /// Ends the message.
    pub fn finish(self) -> Digests {
        let (exact, content) = match self.0 {
            Progress::Common(common) => (common.exact(), common),
            Progress::Apart(exact, content) => (exact, content),
        };
        Digests { exact: Digest(exact.finalize().into()), content: content.finish() }
    }
}

/// Computes the content digest alone. A line end is LF with all CRs before it: Dovecot stores CR CR LF as CR LF, and what
/// a server does to line ends must not make two copies of one message look different.
#[derive(Default)]
pub struct ContentDigester {
    hash: Sha256,
    /// CRs seen and not yet hashed: an LF behind them makes them part of the line end.
    pending_crs: u64,
    /// Line ends seen and not yet hashed: they count only when something follows.
    pending_line_ends: u64,
}

impl ContentDigester {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let is_text = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        let Some(first) = bytes.iter().position(is_text) else { return self.line_ends(bytes) };
        let last = bytes.iter().rposition(is_text).map_or(first, |last| last + 1);
        self.line_ends(bytes.get(..first).unwrap_or_default());
        self.hash_pending();
        self.text(bytes.get(first..last).unwrap_or_default());
        self.line_ends(bytes.get(last..).unwrap_or_default());
    }

    /// Whether `bytes`, behind what came before, hold no NUL and no line end but CRLF (so far: one may be open at the end).
    fn is_plain(&self, bytes: &[u8]) -> bool {
        // A CR that an LF may follow still.
        let mut open = match self.pending_crs {
            0 => false,
            1 => true,
            _ => return false,
        };
        let mut start = 0;
        for at in memchr::memchr2_iter(b'\n', 0, bytes) {
            let before = bytes.get(start..at).unwrap_or_default();
            let crs = before.iter().rev().take_while(|&&byte| byte == b'\r').count();
            let crs = crs + usize::from(open && crs == before.len());
            if crs != 1 || bytes.get(at) == Some(&0) {
                return false;
            }
            (open, start) = (false, at + 1);
        }
        // What follows the last line end may end with a CR, or be one.
        let rest = bytes.get(start..).unwrap_or_default();
        let crs = rest.iter().rev().take_while(|&&byte| byte == b'\r').count();
        crs + usize::from(open && crs == rest.len()) <= 1
    }

    /// As [`Self::update`] for bytes that are plain.
    fn update_plain(&mut self, bytes: &[u8]) {
        let is_text = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        let Some(last) = bytes.iter().rposition(is_text).map(|last| last + 1) else { return self.line_ends(bytes) };
        self.hash_pending();
        // Line ends before its first text are CRLF, or the LF of one whose CR is hashed by now.
        self.hash.update(bytes.get(..last).unwrap_or_default());
        self.line_ends(bytes.get(last..).unwrap_or_default());
    }

    /// What comes shows that the pending line ends are not those at the end.
    fn hash_pending(&mut self) {
        for _ in 0..std::mem::take(&mut self.pending_line_ends) {
            self.hash.update(b"\r\n");
        }
        for _ in 0..std::mem::take(&mut self.pending_crs) {
            self.hash.update(b"\r");
        }
    }

    /// The hash of the bytes as they came, where all were plain.
    fn exact(&self) -> Sha256 {
        let mut all = Self { hash: self.hash.clone(), ..*self };
        all.hash_pending();
        all.hash
    }

    /// Ends the message: line ends and CRs at its end are cut.
    pub fn finish(self) -> Digest {
        Digest(self.hash.finalize().into())
    }

    /// CRs and LFs that may turn out to end the message.
    fn line_ends(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.pending_line_ends += 1;
                self.pending_crs = 0;
            } else {
                self.pending_crs += 1;
            }
        }
    }

    /// Bytes that neither begin nor end with CR or LF: hashed in as few pieces as their line ends allow.
    fn text(&mut self, bytes: &[u8]) {
        let mut start = 0;
        for at in memchr::memchr2_iter(b'\n', 0, bytes) {
            let before = bytes.get(start..at).unwrap_or_default();
            if bytes.get(at) == Some(&0) {
                self.hash.update(before);
                self.hash.update(b"\x80");
            } else {
                let crs = before.iter().rev().take_while(|&&byte| byte == b'\r').count();
                if crs == 1 {
                    continue;
                }
                self.hash.update(before.get(..before.len() - crs).unwrap_or_default());
                self.hash.update(b"\r\n");
            }
            start = at + 1;
        }
        self.hash.update(bytes.get(start..).unwrap_or_default());
    }
}

/// Header fields that servers add, drop or rewrite, and that so prove nothing (`TRANSFER.md`, Matching, step 3).
const UNSTABLE_FIELDS: &[&[u8]] = &[
    b"content-length",
    b"return-path",
    b"status",
    b"x-status",
    b"x-imap",
    b"x-imapbase",
    b"x-keywords",
    b"x-uid",
    b"x-uidl",
    b"x-message-flag",
    b"x-yahoo-newman-property",
];

/// The digest of a header that survives what servers do to headers: CR removed; unstable fields, lines without a colon,
/// invalid names and blank continuation lines left out. `header` may go on behind the empty line that ends it.
pub fn header_digest(header: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    let mut keep = false;
    for line in header.split(|&byte| byte == b'\n') {
        let line: Vec<u8> = line.iter().filter(|&&byte| byte != b'\r').map(|&byte| if byte == 0 { 0x80 } else { byte }).collect();
        if line.is_empty() {
            break;
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if line.trim_ascii().is_empty() {
                continue;
            }
        } else {
            let name = line.iter().position(|&byte| byte == b':').and_then(|colon| line.get(..colon));
            keep = name.is_some_and(|name| {
                let name = name.trim_ascii_end();
                let valid = !name.is_empty() && name.iter().all(|byte| (33..127).contains(byte));
                valid && !UNSTABLE_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field))
            });
        }
        if keep {
            hash.update(&line);
            hash.update(b"\n");
        }
    }
    Digest(hash.finalize().into())
}

/// Where the header ends: the index of the first octet behind the first empty line (CR CR LF counts as a line end).
pub fn header_len(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    for index in memchr::memchr_iter(b'\n', bytes) {
        if bytes.get(start..index).unwrap_or_default().iter().all(|&byte| byte == b'\r') {
            return Some(index + 1);
        }
        start = index + 1;
    }
    None
}

/// The bytes of one message: in memory up to [`SPILL_BYTES`], above that in an unnamed temporary file.
pub struct Body {
    memory: Vec<u8>,
    spilled: Option<File>,
    len: u64,
}

impl Default for Body {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Vec<u8>> for Body {
    fn from(memory: Vec<u8>) -> Self {
        let len = memory.len() as u64;
        Self { memory, spilled: None, len }
    }
}

impl Body {
    /// An empty body.
    pub fn new() -> Self {
        Self { memory: Vec::new(), spilled: None, len: 0 }
    }

    /// An empty body that will take about `octets`.
    pub fn for_octets(octets: u64) -> Self {
        let octets = usize::try_from(octets).ok().filter(|&octets| octets <= SPILL_BYTES).unwrap_or(0);
        Self { memory: Vec::with_capacity(octets), spilled: None, len: 0 }
    }

    /// Gives back memory that was taken ahead and not needed.
    pub fn settle(&mut self) {
        if self.memory.capacity() > self.memory.len() + self.memory.len() / 8 {
            self.memory.shrink_to_fit();
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes this body holds in memory, for those who bound what is in flight.
    pub fn memory_bytes(&self) -> usize {
        if self.spilled.is_some() { 0 } else { self.memory.len() }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the temporary file cannot be made or written.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        if let Some(file) = &mut self.spilled {
            return file.write_all(bytes).map_err(spill_error);
        }
        if self.memory.len() + bytes.len() <= SPILL_BYTES {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let mut file = tempfile::tempfile().map_err(spill_error)?;
        file.write_all(&self.memory).and_then(|()| file.write_all(bytes)).map_err(spill_error)?;
        self.memory = Vec::new();
        self.spilled = Some(file);
        Ok(())
    }

    /// Hands the bytes over in order, in pieces of at most 64 KiB (or in one piece when they are in memory).
    ///
    /// # Errors
    /// What `each` returns, or [`crate::error::Kind::Local`] when the temporary file cannot be read.
    pub fn each_chunk(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Some(file) = &self.spilled else { return each(&self.memory) };
        let mut file = file;
        file.seek(SeekFrom::Start(0)).map_err(spill_error)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer).map_err(spill_error)?;
            if count == 0 {
                // Further pushes go to the end, where reading stopped.
                return Ok(());
            }
            each(buffer.get(..count).unwrap_or_default())?;
        }
    }

    /// The first `limit` bytes (a header, say), copied.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the temporary file cannot be read.
    pub fn prefix(&self, limit: usize) -> Result<Vec<u8>> {
        let Some(mut file) = self.spilled.as_ref() else {
            return Ok(self.memory.get(..limit.min(self.memory.len())).unwrap_or_default().to_vec());
        };
        let mut bytes = Vec::with_capacity(limit.min(usize::try_from(self.len).unwrap_or(limit)) + 1);
        file.seek(SeekFrom::Start(0)).map_err(spill_error)?;
        file.take(limit as u64).read_to_end(&mut bytes).map_err(spill_error)?;
        file.seek(SeekFrom::End(0)).map_err(spill_error)?;
        Ok(bytes)
    }

    /// The bytes as one slice where they are in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        if self.spilled.is_some() { None } else { Some(&self.memory) }
    }

    /// The header digest, and the content digest of what follows the header: the second proof that two copies are the
    /// same message, for servers that change header fields. A header is looked for in the first [`SPILL_BYTES`].
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the temporary file cannot be read.
    pub fn split_digests(&self) -> Result<(Digest, Digest)> {
        let head;
        let head = match self.in_memory() {
            Some(bytes) => bytes,
            None => {
                head = self.prefix(SPILL_BYTES)?;
                &head
            }
        };
        let end = header_len(head).unwrap_or(head.len());
        let header = header_digest(head.get(..end).unwrap_or_default());
        let mut digester = ContentDigester::default();
        let mut skip = end;
        self.each_chunk(|chunk| {
            let skipped = skip.min(chunk.len());
            skip -= skipped;
            digester.update(chunk.get(skipped..).unwrap_or_default());
            Ok(())
        })?;
        Ok((header, digester.finish()))
    }

    /// The digests of the bytes.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the temporary file cannot be read.
    pub fn digests(&self) -> Result<Digests> {
        let mut digester = Digester::default();
        self.each_chunk(|chunk| {
            digester.update(chunk);
            Ok(())
        })?;
        Ok(digester.finish())
    }
}

fn spill_error(error: std::io::Error) -> Error {
    Error::io("the temporary file for a large message", error)
}

/// Under what the journal knows a source message (`TRANSFER.md`, Words).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// IMAP: a UID means something only under its UIDVALIDITY.
    Uid {
        /// UIDVALIDITY.
        generation: u32,
        /// UID.
        uid: u32,
    },
    /// POP3, where no other message of the maildrop has the same unique-id.
    Uidl {
        /// The unique-id as the server gave it.
        uidl: Box<str>,
    },
    /// Where nothing else is stable: the content digest, and which of several equal messages this is, from 0.
    Content {
        /// Content digest.
        digest: Digest,
        /// How many earlier messages of the listing have the same one.
        occurrence: u32,
    },
}

impl Key {
    /// How the text of every key of this generation begins.
    pub fn uid_prefix(generation: u32) -> String {
        format!("uid:{generation}:")
    }
}

/// Gives content keys to the messages of one listing: equal ones get rising occurrences.
#[derive(Debug, Default)]
pub struct Twins(HashMap<Digest, u32>);

impl Twins {
    /// The key of the next message with this content digest.
    pub fn key(&mut self, digest: Digest) -> Key {
        let count = self.0.entry(digest).or_default();
        let occurrence = *count;
        *count += 1;
        Key::Content { digest, occurrence }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid { generation, uid } => write!(f, "{}{uid}", Self::uid_prefix(*generation)),
            Self::Uidl { uidl } => write!(f, "uidl:{uidl}"),
            Self::Content { digest, occurrence } => write!(f, "content:{occurrence}:{digest}"),
        }
    }
}

/// A flag or keyword as IMAP writes it: `\Seen`, `$Forwarded`, `Work`. Compared without case.
#[derive(Debug, Clone)]
pub struct Flag(String);

impl Flag {
    /// `\Seen`.
    pub fn seen() -> Self {
        Self("\\Seen".to_owned())
    }

    /// A flag from its wire form.
    pub fn new(wire: impl Into<String>) -> Self {
        Self(wire.into())
    }

    /// The wire form.
    pub fn wire(&self) -> &str {
        &self.0
    }

    /// Whether this is `\Recent`, which no client can set (RFC 3501 section 2.3.2).
    pub fn is_recent(&self) -> bool {
        self.0.eq_ignore_ascii_case("\\Recent")
    }
}

impl PartialEq for Flag {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Flag {}

/// As people and scripts read it: system flags lower case without the backslash, keywords as they are.
impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.strip_prefix('\\') {
            Some(system) => f.write_str(&system.to_ascii_lowercase()),
            None => f.write_str(&self.0),
        }
    }
}

/// Octets of flags up to which sets are kept; what is said beyond counts as not told.
const SET_OCTETS: usize = 4 * 1024 * 1024;

/// Sets of flags, each kept once however many messages have it.
#[derive(Debug, Clone, Default)]
pub struct FlagSets {
    sets: Vec<Vec<Flag>>,
    known: HashMap<String, FlagSet>,
    octets: usize,
}

/// One of [`FlagSets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagSet(NonZeroU32);

impl FlagSets {
    /// The set of these flags, whatever their order; `None` where a peer made up more sets than memory should hold.
    pub fn add(&mut self, flags: &[Flag]) -> Option<FlagSet> {
        let mut flags = flags.to_vec();
        flags.sort_by_cached_key(|flag| flag.wire().to_ascii_lowercase());
        flags.dedup();
        // No flag holds a blank.
        let name = flags.iter().map(|flag| flag.wire().to_ascii_lowercase()).collect::<Vec<_>>().join(" ");
        if let Some(set) = self.known.get(&name) {
            return Some(*set);
        }
        self.octets += 2 * name.len() + 128;
        let set = FlagSet(NonZeroU32::new(u32::try_from(self.sets.len() + 1).ok()?)?);
        if self.octets > SET_OCTETS {
            return None;
        }
        self.sets.push(flags);
        self.known.insert(name, set);
        Some(set)
    }

    /// Its flags, sorted by name.
    pub fn get(&self, set: FlagSet) -> &[Flag] {
        usize::try_from(set.0.get() - 1).ok().and_then(|at| self.sets.get(at)).map_or(&[], Vec::as_slice)
    }
}

/// When a mailbox got a message (INTERNALDATE): an instant and the zone it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InternalDate {
    /// Seconds since 1970 UTC.
    pub seconds: i64,
    /// Offset of the zone it was written in, in seconds east of UTC.
    pub offset: i32,
}

impl InternalDate {
    /// RFC 3339, in the zone it was written in; `None` for years RFC 3339 cannot write.
    pub fn rfc3339(self) -> Option<String> {
        let offset = jiff::tz::Offset::from_seconds(self.offset).ok()?;
        let instant = jiff::Timestamp::from_second(self.seconds).ok()?;
        let date = jiff::ZonedDateTime::new(instant, offset.to_time_zone());
        (0..=9999).contains(&date.year()).then(|| date.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }
}

/// A message on its way from a source to a sink.
pub struct Message {
    /// The bytes as the source gave them.
    pub body: Body,
    /// Their digests.
    pub digests: Digests,
    /// The source's INTERNALDATE, where it has one.
    pub internal_date: Option<InternalDate>,
    /// The source's flags; empty for POP3.
    pub flags: Vec<Flag>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8]) -> Digest {
        Body::from(bytes.to_vec()).digests().unwrap().content
    }

    #[test]
    fn the_content_digest_is_blind_to_line_ends_nul_and_trailing_empty_lines() {
        let plain = Digest::of(b"A: b\r\n\r\nx\x80y\r\nz");
        for same in [&b"A: b\r\n\r\nx\x80y\r\nz"[..], b"A: b\n\nx\0y\nz\n", b"A: b\r\n\nx\x80y\nz\r\n\r\n\n", b"A: b\r\n\r\nx\0y\r\nz\r\n"]
        {
            assert_eq!(content(same), plain, "{same:?}");
        }
        for same in [&b"A: b\r\n\r\nx\x80y\r\r\nz"[..], b"A: b\r\n\r\nx\x80y\r\nz\r", b"A: b\r\n\r\nx\x80y\r\nz\r\r\n\r"] {
            assert_eq!(content(same), plain, "{same:?}");
        }
        for other in [&b"A: b\r\n\r\nx\x80y\rz"[..], b"A: b\r\nx\x80y\r\nz", b"A: b\r\n\r\n\rx\x80y\r\nz"] {
            assert_ne!(content(other), plain, "{other:?}");
        }
    }

    #[test]
    fn digests_computed_as_one_are_those_computed_apart() {
        for number in 0..4_usize.pow(7) {
            let bytes: Vec<u8> = (0..7).map(|digit| b"a\r\n\0"[number / 4_usize.pow(digit) % 4]).collect();
            for (cut, other) in [(0, 0), (1, 3), (2, 5), (3, 4), (4, 7), (5, 6)] {
                let mut digester = Digester::default();
                for piece in [&bytes[..cut], &bytes[cut..other], &bytes[other..]] {
                    digester.update(piece);
                }
                let mut apart = ContentDigester::default();
                apart.update(&bytes);
                let expected = Digests { exact: Digest::of(&bytes), content: apart.finish() };
                assert_eq!(digester.finish(), expected, "{bytes:?} cut at {cut} and {other}");
            }
        }
    }

    #[test]
    fn digests_do_not_depend_on_how_the_bytes_are_cut() {
        let bytes = b"a\r\r\n\0\r\n\n\rb\r\n\r\0\n.\r";
        let whole = Body::from(bytes.to_vec()).digests().unwrap();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut digester = Digester::default();
                digester.update(&bytes[..first]);
                digester.update(&bytes[first..second]);
                digester.update(&bytes[second..]);
                assert_eq!(digester.finish(), whole);
            }
        }
    }

    #[test]
    fn a_large_body_spills_and_reads_back_whole() {
        let mut body = Body::new();
        let piece = vec![b'x'; 1024 * 1024];
        for _ in 0..10 {
            body.push(&piece).unwrap();
        }
        assert_eq!(body.len(), 10 * 1024 * 1024);
        assert!(body.in_memory().is_none());
        assert_eq!(body.prefix(3).unwrap(), b"xxx");
        body.push(b"end").unwrap();
        let mut read = Vec::new();
        body.each_chunk(|chunk| {
            read.extend_from_slice(chunk);
            Ok(())
        })
        .unwrap();
        assert_eq!(read.len(), 10 * 1024 * 1024 + 3);
        assert!(read.ends_with(b"xend"));
    }

    #[test]
    fn a_header_digest_survives_what_servers_do_to_headers() {
        let plain = b"From: a\r\nSubject: b\r\n c\r\n\r\nbody";
        let changed = b"Return-Path: <x>\nFrom: a\nStatus: RO\n continued\nnonsense\nSubject: b\n c\n \nX-UID: 7\n\nother body";
        assert_eq!(header_digest(plain), header_digest(changed));
        assert_ne!(header_digest(plain), header_digest(b"From: a\r\nSubject: b\r\n d\r\n\r\n"));
    }

    #[test]
    fn the_split_digests_cover_the_whole_message_between_them() {
        let split = |bytes: &[u8]| Body::from(bytes.to_vec()).split_digests().unwrap();
        assert_eq!(split(b"A: b\r\n\r\nx\r\n"), split(b"Status: O\nA: b\n\nx\n\n"));
        assert_ne!(split(b"A: b\r\n\r\nx\r\n").1, split(b"A: b\r\n\r\ny\r\n").1);
        assert_eq!(header_len(b"A: b\r\r\n\r\r\nx"), Some(10));
    }

    #[test]
    fn equal_sets_of_flags_are_one_and_endless_ones_are_not_kept() {
        let flags = |names: &[&str]| names.iter().map(|name| Flag::new(*name)).collect::<Vec<_>>();
        let mut sets = FlagSets::default();
        let set = sets.add(&flags(&["\\Seen", "Work", "\\SEEN"]));
        assert!(set.is_some() && set == sets.add(&flags(&["work", "\\seen"])));
        assert_eq!(set.map(|set| sets.get(set)), Some(&flags(&["\\Seen", "Work"])[..]));
        let none = sets.add(&[]);
        assert!(none.is_some() && none != set && none.is_some_and(|none| sets.get(none).is_empty()));
        let last = (0..10).map(|number| sets.add(&flags(&[&format!("{number}{}", "x".repeat(1024 * 1024))]))).last();
        assert_eq!((last, sets.add(&[])), (Some(None), none));
    }

    #[test]
    fn internal_dates_show_in_their_own_zone() {
        assert_eq!(InternalDate { seconds: 0, offset: 7200 }.rfc3339().unwrap(), "1970-01-01T02:00:00+02:00");
    }
}
