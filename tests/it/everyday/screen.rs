//! What everyday verbs show of hostile mail and hostile folders, on a terminal, standard error included, and in a pipe.

use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::names::{texts, wire};
use crate::support::terminal::{self, harm};
use crate::support::tool::Tool;
use crate::support::{mail, modified_utf7};

/// Letters from, to and about something harmful, and all nasty mail.
fn letters() -> Vec<Vec<u8>> {
    let mut letters: Vec<Vec<u8>> = texts()
        .iter()
        .map(|text| text.replace(['\r', '\n', '\0'], ""))
        .filter(|text| text.len() < 300)
        .map(|text| {
            format!("From: {text} <a@b.c>\r\nSubject: {text}\u{1b}[2J\r\nDate: {text}\r\nMessage-ID: <{text}>\r\n\r\n{text}\r\n")
                .into_bytes()
        })
        .collect();
    letters.extend(mail::nasty().into_iter().map(|(_, body)| body));
    letters.extend(mail::corpus().into_iter().map(|(_, body)| body).filter(|body| body.len() < 200_000));
    letters
}

#[test]
fn nothing_harmful_is_shown_by_verbs_that_change_mail() {
    let server = Imapd::start(Behaviour::default());
    let folder = "\u{1b}]0;x\u{7}\u{202e}&";
    let wire_name = modified_utf7(folder);
    let letters = letters();
    assert!(letters.len() >= 300, "{}", letters.len());
    server.fill(&wire_name, &letters);
    for name in wire() {
        server.fill(&name, &[]);
    }
    server.fill("Trash", &[]);
    let mut tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool.set_env("NO_COLOR", "1");
    let uid_validity = server.mailbox(&wire_name).uid_validity;
    let rows = tool.run(&["folders", "work", "--json"]).expect_code(0).json();
    let row = rows["folders"].as_array().unwrap().iter().find(|row| row["uidvalidity"] == uid_validity).unwrap().clone();
    let place = format!("work/{}", row["name"].as_str().unwrap());
    std::fs::create_dir(tool.path("in")).unwrap();
    for (number, letter) in letters.iter().enumerate().filter(|(_, letter)| mail::is_appendable(letter)) {
        std::fs::write(tool.path("in").join(format!("{number}\u{1b}[2J\u{202e}.eml")), letter).unwrap();
    }
    let hostile_words = CommandFault::Refuse("NO [ALERT] \u{1b}[2J\u{202e}no".to_owned());
    let runs: Vec<(Vec<&str>, i32, Option<&str>)> = vec![
        (vec!["folders", "work"], 0, None),
        (vec!["flag", &place, "--add", "seen", "--all", "--dry-run"], 0, None),
        (vec!["flag", &place, "--add", "seen", "1:20"], 0, None),
        (vec!["flag", &place, "--add", "Key", "1", "99999"], 3, None),
        (vec!["move", &place, "work/Trash", "--all", "--dry-run"], 0, None),
        (vec!["copy", &place, "work/Trash", "--all", "--dry-run"], 0, None),
        (vec!["delete", &place, "--all", "--max-delete", "100%", "--dry-run"], 0, None),
        (vec!["delete", &place, "--permanently", "--all", "--dry-run"], 10, None),
        (vec!["upload", "eml:in", "work", "--dry-run"], 0, None),
        (vec!["upload", "eml:in", "work"], 0, None),
        (vec!["copy", &place, "eml:out", "--all"], 0, None),
        (vec!["copy", &place, "work/\u{1b}[2J", "1"], 2, None),
        (vec!["delete", &place, "1", "--trash", "\u{202e}x"], 2, None),
        (vec!["folders", "rename", &place, "\u{202e}\u{9b}2J"], 2, None),
        (vec!["folders", "delete", &place], 10, None),
        (vec!["flag", &place, "--add", "Bad", "2"], 6, Some("UID STORE")),
        (vec!["copy", &place, "work/Trash", "2"], 6, Some("UID COPY")),
        (vec!["folders", "create", "work/Nice"], 6, Some("CREATE")),
        (vec!["list", &place], 6, Some("UID FETCH")),
        (vec!["no\u{1b}[2Jverb"], 2, None),
        (vec!["list", "work/\u{202e}nowhere"], 2, None),
        (vec!["flag", &place, "--add", "\u{1b}[2J", "1"], 2, None),
        (vec!["list", "\u{1b}[2J:x"], 2, None),
    ];
    for (args, code, fault) in runs {
        let hostile = |on: bool| {
            server.behave(|behaviour| {
                behaviour.faults = fault
                    .filter(|_| on)
                    .map(|verb| (1..400).map(|number| (verb.to_owned(), number, hostile_words.clone())).collect())
                    .unwrap_or_default();
            });
        };
        hostile(true);
        let (shown, ended) = terminal::run_all(&tool, &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(harm(&shown), None, "{args:?} on a terminal");
        assert_eq!(ended, code, "{args:?}: {}", String::from_utf8_lossy(&shown));
        assert!(!shown.is_empty(), "{args:?}");
        for format in ["tsv", "json"] {
            let output = tool.run(&[&args[..], &["-o", format]].concat());
            assert_eq!((harm(&output.stdout), harm(output.stderr.as_bytes())), (None, None), "{output}");
            // What was uploaded or copied once is not asked for again in vain.
            assert_eq!(output.code, code, "{output}");
        }
        hostile(false);
    }
}
