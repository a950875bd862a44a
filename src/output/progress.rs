//! Progress on standard error: a bar on a terminal, with a line below it for each connection that is at work, lines elsewhere, JSON lines for programs. It shows events and never
//! makes any; nothing of it reaches standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::sanitize;
use super::table::bytes_for_people;
use crate::context::{Context, Moment};
use crate::report::{Event, Problem, ProgressMode, Report};

/// At most ten JSON lines a second.
const JSON_EVERY: Duration = Duration::from_millis(100);
/// Where a bar was asked for and there is no terminal: a line now and then.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How long a folder is named from which nothing came since.
const LATELY: Duration = Duration::from_secs(3);

/// How much is told besides progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: problems only.
    Quiet,
    /// Notes too.
    #[default]
    Normal,
    /// `-v`: everything.
    Verbose,
}

/// Shows events as they come.
pub struct Progress {
    context: Context,
    verbosity: Verbosity,
    shape: Shape,
    state: Mutex<State>,
}

enum Shape {
    Silent,
    Bar(Bar),
    Lines,
    Json,
}

/// A bar of the whole run, and the block it is drawn in.
struct Bar {
    block: MultiProgress,
    sum: ProgressBar,
}

struct State {
    stderr: Box<dyn Write + Send>,
    folders: BTreeMap<String, Amount>,
    total: Amount,
    current: String,
    /// Folders from which something came lately: each connection is at work on one.
    lately: BTreeMap<String, Moment>,
    /// The lines below the bar.
    lines: Vec<ProgressBar>,
    started: Moment,
    shown: Option<Moment>,
    /// Whether something changed since it was last shown.
    stale: bool,
}

/// Done and to do.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    messages: (u64, u64),
    bytes: (u64, u64),
}

/// A line of `--progress=json` that tells how far a run is.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ProgressLine<'a> {
    /// `progress`.
    event: &'static str,
    /// The folder that is being worked on.
    folder: &'a str,
    /// Messages of that folder that are done.
    messages_done: u64,
    /// Messages of that folder.
    messages_total: u64,
    /// Octets of that folder that are done.
    bytes_done: u64,
    /// Octets of that folder, as far as sizes are known.
    bytes_total: u64,
    /// The rate of the whole run.
    bytes_per_second: u64,
    /// For the whole run, where it can be told.
    seconds_left: Option<u64>,
}

/// Any other line of `--progress=json`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ProgressMessage<'a> {
    /// `problem`, `waiting` or `note`.
    event: &'static str,
    /// The folder, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'a str>,
    /// The message, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    /// In a sentence.
    text: &'a str,
}

impl Progress {
    /// Progress on `stderr`, which is (or is not) a terminal.
    pub fn new(context: Context, mode: ProgressMode, verbosity: Verbosity, stderr: Box<dyn Write + Send>, is_terminal: bool) -> Self {
        let quiet = verbosity == Verbosity::Quiet;
        let shape = match mode {
            ProgressMode::Json => Shape::Json,
            ProgressMode::Auto if is_terminal && !quiet => Shape::Bar(bar()),
            ProgressMode::Always if is_terminal => Shape::Bar(bar()),
            ProgressMode::Always => Shape::Lines,
            ProgressMode::Auto | ProgressMode::Never => Shape::Silent,
        };
        let started = context.now();
        let state = State {
            stderr,
            folders: BTreeMap::new(),
            total: Amount::default(),
            current: String::new(),
            lately: BTreeMap::new(),
            lines: Vec::new(),
            started,
            shown: None,
            stale: false,
        };
        Self { context, verbosity, shape, state: Mutex::new(state) }
    }

    fn tell(&self, state: &mut State, event: &'static str, folder: Option<&str>, uid: Option<u32>, text: &str) {
        let line = match self.shape {
            Shape::Json => json_line(&ProgressMessage { event, folder, uid, text }),
            _ => {
                let place = match (folder, uid) {
                    (Some(folder), Some(uid)) => format!("{folder} {uid}: "),
                    (Some(folder), None) => format!("{folder}: "),
                    (None, _) => String::new(),
                };
                format!("{}\n", sanitize::line(&format!("{place}{text}")))
            }
        };
        let has_begun = state.total.messages.1 > 0;
        // Progress is a courtesy: where standard error is gone, the work goes on.
        let mut write = || {
            let _ = state.stderr.write_all(line.as_bytes()).and_then(|()| state.stderr.flush());
        };
        match &self.shape {
            // A bar that has nothing to show yet would appear for a moment, empty.
            Shape::Bar(bar) if has_begun => bar.block.suspend(write),
            _ => write(),
        }
    }

    fn show(&self, state: &mut State, last: bool) {
        let every = match &self.shape {
            Shape::Silent => return,
            Shape::Bar(bar) => {
                // Nothing to do yet would look like all of it done.
                if state.total.messages.1 > 0 {
                    draw(bar, state, self.context.now());
                }
                return;
            }
            Shape::Lines => LINE_EVERY,
            Shape::Json => JSON_EVERY,
        };
        let now = self.context.now();
        let due = state.shown.is_none_or(|shown| now.since(shown) >= every);
        if !(due || last) || !state.stale {
            return;
        }
        state.shown = Some(now);
        state.stale = false;
        let line = if matches!(self.shape, Shape::Json) { json_progress(state, now) } else { text_progress(state) };
        let _ = state.stderr.write_all(line.as_bytes()).and_then(|()| state.stderr.flush());
    }
}

impl Report for Progress {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        match event {
            Event::Planned { folder, messages, bytes } => {
                let amount = state.folders.entry(folder.clone()).or_default();
                for amount in [amount, &mut state.total] {
                    amount.messages.1 += messages;
                    amount.bytes.1 += bytes;
                }
                state.current = folder;
                state.stale = true;
                self.show(state, false);
            }
            Event::Copied { folder, bytes } => {
                let amount = state.folders.entry(folder.clone()).or_default();
                for amount in [amount, &mut state.total] {
                    amount.messages.0 += 1;
                    amount.bytes.0 += bytes;
                }
                let now = self.context.now();
                state.lately.retain(|_, at| now.since(*at) < LATELY);
                state.lately.insert(folder.clone(), now);
                state.current = folder;
                state.stale = true;
                self.show(state, false);
            }
            Event::Problem(Problem { folder, uid, reason }) => self.tell(state, "problem", Some(&folder), uid, &reason),
            Event::Waiting(why) => {
                if self.verbosity > Verbosity::Quiet {
                    self.tell(state, "waiting", None, None, &why);
                }
            }
            Event::Note(note) => {
                if self.verbosity > Verbosity::Quiet {
                    self.tell(state, "note", None, None, &note);
                }
            }
            Event::Finished => {
                self.show(state, true);
                if let Shape::Bar(bar) = &self.shape {
                    state.lines.drain(..).for_each(|line| line.finish_and_clear());
                    bar.sum.finish_and_clear();
                }
            }
        }
    }
}

fn bar() -> Bar {
    let block = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let sum = block.add(ProgressBar::new(0));
    let template = "{wide_msg} {pos}/{len} [{bar:20}] {prefix} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        sum.set_style(style.progress_chars("=> "));
    }
    Bar { block, sum }
}

fn draw(bar: &Bar, state: &mut State, now: Moment) {
    let lines = connections(state);
    // Lengths first: a position beyond the length would show as done.
    bar.sum.set_length(state.total.messages.1.max(state.total.messages.0));
    bar.sum.set_position(state.total.messages.0);
    let title = if lines.is_empty() { state.current.clone() } else { format!("{} connections", lines.len()) };
    bar.sum.set_message(sanitize::line(&title).into_owned());
    bar.sum.set_prefix(amount_and_rate(state, now));
    while state.lines.len() < lines.len() {
        let line = bar.block.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            line.set_style(style);
        }
        state.lines.push(line);
    }
    for line in state.lines.drain(lines.len()..) {
        line.finish_and_clear();
        bar.block.remove(&line);
    }
    for (line, text) in state.lines.iter().zip(&lines) {
        line.set_message(sanitize::line(text).into_owned());
    }
}

/// What each connection is at, where there are several: its folder, and how far that is.
fn connections(state: &State) -> Vec<String> {
    if state.lately.len() < 2 {
        return Vec::new();
    }
    let each = state.lately.keys().map(|folder| {
        let amount = state.folders.get(folder).copied().unwrap_or_default();
        format!("  {folder}: {}/{}, {}B", amount.messages.0, amount.messages.1, bytes_for_people(amount.bytes.0))
    });
    each.collect()
}

/// `12MB of 40MB, 3.1MB/s`; the sum only where sizes are known, the rate as soon as there is one.
fn amount_and_rate(state: &State, now: Moment) -> String {
    let (done, all) = state.total.bytes;
    let mut text = format!("{}B", bytes_for_people(done));
    if all > 0 {
        text = format!("{text} of {}B", bytes_for_people(all));
    }
    match rate(state, now) {
        0 => text,
        rate => format!("{text}, {}B/s", bytes_for_people(rate)),
    }
}

/// Octets a second, over the whole run.
fn rate(state: &State, now: Moment) -> u64 {
    state.total.bytes.0.saturating_mul(1000) / milliseconds(state, now)
}

fn milliseconds(state: &State, now: Moment) -> u64 {
    u64::try_from(now.since(state.started).as_millis()).unwrap_or(u64::MAX).max(1)
}

fn json_line(value: &impl Serialize) -> String {
    let mut line = Vec::new();
    if super::json::append(&mut line, value).is_err() {
        return String::new();
    }
    let mut line = String::from_utf8(line).unwrap_or_default();
    line.push('\n');
    line
}

fn json_progress(state: &State, now: Moment) -> String {
    let amount = state.folders.get(&state.current).copied().unwrap_or_default();
    let milliseconds = milliseconds(state, now);
    // Sizes are hints and may be missing: where they are, messages tell the time left.
    let (done, all) = if state.total.bytes.1 > 0 { state.total.bytes } else { state.total.messages };
    let left = u128::from(all.saturating_sub(done)) * u128::from(milliseconds) / (u128::from(done.max(1)) * 1000);
    json_line(&ProgressLine {
        event: "progress",
        folder: &state.current,
        messages_done: amount.messages.0,
        messages_total: amount.messages.1,
        bytes_done: amount.bytes.0,
        bytes_total: amount.bytes.1,
        bytes_per_second: rate(state, now),
        seconds_left: (done > 0).then(|| u64::try_from(left).unwrap_or(u64::MAX)),
    })
}

fn text_progress(state: &State) -> String {
    let total = state.total;
    format!(
        "{}: {} of {} messages, {}B of {}B in all\n",
        sanitize::line(&state.current),
        total.messages.0,
        total.messages.1,
        bytes_for_people(total.bytes.0),
        bytes_for_people(total.bytes.1)
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn run(mode: ProgressMode, verbosity: Verbosity) -> Vec<String> {
        let shared = Shared::default();
        let progress = Progress::new(Context::from_environment(), mode, verbosity, Box::new(shared.clone()), false);
        progress.event(Event::Planned { folder: "INBOX".to_owned(), messages: 5000, bytes: 50_000 });
        for _ in 0..5000 {
            progress.event(Event::Copied { folder: "INBOX".to_owned(), bytes: 10 });
        }
        progress.event(Event::Note("note\x1b[2J".to_owned()));
        progress.event(Event::Problem(Problem { folder: "a\u{202e}".to_owned(), uid: Some(3), reason: "too\nbig".to_owned() }));
        progress.event(Event::Finished);
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn json_lines_are_few_and_the_last_is_complete() {
        let lines: Vec<serde_json::Value> =
            run(ProgressMode::Json, Verbosity::Normal).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let progress: Vec<_> = lines.iter().filter(|line| line["event"] == "progress").collect();
        assert!(progress.len() < 1000, "{}", progress.len());
        let last = progress.last().unwrap();
        assert_eq!((last["messages_done"].as_u64(), last["messages_total"].as_u64()), (Some(5000), Some(5000)));
        assert_eq!((last["bytes_done"].as_u64(), last["bytes_total"].as_u64()), (Some(50_000), Some(50_000)));
        assert_eq!(last["seconds_left"], 0);
        assert!(lines.iter().any(|line| line["event"] == "problem" && line["uid"] == 3));
    }

    #[test]
    fn a_bar_tells_amount_and_rate_and_of_several_connections_how_far_each_is() {
        let progress =
            Progress::new(Context::from_environment(), ProgressMode::Never, Verbosity::Normal, Box::new(Shared::default()), false);
        for folder in ["A", "B"] {
            progress.event(Event::Planned { folder: folder.to_owned(), messages: 2, bytes: 2048 });
            progress.event(Event::Copied { folder: folder.to_owned(), bytes: 1024 });
        }
        let state = progress.state.lock().unwrap();
        assert_eq!(connections(&state), ["  A: 1/2, 1.0kB", "  B: 1/2, 1.0kB"]);
        let later = state.started.after(Duration::from_secs(2));
        assert_eq!(amount_and_rate(&state, later), "2.0kB of 4.0kB, 1.0kB/s");
    }

    #[test]
    fn notes_and_problems_are_clean_lines_and_quiet_leaves_the_notes_out() {
        let problem = "a\u{FFFD} 3: too\u{FFFD}big";
        assert_eq!(run(ProgressMode::Auto, Verbosity::Normal), ["note\u{FFFD}[2J", problem]);
        assert_eq!(run(ProgressMode::Auto, Verbosity::Quiet), [problem]);
    }

    #[test]
    fn always_without_a_terminal_writes_lines() {
        let lines = run(ProgressMode::Always, Verbosity::Quiet);
        assert!(lines.iter().any(|line| line == "INBOX: 5000 of 5000 messages, 48kB of 48kB in all"), "{lines:?}");
    }
}
