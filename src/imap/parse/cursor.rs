//! Walks over a frame token by token. Total: at the end of the frame every token is empty, and nothing here can fail or
//! recurse. What a token means is for the others to say.

use crate::imap::types::{Frame, Literal, LiteralData};

/// The value of a string, list element or item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Bare characters, up to a blank or parenthesis. `NIL` is an atom too.
    Atom(Vec<u8>),
    /// A quoted string, unescaped.
    Quoted(Vec<u8>),
    /// A literal.
    Literal(LiteralData),
    /// `(`
    Open,
    /// `)`
    Close,
    /// The end of the frame.
    End,
}

impl Token {
    /// The octets of an atom, quoted string or literal in memory; `None` for anything else, and for NIL.
    pub(super) fn string(self) -> Option<Vec<u8>> {
        match self {
            Self::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL") => None,
            Self::Atom(octets) | Self::Quoted(octets) | Self::Literal(LiteralData::Inline(octets)) => Some(octets),
            _ => None,
        }
    }
}

pub(super) struct Cursor {
    bytes: Vec<u8>,
    literals: Vec<Literal>,
    at: usize,
}

impl Cursor {
    pub(super) fn new(frame: Frame) -> Self {
        let Frame { bytes, mut literals } = frame;
        if !literals.is_sorted_by_key(|literal| literal.at) {
            literals.sort_by_key(|literal| literal.at);
        }
        Self { bytes, literals, at: 0 }
    }

    /// All bytes of the frame.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame's bytes, for keeping.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What is left.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.bytes.len());
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn rewind(&mut self, position: usize) {
        self.at = position.min(self.bytes.len());
    }

    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.at += 1;
        }
        there
    }

    /// The bytes up to a blank or parenthesis.
    pub(super) fn word(&mut self) -> &[u8] {
        let start = self.at;
        while self.peek().is_some_and(|byte| !b" \t()".contains(&byte)) {
            self.at += 1;
        }
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The next token, blanks before it skipped.
    pub(super) fn token(&mut self) -> Token {
        self.skip_blanks();
        match self.peek() {
            None => Token::End,
            Some(b'(') => {
                self.at += 1;
                Token::Open
            }
            Some(b')') => {
                self.at += 1;
                Token::Close
            }
            Some(b'"') => {
                let (octets, end) = unquote(&self.bytes, self.at);
                self.at = end;
                Token::Quoted(octets)
            }
            Some(b'{' | b'~') => match self.literal() {
                Some(data) => Token::Literal(data),
                None => Token::Atom(self.word().to_vec()),
            },
            Some(_) => Token::Atom(self.word().to_vec()),
        }
    }

    /// Skips one value: a token, or a list with all that is in it. Counts parentheses, so any depth costs nothing.
    pub(super) fn skip_value(&mut self) {
        let mut depth = 0_u64;
        loop {
            match self.token() {
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                Token::End => return,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// The strings of a list, `NIL` being an empty one; lists within it are skipped. `None`, and nothing taken, where no list comes.
    pub(super) fn strings(&mut self) -> Option<Vec<Vec<u8>>> {
        let start = self.at;
        match self.token() {
            Token::Open => {}
            Token::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL") => return Some(Vec::new()),
            _ => {
                self.at = start;
                return None;
            }
        }
        let mut strings = Vec::new();
        loop {
            self.skip_blanks();
            if self.peek() == Some(b'(') {
                self.skip_value();
                continue;
            }
            match self.token() {
                Token::Close | Token::End => return Some(strings),
                Token::Open => {}
                // Within a list of flags or labels NIL is a name like any other.
                Token::Atom(atom) => strings.push(atom),
                token => strings.extend(token.string()),
            }
        }
    }

    /// Numbers that are none (negative, `9.3736e+06`, NIL) are `None`; the token is taken all the same.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.skip_blanks();
        if self.peek() == Some(b'(') {
            return self.strings()?.first().and_then(|digits| number(digits));
        }
        if self.peek() == Some(b')') {
            return None;
        }
        number(&self.token().string()?)
    }

    /// A literal that the framer registered, announced right here.
    fn literal(&mut self) -> Option<LiteralData> {
        let rest = self.rest();
        let open = usize::from(rest.first() == Some(&b'~'));
        if rest.get(open) != Some(&b'{') {
            return None;
        }
        // `{`, at most 20 digits, `+`, `}`
        let length = rest.iter().skip(open).take(24).position(|byte| *byte == b'}')?;
        let end = self.at + open + length + 1;
        let index = self.literals.binary_search_by_key(&end, |literal| literal.at).ok()?;
        let literal = self.literals.get_mut(index)?;
        self.at = end;
        Some(std::mem::replace(&mut literal.data, LiteralData::Inline(Vec::new())))
    }
}

/// Reads digits; anything else, and what needs more than 64 bits, is no number.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads the quoted string whose opening quote is at `start`; gives its octets and the position behind it.
fn unquote(bytes: &[u8], start: usize) -> (Vec<u8>, usize) {
    let end = quoted_end(bytes, start);
    let inner = bytes.get(start + 1..end.unwrap_or(bytes.len())).unwrap_or_default();
    let mut octets = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            // A backslash escapes only itself and a quote; before anything else some servers mean it as it is.
            b'\\' => match rest.as_slice().first() {
                Some(&next @ (b'"' | b'\\')) => {
                    octets.push(next);
                    rest.next();
                }
                _ => octets.push(byte),
            },
            _ => octets.push(byte),
        }
    }
    (octets, end.map_or(bytes.len(), |end| end + 1))
}

/// Where the quoted string that opens at `start` closes; `None` where it does not.
/// A quote that nothing follows but text is one that the server forgot to escape.
pub(super) fn quoted_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' if matches!(bytes.get(at + 1), None | Some(b' ' | b'\t' | b')' | b'(' | b']')) => return Some(at),
            _ => at += 1,
        }
    }
}
