//! The built program in a cage: its own home, an empty environment, no standard input, an end to every wait, and after
//! every run a search of all it wrote for the password.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use tempfile::TempDir;

use super::dovecot::User;
use super::{canary, tls};

/// Missing where an example is built of these files.
const PROGRAM: Option<&str> = option_env!("CARGO_BIN_EXE_mailhaul");

pub(super) fn program() -> &'static str {
    PROGRAM.expect("cargo says where the program is to tests and benches only")
}

/// A run that takes longer is killed, and the test fails.
const DEADLINE: Duration = Duration::from_secs(120);

/// A private home, in which the program can be run again and again.
pub struct Tool {
    dir: TempDir,
    environment: BTreeMap<OsString, OsString>,
    deadline: Duration,
}

/// What a run left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; minus the signal's number where a signal killed the program.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    args: Vec<String>,
}

/// A run under way.
pub struct Running {
    child: Child,
    done: Receiver<(bool, Vec<u8>)>,
    args: Vec<String>,
    deadline: Duration,
    root: PathBuf,
}

impl Tool {
    /// A new, empty home.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mh-tool-").tempdir().unwrap();
        for sub in ["home", "config/mailhaul", "state", "cache", "data", "tmp", "secret", "work"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        let tool = Self { environment: BTreeMap::new(), deadline: DEADLINE, dir };
        let password = tool.password_file();
        fs::write(&password, format!("{}\n", canary())).unwrap();
        fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        tool
    }

    /// Writes the config file (replacing it).
    pub fn config(&self, text: &str) -> &Self {
        fs::write(self.config_file(), text).unwrap();
        self
    }

    /// Adds an account with both sides, trusted authority and password file to the config file.
    pub fn account(&self, name: &str, user: &User) -> &Self {
        self.server(name, Some(&user.imaps()), Some(&user.pop3s()))
    }

    /// Adds an account with the sides given as URLs, trusted authority and password file to the config file.
    pub fn server(&self, name: &str, imap: Option<&str>, pop3: Option<&str>) -> &Self {
        let mut text = fs::read_to_string(self.config_file()).unwrap_or_default();
        text.push_str(&format!("[accounts.{name}]\n"));
        for (side, url) in [("imap", imap), ("pop3", pop3)] {
            if let Some(url) = url {
                text.push_str(&format!("{side} = \"{url}\"\n"));
            }
        }
        let ca = tls::identity().ca_file();
        text.push_str(&format!("password-file = \"{}\"\nca-file = \"{}\"\n\n", self.password_file().display(), ca.display()));
        self.config(&text)
    }

    /// The config file, whether it is there or not.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("config/mailhaul/config.toml")
    }

    /// A file that holds the password of every test user.
    pub fn password_file(&self) -> PathBuf {
        self.dir.path().join("secret/password")
    }

    /// A path in the directory the program runs in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    /// The same as text, for arguments.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `$XDG_STATE_HOME`.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Where `run` lets the trace go when the arguments hold `--trace` with this path.
    pub fn trace(&self) -> PathBuf {
        self.path("trace.log")
    }

    /// The trace of the last run that wrote one.
    pub fn read_trace(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.trace()).unwrap_or_default()).into_owned()
    }

    /// Sets a variable for all later runs.
    pub fn set_env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Takes a variable back.
    pub fn unset_env(&mut self, name: &str) -> &mut Self {
        self.environment.remove(OsStr::new(name));
        self
    }

    /// Gives later runs another bound than 120 s, real time.
    pub fn set_deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline = deadline;
        self
    }

    /// Turns the test clock on; the file holds the milliseconds by which it runs ahead.
    pub fn use_clock(&mut self) -> PathBuf {
        let file = self.dir.path().join("clock");
        fs::write(&file, "0").unwrap();
        self.set_env("MAILHAUL_TEST_CLOCK", &file);
        file
    }

    /// Milliseconds by which the test clock runs ahead.
    pub fn clock(&self) -> u64 {
        fs::read_to_string(self.dir.path().join("clock")).unwrap_or_default().trim().parse().unwrap_or(0)
    }

    /// Runs the program with standard input closed and searches all it wrote for the password.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.spawn(args, None).finish()
    }

    /// The same with these octets on standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Output {
        self.spawn(args, Some(input.to_vec())).finish()
    }

    /// The same through another program, which gets the path of ours and `args` behind its own arguments.
    pub fn run_under<S: AsRef<OsStr>>(&self, wrapper: &[&str], args: &[S]) -> Output {
        let mut command = self.command(wrapper[0]);
        command.args(&wrapper[1..]).arg(program());
        self.start(command, args, None).finish()
    }

    /// Starts the program; the caller ends it with [`Running::finish`].
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S], input: Option<Vec<u8>>) -> Running {
        self.start(self.command(program()), args, input)
    }

    fn start<S: AsRef<OsStr>>(&self, mut command: Command, args: &[S], input: Option<Vec<u8>>) -> Running {
        command
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let (Some(bytes), Some(mut stdin)) = (input, child.stdin.take()) {
            // The program may end without reading; that is for the test to judge by its exit code.
            std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let (sender, done) = channel();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let other = sender.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            let _ = sender.send((true, bytes));
        });
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            let _ = other.send((false, bytes));
        });
        let args = args.iter().map(|arg| arg.as_ref().to_string_lossy().into_owned()).collect();
        Running { child, done, args, deadline: self.deadline, root: self.dir.path().to_owned() }
    }

    /// Any program in this home; how it ends and what it writes is for the caller to look at.
    pub fn command(&self, program: &str) -> Command {
        let root = self.dir.path();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", root.join("home"))
            .env("XDG_CONFIG_HOME", root.join("config"))
            .env("XDG_STATE_HOME", root.join("state"))
            .env("XDG_CACHE_HOME", root.join("cache"))
            .env("XDG_DATA_HOME", root.join("data"))
            .env("TMPDIR", root.join("tmp"))
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .envs(&self.environment)
            .current_dir(root.join("work"));
        command
    }
}

impl Default for Tool {
    fn default() -> Self {
        Self::new()
    }
}

impl Running {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end and searches all that was written for the password.
    pub fn finish(mut self) -> Output {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut late = false;
        for _ in 0..2 {
            let received = self.done.recv_timeout(self.deadline).unwrap_or_else(|_| {
                late = true;
                let _ = self.child.kill();
                self.done.recv_timeout(Duration::from_secs(5)).unwrap_or((false, b"(still open)".to_vec()))
            });
            *(if received.0 { &mut stdout } else { &mut stderr }) = received.1;
        }
        let status = self.child.wait().unwrap();
        let output = Output {
            code: code(status),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            args: std::mem::take(&mut self.args),
        };
        assert!(!late, "not done after {:?}: {output}", self.deadline);
        output.search();
        super::schema::hold(&output.args, &output.stdout, &output.stderr);
        for sub in ["home", "config", "state", "cache", "data", "tmp"] {
            search_tree(&self.root.join(sub));
        }
        for entry in fs::read_dir(self.root.join("work")).into_iter().flatten().flatten() {
            // Only what lies on top: below stand mail stores, which may be large and hold what the test put there.
            search_file(&entry.path());
        }
        output
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

impl Output {
    /// Insists on an exit code and shows both streams where it is another.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}: {self}"))
    }

    /// Insists on words on standard error.
    #[track_caller]
    pub fn expect_stderr(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "{words:?} is not on standard error: {self}");
        self
    }

    fn search(&self) {
        for (name, bytes) in [("standard output", &self.stdout[..]), ("standard error", self.stderr.as_bytes())] {
            assert!(!holds_canary(bytes), "the password stands on {name}: {self}");
        }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.stdout[..self.stdout.len().min(20_000)];
        write!(
            f,
            "mailhaul {}\nexit {}\n--- stdout\n{}\n--- stderr\n{}",
            self.args.join(" "),
            self.code,
            String::from_utf8_lossy(shown),
            self.stderr
        )
    }
}

/// Whether `bytes` hold the password: as it is, in hex, or within base64 at any alignment (so in any SASL frame).
pub fn holds_canary(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut needles = vec![canary().to_owned(), canary().bytes().map(|byte| format!("{byte:02x}")).collect()];
    for skipped in 0..3 {
        let padded = format!("{}{}", "x".repeat(skipped), canary());
        let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(padded);
        // The first and last groups also depend on the neighbours.
        needles.push(encoded[4..encoded.len() - 4].to_owned());
    }
    needles.iter().any(|needle| text.contains(needle))
}

fn search_tree(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) { search_tree(&path) } else { search_file(&path) }
    }
}

fn search_file(path: &Path) {
    if path.is_file() {
        assert!(!holds_canary(&fs::read(path).unwrap_or_default()), "the password stands in {}", path.display());
    }
}
