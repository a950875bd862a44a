//! Maildirs: one alone, a Maildir++ (folders as `.A.B` beside `cur`), or a tree of nested ones; found out by looking. It
//! knows file names and flags in them; bytes go through as they are, and no symbolic link below the root is followed.

pub(super) mod keywords;
mod marks;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use self::keywords::Keywords;
use super::delivery::{Delivery, Destination, Filling, Steps};
use super::files::{self, Dir, MAX_DEPTH};
use super::{FolderInfo, Listed, ListedFlags, Listing, Outgoing, Placement, Sink, SinkState, Source, Wait};
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::imap::utf7;
use crate::message::{Digest, Flag, FlagSets, Message, Twins};

pub use marks::Marker;
pub(super) use marks::system_letter;

/// While a mail program keeps moving files, a listing starts over so many times before it is given up.
const LISTING_TRIES: usize = 20;
/// Files that moved are looked for again so many times within one reading.
const SEARCHES: usize = 16;

/// The letters of the standard, in the order they must be written.
pub(super) const LETTERS: [(char, &str); 6] =
    [('D', "\\Draft"), ('F', "\\Flagged"), ('P', "$Forwarded"), ('R', "\\Answered"), ('S', "\\Seen"), ('T', "\\Deleted")];

/// How folders lie below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `.A.B` directly below the root.
    PlusPlus,
    /// `A/B`.
    Nested,
}

/// A Maildir found on disk.
pub(super) struct Found {
    pub(super) folder: Folder,
    /// Its directory, one component after another below the root; empty for the root itself.
    pub(super) way: Vec<OsString>,
}

/// Messages out of a Maildir or a tree of them.
pub struct MaildirSource {
    root: PathBuf,
    found: Option<Vec<Found>>,
    /// The folder listed last.
    open: Option<Open>,
}

struct Open {
    dir: Dir,
    halves: [Option<Dir>; 2],
    keywords: Keywords,
    messages: Vec<Entry>,
}

struct Entry {
    /// Which half it was seen in: 0 for `new`, 1 for `cur`.
    half: usize,
    name: OsString,
    /// Content digest at the listing; `None` where it could not be read.
    digest: Option<Digest>,
}

const HALVES: [&str; 2] = ["new", "cur"];

impl MaildirSource {
    /// The Maildir or tree at `root`; nothing is read yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), found: None, open: None }
    }

    fn look(&mut self) -> Result<&[Found]> {
        if self.found.is_none() {
            let root = Dir::open(&self.root)?.ok_or_else(|| missing(&self.root))?;
            self.found = Some(look(&root)?);
        }
        Ok(self.found.as_deref().unwrap_or_default())
    }

    fn turn_to(&mut self, folder: &Folder) -> Result<Dir> {
        let place = self.place();
        let found = self.look()?;
        let way = found.iter().find(|one| one.folder == *folder).map(|one| one.way.clone());
        let way = way.ok_or_else(|| Error::usage(format!("there is no folder {folder}")).at(place))?;
        descend(&self.root, &way)?.ok_or_else(|| Error::local(format!("{folder}: its directory is gone")).scoped(Scope::Mailbox))
    }
}

fn missing(root: &Path) -> Error {
    Error::usage(format!("{}: there is no such directory", root.display()))
}

/// Opens the directory at the end of `way`, one component at a time, so that no link is followed anywhere.
fn descend(root: &Path, way: &[OsString]) -> Result<Option<Dir>> {
    let Some(mut dir) = Dir::open(root)? else { return Ok(None) };
    for component in way {
        match dir.child(component)? {
            Some(child) => dir = child,
            None => return Ok(None),
        }
    }
    Ok(Some(dir))
}

pub(super) fn is_maildir(dir: &Dir) -> Result<bool> {
    Ok(dir.child(OsStr::new("cur"))?.is_some() || dir.child(OsStr::new("new"))?.is_some())
}

/// All Maildirs at and below `root`, in a stable order, each under a name of its own.
pub(super) fn look(root: &Dir) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut taken = HashSet::new();
    if is_maildir(root)? {
        taken.insert(Folder::inbox());
        found.push(Found { folder: Folder::inbox(), way: Vec::new() });
    }
    walk(root, &[], &[], &mut found, &mut taken)?;
    Ok(found)
}

fn walk(dir: &Dir, way: &[OsString], levels: &[String], found: &mut Vec<Found>, taken: &mut HashSet<Folder>) -> Result<()> {
    if way.len() >= MAX_DEPTH {
        return Ok(());
    }
    for entry in dir.entries()? {
        if entry.kind != FileType::Directory || HALVES.iter().chain(&["tmp"]).any(|half| entry.name == *half) {
            continue;
        }
        let Some(child) = dir.child(&entry.name)? else { continue };
        let name = files::text(&entry.name);
        let dotted = name.strip_prefix('.').filter(|rest| !rest.is_empty());
        let mut below: Vec<String> = levels.to_vec();
        match dotted {
            Some(rest) => below.extend(rest.split('.').filter(|level| !level.is_empty()).map(decode_level)),
            None => below.push(decode_level(&name)),
        }
        let mut way = way.to_vec();
        way.push(entry.name);
        if is_maildir(&child)? {
            let cut = way.iter().any(|component| files::was_cut(&files::text(component)));
            let recorded = if cut { files::recorded_name(&child) } else { None };
            if let Some(folder) = recorded.or_else(|| Folder::from_levels(below.clone())) {
                found.push(Found { folder: files::unique(&folder, taken), way: way.clone() });
            }
        } else if dotted.is_some() {
            // Not a folder but some program's own: an index, a trash of its own.
            continue;
        }
        walk(&child, &way, &below, found, taken)?;
    }
    Ok(())
}

/// A level as earlier directories were named, in UTF-8. What other programs would take for modified UTF-7 does not stand there
/// plainly, so that no name says one level in this spelling and another in that of [`standard_level`].
fn plain_level(level: &str) -> String {
    let name = files::encode_level(level);
    if shifted(&name).is_some() { name.replace('&', "%26") } else { name }
}

/// A level as a new directory is named, in modified UTF-7 as Maildir++ has it: Dovecot up to 2.3 and Courier open none in UTF-8.
pub(super) fn standard_level(level: &str) -> String {
    String::from_utf8_lossy(&utf7::encode(&files::encode_level(level))).into_owned()
}

/// The level of a directory name: Courier and Dovecot write modified UTF-7.
fn decode_level(name: &str) -> String {
    let Some(text) = shifted(name) else { return files::decode_level_of(name, plain_level) };
    let level = files::decode_level_of(&text, files::encode_level);
    if standard_level(&level) == name { level } else { text }
}

/// What a name says in modified UTF-7, where that is something else than it says plainly.
fn shifted(name: &str) -> Option<String> {
    utf7::decode(name.as_bytes()).filter(|text| text != name && !text.chars().any(char::is_control))
}

/// The part of a file name that never changes, and the letters after it.
pub(super) fn split_name(name: &OsStr) -> (&[u8], &[u8]) {
    let bytes = name.as_bytes();
    match bytes.iter().position(|&byte| byte == b':') {
        Some(at) => {
            (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).and_then(|info| info.strip_prefix(b"2,")).unwrap_or_default())
        }
        None => (bytes, b""),
    }
}

pub(super) fn flags(letters: &[u8], keywords: &Keywords) -> Vec<Flag> {
    let known = LETTERS.iter().filter(|(letter, _)| letters.iter().any(|&byte| char::from(byte) == *letter));
    let mut flags: Vec<Flag> = known.map(|(_, flag)| Flag::new(*flag)).collect();
    for keyword in letters.iter().filter_map(|letter| keywords.keyword(*letter)) {
        if !flags.contains(&keyword) {
            flags.push(keyword);
        }
    }
    flags
}

/// Oldest first: by the time in the name, then by the numbers behind it, which count deliveries.
fn order(entry: &Entry) -> (Vec<files::Piece>, OsString) {
    let (unique, _) = split_name(&entry.name);
    (files::natural(unique), OsStr::from_bytes(unique).to_owned())
}

/// The regular files of both halves. Started over while names move about, because a file renamed behind the reader's back
/// would be missed: a listing that is not whole is none.
pub(super) fn names(halves: &[Option<Dir>; 2], place: &str) -> Result<Vec<(usize, OsString)>> {
    let mut before = None;
    for _ in 0..LISTING_TRIES {
        let stamps = stamp(halves)?;
        let mut names = Vec::new();
        // A listing is large: of the one before only this is kept.
        let mut hash = Sha256::new();
        for (half, dir) in halves.iter().enumerate() {
            let Some(dir) = dir else { continue };
            let entries = dir.entries()?.into_iter();
            let files = entries.filter(|entry| entry.kind == FileType::RegularFile && !entry.name.as_bytes().starts_with(b"."));
            names.extend(files.map(|entry| {
                hash.update(entry.name.as_bytes());
                hash.update([0]);
                (half, entry.name)
            }));
            hash.update(b"/");
        }
        let now = hash.finalize();
        if stamp(halves)? == stamps && (!recent(&stamps) || before == Some(now)) {
            return Ok(names);
        }
        before = Some(now);
    }
    Err(Error::new(Kind::Busy, "the folder changes all the time, so it cannot be listed").at(place).scoped(Scope::Mailbox))
}

/// Whether one of the stamps is so young that a further change may have left it as it is (they are made of clock ticks).
pub(super) fn recent(stamps: &[(i64, u64)]) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    stamps.iter().any(|(seconds, _)| *seconds >= now - 1)
}

pub(super) fn stamp(halves: &[Option<Dir>; 2]) -> Result<Vec<(i64, u64)>> {
    halves.iter().flatten().map(Dir::stamp).collect()
}

impl Open {
    fn new(dir: Dir) -> Result<Self> {
        let halves = [dir.child(OsStr::new("new"))?, dir.child(OsStr::new("cur"))?];
        let keywords = Keywords::read(&dir);
        Ok(Self { dir, halves, keywords, messages: Vec::new() })
    }

    fn file(&self, half: usize, name: &OsStr) -> Result<Option<(std::fs::File, rustix::fs::Stat)>> {
        match self.halves.get(half) {
            Some(Some(dir)) => dir.file(name),
            _ => Ok(None),
        }
    }

    fn path(&self, half: usize, name: &OsStr) -> PathBuf {
        self.dir.path().join(HALVES.get(half).copied().unwrap_or_default()).join(name)
    }

    /// Where the files are now, by the unique part of their names.
    fn locate(&self, place: &str) -> Result<HashMap<Vec<u8>, (usize, OsString)>> {
        let names = names(&self.halves, place)?.into_iter();
        Ok(names.map(|(half, name)| (split_name(&name).0.to_vec(), (half, name))).collect())
    }

    fn list(&mut self, place: &str) -> Result<Listing> {
        let mut all: Vec<Entry> = names(&self.halves, place)?.into_iter().map(|(half, name)| Entry { half, name, digest: None }).collect();
        all.sort_by_cached_key(order);
        let mut listing = Listing::default();
        let mut twins = Twins::default();
        // Two names of one file are one message: a delivery by link and unlink was cut between the two.
        // (Messages that a server copied by linking share a file too, but under unique parts of their own.)
        let mut seen: HashSet<(Vec<u8>, (u64, u64))> = HashSet::new();
        let mut moved: Option<HashMap<Vec<u8>, (usize, OsString)>> = None;
        for mut entry in all {
            let mut opened = self.file(entry.half, &entry.name);
            if let Ok(None) = opened {
                if moved.is_none() {
                    moved = Some(self.locate(place)?);
                }
                let now = moved.as_ref().and_then(|moved| moved.get(split_name(&entry.name).0));
                let Some((half, name)) = now else { continue };
                (entry.half, entry.name) = (*half, name.clone());
                opened = self.file(entry.half, &entry.name);
            }
            let (key, size, internal_date) = match opened {
                Ok(None) => continue,
                Ok(Some((_, stat))) if !seen.insert((split_name(&entry.name).0.to_vec(), files::identity(&stat))) => continue,
                Ok(Some((file, stat))) => {
                    // A file that cannot be read is listed all the same: reading it names the trouble.
                    entry.digest = files::digests(&file, &self.path(entry.half, &entry.name)).ok().map(|digests| digests.content);
                    let key = entry.digest.map(|digest| twins.key(digest));
                    (key, u64::try_from(stat.st_size).ok(), Some(files::date(&stat)))
                }
                Err(error) if error.scope() == Scope::Message => (None, None, None),
                Err(error) => return Err(error),
            };
            let id = u32::try_from(self.messages.len()).map_err(|_| Error::local("more messages than can be counted").at(place))?;
            listing.messages.push(Listed { id, key, size, internal_date });
            self.messages.push(entry);
        }
        Ok(listing)
    }

    /// Reads one message; `None` when it is gone.
    fn read(&self, entry: &Entry, moves: &mut Moves, place: &str) -> Result<Option<Message>> {
        let unique = split_name(&entry.name).0;
        let (mut half, mut name) = (entry.half, entry.name.clone());
        loop {
            if let Some((file, stat)) = self.file(half, &name)? {
                let path = self.path(half, &name);
                let mut message = files::message(&file, &stat, &path)?;
                if entry.digest.is_some_and(|digest| digest != message.digests.content) {
                    return Err(files::changed(&path));
                }
                message.flags = flags(split_name(&name).1, &self.keywords);
                return Ok(Some(message));
            }
            // A mail program marked it or moved it from new to cur.
            match moves.find(unique, (half, &name), || self.locate(place))? {
                Some(now) => (half, name) = now,
                None => return Ok(None),
            }
        }
    }
}

impl Open {
    fn remove(&self, entry: &Entry, content: Digest, moves: &mut Moves, place: &str, context: &Context) -> Result<()> {
        let unique = split_name(&entry.name).0;
        let (mut half, mut name) = (entry.half, entry.name.clone());
        loop {
            if let (Some((file, _)), Some(Some(dir))) = (self.file(half, &name)?, self.halves.get(half)) {
                let path = self.path(half, &name);
                if files::digests(&file, &path)?.content != content {
                    return Err(files::changed(&path));
                }
                context.step("maildir.unlink");
                return dir.unlink(&name);
            }
            match moves.find(unique, (half, &name), || self.locate(place))? {
                Some(now) => (half, name) = now,
                None => return Ok(()),
            }
        }
    }
}

/// Where files went, looked up at most [`SEARCHES`] times.
#[derive(Default)]
struct Moves {
    now: HashMap<Vec<u8>, (usize, OsString)>,
    searches: usize,
}

impl Moves {
    fn find(
        &mut self,
        unique: &[u8],
        not: (usize, &OsStr),
        locate: impl FnOnce() -> Result<HashMap<Vec<u8>, (usize, OsString)>>,
    ) -> Result<Option<(usize, OsString)>> {
        let elsewhere =
            |now: &HashMap<Vec<u8>, (usize, OsString)>| now.get(unique).filter(|(half, name)| (*half, name.as_os_str()) != not).cloned();
        if let Some(found) = elsewhere(&self.now) {
            return Ok(Some(found));
        }
        if self.searches >= SEARCHES {
            return Ok(None);
        }
        self.searches += 1;
        self.now = locate()?;
        Ok(elsewhere(&self.now))
    }
}

impl MaildirSource {
    /// Takes messages of the folder listed last away for ever, durably, each only while its content is still the one given,
    /// and tells of each whether it is gone.
    ///
    /// # Errors
    /// Local trouble that ends all.
    pub fn remove(&mut self, wanted: &[(u32, Digest)], context: &Context, each: &mut dyn FnMut(usize, Result<()>)) -> Result<()> {
        let place = self.place();
        let open = self.open.as_ref().ok_or_else(|| Error::local("no folder was listed").at(&place))?;
        let mut moves = Moves::default();
        for (index, (id, content)) in wanted.iter().enumerate() {
            context.check()?;
            let entry = usize::try_from(*id).ok().and_then(|id| open.messages.get(id));
            let entry = entry.ok_or_else(|| Error::local(format!("no message {id} was listed")).at(&place))?;
            match open.remove(entry, *content, &mut moves, &place, context) {
                Err(error) if error.scope() == Scope::Run && error.kind() != crate::error::Kind::Local => return Err(error),
                outcome => each(index, outcome),
            }
        }
        open.halves.iter().flatten().try_for_each(Dir::sync)
    }
}

impl Source for MaildirSource {
    fn place(&self) -> String {
        format!("maildir:{}", self.root.display())
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        self.found = None;
        let found = self.look()?.iter();
        Ok(found.map(|one| FolderInfo { folder: one.folder.clone(), special_use: None, subscribed: true, selectable: true }).collect())
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.open = None;
        let mut open = Open::new(self.turn_to(folder)?)?;
        let listing = open.list(&self.place())?;
        self.open = Some(open);
        Ok(listing)
    }

    fn list_with_flags(&mut self, folder: &Folder) -> Result<(Listing, ListedFlags)> {
        let listing = self.list(folder)?;
        let mut sets = FlagSets::default();
        let told = self.open.iter().flat_map(|open| open.messages.iter().map(|entry| (entry, &open.keywords)));
        let of = told.map(|(entry, keywords)| sets.add(&flags(split_name(&entry.name).1, keywords))).collect();
        Ok((listing, ListedFlags::new(sets, of)))
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let place = self.place();
        let open = self.open.as_ref().ok_or_else(|| Error::local("no folder was listed").at(&place))?;
        let mut moves = Moves::default();
        for (index, listed) in wanted.iter().enumerate() {
            let entry = usize::try_from(listed.id).ok().and_then(|id| open.messages.get(id));
            let entry = entry.ok_or_else(|| Error::local(format!("no message {} was listed", listed.id)).at(&place))?;
            match open.read(entry, &mut moves, &place) {
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

/// Messages into a Maildir or a tree of them, as mail programs deliver: through `tmp`, never replacing a file.
pub struct MaildirSink {
    root: PathBuf,
    context: Context,
    layout: Option<Layout>,
    /// Where the folders lay that were there when the first one was opened, whatever program named them: there they stay.
    known: HashMap<Folder, Vec<OsString>>,
    open: Filling<MaildirSource>,
    /// `P<pid>R<random>`: what makes names of this sink its own.
    mark: String,
    count: u64,
    host: String,
    /// The folder turned to, and what letters mean there.
    noted: Option<(Dir, Keywords)>,
    /// Keywords that get no letter there.
    roomless: Vec<Flag>,
}

impl MaildirSink {
    /// The Maildir or tree at `root`, which may not exist yet.
    pub fn new(root: impl Into<PathBuf>, context: Context) -> Self {
        Self {
            root: root.into(),
            context,
            layout: None,
            known: HashMap::new(),
            open: Filling::default(),
            mark: format!("P{}R{}", std::process::id(), files::nonce()),
            count: 0,
            host: host(),
            noted: None,
            roomless: Vec::new(),
        }
    }

    /// The letters of keywords in the open folder, new ones being noted there; and the keywords that get none.
    fn keyword_letters(&mut self, keywords: &[Flag]) -> Result<(BTreeSet<u8>, Vec<Flag>)> {
        let Some((dir, noted)) = &mut self.noted else { return Ok((BTreeSet::new(), keywords.to_vec())) };
        let wanted: Vec<Flag> = keywords.iter().filter(|keyword| !self.roomless.contains(keyword)).cloned().collect();
        match noted.add(dir, &wanted, &self.context) {
            // A list that somebody keeps locked costs a keyword, which is told, and no message.
            Err(error) if error.kind() == Kind::Busy => {}
            other => other?,
        }
        let left: Vec<Flag> = keywords.iter().filter(|keyword| noted.letter(keyword).is_none()).cloned().collect();
        self.roomless.extend(left.iter().filter(|keyword| !self.roomless.contains(keyword)).cloned().collect::<Vec<_>>());
        Ok((keywords.iter().filter_map(|keyword| noted.letter(keyword)).collect(), left))
    }

    /// A tree that lies nested stays so; anything else is (or becomes) a Maildir++.
    fn layout(&mut self, root: &Dir) -> Result<Layout> {
        if let Some(layout) = self.layout {
            return Ok(layout);
        }
        let found = look(root)?;
        let nested = |one: &Found| one.way.first().is_some_and(|first| !first.as_bytes().starts_with(b"."));
        let layout = if found.iter().any(nested) && found.iter().all(|one| one.way.is_empty() || nested(one)) {
            Layout::Nested
        } else {
            Layout::PlusPlus
        };
        self.layout = Some(layout);
        self.known = found.into_iter().map(|one| (one.folder, one.way)).collect();
        Ok(layout)
    }

    /// The components below the root where `folder` lies.
    fn way(folder: &Folder, layout: Layout, root_is_inbox: bool) -> Vec<OsString> {
        let levels = folder.levels().iter().map(|level| standard_level(level));
        match layout {
            _ if folder.is_inbox() && root_is_inbox => Vec::new(),
            Layout::PlusPlus => vec![files::fit(format!(".{}", levels.collect::<Vec<_>>().join("."))).into()],
            Layout::Nested => levels.map(|level| files::fit(level).into()).collect(),
        }
    }
}

/// This machine's name as it may stand in a file name.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let clean: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    let clean = clean.replace('/', "\\057").replace(':', "\\072");
    if clean.is_empty() { "localhost".to_owned() } else { clean }
}

impl Sink for MaildirSink {
    fn place(&self) -> String {
        format!("maildir:{}", self.root.display())
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        if Dir::open(&self.root)?.is_none() {
            return Ok(Vec::new());
        }
        MaildirSource::new(&self.root).folders()
    }

    fn is_numbered(&self) -> bool {
        false
    }

    fn open(&mut self, info: &FolderInfo, create: bool) -> Result<Option<SinkState>> {
        self.open.close()?;
        let root = if create { Some(Dir::make(&self.root)?) } else { Dir::open(&self.root)? };
        let Some(root) = root else { return Ok(None) };
        let layout = self.layout(&root)?;
        let way = match self.known.get(&info.folder) {
            Some(way) => way.clone(),
            None => Self::way(&info.folder, layout, layout == Layout::PlusPlus || is_maildir(&root)?),
        };
        let mut dir = root.again()?;
        for component in &way {
            let child = if create { Some(dir.make_child(component)?) } else { dir.child(component)? };
            let Some(child) = child else { return Ok(None) };
            dir = child;
        }
        if !create && !is_maildir(&dir)? {
            return Ok(None);
        }
        let [tmp, new, cur] = ["tmp", "new", "cur"].map(|name| dir.make_child(OsStr::new(name)));
        if way.iter().any(|component| files::was_cut(&files::text(component))) {
            files::record_name(&dir, &info.folder)?;
        }
        self.noted = Some((dir.again()?, Keywords::read(&dir)));
        self.roomless.clear();
        let steps = Steps { sync: "maildir.sync", rename: "maildir.rename" };
        self.open.turn(info.folder.clone(), Delivery::new(self.context.clone(), steps, tmp?, vec![new?, cur?], false));
        Ok(Some(SinkState::default()))
    }

    fn append(&mut self, outgoing: Outgoing) -> Result<()> {
        self.count += 1;
        let unique = format!("{}.{}Q{}.{}", self.context.unix_time(), self.mark, self.count, self.host);
        let mut letters = String::new();
        let mut altered = Vec::new();
        for (letter, flag) in LETTERS {
            if outgoing.message.flags.contains(&Flag::new(flag)) {
                letters.push(letter);
            }
        }
        let is_keyword = |flag: &&Flag| !flag.is_recent() && !LETTERS.iter().any(|(_, known)| Flag::new(*known) == **flag);
        let keywords: Vec<Flag> = outgoing.message.flags.iter().filter(is_keyword).cloned().collect();
        if !keywords.is_empty() {
            let (more, left) = self.keyword_letters(&keywords)?;
            letters.extend(more.into_iter().map(char::from));
            altered.extend(left.iter().map(|flag| format!("the Maildir has no room for the keyword {flag}")));
        }
        // A message without any flag is new; one with flags has been seen by some program.
        let (target, ending) = if letters.is_empty() { (0, String::new()) } else { (1, format!(":2,{letters}")) };
        self.open.delivery()?.stage(&outgoing, Destination { temporary: unique.clone(), target, stem: unique, ending, altered })
    }

    fn look(&mut self, _first: u32) -> Result<Listing> {
        self.open.look(MaildirSource::new(&self.root))
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
mod tests;
