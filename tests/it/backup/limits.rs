//! Limits a user sets: a run stops at them with 8, what it did is whole, and the next goes on.

use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::store::{self, Layout};
use crate::support::tool::Tool;

struct Scene {
    imap: Imapd,
    pop3: Pop3d,
    tool: Tool,
}

/// Two accounts of ten messages each.
fn scene() -> Scene {
    let messages = mail::many(20, 1000);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &messages[..10]);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &messages[10..]);
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("a", Some(&imap.url()), None);
    tool.server("b", None, Some(&pop3.url()));
    Scene { imap, pop3, tool }
}

impl Scene {
    fn kept(&self) -> usize {
        ["a", "b"].iter().map(|account| store::lying(&self.tool.path("store"), account, Layout::Maildir).len()).sum()
    }

    /// Runs until nothing stops it; how often that was, and how much each run added.
    fn run_to_the_end(&self, limit: &[&str]) -> Vec<usize> {
        let mut added = Vec::new();
        loop {
            let before = self.kept();
            let output = self.tool.run(&[&["backup", "a", "b", "store", "--json"], limit].concat());
            added.push(self.kept() - before);
            store::journal_tells_the_truth(&self.tool.path("store"), Layout::Maildir, "at a limit");
            assert_eq!(output.json()["copied"], added[added.len() - 1], "{output}");
            if output.code == 0 {
                store::sound(&self.tool.path("store"), Layout::Maildir, "at the end");
                assert_eq!(self.kept(), 20);
                return added;
            }
            assert_eq!(output.code, 8, "{output}");
            assert!(added.len() < 30, "no end: {added:?}: {output}");
        }
    }
}

#[test]
fn so_many_messages_are_fetched_and_no_more_over_all_accounts() {
    let scene = scene();
    assert_eq!(scene.run_to_the_end(&["--max-messages", "7"]), [7, 7, 6]);
}

#[test]
fn so_many_octets_are_fetched_and_no_more() {
    let scene = scene();
    let size = scene.imap.bodies("INBOX")[0].len();
    let added = scene.run_to_the_end(&["--max-transfer", &(size * 4 + 200).to_string()]);
    assert!(added.len() >= 5 && added.iter().all(|count| *count <= 4), "{added:?}");
}

#[test]
fn a_limit_smaller_than_a_message_lets_one_through_each_run() {
    let scene = scene();
    let added = scene.run_to_the_end(&["--max-transfer", "1"]);
    assert!(added.iter().all(|count| *count <= 1), "{added:?}");
}

#[test]
fn no_message_is_begun_after_the_time_is_over() {
    let scene = scene();
    // The rate alone moves the clock here: about one message a second.
    let added = scene.run_to_the_end(&["--bwlimit", "1k", "--max-duration", "5s"]);
    assert!(added.len() >= 3 && added.iter().all(|count| *count <= 10), "{added:?}");
    assert!(!scene.pop3.log().iter().any(|line| line.contains("DELE")));
}

#[test]
fn a_rate_is_kept() {
    let scene = scene();
    let octets: usize = scene.imap.bodies("INBOX").iter().chain(&scene.pop3.bodies()).map(Vec::len).sum();
    scene.tool.run(&["backup", "a", "b", "store", "--bwlimit", "2k"]).expect_code(0);
    let least = octets as u64 * 1000 / 2048;
    // What the last message of each account costs may stay unpaid.
    assert!(scene.tool.clock() + 2000 >= least, "{} of {least} ms", scene.tool.clock());
}
