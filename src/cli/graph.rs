//! `pipeline graph FILE`: the units and what they need, drawn.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;

use super::context::{Environment, Screen, load_file, print, require_valid};
use super::exit::Exit;
use super::failure::Failure;
use crate::dag::{self, UnitGraph};
use crate::git::Repository;
use crate::id::UnitId;
use crate::run::order::{longest_stage_path, serialized};
use crate::spec::Pipeline;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline file
    file: PathBuf,
    /// How to draw it
    #[arg(long, default_value = "ascii")]
    format: Format,
}

/// A way to draw a graph.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For a terminal
    Ascii,
    /// A picture for a browser
    Svg,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
}

pub(super) fn perform(environment: &Environment, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let repository = Repository::discover(environment.cwd(), &environment.for_git()).ok();
    let loaded = load_file(environment, repository.as_ref(), &args.file)?;
    let drawing = drawing(&require_valid(loaded, &args.file)?.pipeline);
    let text = match args.format {
        Format::Ascii if screen.style.unicode => dag::ascii(&drawing, screen.style.width),
        Format::Ascii => dag::ascii_plain(&drawing, screen.style.width),
        Format::Svg => dag::svg(&drawing),
        Format::Dot => dag::dot(&drawing),
        Format::Mermaid => dag::mermaid(&drawing),
    };
    print(&text);
    Ok(Exit::Done)
}

fn drawing(pipeline: &Pipeline) -> dag::Drawing {
    let places: BTreeMap<&UnitId, usize> = pipeline
        .units
        .iter()
        .enumerate()
        .map(|(place, unit)| (&unit.id, place))
        .collect();
    let serialized = serialized(pipeline);
    let graph = UnitGraph::new(&pipeline.units, &serialized);
    let weight = |id: &UnitId| longest_stage_path(&pipeline.tiers[&pipeline.units[places[id]].tier]);
    let needs = pipeline.units.iter().flat_map(|unit| {
        unit.needs.iter().map(|need| dag::Edge {
            from: places[need],
            to: places[&unit.id],
            dashed: false,
        })
    });
    let waits = serialized.iter().map(|(later, earlier)| dag::Edge {
        from: places[earlier],
        to: places[later],
        dashed: true,
    });
    dag::Drawing {
        nodes: pipeline
            .units
            .iter()
            .map(|unit| dag::Node {
                id: unit.id.to_string(),
                title: unit.title.clone(),
                class: unit.tier.clone(),
            })
            .collect(),
        edges: needs.chain(waits).collect(),
        critical: graph.critical_path(weight).iter().map(|id| places[id]).collect(),
    }
}
