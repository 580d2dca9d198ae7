//! Raw tiers to typed ones: kinds, performers, what each stage waits for, and the shape every tier must have.

use std::collections::HashMap;

use super::decode::{Named, Spanned, not_supported};
use super::diagnostic::{Problem, Sink, Span, nearest};
use super::graph::{self, Ancestors};
use super::model::{Performer, Severity, Stage, StageKind, Tier};
use super::node::Key;
use super::raw::{By, KINDS, RawSeverity, RawStage};
use super::settings::{check_name, unknown};
use super::synthetic::{RESOLVE, RESOLVE_REVIEW};

/// Most stages of a tier.
const STAGES_MAX: usize = 100;

/// Names the engine uses for attempts that are no stages.
const RESERVED: [&str; 4] = ["checks", "verify", RESOLVE, RESOLVE_REVIEW];

/// Roles that fall back to the only agent there is.
const ROLES: [&str; 3] = ["author", "reviewer", "planner"];

/// Finds agents by name or by role.
pub(super) struct Roster {
    /// Every name under `agents`, also of those that could not be read.
    pub(super) names: Vec<String>,
}

impl Roster {
    /// The agent meant by a name: itself, or the only one there is where the name is a role.
    pub(super) fn resolve(&self, name: &str) -> Option<String> {
        if self.names.iter().any(|known| known == name) {
            return Some(name.to_owned());
        }
        match (&self.names[..], ROLES.contains(&name)) {
            ([only], true) => Some(only.clone()),
            _ => None,
        }
    }

    pub(super) fn report_unknown(&self, name: &Spanned<String>, sink: &mut Sink) {
        // Without any agent there is one diagnostic about that, not one for each use.
        if !self.names.is_empty() {
            unknown(
                "unknown_agent",
                "agent",
                name,
                self.names.iter().map(String::as_str),
                sink,
            );
        }
    }
}

/// A tier as far as it could be understood.
pub(super) struct Resolved {
    /// The tier; `None` when its shape is wrong, which was reported.
    pub(super) tier: Option<Tier>,
    /// Agents it asks for that do not exist.
    pub(super) missing: Vec<Spanned<String>>,
}

struct Draft<'a> {
    name: &'a Key,
    raw: &'a RawStage,
    kind: StageKind,
    needs: Vec<usize>,
    /// Where each of `needs` is written.
    places: Vec<Span>,
}

/// Resolves one tier, reporting what is wrong with its shape. Missing agents are left to the caller, because a
/// built-in tier that nobody uses may ask for agents that nobody has.
pub(super) fn resolve(name: &Key, raw: &Named<RawStage>, roster: &Roster, sink: &mut Sink) -> Resolved {
    let mut missing = Vec::new();
    if raw.0.len() > STAGES_MAX {
        let message = format!(
            "tier `{}` has {} stages; at most {STAGES_MAX} are run",
            name.text,
            raw.0.len()
        );
        sink.report(Problem::error("too_large", name.span, message));
        return Resolved { tier: None, missing };
    }
    let mut complete = true;
    let mut drafts = Vec::new();
    for (key, stage) in &raw.0 {
        complete &= check_stage_name(key, sink);
        match kind(key, stage, sink) {
            Some(kind) => drafts.push(Draft {
                name: key,
                raw: stage,
                kind,
                needs: Vec::new(),
                places: Vec::new(),
            }),
            None => complete = false,
        }
    }
    let every_stage: Vec<&str> = raw.0.iter().map(|(key, _)| key.text.as_str()).collect();
    complete &= fill_needs(&mut drafts, &every_stage, sink);
    let performers: Vec<_> = drafts
        .iter()
        .map(|draft| performer(draft, roster, &mut missing, sink))
        .collect();
    let needs: Vec<Vec<usize>> = drafts.iter().map(|draft| draft.needs.clone()).collect();
    complete &= !report_cycles(&drafts, &needs, sink);
    // The shape of half a tier would be reported for what is only missing in it.
    if !complete || !check_shape(name, &drafts, &needs, sink) {
        return Resolved { tier: None, missing };
    }
    let mut performers: Vec<Option<Performer>> = performers;
    let stages = graph::order(&needs).into_iter().map(|at| {
        let by = performers[at].take()?;
        Some(typed(&drafts, at, by))
    });
    let tier = stages.collect::<Option<Vec<_>>>().map(|stages| Tier { stages });
    Resolved { tier, missing }
}

fn check_stage_name(key: &Key, sink: &mut Sink) -> bool {
    if RESERVED.contains(&key.text.as_str()) {
        let problem = Problem::error(
            "bad_name",
            key.span,
            format!("`{}` cannot name a stage", key.text),
        )
        .label("reserved")
        .help("attempts that run checks, verify candidates and resolve conflicts go by such names; choose another one");
        sink.report(problem);
        return false;
    }
    check_name("a stage", &key.text, key.span, sink)
}

fn kind(key: &Key, raw: &RawStage, sink: &mut Sink) -> Option<StageKind> {
    let Some(written) = raw.kind.given() else {
        if !raw.kind.is_absent() {
            return None;
        }
        let kind = kind_of(&key.text);
        if kind.is_none() {
            let near = nearest(&key.text, KINDS);
            let help = match near {
                Some(near) => format!("did you mean `{near}`? Otherwise say its kind: `kind: review`"),
                None => format!("say its kind, for example `{}: {{kind: review, …}}`", key.text),
            };
            let problem = Problem::error(
                "missing_kind",
                key.span,
                format!("stage `{}` has no kind", key.text),
            )
            .label("this name is not a kind")
            .help(help);
            sink.report(problem);
        }
        return kind;
    };
    let kind = kind_of(&written.value.0);
    if kind.is_none() {
        let name = Spanned {
            value: written.value.0.clone(),
            span: written.span,
        };
        unknown("unknown_kind", "kind", &name, KINDS.into_iter(), sink);
    }
    kind
}

fn kind_of(word: &str) -> Option<StageKind> {
    use StageKind::{Approve, Fix, Implement, Prepare, Review};
    [Prepare, Implement, Review, Fix, Approve]
        .into_iter()
        .find(|kind| kind.as_str() == word)
}

/// Resolves written `needs` and fills in the others by kind. Whether all of them name stages.
fn fill_needs(drafts: &mut [Draft<'_>], every_stage: &[&str], sink: &mut Sink) -> bool {
    let index: HashMap<String, usize> = drafts
        .iter()
        .enumerate()
        .map(|(at, draft)| (draft.name.text.clone(), at))
        .collect();
    let mut complete = true;
    for at in 0..drafts.len() {
        let Some(written) = drafts[at].raw.needs.value() else {
            complete &= drafts[at].raw.needs.is_absent();
            drafts[at].needs = default_needs(drafts, at);
            drafts[at].places = vec![drafts[at].name.span; drafts[at].needs.len()];
            continue;
        };
        for need in written {
            match index.get(&need.value) {
                Some(needed) => {
                    if !drafts[at].needs.contains(needed) {
                        drafts[at].needs.push(*needed);
                        drafts[at].places.push(need.span);
                    }
                }
                None => {
                    complete = false;
                    if !every_stage.contains(&need.value.as_str()) {
                        unknown("unknown_stage", "stage", need, every_stage.iter().copied(), sink);
                    }
                }
            }
        }
    }
    complete
}

/// Reviews wait for the author stage above them, a fix for the reviews since that stage, an approval for the
/// last fix or, without one, for the reviews, or else for the author stage.
fn default_needs(drafts: &[Draft<'_>], at: usize) -> Vec<usize> {
    let above = || (0..at).rev();
    let author = above().find(|i| drafts[*i].kind.is_author());
    let reviews = || {
        let since = author.map_or(0, |author| author + 1);
        (since..at)
            .filter(|i| drafts[*i].kind == StageKind::Review)
            .collect::<Vec<_>>()
    };
    match drafts[at].kind {
        StageKind::Prepare | StageKind::Implement => Vec::new(),
        StageKind::Review => author.into_iter().collect(),
        StageKind::Fix => reviews(),
        StageKind::Approve => {
            let fix = above().find(|i| drafts[*i].kind == StageKind::Fix);
            match (fix, reviews()) {
                (Some(fix), _) => vec![fix],
                (None, reviews) if !reviews.is_empty() => reviews,
                (None, _) => author.into_iter().collect(),
            }
        }
    }
}

fn report_cycles(drafts: &[Draft<'_>], needs: &[Vec<usize>], sink: &mut Sink) -> bool {
    let cycles = graph::cycles(needs);
    for cycle in &cycles {
        let names: Vec<_> = cycle.iter().map(|at| drafts[*at].name.text.as_str()).collect();
        let edges = (0..cycle.len()).map(|i| {
            let (from, to) = (cycle[i], cycle[(i + 1) % cycle.len()]);
            let edge = drafts[from]
                .needs
                .iter()
                .position(|need| *need == to)
                .expect("a cycle follows needs");
            drafts[from].places[edge]
        });
        report_cycle("stages", &names, edges, sink);
    }
    !cycles.is_empty()
}

/// One diagnostic for one cycle: the whole path, and a label for each edge.
pub(super) fn report_cycle(what: &str, names: &[&str], edges: impl Iterator<Item = Span>, sink: &mut Sink) {
    const NAMES_MAX: usize = 50;
    let mut path: Vec<_> = names.iter().take(NAMES_MAX).copied().collect();
    if names.len() > NAMES_MAX {
        path.push("…");
    }
    path.push(names[0]);
    let mut problem: Option<Problem> = None;
    for (at, span) in edges.enumerate() {
        let text = format!("`{}` waits for `{}`", names[at], names[(at + 1) % names.len()]);
        problem = Some(match problem {
            None => Problem::error(
                "cycle",
                span,
                format!("{what} wait for one another: {}", path.join(" → ")),
            )
            .label(text),
            Some(problem) => problem.also(span, text),
        });
    }
    if let Some(problem) = problem {
        let help = if names.len() == 1 {
            "it cannot wait for itself; remove that need"
        } else {
            "remove one of these needs"
        };
        sink.report(problem.help(help));
    }
}

fn performer(
    draft: &Draft<'_>,
    roster: &Roster,
    missing: &mut Vec<Spanned<String>>,
    sink: &mut Sink,
) -> Option<Performer> {
    let raw = draft.raw;
    let ways: Vec<Span> = [
        raw.agent.given().map(|given| given.span),
        raw.panel.given().map(|given| given.span),
        raw.by.given().map(|given| given.span),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let [first, second, ..] = ways[..] {
        let problem = Problem::error(
            "conflicting_keys",
            second,
            format!("stage `{}` says twice who performs it", draft.name.text),
        )
        .label("and here")
        .also(first, "here")
        .help("keep one of `agent`, `panel` and `by`");
        sink.report(problem);
    }
    if let (Some(quorum), None) = (raw.quorum.given(), raw.panel.given()) {
        misplaced("quorum", quorum.span, "a stage with a `panel`", sink);
    }
    check_places(draft, sink);
    if let Some(by) = raw.by.given() {
        if draft.kind != StageKind::Approve {
            misplaced("by", by.span, "an approve stage", sink);
        }
        return Some(match by.value {
            By::Human => Performer::Human,
            By::Checks => Performer::Checks,
        });
    }
    if let Some(panel) = raw.panel.given() {
        return self::panel(draft, panel, roster, missing, sink);
    }
    if !raw.agent.is_absent() && raw.agent.given().is_none() {
        return None;
    }
    let role = match draft.kind {
        StageKind::Prepare => "planner",
        StageKind::Implement | StageKind::Fix => "author",
        StageKind::Review | StageKind::Approve => "reviewer",
    };
    let default = Spanned {
        value: role.to_owned(),
        span: draft.name.span,
    };
    let agent = raw.agent.given().unwrap_or(&default);
    let resolved = roster.resolve(&agent.value);
    if resolved.is_none() {
        missing.push(agent.clone());
    }
    resolved.map(Performer::Agent)
}

fn panel(
    draft: &Draft<'_>,
    panel: &Spanned<Vec<Spanned<String>>>,
    roster: &Roster,
    missing: &mut Vec<Spanned<String>>,
    sink: &mut Sink,
) -> Option<Performer> {
    if !draft.kind.is_judge() {
        misplaced("panel", panel.span, "a review or approve stage", sink);
    }
    let members = panel.value.len();
    let quorum = draft
        .raw
        .quorum
        .value()
        .map_or(members, |n| usize::try_from(n.0).unwrap_or(usize::MAX));
    if members == 0 || quorum > members {
        let at = draft.raw.quorum.given().map_or(panel.span, |given| given.span);
        let message = if members == 0 {
            "the panel has no members".to_owned()
        } else {
            format!("{quorum} approvals cannot come from a panel of {members}")
        };
        let problem = Problem::error("bad_panel", at, message)
            .also(panel.span, "the panel")
            .help(format!(
                "name at least as many agents as approvals, or write `quorum: {}`",
                members.max(1)
            ));
        sink.report(problem);
        return None;
    }
    let mut agents = Vec::new();
    for member in &panel.value {
        match roster.resolve(&member.value) {
            Some(agent) => agents.push(agent),
            None => missing.push(member.clone()),
        }
    }
    let quorum = u32::try_from(quorum).expect("a panel is a list in a file of 8 MiB");
    (agents.len() == members).then_some(Performer::Panel { agents, quorum })
}

/// Keys that only some kinds know.
fn check_places(draft: &Draft<'_>, sink: &mut Sink) {
    let raw = draft.raw;
    if !draft.kind.is_judge() {
        let places = [
            (
                "min_confidence",
                raw.min_confidence.given().map(|given| given.span),
            ),
            ("block_on", raw.block_on.given().map(|given| given.span)),
            ("focus", raw.focus.given().map(|given| given.span)),
            ("stance", raw.stance.given().map(|given| given.span)),
        ];
        for (key, place) in places {
            if let Some(at) = place {
                misplaced(key, at, "a review or approve stage", sink);
            }
        }
    }
    if draft.kind == StageKind::Prepare && matches!(raw.by.value(), Some(By::Human)) {
        not_supported(draft.name.span, "a document written by a person", sink);
    }
}

fn misplaced(key: &str, at: Span, home: &str, sink: &mut Sink) {
    let problem = Problem::error("misplaced_key", at, format!("`{key}` has no meaning here"))
        .label(format!("only {home} can have `{key}`"))
        .help("leave it out, or change the stage's `kind`");
    sink.report(problem);
}

/// Whether the tier has the shape every tier must have.
fn check_shape(name: &Key, drafts: &[Draft<'_>], needs: &[Vec<usize>], sink: &mut Sink) -> bool {
    let explore = !drafts.is_empty() && drafts.iter().all(|draft| draft.kind == StageKind::Prepare);
    if explore {
        return true;
    }
    let ancestors = Ancestors::new(needs);
    let mut authors = graph::order(needs);
    authors.retain(|at| drafts[*at].kind.is_author());
    let mut flaws = check_kinds(name, drafts);
    flaws.extend(check_fixes(drafts, &ancestors));
    flaws.extend(check_author_order(drafts, &authors, &ancestors));
    flaws.extend(check_judges(drafts, &authors, &ancestors));
    let sound = flaws.is_empty();
    for flaw in flaws {
        sink.report(flaw);
    }
    sound
}

fn of_kind(drafts: &[Draft<'_>], kind: StageKind) -> impl Iterator<Item = usize> {
    (0..drafts.len()).filter(move |at| drafts[*at].kind == kind)
}

/// Somebody must write, and somebody must approve.
fn check_kinds(name: &Key, drafts: &[Draft<'_>]) -> Vec<Problem> {
    let mut flaws = Vec::new();
    if of_kind(drafts, StageKind::Implement).next().is_none() {
        let message = format!("tier `{}` has no stage that implements", name.text);
        let problem = Problem::error("no_author", name.span, message)
            .label("nothing is written in this tier")
            .help("add `implement: {agent: author}`, or leave only prepare stages for a tier that explores");
        flaws.push(problem);
    }
    if of_kind(drafts, StageKind::Approve).next().is_none() {
        let message = format!("tier `{}` has no stage that approves", name.text);
        let problem = Problem::error("no_approval", name.span, message)
            .label("nothing may land from this tier")
            .help("add `approve: {agent: reviewer}`, `approve: {by: checks}` or `approve: {by: human}`");
        flaws.push(problem);
    }
    flaws
}

fn check_fixes(drafts: &[Draft<'_>], ancestors: &Ancestors) -> Vec<Problem> {
    of_kind(drafts, StageKind::Fix)
        .filter(|fix| !of_kind(drafts, StageKind::Review).any(|review| ancestors.waits(*fix, review)))
        .map(|fix| {
            let fix = drafts[fix].name;
            Problem::error(
                "fix_without_review",
                fix.span,
                format!("nothing is reviewed before `{}`", fix.text),
            )
            .label("waits for no review")
            .help("put a review above it, and name it under `needs` where that is written")
        })
        .collect()
}

fn check_author_order(drafts: &[Draft<'_>], authors: &[usize], ancestors: &Ancestors) -> Vec<Problem> {
    authors
        .windows(2)
        .filter(|pair| !ancestors.waits(pair[1], pair[0]))
        .map(|pair| {
            let (first, second) = (drafts[pair[0]].name, drafts[pair[1]].name);
            let message = format!(
                "`{}` and `{}` could change the tree at the same time",
                first.text, second.text
            );
            Problem::error("author_order", second.span, message)
                .label(format!("does not wait for `{}`", first.text))
                .also(first.span, "also changes the tree")
                .help(format!("let one wait for the other: `needs: [{}]`", first.text))
        })
        .collect()
}

/// A review waits for something written, an approval for everything that writes or reviews.
fn check_judges(drafts: &[Draft<'_>], authors: &[usize], ancestors: &Ancestors) -> Vec<Problem> {
    let mut flaws = Vec::new();
    for review in of_kind(drafts, StageKind::Review) {
        if let Some(author) = authors.first()
            && !authors.iter().any(|author| ancestors.waits(review, *author))
        {
            let review = drafts[review].name;
            let message = format!("`{}` would review before anything is written", review.text);
            let problem = Problem::error("early_judge", review.span, message)
                .label("waits for no author stage")
                .help(format!(
                    "let it wait for one: `needs: [{}]`",
                    drafts[*author].name.text
                ));
            flaws.push(problem);
        }
    }
    for approve in of_kind(drafts, StageKind::Approve) {
        let matters = |at: &usize| drafts[*at].kind.is_author() || drafts[*at].kind == StageKind::Review;
        let early = (0..drafts.len())
            .filter(matters)
            .find(|at| !ancestors.waits(approve, *at));
        if let Some(early) = early {
            let (approve, early) = (drafts[approve].name, drafts[early].name);
            let message = format!("`{}` would approve before `{}` is done", approve.text, early.text);
            let problem = Problem::error("early_judge", approve.span, message)
                .label("approves too early")
                .also(early.span, "may still be running then")
                .help(format!(
                    "add `{}` to what it needs, directly or through another stage",
                    early.text
                ));
            flaws.push(problem);
        }
    }
    flaws
}

fn typed(drafts: &[Draft<'_>], at: usize, by: Performer) -> Stage {
    let draft = &drafts[at];
    let raw = draft.raw;
    let name = |at: usize| drafts[at].name.text.parse().expect("stage names were checked");
    Stage {
        name: name(at),
        kind: draft.kind,
        by,
        needs: draft.needs.iter().map(|need| name(*need)).collect(),
        focus: raw.focus.value().cloned(),
        stance: raw.stance.value().cloned(),
        min_confidence: raw
            .min_confidence
            .value()
            .map_or(80, |n| u8::try_from(n.0).unwrap_or(100)),
        block_on: match raw.block_on.value() {
            Some(RawSeverity::Nit) => Severity::Nit,
            Some(RawSeverity::Minor) => Severity::Minor,
            None | Some(RawSeverity::Major) => Severity::Major,
            Some(RawSeverity::Blocker) => Severity::Blocker,
        },
        prompt: raw.prompt.value().cloned(),
        retries: raw
            .retries
            .value()
            .map(|n| u32::try_from(n.0).unwrap_or(u32::MAX)),
        timeout: raw.timeout.value().map(|wait| wait.0),
    }
}

/// The agents a tier asks for, in the order of its stages: those of author stages, and those of judges.
pub(super) fn agents_of(tier: &Tier) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    let (mut authors, mut judges, mut planners) = (Vec::new(), Vec::new(), Vec::new());
    for stage in &tier.stages {
        let named: Vec<&str> = match &stage.by {
            Performer::Agent(agent) => vec![agent],
            Performer::Panel { agents, .. } => agents.iter().map(String::as_str).collect(),
            Performer::Human | Performer::Checks => Vec::new(),
        };
        if stage.kind.is_author() {
            authors.extend(named);
        } else if stage.kind.is_judge() {
            judges.extend(named);
        } else {
            planners.extend(named);
        }
    }
    (authors, judges, planners)
}
