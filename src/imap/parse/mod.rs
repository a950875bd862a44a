//! Reads responses: which line announces a literal, and what a whole response means. Total and tolerant: no octets make
//! it fail, what it does not understand is kept as [`Untagged::Other`], and each octet is looked at a bounded number of times.
//! It never waits for a server and never decides what an answer is worth.

mod cursor;
mod data;
mod fetch;
mod literal;
mod status;

pub use literal::{Announced, announced_literal};

use cursor::Cursor;

use super::types::{Frame, Response, Untagged};

/// Reads one whole response.
///
/// A tagged response is a tag and `OK`, `NO` or `BAD`; a line that begins with `+` is a continuation; everything else is
/// untagged, and [`Untagged::Other`] where it is nothing we know.
pub fn response(frame: Frame) -> Response {
    let mut cursor = Cursor::new(frame);
    match cursor.peek() {
        Some(b'*') => Response::Untagged(data::untagged(cursor)),
        Some(b'+') => {
            cursor.skip(1);
            cursor.take(b' ');
            Response::Continuation(cursor.rest().to_vec())
        }
        _ => match status::tagged(&mut cursor) {
            Some((tag, status)) => Response::Tagged { tag, status },
            None => Response::Untagged(Untagged::Other(cursor.into_bytes())),
        },
    }
}

#[cfg(test)]
mod tests;
