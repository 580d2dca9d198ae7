//! Retry, back-off, limits and budget.
