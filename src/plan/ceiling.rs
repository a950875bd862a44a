//! The ceiling for deletions: how many of so many messages may go in one run. It never knows what they are deleted from.

use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// Unless the user says otherwise so many messages may go in one run, or this part of all there are if that is more.
const MESSAGES: u64 = 50;
const PERCENT: u32 = 10;

/// The deletion ceiling, `--max-delete`: `N` or `P%` of what is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ceiling {
    /// So many messages.
    Messages(u64),
    /// So many hundredths.
    Percent(u32),
    /// 50 messages or 10 %, whichever is more.
    #[default]
    Default,
}

impl FromStr for Ceiling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::usage(format!("{text:?} is neither a number of messages nor a percentage of at most 100%"));
        match text.strip_suffix('%') {
            Some(number) => Ok(Self::Percent(number.parse().ok().filter(|percent| *percent <= 100).ok_or_else(wrong)?)),
            None => Ok(Self::Messages(text.parse().map_err(|_| wrong())?)),
        }
    }
}

impl Ceiling {
    /// How many of `of` messages may go.
    pub fn most(self, of: u64) -> u64 {
        let part = |percent: u32| u64::try_from(u128::from(of) * u128::from(percent) / 100).unwrap_or(u64::MAX);
        match self {
            Self::Default => MESSAGES.max(part(PERCENT)),
            Self::Messages(count) => count,
            Self::Percent(percent) => part(percent),
        }
    }

    /// Stops a run that would delete more than was allowed: `planned` of the `of` messages of `whose` (a folder, an account).
    ///
    /// # Errors
    /// [`Kind::Safety`].
    pub fn check(self, planned: u64, of: u64, whose: &str) -> Result<()> {
        let most = self.most(of);
        if planned <= most {
            return Ok(());
        }
        let error = format!("{planned} of the {of} messages of {whose} would be deleted, and at most {most} may be in one run");
        Err(Error::new(Kind::Safety, error).hint(format!("nothing was deleted; if it is meant so, add --max-delete {planned}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_the_larger_of_50_messages_and_a_tenth_may_go() {
        assert_eq!((Ceiling::Default.most(100), Ceiling::Default.most(5000)), (50, 500));
        assert_eq!((Ceiling::Messages(3).most(100), Ceiling::Percent(25).most(10)), (3, 2));
        assert!(Ceiling::Messages(3).check(3, 100, "INBOX").is_ok());
        let error = Ceiling::Messages(3).check(4, 100, "INBOX").err().unwrap();
        assert_eq!((error.kind(), error.remedy().unwrap().contains("--max-delete 4")), (Kind::Safety, true));
    }

    #[test]
    fn a_ceiling_is_a_number_or_a_percentage() {
        assert_eq!("7".parse::<Ceiling>().unwrap(), Ceiling::Messages(7));
        assert_eq!("7%".parse::<Ceiling>().unwrap(), Ceiling::Percent(7));
        for text in ["", "%", "101%", "-1", "x", "1.5%"] {
            assert!(text.parse::<Ceiling>().is_err(), "{text}");
        }
    }
}
