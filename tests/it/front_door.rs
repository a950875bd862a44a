//! What a newcomer reads and runs first is true: the README's commands parse, what it names exists, the list of
//! dependencies is the list of dependencies, the scripts can be run, and nothing speaks of the place it was written at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use mailhaul::account::{Config, split_words};
use mailhaul::commands::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of a Markdown text: (language, text).
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap_or((block, ""))).collect()
}

/// Every call of the program in the README: in blocks from the start of a command, and in spans of running text.
fn calls(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, block) in blocks(text) {
        // The session shows long command lines folded, as a shell would take them.
        for line in block.replace("\\\n", " ").lines() {
            let begins = |at: usize| {
                let before = line[..at].trim_end();
                before.is_empty() || ["$", "|", ";", "&&", "*"].iter().any(|sign| before.ends_with(sign))
            };
            let starts = line.match_indices("mailhaul ").map(|(at, _)| at).filter(|at| begins(*at));
            found.extend(starts.map(|at| one_command(&line[at..])));
        }
    }
    let prose: String = text.split("```").step_by(2).collect();
    found.extend(prose.split('`').skip(1).step_by(2).filter(|span| span.starts_with("mailhaul ")).map(str::to_owned));
    found
}

/// A shell's command line up to what ends the command: a pipe, a redirection, the next command, a comment.
fn one_command(line: &str) -> String {
    let mut quote = None;
    for (at, character) in line.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if matches!(character, '|' | '>' | '<' | ';' | '&' | '#') => return line[..at].to_owned(),
            None => {}
        }
    }
    line.to_owned()
}

/// What a shell would make of variables that hold years and names.
fn expanded(call: &str) -> String {
    let mut out = String::new();
    let mut rest = call;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        out.push_str("2024");
        rest = match after.strip_prefix("((").and_then(|inner| inner.split_once("))")) {
            Some((_, behind)) => behind,
            None => after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        };
    }
    out + rest
}

#[test]
fn the_commands_of_the_readme_parse() {
    let calls = calls(&read("README.md"));
    let mut verbs = BTreeSet::new();
    for call in &calls {
        let words = split_words(&expanded(call)).unwrap();
        // A verb alone, in running text, names the verb and nothing more.
        if words.len() == 2 && Cli::command().find_subcommand(&words[1]).is_some() {
            continue;
        }
        if let Err(error) = Cli::try_parse_from(&words) {
            panic!("{call}\n{error}");
        }
        verbs.extend(words.into_iter().nth(1));
    }
    for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        assert!(verbs.contains(verb.get_name()), "the README shows no call of {}", verb.get_name());
    }
}

#[test]
fn a_readme_with_a_wrong_command_would_be_noticed() {
    let text = "Run `mailhaul nothing here`.\n```sh\nx | mailhaul list work --colour-of-it | y\n*/5 * * * * mailhaul list 'a|b' >z\n```\n";
    assert_eq!(calls(text), ["mailhaul list work --colour-of-it ", "mailhaul list 'a|b' ", "mailhaul nothing here"]);
}

#[test]
fn the_hosts_of_the_readme_are_nobodys() {
    let text = read("README.md");
    for (at, _) in text.match_indices("://") {
        let scheme: String = text[..at].chars().rev().take_while(char::is_ascii_alphanumeric).collect();
        let rest = text[at + 3..].split(['/', '?', '`', '"', ' ', '\n', ')', ',']).next().unwrap();
        let host = rest.rsplit('@').next().unwrap().split(':').next().unwrap();
        let example = ["example.org", "example.net", "example.com"].iter().any(|domain| host.ends_with(domain));
        assert!(scheme.starts_with("sptth") || host.is_empty() || host == "localhost" || example, "{rest}");
    }
}

#[test]
fn every_long_option_the_readme_names_exists() {
    let mut known = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
    let command = Cli::command();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        known.extend(command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)));
    }
    for line in read("README.md").lines().filter(|line| !["cargo ", "scripts/", "sa-learn"].iter().any(|other| line.contains(other))) {
        for (at, _) in line.match_indices("--") {
            let name: String = line[at + 2..].chars().take_while(|character| character.is_ascii_lowercase() || *character == '-').collect();
            let starts_a_word = !line[..at].ends_with(|character: char| character == '-' || character.is_alphanumeric());
            if starts_a_word && name.starts_with(|character: char| character.is_ascii_lowercase()) {
                assert!(known.contains(&name), "--{name}: {line}");
            }
        }
    }
}

#[test]
fn the_config_file_of_the_readme_is_a_config_file() {
    let text = read("README.md");
    let configs: Vec<&str> = blocks(&text).into_iter().filter(|(language, _)| *language == "toml").map(|(_, block)| block).collect();
    assert!(!configs.is_empty());
    for config in configs {
        let config = Config::parse(config, Path::new("/etc/mailhaul/config.toml")).unwrap();
        assert!(config.account_names().count() > 0);
    }
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_help() {
    let row =
        |line: &str| line.strip_prefix("| ").and_then(|line| line.split_once(' ')).map(|(code, _)| code.trim_end_matches(',').to_owned());
    let text = read("README.md");
    let table = text.split("## Exit codes").nth(1).unwrap();
    let shown: Vec<String> = table.lines().filter_map(row).filter(|code| code.parse::<u8>().is_ok()).collect();
    let mut command = Cli::command();
    let help = command.find_subcommand_mut("migrate").unwrap().render_long_help().to_string();
    let said = help.split("EXIT STATUS").nth(1).unwrap().lines().filter_map(|line| line.split_whitespace().next());
    let said: Vec<String> = said.map(|code| code.trim_end_matches(',').to_owned()).filter(|code| code.parse::<u8>().is_ok()).collect();
    assert_eq!(shown, said);
}

#[test]
fn each_dependency_has_its_line_and_no_other_has_one() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let text = read("docs/dependencies.md");
    let (usual, testing) = text.split_once("For the tests").unwrap();
    for (kind, text) in [("dependencies", usual), ("dev-dependencies", testing)] {
        let mut listed: BTreeMap<&str, &str> = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| crate") && !line.starts_with("| ---")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            for name in cells[1].split(", ") {
                assert!(listed.insert(name, cells[2]).is_none(), "{name} is listed twice");
                assert!(!cells[2].is_empty(), "{name} has no reason");
            }
        }
        let wanted: BTreeSet<&str> = manifest[kind].as_table().unwrap().keys().map(String::as_str).collect();
        assert_eq!(listed.into_keys().collect::<BTreeSet<_>>(), wanted, "{kind}");
    }
}

#[test]
fn scripts_can_be_run_and_the_licences_are_there() {
    let scripts: Vec<PathBuf> = ["scripts", ".ci"]
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    for script in &scripts {
        assert!(fs::read(script).unwrap().starts_with(b"#!"), "{}", script.display());
        assert_eq!(fs::metadata(script).unwrap().permissions().mode() & 0o111, 0o111, "{} cannot be run", script.display());
    }
    for name in ["scripts/setup", "scripts/test", "scripts/demo", ".ci/run"] {
        assert!(scripts.contains(&root().join(name)), "{name} is missing");
    }
    for (name, words) in [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License")] {
        assert!(read(name).contains(words), "{name}");
    }
}

#[test]
fn no_file_speaks_of_the_machine_it_was_written_on() {
    // Put together here, so that this file does not hold it.
    let workplace = ["/wo", "rk/"].concat();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if ![".git", "target"].contains(&name) {
                    folders.push(path);
                }
            } else if name != ".git" {
                let text = fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&text);
                assert!(!names_root_folder(&text, &workplace), "{} names {workplace}", path.display());
            }
        }
    }
}

/// Whether `text` holds `folder` as an absolute path, not as the end of a relative one.
fn names_root_folder(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(at, _)| !text[..at].ends_with(|before: char| before.is_alphanumeric() || "._~-/}\"$".contains(before)))
}
