//! `compare-pop3`: every way servers make UIDLs, and every verdict.

mod advice;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::{self, Dovecot, Plant};
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::proxy::{Cut, Direction, Proxy, Weather};
use crate::support::terminal::{self, harm};
use crate::support::tool::{Output, Tool};
use crate::support::{mail, names};

/// Both servers as the account `work`.
fn tool(imap: &Imapd, pop3: &Pop3d) -> Tool {
    let tool = Tool::new();
    tool.server("work", Some(&imap.url()), Some(&pop3.url()));
    tool
}

/// Rows by verdict, each as what stands in the `Subject`; those that have none count as "".
fn verdicts(rows: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let subject = row["subject"].as_str().unwrap_or_default().to_owned();
        found.entry(row["verdict"].as_str().unwrap().to_owned()).or_default().push(subject);
    }
    found.values_mut().for_each(|subjects| subjects.sort());
    found
}

fn rows(document: &Value) -> Vec<Value> {
    document["rows"].as_array().unwrap().clone()
}

/// Insists that the sums are those of the rows, and that they balance.
#[track_caller]
fn sums_hold(document: &Value) {
    let count = |verdict: &str| rows(document).iter().filter(|row| row["verdict"] == verdict).count();
    for (member, verdict) in [
        ("same", "same"),
        ("different", "differs"),
        ("only_a", "only_a"),
        ("only_b", "only_b"),
        ("elsewhere", "elsewhere"),
        ("doubled", "doubled"),
        ("errors", "error"),
    ] {
        assert_eq!(document[member], count(verdict), "{member}: {document}");
    }
    assert_eq!(document["balanced"], true, "{document}");
}

#[test]
fn every_way_in_which_dovecot_makes_unique_ids_is_found_out() {
    // The name of the formula, and whether it is exact; none for what cannot be computed of UIDs. (%m is for mbox stores alone.)
    let formats: [(&str, Option<(&str, &str)>); 7] = [
        ("%08Xu%08Xv", Some(("dovecot", "exact"))),
        ("%v.%u", Some(("uidvalidity.uid", "exact"))),
        ("%u", Some(("uid", "strong"))),
        ("%v-%u", Some(("uidvalidity-uid", "exact"))),
        ("%08Xv%08Xu", Some(("uw", "exact"))),
        ("%g", None),
        ("%f", None),
    ];
    for (format, expected) in formats {
        let extra = format!("pop3_uidl_format = {format}\n");
        let Some(dovecot) = Dovecot::start(dovecot::Options { extra, ..dovecot::Options::default() }) else { return };
        let user = dovecot.user("ann");
        user.deliver("INBOX", &mail::many(120, 300));
        // A gap, so that numbers are no UIDs.
        let mut client = user.client();
        client.select("INBOX").unwrap();
        client.uid_store("3,50:60", "+FLAGS.SILENT (\\Deleted)").unwrap();
        client.expunge().unwrap();
        client.logout().unwrap();
        user.deliver("Sent", &mail::many(130, 300)[120..]);
        let tool = Tool::new();
        tool.account("work", &user);
        let output = tool.run(&["compare-pop3", "work", "--json"]);
        assert_eq!(output.code, 0, "{format}: {output}\n{}", dovecot.log());
        let document = output.json();
        sums_hold(&document);
        assert_eq!((&document["same"], &document["only_b"], &document["listed_a"]), (&108.into(), &0.into(), &108.into()), "{format}");
        let same: Vec<Value> = rows(&document).into_iter().filter(|row| row["verdict"] == "same").collect();
        // The judge: the message that both name is one.
        let uids: BTreeMap<u32, Vec<u8>> = user.messages("INBOX").into_iter().map(|seen| (seen.uid, seen.body)).collect();
        let order: Vec<u32> = uids.keys().copied().collect();
        for row in &same {
            let number = usize::try_from(row["a"]["number"].as_u64().unwrap()).unwrap();
            assert_eq!(row["b"]["uid"], order[number - 1], "{format}: {row}");
        }
        match expected {
            Some((name, confidence)) => {
                assert_eq!((&document["formula"]["name"], &document["formula"]["used"]), (&name.into(), &true.into()), "{format}");
                assert_eq!((&document["formula"]["explains"], &document["formula"]["of"]), (&108.into(), &108.into()), "{format}");
                for row in &same {
                    assert_eq!((&row["method"], &row["confidence"]), (&"uidl_formula".into(), &confidence.into()), "{format}: {row}");
                }
            }
            None => {
                assert_ne!(document["formula"]["used"], true, "{format}: {}", document["formula"]);
                assert!(same.iter().all(|row| row["method"] != "uidl_formula"), "{format}");
            }
        }
    }
}

/// How a unique-id is made of UIDVALIDITY, UID and the message.
type Uidl = fn(u32, u32, &[u8]) -> String;

fn message_id(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap();
    line.to_owned()
}

#[test]
fn the_formulas_of_other_servers_are_found_out() {
    let formulas: [(&str, &str, Uidl); 5] = [
        ("dovecot", "exact", |validity, uid, _| format!("{uid:08x}{validity:08x}")),
        ("uidvalidity.uid", "exact", |validity, uid, _| format!("{validity}.{uid}")),
        ("uid", "strong", |_, uid, _| uid.to_string()),
        ("uidvalidity-uid", "exact", |validity, uid, _| format!("{validity}-{uid}")),
        ("uw", "exact", |validity, uid, _| format!("{validity:08x}{uid:08x}")),
    ];
    for (name, confidence, make) in formulas {
        let imap = Imapd::start(Behaviour::default());
        imap.fill("INBOX", &mail::many(60, 200));
        imap.change("INBOX", |mailbox| mailbox.expunge(7));
        let mailbox = imap.mailbox("INBOX");
        let entries: Vec<(String, Vec<u8>)> =
            mailbox.messages.iter().map(|message| (make(mailbox.uid_validity, message.uid, &message.body), message.body.clone())).collect();
        let pop3 = Pop3d::with_uidls(pop3d::Behaviour::default(), &entries);
        let document = tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0).json();
        sums_hold(&document);
        assert_eq!((&document["same"], &document["formula"]["name"]), (&59.into(), &name.into()), "{document}");
        for row in rows(&document) {
            assert_eq!((&row["method"], &row["confidence"]), (&"uidl_formula".into(), &confidence.into()), "{name}: {row}");
            let number = usize::try_from(row["a"]["number"].as_u64().unwrap()).unwrap();
            assert_eq!(row["b"]["uid"], mailbox.messages[number - 1].uid, "{name}: {row}");
        }
        // Nothing but twenty headers was needed.
        assert!(pop3.log().iter().filter(|line| line.contains(" TOP ")).count() <= 20 + 4, "{name}: {:?}", pop3.log());
    }
}

#[test]
fn unique_ids_made_of_message_ids_are_recognised() {
    let imap = Imapd::start(Behaviour::default());
    let bodies = mail::many(40, 200);
    imap.fill("INBOX", &bodies);
    let entries: Vec<(String, Vec<u8>)> = bodies.iter().map(|body| (message_id(body), body.clone())).collect();
    let pop3 = Pop3d::with_uidls(pop3d::Behaviour::default(), &entries);
    let document = tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0).json();
    sums_hold(&document);
    assert_eq!((&document["same"], &document["formula"]["name"]), (&40.into(), &"message-id".into()), "{document}");
}

#[test]
fn a_formula_that_only_seems_to_fit_pairs_nothing_wrong() {
    // A freshly filled server: its UIDs are 1, 2, 3 … and so are the other's, in another order.
    let imap = Imapd::start(Behaviour::default());
    let bodies = mail::many(50, 200);
    imap.fill("INBOX", &bodies);
    let entries: Vec<(String, Vec<u8>)> =
        (1..).zip(bodies.iter().rev()).map(|(uid, body): (u32, _)| (uid.to_string(), body.clone())).collect();
    let pop3 = Pop3d::with_uidls(pop3d::Behaviour::default(), &entries);
    let document = tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0).json();
    sums_hold(&document);
    assert_eq!(document["same"], 50, "{document}");
    for row in rows(&document) {
        assert_eq!(row["b"]["uid"].as_u64().unwrap(), 51 - row["a"]["number"].as_u64().unwrap(), "{row}");
    }
}

#[test]
fn gmails_unique_ids_lead_to_mail_in_any_folder() {
    let mut behaviour = Behaviour::default().with("X-GM-EXT-1");
    behaviour.special_use.insert("All".to_owned(), "\\All".to_owned());
    let imap = Imapd::start(behaviour);
    let bodies = mail::many(15, 200);
    imap.fill("INBOX", &bodies[..10]);
    imap.fill("All", &bodies);
    let entries: Vec<(String, Vec<u8>)> =
        imap.mailbox("All").messages.iter().map(|message| (format!("GmailId{:016x}", message.gmail_id()), message.body.clone())).collect();
    let pop3 = Pop3d::with_uidls(pop3d::Behaviour::default(), &entries);
    let document = tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0).json();
    sums_hold(&document);
    assert_eq!((&document["same"], &document["elsewhere"]), (&10.into(), &5.into()), "{document}");
    assert_eq!((&document["formula"]["name"], &document["formula"]["used"]), (&"gmail".into(), &true.into()), "{document}");
    for row in rows(&document) {
        assert_eq!((&row["method"], &row["confidence"]), (&"uidl_formula".into(), &"exact".into()), "{row}");
    }
}

/// One difference of each kind, in a maildrop whose order and unique-ids tell nothing.
struct Scene {
    imap: Imapd,
    pop3: Pop3d,
    tool: Tool,
}

const MISSING: u64 = 3;
const ALTERED: u64 = 5;
const DOUBLED: u64 = 7;
const MOVED: u64 = 9;
const ADDED: u64 = 100;
const SENT: u64 = 101;

fn scene() -> Scene {
    let bodies = mail::many(30, 300);
    let pop3 = Pop3d::with_uidls(
        pop3d::Behaviour::default(),
        &bodies.iter().enumerate().map(|(index, body)| (format!("x{}z", (index * 7919) % 1009), body.clone())).collect::<Vec<_>>(),
    );
    let imap = Imapd::start(Behaviour::default());
    let body = |number: u64| bodies[usize::try_from(number).unwrap()].clone();
    let mut inbox: Vec<u64> = (0..30).filter(|number| ![MISSING, MOVED, ALTERED].contains(number)).collect();
    // Shuffled, always in the same way.
    let mut random = mail::Random::new(11);
    for at in (1..inbox.len()).rev() {
        inbox.swap(at, random.below(at + 1));
    }
    let mut there: Vec<Vec<u8>> = inbox.into_iter().map(body).collect();
    let altered = String::from_utf8(body(ALTERED)).unwrap().replace("Subject: message 5", "X-Spam: yes\r\nSubject: message 5");
    there.insert(4, altered.into_bytes());
    there.push(body(DOUBLED));
    there.push(mail::plain(ADDED, 300));
    imap.fill("INBOX", &there);
    imap.fill("Archive", &[body(MOVED)]);
    imap.fill("Sent", &[mail::plain(SENT, 300)]);
    let tool = tool(&imap, &pop3);
    Scene { imap, pop3, tool }
}

fn subject(number: u64) -> String {
    format!("message {number}")
}

/// What the rows of the scene have to say.
#[track_caller]
fn scene_is_told(rows: &[Value]) {
    let found = verdicts(rows);
    let of = |verdict: &str| found.get(verdict).cloned().unwrap_or_default();
    assert_eq!(of("only_a"), [subject(MISSING)], "{found:?}");
    // Sent mail never was in the maildrop and is left out.
    assert_eq!(of("only_b"), [subject(ADDED)], "{found:?}");
    assert_eq!(of("differs"), [subject(ALTERED)], "{found:?}");
    assert_eq!(of("doubled"), [subject(DOUBLED)], "{found:?}");
    assert_eq!(of("elsewhere"), [subject(MOVED)], "{found:?}");
    assert_eq!((of("same").len(), of("error").len()), (27, 0), "{found:?}");
    for row in rows {
        let verdict = row["verdict"].as_str().unwrap();
        assert_eq!(row["a"].is_null(), verdict == "only_b" || verdict == "doubled", "{row}");
        assert_eq!(row["b"].is_null(), verdict == "only_a", "{row}");
        if verdict == "elsewhere" {
            assert_eq!((&row["b"]["folder"], &row["a"]["folder"]), (&"Archive".into(), &"INBOX".into()), "{row}");
        }
        if verdict == "differs" {
            assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
        }
    }
}

#[test]
fn each_difference_has_its_row_in_every_format_and_nothing_is_changed() {
    let Scene { imap, pop3, tool } = scene();
    let before = (imap.mailbox("INBOX"), pop3.bodies());
    for extra in [&[][..], &["--full"]] {
        let run = |args: &[&str]| -> Output { tool.run(&[&["compare-pop3", "work"], args, extra].concat()).expect_code(1) };
        let document = run(&["--json"]).json();
        sums_hold(&document);
        scene_is_told(&rows(&document));
        assert_eq!((&document["listed_a"], &document["listed_b"]), (&30.into(), &31.into()));

        let lines = run(&["-o", "jsonl"]).text();
        let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.pop().unwrap();
        scene_is_told(&lines);
        assert_eq!((&last["schema"], &last["doubled"]), (&"mailhaul.compare-pop3/1".into(), &1.into()));

        let output = run(&["-o", "tsv"]);
        let fields: Vec<Vec<String>> = output.text().lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
        assert!(fields.iter().all(|fields| fields.len() == 20), "{output}");
        let of = |verdict: &str| fields.iter().filter(|fields| fields[0] == verdict).map(|fields| fields[18].clone()).collect::<Vec<_>>();
        assert_eq!((of("only_a"), of("elsewhere"), of("same").len()), (vec![subject(MISSING)], vec![subject(MOVED)], 27), "{output}");
        assert!(output.stderr.contains("30 messages listed = 27 the same"), "{output}");

        let table = run(&["-o", "table"]).text();
        let signs: String = table.lines().skip(1).take(5).filter_map(|line| line.chars().next()).collect();
        let mut sorted: Vec<char> = signs.chars().collect();
        sorted.sort_unstable();
        assert_eq!(sorted.into_iter().collect::<String>(), "*+-2~", "{table}");
        let equations = [
            ": 30 messages listed = 27 the same + 1 different (*) + 1 in another folder (~) + 1 only here (+)\n",
            ": 31 messages of INBOX and found elsewhere = 27 the same + 1 different (*) + 1 in another folder (~) + 1 not in the maildrop (-) + 1 doubled (2)\n",
        ];
        assert!(equations.iter().all(|equation| table.contains(equation)), "{table}");
        assert!(table.contains("nothing was changed"), "{table}");
        assert!(run(&["-o", "table", "--all"]).text().lines().filter(|line| line.starts_with("=  ")).count() == 27);
    }
    assert_eq!((imap.mailbox("INBOX"), pop3.bodies()), before);
    let changing = ["SELECT", "STORE", "APPEND", "COPY", "EXPUNGE", "BODY[", "RETR", "DELE"];
    for line in imap.log().iter().chain(&pop3.log()) {
        assert!(!changing.iter().any(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn each_difference_is_found_behind_a_formula_as_well() {
    let Scene { imap, pop3, tool } = scene();
    let mailbox = imap.mailbox("INBOX");
    pop3.maildrop(|maildrop| {
        for (number, entry) in (0..).zip(maildrop) {
            let like = if number == ALTERED {
                format!("X-Spam: yes\r\nSubject: message {ALTERED}\r\n")
            } else {
                String::from_utf8_lossy(&entry.body).into_owned()
            };
            let found = mailbox.messages.iter().find(|message| String::from_utf8_lossy(&message.body).contains(&like));
            let uid = found.map_or(500 + number, |message| u64::from(message.uid));
            entry.uidl = format!("{uid:08x}{:08x}", mailbox.uid_validity);
        }
    });
    for extra in ["--full", "--all"] {
        let document = tool.run(&["compare-pop3", "work", "--json", extra]).expect_code(1).json();
        sums_hold(&document);
        scene_is_told(&rows(&document));
    }
}

#[test]
fn what_only_imap_has_is_no_fault() {
    let Scene { tool, imap, pop3 } = scene();
    pop3.maildrop(|maildrop| {
        maildrop.retain(|entry| [MISSING, ALTERED, DOUBLED].iter().all(|number| entry.body != mail::plain(*number, 300)));
    });
    let doubled = imap.mailbox("INBOX").messages.iter().rfind(|message| message.body == mail::plain(DOUBLED, 300)).unwrap().uid;
    imap.change("INBOX", |mailbox| mailbox.expunge(doubled));
    let output = tool.run(&["compare-pop3", "work", "-o", "table"]).expect_code(0);
    assert!(output.text().contains("everything of the maildrop is on IMAP"), "{output}");
    // `compare` has no such leniency.
    tool.run(&["compare", "work:pop3", "work:imap", "-q"]).expect_code(1);
}

#[test]
fn folders_that_are_left_out_are_not_looked_into() {
    let Scene { tool, imap, pop3: _still } = scene();
    let document = tool.run(&["compare-pop3", "work", "--json", "--exclude", "Archive", "--exclude", "Sent"]).expect_code(1).json();
    let found = verdicts(&rows(&document));
    assert_eq!(found["only_a"], [subject(MISSING), subject(MOVED)], "{found:?}");
    assert!(!imap.log().iter().any(|line| line.contains("EXAMINE Archive") || line.contains("EXAMINE \"Archive\"")), "{:?}", imap.log());
}

#[test]
fn nothing_changes_on_a_real_server_even_when_everything_is_read() {
    let user = dovecot_user!("compare-pop3-untouched");
    let plants: Vec<Plant> = (0..30_u64)
        .map(|n| if n.is_multiple_of(3) { Plant::new(mail::plain(n, 300)).flag("\\Seen") } else { Plant::new(mail::plain(n, 300)) })
        .collect();
    user.plant("INBOX", &plants);
    user.deliver("Old", &mail::many(5, 100));
    let before = (user.messages("INBOX"), user.messages("Old"), user.uidls());
    let tool = Tool::new();
    tool.account("work", &user);
    for args in [&["compare-pop3", "work", "--json"][..], &["compare-pop3", "work", "--json", "--full"]] {
        let document = tool.run(args).expect_code(0).json();
        assert_eq!(document["same"], 30, "{document}");
        assert_eq!((user.messages("INBOX"), user.messages("Old"), user.uidls()), before, "{args:?}");
    }
}

#[test]
fn where_top_is_missing_the_session_ends_without_quit() {
    let bodies = mail::many(5, 100);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let pop3 = Pop3d::start(pop3d::Behaviour::default().without("TOP"), &bodies);
    let document = tool(&imap, &pop3).run(&["compare-pop3", "work", "--json", "--full"]).expect_code(0).json();
    assert_eq!(document["same"], 5, "{document}");
    let log = pop3.log();
    let of = |verb: &str| -> Vec<String> {
        log.iter().filter(|line| line.contains(verb)).filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    let (fetched, quit) = (of("RETR"), of("QUIT"));
    assert!(!fetched.is_empty() && fetched.iter().all(|session| !quit.contains(session)), "{log:?}");
}

#[test]
fn hostile_mail_harms_no_terminal() {
    let bodies: Vec<Vec<u8>> = names::texts()
        .iter()
        .map(|text| text.replace(['\r', '\n', '\0'], ""))
        .filter(|text| text.len() < 300)
        .map(|text| format!("Subject: {text}\u{1b}[2J\u{202e}\r\nDate: {text}\r\nMessage-ID: <{text}\u{7}>\r\n\r\n{text}\r\n").into_bytes())
        .collect();
    let entries: Vec<(String, Vec<u8>)> =
        bodies.iter().enumerate().map(|(index, body)| (format!("{index}\u{1b}[2J"), body.clone())).collect();
    let pop3 = Pop3d::with_uidls(pop3d::Behaviour::default(), &entries);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies[..20]);
    imap.fill(&crate::support::modified_utf7("\u{1b}]0;x\u{7}\u{202e}"), &mail::many(3, 10));
    let tool = tool(&imap, &pop3);
    let (shown, code) = terminal::run_all(&tool, &["compare-pop3", "work", "--all"].map(str::to_owned));
    assert_eq!((code, harm(&shown)), (1, None));
    for format in ["table", "tsv", "json", "jsonl"] {
        let output = tool.run(&["compare-pop3", "work", "-o", format]).expect_code(1);
        assert_eq!((harm(&output.stdout), harm(output.stderr.as_bytes())), (None, None), "{format}");
    }
}

#[test]
fn a_listing_that_breaks_off_is_an_error_and_never_an_empty_side() {
    let bodies = mail::many(2000, 10);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let weather = Weather { cut: Some((Direction::ToClient, 9000, Cut::Fin)), cuts: 0, ..Weather::default() };
    let proxy = Proxy::start(pop3.port(), weather.clone());
    let mut broken = Tool::new();
    broken.use_clock();
    broken.server("work", Some(&imap.url()), Some(&format!("pop3://ann@127.0.0.1:{}?tls=none", proxy.port())));
    let output = broken.run(&["compare-pop3", "work", "--json"]).expect_code(5);
    assert_eq!(output.text(), "", "{output}");
    let proxy = Proxy::start(imap.port(), weather);
    let mut broken = Tool::new();
    broken.use_clock();
    broken.server("work", Some(&format!("imap://ann@127.0.0.1:{}?tls=none", proxy.port())), Some(&pop3.url()));
    let output = broken.run(&["compare-pop3", "work", "--json"]).expect_code(5);
    assert_eq!(output.text(), "", "{output}");
}

#[test]
fn a_loss_in_between_is_survived() {
    let bodies = mail::many(300, 500);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let imap = Imapd::start(Behaviour::default().fault("UID FETCH", 2, CommandFault::HangUpBefore));
    imap.fill("INBOX", &bodies);
    let proxy = Proxy::start(pop3.port(), Weather { cut: Some((Direction::ToClient, 30_000, Cut::Reset)), cuts: 1, ..Weather::default() });
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("work", Some(&imap.url()), Some(&format!("pop3://ann@127.0.0.1:{}?tls=none", proxy.port())));
    let document = tool.run(&["compare-pop3", "work", "--json", "--full"]).expect_code(0).json();
    assert_eq!(document["same"], 300, "{document}");
}

#[test]
fn a_message_that_cannot_be_read_is_a_row_and_the_run_was_done_in_part() {
    let bodies = mail::many(10, 100);
    let behaviour = pop3d::Behaviour { refuse: vec![(4, "it is broken".to_owned())], refuse_top: vec![4], ..pop3d::Behaviour::default() };
    let pop3 = Pop3d::start(behaviour, &bodies);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let tool = tool(&imap, &pop3);
    let output = tool.run(&["compare-pop3", "work", "--json", "--full"]).expect_code(3).expect_stderr("INBOX 4: ");
    let document = output.json();
    sums_hold(&document);
    assert_eq!((&document["same"], &document["errors"], &document["errors_a"]), (&9.into(), &1.into(), &1.into()), "{document}");
    let row = rows(&document).into_iter().find(|row| row["verdict"] == "error").unwrap();
    assert_eq!(row["a"]["number"], 4);
    assert!(row["reason"].as_str().unwrap().contains("it is broken"), "{row}");
    let table = tool.run(&["compare-pop3", "work", "-o", "table", "--full"]).expect_code(3).text();
    assert!(table.lines().any(|line| line.starts_with("!  ")), "{table}");
}

#[test]
fn an_account_needs_both_sides_and_is_told_what_to_add() {
    let tool = Tool::new();
    tool.server("one", Some("imap://ann@127.0.0.1:1?tls=none"), None);
    tool.server("two", None, Some("pop3://ann@127.0.0.1:1?tls=none"));
    tool.run(&["compare-pop3", "one"]).expect_code(2).expect_stderr("add pop3 = \"pop3s://USER@HOST\" below [accounts.one]");
    tool.run(&["compare-pop3", "two"]).expect_code(2).expect_stderr("add imap = \"imaps://USER@HOST\" below [accounts.two]");
    tool.run(&["compare-pop3", "three"]).expect_code(2).expect_stderr("`three` is neither an account nor a URL");
    tool.run(&["compare-pop3", "one:imap"]).expect_code(2).expect_stderr("mailhaul compare-pop3 pop3s://USER@HOST imaps://USER@HOST");
    tool.run(&["compare-pop3", "one", "two"]).expect_code(2).expect_stderr("the POP3 side comes first");
    tool.run(&["compare-pop3", "two", "maildir:x"]).expect_code(2).expect_stderr("no IMAP account");
}

#[test]
fn two_places_have_credentials_of_their_own() {
    let bodies = mail::many(3, 50);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let tool = Tool::new();
    std::fs::write(tool.path("wrong"), "not it\n").unwrap();
    std::fs::set_permissions(tool.path("wrong"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let right = tool.password_file().to_str().unwrap().to_owned();
    let (pop3_url, imap_url) = (pop3.url(), imap.url());
    let run = |from: &str, to: &str| {
        tool.run(&["compare-pop3", &pop3_url, &imap_url, "--from-password-file", from, "--to-password-file", to, "--json"])
    };
    let document = run(&right, &right).expect_code(0).json();
    assert_eq!(
        (&document["same"], &document["a"], &document["advice"].is_string()),
        (&3.into(), &pop3_url.replace("?tls=none", "").into(), &false)
    );
    for (from, to) in [("wrong", right.as_str()), (&right, "wrong")] {
        let output = run(from, to).expect_code(4);
        assert_eq!(output.text(), "", "{output}");
    }
}

#[test]
fn equal_sides_end_with_0_and_say_so() {
    let bodies = mail::many(4, 50);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let tool = tool(&imap, &pop3);
    let text = tool.run(&["compare-pop3", "work", "-o", "table"]).expect_code(0).text();
    let mut start = String::new();
    write!(start, "A work:pop3: 4 messages listed = 4 the same\nB work:imap: 4 messages of INBOX and found elsewhere = 4 the same\n")
        .unwrap();
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains("everything of the maildrop is on IMAP; nothing was changed on either side"), "{text}");
    assert_eq!(tool.run(&["compare-pop3", "work", "-o", "table", "-q"]).expect_code(0).text(), "");
    // Empty sides are equal as well.
    let (imap, pop3) = (Imapd::start(Behaviour::default()), Pop3d::start(pop3d::Behaviour::default(), &[]));
    assert_eq!(self::tool(&imap, &pop3).run(&["compare-pop3", "work", "--json"]).expect_code(0).json()["same"], 0);
}

#[test]
fn a_reader_that_goes_away_is_no_trouble_and_the_answer_stands() {
    let bodies = mail::many(1500, 10);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let tool = tool(&imap, &pop3);
    let script = "\"$@\" | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}";
    for (lacks, code) in [(false, 0), (true, 1)] {
        if lacks {
            imap.change("INBOX", |mailbox| mailbox.expunge(7));
        }
        let output = tool.run_under(&["bash", "-c", script, "bash"], &["compare-pop3", "work", "-o", "tsv", "-q"]).expect_code(code);
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn an_inbox_that_cannot_be_opened_is_no_proof_that_mail_is_missing() {
    let bodies = mail::many(12, 100);
    let imap = Imapd::start(Behaviour::default());
    imap.fill("INBOX", &bodies);
    imap.fill("Archive", &bodies[..10]);
    imap.behave(|behaviour| drop(behaviour.closed.insert("INBOX".to_owned(), "[INUSE] not now".to_owned())));
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let tool = Tool::new();
    tool.server("work", Some(&imap.url()), Some(&pop3.url()));
    let run = tool.run(&["compare-pop3", "work", "--json"]).expect_code(3);
    let document = run.json();
    let figures = ["elsewhere", "errors", "folders_unread", "only_a", "balanced"].map(|name| document[name].clone());
    assert_eq!(serde_json::json!(figures), serde_json::json!([10, 2, 1, 0, true]), "{document}");
    assert!(run.stderr.contains("[INUSE] not now"), "{run}");
}
