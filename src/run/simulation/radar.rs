//! The conflict radar, which here sees neighbours collide now and then.

use super::driver::{Driver, Step};
use crate::event::{Collision, Event, RunEvent};

/// Records from one look to the next, about.
const RECORDS_BETWEEN: usize = 5;

impl Driver {
    /// What a look finds is recorded if it is news, and nothing that is decided depends on it.
    pub(super) fn look(&mut self) -> Step {
        let Some(scene) = self.state.scene() else {
            return Ok(());
        };
        let pairs = scene.heads.windows(2).map(|pair| {
            let units = [pair[0].unit.clone(), pair[1].unit.clone()];
            Collision::new(units, vec!["shared".to_owned()])
        });
        // Drawn from the journal, since a look must not change what the dice say.
        let skipped = self.journal.len() / RECORDS_BETWEEN;
        let pairs = pairs.skip(skipped % 2).collect();
        let Some(foreseen) = self.state.sighting(&scene, pairs) else {
            return Ok(());
        };
        if !self.journal.len().is_multiple_of(RECORDS_BETWEEN) {
            return Ok(());
        }
        let facts = self.facts();
        let before = self.state.decide(&facts);
        self.record([Event::Run(RunEvent::ConflictsForeseen(foreseen))])?;
        assert_eq!(
            before,
            self.state.decide(&facts),
            "no decision depends on the radar"
        );
        Ok(())
    }
}
