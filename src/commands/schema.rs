//! `mailhaul schema`: prints the JSON Schema of a command's JSON output, made from the very types that are written.

use std::io::Write;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{
    AttachmentsDocument, BackupSummary, ChangedDocument, CompareDocument, CopySummary, ErrorObject, FolderChangesDocument, FoldersDocument,
    ListDocument, ParsedDocument, ProblemsDocument, ProgressLine, ProgressMessage, PruneDocument, RebuildDocument, StatusDocument,
    VerifyDocument,
};

/// The arguments of `schema`.
#[derive(clap::Args)]
pub struct Args {
    /// The command, or `error` (errors on standard error) or `progress` (lines of --progress=json); without it, the names of
    /// all schemas are printed
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(schemas().iter().map(|(name, _)| *name)))]
    pub command: Option<String>,
}

/// Runs `schema`.
///
/// # Errors
/// Standard output is gone.
pub fn run(args: &Args) -> Result<ExitCode> {
    let text = match &args.command {
        None => schemas().iter().map(|(name, _)| format!("{name}\n")).collect(),
        Some(name) => text(name)?,
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Error::io("standard output", error))?;
    Ok(ExitCode::Success)
}

/// A schema's name, and what makes it.
pub type Named = (&'static str, fn() -> Schema);

/// Every schema there is, by name. A document of a new command is one line more.
pub fn schemas() -> &'static [Named] {
    &[
        ("list", || of("List").document::<ListDocument>("mailhaul.list/1").schema()),
        ("fetch", || {
            of("Fetch")
                .document::<CopySummary>("mailhaul.fetch/1")
                .document::<ParsedDocument>("mailhaul.fetch-parsed/1")
                .document::<AttachmentsDocument>("mailhaul.fetch-attachments/1")
                .schema()
        }),
        ("flag", || of("Flag").document::<ChangedDocument>("mailhaul.flag/1").schema()),
        ("move", || of("Move").document::<ChangedDocument>("mailhaul.move/1").schema()),
        ("copy", || of("Copy").document::<ChangedDocument>("mailhaul.copy/1").schema()),
        ("delete", || of("Delete").document::<ChangedDocument>("mailhaul.delete/1").schema()),
        ("upload", || {
            of("Upload").document::<CopySummary>("mailhaul.upload/1").document::<super::dry_run::DryRun>("mailhaul.upload/1").schema()
        }),
        ("folders", || {
            of("Folders")
                .document::<FoldersDocument>("mailhaul.folders/1")
                .document::<FolderChangesDocument>("mailhaul.folders-change/1")
                .schema()
        }),
        ("migrate", || {
            of("Migrate").document::<CopySummary>("mailhaul.migrate/1").document::<super::dry_run::DryRun>("mailhaul.migrate/1").schema()
        }),
        ("compare", || of("Compare").document::<CompareDocument>("mailhaul.compare/1").schema()),
        ("compare-pop3", || of("ComparePop3").document::<CompareDocument>("mailhaul.compare-pop3/1").schema()),
        ("backup", || {
            of("Backup")
                .document::<BackupSummary<'_>>("mailhaul.backup/1")
                .document::<super::would_back_up::WouldBackUp>("mailhaul.backup/1")
                .schema()
        }),
        ("restore", || {
            of("Restore").document::<CopySummary>("mailhaul.restore/1").document::<super::dry_run::DryRun>("mailhaul.restore/1").schema()
        }),
        ("status", || of("Status").document::<StatusDocument>("mailhaul.status/1").schema()),
        ("problems", || of("Problems").document::<ProblemsDocument>("mailhaul.problems/1").schema()),
        ("prune", || of("Prune").document::<PruneDocument>("mailhaul.prune/1").schema()),
        ("verify", || of("Verify").document::<VerifyDocument>("mailhaul.verify/1").schema()),
        ("rebuild", || of("Rebuild").document::<RebuildDocument>("mailhaul.rebuild/1").schema()),
        ("error", || of("Error").value::<ErrorObject<'_>>().schema()),
        ("progress", || of("Progress").value::<ProgressLine<'_>>().value::<ProgressMessage<'_>>().schema()),
    ]
}

/// A schema as it is printed.
///
/// # Errors
/// [`crate::error::Kind::Usage`] where there is none of that name.
pub fn text(name: &str) -> Result<String> {
    let found = schemas().iter().find(|(own, _)| *own == name);
    let (_, make) = found.ok_or_else(|| Error::usage(format!("there is no schema {name:?}")))?;
    let text = serde_json::to_string_pretty(&make()).map_err(|error| Error::local(format!("cannot write JSON: {error}")).because(error))?;
    Ok(format!("{text}\n"))
}

fn of(title: &'static str) -> Documents {
    // As it is written, which tells what is always there.
    Documents { title, generator: SchemaSettings::draft2020_12().for_serialize().into_generator(), any: Vec::new(), names: Vec::new() }
}

/// A schema in the making: what one command may print.
struct Documents {
    title: &'static str,
    generator: SchemaGenerator,
    any: Vec<Value>,
    /// Where a document's `schema` member says what it is: the definition, and the words.
    names: Vec<(String, &'static str)>,
}

impl Documents {
    /// A document whose `schema` member says `name`.
    fn document<T: JsonSchema>(mut self, name: &'static str) -> Self {
        self.names.push((T::schema_name().into_owned(), name));
        self.value::<T>()
    }

    /// A value of this type.
    fn value<T: JsonSchema>(mut self) -> Self {
        self.any.push(self.generator.subschema_for::<T>().to_value());
        self
    }

    fn schema(mut self) -> Schema {
        let mut definitions = self.generator.take_definitions(true);
        for (definition, name) in &self.names {
            if let Some(member) = definitions.get_mut(definition).and_then(|found| found.pointer_mut("/properties/schema")) {
                *member = json!({ "const": name });
            }
        }
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.title,
        });
        if let Some(members) = schema.as_object_mut() {
            match self.any.as_mut_slice() {
                [only] => members.extend(only.as_object().cloned().unwrap_or_default()),
                _ => drop(members.insert("anyOf".to_owned(), Value::Array(self.any))),
            }
            members.insert("$defs".to_owned(), Value::Object(definitions));
        }
        Schema::try_from(schema).unwrap_or_default()
    }
}
