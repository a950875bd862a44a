//! Which folder of the one side is compared with which of the other. Names alone; no message.

use std::collections::{HashMap, HashSet};

use super::Comparison;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::plan;
use crate::store::{FolderInfo, SpecialUse};

/// The folders to compare.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Folders that belong together; one that only one side has stands alone.
    pub(super) pairs: Vec<(Option<Folder>, Option<Folder>)>,
    /// Further folders of the second side, in which is looked for what is left of a maildrop.
    pub(super) others: Vec<Folder>,
}

/// Pairs the folders of both sides.
pub(super) fn of(comparison: &Comparison<'_>, places: [String; 2], a: Vec<FolderInfo>, b: Vec<FolderInfo>) -> Result<Places> {
    let [place_a, place_b] = places;
    let a = only(a, comparison.a.only.as_ref(), &place_a)?;
    if comparison.maildrop {
        return maildrop(comparison, &place_b, &a, b);
    }
    let b = only(b, comparison.b.only.as_ref(), &place_b)?;
    if let ([one], [other]) = (a.as_slice(), b.as_slice())
        && (comparison.b.only.is_some() || comparison.a.only.is_some())
    {
        return Ok(Places { pairs: vec![(Some(one.folder.clone()), Some(other.folder.clone()))], others: Vec::new() });
    }
    let there: HashSet<&Folder> = b.iter().map(|info| &info.folder).collect();
    let here: HashSet<&Folder> = a.iter().map(|info| &info.folder).collect();
    let mut known = HashMap::new();
    let mut taken = HashSet::new();
    for ((from, _), (to, _, _)) in &comparison.known {
        if here.contains(from) && there.contains(to) && !known.contains_key(from) && taken.insert(to.clone()) {
            known.insert(from.clone(), to.clone());
        }
    }
    let mut pairs: Vec<(Option<Folder>, Option<Folder>)> = plan::pair_folders(&a, &b, None, &known)
        .into_iter()
        .map(|pair| (Some(pair.source.folder), Some(pair.destination.folder).filter(|folder| there.contains(folder))))
        .collect();
    if comparison.b.only.is_some() {
        // One folder there is meant, so only what belongs to it here is.
        pairs.retain(|(_, there)| there.is_some());
    }
    let paired: HashSet<Folder> = pairs.iter().filter_map(|(_, there)| there.clone()).collect();
    if comparison.a.only.is_none() {
        pairs.extend(b.iter().filter(|info| !paired.contains(&info.folder)).map(|info| (None, Some(info.folder.clone()))));
    }
    Ok(Places { pairs, others: Vec::new() })
}

fn maildrop(comparison: &Comparison<'_>, place_b: &str, a: &[FolderInfo], b: Vec<FolderInfo>) -> Result<Places> {
    let drop = a.iter().find(|info| info.folder.is_inbox()).or(a.first()).map(|info| info.folder.clone());
    if let Some(wanted) = &comparison.b.only {
        only(b, Some(wanted), place_b)?;
        return Ok(Places { pairs: vec![(drop, Some(wanted.clone()))], others: Vec::new() });
    }
    let b = only(b, None, place_b)?;
    // Where INBOX is left out, every folder is another one.
    let first = b.iter().find(|info| info.folder.is_inbox()).map(|info| info.folder.clone());
    let mut others: Vec<&FolderInfo> = b.iter().filter(|info| Some(&info.folder) != first.as_ref()).collect();
    // Views show what other folders hold; looked into last, they have only what is nowhere else.
    others.sort_by_key(|info| is_view(info));
    let others = others.into_iter().map(|info| info.folder.clone()).collect();
    Ok(Places { pairs: vec![(drop, first)], others })
}

/// Whether a folder shows what others hold.
fn is_view(info: &FolderInfo) -> bool {
    matches!(info.special_use, Some(SpecialUse::All | SpecialUse::Flagged))
}

/// The folders that show what others hold, unless one is meant.
pub(super) fn views(folders: &[FolderInfo], only: Option<&Folder>) -> HashSet<Folder> {
    folders.iter().filter(|info| only.is_none() && is_view(info)).map(|info| info.folder.clone()).collect()
}

/// The folders that can hold messages; of them the one that is meant, which has to be there.
fn only(mut folders: Vec<FolderInfo>, only: Option<&Folder>, place: &str) -> Result<Vec<FolderInfo>> {
    folders.retain(|info| info.selectable && only.is_none_or(|only| info.folder == *only));
    match only {
        Some(only) if folders.is_empty() => Err(Error::usage(format!("there is no folder {only}")).at(place)),
        _ => Ok(folders),
    }
}
