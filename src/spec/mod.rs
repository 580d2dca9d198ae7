//! YAML text to a typed pipeline.

pub mod model;

pub use model::{Adapter, Agent, Check, CommitSettings, Convention, DependsOn, Document, Guards, Limits, Overlap, Performer, Pipeline, Price, QueueSettings, Role, Severity, Stage, StageKind, Step, Strategy, Tier, Unit, Usd, Verify, Workspace};
