//! SEARCH: a query made keys (`encode`), asked in the charset the server takes, its answer a set of UIDs; and the second look
//! at what a search found, for those who change mail. What the server's SEARCH cannot say or will not take is told here.

use super::bulk::Wanted;
use super::encode::{Form, is_ascii, search_command, wider};
use super::listing::{Ask, Meta};
use super::selected::Selected;
use super::uid_set::UidSet;
use crate::error::{Error, Kind, Result};
use crate::query::{Facts, Needs, Query, Term};

/// So much of a message is searched here.
const MAX_WHOLE: usize = 64 * 1024 * 1024;
/// Octets of names of fields that one command asks for.
const FIELDS_OCTETS: usize = 2000;
/// Messages whose bodies are asked for at once, and that are listed for that.
const BATCH: usize = 10_000;

impl Selected<'_> {
    /// The UIDs the server finds for `query`: never fewer than hold, as far as the server's SEARCH is right; terms that IMAP
    /// cannot say exactly ([`wider`]) are asked for a little wider. What the server refuses to search for (texts in any charset but
    /// ASCII, or anything) is looked for here, in what it tells of its messages, their headers or themselves.
    ///
    /// # Errors
    /// Usage: a search of Gmail's on another server. Else refusal or loss of the connection.
    pub fn search(&mut self, query: &Query) -> Result<UidSet> {
        if query.is_empty() {
            return self.search_all();
        }
        if self.state().exists == 0 {
            return Ok(UidSet::new());
        }
        if query.terms.iter().any(is_gmail) && !self.session.capabilities.has("X-GM-EXT-1") {
            return Err(Error::usage("--gmail: this server is not Gmail's (it does not offer X-GM-EXT-1)").at(&self.session.place));
        }
        match self.ask(query) {
            Err(error) if error.kind() == Kind::Refused => self.search_here(query, error),
            other => other,
        }
    }

    fn ask(&mut self, query: &Query) -> Result<UidSet> {
        let extended = self.session.capabilities.has("ESEARCH") || self.session.capabilities.has("IMAP4REV2");
        let utf8 = self.session.utf8_accepted;
        if extended && let Some(found) = self.run_search(&search_command(query, Form { extended, utf8 })?)? {
            return Ok(found);
        }
        // Without a word of it nothing was found, as some servers have it; but where there is a word for that (or what was said
        // cannot be read) it is no answer.
        let command = search_command(query, Form { extended: false, utf8 })?;
        Ok(self.run_search(&command)?.unwrap_or_default())
    }

    /// As [`Self::search`] where the server refused it (`refusal`): texts that are not ASCII, or whatever it is (QQ's cannot
    /// search at all, MailKit#1143).
    fn search_here(&mut self, query: &Query, refusal: Error) -> Result<UidSet> {
        let (plain, rest): (Vec<Term>, Vec<Term>) = query.terms.iter().cloned().partition(is_ascii);
        let (plain, rest) = (Query { terms: plain }, Query { terms: rest });
        if rest.server_only().is_some() {
            return Err(refusal.hint("keys as typed are for the server alone: keep them to ASCII here"));
        }
        let (found, rest) = if plain.is_empty() {
            (self.search_all()?, rest)
        } else {
            // It may have been the texts alone that it would not have.
            let asked = if rest.is_empty() { Err(refusal) } else { self.ask(&plain) };
            match asked {
                Err(error) if error.kind() == Kind::Refused && plain.server_only().is_some() => {
                    return Err(error.hint("what --search or --gmail says reaches the server as it is typed: check it"));
                }
                Err(error) if error.kind() == Kind::Refused => (self.search_all()?, query.clone()),
                other => (other?, rest),
            }
        };
        self.filtered(found, &rest)
    }

    /// Those of `uids` that `query` holds for, as looked at here. What the server does not tell holds nothing, and does not
    /// lack it either.
    fn filtered(&mut self, mut uids: UidSet, query: &Query) -> Result<UidSet> {
        let fields_of = |term: &Term| Query { terms: vec![term.clone()] }.fields().map(|names| !names.is_empty());
        let part = |which: Option<bool>| Query { terms: query.terms.iter().filter(|term| fields_of(term) == which).cloned().collect() };
        let (mut texts, mut heads, told) = (part(None), part(Some(true)), part(Some(false)));
        let names: Vec<String> = heads.fields().into_iter().flatten().map(str::to_owned).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        // With the UIDs they have to fit a line.
        if names.iter().map(|name| name.len() + 3).sum::<usize>() > FIELDS_OCTETS {
            texts.terms.append(&mut heads.terms);
            names.clear();
        }
        if !heads.is_empty() || !told.is_empty() {
            let ask = if names.is_empty() { Ask::Numbers } else { Ask::Fields(&names) };
            let mut holds = UidSet::new();
            self.metas(&uids, ask, &mut |meta| {
                let facts = Facts { header: meta.header.as_deref(), ..meta.facts() };
                if told.holds(&facts) == Some(true) && heads.holds(&facts) == Some(true) {
                    holds.insert(meta.uid);
                }
                Ok(())
            })?;
            uids = holds;
        }
        if texts.is_empty() {
            return Ok(uids);
        }
        let mut holds = UidSet::new();
        let mut rest = uids.iter();
        loop {
            let batch: UidSet = rest.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(holds);
            }
            self.search_bodies(&batch, &texts, &mut holds)?;
        }
    }

    fn search_bodies(&mut self, uids: &UidSet, query: &Query, holds: &mut UidSet) -> Result<()> {
        let mut wanted = Vec::new();
        self.metas(uids, Ask::Numbers, &mut |meta| {
            wanted.push(Wanted { uid: meta.uid, size: meta.size });
            Ok(())
        })?;
        let mut found = Vec::new();
        self.fetch(&wanted, &mut |index, fetched| {
            // A message that cannot be read is not known to hold anything.
            if let (Some(wanted), Ok(fetched)) = (wanted.get(index), fetched) {
                let spilled;
                let whole = match fetched.body.in_memory() {
                    Some(bytes) => bytes,
                    None => {
                        spilled = fetched.body.prefix(MAX_WHOLE)?;
                        &spilled
                    }
                };
                if query.holds(&Facts { whole: Some(whole), ..Facts::default() }) == Some(true) {
                    found.push(wanted.uid);
                }
            }
            Ok(())
        })?;
        holds.extend(found);
        Ok(())
    }

    /// Hands over, rising by UID, what there is to tell of those of `uids` for which `query` holds once more, by flags, dates
    /// and sizes fetched now (and by Message-ID, which a search finds as part of others too). A server's SEARCH may be wrong
    /// (mail-archiver#483), so whoever changes something looks twice; what the server does not tell is no reason to change
    /// anything. Conditions on other texts are left to the search. Returns how many the search should not have found.
    ///
    /// # Errors
    /// Refusal or loss of the connection, or what `each` returned.
    pub fn matching(&mut self, uids: &UidSet, query: &Query, each: &mut dyn FnMut(Meta) -> Result<()>) -> Result<u64> {
        let (wide, said): (Vec<Term>, Vec<Term>) = query.terms.iter().cloned().partition(is_wider);
        let (wide, mut said) = (Query { terms: wide }, Query { terms: said });
        said.terms.retain(|term| {
            let needs = Query { terms: vec![term.clone()] }.needs();
            needs.flags || needs.size || needs.internal_date
        });
        let ask = if wider(query).header { Ask::Fields(&["Message-ID"]) } else { Ask::Numbers };
        let mut contradicted = 0;
        self.metas(uids, ask, &mut |mut meta| {
            let header = meta.header.take();
            let facts = Facts { header: header.as_deref(), ..meta.facts() };
            match (said.holds(&facts), wide.holds(&facts)) {
                (Some(true), Some(true)) => each(meta),
                (Some(true), Some(false)) => Ok(()),
                _ => {
                    contradicted += 1;
                    Ok(())
                }
            }
        })?;
        Ok(contradicted)
    }

    /// Those of `uids` that hold exactly, where the search that found them was asked wider than meant. What the server does
    /// not tell of stays in.
    ///
    /// # Errors
    /// Refusal or loss of the connection.
    pub fn narrowed(&mut self, uids: UidSet, query: &Query) -> Result<UidSet> {
        let wide: Vec<Term> = query.terms.iter().filter(|term| is_wider(term)).cloned().collect();
        if wide.is_empty() || uids.is_empty() {
            return Ok(uids);
        }
        let query = Query { terms: wide };
        let ask = if wider(&query).header { Ask::Fields(&["Message-ID"]) } else { Ask::Numbers };
        let mut wrong = UidSet::new();
        self.metas(&uids, ask, &mut |meta| {
            if query.holds(&Facts { header: meta.header.as_deref(), ..meta.facts() }) == Some(false) {
                wrong.insert(meta.uid);
            }
            Ok(())
        })?;
        Ok(uids.difference(&wrong))
    }
}

/// Whether the key of a term finds more than is meant.
fn is_wider(term: &Term) -> bool {
    wider(&Query { terms: vec![term.clone()] }) != Needs::default()
}

fn is_gmail(term: &Term) -> bool {
    match term {
        Term::Gmail(_) => true,
        Term::Not(inner) => is_gmail(inner),
        _ => false,
    }
}
