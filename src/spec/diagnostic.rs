//! What is wrong with a pipeline file, where, and what to write instead.
//!
//! Passes describe a [`Problem`] by spans; the [`Sink`] turns it into a [`Diagnostic`] that owns everything it
//! needs to be rendered. The sink keeps at most [`PROBLEMS_MAX`] of them and counts the rest.

use std::fmt;
use std::sync::Arc;

use miette::{LabeledSpan, NamedSource, SourceCode, SourceSpan};

/// Diagnostics kept for one file; the rest is counted and said.
pub(super) const PROBLEMS_MAX: usize = 100;

/// Related places shown beside the primary one.
const LABELS_MAX: usize = 20;

/// Whether a diagnostic stops the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The file cannot be run.
    Error,
    /// Worth knowing; the file can be run.
    Warning,
}

/// A place in the text and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// First byte.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
    /// The remark; may be empty for the primary label.
    pub text: String,
}

/// One thing wrong with a pipeline file. It renders by itself through miette.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Stable identifier, one of [`super::CODES`].
    pub code: &'static str,
    /// Whether it stops the run.
    pub level: Level,
    /// What is wrong, as one sentence.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Places, the primary one first; all in the same file.
    pub labels: Vec<Label>,
    source: Arc<NamedSource<Arc<str>>>,
}

impl Diagnostic {
    /// The file the labels are in.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// Line of the primary label, from 1.
    pub fn line(&self) -> Option<usize> {
        let before = self.before_primary()?;
        Some(before.bytes().filter(|b| *b == b'\n').count() + 1)
    }

    /// Column of the primary label in characters, from 1.
    pub fn column(&self) -> Option<usize> {
        let before = self.before_primary()?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(before[line_start..].chars().count() + 1)
    }

    fn before_primary(&self) -> Option<&str> {
        self.source.inner().get(..self.labels.first()?.offset)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(format!("pipeline::{}", self.code)))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.level {
            Level::Error => miette::Severity::Error,
            Level::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().enumerate().map(|(index, label)| {
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            let span = SourceSpan::new(label.offset.into(), label.len);
            if index == 0 {
                LabeledSpan::new_primary_with_span(text, span)
            } else {
                LabeledSpan::new_with_span(text, span)
            }
        })))
    }
}

/// A range of bytes in one of the texts that are loaded together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    /// Index into [`Sink::sources`].
    pub(super) source: u8,
    pub(super) offset: u32,
    pub(super) len: u32,
}

impl Span {
    pub(super) fn new(source: u8, offset: usize, len: usize) -> Self {
        // Texts are at most 8 MiB, so the offsets fit.
        Self {
            source,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }
}

/// A diagnostic in the making.
#[derive(Debug)]
pub(super) struct Problem {
    code: &'static str,
    level: Level,
    message: String,
    help: Option<String>,
    labels: Vec<(Span, String)>,
}

impl Problem {
    pub(super) fn error(code: &'static str, at: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            level: Level::Error,
            message: message.into(),
            help: None,
            labels: vec![(at, String::new())],
        }
    }

    pub(super) fn warning(code: &'static str, at: Span, message: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(code, at, message)
        }
    }

    /// The remark at the primary place.
    pub(super) fn label(mut self, text: impl Into<String>) -> Self {
        self.labels[0].1 = text.into();
        self
    }

    /// A related place.
    pub(super) fn also(mut self, at: Span, text: impl Into<String>) -> Self {
        self.labels.push((at, text.into()));
        self
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    pub(super) fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text.or(self.help);
        self
    }
}

/// Collects the diagnostics of one load.
#[derive(Debug, Default)]
pub(super) struct Sink {
    sources: Vec<Arc<NamedSource<Arc<str>>>>,
    found: Vec<(Span, Diagnostic)>,
    left_out: usize,
    /// The key under which the node that is decoded next stands.
    pub(super) owner: Option<Span>,
}

impl Sink {
    /// Adds a text; spans refer to it by the number returned.
    pub(super) fn add_source(&mut self, name: &str, text: &str) -> u8 {
        let source = NamedSource::new(name, Arc::from(text)).with_language("yaml");
        self.sources.push(Arc::new(source));
        u8::try_from(self.sources.len() - 1).expect("a load reads three texts at most")
    }

    /// The text of a source.
    pub(super) fn text(&self, source: u8) -> Arc<str> {
        Arc::clone(self.sources[usize::from(source)].inner())
    }

    /// Whether more problems would only be counted; costly advice need not be looked for any more.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    /// Whether something was reported that stops the run.
    pub(super) fn has_errors(&self) -> bool {
        self.left_out > 0 || self.found.iter().any(|(_, found)| found.level == Level::Error)
    }

    pub(super) fn report(&mut self, problem: Problem) {
        let at = problem.labels[0].0;
        let duplicate = self
            .found
            .iter()
            .any(|(span, seen)| *span == at && seen.code == problem.code && seen.message == problem.message);
        if duplicate || self.is_told_to_quote(at, problem.help.as_deref()) {
            return;
        }
        if self.is_full() {
            // Warnings beyond the limit are not worth an error of their own.
            self.left_out += usize::from(problem.level == Level::Error);
            return;
        }
        let mut labels = Vec::new();
        let mut elsewhere = String::new();
        for (span, text) in problem.labels.into_iter().take(LABELS_MAX) {
            if span.source == at.source {
                labels.push(Label {
                    offset: span.offset as usize,
                    len: span.len as usize,
                    text,
                });
            } else {
                let line = self.text(span.source)[..span.offset as usize]
                    .matches('\n')
                    .count()
                    + 1;
                let name = self.sources[usize::from(span.source)].name();
                elsewhere.push_str(&format!("\n{text}: {name}:{line}"));
            }
        }
        let help = match (problem.help, elsewhere.is_empty()) {
            (help, true) => help,
            (help, false) => Some(help.unwrap_or_default() + &elsewhere),
        };
        let diagnostic = Diagnostic {
            code: problem.code,
            level: problem.level,
            message: problem.message,
            help,
            labels,
            source: Arc::clone(&self.sources[usize::from(at.source)]),
        };
        self.found.push((at, diagnostic));
    }

    /// Whether the same line was to be quoted already: what it was misread as causes no second diagnostic.
    fn is_told_to_quote(&self, at: Span, help: Option<&str>) -> bool {
        let Some(help) = help.filter(|help| help.starts_with("quote this")) else {
            return false;
        };
        self.found.iter().any(|(span, seen)| {
            let (start, end) = (span.offset.min(at.offset), span.offset.max(at.offset));
            let same = span.source == at.source && seen.help.as_deref() == Some(help);
            same && !self.text(at.source)[start as usize..end as usize].contains('\n')
        })
    }

    /// Everything found, in the order of the text.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(span, _)| *span);
        let mut all: Vec<_> = self.found.into_iter().map(|(_, found)| found).collect();
        if let (1.., Some(last)) = (self.left_out, all.last().cloned()) {
            all.push(Diagnostic {
                code: "too_many_problems",
                level: Level::Error,
                message: format!("{} more problems were left out", self.left_out),
                help: Some("repair the ones above and validate again".to_owned()),
                labels: vec![Label {
                    len: 0,
                    text: String::new(),
                    ..last.labels[0].clone()
                }],
                source: last.source,
            });
        }
        all
    }
}

/// The candidate that `word` was probably meant to be; `None` when none is like it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const WORD_BYTES_MAX: usize = 80;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 4)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3).min(4))
        .filter(|(distance, candidate)| *distance < candidate.len().min(word.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`, cut after thirty.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const WORDS_MAX: usize = 30;
    let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    if words.len() > WORDS_MAX {
        return format!(
            "{} and {} more",
            words[..WORDS_MAX].join(", "),
            words.len() - WORDS_MAX
        );
    }
    match words.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// `a`, `b` or `c`.
pub(super) fn either(words: &[&str]) -> String {
    match words.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => format!("`{only}`"),
        Some((last, rest)) => format!("`{}` or `{last}`", rest.join("`, `")),
    }
}
