//! The attachments of messages into a directory, one row each.

use std::io::IsTerminal;
use std::path::Path;

use super::super::reading::{Chosen, Reader};
use super::{Come, Fetch, whole};
use crate::error::Result;
use crate::output::{AttachmentRow, Head, Rows, terminal_width};
use crate::report::Format;
use crate::store::attachments::{Attachments, fallback_name};
use crate::summary::parts::{Part, Parts};

const SCHEMA: &str = "mailhaul.fetch-attachments/1";

/// Which attachments are wanted: where nothing is said, all.
pub(super) struct Filter<'a> {
    pub(super) names: &'a [String],
    pub(super) types: &'a [String],
}

impl Filter<'_> {
    fn wants(&self, part: &Part) -> bool {
        let name = part.name.clone().unwrap_or_else(|| fallback(part));
        let any = |patterns: &[String], text: &str| patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, text));
        any(self.names, &name) && any(self.types, &part.content_type)
    }
}

fn fallback(part: &Part) -> String {
    fallback_name(part.number.as_deref().unwrap_or("1"), &part.content_type)
}

/// Saves them.
pub(super) fn save(
    fetch: &Fetch<'_>,
    reader: &mut dyn Reader,
    chosen: &Chosen,
    dir: &Path,
    filter: &Filter<'_>,
    format: Format,
) -> Result<Come> {
    let mut into = Attachments::open(dir)?;
    let stdout = std::io::stdout();
    let width = stdout.is_terminal().then(|| terminal_width(&stdout)).flatten();
    let head = Head { schema: SCHEMA, members: vec![("place", fetch.place.shown.clone().into())], rows: "attachments" };
    let fields = AttachmentRow::default_fields(fetch.numbered);
    let mut rows = Rows::new::<AttachmentRow>(stdout.lock(), format, &head, None, &fields, width)?;
    let mut incomplete = Vec::new();
    let result = fetch.each(reader, chosen, &mut |listed, message| {
        let bytes = whole(&message.body)?;
        let parts = Parts::of(&bytes);
        if !parts.is_whole() {
            incomplete.push(listed.id);
        }
        for part in parts.attachments(&|part| filter.wants(part)) {
            fetch.app.context.check()?;
            let saved = into.save(part.name.as_deref(), &fallback(part), &mut |each| parts.decoded(part, each))?;
            rows.row(&AttachmentRow {
                folder: fetch.folder.clone(),
                uid: (!fetch.numbered).then_some(listed.id),
                number: fetch.numbered.then_some(listed.id),
                part: part.number.clone(),
                name: part.name.clone(),
                path: saved.path.to_string_lossy().into_owned(),
                content_type: part.content_type.clone(),
                size: saved.size,
                already_there: saved.was_there,
            })?;
        }
        Ok(())
    });
    // What was saved before something went wrong stays.
    into.sync()?;
    let mut come = result?;
    incomplete.into_iter().for_each(|id| come.problem(fetch, id, super::NOT_WHOLE.to_owned()));
    rows.finish_with(&come.problems)?;
    Ok(come)
}

/// Whether `text` is of the form `pattern`, in which `*` stands for anything and `?` for one character; case does not count.
fn fits(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().flat_map(char::to_lowercase).collect();
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let (mut at, mut seen) = (0, 0);
    // Where to go on when it turns out that the last `*` has to take one more.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(seen) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == c => (at, seen) = (at + 1, seen + 1),
            _ => match &mut star {
                Some((from, taken)) => {
                    *taken += 1;
                    (at, seen) = (*from + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_none_or(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_take_anything_and_case_does_not_count() {
        for (pattern, text) in [("*.pdf", "A.PDF"), ("image/*", "image/png"), ("*", ""), ("a*b*c", "aXbXbc"), ("?.x", "ä.x"), ("a", "A")] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("*.pdf", "a.pdf.exe"), ("image/*", "text/plain"), ("a", ""), ("", "a"), ("a?", "a"), ("*a*b", "ab.c")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        assert!(!fits(&"*a".repeat(200), &"a".repeat(199)));
    }
}
