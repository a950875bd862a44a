//! What `compare` and `compare-pop3` write: a row for each message or pair, and sums as an equation for each side. Field names are a
//! contract with scripts. It knows what was found and never how.

use std::fmt::Write as _;
use std::io::Write;

use serde::Serialize;

use super::json::{self, STDOUT};
use super::message::date;
use super::rows::{self, Head, Row};
use super::table::{Column, bytes_for_people};
use super::{Format, advice, sanitize};
use crate::error::{Error, Result};
use crate::report::advice::Advice;
use crate::report::compared::{Compared, Confidence, Formula, Half, Method, Pairing, Rows, Sums, Verdict};
use crate::report::counted;

/// Everything but the rows: the last line of `jsonl`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct CompareSummary {
    /// `mailhaul.compare/1` or `mailhaul.compare-pop3/1`.
    pub schema: &'static str,
    /// The first place as the user named it.
    pub a: String,
    /// The second place as the user named it.
    pub b: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// Whether the sums make up what each side lists.
    pub balanced: bool,
    /// How the UIDLs of a POP3 side are made, where that was found out.
    pub formula: Option<Formula>,
    /// Whether every message was read whole and contents were compared; else only what `methods` say was looked at.
    pub full: bool,
    /// How those that are the same were told to be.
    pub methods: Methods,
    /// The folder that a maildrop was held against first.
    #[serde(skip)]
    pub against: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// IMAP or POP3 for this account? Of `compare-pop3` only.
    pub advice: Option<Advice>,
}

/// How many of the messages that are the same each method told of, and how sure they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Methods {
    /// By a unique-id made of the UID; the headers of a few were read.
    pub uidl_formula: u64,
    /// By the journal of a copy.
    pub journal: u64,
    /// By order, size and header.
    pub order_and_size: u64,
    /// By header.
    pub header: u64,
    /// By content.
    pub content: u64,
    /// Of all these, those whose sizes cast doubt.
    pub weak: u64,
}

impl Methods {
    fn of(rows: &Rows) -> Self {
        let mut methods = Self::default();
        for row in rows.iter().filter(|row| matches!(row.verdict, Verdict::Same | Verdict::Elsewhere)) {
            let count = match row.method {
                Some(Method::UidlFormula) => &mut methods.uidl_formula,
                Some(Method::Journal) => &mut methods.journal,
                Some(Method::OrderAndSize) => &mut methods.order_and_size,
                Some(Method::Header) => &mut methods.header,
                Some(Method::Content) => &mut methods.content,
                None => continue,
            };
            *count += 1;
            methods.weak += u64::from(row.confidence == Some(Confidence::Weak));
        }
        methods
    }

    /// What was looked at; `None` where nothing is the same.
    fn text(&self, full: bool) -> Option<String> {
        let ways = [
            (self.uidl_formula, "unique-id and a sample of headers"),
            (self.journal, "journal"),
            (self.order_and_size, "order, size and header"),
            (self.header, "header"),
            (self.content, "content"),
        ];
        let named: Vec<String> = ways.iter().filter(|(count, _)| *count > 0).map(|(count, way)| format!("{way} ({count})")).collect();
        let by_content = ways.iter().take(4).all(|(count, _)| *count == 0);
        let mut text = format!("what is the same was told by {}", named.join(", "));
        match (full, by_content) {
            (true, _) => text.push_str("; all contents were compared"),
            (false, true) => {}
            (false, false) if self.content > 0 => text.push_str("; no other bodies were compared, --full does"),
            (false, false) => text.push_str("; no bodies were compared, --full does"),
        }
        if self.weak > 0 {
            let _ = write!(text, "; {} in doubt (weak)", self.weak);
        }
        Some(text).filter(|_| !named.is_empty())
    }
}

/// What both verbs write as one document.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct CompareDocument {
    /// All but the rows.
    #[serde(flatten)]
    pub summary: CompareSummary,
    /// Each message or pair, in the order of the first side, then what only the second has.
    #[schemars(with = "Vec<Pairing>")]
    pub rows: Rows,
}

/// How rows are shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown {
    /// Rows of what is the same stand in tables too.
    pub all: bool,
    /// A table ends without its sums.
    pub quiet: bool,
    /// Mail on the second side alone is no difference.
    pub maildrop: bool,
    /// Cells of the terminal.
    pub width: Option<usize>,
}

impl CompareDocument {
    /// The document of what was found.
    pub fn new(schema: &'static str, a: &str, b: &str, compared: Compared, seconds: f64) -> Self {
        let summary = CompareSummary {
            schema,
            a: a.to_owned(),
            b: b.to_owned(),
            balanced: compared.sums.balanced(),
            sums: compared.sums,
            formula: compared.formula,
            full: false,
            against: None,
            methods: Methods::of(&compared.rows),
            seconds,
            advice: None,
        };
        Self { summary, rows: compared.rows }
    }

    /// Writes it to standard output. A table holds what is not the same (or all) and ends with the sums; the other forms hold every row.
    ///
    /// # Errors
    /// [`crate::error::Kind::BrokenPipe`] when the reader went away, [`crate::error::Kind::Local`] for other I/O errors.
    pub fn write(&self, format: Format, shown: Shown, stdout: &mut impl Write) -> Result<()> {
        if format == Format::Json {
            return json::write_document(stdout, self);
        }
        let wanted = |row: &Pairing| format != Format::Table || shown.all || row.verdict != Verdict::Same;
        let columns: Vec<&str> = Pairing::COLUMNS.iter().map(|column| column.name).collect();
        let columns = if format == Format::Table { filled(&columns, &mut self.rows.iter().filter(wanted)) } else { columns };
        // A table of nothing has no head either.
        if format != Format::Table || self.rows.iter().any(|row| wanted(&row)) {
            let head = Head { schema: self.summary.schema, members: Vec::new(), rows: "rows" };
            let mut rows = rows::Rows::new::<Pairing>(&mut *stdout, format, &head, None, &columns, shown.width)?;
            self.rows.iter().filter(wanted).try_for_each(|row| rows.row(&row))?;
            rows.finish()?;
        }
        match format {
            Format::Jsonl => json::write_document(stdout, &self.summary),
            Format::Table if !shown.quiet => {
                let mut text = self.summary.text(shown.maildrop);
                if let Some(advice) = &self.summary.advice {
                    text.push('\n');
                    text.push_str(&advice::text(advice));
                }
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Error::io(STDOUT, error))
            }
            _ => Ok(()),
        }
    }
}

/// The columns that say something in any of the rows.
fn filled<'a>(columns: &[&'a str], rows: &mut dyn Iterator<Item = Pairing>) -> Vec<&'a str> {
    let mut found = vec![false; columns.len()];
    for row in rows {
        for (found, column) in found.iter_mut().zip(columns) {
            *found = *found || !row.cell(column, true).is_empty();
        }
        if found.iter().all(|found| *found) {
            break;
        }
    }
    columns.iter().zip(found).filter_map(|(column, found)| found.then_some(*column)).collect()
}

impl CompareSummary {
    /// For people: what each side lists, as an equation, and what that comes to.
    pub fn text(&self, maildrop: bool) -> String {
        let sums = &self.sums;
        let (doubled_b, errors_b) = (sums.doubled.saturating_sub(sums.doubled_a), sums.errors.saturating_sub(sums.errors_a));
        let mut text = String::new();
        let sides = [
            ("A", &self.a, sums.listed_a, '+', "only here", sums.only_a, sums.doubled_a, sums.errors_a),
            (
                "B",
                &self.b,
                sums.listed_b,
                '-',
                if maildrop { "not in the maildrop" } else { "only here" },
                sums.only_b,
                doubled_b,
                errors_b,
            ),
        ];
        for (side, place, listed, sign, only, alone, doubled, errors) in sides {
            let terms = [
                (sums.different, '*', "different"),
                (sums.elsewhere, '~', "in another folder"),
                (alone, sign, only),
                (doubled, '2', "doubled"),
                (errors, '!', "unreadable"),
            ];
            let mut sum = sums.same;
            let mut right = format!("{} the same", sums.same);
            for (count, sign, words) in terms.into_iter().filter(|(count, ..)| *count > 0) {
                sum = sum.saturating_add(count);
                let _ = write!(right, " + {count} {words} ({sign})");
            }
            let sign = if sum == listed { '=' } else { '≠' };
            // Other folders of IMAP count as far as mail of the maildrop was found there.
            let listed = counted(listed, "message");
            let folder = sanitize::line(self.against.as_deref().unwrap_or("INBOX"));
            let what =
                if maildrop && side == "B" { format!("{listed} of {folder} and found elsewhere") } else { format!("{listed} listed") };
            let _ = writeln!(text, "{side} {}: {what} {sign} {right}", sanitize::line(place));
        }
        if let Some(formula) = &self.formula {
            let name = sanitize::line(&formula.name);
            let made = match (formula.used, formula.name.as_str()) {
                (true, "uid" | "uid in hex") => "agree with UIDs, as plain numbers do where mail was just filled in,",
                (true, "message-id" | "md5 of message-id") => "are made of Message-IDs",
                (true, _) => "are made of UIDs",
                (false, _) => "look as if made",
            };
            let _ = writeln!(text, "unique-ids {made} in the manner `{name}`: {} of {}", formula.explains, formula.of);
        }
        if let Some(methods) = self.methods.text(self.full) {
            let _ = writeln!(text, "{methods}");
        }
        if self.balanced {
            let _ = writeln!(text, "{}; nothing was changed on either side ({:.1} s)", self.answer(maildrop), self.seconds);
        } else {
            text.push_str("THE COUNTS DO NOT BALANCE: please report this; do not rely on the answer\n");
        }
        text
    }

    fn answer(&self, maildrop: bool) -> String {
        let sums = &self.sums;
        let missing_b = if maildrop { 0 } else { sums.only_b };
        let elsewhere = if maildrop { 0 } else { sums.elsewhere };
        let faults = [
            (sums.only_a, "missing in B"),
            (missing_b, "missing in A"),
            (sums.different, "different"),
            (elsewhere, "in another folder"),
            (sums.doubled, "doubled"),
            (sums.errors, "unreadable"),
            (sums.folders_unread, if sums.folders_unread == 1 { "folder not opened" } else { "folders not opened" }),
        ];
        let named: Vec<String> = faults.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
        if faults.iter().take(5).all(|(count, _)| *count == 0) && !named.is_empty() {
            let unread = [(sums.errors, "message"), (sums.folders_unread, "folder")];
            let unread: Vec<String> = unread.iter().filter(|one| one.0 > 0).map(|(count, what)| counted(*count, what)).collect();
            return format!("no difference was found, but {} could not be read", unread.join(" and "));
        }
        match (named.is_empty(), maildrop) {
            (true, true) => "everything of the maildrop is on IMAP".to_owned(),
            (true, false) => "both hold the same mail".to_owned(),
            (false, _) => format!("not the same: {}", named.join(", ")),
        }
    }
}

fn number<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn word<T: Serialize>(value: Option<T>) -> String {
    value.and_then(|value| serde_json::to_value(value).ok()?.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn half(half: Option<&Half>, field: &str, for_people: bool) -> String {
    let Some(half) = half else { return String::new() };
    match field {
        "folder" => half.folder.clone(),
        // Of no use to people, and the same in every row.
        "uidvalidity" if for_people => String::new(),
        "uidvalidity" => number(half.uidvalidity),
        "uid" => number(half.uid),
        "number" => number(half.number),
        "uidl" => half.uidl.clone().unwrap_or_default(),
        "size" if for_people => half.size.map(bytes_for_people).unwrap_or_default(),
        _ => number(half.size),
    }
}

impl Row for Pairing {
    const COLUMNS: &'static [Column] = &[
        Column::text("verdict"),
        Column::cut("folder_a", 24),
        Column::number("uidvalidity_a"),
        Column::number("uid_a"),
        Column::number("number_a"),
        Column::cut("uidl_a", 24),
        Column::number("size_a"),
        Column::cut("folder_b", 24),
        Column::number("uidvalidity_b"),
        Column::number("uid_b"),
        Column::number("number_b"),
        Column::cut("uidl_b", 24),
        Column::number("size_b"),
        Column::text("method"),
        Column::text("confidence"),
        Column::text("date"),
        Column::text("flags"),
        Column::cut("reason", 60),
        Column::cut("subject", 60),
        Column::cut("message_id", 40),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "verdict" if for_people => self.verdict.sign().to_string(),
            "verdict" => word(Some(self.verdict)),
            "method" => word::<Method>(self.method),
            "confidence" => word::<Confidence>(self.confidence),
            "date" => date(self.date.as_deref(), for_people),
            "flags" => self.flags.join(if for_people { " " } else { "," }),
            "reason" => self.reason.clone().unwrap_or_default(),
            "subject" => self.subject.clone().unwrap_or_default(),
            "message_id" => self.message_id.clone().unwrap_or_default(),
            _ => match (field.strip_suffix("_a"), field.strip_suffix("_b")) {
                (Some(field), _) => half(self.a.as_ref(), field, for_people),
                (_, Some(field)) => half(self.b.as_ref(), field, for_people),
                _ => String::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(verdict: Verdict, subject: &str) -> Pairing {
        let a = Half { folder: "INBOX".to_owned(), number: Some(3), uidl: Some("u\x1b3".to_owned()), size: Some(2048), ..Half::default() };
        let b = Half { folder: "INBOX".to_owned(), uidvalidity: Some(7), uid: Some(9), size: Some(2049), ..Half::default() };
        Pairing {
            verdict,
            method: Some(Method::UidlFormula),
            confidence: Some(Confidence::Exact),
            a: (verdict != Verdict::OnlyB).then_some(a),
            b: (verdict != Verdict::OnlyA).then_some(b),
            flags: vec!["seen".to_owned(), "Work".to_owned()],
            date: Some("2020-09-13T12:26:40Z".to_owned()),
            message_id: Some("m@example.org".to_owned()),
            subject: Some(subject.to_owned()),
            reason: None,
        }
    }

    fn document() -> CompareDocument {
        let sums = Sums { listed_a: 3, listed_b: 4, same: 2, only_a: 1, only_b: 1, doubled: 1, ..Sums::default() };
        let rows = vec![row(Verdict::Same, "a\tb"), row(Verdict::OnlyA, "\x1b[2J\u{202E}x")];
        let formula = Some(Formula { name: "dovecot".to_owned(), explains: 3, of: 3, used: true });
        CompareDocument::new("mailhaul.compare/1", "old", "new\x07", Compared { sums, rows: rows.into(), formula }, 0.25)
    }

    fn written(format: Format, shown: Shown) -> String {
        let mut out = Vec::new();
        document().write(format, shown, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_shows_what_is_not_the_same_and_two_equations() {
        let text = written(Format::Table, Shown::default());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("VERDICT  FOLDER_A  NUMBER_A  UIDL_A  SIZE_A  METHOD"), "{text}");
        assert!(lines[1].starts_with("+        INBOX            3  u\u{FFFD}3       2.0k"), "{text}");
        assert!(lines[1].contains("\u{FFFD}[2J\u{FFFD}x"), "{text}");
        assert_eq!(lines[2], "A old: 3 messages listed = 2 the same + 1 only here (+)");
        assert_eq!(lines[3], "B new\u{FFFD}: 4 messages listed = 2 the same + 1 only here (-) + 1 doubled (2)");
        assert_eq!(lines[4], "unique-ids are made of UIDs in the manner `dovecot`: 3 of 3");
        assert_eq!(lines[5], "what is the same was told by unique-id and a sample of headers (1); no bodies were compared, --full does");
        assert_eq!(lines[6], "not the same: 1 missing in B, 1 missing in A, 1 doubled; nothing was changed on either side (0.2 s)");
        assert!(written(Format::Table, Shown { all: true, ..Shown::default() }).contains("\n=  "));
        assert!(!written(Format::Table, Shown { quiet: true, ..Shown::default() }).contains("listed"));
    }

    #[test]
    fn mail_that_only_imap_has_is_no_fault_of_a_maildrop() {
        let sums = Sums { listed_a: 2, listed_b: 5, same: 1, elsewhere: 1, only_b: 3, ..Sums::default() };
        let document = CompareDocument::new("mailhaul.compare-pop3/1", "a", "b", Compared { sums, ..Compared::default() }, 1.0);
        let text = document.summary.text(true);
        assert!(
            text.contains(
                "B b: 5 messages of INBOX and found elsewhere = 1 the same + 1 in another folder (~) + 3 not in the maildrop (-)\n"
            ),
            "{text}"
        );
        assert!(text.contains("everything of the maildrop is on IMAP; nothing was changed"), "{text}");
        assert!(document.summary.text(false).contains("not the same: 3 missing in A, 1 in another folder"));
    }

    #[test]
    fn what_was_looked_at_is_said_and_no_more() {
        let text = |methods: Methods, full| methods.text(full).unwrap_or_default();
        let methods = Methods { header: 3, content: 2, weak: 1, ..Methods::default() };
        let words = "what is the same was told by header (3), content (2); no other bodies were compared, --full does; 1 in doubt (weak)";
        assert_eq!(text(methods, false), words);
        assert!(text(methods, true).contains("; all contents were compared"));
        assert_eq!(text(Methods { content: 2, ..Methods::default() }, false), "what is the same was told by content (2)");
        assert_eq!(text(Methods::default(), true), "");
    }

    #[test]
    fn a_maildrop_is_said_to_be_held_against_the_folder_that_it_was() {
        let mut summary = CompareDocument::new("mailhaul.compare-pop3/1", "a", "b", Compared::default(), 1.0).summary;
        summary.against = Some("Archive".to_owned());
        assert!(summary.text(true).contains("B b: 0 messages of Archive and found elsewhere ="));
    }

    #[test]
    fn a_bare_uid_is_claimed_with_its_doubt() {
        let formula = |name: &str| {
            let formula = Some(Formula { name: name.to_owned(), explains: 2, of: 2, used: true });
            CompareDocument::new("s", "a", "b", Compared { formula, ..Compared::default() }, 1.0).summary.text(true)
        };
        assert!(formula("uid").contains("unique-ids agree with UIDs, as plain numbers do where mail was just filled in, in the manner"));
        assert!(formula("dovecot").contains("unique-ids are made of UIDs in the manner"));
        assert!(formula("message-id").contains("unique-ids are made of Message-IDs in the manner"));
    }

    #[test]
    fn what_could_not_be_read_alone_is_no_difference() {
        let sums = Sums { listed_a: 2, listed_b: 1, same: 1, errors: 1, errors_a: 1, ..Sums::default() };
        let document = CompareDocument::new("mailhaul.compare/1", "a", "b", Compared { sums, ..Compared::default() }, 1.0);
        assert!(document.summary.text(false).contains("no difference was found, but 1 message could not be read; nothing was changed"));
    }

    #[test]
    fn sums_that_do_not_add_up_are_never_called_equal() {
        let sums = Sums { listed_a: 2, same: 1, ..Sums::default() };
        let document = CompareDocument::new("mailhaul.compare/1", "a", "b", Compared { sums, ..Compared::default() }, 1.0);
        let text = document.summary.text(false);
        assert!(text.contains("2 messages listed ≠ 1 the same") && text.contains("DO NOT BALANCE"), "{text}");
    }

    #[test]
    fn scripts_get_every_row_and_every_promised_member() {
        let tsv = written(Format::Tsv, Shown::default());
        assert_eq!(
            tsv.lines().next().unwrap(),
            "same\tINBOX\t\t\t3\tu\u{FFFD}3\t2048\tINBOX\t7\t9\t\t\t2049\tuidl_formula\texact\t2020-09-13T12:26:40Z\tseen,Work\t\ta b\tm@example.org"
        );
        assert_eq!(tsv.lines().count(), 2);
        let json: serde_json::Value = serde_json::from_str(&written(Format::Json, Shown::default())).unwrap();
        let members = "schema a b same different only_a only_b elsewhere doubled errors rows advice listed_a listed_b balanced formula";
        assert!(members.split_whitespace().all(|name| json.get(name).is_some()), "{json}");
        assert_eq!((json["rows"].as_array().map(Vec::len), json["rows"][1]["verdict"].as_str()), (Some(2), Some("only_a")));
        let lines = written(Format::Jsonl, Shown::default());
        let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!((lines.lines().count(), last["schema"].as_str(), last.get("rows")), (3, Some("mailhaul.compare/1"), None));
    }
}
