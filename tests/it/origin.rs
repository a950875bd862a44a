//! What an account tells a backup: figures in one round trip, and of one folder exactly what changed, whatever the server
//! offers, hides or makes up.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mailhaul::account::{Config, CredentialSource, Overrides, Place, Server};
use mailhaul::context::Context;
use mailhaul::error::{Kind, Scope};
use mailhaul::folder::Folder;
use mailhaul::imap::uid_set::UidSet;
use mailhaul::net::Trace;
use mailhaul::store::origin::{Arrival, Figures, Origin, Since, Visit};

use crate::dovecot_user;
use crate::support::imapd::{Behaviour, Imapd, Mailbox};
use crate::support::mail;
use crate::support::proxy::{Direction, Proxy, Weather};
use crate::support::script::Script;
use crate::support::tls;
use crate::support::tool::Tool;

fn server(tool: &Tool, url: &str) -> Server {
    let config = Config::parse("", Path::new("config.toml")).unwrap();
    let overrides = Overrides {
        credential: Some(CredentialSource::File(tool.password_file())),
        ca_file: Some(tls::identity().ca_file().to_owned()),
        ..Overrides::default()
    };
    Place::parse(url, &config, &overrides).unwrap().server().unwrap().clone()
}

fn connect(tool: &Tool, url: &str) -> Origin {
    Origin::connect(&server(tool, url), &Context::from_environment(), &Trace::off()).unwrap()
}

fn folder(name: &str) -> Folder {
    Folder::from_levels(name.split('/')).unwrap()
}

fn words(flags: &[mailhaul::message::Flag]) -> Vec<String> {
    let mut words: Vec<String> = flags.iter().map(|flag| flag.wire().to_ascii_lowercase()).collect();
    words.sort();
    words
}

/// Somebody who keeps what visits tell, as a backup does.
#[derive(Default)]
struct Keeper {
    since: Option<Since>,
    flags: BTreeMap<u32, Vec<String>>,
    /// Flags that came without being asked for one by one.
    told: usize,
}

impl Keeper {
    /// Brings itself up to date; returns what the visit said and the arrivals.
    fn visit(&mut self, origin: &mut Origin, folder: &Folder) -> (Visit, Vec<Arrival>) {
        let mut changed = Vec::new();
        let visit = origin
            .visit(folder, self.since.as_ref(), &mut |flagged| {
                changed.push(flagged);
                Ok(())
            })
            .unwrap();
        let same = self.since.as_ref().is_some_and(|since| Some(since.uid_validity) == visit.figures.uid_validity);
        if !same {
            assert!(changed.is_empty() && !visit.flags_told, "flags of another generation");
            self.flags.clear();
        }
        self.told = changed.len();
        for flagged in changed {
            assert!(self.flags.contains_key(&flagged.uid), "flags of a message nobody knew");
            self.flags.insert(flagged.uid, words(&flagged.flags));
        }
        self.flags.retain(|uid, _| visit.there.contains(*uid));
        let new: UidSet = visit.there.iter().filter(|uid| !self.flags.contains_key(uid)).collect();
        let mut arrivals = Vec::new();
        origin
            .arrivals(&new, &mut |arrival| {
                arrivals.push(arrival);
                Ok(())
            })
            .unwrap();
        assert!(arrivals.iter().map(|arrival| arrival.uid).eq(new.iter()), "arrivals come by rising UID, each once");
        self.flags.extend(arrivals.iter().map(|arrival| (arrival.uid, words(&arrival.flags))));
        if !visit.flags_told {
            let mut before = 0;
            origin
                .flags(&visit.there, &mut |flagged| {
                    assert!(flagged.uid > before);
                    before = flagged.uid;
                    self.flags.insert(flagged.uid, words(&flagged.flags));
                    Ok(())
                })
                .unwrap();
        }
        self.since = Some(Since {
            uid_validity: visit.figures.uid_validity.unwrap(),
            uid_next: visit.figures.uid_next,
            highest_mod_seq: visit.figures.highest_mod_seq,
            known: visit.there.clone(),
        });
        (visit, arrivals)
    }
}

/// A sequence that looks like chance and is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Servers of all kinds, by name.
fn kinds() -> Vec<(&'static str, Behaviour)> {
    let plain = Behaviour::default;
    let condstore = || plain().with("CONDSTORE").with("ESEARCH");
    let qresync = || condstore().with("ENABLE").with("QRESYNC");
    let odd = |mut behaviour: Behaviour, change: fn(&mut Behaviour)| {
        change(&mut behaviour);
        behaviour
    };
    vec![
        ("plain", plain()),
        ("esearch", plain().with("ESEARCH")),
        ("condstore without esearch", plain().with("CONDSTORE")),
        ("condstore", condstore()),
        ("condstore that tells everything", odd(condstore(), |behaviour| behaviour.tells_everything = true)),
        ("condstore that hides HIGHESTMODSEQ", odd(condstore(), |behaviour| behaviour.hides_mod_seq = true)),
        ("qresync", qresync()),
        ("qresync that tells everything", odd(qresync(), |behaviour| behaviour.tells_everything = true)),
        ("qresync that hides HIGHESTMODSEQ", odd(qresync(), |behaviour| behaviour.hides_mod_seq = true)),
        ("qresync that forgot", odd(qresync(), |behaviour| behaviour.forgets_expunges = true)),
        ("qresync that denies", odd(qresync(), |behaviour| behaviour.denies_expunges = true)),
        ("qresync without enable", plain().with("QRESYNC")),
        ("everything", qresync().with("OBJECTID").with("LIST-EXTENDED").with("LIST-STATUS")),
        ("gmail", condstore().with("X-GM-EXT-1")),
        ("what no server is", qresync().with("X-GM-EXT-1").with("OBJECTID")),
    ]
}

#[test]
fn whatever_happens_between_two_visits_the_second_tells_it_all() {
    let tool = Tool::new();
    for (name, behaviour) in kinds() {
        let (resyncs, hides) = (behaviour.capabilities.contains(&"CONDSTORE".to_owned()), behaviour.hides_mod_seq);
        let imapd = Imapd::start(behaviour);
        imapd.fill("INBOX", &mail::many(30, 300));
        let inbox = Folder::inbox();
        let mut dice = Dice(7);
        let mut keeper = Keeper::default();
        let mut origin = connect(&tool, &imapd.url());
        let mut serial = 0;
        for round in 0..40 {
            if round % 8 == 7 {
                origin.finish().unwrap();
                origin = connect(&tool, &imapd.url());
            }
            for _ in 0..dice.below(5) {
                let uids: Vec<u32> = imapd.mailbox("INBOX").messages.iter().map(|message| message.uid).collect();
                let some = (!uids.is_empty()).then(|| uids[dice.below(uids.len())]);
                match (dice.below(12), some) {
                    (0..=3, _) | (_, None) => {
                        serial += 1;
                        imapd.fill("INBOX", &[format!("Subject: {serial}\r\n\r\nx\r\n").into_bytes()]);
                    }
                    (4..=7, Some(uid)) => {
                        let how = ["\\Seen", "-\\Seen", "$Forwarded", "\\Flagged", "-\\Flagged"][dice.below(5)];
                        imapd.change("INBOX", |mailbox| mailbox.reflag(uid, how));
                    }
                    (8..=10, Some(uid)) => imapd.change("INBOX", |mailbox| mailbox.expunge(uid)),
                    (_, Some(_)) if round % 10 == 9 => imapd.change("INBOX", Mailbox::renumber),
                    _ => imapd.change("INBOX", |mailbox| {
                        // The last one goes, so that `n:*` finds one below n.
                        let last = mailbox.messages.last().map(|message| message.uid);
                        mailbox.expunge(last.unwrap());
                    }),
                }
            }
            let before = keeper.since.clone();
            let (visit, _) = keeper.visit(&mut origin, &inbox);
            let now = imapd.mailbox("INBOX");
            let expected: BTreeMap<u32, Vec<String>> = now
                .messages
                .iter()
                .map(|message| {
                    let mut flags: Vec<String> = message.flags.iter().map(|flag| flag.to_ascii_lowercase()).collect();
                    flags.sort();
                    (message.uid, flags)
                })
                .collect();
            assert_eq!(visit.there.iter().collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>(), "{name}, round {round}");
            assert_eq!(keeper.flags, expected, "{name}, round {round}");
            let figures = &visit.figures;
            assert_eq!(
                (figures.uid_validity, figures.uid_next, figures.messages),
                (Some(now.uid_validity), Some(now.uid_next), Some(now.messages.len() as u64)),
                "{name}"
            );
            assert_eq!(
                figures.highest_mod_seq,
                resyncs.then_some(now.mod_seq).or_else(|| (name.contains("without enable")).then_some(now.mod_seq))
            );
            let same = before.is_some_and(|since| since.uid_validity == now.uid_validity);
            assert!(!same || !resyncs || hides || visit.flags_told, "{name}: flags had to be asked for");
        }
        origin.finish().unwrap();
    }
}

#[test]
fn what_a_broken_off_run_left_out_is_found_although_the_count_would_fit_without_it() {
    let tool = Tool::new();
    for (name, behaviour) in kinds() {
        let imapd = Imapd::start(behaviour);
        imapd.fill("INBOX", &mail::many(10, 100));
        let mut origin = connect(&tool, &imapd.url());
        let mut keeper = Keeper::default();
        keeper.visit(&mut origin, &Folder::inbox());
        imapd.fill("INBOX", &mail::many(3, 50));
        imapd.change("INBOX", |mailbox| {
            mailbox.expunge(4);
            mailbox.expunge(5);
        });
        // Of the three that came, the run before stored the last one alone, and two others went.
        let mut since = keeper.since.unwrap();
        since.known.insert(13);
        let visit = origin.visit(&Folder::inbox(), Some(&since), &mut |_| Ok(())).unwrap();
        assert_eq!(visit.there.to_string(), "1:3,6:13", "{name}");
        origin.finish().unwrap();
    }
}

#[test]
fn a_mailbox_without_mod_seqs_one_that_went_backwards_and_one_that_refuses_all_are_listed_whole() {
    let tool = Tool::new();
    let behaviour = Behaviour::default().with("CONDSTORE").with("ENABLE").with("QRESYNC");
    let imapd = Imapd::start(behaviour);
    imapd.fill("INBOX", &mail::many(10, 200));
    let mut keeper = Keeper::default();
    let mut origin = connect(&tool, &imapd.url());
    keeper.visit(&mut origin, &Folder::inbox());
    // Restored from an old copy: fewer messages, other flags, and a MODSEQ from then.
    imapd.change("INBOX", |mailbox| {
        mailbox.messages.retain(|message| message.uid != 3);
        mailbox.messages[4].flags.push("\\Answered".to_owned());
        mailbox.mod_seq -= 5;
    });
    let (visit, _) = keeper.visit(&mut origin, &Folder::inbox());
    assert!(!visit.flags_told && !visit.there.contains(3));
    assert_eq!(keeper.flags[&6], ["\\answered"]);
    // No MODSEQs any more.
    imapd.change("INBOX", |mailbox| {
        mailbox.no_mod_seqs = true;
        mailbox.messages[0].flags.push("\\Seen".to_owned());
    });
    let (visit, _) = keeper.visit(&mut origin, &Folder::inbox());
    assert!(!visit.flags_told);
    assert_eq!((visit.figures.highest_mod_seq, &keeper.flags[&1]), (None, &vec!["\\seen".to_owned()]));
    let (visit, _) = keeper.visit(&mut origin, &Folder::inbox());
    assert!(!visit.flags_told);
    // A folder that is gone is refused in the server's words, and the session goes on.
    let error = origin.visit(&folder("None"), keeper.since.as_ref(), &mut |_| Ok(())).unwrap_err();
    assert_eq!((error.kind(), error.scope()), (Kind::Refused, Scope::Mailbox));
    assert!(error.server_said().unwrap().contains("no such mailbox"));
    keeper.visit(&mut origin, &Folder::inbox());
    origin.finish().unwrap();
}

#[test]
fn figures_of_all_folders_come_behind_the_login_in_one_round_trip() {
    let tool = Tool::new();
    let rich = ["LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CONDSTORE", "OBJECTID"];
    let behaviour = rich.iter().fold(Behaviour::default(), |behaviour, name| behaviour.with(name));
    for (behaviour, turns) in [(behaviour, 3), (Behaviour::default().with("CONDSTORE"), 4), (Behaviour::default(), 4)] {
        let (condstore, objects) = (behaviour.capabilities.contains(&"CONDSTORE".to_owned()), behaviour.capabilities.len() > 10);
        let imapd = Imapd::start(behaviour);
        imapd.fill("INBOX", &mail::many(3, 100));
        for number in 0..100 {
            imapd.fill(&format!("Folder {number:02}"), &mail::many(number % 3, 100));
        }
        imapd.behave(|behaviour| {
            behaviour.special_use.insert("Folder 07".to_owned(), "\\Sent".to_owned());
            behaviour.no_status.insert("Folder 05".to_owned(), "NO [SERVERBUG] index is corrupt".to_owned());
        });
        let proxy = Proxy::start(imapd.port(), Weather { delay: Duration::from_millis(5), ..Weather::default() });
        let mut origin = connect(&tool, &format!("imap://ann@127.0.0.1:{}?tls=none", proxy.port()));
        let remotes = origin.folders().unwrap();
        // Greeting; login; then the questions (one turn), and for the refused one its own STATUS.
        assert!(proxy.turns() <= turns + 1, "{} turns", proxy.turns());
        assert_eq!(remotes.len(), 101);
        for remote in &remotes {
            let name = remote.info.folder.to_string();
            let mailbox = imapd.mailbox(&name);
            if name == "Folder 05" {
                assert!(remote.figures.as_ref().unwrap_err().contains("index is corrupt"));
                continue;
            }
            let expected = Figures {
                uid_validity: Some(mailbox.uid_validity),
                uid_next: Some(mailbox.uid_next),
                messages: Some(mailbox.messages.len() as u64),
                highest_mod_seq: condstore.then_some(mailbox.mod_seq),
                mailbox_id: objects.then_some(mailbox.id),
            };
            assert_eq!(remote.figures, Ok(expected), "{name}");
        }
        // The same once more for some, the open one among them.
        origin.visit(&folder("Folder 02"), None, &mut |_| Ok(())).unwrap();
        let asked = ["Folder 02", "Folder 05", "Folder 01", "missing"].map(folder);
        let figures = origin.figures(&asked).unwrap();
        assert_eq!(figures[0].as_ref().unwrap().messages, Some(2));
        assert!(figures[1].is_err() && figures[2].is_ok() && figures[3].as_ref().unwrap_err().contains("NONEXISTENT"));
        origin.finish().unwrap();
    }
}

#[test]
fn a_visit_of_a_large_folder_costs_what_changed() {
    let tool = Tool::new();
    for more in [&["CONDSTORE", "ESEARCH"][..], &["CONDSTORE", "ESEARCH", "ENABLE", "QRESYNC"]] {
        let behaviour = more.iter().fold(Behaviour::default(), |behaviour, name| behaviour.with(name));
        let imapd = Imapd::start(behaviour);
        imapd.fill("INBOX", &vec![b"Subject: x\r\n\r\nx\r\n".to_vec(); 5000]);
        let proxy = Proxy::start(imapd.port(), Weather::default());
        let mut origin = connect(&tool, &format!("imap://ann@127.0.0.1:{}?tls=none", proxy.port()));
        let mut keeper = Keeper::default();
        keeper.visit(&mut origin, &Folder::inbox());
        imapd.change("INBOX", |mailbox| mailbox.reflag(17, "\\Seen"));
        imapd.fill("INBOX", &[b"Subject: new\r\n\r\nx\r\n".to_vec()]);
        let (octets, turns) = (proxy.octets(Direction::ToClient), proxy.turns());
        let (visit, arrivals) = keeper.visit(&mut origin, &Folder::inbox());
        assert!(visit.flags_told && keeper.told <= 2 && arrivals.len() == 1);
        assert!(proxy.octets(Direction::ToClient) - octets < 1500, "{}", proxy.octets(Direction::ToClient) - octets);
        // EXAMINE with all questions, and what there is to say of the new one.
        assert!(proxy.turns() - turns <= 3, "{}", proxy.turns() - turns);
        origin.finish().unwrap();
    }
}

#[test]
fn gmails_labels_and_ids_come_with_arrivals_and_changes() {
    let tool = Tool::new();
    let behaviour = Behaviour::default().with("CONDSTORE").with("X-GM-EXT-1");
    let imapd = Imapd::start(behaviour);
    let one = b"Subject: one\r\n\r\nx\r\n".to_vec();
    let two = b"Subject: two\r\n\r\nx\r\n".to_vec();
    imapd.behave(|behaviour| drop(behaviour.special_use.insert("All".to_owned(), "\\All".to_owned())));
    imapd.fill("All", &[one.clone(), two.clone()]);
    imapd.fill("INBOX", std::slice::from_ref(&one));
    imapd.fill("Entw&APw-rfe \"x\"", std::slice::from_ref(&one));
    let mut origin = connect(&tool, &imapd.url());
    assert!(origin.is_gmail());
    origin.folders().unwrap();
    let mut keeper = Keeper::default();
    let (_, arrivals) = keeper.visit(&mut origin, &folder("All"));
    assert_eq!(arrivals[0].labels, ["Entwürfe \"x\"", "\\Inbox"]);
    assert!(arrivals[1].labels.is_empty());
    assert!(arrivals.iter().all(|arrival| arrival.object_id.as_ref().unwrap().starts_with("gmail:")));
    assert_ne!(arrivals[0].object_id, arrivals[1].object_id);
    // A label more is a change of flags.
    imapd.fill("Work", &[two]);
    let mut told = Vec::new();
    let visit = origin
        .visit(&folder("All"), keeper.since.as_ref(), &mut |flagged| {
            told.push(flagged);
            Ok(())
        })
        .unwrap();
    assert!(visit.flags_told);
    assert_eq!(told.iter().map(|flagged| (flagged.uid, flagged.labels.clone())).collect::<Vec<_>>(), [(2, vec!["Work".to_owned()])]);
    let mut all = Vec::new();
    origin
        .flags(&visit.there, &mut |flagged| {
            all.push(flagged.labels.len());
            Ok(())
        })
        .unwrap();
    assert_eq!(all, [2, 1]);
    origin.finish().unwrap();
}

#[test]
fn emailids_survive_a_change_of_uid_validity_and_mailboxids_a_new_name() {
    let tool = Tool::new();
    let behaviour = ["OBJECTID", "LIST-EXTENDED", "LIST-STATUS"].iter().fold(Behaviour::default(), |behaviour, name| behaviour.with(name));
    let imapd = Imapd::start(behaviour);
    imapd.fill("Old", &mail::many(5, 100));
    let mut origin = connect(&tool, &imapd.url());
    let id = |origin: &mut Origin, name: &str| {
        let remotes = origin.folders().unwrap();
        let figures = remotes.iter().find(|remote| remote.info.folder == folder(name)).map(|remote| remote.figures.clone());
        figures.unwrap().unwrap().mailbox_id.unwrap()
    };
    let mailbox_id = id(&mut origin, "Old");
    let mut keeper = Keeper::default();
    let (visit, before) = keeper.visit(&mut origin, &folder("Old"));
    assert_eq!(visit.figures.mailbox_id.as_ref(), Some(&mailbox_id));
    imapd.change("Old", |mailbox| {
        mailbox.expunge(1);
        mailbox.renumber();
    });
    imapd.rename("Old", "New");
    assert_eq!(id(&mut origin, "New"), mailbox_id);
    let (_, after) = keeper.visit(&mut origin, &folder("New"));
    let ids = |arrivals: &[Arrival]| arrivals.iter().map(|arrival| arrival.object_id.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids(&before)[1..], ids(&after)[..]);
    assert!(ids(&after)[0].starts_with("emailid:M"));
    // Messages and headers of the folder that was visited, as they are.
    let mut bodies = vec![None; after.len()];
    origin
        .read(&after, &mut |index, message| {
            bodies[index] = message.unwrap().body.in_memory().map(<[u8]>::to_vec);
            Ok(())
        })
        .unwrap();
    assert_eq!(bodies.into_iter().map(Option::unwrap).collect::<Vec<_>>(), imapd.bodies("New"));
    let mut headers = 0;
    origin
        .headers(&UidSet::range(1, 4), &mut |_, header| {
            headers += usize::from(header.unwrap().ends_with(b"\r\n\r\n"));
            Ok(())
        })
        .unwrap();
    assert_eq!(headers, 4);
    let mut further =
        Origin::connect_knowing(&server(&tool, &imapd.url()), origin.names(), &Context::from_environment(), &Trace::off()).unwrap();
    assert_eq!(further.visit(&folder("New"), None, &mut |_| Ok(())).unwrap().there.len(), 4);
    further.finish().unwrap();
    origin.finish().unwrap();
}

#[test]
fn what_a_listing_leaves_out_is_an_arrival_all_the_same() {
    let tool = Tool::new();
    let imapd = Imapd::start(Behaviour::default().with("OBJECTID"));
    imapd.fill("INBOX", &mail::many(6, 100));
    imapd.behave(|behaviour| behaviour.unlisted = vec![2, 5]);
    let mut origin = connect(&tool, &imapd.url());
    let visit = origin.visit(&Folder::inbox(), None, &mut |_| Ok(())).unwrap();
    assert_eq!(visit.there, UidSet::range(1, 6));
    imapd.change("INBOX", |mailbox| mailbox.expunge(5));
    let mut seen = Vec::new();
    origin
        .arrivals(&visit.there, &mut |arrival| {
            seen.push((arrival.uid, arrival.size.is_some()));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [(1, true), (3, true), (4, true), (6, true), (2, false)]);
    origin.finish().unwrap();
}

/// A dialogue up to the first EXAMINE of a session that keeps MODSEQs, with or without QRESYNC.
fn script(capabilities: &str, dialogue: &str) -> String {
    format!(
        "S: * OK [CAPABILITY IMAP4rev1 LITERAL+ {capabilities}] hello\nC: $a LOGIN …\nS: $a OK [CAPABILITY IMAP4rev1 LITERAL+ {capabilities}] in\n\
         C: $c CAPABILITY\nC: $l LIST …\nC: $s LSUB …\nS: * CAPABILITY IMAP4rev1 LITERAL+ {capabilities}\nS: $c OK done\n\
         S: * LIST () \"/\" INBOX\nS: $l OK done\nS: $s OK done\n{dialogue}"
    )
}

/// Visits INBOX with UIDs 1 to 4 known at MODSEQ 10 and UIDVALIDITY 7; the script decides the rest.
fn scripted(capabilities: &str, dialogue: &str) -> (Result<Visit, mailhaul::error::Error>, Vec<u32>, Vec<String>) {
    let tool = Tool::new();
    let text = script(capabilities, dialogue);
    let script = Script::start(&[&text]);
    let mut origin = connect(&tool, &format!("{}{}", script.imap(), if script.imap().contains('?') { "" } else { "?tls=none" }));
    let since = Since { uid_validity: 7, uid_next: Some(5), highest_mod_seq: Some(10), known: UidSet::range(1, 4) };
    let mut told = Vec::new();
    let visit = origin.visit(&Folder::inbox(), Some(&since), &mut |flagged| {
        told.push(flagged.uid);
        Ok(())
    });
    drop(origin);
    (visit, told, script.wrong())
}

const EXAMINED: &str = "S: * 4 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 5] ok\n";

#[test]
fn what_is_made_up_between_the_lines_never_makes_a_message_gone() {
    let qresync = "ENABLE QRESYNC CONDSTORE ESEARCH";
    let open = "C: $n ENABLE QRESYNC\nC: $e EXAMINE …\nC: $u UID SEARCH RETURN (ALL) UID 5:*\nS: * ENABLED QRESYNC\nS: $n OK on\n";
    let all = "C: $r UID SEARCH RETURN (ALL) ALL\nS: * ESEARCH (TAG \"x\") UID ALL 1:4\nS: $r OK done\n";
    let cases: Vec<(&str, String)> = vec![
        // VANISHED for the time before names what is there.
        (
            "lies",
            format!(
                "{open}{EXAMINED}S: * OK [HIGHESTMODSEQ 12] ok\nS: * VANISHED (EARLIER) 1:4294967295\nS: $e OK done\nS: * ESEARCH (TAG \"x\") UID\nS: $u OK done\n{all}"
            ),
        ),
        // UIDs that nobody knew, and flags of such.
        (
            "unknown",
            format!(
                "{open}{EXAMINED}S: * OK [HIGHESTMODSEQ 12] ok\nS: * VANISHED (EARLIER) 100:4000000000\nS: * 9 FETCH (UID 77 FLAGS (\\Seen) MODSEQ (12))\nS: $e OK done\nS: * ESEARCH (TAG \"x\") UID ALL 4\nS: $u OK done\n"
            ),
        ),
        // Without HIGHESTMODSEQ nothing that was said of changes counts.
        (
            "hidden",
            format!(
                "{open}{EXAMINED}S: $e OK done\nS: * ESEARCH (TAG \"x\") UID\nS: $u OK done\n{all}C: $t STATUS …\nS: * STATUS INBOX (HIGHESTMODSEQ 0)\nS: $t OK done\n"
            ),
        ),
        // An answer that cannot be read is none.
        (
            "unreadable",
            format!(
                "{open}{EXAMINED}S: * OK [HIGHESTMODSEQ 12] ok\nS: $e OK done\nS: * ESEARCH (TAG \"x\") UID ALL 1:x\nS: $u OK done\n{all}"
            ),
        ),
        // What was said before CLOSED was said of another mailbox.
        (
            "closed",
            format!(
                "{open}S: * 2 EXISTS\nS: * VANISHED (EARLIER) 1:2\nS: * OK [CLOSED] other\n{EXAMINED}S: * OK [HIGHESTMODSEQ 12] ok\nS: $e OK done\nS: * ESEARCH (TAG \"x\") UID\nS: $u OK done\n"
            ),
        ),
    ];
    for (name, dialogue) in cases {
        let (visit, told, wrong) = scripted(qresync, &dialogue);
        let visit = visit.unwrap_or_else(|error| panic!("{name}: {error} {wrong:?}"));
        assert_eq!(visit.there, UidSet::range(1, 4), "{name}");
        assert!(told.is_empty() && wrong.is_empty(), "{name}: {told:?} {wrong:?}");
        assert_eq!(visit.flags_told, name != "hidden", "{name}");
    }
    // A count that no listing bears out is an error of this folder, and nothing is gone.
    let few = "C: $r UID SEARCH RETURN (ALL) ALL\nS: * ESEARCH (TAG \"x\") UID ALL 1:3\nS: $r OK done\nC: $f UID FETCH 1:* (UID)\nS: * 1 FETCH (UID 1)\nS: $f OK done\n";
    let dialogue = format!(
        "{open}{EXAMINED}S: * OK [HIGHESTMODSEQ 12] ok\nS: * VANISHED (EARLIER) 4\nS: $e OK done\nS: * ESEARCH (TAG \"x\") UID\nS: $u OK done\n{}",
        few.repeat(4)
    );
    let (visit, _, wrong) = scripted(qresync, &dialogue);
    let error = visit.unwrap_err();
    assert!(error.message().contains("counts 4 messages and lists 3") && error.scope() == Scope::Mailbox, "{error} {wrong:?}");
}

#[test]
fn changes_that_happen_while_a_folder_is_looked_at_are_not_lost() {
    let condstore = "CONDSTORE ESEARCH";
    let open =
        "C: $e EXAMINE \"INBOX\" (CONDSTORE)\nC: $u UID SEARCH RETURN (ALL) UID 5:*\nC: $f UID FETCH 1:4 (UID FLAGS) (CHANGEDSINCE 10)\n";
    let examined = format!("{open}{EXAMINED}S: * OK [HIGHESTMODSEQ 12] ok\nS: $e OK done\n");
    let none = "S: * ESEARCH (TAG \"x\") UID\nS: $u OK done\n";
    // Somebody expunges 2 meanwhile: by its number, which says nothing of its UID.
    let expunged = format!(
        "{examined}{none}S: * 2 EXPUNGE\nS: * 2 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (12))\nS: $f OK done\nC: $r UID SEARCH RETURN (ALL) ALL\n\
         S: * ESEARCH (TAG \"x\") UID ALL 1,3:4\nS: $r OK done\n"
    );
    let (visit, told, wrong) = scripted(condstore, &expunged);
    let visit = visit.unwrap_or_else(|error| panic!("{error} {wrong:?}"));
    assert_eq!((visit.there.to_string().as_str(), told, visit.flags_told), ("1,3:4", vec![3], true));
    // Mail comes in: it is there, or it is found by the next visit; the figures are those of before.
    let arrived = format!(
        "{examined}S: * 5 EXISTS\n{none}S: $f OK done\nC: $r UID SEARCH RETURN (ALL) ALL\nS: * ESEARCH (TAG \"x\") UID ALL 1:5\nS: $r OK done\n"
    );
    let (visit, _, wrong) = scripted(condstore, &arrived);
    let visit = visit.unwrap_or_else(|error| panic!("{error} {wrong:?}"));
    assert_eq!((visit.there, visit.figures.uid_next), (UidSet::range(1, 5), Some(5)));
    // A flag change told without a UID leaves flags to be asked for.
    let nameless = format!("{examined}{none}S: * 3 FETCH (FLAGS (\\Seen) MODSEQ (12))\nS: $f OK done\n");
    let (visit, told, _) = scripted(condstore, &nameless);
    let visit = visit.unwrap();
    assert_eq!((visit.there, told, visit.flags_told), (UidSet::range(1, 4), Vec::new(), false));
    // Another UIDVALIDITY: what the questions bring belongs to other messages.
    let other = format!(
        "{open}S: * 4 EXISTS\nS: * OK [UIDVALIDITY 8] ok\nS: * OK [HIGHESTMODSEQ 12] ok\nS: $e OK done\nS: * ESEARCH (TAG \"x\") UID\nS: $u OK done\n\
         S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (12))\nS: $f OK done\nC: $r UID SEARCH RETURN (ALL) ALL\n\
         S: * ESEARCH (TAG \"x\") UID ALL 2:5\nS: $r OK done\n"
    );
    let (visit, told, wrong) = scripted(condstore, &other);
    let visit = visit.unwrap_or_else(|error| panic!("{error} {wrong:?}"));
    assert_eq!((visit.there, told, visit.flags_told, visit.figures.uid_validity), (UidSet::range(2, 5), Vec::new(), false, Some(8)));
}

#[test]
fn dovecot_tells_all_changes_between_two_visits() {
    let user = dovecot_user!("origin");
    let tool = Tool::new();
    user.deliver("INBOX", &mail::many(40, 300));
    user.create("Archiv/Entwürfe");
    user.deliver("Archiv/Entwürfe", &mail::many(3, 100));
    let path = tool.path("trace");
    let place = server(&tool, &user.imaps());
    let mut origin = Origin::connect(&place, &Context::from_environment(), &Trace::to_file(&path).unwrap()).unwrap();
    let remotes = origin.folders().unwrap();
    for remote in &remotes {
        let figures = remote.figures.as_ref().unwrap();
        if remote.info.selectable {
            assert!(figures.uid_validity.is_some() && figures.messages.is_some() && figures.highest_mod_seq.is_some(), "{remote:?}");
        }
    }
    assert!(remotes.iter().any(|remote| remote.info.folder == folder("Archiv/Entwürfe")));
    let mut keeper = Keeper::default();
    let mut dice = Dice(11);
    for round in 0..12 {
        if round == 6 {
            origin.finish().unwrap();
            let trace = std::fs::read_to_string(&path).unwrap();
            let sent: Vec<&str> = trace.lines().filter(|line| line.contains("C: ")).collect();
            assert_eq!(sent.iter().filter(|line| line.contains("ENABLE QRESYNC")).count(), 1, "{sent:#?}");
            assert!(sent.iter().any(|line| line.contains("(QRESYNC (")) && trace.contains("VANISHED (EARLIER)"), "{sent:#?}");
            // Changes never took a listing of all.
            assert_eq!(sent.iter().filter(|line| line.ends_with("RETURN (ALL) ALL")).count(), 1, "{sent:#?}");
            origin = connect(&tool, &user.imaps());
        }
        let before = user.messages("INBOX");
        let mut client = user.client();
        client.select("INBOX").unwrap();
        for _ in 0..dice.below(4) {
            let uid = before[dice.below(before.len())].uid.to_string();
            client.uid_store(&uid, ["+FLAGS (\\Seen)", "-FLAGS (\\Seen)", "+FLAGS ($Work)"][dice.below(3)]).unwrap();
        }
        if round % 3 == 1 {
            let uid = before[dice.below(before.len())].uid.to_string();
            client.uid_store(&uid, "+FLAGS (\\Deleted)").unwrap();
            client.uid_expunge(&uid).unwrap();
        }
        client.logout().unwrap();
        if round % 4 == 2 {
            user.append("INBOX", format!("Subject: new {round}\r\n\r\nx\r\n").as_bytes(), &["\\Flagged"]);
        }
        let first = keeper.since.is_none();
        let (visit, _) = keeper.visit(&mut origin, &Folder::inbox());
        let now: BTreeMap<u32, Vec<String>> = user
            .messages("INBOX")
            .into_iter()
            .map(|message| {
                let mut flags: Vec<String> = message.flags.iter().map(|flag| flag.to_ascii_lowercase()).collect();
                flags.sort();
                (message.uid, flags)
            })
            .collect();
        assert_eq!(visit.there.iter().collect::<Vec<_>>(), now.keys().copied().collect::<Vec<_>>(), "round {round}");
        assert_eq!(keeper.flags, now, "round {round}");
        assert!(first || visit.flags_told, "round {round}");
        let figures = origin.figures(&[Folder::inbox()]).unwrap();
        assert_eq!(figures, [Ok(visit.figures)], "round {round}");
    }
    origin.finish().unwrap();
}
