//! Argument groups that verbs share, and the readers of their values. What a group means for a server is said in
//! `account`'s words; nothing here runs a verb.

mod conditions;
mod credentials;
mod selection;
mod uid_set;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use crate::account;
use crate::error::{Error, Result};
use crate::report::{Format, ProgressMode};

pub use credentials::{Credentials, TwoPlaceCredentials};
pub use selection::{Conditions, FetchSelection, HEADING as SELECTION, Selection};
pub use uid_set::{UidSet, Uids};

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
/// How rows are written.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to write the result [default: table on a terminal, else tsv]
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
    octets.ok_or_else(|| Error::usage("a size is a number with k, M, G or T behind it (6k, 10M), in units of 1024 bytes"))
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::CredentialSource;

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
