//! Nodes to raw records, without stopping at the first mistake.
//!
//! serde's `Deserialize` ends at its first error, so the raw layer is read through [`Decode`], which reports
//! and goes on. [`record!`] and [`words!`] write the reader and the JSON Schema of a type from one declaration:
//! the two cannot drift apart.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::{Problem, Sink, Span, either, listed, nearest};
use super::model::Usd;
use super::node::{Key, Node, Value};
use super::quote;

/// Reads a value from a node; `None` after reporting why that failed.
pub(super) trait Decode: Sized {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self>;
}

/// A value and its place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        T::decode(node, sink).map(|value| Self {
            value,
            span: node.span,
        })
    }
}

/// A key of a record: not written, written wrongly (and reported), or given.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Wrong,
    Given(Spanned<T>),
}

impl<T> Field<T> {
    pub(super) fn read(node: &Node, key: Span, sink: &mut Sink) -> Self
    where
        T: Decode,
    {
        sink.owner = Some(key);
        let value = T::decode(node, sink);
        sink.owner = None;
        match value {
            Some(value) => Self::Given(Spanned {
                value,
                span: node.span,
            }),
            None => Self::Wrong,
        }
    }

    /// The value with its place, if one was given and could be read.
    pub(super) fn given(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Given(given) => Some(given),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// The value, if one was given and could be read.
    pub(super) fn value(&self) -> Option<&T> {
        self.given().map(|given| &given.value)
    }

    /// The value or what stands for an unwritten one.
    pub(super) fn or(&self, default: T) -> T
    where
        T: Clone,
    {
        self.value().cloned().unwrap_or(default)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A list, each item with its place.
pub(super) type List<T> = Vec<Spanned<T>>;

/// A mapping from names that the file invents, in file order.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) Vec<(Key, T)>);

/// Reports that `node` is not what was expected there.
pub(super) fn wrong_type(node: &Node, expected: &str, sink: &mut Sink) {
    let quoted =
        matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_)) && expected.contains("text");
    let written = source_text(node.span, sink);
    let help = match node.value {
        _ if quoted => Some(format!("quote this: `{}`", quote::quoted(&written))),
        // A text that YAML took for a structure, such as `{{ worktree }}`.
        Value::Map(_) | Value::List(_) => {
            let quoted = quote::advice_at(&sink.text(node.span.source), node.span.offset as usize);
            quoted.or_else(|| Some(format!("write {expected} instead")))
        }
        Value::Null => Some("write a value, or leave the key out".to_owned()),
        Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            if expected.contains("list") {
                Some(format!("write `[{written}]`"))
            } else {
                Some(format!("write {expected} instead"))
            }
        }
    };
    let problem = Problem::error(
        "wrong_type",
        node.span,
        format!("expected {expected}, found {}", node.describe()),
    )
    .label(format!("should be {expected}"))
    .maybe_help(help);
    sink.report(problem);
}

fn source_text(span: Span, sink: &Sink) -> String {
    let start = span.offset as usize;
    sink.text(span.source)[start..start + span.len as usize].to_owned()
}

pub(super) fn unknown_key(key: &Key, what: &str, known: &[&str], sink: &mut Sink) {
    let help = match nearest(&key.text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the keys of {what} are {}", listed(known.iter().copied())),
    };
    let problem = Problem::error(
        "unknown_key",
        key.span,
        format!("{what} has no key `{}`", key.text),
    )
    .label("unknown key")
    .help(help);
    sink.report(problem);
}

pub(super) fn not_supported(at: Span, what: &str, sink: &mut Sink) {
    let problem = Problem::error("not_supported", at, format!("{what} is not supported yet"))
        .label("not supported yet")
        .help("leave it out");
    sink.report(problem);
}

pub(super) fn missing_key(at: Span, what: &str, key: &str, sink: &mut Sink) {
    let problem = Problem::error("missing_key", at, format!("{what} has no `{key}`"))
        .label(format!("`{key}` is required here"))
        .help(format!("add `{key}: …`"));
    sink.report(problem);
}

impl Decode for String {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                wrong_type(node, "a text", sink);
                None
            }
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) if ["yes", "on", "no", "off"].contains(&text.to_lowercase().as_str()) => {
                let meant = ["yes", "on"].contains(&text.to_lowercase().as_str());
                let message = format!("expected true or false, found the text `{text}`");
                sink.report(
                    Problem::error("wrong_type", node.span, message).help(format!("write `{meant}`")),
                );
                None
            }
            _ => {
                wrong_type(node, "true or false", sink);
                None
            }
        }
    }
}

/// A whole number between bounds that are part of the type, so that the schema knows them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<const MIN: i64, const MAX: i64>(pub(super) i64);

impl<const MIN: i64, const MAX: i64> Decode for Whole<MIN, MAX> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Value::Int(value) = node.value else {
            wrong_type(node, "a whole number", sink);
            return None;
        };
        match i64::try_from(value) {
            Ok(value) if (MIN..=MAX).contains(&value) => Some(Self(value)),
            _ => {
                let message = format!("{value} is out of range");
                let help = format!("write a number from {MIN} to {MAX}");
                sink.report(Problem::error("bad_number", node.span, message).help(help));
                None
            }
        }
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Whole".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

impl Decode for Usd {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let dollars = match node.value {
            Value::Int(value) => value as f64,
            Value::Float(value) => value,
            _ => {
                wrong_type(node, "a number of US dollars", sink);
                return None;
            }
        };
        let amount = Self::from_dollars(dollars);
        if amount.is_none() {
            let problem = Problem::error(
                "bad_number",
                node.span,
                format!("{dollars} is no amount of money"),
            )
            .help("write a number of US dollars that is not negative");
            sink.report(problem);
        }
        amount
    }
}

impl JsonSchema for Usd {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Usd".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "description": "US dollars"})
    }
}

/// A duration written `90s`, `30m`, `2h`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait(pub(super) Duration);

/// Longest duration that is accepted: a year.
const WAIT_SECONDS_MAX: u64 = 365 * 24 * 3600;

/// Parses one or more numbers with units (`1h30m`, `500ms`).
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total_ms = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit_len = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit_ms = match &rest[digits..digits + unit_len] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total_ms = rest[..digits]
            .parse::<u64>()
            .ok()?
            .checked_mul(unit_ms)?
            .checked_add(total_ms)?;
        rest = &rest[digits + unit_len..];
    }
    (!text.is_empty() && total_ms <= WAIT_SECONDS_MAX * 1000).then(|| Duration::from_millis(total_ms))
}

/// How old something may be that is used again. Less than a minute would make it useless before it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age(pub(super) Duration);

const AGE_MIN: Duration = Duration::from_secs(60);

/// A duration of which zero makes sense: a distance, not a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause(pub(super) Duration);

impl Decode for Pause {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        decode_duration(node, Duration::ZERO, sink).map(Self)
    }
}

impl Decode for Age {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let age = decode_duration(node, Duration::ZERO, sink)?;
        if age >= AGE_MIN {
            return Some(Self(age));
        }
        let problem = Problem::error(
            "bad_duration",
            node.span,
            format!("{} is too short", node.describe()),
        );
        sink.report(problem.help("write `1m` or more"));
        None
    }
}

impl Decode for Wait {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        decode_duration(node, Duration::from_millis(1), sink).map(Self)
    }
}

fn decode_duration(node: &Node, least: Duration, sink: &mut Sink) -> Option<Duration> {
    let help = match &node.value {
        Value::Text(text) => match parse_duration(text).filter(|duration| *duration >= least) {
            Some(duration) => return Some(duration),
            None => "write a number with a unit: `90s`, `30m`, `2h`".to_owned(),
        },
        Value::Int(number) => format!("say the unit: `{number}s` or `{number}m`"),
        _ => {
            wrong_type(node, "a duration such as `30m`", sink);
            return None;
        }
    };
    let problem = Problem::error(
        "bad_duration",
        node.span,
        format!("{} is no duration", node.describe()),
    )
    .label("not a duration")
    .help(help);
    sink.report(problem);
    None
}

/// A duration that is written as any other.
macro_rules! schema_of_wait {
    ($($duration:ty),*) => {$(
        impl JsonSchema for $duration {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                Wait::schema_name()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Wait::json_schema(generator)
            }
        }
    )*};
}

schema_of_wait!(Pause, Age);

impl JsonSchema for Wait {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$", "examples": ["90s", "30m", "2h"]})
    }
}

impl<T: Decode> Decode for List<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Value::List(items) = &node.value else {
            wrong_type(node, "a list", sink);
            return None;
        };
        sink.owner = None;
        Some(
            items
                .iter()
                .filter_map(|item| {
                    Some(Spanned {
                        value: T::decode(item, sink)?,
                        span: item.span,
                    })
                })
                .collect(),
        )
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, "a mapping from names", sink);
            return None;
        };
        let mut named = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            sink.owner = Some(key.span);
            if let Some(value) = T::decode(value, sink) {
                named.push((key.clone(), value));
            }
        }
        sink.owner = None;
        Some(Self(named))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": generator.subschema_for::<T>()})
    }
}

/// A record: each key optional unless marked `[required]`; keys under `not_yet` are known and refused.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident, $what:literal {
            $( $(#[doc = $field_doc:literal])+ $([$required:ident])? $field:ident : $ty:ty, )*
        }
        not_yet { $($later:literal),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $( $(#[doc = $field_doc])+ pub(super) $field: Field<$ty>, )*
        }

        impl Decode for $name {
            fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
                const KEYS: &[&str] = &[$(stringify!($field)),*];
                let owner = sink.owner.take();
                let Value::Map(entries) = &node.value else {
                    wrong_type(node, concat!("a mapping with the keys of ", $what), sink);
                    return None;
                };
                // A missing key is told at the key the record stands under, or at its beginning.
                let at = owner.unwrap_or_else(|| node.head());
                let mut this = Self::default();
                for (key, value) in entries {
                    let name = if key.text == "use" || key.text == "for" {
                        keyword_field(&key.text)
                    } else {
                        &key.text
                    };
                    $( if name == stringify!($field) {
                        this.$field = Field::read(value, key.span, sink);
                        continue;
                    } )*
                    if [$($later),*].contains(&name) {
                        not_supported(key.span, &format!("`{name}`"), sink);
                    } else {
                        let known: Vec<&str> = KEYS.iter().map(|key| key.trim_start_matches("r#")).collect();
                        unknown_key(key, $what, &known, sink);
                    }
                }
                $( $( if this.$field.is_absent() {
                    missing_key(at, $what, record!(@required $required $field), sink);
                } )? )*
                // A record without a required key has no use for its place.
                let _ = at;
                Some(this)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).trim_start_matches("Raw").into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let mut properties = serde_json::Map::new();
                let required: &[&str] = &[$( $( record!(@required $required $field), )? )*];
                $(
                    let mut field = generator.subschema_for::<$ty>();
                    let about = [$($field_doc),+].map(str::trim).join(" ");
                    field.insert("description".to_owned(), about.into());
                    properties.insert(stringify!($field).trim_start_matches("r#").to_owned(), field.to_value());
                )*
                let mut schema = json_schema!({
                    "type": "object",
                    "properties": properties,
                    "additionalProperties": false,
                });
                if !required.is_empty() {
                    schema.insert("required".to_owned(), required.into());
                }
                let about = [$($doc),*].map(str::trim).join(" ");
                schema.insert("description".to_owned(), about.into());
                schema
            }
        }
    };
    (@required required $field:ident) => { stringify!($field) };
}

/// The name a key that is a Rust keyword has in a record.
pub(super) fn keyword_field(key: &str) -> &'static str {
    if key == "use" { "r#use" } else { "r#for" }
}

/// A choice of words; those under `not_yet` are known and refused.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $($variant:ident = $word:literal),+ $(,)? } not_yet { $($later:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $name { $(#[doc = $word] $variant),+ }

        impl Decode for $name {
            fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
                match word_of(node).as_deref() {
                    $(Some($word) => Some(Self::$variant),)+
                    $(Some($later) => {
                        not_supported(node.span, concat!("`", $later, "`"), sink);
                        None
                    })*
                    _ => {
                        unknown_value(node, &[$($word),+], sink);
                        None
                    }
                }
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"enum": [$($word),+]})
            }
        }
    };
}

pub(super) use {record, words};

/// A scalar as the word it was written as.
pub(super) fn word_of(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(value) => Some(value.to_string()),
        Value::Bool(_) | Value::Float(_) | Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

pub(super) fn unknown_value(node: &Node, words: &[&str], sink: &mut Sink) {
    let near = word_of(node).and_then(|word| nearest(&word, words.iter().copied()));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write {}", either(words)),
    };
    let expected = either(words);
    let problem = Problem::error(
        "unknown_value",
        node.span,
        format!("expected {expected}, found {}", node.describe()),
    )
    .label("unknown word")
    .help(help);
    sink.report(problem);
}
