//! The prompt templates: those in the binary, and a repository's own in their place.
//!
//! Templates are trusted (they come from the binary or from the base commit), what they render is not: values are
//! inserted as they are and never parsed again. There is no function that reads a file, the environment or the
//! clock, `range` is switched off, and the output is capped, so a template can at worst be wrong.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use tera::{ErrorKind, Tera};

/// Longest output of one template, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Longest template a repository may bring, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 256 * 1024;

const EMBEDDED: [(&str, &str); 7] = [
    ("approve.md", include_str!("../../templates/approve.md")),
    ("data.md", include_str!("../../templates/data.md")),
    ("fix.md", include_str!("../../templates/fix.md")),
    ("implement.md", include_str!("../../templates/implement.md")),
    ("prepare.md", include_str!("../../templates/prepare.md")),
    ("resolve.md", include_str!("../../templates/resolve.md")),
    ("review.md", include_str!("../../templates/review.md")),
];

/// The prompts; what else is embedded is included by them.
const PROMPTS: [&str; 6] = [
    "approve.md",
    "fix.md",
    "implement.md",
    "prepare.md",
    "resolve.md",
    "review.md",
];

/// Variables that are a text or none.
pub(super) const TEXTS: [&str; 19] = [
    "unit",
    "stage",
    "kind",
    "target",
    "base",
    "commit",
    "instructions",
    "focus",
    "stance",
    "task",
    "rfc",
    "diff",
    "findings",
    "note",
    "bundle",
    "ledger",
    "disputes",
    "conflicts",
    "target_diff",
];
/// Variables that are a list of texts.
pub(super) const LISTS: [&str; 5] = ["checks", "passed_checks", "documents", "failures", "landed"];
/// Variables that are a number.
pub(super) const NUMBERS: [&str; 2] = ["round", "attempt"];

/// A set of templates that parse and refer to nothing that does not exist.
#[derive(Clone)]
pub struct Templates {
    tera: Tera,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templates").finish_non_exhaustive()
    }
}

/// A template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is no template of that name to replace.
    #[error("`.pipeline/templates/{name}` replaces no template; the templates are {known}")]
    Unknown {
        /// What was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// It is too long to be a prompt.
    #[error("`.pipeline/templates/{name}` has {bytes} bytes; a template has at most {TEMPLATE_BYTES_MAX}")]
    TooLong {
        /// The template.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// It does not parse, or renders what does not exist.
    #[error("the template `{name}` cannot be used:\n{report}")]
    Invalid {
        /// The template.
        name: String,
        /// Byte range in the template's text, where the error has one.
        span: Option<Range<usize>>,
        /// What is wrong, with the lines concerned.
        report: String,
    },
    /// Its output passes the cap.
    #[error("the template `{name}` renders more than {OUTPUT_BYTES_MAX} bytes; shorten what it repeats")]
    OutputTooLong {
        /// The template.
        name: String,
    },
}

impl Templates {
    /// Those in the binary.
    pub fn embedded() -> Self {
        Self::build(&BTreeMap::new()).expect("the embedded templates are valid, which a test proves")
    }

    /// Those in the binary, with some replaced: file name in `.pipeline/templates/` of the base commit, and text.
    ///
    /// Each prompt is rendered once with sample values, so that a wrong name shows before a run starts.
    pub fn with_overrides(overrides: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        for (name, text) in overrides {
            if !EMBEDDED.iter().any(|(known, _)| known == name) {
                return Err(TemplateError::Unknown {
                    name: name.clone(),
                    known: EMBEDDED.map(|(known, _)| known).join(", "),
                });
            }
            if text.len() > TEMPLATE_BYTES_MAX {
                return Err(TemplateError::TooLong {
                    name: name.clone(),
                    bytes: text.len(),
                });
            }
        }
        let templates = Self::build(overrides)?;
        let sample = sample();
        for name in PROMPTS {
            templates.render(name, &sample)?;
        }
        Ok(templates)
    }

    fn build(overrides: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        let mut tera = Tera::new();
        tera.autoescape_on(Vec::<&str>::new());
        tera.register_function(
            "range",
            |_: tera::Kwargs, _: &tera::State<'_>| -> tera::TeraResult<tera::Value> {
                Err(tera::Error::message(
                    "`range` is switched off in prompt templates",
                ))
            },
        );
        let texts = EMBEDDED.map(|(name, text)| (name, overrides.get(name).map_or(text, String::as_str)));
        tera.add_raw_templates(texts)
            .map_err(|error| invalid(&error, "of .pipeline/templates"))?;
        Ok(Self { tera })
    }

    /// Renders one template, at most [`OUTPUT_BYTES_MAX`] bytes.
    pub(super) fn render(&self, name: &str, context: &tera::Context) -> Result<String, TemplateError> {
        let mut output = Capped::default();
        let rendered = self.tera.render_to(name, context, &mut output);
        if output.overflowed {
            return Err(TemplateError::OutputTooLong {
                name: name.to_owned(),
            });
        }
        rendered.map_err(|error| invalid(&error, name))?;
        Ok(String::from_utf8_lossy(&output.bytes).into_owned())
    }
}

/// Something for every variable, so that no branch that asks whether there is something is passed over.
fn sample() -> tera::Context {
    let mut context = tera::Context::new();
    TEXTS.iter().for_each(|name| context.insert(*name, "x"));
    LISTS.iter().for_each(|name| context.insert(*name, &["x"]));
    NUMBERS.iter().for_each(|name| context.insert(*name, &1));
    context
}

fn invalid(error: &tera::Error, fallback_name: &str) -> TemplateError {
    if let ErrorKind::SyntaxError(place) | ErrorKind::RenderingError(place) = error.kind() {
        return TemplateError::Invalid {
            name: place.filename().to_owned(),
            span: Some(place.span().range.clone()),
            report: error.to_string(),
        };
    }
    TemplateError::Invalid {
        name: fallback_name.to_owned(),
        span: None,
        report: error.to_string(),
    }
}

#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_BYTES_MAX {
            self.overflowed = true;
            return Err(io::Error::other("output too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
