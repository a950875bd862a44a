//! Whether programs that read by POP3 download everything again when they change to another server: they know mail by its unique-id
//! and by nothing else, so both servers' are compared. Headers tell whether an id that both have means the same mail.

use std::collections::{HashMap, HashSet};

use super::measure::{Maildrop, reason};
use crate::account::Server;
use crate::commands::App;
use crate::commands::reading::farewell;
use crate::error::Result;
use crate::message::{Digest, header_digest};
use crate::report::advice::Forecast;
use crate::store::pop3::Pop3Source;
use crate::store::{Listed, Source};

/// So many ids that both servers have are looked at.
const CHECKED: usize = 20;

/// Asks the new server, and compares.
///
/// # Errors
/// A signal.
pub(super) fn forecast(app: &App, place: &str, server: &Server, old: &mut Maildrop) -> Result<Forecast> {
    let mut forecast =
        Forecast { place: place.to_owned(), unknown: None, old: 0, new: 0, kept: 0, checked: 0, other_mail: 0, again: 0, octets: 0 };
    if let Some(why) = old.offer.unmeasured.clone() {
        forecast.unknown = Some(format!("the old server could not be asked: {why}"));
    } else if let Err(error) = ask(app, server, old, &mut forecast) {
        forecast.unknown = Some(format!("the new server could not be asked: {}", reason(error)?));
    }
    Ok(forecast)
}

fn ask(app: &App, server: &Server, old: &mut Maildrop, forecast: &mut Forecast) -> Result<()> {
    let mut source = Pop3Source::connect(server, &app.context, &app.trace)?;
    source.leave_no_trace();
    let (list, uidl) = source.session().listings()?;
    let old_ids: HashMap<&str, u32> = ids(old.listings.as_ref().and_then(|(_, uidl)| uidl.as_ref()));
    forecast.old = old_ids.len() as u64;
    forecast.new = list.len().max(uidl.as_ref().map_or(0, Vec::len)) as u64;
    let new_ids = ids(uidl.as_ref());
    forecast.unknown = match (old_ids.is_empty(), uidl.is_some(), forecast.new) {
        (true, ..) => Some("no message on the old server has a unique-id of its own".to_owned()),
        (_, _, 0) => Some("the new maildrop is empty as yet".to_owned()),
        (_, false, _) => Some("the new server has no unique-ids (UIDL)".to_owned()),
        _ => None,
    };
    if forecast.unknown.is_some() {
        return farewell(source.finish());
    }
    let mut both: Vec<(u32, u32)> = new_ids.iter().filter_map(|(id, number)| Some((*old_ids.get(id)?, *number))).collect();
    both.sort_unstable();
    forecast.kept = both.len() as u64;
    let known: HashSet<u32> = both.iter().map(|(_, number)| *number).collect();
    let taken_for_new = list.iter().filter(|(number, _)| !known.contains(number)).filter_map(|(_, size)| *size);
    forecast.again = (forecast.old - forecast.kept).min(forecast.new.saturating_sub(forecast.kept));
    forecast.octets = taken_for_new.fold(0, u64::saturating_add);
    if let Some(old) = &mut old.source {
        look(old, &mut source, &sample(&both), forecast)?;
    }
    farewell(source.finish())
}

/// Message numbers by unique-id, of ids that are one message's alone.
fn ids(uidl: Option<&crate::pop3::UniqueIds>) -> HashMap<&str, u32> {
    let mut found: HashMap<&str, u32> = HashMap::new();
    let mut shared: Vec<&str> = Vec::new();
    for (number, id) in uidl.into_iter().flatten() {
        if let Some(id) = id.as_deref()
            && found.insert(id, *number).is_some()
        {
            shared.push(id);
        }
    }
    for id in shared {
        found.remove(id);
    }
    found
}

/// Some of them, spread over all.
fn sample<T: Copy>(all: &[T]) -> Vec<T> {
    let most = CHECKED.min(all.len());
    (0..most).filter_map(|at| all.get(at * all.len() / most)).copied().collect()
}

/// Compares headers; what one server does not give out proves nothing.
fn look(old: &mut Pop3Source, new: &mut Pop3Source, pairs: &[(u32, u32)], forecast: &mut Forecast) -> Result<()> {
    let (here, there): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
    let (here, there) = (digests(old, &here)?, digests(new, &there)?);
    for (one, other) in here.into_iter().zip(there).filter_map(|(one, other)| one.zip(other)) {
        forecast.checked += 1;
        forecast.other_mail += u64::from(one != other);
    }
    Ok(())
}

fn digests(source: &mut Pop3Source, numbers: &[u32]) -> Result<Vec<Option<Digest>>> {
    let wanted: Vec<Listed> = numbers.iter().map(|id| Listed { id: *id, key: None, size: None, internal_date: None }).collect();
    let mut found = vec![None; numbers.len()];
    source.headers(&wanted, &mut |at, header| {
        if let (Some(slot), Ok(header)) = (found.get_mut(at), header) {
            *slot = Some(header_digest(&header));
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_and_never_larger_than_what_there_is() {
        assert_eq!(sample(&[1, 2, 3]), [1, 2, 3]);
        assert!(sample::<u32>(&[]).is_empty());
        let many: Vec<usize> = (0..1000).collect();
        let found = sample(&many);
        assert_eq!((found.len(), found[0], found[19]), (20, 0, 950));
    }

    #[test]
    fn an_id_that_two_messages_have_is_nobodys() {
        let uidl = vec![(1, Some("a".into())), (2, Some("b".into())), (3, Some("a".into())), (4, None)];
        assert_eq!(ids(Some(&uidl)), HashMap::from([("b", 2)]));
    }
}
