//! What a stage is shown and what it returned.
//!
//! [`prepare`] turns plain data into a prompt and the files of `PIPELINE_CONTEXT`, [`task`] into what a launcher
//! runs, and [`parse`] takes the bytes of `PIPELINE_RESULT` back. Everything here is a pure function: no I/O, no
//! clock, no lock, no randomness (the secret `seed` of the fences comes from the caller).
//!
//! Three rules are kept by construction:
//! - **Isolation.** A judge is shown a [`ReviewPacket`] and nothing else. Its fields are private and its
//!   constructor takes nothing an author wrote but the diff.
//! - **Untrusted text is data.** It enters a prompt only as the value of a template variable, cleaned of what a
//!   person would not see, and between two fences whose nonce its author cannot know ([`fence`]).
//! - **Silence is no approval.** A judge's result has exactly the shape it was asked for, or it is an error.

pub mod fence;
pub mod packet;
pub mod prompt;
pub mod redact;
pub mod result;
pub mod template;

use std::collections::BTreeMap;

use crate::port::AgentTask;
use crate::spec::{Adapter, Agent, StageKind};

pub use packet::{
    Assignment, ChainDocument, DiffText, Dispute, FailedCheck, FileLine, LandedWork, LedgerLine, OpenFinding,
    Packet, ReviewPacket,
};
pub use prompt::{Prepared, prepare};
pub use result::{MissingRows, Parsed, RESULT_BYTES_MAX, ResultError, Returned, missing_rows, parse, schema};
pub use template::{TemplateError, Templates};

/// A stage that could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A template does not render; the text holds the place in the template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The caller paired a packet with a stage of another kind: a bug of ours.
    #[error(
        "a packet for {} was made for stage `{stage}` of kind {}; report this as a bug with the run's journal",
        packet.as_str(), kind.as_str()
    )]
    Mismatch {
        /// The packet's kind.
        packet: StageKind,
        /// The stage.
        stage: String,
        /// The stage's kind.
        kind: StageKind,
    },
}

/// What a launcher runs for a prepared stage.
///
/// `pass` holds the values, found in the person's environment, of the variables `agent` passes through; names the
/// agent did not ask for and names of our own (`PIPELINE_…`) are left out. The model goes to `PIPELINE_MODEL`.
pub fn task(
    agent: &Agent,
    prepared: Prepared,
    pass: &BTreeMap<String, String>,
    takes_tree: bool,
) -> AgentTask {
    let Adapter::Command { argv } = &agent.adapter;
    let mut env: BTreeMap<String, String> = pass
        .iter()
        .filter(|(name, _)| agent.pass_env.contains(name) && !name.starts_with("PIPELINE_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(model) = &agent.model {
        env.insert("PIPELINE_MODEL".to_owned(), model.clone());
    }
    AgentTask {
        argv: argv.iter().chain(&agent.args).cloned().collect(),
        prompt: prepared.prompt,
        context: prepared.context,
        env,
        takes_tree,
    }
}

#[cfg(test)]
mod tests;
