//! `compare`: any two places, judged by what was planted.
