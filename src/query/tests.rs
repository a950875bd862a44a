//! What terms mean.

use proptest::prelude::*;

use super::*;
use crate::message::Flag;

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn holds(term: Term, facts: &Facts<'_>) -> Option<bool> {
    let opposite = Query { terms: vec![Term::Not(Box::new(term.clone()))] }.holds(facts);
    let plain = Query { terms: vec![term] }.holds(facts);
    assert_eq!(opposite, plain.map(|holds| !holds));
    plain
}

const LETTER: &[u8] = b"From: =?utf-8?q?J=C3=B6rg?= Weber <j@example.org>\r\nTo: a@example.org\r\nSubject: one\r\n two\r\n\
    Date: Tue, 1 Jul 2003 23:30:00 -0500\r\nMessage-ID: <11@Example.org>\r\nX-Empty:\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n\
    Stra\xdfe\r\n";

#[test]
fn texts_are_found_case_aside_in_decoded_and_in_raw_fields() {
    let facts = Facts { header: Some(LETTER), ..Facts::default() };
    for (term, expected) in [
        (Term::From("J\u{d6}RG weber".into()), true),
        (Term::From("=?utf-8?Q?j=c3".into()), true),
        (Term::From("@EXAMPLE".into()), true),
        (Term::From("nobody".into()), false),
        (Term::To("a@".into()), true),
        (Term::Cc("a".into()), false),
        (Term::Subject("ONE TWO".into()), true),
        (Term::Header { name: "x-empty".into(), text: String::new() }, true),
        (Term::Header { name: "x-other".into(), text: String::new() }, false),
        (Term::Header { name: "X-Empty".into(), text: "x".into() }, false),
        (Term::MessageId("11@Example.org".into()), true),
        (Term::MessageId("1@Example.org".into()), false),
    ] {
        assert_eq!(holds(term.clone(), &facts), Some(expected), "{term:?}");
        assert_eq!(holds(term, &Facts::default()), None);
    }
    assert_eq!(holds(Term::Body("stra\u{df}e".into()), &facts), None);
    let whole = Facts { whole: Some(LETTER), ..Facts::default() };
    assert_eq!(holds(Term::Body("STRA\u{df}E".into()), &whole), Some(true));
    assert_eq!(holds(Term::Body("weber".into()), &whole), Some(false));
    assert_eq!(holds(Term::Text("from: j\u{f6}rg WEBER".into()), &whole), Some(true));
    assert_eq!(holds(Term::Text("weber".into()), &facts), Some(true));
    assert_eq!(holds(Term::Text("stra".into()), &facts), None);
}

#[test]
fn days_are_those_of_the_dates_own_zone() {
    let date = InternalDate { seconds: 1_704_067_200 - 3600, offset: 7200 };
    let facts = Facts { internal_date: Some(date), header: Some(LETTER), ..Facts::default() };
    for (term, expected) in [
        (Term::Since(day("2024-01-01")), true),
        (Term::Before(day("2024-01-01")), false),
        (Term::Before(day("2024-01-02")), true),
        (Term::SentSince(day("2003-07-01")), true),
        (Term::SentSince(day("2003-07-02")), false),
        (Term::SentBefore(day("2003-07-02")), true),
        (Term::OlderThan(date.seconds), true),
        (Term::OlderThan(date.seconds - 1), false),
        (Term::NewerThan(date.seconds), false),
        (Term::NewerThan(date.seconds - 1), true),
    ] {
        assert_eq!(holds(term.clone(), &facts), Some(expected), "{term:?}");
        assert_eq!(holds(term, &Facts::default()), None);
    }
    let undated = Facts { header: Some(b"Subject: x\r\n\r\n"), ..Facts::default() };
    assert_eq!(holds(Term::SentSince(day("0001-01-01")), &undated), Some(false));
    assert_eq!(holds(Term::SentBefore(day("9999-12-31")), &undated), Some(false));
}

#[test]
fn sizes_compare_strictly_and_flags_without_case() {
    let flags = [Flag::seen(), Flag::new("Work")];
    let facts = Facts { size: Some(10), flags: Some(&flags), ..Facts::default() };
    assert_eq!(holds(Term::Larger(10), &facts), Some(false));
    assert_eq!(holds(Term::Larger(9), &facts), Some(true));
    assert_eq!(holds(Term::Smaller(10), &facts), Some(false));
    assert_eq!(holds(Term::Smaller(11), &facts), Some(true));
    assert_eq!(holds(Term::Flag(Flag::new("\\SEEN")), &facts), Some(true));
    assert_eq!(holds(Term::Flag(Flag::new("work")), &facts), Some(true));
    assert_eq!(holds(Term::Flag(Flag::new("\\Flagged")), &facts), Some(false));
}

#[test]
fn one_failed_term_decides_and_one_unknown_leaves_it_open() {
    let facts = Facts { size: Some(10), ..Facts::default() };
    let query = |terms: Vec<Term>| Query { terms };
    assert_eq!(query(vec![Term::From("x".into()), Term::Larger(10)]).holds(&facts), Some(false));
    assert_eq!(query(vec![Term::From("x".into()), Term::Larger(9)]).holds(&facts), None);
    assert_eq!(query(vec![Term::Raw("SEEN".into())]).holds(&facts), None);
    assert_eq!(Query::default().holds(&Facts::default()), Some(true));
    let both = query(vec![Term::Not(Box::new(Term::Flag(Flag::seen()))), Term::Not(Box::new(Term::Gmail("x".into())))]);
    assert!(both.by_flags() && both.server_only() == Some("--gmail") && both.fields() == Some(Vec::new()));
    assert!(query(vec![Term::Body("x".into())]).fields().is_none());
}

#[test]
fn days_move_and_stop_at_the_ends_of_the_calendar() {
    assert_eq!(day("2024-02-28").plus(2), Some(day("2024-03-01")));
    assert_eq!(day("9999-12-31").plus(1), None);
    assert_eq!(day("0001-01-01").plus(-1), None);
    assert_eq!(Day::of_seconds(-1), Some(day("1969-12-31")));
    assert!(Day::of_seconds(i64::MAX).is_none() && Day::of(InternalDate { seconds: i64::MAX, offset: 1 }).is_none());
}

/// Any term, of any depth.
pub(crate) fn any_term() -> impl Strategy<Value = Term> {
    let text =
        || prop_oneof!["[ -~]{0,12}", "\\PC{0,8}", "[a-z\\r\\n\"\\\\{}()%*]{1,10}", proptest::string::string_regex("x{990,1010}").unwrap()];
    let day = || (1_i16..=9999, 1_i8..=12, 1_i8..=28).prop_map(|(year, month, day)| Day { year, month, day });
    let moment = || prop_oneof![any::<i64>(), 0..4_000_000_000_i64];
    let leaf = prop_oneof![
        "(\\\\?[A-Za-z$]{1,8}|\\PC{0,4})".prop_map(|wire| Term::Flag(Flag::new(wire))),
        text().prop_map(Term::From),
        text().prop_map(Term::To),
        text().prop_map(Term::Cc),
        text().prop_map(Term::Subject),
        text().prop_map(Term::Text),
        text().prop_map(Term::Body),
        (text(), text()).prop_map(|(name, text)| Term::Header { name, text }),
        text().prop_map(Term::MessageId),
        day().prop_map(Term::Since),
        day().prop_map(Term::Before),
        day().prop_map(Term::SentSince),
        day().prop_map(Term::SentBefore),
        moment().prop_map(Term::OlderThan),
        moment().prop_map(Term::NewerThan),
        any::<u64>().prop_map(Term::Larger),
        any::<u64>().prop_map(Term::Smaller),
        text().prop_map(Term::Raw),
        text().prop_map(Term::Gmail),
    ];
    leaf.prop_recursive(3, 4, 1, |inner| inner.prop_map(|term| Term::Not(Box::new(term))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_evaluation_always_comes_to_an_end(terms in proptest::collection::vec(any_term(), 0..5), bytes in proptest::collection::vec(any::<u8>(), 0..300), seconds in any::<i64>(), offset in any::<i32>(), size in any::<u64>()) {
        let query = Query { terms };
        let flags = [Flag::seen()];
        let facts = Facts { flags: Some(&flags), size: Some(size), internal_date: Some(InternalDate { seconds, offset }), header: None, whole: Some(&bytes) };
        let known = query.holds(&facts);
        if query.server_only().is_none() && Day::of(InternalDate { seconds, offset }).is_some() {
            prop_assert!(known.is_some());
        }
        for facts in [Facts { flags: None, ..facts }, Facts { size: None, ..facts }, Facts { whole: None, ..facts }, Facts { internal_date: None, ..facts }] {
            // To know less never turns an answer into its opposite.
            if let (Some(less), Some(more)) = (query.holds(&facts), known) {
                prop_assert_eq!(less, more);
            }
        }
    }
}
