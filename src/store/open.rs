//! Opening any place as a source or a sink: the one table of what a place can be. It knows which store reads which place and
//! must never know which verb asks.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::eml::{EmlSink, EmlSource};
use super::imap::{ImapSink, ImapSource};
use super::maildir::{MaildirSink, MaildirSource};
use super::mbox::{MboxSink, MboxSource, is_mbox};
use super::pop3::Pop3Source;
use super::spread::{Allowance, SpreadSink, SpreadSource};
use super::{Sink, Source};
use crate::account::{Location, Place, Protocol, Server};
use crate::context::Context;
use crate::error::{Error, Result, io_words};
use crate::imap::session::Access;
use crate::net::Trace;

/// A place that is opened as a source, again after each loss.
pub struct Opener<'a> {
    place: &'a Place,
    context: &'a Context,
    trace: &'a Trace,
    /// How often it was opened.
    opened: AtomicU32,
    /// How many sessions there may be, at a server.
    allowance: Option<Arc<Allowance>>,
    /// Standard input, once it was read.
    spool: Mutex<Option<Spool>>,
}

impl<'a> Opener<'a> {
    /// Opens nothing yet.
    pub fn new(place: &'a Place, context: &'a Context, trace: &'a Trace) -> Self {
        let allowance = place.server().map(|server| Arc::new(Allowance::of(server)));
        Self { place, context, trace, opened: AtomicU32::new(0), allowance, spool: Mutex::new(None) }
    }

    /// The place, read-only, over several sessions where the user wants that and the protocol allows it (POP3 does not).
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn spread(&self) -> Result<Box<dyn Source>> {
        match (self.place.server(), &self.allowance) {
            (Some(server), Some(allowance)) if server.protocol == Protocol::Imap && allowance.wants_several() => {
                let losses = self.opened.fetch_add(1, Ordering::Relaxed);
                let connect = connect(server, self.context, self.trace, allowance, move |server, context, trace| {
                    careful(ImapSource::connect(server, context, trace)?, losses)
                });
                Ok(Box::new(SpreadSource::over(connect()?, Arc::clone(allowance), connect)))
            }
            _ => self.source(),
        }
    }

    /// The place, read-only.
    ///
    /// # Errors
    /// As the store's own opening. Local places are looked at only when they are listed.
    pub fn source(&self) -> Result<Box<dyn Source>> {
        // A POP3 server that announces PIPELINING and cannot do it (wildduck#950, MailKit#174) loses the session again and
        // again: after the second loss it is asked for one message at a time.
        let losses = self.opened.fetch_add(1, Ordering::Relaxed);
        let pipelining = losses < 2;
        match &self.place.location {
            Location::Server(server) if server.protocol == Protocol::Imap => {
                Ok(Box::new(careful(ImapSource::connect(server, self.context, self.trace)?, losses)?))
            }
            Location::Server(server) => Ok(Box::new(Pop3Source::connect_with(server, self.context, self.trace, pipelining)?)),
            Location::Stdio => {
                let mut spool = self.spool.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if spool.is_none() {
                    *spool = Some(Spool::of(&mut std::io::stdin().lock())?);
                }
                spool.as_ref().map_or_else(|| Err(Error::local("standard input was not read")), |spool| Ok(spool.source()))
            }
            _ => local_source(self.place),
        }
    }
}

/// What is asked for by one command comes in vain if the session is lost in the middle: a server that hangs up is asked for less.
fn careful(mut source: ImapSource, losses: u32) -> Result<ImapSource> {
    match losses {
        0 => {}
        1..=3 => source.ask_for_few(200),
        _ => source.ask_for_few(50),
    }
    Ok(source)
}

/// A place that lies on this machine, and is no stream, read-only.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for other places.
pub fn local_source(place: &Place) -> Result<Box<dyn Source>> {
    Ok(match &place.location {
        Location::Maildir(path) => Box::new(MaildirSource::new(path)),
        Location::Mbox(path) => Box::new(MboxSource::new(path)),
        Location::Eml(path) => Box::new(EmlSource::new(path)),
        Location::Stdio => return Err(Error::usage("standard input makes no sense here").at(&place.shown)),
        Location::Server(_) => return Err(Error::usage("not a place on this machine").at(&place.shown)),
    })
}

/// The place, to write into; with [`Access::ReadOnly`] only to look into.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for places that take no mail (POP3, standard output), and what the store's opening says.
pub fn sink(place: &Place, access: Access, context: &Context, trace: &Trace) -> Result<Box<dyn Sink>> {
    Ok(match &place.location {
        Location::Server(server) if server.protocol == Protocol::Imap => Box::new(ImapSink::connect(server, access, context, trace)?),
        Location::Server(_) => {
            return Err(Error::usage("POP3 cannot take mail; name the account's IMAP side").at(&place.shown));
        }
        Location::Maildir(path) => Box::new(MaildirSink::new(path, context.clone())),
        Location::Mbox(path) => Box::new(MboxSink::new(path, context.clone())),
        Location::Eml(path) => Box::new(EmlSink::new(path, context.clone())),
        Location::Stdio => return Err(Error::usage("standard output makes no sense here").at(&place.shown)),
    })
}

/// The place, to write into, over several sessions where that pays or the user wants it; one value of `allowance` serves all the
/// sinks of a run.
///
/// # Errors
/// As [`sink`].
pub fn spread_sink(place: &Place, allowance: Option<&Arc<Allowance>>, context: &Context, trace: &Trace) -> Result<Box<dyn Sink>> {
    let (Some(server), Some(allowance)) = (place.server().filter(|server| server.protocol == Protocol::Imap), allowance) else {
        return sink(place, Access::ReadWrite, context, trace);
    };
    let connect =
        connect(server, context, trace, allowance, |server, context, trace| ImapSink::connect(server, Access::ReadWrite, context, trace));
    Ok(match SpreadSink::over(connect()?, Arc::clone(allowance), connect) {
        Ok(sink) => Box::new(sink),
        Err(first) => first,
    })
}

/// How many sessions a run may have at the place, where it is a server.
pub fn allowance(place: &Place) -> Option<Arc<Allowance>> {
    place.server().map(|server| Arc::new(Allowance::of(server)))
}

/// What opens one session after the other and learns from refusals.
fn connect<T>(
    server: &Server,
    context: &Context,
    trace: &Trace,
    allowance: &Arc<Allowance>,
    open: impl Fn(&Server, &Context, &Trace) -> Result<T> + Send + Sync + 'static,
) -> impl Fn() -> Result<T> + Send + Sync + 'static {
    let (server, context, trace, allowance) = (server.clone(), context.clone(), trace.clone(), Arc::clone(allowance));
    move || open(&server, &context, &trace).inspect_err(|error| allowance.heed(error))
}

/// The place, to move a house into: where messages are named by numbers that the place gives, and what has no room is told of.
///
/// # Errors
/// As [`sink`].
pub fn house(place: &Place, access: Access, context: &Context, trace: &Trace) -> Result<Box<dyn Sink>> {
    Ok(match &place.location {
        Location::Mbox(path) => Box::new(MboxSink::new(path, context.clone()).naming_flags()),
        Location::Eml(path) => Box::new(EmlSink::new(path, context.clone()).numbering()),
        _ => sink(place, access, context, trace)?,
    })
}

/// Whether the place keeps flags of its own, so that no flag means none.
pub fn keeps_flags(place: &Place) -> bool {
    match &place.location {
        Location::Server(server) => server.protocol == Protocol::Imap,
        Location::Maildir(_) => true,
        Location::Mbox(_) | Location::Eml(_) | Location::Stdio => false,
    }
}

/// Under what a journal keeps the place, whatever the user calls it.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when there is no such file or directory.
pub fn identity(place: &Place) -> Result<String> {
    let local = |kind: &str, path: &Path| {
        let path = path.canonicalize().map_err(|error| Error::usage(format!("{}: {}", path.display(), io_words(&error))))?;
        Ok(format!("{kind}:{}", path.display()))
    };
    match &place.location {
        Location::Server(server) => Ok(server.identity()),
        Location::Maildir(path) => local("maildir", path),
        Location::Mbox(path) => local("mbox", path),
        Location::Eml(path) => local("eml", path),
        Location::Stdio => Ok("-".to_owned()),
    }
}

/// As [`identity`], of a place on this machine that may not be there yet: what is lies where the nearest directory above it does.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for a way that cannot be followed.
pub fn future_identity(place: &Place) -> Result<String> {
    let (kind, path) = match &place.location {
        Location::Maildir(path) => ("maildir", path),
        Location::Mbox(path) => ("mbox", path),
        Location::Eml(path) => ("eml", path),
        Location::Server(_) | Location::Stdio => return identity(place),
    };
    Ok(format!("{kind}:{}", future_path(path)?.display()))
}

/// Where a path leads that may not be there yet.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when it goes back up out of what is not there, or leads through something that is no directory.
pub fn future_path(path: &Path) -> Result<PathBuf> {
    let wrong = |words: String| Error::usage(format!("{}: {words}", path.display()));
    let whole = std::path::absolute(path).map_err(|error| wrong(io_words(&error)))?;
    let mut rest = Vec::new();
    for above in whole.ancestors() {
        match above.canonicalize() {
            Ok(mut real) => {
                real.extend(rest.iter().rev());
                return Ok(real);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match above.file_name() {
                // A link to nowhere is no place where something can be made.
                Some(name) if above.symlink_metadata().is_err() => rest.push(name.to_owned()),
                _ => return Err(wrong(io_words(&error))),
            },
            Err(error) => return Err(wrong(io_words(&error))),
        }
    }
    Err(wrong("there is nothing".to_owned()))
}

/// A stream kept in a temporary file, which is private and goes with this value.
pub struct Spool {
    /// Removes the file when dropped.
    _dir: TempDir,
    path: PathBuf,
    mbox: bool,
    len: u64,
}

impl Spool {
    /// Reads a stream to its end: an mbox when its first line begins with `From ` or there is nothing in it, else one message.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when it cannot be read or kept.
    pub fn of(stream: &mut dyn Read) -> Result<Self> {
        let kept = |error| Error::io("a temporary file", error);
        let dir = tempfile::Builder::new().prefix("mailhaul").tempdir().map_err(kept)?;
        let path = dir.path().join("-");
        let mut file = std::fs::File::create_new(&path).map_err(kept)?;
        let mut head = Vec::new();
        let mut len = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("standard input", error)),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            head.extend(bytes.iter().take(4096_usize.saturating_sub(head.len())));
            len += count as u64;
            file.write_all(bytes).map_err(kept)?;
        }
        Ok(Self { _dir: dir, path, mbox: len == 0 || is_mbox(&head), len })
    }

    /// How many bytes came.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is an mbox.
    pub fn is_mbox(&self) -> bool {
        self.mbox
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds, in INBOX; this value must outlive the reading.
    pub fn source(&self) -> Box<dyn Source> {
        if self.mbox { Box::new(MboxSource::new(&self.path)) } else { Box::new(EmlSource::new(&self.path)) }
    }
}
