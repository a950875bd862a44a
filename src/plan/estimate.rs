//! How long a copy may take: a range from rates that are assumed and said, never one figure. It measures nothing.

use std::fmt;
use std::time::Duration;

/// What the fastest and the slowest of the servers that people have take, in messages and octets a second.
const FAST: (u64, u64) = (500, 10 * 1024 * 1024);
const SLOW: (u64, u64) = (20, 512 * 1024);
/// Questions asked for a folder, at least and at most.
const QUESTIONS: (u32, u32) = (3, 10);

/// Between which times a copy may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Not sooner.
    pub from: Duration,
    /// Not later, unless servers are slower than assumed.
    pub to: Duration,
    round_trip: Option<Duration>,
    octets_a_second: Option<u64>,
}

impl Estimate {
    /// For so much mail in so many folders; `octets_a_second` is a limit of the user's.
    pub fn of(messages: u64, octets: u64, folders: u32, round_trip: Option<Duration>, octets_a_second: Option<u64>) -> Self {
        let at = |amount: u64, rate: u64| Duration::from_millis(amount.saturating_mul(1000) / rate.max(1));
        let asking = |questions: u32| round_trip.unwrap_or_default().saturating_mul(questions.saturating_mul(folders));
        let limited = octets_a_second.map_or(Duration::ZERO, |rate| at(octets, rate));
        let from = at(messages, FAST.0).max(at(octets, FAST.1)).max(limited) + asking(QUESTIONS.0);
        let to = (at(messages, SLOW.0) + at(octets, SLOW.1)).max(limited) + asking(QUESTIONS.1);
        Self { from, to, round_trip, octets_a_second }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.to < Duration::from_secs(10) {
            f.write_str("a few seconds")?;
        } else {
            write!(f, "between {} and {}", coarse(self.from, false), coarse(self.to, true))?;
        }
        write!(
            f,
            ", if the servers take {} to {} messages and {} to {} MiB a second, which is assumed",
            SLOW.0,
            FAST.0,
            thousandths(SLOW.1),
            FAST.1 >> 20
        )?;
        match self.round_trip {
            Some(time) if !time.is_zero() => write!(f, "; measured is only the round trip, {} ms", time.as_millis().max(1))?,
            _ => f.write_str("; nothing was measured")?,
        }
        match self.octets_a_second {
            Some(rate) => write!(f, "; --bwlimit lets {} KiB a second through", rate >> 10),
            None => Ok(()),
        }
    }
}

fn thousandths(octets: u64) -> String {
    let tenths = octets * 10 / (1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// One figure and a unit: more would be invented.
fn coarse(time: Duration, up: bool) -> String {
    let seconds = time.as_secs().max(1);
    let (unit, name) = match seconds {
        0..90 => (1, "s"),
        90..5400 => (60, "min"),
        5400..172_800 => (3600, "h"),
        _ => (86_400, "days"),
    };
    let number = if up { seconds.div_ceil(unit) } else { (seconds / unit).max(1) };
    let step = 10_u64.pow(number.checked_ilog10().unwrap_or(0));
    let number = if up { number.div_ceil(step) } else { number / step } * step;
    format!("{number} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_figure_and_lies_on_the_safe_side() {
        let shown = |seconds| (coarse(Duration::from_secs(seconds), false), coarse(Duration::from_secs(seconds), true));
        for (seconds, from, to) in
            [(0, "1 s", "1 s"), (47, "40 s", "50 s"), (150, "2 min", "3 min"), (7000, "1 h", "2 h"), (400_000, "4 days", "5 days")]
        {
            assert_eq!(shown(seconds), (from.to_owned(), to.to_owned()), "{seconds}");
        }
    }

    #[test]
    fn an_estimate_is_a_range_that_says_what_it_is_made_of() {
        let one = Estimate::of(100_000, 2 << 30, 20, Some(Duration::from_millis(40)), None);
        let text = one.to_string();
        assert!(one.from < one.to && text.starts_with("between 3 min and 3 h, if"), "{text}");
        assert!(text.contains("assumed") && text.contains("the round trip, 40 ms"), "{text}");
        let limited = Estimate::of(10, 1 << 30, 1, None, Some(100 * 1024));
        assert!(limited.from >= Duration::from_secs(10_000) && limited.to >= limited.from, "{limited}");
        assert!(limited.to_string().contains("nothing was measured") && limited.to_string().contains("--bwlimit"));
        assert!(Estimate::of(3, 1000, 1, None, None).to_string().starts_with("a few seconds"));
    }
}
