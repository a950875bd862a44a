//! Putting right what a look at a store found: files are fetched again when the server still has the very message, what a
//! run that died left is taken in, rows that were lost are written anew. Nothing is removed, and nothing takes the place of a file
//! unless its content is the one on record.

use std::collections::{HashMap, HashSet};

use super::server::taken;
use super::{Found, Look, Stray, Suspect};
use crate::account::{Protocol, Server};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::Message;
use crate::state::archive::{Account, AccountId, ArchiveChange, ArchiveFile, ArchiveFolder, ArchiveFolderId, Form, NewEntry};
use crate::store::origin::{Arrival, Origin};
use crate::store::pop3::Pop3Source;
use crate::store::vault::{self, Layout, NameKey};
use crate::store::{Listed, Source};
use crate::transfer::backup::{OpenStore, manifest, rebuild};

/// Messages fetched at once.
const BATCH: u32 = 64;

/// Puts things right.
pub struct Repair<'a> {
    /// As what was found was looked for.
    pub look: &'a Look<'a>,
    /// The store.
    pub store: &'a mut OpenStore,
    /// The account whose server is asked, if one was named.
    pub server: Option<(&'a Account, &'a Server)>,
}

impl Repair<'_> {
    /// Puts right what can be, and says of the rest why it cannot.
    ///
    /// # Errors
    /// The store cannot be written, the server cannot be asked, a signal. What was put right until then stays so.
    pub fn run(mut self, found: &mut Found) -> Result<()> {
        let mut touched: HashSet<AccountId> = HashSet::new();
        let strays = std::mem::take(&mut found.strays);
        let mut suspects = std::mem::take(&mut found.suspects);
        let strays = self.moved(strays, &mut suspects, &mut touched, found)?;
        let mut unknown: HashSet<(String, Folder)> = HashSet::new();
        for stray in strays {
            self.look.context.check()?;
            if self.adopt(&stray, found)? {
                touched.insert(stray.account.id);
            } else {
                unknown.insert((stray.account.name.clone(), stray.folder.folder.clone()));
            }
        }
        self.fetch(suspects, &mut touched, found)?;
        for account in self.store.archive.accounts()? {
            for folder in self.store.archive.folders(account.id)? {
                // All that lies there is in the journal: what writing left word of, this time or when a repair died, is over.
                if !unknown.contains(&(account.name.clone(), folder.folder.clone())) {
                    self.store.vault.complete(&account.name, &folder.folder)?;
                }
            }
        }
        let wrong: HashMap<AccountId, usize> = found.manifests.drain(..).map(|(account, finding)| (account.id, finding)).collect();
        for account in self.store.archive.accounts()? {
            if touched.contains(&account.id) || wrong.contains_key(&account.id) || account.manifest_stale {
                manifest::write(self.look.root, &mut self.store.archive, self.store.vault.as_mut(), &account, self.look.context)?;
                if let Some(finding) = wrong.get(&account.id) {
                    found.mended(*finding);
                }
            }
        }
        Ok(())
    }

    /// Files that lie in another folder of the account now, under the name they had.
    fn moved(
        &mut self,
        strays: Vec<Stray>,
        suspects: &mut Vec<Suspect>,
        touched: &mut HashSet<AccountId>,
        found: &mut Found,
    ) -> Result<Vec<Stray>> {
        let mut left = Vec::new();
        if self.store.vault.layout() == Layout::Mbox {
            return Ok(strays);
        }
        for stray in strays {
            let place = suspects.iter().position(|suspect| {
                suspect.path.is_none()
                    && suspect.account.id == stray.account.id
                    && suspect.folder.id != stray.folder.id
                    && suspect.file.stem == stray.lying.stem
            });
            let checked = self.store.vault.check(&stray.account.name, &stray.folder.folder, &stray.lying.stem)?;
            let same = |suspect: &Suspect| checked.as_ref().is_some_and(|(_, digest, _)| *digest == suspect.file.digest);
            let free = self.store.archive.file_named(stray.folder.id, &stray.lying.stem)?.is_none();
            match place.filter(|&place| free && !stray.twin && suspects.get(place).is_some_and(same)) {
                Some(place) => {
                    let suspect = suspects.swap_remove(place);
                    let file = ArchiveFile { folder: stray.folder.id, ..suspect.file };
                    self.store.archive.commit(&[ArchiveChange::Mended { file }])?;
                    let words = format!("a mail program moved it to {}, and the journal follows", stray.folder.folder);
                    found.beyond(suspect.finding, &words);
                    found.mended(suspect.finding);
                    found.mended(stray.finding);
                    touched.insert(stray.account.id);
                }
                None => left.push(stray),
            }
        }
        Ok(left)
    }

    /// Takes in a file of ours that the journal does not have. One that another program put here stays as it is.
    fn adopt(&mut self, stray: &Stray, found: &mut Found) -> Result<bool> {
        let name = &stray.lying;
        if stray.twin || (name.uid.is_none() && name.key.is_none() && self.store.vault.layout() != Layout::Mbox) {
            return Ok(false);
        }
        let read = rebuild::file_of(self.store.vault.as_mut(), &self.store.card, &stray.account.name, &stray.folder, name);
        let (file, kept) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(false),
            Err(error) if error.scope() == Scope::Message => {
                found.beyond(stray.finding, error.message());
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if let Err(words) = kept {
            let place = vault::set_aside(self.look.root, &name.path, self.look.context)?;
            found.beyond(stray.finding, &format!("{words}; it was moved to {place}"));
            if self.has_file(stray)? {
                found.mended(stray.finding);
            } else {
                found.beyond(stray.finding, "the next backup reads the message again if the server has it");
            }
            return Ok(true);
        }
        let change = match name.uid {
            Some((uid_validity, uid)) => {
                let era = self.store.archive.eras(stray.folder.id)?.into_iter().find(|era| era.uid_validity == uid_validity);
                let Some(era) = era else {
                    // A message of an earlier generation: the next backup tells by its content which one it is.
                    self.store.archive.commit(&[ArchiveChange::Found { file }])?;
                    found.mended(stray.finding);
                    return Ok(true);
                };
                if self.has_file(stray)? {
                    found.beyond(stray.finding, "its UID has another file");
                    return Ok(false);
                }
                let entry = NewEntry {
                    era: era.id,
                    uid: Some(uid),
                    key: None,
                    flags: name.flags.clone(),
                    labels: Vec::new(),
                    listed_size: None,
                    at: self.look.context.unix_time(),
                };
                ArchiveChange::Kept { entry, file }
            }
            // Which message of the server it is shows when the server is asked.
            None => ArchiveChange::Found { file },
        };
        vault::settle_file(self.look.root, &name.path)?;
        self.look.context.step("repair.commit");
        self.store.archive.commit(&[change])?;
        self.look.context.step("repair.committed");
        found.mended(stray.finding);
        Ok(true)
    }

    /// Whether the message that a file's name tells of has another file.
    fn has_file(&self, stray: &Stray) -> Result<bool> {
        let Some((uid_validity, uid)) = stray.lying.uid else { return Ok(false) };
        let era = self.store.archive.eras(stray.folder.id)?.into_iter().find(|era| era.uid_validity == uid_validity);
        let Some(era) = era else { return Ok(false) };
        Ok(self.store.archive.uids(era.id, false)?.contains(uid) || self.store.archive.uids(era.id, true)?.contains(uid))
    }

    fn fetch(&mut self, suspects: Vec<Suspect>, touched: &mut HashSet<AccountId>, found: &mut Found) -> Result<()> {
        let Some((account, server)) = self.server else {
            for suspect in &suspects {
                let name = &suspect.account.name;
                found.beyond(suspect.finding, &format!("name the account ({name}) to have it fetched again"));
            }
            return Ok(());
        };
        let (mine, others): (Vec<_>, Vec<_>) = suspects.into_iter().partition(|suspect| suspect.account.id == account.id);
        for suspect in &others {
            found.beyond(suspect.finding, "it is another account's: name that one to have it fetched again");
        }
        match server.protocol {
            _ if mine.is_empty() => {}
            Protocol::Imap => self.fetch_imap(server, mine, touched, found)?,
            Protocol::Pop3 => self.fetch_pop3(server, mine, touched, found)?,
        }
        if server.protocol == Protocol::Pop3 || self.nameless(account)? {
            rebuild::confirm(self.store, account, server, self.look.context, self.look.trace)?;
        }
        Ok(())
    }

    /// Whether files of the account wait for a word of the server.
    fn nameless(&self, account: &Account) -> Result<bool> {
        let mut any = false;
        for folder in self.store.archive.folders(account.id)? {
            self.store.archive.files(folder.id, &mut |_, entries| {
                any = any || entries.is_empty();
                Ok(())
            })?;
        }
        Ok(any)
    }

    fn fetch_imap(&mut self, server: &Server, suspects: Vec<Suspect>, touched: &mut HashSet<AccountId>, found: &mut Found) -> Result<()> {
        let mut origin = Origin::connect(server, self.look.context, self.look.trace)?;
        let remotes = origin.folders()?;
        let is_gmail = origin.is_gmail();
        let served: HashSet<Folder> = taken(remotes, is_gmail).map(|remote| remote.info.folder).collect();
        // A message may be asked for under the folder of its entry, which is not the one its file lies in when that was moved.
        let mut by_folder: HashMap<ArchiveFolderId, Vec<Suspect>> = HashMap::new();
        let mut folders: HashMap<ArchiveFolderId, ArchiveFolder> = HashMap::new();
        for suspect in suspects {
            let key = suspect.folder.id;
            folders.entry(key).or_insert_with(|| suspect.folder.clone());
            by_folder.entry(key).or_default().push(suspect);
        }
        for (key, suspects) in by_folder {
            let Some(folder) = folders.get(&key) else { continue };
            if !served.contains(&folder.folder) {
                for suspect in &suspects {
                    found.beyond(suspect.finding, "the server has its folder no more");
                }
                continue;
            }
            let visit = origin.visit(&folder.folder, None, &mut |_| Ok(()))?;
            let era = match visit.figures.uid_validity {
                Some(now) => self.store.archive.eras(folder.id)?.into_iter().find(|era| era.uid_validity == now),
                None => None,
            };
            let mut wanted: HashMap<u32, Suspect> = HashMap::new();
            for suspect in suspects {
                let uid = suspect.entries.iter().filter(|entry| era.is_some_and(|era| era.id == entry.era)).find_map(|entry| entry.uid);
                match uid.filter(|uid| visit.there.contains(*uid) && !wanted.contains_key(uid)) {
                    Some(uid) => drop(wanted.insert(uid, suspect)),
                    None => found.beyond(suspect.finding, "the server has the message no more, so it cannot be fetched again"),
                }
            }
            let uids: UidSet = wanted.keys().copied().collect();
            for set in uids.split_by_count(BATCH) {
                self.look.context.check()?;
                let mut arrivals: Vec<Arrival> = Vec::new();
                origin.arrivals(&set, &mut |arrival| {
                    arrivals.push(arrival);
                    Ok(())
                })?;
                let mut done = HashSet::new();
                origin.read(&arrivals, &mut |index, message| {
                    let Some(arrival) = arrivals.get(index) else { return Ok(()) };
                    let Some(suspect) = wanted.get(&arrival.uid) else { return Ok(()) };
                    done.insert(arrival.uid);
                    if self.replace(suspect, message, found)? {
                        touched.insert(suspect.account.id);
                    }
                    Ok(())
                })?;
                for uid in set.iter().filter(|uid| !done.contains(uid)) {
                    if let Some(suspect) = wanted.get(&uid) {
                        found.beyond(suspect.finding, "the server has the message no more, so it cannot be fetched again");
                    }
                }
            }
        }
        // All that was wanted is here.
        let _ = origin.finish();
        Ok(())
    }

    fn fetch_pop3(&mut self, server: &Server, suspects: Vec<Suspect>, touched: &mut HashSet<AccountId>, found: &mut Found) -> Result<()> {
        let mut source = Pop3Source::connect(server, self.look.context, self.look.trace)?;
        let listing = source.list(&Folder::inbox())?;
        let listed: HashMap<String, Listed> =
            listing.messages.into_iter().filter_map(|listed| Some((listed.key.as_ref()?.to_string(), listed))).collect();
        let (mut wanted, mut whose) = (Vec::new(), Vec::new());
        for suspect in suspects {
            let one = suspect.entries.iter().filter_map(|entry| entry.key.as_ref()).find_map(|key| listed.get(key));
            match one {
                Some(one) => {
                    wanted.push(one.clone());
                    whose.push(suspect);
                }
                None => found.beyond(suspect.finding, "the server has the message no more, so it cannot be fetched again"),
            }
        }
        source.read(&wanted, &mut |index, message| {
            let Some(suspect) = whose.get(index) else { return Ok(()) };
            if self.replace(suspect, message, found)? {
                touched.insert(suspect.account.id);
            }
            Ok(())
        })?;
        // Without QUIT: what was read is nothing that the server should act upon.
        drop(source);
        Ok(())
    }

    /// Writes a file anew from the server's message, if that is the one on record.
    fn replace(&mut self, suspect: &Suspect, message: Result<Message>, found: &mut Found) -> Result<bool> {
        let mut message = match message {
            Ok(message) => message,
            Err(error) => {
                found.beyond(suspect.finding, &format!("the server cannot give it now: {error}"));
                return Ok(false);
            }
        };
        if message.digests.content != suspect.file.content {
            found.beyond(suspect.finding, "the server has another message under its name, so it was not replaced");
            return Ok(false);
        }
        let (file, account) = (&suspect.file, &suspect.account.name);
        // The name follows from these.
        message.internal_date = file.internal_date;
        let entry = suspect.entries.iter().find(|entry| entry.gone_at.is_none()).or(suspect.entries.first());
        message.flags = entry.map(|entry| entry.flags.clone()).unwrap_or_default();
        let text = entry.and_then(|entry| entry.key.clone());
        let named = vault::uid_of(&file.stem);
        let key = match (&text, named) {
            (Some(text), _) => NameKey::Key(text),
            (None, Some((uid_validity, uid))) => NameKey::Uid { uid_validity, uid },
            (None, None) => {
                let era =
                    self.store.archive.eras(suspect.folder.id)?.into_iter().find(|era| entry.is_some_and(|entry| entry.era == era.id));
                let uid = entry.and_then(|entry| entry.uid).unwrap_or_default();
                NameKey::Uid { uid_validity: era.map_or(0, |era| era.uid_validity), uid }
            }
        };
        if let Some(path) = &suspect.path
            && self.store.vault.layout() != Layout::Mbox
        {
            let place = vault::set_aside(self.look.root, path, self.look.context)?;
            found.beyond(suspect.finding, &format!("the damaged file is {place} now"));
        }
        let vault = &mut self.store.vault;
        vault.make_folder(account, &suspect.folder.folder)?;
        vault.lay(account, &suspect.folder.folder, 0, key, &message)?;
        let laid = vault.settle()?.into_iter().next().ok_or_else(|| Error::local("a message was written and its file is not named"))?;
        let new = ArchiveFile {
            stem: laid.stem,
            form: if laid.line_feeds { Form::LineFeeds } else { Form::AsReceived },
            octets: laid.octets,
            digest: laid.digest,
            exact: message.digests.exact,
            length: message.body.len(),
            ..file.clone()
        };
        if new != *file {
            self.look.context.step("repair.commit");
            self.store.archive.commit(&[ArchiveChange::Mended { file: new }])?;
        }
        self.look.context.step("repair.committed");
        found.mended(suspect.finding);
        Ok(true)
    }
}
