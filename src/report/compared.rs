//! What a comparison of two places found: a row for each message, and sums that balance (`TRANSFER.md`, Matching).

use serde::Serialize;

/// What became clear of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// On both sides, and the same as far as it was looked at.
    Same,
    /// On both sides, and not the same.
    Differs,
    /// On the first side alone.
    OnlyA,
    /// On the second side alone.
    OnlyB,
    /// On both sides, in another folder on the second.
    Elsewhere,
    /// Once more than on the other side, where the same message is too.
    Doubled,
    /// It could not be looked at.
    Error,
}

impl Verdict {
    /// The sign in tables.
    pub fn sign(self) -> char {
        match self {
            Self::Same => '=',
            Self::Differs => '*',
            Self::OnlyA => '+',
            Self::OnlyB => '-',
            Self::Elsewhere => '~',
            Self::Doubled => '2',
            Self::Error => '!',
        }
    }
}

/// How two messages were found to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The UIDL is computed from the UID.
    UidlFormula,
    /// An earlier run copied the one to the other.
    Journal,
    /// Both lists have the same sizes in the same order.
    OrderAndSize,
    /// Equal header digests.
    Header,
    /// Equal content digests, or equal headers with equal bodies.
    Content,
}

/// How sure it is that two messages are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A guess that nothing contradicts.
    Weak,
    /// Hardly anything else is possible.
    Strong,
    /// Proved.
    Exact,
}

/// One message as one side lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Half {
    /// Its folder there.
    pub folder: String,
    /// UIDVALIDITY; absent where the store has no such notion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uidvalidity: Option<u32>,
    /// UID, on IMAP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Message number, on POP3; in local stores the place in the list, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Unique-id, on POP3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uidl: Option<String>,
    /// Size in octets as this side claims it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// One row of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Pairing {
    /// What became clear.
    pub verdict: Verdict,
    /// How it was found; absent for a message without a counterpart.
    pub method: Option<Method>,
    /// How sure that is; absent for a message without a counterpart.
    pub confidence: Option<Confidence>,
    /// The message on the first side.
    pub a: Option<Half>,
    /// The message on the second side.
    pub b: Option<Half>,
    /// Flags without backslash: those of the first side, or of the second where only that keeps them and its listing tells them
    /// (IMAP, Maildir). They count for no verdict.
    pub flags: Vec<String>,
    /// The `Date` field, RFC 3339; else INTERNALDATE.
    pub date: Option<String>,
    /// The `Message-ID` field without angle brackets.
    pub message_id: Option<String>,
    /// The `Subject` field, decoded.
    pub subject: Option<String>,
    /// What differs, where it is, or why it could not be looked at.
    pub reason: Option<String>,
}

impl Pairing {
    /// Whether it tells of a folder that could not be opened, and of no message.
    pub fn is_of_a_folder(&self) -> bool {
        let nameless = |half: &Half| half.uid.is_none() && half.number.is_none();
        self.verdict == Verdict::Error && self.a.iter().chain(&self.b).all(nameless)
    }
}

/// Sums of a comparison. For each side they make up what it lists:
/// `listed_a` = same + different + elsewhere + `only_a` + `doubled_a` + `errors_a`, and the same of b.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Sums {
    /// Messages of the first side.
    pub listed_a: u64,
    /// Messages of the second side.
    pub listed_b: u64,
    /// Pairs of the same message.
    pub same: u64,
    /// Pairs that differ.
    pub different: u64,
    /// On the first side alone.
    pub only_a: u64,
    /// On the second side alone.
    pub only_b: u64,
    /// Pairs in different folders.
    pub elsewhere: u64,
    /// Further copies of a message that is on both sides: those of the first and of the second together.
    pub doubled: u64,
    /// Of these on the first side.
    pub doubled_a: u64,
    /// Messages that could not be looked at, on both sides together.
    pub errors: u64,
    /// Of these on the first side.
    pub errors_a: u64,
    /// Folders of either side that could not be opened. Each has a row with neither `uid` nor `number`; what it holds is counted
    /// nowhere.
    pub folders_unread: u64,
}

impl Sums {
    /// Whether both equations balance.
    pub fn balanced(&self) -> bool {
        let pairs = self.same + self.different + self.elsewhere;
        self.doubled_a <= self.doubled
            && self.errors_a <= self.errors
            && self.listed_a == pairs + self.only_a + self.doubled_a + self.errors_a
            && self.listed_b == pairs + self.only_b + (self.doubled - self.doubled_a) + (self.errors - self.errors_a)
    }

    /// Whether both sides hold the same mail in the same folders.
    pub fn equal(&self) -> bool {
        self.balanced() && self.folders_unread == 0 && self.same == self.listed_a && self.same == self.listed_b
    }
}

/// A way servers make UIDLs of UIDs, found out on this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Formula {
    /// As `TRANSFER.md` names it: `dovecot`, `uidvalidity.uid`, `uid`, `uidvalidity-uid`, `uw`, `gmail`, `message-id` …
    pub name: String,
    /// UIDLs that it explains.
    pub explains: u64,
    /// UIDLs there are.
    pub of: u64,
    /// Whether pairs stand on it: not one that is only recognised.
    pub used: bool,
}

/// The rows of a comparison, each made when it is asked for: kept, those of a hundred thousand messages would take more memory than all
/// else.
pub struct Rows {
    count: usize,
    row: Box<dyn Fn(usize) -> Option<Pairing>>,
}

impl Rows {
    /// The rows that `row` gives for places below `count`; a place may have none.
    pub fn new(count: usize, row: impl Fn(usize) -> Option<Pairing> + 'static) -> Self {
        Self { count, row: Box::new(row) }
    }

    /// All of them in their order, made anew each time.
    pub fn iter(&self) -> impl Iterator<Item = Pairing> {
        (0..self.count).filter_map(|at| (self.row)(at))
    }
}

impl From<Vec<Pairing>> for Rows {
    fn from(rows: Vec<Pairing>) -> Self {
        Self::new(rows.len(), move |at| rows.get(at).cloned())
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self::new(0, |_| None)
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Rows {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// All that a comparison found.
#[derive(Debug, Default)]
pub struct Compared {
    /// The sums.
    pub sums: Sums,
    /// A row for each message or pair, in the order of the first side, then what only the second has.
    pub rows: Rows,
    /// How the UIDLs of a POP3 side are made, where that was found out.
    pub formula: Option<Formula>,
}
