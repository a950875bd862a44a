//! A directory that attachments are saved into: under names that can harm nobody, without ever replacing a file or
//! following a link, each content once. It never knows what message an attachment came with.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::files::{Dir, digests, nonce};
use crate::error::{Error, Result, Scope};
use crate::message::{Digest, Digester};

/// A name has at most this many bytes: room enough for a number behind it in what directories allow.
const NAME_BYTES: usize = 200;
/// An ending longer than this is none.
const EXTENSION_BYTES: usize = 16;
/// Files with one name and different content are numbered up to here.
const MAX_TWINS: u32 = 100_000;

/// Hands the octets of a file to what it is given.
pub type Content<'a> = dyn FnMut(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> + 'a;

/// An attachment in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// Its octets.
    pub size: u64,
    /// Whether a file of that name and content was there already.
    pub was_there: bool,
}

/// The directory.
pub struct Attachments {
    dir: Dir,
    /// What stands under each name this run looked at.
    known: HashMap<(String, Digest), String>,
    /// The number to try next for a name.
    next: HashMap<String, u32>,
    /// Whether names were added since the last [`Self::sync`].
    unsynced: bool,
}

impl Attachments {
    /// Opens the directory, making it where it is missing.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { dir: Dir::make(path)?, known: HashMap::new(), next: HashMap::new(), unsynced: false })
    }

    /// Saves what `write` hands on under a harmless form of `name`, or of `fallback` where nothing of it is left. The file
    /// is durable; its name is after [`Self::sync`].
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`]; of message scope only when the names have run out.
    pub fn save(&mut self, name: Option<&str>, fallback: &str, write: &mut Content<'_>) -> Result<Saved> {
        let temporary = OsString::from(format!(".mailhaul-{}-{}", std::process::id(), nonce()));
        let saved = self.write(&temporary, write).and_then(|(size, digest)| {
            let name = name.and_then(safe_name).or_else(|| safe_name(fallback)).unwrap_or_else(|| "attachment".to_owned());
            let (name, was_there) = self.place(&temporary, &name, digest)?;
            Ok(Saved { path: self.dir.path().join(name), size, was_there })
        });
        if !saved.as_ref().is_ok_and(|saved| !saved.was_there) {
            self.dir.remove(&temporary);
        }
        saved
    }

    /// Makes the names durable.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`].
    pub fn sync(&mut self) -> Result<()> {
        if std::mem::take(&mut self.unsynced) { self.dir.sync() } else { Ok(()) }
    }

    fn write(&self, temporary: &OsStr, write: &mut Content<'_>) -> Result<(u64, Digest)> {
        let mut file = self.dir.create(temporary)?;
        let trouble = |error| Error::io(self.dir.path().display(), error);
        let (mut size, mut digester) = (0, Digester::default());
        write(&mut |piece| {
            size += piece.len() as u64;
            digester.update(piece);
            file.write_all(piece).map_err(trouble)
        })?;
        file.sync_all().map_err(trouble)?;
        Ok((size, digester.finish().exact))
    }

    /// Gives the temporary file the first free form of `name`, unless its content is there under one of them.
    fn place(&mut self, temporary: &OsStr, name: &str, digest: Digest) -> Result<(String, bool)> {
        if let Some(there) = self.known.get(&(name.to_owned(), digest)) {
            return Ok((there.clone(), true));
        }
        let mut number = self.next.get(name).copied().unwrap_or(1);
        while number <= MAX_TWINS {
            let candidate = numbered(name, number);
            if self.dir.publish(temporary, &self.dir, OsStr::new(&candidate))? {
                self.unsynced = true;
                self.learn(name, digest, &candidate, number);
                return Ok((candidate, false));
            }
            // What cannot be read, or is no file, is somebody's all the same.
            let there = match self.dir.file(OsStr::new(&candidate)) {
                Ok(Some((file, _))) => digests(&file, &self.dir.path().join(&candidate)).ok().map(|digests| digests.exact),
                // It went away between the two looks.
                Ok(None) => continue,
                Err(error) if error.scope() == Scope::Message => None,
                Err(error) => return Err(error),
            };
            if let Some(there) = there {
                self.learn(name, there, &candidate, number);
                if there == digest {
                    return Ok((candidate, true));
                }
            }
            number += 1;
        }
        Err(Error::local(format!("{}: too many files are named like {name:?}", self.dir.path().display())).scoped(Scope::Message))
    }

    fn learn(&mut self, name: &str, digest: Digest, candidate: &str, number: u32) {
        self.known.entry((name.to_owned(), digest)).or_insert_with(|| candidate.to_owned());
        self.next.insert(name.to_owned(), number + 1);
    }
}

/// `name`, and from the second on with a number before its ending.
fn numbered(name: &str, number: u32) -> String {
    if number < 2 {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    format!("{stem} ({number}){extension}")
}

/// A name before its ending, and the ending with its dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= EXTENSION_BYTES && name.len() - at > 1 => name.split_at(at),
        _ => (name, ""),
    }
}

/// A file name out of a mail, made harmless: one component that no system takes for a path, a device, an option or a
/// hidden file, and that shows as what it is. `None` where nothing is left of it.
pub fn safe_name(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len().min(NAME_BYTES * 4));
    for c in name.chars() {
        match c {
            '/' | '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*' => out.push('_'),
            c if c.is_control() || c.is_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            // They reorder what is shown, or hide.
            '\u{00AD}'
            | '\u{034F}'
            | '\u{061C}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFF}'
            | '\u{E0000}'..='\u{E0FFF}'
            | '\u{2800}'
            | '\u{3164}' => {}
            c => out.push(c),
        }
    }
    let start = |c: char| matches!(c, '.' | '-' | '~' | ' ');
    let end = |c: char| matches!(c, '.' | ' ');
    let mut kept = out.trim_start_matches(start).trim_end_matches(end).to_owned();
    if is_device(&kept) {
        kept.insert(0, '_');
    }
    let kept = cut(&kept).trim_end_matches(end).to_owned();
    // A name of nothing but what stands for something else is none.
    kept.chars().any(|c| !matches!(c, '_' | '.' | ' ' | '-')).then_some(kept)
}

/// At most so long that a directory takes it with a number behind; the ending stays.
fn cut(name: &str) -> String {
    if name.len() <= NAME_BYTES {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let room = NAME_BYTES - extension.len();
    let end = stem.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= room).last().unwrap_or(0);
    format!("{}{extension}", stem.get(..end).unwrap_or_default().trim_end())
}

/// Whether Windows takes the name for a device, whatever its ending.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |word: &str| {
        stem.strip_prefix(word).is_some_and(|rest| {
            matches!(rest, "\u{b9}" | "\u{b2}" | "\u{b3}") || (rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CLOCK$" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

/// Names for what has none: by its number and its type.
pub fn fallback_name(number: &str, content_type: &str) -> String {
    let extension = match content_type {
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/json" => "json",
        "application/pgp-signature" => "asc",
        "application/pkcs7-signature" | "application/x-pkcs7-signature" => "p7s",
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => "p7m",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation" => "pptx",
        "application/rtf" => "rtf",
        "audio/mpeg" => "mp3",
        "image/gif" => "gif",
        "image/jpeg" | "image/jpg" => "jpg",
        "image/png" => "png",
        "image/svg+xml" => "svg",
        "image/tiff" => "tif",
        "image/webp" => "webp",
        "message/rfc822" | "message/global" => "eml",
        "text/calendar" => "ics",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/vcard" | "text/x-vcard" => "vcf",
        "video/mp4" => "mp4",
        text if text.starts_with("text/") || text.starts_with("message/") => "txt",
        _ => "bin",
    };
    format!("attachment-{number}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harmless(name: &str) -> bool {
        !name.is_empty()
            && name.len() <= NAME_BYTES + 1
            && !name.contains(['/', '\\', '\0', ':'])
            && !name.starts_with(['.', '-', '~', ' '])
            && !name.ends_with(['.', ' '])
            && !name.chars().any(char::is_control)
            && !is_device(name)
    }

    #[test]
    fn hostile_names_become_harmless_and_honest_ones_stay() {
        for (name, safe) in [
            ("../../etc/passwd", Some("_.._etc_passwd")),
            ("/etc/passwd", Some("_etc_passwd")),
            ("C:\\Windows\\x.dll", Some("C__Windows_x.dll")),
            (".bashrc", Some("bashrc")),
            ("--output=x", Some("output=x")),
            ("a\0b\r\nc\x1b[2J.pdf", Some("a b c [2J.pdf")),
            ("invoice\u{202e}fdp.exe", Some("invoicefdp.exe")),
            ("con", Some("_con")),
            ("COM1.tar.gz", Some("_COM1.tar.gz")),
            ("x. . .", Some("x")),
            ("Rechnung März 1/2.pdf", Some("Rechnung März 1_2.pdf")),
            ("世界.pdf", Some("世界.pdf")),
            ("..", None),
            ("", None),
            (" \t", None),
            ("///", None),
            ("\u{200b}", None),
        ] {
            assert_eq!(safe_name(name).as_deref(), safe, "{name:?}");
        }
        let long = safe_name(&format!("{}.pdf", "ä".repeat(300))).unwrap();
        assert!(long.len() <= NAME_BYTES && long.ends_with("ä.pdf"));
        let names: std::collections::HashSet<_> = ["a/b", "a\\b", "a:b", "A_B"].into_iter().map(safe_name).collect();
        assert_eq!(names.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn every_name_is_harmless_and_stays_so(name in "(.|[/\\\\.:\\x00-\\x1f~ -]|con|nul|com1|\u{202e}){0,300}") {
            if let Some(safe) = safe_name(&name) {
                proptest::prop_assert!(harmless(&safe), "{:?} → {:?}", name, safe);
                proptest::prop_assert!(harmless(&numbered(&safe, 99_999)) || numbered(&safe, 99_999).len() > NAME_BYTES);
                proptest::prop_assert!(numbered(&safe, 99_999).len() <= 255);
                proptest::prop_assert_eq!(safe_name(&safe), Some(safe.clone()));
            }
        }
    }

    fn save(into: &mut Attachments, name: &str, content: &[u8]) -> (String, bool) {
        let saved = into.save(Some(name), "attachment-1.bin", &mut |each| each(content)).unwrap();
        assert_eq!(std::fs::read(&saved.path).unwrap(), content);
        (saved.path.file_name().unwrap().to_str().unwrap().to_owned(), saved.was_there)
    }

    #[test]
    fn nothing_is_replaced_and_no_content_is_doubled() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.pdf"), "mine").unwrap();
        std::os::unix::fs::symlink("/nonexistent/target", dir.path().join("b.pdf")).unwrap();
        std::fs::create_dir(dir.path().join("c.pdf")).unwrap();
        for run in 0..2 {
            let mut into = Attachments::open(dir.path()).unwrap();
            assert_eq!(save(&mut into, "a.pdf", b"one"), ("a (2).pdf".to_owned(), run == 1));
            assert_eq!(save(&mut into, "a.pdf", b"two"), ("a (3).pdf".to_owned(), run == 1));
            assert_eq!(save(&mut into, "a.pdf", b"one"), ("a (2).pdf".to_owned(), true));
            assert_eq!(save(&mut into, "a.pdf", b"mine"), ("a.pdf".to_owned(), true));
            assert_eq!(save(&mut into, "b.pdf", b"b"), ("b (2).pdf".to_owned(), run == 1));
            assert_eq!(save(&mut into, "c.pdf", b"c"), ("c (2).pdf".to_owned(), run == 1));
            assert_eq!(save(&mut into, "..", b"d"), ("attachment-1.bin".to_owned(), run == 1));
            into.sync().unwrap();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 8, "no temporary file is left");
        }
        assert_eq!(std::fs::read(dir.path().join("a.pdf")).unwrap(), b"mine");
        let failed = Attachments::open(dir.path()).unwrap().save(None, "x", &mut |_| Err(Error::local("stop")));
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 8);
    }
}
