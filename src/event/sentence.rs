//! Facts with many parts, as sentences of a bounded length.

use super::{Conflict, Reason};

/// How many parts a sentence names.
const PARTS_NAMED_MAX: usize = 10;

/// `a, b and 3 more`: the first of the parts, and how many there are beside them.
pub fn listed<T: AsRef<str>>(parts: &[T]) -> String {
    let (named, rest) = parts.split_at(parts.len().min(PARTS_NAMED_MAX));
    let named: Vec<&str> = named.iter().map(AsRef::as_ref).collect();
    let named = named.join(", ");
    match rest.len() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The command that puts a person's work on these paths aside, wherever it is run, and nothing else of it. What is
/// removed in the index comes back there first: git's stash refuses a path at which it finds nothing.
pub fn stash_command(checkout: &str, paths: &[String], removed: &[String]) -> String {
    // Without it git would take such a name for a pattern.
    let is_pattern = |path: &String| path.starts_with(':') || path.contains(['*', '?', '[', '\\']);
    let literally = paths.iter().any(is_pattern).then_some("--literal-pathspecs");
    let git = |words: &[&str], paths: &[String]| {
        let words = words.iter().copied().chain(["--"]);
        let command = std::iter::once("git")
            .chain(literally)
            .chain(["-C", checkout])
            .chain(words);
        shell_words::join(command.chain(paths.iter().map(String::as_str)))
    };
    let stash = git(&["stash", "push", "--all"], paths);
    match removed {
        [] => stash,
        removed => format!("{} && {stash}", git(&["reset", "-q"], removed)),
    }
}

/// A conflict with the target, as a sentence that names the paths and who brought the other side.
pub fn conflict_sentence(conflicts: &[Conflict]) -> String {
    let places: Vec<String> = conflicts
        .iter()
        .map(|conflict| match &conflict.landed_by {
            Some(unit) => format!("{} (with `{unit}`, which landed)", conflict.path),
            None => conflict.path.clone(),
        })
        .collect();
    match places.as_slice() {
        [] => Reason::ConflictTarget.sentence().to_owned(),
        places => format!("The work conflicts with the target in {}.", listed(places)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_puts_work_aside_names_each_path_as_the_shell_and_git_read_it() {
        let command = |paths: &[&str], removed: &[&str]| {
            let owned = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
            stash_command("/my repo", &owned(paths), &owned(removed))
        };
        assert_eq!(
            command(&["a", "it's"], &[]),
            r"git -C '/my repo' stash push --all -- a 'it'\''s'"
        );
        assert_eq!(
            command(&["a*"], &[]),
            "git --literal-pathspecs -C '/my repo' stash push --all -- 'a*'"
        );
        assert_eq!(
            command(&["a", "b"], &["b"]),
            "git -C '/my repo' reset -q -- b && git -C '/my repo' stash push --all -- a b"
        );
    }

    #[test]
    fn a_long_list_ends_with_how_many_more_there_are() {
        let parts: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        assert_eq!(listed(&parts), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more");
        assert_eq!(listed(&parts[..10]), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
        assert_eq!(listed::<&str>(&[]), "");
    }
}
