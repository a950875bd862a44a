//! Several local inputs shown as one folder: single messages as files, and folders of other stores, one behind the other.
//! It gives them numbers and keys of their own and must never know where they go.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::files;
use super::{FolderInfo, Listed, Listing, Source};
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Digest, Flag, InternalDate, Key, Message, Twins};

/// One input.
pub enum Input {
    /// A file that holds one message.
    Message(PathBuf),
    /// A folder of a store.
    Folder(Box<dyn Source>, Folder),
}

/// Where the dates of messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dates {
    /// What the store keeps; for a message that is a file of its own, nothing.
    Kept,
    /// What the store keeps; for a message that is a file of its own, when it was last changed.
    File,
    /// Nowhere: whoever takes the message finds one.
    None,
    /// One for all.
    Fixed(InternalDate),
}

/// Of each message of the last listing, in its order: its input, and its number there, both from 0.
pub type Origins = Arc<Mutex<Vec<(usize, u32)>>>;

/// The inputs as one source with the folder INBOX.
pub struct Several {
    inputs: Vec<Input>,
    /// Flags every message gets.
    pub flags: Vec<Flag>,
    /// Where dates come from.
    pub dates: Dates,
    origins: Origins,
    /// Of each listed message: its input, and its listing there.
    listed: Vec<(usize, Listed)>,
}

impl Several {
    /// Reads nothing yet. `origins` is told at each listing where its messages come from.
    pub fn new(inputs: Vec<Input>, origins: Origins) -> Self {
        Self { inputs, flags: Vec::new(), dates: Dates::Kept, origins, listed: Vec::new() }
    }
}

impl Dates {
    fn choose(self, kept: Option<InternalDate>, is_file: bool) -> Option<InternalDate> {
        match self {
            Self::Kept if is_file => None,
            Self::Kept | Self::File => kept,
            Self::None => None,
            Self::Fixed(date) => Some(date),
        }
    }
}

fn open(path: &PathBuf) -> Result<(File, rustix::fs::Stat)> {
    let io = |error| Error::io(path.display(), error).scoped(Scope::Message);
    let file = File::open(path).map_err(io)?;
    let stat = rustix::fs::fstat(&file).map_err(|error| io(error.into()))?;
    Ok((file, stat))
}

fn list_one(path: &PathBuf) -> Result<Listed> {
    let (file, stat) = open(path)?;
    let digest = files::digests(&file, path)?.content;
    let key = Key::Content { digest, occurrence: 0 };
    Ok(Listed { id: 0, key: Some(key), size: u64::try_from(stat.st_size).ok(), internal_date: Some(files::date(&stat)) })
}

fn read_one(path: &PathBuf, digest: Option<Digest>) -> Result<Message> {
    let (file, stat) = open(path)?;
    let message = files::message(&file, &stat, path)?;
    if digest.is_some_and(|digest| digest != message.digests.content) {
        return Err(files::changed(path));
    }
    Ok(message)
}

fn digest(listed: &Listed) -> Option<Digest> {
    match listed.key {
        Some(Key::Content { digest, .. }) => Some(digest),
        _ => None,
    }
}

impl Source for Several {
    fn place(&self) -> String {
        "the files".to_owned()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        Ok(vec![FolderInfo { folder: Folder::inbox(), special_use: None, subscribed: true, selectable: true }])
    }

    fn list(&mut self, _folder: &Folder) -> Result<Listing> {
        self.listed.clear();
        let mut listing = Listing::default();
        let mut twins = Twins::default();
        let mut all = Vec::new();
        for (index, input) in self.inputs.iter_mut().enumerate() {
            match input {
                // One that cannot be read is listed all the same: reading it names the trouble.
                Input::Message(path) => all.push((
                    index,
                    list_one(path).or_else(|error| match error.scope() {
                        Scope::Message => Ok(Listed { id: 0, key: None, size: None, internal_date: None }),
                        _ => Err(error),
                    })?,
                )),
                Input::Folder(source, folder) => all.extend(source.list(folder)?.messages.into_iter().map(|listed| (index, listed))),
            }
        }
        for (number, (input, listed)) in (1..).zip(all) {
            let is_file = matches!(self.inputs.get(input), Some(Input::Message(_)));
            listing.messages.push(Listed {
                id: number,
                key: digest(&listed).map(|digest| twins.key(digest)),
                size: listed.size,
                internal_date: self.dates.choose(listed.internal_date, is_file),
            });
            self.listed.push((input, listed));
        }
        *self.origins.lock().unwrap_or_else(PoisonError::into_inner) =
            self.listed.iter().map(|(input, listed)| (*input, listed.id)).collect();
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let mut at = 0;
        while let Some(first) = wanted.get(at) {
            let entry = |listed: &Listed| listed.id.checked_sub(1).and_then(|index| self.listed.get(usize::try_from(index).ok()?)).cloned();
            let (input, _) = entry(first).ok_or_else(|| Error::local(format!("no message {} was listed", first.id)))?;
            // All of one input in one go.
            let group: Vec<Listed> =
                wanted.iter().skip(at).map_while(|listed| entry(listed).filter(|(other, _)| *other == input).map(|(_, own)| own)).collect();
            let (flags, dates, begin) = (self.flags.clone(), self.dates, at);
            at += group.len();
            let is_file = matches!(self.inputs.get(input), Some(Input::Message(_)));
            let dress = |mut message: Message| {
                message.internal_date = dates.choose(message.internal_date, is_file);
                for flag in &flags {
                    if !message.flags.contains(flag) {
                        message.flags.push(flag.clone());
                    }
                }
                message
            };
            match self.inputs.get_mut(input) {
                Some(Input::Message(path)) => {
                    for (index, own) in group.iter().enumerate() {
                        match read_one(path, digest(own)) {
                            Err(error) if error.scope() != Scope::Message => return Err(error),
                            message => each(begin + index, message.map(dress))?,
                        }
                    }
                }
                Some(Input::Folder(source, _)) => source.read(&group, &mut |index, message| each(begin + index, message.map(dress)))?,
                None => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for input in &mut self.inputs {
            if let Input::Folder(source, _) = input {
                source.finish()?;
            }
        }
        Ok(())
    }
}
