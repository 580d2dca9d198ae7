//! A run is given more units while it goes on.

use std::sync::Arc;

use super::State;
use crate::spec::Pipeline;

impl State {
    /// The same run with the units of `pipeline`: its own, and more behind them. Everything else is as if it had had
    /// them from the beginning.
    ///
    /// # Panics
    /// When `pipeline` does not begin with the units of the run.
    #[must_use]
    pub fn grown(self, pipeline: Arc<Pipeline>) -> Self {
        assert!(
            pipeline.units.starts_with(&self.pipeline.units),
            "a run keeps the units it has"
        );
        // What follows from the pipeline alone is made anew, what has happened is kept.
        let mut fresh = Self::new(pipeline, String::new());
        fresh.units.extend(self.units);
        let mut grown = Self {
            pipeline: fresh.pipeline,
            places: fresh.places,
            units: fresh.units,
            with_branch: fresh.with_branch,
            order: fresh.order,
            agenda: fresh.agenda,
            gate: fresh.gate,
            ..self
        };
        grown.review_all();
        grown
    }
}
