//! The shards floor.

pub mod udp;
