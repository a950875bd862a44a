//! What is short: the start of the program, and verbs that ask one thing of a distant server.

use std::fs;
use std::process::Command;

use crate::peers;
use crate::race::Verdict;
use crate::timing::{Cost, median};
use crate::world::World;
use crate::{Asked, ROUND_TRIP};

/// Seconds that the program may take to start.
const START: f64 = 0.010;
const STARTS: usize = 50;

/// A verb, who does it, and the most seconds and round trips.
type Run<'a> = (&'a str, &'a str, &'a dyn Fn() -> Command, Option<(f64, f64)>);

fn line(what: &str, who: &str, figures: &str, over: Option<bool>) {
    let over = over.map_or("", |over| if over { "OVER" } else { "ok" });
    println!("{}", format!("{what:<24} {who:<10} {figures} {over}").trim_end());
}

/// `--version` and a listing of an empty store, warm.
pub fn start(world: &World, asked: &Asked) -> Verdict {
    let mut verdict = Verdict::default();
    if asked.floor_only {
        return verdict;
    }
    println!("\nstart-up, medians of {STARTS} runs, at most {:.0} ms", START * 1000.0);
    let directory = world.fresh();
    for half in ["cur", "new", "tmp"] {
        fs::create_dir_all(directory.join("empty").join(half)).unwrap();
    }
    let empty = format!("maildir:{}", directory.join("empty").display());
    for (what, arguments) in [("--version", vec!["--version"]), ("list of an empty store", vec!["list", &empty])] {
        let costs: Result<Vec<Cost>, String> =
            (0..STARTS).map(|_| world.time(&directory, world.ours(&directory).args(&arguments))).collect();
        match costs {
            Ok(costs) => {
                let wall = median(costs.iter().map(|cost| cost.wall).collect());
                line(what, "mailhaul", &format!("{:.1} ms", wall * 1000.0), Some(wall > START));
                verdict.over += usize::from(wall > START);
            }
            Err(trouble) => {
                eprintln!("bench: {what}: {trouble}");
                verdict.failed += 1;
            }
        }
    }
    verdict
}

/// One message and a page of a listing over a slow line. The proxy answers TCP itself: that round trip is added here.
pub fn verbs(world: &World, asked: &Asked) -> Verdict {
    let mut verdict = Verdict::default();
    if asked.floor_only {
        return verdict;
    }
    println!(
        "\nverbs at 40 ms, medians of {} runs; seconds and round trips with that of TCP, which the proxy does not delay, to the last octet before LOGOUT",
        asked.runs.max(3)
    );
    let mailbox = world.mailbox(1_000, None);
    let proxy = &world.source().imap;
    let server = format!("imaps://{}@localhost:{}", mailbox.user.name(), proxy.port());
    let bare = format!("imaps://localhost:{}", proxy.port());
    let directory = world.fresh();
    let ours = |arguments: &[&str]| {
        let mut command = world.ours(&directory);
        command.args(arguments).arg("--ca-file").arg(world.ca_file()).arg("--password-file").arg(world.password());
        command
    };
    let curl = |url: &str, request: Option<&str>| peers::curl(world, &mailbox.user, url, request, &directory);
    let fetched = format!("{bare}/INBOX/;UID=500");
    let listed = "FETCH 951:1000 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM TO CC SUBJECT MESSAGE-ID)])";
    let runs: [Run<'_>; 4] = [
        ("fetch PLACE UID", "mailhaul", &|| ours(&["fetch", &server, "500"]), Some((0.22, 5.0))),
        ("fetch PLACE UID", "curl", &|| curl(&fetched, None), None),
        ("list PLACE --limit 50", "mailhaul", &|| ours(&["list", &server, "--limit", "50"]), Some((0.26, 6.0))),
        ("list PLACE --limit 50", "curl", &|| curl(&format!("{bare}/INBOX"), Some(listed)), None),
    ];
    for (what, who, command, most) in runs {
        if who == "curl" && !peers::has("curl") {
            continue;
        }
        let (mut walls, mut trips) = (Vec::new(), Vec::new());
        for _ in 0..asked.runs.max(3) {
            let before = proxy.turns() + proxy.connections();
            match world.time(&directory, &mut command()) {
                Ok(cost) => walls.push(cost.wall + ROUND_TRIP.as_secs_f64()),
                Err(trouble) => {
                    eprintln!("bench: {what}: {who}: {trouble}");
                    verdict.failed += usize::from(who == "mailhaul");
                    break;
                }
            }
            #[allow(clippy::cast_precision_loss)] // a handful
            trips.push((proxy.turns() + proxy.connections() - before - 1) as f64);
        }
        if walls.is_empty() {
            line(what, who, "-", None);
            continue;
        }
        let (wall, trips) = (median(walls), median(trips));
        let over = most.map(|(most, most_trips)| wall > most || trips > most_trips);
        let limit = most.map_or_else(String::new, |(wall, trips)| format!(", at most {wall:.2} s and {trips:.0}"));
        line(what, who, &format!("{wall:.3} s, {trips:.0} round trips{limit}"), over);
        verdict.over += usize::from(over == Some(true));
    }
    verdict
}
