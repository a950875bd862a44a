//! What reaches people and scripts: rows and documents on standard output, progress and notes on standard error. This
//! room knows rows, counts and terminals; it never knows a protocol, a store or the journal.

pub mod advice;
mod backed_up;
mod changed;
mod compared;
mod copied;
mod folder;
mod json;
mod kept;
mod message;
mod parsed;
mod progress;
mod rows;
pub mod sanitize;
mod table;
mod verified;

pub use crate::report::{Format, ProgressMode};
pub use backed_up::{AccountResult, BackedUpAccount, BackupSummary};
pub use changed::{ChangedDocument, ChangedRow};
pub use compared::{CompareDocument, CompareSummary, Shown};
pub use copied::{AlteredMessage, CopySummary};
pub use folder::{FolderChange, FolderChangesDocument, FolderRow, FoldersDocument, typed as typed_folder};
pub use json::{ErrorObject, write_document, write_error};
pub use kept::{
    ProblemRow, ProblemsDocument, PruneDocument, PruneFolder, PruneRow, Running, StatusDocument, StatusPlace, StatusRow, age_for_people,
};
pub use message::{ListDocument, MessageRow};
pub use parsed::{AttachmentRow, AttachmentsDocument, ParsedDocument, ParsedMessage, PartRow};
pub use progress::{Progress, ProgressLine, ProgressMessage, Verbosity};
pub use rows::{Head, Row, Rows};
pub use table::{Column, bytes_for_people, terminal_width};
pub use verified::{RebuildDocument, VerifyDocument, finding_line};

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
