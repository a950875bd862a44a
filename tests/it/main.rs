//! One test binary: the built program against a real Dovecot, against servers that misbehave on order, and through a
//! bad network. What a command did is checked through an independent client, never through our own protocol code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(clippy::print_stderr, unreachable_pub, dead_code)]

mod support;

mod backup;
mod choosing;
mod compare;
mod compare_pop3;
mod completion;
mod compress;
mod crash;
mod delete;
mod everyday;
mod faults;
mod fetch;
mod fetch_attachments;
mod fetch_parts;
mod flag;
mod folders;
mod front_door;
mod generated;
mod hostile;
mod layers;
mod list;
mod mbox;
mod migrate;
mod move_copy;
mod moving;
mod origin;
mod query;
mod recipes;
mod round_trips;
mod schema;
mod support_works;
mod upload;
mod usage;
mod wire;
