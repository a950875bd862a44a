//! Text out of mail or from servers, made harmless for a terminal: no control character, escape sequence or invisible
//! reordering passes raw. It knows characters and nothing about what the text means.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Stands where a character was that must not reach a terminal.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// `text` as one harmless line: a tab becomes a space; other control characters (line ends and escapes among them),
/// bidi overrides and invisible characters become U+FFFD.
pub fn line(text: &str) -> Cow<'_, str> {
    clean(text, |c, out| out.push(if c == '\t' { ' ' } else { REPLACEMENT }))
}

/// `text` as the value of a tab-separated row: tabs and line ends become one space each, the rest as in [`line()`].
pub fn tsv(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") {
        return Cow::Owned(tsv(&text.replace("\r\n", " ")).into_owned());
    }
    clean(text, |c, out| out.push(if matches!(c, '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}') { ' ' } else { REPLACEMENT }))
}

/// `text` with all that [`line()`] would replace written as `%XX` of its UTF-8, for names that are read so when typed.
pub fn percent(text: &str) -> Cow<'_, str> {
    clean(text, |c, out| c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_octet(byte, out)))
}

/// Appends `%XX`.
pub(super) fn push_octet(octet: u8, out: &mut String) {
    let _ = write!(out, "%{octet:02X}");
}

/// `text` as lines: line ends and tabs stay; other control characters become U+FFFD, and what only hides or reorders is
/// left out.
pub fn text(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| suspicious(c) && !matches!(c, '\n' | '\t')) {
        return Cow::Borrowed(text);
    }
    let lines = text.replace("\r\n", "\n");
    let shown = clean(&lines, |c, out| match c {
        '\n' | '\t' => out.push(c),
        '\u{2028}' | '\u{2029}' => out.push('\n'),
        _ if c.is_control() => out.push(REPLACEMENT),
        // What was no control character hid; the replacement would only make it seen.
        _ => {}
    });
    Cow::Owned(shown.into_owned())
}

/// Passes octets on to a terminal as [`text()`], line by line.
pub struct Lines<W: Write> {
    out: W,
    line: Vec<u8>,
}

/// A line longer than this goes out in pieces.
const LINE_BYTES: usize = 64 * 1024;

impl<W: Write> Lines<W> {
    /// Onto `out`.
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::new() }
    }

    fn pass(&mut self, count: usize) -> io::Result<()> {
        let rest = self.line.split_off(count.min(self.line.len()));
        let line = std::mem::replace(&mut self.line, rest);
        self.out.write_all(text(&String::from_utf8_lossy(&line)).as_bytes())
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|&byte| byte == b'\n') {
            self.pass(end + 1)?;
        } else if self.line.len() > LINE_BYTES {
            // A character that the end cuts waits for its rest.
            let end = self.line.iter().rposition(|&byte| byte & 0xC0 != 0x80).filter(|end| self.line.len() - end < 4);
            self.pass(end.unwrap_or(self.line.len()))?;
        }
        Ok(bytes.len())
    }

    /// What has no line end yet goes out as well.
    fn flush(&mut self) -> io::Result<()> {
        self.pass(self.line.len())?;
        self.out.flush()
    }
}

/// Puts what `instead` says in place of each suspicious character.
fn clean(text: &str, instead: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(suspicious) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut before = None;
    while let Some(c) = characters.next() {
        let joins = joins(c) && joined(before) && joined(characters.peek().copied());
        if suspicious(c) && !joins {
            instead(c, &mut out);
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    Cow::Owned(out)
}

/// Zero-width (non-)joiners have work to do between letters of some scripts and in emoji, and nowhere else.
fn joins(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

fn joined(neighbour: Option<char>) -> bool {
    neighbour.is_some_and(|c| !c.is_ascii() && !c.is_whitespace() && !suspicious(c))
}

/// Whether `c` can steer a terminal, end a line, reorder its neighbours or hide.
fn suspicious(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// Writes JSON in which those characters stand escaped (`\u009b`), so that a document is harmless on a terminal too and
/// still holds every value whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Escaping;

impl serde_json::ser::Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| suspicious(c)) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = from.get(c.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_bells_line_ends_and_bidi_overrides_show_as_replacements() {
        assert_eq!(line("a\x1b]0;pwned\x07b\x1b[2J"), "a\u{FFFD}]0;pwned\u{FFFD}b\u{FFFD}[2J");
        assert_eq!(line("a\r\nb\tc\u{9b}d\x7f"), "a\u{FFFD}\u{FFFD}b c\u{FFFD}d\u{FFFD}");
        for hidden in "\u{202e}\u{2066}\u{200e}\u{061c}\u{feff}\u{2028}\u{200b}\u{2060}\u{85}\u{0}".chars() {
            assert_eq!(line(&format!("a{hidden}b")), "a\u{FFFD}b");
        }
    }

    #[test]
    fn plain_text_and_needed_joiners_stay() {
        for text in ["Grüße, 世界 – ok", "می\u{200c}خواهم", "👩\u{200d}👧"] {
            assert_eq!(line(text), text);
        }
        assert_eq!(line("a\u{200d}b"), "a\u{FFFD}b");
    }

    #[test]
    fn tabs_and_line_ends_inside_a_tsv_value_become_a_space() {
        assert_eq!(tsv("a\tb\r\nc\nd\x1b"), "a b c d\u{FFFD}");
    }

    #[test]
    fn text_keeps_its_lines_and_loses_what_steers_or_hides() {
        assert_eq!(text("a\r\nb\tc\n\x1b[2J\u{200b}\u{202e}d\re"), "a\nb\tc\n\u{FFFD}[2Jd\u{FFFD}e");
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out);
        for byte in "grü\x1bß\r\n世".bytes() {
            lines.write_all(&[byte]).unwrap();
        }
        lines.flush().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "grü\u{FFFD}ß\n世");
    }

    proptest::proptest! {
        #[test]
        fn nothing_harmful_passes_and_json_holds_the_value_whole(text in "\\PC*|[\\x00-\\xff\u{2000}-\u{206f}\u{feff}\u{e0001}]*") {
            for clean in [line(&text), tsv(&text)] {
                proptest::prop_assert!(clean.chars().all(|c| !suspicious(c) || joins(c)));
                proptest::prop_assert!(!clean.contains(|c: char| c.is_control()));
                proptest::prop_assert_eq!(line(&clean), clean.clone());
            }
            let mut json = Vec::new();
            serde::Serialize::serialize(&text, &mut serde_json::Serializer::with_formatter(&mut json, Escaping)).unwrap();
            let json = String::from_utf8(json).unwrap();
            proptest::prop_assert!(!json.contains(suspicious));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
