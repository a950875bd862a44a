//! The limits a user sets to a run: how many messages and octets may begin, until when, and how fast. It counts what begins and
//! knows no message.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::backup::Limits;
use crate::context::{Context, Moment};
use crate::error::{Error, Kind, Result};

/// What may still begin, over all connections of a run.
#[derive(Debug, Default)]
pub struct Gate {
    limits: Limits,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    messages: u64,
    octets: u64,
    /// When the next octets may come.
    pace: Option<Moment>,
}

impl Gate {
    /// Nothing has begun yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, spent: Mutex::default() }
    }

    /// Lets a message of so many octets begin. One always may, or a limit below its size would never let it.
    ///
    /// # Errors
    /// [`Kind::Limit`] once a limit is reached.
    pub(super) fn begin(&self, octets: u64, context: &Context) -> Result<()> {
        let reached =
            |option: &str| Err(Error::new(Kind::Limit, format!("{option} is reached")).hint("run the same command again to go on"));
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if self.limits.until.is_some_and(|until| context.now() >= until) {
            return reached("--max-duration");
        }
        if self.limits.messages.is_some_and(|most| spent.messages >= most) {
            return reached("--max-messages");
        }
        if self.limits.octets.is_some_and(|most| spent.octets > 0 && spent.octets.saturating_add(octets) > most) {
            return reached("--max-transfer");
        }
        spent.messages += 1;
        spent.octets = spent.octets.saturating_add(octets);
        Ok(())
    }

    /// When the run must be over.
    pub(super) fn until(&self) -> Option<Moment> {
        self.limits.until
    }

    /// A message that began did not go out: it begins again later.
    pub(super) fn take_back(&self, octets: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.messages = spent.messages.saturating_sub(1);
        spent.octets = spent.octets.saturating_sub(octets);
    }

    /// Waits until what came before fits the rate, and counts so many octets more. What waits for its own octets would go out over a
    /// session that was idle for just as long, and that a server has ended by then: again each time.
    pub(super) fn pace(&self, octets: u64, context: &Context) {
        context.pause(self.debt(octets, context.now()));
    }

    fn debt(&self, octets: u64, now: Moment) -> Duration {
        let Some(rate) = self.limits.octets_a_second.filter(|rate| *rate > 0) else { return Duration::ZERO };
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let from = spent.pace.unwrap_or(now).max(now);
        spent.pace = Some(from.after(Duration::from_millis(octets.saturating_mul(1000) / rate)));
        from.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(messages: Option<u64>, octets: Option<u64>) -> Gate {
        Gate::new(Limits { messages, octets, ..Limits::default() })
    }

    #[test]
    fn so_many_messages_and_octets_begin_and_one_in_any_case() {
        let context = Context::from_environment();
        let begun = |gate: &Gate, octets: u64| gate.begin(octets, &context).map_err(|error| error.kind());
        let two = gate(Some(2), None);
        assert_eq!([begun(&two, 9), begun(&two, 9), begun(&two, 9)], [Ok(()), Ok(()), Err(Kind::Limit)]);
        two.take_back(9);
        assert_eq!(begun(&two, 9), Ok(()));
        let ten = gate(None, Some(10));
        assert_eq!([begun(&ten, 50), begun(&ten, 1)], [Ok(()), Err(Kind::Limit)]);
        let over = Gate::new(Limits { until: Some(context.now()), ..Limits::default() });
        assert_eq!(begun(&over, 1), Err(Kind::Limit));
        assert_eq!(begun(&Gate::default(), u64::MAX), Ok(()));
    }

    #[test]
    fn a_message_waits_for_those_before_it_and_never_for_its_own_octets() {
        let gate = Gate::new(Limits { octets_a_second: Some(1000), ..Limits::default() });
        let now = Context::from_environment().now();
        let waits: Vec<u64> = [9000, 1000, 1].iter().map(|octets| gate.debt(*octets, now).as_secs()).collect();
        assert_eq!(waits, [0, 9, 10]);
        assert_eq!(gate.debt(1, now.after(Duration::from_secs(60))), Duration::ZERO);
    }
}
