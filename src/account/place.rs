//! Places as people type them: an account of the config file, a URL, a path, or `-`. No error here repeats what may hold
//! a password.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::folder::Folder;

use super::credential::CredentialSource;
use super::server_url::{ServerUrl, check_user, no_pop3_folder, parse_folder, split_query};
use super::settings::Settings;
use super::{Config, Protocol, Server, netrc};

/// A place: where mail is.
#[derive(Clone)]
pub struct Place {
    /// How messages name it, with the folder and without options; never a secret.
    pub shown: String,
    /// What it is.
    pub location: Location,
    /// The folder, where one was named.
    pub folder: Option<Folder>,
}

/// The closed set of things a place can be.
#[derive(Clone)]
pub enum Location {
    /// An IMAP or POP3 server.
    Server(Box<Server>),
    /// A Maildir, or a tree of them.
    Maildir(PathBuf),
    /// An mbox file, or a folder of them.
    Mbox(PathBuf),
    /// A folder of `.eml` files, or one of them.
    Eml(PathBuf),
    /// Standard input or output.
    Stdio,
}

/// What the command line says about one place; it wins over the place's own options and the config file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Where the password or token comes from.
    pub credential: Option<CredentialSource>,
    /// `--ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--tls-pin`.
    pub pin: Option<[u8; 32]>,
    /// `--insecure`.
    pub insecure: bool,
    /// `--allow-plaintext`.
    pub allow_plaintext: bool,
    /// `--allow-preauth`.
    pub allow_preauth: bool,
    /// `--no-input`.
    pub no_input: bool,
    /// Environment variables that hold secrets of this command, of either side: no child inherits them.
    pub hidden_env: Vec<String>,
}

/// [`Overrides`] for a command with two places.
#[derive(Debug, Clone, Default)]
pub struct Sides {
    /// For the place mail comes from.
    pub from: Overrides,
    /// For the place mail goes to.
    pub to: Overrides,
}

impl Place {
    /// Reads a place in any of its forms. Touches netrc only, and that only for a URL that names no user.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] with a sentence that repeats nothing that could be a password.
    pub fn parse(text: &str, config: &Config, overrides: &Overrides) -> Result<Self> {
        let place = if text == "-" {
            Self { shown: "-".to_owned(), location: Location::Stdio, folder: None }
        } else if let Some(path) = text.strip_prefix("maildir:") {
            Self::of_path("maildir", path, Location::Maildir)?
        } else if let Some(path) = text.strip_prefix("mbox:") {
            Self::of_path("mbox", path, Location::Mbox)?
        } else if let Some(path) = text.strip_prefix("eml:") {
            Self::of_path("eml", path, Location::Eml)?
        } else if text.contains("://") {
            Self::of_url(text, config, overrides)?
        } else {
            Self::of_account(text, config, overrides)?
        };
        Ok(place)
    }

    fn of_path(scheme: &str, text: &str, location: impl FnOnce(PathBuf) -> Location) -> Result<Self> {
        let (path, folder) = split_local(text)?;
        let shown = folder.as_ref().map_or_else(|| format!("{scheme}:{path}"), |folder| format!("{scheme}:{path}//{folder}"));
        Ok(Self { shown, location: location(local_path(path)?), folder })
    }

    /// The server, where the place is one.
    pub fn server(&self) -> Option<&Server> {
        match &self.location {
            Location::Server(server) => Some(server),
            _ => None,
        }
    }

    fn of_url(text: &str, config: &Config, overrides: &Overrides) -> Result<Self> {
        let mut url = ServerUrl::parse(text)?;
        let settings = overrides.settings().or(&url.settings);
        let folder = url.folder.take();
        if url.user.is_none() && matches!(settings.credential, None | Some(CredentialSource::Netrc)) {
            url.user = user_from_netrc(&url.host)?;
        }
        let server = url.into_server(None, None, settings, config, overrides)?;
        Ok(Self::of_server(server, folder))
    }

    fn of_account(text: &str, config: &Config, overrides: &Overrides) -> Result<Self> {
        let (path, query) = split_query(text);
        let (word, folder) = path.split_once('/').map_or((path, None), |(word, folder)| (word, Some(folder)));
        let (name, side) = word.split_once(':').map_or((word, None), |(name, side)| (name, Some(side)));
        let Some(account) = config.account(name) else { return Err(no_such_account(text, name, side.is_some(), config)) };
        let protocol = match side {
            None => None,
            Some("imap") => Some(Protocol::Imap),
            Some("pop3" | "pop") => Some(Protocol::Pop3),
            Some(_) => return Err(Error::usage(format!("an account has the sides {name}:imap and {name}:pop3, no other"))),
        };
        let side = match protocol {
            None => account.imap.as_ref().or(account.pop3.as_ref()),
            Some(Protocol::Imap) => account.imap.as_ref(),
            Some(Protocol::Pop3) => account.pop3.as_ref(),
        };
        let Some(side) = side else {
            let missing = if protocol == Some(Protocol::Pop3) { "pop3" } else { "imap" };
            return Err(Error::usage(format!("the account {name} has no {missing} side in the config file")));
        };
        let folder = folder.map_or(Ok(None), parse_folder)?.or_else(|| side.url.folder.clone());
        let options = Settings::parse_options(query).map_err(|error| error.at(word))?;
        let settings = overrides.settings().or(&options).or(&side.settings).or(&side.url.settings).or(&account.settings);
        let fallback = account.email.as_deref();
        let server = side.url.clone().into_server(Some(word), fallback, settings, config, overrides)?;
        if server.protocol == Protocol::Pop3 && folder.as_ref().is_some_and(|folder| !folder.is_inbox()) {
            return Err(no_pop3_folder().at(&server.place));
        }
        Ok(Self::of_server(server, folder))
    }

    fn of_server(server: Server, folder: Option<Folder>) -> Self {
        let shown = folder.as_ref().map_or_else(|| server.place.clone(), |folder| format!("{}/{folder}", server.place));
        Self { shown, location: Location::Server(Box::new(server)), folder }
    }
}

impl Overrides {
    fn settings(&self) -> Settings {
        Settings {
            credential: self.credential.clone(),
            ca_file: self.ca_file.clone(),
            pin: self.pin,
            insecure: self.insecure.then_some(true),
            allow_preauth: self.allow_preauth.then_some(true),
            ..Settings::default()
        }
    }
}

/// `PATH//FOLDER`, cut at the last `//` that does not begin the path.
fn split_local(text: &str) -> Result<(&str, Option<Folder>)> {
    let leading = text.len() - text.trim_start_matches('/').len();
    let cut = text.rfind("//").filter(|cut| *cut >= leading);
    match cut.and_then(|cut| text.split_at_checked(cut)) {
        Some((path, folder)) => Ok((path.trim_end_matches('/'), parse_folder(folder)?)),
        None => Ok((text, None)),
    }
}

/// A local path; the shell leaves `~/` behind a colon alone, so it is read here.
pub(super) fn local_path(text: &str) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(Error::usage("the path is empty").hint("as in maildir:/home/ann/Mail or mbox:old.mbox"));
    }
    if text.contains('\0') {
        return Err(Error::usage("the path holds NUL"));
    }
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(below), Some(home)) => Ok(home.join(below)),
        _ => Ok(PathBuf::from(text)),
    }
}

fn user_from_netrc(host: &str) -> Result<Option<String>> {
    let Some(path) = netrc::path() else { return Ok(None) };
    let Some(entries) = netrc::read(&path)? else { return Ok(None) };
    let user = netrc::find(&entries, host, None).and_then(|entry| entry.login.clone());
    user.map(|user| check_user(&user).map(|()| user)).transpose()
}

fn no_such_account(text: &str, name: &str, colon: bool, config: &Config) -> Error {
    let known = config.account_names().collect::<Vec<_>>().join(", ");
    // `ann:secret@host` without a scheme ends up here.
    if text.contains('@') && (colon || text.contains(':')) {
        return Error::usage("what stands for a place is neither an account nor a URL")
            .hint("a server is imaps://USER@HOST, without a password");
    }
    let error = Error::usage(format!("`{name}` is neither an account nor a URL"));
    if name.is_empty() || name.starts_with(['.', '~']) {
        let path = if text.is_empty() { "PATH" } else { text };
        return Error::usage("a path needs to say what kind of store it is").hint(format!("maildir:{path}, mbox:{path} or eml:{path}"));
    }
    if matches!(name, "imap" | "imaps" | "pop" | "pops" | "pop3" | "pop3s") {
        return error.hint(format!("a URL has two slashes: {name}://USER@HOST"));
    }
    // UIDs where the place was forgotten.
    if text.split([',', ':', '*']).all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return error.hint("the place stands before the UIDs, as in work/Archive 17 20:40");
    }
    if known.is_empty() {
        return error.hint("no account is configured; a server is imaps://USER@HOST, a folder of mail maildir:PATH");
    }
    let first = config.default_account().or_else(|| config.account_names().next()).unwrap_or_default();
    // A folder where its account was forgotten, most likely; no URL, and no typing error of an account either.
    let folder = if text.contains(':') { "FOLDER" } else { text };
    error.hint(format!("the accounts are: {known}; a folder of one is {first}/{folder}, a server imaps://USER@HOST, a store maildir:PATH"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use std::time::Duration;

    use super::*;
    use crate::account::{Authentication, parse_pin, redact};
    use crate::error::Kind;
    use crate::net::Security;
    use crate::sasl::Mechanism;

    fn config() -> Config {
        let text = r#"
            [accounts.work]
            email = "ann@example.org"
            imap = { url = "imaps://imap.example.org", connections = 4, insecure = true }
            pop3 = "pop3s://bob@pop.example.org?timeout=5"
            timeout = "30s"
            password-env = "WORK_PASSWORD"
            [accounts.old]
            pop3 = "pop3://bob@pop.example.org"
            netrc = true
            [accounts.ring]
            imap = "imaps://ann@h"
            keyring = true
        "#;
        Config::parse(text, Path::new("/etc/config.toml")).unwrap()
    }

    fn parse(text: &str) -> Result<Place> {
        // A chosen source, so that no test looks into the netrc of whoever runs it.
        let overrides = Overrides { credential: Some(CredentialSource::Env("P".into())), ..Overrides::default() };
        Place::parse(text, &config(), &overrides)
    }

    fn server(text: &str) -> Server {
        parse(text).unwrap().server().unwrap().clone()
    }

    fn refusal(text: &str) -> String {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert_eq!(error.kind(), Kind::Usage, "{text}");
        format!("{error} {}", error.remedy().unwrap_or_default())
    }

    #[test]
    fn a_scheme_decides_protocol_security_and_port() {
        for (text, protocol, security, port) in [
            ("imaps://ann@h", Protocol::Imap, Security::Implicit, 993),
            ("imap://ann@h", Protocol::Imap, Security::StartTls, 143),
            ("pop3s://ann@h", Protocol::Pop3, Security::Implicit, 995),
            ("pops://ann@h", Protocol::Pop3, Security::Implicit, 995),
            ("pop://ann@h", Protocol::Pop3, Security::StartTls, 110),
            ("POP3://ann@h", Protocol::Pop3, Security::StartTls, 110),
            ("imap://ann@h:1143", Protocol::Imap, Security::StartTls, 1143),
            ("imap://ann@h?tls=implicit", Protocol::Imap, Security::Implicit, 993),
        ] {
            let server = server(text);
            assert_eq!((server.protocol, server.endpoint.security, server.endpoint.port), (protocol, security, port), "{text}");
        }
    }

    #[test]
    fn a_url_shows_without_options_and_its_folder_is_split_at_slashes() {
        let place = parse("imaps://ann%40example.org@Host.Example:9993/Archive/a%2Fb/?timeout=2m&auth=PLAIN&connections=8").unwrap();
        assert_eq!(place.shown, "imaps://ann%40example.org@host.example:9993/Archive/a%2Fb");
        assert_eq!(place.folder.as_ref().unwrap().levels(), ["Archive", "a/b"]);
        let server = place.server().unwrap();
        assert_eq!((server.user.as_str(), server.endpoint.host.as_str(), server.connections), ("ann@example.org", "host.example", 8));
        assert_eq!(server.endpoint.timeout, Some(Duration::from_mins(2)));
        assert_eq!(server.auth, Some(Authentication::Sasl(Mechanism::Plain)));
        assert!(parse("imaps://ann@h/").unwrap().folder.is_none());
    }

    #[test]
    fn every_local_store_may_name_a_folder_behind_two_slashes() {
        for scheme in ["maildir", "mbox", "eml"] {
            let place = parse(&format!("{scheme}:/a//b/c%2Fd")).unwrap();
            assert_eq!(place.folder.as_ref().unwrap().levels(), ["b", "c/d"]);
            assert_eq!(place.shown, format!("{scheme}:/a//b/c%2Fd"));
            assert!(parse(&format!("{scheme}://a/b")).unwrap().folder.is_none());
        }
    }

    #[test]
    fn a_user_may_be_an_address_with_a_plain_at_sign() {
        assert_eq!(server("imaps://ann@example.org@imap.example.org").user, "ann@example.org");
    }

    #[test]
    fn an_ipv6_host_stands_in_brackets_and_is_shown_so() {
        let server = server("imap://ann@[0:0::1]:1143?tls=none");
        assert_eq!((server.endpoint.host.as_str(), server.endpoint.port), ("::1", 1143));
        assert_eq!(server.place, "imap://ann@[::1]:1143");
        refusal("imap://ann@::1");
        refusal("imap://ann@[::1");
        refusal("imap://ann@[::1]x");
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_never_repeated() {
        for text in [
            "imaps://ann:canary@host",
            "imaps://ann:can/canary@host/x",
            "imaps://ann:c@nary/canary@host",
            "imaps://ann:993canary@host",
            "imaps://ann:canary?x@host",
            "imaps://ann:#canary@host",
            "imaps://:canary@host",
            "https://ann:canary@host",
            "imaps://ann:canary",
            "ann:canary@host",
            "imaps:ann:canary@host",
            "imaps://ann@ho%00st:canary",
            "imaps://ann@host:canary",
        ] {
            let said = refusal(text);
            assert!(!said.contains("canary") && !said.contains("nary"), "{text}: {said}");
        }
        assert!(refusal("imaps://ann:canary@host").contains("--password-command"));
        assert!(parse("imaps://ann@host:993/a@b").is_ok());
        assert!(refusal("imaps://host:993/a@b").contains("no user is named"));
    }

    #[test]
    fn redacting_leaves_out_what_may_be_a_password() {
        assert_eq!(redact("imaps://ann:p@ss@host/x"), "imaps://ann:…@host/x");
        assert_eq!(redact("ann:secret@host"), "ann:…@host");
        for text in ["imaps://ann@host:993/x", "maildir:/a/b", "work:pop3", "--limit"] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn line_ends_and_nul_are_refused_in_users_hosts_and_folders() {
        for text in [
            "imaps://an%0d%0an@h",
            "imaps://an\r\nn@h",
            "imaps://ann%00@h",
            "imaps://ann%1b@h",
            "imaps://ann@h\r\n",
            "imaps://ann@h%0a",
            "imaps://ann@h\0",
            "imaps://ann@h/a%0d%0ab",
            "imaps://ann@h/a\nb",
            "work/a%00b",
            "imaps://ann%ff@h",
            "imaps://ann%4@h",
            "imaps://@h",
            "imaps://ann@",
            "imaps://ann@a b",
            "maildir:a\0",
            "imaps://ann;AUTH=PLAIN@h",
            "imaps://ann@h:0",
            "imaps://ann@h:65536",
            "imaps://ann@h:+5",
            "imaps://ann@h/a//b",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn a_plain_connection_stays_on_this_machine_unless_allowed() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert_eq!(server(&format!("imap://ann@{host}?tls=none")).endpoint.security, Security::None);
        }
        for host in ["h", "127.0.0.1.example.org", "localhost.example.org", "10.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(refusal(&format!("imap://ann@{host}?tls=none")).contains("--allow-plaintext"), "{host}");
        }
        let overrides = Overrides { allow_plaintext: true, credential: Some(CredentialSource::Env("P".into())), ..Overrides::default() };
        let place = Place::parse("imap://ann@h?tls=none", &Config::default(), &overrides).unwrap();
        assert!(place.server().unwrap().endpoint.allow_plaintext);
        assert!(place.server().unwrap().warnings()[0].contains("not encrypted"));
    }

    #[test]
    fn an_unknown_option_names_the_known_ones() {
        let said = refusal("imaps://ann@h?colour=red");
        assert!(said.contains("`colour`") && said.contains("tls, auth, timeout, connections, compress"), "{said}");
        for text in [
            "imaps://ann@h?tls=maybe",
            "work?connections=9",
            "work?timeout=0",
            "work?auth=scram-sha-256",
            "work?tls=none&tls=none",
            "work?",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn an_account_is_its_imap_side_else_its_pop3_side() {
        let work = server("work");
        assert_eq!((work.place.as_str(), work.protocol, work.user.as_str()), ("work", Protocol::Imap, "ann@example.org"));
        assert_eq!(server("old").protocol, Protocol::Pop3);
        assert_eq!(server("work:pop3").user, "bob");
        let place = parse("work/Archive/2024").unwrap();
        assert_eq!((place.shown.as_str(), place.folder.unwrap().levels().len()), ("work/Archive/2024", 2));
        assert_eq!(parse("work:imap/A").unwrap().shown, "work:imap/A");
        assert!(refusal("old:imap").contains("no imap side"));
        assert!(refusal("work:smtp").contains("work:pop3"));
        assert!(refusal("work:pop3/Archive").contains("INBOX"));
        assert!(refusal("pop3s://ann@h/Archive").contains("INBOX"));
        assert!(parse("pop3s://ann@h/inbox").is_ok());
    }

    #[test]
    fn nearer_levels_win_the_command_line_first() {
        let work = server("work");
        assert_eq!((work.connections, work.endpoint.timeout, work.endpoint.tls.insecure), (4, Some(Duration::from_secs(30)), true));
        assert!(work.warnings()[0].contains("certificate"));
        assert_eq!(server("work?connections=1").connections, 1);
        assert_eq!(server("work:pop3").endpoint.timeout, Some(Duration::from_secs(5)));
        assert_eq!(work.credential.source(), &CredentialSource::Env("P".into()));
        let plain = Place::parse("work", &config(), &Overrides::default()).unwrap();
        assert_eq!(plain.server().unwrap().credential.source(), &CredentialSource::Env("WORK_PASSWORD".into()));
        assert_eq!(server("imaps://ann@h").connections, 2);
    }

    #[test]
    fn a_keyring_is_refused_in_words_unless_the_command_line_names_another_source() {
        let error = Place::parse("ring", &config(), &Overrides::default()).err().unwrap();
        assert!(error.message().contains("not available in this version"));
        assert!(parse("ring").is_ok());
    }

    #[test]
    fn local_places_are_paths() {
        let place = parse("maildir:/home/ann//Mail//Archive/2024").unwrap();
        let Location::Maildir(path) = &place.location else { panic!() };
        assert_eq!(path, Path::new("/home/ann//Mail"));
        assert_eq!(
            (place.folder.unwrap().to_string().as_str(), place.shown.as_str()),
            ("Archive/2024", "maildir:/home/ann//Mail//Archive/2024")
        );
        assert!(matches!(parse("maildir:///srv/mail").unwrap(), Place { folder: None, .. }));
        assert!(matches!(parse("mbox:a?b").unwrap().location, Location::Mbox(path) if path == Path::new("a?b")));
        assert!(matches!(parse("eml:x").unwrap().location, Location::Eml(_)));
        assert!(matches!(parse("-").unwrap().location, Location::Stdio));
        refusal("maildir:");
        refusal("eml:");
    }

    #[test]
    fn a_word_that_is_nothing_names_the_accounts_or_the_form_of_a_path() {
        assert!(refusal("home").contains("old, ring, work"));
        assert!(refusal("./mail").contains("maildir:./mail"));
        assert!(refusal("/srv/mail").contains("maildir:/srv/mail"));
        assert!(refusal("").contains("maildir:PATH"));
        assert!(refusal("imaps:h").contains("imaps://"));
    }

    #[test]
    fn a_pin_is_64_hex_digits() {
        assert_eq!(parse_pin(&format!("sha256:{}", "0f".repeat(32))).unwrap(), [15; 32]);
        for prefix in ["sha256:", "sha256 Fingerprint=", "SHA256 Fingerprint="] {
            assert_eq!(parse_pin(&format!("{prefix}AB{}", ":cd".repeat(31))).unwrap()[1], 0xcd);
        }
        for text in
            ["", "sha256:", "sha1:00", &format!("sha256:{}", "0".repeat(63)), &"0".repeat(64), &format!("sha256:{}x", "0".repeat(63))]
        {
            assert!(parse_pin(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_parsing_panic(text in "(imaps?://|work|maildir:|)[@:/?%\\[\\]a-z0-9=\\PC]{0,40}") {
            let _ = parse(&text);
            let _ = redact(&text);
        }

        #[test]
        fn no_text_behind_a_password_brings_it_out(tail in "\\PC{0,30}") {
            let text = format!("imaps://ann:CANARY{tail}");
            if let Err(error) = parse(&text) {
                let said = format!("{error:?}");
                proptest::prop_assert!(!said.contains("CANARY"), "{}", said);
            } else {
                // Only a port number may follow the colon.
                proptest::prop_assert!(false, "taken: {}", text);
            }
        }
    }
}
