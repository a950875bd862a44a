//! What a copying verb says at its end: a document for scripts, a few sentences with the balance for people. It repeats
//! counts and never makes any.

use std::fmt::Write as _;
use std::io::Write;

use serde::Serialize;

use super::json::{self, STDOUT};
use super::table::bytes_for_people;
use super::{Format, sanitize};
use crate::error::{Error, Result};
use crate::report::{Counts, FolderCounts, Left, Outcome, Problem, Verified, counted};

/// A message that was copied, but not quite as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct AlteredMessage {
    /// The folder on the source.
    pub folder: String,
    /// Its UID or message number on the source.
    pub uid: Option<u32>,
    /// What the destination made us change.
    pub reason: String,
}

/// The summary of `fetch`, `upload`, `backup`, `restore` and `migrate`.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct CopySummary {
    /// `mailhaul.migrate/1`, say.
    pub schema: String,
    /// The source as the user named it.
    pub source: String,
    /// The destination as the user named it.
    pub destination: String,
    /// Sums over all folders.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long it took.
    pub seconds: f64,
    /// Whether every listed message is accounted for; never after a run that was stopped before its end.
    pub balanced: bool,
    /// Whether the run was stopped before its end: what is not accounted for was not reached.
    #[serde(skip)]
    pub stopped: bool,
    /// The same counts by folder.
    pub folders: Vec<FolderCounts>,
    /// What did not make it.
    pub problems: Vec<Problem>,
    /// What did, but changed.
    pub altered_messages: Vec<AlteredMessage>,
    /// What was removed from the source (`migrate --delete-source`).
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// What reading the copies back came to (`migrate --verify`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

impl CopySummary {
    /// The summary of `outcome`.
    pub fn new(schema: &str, source: &str, destination: &str, outcome: Outcome, seconds: f64) -> Self {
        let altered = outcome.altered.into_iter();
        Self {
            schema: schema.to_owned(),
            source: source.to_owned(),
            destination: destination.to_owned(),
            counts: outcome.counts,
            seconds,
            balanced: outcome.counts.balanced() && outcome.folders.iter().all(|folder| folder.counts.balanced()),
            stopped: false,
            folders: outcome.folders,
            problems: outcome.problems,
            altered_messages: altered.map(|one| AlteredMessage { folder: one.folder, uid: one.uid, reason: one.reason }).collect(),
            left: None,
            verified: None,
        }
    }

    /// The same for a run that an error or a signal stopped before its end.
    #[must_use]
    pub fn stopped(mut self, stopped: bool) -> Self {
        self.stopped = stopped;
        self
    }

    /// What came after the copy, with the problems of that.
    #[must_use]
    pub fn then(mut self, left: Option<Left>, verified: Option<Verified>, problems: Vec<Problem>) -> Self {
        self.left = left;
        self.verified = verified;
        self.problems.extend(problems);
        self
    }

    /// Whether the run found nothing to do at all, and nothing that is worth a word.
    fn is_idle(&self) -> bool {
        let counts = &self.counts;
        let quiet = counts.altered == 0 && counts.flags_changed == 0 && counts.gone == 0;
        let left = self.left.as_ref().is_none_or(|left| left.removed == 0);
        !self.stopped && quiet && left && counts.copied == 0 && counts.complete() && self.balanced && self.problems.is_empty()
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// [`crate::error::Kind::BrokenPipe`] when the reader went away, [`crate::error::Kind::Local`] for other I/O errors.
    pub fn write(&self, format: Format, stdout: &mut impl Write) -> Result<()> {
        match format {
            Format::Json | Format::Jsonl => json::write_document(stdout, self),
            Format::Tsv | Format::Table => {
                stdout.write_all(self.text().as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Error::io(STDOUT, error))
            }
        }
    }

    /// Names each problem on a line of standard error; not needed where [`super::Progress`] told of them as they happened.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`], or [`crate::error::Kind::BrokenPipe`].
    pub fn write_problems(&self, stderr: &mut impl Write) -> Result<()> {
        let lines = self.problems.iter().map(|one| named(&one.folder, one.uid, &one.reason));
        write_lines(stderr, lines)
    }

    /// Names each altered message on a line of standard error (`-v`).
    ///
    /// # Errors
    /// As [`CopySummary::write_problems`].
    pub fn write_altered(&self, stderr: &mut impl Write) -> Result<()> {
        let lines = self.altered_messages.iter().map(|one| named(&one.folder, one.uid, &format!("altered: {}", one.reason)));
        write_lines(stderr, lines)
    }

    /// For people: from where to where, the balance, and what is worth a second look.
    pub fn text(&self) -> String {
        let counts = &self.counts;
        let mut after = String::new();
        if let Some(Verified { copies, same, different, missing }) = self.verified {
            let _ = write!(after, "read back {} = the same {same}", counted(copies, "copy").replace("copys", "copies"));
            for (count, words) in [(different, "different"), (missing, "missing")].into_iter().filter(|(count, _)| *count > 0) {
                let _ = write!(after, " + {words} {count}");
            }
            after.push('\n');
        }
        if let Some(left) = &self.left {
            let folders: Vec<String> = left.removed_from.iter().map(|one| format!("{} {}", one.folder, one.messages)).collect();
            let folders = if folders.is_empty() { String::new() } else { format!(" ({})", sanitize::line(&folders.join(", "))) };
            let _ = writeln!(after, "removed from the source: {}{folders}", left.removed);
            for (reason, count) in left.reasons() {
                let _ = writeln!(after, "kept there: {count}, because {}", sanitize::line(reason));
            }
        }
        if self.is_idle() {
            // From cron this is what comes every few minutes: a line and no more.
            let after = after.lines().fold(String::new(), |all, line| format!("{all}; {line}"));
            let (source, destination) = (sanitize::line(&self.source), sanitize::line(&self.destination));
            return format!("{source} → {destination}: {}{after}\n", equation(counts));
        }
        let mut text = format!(
            "{} → {}: {} in {:.1} s\n{}\n",
            sanitize::line(&self.source),
            sanitize::line(&self.destination),
            size(counts.bytes),
            self.seconds,
            equation(counts)
        );
        let asides = [
            (counts.altered, "altered by what the destination demands (-v names them)"),
            (counts.flags_changed, "with flags brought up to date"),
            (counts.gone, "known from earlier runs and gone from the source"),
        ];
        for (count, words) in asides.into_iter().filter(|(count, _)| *count > 0) {
            let _ = writeln!(text, "{count} {words}");
        }
        text.push_str(&after);
        if self.stopped {
            text.push_str("stopped before the end: what the counts lack was not reached\n");
        } else if !self.balanced {
            text.push_str("THE COUNTS DO NOT BALANCE: please report this; run the same command again before you rely on the copy\n");
        }
        text
    }
}

fn size(bytes: u64) -> String {
    let text = bytes_for_people(bytes);
    if bytes < 1024 { format!("{text} bytes") } else { format!("{text}B") }
}

/// The balance, in which the first two terms always stand and others when they are not 0.
fn equation(counts: &Counts) -> String {
    let mut text = format!("listed {} = copied {} + already there {}", counts.listed, counts.copied, counts.already_there);
    let more = [
        (counts.filtered, "filtered"),
        (counts.merged, "merged"),
        (counts.refused, "refused"),
        (counts.quarantined, "quarantined"),
        (counts.unknown, "unknown"),
        (counts.vanished, "vanished"),
    ];
    for (count, words) in more.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, " + {words} {count}");
    }
    if !counts.balanced() {
        text = text.replacen(" = ", " ≠ ", 1);
    }
    text
}

fn named(folder: &str, uid: Option<u32>, reason: &str) -> String {
    let whole = match uid {
        Some(uid) => format!("{folder} {uid}: {reason}"),
        None => format!("{folder}: {reason}"),
    };
    sanitize::line(&whole).into_owned()
}

fn write_lines(stderr: &mut impl Write, mut lines: impl Iterator<Item = String>) -> Result<()> {
    let written = lines.try_for_each(|line| writeln!(stderr, "{line}"));
    written.map_err(|error| Error::io("standard error", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> CopySummary {
        let counts = Counts { listed: 500, copied: 498, refused: 2, altered: 1, bytes: 3 << 20, ..Counts::default() };
        let problem = |reason: &str| Problem { folder: "a\x1bb".to_owned(), uid: Some(7), reason: reason.to_owned() };
        let folders = vec![FolderCounts { name: "INBOX".to_owned(), counts }];
        let outcome = Outcome { counts, folders, problems: vec![problem("too big")], altered: vec![problem("bare LF")] };
        CopySummary::new("mailhaul.migrate/1", "work", "new", outcome, 1.25)
    }

    fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_read_a_balance_and_each_problem_on_a_line() {
        let out = text(|out| summary().write(Format::Table, out));
        assert!(out.contains("listed 500 = copied 498 + already there 0 + refused 2\n"), "{out}");
        assert_eq!(text(|out| summary().write_problems(out)), "a\u{FFFD}b 7: too big\n");
        assert_eq!(text(|out| summary().write_altered(out)), "a\u{FFFD}b 7: altered: bare LF\n");
    }

    #[test]
    fn scripts_find_every_promised_member() {
        let value: serde_json::Value = serde_json::from_str(&text(|out| summary().write(Format::Json, out))).unwrap();
        let members = "schema source destination listed filtered copied already_there merged refused quarantined unknown vanished \
                       altered flags_changed gone bytes seconds balanced folders problems altered_messages";
        assert!(members.split_whitespace().all(|name| value.get(name).is_some()), "{value}");
        assert_eq!(value["folders"][0]["name"], "INBOX");
        assert_eq!(value["folders"][0]["copied"], 498);
        assert_eq!(value["problems"][0]["uid"], 7);
        assert_eq!(value["balanced"], true);
    }

    #[test]
    fn an_imbalance_is_shouted() {
        let mut outcome = Outcome::default();
        outcome.counts.listed = 1;
        let text = CopySummary::new("s", "a", "b", outcome, 0.0).text();
        assert!(text.contains("listed 1 ≠ copied 0") && text.contains("DO NOT BALANCE"), "{text}");
    }
}
