//! The state of a whole run.
