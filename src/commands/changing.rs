//! What verbs share that change messages: choosing and checking them again before anything is done, giving flags to just
//! those, the ceiling for deletions, and the document that says what was done. It decides nothing about where mail goes.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde_json::Value;

use super::App;
use super::choice::{Choice, Looked, Picked, Store};
use super::reading::NO_SUCH;
use crate::cli::OutputArgs;
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::folder::Folder;
use crate::imap::UidSet;
use crate::imap::changing::{Change, FlagsNow, Rest};
use crate::imap::selected::Selected;
use crate::imap::session::Session;
use crate::message::Flag;
use crate::output::{ChangedRow, Format, Head, Rows, terminal_width};
use crate::plan::Ceiling;
use crate::query::Facts;
use crate::report::{Event, Problem, Report, counted};
use crate::store::{Listed, Source};
use crate::summary::Summary;

/// So much of a message is looked at for its header.
pub(super) const HEADER_BYTES: usize = 256 * 1024;
/// Octets of different sets of flags that one mailbox may show.
const MAX_FLAG_OCTETS: usize = 16 * 1024 * 1024;

/// `--dry-run`.
#[derive(clap::Args, Debug, Clone, Copy, Default)]
pub struct DryRun {
    /// Change nothing; say what would be done, message by message
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `--max-delete`.
#[derive(clap::Args, Debug, Clone, Copy, Default)]
pub struct MaxDelete {
    /// Do nothing, and exit with 10, if more than N messages (or P percent of the folder) would go [default: 50 or 10%,
    /// whichever is more]
    #[arg(long, value_name = "N|P%", help_heading = None::<&'static str>)]
    pub max_delete: Option<Ceiling>,
}

impl MaxDelete {
    /// How many of so many messages may go.
    pub fn most(self, of: u64) -> u64 {
        self.max_delete.unwrap_or_default().most(of)
    }

    /// Stops a run that would delete more messages than was allowed; `folder` holds `of`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Safety`].
    pub fn check(self, planned: u64, of: u64, folder: &Folder) -> Result<()> {
        self.max_delete.unwrap_or_default().check(planned, of, &folder.to_string())
    }
}

/// What a run did, to be told when it is over.
pub(super) struct Done<'a> {
    /// `mailhaul.flag/1`, say.
    pub(super) schema: &'static str,
    /// What was done to the messages, as a sentence about them ends: `moved to work/Archive`.
    pub(super) did: String,
    /// The place as the user named it.
    pub(super) place: &'a str,
    /// Messages that were chosen.
    pub(super) selected: u64,
    /// Messages that were changed, or would be.
    pub(super) changed: u64,
    /// Nothing was done in fact.
    pub(super) dry_run: bool,
    /// Messages have numbers in place of UIDs.
    pub(super) numbered: bool,
    /// Each message that was not changed although it was asked for.
    pub(super) problems: Vec<Problem>,
}

impl Done<'_> {
    /// Writes the document, the rows being handed over by `each`, names the problems on standard error and picks the exit.
    pub(super) fn write(
        self,
        app: &App,
        output: &OutputArgs,
        each: impl FnOnce(&mut dyn FnMut(&ChangedRow) -> Result<()>) -> Result<()>,
    ) -> Result<ExitCode> {
        let format = super::format(output);
        let mut members = vec![("place", Value::from(self.place)), ("selected", self.selected.into()), ("changed", self.changed.into())];
        if self.dry_run {
            members.push(("dry_run", true.into()));
        }
        if !self.problems.is_empty() {
            let problems = serde_json::to_value(&self.problems).map_err(|error| Error::local("cannot write JSON").because(error))?;
            members.push(("problems", problems));
        }
        let head = Head { schema: self.schema, members, rows: "messages" };
        let id = if self.numbered { "number" } else { "uid" };
        let fields: &[&str] =
            if self.dry_run { &["folder", id, "flags", "date", "from", "subject"] } else { &["folder", id, "new_uid", "flags"] };
        // People get the sentence below; a screen full of numbers would only push it away. Who asked for quiet gets neither.
        let silent = output.format().is_none() && ((format == Format::Table && !self.dry_run) || app.global.quiet);
        if !silent {
            let mut rows =
                Rows::new::<ChangedRow>(std::io::stdout().lock(), format, &head, None, fields, terminal_width(std::io::stdout()))?;
            each(&mut |row| rows.row(row))?;
            rows.finish()?;
        }
        // Rows in a pipe speak for themselves, unless nothing of what they say was done.
        if format == Format::Table || (self.dry_run && !format.is_json()) {
            app.note(&self.sentence());
        }
        let code = if self.problems.is_empty() { ExitCode::Success } else { ExitCode::Partial };
        let progress = super::progress(app);
        self.problems.into_iter().for_each(|problem| progress.event(Event::Problem(problem)));
        Ok(code)
    }

    /// What was done, or would be, in a sentence.
    fn sentence(&self) -> String {
        let did = &self.did;
        let what = match (self.changed, self.selected) {
            (0, 0) => return format!("{}: no message was found; nothing was done", self.place),
            (changed, selected) if changed == selected => counted(changed, "message"),
            (changed, selected) => format!("{changed} of {}", counted(selected, "message")),
        };
        let end = if self.dry_run { format!("would be {did}; nothing was done") } else { did.clone() };
        format!("{}: {what} {end}", self.place)
    }
}

/// A problem with one message.
pub(super) fn problem(folder: &Folder, uid: u32, reason: impl Into<String>) -> Problem {
    Problem { folder: folder.to_string(), uid: Some(uid), reason: reason.into() }
}

/// Opens a folder to change it.
pub(super) fn select<'a>(session: &'a mut Session, folder: &Folder) -> Result<Selected<'a>> {
    let place = session.place().to_owned();
    let selected = session.open_folder(folder, true)?;
    if selected.state().read_only {
        return Err(Error::refused(format!("the folder {folder} can only be read: the server opens it READ-ONLY")).at(place));
    }
    Ok(selected)
}

/// A message that was chosen and looked at.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// UID.
    pub(super) uid: u32,
    /// Its flags as they were when it was looked at; many messages share one list.
    pub(super) flags: Rc<[Flag]>,
    /// What a change may depend on: the MODSEQ the flags belong to.
    mod_seq: Option<u64>,
}

impl Candidate {
    /// Whether a change can be made to depend on nobody else's.
    pub(super) fn conditional(&self) -> bool {
        self.mod_seq.is_some()
    }
}

/// What a choice came to, with every message looked at.
pub(super) struct Checked {
    /// Rising by UID.
    pub(super) messages: Vec<Candidate>,
    /// Named one by one and not there.
    pub(super) missing: Vec<u32>,
}

/// Chooses messages and looks at each before anything is done to it: what a server's SEARCH found counts only as long as
/// the flags, dates and sizes it tells of bear it out.
pub(super) fn check(selected: &mut Selected<'_>, choice: &Choice, app: &App) -> Result<Checked> {
    // Asked for before anything else: whatever changes from now on has a higher one.
    let mod_seq = if choice.query().by_flags() { selected.mod_seq_now()? } else { None };
    let mut lists = FlagLists::default();
    let mut messages = Vec::new();
    let Looked { missing, contradicted } = choice.look(selected, &mut |meta| {
        app.context.check()?;
        messages.push(Candidate { uid: meta.uid, flags: lists.shared(meta.flags)?, mod_seq });
        Ok(())
    })?;
    if contradicted > 0 {
        app.note(&format!(
            "the server's search found {} too many, by flags, dates and sizes; nothing is done to what does not match",
            counted(contradicted, "message")
        ));
    }
    Ok(Checked { messages, missing })
}

/// What a choice came to among files.
pub(super) struct LocalChoice {
    pub(super) wanted: Vec<Listed>,
    /// Named one by one and not there, or not to be looked into.
    pub(super) problems: Vec<Problem>,
}

/// Lists a folder of files and chooses; people count messages from one.
pub(super) fn local_choice(source: &mut dyn Source, folder: &Folder, choice: &Choice) -> Result<LocalChoice> {
    let messages = source.list(folder)?.messages;
    let there: HashSet<u32> = messages.iter().map(|listed| listed.id.saturating_add(1)).collect();
    let mut problems: Vec<Problem> =
        choice.missing(|number| there.contains(&number)).into_iter().map(|number| problem(folder, number, NO_SUCH)).collect();
    let Picked { wanted, unreadable } = choice.of_listing(&mut Store::Local(source), messages, 1)?;
    problems.extend(unreadable.iter().map(|(listed, error)| problem(folder, listed.id.saturating_add(1), error.to_string())));
    Ok(LocalChoice { wanted, problems })
}

/// Rows of files; with `headers` each is read for what tells it apart.
pub(super) fn local_rows(
    source: &mut dyn Source,
    rows: &[(Listed, ChangedRow)],
    headers: bool,
    row: &mut dyn FnMut(&ChangedRow) -> Result<()>,
) -> Result<()> {
    if !headers {
        return rows.iter().try_for_each(|(_, one)| row(one));
    }
    let wanted: Vec<Listed> = rows.iter().map(|(listed, _)| listed.clone()).collect();
    source.read(&wanted, &mut |index, message| match (rows.get(index), message) {
        (Some((_, blank)), Ok(message)) => row(&blank.clone().with_summary(Summary::of(&message.body.prefix(HEADER_BYTES)?))),
        (Some((_, blank)), Err(_)) => row(blank),
        (None, _) => Ok(()),
    })
}

/// Every different list of flags once.
#[derive(Default)]
struct FlagLists {
    lists: BTreeMap<String, Rc<[Flag]>>,
    octets: usize,
}

impl FlagLists {
    fn shared(&mut self, flags: Vec<Flag>) -> Result<Rc<[Flag]>> {
        let key = flags.iter().map(Flag::wire).collect::<Vec<_>>().join(" ");
        if let Some(known) = self.lists.get(&key) {
            return Ok(Rc::clone(known));
        }
        self.octets += 2 * key.len() + 32 * flags.len();
        if self.octets > MAX_FLAG_OCTETS {
            return Err(Error::protocol("the server gives the messages more different flags than any mailbox keeps"));
        }
        let list: Rc<[Flag]> = flags.into();
        self.lists.insert(key, Rc::clone(&list));
        Ok(list)
    }
}

/// What is to become of flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reflag {
    /// To be added.
    pub(super) add: Vec<Flag>,
    /// To be taken away.
    pub(super) remove: Vec<Flag>,
    /// To be all there are (of those in `kept`), in place of the other two.
    pub(super) set: Option<Vec<Flag>>,
    /// With `set`: flags that the mailbox does not let anybody change, so that a difference in them is none.
    pub(super) fixed: Vec<Flag>,
    /// Messages that need no change are stored too where that tells whether they still are as they were chosen.
    pub(super) confirm: bool,
}

impl Reflag {
    /// The flags after the change.
    pub(super) fn after(&self, flags: &[Flag]) -> Vec<Flag> {
        if let Some(set) = &self.set {
            return set.iter().chain(flags.iter().filter(|flag| self.fixed.contains(flag))).cloned().collect();
        }
        let kept = flags.iter().filter(|flag| !self.remove.contains(flag));
        kept.chain(self.add.iter().filter(|flag| !flags.contains(flag))).cloned().collect()
    }

    /// Whether it would change anything.
    pub(super) fn changes(&self, flags: &[Flag]) -> bool {
        let after = self.after(flags);
        after.iter().any(|flag| !flags.contains(flag)) || flags.iter().any(|flag| !after.contains(flag))
    }
}

/// What became of flags.
#[derive(Default)]
pub(super) struct Reflagged {
    /// Changed, with the flags they had before, rising by UID.
    pub(super) changed: Vec<Candidate>,
    /// Why some were not.
    pub(super) problems: Vec<(u32, String)>,
    /// What ended the session, if it is ended.
    pub(super) lost: Option<Error>,
    /// The server's first refusal.
    pub(super) refused: Option<Error>,
}

impl Reflagged {
    /// The end of a run in which nothing was done because the server would not have it.
    pub(super) fn refused_all(&mut self) -> Result<()> {
        if self.changed.is_empty() && self.lost.is_none() { self.refused.take().map_or(Ok(()), Err) } else { Ok(()) }
    }
}

/// Gives flags to the messages that need the change. Where somebody else changed one meanwhile and it matters, it is looked
/// at once more; then it is left alone and named.
pub(super) fn reflag(selected: &mut Selected<'_>, choice: &Choice, messages: &[Candidate], change: &Reflag) -> Result<Reflagged> {
    let mut all = Reflagged::default();
    let needs = |candidate: &&Candidate| change.changes(&candidate.flags) || (change.confirm && candidate.mod_seq.is_some());
    let wanted: Vec<Candidate> = messages.iter().filter(needs).cloned().collect();
    let modified = store(selected, &wanted, change, &mut all)?;
    if !modified.is_empty() && all.lost.is_none() {
        let now = look_again(selected, &modified, &mut all)?;
        let mut lists = FlagLists::default();
        let mut again = Vec::new();
        for (uid, FlagsNow { flags, mod_seq }) in now {
            let facts = Facts { flags: Some(&flags), ..Facts::default() };
            if choice.query().holds(&facts) == Some(false) || !(change.confirm || change.changes(&flags)) {
                continue;
            }
            match mod_seq {
                Some(_) => again.push(Candidate { uid, flags: lists.shared(flags)?, mod_seq }),
                None => all.problems.push((uid, "somebody else changed it meanwhile, and the server does not say when".to_owned())),
            }
        }
        for uid in store(selected, &again, change, &mut all)?.iter() {
            all.problems.push((uid, "somebody else keeps changing it; it was left alone".to_owned()));
        }
    }
    all.changed.sort_by_key(|candidate| candidate.uid);
    all.problems.sort();
    Ok(all)
}

/// Flags as they are now. Where the session is lost over it nothing is known of them, and what was done before is told all
/// the same.
fn look_again(selected: &mut Selected<'_>, uids: &UidSet, all: &mut Reflagged) -> Result<BTreeMap<u32, FlagsNow>> {
    match selected.flags_now(uids) {
        Err(error) if is_loss(&error) => {
            let reason = format!("not known whether it was changed: {error}");
            all.problems.extend(uids.iter().map(|uid| (uid, reason.clone())));
            all.lost = Some(error);
            Ok(BTreeMap::new())
        }
        other => other,
    }
}

/// One round of STORE; gives those that somebody else changed meanwhile.
fn store(selected: &mut Selected<'_>, messages: &[Candidate], change: &Reflag, all: &mut Reflagged) -> Result<UidSet> {
    let confirmed = |candidate: &&Candidate| change.confirm && candidate.mod_seq.is_some();
    let lacks = |candidate: &&Candidate| confirmed(candidate) || change.add.iter().any(|flag| !candidate.flags.contains(flag));
    let has = |candidate: &&Candidate| change.remove.iter().any(|flag| candidate.flags.contains(flag));
    let mut modified = UidSet::new();
    let mut untouched = UidSet::new();
    let mut rests: Vec<Rest> = Vec::new();
    let steps: [(Change, &[Flag]); 2] = match &change.set {
        Some(set) => [(Change::Set, set), (Change::Set, &[])],
        None => [(Change::Add, &change.add), (Change::Remove, &change.remove)],
    };
    let mut stored = UidSet::new();
    for (index, (how, flags)) in steps.into_iter().enumerate() {
        let mut groups: BTreeMap<Option<u64>, Vec<u32>> = BTreeMap::new();
        let members = messages.iter().filter(|candidate| match how {
            Change::Set => index == 0,
            Change::Add => lacks(candidate),
            Change::Remove => has(candidate) && !modified.contains(candidate.uid),
        });
        for candidate in members {
            // Our own first step gave it a new MODSEQ.
            let mod_seq = candidate.mod_seq.filter(|_| !stored.contains(candidate.uid));
            groups.entry(mod_seq).or_default().push(candidate.uid);
        }
        let sets: Vec<(UidSet, Option<u64>)> = groups.into_iter().map(|(mod_seq, uids)| (uids.into_iter().collect(), mod_seq)).collect();
        if sets.is_empty() {
            continue;
        }
        if rests.iter().any(|rest| rest.error.is_some()) {
            untouched.extend(sets.iter().flat_map(|(uids, _)| uids.iter()).collect::<Vec<_>>());
            continue;
        }
        let outcome = selected.store_each(&sets, how, flags)?;
        stored = outcome.done;
        modified.extend(outcome.modified.iter().collect::<Vec<_>>());
        rests.push(outcome.rest);
    }
    let mut failed = untouched;
    let mut unknown = UidSet::new();
    let mut error: Option<Error> = None;
    for rest in rests {
        failed.extend(rest.refused.iter().collect::<Vec<_>>());
        unknown.extend(rest.unknown.iter().collect::<Vec<_>>());
        error = error.or(rest.error);
    }
    let lost = error.as_ref().is_some_and(is_loss);
    let mut gone = UidSet::new();
    if !failed.is_empty() && !lost {
        // A refused STORE may have changed some of its messages all the same.
        let now = look_again(selected, &failed, all)?;
        if all.lost.is_none() {
            gone = failed.iter().filter(|uid| !now.contains_key(uid)).collect();
            failed = failed.iter().filter(|uid| now.get(uid).is_some_and(|now| change.changes(&now.flags))).collect();
        }
    }
    let reason = error.as_ref().map(ToString::to_string).unwrap_or_default();
    all.problems.extend(unknown.iter().map(|uid| (uid, format!("not known whether it was changed: {reason}"))));
    if all.lost.is_none() {
        all.problems.extend(failed.iter().filter(|uid| !unknown.contains(*uid)).map(|uid| (uid, reason.clone())));
    }
    let done = |candidate: &&Candidate| [&modified, &failed, &unknown, &gone].iter().all(|others| !others.contains(candidate.uid));
    all.changed.extend(messages.iter().filter(done).cloned());
    if lost {
        all.lost = error;
    } else if all.refused.is_none() {
        all.refused = error;
    }
    Ok(modified)
}

/// Whether the session went with an error, so that nothing more can be done.
pub(super) fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), Kind::Network | Kind::Timeout | Kind::Protocol | Kind::Interrupted(_))
}

/// The rows of a dry run: each message with enough to tell it apart.
pub(super) fn preview(
    selected: &mut Selected<'_>,
    folder: &Folder,
    messages: &[Candidate],
    flags: &dyn Fn(&[Flag]) -> Vec<Flag>,
    row: &mut dyn FnMut(&ChangedRow) -> Result<()>,
) -> Result<()> {
    let uids: UidSet = messages.iter().map(|candidate| candidate.uid).collect();
    let mut rest = messages.iter().peekable();
    selected.summaries(&uids, true, &mut |meta| {
        while rest.next_if(|candidate| candidate.uid < meta.uid).is_some() {}
        let Some(candidate) = rest.next_if(|candidate| candidate.uid == meta.uid) else { return Ok(()) };
        let blank = ChangedRow { folder: folder.to_string(), uid: Some(meta.uid), ..ChangedRow::default() };
        let header = meta.header.as_deref().unwrap_or_default();
        row(&blank.with_flags(&flags(&candidate.flags)).with_summary(Summary::of(header)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(names: &str) -> Vec<Flag> {
        names.split_whitespace().map(Flag::new).collect()
    }

    #[test]
    fn what_was_done_is_a_sentence_in_the_right_number() {
        let sentence = |selected, changed, dry_run| {
            let did = "moved to work/Old".to_owned();
            Done { schema: "", did, place: "work", selected, changed, dry_run, numbered: false, problems: Vec::new() }.sentence()
        };
        assert_eq!(sentence(1, 1, false), "work: 1 message moved to work/Old");
        assert_eq!(sentence(3, 2, false), "work: 2 of 3 messages moved to work/Old");
        assert_eq!(sentence(2, 2, true), "work: 2 messages would be moved to work/Old; nothing was done");
        assert_eq!(sentence(0, 0, false), "work: no message was found; nothing was done");
    }

    #[test]
    fn the_ceiling_is_fifty_or_a_tenth_unless_said_otherwise() {
        let allowed = |most: Option<&str>, planned, of| {
            let most = MaxDelete { max_delete: most.map(|text| text.parse().unwrap()) };
            most.check(planned, of, &Folder::inbox()).is_ok()
        };
        assert!(allowed(None, 50, 50) && !allowed(None, 51, 100) && allowed(None, 100, 1000) && !allowed(None, 101, 1009));
        assert!(allowed(Some("3"), 3, 9) && !allowed(Some("3"), 4, 9_000) && !allowed(Some("0"), 1, 9));
        assert!(allowed(Some("20%"), 2, 10) && !allowed(Some("20%"), 3, 10) && allowed(Some("100%"), 10, 10));
        let error = MaxDelete::default().check(51, 60, &Folder::inbox()).unwrap_err();
        assert_eq!(error.kind(), Kind::Safety);
        assert!(error.to_string().contains("--max-delete 51"), "{error}");
        for text in ["", "%", "101%", "-1", "1.5", "x"] {
            assert!(text.parse::<Ceiling>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_differs_is_changed() {
        let change = Reflag { add: flags("\\Seen"), remove: flags("junk"), ..Reflag::default() };
        assert!(change.changes(&flags("")) && change.changes(&flags("\\Seen Junk")) && !change.changes(&flags("\\SEEN x")));
        assert_eq!(change.after(&flags("junk x")), flags("x \\Seen"));
        let change = Reflag { set: Some(flags("\\Seen")), fixed: flags("$MDNSent"), ..Reflag::default() };
        assert!(!change.changes(&flags("\\Seen")) && !change.changes(&flags("$MDNSent \\seen")));
        assert!(change.changes(&flags("\\Seen x")) && change.changes(&flags("$MDNSent")));
    }
}
