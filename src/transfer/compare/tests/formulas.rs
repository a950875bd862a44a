use super::fake::{Asked, Compared, Kind, Mail, compare, drop_of, mail, mails, place, signs, text};
use crate::report::compared::{Confidence, Method};

fn drop_against(uidl: impl Fn(u32) -> Option<String>, there: Vec<Mail>) -> (Compared, usize) {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of((1..=200).rev(), uidl))]);
    let b = place(Kind::Imap, vec![("INBOX", there)]);
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    let headers = drop.lock().unwrap().headers;
    (compared, headers)
}

#[test]
fn every_formula_pairs_all_with_twenty_headers_read() {
    let md5 = |text: &str| crate::matching::formula::md5_for_tests(text);
    for (name, confidence, uidl) in [
        ("dovecot", Confidence::Exact, &(|uid: u32| format!("{:08X}{:08X}", uid * 10, 7)) as &dyn Fn(u32) -> String),
        ("uw", Confidence::Exact, &|uid| format!("{:08x}{:08x}", 7, uid * 10)),
        ("uidvalidity.uid", Confidence::Exact, &|uid| format!("7.{}", uid * 10)),
        ("uidvalidity-uid", Confidence::Exact, &|uid| format!("7-{}", uid * 10)),
        ("uid-uidvalidity", Confidence::Exact, &|uid| format!("{}-7", uid * 10)),
        ("uid", Confidence::Strong, &|uid| format!("{}", uid * 10)),
        ("message-id", Confidence::Strong, &|uid| format!("<{uid}@x>")),
        ("md5 of message-id", Confidence::Strong, &|uid| md5(&format!("{uid}@x"))),
    ] {
        let (compared, headers) = drop_against(|uid| Some(uidl(uid)), mails(1..=200));
        let formula = compared.formula.as_ref().unwrap();
        assert_eq!((formula.name.as_str(), formula.explains, formula.of, formula.used), (name, 200, 200, true));
        assert!(compared.sums.equal(), "{name}");
        assert!(compared.rows.iter().all(|row| (row.method, row.confidence) == (Some(Method::UidlFormula), Some(confidence))), "{name}");
        assert_eq!(headers, 20, "{name}");
    }
}

#[test]
fn a_formula_that_the_headers_contradict_is_not_believed() {
    // The UIDs are there, with other mail.
    let there: Vec<Mail> = (1..=200).map(|number| mail(number * 10, text(number % 200 + 1))).collect();
    let (compared, _) = drop_against(|uid| Some(format!("{}", uid * 10)), there);
    assert!(!compared.formula.unwrap().used);
    assert!(compared.sums.equal());
    assert!(compared.rows.iter().all(|row| row.method != Some(Method::UidlFormula)));
}

#[test]
fn what_the_formula_explains_and_imap_lacks_is_looked_for_by_header() {
    let mut there = mails((1..=200).filter(|number| *number != 100 && *number != 50));
    there.push(mail(5000, text(50)));
    let (compared, headers) = drop_against(|uid| Some(format!("{:08x}{:08x}", uid * 10, 7)), there);
    assert_eq!((compared.sums.same, compared.sums.only_a, compared.sums.only_b), (199, 1, 0));
    assert_eq!(compared.rows[150].method, Some(Method::Header));
    assert_eq!(compared.rows[100].subject.as_deref(), Some("s100"));
    // The samples, what was left, and what is about as long as that, for it might be the same.
    assert!(headers < 100, "{headers}");
}

#[test]
fn ninety_eight_of_a_hundred_are_not_enough() {
    let uidl = |bad: u32| move |uid: u32| Some(if uid <= bad { format!("odd{uid}") } else { format!("7.{}", uid * 10) });
    assert!(drop_against(uidl(2), mails(1..=200)).0.formula.unwrap().used);
    let (compared, _) = drop_against(uidl(3), mails(1..=200));
    assert!(compared.formula.is_none_or(|formula| !formula.used) && compared.sums.equal());
}

#[test]
fn a_shared_unique_id_spoils_the_formula() {
    let (compared, _) = drop_against(|uid| Some(format!("7.{}", uid.max(2) * 10)), mails(1..=200));
    assert!(compared.formula.is_none_or(|formula| !formula.used));
    assert!(compared.sums.equal());
}

#[test]
fn unique_ids_of_another_uidvalidity_are_recognised_and_not_used() {
    let (compared, _) = drop_against(|uid| Some(format!("{:08x}{:08x}", uid * 10, 8)), mails(1..=200));
    let formula = compared.formula.unwrap();
    assert_eq!((formula.name.as_str(), formula.used), ("dovecot", false));
    assert!(compared.sums.equal());
}

#[test]
fn the_maildrop_may_be_the_second_side() {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=30, |uid| Some(format!("7.{}", uid * 10))))]);
    let compared = compare(&place(Kind::Imap, vec![("INBOX", mails((1..=30).rev()))]), &drop, Asked::default());
    assert!(compared.sums.equal() && compared.formula.unwrap().used);
}

#[test]
fn gmails_ids_lead_into_every_folder() {
    let id = |number: u32| 0x17c3_0000_0000_0000 + u64::from(number);
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=30, |number| Some(format!("GmailId{:x}", id(number)))))]);
    let there = |numbers: std::ops::RangeInclusive<u32>| -> Vec<Mail> {
        numbers.map(|number| Mail { gmail: Some(id(number)), ..mail(number * 10, text(number)) }).collect()
    };
    let b = place(Kind::Imap, vec![("INBOX", there(1..=25)), ("Old", there(20..=29))]);
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!(signs(&compared), "=========================~~~~+");
    assert!(compared.rows.iter().take(29).all(|row| (row.method, row.confidence) == (Some(Method::UidlFormula), Some(Confidence::Exact))));
    assert_eq!(compared.formula.unwrap().name, "gmail");
}

/// Numbers from 1 explain any freshly filled server, also one on which another message has taken the place of a lost one.
#[test]
fn a_lost_message_behind_a_bare_uid_is_missed_whatever_has_its_uid() {
    let lost = 777;
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=1000, |number| Some(number.to_string())))]);
    let there = |number: u32| if number == lost { mail(number, text(5000)) } else { mail(number, text(number)) };
    let b = place(Kind::Imap, vec![("INBOX", (1..=1000).map(there).collect())]);
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!((compared.formula.unwrap().name.as_str(), compared.sums.same), ("uid", 999));
    assert_eq!((compared.sums.only_a, compared.sums.only_b), (1, 1));
}

/// A Message-ID is not the message: a draft is edited under its own.
#[test]
fn an_edited_draft_behind_a_message_id_differs() {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=100, |number| Some(format!("<{number}@x>"))))]);
    let edited = String::from_utf8(text(55)).unwrap().replace("Subject: s55", "Subject: another one").into_bytes();
    let there = |number: u32| mail(number, if number == 55 { edited.clone() } else { text(number) });
    let b = place(Kind::Imap, vec![("INBOX", (1..=100).map(there).collect())]);
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!((compared.formula.unwrap().name.as_str(), compared.sums.same, compared.sums.different), ("message-id", 99, 1));
}

#[test]
fn a_changed_header_that_no_sample_meets_is_given_away_by_its_size() {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=100, |number| Some(format!("7.{number}"))))]);
    let edited = String::from_utf8(text(55)).unwrap().replace("Message-ID: <55@x>", "X-Spam: yes").into_bytes();
    let there = |number: u32| mail(number, if number == 55 { edited.clone() } else { text(number) });
    let b = place(Kind::Imap, vec![("INBOX", (1..=100).map(there).collect())]);
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!((compared.sums.same, compared.sums.different), (99, 1));
    assert_eq!(compared.rows[54].method, Some(Method::UidlFormula));
    // A server whose POP3 counts otherwise throughout is not asked for each header.
    for mail in &mut drop.lock().unwrap().folders[0].2 {
        mail.size = mail.size.map(|size| size - 7);
    }
    drop.lock().unwrap().headers = 0;
    compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert!(drop.lock().unwrap().headers <= 40);
}
