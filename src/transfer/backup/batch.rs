//! Messages on their way into a folder of the store: written as they come, made durable a batch at a time, and recorded only then,
//! each batch in one transaction. It knows no server and decides nothing about what is missing.

use std::collections::HashMap;
use std::time::Duration;

use super::OpenStore;
use crate::context::{Context, Moment};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, Message, SPILL_BYTES, header_digest};
use crate::report::{Event, Report};
use crate::state::archive::{ArchiveChange, ArchiveFile, ArchiveFolderId, FileId, Form, NewEntry};
use crate::store::vault::{Laid, NameKey};

/// A batch is closed when it holds so many messages,
const MESSAGES: usize = 256;
/// or so many octets,
const OCTETS: u64 = 16 * 1024 * 1024;
/// or is so old.
const AGE: Duration = Duration::from_secs(1);

/// What was recorded of one message.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The caller's number for it.
    pub(super) ticket: u64,
    /// Length of the message as the server gave it.
    pub(super) length: u64,
    /// What could not be kept, in words.
    pub(super) altered: Vec<String>,
}

/// A message on its way.
struct Waiting {
    ticket: u64,
    entry: NewEntry,
    file: ArchiveFile,
}

/// Messages and other changes of one folder that become durable together.
pub(super) struct Batch<'a> {
    context: &'a Context,
    report: &'a dyn Report,
    /// The account's directory.
    account: &'a str,
    folder: ArchiveFolderId,
    name: &'a Folder,
    uid_validity: u32,
    waiting: Vec<Waiting>,
    changes: Vec<ArchiveChange>,
    since: Option<Moment>,
    /// The batch before, which is being synced.
    begun: Option<(Vec<Waiting>, Vec<ArchiveChange>)>,
    /// What the store settled so far and is not recorded.
    laid: HashMap<u64, Laid>,
}

impl<'a> Batch<'a> {
    /// An empty batch for the folder `name` (whose directory stands) of the account with the directory `account`;
    /// `uid_validity` is 0 on POP3.
    pub(super) fn new(
        context: &'a Context,
        report: &'a dyn Report,
        account: &'a str,
        (folder, name): (ArchiveFolderId, &'a Folder),
        uid_validity: u32,
    ) -> Self {
        let (waiting, changes, laid) = (Vec::new(), Vec::new(), HashMap::new());
        Self { context, report, account, folder, name, uid_validity, waiting, changes, since: None, begun: None, laid }
    }

    /// Takes a message; nothing of it is durable yet. `message` must have its date, which becomes part of its name.
    ///
    /// # Errors
    /// As [`crate::store::vault::Vault::lay`]; the whole batch is dropped then.
    pub(super) fn take(
        &mut self,
        store: &mut OpenStore,
        ticket: u64,
        entry: NewEntry,
        message: &Message,
        object_id: Option<String>,
    ) -> Result<()> {
        let text = entry.key.as_ref().map(ToString::to_string);
        let key = match &text {
            Some(text) => NameKey::Key(text),
            None => NameKey::Uid { uid_validity: self.uid_validity, uid: entry.uid.unwrap_or_default() },
        };
        let header = header(message)?;
        if let Err(error) = store.vault.lay(self.account, self.name, ticket, key, message) {
            self.drop_all();
            return Err(error);
        }
        let file = ArchiveFile {
            id: FileId::default(),
            folder: self.folder,
            stem: String::new(),
            form: Form::AsReceived,
            octets: 0,
            digest: message.digests.exact,
            exact: message.digests.exact,
            content: message.digests.content,
            header,
            length: message.body.len(),
            internal_date: message.internal_date,
            object_id,
        };
        self.waiting.push(Waiting { ticket, entry, file });
        self.since.get_or_insert_with(|| self.context.now());
        Ok(())
    }

    /// Takes a change that is to be recorded with the batch.
    pub(super) fn change(&mut self, change: ArchiveChange) {
        self.changes.push(change);
        self.since.get_or_insert_with(|| self.context.now());
    }

    /// Whether the batch is large or old enough to be closed.
    pub(super) fn is_due(&self, store: &OpenStore) -> bool {
        let (messages, octets) = store.vault.waiting();
        messages >= MESSAGES
            || octets >= OCTETS
            || self.changes.len() >= MESSAGES * 4
            || self.since.is_some_and(|since| self.context.now().since(since) >= AGE)
    }

    /// Whether what [`Self::begin`] began can be ended without waiting.
    pub(super) fn is_ready(&self, store: &OpenStore) -> bool {
        self.begun.is_some() && store.vault.is_ready()
    }

    /// Ends what was begun before, and begins to make the batch durable while the next one is taken; where the store cannot do
    /// that, as [`Self::settle`]. Tells of what is recorded by now.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub(super) fn begin(&mut self, store: &mut OpenStore) -> Result<Vec<Kept>> {
        let mut kept = self.end(store)?;
        if !self.waiting.is_empty() && store.vault.begin()? {
            self.since = None;
            self.begun = Some((std::mem::take(&mut self.waiting), std::mem::take(&mut self.changes)));
        } else {
            kept.append(&mut self.settle(store)?);
        }
        Ok(kept)
    }

    /// Records what was begun, once it is durable.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub(super) fn end(&mut self, store: &mut OpenStore) -> Result<Vec<Kept>> {
        match self.begun.take() {
            Some((waiting, changes)) => self.record(store, waiting, changes),
            None => Ok(Vec::new()),
        }
    }

    /// Makes everything taken durable, then records it, and tells of each message in the order they were taken.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the disk fails: nothing that was not told of counts then.
    pub(super) fn settle(&mut self, store: &mut OpenStore) -> Result<Vec<Kept>> {
        let mut kept = self.end(store)?;
        self.since = None;
        let (waiting, changes) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.changes));
        if !waiting.is_empty() || !changes.is_empty() {
            kept.append(&mut self.record(store, waiting, changes)?);
        }
        Ok(kept)
    }

    fn record(&mut self, store: &mut OpenStore, mut waiting: Vec<Waiting>, mut changes: Vec<ArchiveChange>) -> Result<Vec<Kept>> {
        let mut altered: HashMap<u64, Vec<String>> = HashMap::new();
        if !waiting.is_empty() {
            self.laid.extend(store.vault.settle()?.into_iter().map(|laid| (laid.ticket, laid)));
            for one in &mut waiting {
                let Some(laid) = self.laid.remove(&one.ticket) else {
                    return Err(Error::local("a message was written and its file is not named").hint("please report this"));
                };
                one.file.stem = laid.stem;
                one.file.form = if laid.line_feeds { Form::LineFeeds } else { Form::AsReceived };
                one.file.octets = laid.octets;
                one.file.digest = laid.digest;
                if !laid.altered.is_empty() {
                    altered.insert(one.ticket, laid.altered);
                }
            }
            self.context.step("backup.durable");
        }
        let told: Vec<(u64, u64)> = waiting.iter().map(|one| (one.ticket, one.file.length)).collect();
        // Before the rest: what the caller noted of a message may need it to be there.
        let first: Vec<ArchiveChange> = waiting.into_iter().map(|one| ArchiveChange::Kept { entry: one.entry, file: one.file }).collect();
        changes.splice(0..0, first);
        store.archive.commit(&changes)?;
        self.context.step("backup.committed");
        let folder = self.name.to_string();
        let kept = told.into_iter().map(|(ticket, length)| {
            self.report.event(Event::Copied { folder: folder.clone(), bytes: length });
            Kept { ticket, length, altered: altered.remove(&ticket).unwrap_or_default() }
        });
        Ok(kept.collect())
    }

    /// What is not durable yet will not be: the next run finds it missing.
    pub(super) fn drop_all(&mut self) {
        self.waiting.clear();
        self.changes.clear();
        self.begun = None;
        self.laid.clear();
        self.since = None;
    }
}

/// The header digest of a message.
///
/// # Errors
/// [`crate::error::Kind::Local`] when its temporary file cannot be read.
pub(super) fn header(message: &Message) -> Result<Digest> {
    Ok(match message.body.in_memory() {
        Some(bytes) => header_digest(bytes),
        None => header_digest(&message.body.prefix(SPILL_BYTES)?),
    })
}
