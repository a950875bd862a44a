//! What a run is going to do, computed from two lists of folders alone: which folder goes where. No session, no journal.

use std::collections::HashMap;

use crate::folder::Folder;
use crate::store::{FolderInfo, SpecialUse};

/// A folder of the source and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The folder on the source.
    pub source: FolderInfo,
    /// The folder at the destination; it may have to be made.
    pub destination: FolderInfo,
}

/// What a folder without a special use may be called when it has one in all but the attribute.
const NAMES: &[(&str, SpecialUse)] = &[
    ("sent", SpecialUse::Sent),
    ("sent items", SpecialUse::Sent),
    ("sent messages", SpecialUse::Sent),
    ("sent mail", SpecialUse::Sent),
    ("drafts", SpecialUse::Drafts),
    ("trash", SpecialUse::Trash),
    ("deleted items", SpecialUse::Trash),
    ("deleted messages", SpecialUse::Trash),
    ("junk", SpecialUse::Junk),
    ("junk e-mail", SpecialUse::Junk),
    ("spam", SpecialUse::Junk),
    ("archive", SpecialUse::Archive),
];

/// Pairs folders by special use, then by name. With `into`, a source of one folder goes there, and one of several goes
/// below it. Two folders of the source never share one at the destination.
pub fn pair_folders(source: &[FolderInfo], destination: &[FolderInfo], into: Option<&Folder>) -> Vec<Pair> {
    let existing: HashMap<&Folder, &FolderInfo> = destination.iter().map(|info| (&info.folder, info)).collect();
    let selectable: Vec<&FolderInfo> = source.iter().filter(|info| info.selectable).collect();
    let mut taken: Vec<Folder> = Vec::new();
    let mut pairs = Vec::new();
    for info in &selectable {
        let target = match into {
            Some(into) if selectable.len() == 1 => into.clone(),
            Some(into) => below(into, &info.folder),
            None => by_use(info, destination).filter(|folder| !taken.contains(folder)).unwrap_or_else(|| info.folder.clone()),
        };
        let target = if taken.contains(&target) { info.folder.clone() } else { target };
        taken.push(target.clone());
        let destination = existing.get(&target).map_or_else(
            || FolderInfo { folder: target, special_use: info.special_use, subscribed: info.subscribed, selectable: true },
            |info| (*info).clone(),
        );
        pairs.push(Pair { source: (*info).clone(), destination });
    }
    pairs
}

fn below(into: &Folder, folder: &Folder) -> Folder {
    Folder::from_levels(into.levels().iter().chain(folder.levels()).cloned()).unwrap_or_else(|| into.clone())
}

/// The destination's folder for the same use, where one side says so by attribute and the other by attribute or name.
fn by_use(info: &FolderInfo, destination: &[FolderInfo]) -> Option<Folder> {
    if destination.iter().any(|other| other.folder == info.folder && other.selectable) {
        return Some(info.folder.clone());
    }
    let special = info.special_use.or_else(|| use_by_name(&info.folder))?;
    destination
        .iter()
        .find(|other| other.selectable && other.special_use == Some(special))
        .or_else(|| {
            destination.iter().find(|other| other.selectable && info.special_use.is_some() && use_by_name(&other.folder) == Some(special))
        })
        .map(|other| other.folder.clone())
}

fn use_by_name(folder: &Folder) -> Option<SpecialUse> {
    let [only] = folder.levels() else { return None };
    NAMES.iter().find(|(name, _)| only.eq_ignore_ascii_case(name)).map(|(_, special)| *special)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, special_use: Option<SpecialUse>) -> FolderInfo {
        FolderInfo { folder: Folder::parse(name).unwrap(), special_use, subscribed: true, selectable: true }
    }

    fn targets(source: &[FolderInfo], destination: &[FolderInfo], into: Option<&str>) -> Vec<String> {
        let into = into.map(|name| Folder::parse(name).unwrap());
        pair_folders(source, destination, into.as_ref()).into_iter().map(|pair| pair.destination.folder.to_string()).collect()
    }

    #[test]
    fn special_uses_meet_whatever_their_names() {
        let source = [info("INBOX", None), info("Sent Items", None), info("Papierkorb", Some(SpecialUse::Trash)), info("a/b", None)];
        let destination = [info("INBOX", None), info("Sent", Some(SpecialUse::Sent)), info("Trash", None)];
        assert_eq!(targets(&source, &destination, None), ["INBOX", "Sent", "Trash", "a/b"]);
    }

    #[test]
    fn two_folders_never_share_one_destination() {
        let source = [info("Sent", Some(SpecialUse::Sent)), info("Sent Items", None), info("Sent Messages", None)];
        let destination = [info("Gesendet", Some(SpecialUse::Sent))];
        assert_eq!(targets(&source, &destination, None), ["Gesendet", "Sent Items", "Sent Messages"]);
    }

    #[test]
    fn a_named_destination_takes_one_folder_itself_and_several_below_it() {
        assert_eq!(targets(&[info("INBOX", None)], &[], Some("Old/Mail")), ["Old/Mail"]);
        assert_eq!(targets(&[info("INBOX", None), info("x", None)], &[], Some("Old")), ["Old/INBOX", "Old/x"]);
    }

    #[test]
    fn folders_that_hold_no_mail_are_left_out() {
        let mut parent = info("[Gmail]", None);
        parent.selectable = false;
        assert!(targets(&[parent], &[], None).is_empty());
    }
}
