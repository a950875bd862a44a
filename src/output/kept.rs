//! What `status`, `problems` and `prune` tell of stores and of journals. Their field names are a contract with scripts.

use serde::Serialize;

use super::rows::Row;
use super::table::{Column, bytes_for_people};

/// How one folder stands, or (without a folder) a whole account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct StatusRow {
    /// The store, or the account that mail is migrated to.
    pub place: String,
    /// The account's directory in the store; of a migration, its source. Absent in a store no run was completed over.
    pub account: Option<String>,
    /// The folder; absent in the row of the whole account.
    pub folder: Option<String>,
    /// When the last complete run ended, RFC 3339; absent when there was none.
    pub last_complete: Option<String>,
    /// How many seconds ago that was.
    pub age: Option<u64>,
    /// Whether that is longer ago than `--max-age` allows; in rows of whole accounts only.
    pub late: Option<bool>,
    /// Messages on the server, by the last visit; of a migration, those at the destination.
    pub messages: u64,
    /// Messages kept that are gone from the server.
    pub gone: Option<u64>,
    /// Octets of the files.
    pub bytes: Option<u64>,
    /// Messages put aside or refused, without those that were said to be ignored.
    pub problems: u64,
    /// Messages put aside that were said to be ignored.
    pub ignored: u64,
    /// Copies whose fate is open; of migrations only.
    pub unsettled: Option<u64>,
    /// What a run is doing here now.
    pub doing: Option<String>,
    /// How the last run ended, where it was not complete; what else should be known.
    pub note: Option<String>,
}

impl StatusRow {
    /// What tables and `tsv` show of one store.
    pub const DEFAULT: &'static [&'static str] =
        &["account", "folder", "last_complete", "age", "messages", "gone", "bytes", "problems", "doing", "note"];
    /// The same of several.
    pub const SEVERAL: &'static [&'static str] =
        &["place", "account", "folder", "last_complete", "age", "messages", "gone", "bytes", "problems", "doing", "note"];
}

/// A length of time in the two largest units that are not zero: `26h`, `3d 4h`.
pub fn age_for_people(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3600, seconds % 3600 / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn octets(value: Option<u64>, for_people: bool) -> String {
    if for_people { value.map(bytes_for_people).unwrap_or_default() } else { text(value.as_ref()) }
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

impl Row for StatusRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("place"),
        Column::text("account"),
        Column::text("folder"),
        Column::text("last_complete"),
        Column::number("age"),
        Column::text("late"),
        Column::number("messages"),
        Column::number("gone"),
        Column::number("bytes"),
        Column::number("problems"),
        Column::number("ignored"),
        Column::number("unsettled"),
        Column::text("doing"),
        Column::text("note"),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "place" => self.place.clone(),
            "account" => text(self.account.as_ref()),
            "folder" if for_people && self.folder.is_none() => "(all)".to_owned(),
            "folder" => text(self.folder.as_ref()),
            "last_complete" if for_people && self.last_complete.is_none() => "never".to_owned(),
            "last_complete" => text(self.last_complete.as_ref()),
            "age" if for_people => self.age.map(age_for_people).unwrap_or_default(),
            "age" => text(self.age.as_ref()),
            "late" => self.late.map(yes_no).unwrap_or_default(),
            "messages" => self.messages.to_string(),
            "gone" => text(self.gone.as_ref()),
            "bytes" => octets(self.bytes, for_people),
            "problems" => self.problems.to_string(),
            "ignored" => self.ignored.to_string(),
            "unsettled" => text(self.unsettled.as_ref()),
            "doing" => text(self.doing.as_ref()),
            _ => text(self.note.as_ref()),
        }
    }
}

/// A store or journal that was asked.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct StatusPlace {
    /// As it was named.
    pub place: String,
    /// `maildir`, `mbox` or `eml`; absent of migrations, and where the store does not tell.
    pub layout: Option<String>,
    /// The run that is at work.
    pub running: Option<Running>,
    /// Why nothing can be told.
    pub error: Option<String>,
}

/// A run at work.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Running {
    /// Its process, where it left its number.
    pub process: Option<u32>,
    /// The word it left last, as it left it.
    pub progress: Option<serde_json::Value>,
}

/// The document of `status`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct StatusDocument {
    /// `mailhaul.status/1`.
    pub schema: String,
    /// Whether some account is older than `--max-age` allows.
    pub late: bool,
    /// What was asked.
    pub places: Vec<StatusPlace>,
    /// Each account, followed by its folders.
    pub rows: Vec<StatusRow>,
}

/// A message that was put aside or refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ProblemRow {
    /// Its short name, for `--retry`, `--ignore` and `--export`.
    pub id: String,
    /// The account's directory in the store; of a migration, its source.
    pub account: String,
    /// The folder.
    pub folder: String,
    /// UID, or message number on POP3.
    pub uid: Option<u32>,
    /// Its key: `uid:UIDVALIDITY:UID`, `uidl:…`, `content:…`.
    pub key: String,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was tried last, RFC 3339; stores only.
    pub tried: Option<String>,
    /// Whether a person said that it is no problem.
    pub ignored: bool,
    /// `retry`, `ignored` or `exported` where that was done with it.
    pub result: Option<String>,
    /// The files that were written (`--export`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

impl ProblemRow {
    /// What tables and `tsv` show.
    pub const DEFAULT: &'static [&'static str] = &["id", "account", "folder", "uid", "tries", "tried", "ignored", "reason"];
}

impl Row for ProblemRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("id"),
        Column::text("account"),
        Column::text("folder"),
        Column::number("uid"),
        Column::text("key"),
        Column::text("reason"),
        Column::number("tries"),
        Column::text("tried"),
        Column::text("ignored"),
        Column::text("result"),
        Column::text("files"),
    ];

    fn cell(&self, field: &str, _for_people: bool) -> String {
        match field {
            "id" => self.id.clone(),
            "account" => self.account.clone(),
            "folder" => self.folder.clone(),
            "uid" => text(self.uid.as_ref()),
            "key" => self.key.clone(),
            "reason" => self.reason.clone(),
            "tries" => self.tries.to_string(),
            "tried" => text(self.tried.as_ref()),
            "ignored" => yes_no(self.ignored),
            "result" => text(self.result.as_ref()),
            _ => self.files.join(" "),
        }
    }
}

/// The document of `problems`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ProblemsDocument {
    /// `mailhaul.problems/1`.
    pub schema: String,
    /// The store or destination as it was named.
    pub place: String,
    /// What was put aside or refused, by account and folder.
    pub messages: Vec<ProblemRow>,
}

/// A message that left a store, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PruneRow {
    /// The account's directory in the store.
    pub account: String,
    /// The folder.
    pub folder: String,
    /// The file, without what its name says of flags.
    pub file: String,
    /// Since when the message is gone from the server, RFC 3339.
    pub gone_since: Option<String>,
    /// INTERNALDATE, RFC 3339.
    pub internal_date: Option<String>,
    /// Octets of the file.
    pub size: u64,
    /// The `Subject` field, decoded; where nothing was removed yet.
    pub subject: Option<String>,
}

impl PruneRow {
    /// What tables and `tsv` show.
    pub const DEFAULT: &'static [&'static str] = &["account", "folder", "gone_since", "internal_date", "size", "subject", "file"];
}

impl Row for PruneRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("account"),
        Column::text("folder"),
        Column::text("file"),
        Column::text("gone_since"),
        Column::text("internal_date"),
        Column::number("size"),
        Column::cut("subject", 40),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "account" => self.account.clone(),
            "folder" => self.folder.clone(),
            "file" => self.file.clone(),
            "gone_since" => text(self.gone_since.as_ref()),
            "internal_date" => text(self.internal_date.as_ref()),
            "size" => octets(Some(self.size), for_people),
            _ => text(self.subject.as_ref()),
        }
    }
}

/// What leaves one folder.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct PruneFolder {
    /// The account's directory in the store.
    pub account: String,
    /// The folder.
    pub folder: String,
    /// How many messages.
    pub messages: u64,
    /// Octets of their files.
    pub bytes: u64,
}

/// The document of `prune`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct PruneDocument {
    /// `mailhaul.prune/1`.
    pub schema: String,
    /// The store as it was named.
    pub store: String,
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// What goes, by folder.
    pub folders: Vec<PruneFolder>,
    /// The messages that would go, or went.
    pub messages: Vec<PruneRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_shows_its_two_largest_units() {
        let shown = [0, 59, 60, 3600, 5400, 93_600, 86_400, 90_061 * 10].map(age_for_people);
        assert_eq!(shown, ["0s", "59s", "1m", "1h", "1h 30m", "1d 2h", "1d", "10d 10h"]);
    }
}
