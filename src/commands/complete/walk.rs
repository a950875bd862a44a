//! What may stand under the cursor, found by walking the definition of the command line along the words before it.

use std::path::{Path, PathBuf};

use clap::{Arg, Command, ValueHint};

use super::{names, stores};
use crate::context::Context;

/// Something that may stand under the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The whole word.
    pub(super) word: String,
    /// What it is, in a few words.
    pub(super) about: String,
}

impl Candidate {
    pub(super) fn new(word: String) -> Self {
        Self { word, about: String::new() }
    }
}

/// An answer to the shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The shell completes names of files itself.
    Files,
    /// These words, not yet compared with what is typed.
    Words(Vec<Candidate>),
}

/// Value names of arguments that take places.
const PLACES: [&str; 5] = ["PLACE", "PLACE/FOLDER", "SOURCE", "DEST", "DESTINATION"];
/// Prefixes of places that go on with the path of a file.
const LOCAL: [&str; 3] = ["maildir:", "mbox:", "eml:"];

struct Walk<'a> {
    command: &'a Command,
    positionals: Vec<&'a str>,
    /// The option whose value comes next.
    pending: Option<&'a Arg>,
    /// Behind `--`.
    escaped: bool,
    config: Option<PathBuf>,
}

/// What may stand in place of `current` behind the words `before`. `root` must be built.
pub(super) fn answer(root: &Command, before: &[String], current: &str, context: &Context) -> Answer {
    let mut walk = Walk { command: root, positionals: Vec::new(), pending: None, escaped: false, config: None };
    before.iter().for_each(|word| walk.step(word));
    walk.end(current, context)
}

impl<'a> Walk<'a> {
    fn step(&mut self, word: &'a str) {
        if let Some(option) = self.pending.take() {
            self.value(option, word);
        } else if self.escaped || !word.starts_with('-') || word == "-" {
            match self.command.find_subcommand(word).filter(|_| !self.escaped && self.positionals.is_empty()) {
                Some(command) => self.command = command,
                None => self.positionals.push(word),
            }
        } else if word == "--" {
            self.escaped = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            match (self.long(name), value) {
                (Some(option), Some(value)) => self.value(option, value),
                (option, None) => self.pending = option,
                (None, Some(_)) => {}
            }
        } else {
            for (at, short) in word.char_indices().skip(1) {
                let Some(option) = self.command.get_arguments().find(|arg| arg.get_short() == Some(short) && takes_value(arg)) else {
                    continue;
                };
                match word.get(at + short.len_utf8()..) {
                    Some("") | None => self.pending = Some(option),
                    Some(value) => self.value(option, value.strip_prefix('=').unwrap_or(value)),
                }
                return;
            }
        }
    }

    /// An option that takes a value, by its long name.
    fn long(&self, name: &str) -> Option<&'a Arg> {
        self.command.get_arguments().find(|arg| arg.get_long() == Some(name) && takes_value(arg))
    }

    fn value(&mut self, option: &Arg, value: &str) {
        if option.get_id() == "config" {
            self.config = Some(PathBuf::from(value));
        }
    }

    fn end(&self, current: &str, context: &Context) -> Answer {
        if let Some(option) = self.pending {
            return self.values(option, current, context);
        }
        if !self.escaped && current.starts_with('-') {
            if let Some((name, value)) = current.strip_prefix("--").and_then(|long| long.split_once('=')) {
                return match self.long(name).map(|option| self.values(option, value, context)) {
                    Some(Answer::Words(mut words)) => {
                        words.iter_mut().for_each(|one| one.word.insert_str(0, &format!("--{name}=")));
                        Answer::Words(words)
                    }
                    other => other.unwrap_or_else(nothing),
                };
            }
            return Answer::Words(self.options());
        }
        let mut words = Vec::new();
        if !self.escaped && self.positionals.is_empty() {
            let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
            words.extend(commands.map(|command| Candidate {
                word: command.get_name().to_owned(),
                about: command.get_about().map(ToString::to_string).unwrap_or_default(),
            }));
        }
        match self.positional().map(|arg| self.values(arg, current, context)) {
            Some(Answer::Words(more)) => words.extend(more),
            Some(Answer::Files) if words.is_empty() => return Answer::Files,
            _ => {}
        }
        Answer::Words(words)
    }

    /// The argument that a word without dashes would belong to.
    fn positional(&self) -> Option<&'a Arg> {
        let mut left = self.positionals.len();
        for arg in self.command.get_positionals().filter(|arg| !arg.is_hide_set()) {
            if left == 0 || arg.get_num_args().is_some_and(|range| range.max_values() > 1) {
                return Some(arg);
            }
            left -= 1;
        }
        None
    }

    fn options(&self) -> Vec<Candidate> {
        let shown = self.command.get_arguments().filter(|arg| !arg.is_hide_set());
        shown
            .filter_map(|arg| {
                let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
                Some(Candidate { word: format!("--{}", arg.get_long()?), about })
            })
            .collect()
    }

    fn values(&self, arg: &Arg, current: &str, context: &Context) -> Answer {
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            let shown = possible.iter().filter(|value| !value.is_hide_set());
            return Answer::Words(
                shown
                    .map(|value| Candidate {
                        word: value.get_name().to_owned(),
                        about: value.get_help().map(ToString::to_string).unwrap_or_default(),
                    })
                    .collect(),
            );
        }
        let config = self.config.as_deref();
        let name = arg.get_value_names().and_then(|names| names.first()).map(clap::builder::Str::as_str).unwrap_or_default();
        match arg.get_value_hint() {
            // An account of a store is named behind `//` where mail comes out of it.
            _ if name.starts_with("STORE") && (!current.contains("//") || self.command.get_name() == "restore") => {
                let found = stores::named(current);
                let accounts = if name == "STORE|DEST" { names::places(current, config, context) } else { Vec::new() };
                or_files(found.into_iter().chain(accounts).collect(), current)
            }
            // The store of a backup stands behind its accounts.
            _ if name == "PLACE" && self.command.get_name() == "backup" && !self.positionals.is_empty() => {
                let found = stores::named(current);
                or_files(names::places(current, config, context).into_iter().chain(found).collect(), current)
            }
            _ if arg.get_id() == "account" => {
                Answer::Words(self.positionals.first().map(|store| stores::accounts(store)).unwrap_or_default())
            }
            _ if PLACES.contains(&name) => places(current, config, context),
            _ if name == "NEW" => {
                let beside = self.positionals.first().map(|place| names::folders_beside(place, config, context));
                Answer::Words(beside.unwrap_or_default())
            }
            ValueHint::Unknown | ValueHint::Other => nothing(),
            _ => Answer::Files,
        }
    }
}

fn places(current: &str, config: Option<&Path>, context: &Context) -> Answer {
    if LOCAL.iter().any(|prefix| current.starts_with(prefix)) {
        return Answer::Files;
    }
    Answer::Words(names::places(current, config, context))
}

/// Names of files where none of the words is meant.
fn or_files(words: Vec<Candidate>, current: &str) -> Answer {
    if words.iter().any(|one| one.word.starts_with(current)) { Answer::Words(words) } else { Answer::Files }
}

fn nothing() -> Answer {
    Answer::Words(Vec::new())
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn words(before: &[&str], current: &str) -> Vec<String> {
        let mut command = crate::commands::Cli::command();
        command.build();
        let before: Vec<String> = before.iter().map(|&word| word.to_owned()).collect();
        match answer(&command, &before, current, &Context::from_environment()) {
            Answer::Words(words) => words.into_iter().map(|one| one.word).filter(|word| word.starts_with(current)).collect(),
            Answer::Files => vec!["FILES".to_owned()],
        }
    }

    #[test]
    fn verbs_options_and_values_are_found_where_they_belong() {
        assert_eq!(words(&[], "fol"), ["folders"]);
        assert!(words(&[], "").iter().all(|word| !word.starts_with('_')));
        assert_eq!(words(&["folders"], "ren"), ["rename"]);
        assert_eq!(words(&["folders", "create"], "--spec"), ["--special-use"]);
        assert_eq!(words(&["folders", "create", "--special-use"], "dr"), ["drafts"]);
        assert_eq!(words(&["list", "-o"], "js"), ["json", "jsonl"]);
        assert_eq!(words(&["list", "--output", "json"], "--rev"), words(&["list"], "--rev"));
        assert_eq!(words(&["list"], "--output=ts"), ["--output=tsv"]);
        assert_eq!(words(&["list", "--trace"], ""), ["FILES"]);
        assert_eq!(words(&["list"], "maildir:"), ["FILES"]);
        assert_eq!(words(&["-q", "--config", "folders"], "fo"), ["folders"]);
        assert!(words(&["list", "--"], "--").is_empty());
    }
}
