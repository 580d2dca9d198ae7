//! Templates in `workspace.env`: parsed and rendered with dummy values when the file is loaded, so that a
//! mistake is found before the first worktree exists.

use tera::{Context, ErrorKind, Tera};

/// The variables every template knows, beside the names of the ports.
pub(super) const VARIABLES: [&str; 4] = ["worktree", "unit", "stage", "run"];

/// A mistake in a template: what, and the bytes of the template it is about, if known.
pub(super) struct TemplateError {
    pub(super) message: String,
    pub(super) range: Option<std::ops::Range<usize>>,
}

/// Renders `template` once with dummy values.
pub(super) fn check(template: &str, ports: &[String]) -> Result<(), TemplateError> {
    let mut context = Context::new();
    for name in VARIABLES {
        context.insert(name, &"value");
    }
    for port in ports {
        context.insert(port.clone(), &4000);
    }
    match Tera::one_off(template, &context, false) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => TemplateError {
                message: report.message().to_owned(),
                range: Some(report.span().range.clone()),
            },
            _ => TemplateError {
                message: error.to_string(),
                range: None,
            },
        }),
    }
}
