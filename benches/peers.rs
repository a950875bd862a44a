//! The clients that Debian has, told to do the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::canary;
use crate::support::dovecot::User;
use crate::world::World;

/// What stands for each, by the name of its program.
const PROGRAMS: [(&str, &str); 5] =
    [("mbsync", "--version"), ("mpop", "--version"), ("getmail", "--version"), ("fetchmail", "--version"), ("curl", "--version")];

/// Whether a program is here and would do it.
pub fn has(program: &str) -> bool {
    if program == "getmail" && rustix::process::getuid().is_root() {
        eprintln!("bench: getmail delivers nothing as root: its rows are left out");
        return false;
    }
    version(program).is_some()
}

fn version(program: &str) -> Option<String> {
    let (_, argument) = PROGRAMS.iter().find(|(name, _)| *name == program)?;
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().find(|line| !line.trim().is_empty())?;
    Some(first.split_whitespace().find(|word| word.chars().any(|c| c.is_ascii_digit())).unwrap_or("?").to_owned())
}

/// All that are here, and what is missing.
pub fn versions() -> String {
    let told: Vec<String> = PROGRAMS
        .iter()
        .map(|(name, _)| match version(name) {
            Some(version) => format!("{name} {version}"),
            None => {
                eprintln!("bench: no {name} to compare with: its rows stay empty");
                format!("no {name}")
            }
        })
        .collect();
    told.join(", ")
}

fn store(world: &World, name: &str, user: &User, port: u16) -> String {
    format!(
        "IMAPStore {name}\nHost localhost\nPort {port}\nUser {}\nPassCmd \"cat {}\"\nSSLType IMAPS\nAuthMechs LOGIN\n\
         SystemCertificates no\nCertificateFile {}\n\n",
        user.name(),
        world.password().display(),
        world.ca_file().display(),
    )
}

fn mbsync(directory: &Path, text: String) -> Command {
    let file = directory.join("mbsyncrc");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("mbsync");
    command.arg("-c").arg(file).arg("all").env("HOME", directory);
    command
}

/// mbsync into Maildir below `directory`, at `mail/INBOX`.
pub fn mbsync_backup(world: &World, user: &User, port: u16, directory: &Path, syncs: bool) -> Command {
    fs::create_dir_all(directory.join("mail")).unwrap();
    let text = format!(
        "{}{}MaildirStore near\nPath {near}/\nInbox {near}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\nCopyArrivalDate yes\n",
        if syncs { "" } else { "FSync no\n" },
        store(world, "far", user, port),
        near = directory.join("mail").display(),
    );
    mbsync(directory, text)
}

/// mbsync from one server to another.
pub fn mbsync_migrate(world: &World, from: (&User, u16), to: (&User, u16), directory: &Path) -> Command {
    fs::create_dir_all(directory.join("sync")).unwrap();
    let text = format!(
        "{}{}Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState {}/\nCopyArrivalDate yes\n",
        store(world, "far", from.0, from.1),
        store(world, "near", to.0, to.1),
        directory.join("sync").display(),
    );
    mbsync(directory, text)
}

fn secret(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn maildir(directory: &Path) {
    for half in ["cur", "new", "tmp"] {
        fs::create_dir_all(directory.join("mail").join(half)).unwrap();
    }
}

/// mpop into the Maildir `mail`.
pub fn mpop(world: &World, user: &User, port: u16, directory: &Path) -> Command {
    maildir(directory);
    let file = directory.join("mpoprc");
    let text = format!(
        "account default\nhost localhost\nport {port}\nuser {}\npasswordeval cat {}\ntls on\ntls_starttls off\ntls_trust_file {}\n\
         auth user\nkeep on\nreceived_header off\ndelivery maildir {}\nuidls_file {}\n",
        user.name(),
        world.password().display(),
        world.ca_file().display(),
        directory.join("mail").display(),
        directory.join("uidls").display(),
    );
    secret(&file, &text);
    let mut command = Command::new("mpop");
    command.arg("--quiet").arg("-C").arg(file).env("HOME", directory);
    command
}

/// getmail into the Maildir `mail`.
pub fn getmail(world: &World, user: &User, port: u16, directory: &Path) -> Command {
    maildir(directory);
    let text = format!(
        "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {port}\nusername = {}\npassword = {}\nca_certs = {}\n\n\
         [destination]\ntype = Maildir\npath = {}/\n\n[options]\ndelete = false\nread_all = true\nreceived = false\ndelivered_to = false\n\
         verbose = 0\n",
        user.name(),
        canary(),
        world.ca_file().display(),
        directory.join("mail").display(),
    );
    secret(&directory.join("getmailrc"), &text);
    let mut command = Command::new("getmail");
    command.arg("--getmaildir").arg(directory).arg("--rcfile").arg("getmailrc").env("HOME", directory);
    command
}

/// fetchmail into one file, `mail`: it hands messages to other programs, and none of them is to be measured.
pub fn fetchmail(world: &World, user: &User, port: u16, directory: &Path) -> Command {
    let file = directory.join("fetchmailrc");
    let text = format!(
        "set no bouncemail\npoll localhost service {port} protocol pop3 user \"{}\" password \"{}\" ssl sslcertck sslcertfile \"{}\" keep fetchall \
         bsmtp \"{}\"\n",
        user.name(),
        canary(),
        world.ca_file().display(),
        directory.join("mail").display(),
    );
    secret(&file, &text);
    let mut command = Command::new("fetchmail");
    command.arg("--silent").arg("--nosyslog").arg("--fetchmailrc").arg(file).arg("--pidfile").arg(directory.join("pid"));
    command.env("HOME", directory).env("FETCHMAILHOME", directory);
    command
}

/// curl, which reads `place` of the server to nowhere.
pub fn curl(world: &World, user: &User, url: &str, request: Option<&str>, directory: &Path) -> Command {
    let file = directory.join("curlrc");
    let request = request.map_or_else(String::new, |request| format!("request = \"{request}\"\n"));
    secret(
        &file,
        &format!("user = \"{}:{}\"\ncacert = \"{}\"\nurl = \"{url}\"\n{request}", user.name(), canary(), world.ca_file().display()),
    );
    let mut command = Command::new("curl");
    command.arg("--silent").arg("--show-error").arg("-K").arg(file).arg("-o").arg("/dev/null").env("HOME", directory);
    command
}
