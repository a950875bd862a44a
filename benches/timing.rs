//! One run of a client: how long it took, its processor time and its memory.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(900);

/// What one run took: seconds, seconds, MiB.
#[derive(Clone, Copy)]
pub struct Cost {
    pub wall: f64,
    pub cpu: f64,
    pub peak: Option<f64>,
}

/// Runs a client to its end, on a disk that has come to rest; how it failed, if it did.
pub fn timed(homes: &Path, command: &mut Command, name: &str) -> Result<Cost, String> {
    let log = homes.join(format!("{name}.log"));
    let output = File::create(&log).unwrap();
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    rustix::fs::sync();
    let cpu = children_cpu();
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let status_file = Path::new("/proc").join(child.id().to_string()).join("status");
    let mut peak = None;
    let mut pause = Duration::from_micros(500);
    let status = loop {
        // A mark that only rises, so that looking at it now and then is enough.
        peak = peak_memory(&status_file).or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
        }
        std::thread::sleep(pause);
        // What is short is looked at often.
        pause = (pause * 5 / 4).min(Duration::from_millis(5));
    };
    let wall = start.elapsed().as_secs_f64();
    if !status.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        return Err(format!("{name} ended with {status} after {wall:.1} s:\n{said}").trim_end().to_owned());
    }
    Ok(Cost { wall, cpu: children_cpu() - cpu, peak })
}

/// MiB of a process at its peak; `None` where there is no such process or no such file system.
fn peak_memory(status: &Path) -> Option<f64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kib: f64| kib / 1024.0)
}

/// Seconds of processor time that ended children took, in steps of 10 ms; 0 where there is no `/proc`.
fn children_cpu() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything; user and system time of waited-for children are fields 16 and 17.
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / 100.0
}

/// The middle of some values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
