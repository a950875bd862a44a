//! UIDs as people and scripts type them, on the command line and on standard input.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// UIDs as an argument says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uids {
    /// Right here.
    Set(UidSet),
    /// On standard input, between blanks or line ends.
    Stdin,
}

impl FromStr for Uids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "-" { Ok(Self::Stdin) } else { text.parse().map(Self::Set) }
    }
}

/// UIDs or message numbers: single ones and ranges, `*` being the highest there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UidSet(Vec<(UidEnd, UidEnd)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UidEnd {
    Number(u32),
    Highest,
}

impl UidEnd {
    fn number(self, highest: u32) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Highest => highest,
        }
    }
}

impl UidSet {
    /// What is in the set, in a folder whose highest UID is `highest`: ascending ranges that neither overlap nor touch.
    /// As in IMAP, a range may be written either way round, so that `100:*` holds the highest even when that is below
    /// 100 (RFC 9051 section 9).
    pub fn ranges(&self, highest: u32) -> Vec<(u32, u32)> {
        let ends = self.0.iter().map(|(first, last)| (first.number(highest), last.number(highest)));
        let mut ranges: Vec<_> = ends.map(|(first, last)| (first.min(last), first.max(last))).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|later, kept| {
            let joins = later.0 <= kept.1.saturating_add(1);
            if joins {
                kept.1 = kept.1.max(later.1);
            }
            joins
        });
        ranges
    }

    /// The numbers that are named one by one: somebody expects each of them to be there.
    pub fn singles(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|ends| match ends {
            (UidEnd::Number(first), UidEnd::Number(last)) if first == last => Some(*first),
            _ => None,
        })
    }

    /// All numbers, ascending, where each is named on its own and they are at most `most`.
    pub fn only_singles(&self, most: usize) -> Option<Vec<u32>> {
        let mut numbers: Vec<u32> = self.singles().collect();
        if numbers.len() < self.0.len() || numbers.len() > most {
            return None;
        }
        numbers.sort_unstable();
        numbers.dedup();
        Some(numbers)
    }

    /// Both sets.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl FromStr for UidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let end = |text: &str| match text {
            "*" => Some(UidEnd::Highest),
            // Digits only: Rust's own parser takes a plus sign.
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|number| *number > 0).map(UidEnd::Number)
            }
            _ => None,
        };
        let ranges: Option<Vec<_>> = text
            .split(|c: char| c == ',' || c.is_ascii_whitespace())
            .map(|part| match part.split_once(':') {
                Some((first, last)) => Some((end(first)?, end(last)?)),
                None => end(part).map(|only| (only, only)),
            })
            .collect();
        ranges.map(Self).ok_or_else(|| Error::usage("UIDs are numbers from 1 up, ranges of them, or both: 17,20:40,100:*"))
    }
}

impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: UidEnd| match end {
            UidEnd::Number(number) => number.to_string(),
            UidEnd::Highest => "*".to_owned(),
        };
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(&end(*first))?;
            if first != last {
                write!(f, ":{}", end(*last))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_set_holds_numbers_and_ranges_either_way_round() {
        let set: UidSet = "17,40:20 100:*".parse().unwrap();
        assert_eq!(set.to_string(), "17,40:20,100:*");
        assert_eq!(set.ranges(50), [(17, 17), (20, 40), (50, 100)]);
        assert_eq!(set.ranges(200), [(17, 17), (20, 40), (100, 200)]);
        assert_eq!("5,1:3,4,2".parse::<UidSet>().unwrap().ranges(9), [(1, 5)]);
    }

    #[test]
    fn numbers_named_one_by_one_are_told_from_ranges() {
        let set: UidSet = "9,3,9".parse().unwrap();
        assert_eq!(set.only_singles(3), Some(vec![3, 9]));
        assert_eq!(set.only_singles(2), None);
        let mixed: UidSet = "7,1:3,*".parse().unwrap();
        assert_eq!((mixed.only_singles(9), mixed.singles().collect::<Vec<_>>()), (None, vec![7]));
        assert_eq!("-".parse::<Uids>().unwrap(), Uids::Stdin);
    }

    #[test]
    fn what_is_no_uid_set_is_refused() {
        for text in ["", "0", "1,", "+1", "1:", "1:2:3", "a", "4294967296", "1  2", "**", "-"] {
            assert!(text.parse::<UidSet>().is_err(), "{text}");
        }
    }
}
