//! What reaches people and scripts: rows and documents on standard output, progress and notes on standard error. This
//! room knows rows, counts and terminals; it never knows a protocol, a store or the journal.

mod copied;
mod json;
mod message;
mod progress;
mod rows;
pub mod sanitize;
mod table;

pub use copied::{AlteredMessage, CopySummary};
pub use json::{write_document, write_error};
pub use message::MessageRow;
pub use progress::{Progress, ProgressMode, Verbosity};
pub use rows::{Head, Row, Rows};
pub use table::{Column, bytes_for_people, terminal_width};

/// How data is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line, as they arrive.
    Jsonl,
    /// Whole values between tabs.
    Tsv,
}

impl Format {
    /// The format asked for, else a table on a terminal and `tsv` in a pipe.
    pub fn choose(option: Option<Self>, stdout_is_terminal: bool) -> Self {
        option.unwrap_or(if stdout_is_terminal { Self::Table } else { Self::Tsv })
    }

    /// Whether a program reads the output as JSON (errors are then objects too).
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::Jsonl),
            "tsv" => Ok(Self::Tsv),
            _ => Err("expected table, json, jsonl or tsv".to_owned()),
        }
    }
}
