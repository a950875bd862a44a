//! Completion on TAB: the scripts for the shells ask this program, which knows its own command line, the accounts of the
//! config file and the folders it saw last. It is quick, silent, asks nobody anything and changes nothing but its own cache.

mod cache;
mod names;
mod scripts;
mod stores;
mod walk;

use std::io::Write;

use clap::CommandFactory;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::ExitCode;

pub(super) use cache::Cache;
use walk::{Answer, Candidate};

/// The arguments of the hidden `__complete`, which the completion scripts call.
#[derive(clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
    /// bash: the line up to the cursor and what bash takes for the word; else the words up to the cursor
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// A shell whose script asks this program.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// The completion script for a shell.
pub fn script(shell: clap_complete::Shell) -> Vec<u8> {
    use clap_complete::Shell as Any;
    match shell {
        Any::Bash => scripts::BASH.into(),
        Any::Zsh => scripts::ZSH.into(),
        Any::Fish => scripts::FISH.into(),
        _ => {
            // Into memory first: the generator panics when its writer fails.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut super::Cli::command(), "mailhaul", &mut script);
            script
        }
    }
}

/// Answers a completion script: a word that says what kind of answer it is, then a candidate a line.
///
/// # Errors
/// Standard output is gone. Whatever else goes wrong is an answer without candidates.
pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let words: Vec<String> = args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let line = match (args.shell, words.as_slice()) {
        (Shell::Bash, [line, piece]) => Line::of_bash(line, piece),
        (Shell::Bash, _) | (_, []) => return Ok(ExitCode::Success),
        (shell, [before @ .., current]) => {
            let current = if shell == Shell::Fish { unquote(current) } else { current.clone() };
            Line { before: before.get(1..).unwrap_or_default().to_vec(), current, head: String::new(), quote: None }
        }
    };
    let mut command = super::Cli::command();
    command.build();
    let text = match walk::answer(&command, &line.before, &line.current, context) {
        Answer::Files => "files\n".to_owned(),
        Answer::Words(mut candidates) => {
            candidates.retain(|one| !one.word.contains(char::is_control) && one.word.starts_with(&line.current));
            shown(&candidates, args.shell, &line.head, line.quote)
        }
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Error::io("standard output", error))?;
    Ok(ExitCode::Success)
}

/// The words of an answer, without what the shell takes for a word of its own before the one under the cursor.
fn shown(candidates: &[Candidate], shell: Shell, head: &str, quote: Option<char>) -> String {
    let goes_on = |one: &Candidate| one.word.ends_with(['/', '=', ':']);
    let open = !candidates.is_empty() && candidates.iter().all(goes_on);
    let mut text = if open { "words-open\n" } else { "words\n" }.to_owned();
    for one in candidates {
        let Some(rest) = one.word.strip_prefix(head) else { continue };
        if shell == Shell::Bash {
            // In double quotes nothing takes the meaning from `!`.
            if quote == Some('"') && rest.contains('!') {
                continue;
            }
            push_quoted(rest, quote, &mut text);
        } else {
            text.push_str(rest);
        }
        if shell == Shell::Fish && !one.about.is_empty() {
            text.push('\t');
            text.push_str(&one.about.replace(char::is_control, " "));
        }
        text.push('\n');
    }
    text
}

/// Appends a word as bash must read it to mean just that, within the quote that is open. (readline's own quoting of file
/// names leaves `$` and backquotes alone.)
fn push_quoted(word: &str, quote: Option<char>, out: &mut String) {
    for c in word.chars() {
        let plain = match quote {
            Some('\'') => c != '\'',
            Some(_) => !matches!(c, '"' | '\\' | '$' | '`'),
            None => !c.is_ascii() || c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c),
        };
        match (plain, quote) {
            (true, _) => out.push(c),
            (false, Some('\'')) => out.push_str("'\\''"),
            (false, _) => out.extend(['\\', c]),
        }
    }
}

/// A command line as far as the cursor.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// The words before the current one, without the program.
    before: Vec<String>,
    /// The current word as far as the cursor.
    current: String,
    /// The part of it that the shell takes for a word of its own.
    head: String,
    /// The quote that is open there.
    quote: Option<char>,
}

impl Line {
    /// From a line as it is typed, and the piece of its last word that bash completes: it cuts words at `:`, `=` and `@` too.
    fn of_bash(line: &str, piece: &str) -> Self {
        let (mut words, start, quote) = split(line);
        let raw = line.get(start..).unwrap_or_default();
        let head = unquote(raw.strip_suffix(piece).unwrap_or_default());
        let current = words.pop().unwrap_or_default();
        let program = words.iter().position(|word| word.rsplit('/').next() == Some("mailhaul")).unwrap_or(0);
        Self { before: words.into_iter().skip(program + 1).collect(), current, head, quote }
    }
}

/// Splits a line into words as a shell does, quotes and backslashes taken away and nothing else read into it, and tells
/// where the last word (which may be empty) begins, and which quote is open at the end.
fn split(line: &str) -> (Vec<String>, usize, Option<char>) {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut start = 0;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => {
                // Within double quotes a backslash stands for itself before most characters.
                if quote == Some('"') && !matches!(c, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(c);
                escaped = false;
            }
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ' | '\t' | '\n') => {
                if start < at {
                    words.push(std::mem::take(&mut word));
                }
                start = at + 1;
            }
            _ => word.push(c),
        }
    }
    words.push(word);
    (words, start, quote)
}

fn unquote(word: &str) -> String {
    split(word).0.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(before: &[&str], current: &str, head: &str) -> Line {
        let before = before.iter().map(|&word| word.to_owned()).collect();
        Line { before, current: current.to_owned(), head: head.to_owned(), quote: None }
    }

    #[test]
    fn a_word_is_quoted_for_where_it_goes() {
        let quoted = |word, quote| {
            let mut out = String::new();
            push_quoted(word, quote, &mut out);
            out
        };
        assert_eq!(quoted("work:a/ü $(id)`'", None), r"work:a/ü\ \$\(id\)\`\'");
        assert_eq!(quoted("it's $x", Some('\'')), r"it'\''s $x");
    }

    #[test]
    fn a_bash_line_is_read_as_it_will_be_run() {
        assert_eq!(Line::of_bash("mailhaul list wo", "wo"), line(&["list"], "wo", ""));
        assert_eq!(Line::of_bash("mailhaul list ", ""), line(&["list"], "", ""));
        assert_eq!(Line::of_bash("mailhaul list  'work/My F", "work/My F"), Line { quote: Some('\''), ..line(&["list"], "work/My F", "") });
        assert_eq!(Line::of_bash(r"mailhaul list work/My\ Fo", r"work/My\ Fo"), line(&["list"], "work/My Fo", ""));
        assert_eq!(Line::of_bash("mailhaul list work:po", "po"), line(&["list"], "work:po", "work:"));
        assert_eq!(Line::of_bash("X=1 /usr/bin/mailhaul -v \"a \\$b\" --config=x", "x"), line(&["-v", "a $b"], "--config=x", "--config="));
        assert_eq!(Line::of_bash("", ""), line(&[], "", ""));
    }

    #[test]
    fn words_that_go_on_get_no_blank_behind_them() {
        let one = |word: &str| Candidate { word: word.to_owned(), about: "a\nb".to_owned() };
        assert_eq!(shown(&[one("work:imap"), one("work:pop3")], Shell::Bash, "work:", None), "words\nimap\npop3\n");
        assert_eq!(shown(&[one("work/")], Shell::Zsh, "", None), "words-open\nwork/\n");
        assert_eq!(shown(&[one("list")], Shell::Fish, "", None), "words\nlist\ta b\n");
        assert_eq!(shown(&[], Shell::Bash, "", None), "words\n");
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_splitting_panic(text in "\\PC{0,40}", piece in "\\PC{0,5}") {
            let _ = Line::of_bash(&text, &piece);
        }
    }
}
