//! The verdict: from what was compared and measured to one sentence and one command. It asks no server.

use super::measure::{Account, Maildrop};
use crate::report::advice::{Choice, Reading};
use crate::report::compared::Sums;
use crate::report::counted;

/// What the two sides are called on the command line.
pub(super) struct Names<'a> {
    /// The POP3 side.
    pub(super) pop3: &'a str,
    /// The IMAP side.
    pub(super) imap: &'a str,
    /// They are of different accounts.
    pub(super) moving: bool,
    /// The IMAP side of the POP3 side's account, where that is known.
    pub(super) beside: Option<&'a str>,
}

/// Whether this is Gmail's POP3, by its name or by how it names itself.
pub(super) fn is_gmail(host: &str, names: &str) -> bool {
    let (host, names) = (host.to_ascii_lowercase(), names.to_ascii_lowercase());
    ["pop.gmail.com", "pop.googlemail.com"].contains(&host.trim_end_matches('.'))
        || ["gpop", "gimap"].iter().any(|name| names.contains(name))
}

/// Which to use, why, and the command to run next.
pub(super) fn verdict(sums: &Sums, maildrop: &Maildrop, imap: &Account, names: &Names<'_>) -> (Choice, String, String) {
    let (pop3, there) = (quoted(names.pop3), quoted(names.imap));
    let gmail = is_gmail(&maildrop.offer.host, &maildrop.names);
    // All of Gmail's mail is to be had over IMAP alone.
    let source = names.beside.filter(|_| gmail).map_or_else(|| pop3.clone(), quoted);
    let migrate = format!("mailhaul migrate {source} {there}");
    let missing = sums.only_a;
    let found = sums.same + sums.different + sums.elsewhere;
    if missing > 0 {
        let of = format!("{} of the {} in the maildrop", missing, sums.listed_a);
        let are = if missing == 1 { "is" } else { "are" };
        return match (names.moving, found) {
            (true, _) => (Choice::Imap, format!("IMAP, once all mail is there: {of} {are} not there yet"), migrate),
            (false, 0) => (
                Choice::Pop3,
                "POP3: IMAP shows nothing of what is in the maildrop; keep a copy of it first".to_owned(),
                format!("mailhaul backup {pop3} maildir:Mail"),
            ),
            (false, _) => (
                Choice::Both,
                format!("IMAP, but do not give POP3 up yet: {of} {are} not on IMAP; keep a copy first"),
                format!("mailhaul backup {pop3} maildir:Mail"),
            ),
        };
    }
    let again = format!("mailhaul compare-pop3 {pop3} {there}");
    if sums.different > 0 {
        let reason = format!("IMAP: it has everything, but {} there otherwise than in the maildrop; look at them", stand(sums.different));
        return (Choice::Imap, reason, format!("{again} --full"));
    }
    if sums.errors + sums.folders_unread > 0 {
        let unread = if sums.errors > 0 { counted(sums.errors, "message") } else { counted(sums.folders_unread, "folder") };
        let reason = format!("IMAP, as far as could be seen: {unread} could not be read");
        return (Choice::Imap, reason, again);
    }
    let doubled = match sums.doubled {
        0 => String::new(),
        count => format!(", {count} of it more than once"),
    };
    if gmail {
        let reason = format!("IMAP: Gmail shows only part of the mail over POP3, and all that it showed now is there{doubled}");
        return (Choice::Imap, reason, if names.moving { migrate } else { format!("mailhaul backup {there} maildir:Mail") });
    }
    if names.moving {
        let reason = format!("IMAP: everything of the maildrop is there{doubled}; when the last mail has come in, fetch what is new");
        return (Choice::Imap, reason, migrate);
    }
    let more = imap.offer.messages.map_or(0, |messages| messages.saturating_sub(found));
    let more = match more {
        // Views show mail twice, and what is counted twice is not more.
        0 => String::new(),
        _ if !imap.views.is_empty() => String::new(),
        more => format!(", and {} more", counted(more, "message")),
    };
    let reason = format!("IMAP: it has everything that POP3 shows{doubled}{more}, and keeps folders and marks");
    (Choice::Imap, reason, format!("mailhaul backup {there} maildir:Mail"))
}

fn stand(count: u64) -> String {
    format!("{} {}", counted(count, "message"), if count == 1 { "stands" } else { "stand" })
}

/// What one should know of these servers.
pub(super) fn notes(maildrop: &mut Maildrop, account: &Account) -> Vec<String> {
    let mut notes = Vec::new();
    let names = maildrop.names.to_ascii_lowercase();
    if is_gmail(&maildrop.offer.host, &names) {
        maildrop.offer.reading = Reading::Marks;
        notes.push(
            "Gmail over POP3: a session shows only about the 250 oldest messages that no program has fetched yet, and hides a message \
             once a program has fetched it and said goodbye (QUIT), whether it was deleted or not; `recent:` before the user name \
             shows the last 30 days again. So what POP3 shows is not all there is: use IMAP."
                .to_owned(),
        );
    } else if names.contains("dovecot") {
        maildrop.offer.reading = Reading::Marks;
        notes.push(
            "Dovecot marks a message as read on IMAP when a program fetches it whole by POP3, unless it is set up otherwise.".to_owned(),
        );
    }
    let expire = maildrop.expire.as_deref().and_then(|expire| expire.split_whitespace().next()).map(str::to_ascii_uppercase);
    match expire.as_deref() {
        Some("0") => notes.push("The POP3 server keeps no mail: what was fetched may be deleted at once (EXPIRE 0).".to_owned()),
        Some(days) if days.parse::<u64>().is_ok() => {
            notes.push(format!("The POP3 server may delete mail after {} (EXPIRE).", counted(days.parse().unwrap_or_default(), "day")));
        }
        _ => {}
    }
    if let Some(seconds) = maildrop.login_delay.filter(|seconds| *seconds > 0) {
        notes.push(format!("The POP3 server wants {} between two logins (LOGIN-DELAY).", counted(seconds, "second")));
    }
    if !account.views.is_empty() {
        let names: Vec<String> = account.views.iter().map(ToString::to_string).collect();
        notes.push(format!("On IMAP {} shows mail of other folders again, which is counted there as well.", names.join(", ")));
    }
    for (protocol, offer, command) in [("POP3", &maildrop.offer, "STLS"), ("IMAP", &account.offer, "STARTTLS")] {
        if offer.tls.is_none() {
            let remedy = if offer.tls_offered { format!("; the server offers {command}: leave out tls=none") } else { String::new() };
            notes.push(format!("This {protocol} connection is not encrypted: anyone on the way can read password and mail{remedy}."));
        }
    }
    notes
}

/// A word of a command line, for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::advice::Offer;

    fn judged(host: &str, sums: Sums, moving: bool) -> (Choice, String, String) {
        let maildrop = Maildrop {
            offer: Offer { host: host.to_owned(), ..Offer::default() },
            names: String::new(),
            expire: None,
            login_delay: None,
            listings: None,
            source: None,
        };
        let account = Account { offer: Offer { messages: Some(sums.listed_b), ..Offer::default() }, views: Vec::new() };
        verdict(&sums, &maildrop, &account, &Names { pop3: "old:pop3", imap: "new", moving, beside: Some("old:imap") })
    }

    #[test]
    fn gmails_mail_moves_over_imap_and_that_of_others_as_it_was_compared() {
        let sums = Sums { listed_a: 3, listed_b: 2, same: 2, only_a: 1, ..Sums::default() };
        assert_eq!(judged("pop.gmail.com", sums, true).2, "mailhaul migrate old:imap new");
        assert_eq!(judged("pop.example.org", sums, true).2, "mailhaul migrate old:pop3 new");
    }

    #[test]
    fn what_is_missing_outweighs_what_differs_and_that_what_could_not_be_read() {
        let differs = Sums { listed_a: 4, listed_b: 4, same: 2, different: 1, errors: 2, errors_a: 1, ..Sums::default() };
        let (choice, reason, next) = judged("h", differs, false);
        assert_eq!((choice, next.as_str()), (Choice::Imap, "mailhaul compare-pop3 old:pop3 new --full"));
        assert!(reason.contains("1 message stands there otherwise"), "{reason}");
        let (choice, reason, next) = judged("h", Sums { only_a: 2, listed_a: 6, ..differs }, false);
        assert_eq!((choice, next.as_str()), (Choice::Both, "mailhaul backup old:pop3 maildir:Mail"));
        assert!(reason.contains("2 of the 6 in the maildrop are not on IMAP"), "{reason}");
        let unread = Sums { different: 0, same: 3, ..differs };
        assert!(judged("h", unread, false).1.contains("2 messages could not be read"));
        let doubled = Sums { listed_a: 1, listed_b: 2, same: 1, doubled: 1, ..Sums::default() };
        assert!(judged("h", doubled, true).1.contains("is there, 1 of it more than once"));
    }

    #[test]
    fn gmail_is_known_by_host_greeting_and_implementation() {
        assert!(is_gmail("pop.GMAIL.com.", "") && is_gmail("localhost", "Gpop ready for requests") && is_gmail("h", "x Gimap"));
        assert!(!is_gmail("pop.example.org", "Dovecot ready.") && !is_gmail("pop.gmail.com.example.org", ""));
    }

    #[test]
    fn a_place_stays_one_word_for_a_shell() {
        assert_eq!(quoted("pop3s://ann@pop.example.org"), "pop3s://ann@pop.example.org");
        assert_eq!(quoted("new/Old Mail"), "'new/Old Mail'");
        assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(quoted(""), "''");
    }
}
