//! A store with a file for each message: Maildir++ trees, or nested folders of `.eml` files. Files are written beside, synced,
//! renamed without replacing, their directories synced, and only then told; who has which message is not known here.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::thread::{self, JoinHandle};

use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use super::home::{self, CUR, Home};
use super::put::{
    self, SEARCHES, Staged, TEMPORARY, UNRECORDED, letters, make_child, make_halves, note_unrecorded, publish, reletter, write_body,
};
use super::syncing::Syncing;
use super::{Laid, Layout, Lying, NameKey, StoreCard, Vault, card, manifest, names};
use crate::context::Context;
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Body, Digest, Digester, Flag, Message};
use crate::store::Source;
use crate::store::eml::EmlSource;
use crate::store::files::{self, Dir};
use crate::store::maildir;
use crate::store::maildir::keywords::Keywords;
use crate::store::mbox::{Traits, wire};

/// Where files of an account of `.eml` files are written.
const EML_TEMPORARY: &str = ".mailhaul-tmp";
/// So many folders are kept open.
const HOMES: usize = 16;
/// So many files are kept open.
const STAGED: usize = 256;
/// From so many files on, one sync of the file system is cheaper than one of each.
const SYNC_ALL_FROM: usize = 8;

/// Messages that are being synced, on a thread of its own.
struct Sealed {
    staged: Vec<Staged>,
    sync: JoinHandle<Result<()>>,
}

/// The files of a store with a file for each message.
pub struct TreeVault {
    context: Context,
    eml: bool,
    as_received: bool,
    root: Dir,
    syncing: Syncing,
    homes: Vec<Home>,
    staged: Vec<Staged>,
    octets: u64,
    /// Being synced while more is written.
    sealed: Option<Sealed>,
    /// Settled before the caller asked, because too much was open.
    done: Vec<Laid>,
    /// Accounts whose files may be unknown to the caller.
    distrusted: HashSet<String>,
    /// Folders in which a run left word that it had not come to its end.
    unrecorded: HashSet<(String, Vec<OsString>)>,
    /// Where folders lie that other programs named.
    ways: HashMap<(String, Folder), Vec<OsString>>,
    mark: String,
    count: u64,
}

impl TreeVault {
    /// Opens the files of the store at `root`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when it cannot be opened, or others may write there.
    pub fn open(root: &Path, store: &StoreCard, context: &Context) -> Result<Self> {
        let root = Dir::open(root)?.ok_or_else(|| Error::local(format!("{}: there is no such directory", root.display())))?;
        card::closed(&root)?;
        Ok(Self {
            context: context.clone(),
            eml: store.layout == Layout::Eml,
            as_received: store.as_received,
            syncing: Syncing::new(root.again()?)?,
            root,
            homes: Vec::new(),
            staged: Vec::new(),
            octets: 0,
            sealed: None,
            done: Vec::new(),
            distrusted: HashSet::new(),
            unrecorded: HashSet::new(),
            ways: HashMap::new(),
            mark: format!("{TEMPORARY}{}-{}", std::process::id(), files::nonce()),
            count: 0,
        })
    }

    fn account_dir(&self, account: &str) -> Result<Option<Dir>> {
        self.root.child(OsStr::new(&names::account(account)))
    }

    /// The components below the account's directory where a folder lies.
    fn way(&self, account: &str, folder: &Folder) -> Vec<OsString> {
        if let Some(way) = self.ways.get(&(account.to_owned(), folder.clone())) {
            return way.clone();
        }
        if folder.is_inbox() {
            return Vec::new();
        }
        if self.eml {
            return files::nested(folder.levels());
        }
        let levels: Vec<String> = folder.levels().iter().map(|level| maildir::standard_level(level)).collect();
        vec![files::fit(format!(".{}", levels.join("."))).into()]
    }

    /// Opens a folder; with `write` it is made where it is missing.
    fn home(&mut self, account: &str, folder: &Folder, write: bool) -> Result<Option<usize>> {
        let found = self.homes.iter().position(|home| home.account == account && home.folder == *folder);
        if let Some(at) = found
            && (!write || self.homes.get(at).is_some_and(|home| home.temporary.is_some()))
        {
            return Ok(Some(at));
        }
        let way = self.way(account, folder);
        let home = if write { Some(self.make_home(account, folder, &way)?) } else { self.open_home(account, folder, &way)? };
        let Some(home) = home else { return Ok(None) };
        if let Some(at) = found {
            if let Some(slot) = self.homes.get_mut(at) {
                *slot = home;
            }
            return Ok(Some(at));
        }
        if self.homes.len() >= HOMES {
            self.commit()?;
            // What a folder keeps word of is taken back when it is complete, open or not.
            let noted: Vec<_> =
                self.homes.iter().filter(|home| home.noted).map(|home| (home.account.clone(), home.folder.clone())).collect();
            for (account, folder) in noted {
                let way = self.way(&account, &folder);
                self.unrecorded.insert((account, way));
            }
            self.homes.clear();
        }
        self.homes.push(home);
        Ok(Some(self.homes.len() - 1))
    }

    fn open_home(&self, account: &str, folder: &Folder, way: &[OsString]) -> Result<Option<Home>> {
        let Some(mut dir) = self.account_dir(account)? else { return Ok(None) };
        for component in way {
            let Some(child) = dir.child(component)? else { return Ok(None) };
            dir = child;
        }
        let halves = if self.eml { [None, Some(dir.again()?)] } else { [dir.child(OsStr::new("new"))?, dir.child(OsStr::new("cur"))?] };
        Ok(Some(self.new_home(account, folder, way, dir, halves)))
    }

    fn new_home(&self, account: &str, folder: &Folder, way: &[OsString], dir: Dir, halves: [Option<Dir>; 2]) -> Home {
        let mut path = names::account(account);
        for component in way {
            path.push('/');
            path.push_str(&component.to_string_lossy());
        }
        Home {
            account: account.to_owned(),
            folder: folder.clone(),
            path,
            keywords: Keywords::read(&dir),
            dir,
            halves,
            temporary: None,
            covered: false,
            eml: self.eml,
            roomless: Vec::new(),
            fresh: false,
            doubtful: self.distrusted.contains(account),
            noted: false,
            known: None,
        }
    }

    /// Makes what is missing of a folder. All of the way is synced, also what a run that died may have made.
    fn make_home(&self, account: &str, folder: &Folder, way: &[OsString]) -> Result<Home> {
        let mut dirs = vec![make_child(&self.root, OsStr::new(&names::account(account)))?.0];
        let mut fresh = false;
        if !self.eml
            && let Some(account) = dirs.last()
        {
            // An account's own directory is its INBOX.
            fresh = make_halves(account)?;
        }
        for component in way {
            let Some(above) = dirs.last() else { break };
            let (child, made) = make_child(above, component)?;
            fresh = if self.eml { made } else { make_halves(&child)? };
            dirs.push(child);
        }
        let (Some(account_dir), Some(dir)) = (dirs.first(), dirs.last()) else {
            return Err(Error::local(format!("{account}: no directory")));
        };
        if way.iter().any(|component| files::was_cut(&files::text(component))) {
            files::record_name(dir, folder)?;
        }
        let temporary =
            if self.eml { make_child(account_dir, OsStr::new(EML_TEMPORARY))?.0 } else { make_child(dir, OsStr::new("tmp"))?.0 };
        let halves = if self.eml {
            [None, Some(dir.again()?)]
        } else {
            [Some(make_child(dir, OsStr::new("new"))?.0), Some(make_child(dir, OsStr::new("cur"))?.0)]
        };
        let dir = dir.again()?;
        dirs.iter().rev().try_for_each(Dir::sync)?;
        self.root.sync()?;
        let noted = self.unrecorded.contains(&(account.to_owned(), way.to_vec()));
        let mut home = self.new_home(account, folder, way, dir, halves);
        home.covered = self.syncing.covers(&temporary)?;
        home.temporary = Some(temporary);
        home.fresh = fresh;
        home.noted = noted;
        home.doubtful = !fresh && (home.doubtful || noted);
        Ok(home)
    }

    fn get(&mut self, at: usize) -> Result<&mut Home> {
        self.homes.get_mut(at).ok_or_else(|| Error::local("a folder that is not open"))
    }

    /// A folder, open to be searched. Just one listing is kept.
    fn searched(&mut self, account: &str, folder: &Folder) -> Result<Option<&mut Home>> {
        let Some(at) = self.home(account, folder, false)? else { return Ok(None) };
        self.forget_others(at);
        self.get(at).map(Some)
    }

    fn forget_others(&mut self, at: usize) {
        self.homes.iter_mut().enumerate().filter(|(other, _)| *other != at).for_each(|(_, home)| home.known = None);
    }

    /// Forgets a folder whose directory moves.
    fn forget(&mut self, account: &str, folder: &Folder) {
        self.homes.retain(|home| home.account != account || home.folder != *folder);
        self.ways.remove(&(account.to_owned(), folder.clone()));
    }

    fn write(&mut self, at: usize, key: NameKey<'_>, ticket: u64, message: &Message) -> Result<Staged> {
        self.count += 1;
        let temporary = OsString::from(format!("{}.{}", self.mark, self.count));
        let line_feeds = !self.as_received && Traits::of(&message.body)?.all_crlf();
        let context = self.context.clone();
        let home = self.get(at)?;
        let letters = letters(home, &message.flags, &context)?;
        let dir = home.temporary.as_ref().ok_or_else(|| Error::local("a folder that is not open to write"))?;
        if !home.noted && !home.eml {
            note_unrecorded(dir)?;
            home.noted = true;
        }
        let path = dir.path().join(&temporary);
        let mut file = dir.create(&temporary)?;
        let written = write_body(&mut file, &message.body, line_feeds, &path).and_then(|(octets, digest)| {
            let dated = message.internal_date.map_or(Ok(true), |date| files::set_date(&file, &path, date))?;
            Ok((octets, digest.unwrap_or(message.digests.exact), dated))
        });
        let (octets, digest, dated) = written.inspect_err(|_| dir.remove(&temporary))?;
        let altered = if dated { Vec::new() } else { vec!["the file system cannot hold its date".to_owned()] };
        let base = names::base(key, message);
        // Where many are synced at once, none is synced by itself.
        let many = self.staged.len() >= SYNC_ALL_FROM && self.get(at)?.covered;
        let file = (!many).then_some(file);
        Ok(Staged { ticket, home: at, file, temporary, base, letters, line_feeds, octets, digest, altered })
    }

    /// Whether one sync of the file system stands for that of all these files.
    fn covers(&self, staged: &[Staged]) -> Result<bool> {
        let mut covered = staged.len() >= SYNC_ALL_FROM;
        for dir in self.touched(staged).filter_map(|home| home.temporary.as_ref()) {
            covered = covered && self.syncing.covers(dir)?;
        }
        Ok(covered)
    }

    fn sync_files(&self, staged: &[Staged]) -> Result<()> {
        if self.covers(staged)? || staged.iter().any(|staged| staged.file.is_none()) {
            self.syncing.all()?;
            if self.covers(staged)? {
                return Ok(());
            }
        }
        for staged in staged {
            let Some(file) = &staged.file else { continue };
            // After an error here the kernel may have dropped the bytes: the file is written anew, never synced again.
            file.sync_all().map_err(|error| Error::io(Path::new(&staged.temporary).display(), error))?;
        }
        // What a run leaves word of must be there before the first name is.
        self.touched(staged).filter(|home| home.noted).filter_map(|home| home.temporary.as_ref()).try_for_each(Dir::sync)
    }

    fn touched(&self, staged: &[Staged]) -> impl Iterator<Item = &Home> {
        let at: HashSet<usize> = staged.iter().map(|staged| staged.home).collect();
        self.homes.iter().enumerate().filter(move |(index, _)| at.contains(index)).map(|(_, home)| home)
    }

    /// Gives synced files their names, durably.
    fn give_names(&mut self, all: &[Staged], published: &mut Vec<(usize, OsString)>) -> Result<Vec<Laid>> {
        self.context.step("vault.before-rename");
        let mut laid = Vec::with_capacity(all.len());
        for staged in all {
            let at = staged.home;
            if self.homes.get(at).is_some_and(|home| home.doubtful && home.known.is_none() && !home.eml) {
                self.forget_others(at);
            }
            let Some(home) = self.homes.get_mut(at) else { break };
            let stem = publish(home, staged, published)?;
            laid.push(Laid {
                ticket: staged.ticket,
                stem,
                line_feeds: staged.line_feeds,
                octets: staged.octets,
                digest: staged.digest,
                altered: staged.altered.clone(),
            });
        }
        self.context.step("vault.after-rename");
        // Nothing stays in the other directories: where a name is lost there, its file is a temporary one that the next run removes.
        let moved = published.len() < all.len();
        for home in self.touched(all) {
            if moved || !home.covered {
                home.halves.iter().flatten().try_for_each(Dir::sync)?;
                home.temporary.iter().try_for_each(Dir::sync)?;
            } else {
                home.cur()?.sync()?;
            }
        }
        self.context.step("vault.after-sync");
        Ok(laid)
    }

    /// Makes all durable that was laid.
    fn commit(&mut self) -> Result<()> {
        self.conclude()?;
        if self.staged.is_empty() {
            return Ok(());
        }
        self.context.step("vault.before-sync");
        let synced = self.sync_files(&self.staged);
        self.octets = 0;
        let staged = std::mem::take(&mut self.staged);
        self.publish_all(staged, synced)
    }

    /// Ends what was begun.
    fn conclude(&mut self) -> Result<()> {
        let Some(Sealed { staged, sync }) = self.sealed.take() else { return Ok(()) };
        let synced = sync.join().unwrap_or_else(|_| Err(Error::local("the thread that syncs came to an unexpected end")));
        self.publish_all(staged, synced)
    }

    fn publish_all(&mut self, staged: Vec<Staged>, synced: Result<()>) -> Result<()> {
        let mut published = Vec::with_capacity(staged.len());
        match synced.and_then(|()| self.give_names(&staged, &mut published)) {
            Ok(laid) => {
                self.done.extend(laid);
                Ok(())
            }
            Err(error) => {
                // These names are ours (nothing was replaced) and not durable: nobody shall count on them.
                for (at, name) in published {
                    if let Some(dir) = self.homes.get(at).and_then(|home| home.half(CUR)) {
                        dir.remove(&name);
                    }
                }
                self.remove_all(staged);
                self.drop_staged();
                Err(error)
            }
        }
    }

    fn remove_all(&self, all: Vec<Staged>) {
        for staged in all {
            if let Some(dir) = self.homes.get(staged.home).and_then(|home| home.temporary.as_ref()) {
                dir.remove(&staged.temporary);
            }
        }
    }

    fn drop_staged(&mut self) {
        self.octets = 0;
        self.done.clear();
        if let Some(Sealed { staged, sync }) = self.sealed.take() {
            // Whatever it says, these do not count.
            let _ = sync.join();
            self.remove_all(staged);
        }
        let staged = std::mem::take(&mut self.staged);
        self.remove_all(staged);
    }
}

impl Vault for TreeVault {
    fn layout(&self) -> Layout {
        if self.eml { Layout::Eml } else { Layout::Maildir }
    }

    fn sweep(&mut self, account: &str) -> Result<()> {
        manifest::sweep(&self.root)?;
        let Some(dir) = self.account_dir(account)? else { return Ok(()) };
        if self.eml {
            return dir.child(OsStr::new(EML_TEMPORARY))?.map_or(Ok(()), |dir| put::sweep(&dir).map(|_| ()));
        }
        let hidden =
            dir.entries()?.into_iter().filter(|entry| entry.kind == FileType::Directory && files::text(&entry.name).starts_with('.'));
        for way in std::iter::once(Vec::new()).chain(hidden.map(|entry| vec![entry.name])) {
            let home = way.first().map_or_else(|| dir.again().map(Some), |name| dir.child(name))?;
            if let Some(temporary) = home.map(|home| home.child(OsStr::new("tmp"))).transpose()?.flatten()
                && put::sweep(&temporary)?
            {
                self.unrecorded.insert((account.to_owned(), way));
            }
        }
        Ok(())
    }

    fn distrust(&mut self, account: &str) {
        self.distrusted.insert(account.to_owned());
        self.homes.iter_mut().filter(|home| home.account == account).for_each(|home| home.doubtful = !home.fresh);
    }

    fn complete(&mut self, account: &str, folder: &Folder) -> Result<()> {
        let way = self.way(account, folder);
        let open = self.homes.iter_mut().find(|home| home.account == account && home.folder == *folder);
        let noted = open.is_some_and(|home| {
            home.doubtful = false;
            std::mem::take(&mut home.noted)
        });
        if !self.unrecorded.remove(&(account.to_owned(), way)) && !noted {
            return Ok(());
        }
        let Some(home) = self.searched(account, folder)? else { return Ok(()) };
        if let Some(temporary) = home.dir.child(OsStr::new("tmp"))? {
            // Nobody else would look for it in a folder that does not change any more.
            temporary.unlink(OsStr::new(UNRECORDED))?;
        }
        Ok(())
    }

    fn is_unrecorded(&self, account: &str, folder: &Folder) -> bool {
        self.unrecorded.contains(&(account.to_owned(), self.way(account, folder)))
    }

    fn make_folder(&mut self, account: &str, folder: &Folder) -> Result<()> {
        self.context.step("vault.before-folder");
        self.home(account, folder, true).map(|_| ())
    }

    fn rename_folder(&mut self, account: &str, from: &Folder, to: &Folder) -> Result<bool> {
        if from == to {
            return Ok(true);
        }
        self.commit()?;
        if self.eml {
            return self.move_files(account, from, to);
        }
        if from.is_inbox() || to.is_inbox() {
            return Ok(false);
        }
        let (old, new) = (self.way(account, from), self.way(account, to));
        let (Some(old), Some(new), Some(dir)) = (old.first(), new.first(), self.account_dir(account)?) else {
            return self.make_folder(account, to).map(|()| true);
        };
        if dir.stat(old)?.is_none() {
            // Done already, or there never was a directory.
            forget_other_name(&dir, new, to)?;
            return self.make_folder(account, to).map(|()| true);
        }
        self.context.step("vault.before-rename-folder");
        if !dir.publish(old, &dir, new)? {
            return Ok(false);
        }
        self.context.step("vault.after-rename-folder");
        dir.sync()?;
        forget_other_name(&dir, new, to)?;
        // What a run left word of moved along.
        let noted = self.homes.iter().any(|home| home.account == account && home.folder == *from && home.noted);
        if self.unrecorded.remove(&(account.to_owned(), vec![old.clone()])) || noted {
            self.unrecorded.insert((account.to_owned(), vec![new.clone()]));
        }
        self.forget(account, from);
        self.forget(account, to);
        self.make_folder(account, to)?;
        Ok(true)
    }

    fn folders(&mut self, account: &str) -> Result<Vec<Folder>> {
        let Some(dir) = self.account_dir(account)? else { return Ok(Vec::new()) };
        if self.eml {
            let found = EmlSource::new(dir.path()).folders()?;
            return Ok(found.into_iter().map(|info| info.folder).collect());
        }
        let mut folders = Vec::new();
        for found in maildir::look(&dir)? {
            self.ways.insert((account.to_owned(), found.folder.clone()), found.way);
            folders.push(found.folder);
        }
        Ok(folders)
    }

    fn accounts(&mut self) -> Result<Vec<String>> {
        let mut accounts = Vec::new();
        for entry in self.root.entries()? {
            let name = files::text(&entry.name);
            if entry.kind != FileType::Directory || name.starts_with('.') {
                continue;
            }
            let Some(dir) = self.root.child(&entry.name)? else { continue };
            if if self.eml { dir.child(OsStr::new(EML_TEMPORARY))?.is_some() } else { maildir::is_maildir(&dir)? } {
                accounts.push(names::account_of(&name));
            }
        }
        Ok(accounts)
    }

    fn lay(&mut self, account: &str, folder: &Folder, ticket: u64, key: NameKey<'_>, message: &Message) -> Result<()> {
        if self.staged.len() >= STAGED {
            self.commit()?;
        }
        let staged = match self.home(account, folder, true) {
            Ok(Some(at)) => self.write(at, key, ticket, message),
            Ok(None) => Err(Error::local(format!("{folder}: its directory is gone"))),
            Err(error) => Err(error),
        };
        match staged {
            Ok(staged) => {
                self.octets += staged.octets;
                self.staged.push(staged);
                Ok(())
            }
            Err(error) => {
                self.drop_staged();
                Err(error)
            }
        }
    }

    fn waiting(&self) -> (usize, u64) {
        (self.staged.len() + self.done.len(), self.octets + self.done.iter().map(|laid| laid.octets).sum::<u64>())
    }

    fn begin(&mut self) -> Result<bool> {
        if self.sealed.is_some() || !self.done.is_empty() || !self.covers(&self.staged)? {
            return Ok(false);
        }
        self.context.step("vault.before-sync");
        let all = self.syncing.apart()?;
        let Ok(sync) = thread::Builder::new().spawn(move || all.all()) else { return Ok(false) };
        self.octets = 0;
        self.sealed = Some(Sealed { staged: std::mem::take(&mut self.staged), sync });
        Ok(true)
    }

    fn is_ready(&self) -> bool {
        self.sealed.as_ref().is_none_or(|sealed| sealed.sync.is_finished())
    }

    fn settle(&mut self) -> Result<Vec<Laid>> {
        if self.sealed.is_some() {
            self.conclude()?;
        } else {
            self.commit()?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn reflag(&mut self, account: &str, folder: &Folder, files: &[(String, Vec<Flag>)]) -> Result<Vec<String>> {
        let context = self.context.clone();
        let all = || files.iter().map(|(stem, _)| stem.clone()).collect();
        let Some(home) = self.searched(account, folder)? else { return Ok(all()) };
        let (mut missing, mut changed) = (Vec::new(), false);
        if home.eml {
            // Its names show no flags, but a file that is not there is told of here as well.
            for (stem, _) in files {
                if home.find(stem, "")?.is_none() {
                    missing.push(stem.clone());
                }
            }
            return Ok(missing);
        }
        for (stem, flags) in files {
            let letters = letters(home, flags, &context)?;
            match reletter(home, stem, &letters, &context)? {
                Some(renamed) => changed |= renamed,
                None => missing.push(stem.clone()),
            }
        }
        if changed {
            home.halves.iter().flatten().try_for_each(Dir::sync)?;
            context.step("vault.after-reflag");
        }
        Ok(missing)
    }

    fn remove(&mut self, account: &str, folder: &Folder, stems: &[String]) -> Result<()> {
        let context = self.context.clone();
        let Some(home) = self.searched(account, folder)? else { return Ok(()) };
        for stem in stems {
            for _ in 0..SEARCHES {
                let Some((half, name)) = home.find(stem, "S")? else { break };
                context.step("vault.before-remove");
                if let Some(dir) = home.half(half) {
                    dir.unlink(&name)?;
                }
            }
        }
        home.halves.iter().flatten().try_for_each(Dir::sync)?;
        context.step("vault.after-remove");
        Ok(())
    }

    fn read(&mut self, account: &str, folder: &Folder, stem: &str, line_feeds: bool) -> Result<Option<Message>> {
        let Some(home) = self.searched(account, folder)? else { return Ok(None) };
        for _ in 0..SEARCHES {
            let Some((half, name)) = home.find(stem, "S")? else { return Ok(None) };
            let Some((file, stat)) = home.open(half, &name)? else { continue };
            let (mut digester, mut body, mut out) = (Digester::default(), Body::new(), Vec::new());
            files::each_piece(&file, &home.path_of(half, &name), |piece| {
                let bytes = wire(piece, line_feeds, &mut out);
                digester.update(bytes);
                body.push(bytes)
            })?;
            let flags = maildir::flags(home::split(home.eml, &name).1, &home.keywords);
            return Ok(Some(Message { body, digests: digester.finish(), internal_date: Some(files::date(&stat)), flags }));
        }
        Err(Error::local(format!("{stem}: its file keeps changing its name")).scoped(Scope::Message))
    }

    fn check(&mut self, account: &str, folder: &Folder, stem: &str) -> Result<Option<(u64, Digest, String)>> {
        let Some(home) = self.searched(account, folder)? else { return Ok(None) };
        for _ in 0..SEARCHES {
            let Some((half, name)) = home.find(stem, "S")? else { return Ok(None) };
            let Some((file, _)) = home.open(half, &name)? else { continue };
            let path = home.path_of(half, &name);
            let (mut octets, mut hash) = (0, Sha256::new());
            files::each_piece(&file, &path, |piece| {
                octets += piece.len() as u64;
                hash.update(piece);
                Ok(())
            })?;
            return Ok(Some((octets, Digest(hash.finalize().into()), path)));
        }
        Err(Error::local(format!("{stem}: its file keeps changing its name")).scoped(Scope::Message))
    }

    fn path(&mut self, account: &str, folder: &Folder, stem: &str) -> Result<Option<String>> {
        let Some(home) = self.searched(account, folder)? else { return Ok(None) };
        Ok(home.find(stem, "S")?.map(|(half, name)| home.path_of(half, &name)))
    }

    fn look_through(&mut self, account: &str, folder: &Folder) -> Result<()> {
        match self.searched(account, folder)? {
            Some(home) if !home.eml => home.list(),
            _ => Ok(()),
        }
    }

    fn path_as_listed(&mut self, account: &str, folder: &Folder, stem: &str) -> Result<Option<String>> {
        let Some(home) = self.searched(account, folder)? else { return Ok(None) };
        match home.as_listed(stem) {
            Some((half, name)) => Ok(Some(home.path_of(half, name))),
            None => self.path(account, folder, stem),
        }
    }

    fn scan(&mut self, account: &str, folder: &Folder, each: &mut dyn FnMut(Lying) -> Result<()>) -> Result<()> {
        let Some(home) = self.searched(account, folder)? else { return Ok(()) };
        // One listing in memory is enough.
        home.known = None;
        let eml = home.eml;
        let mut found = maildir::names(&home.halves, &home.path)?;
        found.retain(|(_, name)| !eml || files::text(name).ends_with(home::EML));
        found.sort_unstable_by(|a, b| (home::split(eml, &a.1).0, a.0, &a.1).cmp(&(home::split(eml, &b.1).0, b.0, &b.1)));
        for (half, name) in found {
            let Some(stat) = home.half(half).map_or(Ok(None), |dir| dir.stat(&name))? else { continue };
            let (stem, letters) = home::split(eml, &name);
            let stem = String::from_utf8_lossy(stem).into_owned();
            let told = names::parse(&stem);
            each(Lying {
                path: home.path_of(half, &name),
                octets: u64::try_from(stat.st_size).unwrap_or(0),
                modified: files::date(&stat),
                flags: maildir::flags(letters, &home.keywords),
                uid: told.uid,
                key: told.key,
                stem,
            })?;
        }
        Ok(())
    }
}

/// Takes away the name that a directory notes for itself where it is not the one it has.
fn forget_other_name(dir: &Dir, name: &OsStr, folder: &Folder) -> Result<()> {
    match dir.child(name)? {
        Some(child) if files::recorded_name(&child).is_some_and(|recorded| recorded != *folder) => files::forget_name(&child),
        _ => Ok(()),
    }
}

impl TreeVault {
    /// Moves the files of a folder to another: the directory itself may hold folders that keep their names. What a run that
    /// died has moved is passed over.
    fn move_files(&mut self, account: &str, from: &Folder, to: &Folder) -> Result<bool> {
        const MOVING: &str = ".mailhaul-moving";
        let Some(at) = self.home(account, to, true)? else { return Ok(false) };
        let target = self.get(at)?.dir.again()?;
        let word = format!("{}\n", Digest::of(from.to_string().as_bytes()));
        let going_on = target.small_text(MOVING, 128).is_some_and(|text| text == word);
        let Some(source) = self.open_home(account, from, &self.way(account, from))? else { return Ok(true) };
        let eml = |dir: &Dir| -> Result<Vec<OsString>> {
            let entries = dir.entries()?.into_iter();
            let files = entries.filter(|entry| entry.kind == FileType::RegularFile && files::text(&entry.name).ends_with(home::EML));
            Ok(files.map(|entry| entry.name).collect())
        };
        let moving = eml(&source.dir)?;
        if !going_on && !moving.is_empty() {
            if !eml(&target)?.is_empty() {
                return Ok(false);
            }
            target.remove(OsStr::new(MOVING));
            let mut file = target.create(OsStr::new(MOVING))?;
            let written = file.write_all(word.as_bytes()).and_then(|()| file.sync_all());
            written.map_err(|error| Error::io(target.path().join(MOVING).display(), error))?;
            target.sync()?;
        }
        for name in moving {
            self.context.step("vault.before-rename-folder");
            if !source.dir.publish(&name, &target, &name)? {
                return Ok(false);
            }
        }
        target.sync()?;
        source.dir.sync()?;
        self.context.step("vault.after-rename-folder");
        target.remove(OsStr::new(MOVING));
        self.forget(account, from);
        Ok(true)
    }
}

impl Drop for TreeVault {
    fn drop(&mut self) {
        self.drop_staged();
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
