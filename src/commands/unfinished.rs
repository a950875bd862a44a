//! Moves that a run left half done, on a server where a move takes several commands: what was copied is removed where it was,
//! what was not is moved now. Whether a copy whose answer got lost is there is told by contents alone
//! (`TRANSFER.md`, Settling); where nothing tells, messages stay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::changing::is_loss;
use super::relocate::{Mailfolder, Moved, Relocated, Relocator};
use crate::error::{Error, Kind, Result};
use crate::imap::UidSet;
use crate::imap::bulk::Wanted;
use crate::imap::selected::Selected;
use crate::imap::session::Session;
use crate::matching::pair_by_content;
use crate::message::{Digest, Flag};
use crate::report::counted;
use crate::state::{Relocation, Route, Stage, has_open_moves};

/// How often a copy whose answer got lost is looked for while the run waits for it.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// What is known of open moves.
#[derive(Default)]
struct Verdict {
    /// Their copies are there.
    proved: Vec<Moved>,
    /// They are known not to be copied.
    again: UidSet,
    /// Nothing tells, and the time to look for them is not over.
    open: UidSet,
    /// Nothing will tell.
    unprovable: UidSet,
}

impl Relocator<'_> {
    /// Finishes what earlier runs of this account began and did not end. Cheap where there is nothing.
    ///
    /// # Errors
    /// Another run that holds the lock, or what ended the session.
    pub(super) fn finish_open(&mut self, session: &mut Session) -> Result<()> {
        if !has_open_moves(&self.dir)? {
            return Ok(());
        }
        let mut routes: BTreeMap<(Route, u32), Vec<Relocation>> = BTreeMap::new();
        for one in self.journal()?.open_moves()? {
            routes.entry((one.route.clone(), one.floor)).or_default().push(one);
        }
        let names: HashMap<_, _> = session.list()?.into_iter().map(|mailbox| (mailbox.folder, mailbox.wire_name)).collect();
        for ((route, floor), moves) in routes {
            match (names.get(&route.source), names.get(&route.destination)) {
                (Some(from), Some(to)) => self.finish_route(session, &route, floor, moves, from, to)?,
                (None, _) => self.give_up(&route, &moves, &format!("the folder {} is gone", route.source))?,
                (_, None) => {
                    self.give_up(&route, &moves, &format!("the folder {} is gone, so nothing tells what was copied", route.destination))?;
                }
            }
        }
        Ok(())
    }

    /// Forgets moves of which nothing can be proved any more: the messages stay where they are.
    fn give_up(&mut self, route: &Route, moves: &[Relocation], why: &str) -> Result<()> {
        for one in moves {
            self.problems.push((route.source.clone(), one.uid, format!("an interrupted move to {} is given up: {why}", route.destination)));
        }
        self.journal()?.forget_moves(route, moves.iter().map(|one| one.uid))
    }

    fn finish_route(
        &mut self,
        session: &mut Session,
        route: &Route,
        floor: u32,
        mut moves: Vec<Relocation>,
        from: &[u8],
        to: &[u8],
    ) -> Result<()> {
        let mut told = false;
        loop {
            let mut selected = session.select(from)?;
            if selected.state().uid_validity != Some(route.source_validity) {
                return self.give_up(route, &moves, &format!("the UIDVALIDITY of {} changed", route.source));
            }
            let expunges = selected.expunges();
            let asked: UidSet = moves.iter().map(|one| one.uid).collect();
            let mut there: HashMap<u32, Vec<Flag>> = HashMap::new();
            selected.summaries(&asked, false, &mut |meta| {
                there.insert(meta.uid, meta.flags);
                Ok(())
            })?;
            moves = self.what_is_left(route, moves, &there, expunges)?;
            let verdict = self.judge(session, route, floor, &moves, from, to)?;
            let Some(verdict) = verdict else {
                return self.give_up(
                    route,
                    &moves,
                    &format!("the UIDVALIDITY of {} changed, so nothing tells what was copied", route.destination),
                );
            };
            if !verdict.unprovable.is_empty() {
                for uid in verdict.unprovable.iter() {
                    let why = format!(
                        "whether an interrupted move copied it to {} cannot be told: a message there cannot be read",
                        route.destination
                    );
                    self.problems.push((route.source.clone(), uid, why));
                    self.held.push((route.source.clone(), uid));
                }
            }
            let mut selected = session.select(from)?;
            if selected.state().uid_validity != Some(route.source_validity) {
                return Err(Error::new(Kind::Safety, format!("the UIDVALIDITY of {} changed during the run", route.source)));
            }
            // Which copy is whose outlives the removal: a twin that is still looked for must not take it.
            self.journal()?.moves_copied(route, verdict.proved.iter().map(|one| (one.uid, one.new_uid)))?;
            let mut done = self.remove(&mut selected, route, &verdict.proved)?;
            self.note(route, &done.moved, &done.marked);
            // They were asked to be moved.
            if done.error.is_none() && !verdict.again.is_empty() {
                self.journal()?.forget_moves(route, verdict.again.iter())?;
                let to = Mailfolder { folder: route.destination.clone(), wire_name: to.to_vec() };
                done = match self.relocate(&mut selected, &route.source, &to, &verdict.again) {
                    Err(error) if error.kind() == Kind::Refused => {
                        Relocated { left: verdict.again.clone(), error: Some(error), ..Relocated::default() }
                    }
                    other => other?,
                };
                self.note(route, &done.moved, &done.marked);
            }
            if let Some(error) = done.error {
                if is_loss(&error) {
                    return Err(error);
                }
                // What the server will not have is no reason to leave everything else undone.
                for uid in done.left.iter() {
                    let why = format!("an interrupted move to {} cannot be finished: {error}", route.destination);
                    self.problems.push((route.source.clone(), uid, why));
                    self.held.push((route.source.clone(), uid));
                }
            }
            moves.retain(|one| verdict.open.contains(one.uid));
            if moves.is_empty() {
                return Ok(());
            }
            if !told {
                told = true;
                self.app.note(&format!(
                    "the answer to copying {} to {} got lost in an earlier run: looking there, because a server may be late",
                    counted(moves.len() as u64, "message"),
                    route.destination
                ));
            }
            self.app.context.pause(LOOK_AGAIN.min(self.settle.max(Duration::from_secs(1))));
            self.app.context.check()?;
        }
    }

    fn note(&mut self, route: &Route, moved: &[Moved], marked: &[Moved]) {
        let with = |one: &Moved| (route.source.clone(), route.destination.clone(), *one);
        self.finished.extend(moved.iter().map(with));
        self.finished_marked.extend(marked.iter().map(with));
    }

    /// Those of `moves` that need something done still: not those that are gone, nor those that wait for somebody's EXPUNGE.
    fn what_is_left(
        &mut self,
        route: &Route,
        moves: Vec<Relocation>,
        there: &HashMap<u32, Vec<Flag>>,
        expunges: bool,
    ) -> Result<Vec<Relocation>> {
        let mut over = Vec::new();
        let mut left = Vec::new();
        for one in moves {
            match there.get(&one.uid) {
                None => {
                    // Killed behind the removal, or somebody expunged what was marked.
                    if one.stage == Stage::Copied {
                        self.note(route, &[Moved { uid: one.uid, new_uid: one.new_uid }], &[]);
                    }
                    over.push(one.uid);
                }
                // Somebody took the mark back: the message is to stay, and to move it again is a new wish.
                Some(flags) if one.stage == Stage::Marked && !flags.contains(&super::relocate::deleted()) => over.push(one.uid),
                Some(_) if one.stage == Stage::Marked && !expunges => {
                    self.note(route, &[], &[Moved { uid: one.uid, new_uid: one.new_uid }]);
                }
                Some(_) => left.push(one),
            }
        }
        self.journal()?.forget_moves(route, over.into_iter())?;
        Ok(left)
    }

    /// What the destination tells. `None` under another UIDVALIDITY.
    fn judge(
        &mut self,
        session: &mut Session,
        route: &Route,
        floor: u32,
        moves: &[Relocation],
        from: &[u8],
        to: &[u8],
    ) -> Result<Option<Verdict>> {
        let mut verdict = Verdict::default();
        if moves.is_empty() {
            return Ok(Some(verdict));
        }
        let mut claimed = self.journal()?.claimed_by_moves(route)?;
        // What other runs brought there is no copy of this one.
        let journal = self.journal()?;
        let mailbox = journal.mailbox(&route.destination)?;
        let sent_by_others = journal.outstanding(mailbox)?;
        if let Some(generation) = journal.generation(mailbox, route.destination_validity)? {
            claimed.extend(journal.claimed_uids(generation)?);
        }
        let mut selected = session.examine(to)?;
        if selected.state().uid_validity != Some(route.destination_validity) {
            return Ok(None);
        }
        let first = moves.iter().filter_map(|one| one.new_uid).chain([floor]).min().unwrap_or(1);
        let listed = selected.list_from(first)?.collect::<Vec<_>>();
        let there: HashSet<u32> = listed.iter().map(|meta| meta.uid).collect();
        let mut searched: Vec<&Relocation> = Vec::new();
        for one in moves {
            match one.new_uid {
                Some(uid) if there.contains(&uid) => verdict.proved.push(Moved { uid: one.uid, new_uid: Some(uid) }),
                // The copy was there and is not any more: whoever took it away did not mean the message as well.
                Some(_) => {
                    self.problems.push((
                        route.source.clone(),
                        one.uid,
                        format!("its copy is no longer in {}, so it stays", route.destination),
                    ));
                    verdict.open.insert(one.uid);
                }
                None => searched.push(one),
            }
        }
        let vanished: Vec<u32> = std::mem::take(&mut verdict.open).iter().collect();
        self.journal()?.forget_moves(route, vanished.into_iter())?;
        if searched.is_empty() {
            return Ok(Some(verdict));
        }
        let candidates: Vec<Wanted> = listed
            .iter()
            .filter(|meta| meta.uid >= floor && !claimed.contains(&meta.uid))
            .map(|meta| Wanted { uid: meta.uid, size: meta.size })
            .collect();
        let mut copies = digests(&mut selected, &candidates)?;
        let all_there_read = copies.len() == candidates.len();
        // What other verbs sent there and nobody knows the fate of goes first: what then lacks is copied, and none too few are there.
        let sent: Vec<(usize, Digest)> = sent_by_others.iter().map(|intent| intent.content).enumerate().collect();
        let theirs: HashSet<u32> = pair_by_content(&copies, &sent).into_iter().map(|(_, uid)| uid).collect();
        copies.retain(|(uid, _)| !theirs.contains(uid));
        let mut wanted = Vec::new();
        if !copies.is_empty() {
            let mut selected = session.examine(from)?;
            if selected.state().uid_validity != Some(route.source_validity) {
                return Err(Error::new(Kind::Safety, format!("the UIDVALIDITY of {} changed during the run", route.source)));
            }
            let sources: Vec<Wanted> = searched.iter().map(|one| Wanted { uid: one.uid, size: None }).collect();
            let by_uid: HashMap<u32, Digest> = digests(&mut selected, &sources)?.into_iter().collect();
            wanted = searched.iter().enumerate().filter_map(|(index, one)| Some((index, *by_uid.get(&one.uid)?))).collect();
        }
        let found: HashMap<usize, u32> = pair_by_content(&copies, &wanted).into_iter().collect();
        let all_read = all_there_read && (copies.is_empty() || wanted.len() == searched.len());
        let patience = i64::try_from(self.settle.as_secs()).unwrap_or(i64::MAX);
        let now = self.app.context.unix_time();
        for (index, one) in searched.into_iter().enumerate() {
            match found.get(&index) {
                Some(&uid) => verdict.proved.push(Moved { uid: one.uid, new_uid: Some(uid) }),
                None if one.stage != Stage::Intended => {
                    self.problems.push((
                        route.source.clone(),
                        one.uid,
                        format!("its copy is not to be found in {}, so it stays", route.destination),
                    ));
                    self.journal()?.forget_moves(route, [one.uid].into_iter())?;
                }
                None if now < one.intended_at.saturating_add(patience) => verdict.open.insert(one.uid),
                None if all_read => verdict.again.insert(one.uid),
                None => verdict.unprovable.insert(one.uid),
            }
        }
        Ok(Some(verdict))
    }
}

/// UIDs and content digests of those that can be read.
fn digests(selected: &mut Selected<'_>, wanted: &[Wanted]) -> Result<Vec<(u32, Digest)>> {
    let mut read = Vec::new();
    selected.fetch(wanted, &mut |index, fetched| {
        if let (Some(wanted), Ok(fetched)) = (wanted.get(index), fetched) {
            read.push((wanted.uid, fetched.digests.content));
        }
        Ok(())
    })?;
    Ok(read)
}
