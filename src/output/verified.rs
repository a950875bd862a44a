//! What a look at a store of backups, and the making anew of its journal, write. Field names are a contract with scripts.

use std::fmt::Write as _;
use std::io::Write;

use serde::Serialize;

use super::json::{self, STDOUT};
use super::table::bytes_for_people;
use super::{Format, sanitize};
use crate::error::{Error, Result};
use crate::report::{Checked, Finding, Sampled, Sums, counted};

/// What `verify` writes.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct VerifyDocument {
    /// `mailhaul.verify/1`.
    pub schema: &'static str,
    /// The store as the user named it.
    pub store: String,
    /// The account it was compared with, as the user named it.
    pub place: Option<String>,
    /// What was found, counted.
    #[serde(flatten)]
    pub sums: Sums,
    /// Octets read.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// How much was read; null for everything.
    pub sample: Option<Sampled>,
    /// The journal that was put aside, where it had to be made anew.
    pub old_journal: Option<String>,
    /// Each finding.
    pub problems: Vec<Finding>,
}

impl VerifyDocument {
    /// The document of what was found.
    pub fn new(schema: &'static str, store: &str, place: Option<&str>, checked: Checked, seconds: f64) -> Self {
        Self {
            schema,
            store: store.to_owned(),
            place: place.map(ToOwned::to_owned),
            sums: checked.sums,
            bytes: checked.octets,
            seconds,
            sample: checked.sample,
            old_journal: None,
            problems: checked.findings,
        }
    }

    /// Writes it to standard output; each finding is on a line of its own before the sum.
    ///
    /// # Errors
    /// [`crate::error::Kind::BrokenPipe`] when the reader went away, [`crate::error::Kind::Local`] for other I/O errors.
    pub fn write(&self, format: Format, stdout: &mut impl Write) -> Result<()> {
        write(self, || self.text(), format, stdout)
    }

    /// For people: the sum, and how sure it is.
    pub fn text(&self) -> String {
        let sums = &self.sums;
        let mut text = format!("{}: {} checked, {} as recorded", sanitize::line(&self.store), counted(sums.checked, "file"), sums.ok);
        let more = [
            (sums.damaged, "damaged"),
            (sums.missing, "missing"),
            (sums.extra, "extra"),
            (sums.contradictions, "wrong in the journal or a manifest"),
            (sums.different, "different on the server"),
            (sums.not_yet_backed_up, "not yet backed up"),
            (sums.repaired, "put right"),
        ];
        for (count, words) in more.into_iter().filter(|(count, _)| *count > 0) {
            let _ = write!(text, ", {count} {words}");
        }
        let _ = writeln!(text, " ({} in {:.1} s)", octets(self.bytes), self.seconds);
        if let Some(messages) = sums.on_server {
            let place = self.place.as_deref().unwrap_or_default();
            let lacking = sums.missing + sums.different + sums.not_yet_backed_up;
            let all = if lacking > 0 || messages == 0 { "" } else { ", nothing of it is missing here" };
            let _ = writeln!(text, "{}: {} listed{all}", sanitize::line(place), counted(messages, "message"));
        }
        if let Some(sample) = self.sample {
            let _ =
                writeln!(text, "a sample: {} of {} were read; the others were only looked for", counted(sample.files, "file"), sample.of);
        }
        text
    }
}

/// Writes a document for programs, or its text for people.
fn write(document: &impl Serialize, text: impl FnOnce() -> String, format: Format, stdout: &mut impl Write) -> Result<()> {
    if format.is_json() {
        return json::write_document(stdout, document);
    }
    stdout.write_all(text().as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Error::io(STDOUT, error))
}

/// A finding as one line.
pub fn finding_line(finding: &Finding) -> String {
    let mut text = finding.account.clone().unwrap_or_default();
    if let Some(folder) = &finding.folder {
        if !text.is_empty() {
            text.push('/');
        }
        text.push_str(folder);
    }
    if let Some(uid) = finding.uid {
        let _ = write!(text, " {uid}");
    }
    if let Some(path) = &finding.path {
        let _ = write!(text, " ({path})");
    }
    let done = if finding.repaired { "; put right" } else { "" };
    sanitize::line(&format!("{}: {}{done}", text.trim_start(), finding.reason)).into_owned()
}

/// What `rebuild` writes.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct RebuildDocument {
    /// `mailhaul.rebuild/1`.
    pub schema: &'static str,
    /// The store as the user named it.
    pub store: String,
    /// The account it was confirmed against, as the user named it.
    pub place: Option<String>,
    /// Where the old journal lies now; null where there was none.
    pub old_journal: Option<String>,
    /// Accounts found.
    pub accounts: u64,
    /// Folders found.
    pub folders: u64,
    /// Files taken into the new journal.
    pub files: u64,
    /// Messages known by UID or unique-id.
    pub messages: u64,
    /// Of these confirmed by the server.
    pub confirmed: u64,
    /// Of these gone from the server.
    pub gone: u64,
    /// Octets read.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Files that could not be taken in.
    pub problems: Vec<Finding>,
}

impl RebuildDocument {
    /// Writes it to standard output.
    ///
    /// # Errors
    /// As [`VerifyDocument::write`].
    pub fn write(&self, format: Format, stdout: &mut impl Write) -> Result<()> {
        write(self, || self.text(), format, stdout)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}: the journal is made anew of {} in {} of {}, {} known by UID or unique-id",
            sanitize::line(&self.store),
            counted(self.files, "file"),
            counted(self.folders, "folder"),
            counted(self.accounts, "account"),
            self.messages
        );
        if let Some(place) = &self.place {
            let _ = write!(text, ", {} confirmed by {}, {} gone from it", self.confirmed, sanitize::line(place), self.gone);
        }
        let _ = writeln!(text, " ({} in {:.1} s)", octets(self.bytes), self.seconds);
        if let Some(old) = &self.old_journal {
            let _ = writeln!(text, "the old journal is kept as {}", sanitize::line(old));
        }
        text
    }
}

fn octets(count: u64) -> String {
    let text = bytes_for_people(count);
    if count < 1024 { format!("{text} bytes") } else { format!("{text}B") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Fault;

    fn finding() -> Finding {
        Finding {
            kind: Fault::Damaged,
            account: Some("work".to_owned()),
            folder: Some("A\x1bB".to_owned()),
            uid: Some(7),
            path: Some("work/cur/x".to_owned()),
            reason: "other octets".to_owned(),
            repaired: true,
        }
    }

    #[test]
    fn a_finding_names_account_folder_uid_and_file_harmlessly() {
        assert_eq!(finding_line(&finding()), "work/A\u{FFFD}B 7 (work/cur/x): other octets; put right");
    }

    #[test]
    fn scripts_find_every_promised_member_and_a_sample_is_never_silent() {
        let mut checked = Checked {
            sums: Sums { checked: 2, ok: 1, ..Sums::default() },
            sample: Some(Sampled { files: 1, of: 2 }),
            ..Checked::default()
        };
        checked.found(finding(), 1);
        let document = VerifyDocument::new("mailhaul.verify/1", "s", None, checked, 0.5);
        let value = serde_json::to_value(&document).unwrap();
        let members = "schema checked ok damaged missing extra problems not_yet_backed_up repaired sample";
        assert!(members.split_whitespace().all(|name| value.get(name).is_some()), "{value}");
        assert_eq!((value["damaged"].as_u64(), value["problems"][0]["kind"].as_str()), (Some(1), Some("damaged")));
        assert!(document.text().contains("a sample: 1 file of 2"), "{}", document.text());
    }
}
