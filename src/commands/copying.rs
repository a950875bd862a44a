//! What verbs share that run the copy loop: options of the journal and of what sources leave open, and the summary at the end.

use std::path::PathBuf;
use std::time::Duration;

use super::App;
use crate::cli::{OutputArgs, duration};
use crate::context::Moment;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::CopySummary;
use crate::report::{Left, Outcome, Problem, Verified};
use crate::transfer::DateFrom;

/// Options of verbs that copy from place to place.
#[derive(clap::Args)]
pub struct Copying {
    /// Where the date of a message comes from when its source keeps none (POP3)
    #[arg(long, value_name = "FIELD", value_enum, default_value = "received")]
    pub date_from: DateFrom,
    /// How long a message whose answer got lost is looked for before it counts as not arrived: servers may store late
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub settle: Duration,
    /// Keep the destination's journal in DIR instead of $XDG_STATE_HOME/mailhaul
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<PathBuf>,
}

/// A run of the copy loop that is over.
pub(super) struct Over<'a> {
    /// `mailhaul.migrate/1`, say.
    pub(super) schema: &'static str,
    /// How people call the source.
    pub(super) source: &'a str,
    /// How people call the destination.
    pub(super) destination: &'a str,
    /// When it began.
    pub(super) started: Moment,
    /// What it came to.
    pub(super) outcome: Outcome,
    /// What ended it before its time.
    pub(super) error: Option<Error>,
}

/// What a run did when everything was copied.
#[derive(Default)]
pub(super) struct After {
    /// What it took away from the source.
    pub(super) left: Option<Left>,
    /// What it read back.
    pub(super) verified: Option<Verified>,
    /// What went wrong with that, each told already.
    pub(super) problems: Vec<Problem>,
    /// What ended it before its time.
    pub(super) error: Option<Error>,
}

impl Over<'_> {
    /// Writes the summary and picks the exit. A run that ended before it listed anything has nothing to sum up.
    ///
    /// # Errors
    /// What ended the run; standard output is gone.
    pub(super) fn conclude(self, output: &OutputArgs, app: &App) -> Result<ExitCode> {
        self.conclude_after(After::default(), output, app)
    }

    /// The same for a run that did more than to copy.
    ///
    /// # Errors
    /// As [`Over::conclude`].
    pub(super) fn conclude_after(self, after: After, output: &OutputArgs, app: &App) -> Result<ExitCode> {
        let complete = self.outcome.counts.complete() && self.outcome.problems.is_empty() && after.problems.is_empty();
        if self.error.is_none() || self.outcome.counts.listed > 0 {
            let seconds = app.context.now().since(self.started).as_secs_f64();
            let stopped = self.error.is_some();
            let summary = CopySummary::new(self.schema, self.source, self.destination, self.outcome, seconds).stopped(stopped);
            let summary = summary.then(after.left, after.verified, after.problems);
            let format = super::format(output);
            if format.is_json() || !app.global.quiet {
                summary.write(format, &mut std::io::stdout().lock())?;
            }
            if app.global.verbose > 0 {
                summary.write_altered(&mut std::io::stderr().lock())?;
            }
        }
        match self.error.or(after.error) {
            Some(error) => Err(error),
            None if complete => Ok(ExitCode::Success),
            None => Ok(ExitCode::Partial),
        }
    }
}
