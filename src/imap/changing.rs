//! The verbs of a selected mailbox that change it: flags, copies, moves, expunging just the named. Fallbacks live inside
//! the verb; sets are cut so that no command exceeds 8,000 octets and the commands are pipelined. It never decides what to
//! change and keeps no record; what was done before a refusal or a lost connection is told apart from what was not.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::encode::{Command, MAX_QUOTED};
use super::selected::{MAX_SET, Selected};
use super::types::{Code, Response, StatusLine, Untagged};
use super::uid_set::UidSet;
use super::wire::refusal;
use crate::error::{Error, Kind, Result};
use crate::message::Flag;
use crate::net::Phase;

/// Octets of unanswered requests. Answers to these are short, so that the read buffer and the sockets hold them while the
/// requests go out; ten thousand scattered UIDs fit.
const REQUEST_OCTETS: usize = 64 * 1024;
/// Commands in flight.
const COMMANDS: usize = 16;
/// Octets of a command beside its name, its tag and its line end.
const MAX_COMMAND: usize = 7900;
/// UIDs in one command: some servers name each of them in COPYUID and MODIFIED, twice eleven octets at most, on one line.
const MAX_UIDS: u32 = 20_000;
/// A set of UIDs gets as much room at least.
const LEAST_SET: usize = 100;

/// Flags of one message that are looked at.
const MAX_FLAGS: usize = 100;

/// What is done with flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Set,
}

/// Flags of a message as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagsNow {
    /// All but `\\Recent`.
    pub flags: Vec<Flag>,
    /// The MODSEQ they belong to, where the server keeps it.
    pub mod_seq: Option<u64>,
}

/// What was asked for and is not known to be done.
#[derive(Debug, Default)]
pub struct Rest {
    /// Not done: their command was refused, or never sent because an earlier one was. (A STORE refused may have changed
    /// some all the same: RFC 9051 section 6.4.6 promises nothing.)
    pub refused: UidSet,
    /// The connection was lost before the server said.
    pub unknown: UidSet,
    /// Why: the first refusal, or what became of the connection.
    pub error: Option<Error>,
}

impl Rest {
    /// Nothing when all was done, else why not.
    ///
    /// # Errors
    /// The refusal or the loss of the connection.
    pub fn whole(self) -> Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

/// What a STORE or an EXPUNGE did.
#[derive(Debug, Default)]
pub struct Stored {
    /// The server said OK for these.
    pub done: UidSet,
    /// Left alone because somebody changed them meanwhile (MODIFIED, RFC 7162 section 3.1.3).
    pub modified: UidSet,
    /// All others.
    pub rest: Rest,
}

/// What a COPY or a MOVE did.
#[derive(Debug, Default)]
pub struct Placed {
    /// UIDs and their UIDs there, ascending, where the server tells (COPYUID). Those it left out of what it told are gone
    /// meanwhile, and absent; where it tells nothing, all that were asked for are here.
    pub placed: Vec<(u32, Option<u32>)>,
    /// UIDVALIDITY there, where the server tells.
    pub uid_validity: Option<u32>,
    /// What was refused or is not known.
    pub rest: Rest,
}

/// Part of a request: it is unanswered until its tag ends.
struct Sent {
    tag: String,
    uids: UidSet,
    octets: usize,
}

impl Selected<'_> {
    /// UID STORE, silent, split and pipelined; with `unchanged_since` only of messages that nobody changed after that MODSEQ
    /// (needs CONDSTORE; without it the condition is left out).
    ///
    /// # Errors
    /// Usage: a flag that cannot be sent, a mailbox opened to be read. What the server refuses is in the answer.
    pub fn store(&mut self, uids: &UidSet, change: Change, flags: &[Flag], unchanged_since: Option<u64>) -> Result<Stored> {
        self.store_each(&[(uids.clone(), unchanged_since)], change, flags)
    }

    /// As [`Self::store`], with a condition of its own for each set; all are in flight together.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn store_each(&mut self, sets: &[(UidSet, Option<u64>)], change: Change, flags: &[Flag]) -> Result<Stored> {
        self.must_be_writable()?;
        let conditional = self.has_mod_seqs();
        let mut orders = Vec::new();
        for (uids, unchanged_since) in sets {
            orders.extend(store_orders(uids, change, flags, unchanged_since.filter(|_| conditional))?);
        }
        let (mut done, mut modified) = (Vec::new(), Vec::new());
        let rest = self.pipeline("imap.store", "changing flags was refused", orders, &mut |_| {}, &mut |uids, status| {
            // Which of OK and NO a server says with it differs; the others were changed either way.
            let left: UidSet = match &status.code {
                Some(Code::Modified(left)) => both(uids, left),
                _ => UidSet::new(),
            };
            if !status.is_ok() && left.is_empty() {
                return false;
            }
            done.extend(uids.difference(&left).iter());
            modified.extend(left.iter());
            true
        });
        Ok(Stored { done: done.into_iter().collect(), modified: modified.into_iter().collect(), rest })
    }

    /// UID COPY into another mailbox of the server, split and pipelined.
    ///
    /// # Errors
    /// Usage: a name that cannot be sent. What the server refuses is in the answer (TRYCREATE keeps its code in the
    /// server's words); no message of a refused command was copied (RFC 9051 section 6.4.7).
    pub fn copy(&mut self, uids: &UidSet, to: &[u8]) -> Result<Placed> {
        self.place("UID COPY", "imap.copy", "copying was refused", uids, to)
    }

    /// UID MOVE (RFC 6851). `None` where the server has no MOVE, and nothing was sent.
    ///
    /// # Errors
    /// As [`Self::copy`], but a refused command may have moved some: they are among the placed as far as the server tells.
    pub fn move_to(&mut self, uids: &UidSet, to: &[u8]) -> Result<Option<Placed>> {
        self.must_be_writable()?;
        if !self.session.capabilities.has("MOVE") && !self.session.capabilities.has("IMAP4REV2") {
            return Ok(None);
        }
        self.place("UID MOVE", "imap.move", "moving was refused", uids, to).map(Some)
    }

    /// UID EXPUNGE of just these, which carry `\\Deleted` already. `None` where the server has no UIDPLUS, and nothing was
    /// sent: a plain EXPUNGE could take other messages along.
    ///
    /// # Errors
    /// Usage: a mailbox opened to be read. What the server refuses is in the answer.
    pub fn expunge(&mut self, uids: &UidSet) -> Result<Option<Stored>> {
        self.must_be_writable()?;
        if !self.expunges() {
            return Ok(None);
        }
        let mut orders = Vec::new();
        for set in pieces(uids, MAX_SET) {
            let command = Command::new("UID EXPUNGE").sp().uid_set(&set)?;
            orders.push((set, command));
        }
        let mut done = Vec::new();
        let rest = self.pipeline("imap.expunge", "removing messages was refused", orders, &mut |_| {}, &mut |uids, status| {
            if status.is_ok() {
                done.extend(uids.iter());
            }
            status.is_ok()
        });
        Ok(Some(Stored { done: done.into_iter().collect(), modified: UidSet::new(), rest }))
    }

    /// Flags and MODSEQ of messages as they are now; those that are gone are left out.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn flags_now(&mut self, uids: &UidSet) -> Result<BTreeMap<u32, FlagsNow>> {
        let items = if self.has_mod_seqs() { " (UID FLAGS MODSEQ)" } else { " (UID FLAGS)" };
        let mut found: BTreeMap<u32, FlagsNow> = BTreeMap::new();
        for set in uids.split(MAX_SET) {
            let command = Command::new("UID FETCH").sp().uid_set(&set)?.raw(items);
            self.session.run(&command, Phase::Listing, "reading flags was refused", &mut |received| {
                if let Response::Untagged(Untagged::Fetch(fetch)) = received.response
                    && let Some(uid) = fetch.uid.filter(|uid| set.contains(*uid))
                {
                    let entry = found.entry(uid).or_default();
                    entry.mod_seq = fetch.mod_seq.or(entry.mod_seq);
                    if let Some(mut flags) = fetch.flags {
                        flags.retain(|flag| !flag.is_recent());
                        flags.truncate(MAX_FLAGS);
                        entry.flags = flags;
                    }
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Whether just the named messages can be removed (UIDPLUS).
    pub fn expunges(&self) -> bool {
        self.session.capabilities.has("UIDPLUS") || self.session.capabilities.has("IMAP4REV2")
    }

    /// STATUS of another mailbox.
    ///
    /// # Errors
    /// As [`super::session::Session::status`].
    pub fn status(&mut self, wire_name: &[u8]) -> Result<super::types::MailboxStatus> {
        self.session.status(wire_name)
    }

    /// The MODSEQ that whatever changes from now on lies above; `None` where the server or this mailbox keeps none. A server
    /// may tell it only when asked (Dovecot does, until somebody has asked once): RFC 7162 section 3.1.7.
    ///
    /// # Errors
    /// Loss of the connection.
    pub fn mod_seq_now(&mut self) -> Result<Option<u64>> {
        let offered = self.session.capabilities.has("CONDSTORE") || self.session.capabilities.has("QRESYNC");
        if offered && self.state.highest_mod_seq.is_none() && !self.state.no_mod_seqs {
            let command = Command::new("STATUS").sp().mailbox(&self.wire_name)?.raw(" (HIGHESTMODSEQ)");
            let mut found = None;
            let asked = self.session.run(&command, Phase::Command, "STATUS was refused", &mut |received| {
                if let Response::Untagged(Untagged::MailboxStatus { items, .. }) = received.response {
                    found = items.highest_mod_seq;
                }
                Ok(())
            });
            match asked {
                Err(error) if error.kind() != Kind::Refused => return Err(error),
                // Whoever refuses it keeps none.
                _ => self.state.highest_mod_seq = found,
            }
        }
        Ok(self.state.highest_mod_seq.filter(|_| offered))
    }

    /// Whether changes can be made to depend on what was seen (CONDSTORE, and this mailbox keeps MODSEQs).
    pub fn has_mod_seqs(&self) -> bool {
        let offered = self.session.capabilities.has("CONDSTORE") || self.session.capabilities.has("QRESYNC");
        offered && self.state().highest_mod_seq.is_some()
    }

    fn must_be_writable(&self) -> Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(Error::usage("the mailbox was opened to be read, not to be changed").at(&self.session.place))
    }

    fn place(&mut self, verb: &'static str, step: &'static str, what: &str, uids: &UidSet, to: &[u8]) -> Result<Placed> {
        let orders = place_orders(verb, uids, to)?;
        let moves = verb == "UID MOVE";
        // MOVE tells in an untagged OK before it expunges, COPY in its end; some servers do it the other way round.
        let told = std::cell::RefCell::new(Told::default());
        let mut placed = Vec::new();
        let mut half = Vec::new();
        let rest = self.pipeline(step, what, orders, &mut |status| told.borrow_mut().learn(status, uids), &mut |set, status| {
            let mut told = told.borrow_mut();
            if status.is_ok() {
                told.learn(status, set);
                placed.extend(told.pairs(set));
            } else if moves && told.knows(set) {
                half.extend(told.pairs(set));
            }
            status.is_ok()
        });
        let Told { uid_validity, .. } = told.into_inner();
        let moved: UidSet = half.iter().map(|(uid, _)| *uid).collect();
        let rest = Rest { refused: rest.refused.difference(&moved), ..rest };
        placed.extend(half);
        placed.sort_unstable();
        Ok(Placed { placed, uid_validity, rest })
    }

    /// Sends commands, several in flight, and awaits their ends in order. `ended` says whether an end counts as done; once
    /// one does not, no more is sent, but what is in flight is awaited.
    fn pipeline(
        &mut self,
        step: &'static str,
        what: &str,
        orders: Vec<(UidSet, Command)>,
        told: &mut dyn FnMut(&StatusLine),
        ended: &mut dyn FnMut(&UidSet, &StatusLine) -> bool,
    ) -> Rest {
        let wire = &mut self.session.wire;
        let context = wire.conn.context().clone();
        let (mut refused, mut unknown) = (Vec::new(), Vec::new());
        let mut error: Option<Error> = None;
        let mut in_flight: VecDeque<Sent> = VecDeque::new();
        let mut octets = 0;
        let mut orders = orders.into_iter().map(|(uids, command)| (command.to_string().len(), uids, command)).peekable();
        loop {
            while error.is_none()
                && let Some((length, uids, command)) =
                    orders.next_if(|(length, ..)| in_flight.is_empty() || (in_flight.len() < COMMANDS && octets + length <= REQUEST_OCTETS))
            {
                if let Err(stop) = context.check() {
                    refused.push(uids);
                    error = Some(stop);
                    break;
                }
                context.step(step);
                match wire.send(&command) {
                    Ok(tag) => {
                        octets += length;
                        in_flight.push_back(Sent { tag, uids, octets: length });
                    }
                    // The name of the mailbox went out as a literal, and the server would not have it.
                    Err(cause) if !is_loss(&cause) => {
                        refused.push(uids);
                        error = Some(cause);
                    }
                    Err(cause) => {
                        unknown.push(uids);
                        error = Some(cause);
                    }
                }
            }
            let Some(sent) = in_flight.pop_front() else { break };
            octets -= sent.octets.min(octets);
            wire.conn.deadline(Phase::Change);
            let outcome = wire.finish_any(&sent.tag, &mut |received| {
                if let Response::Untagged(Untagged::Status(status)) = &received.response
                    && status.is_ok()
                {
                    told(status);
                }
                Ok(())
            });
            match outcome {
                Ok(status) => {
                    if !ended(&sent.uids, &status) {
                        refused.push(sent.uids);
                        error.get_or_insert_with(|| refusal(what, &status));
                    }
                }
                Err(cause) => {
                    unknown.push(sent.uids);
                    unknown.extend(in_flight.drain(..).map(|sent| sent.uids));
                    error.get_or_insert(cause);
                }
            }
        }
        refused.extend(orders.map(|(_, uids, _)| uids));
        let all = |sets: Vec<UidSet>| sets.iter().flat_map(UidSet::iter).collect();
        Rest { refused: all(refused), unknown: all(unknown), error: error.map(|error| error.at(&self.session.place)) }
    }
}

/// So many octets of UIDs fit a command whose other parts take so many.
fn room(others: usize) -> Result<usize> {
    MAX_SET
        .min(MAX_COMMAND.saturating_sub(others))
        .checked_sub(LEAST_SET)
        .map(|more| more + LEAST_SET)
        .ok_or_else(|| Error::usage("what is to be sent is too long for one command"))
}

fn store_orders(uids: &UidSet, change: Change, flags: &[Flag], unchanged_since: Option<u64>) -> Result<Vec<(UidSet, Command)>> {
    let item = match change {
        Change::Add => " +FLAGS.SILENT ",
        Change::Remove => " -FLAGS.SILENT ",
        Change::Set => " FLAGS.SILENT ",
    };
    let condition = " (UNCHANGEDSINCE 18446744073709551615)".len();
    let others = condition + item.len() + flags.iter().map(|flag| flag.wire().len() + 1).sum::<usize>() + 2;
    let order = |set: UidSet| {
        let mut command = Command::new("UID STORE").sp().uid_set(&set)?;
        if let Some(mod_seq) = unchanged_since {
            command = command.raw(" (UNCHANGEDSINCE ").number(mod_seq).raw(")");
        }
        Ok((set, command.raw(item).flags(flags)?))
    };
    pieces(uids, room(others)?).map(order).collect()
}

fn place_orders(verb: &'static str, uids: &UidSet, to: &[u8]) -> Result<Vec<(UidSet, Command)>> {
    // A name in quotes may double.
    let order = |set: UidSet| {
        let command = Command::new(verb).sp().uid_set(&set)?.sp().mailbox(to)?;
        Ok((set, command))
    };
    pieces(uids, room(2 * to.len().min(MAX_QUOTED) + 2)?).map(order).collect()
}

/// The sets of one command each: as long as a line may be, and of no more UIDs than an answer's line may name.
fn pieces(uids: &UidSet, octets: usize) -> impl Iterator<Item = UidSet> {
    uids.split_by_count(MAX_UIDS).into_iter().flat_map(move |set| set.split(octets))
}

/// Whether the connection went with it, rather than the server saying no.
fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), Kind::Network | Kind::Timeout | Kind::Protocol | Kind::Interrupted(_))
}

fn both(one: &UidSet, other: &UidSet) -> UidSet {
    one.difference(&one.difference(other))
}

/// What COPYUID told.
#[derive(Default)]
struct Told {
    uid_validity: Option<u32>,
    uids: HashMap<u32, u32>,
}

impl Told {
    /// Believes a COPYUID that speaks of nothing but what was asked for.
    fn learn(&mut self, status: &StatusLine, asked: &UidSet) {
        let Some(Code::CopyUid { uid_validity, source, destination }) = &status.code else { return };
        if source.len() != destination.len() || !asked.holds_all(source) {
            return;
        }
        if *self.uid_validity.get_or_insert(*uid_validity) == *uid_validity {
            self.uids.extend(source.iter().zip(destination.iter()));
        }
    }

    fn knows(&self, asked: &UidSet) -> bool {
        asked.iter().any(|uid| self.uids.contains_key(&uid))
    }

    fn pairs(&self, asked: &UidSet) -> Vec<(u32, Option<u32>)> {
        if self.knows(asked) {
            asked.iter().filter_map(|uid| Some((uid, Some(*self.uids.get(&uid)?)))).collect()
        } else {
            asked.iter().map(|uid| (uid, None)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::Status;
    use super::*;

    fn copy_uid(uid_validity: u32, source: &str, destination: &str) -> StatusLine {
        let set = |text: &str| UidSet::parse(text.as_bytes()).unwrap();
        let code = Code::CopyUid { uid_validity, source: set(source), destination: set(destination) };
        StatusLine { status: Status::Ok, code: Some(code), code_text: None, text: String::new() }
    }

    #[test]
    fn no_command_is_longer_than_8000_octets_whatever_else_stands_in_it() {
        let uids: UidSet = (1..20_000).map(|number| 4_000_000_000 + 2 * number).collect();
        let flags: Vec<Flag> = (0..100).map(|number| Flag::new(format!("keyword-number-{number:05}"))).collect();
        let names = ["a".repeat(990), "\"".repeat(1000), "a".repeat(5000), "b".into()];
        let mut orders = store_orders(&uids, Change::Remove, &flags, Some(u64::MAX)).unwrap();
        orders.extend(names.iter().flat_map(|name| place_orders("UID COPY", &uids, name.as_bytes()).unwrap()));
        assert!(orders.iter().all(|(_, command)| command.to_string().len() + "A1000000000 \r\n".len() <= 8000));
        for orders in [store_orders(&uids, Change::Add, &flags, None), place_orders("UID MOVE", &uids, names[1].as_bytes())] {
            let all: UidSet = orders.unwrap().iter().flat_map(|(set, _)| set.iter()).collect();
            assert!(all == uids);
        }
        let flags: Vec<Flag> = (0..1000).map(|number| Flag::new(format!("keyword-number-{number:05}"))).collect();
        assert!(store_orders(&uids, Change::Add, &flags, None).is_err());
    }

    #[test]
    fn what_copyuid_leaves_out_is_gone_and_without_it_all_were_copied() {
        let asked = UidSet::parse(b"1,3,5").unwrap();
        let mut told = Told::default();
        assert_eq!(told.pairs(&asked), [(1, None), (3, None), (5, None)]);
        told.learn(&copy_uid(9, "1,5", "20:21"), &asked);
        assert_eq!(told.pairs(&asked), [(1, Some(20)), (5, Some(21))]);
        assert_eq!(told.uid_validity, Some(9));
    }

    #[test]
    fn a_copyuid_of_other_messages_or_another_mailbox_is_not_believed() {
        let asked = UidSet::parse(b"1:3").unwrap();
        let mut told = Told::default();
        told.learn(&copy_uid(9, "1:4", "20:23"), &asked);
        told.learn(&copy_uid(9, "1:4294967295", "1:4294967295"), &asked);
        assert!(!told.knows(&asked));
        told.learn(&copy_uid(9, "1", "20"), &asked);
        told.learn(&copy_uid(10, "2", "30"), &asked);
        assert_eq!(told.pairs(&asked), [(1, Some(20))]);
    }
}
