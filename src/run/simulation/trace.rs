//! What happened under a seed, to be read by a person.

use std::fmt::Write as _;

use super::driver::Driver;
use super::setting::number_of;

/// Characters of an event that are shown.
const SHOWN: usize = 260;

/// The setting and the journal, a line an event.
pub(super) fn of(driver: &Driver) -> String {
    let setting = &driver.setting;
    let seed = setting.seed;
    let mut text = format!(
        "seed {seed} failed; PIPELINE_SIM_SEED={seed} cargo test --lib simulation plays it alone\n\
         {:?}, {:?}, {:?}\n",
        setting.kind, setting.pipeline.limits, setting.pipeline.verify
    );
    for unit in &setting.pipeline.units {
        let needs: Vec<&str> = unit.needs.iter().map(AsRef::as_ref).collect();
        let nature = &setting.natures[number_of(&unit.id)];
        let _ = writeln!(
            text,
            "{} ({}, needs {needs:?}, priority {}): {nature:?}",
            unit.id, unit.tier, unit.priority
        );
    }
    for record in &driver.journal {
        let event = serde_json::to_string(&record.event).expect("an event serialises");
        let shown: String = event.chars().take(SHOWN).collect();
        let _ = writeln!(
            text,
            "{:>4} {} {shown}",
            record.seq,
            record.at.strftime("%H:%M:%S")
        );
    }
    let _ = writeln!(
        text,
        "target {:?}, stopping {:?}",
        driver.git.target, driver.stopping
    );
    text
}
