//! What `backup --dry-run` says: the summary's fields as they would be, and each message. It changes nothing and asks nobody.

use serde::Serialize;

use crate::error::Result;
use crate::output::{Column, Format, Head, Row, Rows, bytes_for_people, terminal_width, write_document};
use crate::report::{Counts, FolderCounts, Problem, counted};
use crate::transfer::backup::preview::{Preview, Would};

/// What a run of `backup` would do.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct WouldBackUp {
    /// `mailhaul.backup/1`.
    schema: &'static str,
    /// Always true: nothing was changed.
    dry_run: bool,
    /// The accounts as the user named them.
    source: String,
    /// The store as the user named it.
    destination: String,
    /// `copied` is what would be fetched, at most.
    #[serde(flatten)]
    counts: Counts,
    /// Files that --mirror would remove.
    removed: u64,
    /// Whether every listed message is accounted for.
    balanced: bool,
    /// Always 0.
    seconds: f64,
    /// The same counts by folder.
    folders: Vec<FolderCounts>,
    /// Always none.
    problems: Vec<Problem>,
    /// Each message that something would be done about.
    messages: Vec<WouldDo>,
}

/// A message that something would be done about.
#[derive(Serialize, schemars::JsonSchema)]
struct WouldDo {
    /// The account as the user named it.
    account: String,
    /// Its folder.
    folder: String,
    /// Its UID, or number on POP3; absent where the server does not list it.
    uid: Option<u32>,
    /// Its size as the server claims it, or that of the file.
    size: Option<u64>,
    /// `fetch`, `gone` or `remove`.
    action: &'static str,
    /// The unique part of its file's name, for one that is gone already.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Row for WouldDo {
    const COLUMNS: &'static [Column] = &[
        Column::cut("account", 30),
        Column::cut("folder", 40),
        Column::number("uid"),
        Column::number("size"),
        Column::cut("action", 10),
        Column::cut("file", usize::MAX),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "account" => self.account.clone(),
            "folder" => self.folder.clone(),
            "uid" => self.uid.map(|uid| uid.to_string()).unwrap_or_default(),
            "size" if for_people => self.size.map(bytes_for_people).unwrap_or_default(),
            "size" => self.size.map(|size| size.to_string()).unwrap_or_default(),
            "action" => self.action.to_owned(),
            _ => self.file.clone().unwrap_or_default(),
        }
    }
}

impl WouldBackUp {
    /// From the previews of each account, under the names the user gave them.
    pub(super) fn new(schema: &'static str, store: &str, accounts: &[(String, Vec<Preview>)]) -> Self {
        let source: Vec<&str> = accounts.iter().map(|(name, _)| name.as_str()).collect();
        let mut sum = Self {
            schema,
            dry_run: true,
            source: source.join(", "),
            destination: store.to_owned(),
            counts: Counts::default(),
            removed: 0,
            balanced: false,
            seconds: 0.0,
            folders: Vec::new(),
            problems: Vec::new(),
            messages: Vec::new(),
        };
        for (account, previews) in accounts {
            for preview in previews {
                let folder = preview.folder.to_string();
                let counts = Counts {
                    listed: preview.listed,
                    already_there: preview.already_there,
                    filtered: preview.filtered,
                    copied: preview.fetch.len() as u64,
                    gone: preview.gone.len() as u64,
                    bytes: preview.fetch.iter().filter_map(|would| would.size).sum(),
                    ..Counts::default()
                };
                sum.counts.add(&counts);
                sum.removed += preview.remove.len() as u64;
                let name = if accounts.len() > 1 { format!("{account}/{folder}") } else { folder.clone() };
                sum.folders.push(FolderCounts { name, counts });
                // What is removed is gone as well: it is named once, by what would be done.
                let gone: &[Would] = if preview.remove.is_empty() { &preview.gone } else { &[] };
                for (action, all) in [("fetch", preview.fetch.as_slice()), ("gone", gone), ("remove", &preview.remove)] {
                    sum.messages.extend(all.iter().map(|would| WouldDo {
                        account: account.clone(),
                        folder: folder.clone(),
                        uid: would.uid,
                        size: would.size,
                        action,
                        file: would.file.clone(),
                    }));
                }
            }
        }
        sum.balanced = sum.counts.balanced();
        sum
    }

    /// Writes it to standard output: one document, or a row for each message.
    pub(super) fn write(&self, format: Format) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        if format.is_json() {
            return write_document(&mut stdout, self);
        }
        if self.messages.is_empty() {
            return Ok(());
        }
        let head = Head { schema: self.schema, members: Vec::new(), rows: "messages" };
        let width = terminal_width(std::io::stdout());
        let fields = ["account", "folder", "uid", "size", "action", "file"];
        let mut rows = Rows::new::<WouldDo>(&mut stdout, format, &head, None, &fields, width)?;
        self.messages.iter().try_for_each(|message| rows.row(message))?;
        rows.finish()
    }
}

/// One folder in a sentence; `None` where nothing would be done.
pub(super) fn sentence(account: &str, preview: &Preview) -> Option<String> {
    let parts = [
        (preview.fetch.len(), "to fetch"),
        (if preview.remove.is_empty() { preview.gone.len() } else { 0 }, "to mark as gone"),
        (preview.remove.len(), "to remove"),
    ];
    let done: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
    if done.is_empty() {
        return None;
    }
    let unsure = preview.unsure.map(|words| format!(" ({words})")).unwrap_or_default();
    let folder = &preview.folder;
    Some(format!(
        "{account}/{folder}: {} listed, {} here already, {}{unsure}",
        counted(preview.listed, "message"),
        preview.already_there,
        done.join(", ")
    ))
}
