//! Which of the missing messages of a folder go, where the user says so by a query, and what the destination says beforehand of how
//! much it takes. It sends nothing.

use std::collections::HashSet;

use super::Transfer;
use super::ends::Ends;
use super::pass::name_of;
use super::tally::{Fate, Work};
use crate::error::{Kind, Result, Scope};
use crate::folder::Folder;
use crate::report::{Event, Problem, counted};
use crate::state::{Batch, Change, State};
use crate::store::sift::Picked;
use crate::store::{Listed, Quota, Resource, Room, Source};

impl Transfer<'_> {
    /// Those that nobody said are no problem; the others are tallied as left out.
    pub(super) fn without_ignored(
        &self,
        work: &mut Work,
        mut flowing: Vec<Listed>,
        mut suspects: Vec<Listed>,
    ) -> Result<(Vec<Listed>, Vec<Listed>)> {
        if flowing.is_empty() && suspects.is_empty() || !self.asked.lists_all() {
            return Ok((flowing, suspects));
        }
        let ignored = self.journal.ignored(&self.source_name, &work.pair.source.folder)?;
        let mut is_meant = |listed: &Listed| {
            let name = name_of(listed);
            let meant = !ignored.contains_key(&name);
            if !meant {
                work.tally.insert(name, Fate::Filtered);
            }
            meant
        };
        flowing.retain(&mut is_meant);
        suspects.retain(&mut is_meant);
        Ok((flowing, suspects))
    }

    /// Those of the messages that may go for which the query holds; the others are tallied as left out. One that cannot be looked
    /// into is put aside: nobody knows whether it is meant.
    pub(super) fn sift(
        &mut self,
        source: &mut dyn Source,
        work: &mut Work,
        flowing: Vec<Listed>,
        suspects: Vec<Listed>,
    ) -> Result<(Vec<Listed>, Vec<Listed>)> {
        if self.options.query.is_empty() || flowing.is_empty() && suspects.is_empty() {
            return Ok((flowing, suspects));
        }
        let mut all: Vec<Listed> = flowing.iter().chain(&suspects).cloned().collect();
        all.sort_by_key(|listed| listed.id);
        let picked = self.meant(source, work, &all)?;
        let wanted: HashSet<u32> = picked.wanted.iter().map(|listed| listed.id).collect();
        for listed in &all {
            let name = name_of(listed);
            if !wanted.contains(&listed.id) {
                work.tally.insert(name, Fate::Filtered);
            } else if matches!(work.tally.get(&name), Some(Fate::Filtered)) {
                // A number may be another message's after a loss.
                work.tally.remove(&name);
            }
        }
        let folder = work.pair.source.folder.clone();
        let mut changes = Vec::new();
        for (listed, error) in picked.unreadable {
            let reason = format!("it cannot be looked into, so nobody knows whether it is meant: {error}");
            changes.push(Change::Quarantine {
                source: self.source_name.clone(),
                folder: folder.clone(),
                key: listed.key.clone(),
                uid: Some(listed.id),
                reason: reason.clone(),
            });
            let problem = Problem { folder: folder.to_string(), uid: Some(listed.id), reason: reason.clone() };
            self.report.event(Event::Problem(problem));
            work.tally.insert(name_of(&listed), Fate::Quarantined { id: listed.id, reason });
        }
        if !changes.is_empty() {
            self.journal.commit(&Batch(changes))?;
        }
        let left = |messages: Vec<Listed>| messages.into_iter().filter(|listed| wanted.contains(&listed.id)).collect();
        Ok((left(flowing), left(suspects)))
    }

    /// Those of `messages` for which the query holds. No message with a key is looked into twice in a run.
    fn meant(&self, source: &mut dyn Source, work: &mut Work, messages: &[Listed]) -> Result<Picked> {
        let known = |listed: &Listed| listed.key.as_ref().and_then(|_| work.meant.get(&name_of(listed)).copied());
        let (mut wanted, open): (Vec<Listed>, Vec<Listed>) =
            messages.iter().filter(|listed| known(listed) != Some(false)).cloned().partition(|listed| known(listed) == Some(true));
        let picked = if open.is_empty() { Picked::default() } else { source.matching(&open, &self.options.query)? };
        let unreadable: HashSet<u32> = picked.unreadable.iter().map(|(listed, _)| listed.id).collect();
        let holds: HashSet<u32> = picked.wanted.iter().map(|listed| listed.id).collect();
        for listed in open.iter().filter(|listed| listed.key.is_some() && !unreadable.contains(&listed.id)) {
            work.meant.insert(name_of(listed), holds.contains(&listed.id));
        }
        wanted.extend(picked.wanted);
        Ok(Picked { wanted, unreadable: picked.unreadable })
    }

    /// Says before anything is sent what will not fit, as far as the destination tells and the sizes that the source lists are true.
    pub(super) fn forewarn(&mut self, ends: &mut Ends, works: &mut [Work]) -> Result<()> {
        match self.look_ahead(ends, works) {
            Err(error) if error.scope() == Scope::Session => ends.lose_both(self, error),
            // What is wrong with a folder is told when it is copied.
            Err(error) if error.scope() <= Scope::Mailbox && !matches!(error.kind(), Kind::Interrupted(_)) => Ok(()),
            other => other,
        }
    }

    fn look_ahead(&mut self, ends: &mut Ends, works: &mut [Work]) -> Result<()> {
        let (source, sink) = ends.open(self)?;
        let targets: Vec<Folder> = works.iter().map(|work| work.pair.destination.folder.clone()).collect();
        let room = sink.room(&targets)?;
        if room.quotas.is_empty() && room.largest.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut shortage = Shortage::default();
        for (work, largest) in works.iter_mut().zip(&room.largest) {
            self.context.check()?;
            let pair = work.pair.clone();
            let listing = match source.list(&pair.source.folder) {
                Err(error) if error.scope() <= Scope::Mailbox => continue,
                other => other?,
            };
            let mailbox = self.journal.mailbox(&pair.destination.folder)?;
            let copies = self.journal.copies(&self.source_name, &pair.source.folder, mailbox)?;
            let mut missing = listing.messages;
            missing.retain(|listed| copies.get(&name_of(listed)).is_none_or(|row| matches!(row.state, State::Pending | State::Refused)));
            if !self.options.query.is_empty() && !missing.is_empty() {
                missing = self.meant(source, work, &missing)?.wanted;
            }
            shortage.add(&pair.source.folder, &missing, *largest);
        }
        for words in shortage.words(&room) {
            self.report.event(Event::Note(words));
        }
        Ok(())
    }
}

/// What would not fit.
#[derive(Debug, Default)]
pub struct Shortage {
    messages: u64,
    octets: u64,
    /// Folder, messages in it that are too large, the limit.
    too_large: Vec<(String, u64, u64)>,
}

impl Shortage {
    /// Counts messages of `folder` that are to go where no more than `largest` octets fit in one.
    pub fn add(&mut self, folder: &Folder, messages: &[Listed], largest: Option<u64>) {
        self.messages += messages.len() as u64;
        self.octets += messages.iter().filter_map(|listed| listed.size).sum::<u64>();
        if let Some(limit) = largest {
            let count = messages.iter().filter(|listed| is_too_large(listed, largest)).count() as u64;
            if count > 0 {
                self.too_large.push((folder.to_string(), count, limit));
            }
        }
    }

    /// By how much a quota is too small.
    pub fn exceeds(&self, quota: &Quota) -> u64 {
        let amount = match quota.resource {
            Resource::Octets => self.octets,
            Resource::Messages => self.messages,
        };
        amount.saturating_sub(quota.left())
    }

    /// It in sentences; none where all fits.
    pub fn words(&self, room: &Room) -> Vec<String> {
        let mut words = Vec::new();
        for (folder, count, limit) in &self.too_large {
            let (are, they) = if *count == 1 { ("is", "it is") } else { ("are", "they are") };
            words.push(format!(
                "{} of {folder} {are} larger than the {limit} bytes that the destination takes (APPENDLIMIT): {they} likely to be refused",
                counted(*count, "message")
            ));
        }
        for quota in &room.quotas {
            let more = self.exceeds(quota);
            if more == 0 {
                continue;
            }
            let root = if quota.root.is_empty() { String::new() } else { format!(" {:?}", quota.root) };
            words.push(match quota.resource {
                Resource::Octets => format!(
                    "the destination's quota{root} has {} bytes left of {}, and {} are to come: {more} too many",
                    quota.left(),
                    quota.limit,
                    self.octets
                ),
                Resource::Messages => format!(
                    "the destination's quota{root} has room for {}, and {} are to come: {more} too many",
                    counted(quota.left(), "message"),
                    self.messages
                ),
            });
        }
        words
    }
}

/// Whether a message is larger than what one may be.
pub(super) fn is_too_large(listed: &Listed, largest: Option<u64>) -> bool {
    matches!((listed.size, largest), (Some(size), Some(largest)) if size > largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: u32, size: u64) -> Listed {
        Listed { id, key: None, size: Some(size), internal_date: None }
    }

    #[test]
    fn what_does_not_fit_is_told_with_figures() {
        let quota = |resource, used, limit| Quota { root: String::new(), resource, used, limit };
        let room = Room { largest: vec![Some(100)], quotas: vec![quota(Resource::Octets, 900, 1000), quota(Resource::Messages, 0, 9)] };
        let mut shortage = Shortage::default();
        shortage.add(&Folder::inbox(), &[listed(1, 100), listed(2, 101)], Some(100));
        let words = shortage.words(&room);
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words[0].starts_with("1 message of INBOX is larger than the 100 bytes"), "{words:?}");
        assert!(words[1].contains("100 bytes left of 1000, and 201 are to come: 101 too many"), "{words:?}");
        assert!(Shortage::default().words(&room).is_empty());
    }
}
