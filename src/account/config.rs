//! The config file: accounts as data. It is read by hand from TOML's tree, so that every error names its line and no
//! error ever repeats a value, which may be a secret someone put where it does not belong.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};

use super::Protocol;
use super::credential::CredentialSource;
use super::place::local_path;
use super::server_url::{ServerUrl, check_user};
use super::settings::{OPTIONS, Settings, parse_pin};

/// A config file is never larger.
const MOST_BYTES: u64 = 1024 * 1024;

/// What the config file says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    default: Option<String>,
    accounts: BTreeMap<String, Account>,
}

/// One account of the config file.
#[derive(Debug, Clone, Default)]
pub struct Account {
    pub(super) email: Option<String>,
    pub(super) imap: Option<Side>,
    pub(super) pop3: Option<Side>,
    pub(super) settings: Settings,
}

/// One side of an account.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub(super) url: ServerUrl,
    pub(super) settings: Settings,
}

impl Account {
    /// Its address, where the file gives one.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// Whether it has a side of this protocol.
    pub fn has(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Imap => self.imap.is_some(),
            Protocol::Pop3 => self.pop3.is_some(),
        }
    }
}

impl Config {
    /// Reads the file at `path` (`--config`), else that of `MAILHAUL_CONFIG`, else `mailhaul/config.toml` in
    /// `XDG_CONFIG_HOME` or `~/.config`. Only the last may be missing: then nothing is configured.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] with file and line when it says something wrong; `Local` when it cannot be read.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = path.map(Path::to_owned).or_else(|| variable("MAILHAUL_CONFIG")) {
            return Self::read(&path, true);
        }
        // A relative XDG_CONFIG_HOME is invalid and to be ignored, says the XDG base directory specification.
        let folder = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
        folder.map_or_else(|| Ok(Self::default()), |folder| Self::read(&folder.join("mailhaul/config.toml"), false))
    }

    fn read(path: &Path, required: bool) -> Result<Self> {
        let shown = path.display();
        match std::fs::metadata(path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return if required { Err(Error::usage(format!("there is no config file {shown}"))) } else { Ok(Self::default()) };
            }
            Ok(metadata) if metadata.len() > MOST_BYTES => return Err(Error::usage(format!("{shown} is too large for a config file"))),
            _ => {}
        }
        let text = std::fs::read(path).map_err(|error| Error::io(format!("the config file {shown}"), error))?;
        let text = String::from_utf8(text).map_err(|_| Error::usage(format!("{shown}: not UTF-8 text")))?;
        Self::parse(&text, path)
    }

    /// Reads the text of a config file; `path` serves for messages and for relative paths in it.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] with file and line.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let reader = Reader { text, path };
        let root = DeTable::parse(text).map_err(|error| reader.syntax(&error))?;
        let mut config = Self::default();
        let mut default_at = 0..0;
        for (key, value) in root.get_ref() {
            match key.get_ref().as_ref() {
                "default" => {
                    config.default = Some(reader.text(key, value)?.to_owned());
                    default_at = value.span();
                }
                "accounts" => {
                    for (name, value) in reader.table(key, value)? {
                        reader.account_name(name)?;
                        config.accounts.insert(name.get_ref().to_string(), reader.account(reader.table(name, value)?)?);
                    }
                }
                _ => return Err(reader.unknown(key, &["default", "accounts"])),
            }
        }
        match &config.default {
            Some(default) if !config.accounts.contains_key(default) => {
                Err(reader.wrong(default_at, "`default` names an account that is not in this file"))
            }
            _ => Ok(config),
        }
    }

    /// The account for commands that got no place.
    pub fn default_account(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// An account by its name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name)
    }

    /// The names of all accounts, sorted.
    pub fn account_names(&self) -> impl Iterator<Item = &str> {
        self.accounts.keys().map(String::as_str)
    }

    /// The environment variables that hold passwords of any account.
    pub(super) fn secret_variables(&self) -> impl Iterator<Item = String> {
        let levels = self.accounts.values().flat_map(|account| {
            let sides = [&account.imap, &account.pop3].into_iter().flatten().map(|side| &side.settings);
            std::iter::once(&account.settings).chain(sides)
        });
        levels.filter_map(|settings| match &settings.credential {
            Some(CredentialSource::Env(name)) => Some(name.clone()),
            _ => None,
        })
    }
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;
type Value<'i> = Spanned<DeValue<'i>>;

/// Turns parts of the tree into ours; knows where they stood.
struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

const SETTINGS: [&str; 9] =
    ["password-command", "password-file", "password-env", "netrc", "keyring", "oauth2", "ca-file", "tls-pin", "insecure"];

impl<'a> Reader<'a> {
    fn account(&self, table: &'a DeTable<'a>) -> Result<Account> {
        let mut account = Account::default();
        let mut credentials = 0;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "email" => {
                    let email = self.text(key, value)?;
                    check_user(email).map_err(|error| self.wrong(value.span(), error.message()))?;
                    account.email = Some(email.to_owned());
                }
                "imap" => account.imap = Some(self.side(key, value, Protocol::Imap)?),
                "pop3" => account.pop3 = Some(self.side(key, value, Protocol::Pop3)?),
                _ => self.setting(key, value, &mut account.settings, &mut credentials, &["email", "imap", "pop3"])?,
            }
        }
        Ok(account)
    }

    fn side(&self, key: &Key<'a>, value: &'a Value<'a>, protocol: Protocol) -> Result<Side> {
        let DeValue::Table(table) = value.get_ref() else {
            return Ok(Side { url: self.url(self.text(key, value)?, value.span(), protocol)?, settings: Settings::default() });
        };
        let mut url = None;
        let mut settings = Settings::default();
        let mut credentials = 0;
        for (key, value) in table {
            if key.get_ref() == "url" {
                url = Some(self.url(self.text(key, value)?, value.span(), protocol)?);
            } else {
                self.setting(key, value, &mut settings, &mut credentials, &["url"])?;
            }
        }
        let url = url.ok_or_else(|| self.wrong(value.span(), &format!("`{}` has no `url`", key.get_ref())))?;
        Ok(Side { url, settings })
    }

    fn url(&self, text: &str, span: Range<usize>, protocol: Protocol) -> Result<ServerUrl> {
        let url = ServerUrl::parse(text).map_err(|error| self.keep(span.clone(), &error))?;
        if url.protocol != protocol {
            return Err(self.wrong(span, "the URL of `imap` is imaps:// or imap://, that of `pop3` is pop3s:// or pop3://"));
        }
        Ok(url)
    }

    fn setting(&self, key: &Key<'a>, value: &'a Value<'a>, settings: &mut Settings, credentials: &mut u32, others: &[&str]) -> Result<()> {
        let name = key.get_ref().as_ref();
        let source = match name {
            "password-command" => Some(CredentialSource::Command(self.words(key, value)?)),
            "password-file" => Some(CredentialSource::File(self.local(key, value)?)),
            "password-env" => Some(CredentialSource::Env(self.text(key, value)?.to_owned())),
            "netrc" => self.flag(key, value)?.then_some(CredentialSource::Netrc),
            "keyring" => self.flag(key, value)?.then_some(CredentialSource::Keyring),
            "oauth2" => Some(self.oauth2(key, value)?),
            _ => None,
        };
        if source.is_some() {
            *credentials += 1;
            settings.credential = source;
            if *credentials > 1 {
                return Err(
                    self.wrong(key.span(), "more than one of password-command, password-file, password-env, netrc, keyring and oauth2")
                );
            }
            return Ok(());
        }
        match name {
            "netrc" | "keyring" => {}
            "ca-file" => settings.ca_file = Some(self.local(key, value)?),
            "tls-pin" => settings.pin = Some(parse_pin(self.text(key, value)?).map_err(|error| self.keep(value.span(), &error))?),
            "insecure" => settings.insecure = Some(self.flag(key, value)?),
            "allow-preauth" => settings.allow_preauth = Some(self.flag(key, value)?),
            _ if OPTIONS.contains(&name) => {
                let text = match value.get_ref() {
                    DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
                    _ => self.text(key, value)?,
                };
                settings.set(name, text).map_err(|error| self.keep(value.span(), &error))?;
            }
            _ => {
                let known: Vec<&str> = others.iter().chain(&SETTINGS).chain(&["allow-preauth"]).chain(&OPTIONS).copied().collect();
                return Err(self.unknown(key, &known));
            }
        }
        Ok(())
    }

    fn oauth2(&self, key: &Key<'a>, value: &'a Value<'a>) -> Result<CredentialSource> {
        let mut command = None;
        for (key, value) in self.table(key, value)? {
            match key.get_ref().as_ref() {
                "token-command" => command = Some(self.words(key, value)?),
                "provider" => {
                    self.text(key, value)?;
                }
                _ => return Err(self.unknown(key, &["provider", "token-command"])),
            }
        }
        let command = command.ok_or_else(|| {
            self.wrong(value.span(), "`oauth2` needs a token-command in this version: a program that prints an access token")
        })?;
        Ok(CredentialSource::TokenCommand(command))
    }

    fn account_name(&self, name: &Key<'_>) -> Result<()> {
        let text = name.get_ref().as_ref();
        let reserved = ["maildir", "mbox", "eml", "imap", "imaps", "pop", "pops", "pop3", "pop3s"].contains(&text);
        let fine = text.chars().all(|character| character.is_alphanumeric() || "-_.@+".contains(character));
        if reserved {
            return Err(
                self.wrong(name.span(), &format!("an account cannot be called {text}: with that word a place of another kind begins"))
            );
        }
        if text.is_empty() || text.starts_with(['-', '.']) || !fine {
            return Err(
                self.wrong(name.span(), "an account's name is made of letters, digits and - _ . @ +, and begins with neither - nor .")
            );
        }
        Ok(())
    }

    fn table(&self, key: &Key<'_>, value: &'a Value<'a>) -> Result<&'a DeTable<'a>> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.unfit(key, value, "a table")),
        }
    }

    fn text(&self, key: &Key<'_>, value: &'a Value<'a>) -> Result<&'a str> {
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() && !text.contains('\0') => Ok(text),
            _ => Err(self.unfit(key, value, "a string that is not empty")),
        }
    }

    fn flag(&self, key: &Key<'_>, value: &Value<'_>) -> Result<bool> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.unfit(key, value, "true or false")),
        }
    }

    fn words(&self, key: &Key<'_>, value: &'a Value<'a>) -> Result<Vec<String>> {
        let what = "an array of strings: the program and its arguments, as in [\"pass\", \"show\", \"mail/work\"]";
        let DeValue::Array(array) = value.get_ref() else { return Err(self.unfit(key, value, what)) };
        let words: Option<Vec<String>> =
            array.iter().map(|word| word.get_ref().as_str().filter(|word| !word.contains('\0')).map(ToOwned::to_owned)).collect();
        words.filter(|words| words.first().is_some_and(|program| !program.is_empty())).ok_or_else(|| self.unfit(key, value, what))
    }

    /// A path: `~/` is the home folder, a relative one starts at the config file's folder.
    fn local(&self, key: &Key<'_>, value: &'a Value<'a>) -> Result<PathBuf> {
        let path = local_path(self.text(key, value)?).map_err(|error| self.keep(value.span(), &error))?;
        Ok(self.path.parent().map_or_else(|| path.clone(), |folder| folder.join(&path)))
    }

    fn unknown(&self, key: &Key<'_>, known: &[&str]) -> Error {
        let name = key.get_ref().as_ref();
        let lower = name.to_ascii_lowercase().replace('_', "-");
        if ["pass", "secret", "token", "pwd"].iter().any(|word| lower.contains(word)) && !known.contains(&lower.as_str()) {
            return self
                .wrong(key.span(), "a password or token does not stand in the config file itself")
                .hint("say where it is kept instead: password-command = [\"pass\", \"show\", \"mail/work\"], password-file, password-env or netrc = true");
        }
        // A key can be any text, a pasted secret too: only what looks like a key is repeated.
        let plain = name.len() <= 30 && name.chars().all(|character| character.is_ascii_lowercase() || "-_".contains(character));
        let shown = if plain { format!(" `{name}`") } else { String::new() };
        self.wrong(key.span(), &format!("unknown key{shown}; known here are {}", known.join(", ")))
    }

    fn unfit(&self, key: &Key<'_>, value: &Value<'_>, wanted: &str) -> Error {
        self.wrong(value.span(), &format!("`{}` is {wanted}", key.get_ref()))
    }

    /// TOML's own message describes the grammar and repeats no text, unlike its `Display`.
    fn syntax(&self, error: &toml::de::Error) -> Error {
        self.wrong(error.span().unwrap_or(0..0), error.message())
    }

    fn keep(&self, span: Range<usize>, error: &Error) -> Error {
        let ours = self.wrong(span, error.message());
        match error.remedy() {
            Some(hint) => ours.hint(hint),
            None => ours,
        }
    }

    fn wrong(&self, span: Range<usize>, message: &str) -> Error {
        let line = self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1;
        Error::usage(format!("{}, line {line}: {message}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn refusal(text: &str) -> String {
        let error = Config::parse(text, Path::new("c.toml")).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert_eq!(error.kind(), Kind::Usage);
        format!("{error} {}", error.remedy().unwrap_or_default())
    }

    #[test]
    fn the_documented_file_is_read() {
        let text = r#"
            default = "work"
            [accounts.work]
            email = "ann@example.org"
            imap = "imaps://ann@imap.example.org"
            pop3 = "pop3s://ann@pop.example.org"
            password-command = ["pass", "show", "mail/work"]
            [accounts.gmail]
            imap = { url = "imaps://ann@h", ca-file = "ca.pem", connections = 3, timeout = 30, allow-preauth = true, compress = "no" }
            oauth2 = { provider = "google", token-command = ["token"] }
        "#;
        let config = Config::parse(text, Path::new("/etc/mailhaul/config.toml")).unwrap();
        assert_eq!(config.default_account(), Some("work"));
        assert_eq!(config.account_names().collect::<Vec<_>>(), ["gmail", "work"]);
        let work = config.account("work").unwrap();
        assert!(work.has(Protocol::Pop3) && work.email() == Some("ann@example.org"));
        assert_eq!(work.settings.credential, Some(CredentialSource::Command(vec!["pass".into(), "show".into(), "mail/work".into()])));
        let gmail = config.account("gmail").unwrap();
        assert_eq!(gmail.settings.credential, Some(CredentialSource::TokenCommand(vec!["token".into()])));
        let side = &gmail.imap.as_ref().unwrap().settings;
        assert_eq!(side.ca_file.as_deref(), Some(Path::new("/etc/mailhaul/ca.pem")));
        assert_eq!((side.connections, side.timeout.unwrap().as_secs(), side.allow_preauth), (Some(3), 30, Some(true)));
        assert_eq!(side.compress, Some(crate::account::Compress::No));
    }

    #[test]
    fn an_error_names_file_and_line() {
        for (text, line, words) in [
            ("default = \"x\"\n", 1, "not in this file"),
            ("\n[accounts.a]\ncolour = 1\n", 3, "unknown key `colour`"),
            ("[acounts.a]\n", 1, "known here are default, accounts"),
            ("[accounts.a]\nimap = \"pop3://ann@h\"\n", 2, "the URL of `imap`"),
            ("[accounts.a]\n\nimap = 5\n", 3, "`imap` is a string"),
            ("[accounts.a]\nimap = {connections = 2}\n", 2, "no `url`"),
            ("[accounts.a]\nnetrc = true\npassword-env = \"X\"\n", 3, "more than one"),
            ("[accounts.a]\nconnections = 9\n", 2, "from 1 to 8"),
            ("[accounts.a]\ntls = \"ssl\"\n", 2, "implicit, starttls"),
            ("[accounts.a]\ninsecure = \"yes\"\n", 2, "true or false"),
            ("[accounts.a]\npassword-command = []\n", 2, "array of strings"),
            ("[accounts.a]\noauth2 = { provider = \"google\" }\n", 2, "token-command"),
            ("[accounts.imaps]\n", 1, "cannot be called imaps"),
            ("[accounts.\"a/b\"]\n", 1, "account's name"),
            ("[accounts.a]\nnetrc = true\nnetrc = true\n", 3, ""),
            ("[accounts.a\n", 1, ""),
        ] {
            let said = refusal(text);
            assert!(said.starts_with(&format!("c.toml, line {line}: ")) && said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_secret_in_the_file_is_refused_and_never_repeated() {
        for text in [
            "[accounts.a]\npassword = \"canary\"\n",
            "[accounts.a]\nPassword = \"canary\"\n",
            "[accounts.a]\nimap-passwd = \"canary\"\n",
            "[accounts.a]\naccess_token = \"canary\"\n",
            "[accounts.a]\noauth2 = { client-secret = \"canary\", token-command = [\"x\"] }\n",
            "[accounts.a]\nimap = \"imaps://ann:canary@h\"\n",
            "[accounts.a]\nimap = { url = \"imaps://ann@h\", password = \"canary\" }\n",
            "[accounts.a]\npassword-command = \"canary\"\n",
            "[accounts.a]\npassword = canary\n",
            "[accounts.a]\npassword = \"canary\n",
            "[accounts.a]\ncanary\n",
            "[accounts.a]\npassword-command = [\"pass\", canary]\n",
            "[accounts.a]\n\"CANARY canary\" = 1\n",
            "canary = \n",
        ] {
            let said = refusal(text);
            assert!(!said.contains("canary"), "{text}: {said}");
        }
        assert!(refusal("[accounts.a]\npassword = \"canary\"\n").contains("password-command"));
    }

    #[test]
    fn all_variables_with_secrets_are_known() {
        let text = "[accounts.a]\npassword-env = \"A\"\n[accounts.b]\nimap = {url = \"imaps://x@h\", password-env = \"B\"}\n";
        assert_eq!(Config::parse(text, Path::new("c")).unwrap().secret_variables().collect::<Vec<_>>(), ["A", "B"]);
    }

    #[test]
    fn only_a_named_file_must_exist() {
        let missing = tempfile::tempdir().unwrap().path().join("none.toml");
        assert!(Config::read(&missing, false).unwrap().account_names().next().is_none());
        assert_eq!(Config::read(&missing, true).err().unwrap().kind(), Kind::Usage);
    }
}
