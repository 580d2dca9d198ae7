//! Moving the target: only from where the candidate stands, and never over anybody's work.

use super::given;

#[test]
fn a_target_that_moves_at_the_very_swap_is_landed_on_anew() {
    let theirs = "git commit -q --allow-empty -m 'docs: theirs'";
    let scene = given("window: 1").units("a").before_the_swap(1, theirs).run(0);
    scene
        .landed("a")
        .history("feat: a; docs: theirs; chore: plan")
        .nobody_paid();
}

#[test]
fn a_target_that_keeps_moving_is_followed_until_it_rests() {
    let theirs = "git commit -q --allow-empty -m 'docs: theirs'";
    let scene = given("window: 1").units("a").before_the_swap(3, theirs).run(0);
    scene.landed("a").events("land_refused", 3).nobody_paid();
    scene.history("feat: a; docs: theirs; docs: theirs; docs: theirs; chore: plan");
}
