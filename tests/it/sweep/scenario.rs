//! The fixed scenario: six units, of which two collide and the second one's author resolves that, one is evicted and one is
//! fixed, done in five commands.
//!
//! A step is one command, and begins in the world that the step before left. What a step leaves after a crash is compared
//! with what it leaves undisturbed, so that the next step's beginning stands for it, and no crash has to repeat the steps
//! before its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::aftermath::{assert_calls_are_explained, landed, tallies};
use crate::world::{Said, World};

/// One command of the scenario.
pub(super) struct Step {
    pub(super) args: &'static [&'static str],
    code: i32,
    /// The units that it ends, and as what.
    ends: &'static [(&'static str, &'static str)],
}

pub(super) const STEPS: [Step; 5] = [
    Step {
        args: &["run", "rfc.yaml", "plain"],
        code: 0,
        ends: &[("plain", "landed")],
    },
    Step {
        args: &["run", "rfc.yaml", "broken"],
        code: 5,
        ends: &[("broken", "evicted")],
    },
    Step {
        args: &["run", "rfc.yaml", "left", "right"],
        code: 5,
        ends: &[("left", "landed"), ("right", "landed")],
    },
    Step {
        args: &["run", "rfc.yaml", "mended"],
        code: 5,
        ends: &[("mended", "landed")],
    },
    Step {
        args: &["run", "rfc.yaml"],
        code: 5,
        ends: &[("notes", "published")],
    },
];

const PLAN: &str = r"
version: 1
name: trial
limits: {start_interval: 0s, retries: 1}
workspace: {copy: [local.env]}
agents:
  author: {command: [sh, agents/author.sh], model: a, pass_env: [COUNT_DIR]}
  reviewer: {command: [sh, agents/reviewer.sh], model: b, pass_env: [COUNT_DIR]}
checks:
  - {name: test, run: test -f README}
tiers:
  once:
    implement: {agent: author, retries: 0}
    approve: {by: checks}
  reviewed:
    implement: {agent: author}
    review: {agent: reviewer}
    fix: {agent: author}
    approve: {by: checks}
  explore:
    notes: {kind: prepare, agent: author}
units:
  plain: {title: 'feat: plain', prompt: x, tier: trivial}
  broken: {title: 'feat: broken', prompt: x, tier: once}
  left: {title: 'feat: left', prompt: x, tier: trivial}
  right: {title: 'feat: right', prompt: x, tier: trivial}
  mended: {title: 'feat: mended', prompt: x, tier: reviewed}
  notes: {title: 'docs: notes', prompt: x, tier: explore}
";

const AUTHOR: &str = r#"
set -eu
echo "$PIPELINE_STAGE.$PIPELINE_ROUND" >> "$COUNT_DIR/$PIPELINE_UNIT"
answer='{"summary":"done"}'
case "$PIPELINE_UNIT.$PIPELINE_KIND" in
left.implement | right.implement) echo "by $PIPELINE_UNIT" > shared ;;
broken.implement) exit 1 ;;
*.prepare) answer='{"document":"what was found"}' ;;
*.implement) echo "work" > "$PIPELINE_UNIT.txt" ;;
left.fix | right.fix) printf 'by left\nby right\n' > shared ;;
*.fix)
    echo "more" >> "$PIPELINE_UNIT.txt"
    rm old
    answer='{"summary":"fixed","resolutions":[{"finding":"F-1","action":"fixed","note":"done"}]}' ;;
esac
echo "$answer" > "$PIPELINE_RESULT"
"#;

const REVIEWER: &str = r#"
set -eu
echo "$PIPELINE_STAGE.$PIPELINE_ROUND" >> "$COUNT_DIR/$PIPELINE_UNIT"
answer='{"verdict":"approve","findings":[],"ledger":[{"id":"F-1","state":"resolved"}]}'
[ "$PIPELINE_UNIT" = mended ] || answer='{"verdict":"approve","findings":[],"ledger":[]}'
if [ "$PIPELINE_ROUND" = 1 ]; then
    finding='{"file":"mended.txt","line":1,"severity":"major","confidence":90,"title":"too plain","detail":"say more"}'
    answer="{\"verdict\":\"request_changes\",\"findings\":[$finding],\"ledger\":[]}"
fi
echo "$answer" > "$PIPELINE_RESULT"
"#;

/// A step with the faults of the calls that come before the undisturbed one.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) step: usize,
    pub(super) faults: Vec<String>,
}

/// What came of one faulty call.
pub(super) struct Met {
    /// The point that the fault came at; `None` when the call ended before.
    pub(super) at: Option<String>,
    /// Every point that was reached, in order.
    pub(super) points: Vec<String>,
}

/// A world that can be brought to the beginning of each step.
pub(super) struct Course {
    pub(super) world: World,
    saved: TempDir,
    /// The files of the target after each step.
    files: Vec<String>,
    /// The points of each step, undisturbed.
    pub(super) points: Vec<Vec<String>>,
}

impl Course {
    pub(super) fn prepare() -> Self {
        let world = World::in_memory();
        world.write("rfc.yaml", PLAN);
        world.write("agents/author.sh", AUTHOR);
        world.write("agents/reviewer.sh", REVIEWER);
        world.write("shared", "before\n");
        world.write("old", "gone soon\n");
        world.write(".gitignore", "local.env\n");
        world.write("local.env", "A=1\n");
        world.commit("chore: plan");
        let saved = tempfile::tempdir_in(world.base().parent().unwrap()).unwrap();
        let mut course = Self {
            world,
            saved,
            files: Vec::new(),
            points: Vec::new(),
        };
        for (at, step) in STEPS.iter().enumerate() {
            course.world.save(&course.place(at));
            let (said, met) = course.call(at, None);
            assert_eq!(said.code, step.code, "{}{}", said.out, said.err);
            course.points.push(met.points);
            course.files.push(course.target_files());
            course.check(at, false);
            for (unit, state) in course.ends(at) {
                assert_eq!(course.world.unit(&unit)["state"], state.as_str(), "status agrees");
            }
        }
        course
    }

    fn place(&self, step: usize) -> PathBuf {
        self.saved.path().join(step.to_string())
    }

    fn target_files(&self) -> String {
        self.world.git(&["ls-tree", "-r", "main"])
    }

    /// Makes one call of a step's command, with a fault in it.
    fn call(&self, step: usize, fault: Option<&str>) -> (Said, Met) {
        let trace = self.saved.path().join("trace");
        drop(std::fs::remove_file(&trace));
        let armed = format!("trace@{},{}", trace.display(), fault.unwrap_or_default());
        let said = self
            .world
            .pipeline_with(STEPS[step].args, &[("PIPELINE_FAULT", &armed)]);
        let text = std::fs::read_to_string(&trace).unwrap_or_default();
        let (at, points): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('!'));
        let met = Met {
            at: at.first().map(|line| line.trim_start_matches("! ").to_owned()),
            points: points.into_iter().map(str::to_owned).collect(),
        };
        (said, met)
    }

    /// Brings the world to the beginning of the step, makes the faulty calls and then one without a fault, and checks what
    /// that left.
    pub(super) fn perform(&self, cell: &Cell) -> Vec<Met> {
        self.world.restore(&self.place(cell.step));
        let calls = cell.faults.iter().map(|fault| self.faulty(cell.step, fault));
        let met: Vec<Met> = calls.collect();
        let (said, _) = self.call(cell.step, None);
        assert_eq!(
            said.code, STEPS[cell.step].code,
            "the undisturbed call\n{}{}",
            said.out, said.err
        );
        let may_cost = cell
            .faults
            .iter()
            .any(|fault| !fault.starts_with("kill") && !fault.starts_with("cut"));
        self.check(cell.step, may_cost);
        met
    }

    fn faulty(&self, step: usize, fault: &str) -> Met {
        let (said, met) = self.call(step, Some(fault));
        let text = format!("{fault} at {:?}\n{}{}", met.at, said.out, said.err);
        let expected = STEPS[step].code;
        match fault.split_once('@').unwrap().0 {
            "kill" | "cut" if met.at.is_some() => assert_eq!(said.code, -1, "{text}"),
            "kill" | "cut" => assert_eq!(said.code, expected, "{text}"),
            word => {
                assert!([8, expected].contains(&said.code), "exit {}: {text}", said.code);
                let words = match word {
                    "enospc" => "No space left on device",
                    "eio" => "Input/output error",
                    _ => "Read-only file system",
                };
                // What is drawn is broken into lines, and long words too.
                let err: String = said.err.split(['│', '\n', ' ']).collect();
                let place = ["/", "`git"].iter().any(|place| err.contains(place));
                let told = err.contains(&words.replace(' ', "")) && place;
                assert!(said.code != 8 || told, "what failed and where is told: {text}");
            }
        }
        met
    }

    /// The state of the world is what the step leaves when nothing disturbs it.
    fn check(&self, step: usize, may_cost: bool) {
        let world = &self.world;
        world.assert_no_orphan();
        world.expect(&["doctor", "--strict"], 0);
        world.assert_clean();
        let temporary: Vec<_> = std::fs::read_dir(world.base().join("tmp")).unwrap().collect();
        assert!(temporary.is_empty(), "left behind: {temporary:?}");
        assert_eq!(world.git(&["status", "--porcelain"]), "");
        assert_eq!(self.target_files(), self.files[step]);
        let mut landings = landed(world);
        landings.sort_unstable();
        let ended = self.ends(step);
        let expected = ended.iter().filter(|(_, state)| *state == "landed");
        let expected: Vec<String> = expected.map(|(unit, _)| unit.clone()).collect();
        assert_eq!(landings, expected, "each landed unit once, and no other");
        self.check_calls(may_cost);
    }

    /// The units that have ended after a step, and as what.
    fn ends(&self, step: usize) -> BTreeMap<String, String> {
        let units = ends(&self.world.journal());
        let due = STEPS[..=step].iter().flat_map(|step| step.ends);
        let mut ended = BTreeMap::new();
        for (unit, state) in due {
            let found = units.get(*unit).cloned().unwrap_or_default();
            assert_eq!(found, *state, "{unit}");
            ended.insert((*unit).to_owned(), found);
        }
        ended
    }

    fn check_calls(&self, may_cost: bool) {
        let tallies = tallies(&self.world.journal(), "journal");
        let units: Vec<&str> = STEPS
            .iter()
            .flat_map(|step| step.ends)
            .map(|(unit, _)| *unit)
            .collect();
        assert_calls_are_explained(&self.world, &units, &tallies, "journal");
        let mut spare = usize::from(may_cost);
        for (key, tally) in &tallies {
            let expected = if key.0 == "broken" { (0, 1) } else { (1, 0) };
            let failed = tally.failed.saturating_sub(expected.1);
            assert!(
                (tally.ok, tally.failed) == (expected.0, expected.1 + failed) && failed <= spare,
                "{key:?}: {tally:?}"
            );
            spare -= failed;
        }
    }

    /// The last lines of the journal, for whoever has to find out.
    pub(super) fn journal_tail(&self) -> String {
        let runs = std::fs::read_dir(self.world.repo.join(".git/pipeline/runs"));
        let journals = runs
            .into_iter()
            .flatten()
            .flatten()
            .map(|run| run.path().join("journal.jsonl"));
        let text: String = journals
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.chars().take(220).collect())
            .collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

/// How each unit ended, by its last event of that kind.
fn ends(records: &[Value]) -> BTreeMap<String, String> {
    let mut ends = BTreeMap::new();
    for record in records {
        let state = match record["type"].as_str().unwrap() {
            "unit_evicted" | "entry_left" => "evicted",
            "unit_published" => "published",
            "landed" => "landed",
            _ => continue,
        };
        let many = record["units"].as_array().into_iter().flatten();
        for unit in many.map(|landed| &landed["unit"]).chain([&record["unit"]]) {
            ends.extend(unit.as_str().map(|unit| (unit.to_owned(), state.to_owned())));
        }
    }
    ends
}
