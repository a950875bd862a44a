//! The `date-time` of RFC 3501 (INTERNALDATE, and the date of an APPEND) to and from an instant. Plain civil arithmetic; no clock.

use crate::message::InternalDate;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads `17-Jul-1996 02:44:25 -0700`; the day may have one digit, with or without a blank before it.
/// `None` for what is no date, and for years before 1900, which stand for "unknown" (IceWarp's 1899).
pub fn parse_date_time(text: &[u8]) -> Option<InternalDate> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let mut date = date.split('-');
    let day = number(date.next()?, 1, 2)?;
    let name = date.next()?;
    let month = MONTHS.iter().zip(1..).find(|(month, _)| month.eq_ignore_ascii_case(name))?.1;
    let year = number(date.next()?, 4, 4)?;
    if date.next().is_some() || year < 1900 || day < 1 || day > month_days(year, month) {
        return None;
    }
    let mut time = time.split(':');
    let (hour, minute, second) = (number(time.next()?, 1, 2)?, number(time.next()?, 2, 2)?, number(time.next()?, 2, 2)?);
    if time.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (sign, zone) = match zone.strip_prefix('-') {
        Some(zone) => (-1, zone),
        None => (1, zone.strip_prefix('+')?),
    };
    let zone = number(zone, 4, 4)?;
    let (zone_hours, zone_minutes) = (zone / 100, zone % 100);
    if zone_hours > 23 || zone_minutes > 59 {
        return None;
    }
    let offset = sign * (zone_hours * 3600 + zone_minutes * 60);
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(InternalDate { seconds, offset: i32::try_from(offset).ok()? })
}

/// Writes the 26 characters of RFC 3501's `date-time`, without quotes. An offset that it cannot write (seconds, a day or
/// more) is cut to whole minutes or made UTC; the instant stays. `None` for years outside 1 to 9999.
pub fn format_date_time(date: InternalDate) -> Option<String> {
    let offset = if date.offset.unsigned_abs() < 86_400 { i64::from(date.offset) / 60 * 60 } else { 0 };
    let local = date.seconds.checked_add(offset)?;
    let (year, month, day) = civil_from_days(local.div_euclid(86_400))?;
    if !(1..=9999).contains(&year) {
        return None;
    }
    let month = MONTHS.get(usize::try_from(month - 1).ok()?)?;
    let of_day = local.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    let (zone_hours, zone_minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    Some(format!("{day:2}-{month}-{year:04} {hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_minutes:02}"))
}

fn number(digits: &str, min: usize, max: usize) -> Option<i64> {
    let plain = (min..=max).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

fn civil_from_days(days: i64) -> Option<(i64, i64, i64)> {
    let days = days.checked_add(719_468)?;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    Some(if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_date_is_an_instant_and_a_zone() {
        let date = parse_date_time(b"17-Jul-1996 02:44:25 -0700").unwrap();
        assert_eq!(date, InternalDate { seconds: 837_596_665, offset: -7 * 3600 });
        assert_eq!(date.rfc3339().unwrap(), "1996-07-17T02:44:25-07:00");
        assert_eq!(format_date_time(date).unwrap(), "17-Jul-1996 02:44:25 -0700");
        for text in [" 1-Jan-1970 00:00:00 +0000", "1-jan-1970 0:00:00 +0000", "01-JAN-1970 00:00:00 +0000 "] {
            let date = parse_date_time(text.as_bytes()).unwrap();
            assert_eq!(date, InternalDate { seconds: 0, offset: 0 }, "{text}");
            assert_eq!(format_date_time(date).unwrap(), " 1-Jan-1970 00:00:00 +0000");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "30-Dec-1899 00:00:00 +0000",
            "31-Feb-2024 00:00:00 +0000",
            "0-Jan-2024 00:00:00 +0000",
            "1-Foo-2024 00:00:00 +0000",
            "1-Jan-24 00:00:00 +0000",
            "1-Jan-2024 24:00:00 +0000",
            "1-Jan-2024 00:00 +0000",
            "1-Jan-2024 00:00:00",
            "1-Jan-2024 00:00:00 GMT",
            "1-Jan-2024 00:00:00 +000\u{661}",
            "1-Jan-99999 00:00:00 +0000",
            "NIL",
        ] {
            assert!(parse_date_time(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn an_offset_that_cannot_be_written_keeps_the_instant() {
        for offset in [1, -1, 59, 3661, -86_400, i32::MIN, i32::MAX] {
            let date = InternalDate { seconds: 1_700_000_000, offset };
            assert_eq!(parse_date_time(format_date_time(date).unwrap().as_bytes()).unwrap().seconds, date.seconds, "{offset}");
        }
        for seconds in [i64::MIN, i64::MAX, -62_135_596_801, 253_402_300_800] {
            assert!(format_date_time(InternalDate { seconds, offset: 0 }).is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_date_reads_back_as_written(seconds in -2_208_902_400_i64..253_402_214_400, minutes in -1439..1440_i32) {
            let date = InternalDate { seconds, offset: minutes * 60 };
            let text = format_date_time(date).unwrap();
            prop_assert_eq!(text.len(), 26);
            prop_assert_eq!(parse_date_time(text.as_bytes()), Some(date));
            prop_assert!(parse_date_time(text.as_bytes()).is_some_and(|date| date.rfc3339().is_some()));
        }
    }
}
