//! `--trace FILE`: the protocol dialogue, a line each way, with credentials and message bodies left out. Whoever writes
//! a secret says what to show in its place; this room only writes lines.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};

/// Where the dialogue goes, if anywhere. Clones share the file; each connection numbers its lines.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<Inner>>);

struct Inner {
    file: Mutex<File>,
    connections: AtomicU64,
}

/// The longest part of one line that is shown, in bytes.
const SHOWN: usize = 2000;

impl Trace {
    /// No trace.
    pub fn off() -> Self {
        Self(None)
    }

    /// A trace into a new file that only its owner can read; an existing one is replaced.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when it cannot be made.
    pub fn to_file(path: &Path) -> Result<Self> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| Error::io(format!("the trace file {}", path.display()), error))?;
        Ok(Self(Some(Arc::new(Inner { file: Mutex::new(file), connections: AtomicU64::new(0) }))))
    }

    /// Whether anything is written at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The number of the next connection, from 1.
    pub(super) fn next_connection(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.connections.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Writes one line: `#connection mark text`, control characters escaped, cut at a bound.
    pub(super) fn line(&self, connection: u64, mark: &str, text: &[u8]) {
        let Some(inner) = &self.0 else { return };
        let shown = text.get(..text.len().min(SHOWN)).unwrap_or_default();
        let cut = if text.len() > SHOWN { format!(" [… {} octets in all]", text.len()) } else { String::new() };
        let line = format!("#{connection} {mark} {}{cut}\n", shown.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'"));
        if let Ok(mut file) = inner.file.lock() {
            // A trace that cannot be written must not stop the mail.
            let _ = file.write_all(line.as_bytes());
        }
    }
}
