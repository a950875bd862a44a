//! The octets of messages that may be in memory between a source and a sink. It knows no message.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::context::{Context, Moment};
use crate::error::Result;
use crate::message::Body;

/// Octets between the reading of messages and their settled fate.
const OCTETS: usize = 9 * 1024 * 1024;
/// The same where they only wait to be written to files.
const FLOWING_OCTETS: usize = 5 * 1024 * 1024;
/// What a message costs beside its octets.
const OVERHEAD: usize = 2048;

/// What a message counts whose octets lie in a temporary file: a source that is faster than the sink must not fill the disk
/// with them, nor use up all file handles.
const IN_FILE: usize = OCTETS / 4;

/// What a body counts.
pub(super) fn weight(body: &Body) -> usize {
    match body.in_memory() {
        Some(bytes) => bytes.len(),
        None => IN_FILE,
    }
}

/// A counting gate: whoever reads a message takes its octets, whoever learns its fate gives them back.
pub(super) struct Budget {
    most: usize,
    /// Whoever waits is woken once no more than so much is used: a wake for every message would cost more than the message.
    wake_at: usize,
    used: Mutex<Used>,
    changed: Condvar,
}

#[derive(Default)]
struct Used {
    octets: usize,
    closed: bool,
    /// How many wait for room.
    waiting: usize,
    /// From when on nothing more goes through, nor anything that would have to wait until then.
    ending: Option<Moment>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { most: OCTETS, wake_at: OCTETS, used: Mutex::new(Used::default()), changed: Condvar::new() }
    }

    /// One for a sink that gives every message's octets back without waiting for more messages.
    pub(super) fn flowing() -> Self {
        Self { most: FLOWING_OCTETS, wake_at: FLOWING_OCTETS / 4 * 3, ..Self::new() }
    }

    /// What a body counts here.
    pub(super) fn weight(&self, body: &Body) -> usize {
        if body.in_memory().is_some() { weight(body) } else { self.most / 4 }
    }

    /// Takes the octets of a message, waiting until they fit (one message always does). `false` once the gate is closed.
    pub(super) fn take(&self, octets: usize, context: &Context) -> Result<bool> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if used.closed || used.ending.is_some_and(|end| context.now() > end) {
                return Ok(false);
            }
            if used.octets == 0 || used.octets.saturating_add(octets).saturating_add(OVERHEAD) <= self.most {
                used.octets += octets + OVERHEAD;
                return Ok(true);
            }
            if used.ending.is_some() {
                return Ok(false);
            }
            context.check()?;
            used.waiting += 1;
            used = self.changed.wait_timeout(used, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0;
            used.waiting -= 1;
        }
    }

    /// Gives the octets of a message back.
    pub(super) fn give(&self, octets: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.octets = used.octets.saturating_sub(octets + OVERHEAD);
        if used.waiting > 0 && used.octets <= self.wake_at {
            drop(used);
            self.changed.notify_all();
        }
    }

    /// Lets through what comes until `end` and needs not wait.
    pub(super) fn end_by(&self, end: Moment) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).ending = Some(end);
        self.changed.notify_all();
    }

    /// Lets nothing more through.
    pub(super) fn close(&self) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_always_fits_and_a_closed_gate_lets_nothing_through() {
        let budget = Budget::new();
        let context = Context::from_environment();
        assert!(budget.take(usize::MAX / 2, &context).unwrap());
        budget.give(usize::MAX / 2);
        assert!(budget.take(1, &context).unwrap());
        budget.close();
        assert!(!budget.take(1, &context).unwrap());
    }

    #[test]
    fn a_gate_that_ends_lets_through_what_needs_not_wait() {
        let budget = Budget::new();
        let context = Context::from_environment();
        assert!(budget.take(OCTETS / 2, &context).unwrap());
        budget.end_by(context.now().after(Duration::from_secs(3600)));
        assert!(budget.take(1, &context).unwrap());
        assert!(!budget.take(OCTETS, &context).unwrap());
        budget.end_by(Moment::default());
        assert!(!budget.take(1, &context).unwrap());
    }

    #[test]
    fn bodies_in_files_are_few_at_a_time() {
        let mut body = Body::new();
        body.push(&vec![b'x'; crate::message::SPILL_BYTES + 1]).unwrap();
        assert_eq!(body.memory_bytes(), 0);
        let budget = Budget::new();
        for _ in 0..3 {
            assert!(budget.take(weight(&body), &Context::from_environment()).unwrap());
        }
        assert!(budget.used.lock().unwrap().octets + weight(&body) + OVERHEAD > OCTETS);
    }

    #[test]
    fn a_full_gate_opens_when_octets_come_back() {
        let budget = Budget::new();
        let context = Context::from_environment();
        assert!(budget.take(OCTETS, &context).unwrap());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.take(1000, &context).unwrap());
            budget.give(OCTETS);
            assert!(waiting.join().unwrap());
        });
    }
}
