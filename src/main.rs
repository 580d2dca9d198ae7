//! The binary: parses and calls.

fn main() {}
