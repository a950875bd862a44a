//! The program on a terminal of its own: what people would see, octet by octet.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty;

use super::tool::{Tool, program};

/// Runs the program with its standard output on a new terminal; what it wrote there, and its exit code. The terminal's own
/// carriage returns are taken off.
pub fn run(tool: &Tool, args: &[String]) -> (Vec<u8>, i32) {
    run_on(tool, args, false)
}

/// The same with standard error on it too, but for progress: what is drawn over and over is steered by the program itself.
pub fn run_all(tool: &Tool, args: &[String]) -> (Vec<u8>, i32) {
    run_on(tool, &[args, &["--progress=never".to_owned()]].concat(), true)
}

/// The same with what is drawn over and over.
pub fn run_drawing(tool: &Tool, args: &[String]) -> (Vec<u8>, i32) {
    run_on(tool, args, true)
}

fn run_on(tool: &Tool, args: &[String], errors: bool) -> (Vec<u8>, i32) {
    let master = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&master).unwrap();
    pty::unlockpt(&master).unwrap();
    let path = pty::ptsname(&master, Vec::new()).unwrap();
    let slave: OwnedFd = std::fs::File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap().into();
    let mut child = {
        let mut command = tool.command(program());
        let other = if errors { Stdio::from(slave.try_clone().unwrap()) } else { Stdio::null() };
        command.args(args).env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::from(slave)).stderr(other);
        command.spawn().unwrap()
        // With the command the last handle of the other end but the program's goes away.
    };
    let reader = std::thread::spawn(move || {
        let mut master = std::fs::File::from(master);
        let (mut all, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        // When the program has ended, reading fails rather than ends.
        while let Ok(count) = master.read(&mut piece) {
            if count == 0 {
                break;
            }
            all.extend_from_slice(&piece[..count]);
        }
        all
    });
    let code = child.wait().unwrap().code().unwrap_or(-1);
    let seen = reader.join().unwrap();
    let mut shown = Vec::with_capacity(seen.len());
    for (at, byte) in seen.iter().enumerate() {
        if !(*byte == b'\r' && seen.get(at + 1) == Some(&b'\n')) {
            shown.push(*byte);
        }
    }
    (shown, code)
}

/// Why these octets could do harm on a terminal; `None` when they cannot.
pub fn harm(bytes: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Some("it is no UTF-8".to_owned()) };
    let bad = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{2028}' | '\u{2029}'
                | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
    };
    let (at, c) = text.char_indices().find(|(_, c)| bad(*c))?;
    let around: String = text[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
    Some(format!("{c:?} behind {around:?}"))
}
