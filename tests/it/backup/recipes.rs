//! The recipes of `docs/recipes`, run as they stand there: lines of a crontab by a shell, units by systemd's own check, scripts
//! against a store that is being written to and one that is not.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::Parser;
use mailhaul::commands::Cli;

use crate::support::imapd::{Behaviour, Imapd};
use crate::support::mail;
use crate::support::pop3d::{self, Pop3d};
use crate::support::store::{self, Layout};
use crate::support::tool::Tool;

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(recipe(name)).unwrap()
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// The three accounts the recipes speak of, and the program where they look for it.
struct Scene {
    servers: (Imapd, Imapd, Pop3d),
    tool: Tool,
    bin: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let imapd = |count| {
            let server = Imapd::start(Behaviour::default());
            server.fill("INBOX", &mail::many(count, 300));
            server
        };
        let servers = (imapd(3), imapd(2), Pop3d::start(pop3d::Behaviour::default(), &mail::many(4, 300)));
        let tool = Tool::new();
        tool.server("work", Some(&servers.0.url()), None);
        tool.server("home", Some(&servers.1.url()), None);
        tool.server("old", None, Some(&servers.2.url()));
        let bin = tool.path("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mailhaul"), bin.join("mailhaul")).unwrap();
        Self { servers, tool, bin }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.tool.command(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.bin.display())).stdin(Stdio::null());
        command
    }

    fn home(&self) -> PathBuf {
        let home = self.command("sh").args(["-c", "printf %s \"$HOME\""]).output().unwrap();
        PathBuf::from(String::from_utf8(home.stdout).unwrap())
    }

    fn sh(&self, line: &str) -> Output {
        self.command("sh").args(["-c", line]).output().unwrap()
    }

    /// A program of that name in the place of the real one.
    fn stand_in(&self, name: &str, script: &str) {
        let path = self.bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }

    /// What `mailhaul` would be called with by this line, as a shell takes it apart.
    fn arguments(&self, line: &str) -> Vec<String> {
        let script = format!("mailhaul() {{ printf '%s\\n' mailhaul \"$@\" >&3; }}; exec 3>&1; {line}");
        let words = String::from_utf8(self.sh(&script).stdout).unwrap();
        words.lines().map(str::to_owned).collect()
    }
}

#[track_caller]
fn parses(arguments: &[String]) {
    assert!(arguments.len() > 2, "{arguments:?}");
    if let Err(error) = Cli::try_parse_from(arguments) {
        panic!("{arguments:?}: {error}");
    }
}

/// The commands of a crontab as cron hands them to the shell, each with its five fields.
fn jobs(crontab: &str) -> Vec<(Vec<String>, String)> {
    let is_job = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let is_variable = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.chars().all(|one| one.is_ascii_uppercase()));
    let mut jobs = Vec::new();
    for line in crontab.lines().filter(is_job).filter(|line| !is_variable(line)) {
        let mut rest = line;
        let mut fields = Vec::new();
        for _ in 0..5 {
            let (field, behind) = rest.split_once([' ', '\t']).unwrap();
            fields.push(field.to_owned());
            rest = behind.trim_start();
        }
        // An unescaped one ends the command; what follows is its standard input.
        let bare = rest.replace("\\%", "");
        assert!(!bare.contains('%'), "{line}");
        jobs.push((fields, rest.replace("\\%", "%")));
    }
    jobs
}

#[test]
fn every_line_of_the_crontab_does_its_work_in_silence() {
    let scene = Scene::new();
    let jobs = jobs(&text("crontab"));
    assert_eq!(jobs.len(), 4);
    for (fields, command) in &jobs {
        for (field, (least, most)) in fields.iter().zip([(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]) {
            let fits =
                field == "*" || field.split(',').all(|number| number.parse().is_ok_and(|number: u32| (least..=most).contains(&number)));
            assert!(fits, "{field} in {command}");
        }
        parses(&scene.arguments(command));
        let output = scene.sh(command);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{command}: {}", String::from_utf8_lossy(&said));
    }
    let store = scene.home().join("mail-backup");
    let kept: Vec<usize> = ["work", "home", "old"].map(|account| store::lying(&store, account, Layout::Maildir).len()).to_vec();
    assert_eq!(kept, [3, 2, 4]);

    // Whatever is wrong is said.
    let damaged = store::lying(&store, "old", Layout::Maildir).remove(0);
    fs::write(store.join(damaged.path), "x").unwrap();
    let output = scene.sh(&jobs[2].1);
    assert!(output.status.code() == Some(1) && !output.stderr.is_empty());
}

#[test]
fn the_morning_line_speaks_up_where_runs_stay_away() {
    let mut scene = Scene::new();
    let clock = scene.tool.use_clock();
    let jobs = jobs(&text("crontab"));
    assert!(scene.sh(&jobs[0].1).status.success());
    assert!(scene.sh(&jobs[3].1).stdout.is_empty());
    fs::write(&clock, (27 * 3600 * 1000).to_string()).unwrap();
    let output = scene.sh(&jobs[3].1);
    assert!(String::from_utf8_lossy(&output.stdout).contains("no complete run"), "{output:?}");
}

#[test]
fn the_units_are_sound_and_start_what_the_program_takes() {
    let scene = Scene::new();
    let (service, timer) = (text("mailhaul-backup.service"), text("mailhaul-backup.timer"));
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let home = scene.home();
    let line = start.replace("/usr/bin/mailhaul", "mailhaul").replace("%h", home.to_str().unwrap());
    parses(&scene.arguments(&line));
    let output = scene.sh(&line);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(store::lying(&home.join("mail-backup"), "work", Layout::Maildir).len(), 3);

    if !is_installed("systemd-analyze") {
        eprintln!("systemd-analyze is not installed: the units were not checked by it");
        return;
    }
    let dir = scene.tool.path("units");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mailhaul-backup.service"), service.replace("/usr/bin/mailhaul", env!("CARGO_BIN_EXE_mailhaul"))).unwrap();
    fs::write(dir.join("mailhaul-backup.timer"), &timer).unwrap();
    for unit in ["mailhaul-backup.service", "mailhaul-backup.timer"] {
        let output = scene
            .command("systemd-analyze")
            .args(["--user", "--man=no", "verify"])
            .arg(dir.join(unit))
            .env("XDG_RUNTIME_DIR", scene.tool.path("units"))
            .output()
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{unit}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let when = timer.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap();
    assert!(scene.command("systemd-analyze").args(["calendar", when]).output().unwrap().status.success());
}

#[test]
fn the_check_knows_fine_late_and_unknown() {
    let mut scene = Scene::new();
    let clock = scene.tool.use_clock();
    let check = |scene: &Scene| {
        let output = scene.command("sh").arg(recipe("check-mail-backup")).arg("store").output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check(&scene);
    assert!(code == 3 && said.starts_with("UNKNOWN: "), "{code} {said}");
    scene.tool.run(&["backup", "work", "store"]).expect_code(0);
    let (code, said) = check(&scene);
    assert!(code == 0 && said.starts_with("OK: "), "{code} {said}");
    let ahead = scene.tool.clock() + 27 * 3600 * 1000;
    fs::write(&clock, ahead.to_string()).unwrap();
    let (code, said) = check(&scene);
    assert!(code == 2 && said.starts_with("CRITICAL: ") && said.contains("work"), "{code} {said}");
}

#[test]
fn a_copy_keeps_backups_out_until_it_is_made() {
    let scene = Scene::new();
    scene.tool.run(&["backup", "work", "store"]).expect_code(0);
    // A copy that says that it began, and goes on when it is told to.
    scene.stand_in("rsync", "echo began; read line");
    let mut copy = scene
        .command("sh")
        .arg(recipe("off-site-rsync"))
        .args(["store", "copy"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut began = [0; 6];
    copy.stdout.as_mut().unwrap().read_exact(&mut began).unwrap();
    scene.tool.run(&["backup", "work", "store"]).expect_code(9);
    drop(copy.stdin.take());
    copy.wait().unwrap();
    scene.tool.run(&["backup", "work", "store"]).expect_code(0);
}

#[test]
fn a_copy_waits_for_the_run_that_is_at_work() {
    let scene = Scene::new();
    scene.tool.run(&["backup", "work", "store"]).expect_code(0);
    for (script, program) in [("off-site-rsync", "rsync"), ("off-site-restic", "restic")] {
        scene.stand_in(program, "touch began");
        let lock = fs::File::open(scene.tool.path("store/.mailhaul/lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let mut copy = scene.command("sh").arg(recipe(script)).args(["store", "copy"]).spawn().unwrap();
        let waits = format!(":{} ", lock.metadata().unwrap().ino());
        // The kernel names those who wait for a lock behind an arrow.
        while !fs::read_to_string("/proc/locks").unwrap().lines().any(|line| line.contains("-> FLOCK") && line.contains(&waits)) {
            assert!(copy.try_wait().unwrap().is_none(), "{script} did not wait");
            std::thread::yield_now();
        }
        assert!(!scene.tool.path("began").exists(), "{script}");
        drop(lock);
        assert!(copy.wait().unwrap().success(), "{script}");
        fs::remove_file(scene.tool.path("began")).unwrap();
    }
}

#[test]
fn a_copy_by_rsync_is_a_store() {
    let scene = Scene::new();
    if !is_installed("rsync") {
        eprintln!("rsync is not installed: the copy was not made");
        return;
    }
    scene.tool.run(&["backup", "work", "old", "store"]).expect_code(0);
    for _ in 0..2 {
        let output = scene.command("sh").arg(recipe("off-site-rsync")).args(["store", "copy"]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let (from, to) = (scene.tool.path("store"), scene.tool.path("copy"));
        assert_eq!(store::tree(&to, Layout::Maildir), store::tree(&from, Layout::Maildir));
        store::sound(&to, Layout::Maildir, "copy");
        scene.tool.run(&["verify", "copy"]).expect_code(0);
        scene.servers.0.fill("INBOX", &[mail::plain(70, 100)]);
        scene.servers.0.change("INBOX", |mailbox| mailbox.reflag(1, "+\\Seen"));
        scene.tool.run(&["backup", "work", "old", "store"]).expect_code(0);
    }
    // As a hook it finds the lock free.
    let hook = format!("sh {} \"$MAILHAUL_STORE\" again", recipe("off-site-rsync").display());
    scene.tool.run(&["backup", "work", "store", "--on-success", &hook]).expect_code(0);
    store::sound(&scene.tool.path("again"), Layout::Maildir, "hook");
}

#[test]
fn restic_is_asked_for_what_it_knows() {
    let script = text("off-site-restic");
    let call = script.lines().find(|line| line.contains("restic backup")).unwrap();
    let options: Vec<&str> = call.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert_eq!(options, ["--quiet", "--tag"]);
    match Command::new("restic").args(["backup", "--help"]).output() {
        Ok(help) => {
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            assert!(options.iter().all(|option| help.contains(option)), "{help}");
        }
        Err(_) => eprintln!("restic is not installed: its options were not checked"),
    }
}

#[test]
fn every_recipe_is_named_in_the_list_and_every_script_is_one() {
    let list = text("README.md");
    for entry in fs::read_dir(recipe("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || list.contains(&format!("({name})")), "{name}");
        if text(&name).starts_with("#!/bin/sh\n") {
            assert!(fs::metadata(recipe(&name)).unwrap().permissions().mode() & 0o100 != 0, "{name}");
            assert!(Command::new("sh").arg("-n").arg(recipe(&name)).status().unwrap().success(), "{name}");
        }
    }
}
