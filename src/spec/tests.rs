//! Rules of the pipeline file, from text to diagnostics and typed values.

mod branches;
mod codes;
mod files;
mod robust;
mod typed;
mod values;

use super::{Diagnostic, Level, Loaded, Surroundings, load};

/// A repository of nothing but what a test puts into it.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) files: Vec<(&'static str, &'static str)>,
    pub(super) branches: Vec<String>,
    pub(super) tracked: Vec<String>,
}

impl Surroundings for Fake {
    fn read(&self, path: &str) -> Result<String, String> {
        let file = self.files.iter().find(|(name, _)| *name == path);
        file.map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| "there is no such file".to_owned())
    }

    fn is_on_path(&self, program: &str) -> bool {
        ["sh", "npm", "neonctl", "./agent"].contains(&program)
    }

    fn branches(&self) -> Vec<String> {
        self.branches.clone()
    }

    fn has_branch(&self, name: &str) -> bool {
        self.branches
            .iter()
            .any(|branch| format!("origin/{branch}") == name)
    }

    fn tracked_paths(&self) -> Vec<String> {
        self.tracked.clone()
    }
}

/// The first lines of every file here: 5 lines, two agents and a check.
pub(super) const HEAD: &str = "version: 1
name: demo
agents: {author: {command: [sh, a], model: a}, reviewer: {command: [sh, b], model: b}}
checks: [{name: test, run: make test}]
";

/// A unit without a flaw.
pub(super) const UNIT: &str = "units: {one: {title: 'feat: one', prompt: do it}}\n";

pub(super) fn loaded(text: &str) -> Loaded {
    load("rfc.yaml", text, None, &Fake::default())
}

/// Loads the head and what follows it.
pub(super) fn with_head(rest: &str) -> Loaded {
    loaded(&format!("{HEAD}{rest}"))
}

pub(super) fn render(diagnostics: &[Diagnostic]) -> String {
    let theme = miette::GraphicalTheme::unicode_nocolor();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(110);
    let mut out = String::new();
    for diagnostic in diagnostics {
        handler.render_report(&mut out, diagnostic).unwrap();
    }
    out
}

/// That exactly one diagnostic came, of this code, on this line, and that its help says so.
#[track_caller]
pub(super) fn expect_one(loaded: &Loaded, code: &str, line: usize, help: &str) {
    let rendered = render(&loaded.diagnostics);
    assert_eq!(loaded.diagnostics.len(), 1, "{rendered}");
    let found = &loaded.diagnostics[0];
    assert_eq!((found.code, found.line()), (code, Some(line)), "{rendered}");
    let text = found.help.as_deref().unwrap_or_default();
    assert!(text.contains(help), "help `{text}` lacks `{help}`\n{rendered}");
    assert_eq!(
        loaded.pipeline.is_some(),
        found.level == Level::Warning,
        "{rendered}"
    );
}

/// A unit `one` with these further keys, on line 5.
pub(super) fn unit(keys: &str) -> String {
    format!("units: {{one: {{title: 'feat: one', prompt: do it, {keys}}}}}\n")
}

/// A tier `t` with these stages, on line 6 of the file.
pub(super) fn tier(stages: &str) -> String {
    format!("{UNIT}tiers: {{t: {{{stages}}}}}\n")
}
