//! Things worth knowing that stop nothing: judges who are the author, and budgets that cannot be kept.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Problem, Sink, Span};
use super::model::{Agent, Tier, Unit};
use super::raw::{Budget, RawPipeline};
use super::tiers::agents_of;

/// Reports them, once for each pair of agents and for each agent.
pub(super) fn report(
    raw: &RawPipeline,
    agents: &BTreeMap<String, Agent>,
    tiers: &BTreeMap<String, Tier>,
    units: &[Unit],
    sink: &mut Sink,
) {
    let ways: BTreeSet<(&str, Option<&str>)> = units
        .iter()
        .map(|unit| (unit.tier.as_str(), unit.agent.as_deref()))
        .collect();
    let mut used = BTreeSet::new();
    let mut same = BTreeMap::new();
    for (tier_name, author) in ways {
        let Some(tier) = tiers.get(tier_name) else {
            continue;
        };
        let (authors, judges, planners) = agents_of(tier);
        let authors = author.map_or(authors, |author| vec![author]);
        for judge in &judges {
            if let Some(author) = authors.iter().find(|author| is_same_mind(author, judge, agents)) {
                same.entry((author.to_owned(), *judge)).or_insert(tier_name);
            }
        }
        used.extend(authors.into_iter().chain(judges).chain(planners));
    }
    for ((author, judge), tier) in same {
        let Some(at) = place_of(raw, judge) else { continue };
        let message = if author == judge {
            format!("agent `{judge}` judges its own work in tier `{tier}`")
        } else {
            format!("agent `{judge}` judges the work of `{author}` in tier `{tier}` with the same model")
        };
        let problem = Problem::warning("same_model", at, message)
            .label("author and judge are the same mind")
            .help("configure a second agent with another model and call it `reviewer`");
        sink.report(problem);
    }
    warn_of_unknown_costs(raw, agents, &used, sink);
}

fn is_same_mind(author: &str, judge: &str, agents: &BTreeMap<String, Agent>) -> bool {
    if author == judge {
        return true;
    }
    match (agents.get(author), agents.get(judge)) {
        (Some(author), Some(judge)) if author.model.is_some() => author.model == judge.model,
        (Some(author), Some(judge)) => {
            (&author.adapter, &author.args, &judge.model) == (&judge.adapter, &judge.args, &None)
        }
        _ => false,
    }
}

fn place_of(raw: &RawPipeline, agent: &str) -> Option<Span> {
    let (key, _) = raw.agents.value()?.0.iter().find(|(key, _)| key.text == agent)?;
    Some(key.span)
}

fn warn_of_unknown_costs(
    raw: &RawPipeline,
    agents: &BTreeMap<String, Agent>,
    used: &BTreeSet<&str>,
    sink: &mut Sink,
) {
    let limits = raw.limits.value();
    let written = limits
        .into_iter()
        .flat_map(|limits| [&limits.budget_usd, &limits.unit_budget_usd]);
    let of_units = raw
        .units
        .value()
        .into_iter()
        .flat_map(|units| &units.0)
        .map(|(_, unit)| &unit.budget_usd);
    let Some(budget) = written
        .chain(of_units)
        .filter_map(|field| field.given())
        .find(|given| matches!(given.value, Budget::Amount(_)))
    else {
        return;
    };
    for name in used {
        let unpriced = agents.get(*name).is_some_and(|agent| agent.price.is_none());
        if let (true, Some(at)) = (unpriced, place_of(raw, name)) {
            let problem = Problem::warning(
                "unknown_cost",
                at,
                format!("what `{name}` costs cannot be known unless it reports its cost"),
            )
            .label("has no `price`")
            .also(budget.span, "so this budget may not hold")
            .help(
                "set `price: {input_per_mtok: …, output_per_mtok: …}`, or let the program return `cost_usd`",
            );
            sink.report(problem);
        }
    }
}
