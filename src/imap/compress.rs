//! COMPRESS=DEFLATE (RFC 4978): when it pays, and turning it on. Compression costs both sides time and saves none where the link
//! is fast, so that unless somebody knows better it is begun when reading messages has shown that octets are waited for.

use std::time::Duration;

use super::encode::Command;
use super::session::Session;
use crate::account::{Compress, Compression};
use crate::error::{Kind, Result};
use crate::net::{Phase, Tally};

/// Octets of messages that show how fast they come.
const SAMPLE: u64 = 2 * 1024 * 1024;
/// A link of as many octets a second is not what takes the time.
const FAST: u64 = 4_000_000;

/// What is known of how fast messages come.
pub(super) struct Pace {
    compression: Compression,
    /// Compression is on, or will not be.
    settled: bool,
    octets: u64,
    took: Duration,
    waited: Duration,
}

impl Pace {
    pub(super) fn new(compression: &Compression) -> Self {
        Self { compression: compression.clone(), settled: false, octets: 0, took: Duration::ZERO, waited: Duration::ZERO }
    }

    /// Whether the session begins with it.
    pub(super) fn compresses_at_once(&self) -> bool {
        self.compression.wish == Compress::Yes && !self.compression.broke()
    }

    fn add(&mut self, from: Tally, to: Tally) {
        self.octets += to.received.saturating_sub(from.received);
        self.took += to.at.since(from.at);
        self.waited += to.waited.saturating_sub(from.waited);
    }

    /// Whether the link is what takes the time: octets come slowly, and most of the time is spent waiting for them, not in
    /// looking at them or in storing them.
    fn is_slow_link(&self) -> bool {
        let limit = self.took.as_micros().saturating_mul(u128::from(FAST)) / 1_000_000;
        u128::from(self.octets) < limit && self.waited > self.took / 2
    }
}

impl Session {
    /// Begins to look at how fast messages come, where that decides anything.
    pub(super) fn measure(&self) -> Option<Tally> {
        let open = !self.pace.settled && self.pace.compression.wish == Compress::Auto && !self.pace.compression.broke();
        (open && self.offers_compression()).then(|| self.wire.conn.tally())
    }

    /// Keeps what was measured until the next messages are read.
    pub(super) fn add_measure(&mut self, from: Option<Tally>) {
        if let Some(from) = from {
            let now = self.wire.conn.tally();
            self.pace.add(from, now);
        }
    }

    /// Whether enough came to decide, and compression pays; told once.
    pub(super) fn compression_pays(&mut self, from: &mut Option<Tally>) -> bool {
        let Some(start) = *from else { return false };
        let now = self.wire.conn.tally();
        if self.pace.octets + now.received.saturating_sub(start.received) < SAMPLE {
            return false;
        }
        *from = None;
        self.pace.add(start, now);
        self.pace.settled = true;
        self.pace.is_slow_link()
    }

    fn offers_compression(&self) -> bool {
        self.capabilities.has("COMPRESS=DEFLATE")
    }

    /// Turns compression on where the server offers it, nothing is in flight and nothing speaks against it; a server that
    /// fails at it is not asked again.
    ///
    /// # Errors
    /// Loss of the connection.
    pub(super) fn compress(&mut self) -> Result<()> {
        self.pace.settled = true;
        let blocked = self.pace.compression.broke() || self.wire.conn.is_compressed() || !self.wire.is_quiet();
        if blocked || !self.offers_compression() {
            return Ok(());
        }
        let outcome = self.switch();
        if let Err(error) = &outcome
            && !matches!(error.kind(), Kind::Interrupted(_))
        {
            self.pace.compression.give_up();
        }
        outcome
    }

    fn switch(&mut self) -> Result<()> {
        let tag = self.wire.send(&Command::new("COMPRESS DEFLATE"))?;
        self.wire.conn.deadline(Phase::Command);
        if !self.wire.finish_any(&tag, &mut |_| Ok(()))?.is_ok() {
            self.pace.compression.give_up();
            return Ok(());
        }
        self.wire.conn.start_deflate()?;
        // Whether the two sides understand each other had better show now than in the middle of a message.
        let tag = self.wire.send(&Command::new("NOOP"))?;
        self.wire.conn.deadline(Phase::Command);
        self.wire.finish_any(&tag, &mut |_| Ok(())).map(drop)
    }
}

/// A server whose octets cannot be expanded any more is read without compression from the next connection on.
impl Drop for Session {
    fn drop(&mut self) {
        if self.wire.conn.is_garbled() {
            self.pace.compression.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_pays_where_a_slow_link_is_waited_for() {
        let pace = |octets: u64, took: u64, waited: u64| Pace {
            octets,
            took: Duration::from_millis(took),
            waited: Duration::from_millis(waited),
            ..Pace::new(&Compression::default())
        };
        assert!(pace(SAMPLE, 4000, 3900).is_slow_link());
        assert!(pace(SAMPLE, 600, 400).is_slow_link());
        // A fast link; a slow disk or processor; no time at all.
        assert!(!pace(SAMPLE, 500, 490).is_slow_link());
        assert!(!pace(SAMPLE, 4000, 1000).is_slow_link());
        assert!(!pace(SAMPLE, 0, 0).is_slow_link());
    }

    #[test]
    fn what_one_connection_learned_the_others_know() {
        let compression = Compression::new(Compress::Yes);
        let (one, other) = (Pace::new(&compression), Pace::new(&compression.clone()));
        assert!(one.compresses_at_once() && other.compresses_at_once());
        one.compression.give_up();
        assert!(!other.compresses_at_once());
        assert!(!Pace::new(&Compression::new(Compress::No)).compresses_at_once());
    }
}
