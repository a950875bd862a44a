//! Changes to messages of a Maildir that are changes of file names: flags, and removal. A file is renamed or unlinked only
//! under the name it has at that moment, and never over another; which messages those are is not decided here.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::keywords::Keywords;
use super::{LETTERS, MaildirSource, Moves, Open, SEARCHES, flags, split_name};
use crate::context::Context;
use crate::error::{Error, Result, Scope};
use crate::message::Flag;
use crate::store::{Listed, Source};

/// Marks and removes messages of the folder that was listed last.
pub struct Marker<'a> {
    open: &'a Open,
    place: String,
    moves: Moves,
    keywords: Keywords,
}

impl MaildirSource {
    /// For the folder that was listed last.
    ///
    /// # Errors
    /// None was listed.
    pub fn marker(&self) -> Result<Marker<'_>> {
        let place = self.place();
        let open = self.open.as_ref().ok_or_else(|| Error::local("no folder was listed").at(&place))?;
        Ok(Marker { open, place, moves: Moves::default(), keywords: open.keywords.clone() })
    }
}

impl Marker<'_> {
    /// Those of `wanted` that file names can hold here, and those they cannot: keywords beyond the 26 that letters stand for.
    pub fn permitted(&self, wanted: &[Flag]) -> (Vec<Flag>, Vec<Flag>) {
        let (system, keywords): (Vec<Flag>, Vec<Flag>) = wanted.iter().cloned().partition(|flag| system_letter(flag).is_some());
        let known = || keywords.iter().cloned().partition(|keyword| self.keywords.letter(keyword).is_some());
        let (fitting, not) = self.keywords.fitting(&self.open.dir, &keywords).unwrap_or_else(|_| known());
        (wanted.iter().filter(|flag| system.contains(flag) || fitting.contains(flag)).cloned().collect(), not)
    }

    /// Gives letters to keywords among `flags` that have none yet.
    ///
    /// # Errors
    /// [`crate::error::Kind::Busy`] where another program keeps changing the list of keywords; the disk's.
    pub fn learn(&mut self, flags: &[Flag], context: &Context) -> Result<()> {
        let keywords: Vec<Flag> = flags.iter().filter(|flag| system_letter(flag).is_none()).cloned().collect();
        self.keywords.add(&self.open.dir, &keywords, context)
    }

    /// The flags of a message as its name says them now; `None` when it is gone.
    ///
    /// # Errors
    /// [`Scope::Message`] where just this one cannot be had.
    pub fn flags(&mut self, listed: &Listed) -> Result<Option<Vec<Flag>>> {
        Ok(self.find(listed)?.map(|(_, name)| flags(split_name(&name).1, &self.keywords)))
    }

    /// Gives a message the flags that `change` makes of those it has; tells the flags afterwards, or `None` when it is gone.
    ///
    /// # Errors
    /// [`Scope::Message`] where just this one cannot be had or another file stands in the way.
    pub fn reflag(&mut self, listed: &Listed, change: &dyn Fn(&[Flag]) -> Vec<Flag>) -> Result<Option<Vec<Flag>>> {
        let mut failure = None;
        for _ in 0..SEARCHES {
            let Some((half, name)) = self.find(listed)? else { return Ok(None) };
            let (unique, letters) = split_name(&name);
            let after = change(&flags(letters, &self.keywords));
            // What a letter means that nobody told us of is not ours to drop.
            let strange = letters.iter().filter(|letter| flags(&[**letter], &self.keywords).is_empty());
            let letters: BTreeSet<u8> = strange.copied().chain(after.iter().filter_map(|flag| self.letter(flag))).collect();
            let target: Vec<u8> = unique.iter().chain(b":2,").copied().chain(letters).collect();
            let target = OsString::from_vec(target);
            let (Some(Some(from)), Some(Some(cur))) = (self.open.halves.get(half), self.open.halves.get(1)) else {
                return Err(Error::local("the folder has no cur").at(&self.place));
            };
            if half == 1 && name == target {
                return Ok(Some(after));
            }
            match from.publish(&name, cur, &target) {
                Ok(true) => return Ok(Some(after)),
                Ok(false) => failure = Some(Error::local("another file has the name that it would get").scoped(Scope::Message)),
                // Somebody was quicker: it has another name by now.
                Err(error) => failure = Some(error.scoped(Scope::Message)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::local("its file keeps changing its name").scoped(Scope::Message)))
    }

    /// Removes a message as long as it is the one that was listed; `false` when it is gone already.
    ///
    /// # Errors
    /// [`Scope::Message`] where it is another one by now, or cannot be removed.
    pub fn remove(&mut self, listed: &Listed) -> Result<bool> {
        let open = self.open;
        let entry = entry(open, listed)?;
        // Its bytes are looked at once more: a name is no proof.
        if open.read(entry, &mut self.moves, &self.place)?.is_none() {
            return Ok(false);
        }
        let Some((half, name)) = self.find(listed)? else { return Ok(false) };
        if let Some(Some(dir)) = self.open.halves.get(half) {
            dir.remove(&name);
        }
        match self.open.file(half, &name)? {
            None => Ok(true),
            Some(_) => Err(Error::local("its file cannot be removed").scoped(Scope::Message)),
        }
    }

    /// How many messages the folder had when it was listed.
    pub fn messages(&self) -> usize {
        self.open.messages.len()
    }

    /// Makes what was done durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> Result<()> {
        self.open.halves.iter().flatten().try_for_each(super::Dir::sync)
    }

    /// Where its file is now.
    fn find(&mut self, listed: &Listed) -> Result<Option<(usize, OsString)>> {
        let open = self.open;
        let entry = entry(open, listed)?;
        let unique = split_name(&entry.name).0;
        let (mut half, mut name) = (entry.half, entry.name.clone());
        loop {
            if self.open.file(half, &name)?.is_some() {
                return Ok(Some((half, name)));
            }
            match self.moves.find(unique, (half, OsStr::from_bytes(name.as_bytes())), || self.open.locate(&self.place))? {
                Some(now) => (half, name) = now,
                None => return Ok(None),
            }
        }
    }

    fn letter(&self, flag: &Flag) -> Option<u8> {
        system_letter(flag).or_else(|| self.keywords.letter(flag))
    }
}

pub(in crate::store) fn system_letter(flag: &Flag) -> Option<u8> {
    LETTERS.iter().find(|(_, wire)| *flag == Flag::new(*wire)).and_then(|(letter, _)| u8::try_from(*letter).ok())
}

fn entry<'a>(open: &'a Open, listed: &Listed) -> Result<&'a super::Entry> {
    let entry = usize::try_from(listed.id).ok().and_then(|id| open.messages.get(id));
    entry.ok_or_else(|| Error::local(format!("no message {} was listed", listed.id)))
}
