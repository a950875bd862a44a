//! The plan of a migration that `--dry-run` shows: folders, names, figures, what the destination will not take, and how long it may
//! last. It changes nothing and asks nobody.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use crate::error::Result;
use crate::output::{Column, Format, Head, Row, Rows, bytes_for_people, terminal_width};
use crate::plan::{Estimate, Why};
use crate::report::counted;
use crate::store::{Quota, Resource};
use crate::transfer::{Forecast, Preview, Shortage};

/// Where each folder goes, and what the destination says to it.
#[derive(Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct Plan {
    /// The folders, in the source's order.
    folders: Vec<PlannedFolder>,
    /// What the destination says of its quotas (RFC 9208).
    quotas: Vec<PlannedQuota>,
    /// How long a question to the destination and its answer took, in seconds; absent where nothing was measured.
    round_trip: Option<f64>,
    /// How long the copy may take; absent where nothing is to be copied.
    estimate: Option<Expected>,
    /// What people should know before they begin.
    warnings: Vec<String>,
}

/// A folder of the source, and what would become of it.
#[derive(Serialize, schemars::JsonSchema)]
struct PlannedFolder {
    /// The folder on the source.
    source: String,
    /// Where its mail would go.
    destination: String,
    /// Why it is called otherwise there; empty where it is not.
    why: String,
    /// Whether it would have to be made.
    create: bool,
    /// Whether it is subscribed, or would be.
    subscribed: bool,
    /// Messages the source lists.
    listed: u64,
    /// Messages that are there already by the journal.
    already_there: u64,
    /// Messages whose fate an earlier run left open.
    open: u64,
    /// Messages left out by the conditions.
    filtered: u64,
    /// Messages that would be copied.
    to_copy: u64,
    /// Their octets, as the source lists them.
    bytes: u64,
    /// The most octets of one message there (RFC 7889); absent where the server does not say.
    append_limit: Option<u64>,
    /// Messages to be copied that are larger.
    too_large: u64,
}

/// A quota of the destination.
#[derive(Serialize, schemars::JsonSchema)]
struct PlannedQuota {
    /// What it is called there; often nothing.
    root: String,
    /// `bytes` or `messages`.
    resource: &'static str,
    /// How much is there.
    used: u64,
    /// How much may be.
    limit: u64,
    /// How much too much would come.
    exceeded_by: u64,
}

/// Between which times the copy may end.
#[derive(Serialize, schemars::JsonSchema)]
struct Expected {
    /// Seconds, at least.
    from: f64,
    /// Seconds, at most, unless servers are slower than assumed.
    to: f64,
    /// What it is made of.
    basis: String,
}

impl Plan {
    /// Of a forecast; `octets_a_second` is the user's limit.
    pub(super) fn new(forecast: &Forecast, octets_a_second: Option<u64>) -> Self {
        let mut shortage = Shortage::default();
        for preview in &forecast.folders {
            shortage.add(&preview.folder, &preview.to_copy, preview.largest);
        }
        let quota = |quota: &Quota| PlannedQuota {
            root: quota.root.clone(),
            resource: match quota.resource {
                Resource::Octets => "bytes",
                Resource::Messages => "messages",
            },
            used: quota.used,
            limit: quota.limit,
            exceeded_by: shortage.exceeds(quota),
        };
        let mut warnings = shortage.words(&forecast.room);
        warnings.extend(forecast.twins.iter().map(|(one, other)| {
            format!("{one} and {other} differ in case alone: a server that makes no difference refuses the second, and --map {one}=NAME gives it another name")
        }));
        let (messages, octets) = sums(&forecast.folders);
        let folders = u32::try_from(forecast.folders.iter().filter(|preview| !preview.to_copy.is_empty()).count()).unwrap_or(u32::MAX);
        let estimate = Estimate::of(messages, octets, folders, forecast.round_trip, octets_a_second);
        let seconds = |time: Duration| time.as_secs_f64();
        Self {
            folders: forecast.folders.iter().map(PlannedFolder::new).collect(),
            quotas: forecast.room.quotas.iter().map(quota).collect(),
            round_trip: forecast.round_trip.map(seconds),
            estimate: (messages > 0).then(|| Expected {
                from: seconds(estimate.from),
                to: seconds(estimate.to),
                basis: estimate.to_string(),
            }),
            warnings,
        }
    }

    /// The folders as a table.
    pub(in crate::commands) fn write(&self, schema: &'static str, out: &mut dyn Write) -> Result<()> {
        let head = Head { schema, members: Vec::new(), rows: "folders" };
        let mut fields = vec!["source", "destination", "listed", "already_there", "filtered", "to_copy", "bytes", "note"];
        // A column of noughts says nothing.
        if self.folders.iter().all(|folder| folder.filtered == 0) {
            fields.retain(|field| *field != "filtered");
        }
        let mut rows = Rows::new::<PlannedFolder>(out, Format::Table, &head, None, &fields, terminal_width(std::io::stdout()))?;
        self.folders.iter().try_for_each(|folder| rows.row(folder))?;
        rows.finish()
    }

    /// What it adds up to, in sentences: for standard error.
    pub(super) fn sentences(&self) -> Vec<String> {
        let sum = |of: fn(&PlannedFolder) -> u64| self.folders.iter().map(of).sum::<u64>();
        let make = self.folders.iter().filter(|folder| folder.create).count() as u64;
        let mut words = vec![format!(
            "{} with {} would be copied, {} made; nothing was done",
            counted(sum(|folder| folder.to_copy), "message"),
            bytes_for_people(sum(|folder| folder.bytes)),
            counted(make, "folder")
        )];
        if self.folders.iter().any(|folder| !folder.create && folder.to_copy > 0 && folder.already_there == 0) {
            words.push("mail that the destination holds already is recognised in the run, by its content, and not copied again".to_owned());
        }
        for quota in &self.quotas {
            let shown = |amount: u64| if quota.resource == "bytes" { bytes_for_people(amount) } else { counted(amount, "message") };
            let root = if quota.root.is_empty() { String::new() } else { format!(" {:?}", quota.root) };
            words.push(format!("quota{root} there: {} of {} used", shown(quota.used), shown(quota.limit)));
        }
        if let Some(estimate) = &self.estimate {
            words.push(format!("time: {}", estimate.basis));
        }
        words.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        words
    }

    /// Names of folders that change, and why.
    pub(super) fn renamings(&self) -> Vec<String> {
        let renamed = self.folders.iter().filter(|folder| !folder.why.is_empty());
        renamed.map(|folder| format!("{} is {} there: {}", folder.source, folder.destination, folder.why)).collect()
    }
}

fn sums(previews: &[Preview]) -> (u64, u64) {
    previews.iter().fold((0, 0), |(messages, octets), preview| (messages + preview.to_copy.len() as u64, octets + preview.octets()))
}

impl PlannedFolder {
    fn new(preview: &Preview) -> Self {
        Self {
            source: preview.folder.to_string(),
            destination: preview.destination.to_string(),
            why: if preview.why == Why::Same { String::new() } else { preview.why.to_string() },
            create: preview.create,
            subscribed: preview.subscribed,
            listed: preview.listed,
            already_there: preview.already_there,
            open: preview.open,
            filtered: preview.filtered,
            to_copy: preview.to_copy.len() as u64,
            bytes: preview.octets(),
            append_limit: preview.largest,
            too_large: preview.too_large().count() as u64,
        }
    }

    fn note(&self) -> String {
        let mut notes: Vec<String> = Vec::new();
        if self.create {
            notes.push(if self.subscribed { "to be made and subscribed" } else { "to be made" }.to_owned());
        }
        if !self.why.is_empty() {
            notes.push(self.why.clone());
        }
        if self.open > 0 {
            notes.push(format!("{} to be looked for first", self.open));
        }
        if self.too_large > 0 {
            notes.push(format!("{} too large", self.too_large));
        }
        notes.join(", ")
    }
}

impl Row for PlannedFolder {
    const COLUMNS: &'static [Column] = &[
        Column::cut("source", 40),
        Column::cut("destination", 40),
        Column::number("listed"),
        Column::number("already_there"),
        Column::number("filtered"),
        Column::number("to_copy"),
        Column::number("bytes"),
        Column::cut("note", usize::MAX),
    ];

    fn cell(&self, field: &str, for_people: bool) -> String {
        match field {
            "source" => self.source.clone(),
            "destination" => self.destination.clone(),
            "listed" => self.listed.to_string(),
            "already_there" => self.already_there.to_string(),
            "filtered" => self.filtered.to_string(),
            "to_copy" => self.to_copy.to_string(),
            "bytes" if for_people => bytes_for_people(self.bytes),
            "bytes" => self.bytes.to_string(),
            _ => self.note(),
        }
    }
}
