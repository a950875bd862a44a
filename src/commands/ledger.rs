//! The record of copies and moves into local files: which messages this tool was about to write there, and how many like them stood
//! there before. Content alone must not count as a copy: the files may be the very store that a server shows, and then the
//! message and its supposed copy are one. It writes no mail and never looks at any.

use std::collections::HashMap;
use std::path::Path;

use super::picked::name_of;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::message::{Digest, Key, Message, Twins};
use crate::state::{Batch, Change, CopyId, GenerationId, Intent, Journal, MailboxId, NewIntent, OF_FILES, State};
use crate::store::Listed;

/// The record.
pub(super) struct Ledger {
    journal: Journal,
    context: Context,
    source: String,
    folder: Folder,
    mailbox: MailboxId,
    generation: GenerationId,
    /// What earlier runs wrote, or were about to, by key.
    known: HashMap<String, Intent>,
    /// How often each content stood there at the start.
    there: HashMap<Digest, u32>,
    /// The same with what this run writes.
    planned: HashMap<Digest, u32>,
    /// How many of each content were recognised as written by earlier runs.
    adopted: HashMap<Digest, u32>,
    /// Keys of messages that have none of their own.
    twins: Twins,
    keys: HashMap<String, Key>,
    copies: HashMap<String, CopyId>,
    tickets: u64,
}

impl Ledger {
    /// Opens the record of the destination called `identity` in `dir`; `there` is what its folder `to` holds.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(super) fn open(
        dir: &Path,
        identity: &str,
        context: &Context,
        (source, folder): (String, Folder),
        to: &Folder,
        there: &HashMap<Digest, u32>,
    ) -> Result<Self> {
        let mut journal = Journal::open(dir, identity, context)?;
        let mailbox = journal.mailbox(to)?;
        let generation = journal.add_generation(mailbox, OF_FILES)?;
        let mut known = HashMap::new();
        for one in journal.outstanding(mailbox)?.into_iter().chain(journal.unplaced(mailbox, generation)?) {
            if one.source == source && one.folder == folder {
                known.insert(one.key.clone(), one);
            }
        }
        Ok(Self {
            journal,
            context: context.clone(),
            source,
            folder,
            mailbox,
            generation,
            known,
            there: there.clone(),
            planned: there.clone(),
            adopted: HashMap::new(),
            twins: Twins::default(),
            keys: HashMap::new(),
            copies: HashMap::new(),
            tickets: u64::from(std::process::id()) & 0xff_ffff,
        })
    }

    /// Whether an earlier run wrote this message: it was about to, and more of its content stand there than did before.
    pub(super) fn wrote(&mut self, listed: &Listed, message: &Message) -> Result<bool> {
        let content = message.digests.content;
        let key = listed.key.clone().unwrap_or_else(|| self.twins.key(content));
        let name = key.to_string();
        self.keys.insert(name_of(listed), key);
        let Some(row) = self.known.get(&name).filter(|row| row.content == content) else { return Ok(false) };
        let adopted = self.adopted.entry(content).or_default();
        if self.there.get(&content).copied().unwrap_or(0) <= row.floor.unwrap_or(u32::MAX).max(*adopted) {
            return Ok(false);
        }
        *adopted += 1;
        if row.state != State::Done {
            self.journal.commit(&Batch(vec![Change::Done { copy: row.id, uid: None, altered: false }]))?;
        }
        self.copies.insert(name_of(listed), row.id);
        Ok(true)
    }

    /// A number for the name of a message's file under which nothing can stand yet, where its content does: a file that is
    /// there must not pass for the copy of it.
    pub(super) fn fresh_ticket(&mut self, content: Digest) -> Option<u64> {
        if self.there.get(&content).copied().unwrap_or(0) == 0 {
            return None;
        }
        self.tickets += 1;
        let now = u64::try_from(self.context.unix_time()).unwrap_or(0);
        Some((now << 24).saturating_add(self.tickets))
    }

    /// Notes, durably, that these are about to be written.
    pub(super) fn intend(&mut self, messages: &[(Listed, Message)]) -> Result<()> {
        let mut changes = Vec::new();
        for (listed, message) in messages {
            let key = self.keys.get(&name_of(listed)).cloned().ok_or_else(|| Error::local("a message without a key"))?;
            let row = self.known.get(&key.to_string());
            if let Some(row) = row.filter(|row| row.state != State::Done) {
                changes.push(Change::Pending { copy: row.id });
            }
            let before = self.planned.entry(message.digests.content).or_default();
            changes.push(Change::Intend(NewIntent {
                source: self.source.clone(),
                folder: self.folder.clone(),
                key,
                mailbox: self.mailbox,
                generation: self.generation,
                exact: message.digests.exact,
                content: message.digests.content,
                header: None,
                body: None,
                length: message.body.len(),
                floor: *before,
                at: self.context.unix_time(),
                again: true,
            }));
            *before += 1;
        }
        let copies = self.journal.commit(&Batch(changes))?;
        self.copies.extend(messages.iter().map(|(listed, _)| name_of(listed)).zip(copies));
        Ok(())
    }

    /// Notes what became of them.
    pub(super) fn settled<'n>(&mut self, names: impl Iterator<Item = (&'n str, Option<String>)>) -> Result<()> {
        let changes = names.filter_map(|(name, refused)| {
            let copy = *self.copies.get(name)?;
            Some(match refused {
                None => Change::Done { copy, uid: None, altered: false },
                Some(reason) => Change::Refused { copy, reason },
            })
        });
        let changes = changes.collect();
        self.journal.commit(&Batch(changes)).map(drop)
    }

    /// Forgets messages that are gone from where they were.
    pub(super) fn gone<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Result<()> {
        let changes = names.filter_map(|name| Some(Change::Released { copy: *self.copies.get(name)? })).collect();
        self.journal.commit(&Batch(changes))?;
        self.journal.finish_run(true)
    }
}
