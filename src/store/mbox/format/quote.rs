//! Quoting of lines that would be taken for an envelope line, as mboxrd does it, in either direction. It sees bytes in pieces
//! and keeps nothing of a line but five of them.

/// How an envelope line begins.
pub(super) const FROM: &[u8] = b"From ";

/// Adds one `>` to lines that match `^>*From `, or takes one away from those that match `^>+From `; nothing is kept of a
/// line but five bytes.
pub(super) struct Quoter {
    adds: bool,
    place: At,
}

#[derive(Clone, Copy)]
enum At {
    /// At the start of a line, or behind its `>`s; `held` counts one that is not written yet.
    Start { held: bool },
    /// So many bytes of `From ` stand there, not written yet.
    From { held: bool, matched: usize },
    /// In a line that is no such line.
    Line,
}

impl Quoter {
    pub(super) fn new(adds: bool) -> Self {
        Self { adds, place: At::Start { held: false } }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            match self.place {
                At::Line => {
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                    let (line, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
                    out.extend_from_slice(line);
                    if line.ends_with(b"\n") {
                        self.place = At::Start { held: false };
                    }
                    rest = after;
                }
                At::Start { held } if first == b'>' => {
                    if self.adds || held {
                        out.push(b'>');
                    }
                    self.place = At::Start { held: !self.adds };
                    rest = tail;
                }
                At::Start { held } => self.place = At::From { held, matched: 0 },
                At::From { held, matched } if FROM.get(matched) == Some(&first) => {
                    rest = tail;
                    self.place = At::From { held, matched: matched + 1 };
                    if matched + 1 == FROM.len() {
                        if self.adds {
                            out.push(b'>');
                        }
                        out.extend_from_slice(FROM);
                        self.place = At::Line;
                    }
                }
                At::From { .. } => {
                    self.end(out);
                    self.place = At::Line;
                }
            }
        }
    }

    /// Writes what was held back.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let (held, matched) = match self.place {
            At::Start { held } => (held, 0),
            At::From { held, matched } => (held, matched),
            At::Line => (false, 0),
        };
        if held {
            out.push(b'>');
        }
        out.extend_from_slice(FROM.get(..matched).unwrap_or_default());
        self.place = At::Line;
    }
}
