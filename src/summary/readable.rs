//! The text of a message that a person reads: plain text where there is some, else HTML made plain; attachments left
//! aside. It gives characters as they are and never makes them harmless: that is the output's duty.

use super::decode::{Encoding, text};
use super::html::text_of;
use super::parts::{Holds, Part, Parts};

/// Text is read up to this many octets of a message.
const TEXT_OCTETS: usize = 4 * 1024 * 1024;
/// HTML declares its charset at the latest here.
const META_OCTETS: usize = 1024;

/// What there is to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readable {
    /// The text; lines end in LF, and so does the last unless it is empty.
    pub text: String,
    /// Whether there is more than is read.
    pub cut: bool,
}

impl Readable {
    /// The text of a message. Never fails.
    pub fn of(parts: &Parts<'_>) -> Self {
        let mut reader = Reader { parts, left: TEXT_OCTETS, cut: false };
        let mut texts = Vec::new();
        reader.read(0, &mut texts);
        if texts.is_empty()
            && let Some(first) = parts.list().first()
            && first.holds == Holds::Message
        {
            first.children.iter().for_each(|child| reader.read(*child, &mut texts));
        }
        // A single text can be large; it is not copied.
        let text = if texts.len() > 1 { texts.join("\n") } else { texts.pop().unwrap_or_default() };
        Self { text, cut: reader.cut }
    }
}

struct Reader<'a> {
    parts: &'a Parts<'a>,
    left: usize,
    cut: bool,
}

impl Reader<'_> {
    /// Adds the texts of the part at `place`, none of which is blank.
    fn read(&mut self, place: usize, texts: &mut Vec<String>) {
        let Some(part) = self.parts.list().get(place) else { return };
        match part.holds {
            Holds::Message => {}
            Holds::Content if place > 0 && is_kept_aside(part) => {}
            Holds::Content => {
                if part.content_type.starts_with("text/") || part.content_type.starts_with("multipart/") {
                    texts.extend(self.content(part).filter(|text| !text.trim().is_empty()));
                }
            }
            Holds::Parts => match part.content_type.as_str() {
                "multipart/alternative" => self.best(part, texts),
                // The rest is what the first shows, or what proves it.
                "multipart/related" | "multipart/signed" | "multipart/appledouble" => {
                    part.children.iter().take(1).for_each(|child| self.read(*child, texts));
                }
                _ => part.children.iter().for_each(|child| self.read(*child, texts)),
            },
        }
    }

    /// Plain text before HTML, whatever holds it; the first that has something to read.
    fn best(&mut self, part: &Part, texts: &mut Vec<String>) {
        let mut plain: Vec<usize> = Vec::new();
        let mut other: Vec<usize> = Vec::new();
        for child in &part.children {
            let is_plain = self.parts.list().get(*child).is_some_and(|part| part.content_type == "text/plain");
            if is_plain { plain.push(*child) } else { other.push(*child) }
        }
        let before = texts.len();
        for child in plain.into_iter().chain(other) {
            self.read(child, texts);
            if texts.len() > before {
                return;
            }
        }
    }

    fn content(&mut self, part: &Part) -> Option<String> {
        let raw = self.parts.raw(part);
        // Encoded octets are never fewer than those they stand for.
        let taken = raw.get(..self.left.saturating_mul(if part.encoding == Encoding::Identity { 1 } else { 3 })).unwrap_or(raw);
        let mut bytes = Vec::with_capacity(taken.len().min(self.left));
        let left = self.left;
        part.encoding
            .decode(taken, &mut |piece| {
                bytes.extend_from_slice(piece.get(..left.saturating_sub(bytes.len()).min(piece.len())).unwrap_or_default());
                Ok(())
            })
            .ok()?;
        self.left -= bytes.len().min(self.left);
        self.cut |= self.left == 0 || taken.len() < raw.len();
        let html = part.content_type == "text/html";
        let meta = if html && part.charset.is_none() { meta_charset(&bytes) } else { None };
        let decoded = text(bytes, part.charset.as_deref().or(meta.as_deref()));
        let mut readable = if html { text_of(&decoded) } else { lines(&decoded) };
        if !readable.is_empty() && !readable.ends_with('\n') {
            readable.push('\n');
        }
        Some(readable)
    }
}

/// Text that was sent as a file is no part of the letter; inline text is, named or not.
fn is_kept_aside(part: &Part) -> bool {
    part.disposition.as_deref() == Some("attachment") || (part.name.is_some() && part.disposition.as_deref() != Some("inline"))
}

/// Whatever the line ends were, they are LF.
fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while let Some(at) = rest.find('\r') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        out.push('\n');
        let after = from.trim_start_matches('\r');
        rest = after.strip_prefix('\n').unwrap_or(after);
    }
    out.push_str(rest);
    out
}

/// `charset=` as a page itself says it.
fn meta_charset(bytes: &[u8]) -> Option<String> {
    let head = bytes.get(..META_OCTETS.min(bytes.len()))?.to_ascii_lowercase();
    let at = memchr::memmem::find(&head, b"charset=")? + "charset=".len();
    let value = head.get(at..)?.iter().copied().skip_while(|byte| matches!(byte, b'"' | b'\'' | b' '));
    let name: Vec<u8> = value.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).collect();
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> String {
        Readable::of(&Parts::of(message.as_bytes())).text
    }

    #[test]
    fn plain_text_is_preferred_wherever_it_stands() {
        let message = "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: multipart/alternative; boundary=a\n\n\
            --a\nContent-Type: text/html\n\n<p>html\n--a\nContent-Type: text/plain\n\nplain\n--a--\n--m\n\
            Content-Disposition: attachment; filename=x.txt\n\nnot read\n--m\nContent-Type: text/plain\n\nfooter\n--m--\n";
        assert_eq!(read(message), "plain\n\nfooter\n");
    }

    #[test]
    fn html_is_made_plain_where_nothing_else_is_there() {
        let message = "Content-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\n \n--a\n\
            Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
            <p>gr=C3=BC=C3=9Fe</p>\n--b\nContent-Type: image/png\n\nx\n--b--\n--a--\n";
        assert_eq!(read(message), "grüße\n");
        assert_eq!(read("Content-Type: text/html\n\n<meta charset=utf-8><b>x</b>"), "x\n");
    }

    #[test]
    fn bare_messages_and_forwarded_ones_are_read() {
        assert_eq!(read("Subject: x\r\n\r\na\r\r\nb\rc\r\n"), "a\nb\nc\n");
        assert_eq!(read("Content-Type: message/rfc822\n\nSubject: x\n\ninner\n"), "inner\n");
        assert_eq!(read("Content-Type: multipart/mixed; boundary=x\n\nno parts\n"), "no parts\n");
        assert_eq!(read("Content-Type: application/pdf\n\n%PDF"), "");
        assert_eq!(read(""), "");
    }

    #[test]
    fn more_text_than_anybody_reads_is_cut_and_said_so() {
        let message = format!("Subject: x\n\n{}", "0123456789\n".repeat(1_000_000));
        let text = Readable::of(&Parts::of(message.as_bytes()));
        assert!(text.cut && text.text.len() <= TEXT_OCTETS + 1);
        assert!(!Readable::of(&Parts::of(b"\n\nx")).cut);
    }
}
