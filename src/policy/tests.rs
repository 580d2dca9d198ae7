//! Laws of waiting and paying.

use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn no_failure_means_no_wait() {
    assert_eq!(OF_ATTEMPTS.after(0, 5), Duration::ZERO);
}

proptest! {
    #[test]
    fn a_wait_lies_between_half_and_the_whole_of_its_step(failures in 1u32..200, seed: u64) {
        for backoff in [OF_ATTEMPTS, OF_VERIFICATIONS] {
            let full = backoff.base.saturating_mul(2u32.saturating_pow(failures - 1)).min(backoff.most);
            let wait = backoff.after(failures, seed);
            prop_assert!(wait >= full / 2 && wait <= full);
            prop_assert_eq!(wait, backoff.after(failures, seed));
        }
    }
}

#[test]
fn seeds_spread_the_waits() {
    let waits: std::collections::BTreeSet<_> = (0..50).map(|seed| OF_ATTEMPTS.after(5, seed)).collect();
    assert!(waits.len() > 40);
}

#[test]
fn a_budget_is_spent_when_it_is_reached_and_none_never() {
    let two = Usd::from_dollars(2.0).unwrap();
    assert!(is_spent(two, Some(two)));
    assert!(!is_spent(Usd::default(), Some(two)));
    assert!(!is_spent(two, None));
}

#[test]
fn tokens_cost_their_price_and_an_agents_own_figure_goes_first() {
    let dollars = |amount| Usd::from_dollars(amount).unwrap();
    let price = Price {
        input_per_mtok: dollars(3.0),
        output_per_mtok: dollars(15.0),
        cached_per_mtok: dollars(0.3),
    };
    let usage = Usage {
        cost: None,
        input_tokens: 1_000_000,
        output_tokens: 200_000,
        cached_tokens: 10,
    };
    assert_eq!(cost_of_tokens(&usage, &price).micros, 6_000_003);
    let agent = Agent {
        adapter: crate::spec::Adapter::Command {
            argv: vec!["a".to_owned()],
        },
        model: None,
        args: Vec::new(),
        pass_env: Vec::new(),
        timeout: None,
        price: Some(price),
    };
    assert_eq!(with_cost(usage, &agent).cost.unwrap().micros, 6_000_003);
    let told = Usage {
        cost: Some(dollars(1.0)),
        ..usage
    };
    assert_eq!(with_cost(told, &agent).cost, Some(dollars(1.0)));
}

#[test]
fn starts_of_one_agent_keep_their_distance() {
    let mut pacing = Pacing::default();
    let interval = Duration::from_secs(5);
    assert_eq!(pacing.next_start("a", interval, at(10)), None);
    pacing.started("a", at(10));
    assert_eq!(pacing.next_start("a", interval, at(12)), Some(at(15)));
    assert_eq!(pacing.next_start("a", interval, at(15)), None);
    assert_eq!(pacing.next_start("b", interval, at(12)), None);
}

#[test]
fn a_rate_limit_pauses_the_agent_for_everybody_and_is_never_shortened() {
    let mut pacing = Pacing::default();
    pacing.rate_limited("a", at(100));
    pacing.rate_limited("a", at(50));
    assert_eq!(pacing.next_start("a", Duration::ZERO, at(60)), Some(at(100)));
    assert_eq!(pacing.paused_until("a", at(100)), None);
}

#[test]
fn a_clock_that_was_set_back_keeps_no_agent_waiting() {
    let mut pacing = Pacing::default();
    let later: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
    pacing.started("dev", later);
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(pacing.next_start("dev", Duration::from_secs(5), now), None);
}
