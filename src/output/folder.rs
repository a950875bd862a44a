//! The rows that stand for folders in `folders` and its relatives. Their field names are a contract with scripts.

use serde::Serialize;

use super::rows::Row;
use super::sanitize;
use super::table::{Column, bytes_for_people};
use crate::folder::Folder;
use crate::report::Problem;

/// A folder's name as it is shown where it can be typed back behind an account: no two folders look the same, and nothing
/// in it steers a terminal, ends a line or begins the options of a place.
pub fn typed(folder: &Folder) -> String {
    let shown = folder.to_string();
    let shown = sanitize::percent(&shown).replace('?', "%3F");
    let blank = |c: char| c.is_whitespace();
    let inner = shown.trim_start_matches(blank);
    let (before, inner) = shown.split_at_checked(shown.len() - inner.len()).unwrap_or(("", &shown));
    let end = inner.trim_end_matches(blank).len();
    let (inner, after) = inner.split_at_checked(end).unwrap_or((inner, ""));
    format!("{}{inner}{}", octets(before), octets(after))
}

fn octets(text: &str) -> String {
    let mut out = String::new();
    text.bytes().for_each(|byte| sanitize::push_octet(byte, &mut out));
    out
}

/// A folder as `folders` tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FolderRow {
    /// Its name, `/` between levels; can be typed back as it stands.
    pub name: String,
    /// `all`, `archive`, `drafts`, `flagged`, `junk`, `sent` or `trash`.
    pub special_use: Option<String>,
    /// Messages in it; absent where it cannot hold any, or the server would not tell.
    pub messages: Option<u64>,
    /// Those of them without the flag `seen`; absent on POP3.
    pub unseen: Option<u64>,
    /// Those of them that no other session has seen; IMAP4rev1 only.
    pub recent: Option<u64>,
    /// Octets in it; absent where the server does not tell (`--size` adds them up).
    pub size: Option<u64>,
    /// Whether it is subscribed; absent where there is no such notion.
    pub subscribed: Option<bool>,
    /// Whether it can hold messages.
    pub selectable: bool,
    /// UIDVALIDITY.
    pub uidvalidity: Option<u32>,
    /// UIDNEXT.
    pub uidnext: Option<u32>,
}

impl FolderRow {
    /// What tables and `tsv` show unless `--fields` says otherwise.
    pub const DEFAULT: &'static [&'static str] = &["name", "special_use", "messages", "unseen", "size", "subscribed"];
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

impl Row for FolderRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("name"),
        Column::text("special_use"),
        Column::number("messages"),
        Column::number("unseen"),
        Column::number("recent"),
        Column::number("size"),
        Column::text("subscribed"),
        Column::text("selectable"),
        Column::number("uidvalidity"),
        Column::number("uidnext"),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "name" => self.name.clone(),
            "special_use" => self.special_use.clone().unwrap_or_default(),
            "messages" => text(self.messages),
            "unseen" => text(self.unseen),
            "recent" => text(self.recent),
            "size" if for_people => self.size.map(bytes_for_people).unwrap_or_default(),
            "size" => text(self.size),
            "subscribed" => self.subscribed.map(yes_no).unwrap_or_default(),
            "selectable" => yes_no(self.selectable),
            "uidvalidity" => text(self.uidvalidity),
            _ => text(self.uidnext),
        }
    }
}

/// The document of `folders`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct FoldersDocument {
    /// `mailhaul.folders/1`.
    pub schema: String,
    /// The place as the user named it.
    pub place: String,
    /// Its folders, INBOX first.
    pub folders: Vec<FolderRow>,
    /// What could not be had, one by one; absent where all could.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// What became of a folder that `folders create`, `rename`, `delete`, `subscribe` or `unsubscribe` was told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FolderChange {
    /// The account.
    pub place: String,
    /// The folder.
    pub name: String,
    /// `created`, `exists`, `renamed`, `deleted`, `subscribed`, `unsubscribed` or `refused`.
    pub result: String,
    /// What it is called now (`renamed`).
    pub new_name: Option<String>,
    /// How many messages went with it (`deleted`).
    pub messages: Option<u64>,
    /// Why it was refused, or what went wrong beside.
    pub reason: Option<String>,
}

impl FolderChange {
    /// What tables and `tsv` show.
    pub const DEFAULT: &'static [&'static str] = &["result", "place", "name", "new_name", "messages"];
}

impl Row for FolderChange {
    const COLUMNS: &'static [Column] = &[
        Column::text("place"),
        Column::text("name"),
        Column::text("result"),
        Column::text("new_name"),
        Column::number("messages"),
        Column::text("reason"),
    ];

    fn cell(&self, field: &str, _for_people: bool) -> String {
        match field {
            "place" => self.place.clone(),
            "name" => self.name.clone(),
            "result" => self.result.clone(),
            "new_name" => self.new_name.clone().unwrap_or_default(),
            "messages" => text(self.messages),
            _ => self.reason.clone().unwrap_or_default(),
        }
    }
}

/// The document of the verbs that change folders.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct FolderChangesDocument {
    /// `mailhaul.folders-change/1`.
    pub schema: String,
    /// Whether nothing was changed, and the results say what would have been.
    pub dry_run: bool,
    /// Each folder that was named, in that order.
    pub folders: Vec<FolderChange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_name_reads_back_as_the_folder_and_holds_nothing_harmful() {
        for (name, shown) in [
            ("Archive", "Archive"),
            ("a/b", "a%2Fb"),
            ("100%", "100%25"),
            ("what?", "what%3F"),
            (" a ", "%20a%20"),
            ("  ", "%20%20"),
            ("\u{a0}a", "%C2%A0a"),
            ("a\x1b[2J", "a%1B[2J"),
            ("a\u{202e}b", "a%E2%80%AEb"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ] {
            let folder = Folder::from_levels([name]).unwrap();
            assert_eq!(typed(&folder), shown);
            assert_eq!(Folder::parse(shown), Some(folder), "{name:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_folder_can_be_typed_back(levels in proptest::collection::vec("\\PC{1,6}|[\\x00-\\xff\u{2000}-\u{206f}]{1,6}", 1..4)) {
            let folder = Folder::from_levels(levels).unwrap();
            let shown = typed(&folder);
            proptest::prop_assert_eq!(sanitize::line(&shown), shown.as_str());
            proptest::prop_assert_eq!(sanitize::tsv(&shown), shown.as_str());
            proptest::prop_assert!(!shown.contains('?') && shown.trim() == shown);
            proptest::prop_assert_eq!(Folder::parse(&shown), Some(folder));
        }
    }
}
