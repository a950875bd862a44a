//! What servers write when they want to be left alone for a while: throttling, too many connections, a mailbox in use, and the
//! time to wait where they name one. Pure: words in, values out; who said them, and who waits, is never known here.

use std::time::Duration;

/// So much of a server's words is looked at, in octets.
const MOST: usize = 4096;
/// A number stands at most so many octets behind the words that announce it.
const NEAR: usize = 24;

/// Why a server wants to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Too much was asked of it in too short a time.
    Throttled,
    /// Too many connections are open.
    Connections,
    /// Somebody else has the mailbox open.
    InUse,
    /// It is in trouble, or just says that later is better.
    Later,
}

/// What a server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Why.
    pub cause: Cause,
    /// How long to wait, where it says so.
    pub wait: Option<Duration>,
}

impl Ask {
    /// Whether the same command goes through later for sure: it is slowed down and not refused.
    pub fn slows(&self) -> bool {
        self.cause == Cause::Throttled || self.wait.is_some()
    }
}

/// Reads a refusal, a farewell or a greeting, response codes (RFC 5530, RFC 2449, RFC 3206) included. `None` where it asks for
/// nothing of the kind; a full mailbox is no matter of time.
pub fn read(words: &str) -> Option<Ask> {
    let text: String = words.chars().take(MOST).map(|character| character.to_ascii_lowercase()).collect();
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if has(&["[overquota]"]) {
        return None;
    }
    let wait = wait(&text);
    let many = has(&["too many", "maximum number of", "exceeded"]);
    let cause = if has(&["[throttled]", "throttl", "backoff", "back off", "rate limit", "rate-limit", "ratelimit", "rate exceeded"])
        || text.contains("too many") && has(&["requests", "commands", "operations"])
    {
        Cause::Throttled
    } else if many && has(&["connection", "session", "clients"]) || has(&["connection limit"]) {
        Cause::Connections
    } else if has(&["[in-use]", "[inuse]"]) {
        Cause::InUse
    } else if wait.is_some() || has(&["[login-delay", "[sys/temp]", "[unavailable]", "try again later", "try later", "retry later"]) {
        Cause::Later
    } else {
        return None;
    };
    Some(Ask { cause, wait })
}

/// The time that stands behind words which announce one: `Suggested Backoff Time: 299950 Milliseconds`, `try again in 5 minutes`.
fn wait(text: &str) -> Option<Duration> {
    const ANNOUNCE: [&str; 9] =
        ["backoff time", "back off", "backoff", "retry after", "retry-after", "retry in", "again in", "again after", "please wait"];
    ANNOUNCE.iter().find_map(|words| {
        let (_, rest) = text.split_once(words)?;
        let at = rest.find(|character: char| character.is_ascii_digit()).filter(|at| *at <= NEAR)?;
        // Another sentence speaks of something else.
        let (between, rest) = rest.split_at_checked(at)?;
        if between.contains(['.', ';', '[', ']']) {
            return None;
        }
        time(rest)
    })
}

/// A number and its unit; seconds where it has none.
fn time(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().unwrap_or(u64::MAX);
    let unit = unit.trim_start();
    let word = unit.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
    Some(match word {
        "ms" | "msec" | "msecs" => Duration::from_millis(number),
        _ if word.starts_with("milli") => Duration::from_millis(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ if word.starts_with("min") => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3600)),
        _ if word.starts_with("hour") => Duration::from_secs(number.saturating_mul(3600)),
        _ => Duration::from_secs(number),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(words: &str) -> Option<(Cause, Option<u64>)> {
        read(words).map(|ask| (ask.cause, ask.wait.map(|wait| u64::try_from(wait.as_millis()).unwrap())))
    }

    #[test]
    fn servers_say_it_in_these_ways() {
        for (words, cause, wait) in [
            ("NO Request is throttled. Suggested Backoff Time: 299961 milliseconds", Cause::Throttled, Some(299_961)),
            ("BAD Request is throttled. Suggested Backoff Time: 299950 Milliseconds.", Cause::Throttled, Some(299_950)),
            ("NO UID FETCH failed [THROTTLED]", Cause::Throttled, None),
            ("NO [LIMIT] Rate limit hit", Cause::Throttled, None),
            ("NO [UNAVAILABLE] try again in 2 minutes", Cause::Later, Some(120_000)),
            ("NO [ALERT] Too many simultaneous connections. (Failure)", Cause::Connections, None),
            (
                "BYE [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=2)",
                Cause::Connections,
                None,
            ),
            ("NO [LIMIT] User has too many sessions", Cause::Connections, None),
            ("-ERR [IN-USE] Do you have another POP session running?", Cause::InUse, None),
            ("NO [INUSE] Mailbox in use", Cause::InUse, None),
            ("-ERR [LOGIN-DELAY] minimum time between mail checks violation", Cause::Later, None),
            ("-ERR [SYS/TEMP] Temporary system problem", Cause::Later, None),
            ("-ERR too fast, retry after 90 s", Cause::Later, Some(90_000)),
            ("BYE Temporary problem, please try again later", Cause::Later, None),
        ] {
            assert_eq!(ask(words), Some((cause, wait)), "{words}");
        }
    }

    #[test]
    fn refusals_for_good_ask_for_nothing() {
        for words in [
            "NO [OVERQUOTA] Quota exceeded, try again later",
            "NO [TOOBIG] message too large",
            "NO [LIMIT] too many flags",
            "-ERR [AUTH] wrong password",
            "NO [CANNOT] no such folder",
            "BYE Session expired",
            "",
        ] {
            assert_eq!(ask(words), None, "{words}");
        }
    }

    #[test]
    fn a_number_of_another_sentence_is_no_time() {
        assert_eq!(ask("NO throttled, please back off. Error 17"), Some((Cause::Throttled, None)));
        assert_eq!(ask("NO throttled; backoff (see section about the many different limits) 300 s"), Some((Cause::Throttled, None)));
    }

    proptest! {
        #[test]
        fn whatever_a_server_writes_is_read_to_its_end(words in ".{0,200}") {
            let _ = read(&words);
        }

        #[test]
        fn a_time_is_read_in_every_unit(number in 0_u64..10_000_000, unit in 0_usize..4, before in "[A-Za-z ]{0,20}") {
            let (name, millis) = [("Milliseconds", 1), ("seconds", 1000), ("min", 60_000), ("hours", 3_600_000)][unit];
            let words = format!("NO {before} throttled. Suggested Backoff Time: {number} {name}");
            prop_assert_eq!(read(&words).and_then(|ask| ask.wait), Some(Duration::from_millis(number * millis)));
        }

        #[test]
        fn a_number_beyond_all_is_a_long_time_and_no_panic(digits in "[0-9]{1,60}") {
            let words = format!("NO throttled, backoff time {digits} hours");
            prop_assert!(read(&words).unwrap().wait.is_some());
        }
    }
}
