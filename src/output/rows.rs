//! Rows on standard output in any format, written as they come in constant memory. A document that an error cuts short is
//! closed all the same. It knows columns and never what they mean.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use super::json::{self, STDOUT};
use super::table::{Column, Table};
use super::{Format, sanitize};
use crate::error::{Error, Result};
use crate::report::Problem;

/// So many bytes gather before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// A row: an object to scripts, cells to people.
pub trait Row: Serialize {
    /// Every field it may have, in the order of its object.
    const COLUMNS: &'static [Column];

    /// The field as text: whole for `tsv`, as people like to read it for a table. Raw; the writer makes it harmless.
    fn cell(&self, field: &str, for_people: bool) -> String;
}

/// What surrounds the rows in a JSON document.
#[derive(Debug, Clone)]
pub struct Head {
    /// `mailhaul.list/1`, say.
    pub schema: &'static str,
    /// Members before the rows.
    pub members: Vec<(&'static str, Value)>,
    /// The name of the list of rows.
    pub rows: &'static str,
}

/// Writes rows to `out` in one format.
pub struct Rows<W: Write> {
    out: W,
    format: Format,
    fields: Vec<Column>,
    /// Whether the user chose the fields: then objects hold just these, in this order.
    chosen: bool,
    table: Option<Table>,
    buffer: Vec<u8>,
    /// What stands behind the rows in a document.
    tail: Vec<u8>,
    any: bool,
    closed: bool,
}

impl<W: Write> Rows<W> {
    /// Begins. `chosen` are the fields of `--fields`; without it tables and `tsv` show `default` and objects hold all.
    /// `width` is the terminal's, where a table is shown on one.
    ///
    /// # Errors
    /// Usage, for a field that rows of `R` do not have.
    pub fn new<R: Row>(
        out: W,
        format: Format,
        head: &Head,
        chosen: Option<&[String]>,
        default: &[&str],
        width: Option<usize>,
    ) -> Result<Self> {
        let names: Vec<&str> = chosen.map_or_else(|| default.to_vec(), |chosen| chosen.iter().map(|name| name.trim()).collect());
        let fields = names.into_iter().map(|name| find::<R>(name)).collect::<Result<Vec<_>>>()?;
        if fields.is_empty() && chosen.is_some() {
            return Err(Error::usage("--fields names no field").hint(known::<R>()));
        }
        let table = (format == Format::Table).then(|| Table::new(fields.clone(), width));
        let mut rows =
            Self { out, format, fields, chosen: chosen.is_some(), table, buffer: Vec::new(), tail: Vec::new(), any: false, closed: false };
        if format == Format::Json {
            rows.buffer.extend_from_slice(b"{\"schema\":");
            json::append(&mut rows.buffer, &head.schema)?;
            for (name, value) in &head.members {
                rows.buffer.push(b',');
                json::append(&mut rows.buffer, name)?;
                rows.buffer.push(b':');
                json::append(&mut rows.buffer, value)?;
            }
            rows.buffer.push(b',');
            json::append(&mut rows.buffer, &head.rows)?;
            rows.buffer.extend_from_slice(b":[");
        }
        Ok(rows)
    }

    /// Writes one row, or buffers it.
    ///
    /// # Errors
    /// [`crate::error::Kind::BrokenPipe`] when the reader went away, [`crate::error::Kind::Local`] for other I/O errors.
    pub fn row<R: Row>(&mut self, row: &R) -> Result<()> {
        match self.format {
            Format::Json => {
                self.buffer.extend_from_slice(if self.any { b",\n" } else { b"\n" });
                self.any = true;
                self.object(row)?;
            }
            Format::Jsonl => {
                self.object(row)?;
                self.buffer.push(b'\n');
            }
            Format::Tsv => {
                for (index, column) in self.fields.iter().enumerate() {
                    if index > 0 {
                        self.buffer.push(b'\t');
                    }
                    self.buffer.extend_from_slice(sanitize::tsv(&row.cell(column.name, false)).as_bytes());
                }
                self.buffer.push(b'\n');
            }
            Format::Table => {
                let cells = self.fields.iter().map(|column| sanitize::line(&row.cell(column.name, true)).into_owned()).collect();
                if let Some(table) = &mut self.table {
                    table.row(cells, &mut self.buffer);
                }
            }
        }
        if self.buffer.len() >= BUFFER_BYTES { self.write() } else { Ok(()) }
    }

    /// Writes what is buffered, before a wait. (A table whose widths do not stand yet keeps waiting.)
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub fn flush(&mut self) -> Result<()> {
        self.write()
    }

    /// Ends the output.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub fn finish(mut self) -> Result<()> {
        self.close()
    }

    /// The same; a JSON document names the problems behind its rows, where there are any.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub fn finish_with(mut self, problems: &[Problem]) -> Result<()> {
        if self.format == Format::Json && !problems.is_empty() {
            self.tail.extend_from_slice(b",\"problems\":");
            json::append(&mut self.tail, &problems)?;
        }
        self.close()
    }

    fn close(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        if let Some(table) = &mut self.table {
            table.flush(&mut self.buffer);
        }
        if self.format == Format::Json {
            self.buffer.extend_from_slice(if self.any { b"\n]" } else { b"]" });
            self.buffer.append(&mut self.tail);
            self.buffer.extend_from_slice(b"}\n");
        }
        let written = self.write();
        self.closed = true;
        written
    }

    fn object(&mut self, row: &impl Row) -> Result<()> {
        if !self.chosen {
            let start = self.buffer.len();
            return json::append(&mut self.buffer, row).inspect_err(|_| self.buffer.truncate(start));
        }
        let value = serde_json::to_value(row).map_err(|error| Error::local(format!("cannot write JSON: {error}")).because(error))?;
        self.buffer.push(b'{');
        let mut first = true;
        for column in &self.fields {
            let Some(member) = value.get(column.name) else { continue };
            if !first {
                self.buffer.push(b',');
            }
            first = false;
            json::append(&mut self.buffer, &column.name)?;
            self.buffer.push(b':');
            json::append(&mut self.buffer, member)?;
        }
        self.buffer.push(b'}');
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        written.map_err(|error| {
            // Nothing that follows would fit what was cut off.
            self.closed = true;
            Error::io(STDOUT, error)
        })
    }
}

impl<W: Write> Drop for Rows<W> {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

fn known<R: Row>() -> String {
    let names: Vec<&str> = R::COLUMNS.iter().map(|column| column.name).collect();
    format!("the fields are {}", names.join(", "))
}

fn find<R: Row>(name: &str) -> Result<Column> {
    let found = R::COLUMNS.iter().find(|column| column.name == name).copied();
    found.ok_or_else(|| Error::usage(format!("there is no field {name:?}")).hint(known::<R>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[derive(Serialize)]
    struct Pair {
        uid: u32,
        subject: &'static str,
    }

    impl Row for Pair {
        const COLUMNS: &'static [Column] = &[Column::number("uid"), Column::cut("subject", 100)];

        fn cell(&self, field: &str, _for_people: bool) -> String {
            if field == "uid" { self.uid.to_string() } else { self.subject.to_owned() }
        }
    }

    const PAIRS: [Pair; 2] = [Pair { uid: 1, subject: "a\tb\x1b[2J" }, Pair { uid: 2, subject: "\u{9b}c" }];

    fn head() -> Head {
        Head { schema: "mailhaul.list/1", members: vec![("places", Value::from(vec!["work"]))], rows: "messages" }
    }

    fn begin<W: Write>(out: W, format: Format, fields: Option<&[String]>) -> Result<Rows<W>> {
        Rows::new::<Pair>(out, format, &head(), fields, &["uid", "subject"], None)
    }

    fn written(format: Format, fields: Option<&[String]>, rows: &[Pair]) -> String {
        let mut out = Vec::new();
        let mut writer = begin(&mut out, format, fields).unwrap();
        rows.iter().for_each(|row| writer.row(row).unwrap());
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_format_writes_its_rows() {
        assert_eq!(written(Format::Tsv, None, &PAIRS), "1\ta b\u{FFFD}[2J\n2\t\u{FFFD}c\n");
        assert_eq!(written(Format::Table, None, &PAIRS), "UID  SUBJECT\n  1  a b\u{FFFD}[2J\n  2  \u{FFFD}c\n");
        assert_eq!(
            written(Format::Jsonl, None, &PAIRS),
            "{\"uid\":1,\"subject\":\"a\\tb\\u001b[2J\"}\n{\"uid\":2,\"subject\":\"\\u009bc\"}\n"
        );
        let json: Value = serde_json::from_str(&written(Format::Json, None, &PAIRS)).unwrap();
        assert_eq!(json["schema"], "mailhaul.list/1");
        assert_eq!(json["places"][0], "work");
        assert_eq!(json["messages"][1]["subject"], "\u{9b}c");
        let empty: Value = serde_json::from_str(&written(Format::Json, None, &[])).unwrap();
        assert_eq!(empty["messages"], Value::Array(vec![]));
    }

    #[test]
    fn chosen_fields_come_in_their_order_and_an_unknown_one_is_named() {
        let fields = ["subject".to_owned(), " uid".to_owned()];
        assert_eq!(written(Format::Tsv, Some(&fields), &PAIRS[1..]), "\u{FFFD}c\t2\n");
        assert_eq!(written(Format::Jsonl, Some(&fields), &PAIRS[1..]), "{\"subject\":\"\\u009bc\",\"uid\":2}\n");
        let error = begin(Vec::new(), Format::Tsv, Some(&["nope".to_owned()])).err().unwrap();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.to_string(), "there is no field \"nope\"; the fields are uid, subject");
    }

    #[test]
    fn a_document_that_an_error_cuts_short_is_closed() {
        let mut out = Vec::new();
        let mut writer = begin(&mut out, Format::Json, None).unwrap();
        writer.row(&PAIRS[0]).unwrap();
        drop(writer);
        let json: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["messages"].as_array().unwrap().len(), 1);
    }

    struct Closed(u32);

    impl Write for &mut Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            self.0 += 1;
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_its_own_kind_of_error_and_is_written_to_once() {
        let mut pipe = Closed(0);
        let mut writer = begin(&mut pipe, Format::Json, None).unwrap();
        writer.row(&PAIRS[0]).unwrap();
        assert_eq!(writer.flush().unwrap_err().kind(), Kind::BrokenPipe);
        drop(writer);
        assert_eq!(pipe.0, 1);
    }

    #[test]
    fn a_million_rows_need_no_memory() {
        let mut writer = begin(std::io::sink(), Format::Json, None).unwrap();
        for _ in 0..50_000 {
            writer.row(&PAIRS[0]).unwrap();
            assert!(writer.buffer.len() < 2 * BUFFER_BYTES);
        }
    }
}
