//! A POP3 maildrop as a source: one folder, INBOX, whose message numbers hold for this session only. It never deletes by itself and
//! must never know the journal.

use std::collections::{HashMap, HashSet};

use crate::account::Server;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::message::{Body, Digests, Key, Message};
use crate::net::Trace;
use crate::pop3::{Options, Session, Sizes, UniqueIds, What};

use super::sift::{self, Picked};
use super::{FolderInfo, Listed, Listing, Source, header_of};
use crate::query::Query;

/// More lines than a message has, in a number that every server can read.
const ALL_LINES: u32 = 99_999_999;

/// Takes messages as they come, by their place among those that were asked for.
type Each<'a> = dyn FnMut(usize, Result<(Body, Digests)>) -> Result<()> + 'a;

/// The source.
pub struct Pop3Source {
    session: Session,
    /// Unique-ids of the last listing that are nobody's alone, by message number.
    shared: HashMap<u32, String>,
    /// Mail must not count as fetched.
    traceless: bool,
    /// A RETR was asked for in this session.
    fetched: bool,
}

impl Pop3Source {
    /// Connects read-only.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect(server: &Server, context: &Context, trace: &Trace) -> Result<Self> {
        Self::connect_with(server, context, trace, true)
    }

    /// Connects read-only; `pipelining` false keeps to one request at a time, for servers that announce more than they can.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect_with(server: &Server, context: &Context, trace: &Trace, pipelining: bool) -> Result<Self> {
        let session = Session::connect(server, context, trace, Options { read_only: true, pipelining })?;
        Ok(Self { session, shared: HashMap::new(), traceless: false, fetched: false })
    }

    /// Connects with the right to delete, which only [`Self::session`] can make use of.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect_to_delete(server: &Server, context: &Context, trace: &Trace) -> Result<Self> {
        let session = Session::connect(server, context, trace, Options { read_only: false, pipelining: true })?;
        Ok(Self { session, shared: HashMap::new(), traceless: false, fetched: false })
    }

    /// The unique-id of a message of the last listing, whether it is its key or not.
    pub fn unique_id(&self, listed: &Listed) -> Option<String> {
        match &listed.key {
            Some(Key::Uidl { uidl }) => Some(uidl.to_string()),
            _ => self.shared.get(&listed.id).cloned(),
        }
    }

    /// Reads so from now on that the server does not take mail for fetched: whole messages by TOP, which marks nothing where RETR does
    /// (Dovecot sets `\Seen`, Gmail hides the message). Where there is no TOP it is RETR all the same, and the session ends without QUIT.
    pub fn leave_no_trace(&mut self) {
        self.traceless = true;
    }

    /// Hands over what TOP gives with so many lines; gives back those messages it does not.
    fn tops(&mut self, numbers: &[(usize, u32)], lines: u32, each: &mut Each<'_>) -> Result<Vec<(usize, u32)>> {
        let asked: Vec<u32> = numbers.iter().map(|(_, number)| *number).collect();
        let mut refused = Vec::new();
        self.session.retrieve(&asked, What::Top(lines), &mut |at, outcome| match (numbers.get(at), outcome) {
            (Some((index, _)), Ok(read)) => each(*index, Ok(read)),
            (Some(left), Err(_)) => {
                refused.push(*left);
                Ok(())
            }
            (None, _) => Ok(()),
        })?;
        Ok(refused)
    }

    /// Hands over messages by TOP with so many `lines`, or by RETR where that is not asked for, missing or refused.
    fn retrieve(&mut self, wanted: &[Listed], lines: Option<u32>, each: &mut Each<'_>) -> Result<()> {
        let capabilities = self.session.capabilities();
        let top = !capabilities.known || capabilities.top;
        let mut numbers: Vec<(usize, u32)> = wanted.iter().map(|listed| listed.id).enumerate().collect();
        if let Some(lines) = lines.filter(|_| top && !numbers.is_empty()) {
            let mut rest = numbers.split_off(1);
            // Where the first is refused TOP is not there at all, whatever was announced.
            numbers = self.tops(&numbers, lines, each)?;
            numbers.append(&mut if numbers.is_empty() { self.tops(&rest, lines, each)? } else { std::mem::take(&mut rest) });
        }
        let asked: Vec<u32> = numbers.iter().map(|(_, number)| *number).collect();
        self.fetched |= !asked.is_empty();
        self.session.retrieve(&asked, What::Whole, &mut |at, outcome| {
            let Some((index, _)) = numbers.get(at) else { return Ok(()) };
            each(*index, outcome)
        })
    }

    /// The session itself.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Source for Pop3Source {
    fn place(&self) -> String {
        self.session.place().to_owned()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        Ok(vec![FolderInfo { folder: Folder::inbox(), special_use: None, subscribed: true, selectable: true }])
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        if !folder.is_inbox() {
            return Err(Error::usage(format!("there is no folder {folder}: POP3 has INBOX only")).at(self.place()));
        }
        let (list, uidl) = self.session.listings()?;
        self.shared.clear();
        Ok(Listing { generation: None, messages: join(list, uidl, &mut self.shared) })
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let lines = self.traceless.then_some(ALL_LINES);
        self.retrieve(wanted, lines, &mut |index, outcome| {
            each(index, outcome.map(|(body, digests)| Message { body, digests, internal_date: None, flags: Vec::new() }))
        })
    }

    /// By TOP, or by RETR where TOP is missing or refused.
    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.retrieve(wanted, Some(0), &mut |index, outcome| each(index, outcome.and_then(|(body, _)| header_of(&body))))
    }

    fn unique_id(&self, listed: &Listed) -> Option<String> {
        Self::unique_id(self, listed)
    }

    fn end_marks(&self) -> bool {
        self.fetched
    }

    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<Picked> {
        sift::matching(messages, query, true, &mut |wanted, whole, each| {
            if whole {
                return self.read(wanted, each);
            }
            self.headers(wanted, &mut |index, header| each(index, header.and_then(|header| sift::bare(header.into()))))
        })
    }

    fn finish(&mut self) -> Result<()> {
        if self.traceless && self.fetched {
            // RFC 1939: a session that ends without QUIT changes nothing.
            return Ok(());
        }
        match self.session.quit() {
            // Nothing was marked for removal: a farewell that gets lost loses nothing.
            Err(error) if matches!(error.kind(), Kind::Network | Kind::Timeout) => Ok(()),
            other => other,
        }
    }
}

/// Both listings in one: every number either of them has. UIDL is the master; a size that LIST lacks is unknown. A message
/// whose unique-id UIDL lacks has no key, and none that shares its unique-id: RFC 1939 section 7 means that for identical
/// messages, but servers give one to all, and then the n-th of them is another message once an earlier one is deleted.
fn join(list: Sizes, uidl: Option<UniqueIds>, shared: &mut HashMap<u32, String>) -> Vec<Listed> {
    let uidl = uidl.unwrap_or_default();
    // Those that several messages have, the others being most of many.
    let several: HashSet<String> = {
        let mut seen: HashSet<&str> = HashSet::new();
        uidl.iter()
            .filter_map(|(_, unique_id)| unique_id.as_deref())
            .filter(|unique_id| !seen.insert(unique_id))
            .map(str::to_owned)
            .collect()
    };
    let mut ids: std::iter::Peekable<_> = uidl.into_iter().peekable();
    let mut sizes: std::iter::Peekable<_> = list.into_iter().peekable();
    let mut messages = Vec::with_capacity(ids.len().max(sizes.len()));
    loop {
        let id = match (ids.peek(), sizes.peek()) {
            (None, None) => return messages,
            (Some((id, _)), None) | (None, Some((id, _))) => *id,
            (Some((by_uidl, _)), Some((by_list, _))) => *by_uidl.min(by_list),
        };
        let size = sizes.next_if(|entry| entry.0 == id).and_then(|entry| entry.1);
        let uidl = ids.next_if(|entry| entry.0 == id).and_then(|entry| entry.1);
        let key = match uidl {
            Some(uidl) if !several.contains(&*uidl) => Some(Key::Uidl { uidl }),
            Some(uidl) => {
                shared.insert(id, uidl.into());
                None
            }
            None => None,
        };
        messages.push(Listed { id, key, size, internal_date: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(listed: &Listed) -> (u32, Option<String>, Option<u64>) {
        (listed.id, listed.key.as_ref().map(ToString::to_string), listed.size)
    }

    #[test]
    fn uidl_is_the_master_and_a_shared_unique_id_is_no_key() {
        let uidl = vec![(1, Some("a".into())), (2, None), (3, Some("a".into())), (5, Some("new".into()))];
        let list = vec![(1, Some(10)), (2, Some(20)), (3, None), (4, Some(40))];
        let messages: Vec<_> = join(list, Some(uidl), &mut HashMap::new()).iter().map(shown).collect();
        assert_eq!(
            messages,
            [(1, None, Some(10)), (2, None, Some(20)), (3, None, None), (4, None, Some(40)), (5, Some("uidl:new".to_owned()), None),]
        );
    }

    #[test]
    fn a_server_without_uidl_lists_messages_without_keys() {
        let messages: Vec<_> = join(vec![(1, Some(10)), (2, Some(20))], None, &mut HashMap::new()).iter().map(shown).collect();
        assert_eq!(messages, [(1, None, Some(10)), (2, None, Some(20))]);
    }
}
