mod fake;
mod formulas;
mod losses;
mod property;

use fake::{Asked, Kind, Mail, compare, drop_of, mail, mails, place, row, signs, text, try_compare};

use crate::folder::Folder;
use crate::report::compared::{Confidence, Method, Verdict};
use crate::store::SpecialUse;

fn full() -> Asked {
    Asked { full: true, ..Asked::default() }
}

fn altered(number: u32, from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(text(number)).unwrap().replace(from, to).into_bytes()
}

/// Headers are found again whatever order they stand in, and no body is read for it.
#[test]
fn a_shuffled_copy_is_equal() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=50)), ("Sent", mails(60..=70))]);
    let b = place(Kind::Imap, vec![("Sent", mails((60..=70).rev())), ("INBOX", mails((1..=50).map(|number| 1 + number * 7 % 50)))]);
    let compared = compare(&a, &b, Asked::default());
    assert!(compared.sums.equal(), "{:?}", compared.sums);
    assert!(compared.rows.iter().all(|row| row.confidence == Some(Confidence::Strong) && row.subject.is_none()));
    assert_eq!((a.lock().unwrap().wholes, b.lock().unwrap().wholes), (0, 0));
    let compared = compare(&a, &b, full());
    assert!(compared.sums.equal() && compared.rows.iter().all(|row| row.confidence == Some(Confidence::Exact)));
    let compared = compare(&a, &b, Asked { headers_for_all: true, ..Asked::default() });
    assert_eq!(compared.rows[2].subject.as_deref(), Some("s3"));
    assert_eq!(compared.rows[2].message_id.as_deref(), Some("3@x"));
    assert_eq!(compared.rows[2].date.as_deref(), Some("2003-07-01T10:52:03+02:00"));
}

#[test]
fn order_and_size_are_believed_once_the_header_agrees() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=9))]);
    let compared = compare(&a, &place(Kind::Imap, vec![("INBOX", mails(1..=9))]), Asked::default());
    assert!(compared.rows.iter().all(|row| row.method == Some(Method::OrderAndSize) && row.confidence == Some(Confidence::Strong)));
    // Two of equal size have changed places.
    let b = place(Kind::Imap, vec![("INBOX", mails([1, 2, 3, 4, 5, 7, 6, 8, 9]))]);
    for (place, number) in [(&b, 5), (&b, 6)] {
        place.lock().unwrap().folders[0].2[number].size = Some(text(6 + u32::from(number == 6)).len() as u64);
    }
    let compared = compare(&a, &b, Asked::default());
    assert!(compared.sums.equal());
    let numbers: Vec<_> = compared.rows.iter().map(|row| row.b.as_ref().unwrap().uid.unwrap() / 10).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn what_one_side_lacks_is_named_with_what_its_header_says() {
    for asked in [Asked::default(), full()] {
        let a = place(Kind::Imap, vec![("INBOX", mails((1..=9).filter(|number| *number != 4)))]);
        let b = place(Kind::Imap, vec![("INBOX", mails((1..=9).filter(|number| *number != 7)))]);
        let compared = compare(&a, &b, asked);
        assert_eq!(signs(&compared), "=====+==-");
        let only = row(&compared, Verdict::OnlyA);
        assert_eq!((only.subject.as_deref(), only.a.as_ref().unwrap().uid), (Some("s7"), Some(70)));
        assert_eq!(row(&compared, Verdict::OnlyB).message_id.as_deref(), Some("4@x"));
    }
}

#[test]
fn a_folder_that_one_side_lacks_is_missing_message_by_message() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=3)), ("Old", mails(4..=6))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(1..=3)), ("New", mails(7..=8))]);
    let compared = compare(&a, &b, Asked::default());
    assert_eq!(signs(&compared), "===+++--");
}

#[test]
fn folders_are_paired_by_their_use() {
    let (a, b) = (place(Kind::Imap, vec![("Sent Items", mails(1..=3))]), place(Kind::Imap, vec![("Sent", mails(1..=3))]));
    b.lock().unwrap().folders[0].1 = Some(SpecialUse::Sent);
    assert!(compare(&a, &b, Asked::default()).sums.equal());
}

#[test]
fn the_folders_that_are_meant_are_compared_whatever_they_are_called() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=3)), ("x", mails(4..=6))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(8..=9)), ("y", mails(4..=6))]);
    assert!(compare(&a, &b, Asked { only: [Some("x"), Some("y")], ..Asked::default() }).sums.equal());
    let compared = compare(&a, &b, Asked { only: [None, Some("INBOX")], ..Asked::default() });
    assert_eq!(signs(&compared), "+++--");
    let error = try_compare(&a, &b, Asked { only: [Some("z"), None], ..Asked::default() }).unwrap_err();
    assert_eq!(error.to_string(), "fake: there is no folder z");
}

#[test]
fn a_message_in_another_folder_is_found_there() {
    for asked in [Asked::default(), full()] {
        let a = place(Kind::Imap, vec![("INBOX", mails(1..=5)), ("Old", mails(6..=7))]);
        let b = place(Kind::Imap, vec![("INBOX", mails([1, 2, 4, 5])), ("Old", mails([3, 6, 7]))]);
        let compared = compare(&a, &b, asked);
        assert_eq!(signs(&compared), "==~====");
        assert_eq!(row(&compared, Verdict::Elsewhere).reason.as_deref(), Some("it is in Old on the second side"));
    }
}

#[test]
fn a_message_that_is_there_twice_is_doubled_whatever_paired_the_first() {
    for asked in [Asked::default(), full()] {
        let twice = |uid| mail(uid, text(3));
        let a = place(Kind::Imap, vec![("INBOX", mails(1..=5))]);
        let b = place(Kind::Imap, vec![("INBOX", [mails(1..=5), vec![twice(99)]].concat())]);
        let compared = compare(&a, &b, asked.clone());
        assert_eq!(signs(&compared), "=====2");
        assert_eq!(row(&compared, Verdict::Doubled).reason.as_deref(), Some("the same as INBOX UID 30"));
        let compared = compare(&b, &a, asked);
        assert_eq!((compared.sums.doubled, compared.sums.doubled_a), (1, 1));
    }
}

#[test]
fn three_equal_messages_are_three() {
    let three = || place(Kind::Imap, vec![("INBOX", (1..=3).map(|uid| mail(uid, text(1))).collect())]);
    let one = place(Kind::Imap, vec![("INBOX", vec![mail(1, text(1))])]);
    assert!(compare(&three(), &three(), Asked::default()).sums.equal());
    assert_eq!(signs(&compare(&three(), &one, Asked::default())), "=22");
}

#[test]
fn a_changed_header_field_is_named() {
    for asked in [Asked::default(), full()] {
        let a = place(Kind::Imap, vec![("INBOX", mails(1..=5))]);
        let changed = |from: &str, to: &str| {
            let mut list = mails(1..=5);
            list[2] = mail(30, altered(3, from, to));
            place(Kind::Imap, vec![("INBOX", list)])
        };
        let compared = compare(&a, &changed("s3", "other"), asked.clone());
        assert_eq!(signs(&compared), "==*==");
        assert_eq!(row(&compared, Verdict::Differs).reason.as_deref(), Some("in the header Subject differs"));
        // Without its Message-ID it is known by date and subject.
        let compared = compare(&a, &changed("Message-ID: <3@x>\r\n", "X-Added: 1\r\n"), asked.clone());
        assert_eq!(
            row(&compared, Verdict::Differs).reason.as_deref(),
            Some("in the header Message-ID is missing on the second side, X-Added is missing on the first side")
        );
        // What servers add counts for nothing.
        assert!(compare(&a, &changed("Subject", "Status: RO\r\nSubject"), asked).sums.equal());
    }
}

#[test]
fn only_the_contents_tell_of_a_changed_body() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=5))]);
    let mut list = mails(1..=5);
    list[3] = mail(40, altered(4, "body 4", "body 5"));
    let b = place(Kind::Imap, vec![("INBOX", list)]);
    assert!(compare(&a, &b, Asked::default()).sums.equal());
    let compared = compare(&a, &b, full());
    assert_eq!(signs(&compared), "===*=");
    assert_eq!(row(&compared, Verdict::Differs).reason.as_deref(), Some("the bodies differ"));
}

#[test]
fn a_message_cut_short_is_doubted_without_reading_and_proved_by_reading() {
    let long = [text(1), vec![b'y'; 50_000]].concat();
    let a = place(Kind::Imap, vec![("INBOX", vec![mail(1, long)])]);
    let b = place(Kind::Imap, vec![("INBOX", vec![mail(1, text(1))])]);
    let compared = compare(&a, &b, Asked::default());
    assert_eq!((signs(&compared).as_str(), compared.rows[0].confidence), ("=", Some(Confidence::Weak)));
    assert!(compared.rows[0].reason.as_ref().unwrap().contains("--full"));
    let compared = compare(&a, &b, full());
    assert_eq!(signs(&compared), "*");
}

#[test]
fn line_ends_and_trailing_lines_are_no_difference() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=5))]);
    let unix = |mut mail: Mail| {
        mail.bytes = [String::from_utf8(mail.bytes).unwrap().replace("\r\n", "\n").into_bytes(), b"\n\n".to_vec()].concat();
        mail.size = Some(mail.bytes.len() as u64);
        mail
    };
    let b = place(Kind::Files, vec![("INBOX", mails(1..=5).into_iter().map(unix).collect())]);
    for asked in [Asked::default(), full()] {
        assert!(compare(&a, &b, asked).sums.equal());
    }
}

#[test]
fn two_local_stores_are_compared_by_content() {
    let b = place(Kind::Files, vec![("INBOX", mails((1..=5).rev()))]);
    let compared = compare(&place(Kind::Files, vec![("INBOX", mails(1..=5))]), &b, Asked::default());
    assert!(compared.sums.equal());
    assert!(compared.rows.iter().all(|row| (row.method, row.confidence) == (Some(Method::Content), Some(Confidence::Exact))));
    b.lock().unwrap().folders[0].2[1].bytes = altered(4, "body 4", "BODY 4");
    let compared = compare(&place(Kind::Files, vec![("INBOX", mails(1..=5))]), &b, Asked::default());
    assert_eq!(signs(&compared), "===*=");
    assert_eq!(row(&compared, Verdict::Differs).reason.as_deref(), Some("the bodies differ"));
}

#[test]
fn what_the_journal_knows_is_exact_while_the_uid_means_the_same() {
    let inbox = Folder::inbox();
    let known =
        |validity| (1..=5).map(|number| ((inbox.clone(), format!("uidl:u{number}")), (inbox.clone(), validity, number * 10))).collect();
    let asked = |validity| Asked { maildrop: true, known: known(validity), ..Asked::default() };
    let drop = || place(Kind::Pop3, vec![("INBOX", drop_of((1..=6).rev(), |number| Some(format!("u{number}"))))]);
    // The fourth is no longer there.
    let b = place(Kind::Imap, vec![("INBOX", mails([1, 2, 3, 5, 6]))]);
    let compared = compare(&drop(), &b, asked(7));
    assert_eq!(signs(&compared), "==+===");
    let journal: Vec<bool> = compared.rows.iter().map(|row| row.method == Some(Method::Journal)).collect();
    assert_eq!(journal, [false, true, false, true, true, true]);
    assert_eq!(compared.rows[1].confidence, Some(Confidence::Exact));
    let compared = compare(&drop(), &b, asked(8));
    assert!(compared.rows.iter().all(|row| row.method != Some(Method::Journal)));
    assert_eq!(signs(&compared), "==+===");
}

#[test]
fn a_maildrop_is_looked_for_in_inbox_then_elsewhere_and_views_come_last() {
    for asked in [Asked { maildrop: true, ..Asked::default() }, Asked { maildrop: true, ..full() }] {
        let drop = || place(Kind::Pop3, vec![("INBOX", drop_of(1..=6, |number| Some(format!("u{number}"))))]);
        let b = place(
            Kind::Imap,
            vec![("All", mails(1..=30)), ("INBOX", mails([1, 2, 3])), ("Old", mails((4..=5).chain(10..=20))), ("Sent", mails(21..=30))],
        );
        b.lock().unwrap().folders[0].1 = Some(SpecialUse::All);
        let compared = compare(&drop(), &b, asked.clone());
        assert_eq!(signs(&compared), "===~~~");
        let folders: Vec<_> = compared.rows.iter().map(|row| row.b.as_ref().unwrap().folder.as_str()).collect();
        assert_eq!(folders, ["INBOX", "INBOX", "INBOX", "Old", "Old", "All"]);
        assert_eq!((compared.sums.listed_b, compared.sums.only_b), (6, 0));
        // Nothing left: no other folder is looked into.
        let b = place(Kind::Imap, vec![("INBOX", mails(1..=7)), ("Old", mails(10..=20))]);
        let compared = compare(&drop(), &b, asked);
        assert_eq!(signs(&compared), "======-");
        assert!(b.lock().unwrap().headers <= 8);
    }
}

#[test]
fn a_maildrop_that_was_read_whole_is_left_without_quit() {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=3, |_| None))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(1..=3))]);
    compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!((drop.lock().unwrap().quits, b.lock().unwrap().quits), (1, 1));
    assert!(compare(&drop, &b, Asked { maildrop: true, ..full() }).sums.equal());
    assert_eq!((drop.lock().unwrap().quits, b.lock().unwrap().quits), (1, 2));
}

#[test]
fn the_journal_leads_into_other_folders_too() {
    let known = vec![((Folder::inbox(), "uidl:u3".to_owned()), (Folder::parse("Old").unwrap(), 7, 991))];
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=3, |number| Some(format!("u{number}"))))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(1..=2)), ("Old", vec![mail(990, text(3)), mail(991, text(3))])]);
    let compared = compare(&drop, &b, Asked { maildrop: true, known, ..Asked::default() });
    assert_eq!((signs(&compared).as_str(), compared.rows[2].method), ("==~", Some(Method::Journal)));
    assert_eq!(compared.rows[2].b.as_ref().unwrap().uid, Some(991));
}

#[test]
fn two_messages_of_one_second_with_one_subject_are_two() {
    let one = |id: &str| mail(1, altered(3, "<3@x>", id));
    let a = place(Kind::Imap, vec![("INBOX", vec![one("<a@x>")])]);
    let b = place(Kind::Imap, vec![("INBOX", vec![one("<b@x>")])]);
    assert_eq!(signs(&compare(&a, &b, Asked::default())), "+-");
    // One body and all but one field of the header are enough to call it the same with another Message-ID.
    assert_eq!(signs(&compare(&a, &b, full())), "*");
}

/// A server that counts unique-ids from 1 in each maildrop gives them to other mail once the old is gone.
#[test]
fn a_unique_id_that_was_given_again_does_not_pass_for_what_the_journal_knew() {
    let known = |folder: &str| {
        let to = Folder::parse(folder).unwrap();
        (1..=9).map(|number| ((Folder::inbox(), format!("uidl:{number}")), (to.clone(), 7, number * 10))).collect()
    };
    let uidl = |shift: u32| move |number: u32| Some((number - shift).to_string());
    for folder in ["INBOX", "Old"] {
        let asked = || Asked { maildrop: true, known: known(folder), ..Asked::default() };
        let b = match folder {
            "INBOX" => place(Kind::Imap, vec![("INBOX", mails(1..=9))]),
            _ => place(Kind::Imap, vec![("INBOX", Vec::new()), ("Old", mails(1..=9))]),
        };
        let compared = compare(&place(Kind::Pop3, vec![("INBOX", drop_of(1..=9, uidl(0)))]), &b, asked());
        assert_eq!(compared.sums.same + compared.sums.elsewhere, 9);
        let compared = compare(&place(Kind::Pop3, vec![("INBOX", drop_of(101..=109, uidl(100)))]), &b, asked());
        assert_eq!((compared.sums.only_a, compared.sums.same + compared.sums.elsewhere), (9, 0), "{folder}");
        // One among many that no sample meets: its size gives it away.
        let mut list = drop_of(1..=9, uidl(0));
        list[4] = Mail { uidl: list[4].uidl.clone(), ..mail(5, text(500)) };
        let compared = compare(&place(Kind::Pop3, vec![("INBOX", list)]), &b, asked());
        assert_eq!((compared.sums.only_a, compared.sums.same + compared.sums.elsewhere), (1, 8), "{folder}");
    }
}

#[test]
fn of_several_under_one_header_each_meets_its_own() {
    let body =
        |length: usize| mail(u32::try_from(length).unwrap(), [b"Subject: daily report\r\n\r\n".to_vec(), vec![b'x'; length]].concat());
    let a = place(Kind::Imap, vec![("INBOX", vec![body(500), body(900)])]);
    let b = place(Kind::Imap, vec![("INBOX", vec![body(900)])]);
    for asked in [Asked::default(), full()] {
        let compared = compare(&a, &b, asked.clone());
        assert_eq!(signs(&compared), "+=");
        assert_eq!(signs(&compare(&b, &a, asked)), "=-");
    }
    // So in another folder.
    let drop = || place(Kind::Pop3, vec![("INBOX", vec![body(900)])]);
    let b = place(Kind::Imap, vec![("INBOX", Vec::new()), ("Old", vec![body(500), body(900)])]);
    for asked in [Asked { maildrop: true, ..Asked::default() }, Asked { maildrop: true, ..full() }] {
        let compared = compare(&drop(), &b, asked);
        assert_eq!((signs(&compared).as_str(), compared.rows[0].b.as_ref().unwrap().uid), ("~", Some(900)));
    }
}

#[test]
fn a_body_of_another_length_under_the_same_header_is_doubted() {
    let body = |length: usize| mail(1, [b"Subject: s\r\n\r\n".to_vec(), vec![b'x'; length]].concat());
    let a = place(Kind::Imap, vec![("INBOX", vec![body(6000)])]);
    let compared = compare(&a, &place(Kind::Imap, vec![("INBOX", vec![body(3000)])]), Asked::default());
    assert_eq!((signs(&compared).as_str(), compared.rows[0].confidence), ("=", Some(Confidence::Weak)));
}

#[test]
fn all_mail_that_the_other_side_has_not_doubles_nothing() {
    let gmail = || {
        let place = place(Kind::Imap, vec![("INBOX", mails(1..=3)), ("Work", mails([3, 4])), ("[Gmail]/All Mail", mails(1..=6))]);
        place.lock().unwrap().folders[2].1 = Some(SpecialUse::All);
        place
    };
    let plain = || place(Kind::Imap, vec![("INBOX", mails(1..=3)), ("Work", mails([3, 4]))]);
    for asked in [Asked::default(), full()] {
        // What is in All Mail alone counts.
        let compared = compare(&gmail(), &plain(), asked.clone());
        assert_eq!((signs(&compared).as_str(), compared.sums.listed_a), ("=====++", 7));
        let compared = compare(&plain(), &gmail(), asked.clone());
        assert_eq!((signs(&compared).as_str(), compared.sums.listed_b), ("=====--", 7));
        assert!(compare(&gmail(), &gmail(), asked.clone()).sums.equal());
        // A folder of no such use doubles.
        let named = gmail();
        named.lock().unwrap().folders[2].1 = None;
        assert_eq!(compare(&named, &plain(), asked).sums.doubled, 4);
    }
}

#[test]
fn a_folder_that_could_not_be_looked_into_is_named_with_what_is_missing() {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=3, |number| Some(format!("u{number}"))))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(1..=2)), ("Old", mails(3..=3))]);
    b.lock().unwrap().closed = vec!["Old".to_owned()];
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!(signs(&compared), "==+");
    assert_eq!(compared.rows[2].reason.as_deref(), Some("unless it is in Old, which could not be read"));
}

#[test]
fn what_lies_beside_a_folder_that_cannot_be_opened_is_found_elsewhere_or_not_judged() {
    let a = place(Kind::Imap, vec![("INBOX", mails(1..=3)), ("Old", mails(4..=6))]);
    let b = place(Kind::Imap, vec![("INBOX", mails([1, 2, 3, 5])), ("Old", mails([4, 6]))]);
    b.lock().unwrap().closed = vec!["Old".to_owned()];
    let compared = compare(&a, &b, Asked::default());
    assert_eq!(signs(&compared), "===!~!!");
    assert_eq!(compared.rows[3].reason.as_deref(), Some("its counterpart could not be looked at: it cannot be opened"));
    assert_eq!((compared.sums.errors, compared.sums.folders_unread, compared.sums.listed_a), (2, 1, 6));
    assert!(!compared.sums.equal());
    // INBOX of a maildrop's IMAP side.
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=3, |number| Some(format!("u{number}"))))]);
    let b = place(Kind::Imap, vec![("INBOX", mails(1..=3)), ("Old", mails(3..=3))]);
    b.lock().unwrap().closed = vec!["INBOX".to_owned()];
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!(signs(&compared), "!!~!");
    b.lock().unwrap().closed.push("Old".to_owned());
    assert_eq!(signs(&compare(&drop, &b, Asked { maildrop: true, ..Asked::default() })), "!!!!");
    let error = try_compare(&drop, &b, Asked { maildrop: true, only: [None, Some("INBOX")], ..Asked::default() }).unwrap_err();
    assert_eq!(error.to_string(), "it cannot be opened");
}

#[test]
fn a_header_too_long_to_tell_of_is_said_to_differ() {
    let long = |end: char| {
        let mut bytes = b"Message-ID: <1@x>\r\n".to_vec();
        bytes.extend(format!("X-Long: {}{end}\r\n", "y".repeat(900)).repeat(1000).into_bytes());
        mail(1, [bytes, b"\r\nbody\r\n".to_vec()].concat())
    };
    let a = place(Kind::Imap, vec![("INBOX", vec![long('a')])]);
    let compared = compare(&a, &place(Kind::Imap, vec![("INBOX", vec![long('b')])]), Asked::default());
    assert_eq!(row(&compared, Verdict::Differs).reason.as_deref(), Some("the headers differ"));
}

#[test]
fn where_inbox_is_left_out_every_folder_is_another_one() {
    let drop = place(Kind::Pop3, vec![("INBOX", drop_of(1..=3, |number| Some(format!("u{number}"))))]);
    let b = place(Kind::Imap, vec![("Archive", mails(1..=9)), ("Old", mails(10..=12))]);
    let compared = compare(&drop, &b, Asked { maildrop: true, ..Asked::default() });
    assert_eq!((signs(&compared).as_str(), compared.sums.listed_b), ("~~~", 3));
}
