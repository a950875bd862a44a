//! What the program says when it is called the wrong way: exit codes, the JSON error, and that no secret is repeated.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use clap::{CommandFactory, Parser};

fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_mailhaul"))
        .args(arguments)
        .env("HOME", folder.path())
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("MAILHAUL_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_password_in_an_argument_is_not_repeated_and_ends_with_2() {
    for arguments in [
        ["list", "imaps://ann:canary@host.invalid"],
        ["list", "ann:canary@host.invalid"],
        ["list", "--password=canary"],
        ["completions", "imaps://ann:canary@host.invalid"],
        ["imaps://ann:canary@host.invalid", "list"],
    ] {
        let output = run(&arguments);
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!String::from_utf8_lossy(&said).contains("canary"), "{arguments:?}");
    }
}

#[test]
fn with_json_a_wrong_call_is_an_object_on_standard_error() {
    let output = run(&["completions", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["code"], 2);
    assert!(error["message"].is_string() && error["hint"].is_string() && error["place"].is_null());
}

#[test]
fn a_named_config_file_that_is_missing_or_wrong_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let path = path.to_str().unwrap();
    assert_eq!(run(&["--config", path, "list", "work"]).status.code(), Some(2));
    std::fs::write(path, "\n[accounts.work]\npassword = \"canary\"\n").unwrap();
    let output = run(&["list", "--config", path, "work"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("canary"));
}

#[test]
fn help_and_version_go_to_standard_output() {
    assert_eq!(run(&["help", "folders", "create"]).stdout, run(&["folders", "create", "--help"]).stdout);
    for arguments in [&["--help"][..], &["--version"], &["list", "--help"], &["help"], &["help", "list"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_success_and_a_full_disk_is_not() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = Command::new(env!("CARGO_BIN_EXE_mailhaul")).args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((closed.status.code(), closed.stderr.len()), (Some(0), 0));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let full = Command::new(env!("CARGO_BIN_EXE_mailhaul")).args(["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(full.status.code(), Some(7));
}

#[test]
fn without_a_place_the_default_account_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let config = path.to_str().unwrap();
    let account = "[accounts.work]\nimap = \"imaps://ann@localhost:1\"\npassword-env = \"MAILHAUL_NO_SUCH_VARIABLE\"\n";
    let said = |arguments: &[&str]| {
        let output = run(&[&["--config", config], arguments].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };

    std::fs::write(&path, account).unwrap();
    for arguments in [["list"].as_slice(), &["fetch"], &["fetch", "--to", "x"]] {
        let (code, text) = said(arguments);
        assert!(code == 2 && text.contains("`default`"), "{arguments:?}: {code} {text}");
    }
    let (code, text) = said(&["fetch", "17"]);
    assert!(code == 2 && text.contains("`17` is neither"), "{code} {text}");

    std::fs::write(&path, format!("default = \"work\"\n{account}")).unwrap();
    for arguments in [["list"].as_slice(), &["fetch", "17"], &["fetch", "--uid", "17"]] {
        let (code, text) = said(arguments);
        assert!(code > 3 && text.starts_with("mailhaul: work: "), "{arguments:?}: {code} {text}");
    }
    let (code, text) = said(&["fetch", "17,18", "20", "--part", "1"]);
    assert!(code == 2 && text.contains("one message"), "{code} {text}");
}

#[test]
fn a_mistyped_option_is_not_answered_with_the_one_that_switches_checks_off() {
    let output = run(&["list", "work", "--secure"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("--secure") && !said.contains("insecure"), "{said}");
}

/// Every command with what is typed for it.
fn all_commands(command: &clap::Command, typed: &str, found: &mut Vec<(String, clap::Command)>) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let typed = format!("{typed}{} ", verb.get_name());
        all_commands(verb, &typed, found);
        found.push((typed, verb.clone()));
    }
}

#[test]
fn an_option_has_one_short_form_and_one_name_of_its_value_in_every_verb() {
    let mut command = mailhaul::commands::Cli::command();
    command.build();
    let mut verbs = Vec::new();
    all_commands(&command, "", &mut verbs);
    let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (verb, command) in &verbs {
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let Some(long) = option.get_long() else { continue };
            // What fetch writes; for others these are conditions.
            if matches!(long, "to" | "text") {
                continue;
            }
            let shape = format!("-{:?} {:?}", option.get_short(), option.get_value_names().filter(|_| option.get_action().takes_values()));
            let (first, of_first) = known.entry(long.to_owned()).or_insert_with(|| (verb.clone(), shape.clone()));
            assert_eq!(of_first, &shape, "--{long}: {first}and {verb}");
        }
    }
    // Every verb that changes something can be tried out.
    let tried: Vec<&str> =
        verbs.iter().filter(|(_, command)| command.get_arguments().any(|o| o.get_short() == Some('n'))).map(|(v, _)| v.trim()).collect();
    for verb in
        ["flag", "move", "copy", "delete", "upload", "migrate", "folders create", "folders rename", "folders delete", "folders subscribe"]
    {
        assert!(tried.contains(&verb), "{verb}");
    }
}

#[test]
fn no_option_stands_under_the_heading_of_another_group() {
    let mut command = mailhaul::commands::Cli::command();
    command.build();
    let mut verbs = Vec::new();
    all_commands(&command, "", &mut verbs);
    let about_login = ["password", "token", "netrc", "ca-file", "tls-pin", "insecure", "allow-"];
    for (verb, command) in &verbs {
        for option in command.get_arguments() {
            let (Some(long), Some(heading)) = (option.get_long(), option.get_help_heading()) else { continue };
            let fits = about_login.iter().any(|word| long.contains(word));
            assert_eq!(heading.starts_with("Login"), fits, "{verb}--{long} stands under {heading}");
        }
    }
}

#[test]
fn a_wrong_turn_is_answered_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "default = \"work\"\n[accounts.work]\nimap = \"imaps://ann@localhost:1\"\nnetrc = true\n").unwrap();
    for (arguments, words) in [
        (&["flag", "--add", "seen", "17"][..], "the place stands before the UIDs"),
        (&["move", "work", "Archive", "17"], "a folder of one is work/Archive"),
        (&["folders", "list", "work"], "mailhaul folders work"),
        (&["folders", "work", "home"], "one place"),
        (&["upload", "letter.eml"], "<FILE>... <PLACE>"),
        (&["upload", "-", "-", "work"], "only once"),
        (&["list", "work", "--not"], "--not --from ann"),
    ] {
        let output = run(&[&["--config", path.to_str().unwrap()], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_examples_of_the_help_parse() {
    let mut command = mailhaul::commands::Cli::command();
    command.build();
    let mut verbs = Vec::new();
    all_commands(&command, "", &mut verbs);
    let mut count = 0;
    for (verb, mut command) in verbs {
        let help = command.render_long_help().to_string();
        let examples = help.split("EXAMPLES\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        for line in examples.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let call = line.find("mailhaul ").and_then(|at| line[at..].split(" > ").next()).unwrap();
            let words = mailhaul::account::split_words(call).unwrap();
            assert_eq!(words.get(1).map(String::as_str), verb.split(' ').next(), "{line}");
            if let Err(error) = mailhaul::commands::Cli::try_parse_from(&words) {
                panic!("{line}\n{error}");
            }
            count += 1;
        }
    }
    assert!(count > 25, "{count}");
}
