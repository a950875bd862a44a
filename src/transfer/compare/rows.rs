//! The rows of a comparison and their sums, and the words for what differs.

use std::collections::{HashMap, HashSet};

use super::Comparison;
use super::steps::Bench;
use super::table::{Entry, Table};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::matching::header;
use crate::matching::ladder::Book;
use crate::message::{Flag, InternalDate};
use crate::report::compared::{Compared, Half, Pairing, Rows, Sums, Verdict};
use crate::report::{Event, counted};
use crate::transfer::both;

/// Pairs whose headers are held side by side at once.
const PAIRS: usize = 100;
/// Octets of a header up to which it is said what differs in it.
const HEADER: usize = 64 * 1024;

/// What rows are made of.
#[derive(Clone, Copy)]
struct View<'v> {
    tables: &'v [Table; 2],
    book: &'v Book,
    mates: &'v HashMap<usize, usize>,
    mated: &'v HashSet<usize>,
    differs: &'v HashMap<usize, Option<String>>,
    remarks: &'v HashMap<usize, String>,
    doubled: &'v [HashMap<usize, usize>; 2],
    views: &'v [HashSet<Folder>; 2],
    unseen: &'v [Vec<String>; 2],
    /// Places of rows of folders that could not be opened are behind those of all messages.
    shut: &'v [(usize, Folder, Error)],
    hidden: &'v [HashMap<usize, String>; 2],
}

impl<'v> View<'v> {
    fn of(bench: &'v Bench<'_>) -> Self {
        Self {
            tables: &bench.tables,
            book: &bench.book,
            mates: &bench.mates,
            mated: &bench.mated,
            differs: &bench.differs,
            remarks: &bench.remarks,
            doubled: &bench.doubled,
            views: &bench.views,
            unseen: &bench.unseen,
            shut: &bench.shut,
            hidden: &bench.hidden,
        }
    }

    /// How many places for rows there are, of which some have none.
    fn count(self) -> usize {
        self.tables.iter().map(|table| table.entries.len()).sum::<usize>() + self.shut.len()
    }

    /// The row of a message: those of the first side in its order, then those of the second, where the row is not the other's.
    fn row(self, at: usize, all: bool) -> Option<Pairing> {
        let first = self.tables[0].entries.len();
        match at.checked_sub(first) {
            None => (!is_shown_again(self, 0, at)).then(|| row_of_a(self, at, all)),
            Some(b) if b >= self.tables[1].entries.len() => {
                let (side, folder, error) = self.shut.get(b - self.tables[1].entries.len())?;
                let half = Some(Half { folder: folder.to_string(), ..Half::default() });
                let (a, b) = if *side == 0 { (half, None) } else { (None, half) };
                Some(Pairing { a, b, reason: Some(error.to_string()), ..unmatched(Verdict::Error) })
            }
            Some(b) => (self.book.is_free(1, b) && !is_shown_again(self, 1, b)).then(|| alone(self, 1, b)),
        }
    }
}

/// Makes the rows: those of the first side in its order, then what only the second has. Each is made when it is asked for.
pub(super) fn of(bench: &mut Bench<'_>, comparison: &Comparison<'_>) -> Result<Compared> {
    name_differences(bench)?;
    learn_facts(bench, comparison.headers_for_all)?;
    let view = View::of(bench);
    for (side, (name, table)) in ["first", "second"].into_iter().zip(view.tables).enumerate() {
        let again = (0..table.entries.len()).filter(|&index| is_shown_again(view, side, index)).count();
        if again > 0 {
            let messages = counted(again as u64, "message");
            let note = format!("{messages} of views of the {name} side (All Mail) are those of its other folders, and count there");
            comparison.report.event(Event::Note(note));
        }
    }
    let (count, all) = (view.count(), comparison.headers_for_all);
    let formula = bench.formula.take();
    let (tables, book) = (std::mem::take(&mut bench.tables), std::mem::take(&mut bench.book));
    let (mates, mated) = (std::mem::take(&mut bench.mates), std::mem::take(&mut bench.mated));
    let (differs, remarks) = (std::mem::take(&mut bench.differs), std::mem::take(&mut bench.remarks));
    let (doubled, views, unseen) =
        (std::mem::take(&mut bench.doubled), std::mem::take(&mut bench.views), std::mem::take(&mut bench.unseen));
    let (shut, hidden) = (std::mem::take(&mut bench.shut), std::mem::take(&mut bench.hidden));
    let rows = Rows::new(count, move |at| {
        let (tables, book, mates, mated) = (&tables, &book, &mates, &mated);
        let (differs, remarks, doubled, views) = (&differs, &remarks, &doubled, &views);
        View { tables, book, mates, mated, differs, remarks, doubled, views, unseen: &unseen, shut: &shut, hidden: &hidden }.row(at, all)
    });
    Ok(Compared { sums: sums(&rows), rows, formula })
}

/// Finds words for pairs that differ, as far as they have none, by their headers.
fn name_differences(bench: &mut Bench<'_>) -> Result<()> {
    let mut open: Vec<(usize, usize)> =
        bench.differs.iter().filter(|(_, words)| words.is_none()).filter_map(|(&a, _)| Some((a, bench.book.of(0, a)?.other))).collect();
    open.sort_unstable();
    for some in open.chunks(PAIRS) {
        let (wanted_a, wanted_b): (Vec<usize>, Vec<usize>) = some.iter().copied().unzip();
        let [reader_a, reader_b] = &mut bench.readers;
        let [table_a, table_b] = &bench.tables;
        let mut headers_a: HashMap<usize, Option<Vec<u8>>> = HashMap::new();
        let mut headers_b: HashMap<usize, Option<Vec<u8>>> = HashMap::new();
        let read = both(
            || table_a.each_header(reader_a, &wanted_a, &mut |index, header| keep(&mut headers_a, index, header)),
            || table_b.each_header(reader_b, &wanted_b, &mut |index, header| keep(&mut headers_b, index, header)),
        );
        read.0.and(read.1)?;
        for (a, b) in some {
            let words = match headers_a.get(a).zip(headers_b.get(b)) {
                Some((Some(one), Some(other))) => header::difference(one, other),
                Some(_) => Some("the headers differ".to_owned()).filter(|_| bench.headers_differ(*a, *b)),
                None => None,
            };
            bench.differs.insert(*a, Some(words.unwrap_or_else(|| "the contents differ".to_owned())));
        }
    }
    Ok(())
}

/// Keeps a header, unless it is too long to be told of.
fn keep(headers: &mut HashMap<usize, Option<Vec<u8>>>, index: usize, header: Vec<u8>) {
    headers.insert(index, Some(header).filter(|header| header.len() <= HEADER));
}

/// Reads what rows show: of all that is not simply the same, or of all.
fn learn_facts(bench: &mut Bench<'_>, all: bool) -> Result<()> {
    let same = |a: usize| verdict(View::of(bench), a) == Some(Verdict::Same);
    let here: Vec<usize> = (0..bench.tables[0].entries.len()).filter(|&a| all || !same(a)).collect();
    let there: Vec<usize> = (0..bench.tables[1].entries.len()).filter(|&b| bench.book.is_free(1, b)).collect();
    let [reader_a, reader_b] = &mut bench.readers;
    let [table_a, table_b] = &mut bench.tables;
    let learnt = both(|| table_a.learn(reader_a, &here, true, false), || table_b.learn(reader_b, &there, true, false));
    learnt.0.and(learnt.1)
}

/// The verdict on a message of the first side that has a counterpart.
fn verdict(bench: View<'_>, a: usize) -> Option<Verdict> {
    let found = bench.book.of(0, a)?;
    let (one, other) = (bench.tables[0].entry(a)?, bench.tables[1].entry(found.other)?);
    Some(if one.trouble().is_some() || other.trouble().is_some() {
        Verdict::Error
    } else if bench.differs.contains_key(&a) {
        Verdict::Differs
    } else if bench.mates.get(&one.folder()) == Some(&other.folder()) {
        Verdict::Same
    } else {
        Verdict::Elsewhere
    })
}

/// Whether a message is only a view's of one in another folder of its side, where the other side has no such view.
fn is_shown_again(bench: View<'_>, side: usize, index: usize) -> bool {
    let (Some(table), Some(views), Some(doubled)) = (bench.tables.get(side), bench.views.get(side), bench.doubled.get(side)) else {
        return false;
    };
    let Some(entry) = table.entry(index).filter(|entry| entry.trouble().is_none() && doubled.contains_key(&index)) else { return false };
    let mated = if side == 0 { bench.mates.contains_key(&entry.folder()) } else { bench.mated.contains(&entry.folder()) };
    !mated && table.folder(index).is_some_and(|folder| views.contains(folder))
}

fn row_of_a(bench: View<'_>, a: usize, all: bool) -> Pairing {
    let (Some(found), Some(verdict)) = (bench.book.of(0, a), verdict(bench, a)) else { return alone(bench, 0, a) };
    let [table_a, table_b] = bench.tables;
    let trouble = |table: &Table, index: usize| table.entry(index).and_then(|entry| entry.trouble().map(str::to_owned));
    let away = || {
        let elsewhere =
            table_a.entry(a).zip(table_b.entry(found.other)).filter(|(one, other)| bench.mates.get(&one.folder()) != Some(&other.folder()));
        elsewhere.and(table_b.folder(found.other)).map(|folder| format!("it is in {folder} on the second side"))
    };
    let reason = match verdict {
        Verdict::Error => trouble(table_a, a).or_else(|| trouble(table_b, found.other)),
        Verdict::Differs => {
            let words = bench.differs.get(&a).cloned().flatten();
            Some(words.into_iter().chain(away()).collect::<Vec<_>>().join("; "))
        }
        Verdict::Elsewhere => away(),
        _ => bench.remarks.get(&a).cloned(),
    };
    let row = Pairing {
        method: Some(found.method),
        confidence: Some(found.confidence),
        a: table_a.half(a),
        b: table_b.half(found.other),
        flags: shown(table_a.flags(a).or_else(|| table_b.flags(found.other))),
        reason,
        ..unmatched(verdict)
    };
    // Whether a header was read on the way must not show.
    if verdict == Verdict::Same && !all { row } else { with_facts(row, table_a, a) }
}

/// The row of a message without a counterpart.
fn alone(bench: View<'_>, side: usize, index: usize) -> Pairing {
    let table = if side == 0 { &bench.tables[0] } else { &bench.tables[1] };
    let trouble = table.entry(index).and_then(Entry::trouble);
    let twin = bench.doubled.get(side).and_then(|doubled| doubled.get(&index));
    let hidden = table.entry(index).and_then(|entry| bench.hidden.get(side)?.get(&entry.folder()));
    let (verdict, reason) = match (trouble, twin, hidden) {
        (Some(trouble), _, _) => (Verdict::Error, Some(trouble.to_owned())),
        (None, Some(&twin), _) => (Verdict::Doubled, Some(format!("the same as {}", table.name(twin)))),
        (None, None, Some(hidden)) => (Verdict::Error, Some(hidden.clone())),
        (None, None, None) => {
            let unseen = bench.unseen.get(1 - side).filter(|unseen| !unseen.is_empty());
            let reason = unseen.map(|unseen| format!("unless it is in {}, which could not be read", unseen.join(", ")));
            (if side == 0 { Verdict::OnlyA } else { Verdict::OnlyB }, reason)
        }
    };
    let half = table.half(index);
    let (a, b) = if side == 0 { (half, None) } else { (None, half) };
    with_facts(Pairing { a, b, flags: shown(table.flags(index)), reason, ..unmatched(verdict) }, table, index)
}

/// A row with nothing in it.
fn unmatched(verdict: Verdict) -> Pairing {
    Pairing {
        verdict,
        method: None,
        confidence: None,
        a: None,
        b: None,
        flags: Vec::new(),
        date: None,
        message_id: None,
        subject: None,
        reason: None,
    }
}

fn shown(flags: Option<&[Flag]>) -> Vec<String> {
    flags.unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn with_facts(mut row: Pairing, table: &Table, index: usize) -> Pairing {
    let Some(entry) = table.entry(index) else { return row };
    if let Some(facts) = entry.facts() {
        row.message_id.clone_from(&facts.message_id);
        row.subject.clone_from(&facts.subject);
        row.date.clone_from(&facts.date);
        if row.date.is_none() {
            row.date = entry.internal_date().and_then(InternalDate::rfc3339);
        }
    }
    row
}

/// Sums up what the rows say.
fn sums(rows: &Rows) -> Sums {
    let mut sums = Sums::default();
    for row in rows.iter() {
        if row.is_of_a_folder() {
            sums.folders_unread += 1;
            continue;
        }
        let (a, b) = (u64::from(row.a.is_some()), u64::from(row.b.is_some()));
        sums.listed_a += a;
        sums.listed_b += b;
        match row.verdict {
            Verdict::Same => sums.same += 1,
            Verdict::Differs => sums.different += 1,
            Verdict::OnlyA => sums.only_a += 1,
            Verdict::OnlyB => sums.only_b += 1,
            Verdict::Elsewhere => sums.elsewhere += 1,
            Verdict::Doubled => {
                sums.doubled += 1;
                sums.doubled_a += a;
            }
            Verdict::Error => {
                sums.errors += a + b;
                sums.errors_a += a;
            }
        }
    }
    sums
}
