//! Given: a queue, units with their authors, the queue's check, and a repository.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use super::scene::Scene;
use crate::world::World;

/// Every author: waits for its turn, writes `<unit>.txt`, and then does what the scenario says of its unit. It resolves a
/// conflict by keeping both sides, unless the scenario says otherwise.
const AUTHOR: &str = r#"
set -eu
until_event() { until grep -qs "$1" REPO/.git/pipeline/runs/*/journal.jsonl; do sleep 0.01; done; }
until_file() { until [ -e "STAGE/$1" ]; do sleep 0.01; done; }
in_line() { until_event "\"type\":\"enqueued\",\"unit\":\"$1\""; }
has_landed() { until_event "\"type\":\"landed\".*\"unit\":\"$1\""; }
keep_both() { for path in $(git diff --name-only --diff-filter=U); do sed -i '/^[<=>]\{7\}/d' "$path"; done; }
work=$PIPELINE_KIND
[ -z "$(git ls-files --unmerged)" ] || work=resolve
ahead=$(echo "ORDER" | sed -n "s/.*\([a-z]\)$PIPELINE_UNIT.*/\1/p")
case $work in
implement)
    [ -z "$ahead" ] || in_line "$ahead"
    echo "work of $PIPELINE_UNIT" > "$PIPELINE_UNIT.txt" ;;
fix) echo "mended work of $PIPELINE_UNIT" > "$PIPELINE_UNIT.txt" ;;
esac
case "$PIPELINE_UNIT.$work" in
WORK
*.resolve) keep_both ;;
esac
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

/// The queue's check: notes down whose work it finds, waits while it is closed, and fails where a bad unit is. `holds`
/// are the units whose work is in the tree.
const GATE: &str = r#"
set -eu
holds=$(ls | sed -n 's/^\([a-z]\)\.txt$/\1/p' | tr -d '\n')
echo "$holds" >> 'STAGE/runs'
if [ -n "$holds" ]; then
    while [ -e STAGE/closed ] && ! [ -e "STAGE/pass.$holds" ]; do sleep 0.01; done
fi
for name in BAD; do if [ -e "$name.txt" ]; then echo "$name is bad"; exit 1; fi; done
GATE
"#;

/// A git that lets somebody come between when the target is moved.
const GIT: &str = r#"#!/bin/sh
PATH='SEARCH'
until_file() { until [ -e "STAGE/$1" ]; do sleep 0.01; done; }
dies_with_the_engine() { touch STAGE/there; while [ -d /proc/$PPID ]; do sleep 0.01; done; exit 1; }
case " $* " in *' --create-reflog '*)
    echo >> STAGE/swaps
    time=$(wc -l < STAGE/swaps)
    if [ "$time" -ge FIRST ] && [ "$time" -le LAST ]; then
        ( cd REPO; BEFORE ) > /dev/null 2>&1 || exit 1
        git "$@"
        code=$?
        ( cd REPO; AFTER ) > /dev/null 2>&1
        exit $code
    fi ;;
esac
exec git "$@"
"#;

/// What a scenario begins with.
pub(super) struct Given {
    queue: String,
    units: Vec<(char, String)>,
    order: Option<String>,
    work: String,
    bad: String,
    gate: String,
    gate_keys: String,
    checks: String,
    top: String,
    parallel: u32,
    limits: String,
    repository: String,
    closed: bool,
    git: Option<Between>,
}

/// Somebody who comes between when the target is moved.
struct Between {
    times: RangeInclusive<u32>,
    before: String,
    after: String,
}

/// A queue with these keys, in YAML. Its check is the scripted one, unless `verify` is among them; `GATE` in that is the
/// command of the scripted one.
pub(super) fn given(queue: &str) -> Given {
    Given {
        queue: queue.to_owned(),
        units: Vec::new(),
        order: None,
        work: String::new(),
        bad: String::new(),
        gate: String::new(),
        gate_keys: String::new(),
        checks: "[{name: test, run: 'true'}]".to_owned(),
        top: String::new(),
        parallel: 8,
        limits: String::new(),
        repository: String::new(),
        closed: false,
        git: None,
    }
}

impl Given {
    /// Units that bring one file each, with no review.
    pub(super) fn units(self, names: &str) -> Self {
        names.chars().fold(self, |given, name| given.unit(name, ""))
    }

    /// A unit with more keys.
    pub(super) fn unit(mut self, name: char, keys: &str) -> Self {
        self.units.push((name, keys.to_owned()));
        self
    }

    /// They join the queue in this order, and not in that of the file; those that are not named join at any time.
    pub(super) fn joining(mut self, order: &str) -> Self {
        self.order = Some(order.to_owned());
        self
    }

    /// What the author of a unit does beside writing its file.
    pub(super) fn writes(self, name: char, script: &str) -> Self {
        self.works(name, "implement", script)
    }

    /// What the author of a unit does when it comes back to be mended.
    pub(super) fn mends(self, name: char, script: &str) -> Self {
        self.works(name, "fix", script)
    }

    /// What the author of a unit does with a conflict, in place of keeping both sides.
    pub(super) fn resolves(self, name: char, script: &str) -> Self {
        self.works(name, "resolve", script)
    }

    fn works(mut self, name: char, kind: &str, script: &str) -> Self {
        writeln!(self.work, "{name}.{kind})\n{script}\n;;").unwrap();
        self
    }

    /// The queue's check fails wherever one of these is.
    pub(super) fn bad(mut self, names: &str) -> Self {
        self.bad = names.to_owned();
        self
    }

    /// What the queue's check asks, beside whether a bad unit is there.
    pub(super) fn gate(mut self, script: &str) -> Self {
        self.gate = script.to_owned();
        self
    }

    /// More keys of the queue's check.
    pub(super) fn gate_keys(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.gate_keys);
        self
    }

    /// The checks of the file, which the queue's own come after. `GATE` in it is the command of the queue's check.
    pub(super) fn checks(mut self, checks: &str) -> Self {
        self.checks = checks.to_owned();
        self
    }

    /// More keys of the pipeline file.
    pub(super) fn also(mut self, yaml: &str) -> Self {
        self.top += yaml;
        self.top += "\n";
        self
    }

    /// How many stages and verifications there may be at once.
    pub(super) fn parallel(mut self, slots: u32) -> Self {
        self.parallel = slots;
        self
    }

    /// How long a stage, or a list of checks, may take.
    pub(super) fn stage_timeout(mut self, time: &str) -> Self {
        self.limits = format!(", stage_timeout: {time}");
        self
    }

    /// What the target holds before the run, as done by this script in its checkout.
    pub(super) fn repository(mut self, script: &str) -> Self {
        self.repository = script.to_owned();
        self
    }

    /// The queue's check waits until the scenario lets it pass.
    pub(super) fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    /// Somebody does this in the checkout right before the target is moved, this many times in all.
    pub(super) fn before_the_swap(self, times: u32, script: &str) -> Self {
        self.at_swap(1..=times, script, "")
    }

    /// Somebody does this in the checkout right after the target was moved, before the engine knows of it.
    pub(super) fn after_the_swap(self, script: &str) -> Self {
        self.at_swap(1..=1, "", script)
    }

    /// Somebody does these before and after the target is moved, from the first to the last of these times.
    pub(super) fn at_swap(mut self, times: RangeInclusive<u32>, before: &str, after: &str) -> Self {
        let or_nothing = |script: &str| if script.is_empty() { ":" } else { script }.to_owned();
        self.git = Some(Between {
            times,
            before: or_nothing(before),
            after: or_nothing(after),
        });
        self
    }

    /// The pipeline runs to its end, with that exit code.
    pub(super) fn run(self, code: i32) -> Scene {
        let scene = self.ready();
        scene.run(code);
        scene
    }

    /// The pipeline is started.
    pub(super) fn start(self) -> Scene {
        let scene = self.ready();
        scene.start();
        scene
    }

    /// Everything is there, and nothing runs.
    pub(super) fn ready(self) -> Scene {
        let mut world = World::in_memory();
        let stage = world.base().join("count");
        let repo = world.repo.display().to_string();
        let fill = |text: &str| {
            let text = text.replace("STAGE", stage.to_str().unwrap());
            text.replace("REPO", &repo)
        };
        let put = |name: &str, text: &str| std::fs::write(stage.join(name), fill(text)).unwrap();
        put("author.sh", &self.author());
        put("gate.sh", &self.gate_script());
        if self.closed {
            put("closed", "");
        }
        world.write("rfc.yaml", &fill(&self.file()));
        if let Some(between) = &self.git {
            world.put_before_git(&fill(&between.script()));
        }
        let scene = Scene::new(world);
        scene.person(&self.repository);
        scene.world.commit("chore: plan");
        scene
    }

    fn author(&self) -> String {
        let names = || self.units.iter().map(|(name, _)| *name).collect();
        let order = self.order.clone().unwrap_or_else(names);
        AUTHOR.replace("ORDER", &order).replace("WORK", &self.work)
    }

    fn gate_script(&self) -> String {
        let bad: Vec<String> = self.bad.chars().map(String::from).collect();
        GATE.replace("BAD", &bad.join(" ")).replace("GATE", &self.gate)
    }

    /// The pipeline file.
    fn file(&self) -> String {
        let gate = "sh STAGE/gate.sh";
        let verify = format!(
            "verify: [{{{}}}]",
            keys(&["name: gate", &format!("run: {gate}"), &self.gate_keys])
        );
        let verify = if self.queue.contains("verify:") {
            ""
        } else {
            &verify
        };
        let mut text = format!(
            "\
version: 1
name: trial
limits: {{start_interval: 0s, parallel: {}, retries: 1{}}}
agents:
  author: {{command: [sh, STAGE/author.sh], model: a}}
  reviewer: {{command: [sh, agents/reviewer.sh, ''], model: b, pass_env: [COUNT_DIR]}}
checks: {}
queue: {{{}}}
{}units:
",
            self.parallel,
            self.limits,
            self.checks.replace("GATE", gate),
            keys(&[&self.queue.replace("GATE", gate), verify]),
            self.top
        );
        for (name, more) in &self.units {
            let title = format!("title: 'feat: {name}'");
            let tier = if more.contains("tier:") {
                ""
            } else {
                "tier: trivial"
            };
            let prompt = if more.contains("from_branch:") {
                ""
            } else {
                "prompt: x"
            };
            writeln!(text, "  {name}: {{{}}}", keys(&[&title, prompt, tier, more])).unwrap();
        }
        text
    }
}

/// Keys of one mapping, those that are there.
fn keys(parts: &[&str]) -> String {
    let there: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    there.join(", ")
}

impl Between {
    fn script(&self) -> String {
        GIT.replace("SEARCH", &std::env::var("PATH").unwrap())
            .replace("FIRST", &self.times.start().to_string())
            .replace("LAST", &self.times.end().to_string())
            .replace("BEFORE", &self.before)
            .replace("AFTER", &self.after)
    }
}
