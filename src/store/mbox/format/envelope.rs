//! Envelope lines: the `From ` line in front of each message, its date in the forms mail programs wrote, and the notes that we
//! leave at its end. It knows lines of text and nothing of the messages between them.

use crate::message::InternalDate;

const NOTE: &str = " remote from mailhaul.";
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// What the end of our own envelope lines says where the usual rules would not give the bytes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// `lf`: the line ends are LF, and stay so.
    pub(super) lf: bool,
    /// `open`: the message has no final line end; the one that stands there is not its own.
    pub(super) open: bool,
    /// `rd`: its Content-Length is its own affair.
    pub(super) rd: bool,
}

impl Notes {
    /// What is added to an envelope line.
    pub(super) fn text(self, key: Option<&str>) -> String {
        let words = [(self.lf, "lf"), (self.open, "open"), (self.rd, "rd")];
        let words: Vec<&str> = key.into_iter().chain(words.iter().filter(|(there, _)| *there).map(|(_, word)| *word)).collect();
        if words.is_empty() { String::new() } else { format!("{NOTE}{}", words.join(".")) }
    }

    /// What an envelope line says.
    pub(super) fn read(envelope: &str) -> Self {
        let Some(at) = envelope.rfind(NOTE) else { return Self::default() };
        let mut words = envelope.get(at + NOTE.len()..).unwrap_or_default().trim_end().split('.');
        let mut notes = Self::default();
        words.by_ref().for_each(|word| match word {
            "lf" => notes.lf = true,
            "open" => notes.open = true,
            "rd" => notes.rd = true,
            _ => {}
        });
        notes
    }
}

/// The key that [`write()`](super::write()) noted in an envelope line: the first word of its note, where that is none of the others.
pub(super) fn key(envelope: &str) -> Option<&str> {
    let (_, words) = envelope.rsplit_once(NOTE)?;
    let key = words.trim_end().split('.').next()?;
    key.starts_with(['V', 'P']).then_some(key)
}

/// `Thu Jan  1 00:00:00 1970`, in UTC (RFC 4155); `None` for a year that has not four digits.
pub(super) fn asctime(date: InternalDate) -> Option<String> {
    let instant = jiff::Timestamp::from_second(date.seconds).ok()?;
    let date = jiff::ZonedDateTime::new(instant, jiff::tz::TimeZone::UTC);
    (1000..=9999).contains(&date.year()).then(|| date.strftime("%a %b %e %H:%M:%S %Y").to_string())
}

/// An envelope line: what stands behind `From ` makes one only when a date of some kind is in it, so that a line of a
/// letter which begins with that word does not cut the letter. The date is UTC where no zone in digits is told.
pub(super) fn date(line: &str) -> Option<InternalDate> {
    let words: Vec<&str> = line.split_ascii_whitespace().take(64).collect();
    words.windows(4).enumerate().find_map(|(at, window)| {
        let [weekday, month, day, time] = window else { return None };
        if !WEEKDAYS.iter().any(|known| weekday.trim_end_matches(',').eq_ignore_ascii_case(known)) {
            return None;
        }
        // `Sat, 5 Mar 2016 12:00:00`: day and month the other way round, and the year before the time.
        let (month, day) = if day.bytes().all(|byte| byte.is_ascii_digit()) { (*month, *day) } else { (*day, *month) };
        let month = month_number(month)?;
        let day: i8 = day.parse().ok()?;
        let (early, time, rest) = match year(time) {
            Some(year) => (Some(year), *words.get(at + 4)?, words.get(at + 5..)?),
            None => (None, *time, words.get(at + 4..)?),
        };
        let mut clock = time.split(':');
        let (hour, minute): (i8, i8) = (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
        let second: i8 = clock.next().map_or(Some(0), |second| second.parse().ok())?.min(59);
        let rest = rest.get(..rest.len().min(3)).unwrap_or_default();
        let year = early.or_else(|| rest.iter().find_map(|word| year(word)))?;
        let offset = rest.iter().find_map(|word| zone(word)).unwrap_or(0);
        let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let instant = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?;
        Some(InternalDate { seconds: instant.as_second() - i64::from(offset), offset })
    })
}

fn month_number(text: &str) -> Option<i8> {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(months).find(|(_, month)| text.eq_ignore_ascii_case(month)).map(|(number, _)| number)
}

fn year(text: &str) -> Option<i16> {
    if text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `+0130` in seconds.
fn zone(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let number: i32 =
        if digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok()? } else { return None };
    (number % 100 < 60 && number < 2400).then_some(sign * (number / 100 * 3600 + number % 100 * 60))
}

/// Who an envelope line names: an address as it may stand there, without blanks and controls.
pub(super) fn sender(address: &str) -> String {
    let clean: String = address.chars().filter(char::is_ascii_graphic).take(200).collect();
    if clean.is_empty() { "MAILER-DAEMON".to_owned() } else { clean }
}
