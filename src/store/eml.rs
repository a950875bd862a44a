//! Folders of `.eml` files, one message each, or one such file. Folders other than INBOX are directories below. It knows
//! names of files and nothing of what is in them; flags have no place here.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::delivery::{Delivery, Destination, Filling, Steps};
use super::files::{self, Dir, MAX_DEPTH};
use super::{FolderInfo, Listed, Listing, Outgoing, Placement, Sink, SinkState, Source, Wait, flags_left_out};
use crate::context::Context;
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Digest, Message, Twins};

/// Messages out of a folder of `.eml` files, or out of one file.
pub struct EmlSource {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    dir: Dir,
    messages: Vec<(OsString, Option<Digest>)>,
}

/// Where the messages of one folder lie.
struct Found {
    folder: Folder,
    dir: Dir,
    /// The one file that is the whole place.
    only: Option<OsString>,
}

impl EmlSource {
    /// The folder or file at `path`; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), open: None }
    }

    fn look(&self) -> Result<Vec<Found>> {
        let kind = std::fs::metadata(&self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::usage(format!("{}: there is no such file or directory", self.path.display())),
            _ => Error::io(self.path.display(), error),
        })?;
        if !kind.is_dir() {
            // The path is the user's, so a link at its end is followed.
            let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
            let name = path.file_name().ok_or_else(|| Error::usage(format!("{}: not a file", self.path.display())))?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let dir = Dir::open(parent)?.ok_or_else(|| Error::usage(format!("{}: there is no such directory", parent.display())))?;
            return Ok(vec![Found { folder: Folder::inbox(), dir, only: Some(name.to_owned()) }]);
        }
        let root = Dir::open(&self.path)?.ok_or_else(|| Error::usage(format!("{}: there is no such directory", self.path.display())))?;
        let mut taken = HashSet::from([Folder::inbox()]);
        let mut below = Vec::new();
        walk(&root, &[], &mut below, &mut taken)?;
        let mut found = vec![Found { folder: Folder::inbox(), dir: root, only: None }];
        found.append(&mut below);
        Ok(found)
    }
}

fn is_eml(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !bytes.starts_with(b".") && bytes.len() > 4 && bytes.get(bytes.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case(b".eml"))
}

fn walk(dir: &Dir, levels: &[String], found: &mut Vec<Found>, taken: &mut HashSet<Folder>) -> Result<()> {
    if levels.len() >= MAX_DEPTH {
        return Ok(());
    }
    for entry in dir.entries()? {
        if entry.kind != FileType::Directory || entry.name.as_bytes().starts_with(b".") {
            continue;
        }
        let Some(child) = dir.child(&entry.name)? else { continue };
        let name = files::text(&entry.name);
        let mut below = levels.to_vec();
        below.push(files::decode_level(&name));
        walk(&child, &below, found, taken)?;
        let holds_messages = child.entries()?.iter().any(|entry| entry.kind == FileType::RegularFile && is_eml(&entry.name));
        let recorded = files::recorded_name(&child);
        if let Some(folder) = recorded.or_else(|| Folder::from_levels(below)).filter(|_| holds_messages) {
            found.push(Found { folder: files::unique(&folder, taken), dir: child, only: None });
        }
    }
    Ok(())
}

impl EmlSource {
    /// Takes messages of the folder listed last away for ever, durably, each only while its content is still the one given,
    /// and tells of each whether it is gone.
    ///
    /// # Errors
    /// Local trouble that ends all.
    pub fn remove(&mut self, wanted: &[(u32, Digest)], context: &Context, each: &mut dyn FnMut(usize, Result<()>)) -> Result<()> {
        let place = self.place();
        let open = self.open.as_ref().ok_or_else(|| Error::local("no folder was listed").at(&place))?;
        for (index, (id, content)) in wanted.iter().enumerate() {
            context.check()?;
            let entry = usize::try_from(*id).ok().and_then(|id| open.messages.get(id));
            let (name, _) = entry.ok_or_else(|| Error::local(format!("no message {id} was listed")).at(&place))?;
            each(index, remove_one(&open.dir, name, *content, context));
        }
        open.dir.sync()
    }
}

fn remove_one(dir: &Dir, name: &OsStr, content: Digest, context: &Context) -> Result<()> {
    let Some((file, _)) = dir.file(name)? else { return Ok(()) };
    let path = dir.path().join(name);
    if files::digests(&file, &path)?.content != content {
        return Err(files::changed(&path));
    }
    context.step("eml.unlink");
    dir.unlink(name)
}

impl Source for EmlSource {
    fn place(&self) -> String {
        format!("eml:{}", self.path.display())
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        let found = self.look()?.into_iter();
        Ok(found.map(|one| FolderInfo { folder: one.folder, special_use: None, subscribed: true, selectable: true }).collect())
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.open = None;
        let found = self.look()?.into_iter().find(|one| one.folder == *folder);
        let found = found.ok_or_else(|| Error::usage(format!("there is no folder {folder}")).at(self.place()))?;
        let mut names: Vec<OsString> = match found.only {
            Some(name) => vec![name],
            None => {
                let entries = found.dir.entries()?.into_iter();
                entries.filter(|entry| entry.kind == FileType::RegularFile && is_eml(&entry.name)).map(|entry| entry.name).collect()
            }
        };
        // Names that differ in leading zeros alone keep one order too.
        names.sort();
        names.sort_by_cached_key(|name| files::natural(name.as_bytes()));
        let mut listing = Listing::default();
        let mut messages = Vec::new();
        let mut twins = Twins::default();
        for name in names {
            let (digest, size, internal_date) = match found.dir.file(&name) {
                Ok(None) => continue,
                Ok(Some((file, stat))) => {
                    let digest = files::digests(&file, &found.dir.path().join(&name)).ok().map(|digests| digests.content);
                    (digest, u64::try_from(stat.st_size).ok(), Some(files::date(&stat)))
                }
                // Listed all the same: reading it names the trouble.
                Err(error) if error.scope() == Scope::Message => (None, None, None),
                Err(error) => return Err(error),
            };
            let key = digest.map(|digest| twins.key(digest));
            let id = u32::try_from(messages.len()).map_err(|_| Error::local("more messages than can be counted").at(self.place()))?;
            listing.messages.push(Listed { id, key, size, internal_date });
            messages.push((name, digest));
        }
        self.open = Some(Open { dir: found.dir, messages });
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let place = self.place();
        let open = self.open.as_ref().ok_or_else(|| Error::local("no folder was listed").at(&place))?;
        for (index, listed) in wanted.iter().enumerate() {
            let entry = usize::try_from(listed.id).ok().and_then(|id| open.messages.get(id));
            let (name, digest) = entry.ok_or_else(|| Error::local(format!("no message {} was listed", listed.id)).at(&place))?;
            match read_one(&open.dir, name, *digest) {
                Ok(Some(message)) => each(index, Ok(message))?,
                Ok(None) => {}
                Err(error) if error.scope() == Scope::Message => each(index, Err(error))?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.open = None;
        Ok(())
    }
}

fn read_one(dir: &Dir, name: &OsStr, digest: Option<Digest>) -> Result<Option<Message>> {
    let Some((file, stat)) = dir.file(name)? else { return Ok(None) };
    let path = dir.path().join(name);
    let message = files::message(&file, &stat, &path)?;
    if digest.is_some_and(|digest| digest != message.digests.content) {
        return Err(files::changed(&path));
    }
    Ok(Some(message))
}

/// Messages into a folder of `.eml` files, named by their tickets; no file is ever replaced.
pub struct EmlSink {
    root: PathBuf,
    context: Context,
    open: Filling<EmlSource>,
    mark: String,
    count: u64,
    /// The number of the last file of the open folder, where files are numbered on and not named by tickets.
    last: Option<u64>,
}

impl EmlSink {
    /// The folder at `root`, which may not exist yet.
    pub fn new(root: impl Into<PathBuf>, context: Context) -> Self {
        Self {
            root: root.into(),
            context,
            open: Filling::default(),
            mark: format!(".mailhaul.{}.{}", std::process::id(), files::nonce()),
            count: 0,
            last: None,
        }
    }

    /// The same for messages without numbers of their own: each gets the next one of its folder, whatever stands there, and
    /// flags that are left out are told of.
    #[must_use]
    pub fn numbering(mut self) -> Self {
        self.last = Some(0);
        self
    }

    /// Whether a file of the open folder already holds just these bytes under the name (or a further one) of `ticket`.
    ///
    /// # Errors
    /// No folder is open.
    pub fn holds(&self, ticket: u64, exact: Digest) -> Result<bool> {
        self.open.holds(&stem(ticket), ENDING, exact)
    }
}

const ENDING: &str = ".eml";

/// The highest number with which the name of a message's file begins (`000123.eml`, `000123-2.eml`); 0 where there is none.
fn last_number(dir: &Dir) -> Result<u64> {
    let number = |name: &OsStr| {
        let text = files::text(name);
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text.get(..digits)?.parse::<u64>().ok()
    };
    Ok(dir.entries()?.iter().filter(|entry| is_eml(&entry.name)).filter_map(|entry| number(&entry.name)).max().unwrap_or(0))
}

fn stem(ticket: u64) -> String {
    format!("{ticket:06}")
}

impl Sink for EmlSink {
    fn place(&self) -> String {
        format!("eml:{}", self.root.display())
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        if Dir::open(&self.root)?.is_none() {
            return Ok(Vec::new());
        }
        EmlSource::new(&self.root).folders()
    }

    fn is_numbered(&self) -> bool {
        false
    }

    fn open(&mut self, info: &FolderInfo, create: bool) -> Result<Option<SinkState>> {
        self.open.close()?;
        let root = if create { Some(Dir::make(&self.root)?) } else { Dir::open(&self.root)? };
        let Some(mut dir) = root else { return Ok(None) };
        let levels: &[String] = if info.folder.is_inbox() { &[] } else { info.folder.levels() };
        let mut cut = false;
        for name in files::nested(levels) {
            cut |= files::was_cut(&files::text(&name));
            let child = if create { Some(dir.make_child(&name)?) } else { dir.child(&name)? };
            let Some(child) = child else { return Ok(None) };
            dir = child;
        }
        if cut {
            files::record_name(&dir, &info.folder)?;
        }
        let by_ticket = self.last.is_none();
        if !by_ticket {
            self.last = Some(last_number(&dir)?);
        }
        let steps = Steps { sync: "eml.sync", rename: "eml.rename" };
        self.open.turn(info.folder.clone(), Delivery::new(self.context.clone(), steps, dir.again()?, vec![dir], by_ticket));
        Ok(Some(SinkState::default()))
    }

    fn append(&mut self, outgoing: Outgoing) -> Result<()> {
        self.count += 1;
        let mut number = outgoing.ticket;
        if let Some(last) = &mut self.last {
            *last = last.saturating_add(1);
            number = *last;
        }
        let destination = Destination {
            temporary: format!("{}.{}", self.mark, self.count),
            target: 0,
            stem: stem(number),
            ending: ENDING.to_owned(),
            // Whoever asked for files knows that they have no room for flags; whoever moves a house may not.
            altered: self.last.and_then(|_| flags_left_out(&outgoing.message)).into_iter().collect(),
        };
        self.open.delivery()?.stage(&outgoing, destination)
    }

    fn look(&mut self, _first: u32) -> Result<Listing> {
        self.open.look(EmlSource::new(&self.root))
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        self.open.read(wanted, each)
    }

    fn settle(&mut self, wait: Wait) -> Result<Vec<Placement>> {
        self.open.settle(wait)
    }

    fn finish(&mut self) -> Result<()> {
        self.open.abandon();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::Outcome;
    use super::*;
    use crate::message::Body;

    fn info(folder: &Folder) -> FolderInfo {
        FolderInfo { folder: folder.clone(), special_use: None, subscribed: true, selectable: true }
    }

    fn outgoing(ticket: u64, bytes: &[u8]) -> Outgoing {
        let body = Body::from(bytes.to_vec());
        let digests = body.digests().unwrap();
        Outgoing { ticket, message: Message { body, digests, internal_date: None, flags: vec![] } }
    }

    fn write(root: &Path, folder: &Folder, messages: &[(u64, &[u8])]) {
        let mut sink = EmlSink::new(root, Context::from_environment());
        sink.open(&info(folder), true).unwrap();
        messages.iter().for_each(|(ticket, bytes)| sink.append(outgoing(*ticket, bytes)).unwrap());
        let placements = sink.settle(Wait::All).unwrap();
        assert_eq!(placements.len(), messages.len());
        assert!(placements.iter().all(|placement| matches!(placement.outcome, Outcome::Stored { .. })));
    }

    fn files(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn contents(path: &Path, folder: &Folder) -> (Vec<Vec<u8>>, usize) {
        let mut source = EmlSource::new(path);
        let listing = source.list(folder).unwrap();
        let (mut read, mut failed) = (Vec::new(), 0);
        source
            .read(&listing.messages, &mut |_, message| {
                match message {
                    Ok(message) => read.push(message.body.prefix(usize::MAX).unwrap()),
                    Err(_) => failed += 1,
                }
                Ok(())
            })
            .unwrap();
        (read, failed)
    }

    #[test]
    fn messages_get_numbered_files_and_come_back_in_that_order() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &Folder::inbox(), &[(10, b"ten\r\n"), (9, b"nine\0"), (1_000_000, b"")]);
        assert_eq!(files(root.path()), ["000009.eml", "000010.eml", "1000000.eml"]);
        assert_eq!(contents(root.path(), &Folder::inbox()).0, [b"nine\0".to_vec(), b"ten\r\n".to_vec(), vec![]]);
    }

    #[test]
    fn no_file_is_replaced_and_an_identical_one_is_left() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &Folder::inbox(), &[(1, b"a")]);
        write(root.path(), &Folder::inbox(), &[(1, b"a")]);
        assert_eq!(files(root.path()), ["000001.eml"]);
        write(root.path(), &Folder::inbox(), &[(1, b"b")]);
        assert_eq!(files(root.path()), ["000001-2.eml", "000001.eml"]);
        assert_eq!(fs::read(root.path().join("000001.eml")).unwrap(), b"a");
        assert_eq!(fs::read(root.path().join("000001-2.eml")).unwrap(), b"b");
    }

    #[test]
    fn two_identical_messages_of_one_run_are_two_files() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &Folder::inbox(), &[(1, b"a"), (1, b"a")]);
        assert_eq!(files(root.path()).len(), 2);
    }

    #[test]
    fn a_link_planted_under_the_wanted_name_is_neither_followed_nor_replaced() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path().join("target"), root.path().join("000001.eml")).unwrap();
        write(root.path(), &Folder::inbox(), &[(1, b"a")]);
        assert!(files(outside.path()).is_empty());
        assert_eq!(fs::read(root.path().join("000001-2.eml")).unwrap(), b"a");
    }

    #[test]
    fn other_folders_are_directories_below_and_hostile_names_stay_there() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("store");
        let wanted =
            [&["../x"][..], &["a", ".."], &["a", "b"], &["x.eml"]].map(|levels| Folder::from_levels(levels.iter().copied()).unwrap());
        for folder in &wanted {
            write(&root, folder, &[(1, folder.to_string().as_bytes())]);
        }
        assert_eq!(files(outer.path()), ["store"]);
        for folder in &wanted {
            assert_eq!(contents(&root, folder).0, [folder.to_string().into_bytes()]);
        }
        assert_eq!(EmlSource::new(&root).folders().unwrap().len(), wanted.len() + 1);
    }

    #[test]
    fn one_file_is_a_place_and_other_files_are_no_messages() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a.EML", "b.txt", ".c.eml"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("f.eml"), rustix::fs::Mode::RWXU).unwrap();
        symlink("/etc/hostname", root.path().join("l.eml")).unwrap();
        assert_eq!(contents(root.path(), &Folder::inbox()), (vec![b"a.EML".to_vec()], 0));
        assert_eq!(contents(&root.path().join("b.txt"), &Folder::inbox()), (vec![b"b.txt".to_vec()], 0));
        assert_eq!(contents(&root.path().join("f.eml"), &Folder::inbox()), (vec![], 1));
        symlink("a.EML", root.path().join("named")).unwrap();
        assert_eq!(contents(&root.path().join("named"), &Folder::inbox()), (vec![b"a.EML".to_vec()], 0));
        assert!(EmlSource::new(root.path().join("none")).folders().is_err());
    }
}
