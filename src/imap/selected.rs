//! A selected mailbox: it borrows the session, so the compiler forbids asking a UID of the wrong mailbox. It owns every
//! verb that speaks of UIDs but for listing, which is `listing`'s, and bulk reading, which is `bulk`'s.

use super::encode::Command;
use super::session::{Capabilities, Session};
use super::types::{Code, Response, Untagged};
use super::uid_set::{Gathered, UidSet};
use crate::error::{Error, Kind, Result};
use crate::message::Flag;
use crate::net::Phase;

/// Octets of UIDs in one command; some servers cut lines at 8192.
pub(super) const MAX_SET: usize = 7000;

/// Messages one mailbox may list.
const MAX_MESSAGES: u64 = 10_000_000;
/// New mail may arrive while a list runs; so many more is not that.
const MAX_NEW: u64 = 100_000;

/// What SELECT or EXAMINE told.
#[derive(Debug, Clone, Default)]
pub struct MailboxState {
    /// UIDVALIDITY; `None` where the server has none (UIDs mean nothing then).
    pub uid_validity: Option<u32>,
    /// UIDNEXT.
    pub uid_next: Option<u32>,
    /// HIGHESTMODSEQ.
    pub highest_mod_seq: Option<u64>,
    /// How many messages.
    pub exists: u64,
    /// MAILBOXID (RFC 8474).
    pub mailbox_id: Option<String>,
    /// The server said that it keeps no MODSEQs here (NOMODSEQ).
    pub no_mod_seqs: bool,
    /// Flags that can be changed for ever; `None` where the server did not say (then all can, RFC 3501 section 7.1).
    pub permanent_flags: Option<Vec<Flag>>,
    /// SELECT was answered with READ-ONLY: nothing here can be changed.
    pub read_only: bool,
}

impl MailboxState {
    /// Takes in what SELECT or EXAMINE tells in an untagged response.
    pub(super) fn learn(&mut self, told: &Untagged) {
        match told {
            Untagged::Exists(count) => self.exists = *count,
            Untagged::Status(status) => match &status.code {
                Some(Code::UidValidity(value)) => self.uid_validity = Some(*value),
                Some(Code::UidNext(value)) => self.uid_next = Some(*value),
                Some(Code::HighestModSeq(value)) => self.highest_mod_seq = Some(*value),
                Some(Code::NoModSeq) => self.no_mod_seqs = true,
                Some(Code::MailboxId(id)) => self.mailbox_id = Some(id.clone()),
                Some(Code::PermanentFlags(flags)) => self.permanent_flags = Some(flags.clone()),
                _ => {}
            },
            _ => {}
        }
    }

    /// Those of `flags` that the mailbox keeps, and those it does not.
    pub fn permitted(&self, flags: &[Flag]) -> (Vec<Flag>, Vec<Flag>) {
        let Some(permanent) = &self.permanent_flags else { return (flags.to_vec(), Vec::new()) };
        let any_keyword = permanent.iter().any(|flag| flag.wire() == "\\*");
        flags.iter().cloned().partition(|flag| permanent.contains(flag) || (any_keyword && !flag.wire().starts_with('\\')))
    }
}

/// A mailbox selected in a session.
pub struct Selected<'a> {
    pub(super) session: &'a mut Session,
    pub(super) state: MailboxState,
    pub(super) wire_name: Vec<u8>,
    /// Opened with SELECT, so that CLOSE would expunge.
    pub(super) writable: bool,
    /// EXISTS as a search heard it last, where mail came in meanwhile.
    pub(super) arrived: Option<u64>,
}

impl<'a> Selected<'a> {
    pub(super) fn open(session: &'a mut Session, wire_name: &[u8], writable: bool) -> Result<Self> {
        let state = Self::look(session, wire_name, writable)?;
        Ok(Self::opened(session, wire_name, state, writable))
    }

    /// SELECT or EXAMINE: makes the mailbox the session's.
    pub(super) fn look(session: &mut Session, wire_name: &[u8], writable: bool) -> Result<MailboxState> {
        let command = open_command(wire_name, writable)?;
        session.examined = None;
        let mut state = MailboxState::default();
        let mut too_much = false;
        let status = session.run(&command, Phase::Listing, "opening the mailbox was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Search(_) | Untagged::ESearch(_) | Untagged::Sort(_) | Untagged::Fetch(_)) => too_much = true,
                Response::Untagged(told) => state.learn(&told),
                _ => {}
            }
            Ok(())
        })?;
        if too_much {
            // It belongs to the question that went ahead, which has to be asked once more.
            session.wire.spoil_ahead();
        }
        state.read_only = status.code == Some(Code::ReadOnly);
        // Some servers put it into the tagged line only.
        if let Some(Code::UidValidity(value)) = status.code {
            state.uid_validity.get_or_insert(value);
        }
        if !writable {
            // They say what this session may change, which is nothing, not what the mailbox keeps.
            state.permanent_flags = None;
        }
        Ok(state)
    }

    /// The mailbox that [`Self::look`] made the session's.
    pub(super) fn opened(session: &'a mut Session, wire_name: &[u8], state: MailboxState, writable: bool) -> Self {
        if !writable {
            session.examined = Some((wire_name.to_vec(), state.clone()));
        }
        Self { session, state, wire_name: wire_name.to_vec(), writable, arrived: None }
    }

    pub(super) fn still_open(session: &'a mut Session, wire_name: &[u8], state: MailboxState) -> Self {
        session.examined = Some((wire_name.to_vec(), state.clone()));
        Self { session, state, wire_name: wire_name.to_vec(), writable: false, arrived: None }
    }

    /// What SELECT or EXAMINE told.
    pub fn state(&self) -> &MailboxState {
        &self.state
    }

    /// Leaves the mailbox without changing it: by UNSELECT, else by CLOSE out of a read-only look at it, because CLOSE
    /// expunges what SELECT opened.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn leave(self) -> Result<()> {
        self.session.examined = None;
        if self.session.capabilities.has("UNSELECT") {
            return self.session.simple(&Command::new("UNSELECT"), "UNSELECT was refused").map(|_| ());
        }
        if self.writable {
            self.session.simple(&Command::new("EXAMINE").sp().mailbox(&self.wire_name)?, "EXAMINE was refused")?;
        }
        self.session.simple(&Command::new("CLOSE"), "CLOSE was refused").map(|_| ())
    }

    /// More messages than the mailbox can be told to hold.
    pub(super) fn most_messages(&self) -> u64 {
        self.state.exists.min(MAX_MESSAGES) + MAX_NEW
    }

    /// All UIDs, by ESEARCH where it is offered, else SEARCH.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn search_all(&mut self) -> Result<UidSet> {
        let simple = Command::new("UID SEARCH").raw(" ALL");
        // What is under way already is as good.
        let command = if self.session.wire.is_next_ahead(&simple) { simple } else { search_all_command(&self.session.capabilities) };
        let found = match self.run_search(&command) {
            Ok(found) => found.unwrap_or_default(),
            // QQ refuses any SEARCH (MailKit#1143).
            Err(error) if error.kind() == Kind::Refused => UidSet::new(),
            Err(error) => return Err(error),
        };
        // Domino finds nothing, and Yahoo not all. Only what has gone meanwhile may be missing.
        if found.len() >= self.state.exists { Ok(found) } else { self.fetch_uids(&found) }
    }

    /// Those found and all that FETCH tells of.
    fn fetch_uids(&mut self, found: &UidSet) -> Result<UidSet> {
        let mut all = Gathered::default();
        let most = self.most_messages();
        let mut told = 0;
        let mut news = News::default();
        self.session.wire.expected = 2 * most;
        let command = Command::new("UID FETCH").raw(" 1:* (UID)");
        let outcome = self.session.run(&command, Phase::Listing, "listing the messages was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Fetch(fetch)) => {
                    told += 1;
                    all.extend(fetch.uid);
                    if told > 2 * most || all.is_too_much() {
                        return Err(too_many());
                    }
                }
                Response::Untagged(told) => news.hear(&told),
                _ => {}
            }
            Ok(())
        });
        self.session.wire.expected = 0;
        self.take_news(&news);
        outcome?;
        all.extend(found.iter());
        Ok(all.finish())
    }

    /// Asks a search of any kind and takes in as many UIDs as the mailbox can hold. `None` where the server says that it
    /// searched and not what it found.
    pub(super) fn run_search(&mut self, command: &Command) -> Result<Option<UidSet>> {
        let mut found = Gathered::default();
        let most = self.most_messages();
        let mut listed = 0;
        let mut answered = false;
        let mut news = News::default();
        let mut fetched = false;
        self.session.wire.expect_long_lines(true);
        let outcome = self.session.run(command, Phase::Listing, "SEARCH was refused", &mut |received| {
            match received.response {
                Response::Untagged(Untagged::Search(uids)) => {
                    answered = true;
                    listed += uids.len() as u64;
                    // Checked before it is taken in: the set could grow with every line.
                    if listed <= most {
                        found.extend(uids);
                    }
                    if found.is_too_much() {
                        return Err(too_many());
                    }
                }
                Response::Untagged(Untagged::ESearch(answer)) => {
                    answered = true;
                    if let Some(uids) = answer.all {
                        listed = uids.len();
                        if listed <= most {
                            found = Gathered::from(uids);
                        }
                    }
                }
                Response::Untagged(Untagged::Fetch(_)) => fetched = true,
                Response::Untagged(told) => news.hear(&told),
                _ => {}
            }
            if listed > most { Err(too_many()) } else { Ok(()) }
        });
        self.session.wire.expect_long_lines(false);
        self.take_news(&news);
        if fetched {
            // It may belong to a FETCH that went ahead, which has to be asked once more.
            self.session.wire.spoil_ahead();
        }
        outcome.map(|_| answered.then(|| found.finish()))
    }

    pub(super) fn take_news(&mut self, news: &News) {
        // They are not missing from what was found.
        self.state.exists = self.state.exists.saturating_sub(news.gone);
        self.arrived = news.exists.or(self.arrived.map(|exists| exists.saturating_sub(news.gone)));
    }
}

/// What a server says of the mailbox while it answers something else.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Messages that went.
    pub(super) gone: u64,
    /// How many there are, where more came.
    pub(super) exists: Option<u64>,
}

impl News {
    /// Takes in what concerns it.
    pub(super) fn hear(&mut self, told: &Untagged) {
        let went = match told {
            Untagged::Exists(count) => {
                self.exists = Some(*count);
                0
            }
            Untagged::Expunge(_) => 1,
            Untagged::Vanished { earlier: false, uids } => uids.len(),
            _ => 0,
        };
        self.gone = self.gone.saturating_add(went);
        self.exists = self.exists.map(|exists| exists.saturating_sub(went));
    }
}

pub(super) fn open_command(wire_name: &[u8], writable: bool) -> Result<Command> {
    Command::new(if writable { "SELECT" } else { "EXAMINE" }).sp().mailbox(wire_name)
}

pub(super) fn search_all_command(capabilities: &Capabilities) -> Command {
    let extended = capabilities.has("ESEARCH") || capabilities.has("IMAP4REV2");
    Command::new("UID SEARCH").raw(if extended { " RETURN (ALL) ALL" } else { " ALL" })
}

/// The server lists more than can be true.
pub(super) fn too_many() -> Error {
    Error::protocol("the server lists more than the mailbox can hold")
}
