//! The control floor.
