//! `pipeline queue add BRANCH`: brings a branch, a person's too, into the queue of a run.
//!
//! The wish is written down. An engine that has the file's run is handed it at once, otherwise the next `run` takes it in.
//! To ask twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::added::{self, Wish};
use super::context::{Context, Reading, load_file, println, require_valid};
use super::exit::Exit;
use super::failure::Failure;
use super::steer::{self, Handed};
use crate::event::Reason;
use crate::id::{Oid, UnitId, is_safe_name};
use crate::run::Frozen;
use crate::spec::Strategy;
use crate::store;
use crate::view::{UnitState, UnitView};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The branches, in the order they are to land; one of a remote as `origin/…`
    #[arg(value_name = "BRANCH", required = true)]
    branches: Vec<String>,
    /// The pipeline file whose checks, agents and queue it goes through [default: that of the latest run]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Straight to verification: nobody but the queue's checks judges it
    #[arg(long)]
    no_review: bool,
}

pub(super) fn perform(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => file_of_latest(context)?,
    };
    let loaded = load_file(&context.environment, Some(&context.repository), &path)?;
    let frozen = require_valid(loaded, &path)?;
    let run_args = super::run::Args::of(&path);
    let target = super::choose::target_of(context, &run_args, &frozen.pipeline)?;
    // Two of these do not give the same place, or the same id, twice.
    let _lock = added::lock(context)?;
    if let Some(run) = context
        .runs()?
        .last()
        .filter(|_| store::holder(&context.home).is_some())
    {
        steer::require_hearing(context, run)?;
    }
    let names = args.branches.iter().map(String::as_str).collect();
    let mut here = Here {
        context,
        review: !args.no_review,
        path: &path,
        tips: context.repository.branch_tips(&names)?,
        latest: super::choose::latest_of(context, &frozen.pipeline.name, &target)?,
        wishes: added::wishes(context, &frozen.pipeline.name)?,
        frozen,
        target,
        new: Vec::new(),
        told: Vec::new(),
    };
    let mut is_asked = false;
    for branch in &args.branches {
        is_asked |= here.add(branch)?;
    }
    added::write(context, &here.frozen.pipeline.name, &here.new)?;
    here.told.iter().for_each(|line| println(line));
    if is_asked {
        let run = format!("pipeline run {}", shell_words::quote(&path.display().to_string()));
        println(&match here.hand_over()? {
            Handed::Taken => "The engine that runs takes it in. Next: pipeline queue".to_owned(),
            Handed::Kept => {
                format!("The engine that runs has it and starts nothing any more. Once it has ended: {run}")
            }
            Handed::NotHere => format!(
                "The engine that runs has another run, or one with other units than {} has now. Once it has ended: {run}",
                path.display()
            ),
            Handed::NoEngine => format!("Next: {run}"),
        });
    }
    Ok(Exit::Done)
}

/// The file of the latest run.
fn file_of_latest(context: &Context) -> Result<PathBuf, Failure> {
    let runs = context.runs()?;
    let Some(run) = runs.last() else {
        let message = "there is no run yet whose queue the branch could join";
        return Err(Failure::new(Exit::Usage, "no_run", message)
            .help("name the pipeline file whose checks it is to pass: `--file FILE`"));
    };
    let file = context.repository.root().join(context.read_frozen(run)?.file);
    // As a person would name it from here.
    Ok(match file.strip_prefix(context.environment.cwd()) {
        Ok(short) => short.to_owned(),
        Err(_) => file,
    })
}

/// The file that branches are brought to.
struct Here<'a> {
    context: &'a Context,
    review: bool,
    path: &'a Path,
    frozen: Frozen,
    target: String,
    /// Where the branches are that are there.
    tips: BTreeMap<String, Oid>,
    /// The latest run of the file.
    latest: Option<Reading>,
    /// What was asked for before.
    wishes: Vec<Wish>,
    /// What is to be written down, and told then.
    new: Vec<(Wish, Oid)>,
    told: Vec<String>,
}

impl Here<'_> {
    /// Brings a branch; whether a run has something to do for it.
    fn add(&mut self, branch: &str) -> Result<bool, Failure> {
        let Some(head) = self.tips.get(branch).cloned() else {
            let told = format!("`{branch}`");
            return Err(super::branches::no_branch(
                self.context,
                Exit::NoMatch,
                branch,
                &told,
            )?);
        };
        let brings = |unit: &&crate::spec::Unit| {
            let from = unit.from_branch.as_ref();
            from.is_some_and(|from| from.name == branch)
        };
        if let Some(unit) = self.frozen.pipeline.units.iter().find(brings) {
            let file = self.path.display();
            self.told
                .push(format!("{file} brings `{branch}` already, as `{}`.", unit.id));
            return Ok(true);
        }
        // A branch may be brought in again and again; what was asked for last is what is asked about.
        let before = self.wishes.iter().rev().find(|wish| wish.branch == branch);
        if let Some(wish) = before.cloned()
            && let Some(is_asked) = self.ask_again(&wish, &head)?
        {
            return Ok(is_asked);
        }
        self.write(branch, &head)
    }

    /// What is to be said of a branch that was asked for before; `None` when it may be asked for anew.
    fn ask_again(&mut self, wish: &Wish, head: &Oid) -> Result<Option<bool>, Failure> {
        let (branch, unit) = (&wish.branch, &wish.unit);
        let row = self.latest.as_ref().and_then(|reading| reading.view.unit(unit));
        let moved = |row: &UnitView| row.taken.as_ref().is_some_and(|taken| taken != head);
        match row {
            None if wish.review != self.review => {
                added::forget(self.context, &self.frozen.pipeline.name, unit)?;
                self.wishes.retain(|other| other.unit != *unit);
                Ok(None)
            }
            Some(row) if row.state == UnitState::Landed && moved(row) => Ok(None),
            Some(row) if row.state == UnitState::Landed => {
                self.told
                    .push(format!("`{branch}` has landed, as `{unit}`: nothing to do."));
                Ok(Some(false))
            }
            Some(row) if row.state == UnitState::Cancelled => Ok(None),
            Some(row) if row.reason.is_some() => {
                let message = format!(
                    "`{branch}` was brought in before, as `{unit}`, which is {}: {}",
                    row.state.as_str(),
                    row.sentence.as_deref().unwrap_or("see `pipeline show`")
                );
                Err(Failure::new(Exit::Usage, "brought_in_before", message).help(format!(
                    "`pipeline retry {unit}` takes the branch in as it is now; `pipeline discard {unit}` gives it up"
                )))
            }
            Some(_) | None => {
                self.told
                    .push(format!("`{branch}` is in line already, as `{unit}`."));
                Ok(Some(true))
            }
        }
    }

    fn write(&mut self, branch: &str, head: &Oid) -> Result<bool, Failure> {
        if self.is_on_target(head)? {
            self.told.push(format!(
                "Everything `{branch}` brings is on `{}` already: nothing to do.",
                self.target
            ));
            return Ok(false);
        }
        let pipeline = &self.frozen.pipeline;
        let review = self.review;
        if review && !pipeline.tiers.contains_key(&pipeline.default_tier) {
            let message = format!(
                "tier `{}` asks for agents that the file does not have",
                pipeline.default_tier
            );
            return Err(Failure::new(Exit::Usage, "unknown_agent", message).help(
                "name another tier under `defaults`, or bring it straight to verification: `--no-review`",
            ));
        }
        let how = if review {
            format!("through tier {}", pipeline.default_tier)
        } else {
            "straight to verification".to_owned()
        };
        let (unit, title) = (self.free_id(branch), self.title(branch, head)?);
        self.told
            .push(format!("`{branch}` at {} goes {how}, as `{unit}`.", head.short()));
        let wish = Wish::after(&self.wishes, unit, title, branch, review);
        self.wishes.push(wish.clone());
        self.new.push((wish, head.clone()));
        Ok(true)
    }

    /// Hands everything that was brought and that the run does not have to the engine that works on it.
    fn hand_over(&self) -> Result<Handed, Failure> {
        if store::holder(&self.context.home).is_none() {
            return Ok(Handed::NoEngine);
        }
        let name = &self.frozen.pipeline.name;
        let latest = super::choose::latest_of(self.context, name, &self.target)?;
        let Some(reading) = latest.filter(|reading| reading.frozen.file == self.frozen.file) else {
            return Ok(Handed::NotHere);
        };
        let whole = added::lay_over(self.context, self.frozen.clone())?;
        let missing = if whole.hash() == reading.frozen.hash() {
            Some([].as_slice())
        } else {
            added::missing_in(self.context, &reading.frozen, &whole.pipeline)?
        };
        match missing {
            Some(missing) => steer::hand_over(self.context, &reading.run, missing.to_vec()),
            None => Ok(Handed::NotHere),
        }
    }

    /// What could never land is refused here, where a person can do something about it.
    fn is_on_target(&self, head: &Oid) -> Result<bool, Failure> {
        let repository = &self.context.repository;
        let refused = |reason: Reason| {
            Failure::new(Exit::Usage, reason.code(), reason.sentence()).help(reason.remedy())
        };
        let Some(tip) = repository.tip(&self.target)? else {
            return Ok(false);
        };
        let base = repository
            .merge_base(&tip, head)?
            .ok_or_else(|| refused(Reason::UnrelatedHistory))?;
        let replays = self.frozen.pipeline.queue.strategy == Strategy::Rebase;
        if replays && repository.merge_between(&base, head)?.is_some() {
            return Err(refused(Reason::MergeCommit));
        }
        Ok(base == *head)
    }

    /// The title of the branch's last commit.
    fn title(&self, branch: &str, head: &Oid) -> Result<String, Failure> {
        let text = self.context.repository.read_record(head)?;
        let title = text.lines().next().unwrap_or_default().trim();
        Ok(if title.is_empty() {
            branch.to_owned()
        } else {
            title.to_owned()
        })
    }

    /// An id like the branch's name that no unit of the file, of its latest run or of a wish has.
    fn free_id(&self, branch: &str) -> UnitId {
        let of_latest = self
            .latest
            .iter()
            .flat_map(|reading| &reading.frozen.pipeline.units);
        let of_file = &self.frozen.pipeline.units;
        let taken: BTreeSet<&UnitId> = of_file
            .iter()
            .chain(of_latest)
            .map(|unit| &unit.id)
            .chain(self.wishes.iter().map(|wish| &wish.unit))
            .collect();
        let slug = slug(branch);
        let ids = std::iter::once(slug.clone()).chain((2..).map(|number| format!("{slug}-{number}")));
        ids.filter_map(|id| id.parse().ok())
            .find(|id| !taken.contains(id))
            .expect("there is always another number")
    }
}

/// Longest id that is made of a branch's name; a number may follow.
const SLUG_BYTES_MAX: usize = 32;

/// A branch's name as a unit's id.
fn slug(branch: &str) -> String {
    let name = branch.strip_prefix("origin/").unwrap_or(branch);
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let words: String = name.chars().map(plain).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let mut slug = words.join("-");
    slug.truncate(SLUG_BYTES_MAX);
    let slug = slug.trim_end_matches('-');
    if is_safe_name(slug) { slug } else { "branch" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_becomes_an_id_that_is_safe_and_like_it() {
        assert_eq!(slug("feature/Login_Page"), "feature-login-page");
        assert_eq!(slug("origin/fix-1.2"), "fix-1-2");
        assert_eq!(slug("grüße/日本"), "gr-e");
        assert_eq!(slug("日本"), "branch");
        let long = slug(&"very-".repeat(20));
        assert!(long.len() <= SLUG_BYTES_MAX && is_safe_name(&long), "{long}");
    }
}
