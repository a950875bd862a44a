//! Names that no person gave a folder: each is shown harmlessly, in a form of its own that means the same folder when it is
//! typed back, and none of them ever becomes a second command.

use std::collections::{BTreeMap, BTreeSet};

use super::{names, tool_of};
use crate::dovecot_user;
use crate::support::imapd::{Behaviour, Imapd};
use crate::support::names::{texts, typed, wire};
use crate::support::odd::{Answer, Odd};
use crate::support::tool::Tool;

fn server() -> (Imapd, Vec<String>) {
    let server = Imapd::start(Behaviour::default());
    let corpus = wire();
    for (index, name) in corpus.iter().enumerate() {
        // As many messages as tell the folders apart.
        server.fill(name, &[]);
        server.change(name, |mailbox| mailbox.uid_next = u32::try_from(index).unwrap() + 10);
    }
    (server, corpus)
}

fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| {
        c == '\n'
            || c == '\t'
            || !c.is_control()
                && !matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}' | '\u{2066}'..='\u{2069}')
    })
}

#[test]
fn at_least_200_names_are_shown_harmlessly_and_no_two_alike() {
    let (server, corpus) = server();
    assert!(corpus.len() >= 200, "{}", corpus.len());
    let tool = tool_of(&server);
    let json = tool.run(&["folders", "work", "--json"]).expect_code(0);
    assert!(is_harmless(&json.text()), "{json}");
    let document = json.json();
    let rows = document["folders"].as_array().unwrap();
    // INBOX beside them.
    assert_eq!(rows.len(), corpus.len() + 1);
    let shown: BTreeMap<u64, String> = rows
        .iter()
        .map(|row| (row["uidnext"].as_u64().unwrap_or_else(|| panic!("{row}")), row["name"].as_str().unwrap().to_owned()))
        .collect();
    let distinct: BTreeSet<&String> = shown.values().collect();
    assert_eq!(distinct.len(), rows.len());
    for format in ["tsv", "table"] {
        let output = tool.run(&["folders", "work", "-o", format, "--fields", "name,uidnext"]).expect_code(0);
        assert!(is_harmless(&output.text()), "{output}");
        let skipped = usize::from(format == "table");
        let lines: BTreeSet<String> = output
            .text()
            .lines()
            .skip(skipped)
            .map(|line| line.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end().to_owned())
            .collect();
        assert_eq!(lines.len(), rows.len(), "{format}");
        assert_eq!(lines, shown.values().cloned().collect(), "{format}");
    }
}

#[test]
fn every_name_that_is_shown_means_the_same_folder_when_it_is_typed() {
    let (server, corpus) = server();
    let tool = tool_of(&server);
    let shown: Vec<String> = names(&tool.run(&["folders", "work"]).expect_code(0)).into_iter().filter(|name| name != "INBOX").collect();
    let places: Vec<String> = shown.iter().map(|name| format!("work/{name}")).collect();
    // All at once: each is looked up by itself.
    let mut arguments = vec!["folders", "subscribe"];
    arguments.extend(places.iter().map(String::as_str));
    tool.run(&arguments).expect_code(0);
    assert_eq!(server.subscribed().into_iter().collect::<BTreeSet<_>>(), corpus.iter().cloned().collect::<BTreeSet<_>>());

    let mut arguments = vec!["folders", "delete"];
    // From the bottom up, so that none loses what it is looked up by.
    arguments.extend(places.iter().rev().map(String::as_str));
    tool.run(&arguments).expect_code(0);
    assert_eq!(server.folders(), ["INBOX"]);
    assert_no_other_command(&server);
}

#[test]
fn each_folder_can_be_opened_by_the_name_it_is_shown_under() {
    let (server, _) = server();
    let tool = tool_of(&server);
    let document = tool.run(&["folders", "work", "--json"]).expect_code(0).json();
    // A connection each: those that are least like what they are shown as.
    let rows = document["folders"].as_array().unwrap();
    let odd = rows.iter().filter(|row| row["name"].as_str().unwrap().contains(['&', '(', '\\', '_', '%', 'ü']));
    for row in odd.take(40) {
        let place = format!("work/{}", row["name"].as_str().unwrap());
        let before = server.log().len();
        tool.run(&["list", &place]).expect_code(0);
        let opened: Vec<String> = server.log().split_off(before).into_iter().filter(|line| line.contains("EXAMINE")).collect();
        assert!(!opened.is_empty(), "{place}");
        let uid_validity = row["uidvalidity"].as_u64().unwrap();
        // The server in memory numbers its mailboxes: the one that was opened last must be the one that was shown.
        let last = opened.last().unwrap().split_once("EXAMINE ").map(|(_, name)| name.to_owned());
        // A literal is not in the log, and a parenthesis stands close to the word before it.
        // Nor are blanks at the end.
        if let Some(last) = last.filter(|last| !last.starts_with('{')) {
            let folders = server.folders();
            let mut meant = folders.iter().filter(|name| name.trim_end() == last);
            assert!(meant.any(|name| u64::from(server.mailbox(name).uid_validity) == uid_validity), "{place}: {opened:?}");
        }
    }
}

fn assert_no_other_command(server: &Imapd) {
    let known = [
        "CAPABILITY",
        "LOGIN",
        "AUTHENTICATE",
        "ID",
        "NAMESPACE",
        "LIST",
        "LSUB",
        "STATUS",
        "CREATE",
        "RENAME",
        "DELETE",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "EXAMINE",
        "LOGOUT",
    ];
    for line in server.log() {
        // The log sets parentheses close to what stands before them.
        let verb = line.split([' ', '(', ')']).nth(1).unwrap_or_default();
        assert!(known.contains(&verb), "{line:?}");
    }
}

/// As somebody (or a script that was fed such names) would type them, not escaped in any way.
#[test]
fn typed_raw_no_name_becomes_a_second_command() {
    let server = Imapd::start(Behaviour::default());
    let tool = tool_of(&server);
    let corpus = wire();
    let places: Vec<String> = corpus.iter().map(|name| format!("work/{name}")).collect();
    for verb in ["create", "subscribe", "unsubscribe", "delete"] {
        // One that cannot be parsed as a place ends the call before anything is sent, so that each gets a call of its own
        // only where the places are all good.
        let (good, bad): (Vec<&String>, Vec<&String>) = places.iter().partition(|place| !refused_at_once(place));
        let mut arguments = vec!["folders", verb];
        arguments.extend(good.iter().map(|place| place.as_str()));
        let output = tool.run(&arguments);
        assert!([0, 2, 3].contains(&output.code), "{output}");
        assert!(is_harmless(&output.text()) && is_harmless(&output.stderr), "{output}");
        for place in bad.into_iter().take(if verb == "create" { usize::MAX } else { 3 }) {
            let commands = server.log().len();
            let output = tool.run(&["folders", verb, place]).expect_code(2);
            assert!(is_harmless(&output.stderr), "{output}");
            assert_eq!(server.log().len(), commands, "{place}");
        }
    }
    assert_no_other_command(&server);
    for name in server.folders() {
        assert!(!name.contains(char::is_control), "{name:?}");
    }
}

/// A line end, NUL, an empty level, a broken `%`, options behind a `?`, or no folder at all.
fn refused_at_once(place: &str) -> bool {
    let folder = place.strip_prefix("work/").unwrap();
    let percent = folder.match_indices('%').any(|(at, _)| {
        let code = folder.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        code.is_none_or(|byte| byte == 0 || byte >= 0x80)
    });
    folder.contains(['\r', '\n', '?']) || percent || folder.trim_matches('/').is_empty() || folder.trim_matches('/').contains("//")
}

#[test]
fn names_that_are_no_text_at_all_are_shown_and_asked_for_as_they_are() {
    let server = Odd::start("LITERAL+", &[], |asked| match asked.verb {
        "LIST" => {
            let mut answer = b"* LIST () \"/\" INBOX\r\n* LIST () \"/\" {3}\r\na\xffb\r\n* LIST () \"/\" {3}\r\na\xfeb\r\n* LIST () \"/\" {5}\r\na\\xff\r\n".to_vec();
            answer.extend(format!("{} OK\r\n", asked.tag).into_bytes());
            Answer::Send(answer)
        }
        "STATUS" if asked.rest.ends_with('}') => Answer::send("$tag NO it is no text\r\n"),
        // The rest of a line that a literal began.
        rest if rest.starts_with('(') => Answer::send(""),
        _ => Answer::Usual,
    });
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    let output = tool.run(&["folders", "work", "--fields", "name"]).expect_code(3);
    let distinct: BTreeSet<String> = names(&output).into_iter().collect();
    assert_eq!(distinct.len(), 4, "{output}");
    assert!(distinct.contains("a\\xffb") && distinct.contains("a\\xfeb"), "{output}");
}

#[test]
fn a_real_server_makes_subscribes_and_deletes_what_it_can_take_of_them() {
    let user = dovecot_user!("folders-hostile");
    let tool = super::tool_for(&user);
    let fits = |name: &String| !name.contains(char::is_control) && !format!("/{name}/").contains("//");
    let places: Vec<String> = texts().iter().filter(|name| fits(name)).map(|name| format!("work/{}", typed(name))).collect();
    assert!(places.len() >= 200, "{}", places.len());
    let mut arguments = vec!["folders", "create", "--json"];
    arguments.extend(places.iter().map(String::as_str));
    let output = tool.run(&arguments).expect_code(3);
    assert!(is_harmless(&output.text()) && is_harmless(&output.stderr), "{output}");
    let document = output.json();
    let made: BTreeSet<&str> = document["folders"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["result"] == "created")
        .map(|row| row["folder"].as_str().or_else(|| row["name"].as_str()).unwrap_or_else(|| panic!("{row}")))
        .collect();
    assert!(made.len() >= 100, "{}", made.len());
    // The independent client sees them, and no line of theirs became anything else.
    let there: BTreeSet<String> = user.subscribed().into_iter().collect();
    assert_eq!(there.len(), made.len());
    let rows = tool.run(&["folders", "work", "--json"]).expect_code(0).json();
    let shown: BTreeSet<&str> = rows["folders"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(made.is_subset(&shown), "{:?}", made.difference(&shown));
    let places: Vec<String> = made.iter().rev().map(|name| format!("work/{name}")).collect();
    let mut arguments = vec!["folders", "delete"];
    arguments.extend(places.iter().map(String::as_str));
    let output = tool.run(&arguments).expect_code(0);
    assert!(is_harmless(&output.text()) && is_harmless(&output.stderr), "{output}");
    assert!(user.subscribed().is_empty());
    let mut client = user.client();
    assert!(user.folders().iter().filter(|name| *name != "INBOX").all(|name| client.examine(name).is_err()), "{:?}", user.folders());
}
