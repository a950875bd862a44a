//! A query as SEARCH keys (RFC 9051 section 6.4.4): at least what is meant, and wider only where IMAP cannot say it exactly.
//! Nothing that was typed can end the command or begin another.

use crate::error::{Error, Result};

/// Whether keys as typed can be sent inside parentheses: printable ASCII, with other characters only in quotes, what is
/// opened is closed, and no literal is announced.
///
/// # Errors
/// Usage: what is wrong with them.
pub fn check_raw_keys(keys: &str) -> Result<()> {
    pieces(keys).map(drop)
}

/// A stretch of keys as typed.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Atoms, blanks, parentheses, and strings in their quotes.
    Plain(String),
    /// A string, without its quotes, that quotes cannot carry over the wire.
    Text(String),
}

fn pieces(keys: &str) -> Result<Vec<Piece>> {
    let wrong = |what: &str| Error::usage(format!("the search keys {what}"));
    if keys.trim().is_empty() {
        return Err(wrong("are empty"));
    }
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut depth = 0_u32;
    let mut characters = keys.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                let mut text = String::new();
                loop {
                    match characters.next() {
                        None => return Err(wrong("have a quote without its end")),
                        Some('"') => break,
                        Some('\\') => match characters.next() {
                            Some(escaped @ ('"' | '\\')) => text.push(escaped),
                            _ => return Err(wrong("have a backslash that stands before neither quote nor backslash")),
                        },
                        Some(control) if control.is_control() => return Err(wrong("hold a control character")),
                        Some(other) => text.push(other),
                    }
                }
                match super::quoted(text.as_bytes()) {
                    Some(quoted) => plain.push_str(&String::from_utf8_lossy(&quoted)),
                    None => {
                        pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                        pieces.push(Piece::Text(text));
                    }
                }
            }
            '{' => return Err(wrong("hold a { outside quotes")),
            '(' => {
                depth += 1;
                plain.push('(');
            }
            ')' => {
                depth = depth.checked_sub(1).ok_or_else(|| wrong("close a parenthesis that was not opened"))?;
                plain.push(')');
            }
            ' '..='~' => plain.push(character),
            control if control.is_control() => return Err(wrong("hold a control character")),
            _ => return Err(wrong("hold a character outside ASCII, which needs quotes round it")),
        }
    }
    if depth > 0 {
        return Err(wrong("leave a parenthesis open"));
    }
    pieces.push(Piece::Plain(plain));
    Ok(pieces)
}
