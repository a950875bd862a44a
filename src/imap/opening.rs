//! What goes out behind the login without waiting: opening the mailbox and the first question about it. A guess of the
//! mailbox's wire name costs nothing when it is wrong, for answers count only where the very same command is asked for
//! afterwards (`Wire::ask`). It never decides what is asked and reads no answer.

use super::bulk;
use super::encode::{self, Command, Form};
use super::listing;
use super::selected;
use super::session::Session;
use super::sort::{self, SortKey};
use super::uid_set::UidSet;
use super::utf7;
use crate::error::Result;
use crate::folder::Folder;
use crate::query::Query;

/// What a caller will ask of a session first.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The folder it will open.
    pub folder: &'a Folder,
    /// Whether it will open it with SELECT.
    pub writable: bool,
    /// What it will ask there.
    pub first: First<'a>,
}

/// The first question about a mailbox.
#[derive(Debug, Clone, Copy)]
pub enum First<'a> {
    /// None, or one that depends on what the mailbox tells.
    Nothing,
    /// [`Selected::search`](selected::Selected::search), or `search_all`.
    Search(&'a Query),
    /// [`Selected::sort_all`](selected::Selected::sort_all).
    Sort(&'a [SortKey]),
    /// [`Selected::summaries`](selected::Selected::summaries) of so few messages that one command names them.
    Summaries {
        /// Their UIDs.
        uids: &'a UidSet,
        /// Whether headers are wanted.
        headers: bool,
    },
    /// [`Selected::fetch`](selected::Selected::fetch) of so few messages that one command names them.
    Bodies(&'a UidSet),
}

impl First<'_> {
    /// The command, as `session` stands; `None` for none.
    fn command(self, session: &Session) -> Result<Option<Command>> {
        match self {
            First::Nothing => Ok(None),
            First::Search(query) if query.is_empty() => Ok(Some(selected::search_all_command(&session.capabilities))),
            First::Search(query) => {
                let extended = session.capabilities.has("ESEARCH") || session.capabilities.has("IMAP4REV2");
                encode::search_command(query, Form { extended, utf8: session.utf8_accepted }).map(Some)
            }
            First::Sort(keys) => Ok(sort::is_offered(&session.capabilities).then(|| sort::sort_all_command(keys))),
            First::Summaries { uids, headers } => listing::summaries_command(uids, headers).map(Some),
            First::Bodies(uids) => bulk::bodies_command(uids).map(Some),
        }
    }
}

/// What goes out behind the login.
#[derive(Clone, Copy)]
pub(super) enum Ahead<'a> {
    /// Nothing more.
    Nothing,
    /// A folder will be opened.
    Folder(&'a Opening<'a>),
    /// All mailboxes will be listed with their figures.
    Mailboxes,
}

impl Ahead<'_> {
    /// Whether a mailbox's name has to be written for which the delimiter must be known.
    pub(super) fn wants_delimiter(self) -> bool {
        matches!(self, Self::Folder(opening) if !opening.folder.is_inbox())
    }

    pub(super) fn is_inbox(self) -> bool {
        matches!(self, Self::Folder(opening) if opening.folder.is_inbox())
    }
}

impl Session {
    /// Sends what can be sent with what is known so far; returns the name of the mailbox that was guessed.
    pub(super) fn go_ahead(&mut self, ahead: Ahead<'_>) -> Result<Option<Vec<u8>>> {
        match ahead {
            Ahead::Nothing => Ok(None),
            Ahead::Folder(opening) => self.guess(opening),
            Ahead::Mailboxes => self.list_ahead().map(|()| None),
        }
    }

    /// Sends anew what was guessed wrong, or could not be sent.
    pub(super) fn correct(&mut self, ahead: Ahead<'_>, guess: Option<&[u8]>) -> Result<()> {
        match ahead {
            Ahead::Nothing => Ok(()),
            Ahead::Folder(opening) => self.correct_folder(opening, guess),
            Ahead::Mailboxes => self.list_ahead(),
        }
    }

    /// Sends what [`Session::standings`] asks first, where that is not under way already.
    fn list_ahead(&mut self) -> Result<()> {
        let commands = self.standing_commands();
        if commands.first().is_some_and(|command| self.wire.is_next_ahead(command)) {
            return Ok(());
        }
        self.wire.drop_ahead()?;
        for command in commands {
            self.wire.send_ahead(&command)?;
        }
        Ok(())
    }

    /// Sends the opening for the mailbox as it is most likely called; returns the name that was guessed.
    fn guess(&mut self, opening: &Opening<'_>) -> Result<Option<Vec<u8>>> {
        match utf7::folder_to_mailbox(opening.folder, Some('/'), false) {
            Ok(name) => self.announce(&name, opening.writable, opening.first).map(|sent| sent.then_some(name)),
            Err(_) => Ok(None),
        }
    }

    /// Sends the opening anew where `guess` was wrong or nothing could be sent. A name that cannot be written is told
    /// when the folder is opened.
    fn correct_folder(&mut self, opening: &Opening<'_>, guess: Option<&[u8]>) -> Result<()> {
        if !opening.folder.is_inbox() && !self.knows_delimiter() {
            return Ok(());
        }
        match self.wire_name(opening.folder) {
            Ok(name) if guess != Some(name.as_slice()) || !self.wire.has_ahead() => {
                self.announce(&name, opening.writable, opening.first).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Sends what will be asked next: opening the mailbox of this wire name, and the first question there. Whoever asks for
    /// just that finds the answer under way; asking for something else costs no more than its waste.
    ///
    /// # Errors
    /// Loss of the connection.
    pub fn announce(&mut self, wire_name: &[u8], writable: bool, first: First<'_>) -> Result<bool> {
        let Ok(open) = selected::open_command(wire_name, writable) else { return Ok(false) };
        // What nobody asked for would stand in the way.
        self.wire.drop_ahead()?;
        // Another mailbox will be the session's, whoever asks for it.
        self.examined = None;
        // What cannot be written is told to whoever asks for it.
        let question = first.command(self).unwrap_or_default();
        let sent = self.wire.send_ahead(&open)?;
        if sent && let Some(question) = question {
            self.wire.send_ahead(&question)?;
        }
        Ok(sent)
    }
}
