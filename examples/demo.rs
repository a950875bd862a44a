//! The main job, shown and judged: `mailhaul migrate` brings a POP3 maildrop of 500 messages, nasty ones among them, into
//! an empty IMAP account of a private Dovecot. What arrived is read back through the independent `imap` crate and judged
//! by digests made here; at last `mailhaul compare-pop3` says the same in its own words. `scripts/demo` runs it; any wrong
//! answer ends it with 1.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, dead_code)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::dovecot::{self, Dovecot, Options, Seen, User};
use support::{canary, mail, tls};
use tempfile::TempDir;

/// Messages in the maildrop.
const COUNT: usize = 500;

fn main() -> ExitCode {
    let Some(dovecot) = Dovecot::start(Options::default()) else {
        println!("The demo needs Dovecot, and NO_DOVECOT=1 forbids it.");
        return ExitCode::FAILURE;
    };
    println!("A private Dovecot {} listens on 127.0.0.1, with a certificate authority of its own.", dovecot::version().unwrap());
    let (old, new) = (dovecot.user("ann-old"), dovecot.user("ann-new"));
    let planted = maildrop();
    let bytes: usize = planted.iter().map(Vec::len).sum();
    old.deliver("INBOX", &planted);
    println!("Ann's old maildrop holds {COUNT} messages, {:.1} MB; her new account is empty.", bytes as f64 / 1e6);
    let desk = Desk::new(&old, &new);
    let mut verdict = Verdict::default();

    println!("\nThe move, from POP3 to IMAP:\n");
    let began = now();
    verdict.check("the first run ends with 0", desk.run("migrate old new -v --json", Some("first.json")) == 0);
    let first = desk.json("first.json");
    let counts = ["listed", "copied", "altered", "refused", "quarantined", "unknown", "vanished", "bytes", "balanced", "seconds"];
    println!("\nfirst.json says: {}\n", counts.map(|name| format!("{name} {}", first[name])).join(", "));

    println!("What arrived, read back through another IMAP client (the imap crate) and compared with what the POP3 server gives out:\n");
    let source = pop3_messages(&old);
    let there = new.messages("INBOX");
    verdict.arrived(&planted, &source, &there, &first);
    verdict.dates(&source, &there, began);

    println!("\nThe same command again:\n");
    verdict.check("the second run ends with 0", desk.run("migrate old new --json", Some("second.json")) == 0);
    let second = desk.json("second.json");
    println!(
        "\nsecond.json says: {}\n",
        ["listed", "copied", "already_there", "balanced"].map(|name| format!("{name} {}", second[name])).join(", ")
    );
    verdict.check("it copied 0 and found all 500 there already", second["copied"] == 0 && second["already_there"] == COUNT);
    verdict.check("the new account holds the same UIDs, flags, dates and bytes as before", new.messages("INBOX") == there);
    verdict.check("the maildrop still holds what it held", pop3_messages(&old) == source);

    println!("\nThe newest of them, in the new account:\n");
    verdict.check("list ends with 0", desk.run("list new --limit 5 --fields uid,internal_date,size,from,subject -o table", None) == 0);

    println!("\nIs everything there, and which of the two to use from now on:\n");
    verdict.check("compare-pop3 ends with 0", desk.run("compare-pop3 old new -o table", Some("compared.txt")) == 0);
    let compared = fs::read_to_string(desk.dir.path().join("compared.txt")).unwrap();
    println!();
    compared.lines().for_each(|line| println!("{}", format!("    {line}").trim_end()));
    println!();
    let ids: BTreeSet<String> = old.uidls().into_iter().collect();
    verdict.compared(&compared, new.uidls().iter().filter(|id| ids.contains(*id)).count());
    verdict.check("comparing changed nothing", new.messages("INBOX") == there && pop3_messages(&old) == source);

    let _ = fs::remove_file(dovecot.ca_file());
    verdict.pronounce()
}

/// The nasty ones, the real ones of the corpus where it is there, a huge one, three that are identical; the rest is ordinary.
fn maildrop() -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = mail::nasty().into_iter().map(|(_, body)| body).collect();
    let nasty = messages.len();
    messages.extend(mail::corpus().into_iter().map(|(_, body)| body));
    let real = messages.len() - nasty;
    messages.push(mail::huge());
    messages.extend(vec![mail::plain(7, 100); 2]);
    let mut random = mail::Random::new(1);
    let ordinary = COUNT - messages.len();
    messages.extend((0..ordinary as u64).map(|number| mail::plain(number, random.below(20_000))));
    println!(
        "Made {nasty} nasty messages (NUL, bare LF, 8-bit, a line of 100 KB, no header, no Message-ID, From_ and dot lines, broken MIME, \
         empty …), {real} real ones from a corpus, one of 30 MB, twins, and {ordinary} ordinary ones."
    );
    messages
}

/// Seconds since 1970.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The directory the program runs in, with a config file and a home.
struct Desk {
    dir: TempDir,
    program: PathBuf,
}

impl Desk {
    fn new(old: &User, new: &User) -> Self {
        // target/PROFILE/examples/demo → target/PROFILE/mailhaul
        let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("mailhaul");
        assert!(program.is_file(), "{} is missing: run scripts/demo, which builds it", program.display());
        let dir = tempfile::Builder::new().prefix("mh-demo-").tempdir().unwrap();
        let password = dir.path().join("password");
        fs::write(&password, format!("{}\n", canary())).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        fs::copy(tls::identity().ca_file(), dir.path().join("ca.pem")).unwrap();
        let mut config = String::new();
        let servers = [
            ("old", format!("pop3 = \"{}\"\n", old.pop3s())),
            ("new", format!("imap = \"{}\"\npop3 = \"{}\"\n", new.imaps(), new.pop3s())),
        ];
        for (name, sides) in servers {
            config.push_str(&format!("[accounts.{name}]\n{sides}password-file = \"password\"\nca-file = \"ca.pem\"\n"));
        }
        fs::write(dir.path().join("config.toml"), &config).unwrap();
        println!("\nThe config file:\n");
        config.lines().for_each(|line| println!("    {line}"));
        Self { dir, program }
    }

    /// Shows the command line and runs it with standard output going to `file` (or shown); the exit code.
    fn run(&self, arguments: &str, file: Option<&str>) -> i32 {
        println!("    $ mailhaul {arguments}{}", file.map_or_else(String::new, |file| format!(" > {file}")));
        let dir = self.dir.path();
        let mut command = Command::new(&self.program);
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .env("HOME", dir)
            .env("XDG_STATE_HOME", dir.join("state"))
            .env("MAILHAUL_CONFIG", dir.join("config.toml"))
            .env("LANG", "C.UTF-8")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(file) = file {
            command.stdout(File::create(dir.join(file)).unwrap());
        }
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            println!("    {}", line.unwrap());
        }
        let code = child.wait().unwrap().code().unwrap_or(-1);
        println!("    (exit {code} after {:.2} s)", start.elapsed().as_secs_f64());
        code
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.dir.path().join(file)).unwrap()).unwrap_or(Value::Null)
    }
}

/// All messages of a maildrop as the server gives them out, by message number.
fn pop3_messages(user: &User) -> Vec<Vec<u8>> {
    let stream = TcpStream::connect(("127.0.0.1", user.dovecot().ports().pop3s)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let stream = tls::identity().connector().connect("localhost", stream).unwrap();
    let mut server = BufReader::new(stream);
    let line = |server: &mut BufReader<_>| {
        let mut line = Vec::new();
        server.read_until(b'\n', &mut line).unwrap();
        line
    };
    let ask = |command: &str, server: &mut BufReader<native_tls::TlsStream<TcpStream>>| {
        server.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let answer = line(server);
        assert!(answer.starts_with(b"+OK"), "{}", answer.escape_ascii());
        String::from_utf8_lossy(&answer).into_owned()
    };
    line(&mut server);
    ask(&format!("USER {}", user.name()), &mut server);
    ask(&format!("PASS {}", canary()), &mut server);
    let count: usize = ask("STAT", &mut server).split(' ').nth(1).unwrap().parse().unwrap();
    let mut messages = Vec::new();
    for number in 1..=count {
        ask(&format!("RETR {number}"), &mut server);
        let mut message = Vec::new();
        loop {
            let line = line(&mut server);
            match line.strip_prefix(b".") {
                Some(b"\r\n") => break,
                Some(stuffed) => message.extend_from_slice(stuffed),
                None => message.extend_from_slice(&line),
            }
        }
        messages.push(message);
    }
    ask("QUIT", &mut server);
    messages
}

#[derive(Default)]
struct Verdict {
    wrong: Vec<String>,
}

impl Verdict {
    fn check(&mut self, what: &str, holds: bool) {
        println!("    [{}] {what}", if holds { "ok" } else { "WRONG" });
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    /// Every message is there as often as it should be, and unchanged unless `summary` says otherwise.
    fn arrived(&mut self, planted: &[Vec<u8>], source: &[Vec<u8>], there: &[Seen], summary: &Value) {
        self.check(
            &format!("the POP3 server gives out {COUNT} messages, and the new account holds {COUNT}"),
            source.len() == COUNT && there.len() == COUNT,
        );
        let bodies: Vec<&Vec<u8>> = there.iter().map(|message| &message.body).collect();
        let (made, given, got) = (mail::multiset(planted), mail::multiset(source), mail::multiset(bodies.iter().copied()));
        self.check(
            &format!("each of the {} different contents arrived exactly as often as it was sent", made.len()),
            made == got && given == got,
        );

        let rewritten = planted.iter().zip(source).filter(|(planted, given)| planted != given).count();
        println!("         ({rewritten} lie on that server's disk otherwise than it gives them out: POP3 ends every line with CRLF)");
        let exact = |body: &[u8]| -> [u8; 32] { Sha256::digest(body).into() };
        let mut left: BTreeMap<[u8; 32], usize> = BTreeMap::new();
        for body in bodies {
            *left.entry(exact(body)).or_default() += 1;
        }
        let differing: BTreeSet<u64> = (1..)
            .zip(source)
            .filter(|(_, body)| match left.get_mut(&exact(body)) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            })
            .map(|(number, _)| number)
            .collect();
        let altered = summary["altered_messages"].as_array();
        let declared: BTreeSet<u64> = altered.into_iter().flatten().filter_map(|one| one["uid"].as_u64()).collect();
        self.check(
            &format!(
                "{} are the same to the last byte; the others are exactly those declared altered: {}",
                source.len() - differing.len(),
                numbers(&differing)
            ),
            differing == declared && summary["altered"] == declared.len(),
        );
        if differing != declared {
            println!("          declared: {}", numbers(&declared));
        }
    }

    /// What `compare-pop3` says in words for people.
    fn compared(&mut self, text: &str, kept: usize) {
        // Accounts that were made within the same second may have equal ids: nothing is downloaded again then.
        let again = COUNT - kept;
        let forecast =
            if again == 0 { format!("No: {COUNT} of {COUNT} messages keep") } else { format!("download {again} messages again") };
        let equations = text.matches(&format!(" = {COUNT} the same\n")).count();
        self.check(&format!("both sides list {COUNT} messages, and all are the same"), equations == 2);
        self.check("it says that everything of the maildrop is on IMAP", text.contains("everything of the maildrop is on IMAP"));
        self.check(
            "it says what both protocols offer, and what POP3 programs will do",
            ["POP3 old", "IMAP new", "password (", "ids (UIDL), equal", &forecast].iter().all(|words| text.contains(words)),
        );
        self.check(
            "it ends with an advice and the command for it",
            text.contains("\nUse IMAP: ") && text.ends_with("\nNext: mailhaul migrate old new\n"),
        );
    }

    /// Every message has a date, and the one its header tells where that can be read strictly.
    fn dates(&mut self, source: &[Vec<u8>], there: &[Seen], began: i64) {
        let mut dates: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for message in there {
            dates.entry(mail::content_digest(&message.body)).or_default().push(message.internal_date);
        }
        let (mut told, mut wrong) = (0, Vec::new());
        for (number, body) in (1_u64..).zip(source) {
            let found = dates.get(&mail::content_digest(body)).map(Vec::as_slice).unwrap_or_default();
            let sane = !found.is_empty() && found.iter().all(|date| (1..=now() + 2 * 86_400).contains(date));
            let right = match header_date(body) {
                Some(date) => {
                    told += 1;
                    found.iter().all(|found| *found == date)
                }
                None => true,
            };
            if !sane || !right {
                wrong.push(number);
            }
        }
        self.check(
            &format!("{told} have the INTERNALDATE that their header tells, the other {} a sensible one", source.len() - told),
            wrong.is_empty(),
        );
        if !wrong.is_empty() {
            println!("          not so: {wrong:?} (the run began at {began})");
        }
    }

    fn pronounce(self) -> ExitCode {
        if self.wrong.is_empty() {
            println!("\nRESULT: {COUNT} of {COUNT} messages arrived, once each, with their dates; nothing is wrong.");
            return ExitCode::SUCCESS;
        }
        println!("\nRESULT: WRONG. These do not hold:");
        self.wrong.iter().for_each(|what| println!("    {what}"));
        ExitCode::FAILURE
    }
}

fn numbers(set: &BTreeSet<u64>) -> String {
    set.iter().map(|number| format!("number {number}")).collect::<Vec<_>>().join(", ")
}

/// The date of the topmost `Received`, else of `Date`, where a strict reader of RFC 2822 understands it.
fn header_date(body: &[u8]) -> Option<i64> {
    let end = body.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(body.len());
    let header = String::from_utf8_lossy(&body[..end]).replace("\r\n ", " ").replace("\r\n\t", " ");
    let field = |name: &str| {
        header
            .split("\r\n")
            .find_map(|line| line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()))
    };
    let strict = |text: &str| jiff::fmt::rfc2822::parse(text.trim()).ok().map(|zoned| zoned.timestamp().as_second());
    match field("Received") {
        Some(received) => received.rsplit_once(';').and_then(|(_, date)| strict(date)),
        None => field("Date").and_then(|date| strict(&date)),
    }
}
