//! What holds for every everyday verb alike: hostile names, kills, safety, servers that lack something, and what is shown.

mod compared;
mod kills;
mod lacking;
mod names;
mod safety;
mod screen;
mod trouble;

use std::collections::BTreeMap;

use crate::support::imapd::Imapd;

/// Folder → UID, flags and body of each message.
type Mailboxes = BTreeMap<String, Vec<(u32, String, Vec<u8>)>>;

fn mailboxes(server: &Imapd) -> Mailboxes {
    let of = |name: &String| {
        let messages = server.mailbox(name).messages.into_iter();
        messages.map(|message| (message.uid, message.flags.join(" "), message.body)).collect()
    };
    server.folders().iter().map(|name| (name.clone(), of(name))).collect()
}
