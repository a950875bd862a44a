//! JSON as scripts parse it: documents and lines in which nothing can steer a terminal. It never decides what is in them.

use std::io::Write;

use serde::Serialize;

use super::sanitize::{self, Escaping};
use crate::error::{Error, Result};
use crate::exit::ExitCode;

/// The name of standard output in an error.
pub(super) const STDOUT: &str = "standard output";

/// Appends `value` as compact JSON.
pub(super) fn append(into: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    value
        .serialize(&mut serde_json::Serializer::with_formatter(into, Escaping))
        .map_err(|error| Error::local(format!("cannot write JSON: {error}")).because(error))
}

/// Writes `value` as one line of JSON.
///
/// # Errors
/// [`crate::error::Kind::BrokenPipe`] when the reader went away, [`crate::error::Kind::Local`] for other I/O errors.
pub fn write_document(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let mut bytes = Vec::new();
    append(&mut bytes, value)?;
    bytes.push(b'\n');
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(|error| Error::io(STDOUT, error))
}

/// An error on standard error, where the output is JSON.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ErrorObject<'a> {
    /// The exit code.
    pub code: u8,
    /// What went wrong, in our own words.
    pub message: &'a str,
    /// The place, where one is known.
    pub place: Option<&'a str>,
    /// The server's own words.
    pub server_said: Option<&'a str>,
    /// What to do next.
    pub hint: Option<&'a str>,
}

impl<'a> ErrorObject<'a> {
    /// What scripts are told of an error.
    pub fn of(error: &'a Error) -> Self {
        Self {
            code: ExitCode::from(error.kind()).code(),
            message: error.message(),
            place: error.place(),
            server_said: error.server_said(),
            hint: error.remedy(),
        }
    }
}

/// Writes the error that ends a run: one sentence on one line, or an object where the output is JSON.
///
/// # Errors
/// As [`write_document`]; there is nobody left to tell.
pub fn write_error(stderr: &mut impl Write, error: &Error, as_json: bool) -> Result<()> {
    if as_json {
        return write_document(stderr, &ErrorObject::of(error));
    }
    writeln!(stderr, "mailhaul: {}", sanitize::line(&error.to_string())).map_err(|error| Error::io("standard error", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_clean_sentence_or_one_object() {
        let error = Error::auth("login was refused").at("work").said("NO \x1b]0;x\x07");
        let mut text = Vec::new();
        write_error(&mut text, &error, false).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "mailhaul: work: login was refused; the server said: NO \u{FFFD}]0;x\u{FFFD}\n");
        let mut json = Vec::new();
        write_error(&mut json, &error, true).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            (value["code"].as_u64(), value["place"].as_str(), value["server_said"].as_str()),
            (Some(4), Some("work"), Some("NO \x1b]0;x\x07"))
        );
    }
}
