//! What changed since an earlier look at an account: all mailboxes with the figures that tell whether anything did, and of one
//! mailbox what came, what went and which flags changed, by QRESYNC, CONDSTORE or whole listings (RFC 7162). What is there is
//! told exactly or not at all; it knows nothing of what somebody keeps of it.

use super::encode::Command;
use super::listing::{Ask, Extras, Meta, flag_items};
use super::selected::{MAX_SET, MailboxState, News, Selected, open_command, search_all_command};
use super::session::{Mailbox, Qresync, Session, plain_list_commands};
use super::types::{Code, Fetch, MailboxStatus, Response, Untagged};
use super::uid_set::UidSet;
use crate::error::{Error, Kind, Result, Scope};
use crate::message::Flag;
use crate::net::Phase;

/// Octets of known UIDs that are sent along: longer ones are left out, and the server then thinks of all there can be.
const KNOWN_OCTETS: usize = 4000;
/// VANISHED responses that are believed: a server that has so much to say says it in one.
const MAX_VANISHED: u32 = 1000;
/// Whole listings that are tried while mail comes and goes.
const LISTINGS: u32 = 4;
/// Responses that a known message each may bring.
const MAX_EXPECTED: u64 = 10_000_000;
/// Flags and labels of one message that are looked at.
const MAX_FLAGS: usize = 1000;

/// A mailbox as it was at an earlier look.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT: below it, all that was there then and is there still is known.
    pub uid_next: Option<u32>,
    /// HIGHESTMODSEQ.
    pub mod_seq: Option<u64>,
    /// The UIDs that were there, and any that are known of what came later.
    pub uids: &'a UidSet,
}

/// The flags of a message that may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flagged {
    /// UID.
    pub uid: u32,
    /// Its flags now, without `\Recent`, as the server orders them.
    pub flags: Vec<Flag>,
    /// Gmail's labels in wire octets.
    pub gm_labels: Vec<Vec<u8>>,
}

/// A mailbox that was opened to be read and compared with an earlier look.
#[derive(Debug, Clone, Default)]
pub struct Resynced {
    /// What EXAMINE told.
    pub state: MailboxState,
    /// All UIDs there.
    pub there: UidSet,
    /// Flags were told of every known message that may have changed.
    pub flags_told: bool,
}

/// How a mailbox is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// EXAMINE, and no more.
    Plain,
    /// CONDSTORE: with MODSEQs.
    ModSeqs,
    /// QRESYNC: with what changed.
    Changes,
}

/// What came with opening a mailbox.
#[derive(Default)]
struct Opened {
    state: MailboxState,
    /// What is left of the known UIDs; `None` where that cannot be relied on.
    left: Option<UidSet>,
    /// Not all changes of flags could be handed over.
    flags_doubtful: bool,
}

/// The least that all servers have.
const PLAIN: &str = "(MESSAGES UIDNEXT UIDVALIDITY)";

impl Session {
    /// Every mailbox with the figures that change whenever it does: MESSAGES, UIDNEXT, UIDVALIDITY, and where the server has
    /// them HIGHESTMODSEQ and MAILBOXID. One round trip with LIST-STATUS, else two; the first is under way already behind
    /// [`Session::connect_listing`]. `None` where a mailbox cannot be selected, the refusal where there is one.
    ///
    /// # Errors
    /// Loss of the connection, or a refused listing.
    pub fn standings(&mut self) -> Result<Vec<(Mailbox, Option<Result<MailboxStatus>>)>> {
        let items = self.standing_items();
        let mut all = self.overview_of(items)?;
        if items == PLAIN {
            return Ok(all);
        }
        // A mailbox may refuse what the server offers (one that keeps no MODSEQs), or a proxy not know it.
        let refused = |figures: &Option<Result<MailboxStatus>>| matches!(figures, Some(Err(error)) if error.kind() == Kind::Refused);
        let again: Vec<Vec<u8>> = all.iter().filter(|(_, told)| refused(told)).map(|(mailbox, _)| mailbox.wire_name.clone()).collect();
        let names: Vec<&[u8]> = again.iter().map(Vec::as_slice).collect();
        let mut answers = self.figures_of(&names, PLAIN)?.into_iter();
        for (_, told) in all.iter_mut().filter(|(_, told)| refused(told)) {
            if let Some(Ok(answer)) = answers.next() {
                *told = Some(Ok(answer));
            }
        }
        Ok(all)
    }

    /// The figures of [`Self::standings`] for some mailboxes, all STATUS commands in flight together. One that is examined
    /// is left first, for STATUS of a selected mailbox may tell what was (RFC 9051 section 6.3.11).
    ///
    /// # Errors
    /// Loss of the connection.
    pub fn standings_of(&mut self, wire_names: &[&[u8]]) -> Result<Vec<Result<MailboxStatus>>> {
        if let Some((open, _)) = &self.examined
            && wire_names.contains(&open.as_slice())
        {
            let open = open.clone();
            self.examined(&open)?.leave()?;
        }
        let items = self.standing_items();
        let mut found = self.figures_of(wire_names, items)?;
        let refused = |told: &Result<MailboxStatus>| matches!(told, Err(error) if error.kind() == Kind::Refused);
        if items != PLAIN && found.iter().any(refused) {
            let again: Vec<&[u8]> = found.iter().zip(wire_names).filter(|(told, _)| refused(told)).map(|(_, name)| *name).collect();
            let mut answers = self.figures_of(&again, PLAIN)?.into_iter();
            for told in found.iter_mut().filter(|told| refused(told)) {
                if let Some(Ok(answer)) = answers.next() {
                    *told = Ok(answer);
                }
            }
        }
        Ok(found)
    }

    /// What [`Self::standings`] asks first.
    pub(super) fn standing_commands(&self) -> Vec<Command> {
        let together = self.list_status_command(self.standing_items()).or_else(|| self.extended_list_command());
        together.map_or_else(|| plain_list_commands().to_vec(), |command| vec![command])
    }

    fn standing_items(&self) -> &'static str {
        match (self.keeps_mod_seqs(), self.capabilities.has("OBJECTID")) {
            (true, true) => "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID)",
            (true, false) => "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)",
            (false, true) => "(MESSAGES UIDNEXT UIDVALIDITY MAILBOXID)",
            (false, false) => PLAIN,
        }
    }

    fn keeps_mod_seqs(&self) -> bool {
        self.capabilities.has("CONDSTORE") || self.capabilities.has("QRESYNC")
    }

    /// What this server has to tell of a message beyond every server's.
    pub fn extras(&self) -> Extras {
        Extras { object_ids: self.capabilities.has("OBJECTID"), gmail: self.is_gmail() }
    }

    /// Whether it is Gmail (X-GM-EXT-1).
    pub fn is_gmail(&self) -> bool {
        self.capabilities.has("X-GM-EXT-1")
    }

    /// Opens a mailbox to be read and tells which UIDs are there; where the mailbox is still the one that is `known` and the
    /// server keeps MODSEQs, only what changed crosses the wire and `each` gets the flags that may have. One round trip, or
    /// two where QRESYNC or CONDSTORE do not tell enough. The mailbox stays examined.
    ///
    /// # Errors
    /// Refusal or loss of the connection, what `each` returned; [`Scope::Mailbox`] where what the server lists and what it
    /// counts cannot be reconciled.
    pub fn resync(&mut self, wire_name: &[u8], known: Option<Known<'_>>, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<Resynced> {
        let gmail = self.is_gmail();
        let usable = known.filter(|known| known.uid_validity > 0 && known.mod_seq.is_some_and(|then| then > 0) && self.keeps_mod_seqs());
        let manner = match usable {
            // QRESYNC's answers hold no labels.
            Some(_) if !gmail && self.capabilities.has("QRESYNC") && self.qresync != Qresync::Off => Manner::Changes,
            _ if self.keeps_mod_seqs() => Manner::ModSeqs,
            _ => Manner::Plain,
        };
        match self.resync_by(manner, wire_name, usable, each) {
            // It offers what it does not know, or just this mailbox will not have it; a plain EXAMINE tells which.
            Err(error) if error.kind() == Kind::Refused && manner == Manner::Changes => {
                match self.resync_by(Manner::ModSeqs, wire_name, usable, each) {
                    Err(error) if error.kind() == Kind::Refused => self.resync_by(Manner::Plain, wire_name, None, each),
                    other => other,
                }
            }
            Err(error) if error.kind() == Kind::Refused && manner == Manner::ModSeqs => {
                self.resync_by(Manner::Plain, wire_name, None, each)
            }
            other => other,
        }
    }

    fn resync_by(
        &mut self,
        manner: Manner,
        wire_name: &[u8],
        usable: Option<Known<'_>>,
        each: &mut dyn FnMut(Flagged) -> Result<()>,
    ) -> Result<Resynced> {
        let questions = Questions::new(self, manner, wire_name, usable)?;
        self.examined = None;
        self.send_questions(&questions).map_err(|error| error.at(&self.place))?;
        if questions.enable.is_some() {
            let on = self.enable(&["QRESYNC"])?.iter().any(|name| name.eq_ignore_ascii_case("QRESYNC"));
            self.qresync = if on { Qresync::On } else { Qresync::Off };
            if !on {
                return Err(Error::refused("the server does not turn QRESYNC on").at(&self.place));
            }
        }
        let opened = self.open_again(&questions.examine, usable.filter(|_| manner == Manner::Changes), each)?;
        let state = opened.state.clone();
        let same = usable.filter(|known| {
            state.uid_validity == Some(known.uid_validity)
                && !state.no_mod_seqs
                // One that went backwards was restored from somewhere: changes since then mean nothing.
                && state.highest_mod_seq.is_some_and(|now| known.mod_seq.is_some_and(|then| now >= then))
        });
        let mut selected = Selected::opened(self, wire_name, state.clone(), false);
        let (there, flags_told) = match same {
            Some(known) => {
                let (there, told) = selected.resume(&questions, known, opened.left.as_ref(), each)?;
                let there = there.map_or_else(|| selected.list_all(), Ok)?;
                (there, told && !opened.flags_doubtful)
            }
            None => (selected.list_all()?, false),
        };
        let mut state = state;
        if state.highest_mod_seq.is_none() {
            // Later than the listing is early enough: what went in between shows in the count at the next look.
            state.highest_mod_seq = selected.mod_seq_now()?;
        }
        // What happened since the mailbox was opened is told again the next time.
        state.exists = there.len();
        self.examined = Some((wire_name.to_vec(), state.clone()));
        Ok(Resynced { state, there, flags_told })
    }

    /// Sends all questions at once: the first answers tell whether the later ones were right.
    fn send_questions(&mut self, questions: &Questions) -> Result<()> {
        self.wire.drop_ahead()?;
        let commands = questions.enable.iter().chain([&questions.examine, &questions.listing]).chain(&questions.changed);
        for command in commands {
            if !self.wire.send_ahead(command)? {
                break;
            }
        }
        Ok(())
    }

    /// EXAMINE; with `known` its answers tell what changed since.
    fn open_again(&mut self, command: &Command, known: Option<Known<'_>>, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<Opened> {
        let fresh = || Opened { left: known.map(|known| known.uids.clone()), ..Opened::default() };
        let mut opened = fresh();
        let (mut too_much, mut handed, mut vanished) = (false, false, 0_u32);
        self.wire.expect_long_lines(true);
        self.wire.expected = known.map_or(0, |known| 2 * known.uids.len().min(MAX_EXPECTED));
        let outcome = self.run(command, Phase::Listing, "opening the mailbox was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Fetch(fetch)) => match known {
                    Some(known) if opened.state.uid_validity == Some(known.uid_validity) => match flagged(fetch, known.uids, false) {
                        Heard::Flags(flagged) => {
                            handed = true;
                            each(flagged)?;
                        }
                        Heard::Nothing => {}
                        Heard::Unclear => opened.flags_doubtful = true,
                    },
                    Some(_) => opened.flags_doubtful = true,
                    None => too_much = true,
                },
                Response::Untagged(Untagged::Vanished { earlier, uids }) => {
                    vanished += 1;
                    let left = opened.left.take().filter(|_| earlier && vanished <= MAX_VANISHED);
                    opened.left = left.map(|left| left.difference(&uids));
                }
                Response::Untagged(Untagged::Expunge(_)) => opened.left = None,
                Response::Untagged(Untagged::Search(_) | Untagged::ESearch(_) | Untagged::Sort(_)) => too_much = true,
                // What came before it was said of the mailbox that was open until now.
                Response::Untagged(Untagged::Status(status)) if status.code == Some(Code::Closed) => opened = fresh(),
                Response::Untagged(told) => opened.state.learn(&told),
                _ => {}
            }
            Ok(())
        });
        self.wire.expect_long_lines(false);
        self.wire.expected = 0;
        let status = outcome?;
        if too_much {
            self.wire.spoil_ahead();
        }
        match status.code {
            Some(Code::UidValidity(value)) => opened.state.uid_validity = opened.state.uid_validity.or(Some(value)),
            Some(Code::HighestModSeq(value)) => opened.state.highest_mod_seq = opened.state.highest_mod_seq.or(Some(value)),
            Some(Code::NoModSeq) => opened.state.no_mod_seqs = true,
            _ => {}
        }
        // They say what this session may change, which is nothing.
        opened.state.permanent_flags = None;
        if handed && known.is_some_and(|known| opened.state.uid_validity != Some(known.uid_validity)) {
            return Err(Error::protocol("the server tells two different UIDVALIDITYs of one mailbox")
                .scoped(Scope::Mailbox)
                .at(&self.place));
        }
        Ok(opened)
    }
}

/// What is asked about a mailbox in one go.
struct Questions {
    enable: Option<Command>,
    examine: Command,
    /// All UIDs, or those above the known ones.
    listing: Command,
    /// UIDs below are not asked for.
    floor: u32,
    /// Flags that changed.
    changed: Option<Command>,
}

impl Questions {
    fn new(session: &Session, manner: Manner, wire_name: &[u8], usable: Option<Known<'_>>) -> Result<Self> {
        let mut examine = open_command(wire_name, false)?;
        let (mut listing, mut floor, mut changed) = (search_all_command(&session.capabilities), 1, None);
        if let Some(known) = usable {
            let extended = session.capabilities.has("ESEARCH") || session.capabilities.has("IMAP4REV2");
            // Of what came since then only a part may be known (a run that was broken off), so that all of it is listed.
            floor = known.uids.last().unwrap_or(0).saturating_add(1).min(known.uid_next.unwrap_or(1));
            let search = Command::new("UID SEARCH").raw(if extended { " RETURN (ALL) UID " } else { " UID " });
            listing = search.number(u64::from(floor)).raw(":*");
        }
        match (manner, usable) {
            (Manner::Changes, Some(known)) => {
                let since = known.mod_seq.unwrap_or(1);
                examine = examine.raw(" (QRESYNC (").number(u64::from(known.uid_validity)).sp().number(since);
                if !known.uids.is_empty() && known.uids.to_string().len() <= KNOWN_OCTETS {
                    examine = examine.sp().uid_set(known.uids)?;
                }
                examine = examine.raw("))");
            }
            (Manner::Plain, _) => {}
            (_, known) => {
                examine = examine.raw(" (CONDSTORE)");
                if let Some(known) = known
                    && let (Some(last), Some(since)) = (known.uids.last(), known.mod_seq)
                {
                    let command = Command::new("UID FETCH").raw(" 1:").number(u64::from(last)).raw(flag_items(session.extras()));
                    changed = Some(command.raw(" (CHANGEDSINCE ").number(since).raw(")"));
                }
            }
        }
        let enable = (manner == Manner::Changes && session.qresync == Qresync::Unasked).then(|| Command::new("ENABLE").raw(" QRESYNC"));
        Ok(Self { enable, examine, listing, floor, changed })
    }
}

/// What a FETCH says of a message's flags.
enum Heard {
    Flags(Flagged),
    /// It is not about a message that was known.
    Nothing,
    /// It may be, or it is and tells too little.
    Unclear,
}

fn flagged(fetch: Fetch, known: &UidSet, gmail: bool) -> Heard {
    // Sequence numbers mean nothing here: messages may have gone.
    let Some(uid) = fetch.uid else { return Heard::Unclear };
    if !known.contains(uid) {
        return Heard::Nothing;
    }
    let (Some(flags), gm_labels) = (fetch.flags, fetch.gm_labels) else { return Heard::Unclear };
    if gmail && gm_labels.is_none() {
        return Heard::Unclear;
    }
    let flags = flags.into_iter().filter(|flag| !flag.is_recent()).take(MAX_FLAGS).collect();
    Heard::Flags(Flagged { uid, flags, gm_labels: gm_labels.unwrap_or_default().into_iter().take(MAX_FLAGS).collect() })
}

impl Selected<'_> {
    /// Goes on from an earlier look: the UIDs there (`None` where they do not add up to what the mailbox holds), and whether
    /// all changes of flags were told.
    fn resume(
        &mut self,
        questions: &Questions,
        known: Known<'_>,
        left: Option<&UidSet>,
        each: &mut dyn FnMut(Flagged) -> Result<()>,
    ) -> Result<(Option<UidSet>, bool)> {
        let arrived = match self.run_search(&questions.listing) {
            Err(error) if error.kind() == Kind::Refused => None,
            other => other?,
        };
        let told = match &questions.changed {
            Some(command) => self.changes(command, known.uids, each)?,
            None => true,
        };
        let (Some(arrived), None) = (arrived, self.arrived) else { return Ok((None, told)) };
        let above = UidSet::range(questions.floor, u32::MAX);
        let mut there = left.unwrap_or(known.uids).difference(&above);
        // `n:*` finds the last message even where it lies below n.
        there.extend(arrived.iter().filter(|uid| above.contains(*uid)));
        Ok(((there.len() == self.state.exists).then_some(there), told))
    }

    /// Hands over the flags that a FETCH tells of known messages; says whether they are all.
    fn changes(&mut self, command: &Command, known: &UidSet, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<bool> {
        let most = 2 * self.most_messages();
        let gmail = self.session.is_gmail();
        let mut news = News::default();
        let (mut told, mut unclear) = (0, false);
        self.session.wire.expected = most;
        let outcome = self.session.run(command, Phase::Listing, "reading flags was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Fetch(fetch)) => {
                    told += 1;
                    if told > most {
                        return Err(Error::protocol("the server lists more than the mailbox can hold"));
                    }
                    match flagged(fetch, known, gmail) {
                        Heard::Flags(flagged) => each(flagged)?,
                        Heard::Nothing => {}
                        Heard::Unclear => unclear = true,
                    }
                }
                Response::Untagged(other) => news.hear(&other),
                _ => {}
            }
            Ok(())
        });
        self.session.wire.expected = 0;
        self.take_news(&news);
        match outcome {
            Err(error) if error.kind() == Kind::Refused => Ok(false),
            other => other.map(|_| !unclear),
        }
    }

    /// All UIDs, as many as the mailbox holds: whoever takes what is missing for gone needs no less.
    fn list_all(&mut self) -> Result<UidSet> {
        let (mut count, mut exists) = (0, 0);
        for attempt in 1..=LISTINGS {
            self.state.exists = self.arrived.take().unwrap_or(self.state.exists);
            let before = self.state.exists;
            let found = self.search_all()?;
            count = found.len();
            exists = self.arrived.unwrap_or(self.state.exists);
            let is_quiet = self.arrived.is_none() && exists == before;
            // In a mailbox that is never quiet what moves may be counted or not.
            let fits = if is_quiet {
                count == exists
            } else {
                attempt == LISTINGS && (before.min(exists).min(self.state.exists)..=before.max(exists)).contains(&count)
            };
            if fits {
                return Ok(found);
            }
        }
        let words = format!("the server counts {exists} messages and lists {count}, so nobody can say which are there");
        Err(Error::protocol(words).scoped(Scope::Mailbox).at(&self.session.place))
    }

    /// The flags (and Gmail's labels) of these messages as they are now, by rising UID, pipelined. One that the server leaves
    /// out is left out.
    ///
    /// # Errors
    /// Refusal or loss of the connection, or what `each` returned.
    pub fn flags_of(&mut self, uids: &UidSet, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<()> {
        let extras = self.session.extras();
        self.metas(uids, Ask::Flags(extras), &mut |meta| {
            let labels = meta.marks.and_then(|marks| marks.gm_labels);
            if !meta.flags_told || extras.gmail && labels.is_none() {
                return Ok(());
            }
            each(Flagged { uid: meta.uid, flags: meta.flags, gm_labels: labels.unwrap_or_default() })
        })
    }

    /// What there is to tell of these messages before they are read, by rising UID, pipelined: size, date, flags and what
    /// extensions know them by. What a listing leaves out although it is there (Yahoo does that, mailcore2#1445) comes last
    /// and may be bare; only what is gone is not handed over.
    ///
    /// # Errors
    /// Refusal or loss of the connection, or what `each` returned.
    pub fn marks_of(&mut self, uids: &UidSet, each: &mut dyn FnMut(Meta) -> Result<()>) -> Result<()> {
        let extras = self.session.extras();
        let mut left = uids.clone();
        for ask in [Ask::Marks(extras), Ask::Numbers] {
            let mut done = UidSet::new();
            let outcome = self.metas(&left, ask, &mut |meta| {
                done.insert(meta.uid);
                each(meta)
            });
            match outcome {
                // Perhaps it does not know all that it offers, perhaps it stumbles over one message.
                Err(error) if error.kind() == Kind::Refused => {}
                other => other?,
            }
            left = left.difference(&done);
            if left.is_empty() {
                return Ok(());
            }
        }
        for set in left.split(MAX_SET) {
            for uid in self.still_there(&set)?.iter().filter(|uid| set.contains(*uid)) {
                each(Meta { uid, size: None, internal_date: None, flags: Vec::new(), flags_told: false, header: None, marks: None })?;
            }
        }
        Ok(())
    }

    /// Those of a few UIDs that SEARCH or, where it is refused, FETCH finds.
    pub(super) fn still_there(&mut self, uids: &UidSet) -> Result<UidSet> {
        let command = Command::new("UID SEARCH").raw(" UID ").uid_set(uids)?;
        match self.run_search(&command) {
            Ok(found) => Ok(found.unwrap_or_default()),
            Err(error) if error.kind() == Kind::Refused => self.search_all(),
            Err(error) => Err(error),
        }
    }
}
