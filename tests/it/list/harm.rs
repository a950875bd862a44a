//! Texts that would do harm where they are shown: terminals and tables never get them raw, scripts get them whole.

use std::collections::BTreeSet;

use serde_json::Value;

use super::list;
use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::terminal;
use crate::support::tool::Tool;

#[test]
fn hostile_headers_reach_no_terminal_raw_and_scripts_whole() {
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}gpj\u{9b}31m\u{2066}x";
    let body = format!("From: {hostile} <a@example.org>\r\nSubject: {hostile}\r\nMessage-ID: <{hostile}>\r\n\r\n").into_bytes();
    let imap = Imapd::start(imapd::Behaviour::default());
    imap.fill("INBOX", std::slice::from_ref(&body));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &[body]);
    let tool = Tool::new();
    for url in [imap.url(), pop3.url()] {
        for (format, lines) in [("table", 2), ("tsv", 1), ("jsonl", 1), ("json", 3)] {
            let text = list(&tool, &[&url, "-o", format, "--fields", "from,subject,message_id"]).expect_code(0).text();
            assert!(text.contains("gpj"), "{text}");
            let harmful =
                |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!text.contains(harmful), "{format}: {}", text.escape_debug());
            assert_eq!(text.lines().count(), lines, "{format}: {text}");
        }
        let row: Value = serde_json::from_str(&list(&tool, &[&url, "-o", "jsonl"]).text()).unwrap();
        assert!(row["subject"].as_str().unwrap().contains("\u{1b}[2J\u{202e}gpj"), "{row}");
    }
}

/// Text that would do harm on a terminal, or look like what it is not: every control character, every way of turning the
/// direction of writing, what hides, and what breaks rows.
fn hostile_texts() -> Vec<String> {
    let mut harmful: Vec<String> = (0..0x20_u32).chain(0x7f..0xa0).filter_map(char::from_u32).map(String::from).collect();
    harmful.extend("\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}\u{200b}\u{2028}\u{2029}\u{feff}\u{e0041}".chars().map(String::from));
    harmful.extend(
        [
            "\u{1b}[2J",
            "\u{1b}]0;owned\u{7}",
            "\u{1b}]8;;http://x\u{7}y",
            "\u{9b}31m",
            "\u{1b}P1$r\u{1b}\\",
            "\u{1b}[6n",
            "\u{1b}c",
            "\u{1b}(0",
            "\r\u{1b}[K",
        ]
        .map(str::to_owned),
    );
    let shapes = [|harm: &str| format!("a{harm}b"), |harm: &str| harm.repeat(40), |harm: &str| format!("{harm}gpj.exe")];
    harmful.iter().flat_map(|harm| shapes.iter().map(move |shape| shape(harm))).collect()
}

#[test]
fn nothing_harmful_reaches_a_terminal_or_a_pipe() {
    let server = Imapd::start(imapd::Behaviour::default());
    let texts = hostile_texts();
    assert!(texts.len() >= 200, "{}", texts.len());
    let mut bodies: Vec<Vec<u8>> = mail::nasty().into_iter().map(|(_, body)| body).collect();
    bodies.extend(mail::corpus().into_iter().map(|(_, body)| body).filter(|body| body.len() < 200_000));
    let plain = bodies.len();
    let encoded = |text: &str| {
        use base64::Engine as _;
        format!("=?utf-8?b?{}?=", base64::engine::general_purpose::STANDARD.encode(text))
    };
    for text in &texts {
        // As it is, where a header can hold it, and hidden in an encoded word.
        let raw = text.replace(['\r', '\n'], "");
        bodies.push(
            format!("From: {raw} <a@b.c>\r\nTo: \"{raw}\" <{raw}@b.c>\r\nSubject: {raw}\r\nMessage-ID: <{raw}>\r\n\r\n").into_bytes(),
        );
        let hidden = encoded(text);
        bodies.push(format!("From: {hidden} <a@b.c>\r\nCc: {hidden} <{hidden}@b.c>\r\nSubject: {hidden}\r\n\r\n").into_bytes());
    }
    server.fill("INBOX", &bodies);
    server.change("INBOX", |mailbox| {
        for (message, text) in mailbox.messages.iter_mut().skip(plain).zip(&texts) {
            // What would end the response is no flag's.
            message.flags = vec![text.replace(['\r', '\n', ' ', '(', ')', '"', '\\', '[', ']', '{', '%', '*'], "") + "k"];
        }
    });
    for text in &texts {
        server.fill(&crate::support::modified_utf7(&text.replace('/', "")), &mail::many(1, 5));
    }
    let tool = Tool::new();
    let url = server.url();
    let password = tool.password_file();
    let fields = "folder,uid,flags,date,from,to,cc,subject,message_id";
    let common = ["list", &url, "--all-folders", "--password-file", password.to_str().unwrap(), "--fields", fields];
    let (shown, code) = terminal::run(&tool, &common.map(str::to_owned));
    assert_eq!(code, 0);
    let mut outputs = vec![("a terminal", String::from_utf8(shown).unwrap())];
    for format in ["table", "tsv", "json", "jsonl"] {
        let output = tool.run(&[&common[..], &["-o", format]].concat()).expect_code(0);
        assert_eq!(output.stderr, "", "{format}");
        outputs.push((format, output.text()));
    }
    let rows = bodies.len() + texts.len();
    for (what, text) in &outputs {
        assert_eq!(terminal::harm(text.as_bytes()), None, "{what}");
        let lines = text.lines().count();
        assert_eq!(
            lines,
            rows + match *what {
                "json" => 2,
                "tsv" | "jsonl" => 0,
                _ => 1,
            },
            "{what}"
        );
        if *what == "tsv" {
            assert!(text.lines().all(|line| line.matches('\t').count() == 8), "{what}");
        }
    }
    // Scripts get the values whole.
    let subjects: BTreeSet<String> = outputs[4]
        .1
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["subject"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(subjects.contains("a\u{1b}]0;owned\u{7}b") && subjects.contains("a\u{202e}b"), "{subjects:?}");
}
