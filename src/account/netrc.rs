//! `~/.netrc`: the words `machine`, `default`, `login`, `password`, `account` and `macdef`. Pure but for [`read`], which
//! refuses a file that others can read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::secret::Secret;

use super::credential::read_private_file;

/// One entry; `machine` is `None` for `default`.
pub(super) struct Entry {
    machine: Option<String>,
    pub(super) login: Option<String>,
    pub(super) password: Option<Secret>,
}

/// Where the file is: `NETRC`, else `~/.netrc`.
pub(super) fn path() -> Option<PathBuf> {
    let named = std::env::var_os("NETRC").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".netrc")))
}

/// The entries of the file at `path`; `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Entry>>> {
    match std::fs::metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        _ => {
            let text = read_private_file(path)?;
            parse(text.expose()).map(Some).map_err(|error| Error::auth(format!("{}: {error}", path.display())))
        }
    }
}

/// The first entry that serves `user` at `host`, as `ftp` and `curl` choose: in the file's order, an entry without a
/// login serving every user. With no `user`, the first entry of the host that names one.
pub(super) fn find<'a>(entries: &'a [Entry], host: &str, user: Option<&str>) -> Option<&'a Entry> {
    entries.iter().find(|entry| {
        let machine = entry.machine.as_deref().is_none_or(|machine| machine.eq_ignore_ascii_case(host));
        let login = match (user, entry.login.as_deref()) {
            (Some(user), Some(login)) => user == login,
            (Some(_), None) => true,
            (None, login) => login.is_some(),
        };
        machine && login
    })
}

/// Reads the entries. Errors never repeat a word of the file.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut words = Words { rest: text };
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(word) = words.next()? {
        match word.as_str() {
            "machine" => {
                let machine = words.value("machine")?;
                entries.push(Entry { machine: Some(machine), login: None, password: None });
            }
            "default" => entries.push(Entry { machine: None, login: None, password: None }),
            "macdef" => words.skip_macro(),
            keyword @ ("login" | "password" | "account") => {
                let value = words.value(keyword)?;
                let Some(entry) = entries.last_mut() else {
                    return Err(Error::usage(format!("`{keyword}` stands before any `machine`")));
                };
                match keyword {
                    "login" => entry.login = Some(value),
                    "password" => entry.password = Some(Secret::new(value)),
                    _ => {}
                }
            }
            // The word may be the tail of an unquoted password with a space in it.
            _ => return Err(Error::usage("a word that is none of machine, default, login, password, account and macdef")),
        }
    }
    Ok(entries)
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// The next word; a comment from `#` to the end of its line is passed over where a keyword may stand.
    fn next(&mut self) -> Result<Option<String>> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return self.word();
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, after)| after);
        }
    }

    fn value(&mut self, keyword: &str) -> Result<String> {
        self.rest = self.rest.trim_start();
        self.word()?.ok_or_else(|| Error::usage(format!("`{keyword}` has no value")))
    }

    fn word(&mut self) -> Result<Option<String>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut word = String::new();
        let quoted = self.rest.starts_with('"');
        let mut characters = self.rest.char_indices();
        if quoted {
            characters.next();
        }
        while let Some((index, character)) = characters.next() {
            match character {
                '"' if quoted => {
                    self.rest = self.rest.get(index + 1..).unwrap_or_default();
                    return Ok(Some(word));
                }
                // curl's escapes; outside quotes a backslash is itself, as in the original ftp.
                '\\' if quoted => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some(other) => word.push(other),
                    None => break,
                },
                _ if !quoted && character.is_whitespace() => {
                    self.rest = self.rest.get(index..).unwrap_or_default();
                    return Ok(Some(word));
                }
                _ => word.push(character),
            }
        }
        if quoted {
            return Err(Error::usage("a quoted value does not end"));
        }
        self.rest = "";
        Ok(Some(word))
    }

    /// A macro ends at an empty line.
    fn skip_macro(&mut self) {
        let mut rest = self.rest;
        while let Some((line, after)) = rest.split_once('\n') {
            rest = after;
            if line.trim_end_matches('\r').is_empty() {
                self.rest = rest;
                return;
            }
        }
        self.rest = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str, host: &str, user: Option<&str>) -> Option<String> {
        let entries = parse(text).unwrap();
        find(&entries, host, user).and_then(|entry| entry.password.as_ref()).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn an_entry_is_found_by_host_and_user() {
        let text =
            "# mail\nmachine a.example login ann password one\nmachine a.example login bob password two\ndefault login x password three\n";
        assert_eq!(password(text, "A.example", Some("bob")).unwrap(), "two");
        assert_eq!(password(text, "a.example", None).unwrap(), "one");
        assert_eq!(password(text, "b.example", Some("x")).unwrap(), "three");
        assert!(password(text, "a.example", Some("eve")).is_none());
    }

    #[test]
    fn an_entry_without_login_serves_every_user_but_names_none() {
        let text = "machine a.example password one";
        assert_eq!(password(text, "a.example", Some("bob")).unwrap(), "one");
        assert!(password(text, "a.example", None).is_none());
    }

    #[test]
    fn quoted_values_hold_spaces_and_escapes_and_a_hash_in_a_value_is_no_comment() {
        assert_eq!(password(r#"machine h login a password "two words \" \\ ""#, "h", Some("a")).unwrap(), r#"two words " \ "#);
        assert_eq!(password("machine h login a password #1", "h", Some("a")).unwrap(), "#1");
        assert_eq!(password(r"machine h login a password p\n", "h", Some("a")).unwrap(), r"p\n");
    }

    #[test]
    fn a_macro_is_passed_over_up_to_its_empty_line() {
        let text = "machine h\nlogin a\npassword one\nmacdef init\ncd /machine x login y\nbin\n\nmachine g login b password two\n";
        assert_eq!(password(text, "g", Some("b")).unwrap(), "two");
        assert!(password(text, "x", Some("y")).is_none());
    }

    #[test]
    fn a_broken_file_is_an_error_that_repeats_nothing() {
        for text in ["machine h login a password", "login a", "machine h password can ary", "machine h password \"canary"] {
            let error = parse(text).err().unwrap().to_string();
            assert!(!error.contains("ary"), "{error}");
        }
    }
}
