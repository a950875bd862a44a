//! Days as SINCE and BEFORE compare them: without a time and without a zone.

use crate::message::InternalDate;

/// A day without a time or a zone, as SINCE and BEFORE compare (RFC 9051 section 6.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// 1 to 9999.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
}

impl Day {
    /// Reads `2024-01-31`, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
        if !plain {
            return None;
        }
        Self::from_civil(text.parse().ok()?)
    }

    /// The day a date shows in the zone it was written in; `None` for years outside 1 to 9999.
    pub fn of(date: InternalDate) -> Option<Self> {
        Self::of_seconds(date.seconds.checked_add(i64::from(date.offset))?)
    }

    /// The day in UTC, `seconds` after 1970; `None` for years outside 1 to 9999.
    pub fn of_seconds(seconds: i64) -> Option<Self> {
        let moment = jiff::Timestamp::from_second(seconds).ok()?;
        Self::from_civil(jiff::tz::Offset::UTC.to_datetime(moment).date())
    }

    /// So many days later, or earlier; `None` for years outside 1 to 9999.
    pub fn plus(self, days: i64) -> Option<Self> {
        let date = jiff::civil::Date::new(self.year, self.month, self.day).ok()?;
        Self::from_civil(date.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?)
    }

    fn from_civil(date: jiff::civil::Date) -> Option<Self> {
        (date.year() >= 1).then(|| Self { year: date.year(), month: date.month(), day: date.day() })
    }
}
