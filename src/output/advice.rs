//! The block "IMAP or POP3 for this account?" for people: two columns that say in plain words what was measured, what it means, and the
//! command to run next. It fits 80 cells; what servers said in it harms no terminal.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::sanitize;
use super::table::bytes_for_people;
use crate::report::advice::{Advice, Effort, Forecast, Offer, Partial, Reading, Secured};
use crate::report::counted;

/// Cells of a line.
const LINE: usize = 80;
/// Cells of a row's name, and of each of the two columns.
const NAME: usize = 16;
const COLUMN: usize = (LINE - 2 - NAME - 2 * GAP) / 2;
const GAP: usize = 2;

/// Ways to log in that take a password; the rest of those known take a token.
const TOKENS: [&str; 2] = ["XOAUTH2", "OAUTHBEARER"];

/// What extensions are good for, and the names that say so; the first of several on top of one another.
const GOOD_FOR: &[(&str, &[&str])] = &[
    ("tells what changed since last time", &["QRESYNC", "CONDSTORE"]),
    ("tells where a copy went", &["UIDPLUS"]),
    ("moves in one step", &["MOVE"]),
    ("compresses", &["COMPRESS=DEFLATE"]),
    ("sorts", &["SORT"]),
    ("names Sent, Trash and the like", &["SPECIAL-USE"]),
    ("tells the quota", &["QUOTA"]),
    ("knows a message in every folder", &["OBJECTID", "X-GM-EXT-1"]),
];

/// Makes a cell of what a protocol offers; the second is whether that is IMAP.
type Cell = fn(&Offer, bool) -> String;

/// The block.
pub fn text(advice: &Advice) -> String {
    let mut text = String::new();
    let (pop3, imap) = (&advice.pop3, &advice.imap);
    let question = if advice.moving { "Stay with POP3, or move to IMAP?" } else { "IMAP or POP3 for this account?" };
    let _ = writeln!(text, "{question}\n");
    let heads = [format!("POP3 {}", pop3.place), format!("IMAP {}", imap.place)];
    row(&mut text, "", &heads[0], &heads[1]);
    let cell = |make: Cell| (make(pop3, false), make(imap, true));
    let rows: [(&str, Cell); 11] = [
        ("server", server),
        ("encryption", encryption),
        ("login", authentication),
        ("mail it shows", mail),
        ("folders", folders),
        ("read, answered …", flags),
        ("search", search),
        ("part of a mail", partial),
        ("new mail", push),
        ("reading", reading),
        ("it also", extensions),
    ];
    for (name, make) in rows {
        let (pop3, imap) = cell(make);
        row(&mut text, name, &pop3, &imap);
    }
    row(&mut text, "names of mail", &names(advice), "numbers that stay (UID), in each folder");
    row(&mut text, "effort", &effort(pop3), &effort(imap));
    for (protocol, offer) in [("POP3", pop3), ("IMAP", imap)] {
        if let Some(why) = &offer.unmeasured {
            paragraph(
                &mut text,
                "- ",
                &format!("{protocol} was not measured to the end: {why}. The comparison above is complete all the same."),
            );
        }
    }
    text.push('\n');
    advice.notes.iter().for_each(|note| paragraph(&mut text, "- ", note));
    if !advice.notes.is_empty() {
        text.push('\n');
    }
    match &advice.forecast {
        Some(forecast) => {
            text.push_str("Will POP3 programs download everything again after the move?\n\n");
            foretold(forecast).iter().for_each(|sentence| paragraph(&mut text, "  ", sentence));
            text.push('\n');
        }
        None if advice.moving => {
            paragraph(
                &mut text,
                "- ",
                "Programs that will go on reading by POP3, at the new server: --forecast NEW:pop3 tells whether they download everything again.",
            );
            text.push('\n');
        }
        None => {}
    }
    let [verdict, next] = brief(advice);
    paragraph(&mut text, "", &verdict);
    // A command that is broken cannot be pasted.
    text.push_str(&next);
    text.push('\n');
    text
}

/// The verdict and the next command, a line each.
pub fn brief(advice: &Advice) -> [String; 2] {
    [format!("Use {}.", sanitize::line(&advice.reason)), format!("Next: {}", sanitize::line(&advice.next))]
}

fn server(offer: &Offer, _: bool) -> String {
    if offer.host.contains(':') { format!("[{}]:{}", offer.host, offer.port) } else { format!("{}:{}", offer.host, offer.port) }
}

fn encryption(offer: &Offer, imap: bool) -> String {
    let version = offer.tls.unwrap_or_default();
    match offer.security {
        Secured::ImplicitTls => format!("TLS {version}"),
        Secured::StartTls => format!("TLS {version}, by {}", if imap { "STARTTLS" } else { "STLS" }),
        Secured::None => "NO".to_owned(),
    }
}

fn authentication(offer: &Offer, _: bool) -> String {
    let (tokens, passwords): (Vec<&String>, Vec<&String>) = offer.authentication.iter().partition(|name| TOKENS.contains(&name.as_str()));
    let named = |what: &str, names: &[&String]| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{what} ({})", names.join(", ")))
    };
    let ways: Vec<String> = [named("password", &passwords), named("token", &tokens)].into_iter().flatten().collect();
    match (ways.is_empty(), offer.login.is_some()) {
        (false, _) => ways.join(", "),
        (true, true) => "works; the server does not tell how else".to_owned(),
        (true, false) => unknown(),
    }
}

fn unknown() -> String {
    "not measured".to_owned()
}

fn mail(offer: &Offer, _: bool) -> String {
    match (offer.messages, offer.octets, &offer.unmeasured) {
        (Some(messages), Some(octets), _) => format!("{}, {}B", counted(messages, "message"), bytes_for_people(octets)),
        (Some(messages), None, _) => format!("{}; sizes not summed up", counted(messages, "message")),
        (None, _, None) => "not told for every folder".to_owned(),
        (None, _, Some(_)) => unknown(),
    }
}

fn folders(offer: &Offer, imap: bool) -> String {
    match (imap, offer.folders) {
        (false, _) => "no: the inbox alone".to_owned(),
        (true, Some(folders)) => format!("yes: {folders}"),
        (true, None) => "yes".to_owned(),
    }
}

fn flags(offer: &Offer, imap: bool) -> String {
    match (offer.keeps_flags, offer.keeps_keywords) {
        (Some(false), _) if imap => "not kept in this folder".to_owned(),
        (Some(false), _) => "no: each program on its own".to_owned(),
        (Some(true), Some(true)) => "yes, and marks of your own".to_owned(),
        (Some(true), _) => "yes".to_owned(),
        (None, _) => unknown(),
    }
}

fn search(offer: &Offer, _: bool) -> String {
    if offer.search { "yes, on the server".to_owned() } else { "no: only after downloading".to_owned() }
}

fn partial(offer: &Offer, _: bool) -> String {
    match offer.partial_fetch {
        Some(Partial::Any) => "any: one attachment, say".to_owned(),
        Some(Partial::FirstLines) => "its first lines (TOP)".to_owned(),
        Some(Partial::Whole) => "no: all or nothing".to_owned(),
        None if offer.unmeasured.is_none() => "not told".to_owned(),
        None => unknown(),
    }
}

fn push(offer: &Offer, _: bool) -> String {
    match offer.push {
        Some(true) => "told at once (IDLE)".to_owned(),
        Some(false) => "by asking again and again".to_owned(),
        None => unknown(),
    }
}

fn reading(offer: &Offer, _: bool) -> String {
    match offer.reading {
        Reading::NoTrace => "leaves no trace if so wished".to_owned(),
        Reading::Marks => "leaves marks: see below".to_owned(),
        Reading::NotTried => "may mark mail: not tried".to_owned(),
    }
}

fn extensions(offer: &Offer, imap: bool) -> String {
    let has = |name: &str| offer.extensions.iter().any(|own| own == name);
    let mut found: Vec<String> = Vec::new();
    if !imap && offer.pipelining == Some(true) {
        found.push("takes many requests at once (PIPELINING)".to_owned());
    }
    for (what, names) in GOOD_FOR {
        if let Some(name) = names.iter().find(|name| imap && has(name)) {
            found.push(format!("{what} ({name})"));
        }
    }
    match (found.is_empty(), offer.login.is_some()) {
        (false, _) => found.join(", "),
        (true, true) => "-".to_owned(),
        (true, false) => unknown(),
    }
}

fn names(advice: &Advice) -> String {
    let ids = &advice.unique_ids;
    let mut text = match (ids.first, ids.stable, ids.again) {
        (0, ..) if advice.pop3.messages == Some(0) => return "-".to_owned(),
        (0, ..) => return "none (no UIDL): programs cannot tell old from new".to_owned(),
        (first, Some(true), _) => format!("{first} ids (UIDL), equal in two sessions a moment apart"),
        (first, Some(false), again) => {
            format!("{first} ids (UIDL), of which the next session had only {}: removed since, or named anew", again.unwrap_or_default())
        }
        (first, None, _) => format!("{first} ids (UIDL)"),
    };
    if let Some(formula) = &ids.formula {
        let _ = match formula.used {
            true => write!(text, "; made of IMAP's numbers ({})", formula.name),
            false => write!(text, "; made in the manner {}", formula.name),
        };
    }
    text
}

fn effort(offer: &Offer) -> String {
    let one = |what: &str, effort: Option<Effort>| {
        effort.map(|effort| format!("{what}: {}, {}", counted(effort.round_trips, "round trip"), time(effort.seconds)))
    };
    let listed = offer.listed.map_or_else(|| "list".to_owned(), |listed| format!("list {listed}"));
    let found: Vec<String> = [one("log in", offer.login), one(&listed, offer.listing)].into_iter().flatten().collect();
    if found.is_empty() { unknown() } else { found.join("; ") }
}

fn time(seconds: f64) -> String {
    if seconds < 0.9995 { format!("{:.0}ms", (seconds * 1000.0).ceil()) } else { format!("{seconds:.1}s") }
}

/// What the numbers mean for people who read by POP3.
fn foretold(forecast: &Forecast) -> Vec<String> {
    let place = &forecast.place;
    if let Some(why) = &forecast.unknown {
        return vec![format!("That cannot be told: {why} ({place})."), PROGRAMS.to_owned()];
    }
    let Forecast { old, kept, again, checked, other_mail, .. } = forecast;
    let told = format!("{kept} of {} keep their id (UIDL) at {place}", counted(*old, "message"));
    let mut sentences = Vec::new();
    if *other_mail > 0 {
        sentences
            .push(format!("WORSE: {told}, but of {checked} of these that were looked at {other_mail} are other mail under an old id."));
        sentences.push("Programs would take new mail for mail they have, and never download it.".to_owned());
        sentences.push("Set the account up anew in them, instead of only changing the server's name.".to_owned());
        return sentences;
    }
    if *again == 0 {
        sentences.push(format!("No: {told}, so programs know them."));
        if kept < old {
            sentences.push(format!("The other {} are not there, so they are not downloaded either.", old - kept));
        }
        return sentences;
    }
    let whole = if *kept == 0 { "Yes" } else { "In part" };
    sentences.push(format!("{whole}: {told}."));
    sentences.push(PROGRAMS.to_owned());
    let with = if forecast.new.saturating_sub(*kept) > *again { " with what is really new" } else { "" };
    let size = bytes_for_people(forecast.octets);
    sentences.push(format!("So those that leave mail on the server download {} again ({size}B{with}).", counted(*again, "message")));
    sentences.push(
        "To spare them that: change them to IMAP; or ask the new server's operator to keep the old ids (Dovecot can: plugin pop3-migration, \
         or the setting pop3_uidl_format); or let them remove what they have from the old server first."
            .to_owned(),
    );
    sentences
}

const PROGRAMS: &str = "POP3 programs know mail by that id alone: one they have not seen is new to them.";

/// One row of the two columns, each wrapped.
fn row(text: &mut String, name: &str, left: &str, right: &str) {
    let (left, right) = (wrapped(&sanitize::line(left), COLUMN), wrapped(&sanitize::line(right), COLUMN));
    for at in 0..left.len().max(right.len()) {
        let cell = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        let (left, right) = (cell(&left), cell(&right));
        let name = if at == 0 { name } else { "" };
        let line = format!("  {}{}{}", padded(name, NAME + GAP), padded(&left, COLUMN + GAP), right);
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// A paragraph whose first line begins with `mark`.
fn paragraph(text: &mut String, mark: &str, words: &str) {
    for (at, line) in wrapped(&sanitize::line(words), LINE - mark.width()).iter().enumerate() {
        let begin = if at == 0 { mark.to_owned() } else { " ".repeat(mark.width()) };
        let _ = writeln!(text, "{begin}{line}");
    }
}

/// Lines of at most `width` cells, broken at blanks, or within a word that fits no line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { continue };
        if line.is_empty() || line.width() + 1 + word.width() <= width {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
        while let Some(long) = lines.last().filter(|line| line.width() > width).cloned() {
            let mut cells = 0;
            let cut = long.char_indices().find(|(_, c)| {
                cells += UnicodeWidthStr::width(c.encode_utf8(&mut [0; 4]) as &str);
                cells > width
            });
            let Some((head, tail)) = cut.and_then(|(at, _)| long.split_at_checked(at)).filter(|(head, _)| !head.is_empty()) else { break };
            if let Some(last) = lines.last_mut() {
                *last = head.to_owned();
            }
            lines.push(tail.to_owned());
        }
    }
    lines
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
