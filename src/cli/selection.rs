//! The selection group: UIDs, conditions, how many, all. Read from the matches by hand, because `--not` turns the condition
//! that follows it, and derived arguments forget in which order they stood.

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::conditions::{CONDITIONS, Condition};
use super::uid_set::Uids;
use crate::error::{Error, Result};
use crate::query::{Query, Term};

type Parsed<T> = std::result::Result<T, clap::Error>;

/// Which messages: all that is said must hold, while UIDs named in several places add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these UIDs (POP3 and local places: message numbers).
    pub uid: Vec<Uids>,
    /// None of these.
    pub not_uid: Vec<Uids>,
    /// The conditions, in the order they were given.
    pub query: Query,
    /// Only the newest so many of those that match.
    pub limit: Option<u64>,
    /// All messages: a verb that changes mail wants to be told so.
    pub all: bool,
}

/// The same for `fetch`, whose `--to` and `--text` mean something else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchSelection(pub Selection);

/// The conditions alone, for `migrate`: no UIDs, no number of messages. Its `--seen` and `--older-than` mean something else;
/// `--not --unseen` and `--not --newer-than` say the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions(pub Selection);

impl std::ops::Deref for FetchSelection {
    type Target = Selection;

    fn deref(&self) -> &Selection {
        &self.0
    }
}

/// Conditions that `fetch` has under another name or not at all.
const NOT_IN_FETCH: &[&str] = &["to", "text"];
/// Conditions that `migrate` has under another name or not at all.
const NOT_IN_MIGRATE: &[&str] = &["uid", "limit", "seen", "older-than"];
/// The heading of the group in the help.
pub const HEADING: &str = "Selection (all that is given must hold)";

fn augment(command: Command, left_out: &[&str]) -> Command {
    let uid_help = "Only these UIDs (POP3 and local places: message numbers), as in 17,20:40,100:*; - reads them from standard input; several --uid add up";
    let uid = Arg::new("uid")
        .long("uid")
        .value_name("SET")
        .action(ArgAction::Append)
        .allow_hyphen_values(true)
        .value_parser(clap::value_parser!(Uids))
        .help(uid_help)
        .help_heading(HEADING);
    let limit = Arg::new("limit")
        .long("limit")
        .value_name("N")
        .value_parser(ValueParser::new(limit))
        .help("Only the newest N of them (list: of each place and folder)")
        .help_heading(HEADING);
    let has = |name: &str| !left_out.contains(&name);
    let mut command = command.args(has("uid").then_some(uid));
    for condition in CONDITIONS.iter().filter(|condition| !left_out.contains(&condition.name)) {
        command = command.arg(option(condition, left_out));
    }
    command
        .arg(
            Arg::new("not")
                .long("not")
                .num_args(0)
                .action(ArgAction::Append)
                .default_missing_value("")
                .help("The opposite of the condition that follows, as in --not --from ann")
                .help_heading(HEADING),
        )
        .args(has("limit").then_some(limit))
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("All messages: a verb that changes mail wants to be told so when nothing else selects")
                .help_heading(HEADING),
        )
}

fn option(condition: &Condition, left_out: &[&str]) -> Arg {
    let mut help = condition.help.to_owned();
    if condition.name == "header" && left_out.contains(&"to") {
        help.push_str(" (--header 'To: T' stands for the --to of other verbs)");
    }
    let read = condition.read;
    let argument = Arg::new(condition.name)
        .long(condition.name)
        .action(ArgAction::Append)
        .value_parser(ValueParser::new(move |text: &str| read(text)))
        .help(help)
        .help_heading(HEADING);
    if condition.value.is_empty() { argument.num_args(0).default_missing_value("") } else { argument.value_name(condition.value) }
}

/// What one option says, whatever it is turned into by a `--not` before it.
enum Said {
    Uids(Uids),
    Term(Term),
    Not,
}

fn read(matches: &ArgMatches, left_out: &[&str]) -> Parsed<Selection> {
    let indices = |name: &str| matches.indices_of(name).into_iter().flatten();
    let mut said: Vec<(usize, Said)> = indices("not").map(|at| (at, Said::Not)).collect();
    // An argument that the verb has not is asked for by nobody.
    if !left_out.contains(&"uid") {
        let uids = matches.get_many::<Uids>("uid").into_iter().flatten();
        said.extend(indices("uid").zip(uids.map(|uids| Said::Uids(uids.clone()))));
    }
    let limit = if left_out.contains(&"limit") { None } else { matches.get_one("limit").copied() };
    for condition in CONDITIONS.iter().filter(|condition| !left_out.contains(&condition.name)) {
        let terms = matches.get_many::<Term>(condition.name).into_iter().flatten();
        said.extend(indices(condition.name).zip(terms.map(|term| Said::Term(term.clone()))));
    }
    said.sort_by_key(|(at, _)| *at);
    let mut selection = Selection { limit, all: matches.get_flag("all"), ..Selection::default() };
    let mut not = false;
    for (_, said) in said {
        match said {
            Said::Not => {
                // Twice is once too many to be meant.
                if std::mem::replace(&mut not, true) {
                    return Err(nothing_follows());
                }
                continue;
            }
            Said::Uids(uids) if not => selection.not_uid.push(uids),
            Said::Uids(uids) => selection.uid.push(uids),
            Said::Term(term) if not => selection.query.terms.push(term.negated()),
            Said::Term(term) => selection.query.terms.push(term),
        }
        not = false;
    }
    if not { Err(nothing_follows()) } else { Ok(selection) }
}

fn nothing_follows() -> clap::Error {
    clap::Error::raw(ErrorKind::MissingRequiredArgument, "--not stands before the condition it turns round, as in --not --from ann")
}

fn limit(text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Error::usage("a limit is a number from 1 up"))
}

impl FromArgMatches for Selection {
    fn from_arg_matches(matches: &ArgMatches) -> Parsed<Self> {
        read(matches, &[])
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Parsed<()> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Selection {
    fn augment_args(command: Command) -> Command {
        augment(command, &[])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FetchSelection {
    fn from_arg_matches(matches: &ArgMatches) -> Parsed<Self> {
        read(matches, NOT_IN_FETCH).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Parsed<()> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for FetchSelection {
    fn augment_args(command: Command) -> Command {
        augment(command, NOT_IN_FETCH)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Conditions {
    fn from_arg_matches(matches: &ArgMatches) -> Parsed<Self> {
        read(matches, NOT_IN_MIGRATE).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Parsed<()> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Conditions {
    fn augment_args(command: Command) -> Command {
        augment(command, NOT_IN_MIGRATE)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::message::Flag;

    #[derive(Parser)]
    struct Verb {
        #[command(flatten)]
        selection: Selection,
        #[arg(long, short = 'x')]
        other: bool,
        words: Vec<String>,
    }

    #[derive(Parser)]
    struct Fetch {
        #[command(flatten)]
        selection: FetchSelection,
        #[arg(long)]
        to: Option<String>,
        #[arg(long)]
        text: bool,
    }

    fn parse(args: &[&str]) -> Parsed<Selection> {
        Verb::try_parse_from([&["verb"], args].concat()).map(|verb| verb.selection)
    }

    fn not(term: Term) -> Term {
        Term::Not(Box::new(term))
    }

    #[test]
    fn conditions_keep_their_order_and_not_turns_just_the_next() {
        let selection = parse(&[
            "--from",
            "ann",
            "--not",
            "--seen",
            "word",
            "--seen",
            "--not",
            "-x",
            "--uid",
            "5:9",
            "--from=bob",
            "--uid",
            "1",
            "--not",
            "--unseen",
            "--keyword",
            "$Junk",
        ])
        .unwrap();
        let seen = Term::Flag(Flag::seen());
        let terms =
            [Term::From("ann".into()), not(seen.clone()), seen.clone(), Term::From("bob".into()), seen, Term::Flag(Flag::new("$Junk"))];
        assert_eq!(selection.query.terms, terms);
        assert_eq!(selection.not_uid, [Uids::Set("5:9".parse().unwrap())]);
        assert_eq!(selection.uid, [Uids::Set("1".parse().unwrap())]);
        assert_eq!(parse(&["--limit", "3", "--all"]).unwrap(), Selection { limit: Some(3), all: true, ..Selection::default() });
    }

    #[test]
    fn a_not_without_a_condition_behind_it_is_refused() {
        for args in [&["--not"][..], &["--seen", "--not"], &["--not", "--not", "--seen"], &["--not", "word"], &["--not=x", "--seen"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn every_option_reads_its_value_and_refuses_nonsense() {
        for (option, good, bad) in [
            ("keyword", "$Forwarded", &["", "a b", "\\Seen", "ä", "(x", "a\r\nb"][..]),
            ("from", "ä b", &[""]),
            ("header", "List-Id: x", &["x", ": x", "a b: x", "ä: x", "a\r\nb: x"]),
            ("header", "List-Id:", &[]),
            ("since", "2024-02-29", &["2023-02-29", "29.2.2024", "2024-2-9", "today", "2024-01-31T00:00:00Z", "0000-01-01", "+024-01-01"]),
            ("larger", "10M", &["", "M", "-1", "1x", "99999999999T"]),
            ("message-id", "<a@b>", &["", "<>"]),
            ("older-than", "30d", &["", "30", "d", "-3d", "2024-01-31"]),
            ("newer-than", "2024-01-31T18:00:00+01:00", &["99999999999999999999d"]),
            ("search", "OR SEEN (FROM \"a) \\\" {b\")", &["", "(", ")", "SEEN)", "\"a", "FROM {3}", "a\r\nb LOGOUT", "ä", "a\0"]),
            ("gmail", "has:attachment", &[""]),
            ("limit", "1", &["0", "-1", "x"]),
            ("uid", "17 20:40,100:*", &["", "x", "0"]),
        ] {
            assert!(parse(&[&format!("--{option}"), good]).is_ok(), "{option} {good}");
            for bad in bad {
                assert!(parse(&[&format!("--{option}={bad}")]).is_err(), "{option} {bad}");
            }
        }
        let parsed = parse(&["--message-id", " <a@b> ", "--newer-than", "1970-01-02T01:00:00+01:00"]).unwrap();
        assert_eq!(parsed.query.terms, [Term::MessageId("a@b".into()), Term::NewerThan(86_400)]);
    }

    #[test]
    fn fetch_has_its_own_to_and_text() {
        let fetch = Fetch::try_parse_from(["fetch", "--to", "dir", "--text", "--not", "--header", "To: bob", "--from", "x"]).unwrap();
        assert_eq!((fetch.to.as_deref(), fetch.text), (Some("dir"), true));
        let header = not(Term::Header { name: "To".into(), text: "bob".into() });
        assert_eq!(fetch.selection.query.terms, [header, Term::From("x".into())]);
        let verb = Verb::try_parse_from(["verb", "--to", "bob"]).unwrap();
        assert!(!verb.other && verb.words.is_empty());
    }

    #[test]
    fn migrate_has_conditions_and_no_uids() {
        #[derive(Parser)]
        struct Migrate {
            #[command(flatten)]
            conditions: Conditions,
            #[arg(long, alias = "seen")]
            count_as_seen: Option<String>,
            #[arg(long)]
            older_than: Option<String>,
        }
        let parsed = Migrate::try_parse_from([
            "migrate",
            "--not",
            "--unseen",
            "--not",
            "--newer-than",
            "30d",
            "--seen",
            "all",
            "--older-than",
            "1d",
        ])
        .unwrap();
        assert_eq!((parsed.conditions.0.query.terms.len(), parsed.count_as_seen.as_deref()), (2, Some("all")));
        assert_eq!((parsed.older_than.as_deref(), parsed.conditions.0.limit), (Some("1d"), None));
        assert!(Migrate::try_parse_from(["migrate", "--uid", "1"]).is_err());
    }
}
