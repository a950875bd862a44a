use proptest::prelude::*;

use super::*;
use crate::imap::types::{BodyValue, Code, ESearch, Fetch, ListEntry, Literal, LiteralData, Status, StatusLine};
use crate::imap::uid_set::UidSet;
use crate::message::{Flag, InternalDate};

/// Cuts a stream into a frame as `wire` does: by what [`announced_literal`] says of each line.
/// Bodies become streamed literals. `None` where the stream ends early.
fn cut(stream: &[u8]) -> Option<Frame> {
    let mut frame = Frame::default();
    let mut rest = stream;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line_start = frame.bytes.len();
        frame.bytes.extend_from_slice(&rest[..end]);
        rest = &rest[end + 2..];
        let Some(announced) = announced_literal(&frame.bytes, line_start).ok()? else { return Some(frame) };
        let length = usize::try_from(announced.octets).ok()?;
        let data = if announced.body { LiteralData::Streamed(announced.octets) } else { LiteralData::Inline(rest.get(..length)?.to_vec()) };
        frame.literals.push(Literal { at: frame.bytes.len(), data });
        rest = rest.get(length..)?;
    }
}

fn read(stream: &[u8]) -> Response {
    response(cut(&[stream, b"\r\n"].concat()).unwrap())
}

fn untagged(stream: &[u8]) -> Untagged {
    match read(stream) {
        Response::Untagged(untagged) => untagged,
        other => panic!("{other:?}"),
    }
}

fn fetched(stream: &[u8]) -> Fetch {
    match untagged(stream) {
        Untagged::Fetch(fetch) => fetch,
        other => panic!("{other:?}"),
    }
}

fn status_of(stream: &[u8]) -> StatusLine {
    match read(stream) {
        Response::Tagged { status, .. } | Response::Untagged(Untagged::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

fn listed(stream: &[u8]) -> (Vec<String>, Option<char>, String) {
    match untagged(stream) {
        Untagged::List(ListEntry { attributes, delimiter, name }) => (attributes, delimiter, String::from_utf8_lossy(&name).into_owned()),
        other => panic!("{other:?}"),
    }
}

fn set(text: &str) -> UidSet {
    UidSet::parse(text.as_bytes()).unwrap()
}

fn flags(wire: &[&str]) -> Vec<Flag> {
    wire.iter().copied().map(Flag::new).collect()
}

#[test]
fn a_line_announces_a_literal_only_where_one_can_be() {
    let announced = |line: &str| announced_literal(line.as_bytes(), 0).unwrap().map(|announced| (announced.octets, announced.body));
    for (line, expected) in [
        ("* LIST () \"/\" {5}", Some((5, false))),
        ("* LIST () \"\\\" {5}", Some((5, false))),
        ("* LIST () \"/\" {5+}", Some((5, false))),
        ("* STATUS {0}", Some((0, false))),
        ("* 1 FETCH (UID 7 BODY[] {18446744073709551615}", Some((u64::MAX, true))),
        ("* 1 FETCH (body[]<1024> {4294967295}", Some((4_294_967_295, true))),
        ("* 1 FETCH (RFC822 {3}", Some((3, true))),
        ("* 1 FETCH (BODY[]{3}", Some((3, true))),
        ("* 1 FETCH (BINARY[] ~{3}", Some((3, true))),
        ("* 1 FETCH (RFC822.HEADER {3}", Some((3, false))),
        ("* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT)] {3}", Some((3, false))),
        ("* 1 FETCH (BODY[1] {3}", Some((3, false))),
        ("* 1 FETCH (ENVELOPE (\"say \"hi\" there\" {3}", Some((3, false))),
        ("* LIST () \"/\" \"{5}\"", None),
        ("* LIST () \"/\" \"a {5}", None),
        ("* 1 FETCH (ENVELOPE (NIL \"a subject \\\" BODY[] {10}", None),
        ("* LIST () \"/\" {-1}", None),
        ("* LIST () \"/\" {}", None),
        ("* LIST () \"/\" {a}", None),
        ("* LIST () \"/\" name{5}", None),
        ("* LIST () \"/\" {5} ", None),
        ("* OK text {5}", None),
        ("* BYE {99999999999999999999999}", None),
        ("* [ALERT] text {5}", None),
        ("* 5 EXISTS {5}", None),
        ("A1 OK text {5}", None),
        ("A1 NO [X] {5}", None),
        ("+ {5}", None),
        ("{5}", None),
        ("", None),
        ("*", None),
    ] {
        assert_eq!(announced(line), expected, "{line}");
    }
    assert!(announced_literal(b"* 1 FETCH (BODY[] ~{3}", 0).unwrap().unwrap().binary8);
    for line in ["* 1 FETCH (BODY[] {18446744073709551616}", "* LIST () \"/\" {000000000000000000000000000005}"] {
        assert!(announced_literal(line.as_bytes(), 0).is_err(), "{line}");
    }
    // The quote before the literal belongs to another line.
    let frame = b"* 1 FETCH (ENVELOPE (\"x {3} \"y\" {4}";
    assert_eq!(announced_literal(frame, 29).unwrap().unwrap().octets, 4);
    assert_eq!(announced_literal(b"* 1 FETCH (", 99).unwrap(), None);
}

#[test]
fn a_fetch_is_read_in_any_order_and_its_body_is_streamed() {
    let fetch = fetched(
        b"* 23 FETCH (FLAGS (\\Seen $Forwarded) BODY[] {5}\r\n)\r\n(\" INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 5000000000 MODSEQ (12345678901) UID 7)",
    );
    assert_eq!(
        fetch,
        Fetch {
            seq: 23,
            uid: Some(7),
            flags: Some(flags(&["\\Seen", "$Forwarded"])),
            internal_date: Some(InternalDate { seconds: 837_596_665, offset: -25_200 }),
            size: Some(5_000_000_000),
            mod_seq: Some(12_345_678_901),
            body: Some(BodyValue::Streamed(5)),
            ..Fetch::default()
        }
    );
}

#[test]
fn odd_values_in_a_fetch_are_absent_and_the_rest_is_read() {
    let fetch = fetched(
        b"* 1 FETCH (UID 0 RFC822.SIZE -1 MODSEQ (-1) INTERNALDATE \"30-Dec-1899 00:00:00 +0000\" FLAGS (\\* \\Seen nil ) BODY[] NIL ) ",
    );
    assert_eq!(fetch, Fetch { seq: 1, flags: Some(flags(&["\\Seen", "nil"])), body: Some(BodyValue::Nil), ..Fetch::default() });
    let fetch = fetched(
        b"* 1 FETCH (RFC822.SIZE NIL MODSEQ 5 INTERNALDATE NIL FLAGS NIL X-GM-LABELS (\"a b\" \\Inbox {1}\r\nc) X-GM-MSGID 9 UID 4)",
    );
    let labels = vec![b"a b".to_vec(), b"\\Inbox".to_vec(), b"c".to_vec()];
    assert_eq!(
        fetch,
        Fetch {
            seq: 1,
            uid: Some(4),
            flags: Some(vec![]),
            mod_seq: Some(5),
            gm_labels: Some(labels),
            gm_msgid: Some(9),
            ..Fetch::default()
        }
    );
    assert_eq!(fetched(b"* 1 FETCH (RFC822.SIZE 9.3736e+06 UID 4)").uid, Some(4));
    assert_eq!(fetched(b"* 1 FETCH (UID 4 BODY[])").body, Some(BodyValue::Nil));
    let missing = fetched(b"* 1 FETCH (BODY[] UID 4)");
    assert_eq!((missing.body, missing.uid), (Some(BodyValue::Nil), Some(4)));
    let quoted = fetched(b"* 1 FETCH (BODY[] \"a\\\"b {3}\" UID 4");
    assert_eq!((quoted.body, quoted.uid), (Some(BodyValue::Inline(b"a\"b {3}".to_vec())), Some(4)));
    let part = fetched(b"* 1 FETCH (BODY[]<1024> {3}\r\nabc UID 4)");
    assert_eq!((part.body, part.origin, part.uid), (Some(BodyValue::Streamed(3)), Some(1024), Some(4)));
    let empty = fetched(b"* 1 FETCH (BODY[] {0}\r\n UID 4)");
    assert_eq!((empty.body, empty.uid), (Some(BodyValue::Streamed(0)), Some(4)));
}

#[test]
fn a_body_is_torn_where_something_else_follows_it_than_may() {
    for whole in [
        &b"* 1 FETCH (UID 4 BODY[] {3}\r\nabc)"[..],
        b"* 1 FETCH (BODY[] {3}\r\nabc UID 4)",
        b"* 1 FETCH (UID 4 BODY[] {3}\r\nabc ) ",
        b"* 1 FETCH (UID 4 BODY[] NIL",
        b"* 1 FETCH (UID 4",
    ] {
        assert!(!fetched(whole).torn, "{}", whole.escape_ascii());
    }
    for torn in [
        &b"* 1 FETCH (UID 4 BODY[] {3}\r\nabc"[..],
        b"* 1 FETCH (UID 4 BODY[] {3}\r\nabcd",
        b"* 1 FETCH (UID 4 BODY[] {3}\r\nabcd e)",
        b"* 1 FETCH (UID 4 BODY[] {3}\r\nabc* 2 FETCH (UID 5 FLAGS ())",
        b"* 1 FETCH (BODY[] {3}\r\nabc UID 4) more",
        b"* 1 FETCH (BODY[] {3}\r\nabc UID 4",
    ] {
        assert!(fetched(torn).torn, "{}", torn.escape_ascii());
    }
}

#[test]
fn a_header_is_read_and_items_nobody_asked_for_are_skipped() {
    let fetch = fetched(
        b"* 1 FETCH (ENVELOPE (NIL {4}\r\n)\r\n( ((\"A \"B\" C\" NIL \"a\" \"b\")) NIL) BODYSTRUCTURE ((\"TEXT\" (\"x\" NIL))(\"y\")) X-NEW foo BODY[HEADER.FIELDS (\"]\" MESSAGE-ID)] {6}\r\nA: b\r\n UID 9 BODY[1.MIME] \"x\")",
    );
    assert_eq!(fetch, Fetch { seq: 1, uid: Some(9), header: Some(b"A: b\r\n".to_vec()), ..Fetch::default() });
}

#[test]
fn any_depth_of_parentheses_is_skipped() {
    let deep = [&b"* 1 FETCH (X "[..], &b"(".repeat(100_000), &b")".repeat(100_000), b" UID 3)"].concat();
    assert_eq!(fetched(&deep).uid, Some(3));
    let open = [&b"* 1 FETCH (UID 3 FLAGS "[..], &b"(".repeat(100_000)].concat();
    assert_eq!(fetched(&open).uid, Some(3));
}

#[test]
fn a_status_keeps_the_servers_words() {
    let status = status_of(b"A1 NO [OVERQUOTA] mailbox is full");
    assert_eq!((status.status, status.code.as_ref()), (Status::No, Some(&Code::OverQuota)));
    assert_eq!(status.words(), "NO [OVERQUOTA] mailbox is full");
    assert_eq!(status_of(b"* OK [HIGHESTMODSEQ 5]").words(), "OK [HIGHESTMODSEQ 5]");
    assert_eq!(status_of(b"A1 OK").words(), "OK");
    assert_eq!(status_of("A1 BAD nö \u{1b}[2J {5}".as_bytes()).text, "nö \u{1b}[2J {5}");
    assert_eq!(status_of(b"A1 NO \xff").text, "\u{fffd}");
    assert_eq!(status_of(b"A1 NO [broken").words(), "NO [broken");
    assert!(status_of(b"A1 OK FETCH done [THROTTLED]").throttled() && status_of(b"A1 NO [THROTTLED] x").throttled());
    assert!(!status_of(b"A1 OK done").throttled());
}

#[test]
fn codes_are_read_and_nonsense_in_them_is_kept_apart() {
    let code = |inner: &str| status_of(format!("* OK [{inner}] text").as_bytes()).code.unwrap();
    assert_eq!(code("UIDVALIDITY 3857529045"), Code::UidValidity(3_857_529_045));
    assert_eq!(code("uidnext 1"), Code::UidNext(1));
    assert_eq!(code("HIGHESTMODSEQ 90060115205545359"), Code::HighestModSeq(90_060_115_205_545_359));
    assert_eq!(code("PERMANENTFLAGS (\\Deleted x]y \\*)"), Code::PermanentFlags(flags(&["\\Deleted", "x]y", "\\*"])));
    assert_eq!(code("CAPABILITY IMAP4rev1 LITERAL + IDLE "), Code::Capability(vec!["IMAP4rev1".into(), "LITERAL+".into(), "IDLE".into()]));
    assert_eq!(code("APPENDUID 38505 3955:3957"), Code::AppendUid { uid_validity: 38_505, uids: set("3955:3957") });
    assert_eq!(
        code("COPYUID 38505 304,319:320 3956:3958"),
        Code::CopyUid { uid_validity: 38_505, source: set("304,319:320"), destination: set("3956:3958") }
    );
    assert_eq!(code("MAILBOXID (F2212ea87)"), Code::MailboxId("F2212ea87".into()));
    assert_eq!(code("REFERRAL imap://h/x"), Code::Referral("imap://h/x".into()));
    for inner in [
        "UIDVALIDITY 0",
        "UIDNEXT 0",
        "UNSEEN 0",
        "HIGHESTMODSEQ -1",
        "HIGHESTMODSEQ 0",
        "UIDNEXT 4294967296",
        "APPENDUID 0 1",
        "APPENDUID 1 0",
        "APPENDUID 1",
        "APPENDUID 1 3,2",
        "COPYUID 1 1:2 5",
        "COPYUID 0 1 1",
        "COPYUID 1 2,1 5,6",
        "X-NEW a b",
    ] {
        assert!(matches!(code(inner), Code::Other { .. }), "{inner}");
    }
}

#[test]
fn a_code_without_its_status_is_still_a_status() {
    for line in ["* [COPYUID 1 2 3] done", "* COPYUID 1 2 3"] {
        let status = status_of(line.as_bytes());
        assert_eq!(status.code, Some(Code::CopyUid { uid_validity: 1, source: set("2"), destination: set("3") }), "{line}");
    }
}

#[test]
fn a_list_is_read_whatever_its_quotes() {
    let none: Vec<String> = vec![];
    assert_eq!(
        listed(b"* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent Items\""),
        (vec!["\\HasNoChildren".into(), "\\Sent".into()], Some('/'), "Sent Items".into())
    );
    for (line, delimiter, name) in [
        ("* LIST () NIL INBOX ", None, "INBOX"),
        ("* XLIST () \".\" {3}\r\na)b", Some('.'), "a)b"),
        ("* LIST () \"\\\\\" \"a\\\\b\"", Some('\\'), "a\\b"),
        ("* LIST () \"\\\" \"INBOX\"", Some('\\'), "INBOX"),
        ("* LIST () \"/\" a b", Some('/'), "a b"),
        ("* LIST () \"/\" NIL", Some('/'), "NIL"),
        ("* LIST () \"/\" foo (\"CHILDINFO\" (\"SUBSCRIBED\"))", Some('/'), "foo"),
        ("* LIST () \"/\" \"a\"b\"", Some('/'), "a\"b"),
        ("* LIST () \"/\" \"\"", Some('/'), ""),
        ("* LIST NIL \"/\" \"{5}\"", Some('/'), "{5}"),
    ] {
        assert_eq!(listed(line.as_bytes()), (none.clone(), delimiter, name.into()), "{line}");
    }
    assert!(matches!(untagged(b"* LSUB () \"/\" x"), Untagged::Lsub(_)));
}

#[test]
fn other_data_is_read() {
    assert_eq!(untagged(b"* SEARCH 1 0 2 99999999999 x 3 (MODSEQ 9)"), Untagged::Search(vec![1, 2, 3]));
    assert_eq!(untagged(b"* SEARCH "), Untagged::Search(vec![]));
    let found =
        ESearch { tag: Some("A5".into()), uid: true, all: Some(set("4:1,9")), count: Some(5), mod_seq: Some(7), ..ESearch::default() };
    assert_eq!(untagged(b"* ESEARCH (TAG \"A5\") UID COUNT 5 X-Y (1 2) ALL 4:1,9 MODSEQ 7"), Untagged::ESearch(found));
    assert_eq!(untagged(b"* ESEARCH"), Untagged::ESearch(ESearch::default()));
    assert!(matches!(untagged(b"* ESEARCH UID ALL 1,x"), Untagged::Other(_)));
    assert_eq!(untagged(b"* VANISHED (EARLIER) 1:3,5"), Untagged::Vanished { earlier: true, uids: set("1:3,5") });
    assert_eq!(untagged(b"* VANISHED 7 "), Untagged::Vanished { earlier: false, uids: set("7") });
    assert_eq!(untagged(b"* 5000000000 EXISTS"), Untagged::Exists(5_000_000_000));
    assert_eq!(untagged(b"* 3 expunge"), Untagged::Expunge(3));
    assert!(matches!(untagged(b"* 0 EXPUNGE"), Untagged::Other(_)));
    assert_eq!(untagged(b"* FLAGS (\\Seen a)"), Untagged::Flags(flags(&["\\Seen", "a"])));
    assert_eq!(untagged(b"* ID (\"name\" \"x\" \"os\" NIL)"), Untagged::Id(vec![("name".into(), Some("x".into())), ("os".into(), None)]));
    assert_eq!(untagged(b"* ID NIL"), Untagged::Id(vec![]));
    assert_eq!(untagged(b"* CAPABILITY IMAP4rev1 LITERAL +"), Untagged::Capability(vec!["IMAP4rev1".into(), "LITERAL+".into()]));
    assert!(matches!(untagged(b"* QUOTAROOT INBOX \"\""), Untagged::Other(_)));
    match untagged(b"* NAMESPACE ((\"INBOX.\" \".\")(\"#x/\" \"/\" \"X-P\" (\"a\"))) NIL ((\"\" \"\\\"))") {
        Untagged::Namespace(spaces) => {
            assert_eq!(spaces.personal, [(b"INBOX.".to_vec(), Some('.')), (b"#x/".to_vec(), Some('/'))]);
            assert!(spaces.other.is_empty());
            assert_eq!(spaces.shared, [(vec![], Some('\\'))]);
        }
        other => panic!("{other:?}"),
    }
    match untagged(b"* STATUS a b (MESSAGES 3 UIDNEXT 0 UIDVALIDITY 9 SIZE 5000000000 HIGHESTMODSEQ -1 X (1) MAILBOXID (M1) UNSEEN)") {
        Untagged::MailboxStatus { mailbox, items } => {
            assert_eq!(mailbox, b"a b");
            assert_eq!((items.messages, items.uid_next, items.uid_validity, items.size), (Some(3), None, Some(9), Some(5_000_000_000)));
            assert_eq!((items.highest_mod_seq, items.mailbox_id.as_deref(), items.unseen), (None, Some("M1"), None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_response_is_kept_as_it_came() {
    for line in ["", "A1", "A1 BYE x", "A1 FOO", " OK x", "* ", "* 1", "* 1 FETCH UID 3", "* LIST x", "hello world"] {
        assert_eq!(untagged(line.as_bytes()), Untagged::Other(line.as_bytes().to_vec()), "{line}");
    }
    assert_eq!(read(b"+ idling"), Response::Continuation(b"idling".to_vec()));
    assert_eq!(read(b"+"), Response::Continuation(vec![]));
}

/// Bytes that look like responses often enough to reach deep.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        proptest::sample::select(vec![
            "* ",
            "A1 ",
            "OK ",
            "NO ",
            "1 ",
            "FETCH ",
            "(",
            ")",
            "\"",
            "\\",
            "{3}",
            "~{3}",
            "{3+}",
            "BODY[] ",
            "BODY[",
            "]",
            "<1>",
            "UID ",
            "FLAGS ",
            "LIST ",
            "NIL ",
            "STATUS ",
            "ESEARCH ",
            "ALL ",
            "NAMESPACE ",
            "ID ",
            "[",
            "COPYUID ",
            "1:3,5 ",
            "-1 ",
            "VANISHED ",
            "INTERNALDATE ",
            "MODSEQ ",
            "X-GM-LABELS ",
            " ",
            "\r",
            "\n",
            "\0",
            "é",
            "HEADER.FIELDS ",
            "+",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..3),
    ];
    (proptest::sample::select(vec!["", "* 1 FETCH (", "* LIST (", "* ", "* OK [", "* STATUS "]), proptest::collection::vec(word, 0..25))
        .prop_map(|(start, words)| [start.as_bytes(), &words.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_octets_and_no_literals_anywhere_make_it_fail(bytes in soup(), ats in proptest::collection::vec((0..80_usize, any::<bool>()), 0..4), start in 0..90_usize) {
        let _ = announced_literal(&bytes, start);
        let _ = announced_literal(&bytes, 0);
        let mut positions: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'}').map(|(at, _)| at + 1).collect();
        positions.truncate(2);
        positions.extend(ats.iter().map(|(at, _)| *at));
        let literals = positions.iter().zip(ats.iter().chain(&[(0, true), (0, false)])).map(|(at, (_, inline))| Literal {
            at: *at,
            data: if *inline { LiteralData::Inline(b"abc".to_vec()) } else { LiteralData::Streamed(3) },
        }).collect();
        response(Frame { bytes, literals });
    }
}

mod differential {
    //! What imap-codec writes, we read to the same meaning.

    use std::num::NonZeroU32;

    use imap_codec::ResponseCodec;
    use imap_codec::encode::{Encoder as _, Fragment};
    use imap_codec::imap_types::core::{AString, Atom, IString, NString, QuotedChar, Vec1};
    use imap_codec::imap_types::fetch::{MessageDataItem, Section};
    use imap_codec::imap_types::flag::{Flag as TheirFlag, FlagFetch, FlagNameAttribute};
    use imap_codec::imap_types::mailbox::Mailbox;
    use imap_codec::imap_types::response::{Data, Response as Theirs};

    use super::*;

    /// Encodes, and checks that the framer would find just the literals that were written.
    fn sent(data: Data<'_>) -> Untagged {
        let mut stream = Vec::new();
        let mut literals = 0;
        for fragment in ResponseCodec::default().encode(&Theirs::Data(data)) {
            match fragment {
                Fragment::Line { data } => stream.extend(data),
                Fragment::Literal { data, .. } => {
                    literals += 1;
                    stream.extend(data);
                }
            }
        }
        let frame = cut(&stream).unwrap();
        assert_eq!(frame.literals.len(), literals, "{}", String::from_utf8_lossy(&stream));
        match response(frame) {
            Response::Untagged(untagged) => untagged,
            other => panic!("{other:?}"),
        }
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof!["[ -~]{0,12}".prop_map(String::into_bytes), proptest::collection::vec(1..=255_u8, 0..12), Just(b"x {10}\r\n".to_vec())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_fetch_means_the_same(
            seq in 1..u32::MAX, uid in 1..u32::MAX, size in any::<u32>(),
            header in octets(), body in octets(), seen in any::<bool>(), keyword in "[a-zA-Z$][a-z]{0,5}", turn in 0..5_usize,
        ) {
            let mut wanted = vec![FlagFetch::Flag(TheirFlag::try_from(keyword.as_str()).unwrap())];
            if seen {
                wanted.push(FlagFetch::Flag(TheirFlag::Seen));
            }
            let quoted_body = IString::try_from(body.clone()).unwrap();
            let is_literal = matches!(quoted_body, IString::Literal(_));
            let mut items = vec![
                MessageDataItem::Uid(NonZeroU32::new(uid).unwrap()),
                MessageDataItem::Rfc822Size(size),
                MessageDataItem::Flags(wanted),
                MessageDataItem::BodyExt { section: Some(Section::Header(None)), origin: None, data: NString(Some(IString::try_from(header.clone()).unwrap())) },
                MessageDataItem::BodyExt { section: None, origin: None, data: NString(Some(quoted_body)) },
            ];
            items.rotate_left(turn);
            let mut expected_flags = vec![Flag::new(keyword.as_str())];
            if seen {
                expected_flags.push(Flag::seen());
            }
            let expected = Fetch {
                seq: u64::from(seq),
                uid: Some(uid),
                size: Some(u64::from(size)),
                flags: Some(expected_flags),
                header: Some(header),
                body: Some(if is_literal { BodyValue::Streamed(body.len() as u64) } else { BodyValue::Inline(body) }),
                ..Fetch::default()
            };
            let data = Data::Fetch { seq: NonZeroU32::new(seq).unwrap(), items: Vec1::try_from(items).unwrap() };
            prop_assert_eq!(sent(data), Untagged::Fetch(expected));
        }

        #[test]
        fn a_list_means_the_same(name in octets(), delimiter in proptest::option::of("[./|\\\\\"]"), lsub in any::<bool>()) {
            // A quoted backslash and blank is what we take for Domino's; it never comes right after attributes otherwise.
            let delimiter = delimiter.and_then(|text: String| text.chars().next());
            let theirs = delimiter.map(|char| QuotedChar::try_from(char).unwrap());
            let mailbox = Mailbox::from(AString::try_from(name.clone()).unwrap());
            let items = vec![FlagNameAttribute::from(Atom::try_from("HasChildren").unwrap())];
            let inbox = name.eq_ignore_ascii_case(b"INBOX");
            let entry = ListEntry { attributes: vec!["\\HasChildren".into()], delimiter, name: if inbox { b"INBOX".to_vec() } else { name } };
            if lsub {
                prop_assert_eq!(sent(Data::Lsub { items, delimiter: theirs, mailbox }), Untagged::Lsub(entry));
            } else {
                prop_assert_eq!(sent(Data::List { items, delimiter: theirs, mailbox }), Untagged::List(entry));
            }
        }
    }
}

#[test]
fn identifiers_are_read_where_they_are_some() {
    let id = |line: &str| fetched(format!("* 1 FETCH (UID 3 EMAILID {line} FLAGS (\\Seen))\r\n").as_bytes());
    assert_eq!(id("(M6d99ac3275bb4e)").email_id.as_deref(), Some("M6d99ac3275bb4e"));
    for none in ["NIL", "()", "(\"a b\")", &format!("({})", "x".repeat(256))] {
        let fetch = id(none);
        assert_eq!((fetch.email_id, fetch.flags), (None, Some(flags(&["\\Seen"]))), "{none}");
    }
}

#[test]
fn quotas_are_told_whatever_their_root_is_called() {
    let quota = |line: &[u8]| match untagged(line) {
        Untagged::Quota { root, resources } => (String::from_utf8(root).unwrap(), resources),
        other => panic!("{other:?}"),
    };
    let storage = |used, limit| ("STORAGE".to_owned(), used, limit);
    assert_eq!(quota(b"* QUOTA \"\" (STORAGE 10 512)"), (String::new(), vec![storage(10, 512)]));
    assert_eq!(
        quota(b"* QUOTA \"User quota\" (storage 1 2 MESSAGE 3 4)"),
        ("User quota".to_owned(), vec![storage(1, 2), ("MESSAGE".to_owned(), 3, 4)])
    );
    assert_eq!(quota(b"* QUOTA {4}\r\nroot ()"), ("root".to_owned(), Vec::new()));
    // Half a triplet, and figures that are none, are no limits.
    assert_eq!(quota(b"* QUOTA x (STORAGE -1 5 MESSAGE 3)").1, Vec::new());
    assert!(matches!(untagged(b"* QUOTA"), Untagged::Other(_)));
    match untagged(b"* STATUS INBOX (APPENDLIMIT 500)") {
        Untagged::MailboxStatus { items, .. } => assert_eq!(items.append_limit, Some(500)),
        other => panic!("{other:?}"),
    }
    match untagged(b"* STATUS INBOX (APPENDLIMIT NIL MESSAGES 3)") {
        Untagged::MailboxStatus { items, .. } => assert_eq!((items.append_limit, items.messages), (None, Some(3))),
        other => panic!("{other:?}"),
    }
}
