//! `fetch --attachments`: file names out of mail are hostile, and nothing leaves the directory, is replaced or is lost.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use serde_json::Value;

use crate::dovecot_user;
use crate::support::names::texts;
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::{Output, Tool};
use crate::support::{mail, tls};

fn fetch(tool: &Tool, args: &[&str]) -> Output {
    let (password, ca) = (tool.password_file(), tls::identity().ca_file());
    let fixed = ["fetch", "--password-file", password.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()];
    tool.run(&fixed.iter().chain(args).map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
}

/// The same name in every way that mail programs write it.
fn spellings(name: &str) -> Vec<String> {
    let percent: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(name);
    let mut all = vec![
        format!("Content-Disposition: attachment; filename*=utf-8''{percent}"),
        format!("Content-Disposition: attachment; filename=\"=?utf-8?B?{encoded}?=\""),
    ];
    if !name.contains(['\r', '\n', '\0']) {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        all.push(format!("Content-Disposition: attachment; filename=\"{quoted}\""));
        all.push(format!("Content-Type: application/octet-stream; name=\"{quoted}\""));
    }
    // RFC 2231 continuations, cut between two octets that mean nothing alone.
    let (first, second) = percent.split_at(percent.len() / 6 * 3);
    all.push(format!("Content-Disposition: attachment;\r\n filename*0*=utf-8''{first};\r\n filename*1*={second}"));
    all
}

fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                let content = if kind.is_symlink() { b"link".to_vec() } else { std::fs::read(entry.path()).unwrap() };
                found.insert(name, content);
            }
        }
    }
    found
}

#[test]
fn hostile_names_stay_in_the_directory_replace_nothing_and_lose_nothing() {
    let user = dovecot_user!("fetch-hostile-names");
    let names = texts();
    let mut contents = Vec::new();
    let mut messages = Vec::new();
    for (number, chunk) in names.chunks(20).enumerate() {
        let mut message = format!("Subject: {number}\r\nContent-Type: multipart/mixed; boundary=xxxx\r\n\r\n");
        for spelling in chunk.iter().flat_map(|name| spellings(name)) {
            let content = format!("content {}", contents.len());
            message.push_str(&format!("--xxxx\r\n{spelling}\r\n\r\n{content}\r\n"));
            contents.push(content.into_bytes());
        }
        message.push_str("--xxxx--\r\n");
        messages.push(message.into_bytes());
    }
    assert!(names.len() >= 400 && contents.len() >= 1600, "{} names, {} attachments", names.len(), contents.len());
    user.deliver("INBOX", &messages);
    let tool = Tool::new();
    let dir = tool.path("deep/er/files");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(tool.path("deep/precious"), "precious").unwrap();
    std::fs::write(dir.join("planted.txt"), "mine").unwrap();
    std::fs::write(tool.path("deep/target"), "target").unwrap();
    std::os::unix::fs::symlink(tool.path("deep/target"), dir.join("planted-link")).unwrap();
    std::fs::create_dir(dir.join("planted-dir")).unwrap();
    let run = || fetch(&tool, &[&user.imaps(), "--attachments", &tool.text("deep/er/files"), "--json"]).expect_code(0).json();
    let mut first = None;
    for round in 0..2 {
        let report = run();
        let rows = report["attachments"].as_array().unwrap();
        assert_eq!(rows.len(), contents.len(), "each attachment is told of");
        assert!(rows.iter().all(|row| row["already_there"] == (round == 1)), "round {round}");
        for row in rows {
            let path = Path::new(row["path"].as_str().unwrap());
            assert_eq!(path.parent().unwrap(), dir, "{row}");
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.len() <= 255 && !name.starts_with(['.', '-', '~', ' ']) && !name.ends_with(['.', ' ']), "{name:?}");
            assert!(!name.chars().any(|c| c.is_control() || "/\\:*?\"<>|\u{202e}\u{200b}\u{2066}\u{feff}".contains(c)), "{name:?}");
            let stem = name.split('.').next().unwrap().to_ascii_uppercase();
            assert!(!["CON", "PRN", "AUX", "NUL", "COM1", "COM9", "LPT1", "LPT9"].contains(&stem.as_str()), "{name:?}");
        }
        let files = tree(&tool.path(""));
        let mut saved: Vec<Vec<u8>> =
            files.iter().filter(|(_, content)| content.starts_with(b"content ")).map(|(_, content)| content.clone()).collect();
        let mut expected = contents.clone();
        saved.sort();
        expected.sort();
        assert!(saved == expected, "every content once");
        assert_eq!(files.len(), contents.len() + 4, "and nothing else: {:?}", files.keys());
        assert_eq!((files["deep/precious"].as_slice(), files["deep/target"].as_slice()), (&b"precious"[..], &b"target"[..]));
        assert_eq!(
            (files["deep/er/files/planted.txt"].as_slice(), files["deep/er/files/planted-link"].as_slice()),
            (&b"mine"[..], &b"link"[..])
        );
        assert!(first.replace(files.clone()).is_none_or(|before| before == files), "a second run changes nothing");
    }
}

#[test]
fn filters_choose_by_name_and_type_and_look_into_attached_messages() {
    let message = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntext\r\n--m\r\nContent-Type: application/pdf; name=One.PDF\r\n\r\none\r\n\
        --m\r\nContent-Type: application/octet-stream; name=two.pdf\r\n\r\ntwo\r\n--m\r\nContent-Type: image/png\r\nContent-Disposition: inline\r\n\r\nthree\r\n\
        --m\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: application/pdf; name=inner.pdf\r\n\r\ninner\r\n--m--\r\n"
        .to_vec();
    let pop3 = Pop3d::start(pop3d::Behaviour::default(), &[message, mail::plain(1, 20)]);
    let tool = Tool::new();
    let saved = |dir: &str, args: &[&str]| {
        let report = fetch(&tool, &[&[pop3.url().as_str(), "--attachments", dir, "-o", "json"], args].concat()).expect_code(0).json();
        let rows: Vec<(u64, String)> = report["attachments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                (
                    row["number"].as_u64().unwrap(),
                    Path::new(row["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned(),
                )
            })
            .collect();
        assert_eq!(report["schema"], "mailhaul.fetch-attachments/1");
        rows.into_iter().map(|(number, name)| format!("{number} {name}")).collect::<Vec<_>>()
    };
    assert_eq!(saved("all", &[]), ["1 One.PDF", "1 two.pdf", "1 attachment-4.png", "1 attachment-5.eml"]);
    assert_eq!(saved("pdf", &["--type", "application/pdf"]), ["1 One.PDF", "1 inner.pdf"]);
    assert_eq!(saved("named", &["--name", "*.pdf"]), ["1 One.PDF", "1 two.pdf", "1 inner.pdf"]);
    assert_eq!(saved("both", &["--name", "*.pdf", "--type", "application/pdf", "--type", "image/*"]), ["1 One.PDF", "1 inner.pdf"]);
    assert!(saved("none", &["--type", "video/*"]).is_empty());
    assert_eq!(std::fs::read(tool.path("all/attachment-5.eml")).unwrap(), b"Content-Type: application/pdf; name=inner.pdf\r\n\r\ninner");
    let rows = fetch(&tool, &[&pop3.url(), "1", "--attachments", "tsv"]).expect_code(0).text();
    assert_eq!(rows.lines().next().unwrap(), "1\t2\tapplication/pdf\t3\ttsv/One.PDF");
    let again: Value = fetch(&tool, &[&pop3.url(), "1", "--attachments", "tsv", "-o", "json"]).expect_code(0).json();
    assert!(again["attachments"].as_array().unwrap().iter().all(|row| row["already_there"] == true));
}
