//! Pipelined reading of headers, byte for byte: a body can be a thousand times longer.

use std::collections::{BTreeMap, VecDeque};

use super::super::encode::Command;
use super::super::selected::{MAX_SET, Selected};
use super::super::types::{Response, Untagged};
use super::super::uid_set::UidSet;
use crate::error::{Error, Kind, Result, Scope};
use crate::net::Phase;

/// UIDs in one command, and commands in flight.
const CHUNK: usize = 200;
const COMMANDS: usize = 2;
/// Octets of headers that are held until their commands' ends; what is beyond is asked for again, one by one.
const HELD_OCTETS: usize = 16 * 1024 * 1024;
const REFUSED: &str = "reading the header was refused";

impl Selected<'_> {
    /// Hands over the header of each message, its empty line included, by rising UID within a command. A message that is gone
    /// is not handed over.
    ///
    /// # Errors
    /// Refusal or loss of the connection, or what `each` returned. What the server refuses of several messages together is
    /// asked for one by one; what it refuses then has [`Scope::Message`] and goes to `each`.
    pub fn headers(&mut self, uids: &UidSet, each: &mut dyn FnMut(u32, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        let mut again = UidSet::new();
        self.headers_in_chunks(uids, CHUNK, each, &mut |uid, _| {
            again.insert(uid);
        })?;
        let mut failed = Vec::new();
        self.headers_in_chunks(&again, 1, each, &mut |uid, refusal| failed.extend(refusal.map(|words| (uid, words))))?;
        let refused = |words: String| Error::refused(REFUSED).scoped(Scope::Message).said(words);
        failed.into_iter().try_for_each(|(uid, words)| each(uid, Err(refused(words))))
    }

    fn headers_in_chunks(
        &mut self,
        uids: &UidSet,
        chunk: usize,
        each: &mut dyn FnMut(u32, Result<Vec<u8>>) -> Result<()>,
        missed: &mut dyn FnMut(u32, Option<String>),
    ) -> Result<()> {
        let mut rest = uids.iter();
        let mut in_flight: VecDeque<(String, UidSet)> = VecDeque::new();
        let mut found: BTreeMap<u32, Option<Vec<u8>>> = BTreeMap::new();
        let mut held = 0;
        loop {
            while in_flight.len() < COMMANDS {
                let next: UidSet = rest.by_ref().take(chunk).collect();
                if next.is_empty() {
                    break;
                }
                for set in next.split(MAX_SET) {
                    let command = Command::new("UID FETCH").sp().uid_set(&set)?.raw(" (UID BODY.PEEK[HEADER])");
                    in_flight.push_back((self.session.wire.send(&command).map_err(|error| error.at(&self.session.place))?, set));
                }
            }
            let Some((tag, set)) = in_flight.pop_front() else { return Ok(()) };
            self.session.wire.conn.deadline(Phase::Body);
            let place = &self.session.place;
            let outcome = self.session.wire.finish(&tag, REFUSED, &mut |received| {
                if let Response::Untagged(Untagged::Fetch(fetch)) = received.response
                    && let (Some(uid), Some(header)) = (fetch.uid, fetch.header)
                    && (set.contains(uid) || in_flight.iter().any(|(_, other)| other.contains(uid)))
                {
                    let kept = held + header.len() <= HELD_OCTETS || chunk == 1;
                    let entry = found.entry(uid).or_default();
                    if entry.is_none() && kept {
                        held += header.len();
                        *entry = Some(header);
                    }
                }
                Ok(())
            });
            match outcome {
                Ok(_) => {}
                Err(error) if error.kind() == Kind::Refused => {
                    let words = error.server_said().unwrap_or_default();
                    for uid in set.iter() {
                        // What came in spite of the refusal is asked for again with the rest.
                        held -= found.remove(&uid).flatten().map_or(0, |header| header.len());
                        missed(uid, Some(words.to_owned()));
                    }
                    continue;
                }
                Err(error) => return Err(error.at(place)),
            }
            for uid in set.iter() {
                match found.remove(&uid) {
                    Some(Some(header)) => {
                        held -= header.len();
                        each(uid, Ok(header))?;
                    }
                    _ => missed(uid, None),
                }
            }
        }
    }
}
