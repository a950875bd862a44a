//! Messages, or what is in them, on standard output: octets as they are into a pipe, made harmless on a terminal. Text to read
//! is made harmless everywhere.

use std::io::{IsTerminal, Write};

use super::super::reading::{Chosen, Reader};
use super::{Args, Come, Fetch, Files, whole};
use crate::error::{Error, Result, Scope};
use crate::message::{InternalDate, Message};
use crate::output::{Head, MessageRow, ParsedMessage, Rows, sanitize};
use crate::report::Format;
use crate::store::Listed;
use crate::store::mbox::write_message;
use crate::summary::parts::Parts;
use crate::summary::{Readable, Summary};

const PARSED_SCHEMA: &str = "mailhaul.fetch-parsed/1";
/// Part numbers an error names.
const SHOWN_PARTS: usize = 20;

/// Standard output for octets out of mail.
struct Out(Box<dyn Write>);

impl Out {
    fn new() -> Self {
        let stdout = std::io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        let buffered = std::io::BufWriter::with_capacity(64 * 1024, stdout);
        Self(if is_terminal { Box::new(sanitize::Lines::new(buffered)) } else { Box::new(buffered) })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(|error| Error::io("standard output", error))
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush().map_err(|error| Error::io("standard output", error))
    }
}

/// The messages themselves: one as it is, several as an mbox.
pub(super) fn raw(fetch: &Fetch<'_>, reader: &mut dyn Reader, chosen: &Chosen, format: Option<Files>) -> Result<Come> {
    let as_mbox = match format {
        None => chosen.wanted.len() > 1,
        Some(Files::Mbox) => true,
        Some(_) if chosen.wanted.len() > 1 => {
            return Err(Error::usage("several messages go to standard output as an mbox only")
                .hint("leave --format away, or name a directory with --to"));
        }
        Some(_) => false,
    };
    let now = InternalDate { seconds: fetch.app.context.unix_time(), offset: 0 };
    let mut out = Out::new();
    fetch.each(reader, chosen, &mut |_, message| {
        if as_mbox {
            write_message(&message, now, &mut |piece| out.put(piece))?;
        } else {
            message.body.each_chunk(|chunk| out.put(chunk))?;
        }
        out.flush()
    })
}

/// The headers alone, each with its empty line.
pub(super) fn headers(fetch: &Fetch<'_>, reader: &mut dyn Reader, chosen: &Chosen) -> Result<Come> {
    let mut out = Out::new();
    let several = chosen.wanted.len() > 1;
    fetch.each_header(reader, chosen, &mut |_, header| {
        out.put(&header)?;
        // Where the next begins has to be seen, even behind a message that has no body and no empty line.
        if several && !(header.ends_with(b"\n\n") || header.ends_with(b"\n\r\n") || header == b"\n" || header == b"\r\n") {
            out.put(if header.ends_with(b"\n") { b"\r\n" } else { b"\r\n\r\n" })?;
        }
        out.flush()
    })
}

/// One part of one message, decoded.
pub(super) fn part(fetch: &Fetch<'_>, reader: &mut dyn Reader, chosen: &Chosen, number: &str) -> Result<Come> {
    if chosen.wanted.len() > 1 {
        return Err(one_message());
    }
    let mut out = Out::new();
    fetch.each(reader, chosen, &mut |_, message| {
        let bytes = whole(&message.body)?;
        let parts = Parts::of(&bytes);
        let Some(part) = parts.numbered(number) else {
            let there: Vec<&str> = parts.list().iter().filter_map(|part| part.number.as_deref()).take(SHOWN_PARTS).collect();
            return Err(Error::usage(format!("it has no part {number}; its parts are {}", there.join(", "))).scoped(Scope::Message));
        };
        parts.decoded(part, &mut |piece| out.put(piece))?;
        out.flush()
    })
}

/// What `--part` says of several messages.
pub(super) fn one_message() -> Error {
    Error::usage("--part takes a part out of one message").hint("select one message, or use --attachments DIR or -o json")
}

/// The text a person reads.
pub(super) fn text(fetch: &Fetch<'_>, reader: &mut dyn Reader, chosen: &Chosen) -> Result<Come> {
    let several = chosen.wanted.len() > 1;
    let mut out = Out(Box::new(std::io::BufWriter::new(std::io::stdout().lock())));
    let mut first = true;
    fetch.each(reader, chosen, &mut |listed, message| {
        let bytes = whole(&message.body)?;
        let readable = Readable::of(&Parts::of(&bytes));
        if several {
            if !std::mem::take(&mut first) {
                out.put(b"\n")?;
            }
            out.put(heading(&bytes).as_bytes())?;
        }
        out.put(sanitize::text(&readable.text).as_bytes())?;
        if readable.cut {
            fetch.app.note(&format!("{} of message {}: its text is longer than what is shown", fetch.folder, listed.id));
        }
        out.flush()
    })
}

/// What stands above each of several texts.
fn heading(message: &[u8]) -> String {
    let row = MessageRow::default().with_summary(Summary::of(message));
    let from = row.from.first().map(|one| match (&one.name, &one.address) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => name.as_ref().or(address.as_ref()).cloned().unwrap_or_default(),
    });
    let lines = [("From", from), ("Date", row.date), ("Subject", row.subject)];
    let lines: String =
        lines.iter().map(|(name, value)| format!("{name}: {}\n", sanitize::line(value.as_deref().unwrap_or_default()))).collect();
    format!("{lines}\n")
}

/// The messages taken apart, as JSON.
pub(super) fn parsed(fetch: &Fetch<'_>, reader: &mut dyn Reader, chosen: &Chosen, format: Format) -> Result<Come> {
    let head = Head { schema: PARSED_SCHEMA, members: vec![("place", fetch.place.shown.clone().into())], rows: "messages" };
    let mut rows = Rows::new::<ParsedMessage>(std::io::stdout().lock(), format, &head, None, &[], None)?;
    let generation = reader.generation();
    let mut incomplete = Vec::new();
    let mut come = fetch.each(reader, chosen, &mut |listed, message| {
        let bytes = whole(&message.body)?;
        let parts = Parts::of(&bytes);
        if !parts.is_whole() {
            incomplete.push(listed.id);
        }
        rows.row(&ParsedMessage::new(row(fetch, generation, listed, &message), &bytes, &parts))?;
        if format == Format::Jsonl { rows.flush() } else { Ok(()) }
    })?;
    incomplete.into_iter().for_each(|id| come.problem(fetch, id, super::NOT_WHOLE.to_owned()));
    rows.finish_with(&come.problems)?;
    Ok(come)
}

fn row(fetch: &Fetch<'_>, generation: Option<u32>, listed: &Listed, message: &Message) -> MessageRow {
    let date = message.internal_date.or(listed.internal_date);
    let uidl = match &listed.key {
        Some(crate::message::Key::Uidl { uidl }) => Some(uidl.to_string()),
        _ => None,
    };
    let numbered = fetch.numbered;
    MessageRow {
        place: fetch.place.shown.clone(),
        folder: fetch.folder.clone(),
        uidvalidity: generation,
        uid: (!numbered).then_some(listed.id),
        number: numbered.then_some(listed.id),
        uidl,
        size: Some(message.body.len()),
        internal_date: date.and_then(InternalDate::rfc3339),
        ..MessageRow::default()
    }
    .with_flags(&message.flags)
}

/// What cannot go together on standard output.
pub(super) fn check(args: &Args) -> Result<()> {
    let has_format = args.output.format().is_some();
    let what = [(args.headers, "--headers"), (args.part.is_some(), "--part"), (args.text, "--text")];
    if let Some((_, what)) = what.into_iter().find(|(given, _)| *given && has_format) {
        return Err(Error::usage(format!("{what} writes the mail itself, and -o what is read out of it"))
            .hint(format!("leave {what} away for the parsed message, or -o")));
    }
    Ok(())
}
