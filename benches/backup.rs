//! Backups over IMAP into Maildir: the program, mbsync as it comes and with its syncs off, and the floor (all octets fetched to
//! nowhere; the same files written with one sync of the file system).

use std::fs;
use std::path::Path;

use crate::Asked;
use crate::floor::Mode;
use crate::peers;
use crate::race::{Job, Kind, Racer, Verdict, head, race};
use crate::timing::Cost;
use crate::world::{Mailbox, World};

/// Messages in a Maildir.
pub fn files(maildir: &Path) -> usize {
    ["cur", "new"].iter().map(|half| fs::read_dir(maildir.join(half)).map_or(0, Iterator::count)).sum()
}

/// An error where not all messages are there.
pub fn whole(there: usize, mailbox: &Mailbox, directory: &Path) -> Result<(), String> {
    if there == mailbox.count { Ok(()) } else { Err(format!("left {there} of {} messages in {}", mailbox.count, directory.display())) }
}

/// Backs a place up into `store` of a directory.
pub fn ours(world: &World, place: &str, mailbox: &Mailbox, directory: &Path) -> Result<Cost, String> {
    let mut command = world.ours(directory);
    command.args(["backup", place]).arg(directory.join("store"));
    command.arg("--ca-file").arg(world.ca_file()).arg("--password-file").arg(world.password());
    let cost = world.time(directory, &mut command)?;
    let accounts = fs::read_dir(directory.join("store")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let there = accounts.filter(|path| path.join("cur").is_dir()).map(|path| files(&path)).sum();
    whole(there, mailbox, directory).map(|()| cost)
}

fn mbsync(world: &World, mailbox: &Mailbox, port: u16, directory: &Path, syncs: bool) -> Result<Cost, String> {
    let cost = world.time(directory, &mut peers::mbsync_backup(world, &mailbox.user, port, directory, syncs))?;
    whole(files(&directory.join("mail/INBOX")), mailbox, directory).map(|()| cost)
}

/// S and L into fresh directories.
pub fn fresh(world: &World, asked: &Asked) -> Verdict {
    head("backup, IMAP into Maildir (floor: fetched to nowhere; the same files written with one sync)");
    let mut verdict = Verdict::default();
    for (name, count, each) in asked.sizes() {
        let mailbox = &world.mailbox(count, each);
        for delayed in [false, true] {
            let port = world.source().imap_port(delayed);
            let place = format!("imaps://{}@localhost:{port}", mailbox.user.name());
            let job = Job { name: format!("backup {name}"), delayed, count };
            let mut racers = vec![
                Racer::new(Kind::Ours, "mailhaul", || ours(world, &place, mailbox, &world.fresh())),
                Racer::new(Kind::Floor, "floor: fetch", || world.floor(Mode::Fetch, mailbox, delayed, |_| ())),
                Racer::new(Kind::Floor, "floor: write", || world.floor(Mode::Write, mailbox, delayed, |_| ())),
            ];
            if peers::has("mbsync") {
                let (most, most_unsynced) = if each.is_none() { (0.2, Some(1.0)) } else { (0.9, None) };
                let synced = Racer::new(Kind::Peer, "mbsync", || mbsync(world, mailbox, port, &world.fresh(), true));
                let unsynced = Racer::new(Kind::Peer, "mbsync, FSync no", || mbsync(world, mailbox, port, &world.fresh(), false));
                racers.push(synced.at_most(most).and_cpu());
                racers.push(match most_unsynced {
                    Some(most) => unsynced.at_most(most),
                    None => unsynced,
                });
            }
            verdict.add(race(&job, asked, racers));
        }
    }
    verdict
}

/// Runs over unchanged mail. The backups of mbsync that it finds are made without its syncs.
pub fn noop(world: &World, asked: &Asked) -> Verdict {
    head("backup of unchanged mail (floor: login and EXAMINE; login and all flags)");
    let mut verdict = Verdict::default();
    let counts: &[usize] = if asked.quick { &[1_000, 10_000] } else { &[1_000, 10_000, 100_000] };
    for &count in counts {
        let mailbox = &world.mailbox(count, Some(1_000));
        for delayed in [false, true] {
            let port = world.source().imap_port(delayed);
            let place = format!("imaps://{}@localhost:{port}", mailbox.user.name());
            let has_peer = peers::has("mbsync");
            // One store for each port, which is part of what an account is.
            let made = (world.fresh(), world.fresh());
            let mut trouble = None;
            for _ in 0..2 {
                trouble = trouble.or(ours(world, &place, mailbox, &made.0).err());
                if has_peer {
                    // The first run that is timed is not the first that finds nothing to do.
                    let _ = mbsync(world, mailbox, port, &made.1, false);
                }
            }
            let job = Job { name: format!("no-op {count}"), delayed, count: 0 };
            let mut racers = vec![
                Racer::new(Kind::Ours, "mailhaul", || match &trouble {
                    Some(trouble) => Err(trouble.clone()),
                    None => ours(world, &place, mailbox, &made.0),
                }),
                Racer::new(Kind::Floor, "floor: EXAMINE", || world.floor(Mode::Look, mailbox, delayed, |_| ())),
                Racer::new(Kind::Floor, "floor: flags", || world.floor(Mode::Flags, mailbox, delayed, |_| ())),
            ];
            if has_peer {
                let peer = Racer::new(Kind::Peer, "mbsync", || mbsync(world, mailbox, port, &made.1, true));
                racers.push(if count == 100_000 && !delayed { peer.at_most(0.2).and_cpu() } else { peer });
            }
            verdict.add(race(&job, asked, racers));
        }
    }
    verdict
}
