//! The folder names of an account as they were seen last, in a file of the user's cache, for completion alone. Nothing
//! depends on it: whatever goes wrong here goes wrong silently, and no decision is ever taken by what it holds.

use std::fs::DirBuilder;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use crate::account::Server;
use crate::context::Context;
use crate::folder::Folder;
use crate::message::Digest;
use crate::output::typed_folder;

/// Names older than this are asked for anew.
const FRESH: Duration = Duration::from_secs(3600);
/// After a failure nobody is asked for so long.
const RESPITE: Duration = Duration::from_secs(60);
/// A file of names is never larger.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// The names of one account.
pub(in crate::commands) struct Cache {
    file: Option<PathBuf>,
    context: Context,
}

impl Cache {
    /// The file for this server and user, whether it is there or not.
    pub(in crate::commands) fn of(server: &Server, context: &Context) -> Self {
        // A relative XDG_CACHE_HOME is invalid and to be ignored, says the XDG base directory specification.
        let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = set.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
        let digest = Digest::of(server.identity().as_bytes()).to_string();
        let file = home.map(|home| home.join("mailhaul/folders").join(digest.get(..32).unwrap_or(&digest)));
        Self { file, context: context.clone() }
    }

    /// The names in the form they are typed, as far as they are known.
    pub(super) fn names(&self) -> Vec<String> {
        let Some(file) = self.file.as_ref().and_then(|path| std::fs::File::open(path).ok()) else { return Vec::new() };
        let mut text = Vec::new();
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// Whether the names are new enough to do without the server, or it was asked in vain a moment ago.
    pub(super) fn is_fresh(&self) -> bool {
        self.younger("", FRESH) || self.younger(".failed", RESPITE)
    }

    fn younger(&self, suffix: &str, than: Duration) -> bool {
        let path = self.file.as_ref().map(|path| path.with_added_extension(suffix.trim_start_matches('.')));
        let path = if suffix.is_empty() { self.file.clone() } else { path };
        let written = path.and_then(|path| path.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        let now = u64::try_from(self.context.unix_time()).unwrap_or_default();
        // One from the future is as good as none.
        written.is_some_and(|written| now.checked_sub(written.as_secs()).is_some_and(|age| age < than.as_secs()))
    }

    /// Remembers these folders; one with a control character in its name is left out.
    pub(in crate::commands) fn write<'a>(&self, folders: impl Iterator<Item = &'a Folder>) {
        let plain = folders.filter(|folder| !folder.levels().iter().any(|level| level.contains(char::is_control)));
        let mut text = String::new();
        for name in plain.map(typed_folder) {
            if text.len() as u64 + name.len() as u64 >= MOST_BYTES {
                break;
            }
            text.push_str(&name);
            text.push('\n');
        }
        self.put("", &text);
    }

    /// Remembers that the server did not answer.
    pub(super) fn write_failure(&self) {
        self.put("failed", "");
    }

    /// Forgets the names: they are not what they were.
    pub(in crate::commands) fn forget(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }

    fn put(&self, extension: &str, text: &str) {
        let Some(file) = &self.file else { return };
        let file = if extension.is_empty() { file.clone() } else { file.with_added_extension(extension) };
        let Some(folder) = file.parent() else { return };
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        // Whole or not at all: a completion may read while another run writes.
        if let Ok(mut temporary) = tempfile::NamedTempFile::new_in(folder)
            && temporary.write_all(text.as_bytes()).is_ok()
        {
            let _ = temporary.persist(file);
        }
    }
}
