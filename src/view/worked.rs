//! How long engines have worked on a run.

use jiff::Timestamp;

/// The time during which an engine held a run, without the pauses between one and the next.
///
/// An engine that died is taken to have worked until its last event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Worked {
    /// By the engines that have let go, in milliseconds.
    before_ms: u64,
    /// When the one that holds it now began.
    since: Option<Timestamp>,
    /// The last event.
    last: Option<Timestamp>,
}

impl Worked {
    /// An event was written.
    pub(super) fn event_at(&mut self, at: Timestamp) {
        self.last = Some(at);
    }

    /// An engine took the run up; one that never let go has died.
    pub(super) fn begin(&mut self, at: Timestamp) {
        self.died();
        self.since = Some(at);
    }

    /// The engine let go.
    pub(super) fn end(&mut self, at: Timestamp) {
        self.event_at(at);
        self.died();
    }

    /// The engine, if there is one, is known to be gone.
    pub(super) fn died(&mut self) {
        if let (Some(since), Some(last)) = (self.since.take(), self.last) {
            self.before_ms += elapsed_ms(since, last);
        }
    }

    /// Up to `now`, in milliseconds.
    pub fn ms(&self, now: Timestamp) -> u64 {
        self.before_ms + self.since.map_or(0, |since| elapsed_ms(since, now))
    }
}

/// The time from one moment to a later one, in milliseconds; 0 when the clock went backwards.
pub fn elapsed_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).expect("a time")
    }

    #[test]
    fn pauses_between_engines_are_no_work() {
        let mut worked = Worked::default();
        worked.begin(at(1_000));
        worked.event_at(at(2_000));
        assert_eq!(worked.ms(at(4_000)), 3_000, "an engine that is alive works on");
        worked.end(at(3_000));
        assert_eq!(worked.ms(at(90_000)), 2_000);
        worked.begin(at(100_000));
        assert_eq!(worked.ms(at(100_500)), 2_500);
    }

    #[test]
    fn an_engine_that_died_worked_until_its_last_event() {
        let mut worked = Worked::default();
        worked.begin(at(1_000));
        worked.event_at(at(1_700));
        worked.begin(at(60_000));
        assert_eq!(worked.ms(at(60_100)), 800);
    }

    #[test]
    fn a_clock_set_back_takes_nothing_away() {
        let mut worked = Worked::default();
        worked.begin(at(5_000));
        worked.end(at(1_000));
        assert_eq!(worked.ms(at(0)), 0);
    }
}
