//! The mbox file of a Google Takeout as a source: each message once, where its labels say, with what they tell; and as often, or
//! as plainly, as is asked for.

use std::collections::BTreeSet;
use std::fs;

use crate::crash::bench::in_parallel;
use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::modified_utf7;
use crate::support::store::{self, Layout, Letter, Mail};
use crate::support::tool::Tool;

/// A message: the value of its labels' field, where they say it goes, with which flags and keywords.
type Sample = (&'static str, &'static str, &'static [&'static str]);

const SAMPLES: &[Sample] = &[
    ("Inbox,Unread,Category Updates", "INBOX", &[]),
    ("Inbox,Opened,Starred", "INBOX", &["\\Seen", "\\Flagged"]),
    ("Inbox,Important,Opened,Work", "INBOX", &["\\Seen", "$Important", "Work"]),
    ("Sent", "Sent", &["\\Seen"]),
    ("Sent,Inbox,Unread", "INBOX", &[]),
    ("Drafts", "Drafts", &["\\Seen", "\\Draft"]),
    ("Spam,Unread", "Junk", &[]),
    ("Trash,Inbox,Work", "Trash", &["\\Seen", "Work"]),
    ("Archived,Unread", "Archive", &[]),
    ("Work,Archived,Opened", "Work", &["\\Seen"]),
    ("Work/Old,Opened,IMAP_$Forwarded", "Work/Old", &["\\Seen", "$Forwarded"]),
    ("Opened,\"a, b\",Work", "a, b", &["\\Seen", "Work"]),
    ("Opened,\r\n Two words,\r\n Work", "Two words", &["\\Seen", "Work"]),
    ("=?UTF-8?Q?Caf=C3=A9,?=\r\n =?UTF-8?Q?Opened,Work?=", "Café", &["\\Seen", "Work"]),
];

fn message(number: u64, labels: &str) -> Vec<u8> {
    let head = format!("X-GM-THRID: 15{number:017}\r\nX-Gmail-Labels: {labels}\r\n");
    let mut body = head.into_bytes();
    body.extend_from_slice(&mail::plain(number, 300));
    body.extend_from_slice(b"From the start of a line\r\nend\r\n");
    body
}

fn date(number: u64) -> i64 {
    1_489_613_140 + i64::try_from(number).unwrap() * 60
}

/// The file as Takeout writes it, with either line end.
fn mbox(messages: &[Vec<u8>], line_end: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        let time = 25 + number;
        let when = format!("Wed Mar 15 {:02}:{:02}:40 +0000 2017", 21 + time / 60, time % 60);
        bytes.extend_from_slice(format!("From 1561{number:015}@xxx {when}{line_end}").as_bytes());
        for line in message.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b"From ") {
                bytes.push(b'>');
            }
            let line = if line_end == "\n" {
                line.strip_suffix(b"\r\n").map_or(line.to_vec(), |line| [line, b"\n"].concat())
            } else {
                line.to_vec()
            };
            bytes.extend_from_slice(&line);
        }
        bytes.extend_from_slice(line_end.as_bytes());
    }
    bytes
}

fn messages() -> Vec<Vec<u8>> {
    (0..).zip(SAMPLES).map(|(number, (labels, _, _))| message(number, labels)).collect()
}

fn add(mail: &mut Mail, folder: &str, number: u64, body: &[u8], flags: &[&str]) {
    let flags: BTreeSet<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let letter = Letter { content: mail::content_digest(body), flags, date: date(number) };
    *mail.entry(folder.to_owned()).or_default().entry(letter).or_default() += 1;
}

/// Each message once, where its labels say.
fn sorted() -> Mail {
    let mut mail = Mail::new();
    for (number, ((_, folder, flags), body)) in (0..).zip(SAMPLES.iter().zip(messages())) {
        add(&mut mail, folder, number, &body, flags);
    }
    mail
}

#[test]
fn each_message_goes_once_into_the_folder_of_its_labels_with_their_flags_and_a_second_run_copies_nothing() {
    in_parallel(&["\n", "\r\n"], |line_end| {
        let to = Imapd::start(imapd::Behaviour::default());
        let tool = Tool::new();
        tool.server("to", Some(&to.url()), None);
        let file = "All mail Including Spam and Trash.mbox";
        fs::write(tool.path(file), mbox(&messages(), line_end)).unwrap();
        let place = format!("mbox:{file}");
        let plan = tool.run(&["migrate", &place, "to", "--dry-run", "--json"]).expect_code(0).json();
        let first = tool.run(&["migrate", &place, "to", "--json"]).expect_code(0).json();
        assert_eq!((&plan["copied"], &first["copied"]), (&SAMPLES.len().into(), &SAMPLES.len().into()), "{first}");
        let mut there = store::served(&to);
        there.retain(|_, letters| !letters.is_empty());
        let wire: Mail = sorted().into_iter().map(|(folder, letters)| (modified_utf7(&folder), letters)).collect();
        assert_eq!(there, wire);
        let again = tool.run(&["migrate", &place, "to", "--json"]).expect_code(0).json();
        assert_eq!((&again["copied"], &again["balanced"]), (&0.into(), &true.into()), "{again}");
        // Of a folder alone, to a folder that is named.
        let one = tool.run(&["migrate", &format!("{place}//Work/Old"), "maildir:old", "--json"]).expect_code(0).json();
        assert_eq!(one["copied"], 1, "{one}");
    });
}

#[test]
fn a_takeout_becomes_a_maildir_with_the_same_folders_flags_and_dates() {
    let tool = Tool::new();
    let twins = [messages(), vec![message(3, "Sent"), message(3, "Sent")]].concat();
    fs::write(tool.path("all.mbox"), mbox(&twins, "\r\n")).unwrap();
    let first = tool.run(&["migrate", "mbox:all.mbox", "maildir:dest", "--json"]).expect_code(0).json();
    assert_eq!(first["copied"], twins.len(), "{first}");
    let mut expected = sorted();
    let sent = SAMPLES.iter().position(|(labels, _, _)| *labels == "Sent").unwrap();
    for number in SAMPLES.len()..twins.len() {
        add(&mut expected, "Sent", number as u64, &message(3, "Sent"), SAMPLES[sent].2);
    }
    assert_eq!(store::mail(&tool.path(""), "dest", Layout::Maildir), expected);
    let again = tool.run(&["migrate", "mbox:all.mbox", "maildir:dest", "--json"]).expect_code(0).json();
    assert_eq!((&again["copied"], &again["already_there"]), (&0.into(), &twins.len().into()), "{again}");
}

#[test]
fn labels_can_be_folders_each_or_nothing_at_all() {
    let tool = Tool::new();
    fs::write(tool.path("all.mbox"), mbox(&messages(), "\n")).unwrap();
    let run = |how: &str, place: &str| tool.run(&["migrate", "mbox:all.mbox", place, "--labels", how, "--json"]).expect_code(0).json();
    let folders = run("folders", "maildir:folders");
    let there = store::mail(&tool.path(""), "folders", Layout::Maildir);
    let count = |folder: &str| there.get(folder).map_or(0, |letters| letters.values().sum::<usize>());
    assert_eq!((count("INBOX"), count("Work"), count("Trash"), count("a, b")), (4, 6, 1, 1), "{folders}");
    let keywords: BTreeSet<&String> =
        there.values().flat_map(|letters| letters.keys()).flat_map(|letter| &letter.flags).filter(|flag| *flag == "Work").collect();
    assert!(keywords.is_empty(), "what is a folder is no keyword");
    run("ignore", "maildir:plain");
    let there = store::mail(&tool.path(""), "plain", Layout::Maildir);
    assert_eq!(there.keys().collect::<Vec<_>>(), ["INBOX"]);
    assert_eq!(there["INBOX"].values().sum::<usize>(), SAMPLES.len());
    // What is no Takeout is an mbox, whatever is said of labels.
    let plain: Vec<Vec<u8>> = (0..3).map(|number| mail::plain(number, 100)).collect();
    fs::write(tool.path("plain.mbox"), mbox(&plain, "\n")).unwrap();
    let summary = tool.run(&["migrate", "mbox:plain.mbox", "maildir:other", "--json"]).expect_code(0).json();
    assert_eq!((&summary["copied"], summary["folders"].as_array().unwrap().len()), (&3.into(), 1), "{summary}");
}
