//! The man pages and completion scripts stand in the repository, made from the command line's own definition. This test
//! holds them to it; `UPDATE=1` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;
use mailhaul::commands::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path below the root → content.
fn generated() -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut command = Cli::command();
    command.build();
    files.insert("man/mailhaul.1".into(), man_page(command.clone(), "mailhaul")?);
    for verb in command.get_subcommands() {
        let name = format!("mailhaul-{}", verb.get_name());
        // Named as users type it in the synopsis, as the page's file in its title.
        let verb = verb.clone().bin_name(format!("mailhaul {}", verb.get_name()));
        files.insert(format!("man/{name}.1").into(), man_page(verb, &name)?);
    }
    for (shell, name) in [(Shell::Bash, "mailhaul.bash"), (Shell::Zsh, "_mailhaul"), (Shell::Fish, "mailhaul.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "mailhaul", &mut script);
        files.insert(format!("completions/{name}").into(), script);
    }
    Ok(files)
}

fn man_page(command: clap::Command, title: &str) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // A date would change the page with the day of its making.
    let man = clap_mangen::Man::new(command.display_name(title.to_owned()))
        .title(title)
        .section("1")
        .date("")
        .source(concat!("mailhaul ", env!("CARGO_PKG_VERSION")))
        .manual("mailhaul");
    man.render(&mut page)?;
    Ok(page)
}

#[test]
fn man_pages_and_completions_are_up_to_date() {
    let files = generated().unwrap();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        for folder in ["man", "completions"] {
            let _ = std::fs::remove_dir_all(root().join(folder));
            std::fs::create_dir_all(root().join(folder)).unwrap();
        }
        for (path, content) in &files {
            std::fs::write(root().join(path), content).unwrap();
        }
    }
    for (path, content) in &files {
        let there = std::fs::read(root().join(path)).unwrap_or_default();
        assert!(
            there == *content,
            "{} is not what the command line says; UPDATE=1 cargo test --test it generated writes it",
            path.display()
        );
    }
    for folder in ["man", "completions"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = PathBuf::from(folder).join(entry.unwrap().file_name());
            assert!(files.contains_key(&path), "{} belongs to no verb any more", path.display());
        }
    }
}

#[test]
fn the_command_line_is_sound_and_every_verb_says_its_exit_status() {
    Cli::command().debug_assert();
    for verb in Cli::command().get_subcommands_mut() {
        let name = verb.get_name().to_owned();
        let help = verb.render_long_help().to_string();
        assert!(help.contains("EXIT STATUS"), "{name}");
    }
}
