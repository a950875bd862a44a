//! A store of backups as a source of messages, with the flags and dates its archive knows. A file that is not what the archive
//! recorded is named and never handed over.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Limits;
use super::selection::{Chosen, ChosenFolder};
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::message::{Digest, Message};
use crate::state::archive::{Account, Archive, Form};
use crate::store::vault::{self, STATE_DIR, StoreCard, Vault};
use crate::store::{FolderInfo, Listed, Listing, Source};

/// Where a store is and what it says of itself.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its directory.
    pub root: PathBuf,
    /// What it says of itself.
    pub card: StoreCard,
}

/// A store that is only read.
pub struct ReadStore {
    /// Where it is.
    pub site: Site,
    /// Its journal.
    pub archive: Archive,
}

impl ReadStore {
    /// Opens the store at `root`, taking no lock: a run that writes to it meanwhile is not in the way, nor is this in its.
    ///
    /// # Errors
    /// [`Kind::Usage`] where there is no store; [`Kind::Local`] when its journal is lost or damaged, with advice.
    pub fn open(root: PathBuf) -> Result<Self> {
        let shown = root.display().to_string();
        if !root.is_dir() {
            return Err(Error::usage("there is no such directory").at(&shown));
        }
        let Some(card) = vault::card(&root)? else {
            return Err(Error::usage("there is no store of backups")
                .at(&shown)
                .hint(format!("mailhaul migrate maildir:{shown} PLACE copies any Maildir, with the flags and dates that its files tell")));
        };
        let advice = || {
            let files = match card.layout {
                vault::Layout::Maildir => "maildir",
                vault::Layout::Mbox => "mbox",
                vault::Layout::Eml => "eml",
            };
            format!(
                "mailhaul rebuild {shown} makes it anew from the files; mailhaul migrate {files}:{shown}/ACCOUNT PLACE copies an account without it"
            )
        };
        let archive = match Archive::read_only(&root.join(STATE_DIR), &card.id) {
            Ok(Some(archive)) => archive,
            Ok(None) => return Err(Error::local("the store's journal is lost").at(&shown).hint(advice())),
            Err(error) if error.kind() == Kind::Local && error.remedy().is_none_or(|hint| hint.contains("rebuild")) => {
                return Err(error.hint(advice()));
            }
            Err(error) => return Err(error),
        };
        Ok(Self { site: Site { root, card }, archive })
    }
}

impl Site {
    /// Its files.
    ///
    /// # Errors
    /// As [`vault::open`].
    pub fn vault(&self, context: &Context) -> Result<Box<dyn Vault>> {
        vault::open(&self.root, &self.card, context)
    }

    /// Under what the journal of a destination knows an account of this store, wherever the store lies.
    pub fn source_name(&self, account: &Account) -> String {
        format!("store:{}/{}", self.card.id, account.name)
    }
}

/// What was chosen of an account, as a source.
pub struct StoreSource {
    place: String,
    site: Site,
    account: Account,
    vault: Box<dyn Vault>,
    chosen: Arc<Vec<ChosenFolder>>,
    /// Which of them was listed last.
    open: Option<usize>,
    limits: Limits,
    spent: Arc<Spent>,
    context: Context,
    /// The archive as it is now, once something was not where it was.
    now: Option<Archive>,
}

/// What all sources of one run handed over.
#[derive(Debug, Default)]
pub struct Spent {
    messages: AtomicU64,
    octets: AtomicU64,
    /// Files that were missing or damaged.
    damaged: AtomicU64,
}

impl Spent {
    /// How many files were found missing or damaged.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }
}

impl StoreSource {
    /// `place` is how messages name it.
    ///
    /// # Errors
    /// As [`vault::open`].
    pub fn new(place: String, site: Site, account: Account, chosen: Arc<Vec<ChosenFolder>>, context: &Context) -> Result<Self> {
        let vault = site.vault(context)?;
        Ok(Self {
            place,
            site,
            account,
            vault,
            chosen,
            open: None,
            limits: Limits::default(),
            spent: Arc::default(),
            context: context.clone(),
            now: None,
        })
    }

    /// The same with limits, which count what `spent` counts over all sources of a run.
    #[must_use]
    pub fn limited(mut self, limits: Limits, spent: Arc<Spent>) -> Self {
        self.limits = limits;
        self.spent = spent;
        self
    }

    /// That one more message of so many octets may be begun.
    fn may_begin(&self, octets: u64) -> Result<()> {
        let reached =
            |option: &str| Err(Error::new(Kind::Limit, format!("{option} is reached")).hint("run the same command again to go on"));
        if self.limits.until.is_some_and(|until| self.context.now() >= until) {
            return reached("--max-duration");
        }
        if self.limits.messages.is_some_and(|most| self.spent.messages.load(Ordering::Relaxed) >= most) {
            return reached("--max-messages");
        }
        // One message always goes, or a limit below its size would never let it.
        let before = self.spent.octets.load(Ordering::Relaxed);
        if before > 0 && self.limits.octets.is_some_and(|most| before.saturating_add(octets) > most) {
            return reached("--max-transfer");
        }
        Ok(())
    }

    /// The message itself; `None` when a run that writes to the store removed it since.
    fn message(&mut self, one: &Chosen) -> Result<Option<Message>> {
        let line_feeds = one.form == Form::LineFeeds;
        let mut found = self.vault.read(&self.account.name, &one.home, &one.stem, line_feeds)?;
        if found.is_none() {
            // A run may have renamed the folder, mended the file, or removed the message since it was chosen.
            let Some((homes, stem)) = self.whereabouts(one)? else { return Ok(None) };
            for home in homes {
                found = self.vault.read(&self.account.name, &home, &stem, line_feeds)?;
                if found.is_some() {
                    break;
                }
            }
        }
        let name = || format!("the file {} in {} of {}", one.stem, one.home, self.account.name);
        let Some(mut message) = found else {
            return Err(Error::local(format!("{} is missing from the store", name())).scoped(Scope::Message));
        };
        if message.digests.exact != one.exact {
            return Err(
                Error::local(format!("{} is damaged: it is not what was recorded, so it is not restored", name())).scoped(Scope::Message)
            );
        }
        if let Some(flags) = &one.flags {
            message.flags.clone_from(flags);
        }
        message.internal_date = one.internal_date;
        Ok(Some(message))
    }

    /// Where the archive says now that a file may lie; `None` when it knows none any more.
    fn whereabouts(&mut self, one: &Chosen) -> Result<Option<(Vec<Folder>, String)>> {
        if self.now.is_none() {
            self.now = Archive::read_only(&self.site.root.join(STATE_DIR), &self.site.card.id)?;
        }
        let Some(archive) = &self.now else {
            return Err(Error::local("the store's journal was removed during the run").at(&self.place));
        };
        let Some(file) = archive.file(one.file)? else { return Ok(None) };
        let folder = archive.folders(self.account.id)?.into_iter().find(|folder| folder.id == file.folder);
        Ok(folder.map(|folder| (std::iter::once(folder.folder).chain(folder.renaming_to).collect(), file.stem)))
    }

    fn at(&self, listed: &Listed) -> Result<&Chosen> {
        let index = usize::try_from(listed.id).ok().and_then(|id| id.checked_sub(1));
        let open = self.open.and_then(|open| self.chosen.get(open));
        open.zip(index)
            .and_then(|(folder, index)| folder.messages.get(index))
            .ok_or_else(|| Error::local(format!("no message {} was listed", listed.id)).at(&self.place))
    }
}

impl Source for StoreSource {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        Ok(self.chosen.iter().map(|one| one.info.clone()).collect())
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.now = None;
        self.open = self.chosen.iter().position(|one| one.info.folder == *folder);
        let Some(chosen) = self.open.and_then(|open| self.chosen.get(open)) else { return Ok(Listing::default()) };
        let messages = (1..).zip(&chosen.messages).map(|(id, one)| Listed {
            id,
            key: Some(one.key.clone()),
            size: Some(one.length),
            internal_date: one.internal_date,
        });
        Ok(Listing { generation: None, messages: messages.collect() })
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        for (index, listed) in wanted.iter().enumerate() {
            let one = self.at(listed)?.clone();
            self.may_begin(one.length)?;
            match self.message(&one) {
                Ok(Some(message)) => {
                    self.spent.messages.fetch_add(1, Ordering::Relaxed);
                    self.spent.octets.fetch_add(one.length, Ordering::Relaxed);
                    each(index, Ok(message))?;
                }
                Ok(None) => {}
                Err(error) if error.scope() == Scope::Message => {
                    self.spent.damaged.fetch_add(1, Ordering::Relaxed);
                    each(index, Err(error))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn header_digests(&mut self, wanted: &[Listed]) -> Option<HashSet<Digest>> {
        wanted.iter().map(|listed| self.at(listed).ok().map(|one| one.header)).collect()
    }

    fn finish(&mut self) -> Result<()> {
        self.open = None;
        Ok(())
    }
}
