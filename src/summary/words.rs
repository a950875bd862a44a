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
pub fn body_texts(message: &[u8]) -> Vec<String> {
    let found = guarded(|| {
        let parsed = MessageParser::default().parse(message)?;
        let mut texts = Vec::new();
        let mut left = MAX_TEXT;
        gather(&parsed, &mut texts, &mut left, 0);
        Some(texts)
    });
    found.unwrap_or_else(|| {
        let body = crate::message::header_len(message).and_then(|end| message.get(end..)).unwrap_or_default();
        vec![String::from_utf8_lossy(body.get(..MAX_TEXT).unwrap_or(body)).into_owned()]
    })
}

fn gather(message: &Message<'_>, texts: &mut Vec<String>, left: &mut usize, depth: usize) {
    for part in &message.parts {
        match &part.body {
            PartType::Text(text) | PartType::Html(text) => {
                if text.len() <= *left {
                    *left -= text.len();
                    texts.push(text.clone().into_owned());
                }
            }
            PartType::Message(inner) if depth < MAX_DEPTH => {
                for line in header_texts(inner.raw_message.as_ref().get(inner_start(inner)..).unwrap_or_default()) {
                    if line.len() <= *left {
                        *left -= line.len();
                        texts.push(line);
                    }
                }
                gather(inner, texts, left, depth + 1);
            }
            _ => {}
        }
    }
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
        let text = body_texts(message).join("\n");
        assert!(text.contains("Gr\u{fc}\u{df}e") && text.contains("Subject: inner") && text.contains("deep"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_whatever_the_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            field_texts(&bytes, "x");
            header_texts(&bytes);
            body_texts(&bytes);
            body_texts(&[b"Content-Type: multipart/x; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n", bytes.as_slice()].concat());
        }
    }
}
