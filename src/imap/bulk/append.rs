//! Pipelined APPEND: the first message alone, then chunks (MULTIAPPEND where offered), several in flight. It tells each
//! message's fate as a fact: stored, refused, not sent, or unknown because the answer never came.

use std::collections::{HashSet, VecDeque};

use super::super::encode::{Command, Part};
use super::super::session::Session;
use super::super::types::{Code, Response, StatusLine};
use super::super::wire::refusal;
use crate::backoff::{self, Cause};
use crate::error::{Error, Kind, Result, Scope};
use crate::message::{Body, Flag, InternalDate};
use crate::net::Phase;

/// Messages in one MULTIAPPEND.
const CHUNK_MESSAGES: usize = 64;
/// Octets in flight, all chunks together.
const WINDOW_OCTETS: u64 = 16 * 1024 * 1024;
/// Octets in one MULTIAPPEND: several have to fit into the window, or it would drain at each answer.
const CHUNK_OCTETS: u64 = 4 * 1024 * 1024;
/// Commands in flight.
const COMMANDS: usize = 64;

/// A message to append.
pub struct Upload {
    /// The caller's number for it.
    pub ticket: u64,
    /// Octets as they are to stand in the mailbox.
    pub body: Body,
    /// INTERNALDATE; `None` lets the server take now.
    pub internal_date: Option<InternalDate>,
    /// Flags the mailbox permits.
    pub flags: Vec<Flag>,
    /// Whether it holds NUL and goes as `~{n}` (RFC 3516).
    pub binary: bool,
}

/// What became of a message.
#[derive(Debug)]
pub enum Fate {
    /// The server said OK; (UIDVALIDITY, UID) where it told.
    Stored(Option<(u32, u32)>),
    /// The server said that it did not take it.
    Refused(Error),
    /// All of it went out and no answer came.
    Unknown,
    /// Not all of it went out: it is not there.
    NotSent {
        /// Whether the session was lost in the middle of it.
        begun: bool,
        /// Whether the server refused it because it wants more time.
        slowed: bool,
    },
}

struct Chunk {
    tag: String,
    uploads: Vec<Upload>,
    octets: u64,
    /// The connection's count of sent octets at which each literal is out whole; shorter when sending broke off.
    whole_at: Vec<u64>,
}

/// Appends to one mailbox over a session of its own that has nothing selected.
pub struct Appender {
    session: Session,
    mailbox: Vec<u8>,
    queue: VecDeque<Upload>,
    queued_octets: u64,
    /// Halves of refused chunks, each to go as a command of its own.
    halves: VecDeque<Vec<Upload>>,
    flight: VecDeque<Chunk>,
    fates: Vec<(u64, Fate)>,
    multi: bool,
    /// Whether a message is through: until then they go alone, so that a mailbox that takes nothing costs one upload.
    warm: bool,
    created: bool,
    lost: Option<Error>,
    /// Whether other sessions append beside this one, so that a limit may be theirs together.
    among_several: bool,
    /// The server wants more time: nothing more is sent, and once all answers are in the session counts as lost for that reason.
    slowed: Option<Error>,
    /// Tickets of what it refused for that reason.
    refused_for_now: HashSet<u64>,
    /// What was not sent after a loss.
    unsent: Vec<Upload>,
}

impl Appender {
    /// Appends to `mailbox` (wire name) from now on.
    pub fn new(session: Session, mailbox: Vec<u8>) -> Self {
        let multi = session.capabilities().has("MULTIAPPEND");
        Self {
            session,
            mailbox,
            queue: VecDeque::new(),
            queued_octets: 0,
            halves: VecDeque::new(),
            flight: VecDeque::new(),
            fates: Vec::new(),
            multi,
            warm: false,
            created: false,
            lost: None,
            among_several: false,
            slowed: None,
            refused_for_now: HashSet::new(),
            unsent: Vec::new(),
        }
    }

    /// Says that other sessions append beside this one: a limit that is reached may be theirs together.
    pub fn among_several(&mut self) {
        self.among_several = true;
    }

    /// What did not go out because the session was lost.
    pub fn take_unsent(&mut self) -> Vec<Upload> {
        std::mem::take(&mut self.unsent)
    }

    /// The session, once nothing is outstanding.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// Why the session is lost, if it is.
    pub fn lost(&self) -> Option<&Error> {
        self.lost.as_ref()
    }

    /// Takes a message; it goes out when a chunk is full, or at [`Self::push`].
    pub fn take(&mut self, upload: Upload) {
        self.queued_octets += upload.body.len();
        self.queue.push_back(upload);
        if self.queue.len() >= self.most() || self.queued_octets >= CHUNK_OCTETS {
            self.push();
        }
    }

    /// Sends what is queued, waiting for answers where the window is full.
    pub fn push(&mut self) {
        while self.lost.is_none() && !(self.queue.is_empty() && self.halves.is_empty()) {
            if self.slowed.is_some() && self.flight.is_empty() {
                self.lost = self.slowed.take();
                break;
            }
            if self.slowed.is_some() || self.window_is_full() {
                self.answer();
                continue;
            }
            let uploads = self.halves.pop_front().unwrap_or_else(|| self.next_chunk());
            if let Err(error) = self.send(uploads) {
                self.lost = Some(error);
            }
        }
        if self.lost.is_none()
            && let Err(error) = self.session.wire.conn.flush()
        {
            self.lost = Some(error);
        }
        self.give_up_if_lost();
    }

    /// Puts aside what the server will take later.
    fn slow_down(&mut self, uploads: Vec<Upload>, status: &StatusLine) {
        if status.slows() {
            self.refused_for_now.extend(uploads.iter().map(|upload| upload.ticket));
        }
        for upload in uploads.into_iter().rev() {
            self.queued_octets += upload.body.len();
            self.queue.push_front(upload);
        }
        let error = Error::new(Kind::Busy, "the server wants more time").said(status.words());
        self.slowed.get_or_insert(error);
    }

    /// The fates known without waiting; with `wait`, those of all messages taken.
    pub fn fates(&mut self, wait: bool) -> Vec<(u64, Fate)> {
        if wait {
            self.push();
        }
        while self.lost.is_none() && !self.flight.is_empty() && (wait || matches!(self.session.wire.has_response(), Ok(true))) {
            self.answer();
            if !self.halves.is_empty() || self.slowed.is_some() {
                self.push();
            }
        }
        self.give_up_if_lost();
        std::mem::take(&mut self.fates)
    }

    /// Sends what is queued, then waits until at least one more fate is known, if any message is outstanding.
    pub fn next_fates(&mut self) -> Vec<(u64, Fate)> {
        self.push();
        while self.lost.is_none() && self.fates.is_empty() && !self.flight.is_empty() {
            self.answer();
            if !self.halves.is_empty() || self.slowed.is_some() {
                self.push();
            }
        }
        self.fates(false)
    }

    /// Messages in the next command.
    fn most(&self) -> usize {
        if self.warm && self.multi { CHUNK_MESSAGES } else { 1 }
    }

    fn window_is_full(&self) -> bool {
        let octets: u64 = self.flight.iter().map(|chunk| chunk.octets).sum();
        self.flight.len() >= if self.warm { COMMANDS } else { 1 } || octets >= WINDOW_OCTETS
    }

    fn next_chunk(&mut self) -> Vec<Upload> {
        let mut uploads = Vec::new();
        let mut octets = 0;
        while uploads.len() < self.most()
            && let Some(next) = self.queue.front()
            && (uploads.is_empty() || octets + next.body.len() <= CHUNK_OCTETS)
        {
            octets += next.body.len();
            self.queued_octets = self.queued_octets.saturating_sub(next.body.len());
            uploads.extend(self.queue.pop_front());
        }
        uploads
    }

    /// Sends one command. A refusal in the middle of it is its answer; an error is the end of the session.
    fn send(&mut self, uploads: Vec<Upload>) -> Result<()> {
        let octets = uploads.iter().map(|upload| upload.body.len()).sum();
        let command = Command::new("APPEND").sp().mailbox(&self.mailbox)?;
        let tag = self.session.wire.begin(&command)?;
        let mut chunk = Chunk { tag, uploads, octets, whole_at: Vec::new() };
        let outcome = self.send_literals(&mut chunk);
        match outcome {
            Ok(None) => {
                self.flight.push_back(chunk);
                Ok(())
            }
            Ok(Some(status)) => self.conclude(chunk, &status),
            Err(error) => {
                self.flight.push_back(chunk);
                Err(error)
            }
        }
    }

    fn send_literals(&mut self, chunk: &mut Chunk) -> Result<Option<StatusLine>> {
        let wire = &mut self.session.wire;
        for upload in &chunk.uploads {
            let octets = upload.body.len();
            let waits = wire.literals.waits(octets);
            let mut head = head(upload)?;
            head.extend_from_slice(
                format!(" {}{{{octets}{}}}\r\n", if upload.binary { "~" } else { "" }, if waits { "" } else { "+" }).as_bytes(),
            );
            wire.text(&head)?;
            if waits {
                wire.conn.deadline(Phase::Command);
                if let Some(status) = wire.await_continuation(&chunk.tag)? {
                    return Ok(Some(status));
                }
            }
            upload.body.each_chunk(|bytes| wire.conn.write_body(bytes))?;
            chunk.whole_at.push(wire.conn.sent() + wire.conn.unsent() as u64);
        }
        wire.text(b"\r\n")?;
        Ok(None)
    }

    /// Waits for one response.
    fn answer(&mut self) {
        let octets = self.flight.iter().map(|chunk| chunk.octets).sum();
        self.session.wire.conn.deadline(Phase::AppendReply(octets));
        let outcome = self.session.wire.receive().and_then(|received| match received.response {
            Response::Tagged { tag, status } => match self.flight.iter().position(|chunk| chunk.tag == tag) {
                Some(at) => {
                    self.session.wire.end(tag.clone(), status)?;
                    match (self.flight.remove(at), self.session.wire.take_end(&tag)) {
                        (Some(chunk), Some(status)) => self.conclude(chunk, &status),
                        _ => Ok(()),
                    }
                }
                None => self.session.wire.end(tag, status),
            },
            _ => Ok(()),
        });
        if let Err(error) = outcome {
            self.lost = Some(error);
        }
    }

    fn conclude(&mut self, chunk: Chunk, status: &StatusLine) -> Result<()> {
        if status.is_ok() {
            self.warm = true;
            let uids: Vec<Option<(u32, u32)>> = match &status.code {
                Some(Code::AppendUid { uid_validity, uids }) if uids.len() == chunk.uploads.len() as u64 => {
                    uids.iter().map(|uid| Some((*uid_validity, uid))).collect()
                }
                _ => vec![None; chunk.uploads.len()],
            };
            self.fates.extend(chunk.uploads.iter().zip(uids).map(|(upload, uid)| (upload.ticket, Fate::Stored(uid))));
            return Ok(());
        }
        let limit = self.among_several && (status.code == Some(Code::Limit) || too_many(status));
        match &status.code {
            // These say that the server stumbled, not that it did nothing.
            Some(Code::ServerBug | Code::Unavailable | Code::InUse) => {
                self.fates.extend(chunk.uploads.iter().map(|upload| (upload.ticket, Fate::Unknown)));
            }
            Some(Code::OverQuota) => self.refused(chunk.uploads, status),
            // Known not to be there, and welcome later.
            _ if status.slows() || limit => self.slow_down(chunk.uploads, status),
            Some(Code::TryCreate) if !self.created && self.flight.is_empty() => {
                self.created = true;
                self.session.create(&self.mailbox)?;
                self.halves.push_front(chunk.uploads);
            }
            _ => self.refused(chunk.uploads, status),
        }
        Ok(())
    }

    /// MULTIAPPEND is all or nothing (RFC 3502): a refused chunk is halved until the refused message stands alone.
    fn refused(&mut self, mut uploads: Vec<Upload>, status: &StatusLine) {
        if uploads.len() > 1 {
            let later = uploads.split_off(uploads.len() / 2);
            self.halves.push_front(later);
            self.halves.push_front(uploads);
            return;
        }
        for upload in uploads {
            let error = refusal("the server refused the message", status);
            let error =
                if error.kind() == Kind::Busy { Error::refused("the server refused the message").said(status.words()) } else { error };
            self.fates.push((upload.ticket, Fate::Refused(error.scoped(Scope::Message))));
        }
    }

    /// After a loss: what went out whole may be there, anything else is not.
    fn give_up_if_lost(&mut self) {
        if self.lost.is_none() {
            return;
        }
        let sent = self.session.wire.conn.sent();
        let mut broke = true;
        for chunk in self.flight.drain(..) {
            for (index, upload) in chunk.uploads.iter().enumerate() {
                let whole = chunk.whole_at.get(index).is_some_and(|&at| at <= sent);
                let begun = !whole && std::mem::take(&mut broke);
                self.fates.push((upload.ticket, if whole { Fate::Unknown } else { Fate::NotSent { begun, slowed: false } }));
            }
            let mut whole = chunk.whole_at.iter();
            self.unsent.extend(chunk.uploads.into_iter().filter(|_| whole.next().is_none_or(|&at| at > sent)));
        }
        for upload in self.halves.drain(..).flatten().chain(self.queue.drain(..)) {
            let slowed = self.refused_for_now.remove(&upload.ticket);
            self.fates.push((upload.ticket, Fate::NotSent { begun: false, slowed }));
            self.unsent.push(upload);
        }
        self.queued_octets = 0;
    }
}

fn too_many(status: &StatusLine) -> bool {
    backoff::read(&status.words()).is_some_and(|ask| ask.cause == Cause::Connections)
}

/// Flags and date of one message, as they stand before its literal.
fn head(upload: &Upload) -> Result<Vec<u8>> {
    let mut command = Command::new("");
    if !upload.flags.is_empty() {
        command = command.sp().flags(&upload.flags)?;
    }
    if let Some(date) = upload.internal_date {
        command = command.sp().date_time(date)?;
    }
    Ok(command.into_parts().into_iter().flat_map(|part| if let Part::Text(text) = part { text } else { Vec::new() }).collect())
}
