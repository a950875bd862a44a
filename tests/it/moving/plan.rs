//! What of a source goes and under which names, and the plan that says so first: by folder, by message, by what the destination
//! takes. Every run balances, and what was left out comes with a later one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::{Dovecot, Options, Plant};
use crate::support::imapd::{AppendFault, Behaviour, Imapd};
use crate::support::mail::{self, assert_same_mail};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};

/// Two servers in memory, and a tool that knows them as `from` and `to`.
struct Scene {
    from: Imapd,
    to: Imapd,
    tool: Tool,
}

fn scene(from: Behaviour, to: Behaviour) -> Scene {
    let (from, to) = (Imapd::start(from), Imapd::start(to));
    let tool = Tool::new();
    tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
    Scene { from, to, tool }
}

impl Scene {
    fn run(&self, args: &[&str]) -> Output {
        self.tool.run(&[&["migrate", "from", "to", "--json"], args].concat())
    }

    /// A run in which nothing fails.
    fn good(&self, args: &[&str]) -> Value {
        balanced(self.run(args))
    }

    /// The plan of the same.
    fn plan(&self, args: &[&str]) -> Value {
        self.plan_ending(0, args)
    }

    fn plan_ending(&self, code: i32, args: &[&str]) -> Value {
        let (before, folders) = (self.to.appends(), self.to.folders());
        let plan = self.run(&[&["--dry-run"], args].concat()).expect_code(code).json();
        assert_eq!((self.to.appends(), self.to.folders()), (before, folders), "a plan changes nothing");
        assert_eq!(plan["balanced"], true, "{plan}");
        plan
    }

    fn refused(&self, args: &[&str], words: &str) {
        self.run(args).expect_code(2).expect_stderr(words);
        self.run(&[&["--dry-run"], args].concat()).expect_code(2).expect_stderr(words);
    }

    fn there(&self) -> BTreeSet<String> {
        self.to.folders().into_iter().collect()
    }
}

fn balanced(output: Output) -> Value {
    let summary = output.expect_code(0).json();
    assert_eq!(summary["balanced"], true, "{summary}");
    summary
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// `source → destination` of a plan, with why.
fn ways(plan: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let folders = plan["plan"]["folders"].as_array().unwrap();
    folders
        .iter()
        .map(|one| format!("{} → {} {}", text(&one["source"]), text(&one["destination"]), text(&one["why"])).trim_end().to_owned())
        .collect()
}

fn warnings(plan: &Value) -> Vec<String> {
    plan["plan"]["warnings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn folders_are_chosen_by_patterns_and_the_rest_comes_when_it_is_asked_for() {
    let scene = scene(Behaviour::default(), Behaviour::default());
    for (number, folder) in (0..).zip(["INBOX", "Lists/a", "Lists/b", "Trash"]) {
        scene.from.fill(folder, &[mail::plain(number, 100)]);
    }
    let args = ["--include", "Lists/*", "--include", "inbox", "--exclude", "*/b"];
    assert_eq!(ways(&scene.plan(&args)), ["INBOX → INBOX", "Lists/a → Lists/a"]);
    let summary = scene.good(&args);
    assert_eq!((&summary["listed"], &summary["copied"]), (&2.into(), &2.into()));
    assert_eq!(scene.there(), set(["INBOX", "Lists/a"]));
    let rest = scene.good(&[]);
    assert_eq!((&rest["listed"], &rest["copied"], &rest["already_there"]), (&4.into(), &2.into(), &2.into()));
    assert_eq!(scene.there(), set(["INBOX", "Lists/a", "Lists/b", "Trash"]));
    scene.refused(&["--include", "Nowhere"], "matches Nowhere");
}

#[test]
fn a_mapped_folder_goes_there_with_its_subscription_and_stays_there() {
    let scene = scene(Behaviour::default(), Behaviour::default());
    scene.from.fill("INBOX", &[mail::plain(0, 100)]);
    scene.from.fill("Old", &[mail::plain(1, 100)]);
    scene.from.fill("Empty", &[]);
    scene.from.fill("Quiet", &[mail::plain(2, 100)]);
    // Subscribed is what was made by CREATE and SUBSCRIBE alone.
    let client = Tool::new();
    client.server("from", Some(&scene.from.url()), None);
    for folder in ["Old", "Empty"] {
        client.run(&["folders", "subscribe", &format!("from/{folder}")]).expect_code(0);
    }
    let map = ["--map", "Old=Archive/Of=Old"];
    scene.refused(&["--map", "Gone=X"], "no folder Gone");
    let map = [map[0], "Old=Archive/Of%3DOld", "--map", "Empty=Archive/None"];
    let plan = scene.plan(&map);
    assert_eq!(ways(&plan), ["INBOX → INBOX", "Empty → Archive/None by --map", "Old → Archive/Of=Old by --map", "Quiet → Quiet"], "{plan}");
    assert_eq!(plan["plan"]["folders"][1]["create"], true);
    scene.good(&map);
    assert_eq!(scene.there(), set(["INBOX", "Archive/None", "Archive/Of=Old", "Quiet"]));
    assert_eq!(scene.to.bodies("Archive/Of=Old"), [mail::plain(1, 100)]);
    let subscribed: BTreeSet<String> = scene.to.subscribed().into_iter().collect();
    assert_eq!(subscribed.intersection(&scene.there()).cloned().collect::<BTreeSet<_>>(), set(["Archive/None", "Archive/Of=Old"]));
    // Without the option it stays where it is; with another one, nothing happens.
    scene.from.fill("Old", &[mail::plain(3, 100)]);
    assert_eq!(scene.good(&[])["copied"], 1);
    assert_eq!(scene.to.bodies("Archive/Of=Old").len(), 2);
    let folders = scene.there();
    scene.refused(&["--map", "Old=Elsewhere"], "in an earlier run it went to Archive/Of=Old");
    assert_eq!(scene.there(), folders);
}

#[test]
fn two_folders_become_one_only_where_both_are_mapped_to_it() {
    let scene = scene(Behaviour::default(), Behaviour::default());
    let twin = mail::plain(7, 100);
    scene.from.fill("INBOX", &[mail::plain(0, 100)]);
    scene.from.fill("a", &[mail::plain(1, 100), twin.clone()]);
    scene.from.fill("b", &[mail::plain(2, 100), twin.clone()]);
    scene.refused(&["--map", "a=b"], "b goes there too");
    scene.refused(&["--map", "a=INBOX"], "INBOX goes there too");
    let both = ["--map", "a=All", "--map", "b=All"];
    let summary = scene.good(&both);
    assert_eq!(summary["copied"], 5);
    // A message of either is a message there, the same or not.
    assert_same_mail(&scene.to.bodies("All"), &[mail::plain(1, 100), twin.clone(), mail::plain(2, 100), twin]);
    let again = scene.good(&both);
    assert_eq!((&again["copied"], &again["already_there"]), (&0.into(), &5.into()));
    assert_eq!(scene.there(), set(["INBOX", "All"]));
}

#[test]
fn with_a_prefix_everything_but_inbox_lies_below_it() {
    let scene = scene(Behaviour::default(), Behaviour::default());
    for (number, folder) in (0..).zip(["INBOX", "Sent", "a/b"]) {
        scene.from.fill(folder, &[mail::plain(number, 100)]);
    }
    scene.to.fill("Sent", &[]);
    let plan = scene.plan(&["--prefix", "Old"]);
    assert_eq!(ways(&plan), ["INBOX → INBOX", "Sent → Old/Sent below the folder named", "a/b → Old/a/b below the folder named"]);
    assert_eq!(scene.good(&["--prefix", "Old"])["copied"], 3);
    assert_eq!(scene.there(), set(["INBOX", "Sent", "Old/Sent", "Old/a/b"]));
    assert!(scene.to.bodies("Sent").is_empty());
    // What was paired stays paired.
    assert_eq!(scene.good(&[])["copied"], 0);
    assert_eq!(scene.there(), set(["INBOX", "Sent", "Old/Sent", "Old/a/b"]));
    scene.tool.run(&["migrate", "from", "to/X", "--prefix", "Old"]).expect_code(2);
}

#[test]
fn a_namespace_is_no_level_on_the_other_side() {
    let dotted = || Behaviour { prefix: "INBOX.".into(), delimiter: '.', ..Behaviour::default() };
    let there = scene(dotted(), Behaviour { special_use: [("Gesendet".to_owned(), "\\Sent".to_owned())].into(), ..Behaviour::default() });
    for (number, folder) in (0..).zip(["INBOX", "INBOX.Sent", "INBOX.a.b"]) {
        there.from.fill(folder, &[mail::plain(number, 100)]);
    }
    there.to.fill("Gesendet", &[]);
    let sent = ["INBOX → INBOX", "Sent → Gesendet the folder for sent there", "a/b → a/b"];
    assert_eq!(ways(&there.plan(&[])), sent);
    assert_eq!(there.good(&[])["copied"], 3);
    assert_eq!(there.there(), set(["INBOX", "Gesendet", "a/b"]));
    let back = scene(Behaviour::default(), dotted());
    for (number, folder) in (0..).zip(["INBOX", "INBOX/x", "a/b", "x"]) {
        back.from.fill(folder, &[mail::plain(number, 100)]);
    }
    // Both would be INBOX.x there.
    let ways = ways(&back.plan(&[]));
    assert_eq!(ways, ["INBOX → INBOX", "INBOX/x → x (2) another folder has that name", "a/b → a/b", "x → x"]);
    assert_eq!(back.good(&[])["copied"], 4);
    assert_eq!(back.there(), set(["INBOX", "INBOX.a.b", "INBOX.x", "INBOX.x (2)"]));
    assert_eq!(back.good(&[])["copied"], 0);
}

#[test]
fn a_name_that_cannot_be_there_is_a_problem_of_its_folder_alone() {
    let scene = scene(Behaviour::default(), Behaviour { delimiter: '.', ..Behaviour::default() });
    scene.from.fill("INBOX", &[mail::plain(0, 100)]);
    scene.from.fill("v1.2", &[mail::plain(1, 100)]);
    let plan = scene.plan_ending(3, &[]);
    let problems = plan["problems"].as_array().unwrap();
    assert_eq!((problems.len(), &problems[0]["folder"]), (1, &"v1.2".into()), "{plan}");
    assert!(problems[0]["reason"].as_str().unwrap().contains("cannot be named"), "{plan}");
    let summary = scene.run(&[]).expect_code(3).json();
    assert_eq!((&summary["copied"], summary["problems"].as_array().unwrap().len()), (&1.into(), 1));
    assert_eq!(scene.good(&["--map", "v1.2=v1-2"])["copied"], 1);
    assert_eq!(scene.there(), set(["INBOX", "v1-2"]));
}

#[test]
fn names_that_differ_in_case_alone_never_become_one_folder() {
    let scene = scene(Behaviour::default(), Behaviour { case_blind: true, ..Behaviour::default() });
    scene.from.fill("INBOX", &[mail::plain(0, 100)]);
    scene.from.fill("Work", &[mail::plain(1, 100)]);
    scene.from.fill("work", &[mail::plain(2, 100)]);
    let plan = scene.plan(&[]);
    assert!(warnings(&plan).iter().any(|words| words.contains("differ in case alone")), "{plan}");
    let summary = scene.run(&[]).expect_code(3).json();
    assert_eq!(summary["copied"], 2);
    assert!(summary["problems"][0]["reason"].as_str().unwrap().contains("for its folder Work"), "{summary}");
    assert_eq!(scene.to.bodies("Work"), [mail::plain(1, 100)]);
    // On a server that tells them apart they are two.
    let apart = self::scene(Behaviour::default(), Behaviour::default());
    apart.from.fill("INBOX", &[]);
    apart.from.fill("Work", &[mail::plain(1, 100)]);
    apart.from.fill("work", &[mail::plain(2, 100)]);
    assert_eq!(apart.good(&[])["copied"], 2);
    assert_eq!(apart.there(), set(["INBOX", "Work", "work"]));
}

/// Runs with a query and then without: what was left out is counted, comes later, and nothing twice.
fn filtered_then_all(tool: &Tool, source: &str, query: &[&str], expect: (u64, u64)) {
    let args = [&["migrate", source, "to", "--json"], query].concat();
    let plan = balanced(tool.run(&[&args[..], &["--dry-run"]].concat()));
    assert_eq!((plan["copied"].as_u64(), plan["filtered"].as_u64()), (Some(expect.0), Some(expect.1)), "{source} {query:?} {plan}");
    let some = balanced(tool.run(&args));
    assert_eq!((some["copied"].as_u64(), some["filtered"].as_u64()), (Some(expect.0), Some(expect.1)), "{source} {query:?}");
    let again = balanced(tool.run(&args));
    assert_eq!((again["copied"].as_u64(), again["filtered"].as_u64()), (Some(0), Some(expect.1)), "{source} {query:?}");
    let rest = balanced(tool.run(&["migrate", source, "to", "--json"]));
    assert_eq!((rest["copied"].as_u64(), rest["filtered"].as_u64()), (Some(expect.1), Some(0)), "{source} {query:?}");
}

#[test]
fn a_query_leaves_mail_out_until_a_run_without_it() {
    let (from, to) = (dovecot_user!("plan-query-from"), dovecot_user!("plan-query-to"));
    let letter = |number: u64, date: i64| Plant::new(mail::plain(number, 200)).date(date);
    from.plant(
        "INBOX",
        &[letter(1, 1_000_000_000), letter(2, 1_600_000_000).flag("\\Seen"), letter(3, 1_600_000_000), letter(3, 1_000_000_000)],
    );
    from.plant("Work", &[letter(4, 1_600_000_000), letter(5, 1_000_000_000).flag("\\Flagged")]);
    // One that is left out by the query is there already: a later run takes it for what it is.
    to.deliver("INBOX", &[mail::plain(1, 200)]);
    let tool = Tool::new();
    tool.account("from", &from).account("to", &to);
    let args = ["migrate", "from", "to", "--since", "2010-01-01", "--json"];
    let some = balanced(tool.run(&args));
    assert_eq!((some["copied"].as_u64(), some["filtered"].as_u64()), (Some(3), Some(3)));
    let one = tool.run(&["migrate", "from", "to", "--subject", "message 5", "--json", "--trace", tool.trace().to_str().unwrap()]);
    assert_eq!(balanced(one)["copied"], 1);
    assert!(tool.read_trace().contains("SEARCH"), "the server is asked: {}", tool.read_trace());
    let rest = balanced(tool.run(&["migrate", "from", "to", "--json"]));
    assert_eq!((rest["copied"].as_u64(), rest["already_there"].as_u64()), (Some(1), Some(5)), "{rest}");
    for folder in ["INBOX", "Work"] {
        assert_same_mail(&from.bodies(folder), &to.bodies(folder));
    }
}

#[test]
fn on_pop3_and_in_files_this_program_chooses() {
    let messages: Vec<Vec<u8>> = mail::many(6, 500);
    for uidl in [true, false] {
        let to = Imapd::start(Behaviour::default());
        let behaviour = pop3d::Behaviour::default();
        let pop3 = Pop3d::start(if uidl { behaviour } else { behaviour.without("UIDL") }, &messages);
        let tool = Tool::new();
        tool.server("from", None, Some(&pop3.url())).server("to", Some(&to.url()), None);
        filtered_then_all(&tool, "from", &["--subject", "message 3"], (1, 5));
        assert_same_mail(&to.bodies("INBOX"), &messages);
    }
    let to = Imapd::start(Behaviour::default());
    let tool = Tool::new();
    tool.server("to", Some(&to.url()), None);
    std::fs::create_dir(tool.path("files")).unwrap();
    for (number, body) in messages.iter().enumerate() {
        std::fs::write(tool.path("files").join(format!("{number}.eml")), body).unwrap();
    }
    filtered_then_all(&tool, "eml:files", &["--not", "--text", "message 2"], (5, 1));
    assert_same_mail(&to.bodies("INBOX"), &messages);
    tool.run(&["migrate", "eml:files", "to", "--search", "ALL"]).expect_code(2).expect_stderr("IMAP servers alone");
}

#[test]
fn a_look_ahead_at_a_quota_reads_no_header_twice() {
    let messages = mail::many(6, 500);
    let to = Imapd::start(Behaviour { quota: vec![("STORAGE".into(), 0, 1)], ..Behaviour::default() }.with("QUOTA"));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &messages);
    let tool = Tool::new();
    tool.server("from", None, Some(&pop3.url())).server("to", Some(&to.url()), None);
    let output = tool.run(&["migrate", "from", "to", "--not", "--subject", "message 3", "--json"]).expect_stderr("too many");
    let summary = balanced(output);
    assert_eq!((&summary["copied"], &summary["filtered"]), (&5.into(), &1.into()), "{summary}");
    let tops = pop3.log().iter().filter(|line| line.contains("TOP")).count();
    assert_eq!(tops, 6, "{:?}", pop3.log());
}

#[test]
fn limits_end_a_run_with_8_and_the_next_goes_on() {
    let messages = mail::many(7, 1000);
    let scene = scene(Behaviour::default(), Behaviour::default());
    scene.from.fill("INBOX", &messages[..4]);
    scene.from.fill("Work", &messages[4..]);
    for (limit, expected) in [(["--max-messages", "3"], vec![3, 3, 1]), (["--max-transfer", "2500"], vec![2, 2, 2, 1])] {
        let mut copied = Vec::new();
        let dir = scene.tool.path(limit[0]);
        let to = Imapd::start(Behaviour::default());
        let name = limit[0].trim_start_matches('-');
        scene.tool.server(name, Some(&to.url()), None);
        loop {
            let dir = dir.to_str().unwrap();
            let output = scene.tool.run(&["migrate", "from", name, "--json", "--state", dir, limit[0], limit[1]]);
            let summary = output.json();
            copied.push(summary["copied"].as_u64().unwrap());
            if summary["balanced"] == true {
                output.expect_code(0);
                break;
            }
            let output = output.expect_code(8);
            output.expect_stderr(limit[0]).expect_stderr("again to go on");
        }
        assert_eq!(copied, expected, "{limit:?}");
        assert_same_mail(&[to.bodies("INBOX"), to.bodies("Work")].concat(), &messages);
    }
}

#[test]
fn a_rate_is_kept_and_no_message_begins_after_the_time() {
    let messages = mail::many(8, 1000);
    let mut scene = scene(Behaviour::default(), Behaviour::default());
    scene.tool.use_clock();
    scene.from.fill("INBOX", &messages);
    // The rate alone moves the clock here: about one message a second.
    let summary = scene.run(&["--bwlimit", "1k", "--max-duration", "4s"]).expect_code(8).expect_stderr("--max-duration").json();
    let copied = summary["copied"].as_u64().unwrap();
    assert!(copied < 8, "{summary}");
    let (before, octets) = (scene.tool.clock(), messages[usize::try_from(copied).unwrap()..].iter().map(Vec::len).sum::<usize>() as u64);
    assert_eq!(scene.good(&["--bwlimit", "2k"])["copied"], 8 - copied);
    // What the last message costs may stay unpaid.
    assert!(scene.tool.clock() - before + 1000 >= octets * 1000 / 2048, "{}", scene.tool.clock() - before);
    assert_same_mail(&scene.to.bodies("INBOX"), &messages);
}

#[test]
fn of_two_folders_in_one_a_late_message_of_the_first_is_told_as_copied() {
    let mut to = Behaviour::default().append_fault(1, AppendFault::StoreLate(Some(1500))).append_fault(2, AppendFault::HangUpBeforeStoring);
    let mut tool = Tool::new();
    to.clock = Some(tool.use_clock());
    let (from, to) = (Imapd::start(Behaviour::default()), Imapd::start(to));
    tool.server("from", Some(&from.url()), None).server("to", Some(&to.url()), None);
    from.fill("INBOX", &[]);
    from.fill("a", &[mail::plain(1, 100)]);
    from.fill("b", &[mail::plain(2, 100)]);
    let summary = balanced(tool.run(&["migrate", "from", "to", "--map", "a=All", "--map", "b=All", "--json"]));
    assert_eq!(summary["copied"], 2, "{summary}");
    assert_same_mail(&to.bodies("All"), &[mail::plain(1, 100), mail::plain(2, 100)]);
}

#[test]
fn the_plan_says_what_the_destination_will_not_take() {
    let to = Behaviour { quota: vec![("STORAGE".into(), 90, 100), ("MESSAGE".into(), 0, 3)], ..Behaviour::default() };
    let scene = scene(Behaviour::default(), to.with("QUOTA").with("APPENDLIMIT=8000"));
    scene.from.fill("INBOX", &mail::many(3, 1000));
    scene.from.fill("Big", &[mail::plain(10, 9000), mail::plain(11, 100)]);
    let plan = scene.plan(&[]);
    let bytes = plan["bytes"].as_u64().unwrap();
    assert_eq!(plan["plan"]["folders"][1]["too_large"], 1, "{plan}");
    assert_eq!(plan["plan"]["folders"][1]["append_limit"], 8000);
    let quotas = &plan["plan"]["quotas"];
    assert_eq!((&quotas[0]["used"], &quotas[0]["limit"]), (&(90 * 1024).into(), &(100 * 1024).into()), "{plan}");
    assert_eq!((quotas[0]["exceeded_by"].as_u64(), &quotas[1]["exceeded_by"]), (Some(bytes - 10 * 1024), &2.into()));
    let told = warnings(&plan);
    assert!(told.len() == 3 && told[0].contains("APPENDLIMIT") && told[1].contains("quota \"all mail\""), "{told:?}");
    assert!(plan["plan"]["estimate"]["from"].as_f64() <= plan["plan"]["estimate"]["to"].as_f64());
    assert!(plan["plan"]["estimate"]["basis"].as_str().unwrap().contains("assumed"));
    // A run says the same before it sends anything, and this one may send nothing.
    let output = scene.run(&["--max-messages", "0"]).expect_code(8);
    output.expect_stderr("APPENDLIMIT").expect_stderr("too many");
    assert_eq!(scene.to.appends(), 0);
    // A run that follows a complete one does not ask again.
    scene.good(&["--exclude", "Big"]);
    let quiet = scene.tool.run(&["migrate", "from", "to"]).expect_code(0);
    assert!(!quiet.text().contains("too many"));
}

#[test]
fn limits_of_single_mailboxes_are_asked_for() {
    let to = Behaviour { append_limits: [("Big".to_owned(), 8000)].into(), ..Behaviour::default() };
    let scene = scene(Behaviour::default(), to.with("APPENDLIMIT"));
    scene.from.fill("INBOX", &[mail::plain(1, 9000)]);
    scene.from.fill("Big", &[mail::plain(2, 9000)]);
    scene.to.fill("Big", &[]);
    let plan = scene.plan(&[]);
    let folders = &plan["plan"]["folders"];
    assert_eq!((&folders[0]["append_limit"], &folders[0]["too_large"]), (&Value::Null, &0.into()), "{plan}");
    assert_eq!((&folders[1]["append_limit"], &folders[1]["too_large"]), (&8000.into(), &1.into()), "{plan}");
}

#[test]
fn people_see_a_table_of_folders_and_what_it_adds_up_to() {
    let scene = scene(Behaviour::default(), Behaviour::default());
    scene.from.fill("INBOX", &mail::many(3, 1000));
    scene.from.fill("Old", &mail::many(2, 1000));
    let output = scene.tool.run(&["migrate", "from", "to", "-n", "-o", "table", "--map", "Old=Archive"]).expect_code(0);
    let lines: Vec<String> = output.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("SOURCE") || lines[0].starts_with("source"), "{lines:?}");
    assert!(lines[2].contains("Archive") && lines[2].contains("to be made") && lines[2].contains("by --map"), "{lines:?}");
    output.expect_stderr("5 messages").expect_stderr("time: a few seconds").expect_stderr("nothing was done");
}

#[test]
fn a_real_quota_is_read_in_units_of_1024() {
    let extra = "mail_plugins = $mail_plugins quota\nprotocol imap {\n  mail_plugins = $mail_plugins imap_quota\n}\nplugin {\n  quota = maildir:User quota\n  quota_rule = *:storage=20k\n}\n";
    let extra_24 = "mail_plugins {\n  quota = yes\n}\nprotocol imap {\n  mail_plugins {\n    imap_quota = yes\n  }\n}\nquota \"User quota\" {\n  storage_size = 20k\n}\n";
    let Some(version) = crate::support::dovecot::version() else { return };
    let extra = if version.starts_with("2.4") { extra_24 } else { extra }.to_owned();
    let Some(limited) = Dovecot::start(Options { extra, ..Options::default() }) else { return };
    let (from, to) = (dovecot_user!("plan-quota-from"), limited.user("quota-to"));
    from.deliver("INBOX", &mail::many(30, 1000));
    let tool = Tool::new();
    tool.account("from", &from).account("to", &to);
    let plan = tool.run(&["migrate", "from", "to", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!(plan["plan"]["quotas"][0]["limit"], 20 * 1024, "{plan}");
    let output = tool.run(&["migrate", "from", "to"]).expect_code(11);
    output.expect_stderr("quota");
}

#[test]
fn a_maildrop_is_not_told_that_all_was_fetched_while_something_did_not_arrive() {
    let messages = mail::many(4, 300);
    let to = Imapd::start(Behaviour { refuse: vec![(b"message 2".to_vec(), "[CANNOT] not this one".into())], ..Behaviour::default() });
    let pop3 = Pop3d::start(pop3d::Behaviour { page: Some(250), ..pop3d::Behaviour::default() }, &messages);
    let tool = Tool::new();
    tool.server("from", None, Some(&pop3.url())).server("to", Some(&to.url()), None);
    let quits = || pop3.log().iter().filter(|line| line.to_ascii_uppercase().contains("QUIT")).count();
    let refused = tool.run(&["migrate", "from", "to", "--json"]).expect_code(3).json();
    assert_eq!((&refused["copied"], &refused["refused"], quits()), (&3.into(), &1.into(), 0), "{:?}", pop3.log());
    // To tell by a body it was read, and it was left out.
    to.behave(|behaviour| behaviour.refuse.clear());
    let left_out = balanced(tool.run(&["migrate", "from", "to", "--not", "--text", "message 2", "--json"]));
    assert_eq!((&left_out["copied"], &left_out["filtered"], quits()), (&0.into(), &1.into(), 0), "{:?}", pop3.log());
    assert_eq!(balanced(tool.run(&["migrate", "from", "to", "--json"]))["copied"], 1);
    assert_eq!(quits(), 1, "{:?}", pop3.log());
}

#[test]
fn what_is_looked_into_before_the_rest_is_removed_does_not_count_as_fetched() {
    let messages = mail::many(4, 300);
    let to = Imapd::start(Behaviour::default());
    let pop3 = Pop3d::start(pop3d::Behaviour { page: Some(250), ..pop3d::Behaviour::default() }, &messages);
    let tool = Tool::new();
    tool.server("from", None, Some(&pop3.url())).server("to", Some(&to.url()), None);
    let one = balanced(tool.run(&["migrate", "from", "to", "--text", "message 2", "--delete-source", "--json"]));
    assert_eq!((&one["copied"], &one["filtered"]), (&1.into(), &3.into()), "{one}");
    let rest = balanced(tool.run(&["migrate", "from", "to", "--json"]));
    assert_eq!((&rest["listed"], &rest["copied"]), (&3.into(), &3.into()), "{rest} {:?}", pop3.log());
    assert_same_mail(&to.bodies("INBOX"), &messages);
}

#[test]
fn mail_never_goes_into_the_mailbox_that_it_comes_from() {
    let bodies = mail::many(3, 50);
    let (imap, pop3) = (Imapd::start(Behaviour::default()), Pop3d::start(pop3d::Behaviour::default(), &bodies));
    imap.fill("INBOX", &bodies);
    imap.fill("Old", &bodies);
    let tool = Tool::new();
    tool.server("work", Some(&imap.url()), Some(&pop3.url()));
    let refused = |args: &[&str], words: &str| {
        for dry_run in [&[][..], &["--dry-run"]] {
            let output = tool.run(&[&["migrate"], args, dry_run].concat()).expect_code(2);
            assert!(output.stderr.lines().count() == 1 && output.stderr.contains(words) && output.stdout.is_empty(), "{output}");
        }
    };
    let doubled = "each of its messages would be there twice";
    for into in ["work", "work:imap", "work/INBOX", "work/inbox"] {
        refused(&["work:pop3", into], doubled);
    }
    refused(&["work:pop3", "work", "--include", "INBOX", "--prefix", "Old"], doubled);
    refused(&["work:pop3", "work/Old", "--map", "INBOX=INBOX"], doubled);
    for (from, into) in [
        ("pop3s://ann@mail.example.org", "imaps://ann@MAIL.example.org"),
        ("pop3://ann@mail.example.org:1110", "imap://ann@mail.example.org/INBOX"),
    ] {
        refused(&[from, into], doubled);
    }
    let same = "the source and the destination are the same";
    for (from, into) in
        [("work", "work"), ("work/Old", "work/Old"), ("work/inbox", "work/INBOX"), ("work/Old", "work"), ("work", "work/Old")]
    {
        refused(&[from, into], same);
    }
    refused(&["imap://ann@mail.example.org/a", "imaps://ann@Mail.Example.org/a"], same);
    assert_eq!((imap.connections(), pop3.connections()), (0, 0));

    // Into other folders it may go.
    for args in [&["work:pop3", "work/Copies"][..], &["work:pop3", "work", "--map", "INBOX=More"], &["work/Old", "work/Older"]] {
        assert_eq!(tool.run(&[&["migrate"], args, &["--json"]].concat()).expect_code(0).json()["copied"], 3, "{args:?}");
    }
    mail::assert_same_mail(&bodies, &imap.bodies("INBOX"));
    for folder in ["Copies", "More", "Older"] {
        mail::assert_same_mail(&bodies, &imap.bodies(folder));
    }
}
