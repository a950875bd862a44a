//! Answers to APPEND that get lost, come late, or say that the server stumbled.

use super::bench::{Bench, Mail, Offers, full, in_parallel, say};
use crate::support::imapd::AppendFault;
use crate::support::pop3d;

/// What goes wrong, and whether time has to fly for the client to give up.
fn faults() -> Vec<(AppendFault, bool)> {
    vec![
        (AppendFault::SwallowReply, true),
        (AppendFault::Stall, true),
        (AppendFault::AnswerAfterMinutes(12), false),
        (AppendFault::HangUpAfterStoring, false),
        (AppendFault::HangUpBeforeStoring, false),
        (AppendFault::StoreLate(Some(300_000)), false),
        (AppendFault::StoreLate(Some(10_000)), false),
        (AppendFault::No("[SERVERBUG] oops".to_owned()), false),
        (AppendFault::No("[UNAVAILABLE] later".to_owned()), false),
        (AppendFault::NoAfterStoring("[SERVERBUG] oops".to_owned()), false),
        (AppendFault::NoAfterStoring("[INUSE] oops".to_owned()), false),
    ]
}

#[test]
fn a_lost_or_late_answer_neither_loses_nor_doubles_a_message() {
    let mut cases = Vec::new();
    for (index, (fault, flies)) in faults().into_iter().enumerate() {
        for offers in Offers::ALL {
            for mail in Mail::ALL {
                // The first goes alone; then the chunk (or the second); and one in the middle, where there is no chunk.
                let places: &[u64] = if offers.multiappend { &[1, 2] } else { &[1, 2, 6] };
                for (at, place) in places.iter().enumerate() {
                    let sampled = (index + at + usize::from(offers.uidplus)) % 2 == 0 || mail == Mail::ThreeIdentical;
                    if full() || sampled {
                        cases.push((fault.clone(), flies, offers, mail, *place));
                    }
                }
            }
        }
    }
    in_parallel(&cases, |(fault, flies, offers, mail, place)| {
        let case = format!("{fault:?} at APPEND {place}, {offers:?}, {mail:?}");
        let behaviour = offers.behaviour().append_fault(*place, fault.clone());
        let bench = Bench::pop3(&mail.bodies(), pop3d::Behaviour::default(), behaviour);
        // Time flies once the server has done all it is going to do on that connection.
        let done_at = match (fault, *place, offers.multiappend) {
            (AppendFault::Stall, place, _) | (_, place @ 1, _) => place,
            (_, _, true) => 2,
            (_, _, false) => 8,
        };
        let output = if *flies { bench.run_while_time_flies(done_at) } else { bench.run() };
        assert_eq!(output.code, 0, "{case}: {output}");
        assert_eq!(output.json()["balanced"], true, "{case}: {output}");
        if matches!(fault, AppendFault::AnswerAfterMinutes(_)) {
            // It may still be moving the clock for the connection given up, which the next login would feel.
            bench.to.wait_until_quiet();
        }
        bench.expect_all_once(&case);
    });
    say(&format!("lost, late and stumbling answers survived: {0}/{0}", cases.len()));
}

#[test]
fn answers_lost_one_after_the_other_are_each_found_out_about() {
    for offers in Offers::ALL {
        let mut behaviour = offers.behaviour();
        for (place, fault) in [
            (1, AppendFault::HangUpAfterStoring),
            (2, AppendFault::HangUpBeforeStoring),
            (4, AppendFault::StoreLate(Some(200_000))),
            (6, AppendFault::HangUpAfterStoring),
        ] {
            behaviour = behaviour.append_fault(place, fault);
        }
        let bench = Bench::pop3(&Mail::ThreeIdentical.bodies(), pop3d::Behaviour::default(), behaviour);
        let output = bench.run();
        assert_eq!(output.code, 0, "{offers:?}: {output}");
        assert_eq!(output.json()["balanced"], true, "{offers:?}: {output}");
        bench.expect_all_once(&format!("{offers:?}"));
    }
}

#[test]
fn a_server_that_always_stumbles_ends_the_run_with_the_message_put_aside() {
    for offers in Offers::ALL {
        let mut behaviour = offers.behaviour();
        behaviour.refuse = vec![(b"Subject: message 3\r\n".to_vec(), "[UNAVAILABLE] always".to_owned())];
        let bodies = Mail::WithId.bodies();
        let bench = Bench::pop3(&bodies, pop3d::Behaviour::default(), behaviour);
        let output = bench.run();
        assert_eq!(output.code, 3, "{offers:?}: {output}");
        let summary = output.json();
        assert_eq!((&summary["quarantined"], &summary["copied"], &summary["balanced"]), (&1.into(), &7.into(), &true.into()), "{output}");
        bench.to.behave(|behaviour| behaviour.refuse.clear());
        bench.run().expect_code(0);
        bench.expect_all_once(&format!("{offers:?}"));
    }
}
