//! Graphs of units and stages.
