//! The words of IMAP as the server in memory reads and writes them: pure functions on octets.

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Atom(String),
    Text(Vec<u8>),
    Literal(Vec<u8>),
    Open,
    Close,
}

impl Token {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Atom(text) => text.clone(),
            Self::Text(bytes) | Self::Literal(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Open => "(".to_owned(),
            Self::Close => ")".to_owned(),
        }
    }
}

/// Cuts a line into tokens; brackets belong to their atom with all they hold.
pub(super) fn tokens(line: &[u8], into: &mut Vec<Token>) {
    let mut index = 0;
    while index < line.len() {
        match line[index] {
            b' ' => index += 1,
            b'(' => {
                into.push(Token::Open);
                index += 1;
            }
            b')' => {
                into.push(Token::Close);
                index += 1;
            }
            b'"' => {
                let mut text = Vec::new();
                index += 1;
                while index < line.len() && line[index] != b'"' {
                    if line[index] == b'\\' {
                        index += 1;
                    }
                    text.extend(line.get(index));
                    index += 1;
                }
                index += 1;
                into.push(Token::Text(text));
            }
            _ => {
                let start = index;
                let mut depth = 0;
                while index < line.len() && (depth > 0 || !matches!(line[index], b' ' | b'(' | b')')) {
                    depth += i32::from(line[index] == b'[') - i32::from(line[index] == b']');
                    index += 1;
                }
                into.push(Token::Atom(String::from_utf8_lossy(&line[start..index]).into_owned()));
            }
        }
    }
}

/// The literal a line announces: its length, and whether the client waits for the go-ahead.
pub(super) fn announced(line: &[u8]) -> Option<(usize, bool, usize)> {
    let text = line.strip_suffix(b"}")?;
    let open = text.iter().rposition(|&byte| byte == b'{')?;
    let digits = std::str::from_utf8(&text[open + 1..]).ok()?;
    let (digits, synchronising) = digits.strip_suffix('+').map_or((digits, true), |digits| (digits, false));
    Some((digits.parse().ok()?, synchronising, open))
}

/// A name as a quoted string, or as a literal where that cannot hold it.
pub(super) fn quoted(name: &str) -> String {
    if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return format!("{{{}}}\r\n{name}", name.len());
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// INBOX is the one name without case.
pub(super) fn inbox(name: String) -> String {
    if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name }
}

/// Whether a LIST pattern matches: `*` anything, `%` anything within a level.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((b'%', rest)) => {
            let level = name.iter().position(|&byte| byte == b'/').unwrap_or(name.len());
            (0..=level).any(|skipped| matches(rest, &name[skipped..]))
        }
        Some((first, rest)) => name.first() == Some(first) && matches(rest, &name[1..]),
    }
}

/// Whether a UID lies in a set; `last` is what `*` stands for.
pub(super) fn in_set(set: &str, uid: u32, last: u32) -> bool {
    let number = |text: &str| if text == "*" { Some(last) } else { text.parse().ok() };
    set.split(',').any(|range| {
        let (from, to) = range.split_once(':').unwrap_or((range, range));
        matches!((number(from), number(to)), (Some(from), Some(to)) if (from.min(to)..=from.max(to)).contains(&uid))
    })
}

/// The header with the empty line that ends it.
pub(super) fn header(body: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        kept.extend_from_slice(line);
        if line == b"\r\n" || line == b"\n" {
            break;
        }
    }
    kept
}

/// The label and octets of a body section, where it is one this server knows.
pub(super) fn section(name: &str, body: &[u8]) -> Option<(String, Vec<u8>)> {
    if name == "RFC822" || name == "RFC822.PEEK" {
        return Some(("RFC822".to_owned(), body.to_vec()));
    }
    let rest = name.strip_prefix("BODY.PEEK[").or_else(|| name.strip_prefix("BODY["))?;
    let (inner, partial) = rest.split_once(']')?;
    let whole = match inner {
        "" => body.to_vec(),
        "HEADER" => header(body),
        "TEXT" => body[header(body).len()..].to_vec(),
        _ => {
            let wanted = inner.strip_prefix("HEADER.FIELDS (")?.strip_suffix(')')?;
            let wanted: Vec<&str> = wanted.split(' ').map(|field| field.trim_matches('"')).collect();
            let mut kept = Vec::new();
            let mut keep = false;
            for line in header(body).split_inclusive(|&byte| byte == b'\n') {
                if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                    let field = line.split(|&byte| byte == b':').next().unwrap_or_default();
                    keep = line == b"\r\n" || wanted.iter().any(|name| field.eq_ignore_ascii_case(name.as_bytes()));
                }
                if keep {
                    kept.extend_from_slice(line);
                }
            }
            kept
        }
    };
    let label = format!("BODY[{inner}]");
    let Some((from, count)) = partial.strip_prefix('<').and_then(|range| range.strip_suffix('>')).and_then(|range| range.split_once('.'))
    else {
        return Some((label, whole));
    };
    let (from, count): (usize, usize) = (from.parse().ok()?, count.parse().ok()?);
    let cut = whole.get(from..).unwrap_or_default();
    Some((format!("{label}<{from}>"), cut[..count.min(cut.len())].to_vec()))
}

/// Whether `bytes` hold `needle`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle)
}
