//! A backup of one account over POP3: what the maildrop lists and the archive lacks is read, recognised by its content where the
//! server calls it by another name now, and kept. Nothing is ever marked for deletion, and QUIT is sent only when everything that
//! was read is durable.

mod drop;
mod reading;

use std::time::Duration;

use super::{Backup, Options};
use crate::account::Server;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::plan;
use crate::report::{Event, Outcome};
use crate::store::Source;
use crate::store::pop3::Pop3Source;
use drop::Maildrop;

/// Sessions that may be lost in a row without a message getting through.
const MAX_LOSSES: u32 = 5;
/// The first pause before connecting again; it doubles to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// A server that loses so many sessions is asked for one message at a time: some announce PIPELINING and cannot do it.
const LOSSES_WITH_PIPELINING: u32 = 2;

pub(super) fn run(backup: Backup<'_>) -> (Outcome, Option<Error>) {
    if !plan::chosen(&Folder::inbox(), &backup.options.include, &backup.options.exclude) {
        backup.report.event(Event::Note(format!("{}: INBOX, the one folder there is over POP3, is left out", backup.account.name)));
        return (Outcome::default(), None);
    }
    if let Err(error) = permitted(backup.server, "", &backup.options) {
        return (Outcome::default(), Some(error));
    }
    let (context, report) = (backup.context, backup.report);
    let mut maildrop = match Maildrop::open(backup) {
        Ok(maildrop) => maildrop,
        Err(error) => return (Outcome::default(), Some(error)),
    };
    let mut error = visits(&mut maildrop).err();
    report.event(Event::Finished);
    if let Err(other) = maildrop.conclude(error.as_ref()) {
        error = error.or(Some(other));
    }
    // A signal that came while the last was written down is still the reason to stop.
    let error = error.or_else(|| context.check().err());
    (maildrop.outcome(), error)
}

/// Sessions until everything was read, each connected anew after a loss.
fn visits(maildrop: &mut Maildrop<'_>) -> Result<()> {
    let mut lost = 0;
    let mut losses = 0;
    loop {
        maildrop.backup.context.check()?;
        let connected =
            Pop3Source::connect_with(maildrop.backup.server, maildrop.backup.context, maildrop.backup.trace, lost < LOSSES_WITH_PIPELINING);
        let mut source = match connected {
            Ok(source) => source,
            // A wrong name or a mailbox in use ends the run here; after a loss our own lost session may be what is in the way.
            Err(error) if lost == 0 || error.scope() != Scope::Session => return Err(error),
            Err(error) => {
                losses += 1;
                pause(maildrop, error, losses)?;
                continue;
            }
        };
        let greeting = source.session().greeting().to_owned();
        match permitted(maildrop.backup.server, &greeting, &maildrop.backup.options) {
            Ok(is_partial) => maildrop.partial = is_partial,
            Err(error) => {
                // Nothing was fetched, so that QUIT hides nothing.
                let _ = source.finish();
                return Err(error);
            }
        }
        let before = maildrop.gained();
        let visited = maildrop.session(&mut source);
        if maildrop.gained() > before {
            losses = 0;
        }
        match visited {
            Ok(copied) => {
                farewell(maildrop, &mut source);
                // Gmail shows the next part once it was told that this one was fetched.
                if !(maildrop.partial && copied > 0) {
                    return Ok(());
                }
            }
            // What the user asked for is no doubt about what was read.
            Err(error) if error.kind() == Kind::Limit && maildrop.at_rest => {
                farewell(maildrop, &mut source);
                return Err(error);
            }
            Err(error) if error.scope() == Scope::Session && !matches!(error.kind(), Kind::Interrupted(_)) => {
                std::mem::drop(source);
                lost += 1;
                losses += 1;
                pause(maildrop, error, losses)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Everything is durable: a farewell that fails takes nothing back.
fn farewell(maildrop: &Maildrop<'_>, source: &mut Pop3Source) {
    maildrop.backup.context.step("backup.quit");
    if let Err(error) = source.finish() {
        maildrop.backup.report.event(Event::Note(error.to_string()));
    }
}

fn pause(maildrop: &Maildrop<'_>, error: Error, losses: u32) -> Result<()> {
    let context = maildrop.backup.context;
    context.check()?;
    if losses > MAX_LOSSES {
        return Err(error);
    }
    let pause = FIRST_PAUSE.saturating_mul(1 << losses.saturating_sub(1).min(16)).min(LAST_PAUSE);
    maildrop.backup.report.event(Event::Note(format!("{error}; connecting again in {} s", pause.as_secs())));
    context.pause(pause);
    context.check()
}

/// Gmail by its host or by how it greets (`+OK Gpop ready for requests from …`).
fn is_gmail(server: &Server, greeting: &str) -> bool {
    let host = server.endpoint.host.to_ascii_lowercase();
    ["gmail.com", "googlemail.com"].iter().any(|name| host == *name || host.ends_with(&format!(".{name}"))) || greeting.contains("Gpop ")
}

/// Whether the server shows but a part of the mail at a time, which has to be wanted.
///
/// # Errors
/// [`Kind::Usage`] with the reason where it was not asked for.
pub(super) fn permitted(server: &Server, greeting: &str, options: &Options) -> Result<bool> {
    if !is_gmail(server, greeting) {
        return Ok(false);
    }
    let error = |message: &str, hint: &str| Err(Error::usage(message).at(&server.place).hint(hint));
    if !options.pop3_anyway {
        return error(
            "Gmail over POP3 shows a few hundred messages at a time, hides each one once it was fetched, and has neither folders nor flags",
            "back it up over IMAP (imaps://USER@imap.gmail.com); --pop3-anyway goes on all the same",
        );
    }
    if options.mirror.is_some() {
        return error(
            "--mirror needs to know what is gone, and Gmail over POP3 never lists all there is",
            "leave --mirror out, or back it up over IMAP",
        );
    }
    Ok(true)
}
