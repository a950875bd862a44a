//! Places as candidates: accounts of the config file, and folders as the cache knows them or, where it knows none of today,
//! as the server tells within a moment. No password command is run for it and nobody is asked for a password.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::cache::Cache;
use super::walk::Candidate;
use crate::account::{Config, CredentialSource, Location, Overrides, Place, Protocol, Server};
use crate::context::Context;
use crate::folder::Folder;
use crate::imap::session::{Access, Session};
use crate::net::Trace;

/// A completion waits for a server no longer than this, all in all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Places that begin with `current`.
pub(super) fn places(current: &str, config: Option<&Path>, context: &Context) -> Vec<Candidate> {
    let Ok(config) = Config::load(config) else { return Vec::new() };
    match account_of(current) {
        Some(account) => folders(account, &config, context).into_iter().map(|name| Candidate::new(format!("{account}/{name}"))).collect(),
        None => accounts(&config),
    }
}

/// Folders of the account that `place` (which may name a folder) belongs to.
pub(super) fn folders_beside(place: &str, config: Option<&Path>, context: &Context) -> Vec<Candidate> {
    let Ok(config) = Config::load(config) else { return Vec::new() };
    let account = account_of(place).unwrap_or(place);
    folders(account, &config, context).into_iter().map(Candidate::new).collect()
}

/// What stands before the `/` that begins a folder.
fn account_of(place: &str) -> Option<&str> {
    let behind = place.find("://").map_or(0, |at| at + 3);
    let slash = place.get(behind..)?.find('/')?;
    place.get(..behind + slash)
}

fn accounts(config: &Config) -> Vec<Candidate> {
    let mut found = Vec::new();
    for name in config.account_names() {
        let Some(account) = config.account(name) else { continue };
        let (imap, pop3) = (account.has(Protocol::Imap), account.has(Protocol::Pop3));
        let about = account.email().unwrap_or("account");
        let mut push = |word: String| found.push(Candidate { word, about: about.to_owned() });
        push(name.to_owned());
        if imap {
            push(format!("{name}/"));
        }
        if imap && pop3 {
            push(format!("{name}:imap"));
            push(format!("{name}:pop3"));
        }
    }
    found
}

fn folders(account: &str, config: &Config, context: &Context) -> Vec<String> {
    let overrides = Overrides { no_input: true, ..Overrides::default() };
    let Ok(Place { location: Location::Server(server), .. }) = Place::parse(account, config, &overrides) else { return Vec::new() };
    if server.protocol != Protocol::Imap {
        return vec![Folder::inbox().to_string()];
    }
    let cache = Cache::of(&server, context);
    // A URL may be half typed: whoever is named in it is not called for that.
    if !account.contains("://") && !cache.is_fresh() && is_silent(&server) {
        refresh(*server, &cache, context);
    }
    cache.names()
}

/// Whether logging in runs no program, which might ask a person, and asks nobody itself.
fn is_silent(server: &Server) -> bool {
    !matches!(server.credential.source(), CredentialSource::Command(_) | CredentialSource::TokenCommand(_) | CredentialSource::Keyring)
}

/// Asks the server, and gives up in good time.
fn refresh(mut server: Server, cache: &Cache, context: &Context) {
    server.endpoint.timeout = Some(server.endpoint.timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE)));
    let (sender, answer) = sync_channel(1);
    let context = context.clone();
    // A thread of its own: the look-up of a host name knows no deadline. It ends with the process.
    std::thread::spawn(move || {
        let listed = Session::connect(&server, Access::ReadOnly, &context, &Trace::off()).and_then(|mut session| session.list());
        let _ = sender.send(listed);
    });
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(mailboxes)) => cache.write(mailboxes.iter().map(|mailbox| &mailbox.folder)),
        _ => cache.write_failure(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_begins_behind_the_first_slash_that_is_not_the_urls() {
        for (place, account) in [
            ("work/Ar", Some("work")),
            ("work:imap/", Some("work:imap")),
            ("imaps://ann@h/A/b", Some("imaps://ann@h")),
            ("imaps://ann@h", None),
            ("wo", None),
            ("", None),
        ] {
            assert_eq!(account_of(place), account, "{place}");
        }
    }
}
