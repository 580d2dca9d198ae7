//! The shape of the source, enforced: arrows point down only, nothing goes round a chokepoint, files stay short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines a source file may have.
const LINES_MAX: usize = 700;

/// What each module may use of the crate. A module may always use itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("fault", &[]),
    ("spec", &["id"]),
    ("dag", &["id", "spec"]),
    ("event", &["id", "spec"]),
    ("policy", &["id", "spec", "event"]),
    ("unit", &["id", "spec", "event", "policy"]),
    ("queue", &["id", "spec", "event", "policy"]),
    ("run", &["id", "spec", "dag", "event", "policy", "unit", "queue"]),
    ("view", &["id", "spec", "event", "queue"]),
    ("port", &["id", "spec", "event"]),
    ("clock", &["port"]),
    ("process", &["id", "fault", "port"]),
    ("control", &["process"]),
    ("git", &["id", "fault", "spec", "event", "port", "process"]),
    ("store", &["id", "fault", "spec", "event", "port"]),
    (
        "workspace",
        &["id", "fault", "spec", "event", "port", "process", "git"],
    ),
    ("agent", &["id", "spec", "event", "port"]),
    (
        "engine",
        &[
            "id",
            "spec",
            "dag",
            "event",
            "policy",
            "unit",
            "queue",
            "run",
            "port",
            "clock",
            "control",
            "git",
            "store",
            "workspace",
            "agent",
        ],
    ),
    ("report", &["id", "spec", "event", "queue", "view", "port"]),
    (
        "cli",
        &[
            "id",
            "fault",
            "spec",
            "dag",
            "event",
            "policy",
            "unit",
            "queue",
            "run",
            "view",
            "port",
            "clock",
            "process",
            "control",
            "git",
            "store",
            "workspace",
            "agent",
            "engine",
            "report",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Text that may stand only below the named modules, and why.
const CHOKEPOINTS: &[(&str, &[&str], &str)] = &[
    (
        "Command::new(",
        &["process"],
        "every child goes through the spawn chokepoint",
    ),
    ("Timestamp::now(", &["clock"], "there is one source of wall time"),
    ("SystemTime::now(", &["clock"], "there is one source of wall time"),
    ("env::var", &["cli"], "the library never reads the environment"),
    (
        "println!(",
        &[],
        "the library never prints; `cli` writes through one function",
    ),
];

/// Words that the pure core must not contain: it is synchronous and knows no file, clock or environment.
const CORE: &[&str] = &[
    "id", "spec", "dag", "event", "policy", "unit", "queue", "run", "view",
];
const NOT_IN_CORE: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::env",
    "std::process",
    "std::net",
    "Instant::now",
];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
    /// Without tests, comments and doc comments.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    assert!(found.len() > 20, "the sources were found");
    found
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let is_test = relative.components().any(|part| {
                let name = part.as_os_str().to_str().unwrap();
                name == "tests" || name == "tests.rs" || name == "scenario.rs" || name == "simulation"
            });
            let code = if is_test { String::new() } else { code_of(&text) };
            Source {
                module: first.trim_end_matches(".rs").to_owned(),
                path,
                text,
                code,
            }
        })
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file before its test module, without comments.
fn code_of(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules of the crate that a piece of code names.
fn used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `othercrate::` are not ours.
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split("};").next().unwrap();
            let mut depth = 0;
            for part in group.split_inclusive([',', '{', '}']) {
                let name: String = part
                    .trim()
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if depth == 0 && !name.is_empty() {
                    used.insert(name);
                }
                depth += i32::try_from(part.matches('{').count()).unwrap();
                depth -= i32::try_from(part.matches('}').count()).unwrap();
            }
        } else {
            used.insert(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    used
}

#[test]
fn arrows_between_modules_point_down() {
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(allowed) = table.get(source.module.as_str()) else {
            wrong.push(format!("{} is in no module of the table", source.path.display()));
            continue;
        };
        for module in used(&source.code) {
            if table.contains_key(module.as_str())
                && module != source.module
                && !allowed.contains(&module.as_str())
            {
                wrong.push(format!(
                    "{}: `{}` may not use `{module}`",
                    source.path.display(),
                    source.module
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_arrows_has_no_cycle() {
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    for (module, uses) in MAY_USE {
        for used in *uses {
            // `port` stands after the core in the table, and nothing in the core uses it.
            assert!(
                placed.contains(used) || *module == *used,
                "`{module}` uses `{used}`, which stands below it"
            );
        }
        placed.insert(module);
    }
}

#[test]
fn nothing_goes_round_a_chokepoint() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (text, allowed, why) in CHOKEPOINTS {
            if source.code.contains(text) && !allowed.contains(&source.module.as_str()) {
                wrong.push(format!("{}: `{text}`: {why}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| CORE.contains(&source.module.as_str()))
    {
        for text in NOT_IN_CORE {
            if source.code.contains(text) {
                wrong.push(format!("{}: `{text}` in the pure core", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn source_files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!(
                "{} has {lines} lines; {LINES_MAX} are the most",
                source.path.display()
            ));
        }
        if !source.text.starts_with("//!") {
            wrong.push(format!("{} does not open with `//!`", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scanner_sees_grouped_and_inline_paths() {
    let code = "use crate::{git::{self, X}, store::Y};\nfn f() { crate::queue::g(); $crate::not(); }";
    let expected: BTreeSet<String> = ["git", "store", "queue"].map(str::to_owned).into();
    assert_eq!(used(code), expected);
}
