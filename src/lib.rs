//! mailhaul moves, backs up and scripts mail over IMAP and POP3.
//!
//! Five verbs are one copy loop with other ends: **Source → transfer → Sink, with a journal**. Verbs that stay on one
//! server talk to a session directly. Both sit on one blocking connection layer that knows bytes, lines, deadlines and
//! TLS, and nothing about IMAP or POP3.
//!
//! ```text
//! main → commands → { cli, output, transfer } → { plan, matching } → { store, state } → { imap | pop3 } → account → { sasl, net }
//! leaves usable by all: backoff, error, exit, secret, message, folder, context, summary, query, report
//! ```
//!
//! Left may use right (any step), never the reverse, never sideways; `tests/it/layers.rs` holds the table.

pub mod account;
pub mod backoff;
pub mod cli;
pub mod commands;
pub mod context;
pub mod error;
pub mod exit;
pub mod folder;
pub mod imap;
pub mod matching;
pub mod message;
pub mod net;
pub mod output;
pub mod plan;
pub mod pop3;
pub mod query;
pub mod report;
pub mod sasl;
pub mod secret;
pub mod state;
pub mod store;
pub mod summary;
pub mod transfer;
