//! What the server in memory tells of whole mailboxes: figures, what changed since a MODSEQ, and what a message is known by.

use super::grammar::{in_set, quoted};
use super::{Behaviour, Mailbox};

impl Behaviour {
    pub(super) fn keeps_mod_seqs(&self) -> bool {
        self.has("CONDSTORE") || self.has("QRESYNC")
    }

    /// The first item of STATUS that this server does not offer.
    pub(super) fn unknown_item(&self, items: &[String]) -> Option<String> {
        let known = |item: &str| match item {
            "HIGHESTMODSEQ" => self.keeps_mod_seqs(),
            "MAILBOXID" => self.has("OBJECTID"),
            _ => true,
        };
        items.iter().find(|item| !known(item)).cloned()
    }
}

impl Mailbox {
    /// A STATUS response of the items that are known.
    pub(super) fn status(&self, name: &str, items: &[String]) -> String {
        let unseen = self.messages.iter().filter(|message| !message.flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Seen"))).count();
        let told: Vec<String> = items
            .iter()
            .filter_map(|item| {
                let item = item.to_ascii_uppercase();
                let value = match item.as_str() {
                    "MESSAGES" => self.messages.len(),
                    "UIDNEXT" => self.uid_next as usize,
                    "UIDVALIDITY" => self.uid_validity as usize,
                    "UNSEEN" => unseen,
                    "RECENT" => 0,
                    "SIZE" => self.messages.iter().map(|message| message.body.len()).sum(),
                    "HIGHESTMODSEQ" if self.no_mod_seqs => 0,
                    "HIGHESTMODSEQ" => usize::try_from(self.mod_seq).unwrap(),
                    "MAILBOXID" => return Some(format!("MAILBOXID ({})", self.id)),
                    _ => return None,
                };
                Some(format!("{item} {value}"))
            })
            .collect();
        format!("* STATUS {} ({})", quoted(name), told.join(" "))
    }

    /// What QRESYNC tells: VANISHED (EARLIER) and FETCH of what changed after `since`, of the known UIDs alone where they are
    /// named (RFC 7162 section 3.2.5.1).
    pub(super) fn changes(&self, since: u64, known: Option<&str>, behaviour: &Behaviour) -> String {
        let asked = |uid: u32| known.is_none_or(|set| in_set(set, uid, self.uid_next));
        let mut gone: Vec<u32> = if behaviour.forgets_expunges {
            (1..self.uid_next).filter(|uid| !self.messages.iter().any(|message| message.uid == *uid)).collect()
        } else {
            self.expunged.iter().filter(|(mod_seq, _)| *mod_seq > since).map(|(_, uid)| *uid).collect()
        };
        gone.retain(|uid| asked(*uid) && !behaviour.denies_expunges);
        let mut answer = String::new();
        if !gone.is_empty() {
            let gone: Vec<String> = gone.iter().map(u32::to_string).collect();
            answer.push_str(&format!("* VANISHED (EARLIER) {}\r\n", gone.join(",")));
        }
        for (index, message) in self.messages.iter().enumerate() {
            if asked(message.uid) && (message.mod_seq > since || behaviour.tells_everything) {
                let flags = message.flags.join(" ");
                answer.push_str(&format!("* {} FETCH (UID {} FLAGS ({flags}) MODSEQ ({}))\r\n", index + 1, message.uid, message.mod_seq));
            }
        }
        answer
    }
}

/// What equal messages are known by.
pub(super) fn identity(body: &[u8]) -> u64 {
    body.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
