//! Content transfer encodings and charsets (RFC 2045 section 6), read tolerantly: what is damaged costs the damaged octets
//! and nothing else. It hands octets on in pieces, so that a large attachment needs no second copy.

use mail_parser::decoders::charsets::map::charset_decoder;

use super::guarded;
use crate::error::Result;

/// So many decoded octets are handed over at once.
const PIECE: usize = 64 * 1024;

/// How a body is encoded for its journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is: 7bit, 8bit, binary, and whatever nobody knows.
    Identity,
    /// Base64.
    Base64,
    /// Quoted-printable.
    QuotedPrintable,
}

impl Encoding {
    /// From the value of `Content-Transfer-Encoding`.
    pub(super) fn of(value: &[u8]) -> Self {
        let word = value.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b';' | b'(')).find(|word| !word.is_empty());
        match word.unwrap_or_default() {
            word if word.eq_ignore_ascii_case(b"base64") => Self::Base64,
            word if word.eq_ignore_ascii_case(b"quoted-printable") => Self::QuotedPrintable,
            _ => Self::Identity,
        }
    }

    /// Its name in `Content-Transfer-Encoding`, `None` for identity.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Base64 => Some("base64"),
            Self::QuotedPrintable => Some("quoted-printable"),
        }
    }

    /// Hands over what `bytes` stand for, in pieces.
    ///
    /// # Errors
    /// What `each` returned.
    pub fn decode(self, bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Identity => bytes.chunks(PIECE).try_for_each(each),
            Self::Base64 => base64(bytes, each),
            Self::QuotedPrintable => quoted_printable(bytes, each),
        }
    }
}

/// Whatever is not of the alphabet is skipped; padding ends a group, and another may follow (parts that somebody glued).
fn base64(bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut out = Vec::with_capacity(PIECE.min(bytes.len()) + 3);
    let (mut group, mut digits) = (0_u32, 0_u32);
    let end_group = |out: &mut Vec<u8>, group: u32, digits: u32| {
        let [_, first, second, third] = (group << (6 * (4 - digits))).to_be_bytes();
        out.extend([first, second, third].into_iter().take((digits as usize * 6) / 8));
    };
    for &byte in bytes {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                end_group(&mut out, group, digits);
                (group, digits) = (0, 0);
                continue;
            }
            _ => continue,
        };
        group = group << 6 | u32::from(value);
        digits += 1;
        if digits == 4 {
            end_group(&mut out, group, digits);
            (group, digits) = (0, 0);
            if out.len() >= PIECE {
                each(&out)?;
                out.clear();
            }
        }
    }
    end_group(&mut out, group, digits);
    if out.is_empty() { Ok(()) } else { each(&out) }
}

/// An equals sign that begins no escape stands for itself; blanks before a line end were added on the way (RFC 2045
/// section 6.7 rule 3).
fn quoted_printable(bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut out = Vec::with_capacity(PIECE.min(bytes.len()) + 80);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => match text.strip_suffix(b"\r") {
                Some(text) => (text, &b"\r\n"[..]),
                None => (text, &b"\n"[..]),
            },
            None => (line, &b""[..]),
        };
        let mut rest = text.trim_ascii_end();
        let mut soft = false;
        while let Some(at) = memchr::memchr(b'=', rest) {
            let (before, from) = rest.split_at(at);
            out.extend_from_slice(before);
            let hex =
                |index: usize| from.get(index).and_then(|&byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
            rest = match (hex(1), hex(2)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    from.get(3..).unwrap_or_default()
                }
                _ if from.len() == 1 => {
                    soft = true;
                    &[]
                }
                _ => {
                    out.push(b'=');
                    from.get(1..).unwrap_or_default()
                }
            };
        }
        out.extend_from_slice(rest);
        if !soft {
            out.extend_from_slice(end);
        }
        if out.len() >= PIECE {
            out.chunks(PIECE).try_for_each(&mut *each)?;
            out.clear();
        }
    }
    out.chunks(PIECE).try_for_each(each)
}

/// Text in the charset that was declared, else in the one it most likely has.
pub(super) fn text(bytes: Vec<u8>, charset: Option<&str>) -> String {
    let name = charset.unwrap_or_default().trim().to_ascii_lowercase();
    let western = matches!(name.as_str(), "iso-8859-1" | "latin1" | "latin-1" | "iso8859-1");
    let guess = matches!(name.as_str(), "" | "us-ascii" | "ascii" | "utf-8" | "utf8" | "unknown-8bit" | "8bit" | "default");
    // What is declared as Latin-1 was written on Windows as often as not, and control characters are in no text.
    let decoder = match name.as_str() {
        _ if guess => None,
        _ if western => charset_decoder(b"windows-1252"),
        name => charset_decoder(name.as_bytes()),
    };
    if let Some(decoder) = decoder
        && let Some(text) = guarded(|| Some(decoder(&bytes)))
    {
        return text;
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if name.starts_with("utf") => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        Err(error) => charset_decoder(b"windows-1252")
            .and_then(|decoder| guarded(|| Some(decoder(error.as_bytes()))))
            .unwrap_or_else(|| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        encoding
            .decode(bytes, &mut |piece| {
                all.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn base64_survives_junk_missing_padding_and_glued_pieces() {
        for text in ["aGVsbG8=", "aGVs\r\nbG8=\r\n", "aGVsbG8", "aG!!Vs-bG8=", "aGU=bGxv"] {
            assert_eq!(decoded(Encoding::Base64, text.as_bytes()), b"hello", "{text}");
        }
        assert_eq!(decoded(Encoding::Base64, b"a"), b"");
    }

    #[test]
    fn quoted_printable_joins_soft_breaks_and_keeps_what_is_no_escape() {
        assert_eq!(decoded(Encoding::QuotedPrintable, b"a=C3=a4b=\r\nc  \r\nd=  \r\ne=zz=\n=3D"), b"a\xc3\xa4bc\r\nde=zz=");
        assert_eq!(decoded(Encoding::QuotedPrintable, b"tail="), b"tail");
    }

    #[test]
    fn text_is_read_in_its_charset_and_guessed_where_none_fits() {
        assert_eq!(text(b"gr\xfc\xdfe \x80".to_vec(), Some("ISO-8859-1")), "grüße €");
        assert_eq!(text("grüße".into(), None), "grüße");
        assert_eq!(text(b"gr\xfc\xdfe".to_vec(), Some("us-ascii")), "grüße");
        assert_eq!(text(b"a\xff".to_vec(), Some("utf-8")), "a\u{fffd}");
        assert_eq!(text(b"\xc4\xe3\xba\xc3".to_vec(), Some("gb2312")), "你好");
        assert_eq!(text(b"\x1b$B$3$s\x1b(B".to_vec(), Some("iso-2022-jp")), "こん");
        assert_eq!(text(b"x".to_vec(), Some("no-such-charset")), "x");
    }

    proptest::proptest! {
        #[test]
        fn base64_agrees_with_an_independent_encoder(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            proptest::prop_assert_eq!(decoded(Encoding::Base64, text.as_bytes()), bytes);
        }

        #[test]
        fn nothing_panics_and_no_charset_breaks_text(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), name in "[a-z0-9-]{0,12}") {
            decoded(Encoding::Base64, &bytes);
            decoded(Encoding::QuotedPrintable, &bytes);
            for name in [name.as_str(), "utf-7", "utf-16", "shift_jis", "iso-2022-jp", "big5", "gb18030", "euc-kr", "koi8-r"] {
                text(bytes.clone(), Some(name));
            }
        }
    }
}
