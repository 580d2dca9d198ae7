//! The journal and the queue's database.
