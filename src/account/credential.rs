//! Where a password or token comes from: a command, a file, a variable, netrc, or a person at the terminal. Commands run
//! without a shell; nothing here puts a secret into an argument, an environment or an error.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::context::{Context, Moment};
use crate::error::{Error, Result, io_words};
use crate::secret::Secret;

use super::netrc;

/// How long a password command may take; a person may have to touch a key or type a passphrase.
const COMMAND_TIME: Duration = Duration::from_secs(60);
/// For how long a token serves further connections: they live an hour, and whoever gives them may keep one for a while as well.
const TOKEN_TIME: Duration = Duration::from_mins(5);
/// The longest file, or first line, that is taken for one with a secret.
const SECRET_BYTES: u64 = 64 * 1024;
/// How often a running command is looked at.
const TICK: Duration = Duration::from_millis(5);

const OPTIONS: &str = "give --password-command, --password-file, --password-env or --token-command (with two places: --from-… and --to-…), an entry in ~/.netrc, or the like keys in the config file";

/// The source of a password or token, as the command line or the config file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// The first line a command prints: its arguments, run without a shell.
    Command(Vec<String>),
    /// The first line of a file that only its owner can read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// `~/.netrc`, which must have an entry.
    Netrc,
    /// The system's keyring: not in this version.
    Keyring,
    /// An OAuth 2.0 access token: the first line a command prints.
    TokenCommand(Vec<String>),
    /// Nothing was said: netrc if it has an entry, else a prompt on the terminal.
    Unspecified,
}

/// Where a password or token comes from. It has no `Debug`: it may hold the password once fetched.
#[derive(Clone)]
pub struct Credential {
    source: CredentialSource,
    no_input: bool,
    /// Variables that hold secrets: no child inherits them.
    hidden_env: Vec<String>,
    /// What was fetched already; clones share it, so that a person is asked once.
    fetched: Arc<Mutex<Option<Fetched>>>,
}

struct Fetched {
    secret: Secret,
    at: Moment,
    /// A server took it.
    worked: bool,
}

impl Credential {
    /// A credential from `source`. With `no_input` nobody is asked; `hidden_env` names variables no child may inherit.
    pub fn new(source: CredentialSource, no_input: bool, mut hidden_env: Vec<String>) -> Self {
        if let CredentialSource::Env(name) = &source {
            hidden_env.push(name.clone());
        }
        Self { source, no_input, hidden_env, fetched: Arc::default() }
    }

    /// A password that is known already.
    pub fn known(password: Secret) -> Self {
        let credential = Self::new(CredentialSource::Unspecified, true, Vec::new());
        Self { fetched: Arc::new(Mutex::new(Some(Fetched { secret: password, at: Moment::default(), worked: false }))), ..credential }
    }

    /// Environment variables that hold secrets of any account of this command: no child inherits them.
    pub fn hidden_env(&self) -> &[String] {
        &self.hidden_env
    }

    /// The source it was made of.
    pub fn source(&self) -> &CredentialSource {
        &self.source
    }

    /// Fetches the secret, which is a token where `token` or its source says so; the second value tells. What was fetched
    /// before serves again, a token for a little while only, because tokens expire.
    pub(super) fn fetch(&self, context: &Context, place: &str, host: &str, user: &str, token: bool) -> Result<(Secret, bool)> {
        let token = token || matches!(self.source, CredentialSource::TokenCommand(_));
        // Held while fetching: several connections log in at once, and one prompt serves them all.
        let mut fetched = self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = fetched.as_ref()
            && !(token && self.renews() && context.now().since(known.at) > TOKEN_TIME)
        {
            return Ok((known.secret.clone(), token));
        }
        let secret = checked(self.fetch_password(context, place, host, user)?)?;
        *fetched = Some(Fetched { secret: secret.clone(), at: context.now(), worked: false });
        Ok((secret, token))
    }

    /// What its source gives now that the server refused `refused`: `None` where that never worked, or there is nothing new, or a
    /// person would have to be asked. So a wrong password is shown once.
    pub(super) fn fetch_anew(&self, refused: &Secret, context: &Context, place: &str, host: &str, user: &str) -> Result<Option<Secret>> {
        if !self.renews() {
            return Ok(None);
        }
        let mut fetched = self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let worked = match fetched.as_ref() {
            // Another connection was quicker.
            Some(known) if known.secret.expose() != refused.expose() => return Ok(Some(known.secret.clone())),
            Some(known) => known.worked,
            None => false,
        };
        // One that never worked is wrong, and its source has just been asked.
        if !worked {
            return Ok(None);
        }
        let secret = checked(self.fetch_password(context, place, host, user)?)?;
        let new = secret.expose() != refused.expose();
        *fetched = Some(Fetched { secret: secret.clone(), at: context.now(), worked: false });
        Ok(new.then_some(secret))
    }

    /// The server took what was fetched last.
    pub(super) fn worked(&self) {
        if let Some(known) = self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut() {
            known.worked = true;
        }
    }

    /// Whether its source may give something else the next time, without asking anybody.
    fn renews(&self) -> bool {
        matches!(self.source, CredentialSource::Command(_) | CredentialSource::TokenCommand(_) | CredentialSource::File(_))
    }

    fn fetch_password(&self, context: &Context, place: &str, host: &str, user: &str) -> Result<Secret> {
        match &self.source {
            CredentialSource::Command(argv) | CredentialSource::TokenCommand(argv) => self.run(argv, context, COMMAND_TIME),
            CredentialSource::File(path) => first_line(&read_private_file(path)?).ok_or_else(|| {
                Error::auth(format!("the first line of {} is empty", path.display())).hint("the password is its first line")
            }),
            CredentialSource::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(Secret::new(value)),
                Ok(_) | Err(std::env::VarError::NotPresent) => Err(Error::auth(format!("the environment variable {name} is not set"))),
                Err(std::env::VarError::NotUnicode(_)) => Err(Error::auth(format!("the environment variable {name} is not UTF-8"))),
            },
            CredentialSource::Netrc => {
                from_netrc(host, user)?.ok_or_else(|| Error::auth(format!("netrc has no password for {user} at {host}")).hint(OPTIONS))
            }
            CredentialSource::Keyring => Err(no_keyring()),
            CredentialSource::Unspecified => match from_netrc(host, user)? {
                Some(secret) => Ok(secret),
                None => self.ask(context, place, user),
            },
        }
    }

    fn ask(&self, context: &Context, place: &str, user: &str) -> Result<Secret> {
        if self.no_input || !std::io::stdin().is_terminal() {
            return Err(Error::auth(format!("no password for {user}, and nobody can be asked for one")).hint(OPTIONS));
        }
        let prompt: String = format!("Password for {user} at {place}: ").chars().filter(|character| !character.is_control()).collect();
        match rpassword::prompt_password(prompt) {
            Ok(password) => Ok(Secret::new(password)),
            Err(error) => {
                context.check()?;
                Err(Error::auth("no password was typed").because(error).hint(OPTIONS))
            }
        }
    }

    /// Runs `argv` without a shell and takes the first line of what it prints.
    fn run(&self, argv: &[String], context: &Context, time: Duration) -> Result<Secret> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err(Error::auth("the password command is empty"));
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(if std::io::stderr().is_terminal() { Stdio::inherit() } else { Stdio::null() });
        for name in &self.hidden_env {
            command.env_remove(OsStr::new(name));
        }
        let mut child =
            command.spawn().map_err(|error| Error::auth(format!("cannot run {program}: {}", io_words(&error))).because(error))?;
        let (sender, line) = sync_channel(1);
        if let Some(output) = child.stdout.take() {
            // Its own thread: something the command left behind may hold the pipe open for ever.
            std::thread::spawn(move || {
                let mut output = BufReader::new(output);
                let mut first = Vec::new();
                let read = (&mut output).take(SECRET_BYTES).read_until(b'\n', &mut first);
                let _ = sender.send(read.map(|_| first));
                // Drained, so that a command with more to print does not die of it.
                let _ = std::io::copy(&mut output, &mut std::io::sink());
            });
        }
        let start = Instant::now();
        let mut first = None;
        let status = loop {
            if first.is_none() {
                match line.recv_timeout(TICK) {
                    Ok(read) => first = Some(read),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                }
            } else {
                std::thread::sleep(TICK);
            }
            let ended = child.try_wait().map_err(|error| Error::auth(format!("{program}: {error}")).because(error))?;
            if let Some(status) = ended {
                break status;
            }
            let stopped = context.check();
            if stopped.is_err() || start.elapsed() > time {
                let _ = child.kill();
                let _ = child.wait();
                stopped?;
                return Err(Error::auth(format!("{program} gave no password within {} s and was stopped", time.as_secs())));
            }
        };
        if !status.success() {
            return Err(Error::auth(format!("{program} gave no password or token: it ended with {status}"))
                .hint("run the command by hand to see why"));
        }
        let first = match first {
            Some(read) => read,
            None => line.recv_timeout(Duration::from_secs(1)).unwrap_or_else(|_| Ok(Vec::new())),
        };
        let first = first.map_err(|error| Error::auth(format!("{program}: {error}")).because(error))?;
        let text = String::from_utf8(first).map_err(|_| Error::auth(format!("what {program} printed is not UTF-8")))?;
        first_line(&Secret::new(text))
            .ok_or_else(|| Error::auth(format!("{program} printed an empty first line")).hint("the password or token is its first line"))
    }
}

/// Splits a command typed as one string into its arguments: at blanks, with '…' taken literally, "…" where a backslash
/// escapes, and a backslash outside quotes that escapes the next character. Nothing else of a shell: no variables, no pipes.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when a quote does not end, or there is no word.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    let open = || Error::usage("a quote in the command does not end");
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or_else(open)? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or_else(open)? {
                        '"' => break,
                        '\\' => word.push(characters.next().ok_or_else(open)?),
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next().ok_or_else(open)?),
            blank if blank.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return Err(Error::usage("the command is empty"));
    }
    Ok(words)
}

/// Reads a file that holds a secret, and refuses one that others can read.
pub(super) fn read_private_file(path: &Path) -> Result<Secret> {
    let failed = |error: std::io::Error| Error::auth(format!("cannot read {}: {}", path.display(), io_words(&error))).because(error);
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that it cannot be exchanged in between.
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(Error::auth(format!("{} can be read or written by others than its owner, so it is not used", path.display()))
            .hint(format!("chmod 600 {}", path.display())));
    }
    let mut text = String::new();
    let read = file.take(SECRET_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > SECRET_BYTES {
        return Err(Error::auth(format!("{} is too long for a file with a password", path.display())));
    }
    Ok(Secret::new(text))
}

pub(super) fn no_keyring() -> Error {
    Error::usage("the keyring is not available in this version")
        .hint("use password-command (with `secret-tool lookup`, say), password-file or netrc")
}

fn from_netrc(host: &str, user: &str) -> Result<Option<Secret>> {
    let Some(path) = netrc::path() else { return Ok(None) };
    let Some(entries) = netrc::read(&path)? else { return Ok(None) };
    Ok(netrc::find(&entries, host, Some(user)).and_then(|entry| entry.password.clone()))
}

fn first_line(text: &Secret) -> Option<Secret> {
    let line = text.expose().split('\n').next().unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    (!line.is_empty()).then(|| Secret::new(line))
}

/// No command or SASL message of either protocol can carry these, and a line end would start a command of its own.
fn checked(secret: Secret) -> Result<Secret> {
    if secret.expose().contains(['\0', '\r', '\n']) {
        return Err(Error::auth("the password holds a line end or NUL, which no server can be sent"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::error::Kind;

    fn fetch(source: CredentialSource) -> Result<String> {
        let credential = Credential::new(source, true, vec!["HOME".into()]);
        credential.fetch(&Context::from_environment(), "work", "h", "ann", false).map(|(secret, _)| secret.expose().to_owned())
    }

    fn sh(script: &str) -> CredentialSource {
        CredentialSource::Command(vec!["sh".into(), "-c".into(), script.into()])
    }

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_commands_first_line_is_the_password() {
        assert_eq!(fetch(sh("printf 'one\\r\\ntwo\\n'")).unwrap(), "one");
        assert_eq!(fetch(sh("printf one")).unwrap(), "one");
        // More than a pipe holds: the rest is read and dropped.
        assert_eq!(fetch(sh("echo one; head -c 300000 /dev/zero")).unwrap(), "one");
    }

    #[test]
    fn a_failing_command_is_named_by_its_program_and_status_only() {
        let error = fetch(sh("echo canary; exit 3")).err().unwrap();
        assert_eq!(error.kind(), Kind::Auth);
        let said = format!("{error} {error:?}");
        assert!(
            said.contains("sh gave no password or token") && said.contains('3') && !said.contains("canary") && !said.contains("-c"),
            "{said}"
        );
        assert_eq!(fetch(sh("true")).err().unwrap().kind(), Kind::Auth);
        assert!(fetch(CredentialSource::Command(vec!["/nonexistent/x".into()])).is_err());
    }

    #[test]
    fn a_command_that_takes_too_long_is_stopped() {
        let credential = Credential::new(CredentialSource::Unspecified, true, Vec::new());
        let argv = ["sleep".to_owned(), "600".to_owned()];
        let error = credential.run(&argv, &Context::from_environment(), Duration::from_millis(1)).err().unwrap();
        assert!(error.message().contains("was stopped"));
    }

    #[test]
    fn no_child_inherits_a_hidden_variable_or_our_input() {
        assert_eq!(fetch(sh("printf '%s' \"${HOME-unset}\"")).unwrap(), "unset");
        assert_eq!(fetch(sh("if read x; then echo read; else echo nothing; fi")).unwrap(), "nothing");
    }

    #[test]
    fn what_was_fetched_serves_until_a_server_that_took_it_refuses_it() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("echo x >> {0}; wc -l < {0}", folder.path().join("count").display());
        let argv = vec!["sh".to_owned(), "-c".to_owned(), script];
        let context = Context::from_environment();
        let password = Credential::new(CredentialSource::Command(argv.clone()), true, Vec::new());
        let token = Credential::new(CredentialSource::TokenCommand(argv), true, Vec::new());
        let line = |credential: &Credential| credential.fetch(&context, "p", "h", "u", false).unwrap().0.expose().trim().to_owned();
        assert_eq!((line(&password), line(&password.clone())), ("1".into(), "1".into()));
        assert_eq!((line(&token), line(&token)), ("2".into(), "2".into()));
        assert!(token.fetch(&context, "p", "h", "u", false).unwrap().1);
        let anew = |refused: &str| {
            let secret = token.fetch_anew(&Secret::new(refused), &context, "p", "h", "u").unwrap();
            secret.map(|secret| secret.expose().trim().to_owned())
        };
        // Nobody ever took it: it is wrong, and asking again would be another try at a lock-out.
        assert_eq!(anew("2"), None);
        token.worked();
        assert_eq!(anew("2"), Some("3".into()));
        assert_eq!(anew("2"), Some("3".into()));
        assert_eq!(anew("3"), None);
        assert_eq!(line(&token), "3");
    }

    #[test]
    fn a_file_others_can_read_is_refused_with_the_remedy() {
        let (_folder, path) = file("canary\nmore\n", 0o600);
        assert_eq!(fetch(CredentialSource::File(path)).unwrap(), "canary");
        for mode in [0o640, 0o604, 0o620, 0o602] {
            let (_folder, path) = file("canary\n", mode);
            let error = fetch(CredentialSource::File(path)).err().unwrap();
            assert_eq!(error.kind(), Kind::Auth);
            assert!(error.remedy().unwrap().starts_with("chmod 600 ") && !error.to_string().contains("canary"));
        }
        let (_folder, path) = file("\nsecond\n", 0o600);
        assert!(fetch(CredentialSource::File(path)).is_err());
    }

    #[test]
    fn a_netrc_others_can_read_is_refused_and_a_missing_one_is_none() {
        let (_folder, path) = file("machine h login ann password one\n", 0o644);
        assert!(netrc::read(&path).is_err());
        let (folder, path) = file("machine h login ann password one\n", 0o600);
        assert_eq!(netrc::read(&path).unwrap().unwrap().len(), 1);
        assert!(netrc::read(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_password_with_a_line_end_is_refused() {
        let (_folder, path) = file("a\rb\n", 0o600);
        assert_eq!(fetch(CredentialSource::File(path)).err().unwrap().kind(), Kind::Auth);
        assert!(checked(Secret::new("a\0")).is_err());
    }

    #[test]
    fn nobody_is_asked_with_no_input_and_the_error_names_the_ways() {
        let credential = Credential::new(CredentialSource::Unspecified, true, Vec::new());
        let error = credential.ask(&Context::from_environment(), "work", "ann").err().unwrap();
        assert_eq!(error.kind(), Kind::Auth);
        assert!(error.remedy().unwrap().contains("--password-file"));
    }

    #[test]
    fn a_known_password_is_given_as_it_is() {
        let credential = Credential::known(Secret::new("p"));
        assert_eq!(credential.fetch(&Context::from_environment(), "p", "h", "u", false).unwrap().0.expose(), "p");
    }

    #[test]
    fn a_command_is_split_at_blanks_outside_quotes() {
        assert_eq!(split_words("pass show mail/work").unwrap(), ["pass", "show", "mail/work"]);
        assert_eq!(split_words(r#" a 'b  c' "d \" e" f\ g '' x'y'"z" "#).unwrap(), ["a", "b  c", "d \" e", "f g", "", "xyz"]);
        assert_eq!(split_words("a $HOME;b|c").unwrap(), ["a", "$HOME;b|c"]);
        for text in ["", "  ", "'a", "\"a", "a\\", "'' a"] {
            assert!(split_words(text).is_err(), "{text}");
        }
    }
}
