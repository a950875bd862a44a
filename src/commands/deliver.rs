//! Messages on their way into files: what is there already stays as it is and is not written again, and every message is
//! accounted for. It needs no journal, because files can be compared; it never knows where the messages come from.

use std::collections::{BTreeSet, HashMap};

use super::App;
use super::fetch::Files;
use super::reading::NO_SUCH;
use crate::account::{Config, Location, Overrides, Place};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, Key, Message};
use crate::output::Progress;
use crate::report::{Event, Outcome as Report, Problem, Report as _};
use crate::store::eml::EmlSink;
use crate::store::maildir::MaildirSink;
use crate::store::mbox::MboxSink;
use crate::store::{FolderInfo, Listed, Outcome, Outgoing, Placement, Sink, Wait};
use crate::summary::delivery_date;

/// So much of a message is looked at for the date of its delivery.
const HEADER_BYTES: usize = 256 * 1024;

/// Where `--to` points.
pub(super) enum Target {
    Eml(EmlSink),
    Maildir(Box<MaildirSink>),
    Mbox(MboxSink),
}

impl Target {
    /// Reads `DIR` (`eml:DIR` and `maildir:DIR` name the format as well); nothing is made yet.
    pub(super) fn new(to: &str, format: Option<Files>, app: &App) -> Result<Self> {
        let named = ["eml:", "maildir:", "mbox:"].iter().any(|scheme| to.starts_with(scheme));
        let text = match (named, format) {
            (true, _) => to.to_owned(),
            (false, Some(Files::Maildir)) => format!("maildir:{to}"),
            (false, Some(Files::Mbox)) => format!("mbox:{to}"),
            (false, _) => format!("eml:{to}"),
        };
        let place = Place::parse(&text, &Config::default(), &Overrides::default())?;
        if place.folder.is_some() {
            return Err(Error::usage("--to names a directory and no folder in it").at(&place.shown));
        }
        let context = app.context.clone();
        match (place.location, format) {
            (Location::Eml(path), Some(Files::Eml) | None) => Ok(Self::Eml(EmlSink::new(path, context))),
            (Location::Maildir(path), Some(Files::Maildir) | None) => Ok(Self::Maildir(Box::new(MaildirSink::new(path, context)))),
            (Location::Mbox(path), Some(Files::Mbox) | None) => Ok(Self::Mbox(MboxSink::new(path, context))),
            _ => Err(Error::usage("--to and --format name two different formats")),
        }
    }

    /// How summaries name it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Eml(sink) => sink.place(),
            Self::Maildir(sink) => sink.place(),
            Self::Mbox(sink) => sink.place(),
        }
    }

    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Eml(sink) => sink,
            Self::Maildir(sink) => sink.as_mut(),
            Self::Mbox(sink) => sink,
        }
    }
}

/// Gives a message whose store keeps no date the one its header tells.
pub(super) fn date(message: &mut Message) -> Result<()> {
    if message.internal_date.is_none() {
        message.internal_date = delivery_date(&message.body.prefix(HEADER_BYTES)?);
    }
    Ok(())
}

/// A delivery under way.
pub(super) struct Delivery<'a> {
    target: Target,
    /// How often each content stood there at the start and is not yet accounted for. `None` where file names are bound to
    /// UIDs and tell better; numbers mean other messages in every session.
    there: Option<HashMap<Digest, u32>>,
    folder: &'a str,
    outcome: &'a mut Report,
    progress: &'a Progress,
    /// Octets of what is written and not yet durable, by ticket.
    outstanding: HashMap<u64, u64>,
    handed_over: BTreeSet<u32>,
    /// Those of them that lie in the target durably.
    safe: BTreeSet<u32>,
}

impl<'a> Delivery<'a> {
    /// Opens the target, making it where it is missing. `numbered` says that ids mean other messages at the next run.
    pub(super) fn new(
        mut target: Target,
        numbered: bool,
        folder: &'a str,
        outcome: &'a mut Report,
        progress: &'a Progress,
    ) -> Result<Self> {
        let inbox = FolderInfo { folder: Folder::inbox(), special_use: None, subscribed: true, selectable: true };
        target.sink().open(&inbox, true)?;
        let by_content = numbered || matches!(target, Target::Maildir(_) | Target::Mbox(_));
        let there = if by_content {
            let mut there = HashMap::new();
            for listed in target.sink().look(1)?.messages {
                if let Some(Key::Content { digest, .. }) = listed.key {
                    *there.entry(digest).or_default() += 1;
                }
            }
            Some(there)
        } else {
            None
        };
        Ok(Self {
            target,
            there,
            folder,
            outcome,
            progress,
            outstanding: HashMap::new(),
            handed_over: BTreeSet::new(),
            safe: BTreeSet::new(),
        })
    }

    /// Says what is to come.
    pub(super) fn plan(&mut self, wanted: &[Listed]) {
        self.outcome.counts.listed = wanted.len() as u64;
        let bytes = wanted.iter().filter_map(|listed| listed.size).fold(0, u64::saturating_add);
        self.progress.event(Event::Planned { folder: self.folder.to_owned(), messages: wanted.len() as u64, bytes });
    }

    /// Takes a message.
    pub(super) fn take(&mut self, id: u32, mut message: Message) -> Result<()> {
        self.handed_over.insert(id);
        let bytes = message.body.len();
        if self.is_there(id, &message)? {
            self.outcome.counts.already_there += 1;
            self.safe.insert(id);
            self.arrived(bytes);
            return Ok(());
        }
        date(&mut message)?;
        let ticket = u64::from(id);
        self.outstanding.insert(ticket, bytes);
        self.target.sink().append(Outgoing { ticket, message })?;
        self.settle(Wait::No)
    }

    fn is_there(&mut self, id: u32, message: &Message) -> Result<bool> {
        match (&mut self.there, &self.target) {
            (Some(there), _) => Ok(there.get_mut(&message.digests.content).is_some_and(|count| {
                let some = *count > 0;
                *count = count.saturating_sub(1);
                some
            })),
            (None, Target::Eml(sink)) => sink.holds(u64::from(id), message.digests.exact),
            (None, Target::Maildir(_) | Target::Mbox(_)) => Ok(false),
        }
    }

    fn settle(&mut self, wait: Wait) -> Result<()> {
        let placements = self.target.sink().settle(wait)?;
        placements.into_iter().for_each(|placement| self.placed(placement));
        Ok(())
    }

    fn placed(&mut self, placement: Placement) {
        let bytes = self.outstanding.remove(&placement.ticket).unwrap_or_default();
        let uid = u32::try_from(placement.ticket).unwrap_or_default();
        match placement.outcome {
            Outcome::Stored { altered, .. } => {
                self.outcome.counts.copied += 1;
                self.safe.insert(uid);
                self.outcome.counts.bytes += bytes;
                if !altered.is_empty() {
                    self.outcome.counts.altered += 1;
                    self.outcome.altered.push(Problem { folder: self.folder.to_owned(), uid: Some(uid), reason: altered.join("; ") });
                }
                self.arrived(bytes);
            }
            Outcome::Refused(error) => {
                self.outcome.counts.refused += 1;
                self.tell(uid, error.to_string());
            }
            // Files either stand or do not; what did not arrive is told by the error that kept it from arriving.
            Outcome::Unknown { .. } | Outcome::NotSent { .. } => {}
        }
    }

    fn arrived(&self, bytes: u64) {
        self.progress.event(Event::Copied { folder: self.folder.to_owned(), bytes });
    }

    /// Names a message that failed.
    pub(super) fn tell(&mut self, uid: u32, reason: String) {
        let problem = Problem { folder: self.folder.to_owned(), uid: Some(uid), reason };
        self.progress.event(Event::Problem(problem.clone()));
        self.outcome.problems.push(problem);
    }

    /// The place cannot give this message.
    pub(super) fn failed(&mut self, uid: u32, reason: String) {
        self.handed_over.insert(uid);
        self.outcome.counts.quarantined += 1;
        self.tell(uid, reason);
    }

    /// Makes everything taken durable; gives the ids that were taken or failed.
    pub(super) fn finish(&mut self) -> Result<BTreeSet<u32>> {
        self.settle(Wait::All)?;
        Ok(std::mem::take(&mut self.handed_over))
    }

    /// Those that lie in the target durably.
    pub(super) fn safe(&self) -> &BTreeSet<u32> {
        &self.safe
    }

    /// One of those planned was gone before it was read.
    pub(super) fn vanished(&mut self) {
        self.outcome.counts.vanished += 1;
    }

    /// One of those planned was never there.
    pub(super) fn never_there(&mut self, uid: u32) {
        self.outcome.counts.listed = self.outcome.counts.listed.saturating_sub(1);
        self.tell(uid, NO_SUCH.to_owned());
    }
}
