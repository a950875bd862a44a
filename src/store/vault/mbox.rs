//! A store with one mbox file a folder, which only grows. A message is a stretch of the file, named by where it begins and how
//! long it is; the key it was stored under stands in its envelope line, by which a run that died is recognised.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use super::{Laid, Layout, Lying, NameKey, StoreCard, Vault, card, manifest, names};
use crate::context::Context;
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Body, Digest, Digester, Flag, InternalDate, Message};
use crate::store::Source;
use crate::store::files::{self, Dir};
use crate::store::mbox::append::{self, Batch};
use crate::store::mbox::format::{self, Bytes, Scanner};
use crate::store::mbox::{self, MboxSource, Traits};

const PIECE: usize = 64 * 1024;
const ENDING: &str = ".mbox";
/// A file name has to leave room for the names beside it.
const NAME_BYTES: usize = 180;

/// The files of a store with one mbox file a folder.
pub struct MboxVault {
    context: Context,
    root: Dir,
    /// The folder written to.
    open: Option<Open>,
    done: Vec<Laid>,
    /// Accounts whose files may hold messages that the caller does not know of.
    distrusted: Vec<String>,
}

/// A folder's file.
struct Place {
    dir: Dir,
    name: OsString,
    /// Its path below the root of the store.
    path: String,
}

struct Open {
    account: String,
    folder: Folder,
    place: Place,
    batch: Option<Batch>,
    staged: Vec<Staged>,
    /// Messages that no journal may know, by their keys: what runs that died appended.
    unrecorded: HashMap<String, Vec<Stretch>>,
    /// That there may be such messages stands beside the file.
    noted: bool,
}

/// A message in the file.
struct Stretch {
    at: u64,
    octets: u64,
    digest: Digest,
}

/// A message that waits.
struct Staged {
    /// Where it begins: in the file, or (`None`) behind what waits before it.
    at: Option<u64>,
    laid: Laid,
}

/// A part of a file, as a file of its own.
struct Window<'a> {
    file: &'a File,
    at: u64,
    octets: u64,
}

impl Bytes for Window<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let most = usize::try_from(self.octets.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        Bytes::read_at(self.file, buffer.get_mut(..most).unwrap_or_default(), self.at + offset)
    }
}

impl Window<'_> {
    /// Hands over what is there of it.
    fn each(&self, each: &mut dyn FnMut(&[u8])) -> std::io::Result<()> {
        let (mut at, mut buffer) = (0, vec![0; PIECE]);
        loop {
            let count = self.read_at(&mut buffer, at)?;
            if count == 0 {
                return Ok(());
            }
            each(buffer.get(..count).unwrap_or_default());
            at += count as u64;
        }
    }

    /// Octets and digest of what is there of it.
    fn digest(&self, path: &str) -> Result<(u64, Digest)> {
        let (mut octets, mut hash) = (0, Sha256::new());
        self.each(&mut |piece| {
            octets += piece.len() as u64;
            hash.update(piece);
        })
        .map_err(|error| Error::io(path, error).scoped(Scope::Message))?;
        Ok((octets, Digest(hash.finalize().into())))
    }
}

fn stem(at: u64, octets: u64) -> String {
    format!("{at}+{octets}")
}

fn parse_stem(stem: &str) -> Option<(u64, u64)> {
    let (at, octets) = stem.split_once('+')?;
    let (at, octets): (u64, u64) = (at.parse().ok()?, octets.parse().ok()?);
    at.checked_add(octets).map(|_| (at, octets))
}

/// What tells, beside a file, from which offset on a journal may not know its messages.
fn note_name(name: &OsStr) -> OsString {
    let mut note = OsString::from(".");
    note.push(name);
    note.push(".mailhaul-unrecorded");
    note
}

fn noted(place: &Place) -> Option<u64> {
    place.dir.small_text(note_name(&place.name).to_str()?, 64)?.trim().parse().ok()
}

fn put_note(dir: &Dir, name: &OsStr, from: u64) -> Result<()> {
    let note = note_name(name);
    let io = |error| Error::io(dir.path().join(&note).display(), error);
    // What is half written would say too much or nothing: it gets its name when it is whole.
    let temporary = OsString::from(format!(".mailhaul-{}-{}", std::process::id(), files::nonce()));
    let mut file = dir.create(&temporary)?;
    let written = writeln!(file, "{from}").and_then(|()| file.sync_all()).map_err(io);
    let put = written.and_then(|()| dir.replace(&temporary, &note));
    if put.is_err() {
        dir.remove(&temporary);
    }
    put?;
    dir.sync()
}

impl MboxVault {
    /// Opens the files of the store at `root`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when it cannot be opened, or others may write there.
    pub fn open(root: &Path, _card: &StoreCard, context: &Context) -> Result<Self> {
        let root = Dir::open(root)?.ok_or_else(|| Error::local(format!("{}: there is no such directory", root.display())))?;
        card::closed(&root)?;
        Ok(Self { context: context.clone(), root, open: None, done: Vec::new(), distrusted: Vec::new() })
    }

    fn account_dir(&self, account: &str) -> Result<Option<Dir>> {
        self.root.child(OsStr::new(&names::account(account)))
    }

    /// Where the file of a folder is, or is to be; with `make` its directories are made, durably.
    fn place(&self, account: &str, folder: &Folder, make: bool) -> Result<Option<Place>> {
        let Some((last, above)) = folder.levels().split_last() else { return Ok(None) };
        let name = OsString::from(format!("{}{ENDING}", files::fit_within(files::encode_level(last), NAME_BYTES)));
        let account = OsString::from(names::account(account));
        let mut path = account.to_string_lossy().into_owned();
        let mut dir = self.root.again()?;
        let mut way = vec![account];
        way.extend(mbox::directory_names(above));
        for (index, component) in way.iter().enumerate() {
            if index > 0 {
                path.push('/');
                path.push_str(&component.to_string_lossy());
            }
            let child = if make { Some(dir.make_child(component)?) } else { dir.child(component)? };
            let Some(child) = child else { return Ok(None) };
            if make {
                // Also what a run that died made and did not sync.
                dir.sync()?;
            }
            dir = child;
        }
        path.push('/');
        path.push_str(&name.to_string_lossy());
        Ok(Some(Place { dir, name, path }))
    }

    fn turn_to(&mut self, account: &str, folder: &Folder) -> Result<&mut Open> {
        let same = self.open.as_ref().is_some_and(|open| open.account == account && open.folder == *folder);
        if !same {
            self.commit()?;
            let none = || Error::local(format!("{folder}: no place for its file"));
            let place = self.place(account, folder, true)?.ok_or_else(none)?;
            append::prepare(&place.dir, &place.name, true, &self.context)?;
            let from = if self.distrusted.iter().any(|one| one == account) { Some(0) } else { noted(&place) };
            let noted = noted(&place).is_some();
            let unrecorded = from.map_or_else(|| Ok(HashMap::new()), |from| stretches(&place, from))?;
            self.open = Some(Open {
                account: account.to_owned(),
                folder: folder.clone(),
                place,
                batch: None,
                staged: Vec::new(),
                unrecorded,
                noted,
            });
        }
        self.open.as_mut().ok_or_else(|| Error::local("no folder is open"))
    }

    /// Adds what waits to the file.
    fn commit(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let staged = std::mem::take(&mut open.staged);
        let start = match open.batch.take() {
            Some(batch) => {
                self.context.step("vault.before-sync");
                batch.commit(&open.place.dir, &open.place.name, &self.context).inspect_err(|_| self.done.clear())?
            }
            None => 0,
        };
        let mut next = start;
        for Staged { at, mut laid } in staged {
            let at = at.unwrap_or_else(|| {
                let at = next;
                next += laid.octets;
                at
            });
            laid.stem = stem(at, laid.octets);
            self.done.push(laid);
        }
        self.context.step("vault.after-sync");
        Ok(())
    }

    fn drop_staged(&mut self) {
        self.done.clear();
        if let Some(open) = &mut self.open {
            open.staged.clear();
            if let Some(batch) = open.batch.take() {
                batch.discard(&open.place.dir);
            }
        }
    }

    fn stage(&mut self, account: &str, folder: &Folder, ticket: u64, key: NameKey<'_>, message: &Message) -> Result<()> {
        let open = self.turn_to(account, folder)?;
        let word = names::word(key);
        // A date that follows from the message: a run that died and its successor write the same.
        let date = InternalDate { seconds: 0, offset: 0 };
        let line_feeds = Traits::of(&message.body)?.all_crlf();
        let laid = |octets: u64, digest: Digest, dated: bool| {
            let altered = if dated { Vec::new() } else { vec!["an mbox cannot hold its date".to_owned()] };
            Laid { ticket, stem: String::new(), line_feeds, octets, digest, altered }
        };
        if let Some(known) = open.unrecorded.get_mut(&word) {
            let (mut octets, mut hash) = (0, Sha256::new());
            let dated = mbox::write_keyed(message, date, Some(&word), &mut |bytes| {
                octets += bytes.len() as u64;
                hash.update(bytes);
                Ok(())
            })?;
            let digest = Digest(hash.finalize().into());
            if let Some(at) = known.iter().position(|one| one.octets == octets && one.digest == digest) {
                let found = known.swap_remove(at);
                open.staged.push(Staged { at: Some(found.at), laid: laid(octets, digest, dated) });
                return Ok(());
            }
        }
        if !open.noted {
            let len = open.place.dir.file(&open.place.name)?.map_or(0, |(_, stat)| u64::try_from(stat.st_size).unwrap_or(0));
            put_note(&open.place.dir, &open.place.name, len)?;
            open.noted = true;
        }
        let mut batch = match open.batch.take() {
            Some(batch) => batch,
            None => Batch::new(&open.place.dir, &open.place.name)?,
        };
        let (mut octets, mut hash) = (0, Sha256::new());
        let written = mbox::write_keyed(message, date, Some(&word), &mut |bytes| {
            octets += bytes.len() as u64;
            hash.update(bytes);
            batch.push(bytes)
        });
        open.batch = Some(batch);
        let dated = written?;
        open.staged.push(Staged { at: None, laid: laid(octets, Digest(hash.finalize().into()), dated) });
        Ok(())
    }

    /// The file of a folder, and how much of it is whole messages.
    fn file(&self, account: &str, folder: &Folder) -> Result<Option<(Place, File, u64)>> {
        let Some(place) = self.place(account, folder, false)? else { return Ok(None) };
        let Some((file, stat)) = place.dir.file(&place.name)? else { return Ok(None) };
        let len = append::whole(&place.dir, &place.name, &file, u64::try_from(stat.st_size).unwrap_or(0))?;
        Ok(Some((place, file, len)))
    }
}

/// The messages with keys from `from` on.
fn stretches(place: &Place, from: u64) -> Result<HashMap<String, Vec<Stretch>>> {
    let mut found: HashMap<String, Vec<Stretch>> = HashMap::new();
    let Some((file, stat)) = place.dir.file(&place.name)? else { return Ok(found) };
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    let window = Window { file: &file, at: from, octets: len.saturating_sub(from) };
    let mut scanner = match Scanner::new(&window, window.octets) {
        Ok(scanner) => scanner,
        // No message begins there: somebody rewrote the file, and nothing of ours is recognised.
        Err(error) if error.scope() == Scope::Mailbox => return Ok(found),
        Err(error) => return Err(error),
    };
    while let Some(stored) = scanner.message()? {
        let Some(key) = scanner.key(&stored)? else { continue };
        let octets = scanner.position() - stored.at;
        let stretch = Window { file: &file, at: from + stored.at, octets };
        let (_, digest) = stretch.digest(&place.path)?;
        found.entry(key).or_default().push(Stretch { at: stretch.at, octets, digest });
    }
    Ok(found)
}

fn only_grows(what: &str) -> Error {
    Error::usage(format!("the mbox files of a store only grow, so {what}")).hint("a store of another form can: maildir:PATH, eml:PATH")
}

impl Vault for MboxVault {
    fn layout(&self) -> Layout {
        Layout::Mbox
    }

    fn sweep(&mut self, _account: &str) -> Result<()> {
        // What was staged beside a file goes when the file is opened to write.
        manifest::sweep(&self.root)
    }

    fn distrust(&mut self, account: &str) {
        self.distrusted.push(account.to_owned());
    }

    fn complete(&mut self, account: &str, folder: &Folder) -> Result<()> {
        let place = match &mut self.open {
            Some(open) if open.account == account && open.folder == *folder => {
                open.unrecorded.clear();
                open.noted = false;
                Some(Place { dir: open.place.dir.again()?, name: open.place.name.clone(), path: String::new() })
            }
            _ => self.place(account, folder, false)?,
        };
        let Some(place) = place else { return Ok(()) };
        // What a run that died had added whole is recognised and nothing need be added.
        append::mend(&place.dir, &place.name, &self.context)?;
        place.dir.unlink(&note_name(&place.name))
    }

    fn make_folder(&mut self, account: &str, folder: &Folder) -> Result<()> {
        self.context.step("vault.before-folder");
        self.turn_to(account, folder).map(|_| ())
    }

    fn rename_folder(&mut self, account: &str, from: &Folder, to: &Folder) -> Result<bool> {
        self.commit()?;
        self.open = None;
        let none = || Error::local(format!("{to}: no place for its file"));
        let target = self.place(account, to, true)?.ok_or_else(none)?;
        let source = self.place(account, from, false)?;
        let there = source.map(|source| source.dir.stat(&source.name).map(|stat| stat.map(|_| source))).transpose()?.flatten();
        let Some(source) = there else {
            // Done already, or there never was a file.
            return self.make_folder(account, to).map(|()| true);
        };
        append::prepare(&source.dir, &source.name, false, &self.context)?;
        if target.dir.stat(&target.name)?.is_some() {
            return Ok(false);
        }
        if let Some(at) = noted(&source) {
            put_note(&target.dir, &target.name, at)?;
        }
        self.context.step("vault.before-rename-folder");
        if !source.dir.publish(&source.name, &target.dir, &target.name)? {
            return Ok(false);
        }
        self.context.step("vault.after-rename-folder");
        target.dir.sync()?;
        source.dir.sync()?;
        source.dir.remove(&note_name(&source.name));
        Ok(true)
    }

    fn folders(&mut self, account: &str) -> Result<Vec<Folder>> {
        let Some(dir) = self.account_dir(account)? else { return Ok(Vec::new()) };
        Ok(MboxSource::new(dir.path()).folders()?.into_iter().map(|info| info.folder).collect())
    }

    fn accounts(&mut self) -> Result<Vec<String>> {
        let mut accounts = Vec::new();
        for entry in self.root.entries()? {
            let name = files::text(&entry.name);
            if entry.kind != FileType::Directory || name.starts_with('.') {
                continue;
            }
            let account = names::account_of(&name);
            if !self.folders(&account)?.is_empty() {
                accounts.push(account);
            }
        }
        Ok(accounts)
    }

    fn lay(&mut self, account: &str, folder: &Folder, ticket: u64, key: NameKey<'_>, message: &Message) -> Result<()> {
        self.stage(account, folder, ticket, key, message).inspect_err(|_| self.drop_staged())
    }

    fn waiting(&self) -> (usize, u64) {
        let staged = self.open.iter().flat_map(|open| &open.staged).map(|staged| &staged.laid);
        staged.chain(&self.done).fold((0, 0), |(count, octets), laid| (count + 1, octets + laid.octets))
    }

    fn settle(&mut self) -> Result<Vec<Laid>> {
        self.commit()?;
        Ok(std::mem::take(&mut self.done))
    }

    fn reflag(&mut self, account: &str, folder: &Folder, files: &[(String, Vec<Flag>)]) -> Result<Vec<String>> {
        // It shows no flags, but a stretch that is not there is told of here as well.
        let len = self.file(account, folder)?.map_or(0, |(_, _, len)| len);
        let is_there = |stem: &str| parse_stem(stem).is_some_and(|(at, octets)| at + octets <= len);
        Ok(files.iter().map(|(stem, _)| stem).filter(|stem| !is_there(stem)).cloned().collect())
    }

    fn remove(&mut self, _account: &str, _folder: &Folder, stems: &[String]) -> Result<()> {
        if stems.is_empty() { Ok(()) } else { Err(only_grows("nothing can be removed from them")) }
    }

    fn read(&mut self, account: &str, folder: &Folder, stem: &str, _line_feeds: bool) -> Result<Option<Message>> {
        let Some((place, file, len)) = self.file(account, folder)? else { return Ok(None) };
        let Some((at, octets)) = parse_stem(stem).filter(|(at, octets)| at + octets <= len) else { return Ok(None) };
        let damaged = || Error::local(format!("{}: no message lies at {stem}", place.path)).scoped(Scope::Message);
        let window = Window { file: &file, at, octets };
        let scanned = Scanner::new(&window, octets).and_then(|mut scanner| scanner.message());
        let stored = scanned.map_err(|_| damaged())?.filter(|stored| stored.at == 0).ok_or_else(damaged)?;
        let (mut digester, mut body) = (Digester::default(), Body::new());
        format::read(&window, &stored, &mut |piece| {
            digester.update(piece);
            body.push(piece)
        })?;
        Ok(Some(Message { body, digests: digester.finish(), internal_date: stored.date, flags: Vec::new() }))
    }

    fn check(&mut self, account: &str, folder: &Folder, stem: &str) -> Result<Option<(u64, Digest, String)>> {
        let Some((place, file, len)) = self.file(account, folder)? else { return Ok(None) };
        let Some((at, octets)) = parse_stem(stem).filter(|(at, _)| *at < len) else { return Ok(None) };
        let window = Window { file: &file, at, octets: octets.min(len - at) };
        let (octets, digest) = window.digest(&place.path)?;
        Ok(Some((octets, digest, place.path)))
    }

    fn path(&mut self, _account: &str, _folder: &Folder, _stem: &str) -> Result<Option<String>> {
        Ok(None)
    }

    fn whole(&mut self, account: &str, folder: &Folder) -> Result<Option<(Digest, String)>> {
        let Some((place, file, len)) = self.file(account, folder)? else { return Ok(None) };
        let (_, digest) = Window { file: &file, at: 0, octets: len }.digest(&place.path)?;
        Ok(Some((digest, place.path)))
    }

    fn scan(&mut self, account: &str, folder: &Folder, each: &mut dyn FnMut(Lying) -> Result<()>) -> Result<()> {
        let Some((place, file, len)) = self.file(account, folder)? else { return Ok(()) };
        let modified = place.dir.stat(&place.name)?.map_or(InternalDate { seconds: 0, offset: 0 }, |stat| files::date(&stat));
        let mut scanner = Scanner::new(&file, len).map_err(|error| error.at(&place.path))?;
        while let Some(stored) = scanner.message()? {
            let octets = scanner.position() - stored.at;
            let told = scanner.key(&stored)?.and_then(|key| names::parse_word(&key)).unwrap_or_default();
            each(Lying {
                stem: stem(stored.at, octets),
                path: place.path.clone(),
                octets,
                modified: stored.date.unwrap_or(modified),
                flags: Vec::new(),
                uid: told.uid,
                key: told.key,
            })?;
        }
        Ok(())
    }
}

impl Drop for MboxVault {
    fn drop(&mut self) {
        self.drop_staged();
    }
}
