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
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_tsv_unless_something_else_was_asked_for() {
        assert_eq!(Format::choose(None, true), Format::Table);
        assert_eq!(Format::choose(None, false), Format::Tsv);
        assert_eq!(Format::choose(Some(Format::Json), true), Format::Json);
        let names: Vec<String> = <Format as clap::ValueEnum>::value_variants()
            .iter()
            .filter_map(|format| Some(clap::ValueEnum::to_possible_value(format)?.get_name().to_owned()))
            .collect();
        assert_eq!(names, ["table", "json", "jsonl", "tsv"]);
    }
}
