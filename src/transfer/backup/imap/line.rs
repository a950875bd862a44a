//! The first session of a backup: lost ones are opened again, a little later each time, and given up after several without
//! progress. It knows no message.

use std::time::Duration;

use crate::account::Server;
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::net::Trace;
use crate::report::{Event, Report};
use crate::store::origin::{Names, Origin};

/// Sessions that may be lost in a row without progress.
pub(super) const MAX_LOSSES: u32 = 5;
/// The first pause before connecting again; it doubles to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(300);

/// How long to wait after so many losses in a row.
pub(super) fn pause_after(losses: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << losses.saturating_sub(1).min(16)).min(LAST_PAUSE)
}

/// Whether an error is the loss of a session, which a new one may mend.
pub(super) fn is_loss(error: &Error) -> bool {
    error.scope() == Scope::Session && !matches!(error.kind(), Kind::Interrupted(_) | Kind::Safety)
}

/// The error of a folder whose UIDs mean something else all at once.
pub(super) fn uid_validity_changed(folder: &Folder) -> Error {
    Error::new(
        Kind::Safety,
        format!(
            "the folder {folder}: its UIDVALIDITY changed during the run, so its UIDs mean something else now; nothing more was done to it"
        ),
    )
    .scoped(Scope::Mailbox)
    .hint("run the same command again")
}

/// A session that is opened when it is needed.
pub(super) struct Line<'a> {
    pub(super) server: &'a Server,
    pub(super) context: &'a Context,
    pub(super) trace: &'a Trace,
    pub(super) report: &'a dyn Report,
    pub(super) origin: Option<Origin>,
    /// The folder that is open, and its UIDVALIDITY.
    pub(super) open: Option<(Folder, u32)>,
    pub(super) losses: u32,
    /// How folders are called on the wire.
    pub(super) names: Names,
}

impl<'a> Line<'a> {
    pub(super) fn new(server: &'a Server, context: &'a Context, trace: &'a Trace, report: &'a dyn Report) -> Self {
        Self { server, context, trace, report, origin: None, open: None, losses: 0, names: Names::default() }
    }

    /// The first connection: wrong names and passwords end the run here.
    pub(super) fn connect(&mut self) -> Result<()> {
        self.origin = Some(Origin::connect(self.server, self.context, self.trace)?);
        Ok(())
    }

    /// Asks the server, over a new session and from the start where one is lost on the way.
    pub(super) fn ask<T>(&mut self, mut act: impl FnMut(&mut Origin) -> Result<T>) -> Result<T> {
        self.open = None;
        self.again(|line| act(line.session()?))
    }

    /// Asks about an open folder, opening it first where it is not.
    pub(super) fn ask_in<T>(&mut self, folder: &Folder, uid_validity: u32, mut act: impl FnMut(&mut Origin) -> Result<T>) -> Result<T> {
        self.again(|line| {
            let is_open = line.open.as_ref().is_some_and(|(open, validity)| open == folder && *validity == uid_validity);
            if line.origin.is_none() || !is_open {
                line.open = None;
                let figures = line.session()?.open(folder)?;
                if figures.uid_validity != Some(uid_validity) {
                    return Err(uid_validity_changed(folder));
                }
                line.open = Some((folder.clone(), uid_validity));
            }
            act(line.session()?).map_err(|error| if error.kind() == Kind::Safety { uid_validity_changed(folder) } else { error })
        })
    }

    fn again<T>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        loop {
            self.context.check()?;
            match act(self) {
                Ok(value) => {
                    self.losses = 0;
                    return Ok(value);
                }
                Err(error) if is_loss(&error) => self.lose(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn session(&mut self) -> Result<&mut Origin> {
        match &mut self.origin {
            Some(origin) => Ok(origin),
            empty => Ok(empty.insert(Origin::connect_knowing(self.server, self.names.clone(), self.context, self.trace)?)),
        }
    }

    /// Counts a loss and waits; gives up after several without progress.
    fn lose(&mut self, error: Error) -> Result<()> {
        self.origin = None;
        self.open = None;
        self.context.check()?;
        self.losses += 1;
        if self.losses > MAX_LOSSES {
            return Err(error);
        }
        let pause = pause_after(self.losses);
        self.report.event(Event::Note(format!("{error}; connecting again in {} s", pause.as_secs())));
        self.context.pause(pause);
        self.context.check()
    }
}
