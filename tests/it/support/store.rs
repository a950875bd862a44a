//! A store of backups as anybody can read it, without a line of the program's own code: its files, what their names and
//! times say, its manifests through `sha256sum`, its journal through SQLite. Two views come of it: the mail, which is held
//! against a server's as a multiset, and the tree, which is held against the tree an undisturbed run left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::imapd::{Imapd, Mailbox};
use super::mail::content_digest;

/// How messages lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Maildir,
    Mbox,
    Eml,
}

impl Layout {
    /// As the program's argument.
    pub fn place(self, path: &str) -> String {
        match self {
            Self::Maildir => format!("maildir:{path}"),
            Self::Mbox => format!("mbox:{path}"),
            Self::Eml => format!("eml:{path}"),
        }
    }
}

/// A message, wherever it is: what must be the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    /// Content digest.
    pub content: String,
    /// Flags and keywords in wire form.
    pub flags: BTreeSet<String>,
    /// INTERNALDATE, seconds since 1970 UTC.
    pub date: i64,
}

/// How often each message stands in each folder (`/` between levels). A folder without messages counts as none.
pub type Mail = BTreeMap<String, BTreeMap<Letter, usize>>;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The mail of a server in memory.
pub fn served(server: &Imapd) -> Mail {
    let mut mail = Mail::new();
    for folder in server.folders() {
        add(&mut mail, &folder, &server.mailbox(&folder));
    }
    mail
}

/// Adds the messages of a mailbox.
pub fn add(mail: &mut Mail, folder: &str, mailbox: &Mailbox) {
    for message in &mailbox.messages {
        let flags = message.flags.iter().filter(|flag| *flag != "\\Recent").cloned().collect();
        let letter = Letter { content: content_digest(&message.body), flags, date: seconds(&message.internal_date) };
        *mail.entry(folder.to_owned()).or_default().entry(letter).or_default() += 1;
    }
}

/// An INTERNALDATE in wire form.
pub fn seconds(date: &str) -> i64 {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = date.trim().splitn(3, '-').flat_map(|word| word.splitn(3, ' ')).collect();
    let [day, month, year, time, zone] = words[..] else { panic!("{date:?} is no date") };
    let month = months.iter().position(|name| *name == month).unwrap() + 1;
    let text = format!("{year}-{month:02}-{day:0>2}T{time}{}:{}", &zone[..3], &zone[3..]);
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

/// Adds all of `more`.
pub fn join(mail: &mut Mail, more: &Mail) {
    for (folder, letters) in more {
        for (letter, count) in letters {
            *mail.entry(folder.clone()).or_default().entry(letter.clone()).or_default() += count;
        }
    }
}

/// Only what the layout keeps in its files: flags are a Maildir's alone, dates not an mbox's.
pub fn as_kept(mail: &Mail, layout: Layout) -> Mail {
    let mut kept = Mail::new();
    for (folder, letters) in mail {
        for (letter, count) in letters {
            let mut letter = letter.clone();
            if layout != Layout::Maildir {
                letter.flags.clear();
            }
            if layout == Layout::Mbox {
                letter.date = 0;
            }
            *kept.entry(folder.clone()).or_default().entry(letter).or_default() += count;
        }
    }
    kept
}

/// A message's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lying {
    /// Its path below the root.
    pub path: String,
    /// Its folder, `/` between levels.
    pub folder: String,
    /// Its name without the flags.
    pub stem: String,
    /// What it holds.
    pub letter: Letter,
}

/// The messages of an account's directory.
pub fn lying(root: &Path, account: &str, layout: Layout) -> Vec<Lying> {
    let top = root.join(account);
    let mut found = Vec::new();
    match layout {
        Layout::Maildir => {
            maildir(root, &top, "INBOX", &mut found);
            for directory in names(&top).into_iter().filter(|name| name.starts_with('.')) {
                let way = top.join(&directory);
                // A name too long for a directory stands in full in a file beside the mail.
                let whole = fs::read_to_string(way.join("mailhaul-folder")).ok().map(|name| name.trim_end_matches('\n').to_owned());
                let folder =
                    whole.unwrap_or_else(|| directory[1..].split('.').map(|name| level(&from_utf7(name))).collect::<Vec<_>>().join("/"));
                maildir(root, &way, &folder, &mut found);
            }
        }
        Layout::Eml | Layout::Mbox => files(root, &top, "", layout, &mut found),
    }
    found
}

/// The mail of an account's directory.
pub fn mail(root: &Path, account: &str, layout: Layout) -> Mail {
    let mut mail = Mail::new();
    for lying in lying(root, account, layout) {
        *mail.entry(lying.folder).or_default().entry(lying.letter).or_default() += 1;
    }
    mail
}

/// What a name in modified UTF-7 says; as it stands where it is none.
fn from_utf7(name: &str) -> String {
    use base64::Engine as _;
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
    );
    let mut text = String::new();
    let mut rest = name;
    while let Some((plain, shifted)) = rest.split_once('&') {
        text.push_str(plain);
        let Some((units, behind)) = shifted.split_once('-') else { return name.to_owned() };
        if units.is_empty() {
            text.push('&');
        } else {
            let Ok(bytes) = engine.decode(units.replace(',', "/")) else { return name.to_owned() };
            let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])).collect();
            let Ok(decoded) = String::from_utf16(&units) else { return name.to_owned() };
            text.push_str(&decoded);
        }
        rest = behind;
    }
    text + rest
}

/// A level of a directory's name with what it escapes (`%2E`) spelled out, as folders are named everywhere: `%2F` and `%25` stay.
fn level(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| name.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok())).flatten();
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).map_or_else(|_| name.to_owned(), |text| text.replace('%', "%25").replace('/', "%2F"))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
}

fn maildir(root: &Path, directory: &Path, folder: &str, into: &mut Vec<Lying>) {
    let keywords: BTreeMap<char, String> = fs::read_to_string(directory.join("dovecot-keywords"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let (number, keyword) = line.split_once(' ')?;
            Some((char::from(b'a' + number.parse::<u8>().ok()?), keyword.to_owned()))
        })
        .collect();
    for half in ["cur", "new"] {
        for name in names(&directory.join(half)) {
            let path = directory.join(half).join(&name);
            let (stem, info) = name.split_once(":2,").unwrap_or((&name, ""));
            let flags = info.chars().map(|letter| match letter {
                'S' => "\\Seen".to_owned(),
                'R' => "\\Answered".to_owned(),
                'F' => "\\Flagged".to_owned(),
                'T' => "\\Deleted".to_owned(),
                'D' => "\\Draft".to_owned(),
                'P' => "$Forwarded".to_owned(),
                letter => keywords.get(&letter).unwrap_or_else(|| panic!("{letter} in {name} means nothing")).clone(),
            });
            let letter = Letter {
                content: content_digest(&fs::read(&path).unwrap()),
                flags: flags.collect(),
                date: fs::metadata(&path).unwrap().mtime(),
            };
            into.push(Lying { path: below(root, &path), folder: folder.to_owned(), stem: stem.to_owned(), letter });
        }
    }
}

fn files(root: &Path, directory: &Path, folder: &str, layout: Layout, into: &mut Vec<Lying>) {
    for name in names(directory) {
        let path = directory.join(&name);
        let inner = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if path.is_dir() {
            files(root, &path, &inner(&name), layout, into);
        } else if let (Layout::Eml, Some(stem)) = (layout, name.strip_suffix(".eml")) {
            let letter = Letter {
                content: content_digest(&fs::read(&path).unwrap()),
                flags: BTreeSet::new(),
                date: fs::metadata(&path).unwrap().mtime(),
            };
            // The account's directory is its INBOX.
            let folder = if folder.is_empty() { "INBOX" } else { folder };
            into.push(Lying { path: below(root, &path), folder: folder.to_owned(), stem: stem.to_owned(), letter });
        } else if layout == Layout::Mbox {
            let folder = inner(name.strip_suffix(".mbox").unwrap_or(&name));
            for (offset, body) in mboxrd(&fs::read(&path).unwrap()) {
                let letter = Letter { content: content_digest(&body), flags: BTreeSet::new(), date: 0 };
                into.push(Lying { path: below(root, &path), folder: folder.clone(), stem: offset.to_string(), letter });
            }
        }
    }
}

/// The messages of an mboxrd file with the offsets of their envelope lines.
fn mboxrd(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
    let (mut offset, mut blank) = (0, true);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if blank && line.starts_with(b"From ") {
            found.push((offset, Vec::new()));
        } else if let Some((_, body)) = found.last_mut() {
            let quoted = line.first() == Some(&b'>') && line.iter().find(|&&byte| byte != b'>') == Some(&b'F') && {
                let unquoted: &[u8] = &line[line.iter().position(|&byte| byte != b'>').unwrap()..];
                unquoted.starts_with(b"From ")
            };
            body.extend_from_slice(if quoted { &line[1..] } else { line });
        }
        blank = line == b"\n" || line == b"\r\n";
        offset += line.len();
    }
    found
}

/// Everything outside the state directory by its path, as an undisturbed run leaves it too: flags resolved, so that neither the
/// half of a Maildir nor the letter of a keyword counts, and without the manifests and lists of keywords, which [`sound`] reads.
pub fn tree(root: &Path, layout: Layout) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    let accounts = names(root).into_iter().filter(|name| root.join(name).is_dir() && name != ".mailhaul");
    for account in accounts {
        for lying in lying(root, &account, layout) {
            // An mbox says where a message stands by the order in which it came, which a killed run may change.
            let stem = if layout == Layout::Mbox { String::new() } else { lying.stem };
            let Letter { content, flags, date } = lying.letter;
            let key = format!("{account}/{}/{stem} {content}", lying.folder);
            let number = tree.keys().filter(|there: &&String| there.starts_with(&key)).count();
            tree.insert(format!("{key} {number}"), format!("{flags:?} {date}"));
        }
        for directory in directories(&root.join(&account)) {
            tree.insert(format!("{}/", below(root, &directory)), String::new());
        }
    }
    tree
}

fn directories(top: &Path) -> Vec<PathBuf> {
    let mut found = vec![top.to_owned()];
    for name in names(top) {
        let path = top.join(name);
        if path.is_dir() {
            found.extend(directories(&path));
        }
    }
    found
}

/// Which inode stands under which path, and when it was last changed in any way: equal before and after a run that wrote, renamed
/// and touched nothing outside the state directory.
pub fn untouched(root: &Path) -> BTreeMap<String, (u64, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    walk(root, &mut |path, meta| {
        let name = below(root, path);
        // The root itself holds the state directory, whose entries come and go.
        if !name.is_empty() && !name.starts_with(".mailhaul") {
            found.insert(name, (meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.size()));
        }
    });
    found
}

fn walk(path: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let meta = fs::symlink_metadata(path).unwrap();
    each(path, &meta);
    if meta.is_dir() {
        for name in names(path) {
            walk(&path.join(name), each);
        }
    }
}

/// Insists on a store in order: nothing open to others, no link, nothing left in `tmp`, a manifest that `sha256sum` agrees with
/// and that names every message once and nothing else, a journal SQLite finds whole.
#[track_caller]
pub fn sound(root: &Path, layout: Layout, case: &str) {
    walk(root, &mut |path, meta| {
        assert!(meta.is_file() || meta.is_dir(), "{case}: {} is neither file nor directory", path.display());
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{case}: {} is open to others", path.display());
        let temporary = path.parent().is_some_and(|parent| parent.ends_with("tmp")) || path.to_str().unwrap().ends_with(".tmp");
        assert!(!temporary, "{case}: {} was left", path.display());
    });
    let mut listed = BTreeSet::new();
    let manifests: Vec<String> = names(root).into_iter().filter(|name| name.ends_with(".sha256")).collect();
    for manifest in &manifests {
        for line in fs::read_to_string(root.join(manifest)).unwrap().lines() {
            // `sha256sum` puts a backslash before lines whose names hold one.
            let path = line.trim_start_matches('\\').split_once("  ").unwrap().1.replace("\\\\", "\\");
            assert!(listed.insert(path), "{case}: twice in the manifest: {line}");
        }
    }
    if !listed.is_empty() {
        let mut command = Command::new("sha256sum");
        let output = command.args(["--check", "--strict", "--quiet"]).args(&manifests).current_dir(root).output().unwrap();
        assert!(output.status.success(), "{case}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    let mut there = BTreeSet::new();
    for account in names(root).into_iter().filter(|name| root.join(name).is_dir() && name != ".mailhaul") {
        there.extend(lying(root, &account, layout).into_iter().map(|lying| lying.path));
        if layout == Layout::Mbox {
            // A folder without messages is a file as well.
            walk(&root.join(&account), &mut |path, _| {
                if path.extension().is_some_and(|ending| ending == "mbox") && path.is_file() {
                    there.insert(below(root, path));
                }
            });
        }
    }
    assert_eq!(listed, there, "{case}: the manifest against what lies there");
    let journal = journal(root);
    let answer: String = journal.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok", "{case}: the journal");
    let broken: usize = journal.prepare("PRAGMA foreign_key_check").unwrap().query_map([], |_| Ok(())).unwrap().count();
    assert_eq!(broken, 0, "{case}: rows that point nowhere");
}

/// A copy of the journal, opened: the original stays as it is.
pub struct Journal {
    db: rusqlite::Connection,
    _copy: tempfile::TempDir,
}

impl std::ops::Deref for Journal {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &Self::Target {
        &self.db
    }
}

/// Opens the journal as it lies there with its log, whoever holds its lock.
pub fn journal(root: &Path) -> Journal {
    let state = root.join(".mailhaul");
    let copy = tempfile::Builder::new().prefix("mh-journal-").tempdir().unwrap();
    for name in names(&state).into_iter().filter(|name| name.starts_with("journal.db") && !name.ends_with("-shm")) {
        fs::copy(state.join(&name), copy.path().join(&name)).unwrap();
    }
    let db = rusqlite::Connection::open(copy.path().join("journal.db")).unwrap();
    Journal { db, _copy: copy }
}

/// How many files the journal of a run that is under way tells of; its files come and go while they are looked at.
pub fn recorded_by_now(root: &Path) -> i64 {
    let path = root.join(".mailhaul/journal.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let count = rusqlite::Connection::open_with_flags(path, flags)
        .and_then(|journal| journal.query_row("SELECT count(*) FROM file", [], |row| row.get::<_, i64>(0)));
    count.unwrap_or(0)
}

/// A file as the journal tells of it.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub account: String,
    pub folder: String,
    /// The name the folder is about to get.
    pub renaming_to: Option<String>,
    pub stem: String,
    pub octets: u64,
    /// SHA-256 in hex of the file's octets.
    pub digest: String,
}

/// All files the journal tells of, those about to be removed left out; none where there is no journal yet.
pub fn recorded(root: &Path) -> Vec<Recorded> {
    if !root.join(".mailhaul/journal.db").exists() {
        return Vec::new();
    }
    let journal = journal(root);
    let Ok(mut rows) = journal.prepare(
        "SELECT account.name, folder.name, folder.renaming_to, file.stem, file.octets, lower(hex(file.digest)) \
         FROM file JOIN folder ON folder.id = file.folder JOIN account ON account.id = folder.account WHERE removing = 0",
    ) else {
        // Died before the tables were made.
        return Vec::new();
    };
    let rows = rows.query_map([], |row| {
        Ok(Recorded {
            account: row.get(0)?,
            folder: row.get(1)?,
            renaming_to: row.get(2)?,
            stem: row.get(3)?,
            octets: row.get::<_, i64>(4)?.unsigned_abs(),
            digest: row.get(5)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Insists that whatever the journal tells of lies there and is what it says, wherever the run ended.
#[track_caller]
pub fn journal_tells_the_truth(root: &Path, layout: Layout, case: &str) {
    let recorded = recorded(root);
    let accounts: BTreeSet<&String> = recorded.iter().map(|file| &file.account).collect();
    let mut there: BTreeMap<(String, String, String), Vec<u8>> = BTreeMap::new();
    for account in accounts {
        for lying in lying(root, account, layout) {
            let bytes = fs::read(root.join(&lying.path)).unwrap();
            there.insert((account.clone(), lying.folder, lying.stem), bytes);
        }
    }
    for file in &recorded {
        let folders = [Some(&file.folder), file.renaming_to.as_ref()];
        let offset = file.stem.split('+').next().unwrap_or_default().to_owned();
        let stem = if layout == Layout::Mbox { &offset } else { &file.stem };
        let bytes = folders.into_iter().flatten().find_map(|folder| there.get(&(file.account.clone(), folder.clone(), stem.clone())));
        let bytes = bytes.unwrap_or_else(|| panic!("{case}: the journal tells of what is not there: {file:?}"));
        let bytes = if layout == Layout::Mbox {
            let start: usize = offset.parse().unwrap();
            bytes.get(start..start + usize::try_from(file.octets).unwrap()).unwrap_or_else(|| panic!("{case}: cut short: {file:?}"))
        } else {
            &bytes[..]
        };
        assert_eq!((bytes.len() as u64, hex(bytes)), (file.octets, file.digest.clone()), "{case}: not what the journal says: {file:?}");
    }
}

/// Where each message that is on the server stands, by the journal: folder, UIDVALIDITY, UID and content digest.
pub fn live(root: &Path) -> BTreeSet<(String, u32, u32, String)> {
    let journal = journal(root);
    let mut rows = journal
        .prepare(
            "SELECT folder.name, era.uid_validity, entry.uid, lower(hex(file.content)) FROM entry JOIN era ON era.id = entry.era \
             JOIN folder ON folder.id = era.folder JOIN file ON file.id = entry.file WHERE entry.gone_at IS NULL AND uid IS NOT NULL",
        )
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The same as the server has it.
pub fn live_served(server: &Imapd) -> BTreeSet<(String, u32, u32, String)> {
    let of = |folder: String| {
        let mailbox = server.mailbox(&folder);
        let uid_validity = mailbox.uid_validity;
        mailbox.messages.into_iter().map(move |message| (folder.clone(), uid_validity, message.uid, content_digest(&message.body)))
    };
    server.folders().into_iter().flat_map(of).collect()
}
