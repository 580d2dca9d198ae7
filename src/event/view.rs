//! What people see of a run: a fold of its events.
