//! Tables keyed by the names of messages, of which a run may have hundreds of thousands: a name is kept as 16 octets of its digest,
//! whatever its length. They know nothing of what a name means.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::message::Digest;

/// Stands for a name. Two names alike in this would take somebody 2^64 tries to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; 16]);

impl Name {
    pub(super) fn of(name: &str) -> Self {
        let mut short = [0; 16];
        short.iter_mut().zip(Digest::of(name.as_bytes()).0).for_each(|(octet, of)| *octet = of);
        Self(short)
    }
}

/// What is known by name.
#[derive(Debug)]
pub(super) struct ByName<T>(HashMap<Name, T>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ByName<T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.0.get(&Name::of(name))
    }

    pub(super) fn contains_key(&self, name: &str) -> bool {
        self.0.contains_key(&Name::of(name))
    }

    pub(super) fn insert(&mut self, name: impl AsRef<str>, value: T) {
        self.0.insert(Name::of(name.as_ref()), value);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(&Name::of(name));
    }

    pub(super) fn entry(&mut self, name: impl AsRef<str>) -> Entry<'_, Name, T> {
        self.entry_of(Name::of(name.as_ref()))
    }

    pub(super) fn entry_of(&mut self, name: Name) -> Entry<'_, Name, T> {
        self.0.entry(name)
    }

    pub(super) fn knows(&self, name: Name) -> bool {
        self.0.contains_key(&name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_under_its_name_and_no_other() {
        let mut table = ByName::default();
        for number in 0..1000 {
            table.insert(format!("uid:7:{number}"), number);
        }
        table.insert("uid:7:3", 4711);
        assert_eq!((table.len(), table.get("uid:7:3"), table.get("uid:7:4"), table.get("uid:8:4")), (1000, Some(&4711), Some(&4), None));
        table.remove("uid:7:3");
        assert!(!table.contains_key("uid:7:3"));
        *table.entry("x").or_insert(0) += 1;
        assert_eq!(table.get("x"), Some(&1));
    }
}
