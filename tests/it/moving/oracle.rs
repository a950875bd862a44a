//! The oracle: what a house holds in the end, read by the independent client, is what the source held, as a multiset of folder,
//! content, flags and INTERNALDATE; from every kind of source into a real Dovecot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::crash::bench::{in_parallel, say};
use crate::dovecot_user;
use crate::support::dovecot::{Plant, User};
use crate::support::mail::{self, content_digest};
use crate::support::modified_utf7;
use crate::support::tool::Tool;

const FOLDERS: [&str; 4] = ["INBOX", "Archive/2024", "Entwürfe", "a&b"];
const KINDS: [Kind; 6] = [Kind::Imap, Kind::Pop3, Kind::Maildir, Kind::Mbox, Kind::Eml, Kind::Store];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Imap,
    Pop3,
    Maildir,
    Mbox,
    Eml,
    Store,
}

/// A message of the source.
struct Letter {
    folder: &'static str,
    body: Vec<u8>,
    flags: Vec<&'static str>,
    /// INTERNALDATE, where the source keeps one.
    date: i64,
    /// What its header says.
    header_date: Header,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Header {
    At(i64),
    /// It has no date.
    Without,
    /// Somebody else's mail, whose date this oracle does not read.
    Unread,
}

/// Everything: bad mail, the corpus, 30 MB, 5,000 small ones, three identical ones with dates of their own, other folders.
fn house() -> Vec<Letter> {
    let mut house: Vec<Letter> = Vec::new();
    let mut add = |folder, body, header_date| {
        let number = house.len();
        let flags = [vec![], vec!["\\Seen"], vec!["\\Answered", "\\Seen"], vec!["\\Flagged"], vec!["\\Draft"]][number % 5].clone();
        let date = 1_000_000_000 + i64::try_from(number).unwrap() * 61;
        house.push(Letter { folder, body, flags, date, header_date });
    };
    mail::nasty().into_iter().for_each(|(_, body)| add("INBOX", body, Header::Without));
    mail::corpus().into_iter().for_each(|(_, body)| add("INBOX", body, Header::Unread));
    add("INBOX", mail::huge(), Header::Without);
    for number in 0..5000 {
        add("INBOX", mail::plain(number, 300), Header::At(plain_date(number)));
    }
    for _ in 0..3 {
        add("INBOX", mail::plain(7, 100), Header::At(plain_date(7)));
    }
    for folder in &FOLDERS[1..] {
        for number in 6000..6020 {
            add(folder, mail::plain(number, 200), Header::At(plain_date(number)));
        }
    }
    house
}

/// The Date of [`mail::plain`].
fn plain_date(number: u64) -> i64 {
    1_598_961_600 + i64::try_from(number / 60 % 60 * 60 + number % 60).unwrap()
}

/// The dates of equal messages of a folder.
type Facts<D> = BTreeMap<(String, String, Vec<String>), Vec<D>>;

fn there(user: &User) -> Facts<i64> {
    let mut facts = Facts::new();
    for wire in user.folders() {
        let folder = FOLDERS.into_iter().find(|folder| modified_utf7(folder) == wire);
        // A name above another one that is no folder itself.
        let Some(folder) = folder.filter(|_| wire != "Archive") else {
            assert_eq!(wire, "Archive", "{}", user.name());
            continue;
        };
        for message in user.messages(folder) {
            facts.entry((folder.to_owned(), content_digest(&message.body), message.flags)).or_default().push(message.internal_date);
        }
    }
    facts.values_mut().for_each(|dates| dates.sort_unstable());
    facts
}

impl Kind {
    fn has_flags(self) -> bool {
        matches!(self, Self::Imap | Self::Maildir | Self::Store)
    }

    fn has_dates(self) -> bool {
        self != Self::Pop3
    }

    /// Whether it can hold the message, and means it in just that way.
    fn holds(self, letter: &Letter) -> bool {
        let status = || letter.body.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"Status:") || line.starts_with(b"X-Status:"));
        match self {
            Self::Pop3 => letter.folder == "INBOX",
            // One file is one folder; flags stand in the header there.
            Self::Mbox => letter.folder == "INBOX" && !status(),
            _ => true,
        }
    }

    fn expected(self, house: &[Letter]) -> Facts<Header> {
        let mut facts = Facts::new();
        for letter in house.iter().filter(|letter| self.holds(letter)) {
            let flags = if self.has_flags() { letter.flags.iter().map(|flag| (*flag).to_owned()).collect() } else { Vec::new() };
            let date = if self.has_dates() { Header::At(letter.date) } else { letter.header_date };
            facts.entry((letter.folder.to_owned(), content_digest(&letter.body), flags)).or_default().push(date);
        }
        facts.values_mut().for_each(|dates| dates.sort_unstable());
        facts
    }
}

fn dated(path: &Path, date: i64) {
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(date).unwrap());
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn write_eml(root: &Path, house: &[Letter]) {
    for (number, letter) in house.iter().enumerate() {
        let dir = if letter.folder == "INBOX" { root.to_owned() } else { root.join(letter.folder) };
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(format!("{number}.eml"));
        fs::write(&path, &letter.body).unwrap();
        dated(&path, letter.date);
    }
}

/// In the way of mboxrd.
fn write_mbox(path: &Path, house: &[Letter]) {
    let mut bytes = Vec::new();
    for letter in house.iter().filter(|letter| Kind::Mbox.holds(letter)) {
        let date = envelope_date(letter.date);
        bytes.extend_from_slice(format!("From a@b {date}\n").as_bytes());
        for line in letter.body.split_inclusive(|&byte| byte == b'\n') {
            if line.iter().skip_while(|&&byte| byte == b'>').take(5).copied().eq(*b"From ") {
                bytes.push(b'>');
            }
            bytes.extend_from_slice(line);
        }
        bytes.extend_from_slice(if letter.body.ends_with(b"\n") || letter.body.is_empty() { b"\n" } else { b"\n\n" });
    }
    fs::write(path, bytes).unwrap();
}

/// `Sun Sep  9 01:46:40 2001`, for days of September 2001 alone.
fn envelope_date(seconds: i64) -> String {
    const FIRST: i64 = 999_302_400; // 1 September 2001, 00:00 UTC, a Saturday
    let (days, rest) = ((seconds - FIRST) / 86_400, (seconds - FIRST) % 86_400);
    assert!((0..30).contains(&days), "{seconds}");
    let name = ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"][usize::try_from(days % 7).unwrap()];
    format!("{name} Sep {:>2} {:02}:{:02}:{:02} 2001", days + 1, rest / 3600, rest / 60 % 60, rest % 60)
}

#[test]
fn from_every_kind_of_source_folder_content_flags_and_date_arrive_as_a_multiset() {
    // What RETR of POP3 reads is seen afterwards, so that source is one of its own.
    let (from, maildrop) = (dovecot_user!("oracle-from"), dovecot_user!("oracle-maildrop"));
    let house = house();
    for folder in FOLDERS {
        let plant = |letter: &Letter| {
            let plant = Plant::new(letter.body.clone()).date(letter.date);
            letter.flags.iter().fold(plant, |plant, flag| plant.flag(flag))
        };
        let plants: Vec<Plant> = house.iter().filter(|letter| letter.folder == folder).map(plant).collect();
        from.plant(folder, &plants);
        if folder == "INBOX" {
            maildrop.plant(folder, &plants);
        }
    }
    // The planted mail is what the independent client sees at the source.
    let shown = there(&from);
    assert_eq!(shown.keys().collect::<Vec<_>>(), Kind::Imap.expected(&house).keys().collect::<Vec<_>>());
    let dovecot = from.dovecot().clone();
    in_parallel(&KINDS, |&kind| {
        let to = dovecot.user(&format!("oracle-to-{kind:?}").to_lowercase());
        let mut tool = Tool::new();
        tool.set_deadline(Duration::from_secs(900));
        tool.account("from", if kind == Kind::Pop3 { &maildrop } else { &from }).account("to", &to);
        let source = match kind {
            Kind::Imap => "from".to_owned(),
            Kind::Pop3 => "from:pop3".to_owned(),
            Kind::Maildir => format!("maildir:{}", from.home().join("Maildir").display()),
            Kind::Mbox => {
                write_mbox(&tool.path("source"), &house);
                "mbox:source".to_owned()
            }
            Kind::Eml => {
                write_eml(&tool.path("source"), &house);
                "eml:source".to_owned()
            }
            Kind::Store => {
                tool.run(&["backup", "from", "store"]).expect_code(0);
                "store".to_owned()
            }
        };
        let seconds = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let start = seconds();
        let first = tool.run(&["migrate", &source, "to", "--json"]);
        let end = seconds();
        assert_eq!(first.code, 0, "{kind:?}: {first}");
        let (expected, found) = (kind.expected(&house), there(&to));
        let count = expected.values().map(Vec::len).sum::<usize>();
        let summary = first.json();
        assert_eq!((&summary["copied"], &summary["balanced"]), (&count.into(), &true.into()), "{kind:?}: {summary}");
        let differing: Vec<String> = expected
            .iter()
            .filter(|(key, dates)| found.get(*key).map(Vec::len) != Some(dates.len()))
            .map(|(key, _)| format!("- {key:?}"))
            .chain(found.keys().filter(|key| !expected.contains_key(*key)).map(|key| format!("+ {key:?}")))
            .take(8)
            .collect();
        assert!(differing.is_empty(), "{kind:?}: {differing:#?}");
        for (key, dates) in &expected {
            for (date, found) in dates.iter().zip(&found[key]) {
                let right = match date {
                    Header::At(date) => date == found,
                    Header::Without => (start..=end).contains(found),
                    Header::Unread => *found > 0,
                };
                assert!(right, "{kind:?}: {key:?} has {found} in place of {date:?}");
            }
        }
        let again = tool.run(&["migrate", &source, "to", "--json"]).expect_code(0).json();
        assert_eq!((&again["copied"], &again["already_there"]), (&0.into(), &count.into()), "{kind:?}: {again}");
        assert_eq!(there(&to), found, "{kind:?}: the second run changed something");
        say(&format!(
            "oracle: {kind:?} → IMAP on Dovecot: {count} of {count} equal in folder, content, flags and date; altered {}",
            summary["altered"]
        ));
    });
}
