//! Which messages of a listing a query holds for, found out by looking into them: for places that have no search of their own.
//! It knows how to tell, and never how a message is read.

use super::Listed;
use crate::error::{Error, Result, Scope};
use crate::message::{Body, Flag, Message};
use crate::query::{Facts, Query};
use crate::summary::delivery_date;

/// So much of a message is looked at.
const MAX_WHOLE: usize = 64 * 1024 * 1024;

/// Messages of a listing that are wanted.
#[derive(Debug, Default)]
pub struct Picked {
    /// Those that match, in the order of the listing.
    pub wanted: Vec<Listed>,
    /// Those that could not be looked into, and why.
    pub unreadable: Vec<(Listed, Error)>,
}

/// Takes messages as they are read, by their index in what was asked for.
pub type Each<'a> = dyn FnMut(usize, Result<Message>) -> Result<()> + 'a;
/// Reads messages, whole or (`false`) no more than their headers where that is cheaper.
pub type Read<'a> = dyn FnMut(&[Listed], bool, &mut Each<'_>) -> Result<()> + 'a;

/// What a listing tells of a message; nobody ever flagged anything in a maildrop (`pop3`).
pub fn told<'a>(listed: &Listed, pop3: bool) -> Facts<'a> {
    let flags: Option<&[Flag]> = if pop3 { Some(&[]) } else { None };
    Facts { flags, size: listed.size, internal_date: listed.internal_date, ..Facts::default() }
}

/// Those of `messages` for which the query holds for certain; as few are read as can be.
///
/// # Errors
/// What ended the reading as a whole.
pub fn matching(messages: &[Listed], query: &Query, pop3: bool, read: &mut Read<'_>) -> Result<Picked> {
    let needs = query.needs();
    let mut found = Picked::default();
    let (mut headers, mut wholes): (Vec<Listed>, Vec<Listed>) = (Vec::new(), Vec::new());
    for listed in messages {
        match query.holds(&told(listed, pop3)) {
            Some(true) => found.wanted.push(listed.clone()),
            Some(false) => {}
            None if needs.whole || (needs.size && listed.size.is_none()) => wholes.push(listed.clone()),
            None => headers.push(listed.clone()),
        }
    }
    for (wanted, whole) in [(headers, false), (wholes, true)] {
        if wanted.is_empty() {
            continue;
        }
        read(&wanted, whole, &mut |index, message| {
            let Some(listed) = wanted.get(index) else { return Ok(()) };
            let message = match message {
                Ok(message) => message,
                Err(error) if error.scope() == Scope::Message => {
                    found.unreadable.push((listed.clone(), error));
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if holds(&message, listed, pop3, whole, query)? {
                found.wanted.push(listed.clone());
            }
            Ok(())
        })?;
    }
    found.wanted.sort_by_key(|listed| listed.id);
    Ok(found)
}

/// Whether a query holds for certain for a message that was read, `whole` or no more of it than the header.
///
/// # Errors
/// A body on disk that cannot be read.
pub fn holds(message: &Message, listed: &Listed, pop3: bool, whole: bool, query: &Query) -> Result<bool> {
    let spilled;
    let bytes = match message.body.in_memory() {
        Some(bytes) => bytes,
        None => {
            spilled = message.body.prefix(MAX_WHOLE)?;
            &spilled
        }
    };
    let arrived = listed.internal_date.or(message.internal_date);
    let facts = Facts {
        flags: Some(&message.flags),
        size: listed.size.or(whole.then(|| message.body.len())),
        internal_date: arrived.or_else(|| if pop3 { delivery_date(bytes) } else { None }),
        header: Some(bytes),
        whole: whole.then_some(bytes),
    };
    Ok(query.holds(&facts) == Some(true))
}

/// A message of which nothing but its octets is known.
///
/// # Errors
/// A body on disk that cannot be read.
pub fn bare(body: Body) -> Result<Message> {
    let digests = body.digests()?;
    Ok(Message { body, digests, internal_date: None, flags: Vec::new() })
}
