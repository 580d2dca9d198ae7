//! Running the checks on a commit: a candidate's, the target's tip, or the tip before work begins.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Engine, EngineError, Tools, interpret};
use crate::event::{CheckOutcome, CheckResult, Evidence, VerifyPurpose};
use crate::id::{AttemptKey, Oid, RunId, UnitId};
use crate::port::{Activity, AttemptOrder, AttemptReturn, Ended, Stop, Task};
use crate::run::{Preflight, Verification, hash_json, queue_checks, subject};
use crate::spec::{Check, Pipeline, Role};

/// One verification.
pub(super) struct Job {
    tools: Arc<Tools>,
    pipeline: Arc<Pipeline>,
    run: RunId,
    target: String,
    environment: String,
    fence: u64,
    key: AttemptKey,
    commit: Oid,
    /// What the evidence is about.
    subject: Oid,
    base: Oid,
    checks: Vec<Check>,
    /// How long they may take together.
    wall_max: Duration,
}

impl Job {
    pub(super) fn new(engine: &Engine, verification: &Verification, fence: u64) -> Self {
        let pipeline = Arc::clone(engine.state.pipeline());
        let units = pipeline
            .units
            .iter()
            .filter(|unit| verification.units.contains(&unit.id));
        let checks = queue_checks(&pipeline, units);
        let unit = verification
            .units
            .first()
            .unwrap_or_else(|| any_unit(&pipeline))
            .clone();
        let generation = engine.state.unit(&unit).map_or(1, crate::unit::State::generation);
        let key = match verification.purpose {
            VerifyPurpose::Candidate => verify_key(unit, generation, fence),
            VerifyPurpose::Base => key(unit, "verify-base", 1, attempt_of(fence)),
        };
        Self {
            key,
            tools: Arc::clone(&engine.tools),
            run: engine.run.clone(),
            target: engine.target().to_owned(),
            environment: engine.state.environment().to_owned(),
            fence,
            subject: subject(&checks, &verification.commit, &verification.tree).clone(),
            commit: verification.commit.clone(),
            base: verification.commit.clone(),
            checks,
            wall_max: pipeline.limits.stage_timeout,
            pipeline,
        }
    }

    /// The verification of the target's tip before work begins; `None` when there is nothing to ask or evidence
    /// answers it.
    pub(super) fn preflight(engine: &Engine) -> Result<Option<(Preflight, Self)>, EngineError> {
        let Some(tip) = engine.tools.repository.tip(engine.target())? else {
            return Ok(None);
        };
        let tree = engine.tools.repository.tree_of(&tip)?;
        let (only, skip) = (engine.options.only.as_deref(), engine.options.skip_preflight);
        let now = engine.tools.clock.now();
        let Some(preflight) = engine.state.preflight(only, skip, (&tip, &tree), now) else {
            return Ok(None);
        };
        let pipeline = Arc::clone(engine.state.pipeline());
        let checks = preflight.checks();
        let job = Self {
            key: key(any_unit(&pipeline).clone(), "preflight", 1, 1),
            tools: Arc::clone(&engine.tools),
            run: engine.run.clone(),
            target: engine.target().to_owned(),
            environment: engine.state.environment().to_owned(),
            fence: engine.state.next_fence(),
            subject: subject(&checks, &tip, &tree).clone(),
            base: tip.clone(),
            commit: tip,
            checks,
            // Each set has as long as it would have alone.
            wall_max: pipeline.limits.stage_timeout.saturating_mul(preflight.sets()),
            pipeline,
        };
        Ok(Some((preflight, job)))
    }

    /// What the launcher is asked for.
    pub(super) fn order(&self) -> AttemptOrder {
        AttemptOrder {
            run: self.run.clone(),
            key: self.key.clone(),
            fence: self.fence,
            packet: None,
            role: Role::Check,
            kind: "check",
            base: self.base.clone(),
            agents_from: self.base.clone(),
            commit: self.commit.clone(),
            merge: None,
            target: self.target.clone(),
            task: Task::Checks(self.checks.clone()),
            workspace: Arc::new(self.pipeline.workspace.clone()),
            wall_max: self.wall_max,
            idle_max: Duration::MAX,
        }
    }

    /// What is said when the checks could not be run to their end: nothing, and it is asked again.
    pub(super) fn broken_off(&self) -> Evidence {
        let returned = AttemptReturn {
            ended: Ended::Stopped,
            ..AttemptReturn::unbegun(std::path::PathBuf::new())
        };
        Evidence {
            tree: self.subject.clone(),
            checks: hash_json(&self.checks),
            environment: self.environment.clone(),
            results: results(&self.checks, returned),
        }
    }

    /// Runs the checks and says what they said. Checks that were cut off are repeated, so their place goes at once.
    pub(super) async fn perform(
        self,
        stop: watch::Receiver<Stop>,
        activity: mpsc::Sender<Activity>,
    ) -> Evidence {
        let launcher = &self.tools.launcher;
        let returned = launcher.launch(self.order(), stop, activity).await;
        // What is left is found by the next engine and by `clean`.
        drop(launcher.discard(self.run.clone(), self.key.clone()).await);
        Evidence {
            tree: self.subject,
            checks: hash_json(&self.checks),
            environment: self.environment,
            results: results(&self.checks, returned),
        }
    }
}

/// One row per check, also when the worktree could not even be made.
fn results(checks: &[Check], returned: AttemptReturn) -> Vec<CheckResult> {
    let (outcome, why) = match returned.ended {
        Ended::Exited(_) => return interpret::signed(checks, &returned.checks),
        Ended::Stopped => (
            CheckOutcome::Interrupted,
            "the engine was asked to stop".to_owned(),
        ),
        Ended::Signalled(signal) => (CheckOutcome::Infrastructure, format!("ended by signal {signal}")),
        Ended::Timeout => (CheckOutcome::TimedOut, "the time limit was reached".to_owned()),
        Ended::Idle => (
            CheckOutcome::TimedOut,
            "no output until the idle limit".to_owned(),
        ),
        Ended::SetupFailed(why) => (
            CheckOutcome::Infrastructure,
            format!("{why}\n{}", returned.tail.trim()),
        ),
        Ended::NotStarted(why) | Ended::Infrastructure(why) => (CheckOutcome::Infrastructure, why),
    };
    vec![CheckResult {
        name: "workspace".to_owned(),
        outcome,
        exit: None,
        duration_ms: returned.duration_ms,
        signature: crate::unit::failure_signature("workspace", &why),
        tail: why,
    }]
}

/// What the verification of a unit's candidate is called: the round is the approval, the attempt is the fence.
pub fn verify_key(unit: UnitId, generation: u32, fence: u64) -> AttemptKey {
    key(unit, "verify", generation, attempt_of(fence))
}

fn attempt_of(fence: u64) -> u32 {
    u32::try_from(fence).unwrap_or(u32::MAX)
}

fn key(unit: UnitId, stage: &str, round: u32, attempt: u32) -> AttemptKey {
    AttemptKey {
        unit,
        stage: stage.parse().expect("a constant name is well-formed"),
        round,
        attempt,
    }
}

fn any_unit(pipeline: &Pipeline) -> &UnitId {
    &pipeline.units.first().expect("a valid pipeline has a unit").id
}
