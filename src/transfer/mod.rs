//! One run from a source to a destination: both ends open at once, folders are paired, each is copied, and what is open at the
//! end is waited for. The copy loop itself is `copy`. It sees sources, sinks and the journal through their seams and never a
//! protocol.

mod asked;
pub mod backup;
mod blame;
mod budget;
pub mod compare;
mod copy;
mod ends;
mod exactly;
mod gate;
mod leave;
mod named;
mod options;
mod pass;
mod preview;
mod renamed;
mod settle;
mod sift;
mod tally;
mod unanswered;

use std::thread;

use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::plan::{Pair, Planned, Sides, Why};
use crate::report::{Event, Outcome, Problem, Report};
use crate::state::{Horizon, Journal};
use crate::store::{Sink, Source};
pub use asked::Asked;
use ends::Ends;
pub use exactly::locate;
pub use gate::Gate;
pub use leave::{Dealt, Found, Proof, Proofs, Spot};
pub use options::{DateFrom, Options, Seen, SourceFlags, fill_in};
pub use preview::{Forecast, Look, Preview, preview};
use settle::SeenByUid;
pub use sift::Shortage;
use tally::Work;

/// Opens one end of the transfer, again after each loss.
pub type Open<'a, T> = &'a (dyn Fn() -> Result<Box<T>> + Sync);

/// One run from one source to one destination.
pub struct Transfer<'a> {
    /// Time and signals.
    pub context: &'a Context,
    /// Who is told.
    pub report: &'a dyn Report,
    /// The destination's journal.
    pub journal: &'a mut Journal,
    /// What the user chose.
    pub options: Options,
    /// The source's name in the journal: it stays the same whatever the user calls the place.
    pub source_name: String,
    /// Opens the source.
    pub open_source: Open<'a, dyn Source>,
    /// Opens the destination.
    pub open_sink: Open<'a, dyn Sink>,
    /// The one folder of the source to copy; `None` for all.
    pub only: Option<Folder>,
    /// The folder at the destination that was named.
    pub into: Option<Folder>,
    /// What the source's listings are.
    pub asked: Asked,
}

impl Transfer<'_> {
    /// Copies everything that is missing. The counts are true whatever ended the run, which is the second value.
    pub fn run(self) -> (Outcome, Option<Error>) {
        let (outcome, _, error) = self.run_through();
        (outcome, error)
    }

    /// The same, and what the source listed by folder.
    pub fn run_through(mut self) -> (Outcome, Vec<Dealt>, Option<Error>) {
        let mut works = Vec::new();
        let error = self.run_all(&mut works).err();
        self.report.event(Event::Finished);
        let outcome = tally::outcome(&works);
        let complete = error.is_none() && outcome.counts.complete() && outcome.problems.is_empty();
        let closed = self.journal.finish_run(complete).err();
        (outcome, works.into_iter().map(Dealt::from).collect(), error.or(closed))
    }

    fn run_all(&mut self, works: &mut Vec<Work>) -> Result<()> {
        // Wrong passwords and wrong names end the run here, before anything is touched.
        let (source, sink) = both(self.open_source, self.open_sink);
        let mut ends = Ends { source: Some(source?), sink: Some(sink?), losses: 0, appended: false, renewed: 0, taken: 0, doubtful: false };
        // A run that follows a complete one brings little.
        let is_first = self.journal.last_run(false)?.is_none_or(|run| !run.complete)
            || self.journal.pairings(&self.source_name, self.into.as_ref())?.is_empty();
        self.journal.begin_run()?;
        works.extend(self.pairs(&mut ends)?.into_iter().map(|pair| Work::new(pair, self.options.keeps_listings)));
        if is_first && self.asked.lists_all() {
            self.forewarn(&mut ends, works)?;
        }
        let mut seen = SeenByUid::new();
        for work in works.iter_mut() {
            self.folder_or_problem(&mut ends, work, &mut seen)?;
        }
        loop {
            self.wait_for_open_copies(&mut ends, works, &mut seen)?;
            if !self.reconcile(&mut ends, works, &mut seen)? {
                break;
            }
        }
        let Ends { source, sink, .. } = ends;
        // A polite end may hide from later runs what this one read and did not bring over (Gmail's POP3 does).
        let looked_into = self.options.query.needs().whole;
        let source = source.filter(|source| !source.end_marks() || !works.iter().any(|work| work.leaves_behind(looked_into)));
        let farewells = both(|| source.map(|mut source| source.finish()), || sink.map(|mut sink| sink.finish()));
        for farewell in [farewells.0, farewells.1].into_iter().flatten() {
            // Everything is settled: a farewell that fails takes nothing back.
            if let Err(error) = farewell {
                self.report.event(Event::Note(error.to_string()));
            }
        }
        Ok(())
    }

    fn pairs(&mut self, ends: &mut Ends) -> Result<Vec<Pair>> {
        loop {
            let settled = self.journal.unsettled()?.is_empty();
            let listed = ends.open(self).and_then(|(source, sink)| {
                let (folders, there) = both(
                    || source.folders(),
                    || sink.folders().and_then(|there| Ok((there, if settled { Some(sink.horizons()?) } else { None }))),
                );
                let (mut folders, (there, horizons)) = (folders?, there?);
                if let Some(only) = &self.only {
                    folders.retain(|info| info.folder == *only);
                    if folders.is_empty() {
                        return Err(Error::usage(format!("there is no folder {only}")).at(source.place()));
                    }
                }
                let horizons = horizons.map(|all| {
                    all.into_iter().map(|(folder, uid_validity, uid_next)| (folder, Horizon { uid_validity, uid_next })).collect::<Vec<_>>()
                });
                Ok((folders, there, horizons, sink.place()))
            });
            match listed {
                Ok((folders, there, horizons, place)) => {
                    if let Some(horizons) = horizons {
                        self.journal.set_horizons(&horizons)?;
                    }
                    if self.asked == Asked::Named {
                        return self.exact_pairs(folders, &there).map_err(|error| error.at(place));
                    }
                    let known = self.journal.pairings(&self.source_name, self.into.as_ref())?;
                    let sides = Sides { source: &folders, destination: &there, into: self.into.as_ref(), known: &known };
                    let (_, sink) = ends.open(self)?;
                    match self.options.wishes.pair(sides, &mut |folder| sink.called(folder)) {
                        Ok(planned) => {
                            // Said once: the next run finds it paired.
                            for Planned { pair, why } in planned.iter().filter(|one| matches!(one.why, Why::Taken | Why::Called)) {
                                let (from, to) = (&pair.source.folder, &pair.destination.folder);
                                self.report.event(Event::Note(format!("{from} goes to {to}: {why}")));
                            }
                            return Ok(planned.into_iter().map(|one| one.pair).collect());
                        }
                        Err(error) => ends.lose_both(self, error)?,
                    }
                }
                Err(error) => ends.lose_both(self, error)?,
            }
        }
    }

    /// Copies one folder; a failure that ruins only this folder is kept for the summary.
    fn folder_or_problem(&mut self, ends: &mut Ends, work: &mut Work, seen: &mut SeenByUid) -> Result<()> {
        let outcome = self.folder(ends, work, seen);
        self.problem_of(work, outcome).map(drop)
    }

    /// Keeps a failure that ruins only this folder; anything else goes on up.
    fn problem_of<T>(&self, work: &mut Work, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            // A name that cannot be written at the destination is the user's mistake only where the user chose it.
            Err(error) if error.scope() <= Scope::Mailbox || (error.kind() == Kind::Usage && self.into.is_none()) => {
                self.report.event(Event::Problem(Problem {
                    folder: work.pair.source.folder.to_string(),
                    uid: None,
                    reason: error.to_string(),
                }));
                work.failed = Some(error);
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

/// Does two things at once: two servers far away answer in the time of one.
fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        // A panic of one thread is a panic of the other.
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}
