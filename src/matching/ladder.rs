//! The steps by which two listings are matched, and the book of who was matched with whom. Each step gets what is left and
//! gives pairs; what a pair is worth is the caller's to say. No step does quadratic work, whatever peers list.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;

use crate::report::compared::{Confidence, Method};

/// The other one of a pair, and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Its index on the other side.
    pub other: usize,
    /// How it was found.
    pub method: Method,
    /// How sure that is.
    pub confidence: Confidence,
}

/// Who is matched with whom: a matching, in which no message has two others.
#[derive(Debug, Default)]
pub struct Book {
    sides: [Vec<Option<Match>>; 2],
}

impl Book {
    /// Takes in more messages of a side (0 or 1), without a match: `count` of them altogether.
    pub fn grow(&mut self, side: usize, count: usize) {
        if let Some(side) = self.sides.get_mut(side)
            && side.len() < count
        {
            side.resize(count, None);
        }
    }

    /// The match of a message of a side.
    pub fn of(&self, side: usize, index: usize) -> Option<Match> {
        self.sides.get(side)?.get(index).copied().flatten()
    }

    /// Whether a message is there and still without a match.
    pub fn is_free(&self, side: usize, index: usize) -> bool {
        self.sides.get(side).and_then(|side| side.get(index)).is_some_and(Option::is_none)
    }

    /// Matches `a` of the first side with `b` of the second, if both are free; whether they were.
    pub fn pair(&mut self, a: usize, b: usize, method: Method, confidence: Confidence) -> bool {
        let free = self.is_free(0, a) && self.is_free(1, b);
        if free {
            self.set(0, a, Some(Match { other: b, method, confidence }));
            self.set(1, b, Some(Match { other: a, method, confidence }));
        }
        free
    }

    /// Says anew how sure a pair is.
    pub fn sure(&mut self, a: usize, confidence: Confidence) {
        if let Some(found) = self.of(0, a) {
            self.set(0, a, Some(Match { confidence, ..found }));
            self.set(1, found.other, Some(Match { other: a, confidence, ..found }));
        }
    }

    /// Those of `of` that are without a match.
    pub fn left(&self, side: usize, of: impl IntoIterator<Item = usize>) -> Vec<usize> {
        of.into_iter().filter(|&index| self.is_free(side, index)).collect()
    }

    /// All pairs in the order of the first side.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, Match)> {
        self.sides.iter().take(1).flatten().enumerate().filter_map(|(index, found)| Some((index, (*found)?)))
    }

    fn set(&mut self, side: usize, index: usize, value: Option<Match>) {
        if let Some(entry) = self.sides.get_mut(side).and_then(|side| side.get_mut(index)) {
            *entry = value;
        }
    }
}

/// Pairs what has equal keys, as often as both sides have it, in the order of both lists.
pub fn pair_equal<K: Hash + Eq>(a: impl IntoIterator<Item = (usize, K)>, b: impl IntoIterator<Item = (usize, K)>) -> Vec<(usize, usize)> {
    // Of each key the first and the last place in `queue`; there each knows the next of its key.
    let mut there: HashMap<K, (usize, usize)> = HashMap::new();
    let mut queue: Vec<(usize, Option<usize>)> = Vec::new();
    for (index, key) in b {
        let place = queue.len();
        queue.push((index, None));
        let last = &mut there.entry(key).or_insert((place, place)).1;
        if *last != place {
            if let Some((_, next)) = queue.get_mut(*last) {
                *next = Some(place);
            }
            *last = place;
        }
    }
    let mut take = |key: &K| {
        let first = &mut there.get_mut(key)?.0;
        let (index, next) = *queue.get(*first)?;
        match next {
            Some(next) => *first = next,
            None => {
                there.remove(key);
            }
        }
        Some(index)
    };
    a.into_iter().filter_map(|(index, key)| Some((index, take(&key)?))).collect()
}

/// As [`pair_equal`] of messages that are named by their places (rising) and whose keys (`key` of side and place) are at hand: of a hundred
/// thousand hardly more than the places is held.
pub fn pair_equal_places<K: Ord>(mut a: Vec<usize>, mut b: Vec<usize>, key: impl Fn(usize, usize) -> Option<K>) -> Vec<(usize, usize)> {
    for (side, list) in [(0, &mut a), (1, &mut b)] {
        list.retain(|&place| key(side, place).is_some());
        list.sort_unstable_by(|&one, &other| key(side, one).cmp(&key(side, other)).then(one.cmp(&other)));
    }
    let mut pairs = Vec::with_capacity(a.len().min(b.len()));
    let (mut here, mut there) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(&one), Some(&other)) = (here.peek(), there.peek()) {
        match key(0, one).cmp(&key(1, other)) {
            Ordering::Less => drop(here.next()),
            Ordering::Greater => drop(there.next()),
            Ordering::Equal => {
                pairs.push((one, other));
                here.next();
                there.next();
            }
        }
    }
    pairs
}

/// Pairs what has the same key and only one on either side has.
pub fn pair_unique<K: Hash + Eq>(a: impl IntoIterator<Item = (usize, K)>, b: impl IntoIterator<Item = (usize, K)>) -> Vec<(usize, usize)> {
    let mut there: HashMap<K, Option<usize>> = HashMap::new();
    for (index, key) in b {
        there.entry(key).and_modify(|one| *one = None).or_insert(Some(index));
    }
    let mut found: HashMap<usize, Option<usize>> = HashMap::new();
    for (index, key) in a {
        if let Some(Some(other)) = there.get(&key) {
            found.entry(*other).and_modify(|one| *one = None).or_insert(Some(index));
        }
    }
    let mut pairs: Vec<(usize, usize)> = found.into_iter().filter_map(|(other, index)| Some((index?, other))).collect();
    pairs.sort_unstable();
    pairs
}

/// How far two lists of sizes go together: while sizes are equal and known, and the next one is another. What follows the first
/// mismatch says nothing.
pub fn order_and_size(a: &[Option<u64>], b: &[Option<u64>]) -> usize {
    let alike = |list: &[Option<u64>], at: usize| list.get(at) == list.get(at + 1);
    let mut walked = 0;
    for (at, (here, there)) in a.iter().zip(b).enumerate() {
        if here.is_none() || here != there || alike(a, at) || alike(b, at) {
            break;
        }
        walked += 1;
    }
    walked
}

/// Pairs what has equal keys and sizes that `near` calls alike; unknown sizes are like any. Within a key both sides are walked by
/// rising size.
pub fn pair_near<K: Hash + Eq>(
    a: impl IntoIterator<Item = (usize, K, Option<u64>)>,
    b: impl IntoIterator<Item = (usize, K, Option<u64>)>,
    near: impl Fn(u64, u64) -> bool,
) -> Vec<(usize, usize)> {
    let mut there: HashMap<K, Vec<(Option<u64>, usize)>> = HashMap::new();
    for (index, key, size) in b {
        there.entry(key).or_default().push((size, index));
    }
    let mut here: HashMap<K, Vec<(Option<u64>, usize)>> = HashMap::new();
    for (index, key, size) in a {
        if there.contains_key(&key) {
            here.entry(key).or_default().push((size, index));
        }
    }
    let mut pairs = Vec::new();
    for (key, mut here) in here {
        let Some(mut there) = there.remove(&key) else { continue };
        here.sort_unstable();
        there.sort_unstable();
        let (mut here, mut there) = (here.into_iter().peekable(), there.into_iter().peekable());
        while let (Some((size_a, a)), Some((size_b, b))) = (here.peek(), there.peek()) {
            match (size_a, size_b) {
                (Some(size_a), Some(size_b)) if !near(*size_a, *size_b) => {
                    if size_a < size_b {
                        here.next();
                    } else {
                        there.next();
                    }
                }
                _ => {
                    pairs.push((*a, *b));
                    here.next();
                    there.next();
                }
            }
        }
    }
    pairs.sort_unstable();
    pairs
}

/// At most `count` places spread over a list of `length`, the first and the last among them, rising.
pub fn spread(length: usize, count: usize) -> Vec<usize> {
    if length <= count {
        return (0..length).collect();
    }
    let steps = count.saturating_sub(1).max(1);
    (0..count).map(|step| step * (length - 1) / steps).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn sizes(list: &[u64]) -> Vec<Option<u64>> {
        list.iter().map(|&size| Some(size).filter(|size| *size > 0)).collect()
    }

    #[test]
    fn the_walk_ends_at_the_first_mismatch_and_before_equal_neighbours() {
        for (a, b, walked) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], 3),
            (&[1, 2, 3], &[1, 2, 4, 3], 2),
            (&[1, 2, 2, 3], &[1, 2, 2, 3], 1),
            (&[1, 2, 3], &[1, 2, 2], 1),
            (&[1, 0, 3], &[1, 0, 3], 1),
            (&[5, 1], &[1], 0),
            (&[1], &[1, 2], 1),
            (&[], &[1], 0),
        ] {
            assert_eq!(order_and_size(&sizes(a), &sizes(b)), walked, "{a:?} {b:?}");
        }
    }

    #[test]
    fn samples_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(3, 20), [0, 1, 2]);
        assert_eq!(spread(0, 20), [0; 0]);
        assert_eq!(spread(101, 5), [0, 25, 50, 75, 100]);
        assert_eq!(spread(1000, 1), [0]);
    }

    #[test]
    fn no_message_has_two_others() {
        let mut book = Book::default();
        book.grow(0, 2);
        book.grow(1, 2);
        assert!(book.pair(0, 1, Method::Header, Confidence::Weak));
        assert!(!book.pair(0, 0, Method::Header, Confidence::Weak));
        assert!(!book.pair(1, 1, Method::Header, Confidence::Weak));
        assert!(!book.pair(7, 0, Method::Header, Confidence::Weak));
        book.sure(0, Confidence::Exact);
        assert_eq!(book.of(1, 1), Some(Match { other: 0, method: Method::Header, confidence: Confidence::Exact }));
        assert_eq!((book.left(0, 0..5), book.left(1, 0..5)), (vec![1], vec![0]));
    }

    #[test]
    fn what_two_on_one_side_have_tells_nothing() {
        assert_eq!(pair_unique([(0, "a"), (1, "b"), (2, "b"), (3, "c")], [(5, "a"), (6, "b"), (7, "c"), (8, "c")]), [(0, 5)]);
    }

    fn list() -> impl Strategy<Value = Vec<(u8, Option<u64>)>> {
        proptest::collection::vec((0_u8..4, proptest::option::of(0_u64..60)), 0..40)
    }

    fn is_matching(pairs: &[(usize, usize)]) -> bool {
        let (a, b): (HashSet<usize>, HashSet<usize>) = pairs.iter().copied().unzip();
        a.len() == pairs.len() && b.len() == pairs.len()
    }

    proptest! {
        #[test]
        fn equal_keys_are_paired_as_often_as_can_be(a in list(), b in list()) {
            let keys = |list: &[(u8, Option<u64>)]| list.iter().map(|one| one.0).enumerate().collect::<Vec<_>>();
            let pairs = pair_equal(keys(&a), keys(&b));
            prop_assert!(is_matching(&pairs));
            prop_assert!(pairs.iter().all(|(one, other)| a[*one].0 == b[*other].0));
            let count = |list: &[(u8, Option<u64>)], key| list.iter().filter(|one| one.0 == key).count();
            prop_assert_eq!(pairs.len(), (0..4).map(|key| count(&a, key).min(count(&b, key))).sum::<usize>());
            let places = |list: &[(u8, Option<u64>)]| (0..list.len()).collect::<Vec<_>>();
            let mut by_place = pair_equal_places(places(&a), places(&b), |side, place| Some(if side == 0 { a[place].0 } else { b[place].0 }));
            by_place.sort_unstable();
            prop_assert_eq!(&by_place, &pairs);
            let unique = pair_unique(keys(&a), keys(&b));
            prop_assert_eq!(unique.len(), (0..4).filter(|key| count(&a, *key) == 1 && count(&b, *key) == 1).count());
        }

        #[test]
        fn near_ones_are_paired_once_and_only_when_near(a in list(), b in list()) {
            let keys = |list: &[(u8, Option<u64>)]| list.iter().enumerate().map(|(index, one)| (index, one.0, one.1)).collect::<Vec<_>>();
            let near = |one: u64, other: u64| one.abs_diff(other) <= 3;
            let pairs = pair_near(keys(&a), keys(&b), near);
            prop_assert!(is_matching(&pairs));
            for (one, other) in &pairs {
                prop_assert_eq!(a[*one].0, b[*other].0);
                prop_assert!(a[*one].1.zip(b[*other].1).is_none_or(|(one, other)| near(one, other)));
            }
            // What is left has nobody left to be near to.
            for (one, (key, size)) in a.iter().enumerate().filter(|(index, _)| !pairs.iter().any(|pair| pair.0 == *index)) {
                let free = b.iter().enumerate().filter(|(index, _)| !pairs.iter().any(|pair| pair.1 == *index));
                let mut alike = free.filter(|(_, other)| other.0 == *key);
                prop_assert!(!alike.any(|(_, other)| size.zip(other.1).is_none_or(|(one, other)| near(one, other))), "{one}");
            }
        }

        #[test]
        fn samples_are_distinct_and_of_the_list(length in 0_usize..500, count in 1_usize..30) {
            let places = spread(length, count);
            prop_assert_eq!(places.len(), length.min(count));
            prop_assert!(places.windows(2).all(|pair| pair[0] < pair[1]) && places.iter().all(|place| *place < length));
        }
    }
}
