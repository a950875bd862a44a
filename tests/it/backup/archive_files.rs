//! A store without this program: `sha256sum` checks it, Python's `mailbox` reads it, Dovecot serves it, a mail program may
//! change it, and nobody else can look into it, whatever the umask.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::dovecot_user;
use crate::support::dovecot::Seen;
use crate::support::imapd::{Behaviour, Imapd, Stored};
use crate::support::mail;
use crate::support::store::{self, Layout};
use crate::support::tool::{Output, Tool};

const FOLDERS: [&str; 4] = ["INBOX", "Archive/2019", "Entw&APw-rfe", "a.b"];
const LAYOUTS: [Layout; 3] = [Layout::Maildir, Layout::Eml, Layout::Mbox];

fn bodies() -> Vec<Vec<u8>> {
    let mut bodies = mail::many(20, 700);
    bodies.extend(mail::nasty().into_iter().map(|(_, body)| body).filter(|body| mail::is_appendable(body)));
    bodies.push(mail::plain(3, 100));
    bodies.push(mail::plain(3, 100));
    bodies
}

/// A server with mail in several folders, flags and keywords among it.
fn server() -> Imapd {
    let server = Imapd::start(Behaviour::default());
    for folder in FOLDERS {
        let letters: Vec<Stored> = bodies().into_iter().map(Stored::new).collect();
        super::scene::put(&server, folder, letters);
        server.change(folder, |mailbox| {
            for (number, message) in mailbox.messages.iter_mut().enumerate() {
                let flags: &[&str] = [&[][..], &["\\Seen"], &["\\Answered", "\\Flagged", "\\Seen"], &["$Work", "\\Draft"]][number % 4];
                message.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
                message.internal_date = format!("{:02}-Sep-2001 01:46:40 +0200", 1 + number % 28);
            }
        });
    }
    server
}

fn tool(server: &Imapd) -> Tool {
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), None);
    tool
}

fn backup(tool: &Tool, layout: Layout) -> Output {
    tool.run(&["backup", "work", &layout.place("store"), "--json"]).expect_code(0)
}

fn sha256sum(root: &Path) -> std::process::Output {
    Command::new("sh").args(["-c", "sha256sum --check --strict --quiet *.sha256"]).current_dir(root).output().unwrap()
}

/// As a mail program sees a body: LF alone.
fn plain(body: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(body).replace("\r\n", "\n").into_bytes()
}

#[test]
fn sha256sum_checks_every_file_of_a_store_and_notices_one_flipped_bit() {
    let server = server();
    for layout in LAYOUTS {
        let tool = tool(&server);
        backup(&tool, layout);
        let root = tool.path("store");
        let good = sha256sum(&root);
        assert!(good.status.success(), "{layout:?}: {good:?}");
        let manifest = fs::read_to_string(root.join("work.sha256")).unwrap();
        let lines = if layout == Layout::Mbox { FOLDERS.len() } else { FOLDERS.len() * bodies().len() };
        assert_eq!(manifest.lines().count(), lines, "{layout:?}");
        let victim = root.join(manifest.lines().last().unwrap().split_once("  ").unwrap().1);
        let mut bytes = fs::read(&victim).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&victim, bytes).unwrap();
        assert!(!sha256sum(&root).status.success(), "{layout:?}");
    }
}

#[test]
fn nobody_else_can_look_into_a_store_whatever_the_umask() {
    let server = server();
    for layout in LAYOUTS {
        let tool = tool(&server);
        let args = ["backup", "work", &layout.place("store")];
        tool.run_under(&["sh", "-c", "umask 000; exec \"$@\"", "sh"], &args).expect_code(0);
        let mut all = vec![tool.path("store")];
        let mut files = 0;
        while let Some(path) = all.pop() {
            let found = fs::symlink_metadata(&path).unwrap();
            let wanted = if found.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(found.permissions().mode() & 0o7777, wanted, "{layout:?}: {}", path.display());
            if found.is_dir() {
                all.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                files += 1;
            }
        }
        assert!(files > FOLDERS.len());
    }
}

#[test]
fn python_reads_a_store() {
    const SCRIPT: &str = "
import hashlib, json, mailbox, os, sys
def letters(box, flags):
    told = []
    for key in box.keys():
        message = box[key]
        told.append([hashlib.sha256(box.get_bytes(key)).hexdigest(), ''.join(sorted(message.get_flags())), int(message.get_date()) if flags else 0])
    return sorted(told)
root, layout = sys.argv[1:]
found = {}
if layout == 'maildir':
    top = mailbox.Maildir(root, create=False)
    found['INBOX'] = letters(top, True)
    for name in top.list_folders():
        found[name] = letters(top.get_folder(name), True)
else:
    for directory, _, names in os.walk(root):
        for name in names:
            box = mailbox.mbox(os.path.join(directory, name), create=False)
            found[os.path.relpath(os.path.join(directory, name), root)] = letters(box, False)
print(json.dumps(found))
";
    let server = server();
    let read = |tool: &Tool, layout: &str| -> BTreeMap<String, Vec<(String, String, i64)>> {
        let root = tool.path("store/work");
        let output = Command::new("python3").args(["-c", SCRIPT, root.to_str().unwrap(), layout]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let hash = |bytes: &[u8]| {
        use sha2::Digest;
        sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let inbox = server.mailbox("INBOX");

    let tool_maildir = tool(&server);
    backup(&tool_maildir, Layout::Maildir);
    let found = read(&tool_maildir, "maildir");
    // Dots part levels there, and what is a dot in a level stands as %2E.
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), ["INBOX", "Archive.2019", "Entw&APw-rfe", "a%2Eb"].into());
    let mut wanted: Vec<(String, String, i64)> = inbox
        .messages
        .iter()
        .map(|message| {
            let letter = |(flag, letter): (&str, char)| message.flags.iter().any(|one| one == flag).then_some(letter);
            let flags = [("\\Draft", 'D'), ("\\Flagged", 'F'), ("\\Answered", 'R'), ("\\Seen", 'S'), ("$Work", 'a')];
            // A message with other line ends than CRLF is kept as it came.
            let crlf = message.body.windows(2).filter(|pair| pair == b"\r\n").count();
            let count = |wanted: u8| message.body.iter().filter(|byte| **byte == wanted).count();
            let whole = crlf > 0 && count(b'\r') == crlf && count(b'\n') == crlf;
            let bytes = if whole { message.body.iter().copied().filter(|byte| *byte != b'\r').collect() } else { message.body.clone() };
            (hash(&bytes), flags.into_iter().filter_map(letter).collect(), store::seconds(&message.internal_date))
        })
        .collect();
    wanted.sort();
    assert_eq!(found["INBOX"], wanted);

    let tool_mbox = tool(&server);
    backup(&tool_mbox, Layout::Mbox);
    let found = read(&tool_mbox, "mbox");
    assert_eq!(
        found.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        ["INBOX.mbox", "Archive/2019.mbox", "Entwürfe.mbox", "a%2Eb.mbox"].into()
    );
    assert!(found.values().all(|letters| letters.len() == bodies().len()));
    // Where nothing had to be quoted, the very lines.
    let known: BTreeSet<&String> = found["INBOX.mbox"].iter().map(|(hash, _, _)| hash).collect();
    for body in mail::many(20, 700) {
        assert!(known.contains(&hash(&plain(&body))));
    }
}

/// Content, flags and date of messages: what Dovecot must show.
fn shown(messages: &[Seen]) -> Vec<(String, Vec<String>, i64)> {
    let mut shown: Vec<_> =
        messages.iter().map(|message| (mail::content_digest(&message.body), message.flags.clone(), message.internal_date)).collect();
    shown.sort();
    shown
}

#[test]
fn dovecot_serves_a_store_and_what_it_does_to_the_files_costs_nothing() {
    let reader = dovecot_user!("backup-served");
    let server = server();
    let tool = tool(&server);
    backup(&tool, Layout::Maildir);
    let root = tool.path("store");
    reader.serve(&root.join("work"));
    let folders: BTreeSet<String> = reader.folders().into_iter().collect();
    // Dovecot shows a folder by its directory: levels are as on the server, and what stands as %2E there is so shown.
    for (folder, there) in [("INBOX", "INBOX"), ("Archive/2019", "Archive/2019"), ("Entw&APw-rfe", "Entwürfe"), ("a.b", "a%2Eb")] {
        let mut wanted: Vec<(String, Vec<String>, i64)> = server
            .mailbox(folder)
            .messages
            .iter()
            .map(|message| {
                let mut flags = message.flags.clone();
                flags.sort();
                (mail::content_digest(&message.body), flags, store::seconds(&message.internal_date))
            })
            .collect();
        wanted.sort();
        assert_eq!(shown(&reader.messages(there)), wanted, "{folder} among {folders:?}");
    }
    // A mail program at work: it marks mail in all ways, and its files come back into the store.
    let mut client = reader.client();
    client.select("INBOX").unwrap();
    client.store("1:10", "FLAGS (\\Flagged \\Deleted $New)").unwrap();
    client.logout().unwrap();
    let home = reader.home().join("Maildir");
    let owner = fs::metadata(&root).map(|meta| (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta)));
    let (uid, gid) = owner.unwrap();
    fs::remove_dir_all(root.join("work")).unwrap();
    assert!(Command::new("cp").arg("-a").arg(&home).arg(root.join("work")).status().unwrap().success());
    assert!(Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(root.join("work")).status().unwrap().success());
    // New mail and flags that change on the server, over files that have other names by now.
    super::scene::put(&server, "INBOX", vec![Stored::new(mail::plain(99, 300))]);
    server.change("INBOX", |mailbox| {
        let uids: Vec<u32> = mailbox.messages.iter().map(|message| message.uid).take(3).collect();
        uids.into_iter().for_each(|uid| mailbox.reflag(uid, "\\Answered"));
    });
    let summary = backup(&tool, Layout::Maildir).json();
    assert_eq!(summary["copied"], 1, "{summary:#}");
    let lying = store::lying(&root, "work", Layout::Maildir);
    let stems: BTreeSet<(&str, &str)> = lying.iter().map(|lying| (lying.folder.as_str(), lying.stem.as_str())).collect();
    assert_eq!((lying.len(), stems.len()), (FOLDERS.len() * bodies().len() + 1, lying.len()));
    let good = sha256sum(&root);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
}

/// The commands in a section of a page, one after the other.
fn commands(page: &str, section: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let text = text.split_once(section).unwrap().1.to_owned();
    text.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

#[test]
fn mail_comes_out_of_a_store_by_the_commands_of_the_manual_alone() {
    let server = server();
    for layout in [Layout::Maildir, Layout::Eml] {
        let tool = tool(&server);
        backup(&tool, layout);
        let run = |command: &str, out: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-ec", command]).env("STORE", tool.path("store")).env("OUT", tool.path(out));
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{layout:?}: {command}\n{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let commands = commands("docs/formats.md", "### Getting mail out");
        let [digests, mbox, octets, figures] = &commands[..] else { panic!("{} commands", commands.len()) };
        run(digests, "");
        if layout == Layout::Maildir {
            fs::create_dir(tool.path("mbox")).unwrap();
            run(mbox, "mbox");
            let found: Vec<_> = fs::read_dir(tool.path("mbox")).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(found.len(), FOLDERS.len());
            for file in found {
                let bytes = fs::read(&file).unwrap();
                let count = bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"From MAILER-DAEMON ")).count();
                assert_eq!(count, bodies().len(), "{}", file.display());
            }
        }
        run(octets, "octets");
        let index: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(tool.path("octets/index.json")).unwrap()).unwrap();
        for folder in FOLDERS {
            let name = folder.replace("&APw-", "ü");
            let mut found: Vec<(Vec<u8>, Vec<String>, i64)> = index
                .iter()
                .filter(|one| one["folder"] == name.as_str())
                .map(|one| {
                    let flags = one["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap().to_owned()).collect();
                    (fs::read(tool.path("octets").join(one["file"].as_str().unwrap())).unwrap(), flags, one["date"].as_i64().unwrap())
                })
                .collect();
            let mut wanted: Vec<(Vec<u8>, Vec<String>, i64)> = server
                .mailbox(folder)
                .messages
                .into_iter()
                .map(|mut message| {
                    message.flags.sort_by_key(|flag| flag.to_lowercase());
                    (message.body, message.flags, store::seconds(&message.internal_date))
                })
                .collect();
            found.sort();
            wanted.sort();
            assert!(found == wanted, "{layout:?}: {folder}: {} and {}", found.len(), wanted.len());
        }
        assert_eq!(run(figures, "").lines().count(), FOLDERS.len());
    }
}
