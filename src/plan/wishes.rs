//! Which folder goes where, by what the user says, what was paired before, what both sides call special, and names. It counts no
//! message.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::{Pair, below, by_use, chosen, free};
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::store::{FolderInfo, SpecialUse};

/// So many folders are named in an error.
const MAX_NAMED: usize = 5;

/// What the user says of folders.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Only folders of the source that match one of these patterns; empty for all.
    pub include: Vec<String>,
    /// No folder that matches one of these.
    pub exclude: Vec<String>,
    /// A folder of the source, and the one at the destination that it goes to.
    pub map: Vec<(Folder, Folder)>,
    /// Everything but INBOX goes below this folder.
    pub prefix: Option<Folder>,
}

/// Why a folder goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is called the same.
    Same,
    /// It went there in earlier runs.
    Before,
    /// The user maps it.
    Mapped,
    /// It goes below a folder that the user named.
    Below,
    /// Both are for this.
    Use(SpecialUse),
    /// Another folder has its name, and two never share one by accident.
    Taken,
    /// The destination would list its name as another one.
    Called,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => Ok(()),
            Self::Before => f.write_str("as in earlier runs"),
            Self::Mapped => f.write_str("by --map"),
            Self::Below => f.write_str("below the folder named"),
            Self::Use(special) => write!(f, "the folder for {special} there"),
            Self::Taken => f.write_str("another folder has that name"),
            Self::Called => f.write_str("called so there"),
        }
    }
}

/// A pair of folders, and why they are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The folders.
    pub pair: Pair,
    /// Why.
    pub why: Why,
}

/// What the two sides are and were.
#[derive(Clone, Copy)]
pub struct Sides<'a> {
    /// The folders of the source.
    pub source: &'a [FolderInfo],
    /// The folders at the destination.
    pub destination: &'a [FolderInfo],
    /// The folder at the destination that was named.
    pub into: Option<&'a Folder>,
    /// Where folders went in earlier runs.
    pub known: &'a HashMap<Folder, Folder>,
}

/// What a folder would be listed as at the destination; an error of [`Kind::Usage`] where it cannot have such a name.
pub type Called<'a> = dyn FnMut(&Folder) -> Result<Folder> + 'a;

impl Wishes {
    /// Reads `A=B` of `--map`; an `=` in a name is written `%3D`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for anything else.
    pub fn mapping(text: &str) -> Result<(Folder, Folder)> {
        let wrong = || {
            Error::usage("a folder of the source and one of the destination are given as A=B")
                .hint("an = in a name is written %3D, a % %25, and a / that separates no levels %2F")
        };
        let (from, to) = text.split_once('=').ok_or_else(wrong)?;
        Folder::parse(from).zip(Folder::parse(to)).ok_or_else(wrong)
    }

    /// Pairs the folders that are meant. A folder that went somewhere goes there again; two share one only where the user maps
    /// both to it.
    ///
    /// # Errors
    /// [`Kind::Usage`]: a mapping of a folder that is not there, that contradicts an earlier run or another mapping, or that
    /// would make two folders one unasked; patterns that match nothing. What `called` says beside that a name cannot be.
    pub fn pair(&self, sides: Sides<'_>, called: &mut Called<'_>) -> Result<Vec<Planned>> {
        let Sides { source, destination, into, known } = sides;
        let selectable: Vec<&FolderInfo> = source.iter().filter(|info| info.selectable).collect();
        let meant: Vec<&FolderInfo> =
            selectable.iter().copied().filter(|info| chosen(&info.folder, &self.include, &self.exclude)).collect();
        if meant.is_empty() && !selectable.is_empty() && !self.include.is_empty() {
            return Err(Error::usage(format!("no folder of the source matches {}", self.include.join(", ")))
                .hint(format!("it has {}; * stands for anything", names(selectable.iter().map(|info| &info.folder)))));
        }
        let mut called = |folder: &Folder| match called(folder) {
            // The destination says so again when the folder is to be made, and then only that folder is a problem.
            Err(error) if error.kind() == Kind::Usage => Ok(folder.clone()),
            other => other,
        };
        let map = self.targets(sides, &meant, &mut called)?;
        let new: HashSet<&Folder> =
            meant.iter().map(|info| &info.folder).filter(|folder| !known.contains_key(*folder) && !map.contains_key(*folder)).collect();
        let existing: HashMap<&Folder, &FolderInfo> = destination.iter().map(|info| (&info.folder, info)).collect();
        let mut taken: HashSet<Folder> = known.values().chain(map.values()).cloned().collect();
        let mut planned = Vec::new();
        for info in &meant {
            let folder = &info.folder;
            let natural = by_use(info, destination);
            // Where it would go if nothing were in the way.
            let wish = match (into, &self.prefix) {
                (Some(into), _) if selectable.len() == 1 => into.clone(),
                (Some(into), _) => below(into, folder),
                (None, Some(prefix)) if !folder.is_inbox() => below(prefix, folder),
                _ => natural.clone().unwrap_or_else(|| folder.clone()),
            };
            if let Some(by) = newly(sides, &map, &wish).filter(|_| new.contains(folder)) {
                let target = &wish;
                return Err(Error::usage(format!("--map sends {by} to {target}, and {folder} goes there too")).hint(format!(
                    "--map {folder}={target} says that both may; --map {folder}=OTHER or --exclude {folder} keeps them apart"
                )));
            }
            let mut put = |wanted: Folder, why: Why| -> Result<(Folder, Why)> {
                let shown = called(&wanted)?;
                let why = if shown == wanted { why } else { Why::Called };
                // A folder that another one of the source is called like is that one's.
                let is_taken = |target: &Folder| taken.contains(target) || (target != folder && into.is_none() && new.contains(target));
                let target = free(shown.clone(), &is_taken);
                Ok(if target == shown { (target, why) } else { (target, Why::Taken) })
            };
            let (target, why) = match (known.get(folder), map.get(folder), into) {
                (_, Some(target), _) => (target.clone(), Why::Mapped),
                (Some(target), None, _) => (target.clone(), Why::Before),
                (None, None, Some(_)) => put(wish, Why::Below)?,
                (None, None, None) => match (&self.prefix, natural) {
                    (Some(_), _) if !folder.is_inbox() => put(wish, Why::Below)?,
                    (_, Some(target)) if !taken.contains(&target) && (target == *folder || !new.contains(&target)) => {
                        let special = existing.get(&target).and_then(|info| info.special_use).or(info.special_use);
                        (target, special.map_or(Why::Same, Why::Use))
                    }
                    _ => put(folder.clone(), Why::Same)?,
                },
            };
            let why = if target == *folder { Why::Same } else { why };
            taken.insert(target.clone());
            let destination = existing.get(&target).map_or_else(
                || FolderInfo { folder: target, special_use: info.special_use, subscribed: info.subscribed, selectable: true },
                |info| (*info).clone(),
            );
            planned.push(Planned { pair: Pair { source: (*info).clone(), destination }, why });
        }
        Ok(planned)
    }

    /// Where `--map` sends the folders that are meant, once it is known to contradict nothing.
    fn targets(
        &self,
        sides: Sides<'_>,
        meant: &[&FolderInfo],
        called: &mut dyn FnMut(&Folder) -> Result<Folder>,
    ) -> Result<HashMap<Folder, Folder>> {
        let Sides { source, known, .. } = sides;
        let mut map: HashMap<Folder, Folder> = HashMap::new();
        for (from, to) in &self.map {
            let to = called(to)?;
            if let Some(other) = map.get(from).filter(|other| **other != to) {
                return Err(Error::usage(format!("--map sends {from} to {other} and to {to}")));
            }
            match known.get(from) {
                Some(before) if *before != to => {
                    return Err(Error::usage(format!("--map sends {from} to {to}, and in an earlier run it went to {before}")).hint(format!(
                        "a folder stays where it went, or its mail would be in two: leave the mapping out and rename {before} at the destination once all is there; --state DIR with another directory begins anew and copies everything again"
                    )));
                }
                None if !source.iter().any(|info| info.selectable && info.folder == *from) => {
                    return Err(Error::usage(format!("--map: the source has no folder {from}"))
                        .hint(format!("it has {}", names(source.iter().filter(|info| info.selectable).map(|info| &info.folder)))));
                }
                _ => {}
            }
            map.insert(from.clone(), to);
        }
        for (from, to) in &map {
            let other = known.iter().find(|(other, target)| *target == to && *other != from && !map.contains_key(*other));
            if let Some((other, _)) = other.filter(|_| !known.contains_key(from)) {
                return Err(Error::usage(format!("--map sends {from} to {to}, and {other} went there in an earlier run"))
                    .hint(format!("--map {other}={to} beside it says that both may")));
            }
        }
        // One that is left out goes nowhere, whatever maps it.
        map.retain(|from, _| meant.iter().any(|info| info.folder == *from));
        Ok(map)
    }
}

/// The folder that `--map` sends to `target` for the first time.
fn newly<'m>(sides: Sides<'_>, map: &'m HashMap<Folder, Folder>, target: &Folder) -> Option<&'m Folder> {
    map.iter().filter(|(from, to)| *to == target && !sides.known.contains_key(*from)).map(|(from, _)| from).min()
}

/// Folders whose names at the destination differ only in case from another's there: a server that makes no difference makes one
/// folder of both.
pub fn case_twins(planned: &[Planned], destination: &[FolderInfo]) -> Vec<(Folder, Folder)> {
    let lower = |folder: &Folder| folder.to_string().to_lowercase();
    let mut by_name: HashMap<String, Vec<&Folder>> = HashMap::new();
    let targets: HashSet<&Folder> = planned.iter().map(|one| &one.pair.destination.folder).collect();
    for folder in destination.iter().map(|info| &info.folder).chain(targets.iter().copied()) {
        let folders = by_name.entry(lower(folder)).or_default();
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let there: HashSet<&Folder> = destination.iter().map(|info| &info.folder).collect();
    let mut twins: Vec<(Folder, Folder)> = Vec::new();
    for folder in targets.into_iter().filter(|folder| !there.contains(folder)) {
        if let Some(other) = by_name.get(&lower(folder)).and_then(|folders| folders.iter().find(|other| **other != folder)) {
            twins.push((folder.clone(), (*other).clone()));
        }
    }
    twins.sort();
    twins
}

fn names<'a>(folders: impl Iterator<Item = &'a Folder>) -> String {
    let all: Vec<String> = folders.map(ToString::to_string).collect();
    let more = if all.len() > MAX_NAMED { ", …" } else { "" };
    format!("{}{more}", all.get(..MAX_NAMED).unwrap_or(&all).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> Folder {
        Folder::parse(name).unwrap()
    }

    fn infos(names: &[&str]) -> Vec<FolderInfo> {
        let info = |name: &&str| FolderInfo { folder: folder(name), special_use: None, subscribed: true, selectable: true };
        names.iter().map(info).collect()
    }

    fn wishes(map: &[&str]) -> Wishes {
        Wishes { map: map.iter().map(|text| Wishes::mapping(text).unwrap()).collect(), ..Wishes::default() }
    }

    fn known(pairs: &[(&str, &str)]) -> HashMap<Folder, Folder> {
        pairs.iter().map(|(from, to)| (folder(from), folder(to))).collect()
    }

    fn go(wishes: &Wishes, source: &[&str], destination: &[&str], known: &HashMap<Folder, Folder>) -> Result<Vec<String>> {
        let (source, destination) = (infos(source), infos(destination));
        let sides = Sides { source: &source, destination: &destination, into: None, known };
        let planned = wishes.pair(sides, &mut |folder| Ok(folder.clone()))?;
        Ok(planned.iter().map(|one| one.pair.destination.folder.to_string()).collect())
    }

    #[test]
    fn a_mapping_has_a_folder_on_either_side() {
        assert_eq!(Wishes::mapping("a/b=c%3Dd").unwrap(), (folder("a/b"), folder("c%3Dd")));
        for wrong in ["", "a", "a=", "=b", "a//b=c", "a=%zz"] {
            assert_eq!(Wishes::mapping(wrong).unwrap_err().kind(), Kind::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_mapped_folder_goes_there_and_the_others_where_they_would() {
        let none = HashMap::new();
        assert_eq!(go(&wishes(&["Old=Archive/2020"]), &["INBOX", "Old"], &["INBOX"], &none).unwrap(), ["INBOX", "Archive/2020"]);
    }

    #[test]
    fn two_folders_share_one_only_where_both_are_mapped_to_it() {
        let none = HashMap::new();
        let source = ["INBOX", "a", "b"];
        assert_eq!(go(&wishes(&["a=x", "b=x"]), &source, &[], &none).unwrap(), ["INBOX", "x", "x"]);
        let error = go(&wishes(&["a=b"]), &source, &[], &none).unwrap_err();
        assert_eq!((error.kind(), error.remedy().unwrap().contains("--map b=b")), (Kind::Usage, true));
        assert_eq!(go(&wishes(&["a=INBOX"]), &source, &["INBOX"], &none).unwrap_err().kind(), Kind::Usage);
        assert_eq!(go(&wishes(&["a=b", "b=b"]), &source, &[], &none).unwrap(), ["INBOX", "b", "b"]);
        // A folder that came later is no reason to stop a run from cron.
        assert_eq!(go(&wishes(&["a=b"]), &source, &["b"], &known(&[("INBOX", "INBOX"), ("a", "b")])).unwrap(), ["INBOX", "b", "b (2)"]);
    }

    #[test]
    fn a_mapping_that_contradicts_what_was_is_an_error() {
        let source = ["INBOX", "a", "b"];
        for (map, was) in [(&["a=x"][..], ("a", "a")), (&["a=x", "a=y"], ("b", "b")), (&["z=x"], ("a", "a")), (&["a=y"], ("b", "y"))] {
            let error = go(&wishes(map), &source, &[], &known(&[was])).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{map:?}");
        }
        assert_eq!(go(&wishes(&["a=y", "b=y"]), &source, &[], &known(&[("b", "y")])).unwrap(), ["INBOX", "y", "y"]);
        // One that says what was is none, even where the folder has gone.
        assert_eq!(go(&wishes(&["z=x"]), &source, &[], &known(&[("z", "x")])).unwrap(), ["INBOX", "a", "b"]);
    }

    #[test]
    fn everything_but_inbox_goes_below_a_prefix() {
        let wishes = Wishes { prefix: Some(folder("Old/ann")), ..Wishes::default() };
        let there = ["INBOX", "Sent"];
        let none = HashMap::new();
        assert_eq!(go(&wishes, &["INBOX", "Sent", "a/b"], &there, &none).unwrap(), ["INBOX", "Old/ann/Sent", "Old/ann/a/b"]);
        assert_eq!(go(&wishes, &["INBOX", "Sent"], &there, &known(&[("Sent", "Sent")])).unwrap(), ["INBOX", "Sent"]);
        let wishes = Wishes { map: vec![(folder("a"), folder("Old/ann/b"))], ..wishes };
        assert_eq!(go(&wishes, &["INBOX", "a", "b"], &there, &none).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn folders_are_chosen_by_patterns_and_none_is_an_error() {
        let none = HashMap::new();
        let wishes = |include: &str, exclude: &str| Wishes {
            include: include.split_whitespace().map(str::to_owned).collect(),
            exclude: exclude.split_whitespace().map(str::to_owned).collect(),
            ..Wishes::default()
        };
        let source = ["INBOX", "a", "a/b", "c"];
        assert_eq!(go(&wishes("a*", "*/b"), &source, &[], &none).unwrap(), ["a"]);
        assert_eq!(go(&wishes("", "a*"), &source, &[], &none).unwrap(), ["INBOX", "c"]);
        assert_eq!(go(&wishes("zz", ""), &source, &[], &none).unwrap_err().kind(), Kind::Usage);
        assert!(go(&wishes("", "*"), &source, &[], &none).unwrap().is_empty());
    }

    #[test]
    fn names_that_are_one_at_the_destination_stay_two_folders() {
        let source = infos(&["INBOX", "INBOX/x", "x"]);
        let none = HashMap::new();
        let sides = Sides { source: &source, destination: &[], into: None, known: &none };
        let mut called = |folder: &Folder| match folder.levels().split_first() {
            // As with a personal namespace INBOX.
            Some((first, rest)) if first == "INBOX" && !rest.is_empty() => Ok(Folder::from_levels(rest.iter().cloned()).unwrap()),
            _ => Ok(folder.clone()),
        };
        let planned = Wishes::default().pair(sides, &mut called).unwrap();
        let shown: Vec<(String, Why)> = planned.iter().map(|one| (one.pair.destination.folder.to_string(), one.why)).collect();
        assert_eq!(shown, [("INBOX".to_owned(), Why::Same), ("x (2)".to_owned(), Why::Taken), ("x".to_owned(), Why::Same)]);
    }

    #[test]
    fn names_that_differ_in_case_alone_are_told() {
        let source = infos(&["INBOX", "Work", "work", "other"]);
        let none = HashMap::new();
        let destination = infos(&["INBOX", "Other"]);
        let sides = Sides { source: &source, destination: &destination, into: None, known: &none };
        let planned = Wishes::default().pair(sides, &mut |folder| Ok(folder.clone())).unwrap();
        let twins: Vec<String> = case_twins(&planned, &destination).iter().map(|(one, other)| format!("{one} {other}")).collect();
        assert_eq!(twins, ["Work work", "other Other", "work Work"]);
    }
}
