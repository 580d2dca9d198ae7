//! Retry, back-off, limits and budget, as functions of their arguments.
//!
//! **Architecture Invariant:** pure. The moment and the seed come in as arguments, so that a replay of the same
//! events waits the same times.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::Usage;
use crate::spec::{Agent, Price, Usd};

/// How long is waited before something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure, before jitter.
    base: Duration,
    /// Longest wait, jitter included.
    most: Duration,
}

/// Of a unit's attempts.
pub const OF_ATTEMPTS: Backoff = Backoff {
    base: Duration::from_secs(2),
    most: Duration::from_secs(60),
};
/// Of the queue's verifications that the machine could not carry out.
pub const OF_VERIFICATIONS: Backoff = Backoff {
    base: Duration::from_secs(1),
    most: Duration::from_secs(300),
};

impl Backoff {
    /// How long to wait after that many failures in a row.
    ///
    /// The wait doubles from the base, is capped, and is then shortened by up to half, depending on `seed`, so that much
    /// that fails together does not come back together. No failure is no wait.
    pub fn after(self, failures: u32, seed: u64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let full = 2u32
            .checked_pow(doublings)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.most, |wait| wait.min(self.most));
        let half = full / 2;
        let half_ms = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        half + Duration::from_millis(mix(seed ^ u64::from(failures)) % (half_ms + 1))
    }
}

/// Spreads the bits of a seed (the finaliser of SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Whether a budget is used up: nothing may start that costs. No budget is never used up.
pub fn is_spent(spent: Usd, budget: Option<Usd>) -> bool {
    budget.is_some_and(|budget| spent >= budget)
}

/// What tokens cost, rounded up to a millionth of a dollar.
pub fn cost_of_tokens(usage: &Usage, price: &Price) -> Usd {
    let parts = [
        (usage.input_tokens, price.input_per_mtok),
        (usage.output_tokens, price.output_per_mtok),
        (usage.cached_tokens, price.cached_per_mtok),
    ];
    let total: u128 = parts
        .iter()
        .map(|(tokens, price)| u128::from(*tokens) * u128::from(price.micros))
        .fold(0, u128::saturating_add);
    Usd {
        micros: u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX),
    }
}

/// The usage with its cost filled in from the agent's price, when the agent itself named none.
pub fn with_cost(usage: Usage, agent: &Agent) -> Usage {
    let cost = usage
        .cost
        .or_else(|| agent.price.as_ref().map(|price| cost_of_tokens(&usage, price)));
    Usage { cost, ..usage }
}

/// When each agent may be started: starts of one agent keep a distance, and a rate limit pauses it for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pacing {
    last_start: BTreeMap<String, Timestamp>,
    paused_until: BTreeMap<String, Timestamp>,
}

impl Pacing {
    /// An agent was started.
    pub fn started(&mut self, agent: &str, at: Timestamp) {
        let last = self.last_start.entry(agent.to_owned()).or_insert(at);
        *last = (*last).max(at);
    }

    /// An agent's provider refuses until `reset`; an earlier pause never shortens a later one.
    pub fn rate_limited(&mut self, agent: &str, reset: Timestamp) {
        let until = self.paused_until.entry(agent.to_owned()).or_insert(reset);
        *until = (*until).max(reset);
    }

    /// The moment until which an agent is paused, while it is.
    pub fn paused_until(&self, agent: &str, now: Timestamp) -> Option<Timestamp> {
        self.paused_until.get(agent).copied().filter(|until| *until > now)
    }

    /// The earliest moment at which the agent may be started; `None` when it may be started now.
    pub fn next_start(&self, agent: &str, interval: Duration, now: Timestamp) -> Option<Timestamp> {
        let staggered = self
            .last_start
            .get(agent)
            // A start that lies in the future was recorded before the clock was set back; it keeps nobody waiting.
            .filter(|last| **last <= now)
            .and_then(|last| last.checked_add(interval).ok())
            .filter(|next| *next > now);
        staggered.max(self.paused_until(agent, now))
    }
}

#[cfg(test)]
mod tests;
