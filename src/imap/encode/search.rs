//! A query as SEARCH keys (RFC 9051 section 6.4.4): at least what is meant, and wider only where IMAP cannot say it exactly.
//! Nothing that was typed can end the command or begin another.

use super::{Command, Part, can_send_flag, is_atom, quoted};
use crate::error::{Error, Result};
use crate::message::Flag;
use crate::query::{Day, Needs, Query, Term};

/// The longest line of a command, in octets.
const MAX_LINE: usize = 8000;
/// A text that would make its line longer than this goes out as a literal, which begins a new one.
const FULL_LINE: usize = 6000;
/// The largest size that IMAP4rev1 can name (RFC 3501 section 9, `number`).
const MAX_NUMBER: u64 = u32::MAX as u64;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How a search is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form {
    /// With `RETURN (ALL)` (ESEARCH, RFC 4731).
    pub extended: bool,
    /// Without `CHARSET UTF-8` even where texts are not ASCII: UTF8=ACCEPT is enabled (RFC 6855 section 3).
    pub utf8: bool,
}

/// `UID SEARCH` for a query.
///
/// # Errors
/// Usage: a term that no command can hold, or more terms than one command can.
pub fn search_command(query: &Query, form: Form) -> Result<Command> {
    let mut keys = Keys::default();
    for term in &query.terms {
        keys.term(term, false)?;
    }
    if keys.parts.is_empty() {
        keys.text(" ALL");
    }
    let mut command = Command::new("UID SEARCH");
    if form.extended {
        command = command.raw(" RETURN (ALL)");
    }
    if !form.utf8 && !query.terms.iter().all(is_ascii) {
        command = command.raw(" CHARSET UTF-8");
    }
    for part in keys.parts {
        match part {
            Part::Text(text) => command = command.text(&text),
            part => command.parts.push(part),
        }
    }
    // Its tag, its line end and a literal's announcement come on top.
    if command.parts.iter().any(|part| matches!(part, Part::Text(text) if text.len() + 64 > MAX_LINE)) {
        return Err(Error::usage("the query is too long for one command"));
    }
    Ok(command)
}

/// What has to be looked at of the messages found, because the keys are wider than the query.
pub fn wider(query: &Query) -> Needs {
    let mut needs = Needs::default();
    for term in &query.terms {
        let mut term = term;
        while let Term::Not(inner) = term {
            term = inner;
        }
        match term {
            Term::OlderThan(_) | Term::NewerThan(_) => needs.internal_date = true,
            Term::Larger(size) | Term::Smaller(size) if *size >= MAX_NUMBER => needs.size = true,
            Term::MessageId(_) => needs.header = true,
            _ => {}
        }
    }
    needs
}

/// Whether a term needs no charset.
pub fn is_ascii(term: &Term) -> bool {
    match term {
        Term::From(text)
        | Term::To(text)
        | Term::Cc(text)
        | Term::Subject(text)
        | Term::Text(text)
        | Term::Body(text)
        | Term::MessageId(text)
        | Term::Raw(text)
        | Term::Gmail(text) => text.is_ascii(),
        Term::Header { name, text } => name.is_ascii() && text.is_ascii(),
        Term::Not(inner) => is_ascii(inner),
        _ => true,
    }
}

#[derive(Default)]
struct Keys {
    parts: Vec<Part>,
}

impl Keys {
    fn text(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(line)) => line.extend_from_slice(text.as_bytes()),
            _ => self.parts.push(Part::Text(text.as_bytes().to_vec())),
        }
    }

    /// A string, in the form that keeps lines short.
    fn string(&mut self, text: &str) -> Result<()> {
        if text.contains('\0') {
            return Err(Error::usage("a text with a NUL octet cannot be sent"));
        }
        let line = if let Some(Part::Text(line)) = self.parts.last() { line.len() } else { 0 };
        match quoted(text.as_bytes()).filter(|quoted| line + quoted.len() < FULL_LINE) {
            Some(quoted) => self.text(&String::from_utf8_lossy(&quoted)),
            None => self.parts.push(Part::Literal(text.as_bytes().to_vec())),
        }
        Ok(())
    }

    /// A key, or its opposite.
    fn key(&mut self, not: bool, key: &str) {
        self.text(if not { " NOT " } else { " " });
        self.text(key);
    }

    fn holds(&mut self, not: bool, key: &str, text: &str) -> Result<()> {
        self.key(not, key);
        self.text(" ");
        self.string(text)
    }

    fn day(&mut self, not: bool, key: &str, day: Day) {
        let month = usize::try_from(day.month - 1).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
        self.key(not, key);
        self.text(&format!(" {}-{month}-{:04}", day.day, day.year));
    }

    fn term(&mut self, term: &Term, not: bool) -> Result<()> {
        match term {
            Term::Not(inner) => return self.term(inner, !not),
            Term::Flag(flag) => return self.flag(flag, not),
            Term::From(text) => return self.holds(not, "FROM", text),
            Term::To(text) => return self.holds(not, "TO", text),
            Term::Cc(text) => return self.holds(not, "CC", text),
            Term::Subject(text) => return self.holds(not, "SUBJECT", text),
            Term::Text(text) => return self.holds(not, "TEXT", text),
            Term::Body(text) => return self.holds(not, "BODY", text),
            Term::Header { name, text } => {
                self.key(not, "HEADER ");
                if is_atom(name.as_bytes()) && !name.eq_ignore_ascii_case("NIL") && name.len() < 1000 {
                    self.text(name);
                } else {
                    self.string(name)?;
                }
                self.text(" ");
                return self.string(text);
            }
            // Part of another id as well: that is seen when the field is looked at, and what does not hold it cannot be asked for.
            Term::MessageId(_) if not => {}
            Term::MessageId(id) => return self.holds(false, "HEADER Message-ID", id),
            Term::Since(day) => self.day(not, "SINCE", *day),
            Term::Before(day) => self.day(not, "BEFORE", *day),
            Term::SentSince(day) => self.day(not, "SENTSINCE", *day),
            Term::SentBefore(day) => self.day(not, "SENTBEFORE", *day),
            Term::OlderThan(moment) if not => self.newer(*moment),
            Term::OlderThan(moment) => self.older(*moment),
            Term::NewerThan(moment) if not => self.older(*moment),
            Term::NewerThan(moment) => self.newer(*moment),
            Term::Larger(size) if *size <= MAX_NUMBER => self.key(not, &format!("LARGER {size}")),
            Term::Smaller(size) if *size <= MAX_NUMBER => self.key(not, &format!("SMALLER {size}")),
            Term::Larger(_) if not => {}
            Term::Smaller(_) if !not => {}
            Term::Larger(_) | Term::Smaller(_) => self.key(false, &format!("LARGER {MAX_NUMBER}")),
            Term::Raw(keys) => {
                self.key(not, "(");
                for piece in pieces(keys)? {
                    match piece {
                        Piece::Plain(text) => self.text(&text),
                        Piece::Text(text) => self.string(&text)?,
                    }
                }
                self.text(")");
            }
            Term::Gmail(text) => return self.holds(not, "X-GM-RAW", text),
        }
        Ok(())
    }

    fn flag(&mut self, flag: &Flag, not: bool) -> Result<()> {
        let wire = flag.wire();
        let system = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"];
        if let Some(system) = system.into_iter().find(|system| system.eq_ignore_ascii_case(wire)) {
            let key = system.trim_start_matches('\\').to_ascii_uppercase();
            self.key(false, &if not { format!("UN{key}") } else { key });
            return Ok(());
        }
        if wire.starts_with('\\') || wire.len() > 1000 || !can_send_flag(flag) {
            return Err(Error::usage(format!("{wire:?} cannot be searched for as a flag")));
        }
        self.key(false, if not { "UNKEYWORD " } else { "KEYWORD " });
        self.text(wire);
        Ok(())
    }

    /// Before a moment: a day of its own zone is at most one later than that of UTC.
    fn older(&mut self, moment: i64) {
        // Years before 1970 are refused by some servers, and no mailbox got mail then.
        if let Some(day) = Day::of_seconds(moment.max(0)).and_then(|day| day.plus(2)) {
            self.day(false, "BEFORE", day);
        }
    }

    fn newer(&mut self, moment: i64) {
        const TWO_DAYS: i64 = 2 * 86_400;
        if moment < TWO_DAYS {
            return;
        }
        let latest = Day { year: 9999, month: 12, day: 30 };
        self.day(false, "SINCE", Day::of_seconds(moment).and_then(|day| day.plus(-1)).unwrap_or(latest));
    }
}

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
                match quoted(text.as_bytes()) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::tests::any_term;

    fn shown(terms: Vec<Term>) -> String {
        let command = search_command(&Query { terms }, Form::default()).unwrap();
        command.to_string().strip_prefix("UID SEARCH ").unwrap().to_owned()
    }

    fn not(term: Term) -> Term {
        Term::Not(Box::new(term))
    }

    #[test]
    fn terms_become_keys() {
        let day = Day::parse("2024-02-29").unwrap();
        for (terms, keys) in [
            (vec![], "ALL"),
            (vec![not(Term::Flag(Flag::seen())), Term::Flag(Flag::new("\\flagged"))], "UNSEEN FLAGGED"),
            (vec![Term::Flag(Flag::new("$Junk")), not(Term::Flag(Flag::new("x")))], "KEYWORD $Junk UNKEYWORD x"),
            (vec![Term::From("a \"b\\".into()), not(Term::To("c".into()))], "FROM \"a \\\"b\\\\\" NOT TO \"c\""),
            (vec![Term::Header { name: "List-Id".into(), text: String::new() }], "HEADER List-Id \"\""),
            (vec![Term::Header { name: "a(b".into(), text: "x".into() }], "HEADER \"a(b\" \"x\""),
            (vec![Term::Since(day), not(Term::SentBefore(day))], "SINCE 29-Feb-2024 NOT SENTBEFORE 29-Feb-2024"),
            (vec![Term::Larger(5), not(Term::Smaller(6))], "LARGER 5 NOT SMALLER 6"),
            (vec![Term::Raw("OR SEEN FROM \"a)\"".into())], "(OR SEEN FROM \"a)\")"),
            (vec![not(Term::Raw("SEEN".into())), Term::Gmail("has:x".into())], "NOT (SEEN) X-GM-RAW \"has:x\""),
            (vec![Term::Subject("\u{e4}".into())], "CHARSET UTF-8 SUBJECT {2}"),
            (vec![Term::Raw("SUBJECT \"\u{e4}\" SEEN".into())], "CHARSET UTF-8 (SUBJECT {2} SEEN)"),
            (vec![Term::Body("a\r\nA1 LOGOUT".into())], "BODY {12}"),
        ] {
            assert_eq!(shown(terms), keys);
        }
        let accepted = Form { extended: true, utf8: true };
        let command = search_command(&Query { terms: vec![Term::Subject("\u{e4}".into())] }, accepted).unwrap();
        assert_eq!(command.to_string(), "UID SEARCH RETURN (ALL) SUBJECT {2}");
    }

    #[test]
    fn what_imap_cannot_say_is_asked_for_wider_and_its_opposite_too() {
        // 2024-01-10T12:00:00Z: at most the 11th where the message came in, at least the 9th.
        let noon = 1_704_888_000;
        assert_eq!(shown(vec![Term::OlderThan(noon)]), "BEFORE 12-Jan-2024");
        assert_eq!(shown(vec![not(Term::NewerThan(noon))]), "BEFORE 12-Jan-2024");
        assert_eq!(shown(vec![Term::NewerThan(noon)]), "SINCE 9-Jan-2024");
        assert_eq!(shown(vec![not(Term::OlderThan(noon))]), "SINCE 9-Jan-2024");
        assert_eq!(shown(vec![Term::OlderThan(i64::MAX), Term::NewerThan(i64::MIN)]), "ALL");
        assert_eq!(shown(vec![not(Term::MessageId("x".into()))]), "ALL");
        assert_eq!(shown(vec![not(Term::Larger(u64::MAX)), Term::Smaller(1 << 40)]), "ALL");
        assert_eq!(shown(vec![Term::Larger(1 << 40)]), "LARGER 4294967295");
        let query = Query { terms: vec![not(Term::OlderThan(noon)), Term::Smaller(5)] };
        assert_eq!(wider(&query), Needs { internal_date: true, ..Needs::default() });
    }

    #[test]
    fn many_long_texts_make_no_long_line() {
        let terms: Vec<Term> = (0..40).map(|_| Term::Subject("x".repeat(900))).collect();
        let command = search_command(&Query { terms }, Form::default()).unwrap();
        assert!(command.parts().len() > 5);
        let terms: Vec<Term> = (0..2000).map(|_| Term::Flag(Flag::new("keyword"))).collect();
        assert!(search_command(&Query { terms }, Form::default()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_query_ends_the_command_or_makes_a_long_line(terms in proptest::collection::vec(any_term(), 0..12)) {
            let ascii = terms.iter().all(is_ascii);
            if let Ok(command) = search_command(&Query { terms }, Form { extended: true, utf8: false }) {
                for part in command.parts() {
                    match part {
                        Part::Text(text) => {
                            prop_assert!(text.len() <= MAX_LINE);
                            prop_assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)));
                            let announces = crate::imap::parse::announced_literal(text, 0).unwrap().is_some();
                            prop_assert!(!announces);
                        }
                        Part::Literal(bytes) => prop_assert!(!bytes.contains(&0) && (!ascii || bytes.is_ascii())),
                        _ => prop_assert!(false),
                    }
                }
            }
        }

        #[test]
        fn keys_as_typed_are_sent_whole_or_refused(keys in "[ -~\\r\\n\u{e4}\u{0}]{0,40}") {
            if let Ok(pieces) = pieces(&keys) {
                let plain: String = pieces.iter().map(|piece| match piece { Piece::Plain(text) => text.as_str(), Piece::Text(_) => "\"\"" }).collect();
                prop_assert!(plain.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                let outside: Vec<char> = { let mut quoted = false; let mut escaped = false; plain.chars().filter(|c| { if escaped { escaped = false; return false; } match c { '\\' if quoted => { escaped = true; false } '"' => { quoted = !quoted; false } _ => !quoted } }).collect() };
                let braces = outside.contains(&'{');
                prop_assert!(!braces);
                prop_assert_eq!(outside.iter().filter(|c| **c == '(').count(), outside.iter().filter(|c| **c == ')').count());
            }
        }
    }
}
