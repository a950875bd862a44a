//! Argument groups that verbs share, and the readers of their values. What a group means for a server is said in
//! `account`'s words; nothing here runs a verb.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use crate::account::{self, CredentialSource, Overrides, Sides};
use crate::error::{Error, Result};
use crate::report::{Format, ProgressMode};

/// Options of every verb.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Write the protocol dialogue to FILE, without credentials and message bodies
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub trace: Option<PathBuf>,
    /// When to use colour; NO_COLOR is obeyed
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: When,
    /// When to show progress on standard error; json prints a line per step for programs
    #[arg(long, global = true, value_name = "HOW", value_enum, default_value_t)]
    pub progress: ProgressMode,
    /// Never ask for anything, as when standard input is not a terminal
    #[arg(long, global = true)]
    pub no_input: bool,
}

/// When to do something that suits terminals.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum When {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Credentials and TLS for a command with one place.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Login and TLS")]
pub struct Credentials {
    /// Take the password from the first line this program prints. One string, split at blanks; '…' and "…" group. No shell
    #[arg(long, value_name = "COMMAND", group = "credential")]
    pub password_command: Option<String>,
    /// Take the password from the first line of FILE, which only its owner may be able to read
    #[arg(long, value_name = "FILE", group = "credential", value_hint = clap::ValueHint::FilePath)]
    pub password_file: Option<PathBuf>,
    /// Take the password from the environment variable VAR; programs started from here do not inherit it
    #[arg(long, value_name = "VAR", group = "credential")]
    pub password_env: Option<String>,
    /// Take an OAuth 2.0 access token from the first line this program prints (split like --password-command)
    #[arg(long, value_name = "COMMAND", group = "credential")]
    pub token_command: Option<String>,
    /// Take the password from ~/.netrc (or $NETRC), and fail if it has none
    #[arg(long, group = "credential")]
    pub netrc: bool,
    /// Trust the certificate authorities in this PEM file too
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
    /// Accept only the certificate with this SHA-256, and that one without further checks
    #[arg(long, value_name = "sha256:HEX", value_parser = pin)]
    pub tls_pin: Option<[u8; 32]>,
    /// Do not check the server's certificate at all; warned about at every run
    #[arg(long)]
    pub insecure: bool,
    /// Let ?tls=none go to a host that is not this machine
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Accept a server that says over TLS that it knows us already (PREAUTH)
    #[arg(long)]
    pub allow_preauth: bool,
}

impl Credentials {
    /// What these arguments say about the place.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when a command cannot be split.
    pub fn overrides(&self, global: &Global) -> Result<Overrides> {
        let credential = source(
            self.password_command.as_deref(),
            self.password_file.as_ref(),
            self.password_env.as_ref(),
            self.token_command.as_deref(),
            self.netrc,
        )?;
        Ok(Overrides {
            credential,
            ca_file: self.ca_file.clone(),
            pin: self.tls_pin,
            insecure: self.insecure,
            allow_plaintext: self.allow_plaintext,
            allow_preauth: self.allow_preauth,
            no_input: global.no_input,
            hidden_env: self.password_env.iter().cloned().collect(),
        })
    }
}

/// Credentials and TLS for a command with two places.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Login and TLS (--from-… for the source, --to-… for the destination)")]
pub struct TwoPlaceCredentials {
    /// Take the source's password from the first line this program prints. One string, split at blanks; '…' and "…" group. No shell
    #[arg(long, value_name = "COMMAND", group = "from_credential")]
    pub from_password_command: Option<String>,
    /// Take the source's password from the first line of FILE, which only its owner may be able to read
    #[arg(long, value_name = "FILE", group = "from_credential", value_hint = clap::ValueHint::FilePath)]
    pub from_password_file: Option<PathBuf>,
    /// Take the source's password from the environment variable VAR; programs started from here do not inherit it
    #[arg(long, value_name = "VAR", group = "from_credential")]
    pub from_password_env: Option<String>,
    /// Take the source's OAuth 2.0 access token from the first line this program prints
    #[arg(long, value_name = "COMMAND", group = "from_credential")]
    pub from_token_command: Option<String>,
    /// Take the source's password from ~/.netrc (or $NETRC), and fail if it has none
    #[arg(long, group = "from_credential")]
    pub from_netrc: bool,
    /// Trust the certificate authorities in this PEM file too, for the source
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub from_ca_file: Option<PathBuf>,
    /// Accept only the certificate with this SHA-256 at the source, and that one without further checks
    #[arg(long, value_name = "sha256:HEX", value_parser = pin)]
    pub from_tls_pin: Option<[u8; 32]>,
    /// Do not check the source's certificate at all; warned about at every run
    #[arg(long)]
    pub from_insecure: bool,
    /// Take the destination's password from the first line this program prints (split like --from-password-command)
    #[arg(long, value_name = "COMMAND", group = "to_credential")]
    pub to_password_command: Option<String>,
    /// Take the destination's password from the first line of FILE, which only its owner may be able to read
    #[arg(long, value_name = "FILE", group = "to_credential", value_hint = clap::ValueHint::FilePath)]
    pub to_password_file: Option<PathBuf>,
    /// Take the destination's password from the environment variable VAR; programs started from here do not inherit it
    #[arg(long, value_name = "VAR", group = "to_credential")]
    pub to_password_env: Option<String>,
    /// Take the destination's OAuth 2.0 access token from the first line this program prints
    #[arg(long, value_name = "COMMAND", group = "to_credential")]
    pub to_token_command: Option<String>,
    /// Take the destination's password from ~/.netrc (or $NETRC), and fail if it has none
    #[arg(long, group = "to_credential")]
    pub to_netrc: bool,
    /// Trust the certificate authorities in this PEM file too, for the destination
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub to_ca_file: Option<PathBuf>,
    /// Accept only the certificate with this SHA-256 at the destination, and that one without further checks
    #[arg(long, value_name = "sha256:HEX", value_parser = pin)]
    pub to_tls_pin: Option<[u8; 32]>,
    /// Do not check the destination's certificate at all; warned about at every run
    #[arg(long)]
    pub to_insecure: bool,
    /// Trust the certificate authorities in this PEM file too, for both places
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
    /// Let ?tls=none go to a host that is not this machine
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Accept a server that says over TLS that it knows us already (PREAUTH)
    #[arg(long)]
    pub allow_preauth: bool,
}

impl TwoPlaceCredentials {
    /// What these arguments say about the two places.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when a command cannot be split.
    pub fn sides(&self, global: &Global) -> Result<Sides> {
        let from = source(
            self.from_password_command.as_deref(),
            self.from_password_file.as_ref(),
            self.from_password_env.as_ref(),
            self.from_token_command.as_deref(),
            self.from_netrc,
        )?;
        let to = source(
            self.to_password_command.as_deref(),
            self.to_password_file.as_ref(),
            self.to_password_env.as_ref(),
            self.to_token_command.as_deref(),
            self.to_netrc,
        )?;
        // A command for one side must not see the other side's variable either.
        let hidden_env: Vec<String> = self.from_password_env.iter().chain(&self.to_password_env).cloned().collect();
        let side = |credential, ca_file: &Option<PathBuf>, pin, insecure| Overrides {
            credential,
            ca_file: ca_file.clone().or_else(|| self.ca_file.clone()),
            pin,
            insecure,
            allow_plaintext: self.allow_plaintext,
            allow_preauth: self.allow_preauth,
            no_input: global.no_input,
            hidden_env: hidden_env.clone(),
        };
        Ok(Sides {
            from: side(from, &self.from_ca_file, self.from_tls_pin, self.from_insecure),
            to: side(to, &self.to_ca_file, self.to_tls_pin, self.to_insecure),
        })
    }
}

fn source(
    command: Option<&str>,
    file: Option<&PathBuf>,
    variable: Option<&String>,
    token_command: Option<&str>,
    netrc: bool,
) -> Result<Option<CredentialSource>> {
    let command = command.map(account::split_words).transpose()?.map(CredentialSource::Command);
    let token = token_command.map(account::split_words).transpose()?.map(CredentialSource::TokenCommand);
    Ok(command
        .or(token)
        .or_else(|| file.cloned().map(CredentialSource::File))
        .or_else(|| variable.cloned().map(CredentialSource::Env))
        .or_else(|| netrc.then_some(CredentialSource::Netrc)))
}

/// How rows are written.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to write the result; a table on a terminal, else tsv
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub output: Option<Format>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
}

impl OutputArgs {
    /// The format asked for; `None` leaves it to what standard output is.
    pub fn format(&self) -> Option<Format> {
        if self.json { Some(Format::Json) } else { self.output }
    }
}

/// Which messages, as far as this version tells them apart.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Selection")]
pub struct Selection {
    /// Only these UIDs (POP3 and local places: message numbers), as in 17,20:40,100:*; - reads them from standard input
    #[arg(long, value_name = "SET", action = ArgAction::Append, allow_hyphen_values = true)]
    pub uid: Vec<Uids>,
    /// Only the newest N of them (of each place, where several are named)
    #[arg(long, value_name = "N", value_parser = limit)]
    pub limit: Option<u64>,
    /// All messages: a verb that changes mail wants to be told so
    #[arg(long)]
    pub all: bool,
}

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

/// Reads a length of time for clap: `30s`, `2m`, `500ms`, or seconds.
///
/// # Errors
/// As [`account::parse_duration`].
pub fn duration(text: &str) -> Result<Duration> {
    account::parse_duration(text)
}

/// Reads an age for clap: a number with `s`, `m`, `h`, `d` or `w` behind it.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for anything else.
pub fn age(text: &str) -> Result<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let seconds: Option<u64> = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        "w" => Some(7 * 86_400),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(seconds)
        .and_then(|(number, unit)| number.checked_mul(unit))
        .map(Duration::from_secs)
        .ok_or_else(|| Error::usage("an age is a number with s, m, h, d or w behind it, as in 30d"))
}

/// Reads a size in octets for clap: `10M`, `6k`, `1G` (powers of 1024), or a plain number.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when it is none of these.
pub fn size(text: &str) -> Result<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let unit: Option<u64> = match unit.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => Some(1),
        "k" => Some(1 << 10),
        "m" => Some(1 << 20),
        "g" => Some(1 << 30),
        "t" => Some(1 << 40),
        _ => None,
    };
    let octets = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    octets.ok_or_else(|| Error::usage("a size is a number with k, M, G or T behind it (6k, 10M), in units of 1024 octets"))
}

fn limit(text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Error::usage("a limit is a number from 1 up"))
}

fn pin(text: &str) -> Result<[u8; 32]> {
    account::parse_pin(text)
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

    #[test]
    fn sizes_take_binary_units() {
        assert_eq!((size("10M").unwrap(), size("6k").unwrap(), size("5").unwrap()), (10 << 20, 6 << 10, 5));
        for text in ["", "M", "1x", "-1", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn neither_sides_command_inherits_the_others_variable() {
        let arguments =
            TwoPlaceCredentials { from_password_env: Some("A".into()), to_password_env: Some("B".into()), ..Default::default() };
        let sides = arguments.sides(&Global::default()).unwrap();
        assert_eq!(sides.from.hidden_env, ["A", "B"]);
        assert_eq!(sides.to.credential, Some(CredentialSource::Env("B".into())));
    }

    #[derive(clap::Parser)]
    struct OnePlace {
        #[command(flatten)]
        _global: Global,
        #[command(flatten)]
        credentials: Credentials,
        #[command(flatten)]
        _output: OutputArgs,
        #[command(flatten)]
        _selection: Selection,
    }

    #[derive(clap::Parser)]
    struct TwoPlaces {
        #[command(flatten)]
        _global: Global,
        #[command(flatten)]
        _credentials: TwoPlaceCredentials,
        #[command(flatten)]
        _output: OutputArgs,
        #[command(flatten)]
        _selection: Selection,
    }

    #[test]
    fn the_groups_fit_together() {
        use clap::CommandFactory;
        OnePlace::command().debug_assert();
        TwoPlaces::command().debug_assert();
    }

    #[test]
    fn one_place_has_one_credential() {
        use clap::Parser;
        let parsed = OnePlace::try_parse_from(["x", "--password-command", "pass 'my mail'", "--insecure"]).unwrap();
        let overrides = parsed.credentials.overrides(&Global { no_input: true, ..Global::default() }).unwrap();
        assert_eq!(overrides.credential, Some(CredentialSource::Command(vec!["pass".into(), "my mail".into()])));
        assert!(overrides.insecure && overrides.no_input && !overrides.allow_plaintext);
        assert!(OnePlace::try_parse_from(["x", "--password-env", "A", "--netrc"]).is_err());
        assert!(TwoPlaces::try_parse_from(["x", "--from-password-env", "A", "--to-netrc"]).is_ok());
    }
}
