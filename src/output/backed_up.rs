//! What `backup` says at its end: the summary of a copy over all accounts, and the same for each of them. It repeats counts and
//! never makes any.

use std::io::Write;

use serde::Serialize;

use super::json::{self, ErrorObject};
use super::{AlteredMessage, CopySummary, Format};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::report::{Counts, FolderCounts, Outcome, Problem};

/// One account of a backup.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct BackedUpAccount<'a> {
    /// Its directory in the store; absent where the run did not come so far.
    pub account: Option<String>,
    /// The account as the user named it.
    pub source: String,
    /// The store as the user named it.
    pub destination: String,
    /// Sums over its folders.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long it took.
    pub seconds: f64,
    /// Whether every listed message is accounted for.
    pub balanced: bool,
    /// The same counts by folder.
    pub folders: Vec<FolderCounts>,
    /// What did not make it.
    pub problems: Vec<Problem>,
    /// What did, but changed.
    pub altered_messages: Vec<AlteredMessage>,
    /// What the exit code would be of this account alone.
    pub exit: u8,
    /// What ended its run before its time.
    pub error: Option<ErrorObject<'a>>,
}

/// The summary of `backup`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct BackupSummary<'a> {
    /// Sums over all accounts. With several of them folders are named `account/folder`.
    #[serde(flatten)]
    pub total: CopySummary,
    /// Each account by itself, in the order they were named.
    pub accounts: Vec<BackedUpAccount<'a>>,
    /// The exit code of the run.
    pub exit: u8,
}

/// What became of one account.
pub struct AccountResult {
    /// Its directory in the store, where the run came so far.
    pub account: Option<String>,
    /// The account as the user named it.
    pub source: String,
    /// What was done.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What ended it before its time.
    pub error: Option<Error>,
}

impl AccountResult {
    /// What the exit code would be of this account alone.
    pub fn exit(&self) -> ExitCode {
        match &self.error {
            Some(error) => error.kind().into(),
            None if self.outcome.counts.complete() && self.outcome.problems.is_empty() => ExitCode::Success,
            None => ExitCode::Partial,
        }
    }

    /// The summary of this account alone.
    fn summary(&self, schema: &str, store: &str) -> CopySummary {
        CopySummary::new(schema, &self.source, store, self.outcome.clone(), self.seconds).stopped(self.error.is_some())
    }
}

impl<'a> BackupSummary<'a> {
    /// The summary of `results`, which took `seconds` in all.
    pub fn new(schema: &str, store: &str, results: &'a [AccountResult], seconds: f64, exit: ExitCode) -> Self {
        let names: Vec<&str> = results.iter().map(|result| result.source.as_str()).collect();
        let stopped = results.iter().any(|result| result.error.is_some());
        let total = CopySummary::new(schema, &names.join(", "), store, sum(results), seconds).stopped(stopped);
        let accounts = results.iter().map(|result| {
            let alone = result.summary(schema, store);
            BackedUpAccount {
                account: result.account.clone(),
                source: alone.source,
                destination: alone.destination,
                counts: alone.counts,
                seconds: alone.seconds,
                balanced: alone.balanced,
                folders: alone.folders,
                problems: alone.problems,
                altered_messages: alone.altered_messages,
                exit: result.exit().code(),
                error: result.error.as_ref().map(ErrorObject::of),
            }
        });
        Self { total, accounts: accounts.collect(), exit: exit.code() }
    }

    /// Writes it to standard output: a document, or for people each account's balance, and that of all when there are several.
    ///
    /// # Errors
    /// As [`CopySummary::write`].
    pub fn write(&self, results: &[AccountResult], format: Format, stdout: &mut impl Write) -> Result<()> {
        if format.is_json() {
            return json::write_document(stdout, self);
        }
        // An account that ended before it listed anything has nothing to sum up: its error says all.
        let told = || results.iter().filter(|result| result.error.is_none() || result.outcome.counts.listed > 0);
        if told().next().is_none() {
            return Ok(());
        }
        if let [_, _, ..] = results {
            for result in told() {
                result.summary(&self.total.schema, &self.total.destination).write(format, stdout)?;
            }
        }
        self.total.write(format, stdout)
    }
}

/// All accounts in one; with several of them their names stand before those of their folders.
fn sum(results: &[AccountResult]) -> Outcome {
    let mut sum = Outcome::default();
    for result in results {
        let prefix = match results {
            [_] => String::new(),
            _ => format!("{}/", result.account.as_deref().unwrap_or(&result.source)),
        };
        let named = |problem: &Problem| Problem { folder: format!("{prefix}{}", problem.folder), ..problem.clone() };
        sum.counts.add(&result.outcome.counts);
        sum.folders
            .extend(result.outcome.folders.iter().map(|one| FolderCounts { name: format!("{prefix}{}", one.name), counts: one.counts }));
        sum.problems.extend(result.outcome.problems.iter().map(named));
        sum.altered.extend(result.outcome.altered.iter().map(named));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, copied: u64, error: Option<Error>) -> AccountResult {
        let counts = Counts { listed: copied, copied, ..Counts::default() };
        let folders = vec![FolderCounts { name: "INBOX".to_owned(), counts }];
        let outcome = Outcome { counts, folders, ..Outcome::default() };
        AccountResult { account: Some(name.to_owned()), source: name.to_owned(), outcome, seconds: 1.0, error }
    }

    #[test]
    fn several_accounts_are_summed_and_their_folders_bear_their_names() {
        let results = [result("work", 2, None), result("home", 3, Some(Error::auth("no").at("home")))];
        let summary = BackupSummary::new("mailhaul.backup/1", "maildir:x", &results, 2.0, ExitCode::Auth);
        let value = serde_json::to_value(&summary).unwrap();
        assert_eq!((value["source"].as_str(), value["copied"].as_u64(), value["exit"].as_u64()), (Some("work, home"), Some(5), Some(4)));
        assert_eq!(value["folders"][1]["name"], "home/INBOX");
        assert_eq!(value["accounts"][1]["folders"][0]["name"], "INBOX");
        assert_eq!((value["accounts"][1]["exit"].as_u64(), value["accounts"][1]["error"]["code"].as_u64()), (Some(4), Some(4)));
        assert_eq!(value["accounts"][0]["error"], serde_json::Value::Null);
    }

    #[test]
    fn one_account_is_the_whole_run() {
        let results = [result("work", 2, None)];
        let summary = BackupSummary::new("mailhaul.backup/1", "maildir:x", &results, 2.0, ExitCode::Success);
        let mut text = Vec::new();
        summary.write(&results, Format::Tsv, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!((text.matches("listed 2 = copied 2").count(), text.matches('→').count()), (1, 1), "{text}");
        assert_eq!(summary.total.folders[0].name, "INBOX");
    }
}
