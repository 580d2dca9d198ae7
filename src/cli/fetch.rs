//! Before a run: the target is brought to where its upstream is.

use super::context::{Context, tell};
use super::exit::Exit;
use super::failure::Failure;
use crate::event::{Reason, listed, stash_command};
use crate::git::{CHECKOUT_PATIENCE, Fetched, Forwarded, Upstream};
use crate::id::Oid;

/// Finishes what a killed `run` left of bringing a target forward.
pub(super) fn finish(context: &Context) -> Result<(), Failure> {
    if let Some(branch) = context.repository.finish_fast_forward(CHECKOUT_PATIENCE)? {
        tell(&format!(
            "`{branch}` had been brought forward when the last run was killed; its checkout follows now"
        ));
    }
    Ok(())
}

/// Fetches the target's upstream, and brings the target forward when it is behind.
pub(super) fn bring_target(context: &Context, target: &str, upstream: &Upstream) -> Result<(), Failure> {
    let repository = &context.repository;
    let name = upstream.short();
    let fetched = repository.fetch_upstream(upstream).map_err(|error| {
        let message = format!("{name}, the upstream of `{target}`, cannot be fetched: {error}");
        Failure::new(Exit::Environment, "fetch_failed", message)
            .help("nothing was started; `--no-fetch` goes on with the target as it is here")
    })?;
    let there = match fetched {
        Fetched::At(there) => there,
        Fetched::Gone => {
            tell(&format!(
                "`{target}` follows {name}, which does not exist there; it is taken as it is here"
            ));
            return Ok(());
        }
    };
    let Some(here) = repository.tip(target)? else {
        return Ok(());
    };
    if repository.is_ancestor(&there, &here)? {
        return Ok(());
    }
    if !repository.is_ancestor(&here, &there)? {
        return Err(diverged(context, target, upstream)?);
    }
    forward(context, target, &name, (&here, &there))
}

fn forward(context: &Context, target: &str, name: &str, (here, there): (&Oid, &Oid)) -> Result<(), Failure> {
    let forwarded = context
        .repository
        .fast_forward(target, here, there, CHECKOUT_PATIENCE)?;
    match forwarded {
        Forwarded::Done => {
            tell(&format!(
                "`{target}` was behind {name} and is brought forward: {}..{}",
                here.short(),
                there.short()
            ));
            Ok(())
        }
        Forwarded::InTheWay { checkout, what } => {
            let stash = stash_command(&checkout.display().to_string(), &what.paths, &what.removed);
            let message = format!(
                "`{target}` is behind {name}, and work in {} is in the way: {}",
                checkout.display(),
                crate::report::text::sanitize(&listed(&what.paths))
            );
            Err(Failure::new(Exit::Stopped, "target_dirty", message).help(format!(
                "`{}` puts it aside, then run the same command; `--no-fetch` goes on without what is new",
                crate::report::text::sanitize(&stash)
            )))
        }
        Forwarded::Refused(words) => {
            let message =
                format!("`{target}` is behind {name}, and the repository does not let it move: {words}");
            Err(Failure::new(Exit::Environment, "push_rejected", message).help(Reason::PushRejected.remedy()))
        }
        Forwarded::Elsewhere => {
            let message = format!("`{target}` was moved by somebody else while it was brought forward");
            Err(Failure::new(Exit::Stopped, "target_moved", message).help("run the same command again"))
        }
    }
}

/// Both have commits that the other lacks. A merge keeps what runs have landed where it is; a rebase would write it anew.
fn diverged(context: &Context, target: &str, upstream: &Upstream) -> Result<Failure, Failure> {
    let merge = upstream.merge_arguments();
    let command = match context.repository.checkout_of(target)? {
        Some(checkout) => format!("git -C {} {merge}", quoted(&checkout)),
        None => format!("git switch {} && git {merge}", shell_words::quote(target)),
    };
    let message = format!(
        "`{target}` and its upstream {} have diverged: each has commits that the other lacks",
        upstream.short()
    );
    Ok(Failure::new(Exit::Environment, "target_diverged", message).help(format!(
        "`{command}` brings them together, then run the same command; `--no-fetch` goes on with the target as it is here"
    )))
}

fn quoted(path: &std::path::Path) -> String {
    shell_words::quote(&path.display().to_string()).into_owned()
}
