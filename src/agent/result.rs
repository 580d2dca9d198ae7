//! The bytes of `PIPELINE_RESULT` to a typed result.
//!
//! A judge's result is taken strictly: whatever is not exactly the shape asked for is an error, and an error is
//! never an approval. Every error is a sentence that tells the agent what to write instead, because the next try
//! is shown it.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::event::{LedgerRow, ReportedFinding, Resolution, Usage, Verdict};
use crate::spec::{Price, StageKind, Usd};

/// Longest result, in bytes.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Most findings in one review.
pub const FINDINGS_MAX: usize = 500;
/// Longest title of a finding, in characters.
pub const TITLE_CHARS_MAX: usize = 200;

/// What a stage returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// Of a prepare stage: Markdown.
    Document(String),
    /// Of an author stage.
    Work {
        /// The author's account; empty when there was none.
        summary: String,
        /// How it was or can be tested.
        testing_notes: Option<String>,
        /// What was done about each finding.
        resolutions: Vec<Resolution>,
        /// Why the author could not go on.
        blocked_reason: Option<String>,
    },
    /// Of a review.
    Review {
        /// What it said; the findings decide.
        verdict: Verdict,
        /// What it found.
        findings: Vec<ReportedFinding>,
        /// What it says of the open findings it was shown.
        ledger: Vec<LedgerRow>,
    },
    /// Of an approve stage.
    Decision {
        /// Approve or reject.
        approved: bool,
        /// Why.
        reason: String,
    },
}

/// A result with what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What came back.
    pub returned: Returned,
    /// As reported; the cost is computed from the price where only tokens were.
    pub usage: Usage,
}

/// A result that is not what the stage must return. The text is a sentence for the agent's next try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct ResultError {
    sentence: String,
}

/// A review that said nothing about some of the open findings it was shown: as good as a missing result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`ledger` must hold one row for every open finding you were shown; these are missing: {}. Add a row \
     {{\"id\": …, \"state\": \"resolved\"}} or {{…, \"state\": \"persists\"}} for each.",
    ids.join(", ")
)]
pub struct MissingRows {
    /// The findings without a row.
    pub ids: Vec<String>,
}

/// Whether `ledger` has a row for every id of `open`.
pub fn missing_rows(ledger: &[LedgerRow], open: &[String]) -> Result<(), MissingRows> {
    let ids: Vec<String> = open
        .iter()
        .filter(|id| ledger.iter().all(|row| row.id != **id))
        .cloned()
        .collect();
    if ids.is_empty() {
        Ok(())
    } else {
        Err(MissingRows { ids })
    }
}

/// Takes the result of a stage of kind `kind`.
///
/// `bytes` is `None` when the file was not written, which only an author may do: its work is the tree.
pub fn parse(kind: StageKind, bytes: Option<&[u8]>, price: Option<&Price>) -> Result<Parsed, ResultError> {
    let Some(bytes) = bytes else {
        return without_result(kind);
    };
    let text = text(bytes)?;
    match kind {
        StageKind::Prepare => {
            let wire: DocumentResult = decode(kind, text)?;
            require_text(&wire.document, "document", "the whole document as Markdown")?;
            finish(
                Returned::Document(wire.document),
                wire.cost_usd,
                wire.tokens,
                price,
            )
        }
        StageKind::Implement | StageKind::Fix => {
            let wire: WorkResult = decode(kind, text)?;
            check_ids(
                wire.resolutions.iter().map(|resolution| &resolution.finding),
                "resolutions",
            )?;
            let returned = Returned::Work {
                summary: wire.summary,
                testing_notes: wire.testing_notes,
                resolutions: wire.resolutions,
                blocked_reason: wire.blocked_reason,
            };
            finish(returned, wire.cost_usd, wire.tokens, price)
        }
        StageKind::Review => {
            let wire: ReviewResult = decode(kind, text)?;
            check_ids(wire.ledger.iter().map(|row| &row.id), "ledger")?;
            let returned = Returned::Review {
                verdict: wire.verdict,
                findings: check_findings(wire.findings)?,
                ledger: wire.ledger,
            };
            finish(returned, wire.cost_usd, wire.tokens, price)
        }
        StageKind::Approve => {
            let wire: DecisionResult = decode(kind, text)?;
            require_text(&wire.reason, "reason", "why, in a sentence or two")?;
            let returned = Returned::Decision {
                approved: wire.decision == Decision::Approve,
                reason: wire.reason,
            };
            finish(returned, wire.cost_usd, wire.tokens, price)
        }
    }
}

/// The JSON Schema (draft 2020-12, without references) of what a stage of kind `kind` must return.
pub fn schema(kind: StageKind) -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    match kind {
        StageKind::Prepare => generator.into_root_schema_for::<DocumentResult>(),
        StageKind::Implement | StageKind::Fix => generator.into_root_schema_for::<WorkResult>(),
        StageKind::Review => generator.into_root_schema_for::<ReviewResult>(),
        StageKind::Approve => generator.into_root_schema_for::<DecisionResult>(),
    }
    .to_value()
}

/// What a prepare stage returns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DocumentResult {
    /// The document, in Markdown.
    document: String,
    /// What the attempt cost, in US dollars.
    cost_usd: Option<f64>,
    /// What the attempt used.
    tokens: Option<Tokens>,
}

/// What an author stage returns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkResult {
    /// What was done, for people.
    summary: String,
    /// How it was or can be tested.
    testing_notes: Option<String>,
    /// One row for every finding the stage was shown.
    #[serde(default)]
    resolutions: Vec<Resolution>,
    /// Why the work cannot be done, if it cannot.
    blocked_reason: Option<String>,
    /// What the attempt cost, in US dollars.
    cost_usd: Option<f64>,
    /// What the attempt used.
    tokens: Option<Tokens>,
}

/// What a review returns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReviewResult {
    /// Approve, or request changes.
    verdict: Verdict,
    /// Everything found; empty when there is nothing.
    #[schemars(length(max = 500))]
    findings: Vec<ReportedFinding>,
    /// One row for every open finding the stage was shown; empty when there was none.
    ledger: Vec<LedgerRow>,
    /// What the attempt cost, in US dollars.
    cost_usd: Option<f64>,
    /// What the attempt used.
    tokens: Option<Tokens>,
}

/// What an approve stage returns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DecisionResult {
    /// Whether the unit may land.
    decision: Decision,
    /// Why.
    reason: String,
    /// What the attempt cost, in US dollars.
    cost_usd: Option<f64>,
    /// What the attempt used.
    tokens: Option<Tokens>,
}

#[derive(Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Approve,
    Reject,
}

/// Tokens of one attempt.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tokens {
    /// Fresh input tokens.
    #[serde(default)]
    input: u64,
    /// Output tokens.
    #[serde(default)]
    output: u64,
    /// Input tokens read from a cache.
    #[serde(default)]
    cached: u64,
}

fn error(sentence: impl Into<String>) -> ResultError {
    ResultError {
        sentence: sentence.into(),
    }
}

fn without_result(kind: StageKind) -> Result<Parsed, ResultError> {
    if kind.is_author() {
        let returned = Returned::Work {
            summary: String::new(),
            testing_notes: None,
            resolutions: Vec::new(),
            blocked_reason: None,
        };
        return Ok(Parsed {
            returned,
            usage: Usage::default(),
        });
    }
    Err(error(format!(
        "There is no result. Write {} to the file named by PIPELINE_RESULT.",
        shape(kind)
    )))
}

/// The shape of a result in one line, for the agent that missed it.
fn shape(kind: StageKind) -> &'static str {
    match kind {
        StageKind::Prepare => r#"the JSON object {"document": "…"}"#,
        StageKind::Implement | StageKind::Fix => {
            r#"the JSON object {"summary": "…", "resolutions": [{"finding": "F-1", "action": "fixed|disputed|deferred", "note": "…"}]}"#
        }
        StageKind::Review => {
            r#"the JSON object {"verdict": "approve|request_changes", "findings": […], "ledger": […]} as in schema.json"#
        }
        StageKind::Approve => r#"the JSON object {"decision": "approve|reject", "reason": "…"}"#,
    }
}

fn text(bytes: &[u8]) -> Result<&str, ResultError> {
    if bytes.len() > RESULT_BYTES_MAX {
        return Err(error(format!(
            "The result has {} bytes; it may have {RESULT_BYTES_MAX}. Write a shorter one.",
            bytes.len()
        )));
    }
    std::str::from_utf8(bytes).map_err(|_| error("The result is not UTF-8. Write the JSON object in UTF-8."))
}

fn decode<T: DeserializeOwned>(kind: StageKind, text: &str) -> Result<T, ResultError> {
    let start = text.trim_start();
    if !start.starts_with('{') {
        let found = if start.is_empty() {
            "is empty"
        } else {
            "is not a JSON object"
        };
        return Err(error(format!(
            "The file named by PIPELINE_RESULT {found}. Write {} and nothing else: no prose, no code fence.",
            shape(kind)
        )));
    }
    serde_json::from_str(text).map_err(|problem| {
        let hint = if problem.to_string().starts_with("trailing characters") {
            " Write one JSON object and nothing after it."
        } else {
            ""
        };
        error(format!(
            "The result does not have the shape of a {} result: {problem}.{hint} Write {}.",
            kind.as_str(),
            shape(kind)
        ))
    })
}

fn require_text(text: &str, field: &str, what: &str) -> Result<(), ResultError> {
    if text.trim().is_empty() {
        return Err(error(format!("`{field}` is empty. Write {what}.")));
    }
    Ok(())
}

/// Ids are `F-<n>`, in resolutions also the `C-<n>` of a conflict, and each stands once: two answers about one finding would be two verdicts.
fn check_ids<'a>(ids: impl Iterator<Item = &'a String>, list: &str) -> Result<(), ResultError> {
    let mut seen = std::collections::BTreeSet::new();
    for id in ids {
        let of_conflict = list == "resolutions" && is_numbered(id, "C-");
        if !is_finding_id(id) && !of_conflict {
            return Err(error(format!(
                "`{}` in `{list}` is not the id of a finding. Use the ids of findings.json: F-1, F-2, ….",
                shown(id)
            )));
        }
        if !seen.insert(id) {
            return Err(error(format!(
                "{id} stands twice in `{list}`. Write one row for each finding."
            )));
        }
    }
    Ok(())
}

fn is_finding_id(id: &str) -> bool {
    is_numbered(id, "F-")
}

fn is_numbered(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|number| {
        (1..=6).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit())
            && !number.starts_with('0')
    })
}

fn check_findings(findings: Vec<ReportedFinding>) -> Result<Vec<ReportedFinding>, ResultError> {
    if findings.len() > FINDINGS_MAX {
        return Err(error(format!(
            "There are {} findings; {FINDINGS_MAX} is the most. Report the ones that matter.",
            findings.len()
        )));
    }
    findings
        .into_iter()
        .enumerate()
        .map(|(index, finding)| check_finding(index + 1, finding))
        .collect()
}

fn check_finding(number: usize, mut finding: ReportedFinding) -> Result<ReportedFinding, ResultError> {
    let problem = |what: String| Err(error(format!("Finding {number}: {what}")));
    if finding.id.as_deref().is_some_and(|id| !is_finding_id(id)) {
        return problem(
            "`id` names an open finding of findings.json (F-1, F-2, …); leave it out for a new one."
                .to_owned(),
        );
    }
    let Some(file) = relative_path(&finding.file) else {
        return problem(format!(
            "`file` is `{}`; write a path from the repository root, without `..`.",
            shown(&finding.file)
        ));
    };
    finding.file = file.to_owned();
    match (finding.line, finding.end_line) {
        (Some(0), _) => return problem("`line` is 0; lines count from 1.".to_owned()),
        (None, Some(_)) => return problem("`end_line` without `line`; write both or neither.".to_owned()),
        (Some(line), Some(end)) if end < line => {
            return problem(format!(
                "`end_line` {end} is before `line` {line}; it must not be."
            ));
        }
        (Some(_), _) | (None, None) => {}
    }
    if finding.confidence > 100 {
        return problem(format!(
            "`confidence` is {}; write a number from 0 to 100.",
            finding.confidence
        ));
    }
    let title_chars = finding.title.chars().count();
    if finding.title.trim().is_empty() {
        return problem("`title` is empty; say in one line what is wrong.".to_owned());
    }
    if finding.title.contains(['\n', '\r']) || title_chars > TITLE_CHARS_MAX {
        return problem(format!(
            "`title` must be one line of at most {TITLE_CHARS_MAX} characters; put the rest into `detail`."
        ));
    }
    Ok(finding)
}

/// `path` without a leading `./`, if it is relative, stays below the root and can be a path at all.
fn relative_path(path: &str) -> Option<&str> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    let well_formed = !path.is_empty()
        && !path.starts_with(['/', '\\', '~'])
        && !drive
        && !path.contains(char::is_control)
        && !path.split(['/', '\\']).any(|part| part == "..");
    well_formed.then_some(path)
}

/// Agent text short and clean enough to be quoted in a sentence.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

fn finish(
    returned: Returned,
    cost_usd: Option<f64>,
    tokens: Option<Tokens>,
    price: Option<&Price>,
) -> Result<Parsed, ResultError> {
    let mut usage = Usage::default();
    if let Some(tokens) = &tokens {
        usage.input_tokens = tokens.input;
        usage.output_tokens = tokens.output;
        usage.cached_tokens = tokens.cached;
    }
    usage.cost = match (cost_usd, tokens, price) {
        (Some(dollars), _, _) => Some(Usd::from_dollars(dollars).ok_or_else(|| {
            error("`cost_usd` must be a number of US dollars that is not negative; leave it out if it is unknown.")
        })?),
        (None, Some(tokens), Some(price)) => Some(cost(&tokens, price)),
        (None, _, _) => None,
    };
    Ok(Parsed { returned, usage })
}

/// Rounded up to a millionth of a dollar, so that small attempts are not free.
fn cost(tokens: &Tokens, price: &Price) -> Usd {
    let part = |count: u64, per_mtok: Usd| u128::from(count) * u128::from(per_mtok.micros);
    let total = part(tokens.input, price.input_per_mtok)
        + part(tokens.output, price.output_per_mtok)
        + part(tokens.cached, price.cached_per_mtok);
    Usd {
        micros: u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX),
    }
}
