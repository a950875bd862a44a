//! The man pages, completion scripts and JSON schemas stand in the repository, made from the command line's own definition
//! and from the types that are written. This test holds them to it; `UPDATE=1` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;
use mailhaul::commands::{Cli, complete, schema};

/// Where nothing but generated files stands.
const FOLDERS: [&str; 3] = ["man", "completions", "docs/schemas"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path below the root → content.
fn generated() -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut command = Cli::command();
    command.build();
    files.insert("man/mailhaul.1".into(), man_page(command.clone(), "mailhaul")?);
    pages(&command, "mailhaul", &mut files)?;
    for (shell, name) in [(Shell::Bash, "mailhaul.bash"), (Shell::Zsh, "_mailhaul"), (Shell::Fish, "mailhaul.fish")] {
        files.insert(format!("completions/{name}").into(), complete::script(shell));
    }
    for (name, _) in schema::schemas() {
        files.insert(format!("docs/schemas/{name}.json").into(), schema::text(name).unwrap().into_bytes());
    }
    Ok(files)
}

/// A page for each command below `command`, `above` being what is typed before its name. A hidden one has none.
fn pages(command: &clap::Command, above: &str, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let typed = format!("{above} {}", verb.get_name());
        let name = typed.replace(' ', "-");
        // Named as users type it in the synopsis, as the page's file in its title.
        files.insert(format!("man/{name}.1").into(), man_page(verb.clone().bin_name(&typed), &name)?);
        pages(verb, &typed, files)?;
    }
    Ok(())
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
fn man_pages_completions_and_schemas_are_up_to_date() {
    let files = generated().unwrap();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        for folder in FOLDERS {
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
    for folder in FOLDERS {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = PathBuf::from(folder).join(entry.unwrap().file_name());
            assert!(files.contains_key(&path), "{} belongs to no verb any more", path.display());
        }
    }
}

#[test]
fn the_command_line_is_sound_and_every_verb_says_its_exit_status() {
    Cli::command().debug_assert();
    let mut command = Cli::command();
    let mut commands: Vec<&mut clap::Command> = command.get_subcommands_mut().collect();
    while let Some(verb) = commands.pop() {
        let name = verb.get_name().to_owned();
        let help = verb.render_long_help().to_string();
        assert!(help.contains("EXIT STATUS"), "{name}");
        commands.extend(verb.get_subcommands_mut());
    }
}

#[test]
fn every_command_has_a_page_and_a_hidden_one_has_none() {
    let files = generated().unwrap();
    for name in ["mailhaul", "mailhaul-list", "mailhaul-folders", "mailhaul-folders-create", "mailhaul-folders-unsubscribe"] {
        assert!(files.contains_key(Path::new(&format!("man/{name}.1"))), "{name}");
    }
    let synopsis = String::from_utf8(files[Path::new("man/mailhaul-folders-create.1")].clone()).unwrap();
    assert!(synopsis.contains("folders create"), "{synopsis}");
    for (path, content) in &files {
        let text = String::from_utf8_lossy(content);
        assert!(!path.starts_with("man") || !text.contains("__complete") && !text.contains("\\_\\_complete"), "{}", path.display());
    }
}
