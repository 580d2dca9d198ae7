//! World scripts: the real binary over real git and real processes, in scratch repositories.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start the program and git as a person would, and fail where they stand"
)]

mod aftermath;
mod badluck;
mod branches;
mod conflict;
mod conformance;
mod control;
mod crash;
mod doctor;
mod exclusive;
mod fetch;
mod follow;
mod generated;
mod history;
mod kills;
mod land_branch;
mod landing;
mod matrix;
mod people;
mod preserve;
mod process;
mod queue_add;
mod radar;
mod rebuild;
mod refused;
mod sweep;
mod tally;
mod tidy;
mod workspace;
mod world;
