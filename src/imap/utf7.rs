//! Mailbox names between wire octets (modified UTF-7, RFC 3501 section 5.1.3, or UTF-8) and folders as people see them.
//! Pure; it knows no server. A name that is no correct modified UTF-7 is taken as UTF-8, and one that is not even that is
//! no folder: whoever lists mailboxes keeps the wire octets beside the folder, so that every name can be sent back.

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::Digest;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Writes text in modified UTF-7.
pub fn encode(text: &str) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len());
    let mut shifted = Vec::new();
    for char in text.chars() {
        if (' '..='~').contains(&char) {
            flush(&mut shifted, &mut wire);
            if char == '&' {
                wire.extend_from_slice(b"&-");
            } else {
                wire.extend(u8::try_from(char));
            }
        } else {
            shifted.extend_from_slice(char.encode_utf16(&mut [0; 2]));
        }
    }
    flush(&mut shifted, &mut wire);
    wire
}

fn flush(shifted: &mut Vec<u16>, wire: &mut Vec<u8>) {
    if shifted.is_empty() {
        return;
    }
    wire.push(b'&');
    let (mut bits, mut held) = (0_u32, 0);
    for unit in shifted.drain(..) {
        bits = bits << 16 | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            wire.extend(DIGITS.get((bits >> held & 63) as usize));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        wire.extend(DIGITS.get((bits << (6 - held) & 63) as usize));
    }
    wire.push(b'-');
}

/// Reads modified UTF-7. `None` for anything that [`encode`] would not write: then the octets themselves are all that can
/// be said of the name. That way no two wire names decode to the same text.
pub fn decode(wire: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(wire.len());
    let mut rest = wire.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'&' => {
                let (mut units, mut bits, mut held) = (Vec::new(), 0_u32, 0);
                let mut closed = false;
                for &byte in rest.by_ref() {
                    if byte == b'-' {
                        closed = true;
                        break;
                    }
                    bits = bits << 6 | digit(byte)?;
                    held += 6;
                    if held >= 16 {
                        held -= 16;
                        units.push(u16::try_from(bits >> held & 0xffff).ok()?);
                        bits &= (1 << held) - 1;
                    }
                }
                if !closed {
                    return None;
                }
                if units.is_empty() && held == 0 {
                    text.push('&');
                } else {
                    text.push_str(&String::from_utf16(&units).ok()?);
                }
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => return None,
        }
    }
    // Leftover bits, ASCII in shifted form and needless shifts are other spellings of the same text.
    (encode(&text) == wire).then_some(text)
}

fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b',' => 63,
        _ => return None,
    }))
}

/// The folder a wire name stands for. Levels that cannot be decoded, or would hold control characters, are taken as they are
/// written.
///
/// `None` where the name cannot be a folder: octets that are neither modified UTF-7 nor UTF-8, control characters written
/// plainly, or an empty level. A name of
/// correct modified UTF-7 comes back the same from [`folder_to_mailbox`], but for INBOX's case. Any other does not, and may
/// look like a correct one (`&AC8-` and `&-AC8-` are both shown as `&AC8-`): keep the wire octets, and mind twins.
pub fn mailbox_to_folder(name: &[u8], delimiter: Option<char>) -> Option<Folder> {
    let raw = std::str::from_utf8(name).ok()?;
    // Some servers end a name that cannot be selected with the delimiter.
    let raw = delimiter.map_or(raw, |delimiter| raw.strip_suffix(delimiter).unwrap_or(raw));
    if raw.contains(char::is_control) {
        return None;
    }
    let level = |raw: &str| decode(raw.as_bytes()).filter(|text| !text.contains(char::is_control)).unwrap_or_else(|| raw.to_owned());
    match delimiter {
        Some(delimiter) => Folder::from_levels(raw.split(delimiter).map(level)),
        None => Folder::from_levels([level(raw)]),
    }
}

/// A folder for a wire name that [`mailbox_to_folder`] cannot show, or shows as one that is `taken`: its octets as far as they
/// can be read, told apart by a number. Only people see it; the server gets the wire name.
pub fn odd_mailbox_to_folder(name: &[u8], delimiter: Option<char>, taken: &dyn Fn(&Folder) -> bool) -> Folder {
    let text = std::str::from_utf8(name).map_or_else(|_| name.escape_ascii().to_string(), str::to_owned);
    let plain = |level: &str| decode(level.as_bytes()).filter(|text| !text.contains(char::is_control));
    let readable = |level: &str| plain(level).unwrap_or_else(|| level.replace(char::is_control, "_"));
    let mut levels: Vec<String> = match delimiter {
        Some(delimiter) => text.split(delimiter).filter(|level| !level.is_empty()).map(readable).collect(),
        None => vec![readable(&text)],
    };
    let last = levels.pop().filter(|last| !last.is_empty()).unwrap_or_else(|| "(no name)".to_owned());
    let digest = Digest::of(name).to_string();
    // Of the name alone, so that the folder is called the same in every run, whatever else is listed.
    let marked = |digest: &str| format!("{last} ({digest})");
    [last.clone(), marked(digest.get(..8).unwrap_or(&digest)), marked(&digest)]
        .into_iter()
        .filter_map(|last| Folder::from_levels(levels.iter().cloned().chain([last])))
        .find(|folder| !taken(folder))
        .unwrap_or_else(Folder::inbox)
}

/// The wire name of a folder: modified UTF-7, or UTF-8 where that is in force (`UTF8=ACCEPT`, IMAP4rev2).
///
/// # Errors
/// Usage: a level holds a control character or the server's delimiter, or there are levels where the server has none.
pub fn folder_to_mailbox(folder: &Folder, delimiter: Option<char>, utf8: bool) -> Result<Vec<u8>> {
    let mut wire = Vec::new();
    for (index, level) in folder.levels().iter().enumerate() {
        if let Some(delimiter) = delimiter.filter(|delimiter| level.contains(*delimiter)) {
            let error = Error::usage(format!("the folder {:?} cannot be named on this server", folder.to_string()));
            return Err(error.hint(format!("{delimiter:?} separates levels there: write / where a level ends, or choose another name")));
        }
        if level.chars().any(char::is_control) {
            return Err(Error::usage(format!("the folder {:?} holds a control character", folder.to_string())));
        }
        if index > 0 {
            let Some(delimiter) = delimiter else {
                return Err(Error::usage(format!("the folder {:?} has levels, and this server has none", folder.to_string())));
            };
            wire.extend_from_slice(delimiter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if utf8 {
            wire.extend_from_slice(level.as_bytes());
        } else {
            wire.extend_from_slice(&encode(level));
        }
    }
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn a_name_that_cannot_be_shown_or_is_taken_still_gets_a_folder() {
        let odd = |name: &[u8], taken: &[&str]| {
            odd_mailbox_to_folder(name, Some('/'), &|folder| taken.contains(&folder.to_string().as_str())).to_string()
        };
        assert_eq!(odd(b"a//b", &[]), "a/b");
        assert_eq!(odd(b"a//b", &["a/b"]), "a/b (7a9acf33)");
        assert_eq!(odd(b"Entw\xfcrfe", &[]), "Entw\\xfcrfe");
        assert_eq!(odd(b"/", &[]), "(no name)");
    }

    use super::*;

    #[test]
    fn names_are_written_as_the_standard_says() {
        for (text, wire) in [
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("A & B", "A &- B"),
            ("&&", "&-&-"),
            ("😀", "&2D3eAA-"),
            ("", ""),
        ] {
            assert_eq!(encode(text), wire.as_bytes());
            assert_eq!(decode(wire.as_bytes()).unwrap(), text);
        }
    }

    #[test]
    fn another_spelling_of_the_same_text_is_not_decoded() {
        // Shifted ASCII (`&AC8-` is "/"), a needless shift, leftover bits, a lone surrogate, no end, 8-bit, a control.
        for wire in ["&AC8-", "&AC4ALg-", "&APw-&APw-", "&APx-", "&2D0-", "&", "&APw", "a&b", "&A-", "&AP/w-", "\u{e9}", "a\tb", "&AAA"] {
            assert!(decode(wire.as_bytes()).is_none(), "{wire}");
        }
    }

    #[test]
    fn a_name_becomes_levels_whatever_the_delimiter() {
        let levels = |name: &[u8], delimiter| mailbox_to_folder(name, delimiter).map(|folder| folder.levels().to_vec());
        assert_eq!(levels(b"a.b/c", Some('.')).unwrap(), ["a", "b/c"]);
        assert_eq!(levels(b"a|&APw-", Some('|')).unwrap(), ["a", "ü"]);
        assert_eq!(levels(b"a\\b", Some('\\')).unwrap(), ["a", "b"]);
        assert_eq!(levels(b"a.b", None).unwrap(), ["a.b"]);
        assert_eq!(levels(b"inbox.x", Some('.')).unwrap(), ["INBOX", "x"]);
        assert_eq!(levels(b"a/", Some('/')).unwrap(), ["a"]);
        assert_eq!(levels(b"&AC8-", Some('/')).unwrap(), ["&AC8-"]);
        assert_eq!(levels(b"a&ABs-b", Some('/')).unwrap(), ["a&ABs-b"]);
        assert_eq!(levels("ä/b&".as_bytes(), Some('/')).unwrap(), ["ä", "b&"]);
        for (name, delimiter) in
            [(&b""[..], Some('/')), (b"a//b", Some('/')), (b"/", Some('/')), (b"/a", Some('/')), (b"\xff", None), (b"a\x1bb", None)]
        {
            assert!(mailbox_to_folder(name, delimiter).is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_folder_that_the_server_cannot_name_is_refused() {
        let folder = |levels: &[&str]| Folder::from_levels(levels.iter().copied()).unwrap();
        assert_eq!(folder_to_mailbox(&folder(&["a", "ü"]), Some('.'), false).unwrap(), b"a.&APw-");
        assert_eq!(folder_to_mailbox(&folder(&["a", "ü"]), Some('.'), true).unwrap(), "a.ü".as_bytes());
        assert!(folder_to_mailbox(&folder(&["v1.2"]), Some('.'), false).is_err());
        assert!(folder_to_mailbox(&folder(&["a", "b"]), None, false).is_err());
        for control in ["a\0", "a\r\nb", "\u{7f}", "\u{85}"] {
            assert!(folder_to_mailbox(&folder(&[control]), Some('/'), true).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_text_reads_back_as_written(text in any::<String>()) {
            let wire = encode(&text);
            prop_assert!(wire.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let decoded = decode(&wire);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn what_decodes_is_written_back_the_same(wire in "[&A-Za-z0-9+,\\-]{0,12}") {
            if let Some(text) = decode(wire.as_bytes()) {
                prop_assert_eq!(encode(&text), wire.as_bytes());
            }
        }

        #[test]
        fn a_folder_comes_back_from_its_wire_name(levels in proptest::collection::vec("[^\\p{Cc}.]{1,8}", 1..4), utf8 in any::<bool>()) {
            let folder = Folder::from_levels(levels).unwrap();
            let wire = folder_to_mailbox(&folder, Some('.'), utf8).unwrap();
            // In UTF-8 a level such as `&-` means itself, which only the session can know.
            prop_assume!(!utf8 || !wire.contains(&b'&'));
            prop_assert_eq!(mailbox_to_folder(&wire, Some('.')), Some(folder));
        }
    }
}
