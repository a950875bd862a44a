//! One side of a comparison as something that can be read although sessions get lost: opened again, listed again, and a message
//! that costs every session put aside. It compares nothing.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::message::{Key, Message};
use crate::report::{Event, Report};
use crate::store::{FolderInfo, Listed, ListedFlags, Listing, Source};
use crate::transfer::Open;
use crate::transfer::ends::{FIRST_PAUSE, LAST_PAUSE, MAX_LOSSES};

/// A message at which so many sessions were lost is put aside.
const MAX_LOSSES_OF_ONE: u32 = 3;

/// Takes a message's place in the list, and it or why it cannot be had.
pub(super) type Each<'e, T> = &'e mut dyn FnMut(usize, Result<T>) -> Result<()>;

/// The side.
pub(super) struct Reader<'a> {
    open: Open<'a, dyn Source>,
    context: &'a Context,
    report: &'a dyn Report,
    source: Option<Box<dyn Source>>,
    /// Sessions lost in a row without anything read.
    losses: u32,
    /// Messages put aside in a row without anything read.
    vain: u32,
    /// The folder that the session listed last.
    at: Option<Folder>,
}

/// What a side tells of a folder.
pub(super) struct Told {
    pub(super) listing: Listing,
    /// Unique-ids that are no keys, by place in the listing, rising.
    pub(super) uidls: Vec<(usize, String)>,
    pub(super) flags: ListedFlags,
}

/// What to read of a message.
trait Part {
    type Got;
    fn read(source: &mut dyn Source, wanted: &[Listed], each: Each<'_, Self::Got>) -> Result<()>;
}

struct Head;
struct All;

impl Part for Head {
    type Got = Vec<u8>;
    fn read(source: &mut dyn Source, wanted: &[Listed], each: Each<'_, Vec<u8>>) -> Result<()> {
        source.headers(wanted, each)
    }
}

impl Part for All {
    type Got = Message;
    fn read(source: &mut dyn Source, wanted: &[Listed], each: Each<'_, Message>) -> Result<()> {
        source.read(wanted, each)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(open: Open<'a, dyn Source>, context: &'a Context, report: &'a dyn Report) -> Self {
        Self { open, context, report, source: None, losses: 0, vain: 0, at: None }
    }

    /// Opens it for the first time: what is wrong with names and passwords shows here, at once.
    pub(super) fn connect(&mut self) -> Result<()> {
        self.source = Some((self.open)()?);
        Ok(())
    }

    pub(super) fn place(&self) -> String {
        self.source.as_ref().map(|source| source.place()).unwrap_or_default()
    }

    pub(super) fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        self.insist(|source| source.folders())
    }

    /// The listing of a folder, and all else that is told of its messages.
    pub(super) fn list(&mut self, folder: &Folder) -> Result<Told> {
        self.at = None;
        let told = self.insist(|source| {
            let (listing, flags) = source.list_with_flags(folder)?;
            let shared = |listed: &Listed| if matches!(listed.key, Some(Key::Uidl { .. })) { None } else { source.unique_id(listed) };
            let uidls = listing.messages.iter().enumerate().filter_map(|(at, listed)| Some((at, shared(listed)?))).collect();
            Ok(Told { listing, uidls, flags })
        })?;
        self.at = Some(folder.clone());
        Ok(told)
    }

    /// X-GM-MSGID of messages of `folder`, by UID.
    pub(super) fn gmail_ids(&mut self, folder: &Folder, wanted: &[Listed]) -> Result<HashMap<u32, u64>> {
        let mut listed = self.source.is_some() && self.at.as_ref() == Some(folder);
        let found = self.insist(|source| {
            if !std::mem::take(&mut listed) {
                source.list(folder)?;
            }
            source.gmail_ids(wanted)
        })?;
        self.at = Some(folder.clone());
        Ok(found)
    }

    /// The headers of `wanted` out of `folder`, each handed over once: what cannot be read, and what went away, as an error.
    pub(super) fn headers(&mut self, folder: &Folder, wanted: &[Listed], each: Each<'_, Vec<u8>>) -> Result<()> {
        self.read::<Head>(folder, wanted, each)
    }

    /// The messages `wanted` out of `folder`, as [`Self::headers`].
    pub(super) fn whole(&mut self, folder: &Folder, wanted: &[Listed], each: Each<'_, Message>) -> Result<()> {
        self.read::<All>(folder, wanted, each)
    }

    fn read<P: Part>(&mut self, folder: &Folder, wanted: &[Listed], each: Each<'_, P::Got>) -> Result<()> {
        let mut open: BTreeSet<usize> = (0..wanted.len()).collect();
        let mut blamed: HashMap<usize, u32> = HashMap::new();
        let mut alone: Option<usize> = None;
        while !open.is_empty() {
            self.context.check()?;
            let indexes: Vec<usize> = alone.take().map_or_else(|| open.iter().copied().collect(), |index| vec![index]);
            let now = match self.named_again(folder, wanted, &indexes) {
                Ok(now) => now,
                Err(error) => {
                    self.lose(error)?;
                    continue;
                }
            };
            // What the listing of now lacks went away.
            for index in indexes.iter().zip(&now).filter(|(_, listed)| listed.is_none()).map(|(index, _)| *index) {
                open.remove(&index);
                each(index, Err(gone()))?;
            }
            let (asked, now): (Vec<usize>, Vec<Listed>) =
                indexes.iter().zip(now).filter_map(|(index, listed)| Some((*index, listed?))).unzip();
            let Some(source) = &mut self.source else { continue };
            let mut got = 0_u64;
            let mut refused = None;
            let outcome = P::read(source.as_mut(), &now, &mut |at, outcome| {
                let Some(&index) = asked.get(at) else { return Ok(()) };
                // A source that hands one over twice is heard once.
                if open.remove(&index) {
                    got += 1;
                    each(index, outcome).inspect_err(|_| refused = Some(()))?;
                }
                Ok(())
            });
            if got > 0 {
                self.losses = 0;
                self.vain = 0;
            }
            match outcome {
                Ok(()) => {
                    for index in asked {
                        if open.remove(&index) {
                            each(index, Err(gone()))?;
                        }
                    }
                }
                Err(error) if refused.is_some() => return Err(error),
                Err(error) => {
                    let stuck = self.source.as_ref().and_then(|source| source.stuck_at());
                    let named = stuck.and_then(|id| now.iter().position(|listed| listed.id == id)).and_then(|at| asked.get(at).copied());
                    let suspect =
                        named.filter(|index| open.contains(index)).or_else(|| asked.into_iter().find(|index| open.contains(index)));
                    let words = error.to_string();
                    let last = error.copy();
                    self.lose(error)?;
                    let Some(suspect) = suspect else { continue };
                    let losses = blamed.entry(suspect).or_default();
                    *losses += 1;
                    if *losses >= MAX_LOSSES_OF_ONE {
                        open.remove(&suspect);
                        self.losses = 0;
                        self.vain += 1;
                        // That is no message's fault any more.
                        if self.vain > MAX_LOSSES {
                            return Err(last);
                        }
                        let why = format!("the session was lost {MAX_LOSSES_OF_ONE} times while it was read: {words}");
                        each(suspect, Err(Error::network(why).scoped(Scope::Message)))?;
                    } else {
                        alone = Some(suspect);
                    }
                }
            }
        }
        Ok(())
    }

    /// The messages at `indexes` as the session of now calls them; message numbers hold for one session.
    fn named_again(&mut self, folder: &Folder, wanted: &[Listed], indexes: &[usize]) -> Result<Vec<Option<Listed>>> {
        let chosen = indexes.iter().filter_map(|&index| wanted.get(index));
        if self.source.is_some() && self.at.as_ref() == Some(folder) {
            return Ok(chosen.cloned().map(Some).collect());
        }
        self.at = None;
        let source = self.opened()?;
        let listing = source.list(folder)?;
        let mut by_key = HashMap::new();
        let mut by_id = HashMap::new();
        for listed in &listing.messages {
            if let Some(key) = &listed.key {
                by_key.insert(key.clone(), listed);
            }
            by_id.insert(listed.id, listed);
        }
        let mut now = Vec::new();
        for listed in chosen {
            now.push(match &listed.key {
                Some(key) => by_key.get(key).map(|now| (*now).clone()),
                // Without a lasting name it is the one with its number; one of another size is another one, and then any may be.
                None => match by_id.get(&listed.id) {
                    Some(now) if now.key.is_none() && now.size == listed.size => Some((*now).clone()),
                    _ => return Err(maildrop_changed().at(source.place())),
                },
            });
        }
        self.at = Some(folder.clone());
        Ok(now)
    }

    fn opened(&mut self) -> Result<&mut dyn Source> {
        if self.source.is_none() {
            self.at = None;
            self.source = Some((self.open)()?);
        }
        match &mut self.source {
            Some(source) => Ok(source.as_mut()),
            None => Err(Error::network("the connection is gone")),
        }
    }

    /// Does something that takes one session, with as many as it takes.
    fn insist<T>(&mut self, mut ask: impl FnMut(&mut dyn Source) -> Result<T>) -> Result<T> {
        loop {
            match self.opened().and_then(&mut ask) {
                Ok(done) => {
                    self.losses = 0;
                    return Ok(done);
                }
                Err(error) => self.lose(error)?,
            }
        }
    }

    /// Counts a loss and waits a little longer each time; what is no loss, and one too many, is the end.
    fn lose(&mut self, error: Error) -> Result<()> {
        if error.scope() != Scope::Session || matches!(error.kind(), Kind::Interrupted(_)) {
            return Err(error);
        }
        self.source = None;
        self.at = None;
        self.context.check()?;
        self.losses += 1;
        if self.losses > MAX_LOSSES {
            return Err(error);
        }
        let pause: Duration = FIRST_PAUSE.saturating_mul(1 << (self.losses - 1).min(16)).min(LAST_PAUSE);
        self.report.event(Event::Note(format!("{error}; connecting again in {} s", pause.as_secs())));
        self.context.pause(pause);
        self.context.check()
    }

    /// Ends the session politely, where that changes nothing.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self.source.take() {
            Some(mut source) if !source.end_marks() => source.finish(),
            _ => Ok(()),
        }
    }
}

fn gone() -> Error {
    Error::local("it went away while it was compared").scoped(Scope::Message)
}

fn maildrop_changed() -> Error {
    Error::new(Kind::Safety, "the maildrop changed during the run, and its server gives messages no lasting names (no UIDL)")
        .hint("run the same command again")
}
