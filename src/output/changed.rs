//! What verbs that change messages write: a row for each message, and the document they stand in. Its field names are a
//! contract with scripts.

use serde::Serialize;

use super::message::{addresses, date};
use super::rows::Row;
use super::table::Column;
use crate::message::{Flag, InternalDate};
use crate::report::Problem;
use crate::summary::{Address, Summary};

/// A message that was changed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ChangedRow {
    /// The folder, `/` between levels.
    pub folder: String,
    /// UID; absent on POP3 and local places.
    pub uid: Option<u32>,
    /// The message number; on POP3 and local places only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The unique-id; on POP3 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uidl: Option<String>,
    /// UID where it is now, where the server tells.
    pub new_uid: Option<u32>,
    /// Its flags now, without backslash, system flags lower case.
    pub flags: Vec<String>,
    /// The `Date` field, RFC 3339; with `--dry-run` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The `From` field; with `--dry-run` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Address>,
    /// The `Subject` field, decoded; with `--dry-run` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl ChangedRow {
    /// Takes over flags as the protocol writes them.
    #[must_use]
    pub fn with_flags(mut self, flags: &[Flag]) -> Self {
        self.flags = flags.iter().map(ToString::to_string).collect();
        self
    }

    /// Takes over what the header says, for people to tell messages apart.
    #[must_use]
    pub fn with_summary(mut self, summary: Summary) -> Self {
        self.date = summary.date.and_then(InternalDate::rfc3339);
        self.from = summary.from;
        self.subject = summary.subject;
        self
    }
}

impl Row for ChangedRow {
    const COLUMNS: &'static [Column] = &[
        Column::cut("folder", 40),
        Column::number("uid"),
        Column::number("number"),
        Column::text("uidl"),
        Column::number("new_uid"),
        Column::text("flags"),
        Column::text("date"),
        Column::cut("from", 30),
        Column::cut("subject", usize::MAX),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
        match field {
            "folder" => self.folder.clone(),
            "uid" => number(self.uid),
            "number" => number(self.number),
            "uidl" => self.uidl.clone().unwrap_or_default(),
            "new_uid" => number(self.new_uid),
            "flags" => self.flags.join(if for_people { " " } else { "," }),
            "date" => date(self.date.as_deref(), for_people),
            "from" => addresses(&self.from, for_people),
            "subject" => self.subject.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }
}

/// The document of `flag`, `move`, `copy` and `delete`. It is written row by row, so that it takes no memory; this is what it
/// looks like in the end.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
pub struct ChangedDocument {
    /// `mailhaul.flag/1` and so on.
    pub schema: String,
    /// The place as the user named it.
    pub place: String,
    /// Messages that were chosen.
    pub selected: u64,
    /// Messages that were changed, or with `dry_run` would be.
    pub changed: u64,
    /// Nothing was done in fact.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What could not be done, message by message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// The messages that were changed, or with `dry_run` would be.
    pub messages: Vec<ChangedRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_object_is_a_column_under_the_same_name() {
        let from = vec![Address { name: Some("Ann".into()), address: Some("a@b.c".into()) }];
        let text = || Some("2003-07-01T10:52:37+02:00".to_owned());
        let row = ChangedRow { number: Some(1), uidl: text(), date: text(), from, subject: text(), ..ChangedRow::default() };
        let object = serde_json::to_value(&row).unwrap();
        let mut columns: Vec<&str> = ChangedRow::COLUMNS.iter().map(|column| column.name).collect();
        columns.sort_unstable();
        assert_eq!(object.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), columns);
        assert_eq!((row.cell("from", false), row.cell("date", true)), ("Ann <a@b.c>".to_owned(), "2003-07-01 10:52".to_owned()));
    }
}
