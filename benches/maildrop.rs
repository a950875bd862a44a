//! Downloads over POP3 into Maildir: the program, mpop, getmail, and fetchmail into one file.

use crate::Asked;
use crate::backup::{files, ours, whole};
use crate::floor::Mode;
use crate::peers;
use crate::race::{Job, Kind, Racer, Verdict, head, race};
use crate::world::World;

/// S and L.
pub fn bench(world: &World, asked: &Asked) -> Verdict {
    head("POP3 into Maildir (floor: RETR to nowhere; the same files written with one sync)");
    let mut verdict = Verdict::default();
    for (name, count, each) in asked.sizes() {
        let mailbox = &world.mailbox(count, each);
        for delayed in [false, true] {
            let port = world.source().pop3_port(delayed);
            let place = format!("pop3s://{}@localhost:{port}", mailbox.user.name());
            let job = Job { name: format!("POP3 {name}"), delayed, count };
            let mut racers = vec![
                Racer::new(Kind::Ours, "mailhaul", || ours(world, &place, mailbox, &world.fresh())),
                Racer::new(Kind::Floor, "floor: RETR", || world.floor(Mode::Retr, mailbox, delayed, |_| ())),
                Racer::new(Kind::Floor, "floor: write", || world.floor(Mode::Write, mailbox, delayed, |_| ())),
            ];
            let most = match (each, delayed) {
                (None, false) => 0.20,
                (None, true) => 0.12,
                (Some(_), _) => 0.85,
            };
            if peers::has("mpop") {
                let mpop = Racer::new(Kind::Peer, "mpop", || {
                    let directory = world.fresh();
                    let cost = world.time(&directory, &mut peers::mpop(world, &mailbox.user, port, &directory))?;
                    whole(files(&directory.join("mail")), mailbox, &directory).map(|()| cost)
                });
                racers.push(mpop.at_most(most));
            }
            // These wait for every message: at 40 ms that is a quarter of an hour and more. One run is enough to tell.
            let mut once = None;
            if peers::has("getmail") && !delayed {
                racers.push(Racer::new(Kind::Peer, "getmail (one run)", move || {
                    if let Some(cost) = once {
                        return Ok(cost);
                    }
                    let directory = world.fresh();
                    let cost = world.time(&directory, &mut peers::getmail(world, &mailbox.user, port, &directory))?;
                    once = Some(cost);
                    whole(files(&directory.join("mail")), mailbox, &directory).map(|()| cost)
                }));
            }
            if peers::has("fetchmail") && !delayed {
                racers.push(Racer::new(Kind::Peer, "fetchmail (one run)", move || {
                    if let Some(cost) = once {
                        return Ok(cost);
                    }
                    let directory = world.fresh();
                    let cost = world.time(&directory, &mut peers::fetchmail(world, &mailbox.user, port, &directory))?;
                    once = Some(cost);
                    Ok(cost)
                }));
            }
            verdict.add(race(&job, asked, racers));
        }
    }
    verdict
}
