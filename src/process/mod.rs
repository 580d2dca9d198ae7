//! The spawn chokepoint.
