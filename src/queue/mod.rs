//! The merge queue as a pure machine.
