//! Holds the picture of `src/lib.rs`: which room may use which. It reads the sources, so that an import that breaks the
//! table fails here and not in a review.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rooms in rows: a room may use those of later rows, never its own row's others and never an earlier row's.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["commands"],
    &["cli", "output", "transfer"],
    &["plan", "matching"],
    &["store", "state"],
    &["imap", "pop3"],
    &["account"],
    &["sasl", "net"],
];

/// Usable by all; they use one another and nothing else.
const LEAVES: &[&str] = &["backoff", "error", "exit", "secret", "message", "folder", "context", "summary", "query", "report"];

/// Files that must touch no socket and no file of the system.
const GRAMMAR: &[&str] =
    &["imap/types", "imap/utf7", "imap/encode", "imap/parse", "pop3/parse", "sasl", "plan", "matching", "query", "summary", "backoff"];

/// A path out of a room and into another, `crate::room::…`, found in a file.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for root in ["crate::", "mailhaul::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                None => {
                    used.insert(rest.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect());
                }
                Some(group) => names_of_group(group, &mut used),
            }
        }
    }
    used.remove("");
    used
}

/// The first names within `{a::{b, c}, d}`.
fn names_of_group(group: &str, used: &mut BTreeSet<String>) {
    let mut depth = 0;
    let mut word = String::new();
    let mut first = true;
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                used.insert(std::mem::take(&mut word));
                first = true;
                continue;
            }
            _ => {}
        }
        if depth == 0 && first && (character.is_alphanumeric() || character == '_') {
            word.push(character);
        } else if !word.is_empty() {
            first = false;
        }
    }
    used.insert(word);
}

/// The code alone: without comments, and without the tests that stand at the end of a file.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect::<Vec<_>>().join("\n")
}

/// The room a file belongs to: `net` for `net/conn.rs` and for `net.rs`.
fn room_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn row_of(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

/// What is wrong with a file; its path is relative to `src`.
fn faults(path: &str, text: &str) -> Vec<String> {
    // Tests that outgrew their file may print and read what they like.
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return Vec::new();
    }
    let room = room_of(path);
    let code = code_of(text);
    let mut faults = Vec::new();
    if room != "lib" {
        let is_leaf = LEAVES.contains(&room);
        if !is_leaf && row_of(room).is_none() {
            faults.push(format!("{path}: the room {room} does not stand in the picture"));
        }
        for used in rooms_used(&code).iter().filter(|used| *used != room) {
            let allowed = LEAVES.contains(&used.as_str())
                || !is_leaf && matches!((row_of(room), row_of(used)), (Some(here), Some(there)) if here < there);
            if !allowed && (is_room(used)) {
                faults.push(format!("{path}: {room} must not use {used}"));
            }
        }
    }
    let stem = path.trim_end_matches(".rs");
    if GRAMMAR.iter().any(|grammar| stem == *grammar || stem.starts_with(&format!("{grammar}/"))) {
        for word in ["std::net", "std::fs", "std::os", "rustix", "socket2", "native_tls", "tempfile", "rusqlite", "crate::net"] {
            // The pure steps of SASL are asked for channel bindings, never for a connection.
            if code.contains(word) {
                faults.push(format!("{path}: a grammar file must not touch {word}"));
            }
        }
    }
    for word in ["TcpStream", "native_tls", "socket2"] {
        if room != "net" && code.contains(word) {
            faults.push(format!("{path}: only net may name {word}"));
        }
    }
    if room != "state" && code.contains("rusqlite") {
        faults.push(format!("{path}: only state may name rusqlite"));
    }
    if !["summary"].contains(&room) && code.contains("mail_parser") {
        faults.push(format!("{path}: only summary may name mail_parser"));
    }
    if !["main", "commands", "exit", "output", "lib"].contains(&room) && code.contains("ExitCode") {
        faults.push(format!("{path}: an exit code is picked in commands and main alone"));
    }
    for word in ["println!", "eprintln!", "process::exit"] {
        if !["main", "commands", "output"].contains(&room) && code.contains(word) {
            faults.push(format!("{path}: only main, commands and output may use {word}"));
        }
    }
    faults
}

/// Whether a name after `crate::` is a room rather than a macro or an item of the crate root.
fn is_room(name: &str) -> bool {
    LEAVES.contains(&name) || row_of(name).is_some()
}

fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn imports_keep_to_the_picture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 10, "the sources are not where they were");
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        found.extend(faults(&path, &std::fs::read_to_string(&file).unwrap()));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_room_of_the_library_stands_in_the_picture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    for line in std::fs::read_to_string(root).unwrap().lines() {
        if let Some(room) = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod ")).and_then(|rest| rest.strip_suffix(';')) {
            assert!(is_room(room), "{room} does not stand in the picture");
        }
    }
}

#[test]
fn the_check_finds_what_it_is_there_for() {
    for (path, code, expected) in [
        ("imap/session.rs", "use crate::pop3::Session;", "imap must not use pop3"),
        ("pop3/bulk.rs", "fn f() { crate::imap::x() }", "pop3 must not use imap"),
        ("state.rs", "use crate::{error::Result, store};", "state must not use store"),
        ("store/imap.rs", "use crate::state::Journal;", "store must not use state"),
        ("net/conn.rs", "use crate::{\n    context::Context,\n    sasl::{Mechanism, Step},\n};", "net must not use sasl"),
        ("message.rs", "use crate::net::Conn;", "message must not use net"),
        ("output/table.rs", "use crate::transfer;", "output must not use transfer"),
        ("account.rs", "use crate::imap;", "account must not use imap"),
        ("imap/parse.rs", "use std::fs::File;", "must not touch std::fs"),
        ("imap/wire.rs", "use std::net::TcpStream;", "only net may name TcpStream"),
        ("transfer.rs", "fn f() -> crate::exit::ExitCode {}", "an exit code is picked"),
        ("store/mod.rs", "fn f() { println!(\"x\") }", "may use println!"),
        ("cellar.rs", "", "cellar does not stand in the picture"),
    ] {
        let found = faults(path, code).join("\n");
        assert!(found.contains(expected), "{path}: {code}: {found:?}");
    }
    for (path, code) in [
        ("imap/session.rs", "use crate::imap::parse;\nuse crate::{account::Server, net::{Conn, Phase}};\n// use crate::pop3;"),
        ("commands/list.rs", "use crate::exit::ExitCode;\nuse crate::imap::Session;\nuse crate::pop3;"),
        ("imap/parse.rs", "use crate::error::Error;\n#[cfg(test)]\nmod tests {\n use std::fs;\n}"),
        ("transfer.rs", "use crate::store::Sink;\nuse crate::state::Journal;"),
    ] {
        assert_eq!(faults(path, code), Vec::<String>::new(), "{path}");
    }
}
