//! Raw units to typed ones: prompts, tiers, dependencies, branches, and the paths they claim.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Surroundings;
use super::decode::{Named, Spanned};
use super::diagnostic::{Problem, Sink, Span};
use super::graph::{self, Ancestors};
use super::model::{Convention, FromBranch, Performer, Tier, Unit, Usd};
use super::node::Key;
use super::overlap::{PatternIndex, literal_directory, patterns_may_overlap};
use super::raw::{Budget, RawOverlap, RawUnit};
use super::settings::{checks, document, example_name, globs, require_line, resources, texts, unknown};
use super::tiers::{Roster, report_cycle};

/// Most units of a file.
pub(super) const UNITS_MAX: usize = 20_000;

/// What units are resolved against.
pub(super) struct Setting<'a> {
    pub(super) around: &'a dyn Surroundings,
    pub(super) pipeline_name: &'a str,
    pub(super) roster: &'a Roster,
    /// Every id of a unit, also of those that could not be read.
    pub(super) unit_names: HashSet<String>,
    /// Every name of a tier, also of those whose shape is wrong.
    pub(super) tier_names: BTreeSet<String>,
    pub(super) tiers: &'a BTreeMap<String, Tier>,
    /// Agents that a tier asks for and that do not exist; told at the first unit that uses the tier.
    pub(super) missing_agents: &'a BTreeMap<String, Vec<Spanned<String>>>,
    pub(super) default_tier: Option<&'a Spanned<String>>,
    /// Names of the file's checks.
    pub(super) check_names: HashMap<String, Span>,
    /// Whether the file has checks of its own.
    pub(super) has_checks: bool,
    pub(super) convention: Convention,
    pub(super) overlap: RawOverlap,
}

/// Resolves all enabled units, in file order.
pub(super) fn resolve(raw: &Named<RawUnit>, setting: &Setting<'_>, sink: &mut Sink) -> Vec<Unit> {
    let index: HashMap<&str, usize> = raw
        .0
        .iter()
        .enumerate()
        .map(|(at, (key, _))| (key.text.as_str(), at))
        .collect();
    let branches: BTreeSet<String> = setting.around.branches().into_iter().collect();
    let mut tiers_told = HashSet::new();
    let mut enabled = Vec::new();
    let mut needs = Vec::with_capacity(raw.0.len());
    for (key, unit) in &raw.0 {
        needs.push(own_needs(key, unit, raw, &index, &setting.unit_names, sink));
        check_id(key, setting, &branches, sink);
        check_branch(unit, setting.around, &branches, sink);
        let typed = resolve_one(key, unit, setting, &mut tiers_told, sink);
        if let (Some(unit), true) = (typed, unit.enabled.or(true)) {
            enabled.push(unit);
        }
    }
    let edges: Vec<Vec<usize>> = needs
        .iter()
        .map(|needs| needs.iter().map(|(need, _)| *need).collect())
        .collect();
    for cycle in graph::cycles(&edges) {
        let names: Vec<_> = cycle.iter().map(|at| raw.0[*at].0.text.as_str()).collect();
        let places = (0..cycle.len()).map(|i| {
            let (from, to) = (cycle[i], cycle[(i + 1) % cycle.len()]);
            needs[from]
                .iter()
                .find(|(need, _)| *need == to)
                .expect("a cycle follows needs")
                .1
        });
        report_cycle("units", &names, places, sink);
    }
    check_overlaps(raw, &edges, setting.overlap, sink);
    check_matches(raw, setting.around, sink);
    enabled
}

fn own_needs(
    key: &Key,
    unit: &RawUnit,
    raw: &Named<RawUnit>,
    index: &HashMap<&str, usize>,
    every_name: &HashSet<String>,
    sink: &mut Sink,
) -> Vec<(usize, Span)> {
    let mut needs: Vec<(usize, Span)> = Vec::new();
    let mut seen = HashSet::new();
    for need in unit.needs.value().into_iter().flatten() {
        match index.get(need.value.as_str()) {
            Some(at) if seen.insert(*at) => {
                needs.push((*at, need.span));
                let (needed, other) = &raw.0[*at];
                if unit.enabled.or(true) && !other.enabled.or(true) {
                    let message = format!("`{}` waits for `{}`, which is not enabled", key.text, needed.text);
                    let problem = Problem::error("disabled_need", need.span, message)
                        .label("would never land")
                        .also(
                            other.enabled.given().map_or(needed.span, |given| given.span),
                            "not enabled here",
                        )
                        .help(format!(
                            "enable `{}`, or remove the need if it has landed already",
                            needed.text
                        ));
                    sink.report(problem);
                }
            }
            Some(_) => {}
            None if every_name.contains(&need.value) => {}
            None => unknown(
                "unknown_unit",
                "unit",
                need,
                raw.0.iter().map(|(key, _)| key.text.as_str()),
                sink,
            ),
        }
    }
    needs
}

fn check_id(key: &Key, setting: &Setting<'_>, branches: &BTreeSet<String>, sink: &mut Sink) {
    if !crate::id::is_safe_name(&key.text) {
        let problem = Problem::error(
            "bad_name",
            key.span,
            format!("`{}` cannot be the id of a unit", key.text),
        )
        .label("not safe as a branch and a directory")
        .help(format!(
            "use up to 40 of a-z, 0-9 and `-`{}",
            example_name(&key.text)
        ));
        sink.report(problem);
        return;
    }
    let branch = format!("pipeline/{}/{}", setting.pipeline_name, key.text);
    let below = format!("{branch}/");
    let beneath = branches
        .range(below.clone()..)
        .next()
        .filter(|found| found.starts_with(&below));
    if let Some(existing) = branches.get(&branch).or(beneath) {
        sink.report(branch_collision(key.span, &branch, existing));
    }
}

/// That a branch cannot be made because another one stands in its way.
pub(super) fn branch_collision(at: Span, branch: &str, existing: &str) -> Problem {
    let remedy = if existing == branch {
        "rename the unit"
    } else {
        "git keeps branches as files and directories; rename it"
    };
    Problem::error(
        "branch_collision",
        at,
        format!("the branch `{branch}` collides with the existing branch `{existing}`"),
    )
    .label(format!("needs the branch `{branch}`"))
    .help(format!(
        "{remedy}, or move the branch away: `git branch -m {existing} <other-name>`"
    ))
}

fn resolve_one(
    key: &Key,
    raw: &RawUnit,
    setting: &Setting<'_>,
    tiers_told: &mut HashSet<String>,
    sink: &mut Sink,
) -> Option<Unit> {
    let title = title(raw, setting.convention, sink);
    let prompt = prompt(key, raw, setting.around, sink);
    let tier = tier(key, raw, setting, tiers_told, sink);
    let from_branch = from_branch(key, raw, setting.tiers.get(&tier), sink);
    // Everything is looked at before the first `?`, so that one mistake hides no other.
    let paths = globs(raw.paths.value(), sink);
    if let Some(agent) = raw.agent.given()
        && setting.roster.resolve(&agent.value).is_none()
    {
        setting.roster.report_unknown(agent, sink);
    }
    let exclusive = resources(raw.exclusive.value(), sink);
    let checks = if raw.checks.is_absent() {
        Vec::new()
    } else {
        checks(raw.checks.value(), &mut setting.check_names.clone(), sink)
    };
    if let Some(tier) = setting.tiers.get(&tier) {
        let by_checks = tier.stages.iter().any(|stage| stage.by == Performer::Checks);
        if by_checks && checks.is_empty() && !setting.has_checks {
            let problem = Problem::error(
                "no_checks",
                key.span,
                format!("checks are to approve `{}`, and there are none", key.text),
            )
            .label("approved by nothing")
            .help("add a check, or choose a tier in which an agent or a person approves");
            sink.report(problem);
        }
    }
    Some(Unit {
        id: key.text.parse().ok()?,
        title: title?,
        prompt: prompt?,
        acceptance: texts(raw.acceptance.value().map_or(&[][..], Vec::as_slice)),
        paths,
        needs: raw
            .needs
            .value()
            .into_iter()
            .flatten()
            .filter_map(|need| need.value.parse().ok())
            .collect(),
        tier,
        priority: raw.priority.value().map_or(0, |n| n.0),
        agent: raw.agent.value().and_then(|name| setting.roster.resolve(name)),
        budget: raw.budget_usd.value().and_then(budget),
        checks,
        may_change_tests: raw.may_change_tests.or(false),
        ticket: raw.ticket.value().cloned(),
        exclusive,
        from_branch,
    })
}

/// What a unit with a branch and no prompt of its own asks for.
pub fn prompt_of_branch(branch: &str) -> String {
    format!("The work is there: the commits of the branch `{branch}` are to land.")
}

fn from_branch(key: &Key, raw: &RawUnit, tier: Option<&Tier>, sink: &mut Sink) -> Option<FromBranch> {
    let branch = raw.from_branch.given()?;
    if !is_revision_name(&branch.value) {
        let message = format!("`{}` cannot be the name of a branch", branch.value);
        let problem = Problem::error("bad_text", branch.span, message)
            .label("no branch of git is called that")
            .help("write the branch as `git branch --all` shows it, without `remotes/`");
        sink.report(problem);
    }
    if tier.is_some_and(Tier::is_explore) {
        let message = format!("`{}` brings a branch, and its tier lands nothing", key.text);
        let problem = Problem::error("conflicting_keys", branch.span, message)
            .label("has commits to land")
            .help("choose a tier with an approval, such as `tier: small`");
        sink.report(problem);
    }
    Some(FromBranch {
        name: branch.value.clone(),
        review: true,
    })
}

/// A run that took the branch in already goes on without it, so that it is no error here.
fn check_branch(raw: &RawUnit, around: &dyn Surroundings, branches: &BTreeSet<String>, sink: &mut Sink) {
    let Some(branch) = raw.from_branch.given() else {
        return;
    };
    let is_there = || branches.contains(&branch.value) || around.has_branch(&branch.value);
    if is_revision_name(&branch.value) && !is_there() {
        let message = format!("there is no branch `{}` here", branch.value);
        let problem = Problem::warning("unknown_branch", branch.span, message)
            .label("cannot be taken in")
            .help(
                "`git branch --all` lists branches; one of a remote is named `origin/…`, after a `git fetch`",
            );
        sink.report(problem);
    }
}

/// Whether git could have a branch of that name; what it would read as more than a name is none.
fn is_revision_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let parts_are_fine = name.split('/').all(|part| {
        !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !part.ends_with(".lock")
    });
    parts_are_fine
        && !name.starts_with('-')
        && !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
}

fn budget(raw: &Budget) -> Option<Usd> {
    match raw {
        Budget::Lifted => None,
        Budget::Amount(amount) => Some(*amount),
    }
}

fn title(raw: &RawUnit, convention: Convention, sink: &mut Sink) -> Option<String> {
    if let Some(ticket) = raw.ticket.given() {
        require_line("the ticket", ticket, sink);
    }
    let title = raw.title.given()?;
    require_line("the title", title, sink);
    let text = title.value.trim();
    match convention {
        Convention::Conventional if !is_conventional(text) && !text.is_empty() => {
            let full = format!("feat: {text}");
            let problem = Problem::warning("title_convention", title.span, "the title is no Conventional Commit")
                .label(format!("will be `{full}`"))
                .help("write a type: `feat: …`, `fix(area): …`; or `commit: {convention: none}` to keep titles as they are");
            sink.report(problem);
            Some(full)
        }
        Convention::Conventional | Convention::None => Some(text.to_owned()),
    }
}

/// Whether a title is `type(scope)!: text`.
fn is_conventional(title: &str) -> bool {
    let Some((head, text)) = title.split_once(": ") else {
        return false;
    };
    let head = head.strip_suffix('!').unwrap_or(head);
    let kind = match head.split_once('(') {
        None => head,
        Some((kind, scope)) => match scope.strip_suffix(')') {
            Some(scope) if !scope.is_empty() && !scope.contains(['(', ')']) => kind,
            _ => return false,
        },
    };
    !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphabetic()) && !text.trim().is_empty()
}

fn prompt(key: &Key, raw: &RawUnit, around: &dyn Surroundings, sink: &mut Sink) -> Option<String> {
    match (raw.prompt.given(), raw.prompt_file.given()) {
        (Some(prompt), Some(file)) => {
            let problem = Problem::error(
                "conflicting_keys",
                file.span,
                format!("unit `{}` has both a `prompt` and a `prompt_file`", key.text),
            )
            .label("and here")
            .also(prompt.span, "here")
            .help("keep one of them");
            sink.report(problem);
            None
        }
        (None, Some(file)) => document(file, around, sink).map(|document| document.text),
        (Some(prompt), None) if prompt.value.trim().is_empty() => {
            let problem =
                Problem::error("bad_text", prompt.span, "the prompt is empty").help("say what is to be done");
            sink.report(problem);
            None
        }
        (Some(prompt), None) => Some(prompt.value.clone()),
        (None, None) if raw.from_branch.given().is_some() => {
            raw.from_branch.value().map(|branch| prompt_of_branch(branch))
        }
        (None, None) => {
            if raw.prompt.is_absent() && raw.prompt_file.is_absent() && raw.from_branch.is_absent() {
                let problem = Problem::error(
                    "missing_key",
                    key.span,
                    format!("unit `{}` has no `prompt`", key.text),
                )
                .label("`prompt`, `prompt_file` or `from_branch` is required here")
                .help(
                    "say what is to be done: `prompt: …`, or name a file that does: `prompt_file: docs/….md`; or bring \
                     a branch: `from_branch: feature/x`",
                );
                sink.report(problem);
            }
            None
        }
    }
}

fn tier(
    key: &Key,
    raw: &RawUnit,
    setting: &Setting<'_>,
    tiers_told: &mut HashSet<String>,
    sink: &mut Sink,
) -> String {
    let written = raw.tier.given();
    let place = written.or(setting.default_tier);
    let name = place.map_or("small", |tier| tier.value.as_str());
    if let (Some(written), false) = (written, setting.tier_names.contains(name)) {
        unknown(
            "unknown_tier",
            "tier",
            written,
            setting.tier_names.iter().map(String::as_str),
            sink,
        );
    }
    if !tiers_told.contains(name) {
        tiers_told.insert(name.to_owned());
        for agent in setting.missing_agents.get(name).into_iter().flatten() {
            let at = place.map_or(key.span, |tier| tier.span);
            let message = format!(
                "tier `{name}` asks for the agent `{}`, and there is none",
                agent.value
            );
            let problem = Problem::error("unknown_agent", at, message)
                .label("chosen here")
                .help(format!("add `{}` under `agents`, or choose another tier; with a single agent, that one takes every role", agent.value));
            sink.report(problem);
        }
    }
    name.to_owned()
}

/// Reports units that may run together and claim the same paths.
fn check_overlaps(raw: &Named<RawUnit>, needs: &[Vec<usize>], overlap: RawOverlap, sink: &mut Sink) {
    if overlap == RawOverlap::Serialize {
        return;
    }
    let mut claims: Vec<(usize, &Spanned<String>)> = Vec::new();
    let mut index = PatternIndex::default();
    for (at, (_, unit)) in raw
        .0
        .iter()
        .enumerate()
        .filter(|(_, (_, unit))| unit.enabled.or(true))
    {
        for pattern in unit.paths.value().into_iter().flatten() {
            index.insert(&pattern.value, claims.len());
            claims.push((at, pattern));
        }
    }
    let ancestors = Ancestors::new(needs);
    let mut told = HashSet::new();
    for (unit, pattern) in &claims {
        for other in index.above(&pattern.value) {
            let (other_unit, other_pattern) = claims[other];
            let apart = *unit == other_unit
                || ancestors.waits(*unit, other_unit)
                || ancestors.waits(other_unit, *unit)
                || !patterns_may_overlap(&pattern.value, &other_pattern.value);
            if apart || !told.insert((*unit.min(&other_unit), *unit.max(&other_unit))) {
                continue;
            }
            let later = if *unit > other_unit {
                (*unit, *pattern)
            } else {
                (other_unit, other_pattern)
            };
            let earlier = if *unit > other_unit {
                (other_unit, other_pattern)
            } else {
                (*unit, *pattern)
            };
            sink.report(overlap_problem(raw, earlier, later, overlap));
            if sink.is_full() && overlap == RawOverlap::Warn {
                return;
            }
        }
    }
}

fn overlap_problem(
    raw: &Named<RawUnit>,
    earlier: (usize, &Spanned<String>),
    later: (usize, &Spanned<String>),
    overlap: RawOverlap,
) -> Problem {
    let (first, second) = (&raw.0[earlier.0].0.text, &raw.0[later.0].0.text);
    let make = if overlap == RawOverlap::Error {
        Problem::error
    } else {
        Problem::warning
    };
    let message = format!("`{first}` and `{second}` may run together and claim the same paths");
    make("overlap", later.1.span, message)
        .label(format!("claimed by `{second}`"))
        .also(earlier.1.span, format!("claimed by `{first}`"))
        .help(format!(
            "let `{second}` wait: `needs: [{first}]`; or write `overlap: serialize`"
        ))
}

/// Warns about patterns that match no tracked path. A whole path is not a pattern: it may well be a file that the
/// unit is to create.
fn check_matches(raw: &Named<RawUnit>, around: &dyn Surroundings, sink: &mut Sink) {
    let mut tracked = around.tracked_paths();
    if tracked.is_empty() {
        return;
    }
    tracked.sort_unstable();
    let mut known: HashMap<&str, bool> = HashMap::new();
    for (_, unit) in raw.0.iter().filter(|(_, unit)| unit.enabled.or(true)) {
        let paths = unit.paths.value().into_iter().flatten();
        for pattern in paths.filter(|pattern| pattern.value.contains(['*', '?', '['])) {
            let matched = *known
                .entry(&pattern.value)
                .or_insert_with(|| matches_any(&pattern.value, &tracked));
            if !matched {
                let problem = Problem::warning(
                    "unmatched_path",
                    pattern.span,
                    format!("`{}` matches no tracked file", pattern.value),
                )
                .label("matches nothing yet")
                .help("fine if the unit is to create it; otherwise check the spelling");
                sink.report(problem);
            }
        }
    }
}

fn matches_any(pattern: &str, sorted: &[String]) -> bool {
    if pattern.starts_with('!') {
        return true;
    }
    let directory = literal_directory(pattern);
    let start = sorted.partition_point(|path| path.as_str() < directory.as_str());
    sorted[start..]
        .iter()
        .take_while(|path| path.starts_with(&directory))
        .any(|path| patterns_may_overlap(pattern, &format!("/{path}")))
}

#[cfg(test)]
mod tests {
    use super::is_conventional;

    #[test]
    fn a_conventional_title_has_a_type_an_optional_scope_and_a_text() {
        for good in ["feat: x", "fix(api)!: y", "refactor!: z"] {
            assert!(is_conventional(good), "{good}");
        }
        for bad in [
            "x",
            "feat:",
            "feat:x",
            "two words: x",
            "feat(: x",
            ": x",
            "feat(): x",
        ] {
            assert!(!is_conventional(bad), "{bad}");
        }
    }
}
