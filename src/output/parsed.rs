//! A message taken apart, as `fetch -o json` tells of it, and an attachment as `fetch --attachments` tells of it. The field
//! names are a contract with scripts.

use serde::Serialize;

use super::message::MessageRow;
use super::rows::Row;
use super::table::{Column, bytes_for_people};
use crate::report::Problem;
use crate::summary::parts::{Part, Parts};
use crate::summary::{Address, Details, Header, Readable, Summary};

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PartRow {
    /// Its number as IMAP counts (`2.1`), which `--part` takes; absent for the multipart that is all of a body.
    pub part: Option<String>,
    /// `type/subtype`, lower case.
    pub content_type: String,
    /// The charset as declared.
    pub charset: Option<String>,
    /// `base64`, `quoted-printable`, or nothing.
    pub encoding: Option<String>,
    /// `inline`, `attachment` or another, lower case.
    pub disposition: Option<String>,
    /// The file name the sender gave, decoded and not made harmless.
    pub name: Option<String>,
    /// `Content-ID` without angle brackets.
    pub content_id: Option<String>,
    /// Octets, decoded.
    pub size: u64,
}

impl PartRow {
    /// Of one of `parts`.
    pub fn new(parts: &Parts<'_>, part: &Part) -> Self {
        Self {
            part: part.number.clone(),
            content_type: part.content_type.clone(),
            charset: part.charset.clone(),
            encoding: part.encoding.name().map(str::to_owned),
            disposition: part.disposition.clone(),
            name: part.name.clone(),
            content_id: part.content_id.clone(),
            size: parts.size(part),
        }
    }
}

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ParsedMessage {
    /// What `list` tells of it.
    #[serde(flatten)]
    pub row: MessageRow,
    /// The `Bcc` field.
    pub bcc: Vec<Address>,
    /// The `Reply-To` field.
    pub reply_to: Vec<Address>,
    /// The `Sender` field.
    pub sender: Vec<Address>,
    /// The ids of `In-Reply-To` without angle brackets.
    pub in_reply_to: Vec<String>,
    /// The ids of `References` without angle brackets.
    pub references: Vec<String>,
    /// Every header field in order, unfolded and decoded.
    pub headers: Vec<Header>,
    /// Every part, each before those it holds.
    pub parts: Vec<PartRow>,
    /// The text a person reads; HTML is made plain where there is nothing else.
    pub text: String,
    /// Whether there is more text than that.
    pub text_cut: bool,
    /// The parts that are files.
    pub attachments: Vec<PartRow>,
}

impl ParsedMessage {
    /// Takes `message` apart; `row` says what the place told of it.
    pub fn new(row: MessageRow, message: &[u8], parts: &Parts<'_>) -> Self {
        let details = Details::of(message);
        let readable = Readable::of(parts);
        let rows = |list: Vec<&Part>| list.into_iter().map(|part| PartRow::new(parts, part)).collect();
        Self {
            row: row.with_summary(Summary::of(message)),
            bcc: details.bcc,
            reply_to: details.reply_to,
            sender: details.sender,
            in_reply_to: details.in_reply_to,
            references: details.references,
            headers: details.headers,
            parts: rows(parts.list().iter().collect()),
            text: readable.text,
            text_cut: readable.cut,
            attachments: rows(parts.attachments(&|_| true)),
        }
    }
}

impl Row for ParsedMessage {
    const COLUMNS: &'static [Column] = MessageRow::COLUMNS;

    fn cell(&self, field: &str, for_people: bool) -> String {
        self.row.cell(field, for_people)
    }
}

/// What `fetch -o json` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ParsedDocument {
    /// `mailhaul.fetch-parsed/1`
    pub schema: String,
    /// The place as the user named it.
    pub place: String,
    /// The messages, by rising UID.
    pub messages: Vec<ParsedMessage>,
    /// What could not be had, one by one; absent where all could.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// An attachment that lies in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct AttachmentRow {
    /// The folder of its message.
    pub folder: String,
    /// The UID of its message; absent where messages are numbered.
    pub uid: Option<u32>,
    /// The number of its message; on POP3 and local places only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The number of the part.
    pub part: Option<String>,
    /// The file name the sender gave, decoded and not made harmless.
    pub name: Option<String>,
    /// The file.
    pub path: String,
    /// `type/subtype`, lower case.
    #[serde(rename = "type")]
    pub content_type: String,
    /// Octets.
    pub size: u64,
    /// Whether a file of that name and content was there already.
    pub already_there: bool,
}

impl AttachmentRow {
    /// What tables and `tsv` show.
    pub fn default_fields(numbered: bool) -> [&'static str; 5] {
        [if numbered { "number" } else { "uid" }, "part", "type", "size", "path"]
    }
}

impl Row for AttachmentRow {
    const COLUMNS: &'static [Column] = &[
        Column::cut("folder", 40),
        Column::number("uid"),
        Column::number("number"),
        Column::text("part"),
        Column::cut("name", 60),
        Column::text("path"),
        Column::text("type"),
        Column::number("size"),
        Column::text("already_there"),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
        match field {
            "folder" => self.folder.clone(),
            "uid" => number(self.uid),
            "number" => number(self.number),
            "part" => self.part.clone().unwrap_or_default(),
            "name" => self.name.clone().unwrap_or_default(),
            "path" => self.path.clone(),
            "type" => self.content_type.clone(),
            "size" if for_people => bytes_for_people(self.size),
            "size" => self.size.to_string(),
            "already_there" => self.already_there.to_string(),
            _ => String::new(),
        }
    }
}

/// What `fetch --attachments -o json` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct AttachmentsDocument {
    /// `mailhaul.fetch-attachments/1`
    pub schema: String,
    /// The place as the user named it.
    pub place: String,
    /// The attachments, as they came.
    pub attachments: Vec<AttachmentRow>,
    /// What could not be had, one by one; absent where all could.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_taken_apart_is_a_row_with_more() {
        let message = b"From: a@b.c\nBcc: x@y.z\nSubject: s\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\nhello\n--a\n\
            Content-Type: application/pdf; name=../x.pdf\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--a--\n";
        let row = MessageRow { uid: Some(7), ..MessageRow::default() };
        let value = serde_json::to_value(ParsedMessage::new(row, message, &Parts::of(message))).unwrap();
        assert_eq!((value["uid"].as_u64(), value["subject"].as_str(), value["text"].as_str()), (Some(7), Some("s"), Some("hello\n")));
        assert_eq!(value["bcc"][0]["address"], "x@y.z");
        assert_eq!(value["headers"][2]["value"], "s");
        assert_eq!(value["parts"].as_array().unwrap().len(), 3);
        assert_eq!(value["attachments"].as_array().unwrap().len(), 1);
        let attachment = &value["attachments"][0];
        assert_eq!(
            (attachment["part"].as_str(), attachment["name"].as_str(), attachment["size"].as_u64()),
            (Some("2"), Some("../x.pdf"), Some(5))
        );
    }

    #[test]
    fn every_field_of_an_attachment_is_a_column_under_the_same_name() {
        let value = serde_json::to_value(AttachmentRow { number: Some(1), ..AttachmentRow::default() }).unwrap();
        let names: Vec<&str> = AttachmentRow::COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(value.as_object().unwrap().len(), names.len());
        assert!(names.iter().all(|name| value.get(*name).is_some()));
    }
}
