//! The only source of wall time.

use crate::port::Clock;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}
