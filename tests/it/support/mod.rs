//! What the tests stand on: servers, a bad network, nasty mail, and a cage to run the program in.

pub mod dovecot;
pub mod imapd;
pub mod mail;
pub mod names;
pub mod odd;
pub mod pop3d;
pub mod proxy;
pub mod schema;
pub mod script;
pub mod server;
pub mod store;
pub mod strace;
pub mod terminal;
pub mod tls;
pub mod tool;

/// Sixteen hex digits that no other run has had.
pub fn random_token() -> String {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}

/// The one password of every test user in this process: a canary that no output, trace or state file may hold.
pub fn canary() -> &'static str {
    static CANARY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    CANARY.get_or_init(|| format!("Canary-{}", random_token()))
}

/// A mailbox name in modified UTF-7 (RFC 3501 section 5.1.3), written for the tests alone so that it can prove ours.
pub fn modified_utf7(name: &str) -> String {
    use base64::Engine as _;
    let mut wire = String::new();
    let mut shifted: Vec<u8> = Vec::new();
    let flush = |wire: &mut String, shifted: &mut Vec<u8>| {
        if !shifted.is_empty() {
            let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&*shifted).replace('/', ",");
            wire.push_str(&format!("&{text}-"));
            shifted.clear();
        }
    };
    for character in name.chars() {
        if (' '..='~').contains(&character) {
            flush(&mut wire, &mut shifted);
            wire.push(character);
            if character == '&' {
                wire.push('-');
            }
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    flush(&mut wire, &mut shifted);
    wire
}

/// Waits until a server has seen something; a program that never does it fails the test instead of hanging it.
pub fn wait_for(what: &str, mut seen: impl FnMut() -> bool) {
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !seen() {
        assert!(std::time::Instant::now() < give_up, "{what} never came");
        std::thread::yield_now();
    }
}
