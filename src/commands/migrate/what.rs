//! What of the source goes, and under which names: the arguments of `migrate` for folders, messages and limits.

use crate::account::Place;
use crate::cli::Conditions;
use crate::commands::backup::rate;
use crate::commands::limits::LimitArgs;
use crate::context::Moment;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::plan::Wishes;
use crate::query::Query;
use crate::transfer::Gate;
use crate::transfer::backup::Limits;

const FOLDERS: &str = "Folders";

/// What goes, and where to.
#[derive(clap::Args)]
pub struct What {
    /// Only folders of the source that match PATTERN, in which * stands for anything, / too; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = FOLDERS)]
    pub include: Vec<String>,
    /// No folder of the source that matches PATTERN; may be repeated, and wins over --include
    #[arg(long, value_name = "PATTERN", help_heading = FOLDERS)]
    pub exclude: Vec<String>,
    /// Put the source's folder A (it alone, not those below it) into the destination's folder B; may be repeated. Two share one
    /// folder only where both are mapped to it
    #[arg(long, value_name = "A=B", value_parser = Wishes::mapping, help_heading = FOLDERS)]
    pub map: Vec<(Folder, Folder)>,
    /// Put every folder but INBOX below the destination's folder P
    #[arg(long, value_name = "P", value_parser = folder, help_heading = FOLDERS)]
    pub prefix: Option<Folder>,
    /// Which messages.
    #[command(flatten)]
    pub conditions: Conditions,
    /// When it ends early.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Copy at most this many octets a second (500k, 2M), over all connections
    #[arg(long, value_name = "SIZE", value_parser = rate, help_heading = "Limits")]
    pub bwlimit: Option<u64>,
}

fn folder(text: &str) -> Result<Folder> {
    Folder::parse(text).ok_or_else(|| Error::usage("a folder has a name for each level, as in Archive/2024"))
}

impl What {
    /// That the two places can do what is asked.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`].
    pub(super) fn suits(&self, source: &Place, destination: &Place, is_imap: bool) -> Result<()> {
        if let (Some(_), Some(into)) = (&self.prefix, &destination.folder) {
            return Err(
                Error::usage(format!("--prefix and the folder {into} both say below what mail goes; one is enough")).at(&destination.shown)
            );
        }
        match self.conditions.0.query.server_only() {
            Some(option) if !is_imap => Err(Error::usage(format!("{option} is for IMAP servers alone"))
                .at(&source.shown)
                .hint("the other conditions work everywhere")),
            _ => Ok(()),
        }
    }

    /// Which folders, and where to.
    pub(super) fn wishes(&self) -> Wishes {
        Wishes { include: self.include.clone(), exclude: self.exclude.clone(), map: self.map.clone(), prefix: self.prefix.clone() }
    }

    /// Which messages.
    pub(super) fn query(&self) -> Query {
        self.conditions.0.query.clone()
    }

    /// How much, of a run that began at `start`.
    pub(super) fn gate(&self, start: Moment) -> Gate {
        Gate::new(Limits { octets_a_second: self.bwlimit, ..self.limits.from(start) })
    }
}
