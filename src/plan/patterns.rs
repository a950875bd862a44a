//! Folders chosen by patterns: `--include` and `--exclude`.

use crate::folder::Folder;

/// Whether a folder is meant: it matches one of `include` (if there are any) and none of `exclude`. In a pattern `*` stands for any
/// characters, `/` too; folders are compared as people type them, INBOX in any case.
pub fn chosen(folder: &Folder, include: &[String], exclude: &[String]) -> bool {
    let name = folder.to_string();
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &name));
    (include.is_empty() || any(include)) && !any(exclude)
}

fn matches(pattern: &str, name: &str) -> bool {
    let inbox = pattern.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("INBOX"))
        && pattern.get(5..).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '*']));
    let pattern = if inbox { format!("INBOX{}", pattern.get(5..).unwrap_or_default()) } else { pattern.to_owned() };
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    // The first place where a piece fits leaves the most for those behind it; only the last is bound to the end.
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, fits) in [
            ("Trash", "Trash", true),
            ("Trash", "Trash/old", false),
            ("Trash*", "Trash/old", true),
            ("Lists/*", "Lists/a/b", true),
            ("Lists/*", "Lists", false),
            ("*/old", "a/b/old", true),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*", "x", true),
            ("inbox", "INBOX", true),
            ("Inbox/*", "INBOX/a", true),
            ("inboxes", "INBOX", false),
            ("é*", "été", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_excluded_stays_out_whatever_includes_it() {
        let folder = |name| Folder::parse(name).unwrap();
        let list = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        assert!(chosen(&folder("a"), &[], &[]));
        assert!(!chosen(&folder("a"), &list(&["b", "c*"]), &[]));
        assert!(chosen(&folder("c/d"), &list(&["b", "c*"]), &[]));
        assert!(!chosen(&folder("c/d"), &list(&["c*"]), &list(&["*/d"])));
    }
}
