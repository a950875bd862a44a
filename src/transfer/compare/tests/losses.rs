use super::fake::{Asked, Kind, compare, drop_of, mails, place, row, signs, try_compare};
use crate::report::compared::Verdict;

#[test]
fn lost_sessions_are_resumed_where_they_were() {
    for full in [false, true] {
        for kind in [Kind::Imap, Kind::Pop3] {
            let uidl = |number: u32| (!number.is_multiple_of(5)).then(|| format!("u{number}"));
            let list = if kind == Kind::Pop3 { drop_of(1..=50, uidl) } else { mails(1..=50) };
            let a = place(kind, vec![("INBOX", list)]);
            let b = place(Kind::Imap, vec![("INBOX", mails((1..=50).rev()))]);
            a.lock().unwrap().cuts = (10, 3);
            a.lock().unwrap().lists_lost = 2;
            b.lock().unwrap().cuts = (20, 2);
            let compared = compare(&a, &b, Asked { full, ..Asked::default() });
            assert!(compared.sums.equal(), "{kind:?} {:?}", compared.sums);
            assert_eq!(a.lock().unwrap().opened, 6);
        }
    }
}

#[test]
fn a_listing_that_never_comes_is_an_error_and_never_empty() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=5))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(1..=5))]);
    b.lock().unwrap().lists_lost = 100;
    assert!(try_compare(&a, &b, Asked::default()).unwrap_err().to_string().contains("cut in the listing"));
}

#[test]
fn a_message_that_cannot_be_read_is_a_row_and_the_rest_is_compared() {
    for full in [false, true] {
        let a = place(Kind::Imap, vec![("INBOX", mails(1..=9))]);
        let b = place(Kind::Imap, vec![("INBOX", mails((1..=9).rev()))]);
        a.lock().unwrap().refused = vec![30];
        b.lock().unwrap().deadly = vec![70];
        let compared = compare(&a, &b, Asked { full, ..Asked::default() });
        assert_eq!((compared.sums.same, compared.sums.errors, compared.sums.errors_a), (7, 2, 1), "{:?}", compared.rows);
        let reasons: Vec<_> =
            compared.rows.iter().filter(|row| row.verdict == Verdict::Error).filter_map(|row| row.reason.as_deref()).collect();
        assert_eq!(reasons[0], "it was refused");
        assert!(reasons[1].starts_with("the session was lost 3 times while it was read"), "{reasons:?}");
    }
}

#[test]
fn order_and_size_keep_an_unreadable_message_with_its_counterpart() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=9))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(1..=9))]);
    a.lock().unwrap().refused = vec![30];
    let compared = compare(&a, &b, Asked::default());
    assert_eq!(signs(&compared), "==!======");
    assert!(row(&compared, Verdict::Error).b.is_some());
}

#[test]
fn what_went_away_meanwhile_is_said_to_have() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=9))]);
    let b = place(Kind::Imap, vec![("INBOX", mails((1..=9).rev()))]);
    a.lock().unwrap().vanishing = vec![30];
    let compared = compare(&a, &b, Asked::default());
    assert_eq!(row(&compared, Verdict::Error).reason.as_deref(), Some("it went away while it was compared"));
}

#[test]
fn numbers_of_a_maildrop_without_unique_ids_that_changed_are_not_believed() {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=9, |_| None))]);
    let b = place(Kind::Imap, vec![("INBOX", mails((1..=9).rev()))]);
    drop.lock().unwrap().cuts = (4, 1);
    drop.lock().unwrap().shift_when_cut = true;
    let error = try_compare(&drop, &b, Asked::default()).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Safety, "{error}");
}
