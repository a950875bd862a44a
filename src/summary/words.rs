//! The words of a message as a search sees them: header fields and text parts, decoded. Tolerant like the rest of this room;
//! what cannot be decoded is searched as it stands.

use mail_parser::{Message, MessageParser, PartType};

use super::{decoded, fields, guarded};

/// So many nested messages are looked into.
const MAX_DEPTH: usize = 10;
/// Octets of text that are gathered of one message; what stands beyond is not searched.
const MAX_TEXT: usize = 64 * 1024 * 1024;

/// The values of all fields called `name` in the header at the start of `message`, unfolded: as written, and decoded where
/// that says something else.
pub fn field_texts(message: &[u8], name: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for (own, value) in fields(message) {
        if own.eq_ignore_ascii_case(name.as_bytes()) {
            push_both(&mut texts, "", &value);
        }
    }
    texts
}

/// Every field of the header as a line, `Name: value`, as [`field_texts`] gives values.
pub fn header_texts(message: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    for (name, value) in fields(message) {
        push_both(&mut texts, &format!("{}: ", String::from_utf8_lossy(name)), &value);
    }
    texts
}

fn push_both(texts: &mut Vec<String>, before: &str, value: &[u8]) {
    let raw = String::from_utf8_lossy(value).into_owned();
    // Only an encoded word or 8-bit text can mean something else than it says.
    if (raw.contains("=?") || !raw.is_ascii())
        && let Some(decoded) = decoded(value)
        && decoded != raw
    {
        texts.push(format!("{before}{decoded}"));
    }
    texts.push(format!("{before}{raw}"));
}

/// The text parts of a whole message, decoded, HTML as its source; messages inside it come with their header lines.
/// Attachments of other kinds are left out. What no parser understands is one text as it stands.
pub struct Words<'a> {
    whole: &'a [u8],
    parsed: Option<Message<'a>>,
}

impl<'a> Words<'a> {
    /// Reads a message; its texts stay where they are as far as they need no decoding.
    pub fn of(message: &'a [u8]) -> Self {
        Self { whole: message, parsed: guarded(|| MessageParser::default().parse(message)) }
    }

    /// Whether one of the texts holds this one, case aside.
    pub fn hold(&self, text: &str) -> bool {
        let needle = Needle::new(text);
        let mut left = MAX_TEXT;
        match &self.parsed {
            Some(parsed) => any(parsed, &mut |text| needle.is_in(text), &mut left, 0),
            None => {
                let body = crate::message::header_len(self.whole).and_then(|end| self.whole.get(end..)).unwrap_or_default();
                needle.is_in(&String::from_utf8_lossy(body.get(..MAX_TEXT).unwrap_or(body)))
            }
        }
    }
}

/// Text whose case does not count any more, each character by itself.
pub fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).collect()
}

/// A text looked for in others without a copy of them, which may be as large as messages are, in time that grows with their
/// length alone (Knuth, Morris and Pratt).
struct Needle {
    text: Vec<char>,
    /// How long a beginning of the text the beginning up to here ends with.
    borders: Vec<usize>,
}

impl Needle {
    fn new(text: &str) -> Self {
        let mut needle = Self { text: text.chars().flat_map(char::to_lowercase).collect(), borders: vec![0] };
        let mut length = 0;
        for character in needle.text.clone().into_iter().skip(1) {
            length = needle.step(length, character);
            needle.borders.push(length);
        }
        needle
    }

    /// How much of the text is there when this character comes behind so much of it.
    fn step(&self, mut length: usize, character: char) -> usize {
        while length > 0 && self.text.get(length) != Some(&character) {
            length = self.borders.get(length - 1).copied().unwrap_or(0);
        }
        length + usize::from(self.text.get(length) == Some(&character))
    }

    fn is_in(&self, text: &str) -> bool {
        let mut length = 0;
        self.text.is_empty()
            || text.chars().flat_map(char::to_lowercase).any(|character| {
                length = self.step(length, character);
                length == self.text.len()
            })
    }
}

/// Whether `holds` for one of the texts, of which so many octets are `left` to be looked at.
fn any(message: &Message<'_>, holds: &mut dyn FnMut(&str) -> bool, left: &mut usize, depth: usize) -> bool {
    message.parts.iter().any(|part| match &part.body {
        PartType::Text(text) | PartType::Html(text) if text.len() <= *left => {
            *left -= text.len();
            holds(text)
        }
        PartType::Message(inner) if depth < MAX_DEPTH => {
            let header = inner.raw_message.as_ref().get(inner_start(inner)..).unwrap_or_default();
            let in_header = header_texts(header).iter().any(|line| {
                let fits = line.len() <= *left;
                *left -= if fits { line.len() } else { 0 };
                fits && holds(line)
            });
            in_header || any(inner, holds, left, depth + 1)
        }
        _ => false,
    })
}

/// Where a nested message's header begins in the octets it was parsed from.
fn inner_start(inner: &Message<'_>) -> usize {
    inner.parts.first().and_then(|part| usize::try_from(part.offset_header).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_as_written_and_decoded() {
        let message = b"Subject: =?utf-8?q?Gr=C3=BC?=\r\n =?utf-8?q?=C3=9Fe?=\r\nX: plain\r\nsubject: two\r\n\r\nSubject: no";
        assert_eq!(field_texts(message, "SUBJECT"), ["Gr\u{fc}\u{df}e", "=?utf-8?q?Gr=C3=BC?= =?utf-8?q?=C3=9Fe?=", "two"]);
        assert_eq!(header_texts(message).last().unwrap(), "subject: two");
        assert!(field_texts(message, "missing").is_empty());
    }

    #[test]
    fn text_parts_are_decoded_and_attachments_left_out() {
        let message = b"Content-Type: multipart/mixed; boundary=x\r\n\r\npreamble\r\n--x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n--x\r\nContent-Type: image/png\r\n\
            Content-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ndeep\r\n--x--\r\n";
        let words = Words::of(message);
        for (text, held) in [
            ("Gr\u{fc}\u{df}e", true),
            ("GR\u{dc}\u{df}E", true),
            ("Subject: inner", true),
            ("deep", true),
            ("hidden", false),
            ("preamble", false),
        ] {
            assert_eq!(words.hold(text), held, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_whatever_the_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            field_texts(&bytes, "x");
            header_texts(&bytes);
            Words::of(&bytes).hold("x");
            Words::of(&[b"Content-Type: multipart/x; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n", bytes.as_slice()].concat()).hold("x");
        }

        #[test]
        fn a_text_is_found_where_it_stands_and_nowhere_else(text in "[abAB\u{c4}\u{e4}\u{130}]{0,30}", needle in "[abAB\u{c4}\u{e4}\u{130}]{0,5}") {
            proptest::prop_assert_eq!(Needle::new(&needle).is_in(&text), folded(&text).contains(&folded(&needle)));
        }
    }
}
