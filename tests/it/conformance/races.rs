//! Engines that are killed, and people who act at the worst moment.

use super::given;

#[test]
fn an_engine_killed_before_the_swap_lands_it_once_after_all() {
    let scene = given("window: 1")
        .units("a")
        .before_the_swap(1, "touch STAGE/there; until_dead")
        .start();
    scene
        .until_file("there")
        .kill()
        .landed("")
        .run(0)
        .landed("a")
        .nobody_paid();
}

#[test]
fn an_engine_killed_after_the_swap_does_not_land_it_again() {
    let scene = given("window: 1")
        .units("a")
        .after_the_swap("touch STAGE/there; until_dead")
        .start();
    scene.until_file("there").kill().history("feat: a; chore: plan");
    scene.run(0).landed("a").history("feat: a; chore: plan");
}
