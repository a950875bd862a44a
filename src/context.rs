//! What a run takes from outside itself: the time, the signals that ask it to stop, and (in tests) the step at which it
//! dies. Passed explicitly and cloned cheaply; it never knows what the steps mean.
//!
//! Two hidden environment variables serve the tests. `MAILHAUL_TEST_CLOCK=FILE` holds milliseconds by which the clock
//! runs ahead: pauses add to it and return at once, and a scripted server may move it. `MAILHAUL_TEST_CRASH=N` kills the
//! process at its N-th durable or network step, `KIND#N` at the N-th of one kind; `count:FILE` writes the kinds of all steps passed,
//! one a line.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Kind, Result};

/// The longest single wait in a poll, so that a signal handled by another thread is seen soon.
const SLICE: Duration = Duration::from_millis(250);
/// The same under the test clock, which another process may move.
const TEST_SLICE: Duration = Duration::from_millis(10);

/// Time, signals and crash points of one run.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    started: Instant,
    test_clock: Option<PathBuf>,
    crash: Crash,
    steps: AtomicU64,
    /// The number of the first signal that asked to stop; 0 while none did.
    signal: Arc<AtomicUsize>,
}

enum Crash {
    Never,
    At(u64),
    /// Of this kind, the n-th.
    AtOne(String, u64),
    Count(PathBuf),
}

/// A point in time on the run's own clock, which never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `by` later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Context {
    /// The context of this process: real time unless the tests' variables say otherwise.
    pub fn from_environment() -> Self {
        let crash = match std::env::var("MAILHAUL_TEST_CRASH") {
            Ok(value) => match value.strip_prefix("count:") {
                Some(file) => Crash::Count(PathBuf::from(file)),
                None => match value.split_once('#') {
                    Some((kind, number)) => number.parse().map_or(Crash::Never, |number| Crash::AtOne(kind.to_owned(), number)),
                    None => value.parse().map_or(Crash::Never, Crash::At),
                },
            },
            Err(_) => Crash::Never,
        };
        Self(Arc::new(Inner {
            started: Instant::now(),
            test_clock: std::env::var_os("MAILHAUL_TEST_CLOCK").map(PathBuf::from),
            crash,
            steps: AtomicU64::new(0),
            signal: Arc::new(AtomicUsize::new(0)),
        }))
    }

    /// A context whose clock a test moves: pauses return at once.
    #[cfg(test)]
    pub(crate) fn with_clock(clock: PathBuf) -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            test_clock: Some(clock),
            crash: Crash::Never,
            steps: AtomicU64::new(0),
            signal: Arc::new(AtomicUsize::new(0)),
        }))
    }

    /// The cell into which signal handlers write the number of the first signal.
    pub fn signal_cell(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0.signal)
    }

    /// The signal that asked this run to stop, if one did.
    pub fn interrupted(&self) -> Option<i32> {
        match self.0.signal.load(Ordering::Relaxed) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }

    /// An error once a signal asked this run to stop.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] with the signal's number.
    pub fn check(&self) -> Result<()> {
        match self.interrupted() {
            None => Ok(()),
            Some(signal) => {
                Err(Error::new(Kind::Interrupted(signal), "stopped by a signal; run the same command again to go on where it stopped"))
            }
        }
    }

    /// Now, on the run's own clock.
    pub fn now(&self) -> Moment {
        Moment(self.0.started.elapsed() + self.test_offset())
    }

    /// Now, as seconds since 1970 UTC.
    pub fn unix_time(&self) -> i64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from((real + self.test_offset()).as_secs()).unwrap_or(i64::MAX)
    }

    /// Waits for `time`, or less when a signal comes. Under the test clock the clock jumps instead.
    pub fn pause(&self, time: Duration) {
        if let Some(path) = &self.0.test_clock {
            advance(path, time);
            return;
        }
        let end = self.now().after(time);
        loop {
            let left = end.since(self.now());
            if left.is_zero() || self.interrupted().is_some() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    /// How long one poll may wait when `left` is left of its deadline: short enough to notice signals and a moved clock.
    pub fn slice(&self, left: Duration) -> Duration {
        left.min(if self.0.test_clock.is_some() { TEST_SLICE } else { SLICE })
    }

    /// A durable or network step is about to happen (or has just happened): the place where a crash test kills us.
    pub fn step(&self, kind: &'static str) {
        match &self.0.crash {
            Crash::Never => {}
            Crash::At(number) => self.count_to(*number),
            Crash::AtOne(of, number) if of == kind => self.count_to(*number),
            Crash::AtOne(..) => {}
            Crash::Count(path) => {
                if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
                    let _ = writeln!(file, "{kind}");
                }
            }
        }
    }

    fn count_to(&self, number: u64) {
        if self.0.steps.fetch_add(1, Ordering::SeqCst) + 1 == number {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    fn test_offset(&self) -> Duration {
        let Some(path) = &self.0.test_clock else { return Duration::ZERO };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Duration::from_millis(text.trim().parse().unwrap_or(0))
    }
}

/// Moves the test clock; several threads and the scripted server may do so at once, hence the lock.
fn advance(path: &PathBuf, by: Duration) {
    let Ok(mut file) = File::options().read(true).write(true).create(true).truncate(false).open(path) else { return };
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).is_err() {
        return;
    }
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let offset: u64 = text.trim().parse().unwrap_or(0);
    let moved = offset.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
    // Numbers only grow, so overwriting in place never leaves digits of the old one behind.
    if file.rewind().is_ok() {
        let _ = write!(file, "{moved}");
    }
}
