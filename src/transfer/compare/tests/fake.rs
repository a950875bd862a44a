//! Sources in memory that behave as IMAP, POP3 or files do, lose sessions at will and count what is read of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::super::{Comparison, Known, Side};
use crate::context::Context;
use crate::error::{Error, Result, Scope};
use crate::folder::Folder;
use crate::message::{Body, Key, Message, Twins};
use crate::report::compared::{Formula, Pairing, Sums, Verdict};
use crate::report::{Event, Report};
use crate::store::{FolderInfo, Listed, Listing, Source, SpecialUse, header_of};

#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) id: u32,
    pub(super) uidl: Option<String>,
    pub(super) gmail: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Imap,
    Pop3,
    Files,
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) validity: u32,
    pub(super) folders: Vec<(String, Option<SpecialUse>, Vec<Mail>)>,
    /// Messages that no session survives.
    pub(super) deadly: Vec<u32>,
    /// Messages that are refused.
    pub(super) refused: Vec<u32>,
    /// Messages that are listed and gone when they are read.
    pub(super) vanishing: Vec<u32>,
    /// The session is lost after so many headers or messages, this often.
    pub(super) cuts: (usize, u32),
    /// With a cut the first message goes, and those behind it move up.
    pub(super) shift_when_cut: bool,
    pub(super) lists_lost: u32,
    /// Folders that cannot be opened.
    pub(super) closed: Vec<String>,
    pub(super) headers: usize,
    pub(super) wholes: usize,
    pub(super) quits: u32,
    pub(super) opened: u32,
}

pub(super) type Shared = Arc<Mutex<Place>>;

pub(super) fn place(kind: Kind, folders: Vec<(&str, Vec<Mail>)>) -> Shared {
    let folders = folders.into_iter().map(|(name, mails)| (name.to_owned(), None, mails)).collect();
    Arc::new(Mutex::new(Place {
        kind,
        validity: 7,
        folders,
        deadly: Vec::new(),
        refused: Vec::new(),
        vanishing: Vec::new(),
        cuts: (usize::MAX, 0),
        shift_when_cut: false,
        lists_lost: 0,
        closed: Vec::new(),
        headers: 0,
        wholes: 0,
        quits: 0,
        opened: 0,
    }))
}

/// The message with this number: its own Message-ID, subject, and a body of its own length.
pub(super) fn text(number: u32) -> Vec<u8> {
    let body = "x".repeat(number as usize % 97);
    format!(
        "Subject: s{number}\r\nMessage-ID: <{number}@x>\r\nDate: Tue, 1 Jul 2003 10:52:{:02} +0200\r\n\r\nbody {number} {body}\r\n",
        number % 60
    )
    .into_bytes()
}

pub(super) fn mail(id: u32, bytes: Vec<u8>) -> Mail {
    Mail { id, uidl: None, gmail: None, size: Some(bytes.len() as u64), bytes }
}

/// Messages of these numbers, their UIDs ten times as high.
pub(super) fn mails(numbers: impl IntoIterator<Item = u32>) -> Vec<Mail> {
    numbers.into_iter().map(|number| mail(number * 10, text(number))).collect()
}

/// The same as a maildrop lists them, with unique-ids made of the numbers.
pub(super) fn drop_of(numbers: impl IntoIterator<Item = u32>, uidl: impl Fn(u32) -> Option<String>) -> Vec<Mail> {
    (1..).zip(numbers).map(|(id, number)| Mail { uidl: uidl(number), ..mail(id, text(number)) }).collect()
}

pub(super) struct Fake {
    place: Shared,
    at: Option<usize>,
    places: HashMap<u32, usize>,
    read: usize,
    retrieved: bool,
}

impl Fake {
    /// Each of `wanted`, unless the session is lost meanwhile.
    fn each(&mut self, wanted: &[Listed], whole: bool, each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        for (index, listed) in wanted.iter().enumerate() {
            let outcome = {
                let mut place = self.place.lock().unwrap();
                let lost = self.read >= place.cuts.0 && place.cuts.1 > 0;
                if lost {
                    place.cuts.1 -= 1;
                    if place.shift_when_cut {
                        place.folders[0].2.remove(0);
                        (1..).zip(&mut place.folders[0].2).for_each(|(id, mail)| mail.id = id);
                    }
                }
                if lost || place.deadly.contains(&listed.id) {
                    return Err(Error::network("the connection was cut").at("fake"));
                }
                *(if whole { &mut place.wholes } else { &mut place.headers }) += 1;
                self.read += 1;
                if place.vanishing.contains(&listed.id) {
                    continue;
                }
                let folder = &place.folders[self.at.expect("a folder was listed")].2;
                if place.refused.contains(&listed.id) {
                    Err(Error::refused("it was refused").scoped(Scope::Message))
                } else {
                    Ok(folder[self.places[&listed.id]].bytes.clone())
                }
            };
            each(index, outcome)?;
        }
        Ok(())
    }
}

impl Source for Fake {
    fn place(&self) -> String {
        "fake".to_owned()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        let place = self.place.lock().unwrap();
        let info = |(name, special_use, _): &(String, Option<SpecialUse>, Vec<Mail>)| FolderInfo {
            folder: Folder::parse(name).unwrap(),
            special_use: *special_use,
            subscribed: true,
            selectable: true,
        };
        Ok(place.folders.iter().map(info).collect())
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        let mut place = self.place.lock().unwrap();
        if place.lists_lost > 0 {
            place.lists_lost -= 1;
            return Err(Error::network("the connection was cut in the listing"));
        }
        if place.closed.contains(&folder.to_string()) {
            return Err(Error::refused("it cannot be opened").scoped(Scope::Mailbox));
        }
        self.at = place.folders.iter().position(|(name, _, _)| Folder::parse(name).unwrap() == *folder);
        let Some(at) = self.at else { return Err(Error::refused("there is no such folder")) };
        let mails = &place.folders[at].2;
        self.places = mails.iter().enumerate().map(|(at, mail)| (mail.id, at)).collect();
        let shared = |uidl: &String| mails.iter().filter(|mail| mail.uidl.as_ref() == Some(uidl)).take(2).count() > 1;
        let mut twins = Twins::default();
        let mut key = |mail: &Mail| match place.kind {
            Kind::Imap => Some(Key::Uid { generation: place.validity, uid: mail.id }),
            Kind::Pop3 => mail.uidl.clone().filter(|uidl| !shared(uidl)).map(|uidl| Key::Uidl { uidl: uidl.into() }),
            Kind::Files => Some(twins.key(Body::from(mail.bytes.clone()).digests().unwrap().content)),
        };
        let messages = mails.iter().map(|mail| Listed { id: mail.id, key: key(mail), size: mail.size, internal_date: None }).collect();
        Ok(Listing { generation: (place.kind == Kind::Imap).then_some(place.validity), messages })
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        self.retrieved = true;
        self.each(wanted, true, &mut |index, bytes| {
            each(
                index,
                bytes.map(|bytes| {
                    let body = Body::from(bytes);
                    Message { digests: body.digests().unwrap(), body, internal_date: None, flags: Vec::new() }
                }),
            )
        })
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.each(wanted, false, &mut |index, bytes| each(index, bytes.and_then(|bytes| header_of(&Body::from(bytes)))))
    }

    fn unique_id(&self, listed: &Listed) -> Option<String> {
        let place = self.place.lock().unwrap();
        match (&listed.key, place.kind) {
            (Some(Key::Uidl { uidl }), _) => Some(uidl.to_string()),
            (_, Kind::Pop3) => place.folders[self.at?].2.iter().find(|mail| mail.id == listed.id)?.uidl.clone(),
            _ => None,
        }
    }

    fn gmail_ids(&mut self, wanted: &[Listed]) -> Result<HashMap<u32, u64>> {
        let place = self.place.lock().unwrap();
        let mails = &place.folders[self.at.unwrap()].2;
        let id = |listed: &Listed| Some((listed.id, mails.iter().find(|mail| mail.id == listed.id)?.gmail?));
        Ok(wanted.iter().filter_map(id).collect())
    }

    fn end_marks(&self) -> bool {
        self.retrieved && self.place.lock().unwrap().kind == Kind::Pop3
    }

    fn finish(&mut self) -> Result<()> {
        self.place.lock().unwrap().quits += 1;
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Quiet;

impl Report for Quiet {
    fn event(&self, _: Event) {}
}

#[derive(Clone, Default)]
pub(super) struct Asked {
    pub(super) maildrop: bool,
    pub(super) full: bool,
    pub(super) headers_for_all: bool,
    pub(super) only: [Option<&'static str>; 2],
    pub(super) known: Known,
}

/// What was found, its rows made.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) sums: Sums,
    pub(super) rows: Vec<Pairing>,
    pub(super) formula: Option<Formula>,
}

pub(super) fn try_compare(a: &Shared, b: &Shared, asked: Asked) -> Result<Compared> {
    let clock = tempfile::NamedTempFile::new().unwrap();
    let context = Context::with_clock(clock.path().to_owned());
    let open = |place: &Shared| -> Result<Box<dyn Source>> {
        place.lock().unwrap().opened += 1;
        Ok(Box::new(Fake { place: Arc::clone(place), at: None, places: HashMap::new(), read: 0, retrieved: false }))
    };
    let (open_a, open_b) = (|| open(a), || open(b));
    let [only_a, only_b] = asked.only.map(|only| only.map(|only| Folder::parse(only).unwrap()));
    Comparison {
        context: &context,
        report: &Quiet,
        a: Side { open: &open_a, only: only_a },
        b: Side { open: &open_b, only: only_b },
        maildrop: asked.maildrop,
        full: asked.full,
        headers_for_all: asked.headers_for_all,
        known: asked.known,
    }
    .run()
    .map(|found| Compared { sums: found.sums, rows: found.rows.iter().collect(), formula: found.formula })
}

pub(super) fn compare(a: &Shared, b: &Shared, asked: Asked) -> Compared {
    let compared = try_compare(a, b, asked).unwrap();
    assert!(compared.sums.balanced(), "{:?}", compared.sums);
    // Each message is in one row.
    for side in 0..2 {
        let mut seen = std::collections::HashSet::new();
        for half in compared.rows.iter().filter_map(|row| if side == 0 { row.a.as_ref() } else { row.b.as_ref() }) {
            assert!(seen.insert((half.folder.clone(), half.uid, half.number)), "{half:?}");
        }
    }
    compared
}

/// The signs of the rows, in their order.
pub(super) fn signs(compared: &Compared) -> String {
    compared.rows.iter().map(|row| row.verdict.sign()).collect()
}

/// The one row with this verdict.
pub(super) fn row(compared: &Compared, verdict: Verdict) -> &Pairing {
    let mut rows = compared.rows.iter().filter(|row| row.verdict == verdict);
    let row = rows.next().unwrap_or_else(|| panic!("no row {verdict:?}: {:?}", compared.rows));
    assert_eq!(rows.next(), None);
    row
}
