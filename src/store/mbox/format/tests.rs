use proptest::prelude::*;

use super::*;

fn written(messages: &[&[u8]]) -> Vec<u8> {
    let mut file = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let date = InternalDate { seconds: 1_000_000_000 + index as i64, offset: 0 };
        let dated = write(&Body::from(message.to_vec()), "ann@example.org", date, None, &mut |bytes| {
            file.extend_from_slice(bytes);
            Ok(())
        });
        assert!(dated.unwrap());
    }
    file
}

fn found(file: &[u8]) -> Vec<(Vec<u8>, Option<i64>)> {
    let mut scanner = Scanner::new(file, file.len() as u64).unwrap();
    let mut messages = Vec::new();
    while let Some(stored) = scanner.message().unwrap() {
        let mut bytes = Vec::new();
        read(file, &stored, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        messages.push((bytes, stored.date.map(|date| date.seconds)));
    }
    messages
}

fn bodies(file: &[u8]) -> Vec<Vec<u8>> {
    found(file).into_iter().map(|(body, _)| body).collect()
}

#[track_caller]
fn comes_back(messages: &[&[u8]]) {
    let file = written(messages);
    let there = found(&file);
    assert_eq!(there.len(), messages.len(), "{}", String::from_utf8_lossy(&file));
    for (index, (message, (body, date))) in messages.iter().zip(&there).enumerate() {
        assert!(*message == body.as_slice(), "{index}: {:?} → {:?}", String::from_utf8_lossy(message), String::from_utf8_lossy(body));
        assert_eq!(*date, Some(1_000_000_000 + index as i64));
    }
}

#[test]
fn every_kind_of_line_end_comes_back_as_it_was() {
    let kinds: [&[u8]; 26] = [
        b"",
        b"x",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n\n",
        b"\r\n\r\n\r\n",
        b"\n\r\n",
        b"\r\n\n",
        b"\r\r\n",
        b"\n\r",
        b"a\r",
        b"a\n",
        b"a\r\n",
        b"a: b\r\n\r\nx",
        b"a: b\n\nx",
        b"a: b\r\n\nx\r\n",
        b"a: b\n\nx\ry\n",
        b"a\0b\r\n\xff\xfe\r\n",
        b"From me\r\n\r\nFrom you\r\n",
        b">From me\n>>From you\n>>>\n>\n>F\n>From\nFrom",
        b"From ",
        b">From ",
        b">",
        b"x\r\n\r\n\r\n",
        b"x\n\n\n",
    ];
    for one in kinds {
        comes_back(&[one]);
        comes_back(&[one, one, b"b: c\r\n\r\nlast\r\n"]);
        for other in kinds {
            comes_back(&[one, other]);
        }
    }
}

#[test]
fn a_length_of_its_own_does_not_mislead_the_reader() {
    // It points exactly at the end of the next message, at the end of its own as stored, and into a quoted line.
    let next = written(&[b"a: b\n\nother\n"]).len();
    for length in [0, 1, 4, 5, 6, 7, next, next + 4, next + 5, next + 6] {
        for ends in ["\n", "\r\n"] {
            let message = format!("Subject: x{ends}content-LENGTH: {length}{ends}{ends}From {ends}");
            comes_back(&[message.as_bytes(), b"a: b\n\nother\n", message.as_bytes()]);
        }
    }
}

#[test]
fn lines_and_messages_of_megabytes_come_back() {
    let mut long = b"a: b\r\n\r\n".to_vec();
    long.extend(vec![b'>'; 3_000_000]);
    long.extend(b"From here\r\nFrom ");
    long.extend(vec![b'x'; 2_000_000]);
    comes_back(&[&long, b"", &long]);
    // Wherever a line falls in the pieces that are read.
    for filler in PIECE - 12..PIECE + 12 {
        let mut message = vec![b'y'; filler];
        message.extend(b"\nFrom z Thu Jan  1 00:00:00 1970\n\n");
        comes_back(&[&message, b"next\n"]);
    }
}

#[test]
fn what_is_written_is_mboxrd() {
    let file = written(&[b"Subject: x\r\n\r\nFrom me\r\n>From you\r\n", b"no end"]);
    let expected = "From ann@example.org Sun Sep  9 01:46:40 2001\nSubject: x\n\n>From me\n>>From you\n\n\
                    From ann@example.org Sun Sep  9 01:46:41 2001 remote from mailhaul.open\nno end\n\n";
    assert_eq!(String::from_utf8(file).unwrap(), expected);
}

#[test]
fn files_of_other_programs_are_read() {
    // mboxo: a blank line between, `From ` quoted, and a last message without a blank line behind it.
    let mboxo =
        b"From ann Thu Jan  1 00:00:01 1970\nA: b\n\n>From me\nFrom what I hear\n\nFrom bob@h Thu Jan  1 00:00:02 1970\nC: d\n\nend\n";
    assert_eq!(
        found(mboxo),
        [(b"A: b\r\n\r\nFrom me\r\nFrom what I hear\r\n".to_vec(), Some(1)), (b"C: d\r\n\r\nend\r\n".to_vec(), Some(2))]
    );
    // mboxcl2: nothing is quoted, the length tells.
    let body = "From x Thu Jan  1 00:00:00 1970\n>From y\n\n";
    let cl2 = format!(
        "From ann Thu Jan  1 00:00:01 1970\nContent-Length: {}\n\n{body}\nFrom bob Thu Jan  1 00:00:02 1970\nC: d\nContent-Length: 3\n\nend",
        body.len()
    );
    let there = bodies(cl2.as_bytes());
    assert_eq!(there.len(), 2, "{there:?}");
    assert!(there[0].ends_with(b"\r\n\r\nFrom x Thu Jan  1 00:00:00 1970\r\n>From y\r\n\r\n"), "{}", String::from_utf8_lossy(&there[0]));
    assert!(there[1].ends_with(b"\r\n\r\nend"));
    // A length that does not land on an envelope line is not believed.
    for wrong in [0, 3, body.len() - 1, 9999] {
        let file = format!("From a Thu Jan  1 00:00:01 1970\nContent-Length: {wrong}\n\none two\n\nFrom b Thu Jan  1 00:00:02 1970\n\nx\n");
        let there = bodies(file.as_bytes());
        assert_eq!((there.len(), there[0].ends_with(b"one two\r\n")), (2, true), "{wrong}");
    }
    // Line ends of DOS, in the file itself.
    let dos = b"From ann Thu Jan  1 00:00:01 1970\r\nA: b\r\n\r\nx\r\n\r\nFrom bob Thu Jan  1 00:00:02 1970\r\nC: d\r\n\r\ny\r\n\r\n";
    assert_eq!(bodies(dos), [b"A: b\r\n\r\nx\r\n".to_vec(), b"C: d\r\n\r\ny\r\n".to_vec()]);
    // Envelope lines without a date: then a blank line must stand before them.
    let bare = b"From nobody\nA: b\n\nFrom\nand\nFrom one to ten\n\nFrom nobody\nC: d\n";
    assert_eq!(bodies(bare).len(), 2);
    assert_eq!(bodies(b""), Vec::<Vec<u8>>::new());
    assert_eq!(bodies(b"\n\n"), Vec::<Vec<u8>>::new());
    assert!(Scanner::new(&b"Subject: x\n"[..], 11).is_err());
}

#[test]
fn envelope_dates_of_many_programs_are_understood() {
    for (line, seconds) in [
        ("From ann@example.org Thu Jan  1 00:00:01 1970", 1),
        ("From - Thu Jan 01 00:00:01 1970", 1),
        ("From \"ann b\"@example.org  Thu Jan  1 00:00:01 1970", 1),
        ("From ann Thu Jan  1 00:00:01 1970 remote from host", 1),
        ("From 12@xxx Thu Jan 01 00:00:01 +0000 1970", 1),
        ("From ann Thu Jan  1 01:00:01 1970 +0100", 1),
        ("From ann Thu Jan  1 00:00:01 UTC 1970", 1),
        ("From ann Thu Jan  1 00:00 1970", 0),
        ("From ann Thu, 01 Jan 1970 00:00:01 +0000", 1),
        ("From ann at example.org  Thu Jan  1 00:00:01 1970", 1),
    ] {
        assert_eq!(envelope::date(line).map(|date| date.seconds), Some(seconds), "{line}");
    }
    for line in
        ["From here on it rains", "From Thu to Fri 10:30", "From ann Thu Jan 32 00:00:00 1970", "From ann Thu Jan 1 99:00:00 1970", "From "]
    {
        assert!(envelope::date(line).is_none(), "{line}");
    }
}

#[test]
fn an_envelope_line_cannot_be_steered_by_a_sender() {
    let mut file = Vec::new();
    let date = InternalDate { seconds: i64::MAX, offset: 0 };
    let from = format!("a\nFrom b\r {}\u{202e}", "x".repeat(100_000));
    let dated = write(&Body::from(b"x\n".to_vec()), &from, date, None, &mut |bytes| {
        file.extend_from_slice(bytes);
        Ok(())
    });
    assert!(!dated.unwrap());
    assert_eq!(bodies(&file), [b"x\n".to_vec()]);
}

#[test]
fn flags_of_mail_programs_are_seen_and_deleted_is_not_believed() {
    let shown = |header: &str| {
        let body = Body::from(format!("{header}\n\nStatus: R\n").into_bytes());
        flags(&body).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown("Status: RO\nX-Status: AFDT\nX-Keywords: $Forwarded work \\Deleted"), "seen answered flagged draft $Forwarded work");
    assert_eq!(shown("Status: O"), "");
    assert_eq!(shown("Subject: x"), "");
}

fn hostile_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"From ".to_vec()),
        Just(b">From ".to_vec()),
        Just(b"From a Thu Jan  1 00:00:00 1970".to_vec()),
        Just(b"From a Thu Jan  1 00:00:00 1970 remote from mailhaul.lf.open".to_vec()),
        Just(b">>From a Thu Jan  1 00:00:00 1970".to_vec()),
        Just(b"".to_vec()),
        (0..120_u32).prop_map(|length| format!("Content-Length: {length}").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

fn hostile_message() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..]), Just(&b"\r"[..]), Just(&b"\r\r\n"[..]), Just(&b""[..])];
    let uniform = prop_oneof![Just(Some(&b"\n"[..])), Just(Some(&b"\r\n"[..])), Just(None)];
    (proptest::collection::vec((hostile_line(), end), 0..8), uniform)
        .prop_map(|(lines, uniform)| lines.into_iter().flat_map(|(line, end)| [line, uniform.unwrap_or(end).to_vec()].concat()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_sequence_of_messages_comes_back_byte_for_byte(messages in proptest::collection::vec(hostile_message(), 0..5)) {
        let file = written(&messages.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(bodies(&file), messages);
    }

    #[test]
    fn any_file_is_read_without_a_panic_and_its_messages_come_back_from_a_copy(lines in proptest::collection::vec(hostile_message(), 0..4)) {
        let file = [b"From a Thu Jan  1 00:00:00 1970\n".to_vec(), lines.concat()].concat();
        let there = bodies(&file);
        prop_assert!(!there.is_empty());
        prop_assert_eq!(bodies(&written(&there.iter().map(Vec::as_slice).collect::<Vec<_>>())), there);
    }
}

#[test]
fn a_key_in_the_envelope_line_is_read_back_and_changes_nothing_else() {
    let date = InternalDate { seconds: 0, offset: 0 };
    for message in [&b"A: b\r\n\r\nx\r\n"[..], b"Content-Length: 3\r\n\r\nx", b"lf\n\n", b"", b"From x\r\n"] {
        let mut file = Vec::new();
        let body = Body::from(message.to_vec());
        write(&body, "a@b", date, Some("V7U42"), &mut |bytes| {
            file.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        let mut scanner = Scanner::new(&file[..], file.len() as u64).unwrap();
        let stored = scanner.message().unwrap().unwrap();
        assert_eq!(scanner.key(&stored).unwrap().as_deref(), Some("V7U42"));
        let mut back = Vec::new();
        read(&file[..], &stored, &mut |bytes| {
            back.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!((back, stored.date), (message.to_vec(), Some(date)));
    }
    assert_eq!(envelope::key("From a b remote from mailhaul.lf.open"), None);
    assert_eq!(envelope::key("From a b remote from elsewhere"), None);
}
