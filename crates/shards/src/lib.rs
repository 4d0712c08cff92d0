//! The shards floor.
