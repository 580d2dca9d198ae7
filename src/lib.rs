//! `pipeline` drives units of work through implement, review, fix and approve, and lands them through a merge
//! queue that verifies exactly what it lands.
//!
//! The layers, with arrows pointing down only (`tests/it/tidy.rs` enforces them):
//!
//! ```text
//! L4 front     main → cli ─ report                             prints, exits, renders
//! L3 engine    engine                                          async; the only writer of run state
//! L2 adapters  git · workspace · process · agent · store · clock · control   I/O
//! L1 ports     port                                            traits and plain data
//! L0 core      id · spec · dag · unit · queue · policy · event · run   pure and synchronous
//! ```
//!
//! Beside them lies `fault`: failpoints of debug builds, which whatever writes may use.
//!
//! ARCHITECTURE.md tells the rest.

pub mod agent;
pub mod cli;
pub mod clock;
pub mod control;
pub mod dag;
pub mod engine;
pub mod event;
pub mod fault;
pub mod git;
pub mod id;
pub mod policy;
pub mod port;
pub mod process;
pub mod queue;
pub mod report;
pub mod run;
pub mod spec;
pub mod store;
pub mod unit;
pub mod view;
pub mod workspace;
