//! `schema`: what it prints, and that documents keep to it. Every run of every test is held to the schemas as well: the
//! cage the program runs in sees to that.

use serde_json::{Value, json};

use crate::support::imapd::{Behaviour, Imapd};
use crate::support::schema;
use crate::support::tool::Tool;

#[test]
fn every_schema_is_listed_and_printed() {
    let tool = Tool::new();
    let names = tool.run(&["schema"]).expect_code(0).text();
    for name in ["list", "fetch", "folders", "migrate", "error", "progress"] {
        assert!(names.lines().any(|line| line == name), "{names}");
    }
    for name in names.lines() {
        let printed = tool.run(&["schema", name]).expect_code(0).json();
        assert_eq!(printed["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
    }
    tool.run(&["schema", "nothing"]).expect_code(2);
}

#[test]
fn documents_of_every_kind_keep_to_their_schemas() {
    let server = Imapd::start(Behaviour::default());
    server.fill("INBOX", &[b"From: Ann <a@example.org>\r\nSubject: x\r\n\r\ny\r\n".to_vec(), b"\r\n".to_vec()]);
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool.server("new", Some(&Imapd::start(Behaviour::default()).url()), None);
    let to = tool.text("files");
    for args in [
        &["list", "work", "--json"][..],
        &["folders", "work", "--json"],
        &["folders", "create", "work/A", "--json"],
        &["folders", "rename", "work/A", "B", "--json", "--dry-run"],
        &["fetch", "work", "--to", &to, "--json"],
    ] {
        let document = tool.run(args).expect_code(0).json();
        let schema = schema::of(&document).unwrap_or_else(|| panic!("no schema for {document}"));
        assert_eq!(schema::faults(&document, schema), Vec::<String>::new());
    }
    let error: Value = serde_json::from_str(&tool.run(&["list", "nowhere", "--json"]).expect_code(2).stderr).unwrap();
    assert_eq!(schema::faults(&error, &schema::all()["error"]), Vec::<String>::new());
}

#[test]
fn the_judge_finds_what_it_is_there_for() {
    let folders = &schema::all()["folders"];
    let good = json!({"schema": "mailhaul.folders/1", "place": "work", "folders": []});
    assert!(schema::faults(&good, folders).is_empty());
    for bad in [
        json!({"schema": "mailhaul.list/1", "place": "work", "folders": []}),
        json!({"schema": "mailhaul.folders/1", "folders": []}),
        json!({"schema": "mailhaul.folders/1", "place": 1, "folders": []}),
        json!({"schema": "mailhaul.folders/1", "place": "work", "folders": [{}]}),
        json!({"schema": "mailhaul.folders/1", "place": "work", "folders": {}}),
        json!([]),
    ] {
        assert!(!schema::faults(&bad, folders).is_empty(), "{bad}");
    }
}
