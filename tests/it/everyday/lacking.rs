//! Each verb on a real server that does not announce something: the way differs, nothing that was not announced is used,
//! and the outcome, seen through the independent client, is the same.

use std::collections::BTreeMap;

use crate::crash::bench::{full, in_parallel};
use crate::support::dovecot::{Dovecot, Options, Plant, User};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::tool::Tool;

#[rustfmt::skip]
const ALL: &[&str] = &[
    "IMAP4rev1",
    "SASL-IR",
    "LITERAL+",
    "ID",
    "ENABLE",
    "IDLE",
    "SORT",
    "THREAD=REFERENCES",
    "MULTIAPPEND",
    "UNSELECT",
    "CHILDREN",
    "NAMESPACE",
    "UIDPLUS",
    "LIST-EXTENDED",
    "CONDSTORE",
    "QRESYNC",
    "ESEARCH",
    "ESORT",
    "SEARCHRES",
    "WITHIN",
    "LIST-STATUS",
    "BINARY",
    "MOVE",
    "SPECIAL-USE",
    "STATUS=SIZE",
];

/// What is hidden, and the words that would show its use all the same.
const HIDDEN: &[(&[&str], &[&str])] = &[
    (&[], &[]),
    (&["MOVE"], &["UID MOVE"]),
    (&["UIDPLUS"], &["EXPUNGE", "CLOSE"]),
    (&["ESEARCH", "ESORT", "SEARCHRES"], &["SEARCH RETURN", "SORT RETURN"]),
    (&["CONDSTORE", "QRESYNC"], &["UNCHANGEDSINCE", "CONDSTORE", "MODSEQ", "QRESYNC", "CHANGEDSINCE"]),
    (
        &["LIST-STATUS"],
        &["STATUS (MESSAGES UNSEEN RECENT UIDVALIDITY UIDNEXT) RETURN", "RETURN (STATUS", "SUBSCRIBED STATUS", "SPECIAL-USE STATUS"],
    ),
    (&["LIST-EXTENDED", "LIST-STATUS"], &["RETURN (S", "LIST ("]),
    (&["SPECIAL-USE"], &["SPECIAL-USE"]),
    (&["STATUS=SIZE"], &[" SIZE"]),
    (&["SORT", "ESORT"], &["UID SORT"]),
    (&["LITERAL+"], &["+}"]),
    (&["NAMESPACE"], &["NAMESPACE"]),
    (&["ID"], &[" ID ("]),
    (&["MULTIAPPEND", "UNSELECT", "ENABLE", "BINARY", "WITHIN"], &["UNSELECT", "ENABLE", "BINARY", "YOUNGER", "OLDER"]),
    (
        ALL.split_at(1).1,
        &[
            "UID MOVE",
            "EXPUNGE",
            "RETURN",
            "UNCHANGEDSINCE",
            "MODSEQ",
            " SIZE",
            "UID SORT",
            "+}",
            "NAMESPACE",
            " ID (",
            "ENABLE",
            "UNSELECT",
        ],
    ),
];

/// What [`outcome`] gives.
type Outcome = (BTreeMap<String, Vec<(String, Vec<u8>)>>, Vec<String>);

/// Every folder with the flags and bodies of its messages (marked ones apart, where nothing can be removed), and what is
/// subscribed.
fn outcome(user: &User) -> Outcome {
    let of = |folder: &String| {
        let messages = user.messages(folder).into_iter();
        let kept = messages.filter(|message| !message.flags.contains(&"\\Deleted".to_owned()));
        let mut kept: Vec<_> = kept.map(|message| (message.flags.join(" "), message.body)).collect();
        kept.sort();
        kept
    };
    let mut client = user.client();
    let opens = |name: &String| client.examine(name).is_ok();
    (user.folders().into_iter().filter(opens).map(|name| (name.clone(), of(&name))).collect(), user.subscribed())
}

#[test]
fn whatever_a_server_lacks_the_outcome_is_the_same() {
    let results = std::sync::Mutex::new(BTreeMap::new());
    // Several at once unless all is asked for; what is announced otherwise tells them apart.
    let cases: Vec<Vec<usize>> = if full() {
        (0..HIDDEN.len()).map(|index| vec![index]).collect()
    } else {
        [&[0][..], &[1, 4, 6, 9], &[2], &[3, 5, 7, 8, 10, 11, 12, 13], &[14]].map(<[usize]>::to_vec).to_vec()
    };
    in_parallel(&cases, |case| {
        let hidden: Vec<&str> = case.iter().flat_map(|index| HIDDEN[*index].0).copied().collect();
        let words: Vec<&str> = case.iter().flat_map(|index| HIDDEN[*index].1).copied().collect();
        let announced: Vec<&str> = ALL.iter().filter(|name| !hidden.contains(name)).copied().collect();
        let options = Options { imap_capability: Some(announced.join(" ")), special_use: true, ..Options::default() };
        let Some(dovecot) = Dovecot::start(options) else { return };
        let user = dovecot.user("lacking");
        let plant = |number: u64| Plant::new(mail::plain(number, 100)).date(1_600_000_000 + 86_400 * i64::try_from(number).unwrap());
        user.plant(
            "INBOX",
            &(0..12).map(|number| if number % 2 == 0 { plant(number).flag("\\Seen") } else { plant(number) }).collect::<Vec<_>>(),
        );
        user.append(
            "INBOX",
            "From: J\u{f6}rg <j@example.org>\r\nSubject: Gr\u{fc}\u{df}e\r\nMessage-ID: <u@example.org>\r\n\r\n\u{e4}\r\n".as_bytes(),
            &["$Work"],
        );
        let tool = Tool::new();
        tool.account("work", &user);
        std::fs::write(tool.path("up.eml"), mail::plain(50, 100)).unwrap();
        std::fs::write(tool.path("up.mbox"), b"From a\nSubject: one\n\n1\n\nFrom a\nSubject: two\n\n2\n").unwrap();
        let trace = tool.text("trace.log");
        let mut said = String::new();
        let mut listed = Vec::new();
        let lacks_uidplus = hidden.contains(&"UIDPLUS");
        let mut run = |args: &[&str], removes: bool| {
            let output = tool.run(&[args, &["--trace", &trace]].concat());
            // Without UIDPLUS what is removed elsewhere stays marked here, and that is said.
            assert_eq!(output.code, if removes && lacks_uidplus { 3 } else { 0 }, "without {hidden:?}: {output}");
            said.push_str(&tool.read_trace());
            output.text()
        };
        for args in [
            &["list", "work", "--limit", "3", "--fields", "uid,subject,flags,size"][..],
            &["list", "work", "--sort", "subject", "--reverse", "--limit", "4", "--fields", "uid,subject"],
            &["list", "work", "--subject", "gr\u{fc}\u{df}", "--fields", "uid"],
            &["list", "work", "--unseen", "--before", "2020-09-20", "--fields", "uid"],
            &["fetch", "work", "--text", "--subject", "message 7"],
            &["fetch", "work", "3", "--headers"],
            &["folders", "work", "--fields", "name,special_use,messages,unseen,subscribed"],
            &["folders", "work", "--size", "--fields", "name,size"],
        ] {
            listed.push(run(args, false));
        }
        run(&["folders", "create", "work/New/Folder", "work/Gone"], false);
        run(&["flag", "work", "--add", "flagged,Key", "--unseen", "--before", "2020-09-20"], false);
        run(&["copy", "work", "work/New/Folder", "1:3"], false);
        run(&["upload", "up.eml", "up.mbox", "work/New/Folder", "--flag", "seen"], false);
        run(&["fetch", "work", "5", "--mark-seen"], false);
        run(
            &["move", "work", "work/Archive", "--message-id", "4@example.org"],
            !hidden.is_empty() && lacks_uidplus && !announced.contains(&"MOVE"),
        );
        run(&["delete", "work", "6:7"], lacks_uidplus && !announced.contains(&"MOVE"));
        run(&["delete", "work", "--permanently", "8"], true);
        run(&["move", "work", "maildir:out", "9"], true);
        run(&["folders", "rename", "work/New", "Newer"], false);
        run(&["folders", "delete", "work/Gone"], false);
        run(&["folders", "subscribe", "work/Trash"], false);
        run(&["folders", "unsubscribe", "work/Sent"], false);
        assert!(said.matches(" C: ").count() > 60, "{said}");
        for line in said.lines().filter(|line| line.contains(" C: ")) {
            assert!(!words.iter().any(|word| line.contains(word)), "without {hidden:?}: {line}");
        }
        // With everything announced each of these words is said: a list that finds nothing would prove nothing.
        let of_all = (outcome(&user), listed, said);
        results.lock().unwrap().insert(hidden, of_all);
    });
    let mut results = results.into_inner().unwrap();
    let Some((first, listed, said)) = results.remove(&Vec::new()) else { return };
    assert_eq!(first.0["INBOX"].len(), 13 - 1 - 2 - 1 - 1);
    assert_eq!((first.0["Trash"].len(), first.0["Archive"].len(), first.0["Newer/Folder"].len()), (2, 1, 6));
    for word in [
        "UID MOVE",
        "UID EXPUNGE",
        "SEARCH RETURN",
        "UNCHANGEDSINCE",
        "RETURN (S",
        "SPECIAL-USE",
        " SIZE",
        "UID SORT",
        "NAMESPACE",
        " ID (",
    ] {
        assert!(said.lines().any(|line| line.contains(" C: ") && line.contains(word)), "{word} is said by nobody");
    }
    for (hidden, (there, rows, _)) in results {
        assert!(there == first, "without {hidden:?}");
        for (row, wanted) in rows.iter().zip(&listed) {
            // Where no special use can be told, none is.
            if row != wanted {
                assert!(
                    hidden.contains(&"SPECIAL-USE") || hidden.contains(&"STATUS=SIZE"),
                    "without {hidden:?}: {row} in place of {wanted}"
                );
            }
        }
    }
}

#[test]
fn whatever_a_maildrop_lacks_the_named_messages_are_listed_fetched_and_deleted() {
    for lacking in [&[][..], &["TOP"], &["UIDL"], &["PIPELINING"], &["TOP", "UIDL", "PIPELINING", "RESP-CODES", "SASL", "AUTH-RESP-CODE"]] {
        let behaviour = lacking.iter().fold(pop3d::Behaviour::default(), |behaviour, name| behaviour.without(name));
        let bodies = mail::many(5, 200);
        let maildrop = Pop3d::start(behaviour, &bodies);
        let tool = Tool::new();
        tool.server("old", None, Some(&maildrop.url()));
        let rows: String = (0..5).map(|number| format!("{}\tmessage {number}\n", number + 1)).collect();
        assert_eq!(tool.run(&["list", "old", "--fields", "number,subject"]).expect_code(0).text(), rows, "{lacking:?}");
        assert_eq!(tool.run(&["fetch", "old", "3"]).expect_code(0).stdout, bodies[2], "{lacking:?}");
        tool.run(&["delete", "old", "--subject", "message 1", "--dry-run"]).expect_code(0);
        assert_eq!(maildrop.bodies(), bodies);
        tool.run(&["delete", "old", "--subject", "message 1"]).expect_code(0);
        tool.run(&["delete", "old", "3:4"]).expect_code(0);
        assert_eq!(maildrop.bodies(), [bodies[0].clone(), bodies[2].clone()], "{lacking:?}");
        let log = maildrop.log();
        if lacking.contains(&"TOP") {
            assert!(!log.iter().any(|line| line.contains("TOP ")), "{log:?}");
        }
        // A deletion that is refused in part is taken back as a whole.
        maildrop.behave(|behaviour| behaviour.refuse_dele = vec![2]);
        tool.run(&["delete", "old", "1:2"]).expect_code(6);
        assert_eq!(maildrop.bodies().len(), 2, "{lacking:?}");
        assert!(maildrop.log().iter().any(|line| line.ends_with("RSET")), "{lacking:?}: {:?}", maildrop.log());
    }
}
