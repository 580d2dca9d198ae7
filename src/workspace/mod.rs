//! Worktrees.
