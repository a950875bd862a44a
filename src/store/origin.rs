//! An IMAP account as a backup asks it: what changed in each folder since the last visit, in as few answers as the server's
//! extensions allow (LIST-STATUS, CONDSTORE, QRESYNC, ESEARCH, OBJECTID, Gmail's). Its session is read-only. It must never know
//! the archive.

use std::collections::HashMap;
use std::sync::Arc;

use super::FolderInfo;
use super::imap::{folder_info, in_folder, message, uid_validity_changed};
use super::labels;
use crate::account::Server;
use crate::context::Context;
use crate::error::Result;
use crate::folder::Folder;
use crate::imap::bulk::Wanted;
use crate::imap::listing::Meta;
use crate::imap::resync::{self, Known, Resynced};
use crate::imap::selected::Selected;
use crate::imap::session::{Access, Session};
use crate::imap::types::MailboxStatus;
use crate::imap::uid_set::UidSet;
use crate::message::{Flag, InternalDate, Message};
use crate::net::Trace;

/// What STATUS, LIST-STATUS or EXAMINE told of a folder; `None` for what was not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// UIDVALIDITY.
    pub uid_validity: Option<u32>,
    /// UIDNEXT.
    pub uid_next: Option<u32>,
    /// MESSAGES.
    pub messages: Option<u64>,
    /// HIGHESTMODSEQ, where the folder keeps MODSEQs.
    pub highest_mod_seq: Option<u64>,
    /// MAILBOXID (RFC 8474).
    pub mailbox_id: Option<String>,
}

/// A folder of the server.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Its name and use.
    pub info: FolderInfo,
    /// Its figures, or why it would not tell them.
    pub figures: std::result::Result<Figures, String>,
}

/// How far the last complete visit of a folder got.
#[derive(Debug, Clone, Default)]
pub struct Since {
    /// UIDVALIDITY then.
    pub uid_validity: u32,
    /// UIDNEXT then.
    pub uid_next: Option<u32>,
    /// HIGHESTMODSEQ then.
    pub highest_mod_seq: Option<u64>,
    /// UIDs that were there then (all of them: those put aside as well), and any that are known of what came later.
    pub known: UidSet,
}

/// Flags of one message as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flagged {
    /// UID.
    pub uid: u32,
    /// Flags and keywords, without `\Recent`, sorted.
    pub flags: Vec<Flag>,
    /// Gmail's labels as text, where asked for.
    pub labels: Vec<String>,
}

/// A folder as EXAMINE showed it.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Its figures when it was opened.
    pub figures: Figures,
    /// All UIDs there now, exactly: told whole, or known from before with what arrived and what went.
    pub there: UidSet,
    /// Whether flags were told of every message that may have changed; else [`Origin::flags`] has to be asked.
    pub flags_told: bool,
}

/// A message that is to be read, as the server lists it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// UID.
    pub uid: u32,
    /// RFC822.SIZE: a hint.
    pub size: Option<u64>,
    /// INTERNALDATE.
    pub internal_date: Option<InternalDate>,
    /// EMAILID or X-GM-MSGID with its kind before it (`emailid:…`, `gmail:…`).
    pub object_id: Option<String>,
    /// Gmail's labels.
    pub labels: Vec<String>,
    /// Flags.
    pub flags: Vec<Flag>,
}

/// A session with the account.
pub struct Origin {
    session: Session,
    names: Names,
    open: Option<Open>,
}

/// How folders are called on the wire, as a listing told; another session with the same account needs no listing of its own.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<HashMap<Folder, Vec<u8>>>);

/// The folder that was visited last.
struct Open {
    folder: Folder,
    wire_name: Vec<u8>,
    uid_validity: Option<u32>,
}

impl Origin {
    /// Connects and logs in; what will be asked first ([`Origin::folders`]) goes out behind the login.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect(server: &Server, context: &Context, trace: &Trace) -> Result<Self> {
        let session = Session::connect_listing(server, Access::ReadOnly, context, trace)?;
        Ok(Self { session, names: Names::default(), open: None })
    }

    /// A further session with the same account: asks for no listing, and knows folders by `names` ([`Origin::names`]).
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect_knowing(server: &Server, names: Names, context: &Context, trace: &Trace) -> Result<Self> {
        Ok(Self { session: Session::connect(server, Access::ReadOnly, context, trace)?, names, open: None })
    }

    /// The names that [`Origin::folders`] learned.
    pub fn names(&self) -> Names {
        self.names.clone()
    }

    /// How errors name it.
    pub fn place(&self) -> String {
        self.session.place().to_owned()
    }

    /// Whether it is Gmail (X-GM-EXT-1): every message once, in its `\All` folder, `\Junk` and `\Trash`.
    pub fn is_gmail(&self) -> bool {
        self.session.is_gmail()
    }

    /// All folders with their figures, to the tagged OK: one LIST-STATUS, or LIST and STATUS in flight together. Those that
    /// cannot be selected have empty figures.
    ///
    /// # Errors
    /// Whatever kept the listing from being complete.
    pub fn folders(&mut self) -> Result<Vec<Remote>> {
        let standings = self.session.standings()?;
        self.names = Names(Arc::new(standings.iter().map(|(mailbox, _)| (mailbox.folder.clone(), mailbox.wire_name.clone())).collect()));
        let remote = |(mailbox, told): (_, Option<Result<MailboxStatus>>)| Remote {
            info: folder_info(mailbox),
            figures: told.map_or_else(|| Ok(Figures::default()), told_figures),
        };
        Ok(standings.into_iter().map(remote).collect())
    }

    /// Opens a folder read-only and tells what is there; with `since` and QRESYNC or CONDSTORE only what changed goes over the
    /// wire, and `each` gets the flags of what may have changed (of UIDs in `since.known`, in any order, perhaps more than
    /// once: the last word counts). Without `since` or under another UIDVALIDITY flags are never told. UIDs that are known
    /// and not among [`Visit::there`] are gone: that many messages were listed as the folder holds.
    ///
    /// # Errors
    /// The folder cannot be opened, or what it lists is not what it counts ([`Scope::Mailbox`]); the session was lost; what
    /// `each` returned.
    ///
    /// [`Scope::Mailbox`]: crate::error::Scope::Mailbox
    pub fn visit(&mut self, folder: &Folder, since: Option<&Since>, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<Visit> {
        self.open = None;
        let wire_name = self.wire_name(folder)?;
        let known = since.map(|since| Known {
            uid_validity: since.uid_validity,
            uid_next: since.uid_next,
            mod_seq: since.highest_mod_seq,
            uids: &since.known,
        });
        let Resynced { state, there, flags_told } =
            self.session.resync(&wire_name, known, &mut |told| each(flagged(told))).map_err(|error| in_folder(error, folder))?;
        self.open = Some(Open { folder: folder.clone(), wire_name, uid_validity: state.uid_validity });
        let figures = Figures {
            uid_validity: state.uid_validity,
            uid_next: state.uid_next,
            messages: Some(there.len()),
            highest_mod_seq: state.highest_mod_seq,
            mailbox_id: state.mailbox_id,
        };
        Ok(Visit { figures, there, flags_told })
    }

    /// Opens a folder read-only without asking what is in it.
    ///
    /// # Errors
    /// As [`Origin::visit`].
    pub fn open(&mut self, folder: &Folder) -> Result<Figures> {
        self.open = None;
        let wire_name = self.wire_name(folder)?;
        let selected = self.session.examine(&wire_name).map_err(|error| in_folder(error, folder))?;
        let state = selected.state();
        let figures = Figures {
            uid_validity: state.uid_validity,
            uid_next: state.uid_next,
            messages: Some(state.exists),
            highest_mod_seq: state.highest_mod_seq,
            mailbox_id: state.mailbox_id.clone(),
        };
        self.open = Some(Open { folder: folder.clone(), wire_name, uid_validity: figures.uid_validity });
        Ok(figures)
    }

    /// The flags of messages of the open folder, by rising UID. One that the server leaves out is not handed over:
    /// nothing is known of its flags then.
    ///
    /// # Errors
    /// As [`Origin::visit`], or what `each` returned.
    pub fn flags(&mut self, uids: &UidSet, each: &mut dyn FnMut(Flagged) -> Result<()>) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        opened(&mut self.session, open)?.flags_of(uids, &mut |told| each(flagged(told))).map_err(|error| in_folder(error, &open.folder))
    }

    /// Sizes, dates and identities of messages of the open folder, by rising UID (what a server's listing left out at first
    /// comes last, and may be bare); one that vanished is left out.
    ///
    /// # Errors
    /// As [`Origin::flags`].
    pub fn arrivals(&mut self, uids: &UidSet, each: &mut dyn FnMut(Arrival) -> Result<()>) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        opened(&mut self.session, open)?.marks_of(uids, &mut |meta| each(arrival(meta))).map_err(|error| in_folder(error, &open.folder))
    }

    /// The headers of messages of the open folder, in any order.
    ///
    /// # Errors
    /// As [`Origin::flags`].
    pub fn headers(&mut self, uids: &UidSet, each: &mut dyn FnMut(u32, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        opened(&mut self.session, open)?.headers(uids, each)
    }

    /// Messages of the open folder, pipelined, in any order: each with its index in `wanted`, or why just this one cannot be had
    /// ([`crate::error::Scope::Message`]). One that vanished is not handed over.
    ///
    /// # Errors
    /// As [`Origin::flags`]. What was handed over before stays good.
    pub fn read(&mut self, wanted: &[Arrival], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        let Some(open) = self.open.as_ref().filter(|_| !wanted.is_empty()) else { return Ok(()) };
        let uids: Vec<Wanted> = wanted.iter().map(|arrival| Wanted { uid: arrival.uid, size: arrival.size }).collect();
        opened(&mut self.session, open)?.fetch(&uids, &mut |index, fetched| each(index, fetched.map(message)))
    }

    /// The figures of folders as they are now, in as few round trips as possible, in the order of `folders`. The open folder,
    /// where it is among them, is left for that.
    ///
    /// # Errors
    /// As [`Origin::folders`].
    pub fn figures(&mut self, folders: &[Folder]) -> Result<Vec<std::result::Result<Figures, String>>> {
        let names = folders.iter().map(|folder| self.wire_name(folder)).collect::<Result<Vec<_>>>()?;
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        Ok(self.session.standings_of(&names)?.into_iter().map(told_figures).collect())
    }

    /// The UID that was being read when the session was lost, where that is known.
    pub fn stuck_at(&self) -> Option<u32> {
        self.session.stuck_at()
    }

    /// Octets read from and written to the wire so far.
    pub fn octets(&self) -> (u64, u64) {
        self.session.octets()
    }

    /// Ends the session politely.
    ///
    /// # Errors
    /// Reported, but what was read stays read.
    pub fn finish(&mut self) -> Result<()> {
        self.session.logout()
    }

    fn wire_name(&mut self, folder: &Folder) -> Result<Vec<u8>> {
        match self.names.0.get(folder) {
            Some(name) => Ok(name.clone()),
            None => self.session.wire_name(folder),
        }
    }
}

/// The visited folder, opened anew where something else was opened since.
fn opened<'a>(session: &'a mut Session, open: &Open) -> Result<Selected<'a>> {
    let selected = session.examined(&open.wire_name).map_err(|error| in_folder(error, &open.folder))?;
    if selected.state().uid_validity != open.uid_validity {
        return Err(uid_validity_changed());
    }
    Ok(selected)
}

fn told_figures(told: Result<MailboxStatus>) -> std::result::Result<Figures, String> {
    match told {
        Ok(told) => Ok(Figures {
            uid_validity: told.uid_validity,
            uid_next: told.uid_next,
            messages: told.messages,
            highest_mod_seq: told.highest_mod_seq,
            mailbox_id: told.mailbox_id,
        }),
        Err(error) => Err(error.server_said().unwrap_or(error.message()).to_owned()),
    }
}

fn flagged(told: resync::Flagged) -> Flagged {
    Flagged { uid: told.uid, flags: sorted(told.flags), labels: labels::read(&told.gm_labels) }
}

fn sorted(mut flags: Vec<Flag>) -> Vec<Flag> {
    flags.sort_by_cached_key(|flag| flag.wire().to_ascii_lowercase());
    flags.dedup();
    flags
}

fn arrival(meta: Meta) -> Arrival {
    let marks = meta.marks.unwrap_or_default();
    let object_id = match (&marks.email_id, marks.gm_msgid) {
        (Some(id), _) => Some(format!("emailid:{id}")),
        (None, Some(id)) => Some(format!("gmail:{id}")),
        (None, None) => None,
    };
    let labels = labels::read(marks.gm_labels.as_deref().unwrap_or_default());
    Arrival { uid: meta.uid, size: meta.size, internal_date: meta.internal_date, object_id, labels, flags: sorted(meta.flags) }
}
