//! A thousand messages over a slow line: the built program, mbsync where the job is one for it, the floor, and what a program that
//! waits for each message costs, which is computed and not run.

use std::fs;
use std::process::{Command, Stdio};

use crate::floor::Mode;
use crate::support::dovecot::User;
use crate::{Asked, Cost, ROUND_TRIP, Route, Scene, median, timed};

const COUNT: usize = 1_000;

/// Round trips that imapsync costs for each message, as measured elsewhere: SELECT, FETCH and APPEND one after the other, in the mean.
const TRIPS_OF_IMAPSYNC: f64 = 3.3;

/// Prints the table; whether all but the peers came to their end.
pub(crate) fn bench(asked: &Asked) -> bool {
    let asked = Asked { count: COUNT, ..asked.clone() };
    let mut scene = Scene::set(&asked);
    let version = Command::new("mbsync").arg("--version").stderr(Stdio::null()).output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    #[allow(clippy::cast_precision_loss)] // for people
    let (count, mean) = (COUNT as f64, scene.octets as f64 / COUNT as f64);
    println!(
        "\n{COUNT} messages of {mean:.0} octets at {} ms round trip: medians of {} alternating runs; peer: {}",
        ROUND_TRIP.as_millis(),
        asked.runs,
        version.as_deref().unwrap_or("none (no mbsync)")
    );
    for mode in [Mode::Fetch, Mode::Retr] {
        scene.floor(mode, scene.route(false), asked.chunk);
    }
    println!("{:<10} {:<22} {:>9} {:>11} {:>8}", "job", "who", "seconds", "messages/s", "cpu");
    for job in [Mode::Pop3Imap, Mode::ImapImap] {
        let peer = version.is_some() && job == Mode::ImapImap;
        let (mut floor, mut ours, mut mbsync) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..asked.runs {
            floor.push(scene.floor(job, scene.route(true), asked.chunk));
            ours.push(scene.ours(job, scene.route(true)));
            if peer {
                match scene.mbsync(scene.route(true)) {
                    Ok(cost) => mbsync.push(cost),
                    Err(trouble) => eprintln!("bench: mbsync: {trouble}"),
                }
            }
        }
        for (who, costs) in [("mailhaul", &ours), ("mbsync", &mbsync), ("floor", &floor)] {
            if costs.is_empty() {
                println!("{:<10} {who:<22} {:>9} {:>11} {:>8}", job.name(), "-", "-", "-");
                continue;
            }
            let of = |what: fn(&Cost) -> f64| median(costs.iter().map(what).collect());
            let wall = of(|cost| cost.wall);
            println!("{:<10} {who:<22} {wall:>9.2} {:>11.0} {:>8.2}", job.name(), count / wall, of(|cost| cost.cpu));
        }
        if job == Mode::ImapImap {
            let wall = count * TRIPS_OF_IMAPSYNC * ROUND_TRIP.as_secs_f64();
            println!("{:<10} {:<22} {wall:>9.2} {:>11.1} {:>8}", job.name(), "imapsync (computed)", count / wall, "-");
        }
    }
    println!("imapsync: {TRIPS_OF_IMAPSYNC} round trips a message, one after the other, and nothing else counted; it is not run");
    true
}

impl Scene {
    fn mbsync(&mut self, route: Route) -> Result<Cost, String> {
        let user = self.fresh("mbsync");
        let directory = self.homes.path().join(user.name());
        fs::create_dir_all(directory.join("state")).unwrap();
        let file = directory.join("mbsyncrc");
        let store = |name: &str, user: &User, port: u16| {
            format!(
                "IMAPStore {name}\nHost localhost\nPort {port}\nUser {}\nPassCmd \"cat {}\"\nSSLType IMAPS\nAuthMechs LOGIN\n\
                 SystemCertificates no\nCertificateFile {}\n\n",
                user.name(),
                self.password().display(),
                self.destination.ca_file().display(),
            )
        };
        let text = format!(
            "{}{}Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState {}/\nCopyArrivalDate yes\n",
            store("far", &self.source, route.from),
            store("near", &user, route.to),
            directory.join("state").display(),
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new("mbsync");
        command.arg("-c").arg(file).arg("all").env("HOME", &directory);
        let cost = timed(self.homes.path(), &mut command, user.name())?;
        self.check(&user, None);
        Ok(cost)
    }
}
