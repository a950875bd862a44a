//! argv → commands → one error sentence on standard error → exit code.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use mailhaul::commands::{self, Cli};
use mailhaul::context::Context;
use mailhaul::error::{Error, Kind};
use mailhaul::{account, exit, output};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let json = wants_json(&arguments);
    let cli = match Cli::try_parse_from(help_wanted(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => return usage(error, &arguments, json),
    };
    let context = Context::from_environment();
    let result = watch_signals(&context).and_then(|()| commands::run(cli, &context));
    let code = result.unwrap_or_else(|error| {
        if error.kind() != Kind::BrokenPipe {
            report(&error, json);
        }
        error.kind().into()
    });
    ExitCode::from(code.code())
}

/// `mailhaul help VERB`, as many programs have it, is `mailhaul VERB --help`.
fn help_wanted(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

/// The first signal asks the run to stop at its next safe point; the second ends the process at once.
fn watch_signals(context: &Context) -> Result<(), Error> {
    let asked = Arc::new(AtomicBool::new(false));
    for (signal, number) in [(SIGHUP, 1), (SIGINT, 2), (SIGTERM, 15)] {
        // In this order: the shutdown must see whether an earlier signal asked, not this one.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))
            .and_then(|_| signal_hook::flag::register_usize(signal, context.signal_cell(), number))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&asked)))
            .map_err(|error| Error::local(format!("cannot watch for signals: {error}")).because(error))?;
    }
    Ok(())
}

/// Prints the one sentence, or the JSON object of it; a closed standard error leaves nobody to tell.
fn report(error: &Error, json: bool) {
    let _ = output::write_error(&mut std::io::stderr(), error, json);
}

/// What clap has to say: help and version on standard output, a mistake on standard error. A place that stands where none
/// belongs is quoted by clap, so a password in it is taken out first.
fn usage(mut error: clap::Error, arguments: &[String], json: bool) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(exit::ExitCode::Local.code()),
            _ => ExitCode::SUCCESS,
        };
    }
    // Whoever mistypes an option is not to be talked into one that switches off the check of certificates.
    if matches!(error.get(ContextKind::SuggestedArg), Some(ContextValue::String(option)) if option.ends_with("insecure")) {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::Usage);
    }
    let mut text = error.render().to_string();
    for argument in arguments {
        if let std::borrow::Cow::Owned(safe) = account::redact(argument) {
            text = text.replace(argument.as_str(), &safe);
        }
    }
    if json {
        // The first paragraph; usage and hints follow.
        let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let sentence = paragraph.join(" ").trim_start_matches("error: ").to_owned();
        report(&Error::usage(sentence).hint("see --help"), true);
    } else {
        let text: Vec<_> = text.lines().map(output::sanitize::line).collect();
        let _ = writeln!(std::io::stderr(), "{}", text.join("\n"));
    }
    ExitCode::from(exit::ExitCode::Usage.code())
}

/// Whether errors are to be JSON, found out before clap, which may be what fails.
fn wants_json(arguments: &[String]) -> bool {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).take_while(|argument| *argument != "--").collect();
    let is_json = |value: &str| matches!(value, "json" | "jsonl");
    arguments.iter().enumerate().any(|(index, argument)| match *argument {
        "--json" => true,
        "-o" | "--output" => arguments.get(index + 1).is_some_and(|value| is_json(value)),
        other => {
            other.strip_prefix("--output=").or_else(|| other.strip_prefix("-o")).is_some_and(|value| is_json(value.trim_start_matches('=')))
        }
    })
}
