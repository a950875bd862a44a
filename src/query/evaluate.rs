//! What terms say of one message. Three-valued: a fact that is not known makes no term hold and none fail.

use super::{Day, Facts, Term};
use crate::summary::{Summary, Words, field_texts, folded, header_texts, message_id};

/// A message under evaluation; what is costly to make out of it is made once.
pub(super) struct Seen<'a> {
    facts: &'a Facts<'a>,
    header_lines: Option<Vec<String>>,
    body: Option<Words<'a>>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        Self { facts, header_lines: None, body: None }
    }

    fn header(&self) -> Option<&'a [u8]> {
        self.facts.header.or(self.facts.whole)
    }

    pub(super) fn holds(&mut self, term: &Term) -> Option<bool> {
        let facts = self.facts;
        let own_day = || facts.internal_date.and_then(Day::of);
        match term {
            Term::Flag(flag) => facts.flags.map(|flags| flags.contains(flag)),
            Term::From(text) => self.field("From", text),
            Term::To(text) => self.field("To", text),
            Term::Cc(text) => self.field("Cc", text),
            Term::Subject(text) => self.field("Subject", text),
            Term::Header { name, text } => self.field(name, text),
            Term::Text(text) => {
                let header = self.header()?;
                let lines = self.header_lines.get_or_insert_with(|| header_texts(header).iter().map(|line| folded(line)).collect());
                let folded = folded(text);
                if lines.iter().any(|line| line.contains(&folded)) { Some(true) } else { self.body(text) }
            }
            Term::Body(text) => self.body(text),
            Term::MessageId(id) => {
                let header = self.header()?;
                Some(field_texts(header, "Message-ID").iter().any(|value| message_id(value.as_bytes()).is_some_and(|own| own == *id)))
            }
            Term::Since(day) => own_day().map(|own| own >= *day),
            Term::Before(day) => own_day().map(|own| own < *day),
            // A message that says no date was sent neither before a day nor after it.
            Term::SentSince(day) => self.header().map(|header| sent(header).is_some_and(|own| own >= *day)),
            Term::SentBefore(day) => self.header().map(|header| sent(header).is_some_and(|own| own < *day)),
            Term::OlderThan(moment) => facts.internal_date.map(|own| own.seconds <= *moment),
            Term::NewerThan(moment) => facts.internal_date.map(|own| own.seconds > *moment),
            Term::Larger(size) => facts.size.map(|own| own > *size),
            Term::Smaller(size) => facts.size.map(|own| own < *size),
            Term::Raw(_) | Term::Gmail(_) => None,
            Term::Not(inner) => self.holds(inner).map(|holds| !holds),
        }
    }

    fn field(&self, name: &str, text: &str) -> Option<bool> {
        let text = folded(text);
        Some(field_texts(self.header()?, name).iter().any(|value| folded(value).contains(&text)))
    }

    fn body(&mut self, text: &str) -> Option<bool> {
        let whole = self.facts.whole?;
        Some(self.body.get_or_insert_with(|| Words::of(whole)).hold(text))
    }
}

fn sent(header: &[u8]) -> Option<Day> {
    Summary::of(header).date.and_then(Day::of)
}
