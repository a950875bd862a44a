//! Message bodies and deletions in bulk: as many requests out as the window takes, answered in order (RFC 2449 section
//! 6.6). It knows message numbers and octets and must never know what becomes of them.

use std::collections::VecDeque;

use crate::error::{Error, Kind, Result, Scope};
use crate::message::{Body, Digester, Digests};
use crate::net::Phase;

use super::parse::Unstuffer;
use super::session::Session;

/// Request octets that may be unanswered: below what the smallest socket buffers hold, so that a server that stops
/// reading while it writes cannot bring both sides to a halt.
const WINDOW: usize = 16 * 1024;

/// The most octets of one message.
const BODY: u64 = 2 * 1024 * 1024 * 1024;

/// What to fetch of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// All of it (RETR).
    Whole,
    /// Its header and so many lines of its body (TOP).
    Top(u32),
}

impl What {
    fn verb(self) -> &'static str {
        match self {
            Self::Whole => "RETR",
            Self::Top(_) => "TOP",
        }
    }

    fn request(self, number: u32) -> String {
        match self {
            Self::Whole => format!("RETR {number}\r\n"),
            Self::Top(lines) => format!("TOP {number} {lines}\r\n"),
        }
    }
}

/// Requests that are out, by their length.
struct Window {
    limit: usize,
    octets: usize,
    lengths: VecDeque<usize>,
    next: usize,
}

impl Window {
    fn new(limit: usize) -> Self {
        Self { limit, octets: 0, lengths: VecDeque::new(), next: 0 }
    }

    /// Sends as many requests as fit once half the window is free: one flush for many.
    fn refill(&mut self, session: &mut Session, numbers: &[u32], request: &dyn Fn(u32) -> String) -> Result<()> {
        if self.octets > self.limit / 2 {
            return Ok(());
        }
        let mut batch = String::new();
        while let Some(&number) = numbers.get(self.next) {
            let line = request(number);
            if !self.lengths.is_empty() && self.octets + line.len() > self.limit {
                break;
            }
            self.octets += line.len();
            self.lengths.push_back(line.len());
            self.next += 1;
            batch.push_str(&line);
        }
        if batch.is_empty() {
            return Ok(());
        }
        session.conn.write(batch.as_bytes())?;
        session.conn.flush()
    }

    fn answered(&mut self) {
        self.octets -= self.lengths.pop_front().unwrap_or_default().min(self.octets);
    }
}

impl Session {
    /// Fetches the messages `numbers` and hands each over in that order: its index, and its bytes with their digests, or
    /// why the server does not give it ([`Scope::Message`]).
    ///
    /// # Errors
    /// What ended the session, or what `each` returned; the session is of no more use then unless nothing was outstanding.
    pub fn retrieve(
        &mut self,
        numbers: &[u32],
        what: What,
        each: &mut dyn FnMut(usize, Result<(Body, Digests)>) -> Result<()>,
    ) -> Result<()> {
        let mut window = self.window();
        for (index, number) in numbers.iter().enumerate() {
            self.conn.deadline(Phase::Body);
            window.refill(self, numbers, &|number| what.request(number)).map_err(|error| self.placed(error))?;
            let outcome = self.receive(*number, what, &mut window);
            let lost = outcome.as_ref().is_err_and(|error| error.scope() != Scope::Message);
            match outcome {
                Err(error) if lost => return Err(error),
                outcome => {
                    if let Err(error) = each(index, outcome) {
                        self.abandon(&window);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Marks the messages `numbers` as deleted and tells of each whether the server agreed. They go with QUIT.
    ///
    /// # Errors
    /// As [`Self::retrieve`]; [`crate::error::Kind::Safety`] on a read-only session.
    pub fn delete(&mut self, numbers: &[u32], each: &mut dyn FnMut(usize, Result<()>) -> Result<()>) -> Result<()> {
        self.may_delete()?;
        let mut window = self.window();
        for (index, number) in numbers.iter().enumerate() {
            self.conn.deadline(Phase::Command);
            window.refill(self, numbers, &|number| format!("DELE {number}\r\n")).map_err(|error| self.placed(error))?;
            let reply = self.status("DELE").map_err(|error| self.placed(error))?;
            window.answered();
            let outcome = if reply.ok {
                Ok(())
            } else {
                Err(self.placed(self.refusal(&format!("DELE {number} was refused"), &reply).scoped(Scope::Message)))
            };
            if let Err(error) = each(index, outcome) {
                self.abandon(&window);
                return Err(error);
            }
        }
        Ok(())
    }

    /// One whole message.
    ///
    /// # Errors
    /// As [`Self::retrieve`].
    pub fn retr(&mut self, number: u32) -> Result<(Body, Digests)> {
        self.one(number, What::Whole)
    }

    /// Header and the first `lines` lines of the body of one message.
    ///
    /// # Errors
    /// As [`Self::retrieve`].
    pub fn top(&mut self, number: u32, lines: u32) -> Result<(Body, Digests)> {
        self.one(number, What::Top(lines))
    }

    /// Marks one message as deleted.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub fn dele(&mut self, number: u32) -> Result<()> {
        let mut outcome = Ok(());
        self.delete(&[number], &mut |_, result| {
            outcome = result;
            Ok(())
        })?;
        outcome
    }

    fn one(&mut self, number: u32, what: What) -> Result<(Body, Digests)> {
        let mut outcome = Err(Error::protocol("no answer"));
        self.retrieve(&[number], what, &mut |_, result| {
            outcome = result;
            Ok(())
        })?;
        outcome
    }

    fn window(&self) -> Window {
        Window::new(if self.pipelines() { WINDOW } else { 1 })
    }

    fn placed(&self, error: Error) -> Error {
        error.at(self.place())
    }

    /// Answers still to come would be taken for those to the next command.
    fn abandon(&mut self, window: &Window) {
        if !window.lengths.is_empty() {
            self.conn.poison();
        }
    }

    fn receive(&mut self, number: u32, what: What, window: &mut Window) -> Result<(Body, Digests)> {
        let reply = self.status(what.verb()).map_err(|error| self.placed(error))?;
        window.answered();
        if !reply.ok {
            let error = self.refusal(&format!("{} {number} was refused", what.verb()), &reply);
            if error.kind() == Kind::Busy {
                // Later it may give the message: what else was asked for is not worth waiting for.
                self.conn.poison();
                return Err(self.placed(error));
            }
            return Err(self.placed(error.scoped(Scope::Message)));
        }
        let body = self.body(window);
        body.map_err(|error| {
            // Whatever went wrong, the rest of this message is still in the pipe.
            self.conn.poison();
            self.placed(if error.scope() == Scope::Message { error.scoped(Scope::Session) } else { error })
        })
    }

    fn body(&mut self, window: &Window) -> Result<(Body, Digests)> {
        let mut unstuffer = Unstuffer::default();
        let mut body = Body::new();
        let mut digester = Digester::default();
        while !unstuffer.is_done() {
            let chunk = self.conn.fill()?;
            let used = unstuffer.feed(chunk, &mut |piece| {
                digester.update(piece);
                body.push(piece)
            })?;
            self.conn.consume(used);
            if body.len() > BODY {
                return Err(Error::protocol("the message does not end"));
            }
        }
        body.settle();
        self.conn.note(&format!("[a body of {} octets]", body.len()));
        if unstuffer.ended_bare() {
            self.confirm_end(window)?;
        }
        Ok((body, digester.finish()))
    }

    /// After an end that a message could hold by chance, a status line must follow: the next one that is due, or one
    /// asked for. A message cut short is thus never taken for whole.
    fn confirm_end(&mut self, window: &Window) -> Result<()> {
        if window.lengths.is_empty() {
            self.command("NOOP").map(drop)
        } else if matches!(self.conn.fill()?.first(), Some(b'+' | b'-')) {
            Ok(())
        } else {
            Err(Error::protocol("the server ends lines with bare LF, and where this message ends cannot be told"))
        }
    }
}
