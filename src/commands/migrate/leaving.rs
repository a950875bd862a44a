//! Leaving the source: `--verify` reads copies back, and `--delete-source` is the separate pass after the copy that removes only
//! what was read back. How messages are taken away is `vacate`'s; this decides which, and says what stays and why.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::account::{Location, Place, Protocol};
use crate::cli::age;
use crate::commands::App;
use crate::commands::changing::{MaxDelete, problem};
use crate::commands::copying::After;
use crate::commands::picked::{Picked, name_of};
use crate::commands::reading::{farewell, offset};
use crate::commands::vacate::{self, Vacated, vacate};
use crate::error::{Error, Kind, Result, Scope};
use crate::imap::session::Access;
use crate::message::{Digest, InternalDate, Key, Twins};
use crate::query::Query;
use crate::report::{Event, Left, Outcome, Problem, Report, Verified, counted};
use crate::state::{Batch, Change, CopyId, CopyRow, Journal, State};
use crate::store::open::{self, Opener};
use crate::store::{Listed, vault};
use crate::transfer::{Dealt, Found, Preview, Proof, Proofs, Spot};

const HEADING: &str = "Leaving the source";
/// Why messages stay.
const YOUNG: &str = "not older than --older-than says";
const UNDATED: &str = "nothing tells how old they are";
const NOT_MEANT: &str = "left out by the conditions";
const NO_COPY: &str = "not copied";
const BROUGHT: &str = "their copies were at the destination before, and may be the very same messages";
const TROUBLED: &str = "not everything of their folder was copied";
const ALTERED: &str = "altered on the way";
const GONE: &str = "their copies are not where they were put any more";
const DIFFERENT: &str = "their copies are not the same when read back";
const REFUSED: &str = "the source did not let them go";
const CEILING: &str = "more than --max-delete allows";
const UNBALANCED: &str = "the run did not come to its end";

/// Whether and what is removed from the source.
#[derive(clap::Args)]
pub struct Leaving {
    /// Read back every copy of what the source lists, of earlier runs too, and compare contents; exit with 3 where one is missing
    /// or another
    #[arg(long)]
    pub verify: bool,
    /// Send messages once more whose copies somebody deleted at the destination, or moved to another folder there
    #[arg(long)]
    pub again: bool,
    /// When all is copied, remove from the source (IMAP, POP3, Maildir) what was read back from the destination in this run and is
    /// the same; run it again at any time
    #[arg(long, help_heading = HEADING)]
    pub delete_source: bool,
    /// Remove only messages that arrived longer ago than this (12h, 30d, 2w); from POP3 the date of the copy counts
    #[arg(long, value_name = "AGE", value_parser = age, requires = "delete_source", help_heading = HEADING)]
    pub older_than: Option<Duration>,
    /// The ceiling.
    #[command(flatten)]
    pub max_delete: MaxDelete,
}

impl Leaving {
    /// That the two places can do what is asked.
    ///
    /// # Errors
    /// [`Kind::Usage`].
    pub(super) fn suits(&self, source: &Place, destination: &Place) -> Result<()> {
        if destination.server().is_none() {
            let asked = [(self.verify, "--verify"), (self.again, "--again"), (self.delete_source, "--delete-source")];
            if let Some((_, option)) = asked.into_iter().find(|(asked, _)| *asked) {
                return Err(Error::usage(format!("{option} is for IMAP destinations: it needs UIDs to know a copy again"))
                    .at(&destination.shown)
                    .hint("mailhaul compare tells whether everything arrived"));
            }
        }
        if !self.delete_source {
            return Ok(());
        }
        let by_hand = "remove it by hand when mailhaul compare says that everything arrived";
        let refusal = match &source.location {
            Location::Stdio => Some(("nothing can be removed from standard input", "leave --delete-source out")),
            Location::Maildir(path) | Location::Mbox(path) | Location::Eml(path) if path.is_dir() && vault::card(path)?.is_some() => {
                Some(("a store of backups keeps what it has", "mailhaul prune removes what is gone from the server for long"))
            }
            Location::Mbox(_) => Some(("this version takes no messages out of an mbox", by_hand)),
            Location::Eml(_) => Some(("this version removes no .eml files in a migration", "mailhaul move takes the files along")),
            Location::Maildir(_) | Location::Server(_) => None,
        };
        refusal.map_or(Ok(()), |(words, hint)| Err(Error::usage(words).at(&source.shown).hint(hint)))
    }

    /// Says what would be removed, as far as that is known before anything is read back.
    pub(super) fn foretell(&self, app: &App, source: &Place, folders: &[Preview]) {
        if !self.delete_source {
            return;
        }
        let most = folders.iter().map(|folder| folder.already_there + folder.to_copy.len() as u64).sum();
        let listed = folders.iter().map(|folder| folder.listed).sum();
        let age = if self.older_than.is_some() { ", as far as they are old enough" } else { "" };
        app.note(&format!(
            "of {} at the source at most {most} would be removed{age}: those whose copies are read back and the same",
            counted(listed, "message")
        ));
        if let Err(error) = self.max_delete.max_delete.unwrap_or_default().check(most, listed, &source.shown) {
            app.note(&format!("if it came to that, none would be: {error}"));
        }
    }

    pub(super) fn asks(&self) -> bool {
        self.verify || self.delete_source
    }
}

/// A run whose copy is done.
pub(super) struct Pass<'a> {
    pub(super) app: &'a App,
    pub(super) leaving: &'a Leaving,
    pub(super) source: &'a Place,
    pub(super) source_name: &'a str,
    pub(super) destination: &'a Place,
    /// Which messages are meant at all.
    pub(super) query: Query,
    pub(super) report: &'a dyn Report,
}

/// A message at the source that may go once its copy is proved.
struct Candidate {
    /// As the source lists it now.
    listed: Listed,
    /// What it is called in the journal.
    key: String,
    row: CopyRow,
}

/// A folder, and what may go of it.
struct Ready<'a> {
    dealt: &'a Dealt,
    /// Copies by key, where they lie.
    found: HashMap<String, Found>,
    candidates: Vec<Candidate>,
}

impl Pass<'_> {
    /// Reads back and takes away, as far as that was asked for.
    pub(super) fn run(&self, journal: &mut Journal, outcome: &Outcome, dealt: &[Dealt], failed: bool) -> After {
        let mut after = After {
            left: self.leaving.delete_source.then(Left::default),
            verified: (self.leaving.verify && !failed).then(Verified::default),
            ..After::default()
        };
        if !self.leaving.asks() {
            return after;
        }
        if failed || !outcome.counts.balanced() {
            for one in dealt {
                self.keep(&mut after, one, UNBALANCED, one.listed.len());
            }
            return after;
        }
        let open = || open::sink(self.destination, Access::ReadOnly, &self.app.context, &self.app.trace);
        let mut proofs = Proofs::new(&open, &self.app.context, self.report);
        let told = self.all(journal, outcome, dealt, &mut proofs, &mut after);
        proofs.finish();
        let ended = match &told {
            Ok(()) if after.problems.is_empty() => journal.finish_run(true),
            // What was copied is complete, and the run is not.
            _ => journal.begin_run().and_then(|()| journal.finish_run(false)),
        };
        after.error = told.err().or(ended.err());
        after
    }

    fn keep(&self, after: &mut After, dealt: &Dealt, reason: &str, messages: usize) {
        if let Some(left) = &mut after.left {
            left.keep(&dealt.source.to_string(), reason, messages as u64);
        }
    }

    fn tell(&self, after: &mut After, problem: Problem) {
        self.report.event(Event::Problem(problem.clone()));
        after.problems.push(problem);
    }

    fn all(&self, journal: &mut Journal, outcome: &Outcome, dealt: &[Dealt], proofs: &mut Proofs<'_>, after: &mut After) -> Result<()> {
        let mut ready = Vec::new();
        for one in dealt {
            self.app.context.check()?;
            let name = one.source.to_string();
            let whole = outcome.folders.iter().any(|folder| folder.name == name && folder.counts.complete())
                && !one.failed
                && !outcome.problems.iter().any(|problem| problem.folder == name);
            ready.push(self.ready(journal, one, whole, proofs, after)?);
        }
        let planned = ready.iter().map(|folder| folder.candidates.len() as u64).sum();
        let listed = dealt.iter().map(|one| one.listed.len() as u64).sum();
        let ceiling = self.leaving.max_delete.max_delete.unwrap_or_default();
        let allowed = ceiling.check(planned, listed, &self.source.shown).map_err(|error| error.at(&self.source.shown));
        if !self.leaving.verify {
            // Nothing is read in vain.
            self.within(allowed, &ready, after)?;
        } else {
            self.verify(&mut ready, proofs, after)?;
            self.within(allowed, &ready, after)?;
        }
        self.take_away(journal, &mut ready, proofs, after)
    }

    /// Ends the pass where more would go than may.
    fn within(&self, allowed: Result<()>, ready: &[Ready<'_>], after: &mut After) -> Result<()> {
        if allowed.is_err() {
            for folder in ready {
                self.keep(after, folder.dealt, CEILING, folder.candidates.len());
            }
        }
        allowed
    }

    /// Which copies there are, and which messages may go once theirs are proved.
    fn ready<'d>(
        &self,
        journal: &mut Journal,
        dealt: &'d Dealt,
        whole: bool,
        proofs: &mut Proofs<'_>,
        after: &mut After,
    ) -> Result<Ready<'d>> {
        let mailbox = journal.mailbox(&dealt.destination.folder)?;
        let rows = journal.copies(self.source_name, &dealt.source, mailbox)?;
        let mut candidates = Vec::new();
        if self.leaving.delete_source {
            if whole {
                let adopted = journal.adopted(mailbox)?;
                candidates = self.candidates(dealt, &rows, &adopted, after)?;
            } else {
                self.keep(after, dealt, TROUBLED, dealt.listed.len());
            }
        }
        let keyless = dealt.listed.iter().any(|listed| listed.key.is_none());
        let names: HashSet<String> = dealt.listed.iter().map(name_of).collect();
        let is_verified = |key: &String, row: &CopyRow| row.state == State::Done && (names.contains(key) || keyless);
        let mut wanted: HashSet<String> = candidates.iter().map(|one| one.key.clone()).collect();
        if self.leaving.verify {
            wanted.extend(rows.iter().filter(|(key, row)| is_verified(key, row)).map(|(key, _)| key.clone()));
        }
        let spot = self.spot(dealt);
        let found = if wanted.is_empty() { HashMap::new() } else { proofs.look(journal, spot, &|key, _| wanted.contains(key))? };
        let mut missing = 0;
        candidates.retain(|one| match found.get(&one.key) {
            Some(_) => true,
            None => {
                missing += 1;
                false
            }
        });
        self.keep(after, dealt, GONE, missing);
        if self.leaving.verify {
            let ids: HashMap<String, u32> = dealt.listed.iter().map(|listed| (name_of(listed), listed.id)).collect();
            let mut lost: Vec<Option<u32>> =
                wanted.iter().filter(|key| !found.contains_key(*key)).map(|key| ids.get(key).copied()).collect();
            lost.sort_unstable();
            if let Some(verified) = &mut after.verified {
                verified.copies += wanted.len() as u64;
                verified.missing += lost.len() as u64;
            }
            for id in lost {
                self.tell(after, self.problem(dealt, id, "its copy is not where it was put any more; --again sends it once more"));
            }
        }
        // A maildrop tells no dates: those of the copies count.
        let (mut young, mut undated) = (0, 0);
        if let Some(age) = self.leaving.older_than {
            candidates.retain(|one| {
                let copy = found.get(&one.key).and_then(|found| found.listed.internal_date);
                match one.listed.internal_date.or(copy) {
                    Some(date) if self.is_older(date, age) => true,
                    Some(_) => {
                        young += 1;
                        false
                    }
                    None => {
                        undated += 1;
                        false
                    }
                }
            });
        }
        self.keep(after, dealt, YOUNG, young);
        self.keep(after, dealt, UNDATED, undated);
        Ok(Ready { dealt, found, candidates })
    }

    fn is_older(&self, date: InternalDate, age: Duration) -> bool {
        date.seconds < self.app.context.unix_time().saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
    }

    fn spot<'d>(&'d self, dealt: &'d Dealt) -> Spot<'d> {
        Spot { source: self.source_name, folder: &dealt.source, destination: &dealt.destination }
    }

    fn problem(&self, dealt: &Dealt, id: Option<u32>, reason: impl Into<String>) -> Problem {
        match id {
            Some(id) => problem(&dealt.source, id.saturating_add(offset(self.source)), reason),
            None => Problem { folder: dealt.source.to_string(), uid: None, reason: reason.into() },
        }
    }

    /// What may go by what the source lists and the journal knows.
    fn candidates(
        &self,
        dealt: &Dealt,
        rows: &HashMap<String, CopyRow>,
        adopted: &HashSet<CopyId>,
        after: &mut After,
    ) -> Result<Vec<Candidate>> {
        let mut listed: Vec<(Listed, String)> = dealt.listed.iter().map(|one| (one.clone(), name_of(one))).collect();
        let keyless = listed.iter().any(|(one, _)| one.key.is_none());
        let of_interest = !rows.is_empty() && (keyless || listed.iter().any(|(_, name)| rows.contains_key(name)));
        if of_interest && (keyless || !self.query.is_empty()) {
            listed = self.look_again(dealt, after)?;
        }
        let mut candidates = Vec::new();
        let mut kept: HashMap<&str, usize> = HashMap::new();
        for (one, key) in listed {
            let row = rows.get(&key);
            let why = match row.map(|row| row.state) {
                Some(State::Merged) => Some(BROUGHT),
                Some(State::Done) => None,
                _ => Some(NO_COPY),
            };
            let why = why.or_else(|| row.filter(|row| adopted.contains(&row.id)).map(|_| BROUGHT));
            // Where the source says how old they are nobody needs to be asked.
            let young = || self.leaving.older_than.zip(one.internal_date).is_some_and(|(age, date)| !self.is_older(date, age));
            let why = why.or_else(|| young().then_some(YOUNG));
            let why = why.or_else(|| row.filter(|row| row.altered).map(|_| ALTERED));
            match (why, row) {
                (None, Some(row)) => candidates.push(Candidate { listed: one, key, row: row.clone() }),
                (why, _) => *kept.entry(why.unwrap_or(NO_COPY)).or_default() += 1,
            }
        }
        for (why, count) in kept {
            self.keep(after, dealt, why, count);
        }
        Ok(candidates)
    }

    /// Lists the folder once more, to read what has no key, and to look into messages for the conditions. What is not meant is left
    /// out.
    fn look_again(&self, dealt: &Dealt, after: &mut After) -> Result<Vec<(Listed, String)>> {
        // What is not meant must not count as fetched.
        let opener = Opener::new(self.source, &self.app.context, &self.app.trace).leaving_no_trace();
        let mut source = opener.source()?;
        source.folders()?;
        let messages = source.list(&dealt.source)?.messages;
        let all = messages.len();
        let wanted = if self.query.is_empty() { messages.clone() } else { source.matching(&messages, &self.query)?.wanted };
        let meant: HashSet<u32> = wanted.iter().map(|one| one.id).collect();
        let keyless: Vec<Listed> = messages.iter().filter(|one| one.key.is_none()).cloned().collect();
        let mut contents: HashMap<u32, Digest> = HashMap::new();
        source.read(&keyless, &mut |index, message| {
            self.app.context.check()?;
            if let (Some(one), Ok(message)) = (keyless.get(index), message) {
                contents.insert(one.id, message.digests.content);
            }
            Ok(())
        })?;
        farewell(source.finish())?;
        self.keep(after, dealt, NOT_MEANT, all.saturating_sub(meant.len()));
        let mut twins = Twins::default();
        let mut named = Vec::new();
        for one in messages {
            let key = match &one.key {
                Some(key) => Some(key.to_string()),
                None => contents.get(&one.id).map(|content| twins.key(*content).to_string()),
            };
            if meant.contains(&one.id) {
                let name = key.unwrap_or_else(|| name_of(&one));
                named.push((one, name));
            }
        }
        Ok(named)
    }

    fn verify(&self, ready: &mut [Ready<'_>], proofs: &mut Proofs<'_>, after: &mut After) -> Result<()> {
        for folder in ready {
            let read = proofs.read(self.spot(folder.dealt), &folder.found)?;
            let ids: HashMap<String, u32> = folder.dealt.listed.iter().map(|listed| (name_of(listed), listed.id)).collect();
            let mut wrong = Vec::new();
            for (key, found) in &folder.found {
                match read.get(&found.row.id) {
                    Some(Proof::Same) => {
                        if let Some(verified) = &mut after.verified {
                            verified.same += 1;
                        }
                    }
                    proof => wrong.push((ids.get(key).copied(), key.clone(), why(proof))),
                }
            }
            wrong.sort();
            if let Some(verified) = &mut after.verified {
                verified.different += wrong.len() as u64;
            }
            let keys: HashSet<&String> = wrong.iter().map(|(_, key, _)| key).collect();
            let before = folder.candidates.len();
            folder.candidates.retain(|one| !keys.contains(&one.key));
            let kept = before - folder.candidates.len();
            self.keep(after, folder.dealt, DIFFERENT, kept);
            for (id, _, reason) in &wrong {
                self.tell(after, self.problem(folder.dealt, *id, reason.clone()));
            }
        }
        Ok(())
    }

    /// Folder by folder: proves what may go, writes down that it is about to, and takes it away.
    fn take_away(&self, journal: &mut Journal, ready: &mut [Ready<'_>], proofs: &mut Proofs<'_>, after: &mut After) -> Result<()> {
        for folder in ready.iter_mut().filter(|folder| !folder.candidates.is_empty()) {
            if !self.leaving.verify {
                let keys: HashSet<&String> = folder.candidates.iter().map(|one| &one.key).collect();
                let found: HashMap<String, Found> =
                    folder.found.iter().filter(|(key, _)| keys.contains(key)).map(|(key, found)| (key.clone(), found.clone())).collect();
                let read = proofs.read(self.spot(folder.dealt), &found)?;
                let mut wrong = Vec::new();
                folder.candidates.retain(|one| match read.get(&one.row.id) {
                    Some(Proof::Same) => true,
                    proof => {
                        wrong.push((one.listed.id, why(proof)));
                        false
                    }
                });
                self.keep(after, folder.dealt, DIFFERENT, wrong.len());
                for (id, reason) in wrong {
                    self.tell(after, self.problem(folder.dealt, Some(id), format!("it stays at the source: {reason}")));
                }
            }
            self.vacate(journal, folder, after)?;
        }
        Ok(())
    }

    fn vacate(&self, journal: &mut Journal, folder: &Ready<'_>, after: &mut After) -> Result<()> {
        let Ready { dealt, candidates, .. } = folder;
        if candidates.is_empty() {
            return Ok(());
        }
        let context = &self.app.context;
        context.check()?;
        let generation = candidates.iter().find_map(|one| match &one.listed.key {
            Some(Key::Uid { generation, .. }) => Some(*generation),
            _ => None,
        });
        let is_pop3 = self.source.server().is_some_and(|server| server.protocol == Protocol::Pop3);
        let names = candidates.iter().map(|one| name_of(&one.listed));
        let picked = match generation {
            Some(generation) => Picked::of_generation(generation, names),
            None => {
                let mut picked = Picked::default();
                for one in candidates {
                    // A maildrop may give a name twice: what an earlier run copied is read once more before it goes.
                    let sure = !is_pop3 || one.listed.key.is_none() || dealt.copied.contains(&one.key);
                    let size = one.listed.size.filter(|_| sure);
                    picked.add(&Listed { size, ..one.listed.clone() });
                }
                picked
            }
        };
        let shown = |one: &Candidate| one.listed.id.saturating_add(offset(self.source));
        let leaving: Vec<vacate::Leaving> = candidates
            .iter()
            .map(|one| vacate::Leaving { shown: shown(one), name: name_of(&one.listed), content: one.row.content })
            .collect();
        journal.commit(&Batch(candidates.iter().map(|one| Change::Leaving { copy: one.row.id }).collect()))?;
        context.step("migrate.before-vacating");
        let outcome = vacate(self.app, self.source, &dealt.source, &picked, &leaving);
        context.step("migrate.after-vacating");
        let Vacated { gone, problems, error } = match outcome {
            Ok(vacated) => vacated,
            // The other folders may be better off.
            Err(error) if error.scope() <= Scope::Mailbox || error.kind() == Kind::Refused => {
                self.tell(after, self.problem(dealt, None, format!("nothing of it was removed: {error}")));
                Vacated::default()
            }
            Err(error) => return Err(error),
        };
        let went = candidates.iter().filter(|one| gone.contains(&shown(one)));
        journal.commit(&Batch(went.map(|one| Change::Released { copy: one.row.id }).collect()))?;
        if let Some(left) = &mut after.left {
            left.remove(&dealt.source.to_string(), gone.len() as u64);
            left.keep(&dealt.source.to_string(), REFUSED, candidates.len().saturating_sub(gone.len()) as u64);
        }
        for (uid, reason) in problems {
            self.tell(after, problem(&dealt.source, uid, reason));
        }
        error.map_or(Ok(()), Err)
    }
}

fn why(proof: Option<&Proof>) -> String {
    match proof {
        Some(Proof::Unreadable(words)) => format!("its copy cannot be read back: {words}"),
        Some(Proof::Different) => "its copy is not the same when read back".to_owned(),
        _ => "its copy could not be read back".to_owned(),
    }
}
