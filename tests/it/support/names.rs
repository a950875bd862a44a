//! The names that nobody should give to a folder, a file or an attachment, and that somebody will: one list for all tests.

use std::collections::BTreeSet;

use super::modified_utf7;

/// Traversal, NUL, line ends, escapes, twins but for case or composition, patterns, protocol, shells, other systems' devices.
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "../x", "..", ".", "a/../../b", "a/./b", "/abs", "/", "//", "a//b", "a/b/", "a", "A", "a ", " a", " ", "  ", "a  b", "\\", "a\\b",
    "C:", "C:\\x", "CON", "NUL", "aux.txt", "a.", "a. ", "...", "~", "~root", "~/x", "-", "--", "-rf", "--json", "-o", "*", "%", "a*b",
    "a%b", "%2F", "a%2Fb", "a%00b", "100%", "%41", "?", "a?b", "#", "a#b", "a&-b", "&-", "&-&-", "&", "a&b", "&AC8-", "&-AC8-",
    "&AC4ALg-", "&AC4ALg-/x", "&AAA-", "&AA0ACg-", "&AA0ACg-A1 LOGOUT", "&ABs-[2J", "a&ABs-b", "&AH8-", "&AIU-", "&AJs-", "&2D0-",
    "&3gA-", "&2D3eAA-", "&APw-", "&APx-", "&APw-&APw-", "&APwA/A-", "&APw", "&!-", "&AGE-", "&IC4-evil", "&IA8-", "&IAs-", "&IGAgYQ-",
    "&/v8-", "&IAw-", "&IA0-", "&IKw-", "inbox", "Inbox", "inbox/x", "INBOX/x", "INBOX.x", "/INBOX", "INBOX ", "INBOX\u{a0}", "ınbox",
    "\"", "a\"b", "\"\"", "\"a\" \"b\"", "'", "a'b", "`id`", "$(id)", "${HOME}", "$HOME", "a;b", "a|b", "a&-&-b", "a>b", "<a", "!x",
    "a!b", "{5}", "{5+}", "a{3}", "(a)", "(", ")", "[a]", "a]", "NIL", "nil", "\"NIL\"", "a\tb", "\t", "a\nb", "a\r\nb",
    "a\r\nA1 DELETE INBOX", "\n", "\r", "a\u{1b}[2Jb", "\u{1b}]0;pwned\u{7}", "\u{7}", "\u{8}", "\u{7f}", "\u{85}", "\u{9b}2J", "\u{1}",
    "a\u{1b}b", "a_b", "Entwürfe", "Entwu\u{308}rfe", "日本語", "😀", "\u{202e}gpj.exe", "a\u{200b}b", "ab", "\u{feff}a", "a\u{2028}b",
    "a\u{2029}b", "\u{e0041}", "a\u{301}", "á", "K", "K", "é", "e\u{301}", "ﬁ", "fi", "ſ", "s", "S", "Σ", "ς", "a\u{ad}b", "a͏b",
    "\u{3164}", "a\u{3000}", "\u{a0}", "a=b", "a,b", "a:b", "work", "work/x", "work:pop3", "imaps://ann@h", "maildir:x", "(no name)",
    "a (b)", "x (00000000)", "folder with spaces", "a\\x00b", "\\xff", "a.b.c", "a|b|c", "Trash", "trash", "TRASH", "Sent Items",
    "Sent%20Items", "+", "a+b", "=?utf-8?q?x?=", "<script>", "a\0b", "日本/語", "a/b/c/d/e/f/g/h/i/j", "..\\..\\x", "a/..",
    "../../../etc/passwd", "../../../../etc/passwd", "/etc/passwd", "//x", "", "  x  ", "x.", "x. .", "x ", ".x", ".bashrc",
    ".ssh/authorized_keys", "a/b", "C:x", "\\\\server\\share", "./x", "x/", "x/.", "x/..", "~root/x", "--output=x", "\0", "x\0.pdf",
    "x.pdf\0.exe", "a\rb", "\u{1b}[2J", "\u{1b}]0;x\u{7}", "a\u{7}b", "\u{85}x", "\u{202e}fdp.exe", "a\u{202e}b", "\u{2066}x\u{2069}",
    "\u{200b}", "\u{feff}x", "x\u{200b}y", "xy", "\u{200f}x", "con", "con.txt", "PRN", "aux", "AUX.pdf", "nul", "NUL.txt", "com1",
    "COM1.pdf", "COM9", "lpt1.txt", "LPT9", "COM¹", "CONIN$", "conout$.x", "clock$", "a:stream:$DATA", "a<b", "$(x)", "`x`",
    "%2e%2e%2fx", "%00", "..%2fx", "&#46;&#46;/x", "A.pdf", "a.pdf", "a.PDF", "A.PDF", "é.pdf", "e\u{301}.pdf", "ﬁ.pdf", "世界.pdf",
    "مرحبا.pdf", "🎉.pdf", "👩\u{200d}👧.pdf", "a.pdf.exe", "a..pdf", "noextension", "x.tar.gz", "index.html", "desktop.ini",
    "autorun.inf", "Thumbs.db", "mailhaul-folder", ".mailhaul-1-1", "cur", "new", "tmp", "planted.txt", "planted-link", "planted-dir",
    "a (2).pdf", "a (2) (2).pdf", "x=y", "a b", "\u{a0}x\u{a0}", "\u{3000}", "\u{2028}x", "..∕x", "．．／x", "../..", "a\r\nX BAD",
    "\u{1b}[31mred", "\u{1b}]0;t\u{7}", "\u{202e}gpj", "İ", "ß", "\"a\" b", "&AOk-", "&AAA", ";", "|", "<", ">", "--all", "#news",
    "inbox2", ".hidden", "a.b", "𝒳", "👩\u{200d}👩", "Twin", "twin", "TWIN", "tWIN",
];

/// Octets (or characters) of the names that are too long for something.
const LENGTHS: [usize; 7] = [200, 255, 256, 300, 1000, 1001, 4096];

/// All of them as text, `/` between levels; no two alike.
pub fn texts() -> Vec<String> {
    let mut names: Vec<String> = TEXTS.iter().map(|name| (*name).to_owned()).collect();
    for length in LENGTHS {
        names.push("n".repeat(length));
        names.push("é".repeat(length / 2));
        names.push(format!("{}/{}", "p".repeat(length), "c".repeat(length)));
        names.push(format!("{}{length}", "../".repeat(length / 3)));
    }
    names.extend((1_u32..32).chain(127..160).map(|code| format!("c{}d", char::from_u32(code).unwrap())));
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    assert!(names.len() >= 400, "{}", names.len());
    names
}

/// All of them as a server may call its folders, in wire form: as they are, however wrong that is, and written correctly.
/// NUL stands in no name, INBOX is no hostile one, and a level more or less at the end is the same folder.
pub fn wire() -> Vec<String> {
    let mut names = texts();
    let encoded: Vec<String> =
        names.iter().filter(|name| !name.is_ascii() || name.contains(char::is_control)).map(|name| modified_utf7(name)).collect();
    names.extend(encoded);
    let mut seen = BTreeSet::new();
    names.retain(|name| !name.contains('\0') && !name.eq_ignore_ascii_case("inbox") && seen.insert(name.trim_end_matches('/').to_owned()));
    names.sort();
    names
}

/// A name as it is typed behind `work/`: what means something there is escaped, `/` still separates levels.
pub fn typed(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '%' | '?' | '#' => format!("%{:02X}", u32::from(c)),
            c if c.is_ascii_control() => format!("%{:02X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// As [`wire`], each possible as one file's name, `/` replaced; no two alike.
pub fn files() -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts()
        .into_iter()
        .map(|name| name.replace(['/', '\0'], "_"))
        .filter(|name| !name.is_empty() && name.len() <= 250 && name != "." && name != ".." && seen.insert(name.clone()))
        .collect()
}
