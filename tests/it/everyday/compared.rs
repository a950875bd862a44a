//! Comparisons when things go wrong around them, on either side and for both verbs: what they say is whole or is not said, never
//! that mail is missing which is there, and nothing is changed at a server.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Mailboxes, mailboxes};
use crate::crash::bench::{full, in_parallel, say, while_time_flies};
use crate::support::imapd::{self, Imapd};
use crate::support::mail;
use crate::support::odd::{Answer, Odd};
use crate::support::pop3d::{self, Pop3d};
use crate::support::proxy::{Cut, Direction, Proxy, Weather};
use crate::support::script::Script;
use crate::support::tool::{Output, Tool};

const COUNT: usize = 12;

/// Two sides with the same mail, each behind a proxy.
struct Scene {
    tool: Tool,
    clock: std::path::PathBuf,
    servers: Vec<Imapd>,
    maildrop: Option<Pop3d>,
    proxies: [Proxy; 2],
    before: Vec<Mailboxes>,
    args: &'static [&'static str],
}

/// What is compared, and how: the first side a maildrop, the second always IMAP.
const WAYS: [(bool, &[&str]); 4] = [
    (false, &["compare", "a", "b", "--json"]),
    (false, &["compare", "a", "b", "--json", "--full"]),
    (true, &["compare-pop3", "a", "b", "--json"]),
    (true, &["compare-pop3", "a", "b", "--json", "--full"]),
];

impl Scene {
    fn new((pop3, args): (bool, &'static [&'static str])) -> Self {
        let bodies = mail::many(COUNT as u64, 300);
        let imap = |bodies: &[Vec<u8>]| {
            let server = Imapd::start(imapd::Behaviour::default());
            server.fill("INBOX", &bodies[..8]);
            server.fill("Archive", &bodies[8..]);
            server
        };
        let mut servers = vec![imap(&bodies)];
        let maildrop = if pop3 {
            // A session that fetches and ends politely would hide the mail from the next.
            let behaviour = pop3d::Behaviour { page: Some(1000), ..pop3d::Behaviour::default() };
            servers[0].change("INBOX", |mailbox| mailbox.messages.clear());
            servers[0].change("Archive", |mailbox| mailbox.messages.clear());
            servers[0].fill("INBOX", &bodies);
            Some(Pop3d::start(behaviour, &bodies))
        } else {
            servers.push(imap(&bodies));
            None
        };
        let first = maildrop.as_ref().map_or_else(|| servers[1].port(), Pop3d::port);
        let proxies = [Proxy::start(first, Weather::default()), Proxy::start(servers[0].port(), Weather::default())];
        let mut tool = Tool::new();
        let clock = tool.use_clock();
        let url = |scheme: &str, proxy: &Proxy| format!("{scheme}://ann@127.0.0.1:{}?tls=none", proxy.port());
        match pop3 {
            true => tool.server("a", None, Some(&url("pop3", &proxies[0]))),
            false => tool.server("a", Some(&url("imap", &proxies[0])), None),
        };
        tool.server("b", Some(&url("imap", &proxies[1])), None);
        let before = servers.iter().map(mailboxes).collect();
        Self { tool, clock, servers, maildrop, proxies, before, args }
    }

    /// All of it the same, or what cannot be read named as such, or one error and nothing else; whether it was all.
    fn judge(&self, output: &Output, case: &str) -> bool {
        assert!([0, 3, 5].contains(&output.code), "{case}: {output}");
        if output.code == 0 {
            let document = output.json();
            assert_eq!((&document["same"], &document["balanced"]), (&COUNT.into(), &true.into()), "{case}: {output}");
        } else if output.code == 3 {
            let document = output.json();
            for count in ["different", "elsewhere", "doubled"] {
                assert_eq!(document[count], 0, "{case}: {output}");
            }
            let number = |count: &str| document[count].as_u64().unwrap();
            let (errors, errors_a) = (number("errors"), number("errors_a"));
            assert!(errors > 0 && number("only_b") <= errors_a && number("only_a") <= errors - errors_a, "{case}: {output}");
            assert_eq!(document["balanced"], true, "{case}: {output}");
        } else {
            assert_eq!(output.text(), "", "{case}: {output}");
            // With JSON the error is an object in the last line; those before tell of connecting again.
            let last: serde_json::Value = serde_json::from_str(output.stderr.lines().last().unwrap_or_default()).unwrap();
            assert_eq!(last["code"], 5, "{case}: {output}");
        }
        let now: Vec<Mailboxes> = self.servers.iter().map(mailboxes).collect();
        assert_eq!(now, self.before, "{case}");
        for line in self.servers.iter().flat_map(Imapd::log) {
            assert!(!["SELECT", "STORE", "APPEND", "BODY["].iter().any(|word| line.contains(word)), "{case}: {line}");
        }
        output.code == 0
    }

    /// In good weather everything is there still.
    fn expect_whole(&self, case: &str) {
        self.proxies.iter().for_each(|proxy| proxy.set(Weather::default()));
        assert!(self.judge(&self.tool.run(self.args), case), "{case}");
        assert_eq!(self.maildrop.as_ref().map_or(COUNT, |maildrop| maildrop.bodies().len()), COUNT, "{case}");
    }
}

#[test]
fn a_comparison_over_a_bad_network_is_whole_or_is_none() {
    let mut jobs = Vec::new();
    for way in WAYS {
        let scene = Scene::new(way);
        scene.expect_whole("good weather");
        for side in 0..2 {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let total = scene.proxies[side].octets(direction);
                let stride = total.div_ceil(if full() { 100 } else { 6 });
                let places = (1 + side as u64 * 3..=total).step_by(usize::try_from(stride).unwrap());
                for (turn, at) in places.chain([total - 2, total]).enumerate() {
                    let cut = [Cut::Fin, Cut::Reset, Cut::Freeze][turn % 3];
                    jobs.push((way, side, direction, at, cut, turn % 4 == 3));
                }
            }
        }
    }
    let finished = AtomicUsize::new(0);
    in_parallel(&jobs, |&(way, side, direction, at, cut, all)| {
        let case = format!("{way:?}: side {side} {cut:?} {direction:?} at {at}, all: {all}");
        let scene = Scene::new(way);
        let proxy = &scene.proxies[side];
        proxy.set(Weather { cut: Some((direction, at, cut)), cuts: u64::from(!all), ..Weather::default() });
        let running = scene.tool.spawn(scene.args, None);
        // Nobody answers any more: only time makes an end.
        let silent = || cut == Cut::Freeze && proxy.octets(direction) >= at && (all || proxy.connections() == 1);
        let output = while_time_flies(&scene.clock, running, silent);
        finished.fetch_add(usize::from(scene.judge(&output, &case)), Ordering::Relaxed);
        scene.expect_whole(&case);
    });
    let finished = finished.into_inner();
    say(&format!("comparisons over a bad network: {0}/{0}, {finished} of them whole all the same", jobs.len()));
    assert!(finished * 2 > jobs.len(), "only {finished}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_ends_a_comparison_before_any_password() {
    let bodies = mail::many(2, 20);
    let odd = Odd::with_tls("", &bodies, |_| Answer::Usual);
    let maildrop = Pop3d::start(pop3d::Behaviour::default(), &bodies);
    let strict = Script::every("!tls\nS: +OK hello\n!stall");
    let tool = Tool::new();
    // The test authority is known to accounts of the config file alone.
    let [imaps, pop3s] = [("imaps", odd.port()), ("pop3s", strict.port())].map(|(scheme, port)| format!("{scheme}://ann@127.0.0.1:{port}"));
    let pop3 = maildrop.url();
    let file = tool.password_file().display().to_string();
    for (verb, a, b) in [
        ("compare", imaps.as_str(), "eml:mail"),
        ("compare", "eml:mail", imaps.as_str()),
        ("compare", pop3s.as_str(), "eml:mail"),
        ("compare-pop3", pop3s.as_str(), imaps.as_str()),
        ("compare-pop3", pop3.as_str(), imaps.as_str()),
    ] {
        fs::create_dir_all(tool.path("mail")).unwrap();
        let output = tool.run(&[verb, a, b, "--from-password-file", &file, "--to-password-file", &file]).expect_code(5);
        assert!(output.stdout.is_empty() && output.stderr.lines().count() == 1, "{output}");
        assert!(output.stderr.contains("certificate") || output.stderr.contains("TLS"), "{output}");
    }
    assert!(odd.log().is_empty(), "{:?}", odd.log());
    assert!(strict.received().is_empty(), "{:?}", strict.received());
}
