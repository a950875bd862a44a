//! Names of folders as people type and read them: levels of Unicode text, joined with `/` whatever the server's own
//! delimiter is. Wire forms (modified UTF-7, the server's delimiter) belong to `imap`; file names to `store`.

use std::fmt;

/// A folder's path: one or more levels. Typed and shown as `a/b`, with a literal `/` as `%2F` and `%` as `%25`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Folder(Vec<String>);

impl Folder {
    /// The folder every account has.
    pub fn inbox() -> Self {
        Self(vec!["INBOX".to_owned()])
    }

    /// Makes a folder of its levels; INBOX in any case becomes `INBOX` at the top level (RFC 9051 section 5.1).
    /// `None` when there is no level, or one is empty.
    pub fn from_levels(levels: impl IntoIterator<Item = impl Into<String>>) -> Option<Self> {
        let mut levels: Vec<String> = levels.into_iter().map(Into::into).collect();
        if levels.is_empty() || levels.iter().any(String::is_empty) {
            return None;
        }
        if let Some(first) = levels.first_mut()
            && first.eq_ignore_ascii_case("INBOX")
        {
            "INBOX".clone_into(first);
        }
        Some(Self(levels))
    }

    /// Reads the typed form (`Archive/2024`, `a%2Fb`). `None` when a level is empty or a `%` sequence is not hex.
    pub fn parse(typed: &str) -> Option<Self> {
        let levels: Option<Vec<String>> = typed.trim_matches('/').split('/').map(percent_decode).collect();
        Self::from_levels(levels?)
    }

    /// The levels, outermost first; never empty.
    pub fn levels(&self) -> &[String] {
        &self.0
    }

    /// Whether this is INBOX itself.
    pub fn is_inbox(&self) -> bool {
        matches!(self.0.as_slice(), [only] if only == "INBOX")
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, level) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            f.write_str(&level.replace('%', "%25").replace('/', "%2F"))?;
        }
        Ok(())
    }
}

/// Decodes `%XX`, as in URLs and in typed folder names; `None` when a sequence is not hex or the result is not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_shows_as_it_is_typed() {
        for typed in ["INBOX", "Archive/2024", "a%2Fb/100%25", "Entwürfe/ä"] {
            assert_eq!(Folder::parse(typed).unwrap().to_string(), typed);
        }
        assert_eq!(Folder::parse("inbox").unwrap(), Folder::inbox());
        assert_eq!(Folder::parse("a%2Fb").unwrap().levels(), ["a/b"]);
    }

    #[test]
    fn an_empty_level_or_a_broken_escape_is_no_folder() {
        for typed in ["", "/", "a//b", "a%2", "a%zz", "%ff"] {
            assert!(Folder::parse(typed).is_none(), "{typed}");
        }
    }
}
