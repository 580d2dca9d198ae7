//! `pipeline show UNIT`: everything about a unit.

use serde_json::json;

use super::RunChoice;
use super::context::{Context, Screen, clock, print, print_json};
use super::exit::Exit;
use super::failure::Failure;
use crate::event::{Event, Output, Record, UnitEvent};
use crate::id::UnitId;
use crate::report::table;
use crate::report::text::sanitize;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The unit
    unit: String,
    #[command(flatten)]
    choice: RunChoice,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let id = super::added::unit_of_run(context, &reading, &args.unit)?;
    if !screen.json {
        let unit = reading.view.unit(&id).expect("a unit of the pipeline has a row");
        print(&table::show_unit(
            unit,
            &reading.view,
            screen.style,
            clock().now(),
        ));
        for record in &reading.records {
            print_document(record, &id);
        }
        return Ok(Exit::Done);
    }
    let status = reading.view.to_status_json();
    let unit = status["units"]
        .as_array()
        .and_then(|units| units.iter().find(|unit| unit["id"] == id.as_str()));
    let events: Vec<_> = reading
        .records
        .iter()
        .filter(|record| matches!(&record.event, Event::Unit(scoped) if scoped.unit == id))
        .collect();
    print_json(&json!({"schema": 1, "run": reading.run, "unit": unit, "events": events}));
    Ok(Exit::Done)
}

/// The document that an attempt of a prepare stage returned.
fn print_document(record: &Record, id: &UnitId) {
    let Event::Unit(scoped) = &record.event else {
        return;
    };
    if let UnitEvent::AttemptEnded {
        output: Some(Output::Document { text }),
        ..
    } = &scoped.what
        && scoped.unit == *id
    {
        print(&format!(
            "\n── document of {}\n{}\n",
            record.at,
            sanitize(text).trim_end()
        ));
    }
}
