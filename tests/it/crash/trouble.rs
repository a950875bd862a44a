//! Servers that hang up on a message, refuse, renumber or move mail, maildrops without good unique-ids, and two runs at
//! once.

use rustix::process::Signal;

use super::bench::{Bench, Mail, Offers};
use crate::support::imapd::{self, AppendFault, Mailbox};
use crate::support::mail::{self, assert_same_mail};
use crate::support::pop3d;
use crate::support::tool::Running;

/// Starts a run and waits until the destination has read so many APPENDs.
fn start_until_appends(bench: &Bench, appends: u64) -> Running {
    let running = bench.tool.spawn(&bench.arguments(), None);
    crate::support::wait_for("an APPEND", || bench.to.appends() >= appends);
    running
}

/// A run that dies while the answer to an APPEND is awaited, the messages being stored.
fn die_at_append(bench: &Bench, appends: u64) {
    let running = start_until_appends(bench, appends);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code, -9);
}

/// All of `bodies` but those that hold `needle`.
fn without(bodies: &[Vec<u8>], needle: &[u8]) -> Vec<Vec<u8>> {
    let holds = |body: &&Vec<u8>| body.windows(needle.len()).any(|window| window == needle);
    bodies.iter().filter(|body| !holds(body)).cloned().collect()
}

#[test]
fn a_message_moved_to_another_folder_before_it_is_looked_for_is_not_sent_again() {
    for offers in Offers::ALL {
        for mail in [Mail::WithId, Mail::ThreeIdentical] {
            let case = format!("{offers:?} {mail:?}");
            let bench = Bench::pop3(&mail.bodies(), pop3d::Behaviour::default(), offers.behaviour().append_fault(2, AppendFault::Stall));
            // There before the first run, with mail of its own, one of which looks like ours.
            bench.to.fill("Filtered", &[mail::plain(50, 100), mail::plain(7, 200)]);
            die_at_append(&bench, 2);
            let mut moved = Vec::new();
            bench.to.change("INBOX", |mailbox| moved.extend(mailbox.messages.pop()));
            bench.to.fill("Filtered", &[moved[0].body.clone()]);
            let output = bench.run();
            assert_eq!(output.code, 0, "{case}: {output}");
            let mut expected = bench.bodies.clone();
            expected.extend([mail::plain(50, 100), mail::plain(7, 200)]);
            bench.expect_there(&case, &expected);
        }
    }
}

#[test]
fn a_twin_that_was_moved_is_no_proof_for_one_that_never_arrived() {
    for offers in Offers::ALL.into_iter().filter(|offers| !offers.multiappend) {
        let behaviour = offers.behaviour().append_fault(6, AppendFault::Stall);
        let bench = Bench::pop3(&Mail::ThreeIdentical.bodies(), pop3d::Behaviour::default(), behaviour);
        bench.to.fill("Filtered", &[]);
        die_at_append(&bench, 6);
        let mut moved = Vec::new();
        bench.to.change("INBOX", |mailbox| {
            // The third twin was never stored; the first one was, and somebody moved it.
            mailbox.messages.pop();
            moved.push(mailbox.messages.remove(1));
        });
        bench.to.fill("Filtered", &[moved[0].body.clone()]);
        let output = bench.run();
        assert_eq!(output.code, 0, "{offers:?}: {output}");
        bench.expect_all_once(&format!("{offers:?}"));
    }
}

#[test]
fn two_folders_with_the_same_message_do_not_find_it_in_each_other() {
    for offers in Offers::ALL {
        for fault in [AppendFault::HangUpBeforeStoring, AppendFault::HangUpAfterStoring] {
            for place in 1..=6 {
                let case = format!("{offers:?} {fault:?} at APPEND {place}");
                let behaviour = offers.behaviour().append_fault(place, fault.clone()).append_fault(place + 1, fault.clone());
                let bench = Bench::imap(&[mail::plain(7, 200), mail::plain(7, 200)], imapd::Behaviour::default(), behaviour);
                bench.imapd().fill("Old", &[mail::plain(7, 200), mail::plain(1, 200), mail::plain(7, 200)]);
                bench.to.fill("Old", &[]);
                let output = bench.run();
                if output.code == 3 {
                    // The second time one message was alone on its way: it is put aside until the next run.
                    assert_eq!(fault, AppendFault::HangUpBeforeStoring, "{case}: {output}");
                    assert_eq!(output.json()["quarantined"], 1, "{case}: {output}");
                    assert_eq!(bench.run().expect_code(0).json()["copied"], 1, "{case}");
                } else {
                    assert_eq!(output.code, 0, "{case}: {output}");
                }
                for folder in ["INBOX", "Old"] {
                    assert_same_mail(&bench.imapd().bodies(folder), &bench.to.bodies(folder));
                }
            }
        }
    }
}

#[test]
fn a_folder_renumbered_between_a_killed_run_and_the_next_is_matched_by_content() {
    for offers in Offers::ALL {
        for mail in Mail::ALL {
            for appends in if offers.multiappend { 1..=2 } else { 1..=5 } {
                for stored in [true, false] {
                    let case = format!("{offers:?} {mail:?}, died at APPEND {appends}, stored: {stored}");
                    let behaviour = offers.behaviour().append_fault(appends, AppendFault::Stall);
                    let bench = Bench::pop3(&mail.bodies(), pop3d::Behaviour::default(), behaviour);
                    die_at_append(&bench, appends);
                    bench.to.change("INBOX", |mailbox| {
                        if !stored {
                            mailbox.messages.pop();
                        }
                        mailbox.renumber();
                    });
                    let output = bench.run();
                    assert_eq!(output.code, 0, "{case}: {output}");
                    assert_eq!(output.json()["balanced"], true, "{case}: {output}");
                    bench.expect_all_once(&case);
                }
            }
        }
    }
}

#[test]
fn a_new_twin_of_a_copied_message_is_copied_after_the_folder_was_renumbered() {
    for offers in Offers::ALL {
        let mut bench = Bench::pop3(&Mail::ThreeIdentical.bodies(), pop3d::Behaviour::default(), offers.behaviour());
        bench.run().expect_code(0);
        bench.to.change("INBOX", Mailbox::renumber);
        let twin = pop3d::Entry { uidl: "new".to_owned(), body: mail::plain(7, 200) };
        bench.bodies.push(twin.body.clone());
        bench.pop3d().maildrop(|maildrop| maildrop.push(twin));
        let summary = bench.run().expect_code(0).json();
        assert_eq!((&summary["copied"], &summary["balanced"]), (&1.into(), &true.into()), "{summary}");
        bench.expect_all_once(&format!("{offers:?}"));
    }
}

#[test]
fn a_folder_renumbered_during_a_run_stops_it_and_the_next_run_is_right() {
    for offers in Offers::ALL.into_iter().filter(|offers| offers.uidplus) {
        for mail in Mail::ALL {
            let case = format!("{offers:?} {mail:?}");
            let bench = Bench::pop3(&mail.bodies(), pop3d::Behaviour::default(), offers.behaviour().append_fault(2, AppendFault::Renumber));
            bench.run().expect_code(10).expect_stderr("UIDVALIDITY");
            let output = bench.run();
            assert_eq!(output.code, 0, "{case}: {output}");
            bench.expect_all_once(&case);
        }
    }
}

#[test]
fn a_message_at_which_the_destination_hangs_up_is_put_aside_and_the_others_arrive() {
    for uidl in [true, false] {
        for offers in Offers::ALL {
            for bad in [0, 4] {
                let case = format!("{offers:?}, message {bad}, UIDL {uidl}");
                let needle = format!("Subject: message {bad}\r\n").into_bytes();
                let bodies = Mail::WithId.bodies();
                let behaviour = imapd::Behaviour { hang_up_on: vec![needle.clone()], ..offers.behaviour() };
                let source = if uidl { pop3d::Behaviour::default() } else { pop3d::Behaviour::default().without("UIDL") };
                let bench = Bench::pop3(&bodies, source, behaviour);
                let output = bench.run();
                assert_eq!(output.code, 3, "{case}: {output}");
                let summary = output.json();
                assert_eq!((&summary["quarantined"], &summary["copied"]), (&1.into(), &7.into()), "{case}: {output}");
                assert_eq!((&summary["balanced"], &summary["problems"][0]["uid"]), (&true.into(), &(bad + 1).into()), "{case}: {output}");
                assert_same_mail(&without(&bodies, &needle), &bench.there());
                // The next run tries it again.
                bench.to.behave(|behaviour| behaviour.hang_up_on.clear());
                bench.run().expect_code(0);
                bench.expect_all_once(&case);
            }
        }
    }
}

#[test]
fn a_message_at_which_the_source_hangs_up_is_put_aside_and_the_others_arrive() {
    for uidl in [true, false] {
        for bad in [1, 5, 8] {
            let case = format!("message {bad}, UIDL {uidl}");
            let bodies = Mail::ThreeIdentical.bodies();
            let mut source = if uidl { pop3d::Behaviour::default() } else { pop3d::Behaviour::default().without("UIDL") };
            source.hang_up_at = vec![bad; 20];
            let bench = Bench::pop3(&bodies, source, Offers::ALL[0].behaviour());
            let output = bench.run();
            assert_eq!(output.code, 3, "{case}: {output}");
            let summary = output.json();
            assert_eq!((&summary["quarantined"], &summary["copied"]), (&1.into(), &7.into()), "{case}: {output}");
            assert_eq!((&summary["balanced"], &summary["problems"][0]["uid"]), (&true.into(), &bad.into()), "{case}: {output}");
            bench.pop3d().behave(|behaviour| behaviour.hang_up_at.clear());
            bench.run().expect_code(0);
            bench.expect_all_once(&case);
        }
    }
}

#[test]
fn a_message_at_which_an_imap_source_hangs_up_is_put_aside_and_the_others_arrive() {
    for bad in [1, 5, 8] {
        let source = imapd::Behaviour { hang_up_at_uid: Some(bad), ..imapd::Behaviour::default() };
        let bench = Bench::imap(&Mail::ThreeIdentical.bodies(), source, Offers::ALL[0].behaviour());
        let output = bench.run();
        assert_eq!(output.code, 3, "{bad}: {output}");
        let summary = output.json();
        assert_eq!((&summary["quarantined"], &summary["copied"]), (&1.into(), &7.into()), "{bad}: {output}");
        assert_eq!((&summary["balanced"], &summary["problems"][0]["uid"]), (&true.into(), &bad.into()), "{bad}: {output}");
        bench.imapd().behave(|behaviour| behaviour.hang_up_at_uid = None);
        bench.run().expect_code(0);
        bench.expect_all_once(&format!("{bad}"));
    }
}

#[test]
fn a_refused_message_in_a_chunk_is_found_by_halving_and_named() {
    for offers in Offers::ALL {
        for bad in [0, 3, 7] {
            let needle = format!("Subject: message {bad}\r\n").into_bytes();
            let behaviour = imapd::Behaviour { refuse: vec![(needle.clone(), "[TOOBIG] no".to_owned())], ..offers.behaviour() };
            let bench = Bench::pop3(&Mail::WithId.bodies(), pop3d::Behaviour::default(), behaviour);
            let output = bench.run();
            assert_eq!(output.code, 3, "{output}");
            let summary = output.json();
            assert_eq!((&summary["refused"], &summary["copied"], &summary["balanced"]), (&1.into(), &7.into(), &true.into()), "{output}");
            assert_eq!(summary["problems"][0]["uid"], bad + 1);
            assert!(summary["problems"][0]["reason"].as_str().unwrap().contains("TOOBIG"), "{output}");
            assert_same_mail(&without(&bench.bodies, &needle), &bench.there());
            bench.to.behave(|behaviour| behaviour.refuse.clear());
            bench.run().expect_code(0);
            bench.expect_all_once(&format!("{offers:?} {bad}"));
        }
    }
}

#[test]
fn a_full_destination_ends_the_run_and_one_with_room_completes_it() {
    for offers in Offers::ALL {
        for mail in Mail::ALL {
            let bench = Bench::pop3(&mail.bodies(), pop3d::Behaviour::default(), offers.behaviour());
            bench.to.behave(|behaviour| {
                for number in 2..100 {
                    behaviour.appends.insert(number, AppendFault::No("[OVERQUOTA] full".to_owned()));
                }
            });
            let output = bench.run();
            assert_eq!(output.code, 11, "{output}");
            assert_eq!(bench.there().len(), 1, "{output}");
            bench.to.behave(|behaviour| behaviour.appends.clear());
            bench.run().expect_code(0);
            bench.expect_all_once(&format!("{offers:?} {mail:?}"));
        }
    }
}

#[test]
fn a_maildrop_without_good_unique_ids_is_copied_once() {
    let default = pop3d::Behaviour::default;
    let sources = [
        ("no UIDL", default().without("UIDL")),
        ("no UIDL, no PIPELINING, no TOP", default().without("UIDL").without("PIPELINING").without("TOP")),
        ("no CAPA", pop3d::Behaviour { capabilities: Vec::new(), no_uidl: true, ..default() }),
        ("one UIDL for all", default()),
    ];
    for (name, source) in sources {
        for offers in Offers::ALL {
            for mail in Mail::ALL {
                let case = format!("{name}, {offers:?}, {mail:?}");
                let mut bench = Bench::pop3(&mail.bodies(), source.clone(), offers.behaviour());
                if name == "one UIDL for all" {
                    bench.pop3d().maildrop(|maildrop| maildrop.iter_mut().for_each(|entry| entry.uidl = "same".to_owned()));
                }
                let summary = bench.run().expect_code(0).json();
                assert_eq!((&summary["copied"], &summary["balanced"]), (&8.into(), &true.into()), "{case}: {summary}");
                bench.expect_all_once(&case);
                // One more that is like one that is there.
                let twin = pop3d::Entry { uidl: "same".to_owned(), body: bench.bodies[0].clone() };
                bench.bodies.push(twin.body.clone());
                bench.pop3d().maildrop(|maildrop| maildrop.push(twin));
                let summary = bench.run().expect_code(0).json();
                assert_eq!((&summary["copied"], &summary["balanced"]), (&1.into(), &true.into()), "{case}: {summary}");
                bench.expect_all_once(&case);
            }
        }
    }
}

#[test]
fn without_unique_ids_a_killed_run_is_made_good_too() {
    for offers in Offers::ALL {
        for step in [30, 36, 42, 48, 54] {
            let mut bench = Bench::pop3(&Mail::ThreeIdentical.bodies(), pop3d::Behaviour::default().without("UIDL"), offers.behaviour());
            bench.run_killed_at(step);
            let output = bench.run();
            assert_eq!(output.code, 0, "{offers:?} {step}: {output}");
            assert_eq!(output.json()["balanced"], true, "{offers:?} {step}: {output}");
            bench.expect_all_once(&format!("{offers:?} {step}"));
        }
    }
}

#[test]
fn a_message_that_left_the_source_after_a_killed_run_does_not_upset_the_balance() {
    for offers in Offers::ALL {
        let bench = Bench::pop3(
            &Mail::ThreeIdentical.bodies(),
            pop3d::Behaviour::default(),
            offers.behaviour().append_fault(2, AppendFault::Stall),
        );
        die_at_append(&bench, 2);
        let there = bench.there();
        bench.pop3d().maildrop(|maildrop| {
            maildrop.remove(1);
        });
        let output = bench.run();
        assert_eq!(output.code, 0, "{offers:?}: {output}");
        assert_eq!(output.json()["balanced"], true, "{offers:?}: {output}");
        assert!(there.len() >= 2, "message 2 was stored before the death");
        bench.expect_all_once(&format!("{offers:?}"));
    }
}

#[test]
fn a_second_run_into_the_same_destination_is_turned_away() {
    let bench =
        Bench::pop3(&Mail::WithId.bodies(), pop3d::Behaviour::default(), Offers::ALL[0].behaviour().append_fault(1, AppendFault::Stall));
    let running = start_until_appends(&bench, 1);
    bench.run().expect_code(9);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code, -9);
    bench.run().expect_code(0);
    bench.expect_all_once("after the lock");
}

#[test]
fn a_listing_that_leaves_messages_out_is_not_taken_for_the_whole_folder() {
    let hidden = imapd::Behaviour { unlisted: vec![3, 5], ..imapd::Behaviour::default() };
    let bench = Bench::imap(&Mail::WithId.bodies(), hidden, imapd::Behaviour::default());
    let summary = bench.run().expect_code(0).json();
    assert_eq!((&summary["listed"], &summary["copied"]), (&8.into(), &8.into()), "{summary}");
    bench.expect_all_once("unlisted");
    let dir = bench.tool.path("out");
    let summary = bench.tool.run(&["fetch", "from", "--to", dir.to_str().unwrap(), "--json"]).expect_code(0).json();
    assert_eq!((&summary["listed"], &summary["copied"]), (&8.into(), &8.into()), "{summary}");
}

#[test]
fn folders_whose_names_read_alike_or_cannot_be_read_are_copied_all_the_same() {
    let mut bench = Bench::imap(&Mail::WithId.bodies(), imapd::Behaviour::default(), imapd::Behaviour::default());
    for (number, name) in (100..).zip(["&AC8-", "&-AC8-", "Work//Old", "Work/Old"]) {
        let body = mail::plain(number, 100);
        bench.imapd().fill(name, std::slice::from_ref(&body));
        bench.bodies.push(body);
    }
    let summary = bench.run().expect_code(0).json();
    assert_eq!((&summary["listed"], &summary["copied"]), (&12.into(), &12.into()), "{summary}");
    assert_eq!(bench.to.folders().len(), 5, "{:?}", bench.to.folders());
    bench.expect_all_once("odd names");
}

#[test]
fn a_source_folder_renumbered_between_two_runs_is_not_copied_again() {
    for offers in Offers::ALL {
        for mail in Mail::ALL {
            let mut bench = Bench::imap(&mail.bodies(), imapd::Behaviour::default(), offers.behaviour());
            bench.run().expect_code(0);
            bench.imapd().change("INBOX", Mailbox::renumber);
            // A twin that came since is a message of its own.
            bench.imapd().fill("INBOX", &bench.bodies[..1]);
            bench.bodies.push(bench.bodies[0].clone());
            let summary = bench.run().expect_code(0).json();
            assert_eq!((&summary["copied"], &summary["balanced"]), (&1.into(), &true.into()), "{offers:?} {mail:?}: {summary}");
            bench.expect_all_once(&format!("{offers:?} {mail:?}"));
        }
    }
}

#[test]
fn a_source_folder_renumbered_after_a_killed_run_is_neither_lost_nor_doubled() {
    for offers in Offers::ALL {
        for appends in 1..=2 {
            let case = format!("{offers:?}, died at APPEND {appends}");
            let behaviour = offers.behaviour().append_fault(appends, AppendFault::Stall);
            let bench = Bench::imap(&Mail::ThreeIdentical.bodies(), imapd::Behaviour::default(), behaviour);
            die_at_append(&bench, appends);
            bench.imapd().change("INBOX", Mailbox::renumber);
            let output = bench.run();
            assert_eq!(output.code, 0, "{case}: {output}");
            assert_eq!(output.json()["balanced"], true, "{case}: {output}");
            bench.expect_all_once(&case);
        }
    }
}

#[test]
fn unique_ids_that_change_go_or_come_do_not_double_a_maildrop() {
    for mail in Mail::ALL {
        let bench = Bench::pop3(&mail.bodies(), pop3d::Behaviour::default(), imapd::Behaviour::default());
        bench.run().expect_code(0);
        bench.pop3d().maildrop(|maildrop| maildrop.iter_mut().for_each(|entry| entry.uidl.push_str("-moved")));
        bench.expect_all_once(&format!("other ones, {mail:?}"));
        bench.pop3d().behave(|behaviour| behaviour.no_uidl = true);
        bench.expect_all_once(&format!("gone, {mail:?}"));
        bench.pop3d().behave(|behaviour| behaviour.no_uidl = false);
        bench.expect_all_once(&format!("back, {mail:?}"));
    }
}

#[test]
fn with_one_unique_id_for_all_a_new_message_is_copied_after_an_old_one_was_deleted() {
    let mut bench = Bench::pop3(&Mail::WithId.bodies(), pop3d::Behaviour::default(), imapd::Behaviour::default());
    bench.pop3d().maildrop(|maildrop| maildrop.iter_mut().for_each(|entry| entry.uidl = "same".to_owned()));
    bench.run().expect_code(0);
    let new = mail::plain(77, 200);
    bench.bodies.push(new.clone());
    bench.pop3d().maildrop(|maildrop| {
        maildrop.remove(0);
        maildrop.push(pop3d::Entry { uidl: "same".to_owned(), body: new });
    });
    let summary = bench.run().expect_code(0).json();
    assert_eq!((&summary["copied"], &summary["balanced"]), (&1.into(), &true.into()), "{summary}");
    bench.expect_all_once("one unique-id for all");
    let listed = bench.tool.run(&["list", "from:pop3", "--fields", "uidl", "-o", "tsv"]).expect_code(0).text();
    assert_eq!(listed.matches("same").count(), 8, "{listed}");
}

#[test]
fn a_folder_made_between_two_runs_does_not_lead_mail_elsewhere_once_more() {
    let bench = Bench::imap(&Mail::WithId.bodies(), imapd::Behaviour::default(), imapd::Behaviour::default());
    let run = || bench.tool.run(&["migrate", "from", "to/Old", "--json"]).expect_code(0).json();
    assert_eq!(run()["copied"], 8);
    let new = vec![mail::plain(99, 100)];
    bench.imapd().fill("Work", &new);
    let summary = run();
    assert_eq!((&summary["copied"], &summary["already_there"]), (&1.into(), &8.into()), "{summary}");
    assert_same_mail(&bench.bodies, &bench.to.bodies("Old"));
    assert_same_mail(&new, &bench.to.bodies("Old/Work"));
    assert_eq!(run()["copied"], 0);
}
