//! What a run was started with, as it is kept with the run.

use serde::{Deserialize, Serialize};

use super::hash_json;
use crate::spec::{Pipeline, Unit};

/// The pipeline of a run. An edit of the file reaches no run that goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Frozen {
    /// The pipeline file, from the repository root where it lies below it.
    pub file: String,
    /// The pipeline.
    pub pipeline: Pipeline,
}

impl Frozen {
    /// The text of the file that is kept.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a pipeline serialises")
    }

    /// The hash by which a run recognises its file. Comments and layout do not count.
    pub fn hash(&self) -> String {
        hash_json(&self.pipeline)
    }

    /// The same with more units behind those it has.
    #[must_use]
    pub fn with(mut self, more: Vec<Unit>) -> Self {
        self.pipeline.units.extend(more);
        self
    }
}
