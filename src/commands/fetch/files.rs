//! Messages into a folder of files: what is there stays as it is, every message is accounted for, and a summary says so.

use super::super::App;
use super::super::deliver::{Delivery, Target};
use super::super::reading::{Choice, Chosen, Purpose, Reader, folder_of, numbered, with_reader};
use super::{Args, NO_SUCH};
use crate::account::Place;
use crate::cli::Uids;
use crate::error::{Result, Scope};
use crate::exit::ExitCode;
use crate::output::CopySummary;
use crate::report::{Event, FolderCounts, Outcome, Report};

const SCHEMA: &str = "mailhaul.fetch/1";

pub(super) fn into_files(args: &Args, place: &Place, uids: &[Uids], target: Target, app: &App) -> Result<ExitCode> {
    let choice = Choice::new(&args.selection, uids)?;
    choice.suits(place)?;
    let progress = super::super::progress(app);
    let started = app.context.now();
    let folder = folder_of(place).to_string();
    let destination = target.shown();
    let mut outcome = Outcome::default();
    let result = with_reader(place, &choice, Purpose { writable: args.mark_seen, headers: false }, app, |reader| {
        let chosen = reader.choose(&choice)?;
        let mut delivery = Delivery::new(target, numbered(place), &folder, &mut outcome, &progress)?;
        copy(reader, &choice, &chosen, &mut delivery, app)?;
        if args.mark_seen && !delivery.safe().is_empty() {
            let unmarked = reader.mark_seen(delivery.safe())?;
            unmarked.into_iter().for_each(|(uid, reason)| delivery.tell(uid, reason));
        }
        Ok(())
    });
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

fn copy(reader: &mut dyn Reader, choice: &Choice, chosen: &Chosen, delivery: &mut Delivery<'_>, app: &App) -> Result<()> {
    let wanted = &chosen.wanted;
    delivery.plan(wanted);
    let read = reader.read(wanted, &mut |index, message| {
        app.context.check()?;
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
    let came = delivery.finish()?;
    read?;
    let named = choice.named();
    for listed in wanted.iter().filter(|listed| !came.contains(&listed.id)) {
        // One named alone was not looked for first: it was never there, as far as anybody can tell.
        if named.contains(&listed.id) { delivery.never_there(listed.id) } else { delivery.vanished() }
    }
    chosen.missing.iter().for_each(|uid| delivery.tell(*uid, NO_SUCH.to_owned()));
    Ok(())
}
