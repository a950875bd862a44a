//! `move` and `copy`: within a server and from place to place, judged by the independent client and by what lies in servers
//! and files afterwards; with the capabilities hidden, killed at every step, and with answers that get lost.

mod across;
mod adversary;
mod within;
