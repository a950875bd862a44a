//! A real Dovecot, run as an ordinary user from one temporary configuration: 2.3 and 2.4, IMAP and POP3, with TLS and
//! without. It stops when this process ends, however it ends. Mail is planted as Maildir files, byte for byte, and read
//! back through the independent `imap` crate.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use native_tls::TlsStream;
use tempfile::TempDir;

use super::{canary, tls};

/// How an instance differs from the usual one.
#[derive(Debug, Clone)]
pub struct Options {
    /// Replaces the whole capability line of IMAP, before and after login: what is left out is not announced.
    pub imap_capability: Option<String>,
    /// sdbox in place of Maildir: faster, but mail cannot be planted as files.
    pub sdbox: bool,
    /// Connections one user may have at once.
    pub max_userip: u32,
    /// Whether Drafts, Sent, Trash, Junk and Archive exist with their special uses.
    pub special_use: bool,
    /// Further settings in the words of the installed version's configuration.
    pub extra: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { imap_capability: None, sdbox: false, max_userip: 50, special_use: false, extra: String::new() }
    }
}

/// One running instance; clones share it, and it stops with the last of them.
#[derive(Clone)]
pub struct Dovecot(Arc<Instance>);

struct Instance {
    dir: TempDir,
    options: Options,
    account: Account,
    ports: Ports,
    /// A shell that waits for the end of its input, stops Dovecot and removes the directory.
    keeper: Child,
}

/// Where an instance listens, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// IMAP with TLS from the first octet.
    pub imaps: u16,
    /// POP3 with STLS.
    pub pop3: u16,
    /// POP3 with TLS from the first octet.
    pub pop3s: u16,
}

/// The system account an instance runs as.
#[derive(Debug, Clone)]
struct Account {
    user: String,
    group: String,
    uid: u32,
    gid: u32,
    is_root: bool,
}

/// A message as it stands in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// UID.
    pub uid: u32,
    /// Flags and keywords in wire form, sorted, without `\Recent`.
    pub flags: Vec<String>,
    /// INTERNALDATE, seconds since 1970 UTC.
    pub internal_date: i64,
    /// The bytes.
    pub body: Vec<u8>,
}

/// A message to plant.
#[derive(Debug, Clone)]
pub struct Plant {
    /// The bytes as they shall stand in the file.
    pub body: Vec<u8>,
    /// System flags in wire form.
    pub flags: Vec<String>,
    /// INTERNALDATE, seconds since 1970 UTC.
    pub internal_date: i64,
}

impl Plant {
    /// Unflagged, arrived at a fixed date.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), flags: Vec::new(), internal_date: 1_600_000_000 }
    }

    /// With a flag.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// With an INTERNALDATE.
    pub fn date(mut self, seconds: i64) -> Self {
        self.internal_date = seconds;
        self
    }
}

/// The instance all tests of this process share; `None` only under `NO_DOVECOT=1`.
///
/// # Panics
/// Where Dovecot is missing and `NO_DOVECOT=1` was not said.
pub fn shared() -> Option<Dovecot> {
    static SHARED: OnceLock<Option<Dovecot>> = OnceLock::new();
    SHARED.get_or_init(|| Dovecot::start(Options::default())).clone()
}

/// A user of the shared instance, or the end of the test under `NO_DOVECOT=1`.
#[macro_export]
macro_rules! dovecot_user {
    ($name:expr) => {
        match $crate::support::dovecot::shared() {
            Some(dovecot) => dovecot.user($name),
            None => return,
        }
    };
}

impl Dovecot {
    /// Starts an instance and waits until it greets; `None` only under `NO_DOVECOT=1`.
    ///
    /// # Panics
    /// Where Dovecot is missing or does not come up.
    #[allow(clippy::needless_pass_by_value)] // reads better with the options made in place
    pub fn start(options: Options) -> Option<Self> {
        if std::env::var_os("NO_DOVECOT").is_some_and(|value| value == "1") {
            return None;
        }
        let version = version().unwrap_or_else(|| {
            panic!("Dovecot is not installed, and most of what is proved here is proved against it: run scripts/setup, or say NO_DOVECOT=1")
        });
        // A free port may be taken by somebody else between finding and using it.
        let mut trouble = String::new();
        for _ in 0..3 {
            match Instance::start(&version, options.clone()) {
                Ok(instance) => return Some(Self(Arc::new(instance))),
                Err(log) => trouble = log,
            }
        }
        panic!("Dovecot {version} did not come up; its log:\n{trouble}");
    }

    /// A mail user of this name; the mailbox is made at the first look. Use one for each test.
    ///
    /// # Panics
    /// Where the name has capitals: Dovecot lowers it at login, and would look for the mail in another home than `plant`.
    pub fn user(&self, name: &str) -> User {
        assert!(!name.contains(char::is_uppercase), "Dovecot would log {name:?} in as somebody else");
        User { dovecot: self.clone(), name: name.to_owned() }
    }

    /// The ports.
    pub fn ports(&self) -> Ports {
        self.0.ports
    }

    /// The authority to trust, as a PEM file.
    pub fn ca_file(&self) -> &'static Path {
        tls::identity().ca_file()
    }

    /// What Dovecot wrote into its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.0.dir.path().join("log")).unwrap_or_default()
    }

    /// Runs `doveadm` on this instance's configuration.
    pub fn doveadm(&self, args: &[&str]) -> String {
        let output = Command::new("doveadm").arg("-c").arg(self.0.dir.path().join("dovecot.conf")).args(args).output().unwrap();
        assert!(output.status.success(), "doveadm {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Instance {
    fn start(version: &str, options: Options) -> Result<Self, String> {
        let account = Account::find();
        // A short path: the sockets below it may have about a hundred characters.
        let dir = tempfile::Builder::new().prefix("mh-dove-").tempdir().unwrap();
        let identity = tls::identity();
        let path = dir.path();
        fs::write(path.join("cert.pem"), &identity.cert_pem).unwrap();
        fs::write(path.join("key.pem"), &identity.key_pem).unwrap();
        for sub in ["run", "mail"] {
            fs::create_dir(path.join(sub)).unwrap();
        }
        // All found before any is let go, so that they differ.
        let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [imap, imaps, pop3, pop3s] = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(listeners);
        let ports = Ports { imap, imaps, pop3, pop3s };
        let new = version.starts_with("2.4");
        fs::write(
            path.join("dovecot.conf"),
            if new { config_24(path, &options, &account, ports) } else { config_23(path, &options, &account, ports) },
        )
        .unwrap();
        for entry in ["", "cert.pem", "key.pem", "run", "mail", "dovecot.conf"] {
            account.own(&path.join(entry));
        }
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(
                "PATH=$PATH:/usr/sbin:/usr/local/sbin; dovecot -F -c \"$1/dovecot.conf\" >\"$1/out\" 2>&1 & pid=$!\n\
                 cat >/dev/null; kill $pid; wait $pid; rm -rf \"$1\"",
            )
            .arg("sh")
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0);
        if account.is_root {
            command.uid(account.uid).gid(account.gid);
        }
        let keeper = command.spawn().unwrap();
        let instance = Self { dir, options, account, ports, keeper };
        let end = Instant::now() + Duration::from_secs(20);
        for port in [imap, imaps, pop3, pop3s] {
            while !greets(port, port == imap || port == pop3) {
                if Instant::now() > end {
                    let read = |name: &str| fs::read_to_string(instance.dir.path().join(name)).unwrap_or_default();
                    return Err(format!("{}{}", read("out"), read("log")));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(instance)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Whether something listens and, on a plain port, greets.
fn greets(port: u16, plain: bool) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    if !plain {
        return true;
    }
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok_and(|count| count > 0)
}

/// The version of the Dovecot on this machine.
pub fn version() -> Option<String> {
    static VERSION: OnceLock<Option<String>> = OnceLock::new();
    VERSION
        .get_or_init(|| {
            let output = Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin:/usr/local/sbin; dovecot --version"]).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        })
        .clone()
}

impl Account {
    fn find() -> Self {
        let own_uid = rustix::process::getuid().as_raw();
        let is_root = own_uid == 0;
        let table = |file: &str| -> Vec<Vec<String>> {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
        };
        let own = own_uid.to_string();
        let entry = table("/etc/passwd")
            .into_iter()
            .find(|fields| fields.len() > 3 && if is_root { fields[0] == "nobody" } else { fields[2] == own })
            .unwrap_or_else(|| panic!("no entry in /etc/passwd for {}", if is_root { "nobody" } else { &own }));
        let gid: u32 = entry[3].parse().unwrap();
        let group = table("/etc/group")
            .into_iter()
            .find(|fields| fields.len() > 2 && fields[2] == entry[3])
            .map_or_else(|| entry[3].clone(), |fields| fields[0].clone());
        Self { user: entry[0].clone(), group, uid: entry[2].parse().unwrap(), gid, is_root }
    }

    /// Gives `path` to this account.
    fn own(&self, path: &Path) {
        if self.is_root {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).unwrap();
        }
    }
}

/// The services, alike in both versions.
fn services(ports: Ports) -> String {
    let Ports { imap, imaps, pop3, pop3s } = ports;
    let login = |name: &str, plain: u16, tls: u16| {
        format!(
            "service {name}-login {{\n  chroot =\n  service_count = 0\n  process_min_avail = 1\n  process_limit = 8\n  \
             inet_listener {name} {{\n    port = {plain}\n  }}\n  inet_listener {name}s {{\n    port = {tls}\n    ssl = yes\n  }}\n}}\n"
        )
    };
    // The statistics and the old-style configuration sockets want root; nothing here asks them.
    format!(
        "{}{}service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n",
        login("imap", imap, imaps),
        login("pop3", pop3, pop3s)
    )
}

fn namespace(options: &Options) -> String {
    let folders: String = if options.special_use {
        ["Drafts", "Sent", "Trash", "Junk", "Archive"]
            .iter()
            .map(|name| format!("  mailbox {name} {{\n    auto = subscribe\n    special_use = \\{name}\n  }}\n"))
            .collect()
    } else {
        String::new()
    };
    format!("namespace inbox {{\n  inbox = yes\n  separator = /\n{folders}}}\n")
}

fn common(path: &Path, options: &Options, account: &Account, ports: Ports) -> String {
    let Account { user, group, uid, gid, .. } = account;
    let capability = options.imap_capability.as_ref().map_or_else(String::new, |line| format!("imap_capability = {line}\n"));
    format!(
        "base_dir = {dir}/run\nstate_dir = {dir}/run\nlog_path = {dir}/log\nlisten = 127.0.0.1\nssl = yes\n\
         default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n\
         first_valid_uid = {first}\nfirst_valid_gid = {first_gid}\nmail_uid = {uid}\nmail_gid = {gid}\nmail_fsync = never\nmail_save_crlf = yes\n\
         mail_max_userip_connections = {userip}\nauth_failure_delay = 0\nauth_mechanisms = plain login scram-sha-256\n\
         {capability}{services}{namespace}{extra}\n",
        dir = path.display(),
        first = uid.min(&1),
        first_gid = gid.min(&1),
        userip = options.max_userip,
        services = services(ports),
        namespace = namespace(options),
        extra = options.extra,
    )
}

fn config_23(path: &Path, options: &Options, account: &Account, ports: Ports) -> String {
    format!(
        "protocols = imap pop3\nssl_cert = <{dir}/cert.pem\nssl_key = <{dir}/key.pem\ndisable_plaintext_auth = yes\n\
         mail_location = {location}\npassdb {{\n  driver = static\n  args = password={password}\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={dir}/mail/%u\n}}\n{common}",
        dir = path.display(),
        location = if options.sdbox { "sdbox:~/sdbox" } else { "maildir:~/Maildir" },
        password = canary(),
        uid = account.uid,
        gid = account.gid,
        common = common(path, options, account, ports),
    )
}

fn config_24(path: &Path, options: &Options, account: &Account, ports: Ports) -> String {
    let (driver, place) = if options.sdbox { ("sdbox", "~/sdbox") } else { ("maildir", "~/Maildir") };
    format!(
        "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\nprotocols {{\n  imap = yes\n  pop3 = yes\n}}\n\
         ssl_server_cert_file = {dir}/cert.pem\nssl_server_key_file = {dir}/key.pem\nauth_allow_cleartext = no\n\
         mail_driver = {driver}\nmail_path = {place}\npassdb static {{\n  password = {password}\n}}\n\
         userdb static {{\n  fields {{\n    uid = {uid}\n    gid = {gid}\n    home = {dir}/mail/%{{user}}\n  }}\n}}\n{common}",
        dir = path.display(),
        password = canary(),
        uid = account.uid,
        gid = account.gid,
        common = common(path, options, account, ports),
    )
}

/// A session of the independent client.
pub type Client = imap::Session<TlsStream<TcpStream>>;

/// One mail user.
#[derive(Clone)]
pub struct User {
    dovecot: Dovecot,
    name: String,
}

impl User {
    /// Login name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The instance.
    pub fn dovecot(&self) -> &Dovecot {
        &self.dovecot
    }

    /// `imaps://name@localhost:port`.
    pub fn imaps(&self) -> String {
        format!("imaps://{}@localhost:{}", self.name, self.dovecot.ports().imaps)
    }

    /// `imap://name@localhost:port` (STARTTLS).
    pub fn imap(&self) -> String {
        format!("imap://{}@localhost:{}", self.name, self.dovecot.ports().imap)
    }

    /// `pop3s://name@localhost:port`.
    pub fn pop3s(&self) -> String {
        format!("pop3s://{}@localhost:{}", self.name, self.dovecot.ports().pop3s)
    }

    /// `pop3://name@localhost:port` (STLS).
    pub fn pop3(&self) -> String {
        format!("pop3://{}@localhost:{}", self.name, self.dovecot.ports().pop3)
    }

    /// The user's home on disk, below it `Maildir`.
    pub fn home(&self) -> PathBuf {
        self.dovecot.0.dir.path().join("mail").join(&self.name)
    }

    /// A fresh session of the independent client.
    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.dovecot.ports().imaps)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = tls::identity().connector().connect("localhost", stream).unwrap();
        let mut client = imap::Client::new(stream);
        client.read_greeting().unwrap();
        client.login(&self.name, canary()).map_err(|(error, _)| error).unwrap()
    }

    /// Creates a folder (its name as people write it, `/` between levels).
    pub fn create(&self, folder: &str) {
        let mut client = self.client();
        client.create(super::modified_utf7(folder)).unwrap();
        client.logout().unwrap();
    }

    /// Plants messages byte for byte as Maildir files, in this order; the folder is made where it is missing.
    pub fn deliver(&self, folder: &str, messages: &[Vec<u8>]) {
        let plants: Vec<Plant> = messages.iter().map(|body| Plant::new(body.clone())).collect();
        self.plant(folder, &plants);
    }

    /// The same with flags and dates.
    pub fn plant(&self, folder: &str, messages: &[Plant]) {
        // Dovecot gives UIDs in the order of the time stamps in the file names.
        static COUNTER: AtomicU64 = AtomicU64::new(1_000_000_000);
        assert!(!self.dovecot.0.options.sdbox, "only a Maildir can be planted");
        let account = &self.dovecot.0.account;
        let root = self.home().join("Maildir");
        let directory =
            if folder == "INBOX" { root.clone() } else { root.join(format!(".{}", super::modified_utf7(folder).replace('/', "."))) };
        for made in [self.home(), root, directory.clone()] {
            if !made.is_dir() {
                fs::create_dir(&made).unwrap();
                account.own(&made);
            }
        }
        if folder != "INBOX" && !directory.join("maildirfolder").exists() {
            fs::write(directory.join("maildirfolder"), "").unwrap();
            account.own(&directory.join("maildirfolder"));
        }
        for sub in ["tmp", "new", "cur"] {
            if !directory.join(sub).is_dir() {
                fs::create_dir(directory.join(sub)).unwrap();
                account.own(&directory.join(sub));
            }
        }
        for message in messages {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut letters: Vec<char> = message.flags.iter().map(|flag| maildir_letter(flag)).collect();
            letters.sort_unstable();
            let info: String = letters.into_iter().collect();
            let name = format!("{number}.M0P{}.test,S={}:2,{info}", std::process::id(), message.body.len());
            let temporary = directory.join("tmp").join(&name);
            fs::write(&temporary, &message.body).unwrap();
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(message.internal_date).unwrap());
            fs::File::options().write(true).open(&temporary).unwrap().set_modified(date).unwrap();
            account.own(&temporary);
            fs::rename(&temporary, directory.join("cur").join(&name)).unwrap();
        }
    }

    /// Makes a copy of a directory the user's Maildir, so that Dovecot serves it.
    pub fn serve(&self, from: &Path) {
        let account = &self.dovecot.0.account;
        fs::create_dir_all(self.home()).unwrap();
        let to = self.home().join("Maildir");
        assert!(Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap().success());
        let owner = format!("{}:{}", account.uid, account.gid);
        assert!(Command::new("chown").arg("-R").arg(owner).arg(self.home()).status().unwrap().success());
    }

    /// Appends through the independent client: what IMAP can carry, with flags and keywords.
    pub fn append(&self, folder: &str, body: &[u8], flags: &[&str]) {
        let mut client = self.client();
        let flags: Vec<imap::types::Flag<'static>> = flags.iter().map(|flag| imap::types::Flag::from((*flag).to_owned())).collect();
        client.append(&super::modified_utf7(folder), body).flags(flags).finish().unwrap();
        client.logout().unwrap();
    }

    /// All messages of a folder in the order of their UIDs; read without marking them.
    pub fn messages(&self, folder: &str) -> Vec<Seen> {
        let mut client = self.client();
        client.examine(super::modified_utf7(folder)).unwrap();
        let fetched = client.uid_fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])").unwrap();
        let mut messages: Vec<Seen> = fetched
            .iter()
            .map(|fetch| {
                let mut flags: Vec<String> =
                    fetch.flags().iter().map(ToString::to_string).filter(|flag| !flag.eq_ignore_ascii_case("\\Recent")).collect();
                flags.sort();
                Seen {
                    uid: fetch.uid.unwrap(),
                    flags,
                    internal_date: fetch.internal_date().unwrap().timestamp(),
                    body: fetch.body().unwrap_or_default().to_vec(),
                }
            })
            .collect();
        messages.sort_by_key(|message| message.uid);
        client.logout().unwrap();
        messages
    }

    /// The bodies of a folder in the order of their UIDs.
    pub fn bodies(&self, folder: &str) -> Vec<Vec<u8>> {
        self.messages(folder).into_iter().map(|message| message.body).collect()
    }

    /// UIDVALIDITY of a folder.
    pub fn uid_validity(&self, folder: &str) -> u32 {
        let mut client = self.client();
        let mailbox = client.examine(super::modified_utf7(folder)).unwrap();
        client.logout().unwrap();
        mailbox.uid_validity.unwrap()
    }

    /// Unique-ids as POP3 lists them.
    pub fn uidls(&self) -> Vec<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.dovecot.ports().pop3s)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = BufReader::new(tls::identity().connector().connect("localhost", stream).unwrap());
        let mut line = |command: &str| {
            stream.get_mut().write_all(command.as_bytes()).unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        line("");
        line(&format!("USER {}\r\n", self.name));
        assert!(line(&format!("PASS {}\r\n", canary())).starts_with("+OK"));
        line("UIDL\r\n");
        let ids: Vec<String> = std::iter::from_fn(|| Some(line("")).filter(|line| line != ".")).collect();
        line("QUIT\r\n");
        ids.into_iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// How many messages of a folder nobody has seen yet (`\Recent`).
    pub fn recent(&self, folder: &str) -> u32 {
        let mut client = self.client();
        let mailbox = client.examine(super::modified_utf7(folder)).unwrap();
        client.logout().unwrap();
        mailbox.recent
    }

    /// All folders in wire form (modified UTF-7, `/` between levels), sorted.
    pub fn folders(&self) -> Vec<String> {
        self.names(false)
    }

    /// The subscribed folders in wire form, sorted.
    pub fn subscribed(&self) -> Vec<String> {
        self.names(true)
    }

    fn names(&self, subscribed: bool) -> Vec<String> {
        let mut client = self.client();
        let listed = if subscribed { client.lsub(None, Some("*")) } else { client.list(None, Some("*")) }.unwrap();
        let mut names: Vec<String> = listed.iter().map(|name| name.name().to_owned()).collect();
        names.sort();
        client.logout().unwrap();
        names
    }
}

fn maildir_letter(flag: &str) -> char {
    match flag.to_ascii_lowercase().as_str() {
        "\\seen" => 'S',
        "\\answered" => 'R',
        "\\flagged" => 'F',
        "\\deleted" => 'T',
        "\\draft" => 'D',
        _ => panic!("{flag} cannot be planted; use append"),
    }
}
