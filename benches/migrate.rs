//! Migrations into an IMAP account, beside mbsync where the source is IMAP, and what a program costs that waits for each message.

use crate::floor::Mode;
use crate::peers;
use crate::race::{Job, Kind, Racer, Verdict, head, race};
use crate::support::dovecot::User;
use crate::timing::Cost;
use crate::world::{Mailbox, S, Server, World};
use crate::{Asked, ROUND_TRIP};

/// Round trips that imapsync costs for each message, as measured elsewhere: SELECT, FETCH and APPEND one after the other, in the mean.
const TRIPS_OF_IMAPSYNC: f64 = 3.3;

/// A user who has nothing yet.
fn nobody(world: &World, to: &Server) -> User {
    let name = world.fresh();
    to.dovecot.user(name.file_name().unwrap().to_str().unwrap())
}

/// Whether all messages are there, by number and octets.
fn check(user: &User, mailbox: &Mailbox, octets: bool) -> Result<(), String> {
    let mut client = user.client();
    let found = client.examine("INBOX").unwrap().exists as usize;
    if found != mailbox.count {
        return Err(format!("{} holds {found} messages", user.name()));
    }
    if octets {
        let sizes = client.fetch("1:*", "RFC822.SIZE").unwrap();
        let sum: u64 = sizes.iter().map(|fetch| u64::from(fetch.size.unwrap())).sum();
        if sum != mailbox.octets {
            return Err(format!("{} holds {sum} octets", user.name()));
        }
    }
    client.logout().unwrap();
    Ok(())
}

fn floor(world: &World, mode: Mode, mailbox: &Mailbox, to: &Server, delayed: bool, chunk: usize) -> Result<Cost, String> {
    let user = nobody(world, to);
    let cost = world.floor(mode, mailbox, delayed, |plan| {
        plan.to = (to.imap_port(delayed), user.name().to_owned());
        plan.chunk = chunk;
    })?;
    match mode {
        // These go to nowhere.
        Mode::Fetch | Mode::Retr => Ok(cost),
        // These send messages of their own making.
        Mode::Append | Mode::MultiAppend => check(&user, mailbox, false).map(|()| cost),
        _ => check(&user, mailbox, true).map(|()| cost),
    }
}

fn ours(world: &World, from: &str, mailbox: &Mailbox, to: &Server, delayed: bool) -> Result<Cost, String> {
    let (user, directory) = (nobody(world, to), world.fresh());
    let mut command = world.ours(&directory);
    command.args(["migrate", from, &format!("imaps://{}@localhost:{}", user.name(), to.imap_port(delayed))]);
    command.arg("--ca-file").arg(world.ca_file());
    command.arg("--from-password-file").arg(world.password()).arg("--to-password-file").arg(world.password());
    let cost = world.time(&directory, &mut command)?;
    check(&user, mailbox, true).map(|()| cost)
}

fn mbsync(world: &World, mailbox: &Mailbox, to: &Server, delayed: bool) -> Result<Cost, String> {
    let (user, directory) = (nobody(world, to), world.fresh());
    let from = (&mailbox.user, world.source().imap_port(delayed));
    let cost = world.time(&directory, &mut peers::mbsync_migrate(world, from, (&user, to.imap_port(delayed)), &directory))?;
    check(&user, mailbox, false).map(|()| cost)
}

/// S into a server that has everything.
pub fn bench(world: &World, asked: &Asked) -> Verdict {
    head("migrations into IMAP (floor: RETR or FETCH in one thread, MULTIAPPEND in the other; parts: one run each)");
    let mut verdict = Verdict::default();
    let (mailbox, to) = (&world.mailbox(asked.count(S.0), S.1), world.destination());
    let one = Asked { runs: 1, ..asked.clone() };
    for delayed in [false, true] {
        let part = |mode: Mode| Racer::new(Kind::Floor, mode.name(), move || floor(world, mode, mailbox, to, delayed, asked.chunk));
        let job = Job { name: "parts".to_owned(), delayed, count: mailbox.count };
        let parts = [Mode::Fetch, Mode::Retr, Mode::Append, Mode::MultiAppend].map(part).into();
        verdict.add(race(&job, &one, parts));
        for (name, mode, scheme) in [("POP3 to IMAP S", Mode::Pop3Imap, "pop3s"), ("IMAP to IMAP S", Mode::ImapImap, "imaps")] {
            let is_imap = mode == Mode::ImapImap;
            let port = if is_imap { world.source().imap_port(delayed) } else { world.source().pop3_port(delayed) };
            let from = format!("{scheme}://{}@localhost:{port}", mailbox.user.name());
            let job = Job { name: name.to_owned(), delayed, count: mailbox.count };
            let mut racers = vec![
                Racer::new(Kind::Ours, "mailhaul", || ours(world, &from, mailbox, to, delayed)),
                Racer::new(Kind::Floor, "floor", || floor(world, mode, mailbox, to, delayed, asked.chunk)).at_most(1.6),
            ];
            if is_imap && peers::has("mbsync") {
                racers.push(Racer::new(Kind::Peer, "mbsync", || mbsync(world, mailbox, to, delayed)).at_most(0.65).and_cpu());
            }
            verdict.add(race(&job, asked, racers));
        }
    }
    verdict
}

/// A thousand messages over a slow line.
pub fn thousand(world: &World, asked: &Asked) -> Verdict {
    head(
        "1,000 messages, IMAP into IMAP (plain: a destination without MULTIAPPEND and LITERAL+; imapsync: 3.3 round trips a message, computed)",
    );
    let mut verdict = Verdict::default();
    let mailbox = &world.mailbox(1_000, None);
    let from = format!("imaps://{}@localhost:{}", mailbox.user.name(), world.source().imap_port(true));
    for (name, to) in [("1,000", world.destination()), ("1,000 plain", world.plain())] {
        let job = Job { name: name.to_owned(), delayed: true, count: mailbox.count };
        #[allow(clippy::cast_precision_loss)] // for people
        let imapsync = mailbox.count as f64 * TRIPS_OF_IMAPSYNC * ROUND_TRIP.as_secs_f64();
        let mut racers = vec![
            Racer::new(Kind::Ours, "mailhaul", || ours(world, &from, mailbox, to, true)),
            Racer::computed("imapsync (computed)", imapsync).at_most(0.05),
        ];
        if name == "1,000" {
            racers.push(Racer::new(Kind::Floor, "floor", || floor(world, Mode::ImapImap, mailbox, to, true, asked.chunk)));
        }
        if peers::has("mbsync") {
            racers.push(Racer::new(Kind::Peer, "mbsync", || mbsync(world, mailbox, to, true)));
        }
        verdict.add(race(&job, asked, racers));
    }
    verdict
}
