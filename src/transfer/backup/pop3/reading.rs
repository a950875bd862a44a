//! Messages of a maildrop on their way into the store: one thread reads, within the limits the user set, the other writes, so that
//! disk and network are busy together.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::super::super::DateFrom;
use super::super::super::budget::Budget;
use super::super::Limits;
use super::super::batch::{Batch, Kept};
use super::drop::{Fate, Maildrop, Wanted};
use crate::context::{Context, Moment};
use crate::error::{Error, Kind, Result, Scope};
use crate::message::{Digest, InternalDate, Key, Message, Twins};
use crate::state::archive::{ArchiveChange, NewEntry};
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};

/// So much of a message is looked at for its date.
const HEADER_OCTETS: usize = 256 * 1024;
/// How long the writer waits for a message before it looks whether a batch is due.
const WAIT: Duration = Duration::from_millis(100);
/// Messages between reader and writer, whatever their size.
const BETWEEN: usize = 256;

/// What was read in this run, against the limits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// Messages that are new.
    pub(super) messages: u64,
    /// Octets of all that were read.
    pub(super) octets: u64,
    pace: Option<Moment>,
}

impl Spent {
    /// The error of a limit.
    pub(super) fn reached() -> Error {
        Error::new(Kind::Limit, "a limit that was asked for was reached; what was read until then is in the store")
            .hint("run the same command again to go on")
    }

    /// Whether a message of so many octets may still come; it counts from now on.
    fn permit(&mut self, octets: u64, limits: &Limits, context: &Context) -> Result<()> {
        let late = limits.until.is_some_and(|until| context.now() >= until);
        let full = limits.octets.is_some_and(|most| self.octets > 0 && self.octets.saturating_add(octets) > most);
        if late || full {
            return Err(Self::reached());
        }
        self.octets += octets;
        Ok(())
    }

    /// Waits until so many octets fit the rate.
    fn keep_pace(&mut self, octets: u64, limits: &Limits, context: &Context) {
        let Some(rate) = limits.octets_a_second.filter(|rate| *rate > 0) else { return };
        let now = context.now();
        let until = self.pace.unwrap_or(now).max(now).after(Duration::from_millis(octets.saturating_mul(1000) / rate));
        self.pace = Some(until);
        context.pause(until.since(now));
    }
}

impl Maildrop<'_> {
    /// Reads these messages and keeps what is new; everything handed over is durable when it returns, whatever ended it.
    ///
    /// # Errors
    /// What ended the session, a limit, or the disk.
    pub(super) fn read(&mut self, source: &mut Pop3Source, group: &[Wanted], twins: &mut Twins) -> Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        let asked: Vec<Listed> = group.iter().map(|wanted| wanted.listed.clone()).collect();
        let (context, limits) = (self.backup.context, self.backup.options.limits);
        let mut spent = self.spent;
        let budget = Budget::flowing();
        let mut handed = 0;
        let (account, folder) = (self.backup.account.name.clone(), self.folder.folder.clone());
        let mut batch = Batch::new(context, self.backup.report, &account, (self.folder.id, &folder), 0);
        let (written, read) = thread::scope(|scope| {
            let (sender, inbox) = sync_channel::<(usize, Result<Message>)>(BETWEEN);
            let (budget, spent) = (&budget, &mut spent);
            let reader = scope.spawn(move || {
                let broken = || Error::local("reading was broken off");
                source.read(&asked, &mut |index, outcome| {
                    let length = outcome.as_ref().map_or(0, |message| message.body.len());
                    spent.permit(length, &limits, context)?;
                    let octets = outcome.as_ref().map_or(0, |message| budget.weight(&message.body));
                    if !budget.take(octets, context)? {
                        return Err(broken());
                    }
                    sender.send((index, outcome)).map_err(|_| broken())?;
                    spent.keep_pace(length, &limits, context);
                    context.check()
                })
            });
            let written = loop {
                let next = inbox.recv_timeout(WAIT);
                let taken = match next {
                    Ok((index, outcome)) => {
                        handed = index + 1;
                        let octets = outcome.as_ref().map_or(0, |message| budget.weight(&message.body));
                        let taken = group.get(index).map_or(Ok(()), |wanted| self.take(&mut batch, wanted, outcome, twins));
                        budget.give(octets);
                        taken
                    }
                    Err(RecvTimeoutError::Timeout) => batch.end(self.backup.store).map(|kept| self.count(kept)),
                    Err(RecvTimeoutError::Disconnected) => break self.settle(&mut batch),
                };
                let settled = taken.and_then(|()| self.turn(&mut batch));
                if let Err(error) = settled {
                    break if error.kind() == Kind::Limit { self.settle(&mut batch).and(Err(error)) } else { Err(error) };
                }
            };
            // A reader that waits for room or for the writer must not wait for ever.
            budget.close();
            drop(inbox);
            let read = reader.join().unwrap_or_else(|_| Err(Error::local("the thread that reads came to an unexpected end")));
            (written, read)
        });
        self.pending.clear();
        spent.messages = self.spent.messages;
        self.spent = spent;
        written?;
        match read {
            Err(error) if error.scope() == Scope::Session => {
                if let Some(wanted) = group.get(handed) {
                    self.blame(wanted, &error)?;
                }
                Err(error)
            }
            other => other,
        }
    }

    /// Takes a message: it is the one on file, or one on file under another name, or new.
    fn take(&mut self, batch: &mut Batch<'_>, wanted: &Wanted, outcome: Result<Message>, twins: &mut Twins) -> Result<()> {
        self.through();
        let mut message = match outcome {
            Ok(message) => message,
            Err(error) if error.scope() == Scope::Message => {
                batch.change(self.put_aside(wanted, error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let content = message.digests.content;
        let mut key = wanted.listed.key.clone();
        if let Some((known, on_file)) = wanted.doubt {
            if on_file == content {
                if known.gone {
                    batch.change(ArchiveChange::Back { entry: known.entry });
                    self.known.entry(wanted.name.clone()).and_modify(|known| known.gone = false);
                }
                self.release(batch, wanted);
                self.fates.insert(wanted.name.clone(), Fate::AlreadyThere);
                return Ok(());
            }
            // The unique-id was given to another message: from now on its content names this one.
            self.reused.insert(wanted.name.clone());
            self.doubted.push(content);
            key = None;
        }
        let key = key.unwrap_or_else(|| twins.key(content));
        let text = key.to_string();
        self.listed.insert(text.clone());
        if let Some(known) = self.known.get_mut(&text).filter(|_| matches!(key, Key::Content { .. })) {
            if known.gone {
                known.gone = false;
                let entry = known.entry;
                batch.change(ArchiveChange::Back { entry });
            }
            self.release(batch, wanted);
            self.fates.insert(wanted.name.clone(), Fate::AlreadyThere);
            return Ok(());
        }
        if self.copied.contains(&text) {
            // Read again after a loss: it was kept by this very run.
            self.fates.insert(wanted.name.clone(), Fate::Copied { octets: 0, number: wanted.listed.id, altered: Vec::new() });
            return Ok(());
        }
        let entry = NewEntry {
            era: self.era,
            uid: None,
            key: Some(key),
            flags: Vec::new(),
            labels: Vec::new(),
            listed_size: wanted.listed.size,
            at: self.backup.context.unix_time(),
        };
        if let Some(file) = self.spare(content)? {
            batch.change(ArchiveChange::Recognised { entry, file });
            self.release(batch, wanted);
            self.copied.insert(text);
            self.fates.insert(wanted.name.clone(), Fate::AlreadyThere);
            return Ok(());
        }
        if self.backup.options.limits.messages.is_some_and(|most| self.spent.messages >= most) {
            return Err(Spent::reached());
        }
        self.spent.messages += 1;
        message.internal_date = Some(self.date(&text, &message)?);
        // Counted when it is durable.
        self.pending.insert(u64::from(wanted.listed.id), (wanted.name.clone(), text));
        batch.take(self.backup.store, u64::from(wanted.listed.id), entry, &message, None)?;
        self.release(batch, wanted);
        Ok(())
    }

    /// Makes what was taken durable, and counts it.
    fn settle(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        let kept = batch.settle(self.backup.store)?;
        self.count(kept);
        Ok(())
    }

    /// Lets a batch that is large or old enough become durable while more is taken.
    fn turn(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        let store = &mut *self.backup.store;
        let kept = if batch.is_due(store) {
            batch.begin(store)?
        } else if batch.is_ready(store) {
            batch.end(store)?
        } else {
            return Ok(());
        };
        self.count(kept);
        Ok(())
    }

    fn count(&mut self, kept: Vec<Kept>) {
        if kept.is_empty() {
            return;
        }
        for Kept { ticket, length, altered, .. } in kept {
            let Some((name, key)) = self.pending.remove(&ticket) else { continue };
            self.copied.insert(key);
            let number = u32::try_from(ticket).unwrap_or_default();
            self.fates.insert(name, Fate::Copied { octets: length, number, altered });
        }
        self.backup.store.archive.progress(&serde_json::json!({
            "account": self.backup.account.name,
            "folder": self.folder.folder.to_string(),
            "messages_done": self.handed_over(),
            "messages_total": self.planned,
            "bytes_done": self.spent.octets,
        }));
    }

    fn release(&self, batch: &mut Batch<'_>, wanted: &Wanted) {
        if self.aside.contains_key(&wanted.name) {
            batch.change(ArchiveChange::Released { folder: self.folder.id, key: wanted.name.clone() });
        }
    }

    /// When a message reached the maildrop, as far as it tells. A file that a run left behind that died keeps its date: it
    /// is part of its name, and now is another moment.
    fn date(&self, key: &str, message: &Message) -> Result<InternalDate> {
        if !self.dates.is_empty() {
            let digest = Digest::of(key.as_bytes()).to_string();
            if let Some(date) = digest.get(..16).and_then(|start| self.dates.get(start)) {
                return Ok(*date);
            }
        }
        let now = InternalDate { seconds: self.backup.context.unix_time(), offset: 0 };
        Ok(DateFrom::Received.date(&message.body.prefix(HEADER_OCTETS)?, now))
    }
}
