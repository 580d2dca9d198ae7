//! The quality pipeline of one unit.
