//! The verbs that speak of whole mailboxes: what they hold, how they are called, and making, renaming and deleting them.
//! It knows nothing of messages beyond their sizes, and never decides whether a mailbox may go.

use std::collections::{HashMap, HashSet};

use super::encode::Command;
use super::session::{Mailbox, Session};
use super::types::{Code, ListEntry, MailboxStatus, Response, StatusLine, Untagged};
use super::utf7;
use super::wire::refusal;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::net::Phase;

/// STATUS commands in flight.
const WINDOW: usize = 64;
/// Messages whose sizes one mailbox may tell.
const MAX_SIZES: u64 = 10_000_000;
/// A size beyond all mail is none.
const MAX_SIZE: u64 = 1 << 40;

impl Session {
    /// Every mailbox with its figures: by one LIST where the server offers LIST-STATUS (RFC 5819), else by LIST and
    /// pipelined STATUS. Figures are `None` for a mailbox that cannot be selected; a refusal stands in for them.
    ///
    /// # Errors
    /// Loss of the connection, or a refused listing.
    pub fn overview(&mut self) -> Result<Vec<(Mailbox, Option<Result<MailboxStatus>>)>> {
        let items = self.items();
        self.overview_of(items)
    }

    /// As [`Self::overview`], with the figures that `items` names.
    pub(super) fn overview_of(&mut self, items: &'static str) -> Result<Vec<(Mailbox, Option<Result<MailboxStatus>>)>> {
        self.catch_up().map_err(|error| error.at(&self.place))?;
        let mut told: HashMap<Vec<u8>, MailboxStatus> = HashMap::new();
        let entries = match self.list_status_command(items) {
            Some(command) => {
                let outcome = self.list_with(&command, &mut |mailbox, items| {
                    told.insert(mailbox, items);
                });
                match outcome {
                    // A server may offer it and not know all that is asked for in it.
                    Err(error) if error.kind() == Kind::Refused => Vec::new(),
                    other => other?,
                }
            }
            None => Vec::new(),
        };
        let mailboxes = if entries.is_empty() {
            self.list()?
        } else {
            let entries = entries.into_iter().map(|entry| {
                let subscribed = entry.has("\\Subscribed");
                (entry, subscribed)
            });
            self.name_mailboxes(entries.collect())
        };
        let mut figures: Vec<Option<Result<MailboxStatus>>> =
            mailboxes.iter().map(|mailbox| told.remove(&mailbox.wire_name).map(Ok)).collect();
        // What the listing did not tell is asked for one by one, which brings the server's reasons too.
        let open: Vec<usize> = mailboxes
            .iter()
            .zip(&figures)
            .enumerate()
            .filter(|(_, (mailbox, told))| mailbox.selectable && told.is_none())
            .map(|(at, _)| at)
            .collect();
        let names: Vec<&[u8]> = open.iter().filter_map(|at| mailboxes.get(*at)).map(|mailbox| mailbox.wire_name.as_slice()).collect();
        let answers = self.figures_of(&names, items)?;
        for (at, answer) in open.into_iter().zip(answers) {
            if let Some(slot) = figures.get_mut(at) {
                *slot = Some(answer);
            }
        }
        Ok(mailboxes.into_iter().zip(figures).collect())
    }

    /// STATUS with all figures of several mailboxes, pipelined: each one's own, or the refusal.
    ///
    /// # Errors
    /// Loss of the connection.
    pub fn figures(&mut self, wire_names: &[&[u8]]) -> Result<Vec<Result<MailboxStatus>>> {
        let items = self.items();
        self.figures_of(wire_names, items)
    }

    /// Every mailbox by LIST with its figures, where the server offers that (RFC 5819).
    pub(super) fn list_status_command(&self, items: &'static str) -> Option<Command> {
        let offered = self.capabilities.has("LIST-EXTENDED") && self.capabilities.has("LIST-STATUS") || self.capabilities.has("IMAP4REV2");
        let special = if self.capabilities.has("SPECIAL-USE") { " SPECIAL-USE" } else { "" };
        let command = Command::new("LIST").raw(" \"\" \"*\" RETURN (SUBSCRIBED").raw(special).raw(" STATUS ").raw(items).raw(")");
        offered.then_some(command)
    }

    /// As [`Self::figures`], of what `items` names.
    pub(super) fn figures_of(&mut self, wire_names: &[&[u8]], items: &'static str) -> Result<Vec<Result<MailboxStatus>>> {
        let mut found = Vec::with_capacity(wire_names.len());
        for chunk in wire_names.chunks(WINDOW) {
            let mut tags = Vec::with_capacity(chunk.len());
            for name in chunk {
                let command = Command::new("STATUS").sp().mailbox(name)?.sp().raw(items);
                tags.push(self.wire.send(&command).map_err(|error| error.at(&self.place))?);
            }
            let mut told: Vec<Option<MailboxStatus>> = vec![None; chunk.len()];
            let mut ends: Vec<StatusLine> = Vec::with_capacity(chunk.len());
            for tag in &tags {
                self.wire.conn.deadline(Phase::Command);
                let end = self.wire.finish_any(tag, &mut |received| {
                    if let Response::Untagged(Untagged::MailboxStatus { mailbox, items }) = received.response
                        && let Some(at) = chunk.iter().position(|name| is_same(name, &mailbox))
                        && let Some(slot) = told.get_mut(at)
                    {
                        *slot = Some(items);
                    }
                    Ok(())
                });
                ends.push(end.map_err(|error| error.at(&self.place))?);
            }
            found.extend(told.into_iter().zip(ends).map(|(told, end)| match told {
                _ if !end.is_ok() => Err(refusal("STATUS was refused", &end).scoped(Scope::Mailbox).at(&self.place)),
                Some(items) => Ok(items),
                None => Err(Error::protocol("the server answers STATUS without figures").scoped(Scope::Mailbox).at(&self.place)),
            }));
        }
        Ok(found)
    }

    /// What STATUS is asked for: RECENT left IMAP with rev2, and SIZE came with RFC 8438.
    fn items(&self) -> &'static str {
        let recent = self.capabilities.has("IMAP4REV1") || !self.capabilities.has("IMAP4REV2");
        match (recent, self.tells_sizes()) {
            (true, true) => "(MESSAGES UNSEEN RECENT UIDNEXT UIDVALIDITY SIZE)",
            (true, false) => "(MESSAGES UNSEEN RECENT UIDNEXT UIDVALIDITY)",
            (false, true) => "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY SIZE)",
            (false, false) => "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)",
        }
    }

    /// Whether STATUS tells the size of a mailbox (RFC 8438).
    pub fn tells_sizes(&self) -> bool {
        self.capabilities.has("STATUS=SIZE") || self.capabilities.has("IMAP4REV2")
    }

    /// The size of a mailbox in octets, by EXAMINE and the sum of its messages' sizes.
    ///
    /// # Errors
    /// Refusal or loss of the connection; a server that leaves sizes out.
    pub fn sum_of_sizes(&mut self, wire_name: &[u8]) -> Result<u64> {
        let exists = self.examine(wire_name)?.state().exists;
        if exists == 0 {
            return Ok(0);
        }
        let (mut sum, mut told) = (0_u64, 0_u64);
        let most = exists.min(MAX_SIZES) + 100_000;
        self.wire.expected = 2 * most;
        let outcome =
            self.run(&Command::new("UID FETCH").raw(" 1:* (RFC822.SIZE)"), Phase::Listing, "FETCH was refused", &mut |received| {
                if let Response::Untagged(Untagged::Fetch(fetch)) = received.response
                    && let Some(size) = fetch.size.filter(|size| *size <= MAX_SIZE)
                {
                    told += 1;
                    if told > most {
                        return Err(Error::protocol("the server lists more than the mailbox can hold"));
                    }
                    sum = sum.saturating_add(size);
                }
                Ok(())
            });
        self.wire.expected = 0;
        outcome?;
        if told < exists {
            return Err(Error::protocol(format!("the server tells the sizes of {told} of {exists} messages")).scoped(Scope::Mailbox));
        }
        Ok(sum)
    }

    /// The mailbox that is shown as `folder`, whatever its name on the wire looks like; where none is, the name it would get
    /// and `false`.
    ///
    /// # Errors
    /// Usage: there is none, and the name cannot be written on this server. Refusal or loss of the connection.
    pub fn find(&mut self, mailboxes: &[Mailbox], folder: &Folder) -> Result<(Vec<u8>, bool)> {
        match mailboxes.iter().find(|mailbox| mailbox.folder == *folder) {
            Some(mailbox) => Ok((mailbox.wire_name.clone(), true)),
            None => Ok((self.wire_name(folder)?, false)),
        }
    }

    /// CREATE, with a special use where one is asked for (RFC 6154). `false` where the mailbox exists already.
    ///
    /// # Errors
    /// Refusal or loss of the connection; Usage, where a special use is asked for that the server cannot give.
    pub fn make(&mut self, wire_name: &[u8], special_use: Option<&'static str>) -> Result<bool> {
        let mut command = Command::new("CREATE").sp().mailbox(wire_name)?;
        if let Some(special_use) = special_use {
            if !self.capabilities.has("CREATE-SPECIAL-USE") {
                return Err(Error::usage("this server gives no special use to a new folder")
                    .at(&self.place)
                    .hint("leave --special-use out"));
            }
            command = command.raw(" (USE (").raw(special_use).raw("))");
        }
        self.wire.conn.context().step("imap.create");
        let tag = self.wire.send(&command).map_err(|error| error.at(&self.place))?;
        self.wire.conn.deadline(Phase::Command);
        let status = self.wire.finish_any(&tag, &mut |_| Ok(())).map_err(|error| error.at(&self.place))?;
        if status.is_ok() {
            return Ok(true);
        }
        // Words such as "does not exist" say nothing; the listing does.
        if status.code == Some(Code::AlreadyExists) || self.list()?.iter().any(|mailbox| is_same(&mailbox.wire_name, wire_name)) {
            return Ok(false);
        }
        Err(refusal("creating the folder was refused", &status).scoped(Scope::Mailbox).at(&self.place))
    }

    /// RENAME; mailboxes below it follow (RFC 9051 section 6.3.6), subscriptions do not.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        self.simple(&Command::new("RENAME").sp().mailbox(from)?.sp().mailbox(to)?, "renaming the folder was refused").map(|_| ())
    }

    /// DELETE: the mailbox and all messages in it.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn delete(&mut self, wire_name: &[u8]) -> Result<()> {
        self.simple(&Command::new("DELETE").sp().mailbox(wire_name)?, "deleting the folder was refused").map(|_| ())
    }

    /// Takes a mailbox, which need not exist any more, out of the subscribed ones.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn unsubscribe(&mut self, wire_name: &[u8]) -> Result<()> {
        self.simple(&Command::new("UNSUBSCRIBE").sp().mailbox(wire_name)?, "unsubscribing was refused").map(|_| ())
    }

    /// Mailboxes out of the lines of a listing, INBOX among them, sorted by name; each is called something that no other is.
    pub(super) fn name_mailboxes(&mut self, mut entries: Vec<(ListEntry, bool)>) -> Vec<Mailbox> {
        if let Some(delimiter) = entries.iter().find_map(|(entry, _)| entry.delimiter).filter(|_| !self.delimiter_known) {
            self.delimiter = Some(delimiter);
            self.delimiter_known = true;
        }
        // Whoever is written as its folder would be typed comes first: which of two look-alikes keeps the plain name must be
        // the one that typing it reaches, whatever the server's order.
        entries.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        entries.dedup_by(|(later, _), (first, _)| later.name == first.name);
        entries.sort_by_cached_key(|(entry, _)| self.plain_folder(entry).is_none());
        let mut mailboxes: Vec<Mailbox> = Vec::new();
        let mut names: HashSet<Vec<u8>> = HashSet::new();
        let mut taken: HashSet<Folder> = HashSet::new();
        for (entry, subscribed) in entries {
            // INBOX in another case, and a name with the delimiter behind it, are the same mailbox once more.
            let bare = entry.delimiter.map_or(entry.name.as_slice(), |delimiter| {
                entry.name.strip_suffix(delimiter.encode_utf8(&mut [0; 4]).as_bytes()).unwrap_or(&entry.name)
            });
            let is_inbox = bare.eq_ignore_ascii_case(b"INBOX");
            if !names.insert(if is_inbox { b"INBOX".to_vec() } else { bare.to_vec() }) {
                continue;
            }
            let is_taken = |folder: &Folder| taken.contains(folder) || folder.is_inbox() != is_inbox;
            let folder = utf7::mailbox_to_folder(self.without_prefix(&entry.name), entry.delimiter).filter(|folder| !is_taken(folder));
            let folder = match folder {
                Some(folder) => folder,
                // A mailbox that cannot hold mail may go; one that can must not drop out because of its name.
                None if !entry.selectable() => continue,
                None => utf7::odd_mailbox_to_folder(&entry.name, entry.delimiter, &is_taken),
            };
            taken.insert(folder.clone());
            let selectable = entry.selectable();
            mailboxes.push(Mailbox { folder, selectable, subscribed, wire_name: entry.name, attributes: entry.attributes });
        }
        if !mailboxes.iter().any(|mailbox| mailbox.folder.is_inbox()) {
            mailboxes.push(Mailbox {
                folder: Folder::inbox(),
                wire_name: b"INBOX".to_vec(),
                attributes: Vec::new(),
                selectable: true,
                subscribed: true,
            });
        }
        mailboxes.sort_by(|a, b| (!a.folder.is_inbox(), &a.folder).cmp(&(!b.folder.is_inbox(), &b.folder)));
        mailboxes
    }

    /// The folder of a mailbox that is written exactly as [`Session::wire_name`] writes that folder.
    fn plain_folder(&self, entry: &ListEntry) -> Option<Folder> {
        let folder = utf7::mailbox_to_folder(self.without_prefix(&entry.name), entry.delimiter)?;
        (self.written(&folder).ok()? == entry.name).then_some(folder)
    }

    /// The folder that a mailbox of this name would be listed as; `None` where it could not be shown by its name.
    pub fn shown(&self, wire_name: &[u8]) -> Option<Folder> {
        utf7::mailbox_to_folder(self.without_prefix(wire_name), self.delimiter)
    }

    fn without_prefix<'a>(&self, name: &'a [u8]) -> &'a [u8] {
        if name.eq_ignore_ascii_case(b"INBOX") { name } else { name.strip_prefix(self.prefix.as_slice()).unwrap_or(name) }
    }
}

/// Whether a refusal says that there is no such mailbox, as far as that can be told.
pub fn is_missing(refusal: &Error) -> bool {
    let said = refusal.server_said().unwrap_or_default().to_ascii_lowercase();
    ["[nonexistent]", "doesn't exist", "does not exist"].iter().any(|words| said.contains(words))
}

/// Whether two names mean one mailbox: INBOX is the one without case.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || one.eq_ignore_ascii_case(b"INBOX") && other.eq_ignore_ascii_case(b"INBOX")
}
