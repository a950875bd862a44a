//! The files of a store against its journal, with memory that does not grow with their size and little with their number.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use super::{Found, Look, Stray, Suspect, manifest};
use crate::error::{Result, Scope};
use crate::message::Digest;
use crate::report::{Event, Fault, Sampled, counted};
use crate::state::archive::{Account, Archive, ArchiveFile, ArchiveFolder, Entry};
use crate::store::vault::{Layout, Lying, Vault};

/// So many files of a folder are compared at a time: some 12 MiB. A larger folder is listed several times.
const AT_ONCE: u64 = 32 * 1024;
/// So many files of other programs are named in a folder (or a part of it); the rest is counted.
const FOREIGN_NAMED: u64 = 1000;

/// The name of a file in 16 octets.
pub(in super::super) type Short = [u8; 16];

pub(in super::super) fn short(text: &str) -> Short {
    let mut short = Short::default();
    for (to, from) in short.iter_mut().zip(Digest::of(text.as_bytes()).0) {
        *to = from;
    }
    short
}

/// A file as the journal has it.
struct Expected {
    name: Short,
    octets: u64,
    digest: Digest,
    /// Whether it is among those that are read.
    read: bool,
    seen: bool,
}

/// What a comparison found about a file of the journal.
enum Wrong {
    Damaged(String, String),
    Missing,
}

/// Picks a number of things at random, each as likely as any other.
struct Lot {
    left: u64,
    wanted: u64,
    state: RandomState,
}

impl Lot {
    fn draw(&mut self) -> bool {
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(self.left);
        let drawn = self.left > 0 && hasher.finish() % self.left < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= u64::from(drawn);
        drawn
    }
}

pub(super) fn check(look: &Look<'_>, archive: &Archive, vault: &mut dyn Vault, found: &mut Found) -> Result<()> {
    let mut all = 0;
    let mut folders = Vec::new();
    for account in archive.accounts()? {
        for folder in archive.folders(account.id)? {
            let mut files = 0;
            archive.files(folder.id, &mut |_, _| {
                files += 1;
                Ok(())
            })?;
            all += files;
            folders.push((account.clone(), Arc::new(folder), files));
        }
    }
    let wanted = look.sample.map_or(all, |sample| sample.of(all));
    if look.sample.is_some() {
        found.checked.sample = Some(Sampled { files: wanted, of: all });
    }
    let mut lot = Lot { left: all, wanted, state: RandomState::new() };
    let mut strangers = strange_directories(archive, vault)?;
    for account in archive.accounts()?.into_iter().map(Arc::new) {
        let mut sum = manifest::Sum::default();
        let missing = found.checked.sums.missing;
        for (_, folder, files) in folders.iter().filter(|(of, ..)| of.id == account.id) {
            let mut one = OneFolder { look, archive, account: &account, folder, lot: &mut lot, sum: &mut sum };
            one.check(vault, *files, found)?;
        }
        // It lists what is missing too, and is written anew when that is put right.
        if found.checked.sums.missing == missing
            && let Some(words) = manifest::differs(look.root, &account, vault.layout(), &sum)?
        {
            let finding = found.note(Fault::Manifest, Some(&account), None, words);
            found.name(finding, None, Some(format!("{}.sha256", account.name)));
            found.manifests.push((Account::clone(&account), finding));
        }
    }
    strangers.sort();
    for (account, words) in strangers {
        found.note(Fault::Extra, None, None, words);
        if let Some(finding) = found.checked.findings.last_mut() {
            finding.account = Some(account);
        }
    }
    Ok(())
}

/// Folders of known accounts, and accounts, that stand in the store and not in the journal, and hold mail.
fn strange_directories(archive: &Archive, vault: &mut dyn Vault) -> Result<Vec<(String, String)>> {
    let accounts = archive.accounts()?;
    let mut strange = Vec::new();
    for name in vault.accounts()? {
        let known = match accounts.iter().find(|account| account.name == name) {
            Some(account) => {
                archive.folders(account.id)?.into_iter().flat_map(|folder| [Some(folder.folder), folder.renaming_to]).flatten().collect()
            }
            None => Vec::new(),
        };
        let known: HashSet<_> = known.into_iter().collect();
        for folder in vault.folders(&name)? {
            let mut files = 0;
            if !known.contains(&folder) {
                vault.scan(&name, &folder, &mut |_| {
                    files += 1;
                    Ok(())
                })?;
            }
            if files > 0 {
                let words = format!(
                    "the journal does not know the folder {folder} with {}; mailhaul rebuild takes them in",
                    counted(files, "file")
                );
                strange.push((name.clone(), words));
            }
        }
    }
    Ok(strange)
}

/// Whether this program never gave a file such a name.
fn is_foreign(file: &Lying) -> bool {
    file.uid.is_none() && file.key.is_none()
}

struct OneFolder<'a, 'b> {
    look: &'a Look<'b>,
    archive: &'a Archive,
    account: &'a Arc<Account>,
    folder: &'a Arc<ArchiveFolder>,
    lot: &'a mut Lot,
    sum: &'a mut manifest::Sum,
}

impl OneFolder<'_, '_> {
    fn check(&mut self, vault: &mut dyn Vault, files: u64, found: &mut Found) -> Result<()> {
        let parts = files.div_ceil(AT_ONCE).max(1);
        let removing: HashSet<String> = self
            .archive
            .removing(self.account.id)?
            .into_iter()
            .filter(|file| file.folder == self.folder.id)
            .map(|file| file.stem)
            .collect();
        let label = format!("{}/{}", self.account.name, self.folder.folder);
        self.look.report.event(Event::Planned { folder: label.clone(), messages: files, bytes: self.folder.octets });
        for part in 0..parts {
            self.part(vault, (part, parts), &removing, &label, found)?;
        }
        Ok(())
    }

    fn part(&mut self, vault: &mut dyn Vault, part: (u64, u64), removing: &HashSet<String>, label: &str, found: &mut Found) -> Result<()> {
        let ours = |name: &Short| u64::from(name[0]) * part.1 / 256 == part.0;
        let mut expected = Vec::new();
        let lot = &mut *self.lot;
        self.archive.files(self.folder.id, &mut |file, _| {
            let name = short(&file.stem);
            if ours(&name) {
                expected.push(Expected { name, octets: file.octets, digest: file.digest, read: lot.draw(), seen: false });
            }
            Ok(())
        })?;
        expected.sort_unstable_by_key(|one| one.name);
        let mut lying = Vec::new();
        let (mut strays, mut foreign) = (Vec::new(), 0);
        let sum = &mut *self.sum;
        vault.scan(&self.account.name, &self.folder.folder, &mut |file| {
            let name = short(&file.stem);
            if !ours(&name) {
                return Ok(());
            }
            match expected.binary_search_by_key(&name, |one| one.name).ok().and_then(|at| Some((at, expected.get_mut(at)?))) {
                Some((at, one)) if !one.seen => {
                    one.seen = true;
                    sum.add(one.digest, &file.path);
                    lying.push((at, file));
                }
                Some(_) => strays.push((file, true)),
                None if removing.contains(&file.stem) => {}
                None => {
                    foreign += u64::from(is_foreign(&file));
                    if foreign <= FOREIGN_NAMED || !is_foreign(&file) {
                        strays.push((file, false));
                    }
                }
            }
            Ok(())
        })?;
        let mut wrong = HashMap::new();
        for (at, file) in lying {
            self.look.context.check()?;
            let Some(one) = expected.get(at) else { continue };
            found.checked.sums.checked += 1;
            match self.read(vault, one, &file)? {
                Ok(octets) => {
                    found.checked.sums.ok += 1;
                    found.checked.octets += octets;
                    self.look.report.event(Event::Copied { folder: label.to_owned(), bytes: one.octets });
                }
                Err(words) => {
                    // A run that came in between, or a mail program, may have renamed it: then it is looked for anew.
                    wrong.insert(one.name, Wrong::Damaged(file.path, words));
                }
            }
        }
        for one in expected.iter().filter(|one| !one.seen) {
            found.checked.sums.checked += 1;
            wrong.insert(one.name, Wrong::Missing);
        }
        drop(expected);
        self.name_wrong(&wrong, &ours, found)?;
        self.name_strays(strays, found)?;
        if foreign > FOREIGN_NAMED {
            let more = foreign - FOREIGN_NAMED;
            let words = format!("{} more that another program put here", counted(more, "file"));
            found.notes(Fault::Extra, Some(self.account), Some(self.folder), words, more);
        }
        Ok(())
    }

    /// Reads a file, if it is to be read. The words say what is wrong with it.
    fn read(&self, vault: &mut dyn Vault, one: &Expected, file: &Lying) -> Result<std::result::Result<u64, String>> {
        if file.octets != one.octets {
            return Ok(Err(format!("it has {} octets, and {} are on record", file.octets, one.octets)));
        }
        if !one.read {
            return Ok(Ok(0));
        }
        match vault.check(&self.account.name, &self.folder.folder, &file.stem) {
            Ok(Some((octets, digest, _))) if octets == one.octets && digest == one.digest => Ok(Ok(octets)),
            Ok(Some(_)) => Ok(Err("its octets are not those on record".to_owned())),
            Ok(None) => Ok(Err("it went away while it was looked at".to_owned())),
            Err(error) if error.scope() == Scope::Message => Ok(Err(error.message().to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Names what is wrong by account, folder, UID and path; and whatever else the rows of the folder say against themselves.
    fn name_wrong(&self, wrong: &HashMap<Short, Wrong>, ours: &dyn Fn(&Short) -> bool, found: &mut Found) -> Result<()> {
        let eras = self.archive.eras(self.folder.id)?;
        let known: HashSet<u32> = eras.iter().map(|era| era.uid_validity).collect();
        let of_folder: HashSet<_> = eras.into_iter().map(|era| era.id).collect();
        let mut strange: HashMap<u32, u64> = HashMap::new();
        self.archive.files(self.folder.id, &mut |file, entries| {
            let name = short(&file.stem);
            if !ours(&name) {
                return Ok(());
            }
            if let Some((uid_validity, _)) = crate::store::vault::uid_of(&file.stem)
                && !known.contains(&uid_validity)
                // One that was moved here from another folder, or waits for the server's word, has a name from elsewhere.
                && entries.iter().any(|entry| of_folder.contains(&entry.era))
            {
                *strange.entry(uid_validity).or_default() += 1;
            }
            let uid = entries.iter().max_by_key(|entry| (entry.gone_at.is_none(), entry.era)).and_then(|entry| entry.uid);
            match wrong.get(&name) {
                Some(Wrong::Damaged(path, words)) => {
                    let finding = found.note(Fault::Damaged, Some(self.account), Some(self.folder), words.clone());
                    found.name(finding, uid, Some(path.clone()));
                    self.suspect(file, entries, Some(path.clone()), finding, found);
                }
                Some(Wrong::Missing) => {
                    let words = format!("the file {} is not there", file.stem);
                    let finding = found.note(Fault::Missing, Some(self.account), Some(self.folder), words);
                    found.name(finding, uid, None);
                    self.suspect(file, entries, None, finding, found);
                }
                None => {}
            }
            Ok(())
        })?;
        for (uid_validity, files) in strange {
            let words = format!(
                "{} of UIDVALIDITY {uid_validity} by name, which the journal does not know in this folder: what it has instead is wrong",
                counted(files, "file")
            );
            found.note(Fault::Contradiction, Some(self.account), Some(self.folder), words);
            found.contradicts = true;
        }
        Ok(())
    }

    fn suspect(&self, file: ArchiveFile, entries: Vec<Entry>, path: Option<String>, finding: usize, found: &mut Found) {
        if !self.look.mend {
            return;
        }
        let (account, folder) = (Arc::clone(self.account), Arc::clone(self.folder));
        found.suspects.push(Suspect { account, folder, file, entries, path, finding });
    }

    fn name_strays(&self, strays: Vec<(Lying, bool)>, found: &mut Found) -> Result<()> {
        for (lying, twin) in strays {
            let row_lost = match lying.uid {
                Some((uid_validity, uid)) => {
                    self.folder.mark.is_some_and(|mark| mark.uid_validity == uid_validity && mark.uid_next.is_some_and(|next| uid < next))
                }
                None => false,
            };
            let words = if twin {
                "a second file of the same name (a mail program copied it)"
            } else if row_lost {
                "the journal has lost its row"
            } else if lying.uid.is_some() || lying.key.is_some() {
                "a run that was killed left it, or it was moved here; the journal does not know it"
            } else {
                FOREIGN
            };
            let finding = found.note(Fault::Extra, Some(self.account), Some(self.folder), words);
            found.name(finding, lying.uid.map(|(_, uid)| uid), Some(lying.path.clone()));
            if !self.look.mend {
                continue;
            }
            let (account, folder) = (Arc::clone(self.account), Arc::clone(self.folder));
            found.strays.push(Stray { account, folder, lying, twin, finding });
        }
        Ok(())
    }
}

/// What is said of a file that no run of this program wrote.
pub const FOREIGN: &str = "another program put it here; a backup neither uses nor removes it";

/// Whether a whole mbox is one line of the manifest, and not a message.
pub(super) fn by_folder(layout: Layout) -> bool {
    layout == Layout::Mbox
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lot_draws_exactly_as_many_as_are_wanted() {
        for (all, wanted) in [(0, 0), (1, 1), (10, 3), (1000, 1), (100, 100)] {
            let mut lot = Lot { left: all, wanted, state: RandomState::new() };
            assert_eq!((0..all).filter(|_| lot.draw()).count() as u64, wanted, "{all} {wanted}");
            assert!(!lot.draw());
        }
    }
}
