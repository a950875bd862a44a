//! What a run is going to do, computed from lists alone: which folder goes where, and how many messages may go. No session, no
//! journal.

mod ceiling;
mod estimate;
mod patterns;
mod wishes;

use std::collections::HashMap;

use crate::folder::Folder;
use crate::store::{FolderInfo, SpecialUse};

pub use ceiling::Ceiling;
pub use estimate::Estimate;
pub use patterns::chosen;
pub use wishes::{Called, Planned, Sides, Why, Wishes, case_twins};

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

/// Pairs folders: as they were paired before (`known`), else by special use, then by name. With `into`, a source of one folder
/// goes there, and one of several goes below it. Two folders of the source never share one at the destination.
///
/// What was paired stays so whatever folders come and go on either side: mail that went to one folder must not go to
/// another one as well.
pub fn pair_folders(
    source: &[FolderInfo],
    destination: &[FolderInfo],
    into: Option<&Folder>,
    known: &HashMap<Folder, Folder>,
) -> Vec<Pair> {
    let sides = Sides { source, destination, into, known };
    // Without wishes there is nothing that could be contradicted.
    let planned = Wishes::default().pair(sides, &mut |folder| Ok(folder.clone())).unwrap_or_default();
    planned.into_iter().map(|one| one.pair).collect()
}

/// `folder`, with a number behind its name where it is taken.
fn free(folder: Folder, is_taken: &dyn Fn(&Folder) -> bool) -> Folder {
    let numbered = |number: u32| {
        let (last, above) = folder.levels().split_last()?;
        Folder::from_levels(above.iter().cloned().chain([format!("{last} ({number})")]))
    };
    if !is_taken(&folder) {
        return folder;
    }
    (2..).filter_map(numbered).find(|folder| !is_taken(folder)).unwrap_or(folder)
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

/// The use a folder is called by, whatever its attributes say.
pub fn use_by_name(folder: &Folder) -> Option<SpecialUse> {
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
        paired(source, destination, into.as_ref(), &[])
    }

    fn paired(source: &[FolderInfo], destination: &[FolderInfo], into: Option<&Folder>, known: &[(&str, &str)]) -> Vec<String> {
        let folder = |name| Folder::parse(name).unwrap();
        let known = known.iter().map(|(from, to)| (folder(from), folder(to))).collect();
        pair_folders(source, destination, into, &known).into_iter().map(|pair| pair.destination.folder.to_string()).collect()
    }

    #[test]
    fn a_folder_goes_where_it_went_before_whatever_came_since() {
        let into = Folder::parse("Old").unwrap();
        let known = [("INBOX", "Old")];
        assert_eq!(paired(&[info("INBOX", None), info("x", None)], &[], Some(&into), &known), ["Old", "Old/x"]);
        let known = [("Sent Items", "Sent")];
        let source = [info("Sent", None), info("Sent Items", None)];
        let destination = [info("Sent", Some(SpecialUse::Sent)), info("Sent Items", None)];
        assert_eq!(paired(&source, &destination, None, &known), ["Sent (2)", "Sent"]);
    }

    #[test]
    fn a_folder_does_not_take_the_name_of_another() {
        let source = [info("Gesendet", Some(SpecialUse::Sent)), info("Sent Items", None)];
        assert_eq!(targets(&source, &[info("Sent Items", None)], None), ["Gesendet", "Sent Items"]);
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
