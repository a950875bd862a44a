//! Sessions of about 20 KB cut by a FIN, a reset or silence, either way, the first of IMAP and of POP3 at each octet: the run in the rain never says 0
//! while mail is missing, and the next one in good weather has everything, once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::scene::{Change, EVERYTHING, Kind, Scene, all_of};
use crate::crash::bench::{full, say};
use crate::support::proxy::{Cut, Direction, Proxy, Weather};
use crate::support::store::Layout;

/// How many positions of each session and direction a run without `MAILHAUL_TEST_FULL=1` tries.
const SAMPLE: u64 = 12;
/// And a run with it, of the sessions that are not cut at each octet.
const DENSE: u64 = 150;
/// The sessions that are, then.
const WHOLE: [usize; 2] = [0, 6];

#[derive(Debug, Clone, Copy)]
struct Session {
    kind: Kind,
    layout: Layout,
    count: u64,
    octets: usize,
    changes: &'static [Change],
    options: &'static [&'static str],
}

const SESSIONS: &[Session] = &[
    Session { kind: Kind::Plain, layout: Layout::Maildir, count: 20, octets: 500, changes: &[], options: &[] },
    Session { kind: Kind::Modern, layout: Layout::Maildir, count: 20, octets: 500, changes: &[], options: &[] },
    Session { kind: Kind::Modern, layout: Layout::Maildir, count: 20, octets: 500, changes: EVERYTHING, options: &[] },
    // A listing cut short must never look like mail that went.
    Session { kind: Kind::Plain, layout: Layout::Maildir, count: 60, octets: 100, changes: &[Change::Flags], options: &["--mirror"] },
    Session { kind: Kind::Condstore, layout: Layout::Maildir, count: 30, octets: 100, changes: EVERYTHING, options: &["--mirror"] },
    Session { kind: Kind::Plain, layout: Layout::Mbox, count: 20, octets: 500, changes: &[], options: &[] },
    Session { kind: Kind::Pop3, layout: Layout::Maildir, count: 20, octets: 800, changes: &[], options: &[] },
    Session { kind: Kind::Pop3Bare, layout: Layout::Maildir, count: 20, octets: 600, changes: &[Change::Arrivals], options: &[] },
];

impl Session {
    /// The moment before the run in the rain, with the proxy it goes through.
    fn scene(&self) -> (Scene, Proxy) {
        let mut scene = Scene::new(self.kind, self.layout, self.count, self.octets);
        scene.choose(self.options);
        let proxy = Proxy::start(scene.port(), Weather::default());
        scene.serve_at(proxy.port());
        if !self.changes.is_empty() {
            scene.run().expect_code(0);
            for change in self.changes {
                scene.change(*change);
            }
        }
        (scene, proxy)
    }

    /// Octets of the whole session, by direction.
    fn length(&self) -> [u64; 2] {
        let (scene, proxy) = self.scene();
        let before = [Direction::ToServer, Direction::ToClient].map(|way| proxy.octets(way));
        scene.run().expect_code(0);
        scene.wait_until_quiet();
        let after = [Direction::ToServer, Direction::ToClient].map(|way| proxy.octets(way));
        scene.expect_right(&format!("{self:?} in good weather"));
        [after[0] - before[0], after[1] - before[1]]
    }

    /// Cuts the first connection (or all) behind so many octets; whether the run said 0 all the same.
    fn survives(&self, direction: Direction, at: u64, cut: Cut, all: bool) -> bool {
        let case = format!("{self:?} cut by {cut:?} {direction:?} at {at}, all: {all}");
        let (scene, proxy) = self.scene();
        let cuts = if all { 0 } else { proxy.connections() + 1 };
        proxy.set(Weather { cut: Some((direction, at, cut)), cuts, ..Weather::default() });
        let rainy = scene.run();
        assert!([0, 3, 5, 6].contains(&rainy.code), "{case}: {rainy}");
        if rainy.code == 0 {
            scene.expect_kept(&case);
        } else {
            assert!(!rainy.stderr.is_empty(), "{case}: {rainy}");
        }
        proxy.set(Weather::default());
        let clean = scene.run();
        assert_eq!(clean.code, 0, "{case}: {clean}");
        scene.expect_right(&case);
        rainy.code == 0
    }
}

#[test]
fn a_session_cut_at_any_octet_loses_and_doubles_nothing() {
    let mut jobs = Vec::new();
    let lengths: Vec<[u64; 2]> = SESSIONS.iter().map(Session::length).collect();
    for (index, (session, length)) in SESSIONS.iter().zip(&lengths).enumerate() {
        say(&format!("{:?} {:?} {:?}: {length:?} octets to the server and to us", session.kind, session.layout, session.changes));
        for (way, direction) in [Direction::ToServer, Direction::ToClient].into_iter().enumerate() {
            let total = length[way];
            let stride = match full() {
                true if WHOLE.contains(&index) => 1,
                true => (total / DENSE).max(1),
                false => (total / SAMPLE).max(1),
            };
            // Another phase in every session and direction, and the very ends.
            let first = 1 + (index as u64 * 7 + way as u64 * 3) % stride;
            let mut positions: Vec<u64> = (first..=total).step_by(usize::try_from(stride).unwrap()).collect();
            positions.extend([total.saturating_sub(2), total]);
            for at in positions {
                let cut = if (at + index as u64).is_multiple_of(2) { Cut::Fin } else { Cut::Reset };
                jobs.push((session, direction, at, cut, at % 5 == 0));
            }
        }
    }
    let finished = AtomicUsize::new(0);
    all_of(&jobs, |&(session, direction, at, cut, all)| {
        if session.survives(direction, at, cut, all) {
            finished.fetch_add(1, Ordering::Relaxed);
        }
    });
    let finished = finished.into_inner();
    say(&format!("cut positions survived, backup: {0}/{0} ({finished} runs got everything in spite of the cut)", jobs.len()));
    // Most lose one connection and make another.
    assert!(finished * 2 > jobs.len(), "only {finished} of {} runs went on by themselves", jobs.len());
}

#[test]
fn a_session_that_falls_silent_at_any_octet_ends_by_itself() {
    let mut jobs = Vec::new();
    for session in [&SESSIONS[0], &SESSIONS[2], &SESSIONS[6]] {
        for (way, total) in session.length().into_iter().enumerate() {
            let direction = [Direction::ToServer, Direction::ToClient][way];
            let stride = usize::try_from((total / if full() { 60 } else { 3 }).max(1)).unwrap();
            jobs.extend((1 + total / 7..total).step_by(stride).map(|at| (session, direction, at)));
        }
    }
    all_of(&jobs, |&(session, direction, at)| {
        let case = format!("{session:?} silent {direction:?} from {at} on");
        let (scene, proxy) = session.scene();
        scene.serve_with(proxy.port(), "&timeout=500ms");
        proxy.set(Weather { cut: Some((direction, at, Cut::Freeze)), cuts: proxy.connections() + 1, ..Weather::default() });
        let silent = scene.run();
        assert!([0, 3, 5].contains(&silent.code), "{case}: {silent}");
        if silent.code == 0 {
            scene.expect_kept(&case);
        }
        scene.serve_with(proxy.port(), "");
        proxy.set(Weather::default());
        scene.run().expect_code(0);
        scene.expect_right(&case);
    });
    say(&format!("silences survived, backup: {0}/{0}", jobs.len()));
}
