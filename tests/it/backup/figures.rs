//! What a backup costs, in counters that are the same on every machine: round trips, octets on the wire, system calls, pages of
//! the journal, memory. A run that finds nothing changed costs the same for a thousand messages and for a hundred thousand.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::scene::Kind;
use crate::crash::bench::{full, say};
use crate::support::imapd::{Imapd, Stored};
use crate::support::mail;
use crate::support::odd::peak_memory;
use crate::support::proxy::{Direction, Proxy, Weather};
use crate::support::tool::Tool;

/// KiB; these are debug builds.
const MEMORY: u64 = 64 * 1024;
/// KiB for runs over small messages, whatever they have to compare.
const LISTED: u64 = 48 * 1024;

const SIZES: [u64; 3] = [1_000, 10_000, 100_000];

/// The runs of commands sent without waiting in between, from behind the login to before LOGOUT.
fn flights(trace: &str) -> Vec<Vec<String>> {
    let mut flights: Vec<Vec<String>> = Vec::new();
    let mut speaking = false;
    for line in trace.lines() {
        let Some((_, line)) = line.split_once(' ') else { continue };
        match line.strip_prefix("C: ") {
            Some("") => {}
            Some(sent) => {
                if !std::mem::replace(&mut speaking, true) {
                    flights.push(Vec::new());
                }
                flights.last_mut().unwrap().push(sent.to_owned());
            }
            None => speaking = false,
        }
    }
    let login = flights.iter().rposition(|flight| flight.iter().any(|line| line.contains(" LOGIN") || line.contains(" AUTHENTICATE")));
    let mut after = flights.split_off(login.map_or(0, |at| at + 1));
    after.retain(|flight| !(flight.len() == 1 && flight[0].ends_with("LOGOUT")));
    after
}

/// What a run that found nothing changed cost.
#[derive(Debug)]
struct Cost {
    trips: usize,
    octets: [u64; 2],
    calls: BTreeMap<String, u64>,
    peak: u64,
}

/// System calls that depend on the work and not on the weather of threads.
const COUNTED: &str =
    "trace=openat,pread64,pwrite64,write,read,lseek,getdents64,newfstatat,statx,unlinkat,unlink,renameat2,fsync,fdatasync,syncfs,mkdirat";

fn idle(tool: &Tool, proxy: &Proxy) -> Cost {
    let arguments = ["backup", "work", "store", "--json"];
    let octets = || [Direction::ToServer, Direction::ToClient].map(|way| proxy.octets(way));
    let nothing = |output: crate::support::tool::Output| {
        let summary = output.expect_code(0).json();
        assert_eq!((&summary["copied"], &summary["flags_changed"], &summary["gone"]), (&0.into(), &0.into(), &0.into()), "{summary}");
    };
    let before = octets();
    proxy.set(Weather { delay: Duration::from_millis(5), ..Weather::default() });
    nothing(tool.run(&[&arguments[..], &["--trace", tool.trace().to_str().unwrap()]].concat()));
    proxy.set(Weather::default());
    let after = octets();
    let trips = flights(&tool.read_trace());
    let running = tool.spawn(&arguments, None);
    let peak = peak_memory(running.id());
    nothing(running.finish());
    let counts = tool.path("counts");
    let wrapper = ["strace", "-f", "-c", "-U", "calls,name", "-o", counts.to_str().unwrap(), "-e", COUNTED];
    nothing(tool.run_under(&wrapper, &arguments));
    let text = fs::read_to_string(&counts).unwrap();
    let rows = text.lines().filter_map(|line| {
        let (count, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    });
    let calls = rows.collect();
    fs::remove_file(tool.trace()).unwrap();
    for flight in &trips {
        say(&format!("    {flight:?}"));
    }
    Cost { trips: trips.len(), octets: [after[0] - before[0], after[1] - before[1]], calls, peak: peak.join().unwrap() }
}

fn filled(kind: Kind, count: u64) -> Imapd {
    let server = Imapd::start(kind.behaviour());
    let bodies: Vec<Vec<u8>> = (0..count).map(|number| format!("Subject: {number}\r\n\r\nbody of {number}\r\n").into_bytes()).collect();
    server.fill("INBOX", &bodies);
    server.change("INBOX", |mailbox| {
        for message in mailbox.messages.iter_mut().filter(|message| message.uid % 3 == 0) {
            message.flags = vec!["\\Seen".to_owned()];
        }
    });
    server
}

#[test]
fn a_run_that_finds_nothing_changed_costs_the_same_whatever_the_size_of_the_folder() {
    if !super::durability::can_watch() {
        return;
    }
    let mut costs = Vec::new();
    for count in SIZES {
        let server = filled(Kind::Condstore, count);
        let proxy = Proxy::start(server.port(), Weather::default());
        let mut tool = Tool::new();
        tool.set_deadline(Duration::from_secs(900));
        tool.server("work", Some(&format!("imap://ann@127.0.0.1:{}?tls=none", proxy.port())), None);
        let running = tool.spawn(&["backup", "work", "store", "--json"], None);
        let peak = peak_memory(running.id());
        let first = running.finish().expect_code(0).json();
        let peak = peak.join().unwrap();
        assert_eq!((&first["copied"], &first["balanced"]), (&count.into(), &true.into()), "{first}");
        say(&format!("first run over {count} messages: peak {peak} KiB"));
        assert!(peak > 0 && peak < MEMORY, "first run over {count}: {peak} KiB");
        let cost = idle(&tool, &proxy);
        say(&format!("no-op over {count} messages: {cost:?}"));
        assert!(cost.trips <= 4, "{count}: {} round trips after login", cost.trips);
        assert!(cost.peak > 0 && cost.peak < MEMORY, "{cost:?}");
        costs.push(cost);
    }
    let small = &costs[0];
    for (count, cost) in SIZES.iter().zip(&costs) {
        assert_eq!(cost.trips, small.trips, "{count}");
        for way in [0, 1] {
            // Numbers have more digits.
            assert!(cost.octets[way] <= small.octets[way] + 64, "{count}: {:?} octets against {:?}", cost.octets, small.octets);
        }
        for (call, times) in &cost.calls {
            let few = small.calls.get(call).copied().unwrap_or(0);
            // A page or two more down a deeper tree of the journal.
            assert!(*times <= few + few / 4 + 16, "{count}: {times} times {call} against {few}");
        }
        assert!(cost.peak < small.peak + 4 * 1024, "{count}: {} KiB against {}", cost.peak, small.peak);
    }
}

#[test]
fn messages_are_compared_in_bounded_memory_where_the_server_tells_all_their_flags() {
    // The large folder takes minutes in a debug build.
    let count: u64 = if full() { 100_000 } else { 20_000 };
    let server = filled(Kind::Plain, count);
    let mut tool = Tool::new();
    tool.set_deadline(Duration::from_secs(900));
    tool.server("work", Some(&server.url()), None);
    let run = |what: &str| {
        let running = tool.spawn(&["backup", "work", "store", "--json"], None);
        let peak = peak_memory(running.id());
        let summary = running.finish().expect_code(0).json();
        let peak = peak.join().unwrap();
        say(&format!("{what}, {count} messages without CONDSTORE: peak {peak} KiB"));
        assert!(peak > 0 && peak < LISTED, "{what}: {peak} KiB");
        summary
    };
    assert_eq!(run("first run")["copied"], count);
    assert_eq!(run("no-op")["copied"], 0);
    server.change("INBOX", |mailbox| {
        mailbox.messages.retain(|message| u64::from(message.uid) % (count / 2) != 0);
        mailbox.reflag(7, "\\Flagged");
    });
    server.fill("INBOX", &[b"Subject: new\r\n\r\nnew\r\n".to_vec()]);
    let changed = run("changed");
    assert_eq!((&changed["copied"], &changed["flags_changed"], &changed["gone"]), (&1.into(), &1.into(), &2.into()), "{changed}");
    server.change("INBOX", crate::support::imapd::Mailbox::renumber);
    let renumbered = run("another UIDVALIDITY");
    assert_eq!((&renumbered["quarantined"], &renumbered["copied"]), (&0.into(), &0.into()), "{renumbered}");
    let account = tool.path("store").join("work");
    let files = ["cur", "new"].map(|sub| fs::read_dir(account.join(sub)).unwrap().count()).iter().sum::<usize>();
    assert_eq!(files as u64, count + 1, "nothing was stored twice");
}

#[test]
fn one_message_of_200_megabytes_passes_through_bounded_memory() {
    let server = Imapd::start(Kind::Condstore.behaviour());
    let mut body = b"Subject: huge\r\n\r\n".to_vec();
    let block = mail::Random::new(200).text(64 * 1024);
    while body.len() < 200 * 1024 * 1024 {
        body.extend_from_slice(&block);
    }
    server.fill("INBOX", std::slice::from_ref(&body));
    let mut tool = Tool::new();
    tool.set_deadline(Duration::from_secs(900));
    tool.server("work", Some(&server.url()), None);
    let running = tool.spawn(&["backup", "work", "store", "--json"], None);
    let peak = peak_memory(running.id());
    running.finish().expect_code(0);
    let peak = peak.join().unwrap();
    say(&format!("one message of {} octets: peak {peak} KiB", body.len()));
    assert!(peak > 0 && peak < MEMORY, "{peak} KiB");
    let files: Vec<_> = ["cur", "new"].iter().flat_map(|half| fs::read_dir(tool.path("store/work").join(half)).unwrap()).collect();
    assert_eq!(files.len(), 1);
    let kept = fs::read(files.into_iter().next().unwrap().unwrap().path()).unwrap();
    assert!(mail::content_digest(&kept) == mail::content_digest(&body));
    drop((kept, body));
    server.change("INBOX", |mailbox| {
        mailbox.messages[0] = Stored { body: b"Subject: small\r\n\r\n".to_vec(), ..mailbox.messages[0].clone() }
    });
    let running = tool.spawn(&["verify", "store"], None);
    let peak = peak_memory(running.id());
    running.finish().expect_code(0);
    let peak = peak.join().unwrap();
    say(&format!("verify of it: peak {peak} KiB"));
    assert!(peak > 0 && peak < MEMORY, "verify: {peak} KiB");
}
