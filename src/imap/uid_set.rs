//! Sets of UIDs as ascending ranges, so that a mailbox of a million messages costs a few bytes. Knows nothing of mailboxes.

use std::fmt;

/// So many ranges at most are taken from a server (16 MiB): a mailbox where every second of four million UIDs is gone.
const MAX_RANGES: usize = 2_000_000;

/// A set of UIDs (or sequence numbers): 1 to 4,294,967,295.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UidSet {
    /// Inclusive, ascending, neither overlapping nor adjacent.
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// All UIDs from `first` to `last`, in either order.
    pub fn range(first: u32, last: u32) -> Self {
        let (first, last) = (first.min(last).max(1), first.max(last));
        Self { ranges: if last == 0 { Vec::new() } else { vec![(first, last)] } }
    }

    /// Reads `1:4,7`. Ranges may overlap, run backwards and come in any order.
    /// `None` for zero, `*`, anything that is no number, an empty set, and more ranges than memory should hold.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Some(Self::normal(ranges(text)?))
    }

    /// As [`Self::parse`], but `None` also where the numbers do not ascend strictly: for lists whose order carries meaning.
    pub fn parse_ascending(text: &[u8]) -> Option<Self> {
        let ranges = ranges(text)?;
        let orderly = ranges.iter().all(|(first, last)| first <= last)
            && ranges.iter().zip(ranges.iter().skip(1)).all(|((_, before), (after, _))| before < after);
        orderly.then(|| Self::normal(ranges))
    }

    /// Adds one UID; zero is no UID and is left out. Cheap at the end; for many in any order use [`Extend`].
    pub fn insert(&mut self, uid: u32) {
        if uid == 0 {
            return;
        }
        match self.ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
            Some((_, last)) if *last >= uid => {
                if !self.contains(uid) {
                    self.ranges.push((uid, uid));
                    self.ranges = Self::normal(std::mem::take(&mut self.ranges)).ranges;
                }
            }
            _ => self.ranges.push((uid, uid)),
        }
    }

    /// Whether `uid` is in it.
    pub fn contains(&self, uid: u32) -> bool {
        let behind = self.ranges.partition_point(|(first, _)| *first <= uid);
        behind.checked_sub(1).and_then(|index| self.ranges.get(index)).is_some_and(|(_, last)| uid <= *last)
    }

    /// How many UIDs.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The lowest.
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|(first, _)| *first)
    }

    /// The highest.
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|(_, last)| *last)
    }

    /// The UIDs, ascending. A server may claim four thousand million of them: bound what you keep.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }

    /// The inclusive ranges, ascending.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Whether all of `other` is in `self`; costs no more than `other` is long.
    pub fn holds_all(&self, other: &Self) -> bool {
        other.ranges.iter().all(|&(first, last)| {
            let behind = self.ranges.partition_point(|(own, _)| *own <= first);
            behind.checked_sub(1).and_then(|index| self.ranges.get(index)).is_some_and(|(_, own)| last <= *own)
        })
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut cuts = other.ranges.iter().peekable();
        for &(first, last) in &self.ranges {
            let mut from = Some(first);
            while let (Some(start), Some(&&(cut_first, cut_last))) = (from, cuts.peek()) {
                if cut_last < start {
                    cuts.next();
                } else if cut_first > last {
                    break;
                } else {
                    if cut_first > start {
                        left.push((start, cut_first - 1));
                    }
                    // A cut that reaches past this range may take from the next one too, so it stays.
                    from = if cut_last < last { Some(cut_last + 1) } else { None };
                }
            }
            if let Some(start) = from {
                left.push((start, last));
            }
        }
        Self { ranges: left }
    }

    /// Cuts it into sets whose text is at most `max_bytes` long (but at least one range each), ascending.
    pub fn split(&self, max_bytes: usize) -> Vec<Self> {
        let mut sets = Vec::new();
        let mut current = Vec::new();
        let mut length = 0;
        for &range in &self.ranges {
            let more = range_bytes(range);
            if !current.is_empty() && length + 1 + more > max_bytes {
                sets.push(Self { ranges: std::mem::take(&mut current) });
            }
            length = if current.is_empty() { more } else { length + 1 + more };
            current.push(range);
        }
        if !current.is_empty() {
            sets.push(Self { ranges: current });
        }
        sets
    }

    /// Cuts it into sets of at most `most` UIDs (at least one), ascending.
    pub fn split_by_count(&self, most: u32) -> Vec<Self> {
        let most = most.max(1);
        let (mut sets, mut current, mut room) = (Vec::new(), Vec::new(), most);
        for &(first, last) in &self.ranges {
            let mut first = first;
            loop {
                // A range may hold all UIDs there are, one more than its length can say.
                let end = last.min(first.saturating_add(room - 1));
                current.push((first, end));
                room -= end - first + 1;
                if room == 0 {
                    sets.push(Self { ranges: std::mem::take(&mut current) });
                    room = most;
                }
                if end == last {
                    break;
                }
                first = end + 1;
            }
        }
        if !current.is_empty() {
            sets.push(Self { ranges: current });
        }
        sets
    }

    fn normal(mut ranges: Vec<(u32, u32)>) -> Self {
        for (first, last) in &mut ranges {
            if first > last {
                std::mem::swap(first, last);
            }
        }
        if !ranges.is_sorted() {
            ranges.sort_unstable();
        }
        ranges.dedup_by(|later, kept| {
            let joins = later.0 <= kept.1.saturating_add(1);
            if joins {
                kept.1 = kept.1.max(later.1);
            }
            joins
        });
        Self { ranges }
    }
}

impl Extend<u32> for UidSet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, uids: I) {
        let mut ranges = std::mem::take(&mut self.ranges);
        for uid in uids.into_iter().filter(|uid| *uid != 0) {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
                _ => ranges.push((uid, uid)),
            }
        }
        *self = Self::normal(ranges);
    }
}

impl FromIterator<u32> for UidSet {
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> Self {
        let mut set = Self::new();
        set.extend(uids);
        set
    }
}

impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if first != last {
                write!(f, ":{last}")?;
            }
        }
        Ok(())
    }
}

/// UIDs that come piece by piece and in any order: however small the pieces are, each costs but its share of putting all in
/// order.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    set: UidSet,
    waiting: Vec<u32>,
}

impl From<UidSet> for Gathered {
    fn from(set: UidSet) -> Self {
        Self { set, waiting: Vec::new() }
    }
}

impl Gathered {
    /// Takes more.
    pub(super) fn extend(&mut self, uids: impl IntoIterator<Item = u32>) {
        for uid in uids {
            self.waiting.push(uid);
            if self.waiting.len() > self.set.ranges.len().max(4096) {
                self.settle();
            }
        }
    }

    /// Whether they are more scattered than memory should hold.
    pub(super) fn is_too_much(&self) -> bool {
        self.set.ranges.len() > MAX_RANGES
    }

    fn settle(&mut self) {
        self.set.extend(std::mem::take(&mut self.waiting));
    }

    /// All of them.
    pub(super) fn finish(mut self) -> UidSet {
        self.settle();
        self.set
    }
}

fn range_bytes((first, last): (u32, u32)) -> usize {
    let digits = |number: u32| number.checked_ilog10().unwrap_or(0) as usize + 1;
    if first == last { digits(first) } else { digits(first) + 1 + digits(last) }
}

fn ranges(text: &[u8]) -> Option<Vec<(u32, u32)>> {
    let mut ranges = Vec::new();
    for piece in text.trim_ascii().split(|byte| *byte == b',') {
        let mut ends = piece.splitn(2, |byte| *byte == b':');
        let first = uid(ends.next()?)?;
        let last = ends.next().map_or(Some(first), uid)?;
        if ranges.len() == MAX_RANGES {
            return None;
        }
        ranges.push((first, last));
    }
    Some(ranges)
}

fn uid(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|uid| *uid != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uids_in_any_order_become_ascending_ranges() {
        let set: UidSet = [7, 2, 1, 4, 3, 0, 7, 9].into_iter().collect();
        assert_eq!(set.to_string(), "1:4,7,9");
        assert_eq!(set.len(), 6);
        assert!(set.contains(3) && !set.contains(5) && !set.contains(0) && !set.contains(10));
        let mut set = UidSet::new();
        for uid in [5, 6, 3, 4, 0, u32::MAX, 6] {
            set.insert(uid);
        }
        assert_eq!(set.to_string(), "3:6,4294967295");
    }

    #[test]
    fn a_servers_set_is_read_in_whatever_order_and_never_expanded() {
        assert_eq!(UidSet::parse(b"4:1,3:9,12").unwrap().to_string(), "1:9,12");
        assert_eq!(UidSet::parse(b"1:4294967295").unwrap().len(), 4_294_967_295);
        for text in ["", "0", "1,", "*", "1:*", "-1", "1:2:3", "a", "4294967296", "1 2", "+1"] {
            assert!(UidSet::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_list_whose_order_counts_is_taken_only_when_it_ascends() {
        assert_eq!(UidSet::parse_ascending(b"304,319:320,321").unwrap().to_string(), "304,319:321");
        for text in ["5,4", "5:4", "1:3,3", "1,1"] {
            assert!(UidSet::parse_ascending(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_million_pieces_in_any_order_are_gathered_without_putting_all_in_order_each_time() {
        let mut gathered = Gathered::default();
        (1..=1_000_000).rev().for_each(|number| gathered.extend([2 * number, 2 * number]));
        let set = gathered.finish();
        assert_eq!((set.ranges().len(), set.first(), set.last()), (1_000_000, Some(2), Some(2_000_000)));
        assert!(Gathered::default().finish().is_empty());
    }

    #[test]
    fn a_flood_of_ranges_is_refused() {
        let text = b"1,".repeat(MAX_RANGES + 1);
        assert!(UidSet::parse(text.strip_suffix(b",").unwrap()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_set_reads_back_from_its_text(uids in proptest::collection::vec(1..500_u32, 1..100), max in 3..40_usize) {
            let set: UidSet = uids.iter().copied().collect();
            let mut expected = uids.clone();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), expected);
            prop_assert_eq!(UidSet::parse(set.to_string().as_bytes()).unwrap(), set.clone());
            let mut one_by_one = UidSet::new();
            uids.iter().for_each(|uid| one_by_one.insert(*uid));
            prop_assert_eq!(&one_by_one, &set);
            let split = set.split(max);
            prop_assert!(split.iter().all(|part| part.to_string().len() <= max.max(7)));
            prop_assert_eq!(split.iter().flat_map(UidSet::iter).collect::<UidSet>(), set);
        }

        #[test]
        fn a_difference_holds_what_only_the_first_set_has(left in proptest::collection::vec(1..60_u32, 0..40), right in proptest::collection::vec(1..60_u32, 0..40)) {
            let (a, b): (UidSet, UidSet) = (left.iter().copied().collect(), right.iter().copied().collect());
            let expected: UidSet = left.iter().copied().filter(|uid| !right.contains(uid)).collect();
            prop_assert_eq!(a.difference(&b), expected);
            prop_assert_eq!(a.holds_all(&b), b.difference(&a).is_empty());
        }
    }

    #[test]
    fn a_set_is_cut_by_count_without_losing_or_doubling_any() {
        let set = UidSet::parse(b"1:10,12,20:25,4294967290:4294967295").unwrap();
        for most in [1, 2, 3, 7, 100] {
            let pieces = set.split_by_count(most);
            assert!(pieces.iter().all(|piece| piece.len() <= u64::from(most) && !piece.is_empty()));
            assert!(pieces.iter().rev().skip(1).all(|piece| piece.len() == u64::from(most)));
            assert_eq!(pieces.iter().flat_map(UidSet::iter).collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
        }
        assert_eq!(set.split_by_count(0).len(), 23);
    }
}
