//! Raw to typed for everything that is neither a tier nor a unit: limits, agents, workspace, checks, queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use ignore::gitignore::GitignoreBuilder;

use super::Surroundings;
use super::decode::{Field, List, Named, Spanned, missing_key};
use super::diagnostic::{Problem, Sink, Span, nearest};
use super::model::{
    Adapter, Agent, Breadth, CONFLICT_ROUNDS, Check, CommitSettings, Convention, DependsOn, Document,
    EVIDENCE_AGE_MAX, Guards, Limits, OnConflict, Price, QueueSettings, Role, STALL_ALARM, Step, Strategy,
    Usd, Verify, Workspace,
};
use super::node::Key;
use super::quote;
use super::raw::{
    Budget, RawAgent, RawCheck, RawCommit, RawConvention, RawDependsOn, RawGuards, RawLimits, RawOnConflict,
    RawPipeline, RawPrice, RawQueue, RawRole, RawStep, RawStrategy, RawVerify, RawWorkspace, Use,
};
use super::template;

/// A name that is a key of the file: an agent, a tier, a stage or a check.
pub(super) fn check_name(what: &str, name: &str, at: Span, sink: &mut Sink) -> bool {
    let safe = crate::id::is_safe_name(&name.replace('_', "-"));
    if !safe {
        let problem = Problem::error("bad_name", at, format!("`{name}` cannot name {what}"))
            .label("not a safe name")
            .help(format!(
                "use up to 40 of a-z, 0-9, `-` and `_`{}",
                example_name(name)
            ));
        sink.report(problem);
    }
    safe
}

/// `, for example …` when a name can be derived from what was written.
pub(super) fn example_name(name: &str) -> String {
    let derived: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(crate::id::NAME_BYTES_MAX)
        .collect();
    let derived = derived.trim_matches('-');
    if derived.is_empty() {
        String::new()
    } else {
        format!(", for example `{derived}`")
    }
}

pub(super) fn limits(raw: Option<&RawLimits>) -> Limits {
    let none = RawLimits::default();
    let raw = raw.unwrap_or(&none);
    let count =
        |value: Option<i64>, default: u32| value.map_or(default, |n| u32::try_from(n).unwrap_or(default));
    Limits {
        parallel: count(raw.parallel.value().map(|n| n.0), 3),
        rounds: count(raw.rounds.value().map(|n| n.0), 3),
        retries: count(raw.retries.value().map(|n| n.0), 2),
        stage_timeout: raw
            .stage_timeout
            .value()
            .map_or(Duration::from_secs(3600), |wait| wait.0),
        idle_timeout: raw
            .idle_timeout
            .value()
            .map_or(Duration::from_secs(600), |wait| wait.0),
        start_interval: raw
            .start_interval
            .value()
            .map_or(Duration::from_secs(1), |wait| wait.0),
        budget: match raw.budget_usd.value() {
            None => Usd::from_dollars(25.0),
            Some(Budget::Lifted) => None,
            Some(Budget::Amount(amount)) => Some(*amount),
        },
        unit_budget: match raw.unit_budget_usd.value() {
            None | Some(Budget::Lifted) => None,
            Some(Budget::Amount(amount)) => Some(*amount),
        },
    }
}

pub(super) fn agents(
    raw: Option<&Named<RawAgent>>,
    around: &dyn Surroundings,
    sink: &mut Sink,
) -> BTreeMap<String, Agent> {
    let mut agents = BTreeMap::new();
    for (key, agent) in raw.map_or(&[][..], |named| &named.0) {
        check_name("an agent", &key.text, key.span, sink);
        agents.insert(key.text.clone(), self::agent(key, agent, around, sink));
    }
    agents
}

fn agent(key: &Key, raw: &RawAgent, around: &dyn Surroundings, sink: &mut Sink) -> Agent {
    let mut argv = Vec::new();
    match &raw.command {
        Field::Given(command) => {
            argv = texts(&command.value);
            match command.value.first() {
                Some(program) if program.value.is_empty() => {
                    missing_key(program.span, "the command", "program", sink);
                }
                Some(program) => require_program(program, around, sink),
                None => missing_key(command.span, "the command", "program", sink),
            }
        }
        Field::Absent if !matches!(raw.r#use, Field::Wrong) => {
            let problem = Problem::error(
                "missing_key",
                key.span,
                format!("agent `{}` has no `command`", key.text),
            )
            .label("`command` is required here")
            .help("say which program it is: `command: [sh, scripts/agent.sh]`");
            sink.report(problem);
        }
        Field::Absent | Field::Wrong => {}
    }
    match raw.r#use.value() {
        None | Some(Use::Command) => {}
    }
    for name in raw.pass_env.value().into_iter().flatten() {
        require_variable(&name.value, name.span, sink);
    }
    Agent {
        adapter: Adapter::Command { argv },
        model: raw.model.value().cloned(),
        args: texts(raw.args.value().map_or(&[][..], Vec::as_slice)),
        pass_env: texts(raw.pass_env.value().map_or(&[][..], Vec::as_slice)),
        timeout: raw.timeout.value().map(|wait| wait.0),
        price: raw.price.value().and_then(price),
    }
}

fn price(raw: &RawPrice) -> Option<Price> {
    let input_per_mtok = *raw.input_per_mtok.value()?;
    Some(Price {
        input_per_mtok,
        output_per_mtok: *raw.output_per_mtok.value()?,
        cached_per_mtok: raw.cached_per_mtok.or(input_per_mtok),
    })
}

fn require_program(program: &Spanned<String>, around: &dyn Surroundings, sink: &mut Sink) {
    let name = &program.value;
    if around.is_on_path(name) {
        return;
    }
    let (message, help) = if name.contains('/') {
        (
            format!("there is no program at `{name}`"),
            "check the path, from the repository root, and that it is executable",
        )
    } else if name.contains(' ') {
        (
            format!("no program is called `{name}`"),
            "write each word as an item of its own: `command: [sh, script.sh]`",
        )
    } else {
        (
            format!("`{name}` is not on PATH"),
            "install it, or write the path of the program from the repository root",
        )
    };
    sink.report(
        Problem::error("program_not_found", program.span, message)
            .label("not found")
            .help(help),
    );
}

fn require_variable(name: &str, at: Span, sink: &mut Sink) -> bool {
    let well_formed = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !well_formed {
        let problem = Problem::error(
            "bad_name",
            at,
            format!("`{name}` cannot name an environment variable"),
        )
        .help("use letters, digits and `_`, not starting with a digit");
        sink.report(problem);
    }
    well_formed
}

pub(super) fn texts(list: &[Spanned<String>]) -> Vec<String> {
    list.iter().map(|item| item.value.clone()).collect()
}

pub(super) fn workspace(raw: Option<&RawWorkspace>, sink: &mut Sink) -> Workspace {
    let none = RawWorkspace::default();
    let raw = raw.unwrap_or(&none);
    let ports = port_names(raw, sink);
    let port_base = raw
        .port_base
        .value()
        .map_or(4000, |n| u16::try_from(n.0).unwrap_or(4000));
    let port_range = raw
        .port_range
        .value()
        .map_or(1000, |n| u16::try_from(n.0).unwrap_or(1000));
    let span = raw
        .port_range
        .given()
        .map(|given| given.span)
        .or(raw.port_base.given().map(|given| given.span));
    if let (Some(span), None) = (span, port_base.checked_add(port_range - 1)) {
        let problem =
            Problem::error("bad_number", span, "the range of ports goes beyond 65535").help(format!(
                "with `port_base: {port_base}` there are {} ports",
                65_536 - u32::from(port_base)
            ));
        sink.report(problem);
    }
    let mut env = BTreeMap::new();
    let templates = raw.env.given();
    for (key, value) in templates.map_or(&[][..], |given| &given.value.0) {
        require_variable(&key.text, key.span, sink);
        env.insert(key.text.clone(), value.value.clone());
        check_template(value, &ports, sink);
    }
    Workspace {
        root: raw.root.value().map(PathBuf::from),
        setup: steps(raw.setup.value()),
        teardown: steps(raw.teardown.value()),
        copy: globs(raw.copy.value(), sink),
        env,
        ports,
        port_base,
        port_range,
    }
}

fn port_names(raw: &RawWorkspace, sink: &mut Sink) -> Vec<String> {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for port in raw.ports.value().into_iter().flatten() {
        require_variable(&port.value, port.span, sink);
        if let Some(first) = seen.insert(&port.value, port.span) {
            let problem = Problem::error(
                "duplicate_name",
                port.span,
                format!("port `{}` is written twice", port.value),
            )
            .label("again here")
            .also(first, "first here")
            .help("one port is leased per name; keep one of them");
            sink.report(problem);
        }
    }
    texts(raw.ports.value().map_or(&[][..], Vec::as_slice))
}

fn check_template(value: &Spanned<String>, ports: &[String], sink: &mut Sink) {
    let Err(error) = template::check(&value.value, ports) else {
        return;
    };
    let text = sink.text(value.span.source);
    let start = value.span.offset as usize;
    let written = &text[start..start + value.span.len as usize];
    // Where the source shows the template as it is, its own span can be underlined.
    let place = written
        .find(value.value.as_str())
        .zip(error.range)
        .and_then(|(skip, range)| {
            let inside = range.start < range.end && range.end <= value.value.len();
            inside.then(|| {
                Span::new(
                    value.span.source,
                    start + skip + range.start,
                    range.end - range.start,
                )
            })
        });
    let known = template::VARIABLES
        .into_iter()
        .chain(ports.iter().map(String::as_str));
    let help = format!("templates know {}", super::diagnostic::listed(known));
    let problem = Problem::error(
        "template",
        place.unwrap_or(value.span),
        format!("the template cannot be rendered: {}", error.message),
    )
    .label("here")
    .help(help);
    sink.report(problem);
}

fn steps(raw: Option<&List<RawStep>>) -> Vec<Step> {
    let all = || vec![Role::Author, Role::Check, Role::Judge];
    raw.into_iter()
        .flatten()
        .map(|step| match &step.value {
            RawStep::Line(run) => Step {
                run: run.clone(),
                roles: all(),
            },
            RawStep::Record(record) => Step {
                run: record.run.or(String::new()),
                roles: record.r#for.value().map_or_else(all, |roles| {
                    roles.iter().map(|role| self::role(role.value)).collect()
                }),
            },
        })
        .collect()
}

fn role(raw: RawRole) -> Role {
    match raw {
        RawRole::Author => Role::Author,
        RawRole::Check => Role::Check,
        RawRole::Judge => Role::Judge,
    }
}

/// The patterns, after reporting those that do not parse.
pub(super) fn globs(raw: Option<&List<String>>, sink: &mut Sink) -> Vec<String> {
    for glob in raw.into_iter().flatten() {
        let mut builder = GitignoreBuilder::new("");
        let failure = match builder.add_line(None, &glob.value) {
            Err(error) => Some(error.to_string()),
            Ok(_) if glob.value.trim().is_empty() || glob.value.starts_with('#') => {
                Some("it matches nothing".to_owned())
            }
            Ok(_) => None,
        };
        if let Some(reason) = failure {
            let problem = Problem::error(
                "bad_glob",
                glob.span,
                format!("`{}` is no pattern: {reason}", glob.value),
            )
            .label("not a pattern")
            .help("patterns are those of .gitignore: `src/**`, `*.rs`, `docs/[a-z]*.md`");
            sink.report(problem);
        }
        if is_outside(&glob.value) {
            sink.report(outside_repository(glob));
        }
    }
    texts(raw.map_or(&[][..], Vec::as_slice))
}

fn is_outside(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| part == "..")
}

fn outside_repository(path: &Spanned<String>) -> Problem {
    Problem::error(
        "outside_repository",
        path.span,
        format!("`{}` leaves the repository", path.value),
    )
    .label("leaves the repository")
    .help("write a path from the repository root, without `..`")
}

/// Whether a path stays below the repository root; reports it if not.
fn require_inside(path: &Spanned<String>, sink: &mut Sink) -> bool {
    let inside = !path.value.starts_with(['/', '~']) && !is_outside(&path.value);
    if !inside {
        sink.report(outside_repository(path));
    }
    inside
}

/// Reads a text file that the pipeline file names.
pub(super) fn document(
    path: &Spanned<String>,
    around: &dyn Surroundings,
    sink: &mut Sink,
) -> Option<Document> {
    if !require_inside(path, sink) {
        return None;
    }
    match around.read(&path.value) {
        Ok(text) => Some(Document {
            path: path.value.clone(),
            text,
        }),
        Err(reason) => {
            let problem = Problem::error(
                "unreadable_file",
                path.span,
                format!("`{}` cannot be read: {reason}", path.value),
            )
            .label("cannot be read")
            .help("write the path of a text file from the repository root");
            sink.report(problem);
            None
        }
    }
}

/// A list of checks; `taken` holds the names of checks that are run with them.
pub(super) fn checks(
    raw: Option<&List<RawCheck>>,
    taken: &mut HashMap<String, Span>,
    sink: &mut Sink,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for item in raw.into_iter().flatten() {
        let raw = &item.value;
        if let Some(name) = raw.name.given() {
            check_name("a check", &name.value, name.span, sink);
            if let Some(first) = taken.insert(name.value.clone(), name.span) {
                let problem = Problem::error(
                    "duplicate_name",
                    name.span,
                    format!("two checks are called `{}`", name.value),
                )
                .label("again here")
                .also(first, "first here")
                .help("give each check a name of its own");
                sink.report(problem);
            }
        }
        if let Some(cwd) = raw.cwd.given() {
            require_inside(cwd, sink);
        }
        checks.push(Check {
            name: raw.name.or(String::new()),
            run: raw.run.or(String::new()),
            cwd: raw.cwd.or(".".to_owned()),
            timeout: raw
                .timeout
                .value()
                .map_or(Duration::from_secs(600), |wait| wait.0),
            depends_on: match raw.depends_on.value() {
                None | Some(RawDependsOn::Tree) => DependsOn::Tree,
                Some(RawDependsOn::History) => DependsOn::History,
            },
            exclusive: resources(raw.exclusive.value(), sink),
        });
    }
    checks
}

/// Names of resources. They are declared by being named, so nothing can be unknown.
pub(super) fn resources(raw: Option<&List<String>>, sink: &mut Sink) -> BTreeSet<String> {
    let named = raw.into_iter().flatten();
    named
        .filter(|item| check_name("a resource", &item.value, item.span, sink))
        .map(|item| item.value.clone())
        .collect()
}

/// What the queue verifies, after making sure that it is something or waived in writing.
pub(super) fn verify(raw: &RawPipeline, head: Span, sink: &mut Sink) -> Verify {
    let written = raw.queue.value().map(|queue| &queue.verify);
    let nothing = |at: Span| {
        Problem::error("no_checks", at, "there is no check: nothing could be verified before it lands")
            .label("no check")
            .help("add one: `checks: [{name: test, run: \"…\"}]`; to land unverified, write `queue: {verify: none}`")
    };
    match written {
        Some(Field::Given(given)) => match &given.value {
            RawVerify::Waived => return Verify::Waived,
            RawVerify::Own(list) => {
                if list.is_empty() {
                    sink.report(nothing(given.span));
                }
                return Verify::Own(checks(Some(list), &mut HashMap::new(), sink));
            }
            RawVerify::Inherit => {}
        },
        Some(Field::Wrong) => return Verify::Inherit,
        Some(Field::Absent) | None => {}
    }
    match &raw.checks {
        Field::Absent => sink.report(nothing(head)),
        Field::Given(list) if list.value.is_empty() => sink.report(nothing(list.span)),
        Field::Given(_) | Field::Wrong => {}
    }
    Verify::Inherit
}

pub(super) fn queue(raw: Option<&RawQueue>) -> QueueSettings {
    let strategy = match raw.and_then(|queue| queue.strategy.value()) {
        None | Some(RawStrategy::Rebase) => Strategy::Rebase,
        Some(RawStrategy::Squash) => Strategy::Squash,
        Some(RawStrategy::Merge) => Strategy::Merge,
    };
    QueueSettings {
        strategy,
        window: raw
            .and_then(|queue| queue.window.value())
            .map_or(Breadth::Auto, |window| window.0),
        batch: raw
            .and_then(|queue| queue.batch.value())
            .map_or(Breadth::Fixed(1), |batch| batch.0),
        stall_alarm: raw
            .and_then(|queue| queue.stall_alarm.value())
            .map_or(STALL_ALARM, |wait| wait.0),
        max_age: raw
            .and_then(|queue| queue.max_age.value())
            .map_or(EVIDENCE_AGE_MAX, |age| age.0),
        on_conflict: match raw.and_then(|queue| queue.on_conflict.value()) {
            None | Some(RawOnConflict::Agent) => OnConflict::Agent,
            Some(RawOnConflict::Evict) => OnConflict::Evict,
        },
        conflict_rounds: raw
            .and_then(|queue| queue.conflict_rounds.value())
            .map_or(CONFLICT_ROUNDS, |rounds| {
                u32::try_from(rounds.0).unwrap_or(u32::MAX)
            }),
    }
}

pub(super) fn commit(raw: Option<&RawCommit>) -> CommitSettings {
    let convention = match raw.and_then(|commit| commit.convention.value()) {
        None | Some(RawConvention::Conventional) => Convention::Conventional,
        Some(RawConvention::None) => Convention::None,
    };
    CommitSettings {
        convention,
        signoff: raw.is_some_and(|commit| commit.signoff.or(false)),
    }
}

/// What no author may change without a person, unless the file says otherwise.
const PROTECTED: [&str; 10] = [
    "/.github/**",
    ".gitattributes",
    ".gitmodules",
    ".claude/**",
    ".codex/**",
    ".gemini/**",
    ".mcp.json",
    "opencode.json",
    "/.pipeline/**",
    "CODEOWNERS",
];

/// The guards. `lines` are the shell lines of checks and set-up: tracked files they name are protected too.
pub(super) fn guards<'a>(
    raw: Option<&RawGuards>,
    file: &str,
    lines: impl Iterator<Item = &'a str>,
    tracked: &[String],
    sink: &mut Sink,
) -> Guards {
    let none = RawGuards::default();
    let raw = raw.unwrap_or(&none);
    let protected_paths = match raw.protected_paths.value() {
        Some(list) => globs(Some(list), sink),
        None => {
            let mut paths: Vec<_> = PROTECTED.map(str::to_owned).to_vec();
            let tracked: std::collections::HashSet<&str> = tracked.iter().map(String::as_str).collect();
            let own = std::iter::once(file.to_owned()).filter(|file| !file.starts_with('/'));
            let named = lines.flat_map(|line| shell_words::split(line).unwrap_or_default());
            let named = named.map(|word| word.strip_prefix("./").unwrap_or(&word).to_owned());
            for path in own.chain(named.filter(|word| tracked.contains(word.as_str()))) {
                let pattern = format!("/{}", escape_glob(&path));
                if !paths.contains(&pattern) {
                    paths.push(pattern);
                }
            }
            paths
        }
    };
    Guards {
        protected_paths,
        paths_strict: raw.paths_strict.or(false),
        files_max: raw
            .max_files
            .value()
            .map_or(2000, |n| u32::try_from(n.0).unwrap_or(2000)),
        bytes_max: raw.max_bytes.value().map_or(20_000_000, |bytes| bytes.0),
    }
}

fn escape_glob(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for c in path.chars() {
        if "*?[]{}\\!#".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Reports a name that nothing is called by.
pub(super) fn unknown<'a>(
    code: &'static str,
    what: &str,
    name: &Spanned<String>,
    known: impl Iterator<Item = &'a str> + Clone,
    sink: &mut Sink,
) {
    let help = if sink.is_full() {
        None
    } else {
        Some(match nearest(&name.value, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.clone().next().is_none() => format!("there is no {what} at all"),
            None => format!("choose from {}", super::diagnostic::listed(known)),
        })
    };
    let problem = Problem::error(code, name.span, format!("there is no {what} `{}`", name.value))
        .label(format!("unknown {what}"))
        .maybe_help(help);
    sink.report(problem);
}

/// A text of one line that says something, such as a title.
pub(super) fn require_line(what: &str, text: &Spanned<String>, sink: &mut Sink) {
    let value = &text.value;
    let flaw = if value.trim().is_empty() {
        "is empty"
    } else if value.trim_end().contains('\n') {
        "has several lines"
    } else if value.chars().any(|c| c.is_control() && c != '\n') {
        "contains control characters"
    } else {
        return;
    };
    let one_line = value.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = if one_line.is_empty() {
        "say in one line what it is about".to_owned()
    } else {
        let short: String = one_line.chars().filter(|c| !c.is_control()).take(72).collect();
        format!("write one line: `{}`", quote::quoted(&short))
    };
    sink.report(Problem::error("bad_text", text.span, format!("{what} {flaw}")).help(help));
}
