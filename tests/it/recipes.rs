//! The five scripts of the README, run as they stand there against a real server and judged by an independent client.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::tool::Tool;

const DAY: i64 = 86_400;

/// The script of the README whose comment begins with `# name:`.
fn recipe(name: &str) -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let marked = format!("#!/bin/sh\n# {name}: ");
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.starts_with(&marked)).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0].to_owned()
}

/// Runs a script of the README in the tool's home, where `bin` comes first in the path; gives its standard output.
fn run(tool: &Tool, name: &str, args: &[&str]) -> String {
    let bin = tool.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = bin.join(name);
    fs::write(&script, recipe(name)).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_mailhaul")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = tool
        .command(script.to_str().unwrap())
        .args(args)
        .env("PATH", format!("{}:{}:{path}", bin.display(), program.display()))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}: {stderr}", output.status);
    assert_eq!(stderr, "", "{name}");
    String::from_utf8(output.stdout).unwrap()
}

fn tool(user: &User) -> Tool {
    let tool = Tool::new();
    tool.account("work", user);
    tool
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn letter(subject: &str) -> Plant {
    Plant::new(format!("From: Ann <ann@example.org>\r\nSubject: {subject}\r\n\r\nbody of {subject}\r\n"))
}

/// Subject lines of those messages of a folder that `keep` names.
fn subjects(user: &User, folder: &str, flag: Option<&str>) -> BTreeSet<String> {
    let messages = user.messages(folder).into_iter();
    let messages = messages.filter(|message| flag.is_none_or(|flag| message.flags.iter().any(|own| own == flag)));
    messages
        .map(|message| {
            let text = String::from_utf8_lossy(&message.body).into_owned();
            text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
        })
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn mark_read_marks_all_that_is_older_than_a_year_in_every_folder_and_nothing_else() {
    let user = dovecot_user!("recipe-mark-read");
    let (old, new) = (now() - 366 * DAY, now() - 364 * DAY);
    user.plant("INBOX", &[letter("old").date(old), letter("flagged").date(old).flag("\\Flagged"), letter("new").date(new)]);
    user.plant("Odd $(id) & 'name", &[letter("odd old").date(old), letter("odd new").date(new)]);
    let tool = tool(&user);
    run(&tool, "mark-read", &[]);
    assert_eq!(subjects(&user, "INBOX", Some("\\Seen")), set(&["old", "flagged"]));
    assert_eq!(subjects(&user, "INBOX", Some("\\Flagged")), set(&["flagged"]));
    assert_eq!(subjects(&user, "Odd $(id) & 'name", Some("\\Seen")), set(&["odd old"]));
}

#[test]
fn archive_moves_each_past_year_into_its_folder_and_makes_no_empty_ones() {
    let user = dovecot_user!("recipe-archive");
    // Noon of the first and the last day of a year, and of today.
    let (first_2021, last_2021, mid_2023) = (1_609_502_400, 1_640_952_000, 1_688_212_800);
    user.plant(
        "INBOX",
        &[
            letter("a").date(first_2021),
            letter("b").date(last_2021).flag("\\Seen"),
            letter("c").date(mid_2023),
            letter("today").date(now()),
        ],
    );
    let tool = tool(&user);
    for _ in 0..2 {
        run(&tool, "archive", &["2019"]);
        assert_eq!(subjects(&user, "INBOX", None), set(&["today"]));
        assert_eq!(subjects(&user, "Archive/2021", None), set(&["a", "b"]));
        assert_eq!(subjects(&user, "Archive/2021", Some("\\Seen")), set(&["b"]));
        assert_eq!(subjects(&user, "Archive/2023", None), set(&["c"]));
        let archives: Vec<String> = user.folders().into_iter().filter(|name| name.starts_with("Archive/")).collect();
        assert_eq!(archives, ["Archive/2021", "Archive/2023"]);
    }
}

/// A message with one attachment, in base64.
fn with_attachment(from: &str, kind: &str, name: &str, content: &[u8]) -> Plant {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(content);
    Plant::new(format!(
        "From: {from}\r\nSubject: invoice\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nsee the attachment\r\n\
         --b\r\nContent-Type: {kind}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--b--\r\n"
    ))
}

#[test]
fn invoices_saves_the_pdf_attachments_of_one_sender_once() {
    let user = dovecot_user!("recipe-invoices");
    let billing = "Billing <billing@example.org>";
    let pdf = |number: u8| [b"%PDF-1.4\n", [number; 40].as_slice()].concat();
    user.plant(
        "INBOX",
        &[
            with_attachment(billing, "application/pdf", "march.pdf", &pdf(1)),
            with_attachment(billing, "application/pdf", "march.pdf", &pdf(2)),
            with_attachment(billing, "image/png", "logo.png", &pdf(3)),
            with_attachment("eve@example.org", "application/pdf", "eve.pdf", &pdf(4)),
            with_attachment(billing, "application/pdf", "../../../escape.pdf", &pdf(5)),
        ],
    );
    let tool = tool(&user);
    for _ in 0..2 {
        run(&tool, "invoices", &[]);
        let mut saved: Vec<Vec<u8>> =
            fs::read_dir(tool.path("invoices")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        saved.sort();
        assert_eq!(saved, [pdf(1), pdf(2), pdf(5)]);
    }
    assert!(!tool.path("invoices").join("../../../escape.pdf").exists());
}

#[test]
fn unread_counts_the_unread_of_each_folder_as_json() {
    let user = dovecot_user!("recipe-unread");
    user.plant("INBOX", &[letter("a"), letter("b").flag("\\Seen"), letter("c")]);
    user.plant("Bücher/\"x\"", &[letter("d")]);
    let tool = tool(&user);
    let document: serde_json::Value = serde_json::from_str(&run(&tool, "unread", &[])).unwrap();
    let count = |name: &str| {
        let folders = document["folders"].as_array().unwrap();
        folders.iter().find(|folder| folder["name"] == name).unwrap_or_else(|| panic!("{name}: {document}"))["unseen"].clone()
    };
    assert_eq!((count("INBOX"), count("Bücher/\"x\"")), (2.into(), 1.into()));
}

#[test]
fn learn_hands_every_message_of_junk_to_the_learner_as_it_is() {
    let user = dovecot_user!("recipe-learn");
    let spam = [b"Subject: one\r\n\r\nbuy\r\n".to_vec(), b"Subject: two\r\n\r\n8-bit \xff\r\n".to_vec()];
    user.deliver("Junk", &spam);
    user.plant("INBOX", &[letter("ham")]);
    let tool = tool(&user);
    let learned = tool.path("learned");
    fs::create_dir_all(&learned).unwrap();
    fs::create_dir_all(tool.path("bin")).unwrap();
    let learner = tool.path("bin/sa-learn");
    fs::write(&learner, format!("#!/bin/sh\n[ \"$1\" = --spam ] || exit 9\nshift\ncp \"$@\" '{}'\n", learned.display())).unwrap();
    fs::set_permissions(&learner, fs::Permissions::from_mode(0o700)).unwrap();
    run(&tool, "learn", &[]);
    let mut seen: Vec<Vec<u8>> = fs::read_dir(&learned).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    seen.sort();
    assert_eq!(seen, spam);
    assert!(subjects(&user, "Junk", Some("\\Seen")).is_empty());
    assert_eq!(fs::read_dir(tool.path("../tmp")).unwrap().count(), 0);
}
