//! The journal of a store made anew from its files: each is read, and stands in the journal by its octets alone until the server, or
//! the next backup, has proved which message it is. Whatever was there before is kept aside.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{OpenStore, manifest};
use crate::account::{Protocol, Server};
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::{Digest, Digester, Message};
use crate::net::Trace;
use crate::report::{Event, Fault, Finding, Report};
use crate::state::archive::{Account, Archive, ArchiveChange, ArchiveFile, ArchiveFolder, FileId, Form, NewEntry};
use crate::store::Source;
use crate::store::origin::{Arrival, Origin};
use crate::store::pop3::Pop3Source;
use crate::store::vault::{self, Layout, Lying, STATE_DIR, StoreCard, Vault};

/// Changes in one transaction.
const BATCH: usize = 256;
/// So many files of a folder are taken in at a time.
const AT_ONCE: u64 = 32 * 1024;
/// Messages that are read in full before the names of files are believed.
const SAMPLE: usize = 20;

/// What a store came to when its journal was made anew.
#[derive(Debug, Clone, Default)]
pub struct Rebuilt {
    /// Where the old journal is now, if there was one.
    pub old_journal: Option<PathBuf>,
    /// Accounts found.
    pub accounts: u64,
    /// Folders found.
    pub folders: u64,
    /// Files taken in.
    pub files: u64,
    /// Octets read.
    pub octets: u64,
    /// Messages that are known by UID or unique-id.
    pub messages: u64,
    /// Of these such as the server has.
    pub confirmed: u64,
    /// Of these such as the server does not have any more.
    pub gone: u64,
    /// Files that were not taken in as they should be.
    pub findings: Vec<Finding>,
}

/// The account that a store, or a part of it, is the backup of.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    /// Its server.
    pub server: &'a Server,
    /// What its directory is called.
    pub directory: &'a str,
}

/// The card of the store at `root`; a lost or damaged one is made anew for what lies there.
///
/// # Errors
/// [`Kind::Usage`] when no mail lies there, [`Kind::Local`] when the disk fails.
pub fn card(root: &Path, layout: Option<Layout>, context: &Context) -> Result<StoreCard> {
    let damaged = match vault::card(root) {
        Ok(Some(card)) => return Ok(card),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    match (vault::found_layout(root)?, damaged) {
        (Some((found, as_received)), _) => vault::new_card(root, layout.unwrap_or(found), as_received, context),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::usage("there is no store of backups, and no mail of one")
            .hint("a store holds a directory for each account; a Maildir alone is none")),
    }
}

/// Makes the journal of the store at `root` anew from its files; with an account, its server says which messages they are, and
/// nothing is downloaded but a sample. Interrupted at any point it can be run again.
///
/// # Errors
/// [`Kind::Locked`], [`Kind::Local`], a signal; [`Kind::Safety`] when the account's server has other messages under the same
/// names. Then the old journal is where it was.
pub fn run(
    root: &Path,
    card: &StoreCard,
    named: Option<Named<'_>>,
    context: &Context,
    trace: &Trace,
    report: &dyn Report,
) -> Result<Rebuilt> {
    let dir = root.join(STATE_DIR);
    // The lock is taken by whoever makes it anew; a vault without it only reads.
    let mut vault = vault::open(root, card, context)?;
    let known: HashMap<String, String> = Archive::salvage(&dir)
        .and_then(|old| old.accounts().ok())
        .unwrap_or_default()
        .into_iter()
        .map(|account| (account.name, account.identity))
        .collect();
    let mut rebuilt = Rebuilt::default();
    let old = Archive::make_anew(&dir, &card.id, context, &mut |archive| {
        rebuilt = Rebuilt::default();
        for name in vault.accounts()? {
            let identity = match named.filter(|named| named.directory == name) {
                Some(named) => named.server.identity(),
                None => known.get(&name).cloned().unwrap_or_else(|| Account::unproved(&name)),
            };
            let account = archive.account(&identity, &name)?;
            rebuilt.accounts += 1;
            for folder in vault.folders(&name)? {
                let mut taking = Taking { archive: &mut *archive, vault: vault.as_mut(), context, report, card, account: &account };
                taking.folder(&folder, &mut rebuilt)?;
            }
            if let Some(named) = named.filter(|named| named.directory == name) {
                Confirming { archive: &mut *archive, account: &account, context, trace }.run(named.server, &mut rebuilt)?;
            }
            manifest::write(root, archive, vault.as_mut(), &account, context)?;
        }
        Ok(())
    })?;
    rebuilt.old_journal = old;
    Ok(rebuilt)
}

/// The octets of a file as they lie, and what the message was that it holds.
pub(super) fn measure(lying: &Message, card: &StoreCard) -> Result<(Form, Digest, u64)> {
    let (mut feeds, mut returns) = (0_u64, false);
    lying.body.each_chunk(|chunk| {
        feeds += memchr::memchr_iter(b'\n', chunk).count() as u64;
        returns = returns || memchr::memchr(b'\r', chunk).is_some();
        Ok(())
    })?;
    if returns || feeds == 0 || card.as_received {
        return Ok((Form::AsReceived, lying.digests.exact, lying.body.len()));
    }
    let mut digester = Digester::default();
    lying.body.each_chunk(|chunk| {
        for (index, line) in chunk.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                digester.update(b"\r\n");
            }
            digester.update(line);
        }
        Ok(())
    })?;
    Ok((Form::LineFeeds, digester.finish().exact, lying.body.len() + feeds))
}

/// A file of a folder as the journal shall have it; `None` when it went away. The words say that it is not what its name promises.
pub(super) fn file_of(
    vault: &mut dyn Vault,
    card: &StoreCard,
    account: &str,
    folder: &ArchiveFolder,
    lying: &Lying,
) -> Result<Option<(ArchiveFile, std::result::Result<(), &'static str>)>> {
    let Some(mut message) = vault.read(account, &folder.folder, &lying.stem, false)? else { return Ok(None) };
    let (form, exact, length) = measure(&message, card)?;
    let (octets, digest) = if vault.layout() == Layout::Mbox {
        // What lies there has an envelope line, and quoting.
        let Some((octets, digest, _)) = vault.check(account, &folder.folder, &lying.stem)? else { return Ok(None) };
        (octets, digest)
    } else {
        (message.body.len(), message.digests.exact)
    };
    let file = ArchiveFile {
        id: FileId::default(),
        folder: folder.id,
        stem: lying.stem.clone(),
        form,
        octets,
        digest,
        exact,
        content: message.digests.content,
        header: super::batch::header(&message)?,
        length,
        internal_date: message.internal_date.take().or(Some(lying.modified)),
        object_id: None,
    };
    let kept = match vault::promises(&lying.stem, file.content) {
        Some(false) => Err("its content is not the one its name promises"),
        _ => Ok(()),
    };
    Ok(Some((file, kept)))
}

/// Takes files into a new journal.
struct Taking<'a> {
    archive: &'a mut Archive,
    vault: &'a mut dyn Vault,
    context: &'a Context,
    report: &'a dyn Report,
    card: &'a StoreCard,
    account: &'a Account,
}

impl Taking<'_> {
    fn folder(&mut self, name: &Folder, rebuilt: &mut Rebuilt) -> Result<()> {
        let folder = self.archive.folder(self.account.id, name)?;
        let label = format!("{}/{name}", self.account.name);
        rebuilt.folders += 1;
        let (mut count, mut octets) = (0_u64, 0);
        self.vault.scan(&self.account.name, name, &mut |lying| {
            count += 1;
            octets += lying.octets;
            Ok(())
        })?;
        self.report.event(Event::Planned { folder: label.clone(), messages: count, bytes: octets });
        let parts = count.div_ceil(AT_ONCE).max(1);
        (0..parts).try_for_each(|part| self.part(&folder, &label, (part, parts), rebuilt))
    }

    /// Takes in a part of a large folder, so that its listing needs not be held whole.
    fn part(&mut self, folder: &ArchiveFolder, label: &str, (part, parts): (u64, u64), rebuilt: &mut Rebuilt) -> Result<()> {
        let name = &folder.folder;
        let mut all = Vec::new();
        let mut twins = HashSet::new();
        self.vault.scan(&self.account.name, name, &mut |lying| {
            let short = super::verify::short(&lying.stem);
            let ours = short.first().is_some_and(|first| u64::from(*first) * parts / 256 == part);
            // One that a mail program copied within the folder is there once.
            if ours && twins.insert(short) {
                all.push(lying);
            }
            Ok(())
        })?;
        drop(twins);
        let mut changes = Vec::new();
        for lying in all {
            self.context.check()?;
            let file = match file_of(self.vault, self.card, &self.account.name, folder, &lying) {
                Ok(Some((file, Ok(())))) => file,
                Ok(Some((_, Err(words)))) => {
                    // Not in the journal, the message is missing there, and the next backup reads it again.
                    rebuilt.findings.push(self.finding(Fault::Damaged, name, &lying, words));
                    continue;
                }
                Ok(None) => continue,
                Err(error) if error.scope() == Scope::Message => {
                    rebuilt.findings.push(self.finding(Fault::Damaged, name, &lying, error.message()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            rebuilt.files += 1;
            rebuilt.octets += file.octets;
            self.report.event(Event::Copied { folder: label.to_owned(), bytes: file.octets });
            changes.push(ArchiveChange::Found { file });
            if changes.len() >= BATCH {
                self.archive.commit(&changes)?;
                changes.clear();
            }
        }
        self.archive.commit(&changes).map(drop)
    }

    fn finding(&self, kind: Fault, folder: &Folder, lying: &Lying, words: &str) -> Finding {
        Finding {
            kind,
            account: Some(self.account.name.clone()),
            folder: Some(folder.to_string()),
            uid: lying.uid.map(|(_, uid)| uid),
            path: Some(lying.path.clone()),
            reason: format!("{words}; it was not taken in, and the next backup reads the message again if the server has it"),
            repaired: false,
        }
    }
}

/// A file that is said to be a message of the server.
struct Claim {
    file: FileId,
    content: Digest,
    seconds: Option<i64>,
}

/// Asks the server which messages the files are.
pub(super) struct Confirming<'a> {
    pub(super) archive: &'a mut Archive,
    pub(super) account: &'a Account,
    pub(super) context: &'a Context,
    pub(super) trace: &'a Trace,
}

impl Confirming<'_> {
    pub(super) fn run(&mut self, server: &Server, rebuilt: &mut Rebuilt) -> Result<()> {
        match server.protocol {
            Protocol::Imap => self.imap(server, rebuilt),
            Protocol::Pop3 => self.pop3(server, rebuilt),
        }
    }

    fn imap(&mut self, server: &Server, rebuilt: &mut Rebuilt) -> Result<()> {
        let mut origin = Origin::connect(server, self.context, self.trace)?;
        let remotes = origin.folders()?;
        let folders = self.archive.folders(self.account.id)?;
        for remote in remotes.into_iter().filter(|remote| remote.info.selectable) {
            let Some(folder) = folders.iter().find(|folder| folder.folder == remote.info.folder) else { continue };
            let visit = match origin.visit(&folder.folder, None, &mut |_| Ok(())) {
                Ok(visit) => visit,
                Err(error) if error.scope() == Scope::Mailbox => continue,
                Err(error) => return Err(error),
            };
            let Some(uid_validity) = visit.figures.uid_validity else { continue };
            let mut claims: HashMap<u32, Claim> = HashMap::new();
            let mut twice: HashSet<u32> = HashSet::new();
            self.archive.files(folder.id, &mut |file, entries| {
                if let Some((_, uid)) = vault::uid_of(&file.stem).filter(|(named, _)| *named == uid_validity && entries.is_empty()) {
                    let claim = Claim { file: file.id, content: file.content, seconds: file.internal_date.map(|date| date.seconds) };
                    if claims.insert(uid, claim).is_some() {
                        twice.insert(uid);
                    }
                }
                Ok(())
            })?;
            // Two files that claim one UID: content decides, at the next backup.
            claims.retain(|uid, _| !twice.contains(uid));
            if claims.is_empty() {
                continue;
            }
            self.imap_folder(&mut origin, folder, uid_validity, &visit.there, &claims, rebuilt)?;
        }
        origin.finish()
    }

    fn imap_folder(
        &mut self,
        origin: &mut Origin,
        folder: &ArchiveFolder,
        uid_validity: u32,
        there: &UidSet,
        claims: &HashMap<u32, Claim>,
        rebuilt: &mut Rebuilt,
    ) -> Result<()> {
        let claimed: UidSet = claims.keys().copied().collect();
        let both = claimed.difference(&claimed.difference(there));
        let now = self.context.unix_time();
        let mut agreed: Vec<Arrival> = Vec::new();
        origin.arrivals(&both, &mut |arrival| {
            let claim = claims.get(&arrival.uid);
            if claim.is_some_and(|claim| claim.seconds == arrival.internal_date.map(|date| date.seconds)) {
                agreed.push(arrival);
            }
            Ok(())
        })?;
        let picked = spread(&agreed);
        let mut differing = None;
        origin.read(&picked, &mut |index, message| {
            let Some(arrival) = picked.get(index) else { return Ok(()) };
            match message {
                Ok(message) if claims.get(&arrival.uid).is_some_and(|claim| claim.content != message.digests.content) => {
                    differing = Some(arrival.uid);
                }
                // What cannot be read proves nothing.
                _ => {}
            }
            Ok(())
        })?;
        if let Some(uid) = differing {
            return Err(Error::new(
                Kind::Safety,
                format!("the folder {}: the server's message {uid} is not the one that the store has under that name", folder.folder),
            )
            .hint("name the account that the store is a backup of, or leave it out: the next backup compares everything"));
        }
        let era = self.archive.era(folder.id, uid_validity, now)?;
        let mut changes = Vec::new();
        for arrival in agreed {
            let Some(claim) = claims.get(&arrival.uid) else { continue };
            let entry = NewEntry {
                era: era.id,
                uid: Some(arrival.uid),
                key: None,
                flags: arrival.flags.into_iter().filter(|flag| !flag.is_recent()).collect(),
                labels: arrival.labels,
                listed_size: arrival.size,
                at: now,
            };
            rebuilt.confirmed += 1;
            changes.push(ArchiveChange::Recognised { entry, file: claim.file });
        }
        let mut lost: Vec<u32> = claimed.difference(there).iter().collect();
        lost.sort_unstable();
        let alive = changes.len();
        for uid in lost {
            let Some(claim) = claims.get(&uid) else { continue };
            let entry =
                NewEntry { era: era.id, uid: Some(uid), key: None, flags: Vec::new(), labels: Vec::new(), listed_size: None, at: now };
            rebuilt.gone += 1;
            changes.push(ArchiveChange::Recognised { entry, file: claim.file });
        }
        rebuilt.messages += changes.len() as u64;
        for (index, batch) in changes.chunks(BATCH).enumerate() {
            let made = self.archive.commit(batch)?;
            let gone: Vec<ArchiveChange> = made
                .into_iter()
                .enumerate()
                .filter(|(place, _)| index * BATCH + place >= alive)
                .map(|(_, (entry, _))| ArchiveChange::Gone { entry, at: now })
                .collect();
            self.archive.commit(&gone)?;
        }
        Ok(())
    }

    fn pop3(&mut self, server: &Server, rebuilt: &mut Rebuilt) -> Result<()> {
        let folders = self.archive.folders(self.account.id)?;
        let Some(folder) = folders.iter().find(|folder| folder.folder.is_inbox()) else { return Ok(()) };
        let mut claims: HashMap<String, Claim> = HashMap::new();
        self.archive.files(folder.id, &mut |file, entries| {
            if let Some(digits) = vault::key_of(&file.stem).filter(|_| entries.is_empty()) {
                claims.insert(digits, Claim { file: file.id, content: file.content, seconds: None });
            }
            Ok(())
        })?;
        if claims.is_empty() {
            return Ok(());
        }
        let mut source = Pop3Source::connect(server, self.context, self.trace)?;
        let listing = source.list(&Folder::inbox())?;
        let mut agreed = Vec::new();
        for listed in listing.messages {
            let Some(text) = listed.key.as_ref().map(ToString::to_string) else { continue };
            if let Some(claim) = claims.get(&vault::key_digits(&text)) {
                agreed.push((listed, claim));
            }
        }
        let picked: Vec<_> = spread(&agreed.iter().map(|(listed, _)| listed.clone()).collect::<Vec<_>>());
        let mut differing = false;
        source.read(&picked, &mut |index, message| {
            let key = picked.get(index).and_then(|listed| listed.key.as_ref()).map(|key| vault::key_digits(&key.to_string()));
            let claim = key.and_then(|key| claims.get(&key));
            if let (Some(claim), Ok(message)) = (claim, message) {
                differing = differing || claim.content != message.digests.content;
            }
            Ok(())
        })?;
        // Without QUIT: what was read is nothing that the server should act upon.
        drop(source);
        if differing {
            return Err(Error::new(Kind::Safety, "the server gives the unique-ids of the store to other messages")
                .hint("name the account that the store is a backup of, or leave it out: the next backup compares everything"));
        }
        let now = self.context.unix_time();
        let era = self.archive.era(folder.id, 0, now)?;
        let changes: Vec<ArchiveChange> = agreed
            .into_iter()
            .map(|(listed, claim)| {
                let entry = NewEntry {
                    era: era.id,
                    uid: None,
                    key: listed.key,
                    flags: Vec::new(),
                    labels: Vec::new(),
                    listed_size: listed.size,
                    at: now,
                };
                ArchiveChange::Recognised { entry, file: claim.file }
            })
            .collect();
        rebuilt.confirmed += changes.len() as u64;
        rebuilt.messages += changes.len() as u64;
        for batch in changes.chunks(BATCH) {
            self.archive.commit(batch)?;
        }
        Ok(())
    }
}

/// Some of many, from the first to the last.
fn spread<T: Clone>(all: &[T]) -> Vec<T> {
    if all.len() <= SAMPLE {
        return all.to_vec();
    }
    let last = all.len() - 1;
    (0..SAMPLE).filter_map(|index| all.get(index * last / (SAMPLE - 1)).cloned()).collect()
}

/// Puts an open store's account into the hands of whoever repairs it: files without entries are offered to the server.
///
/// # Errors
/// As [`run`].
pub(super) fn confirm(store: &mut OpenStore, account: &Account, server: &Server, context: &Context, trace: &Trace) -> Result<u64> {
    let mut rebuilt = Rebuilt::default();
    Confirming { archive: &mut store.archive, account, context, trace }.run(server, &mut rebuilt)?;
    Ok(rebuilt.confirmed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Body;

    fn message(bytes: &[u8]) -> Message {
        let body = Body::from(bytes.to_vec());
        let digests = body.digests().unwrap();
        Message { body, digests, internal_date: None, flags: Vec::new() }
    }

    fn card(as_received: bool) -> StoreCard {
        StoreCard { id: "x".to_owned(), layout: Layout::Maildir, as_received }
    }

    #[test]
    fn a_file_without_cr_was_a_message_of_crlf() {
        let (form, exact, length) = measure(&message(b"A: b\n\nc\n"), &card(false)).unwrap();
        assert_eq!((form, exact, length), (Form::LineFeeds, Digest::of(b"A: b\r\n\r\nc\r\n"), 11));
        for (bytes, kept) in [(&b"A: b\r\n\nc\n"[..], false), (b"no end", false), (b"A: b\n\nc\n", true)] {
            assert_eq!(measure(&message(bytes), &card(kept)).unwrap(), (Form::AsReceived, Digest::of(bytes), bytes.len() as u64));
        }
    }

    #[test]
    fn a_sample_reaches_from_the_first_to_the_last() {
        assert_eq!(spread(&[1, 2, 3]), [1, 2, 3]);
        let many: Vec<u32> = (0..1000).collect();
        let picked = spread(&many);
        assert_eq!((picked.len(), picked.first(), picked.last()), (SAMPLE, Some(&0), Some(&999)));
    }
}
