//! Several clients do one job in turn; a row for each, with ours as a multiple of theirs and what that shall be at most.

use crate::Asked;
use crate::timing::{Cost, median};

/// MiB that no job may take more of.
const PEAK: f64 = 40.0;

/// A job.
pub struct Job {
    pub name: String,
    pub delayed: bool,
    /// Messages.
    pub count: usize,
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Floor,
    Peer,
}

/// A client in a job, or what one would cost.
pub struct Racer<'a> {
    pub who: &'a str,
    kind: Kind,
    run: Box<dyn FnMut() -> Result<Cost, String> + 'a>,
    costs: Vec<Cost>,
    failed: bool,
    /// What ours ÷ theirs shall be at most, of the time.
    most: Option<f64>,
    /// The same of the processor time.
    most_cpu: Option<f64>,
    computed: Option<f64>,
}

/// What came of jobs.
#[derive(Default, Clone, Copy)]
pub struct Verdict {
    /// Jobs in which ours failed.
    pub failed: usize,
    /// Figures over their limits.
    pub over: usize,
}

impl Verdict {
    pub fn add(&mut self, other: Self) {
        self.failed += other.failed;
        self.over += other.over;
    }
}

impl<'a> Racer<'a> {
    pub fn new(kind: Kind, who: &'a str, run: impl FnMut() -> Result<Cost, String> + 'a) -> Self {
        let (costs, failed, most, most_cpu, computed) = (Vec::new(), false, None, None, None);
        Self { who, kind, run: Box::new(run), costs, failed, most, most_cpu, computed }
    }

    /// One that is not run: its time is known.
    pub fn computed(who: &'a str, wall: f64) -> Self {
        Self { computed: Some(wall), ..Self::new(Kind::Peer, who, || Err("not run".to_owned())) }
    }

    /// Ours ÷ theirs shall be at most so much.
    pub fn at_most(mut self, most: f64) -> Self {
        self.most = Some(most);
        self
    }

    /// Ours shall take no more processor time.
    pub fn and_cpu(mut self) -> Self {
        self.most_cpu = Some(1.0);
        self
    }

    fn of(&self, what: fn(&Cost) -> f64) -> Option<f64> {
        (!self.failed && !self.costs.is_empty()).then(|| median(self.costs.iter().map(what).collect()))
    }

    fn wall(&self) -> Option<f64> {
        self.computed.or_else(|| self.of(|cost| cost.wall))
    }

    fn peak(&self) -> Option<f64> {
        self.costs.iter().filter_map(|cost| cost.peak).reduce(f64::max).filter(|_| !self.failed)
    }
}

/// The head of a table.
pub fn head(title: &str) {
    println!("\n{title}");
    row(["job", "delay", "who", "seconds", "cpu s", "peak MiB", "messages/s", "ours ÷", "at most", "cpu ÷", ""]);
}

fn row(cells: [&str; 11]) {
    let [job, delay, who, rest @ ..] = cells;
    let widths = [9, 7, 9, 11, 7, 8, 6, 5];
    let rest: Vec<String> = rest.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
    println!("{}", format!("{job:<16} {delay:>5} {who:<20} {}", rest.join(" ")).trim_end());
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Runs them in turn and prints a row for each.
pub fn race(job: &Job, asked: &Asked, mut racers: Vec<Racer<'_>>) -> Verdict {
    racers.retain(|racer| !asked.floor_only || racer.kind == Kind::Floor);
    for _ in 0..asked.runs {
        for racer in racers.iter_mut().filter(|racer| !racer.failed && racer.computed.is_none()) {
            match (racer.run)() {
                Ok(cost) => racer.costs.push(cost),
                Err(trouble) => {
                    eprintln!("bench: {}: {}: {trouble}", job.name, racer.who);
                    racer.failed = true;
                }
            }
        }
    }
    let mut verdict = Verdict::default();
    let ours = racers.iter().find(|racer| racer.kind == Kind::Ours);
    let (wall, cpu) = (ours.and_then(Racer::wall), ours.and_then(|ours| ours.of(|cost| cost.cpu)));
    for racer in &racers {
        let is_ours = racer.kind == Kind::Ours;
        let ratio = |ours: Option<f64>, theirs: Option<f64>| {
            ours.zip(theirs).filter(|(_, theirs)| !is_ours && *theirs > 0.0).map(|(ours, theirs)| ours / theirs)
        };
        let times = ratio(wall, racer.wall());
        let work = ratio(cpu, racer.of(|cost| cost.cpu));
        let is_over = |value: Option<f64>, most: Option<f64>| value.zip(most).map(|(value, most)| value > most);
        let peak = racer.peak();
        let checks = [is_over(times, racer.most), is_over(work, racer.most_cpu), is_over(peak.filter(|_| is_ours), Some(PEAK))];
        let over = checks.iter().flatten().filter(|over| **over).count();
        verdict.over += over;
        verdict.failed += usize::from(is_ours && racer.failed);
        #[allow(clippy::cast_precision_loss)] // for people
        let rate = racer.wall().filter(|_| job.count > 0).map(|wall| job.count as f64 / wall);
        row([
            &job.name,
            if job.delayed { "40 ms" } else { "none" },
            racer.who,
            &shown(racer.wall(), 3),
            &shown(racer.of(|cost| cost.cpu), 2),
            &shown(peak, 0),
            &shown(rate, 0),
            &shown(times, 2),
            &shown(racer.most, 2),
            &shown(work, 2),
            match (checks.iter().flatten().count(), over) {
                (0, _) => "",
                (_, 0) => "ok",
                _ => "OVER",
            },
        ]);
    }
    verdict
}
