//! The control socket: how a verb reaches the engine that has the repository.
//!
//! One exchange a connection: the caller writes a request and closes its side, the engine answers and closes. What
//! requests and answers say is the engine's business; here they are text.
//!
//! The socket lies outside the repository, in a directory that only its user may enter, so nothing that a unit's work
//! can hold leads to it. The kernel says who calls: another user, and whatever descends from the engine itself, is an
//! attempt's process or a child of one, is refused whatever it says.
//!
//! **Architecture Invariant:** nobody below an attempt can steer the engine that started it.

mod client;
mod place;
mod server;

pub use client::{AskError, ask};
pub use place::Place;
pub use server::{Call, Listener, listen};

use serde::{Deserialize, Serialize};

/// Longest request and longest answer, in bytes: a pipeline file with everything around it.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// What comes back to a caller.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// What the engine says.
    Answer(String),
    /// The caller was not listened to, and why.
    Refused(String),
}

#[cfg(test)]
mod tests;
