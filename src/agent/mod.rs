//! What a stage is shown and what it returned.
