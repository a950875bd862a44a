//! `migrate` loses nothing and doubles nothing: killed at every durable or network step, its answers swallowed, delayed
//! or cut off, its servers hanging up, refusing and renumbering. Every case ends with the same judgement: the destination
//! holds the source's mail as a multiset (by an oracle of our own), and one more run does nothing.

pub mod bench;
mod kills;
mod replies;
mod trouble;
