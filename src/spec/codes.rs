//! Every diagnostic code with its long explanation.

/// Codes and explanations, in alphabetical order. A code never changes its meaning.
const EXPLANATIONS: [(&str, &str); 46] = [
    (
        "alias_bomb",
        "Aliases (`*name`) repeat everything below their anchor (`&name`). A file may grow by at most 100,000 nodes that way; one that grows further is refused before it is expanded.",
    ),
    (
        "author_order",
        "Stages that change the tree (implement, fix) must run one after the other: each has to wait for the one before it, directly or through other stages, so that there is always one tree to judge.",
    ),
    (
        "bad_duration",
        "Durations are a number with a unit: `500ms`, `90s`, `30m`, `2h`, `1h30m`, `30d`; at least a millisecond and at most a year.",
    ),
    (
        "bad_glob",
        "Patterns are those of .gitignore: `*` stays within one directory, `**` crosses directories, a pattern without a slash matches at any depth. The crate that git users know from ripgrep parses them.",
    ),
    (
        "bad_name",
        "Names become parts of branches, refs, directories and variables, so only characters that are safe in all of them are accepted: a-z, 0-9 and `-` for pipelines and units (and `_` for agents, tiers, stages and checks), 40 at most; letters, digits and `_` for environment variables.",
    ),
    (
        "bad_number",
        "The number lies outside what the key accepts. Money is a number of US dollars that is not negative.",
    ),
    (
        "bad_panel",
        "A panel runs several agents side by side, and `quorum` of them must approve. It cannot be larger than the panel, and a panel has at least one member.",
    ),
    (
        "bad_text",
        "Titles and tickets become parts of a commit message: one line, not empty, without control characters. A prompt has to say something.",
    ),
    (
        "branch_collision",
        "Units work on branches called `pipeline/<name>/<unit>`. Git keeps branches as files in directories, so a branch called `pipeline` or `pipeline/<name>` makes these impossible, and one of that very name would be overwritten.",
    ),
    (
        "conflicting_keys",
        "Two keys say the same thing in different ways, and only one of them can be meant.",
    ),
    (
        "cycle",
        "Units or stages wait for one another in a circle, so none of them could ever start. The message shows the whole way round, the labels each step of it.",
    ),
    (
        "disabled_need",
        "A unit waits for one with `enabled: false`, which never lands in this run.",
    ),
    (
        "duplicate_key",
        "A key is written twice in one mapping. YAML readers differ in which one they keep; this one keeps neither silently.",
    ),
    (
        "duplicate_name",
        "Two checks that run together, or two ports, have the same name.",
    ),
    (
        "early_judge",
        "A review must wait for a stage that writes something, and an approval for every stage that writes or reviews; otherwise it would judge a tree that is not the one that lands.",
    ),
    (
        "fix_without_review",
        "A fix resolves the findings of reviews, so at least one review must come before it.",
    ),
    (
        "misplaced_key",
        "The key has a meaning for other kinds of stages only.",
    ),
    ("missing_key", "A key without which there is nothing to do."),
    (
        "missing_kind",
        "A stage is of the kind it is called, if its name is prepare, implement, review, fix or approve. Any other name needs `kind:`.",
    ),
    (
        "no_approval",
        "Nothing lands without approval: a tier needs a stage of kind approve, by an agent, by a person, or by passing checks. Tiers of prepare stages only are free of it.",
    ),
    (
        "no_author",
        "A tier that is to land something needs a stage of kind implement. Tiers of prepare stages only are free of it.",
    ),
    (
        "no_checks",
        "The queue lands what its checks have verified. Without a check it lands nothing, unless `queue: {verify: none}` says that nothing is to be verified; reports then show it as waived. An approval by checks needs a check in any case.",
    ),
    (
        "not_supported",
        "The key or word belongs to the format, but this version of the program does not act on it. It is refused rather than ignored.",
    ),
    (
        "outside_repository",
        "Paths are relative to the repository root and stay below it.",
    ),
    (
        "overlap",
        "Two units that do not wait for one another claim the same paths, and would probably conflict. `overlap: serialize` lets the later one wait by itself.",
    ),
    (
        "program_not_found",
        "The program of an agent can be found neither on PATH nor, for a name with a slash, below the repository root.",
    ),
    (
        "same_model",
        "A judge that is the author's own agent or model tends to agree with itself. Nothing stops you, but a second model finds more.",
    ),
    (
        "template",
        "Values of `workspace.env` are templates that know `worktree`, `unit`, `stage`, `run` and every port by its name. They are rendered once with dummy values when the file is loaded.",
    ),
    (
        "title_convention",
        "With `commit: {convention: conventional}`, the default, titles are Conventional Commits (`feat: …`). Another title gets `feat: ` put before it.",
    ),
    (
        "too_deep",
        "YAML may nest 32 levels here, a multiple of what the format needs.",
    ),
    (
        "too_large",
        "A pipeline file has at most 8 MiB, 20,000 units, and 100 stages in a tier.",
    ),
    ("too_many_problems", "Only the first 100 problems are shown."),
    (
        "unknown_agent",
        "No agent of that name is configured. The roles author, reviewer and planner fall back to the only agent there is; with several agents they have to be named.",
    ),
    (
        "unknown_branch",
        "A unit brings a branch that is not there. A run takes its branches in when it begins, and does not begin without them; one that took them in keeps the commits and goes on.",
    ),
    (
        "unknown_cost",
        "A budget is written out, but an agent that works under it has no price. Its cost is counted only if it reports `cost_usd` with its result.",
    ),
    (
        "unknown_key",
        "The format has no such key at that place. Top-level keys that start with `x-` are free.",
    ),
    (
        "unknown_kind",
        "The kinds of stages are prepare, implement, review, fix and approve.",
    ),
    (
        "unknown_stage",
        "`needs` of a stage names stages of the same tier.",
    ),
    (
        "unknown_tier",
        "No tier of that name is built in or defined under `tiers`.",
    ),
    ("unknown_unit", "`needs` of a unit names units of the same file."),
    ("unknown_value", "The key accepts only certain words."),
    (
        "unmatched_path",
        "A pattern under `paths` matches no tracked file. That is fine for files the unit is to create.",
    ),
    (
        "unreadable_file",
        "A file that the pipeline file names cannot be read as text.",
    ),
    (
        "unsupported_version",
        "The format has versions, and this program reads version 1.",
    ),
    (
        "wrong_type",
        "The value is of another type than the key accepts. Text that YAML reads as something else has to be quoted.",
    ),
    (
        "yaml_syntax",
        "The text is not YAML. Most often a text with `: `, `{{`, or a leading `*`, `@` or `%` has to be quoted.",
    ),
];

/// All codes, in alphabetical order.
pub const CODES: [&str; EXPLANATIONS.len()] = {
    let mut codes = [""; EXPLANATIONS.len()];
    let mut at = 0;
    while at < codes.len() {
        codes[at] = EXPLANATIONS[at].0;
        at += 1;
    }
    codes
};

/// The long explanation of a code, for `pipeline explain`.
pub fn explain(code: &str) -> Option<&'static str> {
    let found = EXPLANATIONS.binary_search_by_key(&code, |(code, _)| *code);
    found.ok().map(|at| EXPLANATIONS[at].1)
}
