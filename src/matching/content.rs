//! Pairing by content digest: the one proof that a message which is there is the message that was sent. It sees UIDs and digests
//! and nothing of how they came about.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::message::Digest;

/// Pairs messages by content digest, each UID with at most one message: the `wanted` are (index, digest), oldest first;
/// `there` are (UID, digest) in any order. The oldest of several equal messages gets the lowest UID. Gives (index, UID) in
/// the order of `wanted`; what is not in it is not there (often enough), so that two equal messages need two UIDs.
pub fn pair_by_content(there: &[(u32, Digest)], wanted: &[(usize, Digest)]) -> Vec<(usize, u32)> {
    let asked: HashSet<Digest> = wanted.iter().map(|(_, digest)| *digest).collect();
    let mut free: Vec<(u32, Digest)> = there.iter().filter(|(_, digest)| asked.contains(digest)).copied().collect();
    free.sort_unstable();
    // A listing may name a UID twice; it is one message all the same.
    free.dedup_by_key(|(uid, _)| *uid);
    let mut by_digest: HashMap<Digest, VecDeque<u32>> = HashMap::new();
    for (uid, digest) in free {
        by_digest.entry(digest).or_default().push_back(uid);
    }
    let mut uid = |digest| by_digest.get_mut(digest).and_then(VecDeque::pop_front);
    wanted.iter().filter_map(|(index, digest)| Some((*index, uid(digest)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    #[test]
    fn the_oldest_of_equal_messages_gets_the_lowest_uid() {
        let there = [(9, digest(1)), (3, digest(1)), (5, digest(2)), (4, digest(3))];
        let wanted = [(10, digest(1)), (11, digest(2)), (12, digest(1)), (13, digest(4))];
        assert_eq!(pair_by_content(&there, &wanted), [(10, 3), (11, 5), (12, 9)]);
    }

    #[test]
    fn two_equal_messages_need_two_uids() {
        assert_eq!(pair_by_content(&[(1, digest(1)), (1, digest(1))], &[(0, digest(1)), (1, digest(1))]), [(0, 1)]);
        assert_eq!(pair_by_content(&[], &[(0, digest(1))]), []);
    }

    proptest::proptest! {
        #[test]
        fn pairs_are_equal_messages_and_as_many_as_can_be(
            there in proptest::collection::vec((0_u32..50, 0_u8..4), 0..40),
            wanted in proptest::collection::vec(0_u8..4, 0..40),
        ) {
            let there: HashMap<u32, Digest> = there.into_iter().map(|(uid, byte)| (uid, digest(byte))).collect();
            let list: Vec<(u32, Digest)> = there.iter().map(|(uid, digest)| (*uid, *digest)).collect();
            let wanted: Vec<(usize, Digest)> = wanted.into_iter().map(digest).enumerate().collect();
            let pairs = pair_by_content(&list, &wanted);
            for (index, uid) in &pairs {
                proptest::prop_assert_eq!(wanted[*index].1, there[uid]);
            }
            proptest::prop_assert_eq!(pairs.iter().map(|(_, uid)| uid).collect::<HashSet<_>>().len(), pairs.len());
            let count = |byte| {
                let here = wanted.iter().filter(|(_, one)| *one == digest(byte)).count();
                here.min(list.iter().filter(|(_, one)| *one == digest(byte)).count())
            };
            proptest::prop_assert_eq!(pairs.len(), (0..4).map(count).sum::<usize>());
        }
    }
}
