//! Commands built of checked parts, so that no mailbox name, flag or password can end a command and start another.
//! Tags, line ends and the form of literals (synchronising or not) belong to `wire`.

mod search;

use crate::error::{Error, Result};
use crate::message::{Flag, InternalDate};

use super::date;
use super::uid_set::UidSet;

pub use search::{Form, check_raw_keys, is_ascii, search_command, wider};

/// The longest string sent in quotes; some servers cut lines at 1000 octets.
pub(super) const MAX_QUOTED: usize = 1000;

/// A piece of a command.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// Goes out as it is; holds no CR, LF or NUL.
    Text(Vec<u8>),
    /// Goes out as a literal; holds no NUL.
    Literal(Vec<u8>),
    /// Goes out as it is; a trace shows `***`.
    Secret(Vec<u8>),
    /// Goes out as a literal; a trace shows `***` and not even its length.
    SecretLiteral(Vec<u8>),
}

/// A command without its tag and its line end.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    parts: Vec<Part>,
}

impl Command {
    /// A command of this name (`UID FETCH`).
    pub fn new(name: &'static str) -> Self {
        Self { parts: vec![Part::Text(name.as_bytes().to_vec())] }
    }

    /// A blank.
    #[must_use]
    pub fn sp(self) -> Self {
        self.text(b" ")
    }

    /// Text that stands in our own source.
    #[must_use]
    pub fn raw(self, text: &'static str) -> Self {
        self.text(text.as_bytes())
    }

    /// A number.
    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.text(number.to_string().as_bytes())
    }

    /// A set of UIDs, which the caller splits to keep commands under 8000 octets ([`UidSet::split`]).
    ///
    /// # Errors
    /// Usage: an empty set cannot be written.
    pub fn uid_set(self, set: &UidSet) -> Result<Self> {
        if set.is_empty() {
            return Err(Error::usage("an empty set of UIDs cannot be sent"));
        }
        Ok(self.text(set.to_string().as_bytes()))
    }

    /// An atom: a mechanism, a capability.
    ///
    /// # Errors
    /// Usage: it is empty or holds a character that no atom may hold.
    pub fn atom(self, atom: &str) -> Result<Self> {
        if !is_atom(atom.as_bytes()) {
            return Err(Error::usage(format!("{atom:?} cannot be sent as an atom")));
        }
        Ok(self.text(atom.as_bytes()))
    }

    /// A string: in quotes where it is printable ASCII and not too long, else a literal.
    ///
    /// # Errors
    /// Usage: it holds NUL, which no IMAP string may (RFC 3501 section 9, CHAR8).
    pub fn string(mut self, bytes: &[u8]) -> Result<Self> {
        if bytes.contains(&0) {
            return Err(Error::usage("a text with a NUL octet cannot be sent"));
        }
        match quoted(bytes) {
            Some(quoted) => Ok(self.text(&quoted)),
            None => {
                self.parts.push(Part::Literal(bytes.to_vec()));
                Ok(self)
            }
        }
    }

    /// An atom where it can be one (and is not NIL), else a string.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub fn astring(self, bytes: &[u8]) -> Result<Self> {
        if is_atom(bytes) && !bytes.eq_ignore_ascii_case(b"NIL") {
            return Ok(self.text(bytes));
        }
        self.string(bytes)
    }

    /// A mailbox name in wire octets.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub fn mailbox(self, wire: &[u8]) -> Result<Self> {
        self.string(wire)
    }

    /// Flags in parentheses.
    ///
    /// # Errors
    /// Usage: one of them is no flag ([`can_send_flag`]).
    pub fn flags(mut self, flags: &[Flag]) -> Result<Self> {
        self = self.text(b"(");
        for (index, flag) in flags.iter().enumerate() {
            if !can_send_flag(flag) {
                return Err(Error::usage(format!("{:?} cannot be sent as a flag", flag.wire())));
            }
            if index > 0 {
                self = self.sp();
            }
            self = self.text(flag.wire().as_bytes());
        }
        Ok(self.text(b")"))
    }

    /// A date with time and zone, in quotes.
    ///
    /// # Errors
    /// Usage: its year is not between 1 and 9999.
    pub fn date_time(self, date: InternalDate) -> Result<Self> {
        let text = date::format_date_time(date).ok_or_else(|| Error::usage("the date cannot be written in IMAP's form"))?;
        Ok(self.text(format!("\"{text}\"").as_bytes()))
    }

    /// A string that a trace must not show, as LOGIN's password.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub fn secret_string(mut self, bytes: &[u8]) -> Result<Self> {
        if bytes.contains(&0) {
            return Err(Error::usage("a secret with a NUL octet cannot be sent"));
        }
        self.parts.push(quoted(bytes).map_or_else(|| Part::SecretLiteral(bytes.to_vec()), Part::Secret));
        Ok(self)
    }

    /// Text that a trace must not show and that needs no quoting: AUTHENTICATE's initial response in base64, or `=`.
    ///
    /// # Errors
    /// Usage: it holds something other than base64's characters.
    pub fn secret_base64(mut self, text: &str) -> Result<Self> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        if !fits {
            return Err(Error::usage("a login step that is not base64 cannot be sent"));
        }
        self.parts.push(Part::Secret(text.as_bytes().to_vec()));
        Ok(self)
    }

    /// The parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The parts, in order.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    fn text(mut self, bytes: &[u8]) -> Self {
        if let Some(Part::Text(text)) = self.parts.last_mut() {
            text.extend_from_slice(bytes);
        } else {
            self.parts.push(Part::Text(bytes.to_vec()));
        }
        self
    }
}

/// As a trace may show it: literals by their octet count, secrets as `***`.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Part::Literal(bytes) => write!(f, "{{{}}}", bytes.len()),
            Part::Secret(_) | Part::SecretLiteral(_) => f.write_str("\"***\""),
        })
    }
}

/// Whether a flag is one that a command can hold: an atom, with or without a backslash (RFC 3501 section 9, `flag`).
pub fn can_send_flag(flag: &Flag) -> bool {
    let wire = flag.wire();
    is_atom(wire.strip_prefix('\\').unwrap_or(wire).as_bytes())
}

fn is_atom(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(byte))
}

fn quoted(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > MAX_QUOTED || !bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return None;
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'"');
    for &byte in bytes {
        if byte == b'"' || byte == b'\\' {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    Some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(parts: &[Part]) -> &[u8] {
        match parts {
            [Part::Text(text)] => text,
            _ => panic!("more than text"),
        }
    }

    #[test]
    fn a_command_is_one_piece_of_text_where_nothing_needs_a_literal() {
        let set: UidSet = [1, 2, 3].into_iter().collect();
        let command = Command::new("UID FETCH").sp().uid_set(&set).unwrap().raw(" (UID FLAGS)");
        assert_eq!(only(command.parts()), b"UID FETCH 1:3 (UID FLAGS)");
        let append = Command::new("APPEND")
            .sp()
            .mailbox(b"a \"b\\")
            .unwrap()
            .sp()
            .flags(&[Flag::seen(), Flag::new("$Forwarded")])
            .unwrap()
            .sp()
            .date_time(InternalDate { seconds: 0, offset: 3600 })
            .unwrap();
        assert_eq!(only(append.parts()), b"APPEND \"a \\\"b\\\\\" (\\Seen $Forwarded) \" 1-Jan-1970 01:00:00 +0100\"");
    }

    #[test]
    fn what_quotes_cannot_hold_is_a_literal_and_a_nul_is_refused() {
        for bytes in ["x\r\nA1 LOGOUT".as_bytes(), "é".as_bytes(), b"\x7f", b"\t", "a".repeat(1001).as_bytes()] {
            let command = Command::new("SELECT").sp().mailbox(bytes).unwrap();
            assert!(command.parts() == [Part::Text(b"SELECT ".to_vec()), Part::Literal(bytes.to_vec())]);
        }
        assert!(Command::new("SELECT").sp().mailbox(b"a\0b").is_err());
        assert!(Command::new("LOGIN").sp().secret_string(b"a\0b").is_err());
    }

    #[test]
    fn a_flag_or_atom_that_could_end_the_command_is_refused() {
        for bad in ["", "\\", "a b", "a)", "(a", "a\r\nb", "ä", "\\*", "\\\\Seen", "a]", "a\"", "{5}", "\u{7f}"] {
            assert!(Command::new("STORE").flags(&[Flag::new(bad)]).is_err(), "{bad:?}");
        }
        assert!(Command::new("ENABLE").sp().atom("UTF8=ACCEPT").is_ok());
        assert!(Command::new("ENABLE").sp().atom("A B").is_err());
        assert!(Command::new("UID FETCH").sp().uid_set(&UidSet::new()).is_err());
        assert!(Command::new("AUTHENTICATE").sp().secret_base64("YQ==\r\n").is_err());
    }

    #[test]
    fn a_trace_never_shows_a_secret() {
        let login = Command::new("LOGIN").sp().astring(b"ann").unwrap().sp().secret_string(b"canary\"").unwrap();
        assert_eq!(login.to_string(), "LOGIN ann \"***\"");
        assert!(login.parts()[1] == Part::Secret(b"\"canary\\\"\"".to_vec()));
        let login = Command::new("LOGIN").sp().astring(b"nil").unwrap().sp().secret_string("canäry".as_bytes()).unwrap();
        assert_eq!(login.to_string(), "LOGIN \"nil\" \"***\"");
        assert!(matches!(&login.parts()[1], Part::SecretLiteral(_)));
    }
}
