//! How much a server takes: the largest message (RFC 7889) and quotas (RFC 9208). It asks, and decides nothing.

use super::encode::Command;
use super::session::Session;
use super::types::{Response, Untagged};
use crate::error::{Kind, Result};
use crate::net::Phase;

/// Quotas one server may tell of.
const MAX_LIMITS: usize = 1000;

/// What a server says that it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The most octets of one message, by mailbox; `None` where it does not say.
    pub largest: Vec<Option<u64>>,
    /// The limits that INBOX is under.
    pub limits: Vec<Limit>,
}

/// A limit of a quota root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The quota root's name; often empty.
    pub root: String,
    /// `STORAGE` (units of 1024 octets), `MESSAGE`, …
    pub resource: String,
    /// How much is there.
    pub used: u64,
    /// How much may be.
    pub limit: u64,
}

impl Session {
    /// How much the mailboxes of these names take (`None`: one that is not there yet), and what is left of INBOX's quotas. What
    /// the server does not offer is not asked for, and a refusal tells nothing.
    ///
    /// # Errors
    /// Loss of the connection.
    pub fn room(&mut self, wire_names: &[Option<Vec<u8>>]) -> Result<Allowance> {
        let every = self.capabilities.number("APPENDLIMIT");
        let mut allowance = Allowance { largest: vec![every; wire_names.len()], limits: Vec::new() };
        if every.is_none() && self.capabilities.has("APPENDLIMIT") {
            let names: Vec<&[u8]> = wire_names.iter().flatten().map(Vec::as_slice).collect();
            let mut told = self.figures_of(&names, "(APPENDLIMIT)")?.into_iter();
            let slots = wire_names.iter().zip(&mut allowance.largest).filter(|(name, _)| name.is_some());
            for (_, slot) in slots {
                *slot = told.next().and_then(|told| told.ok()?.append_limit);
            }
        }
        if self.capabilities.has("QUOTA") || self.capabilities.has("QUOTA=RES-STORAGE") {
            let asked =
                self.run(&Command::new("GETQUOTAROOT").raw(" INBOX"), Phase::Command, "GETQUOTAROOT was refused", &mut |received| {
                    if let Response::Untagged(Untagged::Quota { root, resources }) = received.response {
                        let root = String::from_utf8_lossy(&root).into_owned();
                        let more = resources.into_iter().map(|(resource, used, limit)| Limit { root: root.clone(), resource, used, limit });
                        let space = MAX_LIMITS.saturating_sub(allowance.limits.len());
                        allowance.limits.extend(more.take(space));
                    }
                    Ok(())
                });
            match asked {
                Err(error) if error.kind() == Kind::Refused => allowance.limits.clear(),
                other => drop(other?),
            }
        }
        Ok(allowance)
    }
}
