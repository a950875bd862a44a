//! A secret that cannot be printed: no `Debug`, no `Display`, no `Serialize`, so that no error, log or trace can hold it
//! by accident. The tests search every output for canaries all the same.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A password or token. It is exposed only where it is framed for the wire.
#[derive(Clone)]
pub struct Secret(String);

/// What stands in a secret's place.
const HIDDEN: &str = "***";
/// A longer beginning of a secret (in characters) gives it away even where a server cut its echo short.
const TELLING_PREFIX: usize = 8;
/// A shorter stretch of base64 says too little to be searched for.
const TELLING_BASE64: usize = 4;

impl Secret {
    /// Takes hold of a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; call this only where the bytes go to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with `***` in place of the secret: as it is, with quotes and backslashes escaped, in base64, and in the
    /// base64 of any longer frame (SASL PLAIN, XOAUTH2) wherever it stands in there. Letters count without case, and a
    /// beginning of eight characters counts as the whole: servers change the case of what they echo, and cut it.
    pub fn redact(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let mut plain = vec![self.0.clone()];
        let escaped = self.0.replace('\\', "\\\\").replace('"', "\\\"");
        if escaped != self.0 {
            plain.push(escaped);
        }
        let encoded = base64_stretches(self.0.as_bytes());
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(length) = plain.iter().filter_map(|secret| match_length(rest, secret, false)).max() {
                result.push_str(HIDDEN);
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            if encoded.iter().any(|secret| match_length(rest, secret, true).is_some()) {
                // The whole run of base64 goes: what surrounds the secret in its frame holds the rest of it.
                let kept = result.trim_end_matches(is_base64).len();
                result.truncate(kept);
                result.push_str(HIDDEN);
                rest = rest.trim_start_matches(is_base64);
                continue;
            }
            result.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
        result
    }
}

fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '=' | '-' | '_')
}

/// How many bytes at the start of `text` are `secret`, or a telling beginning of it (`None` when neither).
fn match_length(text: &str, secret: &str, exact_length_only: bool) -> Option<usize> {
    let mut bytes = 0;
    let mut characters = 0;
    let mut theirs = text.chars();
    for ours in secret.chars() {
        match theirs.next() {
            Some(other) if other.eq_ignore_ascii_case(&ours) => {
                bytes += other.len_utf8();
                characters += 1;
            }
            _ if characters >= TELLING_PREFIX && !(exact_length_only && characters < 2 * TELLING_PREFIX) => return Some(bytes),
            _ => return None,
        }
    }
    Some(bytes)
}

/// The base64 text that every frame holding `secret` contains, for each of the three ways it can fall on the groups of
/// three octets; cut to the characters that the octets around it do not change.
fn base64_stretches(secret: &[u8]) -> Vec<String> {
    let mut stretches: Vec<String> = Vec::new();
    for lead in 0..3_usize {
        let mut frame = vec![0; lead];
        frame.extend_from_slice(secret);
        let first = (lead * 8).div_ceil(6);
        let last = frame.len() * 8 / 6;
        for text in [STANDARD.encode(&frame), URL_SAFE.encode(&frame)] {
            if let Some(stretch) = text.get(first..last)
                && stretch.len() >= TELLING_BASE64
                && !stretches.iter().any(|known| known == stretch)
            {
                stretches.push(stretch.to_owned());
            }
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_secret_is_hidden_in_every_form_it_was_sent_in() {
        let secret = Secret::new("hunt\"er2ä");
        assert_eq!(secret.redact("bad command PASS hunt\"er2ä, sorry"), "bad command PASS ***, sorry");
        assert_eq!(secret.redact("LOGIN ann \"hunt\\\"er2ä\""), "LOGIN ann \"***\"");
        assert_eq!(secret.redact("PASS HUNT\"ER2ä"), "PASS ***");
        for frame in
            ["hunt\"er2ä", "\0ann\0hunt\"er2ä", "\0anna\0hunt\"er2ä", "\0annab\0hunt\"er2ä", "user=x\u{1}auth=Bearer hunt\"er2ä\u{1}\u{1}"]
        {
            for encoded in [STANDARD.encode(frame), URL_SAFE.encode(frame)] {
                assert_eq!(secret.redact(&format!("unknown: AUTH PLAIN {encoded}!")), "unknown: AUTH PLAIN ***!", "{frame}");
            }
        }
    }

    #[test]
    fn a_secret_cut_short_by_the_server_is_hidden_too() {
        let token = Secret::new("ya29.abcdefghijklmnopqrstuvwxyz0123456789");
        assert_eq!(token.redact("bad token ya29.abcdefghijk..."), "bad token ***...");
        let line = STANDARD.encode("user=ann\u{1}auth=Bearer ya29.abcdefghijklmnopqrstuvwxyz0123456789\u{1}\u{1}");
        assert_eq!(token.redact(&format!("bad line {}...", line.get(..60).unwrap())), "bad line ***...");
    }

    #[test]
    fn words_without_the_secret_stay_as_they_are() {
        let secret = Secret::new("hunter2");
        for text in ["", "no such user", "[AUTH] wrong password ä", "hunter"] {
            assert_eq!(secret.redact(text), text);
        }
        assert_eq!(Secret::new("").redact("text"), "text");
    }
}
