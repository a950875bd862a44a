//! The row that stands for one message in `list` and its relatives. Its field names are a contract with scripts.

use serde::Serialize;

use super::rows::Row;
use super::table::{Column, bytes_for_people};
use crate::message::{Flag, InternalDate};
use crate::report::Problem;
use crate::summary::{Address, Summary};

/// A message as `list` tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct MessageRow {
    /// The place as the user named it.
    pub place: String,
    /// The folder, `/` between levels.
    pub folder: String,
    /// UIDVALIDITY; absent where the store has no such notion.
    pub uidvalidity: Option<u32>,
    /// UID; absent on POP3.
    pub uid: Option<u32>,
    /// The message number; on POP3 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The unique-id; on POP3 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uidl: Option<String>,
    /// Size in octets, as the server claims it.
    pub size: Option<u64>,
    /// Flags without backslash, system flags lower case.
    pub flags: Vec<String>,
    /// When the mailbox got it, RFC 3339.
    pub internal_date: Option<String>,
    /// The `Date` field, RFC 3339.
    pub date: Option<String>,
    /// The `From` field.
    pub from: Vec<Address>,
    /// The `To` field.
    pub to: Vec<Address>,
    /// The `Cc` field.
    pub cc: Vec<Address>,
    /// The `Subject` field, decoded.
    pub subject: Option<String>,
    /// The `Message-ID` field without angle brackets.
    pub message_id: Option<String>,
}

/// The document of `list`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ListDocument {
    /// `mailhaul.list/1`.
    pub schema: String,
    /// The places as the user named them.
    pub places: Vec<String>,
    /// A row for each message, by place and rising UID. With `--fields` a row holds just the fields asked for.
    pub messages: Vec<MessageRow>,
    /// What could not be had, one by one; absent where all could.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl MessageRow {
    /// What tables and `tsv` show unless `--fields` says otherwise.
    pub fn default_fields(pop3: bool, several_places: bool, several_folders: bool) -> Vec<&'static str> {
        let mut fields = Vec::new();
        if several_places {
            fields.push("place");
        }
        if several_folders {
            fields.push("folder");
        }
        fields.push(if pop3 { "number" } else { "uid" });
        fields.extend(["flags", "date", "size", "from", "subject"]);
        fields
    }

    /// Takes over what the header says.
    #[must_use]
    pub fn with_summary(mut self, summary: Summary) -> Self {
        self.date = summary.date.and_then(InternalDate::rfc3339);
        self.from = summary.from;
        self.to = summary.to;
        self.cc = summary.cc;
        self.subject = summary.subject;
        self.message_id = summary.message_id;
        self
    }

    /// Takes over flags as the protocol writes them.
    #[must_use]
    pub fn with_flags(mut self, flags: &[Flag]) -> Self {
        self.flags = flags.iter().map(ToString::to_string).collect();
        self
    }
}

impl Row for MessageRow {
    const COLUMNS: &'static [Column] = &[
        Column::cut("place", 30),
        Column::cut("folder", 40),
        Column::number("uidvalidity"),
        Column::number("uid"),
        Column::number("number"),
        Column::text("uidl"),
        Column::number("size"),
        Column::text("flags"),
        Column::text("internal_date"),
        Column::text("date"),
        Column::cut("from", 30),
        Column::cut("to", 30),
        Column::cut("cc", 30),
        Column::cut("subject", usize::MAX),
        Column::text("message_id"),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "place" => self.place.clone(),
            "folder" => self.folder.clone(),
            "uidvalidity" => number(self.uidvalidity),
            "uid" => number(self.uid),
            "number" => number(self.number),
            "uidl" => self.uidl.clone().unwrap_or_default(),
            "size" if for_people => self.size.map(bytes_for_people).unwrap_or_default(),
            "size" => number(self.size),
            "flags" if for_people => self.flags.join(" "),
            "flags" => self.flags.join(","),
            "internal_date" => date(self.internal_date.as_deref(), for_people),
            "date" => date(self.date.as_deref().or(self.internal_date.as_deref().filter(|_| for_people)), for_people),
            "from" => addresses(&self.from, for_people),
            "to" => addresses(&self.to, for_people),
            "cc" => addresses(&self.cc, for_people),
            "subject" => self.subject.clone().unwrap_or_default(),
            "message_id" => self.message_id.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }
}

fn number(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// People get `2003-07-01 10:52`, as the sender's clock showed it.
pub(super) fn date(rfc3339: Option<&str>, for_people: bool) -> String {
    let text = rfc3339.unwrap_or_default();
    if for_people { text.get(..16).unwrap_or(text).replace('T', " ") } else { text.to_owned() }
}

/// People get names, scripts whole addresses.
pub(super) fn addresses(list: &[Address], for_people: bool) -> String {
    let shown = list.iter().map(|one| match (&one.name, &one.address) {
        (Some(name), _) if for_people => name.clone(),
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => address.as_ref().or(name.as_ref()).cloned().unwrap_or_default(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_object_is_a_column_under_the_same_name() {
        let row = MessageRow { number: Some(1), uidl: Some("x".to_owned()), ..MessageRow::default() };
        let text = serde_json::to_string(&row).unwrap();
        let mut at = 0;
        for column in MessageRow::COLUMNS {
            let found = text.find(&format!("\"{}\":", column.name)).unwrap();
            assert!(found >= at, "{}", column.name);
            at = found;
        }
        assert_eq!(serde_json::to_value(&row).unwrap().as_object().unwrap().len(), MessageRow::COLUMNS.len());
    }

    #[test]
    fn imap_rows_have_no_number_and_no_uidl() {
        let value = serde_json::to_value(MessageRow::default()).unwrap();
        assert!(value.get("number").is_none() && value.get("uidl").is_none());
        assert!(value.get("uid").is_some());
    }

    #[test]
    fn scripts_get_whole_values_and_people_short_ones() {
        let row = MessageRow { size: Some(2048), internal_date: Some("2003-07-01T10:52:37+02:00".to_owned()), ..MessageRow::default() }
            .with_flags(&[Flag::seen(), Flag::new("$Forwarded")])
            .with_summary(Summary::of(b"From: Ann <a@b.c>\r\nDate: Tue, 1 Jul 2003 10:52:37 +0200\r\n\r\n"));
        assert_eq!((row.cell("size", true), row.cell("size", false)), ("2.0k".to_owned(), "2048".to_owned()));
        assert_eq!((row.cell("from", true), row.cell("from", false)), ("Ann".to_owned(), "Ann <a@b.c>".to_owned()));
        assert_eq!((row.cell("date", true), row.cell("flags", false)), ("2003-07-01 10:52".to_owned(), "seen,$Forwarded".to_owned()));
    }
}
