use proptest::prelude::*;

use super::fake::{Asked, Kind, Mail, compare, mail, place, text};
use crate::report::compared::Verdict;

/// A few numbers, so that twins and equal headers come up; bodies of two kinds under one header.
fn side() -> impl Strategy<Value = Vec<Vec<(u32, bool)>>> {
    proptest::collection::vec(proptest::collection::vec((0_u32..8, proptest::bool::weighted(0.2)), 0..12), 3)
}

fn folders(side: &[Vec<(u32, bool)>]) -> Vec<(&'static str, Vec<Mail>)> {
    let mut uid = 0;
    let mut mails = |list: &Vec<(u32, bool)>| {
        list.iter()
            .map(|(number, other)| {
                uid += 1;
                let mut bytes = text(*number);
                if *other {
                    let at = bytes.len() - 3;
                    bytes[at] = b'?';
                }
                mail(uid, bytes)
            })
            .collect()
    };
    ["INBOX", "x", "y"].into_iter().zip(side).map(|(name, list)| (name, mails(list))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn sums_balance_and_pairs_are_as_many_as_can_be(a in side(), b in side(), full in any::<bool>(), local in any::<bool>()) {
        let kind = if local { Kind::Files } else { Kind::Imap };
        let compared = compare(&place(kind, folders(&a)), &place(Kind::Imap, folders(&b)), Asked { full, ..Asked::default() });
        prop_assert_eq!(compared.sums.listed_a as usize, a.iter().map(Vec::len).sum::<usize>());
        prop_assert_eq!(compared.sums.listed_b as usize, b.iter().map(Vec::len).sum::<usize>());
        // As many pairs of one header as both sides have of it.
        let count = |side: &[Vec<(u32, bool)>], number: u32| side.iter().flatten().filter(|one| one.0 == number).count();
        let most: usize = (0..8).map(|number| count(&a, number).min(count(&b, number))).sum();
        prop_assert_eq!((compared.sums.same + compared.sums.elsewhere + compared.sums.different) as usize, most);
        if !full {
            prop_assert_eq!(compared.sums.different, 0);
            // What is left over has a twin that is paired, if both sides have the message.
            for row in compared.rows.iter().filter(|row| matches!(row.verdict, Verdict::OnlyA | Verdict::OnlyB)) {
                let number: u32 = row.subject.as_ref().unwrap().strip_prefix('s').unwrap().parse().unwrap();
                prop_assert_eq!(count(&a, number).min(count(&b, number)), 0);
            }
        }
        prop_assert!(compared.rows.iter().all(|row| row.verdict == Verdict::Same || row.subject.is_some()));
    }

    #[test]
    fn a_side_is_equal_to_itself(a in side(), full in any::<bool>(), local in any::<bool>()) {
        let kind = if local { Kind::Files } else { Kind::Imap };
        let compared = compare(&place(kind, folders(&a)), &place(Kind::Imap, folders(&a)), Asked { full, ..Asked::default() });
        prop_assert!(compared.sums.equal(), "{:?}", compared.sums);
    }
}

#[test]
fn a_hundred_thousand_equal_headers_take_no_more_than_a_moment() {
    // Quadratic work would take hours.
    let many =
        |count: u32| place(Kind::Imap, vec![("INBOX", (1..=count).map(|uid| Mail { size: Some(9), ..mail(uid, text(1)) }).collect())]);
    let compared = super::fake::try_compare(&many(100_000), &many(99_999), Asked::default()).unwrap();
    assert_eq!((compared.sums.same, compared.sums.doubled_a), (99_999, 1));
}
