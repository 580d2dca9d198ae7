//! `pipeline diff UNIT`: the change of a unit.

use std::io::Write;

use super::RunChoice;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

/// Most bytes of a diff that are printed.
const DIFF_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The unit
    unit: String,
    #[command(flatten)]
    choice: RunChoice,
}

pub(super) fn perform(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let id = super::added::unit_of_run(context, &reading, &args.unit)?;
    let row = reading.view.unit(&id).expect("a unit of the pipeline has a row");
    let (Some(base), Some(head)) = (&row.base, &row.head) else {
        return Err(Failure::new(
            Exit::NoMatch,
            "no_change_yet",
            format!("`{id}` has no change yet"),
        )
        .help("`pipeline status` shows how far it is"));
    };
    let patch = context.repository.diff_patch(base, head, DIFF_BYTES_MAX)?;
    // A diff is bytes: what is no UTF-8 must come out as it is.
    let mut out = std::io::stdout().lock();
    if out.write_all(&patch.text).and_then(|()| out.flush()).is_err() {
        return Ok(Exit::Done);
    }
    if patch.truncated {
        super::context::tell("The diff goes on; `git diff` shows the whole of it:");
        super::context::tell(&format!("  git diff {base} {head}"));
    }
    Ok(Exit::Done)
}
