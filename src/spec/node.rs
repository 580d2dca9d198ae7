//! YAML text to a tree of nodes that know where they stand.
//!
//! The one place that knows the YAML crate. Refuses what is too large, too deep or expands too far before
//! anything is built from it; reports duplicate keys with both places; resolves aliases and merge keys (`<<`).

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

use super::diagnostic::{Problem, Sink, Span};
use super::quote;

/// Largest text that is read, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 8 << 20;
/// Most nodes that aliases may add by repetition.
const ALIAS_NODES_MAX: usize = 100_000;
/// Deepest nesting; a pipeline file needs eight levels.
const DEPTH_MAX: usize = 32;
/// Most nodes of a text, a bound on memory.
const NODES_MAX: usize = 2_000_000;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What YAML made of a value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) span: Span,
    pub(super) text: String,
}

impl Node {
    /// What the value is, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`, true or false"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) if text.chars().count() <= 30 => format!("the text `{}`", text.escape_debug()),
            Value::Text(_) => "a text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The first key of a mapping, and every other value itself: where something missing is told.
    pub(super) fn head(&self) -> Span {
        match &self.value {
            Value::Map(entries) => entries.first().map_or(self.span, |(key, _)| key.span),
            _ => self.span,
        }
    }

    /// The value of a key, where the node is a mapping.
    pub(super) fn entry(&self, name: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, node)| node)
    }
}

/// The YAML crate's view of a value, before aliases, keys and merges are looked at.
enum Parsed {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<Parsed>, Spanned<Parsed>)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Parsed, D::Error> {
        Parsed::deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Parsed, E> {
        Ok(Parsed::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Parsed, E> {
        Ok(Parsed::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Parsed, E> {
        Ok(Parsed::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Parsed::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Parsed::Map(entries))
    }
}

/// Parses one text; `None` after reporting why it cannot be read at all.
pub(super) fn parse(source: u8, sink: &mut Sink) -> Option<Node> {
    let text = sink.text(source);
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes; more than 8 MiB are not read", text.len());
        let help = "split the work into several pipeline files, or move long prompts to `prompt_file`";
        sink.report(Problem::error("too_large", Span::new(source, 0, 0), message).help(help));
        return None;
    }
    match serde_yaml::from_str_with_options::<Spanned<Parsed>>(&text, options()) {
        Ok(parsed) => {
            let mut builder = Builder {
                source,
                text: &text,
                sink,
                alias_nodes: 0,
            };
            let root = builder.node(parsed);
            if builder.alias_nodes > ALIAS_NODES_MAX {
                sink.report(alias_bomb(Span::new(source, 0, 0)));
                return None;
            }
            Some(root)
        }
        Err(error) => {
            let problem = syntax_problem(source, &text, &error);
            sink.report(problem);
            None
        }
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_events: 2 * NODES_MAX,
            max_nodes: NODES_MAX,
            max_depth: DEPTH_MAX,
            max_aliases: ALIAS_NODES_MAX,
            max_anchors: ALIAS_NODES_MAX,
            max_documents: 1,
            max_total_scalar_bytes: 4 * TEXT_BYTES_MAX,
            max_recorded_anchor_events: 2 * NODES_MAX,
            max_recorded_anchor_bytes: 4 * TEXT_BYTES_MAX,
            max_merge_keys: ALIAS_NODES_MAX,
            enforce_alias_anchor_ratio: false,
        },
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::LastWins,
        merge_keys: serde_yaml::options::MergeKeyPolicy::AsOrdinary,
        // A collection is replayed as two events, so this refuses nothing that `ALIAS_NODES_MAX` allows.
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 2 * ALIAS_NODES_MAX },
        strict_booleans: true,
        with_snippet: false,
    }
}

fn alias_bomb(at: Span) -> Problem {
    Problem::error("alias_bomb", at, "aliases expand to more than 100,000 nodes")
        .help("repeat less: an alias stands for everything below its anchor, again at every place it is used")
}

fn syntax_problem(source: u8, text: &str, error: &serde_yaml::Error) -> Problem {
    use serde_yaml::Error;
    let error = error.without_snippet();
    let at = error
        .location()
        .map_or(Span::new(source, 0, 0), |place| span_of(source, text, place));
    match error {
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => alias_bomb(at),
        Error::Budget { breach, .. } => budget_problem(at, breach),
        other => {
            let message = other.to_string();
            // Some errors come wrapped in one that adds the place of the alias.
            if message.contains("alias replay") {
                return alias_bomb(at);
            }
            if message.contains("nesting") || message.contains("recursion limit") {
                return too_deep(at);
            }
            let reason = message.lines().next().unwrap_or_default();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            Problem::error("yaml_syntax", at, format!("this is not YAML: {reason}"))
                .label("the reader stopped here")
                .maybe_help(syntax_help(reason))
                .maybe_help(quote::advice_around(text, at.offset as usize))
        }
    }
}

/// What usually repairs a syntax error, where quoting does not.
fn syntax_help(reason: &str) -> Option<String> {
    let helps = [
        ("tab", "indent with spaces; YAML knows no tabs"),
        ("unexpected character", "quote the text that starts here"),
        ("unclosed", "close it, or quote the text it belongs to"),
        (
            "unknown anchor",
            "define the anchor above with `&name`, or quote a text that starts with `*`",
        ),
        (
            "mapping values",
            "look for a `: ` in an unquoted text, or a wrong indentation",
        ),
    ];
    helps
        .into_iter()
        .find(|(word, _)| reason.contains(word))
        .map(|(_, help)| help.to_owned())
}

fn too_deep(at: Span) -> Problem {
    Problem::error("too_deep", at, format!("nested deeper than {DEPTH_MAX} levels"))
        .help("a pipeline file needs eight; look for brackets that are not closed")
}

fn budget_problem(at: Span, breach: &serde_yaml::budget::BudgetBreach) -> Problem {
    use serde_yaml::budget::BudgetBreach;
    match breach {
        BudgetBreach::Depth { .. } => too_deep(at),
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::MergeKeys { .. } => {
            alias_bomb(at)
        }
        BudgetBreach::Documents { .. } => Problem::error("yaml_syntax", at, "a second document starts here")
            .label("second document")
            .help("a pipeline file is one document; remove the `---`"),
        other => Problem::error(
            "too_large",
            at,
            format!("the file is more than is read: {other:?}"),
        )
        .help("split the work into several pipeline files"),
    }
}

/// The bytes a location covers, trimmed of trailing blanks and kept to whole characters of the text.
fn span_of(source: u8, text: &str, place: Location) -> Span {
    let span = place.span();
    let clamp = |at: u64| {
        let mut at = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    // Places of syntax errors come as line and column only.
    let start = span.byte_offset().map_or_else(|| offset_of(text, place), clamp);
    let end = clamp(start as u64 + span.byte_len().unwrap_or(0)).max(start);
    let covered = text[start..end].trim_end();
    // A block text would underline a page: its first line is enough.
    Span::new(source, start, covered.lines().next().map_or(0, str::len))
}

/// The byte at a line and column, both from 1, columns in characters.
fn offset_of(text: &str, place: Location) -> usize {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
    let line_start = match number(place.line()) {
        0 => 0,
        lines => text
            .match_indices('\n')
            .nth(lines - 1)
            .map_or(text.len(), |(at, _)| at + 1),
    };
    let line = text[line_start..].split('\n').next().unwrap_or_default();
    let column = line
        .char_indices()
        .nth(number(place.column()))
        .map_or(line.len(), |(at, _)| at);
    line_start + column
}

struct Builder<'a> {
    source: u8,
    text: &'a str,
    sink: &'a mut Sink,
    alias_nodes: usize,
}

impl Builder<'_> {
    fn node(&mut self, parsed: Spanned<Parsed>) -> Node {
        if parsed.referenced != parsed.defined {
            self.alias_nodes += 1;
        }
        let span = span_of(self.source, self.text, parsed.defined);
        let value = match parsed.value {
            Parsed::Null => Value::Null,
            Parsed::Bool(value) => Value::Bool(value),
            Parsed::Int(value) => Value::Int(value),
            Parsed::Float(value) => Value::Float(value),
            Parsed::Text(text) => Value::Text(text),
            Parsed::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Parsed::Map(entries) => Value::Map(self.entries(entries)),
        };
        Node { span, value }
    }

    fn entries(&mut self, parsed: Vec<(Spanned<Parsed>, Spanned<Parsed>)>) -> Vec<(Key, Node)> {
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(parsed.len());
        let mut places = std::collections::HashMap::with_capacity(parsed.len());
        let mut merged = Vec::new();
        for (key, value) in parsed {
            let Some(key) = self.key(key) else { continue };
            let value = self.node(value);
            if key.text == "<<" {
                merged.push(value);
                continue;
            }
            if let Some(first) = places.insert(key.text.clone(), key.span) {
                // An alias may bring the same duplicate again and again; the sink drops repeats.
                let problem = Problem::error(
                    "duplicate_key",
                    key.span,
                    format!("`{}` is written twice", key.text),
                )
                .label("again here")
                .also(first, "first here")
                .help("keep one of them");
                self.sink.report(problem);
                places.insert(key.text, first);
                continue;
            }
            entries.push((key, value));
        }
        for value in merged {
            self.merge(&mut entries, &mut places, value);
        }
        entries
    }

    fn merge(
        &mut self,
        entries: &mut Vec<(Key, Node)>,
        places: &mut std::collections::HashMap<String, Span>,
        value: Node,
    ) {
        match value.value {
            Value::Map(more) => {
                for (key, node) in more {
                    if let std::collections::hash_map::Entry::Vacant(free) = places.entry(key.text.clone()) {
                        free.insert(key.span);
                        entries.push((key, node));
                    }
                }
            }
            Value::List(items) => {
                for item in items {
                    self.merge(entries, places, item);
                }
            }
            _ => {
                let message = format!("`<<` merges a mapping, not {}", value.describe());
                let problem =
                    Problem::error("wrong_type", value.span, message).help("write an alias: `<<: *anchor`");
                self.sink.report(problem);
            }
        }
    }

    fn key(&mut self, parsed: Spanned<Parsed>) -> Option<Key> {
        let span = span_of(self.source, self.text, parsed.defined);
        let text = match parsed.value {
            Parsed::Text(text) => text,
            Parsed::Bool(value) => value.to_string(),
            Parsed::Int(_) | Parsed::Float(_) => {
                self.text[span.offset as usize..(span.offset + span.len) as usize].to_owned()
            }
            Parsed::Null | Parsed::List(_) | Parsed::Map(_) => {
                let advice = quote::advice_at(self.text, span.offset as usize);
                let message = match advice {
                    Some(_) => "YAML reads `{{` as two mappings, not as text",
                    None => "a key must be a word",
                };
                let problem = Problem::error("yaml_syntax", span, message)
                    .label("this is read as a key")
                    .help("write a word, or quote the text")
                    .maybe_help(advice);
                self.sink.report(problem);
                return None;
            }
        };
        Some(Key { span, text })
    }
}
