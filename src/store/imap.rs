//! An IMAP account as a source and as a sink. What a server makes us change on the way in (line ends, NUL, flags, dates)
//! is decided and named here; what became of each message is told as `bulk` saw it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::sift::Picked;
use super::{
    FolderInfo, Listed, ListedFlags, Listing, Outcome, Outgoing, Placement, Quota, Resource, Room, Sink, SinkState, Source, SpecialUse,
    Wait, copyable,
};
use crate::account::Server;
use crate::context::Context;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::imap::UidSet;
use crate::imap::bulk::{Appender, Fate, Fetched, Upload, Wanted};
use crate::imap::listing::Meta;
use crate::imap::selected::{MailboxState, Selected};
use crate::imap::session::{Access, Mailbox, Session};
use crate::message::{Body, Digests, Flag, FlagSets, InternalDate, Key, Message};
use crate::net::Trace;
use crate::query::Query;

/// The mailbox a source or sink has turned to.
#[derive(Clone)]
struct Current {
    wire_name: Vec<u8>,
    uid_validity: Option<u32>,
}

/// Where a session stands, for others to stand there as well.
#[derive(Clone)]
pub(super) struct Standing {
    current: Current,
    state: MailboxState,
}

/// How messages go out, which says what a round trip costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Many in one command, none waited for.
    Together,
    /// One a command, none waited for.
    OneByOne,
    /// The server is waited for before each message.
    Waiting,
}

/// An IMAP account to read from; its session is read-only.
pub struct ImapSource {
    session: Session,
    current: Option<Current>,
    names: HashMap<Folder, Vec<u8>>,
    /// Sessions in a row that were lost before they gave a message, for those that come after; and how many that were before this.
    vain: Option<(Arc<AtomicU32>, u32)>,
}

/// Messages that one command asks for once so many sessions were lost before they gave one: what a session is lost in the middle
/// of comes in vain.
const FEW: [usize; 3] = [200, 40, 5];

impl ImapSource {
    /// Connects and logs in.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect(server: &Server, context: &Context, trace: &Trace) -> Result<Self> {
        let session = Session::connect(server, Access::ReadOnly, context, trace)?;
        Ok(Self { session, current: None, names: HashMap::new(), vain: None })
    }

    /// Where it stands.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.current.clone().map(|current| Standing { current, state: MailboxState::default() })
    }

    /// Learns from sessions before this one that were lost in vain, and tells those after it.
    pub(super) fn learning(mut self, vain: &Arc<AtomicU32>) -> Self {
        let before = vain.load(Ordering::Relaxed);
        if let Some(last) = usize::try_from(before).unwrap_or(usize::MAX).checked_sub(1) {
            self.session.ask_for_few(FEW.get(last).or(FEW.last()).copied().unwrap_or(1));
        }
        self.vain = Some((Arc::clone(vain), before));
        self
    }

    /// Opens a folder and lists it in some way; messages are read out of it from then on.
    fn list_by<T>(&mut self, folder: &Folder, list: impl FnOnce(&mut Selected<'_>) -> Result<T>) -> Result<T> {
        let wire_name = match self.names.get(folder) {
            Some(name) => name.clone(),
            None => self.session.wire_name(folder)?,
        };
        self.current = None;
        let mut selected = self.session.examine(&wire_name).map_err(|error| in_folder(error, folder))?;
        let uid_validity = selected.state().uid_validity;
        let listed = list(&mut selected)?;
        self.current = Some(Current { wire_name, uid_validity });
        Ok(listed)
    }

    /// Turns to where another session stands. Reading fails with [`Kind::Safety`] if UIDs mean something else here.
    pub(super) fn stand(&mut self, standing: &Standing) {
        // What it does not see it would take for vanished.
        self.session.look_anew();
        self.current = Some(standing.current.clone());
    }
}

impl Source for ImapSource {
    fn place(&self) -> String {
        self.session.place().to_owned()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        let mailboxes = self.session.list()?;
        self.names = mailboxes.iter().map(|mailbox| (mailbox.folder.clone(), mailbox.wire_name.clone())).collect();
        Ok(mailboxes.into_iter().map(folder_info).collect())
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.list_by(folder, |selected| listing(selected, 1))
    }

    fn list_with_flags(&mut self, folder: &Folder) -> Result<(Listing, ListedFlags)> {
        self.list_by(folder, |selected| {
            let generation = selected.state().uid_validity;
            let mut sets = FlagSets::default();
            let told = selected.list_flagged(&mut sets)?;
            let mut flags = Vec::with_capacity(told.size_hint().0);
            let messages = told.map(|(meta, set)| {
                flags.push(set);
                listed(&meta, generation)
            });
            let messages = messages.collect();
            Ok((Listing { generation, messages }, ListedFlags::new(sets, flags)))
        })
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let mut given = 0;
        let outcome = read(&mut self.session, self.current.as_ref(), wanted, &mut |index, message| {
            given += 1;
            each(index, message)
        });
        if let (Err(_), 0, Some((vain, before))) = (&outcome, given, &self.vain) {
            vain.fetch_max(before + 1, Ordering::Relaxed);
        }
        outcome
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        if wanted.is_empty() {
            return Ok(());
        }
        let mut selected = again(&mut self.session, current)?;
        let places: HashMap<u32, usize> = wanted.iter().enumerate().map(|(index, listed)| (listed.id, index)).collect();
        let uids = wanted.iter().map(|listed| listed.id).collect();
        selected.headers(&uids, &mut |uid, header| places.get(&uid).map_or(Ok(()), |index| each(*index, header)))
    }

    fn gmail_ids(&mut self, wanted: &[Listed]) -> Result<HashMap<u32, u64>> {
        let mut ids = HashMap::new();
        let Some(current) = &self.current else { return Ok(ids) };
        if wanted.is_empty() || !self.has_labels() {
            return Ok(ids);
        }
        let uids = wanted.iter().map(|listed| listed.id).collect();
        again(&mut self.session, current)?.marks_of(&uids, &mut |meta| {
            ids.extend(meta.marks.and_then(|marks| Some((meta.uid, marks.gm_msgid?))));
            Ok(())
        })?;
        Ok(ids)
    }

    fn has_labels(&self) -> bool {
        self.session.capabilities().has("X-GM-EXT-1")
    }

    fn labels(&mut self, wanted: &[Listed], each: &mut dyn FnMut(u32, Vec<Vec<u8>>)) -> Result<()> {
        let Some(current) = self.current.as_ref().filter(|_| !wanted.is_empty()) else { return Ok(()) };
        let uids = wanted.iter().map(|listed| listed.id).collect();
        again(&mut self.session, current)?.marks_of(&uids, &mut |meta| {
            if let Some(labels) = meta.marks.and_then(|marks| marks.gm_labels) {
                each(meta.uid, labels);
            }
            Ok(())
        })
    }

    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<Picked> {
        let Some(current) = self.current.as_ref().filter(|_| !messages.is_empty()) else { return Ok(Picked::default()) };
        let mut selected = again(&mut self.session, current)?;
        let found = selected.search(query)?;
        // Mail that came since the listing is none of this run's.
        let found: UidSet = messages.iter().map(|listed| listed.id).filter(|uid| found.contains(*uid)).collect();
        let found = selected.narrowed(found, query)?;
        let wanted = messages.iter().filter(|listed| found.contains(listed.id)).cloned().collect();
        Ok(Picked { wanted, unreadable: Vec::new() })
    }

    fn stuck_at(&self) -> Option<u32> {
        self.session.stuck_at()
    }

    fn finish(&mut self) -> Result<()> {
        self.session.logout()
    }
}

/// The mailbox that was listed last, its UIDs still meaning what they meant.
fn again<'a>(session: &'a mut Session, current: &Current) -> Result<Selected<'a>> {
    let selected = session.examined(&current.wire_name)?;
    if selected.state().uid_validity == current.uid_validity { Ok(selected) } else { Err(uid_validity_changed()) }
}

/// An IMAP account to append to, over one session.
pub struct ImapSink {
    /// `None` while the appender has it.
    session: Option<Session>,
    appender: Option<Appender>,
    place: String,
    context: Context,
    access: Access,
    binary: bool,
    state: MailboxState,
    current: Option<Current>,
    names: HashMap<Folder, Vec<u8>>,
    /// What had to be changed, by ticket, until its fate is known.
    altered: HashMap<u64, Vec<String>>,
    /// Digests of messages that go as they came, by ticket, until their fate is known.
    unaltered: HashMap<u64, Digests>,
    unsent: Vec<Outgoing>,
    among_several: bool,
}

impl ImapSink {
    /// Connects and logs in; with [`Access::ReadOnly`] it can only be looked into.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect(server: &Server, access: Access, context: &Context, trace: &Trace) -> Result<Self> {
        let session = Session::connect(server, access, context, trace)?;
        Ok(Self {
            place: session.place().to_owned(),
            context: context.clone(),
            access,
            binary: session.capabilities().has("BINARY"),
            session: Some(session),
            appender: None,
            state: MailboxState::default(),
            current: None,
            names: HashMap::new(),
            altered: HashMap::new(),
            unaltered: HashMap::new(),
            unsent: Vec::new(),
            among_several: false,
        })
    }

    /// A folder there that the server may not tell from one that it will not make: the same on the wire, or but for case.
    fn twin(&self, folder: &Folder, wire_name: &[u8]) -> Option<Folder> {
        let lower = folder.to_string().to_lowercase();
        let is_twin = |other: &Folder, name: &[u8]| name == wire_name || other.to_string().to_lowercase() == lower;
        self.names.iter().filter(|(other, _)| *other != folder).find(|(other, name)| is_twin(other, name)).map(|(other, _)| other.clone())
    }

    /// How messages go out.
    pub(super) fn manner(&self) -> Manner {
        match self.session.as_ref().map(Session::capabilities) {
            Some(capabilities) if !capabilities.has("LITERAL+") => Manner::Waiting,
            Some(capabilities) if capabilities.has("MULTIAPPEND") => Manner::Together,
            _ => Manner::OneByOne,
        }
    }

    /// Says that other sessions append beside this one.
    pub(super) fn among_several(&mut self) {
        self.among_several = true;
    }

    /// Where it stands.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.current.clone().map(|current| Standing { current, state: self.state.clone() })
    }

    /// Turns to where another session stands.
    ///
    /// # Errors
    /// [`Kind::Safety`] if UIDs mean something else here; loss of the connection.
    pub(super) fn stand(&mut self, standing: &Standing) -> Result<()> {
        let wire_name = standing.current.wire_name.clone();
        let selected = self.session()?.examine(&wire_name)?;
        let uid_validity = selected.state().uid_validity;
        selected.leave()?;
        if uid_validity != standing.current.uid_validity {
            return Err(uid_validity_changed());
        }
        self.current = Some(standing.current.clone());
        self.state = standing.state.clone();
        Ok(())
    }

    fn session(&mut self) -> Result<&mut Session> {
        if let Some(appender) = self.appender.take() {
            self.session = Some(appender.into_session());
        }
        self.session.as_mut().ok_or_else(|| Error::network("the session is gone"))
    }
}

impl Sink for ImapSink {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        let mailboxes = self.session()?.list()?;
        self.names = mailboxes.iter().map(|mailbox| (mailbox.folder.clone(), mailbox.wire_name.clone())).collect();
        Ok(mailboxes.into_iter().map(folder_info).collect())
    }

    fn horizons(&mut self) -> Result<Vec<(Folder, u32, u32)>> {
        let mut names: Vec<(Folder, Vec<u8>)> = self.names.iter().map(|(folder, name)| (folder.clone(), name.clone())).collect();
        names.sort();
        let statuses = self.session()?.statuses(&names.iter().map(|(_, name)| name.as_slice()).collect::<Vec<_>>())?;
        let known = names.into_iter().zip(statuses);
        Ok(known.filter_map(|((folder, _), status)| Some((folder, status.uid_validity?, status.uid_next?))).collect())
    }

    fn called(&mut self, folder: &Folder) -> Result<Folder> {
        if self.names.contains_key(folder) {
            return Ok(folder.clone());
        }
        let session = self.session()?;
        let wire_name = session.wire_name(folder)?;
        Ok(session.shown(&wire_name).unwrap_or_else(|| folder.clone()))
    }

    fn room(&mut self, folders: &[Folder]) -> Result<Room> {
        let names: Vec<Option<Vec<u8>>> = folders.iter().map(|folder| self.names.get(folder).cloned()).collect();
        let told = self.session()?.room(&names)?;
        let quota = |limit: crate::imap::Limit| {
            let (resource, unit) = match limit.resource.as_str() {
                "STORAGE" => (Resource::Octets, 1024),
                "MESSAGE" => (Resource::Messages, 1),
                _ => return None,
            };
            Some(Quota { root: limit.root, resource, used: limit.used.saturating_mul(unit), limit: limit.limit.saturating_mul(unit) })
        };
        Ok(Room { largest: told.largest, quotas: told.limits.into_iter().filter_map(quota).collect() })
    }

    fn round_trip(&mut self) -> Result<Option<Duration>> {
        let started = self.context.now();
        self.session()?.noop()?;
        Ok(Some(self.context.now().since(started)))
    }

    fn open(&mut self, folder: &FolderInfo, create: bool) -> Result<Option<SinkState>> {
        let known = self.names.get(&folder.folder).cloned();
        let writes = self.access == Access::ReadWrite;
        let wire_name = match &known {
            Some(name) => name.clone(),
            None => self.session()?.wire_name(&folder.folder)?,
        };
        if known.is_none() && !folder.folder.is_inbox() {
            if !create {
                return Ok(None);
            }
            let made = self.session()?.make(&wire_name, None).map_err(|error| in_folder(error, &folder.folder))?;
            if !made && let Some(twin) = self.twin(&folder.folder, &wire_name) {
                return Err(Error::refused(format!("the server takes the folder {} for its folder {twin}", folder.folder))
                    .at(&self.place)
                    .hint("give it another name")
                    .scoped(Scope::Mailbox));
            }
            let session = self.session()?;
            if folder.subscribed {
                // A folder nobody subscribed to still holds its mail.
                let _ = session.subscribe(&wire_name);
            }
        }
        // Only SELECT tells which flags the folder keeps.
        let session = self.session()?;
        let selected = if writes { session.select(&wire_name) } else { session.examine(&wire_name) };
        let selected = selected.map_err(|error| in_folder(error, &folder.folder))?;
        let state = selected.state().clone();
        selected.leave()?;
        self.names.insert(folder.folder.clone(), wire_name.clone());
        self.current = Some(Current { wire_name, uid_validity: state.uid_validity });
        let opened = SinkState { generation: state.uid_validity, uid_next: state.uid_next, messages: state.exists };
        self.state = state;
        Ok(Some(opened))
    }

    fn look(&mut self, first: u32) -> Result<Listing> {
        let (wire_name, expected) = match &self.current {
            Some(current) => (current.wire_name.clone(), current.uid_validity),
            None => return Ok(Listing::default()),
        };
        let mut selected = self.session()?.examine(&wire_name)?;
        if selected.state().uid_validity != expected {
            return Err(uid_validity_changed());
        }
        let listing = listing(&mut selected, first)?;
        selected.leave()?;
        Ok(listing)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        self.session()?;
        let (Some(session), Some(current)) = (self.session.as_mut(), self.current.as_ref()) else { return Ok(()) };
        read(session, Some(current), wanted, each)?;
        // APPEND wants nothing selected.
        session.examined(&current.wire_name)?.leave()
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.session()?;
        let (Some(session), Some(current)) = (self.session.as_mut(), self.current.as_ref()) else { return Ok(()) };
        if wanted.is_empty() {
            return Ok(());
        }
        let mut selected = session.examined(&current.wire_name)?;
        if selected.state().uid_validity != current.uid_validity {
            return Err(uid_validity_changed());
        }
        let places: HashMap<u32, usize> = wanted.iter().enumerate().map(|(index, listed)| (listed.id, index)).collect();
        let uids = wanted.iter().map(|listed| listed.id).collect();
        selected.headers(&uids, &mut |uid, header| places.get(&uid).map_or(Ok(()), |index| each(*index, header)))?;
        // APPEND wants nothing selected.
        selected.leave()
    }

    fn append(&mut self, outgoing: Outgoing) -> Result<()> {
        if self.appender.is_none() {
            let mailbox = self.current.as_ref().map(|current| current.wire_name.clone());
            let (Some(session), Some(mailbox)) = (self.session.take(), mailbox) else {
                return Err(Error::local("no folder is open at the destination").at(&self.place));
            };
            let appender = self.appender.insert(Appender::new(session, mailbox));
            if self.among_several {
                appender.among_several();
            }
        }
        let digests = outgoing.message.digests;
        let (upload, altered) = prepare(outgoing, &self.state, self.binary)?;
        if altered.is_empty() {
            self.unaltered.insert(upload.ticket, digests);
        } else {
            self.altered.insert(upload.ticket, altered);
        }
        if let Some(appender) = &mut self.appender {
            appender.take(upload);
        }
        Ok(())
    }

    fn push(&mut self) -> Result<()> {
        if let Some(appender) = &mut self.appender {
            appender.push();
        }
        Ok(())
    }

    fn settle(&mut self, wait: Wait) -> Result<Vec<Placement>> {
        let Some(appender) = &mut self.appender else { return Ok(Vec::new()) };
        let fates = match wait {
            Wait::No => appender.fates(false),
            Wait::One => appender.next_fates(),
            Wait::All => appender.fates(true),
        };
        for Upload { ticket, body, internal_date, flags, .. } in appender.take_unsent() {
            // What had to be changed is read again, to be changed and told of again.
            if let Some(digests) = self.unaltered.remove(&ticket) {
                self.unsent.push(Outgoing { ticket, message: Message { body, digests, internal_date, flags } });
            }
        }
        let place = &self.place;
        Ok(fates
            .into_iter()
            .map(|(ticket, fate)| {
                self.unaltered.remove(&ticket);
                let altered = self.altered.remove(&ticket).unwrap_or_default();
                let outcome = match fate {
                    Fate::Stored(append_uid) => Outcome::Stored { append_uid, altered },
                    Fate::Refused(error) => Outcome::Refused(error.at(place)),
                    Fate::Unknown => Outcome::Unknown { altered },
                    Fate::NotSent { begun, slowed } => Outcome::NotSent { begun, slowed },
                };
                Placement { ticket, outcome }
            })
            .collect())
    }

    fn unsent(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.unsent)
    }

    fn lost(&self) -> Option<&Error> {
        self.appender.as_ref().and_then(Appender::lost)
    }

    fn finish(&mut self) -> Result<()> {
        if self.lost().is_some() {
            return Ok(());
        }
        self.session()?.logout()
    }
}

pub(super) fn in_folder(error: Error, folder: &Folder) -> Error {
    match error.kind() {
        Kind::Refused => Error::refused(format!("the folder {folder}: {}", error.message()))
            .at(error.place().unwrap_or_default())
            .said(error.server_said().unwrap_or_default())
            .scoped(Scope::Mailbox),
        _ => error,
    }
}

pub(super) fn uid_validity_changed() -> Error {
    Error::new(Kind::Safety, "the folder's UIDVALIDITY changed during the run, so its UIDs mean something else now")
        .hint("run the same command again")
}

/// The special use of a mailbox, by its attributes (those of XLIST among them).
pub fn special_use(mailbox: &Mailbox) -> Option<SpecialUse> {
    let uses = [
        ("\\All", SpecialUse::All),
        ("\\AllMail", SpecialUse::All),
        ("\\Archive", SpecialUse::Archive),
        ("\\Drafts", SpecialUse::Drafts),
        ("\\Flagged", SpecialUse::Flagged),
        ("\\Junk", SpecialUse::Junk),
        ("\\Spam", SpecialUse::Junk),
        ("\\Sent", SpecialUse::Sent),
        ("\\Trash", SpecialUse::Trash),
    ];
    uses.iter().find(|(attribute, _)| mailbox.has(attribute)).map(|(_, special)| *special)
}

pub(super) fn folder_info(mailbox: Mailbox) -> FolderInfo {
    let special_use = special_use(&mailbox);
    FolderInfo { folder: mailbox.folder, special_use, subscribed: mailbox.subscribed, selectable: mailbox.selectable }
}

fn listing(selected: &mut Selected<'_>, first: u32) -> Result<Listing> {
    let generation = selected.state().uid_validity;
    let messages = selected.list_from(first)?.map(|meta| listed(&meta, generation)).collect();
    Ok(Listing { generation, messages })
}

fn listed(meta: &Meta, generation: Option<u32>) -> Listed {
    Listed {
        id: meta.uid,
        key: generation.map(|generation| Key::Uid { generation, uid: meta.uid }),
        size: meta.size,
        internal_date: meta.internal_date,
    }
}

fn read(
    session: &mut Session,
    current: Option<&Current>,
    wanted: &[Listed],
    each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>,
) -> Result<()> {
    let Some(current) = current else { return Ok(()) };
    if wanted.is_empty() {
        return Ok(());
    }
    let mut selected = session.examined(&current.wire_name)?;
    if selected.state().uid_validity != current.uid_validity {
        return Err(uid_validity_changed());
    }
    let uids: Vec<Wanted> = wanted.iter().map(|listed| Wanted { uid: listed.id, size: listed.size }).collect();
    selected.fetch(&uids, &mut |index, fetched| each(index, fetched.map(message)))
}

pub(super) fn message(fetched: Fetched) -> Message {
    Message { body: fetched.body, digests: fetched.digests, internal_date: fetched.internal_date, flags: fetched.flags }
}

/// Makes of a message what the mailbox takes; returns what had to be changed, in words.
fn prepare(outgoing: Outgoing, state: &MailboxState, binary: bool) -> Result<(Upload, Vec<String>)> {
    let Outgoing { ticket, message } = outgoing;
    let mut altered = Vec::new();
    let (body, binary) = wire_form(message.body, binary, &mut altered)?;
    let (flags, refused): (Vec<Flag>, Vec<Flag>) = copyable(&message.flags).into_iter().partition(crate::imap::encode::can_send_flag);
    let (flags, not_kept) = state.permitted(&flags);
    let missing: Vec<String> = refused.iter().chain(&not_kept).map(ToString::to_string).collect();
    if !missing.is_empty() {
        altered.push(format!("flags not kept there: {}", missing.join(", ")));
    }
    let internal_date = match message.internal_date {
        // Years that IMAP's form or the server's clock cannot hold.
        Some(date) if date.seconds < 0 || date.seconds > 253_402_300_799 => {
            altered.push("its date is out of the range servers keep".to_owned());
            Some(InternalDate { seconds: date.seconds.clamp(0, 253_402_214_400), offset: 0 })
        }
        date => date,
    };
    Ok((Upload { ticket, body, internal_date, flags, binary }, altered))
}

/// The octets for APPEND: line ends CRLF, and no NUL unless it can go as `~{n}`.
fn wire_form(body: Body, binary: bool, altered: &mut Vec<String>) -> Result<(Body, bool)> {
    if body.is_empty() {
        altered.push("it is empty and went as one empty line, because servers take no empty message".to_owned());
        return Ok((Body::from(b"\r\n".to_vec()), false));
    }
    let mut last = 0;
    let (mut bare, mut nul) = (false, false);
    body.each_chunk(|bytes| {
        nul |= memchr::memchr(0, bytes).is_some();
        bare |= memchr::memchr_iter(b'\n', bytes).any(|at| {
            let before = if at == 0 { Some(&last) } else { bytes.get(at - 1) };
            before != Some(&b'\r')
        });
        last = bytes.last().copied().unwrap_or(last);
        Ok(())
    })?;
    // Dovecot turns parts declared binary into base64 on the way in: the copy could not be proved any more.
    let binary = nul && binary && !declares_binary(&body)?;
    if binary {
        // RFC 3501 section 4.3.1: no literal of a FETCH holds NUL, so a reader gets something else than what is stored.
        altered.push("its NUL octets are kept, and IMAP shows them as 0x80".to_owned());
    }
    if !bare && (!nul || binary) {
        return Ok((body, binary));
    }
    if bare {
        altered.push("bare line feeds became CRLF".to_owned());
    }
    if nul && !binary {
        altered.push("NUL octets became 0x80".to_owned());
    }
    let mut changed = Body::new();
    let mut last = 0;
    body.each_chunk(|bytes| {
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32);
        for &byte in bytes {
            if byte == b'\n' && last != b'\r' {
                out.push(b'\r');
            }
            out.push(if byte == 0 && !binary { 0x80 } else { byte });
            last = byte;
        }
        changed.push(&out)
    })?;
    Ok((changed, binary))
}

fn declares_binary(body: &Body) -> Result<bool> {
    let needle = b"content-transfer-encoding:";
    let mut found = false;
    let mut tail: Vec<u8> = Vec::new();
    body.each_chunk(|bytes| {
        tail.extend(bytes.to_ascii_lowercase());
        found |= tail
            .windows(needle.len())
            .enumerate()
            .filter(|(_, window)| window == needle)
            .any(|(at, _)| tail.get(at + needle.len()..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"binary")));
        let keep = tail.len().min(needle.len() + 64);
        tail.drain(..tail.len() - keep);
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(bytes: &[u8], binary: bool) -> (Vec<u8>, bool, usize) {
        let mut altered = Vec::new();
        let (body, as_binary) = wire_form(Body::from(bytes.to_vec()), binary, &mut altered).unwrap();
        (body.prefix(usize::MAX).unwrap(), as_binary, altered.len())
    }

    #[test]
    fn only_what_append_cannot_carry_is_changed_and_named() {
        assert_eq!(wire(b"A: b\r\n\r\nx\r", false), (b"A: b\r\n\r\nx\r".to_vec(), false, 0));
        assert_eq!(wire(b"A: b\n\nx\r\n", false), (b"A: b\r\n\r\nx\r\n".to_vec(), false, 1));
        assert_eq!(wire(b"a\0b\n", false), (b"a\x80b\r\n".to_vec(), false, 2));
        assert_eq!(wire(b"a\0b\r\n", true), (b"a\0b\r\n".to_vec(), true, 1));
        assert_eq!(wire(b"", true), (b"\r\n".to_vec(), false, 1));
        assert!(!wire(b"Content-Transfer-Encoding: BINARY\r\n\r\n\0\r\n", true).1);
    }

    #[test]
    fn what_is_sent_keeps_the_content_digest() {
        for bytes in [&b"a\nb\0c\r\n"[..], b"", b"\n\n", b"x\r\r\n\0", b"no end"] {
            let before = Body::from(bytes.to_vec()).digests().unwrap().content;
            let after = Body::from(wire(bytes, false).0).digests().unwrap().content;
            assert_eq!(before, after, "{bytes:?}");
        }
    }
}
