//! The connection layer: TCP, TLS, bounded buffers, deadlines by phase, the trace. It knows octets and lines and must
//! never know IMAP or POP3.

mod ahead;
mod conn;
mod deadline;
mod deflate;
mod dial;
mod tls;
mod trace;

pub use conn::{Conn, Tally};
pub use deadline::Phase;
pub use dial::{Endpoint, Security};
pub use tls::TlsOptions;
pub use trace::Trace;
