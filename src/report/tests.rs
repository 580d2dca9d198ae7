//! What people are shown, by the scripted run.

mod queue;
mod radar;

use std::sync::{Arc, Mutex};

use indicatif::{ProgressDrawTarget, TermLike};
use proptest::prelude::{any, proptest};

use super::*;
use crate::event::{
    Candidate, CandidateUnit, CheckOutcome, Conflict, EntryEnd, Event, Foreseen, Gate, Hold, LandedUnit,
    Obstacle, Outcome, QueueEvent, Reason, Record, Resolution, ResolutionAction, RunEvent, StopCause,
    UnitEvent, Verdict,
};
use crate::port::Activity;
use crate::spec::StageKind;
use crate::view::View;
use crate::view::tests::{
    Script, evidence, finding, head, job, moment, oid, pipeline, review, scripted, work,
};

fn unicode() -> LineStyle {
    LineStyle {
        color: false,
        unicode: true,
        width: 100,
    }
}

fn lines(script: &Script, style: LineStyle) -> String {
    let mut view = View::new(&pipeline());
    let mut shown = Vec::new();
    for record in &script.records {
        view.apply(record);
        shown.extend(line::event_line(record, &view, style));
    }
    shown.join("\n")
}

/// The line of the last event of a script.
fn last_line(script: &Script) -> Option<String> {
    line::event_line(script.records.last().unwrap(), &script.view, unicode())
}

#[test]
fn a_run_reads_as_one_line_an_event() {
    insta::assert_snapshot!(lines(&scripted(), unicode()), @"
          ✓ [  3m12s] lexer     implement  aaaaaaa                                 $0.25
          ✓ [  3m12s] lexer     checks     1 check passed                          $0.25
          ✓ [  3m12s] lexer     review     approved (1 note)                       $0.25
      FLAKY [  10.0s] lexer     test failed, then passed on the same tree
     LANDED [  14.0s] lexer     9999999 → main (1/4)
          ✓ [  3m12s] parser    implement  bbbbbbb                                 $0.25
          ✗ [  3m12s] parser    review     2 findings → fix 1/3                    $0.25
    EVICTED [  19.0s] cache     verify_failed: test cache::ttl · pipeline show cache
    ");
}

#[test]
fn without_unicode_everything_but_foreign_text_is_ascii() {
    let script = scripted();
    assert!(lines(&script, LineStyle::plain()).is_ascii());
    assert!(table::status(&script.view, LineStyle::plain(), script.now()).is_ascii());
    assert!(line::header(&script.view, "none", LineStyle::plain()).is_ascii());
    assert!(line::heartbeat(&script.view, script.now()).is_ascii());
}

#[test]
fn colour_only_adds_to_what_is_there_without() {
    let style = LineStyle {
        color: true,
        ..unicode()
    };
    let coloured = lines(&scripted(), style);
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(
        console::strip_ansi_codes(&coloured),
        lines(&scripted(), unicode())
    );
}

#[test]
fn header_and_footer_frame_a_run() {
    let script = scripted();
    assert_eq!(
        line::header(&script.view, "none", unicode()),
        "    Run r-20261118-110640-0000000000000001 rfc.yaml @ 4444444 → main · 4 units · sandbox none · $25.00"
    );
    assert_eq!(
        line::footer(&script.view, script.now(), unicode()),
        "Running 1/4 done · 1 working · 1 landed · 1 evicted · 1 flake · queue 0 · 22.0s · $1.25/$25.00"
    );
}

#[test]
fn a_run_that_waives_verification_says_so() {
    let mut waived = pipeline();
    waived.verify = crate::spec::Verify::Waived;
    let view = View::new(&waived);
    assert!(line::header(&view, "none", unicode()).ends_with("lands unverified"));
    assert!(table::status(&view, unicode(), moment(0)).contains("Units land unverified"));
}

#[test]
fn a_heartbeat_names_what_runs() {
    let script = scripted();
    let text = line::heartbeat(&script.view, moment(24 + 61));
    assert!(text.ends_with("parser/fix 1m01s"), "{text}");
    assert!(line::heartbeat(&View::new(&pipeline()), moment(0)).ends_with("nothing runs"));
}

#[test]
fn intents_are_no_news() {
    let script = scripted();
    assert_eq!(last_line(&script), None, "an attempt that began");
}

#[test]
fn a_failed_attempt_tells_outcome_and_detail_on_one_line() {
    let mut script = Script::new();
    let fence = script
        .begin()
        .start("lexer", job("review", StageKind::Review), 1, 1);
    script.end("lexer", fence, Outcome::Timeout, None);
    assert_eq!(
        last_line(&script).unwrap(),
        "      ✗ [  3m12s] lexer     review     timeout: it went wrong                  $0.25"
    );
}

#[test]
fn an_outcome_of_an_attempt_that_is_not_current_is_no_news() {
    let mut script = Script::new();
    script
        .begin()
        .end("lexer", 9, Outcome::Ok, Some(work('a', Vec::new())));
    assert_eq!(last_line(&script), None);
}

#[test]
fn an_eviction_recorded_by_queue_and_unit_is_told_once() {
    let mut script = Script::new();
    let end = EntryEnd::Evicted {
        reason: Reason::VerifyFailed,
        sentence: "no".to_owned(),
        conflicts: Vec::new(),
    };
    let unit = || "lexer".parse().unwrap();
    script
        .begin()
        .enqueue("lexer", 0, 0)
        .queue(QueueEvent::EntryLeft { unit: unit(), end });
    script.evict("lexer", "no");
    assert_eq!(lines(&script, unicode()).matches("EVICTED").count(), 1);
}

#[test]
fn what_waits_for_a_person_is_held_with_the_command() {
    let mut script = Script::new();
    let gate = Gate::Approval {
        stage: "approve".parse().unwrap(),
    };
    script.begin().unit("lexer", UnitEvent::GateOpened { gate });
    assert_eq!(
        last_line(&script).unwrap(),
        "   HELD [       ] lexer     waits for a person · pipeline approve lexer"
    );
    let hold = Hold::TargetDirty {
        checkout: "/repo".to_owned(),
        paths: vec!["a\u{1b}[2J".to_owned()],
        removed: Vec::new(),
    };
    script.enqueue("lexer", 0, 0).queue(QueueEvent::EntryHeld {
        unit: "lexer".parse().unwrap(),
        hold,
    });
    assert!(last_line(&script).unwrap().ends_with(
        "uncommitted work in /repo is in the way: a; commit it, or put it aside with `git --literal-pathspecs -C /repo stash push --all -- 'a'`"
    ));
}

#[test]
fn what_nobody_waited_for_is_told_as_that() {
    let mut script = Script::new();
    let fence = script
        .begin()
        .start("lexer", job("implement", StageKind::Implement), 1, 1);
    script.unit("lexer", UnitEvent::UnitRetried { note: None });
    script.end("lexer", fence, Outcome::Ok, Some(work('a', Vec::new())));
    assert_eq!(
        last_line(&script).unwrap(),
        "      • [  3m12s] lexer     implement  nobody waited for it any more           $0.25"
    );
}

#[test]
fn a_batch_lands_with_a_line_for_each_unit() {
    let mut script = Script::waived();
    let landed = |id: &str, digit| LandedUnit {
        unit: id.parse().unwrap(),
        commit: oid(digit),
        unverified: digit == '5',
    };
    let member = |id: &str, digit| CandidateUnit {
        unit: id.parse().unwrap(),
        generation: 1,
        head: oid('a'),
        commit: oid(digit),
    };
    script
        .begin()
        .enqueue("lexer", 0, 0)
        .enqueue("cache", 0, 2)
        .queue(QueueEvent::CandidateBuilt {
            candidate: Candidate {
                base: oid('4'),
                strategy: crate::spec::Strategy::Squash,
                units: vec![member("lexer", '5'), member("cache", '6')],
                commit: oid('6'),
                tree: oid('e'),
            },
        })
        .queue(QueueEvent::LandIntended {
            commit: oid('6'),
            from: oid('4'),
            tree: oid('e'),
            checkout: None,
        })
        .queue(QueueEvent::Landed {
            from: oid('4'),
            to: oid('6'),
            units: vec![landed("lexer", '5'), landed("cache", '6')],
            evidence: None,
        });
    let text = last_line(&script).unwrap();
    let endings: Vec<bool> = text
        .lines()
        .zip([
            "5555555 → main (1/4) unverified",
            "6666666 → main (2/4) unverified",
        ])
        .map(|(line, ending)| line.ends_with(ending))
        .collect();
    assert_eq!(endings, [true, true], "{text}");
}

#[test]
fn a_red_target_and_a_safety_stop_are_told() {
    let mut script = Script::new();
    script.begin().enqueue("lexer", 0, 0).candidate("lexer", 'c');
    script.queue(QueueEvent::BaseRed {
        commit: oid('4'),
        check: "test".to_owned(),
    });
    assert!(
        last_line(&script)
            .unwrap()
            .contains("base_red: test fails on the target itself")
    );
    assert!(
        table::status(&script.view, unicode(), script.now()).contains("The queue waits: the check `test`")
    );
    script.queue(QueueEvent::SafetyStop {
        reason: Reason::TargetRewritten,
        sentence: "gone".to_owned(),
    });
    assert!(last_line(&script).unwrap().starts_with("STOPPED"));
}

#[test]
fn preflight_is_told_by_its_checks() {
    let mut script = Script::new();
    let evidence = evidence(CheckOutcome::TimedOut);
    script.begin().run(RunEvent::PreflightEnded {
        commit: oid('4'),
        evidence,
        also: Vec::new(),
    });
    assert_eq!(
        last_line(&script).unwrap(),
        "      ✗ [   1.2s] main      preflight  test timed out"
    );
}

#[test]
fn status_is_a_table_of_units_and_stages() {
    let script = scripted();
    insta::assert_snapshot!(table::status(&script.view, unicode(), script.now()), @"
    r-20261118-110640-0000000000000001 rfc.yaml → main · running

    UNIT    STATE    STAGES                                                         COST   WHY
    lexer   landed   implement done · checks done · review done · fix · approve     $0.75  9999999
    parser  working  implement done · checks · review done · fix running · approve  $0.50
    cache   evicted  implement · checks · review · fix · approve                    $0.00  verify_failed: test cache::ttl
    docs    waiting  implement · checks · review · fix · approve                    $0.00  waits for parser

    1/4 done · 1 working · 1 landed · 1 evicted · 1 flake · queue 0 · 22.0s · $1.25/$25.00
    Next: pipeline evicted
    ");
}

#[test]
fn a_unit_that_resolves_a_conflict_says_with_what() {
    let conflicts = vec![Conflict {
        path: "lib.rs".to_owned(),
        kind: "contents".to_owned(),
        hunks: String::new(),
        landed_by: Some("cache".parse().unwrap()),
        landed_as: None,
    }];
    let unit: crate::id::UnitId = "lexer".parse().unwrap();
    let mut script = Script::new();
    script.begin().enqueue("lexer", 0, 1);
    script.queue(QueueEvent::IntegrationFailed {
        unit: unit.clone(),
        generation: 1,
        base: oid('4'),
        ahead: Vec::new(),
        obstacle: Obstacle::Conflict {
            conflicts: conflicts.clone(),
        },
    });
    let onto = oid('4');
    script.queue(QueueEvent::SentToResolve {
        unit,
        onto,
        conflicts,
    });
    let text = table::status(&script.view, unicode(), script.now());
    let why = "conflict_target: The work conflicts with the target in lib.rs (with `cache`, which landed).";
    assert!(text.contains(why), "{text}");
}

#[test]
fn the_time_of_a_landing_leaves_the_pauses_between_engines_out() {
    let landed = |between: [RunEvent; 2]| {
        let mut script = Script::new();
        script
            .begin()
            .unit("lexer", UnitEvent::UnitStarted { base: oid('4') });
        for event in between {
            script.run(event);
        }
        script.enqueue("lexer", 0, 1).land("lexer", '9');
        last_line(&script).unwrap()
    };
    let nothing = || RunEvent::ConflictsForeseen(Foreseen::default());
    let (version, why) = (String::new(), StopCause::Human);
    let (stopped, epoch) = (RunEvent::EngineStopped { why }, 2);
    let started = RunEvent::EngineStarted {
        epoch,
        pid: 2,
        version,
    };
    let (throughout, paused) = (landed([nothing(), nothing()]), landed([stopped, started]));
    assert!(throughout.contains("LANDED [   8.0s] lexer"), "{throughout}");
    assert!(paused.contains("LANDED [   7.0s] lexer"), "{paused}");
}

#[test]
fn an_interrupted_run_ends_with_the_command_that_resumes_it() {
    let mut script = scripted();
    script.view.tell_no_engine();
    let text = table::status(&script.view, unicode(), script.now());
    assert!(text.ends_with("Next: pipeline run rfc.yaml\n"), "{text}");
}

#[test]
fn show_tells_attempts_findings_and_cost() {
    let script = scripted();
    let text = table::show_unit(script.unit_view("parser"), &script.view, unicode(), script.now());
    insta::assert_snapshot!(text, @"
    parser · feat: parser · small · working
    base 4444444444444444444444444444444444444444
    head bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    cost $0.50 · round 1 · charged 0/200

    ATTEMPT        BEGAN     TOOK   AGENT   COST   OUTCOME
    implement.1.1  11:06:59  3m12s  claude  $0.25  ok: bbbbbbb
    review.1.1     11:07:01  3m12s  claude  $0.25  ok: 2 findings
    fix.1.1        11:07:04  0.0s   claude  ?      running

    FINDING  STATE  SEVERITY  WHERE            WHAT
    F-1      open   major     src/parser.rs:7  off by one
    F-2      open   major     src/parser.rs:7  leak

    F-1: ``` it breaks ````

    F-2: ``` it breaks ````
    ");
}

#[test]
fn show_of_an_evicted_unit_says_what_to_do_in_its_own_name() {
    let script = scripted();
    let text = table::show_unit(script.unit_view("cache"), &script.view, unicode(), script.now());
    assert!(
        text.contains("What to do: Read the log with `pipeline logs cache --failed`"),
        "{text}"
    );
}

#[test]
fn evicted_lists_units_with_the_way_on() {
    assert_eq!(table::evicted(&View::new(&pipeline())), "No unit was evicted.\n");
    let mut script = scripted();
    script.evict("lexer", "x");
    let text = table::evicted(&script.view);
    assert!(
        text.contains("cache  verify_failed: test cache::ttl\n    Read the log with"),
        "{text}"
    );
    assert!(text.contains("parser wait for it."), "{text}");
}

#[test]
fn runs_are_a_table() {
    assert!(table::runs(&[]).contains("No runs here yet"));
    let text = table::runs(&[(scripted().view.run, 1, 4)]);
    assert!(
        text.lines()
            .nth(1)
            .unwrap()
            .ends_with("demo  running  1/4   $1.25  rfc.yaml"),
        "{text}"
    );
}

/// A unit that left with a conflict, a finding and a failed check, all of them hostile.
fn hostile() -> Script {
    let mut script = Script::new();
    let hostile = "````\n# Owned\u{202e}\u{1b}]0;x\u{7}";
    let resolution = Resolution {
        finding: "F-1".to_owned(),
        action: ResolutionAction::Disputed,
        note: hostile.to_owned(),
    };
    script
        .begin()
        .attempt(
            "cache",
            job("review", StageKind::Review),
            1,
            review(Verdict::RequestChanges, vec![finding(hostile)], Vec::new()),
        )
        .attempt(
            "cache",
            job("fix", StageKind::Fix),
            1,
            work('b', vec![resolution]),
        )
        .enqueue("cache", 0, 2)
        .queue(QueueEvent::EntryLeft {
            unit: "cache".parse().unwrap(),
            end: EntryEnd::Evicted {
                reason: Reason::ConflictTarget,
                sentence: hostile.to_owned(),
                conflicts: vec![Conflict {
                    path: "a`b".to_owned(),
                    kind: "contents".to_owned(),
                    hunks: format!("<<<<<<<\n{hostile}\n>>>>>>>"),
                    landed_by: Some("lexer".parse().unwrap()),
                    landed_as: Some(oid('9')),
                }],
            },
        });
    script
}

#[test]
fn nothing_breaks_out_of_a_bundle() {
    let script = hostile();
    let repro = ["git switch --detach x".to_owned()];
    let facts = bundle::BundleFacts {
        run: &script.view.run,
        unit: script.unit_view("cache"),
        diff_stat: " a | 1 +\n",
        repro: &repro,
    };
    let text = bundle::bundle_md(&facts);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains('\u{7}'));
    let mut fence: Option<String> = None;
    for line in text.lines() {
        match &fence {
            Some(open) if line == open => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = Some(line.trim_end_matches("text").to_owned()),
            None => assert!(!line.starts_with("# Owned"), "{text}"),
        }
    }
    assert_eq!(fence, None);
    for part in [
        "conflict_target",
        "landed by unit `lexer` as 9999",
        "git switch",
        "disputed",
        "pipeline resolve cache",
        "``a`b``",
        "$0.50",
        "fix round 1",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let json = bundle::bundle_json(&facts);
    assert_eq!(json["reason"], "conflict_target");
    assert_eq!(json["conflicts"][0]["landed_by"], "lexer");
    assert_eq!(json["findings"][0]["resolution"]["action"], "disputed");
    assert!(!json.to_string().contains("\\u001b"));
}

#[test]
fn sanitized_text_has_no_escapes_and_nothing_invisible() {
    assert_eq!(
        text::sanitize("a\u{1b}[31mb\u{1b}[0m\tc\r\n\u{200b}\u{202e}\u{feff}d\u{9b}2J\u{0}"),
        "ab\tc\nd"
    );
    assert_eq!(text::one_line("  a\n\n b\tc ", 10), "a b c");
    assert_eq!(text::one_line("abcdef", 4), "abc…");
    assert_eq!(text::sanitize("Grüße, 世界"), "Grüße, 世界");
}

#[test]
fn durations_are_short() {
    let shown = [0, 1_234, 59_999, 192_000, 7_500_000].map(text::duration);
    assert_eq!(shown, ["0.0s", "1.2s", "59.9s", "3m12s", "2h05m"]);
}

#[test]
fn a_slow_attempt_has_its_word() {
    assert_eq!(
        line::slow_line("lexer", "review", 240_000, unicode()),
        "   SLOW [  4m00s] lexer     review     silent"
    );
}

/// A terminal that remembers everything that was written to it.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<String>>);

impl Recorder {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl TermLike for Recorder {
    fn width(&self) -> u16 {
        120
    }
    fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn write_line(&self, line: &str) -> std::io::Result<()> {
        self.write_str(line)?;
        self.write_str("\n")
    }
    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.0.lock().unwrap().push_str(text);
        Ok(())
    }
    fn clear_line(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_live_display_shows_what_runs_what_waits_and_the_bar() {
    let term = Recorder::default();
    let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
    let mut live = live::Live::new(unicode(), target);
    let script = scripted();
    let mut view = View::new(&pipeline());
    for record in &script.records {
        view.apply(record);
        live.apply(record, &view);
    }
    let key = crate::id::AttemptKey {
        unit: "parser".parse().unwrap(),
        stage: "fix".parse().unwrap(),
        round: 1,
        attempt: 1,
    };
    live.activity(&Activity {
        key: key.clone(),
        line: "editing src/\u{1b}[2Jparser.rs".to_owned(),
        idle: None,
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    let shown = term.text();
    for part in [
        "LANDED",
        "EVICTED",
        "parser    fix 1/3",
        "claude   editing src/parser.rs",
        "docs      waits for parser",
        "1/4 done",
    ] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    live.activity(&Activity {
        key,
        line: String::new(),
        idle: Some(std::time::Duration::from_secs(240)),
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(term.text().contains("SLOW, silent for 4m00s"), "{}", term.text());
    live.finish();
    live.println("after the end");
    assert!(term.text().contains("after the end"));
}

proptest! {
    #[test]
    fn whatever_is_sanitized_stays_harmless(text in any::<String>()) {
        let clean = text::sanitize(&text);
        assert!(clean.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
        assert!(!clean.contains(['\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}']));
    }

    #[test]
    fn no_text_closes_its_fence(text in "[`a\n]{0,40}") {
        let block = text::fenced(&text);
        let fence = block.split("text\n").next().unwrap();
        let closing = block.lines().filter(|line| line.trim_end() == fence).count();
        assert_eq!(closing, 1);
        assert!(!text.contains(fence));
    }

    #[test]
    fn one_line_is_one_line_within_its_bound(text in any::<String>(), most in 1..50_usize) {
        let line = text::one_line(&text, most);
        assert!(line.chars().count() <= most && !line.contains('\n'));
    }
}

#[test]
fn an_unknown_unit_is_no_news() {
    let mut script = Script::new();
    let what = UnitEvent::UnitDiscarded;
    let unit = "stranger".parse().unwrap();
    script.push(Event::Unit(crate::event::UnitScoped { unit, what }));
    assert_eq!(last_line(&script), None);
    let record = Record {
        seq: 1,
        at: moment(1),
        event: Event::Queue(QueueEvent::IntegrationFailed {
            unit: "lexer".parse().unwrap(),
            generation: 1,
            base: head('a').commit,
            ahead: Vec::new(),
            obstacle: crate::event::Obstacle::AlreadyLanded,
        }),
    };
    assert_eq!(line::event_line(&record, &script.view, unicode()), None);
}
