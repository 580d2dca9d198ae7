//! YAML text to a typed pipeline, with all diagnostics at once.
//!
//! Three steps, none of which stops at the first mistake: `node` parses text to a tree with places (the only
//! place that knows the YAML crate), `decode` and `raw` read records from it, and `settings`, `tiers` and
//! `units` turn those into the types of [`model`].
//!
//! **Invariant**: a [`Pipeline`] is handed out only if no diagnostic is an error. Everything this module wants to
//! know of the world it asks through [`Surroundings`]; it holds no lock and keeps no state.

mod codes;
mod decode;
mod diagnostic;
mod graph;
mod load;
pub mod model;
mod node;
mod overlap;
mod quote;
mod raw;
mod settings;
mod synthetic;
mod template;
#[cfg(test)]
mod tests;
mod tiers;
mod units;
mod warnings;

pub use codes::{CODES, explain};
pub use diagnostic::{Diagnostic, Label, Level, nearest};
pub use load::{BUILT_IN_TIERS, Loaded, load, schema};
pub use model::{
    Adapter, Agent, Breadth, Check, CommitSettings, Convention, DependsOn, Document, FromBranch, Guards,
    Land, Limits, OnConflict, Overlap, Performer, Pipeline, Price, QueueSettings, Role, Severity, Stage,
    StageKind, Step, Strategy, Tier, Unit, Usd, Verify, Workspace,
};
pub use overlap::patterns_may_overlap;
pub use synthetic::{BLOCK_ON, MIN_CONFIDENCE, RESOLVE, RESOLVE_REVIEW};
pub use units::prompt_of_branch;

/// What validation may ask of the repository the pipeline is for.
pub trait Surroundings {
    /// A text file by its path from the repository root. The error is the end of a sentence that says why it
    /// cannot be read.
    fn read(&self, path: &str) -> Result<String, String>;
    /// Whether a program can be started: by name on PATH, or by a path with `/` from the repository root.
    fn is_on_path(&self, program: &str) -> bool;
    /// Short names of local branches. Branches that the run itself made are to be left out.
    fn branches(&self) -> Vec<String>;
    /// Whether git has a branch or a commit of that name.
    fn has_branch(&self, name: &str) -> bool;
    /// Paths that git tracks, from the repository root.
    fn tracked_paths(&self) -> Vec<String>;
}
