//! World scripts over real git and real processes.
