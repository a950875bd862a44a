//! Everything a header says beside what [`super::Summary`] shows: every field in order, decoded, and the rarer addresses
//! and references.

use serde::Serialize;

use super::{Address, FIELD_BYTES, addresses, decoded, fields, message_id, non_empty};

/// References are told up to this many.
const REFERENCES: usize = 10_000;

/// A field of the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Header {
    /// Its name as written.
    pub name: String,
    /// Its value, unfolded, encoded words decoded.
    pub value: String,
}

/// What the header says in full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Every field, in order.
    pub headers: Vec<Header>,
    /// `Bcc`.
    pub bcc: Vec<Address>,
    /// `Reply-To`.
    pub reply_to: Vec<Address>,
    /// `Sender`.
    pub sender: Vec<Address>,
    /// `In-Reply-To`: message ids without angle brackets.
    pub in_reply_to: Vec<String>,
    /// `References`: message ids without angle brackets.
    pub references: Vec<String>,
}

impl Details {
    /// Reads the header at the start of `message`. Never fails and never panics.
    pub fn of(message: &[u8]) -> Self {
        let mut details = Self::default();
        for (name, value) in fields(message) {
            let value = value.get(..FIELD_BYTES).unwrap_or(&value);
            let name = String::from_utf8_lossy(name).into_owned();
            match name.to_ascii_lowercase().as_str() {
                "bcc" => addresses(&mut details.bcc, value),
                "reply-to" => addresses(&mut details.reply_to, value),
                "sender" => addresses(&mut details.sender, value),
                "in-reply-to" => ids(&mut details.in_reply_to, value),
                "references" => ids(&mut details.references, value),
                _ => {}
            }
            let encoded = value.windows(2).any(|pair| pair == b"=?");
            let text = if encoded { decoded(value) } else { None };
            let value = text.unwrap_or_else(|| String::from_utf8_lossy(value).into_owned());
            details.headers.push(Header { name, value });
        }
        details
    }
}

fn ids(into: &mut Vec<String>, value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    if text.contains('<') {
        let inner = text.split('<').skip(1).filter_map(|rest| non_empty(rest.split_once('>').map_or(rest, |(inner, _)| inner)));
        into.extend(inner.take(REFERENCES));
    } else {
        into.extend(message_id(value));
    }
    into.truncate(REFERENCES);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_there_in_order_and_decoded() {
        let details = Details::of(
            b"Received: a\r\n b\r\nReceived: c\r\nX-Odd: =?utf-8?q?=C3=A4?=\r\nBcc: x@y.z\r\nReply-To: R <r@y.z>\r\nSender: s@y.z\r\n\
              In-Reply-To: <1@x>\r\nReferences: <0@x>\r\n <1@x>\r\n\r\nbody: x",
        );
        let shown: Vec<_> = details.headers.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
        assert_eq!(shown[..3], [("Received", "a b"), ("Received", "c"), ("X-Odd", "ä")]);
        assert_eq!(shown.len(), 8);
        assert_eq!((details.bcc.len(), details.reply_to.len(), details.sender.len()), (1, 1, 1));
        assert_eq!((details.in_reply_to, details.references), (vec!["1@x".to_owned()], vec!["0@x".to_owned(), "1@x".to_owned()]));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            Details::of(&bytes);
            for name in ["Bcc: ", "References: <", "X: =?"] {
                Details::of(&[name.as_bytes(), &bytes].concat());
            }
        }
    }
}
