//! The parts of a message and how IMAP numbers them (RFC 9051 section 6.4.5). It cuts at boundaries exactly as servers do and
//! reads what the parts' headers say; bounded in depth and number, and it never looks at what the octets mean.

use std::borrow::Cow;
use std::ops::Range;

use mail_parser::{MessageParser, MimeHeaders};

use super::decode::Encoding;
use super::{FIELD_BYTES, field, fields, guarded, non_empty};
use crate::error::Result;

/// Parts within parts, and parts in all: what is beyond is not taken apart.
const MAX_DEPTH: usize = 100;
const MAX_PARTS: usize = 10_000;
/// A file name is kept up to this many bytes.
const NAME_BYTES: usize = 4096;

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Octets.
    Content,
    /// Parts.
    Parts,
    /// A message.
    Message,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number; `None` for the multipart that is all of a message's body, which IMAP gives none.
    pub number: Option<String>,
    /// `type/subtype`, lower case.
    pub content_type: String,
    /// The charset as declared.
    pub charset: Option<String>,
    /// `inline`, `attachment` or another disposition, lower case.
    pub disposition: Option<String>,
    /// The file name as the sender wrote it, decoded: hostile until proven otherwise.
    pub name: Option<String>,
    /// `Content-ID` without angle brackets.
    pub content_id: Option<String>,
    /// How its octets are encoded.
    pub encoding: Encoding,
    /// What it holds.
    pub holds: Holds,
    /// Those right below it, as places in the list.
    pub children: Vec<usize>,
    body: Range<usize>,
}

impl Part {
    /// Whether it is to be kept as a file rather than read: said to be one, or named, or neither text nor a bundle.
    pub fn is_attachment(&self) -> bool {
        if self.holds == Holds::Parts {
            return false;
        }
        self.holds == Holds::Message
            || self.disposition.as_deref() == Some("attachment")
            || self.name.is_some()
            || !(self.content_type.starts_with("text/") || self.content_type.starts_with("multipart/"))
    }
}

/// The parts of one message, a part before those it holds.
#[derive(Debug)]
pub struct Parts<'a> {
    message: &'a [u8],
    list: Vec<Part>,
    whole: bool,
}

impl<'a> Parts<'a> {
    /// Takes a message apart. Never fails: what is damaged is one part more or less.
    pub fn of(message: &'a [u8]) -> Self {
        let mut walk = Walk { bytes: message, open: Vec::new(), list: Vec::new(), whole: true };
        // An mbox separator that a store left at the top is no field; the header's reader skips it.
        walk.entity(0, &Numbering::Body(String::new()), false, 0);
        Self { message, list: walk.list, whole: walk.whole }
    }

    /// All of them, a part before those it holds.
    pub fn list(&self) -> &[Part] {
        &self.list
    }

    /// Whether everything was taken apart: false where a message has more parts, or deeper ones, than anybody reads.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The part of that number.
    pub fn numbered(&self, number: &str) -> Option<&Part> {
        self.list.iter().find(|part| part.number.as_deref() == Some(number))
    }

    /// The octets of a part as they stand in the message (IMAP's `BODY[number]`).
    pub fn raw(&self, part: &Part) -> &'a [u8] {
        self.message.get(part.body.clone()).unwrap_or_default()
    }

    /// Hands over the octets a part stands for, decoded; those of a part that holds parts or a message as they are.
    ///
    /// # Errors
    /// What `each` returned.
    pub fn decoded(&self, part: &Part, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let encoding = if part.holds == Holds::Content { part.encoding } else { Encoding::Identity };
        encoding.decode(self.raw(part), each)
    }

    /// How many octets [`Self::decoded`] hands over.
    pub fn size(&self, part: &Part) -> u64 {
        let mut size = 0;
        let _ = self.decoded(part, &mut |piece| {
            size += piece.len() as u64;
            Ok(())
        });
        size
    }

    /// The attachments that `wanted` says yes to, each once: an attached message is one of them or, where it is not
    /// wanted, is looked into.
    pub fn attachments(&self, wanted: &dyn Fn(&Part) -> bool) -> Vec<&Part> {
        let mut found = Vec::new();
        let mut inside = 0;
        for (place, part) in self.list.iter().enumerate() {
            // Parts of a message follow it without a gap.
            if place < inside || !part.is_attachment() || !wanted(part) {
                continue;
            }
            if part.holds == Holds::Message {
                inside = self.behind(place);
            }
            found.push(part);
        }
        found
    }

    /// The place behind the last part below the one at `place`.
    fn behind(&self, mut place: usize) -> usize {
        while let Some(&last) = self.list.get(place).and_then(|part| part.children.last()) {
            place = last;
        }
        place + 1
    }
}

/// How the body of an entity is numbered.
enum Numbering {
    /// It is the body of the message with this number: `1` below it, or nothing where it is a multipart.
    Body(String),
    /// It has this number.
    Own(String),
}

fn below(number: &str, index: usize) -> String {
    if number.is_empty() { index.to_string() } else { format!("{number}.{index}") }
}

/// Where a body ended.
#[derive(Clone, Copy)]
struct Stop {
    /// The end of the body: the line end before a boundary belongs to that.
    end: usize,
    /// Behind the boundary's line.
    next: usize,
    /// Whose boundary it was, counted from the outermost; `None` at the end of the message.
    level: Option<usize>,
    /// Whether it was the last of its level.
    closing: bool,
}

struct Walk<'a> {
    bytes: &'a [u8],
    open: Vec<Vec<u8>>,
    list: Vec<Part>,
    whole: bool,
}

impl Walk<'_> {
    fn entity(&mut self, start: usize, numbering: &Numbering, digest: bool, depth: usize) -> Stop {
        let (body, early) = self.header(start);
        let head = Head::of(self.bytes.get(start..body).unwrap_or_default(), digest);
        let place = self.list.len();
        let is_message = matches!(head.content_type.as_str(), "message/rfc822" | "message/global") && head.encoding == Encoding::Identity;
        let boundary = head.boundary.filter(|_| head.content_type.starts_with("multipart/"));
        let splits = early.is_none() && (is_message || boundary.is_some());
        let too_much = splits && (depth >= MAX_DEPTH || self.list.len() >= MAX_PARTS - 1);
        if too_much {
            self.whole = false;
        }
        let (own, prefix) = match numbering {
            Numbering::Body(message) => (below(message, 1), message.clone()),
            Numbering::Own(number) => (number.clone(), number.clone()),
        };
        self.list.push(Part {
            number: Some(own.clone()),
            content_type: head.content_type,
            charset: head.charset,
            disposition: head.disposition,
            name: head.name,
            content_id: head.content_id,
            encoding: head.encoding,
            holds: Holds::Content,
            children: Vec::new(),
            body: body..body,
        });
        let mut children = Vec::new();
        let mut holds = Holds::Content;
        let stop = match (early, boundary) {
            (Some(stop), _) => stop,
            (None, Some(boundary)) if !too_much => {
                let digest = self.list.get(place).is_some_and(|part| part.content_type == "multipart/digest");
                let stop = self.multipart(body, boundary, &prefix, digest, depth, &mut children);
                if !children.is_empty() {
                    holds = Holds::Parts;
                }
                stop
            }
            (None, None) if is_message && !too_much => {
                holds = Holds::Message;
                children.push(self.list.len());
                self.entity(body, &Numbering::Body(own), false, depth + 1)
            }
            _ => self.scan(body),
        };
        if let Some(part) = self.list.get_mut(place) {
            if holds == Holds::Parts && matches!(numbering, Numbering::Body(_)) {
                part.number = None;
            }
            part.holds = holds;
            part.children = children;
            part.body = body..stop.end.max(body);
        }
        stop
    }

    fn multipart(&mut self, body: usize, boundary: Vec<u8>, prefix: &str, digest: bool, depth: usize, children: &mut Vec<usize>) -> Stop {
        let level = self.open.len();
        self.open.push(boundary);
        let mut stop = self.scan(body);
        while stop.level == Some(level) && !stop.closing {
            if self.list.len() >= MAX_PARTS {
                self.whole = false;
                break;
            }
            children.push(self.list.len());
            let number = below(prefix, children.len());
            stop = self.entity(stop.next, &Numbering::Own(number), digest, depth + 1);
        }
        self.open.truncate(level);
        // What follows the last boundary is nobody's part.
        if stop.level == Some(level) { self.scan(stop.next) } else { stop }
    }

    /// Where the body of the entity at `start` begins, or the boundary that came before its header ended.
    fn header(&self, start: usize) -> (usize, Option<Stop>) {
        let mut at = start;
        while let Some(line) = self.line(at) {
            if let Some(stop) = self.boundary(line.clone(), start) {
                return (stop.end, Some(stop));
            }
            at = line.end;
            if self.bytes.get(line).is_some_and(|line| line.iter().all(|byte| matches!(byte, b'\r' | b'\n'))) {
                return (at, None);
            }
        }
        (at, None)
    }

    /// The first boundary of an open level from `from` on.
    fn scan(&self, from: usize) -> Stop {
        let mut at = from;
        while let Some(line) = self.line(at) {
            at = line.end;
            if let Some(stop) = self.boundary(line, from) {
                return stop;
            }
        }
        Stop { end: self.bytes.len(), next: self.bytes.len(), level: None, closing: false }
    }

    /// The line that begins at `at`, with its line end.
    fn line(&self, at: usize) -> Option<Range<usize>> {
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        Some(at..at + memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1))
    }

    /// What the line means as a boundary. RFC 2046 section 5.1.1: the beginning of the line has to be a boundary's, not
    /// all of it; of several the longest is meant, and of equal ones the innermost.
    fn boundary(&self, line: Range<usize>, from: usize) -> Option<Stop> {
        if self.open.is_empty() {
            return None;
        }
        let text = self.bytes.get(line.clone())?.strip_prefix(b"--")?;
        let fits = self.open.iter().enumerate().filter(|(_, boundary)| text.starts_with(boundary));
        let (level, boundary) = fits.max_by_key(|(level, boundary)| (boundary.len(), *level))?;
        let before = self.bytes.get(from..line.start).unwrap_or_default();
        let before = before.strip_suffix(b"\n").map_or(before, |before| before.strip_suffix(b"\r").unwrap_or(before));
        let closing = text.get(boundary.len()..).is_some_and(|rest| rest.starts_with(b"--"));
        Some(Stop { end: from + before.len(), next: line.end, level: Some(level), closing })
    }
}

/// What a part's header says.
struct Head {
    content_type: String,
    charset: Option<String>,
    boundary: Option<Vec<u8>>,
    disposition: Option<String>,
    name: Option<String>,
    content_id: Option<String>,
    encoding: Encoding,
}

impl Head {
    fn of(header: &[u8], digest: bool) -> Self {
        let default = if digest { "message/rfc822" } else { "text/plain" };
        let mut head = Self {
            content_type: default.to_owned(),
            charset: None,
            boundary: None,
            disposition: None,
            name: None,
            content_id: None,
            encoding: Encoding::Identity,
        };
        let (mut typed, mut encoded) = (false, false);
        let mut name = None;
        for (field, value) in fields(header) {
            if !field.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-")) {
                continue;
            }
            let value = value.get(..FIELD_BYTES).unwrap_or(&value);
            if field.eq_ignore_ascii_case(b"content-type") && !typed {
                typed = true;
                let Some(found) = parameters(value) else { continue };
                if found.kind.contains('/') {
                    head.content_type.clone_from(&found.kind);
                }
                head.charset = found.get("charset");
                head.boundary = found.get("boundary").map(|text| text.trim_end().as_bytes().to_vec()).filter(|text| !text.is_empty());
                name = found.get("name");
            } else if field.eq_ignore_ascii_case(b"content-disposition") && head.disposition.is_none() {
                let Some(found) = parameters(value) else { continue };
                head.name = found.get("filename");
                head.disposition = non_empty(&found.kind);
            } else if field.eq_ignore_ascii_case(b"content-transfer-encoding") && !encoded {
                encoded = true;
                head.encoding = Encoding::of(value);
            } else if field.eq_ignore_ascii_case(b"content-id") && head.content_id.is_none() {
                head.content_id = super::message_id(value);
            }
        }
        head.name = head.name.or(name).map(|name| file_name(&name)).and_then(|name| non_empty(&name));
        head
    }
}

/// A structured field: a word (or `type/subtype`), lower case, and its parameters.
struct Parameters {
    kind: String,
    list: Vec<(String, String)>,
}

impl Parameters {
    fn get(&self, name: &str) -> Option<String> {
        let found = self.list.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        // Where a name comes plainly and as RFC 2231 writes it, the plain one is for those who cannot read the other.
        found.map(|(_, value)| value).max_by_key(|value| !value.is_ascii()).and_then(|value| non_empty(value))
    }
}

fn parameters(value: &[u8]) -> Option<Parameters> {
    guarded(|| {
        let raw = field("Content-Type", value);
        let parsed = MessageParser::new().header_content_type("Content-Type").parse_headers(&raw)?;
        let found = parsed.content_type()?;
        let kind = match found.subtype() {
            Some(subtype) => format!("{}/{subtype}", found.ctype()),
            None => found.ctype().to_owned(),
        };
        let list = found.attributes().into_iter().flatten();
        let list = list.map(|one| (one.name.clone().into_owned(), one.value.clone().into_owned())).collect();
        Some(Parameters { kind: kind.trim().to_ascii_lowercase(), list })
    })
}

/// Many programs write encoded words where RFC 2231 wants something else.
fn file_name(name: &str) -> String {
    let decoded = if name.contains("=?") { super::decoded(name.as_bytes()).map(Cow::Owned) } else { None };
    let name = decoded.unwrap_or(Cow::Borrowed(name));
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= NAME_BYTES).last().unwrap_or(0);
    name.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: &[u8]) -> Vec<(String, String, String)> {
        let parts = Parts::of(message);
        let rows = parts.list().iter().map(|part| {
            let mut bytes = Vec::new();
            parts
                .decoded(part, &mut |piece| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            assert_eq!(parts.size(part), bytes.len() as u64);
            let text = if part.children.is_empty() { String::from_utf8_lossy(&bytes).into_owned() } else { "…".to_owned() };
            (part.number.clone().unwrap_or_default(), part.content_type.clone(), text)
        });
        rows.collect()
    }

    fn row(number: &str, content_type: &str, text: &str) -> (String, String, String) {
        (number.to_owned(), content_type.to_owned(), text.to_owned())
    }

    /// The example of RFC 9051 section 6.4.5, with two levels of messages.
    const NESTED: &[u8] = b"Content-Type: multipart/mixed; boundary=a\r\n\r\npreamble\r\n--a\r\n\r\none\r\n--a\r\n\
        Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\ndHdv\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: inner\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nthree one\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\nepilogue\r\n\
        --a\r\nContent-Type: multipart/mixed; boundary=\"c c\"\r\n\r\n--c c\r\nContent-Type: image/gif\r\n\r\ngif\r\n--c c\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nfour two one\r\n--c c--\r\n--a--\r\nepilogue\r\n";

    #[test]
    fn parts_are_numbered_as_imap_numbers_them() {
        assert_eq!(
            shown(NESTED),
            [
                row("", "multipart/mixed", "…"),
                row("1", "text/plain", "one"),
                row("2", "application/octet-stream", "two"),
                row("3", "message/rfc822", "…"),
                row("", "multipart/mixed", "…"),
                row("3.1", "text/plain", "three one"),
                row("3.2", "text/html", "<p>"),
                row("4", "multipart/mixed", "…"),
                row("4.1", "image/gif", "gif"),
                row("4.2", "message/rfc822", "…"),
                row("4.2.1", "text/plain", "four two one"),
            ]
        );
        let parts = Parts::of(NESTED);
        assert!(parts.is_whole());
        assert!(parts.raw(parts.numbered("3").unwrap()).starts_with(b"Subject: inner\r\n"));
        assert_eq!(shown(b"Subject: x\r\n\r\nbody\r\n"), [row("1", "text/plain", "body\r\n")]);
    }

    #[test]
    fn an_attached_message_is_saved_whole_or_looked_into_but_never_both() {
        let parts = Parts::of(NESTED);
        let numbers = |wanted: &dyn Fn(&Part) -> bool| -> Vec<String> {
            parts.attachments(wanted).into_iter().map(|part| part.number.clone().unwrap()).collect()
        };
        assert_eq!(numbers(&|_| true), ["2", "3", "4.1", "4.2"]);
        assert_eq!(numbers(&|part| part.content_type == "image/gif"), ["4.1"]);
    }

    #[test]
    fn damaged_mime_hides_nothing() {
        let headless = b"Content-Type: multipart/mixed; boundary=a\r\n\r\nno boundary here\r\n";
        assert_eq!(shown(headless), [row("1", "multipart/mixed", "no boundary here\r\n")]);
        let unclosed = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a\r\nContent-Type: image/gif\r\n--a\r\n\r\ny";
        assert_eq!(
            shown(unclosed),
            [row("", "multipart/mixed", "…"), row("1", "text/plain", "x"), row("2", "image/gif", ""), row("3", "text/plain", "y")]
        );
        // The inner boundary is a prefix of the outer one, and the outer one ends the inner multipart.
        let prefix = b"Content-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n--ab\n\ny\n--ab--\n";
        assert_eq!(
            shown(prefix),
            [row("", "multipart/mixed", "…"), row("1", "multipart/mixed", "…"), row("1.1", "text/plain", "x"), row("2", "text/plain", "y")]
        );
        let digest = b"Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: x\n\ny\n--a--\n";
        assert_eq!(shown(digest), [row("", "multipart/digest", "…"), row("1", "message/rfc822", "…"), row("1.1", "text/plain", "y")]);
    }

    #[test]
    fn depth_and_number_have_an_end_that_is_told() {
        let mut deep = Vec::new();
        for level in 0..10_000 {
            deep.extend_from_slice(format!("Content-Type: multipart/mixed; boundary=b{level:05}\n\n--b{level:05}\n").as_bytes());
        }
        let parts = Parts::of(&deep);
        assert_eq!((parts.list().len(), parts.is_whole()), (MAX_DEPTH + 1, false));
        let messages = b"Content-Type: message/rfc822\n\n".repeat(10_000);
        assert!(!Parts::of(&messages).is_whole());
        let many = [&b"Content-Type: multipart/mixed; boundary=a\n\n"[..], &b"--a\n\nx\n".repeat(20_000)].concat();
        let parts = Parts::of(&many);
        assert_eq!((parts.list().len(), parts.is_whole()), (MAX_PARTS, false));
    }

    #[test]
    fn file_names_are_decoded_however_they_are_written() {
        for (written, name) in [
            ("Content-Disposition: attachment; filename=\"a b.pdf\"", "a b.pdf"),
            ("Content-Disposition: attachment; filename*=utf-8''%C3%A4.pdf", "ä.pdf"),
            ("Content-Disposition: attachment; filename=\"a.pdf\"; filename*=utf-8''%C3%A4.pdf", "ä.pdf"),
            ("Content-Disposition: attachment; filename*0*=utf-8''%C3%A4; filename*1=\"b.pdf\"", "äb.pdf"),
            ("Content-Disposition: attachment; filename*0=\"../..\"; filename*1=\"/x\"", "../../x"),
            ("Content-Disposition: attachment; filename=\"=?utf-8?q?=C3=A4.pdf?=\"", "ä.pdf"),
            ("Content-Disposition: attachment; filename==?utf-8?b?Li4veA==?=", "../x"),
            ("Content-Type: application/pdf; name=\"=?iso-8859-1?q?=E4.pdf?=\"", "ä.pdf"),
            ("Content-Disposition: attachment\r\nContent-Type: application/pdf;\r\n name=plain.pdf", "plain.pdf"),
            ("Content-Disposition: attachment; filename=plain.pdf", "plain.pdf"),
            ("Content-Disposition: attachment; filename=\"gr\u{fc}n.pdf\"", "grün.pdf"),
        ] {
            let message = format!("{written}\r\n\r\nx");
            let parts = Parts::of(message.as_bytes());
            assert_eq!(parts.list()[0].name.as_deref(), Some(name), "{written}");
            assert!(parts.list()[0].is_attachment());
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_and_parts_stay_inside_those_that_hold_them(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                "Content-Type: multipart/mixed; boundary=a\n", "Content-Type: multipart/alternative; boundary=\"ab\"\r\n", "\r\n", "\n", "--a\n",
                "--ab\r\n", "--a--\n", "--ab--\n", "Content-Type: message/rfc822\n", "Content-Disposition: attachment; filename*0=\"x\n", "text\n",
                "--", "\r", "Content-Transfer-Encoding: base64\n", "Content-Type: multipart/digest; boundary=a\n",
            ]), 0..40)
        ) {
            let message = pieces.concat();
            let parts = Parts::of(message.as_bytes());
            let mut numbers = std::collections::HashSet::new();
            for part in parts.list() {
                for child in &part.children {
                    let child = &parts.list()[*child];
                    proptest::prop_assert!(child.body.start >= part.body.start && child.body.end <= part.body.end);
                }
                if let Some(number) = &part.number {
                    proptest::prop_assert!(numbers.insert(number.clone()), "{} twice", number);
                }
                parts.size(part);
            }
            proptest::prop_assert!(parts.attachments(&|_| true).len() <= parts.list().len());
        }
    }
}
