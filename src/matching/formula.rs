//! How servers make unique-ids of what IMAP knows a message by (`TRANSFER.md`, Matching, step 0). It reads a unique-id backwards:
//! what UID, UIDVALIDITY or X-GM-MSGID it must have been made of. Whether that is true, header digests have to say.

use std::collections::{HashMap, HashSet};

use super::md5;
use crate::report::compared::{Confidence, Formula};

/// Of a hundred unique-ids a formula must explain so many.
const PER_CENT: usize = 99;

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Base {
    /// Decimal, without leading zeros.
    Decimal,
    /// Eight hex digits in one case, zeros in front.
    Hex8,
    /// Hex digits in one case, without leading zeros.
    Hex,
}

/// Where UIDVALIDITY stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Before,
    After,
}

/// A way to make a unique-id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// `GmailId` and the X-GM-MSGID in hex.
    Gmail,
    /// Of UID and UIDVALIDITY.
    Both(Layout),
    /// The UID alone.
    Bare(Writing),
    /// The Message-ID; `brackets` as it stands in the field, else without `<` and `>`.
    MessageId {
        /// With the angle brackets.
        brackets: bool,
    },
    /// The MD5 of the Message-ID in hex.
    MessageIdMd5 {
        /// With the angle brackets.
        brackets: bool,
    },
}

/// How UID and UIDVALIDITY stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    base: Base,
    validity: Place,
    separator: Option<char>,
}

/// How a UID alone is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Writing(Base);

/// What a unique-id says it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A UID of the folder whose UIDVALIDITY was given.
    Uid(u32),
    /// X-GM-MSGID.
    Gmail(u64),
}

/// A recipe that explains (nearly) all unique-ids of a maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The recipe.
    pub recipe: Recipe,
    /// Unique-ids that it explains.
    pub explains: usize,
    /// Unique-ids there are.
    pub of: usize,
}

const SEPARATORS: &[char] = &['.', '-', '_', ':', '/'];

impl Recipe {
    /// As `TRANSFER.md` names it.
    pub fn name(self) -> String {
        match self {
            Self::Gmail => "gmail".to_owned(),
            Self::Both(Layout { base: Base::Hex8, validity: Place::After, separator: None }) => "dovecot".to_owned(),
            Self::Both(Layout { base: Base::Hex8, validity: Place::Before, separator: None }) => "uw".to_owned(),
            Self::Both(Layout { base, validity, separator }) => {
                let separator = separator.map(String::from).unwrap_or_default();
                let hex = if base == Base::Decimal { "" } else { " in hex" };
                match validity {
                    Place::Before => format!("uidvalidity{separator}uid{hex}"),
                    Place::After => format!("uid{separator}uidvalidity{hex}"),
                }
            }
            Self::Bare(Writing(Base::Decimal)) => "uid".to_owned(),
            Self::Bare(Writing(_)) => "uid in hex".to_owned(),
            Self::MessageId { .. } => "message-id".to_owned(),
            Self::MessageIdMd5 { .. } => "md5 of message-id".to_owned(),
        }
    }

    /// How sure a pair made by it is: a bare UID, or a Message-ID, can be another message's too.
    pub fn confidence(self) -> Confidence {
        match self {
            Self::Gmail | Self::Both(_) => Confidence::Exact,
            Self::Bare(_) | Self::MessageId { .. } | Self::MessageIdMd5 { .. } => Confidence::Strong,
        }
    }

    /// What `uidl` was made of by this recipe, in a folder with this UIDVALIDITY; `None` where it was not.
    pub fn origin(self, uidl: &str, validity: Option<u32>) -> Option<Origin> {
        match self {
            Self::Gmail => {
                let id = strip_gmail(uidl)?;
                (id.len() <= 16 && is_hex(id)).then(|| u64::from_str_radix(id, 16).ok()).flatten().map(Origin::Gmail)
            }
            Self::Both(layout) => {
                let (uid, found) = layout.split(uidl, validity)?;
                (Some(found) == validity).then_some(Origin::Uid(uid))
            }
            Self::Bare(Writing(base)) => base.number(uidl).filter(|&uid| uid > 0).map(Origin::Uid),
            Self::MessageId { .. } | Self::MessageIdMd5 { .. } => None,
        }
    }

    /// The unique-id that a message with this Message-ID (without angle brackets) has, for recipes of headers. Unique-ids have at
    /// most 70 characters (RFC 1939 section 7).
    pub fn made_of(self, message_id: &str) -> Option<String> {
        let written = |brackets: bool| if brackets { format!("<{message_id}>") } else { message_id.to_owned() };
        match self {
            Self::MessageId { brackets } => Some(written(brackets).chars().take(70).collect()),
            Self::MessageIdMd5 { brackets } => Some(md5::hex(written(brackets).as_bytes())),
            _ => None,
        }
    }

    /// A unique-id as [`Self::made_of`] would write it.
    pub fn normal(self, uidl: &str) -> String {
        match self {
            Self::MessageIdMd5 { .. } => uidl.to_ascii_lowercase(),
            _ => uidl.to_owned(),
        }
    }

    /// The recipe of headers by which all of these (unique-id, Message-ID) were made; `None` where there is none, or no message.
    pub fn of_headers(samples: &[(String, Option<String>)]) -> Option<Self> {
        let recipes = [true, false].map(|brackets| [Self::MessageId { brackets }, Self::MessageIdMd5 { brackets }]);
        let makes = |recipe: &Self| {
            samples.iter().all(|(uidl, id)| id.as_ref().and_then(|id| recipe.made_of(id)).is_some_and(|made| made == recipe.normal(uidl)))
        };
        recipes.into_iter().flatten().find(|recipe| !samples.is_empty() && makes(recipe))
    }
}

fn strip_gmail(uidl: &str) -> Option<&str> {
    uidl.get(..7).filter(|head| head.eq_ignore_ascii_case("GmailId")).and_then(|_| uidl.get(7..)).filter(|rest| !rest.is_empty())
}

/// Hex digits, letters in one case.
fn is_hex(text: &str) -> bool {
    let one_case = !(text.contains(|c: char| c.is_ascii_lowercase()) && text.contains(|c: char| c.is_ascii_uppercase()));
    !text.is_empty() && one_case && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Base {
    fn number(self, text: &str) -> Option<u32> {
        let bare = |text: &str| text == "0" || !text.starts_with('0');
        match self {
            Self::Decimal => (bare(text) && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten(),
            Self::Hex8 => (text.len() == 8 && is_hex(text)).then(|| u32::from_str_radix(text, 16).ok()).flatten(),
            Self::Hex => (bare(text) && is_hex(text)).then(|| u32::from_str_radix(text, 16).ok()).flatten(),
        }
    }
}

impl Layout {
    const fn new(base: Base, validity: Place, separator: Option<char>) -> Self {
        Self { base, validity, separator }
    }

    /// UID and UIDVALIDITY out of a unique-id. Where nothing parts the two, `validity` tells where the one ends.
    fn split(self, uidl: &str, validity: Option<u32>) -> Option<(u32, u32)> {
        let (first, second) = match (self.separator, self.base) {
            (Some(separator), _) => uidl.split_once(separator)?,
            (None, Base::Hex8) => (uidl.get(..8)?, uidl.get(8..)?),
            (None, base) => {
                let validity = validity?;
                let written = |text: &str| base.number(text) == Some(validity);
                let length = if base == Base::Decimal { validity.to_string().len() } else { format!("{validity:x}").len() };
                let at = match self.validity {
                    Place::Before => length,
                    Place::After => uidl.len().checked_sub(length)?,
                };
                let (first, second) = (uidl.get(..at)?, uidl.get(at..)?);
                let part = if self.validity == Place::Before { first } else { second };
                written(part).then_some((first, second))?
            }
        };
        // One server writes all letters in one case.
        if self.base != Base::Decimal && !is_hex(&format!("{first}{second}")) {
            return None;
        }
        let (first, second) = (self.base.number(first)?, self.base.number(second)?);
        let (uid, validity) = match self.validity {
            Place::Before => (second, first),
            Place::After => (first, second),
        };
        (uid > 0).then_some((uid, validity))
    }
}

/// Recipes of UID and UIDVALIDITY, the usual ones first.
fn layouts() -> impl Iterator<Item = Layout> {
    let usual = [
        Layout::new(Base::Hex8, Place::After, None),
        Layout::new(Base::Hex8, Place::Before, None),
        Layout::new(Base::Decimal, Place::Before, Some('.')),
        Layout::new(Base::Decimal, Place::Before, Some('-')),
    ];
    let places = [Place::Before, Place::After];
    let parted = SEPARATORS.iter().flat_map(move |&separator| {
        places.into_iter().flat_map(move |place| {
            [Base::Decimal, Base::Hex8, Base::Hex].into_iter().map(move |base| Layout::new(base, place, Some(separator)))
        })
    });
    let joined =
        places.into_iter().flat_map(|place| [Base::Decimal, Base::Hex].into_iter().map(move |base| Layout::new(base, place, None)));
    let more = parted.chain(joined).filter(move |layout| !usual.contains(layout));
    usual.into_iter().chain(more)
}

/// Whether `found` of `all` is enough.
fn enough(found: usize, all: usize) -> bool {
    all > 0 && found.saturating_mul(100) >= all.saturating_mul(PER_CENT)
}

/// The recipes that may have made `uidls`, in a folder with this UIDVALIDITY: each explains nearly all, and no two unique-ids by
/// the same UID. The surest come first. That each is true, the headers of some pairs have to show.
pub fn guesses(uidls: &[&str], validity: Option<u32>) -> Vec<Guess> {
    let recipes = std::iter::once(Recipe::Gmail)
        .chain(layouts().map(Recipe::Both))
        .chain([Base::Decimal, Base::Hex8, Base::Hex].map(|base| Recipe::Bare(Writing(base))));
    let mut found = Vec::new();
    for recipe in recipes {
        // A few tell of most recipes that they are not meant.
        let few = uidls.iter().take(200).filter(|uidl| recipe.origin(uidl, validity).is_some()).count();
        if few < uidls.len().min(200).saturating_sub(uidls.len() / 100 + 1).max(1) {
            continue;
        }
        let mut origins = HashSet::new();
        let mut explains = 0;
        let mut collision = false;
        for origin in uidls.iter().filter_map(|uidl| recipe.origin(uidl, validity)) {
            explains += 1;
            collision |= !origins.insert(origin);
        }
        if !collision && enough(explains, uidls.len()) {
            found.push(Guess { recipe, explains, of: uidls.len() });
        }
    }
    found
}

/// What unique-ids look like that no recipe explains: made of another UIDVALIDITY, of file names, of digests. Named and no more.
pub fn recognised(uidls: &[&str]) -> Option<Formula> {
    let of = uidls.len();
    let named = |name: String, explains: usize| {
        Some(Formula { name, explains: explains as u64, of: of as u64, used: false }).filter(|_| enough(explains, of))
    };
    let count = |fits: &dyn Fn(&str) -> bool| uidls.iter().filter(|uidl| fits(uidl)).count();
    if let Some(formula) = named(Recipe::Gmail.name(), count(&|uidl| Recipe::Gmail.origin(uidl, None).is_some())) {
        return Some(formula);
    }
    // One UIDVALIDITY in all of them, which is not the folder's. One message alone shows nothing of that kind.
    for layout in layouts().filter(|layout| of > 1 && (layout.separator.is_some() || layout.base == Base::Hex8)) {
        let mut times: HashMap<u32, usize> = HashMap::new();
        for (_, validity) in uidls.iter().filter_map(|uidl| layout.split(uidl, None)) {
            *times.entry(validity).or_default() += 1;
        }
        let most = times.into_values().max().unwrap_or_default();
        if let Some(formula) = named(Recipe::Both(layout).name(), most) {
            return Some(formula);
        }
    }
    named("maildir file name".to_owned(), count(&is_file_name))
        .or_else(|| named("zimbra".to_owned(), count(&is_zimbra)))
        .or_else(|| {
            let explains = count(&|uidl| uidl.len() == 32 && is_hex(uidl));
            // Dovecot's GUIDs end with what stands for the host; digests end with anything.
            let mut ends: HashMap<&str, usize> = HashMap::new();
            for end in uidls.iter().filter(|uidl| uidl.len() == 32).filter_map(|uidl| uidl.get(24..)) {
                *ends.entry(end).or_default() += 1;
            }
            let most = ends.into_values().max().unwrap_or_default();
            named(if of > 1 && enough(most, of) { "guid" } else { "md5" }.to_owned(), explains)
        })
        .or_else(|| named("uid".to_owned(), count(&|uidl| Base::Decimal.number(uidl).is_some())))
}

/// `1204680122.27c448.mail`, `1700000000.M1P2.host`: seconds, something unique, the host.
fn is_file_name(uidl: &str) -> bool {
    let mut parts = uidl.splitn(3, '.');
    let seconds = parts.next().is_some_and(|part| (8..=11).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()));
    let unique = parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    seconds && unique && parts.next().is_some_and(|host| !host.is_empty())
}

/// `257.hDG0aW3…`: the item's number and a digest in base64.
fn is_zimbra(uidl: &str) -> bool {
    let Some((id, digest)) = uidl.split_once('.') else { return false };
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b',' | b'-' | b'_' | b'=');
    Base::Decimal.number(id).is_some() && digest.len() >= 20 && digest.bytes().all(base64)
}

/// What unique-ids of the Message-ID look like, for tests of those who use them.
#[cfg(test)]
pub(crate) fn md5_for_tests(text: &str) -> String {
    md5::hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDITY: u32 = 1_700_000_123;

    fn made(uid: impl Fn(u32) -> String) -> Vec<String> {
        // Gaps, as they come in mailboxes.
        (1..=120).map(|number| uid(number * number + 3)).collect()
    }

    fn found(uidls: &[String], validity: Option<u32>) -> Vec<String> {
        let uidls: Vec<&str> = uidls.iter().map(String::as_str).collect();
        guesses(&uidls, validity).into_iter().map(|guess| guess.recipe.name()).collect()
    }

    fn named(uidls: &[String]) -> Option<String> {
        let formula = recognised(&uidls.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(formula.as_ref().is_none_or(|formula| !formula.used));
        formula.map(|formula| formula.name)
    }

    #[test]
    fn each_arrangement_of_uid_and_uidvalidity_is_found_first_and_read_back() {
        let v = VALIDITY;
        let recipes: [(&str, &dyn Fn(u32) -> String); 16] = [
            ("dovecot", &|u| format!("{u:08X}{v:08X}")),
            ("dovecot", &|u| format!("{u:08x}{v:08x}")),
            ("uw", &|u| format!("{v:08X}{u:08X}")),
            ("uw", &|u| format!("{v:08x}{u:08x}")),
            ("uidvalidity.uid", &|u| format!("{v}.{u}")),
            ("uid.uidvalidity", &|u| format!("{u}.{v}")),
            ("uidvalidity-uid", &|u| format!("{v}-{u}")),
            ("uid-uidvalidity", &|u| format!("{u}-{v}")),
            ("uidvalidity_uid", &|u| format!("{v}_{u}")),
            ("uid.uidvalidity in hex", &|u| format!("{u:08x}.{v:08x}")),
            ("uidvalidity-uid in hex", &|u| format!("{v:x}-{u:x}")),
            ("uiduidvalidity", &|u| format!("{u}{v}")),
            ("uidvalidityuid", &|u| format!("{v}{u}")),
            ("uiduidvalidity in hex", &|u| format!("{u:X}{v:X}")),
            ("uid", &|u| format!("{u}")),
            ("uid in hex", &|u| format!("{u:08X}")),
        ];
        for (name, recipe) in recipes {
            let uidls = made(recipe);
            let names = found(&uidls, Some(v));
            assert_eq!(names.first().map(String::as_str), Some(name), "{}", uidls[0]);
            let texts: Vec<&str> = uidls.iter().map(String::as_str).collect();
            let guess = guesses(&texts, Some(v)).remove(0);
            assert_eq!((guess.explains, guess.of), (120, 120));
            assert_eq!(guess.recipe.origin(texts[4], Some(v)), Some(Origin::Uid(28)), "{name}");
            let bare = name == "uid" || name == "uid in hex";
            assert_eq!(guess.recipe.confidence() == Confidence::Strong, bare, "{name}");
        }
    }

    #[test]
    fn another_uidvalidity_is_not_explained_but_recognised() {
        for (name, recipe) in [
            ("dovecot", &(|u: u32| format!("{u:08X}{:08X}", VALIDITY + 1)) as &dyn Fn(u32) -> String),
            ("uw", &|u| format!("{:08x}{u:08x}", VALIDITY + 1)),
            ("uidvalidity.uid", &|u| format!("{}.{u}", VALIDITY + 1)),
            ("uid-uidvalidity", &|u| format!("{u}-{}", VALIDITY + 1)),
        ] {
            let uidls = made(recipe);
            assert_eq!(found(&uidls, Some(VALIDITY)), [""; 0], "{name}");
            assert_eq!(found(&uidls, None), [""; 0], "{name}");
            assert_eq!(named(&uidls).as_deref(), Some(name));
        }
    }

    #[test]
    fn gmails_ids_are_read_in_any_case() {
        let uidls = made(|u| format!("GmailId{:x}", 0x17c3_4f5a_0000_0000_u64 + u64::from(u)));
        assert_eq!(found(&uidls, None), ["gmail"]);
        assert_eq!(Recipe::Gmail.origin("GmailId17c34f5a00000007", None), Some(Origin::Gmail(0x17c3_4f5a_0000_0007)));
        for odd in ["GmailId", "Gmail17", "GmailIdxyz", "GmailId11112222333344445", "GmailId1a2B", "Gma\u{e9}lId17"] {
            assert_eq!(Recipe::Gmail.origin(odd, None), None, "{odd}");
        }
    }

    #[test]
    fn what_cannot_be_computed_is_recognised() {
        for (name, recipe) in [
            ("maildir file name", &(|u: u32| format!("{}.M{u}P12.host.example,S=1", 1_204_680_000 + u)) as &dyn Fn(u32) -> String),
            ("maildir file name", &|u| format!("{}.27c{u}.mail", 1_204_680_000 + u)),
            ("zimbra", &|u| format!("{u}.hDG0aW3+kq1/Zp0Jd7{u:04}=")),
            ("guid", &|u| format!("{u:08x}0f1e2d3c000000008a9b7c6d")),
            ("md5", &|u| md5::hex(u.to_string().as_bytes())),
        ] {
            let uidls = made(recipe);
            assert_eq!(found(&uidls, Some(VALIDITY)), [""; 0], "{name}");
            assert_eq!(named(&uidls).as_deref(), Some(name), "{}", uidls[0]);
        }
        assert_eq!(named(&made(|u| format!("odd thing {u}"))), None);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn one_unexplained_in_a_hundred_is_borne_and_two_are_not() {
        let uidls = |odd: u32| (1..=100).map(|u| if u <= odd { format!("?{u}") } else { format!("{VALIDITY}.{u}") }).collect::<Vec<_>>();
        assert_eq!(found(&uidls(1), Some(VALIDITY)), ["uidvalidity.uid"]);
        assert_eq!(found(&uidls(2), Some(VALIDITY)), [""; 0]);
        // However long the list and wherever they stand.
        let long = |odd: u32| (1..=10_000).map(|u| if u <= odd { format!("?{u}") } else { format!("{VALIDITY}.{u}") }).collect::<Vec<_>>();
        assert_eq!(found(&long(100), Some(VALIDITY)), ["uidvalidity.uid"]);
        assert_eq!(found(&long(101), Some(VALIDITY)), [""; 0]);
    }

    #[test]
    fn a_collision_spoils_a_formula() {
        let mut uidls = made(|u| format!("{VALIDITY}.{u}"));
        uidls.push(uidls[7].clone());
        assert_eq!(found(&uidls, Some(VALIDITY)), [""; 0]);
    }

    #[test]
    fn numbers_are_read_as_strictly_as_servers_write_them() {
        for odd in ["", "0", "007", "+7", "-7", " 7", "4294967296", "7.", "٣"] {
            assert_eq!(Recipe::Bare(Writing(Base::Decimal)).origin(odd, None), None, "{odd}");
        }
        let dovecot = Recipe::Both(Layout::new(Base::Hex8, Place::After, None));
        for odd in
            ["0000000a0000000B", "0000000a000000b", "0000000a0000000bc", "0000000g0000000b", "\u{20ac}00000a0000000b", "000000000000000b"]
        {
            assert_eq!(dovecot.origin(odd, Some(11)), None, "{odd}");
        }
        assert_eq!(dovecot.origin("0000000a0000000b", Some(11)), Some(Origin::Uid(10)));
    }

    #[test]
    fn the_message_id_is_found_in_the_unique_id() {
        let sample = |make: &dyn Fn(&str) -> String| (1..=5).map(|n| (make(&format!("{n}@x")), Some(format!("{n}@x")))).collect::<Vec<_>>();
        for (name, make) in [
            ("message-id", &(|id: &str| id.to_owned()) as &dyn Fn(&str) -> String),
            ("message-id", &|id| format!("<{id}>")),
            ("md5 of message-id", &|id| md5::hex(id.as_bytes())),
            ("md5 of message-id", &|id| md5::hex(format!("<{id}>").as_bytes()).to_uppercase()),
        ] {
            let samples = sample(make);
            let recipe = Recipe::of_headers(&samples).unwrap();
            assert_eq!(recipe.name(), name);
            assert_eq!(recipe.made_of("9@x").unwrap(), recipe.normal(&make("9@x")));
        }
        let mut samples = sample(&|id| id.to_owned());
        samples[3].1 = None;
        assert_eq!(Recipe::of_headers(&samples), None);
        assert_eq!(Recipe::of_headers(&[]), None);
        let long = "x".repeat(90);
        assert_eq!(Recipe::MessageId { brackets: false }.made_of(&long).unwrap().len(), 70);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_whatever_a_server_calls_its_messages(uidls in proptest::collection::vec("\\PC{0,20}|[0-9a-fA-F.]{0,40}|GmailId[0-9a-f]*", 0..20), validity: Option<u32>) {
            let texts: Vec<&str> = uidls.iter().map(String::as_str).collect();
            for guess in guesses(&texts, validity) {
                proptest::prop_assert!(guess.explains * 100 >= guess.of * 99);
            }
            recognised(&texts);
        }

        #[test]
        fn a_uid_is_read_back_from_the_default_of_dovecot(uid in 1_u32.., validity in 1_u32..) {
            let dovecot = Recipe::Both(Layout::new(Base::Hex8, Place::After, None));
            proptest::prop_assert_eq!(dovecot.origin(&format!("{uid:08x}{validity:08x}"), Some(validity)), Some(Origin::Uid(uid)));
        }
    }
}
