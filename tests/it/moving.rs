//! `migrate` whole: every kind of source and destination, the plan first, throttling, several connections, leaving the source.

mod adversary;
mod gmail;
mod kills;
mod leave;
mod local;
mod oracle;
mod plan;
mod spread;
mod takeout;
mod throttled;
mod twin;
