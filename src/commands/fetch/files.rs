//! Messages into a folder of files: what is there stays as it is, every message is accounted for, and a summary says so.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::App;
use super::super::deliver::{Delivery, Target};
use super::super::reading::NO_SUCH;
use super::super::reading::{Choice, Chosen, Purpose, Reader, folder_of, numbered, with_reader};
use super::Args;
use crate::account::Place;
use crate::cli::Uids;
use crate::error::{Error, Kind, Result, Scope};
use crate::exit::ExitCode;
use crate::output::{CopySummary, Progress};
use crate::report::{Event, FolderCounts, Outcome, Report};
use crate::store::Listed;

const SCHEMA: &str = "mailhaul.fetch/1";
/// Sessions that may be lost in a row without a message getting through.
const MAX_LOSSES: u32 = 5;
/// The first pause before connecting again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

pub(super) fn into_files(args: &Args, place: &Place, uids: &[Uids], target: Target, app: &App) -> Result<ExitCode> {
    let choice = Choice::new(&args.selection, uids)?;
    choice.suits(place)?;
    let progress = super::super::progress(app);
    let started = app.context.now();
    let folder = folder_of(place).to_string();
    let destination = target.shown();
    let mut outcome = Outcome::default();
    let result = Run { args, place, choice, app, progress: &progress, folder: &folder }.go_on_until_done(target, &mut outcome);
    progress.event(Event::Finished);
    let complete = outcome.problems.is_empty();
    let format = super::super::format(&args.output);
    if result.is_err() && !format.is_json() {
        // The balance is for runs that came to their end.
        let counts = outcome.counts;
        if counts.listed > 0 {
            let there = counts.copied + counts.already_there;
            app.note(&format!("{there} of {} messages are in {destination}; the next run leaves them as they are", counts.listed));
        }
    } else if format.is_json() || !app.global.quiet {
        outcome.folders = vec![FolderCounts { name: folder, counts: outcome.counts }];
        let seconds = app.context.now().since(started).as_secs_f64();
        let summary = CopySummary::new(SCHEMA, &place.shown, &destination, outcome, seconds);
        if result.is_ok() || summary.counts.listed > 0 {
            summary.write(format, &mut std::io::stdout().lock())?;
        }
        if app.global.verbose > 0 {
            summary.write_altered(&mut std::io::stderr().lock())?;
        }
    }
    result.map(|()| if complete { ExitCode::Success } else { ExitCode::Partial })
}

struct Run<'a> {
    args: &'a Args,
    place: &'a Place,
    choice: Choice,
    app: &'a App,
    progress: &'a Progress,
    folder: &'a str,
}

/// What outlives a lost session.
struct Kept<'a> {
    chosen: Chosen,
    generation: Option<u32>,
    delivery: Delivery<'a>,
    /// Taken, or known not to be had.
    done: BTreeSet<u32>,
}

impl Run<'_> {
    /// Copies; connects again after a loss and goes on with what is missing, as long as something gets through. Only UIDs say
    /// after a loss which messages these are: where there are none the next run sorts out what is there.
    fn go_on_until_done(&self, target: Target, outcome: &mut Outcome) -> Result<()> {
        let mut target = Some(target);
        let mut outcome = Some(outcome);
        let mut kept: Option<Kept<'_>> = None;
        let mut losses = 0;
        loop {
            let before = kept.as_ref().map_or(0, |kept| kept.delivery.safe().len());
            let purpose = Purpose { writable: self.args.mark_seen, again: kept.is_some(), ..Purpose::default() };
            let attempt = with_reader(self.place, &self.choice, purpose, self.app, |reader| {
                let kept = match &mut kept {
                    Some(kept) => kept,
                    none => {
                        let chosen = reader.choose(&self.choice)?;
                        let (Some(target), Some(outcome)) = (target.take(), outcome.take()) else { return Ok(()) };
                        let mut delivery = Delivery::new(target, numbered(self.place), self.folder, outcome, self.progress)?;
                        delivery.plan(&chosen.wanted);
                        none.insert(Kept { chosen, generation: reader.generation(), delivery, done: BTreeSet::new() })
                    }
                };
                if reader.generation() != kept.generation {
                    return Err(Error::new(Kind::Safety, "the folder was replaced by another while it was read (UIDVALIDITY changed)"));
                }
                self.copy(reader, kept)
            });
            let Err(error) = attempt else { return Ok(()) };
            let Some(kept) = kept.as_ref().filter(|_| !numbered(self.place)) else { return Err(error) };
            if !error.is_transient() || error.scope() != Scope::Session {
                return Err(error);
            }
            losses = if kept.delivery.safe().len() > before { 1 } else { losses + 1 };
            if losses > MAX_LOSSES {
                return Err(error);
            }
            let pause = FIRST_PAUSE.saturating_mul(1 << (losses - 1));
            self.progress.event(Event::Note(format!("{error}; connecting again in {} s", pause.as_secs())));
            self.app.context.pause(pause);
            self.app.context.check()?;
        }
    }

    fn copy(&self, reader: &mut dyn Reader, kept: &mut Kept<'_>) -> Result<()> {
        let Kept { chosen, delivery, done, .. } = kept;
        let wanted: Vec<Listed> = chosen.wanted.iter().filter(|listed| !done.contains(&listed.id)).cloned().collect();
        let read = reader.read(&wanted, &mut |index, message| {
            self.app.context.check()?;
            let Some(listed) = wanted.get(index) else { return Ok(()) };
            match message {
                Ok(message) => delivery.take(listed.id, message),
                Err(error) if error.scope() == Scope::Message => {
                    delivery.failed(listed.id, error.to_string());
                    Ok(())
                }
                Err(error) => Err(error),
            }
        });
        // What was received whole is kept, whatever ended the reading.
        done.append(&mut delivery.finish()?);
        read?;
        if self.args.mark_seen && !delivery.safe().is_empty() {
            let unmarked = reader.mark_seen(delivery.safe())?;
            unmarked.into_iter().for_each(|(uid, reason)| delivery.tell(uid, reason));
        }
        let named = self.choice.named();
        for listed in wanted.iter().filter(|listed| !done.contains(&listed.id)) {
            // One named alone was not looked for first: it was never there, as far as anybody can tell.
            if named.contains(&listed.id) { delivery.never_there(listed.id) } else { delivery.vanished() }
        }
        chosen.missing.iter().for_each(|uid| delivery.tell(*uid, NO_SUCH.to_owned()));
        Ok(())
    }
}
