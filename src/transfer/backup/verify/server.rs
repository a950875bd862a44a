//! The store against the server: is every message that it lists on file, and (where asked) is it the very message. Nothing there
//! is changed, and a listing alone reads no message.

use std::collections::{HashMap, HashSet};

use super::{Found, Look};
use crate::account::{Protocol, Server};
use crate::error::{Result, Scope};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::{Digest, Message};
use crate::report::{Event, Fault, Finding, counted};
use crate::state::archive::{Account, Archive, ArchiveFile, ArchiveFolder, EraId, Form};
use crate::store::origin::{Arrival, Origin, Remote};
use crate::store::pop3::Pop3Source;
use crate::store::vault::Vault;
use crate::store::{Listed, Source, SpecialUse};

/// Messages compared at once.
const BATCH: u32 = 256;

/// How far a comparison goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// UIDs and unique-ids.
    Listing,
    /// Every message is read and its content compared.
    Full,
}

/// Compares an account of the store with its server: the folders that `is_meant` accepts.
///
/// # Errors
/// The server cannot be asked, or the store cannot be read.
pub fn compare(
    look: &Look<'_>,
    archive: &Archive,
    vault: &mut dyn Vault,
    (account, server): (&Account, &Server),
    is_meant: &dyn Fn(&Folder) -> bool,
    reading: Reading,
    found: &mut Found,
) -> Result<()> {
    let mut comparison = Comparison { look, archive, vault, account, reading, found };
    match server.protocol {
        Protocol::Imap => comparison.imap(server, is_meant),
        Protocol::Pop3 => comparison.pop3(server),
    }
}

struct Comparison<'a, 'b> {
    look: &'a Look<'b>,
    archive: &'a Archive,
    vault: &'a mut dyn Vault,
    account: &'a Account,
    reading: Reading,
    found: &'a mut Found,
}

/// The folders of a server that a backup takes: on Gmail every message once.
pub(super) fn taken(remotes: Vec<Remote>, is_gmail: bool) -> impl Iterator<Item = Remote> {
    let once = is_gmail && remotes.iter().any(|remote| remote.info.special_use == Some(SpecialUse::All));
    remotes.into_iter().filter(move |remote| {
        let whole = matches!(remote.info.special_use, Some(SpecialUse::All | SpecialUse::Junk | SpecialUse::Trash));
        remote.info.selectable && (!once || whole)
    })
}

impl Comparison<'_, '_> {
    fn imap(&mut self, server: &Server, is_meant: &dyn Fn(&Folder) -> bool) -> Result<()> {
        let mut origin = Origin::connect(server, self.look.context, self.look.trace)?;
        let remotes = origin.folders()?;
        let is_gmail = origin.is_gmail();
        let records = self.archive.folders(self.account.id)?;
        let aside = self.archive.put_aside(self.account.id)?;
        let mut on_server = self.found.checked.sums.on_server.unwrap_or_default();
        for remote in taken(remotes, is_gmail).filter(|remote| is_meant(&remote.info.folder)) {
            self.look.context.check()?;
            let folder = remote.info.folder;
            let visit = match origin.visit(&folder, None, &mut |_| Ok(())) {
                Ok(visit) => visit,
                Err(error) if error.scope() <= Scope::Mailbox => {
                    self.note(Fault::NotStored, &folder, None, format!("the folder could not be listed: {error}"), 0);
                    continue;
                }
                Err(error) => return Err(error),
            };
            on_server += visit.there.len();
            self.found.checked.sums.on_server = Some(on_server);
            let Some(uid_validity) = visit.figures.uid_validity else {
                self.note(
                    Fault::NotStored,
                    &folder,
                    None,
                    "the server gives it no UIDVALIDITY, so nothing can be compared",
                    visit.there.len(),
                );
                continue;
            };
            let record = records.iter().find(|record| record.folder == folder);
            let Some(record) = record else {
                self.uids(Fault::NotYetBackedUp, &folder, &visit.there, "not yet backed up: the folder is new");
                continue;
            };
            let era = self.archive.eras(record.id)?.into_iter().find(|era| era.uid_validity == uid_validity);
            let Some(era) = era else {
                self.uids(
                    Fault::NotYetBackedUp,
                    &folder,
                    &visit.there,
                    &format!("not yet backed up under the UIDVALIDITY {uid_validity} that the folder has now; the next backup finds out which of them are here"),
                );
                continue;
            };
            let mut known = self.archive.uids(era.id, false)?;
            let gone = self.archive.uids(era.id, true)?;
            known.extend(gone.iter());
            let lacking = visit.there.difference(&known);
            let put_aside: UidSet = aside.iter().filter(|one| one.folder == record.id).filter_map(|one| one.uid).collect();
            let next = record.mark.filter(|mark| mark.uid_validity == uid_validity).and_then(|mark| mark.uid_next);
            let (mut poor, mut new, mut lost) = (UidSet::new(), UidSet::new(), UidSet::new());
            for uid in lacking.iter() {
                if put_aside.contains(uid) {
                    poor.insert(uid);
                } else if next.is_none_or(|next| uid >= next) {
                    new.insert(uid);
                } else {
                    lost.insert(uid);
                }
            }
            self.uids(Fault::NotStored, &folder, &poor, "put aside, because the server could not give it (mailhaul problems tells why)");
            self.uids(Fault::NotYetBackedUp, &folder, &new, "not yet backed up");
            self.uids(Fault::NotStored, &folder, &lost, "on the server and not in the store, though a complete run passed it");
            if self.reading == Reading::Full {
                let both = visit.there.difference(&lacking);
                self.read(&mut origin, record, era.id, &both)?;
            }
        }
        self.found.checked.sums.on_server = Some(on_server);
        // All was told already.
        let _ = origin.finish();
        Ok(())
    }

    fn read(&mut self, origin: &mut Origin, record: &ArchiveFolder, era: EraId, uids: &UidSet) -> Result<()> {
        let label = format!("{}/{}", self.account.name, record.folder);
        self.look.report.event(Event::Planned { folder: label.clone(), messages: uids.len(), bytes: 0 });
        for set in uids.split_by_count(BATCH) {
            self.look.context.check()?;
            let mut files: HashMap<u32, ArchiveFile> = HashMap::new();
            self.archive.entries(era, Some(&set), &mut |held| {
                files.extend(held.entry.uid.map(|uid| (uid, held.file)));
                Ok(())
            })?;
            let mut wanted: Vec<Arrival> = Vec::new();
            origin.arrivals(&set, &mut |arrival| {
                wanted.push(arrival);
                Ok(())
            })?;
            let mut differing = Vec::new();
            let (vault, account, report) = (&mut *self.vault, self.account, self.look.report);
            origin.read(&wanted, &mut |index, message| {
                let Some(arrival) = wanted.get(index) else { return Ok(()) };
                let Some(file) = files.get(&arrival.uid) else { return Ok(()) };
                match message {
                    Ok(message) => {
                        report.event(Event::Copied { folder: label.clone(), bytes: message.body.len() });
                        if !same(vault, account, record, file, &message)? {
                            differing.push((arrival.uid, "the server has another message under this UID".to_owned()));
                        }
                    }
                    Err(error) => differing.push((arrival.uid, format!("it could not be read: {error}"))),
                }
                Ok(())
            })?;
            for (uid, words) in differing {
                self.note(Fault::Different, &record.folder, Some(uid), words, 1);
            }
        }
        Ok(())
    }

    fn pop3(&mut self, server: &Server) -> Result<()> {
        let folder = Folder::inbox();
        let mut source = Pop3Source::connect(server, self.look.context, self.look.trace)?;
        let listing = source.list(&folder)?;
        self.found.checked.sums.on_server = Some(self.found.checked.sums.on_server.unwrap_or_default() + listing.messages.len() as u64);
        let record = self.archive.find_folder(self.account.id, &folder)?;
        let mut files: HashMap<String, ArchiveFile> = HashMap::new();
        if let Some(record) = &record {
            for era in self.archive.eras(record.id)? {
                self.archive.entries(era.id, None, &mut |held| {
                    files.extend(held.entry.key.map(|key| (key, held.file)));
                    Ok(())
                })?;
            }
        }
        let aside: HashSet<String> = self.archive.put_aside(self.account.id)?.into_iter().map(|one| one.key).collect();
        let (mut wanted, mut nameless): (Vec<Listed>, Vec<Listed>) = (Vec::new(), Vec::new());
        for listed in listing.messages {
            match listed.key.as_ref().map(ToString::to_string) {
                Some(key) if files.contains_key(&key) => wanted.push(listed),
                Some(key) if aside.contains(&key) => {
                    self.note(
                        Fault::NotStored,
                        &folder,
                        Some(listed.id),
                        format!("{key}: put aside, because the server could not give it"),
                        1,
                    );
                }
                Some(key) => self.note(Fault::NotYetBackedUp, &folder, Some(listed.id), format!("{key}: not yet backed up"), 1),
                None => nameless.push(listed),
            }
        }
        if !nameless.is_empty() && self.reading == Reading::Listing {
            let words = format!(
                "the server gives {} no unique-id of {} own: --full compares them by content",
                counted(nameless.len() as u64, "message"),
                if nameless.len() == 1 { "its" } else { "their" }
            );
            self.note(Fault::NotYetBackedUp, &folder, None, words, nameless.len() as u64);
        } else if let Some(record) = &record
            && self.reading == Reading::Full
        {
            self.read_pop3(&mut source, record, &files, &wanted, &nameless)?;
        } else {
            for listed in &nameless {
                self.note(Fault::NotYetBackedUp, &folder, Some(listed.id), "not yet backed up", 1);
            }
        }
        // Without QUIT: what was read is nothing that the server should act upon.
        drop(source);
        Ok(())
    }

    fn read_pop3(
        &mut self,
        source: &mut Pop3Source,
        record: &ArchiveFolder,
        files: &HashMap<String, ArchiveFile>,
        wanted: &[Listed],
        nameless: &[Listed],
    ) -> Result<()> {
        let mut differing = Vec::new();
        let (vault, account) = (&mut *self.vault, self.account);
        source.read(wanted, &mut |index, message| {
            let Some(listed) = wanted.get(index) else { return Ok(()) };
            let file = listed.key.as_ref().and_then(|key| files.get(&key.to_string()));
            match (message, file) {
                (Ok(message), Some(file)) if !same(vault, account, record, file, &message)? => {
                    differing.push((listed.id, "the server has another message under this unique-id".to_owned()));
                }
                (Err(error), _) => differing.push((listed.id, format!("it could not be read: {error}"))),
                _ => {}
            }
            Ok(())
        })?;
        let mut contents: HashMap<Digest, u64> = HashMap::new();
        for (key, file) in files {
            if key.starts_with("content:") {
                *contents.entry(file.content).or_default() += 1;
            }
        }
        let mut new = Vec::new();
        source.read(nameless, &mut |index, message| {
            let Some(listed) = nameless.get(index) else { return Ok(()) };
            match message {
                Ok(message) => match contents.get_mut(&message.digests.content).filter(|left| **left > 0) {
                    Some(left) => *left -= 1,
                    None => new.push(listed.id),
                },
                Err(error) => differing.push((listed.id, format!("it could not be read: {error}"))),
            }
            Ok(())
        })?;
        for (number, words) in differing {
            self.note(Fault::Different, &record.folder, Some(number), words, 1);
        }
        for number in new {
            self.note(Fault::NotYetBackedUp, &record.folder, Some(number), "not yet backed up", 1);
        }
        Ok(())
    }

    fn uids(&mut self, kind: Fault, folder: &Folder, uids: &UidSet, words: &str) {
        if uids.is_empty() {
            return;
        }
        let one = uids.first().filter(|_| uids.len() == 1);
        let words = if one.is_some() { words.to_owned() } else { format!("{} ({uids}) {words}", counted(uids.len(), "message")) };
        self.note(kind, folder, one, words, uids.len());
    }

    fn note(&mut self, kind: Fault, folder: &Folder, uid: Option<u32>, reason: impl Into<String>, messages: u64) {
        let finding = Finding {
            kind,
            account: Some(self.account.name.clone()),
            folder: Some(folder.to_string()),
            uid,
            path: None,
            reason: reason.into(),
            repaired: false,
        };
        self.found.checked.found(finding, messages);
    }
}

/// Whether a message is the one of a file: by content, or (servers that change header fields) by stable header and body.
fn same(vault: &mut dyn Vault, account: &Account, record: &ArchiveFolder, file: &ArchiveFile, message: &Message) -> Result<bool> {
    if file.content == message.digests.content {
        return Ok(true);
    }
    let (header, body) = message.body.split_digests()?;
    if header != file.header {
        return Ok(false);
    }
    let kept = vault.read(&account.name, &record.folder, &file.stem, file.form == Form::LineFeeds)?;
    kept.map_or(Ok(false), |kept| Ok(kept.body.split_digests()? == (header, body)))
}
