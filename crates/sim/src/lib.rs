//! The sim floor.
