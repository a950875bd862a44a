//! `folders`: names and figures as the server has them, in as few round trips as can be; and every change to a folder,
//! looked at through the independent client or in the server's own memory.

mod hostile;

use serde_json::Value;

use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};

fn tool_for(user: &User) -> Tool {
    let tool = Tool::new();
    tool.account("work", user);
    tool
}

fn tool_of(server: &Imapd) -> Tool {
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool
}

fn row<'a>(document: &'a Value, name: &str) -> &'a Value {
    let rows = document["folders"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {document}"))
}

fn names(output: &Output) -> Vec<String> {
    output.text().lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

/// The folders of a user as the independent client lists them, in wire form.
fn listed(user: &User) -> Vec<String> {
    let mut client = user.client();
    let mut names: Vec<String> = client.list(None, Some("*")).unwrap().iter().map(|name| name.name().to_owned()).collect();
    names.sort();
    names
}

fn subscribed(user: &User) -> Vec<String> {
    let mut client = user.client();
    let mut names: Vec<String> = client.lsub(None, Some("*")).unwrap().iter().map(|name| name.name().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn figures_are_the_servers_and_come_with_one_command() {
    let user = dovecot_user!("folders-figures");
    user.plant("INBOX", &[Plant::new("Subject: a\r\n\r\nx\r\n").flag("\\Seen"), Plant::new("Subject: b\r\n\r\nxyz\r\n")]);
    user.plant("Entwürfe/Alt", &[Plant::new("Subject: c\r\n\r\n")]);
    user.client().subscribe("INBOX").unwrap();
    let tool = tool_for(&user);
    let trace = tool.text("trace.log");
    let output = tool.run(&["folders", "work", "--json", "--trace", &trace]).expect_code(0);
    let document = output.json();
    assert_eq!((&document["schema"], &document["place"]), (&Value::from("mailhaul.folders/1"), &Value::from("work")));
    let members: Vec<&str> = document["folders"][0].as_object().unwrap().keys().map(String::as_str).collect();
    for member in ["name", "special_use", "messages", "unseen", "recent", "size", "subscribed", "selectable", "uidvalidity", "uidnext"] {
        assert!(members.contains(&member), "{member}");
    }
    assert_eq!(document["folders"][0]["name"], "INBOX");
    let inbox = row(&document, "INBOX");
    assert_eq!((&inbox["messages"], &inbox["unseen"], &inbox["subscribed"]), (&2.into(), &1.into(), &true.into()));
    let octets: usize = user.messages("INBOX").iter().map(|message| message.body.len()).sum();
    assert_eq!(inbox["size"], octets);
    let state = user.client().examine("INBOX").unwrap();
    assert_eq!(
        (inbox["uidvalidity"].as_u64(), inbox["uidnext"].as_u64()),
        (state.uid_validity.map(u64::from), state.uid_next.map(u64::from))
    );
    let drafts = row(&document, "Entwürfe/Alt");
    assert_eq!((&drafts["messages"], &drafts["unseen"], &drafts["subscribed"]), (&1.into(), &1.into(), &false.into()));

    let trace = tool.read_trace();
    assert_eq!(trace.matches("RETURN (SUBSCRIBED").count(), 1, "{trace}");
    assert!(!trace.contains(" STATUS \""), "{trace}");
}

#[test]
fn a_folder_in_the_place_shows_it_and_what_lies_below() {
    let user = dovecot_user!("folders-below");
    for folder in ["Archive", "Archive/2024", "Archive/2024/Q1", "Archives", "Other"] {
        user.create(folder);
    }
    let tool = tool_for(&user);
    assert_eq!(names(&tool.run(&["folders", "work/Archive"]).expect_code(0)), ["Archive", "Archive/2024", "Archive/2024/Q1"]);
    assert_eq!(names(&tool.run(&["folders", "work/Archive/2024/Q1"]).expect_code(0)), ["Archive/2024/Q1"]);
    tool.run(&["folders", "work/Nowhere"]).expect_code(2).expect_stderr("there is no folder Nowhere");
}

#[test]
fn without_a_place_the_default_account_is_meant_and_fields_are_chosen() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &[b"Subject: a\r\n\r\n".to_vec()]);
    let tool = tool_of(&server);
    let config = std::fs::read_to_string(tool.config_file()).unwrap();
    tool.config(&format!("default = \"work\"\n{config}"));
    assert_eq!(tool.run(&["folders", "--fields", "messages,name"]).expect_code(0).text(), "1\tINBOX\n");
    assert_eq!(
        tool.run(&["folders", "-o", "jsonl", "--fields", "name,unseen"]).expect_code(0).text(),
        "{\"name\":\"INBOX\",\"unseen\":1}\n"
    );
    let table = tool.run(&["folders", "-o", "table"]).expect_code(0).text();
    assert!(table.starts_with("NAME ") && table.contains("INBOX"), "{table}");
    let connections = server.connections();
    tool.run(&["folders", "--fields", "colour"]).expect_code(2).expect_stderr("the fields are name, special_use");
    assert_eq!(server.connections(), connections);
}

#[test]
fn without_list_status_every_folder_is_asked_for_at_once_and_a_refusal_is_named() {
    let server = Imapd::start(Behaviour::default().fault("STATUS", 2, CommandFault::Refuse("NO [NOPERM] not yours".to_owned())));
    server.fill("A", &[b"Subject: a\r\n\r\n".to_vec()]);
    server.fill("B", &[b"Subject: b\r\n\r\n".to_vec()]);
    let tool = tool_of(&server);
    let output = tool
        .run(&["folders", "work", "--json"])
        .expect_code(3)
        .expect_stderr("A: STATUS was refused; the server said: NO [NOPERM] not yours");
    let document = output.json();
    assert!(row(&document, "A")["messages"].is_null() && row(&document, "A")["uidvalidity"].is_null());
    assert_eq!(row(&document, "B")["messages"], 1);
    assert!(row(&document, "B")["size"].is_null());
    let asked: Vec<String> = server.log().into_iter().filter(|line| line.contains("STATUS")).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(server.log().iter().all(|line| !line.contains("SIZE") && !line.contains("SELECT")), "{:?}", server.log());
}

#[test]
fn sizes_are_the_servers_where_it_tells_them_else_added_up_on_demand() {
    let told = Imapd::start(Behaviour::default().with("STATUS=SIZE"));
    told.fill("A", &[b"12345".to_vec(), b"678".to_vec()]);
    let tool = tool_of(&told);
    assert_eq!(row(&tool.run(&["folders", "work", "--json", "--size"]).expect_code(0).json(), "A")["size"], 8);
    assert!(told.log().iter().all(|line| !line.contains("EXAMINE")), "{:?}", told.log());

    let silent = Imapd::start(Behaviour::default());
    silent.fill("A", &[b"12345".to_vec(), b"678".to_vec()]);
    let tool = tool_of(&silent);
    let document = tool.run(&["folders", "work", "--json", "--size"]).expect_code(0).json();
    assert_eq!((&row(&document, "A")["size"], &row(&document, "INBOX")["size"]), (&8.into(), &0.into()));
    // A server that leaves a size out has told none.
    silent.behave(|behaviour| behaviour.unlisted = vec![2]);
    let output =
        tool.run(&["folders", "work", "--json", "--size"]).expect_code(3).expect_stderr("A: the server tells the sizes of 1 of 2 messages");
    assert!(row(&output.json(), "A")["size"].is_null());
}

#[test]
fn an_extended_list_that_says_nothing_is_asked_again_plainly() {
    use crate::support::odd::{Answer, Odd};
    let server = Odd::start("LIST-EXTENDED LIST-STATUS SPECIAL-USE", &[], |asked| match asked.verb {
        "LIST" if asked.rest.contains("RETURN") => Answer::send("$tag OK nothing\r\n"),
        "LIST" => Answer::send("* LIST () \"/\" INBOX\r\n* LIST (\\Sent) \"/\" Sent\r\n* LIST (\\Noselect) \"/\" Top\r\n$tag OK\r\n"),
        "STATUS" => {
            let name = asked.rest.split(" (").next().unwrap();
            Answer::send(&format!("* STATUS {name} (MESSAGES 3 UNSEEN 1 UIDNEXT 9 UIDVALIDITY 5 RECENT 0)\r\n$tag OK\r\n"))
        }
        _ => Answer::Usual,
    });
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    let document = tool.run(&["folders", "work", "--json"]).expect_code(0).json();
    assert_eq!((&row(&document, "Sent")["special_use"], &row(&document, "Sent")["messages"]), (&"sent".into(), &3.into()));
    let top = row(&document, "Top");
    assert!(top["messages"].is_null() && top["selectable"] == false, "{top}");
}

#[test]
fn pop3_and_local_stores_have_folders_too() {
    let server = Pop3d::start(pop3d::Behaviour::default(), &[b"12345\r\n".to_vec(), b"678\r\n".to_vec()]);
    let tool = Tool::new();
    tool.server("old", None, Some(&server.url()));
    let document = tool.run(&["folders", "old", "--json"]).expect_code(0).json();
    let inbox = row(&document, "INBOX");
    assert_eq!((&inbox["messages"], &inbox["size"]), (&2.into(), &12.into()));
    assert!(inbox["unseen"].is_null() && inbox["uidvalidity"].is_null() && inbox["subscribed"].is_null());

    for folder in ["", "/.Archive.2024"] {
        for half in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(tool.path(&format!("mail{folder}/{half}"))).unwrap();
        }
    }
    std::fs::write(tool.path("mail/cur/1.a:2,S"), "Subject: a\n\n").unwrap();
    std::fs::write(tool.path("mail/new/2.b"), "Subject: b\n\n").unwrap();
    let document = tool.run(&["folders", "maildir:mail", "--json"]).expect_code(0).json();
    let inbox = row(&document, "INBOX");
    assert_eq!((&inbox["messages"], &inbox["unseen"], &inbox["size"]), (&2.into(), &1.into(), &24.into()));
    assert_eq!(row(&document, "Archive/2024")["messages"], 0);
    assert_eq!(names(&tool.run(&["folders", "maildir:mail//Archive"]).expect_code(0)), ["Archive/2024"]);
}

#[test]
fn folders_are_made_and_subscribed_and_made_again_without_complaint() {
    let user = dovecot_user!("folders-create");
    let tool = tool_for(&user);
    let output = tool.run(&["folders", "create", "work/Archiv/Grüße", "work/Lists", "--json"]).expect_code(0);
    assert_eq!(output.json()["schema"], "mailhaul.folders-change/1");
    assert_eq!(output.json()["folders"][0]["result"], "created");
    assert!(listed(&user).contains(&"Archiv/Gr&APwA3w-e".to_owned()), "{:?}", listed(&user));
    assert!(subscribed(&user).contains(&"Archiv/Gr&APwA3w-e".to_owned()) && subscribed(&user).contains(&"Lists".to_owned()));
    let again = tool.run(&["folders", "create", "work/Lists"]).expect_code(0).expect_stderr("the folder Lists is there already");
    assert_eq!(again.text(), "exists\twork\tLists\t\t\n");
    tool.run(&["folders", "create", "work/Quiet", "--no-subscribe"]).expect_code(0);
    assert!(listed(&user).contains(&"Quiet".to_owned()) && !subscribed(&user).contains(&"Quiet".to_owned()));
    let before = listed(&user);
    let dry = tool
        .run(&["folders", "create", "work/Never", "--dry-run"])
        .expect_code(0)
        .expect_stderr("1 folder would be created; nothing was done");
    assert_eq!(dry.text(), "created\twork\tNever\t\t\n");
    assert_eq!(listed(&user), before);
}

#[test]
fn words_that_deny_existence_are_no_success() {
    let words = "NO parent mailbox does not exist".to_owned();
    let server = Imapd::start(Behaviour::default().fault("CREATE", 1, CommandFault::Refuse(words)));
    let tool = tool_of(&server);
    tool.run(&["folders", "create", "work/a/b"]).expect_code(6).expect_stderr("parent mailbox does not exist");
}

#[test]
fn a_special_use_is_asked_for_only_where_the_server_takes_it() {
    let server = Imapd::start(Behaviour::default());
    let tool = tool_of(&server);
    tool.run(&["folders", "create", "work/Gesendet", "--special-use", "sent"]).expect_code(2).expect_stderr("leave --special-use out");
    assert!(server.log().iter().all(|line| !line.contains("CREATE")));
    server.behave(|behaviour| behaviour.capabilities.push("CREATE-SPECIAL-USE".to_owned()));
    tool.run(&["folders", "create", "work/Gesendet", "--special-use", "sent"]).expect_code(0);
    assert!(server.log().iter().any(|line| line.ends_with("CREATE Gesendet (USE (\\Sent))")), "{:?}", server.log());
}

#[test]
fn a_new_name_takes_subfolders_messages_and_subscriptions_along() {
    let user = dovecot_user!("folders-rename");
    user.deliver("Old/Sub", &[b"Subject: a\r\n\r\n".to_vec()]);
    user.create("Old");
    for folder in ["Old", "Old/Sub"] {
        user.client().subscribe(folder).unwrap();
    }
    let tool = tool_for(&user);
    tool.run(&["folders", "rename", "work/Old", "New", "--dry-run"]).expect_code(0);
    assert!(listed(&user).contains(&"Old".to_owned()));
    let output = tool.run(&["folders", "rename", "work/Old", "Top/New"]).expect_code(0);
    assert_eq!(output.text(), "renamed\twork\tOld\tTop/New\t\n");
    assert!(!listed(&user).iter().any(|name| name.starts_with("Old")), "{:?}", listed(&user));
    assert_eq!(user.bodies("Top/New/Sub"), [b"Subject: a\r\n\r\n".to_vec()]);
    assert_eq!(subscribed(&user), ["Top/New", "Top/New/Sub"]);
    // With the account before it, too.
    tool.run(&["folders", "rename", "work/Top/New", "work/Back"]).expect_code(0);
    assert!(listed(&user).contains(&"Back/Sub".to_owned()));
}

#[test]
fn what_cannot_be_renamed_is_left_alone_and_said_why() {
    let server = Imapd::start(Behaviour::default());
    server.fill("A", &[]);
    server.fill("B", &[]);
    let tool = tool_of(&server);
    tool.server("other", Some(&server.url()), None);
    for (from, to, words) in [
        ("work/INBOX", "Old", "INBOX keeps its name"),
        ("work/A", "B", "there is a folder B already"),
        ("work/A", "A/B", "A cannot become A/B"),
        ("work/A", "inbox", "cannot become INBOX"),
        ("work/Missing", "C", "there is no folder Missing"),
        ("work/A", "other/C", "keeps to its account"),
        ("work/A", "imaps://ann@h/C", "keeps to its account"),
        ("work/A", "a//b", "empty level"),
        ("work/A", "a\nb", "control character"),
        ("work/A", "a?tls=none", "%3F"),
        ("work", "C", "which folder?"),
        ("maildir:x//A", "C", "only folders of an IMAP account"),
    ] {
        tool.run(&["folders", "rename", from, to]).expect_code(2).expect_stderr(words);
    }
    assert_eq!(server.folders(), ["A", "B", "INBOX"]);
    assert!(server.log().iter().all(|line| !line.contains("RENAME")));
}

#[test]
fn a_folder_with_messages_goes_only_by_force_and_under_the_ceiling() {
    let user = dovecot_user!("folders-delete");
    user.create("Empty");
    let sixty: Vec<Vec<u8>> = (0..60).map(|number| format!("Subject: {number}\r\n\r\n").into_bytes()).collect();
    user.deliver("Full", &sixty);
    user.deliver("Few", &sixty[..3]);
    user.client().subscribe("Empty").unwrap();
    let tool = tool_for(&user);
    tool.run(&["folders", "delete", "work/Empty", "--dry-run"]).expect_code(0);
    assert!(listed(&user).contains(&"Empty".to_owned()));
    assert_eq!(tool.run(&["folders", "delete", "work/Empty"]).expect_code(0).text(), "deleted\twork\tEmpty\t\t0\n");
    assert!(!listed(&user).contains(&"Empty".to_owned()) && !subscribed(&user).contains(&"Empty".to_owned()));

    tool.run(&["folders", "delete", "work/Few"]).expect_code(10).expect_stderr("Few holds 3 messages; with --force");
    tool.run(&["folders", "delete", "work/Full", "--force"]).expect_code(10).expect_stderr("--max-delete 60");
    tool.run(&["folders", "delete", "work/Full", "--force", "--max-delete", "59"]).expect_code(10);
    assert_eq!(user.bodies("Full").len(), 60);
    // One after the other: the ceiling counts them together.
    let output = tool.run(&["folders", "delete", "work/Few", "work/Full", "--force"]).expect_code(3).expect_stderr("with Full 63 messages");
    assert!(output.text().starts_with("deleted\twork\tFew\t\t3\nrefused\twork\tFull\t"), "{output}");
    tool.run(&["folders", "delete", "work/Full", "--force", "--max-delete", "100%"]).expect_code(0);
    assert!(!listed(&user).iter().any(|name| name == "Full" || name == "Few"));
    tool.run(&["folders", "delete", "work/INBOX", "--force"]).expect_code(2).expect_stderr("INBOX cannot be deleted");
    tool.run(&["folders", "delete", "work/Gone"]).expect_code(2).expect_stderr("there is no folder Gone");
}

#[test]
fn folders_below_a_deleted_one_stay_and_one_that_is_only_there_for_them_is_kept() {
    let user = dovecot_user!("folders-children");
    user.create("Top/Sub");
    user.create("Top");
    let tool = tool_for(&user);
    tool.run(&["folders", "delete", "work/Top"]).expect_code(0).expect_stderr("what lies below Top stays: 1 folder");
    assert!(listed(&user).contains(&"Top/Sub".to_owned()));
    tool.run(&["folders", "delete", "work/Top"]).expect_code(2).expect_stderr("Top is there only for what lies below it: 1 folder");
    let document = tool.run(&["folders", "work", "--json"]).expect_code(0).json();
    assert!(row(&document, "Top")["selectable"] == false && row(&document, "Top")["messages"].is_null(), "{document}");
    assert!(listed(&user).contains(&"Top/Sub".to_owned()));
}

#[test]
fn subscriptions_come_and_go_and_nothing_else_does() {
    let user = dovecot_user!("folders-subscribe");
    user.create("A");
    user.create("B");
    let tool = tool_for(&user);
    tool.run(&["folders", "subscribe", "work/A", "work/B", "--dry-run"]).expect_code(0);
    assert!(subscribed(&user).is_empty());
    tool.run(&["folders", "subscribe", "work/A", "work/B"]).expect_code(0);
    assert_eq!(subscribed(&user), ["A", "B"]);
    tool.run(&["folders", "unsubscribe", "work/A"]).expect_code(0);
    assert_eq!(subscribed(&user), ["B"]);
    assert!(listed(&user).contains(&"A".to_owned()));
}

#[test]
fn one_account_is_logged_in_to_once_and_one_failure_hides_no_other() {
    let server = Imapd::start(Behaviour::default().fault("CREATE", 2, CommandFault::Refuse("NO [LIMIT] too many".to_owned())));
    let tool = tool_of(&server);
    let output = tool.run(&["folders", "create", "work/A", "work/B", "work/C", "--json"]).expect_code(3);
    let results: Vec<&str> = output.json()["folders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| match row["result"].as_str() {
            Some("created") => "created",
            _ => "refused",
        })
        .collect();
    assert_eq!(results, ["created", "refused", "created"]);
    assert_eq!(server.connections(), 1);
    assert_eq!(server.folders(), ["A", "C", "INBOX"]);
    let error: Value = serde_json::from_str(output.stderr.lines().next().unwrap()).unwrap();
    assert_eq!((&error["code"], &error["server_said"]), (&6.into(), &"NO [LIMIT] too many".into()));
}

#[test]
fn a_folder_outside_the_own_namespace_is_opened_by_the_name_it_is_shown_under() {
    let user = dovecot_user!("folders-odd-open");
    user.create("Plain");
    let server = Imapd::start(Behaviour::default());
    // Written in plain UTF-8, which is no correct name, and with a level that is empty.
    server.fill("Entwürfe", &[b"Subject: found\r\n\r\n".to_vec()]);
    server.fill("a//b", &[b"Subject: there\r\n\r\n".to_vec()]);
    let tool = tool_of(&server);
    assert!(tool.run(&["list", "work/Entwürfe"]).expect_code(0).text().contains("found"));
    assert!(tool.run(&["list", "work/a/b"]).expect_code(0).text().contains("there"));
}
