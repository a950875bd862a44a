//! A store of backups as a source of messages, with the flags and dates its archive knows. A file that is not what the archive
//! recorded is named and never handed over.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::selection::{Chosen, ChosenFolder};
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::message::{Digest, Message};
use crate::state::archive::{Account, Archive, Form};
use crate::store::vault::{self, STATE_DIR, StoreCard, Vault};
use crate::store::{FolderInfo, Listed, Listing, Source};

/// A store that is only read.
pub struct ReadStore {
    /// Its directory.
    pub root: PathBuf,
    /// What it says of itself.
    pub card: StoreCard,
    /// Its journal, as it was when it was opened.
    pub archive: Archive,
}

impl ReadStore {
    /// Opens the store at `root`, taking no lock: a run that writes to it meanwhile is not in the way, nor is this in its.
    ///
    /// # Errors
    /// [`Kind::Usage`] where there is no store; [`Kind::Local`] when its journal is lost or damaged, with advice.
    pub fn open(root: PathBuf) -> Result<Self> {
        let shown = root.display().to_string();
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
        Ok(Self { root, card, archive })
    }

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
    root: PathBuf,
    card: StoreCard,
    account: Account,
    vault: Box<dyn Vault>,
    chosen: Arc<Vec<ChosenFolder>>,
    /// Which of them was listed last.
    open: Option<usize>,
}

impl StoreSource {
    /// `place` is how messages name it.
    ///
    /// # Errors
    /// As [`vault::open`].
    pub fn new(place: String, store: &ReadStore, account: Account, chosen: Arc<Vec<ChosenFolder>>, context: &Context) -> Result<Self> {
        let vault = store.vault(context)?;
        Ok(Self { place, root: store.root.clone(), card: store.card.clone(), account, vault, chosen, open: None })
    }

    /// The message itself; `None` when a run that writes to the store removed it since.
    fn message(&mut self, one: &Chosen) -> Result<Option<Message>> {
        let line_feeds = one.form == Form::LineFeeds;
        let mut home = one.home.as_ref().clone();
        let mut stem = one.stem.clone();
        let mut found = self.vault.read(&self.account.name, &home, &stem, line_feeds)?;
        if found.is_none() {
            // A run may have renamed the folder, mended the file, or removed the message since it was chosen.
            let Some((now_home, now_stem)) = self.whereabouts(one)? else { return Ok(None) };
            (home, stem) = (now_home, now_stem);
            found = self.vault.read(&self.account.name, &home, &stem, line_feeds)?;
        }
        let name = || format!("the file {stem} in {home} of {}", self.account.name);
        let Some(mut message) = found else {
            return Err(Error::local(format!("{} is missing from the store", name())).scoped(Scope::Message));
        };
        if message.digests.exact != one.exact {
            return Err(
                Error::local(format!("{} is damaged: it is not what was recorded, so it is not restored", name())).scoped(Scope::Message)
            );
        }
        message.flags.clone_from(&one.flags);
        message.internal_date = one.internal_date;
        Ok(Some(message))
    }

    /// Where the archive says now that a file lies; `None` when it knows none any more.
    fn whereabouts(&self, one: &Chosen) -> Result<Option<(Folder, String)>> {
        let Some(archive) = Archive::read_only(&self.root.join(STATE_DIR), &self.card.id)? else {
            return Ok(Some((one.home.as_ref().clone(), one.stem.clone())));
        };
        for folder in archive.folders(self.account.id)? {
            let mut found = None;
            archive.files(folder.id, &mut |file, _| {
                if file.id == one.file {
                    found = Some(file.stem);
                }
                Ok(())
            })?;
            if let Some(stem) = found {
                return Ok(Some((folder.folder, stem)));
            }
        }
        Ok(None)
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
            match self.message(&one) {
                Ok(Some(message)) => each(index, Ok(message))?,
                Ok(None) => {}
                Err(error) if error.scope() == Scope::Message => each(index, Err(error))?,
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
