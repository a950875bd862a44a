//! The mbox format as bytes: envelope lines, quoting, and where one message ends and the next begins. It reads anything that
//! can be read at an offset, in pieces of bounded size, and must never know a path, a folder or a lock.
//!
//! What is written is mboxrd: every line that matches `^>*From ` gets one more `>`, and a blank line follows each message.
//! Reading gives back the bytes that were written because of these rules (`docs/formats.md`, mbox):
//! - a message whose line ends are all CRLF is written with LF, and a stored message without any CR is read with CRLF;
//! - whatever that would change is told by a note at the end of the envelope line, in the old UUCP form that every reader
//!   passes over: ` remote from mailhaul.lf.open`.

mod envelope;
mod quote;

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::message::{Body, Flag, InternalDate};
use envelope::Notes;
use quote::{FROM, Quoter};

/// What is read at once.
const PIECE: usize = 128 * 1024;
/// An envelope line is looked at up to this many bytes.
const ENVELOPE_BYTES: usize = 1000;
/// A stored header is looked at up to this many bytes for Content-Length and flags.
const HEADER_BYTES: usize = 256 * 1024;
/// A message is looked at up to this many bytes for a Content-Length of its own: more than any reader here looks at.
const OWN_LENGTH_BYTES: usize = 4 * HEADER_BYTES;

/// Bytes that can be read anywhere.
pub(in crate::store) trait Bytes {
    /// Fills `buffer` from `offset` on; less only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize>;
}

impl Bytes for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Bytes for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = self.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

/// Writes one message as mboxrd: its envelope line, its quoted lines, a blank line. `date` must have a year of four digits
/// (`false` when it has not: then 1970 is written). `key` is what a store knows the message by: a word that begins with `V` or `P`.
pub(in crate::store) fn write(
    body: &Body,
    from: &str,
    date: InternalDate,
    key: Option<&str>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<bool> {
    let traits = Traits::of(body)?;
    let crlf = traits.all_crlf();
    let has_cr = traits.cr && !crlf;
    let notes = Notes { lf: traits.bare_lf && !has_cr, open: !traits.ended, rd: names_length(body)? };
    let (stamp, dated) = match envelope::asctime(date) {
        Some(stamp) => (stamp, true),
        None => ("Thu Jan  1 00:00:00 1970".to_owned(), false),
    };
    each(format!("From {} {stamp}{}\n", envelope::sender(from), notes.text(key)).as_bytes())?;
    let mut quoter = Quoter::new(true);
    let mut out = Vec::with_capacity(PIECE + PIECE / 8);
    body.each_chunk(|chunk| {
        for piece in chunk.chunks(PIECE) {
            out.clear();
            if crlf {
                // Every CR stands before an LF here.
                piece.split(|&byte| byte == b'\r').for_each(|part| quoter.push(part, &mut out));
            } else {
                quoter.push(piece, &mut out);
            }
            each(&out)?;
        }
        Ok(())
    })?;
    out.clear();
    quoter.end(&mut out);
    each(&out)?;
    each(if traits.ended { b"\n" } else { b"\n\n" })?;
    Ok(dated)
}

/// What decides how a message is written.
#[derive(Default)]
pub(in crate::store) struct Traits {
    crlf: u64,
    bare_lf: bool,
    cr: bool,
    /// An LF without CR, or a CR without LF.
    other: bool,
    /// Its last byte is LF.
    ended: bool,
}

impl Traits {
    /// Whether all its line ends are CRLF (one at least), so that LF can stand for them.
    pub(in crate::store) fn all_crlf(&self) -> bool {
        self.crlf > 0 && !self.other
    }

    pub(in crate::store) fn of(body: &Body) -> Result<Self> {
        let mut traits = Self::default();
        let mut last = 0;
        body.each_chunk(|chunk| {
            for at in memchr::memchr2_iter(b'\r', b'\n', chunk) {
                let before = if at == 0 { last } else { chunk.get(at - 1).copied().unwrap_or(0) };
                if chunk.get(at) == Some(&b'\r') {
                    traits.cr = true;
                    // It is right only when the next byte is LF, which is looked at from there.
                    traits.other |= before == b'\r';
                    let next = chunk.get(at + 1);
                    traits.other |= next.is_some_and(|&next| next != b'\n');
                } else if before == b'\r' {
                    traits.crlf += 1;
                } else {
                    traits.bare_lf = true;
                    traits.other = true;
                }
            }
            // A CR at the end of a piece must go on with LF in the next.
            if last == b'\r' && chunk.first().is_some_and(|&first| first != b'\n') {
                traits.other = true;
            }
            last = chunk.last().copied().unwrap_or(last);
            Ok(())
        })?;
        traits.other |= last == b'\r';
        traits.ended = last == b'\n' && !body.is_empty();
        Ok(traits)
    }
}

/// Whether readers might take a field of the message for its length in the file.
fn names_length(body: &Body) -> Result<bool> {
    let head = body.prefix(OWN_LENGTH_BYTES)?;
    let named = |at: usize| {
        let rest = head.get(at..).unwrap_or_default();
        rest.get(..LENGTH_FIELD.len()).is_some_and(|name| name.eq_ignore_ascii_case(LENGTH_FIELD))
    };
    Ok(named(0) || memchr::memchr2_iter(b'\n', b'\r', &head).any(|at| named(at + 1)))
}

const LENGTH_FIELD: &[u8] = b"content-length";
/// Where one message lies in a file, and how its bytes come back from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Stored {
    /// Where its envelope line begins.
    pub(in crate::store) at: u64,
    /// First byte behind the envelope line.
    pub(in crate::store) start: u64,
    /// Behind its last byte.
    pub(in crate::store) end: u64,
    /// The date of the envelope line.
    pub(in crate::store) date: Option<InternalDate>,
    /// Nothing is quoted (mboxcl2).
    verbatim: bool,
    /// LF stands for CRLF.
    crlf: bool,
}

/// Finds the messages of a file one after the other.
pub(in crate::store) struct Scanner<'a, B: Bytes + ?Sized> {
    bytes: &'a B,
    len: u64,
    /// Where the next envelope line begins, if there is one.
    next: Option<u64>,
    /// The first envelope line has a date, so the others must.
    dated: bool,
    window: Vec<u8>,
}

/// Where the first envelope line begins; `None` where the file is empty (but for line ends).
///
/// # Errors
/// What stands there is no mbox.
fn first_envelope<B: Bytes + ?Sized>(bytes: &B, len: u64) -> Result<Option<u64>> {
    let mut head = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(4096)];
    let count = bytes.read_at(&mut head, 0).map_err(reading)?;
    head.truncate(count);
    let Some(at) = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')) else {
        if len <= 4096 {
            return Ok(None);
        }
        return Err(no_mbox());
    };
    if head.get(at..).is_some_and(|rest| rest.starts_with(FROM)) { Ok(Some(at as u64)) } else { Err(no_mbox()) }
}

fn no_mbox() -> Error {
    Error::local("not an mbox file: its first line does not begin with `From `").scoped(crate::error::Scope::Mailbox)
}

fn reading(error: std::io::Error) -> Error {
    Error::io("the mbox file", error)
}

impl<'a, B: Bytes + ?Sized> Scanner<'a, B> {
    /// Starts at the first message of the first `len` bytes.
    ///
    /// # Errors
    /// What stands there is no mbox, or cannot be read.
    pub(in crate::store) fn new(bytes: &'a B, len: u64) -> Result<Self> {
        let next = first_envelope(bytes, len)?;
        let mut scanner = Self { bytes, len, next, dated: true, window: vec![0; PIECE] };
        if let Some(first) = next {
            scanner.dated = envelope::date(&scanner.envelope(first)?.0).is_some();
        }
        Ok(scanner)
    }

    /// The next message.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(in crate::store) fn message(&mut self) -> Result<Option<Stored>> {
        let Some(at) = self.next else { return Ok(None) };
        let (envelope, start) = self.envelope(at)?;
        let notes = Notes::read(&envelope);
        let by_length = if notes.rd { None } else { self.by_length(start)? };
        let (limit, verbatim) = match by_length {
            Some(end) => {
                let next = self.skip_line_ends(end)?;
                self.next = (next < self.len).then_some(next);
                (end, true)
            }
            None => {
                self.next = self.envelope_after(start)?;
                let limit = self.next.unwrap_or(self.len);
                (self.without_separator(start, limit, notes.open)?, false)
            }
        };
        let crlf = !notes.lf && !self.has_cr(start, limit)?;
        Ok(Some(Stored { at, start, end: limit, date: envelope::date(&envelope), verbatim, crlf }))
    }

    /// Where what was not handed over yet begins.
    pub(in crate::store) fn position(&self) -> u64 {
        self.next.unwrap_or(self.len)
    }

    /// The key in the envelope line of a message.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(in crate::store) fn key(&mut self, stored: &Stored) -> Result<Option<String>> {
        Ok(envelope::key(&self.envelope(stored.at)?.0).map(str::to_owned))
    }

    fn read(&self, at: u64, most: usize) -> Result<Vec<u8>> {
        let most = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; most];
        let count = self.bytes.read_at(&mut bytes, at).map_err(reading)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// The envelope line at `at` as text, cut where it is very long, and where the line behind it begins.
    fn envelope(&mut self, at: u64) -> Result<(String, u64)> {
        let head = self.read(at, ENVELOPE_BYTES)?;
        match memchr::memchr(b'\n', &head) {
            Some(end) => {
                let line = head.get(..end).unwrap_or_default();
                Ok((String::from_utf8_lossy(line).trim_end_matches('\r').to_owned(), at + end as u64 + 1))
            }
            None => Ok((String::from_utf8_lossy(&head).into_owned(), self.find(at, |_, _| true)?.map_or(self.len, |at| at + 1))),
        }
    }

    /// The first LF from `from` on that `wanted` (bytes, index in them) takes.
    fn find(&mut self, from: u64, wanted: impl Fn(&[u8], usize) -> bool) -> Result<Option<u64>> {
        let mut at = from;
        while at < self.len {
            let most = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(self.window.len());
            let piece = self.window.get_mut(..most).unwrap_or_default();
            let count = self.bytes.read_at(piece, at).map_err(reading)?;
            if count < most {
                return Err(shrunk());
            }
            if let Some(found) = memchr::memchr_iter(b'\n', piece).find(|&found| wanted(piece, found)) {
                return Ok(Some(at + found as u64));
            }
            at += count as u64;
        }
        Ok(None)
    }

    /// The next envelope line from `from` (the start of a line) on.
    fn envelope_after(&mut self, from: u64) -> Result<Option<u64>> {
        if self.is_envelope(from, true)? {
            return Ok(Some(from));
        }
        let finder = memchr::memmem::Finder::new(b"\nFrom ");
        let mut at = from;
        while at < self.len {
            let most = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(self.window.len());
            let mut window = std::mem::take(&mut self.window);
            let piece = window.get_mut(..most).unwrap_or_default();
            let count = self.bytes.read_at(piece, at).map_err(reading);
            let found = count.and_then(|count| {
                if count < most {
                    return Err(shrunk());
                }
                for found in finder.find_iter(piece) {
                    let line = at + found as u64 + 1;
                    let before = piece.get(..found).unwrap_or_default();
                    let blank = match found {
                        0 | 1 => self.blank_before(line, from)?,
                        _ => before.ends_with(b"\n") || before.ends_with(b"\n\r"),
                    };
                    if self.is_envelope(line, blank)? {
                        return Ok(Some(line));
                    }
                }
                Ok(None)
            });
            self.window = window;
            if let Some(line) = found? {
                return Ok(Some(line));
            }
            if at + most as u64 >= self.len {
                break;
            }
            // A find may lie across the end of the piece.
            at += (most - b"\nFrom".len().min(most - 1)) as u64;
        }
        Ok(None)
    }

    fn blank_before(&self, line: u64, from: u64) -> Result<bool> {
        let back = line.saturating_sub(3).max(from.saturating_sub(1));
        let before = self.read(back, usize::try_from(line - back).unwrap_or(0))?;
        Ok(before.ends_with(b"\n\n") || before.ends_with(b"\n\r\n"))
    }

    fn is_envelope(&mut self, at: u64, blank_before: bool) -> Result<bool> {
        if at >= self.len {
            return Ok(false);
        }
        let line = self.read(at, ENVELOPE_BYTES)?;
        if !line.starts_with(FROM) {
            return Ok(false);
        }
        if !self.dated {
            return Ok(blank_before);
        }
        let line = line.get(..memchr::memchr(b'\n', &line).unwrap_or(line.len())).unwrap_or_default();
        Ok(envelope::date(&String::from_utf8_lossy(line)).is_some())
    }

    /// Where the message that begins at `start` ends by its Content-Length: only where that is just before an envelope line
    /// or the end, with nothing but a blank line between.
    fn by_length(&mut self, start: u64) -> Result<Option<u64>> {
        let head = self.read(start, HEADER_BYTES)?;
        let Some(header_len) = crate::message::header_len(&head) else { return Ok(None) };
        let Some(length) =
            field(head.get(..header_len).unwrap_or_default(), LENGTH_FIELD).and_then(|value| value.trim().parse::<u64>().ok())
        else {
            return Ok(None);
        };
        let Some(end) = start.checked_add(header_len as u64).and_then(|body| body.checked_add(length)).filter(|end| *end <= self.len)
        else {
            return Ok(None);
        };
        // It must end a line, or the file.
        let at_line = end == self.len || self.read(end - 1, 1)? == b"\n";
        let next = self.skip_line_ends(end)?;
        let fits = (at_line || next > end) && next - end <= 2 && (next == self.len || self.is_envelope(next, true)?);
        Ok(fits.then_some(end))
    }

    fn skip_line_ends(&self, at: u64) -> Result<u64> {
        let behind = self.read(at, 4)?;
        Ok(at + behind.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count() as u64)
    }

    /// The end of a message in front of `limit`, where the next envelope line or the end is: without the blank line
    /// between, and without the line end before it when that is not the message's own.
    fn without_separator(&self, start: u64, limit: u64, open: bool) -> Result<u64> {
        let back = limit.saturating_sub(3).max(start);
        let tail = self.read(back, usize::try_from(limit - back).unwrap_or(0))?;
        let whole = back == start;
        let end = if tail.ends_with(b"\n\n") || (whole && tail == b"\n") {
            limit - 1
        } else if tail.ends_with(b"\n\r\n") || (whole && tail == b"\r\n") {
            limit - 2
        } else {
            limit
        };
        let line_end = open && end > start && self.read(end - 1, 1)? == b"\n";
        Ok(if line_end { end - 1 } else { end })
    }

    fn has_cr(&self, start: u64, end: u64) -> Result<bool> {
        let mut found = false;
        pieces(self.bytes, start, end, &mut |piece| {
            found = memchr::memchr(b'\r', piece).is_some();
            Ok(!found)
        })?;
        Ok(found)
    }
}

pub(in crate::store) fn shrunk() -> Error {
    Error::local("the mbox file became shorter while it was read").scoped(crate::error::Scope::Mailbox)
}

/// Hands over the bytes from `start` to `end` until `each` says that it has seen enough.
fn pieces<B: Bytes + ?Sized>(bytes: &B, start: u64, end: u64, each: &mut dyn FnMut(&[u8]) -> Result<bool>) -> Result<()> {
    let mut at = start;
    let mut buffer = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(PIECE).min(PIECE)];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..most).unwrap_or_default();
        let count = bytes.read_at(piece, at).map_err(reading)?;
        if count < most {
            return Err(shrunk());
        }
        if !each(piece)? {
            return Ok(());
        }
        at += count as u64;
    }
    Ok(())
}

/// Hands over a message's own bytes in pieces.
///
/// # Errors
/// The file cannot be read, became shorter, or what `each` returned.
pub(in crate::store) fn read<B: Bytes + ?Sized>(bytes: &B, stored: &Stored, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut quoter = Quoter::new(false);
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    pieces(bytes, stored.start, stored.end, &mut |piece| {
        plain.clear();
        let text = if stored.verbatim {
            piece
        } else {
            quoter.push(piece, &mut plain);
            &plain
        };
        each(wire(text, stored.crlf, &mut out)).map(|()| true)
    })?;
    plain.clear();
    quoter.end(&mut plain);
    if stored.verbatim || plain.is_empty() { Ok(()) } else { each(&plain) }
}

/// `text` as it goes over the wire: with `crlf`, LF becomes CRLF, in `out`.
pub(in crate::store) fn wire<'b>(text: &'b [u8], crlf: bool, out: &'b mut Vec<u8>) -> &'b [u8] {
    if !crlf {
        return text;
    }
    out.clear();
    out.reserve(text.len() + text.len() / 16);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// The value of a field of a header, on one line.
fn field(header: &[u8], wanted: &[u8]) -> Option<String> {
    header.split(|&byte| byte == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let name = line.get(..colon)?.trim_ascii_end();
        let value = line.get(colon + 1..)?;
        name.eq_ignore_ascii_case(wanted).then(|| String::from_utf8_lossy(value).trim().to_owned())
    })
}

/// The flags that mail programs keep in the header of a message in an mbox (`Status`, `X-Status`, `X-Keywords`). Deleted is
/// not among them: mail may come with such fields, and what it says of itself must never lead to its removal.
pub(in crate::store) fn flags(message: &Body) -> Result<Vec<Flag>> {
    let head = message.prefix(HEADER_BYTES)?;
    let header = head.get(..crate::message::header_len(&head).unwrap_or(head.len())).unwrap_or_default();
    let mut flags = Vec::new();
    for (name, letter, flag) in
        [("Status", 'R', "\\Seen"), ("X-Status", 'A', "\\Answered"), ("X-Status", 'F', "\\Flagged"), ("X-Status", 'T', "\\Draft")]
    {
        if field(header, name.as_bytes()).is_some_and(|value| value.len() <= 16 && value.contains(letter)) {
            flags.push(Flag::new(flag));
        }
    }
    let keywords = field(header, b"X-Keywords").unwrap_or_default();
    let plain = |word: &&str| word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"$_-.".contains(&byte));
    for word in keywords.split_ascii_whitespace().filter(plain).take(64) {
        let keyword = Flag::new(word);
        if !flags.contains(&keyword) {
            flags.push(keyword);
        }
    }
    Ok(flags)
}

/// What must stand between the last bytes of a file and an envelope line.
pub(in crate::store) fn gap(len: u64, tail: &[u8]) -> &'static [u8] {
    if len == 0 || tail.ends_with(b"\n\n") || tail.ends_with(b"\n\r\n") {
        b""
    } else if tail.ends_with(b"\n") {
        b"\n"
    } else {
        b"\n\n"
    }
}

#[cfg(test)]
mod tests;
