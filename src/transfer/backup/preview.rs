//! What a backup would do, found out without changing anything anywhere: `backup --dry-run`. It reads listings and the archive, no
//! message, and so cannot tell what only reading tells.

use std::collections::{HashMap, HashSet};

use super::imap::once_on_gmail;
use super::{Options, pop3, prune};
use crate::account::{Protocol, Server};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::imap::uid_set::UidSet;
use crate::message::Key;
use crate::net::Trace;
use crate::plan;
use crate::state::archive::{Account, Archive, ArchiveFolder, Mark, PutAside};
use crate::store::Source;
use crate::store::origin::{Origin, Remote};
use crate::store::pop3::Pop3Source;

/// A message of a preview.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Would {
    /// UID, or number on POP3; `None` for what the server does not list.
    pub uid: Option<u32>,
    /// Size as the server claims it, or of the file.
    pub size: Option<u64>,
    /// The unique part of its file's name, where that alone tells which it is.
    pub file: Option<String>,
}

/// What would become of one folder.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The folder.
    pub folder: Folder,
    /// Messages the server lists.
    pub listed: u64,
    /// Those that the archive has.
    pub already_there: u64,
    /// Those a person said to leave.
    pub filtered: u64,
    /// Those that would be fetched, at most.
    pub fetch: Vec<Would>,
    /// Those that would be marked as gone.
    pub gone: Vec<Would>,
    /// Those whose files would be removed.
    pub remove: Vec<Would>,
    /// Why fewer may be fetched, and fewer be gone, than it seems.
    pub unsure: Option<&'static str>,
}

/// An account to be looked at.
pub struct Look<'a> {
    /// Time and signals.
    pub context: &'a Context,
    /// The protocol trace.
    pub trace: &'a Trace,
    /// Its server.
    pub server: &'a Server,
    /// What the store knows of it, where it does.
    pub known: Option<(&'a Archive, &'a Account)>,
    /// The one folder that was named.
    pub only: Option<&'a Folder>,
    /// What the user chose.
    pub options: &'a Options,
}

impl Look<'_> {
    /// What a run would do, folder by folder.
    ///
    /// # Errors
    /// What kept a listing from being complete; [`crate::error::Kind::Local`] when the archive cannot be read.
    pub fn preview(&self) -> Result<Vec<Preview>> {
        let mut previews = match self.server.protocol {
            Protocol::Imap => self.imap()?,
            Protocol::Pop3 => self.pop3()?,
        };
        if self.options.mirror.is_some() {
            self.removals(&mut previews)?;
        }
        Ok(previews)
    }

    fn is_meant(&self, folder: &Folder) -> bool {
        match self.only {
            Some(only) => only == folder,
            None => plan::chosen(folder, &self.options.include, &self.options.exclude),
        }
    }

    fn records(&self) -> Result<HashMap<Folder, ArchiveFolder>> {
        let Some((archive, account)) = self.known else { return Ok(HashMap::new()) };
        Ok(archive.folders(account.id)?.into_iter().map(|record| (record.folder.clone(), record)).collect())
    }

    fn aside(&self) -> Result<Vec<PutAside>> {
        self.known.map_or(Ok(Vec::new()), |(archive, account)| archive.put_aside(account.id))
    }

    fn imap(&self) -> Result<Vec<Preview>> {
        let mut origin = Origin::connect(self.server, self.context, self.trace)?;
        let mut remotes = origin.folders()?;
        remotes.retain(|remote| remote.info.selectable);
        let mut names = HashSet::new();
        remotes.retain(|remote| names.insert(remote.info.folder.clone()));
        if origin.is_gmail() && self.only.is_none() {
            remotes = once_on_gmail(remotes, &mut |_| ());
        }
        remotes.retain(|remote| self.is_meant(&remote.info.folder));
        if let (true, Some(only)) = (remotes.is_empty(), self.only) {
            return Err(Error::usage(format!("there is no folder {only}")).at(origin.place()));
        }
        let mut records = self.records()?;
        let aside = self.aside()?;
        let mut previews = Vec::new();
        for remote in &remotes {
            self.context.check()?;
            let record = records.remove(&remote.info.folder);
            previews.push(self.folder(&mut origin, remote, record.as_ref(), &aside)?);
        }
        let mut vanished: Vec<_> =
            records.into_values().filter(|record| record.gone_at.is_none() && self.is_meant(&record.folder)).collect();
        vanished.sort_by(|one, other| one.folder.cmp(&other.folder));
        for record in vanished {
            let mut preview = Preview::new(record.folder.clone(), 0);
            preview.unsure = Some("the server does not list the folder; if it has another name now, it is renamed here and stays");
            if let (Some((archive, _)), Some(era)) = (self.known, record.era) {
                preview.gone = archive.uids(era, false)?.iter().map(|uid| Would { uid: Some(uid), ..Would::default() }).collect();
            }
            previews.push(preview);
        }
        origin.finish()?;
        Ok(previews)
    }

    fn folder(&self, origin: &mut Origin, remote: &Remote, record: Option<&ArchiveFolder>, aside: &[PutAside]) -> Result<Preview> {
        let folder = &remote.info.folder;
        let figures =
            remote.figures.as_ref().map_err(|words| Error::refused(format!("the folder {folder}: {words}")).at(origin.place()))?;
        let now = Mark {
            uid_validity: figures.uid_validity.unwrap_or_default(),
            uid_next: figures.uid_next,
            highest_mod_seq: figures.highest_mod_seq,
            messages: figures.messages,
        };
        let mut preview = Preview::new(folder.clone(), figures.messages.unwrap_or_default());
        let here = record.and_then(|record| record.mark) == Some(now) && now.highest_mod_seq.is_some() && now.uid_next.is_some();
        if here && !aside.iter().any(|one| record.is_some_and(|record| record.id == one.folder)) {
            preview.already_there = preview.listed;
            return Ok(preview);
        }
        let visit = origin.visit(folder, None, &mut |_| Ok(()))?;
        preview.listed = visit.there.len();
        let uid_validity = visit.figures.uid_validity.unwrap_or(now.uid_validity);
        let mut missing = visit.there.clone();
        if let (Some((archive, _)), Some(record)) = (self.known, record) {
            let eras = archive.eras(record.id)?;
            match eras.iter().find(|era| era.uid_validity == uid_validity) {
                Some(era) => {
                    let live = archive.uids(era.id, false)?;
                    let left: Vec<Would> =
                        live.difference(&visit.there).iter().map(|uid| Would { uid: Some(uid), ..Would::default() }).collect();
                    missing = missing.difference(&live).difference(&archive.uids(era.id, true)?);
                    preview.gone = left;
                }
                None if !eras.is_empty() => {
                    preview.unsure =
                        Some("its UIDVALIDITY is another one; what is here already is recognised by its content and not fetched");
                }
                None => {}
            }
            let ignored: UidSet = aside
                .iter()
                .filter(|one| one.ignored && one.folder == record.id)
                .filter_map(|one| one.uid.filter(|uid| one.key == Key::Uid { generation: uid_validity, uid: *uid }.to_string()))
                .collect();
            let left = missing.difference(&ignored);
            preview.filtered = missing.len() - left.len();
            missing = left;
        }
        if !missing.is_empty() {
            origin.arrivals(&missing, &mut |arrival| {
                preview.fetch.push(Would { uid: Some(arrival.uid), size: arrival.size, file: None });
                Ok(())
            })?;
        }
        preview.already_there = preview.listed.saturating_sub(preview.filtered + preview.fetch.len() as u64);
        Ok(preview)
    }

    fn pop3(&self) -> Result<Vec<Preview>> {
        let inbox = Folder::inbox();
        if !self.is_meant(&inbox) {
            return Ok(Vec::new());
        }
        pop3::permitted(self.server, "", self.options)?;
        let mut source = Pop3Source::connect(self.server, self.context, self.trace)?;
        let greeting = source.session().greeting().to_owned();
        let listing = pop3::permitted(self.server, &greeting, self.options).and_then(|is_partial| Ok((is_partial, source.list(&inbox)?)));
        // Nothing was fetched, so that QUIT changes nothing.
        let farewell = source.finish();
        let (is_partial, listing) = listing?;
        farewell?;
        let mut preview = Preview::new(inbox.clone(), listing.messages.len() as u64);
        let mut keys = HashMap::new();
        let mut ignored = HashSet::new();
        if let (Some((archive, _)), Some(record)) = (self.known, self.records()?.remove(&inbox)) {
            if let Some(era) = record.era {
                keys = archive.keys(era)?;
            }
            ignored = self.aside()?.into_iter().filter(|one| one.ignored && one.folder == record.id).map(|one| one.key).collect();
        }
        let mut any_loose = false;
        for listed in listing.messages {
            let would = Would { uid: Some(listed.id), size: listed.size, file: None };
            match listed.key.map(|key| key.to_string()) {
                Some(key) if keys.remove(&key).is_some() => preview.already_there += 1,
                Some(key) if ignored.contains(&key) => preview.filtered += 1,
                Some(_) => preview.fetch.push(would),
                None => {
                    any_loose = true;
                    preview.fetch.push(would);
                }
            }
        }
        if any_loose {
            preview.unsure = Some("messages without a unique-id of their own are read each time, and kept where they are not here yet");
        }
        if !is_partial {
            let left = keys.into_iter().filter(|(key, (_, gone))| !gone && (!any_loose || !key.starts_with("content:")));
            preview.gone = left.map(|_| Would::default()).collect();
        }
        Ok(vec![preview])
    }

    /// What `--mirror` would remove: what is gone already, and what would be.
    fn removals(&self, previews: &mut Vec<Preview>) -> Result<()> {
        for preview in previews.iter_mut() {
            preview.remove.clone_from(&preview.gone);
        }
        let Some((archive, account)) = self.known else { return Ok(()) };
        prune::goners(archive, account, i64::MAX, &mut |goner| {
            if !self.is_meant(&goner.folder) {
                return Ok(());
            }
            let would = Would { uid: None, size: Some(goner.file.octets), file: Some(goner.file.stem) };
            match previews.iter_mut().find(|preview| preview.folder == goner.folder) {
                Some(preview) => preview.remove.push(would),
                None => {
                    let mut preview = Preview::new(goner.folder, 0);
                    preview.remove.push(would);
                    previews.push(preview);
                }
            }
            Ok(())
        })
    }
}

impl Preview {
    fn new(folder: Folder, listed: u64) -> Self {
        Self { folder, listed, already_there: 0, filtered: 0, fetch: Vec::new(), gone: Vec::new(), remove: Vec::new(), unsure: None }
    }
}
