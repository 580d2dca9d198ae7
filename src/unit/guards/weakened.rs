//! Tests that were deleted, skipped or emptied, told by names and texts.
//!
//! The heuristics know Rust, Python, JavaScript and TypeScript, Go, Java, Ruby and shell. They count words, so that
//! moving a test within the work is no loss, and they ask a person instead of refusing.

use crate::event::{GuardAction, GuardHit, Reason};
use crate::spec::Unit;

use super::{ChangeStatus, DiffFacts, FileChange, hit, shown};

/// A language by what its tests look like.
struct Language {
    extensions: &'static [&'static str],
    tests: &'static [&'static str],
    assertions: &'static [&'static str],
    skips: &'static [&'static str],
}

const LANGUAGES: [Language; 7] = [
    Language {
        extensions: &["rs"],
        tests: &["#[test]", "::test]", "#[test_case", "#[rstest", "proptest!"],
        assertions: &[
            "assert!",
            "assert_eq!",
            "assert_ne!",
            "assert_matches!",
            "prop_assert",
            "assert_snapshot!",
        ],
        skips: &["#[ignore", "#[should_panic"],
    },
    Language {
        extensions: &["py"],
        tests: &["def test_", "def test("],
        assertions: &["assert ", "assert(", "self.assert", "pytest.raises"],
        skips: &[
            "pytest.mark.skip",
            "pytest.skip(",
            "mark.xfail",
            "unittest.skip",
            "self.skipTest(",
        ],
    },
    Language {
        extensions: &["js", "jsx", "ts", "tsx", "mjs", "cjs", "mts", "cts"],
        tests: &["it(", "test("],
        assertions: &["expect(", "assert(", "assert.", ".should."],
        skips: &[
            ".skip(",
            "xit(",
            "xdescribe(",
            "xtest(",
            ".todo(",
            ".only(",
            "it.fails(",
        ],
    },
    Language {
        extensions: &["go"],
        tests: &["func Test", "func Fuzz", "t.Run("],
        assertions: &["t.Error", "t.Fatal", "t.Fail", "assert.", "require."],
        skips: &["t.Skip", "testing.Short()"],
    },
    Language {
        extensions: &["java", "kt"],
        tests: &["@Test", "@ParameterizedTest"],
        assertions: &["assert"],
        skips: &["@Disabled", "@Ignore", "assumeTrue(", "assumeFalse("],
    },
    Language {
        extensions: &["rb"],
        tests: &["def test_", "it \"", "it '", "test \"", "test '"],
        assertions: &["assert", "expect(", "refute", "must_equal"],
        skips: &["xit ", "skip ", "pending ", "xdescribe "],
    },
    Language {
        extensions: &["sh", "bash", "bats", "t"],
        tests: &["@test", "test_expect_success", "test_"],
        assertions: &["[ ", "[[ ", "test ", "assert", "grep -q", "diff "],
        skips: &["skip", "test_expect_failure", "exit 77"],
    },
];

pub(super) fn tests_weakened(unit: &Unit, facts: &DiffFacts) -> Option<GuardHit> {
    if unit.may_change_tests {
        return None;
    }
    let mut told = Vec::new();
    let mut tests = 0i64;
    let mut assertions = 0i64;
    let mut losers = Vec::new();
    for file in &facts.files {
        let old_path = file.old_path.as_deref().unwrap_or(&file.path);
        let was_test = is_test_path(old_path);
        if file.status == ChangeStatus::Deleted && was_test {
            told.push(format!("{} (removed)", shown(&file.path)));
        }
        if file.status == ChangeStatus::Renamed && was_test && !is_test_path(&file.path) {
            told.push(format!("{} (no longer a test file)", shown(&file.path)));
        }
        let Some(change) = compare(file) else { continue };
        if change.skips > 0 {
            told.push(format!("{} (skip markers added)", shown(&file.path)));
        }
        tests += change.tests;
        assertions += change.assertions;
        if file.status != ChangeStatus::Deleted && (change.tests < 0 || change.assertions < 0) {
            losers.push(file);
        }
    }
    // Tests that moved to another file of the same work are no loss.
    if tests < 0 || assertions < 0 {
        told.extend(
            losers
                .iter()
                .map(|file| format!("{} (fewer tests or assertions)", shown(&file.path))),
        );
    }
    hit(Reason::TestsWeakened, GuardAction::Gate, "weakens tests", &told)
}

/// How many more (or, negative, fewer) there are after the change.
struct Change {
    tests: i64,
    assertions: i64,
    skips: i64,
}

fn compare(file: &FileChange) -> Option<Change> {
    let old_path = file.old_path.as_deref().unwrap_or(&file.path);
    let extension = file.path.rsplit_once('.')?.1;
    let language = LANGUAGES
        .iter()
        .find(|language| language.extensions.contains(&extension))?;
    // Rust keeps unit tests beside the code; elsewhere `it(` or `test ` mean something only in a test file.
    let relevant = extension == "rs" || is_test_path(old_path) || is_test_path(&file.path);
    if !relevant {
        return None;
    }
    let old = file.old_text.as_deref().unwrap_or_default();
    let new = file.new_text.as_deref().unwrap_or_default();
    // A text that is there and could not be looked at proves nothing.
    let unseen = file.new_text.is_none() && file.new_blob.is_some();
    if unseen && !old.is_empty() {
        return Some(Change {
            tests: -count(old, language.tests),
            assertions: -count(old, language.assertions),
            skips: 0,
        });
    }
    let difference = |words: &[&str]| count(new, words) - count(old, words);
    Some(Change {
        tests: difference(language.tests),
        assertions: difference(language.assertions),
        skips: difference(language.skips),
    })
}

/// Occurrences outside comment lines that do not continue a longer word: `it(` is not in `wait(`.
fn count(text: &str, words: &[&str]) -> i64 {
    let lines = text.lines().map(str::trim_start).filter(|line| !is_comment(line));
    let hits = lines
        .flat_map(|line| words.iter().map(move |word| occurrences(line, word)))
        .sum::<usize>();
    i64::try_from(hits).unwrap_or(i64::MAX)
}

fn is_comment(line: &str) -> bool {
    let hash = line.starts_with('#') && !line.starts_with("#[");
    hash || line.starts_with("//") || line.starts_with("/*") || line.starts_with("* ")
}

fn occurrences(line: &str, word: &str) -> usize {
    let starts_with_letter = word.starts_with(|c: char| c.is_alphanumeric());
    line.match_indices(word)
        .filter(|(at, _)| {
            let before = line[..*at].chars().next_back();
            !(starts_with_letter && before.is_some_and(|c| c.is_alphanumeric() || c == '_'))
        })
        .count()
}

/// Whether a path is that of a test, by its folders and its name.
fn is_test_path(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let (folders, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let in_folder = folders
        .split('/')
        .any(|folder| matches!(folder, "test" | "tests" | "__tests__" | "spec" | "specs" | "t"));
    let stem = name.split('.').next().unwrap_or(name);
    let camel = ["Test.java", "Tests.java", "Test.kt", "IT.java"]
        .iter()
        .any(|end| path.ends_with(end));
    in_folder
        || camel
        || stem == "test"
        || stem == "tests"
        || stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
        || stem.ends_with("_spec")
        || name.contains(".test.")
        || name.contains(".spec.")
        || name.ends_with(".bats")
}
