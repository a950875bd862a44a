//! What the letters `a` to `z` in file names stand for in one folder, as Dovecot notes it in `dovecot-keywords`: a line
//! `NUMBER KEYWORD` each, 0 being `a`. New ones are added under Dovecot's own lock, and no letter that some file name has
//! already is ever given a meaning. It never renames a message.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::{Dir, files, split_name};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::message::Flag;

const FILE: &str = "dovecot-keywords";
/// The file that becomes the new list; as long as it is there, it is the lock.
const LOCK: &str = "dovecot-keywords.lock";
const STALE_SECONDS: i64 = 120;
/// How long another program is waited for: longer than one that died can keep the lock.
const PATIENCE: Duration = Duration::from_secs(130);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const FILE_BYTES: u64 = 64 * 1024;
const LETTERS: usize = 26;
/// A longer keyword would not be one that people gave.
const KEYWORD_BYTES: usize = 255;

/// The keywords of a folder by their letters; empty for a letter without a meaning.
#[derive(Debug, Clone)]
pub(in crate::store) struct Keywords(Vec<String>);

impl Keywords {
    /// As the folder notes them.
    pub(in crate::store) fn read(dir: &Dir) -> Self {
        let mut names = vec![String::new(); LETTERS];
        for line in dir.small_text(FILE, FILE_BYTES).unwrap_or_default().lines() {
            if let Some((number, keyword)) = line.split_once(' ')
                && let Some(slot) = number.parse::<usize>().ok().and_then(|number| names.get_mut(number))
            {
                keyword.trim().clone_into(slot);
            }
        }
        Self(names)
    }

    /// The keyword of a letter.
    pub(in crate::store) fn keyword(&self, letter: u8) -> Option<Flag> {
        let at = letter.checked_sub(b'a').map(usize::from)?;
        self.0.get(at).filter(|name| !name.is_empty()).map(|name| Flag::new(name.as_str()))
    }

    /// The letter of a keyword.
    pub(in crate::store) fn letter(&self, keyword: &Flag) -> Option<u8> {
        let at = self.0.iter().position(|name| !name.is_empty() && *keyword == Flag::new(name.as_str()))?;
        u8::try_from(at).ok().map(|at| b'a' + at)
    }

    /// Letters that mean nothing yet.
    fn free(&self, used: &BTreeSet<u8>) -> Vec<u8> {
        (b'a'..=b'z').filter(|letter| !used.contains(letter) && self.keyword(*letter).is_none()).collect()
    }

    /// Those of `wanted` that have a letter or could get one, and those that could not.
    pub(in crate::store) fn fitting(&self, dir: &Dir, wanted: &[Flag]) -> Result<(Vec<Flag>, Vec<Flag>)> {
        if wanted.iter().all(|keyword| self.letter(keyword).is_some()) {
            return Ok((wanted.to_vec(), Vec::new()));
        }
        let mut room = self.free(&in_use(dir)?).len();
        Ok(wanted.iter().cloned().partition(|keyword| {
            let has = self.letter(keyword).is_some();
            let fits = has || (room > 0 && can_be_noted(keyword));
            room -= usize::from(fits && !has);
            fits
        }))
    }

    /// Gives letters to those of `wanted` that have none, as long as there are any, and makes that durable.
    ///
    /// # Errors
    /// [`Kind::Busy`] where another program keeps changing the list; what the disk says.
    pub(in crate::store) fn add(&mut self, dir: &Dir, wanted: &[Flag], context: &Context) -> Result<()> {
        if wanted.iter().all(|keyword| self.letter(keyword).is_some() || !can_be_noted(keyword)) {
            return Ok(());
        }
        let path = dir.path().join(LOCK);
        let trouble = |error| Error::io(path.display(), error);
        let deadline = context.now().after(PATIENCE);
        let mut file = loop {
            context.check()?;
            if let Some(file) = dir.create_new(OsStr::new(LOCK)).map_err(trouble)? {
                break file;
            }
            if is_stale(dir, context) {
                dir.remove(OsStr::new(LOCK));
            } else if context.now() >= deadline {
                return Err(Error::new(Kind::Busy, "another program is changing the keywords of the folder")
                    .at(dir.path().display())
                    .hint(format!("if no program uses it, remove {}", path.display())));
            } else {
                context.pause(LOOK_AGAIN);
            }
        };
        // What is there now counts, not what was there when we looked first.
        *self = Self::read(dir);
        let noted = in_use(dir).and_then(|used| {
            let mut free = self.free(&used).into_iter();
            for keyword in wanted.iter().filter(|keyword| can_be_noted(keyword)) {
                if self.letter(keyword).is_some() {
                    continue;
                }
                let Some(letter) = free.next() else { break };
                if let Some(slot) = self.0.get_mut(usize::from(letter - b'a')) {
                    keyword.wire().clone_into(slot);
                }
            }
            file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all()).map_err(trouble)?;
            dir.replace(OsStr::new(LOCK), OsStr::new(FILE))?;
            dir.sync()
        });
        if noted.is_err() {
            *self = Self::read(dir);
            dir.remove(OsStr::new(LOCK));
        }
        noted
    }

    fn text(&self) -> String {
        let named = self.0.iter().enumerate().filter(|(_, name)| !name.is_empty());
        named.map(|(number, name)| format!("{number} {name}\n")).collect()
    }
}

/// Whether whoever made the lock died: nobody keeps it for long, and Dovecot gives up on it after as many seconds.
fn is_stale(dir: &Dir, context: &Context) -> bool {
    let made = dir.file(OsStr::new(LOCK)).ok().flatten().map(|(_, stat)| files::date(&stat).seconds);
    made.is_some_and(|made| context.unix_time().saturating_sub(made) > STALE_SECONDS)
}

/// Whether a line of the file can say it.
fn can_be_noted(keyword: &Flag) -> bool {
    let wire = keyword.wire();
    !wire.is_empty() && wire.len() <= KEYWORD_BYTES && !wire.starts_with('\\') && !wire.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// The letters that stand in file names, whatever they mean.
fn in_use(dir: &Dir) -> Result<BTreeSet<u8>> {
    let mut used = BTreeSet::new();
    for half in ["new", "cur"] {
        if let Some(half) = dir.child(OsStr::new(half))? {
            for entry in half.entries()? {
                used.extend(split_name(OsStr::from_bytes(entry.name.as_bytes())).1.iter().filter(|byte| byte.is_ascii_lowercase()));
            }
        }
    }
    Ok(used)
}
