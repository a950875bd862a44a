//! `--on-success` and `--on-failure`: a command of the user's, run by the shell when a run is over and its locks are free again.
//! What happened reaches it through its standard input and its environment, never through its command line.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::App;
use crate::error::{Error, Result, io_words};
use crate::exit::ExitCode;

/// How often a running command is looked at.
const TICK: Duration = Duration::from_millis(20);

/// The options.
#[derive(clap::Args, Debug, Clone, Default)]
#[command(next_help_heading = "Hooks")]
pub struct Hooks {
    /// When all of it is done (exit 0), let sh -c run CMD: the JSON summary is its standard input; MAILHAUL_STORE,
    /// MAILHAUL_VERB and MAILHAUL_EXIT are in its environment
    #[arg(long, value_name = "CMD", value_hint = clap::ValueHint::CommandString)]
    pub on_success: Option<String>,
    /// The same for every other end, signals included. A command that fails is named; after a success the exit code is 3 then
    #[arg(long, value_name = "CMD", value_hint = clap::ValueHint::CommandString)]
    pub on_failure: Option<String>,
}

/// A run that is over, as its hook is told of it.
pub(super) struct Ended<'a> {
    /// `backup`, say.
    pub(super) verb: &'static str,
    /// The store's directory.
    pub(super) store: &'a std::path::Path,
    /// How it ended.
    pub(super) exit: ExitCode,
    /// The summary, one line of JSON.
    pub(super) summary: Vec<u8>,
    /// Variables that hold secrets, beside those of the config file.
    pub(super) hidden: &'a [String],
}

impl Hooks {
    /// Runs the command for this end, if there is one, and picks the exit: a hook that fails after a success makes it "done in
    /// part", because what the user wanted done behind it was not; after a failure that failure stays what counts.
    pub(super) fn run(&self, ended: Ended<'_>, app: &App) -> ExitCode {
        let exit = ended.exit;
        let (option, command) = match exit {
            ExitCode::Success => ("--on-success", &self.on_success),
            _ => ("--on-failure", &self.on_failure),
        };
        let Some(command) = command else { return exit };
        match shell(command, ended, app) {
            Ok(()) => exit,
            Err(error) => {
                super::warn(&format!("the command of {option} did not do its work: {error}"));
                if exit == ExitCode::Success { ExitCode::Partial } else { exit }
            }
        }
    }
}

fn shell(script: &str, ended: Ended<'_>, app: &App) -> Result<()> {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .env("MAILHAUL_EXIT", ended.exit.code().to_string())
        // Wherever the command goes from here.
        .env("MAILHAUL_STORE", std::path::absolute(ended.store).unwrap_or_else(|_| ended.store.to_owned()))
        .env("MAILHAUL_VERB", ended.verb)
        .stdin(Stdio::piped())
        // Standard output is the summary's.
        .stdout(std::io::stderr());
    for name in app.config.secret_variables().chain(ended.hidden.iter().cloned()) {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(|error| Error::local(format!("cannot run sh: {}", io_words(&error))).because(error))?;
    if let Some(mut stdin) = child.stdin.take() {
        let summary = ended.summary;
        // Its own thread, and nobody waits for it: a command need not read what it is told.
        std::thread::spawn(move || {
            let _ = stdin.write_all(&summary);
        });
    }
    let before = app.context.interrupted();
    let status = loop {
        let over = child.try_wait().map_err(|error| Error::local(format!("sh: {}", io_words(&error))).because(error))?;
        if let Some(status) = over {
            break status;
        }
        // A signal that ended the run is no reason to keep its owner from hearing of it; one that comes now is.
        if before.is_none() && app.context.interrupted().is_some() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::local("a signal stopped it"));
        }
        std::thread::sleep(TICK);
    };
    if status.success() { Ok(()) } else { Err(Error::local(how(status))) }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended in an unknown way".to_owned(),
    }
}
