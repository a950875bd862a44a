//! What `--dry-run` of a copying verb says: the summary's fields as they would be, and each message. It changes nothing and
//! asks nobody.

use serde::Serialize;

use super::App;
use crate::error::Result;
use crate::output::{Column, Format, Head, Row, Rows, bytes_for_people, terminal_width, write_document};
use crate::report::{Counts, FolderCounts, Outcome, Problem};
use crate::store::Listed;
use crate::transfer::Preview;

/// What `--dry-run` says: the summary's fields as they would be, and each message.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct DryRun {
    /// `mailhaul.migrate/1`, say.
    schema: &'static str,
    /// Always true: nothing was changed.
    dry_run: bool,
    /// The source as the user named it.
    source: String,
    /// The destination as the user named it.
    destination: String,
    #[serde(flatten)]
    counts: Counts,
    /// Whether every listed message is accounted for.
    balanced: bool,
    /// The same counts by folder.
    folders: Vec<FolderCounts>,
    /// Always none, and here for programs that read both.
    problems: Vec<Problem>,
    /// Always 0, for the same.
    seconds: f64,
    /// Each message that would be copied.
    messages: Vec<WouldCopy>,
}

/// A message that would be copied.
#[derive(Serialize, schemars::JsonSchema)]
struct WouldCopy {
    /// The folder on the source, or the file.
    folder: String,
    /// Its UID or message number there.
    uid: u32,
    /// Its size in octets as the source claims it.
    size: Option<u64>,
    /// The folder on the destination.
    to: String,
}

impl Row for WouldCopy {
    const COLUMNS: &'static [Column] =
        &[Column::cut("folder", 40), Column::number("uid"), Column::number("size"), Column::cut("to", usize::MAX)];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "folder" => self.folder.clone(),
            "uid" => self.uid.to_string(),
            "size" if for_people => self.size.map(bytes_for_people).unwrap_or_default(),
            "size" => self.size.map(|size| size.to_string()).unwrap_or_default(),
            _ => self.to.clone(),
        }
    }
}

impl DryRun {
    fn new(schema: &'static str, source: &str, destination: &str, previews: &[Preview], named: &Named<'_>) -> Self {
        let mut outcome = Outcome::default();
        let mut messages = Vec::new();
        for preview in previews {
            let counts = Counts {
                listed: preview.listed,
                already_there: preview.already_there,
                unknown: preview.open,
                copied: preview.to_copy.len() as u64,
                bytes: preview.to_copy.iter().filter_map(|listed| listed.size).sum(),
                ..Counts::default()
            };
            outcome.counts.add(&counts);
            outcome.folders.push(FolderCounts { name: preview.folder.to_string(), counts });
            messages.extend(preview.to_copy.iter().map(|listed| {
                let (folder, uid) = named(preview, listed);
                WouldCopy { folder, uid, size: listed.size, to: preview.destination.to_string() }
            }));
        }
        Self {
            schema,
            dry_run: true,
            source: source.to_owned(),
            destination: destination.to_owned(),
            counts: outcome.counts,
            balanced: outcome.counts.balanced(),
            folders: outcome.folders,
            problems: Vec::new(),
            seconds: 0.0,
            messages,
        }
    }
}

/// What rows call a message: a folder (or file), and its number there.
pub(super) type Named<'a> = dyn Fn(&Preview, &Listed) -> (String, u32) + 'a;

/// Writes the previews to standard output: one document, or a row for each message that would go.
pub(super) fn write(
    schema: &'static str,
    source: &str,
    destination: &str,
    previews: &[Preview],
    format: Format,
    named: &Named<'_>,
) -> Result<()> {
    let report = DryRun::new(schema, source, destination, previews, named);
    let mut stdout = std::io::stdout().lock();
    if format.is_json() {
        return write_document(&mut stdout, &report);
    }
    if report.messages.is_empty() {
        return Ok(());
    }
    let head = Head { schema, members: Vec::new(), rows: "messages" };
    let width = terminal_width(std::io::stdout());
    let mut rows = Rows::new::<WouldCopy>(&mut stdout, format, &head, None, &["folder", "uid", "size", "to"], width)?;
    report.messages.iter().try_for_each(|message| rows.row(message))?;
    rows.finish()
}

/// Tells people of each folder how much would be copied; `listed` says what its messages are (`listed`, `selected`).
pub(super) fn tell(app: &App, previews: &[Preview], listed: &str, format: Format) {
    for preview in previews.iter().filter(|_| !format.is_json()) {
        let make = if preview.create { " (to be made)" } else { "" };
        let open = if preview.open > 0 { format!(", {} to be looked for first", preview.open) } else { String::new() };
        app.note(&format!(
            "{} → {}{make}: {} {listed}, {} already there, {} to copy{open}",
            preview.folder,
            preview.destination,
            preview.listed,
            preview.already_there,
            preview.to_copy.len()
        ));
    }
}
