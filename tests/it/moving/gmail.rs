//! A Gmail account as a source: it shows every message in All Mail and again in each folder of a label, and the copy holds it once.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::tool::Tool;

const OWN: [(&str, &str); 7] = [
    ("[Gmail]/All Mail", "\\All"),
    ("[Gmail]/Spam", "\\Junk"),
    ("[Gmail]/Bin", "\\Trash"),
    ("[Gmail]/Sent Mail", "\\Sent"),
    ("[Gmail]/Drafts", "\\Drafts"),
    ("[Gmail]/Starred", "\\Flagged"),
    ("[Gmail]/Important", "\\Important"),
];

/// Where messages lie beside All Mail, by number.
const FILED: [(&str, &[u64]); 9] = [
    ("INBOX", &[0, 1, 2]),
    ("Work", &[1, 3]),
    ("Work/Old", &[4]),
    ("Caf&AOk-", &[3, 5]),
    ("Zwei W&APY-rter", &[1, 6]),
    ("[Gmail]/Sent Mail", &[7, 2]),
    ("[Gmail]/Drafts", &[8]),
    ("[Gmail]/Starred", &[0, 9]),
    ("[Gmail]/Important", &[1]),
];

fn bodies(numbers: &[u64]) -> Vec<Vec<u8>> {
    numbers.iter().map(|number| mail::plain(*number, 200)).collect()
}

fn account(shows_all: bool) -> Imapd {
    let mut behaviour = Behaviour::default().with("X-GM-EXT-1");
    for (name, attribute) in OWN.into_iter().filter(|(_, attribute)| shows_all || *attribute != "\\All") {
        behaviour.special_use.insert(name.to_owned(), attribute.to_owned());
    }
    let server = Imapd::start(behaviour);
    for (folder, numbers) in FILED {
        server.fill(folder, &bodies(numbers));
    }
    if shows_all {
        server.fill("[Gmail]/All Mail", &bodies(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 10]));
        server.change("[Gmail]/All Mail", |mailbox| mailbox.messages[0].flags = vec!["\\Flagged".to_owned(), "\\Seen".to_owned()]);
    }
    server.fill("[Gmail]/Spam", &bodies(&[20]));
    server.fill("[Gmail]/Bin", &bodies(&[21, 22]));
    server
}

/// Numbers of the messages by folder, and their keywords.
fn there(server: &Imapd) -> BTreeMap<String, BTreeMap<u64, BTreeSet<String>>> {
    let number = |body: &[u8]| (0..30).find(|number| mail::plain(*number, 200) == body).unwrap();
    let folders = server.folders().into_iter().map(|folder| {
        let messages = server.mailbox(&folder).messages;
        let count = messages.len();
        let held: BTreeMap<u64, BTreeSet<String>> =
            messages.into_iter().map(|one| (number(&one.body), one.flags.into_iter().collect())).collect();
        assert_eq!(held.len(), count, "{folder}: none twice");
        (folder, held)
    });
    folders.filter(|(_, held)| !held.is_empty()).collect()
}

fn numbers(server: &Imapd) -> BTreeMap<String, Vec<u64>> {
    there(server).into_iter().map(|(folder, held)| (folder, held.into_keys().collect())).collect()
}

fn expected(folders: &[(&str, &[u64])]) -> BTreeMap<String, Vec<u64>> {
    folders.iter().map(|(folder, numbers)| ((*folder).to_owned(), numbers.to_vec())).collect()
}

fn tool(from: &Imapd, to: &Imapd) -> Tool {
    let tool = Tool::new();
    tool.server("gmail", Some(&from.url()), None);
    tool.server("to", Some(&to.url()), None);
    tool
}

#[test]
fn each_message_of_gmail_arrives_once_where_its_labels_say_and_a_second_run_copies_nothing() {
    for connections in ["", "?connections=3"] {
        let (from, to) = (account(true), Imapd::start(Behaviour::default()));
        let tool = Tool::new();
        tool.server("gmail", Some(&format!("{}{}", from.url(), connections.replace('?', "&"))), None);
        tool.server("to", Some(&to.url()), None);
        let plan = tool.run(&["migrate", "gmail", "to", "--dry-run", "--json"]).expect_code(0).json();
        let first = tool.run(&["migrate", "gmail", "to", "--json"]).expect_code(0).json();
        assert_eq!((&plan["copied"], &first["copied"], &first["balanced"]), (&14.into(), &14.into(), &true.into()), "{first}");
        assert_eq!(
            numbers(&to),
            expected(&[
                ("INBOX", &[0, 1, 2]),
                ("Work", &[]),
                ("Work/Old", &[4]),
                ("Caf&AOk-", &[3, 5]),
                ("Zwei W&APY-rter", &[6]),
                ("Sent", &[7]),
                ("Drafts", &[8]),
                ("Archive", &[9, 10]),
                ("Junk", &[20]),
                ("Trash", &[21, 22]),
            ])
            .into_iter()
            .filter(|(_, numbers)| !numbers.is_empty())
            .collect()
        );
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
        let there = there(&to);
        assert_eq!(there["INBOX"][&1], set(&["$Important", "Work", "Zwei_W&APY-rter"]));
        assert_eq!(there["Caf&AOk-"][&3], set(&["Work"]));
        assert_eq!(there["Archive"][&9], set(&["\\Flagged", "\\Seen"]));
        let again = tool.run(&["migrate", "gmail", "to", "--json"]).expect_code(0).json();
        assert_eq!((&again["copied"], &again["already_there"], &again["balanced"]), (&0.into(), &14.into(), &true.into()), "{again}");
        let compared = tool.run(&["compare", "gmail", "to", "--json"]).expect_code(0).json();
        assert_eq!(compared["same"], 14, "{compared}");
        // What came since comes once.
        from.fill("[Gmail]/All Mail", &bodies(&[11]));
        from.fill("Work", &bodies(&[11]));
        assert_eq!(tool.run(&["migrate", "gmail", "to", "--json"]).expect_code(0).json()["copied"], 1);
    }
}

#[test]
fn labels_of_gmail_can_be_folders_each_or_what_the_server_shows() {
    let (from, to) = (account(true), Imapd::start(Behaviour::default()));
    let folders = tool(&from, &to).run(&["migrate", "gmail", "to", "--labels", "folders", "--json"]).expect_code(0).json();
    let held = numbers(&to);
    let of = |folder: &str| held.get(folder).cloned().unwrap_or_default();
    assert_eq!((of("INBOX"), of("Work"), of("Caf&AOk-"), of("Archive")), (vec![0, 1, 2], vec![1, 3], vec![3, 5], vec![9, 10]), "{folders}");
    let compare = |how: &str| tool(&from, &to).run(&["compare", "gmail", "to", "--labels", how]).code;
    assert_eq!((compare("folders"), compare("keywords")), (0, 1));
    let plain = Imapd::start(Behaviour::default());
    tool(&from, &plain).run(&["migrate", "gmail", "to", "--labels", "ignore", "--json"]).expect_code(0);
    assert_eq!(numbers(&plain)["[Gmail]/All Mail"].len(), 11);
    // One folder that is named is taken as it is.
    let one = Imapd::start(Behaviour::default());
    let work = tool(&from, &one).run(&["migrate", "gmail/Work", "to/Here", "--json"]).expect_code(0).json();
    assert_eq!((&work["copied"], numbers(&one)), (&2.into(), expected(&[("Here", &[1, 3])])), "{work}");
}

#[test]
fn folders_of_labels_are_chosen_and_renamed_as_others_are() {
    let (from, to) = (account(true), Imapd::start(Behaviour::default()));
    let args = ["migrate", "gmail", "to", "--include", "Work*", "--include", "Junk", "--map", "Work=Job", "--labels", "folders", "--json"];
    tool(&from, &to).run(&args).expect_code(0);
    assert_eq!(numbers(&to), expected(&[("Job", &[1, 3]), ("Work/Old", &[4]), ("Junk", &[20])]));
}

#[test]
fn mail_is_not_removed_from_folders_that_labels_make() {
    let (from, to) = (account(true), Imapd::start(Behaviour::default()));
    let refused = tool(&from, &to).run(&["migrate", "gmail", "to", "--delete-source"]).expect_code(2);
    assert!(refused.stderr.contains("--labels ignore"), "{refused}");
    assert_eq!((to.appends(), from.bodies("[Gmail]/All Mail").len()), (0, 11));
}

#[test]
fn where_all_mail_is_hidden_each_label_is_a_folder_and_a_note_says_so() {
    let (from, to) = (account(false), Imapd::start(Behaviour::default()));
    let run = tool(&from, &to).run(&["migrate", "gmail", "to"]).expect_code(0);
    assert!(run.stderr.contains("Gmail does not show All Mail over IMAP"), "{run}");
    assert_eq!(numbers(&to)["Work"], [1, 3]);
}
