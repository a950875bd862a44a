//! `compare-pop3`: every way servers make UIDLs, and every verdict.
