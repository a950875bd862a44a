//! The two ends of a run: opened when they are needed, opened again after a loss, given up after too many. It knows no message.

use std::time::Duration;

use super::Transfer;
use crate::error::{Error, Kind, Result, Scope};
use crate::report::Event;
use crate::store::{Sink, Source};

/// Sessions that may be lost in a row without a message getting through.
pub(super) const MAX_LOSSES: u32 = 5;
/// Sessions that a run opens for the sake of one message at most.
const MAX_RENEWED: u32 = 128;
/// The first pause before connecting again; it doubles to the last.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LAST_PAUSE: Duration = Duration::from_secs(300);
/// The first pause for a server that slows us down and does not say for how long.
const FIRST_PAUSE_SLOWED: Duration = Duration::from_secs(10);
/// No single wait is longer, whatever a server asks for.
const LONGEST: Duration = Duration::from_hours(1);

/// Both ends, each gone after a loss until it is opened again.
pub(super) struct Ends {
    pub(super) source: Option<Box<dyn Source>>,
    pub(super) sink: Option<Box<dyn Sink>>,
    /// Losses in a row without a message getting through.
    pub(super) losses: u32,
    /// Whether anything was appended over the sink's session.
    pub(super) appended: bool,
    /// Sessions of the sink that were ended for no other reason than that the next one be new.
    pub(super) renewed: u32,
    /// Messages that the destination took in this run.
    pub(super) taken: u64,
    /// Whether a message was put aside because the destination wants more time, and nothing shows that others do not make it
    /// want that as well.
    pub(super) doubtful: bool,
}

impl Ends {
    /// Both ends, opened again where one is gone.
    pub(super) fn open(&mut self, transfer: &Transfer<'_>) -> Result<(&mut dyn Source, &mut dyn Sink)> {
        if self.source.is_none() {
            self.source = Some((transfer.open_source)()?);
        }
        if self.sink.is_none() {
            self.sink = Some((transfer.open_sink)()?);
            self.appended = false;
        }
        match (&mut self.source, &mut self.sink) {
            (Some(source), Some(sink)) => Ok((source.as_mut(), sink.as_mut())),
            _ => Err(Error::network("the connection is gone")),
        }
    }

    /// Ends the sink's session if anything was appended over it, so that the next one is new; `false` where it goes on. That is done
    /// for so many messages in a run: each costs a login.
    pub(super) fn renew_sink(&mut self) -> bool {
        if !self.appended || self.renewed >= MAX_RENEWED {
            return false;
        }
        self.renewed += 1;
        if let Some(mut sink) = self.sink.take() {
            // Everything is settled: a farewell that fails takes nothing back.
            let _ = sink.finish();
        }
        true
    }

    pub(super) fn lose_source(&mut self, transfer: &Transfer<'_>, error: Error) -> Result<()> {
        self.source = None;
        self.pause(transfer, error)
    }

    pub(super) fn lose_sink(&mut self, transfer: &Transfer<'_>, error: Error) -> Result<()> {
        self.sink = None;
        self.pause(transfer, error)
    }

    pub(super) fn lose_both(&mut self, transfer: &Transfer<'_>, error: Error) -> Result<()> {
        if error.scope() != Scope::Session || matches!(error.kind(), Kind::Interrupted(_)) {
            return Err(error);
        }
        self.source = None;
        self.sink = None;
        self.pause(transfer, error)
    }

    /// Counts a loss and waits: as long as the server asks, or a little longer each time; gives up after several without progress.
    fn pause(&mut self, transfer: &Transfer<'_>, error: Error) -> Result<()> {
        transfer.context.check()?;
        self.losses += 1;
        if self.losses > MAX_LOSSES {
            return Err(error);
        }
        let slowed = error.asked().is_some_and(|ask| ask.slows());
        let first = if slowed { FIRST_PAUSE_SLOWED } else { FIRST_PAUSE };
        let own = first.saturating_mul(1 << (self.losses - 1).min(16)).min(LAST_PAUSE);
        // A second more, so that the server's clock is past it as well.
        let asked = error.retry_after().map(|wait| wait.saturating_add(FIRST_PAUSE).min(LONGEST));
        let pause = asked.unwrap_or(own);
        if transfer.options.gate.until().is_some_and(|until| transfer.context.now().after(pause) > until) {
            return Err(Error::new(
                Kind::Limit,
                format!("the limit of time would be over before the server is to be asked again: {error}"),
            )
            .hint("run the same command again to go on"));
        }
        let text = |what: &str| format!("{error}; {what} in {} s", pause.as_secs());
        transfer.report.event(match asked {
            Some(_) => Event::Waiting(text("going on as the server asks,")),
            None if slowed => Event::Waiting(text("going on")),
            None => Event::Note(text("connecting again")),
        });
        transfer.context.pause(pause);
        transfer.context.check()
    }
}
